//! What is heard under a login that is not known yet. The door asks the registry about a login that
//! it does not know, so a device that was just added is let in before the fleet has followed, and
//! says at once what it says once a start. Taken for a stranger's claims it would be nobody's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use super::accounts::Logins;
use super::watch::Seen;
use crate::limits::FLEET_HELD;

/// Looks at the registry, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Looks {
    begun: AtomicU64,
    done: AtomicU64,
}

impl Looks {
    /// A look begins; its number.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// What it found is known now.
    pub(super) fn end(&self, look: u64) {
        self.done.store(look, Ordering::SeqCst);
    }

    /// The first look that begins from now on: it sees every login that was there before.
    fn next(&self) -> u64 {
        self.begun.load(Ordering::SeqCst) + 1
    }

    /// The last look whose findings are known.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }
}

/// Waits, in the order of its arrival, until the registry was looked at.
#[derive(Default)]
pub(super) struct Held {
    waiting: VecDeque<(u64, Seen)>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes what cannot be judged yet, and gives back what can: `seen` itself, or where too much
    /// waits, what has waited longest.
    pub(super) fn pass(&mut self, seen: Seen, logins: &Logins, looks: &Looks) -> Option<Seen> {
        if !seen.user().is_some_and(|user| logins.lack(user)) {
            return Some(seen);
        }
        self.waiting.push_back((looks.next(), seen));
        if self.waiting.len() <= FLEET_HELD {
            return None;
        }
        self.waiting.pop_front().map(|(_, seen)| seen)
    }

    /// What can be judged by now: its login is known, or `done` has seen that there is none.
    pub(super) fn release(&mut self, logins: &Logins, done: u64) -> Vec<Seen> {
        let mut ready = Vec::new();
        for (look, seen) in std::mem::take(&mut self.waiting) {
            if look <= done || !seen.user().is_some_and(|user| logins.lack(user)) {
                ready.push(seen);
            } else {
                self.waiting.push_back((look, seen));
            }
        }
        ready
    }
}
