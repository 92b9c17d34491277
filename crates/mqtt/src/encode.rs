//! Packets to bytes. Refuses what a receiver would have to refuse.

mod connect;

use alloc::vec::Vec;

use crate::error::{DecodeErrorKind as Kind, EncodeError};
use crate::filters::SubscribeOptions;
use crate::limits::MAX_FIXED_HEADER;
use crate::packet::{
    Ack, Auth, ConnAck, Disconnect, Packet, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe,
};
use crate::properties::Properties;
use crate::property::Place;
use crate::reason::ReasonCode;
use crate::rules::{check_codes, check_empty_topic};
use crate::topic::check_name;
use crate::wire::{AckKind, PacketType, QoS, Version};
use crate::write::{
    field_len, put_binary, put_header, put_u16, put_variable_integer, whole_len, within_limit,
};

/// The code may stand in this packet (section 2.4).
fn check_code(code: ReasonCode, packet_type: PacketType) -> Result<(), EncodeError> {
    match code.is_allowed_in(packet_type) {
        true => Ok(()),
        false => Err(Kind::ReasonCodeNotAllowed.into()),
    }
}

/// Gives a packet its public `encode` and `encoded_len`; the packet itself says how long the part
/// behind the fixed header is, checking all rules on the way, and how it is written.
macro_rules! encodes {
    ($name:ident, $packet_type:expr) => {
        impl $name<'_> {
            /// Appends the packet to `out`, or leaves `out` as it is.
            pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                let remaining = within_limit(self.remaining_len(version)?)?;
                put_header(out, $packet_type, remaining);
                self.put(version, out);
                Ok(())
            }

            /// Size of the whole packet in bytes; fails where [`encode`](Self::encode) fails.
            pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
                Ok(whole_len(within_limit(self.remaining_len(version)?)?))
            }
        }
    };
}

encodes!(ConnAck, PacketType::ConnAck);
encodes!(Subscribe, PacketType::Subscribe);
encodes!(SubAck, PacketType::SubAck);
encodes!(Unsubscribe, PacketType::Unsubscribe);
encodes!(UnsubAck, PacketType::UnsubAck);
encodes!(Disconnect, PacketType::Disconnect);
encodes!(Auth, PacketType::Auth);

impl Packet<'_> {
    /// Appends the packet to `out`, or leaves `out` as it is.
    ///
    /// A CONNECT is written in its own version, whatever `version` says. Before MQTT 5 properties
    /// are left out; what would change its meaning by being left out is refused.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Packet::Connect(packet) => packet.encode(out),
            Packet::ConnAck(packet) => packet.encode(version, out),
            Packet::Publish(packet) => packet.encode(version, out),
            Packet::PubAck(packet) => packet.encode(AckKind::PubAck, version, out),
            Packet::PubRec(packet) => packet.encode(AckKind::PubRec, version, out),
            Packet::PubRel(packet) => packet.encode(AckKind::PubRel, version, out),
            Packet::PubComp(packet) => packet.encode(AckKind::PubComp, version, out),
            Packet::Subscribe(packet) => packet.encode(version, out),
            Packet::SubAck(packet) => packet.encode(version, out),
            Packet::Unsubscribe(packet) => packet.encode(version, out),
            Packet::UnsubAck(packet) => packet.encode(version, out),
            Packet::PingReq => {
                put_header(out, PacketType::PingReq, 0);
                Ok(())
            }
            Packet::PingResp => {
                put_header(out, PacketType::PingResp, 0);
                Ok(())
            }
            Packet::Disconnect(packet) => packet.encode(version, out),
            Packet::Auth(packet) => packet.encode(version, out),
        }
    }

    /// Size of the whole packet in bytes; fails where [`encode`](Self::encode) fails.
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        match self {
            Packet::Connect(packet) => packet.encoded_len(),
            Packet::ConnAck(packet) => packet.encoded_len(version),
            Packet::Publish(packet) => packet.encoded_len(version),
            Packet::PubAck(packet) => packet.encoded_len(AckKind::PubAck, version),
            Packet::PubRec(packet) => packet.encoded_len(AckKind::PubRec, version),
            Packet::PubRel(packet) => packet.encoded_len(AckKind::PubRel, version),
            Packet::PubComp(packet) => packet.encoded_len(AckKind::PubComp, version),
            Packet::Subscribe(packet) => packet.encoded_len(version),
            Packet::SubAck(packet) => packet.encoded_len(version),
            Packet::Unsubscribe(packet) => packet.encoded_len(version),
            Packet::UnsubAck(packet) => packet.encoded_len(version),
            Packet::PingReq | Packet::PingResp => Ok(2),
            Packet::Disconnect(packet) => packet.encoded_len(version),
            Packet::Auth(packet) => packet.encoded_len(version),
        }
    }
}

impl Publish<'_> {
    /// Appends the packet to `out`, or leaves `out` as it is.
    #[inline]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let remaining = self.remaining_len(version)?;
        out.reserve(MAX_FIXED_HEADER + remaining as usize);
        self.put_head(version, remaining, out);
        out.extend_from_slice(self.payload);
        Ok(())
    }

    /// Appends everything but the payload, for a caller that sends the payload from where it lies.
    /// The remaining length counts the payload in.
    #[inline]
    pub fn encode_head(&self, version: Version, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let remaining = self.remaining_len(version)?;
        out.reserve(MAX_FIXED_HEADER + remaining as usize - self.payload.len());
        self.put_head(version, remaining, out);
        Ok(())
    }

    /// Size of the whole packet in bytes; fails where [`encode`](Self::encode) fails.
    #[inline]
    pub fn encoded_len(&self, version: Version) -> Result<usize, EncodeError> {
        Ok(whole_len(self.remaining_len(version)?))
    }

    #[inline]
    fn remaining_len(&self, version: Version) -> Result<u32, EncodeError> {
        let packet_id_len = match (self.qos, self.packet_id) {
            (QoS::AtMostOnce, None) => 0,
            (QoS::AtMostOnce, Some(_)) => return Err(EncodeError::PacketIdAtQosZero),
            (_, Some(_)) => 2,
            (_, None) => return Err(EncodeError::PacketIdMissing),
        };
        // [MQTT-3.3.1-2]
        if self.dup && self.qos == QoS::AtMostOnce {
            return Err(Kind::DupAtQosZero.into());
        }
        check_name(self.topic)?;
        if self.topic.is_empty() {
            check_empty_topic(version, self.properties)?;
        }
        within_limit(
            field_len(self.topic.as_bytes())?
                + packet_id_len
                + self.properties.written_len(version, Place::Publish)?
                + self.payload.len(),
        )
    }

    #[inline]
    fn put_head(&self, version: Version, remaining: u32, out: &mut Vec<u8>) {
        out.push(
            (PacketType::Publish as u8) << 4
                | u8::from(self.dup) << 3
                | (self.qos as u8) << 1
                | u8::from(self.retain),
        );
        put_variable_integer(out, remaining);
        put_binary(out, self.topic.as_bytes());
        if let Some(packet_id) = self.packet_id {
            put_u16(out, packet_id.get());
        }
        self.properties.put(version, out);
    }
}

impl Ack<'_> {
    /// Appends the packet to `out`, or leaves `out` as it is.
    ///
    /// Before MQTT 5 a PUBACK or PUBREC can only say yes: an error code is refused, since leaving
    /// it out would acknowledge what was not taken. The code of PUBREL and PUBCOMP is left out.
    #[inline]
    pub fn encode(
        &self,
        kind: AckKind,
        version: Version,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let remaining = within_limit(self.remaining_len(kind, version)?)?;
        put_header(out, kind.packet_type(), remaining);
        put_u16(out, self.packet_id.get());
        if remaining > 2 {
            out.push(self.code as u8);
        }
        if remaining > 3 {
            self.properties.put(version, out);
        }
        Ok(())
    }

    /// Size of the whole packet in bytes; fails where [`encode`](Self::encode) fails.
    pub fn encoded_len(&self, kind: AckKind, version: Version) -> Result<usize, EncodeError> {
        Ok(whole_len(within_limit(self.remaining_len(kind, version)?)?))
    }

    fn remaining_len(&self, kind: AckKind, version: Version) -> Result<usize, EncodeError> {
        check_code(self.code, kind.packet_type())?;
        if version != Version::V5 {
            let refusal = matches!(kind, AckKind::PubAck | AckKind::PubRec) && self.code.is_error();
            return match refusal {
                false => Ok(2),
                true => Err(EncodeError::NotInVersion {
                    packet: kind.packet_type(),
                    version,
                    what: "an error code",
                }),
            };
        }
        Ok(2 + code_and_properties_len(self.code, self.properties, Place::Ack)?)
    }
}

/// Both are left out when they say nothing (sections 3.4.2.1 and 3.14.2.1).
fn code_and_properties_len(
    code: ReasonCode,
    properties: Properties<'_>,
    place: Place,
) -> Result<usize, EncodeError> {
    match (code, properties.is_empty()) {
        (ReasonCode::Success, true) => Ok(0),
        (_, true) => Ok(1),
        (_, false) => Ok(1 + properties.written_len(Version::V5, place)?),
    }
}

impl ConnAck<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        check_code(self.code, PacketType::ConnAck)?;
        // [MQTT-3.2.2-6] (3.1.1: [MQTT-3.2.2-4])
        if self.session_present && self.code != ReasonCode::Success {
            return Err(Kind::SessionPresentWithError.into());
        }
        if version != Version::V5 && self.code.connect_return_code().is_none() {
            return Err(EncodeError::NotInVersion {
                packet: PacketType::ConnAck,
                version,
                what: "this reason code",
            });
        }
        Ok(2 + self.properties.written_len(version, Place::ConnAck)?)
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        out.push(u8::from(self.session_present && version != Version::V31));
        out.push(match version {
            Version::V5 => self.code as u8,
            // `remaining_len` let only codes pass that have one.
            _ => self.code.connect_return_code().unwrap_or(3),
        });
        self.properties.put(version, out);
    }
}

impl Subscribe<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        // [MQTT-3.8.3-2]
        if self.filters.is_empty() {
            return Err(Kind::NoTopicFilters.into());
        }
        let plain = |options: SubscribeOptions| options.to_u8() & !0b11 == 0;
        if version != Version::V5 && !self.filters.iter().all(|(_, options)| plain(options)) {
            return Err(EncodeError::NotInVersion {
                packet: PacketType::Subscribe,
                version,
                what: "no local, retain as published or retain handling",
            });
        }
        Ok(2 + self.properties.written_len(version, Place::Subscribe)?
            + self.filters.as_bytes().len())
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        self.properties.put(version, out);
        out.extend_from_slice(self.filters.as_bytes());
    }
}

impl SubAck<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        check_codes(self.codes, PacketType::SubAck, Version::V5)?;
        Ok(2 + self.properties.written_len(version, Place::SubAck)? + self.codes.len())
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        self.properties.put(version, out);
        match version {
            Version::V5 => out.extend_from_slice(self.codes),
            // Before MQTT 5 there is one failure (section 3.9.3 of 3.1.1).
            _ => out.extend(self.codes.iter().map(|code| (*code).min(0x80))),
        }
    }
}

impl Unsubscribe<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        // [MQTT-3.10.3-2]
        if self.filters.is_empty() {
            return Err(Kind::NoTopicFilters.into());
        }
        Ok(
            2 + self.properties.written_len(version, Place::Unsubscribe)?
                + self.filters.as_bytes().len(),
        )
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        self.properties.put(version, out);
        out.extend_from_slice(self.filters.as_bytes());
    }
}

impl UnsubAck<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        if version != Version::V5 {
            return Ok(2);
        }
        check_codes(self.codes, PacketType::UnsubAck, version)?;
        Ok(2 + self.properties.written_len(version, Place::UnsubAck)? + self.codes.len())
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        if version == Version::V5 {
            self.properties.put(version, out);
            out.extend_from_slice(self.codes);
        }
    }
}

impl Disconnect<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        check_code(self.code, PacketType::Disconnect)?;
        if version == Version::V5 {
            return code_and_properties_len(self.code, self.properties, Place::Disconnect);
        }
        match self.code {
            ReasonCode::Success => Ok(0),
            _ => Err(EncodeError::NotInVersion {
                packet: PacketType::Disconnect,
                version,
                what: "a reason code",
            }),
        }
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        let told = self.code != ReasonCode::Success || !self.properties.is_empty();
        if version == Version::V5 && told {
            out.push(self.code as u8);
            if !self.properties.is_empty() {
                self.properties.put(version, out);
            }
        }
    }
}

impl Auth<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        if version != Version::V5 {
            return Err(EncodeError::NotInVersion {
                packet: PacketType::Auth,
                version,
                what: "enhanced authentication",
            });
        }
        check_code(self.code, PacketType::Auth)?;
        match (self.code, self.properties.is_empty()) {
            // Section 3.15.2.1.
            (ReasonCode::Success, true) => Ok(0),
            (_, true) => Err(Kind::AuthenticationMethodMissing.into()),
            _ => Ok(1 + self.properties.written_len(version, Place::Auth)?),
        }
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        if !self.properties.is_empty() {
            out.push(self.code as u8);
            self.properties.put(version, out);
        }
    }
}
