//! Refusals that wait until the registry has been looked at once more: a login that was added a
//! moment ago must not be turned away because the server has not heard of it yet.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What waits for a look, and when looks were made. `T` is a login that is about to be refused.
#[derive(Debug)]
pub(super) struct Looks<T> {
    state: Mutex<State<T>>,
    wanted: Condvar,
    room: usize,
}

#[derive(Debug)]
struct State<T> {
    /// When the last complete look began: what was changed before it is known.
    known_until: Instant,
    /// When the last look ended.
    ended: Instant,
    waiting: Vec<T>,
}

/// A look that is being made.
#[derive(Debug)]
pub(super) struct Look<T> {
    began: Instant,
    pub(super) waiting: Vec<T>,
}

impl<T> Looks<T> {
    /// `now` counts as the first look; at most `room` logins wait for the next one.
    pub(super) fn new(room: usize, now: Instant) -> Looks<T> {
        Looks {
            state: Mutex::new(State {
                known_until: now,
                ended: now,
                waiting: Vec::new(),
            }),
            wanted: Condvar::new(),
            room,
        }
    }

    /// Keeps `login`, which arrived at `arrived`, for the next look. Gives it back if the last look
    /// is later than that, or if no more can wait: its refusal stands.
    pub(super) fn keep(&self, login: T, arrived: Instant) -> Result<(), T> {
        let mut state = self.state();
        if arrived < state.known_until || state.waiting.len() >= self.room {
            return Err(login);
        }
        state.waiting.push(login);
        drop(state);
        self.wanted.notify_one();
        Ok(())
    }

    /// Blocks until a look is due: `interval` after the last one, or, as soon as a login waits for
    /// it, `pause` after the last one. Looks are so shared by all who wait, and strangers cannot
    /// make them more frequent than that.
    pub(super) fn next(&self, interval: Duration, pause: Duration) -> Look<T> {
        let mut state = self.state();
        loop {
            let after = if state.waiting.is_empty() {
                interval
            } else {
                pause
            };
            let left = (state.ended + after).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Look {
                    began: Instant::now(),
                    waiting: std::mem::take(&mut state.waiting),
                };
            }
            state = self
                .wanted
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The look is over, successful or not; returns those who waited for it.
    pub(super) fn done(&self, look: Look<T>) -> Vec<T> {
        let mut state = self.state();
        state.known_until = look.began;
        state.ended = Instant::now();
        look.waiting
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn who_arrived_after_the_last_look_waits_for_one_and_who_arrived_before_does_not() {
        let looks = Looks::new(10, Instant::now());
        let before = Instant::now();
        assert_eq!(looks.keep("early", before), Ok(()));
        let look = looks.next(LONG, SHORT);
        // Nothing is known before the look has ended.
        assert_eq!(looks.keep("meanwhile", before), Ok(()));
        assert_eq!(looks.done(look), ["early"]);
        assert_eq!(looks.keep("early", before), Err("early"));
        assert_eq!(looks.keep("late", Instant::now()), Ok(()));
        let look = looks.next(LONG, SHORT);
        assert_eq!(looks.done(look), ["meanwhile", "late"]);
    }

    #[test]
    fn no_more_wait_than_there_is_room_for() {
        let looks = Looks::new(1, Instant::now());
        let now = Instant::now();
        assert_eq!(looks.keep(1, now), Ok(()));
        assert_eq!(looks.keep(2, now), Err(2));
    }

    #[test]
    fn a_login_that_waits_hastens_the_look_but_not_beyond_the_pause() {
        let start = Instant::now();
        let looks = Looks::new(10, start);
        let pause = Duration::from_millis(30);
        std::thread::scope(|scope| {
            let looks = &looks;
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                looks.keep((), Instant::now()).expect("room");
            });
            let look = looks.next(LONG, pause);
            assert_eq!(look.waiting.len(), 1);
        });
        assert!(start.elapsed() >= pause, "{:?}", start.elapsed());
        assert!(start.elapsed() < LONG);
    }
}
