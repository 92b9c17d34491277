//! Limits of this crate. Reaching one has the outcome written beside it.

/// Bytes of one Opus packet. The longest that clients send are 2.3 kB (browsers that put three
/// frames of 20 ms into one); a longer one is refused.
pub const PACKET_BYTES: usize = 4096;

/// Longest that one packet lasts, in milliseconds: what Opus allows (RFC 6716, 3.2.5).
pub const PACKET_MS: usize = 120;

/// Bytes that an encoded packet may have. libopus stays below it at every bit rate for speech; if it
/// cannot, it lowers the quality.
pub const ENCODED_BYTES: usize = 1275;
