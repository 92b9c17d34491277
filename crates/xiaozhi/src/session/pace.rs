//! When the next packet may leave, so that the device neither runs dry nor drops any.

use alloc::collections::VecDeque;

use crate::Time;

/// Milliseconds between `tts start` and the first packet: the device resets its decoder and
/// clears its queue when it begins to speak, and does so a moment later.
const SETTLE: u64 = 100;

/// How far the device is believed to have played. In microseconds of [`Time`], since a packet may
/// last 2.5 ms.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the device takes the first packet.
    ready: u64,
    /// When it will have played all that was sent.
    played: u64,
    /// When it will have played each of the packets that it may still have.
    ends: VecDeque<u64>,
    /// Stamp of the last packet.
    stamp: u32,
}

impl Pace {
    /// Speech begins now: the device forgets what it had.
    pub(super) fn begin(&mut self, now: Time) {
        self.ready = micros(now + SETTLE);
        self.played = micros(now);
        self.ends = VecDeque::new();
    }

    /// Speech has ended.
    pub(super) fn end(&mut self) {
        self.ends = VecDeque::new();
    }

    /// When a packet of this duration may leave, so that at most `lead` milliseconds of audio and
    /// `most` packets are with the device then, those that it plays just now among them.
    pub(super) fn next(&self, duration: u32, lead: u32, most: usize) -> Time {
        // A packet longer than the lead leaves when the device has played all others.
        let lead = u64::from(lead.saturating_mul(1000).max(duration));
        let by_time = (self.played + u64::from(duration)).saturating_sub(lead);
        let by_count = match self.ends.len().checked_sub(most) {
            Some(at) => self.ends[at],
            None => 0,
        };
        millis(by_time.max(by_count).max(self.ready))
    }

    /// A packet of this duration leaves now. Its stamp: the millisecond at which it will be
    /// played, and never the same one twice.
    pub(super) fn send(&mut self, duration: u32, now: Time) -> u32 {
        let now = micros(now);
        while self.ends.front().is_some_and(|end| *end <= now) {
            self.ends.pop_front();
        }
        // It ran dry: what comes now is played as it comes.
        let start = self.played.max(now);
        self.played = start + u64::from(duration);
        self.ends.push_back(self.played);
        self.stamp = ((start / 1000) as u32).max(self.stamp.wrapping_add(1));
        self.stamp
    }

    /// When all will have been played.
    pub(super) fn played(&self) -> Time {
        millis(self.played)
    }
}

fn micros(time: Time) -> u64 {
    // A clock that has run for 292,000 years stands still.
    time.0.min(u64::MAX / 2000) * 1000
}

/// The first millisecond that is not before.
fn millis(micros: u64) -> Time {
    Time(micros.div_ceil(1000))
}
