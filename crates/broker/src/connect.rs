//! CONNECT: who comes, which session it gets, who has to go for it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use safeport_mqtt::{
    ConnAck, Connect, Packet, PacketType, Properties, PropertiesBuf, Property, ReasonCode, Version,
    limits::MAX_PACKET,
};

use crate::broker::{Admission, Broker};
use crate::effect::{DisconnectCause, Effect, Event};
use crate::ids::{ConnectionId, SessionId};
use crate::message::{Message, Outgoing};
use crate::permissions::Permissions;
use crate::records::DiskRoom;
use crate::retained::is_own;
use crate::session::{Extra, Keep, Session, Will};
use crate::time::Time;
use crate::timers::Alarm;

impl Broker {
    /// A client said CONNECT and was let in. Answers CONNACK; returns its session, or `None`
    /// if the CONNECT was refused after all (then the connection is being closed).
    pub fn handle_connect(
        &mut self,
        connection: ConnectionId,
        connect: &Connect<'_>,
        admission: &Admission,
        now: Time,
    ) -> Option<SessionId> {
        self.stats.packets_received += 1;
        if let Err((reason, why)) = self.admit(connect, &admission.permissions) {
            self.refuse(connection, connect, reason, &why);
            return None;
        }
        let assigned: Option<Box<str>> = connect
            .client_id
            .is_empty()
            .then(|| self.assign_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);

        let existing = self.find_client(client_id);
        if !self.has_room_for(connect, existing) {
            let why = "there is no room on the disk to keep this session; connect with a clean \
                       session, or free some space on the server";
            self.refuse(connection, connect, ReasonCode::QuotaExceeded, why);
            return None;
        }
        if let Some(id) = existing {
            // A session belongs to the user who made it: nobody else inherits its messages.
            let stranger = self.expect(id).user() != admission.permissions.user.as_deref();
            self.take_over(id, connect.clean_start || stranger, now);
        }
        // Taking over may have ended it: a session without expiry lives as long as its
        // connection.
        let existing = existing.filter(|id| self.session(*id).is_some());
        if existing.is_none() && self.stats.sessions >= u64::from(self.limits.max_sessions) {
            let why = "the broker holds as many sessions as `limits.max_sessions` allows";
            self.refuse(connection, connect, ReasonCode::QuotaExceeded, why);
            return None;
        }

        let resumed = existing.is_some();
        let id = match existing {
            Some(id) => id,
            None => {
                let origin = self.client_hash(client_id);
                let permissions = admission.permissions.clone();
                self.add_session(Session::new(client_id.into(), origin, permissions))
            }
        };
        self.begin(id, connection, connect, admission, now);
        self.write_connect(id, !resumed);
        self.acknowledge(
            id,
            connection,
            connect,
            admission,
            assigned.is_some(),
            resumed,
        );
        if resumed {
            self.drop_forbidden_subscriptions(id);
            self.resend(id, now);
        }
        Some(id)
    }

    /// Answers a CONNECT that was refused before it reached the broker (wrong password,
    /// unsupported version, no rights): CONNACK with `reason`, then close.
    pub fn refuse_connect(
        &mut self,
        connection: ConnectionId,
        connect: &Connect<'_>,
        reason: ReasonCode,
        why: &str,
    ) {
        self.stats.packets_received += 1;
        self.refuse(connection, connect, reason, why);
    }

    fn refuse(
        &mut self,
        connection: ConnectionId,
        connect: &Connect<'_>,
        reason: ReasonCode,
        why: &str,
    ) {
        self.stats.connects_refused += 1;
        let mut advice = PropertiesBuf::new();
        if connect.version == Version::V5
            && connect.properties.request_problem_information() != Some(false)
        {
            // Advice is the first thing to go if it does not fit.
            let _ = advice.push(Property::ReasonString(why));
        }
        let code = match reason.is_allowed_in(PacketType::ConnAck) {
            true => reason,
            false => ReasonCode::UnspecifiedError,
        };
        // A Reason String must not make the packet too large [MQTT-3.2.2-19].
        for properties in [advice.as_properties(), Properties::EMPTY] {
            let answer = Packet::ConnAck(ConnAck {
                session_present: false,
                code,
                properties,
            });
            if self.send_to(connection, &answer, connect.version, max_packet(connect)) {
                break;
            }
        }
        self.effects.list.push(Effect::Close { to: connection });
        self.event(Event::Refused {
            connection,
            client_id: connect.client_id.into(),
            user: connect.username.map(Into::into),
            reason,
            why: why.into(),
        });
    }

    fn admit(
        &self,
        connect: &Connect<'_>,
        permissions: &Permissions,
    ) -> Result<(), (ReasonCode, String)> {
        if connect.properties.authentication_method().is_some() {
            // Allowed answer to a method that the server does not support [MQTT-4.12.0-1].
            return Err((
                ReasonCode::BadAuthenticationMethod,
                "enhanced authentication is not offered; use user name and password".into(),
            ));
        }
        if connect.client_id.is_empty() {
            // 3.1 knows no assigned identifiers; 3.1.1 only with a clean session
            // [MQTT-3.1.3-8].
            let refused = match connect.version {
                Version::V31 => true,
                Version::V311 => !connect.clean_start,
                Version::V5 => false,
            };
            if refused {
                return Err((
                    ReasonCode::ClientIdentifierNotValid,
                    "an empty client identifier needs a clean session".into(),
                ));
            }
        }
        if connect.client_id.len() > usize::from(self.limits.max_client_id) {
            return Err((
                ReasonCode::ClientIdentifierNotValid,
                alloc::format!(
                    "the client identifier has {} bytes, {} are allowed",
                    connect.client_id.len(),
                    self.limits.max_client_id
                ),
            ));
        }
        if let Some(will) = &connect.will {
            if is_own(will.topic) || !permissions.publish.allows_topic(will.topic) {
                return Err((
                    ReasonCode::NotAuthorized,
                    alloc::format!(
                        "the will's topic `{}` is not allowed to this user",
                        will.topic
                    ),
                ));
            }
            if self.limits.is_too_deep(will.topic) {
                return Err((
                    ReasonCode::TopicNameInvalid,
                    alloc::format!(
                        "the will's topic has more than {} levels",
                        self.limits.max_topic_levels
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether what a session makes the server write down has room on the disk.
    fn has_room_for(&self, connect: &Connect<'_>, existing: Option<SessionId>) -> bool {
        match self.records.room {
            _ if !self.records.on => true,
            DiskRoom::Enough => true,
            DiskRoom::Scarce => existing.is_some() || !wants_to_be_kept(connect),
            DiskRoom::Nothing => {
                let kept = existing.is_some_and(|id| self.expect(id).keep == Keep::Whole);
                !kept && !wants_to_be_kept(connect)
            }
        }
    }

    /// Ends what the same client identifier had open [MQTT-3.1.4-3] and, for a clean start,
    /// its session [MQTT-3.1.4-4].
    fn take_over(&mut self, id: SessionId, clean_start: bool, now: Time) {
        if self.expect(id).connection.is_some() {
            self.say_goodbye(id, ReasonCode::SessionTakenOver);
            self.disconnect(id, DisconnectCause::TakenOver, now);
        }
        let Some(session) = self.session_mut(id) else {
            return;
        };
        if let Some(extra) = &mut session.extra
            && extra.interrupted
        {
            // It was the server that went away, and the client has come back.
            extra.will = None;
        }
        // A session without expiry is there only for the will that it left.
        if clean_start || session.expiry == 0 {
            self.end_session(id, now);
        }
    }

    fn begin(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        connect: &Connect<'_>,
        admission: &Admission,
        now: Time,
    ) {
        let limits = &self.limits;
        let properties = &connect.properties;
        let wished = match connect.version {
            Version::V5 => properties.session_expiry().unwrap_or(0),
            // A 3.x session without clean session has no end of its own.
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        let expiry = wished.min(limits.session_expiry);
        let receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX);
        let keep_alive = self.granted_keep_alive(connect);
        let limits = &self.limits;
        let extra = Extra {
            will: connect
                .will
                .as_ref()
                .map(|will| will_of(will, self.expect(id).origin)),
            aliases_in: Vec::new(),
            aliases_out: Vec::new(),
            aliases_out_max: properties
                .topic_alias_maximum()
                .unwrap_or(0)
                .min(limits.topic_aliases_out),
            interrupted: false,
        };
        let window = receive_maximum.min(limits.max_inflight);
        let told = (limits.receive_maximum, limits.topic_alias_maximum);
        let epoch = self.next_epoch();
        let session = self.expect_mut(id);
        session.connection = Some(connection);
        session.epoch = epoch;
        session.version = connect.version;
        session.blocked = false;
        session.bridge = connect.bridge;
        session.keep_alive = keep_alive;
        session.window = window;
        (session.told_receive_maximum, session.told_alias_maximum) = told;
        session.max_packet = max_packet(connect);
        session.expiry = expiry;
        session.last_seen = now;
        session.permissions = Arc::clone(&admission.permissions);
        session.extra =
            (extra.will.is_some() || extra.aliases_out_max > 0).then(|| Box::new(extra));
        let deadline = session.keep_alive_deadline();
        if keep_alive > 0 {
            self.set_timer(deadline, Alarm::KeepAlive, id, epoch);
        }
        self.stats.connected += 1;
        self.stats.connects_accepted += 1;
        self.stats.connected_maximum = self.stats.connected_maximum.max(self.stats.connected);
    }

    fn granted_keep_alive(&self, connect: &Connect<'_>) -> u16 {
        let longest = self.limits.max_keep_alive;
        // Only version 5 has a way to say that the server's keep alive counts
        // [MQTT-3.1.2-21]; a 3.x client keeps its own.
        if connect.version == Version::V5
            && longest != 0
            && (connect.keep_alive == 0 || connect.keep_alive > longest)
        {
            longest
        } else {
            connect.keep_alive
        }
    }

    fn acknowledge(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        connect: &Connect<'_>,
        admission: &Admission,
        assigned: bool,
        resumed: bool,
    ) {
        let session = self.expect(id);
        let (client_id, keep_alive, expiry) = (session.name(), session.keep_alive, session.expiry);
        let (receive_maximum, alias_maximum) =
            (session.told_receive_maximum, session.told_alias_maximum);
        let mut told = Vec::new();
        if connect.version == Version::V5 {
            told.push(Property::ReceiveMaximum(receive_maximum));
            told.push(Property::MaximumPacketSize(admission.max_packet));
            told.push(Property::TopicAliasMaximum(alias_maximum));
            if connect.properties.session_expiry().unwrap_or(0) != expiry {
                told.push(Property::SessionExpiryInterval(expiry));
            }
            if assigned {
                told.push(Property::AssignedClientIdentifier(&client_id));
            }
            if keep_alive != connect.keep_alive {
                told.push(Property::ServerKeepAlive(keep_alive));
            }
        }
        let mut properties = PropertiesBuf::new();
        for property in told {
            properties
                .push(property)
                .expect("numbers and an id that was checked can be encoded");
        }
        // A client that takes no packet of this size has to do with the defaults.
        for properties in [properties.as_properties(), Properties::EMPTY] {
            let answer = Packet::ConnAck(ConnAck {
                // 3.1 has no session present flag: the byte is reserved there.
                session_present: resumed && connect.version != Version::V31,
                code: ReasonCode::Success,
                properties,
            });
            if self.send_to(connection, &answer, connect.version, max_packet(connect)) {
                break;
            }
        }
        let user = self.expect(id).user().map(String::from);
        self.event(Event::Connected {
            connection,
            client_id,
            user,
            version: connect.version,
            keep_alive,
            resumed,
        });
    }

    /// Unacknowledged messages again, in their order and with DUP [MQTT-4.4.0-1,
    /// MQTT-4.6.0-1], then what waits; all within the new connection's window.
    fn resend(&mut self, id: SessionId, now: Time) {
        if let Some(flow) = &mut self.expect_mut(id).flow {
            flow.unsent = flow.inflight.len();
            flow.carried = flow.incoming.len();
            self.pump(id, now);
        }
    }

    /// Rights may have changed since the session was left.
    fn drop_forbidden_subscriptions(&mut self, id: SessionId) {
        let mut slot = 0;
        while let Some(reference) = self.expect(id).subscriptions.get(slot).copied() {
            let filter = self.tree.filter_of(&reference);
            let allowed = safeport_mqtt::TopicFilter::new(&filter)
                .is_ok_and(|f| self.expect(id).permissions.subscribe.allows_filter(&f));
            if allowed {
                slot += 1;
            } else {
                self.drop_subscription(id, slot as u32);
            }
        }
    }
}

/// Whether the session is to outlive its connection. One that only leaves a will is let in
/// whatever the disk says.
fn wants_to_be_kept(connect: &Connect<'_>) -> bool {
    match connect.version {
        Version::V5 => connect.properties.session_expiry().unwrap_or(0) != 0,
        _ => !connect.clean_start,
    }
}

/// Largest packet that the client takes, in bytes.
fn max_packet(connect: &Connect<'_>) -> u32 {
    let wished = connect.properties.maximum_packet_size();
    wished.map_or(MAX_PACKET, |bytes| bytes.min(MAX_PACKET))
}

fn will_of(will: &safeport_mqtt::Will<'_>, origin: u64) -> Will {
    let mut forwarded = PropertiesBuf::new();
    crate::publish::forwarded_properties(&will.properties, &mut forwarded);
    Will {
        message: Message::new(&Outgoing {
            topic: will.topic,
            payload: will.payload,
            properties: forwarded.as_properties().as_bytes(),
            qos: will.qos,
            retain: will.retain,
            expires_at: None,
            origin,
            stamp: 0,
        }),
        delay: will.properties.will_delay().unwrap_or(0),
        expiry: will.properties.message_expiry(),
    }
}
