//! Talking to peers: interest, forwarded messages, SUBACKs that wait for them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use safeport_mqtt::Packet;

use crate::broker::Broker;
use crate::effect::{Effect, Frame, PeerMessage};
use crate::ids::SessionId;
use crate::message::Message;
use crate::peers::Held;
use crate::time::Time;

impl Broker {
    /// Tells every peer how many local subscriptions a filter has. Returns the number under
    /// which they will answer (0: there is nobody to wait for).
    pub(crate) fn tell_interest(&mut self, filter: &str, members: u32, answer: bool) -> u64 {
        if self.peers.all == 0 {
            return 0;
        }
        let sequence = if answer {
            self.peers.sequence += 1;
            self.peers.sequence
        } else {
            0
        };
        self.effects.list.push(Effect::Tell {
            peers: self.peers.all,
            message: Box::new(PeerMessage::Interest {
                filter: filter.into(),
                members,
                sequence,
            }),
        });
        sequence
    }

    /// Keeps a SUBACK back until every peer knows the interest numbered `sequence`.
    pub(crate) fn hold_until_known(&mut self, id: SessionId, packet: &Packet<'_>, sequence: u64) {
        let session = self.expect(id);
        let Some(connection) = session.connection else {
            return;
        };
        let mut bytes = Vec::new();
        if packet.encode(session.version, &mut bytes).is_err() {
            return;
        }
        // Some peers may have answered already to what another SUBACK waits for too.
        let waiting_for = match self.peers.held.back() {
            Some(last) if last.sequence == sequence => last.waiting_for,
            _ => self.peers.all,
        };
        self.peers.held.push_back(Held {
            sequence,
            waiting_for,
            session: id,
            connection,
            packet: bytes,
        });
    }

    /// What a peer said.
    pub fn handle_peer(&mut self, from: u8, message: PeerMessage, now: Time) {
        debug_assert_ne!(from, self.peers.me(), "a broker does not talk to itself");
        match message {
            PeerMessage::Interest {
                filter,
                members,
                sequence,
            } => {
                self.tree.set_peer_interest(from, &filter, members);
                if sequence != 0 {
                    self.effects.list.push(Effect::Tell {
                        peers: 1 << from,
                        message: Box::new(PeerMessage::InterestKnown { sequence }),
                    });
                }
            }
            PeerMessage::InterestKnown { sequence } => self.release_held(from, sequence),
            PeerMessage::Publish {
                message,
                ordinary,
                groups,
                retain,
            } => self.handle_forwarded(&message, ordinary, &groups, retain, now),
        }
    }

    /// A peer has come (or come back) and knows nothing: all interests and retained messages
    /// for it.
    pub fn introduce(&mut self, peer: u8) {
        let effects = &mut self.effects.list;
        self.tree.local_interest(|filter, members| {
            effects.push(Effect::Tell {
                peers: 1 << peer,
                message: Box::new(PeerMessage::Interest {
                    filter: filter.into(),
                    members,
                    sequence: 0,
                }),
            });
        });
        self.retained.all(|message: &Arc<Message>| {
            effects.push(Effect::Tell {
                peers: 1 << peer,
                message: Box::new(PeerMessage::Publish {
                    message: message.clone(),
                    ordinary: false,
                    groups: Vec::new(),
                    retain: true,
                }),
            });
        });
    }

    fn release_held(&mut self, from: u8, sequence: u64) {
        for held in &mut self.peers.held {
            if held.sequence <= sequence {
                held.waiting_for &= !(1u64 << from);
            }
        }
        while self.peers.held.front().is_some_and(|h| h.waiting_for == 0) {
            let Some(held) = self.peers.held.pop_front() else {
                return;
            };
            if !self.is_current(held.session, held.connection) {
                continue;
            }
            let start = self.effects.wire.len();
            self.effects.wire.extend_from_slice(&held.packet);
            let frame: Frame = self.effects.frame_since(start);
            self.stats.packets_sent += 1;
            self.effects.list.push(Effect::Send {
                to: held.connection,
                frame,
            });
        }
    }
}
