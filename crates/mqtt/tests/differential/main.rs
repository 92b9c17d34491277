//! Against another implementation, mqtt-protocol-core 0.7: the same packets mean the same to both,
//! and where one refuses and the other does not, the difference is known and judged by the text
//! of the specification. It knows no MQTT 3.1.

#[path = "../../../../fuzz/src/packets.rs"]
#[allow(dead_code, unreachable_pub)]
mod packets;
#[path = "../../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;
mod theirs;

use std::collections::BTreeMap;

use packets::with_packet_of;
use safeport_mqtt::{
    Connect, DecodeErrorKind as Kind, Decoded, Packet, ReasonCode, Version, decode, limits,
};
use source::Source;

use Version::{V5, V311};

/// What we refuse and they take: rule, example, and why ours is the reading of the specification.
const THEY_TAKE: &[(Kind, Version, &[u8], &str)] = &[
    (
        Kind::ReservedFlags,
        V311,
        b"\xC2\x00",
        "they never look at the flags; a receiver must close the connection [MQTT-2.2.2-2]",
    ),
    (
        Kind::VariableIntegerNotMinimal,
        V5,
        b"\xC0\x80\x00",
        "the fewest bytes must be used [MQTT-1.5.5-1]",
    ),
    (
        Kind::Truncated,
        V5,
        b"\x30\x03\x00\x01t",
        "PUBLISH and AUTH of MQTT 5 must carry their property length [MQTT-2.2.2-1]",
    ),
    (
        Kind::TrailingBytes,
        V311,
        b"\x40\x03\x00\x01\x00",
        "a PUBACK of 3.1.1 has two bytes (section 3.4.1); they read a reason code into it",
    ),
    (
        Kind::NullCharacter,
        V311,
        b"\x30\x03\x00\x01\x00",
        "no string may contain U+0000 [MQTT-1.5.3-2]",
    ),
    (
        Kind::PacketIdZero,
        V311,
        b"\xB0\x02\x00\x00",
        "the answer repeats an identifier that is never 0 [MQTT-2.3.1-1]",
    ),
    (
        Kind::ReservedConnectFlag,
        V311,
        b"\x10\x0C\x00\x04MQTT\x04\x03\x00\x00\x00\x00",
        "the reserved flag must be 0 [MQTT-3.1.2-3]",
    ),
    (
        Kind::WillFlagsWithoutWill,
        V311,
        b"\x10\x0C\x00\x04MQTT\x04\x0A\x00\x00\x00\x00",
        "without a will its QoS must be 0 [MQTT-3.1.2-13]",
    ),
    (
        Kind::WillQosThree,
        V311,
        b"\x10\x11\x00\x04MQTT\x04\x1E\x00\x00\x00\x00\x00\x01t\x00\x00",
        "a will QoS of 3 must not be used [MQTT-3.1.2-14]",
    ),
    (
        Kind::ConnAckFlags,
        V311,
        b"\x20\x02\x02\x00",
        "bits 7 to 1 must be 0 (section 3.2.2.1)",
    ),
    (
        Kind::SessionPresentWithError,
        V311,
        b"\x20\x02\x01\x05",
        "a refusal cannot continue a session [MQTT-3.2.2-4]",
    ),
    (
        Kind::DupAtQosZero,
        V311,
        b"\x38\x03\x00\x01t",
        "DUP must be 0 at QoS 0 [MQTT-3.3.1-2]",
    ),
    (
        Kind::EmptyTopicName,
        V311,
        b"\x30\x02\x00\x00",
        "a topic has at least one character [MQTT-4.7.3-1]",
    ),
    (
        Kind::EmptyTopicNameWithoutAlias,
        V5,
        b"\x30\x03\x00\x00\x00",
        "a protocol error (section 3.3.2.1); they leave it to their connection",
    ),
    (
        Kind::WildcardInTopicName,
        V311,
        b"\x30\x03\x00\x01+",
        "no wildcard in PUBLISH [MQTT-3.3.2-2]; they check it only when they build one",
    ),
    (
        Kind::InvalidResponseTopic,
        V5,
        b"\x30\x08\x00\x01t\x04\x08\x00\x01#",
        "no wildcard in a response topic [MQTT-3.3.2-14]",
    ),
    (
        Kind::EmptyTopicFilter,
        V311,
        b"\x82\x05\x00\x01\x00\x00\x00",
        "a filter has at least one character [MQTT-4.7.3-1]",
    ),
    (
        Kind::MisplacedWildcard,
        V311,
        b"\x82\x07\x00\x01\x00\x02a#\x00",
        "# is a whole level [MQTT-4.7.1-2]",
    ),
    (
        Kind::MalformedShare,
        V311,
        b"\x82\x0D\x00\x01\x00\x08$share/g\x00",
        "by the text of 3.1.1 they are right: it has no shared subscriptions. We give them to its \
         clients too, so this filter has no meaning here",
    ),
    (
        Kind::SubscribeReservedBits,
        V311,
        b"\x82\x06\x00\x01\x00\x01a\x04",
        "the six upper bits must be 0 [MQTT-3-8.3-4]; they read the options of MQTT 5",
    ),
    (
        Kind::NoLocalOnShared,
        V5,
        b"\x82\x10\x00\x01\x00\x00\x0A$share/g/a\x04",
        "a protocol error [MQTT-3.8.3-4]",
    ),
];

/// What they refuse and we take, and why.
fn they_refuse(packet: &Packet<'_>) -> Option<&'static str> {
    match packet {
        Packet::Connect(Connect { bridge: true, .. }) => {
            Some("the bridge bit is Mosquitto's extension, which we take on purpose")
        }
        Packet::Connect(Connect {
            version: V5,
            username: None,
            password: Some(_),
            ..
        }) => Some("MQTT 5 allows a password without a user name (section 3.1.2.9)"),
        Packet::Disconnect(it) if it.code == ReasonCode::BadAuthenticationMethod => {
            Some("section 2.4 lists 0x8C for DISCONNECT, section 3.14.2.1 does not")
        }
        _ => None,
    }
}

/// Numbers that are the same on every machine (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize
    }

    fn packet(&mut self, use_it: impl FnOnce(&mut Dice, Version, Packet<'_>)) {
        let version = if self.next() & 1 == 0 { V5 } else { V311 };
        let choices: Vec<u8> = (0..self.next() % 250).map(|_| self.next() as u8).collect();
        with_packet_of(version, &mut Source::new(&choices), |packet| {
            use_it(self, version, packet);
        });
    }

    /// Changes a byte, or inserts or removes one together with the remaining length, so that most
    /// of the result is still a packet.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.next() % bytes.len();
        let short = (1..127).contains(&bytes[1]);
        match self.next() % 4 {
            0 => bytes[at] ^= 1 << (self.next() % 8),
            1 => {
                bytes[at] = [0, 1, 2, 3, 0x7F, 0x80, 0xFF, self.next() as u8][self.next() % 8];
            }
            2 if at > 1 && short => {
                bytes.insert(at, self.next() as u8);
                bytes[1] += 1;
            }
            3 if at > 1 && short => {
                bytes.remove(at);
                bytes[1] -= 1;
            }
            _ => {}
        }
    }
}

#[test]
fn both_encode_and_parse_every_packet_alike() {
    let mut dice = Dice(0x5AFE);
    let mut agreed = 0;
    for _ in 0..40_000 {
        dice.packet(|_, version, packet| {
            let mut ours = Vec::new();
            packet.encode(version, &mut ours).expect("a valid packet");
            if they_refuse(&packet).is_some() {
                return;
            }
            let built = theirs::build(version, &packet)
                .unwrap_or_else(|error| panic!("they cannot build {packet:?}: {error}"));
            let parsed = theirs::parse(version, &ours).expect("a whole packet");
            assert_eq!(
                parsed,
                Ok(built.clone()),
                "they read our bytes as another packet"
            );
            let bytes = theirs::encode(&built);
            assert_eq!(
                decode(&bytes, version, limits::MAX_PACKET),
                Ok(Decoded::Packet(packet, bytes.len())),
                "we read their bytes as another packet"
            );
            assert_eq!(bytes, ours);
            agreed += 1;
        });
    }
    assert!(agreed > 39_000, "only {agreed} of 40000 were compared");
}

#[test]
fn both_refuse_the_same_mutated_packets_but_for_known_differences() {
    let mut dice = Dice(0xD1FF);
    let mut unknown = BTreeMap::new();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..200_000 {
        dice.packet(|dice, version, packet| {
            let mut bytes = Vec::new();
            packet.encode(version, &mut bytes).expect("a valid packet");
            if bytes.len() > 200 {
                return;
            }
            for _ in 0..1 + dice.next() % 2 {
                dice.mutate(&mut bytes);
            }
            let ours = decode(&bytes, version, limits::MAX_PACKET);
            let theirs = theirs::parse(version, &bytes);
            let difference = match (ours, theirs) {
                (Ok(Decoded::Packet(packet, _)), Some(Ok(theirs))) => {
                    taken += 1;
                    let again = theirs::encode(&theirs);
                    let same = Ok(Decoded::Packet(packet, again.len()));
                    match decode(&again, version, limits::MAX_PACKET) == same {
                        true => None,
                        false => Some(format!("read differently: {packet:?}")),
                    }
                }
                (Ok(Decoded::Incomplete(_)), None) => None,
                // We refuse some packets before the whole of them has arrived.
                (Err(_), None) => None,
                (Err(_), Some(Err(_))) => {
                    refused += 1;
                    None
                }
                (Err(error), Some(Ok(_))) => {
                    match THEY_TAKE.iter().any(|(kind, ..)| *kind == error.kind) {
                        true => None,
                        false => Some(format!("they take {:?}", error.kind)),
                    }
                }
                (Ok(Decoded::Packet(packet, _)), Some(Err(error))) => match they_refuse(&packet) {
                    Some(_) => None,
                    None => Some(format!("they refuse {}: {error}", packet.packet_type())),
                },
                (ours, theirs) => Some(format!("{ours:?} and {theirs:?}")),
            };
            if let Some(difference) = difference {
                unknown.insert(difference, (version, format!("{bytes:02X?}")));
            }
        });
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(
        taken > 20_000 && refused > 20_000,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn the_list_of_known_differences_is_true() {
    for (kind, version, bytes, why) in THEY_TAKE {
        let error = decode(bytes, *version, limits::MAX_PACKET).expect_err(why);
        assert_eq!(error.kind, *kind, "{why}");
        let theirs = theirs::parse(*version, bytes).expect("a whole packet");
        assert!(theirs.is_ok(), "they refuse it by now: {why}");
    }
    let refused: [(Version, &[u8]); 3] = [
        (V311, b"\x10\x0C\x00\x04MQTT\x84\x02\x00\x00\x00\x00"),
        (
            V5,
            b"\x10\x10\x00\x04MQTT\x05\x42\x00\x00\x00\x00\x00\x00\x01p",
        ),
        (V5, b"\xE0\x01\x8C"),
    ];
    for (version, bytes) in refused {
        let Ok(Decoded::Packet(packet, _)) = decode(bytes, version, limits::MAX_PACKET) else {
            panic!("we take {bytes:02X?}");
        };
        let why = they_refuse(&packet).expect("a known difference");
        let theirs = theirs::parse(version, bytes).expect("a whole packet");
        assert!(theirs.is_err(), "they take it by now: {why}");
    }
}
