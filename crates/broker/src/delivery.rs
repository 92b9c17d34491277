//! From a published message to everybody who is owed it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::num::NonZeroU16;
use safeport_mqtt::{Packet, QoS, ReasonCode, Version};

use crate::broker::{Alarm, Broker, Timer};
use crate::effect::{Effect, Frame, PeerMessage};
use crate::frame::{Alias, Encoded, Form};
use crate::limits::{PUMP_BYTES, SHARE_FROM};
use crate::message::{Message, Outgoing};
use crate::session::{Identifiers, InFlight, Owed, SessionId};
use crate::subscriptions::{GroupChoice, Matches, Receiver};
use crate::time::Time;

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At least one session (or the retained store, or a peer) has it.
    Delivered,
    /// Nobody subscribed to it.
    NobodyThere,
    /// Nobody got it, and the publisher is to know.
    Refused(ReasonCode),
}

/// One message while it is handed out: what was already made of it for earlier receivers.
struct Handout<'a> {
    out: Outgoing<'a>,
    /// made when the first receiver has to keep it
    kept: Option<Arc<Message>>,
    /// encoded for [version 5][QoS][RETAIN], without identifiers and aliases
    encoded: [[[Option<(Frame, u32)>; 2]; 3]; 2],
}

impl<'a> Handout<'a> {
    fn new(out: Outgoing<'a>, kept: Option<Arc<Message>>) -> Self {
        Self {
            out,
            kept,
            encoded: Default::default(),
        }
    }

    fn keep(&mut self) -> Arc<Message> {
        self.kept
            .get_or_insert_with(|| Arc::new(Message::new(&self.out)))
            .clone()
    }

    fn is_shared(&self) -> bool {
        self.out.payload.len() >= SHARE_FROM
    }
}

impl Broker {
    /// Hands a message to every session and peer that its topic concerns, and to the
    /// retained store.
    pub(crate) fn route(
        &mut self,
        out: &Outgoing<'_>,
        publisher: Option<SessionId>,
        now: Time,
    ) -> Outcome {
        let mut matches = core::mem::take(&mut self.matches);
        let outcome = self.route_matched(out, publisher, &mut matches, now);
        self.matches = matches;
        outcome
    }

    fn route_matched(
        &mut self,
        out: &Outgoing<'_>,
        publisher: Option<SessionId>,
        matches: &mut Matches,
        now: Time,
    ) -> Outcome {
        self.tree.matches(out.topic, publisher, matches);
        let mut remote_groups = Vec::new();
        self.choose_from_groups(matches, false, &mut remote_groups);

        // Refusing comes before the first delivery: either all get it or nobody.
        if out.qos != QoS::AtMostOnce
            && let Some(full) = self.first_full(matches, out)
        {
            self.stats.publish_refused += 1;
            self.limit_reached(full, "limits.max_queued_messages");
            return Outcome::Refused(ReasonCode::QuotaExceeded);
        }
        let mut handout = Handout::new(*out, None);
        if out.retain && !self.retain(&mut handout, now) {
            self.stats.publish_refused += 1;
            if out.qos != QoS::AtMostOnce {
                return Outcome::Refused(ReasonCode::QuotaExceeded);
            }
        }
        self.hand_out(&mut handout, matches, now);
        self.forward(&mut handout, matches.peers, remote_groups);

        let reached =
            !matches.receivers.is_empty() || matches.peers != 0 || !matches.groups.is_empty();
        if reached || out.retain {
            Outcome::Delivered
        } else {
            Outcome::NobodyThere
        }
    }

    /// A publish that a peer received and this broker's clients want.
    pub(crate) fn handle_forwarded(
        &mut self,
        message: &Arc<Message>,
        ordinary: bool,
        groups: &[Arc<str>],
        retain: bool,
        now: Time,
    ) {
        if message.is_expired(now) {
            return;
        }
        let mut handout = Handout::new(message.outgoing(), Some(message.clone()));
        if retain {
            self.retain(&mut handout, now);
        }
        let mut matches = core::mem::take(&mut self.matches);
        matches.receivers.clear();
        matches.groups.clear();
        if ordinary {
            self.tree.matches(message.topic(), None, &mut matches);
            // Ordinary interest says nothing of groups: the publisher's broker names them.
            matches.groups.clear();
        }
        matches
            .groups
            .extend(groups.iter().filter_map(|key| self.tree.group_by_key(key)));
        self.choose_from_groups(&mut matches, true, &mut Vec::new());
        self.hand_out(&mut handout, &matches, now);
        self.matches = matches;
    }

    /// Adds one receiver for each matching shared subscription [MQTT-4.8.2-4 ff.].
    fn choose_from_groups(
        &mut self,
        matches: &mut Matches,
        local_only: bool,
        remote: &mut Vec<(u8, Arc<str>)>,
    ) {
        for index in 0..matches.groups.len() {
            let sessions = &self.sessions;
            let usable = |id: SessionId| {
                sessions[id.index()]
                    .as_ref()
                    .is_some_and(|s| s.connection.is_some() && !s.blocked)
            };
            match self.tree.choose(matches.groups[index], local_only, usable) {
                Some(GroupChoice::Member(receiver)) => matches.receivers.push(receiver),
                Some(GroupChoice::Peer(peer, key)) => remote.push((peer, key)),
                None => {}
            }
        }
    }

    fn first_full(&self, matches: &Matches, out: &Outgoing<'_>) -> Option<SessionId> {
        let weight = out.weight() as u64;
        matches
            .receivers
            .iter()
            .find(|receiver| {
                if receiver.options.qos() == QoS::AtMostOnce {
                    return false;
                }
                let session = self.expect(receiver.session);
                session.flow.as_ref().is_some_and(|flow| {
                    flow.queue.len() >= self.limits.max_queued_messages as usize
                        || (!flow.queue.is_empty()
                            && flow.queued_bytes + weight > u64::from(self.limits.max_queued_bytes))
                })
            })
            .map(|receiver| receiver.session)
    }

    /// Stores or removes the retained message of the topic. False if it does not fit.
    fn retain(&mut self, handout: &mut Handout<'_>, now: Time) -> bool {
        let out = handout.out;
        if out.payload.is_empty() {
            // An empty payload removes what is retained and is not kept itself
            // [MQTT-3.3.1-6, -7].
            self.retained.remove(out.topic);
            return true;
        }
        let old = self.retained.weight_of(out.topic);
        let count = self.retained.len() + u64::from(old.is_none());
        let bytes = self.retained.bytes() - old.unwrap_or(0) as u64 + out.weight() as u64;
        if count > u64::from(self.limits.max_retained_messages)
            || bytes > self.limits.max_retained_bytes
        {
            return false;
        }
        let node = self.retained.set(handout.keep());
        if let Some(at) = out.expires_at
            && at > now
        {
            self.timers.push(Reverse(Timer {
                at,
                what: Alarm::RetainedExpiry,
                session: node,
                epoch: 0,
            }));
        }
        true
    }

    fn hand_out(&mut self, handout: &mut Handout<'_>, matches: &Matches, now: Time) {
        for receiver in &matches.receivers {
            self.hand_to(handout, receiver, matches, now);
        }
    }

    /// Sends, queues or drops the message for one receiver.
    fn hand_to(
        &mut self,
        handout: &mut Handout<'_>,
        receiver: &Receiver,
        matches: &Matches,
        now: Time,
    ) {
        let id = receiver.session;
        let session = self.sessions[id.index()]
            .as_mut()
            .expect("the tree lists living sessions");
        let qos = handout.out.qos.min(receiver.options.qos());
        // RETAIN says "this was stored before you subscribed": not so for live messages,
        // unless the subscription wants it as published [MQTT-3.3.1-12, -13].
        let retain = handout.out.retain && receiver.options.retain_as_published();
        let online = session.connection.is_some();
        if qos == QoS::AtMostOnce {
            if !online {
                // Owed to connections only.
                return;
            }
            let waiting = session.flow.as_ref().map_or(0, |flow| flow.queued_qos0);
            if !session.blocked && waiting == 0 {
                return self.send_live(handout, receiver, matches, retain, now);
            }
            if waiting >= self.limits.max_queued_qos0 {
                self.stats.publish_dropped += 1;
                return;
            }
        }
        let owed = Owed {
            message: handout.keep(),
            identifiers: Identifiers::collect(matches.identifiers(receiver)),
            qos,
            retain,
        };
        self.stats.stored += u64::from(qos != QoS::AtMostOnce);
        let window = usize::from(session.window);
        let blocked = session.blocked;
        let flow = session.flow();
        if qos != QoS::AtMostOnce
            && online
            && !blocked
            && flow.is_open(window)
            && let Some(packet_id) = flow.next_packet_id()
        {
            flow.inflight
                .push_back(InFlight::Publish(packet_id, owed.clone()));
            if !self.send_kept(id, handout, &owed, packet_id, now) {
                self.forget_last_sent(id);
            }
        } else {
            flow.push_queue(owed);
        }
    }

    /// The fast path: a QoS 0 message straight to the socket's buffer.
    fn send_live(
        &mut self,
        handout: &mut Handout<'_>,
        receiver: &Receiver,
        matches: &Matches,
        retain: bool,
        now: Time,
    ) {
        let session = self.expect(receiver.session);
        let individual = session.version == Version::V5
            && (receiver.identifier != 0
                || session
                    .extra
                    .as_ref()
                    .is_some_and(|e| e.aliases_out_max > 0));
        if !individual {
            self.send_common(
                receiver.session,
                handout,
                QoS::AtMostOnce,
                retain,
                None,
                now,
            );
            return;
        }
        let owed = Owed {
            message: handout.keep(),
            identifiers: Identifiers::collect(matches.identifiers(receiver)),
            qos: QoS::AtMostOnce,
            retain,
        };
        self.send_publish(receiver.session, &owed, None, false, now);
    }

    fn send_kept(
        &mut self,
        id: SessionId,
        handout: &mut Handout<'_>,
        owed: &Owed,
        packet_id: NonZeroU16,
        now: Time,
    ) -> bool {
        let session = self.expect(id);
        let individual = session.version == Version::V5
            && (owed.identifiers != Identifiers::None
                || session
                    .extra
                    .as_ref()
                    .is_some_and(|e| e.aliases_out_max > 0));
        if individual {
            self.send_publish(id, owed, Some(packet_id), false, now) > 0
        } else {
            self.send_common(id, handout, owed.qos, owed.retain, Some(packet_id), now)
        }
    }

    /// Sends the encoding that all receivers of the same version, QoS and RETAIN share.
    /// False if it is larger than the client takes.
    fn send_common(
        &mut self,
        id: SessionId,
        handout: &mut Handout<'_>,
        qos: QoS,
        retain: bool,
        packet_id: Option<NonZeroU16>,
        now: Time,
    ) -> bool {
        let session = self.expect(id);
        let Some(to) = session.connection else {
            return false;
        };
        let (max_packet, v5) = (session.max_packet, session.version == Version::V5);
        let shared = handout.is_shared();
        let slot = &mut handout.encoded[usize::from(v5)][qos as usize][usize::from(retain)];
        let (frame, packet_len) = match *slot {
            Some(known) => known,
            None => {
                let form = Form {
                    v5,
                    qos,
                    dup: false,
                    retain,
                    identifiers: &[],
                    alias: Alias::None,
                };
                let Encoded { frame, packet_len } =
                    self.effects
                        .encode_publish(&handout.out, &form, now, !shared);
                *slot.insert((frame, packet_len as u32))
            }
        };
        if packet_len > max_packet {
            // Not sent, and counted as sent [MQTT-3.1.2-25].
            self.stats.publish_dropped += 1;
            return false;
        }
        self.stats.packets_sent += 1;
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += handout.out.payload.len() as u64;
        let frame = frame.for_packet_id(packet_id);
        self.effects.list.push(if shared {
            Effect::SendShared {
                to,
                head: frame,
                message: handout.keep(),
            }
        } else {
            Effect::Send { to, frame }
        });
        true
    }

    /// Sends a kept message in the receiver's own encoding: identifiers, aliases, DUP.
    /// Returns the bytes it took, 0 if it is larger than the client takes.
    pub(crate) fn send_publish(
        &mut self,
        id: SessionId,
        owed: &Owed,
        packet_id: Option<NonZeroU16>,
        dup: bool,
        now: Time,
    ) -> usize {
        let session = self.sessions[id.index()]
            .as_mut()
            .expect("the session is listed");
        let Some(to) = session.connection else {
            return 0;
        };
        let v5 = session.version == Version::V5;
        let out = owed.message.outgoing();
        let mut form = Form {
            v5,
            qos: owed.qos,
            dup,
            retain: owed.retain,
            identifiers: owed.identifiers.as_slice(),
            alias: Alias::None,
        };
        let shared = out.payload.len() >= SHARE_FROM;
        let max_packet = session.max_packet as usize;
        if v5 && let Some(extra) = &mut session.extra {
            let fits = form.sizes(&out).packet + 3 <= max_packet;
            form.alias = extra.alias_for(out.topic, fits);
        }
        if form.sizes(&out).packet > max_packet {
            self.stats.publish_dropped += 1;
            return 0;
        }
        let Encoded { frame, packet_len } = self.effects.encode_publish(&out, &form, now, !shared);
        self.stats.packets_sent += 1;
        self.stats.publish_sent += 1;
        self.stats.publish_bytes_sent += out.payload.len() as u64;
        let frame = frame.for_packet_id(packet_id);
        self.effects.list.push(if shared {
            Effect::SendShared {
                to,
                head: frame,
                message: owed.message.clone(),
            }
        } else {
            Effect::Send { to, frame }
        });
        packet_len
    }

    /// A message larger than the client takes does not stay in flight: it counts as sent
    /// [MQTT-3.1.2-25].
    fn forget_last_sent(&mut self, id: SessionId) {
        let flow = self.expect_mut(id).flow();
        if flow.inflight.pop_back().is_some() {
            self.stats.stored -= 1;
        }
    }

    /// Sends what waits for a session, as far as its window and its socket allow: first what
    /// an earlier connection left unacknowledged, then the queue.
    pub(crate) fn pump(&mut self, id: SessionId, now: Time) {
        let mut credit = PUMP_BYTES;
        loop {
            let session = self.expect_mut(id);
            let (Some(to), false) = (session.connection, session.blocked) else {
                return;
            };
            let window = usize::from(session.window);
            let Some(flow) = &mut session.flow else {
                return;
            };
            if flow.unsent == 0 && flow.queue.is_empty() {
                return;
            }
            if credit == 0 {
                session.blocked = true;
                self.effects.list.push(Effect::WatchDrain { to });
                return;
            }
            let sent = if flow.unsent > 0 {
                self.send_again(id, window, now)
            } else {
                self.send_next(id, window, now)
            };
            match sent {
                Some(bytes) => credit = credit.saturating_sub(bytes),
                None => return,
            }
        }
    }

    /// The oldest message in flight that this connection has not seen. `None` if the window
    /// is full.
    fn send_again(&mut self, id: SessionId, window: usize, now: Time) -> Option<usize> {
        let flow = self.expect_mut(id).flow();
        let at = flow.inflight.len() - flow.unsent;
        if at >= window {
            return None;
        }
        flow.unsent -= 1;
        match &flow.inflight[at] {
            InFlight::Release(packet_id) => {
                let packet_id = *packet_id;
                self.send_ack(id, Packet::PubRel, packet_id, ReasonCode::Success);
                Some(4)
            }
            InFlight::Publish(packet_id, owed) => {
                let (packet_id, owed) = (*packet_id, owed.clone());
                let sent = self.send_publish(id, &owed, Some(packet_id), true, now);
                if sent == 0 {
                    self.expect_mut(id).flow().inflight.remove(at);
                    self.stats.stored -= 1;
                }
                Some(sent)
            }
        }
    }

    /// The next message of the queue. `None` if the window is full.
    fn send_next(&mut self, id: SessionId, window: usize, now: Time) -> Option<usize> {
        let flow = self.expect_mut(id).flow();
        let next = flow.queue.front()?;
        let stored = next.qos != QoS::AtMostOnce;
        if next.message.is_expired(now) {
            // [MQTT-3.3.2-5]
            flow.pop_queue();
            self.stats.publish_dropped += 1;
            self.stats.stored -= u64::from(stored);
            return Some(0);
        }
        if !stored {
            let owed = flow.pop_queue()?;
            return Some(self.send_publish(id, &owed, None, false, now));
        }
        if flow.inflight.len() >= window {
            return None;
        }
        let packet_id = flow.next_packet_id()?;
        let owed = flow.pop_queue()?;
        flow.inflight
            .push_back(InFlight::Publish(packet_id, owed.clone()));
        let sent = self.send_publish(id, &owed, Some(packet_id), false, now);
        if sent == 0 {
            self.forget_last_sent(id);
        }
        Some(sent)
    }

    pub(crate) fn deliver_directly(
        &mut self,
        id: SessionId,
        out: &Outgoing<'_>,
        now: Time,
    ) -> bool {
        let session = self.expect(id);
        let online = session.connection.is_some();
        if !online && (out.qos == QoS::AtMostOnce || session.expiry == 0) {
            return false;
        }
        let full = session
            .flow
            .as_ref()
            .is_some_and(|flow| flow.queue.len() >= self.limits.max_queued_messages as usize);
        if full {
            self.stats.publish_refused += 1;
            return false;
        }
        self.stats.stored += u64::from(out.qos != QoS::AtMostOnce);
        let owed = Owed {
            message: Arc::new(Message::new(out)),
            identifiers: Identifiers::None,
            qos: out.qos,
            retain: false,
        };
        self.expect_mut(id).flow().push_queue(owed);
        self.pump(id, now);
        true
    }

    /// One copy for each peer that wants the message; retained ones go to all.
    fn forward(&mut self, handout: &mut Handout<'_>, interested: u64, groups: Vec<(u8, Arc<str>)>) {
        let all = self.peers.all;
        if all == 0 {
            return;
        }
        let retain = handout.out.retain;
        let named = groups.iter().fold(0u64, |mask, (peer, _)| mask | 1 << peer);
        let targets = (if retain { all } else { interested & all }) | named;
        if targets == 0 {
            return;
        }
        let message = handout.keep();
        let plain = targets & !named;
        if plain != 0 {
            self.effects.list.push(Effect::Tell {
                peers: plain,
                message: PeerMessage::Publish {
                    message: message.clone(),
                    ordinary: true,
                    groups: Vec::new(),
                    retain,
                },
            });
        }
        for peer in (0..64u8).filter(|peer| named & (1 << peer) != 0) {
            self.effects.list.push(Effect::Tell {
                peers: 1 << peer,
                message: PeerMessage::Publish {
                    message: message.clone(),
                    ordinary: true,
                    groups: groups
                        .iter()
                        .filter(|(p, _)| *p == peer)
                        .map(|(_, key)| key.clone())
                        .collect(),
                    retain,
                },
            });
        }
    }
}

impl crate::session::Extra {
    /// The alias under which a topic travels: the first topics get one each for as long as
    /// the connection lives [MQTT-3.3.2-9 ff.].
    fn alias_for(&mut self, topic: &str, may_set: bool) -> Alias {
        if let Some(index) = self.aliases_out.iter().position(|known| **known == *topic) {
            return Alias::Use(index as u16 + 1);
        }
        if may_set && self.aliases_out.len() < usize::from(self.aliases_out_max) {
            self.aliases_out.push(topic.into());
            return Alias::Set(self.aliases_out.len() as u16);
        }
        Alias::None
    }
}
