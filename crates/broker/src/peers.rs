//! Brokers next to this one: loops of the same process, later nodes of a cluster. They tell
//! each other which filters they want and forward what matches.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use core::num::NonZeroU16;
use safeport_mqtt::{QoS, ReasonCode};

use crate::ids::{ConnectionId, SessionId};

/// The broker where a client identifier is at home: all its connections go there, so that a
/// session never moves. The same everywhere and in every release (FNV-1a, modulo `brokers`).
pub fn home_of(client_id: &str, brokers: u8) -> u8 {
    let hash = client_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // The low bits of FNV are its weakest.
    ((hash ^ hash >> 32) % u64::from(brokers.max(1))) as u8
}

/// The others, and what waits for them.
pub(crate) struct Peers {
    /// one bit each, without this broker's own
    pub(crate) all: u64,
    me: u8,
    brokers: u8,
    pub(crate) sequence: u64,
    /// SUBACKs in the order of their interests: a peer answers in order, so the oldest is
    /// always the first to be complete
    pub(crate) held: VecDeque<Held>,
    /// answers to publishes, by publisher and in their order, while peers are still to keep
    /// what they concern
    pub(crate) answers: BTreeMap<SessionId, VecDeque<Answer>>,
    asks: u32,
}

/// A PUBACK or PUBREC that waits.
pub(crate) struct Answer {
    pub(crate) ask: u64,
    /// one bit for each peer that has not answered
    pub(crate) waiting_for: u64,
    /// some peer had no room
    pub(crate) refused: bool,
    pub(crate) connection: ConnectionId,
    pub(crate) packet_id: NonZeroU16,
    pub(crate) qos: QoS,
    pub(crate) code: ReasonCode,
}

/// Who forwarded a publish, and under which number it waits for an answer; 0 = it does not.
#[derive(Clone, Copy)]
pub(crate) struct Forwarded {
    pub(crate) from: u8,
    pub(crate) ask: u64,
}

/// A SUBACK that waits until peers know what it promises.
pub(crate) struct Held {
    pub(crate) sequence: u64,
    /// one bit for each peer that has not answered
    pub(crate) waiting_for: u64,
    pub(crate) session: SessionId,
    pub(crate) connection: ConnectionId,
    /// the packet, encoded
    pub(crate) packet: Vec<u8>,
}

impl Peers {
    pub(crate) fn new(me: u8, brokers: u8) -> Self {
        let everybody = match brokers {
            64.. => u64::MAX,
            n => (1u64 << n) - 1,
        };
        Self {
            all: everybody & !(1u64 << me),
            me,
            brokers,
            sequence: 0,
            held: VecDeque::new(),
            answers: BTreeMap::new(),
            asks: 0,
        }
    }

    pub(crate) fn me(&self) -> u8 {
        self.me
    }

    /// Whether nothing waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.answers.is_empty()
    }

    /// A number for a publish that peers are to answer. It names the publisher, too.
    pub(crate) fn next_ask(&mut self, publisher: SessionId) -> u64 {
        self.asks = self.asks.wrapping_add(1).max(1);
        (u64::from(self.asks) << 32) | u64::from(publisher.0)
    }

    /// Whether the answer to a QoS 2 publish of the session waits for peers.
    pub(crate) fn is_awaited(&self, publisher: SessionId, packet_id: NonZeroU16) -> bool {
        let answers = self.answers.get(&publisher);
        answers.is_some_and(|list| {
            list.iter()
                .any(|answer| answer.packet_id == packet_id && answer.qos == QoS::ExactlyOnce)
        })
    }

    /// The newest interest, if some peer may not know it yet; else 0.
    pub(crate) fn newest_unknown(&self) -> u64 {
        if self.held.is_empty() {
            0
        } else {
            self.sequence
        }
    }

    /// Whether a client identifier belongs to this broker.
    pub(crate) fn is_home(&self, client_id: &str) -> bool {
        home_of(client_id, self.brokers) == self.me
    }
}
