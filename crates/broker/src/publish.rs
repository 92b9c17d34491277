//! What clients send: PUBLISH and its acknowledgements, and the rest of the packets.

use alloc::boxed::Box;
use alloc::string::String;
use core::num::NonZeroU16;
use safeport_mqtt::{
    Ack, Disconnect, Packet, Properties, PropertiesBuf, Property, Publish, QoS, ReasonCode, Version,
};

use crate::broker::Broker;
use crate::delivery::Outcome;
use crate::effect::{DisconnectCause, Effect, Event, Observed, Publisher};
use crate::ids::{ConnectionId, SessionId};
use crate::limits::MAX_ADDRESSED;
use crate::message::{Outgoing, WhenFull};
use crate::peers::Answer;
use crate::pushback::Handled;
use crate::retained::is_own;
use crate::session::{Flow, InFlight, Keep};
use crate::time::Time;

impl Broker {
    /// A packet from the client. Packets of a connection that the broker has already closed
    /// are ignored. [`Handled::Later`] if the client is held back: nothing was done, and the
    /// same packet has to be handed in again after [`Effect::Resume`](crate::Effect::Resume).
    pub fn handle_packet(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        packet: &Packet<'_>,
        now: Time,
    ) -> Handled {
        let Some(session) = self.session_mut(id) else {
            return Handled::Done;
        };
        if session.connection != Some(connection) {
            return Handled::Done;
        }
        session.last_seen = now;
        self.stats.packets_received += 1;
        match packet {
            Packet::Publish(publish) => return self.publish_from(id, publish, now),
            Packet::PubAck(ack) => self.acknowledged(id, ack.packet_id, now),
            Packet::PubRec(ack) => self.received(id, ack, now),
            Packet::PubRel(ack) => self.released(id, ack.packet_id),
            Packet::PubComp(ack) => self.completed(id, ack.packet_id, now),
            Packet::Subscribe(subscribe) => self.subscribe(id, subscribe, now),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(id, unsubscribe),
            Packet::PingReq => self.send(id, &Packet::PingResp),
            Packet::Disconnect(disconnect) => self.goodbye(id, disconnect, now),
            // A second CONNECT [MQTT-3.1.0-2], AUTH without a method agreed [MQTT-4.12.0-1 ff.]
            // and everything that only servers send.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => self.protocol_error(id, ReasonCode::ProtocolError, now),
        }
        Handled::Done
    }

    fn publish_from(&mut self, id: SessionId, publish: &Publish<'_>, now: Time) -> Handled {
        let broken = |broker: &mut Self, reason| {
            broker.protocol_error(id, reason, now);
            Handled::Done
        };
        if publish.properties.is_empty() && !publish.topic.is_empty() {
            return self.publish_on(id, publish, publish.topic, &[], None, now);
        }
        if publish
            .properties
            .subscription_identifiers()
            .next()
            .is_some()
        {
            // [MQTT-3.3.4-6]
            return broken(self, ReasonCode::ProtocolError);
        }
        let alias = publish.properties.topic_alias();
        let mut resolved = None;
        if let Some(alias) = alias {
            if alias > self.expect(id).told_alias_maximum {
                return broken(self, ReasonCode::TopicAliasInvalid);
            }
            let extra = self.expect_mut(id).extra.get_or_insert_default();
            let index = usize::from(alias) - 1;
            if publish.topic.is_empty() {
                resolved = extra.aliases_in.get(index).cloned().flatten();
            } else {
                if extra.aliases_in.len() <= index {
                    extra.aliases_in.resize(index + 1, None);
                }
                extra.aliases_in[index] = Some(publish.topic.into());
            }
        }
        let topic = if publish.topic.is_empty() {
            match &resolved {
                Some(topic) => topic,
                // An alias that was never set [MQTT-3.3.2-8 ff.].
                None => return broken(self, ReasonCode::ProtocolError),
            }
        } else {
            publish.topic
        };
        let mut forwarded = core::mem::take(&mut self.properties);
        forwarded_properties(&publish.properties, &mut forwarded);
        let expiry = publish.properties.message_expiry();
        let bytes = forwarded.as_properties();
        let handled = self.publish_on(id, publish, topic, bytes.as_bytes(), expiry, now);
        self.properties = forwarded;
        handled
    }

    fn publish_on(
        &mut self,
        id: SessionId,
        publish: &Publish<'_>,
        topic: &str,
        properties: &[u8],
        expiry: Option<u32>,
        now: Time,
    ) -> Handled {
        if let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id)
            && !self.open_incoming(id, packet_id, now)
        {
            return Handled::Done;
        }
        let session = self.expect(id);
        let out = Outgoing {
            topic,
            payload: publish.payload,
            properties,
            qos: publish.qos,
            retain: publish.retain,
            expires_at: expiry.map(|seconds| now.after_seconds(seconds)),
            origin: session.origin,
            stamp: 0,
        };
        let outcome = match self.may_publish(id, topic) {
            Ok(()) if self.expect(id).permissions.addresses_server(topic) => {
                self.address_server(id, topic, publish.payload)
            }
            Ok(()) => self.route(&out, Some(id), WhenFull::Refuse, now),
            Err(reason) => Outcome::Refused(reason),
        };
        if outcome == Outcome::Full {
            // As if it had not come: it comes again.
            self.stats.packets_received -= 1;
            if let (QoS::ExactlyOnce, Some(packet_id)) = (publish.qos, publish.packet_id) {
                self.close_incoming(id, packet_id);
            }
            return Handled::Later;
        }
        self.push_back.let_go(id);
        self.stats.publish_received += 1;
        self.stats.publish_bytes_received += publish.payload.len() as u64;
        let code = match outcome {
            Outcome::Full => unreachable!("handled above"),
            Outcome::Delivered | Outcome::Asked { .. } => ReasonCode::Success,
            Outcome::NobodyThere => ReasonCode::NoMatchingSubscribers,
            Outcome::Refused(reason) => reason,
        };
        let Some(packet_id) = publish.packet_id else {
            return Handled::Done;
        };
        let (ask, waiting_for) = match outcome {
            Outcome::Asked { ask, peers } => (ask, peers),
            _ => (0, 0),
        };
        // An answer does not overtake one that waits for peers.
        if waiting_for != 0 || self.peers.answers.contains_key(&id) {
            if let Some(connection) = self.expect(id).connection {
                let answers = self.peers.answers.entry(id).or_default();
                answers.push_back(Answer {
                    ask,
                    waiting_for,
                    refused: false,
                    connection,
                    packet_id,
                    qos: publish.qos,
                    code,
                });
            }
            return Handled::Done;
        }
        self.answer_publish(id, publish.qos, packet_id, code);
        Handled::Done
    }

    /// Hands a message to the server itself, whoever has subscribed to its topic.
    fn address_server(&mut self, id: SessionId, topic: &str, payload: &[u8]) -> Outcome {
        if payload.len() > MAX_ADDRESSED {
            self.limit_reached(id, "length of a message to the server");
            return Outcome::Refused(ReasonCode::QuotaExceeded);
        }
        let session = self.expect(id);
        let Some(from) = session.connection else {
            return Outcome::NobodyThere;
        };
        let publisher = Publisher {
            client_id: session.name(),
            user: session.user().map(String::from),
        };
        let message = Box::new(Observed {
            publisher: Some(publisher),
            topic: topic.into(),
            payload: payload.into(),
            retain: false,
        });
        self.effects.list.push(Effect::Addressed { from, message });
        Outcome::Delivered
    }

    /// PUBACK or PUBREC, now that what the publish concerns is kept, or is not.
    pub(crate) fn answer_publish(
        &mut self,
        id: SessionId,
        qos: QoS,
        packet_id: NonZeroU16,
        code: ReasonCode,
    ) {
        let version = self.expect(id).version;
        if code == ReasonCode::QuotaExceeded && version != Version::V5 {
            // 3.x has no negative acknowledgement: without one the client sends it again
            // when it returns. Acknowledging what was not kept would lose it.
            if qos == QoS::ExactlyOnce {
                self.close_incoming(id, packet_id);
            }
            return;
        }
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.send_ack(id, Packet::PubAck, packet_id, code),
            QoS::ExactlyOnce => {
                if code.is_error() && version == Version::V5 {
                    self.close_incoming(id, packet_id);
                } else if self.expect(id).keep == Keep::Whole && self.is_open(id, packet_id) {
                    self.records.received(id, packet_id);
                }
                self.send_ack(id, Packet::PubRec, packet_id, code);
            }
        }
    }

    /// Notes a QoS 2 packet id as open. False if the message is a repetition (answered
    /// again, not delivered again [MQTT-4.3.3-10]) or too many are open.
    fn open_incoming(&mut self, id: SessionId, packet_id: NonZeroU16, now: Time) -> bool {
        let session = self.expect_mut(id);
        let limit = usize::from(session.told_receive_maximum);
        let version = session.version;
        let Flow {
            incoming, carried, ..
        } = session.flow();
        if incoming.contains(&packet_id) {
            if self.peers.is_awaited(id, packet_id) {
                // It is answered when the peers have answered.
                return false;
            }
            self.send_ack(id, Packet::PubRec, packet_id, ReasonCode::Success);
            return false;
        }
        if incoming.len() - *carried >= limit && version == Version::V5 {
            // [MQTT-3.3.4-7, -8]; 3.x clients were told no limit, ids end at 65,535.
            self.protocol_error(id, ReasonCode::ReceiveMaximumExceeded, now);
            return false;
        }
        incoming.push(packet_id);
        true
    }

    /// Whether a QoS 2 publish is open. A client may have released it before its answer.
    fn is_open(&self, id: SessionId, packet_id: NonZeroU16) -> bool {
        let flow = &self.expect(id).flow;
        flow.as_ref()
            .is_some_and(|flow| flow.incoming.contains(&packet_id))
    }

    fn close_incoming(&mut self, id: SessionId, packet_id: NonZeroU16) -> bool {
        let Some(flow) = &mut self.expect_mut(id).flow else {
            return false;
        };
        match flow.incoming.iter().position(|open| *open == packet_id) {
            Some(at) => {
                flow.incoming.remove(at);
                flow.carried -= usize::from(at < flow.carried);
                true
            }
            None => false,
        }
    }

    fn may_publish(&mut self, id: SessionId, topic: &str) -> Result<(), ReasonCode> {
        if self.limits.is_too_deep(topic) {
            self.limit_reached(id, "limits.max_topic_levels");
            return Err(ReasonCode::TopicNameInvalid);
        }
        let session = self.expect(id);
        if !is_own(topic) && session.permissions.publish.allows_topic(topic) {
            return Ok(());
        }
        let event = Event::NotAllowed {
            client_id: session.name(),
            user: session.user().map(String::from),
            action: "publish",
            topic: topic.into(),
        };
        self.event(event);
        Err(ReasonCode::NotAuthorized)
    }

    /// PUBACK.
    fn acknowledged(&mut self, id: SessionId, packet_id: NonZeroU16, now: Time) {
        self.settle(
            id,
            packet_id,
            now,
            |entry| matches!(entry, InFlight::Publish(_, owed) if owed.qos == QoS::AtLeastOnce),
        );
    }

    /// PUBCOMP.
    fn completed(&mut self, id: SessionId, packet_id: NonZeroU16, now: Time) {
        self.settle(id, packet_id, now, |entry| {
            matches!(entry, InFlight::Release(_))
        });
    }

    /// Takes an entry out of flight and sends what waited for its place. An acknowledgement
    /// of something that is not in flight (or not of this kind) changes nothing.
    fn settle(
        &mut self,
        id: SessionId,
        packet_id: NonZeroU16,
        now: Time,
        expected: impl Fn(&InFlight) -> bool,
    ) {
        let Some(flow) = &mut self.expect_mut(id).flow else {
            return;
        };
        let Some(at) = flow.position(packet_id) else {
            return;
        };
        if !expected(&flow.inflight[at]) {
            return;
        }
        let gone = flow.settle(at);
        let waiting = !flow.queue.is_empty() || flow.unsent > 0;
        self.done_with(id, &gone);
        if waiting {
            self.pump(id, now);
        }
    }

    fn received(&mut self, id: SessionId, ack: &Ack<'_>, now: Time) {
        let position = self
            .expect(id)
            .flow
            .as_ref()
            .and_then(|flow| flow.position(ack.packet_id));
        let Some(at) = position else {
            return self.send_ack(
                id,
                Packet::PubRel,
                ack.packet_id,
                ReasonCode::PacketIdentifierNotFound,
            );
        };
        let flow = self.expect_mut(id).flow();
        match &flow.inflight[at] {
            InFlight::Publish(_, owed) if owed.qos == QoS::ExactlyOnce => {}
            InFlight::Publish(..) => return,
            InFlight::Release(_) => {
                return self.send_ack(id, Packet::PubRel, ack.packet_id, ReasonCode::Success);
            }
        }
        if ack.code.is_error() {
            // The client will not take it: the exchange ends here [MQTT-4.3.3-4].
            let gone = flow.settle(at);
            self.done_with(id, &gone);
            return self.pump(id, now);
        }
        let weight = flow.inflight[at].weight();
        flow.inflight[at] = InFlight::Release(ack.packet_id);
        self.note_lighter(weight);
        if self.expect(id).keep == Keep::Whole {
            self.records.released(id, ack.packet_id);
        }
        self.send_ack(id, Packet::PubRel, ack.packet_id, ReasonCode::Success);
    }

    fn released(&mut self, id: SessionId, packet_id: NonZeroU16) {
        let code = if self.close_incoming(id, packet_id) {
            if self.expect(id).keep == Keep::Whole {
                self.records.completed(id, packet_id);
            }
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.send_ack(id, Packet::PubComp, packet_id, code);
    }

    fn goodbye(&mut self, id: SessionId, packet: &Disconnect<'_>, now: Time) {
        if let Some(expiry) = packet.properties.session_expiry() {
            let limit = self.limits.session_expiry;
            let session = self.expect_mut(id);
            if session.expiry == 0 && expiry != 0 {
                // A session that was to end with its connection cannot be kept afterwards
                // [3.14.2.2.2].
                return self.protocol_error(id, ReasonCode::ProtocolError, now);
            }
            session.expiry = expiry.min(limit);
        }
        let cause = match packet.code {
            ReasonCode::Success => DisconnectCause::Client,
            // 0x04 and every error code leave the will in force [MQTT-3.14.4-3].
            _ => DisconnectCause::ClientWithWill,
        };
        self.disconnect(id, cause, now);
    }
}

/// Copies the properties that travel on unaltered [MQTT-3.3.2-4, -15, -16, -17, -20], in
/// their order.
pub(crate) fn forwarded_properties(properties: &Properties<'_>, out: &mut PropertiesBuf) {
    out.clear();
    for property in properties.iter() {
        if matches!(
            property,
            Property::PayloadFormatIndicator(_)
                | Property::ContentType(_)
                | Property::ResponseTopic(_)
                | Property::CorrelationData(_)
                | Property::UserProperty(..)
        ) {
            out.push(property)
                .expect("a decoded property can be encoded");
        }
    }
}
