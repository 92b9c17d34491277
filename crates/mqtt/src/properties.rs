//! The properties of one packet of MQTT 5 (section 2.2.2), read or built.

use alloc::vec::Vec;
use core::fmt;

use crate::error::{DecodeErrorKind as Kind, EncodeError, Fault};
use crate::limits::MAX_VARIABLE_INTEGER;
use crate::property::{Place, Property, SUBSCRIPTION_IDENTIFIER, USER_PROPERTY, places};
use crate::read::Reader;
use crate::wire::Version;
use crate::write::{
    field_len, put_binary, put_u16, put_u32, put_variable_integer, text_len, variable_integer_len,
    within_limit,
};

/// Properties of one packet: checked bytes, without the length in front of them. Reading one
/// walks over those before it; there are rarely more than three.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    bytes: &'a [u8],
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { bytes: &[] };

    /// Properties with their length in front; none before MQTT 5 [MQTT-2.2.2-1].
    #[inline]
    pub(crate) fn read(
        reader: &mut Reader<'a>,
        version: Version,
        place: Place,
    ) -> Result<Properties<'a>, Fault> {
        if version != Version::V5 {
            return Ok(Properties::EMPTY);
        }
        let len = reader.variable_integer()?;
        Properties::checked(reader.take(len as usize)?, place)
    }

    fn checked(bytes: &'a [u8], place: Place) -> Result<Properties<'a>, Fault> {
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
            Property::read(&mut reader).ok()
        })
    }

    /// Bytes of the properties with their length in front; none before MQTT 5, where they are left
    /// out, as a message of MQTT 5 loses them on its way to an older client.
    #[inline]
    pub(crate) fn written_len(&self, version: Version, place: Place) -> Result<usize, EncodeError> {
        if version != Version::V5 {
            return Ok(0);
        }
        if self.is_empty() {
            return Ok(1);
        }
        self.check(place)?;
        let len = self.bytes.len();
        Ok(variable_integer_len(within_limit(len)?) + len)
    }

    /// Writes what [`written_len`](Self::written_len) has checked and counted.
    #[inline]
    pub(crate) fn put(&self, version: Version, out: &mut Vec<u8>) {
        if version == Version::V5 {
            put_variable_integer(out, self.bytes.len() as u32);
            out.extend_from_slice(self.bytes);
        }
    }

    /// The rules of every property for `place`.
    fn check(&self, place: Place) -> Result<(), Fault> {
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
            Property::read(&mut reader)?.check()?;
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
        property.check()?;
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
                field_len(data)?;
                self.bytes.push(property.id());
                put_binary(&mut self.bytes, data);
            }
        }
        Ok(())
    }

    fn push_texts<const N: usize>(&mut self, id: u8, texts: [&str; N]) -> Result<(), EncodeError> {
        for text in texts {
            text_len(text)?;
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
