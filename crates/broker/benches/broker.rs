//! What a message and a session cost the broker alone: no socket, no decoding.
//!
//! `cargo bench -p safeport-broker`. Memory is read from `/proc/self/statm` (Linux only), so it
//! includes what the allocator keeps around the sessions.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use safeport_broker::{
    Admission, Broker, BrokerSetup, ConnectionId, Effects, Limits, Permissions, SessionId, Time,
};
use safeport_mqtt::{
    Ack, Connect, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Subscribe, SubscribeBuf,
    SubscribeOptions, Version,
};

fn main() {
    // `cargo test` builds it, and need not wait for it.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    // First, while no memory that was freed can be used again.
    memory();
    println!("one publisher, 256 byte payload, version 3.1.1, acknowledged at once");
    for (name, qos) in [
        ("QoS 0", QoS::AtMostOnce),
        ("QoS 1", QoS::AtLeastOnce),
        ("QoS 2", QoS::ExactlyOnce),
    ] {
        one_receiver(name, qos, &[]);
    }
    one_receiver("observed, QoS 0", QoS::AtMostOnce, WATCHED);
    fan_out();
    among_many_filters();
}

const NOW: Time = Time(1);

/// Of the shape of what the server looks at, with nothing that matches what is published here.
const WATCHED: &[&str] = &[
    "+/+/LWT",
    "+/+/+/LWT",
    "+/+/+/+/LWT",
    "+/+/INFO1",
    "+/+/+/INFO1",
    "+/+/RESULT",
    "+/+/+/RESULT",
    "+/status",
    "tasmota/discovery/+/config",
    "esphome/discover/+",
];

struct Bench {
    broker: Broker,
    effects: Effects,
    next: u32,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            broker: Broker::new(BrokerSetup {
                limits: Limits::default(),
                ..BrokerSetup::default()
            }),
            effects: Effects::default(),
            next: 0,
        }
    }

    fn connect(&mut self, client_id: &str) -> (SessionId, ConnectionId) {
        let connection = ConnectionId(self.next);
        self.next += 1;
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive: 60,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
            bridge: false,
        };
        let admission = Admission {
            permissions: permissions(),
            max_packet: 1 << 20,
        };
        let session = self
            .broker
            .handle_connect(connection, &connect, &admission, NOW);
        self.flush();
        (session.expect("admitted"), connection)
    }

    fn subscribe(
        &mut self,
        (session, connection): (SessionId, ConnectionId),
        filter: &str,
        qos: QoS,
    ) {
        let mut filters = SubscribeBuf::new();
        let options = SubscribeOptions {
            qos,
            ..SubscribeOptions::default()
        };
        filters.push(filter, options).expect("a filter");
        let packet = Packet::Subscribe(Subscribe {
            packet_id: id(1),
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        });
        let _ = self.broker.handle_packet(session, connection, &packet, NOW);
        self.flush();
    }

    fn publish(&mut self, (session, connection): (SessionId, ConnectionId), topic: &str, qos: QoS) {
        let packet = Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: (qos != QoS::AtMostOnce).then(|| id(1)),
            properties: Properties::EMPTY,
            payload: &PAYLOAD,
        });
        let _ = self.broker.handle_packet(session, connection, &packet, NOW);
    }

    fn ack(
        &mut self,
        (session, connection): (SessionId, ConnectionId),
        kind: fn(Ack<'static>) -> Packet<'static>,
        packet_id: u16,
    ) {
        let packet = kind(Ack {
            packet_id: id(packet_id),
            code: ReasonCode::Success,
            properties: Properties::EMPTY,
        });
        let _ = self.broker.handle_packet(session, connection, &packet, NOW);
    }

    /// As the engine does once per turn.
    fn flush(&mut self) -> usize {
        self.broker.take_effects(&mut self.effects);
        let count = black_box(self.effects.list.len());
        self.effects.clear();
        count
    }
}

fn one_receiver(name: &str, qos: QoS, watched: &[&str]) {
    let mut bench = Bench::new();
    bench.broker.observe(watched, NOW);
    let publisher = bench.connect("publisher");
    let receiver = bench.connect("receiver");
    bench.subscribe(receiver, "tele/+/SENSOR", qos);
    let mut number = 0u16;
    report(&format!("{name}, one receiver"), 1_000_000, |_| {
        bench.publish(publisher, "tele/plug/SENSOR", qos);
        number = number.wrapping_add(1).max(1);
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => bench.ack(receiver, Packet::PubAck, number),
            QoS::ExactlyOnce => {
                bench.ack(publisher, Packet::PubRel, 1);
                bench.ack(receiver, Packet::PubRec, number);
                bench.ack(receiver, Packet::PubComp, number);
            }
        }
        if number.is_multiple_of(64) {
            bench.flush();
        }
    });
    assert_eq!(
        bench.broker.stats().stored,
        0,
        "everything was acknowledged"
    );
}

fn fan_out() {
    let mut bench = Bench::new();
    let publisher = bench.connect("publisher");
    for number in 0..1_000 {
        let receiver = bench.connect(&format!("receiver{number}"));
        bench.subscribe(receiver, "news", QoS::AtMostOnce);
    }
    report("QoS 0, 1,000 receivers", 2_000, |_| {
        bench.publish(publisher, "news", QoS::AtMostOnce);
        assert_eq!(bench.flush(), 1_000);
    });
}

fn among_many_filters() {
    let mut bench = Bench::new();
    let publisher = bench.connect("publisher");
    for session in 0..100 {
        let receiver = bench.connect(&format!("receiver{session}"));
        for filter in 0..1_000 {
            let filter = format!("house{session}/+/room{filter}/#");
            bench.subscribe(receiver, &filter, QoS::AtMostOnce);
        }
    }
    assert_eq!(bench.broker.stats().subscriptions, 100_000);
    let topics: Vec<String> = (0..1_000)
        .map(|n| format!("house{}/floor/room{}/lamp", n % 100, n * 7 % 1_000))
        .collect();
    report(
        "QoS 0, 1 of 100,000 wildcard filters matches",
        1_000_000,
        |n| {
            bench.publish(publisher, &topics[n % topics.len()], QoS::AtMostOnce);
            if n % 64 == 0 {
                bench.flush();
            }
        },
    );
    report(
        "QoS 0, 0 of 100,000 wildcard filters match",
        1_000_000,
        |n| {
            bench.publish(publisher, "house1/floor/nowhere/lamp", QoS::AtMostOnce);
            if n % 64 == 0 {
                bench.flush();
            }
        },
    );
}

fn memory() {
    const SESSIONS: u32 = 100_000;
    let per_session =
        |before: usize| resident().saturating_sub(before) as f64 / f64::from(SESSIONS);
    let mut bench = Bench::new();
    let before = resident();
    let sessions: Vec<_> = (0..SESSIONS)
        .map(|number| bench.connect(&format!("DVES_{number:06X}")))
        .collect();
    println!("{:>8.0} bytes per session", per_session(before));
    for (number, session) in sessions.iter().enumerate() {
        let filter = format!("cmnd/tasmota_{number:06X}/#");
        bench.subscribe(*session, &filter, QoS::AtMostOnce);
    }
    println!(
        "{:>8.0} bytes per session with a filter of its own",
        per_session(before)
    );
}

/// Runs `step` so many times and prints the best of three rounds.
fn report(name: &str, count: usize, mut step: impl FnMut(usize)) {
    let best = (0..3)
        .map(|_| {
            let start = Instant::now();
            for number in 0..count {
                step(number);
            }
            start.elapsed().as_nanos() / count as u128
        })
        .min();
    println!("{:>8} ns per publish: {name}", best.unwrap_or_default());
}

/// Bytes of memory in use by this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn permissions() -> Arc<Permissions> {
    thread_local! {
        static OPEN: Arc<Permissions> = Arc::new(Permissions::open());
    }
    OPEN.with(Arc::clone)
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).expect("above 0")
}

static PAYLOAD: [u8; 256] = [b'x'; 256];
