//! Limits of this crate. Reaching one has the outcome written beside it.

/// Pieces of evidence shown in one finding; the rest stands in the JSON.
pub const SIGHTS: usize = 4;

/// Findings shown below the fold.
pub const ALTERNATIVES: usize = 3;

/// Longest target that a person may type, in bytes; a longer one is no target.
pub const TARGET_BYTES: usize = 2048;

/// Bytes of a server's answer that are read; what follows is left alone. A chain of ten certificates
/// with RSA-4096 keys has 20 KiB.
pub const FLIGHT_BYTES: usize = 64 << 10;

/// Records of a server's answer that are read, and then remembered with their lengths.
pub const FLIGHT_RECORDS: usize = 128;

/// Certificates of a chain that are read; no device follows more.
pub const CHAIN_CERTIFICATES: usize = 10;

/// Longest certificate that is read, in bytes.
pub const CERTIFICATE_BYTES: usize = 16 << 10;

/// Trust anchors that are looked at; operating systems have about 150.
pub const ANCHORS: usize = 512;

/// Longest quote of an answer that is no TLS, in characters.
pub const BANNER_CHARS: usize = 80;

/// Connections that one run of probes opens to the target's host, whatever it looks for there. When
/// they are used up, the stages that are left say so.
pub const CONNECTS: u8 = 12;

/// Time for one run of probes, `--long` aside; stages that are left then do not run.
pub const PROBE_RUN: core::time::Duration = core::time::Duration::from_secs(90);

/// Bytes of a reply of DNS that are read; a longer one is no reply.
pub const DNS_REPLY: usize = 4096;

/// Addresses taken from one reply of DNS; the rest is left out.
pub const DNS_ADDRESSES: usize = 32;

/// Longest quote of a clue, in characters; what is longer ends in `…`.
pub const QUOTE_CHARS: usize = 300;

/// Bytes of a log that are read, its end; what stands before is left out, and the answer says so.
pub const LOG_BYTES: usize = 64 << 20;

/// Lines of a log that are read, its last; those before are left out, and the answer says so.
pub const LOG_LINES: usize = 1_000_000;

/// Bytes of a line that are read; the rest of it is left out, and the answer says so.
pub const LINE_BYTES: usize = 4096;

/// Devices told apart in one log; the lines of further ones are read as the last one's.
pub const LOG_DEVICES: usize = 16;

/// Boots of a device that are remembered, its last.
pub const BOOTS: usize = 64;

/// Lines of one boot, or of the servers, that point to something; earlier ones are forgotten.
pub const CLUES: usize = 256;

/// Addresses out of a log that are proposed for probing.
pub const TO_PROBE: usize = 8;

/// Names of a certificate that are shown; `+3` says how many more there are.
pub const NAMES_SHOWN: usize = 4;

/// Devices and addresses whose failures to connect are remembered; of more, those not seen for the
/// longest time are forgotten.
pub const WATCHED: usize = 4096;

/// Connections and take-overs of one client that are remembered, its last.
pub const WATCHED_CONNECTIONS: usize = 32;

/// Bytes of a capture that are read, its start; what follows is left out, and the answer says so.
pub const CAPTURE_BYTES: usize = 256 << 20;

/// Packets of a capture that are read; those behind them are left out, and the answer says so.
pub const CAPTURE_PACKETS: u32 = 2_000_000;

/// Conversations that are followed in a capture; packets of further ones are passed over, and the
/// answer says so.
pub const CONVERSATIONS: usize = 8192;

/// Bytes of each direction of a conversation that are put together; the rest is counted only.
pub const CONVERSATION_BYTES: usize = 64 << 10;

/// Bytes that are kept of all conversations of a capture; what comes later is counted only, and the
/// answer says so.
pub const CAPTURE_KEPT: usize = 96 << 20;

/// Segments of each direction of which it is remembered how often they were sent.
pub const SEGMENTS: usize = 128;

/// Questions to name servers, and to time servers, that are remembered of a capture; further ones
/// are passed over.
pub const QUESTIONS: usize = 4096;

/// Clues and layers that worked which one capture gives, its last.
pub const CAPTURE_CLUES: usize = 256;
