//! What loops, and other threads, say to a loop; and what all loops know of the listeners.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mio::Waker;
use safeport_broker::{Limits, PeerMessage, Publication};
use safeport_net::TlsService;

use safeport_store::log::Position;

use crate::connection::{Arrival, Leaving, Wrapped};
use crate::gatekeeper::Verdict;
use crate::observer::{Addressee, Watch};
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
    Observe(Arc<Watch>),
    Hear(Arc<dyn Addressee>),
    Deliver(String, Publication),
    DisconnectUser(String),
    DisconnectClient(String),
    /// Other listening sockets; to the loop that accepts.
    Sockets {
        listener: u8,
        change: SocketChange,
        done: SyncSender<io::Result<()>>,
    },
    /// The listener was switched off: its connections end. Answered with how many they were.
    EndListener {
        listener: u8,
        done: SyncSender<usize>,
    },
    BrokerLimits(Box<Limits>),
    ConnectTimeout(Duration),
    MaxConnections(usize),
    /// The disk has answered.
    Synced(io::Result<Position>),
    Shutdown {
        deadline: Instant,
    },
}

/// What becomes of the listening sockets of one listener. Answered once those that go are closed.
pub(crate) enum SocketChange {
    /// These, and no others.
    Set(Vec<mio::net::TcpListener>),
    /// These, too.
    Add(Vec<mio::net::TcpListener>),
    /// Not those that are bound to these addresses.
    Remove(Vec<SocketAddr>),
}

/// A connection on its way into a loop.
pub(crate) struct Incoming {
    pub(crate) stream: mio::net::TcpStream,
    pub(crate) listener: u8,
    pub(crate) layer: Option<Box<Wrapped>>,
    /// protocol bytes already decoded from the layer
    pub(crate) tail: Vec<u8>,
    /// bytes that were read before the layer was put on
    pub(crate) early: Vec<u8>,
    pub(crate) arrival: Box<Arrival>,
    pub(crate) admitted: Option<Box<Leaving>>,
}

/// What the connections of a listener are meant to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// The protocol itself, or what [`EngineHandle::adopt`](crate::EngineHandle::adopt) brings.
    Plain,
    /// TLS.
    Tls,
}

/// Bounds of one listener. They can be changed while it serves
/// ([`EngineHandle::set_limits`](crate::EngineHandle::set_limits)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Open sockets of this listener; default 1,000,000. Further ones are closed at once. Lowered:
    /// those that are open stay.
    pub max_connections: usize,
    /// Largest packet in bytes, with its fixed header; default 1 MiB. A larger one ends its
    /// connection with 0x95. Changed: a connection keeps what it began with, and was told.
    pub max_packet: u32,
    /// Takes its protocol in clear and inside TLS on the same port, whatever it is meant to
    /// carry; default false: who comes in the other form is told so and closed.
    pub accept_both: bool,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self {
            max_connections: 1_000_000,
            max_packet: 1 << 20,
            accept_both: false,
        }
    }
}

/// A listener as the loops know it.
pub(crate) struct ListenerInfo {
    pub(crate) name: Arc<str>,
    pub(crate) tls: TlsService,
    pub(crate) carries: Carries,
    max_connections: AtomicUsize,
    max_packet: AtomicU32,
    accept_both: AtomicBool,
    /// open sockets, over all loops
    pub(crate) open: AtomicUsize,
    /// where it accepts
    pub(crate) bound: Mutex<Vec<SocketAddr>>,
}

impl ListenerInfo {
    pub(crate) fn new(
        name: &str,
        tls: TlsService,
        carries: Carries,
        limits: &ListenerLimits,
    ) -> ListenerInfo {
        ListenerInfo {
            name: name.into(),
            tls,
            carries,
            max_connections: AtomicUsize::new(limits.max_connections),
            max_packet: AtomicU32::new(limits.max_packet),
            accept_both: AtomicBool::new(limits.accept_both),
            open: AtomicUsize::new(0),
            bound: Mutex::default(),
        }
    }

    pub(crate) fn limits(&self) -> ListenerLimits {
        ListenerLimits {
            max_connections: self.max_connections.load(Ordering::Relaxed),
            max_packet: self.max_packet.load(Ordering::Relaxed),
            accept_both: self.accept_both.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_limits(&self, limits: &ListenerLimits) {
        self.max_connections
            .store(limits.max_connections, Ordering::Relaxed);
        self.max_packet.store(limits.max_packet, Ordering::Relaxed);
        self.accept_both
            .store(limits.accept_both, Ordering::Relaxed);
    }
}

/// What a graceful stop came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when it began.
    pub connections: usize,
    /// Those that had not taken everything when the time was over.
    pub cut_off: usize,
}
