//! Which rule a packet breaks, and what to answer.

use core::fmt;

use thiserror::Error;

use crate::reason::ReasonCode;
use crate::wire::{PacketType, Version};

macro_rules! rules {
    ($( $name:ident => $reason:ident, $text:literal, $v3:literal, $v5:literal; )*) => {
        /// The rule that a packet breaks: one variant per class of rules.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DecodeErrorKind {
            $( #[doc = concat!("Rule: ", $text, ". Answer: ", stringify!($reason), ". Source: ", $v3, " of MQTT 3.1.1, ", $v5, " of MQTT 5.")] $name, )*
        }

        impl DecodeErrorKind {
            /// Every kind, in the order of their declaration.
            pub const ALL: &'static [DecodeErrorKind] = &[ $( DecodeErrorKind::$name, )* ];

            /// The rule in plain words.
            pub const fn rule(self) -> &'static str {
                match self { $( DecodeErrorKind::$name => $text, )* }
            }

            /// The reason code to answer with, in DISCONNECT or CONNACK. MQTT 3.1 and 3.1.1 have
            /// no such answer: they close the connection, except that an unknown protocol level
            /// is answered by CONNACK with return code 1 [MQTT-3.1.2-2 of 3.1.1].
            pub const fn reason(self) -> ReasonCode {
                match self { $( DecodeErrorKind::$name => ReasonCode::$reason, )* }
            }

            /// The statement or section of the specification that makes the rule; `ours` where a
            /// limit of Safeport makes it. MQTT 3.1 is answered from the text of 3.1.1.
            pub const fn statement(self, version: Version) -> &'static str {
                match (self, version) {
                    $( (DecodeErrorKind::$name, Version::V5) => $v5, (DecodeErrorKind::$name, _) => $v3, )*
                }
            }
        }
    };
}

rules! {
    // The frame.
    ReservedPacketType => MalformedPacket, "the packet type must not be a reserved one", "section 2.2.1", "section 2.1.2";
    ReservedFlags => MalformedPacket, "the flags of the first byte must have the value set for the packet type", "MQTT-2.2.2-2", "MQTT-2.1.3-1";
    VariableIntegerTooLong => MalformedPacket, "a variable byte integer must end within four bytes", "section 2.2.3", "section 1.5.5";
    VariableIntegerNotMinimal => MalformedPacket, "a variable byte integer must use the fewest bytes", "no rule", "MQTT-1.5.5-1";
    PacketTooLarge => PacketTooLarge, "the packet must not be larger than the receiver takes", "ours", "MQTT-3.2.2-15";
    Truncated => MalformedPacket, "every field must end inside the packet", "section 2.2.3", "section 2.1.4";
    TrailingBytes => MalformedPacket, "nothing may follow the last field", "section 2.2.3", "section 2.1.4";
    // Strings.
    IllFormedUtf8 => MalformedPacket, "a string must be well-formed UTF-8 without surrogates", "MQTT-1.5.3-1", "MQTT-1.5.4-1";
    NullCharacter => MalformedPacket, "a string must not contain U+0000", "MQTT-1.5.3-2", "MQTT-1.5.4-2";
    // Packet identifiers and reason codes.
    PacketIdZero => MalformedPacket, "the packet identifier must not be zero", "MQTT-2.3.1-1", "MQTT-2.2.1-3";
    ReasonCodeNotAllowed => ProtocolError, "the reason code must be one that the packet type allows", "section 3.2.2.3, MQTT-3.9.3-2", "section 2.4";
    NoReasonCodes => ProtocolError, "the packet must carry a reason code for each topic filter", "MQTT-3.8.4-5", "MQTT-3.8.4-6, MQTT-3.11.3-1";
    // CONNECT and CONNACK.
    ProtocolName => UnsupportedProtocolVersion, "the protocol name must be MQTT (MQIsdp for MQTT 3.1)", "MQTT-3.1.2-1", "MQTT-3.1.2-1";
    ProtocolLevel => UnsupportedProtocolVersion, "the protocol level must be 3 for MQIsdp, 4 or 5 for MQTT", "MQTT-3.1.2-2", "MQTT-3.1.2-2";
    ReservedConnectFlag => MalformedPacket, "the reserved connect flag must be 0", "MQTT-3.1.2-3", "MQTT-3.1.2-3";
    WillFlagsWithoutWill => MalformedPacket, "will QoS and will retain must be 0 without a will", "MQTT-3.1.2-13, MQTT-3.1.2-15", "MQTT-3.1.2-11, MQTT-3.1.2-13";
    WillQosThree => MalformedPacket, "the will QoS must be 0, 1 or 2", "MQTT-3.1.2-14", "MQTT-3.1.2-12";
    PasswordWithoutUsername => MalformedPacket, "a password needs a user name before MQTT 5", "MQTT-3.1.2-22", "no rule";
    ConnAckFlags => MalformedPacket, "bits 7 to 1 of the acknowledge flags must be 0", "section 3.2.2.1", "MQTT-3.2.2-1";
    SessionPresentWithError => ProtocolError, "session present must be 0 when the connection is refused", "MQTT-3.2.2-4", "MQTT-3.2.2-6";
    // PUBLISH.
    QosThree => MalformedPacket, "the QoS of a message must be 0, 1 or 2", "MQTT-3.3.1-4", "MQTT-3.3.1-4";
    DupAtQosZero => MalformedPacket, "DUP must be 0 at QoS 0", "MQTT-3.3.1-2", "MQTT-3.3.1-2";
    EmptyTopicName => TopicNameInvalid, "a topic name must have at least one character", "MQTT-4.7.3-1", "MQTT-4.7.3-1";
    EmptyTopicNameWithoutAlias => ProtocolError, "an empty topic name needs a topic alias", "MQTT-4.7.3-1", "section 3.3.2.1";
    WildcardInTopicName => TopicNameInvalid, "a topic name must not contain + or #", "MQTT-3.3.2-2, MQTT-4.7.1-1", "MQTT-3.3.2-2, MQTT-4.7.0-1";
    TopicNameTooDeep => TopicNameInvalid, "a topic name may have 200 levels", "ours", "ours";
    TopicAliasZero => TopicAliasInvalid, "a topic alias must not be 0", "no rule", "MQTT-3.3.2-8";
    PayloadNotUtf8 => PayloadFormatInvalid, "a payload marked as UTF-8 must be well-formed", "no rule", "section 3.3.2.3.2";
    // SUBSCRIBE and UNSUBSCRIBE.
    NoTopicFilters => ProtocolError, "there must be at least one topic filter", "MQTT-3.8.3-3, MQTT-3.10.3-2", "MQTT-3.8.3-2, MQTT-3.10.3-2";
    EmptyTopicFilter => TopicFilterInvalid, "a topic filter must have at least one character", "MQTT-4.7.3-1", "MQTT-4.7.3-1";
    MisplacedWildcard => TopicFilterInvalid, "# must be the last level and + a whole level of a topic filter", "MQTT-4.7.1-2, MQTT-4.7.1-3", "MQTT-4.7.1-1, MQTT-4.7.1-2";
    MalformedShare => TopicFilterInvalid, "a shared subscription must be $share/NAME/FILTER, with no wildcard in NAME", "ours", "MQTT-4.8.2-1, MQTT-4.8.2-2";
    TopicFilterTooDeep => TopicFilterInvalid, "a topic filter may have 200 levels", "ours", "ours";
    SubscribeReservedBits => MalformedPacket, "the reserved bits of the subscription options must be 0", "MQTT-3-8.3-4", "MQTT-3.8.3-5";
    SubscribeQosThree => ProtocolError, "the QoS of a subscription must be 0, 1 or 2", "MQTT-3-8.3-4", "section 3.8.3.1";
    RetainHandlingThree => ProtocolError, "retain handling must be 0, 1 or 2", "no rule", "section 3.8.3.1";
    NoLocalOnShared => ProtocolError, "no local must be 0 on a shared subscription", "no rule", "MQTT-3.8.3-4";
    // Properties.
    UnknownProperty => MalformedPacket, "a property must be one of the specification's", "no rule", "section 2.2.2.2";
    PropertyNotAllowed => MalformedPacket, "a property must be one that the packet type allows", "no rule", "section 2.2.2.2";
    DuplicateProperty => ProtocolError, "a property must not appear twice", "no rule", "section 2.2.2.2 and each property";
    FlagPropertyValue => ProtocolError, "this property must be 0 or 1", "no rule", "sections 3.1.2.11, 3.2.2.3, 3.3.2.3.2";
    ReceiveMaximumZero => ProtocolError, "the receive maximum must not be 0", "no rule", "section 3.1.2.11.3";
    MaximumPacketSizeZero => ProtocolError, "the maximum packet size must not be 0", "no rule", "section 3.1.2.11.4";
    SubscriptionIdentifierZero => ProtocolError, "a subscription identifier must not be 0", "no rule", "section 3.8.2.1.2";
    InvalidResponseTopic => ProtocolError, "a response topic must be a topic name: not empty, without + or #", "no rule", "MQTT-3.3.2-14";
    AuthenticationDataWithoutMethod => ProtocolError, "authentication data needs an authentication method", "no rule", "section 3.1.2.11.10";
    AuthenticationMethodMissing => ProtocolError, "AUTH needs an authentication method", "no rule", "section 3.15.2.2.2";
}

/// Why bytes are not a packet. Eight bytes at most, never on the heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// The rule that was broken.
    pub kind: DecodeErrorKind,
    /// The byte that broke it: a property identifier, a reason code, a protocol level, a packet
    /// type or a flags byte, by `kind`. Zero where no single byte did.
    pub detail: u8,
    packet: u8,
    level: u8,
}

impl DecodeError {
    pub(crate) const fn new(fault: Fault, packet: u8, level: u8) -> DecodeError {
        DecodeError {
            kind: fault.kind,
            detail: fault.detail,
            packet,
            level,
        }
    }

    /// The reason code to answer with; see [`DecodeErrorKind::reason`] for MQTT 3.
    pub const fn reason(&self) -> ReasonCode {
        self.kind.reason()
    }

    /// The packet that broke the rule; `None` for a reserved type.
    pub const fn packet_type(&self) -> Option<PacketType> {
        PacketType::from_u8(self.packet)
    }

    /// The protocol level in force: what CONNECT said, if it came that far, else the level of the
    /// `version` given to [`decode`](crate::decode); 0 for a CONNECT that broke before its level.
    ///
    /// A level of 5 or more is answered in the form of MQTT 5, a lower one in that of 3.1.1, 0 by
    /// closing.
    pub const fn level(&self) -> u8 {
        self.level
    }

    /// The version in force, or `None` if [`level`](Self::level) is not one we speak.
    pub const fn version(&self) -> Option<Version> {
        match self.level {
            3 => Some(Version::V31),
            4 => Some(Version::V311),
            5 => Some(Version::V5),
            _ => None,
        }
    }
}

impl fmt::Debug for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.packet_type() {
            Some(packet) => f.write_str(packet.name())?,
            None => write!(f, "packet type {}", self.packet)?,
        }
        let version = self.version().unwrap_or(Version::V5);
        write!(f, ": {}", self.kind.rule())?;
        if self.detail != 0 {
            write!(f, " (found 0x{:02X})", self.detail)?;
        }
        match self.kind.statement(version) {
            "ours" => f.write_str(" [limit of this server]"),
            statement => write!(f, " [{statement}]"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A broken rule before it is known in which packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: DecodeErrorKind,
    pub(crate) detail: u8,
}

impl DecodeErrorKind {
    pub(crate) const fn found(self, detail: u8) -> Fault {
        Fault { kind: self, detail }
    }
}

impl From<DecodeErrorKind> for Fault {
    fn from(kind: DecodeErrorKind) -> Fault {
        Fault { kind, detail: 0 }
    }
}

/// Why a packet cannot be written. Nothing is appended to the output then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A string or binary field is longer than its two byte length can say.
    #[error("a field of {len} bytes is too long for MQTT: shorten it to 65535 bytes or fewer")]
    FieldTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The packet is longer than four length bytes can say.
    #[error("a packet of {len} bytes after its header is too long for MQTT: at most 268435455")]
    PacketTooLarge {
        /// The remaining length in bytes.
        len: usize,
    },
    /// A variable byte integer above 268,435,455.
    #[error("{value} does not fit a variable byte integer: at most 268435455")]
    IntegerTooLarge {
        /// The value.
        value: u32,
    },
    /// PUBLISH at QoS 1 or 2 without a packet identifier [MQTT-2.2.1-3].
    #[error("PUBLISH at QoS 1 or 2 needs a packet identifier [MQTT-2.2.1-3]")]
    PacketIdMissing,
    /// PUBLISH at QoS 0 with a packet identifier [MQTT-2.2.1-2].
    #[error("PUBLISH at QoS 0 must not have a packet identifier [MQTT-2.2.1-2]")]
    PacketIdAtQosZero,
    /// The version has no way to say this.
    #[error("{version} cannot express {what} in {packet}: use MQTT 5 or leave it out")]
    NotInVersion {
        /// The packet that was to be written.
        packet: PacketType,
        /// The version it was to be written for.
        version: Version,
        /// What has no form there.
        what: &'static str,
    },
    /// The receiver would have to refuse the packet by this rule.
    #[error("a receiver would refuse this packet: {}", .0.rule())]
    Refused(DecodeErrorKind),
}

impl From<DecodeErrorKind> for EncodeError {
    fn from(kind: DecodeErrorKind) -> EncodeError {
        EncodeError::Refused(kind)
    }
}

impl From<Fault> for EncodeError {
    fn from(fault: Fault) -> EncodeError {
        EncodeError::Refused(fault.kind)
    }
}
