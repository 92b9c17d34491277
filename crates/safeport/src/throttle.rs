//! One log line per cause and minute: a thousand plugs with the same trouble make one line that
//! says how many were left out, not a thousand lines.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{LOG_CAUSES, LOG_INTERVAL};

/// Decides which of many like events is worth a line.
#[derive(Debug)]
pub struct Throttle {
    interval: Duration,
    causes: Mutex<HashMap<String, Cause>>,
}

#[derive(Debug)]
struct Cause {
    said: Instant,
    left_out: u64,
}

impl Default for Throttle {
    /// At most one line per cause every [`LOG_INTERVAL`].
    fn default() -> Self {
        Throttle::new(LOG_INTERVAL)
    }
}

impl Throttle {
    /// At most one line per cause every `interval`.
    pub fn new(interval: Duration) -> Throttle {
        Throttle {
            interval,
            causes: Mutex::new(HashMap::new()),
        }
    }

    /// `Some(left_out)` if `cause` may be said now, with the number of times it was swallowed
    /// since it was last said; `None` if it was said too recently.
    ///
    /// At most [`LOG_CAUSES`] causes are told apart; when the table is full, those whose interval
    /// has passed make room, and if none has, the new cause stays unsaid.
    pub fn admit(&self, cause: &str, now: Instant) -> Option<u64> {
        let mut causes = self.causes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = causes.get_mut(cause) {
            if now.saturating_duration_since(known.said) < self.interval {
                known.left_out += 1;
                return None;
            }
            known.said = now;
            return Some(std::mem::take(&mut known.left_out));
        }
        if causes.len() >= LOG_CAUSES {
            causes.retain(|_, known| now.saturating_duration_since(known.said) < self.interval);
            if causes.len() >= LOG_CAUSES {
                return None;
            }
        }
        causes.insert(
            cause.to_owned(),
            Cause {
                said: now,
                left_out: 0,
            },
        );
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_per_interval_and_the_rest_is_counted() {
        let throttle = Throttle::new(Duration::from_secs(60));
        let start = Instant::now();
        assert_eq!(throttle.admit("wrong password", start), Some(0));
        for second in 1..60 {
            assert_eq!(
                throttle.admit("wrong password", start + Duration::from_secs(second)),
                None
            );
        }
        assert_eq!(throttle.admit("no such user", start), Some(0));
        assert_eq!(
            throttle.admit("wrong password", start + Duration::from_secs(60)),
            Some(59)
        );
    }

    #[test]
    fn ever_new_causes_cannot_grow_the_table() {
        let throttle = Throttle::new(Duration::from_secs(60));
        let start = Instant::now();
        for number in 0..LOG_CAUSES * 3 {
            throttle.admit(&format!("cause {number}"), start);
        }
        assert_eq!(throttle.causes.lock().unwrap().len(), LOG_CAUSES);
        assert_eq!(throttle.admit("one more", start), None);
        let later = start + Duration::from_secs(61);
        assert_eq!(throttle.admit("one more", later), Some(0));
    }
}
