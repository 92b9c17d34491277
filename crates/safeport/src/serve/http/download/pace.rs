//! How fast files may leave: all together at most so much, each at least so much.
//!
//! With a ceiling, as many downloads run at once as can have their floor; starving every device is
//! worse than letting some wait. Each may have an even share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A share may be taken so much in advance: short pauses cost more than they save.
const AHEAD: Duration = Duration::from_millis(100);
/// Bytes that are taken at once where there is no ceiling: as many as the kernel takes.
const UNBOUND: u64 = 4 << 20;

/// Paces all downloads; clones are the same.
#[derive(Debug, Clone)]
pub struct Pace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Bytes a second; 0: no ceiling.
    ceiling: AtomicU64,
    /// Bytes a second.
    floor: AtomicU64,
    most: AtomicUsize,
    active: AtomicUsize,
    /// Somebody has left, or there is more room.
    left: Notify,
}

impl Pace {
    /// `ceiling` and `floor` in bytes a second (ceiling 0: none); at most `most` downloads at once.
    pub fn new(ceiling: u64, floor: u64, most: usize) -> Pace {
        Pace(Arc::new(Shared {
            ceiling: AtomicU64::new(ceiling),
            floor: AtomicU64::new(floor),
            most: AtomicUsize::new(most),
            active: AtomicUsize::new(0),
            left: Notify::new(),
        }))
    }

    /// Other limits from now on; downloads that run go on under them.
    pub fn set(&self, ceiling: u64, floor: u64, most: usize) {
        self.0.ceiling.store(ceiling, Ordering::Relaxed);
        self.0.floor.store(floor, Ordering::Relaxed);
        self.0.most.store(most, Ordering::Relaxed);
        self.0.left.notify_waiters();
    }

    /// Downloads that run now.
    pub fn active(&self) -> usize {
        self.0.active.load(Ordering::Relaxed)
    }

    /// How many may run at once.
    fn room(&self) -> usize {
        let most = self.0.most.load(Ordering::Relaxed);
        match self.0.ceiling.load(Ordering::Relaxed) {
            0 => most,
            ceiling => {
                let floor = self.0.floor.load(Ordering::Relaxed).max(1);
                let with_floor = usize::try_from(ceiling / floor).unwrap_or(usize::MAX);
                with_floor.clamp(1, most)
            }
        }
    }

    /// A place among the downloads, if there is one.
    pub(super) fn enter(&self, now: Instant) -> Option<Turn> {
        let room = self.room();
        let entered = self
            .0
            .active
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |active| {
                (active < room).then_some(active + 1)
            });
        entered.is_ok().then(|| Turn {
            pace: self.clone(),
            paid_until: now,
        })
    }

    /// The same, waiting for it at most until `deadline`.
    pub(super) async fn enter_by(&self, deadline: Instant) -> Option<Turn> {
        loop {
            let mut left = std::pin::pin!(self.0.left.notified());
            // Registered before the look, so that nobody leaves unnoticed in between.
            left.as_mut().enable();
            let now = Instant::now();
            if let Some(turn) = self.enter(now) {
                return Some(turn);
            }
            let patience = deadline.saturating_duration_since(now);
            if tokio::time::timeout(patience, left).await.is_err() {
                return None;
            }
        }
    }
}

/// One download that runs.
#[derive(Debug)]
pub(super) struct Turn {
    pace: Pace,
    /// What was sent is within the share up to this moment.
    paid_until: Instant,
}

impl Turn {
    /// How many bytes may go now, or when to ask again.
    pub(super) fn allows(&self, now: Instant) -> Result<u64, Instant> {
        let Some(share) = self.share() else {
            return Ok(UNBOUND);
        };
        if self.paid_until > now + AHEAD / 2 {
            return Err(self.paid_until - AHEAD / 2);
        }
        let ahead = now + AHEAD;
        let time = ahead.saturating_duration_since(self.paid_until.max(now));
        let bytes = (share as f64 * time.as_secs_f64()) as u64;
        Ok(bytes.clamp(1, UNBOUND))
    }

    /// So many have gone.
    pub(super) fn took(&mut self, bytes: u64, now: Instant) {
        if let Some(share) = self.share() {
            let cost = Duration::from_secs_f64(bytes as f64 / share as f64);
            self.paid_until = self.paid_until.max(now) + cost;
        }
    }

    /// Bytes a second for each that runs; `None` without a ceiling.
    fn share(&self) -> Option<u64> {
        match self.pace.0.ceiling.load(Ordering::Relaxed) {
            0 => None,
            ceiling => Some((ceiling / self.pace.active().max(1) as u64).max(1)),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pace.0.active.fetch_sub(1, Ordering::Relaxed);
        self.pace.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `downloads` send together in `seconds`, in virtual time.
    fn send(pace: &Pace, downloads: usize, seconds: u64) -> Vec<u64> {
        let start = Instant::now();
        let mut turns: Vec<Turn> = (0..downloads)
            .map(|_| pace.enter(start).expect("room"))
            .collect();
        let mut sent = vec![0; downloads];
        for millisecond in 0..seconds * 1000 {
            let now = start + Duration::from_millis(millisecond);
            for (turn, sent) in turns.iter_mut().zip(&mut sent) {
                if let Ok(bytes) = turn.allows(now) {
                    turn.took(bytes, now);
                    *sent += bytes;
                }
            }
        }
        sent
    }

    #[test]
    fn all_together_stay_below_the_ceiling_and_have_even_shares() {
        for (ceiling, downloads) in [(1_000_000, 1), (1_000_000, 7), (100_000, 5)] {
            let sent = send(&Pace::new(ceiling, 16_384, 100), downloads, 20);
            let total: u64 = sent.iter().sum();
            let allowed = ceiling * 20;
            assert!(total <= allowed + allowed / 100, "{total} of {allowed}");
            assert!(total >= allowed - allowed / 20, "{total} of {allowed}");
            let even = total / downloads as u64;
            assert!(
                sent.iter().all(|one| one.abs_diff(even) <= even / 10),
                "{sent:?}"
            );
        }
    }

    #[test]
    fn no_more_run_at_once_than_can_have_their_floor() {
        let pace = Pace::new(100_000, 30_000, 100);
        let now = Instant::now();
        let turns: Vec<Turn> = (0..3).map(|_| pace.enter(now).expect("room")).collect();
        assert!(pace.enter(now).is_none());
        drop(turns);
        assert!(pace.enter(now).is_some());
        // A floor above the ceiling lets one run all the same.
        let narrow = Pace::new(1000, 16_384, 100);
        let one = narrow.enter(now);
        assert!(one.is_some() && narrow.enter(now).is_none());
    }

    #[test]
    fn without_a_ceiling_nobody_waits_and_the_number_is_limited() {
        let pace = Pace::new(0, 16_384, 2);
        let now = Instant::now();
        let mut one = pace.enter(now).expect("room");
        one.took(u64::MAX / 2, now);
        assert!(one.allows(now).is_ok());
        let _two = pace.enter(now).expect("room");
        assert!(pace.enter(now).is_none());
    }

    #[tokio::test]
    async fn who_waits_gets_the_place_of_who_leaves() {
        let pace = Pace::new(0, 1, 1);
        let one = pace.enter(Instant::now()).expect("room");
        let waiting = tokio::spawn({
            let pace = pace.clone();
            async move {
                let deadline = Instant::now() + Duration::from_secs(10);
                pace.enter_by(deadline).await.is_some()
            }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(one);
        assert!(waiting.await.unwrap());
        let _held = pace.enter(Instant::now()).expect("free again");
        let deadline = Instant::now() + Duration::from_millis(20);
        assert!(pace.enter_by(deadline).await.is_none(), "patience ends");
    }
}
