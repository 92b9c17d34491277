//! Talking to peers: interest, forwarded messages, SUBACKs that wait for them.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use safeport_mqtt::{Packet, QoS, ReasonCode};

use crate::broker::Broker;
use crate::effect::{Effect, Frame, PeerMessage};
use crate::ids::SessionId;
use crate::message::Message;
use crate::peers::{Answer, Forwarded, Held};
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
                ask,
            } => {
                let origin = Forwarded { from, ask };
                self.handle_forwarded(&message, ordinary, &groups, retain, &origin, now);
            }
            PeerMessage::Taken { ask, refused } => self.hear_answer(from, ask, refused),
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
                    ask: 0,
                }),
            });
        });
    }

    /// A peer has kept what was forwarded to it, or could not.
    fn hear_answer(&mut self, from: u8, ask: u64, refused: bool) {
        let id = SessionId(ask as u32);
        let Some(answers) = self.peers.answers.get_mut(&id) else {
            return;
        };
        let Some(answer) = answers.iter_mut().find(|answer| answer.ask == ask) else {
            return;
        };
        answer.waiting_for &= !(1u64 << from);
        answer.refused |= refused;
        self.send_answers(id);
    }

    /// Sends what has waited long enough, in the order of the publishes [MQTT-4.6.0-2].
    fn send_answers(&mut self, id: SessionId) {
        while let Some(answers) = self.peers.answers.get_mut(&id) {
            match answers.front() {
                Some(answer) if answer.waiting_for == 0 => {}
                Some(_) => return,
                None => {
                    self.peers.answers.remove(&id);
                    return;
                }
            }
            if let Some(answer) = answers.pop_front() {
                self.answer(id, &answer);
            }
        }
    }

    fn answer(&mut self, id: SessionId, answer: &Answer) {
        // After a new connection, a QoS 1 publish is sent again and has an answer of its own;
        // a QoS 2 exchange goes on.
        if answer.qos == QoS::AtLeastOnce && !self.is_current(id, answer.connection) {
            return;
        }
        let code = match answer.refused {
            true => ReasonCode::QuotaExceeded,
            false => answer.code,
        };
        self.answer_publish(id, answer.qos, answer.packet_id, code);
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
