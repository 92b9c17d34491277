//! What xiaozhi devices ask at every boot, and what their firmware makes of an answer.
//!
//! Everything here is a value or a decision: no socket, file or clock. Time is an argument. The
//! binary hands in headers and body of a request ([`CheckRequest::read`]), looks up what this
//! version of the firmware can do ([`Quirks`]) and writes a [`CheckReply`], a type in which what
//! breaks a device cannot be said: two ways at once, a `null`, a key that is too long for its
//! flash, a version that its parser does not survive.
//!
//! Facts are from the firmware's source (78/xiaozhi-esp32 up to 2.4.2) and from clients that were
//! run; comments name the file or the version that forced a line.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod activation;
mod base64;
mod check;
mod login;
mod quirks;
mod reply;
mod token;
mod version;

pub use activation::{ActivateRequest, Code, SignedRequest, challenge_signature};
pub use base64::{
    decode as decode_base64, encode as encode_base64, encode_url as encode_base64_url,
};
pub use check::{Body, CheckError, CheckRequest, Client, Headers, Info, Modem, Network, Partition};
pub use login::{ClientId, ClientIdError, Username};
pub use quirks::{Misses, Quirks};
pub use reply::{
    Activation, CheckReply, Endpoint, EndpointError, Firmware, FirmwareUrl, Mqtt, ServerTime, Text,
    UrlError, Way, WebSocket, WebSocketUrl,
};
pub use token::{TokenError, management_token, mqtt_password, verify_mqtt_password};
pub use token::{verify_management_token, verify_websocket_token, websocket_token};
pub use version::{Version, VersionError};

/// Limits of this crate. Reaching one has the outcome written beside it.
pub mod limits {
    /// Longest header or field of a check that is kept, in bytes; the rest is cut off. The longest
    /// that firmware sends is a hash of 64 digits.
    pub const MAX_FIELD: usize = 128;
    /// Rows of a partition table that are kept; more are left out. Stock tables have up to nine.
    pub const MAX_PARTITIONS: usize = 24;
    /// Segments of a version that are compared; a version with more is unreadable. The field in an
    /// image has room for 16.
    pub const MAX_SEGMENTS: usize = 16;
    /// Longest key that the device's flash storage (NVS) takes, in bytes. A longer one makes stock
    /// firmware abort, at every boot.
    pub const MAX_KEY: usize = 15;
    /// Longest text in a `mqtt` or `websocket` section, in bytes; a longer one cannot be put into
    /// a reply. NVS holds 4000.
    pub const MAX_TEXT: usize = 1024;
    /// Longest body of an activation call that is read, in bytes; a longer one is unreadable.
    pub const MAX_ACTIVATE_BODY: usize = 4096;
    /// How far the clock of who made a token may be ahead of ours, in seconds.
    pub const CLOCK_AHEAD: u64 = 300;
    /// Longest MQTT client identifier that is looked at, in bytes; a longer one is none of ours.
    pub const MAX_CLIENT_ID: usize = 256;
}
