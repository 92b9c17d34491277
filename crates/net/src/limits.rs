//! Every bound of this crate, and what happens at it.

use std::time::Duration;

/// Largest plaintext of one outgoing TLS application record, in bytes, for clients that may have
/// small buffers.
///
/// BearSSL clients with a 1024-byte buffer (Tasmota on ESP8266) accept 1320 and die on more;
/// 1024 is what they asked for. Handshake records are not cut: mbedTLS 2.28 cannot join split
/// handshake messages. Longer writes become several records.
pub const TLS_RECORD_PLAINTEXT: u16 = 1024;

/// The same for clients that take every record that TLS allows (RFC 8446 §5.1).
pub const TLS_RECORD_WHOLE: u16 = 16 * 1024;

/// Most bytes held of a TLS record or handshake message that is not complete.
///
/// A record is at most 18 437 bytes, and a client without certificate has no handshake message
/// beyond some 2000. More ends the connection, so that a peer that never finishes cannot fill
/// memory.
pub const TLS_UNFINISHED: usize = 32 * 1024;

/// Longest ClientHello that is read, in bytes without its four bytes of type and length.
///
/// Devices send 100 to 600 bytes, browsers with post-quantum keys some 1800. A longer one ends
/// the connection with `HelloError::TooLarge` as soon as its length is known.
pub const HELLO_BYTES: usize = 16 * 1024;

/// Most TLS records that a ClientHello may be cut into; more is `HelloError::TooLarge`.
///
/// A client with the smallest fragment, 512 bytes, needs 33 for the longest hello.
pub const HELLO_RECORDS: usize = 64;

/// Protocols (ALPN) of a ClientHello that are kept; more are read and forgotten. Browsers offer
/// two or three. Each takes some 50 bytes, so that a hello full of short ones would take thirty
/// times its own length for as long as its handshake is open.
pub const HELLO_PROTOCOLS: usize = 32;

/// Bytes of the server name of a ClientHello that are kept; no host name is longer than 253.
pub const HELLO_NAME: usize = 255;

/// TLS 1.2 sessions remembered for clients that resume without tickets, per listener.
/// The oldest is forgotten when it is full, and that client pays a full handshake.
pub const TLS_SESSIONS: usize = 1024;

/// Largest MQTT packet: a 5-byte fixed header and 268 435 455 bytes after it [MQTT-2.1.4].
pub const MQTT_PACKET: u64 = 5 + 268_435_455;

/// Largest payload of one incoming WebSocket data frame, in bytes. A longer one is answered with
/// close code 1009. Payload is handed on as it arrives and never gathered, so the bound costs no
/// memory; the protocol above applies its own, smaller packet limit.
pub const WEBSOCKET_FRAME: u64 = MQTT_PACKET;

/// Largest incoming WebSocket message, all its frames together, in bytes. More is answered with
/// close code 1009.
pub const WEBSOCKET_MESSAGE: u64 = MQTT_PACKET;

/// Largest incoming message of a WebSocket whose messages are gathered ([`crate::Messages`]), in
/// bytes, its frames together. More is answered with close code 1009. Stock xiaozhi firmware sends
/// frames of at most 65 535 bytes.
pub const WEBSOCKET_GATHERED: u32 = 65_536;

/// Largest payload of a WebSocket control frame, in bytes (RFC 6455 §5.5). More is answered with
/// close code 1002.
pub const WEBSOCKET_CONTROL: usize = 125;

/// Connections the kernel keeps for us between two accepts.
///
/// Tasmota gives a TCP connect as little as 200 ms and ESPEasy 100 ms, so a whole fleet coming
/// back after a power cut has to fit. Linux caps it at `net.core.somaxconn` (4096 by default).
pub const LISTEN_BACKLOG: i32 = 4096;

/// How many ports after a taken one are tried when looking for a free one to suggest.
pub const FREE_PORT_TRIES: u16 = 20;

/// Longest certificate or key file that is read, in bytes; a longer one is refused as broken.
pub const PEM_FILE: u64 = 256 * 1024;

/// Most certificates in a file with a chain; more are refused. Real chains have two to five, and
/// the stack of Shelly follows eight.
pub const CHAIN_CERTIFICATES: usize = 10;

/// Most names one certificate carries; more are refused. An address takes some 22 bytes, so the
/// certificate stays under the 5 kB that were seen to pass the smallest client.
pub const CERTIFICATE_NAMES: usize = 128;

/// Holders of taken ports that the error about a whole range names; the others stay unnamed.
pub const RANGE_HOLDERS: usize = 5;

/// Characters of a process's command line that are shown; the rest is cut.
pub const COMMAND_LINE: usize = 200;

/// Names that are looked up at the same time. A resolver that does not answer keeps its thread
/// until it gives up, so more than these are refused until then.
pub const LOOKUPS: usize = 32;

/// Addresses whose questions for the time are counted; beyond, those that have not asked for
/// longest are forgotten. Some 80 bytes each.
pub const NTP_ADDRESSES: usize = 8192;

/// Questions for the time that one address may ask in a row. A device asks one, a client at its
/// start up to eight; more devices may share an address behind a router.
pub const NTP_QUESTIONS_AT_ONCE: f64 = 16.0;

/// Seconds after which an address that has asked too often may ask once more.
pub const NTP_SECONDS_PER_QUESTION: f64 = 1.0;

/// How long an address is not told again that it asks too often: it is then not answered at all.
pub const NTP_SECONDS_PER_REFUSAL: Duration = Duration::from_secs(60);
