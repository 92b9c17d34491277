//! Every rule, broken once for each version that has it: the exact kind and the answer.

use std::collections::HashSet;

use safeport_mqtt::{
    Ack, AckKind, Auth, ConnAck, Connect, DecodeError, DecodeErrorKind as Kind, Decoded,
    Disconnect, EncodeError, Packet, PacketId, PacketType, Properties, PropertiesBuf, Property,
    Publish, QoS, ReasonCode, SubAck, Subscribe, SubscribeBuf, SubscribeOptions, TopicError,
    UnsubAck, Unsubscribe, UnsubscribeBuf, Version, Will, decode, limits,
};

use Version::{V5, V31, V311};

fn refusal(version: Version, bytes: &[u8]) -> DecodeError {
    decode(bytes, version, limits::MAX_PACKET).expect_err("a broken packet")
}

/// Puts a fixed header in front.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "a short body");
    let mut bytes = vec![first, body.len() as u8];
    bytes.extend(body);
    bytes
}

/// CONNECT up to the client identifier, of 3.1.1.
fn connect3(flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = b"\x00\x04MQTT\x04".to_vec();
    body.extend([flags, 0, 30]);
    body.extend(rest);
    packet(0x10, &body)
}

/// The same of MQTT 5, properties in `rest`.
fn connect5(flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = connect3(flags, rest);
    bytes[8] = 5;
    bytes
}

/// CONNECT of MQTT 5 with these properties.
fn connect_with(properties: &[u8]) -> Vec<u8> {
    let mut rest = vec![properties.len() as u8];
    rest.extend(properties);
    rest.extend([0, 0]);
    connect5(2, &rest)
}

/// PUBLISH of MQTT 5 to `t` with these properties.
fn publish_with(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1, b't', properties.len() as u8];
    body.extend(properties);
    packet(0x30, &body)
}

/// CONNACK of MQTT 5 with these properties.
fn connack_with(properties: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, properties.len() as u8];
    body.extend(properties);
    packet(0x20, &body)
}

/// SUBSCRIBE of 3.1.1 to one filter.
fn subscribe3(filter: &[u8], options: u8) -> Vec<u8> {
    let mut body = vec![0, 1, 0, filter.len() as u8];
    body.extend(filter);
    body.push(options);
    packet(0x82, &body)
}

/// SUBSCRIBE of MQTT 5 to one filter.
fn subscribe5(filter: &[u8], options: u8) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 0, filter.len() as u8];
    body.extend(filter);
    body.push(options);
    packet(0x82, &body)
}

fn deep(levels: usize) -> String {
    vec!["a"; levels].join("/")
}

/// A long PUBLISH of 3.1.1.
fn publish_to(topic: &str) -> Vec<u8> {
    let len = topic.len() + 2;
    let mut bytes = vec![0x30, len as u8 | 0x80, (len >> 7) as u8];
    bytes.extend([(topic.len() >> 8) as u8, topic.len() as u8]);
    bytes.extend(topic.as_bytes());
    bytes
}

/// Each broken packet, the version of its connection, and what must be said about it.
fn broken() -> Vec<(Version, Vec<u8>, Kind, ReasonCode)> {
    use ReasonCode::{
        MalformedPacket as Malformed, PacketTooLarge, ProtocolError as Protocol, TopicAliasInvalid,
        TopicFilterInvalid, TopicNameInvalid, UnsupportedProtocolVersion,
    };
    let mut list = vec![
        // Types and flags.
        (V311, packet(0x00, b""), Kind::ReservedPacketType, Malformed),
        (V5, packet(0x00, b""), Kind::ReservedPacketType, Malformed),
        (V311, packet(0xF0, b""), Kind::ReservedPacketType, Malformed),
        (V31, packet(0xF0, b""), Kind::ReservedPacketType, Malformed),
        // Lengths.
        (
            V311,
            vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01],
            Kind::VariableIntegerTooLong,
            Malformed,
        ),
        (
            V5,
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF],
            Kind::VariableIntegerTooLong,
            Malformed,
        ),
        (
            V5,
            publish_with(&[0x0B, 0xFF, 0xFF, 0xFF, 0xFF]),
            Kind::VariableIntegerTooLong,
            Malformed,
        ),
        (
            V5,
            vec![0xC0, 0x80, 0x00],
            Kind::VariableIntegerNotMinimal,
            Malformed,
        ),
        (
            V5,
            vec![0xC0, 0x80, 0x80, 0x00],
            Kind::VariableIntegerNotMinimal,
            Malformed,
        ),
        (
            V5,
            publish_with(&[0x0B, 0x81, 0x00]),
            Kind::VariableIntegerNotMinimal,
            Malformed,
        ),
        (
            V5,
            packet(0x30, b"\x00\x01t\x80\x00"),
            Kind::VariableIntegerNotMinimal,
            Malformed,
        ),
        (
            V5,
            {
                let mut bytes = connect_with(b"");
                bytes[1] |= 0x80;
                bytes.insert(2, 0);
                bytes
            },
            Kind::VariableIntegerNotMinimal,
            Malformed,
        ),
        // Fields that run out of the packet, or leave some of it over.
        (V311, packet(0x30, b""), Kind::Truncated, Malformed),
        (V311, packet(0x30, b"\x00\x02t"), Kind::Truncated, Malformed),
        (
            V311,
            packet(0x32, b"\x00\x01t\x00"),
            Kind::Truncated,
            Malformed,
        ),
        (V5, packet(0x30, b"\x00\x01t"), Kind::Truncated, Malformed),
        (
            V5,
            packet(0x30, b"\x00\x01t\x02\x01"),
            Kind::Truncated,
            Malformed,
        ),
        (
            V5,
            packet(0x30, b"\x00\x01t\xFF"),
            Kind::Truncated,
            Malformed,
        ),
        (V5, publish_with(&[0x02, 0, 0]), Kind::Truncated, Malformed),
        (
            V5,
            publish_with(&[0x26, 0, 1, b'k', 0]),
            Kind::Truncated,
            Malformed,
        ),
        (
            V311,
            packet(0x10, b"\x00\x04MQTT"),
            Kind::Truncated,
            Malformed,
        ),
        (
            V311,
            connect3(0x02, b"\x00\x02a"),
            Kind::Truncated,
            Malformed,
        ),
        (
            V311,
            connect3(0x06, b"\x00\x01a\x00\x01t"),
            Kind::Truncated,
            Malformed,
        ),
        (
            V311,
            connect3(0x82, b"\x00\x01a"),
            Kind::Truncated,
            Malformed,
        ),
        (
            V311,
            connect3(0xC2, b"\x00\x01a\x00\x01u"),
            Kind::Truncated,
            Malformed,
        ),
        (V311, packet(0x40, b"\x00"), Kind::Truncated, Malformed),
        (V311, packet(0x20, b"\x00"), Kind::Truncated, Malformed),
        (V5, packet(0x20, b"\x00\x00"), Kind::Truncated, Malformed),
        (
            V311,
            packet(0x82, b"\x00\x01\x00\x01a"),
            Kind::Truncated,
            Malformed,
        ),
        (V5, packet(0xF0, b"\x18"), Kind::Truncated, Malformed),
        (V311, packet(0xC0, b"\x00"), Kind::TrailingBytes, Malformed),
        (V5, packet(0xD0, b"\x00"), Kind::TrailingBytes, Malformed),
        (V311, packet(0xE0, b"\x00"), Kind::TrailingBytes, Malformed),
        (
            V311,
            packet(0x40, b"\x00\x01\x00"),
            Kind::TrailingBytes,
            Malformed,
        ),
        (
            V5,
            packet(0x40, b"\x00\x01\x00\x00\x00"),
            Kind::TrailingBytes,
            Malformed,
        ),
        (
            V311,
            packet(0xB0, b"\x00\x01\x00"),
            Kind::TrailingBytes,
            Malformed,
        ),
        (
            V311,
            packet(0x20, b"\x00\x00\x00"),
            Kind::TrailingBytes,
            Malformed,
        ),
        (
            V311,
            connect3(0x02, b"\x00\x01a\x00"),
            Kind::TrailingBytes,
            Malformed,
        ),
        (
            V5,
            connect5(0x02, b"\x00\x00\x01a\x00\x01u"),
            Kind::TrailingBytes,
            Malformed,
        ),
        // Packet identifiers.
        (
            V311,
            packet(0x32, b"\x00\x01t\x00\x00"),
            Kind::PacketIdZero,
            Malformed,
        ),
        (
            V5,
            packet(0x34, b"\x00\x01t\x00\x00\x00"),
            Kind::PacketIdZero,
            Malformed,
        ),
        (
            V311,
            packet(0x40, b"\x00\x00"),
            Kind::PacketIdZero,
            Malformed,
        ),
        (
            V311,
            packet(0x82, b"\x00\x00\x00\x01a\x00"),
            Kind::PacketIdZero,
            Malformed,
        ),
        (
            V5,
            packet(0xA2, b"\x00\x00\x00\x00\x01a"),
            Kind::PacketIdZero,
            Malformed,
        ),
        (
            V311,
            packet(0x90, b"\x00\x00\x00"),
            Kind::PacketIdZero,
            Malformed,
        ),
        (
            V311,
            packet(0xB0, b"\x00\x00"),
            Kind::PacketIdZero,
            Malformed,
        ),
        // CONNECT.
        (
            V311,
            packet(0x10, b"\x00\x04MQTS\x04\x02\x00\x1E\x00\x00"),
            Kind::ProtocolName,
            UnsupportedProtocolVersion,
        ),
        (
            V311,
            packet(0x10, b"\x00\x04mqtt\x04\x02\x00\x1E\x00\x00"),
            Kind::ProtocolName,
            UnsupportedProtocolVersion,
        ),
        (
            V311,
            packet(0x10, b"\x00\x00\x04\x02\x00\x1E\x00\x00"),
            Kind::ProtocolName,
            UnsupportedProtocolVersion,
        ),
        (
            V311,
            packet(0x10, b"\x00\x04MQTT\x03\x02\x00\x1E\x00\x00"),
            Kind::ProtocolLevel,
            UnsupportedProtocolVersion,
        ),
        (
            V311,
            packet(0x10, b"\x00\x04MQTT\x06\x02\x00\x1E\x00\x00"),
            Kind::ProtocolLevel,
            UnsupportedProtocolVersion,
        ),
        (
            V311,
            packet(0x10, b"\x00\x04MQTT\x85\x02\x00\x1E\x00\x00"),
            Kind::ProtocolLevel,
            UnsupportedProtocolVersion,
        ),
        (
            V311,
            packet(0x10, b"\x00\x06MQIsdp\x04\x02\x00\x1E\x00\x00"),
            Kind::ProtocolLevel,
            UnsupportedProtocolVersion,
        ),
        (
            V311,
            connect3(0x03, b"\x00\x00"),
            Kind::ReservedConnectFlag,
            Malformed,
        ),
        (
            V5,
            connect5(0x03, b"\x00\x00\x00"),
            Kind::ReservedConnectFlag,
            Malformed,
        ),
        (
            V311,
            connect3(0x0A, b"\x00\x00"),
            Kind::WillFlagsWithoutWill,
            Malformed,
        ),
        (
            V311,
            connect3(0x22, b"\x00\x00"),
            Kind::WillFlagsWithoutWill,
            Malformed,
        ),
        (
            V5,
            connect5(0x32, b"\x00\x00\x00"),
            Kind::WillFlagsWithoutWill,
            Malformed,
        ),
        (
            V311,
            connect3(0x1E, b"\x00\x00\x00\x01t\x00\x00"),
            Kind::WillQosThree,
            Malformed,
        ),
        (
            V5,
            connect5(0x1E, b"\x00\x00\x00\x00\x00\x01t\x00\x00"),
            Kind::WillQosThree,
            Malformed,
        ),
        (
            V31,
            packet(
                0x10,
                b"\x00\x06MQIsdp\x03\x1E\x00\x1E\x00\x00\x00\x01t\x00\x00",
            ),
            Kind::WillQosThree,
            Malformed,
        ),
        (
            V311,
            connect3(0x42, b"\x00\x00\x00\x01p"),
            Kind::PasswordWithoutUsername,
            Malformed,
        ),
        (
            V311,
            connect3(0x06, b"\x00\x00\x00\x00\x00\x00"),
            Kind::EmptyTopicName,
            TopicNameInvalid,
        ),
        (
            V5,
            connect5(0x06, b"\x00\x00\x00\x00\x00\x00\x00\x00"),
            Kind::EmptyTopicName,
            TopicNameInvalid,
        ),
        (
            V311,
            connect3(0x06, b"\x00\x00\x00\x03a/#\x00\x00"),
            Kind::WildcardInTopicName,
            TopicNameInvalid,
        ),
        (
            V5,
            connect5(0x06, b"\x00\x00\x00\x00\x00\x01+\x00\x00"),
            Kind::WildcardInTopicName,
            TopicNameInvalid,
        ),
        (
            V311,
            connect3(0x02, b"\x00\x01\xFF"),
            Kind::IllFormedUtf8,
            Malformed,
        ),
        (
            V311,
            connect3(0x02, b"\x00\x01\x00"),
            Kind::NullCharacter,
            Malformed,
        ),
        (
            V311,
            connect3(0x82, b"\x00\x00\x00\x02\xC0\x80"),
            Kind::IllFormedUtf8,
            Malformed,
        ),
        (
            V311,
            connect3(0x82, b"\x00\x00\x00\x01\x00"),
            Kind::NullCharacter,
            Malformed,
        ),
        // CONNACK.
        (
            V311,
            packet(0x20, b"\x02\x00"),
            Kind::ConnAckFlags,
            Malformed,
        ),
        (
            V5,
            packet(0x20, b"\x80\x00\x00"),
            Kind::ConnAckFlags,
            Malformed,
        ),
        (
            V311,
            packet(0x20, b"\x01\x05"),
            Kind::SessionPresentWithError,
            Protocol,
        ),
        (
            V5,
            packet(0x20, b"\x01\x87\x00"),
            Kind::SessionPresentWithError,
            Protocol,
        ),
        (
            V311,
            packet(0x20, b"\x00\x06"),
            Kind::ReasonCodeNotAllowed,
            Protocol,
        ),
        // A MQTT 3 server's refusal is none of MQTT 5.
        (
            V5,
            packet(0x20, b"\x00\x01"),
            Kind::ReasonCodeNotAllowed,
            Protocol,
        ),
        // PUBLISH.
        (
            V311,
            packet(0x36, b"\x00\x01t\x00\x01"),
            Kind::QosThree,
            Malformed,
        ),
        (
            V5,
            packet(0x3E, b"\x00\x01t\x00\x01\x00"),
            Kind::QosThree,
            Malformed,
        ),
        (
            V31,
            packet(0x36, b"\x00\x01t\x00\x01"),
            Kind::QosThree,
            Malformed,
        ),
        (
            V311,
            packet(0x38, b"\x00\x01t"),
            Kind::DupAtQosZero,
            Malformed,
        ),
        (
            V5,
            packet(0x39, b"\x00\x01t\x00"),
            Kind::DupAtQosZero,
            Malformed,
        ),
        (
            V311,
            packet(0x30, b"\x00\x00"),
            Kind::EmptyTopicName,
            TopicNameInvalid,
        ),
        (
            V5,
            packet(0x30, b"\x00\x00\x00"),
            Kind::EmptyTopicNameWithoutAlias,
            Protocol,
        ),
        (
            V311,
            packet(0x30, b"\x00\x03a/+"),
            Kind::WildcardInTopicName,
            TopicNameInvalid,
        ),
        (
            V5,
            packet(0x30, b"\x00\x02a#\x00"),
            Kind::WildcardInTopicName,
            TopicNameInvalid,
        ),
        (
            V311,
            publish_to(&deep(201)),
            Kind::TopicNameTooDeep,
            TopicNameInvalid,
        ),
        (
            V311,
            packet(0x30, b"\x00\x03\xED\xA0\x80"),
            Kind::IllFormedUtf8,
            Malformed,
        ),
        (
            V311,
            packet(0x30, b"\x00\x02\xC3t"),
            Kind::IllFormedUtf8,
            Malformed,
        ),
        (
            V5,
            packet(0x30, b"\x00\x03\xED\xBF\xBF\x00"),
            Kind::IllFormedUtf8,
            Malformed,
        ),
        (
            V5,
            packet(0x30, b"\x00\x04\xF4\x90\x80\x80\x00"),
            Kind::IllFormedUtf8,
            Malformed,
        ),
        (
            V311,
            packet(0x30, b"\x00\x03a\x00b"),
            Kind::NullCharacter,
            Malformed,
        ),
        (
            V5,
            packet(0x30, b"\x00\x01\x00\x00"),
            Kind::NullCharacter,
            Malformed,
        ),
        (
            V5,
            publish_with(&[0x23, 0, 0]),
            Kind::TopicAliasZero,
            TopicAliasInvalid,
        ),
        // SUBSCRIBE and UNSUBSCRIBE.
        (
            V311,
            packet(0x82, b"\x00\x01"),
            Kind::NoTopicFilters,
            Protocol,
        ),
        (
            V5,
            packet(0x82, b"\x00\x01\x00"),
            Kind::NoTopicFilters,
            Protocol,
        ),
        (
            V311,
            packet(0xA2, b"\x00\x01"),
            Kind::NoTopicFilters,
            Protocol,
        ),
        (
            V5,
            packet(0xA2, b"\x00\x01\x00"),
            Kind::NoTopicFilters,
            Protocol,
        ),
        (
            V311,
            subscribe3(b"", 0),
            Kind::EmptyTopicFilter,
            TopicFilterInvalid,
        ),
        (
            V5,
            packet(0xA2, b"\x00\x01\x00\x00\x00"),
            Kind::EmptyTopicFilter,
            TopicFilterInvalid,
        ),
        (
            V311,
            subscribe3(b"a\x00", 0),
            Kind::NullCharacter,
            Malformed,
        ),
        (V311, subscribe3(b"\xFF", 0), Kind::IllFormedUtf8, Malformed),
        (
            V311,
            subscribe3(b"a", 4),
            Kind::SubscribeReservedBits,
            Malformed,
        ),
        (
            V311,
            subscribe3(b"a", 0x80),
            Kind::SubscribeReservedBits,
            Malformed,
        ),
        (
            V5,
            subscribe5(b"a", 0x40),
            Kind::SubscribeReservedBits,
            Malformed,
        ),
        (
            V5,
            subscribe5(b"a", 0x80),
            Kind::SubscribeReservedBits,
            Malformed,
        ),
        (V311, subscribe3(b"a", 3), Kind::SubscribeQosThree, Protocol),
        (V5, subscribe5(b"a", 3), Kind::SubscribeQosThree, Protocol),
        (
            V5,
            subscribe5(b"a", 0x30),
            Kind::RetainHandlingThree,
            Protocol,
        ),
        (
            V5,
            subscribe5(b"$share/g/a", 4),
            Kind::NoLocalOnShared,
            Protocol,
        ),
        (
            V311,
            subscribe3(deep(63).replace('a', "").as_bytes(), 3),
            Kind::SubscribeQosThree,
            Protocol,
        ),
        // SUBACK and UNSUBACK.
        (
            V311,
            packet(0x90, b"\x00\x01"),
            Kind::NoReasonCodes,
            Protocol,
        ),
        (
            V5,
            packet(0x90, b"\x00\x01\x00"),
            Kind::NoReasonCodes,
            Protocol,
        ),
        (
            V5,
            packet(0xB0, b"\x00\x01\x00"),
            Kind::NoReasonCodes,
            Protocol,
        ),
        (
            V311,
            packet(0x90, b"\x00\x01\x03"),
            Kind::ReasonCodeNotAllowed,
            Protocol,
        ),
        (
            V311,
            packet(0x90, b"\x00\x01\x87"),
            Kind::ReasonCodeNotAllowed,
            Protocol,
        ),
        (
            V5,
            packet(0x90, b"\x00\x01\x00\x11"),
            Kind::ReasonCodeNotAllowed,
            Protocol,
        ),
        (
            V5,
            packet(0xB0, b"\x00\x01\x00\x01"),
            Kind::ReasonCodeNotAllowed,
            Protocol,
        ),
        // Properties.
        (
            V5,
            publish_with(&[0x04, 0]),
            Kind::UnknownProperty,
            Malformed,
        ),
        (V5, publish_with(&[0x00]), Kind::UnknownProperty, Malformed),
        (
            V5,
            publish_with(&[0x2B, 0]),
            Kind::UnknownProperty,
            Malformed,
        ),
        (
            V5,
            publish_with(&[0x81, 0x00]),
            Kind::UnknownProperty,
            Malformed,
        ),
        (V5, publish_with(&[0xFF]), Kind::UnknownProperty, Malformed),
        (
            V5,
            publish_with(&[0x11, 0, 0, 0, 1]),
            Kind::PropertyNotAllowed,
            Malformed,
        ),
        (
            V5,
            connect_with(&[0x23, 0, 1]),
            Kind::PropertyNotAllowed,
            Malformed,
        ),
        (
            V5,
            connect_with(&[0x18, 0, 0, 0, 1]),
            Kind::PropertyNotAllowed,
            Malformed,
        ),
        (
            V5,
            packet(0x40, &[0, 1, 0, 2, 0x01, 0]),
            Kind::PropertyNotAllowed,
            Malformed,
        ),
        (
            V5,
            packet(0x82, &[0, 1, 4, 0x1F, 0, 1, b'r', 0, 1, b'a', 0]),
            Kind::PropertyNotAllowed,
            Malformed,
        ),
        (
            V5,
            publish_with(&[0x01, 0, 0x01, 0]),
            Kind::DuplicateProperty,
            Protocol,
        ),
        (
            V5,
            connect_with(&[0x21, 0, 1, 0x21, 0, 1]),
            Kind::DuplicateProperty,
            Protocol,
        ),
        (
            V5,
            packet(0x82, &[0, 1, 4, 0x0B, 1, 0x0B, 2, 0, 1, b'a', 0]),
            Kind::DuplicateProperty,
            Protocol,
        ),
        (
            V5,
            publish_with(&[0x01, 2]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connect_with(&[0x17, 2]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connect_with(&[0x19, 2]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connack_with(&[0x24, 2]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connack_with(&[0x25, 2]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connack_with(&[0x28, 0xFF]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connack_with(&[0x29, 2]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connack_with(&[0x2A, 2]),
            Kind::FlagPropertyValue,
            Protocol,
        ),
        (
            V5,
            connect_with(&[0x21, 0, 0]),
            Kind::ReceiveMaximumZero,
            Protocol,
        ),
        (
            V5,
            connack_with(&[0x21, 0, 0]),
            Kind::ReceiveMaximumZero,
            Protocol,
        ),
        (
            V5,
            connect_with(&[0x27, 0, 0, 0, 0]),
            Kind::MaximumPacketSizeZero,
            Protocol,
        ),
        (
            V5,
            publish_with(&[0x0B, 0]),
            Kind::SubscriptionIdentifierZero,
            Protocol,
        ),
        (
            V5,
            publish_with(&[0x08, 0, 1, b'#']),
            Kind::InvalidResponseTopic,
            Protocol,
        ),
        (
            V5,
            publish_with(&[0x08, 0, 0]),
            Kind::InvalidResponseTopic,
            Protocol,
        ),
        (
            V5,
            publish_with(&[0x03, 0, 1, 0xFF]),
            Kind::IllFormedUtf8,
            Malformed,
        ),
        (
            V5,
            publish_with(&[0x26, 0, 1, 0, 0, 0]),
            Kind::NullCharacter,
            Malformed,
        ),
        (
            V5,
            connect_with(&[0x16, 0, 1, 1]),
            Kind::AuthenticationDataWithoutMethod,
            Protocol,
        ),
        (
            V5,
            connack_with(&[0x16, 0, 0]),
            Kind::AuthenticationDataWithoutMethod,
            Protocol,
        ),
        (
            V5,
            packet(0xF0, &[0x18, 0]),
            Kind::AuthenticationMethodMissing,
            Protocol,
        ),
        (
            V5,
            packet(0xF0, &[0, 4, 0x1F, 0, 1, b'r']),
            Kind::AuthenticationMethodMissing,
            Protocol,
        ),
        (
            V5,
            packet(0xF0, &[0x01, 0]),
            Kind::ReasonCodeNotAllowed,
            Protocol,
        ),
        (
            V5,
            vec![0x30, 0xFF, 0xFF, 0xFF, 0x7F],
            Kind::PacketTooLarge,
            PacketTooLarge,
        ),
    ];
    for filter in [
        "a/#/b",
        "#/a",
        "##",
        "a#",
        "a/b#",
        "a+",
        "+a",
        "a/+b/c",
        "++",
        "#+",
        "$share/g/a#",
    ] {
        let kind = Kind::MisplacedWildcard;
        list.push((
            V311,
            subscribe3(filter.as_bytes(), 0),
            kind,
            TopicFilterInvalid,
        ));
        list.push((
            V5,
            subscribe5(filter.as_bytes(), 0),
            kind,
            TopicFilterInvalid,
        ));
    }
    for filter in [
        "$share/",
        "$share//",
        "$share//x",
        "$share/g",
        "$share/g/",
        "$share/+/x",
        "$share/#",
        "$share/a+b/x",
    ] {
        let kind = Kind::MalformedShare;
        list.push((
            V311,
            subscribe3(filter.as_bytes(), 0),
            kind,
            TopicFilterInvalid,
        ));
        list.push((
            V5,
            subscribe5(filter.as_bytes(), 0),
            kind,
            TopicFilterInvalid,
        ));
    }
    let slashes = "/".repeat(100);
    let mut deep = vec![0, 1];
    deep.extend([0, 200]);
    deep.extend(slashes.repeat(2).as_bytes());
    let mut bytes = vec![0xA2, deep.len() as u8 | 0x80, 1];
    bytes.extend(deep);
    list.push((V311, bytes, Kind::TopicFilterTooDeep, TopicFilterInvalid));
    // The first byte of each type but PUBLISH has one right value.
    for packet_type in (1..=15).filter(|packet_type| *packet_type != 3) {
        let right = if matches!(packet_type, 6 | 8 | 10) {
            2
        } else {
            0
        };
        for flags in (0..16).filter(|flags| *flags != right) {
            let first = packet_type << 4 | flags;
            if packet_type != 15 {
                list.push((V311, vec![first], Kind::ReservedFlags, Malformed));
            }
            list.push((V5, vec![first], Kind::ReservedFlags, Malformed));
        }
    }
    // Codes that stand in other packets, or in none.
    for (first, front) in [
        (0x20, &[0][..]),
        (0x40, &[0, 1]),
        (0x50, &[0, 1]),
        (0x62, &[0, 1]),
        (0x70, &[0, 1]),
        (0x90, &[0, 1, 0]),
        (0xB0, &[0, 1, 0]),
        (0xE0, &[]),
        (0xF0, &[]),
    ] {
        let packet_type = PacketType::from_u8(first >> 4).expect("a packet type");
        for code in 0..=255 {
            let allowed =
                ReasonCode::from_u8(code).is_some_and(|code| code.is_allowed_in(packet_type));
            if !allowed {
                let mut body = front.to_vec();
                body.extend([code, 0]);
                list.push((
                    V5,
                    packet(first, &body),
                    Kind::ReasonCodeNotAllowed,
                    Protocol,
                ));
            }
        }
    }
    list
}

#[test]
fn each_broken_packet_is_refused_by_its_rule_and_answered_by_its_code() {
    for (version, bytes, kind, reason) in broken() {
        let limit = match kind {
            Kind::PacketTooLarge => 1000,
            _ => limits::MAX_PACKET,
        };
        let error = decode(&bytes, version, limit).expect_err("a broken packet");
        assert_eq!(
            (error.kind, error.reason()),
            (kind, reason),
            "{version}: {bytes:02X?}"
        );
    }
}

#[test]
fn every_rule_is_broken_by_some_packet() {
    let seen: HashSet<Kind> = broken().into_iter().map(|(_, _, kind, _)| kind).collect();
    let missing: Vec<_> = Kind::ALL
        .iter()
        // Asked for by a call of its own, see below.
        .filter(|kind| **kind != Kind::PayloadNotUtf8 && !seen.contains(kind))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_codes_of_each_packet_are_those_of_the_specification() {
    // Table 2-6, column "packets", written down a second time.
    let table: &[(u8, &str)] = &[
        (
            0x00,
            "CONNACK PUBACK PUBREC PUBREL PUBCOMP UNSUBACK AUTH DISCONNECT SUBACK",
        ),
        (0x01, "SUBACK"),
        (0x02, "SUBACK"),
        (0x04, "DISCONNECT"),
        (0x10, "PUBACK PUBREC"),
        (0x11, "UNSUBACK"),
        (0x18, "AUTH"),
        (0x19, "AUTH"),
        (0x80, "CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT"),
        (0x81, "CONNACK DISCONNECT"),
        (0x82, "CONNACK DISCONNECT"),
        (0x83, "CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT"),
        (0x84, "CONNACK"),
        (0x85, "CONNACK"),
        (0x86, "CONNACK"),
        (0x87, "CONNACK PUBACK PUBREC SUBACK UNSUBACK DISCONNECT"),
        (0x88, "CONNACK"),
        (0x89, "CONNACK DISCONNECT"),
        (0x8A, "CONNACK"),
        (0x8B, "DISCONNECT"),
        (0x8C, "CONNACK DISCONNECT"),
        (0x8D, "DISCONNECT"),
        (0x8E, "DISCONNECT"),
        (0x8F, "SUBACK UNSUBACK DISCONNECT"),
        (0x90, "CONNACK PUBACK PUBREC DISCONNECT"),
        (0x91, "PUBACK PUBREC SUBACK UNSUBACK"),
        (0x92, "PUBREL PUBCOMP"),
        (0x93, "DISCONNECT"),
        (0x94, "DISCONNECT"),
        (0x95, "CONNACK DISCONNECT"),
        (0x96, "DISCONNECT"),
        (0x97, "CONNACK PUBACK PUBREC SUBACK DISCONNECT"),
        (0x98, "DISCONNECT"),
        (0x99, "CONNACK PUBACK PUBREC DISCONNECT"),
        (0x9A, "CONNACK DISCONNECT"),
        (0x9B, "CONNACK DISCONNECT"),
        (0x9C, "CONNACK DISCONNECT"),
        (0x9D, "CONNACK DISCONNECT"),
        (0x9E, "SUBACK DISCONNECT"),
        (0x9F, "CONNACK DISCONNECT"),
        (0xA0, "DISCONNECT"),
        (0xA1, "SUBACK DISCONNECT"),
        (0xA2, "SUBACK DISCONNECT"),
    ];
    assert_eq!(table.len(), ReasonCode::ALL.len());
    for (value, packets) in table {
        let code = ReasonCode::from_u8(*value).expect("a code of the table");
        for packet in (1..=15).filter_map(PacketType::from_u8) {
            let listed = packets.split(' ').any(|name| name == packet.name());
            assert_eq!(
                code.is_allowed_in(packet),
                listed,
                "0x{value:02X} in {packet}"
            );
        }
    }
}

#[test]
fn an_unknown_level_tells_how_to_answer() {
    let error = refusal(V311, b"\x10\x0C\x00\x04MQTT\x06\x02\x00\x1E\x00\x00");
    assert_eq!((error.level(), error.version(), error.detail), (6, None, 6));
    let error = refusal(V311, b"\x10\x0C\x00\x04MQTT\x03\x02\x00\x1E\x00\x00");
    assert_eq!((error.level(), error.version()), (3, Some(V31)));
    // Nothing was said yet.
    let error = refusal(V5, b"\x10\x0C\x00\x04MQXX\x05\x02\x00\x1E\x00\x00");
    assert_eq!((error.level(), error.version()), (0, None));
    let error = refusal(V5, b"\x16\x03");
    assert_eq!((error.level(), error.kind), (0, Kind::ReservedFlags));
    // The CONNECT's own version counts, not the one that decode was given.
    let error = refusal(V311, &connect5(0x03, b"\x00\x00\x00"));
    assert_eq!(error.version(), Some(V5));
    assert_eq!(error.packet_type(), Some(PacketType::Connect));
    let error = refusal(V5, b"\xC1\x00");
    assert_eq!(error.version(), Some(V5));
}

#[test]
fn a_large_packet_is_refused_when_its_length_is_known() {
    let publish = [0x30, 0x80, 0x08];
    let error = decode(&publish, V311, 1026).expect_err("1027 bytes");
    assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    assert_eq!(decode(&publish, V311, 1027), Ok(Decoded::Incomplete(1027)));
}

#[test]
fn two_hundred_levels_are_not_too_many() {
    let name = deep(200);
    assert!(decode(&publish_to(&name), V311, limits::MAX_PACKET).is_ok());
    // A long name of one level neither.
    assert!(decode(&publish_to(&"x".repeat(300)), V311, limits::MAX_PACKET).is_ok());
}

#[test]
fn errors_name_packet_rule_and_statement() {
    let error = refusal(V5, &publish_with(&[0x01, 0, 0x01, 0]));
    assert_eq!(
        error.to_string(),
        "PUBLISH: a property must not appear twice (found 0x01) \
         [section 2.2.2.2 and each property]"
    );
    let error = refusal(V311, b"\x36\x00");
    assert_eq!(
        error.to_string(),
        "PUBLISH: the QoS of a message must be 0, 1 or 2 (found 0x36) [MQTT-3.3.1-4]"
    );
    assert!(refusal(V5, &[0]).to_string().starts_with("packet type 0: "));
    assert!(size_of::<DecodeError>() <= 16);
}

#[test]
fn a_payload_marked_as_text_is_checked_on_demand() {
    let read = |bytes: &[u8]| match decode(bytes, V5, 100) {
        Ok(Decoded::Packet(Packet::Publish(publish), _)) => publish.check_payload_format(),
        other => panic!("not a PUBLISH: {other:?}"),
    };
    let error = read(b"\x30\x07\x00\x01t\x02\x01\x01\xFF").expect_err("not UTF-8");
    assert_eq!(error.kind, Kind::PayloadNotUtf8);
    assert_eq!(error.reason(), ReasonCode::PayloadFormatInvalid);
    assert_eq!(read(b"\x30\x07\x00\x01t\x02\x01\x00\xFF"), Ok(()));
    assert_eq!(read(b"\x30\x05\x00\x01t\x00\xFF"), Ok(()));
    assert_eq!(read("\x30\x08\x00\x01t\x02\x01\x01é".as_bytes()), Ok(()));
}

// What encode refuses.

const ID: Option<PacketId> = PacketId::new(1);

const MESSAGE: Publish<'_> = Publish {
    dup: false,
    qos: QoS::AtMostOnce,
    retain: false,
    topic: "t",
    packet_id: None,
    properties: Properties::EMPTY,
    payload: b"",
};

#[track_caller]
fn unwritable(version: Version, packet: Packet<'_>, expected: EncodeError) {
    let mut out = vec![1, 2];
    assert_eq!(packet.encode(version, &mut out), Err(expected));
    assert_eq!(packet.encoded_len(version), Err(expected));
    assert_eq!(out, [1, 2], "nothing is appended");
    assert!(!expected.to_string().is_empty());
}

#[test]
fn encode_refuses_a_publish_that_breaks_a_rule() {
    let long = "x".repeat(65_536);
    let cases = [
        (
            Publish {
                topic: &long,
                ..MESSAGE
            },
            EncodeError::FieldTooLong { len: 65_536 },
        ),
        (
            Publish {
                packet_id: ID,
                ..MESSAGE
            },
            EncodeError::PacketIdAtQosZero,
        ),
        (
            Publish {
                qos: QoS::AtLeastOnce,
                ..MESSAGE
            },
            EncodeError::PacketIdMissing,
        ),
        (
            Publish {
                dup: true,
                ..MESSAGE
            },
            EncodeError::Refused(Kind::DupAtQosZero),
        ),
        (
            Publish {
                topic: "a/#",
                ..MESSAGE
            },
            EncodeError::Refused(Kind::WildcardInTopicName),
        ),
        (
            Publish {
                topic: "a\0",
                ..MESSAGE
            },
            EncodeError::Refused(Kind::NullCharacter),
        ),
    ];
    for (publish, expected) in cases {
        unwritable(V311, Packet::Publish(publish), expected);
        unwritable(V5, Packet::Publish(publish), expected);
    }
    let nameless = Packet::Publish(Publish {
        topic: "",
        ..MESSAGE
    });
    unwritable(V311, nameless, EncodeError::Refused(Kind::EmptyTopicName));
    unwritable(
        V5,
        nameless,
        EncodeError::Refused(Kind::EmptyTopicNameWithoutAlias),
    );
    let mut foreign = PropertiesBuf::new();
    foreign.push(Property::ReceiveMaximum(1)).expect("valid");
    let publish = Packet::Publish(Publish {
        properties: foreign.as_properties(),
        ..MESSAGE
    });
    unwritable(V5, publish, EncodeError::Refused(Kind::PropertyNotAllowed));
}

#[test]
fn encode_refuses_a_packet_that_no_length_can_say() {
    // One byte more than fits: topic and its length take three.
    let payload = vec![0; limits::MAX_REMAINING_LENGTH as usize - 2];
    let publish = Publish {
        payload: &payload,
        ..MESSAGE
    };
    let len = payload.len() + 3;
    unwritable(
        V311,
        Packet::Publish(publish),
        EncodeError::PacketTooLarge { len },
    );
    let fits = Publish {
        payload: &payload[1..],
        ..MESSAGE
    };
    assert_eq!(fits.encoded_len(V311), Ok(limits::MAX_PACKET as usize));
}

#[test]
fn encode_refuses_what_a_version_cannot_say() {
    let plain = Connect {
        version: V311,
        clean_start: true,
        keep_alive: 0,
        client_id: "",
        will: None,
        username: None,
        password: None,
        properties: Properties::EMPTY,
        bridge: false,
    };
    let password = Connect {
        password: Some(b"p"),
        ..plain
    };
    let expected = EncodeError::Refused(Kind::PasswordWithoutUsername);
    unwritable(V311, Packet::Connect(password), expected);
    let bridge = Connect {
        version: V5,
        bridge: true,
        ..plain
    };
    let cannot = |packet, version, what| EncodeError::NotInVersion {
        packet,
        version,
        what,
    };
    let expected = cannot(PacketType::Connect, V5, "the bridge bit");
    unwritable(V5, Packet::Connect(bridge), expected);
    let will = Will {
        topic: "",
        payload: b"",
        qos: QoS::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
    };
    let connect = Connect {
        will: Some(will),
        ..plain
    };
    let expected = EncodeError::Refused(Kind::EmptyTopicName);
    unwritable(V311, Packet::Connect(connect), expected);
    let connect = Connect {
        client_id: "a\0",
        ..plain
    };
    let expected = EncodeError::Refused(Kind::NullCharacter);
    unwritable(V311, Packet::Connect(connect), expected);

    let refused = ConnAck {
        session_present: false,
        code: ReasonCode::MalformedPacket,
        properties: Properties::EMPTY,
    };
    let expected = cannot(PacketType::ConnAck, V311, "this reason code");
    unwritable(V311, Packet::ConnAck(refused), expected);
    let both = ConnAck {
        session_present: true,
        ..refused
    };
    let expected = EncodeError::Refused(Kind::SessionPresentWithError);
    unwritable(V5, Packet::ConnAck(both), expected);

    let disconnect = Disconnect {
        code: ReasonCode::ServerShuttingDown,
        properties: Properties::EMPTY,
    };
    let expected = cannot(PacketType::Disconnect, V311, "a reason code");
    unwritable(V311, Packet::Disconnect(disconnect), expected);
    let auth = Auth {
        code: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    let expected = cannot(PacketType::Auth, V311, "enhanced authentication");
    unwritable(V311, Packet::Auth(auth), expected);
    let auth = Auth {
        code: ReasonCode::ReAuthenticate,
        ..auth
    };
    let expected = EncodeError::Refused(Kind::AuthenticationMethodMissing);
    unwritable(V5, Packet::Auth(auth), expected);
}

#[test]
fn encode_never_turns_a_refusal_into_an_acknowledgement() {
    let refusal = Ack {
        packet_id: ID.expect("not zero"),
        code: ReasonCode::QuotaExceeded,
        properties: Properties::EMPTY,
    };
    let cannot = |packet| EncodeError::NotInVersion {
        packet,
        version: V311,
        what: "an error code",
    };
    unwritable(V311, Packet::PubAck(refusal), cannot(PacketType::PubAck));
    unwritable(V311, Packet::PubRec(refusal), cannot(PacketType::PubRec));
    // "Not found" is no refusal: MQTT 3 wants the handshake finished all the same.
    let unknown = Ack {
        code: ReasonCode::PacketIdentifierNotFound,
        ..refusal
    };
    let mut out = Vec::new();
    unknown
        .encode(AckKind::PubComp, V311, &mut out)
        .expect("a valid packet");
    assert_eq!(out, [0x70, 2, 0, 1]);
    let expected = EncodeError::Refused(Kind::ReasonCodeNotAllowed);
    unwritable(V5, Packet::PubAck(unknown), expected);
}

#[test]
fn encode_refuses_empty_and_foreign_lists() {
    let id = ID.expect("not zero");
    let properties = Properties::EMPTY;
    let (filters, others) = (SubscribeBuf::new(), UnsubscribeBuf::new());
    let subscribe = Subscribe {
        packet_id: id,
        properties,
        filters: filters.as_filters(),
    };
    let unsubscribe = Unsubscribe {
        packet_id: id,
        properties,
        filters: others.as_filters(),
    };
    let none = EncodeError::Refused(Kind::NoTopicFilters);
    unwritable(V5, Packet::Subscribe(subscribe), none);
    unwritable(V5, Packet::Unsubscribe(unsubscribe), none);
    let none = EncodeError::Refused(Kind::NoReasonCodes);
    let suback = SubAck {
        packet_id: id,
        properties,
        codes: &[],
    };
    unwritable(V311, Packet::SubAck(suback), none);
    let unsuback = UnsubAck {
        packet_id: id,
        properties,
        codes: &[],
    };
    unwritable(V5, Packet::UnsubAck(unsuback), none);
    let foreign = EncodeError::Refused(Kind::ReasonCodeNotAllowed);
    unwritable(
        V5,
        Packet::SubAck(SubAck {
            codes: &[0, 0x11],
            ..suback
        }),
        foreign,
    );

    let mut filters = SubscribeBuf::new();
    let no_local = SubscribeOptions {
        no_local: true,
        ..SubscribeOptions::default()
    };
    filters.push("a", no_local).expect("valid");
    let refused = filters.push("$share/g/a", no_local);
    assert_eq!(refused, Err(EncodeError::Refused(Kind::NoLocalOnShared)));
    let refused = filters.push("a#", no_local);
    assert_eq!(
        refused,
        Err(EncodeError::from(TopicError::MisplacedWildcard))
    );
    let subscribe = Subscribe {
        filters: filters.as_filters(),
        ..subscribe
    };
    unwritable(
        V311,
        Packet::Subscribe(subscribe),
        EncodeError::NotInVersion {
            packet: PacketType::Subscribe,
            version: V311,
            what: "no local, retain as published or retain handling",
        },
    );
}

#[test]
fn a_property_that_cannot_be_written_is_refused_when_pushed() {
    let mut buf = PropertiesBuf::new();
    let long = "x".repeat(65_536);
    let too_long = Err(EncodeError::FieldTooLong { len: 65_536 });
    assert_eq!(buf.push(Property::ReasonString(&long)), too_long);
    assert_eq!(buf.push(Property::UserProperty("k", &long)), too_long);
    assert_eq!(
        buf.push(Property::CorrelationData(long.as_bytes())),
        too_long
    );
    assert_eq!(
        buf.push(Property::ContentType("\0")),
        Err(EncodeError::Refused(Kind::NullCharacter))
    );
    assert_eq!(
        buf.push(Property::SubscriptionIdentifier(268_435_456)),
        Err(EncodeError::IntegerTooLarge { value: 268_435_456 })
    );
    assert_eq!(
        buf.push(Property::TopicAlias(0)),
        Err(EncodeError::Refused(Kind::TopicAliasZero))
    );
    assert_eq!(
        buf.push(Property::MaximumQoS(2)),
        Err(EncodeError::Refused(Kind::FlagPropertyValue))
    );
    assert!(buf.is_empty(), "nothing is appended");
}
