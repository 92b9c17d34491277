//! The properties of MQTT 5 (section 2.2.2).

use alloc::vec::Vec;
use core::fmt;

use crate::encode::{put_binary, put_u16, put_u32, put_variable_integer};
use crate::error::{DecodeErrorKind as Kind, EncodeError, Fault};
use crate::limits::MAX_VARIABLE_INTEGER;
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
const fn places(id: u8) -> u16 {
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

const USER_PROPERTY: u8 = 0x26;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;

/// Properties of one packet: checked bytes, without the length in front of them. Reading one
/// walks over those before it; there are rarely more than three.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { bytes: &[] };

    /// Checks the rules of every property for `place`.
    pub(crate) fn checked(bytes: &'a [u8], place: Place) -> Result<Properties<'a>, Fault> {
        let properties = Properties { bytes };
        if !bytes.is_empty() {
            properties.check(place)?;
        }
        Ok(properties)
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes as they stand in the packet, without the length in front.
    #[inline]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All properties in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || {
            if reader.is_empty() {
                return None;
            }
            read_property(&mut reader).ok()
        })
    }

    pub(crate) fn check(&self, place: Place) -> Result<(), Fault> {
        let mut reader = Reader::new(self.bytes);
        // One bit for each identifier that was seen; the highest is 0x2A.
        let mut seen = 0_u64;
        while !reader.is_empty() {
            let id = reader.clone().u8()?;
            let allowed = places(id);
            if allowed == 0 {
                return Err(Kind::UnknownProperty.found(id));
            }
            if allowed & place as u16 == 0 {
                return Err(Kind::PropertyNotAllowed.found(id));
            }
            // Only user properties, and the subscription identifiers of a message that several
            // subscriptions asked for, may repeat (sections 3.3.2.3.7 and 3.3.2.3.8).
            let repeatable =
                id == USER_PROPERTY || (id == SUBSCRIPTION_IDENTIFIER && place == Place::Publish);
            if seen & (1 << id) != 0 && !repeatable {
                return Err(Kind::DuplicateProperty.found(id));
            }
            seen |= 1 << id;
            check_value(read_property(&mut reader)?)?;
        }
        let (method, data) = (seen & (1 << 0x15) != 0, seen & (1 << 0x16) != 0);
        if place == Place::Auth && !method {
            return Err(Kind::AuthenticationMethodMissing.into());
        }
        if data && !method {
            return Err(Kind::AuthenticationDataWithoutMethod.into());
        }
        Ok(())
    }
}

/// The rules that a single value can break.
fn check_value(property: Property<'_>) -> Result<(), Fault> {
    match property {
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

fn read_property<'a>(reader: &mut Reader<'a>) -> Result<Property<'a>, Fault> {
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

/// A byte that means yes or no: anything but 0 and 1 is a protocol error.
fn flag(reader: &mut Reader<'_>, id: u8) -> Result<bool, Fault> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Kind::FlagPropertyValue.found(id)),
    }
}

macro_rules! getters {
    ($( $(#[$doc:meta])* $getter:ident: $variant:ident -> $type:ty; )*) => {
        impl<'a> Properties<'a> {
            $(
                $(#[$doc])*
                pub fn $getter(&self) -> Option<$type> {
                    if self.bytes.is_empty() {
                        return None;
                    }
                    self.iter().find_map(|property| match property {
                        Property::$variant(value) => Some(value),
                        _ => None,
                    })
                }
            )*
        }
    };
}

getters! {
    /// Whether the payload says that it is UTF-8 text.
    payload_format: PayloadFormatIndicator -> bool;
    /// Lifetime of the message, in seconds.
    message_expiry: MessageExpiryInterval -> u32;
    /// What the payload is.
    content_type: ContentType -> &'a str;
    /// Topic name for the answer.
    response_topic: ResponseTopic -> &'a str;
    /// Which request an answer belongs to.
    correlation_data: CorrelationData -> &'a [u8];
    /// The first subscription identifier: the only one in SUBSCRIBE.
    subscription_identifier: SubscriptionIdentifier -> u32;
    /// Seconds that the session outlives the connection; 0xFFFF_FFFF means for ever.
    session_expiry: SessionExpiryInterval -> u32;
    /// The client identifier that the server chose.
    assigned_client_id: AssignedClientIdentifier -> &'a str;
    /// Keep alive that the client must use, in seconds.
    server_keep_alive: ServerKeepAlive -> u16;
    /// Name of the authentication method.
    authentication_method: AuthenticationMethod -> &'a str;
    /// Data of the authentication method.
    authentication_data: AuthenticationData -> &'a [u8];
    /// Whether reason strings and user properties are welcome. Without it: true.
    request_problem_information: RequestProblemInformation -> bool;
    /// Seconds between the loss of the client and its will. Without it: 0.
    will_delay: WillDelayInterval -> u32;
    /// Whether response information is wanted. Without it: false.
    request_response_information: RequestResponseInformation -> bool;
    /// Basis for response topics.
    response_information: ResponseInformation -> &'a str;
    /// Another server to use.
    server_reference: ServerReference -> &'a str;
    /// What went wrong, for people.
    reason_string: ReasonString -> &'a str;
    /// Unacknowledged QoS 1 and 2 messages taken at once, never 0. Without it: 65,535.
    receive_maximum: ReceiveMaximum -> u16;
    /// Highest topic alias taken. Without it: 0.
    topic_alias_maximum: TopicAliasMaximum -> u16;
    /// The alias of this message's topic name, never 0.
    topic_alias: TopicAlias -> u16;
    /// 0 or 1. Without it the server takes QoS 2.
    maximum_qos: MaximumQoS -> u8;
    /// Whether the server keeps retained messages. Without it: true.
    retain_available: RetainAvailable -> bool;
    /// Largest packet taken, in bytes, never 0. Without it: no limit.
    maximum_packet_size: MaximumPacketSize -> u32;
    /// Whether filters may have wildcards. Without it: true.
    wildcard_subscription_available: WildcardSubscriptionAvailable -> bool;
    /// Whether subscriptions may have identifiers. Without it: true.
    subscription_identifiers_available: SubscriptionIdentifierAvailable -> bool;
    /// Whether subscriptions may be shared. Without it: true.
    shared_subscription_available: SharedSubscriptionAvailable -> bool;
}

impl<'a> Properties<'a> {
    /// The subscription identifiers of a message, in the order of the packet.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// Name and value of the user properties, in the order of the packet.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(name, value) => Some((name, value)),
            _ => None,
        })
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Properties to be sent. Reusable: [`clear`](Self::clear) keeps the memory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PropertiesBuf {
    bytes: Vec<u8>,
}

impl PropertiesBuf {
    /// No properties, no memory.
    pub const fn new() -> PropertiesBuf {
        PropertiesBuf { bytes: Vec::new() }
    }

    /// Removes all properties.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends a property.
    ///
    /// Refuses a text or binary value above 65,535 bytes, U+0000, a subscription identifier above
    /// 268,435,455 and the zeros and flags that no packet may carry. Whether the property may
    /// stand in the packet, and only once, is judged by that packet's `encode`.
    pub fn push(&mut self, property: Property<'_>) -> Result<(), EncodeError> {
        check_value(property)?;
        match property {
            Property::PayloadFormatIndicator(value)
            | Property::RequestProblemInformation(value)
            | Property::RequestResponseInformation(value)
            | Property::RetainAvailable(value)
            | Property::WildcardSubscriptionAvailable(value)
            | Property::SubscriptionIdentifierAvailable(value)
            | Property::SharedSubscriptionAvailable(value) => {
                self.bytes.extend([property.id(), u8::from(value)]);
            }
            Property::MaximumQoS(value) => self.bytes.extend([property.id(), value]),
            Property::ServerKeepAlive(value)
            | Property::ReceiveMaximum(value)
            | Property::TopicAliasMaximum(value)
            | Property::TopicAlias(value) => {
                self.bytes.push(property.id());
                put_u16(&mut self.bytes, value);
            }
            Property::MessageExpiryInterval(value)
            | Property::SessionExpiryInterval(value)
            | Property::WillDelayInterval(value)
            | Property::MaximumPacketSize(value) => {
                self.bytes.push(property.id());
                put_u32(&mut self.bytes, value);
            }
            Property::SubscriptionIdentifier(value) => {
                if value > MAX_VARIABLE_INTEGER {
                    return Err(EncodeError::IntegerTooLarge { value });
                }
                self.bytes.push(property.id());
                put_variable_integer(&mut self.bytes, value);
            }
            Property::ContentType(text)
            | Property::ResponseTopic(text)
            | Property::AssignedClientIdentifier(text)
            | Property::AuthenticationMethod(text)
            | Property::ResponseInformation(text)
            | Property::ServerReference(text)
            | Property::ReasonString(text) => self.push_texts(property.id(), [text])?,
            Property::UserProperty(name, value) => {
                self.push_texts(property.id(), [name, value])?;
            }
            Property::CorrelationData(data) | Property::AuthenticationData(data) => {
                crate::encode::field_len(data)?;
                self.bytes.push(property.id());
                put_binary(&mut self.bytes, data);
            }
        }
        Ok(())
    }

    fn push_texts<const N: usize>(&mut self, id: u8, texts: [&str; N]) -> Result<(), EncodeError> {
        for text in texts {
            crate::encode::text_len(text)?;
        }
        self.bytes.push(id);
        for text in texts {
            put_binary(&mut self.bytes, text.as_bytes());
        }
        Ok(())
    }

    /// Appends all of `properties` as they are.
    pub fn push_raw(&mut self, properties: Properties<'_>) {
        self.bytes.extend_from_slice(properties.bytes);
    }

    /// The properties, for a packet.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { bytes: &self.bytes }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for PropertiesBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_properties().fmt(f)
    }
}
