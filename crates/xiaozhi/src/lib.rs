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
mod framing;
mod login;
mod mcp;
mod message;
mod opus;
mod quirks;
mod reply;
mod session;
mod time;
mod token;
mod udp;
mod version;

pub use activation::{ActivateRequest, Code, SignedRequest, challenge_signature};
pub use base64::{
    decode as decode_base64, encode as encode_base64, encode_url as encode_base64_url,
};
pub use check::{Body, CheckError, CheckRequest, Client, Headers, Info, Modem, Network, Partition};
pub use framing::{Framed, Framing, FramingError};
pub use login::{ClientId, ClientIdError, Username};
pub use mcp::{
    CallError, CallId, Caller, Content, DeviceTools, McpEffect, McpError, McpHello, ModelNames,
    Tool, ToolError, ToolResult, Vision,
};
pub use message::{
    AudioFormat, AudioParams, DeviceHello, Emotion, Features, FromDevice, Heard, HelloWay, Json,
    Listen, MessageError, Mode, ServerHello, Subtitle, TextFont, ToDevice, Transport, Tts,
    UdpOffer,
};
pub use opus::{
    Bandwidth, OpusError, OpusMode, OpusPacket, Repacketizer, Toc, is_plausible_opus, opus_duration,
};
pub use quirks::{Misses, Quirks};
pub use reply::{
    Activation, CheckReply, Endpoint, EndpointError, Firmware, FirmwareUrl, Mqtt, ServerTime, Text,
    UrlError, Way, WebSocket, WebSocketUrl,
};
pub use session::{
    Action, End, Ending, Habits, NotHeard, Opening, Output, Taken, TurnId, Uplink, VoiceSession,
    Waits, Why,
};
pub use time::Time;
pub use token::{TokenError, management_token, mqtt_password, verify_mqtt_password};
pub use token::{verify_management_token, verify_websocket_token, websocket_token};
pub use udp::{
    AudioChannel, AudioChannels, AudioCounters, AudioError, AudioHeader, AudioKey, HeardAudio,
    NotAdded, Peer, SentAudio,
};
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
    /// Longest JSON message that is read, in bytes; a longer one is refused. Devices send up to
    /// 65,535 in one frame.
    pub const MAX_MESSAGE: usize = 65_536;
    /// Fields of one object of a message that are looked at; more are passed over.
    pub const MAX_FIELDS: usize = 32;
    /// Packets of an answer that wait for their time; more are refused until some were played.
    /// Nearly four seconds.
    pub const MAX_QUEUED_PACKETS: usize = 64;
    /// Sentences and faces of an answer that wait for their time; more are refused until some
    /// were shown.
    pub const MAX_QUEUED_WORDS: usize = 32;
    /// Longest text that is shown, in bytes; the rest is cut off. Devices keep a message in RAM.
    pub const MAX_SENTENCE: usize = 2048;
    /// Lines of a notice that are shown while it is played; more are left out.
    pub const MAX_SUBTITLES: usize = 32;
    /// Longest text of a `listen detect` message, in bytes; the rest is cut off.
    pub const MAX_SAID: usize = 4096;
    /// Longest Opus packet of either direction, in bytes; a longer one is dropped. Browsers send
    /// up to 2.3 kB.
    pub const MAX_OPUS_PACKET: usize = 4096;
    /// Frames that wait in a [`Repacketizer`](crate::Repacketizer) for others; what would be more
    /// is refused. Two packets of the most that one can hold.
    pub const MAX_WAITING_FRAMES: usize = 96;
    /// Longest Opus packet in a datagram to a device, in bytes; a longer one is not sent. With its
    /// header it stays below 1400, since devices read 1500 and cellular networks carry less.
    pub const MAX_UDP_PACKET: usize = 1384;
    /// How many numbers of datagrams may be missing before one; those beyond are dropped, or one
    /// forged number would make a session deaf. 120 s of the shortest packets that clients send
    /// (20 ms), after which a device that hears nothing has given up.
    pub const MAX_MISSED: u32 = 6000;
    /// Senders under the number of one session, beside its device, of which it is remembered how
    /// much speaks for them; of more, the one is forgotten that has the least to show.
    pub const MAX_TRIALS: usize = 8;
    /// Nothing sent to a device over UDP for so long, in milliseconds, and a keep-alive is due:
    /// home routers forget a way back after 30 s.
    pub const UDP_KEEP_ALIVE: u64 = 25_000;
    /// Longest name of a tool, in bytes; one with a longer name is left out.
    pub const MAX_TOOL_NAME: usize = 128;
    /// Longest description of a tool with its arguments, in bytes; a longer one is left out. A
    /// page of stock firmware has 8000.
    pub const MAX_TOOL: usize = 16_384;
    /// Tools of a device that are kept; more are left out. Stock boards have up to 30.
    pub const MAX_TOOLS: usize = 128;
    /// Names, descriptions and schemas of all tools of a device, in bytes; what would be more is
    /// left out.
    pub const MAX_LIST_BYTES: usize = 65_536;
    /// Pages of a list that are asked for; the rest is left out.
    pub const MAX_TOOL_PAGES: usize = 32;
    /// Calls of a device's tools that wait for an answer; more are refused. A device does them one
    /// after the other.
    pub const MAX_CALLS: usize = 8;
    /// Longest arguments of a call, in bytes; a call with longer ones is refused. Devices read a
    /// message into their heap.
    pub const MAX_ARGUMENTS: usize = 8192;
    /// Words of a tool's answer that are kept, in bytes; the rest is cut off.
    pub const MAX_RESULT_TEXT: usize = 32_768;
    /// Parts of a tool's answer that are kept; the rest is cut off.
    pub const MAX_RESULT_PARTS: usize = 16;
    /// Words of a device's error that are kept, in bytes; the rest is cut off.
    pub const MAX_ERROR_TEXT: usize = 1024;
    /// Effects of a device's tools that wait for the driver; while there are as many, questions of
    /// the device are not answered.
    pub const MAX_MCP_EFFECTS: usize = 64;
    /// How long a tool may take to answer, in milliseconds; then its call fails. A camera with a
    /// model behind it takes up to half a minute.
    pub const TOOL_CALL_DEADLINE: u64 = 30_000;
    /// How long a device may take to say who it is, or to list a page of tools, in milliseconds;
    /// it is asked twice.
    pub const TOOL_LIST_DEADLINE: u64 = 10_000;
    /// Least time between two lists that the device itself gave rise to, in milliseconds.
    pub const TOOL_LIST_PAUSE: u64 = 10_000;
}
