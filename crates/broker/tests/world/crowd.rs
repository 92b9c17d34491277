//! Random clients that keep the protocol's rules over links that break, and a record of what
//! must and must not arrive.
//!
//! A client here is a model of its own: it repeats what was not acknowledged, drops what it
//! has already seen only by packet id, delays its acknowledgements, loses its socket at any
//! byte and comes back with or without its session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use safeport_broker::{Limits, RESTART_GRACE, Time};
use safeport_mqtt::{
    Ack, Decoded, Packet, Property, Publish, QoS, ReasonCode, TopicFilter, Version, decode, limits,
};

use super::{Client, Who, World, msg, packet_id, sub, v5, v31, v311};

/// A stream of numbers from a seed (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// How a run differs from another.
pub struct Plan {
    pub brokers: u8,
    pub actors: usize,
    pub steps: usize,
    /// members of the shared group stay its members
    pub loyal: bool,
    /// the process dies now and then, at any moment
    pub crashes: bool,
}

/// A message that was published once, however often it was sent.
struct Said {
    actor: usize,
    topic: String,
    qos: u8,
    born: u64,
    /// its place among those of the same actor, topic and QoS
    number: u64,
    /// the broker took it
    taken: bool,
    /// (receiver, QoS, session of the receiver), without repetitions by packet id
    arrived: Vec<(usize, u8, u64)>,
}

/// A connection as its client sees it.
struct Link {
    client: Client,
    up: Vec<u8>,
    down: Vec<u8>,
    connected: bool,
    aliases_in: BTreeMap<u16, String>,
    aliases_out: BTreeMap<String, u16>,
    /// delayed answers: to a PUBLISH of this QoS, or to a PUBREL
    acks: VecDeque<(Option<QoS>, u16)>,
    /// messages of QoS 1 and 2 that this connection brought and that are not acknowledged
    open: BTreeSet<u16>,
    /// the Receive Maximum of its CONNACK
    window: u16,
}

struct Outgoing {
    id: u16,
    said: usize,
    released: bool,
}

struct Wish {
    qos: u8,
    /// acknowledged at this step, and in force since
    must_since: Option<u64>,
    /// ended at this step; `None` = may be in force
    may_until: Option<u64>,
}

struct Actor {
    name: String,
    broker: usize,
    version: Version,
    receive_maximum: u16,
    aliases: u16,
    member: bool,
    /// seconds the session stays, as of the last CONNECT
    expiry: u32,
    link: Option<Link>,
    session: u64,
    out: VecDeque<Outgoing>,
    next_id: u16,
    received: BTreeSet<u16>,
    wishes: BTreeMap<&'static str, Wish>,
    /// one request at a time: (id, filter, it is a SUBSCRIBE)
    request: Option<(u16, &'static str, bool)>,
    numbers: BTreeMap<(String, u8), u64>,
    newest: BTreeMap<(usize, String, u8, u64), u64>,
    wills: u32,
}

/// What the broker has to know of a client identifier: a second, simpler book.
#[derive(Default)]
struct Known {
    connection: Option<Client>,
    exists: bool,
    expiry: u32,
    will: Option<(String, u32)>,
    due: Option<(Time, String)>,
    ends: Option<Time>,
    /// the process died under its last connection: its will is forgotten if it comes back
    interrupted: bool,
}

pub struct Crowd {
    world: World,
    random: Random,
    actors: Vec<Actor>,
    known: Vec<Known>,
    said: Vec<Said>,
    step: u64,
    half_open: Vec<Client>,
    retained: BTreeMap<String, String>,
    witness: Client,
    wills: Vec<String>,
    wills_seen: Vec<String>,
    lasting_only: bool,
    crashes: bool,
}

const FILTERS: [&str; 6] = ["t/0", "t/1", "t/+", "t/#", "+/0", "r/#"];
const GROUP: &str = "$share/g/s/#";
const TOPICS: [&str; 5] = ["t/0", "t/1", "t/2", "s/a", "s/b"];
const RETAINED: [&str; 3] = ["r/0", "r/1", "r/2"];

impl Crowd {
    /// Runs a plan to its end and checks everything.
    pub fn run(seed: u64, plan: &Plan) {
        let mut crowd = Crowd::new(seed, plan);
        crowd.settle_members();
        for _ in 0..plan.steps {
            crowd.step();
        }
        crowd.quiet_down();
        crowd.check_deliveries(plan);
        crowd.check_retained(plan);
        crowd.leave();
    }

    fn new(seed: u64, plan: &Plan) -> Crowd {
        let mut random = Random(seed);
        let limits = Limits {
            receive_maximum: 1 + random.below(6) as u16,
            max_inflight: 1 + random.below(9) as u16,
            ..Limits::default()
        };
        let mut world = World::of(plan.brokers, limits);
        let witness = world.enter(v5("witness"));
        world.join(witness, "will/#", 0);
        world.slow_peers = true;
        world.slow_sockets = true;
        let actors = (0..plan.actors)
            .map(|n| Actor {
                name: format!("actor{n}"),
                broker: n % usize::from(plan.brokers),
                version: random.pick(&[Version::V31, Version::V311, Version::V5, Version::V5]),
                receive_maximum: 1 + random.below(5) as u16,
                aliases: random.below(3) as u16,
                member: n % 2 == 0,
                expiry: 0,
                link: None,
                session: 0,
                out: VecDeque::new(),
                next_id: random.pick(&[0, 65_530]),
                received: BTreeSet::new(),
                wishes: BTreeMap::new(),
                request: None,
                numbers: BTreeMap::new(),
                newest: BTreeMap::new(),
                wills: 0,
            })
            .collect();
        Crowd {
            world,
            random,
            known: (0..plan.actors).map(|_| Known::default()).collect(),
            actors,
            said: Vec::new(),
            step: 1,
            half_open: Vec::new(),
            retained: BTreeMap::new(),
            witness,
            wills: Vec::new(),
            wills_seen: Vec::new(),
            lasting_only: plan.loyal,
            crashes: plan.crashes,
        }
    }

    /// Loyal members are there before the storm.
    fn settle_members(&mut self) {
        for n in 0..self.actors.len() {
            self.connect(n);
        }
        self.exchange();
        for n in 0..self.actors.len() {
            if self.actors[n].member {
                self.subscribe(n, GROUP, 2);
            }
        }
        self.exchange();
        self.step += 1;
    }

    fn step(&mut self) {
        self.step += 1;
        let n = self.random.below(self.actors.len());
        match self.random.below(100) {
            0..18 => self.deliver_up(n),
            18..36 => self.deliver_down(n),
            36..46 => self.acknowledge(n),
            46..66 => self.say_something(n),
            66..72 => self.change_subscription(n),
            72..80 if self.actors[n].link.is_none() => self.connect(n),
            80..83 => self.lose_link(n),
            83 => self.say_goodbye(n),
            84..87 => self.fill_or_drain(n),
            87..95 => self.carry(),
            95..97 if !self.half_open.is_empty() => {
                let at = self.random.below(self.half_open.len());
                let client = self.half_open.swap_remove(at);
                self.broker_loses(client);
            }
            97 => self.wait(),
            98 if self.crashes && self.random.chance(40) => self.crash(),
            99 if self.crashes => {
                let budget = self.random.pick(&[1, 200, 5_000]);
                let at = self.random.below(self.world.brokers.len());
                self.world.checkpoint(at, budget);
            }
            98 | 99 => self.change_limits(),
            _ => {}
        }
        self.watch_wills();
    }

    /// Somebody changes the settings of all brokers while they serve.
    fn change_limits(&mut self) {
        // Only up: these clients send again all that was open, which may be more than less.
        let told = &mut self.world.limits.receive_maximum;
        *told = 6.min(*told + self.random.below(2) as u16);
        self.world.limits.max_inflight = 1 + self.random.below(9) as u16;
        for at in 0..self.world.brokers.len() {
            let limits = self.world.limits.clone();
            self.world
                .with_broker(at, |broker, _| broker.set_limits(limits));
        }
    }

    fn wait(&mut self) {
        let milliseconds = self.random.pick(&[1, 700, 3_000, 9_000]);
        let now = self.world.now + milliseconds;
        for known in &mut self.known {
            if let Some((at, _)) = &known.due
                && *at <= now
            {
                self.wills.extend(known.due.take().map(|(_, will)| will));
            }
            if known.ends.is_some_and(|at| at <= now) {
                known.ends = None;
                known.exists = false;
            }
        }
        self.world.wait(milliseconds);
    }

    /// The process dies and comes back.
    fn crash(&mut self) {
        self.watch_wills();
        self.half_open.clear();
        for n in 0..self.actors.len() {
            if let Some(link) = &self.actors[n].link {
                let waiting = self.world.wires[&link.client].to_client.len();
                let some = self.random.below(waiting + 1);
                self.take_down(n, some);
            }
            self.actors[n].link = None;
            let known = &mut self.known[n];
            if known.connection.take().is_none() {
                continue;
            }
            let now = self.world.now;
            known.interrupted = true;
            let stays = match known.expiry {
                // Only for its will.
                0 => RESTART_GRACE,
                seconds => seconds,
            };
            if let Some((will, delay)) = known.will.take() {
                let delay = delay.max(RESTART_GRACE).min(stays);
                known.due = Some((now.after_seconds(delay), will));
            }
            known.exists = known.expiry > 0;
            known.ends = known.exists.then(|| now.after_seconds(known.expiry));
        }
        self.world.crash_all();
        self.world.slow_peers = false;
        self.witness = self.world.enter(v5("witness"));
        self.world.join(self.witness, "will/#", 0);
        self.world.slow_peers = true;
    }

    // Links.

    fn connect(&mut self, n: usize) {
        let random = &mut self.random;
        let actor = &mut self.actors[n];
        let mut who = match actor.version {
            Version::V31 => v31(&actor.name),
            Version::V311 => v311(&actor.name),
            Version::V5 => v5(&actor.name),
        };
        let loyal = self.lasting_only && actor.member;
        let clean = !loyal && random.chance(25);
        actor.expiry = match actor.version {
            Version::V5 if loyal => u32::MAX,
            Version::V5 => random.pick(&[0, 20, u32::MAX]),
            _ if clean => 0,
            _ => u32::MAX,
        };
        if !clean {
            who = who.resume();
        }
        if actor.version == Version::V5 {
            who = who
                .expiry(actor.expiry)
                .with(Property::ReceiveMaximum(actor.receive_maximum))
                .with(Property::TopicAliasMaximum(actor.aliases));
        }
        let mut will = None;
        if random.chance(40) {
            actor.wills += 1;
            let payload = format!("{} {}", actor.name, actor.wills);
            let delay = match actor.version {
                Version::V5 => random.pick(&[0, 5, 30]),
                _ => 0,
            };
            // The words of a will outlive the borrow; a test may leak them.
            who = who.will(msg("will/x", payload.clone().leak()));
            if delay > 0 {
                who = who.will_with(Property::WillDelayInterval(delay));
            }
            will = Some((payload, delay));
        }
        let client = self.world.open(actor.broker, actor.version);
        actor.link = Some(Link {
            client,
            up: Vec::new(),
            down: Vec::new(),
            connected: false,
            aliases_in: BTreeMap::new(),
            aliases_out: BTreeMap::new(),
            acks: VecDeque::new(),
            open: BTreeSet::new(),
            window: self.world.limits.receive_maximum,
        });
        actor.request = None;
        self.broker_hears_connect(n, client, &who, clean, will);
    }

    /// CONNECT itself is never lost here: a client that did not get through tries again, which
    /// is the same as not having tried.
    fn broker_hears_connect(
        &mut self,
        n: usize,
        client: Client,
        who: &Who,
        clean: bool,
        will: Option<(String, u32)>,
    ) {
        if let Some(old) = self.known[n].connection {
            self.book_loss(old);
        }
        let known = &mut self.known[n];
        if std::mem::take(&mut known.interrupted) {
            known.due = None;
        }
        if clean && known.exists {
            self.wills.extend(known.due.take().map(|(_, will)| will));
            known.exists = false;
        }
        known.due = None;
        known.ends = None;
        let present = known.exists;
        let actor = &mut self.actors[n];
        // What the client knows changes when the broker answers, not when the answer arrives:
        // whoever does not get the answer asks again.
        if !present {
            actor.session += 1;
            actor.out.clear();
            actor.received.clear();
            actor.wishes.clear();
        }
        // 3.1 has no words for it.
        let told = present && actor.version != Version::V31;
        *known = Known {
            connection: Some(client),
            exists: true,
            expiry: actor.expiry.min(Limits::default().session_expiry),
            will,
            ..Known::default()
        };
        self.world.feed(client, &who.bytes());
        let wire = &self.world.wires[&client];
        match decode(&wire.to_client, wire.version, limits::MAX_PACKET) {
            Ok(Decoded::Packet(Packet::ConnAck(connack), _)) => {
                assert_eq!(connack.code, ReasonCode::Success);
                assert_eq!(connack.session_present, told, "session present of actor{n}");
            }
            other => panic!("{other:?} instead of CONNACK"),
        }
    }

    /// The socket breaks. Some of what is in flight may still arrive at the broker; the broker
    /// may learn of it much later.
    fn lose_link(&mut self, n: usize) {
        let Some(link) = self.actors[n].link.take() else {
            return;
        };
        let some = self.random.below(link.up.len() + 1);
        if self.random.chance(50) {
            self.feed(n, link.client, &link.up[..some]);
        }
        match self.random.chance(30) {
            true => self.half_open.push(link.client),
            false => self.broker_loses(link.client),
        }
    }

    fn broker_loses(&mut self, client: Client) {
        self.book_loss(client);
        self.world.cut(client);
    }

    /// The connection ends without a goodbye, in the second book.
    fn book_loss(&mut self, client: Client) {
        let now = self.world.now;
        let Some(known) = self.known.iter_mut().find(|k| k.connection == Some(client)) else {
            return;
        };
        known.connection = None;
        known.interrupted = false;
        if known.expiry == 0 {
            known.exists = false;
            self.wills.extend(known.will.take().map(|(will, _)| will));
            return;
        }
        match known.will.take() {
            Some((will, 0)) => self.wills.push(will),
            Some((will, delay)) => {
                known.due = Some((now.after_seconds(delay.min(known.expiry)), will));
            }
            None => {}
        }
        known.ends = Some(now.after_seconds(known.expiry));
    }

    fn say_goodbye(&mut self, n: usize) {
        if !self.is_connected(n) {
            return;
        }
        self.flush_up(n);
        let Some(link) = self.actors[n].link.take() else {
            return;
        };
        self.book_goodbye(link.client);
        self.world.disconnect(link.client);
    }

    fn book_goodbye(&mut self, client: Client) {
        if let Some(known) = self.known.iter_mut().find(|k| k.connection == Some(client)) {
            known.will = None;
        }
        self.book_loss(client);
    }

    fn is_connected(&self, n: usize) -> bool {
        self.actors[n]
            .link
            .as_ref()
            .is_some_and(|link| link.connected)
    }

    // Bytes.

    fn deliver_up(&mut self, n: usize) {
        let Some(link) = &mut self.actors[n].link else {
            return;
        };
        let some = self.random.below(link.up.len() + 1);
        let bytes: Vec<u8> = link.up.drain(..some).collect();
        let client = link.client;
        self.feed(n, client, &bytes);
    }

    fn flush_up(&mut self, n: usize) {
        if let Some(link) = &mut self.actors[n].link {
            let (bytes, client) = (std::mem::take(&mut link.up), link.client);
            self.feed(n, client, &bytes);
        }
    }

    fn feed(&mut self, n: usize, client: Client, bytes: &[u8]) {
        // Byte by byte would be slow; packet by packet lets the book see retained ones.
        let wire = &self.world.wires[&client];
        if !wire.open {
            return;
        }
        let version = self.actors[n].version;
        let mut whole = wire.to_broker.clone();
        whole.extend_from_slice(bytes);
        let mut rest = &whole[..];
        while let Ok(Decoded::Packet(packet, used)) = decode(rest, version, limits::MAX_PACKET) {
            if let Packet::Publish(Publish {
                retain: true,
                topic,
                payload,
                ..
            }) = packet
            {
                let text = String::from_utf8_lossy(payload).into_owned();
                // An alias may stand for the topic; the payload knows.
                let topic = match text.parse::<usize>() {
                    Ok(said) => &self.said[said].topic,
                    Err(_) => topic,
                };
                match text.is_empty() {
                    true => self.retained.remove(topic),
                    false => self.retained.insert(topic.to_owned(), text),
                };
            }
            rest = &rest[used..];
        }
        self.world.feed(client, bytes);
    }

    fn deliver_down(&mut self, n: usize) {
        let Some(link) = &mut self.actors[n].link else {
            return;
        };
        let wire = self.world.wires.get_mut(&link.client).unwrap();
        let some = self.random.below(wire.to_client.len() + 1);
        self.take_down(n, some);
    }

    fn take_down(&mut self, n: usize, some: usize) {
        let Some(link) = &mut self.actors[n].link else {
            return;
        };
        let wire = self.world.wires.get_mut(&link.client).unwrap();
        link.down.extend(wire.to_client.drain(..some));
        let closed = !wire.open && wire.to_client.is_empty();
        let bytes = std::mem::take(&mut link.down);
        let mut rest = &bytes[..];
        while let Ok(Decoded::Packet(packet, used)) =
            decode(rest, self.actors[n].version, limits::MAX_PACKET)
        {
            self.hear(n, &packet);
            rest = &rest[used..];
        }
        if let Some(link) = &mut self.actors[n].link {
            link.down = rest.to_vec();
        }
        if closed {
            self.actors[n].link = None;
        }
    }

    // The client's side of the protocol.

    fn hear(&mut self, n: usize, packet: &Packet<'_>) {
        let step = self.step;
        match packet {
            Packet::ConnAck(_) => {
                let actor = &mut self.actors[n];
                actor.link.as_mut().unwrap().connected = true;
                // Again what was not acknowledged, in order [MQTT-4.4.0-1].
                let again: Vec<(u16, usize, bool)> = actor
                    .out
                    .iter()
                    .map(|o| (o.id, o.said, o.released))
                    .collect();
                for (id, said, released) in again {
                    match released {
                        true => self.write_ack(n, Packet::PubRel, id),
                        false => self.write_publish(n, said, id, true),
                    }
                }
            }
            Packet::Publish(publish) => self.hear_publish(n, publish),
            Packet::PubRel(ack) => {
                let id = ack.packet_id.get();
                self.actors[n].received.remove(&id);
                self.queue_ack(n, None, id);
            }
            Packet::PubAck(ack) => self.settle(n, ack, false),
            Packet::PubRec(ack) => {
                let id = ack.packet_id.get();
                self.settle(n, ack, true);
                if !ack.code.is_error() {
                    self.write_ack(n, Packet::PubRel, id);
                }
            }
            Packet::PubComp(ack) => {
                let id = ack.packet_id.get();
                self.actors[n].out.retain(|o| !(o.id == id && o.released));
            }
            Packet::SubAck(ack) => {
                let actor = &mut self.actors[n];
                let (id, filter, subscribe) = actor.request.take().expect("a request");
                assert!(subscribe && id == ack.packet_id.get());
                let wish = actor.wishes.get_mut(filter).unwrap();
                assert_eq!(ack.codes, [wish.qos]);
                wish.must_since = Some(step);
            }
            Packet::UnsubAck(ack) => {
                let actor = &mut self.actors[n];
                let (id, filter, subscribe) = actor.request.take().expect("a request");
                assert!(!subscribe && id == ack.packet_id.get());
                actor.wishes.get_mut(filter).unwrap().may_until = Some(step);
            }
            Packet::Disconnect(goodbye) => {
                assert_eq!(goodbye.code, ReasonCode::SessionTakenOver, "actor{n}");
            }
            other => panic!("actor{n} got {other:?}"),
        }
    }

    fn hear_publish(&mut self, n: usize, publish: &Publish<'_>) {
        let actor = &mut self.actors[n];
        let link = actor.link.as_mut().unwrap();
        let mut topic = publish.topic.to_owned();
        if let Some(alias) = publish.properties.topic_alias() {
            assert!(alias <= actor.aliases);
            match topic.is_empty() {
                true => topic = link.aliases_in[&alias].clone(),
                false => drop(link.aliases_in.insert(alias, topic.clone())),
            }
        }
        let mut repeated = false;
        if let Some(id) = publish.packet_id {
            let id = id.get();
            assert!(
                link.open.insert(id) || publish.dup,
                "actor{n}: {id} is still open"
            );
            if actor.version == Version::V5 {
                assert!(
                    link.open.len() <= usize::from(actor.receive_maximum),
                    "actor{n}: more than Receive Maximum"
                );
            }
            if publish.qos == QoS::ExactlyOnce {
                repeated = !actor.received.insert(id);
                assert!(!repeated || publish.dup, "actor{n}: {id} is not released");
            }
        }
        let qos = publish.qos as u8;
        if !repeated {
            self.accept(n, &topic, qos, publish.retain, publish.payload);
        }
        if let Some(id) = publish.packet_id {
            self.queue_ack(n, Some(publish.qos), id.get());
        }
    }

    /// A message reaches the application.
    fn accept(&mut self, n: usize, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        let actor = &mut self.actors[n];
        let text = std::str::from_utf8(payload).unwrap();
        let Ok(index) = text.parse::<usize>() else {
            assert!(
                text.is_empty() && topic.starts_with("r/"),
                "{topic}: {text}"
            );
            return;
        };
        let said = &mut self.said[index];
        assert_eq!(said.topic, topic);
        // Nobody gets what it has not asked for (any more).
        let wanted = |wish: &Wish| wish.may_until.is_none_or(|end| end >= said.born);
        let ghost = !actor
            .wishes
            .iter()
            .any(|(filter, wish)| TopicFilter::new(filter).unwrap().matches(topic) && wanted(wish));
        assert!(
            !ghost,
            "actor{n} got {index} on {topic}, which it does not subscribe to"
        );
        if retain || topic.starts_with("r/") {
            return;
        }
        let first = !said
            .arrived
            .iter()
            .any(|(to, _, session)| (*to, *session) == (n, actor.session));
        said.arrived.push((n, qos, actor.session));
        // Order, for those messages that could not have been missed at first.
        let steady = actor.wishes.iter().any(|(filter, wish)| {
            TopicFilter::new(filter).unwrap().matches(topic)
                && wish.must_since.is_some_and(|since| since <= said.born)
        });
        if first && steady && (said.qos, qos) != (1, 0) && !topic.starts_with("s/") {
            let key = (
                said.actor,
                topic.to_owned(),
                qos,
                u64::from(said.qos) << 60 | actor.session,
            );
            let newest = actor.newest.entry(key).or_default();
            assert!(
                *newest < said.number,
                "actor{n} got {} after {newest}",
                said.number
            );
            *newest = said.number;
        }
    }

    fn queue_ack(&mut self, n: usize, qos: Option<QoS>, id: u16) {
        let link = self.actors[n].link.as_mut().unwrap();
        link.acks.push_back((qos, id));
    }

    fn acknowledge(&mut self, n: usize) {
        let Some(link) = &mut self.actors[n].link else {
            return;
        };
        if link.acks.is_empty() {
            return;
        }
        let at = match self.random.chance(80) {
            true => 0,
            false => self.random.below(link.acks.len()),
        };
        self.acknowledge_at(n, at);
    }

    fn acknowledge_at(&mut self, n: usize, at: usize) {
        let link = self.actors[n].link.as_mut().unwrap();
        let (qos, id) = link.acks.remove(at).unwrap();
        let kind = match qos {
            None => Packet::PubComp,
            Some(QoS::ExactlyOnce) => Packet::PubRec,
            Some(_) => Packet::PubAck,
        };
        if qos != Some(QoS::ExactlyOnce) {
            link.open.remove(&id);
        }
        self.write_ack(n, kind, id);
    }

    fn settle(&mut self, n: usize, ack: &Ack<'_>, release: bool) {
        assert!(!ack.code.is_error(), "actor{n}: {:?}", ack.code);
        let id = ack.packet_id.get();
        let actor = &mut self.actors[n];
        if let Some(at) = actor.out.iter().position(|o| o.id == id) {
            self.said[actor.out[at].said].taken = true;
            match release {
                true => actor.out[at].released = true,
                false => drop(actor.out.remove(at)),
            }
        }
    }

    fn say_something(&mut self, n: usize) {
        if !self.is_connected(n) {
            return;
        }
        let retained = self.random.chance(15);
        let topic = match retained {
            true => self.random.pick(&RETAINED),
            false => self.random.pick(&TOPICS),
        };
        let qos = match retained {
            true => self.random.below(2),
            false => self.random.below(3),
        } as u8;
        if retained && self.random.chance(30) {
            let removal = Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: true,
                topic,
                packet_id: None,
                properties: safeport_mqtt::Properties::EMPTY,
                payload: b"",
            });
            return self.write(n, &removal);
        }
        let link = self.actors[n].link.as_ref();
        let window = usize::from(link.map_or(0, |link| link.window));
        let actor = &mut self.actors[n];
        if qos > 0 && actor.out.len() >= window {
            return;
        }
        let number = actor.numbers.entry((topic.to_owned(), qos)).or_default();
        *number += 1;
        self.said.push(Said {
            actor: n,
            topic: topic.into(),
            qos,
            born: self.step,
            number: *number,
            taken: false,
            arrived: Vec::new(),
        });
        let said = self.said.len() - 1;
        let mut id = 0;
        if qos > 0 {
            loop {
                actor.next_id = actor.next_id.wrapping_add(1).max(1);
                id = actor.next_id;
                if actor.out.iter().all(|o| o.id != id) {
                    break;
                }
            }
            actor.out.push_back(Outgoing {
                id,
                said,
                released: false,
            });
        }
        self.write_publish(n, said, id, false);
    }

    fn write_publish(&mut self, n: usize, said: usize, id: u16, dup: bool) {
        let payload = said.to_string();
        let (topic, qos) = (self.said[said].topic.clone(), self.said[said].qos);
        let actor = &mut self.actors[n];
        let link = actor.link.as_mut().unwrap();
        let mut message = msg(&topic, &payload);
        message.qos = QoS::from_u8(qos).unwrap();
        message.id = id;
        message.dup = dup;
        message.retain = topic.starts_with("r/");
        let mut short = false;
        if actor.version == Version::V5 && self.random.chance(30) {
            let next = link.aliases_out.len() as u16 + 1;
            let known = link.aliases_out.get(&topic).copied();
            short = known.is_some();
            let alias = *link.aliases_out.entry(topic.clone()).or_insert(next);
            message = message.with(Property::TopicAlias(alias));
        }
        if short {
            message.topic = "";
        }
        let bytes = message.bytes(actor.version);
        link.up.extend_from_slice(&bytes);
    }

    fn write_ack(&mut self, n: usize, kind: fn(Ack<'static>) -> Packet<'static>, id: u16) {
        self.write(
            n,
            &kind(Ack {
                packet_id: packet_id(id),
                code: ReasonCode::Success,
                properties: safeport_mqtt::Properties::EMPTY,
            }),
        );
    }

    fn write(&mut self, n: usize, packet: &Packet<'_>) {
        let actor = &mut self.actors[n];
        let link = actor.link.as_mut().unwrap();
        packet.encode(actor.version, &mut link.up).unwrap();
    }

    fn change_subscription(&mut self, n: usize) {
        if !self.is_connected(n) || self.actors[n].request.is_some() {
            return;
        }
        let group = self.actors[n].member && !self.lasting_only && self.random.chance(30);
        let filter = match group {
            true => GROUP,
            false => self.random.pick(&FILTERS),
        };
        if self.random.chance(65) {
            let qos = self.random.below(3) as u8;
            self.subscribe(n, filter, if group { 2 } else { qos });
        } else if self.actors[n].wishes.contains_key(filter) {
            self.actors[n].wishes.get_mut(filter).unwrap().must_since = None;
            self.actors[n].request = Some((7, filter, false));
            let mut list = safeport_mqtt::UnsubscribeBuf::new();
            list.push(filter).unwrap();
            self.write(
                n,
                &Packet::Unsubscribe(safeport_mqtt::Unsubscribe {
                    packet_id: packet_id(7),
                    properties: safeport_mqtt::Properties::EMPTY,
                    filters: list.as_filters(),
                }),
            );
        }
    }

    fn subscribe(&mut self, n: usize, filter: &'static str, qos: u8) {
        let wish = Wish {
            qos,
            must_since: None,
            may_until: None,
        };
        self.actors[n].wishes.insert(filter, wish);
        self.actors[n].request = Some((8, filter, true));
        let mut list = safeport_mqtt::SubscribeBuf::new();
        list.push(filter, sub(filter, qos).options).unwrap();
        self.write(
            n,
            &Packet::Subscribe(safeport_mqtt::Subscribe {
                packet_id: packet_id(8),
                properties: safeport_mqtt::Properties::EMPTY,
                filters: list.as_filters(),
            }),
        );
    }

    fn fill_or_drain(&mut self, n: usize) {
        let Some(client) = self.actors[n].link.as_ref().map(|link| link.client) else {
            return;
        };
        match self.world.wires[&client].full {
            true => self.world.drain(client),
            false if self.world.wires[&client].open => self.world.fill(client),
            false => {}
        }
    }

    fn carry(&mut self) {
        let lines = self.world.waiting_lines();
        if !lines.is_empty() {
            let line = self.random.pick(&lines);
            self.world.carry(line);
        }
    }

    fn watch_wills(&mut self) {
        let got = self.world.read(self.witness);
        self.wills_seen.extend(got.iter().map(|line| {
            line.strip_prefix("PUBLISH will/x q0: ")
                .expect("a will")
                .to_owned()
        }));
        if self.world.brokers.len() == 1 {
            let sorted = |wills: &[String]| {
                let mut wills = wills.to_vec();
                wills.sort();
                wills
            };
            assert_eq!(
                sorted(&self.wills_seen),
                sorted(&self.wills),
                "exactly when due"
            );
        }
    }

    // The end.

    /// Delivers everything until nothing moves any more.
    fn exchange(&mut self) {
        loop {
            let mut moved = false;
            while let Some(&line) = self.world.waiting_lines().first() {
                self.world.carry(line);
                moved = true;
            }
            for n in 0..self.actors.len() {
                let Some(client) = self.actors[n].link.as_ref().map(|link| link.client) else {
                    continue;
                };
                if self.world.wires[&client].full {
                    self.world.drain(client);
                    moved = true;
                }
                let waiting = self.world.wires[&client].to_client.len();
                moved |= waiting > 0;
                self.take_down(n, waiting);
                while self.actors[n]
                    .link
                    .as_ref()
                    .is_some_and(|link| !link.acks.is_empty())
                {
                    self.acknowledge_at(n, 0);
                }
                moved |= self.actors[n]
                    .link
                    .as_ref()
                    .is_some_and(|link| !link.up.is_empty());
                self.flush_up(n);
            }
            if !moved {
                return;
            }
        }
    }

    /// The storm is over: everybody comes back, and everything that is owed arrives.
    fn quiet_down(&mut self) {
        self.step += 1;
        for client in std::mem::take(&mut self.half_open) {
            self.broker_loses(client);
        }
        self.exchange();
        for n in 0..self.actors.len() {
            if self.actors[n].link.is_none() {
                let chance = std::mem::replace(&mut self.lasting_only, true);
                let member = std::mem::replace(&mut self.actors[n].member, true);
                self.connect(n);
                self.actors[n].member = member;
                self.lasting_only = chance;
            }
        }
        self.exchange();
        self.watch_wills();
        for actor in &self.actors {
            assert!(actor.out.is_empty(), "{} has open messages", actor.name);
            assert!(actor.link.as_ref().is_some_and(|link| link.connected));
        }
        let stored: u64 = self.world.brokers.iter().map(|b| b.stats().stored).sum();
        assert_eq!(stored, 0, "nothing is owed to anybody");
    }

    fn check_deliveries(&self, plan: &Plan) {
        for (index, said) in self.said.iter().enumerate() {
            if said.topic.starts_with("r/") {
                continue;
            }
            if said.topic.starts_with("s/") {
                let count = said.arrived.len();
                let at_least = usize::from(plan.loyal && said.taken && said.qos > 0);
                assert!(
                    count >= at_least,
                    "{index} on {} reached no member",
                    said.topic
                );
                assert!(
                    count <= 1 || said.qos == 1 || plan.crashes && plan.brokers > 1,
                    "{index} reached {:?}",
                    said.arrived
                );
                continue;
            }
            for (n, actor) in self.actors.iter().enumerate() {
                let count = said.arrived.iter().filter(|(to, ..)| *to == n).count();
                let at_qos_1 = said
                    .arrived
                    .iter()
                    .any(|(to, qos, _)| *to == n && *qos == 1);
                // Several brokers have a log each: what was given out by one, and not answered
                // because of another, is given out again.
                let torn = plan.crashes && plan.brokers > 1 && said.qos > 0;
                if said.qos != 1 && !at_qos_1 && !torn {
                    assert!(count <= 1, "{index} reached actor{n} {count} times");
                }
                let owed = said.taken
                    && actor.wishes.iter().any(|(filter, wish)| {
                        wish.qos.min(said.qos) > 0
                            && wish.must_since.is_some_and(|since| since < said.born)
                            && TopicFilter::new(filter).unwrap().matches(&said.topic)
                    });
                assert!(
                    count > 0 || !owed,
                    "{index} on {} is lost for actor{n}",
                    said.topic
                );
            }
        }
    }

    fn check_retained(&mut self, plan: &Plan) {
        let mut seen = Vec::new();
        for broker in 0..usize::from(plan.brokers) {
            self.world.slow_peers = false;
            let look = self.world.enter_at(broker, v311("look"));
            self.world.subscribe(look, 1, &[sub("r/#", 0)]);
            let mut got = self.world.read(look);
            got.retain(|line| line.starts_with("PUBLISH"));
            got.sort();
            self.world.disconnect(look);
            seen.push(got);
        }
        if plan.brokers == 1 {
            let expected: Vec<String> = self
                .retained
                .iter()
                .map(|(topic, text)| format!("PUBLISH {topic} q0 retain: {text}"))
                .collect();
            assert_eq!(seen[0], expected);
        }
        assert!(
            seen.iter().all(|got| *got == seen[0]),
            "brokers disagree: {seen:?}"
        );
        if plan.crashes && plan.brokers > 1 {
            // A will of QoS 0 may die on its way to another broker.
            return;
        }
        let got: BTreeSet<&String> = self.wills_seen.iter().collect();
        assert_eq!(got, self.wills.iter().collect(), "wills");
        assert_eq!(got.len(), self.wills_seen.len(), "each will once");
    }

    /// Everybody leaves for good, and nothing stays behind.
    fn leave(&mut self) {
        for topic in RETAINED {
            self.world.publish(self.witness, msg(topic, "").retain());
        }
        for n in 0..self.actors.len() {
            let broker = self.actors[n].broker;
            let last = self.world.connect_to(broker, v5(&self.actors[n].name));
            self.world.disconnect(last);
        }
        self.world.disconnect(self.witness);
        self.world.wait_seconds(61);
        for broker in &self.world.brokers {
            let stats = broker.stats();
            assert_eq!(
                (
                    stats.sessions,
                    stats.connected,
                    stats.subscriptions,
                    stats.stored
                ),
                (0, 0, 0, 0)
            );
            assert_eq!((stats.retained, stats.retained_bytes), (0, 0));
            assert!(broker.is_empty(), "tables are empty");
        }
    }
}
