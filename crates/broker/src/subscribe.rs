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
use crate::ids::SessionId;
use crate::message::Message;
use crate::session::{Identifiers, Keep, Owed};
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
        let mut request = Request {
            identifier,
            awaited: 0,
            retained: Vec::new(),
        };
        for (filter, options) in packet.filters.iter() {
            codes.push(
                match self.subscribe_one(id, filter, options, &mut request, now) {
                    Ok(()) => options.qos as u8,
                    Err(reason) => self.failure_code(id, reason, options.qos),
                },
            );
        }
        let suback = Packet::SubAck(SubAck {
            packet_id: packet.packet_id,
            properties: Properties::EMPTY,
            codes: &codes,
        });
        // SUBACK promises that publishes of everybody reach the subscriber from now on, so it
        // waits until the peers know; also if an earlier subscriber's filter is the same one
        // and they are still to hear of it.
        match request.awaited.max(self.peers.newest_unknown()) {
            0 => self.send(id, &suback),
            sequence => self.hold_until_known(id, &suback, sequence),
        }
        self.owe_all(id, request.retained, now);
    }

    fn subscribe_one(
        &mut self,
        id: SessionId,
        filter: &str,
        mut options: SubscribeOptions,
        request: &mut Request,
        now: Time,
    ) -> Result<(), ReasonCode> {
        let parsed = self.check_filter(id, filter)?;
        let (plain, group) = (parsed.filter(), parsed.share_group());
        let session = self.expect(id);
        let whole = session.keep == Keep::Whole;
        let list = &session.subscriptions;
        let slot = self.tree.find(id, list, plain, group);
        let is_new = slot.is_none();
        if is_new && list.len() >= self.limits.max_subscriptions as usize {
            self.limit_reached(id, "limits.max_subscriptions_per_client");
            return Err(ReasonCode::QuotaExceeded);
        }
        if session.bridge {
            options.retain_as_published = true;
            options.no_local |= group.is_none();
        }
        let identifier = request.identifier;
        let known = slot.map(|slot| self.tree.options_of(&list[slot as usize]));
        let is_same = known == Some((Options::new(options), identifier));
        let wants_retained = match options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DoNotSend => false,
        };
        let mut found = Vec::new();
        // No retained messages for shared subscriptions [section 4.8.2].
        if wants_retained && group.is_none() {
            found = self.collect_retained(id, plain, options, request, now)?;
        }
        // Clients that subscribe anew with every connection make nothing to write down.
        let is_written = whole && (!is_same || found.iter().any(Owed::is_kept));
        if is_written && self.is_disk_full() {
            return Err(ReasonCode::QuotaExceeded);
        }
        request.retained.append(&mut found);
        let session = self.sessions[id.index()]
            .as_mut()
            .expect("the session is listed");
        let options = Options::new(options);
        let list = &mut session.subscriptions;
        let members = self
            .tree
            .subscribe(id, list, plain, group, options, identifier);
        if whole && !is_same {
            let records = &mut self.records;
            records.subscribed(id, filter, options.bits(), identifier);
        }
        if let Some(members) = members {
            request.awaited = self.tell_interest(filter, members, true);
        }
        Ok(())
    }

    /// Whether the filter is one, is not too deep, and is allowed to the client.
    fn check_filter<'a>(
        &mut self,
        id: SessionId,
        filter: &'a str,
    ) -> Result<TopicFilter<'a>, ReasonCode> {
        let parsed = TopicFilter::new(filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if self.limits.is_too_deep(parsed.filter()) {
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
        Ok(parsed)
    }

    /// The retained messages that a filter matches, as the client is owed them. A client
    /// may always be owed one set of them; asking again and again, without taking them, is
    /// what the queue's limit is for.
    fn collect_retained(
        &mut self,
        id: SessionId,
        filter: &str,
        options: SubscribeOptions,
        request: &Request,
        now: Time,
    ) -> Result<Vec<Owed>, ReasonCode> {
        let mut found = Vec::new();
        self.retained.matching(filter, now, &mut found);
        let session = self.expect(id);
        if options.no_local {
            found.retain(|message| message.origin != session.origin);
        }
        let queued = session.flow.as_ref().map_or(0, |flow| flow.queue.len());
        let waiting = queued + request.retained.len();
        let limit = self.limits.max_queued_messages as usize;
        if waiting > 0 && !found.is_empty() && waiting + found.len() > limit {
            self.limit_reached(id, "limits.max_queued_messages");
            return Err(ReasonCode::QuotaExceeded);
        }
        let identifier = request.identifier;
        let found = found.into_iter();
        Ok(found
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
        for owed in retained {
            self.queue(id, owed);
        }
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
                    self.drop_subscription(id, slot);
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

    /// Removes a subscription that the client, or a change of its rights, ends.
    pub(crate) fn drop_subscription(&mut self, id: SessionId, slot: u32) {
        let session = self.expect(id);
        if session.keep == Keep::Whole {
            let filter = self.tree.filter_of(&session.subscriptions[slot as usize]);
            self.records.unsubscribed(id, &filter);
        }
        self.remove_subscription(id, slot);
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

/// One SUBSCRIBE while its filters are gone through.
struct Request {
    /// Subscription Identifier, 0 for none
    identifier: u32,
    /// number of the last interest told to peers, 0 for none
    awaited: u64,
    /// messages to send for it
    retained: Vec<Owed>,
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
