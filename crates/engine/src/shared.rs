//! What other threads see of a loop.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use safeport_broker::Stats;

use crate::limits::STUCK_AFTER;

/// Counters and sign of life of one loop, written by it alone.
pub(crate) struct Shared {
    counters: [AtomicU64; Stats::LEN],
    /// milliseconds after `start`
    last_turn: AtomicU64,
    start: Instant,
    /// messages sent to this loop by its peers and not yet handled
    pub(crate) backlog: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            counters: [const { AtomicU64::new(0) }; Stats::LEN],
            last_turn: AtomicU64::new(0),
            start,
            backlog: AtomicUsize::new(0),
        }
    }

    pub(crate) fn store(&self, stats: &Stats) {
        for (counter, value) in self.counters.iter().zip(stats.to_array()) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    pub(crate) fn load(&self) -> Stats {
        let mut values = [0; Stats::LEN];
        for (value, counter) in values.iter_mut().zip(&self.counters) {
            *value = counter.load(Ordering::Relaxed);
        }
        Stats::from_array(values)
    }

    pub(crate) fn turned(&self, now: Instant) {
        let since = now.duration_since(self.start).as_millis() as u64;
        self.last_turn.store(since, Ordering::Relaxed);
    }

    pub(crate) fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.last_turn.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last) < STUCK_AFTER
    }
}
