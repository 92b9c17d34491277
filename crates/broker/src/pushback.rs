//! Publishers that are held back because a subscriber does not keep up.
//!
//! A QoS 1 or 2 message for a connected session whose queue is full is not handled: its
//! connection is not read until the queue has emptied by half, so the publisher feels the
//! subscriber's pace through its own socket. Patience is limited, since two clients that wait
//! for each other would wait for ever.

use crate::broker::Broker;
use crate::effect::{Effect, Event};
use crate::held::Held;
use crate::ids::SessionId;
use crate::peers::Forwarded;
use crate::time::Time;
use crate::timers::Alarm;

/// What became of a packet that was handed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a packet that was not handled has to be handed in again"]
pub enum Handled {
    /// It was dealt with.
    Done,
    /// It was not, and has to be handed in again after [`Effect::Resume`]. Until then nothing
    /// else may come from its connection.
    Later,
}

impl Broker {
    /// Whether the publisher can wait for `full` to make room. If so, it is held back.
    pub(crate) fn hold_back(&mut self, publisher: SessionId, full: SessionId, now: Time) -> bool {
        let Some(connection) = self.expect(publisher).connection else {
            return false;
        };
        // Nobody is there to empty the queue; or it waits for what the publisher itself would
        // send next.
        if self.expect(full).connection.is_none() || publisher == full || self.limits.patience == 0
        {
            return false;
        }
        match self.push_back.held.get(&publisher) {
            Some(held) if held.over => return false,
            Some(_) => {}
            None => {
                let until = now + self.limits.patience;
                let held = Held { until, over: false };
                self.push_back.held.insert(publisher, held);
                let epoch = self.expect(publisher).epoch;
                self.set_timer(until, Alarm::Patience, publisher, epoch);
                self.stats.publish_held_back += 1;
                let event = Event::HeldBack {
                    publisher: self.expect(publisher).name(),
                    subscriber: self.expect(full).name(),
                };
                self.event(event);
            }
        }
        let waiting = self.push_back.waiting.entry(full).or_default();
        waiting.push((publisher, connection));
        true
    }

    /// The session took something from its queue: those who wait for it may go on once half of
    /// it is free, so that they do not come back for each single place.
    pub(crate) fn has_taken(&mut self, id: SessionId) {
        if self.push_back.is_full(id) {
            let limits = &self.limits;
            let flow = &self.expect(id).flow;
            if flow.as_ref().is_none_or(|flow| flow.is_half_empty(limits)) {
                self.let_publishers_go(id);
            }
        }
    }

    /// A limit may have been raised: whoever waits for a session that has room now tries again.
    pub(crate) fn let_go_where_there_is_room(&mut self) {
        for id in self.push_back.full_sessions() {
            let flow = &self.expect(id).flow;
            if flow
                .as_ref()
                .is_none_or(|flow| flow.has_room(0, &self.limits))
            {
                self.let_publishers_go(id);
            }
        }
    }

    /// Whoever waits for the session tries again.
    pub(crate) fn let_publishers_go(&mut self, id: SessionId) {
        if !self.push_back.is_full(id) {
            return;
        }
        for origin in self.push_back.remote.remove(&id).unwrap_or_default() {
            self.answer_peer(&origin, false);
        }
        let waiting = self.push_back.waiting.remove(&id).unwrap_or_default();
        for (publisher, to) in waiting {
            if self.push_back.is_held(publisher) && self.is_current(publisher, to) {
                self.effects.list.push(Effect::Resume { to });
            }
        }
    }

    /// The message of a peer's publisher is in the queue of a session that is full: its
    /// acknowledgement waits.
    pub(crate) fn answer_when_taken(&mut self, full: SessionId, origin: &Forwarded) {
        self.push_back.remote.entry(full).or_default().push(*origin);
    }

    pub(crate) fn lose_patience(&mut self, publisher: SessionId, now: Time) {
        // An earlier hold's timer may ring in a later one.
        let held = self.push_back.held.get_mut(&publisher);
        let Some(held) = held.filter(|held| held.until <= now) else {
            return;
        };
        held.over = true;
        self.push_back.forget(publisher);
        if let Some(to) = self.expect(publisher).connection {
            self.effects.list.push(Effect::Resume { to });
        }
    }
}
