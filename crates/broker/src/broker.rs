//! The machine itself: its state, its clock, the ends of connections and sessions.

use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::hash::{BuildHasher, Hasher};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use safeport_mqtt::{
    Ack, Disconnect, Packet, PacketType, Properties, PropertiesBuf, ReasonCode, Version,
};

use crate::effect::{DisconnectCause, Effect, Effects, Event};
use crate::held::PushBack;
use crate::ids::{ConnectionId, SessionId};
use crate::limits::{Limits, RESERVED};
use crate::message::{Publication, WhenFull};
use crate::observing::Watched;
use crate::peers::Peers;
use crate::permissions::Permissions;
use crate::records::{Records, WillIs};
use crate::replay::{Cursor, Replay};
use crate::retained::{Retained, is_own};
use crate::session::{Keep, Session};
use crate::stats::Stats;
use crate::subscriptions::{Matches, SubscriptionTree};
use crate::time::Time;
use crate::timers::{Alarm, Timer};

/// What a broker is made with.
#[derive(Debug, Clone)]
pub struct BrokerSetup {
    /// Its bounds.
    pub limits: Limits,
    /// Random bits from the operating system: they place topics in hash tables and make
    /// assigned client identifiers unguessable. A test passes a fixed seed.
    pub seed: [u64; 2],
    /// This broker's number among its peers, from 0.
    pub me: u8,
    /// How many brokers there are in all, this one included; 1 to [`crate::MAX_PEERS`].
    pub brokers: u8,
    /// Whether it writes records ([`Broker::take_records`]) that bring it back after a restart.
    pub durable: bool,
}

impl Default for BrokerSetup {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            seed: [1, 2],
            me: 0,
            brokers: 1,
            durable: false,
        }
    }
}

/// What the driver decided about a connection before it reaches the broker.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Rights of the user that logged in.
    pub permissions: Arc<Permissions>,
    /// Largest packet that the connection's listener takes, in bytes; told to version 5
    /// clients. The driver's decoder enforces it.
    pub max_packet: u32,
}

/// A broker: sessions, subscriptions, retained messages, wills.
pub struct Broker {
    pub(crate) limits: Limits,
    pub(crate) sessions: Vec<Option<Session>>,
    free: Vec<SessionId>,
    by_client: HashTable<SessionId>,
    /// places client identifiers in tables; fingerprints made with it are written down
    pub(crate) seed: u64,
    hasher: FixedState,
    random: u64,
    pub(crate) tree: SubscriptionTree,
    pub(crate) watched: Watched,
    pub(crate) retained: Retained,
    pub(crate) peers: Peers,
    timers: BinaryHeap<Reverse<Timer>>,
    /// how many timers there may be before stale ones are swept out
    timers_mark: usize,
    /// counts connects and disconnects of all sessions
    epoch: u32,
    pub(crate) effects: Effects,
    pub(crate) matches: Matches,
    pub(crate) properties: PropertiesBuf,
    pub(crate) stats: Stats,
    pub(crate) records: Records,
    pub(crate) replay: Option<Replay>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) push_back: PushBack,
}

impl Broker {
    /// An empty broker.
    pub fn new(setup: BrokerSetup) -> Self {
        let [seed, random] = setup.seed;
        let mut records = Records::new(setup.durable, setup.me);
        if setup.durable {
            records.seed(seed);
            records.complete();
        }
        Self {
            limits: setup.limits,
            sessions: Vec::with_capacity(RESERVED),
            free: Vec::new(),
            // A hash table rounds up to a power of two behind a margin, and its places are used all
            // over: asking for all of RESERVED would touch twice the memory.
            by_client: HashTable::with_capacity(RESERVED / 8 * 7),
            seed,
            hasher: FixedState::with_seed(seed),
            random,
            tree: SubscriptionTree::new(seed.rotate_left(21)),
            watched: Watched::default(),
            retained: Retained::new(seed.rotate_left(42)),
            peers: Peers::new(setup.me, setup.brokers),
            timers: BinaryHeap::with_capacity(RESERVED),
            timers_mark: TIMERS_MARK,
            epoch: 0,
            effects: Effects::default(),
            matches: Matches::default(),
            properties: PropertiesBuf::new(),
            stats: Stats::default(),
            records,
            replay: None,
            cursor: None,
            push_back: PushBack::default(),
        }
    }

    /// Swaps out what is to be done; `into` should be empty and is reused.
    pub fn take_effects(&mut self, into: &mut Effects) {
        core::mem::swap(&mut self.effects, into);
        self.effects.clear();
    }

    /// Whether [`Self::take_effects`] would give anything.
    pub fn has_effects(&self) -> bool {
        !self.effects.list.is_empty()
    }

    /// Whether nothing is left in any table: no session, subscription, retained message or
    /// interest of a peer.
    pub fn is_empty(&self) -> bool {
        self.stats.sessions == 0
            && self.by_client.is_empty()
            && self.tree.is_empty()
            && self.retained.is_empty()
            && self.peers.is_idle()
            && self.push_back.is_idle()
    }

    /// What it holds itself to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Other limits from now on. Nothing that was acknowledged or granted is taken back: what
    /// happens to those who are over a lowered limit stands with each of [`Limits`]. Publishers
    /// that wait for room which a raised limit gives go on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.let_go_where_there_is_room();
    }

    /// What places client identifiers in tables, here and in what is written down.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        Stats {
            subscriptions: self.tree.len(),
            retained: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            ..self.stats
        }
    }

    /// When [`Self::handle_timeout`] wants to be called, if at all.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse(timer)| timer.at)
    }

    /// Does what is due: keep alives, wills, session and retained expiry.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some(&Reverse(timer)) = self.timers.peek() {
            if timer.at > now {
                break;
            }
            self.timers.pop();
            if timer.what == Alarm::RetainedExpiry {
                let gone = self.retained.expire(timer.subject, now);
                if self.records.on
                    && let Some(gone) = gone.filter(|gone| !is_own(gone.topic()))
                {
                    self.records.unretained(gone.topic());
                }
                continue;
            }
            let id = SessionId(timer.subject);
            let Some(session) = self.session_mut(id) else {
                continue;
            };
            if session.epoch != timer.epoch {
                continue;
            }
            match timer.what {
                Alarm::KeepAlive => self.check_keep_alive(id, now),
                Alarm::Will => {
                    self.publish_will(id, now);
                    if self.session(id).is_some_and(|s| s.expiry == 0) {
                        // It was there for its will only, after a restart.
                        self.end_session(id, now);
                    }
                }
                Alarm::SessionExpiry => {
                    self.stats.expired_sessions += 1;
                    self.end_session(id, now);
                }
                Alarm::Patience => self.lose_patience(id, now),
                Alarm::RetainedExpiry => {}
            }
        }
    }

    /// The socket is gone without a DISCONNECT: the will is due.
    pub fn handle_closed(&mut self, id: SessionId, connection: ConnectionId, now: Time) {
        if self.is_current(id, connection) {
            self.disconnect(id, DisconnectCause::Lost, now);
        }
    }

    /// The driver could not decode what the client sent; `reason` is the decoder's.
    pub fn handle_malformed(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        reason: ReasonCode,
        now: Time,
    ) {
        if self.is_current(id, connection) {
            self.protocol_error(id, reason, now);
        }
    }

    /// Ends a connection by decision of the operator or of the server. The session stays as
    /// long as its expiry says; the will is published.
    pub fn close(
        &mut self,
        id: SessionId,
        connection: ConnectionId,
        reason: ReasonCode,
        now: Time,
    ) {
        if self.is_current(id, connection) {
            self.say_goodbye(id, reason);
            self.disconnect(id, DisconnectCause::Server(reason), now);
        }
    }

    /// Ends every connection of a user: its rights were revoked or changed. On return its
    /// sessions' subscriptions are held against the rights of the new login.
    pub fn close_user(&mut self, user: &str, now: Time) {
        self.close_where(
            |s| s.user() == Some(user),
            ReasonCode::AdministrativeAction,
            now,
        );
    }

    /// Ends every connection, each version 5 client being told why.
    pub fn close_all(&mut self, reason: ReasonCode, now: Time) {
        self.close_where(|_| true, reason, now);
    }

    /// Ends the connection of one client.
    pub fn close_client(&mut self, client_id: &str, reason: ReasonCode, now: Time) {
        if let Some(id) = self.find_client(client_id)
            && let Some(connection) = self.expect(id).connection
        {
            self.close(id, connection, reason, now);
        }
    }

    fn close_where(&mut self, which: impl Fn(&Session) -> bool, reason: ReasonCode, now: Time) {
        for index in 0..self.sessions.len() {
            let Some(session) = &self.sessions[index] else {
                continue;
            };
            if let Some(connection) = session.connection
                && which(session)
            {
                self.close(SessionId(index as u32), connection, reason, now);
            }
        }
    }

    /// The connection's out buffer is past its mark: stop sending, queue instead.
    pub fn handle_congested(&mut self, id: SessionId, connection: ConnectionId) {
        if self.is_current(id, connection) {
            let session = self.expect_mut(id);
            if !session.blocked {
                session.blocked = true;
                self.effects
                    .list
                    .push(Effect::WatchDrain { to: connection });
            }
        }
    }

    /// The connection's out buffer is empty again.
    pub fn handle_drained(&mut self, id: SessionId, connection: ConnectionId, now: Time) {
        if self.is_current(id, connection) {
            self.expect_mut(id).blocked = false;
            self.pump(id, now);
        }
    }

    /// Publishes for the server itself: `$SYS`, wills of devices, the fleet. QoS and retain
    /// as the publication says; no rights are asked.
    pub fn publish(&mut self, publication: &Publication, now: Time) {
        self.route(&publication.outgoing(), None, WhenFull::Drop, now);
    }

    /// Delivers to one client by its identifier, without a subscription: the stock xiaozhi
    /// firmware never subscribes. Returns false if the broker has no such session, or if the
    /// message could be neither sent nor queued.
    pub fn deliver(&mut self, client_id: &str, publication: &Publication, now: Time) -> bool {
        match self.find_client(client_id) {
            Some(id) => self.deliver_directly(id, &publication.outgoing(), now),
            None => false,
        }
    }

    /// The session that a connected client has, for tests and drivers.
    pub fn find_client(&self, client_id: &str) -> Option<SessionId> {
        let hash = self.client_hash(client_id);
        self.by_client
            .find(hash, |id| self.is_named(*id, client_id))
            .copied()
    }

    pub(crate) fn client_hash(&self, client_id: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(client_id.as_bytes());
        hasher.finish()
    }

    fn is_named(&self, id: SessionId, client_id: &str) -> bool {
        self.session(id).is_some_and(|s| *s.client_id == *client_id)
    }

    pub(crate) fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.index())?.as_ref()
    }

    pub(crate) fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.index())?.as_mut()
    }

    /// For ids that were just looked up or come from the broker's own tables.
    pub(crate) fn expect(&self, id: SessionId) -> &Session {
        self.session(id).expect("the session is listed")
    }

    pub(crate) fn expect_mut(&mut self, id: SessionId) -> &mut Session {
        self.session_mut(id).expect("the session is listed")
    }

    pub(crate) fn is_current(&self, id: SessionId, connection: ConnectionId) -> bool {
        self.session(id)
            .is_some_and(|s| s.connection == Some(connection))
    }

    pub(crate) fn add_session(&mut self, session: Session) -> SessionId {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.sessions.push(None);
                SessionId((self.sessions.len() - 1) as u32)
            }
        };
        self.put_session(id, session);
        id
    }

    /// Puts a session back where it was.
    pub(crate) fn restore_session(&mut self, key: u32, session: Session) {
        let id = SessionId(key);
        if self.sessions.len() <= id.index() {
            self.sessions.resize_with(id.index() + 1, || None);
        }
        self.put_session(id, session);
    }

    /// After sessions were put back.
    pub(crate) fn free_unused_places(&mut self) {
        let places = self.sessions.iter().enumerate().rev();
        let unused = places.filter(|(_, session)| session.is_none());
        self.free = unused.map(|(index, _)| SessionId(index as u32)).collect();
    }

    fn put_session(&mut self, id: SessionId, session: Session) {
        let hash = session.origin;
        self.sessions[id.index()] = Some(session);
        let sessions = &self.sessions;
        self.by_client.insert_unique(hash, id, |id| {
            sessions[id.index()].as_ref().map_or(0, |s| s.origin)
        });
        self.stats.sessions += 1;
    }

    /// Ends the session for good: its will (if still due), subscriptions and queue.
    pub(crate) fn end_session(&mut self, id: SessionId, now: Time) {
        // A will does not outlive its session [MQTT-3.1.3-9].
        self.publish_will(id, now);
        let session = self.expect_mut(id);
        if core::mem::replace(&mut session.keep, Keep::Nothing) != Keep::Nothing {
            self.records.ended(id);
        }
        self.forget_session(id);
        self.free.push(id);
    }

    /// Takes a session out of every table; nobody hears of it but peers.
    pub(crate) fn forget_session(&mut self, id: SessionId) {
        while let Some(slot) = self.expect(id).subscriptions.len().checked_sub(1) {
            self.remove_subscription(id, slot as u32);
        }
        self.let_publishers_go(id);
        self.peers.answers.remove(&id);
        let Some(session) = self.sessions[id.index()].take() else {
            return;
        };
        if let Some(flow) = &session.flow {
            for entry in &flow.inflight {
                self.note_unstored(entry.weight());
            }
            for owed in flow.queue.iter().filter(|owed| owed.is_kept()) {
                self.note_unstored(owed.message.weight());
            }
        }
        if let Ok(entry) = self
            .by_client
            .find_entry(session.origin, |other| *other == id)
        {
            entry.remove();
        }
        self.stats.sessions -= 1;
    }

    /// Unlinks the connection and lets the session wait, or end, as its expiry says. The
    /// socket is closed unless it is gone already.
    pub(crate) fn disconnect(&mut self, id: SessionId, cause: DisconnectCause, now: Time) {
        let epoch = self.next_epoch();
        let session = self.expect_mut(id);
        let Some(connection) = session.connection.take() else {
            return;
        };
        session.epoch = epoch;
        session.blocked = false;
        session.last_seen = now;
        let (expiry, client_id) = (session.expiry, session.name());
        if cause == DisconnectCause::Client
            && let Some(extra) = &mut session.extra
        {
            // A clean goodbye discards the will [MQTT-3.1.2-10].
            extra.will = None;
        }
        let delay = match &mut session.extra {
            None => None,
            Some(extra) => {
                extra.aliases_in = Vec::new();
                extra.aliases_out = Vec::new();
                extra.will.as_ref().map(|will| will.delay)
            }
        };
        if let Some(flow) = &mut session.flow {
            flow.drop_qos0();
        }
        self.push_back.let_go(id);
        self.let_publishers_go(id);
        self.stats.connected -= 1;
        if cause != DisconnectCause::Lost {
            self.effects.list.push(Effect::Close { to: connection });
        }
        self.effects
            .list
            .push(Effect::Event(Box::new(Event::Disconnected {
                connection,
                client_id,
                cause,
            })));
        if expiry == 0 {
            self.end_session(id, now);
            return;
        }
        if self.expect(id).keep != Keep::Nothing {
            let will = match delay {
                Some(_) => WillIs::Due,
                None => WillIs::Gone,
            };
            self.records.away(id, now, expiry, will);
        }
        match delay {
            Some(0) => self.publish_will(id, now),
            Some(delay) => self.set_timer(now.after_seconds(delay), Alarm::Will, id, epoch),
            None => {}
        }
        if expiry != u32::MAX {
            self.set_timer(now.after_seconds(expiry), Alarm::SessionExpiry, id, epoch);
        }
        if let Some(session) = self.session_mut(id) {
            if session.extra.as_ref().is_some_and(|e| e.will.is_none()) {
                session.extra = None;
            }
            if session.flow.as_ref().is_some_and(|f| f.is_idle()) {
                session.flow = None;
            }
        }
    }

    pub(crate) fn publish_will(&mut self, id: SessionId, now: Time) {
        let Some(session) = self.session_mut(id) else {
            return;
        };
        let Some(will) = session.extra.as_mut().and_then(|extra| extra.will.take()) else {
            return;
        };
        if session.keep != Keep::Nothing {
            self.records.will_done(id);
        }
        let mut message = will.message;
        if self
            .expect(id)
            .permissions
            .addresses_server(message.topic())
        {
            // Who is gone has nothing to say to the server.
            return;
        }
        message.expires_at = will.expiry.map(|seconds| now.after_seconds(seconds));
        // Its publisher is gone and cannot try again: whoever has room gets it.
        self.route(&message.outgoing(), Some(id), WhenFull::Drop, now);
    }

    /// A protocol error: version 5 clients are told the reason, all are closed
    /// [MQTT-4.8.0-1, MQTT-4.13.1-1].
    pub(crate) fn protocol_error(&mut self, id: SessionId, reason: ReasonCode, now: Time) {
        self.stats.protocol_errors += 1;
        self.say_goodbye(id, reason);
        self.disconnect(id, DisconnectCause::Protocol(reason), now);
    }

    pub(crate) fn say_goodbye(&mut self, id: SessionId, reason: ReasonCode) {
        if self.expect(id).version != Version::V5 {
            return;
        }
        // A second CONNECT, say, can break a rule whose own code only CONNACK may carry.
        let code = match reason.is_allowed_in(PacketType::Disconnect) {
            true => reason,
            false => ReasonCode::ProtocolError,
        };
        self.send(
            id,
            &Packet::Disconnect(Disconnect {
                code,
                properties: Properties::EMPTY,
            }),
        );
    }

    /// Sends a packet that is not a PUBLISH. One that is larger than the client takes is left
    /// out, as the specification wants it [MQTT-3.1.2-24, -25].
    pub(crate) fn send(&mut self, id: SessionId, packet: &Packet<'_>) {
        let session = self.expect(id);
        let (version, max_packet) = (session.version, session.max_packet);
        if let Some(to) = session.connection {
            self.send_to(to, packet, version, max_packet);
        }
    }

    /// Whether it was sent.
    pub(crate) fn send_to(
        &mut self,
        to: ConnectionId,
        packet: &Packet<'_>,
        version: Version,
        max_packet: u32,
    ) -> bool {
        let Some(frame) = self.effects.encode(packet, version, max_packet) else {
            return false;
        };
        self.stats.packets_sent += 1;
        self.effects.list.push(Effect::Send { to, frame });
        true
    }

    pub(crate) fn send_ack(
        &mut self,
        id: SessionId,
        packet: fn(Ack<'static>) -> Packet<'static>,
        packet_id: core::num::NonZeroU16,
        code: ReasonCode,
    ) {
        let code = match self.expect(id).version {
            Version::V5 => code,
            _ => ReasonCode::Success,
        };
        self.send(
            id,
            &packet(Ack {
                packet_id,
                code,
                properties: Properties::EMPTY,
            }),
        );
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.effects.list.push(Effect::Event(Box::new(event)));
    }

    pub(crate) fn limit_reached(&mut self, id: SessionId, limit: &'static str) {
        let client_id = self.expect(id).name();
        self.event(Event::LimitReached { client_id, limit });
    }

    /// A QoS 1 or 2 message more is queued or in flight.
    pub(crate) fn note_stored(&mut self, weight: usize) {
        self.stats.stored += 1;
        self.stats.stored_bytes += weight as u64;
    }

    /// One is done with.
    pub(crate) fn note_unstored(&mut self, weight: usize) {
        self.stats.stored -= 1;
        self.stats.stored_bytes -= weight as u64;
    }

    /// Of one only the packet identifier is left.
    pub(crate) fn note_lighter(&mut self, weight: usize) {
        self.stats.stored_bytes -= weight as u64;
    }

    /// Takes over the seed of an earlier process, before there is any session.
    pub(crate) fn reseed(&mut self, seed: u64) {
        if self.by_client.is_empty() {
            self.seed = seed;
            self.hasher = FixedState::with_seed(seed);
        }
    }

    /// A new epoch for a session that connects or disconnects. No two sessions share one, so
    /// a timer cannot be taken for that of a later session in the same place.
    pub(crate) fn next_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }

    pub(crate) fn set_timer(&mut self, at: Time, what: Alarm, id: SessionId, epoch: u32) {
        self.push_timer(Timer {
            at,
            what,
            subject: id.0,
            epoch,
        });
    }

    pub(crate) fn push_timer(&mut self, timer: Timer) {
        if self.timers.len() >= self.timers_mark {
            self.sweep_timers();
        }
        self.timers.push(Reverse(timer));
    }

    /// Timers are not taken back when their reason is gone. A client that reconnects all the
    /// time, or a retained message that is set anew all the time, must not pile them up.
    fn sweep_timers(&mut self) {
        let (sessions, retained) = (&self.sessions, &self.retained);
        self.timers.retain(|Reverse(timer)| match timer.what {
            Alarm::RetainedExpiry => retained.expires_at(timer.subject) == Some(timer.at),
            _ => sessions[timer.subject as usize]
                .as_ref()
                .is_some_and(|session| session.epoch == timer.epoch),
        });
        self.timers_mark = TIMERS_MARK.max(self.timers.len() * 2);
    }

    fn check_keep_alive(&mut self, id: SessionId, now: Time) {
        let session = self.expect(id);
        let mut deadline = session.keep_alive_deadline();
        let epoch = session.epoch;
        if self.push_back.is_held(id) {
            // It is us who do not read what it sends.
            deadline = now + u64::from(session.keep_alive) * 1500;
        }
        if deadline > now {
            // Packets came in between: look again when their time is up.
            self.set_timer(deadline, Alarm::KeepAlive, id, epoch);
        } else {
            self.say_goodbye(id, ReasonCode::KeepAliveTimeout);
            self.disconnect(id, DisconnectCause::KeepAlive, now);
        }
    }

    /// A client identifier nobody can guess, for clients that bring none.
    pub(crate) fn assign_client_id(&mut self) -> Box<str> {
        loop {
            let (a, b) = (self.next_random(), self.next_random());
            let id = alloc::format!("auto-{a:016x}{b:016x}");
            if self.peers.is_home(&id) && self.find_client(&id).is_none() {
                return id.into();
            }
        }
    }

    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(self.random);
        hasher.write_u64(self.random.rotate_left(32));
        hasher.finish()
    }
}

/// Below so many timers, sweeping is not worth the while.
const TIMERS_MARK: usize = 1024;

impl Session {
    /// A client is gone after one and a half keep alives [MQTT-3.1.2-22].
    pub(crate) fn keep_alive_deadline(&self) -> Time {
        self.last_seen + u64::from(self.keep_alive) * 1500
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_mqtt::{Connect, Property, Publish, QoS};

    #[test]
    fn coming_back_all_the_time_does_not_pile_up_timers() {
        let mut broker = Broker::new(BrokerSetup::default());
        let admission = Admission {
            permissions: Arc::new(Permissions::open()),
            max_packet: 1 << 20,
        };
        let connect = Connect {
            version: Version::V311,
            clean_start: false,
            keep_alive: 60_000,
            client_id: "restless",
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
            bridge: false,
        };
        let mut properties = PropertiesBuf::new();
        properties
            .push(Property::MessageExpiryInterval(60_000))
            .unwrap();
        for at in 0..20_000 {
            let (connection, now) = (ConnectionId(at), Time(u64::from(at)));
            let id = broker
                .handle_connect(connection, &connect, &admission, now)
                .unwrap();
            let publish = Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: true,
                topic: "again",
                packet_id: None,
                properties: properties.as_properties(),
                payload: b"and again",
            });
            let _ = broker.handle_packet(id, connection, &publish, now);
            broker.handle_closed(id, connection, now);
            broker.take_effects(&mut Effects::default());
        }
        assert!(
            broker.timers.len() <= TIMERS_MARK,
            "{}",
            broker.timers.len()
        );
        // What is left still works.
        broker.handle_timeout(Time::default().after_seconds(60_020));
        assert_eq!(broker.stats().retained, 0);
        broker.handle_timeout(Time::default().after_seconds(31 * 24 * 3600));
        assert!(broker.is_empty());
    }
}
