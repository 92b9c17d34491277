//! Who may ask once more.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::limits::{
    NTP_ADDRESSES, NTP_QUESTIONS_AT_ONCE, NTP_SECONDS_PER_QUESTION, NTP_SECONDS_PER_REFUSAL,
};

/// How often each address has asked lately: [`NTP_QUESTIONS_AT_ONCE`] in a row, then one every
/// [`NTP_SECONDS_PER_QUESTION`]. IPv6 counts by network (/64), which one house has to itself.
///
/// At most [`NTP_ADDRESSES`] are remembered; when there are more, those that have not asked for
/// longest are forgotten, and begin anew.
#[derive(Debug, Default)]
pub struct Turns {
    /// Those that have asked since `before` was last replaced.
    lately: HashMap<IpAddr, Asker>,
    /// Those that have not.
    before: HashMap<IpAddr, Asker>,
}

/// What an address gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The time.
    Answer,
    /// The word that it asks too often.
    SlowDown,
    /// Nothing: it has had that word a moment ago.
    Silence,
}

#[derive(Debug, Clone, Copy)]
struct Asker {
    /// Questions it has left, at `at`.
    left: f64,
    at: Duration,
    /// When it was last told to ask less often.
    refused: Option<Duration>,
}

impl Turns {
    /// Nobody has asked.
    pub fn new() -> Turns {
        Turns::default()
    }

    /// What a question from `ip` gets. `now` is the time of a clock that never goes back.
    pub fn next(&mut self, ip: IpAddr, now: Duration) -> Turn {
        let key = counted_as(ip);
        let known = self
            .lately
            .remove(&key)
            .or_else(|| self.before.remove(&key));
        let mut asker = known.unwrap_or(Asker {
            left: NTP_QUESTIONS_AT_ONCE,
            at: now,
            refused: None,
        });
        let passed = now.saturating_sub(asker.at).as_secs_f64();
        asker.left = (asker.left + passed / NTP_SECONDS_PER_QUESTION).min(NTP_QUESTIONS_AT_ONCE);
        asker.at = now;
        let turn = asker.take(now);
        self.remember(key, asker);
        turn
    }

    /// How many addresses are remembered.
    pub fn addresses(&self) -> usize {
        self.lately.len() + self.before.len()
    }

    fn remember(&mut self, key: IpAddr, asker: Asker) {
        if self.lately.len() >= NTP_ADDRESSES / 2 {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(key, asker);
    }
}

impl Asker {
    fn take(&mut self, now: Duration) -> Turn {
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Turn::Answer;
        }
        let told_lately = self
            .refused
            .is_some_and(|at| now.saturating_sub(at) < NTP_SECONDS_PER_REFUSAL);
        if told_lately {
            return Turn::Silence;
        }
        self.refused = Some(now);
        Turn::SlowDown
    }
}

fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let network = ip.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn who_asks_in_a_burst_is_answered_and_who_goes_on_is_told_once_then_nothing() {
        let mut turns = Turns::new();
        let device = ip("192.168.1.20");
        for _ in 0..16 {
            assert_eq!(turns.next(device, at(0)), Turn::Answer);
        }
        assert_eq!(turns.next(device, at(0)), Turn::SlowDown);
        for step in 1..1000 {
            assert_eq!(turns.next(device, at(step)), Turn::Silence);
        }
        // Another device is not held to account for that.
        assert_eq!(turns.next(ip("192.168.1.21"), at(500)), Turn::Answer);
        assert_eq!(turns.next(device, at(1100)), Turn::Answer);
        assert_eq!(turns.next(device, at(1101)), Turn::Silence);
        // Word again after a while, if it is still at it.
        for step in 0..20 {
            turns.next(device, at(61_000 + step));
        }
        let mut words = 0;
        for step in 0..30_000 {
            words += u32::from(turns.next(device, at(62_000 + step)) == Turn::SlowDown);
        }
        assert!(words <= 1, "{words}");
    }

    #[test]
    fn who_keeps_to_the_pace_is_always_answered() {
        let mut turns = Turns::new();
        for second in 0..10_000 {
            assert_eq!(turns.next(ip("10.0.0.9"), at(second * 1000)), Turn::Answer);
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_and_ipv4_in_its_clothes_as_ipv4() {
        let mut turns = Turns::new();
        for host in 0..16 {
            let address = ip(&format!("2001:db8:1:2::{host:x}"));
            assert_eq!(turns.next(address, at(0)), Turn::Answer);
        }
        assert_eq!(turns.next(ip("2001:db8:1:2:ff::1"), at(0)), Turn::SlowDown);
        assert_eq!(turns.next(ip("2001:db8:1:3::1"), at(0)), Turn::Answer);
        for _ in 0..8 {
            turns.next(ip("::ffff:192.0.2.1"), at(0));
            turns.next(ip("192.0.2.1"), at(0));
        }
        assert_eq!(turns.next(ip("192.0.2.1"), at(0)), Turn::SlowDown);
    }

    #[test]
    fn any_number_of_addresses_takes_bounded_memory_and_none_goes_without_an_answer() {
        let mut turns = Turns::new();
        for number in 0..100_000_u32 {
            let address = IpAddr::V4(number.into());
            assert_eq!(turns.next(address, at(0)), Turn::Answer);
            assert!(turns.addresses() <= NTP_ADDRESSES);
        }
        // One that keeps asking is remembered through the flood.
        let device = ip("192.168.1.20");
        for _ in 0..16 {
            turns.next(device, at(0));
        }
        let mut number = 200_000_u32;
        for _ in 0..20 {
            for _ in 0..1000 {
                number += 1;
                turns.next(IpAddr::V4(number.into()), at(0));
            }
            assert_ne!(turns.next(device, at(0)), Turn::Answer);
        }
    }
}
