//! The packets. They borrow from the bytes they were decoded from.

use core::fmt;
use core::num::NonZeroU16;

use crate::properties::Properties;
use crate::read::Reader;
use crate::reason::ReasonCode;

/// A packet identifier: never zero [MQTT-2.2.1-3] (3.1.1: [MQTT-2.3.1-1]).
pub type PacketId = NonZeroU16;

/// A version of the protocol. The numbers are the protocol levels on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1, which calls itself `MQIsdp`.
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V31 => "MQTT 3.1",
            Version::V311 => "MQTT 3.1.1",
            Version::V5 => "MQTT 5.0",
        })
    }
}

/// How surely a message arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// Sent once, acknowledged by nobody.
    #[default]
    AtMostOnce = 0,
    /// Acknowledged; may arrive twice.
    AtLeastOnce = 1,
    /// Acknowledged in two steps; arrives exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS with this number, or `None` for anything but 0, 1 and 2.
    pub const fn from_u8(value: u8) -> Option<QoS> {
        match value {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// The kind of a packet. The numbers are those in the upper half of the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PacketType {
    /// Client asks to connect.
    Connect = 1,
    /// Server answers CONNECT.
    ConnAck = 2,
    /// A message.
    Publish = 3,
    /// Answers PUBLISH at QoS 1.
    PubAck = 4,
    /// Answers PUBLISH at QoS 2.
    PubRec = 5,
    /// Answers PUBREC.
    PubRel = 6,
    /// Answers PUBREL.
    PubComp = 7,
    /// Client asks for subscriptions.
    Subscribe = 8,
    /// Server answers SUBSCRIBE.
    SubAck = 9,
    /// Client ends subscriptions.
    Unsubscribe = 10,
    /// Server answers UNSUBSCRIBE.
    UnsubAck = 11,
    /// Client shows that it lives.
    PingReq = 12,
    /// Server answers PINGREQ.
    PingResp = 13,
    /// The connection ends in order.
    Disconnect = 14,
    /// A step of enhanced authentication (MQTT 5 only).
    Auth = 15,
}

impl PacketType {
    /// The type with this number. 0 is reserved in every version.
    pub const fn from_u8(value: u8) -> Option<PacketType> {
        Some(match value {
            1 => PacketType::Connect,
            2 => PacketType::ConnAck,
            3 => PacketType::Publish,
            4 => PacketType::PubAck,
            5 => PacketType::PubRec,
            6 => PacketType::PubRel,
            7 => PacketType::PubComp,
            8 => PacketType::Subscribe,
            9 => PacketType::SubAck,
            10 => PacketType::Unsubscribe,
            11 => PacketType::UnsubAck,
            12 => PacketType::PingReq,
            13 => PacketType::PingResp,
            14 => PacketType::Disconnect,
            15 => PacketType::Auth,
            _ => return None,
        })
    }

    /// The name as the specification writes it, such as `CONNACK`.
    pub const fn name(self) -> &'static str {
        match self {
            PacketType::Connect => "CONNECT",
            PacketType::ConnAck => "CONNACK",
            PacketType::Publish => "PUBLISH",
            PacketType::PubAck => "PUBACK",
            PacketType::PubRec => "PUBREC",
            PacketType::PubRel => "PUBREL",
            PacketType::PubComp => "PUBCOMP",
            PacketType::Subscribe => "SUBSCRIBE",
            PacketType::SubAck => "SUBACK",
            PacketType::Unsubscribe => "UNSUBSCRIBE",
            PacketType::UnsubAck => "UNSUBACK",
            PacketType::PingReq => "PINGREQ",
            PacketType::PingResp => "PINGRESP",
            PacketType::Disconnect => "DISCONNECT",
            PacketType::Auth => "AUTH",
        }
    }

    /// The lower half of the first byte, for every type but PUBLISH: PUBREL, SUBSCRIBE and
    /// UNSUBSCRIBE carry 0b0010 ([MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]), the others 0.
    pub(crate) const fn flags(self) -> u8 {
        match self {
            PacketType::PubRel | PacketType::Subscribe | PacketType::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Any packet of any version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// CONNECT.
    Connect(Connect<'a>),
    /// CONNACK.
    ConnAck(ConnAck<'a>),
    /// PUBLISH.
    Publish(Publish<'a>),
    /// PUBACK.
    PubAck(Ack<'a>),
    /// PUBREC.
    PubRec(Ack<'a>),
    /// PUBREL.
    PubRel(Ack<'a>),
    /// PUBCOMP.
    PubComp(Ack<'a>),
    /// SUBSCRIBE.
    Subscribe(Subscribe<'a>),
    /// SUBACK.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK.
    UnsubAck(UnsubAck<'a>),
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Disconnect<'a>),
    /// AUTH (MQTT 5 only).
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// The packet's type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Packet::Connect(_) => PacketType::Connect,
            Packet::ConnAck(_) => PacketType::ConnAck,
            Packet::Publish(_) => PacketType::Publish,
            Packet::PubAck(_) => PacketType::PubAck,
            Packet::PubRec(_) => PacketType::PubRec,
            Packet::PubRel(_) => PacketType::PubRel,
            Packet::PubComp(_) => PacketType::PubComp,
            Packet::Subscribe(_) => PacketType::Subscribe,
            Packet::SubAck(_) => PacketType::SubAck,
            Packet::Unsubscribe(_) => PacketType::Unsubscribe,
            Packet::UnsubAck(_) => PacketType::UnsubAck,
            Packet::PingReq => PacketType::PingReq,
            Packet::PingResp => PacketType::PingResp,
            Packet::Disconnect(_) => PacketType::Disconnect,
            Packet::Auth(_) => PacketType::Auth,
        }
    }
}

/// CONNECT: the first packet of a client.
///
/// An empty client identifier with `clean_start` unset passes the codec: MQTT 3.1.1 wants it
/// answered by CONNACK 0x02 [MQTT-3.1.3-8], which is the broker's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the client speaks; the connection's version from here on.
    pub version: Version,
    /// Forget the old session (MQTT 3: "clean session").
    pub clean_start: bool,
    /// Longest silence that the client promises, in seconds. 0 switches it off.
    pub keep_alive: u16,
    /// Empty if the client leaves the choice to the server.
    pub client_id: &'a str,
    /// The message to publish when the client is lost.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password. Only MQTT 5 allows one without a user name [MQTT-3.1.2-22 of 3.1.1].
    pub password: Option<&'a [u8]>,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
    /// Top bit of the level byte: Mosquitto's mark of a bridge (0x83 and 0x84). Not in MQTT 5.
    pub bridge: bool,
}

/// The message that the server publishes when the client is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// A topic name: not empty, no wildcards.
    pub topic: &'a str,
    /// At most 65,535 bytes.
    pub payload: &'a [u8],
    /// QoS of the message.
    pub qos: QoS,
    /// Whether the message is retained.
    pub retain: bool,
    /// Will properties; empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// CONNACK: the server's answer to CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server continues an old session. MQTT 3.1 cannot say so: written as 0, read as false.
    pub session_present: bool,
    /// MQTT 3 return codes are mapped to and from the nearest code of MQTT 5, see
    /// [`ReasonCode::connect_return_code`].
    pub code: ReasonCode,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// PUBLISH: a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Sent before under the same packet identifier.
    pub dup: bool,
    /// QoS of the message.
    pub qos: QoS,
    /// To the server: keep it. To a client: it was kept.
    pub retain: bool,
    /// A topic name without wildcards. Empty only in MQTT 5, with a topic alias.
    pub topic: &'a str,
    /// `Some` exactly if the QoS is not 0.
    pub packet_id: Option<PacketId>,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
    /// The message itself; may be empty.
    pub payload: &'a [u8],
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The packet identifier that is acknowledged.
    pub packet_id: PacketId,
    /// `Success` before MQTT 5.
    pub code: ReasonCode,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// Which of the four acknowledgements an [`Ack`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}

impl AckKind {
    /// The packet type of this acknowledgement.
    pub const fn packet_type(self) -> PacketType {
        match self {
            AckKind::PubAck => PacketType::PubAck,
            AckKind::PubRec => PacketType::PubRec,
            AckKind::PubRel => PacketType::PubRel,
            AckKind::PubComp => PacketType::PubComp,
        }
    }
}

/// SUBSCRIBE: asks for one or more subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// To be repeated in SUBACK.
    pub packet_id: PacketId,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
    /// The topic filters with their options, at least one.
    pub filters: SubscribeFilters<'a>,
}

/// What a client wants of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// Highest QoS at which the client wants the messages.
    pub qos: QoS,
    /// Do not return the client's own messages. `false` before MQTT 5.
    pub no_local: bool,
    /// Keep the retain flag as published. `false` before MQTT 5.
    pub retain_as_published: bool,
    /// Whether retained messages are sent now. `SendAtSubscribe` before MQTT 5.
    pub retain_handling: RetainHandling,
}

/// Whether a SUBSCRIBE brings retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription did not exist yet.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

impl SubscribeOptions {
    /// The options byte of MQTT 5 (section 3.8.3.1); before MQTT 5 the same byte holds the QoS.
    pub const fn to_u8(self) -> u8 {
        self.qos as u8
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | (self.retain_handling as u8) << 4
    }

    /// Reads a byte that passed the decoder. Anything else gives `None`.
    pub const fn from_u8(byte: u8) -> Option<SubscribeOptions> {
        let retain_handling = match byte >> 4 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        };
        match QoS::from_u8(byte & 3) {
            Some(qos) => Some(SubscribeOptions {
                qos,
                no_local: byte & 0b0100 != 0,
                retain_as_published: byte & 0b1000 != 0,
                retain_handling,
            }),
            None => None,
        }
    }
}

/// The filters of a SUBSCRIBE: checked bytes, read anew by each [`iter`](Self::iter).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilters<'a> {
    /// Only the decoder and [`SubscribeBuf`](crate::SubscribeBuf) make these.
    pub(crate) bytes: &'a [u8],
}

impl<'a> SubscribeFilters<'a> {
    /// The topic filters and their options, in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || {
            let filter = reader.string().ok()?;
            Some((filter, SubscribeOptions::from_u8(reader.u8().ok()?)?))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none; never so in a decoded packet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// SUBACK: one code per filter of the SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
    /// Reason codes as bytes. Before MQTT 5 every failure is written as 0x80.
    pub codes: &'a [u8],
}

impl<'a> SubAck<'a> {
    /// The codes, in the order of the filters.
    pub fn reason_codes(&self) -> impl Iterator<Item = ReasonCode> + Clone + use<'a> {
        self.codes
            .iter()
            .filter_map(|code| ReasonCode::from_u8(*code))
    }
}

/// UNSUBSCRIBE: ends one or more subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// To be repeated in UNSUBACK.
    pub packet_id: PacketId,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
    /// The topic filters, at least one.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE: checked bytes, read anew by each [`iter`](Self::iter).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a> {
    /// Only the decoder and [`UnsubscribeBuf`](crate::UnsubscribeBuf) make these.
    pub(crate) bytes: &'a [u8],
}

impl<'a> UnsubscribeFilters<'a> {
    /// The topic filters, in the order of the packet.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        core::iter::from_fn(move || reader.string().ok())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none; never so in a decoded packet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// UNSUBACK: in MQTT 5 one code per filter of the UNSUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
    /// Reason codes as bytes. Empty before MQTT 5, and not written then.
    pub codes: &'a [u8],
}

impl<'a> UnsubAck<'a> {
    /// The codes, in the order of the filters.
    pub fn reason_codes(&self) -> impl Iterator<Item = ReasonCode> + Clone + use<'a> {
        self.codes
            .iter()
            .filter_map(|code| ReasonCode::from_u8(*code))
    }
}

/// DISCONNECT: the last packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// `Success` before MQTT 5, where only the client sends it.
    pub code: ReasonCode,
    /// Properties; empty before MQTT 5.
    pub properties: Properties<'a>,
}

/// AUTH: a step of enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate`.
    pub code: ReasonCode,
    /// Properties, the authentication method among them.
    pub properties: Properties<'a>,
}
