//! MQTT 3.1, 3.1.1 and 5.0: bytes to packets and packets to bytes, without I/O.
//!
//! The broker, the engine, the doctor and the simulated devices speak MQTT through this crate.
//! It sees one packet at a time and keeps no state: whatever one packet alone can break is judged
//! here, whatever needs the session (an unknown alias, an exceeded quota, a second CONNECT) is the
//! broker's.
//!
//! * [`decode`] borrows from the bytes it is given and never touches the heap. A packet in the
//!   result has passed every rule of the specification that can be judged from it; [`DecodeError`]
//!   names the rule, its statement id and the reason code to answer with.
//! * `encode` of every packet appends to a `Vec<u8>`, and refuses what a receiver would have to
//!   refuse.
//! * [`TopicName`] and [`TopicFilter`] are the rules of section 4.7.
//!
//! Statement ids such as [MQTT-3.3.2-2] are those of MQTT 5 unless 3.1.1 is named.
//!
//! ```
//! use safeport_mqtt::{Decoded, Packet, Version, decode, limits};
//!
//! let bytes = b"\x30\x08\x00\x03a/bhej";
//! let Decoded::Packet(Packet::Publish(message), used) =
//!     decode(bytes, Version::V311, limits::MAX_PACKET)?
//! else {
//!     panic!("the bytes are one whole PUBLISH");
//! };
//! assert_eq!((message.topic, message.payload, used), ("a/b", &b"hej"[..], 10));
//! # Ok::<(), safeport_mqtt::DecodeError>(())
//! ```
#![no_std]

extern crate alloc;

mod decode;
mod encode;
mod error;
mod filters;
pub mod limits;
mod packet;
mod properties;
mod property;
mod read;
mod reason;
mod rules;
mod topic;
mod wire;
mod write;

pub use decode::{Decoded, decode};
pub use error::{DecodeError, DecodeErrorKind, EncodeError};
pub use filters::{
    RetainHandling, SubscribeBuf, SubscribeFilters, SubscribeOptions, UnsubscribeBuf,
    UnsubscribeFilters,
};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Publish, SubAck, Subscribe, UnsubAck,
    Unsubscribe, Will,
};
pub use properties::{Properties, PropertiesBuf};
pub use property::Property;
pub use reason::ReasonCode;
pub use topic::{TopicError, TopicFilter, TopicName};
pub use wire::{AckKind, PacketId, PacketType, QoS, Version};
pub use write::{put_variable_integer, variable_integer_len};
