//! From when until when a certificate is good, by clocks that may not be set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::key::ServerKey;

/// First and last moment of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Validity {
    /// Every clock that a device starts with is later than its epoch. The end lies before the
    /// second at which 32-bit signed clocks overflow (2038-01-19).
    pub(super) fn of_root() -> Validity {
        Validity {
            from: UNIX_EPOCH,
            until: UNIX_EPOCH + Duration::from_secs(ROOT_END),
        }
    }

    /// A leaf made at `now`.
    ///
    /// RSA goes to the small devices, whose clock may stand at 1970: valid from the epoch on.
    /// P-256 goes to telephones and browsers too, and Apple refuses more than 825 days between
    /// the two dates, so its past is a year and the rest is future.
    pub(super) fn of_leaf(kind: ServerKey, now: SystemTime) -> Validity {
        let now = trusted(now);
        let (from, ahead) = match kind {
            ServerKey::Rsa => (UNIX_EPOCH, 825 * DAY),
            ServerKey::P256 => (now - 365 * DAY, 459 * DAY),
        };
        Validity {
            from,
            until: (now + ahead).min(Validity::of_root().until),
        }
    }
}

/// Leaves with less than this left are issued again.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

const DAY: Duration = Duration::from_secs(86_400);
/// 2037-12-31 23:59:59 UTC.
const ROOT_END: u64 = 2_145_916_799;
/// 2026-01-01 00:00 UTC: this code did not exist before, so an earlier clock is unset.
const CLOCK_FLOOR: u64 = 1_767_225_600;

fn trusted(now: SystemTime) -> SystemTime {
    now.max(UNIX_EPOCH + Duration::from_secs(CLOCK_FLOOR))
}

/// Whether a clock can have been set by anybody.
pub(super) fn is_set(now: SystemTime) -> bool {
    now >= UNIX_EPOCH + Duration::from_secs(CLOCK_FLOOR)
}

/// Seconds since 1970 of a clock that is set.
pub(super) fn seconds(now: SystemTime) -> i64 {
    let since = trusted(now).duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
