//! Nanoseconds per PUBLISH, decoded and encoded, beside mqtt-protocol-core in the same run.
//!
//! `cargo bench -p safeport-mqtt`. Each figure is the fastest of 100 rounds of half a
//! millisecond: the codec has no queues, so the fastest round is the one that the machine
//! disturbed least.

use std::hint::black_box;
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use safeport_mqtt::{
    Decoded, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, QoS, Version, decode,
    limits,
};

const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_micros(500);
const TOPIC: &str = "tele/plug-42/SENSOR";

fn main() {
    println!(
        "{:<34} {:>11} {:>11} {:>11} {:>11}",
        "PUBLISH", "decode ns", "theirs ns", "encode ns", "theirs ns"
    );
    for version in [Version::V311, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            for size in [16, 256, 4096] {
                let payload = vec![b'x'; size];
                compare(version, qos, &payload, Properties::EMPTY);
            }
        }
    }
    let mut properties = PropertiesBuf::new();
    for property in [
        Property::MessageExpiryInterval(60),
        Property::ContentType("application/json"),
        Property::UserProperty("source", "plug-42"),
    ] {
        properties.push(property).expect("a valid property");
    }
    compare(
        Version::V5,
        QoS::AtLeastOnce,
        &[b'x'; 256],
        properties.as_properties(),
    );
}

/// One line of the table.
fn compare(version: Version, qos: QoS, payload: &[u8], properties: Properties<'_>) {
    let publish = Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: (qos != QoS::AtMostOnce).then_some(PacketId::MIN),
        properties,
        payload,
    };
    let mut bytes = Vec::new();
    publish.encode(version, &mut bytes).expect("a valid packet");
    let mut out = Vec::with_capacity(bytes.len());

    let decoded = fastest(
        || match decode(black_box(&bytes), version, limits::MAX_PACKET) {
            Ok(Decoded::Packet(Packet::Publish(publish), _)) => publish.topic.len(),
            other => panic!("not a PUBLISH: {other:?}"),
        },
    );
    let encoded = fastest(|| {
        out.clear();
        black_box(&publish)
            .encode(version, &mut out)
            .expect("a valid packet");
        out.len()
    });
    let (their_decode, their_encode) = match version {
        Version::V5 => (
            fastest(|| parse_5(black_box(&bytes)).topic_name().len()),
            fastest_of(&parse_5(&bytes), |it| it.to_continuous_buffer().len()),
        ),
        _ => (
            fastest(|| parse_3(black_box(&bytes)).topic_name().len()),
            fastest_of(&parse_3(&bytes), |it| it.to_continuous_buffer().len()),
        ),
    };
    let name = format!(
        "{version}, QoS {}, {} B{}",
        qos as u8,
        payload.len(),
        if properties.is_empty() {
            ""
        } else {
            ", 3 props"
        }
    );
    println!(
        "{name:<34} {decoded:>11.1} {their_decode:>11.1} {encoded:>11.1} {their_encode:>11.1}"
    );
}

/// Nanoseconds per call of the fastest round.
fn fastest<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut calls = 1_u32;
    while time(calls, &mut call) < ROUND {
        calls *= 2;
    }
    (0..ROUNDS)
        .map(|_| time(calls, &mut call).as_secs_f64() * 1e9 / f64::from(calls))
        .fold(f64::MAX, f64::min)
}

fn fastest_of<P, T>(packet: &P, mut call: impl FnMut(&P) -> T) -> f64 {
    fastest(|| call(black_box(packet)))
}

fn time<T>(calls: u32, call: &mut impl FnMut() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..calls {
        black_box(call());
    }
    start.elapsed()
}

/// From bytes of the stream to a packet, as their connection does it.
fn read_raw(bytes: &[u8]) -> (u8, std::sync::Arc<[u8]>) {
    match PacketBuilder::new().feed(&mut Cursor::new(bytes)) {
        PacketBuildResult::Complete(raw) => match &raw.data {
            PacketData::Publish(data) => (raw.flags(), data.clone()),
            PacketData::Normal(_) => panic!("not a PUBLISH"),
        },
        other => panic!("not a packet: {other:?}"),
    }
}

fn parse_3(bytes: &[u8]) -> v3_1_1::Publish {
    let (flags, data) = read_raw(bytes);
    v3_1_1::Publish::parse(flags, data)
        .expect("a valid packet")
        .0
}

fn parse_5(bytes: &[u8]) -> v5_0::Publish {
    let (flags, data) = read_raw(bytes);
    v5_0::Publish::parse(flags, data).expect("a valid packet").0
}
