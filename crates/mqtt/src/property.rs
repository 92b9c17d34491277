//! One property of MQTT 5 (section 2.2.2.2): its value, where it may stand, how it is read.

use crate::error::{DecodeErrorKind as Kind, Fault};
use crate::read::Reader;
use crate::topic::check_name;

/// One property, named as in section 2.2.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// 0x01, PUBLISH and will: whether the payload is UTF-8 text.
    PayloadFormatIndicator(bool),
    /// 0x02, PUBLISH and will: lifetime of the message in seconds.
    MessageExpiryInterval(u32),
    /// 0x03, PUBLISH and will: what the payload is, by agreement of the applications.
    ContentType(&'a str),
    /// 0x08, PUBLISH and will: topic name for the answer.
    ResponseTopic(&'a str),
    /// 0x09, PUBLISH and will: which request an answer belongs to.
    CorrelationData(&'a [u8]),
    /// 0x0B, SUBSCRIBE and PUBLISH: 1 to 268,435,455. Several times only in PUBLISH.
    SubscriptionIdentifier(u32),
    /// 0x11, CONNECT, CONNACK, DISCONNECT: seconds that the session outlives the connection;
    /// 0xFFFF_FFFF means for ever.
    SessionExpiryInterval(u32),
    /// 0x12, CONNACK: the client identifier that the server chose.
    AssignedClientIdentifier(&'a str),
    /// 0x13, CONNACK: keep alive that the client must use, in seconds.
    ServerKeepAlive(u16),
    /// 0x15, CONNECT, CONNACK, AUTH: name of the method.
    AuthenticationMethod(&'a str),
    /// 0x16, CONNECT, CONNACK, AUTH: data of the method.
    AuthenticationData(&'a [u8]),
    /// 0x17, CONNECT: whether reason strings and user properties are welcome. Default true.
    RequestProblemInformation(bool),
    /// 0x18, will: seconds between the loss of the client and its will. Default 0.
    WillDelayInterval(u32),
    /// 0x19, CONNECT: whether response information is wanted. Default false.
    RequestResponseInformation(bool),
    /// 0x1A, CONNACK: basis for response topics.
    ResponseInformation(&'a str),
    /// 0x1C, CONNACK, DISCONNECT: another server to use.
    ServerReference(&'a str),
    /// 0x1F, every answer: for people, not for programs.
    ReasonString(&'a str),
    /// 0x21, CONNECT, CONNACK: unacknowledged QoS 1 and 2 messages taken at once, 1 to 65,535.
    /// Default 65,535.
    ReceiveMaximum(u16),
    /// 0x22, CONNECT, CONNACK: highest topic alias taken. Default 0.
    TopicAliasMaximum(u16),
    /// 0x23, PUBLISH: 1 to 65,535.
    TopicAlias(u16),
    /// 0x24, CONNACK: 0 or 1; a server without it takes QoS 2.
    MaximumQoS(u8),
    /// 0x25, CONNACK: default true.
    RetainAvailable(bool),
    /// 0x26, everywhere but in PINGREQ and PINGRESP, any number of times: name and value.
    UserProperty(&'a str, &'a str),
    /// 0x27, CONNECT, CONNACK: largest packet taken, in bytes, at least 1. Default: no limit.
    MaximumPacketSize(u32),
    /// 0x28, CONNACK: default true.
    WildcardSubscriptionAvailable(bool),
    /// 0x29, CONNACK: default true.
    SubscriptionIdentifierAvailable(bool),
    /// 0x2A, CONNACK: default true.
    SharedSubscriptionAvailable(bool),
}

impl Property<'_> {
    /// The identifier on the wire.
    pub const fn id(&self) -> u8 {
        match self {
            Property::PayloadFormatIndicator(_) => 0x01,
            Property::MessageExpiryInterval(_) => 0x02,
            Property::ContentType(_) => 0x03,
            Property::ResponseTopic(_) => 0x08,
            Property::CorrelationData(_) => 0x09,
            Property::SubscriptionIdentifier(_) => 0x0B,
            Property::SessionExpiryInterval(_) => 0x11,
            Property::AssignedClientIdentifier(_) => 0x12,
            Property::ServerKeepAlive(_) => 0x13,
            Property::AuthenticationMethod(_) => 0x15,
            Property::AuthenticationData(_) => 0x16,
            Property::RequestProblemInformation(_) => 0x17,
            Property::WillDelayInterval(_) => 0x18,
            Property::RequestResponseInformation(_) => 0x19,
            Property::ResponseInformation(_) => 0x1A,
            Property::ServerReference(_) => 0x1C,
            Property::ReasonString(_) => 0x1F,
            Property::ReceiveMaximum(_) => 0x21,
            Property::TopicAliasMaximum(_) => 0x22,
            Property::TopicAlias(_) => 0x23,
            Property::MaximumQoS(_) => 0x24,
            Property::RetainAvailable(_) => 0x25,
            Property::UserProperty(..) => 0x26,
            Property::MaximumPacketSize(_) => 0x27,
            Property::WildcardSubscriptionAvailable(_) => 0x28,
            Property::SubscriptionIdentifierAvailable(_) => 0x29,
            Property::SharedSubscriptionAvailable(_) => 0x2A,
        }
    }
}

impl<'a> Property<'a> {
    /// Identifier and value, by the rules of their form alone.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Property<'a>, Fault> {
        let id = reader.u8()?;
        Ok(match id {
            0x01 => Property::PayloadFormatIndicator(flag(reader, id)?),
            0x02 => Property::MessageExpiryInterval(reader.u32()?),
            0x03 => Property::ContentType(reader.string()?),
            0x08 => Property::ResponseTopic(reader.string()?),
            0x09 => Property::CorrelationData(reader.binary()?),
            0x0B => Property::SubscriptionIdentifier(reader.variable_integer()?),
            0x11 => Property::SessionExpiryInterval(reader.u32()?),
            0x12 => Property::AssignedClientIdentifier(reader.string()?),
            0x13 => Property::ServerKeepAlive(reader.u16()?),
            0x15 => Property::AuthenticationMethod(reader.string()?),
            0x16 => Property::AuthenticationData(reader.binary()?),
            0x17 => Property::RequestProblemInformation(flag(reader, id)?),
            0x18 => Property::WillDelayInterval(reader.u32()?),
            0x19 => Property::RequestResponseInformation(flag(reader, id)?),
            0x1A => Property::ResponseInformation(reader.string()?),
            0x1C => Property::ServerReference(reader.string()?),
            0x1F => Property::ReasonString(reader.string()?),
            0x21 => Property::ReceiveMaximum(reader.u16()?),
            0x22 => Property::TopicAliasMaximum(reader.u16()?),
            0x23 => Property::TopicAlias(reader.u16()?),
            0x24 => Property::MaximumQoS(reader.u8()?),
            0x25 => Property::RetainAvailable(flag(reader, id)?),
            USER_PROPERTY => Property::UserProperty(reader.string()?, reader.string()?),
            0x27 => Property::MaximumPacketSize(reader.u32()?),
            0x28 => Property::WildcardSubscriptionAvailable(flag(reader, id)?),
            0x29 => Property::SubscriptionIdentifierAvailable(flag(reader, id)?),
            0x2A => Property::SharedSubscriptionAvailable(flag(reader, id)?),
            _ => return Err(Kind::UnknownProperty.found(id)),
        })
    }

    /// The rules that a single value can break.
    pub(crate) fn check(self) -> Result<(), Fault> {
        match self {
            Property::ReceiveMaximum(0) => Err(Kind::ReceiveMaximumZero.into()),
            Property::MaximumPacketSize(0) => Err(Kind::MaximumPacketSizeZero.into()),
            Property::SubscriptionIdentifier(0) => Err(Kind::SubscriptionIdentifierZero.into()),
            // [MQTT-3.3.2-8]
            Property::TopicAlias(0) => Err(Kind::TopicAliasZero.into()),
            // [MQTT-3.3.2-13], [MQTT-3.3.2-14]
            Property::ResponseTopic(topic) if topic.is_empty() || check_name(topic).is_err() => {
                Err(Kind::InvalidResponseTopic.into())
            }
            Property::MaximumQoS(value) if value > 1 => Err(Kind::FlagPropertyValue.found(0x24)),
            _ => Ok(()),
        }
    }
}

/// A byte that means yes or no: anything but 0 and 1 is a protocol error.
fn flag(reader: &mut Reader<'_>, id: u8) -> Result<bool, Fault> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Kind::FlagPropertyValue.found(id)),
    }
}

/// Where properties stand. The will's are a place of their own inside CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Place {
    Connect = 1,
    Will = 1 << 1,
    ConnAck = 1 << 2,
    Publish = 1 << 3,
    /// PUBACK, PUBREC, PUBREL and PUBCOMP allow the same.
    Ack = 1 << 4,
    Subscribe = 1 << 5,
    SubAck = 1 << 6,
    Unsubscribe = 1 << 7,
    UnsubAck = 1 << 8,
    Disconnect = 1 << 9,
    Auth = 1 << 10,
}

/// Table 2-4: in which places a property may stand, one bit each. 0: no such property.
pub(crate) const fn places(id: u8) -> u16 {
    const CONNECT: u16 = Place::Connect as u16;
    const WILL: u16 = Place::Will as u16;
    const CONNACK: u16 = Place::ConnAck as u16;
    const PUBLISH: u16 = Place::Publish as u16;
    const SUBSCRIBE: u16 = Place::Subscribe as u16;
    const DISCONNECT: u16 = Place::Disconnect as u16;
    const AUTH: u16 = Place::Auth as u16;
    const EVERYWHERE: u16 = (1 << 11) - 1;
    match id {
        0x01..=0x03 | 0x08 | 0x09 => PUBLISH | WILL,
        0x0B => PUBLISH | SUBSCRIBE,
        0x11 => CONNECT | CONNACK | DISCONNECT,
        0x15 | 0x16 => CONNECT | CONNACK | AUTH,
        0x12 | 0x13 | 0x1A | 0x24 | 0x25 | 0x28..=0x2A => CONNACK,
        0x17 | 0x19 => CONNECT,
        0x18 => WILL,
        0x1C => CONNACK | DISCONNECT,
        0x1F => EVERYWHERE & !(CONNECT | WILL | PUBLISH | SUBSCRIBE | Place::Unsubscribe as u16),
        0x21 | 0x22 | 0x27 => CONNECT | CONNACK,
        0x23 => PUBLISH,
        0x26 => EVERYWHERE,
        _ => 0,
    }
}

pub(crate) const USER_PROPERTY: u8 = 0x26;
pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
