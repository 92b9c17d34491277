//! How the command line on this machine gets in: a file in the data folder that says where the API
//! listens, and a token that only those have who may read that file.
//!
//! The token is drawn at each start and kept in memory; it is good for everything, and only for
//! those who come from this machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use safeport_store::{DataFolder, TokenHash};
use serde::{Deserialize, Serialize};

use super::super::Transport;
use super::super::caller::Caller;
use crate::token;

/// The name of the file.
const NAME: &str = "local.json";

/// What the file says.
#[derive(Clone, Serialize, Deserialize)]
pub struct LocalAccess {
    /// What to send as `Authorization: Bearer`.
    pub token: String,
    /// Where requests are answered without TLS.
    pub http: Vec<SocketAddr>,
    /// Where they are answered with TLS.
    pub https: Vec<SocketAddr>,
}

impl LocalAccess {
    /// What the server that runs on this folder has written.
    ///
    /// # Errors
    /// The file is not there or cannot be read, which is so for others than the server's user.
    pub fn read(folder: &DataFolder) -> io::Result<LocalAccess> {
        let text = fs::read_to_string(folder.path().join(NAME))?;
        serde_json::from_str(&text).map_err(io::Error::other)
    }
}

/// The server's side.
pub(super) struct Local {
    path: PathBuf,
    hash: TokenHash,
    access: Mutex<LocalAccess>,
}

impl Local {
    /// Nobody gets in before it is said where we listen. None if the system has no randomness.
    pub(super) fn new(folder: &DataFolder) -> Option<Local> {
        let token = token::draw().ok()?;
        Some(Local {
            path: folder.path().join(NAME),
            hash: token::hash(&token),
            access: Mutex::new(LocalAccess {
                token,
                http: Vec::new(),
                https: Vec::new(),
            }),
        })
    }

    /// Whether this is the token, from this machine.
    pub(super) fn is_it(&self, hash: TokenHash, caller: &Caller) -> bool {
        let peer = caller.peer.ip().to_canonical();
        let is_here = peer.is_loopback()
            || caller
                .local
                .is_some_and(|local| local.ip().to_canonical() == peer);
        is_here && self.hash == hash
    }

    /// Writes down where we listen now.
    pub(super) fn listening(&self, transport: Transport, addresses: &[SocketAddr]) {
        let mut access = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = addresses.iter().copied().map(from_here).collect();
        match transport {
            Transport::Plain => access.http = reached,
            Transport::Tls => access.https = reached,
        }
        if let Err(error) = write(&self.path, &access) {
            let path = self.path.display();
            tracing::warn!(
                target: "safeport::http",
                "{path} could not be written: {error}; commands that ask this server say that they \
                 cannot reach it until it can be"
            );
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // A file of a server that is gone is not believed either.
        let _ = fs::remove_file(&self.path);
    }
}

/// The address by which a program on this machine reaches a socket that is bound to `bound`.
fn from_here(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, bound.port())
}

/// Whole or not at all, and for nobody else to read.
fn write(path: &Path, access: &LocalAccess) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(&serde_json::to_vec(access).map_err(io::Error::other)?)?;
    drop(file);
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_on_every_address_is_reached_over_loopback() {
        for (bound, reached) in [
            ("0.0.0.0:8002", "127.0.0.1:8002"),
            ("[::]:8002", "[::1]:8002"),
            ("192.168.1.9:8002", "192.168.1.9:8002"),
        ] {
            let bound = bound.parse().expect("an address");
            assert_eq!(from_here(bound).to_string(), reached);
        }
    }
}
