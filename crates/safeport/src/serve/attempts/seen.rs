//! One attempt, judged, as small as it can be kept.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use safeport_net::attempt::{Attempt, Cause, Certainty, Ending, Judgement};
use safeport_net::hello::Stack;

use super::saw;
use crate::limits::SERVER_NAME_BYTES;
use crate::serve::access::shown;

/// What a ClientHello is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its shape, the same for all devices with the same firmware.
    pub fingerprint: String,
    /// What it looks like.
    pub stack: Stack,
    /// A number for the fingerprint, to find it by.
    pub(super) mark: u64,
}

/// One attempt to connect and what it means. What strangers sent is shortened and escaped.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it was over, since 1970.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
    /// The listener that it came to.
    pub listener: Arc<str>,
    /// Who came.
    pub peer: SocketAddr,
    /// What it means, or means most probably.
    pub cause: Cause,
    /// How sure that is.
    pub certainty: Certainty,
    /// What else it can mean, most probable first.
    pub others: Vec<Cause>,
    /// What was seen, in English, for the log and for searching; empty if it went well.
    pub why: String,
    /// Its ClientHello, if one came whole.
    pub hello: Option<Arc<Hello>>,
    /// The server name that was asked for.
    pub server_name: Option<String>,
    /// The number of the TLS version agreed on.
    pub version: Option<u16>,
    /// The number of the cipher suite agreed on.
    pub suite: Option<u16>,
    /// Whether an earlier TLS session was resumed.
    pub resumed: bool,
    /// The longest plaintext of the records that it is sent, in bytes.
    pub record_size: Option<u16>,
    /// The TLS alert that ended it, ours or theirs.
    pub alert: Option<u8>,
    /// Its client identifier.
    pub client_id: Option<String>,
    /// Its login name.
    pub user: Option<String>,
}

impl Seen {
    pub(super) fn new(attempt: &Attempt, hello: Option<Arc<Hello>>, judged: Judgement) -> Seen {
        let tls = attempt.tls.as_deref();
        let asked = tls
            .and_then(|facts| facts.hello.as_ref())
            .and_then(|hello| hello.server_name.as_deref());
        Seen {
            at: (attempt.at + attempt.took)
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            took: attempt.took,
            listener: attempt.listener.clone(),
            peer: SocketAddr::new(attempt.peer.ip().to_canonical(), attempt.peer.port()),
            cause: judged.cause,
            certainty: judged.certainty,
            others: judged.others,
            why: saw::in_words(attempt),
            hello,
            server_name: asked.map(|name| printable(name, SERVER_NAME_BYTES)),
            version: tls.and_then(|facts| facts.version),
            suite: tls.and_then(|facts| facts.suite),
            resumed: tls.is_some_and(|facts| facts.resumed),
            record_size: tls
                .map(|facts| facts.record_size)
                .filter(|bytes| *bytes > 0),
            alert: match attempt.ending {
                Ending::AlertReceived(alert) => Some(alert),
                Ending::Failed { alert, .. } => alert,
                _ => None,
            },
            client_id: attempt.client_id.as_deref().map(shown),
            user: attempt.user.as_deref().map(shown),
        }
    }

    /// The peer's address without its port.
    pub fn address(&self) -> IpAddr {
        self.peer.ip()
    }
}

/// A text from the wire without control characters, cut to so many bytes.
pub(super) fn printable(text: &str, bytes: usize) -> String {
    let mut kept = String::new();
    for character in text.chars() {
        let character = match character.is_control() {
            true => char::REPLACEMENT_CHARACTER,
            false => character,
        };
        if kept.len() + character.len_utf8() > bytes {
            break;
        }
        kept.push(character);
    }
    kept
}
