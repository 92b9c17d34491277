//! How many wrong logins an address may make. Pure: time is an argument.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::recent::Recent;
use crate::limits::{FAILURE_BUCKETS, NAME_SHARE};

/// Token buckets of failed logins, one per address and name and one per address.
///
/// The bucket of a name, one third of the address's, keeps one broken plug from using up what its
/// neighbours behind the same address (a container's proxy, a router) may need; the bucket of the
/// address keeps one address from trying a password on every name.
#[derive(Debug)]
pub(in crate::serve) struct Failures {
    per_name: u32,
    per_address: u32,
    hasher: RandomState,
    /// Who → when its bucket is full again.
    full_at: Recent<Who, Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Name(IpAddr, u64),
    Address(IpAddr),
}

impl Failures {
    /// Buckets that hold `per_minute` failures of an address and refill within a minute; 0 sets no
    /// limit.
    pub(in crate::serve) fn new(per_minute: u32) -> Failures {
        Failures {
            per_name: (per_minute / NAME_SHARE).max(per_minute.min(1)),
            per_address: per_minute,
            hasher: RandomState::new(),
            full_at: Recent::new(FAILURE_BUCKETS),
        }
    }

    /// Another number of failures a minute; what was counted so far stays.
    pub(super) fn set_rate(&mut self, per_minute: u32) {
        self.per_name = (per_minute / NAME_SHARE).max(per_minute.min(1));
        self.per_address = per_minute;
    }

    /// Whether `address` has used up what it may try under `name`.
    pub(super) fn name_is_over(&mut self, address: IpAddr, name: &str, now: Instant) -> bool {
        let who = self.name(address, name);
        self.is_over(who, self.per_name, now)
    }

    /// Whether `address` has used up what it may try under all names together.
    pub(in crate::serve) fn address_is_over(&mut self, address: IpAddr, now: Instant) -> bool {
        let who = Who::Address(network(address));
        self.is_over(who, self.per_address, now)
    }

    /// Counts one wrong login.
    pub(in crate::serve) fn count(&mut self, address: IpAddr, name: &str, now: Instant) {
        let name = self.name(address, name);
        self.take(name, self.per_name, now);
        self.take(Who::Address(network(address)), self.per_address, now);
    }

    fn name(&self, address: IpAddr, name: &str) -> Who {
        Who::Name(network(address), self.hasher.hash_one(name))
    }

    fn is_over(&mut self, who: Who, per_minute: u32, now: Instant) -> bool {
        if per_minute == 0 {
            return false;
        }
        // The bucket is empty when refilling it takes the whole minute: one token more would not
        // fit into it.
        self.full_at.get(&who).is_some_and(|full_at| {
            full_at.saturating_duration_since(now) + token(per_minute) > MINUTE
        })
    }

    fn take(&mut self, who: Who, per_minute: u32, now: Instant) {
        if per_minute == 0 {
            return;
        }
        match self.full_at.get(&who) {
            Some(full_at) => {
                // Failures beyond the limit do not push the end further out: a device that keeps
                // trying is let in within one token's time of being corrected.
                *full_at = ((*full_at).max(now) + token(per_minute)).min(now + MINUTE);
            }
            None => self.full_at.insert(who, now + token(per_minute)),
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Time in which one token comes back.
fn token(per_minute: u32) -> Duration {
    MINUTE / per_minute
}

/// What one subscriber can change at will counts as one address: a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUG: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_name_is_over_after_its_allowance_and_gets_one_try_back_per_token() {
        let mut failures = Failures::new(30);
        let start = Instant::now();
        for _ in 0..10 {
            assert!(!failures.name_is_over(PLUG, "plug-1", start));
            failures.count(PLUG, "plug-1", start);
        }
        assert!(failures.name_is_over(PLUG, "plug-1", start));
        assert!(failures.name_is_over(PLUG, "plug-1", after(start, 5)));
        assert!(!failures.name_is_over(PLUG, "plug-1", after(start, 6)));
        failures.count(PLUG, "plug-1", after(start, 6));
        assert!(failures.name_is_over(PLUG, "plug-1", after(start, 6)));
        assert!(!failures.name_is_over(PLUG, "plug-1", after(start, 12)));
    }

    #[test]
    fn one_broken_plug_does_not_shut_its_neighbours_out() {
        let mut failures = Failures::new(30);
        let start = Instant::now();
        for second in 0..50 {
            failures.count(PLUG, "plug-1", after(start, second));
        }
        assert!(failures.name_is_over(PLUG, "plug-1", after(start, 50)));
        assert!(!failures.name_is_over(PLUG, "plug-2", after(start, 50)));
        assert!(!failures.address_is_over(PLUG, after(start, 50)));
    }

    #[test]
    fn trying_every_name_uses_up_the_address() {
        let mut failures = Failures::new(30);
        let start = Instant::now();
        for number in 0..30 {
            assert!(!failures.address_is_over(PLUG, start), "{number}");
            failures.count(PLUG, &format!("user-{number}"), start);
        }
        assert!(failures.address_is_over(PLUG, start));
        assert!(!failures.address_is_over("192.168.1.8".parse().unwrap(), start));
    }

    #[test]
    fn one_ipv6_network_counts_as_one_address_and_mapped_ipv4_as_ipv4() {
        let mut failures = Failures::new(1);
        let start = Instant::now();
        failures.count("2001:db8::1".parse().unwrap(), "x", start);
        assert!(failures.name_is_over("2001:db8::ffff".parse().unwrap(), "x", start));
        assert!(!failures.name_is_over("2001:db8:0:1::1".parse().unwrap(), "x", start));
        failures.count("::ffff:192.168.1.7".parse().unwrap(), "x", start);
        assert!(failures.name_is_over(PLUG, "x", start));
    }

    #[test]
    fn zero_sets_no_limit() {
        let mut failures = Failures::new(0);
        let start = Instant::now();
        for _ in 0..1000 {
            failures.count(PLUG, "x", start);
        }
        assert!(!failures.name_is_over(PLUG, "x", start));
        assert!(!failures.address_is_over(PLUG, start));
    }

    #[test]
    fn failures_beyond_the_limit_do_not_lengthen_the_wait() {
        let mut failures = Failures::new(30);
        let start = Instant::now();
        for _ in 0..10_000 {
            failures.count(PLUG, "x", start);
        }
        assert!(!failures.name_is_over(PLUG, "x", after(start, 6)));
    }
}
