//! Files for devices: `/ota/<token>/<file>`.
//!
//! Who may have which file is for the [`Shelf`] to say; here the bytes go out. In the clear they go
//! beside hyper, from the file to the socket within the kernel (`carry`), so that a thousand slow
//! devices cost a thousand small tasks and nothing else; inside TLS, and as a later request of a
//! connection that hyper serves, as a body of hyper (`body`). Both answer alike (`reply`).
//!
//! Devices are poor clients: HTTP/1.0 without ranges (Tasmota), or ranges whose last one ends a byte
//! too late (ESP-IDF). Nothing is ever redirected, chunked or compressed.

mod body;
#[cfg(target_os = "linux")]
mod carry;
mod head;
mod pace;
mod reply;

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;

pub(super) use body::{answer, wrong_method};
#[cfg(target_os = "linux")]
pub(super) use carry::carry;
pub use pace::Pace;

/// Where the paths of downloads begin.
pub const PATH: &str = "/ota/";

/// Knows what lies in which folder, and for whom.
pub trait Shelf: Send + Sync + 'static {
    /// What is to be sent. Called on the threads of HTTP: quick, and without waiting for a disk.
    ///
    /// # Errors
    /// In words for who reads a device's log.
    fn find(&self, asked: &Asked<'_>) -> Result<Served, NotServed>;

    /// How far a download has come: every [`crate::limits::DOWNLOAD_REPORT`] while bytes flow, and
    /// once at its end.
    fn progress(&self, ticket: Ticket, sent: Sent);
}

/// What a device asks for. Token and file have been looked at: nothing in them leads elsewhere.
#[derive(Debug)]
pub struct Asked<'a> {
    /// 20 characters, `a`-`z` and `2`-`7`.
    pub token: &'a str,
    /// 1 to 100 letters, digits, `.`, `_`, `-` and `+`, not beginning with a dot.
    pub file: &'a str,
    /// Headers as they came; names in any case.
    pub headers: &'a [(String, String)],
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Whether it came inside TLS.
    pub tls: bool,
    /// Only the length is asked for.
    pub is_head: bool,
}

impl Asked<'_> {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(&found.1)
    }
}

/// A file that may be sent.
#[derive(Debug, Clone)]
pub struct Served {
    /// Its bytes.
    pub content: Content,
    /// How long it is, in bytes; more than 0.
    pub length: u64,
    /// Of the whole file, for `x-MD5`, which Tasmota verifies.
    pub md5: Option<[u8; 16]>,
    /// Of the whole file, for `ETag`.
    pub sha256: Option<[u8; 32]>,
    /// `application/octet-stream` for firmware.
    pub content_type: &'static str,
    /// Names the download in [`Shelf::progress`].
    pub ticket: Ticket,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub enum Content {
    /// An open file, which several downloads may share.
    File(Arc<File>),
    /// In memory, for the short ones.
    Bytes(Bytes),
}

/// One download, in the numbers of the shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Why a file is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotServed {
    /// 404 unknown, 403 not for this device, 410 over, 503 not now.
    pub status: u16,
    /// One sentence, shown as the body.
    pub why: String,
}

/// How far a download has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// First byte of the file in this answer; more than 0 in a later range.
    pub start: u64,
    /// Bytes of this answer that were sent so far.
    pub bytes: u64,
    /// Bytes that this answer is to have.
    pub of: u64,
    /// Set once, at the end.
    pub ended: Option<End>,
}

/// How a download ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything was sent, and the client closed its end in peace or asked for more.
    Complete,
    /// The client went, or the network did.
    Gone,
    /// The client took nothing for [`crate::limits::DOWNLOAD_STALL`].
    Stalled,
    /// The server stops.
    Stopping,
}

/// Serves nothing.
#[derive(Debug)]
pub struct EmptyShelf;

impl Shelf for EmptyShelf {
    fn find(&self, _: &Asked<'_>) -> Result<Served, NotServed> {
        Err(NotServed {
            status: 404,
            why: "there is nothing to download here".to_owned(),
        })
    }

    fn progress(&self, _: Ticket, _: Sent) {}
}

/// Whether a connection that begins with `bytes` may want a file.
pub(super) fn wants_file(bytes: &[u8]) -> bool {
    head::wants_file(bytes) != Some(false)
}

fn busy() -> NotServed {
    NotServed {
        status: 503,
        why: "too many downloads are under way (firmware.bandwidth, firmware.max_downloads); ask again"
            .to_owned(),
    }
}

fn no_such_path() -> NotServed {
    NotServed {
        status: 404,
        why: "a file for a device is at /ota/<token>/<file>, with the token that it was given"
            .to_owned(),
    }
}

fn no_such_method() -> NotServed {
    NotServed {
        status: 405,
        why: "files are fetched with GET, and looked at with HEAD".to_owned(),
    }
}
