//! Bytes to packets. Nothing here allocates.

mod connect;

use core::str;

use self::connect::connect;
use crate::error::{DecodeError, DecodeErrorKind as Kind, Fault};
use crate::filters::{SubscribeFilters, UnsubscribeFilters};
use crate::packet::{
    Ack, Auth, ConnAck, Disconnect, Packet, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe, Will,
};
use crate::properties::Properties;
use crate::property::Place;
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::rules::{check_codes, check_empty_topic};
use crate::topic::check_name;
use crate::wire::{PacketType, QoS, Version};

/// What [`decode`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A packet, and how many bytes of the input it took.
    Packet(Packet<'a>, usize),
    /// More bytes are needed. The number is the size of the whole packet in bytes, or 0 as long
    /// as its length has not arrived.
    Incomplete(usize),
}

/// Reads one packet from the start of `buf`.
///
/// `version` is that of the connection, which its CONNECT decided; CONNECT itself is read by the
/// level that it carries. `max_packet` is the largest packet taken, in bytes with its fixed
/// header; a larger one is refused as soon as its length is known. A packet whose first bytes are
/// already wrong is refused without waiting for the rest.
///
/// MQTT 3.1 is read leniently where its text is looser than 3.1.1: the unused bits of the first
/// byte and of the connect flags are ignored, and a user name may be announced and missing.
///
/// A MQTT 3 server answers a CONNECT of version 5 in its own form (`20 02 00 01`); a client that
/// wants to understand that decodes it again as [`Version::V311`].
#[inline]
pub fn decode(buf: &[u8], version: Version, max_packet: u32) -> Result<Decoded<'_>, DecodeError> {
    let Some(&first) = buf.first() else {
        return Ok(Decoded::Incomplete(0));
    };
    let packet_type = first >> 4;
    // A CONNECT carries its own level; until that is read none is known.
    let level = if packet_type == PacketType::Connect as u8 {
        0
    } else {
        version as u8
    };
    let fail = |fault: Fault| DecodeError::new(fault, packet_type, level);

    check_first_byte(first, version).map_err(fail)?;
    let Some(frame) = Frame::read(buf).map_err(fail)? else {
        return Ok(Decoded::Incomplete(0));
    };
    if frame.padded && level == Version::V5 as u8 {
        return Err(fail(Kind::VariableIntegerNotMinimal.into()));
    }
    if frame.end > max_packet as usize {
        return Err(fail(Kind::PacketTooLarge.into()));
    }
    let Some(body) = buf.get(frame.start..frame.end) else {
        return Ok(Decoded::Incomplete(frame.end));
    };
    // Most packets are messages; they stay on one straight path.
    let packet = if packet_type == PacketType::Publish as u8 {
        Packet::Publish(publish(first, body, version).map_err(fail)?)
    } else if packet_type == PacketType::Connect as u8 {
        Packet::Connect(connect(body, frame.padded)?)
    } else {
        other(first, body, version).map_err(fail)?
    };
    Ok(Decoded::Packet(packet, frame.end))
}

/// The first byte: type and flags.
#[inline]
fn check_first_byte(first: u8, version: Version) -> Result<(), Fault> {
    if first >> 4 == PacketType::Publish as u8 {
        // [MQTT-3.3.1-4]
        if first & 0b0110 == 0b0110 {
            return Err(Kind::QosThree.found(first));
        }
        // [MQTT-3.3.1-2]
        if first & 0b1110 == 0b1000 && version != Version::V31 {
            return Err(Kind::DupAtQosZero.found(first));
        }
        return Ok(());
    }
    check_other_first_byte(first, version)
}

fn check_other_first_byte(first: u8, version: Version) -> Result<(), Fault> {
    let packet_type = match PacketType::from_u8(first >> 4) {
        Some(PacketType::Auth) if version != Version::V5 => None,
        packet_type => packet_type,
    }
    .ok_or(Kind::ReservedPacketType.found(first >> 4))?;
    // [MQTT-2.1.3-1] (3.1.1: [MQTT-2.2.2-2]). MQTT 3.1 has DUP in SUBSCRIBE, UNSUBSCRIBE and
    // PUBREL, and "not used" elsewhere. A CONNECT has said no version yet: no 3.1 client sets
    // bits there, and a TLS greeting (0x16) does.
    let lenient = version == Version::V31 && packet_type != PacketType::Connect;
    if first & 0x0F != packet_type.flags() && !lenient {
        return Err(Kind::ReservedFlags.found(first));
    }
    Ok(())
}

/// Where the packet behind a fixed header lies.
struct Frame {
    start: usize,
    end: usize,
    /// The remaining length took more bytes than it needs.
    padded: bool,
}

impl Frame {
    /// `None` as long as the remaining length is incomplete.
    #[inline]
    fn read(buf: &[u8]) -> Result<Option<Frame>, Fault> {
        match buf {
            [_, a, ..] if *a < 0x80 => Ok(Some(Frame {
                start: 2,
                end: 2 + usize::from(*a),
                padded: false,
            })),
            [_, a, b, ..] if *b < 0x80 => Ok(Some(Frame {
                start: 3,
                end: 3 + (usize::from(*a & 0x7F) | usize::from(*b) << 7),
                padded: *b == 0,
            })),
            _ => Frame::read_long(buf),
        }
    }

    fn read_long(buf: &[u8]) -> Result<Option<Frame>, Fault> {
        let mut remaining = 0;
        for (index, byte) in buf.iter().skip(1).take(4).enumerate() {
            remaining |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                let start = index + 2;
                return Ok(Some(Frame {
                    start,
                    end: start + remaining,
                    padded: index > 0 && *byte == 0,
                }));
            }
        }
        if buf.len() > 4 {
            return Err(Kind::VariableIntegerTooLong.into());
        }
        Ok(None)
    }
}

#[inline]
fn publish(first: u8, body: &[u8], version: Version) -> Result<Publish<'_>, Fault> {
    let qos = match first & 0b0110 {
        0 => QoS::AtMostOnce,
        0b0010 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let mut reader = Reader::new(body);
    // The first field, well-formed UTF-8 [MQTT-3.3.2-1].
    let topic = reader.string_unchecked()?;
    check_name(topic)?;
    // Only at QoS 1 and 2 [MQTT-2.2.1-2], [MQTT-2.2.1-3].
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        _ => Some(reader.packet_id()?),
    };
    let properties = Properties::read(&mut reader, version, Place::Publish)?;
    if topic.is_empty() {
        check_empty_topic(version, properties)?;
    }
    Ok(Publish {
        // MQTT 3.1 has no rule against DUP at QoS 0; it means nothing there.
        dup: first & 0b1000 != 0 && qos != QoS::AtMostOnce,
        qos,
        retain: first & 1 != 0,
        topic,
        packet_id,
        properties,
        payload: reader.rest(),
    })
}

/// Every packet but CONNECT.
#[inline(never)]
fn other(first: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Fault> {
    let reader = &mut Reader::new(body);
    let packet_type = PacketType::from_u8(first >> 4)
        .filter(|packet_type| *packet_type != PacketType::Connect)
        .ok_or(Kind::ReservedPacketType.found(first >> 4))?;
    let packet = match packet_type {
        PacketType::PubAck => Packet::PubAck(ack(reader, packet_type, version)?),
        PacketType::PubRec => Packet::PubRec(ack(reader, packet_type, version)?),
        PacketType::PubRel => Packet::PubRel(ack(reader, packet_type, version)?),
        PacketType::PubComp => Packet::PubComp(ack(reader, packet_type, version)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Subscribe => Packet::Subscribe(subscribe(reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(reader, version)?),
        PacketType::Disconnect => Packet::Disconnect(disconnect(reader, version)?),
        PacketType::ConnAck => Packet::ConnAck(conn_ack(reader, version)?),
        PacketType::SubAck => Packet::SubAck(sub_ack(reader, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsub_ack(reader, version)?),
        PacketType::Auth => Packet::Auth(auth(reader)?),
        PacketType::Publish | PacketType::Connect => {
            Packet::Publish(publish(first, reader.rest(), version)?)
        }
    };
    reader.end()?;
    Ok(packet)
}

/// A reason code that the packet type allows (section 2.4).
fn reason_code(reader: &mut Reader<'_>, packet_type: PacketType) -> Result<ReasonCode, Fault> {
    let byte = reader.u8()?;
    match ReasonCode::from_u8(byte) {
        Some(code) if code.is_allowed_in(packet_type) => Ok(code),
        _ => Err(Kind::ReasonCodeNotAllowed.found(byte)),
    }
}

fn ack<'a>(
    reader: &mut Reader<'a>,
    packet_type: PacketType,
    version: Version,
) -> Result<Ack<'a>, Fault> {
    let packet_id = reader.packet_id()?;
    // Reason code and properties may be left out (section 3.4.2.1 and its three sisters).
    let code = match version == Version::V5 && !reader.is_empty() {
        true => reason_code(reader, packet_type)?,
        false => ReasonCode::Success,
    };
    Ok(Ack {
        packet_id,
        code,
        properties: optional_properties(reader, version, Place::Ack)?,
    })
}

/// Properties that the end of the packet may replace.
fn optional_properties<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    place: Place,
) -> Result<Properties<'a>, Fault> {
    if reader.is_empty() {
        return Ok(Properties::EMPTY);
    }
    Properties::read(reader, version, place)
}

fn subscribe<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Subscribe<'a>, Fault> {
    let packet_id = reader.packet_id()?;
    let properties = Properties::read(reader, version, Place::Subscribe)?;
    Ok(Subscribe {
        packet_id,
        properties,
        filters: SubscribeFilters::checked(reader.rest(), version)?,
    })
}

fn unsubscribe<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Unsubscribe<'a>, Fault> {
    let packet_id = reader.packet_id()?;
    let properties = Properties::read(reader, version, Place::Unsubscribe)?;
    Ok(Unsubscribe {
        packet_id,
        properties,
        filters: UnsubscribeFilters::checked(reader.rest())?,
    })
}

fn disconnect<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Disconnect<'a>, Fault> {
    // Both may be left out (section 3.14.2.1).
    let code = match version == Version::V5 && !reader.is_empty() {
        true => reason_code(reader, PacketType::Disconnect)?,
        false => ReasonCode::Success,
    };
    Ok(Disconnect {
        code,
        properties: optional_properties(reader, version, Place::Disconnect)?,
    })
}

fn auth<'a>(reader: &mut Reader<'a>) -> Result<Auth<'a>, Fault> {
    // Success without properties may be left out altogether (section 3.15.2.1).
    if reader.is_empty() {
        return Ok(Auth {
            code: ReasonCode::Success,
            properties: Properties::EMPTY,
        });
    }
    let code = reason_code(reader, PacketType::Auth)?;
    let properties = Properties::read(reader, Version::V5, Place::Auth)?;
    if properties.is_empty() {
        return Err(Kind::AuthenticationMethodMissing.into());
    }
    Ok(Auth { code, properties })
}

fn conn_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<ConnAck<'a>, Fault> {
    let flags = reader.u8()?;
    // [MQTT-3.2.2-1]; MQTT 3.1 does not use the byte.
    if flags & 0xFE != 0 && version != Version::V31 {
        return Err(Kind::ConnAckFlags.found(flags));
    }
    let session_present = flags & 1 != 0 && version != Version::V31;
    let code = match version {
        Version::V5 => reason_code(reader, PacketType::ConnAck)?,
        _ => {
            let byte = reader.u8()?;
            ReasonCode::from_connect_return_code(byte)
                .ok_or(Kind::ReasonCodeNotAllowed.found(byte))?
        }
    };
    // [MQTT-3.2.2-6] (3.1.1: [MQTT-3.2.2-4])
    if session_present && code != ReasonCode::Success {
        return Err(Kind::SessionPresentWithError.found(code as u8));
    }
    Ok(ConnAck {
        session_present,
        code,
        properties: Properties::read(reader, version, Place::ConnAck)?,
    })
}

fn sub_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<SubAck<'a>, Fault> {
    let packet_id = reader.packet_id()?;
    let properties = Properties::read(reader, version, Place::SubAck)?;
    let codes = reader.rest();
    check_codes(codes, PacketType::SubAck, version)?;
    Ok(SubAck {
        packet_id,
        properties,
        codes,
    })
}

fn unsub_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<UnsubAck<'a>, Fault> {
    let packet_id = reader.packet_id()?;
    let properties = Properties::read(reader, version, Place::UnsubAck)?;
    // Before MQTT 5 there is no payload (section 3.11.3 of 3.1.1).
    let codes: &[u8] = match version {
        Version::V5 => reader.rest(),
        _ => &[],
    };
    if version == Version::V5 {
        check_codes(codes, PacketType::UnsubAck, version)?;
    }
    Ok(UnsubAck {
        packet_id,
        properties,
        codes,
    })
}

impl Publish<'_> {
    /// Checks a payload that calls itself UTF-8. The decoder does not: the specification leaves
    /// the receiver the choice (section 3.3.2.3.2), and it costs a pass over the payload.
    pub fn check_payload_format(&self) -> Result<(), DecodeError> {
        check_payload_format(self.properties, self.payload)
            .map_err(|kind| error_of(kind, PacketType::Publish))
    }
}

impl Will<'_> {
    /// Checks a payload that calls itself UTF-8, as [`Publish::check_payload_format`] does.
    pub fn check_payload_format(&self) -> Result<(), DecodeError> {
        check_payload_format(self.properties, self.payload)
            .map_err(|kind| error_of(kind, PacketType::Connect))
    }
}

fn error_of(kind: Kind, packet_type: PacketType) -> DecodeError {
    DecodeError::new(kind.into(), packet_type as u8, Version::V5 as u8)
}

fn check_payload_format(properties: Properties<'_>, payload: &[u8]) -> Result<(), Kind> {
    if properties.payload_format() == Some(true) && str::from_utf8(payload).is_err() {
        return Err(Kind::PayloadNotUtf8);
    }
    Ok(())
}
