//! The packets. They borrow from the bytes they were decoded from.

use crate::filters::{SubscribeFilters, UnsubscribeFilters};
use crate::properties::Properties;
use crate::reason::ReasonCode;
use crate::wire::{PacketId, PacketType, QoS, Version};

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
