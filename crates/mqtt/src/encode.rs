//! Packets to bytes. Refuses what a receiver would have to refuse.

use alloc::vec::Vec;

use crate::decode::{check_codes, check_empty_topic};
use crate::error::{DecodeErrorKind as Kind, EncodeError};
use crate::limits::{MAX_FIELD, MAX_FIXED_HEADER, MAX_REMAINING_LENGTH};
use crate::packet::{
    Ack, AckKind, Auth, ConnAck, Connect, Disconnect, Packet, PacketType, Publish, QoS, SubAck,
    Subscribe, SubscribeFilters, SubscribeOptions, UnsubAck, Unsubscribe, UnsubscribeFilters,
    Version, Will,
};
use crate::properties::{Place, Properties};
use crate::reason::ReasonCode;
use crate::topic::{TopicFilter, check_name};

#[inline]
pub(crate) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// At most 268,435,455, which the caller has made sure of.
#[inline]
pub(crate) fn put_variable_integer(out: &mut Vec<u8>, value: u32) {
    match value {
        0..=0x7F => out.push(value as u8),
        0x80..=0x3FFF => out.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]),
        _ => put_long_variable_integer(out, value),
    }
}

fn put_long_variable_integer(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// At most 65,535 bytes, which the caller has made sure of.
#[inline]
pub(crate) fn put_binary(out: &mut Vec<u8>, data: &[u8]) {
    put_u16(out, data.len() as u16);
    out.extend_from_slice(data);
}

#[inline]
fn put_properties(out: &mut Vec<u8>, properties: Properties<'_>, version: Version) {
    if version == Version::V5 {
        put_variable_integer(out, properties.as_bytes().len() as u32);
        out.extend_from_slice(properties.as_bytes());
    }
}

/// Bytes of a field with its length in front.
#[inline]
pub(crate) fn field_len(data: &[u8]) -> Result<usize, EncodeError> {
    if data.len() > MAX_FIELD {
        return Err(EncodeError::FieldTooLong { len: data.len() });
    }
    Ok(2 + data.len())
}

/// Bytes of a string with its length in front; no U+0000 [MQTT-1.5.4-2].
pub(crate) fn text_len(text: &str) -> Result<usize, EncodeError> {
    if text.as_bytes().contains(&0) {
        return Err(Kind::NullCharacter.into());
    }
    field_len(text.as_bytes())
}

/// Bytes of the properties with their length in front; none before MQTT 5, where they are left
/// out, as a message of MQTT 5 loses them on its way to an older client.
#[inline]
fn properties_len(
    properties: Properties<'_>,
    version: Version,
    place: Place,
) -> Result<usize, EncodeError> {
    if version != Version::V5 {
        return Ok(0);
    }
    if properties.is_empty() {
        return Ok(1);
    }
    properties.check(place)?;
    let len = properties.as_bytes().len();
    Ok(variable_integer_len(within_limit(len)?) + len)
}

const fn variable_integer_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

#[inline]
fn within_limit(len: usize) -> Result<u32, EncodeError> {
    match u32::try_from(len) {
        Ok(value) if value <= MAX_REMAINING_LENGTH => Ok(value),
        _ => Err(EncodeError::PacketTooLarge { len }),
    }
}

/// Bytes of the whole packet by its remaining length.
fn whole_len(remaining: u32) -> usize {
    1 + variable_integer_len(remaining) + remaining as usize
}

/// Writes the fixed header and makes room for the whole packet.
fn put_header(out: &mut Vec<u8>, first: u8, remaining: u32) {
    out.reserve(MAX_FIXED_HEADER + remaining as usize);
    out.push(first);
    put_variable_integer(out, remaining);
}

fn first_byte(packet_type: PacketType) -> u8 {
    (packet_type as u8) << 4 | packet_type.flags()
}

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
                put_header(out, first_byte($packet_type), remaining);
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
                put_header(out, first_byte(PacketType::PingReq), 0);
                Ok(())
            }
            Packet::PingResp => {
                put_header(out, first_byte(PacketType::PingResp), 0);
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
                + properties_len(self.properties, version, Place::Publish)?
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
        put_properties(out, self.properties, version);
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
        put_header(out, first_byte(kind.packet_type()), remaining);
        put_u16(out, self.packet_id.get());
        if remaining > 2 {
            out.push(self.code as u8);
        }
        if remaining > 3 {
            put_properties(out, self.properties, version);
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
        (_, false) => Ok(1 + properties_len(properties, Version::V5, place)?),
    }
}

impl Connect<'_> {
    /// Appends the packet to `out` in its own version, or leaves `out` as it is.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let remaining = within_limit(self.remaining_len()?)?;
        put_header(out, first_byte(PacketType::Connect), remaining);
        self.put(out);
        Ok(())
    }

    /// Size of the whole packet in bytes; fails where [`encode`](Self::encode) fails.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        Ok(whole_len(within_limit(self.remaining_len()?)?))
    }

    fn remaining_len(&self) -> Result<usize, EncodeError> {
        let version = self.version;
        if version == Version::V5 && self.bridge {
            return Err(EncodeError::NotInVersion {
                packet: PacketType::Connect,
                version,
                what: "the bridge bit",
            });
        }
        // [MQTT-3.1.2-22] of 3.1.1
        if version != Version::V5 && self.password.is_some() && self.username.is_none() {
            return Err(Kind::PasswordWithoutUsername.into());
        }
        // Name and its length, level, flags, keep alive.
        let mut len = 2 + protocol_name(version).len() + 4;
        len += properties_len(self.properties, version, Place::Connect)?;
        len += text_len(self.client_id)?;
        if let Some(will) = &self.will {
            len += will.len(version)?;
        }
        if let Some(username) = self.username {
            len += text_len(username)?;
        }
        if let Some(password) = self.password {
            len += field_len(password)?;
        }
        Ok(len)
    }

    fn put(&self, out: &mut Vec<u8>) {
        let version = self.version;
        put_binary(out, protocol_name(version));
        out.push(version as u8 | u8::from(self.bridge) << 7);
        out.push(self.flags());
        put_u16(out, self.keep_alive);
        put_properties(out, self.properties, version);
        put_binary(out, self.client_id.as_bytes());
        if let Some(will) = &self.will {
            put_properties(out, will.properties, version);
            put_binary(out, will.topic.as_bytes());
            put_binary(out, will.payload);
        }
        if let Some(username) = self.username {
            put_binary(out, username.as_bytes());
        }
        if let Some(password) = self.password {
            put_binary(out, password);
        }
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| {
            0b100 | (will.qos as u8) << 3 | u8::from(will.retain) << 5
        });
        u8::from(self.clean_start) << 1
            | will
            | u8::from(self.password.is_some()) << 6
            | u8::from(self.username.is_some()) << 7
    }
}

const fn protocol_name(version: Version) -> &'static [u8] {
    match version {
        Version::V31 => b"MQIsdp",
        Version::V311 | Version::V5 => b"MQTT",
    }
}

impl Will<'_> {
    fn len(&self, version: Version) -> Result<usize, EncodeError> {
        if self.topic.is_empty() {
            return Err(Kind::EmptyTopicName.into());
        }
        check_name(self.topic)?;
        Ok(properties_len(self.properties, version, Place::Will)?
            + field_len(self.topic.as_bytes())?
            + field_len(self.payload)?)
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
        Ok(2 + properties_len(self.properties, version, Place::ConnAck)?)
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        out.push(u8::from(self.session_present && version != Version::V31));
        out.push(match version {
            Version::V5 => self.code as u8,
            // `remaining_len` let only codes pass that have one.
            _ => self.code.connect_return_code().unwrap_or(3),
        });
        put_properties(out, self.properties, version);
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
        Ok(
            2 + properties_len(self.properties, version, Place::Subscribe)?
                + self.filters.bytes.len(),
        )
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        put_properties(out, self.properties, version);
        out.extend_from_slice(self.filters.bytes);
    }
}

impl SubAck<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        check_codes(self.codes, PacketType::SubAck, Version::V5)?;
        Ok(2 + properties_len(self.properties, version, Place::SubAck)? + self.codes.len())
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        put_properties(out, self.properties, version);
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
            2 + properties_len(self.properties, version, Place::Unsubscribe)?
                + self.filters.bytes.len(),
        )
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        put_properties(out, self.properties, version);
        out.extend_from_slice(self.filters.bytes);
    }
}

impl UnsubAck<'_> {
    fn remaining_len(&self, version: Version) -> Result<usize, EncodeError> {
        if version != Version::V5 {
            return Ok(2);
        }
        check_codes(self.codes, PacketType::UnsubAck, version)?;
        Ok(2 + properties_len(self.properties, version, Place::UnsubAck)? + self.codes.len())
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        put_u16(out, self.packet_id.get());
        if version == Version::V5 {
            put_properties(out, self.properties, version);
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
                put_properties(out, self.properties, version);
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
            _ => Ok(1 + properties_len(self.properties, version, Place::Auth)?),
        }
    }

    fn put(&self, version: Version, out: &mut Vec<u8>) {
        if !self.properties.is_empty() {
            out.push(self.code as u8);
            put_properties(out, self.properties, version);
        }
    }
}

/// Builds the filters of a SUBSCRIBE. Reusable: [`clear`](Self::clear) keeps the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeBuf {
    bytes: Vec<u8>,
}

impl SubscribeBuf {
    /// No filters, no memory.
    pub const fn new() -> SubscribeBuf {
        SubscribeBuf { bytes: Vec::new() }
    }

    /// Removes all filters.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends a filter; refuses what is none, and no local on a shared one [MQTT-3.8.3-4].
    pub fn push(&mut self, filter: &str, options: SubscribeOptions) -> Result<(), EncodeError> {
        let filter = TopicFilter::new(filter)?;
        if options.no_local && filter.share_group().is_some() {
            return Err(Kind::NoLocalOnShared.into());
        }
        put_binary(&mut self.bytes, filter.as_str().as_bytes());
        self.bytes.push(options.to_u8());
        Ok(())
    }

    /// The filters, for a [`Subscribe`].
    pub fn as_filters(&self) -> SubscribeFilters<'_> {
        SubscribeFilters { bytes: &self.bytes }
    }
}

/// Builds the filters of an UNSUBSCRIBE. Reusable: [`clear`](Self::clear) keeps the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsubscribeBuf {
    bytes: Vec<u8>,
}

impl UnsubscribeBuf {
    /// No filters, no memory.
    pub const fn new() -> UnsubscribeBuf {
        UnsubscribeBuf { bytes: Vec::new() }
    }

    /// Removes all filters.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends a filter; refuses what is none.
    pub fn push(&mut self, filter: &str) -> Result<(), EncodeError> {
        let filter = TopicFilter::new(filter)?;
        put_binary(&mut self.bytes, filter.as_str().as_bytes());
        Ok(())
    }

    /// The filters, for an [`Unsubscribe`].
    pub fn as_filters(&self) -> UnsubscribeFilters<'_> {
        UnsubscribeFilters { bytes: &self.bytes }
    }
}
