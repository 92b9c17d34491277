//! A virtual world around brokers: sockets that carry real bytes, a clock that only tests
//! move, and first-in first-out lines between brokers.
//!
//! Everything happens at once unless a test holds it back: bytes reach the broker when they
//! are sent, full sockets drain, brokers hear each other. `slow_sockets` and `slow_peers` put
//! a test in charge of that.
#![allow(dead_code, unreachable_pub)]

pub mod crowd;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;

use safeport_broker::{
    Admission, Broker, BrokerSetup, ConnectionId, Effect, Effects, Event, Handled, Limits,
    Observed, PeerMessage, Permissions, SessionId, Time,
};
use safeport_mqtt::{
    Ack, Connect, Decoded, Disconnect, Packet, PropertiesBuf, Property, Publish, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscribeBuf, SubscribeOptions, Unsubscribe, UnsubscribeBuf,
    Version, Will, decode, limits,
};

/// Brokers, their sockets and their clock.
pub struct World {
    pub brokers: Vec<Broker>,
    pub now: Time,
    pub limits: Limits,
    pub wires: BTreeMap<Client, Wire>,
    pub events: Vec<Event>,
    pub observed: Vec<Observed>,
    /// what was said to the server itself, and by whom
    pub addressed: Vec<(Client, Observed)>,
    /// what every client is admitted with, unless it says otherwise
    pub permissions: Arc<Permissions>,
    /// a full socket stays full until `drain`
    pub slow_sockets: bool,
    /// brokers hear each other only by `carry`
    pub slow_peers: bool,
    lines: BTreeMap<(usize, usize), VecDeque<PeerMessage>>,
    effects: Effects,
    next: u32,
    /// who was held back and may go on
    resumed: Vec<Client>,
    /// inside of `feed`
    feeding: bool,
    /// what each broker wrote down, in groups
    pub groups: Vec<Vec<Vec<u8>>>,
    /// by broker: groups from here on were made since its checkpoint began
    checkpoints: Vec<Option<usize>>,
}

fn setup(limits: &Limits, seed: u64, me: u8, brokers: u8) -> BrokerSetup {
    BrokerSetup {
        limits: limits.clone(),
        seed: [seed, 11],
        me,
        brokers,
        durable: true,
    }
}

/// An open or closed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub u32);

pub struct Wire {
    pub broker: usize,
    pub version: Version,
    pub session: Option<SessionId>,
    /// what the broker wrote and nobody has read
    pub to_client: Vec<u8>,
    /// what the broker has not decoded yet
    to_broker: Vec<u8>,
    /// the broker has not closed it
    pub open: bool,
    pub full: bool,
    /// its last packet has to wait, and with it whatever comes behind
    pub held: bool,
    permissions: Arc<Permissions>,
}

impl World {
    pub fn new() -> World {
        World::with(Limits::default())
    }

    pub fn with(limits: Limits) -> World {
        World::of(1, limits)
    }

    pub fn of(brokers: u8, limits: Limits) -> World {
        World {
            brokers: (0..brokers)
                .map(|me| Broker::new(setup(&limits, 7, me, brokers)))
                .collect(),
            limits,
            now: Time(1_000_000),
            wires: BTreeMap::new(),
            events: Vec::new(),
            observed: Vec::new(),
            addressed: Vec::new(),
            permissions: Arc::new(Permissions::open()),
            slow_sockets: false,
            slow_peers: false,
            lines: BTreeMap::new(),
            effects: Effects::default(),
            next: 0,
            resumed: Vec::new(),
            feeding: false,
            groups: vec![Vec::new(); usize::from(brokers)],
            checkpoints: vec![None; usize::from(brokers)],
        }
    }

    /// The process of a broker dies and comes back with what was written down, groups being
    /// there whole or not at all. Sockets break; what was on its way to clients may still
    /// arrive.
    pub fn crash(&mut self, at: usize) {
        self.replace(at);
        self.settle(at);
    }

    /// The same for all of them, which live in one process.
    pub fn crash_all(&mut self) {
        for at in 0..self.brokers.len() {
            self.replace(at);
        }
        self.lose_lines();
        for at in 0..self.brokers.len() {
            for peer in (0..self.brokers.len()).filter(|peer| *peer != at) {
                self.brokers[at].introduce(peer as u8);
            }
        }
        for at in 0..self.brokers.len() {
            self.settle(at);
        }
    }

    fn replace(&mut self, at: usize) {
        for wire in self.wires.values_mut().filter(|wire| wire.broker == at) {
            wire.open = false;
            wire.held = false;
            wire.full = false;
        }
        self.resumed.clear();
        let brokers = self.brokers.len() as u8;
        let mut broker = Broker::new(setup(&self.limits, 8, at as u8, brokers));
        broker.take_records(&mut Vec::new());
        for group in &self.groups[at] {
            broker.replay(group).expect("records of our own");
        }
        assert_eq!(
            broker.kept_in_words(),
            self.brokers[at].kept_in_words(),
            "what comes back is what there was"
        );
        let _ = broker.finish_replay(self.now);
        self.checkpoints[at] = None;
        self.brokers[at] = broker;
    }

    /// Writes everything down anew, bit by bit; once it is all there, what was written before is
    /// thrown away.
    pub fn checkpoint(&mut self, at: usize, budget: usize) {
        let start = match self.checkpoints[at] {
            Some(start) => start,
            None => {
                self.settle(at);
                self.brokers[at].begin_checkpoint();
                self.groups[at].len()
            }
        };
        self.checkpoints[at] = Some(start);
        let more = self.brokers[at].checkpoint(budget);
        self.settle(at);
        if !more {
            self.groups[at].drain(..start);
            self.checkpoints[at] = None;
        }
    }

    /// Opens a socket to broker 0 and says CONNECT; the answer waits to be read.
    pub fn connect(&mut self, who: Who) -> Client {
        self.connect_to(0, who)
    }

    pub fn connect_to(&mut self, broker: usize, who: Who) -> Client {
        let client = self.open(broker, who.version);
        if let Some(permissions) = &who.permissions {
            self.wires.get_mut(&client).unwrap().permissions = permissions.clone();
        }
        self.feed(client, &who.bytes());
        client
    }

    /// Connects and takes the CONNACK, which must not refuse.
    pub fn enter(&mut self, who: Who) -> Client {
        self.enter_at(0, who)
    }

    pub fn enter_at(&mut self, broker: usize, who: Who) -> Client {
        let client = self.connect_to(broker, who);
        let got = self.read(client);
        assert_eq!(got.len(), 1, "{got:?}");
        assert!(got[0].starts_with("CONNACK ok"), "{got:?}");
        client
    }

    pub fn open(&mut self, broker: usize, version: Version) -> Client {
        self.next += 1;
        let client = Client(self.next);
        self.wires.insert(
            client,
            Wire {
                broker,
                version,
                session: None,
                to_client: Vec::new(),
                to_broker: Vec::new(),
                open: true,
                full: false,
                held: false,
                permissions: self.permissions.clone(),
            },
        );
        client
    }

    /// Bytes arrive at the broker.
    pub fn feed(&mut self, client: Client, bytes: &[u8]) {
        let wire = self.wires.get_mut(&client).unwrap();
        wire.to_broker.extend_from_slice(bytes);
        if wire.held {
            return;
        }
        let bytes = std::mem::take(&mut wire.to_broker);
        let outer = std::mem::replace(&mut self.feeding, true);
        let wire = &self.wires[&client];
        let (at, id) = (wire.broker, ConnectionId(client.0));
        let mut rest = &bytes[..];
        while self.wires[&client].open && !self.wires[&client].held {
            let version = self.wires[&client].version;
            let broker = &mut self.brokers[at];
            match decode(rest, version, limits::MAX_PACKET) {
                Ok(Decoded::Incomplete(_)) => break,
                Ok(Decoded::Packet(packet, used)) => {
                    match (self.wires[&client].session, packet) {
                        (None, Packet::Connect(connect)) => {
                            let admission = Admission {
                                permissions: self.wires[&client].permissions.clone(),
                                max_packet: 1 << 20,
                            };
                            let session = broker.handle_connect(id, &connect, &admission, self.now);
                            self.wires.get_mut(&client).unwrap().session = session;
                        }
                        (None, _) => panic!("the driver lets nothing pass before CONNECT"),
                        (Some(session), packet) => {
                            let handled = broker.handle_packet(session, id, &packet, self.now);
                            if handled == Handled::Later {
                                self.wires.get_mut(&client).unwrap().held = true;
                                self.settle(at);
                                break;
                            }
                        }
                    }
                    rest = &rest[used..];
                }
                Err(error) => {
                    if let Some(session) = self.wires[&client].session {
                        broker.handle_malformed(session, id, error.reason(), self.now);
                    }
                    self.settle(at);
                    break;
                }
            }
            self.settle(at);
        }
        let rest = rest.to_vec();
        self.wires.get_mut(&client).unwrap().to_broker = rest;
        self.feeding = outer;
        self.go_on();
    }

    /// Those who were held back and may go on do so.
    fn go_on(&mut self) {
        while !self.feeding
            && let Some(client) = self.resumed.pop()
        {
            self.wires.get_mut(&client).unwrap().held = false;
            self.feed(client, &[]);
        }
    }

    /// Calls a broker outside of any connection, then carries out what it wants.
    pub fn with_broker<R>(&mut self, at: usize, call: impl FnOnce(&mut Broker, Time) -> R) -> R {
        let result = call(&mut self.brokers[at], self.now);
        self.settle(at);
        result
    }

    /// The socket breaks: nothing unread arrives, and the broker learns of it.
    pub fn cut(&mut self, client: Client) {
        let wire = self.wires.get_mut(&client).unwrap();
        wire.to_client.clear();
        let at = wire.broker;
        if std::mem::replace(&mut wire.open, false)
            && let Some(session) = wire.session
        {
            self.brokers[at].handle_closed(session, ConnectionId(client.0), self.now);
            self.settle(at);
        }
    }

    /// The socket of the client takes no more.
    pub fn fill(&mut self, client: Client) {
        let (at, session) = (
            self.wires[&client].broker,
            self.wires[&client].session.unwrap(),
        );
        self.brokers[at].handle_congested(session, ConnectionId(client.0));
        self.settle(at);
    }

    pub fn drain(&mut self, client: Client) {
        let wire = self.wires.get_mut(&client).unwrap();
        if std::mem::replace(&mut wire.full, false)
            && wire.open
            && let Some(session) = wire.session
        {
            let at = wire.broker;
            self.brokers[at].handle_drained(session, ConnectionId(client.0), self.now);
            self.settle(at);
        }
    }

    /// Lets time pass, with everything that becomes due on the way.
    pub fn wait(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while let Some(at) = self.brokers.iter().filter_map(Broker::poll_timeout).min()
            && at <= end
        {
            self.now = self.now.max(at);
            for index in 0..self.brokers.len() {
                self.brokers[index].handle_timeout(self.now);
                self.settle(index);
            }
        }
        self.now = end;
    }

    pub fn wait_seconds(&mut self, seconds: u64) {
        self.wait(seconds * 1000);
    }

    /// Lines between brokers on which something waits.
    pub fn waiting_lines(&self) -> Vec<(usize, usize)> {
        self.lines
            .iter()
            .filter(|(_, line)| !line.is_empty())
            .map(|(ends, _)| *ends)
            .collect()
    }

    /// One message between two brokers arrives.
    pub fn carry(&mut self, (from, to): (usize, usize)) {
        if let Some(message) = self
            .lines
            .get_mut(&(from, to))
            .and_then(VecDeque::pop_front)
        {
            self.brokers[to].handle_peer(from as u8, message, self.now);
            self.settle(to);
        }
    }

    pub fn carry_all(&mut self) {
        while let Some(&ends) = self.waiting_lines().first() {
            self.carry(ends);
        }
    }

    /// What is on its way between brokers never arrives.
    pub fn lose_lines(&mut self) {
        self.lines.clear();
    }

    /// Carries out what a broker wants.
    pub fn settle(&mut self, at: usize) {
        let mut effects = std::mem::take(&mut self.effects);
        self.write_down(at);
        while self.brokers[at].has_effects() {
            // Kept before anything that was made of it goes out.
            self.write_down(at);
            self.brokers[at].take_effects(&mut effects);
            let mut drained = Vec::new();
            for effect in effects.list.drain(..) {
                match effect {
                    Effect::Send { to, frame } => {
                        let wire = self.wires.get_mut(&Client(to.0)).unwrap();
                        if wire.open {
                            frame.write_to(&effects.wire, &mut wire.to_client);
                        }
                    }
                    Effect::SendShared { to, head, message } => {
                        let wire = self.wires.get_mut(&Client(to.0)).unwrap();
                        if wire.open {
                            head.write_to(&effects.wire, &mut wire.to_client);
                            wire.to_client.extend_from_slice(message.payload());
                        }
                    }
                    Effect::WatchDrain { to } => {
                        self.wires.get_mut(&Client(to.0)).unwrap().full = true;
                        drained.push(Client(to.0));
                    }
                    Effect::Close { to } => {
                        self.wires.get_mut(&Client(to.0)).unwrap().open = false;
                    }
                    Effect::Tell { peers, message } => {
                        assert_ne!(peers, 0, "somebody is told");
                        for to in (0..64).filter(|to| peers & (1 << to) != 0) {
                            assert!(to < self.brokers.len() && to != at, "a peer");
                            let line = self.lines.entry((at, to)).or_default();
                            line.push_back((*message).clone());
                        }
                    }
                    Effect::Resume { to } => self.resumed.push(Client(to.0)),
                    Effect::Observed(observed) => self.observed.push(*observed),
                    Effect::Addressed { from, message } => {
                        self.addressed.push((Client(from.0), *message));
                    }
                    Effect::Event(event) => self.events.push(*event),
                }
            }
            effects.clear();
            if !self.slow_sockets {
                for client in drained {
                    self.effects = std::mem::take(&mut effects);
                    self.drain(client);
                    effects = std::mem::take(&mut self.effects);
                }
            }
        }
        self.effects = effects;
        if !self.slow_peers {
            self.carry_all();
        }
        self.go_on();
    }

    fn write_down(&mut self, at: usize) {
        if self.brokers[at].records_len() > 0 {
            let mut group = Vec::new();
            self.brokers[at].take_records(&mut group);
            self.groups[at].push(group);
        }
    }

    /// What came for a client since it last looked, in words; `CLOSED` at the end if the
    /// broker hung up.
    pub fn read(&mut self, client: Client) -> Vec<String> {
        let wire = self.wires.get_mut(&client).unwrap();
        let bytes = std::mem::take(&mut wire.to_client);
        let mut rest = &bytes[..];
        let mut words = Vec::new();
        while !rest.is_empty() {
            match decode(rest, wire.version, limits::MAX_PACKET) {
                Ok(Decoded::Packet(packet, used)) => {
                    words.push(in_words(&packet));
                    rest = &rest[used..];
                }
                other => panic!("the broker wrote {other:?}: {rest:02x?}"),
            }
        }
        if !wire.open {
            words.push("CLOSED".into());
        }
        words
    }

    pub fn send(&mut self, client: Client, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet
            .encode(self.wires[&client].version, &mut bytes)
            .unwrap();
        self.feed(client, &bytes);
    }

    pub fn publish(&mut self, client: Client, message: Msg<'_>) {
        let bytes = message.bytes(self.wires[&client].version);
        self.feed(client, &bytes);
    }

    pub fn subscribe(&mut self, client: Client, id: u16, filters: &[Sub<'_>]) {
        self.subscribe_as(client, id, 0, filters);
    }

    /// With a Subscription Identifier.
    pub fn subscribe_as(&mut self, client: Client, id: u16, identifier: u32, filters: &[Sub<'_>]) {
        let mut list = SubscribeBuf::new();
        for sub in filters {
            list.push(sub.filter, sub.options).unwrap();
        }
        let mut properties = PropertiesBuf::new();
        if identifier != 0 {
            properties
                .push(Property::SubscriptionIdentifier(identifier))
                .unwrap();
        }
        self.send(
            client,
            &Packet::Subscribe(Subscribe {
                packet_id: packet_id(id),
                properties: properties.as_properties(),
                filters: list.as_filters(),
            }),
        );
    }

    /// Subscribes and takes the SUBACK, which must grant.
    pub fn join(&mut self, client: Client, filter: &str, qos: u8) {
        self.subscribe(client, 60_000, &[sub(filter, qos)]);
        assert_eq!(self.read(client), [format!("SUBACK #60000 [{qos}]")]);
    }

    pub fn unsubscribe(&mut self, client: Client, id: u16, filters: &[&str]) {
        let mut list = UnsubscribeBuf::new();
        for filter in filters {
            list.push(filter).unwrap();
        }
        self.send(
            client,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: packet_id(id),
                properties: safeport_mqtt::Properties::EMPTY,
                filters: list.as_filters(),
            }),
        );
    }

    pub fn ack(&mut self, client: Client, kind: fn(Ack<'static>) -> Packet<'static>, id: u16) {
        self.ack_with(client, kind, id, ReasonCode::Success);
    }

    pub fn ack_with(
        &mut self,
        client: Client,
        kind: fn(Ack<'static>) -> Packet<'static>,
        id: u16,
        code: ReasonCode,
    ) {
        self.send(
            client,
            &kind(Ack {
                packet_id: packet_id(id),
                code,
                properties: safeport_mqtt::Properties::EMPTY,
            }),
        );
    }

    pub fn disconnect(&mut self, client: Client) {
        self.disconnect_with(client, ReasonCode::Success, None);
    }

    pub fn disconnect_with(&mut self, client: Client, code: ReasonCode, expiry: Option<u32>) {
        let mut properties = PropertiesBuf::new();
        if let Some(seconds) = expiry {
            properties
                .push(Property::SessionExpiryInterval(seconds))
                .unwrap();
        }
        self.send(
            client,
            &Packet::Disconnect(Disconnect {
                code,
                properties: properties.as_properties(),
            }),
        );
    }
}

/// A CONNECT to be.
#[derive(Clone)]
pub struct Who {
    version: Version,
    id: String,
    clean: bool,
    keep_alive: u16,
    properties: Vec<Property<'static>>,
    will: Option<(Msg<'static>, Vec<Property<'static>>)>,
    bridge: bool,
    permissions: Option<Arc<Permissions>>,
}

pub fn v5(id: &str) -> Who {
    Who {
        version: Version::V5,
        id: id.into(),
        clean: true,
        keep_alive: 0,
        properties: Vec::new(),
        will: None,
        bridge: false,
        permissions: None,
    }
}

pub fn v311(id: &str) -> Who {
    Who {
        version: Version::V311,
        ..v5(id)
    }
}

pub fn v31(id: &str) -> Who {
    Who {
        version: Version::V31,
        ..v5(id)
    }
}

impl Who {
    pub fn resume(mut self) -> Who {
        self.clean = false;
        self
    }

    pub fn with(mut self, property: Property<'static>) -> Who {
        self.properties.push(property);
        self
    }

    pub fn expiry(self, seconds: u32) -> Who {
        self.with(Property::SessionExpiryInterval(seconds))
    }

    /// A session that stays: with its expiry for version 5, without clean session before.
    pub fn lasting(self) -> Who {
        match self.version {
            Version::V5 => self.resume().expiry(u32::MAX),
            _ => self.resume(),
        }
    }

    pub fn keep_alive(mut self, seconds: u16) -> Who {
        self.keep_alive = seconds;
        self
    }

    pub fn will(mut self, will: Msg<'static>) -> Who {
        self.will = Some((will, Vec::new()));
        self
    }

    pub fn will_with(mut self, property: Property<'static>) -> Who {
        self.will.as_mut().unwrap().1.push(property);
        self
    }

    pub fn bridge(mut self) -> Who {
        self.bridge = true;
        self
    }

    pub fn rights(mut self, permissions: Permissions) -> Who {
        self.permissions = Some(Arc::new(permissions));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut properties = PropertiesBuf::new();
        for property in &self.properties {
            properties.push(*property).unwrap();
        }
        let mut will_properties = PropertiesBuf::new();
        for property in self.will.iter().flat_map(|(_, list)| list) {
            will_properties.push(*property).unwrap();
        }
        let mut bytes = Vec::new();
        Packet::Connect(Connect {
            version: self.version,
            clean_start: self.clean,
            keep_alive: self.keep_alive,
            client_id: &self.id,
            will: self.will.as_ref().map(|(message, _)| Will {
                topic: message.topic,
                payload: message.payload,
                qos: message.qos,
                retain: message.retain,
                properties: will_properties.as_properties(),
            }),
            username: None,
            password: None,
            properties: properties.as_properties(),
            bridge: self.bridge,
        })
        .encode(self.version, &mut bytes)
        .unwrap();
        bytes
    }
}

/// A PUBLISH (or will) to be.
#[derive(Clone)]
pub struct Msg<'a> {
    topic: &'a str,
    payload: &'a [u8],
    qos: QoS,
    id: u16,
    retain: bool,
    dup: bool,
    properties: Vec<Property<'a>>,
}

pub fn msg<'a>(topic: &'a str, payload: &'a str) -> Msg<'a> {
    Msg {
        topic,
        payload: payload.as_bytes(),
        qos: QoS::AtMostOnce,
        id: 0,
        retain: false,
        dup: false,
        properties: Vec::new(),
    }
}

impl<'a> Msg<'a> {
    pub fn q1(mut self, id: u16) -> Self {
        (self.qos, self.id) = (QoS::AtLeastOnce, id);
        self
    }

    pub fn q2(mut self, id: u16) -> Self {
        (self.qos, self.id) = (QoS::ExactlyOnce, id);
        self
    }

    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    pub fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub fn with(mut self, property: Property<'a>) -> Self {
        self.properties.push(property);
        self
    }

    fn bytes(&self, version: Version) -> Vec<u8> {
        let mut properties = PropertiesBuf::new();
        for property in &self.properties {
            properties.push(*property).unwrap();
        }
        let mut bytes = Vec::new();
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            topic: self.topic,
            packet_id: safeport_mqtt::PacketId::new(self.id),
            properties: properties.as_properties(),
            payload: self.payload,
        }
        .encode(version, &mut bytes)
        .unwrap();
        bytes
    }
}

/// A topic filter with its options.
#[derive(Clone, Copy)]
pub struct Sub<'a> {
    filter: &'a str,
    options: SubscribeOptions,
}

pub fn sub(filter: &str, qos: u8) -> Sub<'_> {
    Sub {
        filter,
        options: SubscribeOptions {
            qos: QoS::from_u8(qos).unwrap(),
            ..SubscribeOptions::default()
        },
    }
}

impl Sub<'_> {
    pub fn no_local(mut self) -> Self {
        self.options.no_local = true;
        self
    }

    pub fn as_published(mut self) -> Self {
        self.options.retain_as_published = true;
        self
    }

    pub fn handling(mut self, handling: RetainHandling) -> Self {
        self.options.retain_handling = handling;
        self
    }
}

pub fn packet_id(id: u16) -> safeport_mqtt::PacketId {
    safeport_mqtt::PacketId::new(id).unwrap()
}

/// A packet from the broker as a line of text. What a CONNACK of version 5 always says (its
/// limits) is left out.
pub fn in_words(packet: &Packet<'_>) -> String {
    let ack = |name: &str, ack: &Ack<'_>| match ack.code {
        ReasonCode::Success => format!("{name} #{}", ack.packet_id),
        code => format!("{name} #{} {:#04x}", ack.packet_id, code as u8),
    };
    match packet {
        Packet::ConnAck(connack) => {
            let mut text = match (connack.code, connack.session_present) {
                (ReasonCode::Success, false) => "CONNACK ok".to_owned(),
                (ReasonCode::Success, true) => "CONNACK ok, present".to_owned(),
                (code, _) => format!("CONNACK {:#04x}", code as u8),
            };
            for property in connack.properties.iter() {
                match property {
                    Property::SessionExpiryInterval(seconds) => {
                        write!(text, " expiry={seconds}").unwrap()
                    }
                    Property::AssignedClientIdentifier(id) => write!(text, " id={id}").unwrap(),
                    Property::ServerKeepAlive(seconds) => {
                        write!(text, " keep_alive={seconds}").unwrap()
                    }
                    _ => {}
                }
            }
            text
        }
        Packet::Publish(publish) => {
            let mut text = format!("PUBLISH {} q{}", publish.topic, publish.qos as u8);
            if let Some(id) = publish.packet_id {
                write!(text, " #{id}").unwrap();
            }
            for (flag, word) in [(publish.dup, " dup"), (publish.retain, " retain")] {
                text.push_str(if flag { word } else { "" });
            }
            for property in publish.properties.iter() {
                match property {
                    Property::SubscriptionIdentifier(id) => write!(text, " sub={id}").unwrap(),
                    Property::MessageExpiryInterval(s) => write!(text, " expiry={s}").unwrap(),
                    Property::TopicAlias(alias) => write!(text, " alias={alias}").unwrap(),
                    Property::UserProperty(k, v) => write!(text, " {k}={v}").unwrap(),
                    Property::ResponseTopic(topic) => write!(text, " response={topic}").unwrap(),
                    Property::ContentType(kind) => write!(text, " type={kind}").unwrap(),
                    Property::PayloadFormatIndicator(utf8) => write!(text, " utf8={utf8}").unwrap(),
                    Property::CorrelationData(data) => {
                        write!(text, " correlation={}", String::from_utf8_lossy(data)).unwrap()
                    }
                    other => panic!("{other:?} is not for receivers"),
                }
            }
            let payload = String::from_utf8_lossy(publish.payload);
            match payload.len() {
                0..100 => write!(text, ": {payload}").unwrap(),
                len => write!(text, ": {len} bytes").unwrap(),
            }
            text
        }
        Packet::PubAck(a) => ack("PUBACK", a),
        Packet::PubRec(a) => ack("PUBREC", a),
        Packet::PubRel(a) => ack("PUBREL", a),
        Packet::PubComp(a) => ack("PUBCOMP", a),
        Packet::SubAck(a) => format!("SUBACK #{} {:?}", a.packet_id, a.codes),
        Packet::UnsubAck(a) => format!("UNSUBACK #{} {:?}", a.packet_id, a.codes),
        Packet::PingResp => "PINGRESP".into(),
        Packet::Disconnect(d) => format!("DISCONNECT {:#04x}", d.code as u8),
        other => panic!("a broker does not send {other:?}"),
    }
}
