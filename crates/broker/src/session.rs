//! What the broker knows of one client: connected or not, what it is owed, what it owes.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use safeport_mqtt::{QoS, Version};

use crate::ids::ConnectionId;
use crate::limits::Limits;
use crate::message::Message;
use crate::permissions::Permissions;
use crate::subscriptions::SubscriptionRef;
use crate::time::Time;

/// How much of a session has to outlive the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: it ends with its connection.
    Nothing,
    /// Its will: if the process dies, so does the connection.
    Will,
    /// All of it.
    Whole,
}

pub(crate) struct Session {
    pub(crate) client_id: Box<str>,
    /// fingerprint of the client identifier
    pub(crate) origin: u64,
    pub(crate) connection: Option<ConnectionId>,
    /// counts connects and disconnects: a timer of an older epoch is stale
    pub(crate) epoch: u32,
    pub(crate) version: Version,
    /// the socket is full, or a burst waits for it: nothing is sent before `drained`
    pub(crate) blocked: bool,
    /// a Retain As Published of its own: bridges of 3.1.1 set it for all they subscribe to
    pub(crate) bridge: bool,
    /// what of it is written down
    pub(crate) keep: Keep,
    pub(crate) keep_alive: u16,
    /// messages we may have unacknowledged
    pub(crate) window: u16,
    /// the Receive Maximum that this connection was told: a client is held to what it knows,
    /// whatever the limit is by now
    pub(crate) told_receive_maximum: u16,
    /// the same for the Topic Alias Maximum
    pub(crate) told_alias_maximum: u16,
    /// largest packet the client takes
    pub(crate) max_packet: u32,
    /// seconds the session outlives its connection; `u32::MAX` = for ever
    pub(crate) expiry: u32,
    /// when its last packet came; without a connection, when that ended
    pub(crate) last_seen: Time,
    pub(crate) permissions: Arc<Permissions>,
    pub(crate) subscriptions: Vec<SubscriptionRef>,
    pub(crate) flow: Option<Box<Flow>>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// What only clients with a will or topic aliases need.
#[derive(Default)]
pub(crate) struct Extra {
    pub(crate) will: Option<Will>,
    /// topics the client gave an alias; index = alias - 1
    pub(crate) aliases_in: Vec<Option<Box<str>>>,
    /// topics we gave an alias; index = alias - 1
    pub(crate) aliases_out: Vec<Box<str>>,
    pub(crate) aliases_out_max: u16,
    /// the connection ended with the process: the will is forgotten if the client comes back
    pub(crate) interrupted: bool,
}

pub(crate) struct Will {
    pub(crate) message: Message,
    /// seconds between the loss of the connection and the will
    pub(crate) delay: u32,
    /// message expiry, counted from publication
    pub(crate) expiry: Option<u32>,
}

/// A message owed to the client.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) message: Arc<Message>,
    pub(crate) identifiers: Identifiers,
    pub(crate) qos: QoS,
    /// RETAIN as it will be sent
    pub(crate) retain: bool,
}

impl Owed {
    /// Whether it is owed to the session, not only to its connection.
    pub(crate) fn is_kept(&self) -> bool {
        self.qos != QoS::AtMostOnce
    }
}

/// Subscription Identifiers a message is delivered with: mostly none or one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Identifiers {
    #[default]
    None,
    One(u32),
    Many(Box<[u32]>),
}

impl Identifiers {
    pub(crate) fn collect(mut ids: impl Iterator<Item = u32>) -> Self {
        let Some(first) = ids.next() else {
            return Self::None;
        };
        match ids.next() {
            None => Self::One(first),
            Some(second) => Self::Many([first, second].into_iter().chain(ids).collect()),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => core::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

#[derive(Debug)]
pub(crate) enum InFlight {
    /// QoS 1 or 2, sent, not yet acknowledged (PUBACK or PUBREC).
    Publish(NonZeroU16, Owed),
    /// QoS 2, PUBREC seen, PUBREL sent, PUBCOMP awaited.
    Release(NonZeroU16),
}

impl InFlight {
    pub(crate) fn packet_id(&self) -> NonZeroU16 {
        match self {
            InFlight::Publish(id, _) | InFlight::Release(id) => *id,
        }
    }

    /// Bytes of the message that it keeps.
    pub(crate) fn weight(&self) -> usize {
        match self {
            InFlight::Publish(_, owed) => owed.message.weight(),
            InFlight::Release(_) => 0,
        }
    }
}

/// QoS 1 and 2 state in both directions, and the queue. Made on first use.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// in the order of sending
    pub(crate) inflight: VecDeque<InFlight>,
    /// how many at the end of `inflight` were sent on an earlier connection and not yet
    /// again on this one
    pub(crate) unsent: usize,
    pub(crate) queue: VecDeque<Owed>,
    /// weight of the QoS 1 and 2 messages in `queue`
    pub(crate) queued_bytes: u64,
    /// weight of its QoS 0 messages
    pub(crate) queued_qos0_bytes: u64,
    /// QoS 0 messages in `queue`
    pub(crate) queued_qos0: u32,
    /// packet ids of QoS 2 publishes from the client, not yet released
    pub(crate) incoming: Vec<NonZeroU16>,
    /// how many of them, at the front, an earlier connection left: they do not count against
    /// this connection's Receive Maximum
    pub(crate) carried: usize,
    last_packet_id: u16,
    /// `inflight` is not sorted by packet id
    scattered: bool,
}

impl Flow {
    /// The next packet id that is not in flight. Ids are given in order, so `inflight` is sorted
    /// by them (seen from its front) until one message has stayed unacknowledged for so long
    /// that the ids come round to it.
    pub(crate) fn next_packet_id(&mut self) -> NonZeroU16 {
        self.scattered &= !self.inflight.is_empty();
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            let Some(id) = NonZeroU16::new(self.last_packet_id) else {
                continue;
            };
            self.scattered |= self.inflight.front().is_some_and(|m| m.packet_id() == id);
            // A window is smaller than the number of ids, so one is free.
            if !self.scattered || self.position(id).is_none() {
                return id;
            }
        }
    }

    /// Where the message with this packet id is in `inflight`. Acknowledgements come in
    /// order from nearly every client, so the front is looked at first.
    pub(crate) fn position(&self, id: NonZeroU16) -> Option<usize> {
        let front = self.inflight.front()?.packet_id();
        if front == id {
            return Some(0);
        }
        if self.scattered {
            return self.inflight.iter().position(|m| m.packet_id() == id);
        }
        let distance = |id: NonZeroU16| id.get().wrapping_sub(front.get()) as usize;
        // Passing 65535 skips the id 0: distances stay sorted, only with a gap.
        let found = self
            .inflight
            .binary_search_by_key(&distance(id), |m| distance(m.packet_id()));
        found.ok()
    }

    /// Puts back what was in flight before a restart.
    pub(crate) fn put_in_flight(&mut self, entry: InFlight) {
        let id = entry.packet_id();
        self.last_packet_id = id.get();
        if let (Some(front), Some(back)) = (self.inflight.front(), self.inflight.back()) {
            let distance = |id: NonZeroU16| id.get().wrapping_sub(front.packet_id().get()) as usize;
            self.scattered |= distance(id) <= distance(back.packet_id());
        }
        self.inflight.push_back(entry);
    }

    /// Takes an entry out of flight.
    pub(crate) fn settle(&mut self, at: usize) -> InFlight {
        if at >= self.inflight.len() - self.unsent {
            self.unsent -= 1;
        }
        self.inflight.remove(at).expect("an entry is there")
    }

    /// Whether a new message may go out at once: nothing waits before it, and the window is
    /// open.
    pub(crate) fn is_open(&self, window: usize) -> bool {
        self.queue.is_empty() && self.unsent == 0 && self.inflight.len() < window
    }

    /// QoS 1 and 2 messages that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len() - self.queued_qos0 as usize
    }

    /// Whether so many bytes more may wait. A first message always may, however large. QoS 0 has
    /// limits of its own and takes nobody's place.
    pub(crate) fn has_room(&self, weight: usize, limits: &Limits) -> bool {
        self.queued() == 0
            || self.queued() < limits.max_queued_messages as usize
                && self.queued_bytes + weight as u64 <= u64::from(limits.max_queued_bytes)
    }

    /// Whether half of its room is free, so that those who wait need not come back for each place.
    pub(crate) fn is_half_empty(&self, limits: &Limits) -> bool {
        self.queued() <= limits.max_queued_messages as usize / 2
            && self.queued_bytes <= u64::from(limits.max_queued_bytes) / 2
    }

    /// Whether so many bytes more of QoS 0 may wait.
    pub(crate) fn has_room_for_qos0(&self, weight: usize, limits: &Limits) -> bool {
        self.queued_qos0 < limits.max_queued_qos0
            && (self.queued_qos0 == 0
                || self.queued_qos0_bytes + weight as u64 <= limits.max_queued_qos0_bytes)
    }

    pub(crate) fn push_queue(&mut self, owed: Owed) {
        let weight = owed.message.weight() as u64;
        if owed.is_kept() {
            self.queued_bytes += weight;
        } else {
            self.queued_qos0 += 1;
            self.queued_qos0_bytes += weight;
        }
        self.queue.push_back(owed);
    }

    pub(crate) fn pop_queue(&mut self) -> Option<Owed> {
        let owed = self.queue.pop_front()?;
        let weight = owed.message.weight() as u64;
        if owed.is_kept() {
            self.queued_bytes -= weight;
        } else {
            self.queued_qos0 -= 1;
            self.queued_qos0_bytes -= weight;
        }
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue.shrink_to(64);
        }
        Some(owed)
    }

    /// QoS 0 messages are only owed to a connection, not to a session.
    pub(crate) fn drop_qos0(&mut self) {
        self.queue.retain(|owed| owed.qos != QoS::AtMostOnce);
        self.queued_qos0 = 0;
        self.queued_qos0_bytes = 0;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.inflight.is_empty() && self.queue.is_empty() && self.incoming.is_empty()
    }
}

impl Session {
    /// One that nobody is connected to.
    pub(crate) fn new(client_id: Box<str>, origin: u64, permissions: Arc<Permissions>) -> Self {
        Session {
            client_id,
            origin,
            connection: None,
            epoch: 0,
            version: Version::V311,
            blocked: false,
            bridge: false,
            keep: Keep::Nothing,
            keep_alive: 0,
            window: 0,
            told_receive_maximum: 0,
            told_alias_maximum: 0,
            max_packet: u32::MAX,
            expiry: 0,
            last_seen: Time(0),
            permissions,
            subscriptions: Vec::new(),
            flow: None,
            extra: None,
        }
    }

    pub(crate) fn flow(&mut self) -> &mut Flow {
        self.flow.get_or_insert_default()
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.permissions.user.as_deref()
    }

    /// The client's name for logs and events.
    pub(crate) fn name(&self) -> String {
        String::from(&*self.client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stays_small() {
        // The budget for a whole idle connection, this included, is 490 bytes.
        assert!(size_of::<Session>() <= 112, "{}", size_of::<Session>());
    }
}
