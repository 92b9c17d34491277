//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use safeport_mqtt::{
    Packet, Properties, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeOptions,
    TopicFilter, UnsubAck, Unsubscribe, Version,
};

use crate::broker::Broker;
use crate::effect::Event;
use crate::message::Message;
use crate::session::{Identifiers, Owed, SessionId};
use crate::subscriptions::Options;
use crate::time::Time;

impl Broker {
    pub(crate) fn subscribe(&mut self, id: SessionId, packet: &Subscribe<'_>, now: Time) {
        let identifier = packet
            .properties
            .subscription_identifiers()
            .next()
            .unwrap_or(0);
        let mut codes = Vec::with_capacity(4);
        let mut retained = Vec::new();
        let mut awaited = 0;
        for (filter, options) in packet.filters.iter() {
            match self.subscribe_one(id, filter, options, identifier, &mut awaited, now) {
                Ok(messages) => {
                    codes.push(options.qos as u8);
                    retained.extend(messages);
                }
                Err(reason) => codes.push(self.failure_code(id, reason, options.qos)),
            }
        }
        let suback = Packet::SubAck(SubAck {
            packet_id: packet.packet_id,
            properties: Properties::EMPTY,
            codes: &codes,
        });
        if awaited == 0 {
            self.send(id, &suback);
            self.owe_all(id, retained, now);
        } else {
            // SUBACK promises that publishes of everybody reach the subscriber from now on,
            // so it waits until the peers know.
            self.owe_all(id, retained, now);
            self.hold_until_known(id, &suback, awaited);
        }
    }

    /// Subscribes to one filter; returns the retained messages to send for it.
    fn subscribe_one(
        &mut self,
        id: SessionId,
        filter: &str,
        options: SubscribeOptions,
        identifier: u32,
        awaited: &mut u64,
        now: Time,
    ) -> Result<Vec<Owed>, ReasonCode> {
        let parsed = TopicFilter::new(filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let plain = parsed.filter();
        if plain.split('/').count() > usize::from(self.limits.max_topic_levels) {
            self.limit_reached(id, "limits.max_topic_levels");
            return Err(ReasonCode::TopicFilterInvalid);
        }
        if !self.expect(id).permissions.subscribe.allows_filter(&parsed) {
            let session = self.expect(id);
            let event = Event::NotAllowed {
                client_id: session.name(),
                user: session.user().map(String::from),
                action: "subscribe",
                topic: filter.into(),
            };
            self.event(event);
            return Err(ReasonCode::NotAuthorized);
        }
        let limit = self.limits.max_subscriptions as usize;
        let session = self.sessions[id.index()]
            .as_mut()
            .expect("the session is listed");
        if session.subscriptions.len() >= limit
            && self
                .tree
                .find(id, &session.subscriptions, plain, parsed.share_group())
                .is_none()
        {
            self.limit_reached(id, "limits.max_subscriptions");
            return Err(ReasonCode::QuotaExceeded);
        }
        let mut stored = options;
        stored.retain_as_published |= session.bridge;
        let added = self.tree.subscribe(
            id,
            &mut session.subscriptions,
            plain,
            parsed.share_group(),
            Options::new(stored),
            identifier,
        );
        if let Some(members) = added.interest {
            *awaited = self.tell_interest(filter, members, true).max(*awaited);
        }
        // No retained messages for shared subscriptions [MQTT-4.8.2: 3.8.4].
        let wanted = match options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => added.is_new,
            RetainHandling::DoNotSend => false,
        };
        if !wanted || parsed.share_group().is_some() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        self.retained.matching(plain, now, &mut found);
        let origin = self.expect(id).origin;
        Ok(found
            .into_iter()
            .filter(|message| !(options.no_local && message.origin == origin))
            .map(|message| retained_owed(message, options.qos, identifier))
            .collect())
    }

    fn failure_code(&self, id: SessionId, reason: ReasonCode, asked: QoS) -> u8 {
        match self.expect(id).version {
            Version::V5 => reason as u8,
            Version::V311 => 0x80,
            // 3.1 has no code for failure: the client is left believing, as the brokers its
            // devices know do it. The log tells.
            Version::V31 => asked as u8,
        }
    }

    fn owe_all(&mut self, id: SessionId, retained: Vec<Owed>, now: Time) {
        if retained.is_empty() {
            return;
        }
        let flow = self.expect_mut(id).flow();
        let mut stored = 0;
        for owed in retained {
            stored += u64::from(owed.qos != QoS::AtMostOnce);
            flow.push_queue(owed);
        }
        self.stats.stored += stored;
        self.pump(id, now);
    }

    pub(crate) fn unsubscribe(&mut self, id: SessionId, packet: &Unsubscribe<'_>) {
        let mut codes = Vec::with_capacity(4);
        for filter in packet.filters.iter() {
            let slot = TopicFilter::new(filter).ok().and_then(|parsed| {
                let list = &self.expect(id).subscriptions;
                self.tree
                    .find(id, list, parsed.filter(), parsed.share_group())
            });
            codes.push(match slot {
                Some(slot) => {
                    self.remove_subscription(id, slot);
                    ReasonCode::Success as u8
                }
                None => ReasonCode::NoSubscriptionExisted as u8,
            });
        }
        if self.expect(id).version != Version::V5 {
            codes.clear();
        }
        self.send(
            id,
            &Packet::UnsubAck(UnsubAck {
                packet_id: packet.packet_id,
                properties: Properties::EMPTY,
                codes: &codes,
            }),
        );
    }

    pub(crate) fn remove_subscription(&mut self, id: SessionId, slot: u32) {
        // The list is taken out while other sessions' lists are corrected.
        let mut list = core::mem::take(&mut self.expect_mut(id).subscriptions);
        let sessions = &mut self.sessions;
        let interest = self.tree.remove(&mut list, slot, |other, slot, position| {
            if let Some(Some(session)) = sessions.get_mut(other.index())
                && let Some(entry) = session.subscriptions.get_mut(slot as usize)
            {
                entry.set_position(position);
            }
        });
        if list.is_empty() {
            list = Vec::new();
        }
        self.expect_mut(id).subscriptions = list;
        if let Some((filter, members)) = interest {
            self.tell_interest(&filter, members, false);
        }
    }
}

/// A retained message on its way to a new subscription: RETAIN is set whatever Retain As
/// Published says [MQTT-3.3.1-8].
fn retained_owed(message: Arc<Message>, granted: QoS, identifier: u32) -> Owed {
    Owed {
        qos: message.qos.min(granted),
        identifiers: match identifier {
            0 => Identifiers::None,
            id => Identifiers::One(id),
        },
        retain: true,
        message,
    }
}
