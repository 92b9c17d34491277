//! How far devices' clocks are set ahead of UTC.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use safeport_settings::{Settings, UtcOffset};

use crate::serve::access::unix_now;

/// The clock of the devices; summer time comes and goes by itself.
#[derive(Debug)]
pub(super) struct Clock {
    rule: Mutex<Rule>,
    /// The distance in minutes and the quarter of an hour for which it holds, in one word: zones
    /// change at such moments only.
    cached: AtomicI64,
}

#[derive(Debug, Clone)]
enum Rule {
    Fixed(i16),
    Zone(TimeZone),
}

/// How long a distance is used before it is looked up again, in seconds.
const HOLDS: u64 = 900;

impl Clock {
    pub(super) fn new(settings: &Settings) -> Clock {
        Clock {
            rule: Mutex::new(Rule::of(settings)),
            cached: AtomicI64::new(i64::MIN),
        }
    }

    pub(super) fn set(&self, settings: &Settings) {
        *self.rule.lock().unwrap_or_else(PoisonError::into_inner) = Rule::of(settings);
        self.cached.store(i64::MIN, Ordering::Relaxed);
    }

    /// Minutes ahead of UTC now.
    pub(super) fn offset_minutes(&self) -> i16 {
        let quarter = (unix_now() / HOLDS) as i64;
        let cached = self.cached.load(Ordering::Relaxed);
        if cached.wrapping_shr(16) == quarter {
            return cached as i16;
        }
        let rule = self.rule.lock().unwrap_or_else(PoisonError::into_inner);
        let minutes = rule.minutes(Timestamp::now());
        drop(rule);
        let word = quarter << 16 | i64::from(minutes as u16);
        self.cached.store(word, Ordering::Relaxed);
        minutes
    }
}

impl Rule {
    fn of(settings: &Settings) -> Rule {
        let xiaozhi = &settings.xiaozhi;
        if let UtcOffset::Minutes(minutes) = xiaozhi.utc_offset {
            return Rule::Fixed(minutes);
        }
        if xiaozhi.timezone.is_empty() {
            return Rule::Zone(TimeZone::system());
        }
        match TimeZone::get(&xiaozhi.timezone) {
            Ok(zone) => Rule::Zone(zone),
            Err(_) => {
                tracing::error!(
                    target: "safeport::xiaozhi",
                    "there is no time zone {:?} (xiaozhi.timezone), so devices are told this \
                     machine's time; write a name such as Asia/Shanghai, or set xiaozhi.utc_offset",
                    xiaozhi.timezone
                );
                Rule::Zone(TimeZone::system())
            }
        }
    }

    fn minutes(&self, now: Timestamp) -> i16 {
        match self {
            Rule::Fixed(minutes) => *minutes,
            Rule::Zone(zone) => {
                let seconds = zone.to_offset(now).seconds();
                i16::try_from(seconds / 60).unwrap_or(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(zone: &str, time: &str) -> i16 {
        let rule = Rule::Zone(TimeZone::get(zone).expect("a zone"));
        rule.minutes(time.parse().expect("a time"))
    }

    #[test]
    fn zones_are_known_without_any_files_of_the_system_and_with_their_summer_time() {
        assert_eq!(at("Asia/Shanghai", "2026-07-01T00:00:00Z"), 480);
        assert_eq!(at("Europe/Berlin", "2026-07-01T00:00:00Z"), 120);
        assert_eq!(at("Europe/Berlin", "2026-12-01T00:00:00Z"), 60);
        assert_eq!(at("America/St_Johns", "2026-12-01T00:00:00Z"), -210);
    }

    #[test]
    fn a_distance_is_remembered_whatever_its_sign() {
        for minutes in [480, -210, 0, 840, -720] {
            let clock = Clock {
                rule: Mutex::new(Rule::Fixed(minutes)),
                cached: AtomicI64::new(i64::MIN),
            };
            assert_eq!(clock.offset_minutes(), minutes);
            *clock.rule.lock().expect("a lock") = Rule::Fixed(1);
            assert_eq!(clock.offset_minutes(), minutes);
        }
    }
}
