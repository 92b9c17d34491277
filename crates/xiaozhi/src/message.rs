//! The JSON messages of a conversation, the same over WebSocket and MQTT.
//!
//! Reading is lenient, as devices and servers of the field are with each other: unknown types and
//! fields mean nothing, a field of a wrong type counts as absent and is named in
//! [`Heard::wrong`]. Writing is exact: what is written here, every firmware understands. Both
//! directions can be read and written, since pretend devices and the doctor stand on the other
//! side.

mod emotion;
mod fields;
mod from_device;
mod hello;
mod json;
mod to_device;

#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::vec::Vec;

pub use emotion::Emotion;
pub use from_device::{FromDevice, Listen, Mode};
pub use hello::{
    AudioFormat, AudioParams, DeviceHello, Features, HelloWay, ServerHello, TextFont, Transport,
    UdpOffer,
};
pub use json::Json;
pub use to_device::{Subtitle, ToDevice, Tts};

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard<'a, M> {
    /// What it says.
    pub message: M,
    /// Which voice session it names. Programs send an empty one or none: a connection, and not
    /// this field, says whose a message is.
    pub session_id: Option<Cow<'a, str>>,
    /// Fields of a type or a value that they cannot have, each once. They count as absent.
    pub wrong: Vec<&'static str>,
}

/// Why nothing could be read. The message is dropped; the connection stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than a message may be.
    #[error(
        "a message of {bytes} bytes is longer than {}; a device sends less in one frame",
        crate::limits::MAX_MESSAGE
    )]
    Long {
        /// Its size.
        bytes: usize,
    },
    /// No JSON object.
    #[error(
        "a message is no JSON object; each of them looks like {{\"type\":\"listen\",...}}, and \
         audio goes in binary frames"
    )]
    NotAnObject,
    /// No type.
    #[error("a message has no text in `type`, which says what it is")]
    NoType,
}
