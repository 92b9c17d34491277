//! The handful of MQTT 3.1.1 and 5 packets that a load generator needs, as bytes.
//!
//! Written apart from `safeport-mqtt` on purpose: the generator has to cost less than any broker
//! it measures, and a judge must not share a mistake with the codec that it judges.

use super::Target;
use safeport_mqtt::{AckKind, QoS, Version};

/// One packet that a broker sent, borrowed from the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// CONNACK.
    ConnAck {
        /// Return or reason code; 0 is accepted.
        code: u8,
        /// The broker had kept the session.
        session_present: bool,
        /// QoS 1 and 2 messages that it takes unacknowledged.
        receive_maximum: u16,
    },
    /// SUBACK with its codes; from 0x80 on, refused.
    SubAck(&'a [u8]),
    /// A delivery. `id` is 0 at QoS 0.
    Publish {
        /// QoS that the broker delivers with.
        qos: u8,
        /// It was retained when the subscription was made.
        retain: bool,
        /// Packet identifier, 0 at QoS 0.
        id: u16,
        /// The topic name.
        topic: &'a [u8],
        /// The application message.
        payload: &'a [u8],
    },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP; its identifier and reason code.
    Ack(AckKind, u16, u8),
    /// Anything else that is well framed; the type nibble.
    Other(u8),
}

/// What becomes of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// None is taken up, and it ends with the connection.
    Clean,
    /// One that is there is taken up, and it outlives the connection.
    Kept,
}

/// The broker sent bytes that are no MQTT packet, or one cut too short for its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker sent a broken packet (first byte 0x{first:02x})")]
pub(super) struct BrokenFrame {
    /// First byte of the packet.
    first: u8,
}

/// Reads one packet off the front of `bytes`: the frame and its length, or `None` when more bytes
/// are needed.
pub(super) fn next_frame(
    version: Version,
    bytes: &[u8],
) -> Result<Option<(Frame<'_>, usize)>, BrokenFrame> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let broken = BrokenFrame { first };
    let mut length = 0usize;
    let mut body_at = None;
    for (place, &byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            body_at = Some(place + 2);
            break;
        }
    }
    let Some(body_at) = body_at else {
        return if rest.len() >= 4 {
            Err(broken)
        } else {
            Ok(None)
        };
    };
    let Some(body) = bytes.get(body_at..body_at + length) else {
        return Ok(None);
    };
    let frame = read_body(version, first, body).ok_or(broken)?;
    Ok(Some((frame, body_at + length)))
}

fn read_body(version: Version, first: u8, body: &[u8]) -> Option<Frame<'_>> {
    let ack = |kind| {
        // MQTT 5 leaves the reason code out when it is 0.
        Some(Frame::Ack(
            kind,
            be16(body)?,
            body.get(2).copied().unwrap_or(0),
        ))
    };
    Some(match first >> 4 {
        2 => Frame::ConnAck {
            session_present: body.first()? & 1 == 1,
            code: *body.get(1)?,
            receive_maximum: match version {
                Version::V5 => receive_maximum(body.get(2..)?)?,
                _ => u16::MAX,
            },
        },
        3 => {
            let qos = first >> 1 & 3;
            let (topic, mut rest) = body.get(2..)?.split_at_checked(usize::from(be16(body)?))?;
            let mut id = 0;
            if qos > 0 {
                id = be16(rest)?;
                rest = &rest[2..];
            }
            if version == Version::V5 {
                rest = properties(rest)?.1;
            }
            Frame::Publish {
                qos,
                retain: first & 1 == 1,
                id,
                topic,
                payload: rest,
            }
        }
        4 => ack(AckKind::PubAck)?,
        5 => ack(AckKind::PubRec)?,
        6 => ack(AckKind::PubRel)?,
        7 => ack(AckKind::PubComp)?,
        9 => match version {
            Version::V5 => Frame::SubAck(properties(body.get(2..)?)?.1),
            _ => Frame::SubAck(body.get(2..)?),
        },
        other => Frame::Other(other),
    })
}

fn be16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.first_chunk()?))
}

/// The properties at the front of `bytes`, without their length, and what follows them.
fn properties(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return bytes.get(place + 1..)?.split_at_checked(length);
        }
    }
    None
}

/// The Receive Maximum among the properties of CONNACK; 65535 where there is none [MQTT5 3.2.2.3.3].
fn receive_maximum(bytes: &[u8]) -> Option<u16> {
    let (mut properties, _) = properties(bytes)?;
    while let Some((id, value)) = properties.split_first() {
        let text = |at: usize| Some(2 + usize::from(be16(value.get(at..)?)?));
        let length = match id {
            0x21 => return be16(value),
            0x24 | 0x25 | 0x28 | 0x29 | 0x2a => 1,
            0x13 | 0x22 => 2,
            0x11 | 0x27 => 4,
            0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => text(0)?,
            0x26 => text(0)? + text(text(0)?)?,
            _ => return None,
        };
        properties = value.get(length..)?;
    }
    Some(u16::MAX)
}

/// CONNECT with the target's version and login, without a will.
pub(super) fn connect(target: &Target, client_id: &str, session: Session, out: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(64);
    text("MQTT", &mut body);
    body.push(target.version as u8);
    // 0x02 clean session, 0x80 user name, 0x40 password. 3.1.1 has no password without a user name
    // [MQTT-3.1.2-22], so one is sent empty then.
    let password = target.password.as_deref();
    let username = target.username.as_deref().or(password.map(|_| ""));
    body.push(
        if session == Session::Clean { 0x02 } else { 0 }
            | if username.is_some() { 0x80 } else { 0 }
            | if password.is_some() { 0x40 } else { 0 },
    );
    body.extend_from_slice(&KEEP_ALIVE_SECONDS.to_be_bytes());
    if target.version == Version::V5 {
        match session {
            Session::Clean => body.push(0),
            Session::Kept => {
                body.extend_from_slice(&[5, 0x11]);
                body.extend_from_slice(&KEPT_SECONDS.to_be_bytes());
            }
        }
    }
    text(client_id, &mut body);
    for field in [username, password].into_iter().flatten() {
        text(field, &mut body);
    }
    packet(0x10, &body, out);
}

/// SUBSCRIBE with all of `filters`.
pub(super) fn subscribe(version: Version, id: u16, filters: &[&str], qos: QoS, out: &mut Vec<u8>) {
    let mut body = id.to_be_bytes().to_vec();
    no_properties(version, &mut body);
    for filter in filters {
        text(filter, &mut body);
        body.push(qos as u8);
    }
    packet(0x82, &body, out);
}

/// A whole PUBLISH whose packet identifier is 0 and whose payload is `payload`; also says at which
/// offsets topic, identifier and payload begin, so that the sender patches a copy instead of building each message.
pub(super) fn publish(
    version: Version,
    topic: &str,
    qos: QoS,
    retain: bool,
    payload: &[u8],
) -> PublishTemplate {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(topic, &mut body);
    if qos != QoS::AtMostOnce {
        body.extend_from_slice(&[0, 0]);
    }
    let id_ends = body.len();
    no_properties(version, &mut body);
    body.extend_from_slice(payload);
    let mut bytes = Vec::with_capacity(body.len() + 5);
    let first = 0x30 | (qos as u8) << 1 | u8::from(retain);
    packet(first, &body, &mut bytes);
    let payload_at = bytes.len() - payload.len();
    let body_at = bytes.len() - body.len();
    PublishTemplate {
        topic_at: body_at + 2,
        id_at: (qos != QoS::AtMostOnce).then(|| body_at + id_ends - 2),
        payload_at,
        bytes,
    }
}

/// See [`publish`].
pub(super) struct PublishTemplate {
    pub(super) bytes: Vec<u8>,
    pub(super) topic_at: usize,
    pub(super) payload_at: usize,
    pub(super) id_at: Option<usize>,
}

/// Writes `number` with leading zeros.
pub(super) fn put_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// One of the four acknowledgements.
pub(super) fn ack(kind: AckKind, id: u16, out: &mut Vec<u8>) {
    let first = match kind {
        AckKind::PubAck => 0x40,
        AckKind::PubRec => 0x50,
        // The only one whose flag bits are not zero [MQTT-3.6.1-1].
        AckKind::PubRel => 0x62,
        AckKind::PubComp => 0x70,
    };
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}

/// DISCONNECT.
pub(super) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Keep alive of every connection. No run lasts long enough to need a PINGREQ.
const KEEP_ALIVE_SECONDS: u16 = 3600;

/// How long an MQTT 5 session outlives its connection. A 3.1.1 session has no say in it.
const KEPT_SECONDS: u32 = 3600;

fn no_properties(version: Version, out: &mut Vec<u8>) {
    if version == Version::V5 {
        out.push(0);
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn packet(first: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    let mut length = body.len();
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        out.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use safeport_mqtt::{Decoded, Packet, Property, decode};

    fn decoded(version: Version, bytes: &[u8], look: impl FnOnce(Packet<'_>)) {
        match decode(bytes, version, u32::MAX).expect("the codec accepts it") {
            Decoded::Packet(packet, used) => {
                assert_eq!(used, bytes.len());
                look(packet);
            }
            Decoded::Incomplete(_) => panic!("{bytes:?} is incomplete"),
        }
    }

    fn target(version: Version) -> Target {
        Target {
            username: Some("user".into()),
            password: Some("secret".into()),
            version,
            ..Target::new(([127, 0, 0, 1], 1883).into())
        }
    }

    #[test]
    fn what_the_generator_writes_is_what_the_codec_reads() {
        for version in [Version::V311, Version::V5] {
            let mut out = Vec::new();
            connect(&target(version), "load-1", Session::Clean, &mut out);
            decoded(version, &out, |packet| match packet {
                Packet::Connect(connect) => {
                    assert_eq!(connect.version, version);
                    assert_eq!(connect.client_id, "load-1");
                    assert_eq!(connect.username, Some("user"));
                    assert_eq!(connect.password, Some(&b"secret"[..]));
                    assert!(connect.clean_start);
                }
                other => panic!("{other:?}"),
            });

            out.clear();
            subscribe(version, 7, &["load/+", "x"], QoS::ExactlyOnce, &mut out);
            decoded(version, &out, |packet| match packet {
                Packet::Subscribe(subscribe) => {
                    let filters: Vec<_> = subscribe.filters.iter().collect();
                    assert_eq!(filters.len(), 2);
                    assert_eq!(filters[0].0, "load/+");
                    assert_eq!(filters[1].0, "x");
                    assert_eq!(filters[1].1.qos, QoS::ExactlyOnce);
                }
                other => panic!("{other:?}"),
            });

            let mut template = publish(version, "load/1", QoS::AtLeastOnce, true, &[9; 300]);
            let id_at = template.id_at.expect("QoS 1 has an identifier");
            template.bytes[id_at..id_at + 2].copy_from_slice(&5u16.to_be_bytes());
            template.bytes[template.topic_at] = b'r';
            decoded(version, &template.bytes, |packet| match packet {
                Packet::Publish(publish) => {
                    assert_eq!(publish.topic, "road/1");
                    assert_eq!(publish.packet_id.map(u16::from), Some(5));
                    assert_eq!(publish.payload, [9; 300]);
                    assert!(publish.retain);
                }
                other => panic!("{other:?}"),
            });
        }
    }

    #[test]
    fn a_kept_session_asks_to_be_kept_in_either_version() {
        let mut out = Vec::new();
        connect(&target(Version::V311), "a", Session::Kept, &mut out);
        decoded(Version::V311, &out, |packet| match packet {
            Packet::Connect(connect) => assert!(!connect.clean_start),
            other => panic!("{other:?}"),
        });
        out.clear();
        connect(&target(Version::V5), "a", Session::Kept, &mut out);
        decoded(Version::V5, &out, |packet| match packet {
            Packet::Connect(connect) => {
                assert!(!connect.clean_start);
                assert_eq!(
                    connect.properties.iter().collect::<Vec<_>>(),
                    [Property::SessionExpiryInterval(KEPT_SECONDS)]
                );
            }
            other => panic!("{other:?}"),
        });
    }

    #[test]
    fn the_receive_maximum_is_found_behind_other_properties() {
        let connack = |properties: &[u8]| {
            let mut bytes = vec![0x20, 3 + properties.len() as u8, 1, 0];
            bytes.push(properties.len() as u8);
            bytes.extend_from_slice(properties);
            bytes
        };
        let maximum = |bytes: &[u8]| match next_frame(Version::V5, bytes) {
            Ok(Some((
                Frame::ConnAck {
                    session_present: true,
                    receive_maximum,
                    ..
                },
                _,
            ))) => Some(receive_maximum),
            _ => None,
        };
        assert_eq!(maximum(&connack(&[])), Some(u16::MAX));
        // Topic alias maximum, a user property, an assigned identifier.
        let others = b"\x22\x00\x0a\x26\x00\x01k\x00\x01v\x12\x00\x02id";
        assert_eq!(
            maximum(&connack(&[&others[..], b"\x21\x00\x14"].concat())),
            Some(20)
        );
        // 0x02 is no property of CONNACK.
        assert_eq!(maximum(&connack(b"\x02\x00\x00\x00\x01")), None);
    }

    #[test]
    fn a_delivery_cut_anywhere_waits_for_the_rest() {
        for version in [Version::V311, Version::V5] {
            let mut template =
                publish(version, "a/b", QoS::AtLeastOnce, false, b"0123456789abcdef");
            template.bytes.extend_from_slice(b"next");
            let whole = template.bytes.len() - 4;
            for cut in 0..whole {
                let frame = next_frame(version, &template.bytes[..cut]);
                assert_eq!(frame, Ok(None), "cut at {cut}");
            }
            let (frame, used) = next_frame(version, &template.bytes)
                .expect("framed")
                .expect("whole");
            assert_eq!(used, whole);
            assert_eq!(
                frame,
                Frame::Publish {
                    qos: 1,
                    retain: false,
                    id: 0,
                    topic: b"a/b",
                    payload: b"0123456789abcdef"
                }
            );
        }
    }

    #[test]
    fn a_refused_message_is_told_from_a_taken_one() {
        let ack =
            |bytes: &[u8]| next_frame(Version::V5, bytes).map(|f| f.map(|(f, _)| format!("{f:?}")));
        let said = |code| Ok(Some(format!("{:?}", Frame::Ack(AckKind::PubAck, 7, code))));
        assert_eq!(ack(&[0x40, 2, 0, 7]), said(0));
        assert_eq!(ack(&[0x40, 3, 0, 7, 0x97]), said(0x97));
    }

    #[test]
    fn a_length_of_five_bytes_is_a_broken_packet() {
        assert!(next_frame(Version::V311, &[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
        assert_eq!(
            next_frame(Version::V311, &[0x30, 0x80, 0x80, 0x80]),
            Ok(None)
        );
        assert!(next_frame(Version::V311, &[0x30, 0x01, 0x00]).is_err());
    }

    #[test]
    fn digits_fill_their_place() {
        let mut place = *b"xxxxxxx";
        put_digits(&mut place, 1_204_560);
        assert_eq!(&place, b"1204560");
        put_digits(&mut place, 7);
        assert_eq!(&place, b"0000007");
    }
}
