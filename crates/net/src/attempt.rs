//! What came of one connection: every try of a device to reach a listener is one [`Attempt`],
//! given to a [`Witness`]. [`judge`] says what it means.

mod alert;
mod cause;
mod judge;
mod suspects;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::cause::Cause;
pub use self::judge::{Certainty, Circumstances, Judgement, Service, judge};
use crate::hello::ClientHello;
use crate::{Chain, FirstBytes};

/// One connection to one listener, as far as it got.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it was accepted, by our clock.
    pub at: SystemTime,
    /// From then to its ending.
    pub took: Duration,
    /// The listener: `mqtt`, `mqtts`, `http` or `https`.
    pub listener: Arc<str>,
    /// The other end as the listener saw it.
    pub peer: SocketAddr,
    /// What its first bytes were; None when none or too few came.
    pub first: Option<FirstBytes>,
    /// Whether it asked in clear text for a WebSocket; only looked at when the request came to a
    /// listener where it does not belong.
    pub asked_websocket: bool,
    /// What TLS showed; None when there was no TLS.
    pub tls: Option<Box<TlsFacts>>,
    /// The client identifier of its CONNECT.
    pub client_id: Option<String>,
    /// The user name of its CONNECT or request.
    pub user: Option<String>,
    /// How it ended, or that it is connected.
    pub ending: Ending,
}

impl Attempt {
    /// An attempt that began at `at` and is over now, with nothing else known.
    pub fn new(at: SystemTime, listener: Arc<str>, peer: SocketAddr, ending: Ending) -> Attempt {
        Attempt {
            at,
            took: SystemTime::now().duration_since(at).unwrap_or_default(),
            listener,
            peer,
            first: None,
            asked_websocket: false,
            tls: None,
            client_id: None,
            user: None,
            ending,
        }
    }
}

/// What a TLS connection showed.
#[derive(Debug, Clone, Default)]
pub struct TlsFacts {
    /// The client's first message; None when it did not come whole or could not be read.
    pub hello: Option<ClientHello>,
    /// The certificates that it was sent; None before that, and when a session was resumed.
    pub served: Option<Arc<Chain>>,
    /// The version agreed on, as on the wire: 0x0303 or 0x0304.
    pub version: Option<u16>,
    /// The suite agreed on, as on the wire.
    pub suite: Option<u16>,
    /// Whether an earlier session was resumed, so that no certificate was sent.
    pub resumed: bool,
    /// The longest plaintext of the records that we send it, in bytes; 0 when not decided.
    pub record_size: u16,
    /// The longest record of data that was sent to it, if any was.
    pub largest_sent: Option<SentRecord>,
}

/// A record of application data that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentRecord {
    /// Its plaintext in bytes.
    pub bytes: u16,
    /// How long before the connection's ending it was given to the kernel.
    pub before_end: Duration,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It did not: CONNACK 0, an answered HTTP request, or an upgrade to WebSocket.
    Connected,
    /// A CONNACK that refuses.
    Refused {
        /// The reason as a number of MQTT 5, whatever the client speaks.
        reason: u8,
        /// The reason in words.
        why: String,
    },
    /// Its first bytes do not belong on this listener; it was told so and closed.
    WrongProtocol,
    /// The client sent this fatal TLS alert.
    AlertReceived(u8),
    /// We ended the TLS handshake or connection.
    Failed {
        /// The fatal alert that we sent, if one was due.
        alert: Option<u8>,
        /// The reason in words.
        why: String,
    },
    /// The client closed without a word.
    Closed {
        /// How far it had come.
        stage: Stage,
        /// With RST and not with FIN.
        reset: bool,
    },
    /// We closed because the client did not go on in time.
    TimedOut {
        /// How far it had come.
        stage: Stage,
        /// Bytes of ours that its kernel never acknowledged; None where that is not known.
        unacknowledged: Option<u32>,
    },
    /// It was one too many.
    TurnedAway(Limit),
    /// The same client identifier connected again, which ended this one.
    TakenOver,
    /// It went well as a connection, and what a part of the server noted of it says more: a check, or
    /// many connections of which none lasts.
    Noted {
        /// What that means.
        cause: Cause,
        /// What was seen, in words.
        why: String,
    },
}

/// A connection that had a CONNACK is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// When, by our clock.
    pub at: SystemTime,
    /// The client identifier of its CONNECT.
    pub client_id: String,
    /// How it ended.
    pub how: Departed,
}

/// How a connection with a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Departed {
    /// Nothing came for one and a half keep alives.
    KeepAlive,
    /// The socket closed without DISCONNECT.
    Lost,
    /// The client said goodbye.
    Goodbye,
    /// The same client identifier connected again.
    TakenOver,
    /// The client broke the protocol.
    Protocol,
    /// The server ended it.
    Server,
}

/// How far a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// It sent no byte.
    Silent,
    /// It sent part of a first message: of a ClientHello, a CONNECT or a request.
    Hello,
    /// Our part of the TLS handshake with the certificate is out, and nothing came after it.
    Certificate,
    /// The TLS handshake is done, but no CONNECT or request came.
    Finished,
    /// It had a CONNACK or an answer.
    Established,
}

/// The bound that a connection ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Every place for a handshake was taken, and it was the one that had been silent longest.
    PushedOut,
    /// Every place for a handshake was taken by clients that are in the middle of one.
    TooManyHandshakes,
    /// Its address alone has too many handshakes open.
    TooManyFromAddress,
    /// The listener has its most connections.
    TooManyConnections,
    /// The process has no file descriptor left.
    NoDescriptors,
}

/// Who is told of attempts.
pub trait Witness: Send + Sync + 'static {
    /// Takes note of one attempt. Called from event loops, so it must not block.
    fn saw(&self, attempt: Attempt);

    /// Takes note that a connection with a session is over. Called from event loops, so it must not
    /// block.
    fn left(&self, _departure: Departure) {}
}
