//! The broker's clock: an argument, never a call.

use core::ops::Add;

/// Milliseconds since a moment that the driver chose (its own start, or a test's zero). Must
/// never run backwards: the driver feeds it from a monotonic clock, so wall-clock jumps do
/// not reach sessions, wills or keep alives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// This many seconds later.
    pub fn after_seconds(self, seconds: u32) -> Time {
        Time(self.0.saturating_add(u64::from(seconds) * 1000))
    }

    /// Whole seconds from `self` until `later`, rounded up; 0 if it has passed.
    pub fn seconds_until(self, later: Time) -> u32 {
        u32::try_from(later.0.saturating_sub(self.0).div_ceil(1000)).unwrap_or(u32::MAX)
    }
}

impl Add<u64> for Time {
    type Output = Time;
    fn add(self, milliseconds: u64) -> Time {
        Time(self.0.saturating_add(milliseconds))
    }
}
