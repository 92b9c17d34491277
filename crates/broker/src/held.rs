//! Publishers that wait for a subscriber: who, for whom, and until when.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::{ConnectionId, SessionId};
use crate::peers::Forwarded;
use crate::time::Time;

/// Who is held back, and by whom.
#[derive(Default)]
pub(crate) struct PushBack {
    /// by publisher
    pub(crate) held: BTreeMap<SessionId, Held>,
    /// by the session whose queue is full
    pub(crate) waiting: BTreeMap<SessionId, Vec<(SessionId, ConnectionId)>>,
    /// by the session whose queue is full: publishers of peers
    pub(crate) remote: BTreeMap<SessionId, Vec<Forwarded>>,
}

pub(crate) struct Held {
    /// when patience ends
    pub(crate) until: Time,
    /// it has
    pub(crate) over: bool,
}

impl PushBack {
    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.waiting.is_empty() && self.remote.is_empty()
    }

    pub(crate) fn is_held(&self, publisher: SessionId) -> bool {
        self.held.contains_key(&publisher)
    }

    /// The publisher's message was dealt with, in whatever way, or its connection ended.
    pub(crate) fn let_go(&mut self, publisher: SessionId) {
        if !self.held.is_empty() && self.held.remove(&publisher).is_some() {
            self.forget(publisher);
        }
    }

    pub(crate) fn forget(&mut self, publisher: SessionId) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|(id, _)| *id != publisher);
            !waiting.is_empty()
        });
    }

    /// The sessions that somebody waits for.
    pub(crate) fn full_sessions(&self) -> Vec<SessionId> {
        let mut ids: Vec<SessionId> = self.waiting.keys().copied().collect();
        ids.extend(
            self.remote
                .keys()
                .filter(|id| !self.waiting.contains_key(id)),
        );
        ids
    }

    /// Whether anybody waits for the session.
    pub(crate) fn is_full(&self, subscriber: SessionId) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(&subscriber)
            || !self.remote.is_empty() && self.remote.contains_key(&subscriber)
    }
}
