//! The handful of MQTT 3.1.1 packets that a load generator needs, as bytes.
//!
//! Written apart from `safeport-mqtt` on purpose: the generator has to cost less than any broker
//! it measures, and a judge must not share a mistake with the codec that it judges.

use safeport_mqtt::{AckKind, QoS};

/// One packet that a broker sent, borrowed from the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// CONNACK with its return code; 0 is accepted.
    ConnAck(u8),
    /// SUBACK with its codes; 0x80 is refused.
    SubAck(&'a [u8]),
    /// A delivery. `id` is 0 at QoS 0.
    Publish {
        /// QoS that the broker delivers with.
        qos: u8,
        /// Packet identifier, 0 at QoS 0.
        id: u16,
        /// The application message.
        payload: &'a [u8],
    },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(AckKind, u16),
    /// Anything else that is well framed; the type nibble.
    Other(u8),
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
pub(super) fn next_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, BrokenFrame> {
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
    let frame = read_body(first, body).ok_or(broken)?;
    Ok(Some((frame, body_at + length)))
}

fn read_body(first: u8, body: &[u8]) -> Option<Frame<'_>> {
    Some(match first >> 4 {
        2 => Frame::ConnAck(*body.get(1)?),
        3 => {
            let qos = first >> 1 & 3;
            let mut payload_at = 2 + usize::from(be16(body)?);
            let mut id = 0;
            if qos > 0 {
                id = be16(body.get(payload_at..)?)?;
                payload_at += 2;
            }
            Frame::Publish {
                qos,
                id,
                payload: body.get(payload_at..)?,
            }
        }
        4 => Frame::Ack(AckKind::PubAck, be16(body)?),
        5 => Frame::Ack(AckKind::PubRec, be16(body)?),
        6 => Frame::Ack(AckKind::PubRel, be16(body)?),
        7 => Frame::Ack(AckKind::PubComp, be16(body)?),
        9 => Frame::SubAck(body.get(2..)?),
        other => Frame::Other(other),
    })
}

fn be16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]))
}

/// CONNECT, clean session, no will.
pub(super) fn connect(
    client_id: &str,
    username: Option<&str>,
    password: Option<&str>,
    keep_alive: u16,
    out: &mut Vec<u8>,
) {
    let mut body = Vec::with_capacity(64);
    text("MQTT", &mut body);
    body.push(4);
    // 0x02 clean session, 0x80 user name, 0x40 password. 3.1.1 has no password without a user name
    // [MQTT-3.1.2-22], so one is sent empty then.
    let username = username.or(password.map(|_| ""));
    body.push(
        0x02 | if username.is_some() { 0x80 } else { 0 }
            | if password.is_some() { 0x40 } else { 0 },
    );
    body.extend_from_slice(&keep_alive.to_be_bytes());
    text(client_id, &mut body);
    for field in [username, password].into_iter().flatten() {
        text(field, &mut body);
    }
    packet(0x10, &body, out);
}

/// SUBSCRIBE with one filter.
pub(super) fn subscribe(id: u16, filter: &str, qos: QoS, out: &mut Vec<u8>) {
    let mut body = id.to_be_bytes().to_vec();
    text(filter, &mut body);
    body.push(qos as u8);
    packet(0x82, &body, out);
}

/// A whole PUBLISH whose packet identifier is 0 and whose payload is `payload`; also says at which
/// offsets both begin, so that the sender patches a copy instead of building each message.
pub(super) fn publish(topic: &str, qos: QoS, payload: &[u8]) -> PublishTemplate {
    let mut body = Vec::with_capacity(topic.len() + payload.len() + 4);
    text(topic, &mut body);
    if qos != QoS::AtMostOnce {
        body.extend_from_slice(&[0, 0]);
    }
    body.extend_from_slice(payload);
    let mut bytes = Vec::with_capacity(body.len() + 5);
    packet(0x30 | (qos as u8) << 1, &body, &mut bytes);
    let payload_at = bytes.len() - payload.len();
    PublishTemplate {
        id_at: (qos != QoS::AtMostOnce).then(|| payload_at - 2),
        payload_at,
        bytes,
    }
}

/// See [`publish`].
pub(super) struct PublishTemplate {
    pub(super) bytes: Vec<u8>,
    pub(super) payload_at: usize,
    pub(super) id_at: Option<usize>,
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
    use safeport_mqtt::{Decoded, Packet, Version, decode};

    fn decoded(bytes: &[u8], look: impl FnOnce(Packet<'_>)) {
        match decode(bytes, Version::V311, u32::MAX).expect("the codec accepts it") {
            Decoded::Packet(packet, used) => {
                assert_eq!(used, bytes.len());
                look(packet);
            }
            Decoded::Incomplete(_) => panic!("{bytes:?} is incomplete"),
        }
    }

    #[test]
    fn what_the_generator_writes_is_what_the_codec_reads() {
        let mut out = Vec::new();
        connect("load-1", Some("user"), Some("secret"), 60, &mut out);
        decoded(&out, |packet| match packet {
            Packet::Connect(connect) => {
                assert_eq!(connect.client_id, "load-1");
                assert_eq!(connect.username, Some("user"));
                assert_eq!(connect.password, Some(&b"secret"[..]));
                assert_eq!((connect.keep_alive, connect.clean_start), (60, true));
            }
            other => panic!("{other:?}"),
        });

        out.clear();
        subscribe(7, "load/+", QoS::ExactlyOnce, &mut out);
        decoded(&out, |packet| match packet {
            Packet::Subscribe(subscribe) => {
                let filters: Vec<_> = subscribe.filters.iter().collect();
                assert_eq!(filters.len(), 1);
                assert_eq!(filters[0].0, "load/+");
                assert_eq!(filters[0].1.qos, QoS::ExactlyOnce);
            }
            other => panic!("{other:?}"),
        });

        let mut template = publish("load/1", QoS::AtLeastOnce, &[9; 300]);
        let id_at = template.id_at.expect("QoS 1 has an identifier");
        template.bytes[id_at..id_at + 2].copy_from_slice(&5u16.to_be_bytes());
        decoded(&template.bytes, |packet| match packet {
            Packet::Publish(publish) => {
                assert_eq!(publish.topic, "load/1");
                assert_eq!(publish.packet_id.map(u16::from), Some(5));
                assert_eq!(publish.payload, [9; 300]);
            }
            other => panic!("{other:?}"),
        });
    }

    #[test]
    fn a_delivery_cut_anywhere_waits_for_the_rest() {
        let mut template = publish("a/b", QoS::AtLeastOnce, b"0123456789abcdef");
        template.bytes.extend_from_slice(b"next");
        let whole = template.bytes.len() - 4;
        for cut in 0..whole {
            assert_eq!(next_frame(&template.bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let (frame, used) = next_frame(&template.bytes).expect("framed").expect("whole");
        assert_eq!(used, whole);
        assert_eq!(
            frame,
            Frame::Publish {
                qos: 1,
                id: 0,
                payload: b"0123456789abcdef"
            }
        );
    }

    #[test]
    fn a_length_of_five_bytes_is_a_broken_packet() {
        assert!(next_frame(&[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
        assert_eq!(next_frame(&[0x30, 0x80, 0x80, 0x80]), Ok(None));
        assert!(next_frame(&[0x30, 0x01, 0x00]).is_err());
    }
}
