//! What must hold of brokers for any sequence of operations at all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use safeport_broker::{
    Admission, Broker, BrokerSetup, ConnectionId, Effect, Effects, Limits, PeerMessage,
    Permissions, Publication, SessionId, Time, TopicRights,
};
use safeport_mqtt::{
    Ack, Connect, Decoded, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, QoS,
    ReasonCode, RetainHandling, Subscribe, SubscribeBuf, SubscribeOptions, Unsubscribe,
    UnsubscribeBuf, Version, Will, decode, limits,
};

use crate::packets::with_packet_of;
use crate::source::Source;

/// Two brokers with tight limits and a driver that does whatever `data` says.
///
/// Nothing panics; every byte sent is part of a packet that a client of that version can
/// decode, and goes to a connection that is open; the gauges agree with what is there; and when
/// everybody has left, nothing is left behind. What was written down on the way brings back what
/// there was at every moment.
pub fn operations(data: &[u8]) {
    let mut source = Source::new(data);
    let mut crowd = Crowd::new(&mut source);
    while !source.is_empty() {
        crowd.step(&mut source);
        crowd.check();
    }
    crowd.check_restart();
    crowd.leave();
}

/// Reads back whatever bytes, behind records that a broker made. They may be refused; they do not
/// make it panic.
pub fn records(data: &[u8]) {
    let mut source = Source::new(data);
    let mut crowd = Crowd::new(&mut source);
    for _ in 0..source.below(12) {
        crowd.step(&mut source);
        crowd.check();
    }
    let mut broker = Broker::new(setup(&crowd.limits, 0));
    for group in &crowd.kept[0] {
        broker.replay(group).expect("records of our own");
    }
    let mut rest = Vec::new();
    while !source.is_empty() {
        rest.push(source.below(256) as u8);
    }
    let _ = broker.replay(&rest);
    let _ = broker.finish_replay(crowd.now);
    broker.handle_timeout(crowd.now + 1_000_000);
    broker.begin_checkpoint();
    while broker.checkpoint(100) {}
}

fn setup(limits: &Limits, me: u8) -> BrokerSetup {
    BrokerSetup {
        limits: limits.clone(),
        seed: [3, 4],
        me,
        brokers: 2,
        durable: true,
    }
}

struct Connection {
    broker: usize,
    version: Version,
    session: SessionId,
    bytes: Vec<u8>,
}

struct Crowd {
    brokers: Vec<Broker>,
    lines: [VecDeque<PeerMessage>; 2],
    connections: BTreeMap<u32, Connection>,
    next: u32,
    now: Time,
    effects: Effects,
    limits: Limits,
    /// by broker: what it wrote down
    kept: [Vec<Vec<u8>>; 2],
}

const CLIENTS: [&str; 4] = ["a", "b", "c", ""];
const TOPICS: [&str; 8] = [
    "t",
    "t/u",
    "t/u/v",
    "u",
    "/",
    "$x/y",
    "$SYS/z",
    "a/b/c/d/e/f",
];
const FILTERS: [&str; 12] = [
    "t",
    "t/+",
    "t/#",
    "#",
    "+",
    "+/+",
    "$x/#",
    "$share/g/t/#",
    "$share/g/#",
    "$share/h/t/#",
    "a/b/c/d/e/f",
    "/",
];

impl Crowd {
    fn new(source: &mut Source<'_>) -> Crowd {
        let limits = Limits {
            max_inflight: 1 + source.below(4) as u16,
            max_queued_messages: 1 + source.below(6) as u32,
            max_queued_bytes: 200,
            max_queued_qos0: source.below(3) as u32,
            max_retained_messages: 3,
            max_subscriptions: 4,
            max_topic_levels: 5,
            receive_maximum: 1 + source.below(3) as u16,
            topic_alias_maximum: 2,
            topic_aliases_out: 2,
            max_keep_alive: 60,
            max_client_id: 40,
            max_sessions: 5,
            session_expiry: 100,
            ..Limits::default()
        };
        Crowd {
            brokers: (0..2).map(|me| Broker::new(setup(&limits, me))).collect(),
            lines: Default::default(),
            connections: BTreeMap::new(),
            next: 0,
            now: Time(0),
            effects: Effects::default(),
            limits,
            kept: Default::default(),
        }
    }

    fn step(&mut self, source: &mut Source<'_>) {
        let at = source.below(2);
        let now = self.now;
        match source.below(24) {
            0..4 => self.connect(at, source),
            4..8 => self.packet(source, |source, version, feed| {
                let topic = source.pick(&TOPICS);
                let qos = QoS::from_u8(source.below(3) as u8).expect("0 to 2");
                let mut properties = PropertiesBuf::new();
                if version == Version::V5 && source.flag() {
                    let alias = Property::TopicAlias(1 + source.below(3) as u16);
                    properties.push(alias).expect("a number");
                    let expiry = Property::MessageExpiryInterval(source.below(5) as u32);
                    properties.push(expiry).expect("a number");
                }
                let short = !properties.is_empty() && source.flag();
                feed(&Packet::Publish(Publish {
                    dup: false,
                    qos,
                    retain: source.flag(),
                    topic: if short { "" } else { topic },
                    packet_id: (qos != QoS::AtMostOnce).then(|| id(source)),
                    properties: properties.as_properties(),
                    payload: &[b'x'; 120][..source.below(121)],
                }));
            }),
            8..11 => self.packet(source, |source, version, feed| {
                let mut filters = SubscribeBuf::new();
                for _ in 0..1 + source.below(3) {
                    let filter = source.pick(&FILTERS);
                    let v5 = version == Version::V5;
                    let options = SubscribeOptions {
                        qos: QoS::from_u8(source.below(3) as u8).expect("0 to 2"),
                        no_local: v5 && source.flag() && !filter.starts_with("$share"),
                        retain_as_published: v5 && source.flag(),
                        retain_handling: match v5 {
                            true => source.pick(&[
                                RetainHandling::SendAtSubscribe,
                                RetainHandling::SendIfNew,
                                RetainHandling::DoNotSend,
                            ]),
                            false => RetainHandling::SendAtSubscribe,
                        },
                    };
                    filters.push(filter, options).expect("a filter");
                }
                let mut properties = PropertiesBuf::new();
                if version == Version::V5 && source.flag() {
                    let identifier = Property::SubscriptionIdentifier(1 + source.u16() as u32);
                    properties.push(identifier).expect("a number");
                }
                feed(&Packet::Subscribe(Subscribe {
                    packet_id: id(source),
                    properties: properties.as_properties(),
                    filters: filters.as_filters(),
                }));
            }),
            11 => self.packet(source, |source, _, feed| {
                let mut filters = UnsubscribeBuf::new();
                filters.push(source.pick(&FILTERS)).expect("a filter");
                feed(&Packet::Unsubscribe(Unsubscribe {
                    packet_id: id(source),
                    properties: Properties::EMPTY,
                    filters: filters.as_filters(),
                }));
            }),
            12..15 => self.packet(source, |source, version, feed| {
                let kind = source.pick(&[
                    Packet::PubAck as fn(Ack<'static>) -> Packet<'static>,
                    Packet::PubRec,
                    Packet::PubRel,
                    Packet::PubComp,
                ]);
                let refused = version == Version::V5 && source.below(8) == 0;
                let ack = Ack {
                    packet_id: id(source),
                    code: ReasonCode::Success,
                    properties: Properties::EMPTY,
                };
                match (kind(ack), refused) {
                    (Packet::PubRec(ack), true) => feed(&Packet::PubRec(Ack {
                        code: ReasonCode::UnspecifiedError,
                        ..ack
                    })),
                    (packet, _) => feed(&packet),
                }
            }),
            15 => self.packet(source, |source, version, feed| {
                with_packet_of(version, source, |packet| match packet {
                    // `leave` only knows the usual topics.
                    Packet::Publish(publish) if publish.retain => {}
                    packet => feed(&packet),
                })
            }),
            16 => {
                if let Some((key, connection)) = self.pick(source) {
                    let (at, session) = (connection.broker, connection.session);
                    let broker = &mut self.brokers[at];
                    match source.below(5) {
                        0 => broker.handle_congested(session, ConnectionId(key)),
                        1 => broker.handle_drained(session, ConnectionId(key), now),
                        2 => {
                            let reason = ReasonCode::UnsupportedProtocolVersion;
                            broker.handle_malformed(session, ConnectionId(key), reason, now);
                        }
                        3 => broker.close(
                            session,
                            ConnectionId(key),
                            ReasonCode::AdministrativeAction,
                            now,
                        ),
                        _ => {
                            broker.handle_closed(session, ConnectionId(key), now);
                            self.connections.remove(&key);
                        }
                    }
                }
            }
            17 => {
                let mut publication = Publication::new(source.pick(&TOPICS), vec![1; 9]);
                publication.qos = QoS::from_u8(source.below(3) as u8).expect("0 to 2");
                publication.retain = source.flag();
                match source.flag() {
                    true => self.brokers[at].publish(&publication, now),
                    false => {
                        let client = source.pick(&CLIENTS);
                        self.brokers[at].deliver(client, &publication, now);
                    }
                }
            }
            18 => match source.below(4) {
                0 => self.brokers[at].close_user("user", now),
                1 => {
                    let reason = ReasonCode::AdministrativeAction;
                    self.brokers[at].close_client(source.pick(&CLIENTS), reason, now);
                }
                2 => self.brokers[at].introduce(1 - at as u8),
                _ => self.brokers[at].close_all(ReasonCode::ServerShuttingDown, now),
            },
            19..22 => self.carry(at),
            _ => self.wait(source.pick(&[1, 999, 5_000, 70_000, 110_000])),
        }
    }

    fn connect(&mut self, at: usize, source: &mut Source<'_>) {
        let version = source.pick(&[Version::V5, Version::V311, Version::V31]);
        let (mut properties, mut of_will) = (PropertiesBuf::new(), PropertiesBuf::new());
        if version == Version::V5 {
            for property in [
                Property::SessionExpiryInterval(source.pick(&[0, 10, u32::MAX])),
                Property::ReceiveMaximum(1 + source.below(4) as u16),
                Property::TopicAliasMaximum(source.below(4) as u16),
                Property::MaximumPacketSize(source.pick(&[20, 60, 100_000])),
            ] {
                properties.push(property).expect("a number");
            }
            let delay = Property::WillDelayInterval(source.pick(&[0, 5, 50]));
            of_will.push(delay).expect("a number");
        }
        let will = source.flag().then(|| Will {
            topic: source.pick(&TOPICS),
            payload: b"will",
            qos: QoS::from_u8(source.below(3) as u8).expect("0 to 2"),
            retain: source.flag(),
            properties: of_will.as_properties(),
        });
        let connect = Connect {
            version,
            clean_start: source.flag(),
            keep_alive: source.pick(&[0, 10, 1000]),
            client_id: source.pick(&CLIENTS),
            will,
            username: None,
            password: None,
            properties: properties.as_properties(),
            bridge: version != Version::V5 && source.below(8) == 0,
        };
        let narrow = source.below(4) == 0;
        let rights = match narrow {
            true => TopicRights::Filters(vec!["t/#".into()]),
            false => TopicRights::All,
        };
        let admission = Admission {
            permissions: Arc::new(Permissions {
                user: narrow.then(|| "user".into()),
                publish: rights.clone(),
                subscribe: rights,
                to_server: None,
            }),
            max_packet: 1 << 20,
        };
        let key = self.next;
        self.next += 1;
        let id = ConnectionId(key);
        if let Some(session) = self.brokers[at].handle_connect(id, &connect, &admission, self.now) {
            let connection = Connection {
                broker: at,
                version,
                session,
                bytes: Vec::new(),
            };
            self.connections.insert(key, connection);
        } else {
            // A refusal is written to a connection that never lived; the checks are for others.
            self.brokers[at].take_effects(&mut self.effects);
        }
    }

    fn pick(&self, source: &mut Source<'_>) -> Option<(u32, &Connection)> {
        let nth = source.below(self.connections.len().clamp(1, 256));
        self.connections
            .iter()
            .nth(nth)
            .map(|(key, connection)| (*key, connection))
    }

    /// Lets `make` make a packet for some connection and gives it to the broker.
    fn packet(
        &mut self,
        source: &mut Source<'_>,
        make: impl FnOnce(&mut Source<'_>, Version, &mut dyn FnMut(&Packet<'_>)),
    ) {
        let Some((key, connection)) = self.pick(source) else {
            return;
        };
        let (at, version, session) = (connection.broker, connection.version, connection.session);
        let (broker, now) = (&mut self.brokers[at], self.now);
        make(source, version, &mut |packet| {
            // Whoever is held back loses patience and sends something else.
            let _ = broker.handle_packet(session, ConnectionId(key), packet, now);
        });
    }

    fn carry(&mut self, to: usize) {
        if let Some(message) = self.lines[to].pop_front() {
            self.brokers[to].handle_peer(1 - to as u8, message, self.now);
        }
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now = self.now + milliseconds;
        for broker in &mut self.brokers {
            broker.handle_timeout(self.now);
            assert!(broker.poll_timeout().is_none_or(|at| at > self.now));
        }
    }

    fn check(&mut self) {
        for at in 0..2 {
            self.carry_out(at);
            let stats = self.brokers[at].stats();
            let open = self.connections.values().filter(|c| c.broker == at).count();
            assert_eq!(stats.connected, open as u64, "gauge of connected clients");
            assert!(stats.sessions >= stats.connected);
            assert!(stats.retained <= 3 && stats.sessions <= 5);
        }
    }

    /// What a restart would make of each broker is what it is.
    fn check_restart(&mut self) {
        for at in 0..2 {
            self.carry_out(at);
            let mut broker = Broker::new(setup(&self.limits, at as u8));
            for group in &self.kept[at] {
                broker.replay(group).expect("records of our own");
            }
            assert_eq!(broker.kept_in_words(), self.brokers[at].kept_in_words());
        }
    }

    fn carry_out(&mut self, at: usize) {
        let mut group = Vec::new();
        self.brokers[at].take_records(&mut group);
        if !group.is_empty() {
            self.kept[at].push(group);
        }
        let mut effects = std::mem::take(&mut self.effects);
        self.brokers[at].take_effects(&mut effects);
        for effect in effects.list.drain(..) {
            match effect {
                Effect::Send { to, frame } => {
                    let connection = self.connections.get_mut(&to.0).expect("an open connection");
                    frame.write_to(&effects.wire, &mut connection.bytes);
                    connection.read();
                }
                Effect::SendShared { to, head, message } => {
                    let connection = self.connections.get_mut(&to.0).expect("an open connection");
                    head.write_to(&effects.wire, &mut connection.bytes);
                    connection.bytes.extend_from_slice(message.payload());
                    connection.read();
                }
                Effect::Resume { to } => assert!(self.connections.contains_key(&to.0)),
                Effect::WatchDrain { to } => assert!(self.connections.contains_key(&to.0)),
                Effect::Close { to } => {
                    self.connections.remove(&to.0).expect("an open connection");
                }
                Effect::Tell { peers, message } => {
                    assert_eq!(peers, 2 >> at, "the other one");
                    self.lines[1 - at].push_back(*message);
                }
                Effect::Observed(observed) => unreachable!("nobody observes: {observed:?}"),
                Effect::Addressed { message, .. } => unreachable!("nobody may: {message:?}"),
                Effect::Event(event) => assert!(!format!("{event:?}").is_empty()),
            }
        }
        self.effects = effects;
    }

    fn leave(&mut self) {
        for key in self.connections.keys().copied().collect::<Vec<_>>() {
            let connection = &self.connections[&key];
            let (at, session) = (connection.broker, connection.session);
            self.brokers[at].handle_closed(session, ConnectionId(key), self.now);
            self.connections.remove(&key);
            self.check();
        }
        for _ in 0..2 {
            self.wait(200_000);
            self.check();
            while self.lines.iter().any(|line| !line.is_empty()) {
                self.carry(0);
                self.carry(1);
                self.check();
            }
        }
        for topic in TOPICS {
            let mut removal = Publication::new(topic, []);
            removal.retain = true;
            self.brokers[0].publish(&removal, self.now);
        }
        self.check();
        while !self.lines[1].is_empty() {
            self.carry(1);
        }
        self.wait(100_000);
        for broker in &self.brokers {
            let stats = broker.stats();
            assert_eq!((stats.stored, stats.subscriptions), (0, 0));
            assert!(broker.is_empty(), "nothing is left behind");
        }
    }
}

impl Connection {
    fn read(&mut self) {
        match decode(&self.bytes, self.version, limits::MAX_PACKET) {
            Ok(Decoded::Packet(_, used)) => assert_eq!(used, self.bytes.len(), "one packet"),
            other => panic!("{other:?}: {:02x?}", self.bytes),
        }
        self.bytes.clear();
    }
}

/// Few, so that acknowledgements meet what they acknowledge.
fn id(source: &mut Source<'_>) -> PacketId {
    PacketId::new(1 + source.below(5) as u16).expect("above 0")
}
