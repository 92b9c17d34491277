//! Failed attempts in the log: one line per cause and address in ten minutes, then how many more
//! there were.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use safeport_net::attempt::Cause;

use super::seen::Seen;
use crate::limits::{ATTEMPT_LOG_INTERVAL, ATTEMPT_LOG_PAIRS};
use crate::shown::causes;
use crate::text::{Language, Texts};

/// What was said.
pub(super) struct Telling {
    said: HashMap<(Cause, IpAddr), Said>,
    /// Those that found no room in `said`.
    unlisted: u64,
    swept: Option<Instant>,
    texts: Texts,
}

struct Said {
    at: Instant,
    listener: std::sync::Arc<str>,
    left_out: u64,
}

impl Default for Telling {
    fn default() -> Telling {
        Telling {
            said: HashMap::new(),
            unlisted: 0,
            swept: None,
            // The log is in English, so that it can be searched for.
            texts: Texts::new(Language::English),
        }
    }
}

/// What comes of one attempt.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Said,
    LeftOut,
    Unlisted,
}

impl Telling {
    /// Says a failure, unless its like was said a short while ago.
    pub(super) fn tell(&mut self, seen: &Seen, now: Instant) {
        if is_worth_a_line(seen.cause) && self.turn(seen, now) == Turn::Said {
            self.say(seen);
        }
    }

    /// When there are left out ones to tell of.
    pub(super) fn due(&self, now: Instant) -> Option<Duration> {
        if self.said.is_empty() && self.unlisted == 0 {
            return None;
        }
        // Not to the second: a look in half a minute does.
        let last = self.swept.unwrap_or(now);
        Some((last + SWEEP).saturating_duration_since(now))
    }

    /// Forgets what was said long ago, and tells how many were left out since.
    pub(super) fn sweep(&mut self, now: Instant) {
        let last = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(last) < SWEEP {
            return;
        }
        self.swept = Some(now);
        let mut left_out = Vec::new();
        self.said.retain(|(cause, address), said| {
            let holds = now.saturating_duration_since(said.at) < ATTEMPT_LOG_INTERVAL;
            if !holds && said.left_out > 0 {
                left_out.push((*cause, *address, said.listener.clone(), said.left_out));
            }
            holds
        });
        for (cause, address, listener, count) in left_out {
            let what = format!(
                "{address} failed {count} more times on {listener} in the same way; \
                 `safeport attempts --address {address}` shows them"
            );
            line(&listener, address, cause, count, &what);
        }
        if self.unlisted > 0 && self.said.len() < ATTEMPT_LOG_PAIRS {
            tracing::warn!(
                target: "safeport::mqtt",
                left_out = self.unlisted,
                "attempts to connect failed from more addresses than are told apart here; \
                 `safeport attempts --failed` shows the newest"
            );
            self.unlisted = 0;
        }
    }

    fn turn(&mut self, seen: &Seen, now: Instant) -> Turn {
        let pair = (seen.cause, seen.address());
        if let Some(known) = self.said.get_mut(&pair)
            && now.saturating_duration_since(known.at) < ATTEMPT_LOG_INTERVAL
        {
            known.left_out += 1;
            return Turn::LeftOut;
        }
        if self.said.len() >= ATTEMPT_LOG_PAIRS && !self.said.contains_key(&pair) {
            self.unlisted += 1;
            return Turn::Unlisted;
        }
        let said = Said {
            at: now,
            listener: seen.listener.clone(),
            left_out: 0,
        };
        // What an expired one has left out is told with the new line.
        let before = self.said.insert(pair, said).map_or(0, |said| said.left_out);
        if let Some(said) = self.said.get_mut(&pair) {
            said.left_out = before;
        }
        Turn::Said
    }

    fn say(&mut self, seen: &Seen) {
        let pair = (seen.cause, seen.address());
        let left_out = self
            .said
            .get_mut(&pair)
            .map_or(0, |said| std::mem::take(&mut said.left_out));
        let who = match &seen.hello {
            Some(hello) if hello.stack.code() != "unknown" => {
                format!(" (looks like {})", hello.stack.name())
            }
            _ => String::new(),
        };
        let mut what = format!(
            "{}{who} on {}: {}. {} {}",
            seen.peer,
            seen.listener,
            seen.why,
            causes::meaning(seen.cause, &self.texts),
            causes::next(seen.cause, &self.texts),
        );
        if !seen.others.is_empty() {
            let codes: Vec<&str> = seen.others.iter().map(|cause| cause.code()).collect();
            what.push_str(&format!(" It may also be: {}.", codes.join(", ")));
        }
        line(&seen.listener, seen.address(), seen.cause, left_out, &what);
    }
}

/// How often the table of what was said is gone through.
const SWEEP: Duration = Duration::from_secs(30);

/// Logins that are refused, checks without a code or voice server, and descriptors that ran out are told where that
/// is noticed; connections that worked and broke are everyday life, also many of a device that sleeps.
fn is_worth_a_line(cause: Cause) -> bool {
    cause.is_failure()
        && !matches!(
            cause,
            Cause::AuthFailed
                | Cause::RateLimited
                | Cause::ConnectionLost
                | Cause::NoDescriptors
                | Cause::NotActivated
                | Cause::NoVoiceServer
                | Cause::Flapping
        )
}

fn line(listener: &str, address: IpAddr, cause: Cause, left_out: u64, what: &str) {
    let cause = cause.code();
    if listener.starts_with("http") {
        tracing::warn!(target: "safeport::http", %address, cause, left_out, "{what}");
    } else {
        tracing::warn!(target: "safeport::mqtt", %address, cause, left_out, "{what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::attempts::tests::seen;

    #[test]
    fn a_cause_and_address_has_one_line_in_ten_minutes_and_the_rest_are_counted() {
        let mut telling = Telling::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let one = seen("192.168.1.40:5000", Cause::TlsToPlainPort);
        assert_eq!(telling.turn(&one, start), Turn::Said);
        let other_port = seen("192.168.1.40:5001", Cause::TlsToPlainPort);
        for second in 1..600 {
            assert_eq!(telling.turn(&other_port, after(second)), Turn::LeftOut);
        }
        let other_cause = seen("192.168.1.40:5002", Cause::Silent);
        assert_eq!(telling.turn(&other_cause, after(1)), Turn::Said);
        let other_address = seen("192.168.1.41:5000", Cause::TlsToPlainPort);
        assert_eq!(telling.turn(&other_address, after(1)), Turn::Said);
        let pair = (one.cause, one.address());
        assert_eq!(telling.said[&pair].left_out, 599);
        assert_eq!(telling.turn(&one, after(600)), Turn::Said);
        // To be told with this line.
        assert_eq!(telling.said[&pair].left_out, 599);
        telling.say(&one);
        assert_eq!(telling.said[&pair].left_out, 0);
    }

    #[test]
    fn ever_new_addresses_cannot_grow_the_table_and_are_counted() {
        let mut telling = Telling::default();
        let start = Instant::now();
        let from = |number: usize| {
            let peer = format!("10.1.{}.{}:9", number / 250, number % 250);
            seen(&peer, Cause::Silent)
        };
        for number in 0..ATTEMPT_LOG_PAIRS {
            assert_eq!(telling.turn(&from(number), start), Turn::Said);
        }
        for number in ATTEMPT_LOG_PAIRS..ATTEMPT_LOG_PAIRS + 100 {
            assert_eq!(telling.turn(&from(number), start), Turn::Unlisted);
        }
        assert_eq!(telling.said.len(), ATTEMPT_LOG_PAIRS);
        assert_eq!(telling.unlisted, 100);
        telling.sweep(start);
        let later = start + ATTEMPT_LOG_INTERVAL;
        assert_eq!(telling.due(later), Some(Duration::ZERO));
        telling.sweep(later);
        assert_eq!((telling.said.len(), telling.unlisted), (0, 0));
        assert_eq!(telling.due(later), None);
    }

    #[test]
    fn what_others_tell_and_everyday_life_get_no_line() {
        assert!(is_worth_a_line(Cause::PlainToTlsPort));
        for cause in [
            Cause::Healthy,
            Cause::TakenOver,
            Cause::PortCheck,
            Cause::AuthFailed,
            Cause::ConnectionLost,
            Cause::NoDescriptors,
        ] {
            assert!(!is_worth_a_line(cause), "{cause:?}");
        }
    }
}
