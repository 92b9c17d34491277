//! Clients that do anything at any time; what they are sent they acknowledge late, or never.

use std::sync::Arc;

use safeport_broker::{
    Admission, Broker, ConnectionId, Effect, Effects, Permissions, SessionId, Time,
};
use safeport_mqtt::{
    Ack, Connect, Decoded, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property,
    Publish, QoS, ReasonCode, RetainHandling, Subscribe, SubscribeBuf, SubscribeOptions,
    Unsubscribe, UnsubscribeBuf, Version, Will, decode, limits,
};

use super::Random;

const NAMES: [&str; 5] = ["anna", "ben", "cleo", "dora", "emil"];
const TOPICS: [&str; 4] = ["t/1", "t/2", "s/1", "u"];
const FILTERS: [&str; 6] = ["t/#", "t/1", "+/1", "#", "u", "$share/g/s/#"];

/// All of them, and their connections to one broker.
pub(crate) struct Clients {
    connected: [Option<Connection>; NAMES.len()],
    admission: Admission,
    effects: Effects,
    next: u32,
    said: u32,
}

struct Connection {
    session: SessionId,
    id: ConnectionId,
    version: Version,
    /// answers that are due: kind and packet identifier
    due: Vec<(Due, PacketId)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Ack,
    Rec,
    Comp,
    Rel,
}

impl Clients {
    pub(crate) fn new() -> Clients {
        Clients {
            connected: [const { None }; NAMES.len()],
            admission: Admission {
                permissions: Arc::new(Permissions::open()),
                max_packet: limits::MAX_PACKET,
            },
            effects: Effects::default(),
            next: 1,
            said: 0,
        }
    }

    /// Anything, by anybody.
    pub(crate) fn do_something(
        &mut self,
        broker: &mut Broker,
        random: &mut Random,
        now: &mut Time,
    ) {
        let who = random.below(NAMES.len() as u64) as usize;
        let what = random.below(100);
        if what >= 97 {
            *now = *now + random.below(20_000);
            broker.handle_timeout(*now);
        } else if self.connected[who].is_none() {
            self.connect(who, broker, random, *now);
        } else {
            match what {
                0..30 => self.answer(who, broker, random, *now),
                30..65 => self.publish(who, broker, random, *now),
                65..78 => self.subscribe(who, broker, random, *now),
                78..82 => self.unsubscribe(who, broker, random, *now),
                82..88 => self.lose(who, broker, *now),
                88..91 => self.connect(who, broker, random, *now),
                91..94 => self.congest(who, broker, random, *now),
                _ => self.leave(who, broker, random, *now),
            }
        }
        self.carry_out(broker);
    }

    fn connect(&mut self, who: usize, broker: &mut Broker, random: &mut Random, now: Time) {
        let version = [Version::V311, Version::V5][random.below(2) as usize];
        let mut properties = PropertiesBuf::new();
        if version == Version::V5 {
            let expiry = [0, 10, 3_600, u32::MAX][random.below(4) as usize];
            push(&mut properties, Property::SessionExpiryInterval(expiry));
        }
        let mut of_will = PropertiesBuf::new();
        if version == Version::V5 && random.chance(50) {
            push(&mut of_will, Property::WillDelayInterval(5));
        }
        let will = random.chance(25).then(|| Will {
            topic: "t/1",
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: random.chance(30),
            properties: of_will.as_properties(),
        });
        let connect = Connect {
            version,
            clean_start: random.chance(15),
            keep_alive: 0,
            client_id: NAMES[who],
            will,
            username: None,
            password: None,
            properties: properties.as_properties(),
            bridge: false,
        };
        let id = ConnectionId(self.next);
        self.next += 1;
        let session = broker.handle_connect(id, &connect, &self.admission, now);
        self.connected[who] = session.map(|session| Connection {
            session,
            id,
            version,
            due: Vec::new(),
        });
    }

    fn packet(&mut self, who: usize, broker: &mut Broker, packet: &Packet<'_>, now: Time) {
        if let Some(Connection { session, id, .. }) = &self.connected[who] {
            let _ = broker.handle_packet(*session, *id, packet, now);
        }
    }

    /// An answer that is due, or one that is not.
    fn answer(&mut self, who: usize, broker: &mut Broker, random: &mut Random, now: Time) {
        let Some(connection) = &mut self.connected[who] else {
            return;
        };
        let (due, packet_id) = match connection.due.len() as u64 {
            0 => {
                let kinds = [Due::Ack, Due::Rec, Due::Comp, Due::Rel];
                (kinds[random.below(4) as usize], some_id(random))
            }
            _ if random.chance(80) => connection.due.remove(0),
            waiting => connection.due.remove(random.below(waiting) as usize),
        };
        let ack = Ack {
            packet_id,
            code: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        let packet = match due {
            Due::Ack => Packet::PubAck(ack),
            Due::Rec => Packet::PubRec(ack),
            Due::Comp => Packet::PubComp(ack),
            Due::Rel => Packet::PubRel(ack),
        };
        self.packet(who, broker, &packet, now);
    }

    fn publish(&mut self, who: usize, broker: &mut Broker, random: &mut Random, now: Time) {
        let version = self.connected[who].as_ref().map(|c| c.version);
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][random.below(3) as usize];
        self.said += 1;
        let mut payload = format!("{} from {}", self.said, NAMES[who]);
        if random.chance(5) {
            // Longer than a segment of the log.
            payload.push_str(&".".repeat(2_500));
        }
        let retain = random.chance(25);
        if retain && random.chance(30) {
            payload.clear();
        }
        let mut properties = PropertiesBuf::new();
        if version == Some(Version::V5) && random.chance(20) {
            push(&mut properties, Property::MessageExpiryInterval(15));
            push(&mut properties, Property::UserProperty("a", "b"));
        }
        let packet = Packet::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic: TOPICS[random.below(TOPICS.len() as u64) as usize],
            packet_id: (qos != QoS::AtMostOnce).then(|| some_id(random)),
            properties: properties.as_properties(),
            payload: payload.as_bytes(),
        });
        self.packet(who, broker, &packet, now);
    }

    fn subscribe(&mut self, who: usize, broker: &mut Broker, random: &mut Random, now: Time) {
        let version = self.connected[who].as_ref().map(|c| c.version);
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][random.below(3) as usize];
        let filter = FILTERS[random.below(FILTERS.len() as u64) as usize];
        let five = version == Some(Version::V5);
        let mut filters = SubscribeBuf::new();
        let options = SubscribeOptions {
            qos,
            no_local: five && !filter.starts_with('$') && random.chance(20),
            retain_as_published: five && random.chance(30),
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        filters.push(filter, options).expect("a filter");
        let mut properties = PropertiesBuf::new();
        if five && random.chance(40) {
            let identifier = 1 + random.below(300) as u32;
            push(
                &mut properties,
                Property::SubscriptionIdentifier(identifier),
            );
        }
        let packet = Packet::Subscribe(Subscribe {
            packet_id: some_id(random),
            properties: properties.as_properties(),
            filters: filters.as_filters(),
        });
        self.packet(who, broker, &packet, now);
    }

    fn unsubscribe(&mut self, who: usize, broker: &mut Broker, random: &mut Random, now: Time) {
        let mut filters = UnsubscribeBuf::new();
        let filter = FILTERS[random.below(FILTERS.len() as u64) as usize];
        filters.push(filter).expect("a filter");
        let packet = Packet::Unsubscribe(Unsubscribe {
            packet_id: some_id(random),
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        });
        self.packet(who, broker, &packet, now);
    }

    fn lose(&mut self, who: usize, broker: &mut Broker, now: Time) {
        if let Some(connection) = self.connected[who].take() {
            broker.handle_closed(connection.session, connection.id, now);
        }
    }

    fn leave(&mut self, who: usize, broker: &mut Broker, random: &mut Random, now: Time) {
        let version = self.connected[who].as_ref().map(|c| c.version);
        let mut properties = PropertiesBuf::new();
        if version == Some(Version::V5) && random.chance(30) {
            push(&mut properties, Property::SessionExpiryInterval(7));
        }
        let packet = Packet::Disconnect(Disconnect {
            code: ReasonCode::Success,
            properties: properties.as_properties(),
        });
        self.packet(who, broker, &packet, now);
    }

    /// The socket is full for a while.
    fn congest(&mut self, who: usize, broker: &mut Broker, random: &mut Random, now: Time) {
        if let Some(Connection { session, id, .. }) = &self.connected[who] {
            match random.chance(50) {
                true => broker.handle_congested(*session, *id),
                false => broker.handle_drained(*session, *id, now),
            }
        }
    }

    /// What the broker sends, and whom it sends away.
    fn carry_out(&mut self, broker: &mut Broker) {
        let mut effects = std::mem::take(&mut self.effects);
        broker.take_effects(&mut effects);
        for effect in effects.list.drain(..) {
            match effect {
                Effect::Send { to, frame } => {
                    let mut bytes = Vec::new();
                    frame.write_to(&effects.wire, &mut bytes);
                    self.hear(to, &bytes);
                }
                Effect::SendShared { to, head, message } => {
                    let mut bytes = Vec::new();
                    head.write_to(&effects.wire, &mut bytes);
                    bytes.extend_from_slice(message.payload());
                    self.hear(to, &bytes);
                }
                Effect::Close { to } => {
                    for connection in &mut self.connected {
                        if connection.as_ref().is_some_and(|c| c.id == to) {
                            *connection = None;
                        }
                    }
                }
                _ => {}
            }
        }
        effects.clear();
        self.effects = effects;
    }

    fn hear(&mut self, to: ConnectionId, bytes: &[u8]) {
        let mut connected = self.connected.iter_mut().flatten();
        let Some(connection) = connected.find(|c| c.id == to) else {
            return;
        };
        let Ok(Decoded::Packet(packet, _)) = decode(bytes, connection.version, limits::MAX_PACKET)
        else {
            panic!("the broker wrote {bytes:02x?}");
        };
        let due = match packet {
            Packet::Publish(publish) => publish.packet_id.map(|id| match publish.qos {
                QoS::ExactlyOnce => (Due::Rec, id),
                _ => (Due::Ack, id),
            }),
            Packet::PubRel(ack) => Some((Due::Comp, ack.packet_id)),
            Packet::PubRec(ack) => Some((Due::Rel, ack.packet_id)),
            _ => None,
        };
        connection.due.extend(due);
    }
}

fn some_id(random: &mut Random) -> PacketId {
    PacketId::new(1 + random.below(6) as u16).expect("not zero")
}

fn push(properties: &mut PropertiesBuf, property: Property<'_>) {
    properties.push(property).expect("can be encoded");
}
