//! The clock of every machine here: an argument, never a call.

use core::ops::Add;

/// Milliseconds since a moment that the driver chose (its own start, or a test's zero). Must
/// never run backwards: the driver feeds it from a monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// Milliseconds from `earlier` until `self`; 0 if `earlier` is the later one.
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Time {
    type Output = Time;

    /// This many milliseconds later.
    fn add(self, milliseconds: u64) -> Time {
        Time(self.0.saturating_add(milliseconds))
    }
}
