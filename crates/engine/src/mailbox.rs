//! What loops, and other threads, say to a loop; and what all loops know of the listeners.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::time::Instant;

use mio::Waker;
use rustls::ServerConfig;
use safeport_broker::{PeerMessage, Publication};

use safeport_store::log::Position;

use crate::connection::{Leaving, Wrapped};
use crate::gatekeeper::Verdict;
use crate::shared::Shared;

/// The way into one loop from other threads.
#[derive(Clone)]
pub(crate) struct Mailbox {
    pub(crate) sender: Sender<Command>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) shared: Arc<Shared>,
}

impl Mailbox {
    pub(crate) fn send(&self, command: Command) {
        // A loop that is gone has nobody to tell; its end is reported by `healthy` and join.
        if self.sender.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

/// What other threads tell a loop.
pub(crate) enum Command {
    Verdict {
        key: usize,
        serial: u32,
        verdict: Verdict,
    },
    Incoming(Box<Incoming>),
    Peer {
        from: u8,
        batch: Vec<PeerMessage>,
    },
    Publish(Publication),
    Deliver(String, Publication),
    DisconnectUser(String),
    DisconnectClient(String),
    /// The disk has answered.
    Synced(io::Result<Position>),
    Shutdown {
        deadline: Instant,
    },
}

/// A connection on its way into a loop.
pub(crate) struct Incoming {
    pub(crate) stream: mio::net::TcpStream,
    pub(crate) listener: u8,
    pub(crate) layer: Option<Box<Wrapped>>,
    /// protocol bytes already decoded from the layer
    pub(crate) tail: Vec<u8>,
    /// socket bytes that were read before the layer was put on
    pub(crate) early: Vec<u8>,
    pub(crate) admitted: Option<Box<Leaving>>,
}

/// Bounds of one listener.
#[derive(Debug, Clone)]
pub struct ListenerLimits {
    /// Open sockets of this listener; default 1,000,000. Further ones are closed at once.
    pub max_connections: usize,
    /// Largest packet in bytes, with its fixed header; default 1 MiB.
    pub max_packet: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            max_connections: 1_000_000,
            max_packet: 1 << 20,
        }
    }
}

/// A listener as the loops know it.
pub(crate) struct ListenerInfo {
    pub(crate) name: String,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) limits: ListenerLimits,
    /// open sockets, over all loops
    pub(crate) open: AtomicUsize,
}

/// What a graceful stop came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when it began.
    pub connections: usize,
    /// Those that had not taken everything when the time was over.
    pub cut_off: usize,
}
