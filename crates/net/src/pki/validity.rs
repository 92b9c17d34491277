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
    /// A root made at `now`. Every clock that a device starts with is later than its epoch.
    ///
    /// The end lies before the second at which 32-bit signed clocks overflow (2038-01-19) as long
    /// as that leaves it enough time; from 2036 on it lies twenty years ahead.
    pub(super) fn of_root(now: SystemTime) -> Validity {
        let now = trusted(now);
        let before_overflow = UNIX_EPOCH + Duration::from_secs(ROOT_END);
        Validity {
            from: UNIX_EPOCH,
            until: match now + RENEW_ROOT_BEFORE <= before_overflow {
                true => before_overflow,
                false => now + 20 * 365 * DAY,
            },
        }
    }

    /// A leaf made at `now` by a root that ends at `root_until`.
    ///
    /// RSA goes to the small devices, whose clock may stand at 1970: valid from the epoch on.
    /// P-256 goes to telephones and browsers too, and Apple refuses more than 825 days between
    /// the two dates, so its past is a year and the rest is future.
    pub(super) fn of_leaf(kind: ServerKey, now: SystemTime, root_until: SystemTime) -> Validity {
        let now = trusted(now);
        let (from, ahead) = match kind {
            ServerKey::Rsa => (UNIX_EPOCH, 825 * DAY),
            ServerKey::P256 => (now - 365 * DAY, 459 * DAY),
        };
        Validity {
            from,
            until: (now + ahead).min(root_until),
        }
    }

    /// Whether one that ends at `until` would do instead of this, which would be made at `now`:
    /// it has `enough` left, or as much as a new one would have, and no clock that ran ahead
    /// made it.
    pub(super) fn is_met_by(&self, until: SystemTime, enough: Duration, now: SystemTime) -> bool {
        // An unset clock knows no better than the one by which the certificate was made.
        if !is_set(now) {
            return true;
        }
        let lasts = until >= now + enough || until >= self.until;
        lasts && until <= self.until + CLOCK_JITTER
    }
}

/// Leaves with less than this left are issued again: a third of their 825 days.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(275 * 86_400);

/// A root with less than this left is made again, so that no leaf ends early because of it.
pub(super) const RENEW_ROOT_BEFORE: Duration = Duration::from_secs(2 * 365 * 86_400);

/// The end of 32-bit signed clocks, 2038-01-19 03:14:07 UTC.
pub(super) const CLOCK_OVERFLOW: u64 = 2_147_483_647;

const DAY: Duration = Duration::from_secs(86_400);
/// A clock that goes back by less than this is not worth new certificates.
pub(super) const CLOCK_JITTER: Duration = Duration::from_secs(30 * 86_400);
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
