//! From a published message to everybody who is owed it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU16;
use safeport_mqtt::{Packet, QoS, ReasonCode, Version};

use crate::broker::Broker;
use crate::effect::{Effect, PeerMessage};
use crate::frame::{Alias, Encoded, Form};
use crate::ids::SessionId;
use crate::limits::{PUMP_BYTES, SHARE_FROM, STORED_OVERHEAD};
use crate::message::{Message, Outgoing, WhenFull};
use crate::peers::Forwarded;
use crate::retained::is_own;
use crate::session::{Identifiers, InFlight, Keep, Owed};
use crate::subscriptions::{GroupChoice, Matches, Reach, Receiver};
use crate::time::Time;
use crate::timers::{Alarm, Timer};

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// At least one session (or the retained store, or a peer) has it.
    Delivered,
    /// The same, and these peers are still to say that they keep it.
    Asked { ask: u64, peers: u64 },
    /// Nobody subscribed to it.
    NobodyThere,
    /// Nobody got it, and the publisher is to know.
    Refused(ReasonCode),
    /// Nobody got it yet: a session's queue is full, and somebody is there to empty it.
    Full,
}

/// One message while it is handed out: what was already made of it for earlier receivers.
struct Handout<'a> {
    out: Outgoing<'a>,
    when_full: WhenFull,
    /// made when the first receiver has to keep it
    kept: Option<Arc<Message>>,
    /// encoded for [version 5][QoS][RETAIN], without identifiers and aliases
    encoded: [[[Option<Encoded>; 2]; 3]; 2],
    /// with [`WhenFull::Tell`]: a session that has more than its limit now
    full: Option<SessionId>,
    /// and whether one went without
    refused: bool,
}

impl<'a> Handout<'a> {
    fn new(out: Outgoing<'a>, when_full: WhenFull) -> Self {
        Self {
            out,
            when_full,
            kept: None,
            encoded: Default::default(),
            full: None,
            refused: false,
        }
    }

    /// For a message that somebody keeps already.
    fn of(message: &'a Arc<Message>) -> Self {
        Self {
            kept: Some(message.clone()),
            ..Self::new(message.outgoing(), WhenFull::Drop)
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
        when_full: WhenFull,
        now: Time,
    ) -> Outcome {
        let mut matches = core::mem::take(&mut self.matches);
        let outcome = self.route_matched(out, publisher, when_full, &mut matches, now);
        self.matches = matches;
        outcome
    }

    fn route_matched(
        &mut self,
        out: &Outgoing<'_>,
        publisher: Option<SessionId>,
        when_full: WhenFull,
        matches: &mut Matches,
        now: Time,
    ) -> Outcome {
        self.tree.matches(out.topic, publisher, matches);
        let remote_groups = self.choose_from_groups(matches, out, Reach::Everywhere);

        // Refusing comes before the first delivery: either all get it or nobody.
        let may_refuse = when_full == WhenFull::Refuse && out.qos != QoS::AtMostOnce;
        if may_refuse && let Some(refusal) = self.refusal(matches, out, publisher, now) {
            return refusal;
        }
        let mut handout = Handout::new(*out, when_full);
        if out.retain {
            handout.out.stamp = self.retained.next_stamp(self.peers.me());
            if !self.retain(&mut handout, now) {
                self.stats.publish_refused += 1;
                if may_refuse {
                    return Outcome::Refused(ReasonCode::QuotaExceeded);
                }
            }
        }
        self.hand_out(&mut handout, matches, now);
        if let Some(publisher) = publisher
            && self.watched.sees(out.topic)
        {
            self.tell_observer(out, publisher);
        }
        let reached =
            !matches.receivers.is_empty() || matches.peers != 0 || !remote_groups.is_empty();
        let ask = match publisher {
            Some(publisher) if may_refuse && self.peers.all != 0 => self.peers.next_ask(publisher),
            _ => 0,
        };
        let peers = self.forward(&mut handout, matches.peers, remote_groups, ask);
        if ask != 0 && peers != 0 {
            Outcome::Asked { ask, peers }
        } else if reached || out.retain {
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
        origin: &Forwarded,
        now: Time,
    ) {
        if message.is_expired(now) {
            self.answer_peer(origin, false);
            return;
        }
        let mut handout = Handout::of(message);
        if origin.ask != 0 {
            handout.when_full = WhenFull::Tell;
        }
        if retain {
            self.retained.saw(handout.out.stamp);
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
        let onward = self.choose_from_groups(&mut matches, &handout.out, Reach::HereIfPossible);
        self.hand_out(&mut handout, &matches, now);
        // The last member here has left while the message was on its way: it goes on to those
        // who are elsewhere. It cannot go in circles, since they heard of our leaving before.
        self.forward_to_groups(&mut handout, &onward, false, 0);
        self.matches = matches;
        match handout.full {
            // The publisher waits until there is room again.
            Some(full) if !handout.refused => self.answer_when_taken(full, origin),
            _ => self.answer_peer(origin, handout.refused),
        }
    }

    pub(crate) fn answer_peer(&mut self, origin: &Forwarded, refused: bool) {
        if origin.ask != 0 {
            self.effects.list.push(Effect::Tell {
                peers: 1 << origin.from,
                message: Box::new(PeerMessage::Taken {
                    ask: origin.ask,
                    refused,
                }),
            });
        }
    }

    /// Adds one receiver for each matching shared subscription [MQTT-4.8.2-4 ff.]; returns the
    /// groups whose turn is elsewhere.
    fn choose_from_groups(
        &mut self,
        matches: &mut Matches,
        out: &Outgoing<'_>,
        reach: Reach,
    ) -> Vec<(u8, Arc<str>)> {
        let mut remote = Vec::new();
        let (sessions, limits) = (&self.sessions, &self.limits);
        let usable = |id: SessionId, qos: QoS| {
            sessions[id.index()].as_ref().is_some_and(|session| {
                let room = out.qos.min(qos) == QoS::AtMostOnce
                    || session
                        .flow
                        .as_ref()
                        .is_none_or(|flow| flow.has_room(out.weight(), limits));
                session.connection.is_some() && !session.blocked && room
            })
        };
        for &group in &matches.groups {
            match self.tree.choose(group, reach, usable) {
                Some(GroupChoice::Member(receiver)) => matches.receivers.push(receiver),
                Some(GroupChoice::Peer(peer, key)) => remote.push((peer, key)),
                None => {}
            }
        }
        remote
    }

    /// Why the message cannot be taken now, if so.
    fn refusal(
        &mut self,
        matches: &Matches,
        out: &Outgoing<'_>,
        publisher: Option<SessionId>,
        now: Time,
    ) -> Option<Outcome> {
        if let Some(full) = self.first_full(matches, out, now) {
            if let Some(publisher) = publisher
                && self.hold_back(publisher, full, now)
            {
                return Some(Outcome::Full);
            }
            self.stats.publish_refused += 1;
            self.limit_reached(full, "limits.max_queued_messages");
            return Some(Outcome::Refused(ReasonCode::QuotaExceeded));
        }
        let waits = matches
            .receivers
            .iter()
            .filter(|receiver| receiver.options.qos() != QoS::AtMostOnce);
        let more = waits.clone().count() as u64;
        let bytes = self.stats.stored_bytes + more * out.weight() as u64;
        let memory = bytes + (self.stats.stored + more) * STORED_OVERHEAD;
        if more > 0 && memory > self.limits.max_stored_bytes {
            self.stats.publish_refused += 1;
            if let Some(first) = waits.clone().next() {
                self.limit_reached(first.session, "limits.max_stored_bytes");
            }
            return Some(Outcome::Refused(ReasonCode::QuotaExceeded));
        }
        let mut kept = waits.filter(|receiver| self.expect(receiver.session).keep == Keep::Whole);
        if self.is_disk_full() && (out.retain || kept.next().is_some()) {
            self.stats.publish_refused += 1;
            return Some(Outcome::Refused(ReasonCode::QuotaExceeded));
        }
        None
    }

    fn first_full(
        &mut self,
        matches: &Matches,
        out: &Outgoing<'_>,
        now: Time,
    ) -> Option<SessionId> {
        matches
            .receivers
            .iter()
            .filter(|receiver| receiver.options.qos() != QoS::AtMostOnce)
            .map(|receiver| receiver.session)
            .find(|&id| !self.make_room(id, out.weight(), now))
    }

    /// Whether the session can queue so many bytes more. Messages that have expired at the
    /// head of its queue do not stand in the way.
    fn make_room(&mut self, id: SessionId, weight: usize, now: Time) -> bool {
        loop {
            let flow = &self.expect(id).flow;
            if flow
                .as_ref()
                .is_none_or(|flow| flow.has_room(weight, &self.limits))
            {
                return true;
            }
            if !self.drop_expired(id, now) {
                return false;
            }
        }
    }

    /// Drops the head of the queue if it has expired [MQTT-3.3.2-5].
    fn drop_expired(&mut self, id: SessionId, now: Time) -> bool {
        let flow = self.expect_mut(id).flow();
        let Some(owed) = flow.queue.front().filter(|o| o.message.is_expired(now)) else {
            return false;
        };
        let (kept, weight) = (owed.is_kept(), owed.message.weight());
        flow.pop_queue();
        self.stats.publish_dropped += 1;
        if kept {
            self.note_unstored(weight);
            if self.expect(id).keep == Keep::Whole {
                self.records.skipped(id);
            }
        }
        self.has_taken(id);
        true
    }

    /// Stores or removes the retained message of the topic. False if it does not fit.
    fn retain(&mut self, handout: &mut Handout<'_>, now: Time) -> bool {
        let out = handout.out;
        if self.retained.has_newer(out.topic, out.stamp) {
            return true;
        }
        if out.payload.is_empty() {
            // An empty payload removes what is retained and is not kept itself
            // [MQTT-3.3.1-6, -7].
            if self.retained.remove(out.topic) && self.records.on && !is_own(out.topic) {
                self.records.unretained(out.topic);
            }
            if self.peers.all != 0 {
                self.leave_tombstone(&out, now);
            }
            return true;
        }
        if !is_own(out.topic) && (self.is_disk_full() || !self.has_room_to_retain(&out)) {
            return false;
        }
        self.keep_retained(handout.keep());
        true
    }

    fn has_room_to_retain(&self, out: &Outgoing<'_>) -> bool {
        let old = self.retained.weight_of(out.topic);
        let (count, bytes) = (self.retained.len(), self.retained.bytes());
        let new_count = count + u64::from(old.is_none());
        let new_bytes = bytes - old.unwrap_or(0) as u64 + out.weight() as u64;
        // What is kept already may be more than a limit that was lowered since: a device may go
        // on telling its state in place of its last one.
        new_count <= count.max(self.limits.max_retained_messages.into())
            && new_bytes <= bytes.max(self.limits.max_retained_bytes)
    }

    /// Remembers for a while that a topic's message was removed, so that an older one, still
    /// on its way from a peer, does not come back.
    fn leave_tombstone(&mut self, out: &Outgoing<'_>, now: Time) {
        self.keep_retained(Arc::new(Message::new(&Outgoing {
            properties: &[],
            expires_at: Some(now.after_seconds(TOMBSTONE_SECONDS)),
            ..*out
        })));
    }

    fn keep_retained(&mut self, message: Arc<Message>) {
        if self.records.on && !is_own(message.topic()) {
            self.records.retained(&message);
        }
        self.set_retained(message);
    }

    pub(crate) fn set_retained(&mut self, message: Arc<Message>) {
        let expires_at = message.expires_at;
        let node = self.retained.set(message);
        if let Some(at) = expires_at {
            self.push_timer(Timer {
                at,
                what: Alarm::RetainedExpiry,
                subject: node,
                epoch: 0,
            });
        }
    }

    fn hand_out(&mut self, handout: &mut Handout<'_>, matches: &Matches, now: Time) {
        for receiver in &matches.receivers {
            self.hand_to(handout, receiver, matches, now);
        }
    }

    /// Sends, queues or drops the message for one receiver. False if it was dropped.
    fn hand_to(
        &mut self,
        handout: &mut Handout<'_>,
        receiver: &Receiver,
        matches: &Matches,
        now: Time,
    ) -> bool {
        let id = receiver.session;
        let session = self.expect(id);
        let qos = handout.out.qos.min(receiver.options.qos());
        // RETAIN says "this was stored before you subscribed": not so for live messages,
        // unless the subscription wants it as published [MQTT-3.3.1-12, -13].
        let retain = handout.out.retain && receiver.options.retain_as_published();
        let online = session.connection.is_some();
        if qos == QoS::AtMostOnce {
            if !online {
                // Owed to connections only.
                return false;
            }
            let flow = session.flow.as_ref();
            let waits = flow.is_some_and(|flow| flow.queued_qos0 > 0);
            if !session.blocked && !waits {
                self.send_live(handout, receiver, matches, retain, now);
                return true;
            }
            let (weight, limits) = (handout.out.weight(), &self.limits);
            if flow.is_some_and(|flow| !flow.has_room_for_qos0(weight, limits)) {
                self.stats.publish_dropped += 1;
                return false;
            }
        } else if handout.when_full == WhenFull::Tell
            && session.keep == Keep::Whole
            && self.is_disk_full()
        {
            // Its publisher's broker could not know.
            handout.refused = true;
            self.stats.publish_refused += 1;
            return false;
        } else if handout.when_full != WhenFull::Refuse
            && !self.make_room(id, handout.out.weight(), now)
        {
            if handout.when_full == WhenFull::Tell && online && !self.is_far_too_full(id) {
                // Its publisher is not answered before there is room again.
                handout.full = Some(id);
            } else {
                handout.refused = true;
                self.stats.publish_dropped += 1;
                self.limit_reached(id, "limits.max_queued_messages");
                return false;
            }
        }
        let owed = Owed {
            message: handout.keep(),
            identifiers: Identifiers::collect(matches.identifiers(receiver)),
            qos,
            retain,
        };
        let session = self.expect_mut(id);
        let window = usize::from(session.window);
        let blocked = session.blocked;
        let whole = session.keep == Keep::Whole;
        let flow = session.flow();
        if qos != QoS::AtMostOnce && online && !blocked && flow.is_open(window) {
            let packet_id = flow.next_packet_id();
            flow.inflight
                .push_back(InFlight::Publish(packet_id, owed.clone()));
            self.note_stored(owed.message.weight());
            if whole {
                self.records.in_flight(id, packet_id, &owed);
            }
            if !self.send_kept(id, handout, &owed, packet_id, now) {
                self.forget_last_sent(id);
            }
        } else {
            self.queue(id, owed);
        }
        true
    }

    /// What is forwarded may exceed a queue's limit while its publisher waits, but not without
    /// end: not every client has a window.
    fn is_far_too_full(&self, id: SessionId) -> bool {
        let flow = &self.expect(id).flow;
        flow.as_ref().is_some_and(|flow| {
            flow.queued() >= 2 * self.limits.max_queued_messages as usize
                || flow.queued_bytes >= 2 * u64::from(self.limits.max_queued_bytes)
        })
    }

    /// Puts a message at the end of the session's queue.
    pub(crate) fn queue(&mut self, id: SessionId, owed: Owed) {
        if owed.is_kept() {
            self.note_stored(owed.message.weight());
            if self.expect(id).keep == Keep::Whole {
                self.records.queued(id, &owed);
            }
        }
        self.expect_mut(id).flow().push_queue(owed);
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
        let Encoded { frame, packet_len } = match *slot {
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
                let encoded = self
                    .effects
                    .encode_publish(&handout.out, &form, now, !shared);
                *slot.insert(encoded)
            }
        };
        if packet_len > max_packet as usize {
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
            // The alias takes 3 bytes, and each of the two lengths before it can grow by one.
            let fits = form.sizes(&out).packet + 5 <= max_packet;
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
        if let Some(gone) = flow.inflight.pop_back() {
            self.done_with(id, &gone);
        }
    }

    /// A message is not in flight any more.
    pub(crate) fn done_with(&mut self, id: SessionId, gone: &InFlight) {
        self.note_unstored(gone.weight());
        if self.expect(id).keep == Keep::Whole {
            self.records.settled(id, gone.packet_id());
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
                    let gone = self.expect_mut(id).flow().inflight.remove(at);
                    if let Some(gone) = gone {
                        self.done_with(id, &gone);
                    }
                }
                Some(sent)
            }
        }
    }

    /// The next message of the queue. `None` if the window is full.
    fn send_next(&mut self, id: SessionId, window: usize, now: Time) -> Option<usize> {
        let flow = self.expect_mut(id).flow();
        let next = flow.queue.front()?;
        if next.message.is_expired(now) {
            self.drop_expired(id, now);
            return Some(0);
        }
        if next.qos == QoS::AtMostOnce {
            let owed = flow.pop_queue()?;
            self.has_taken(id);
            return Some(self.send_publish(id, &owed, None, false, now));
        }
        if flow.inflight.len() >= window {
            return None;
        }
        let owed = flow.pop_queue()?;
        let packet_id = flow.next_packet_id();
        flow.inflight
            .push_back(InFlight::Publish(packet_id, owed.clone()));
        if self.expect(id).keep == Keep::Whole {
            self.records.sent(id, packet_id);
        }
        self.has_taken(id);
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
        let receiver = Receiver::direct(id, out.qos);
        let mut handout = Handout::new(*out, WhenFull::Drop);
        self.hand_to(&mut handout, &receiver, &Matches::default(), now)
    }

    /// One copy for each peer that wants the message; retained ones go to all.
    /// Returns those who are to answer: whoever only retains it need not, its publisher's own log
    /// has it.
    fn forward(
        &mut self,
        handout: &mut Handout<'_>,
        interested: u64,
        groups: Vec<(u8, Arc<str>)>,
        ask: u64,
    ) -> u64 {
        let all = self.peers.all;
        if all == 0 {
            return 0;
        }
        let retain = handout.out.retain;
        let named = groups.iter().fold(0u64, |mask, (peer, _)| mask | 1 << peer);
        let targets = (if retain { all } else { interested & all }) | named;
        let asked = (interested & all) | named;
        if targets == 0 {
            return 0;
        }
        for (plain, ask) in [(asked & !named, ask), (targets & !asked, 0)] {
            if plain == 0 {
                continue;
            }
            self.effects.list.push(Effect::Tell {
                peers: plain,
                message: Box::new(PeerMessage::Publish {
                    message: handout.keep(),
                    ordinary: true,
                    groups: Vec::new(),
                    retain,
                    ask,
                }),
            });
        }
        self.forward_to_groups(handout, &groups, true, ask);
        asked
    }

    /// To each peer whose turn it is, with the groups that it serves this time.
    fn forward_to_groups(
        &mut self,
        handout: &mut Handout<'_>,
        groups: &[(u8, Arc<str>)],
        ordinary: bool,
        ask: u64,
    ) {
        let mut left = groups.iter().fold(0u64, |mask, (peer, _)| mask | 1 << peer);
        while left != 0 {
            let peer = left.trailing_zeros() as u8;
            left &= left - 1;
            let here = groups.iter().filter(|(p, _)| *p == peer);
            self.effects.list.push(Effect::Tell {
                peers: 1 << peer,
                message: Box::new(PeerMessage::Publish {
                    message: handout.keep(),
                    ordinary,
                    groups: here.map(|(_, key)| key.clone()).collect(),
                    retain: ordinary && handout.out.retain,
                    ask,
                }),
            });
        }
    }
}

/// How long a removed retained message is remembered as removed, in seconds: far longer than
/// messages between peers take.
const TOMBSTONE_SECONDS: u32 = 60;

impl crate::session::Extra {
    /// The alias under which a topic travels: the first topics get one each for as long as
    /// the connection lives [MQTT-3.3.2-9 ff.].
    fn alias_for(&mut self, topic: &str, may_set: bool) -> Alias {
        if let Some(index) = self.aliases_out.iter().position(|known| **known == *topic) {
            return Alias::Use(index as u16 + 1);
        }
        // For a short topic an alias would be longer than what it replaces.
        if may_set && topic.len() > 3 && self.aliases_out.len() < usize::from(self.aliases_out_max)
        {
            self.aliases_out.push(topic.into());
            return Alias::Set(self.aliases_out.len() as u16);
        }
        Alias::None
    }
}
