//! The ClientHello of a device: what it says it can do, read before rustls is asked, so that a
//! certificate can be chosen that it can verify, records cut to what it can hold, and a failed
//! handshake explained. Called by the door for every TLS connection.

mod error;
mod fingerprint;
mod parse;
mod records;
mod stack;

pub use error::{HelloError, Part};
pub use stack::Stack;

use crate::limits::HELLO_BYTES;

/// What a client offered in its first TLS message, as far as it matters to a server of devices.
///
/// Lists keep the order of the wire. GREASE values (RFC 8701) stand in them as [`GREASE`],
/// whichever of the sixteen was sent. Extensions that are not known are named in
/// [`ClientHello::extensions`] and otherwise ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientHello {
    /// The version in the message body: 0x0300 SSL 3.0, 0x0301 TLS 1.0, 0x0303 TLS 1.2 and 1.3.
    pub legacy_version: u16,
    /// The extension supported_versions (43); empty without it, which means that
    /// `legacy_version` is the highest one.
    pub versions: Vec<u16>,
    /// Cipher suites, best first. 0x00ff and 0x5600 are signals, not suites.
    pub suites: Vec<u16>,
    /// The extension supported_groups (10); empty without it.
    pub groups: Vec<u16>,
    /// The extension signature_algorithms (13); empty without it.
    pub signatures: Vec<u16>,
    /// The extension signature_algorithms_cert (50); empty without it, and then `signatures`
    /// holds for the certificates too.
    pub certificate_signatures: Vec<u16>,
    /// The groups of the extension key_share (51), without their keys.
    pub key_shares: Vec<u16>,
    /// The types of all extensions, in order.
    pub extensions: Vec<u16>,
    /// The host name of the extension server_name (0) as it was sent; Tasmota puts an address
    /// here when it connects to one. What is not text is replaced by U+FFFD. None without the
    /// extension and for an empty name. Cut off behind
    /// [`HELLO_NAME`](crate::limits::HELLO_NAME) bytes.
    pub server_name: Option<String>,
    /// The protocols of the extension ALPN (16), best first, at most
    /// [`HELLO_PROTOCOLS`](crate::limits::HELLO_PROTOCOLS).
    pub alpn: Vec<String>,
    /// The extension max_fragment_length (1): 512, 1024, 2048 or 4096 bytes of plaintext.
    /// None without it and for any other code.
    pub max_fragment: Option<u16>,
    /// The extension record_size_limit (28) in bytes. None without it and below 64, which
    /// RFC 8449 forbids.
    pub record_size_limit: Option<u16>,
    /// Whether a session identifier is sent: it resumes one, or wants to look like TLS 1.2.
    pub session_id: bool,
    /// The extension session_ticket (35): None without it, true when it carries a ticket.
    pub ticket: Option<bool>,
    /// Whether the extension pre_shared_key (41) is there: a TLS 1.3 session is resumed.
    pub psk: bool,
    /// Whether secure renegotiation is known: renegotiation_info (0xff01) or suite 0x00ff.
    pub secure_renegotiation: bool,
    /// Whether the extension extended_master_secret (23) is there.
    pub extended_master_secret: bool,
    /// Whether the extension encrypt_then_mac (22) is there.
    pub encrypt_then_mac: bool,
    /// The point formats of the extension ec_point_formats (11); empty without it.
    pub point_formats: Vec<u8>,
}

/// What stands in the lists of a [`ClientHello`] for any GREASE value.
pub const GREASE: u16 = 0x0a0a;

/// TLS 1.2 as it stands on the wire.
pub const TLS12: u16 = 0x0303;

/// TLS 1.3 as it stands on the wire.
pub const TLS13: u16 = 0x0304;

impl ClientHello {
    /// Reads the ClientHello at the start of a connection, from the bytes as they come from the
    /// socket: TLS records with their headers. `None` means that it is not all there yet.
    ///
    /// A message that is cut over several records is joined; what follows it is left alone. It
    /// may be called again and again with a growing buffer: until the message is whole it looks
    /// at the record headers only.
    ///
    /// # Errors
    ///
    /// The bytes are not a TLS ClientHello, it contradicts itself, or it is longer than
    /// [`HELLO_BYTES`]. More bytes do not help then.
    pub fn read(records: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        match records::message(records)? {
            Some(body) => parse::body(&body).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the client can speak `version` ([`TLS12`] or [`TLS13`]).
    pub fn speaks(&self, version: u16) -> bool {
        match self.versions.is_empty() {
            true => version <= self.legacy_version && version != TLS13,
            false => self.versions.contains(&version),
        }
    }

    /// The highest version that the client can speak, as it stands on the wire.
    pub fn highest_version(&self) -> u16 {
        let offered = self.versions.iter().copied();
        let known = offered.filter(|version| version >> 8 == 3);
        known.max().unwrap_or(self.legacy_version)
    }

    /// The longest plaintext of one record that the client asked for, in bytes; None when it
    /// asked for nothing. Of two wishes the smaller one.
    pub fn fragment(&self) -> Option<usize> {
        // In TLS 1.3 the limit counts the hidden content type too (RFC 8449 §4).
        let limit = self
            .record_size_limit
            .map(|limit| limit - u16::from(self.speaks(TLS13)));
        let wishes = self.max_fragment.into_iter().chain(limit);
        wishes.min().map(usize::from)
    }
}
