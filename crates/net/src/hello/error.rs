//! Why bytes are no ClientHello.

use thiserror::Error;

use super::HELLO_BYTES;

/// Why the start of a connection is not a ClientHello that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum HelloError {
    /// The first byte begins no TLS record.
    #[error(
        "the connection begins with byte {first:#04x}, which begins no TLS; look whether the client is set to TLS at all"
    )]
    NotTls {
        /// That byte.
        first: u8,
    },
    /// The form of SSL 2.0, which also carried the offer of later versions until about 2011.
    #[error(
        "the client speaks SSL 2.0, which nobody should; update its firmware, or let it use the listener without TLS"
    )]
    Ssl2,
    /// A TLS record, but an alert (21), data (23) or something else instead of a handshake.
    #[error(
        "the first TLS record has type {content} where a ClientHello (22) was due; the client seems to go on with an earlier connection, restart it"
    )]
    NotHandshake {
        /// The content type.
        content: u8,
    },
    /// A handshake message, but not the first one of a client.
    #[error(
        "the first handshake message has type {message} where a ClientHello (1) was due; something other than a TLS client connects here"
    )]
    NotClientHello {
        /// The handshake type.
        message: u8,
    },
    /// Longer than [`HELLO_BYTES`] or cut into more records than allowed.
    #[error(
        "the ClientHello is longer than {HELLO_BYTES} bytes or cut into too many records; no device sends that, look what connects"
    )]
    TooLarge,
    /// A length in the message contradicts another, or a list has half an entry.
    #[error(
        "the lengths in the ClientHello do not agree at {at}; the client or something on the way damages it"
    )]
    Malformed {
        /// The part of the message.
        at: Part,
    },
    /// The same extension stands there twice (RFC 8446 §4.2).
    #[error("extension {extension} stands in the ClientHello twice; the client is broken")]
    Twice {
        /// Its type.
        extension: u16,
    },
}

/// A part of a ClientHello, for [`HelloError::Malformed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A record header.
    Record,
    /// Version, random bytes and session identifier.
    Start,
    /// The cipher suites.
    Suites,
    /// The compression methods.
    Compressions,
    /// The list of extensions.
    Extensions,
    /// What stands in the extension of this type.
    Extension(u16),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Part::Record => f.write_str("a record header"),
            Part::Start => f.write_str("the session identifier"),
            Part::Suites => f.write_str("the cipher suites"),
            Part::Compressions => f.write_str("the compression methods"),
            Part::Extensions => f.write_str("the list of extensions"),
            Part::Extension(number) => write!(f, "extension {number}"),
        }
    }
}
