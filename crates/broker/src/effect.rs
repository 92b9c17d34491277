//! What a broker wants done: bytes to write, connections to close, peers to tell.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use safeport_mqtt::{ReasonCode, Version};

use crate::ids::ConnectionId;
use crate::message::Message;

/// Bytes in [`Effects::wire`], encoded once and perhaps sent to many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub(crate) start: u32,
    pub(crate) len: u32,
    /// where in the frame this receiver's packet id goes; 0 = it has none
    pub(crate) packet_id_at: u32,
    pub(crate) packet_id: u16,
}

impl Frame {
    /// Appends the frame's bytes to `out`, with the receiver's own packet id in place.
    pub fn write_to(&self, wire: &[u8], out: &mut Vec<u8>) {
        let start = self.start as usize;
        let base = out.len();
        out.extend_from_slice(&wire[start..start + self.len as usize]);
        if self.packet_id_at != 0 {
            let at = base + self.packet_id_at as usize;
            out[at..at + 2].copy_from_slice(&self.packet_id.to_be_bytes());
        }
    }
}

/// One thing to do. They are to be carried out in order.
#[derive(Debug)]
pub enum Effect {
    /// Append the frame to the connection's out buffer.
    Send {
        /// Which connection.
        to: ConnectionId,
        /// What, in [`Effects::wire`].
        frame: Frame,
    },
    /// Append the frame, then the message's payload (by reference if that pays).
    SendShared {
        /// Which connection.
        to: ConnectionId,
        /// Everything before the payload.
        head: Frame,
        /// Owner of the payload.
        message: Arc<Message>,
    },
    /// Call `handle_drained` once the connection's out buffer is empty.
    WatchDrain {
        /// Which connection.
        to: ConnectionId,
    },
    /// The connection's last packet was not handled ([`Handled::Later`](crate::Handled)): hand
    /// it in again.
    Resume {
        /// Which connection.
        to: ConnectionId,
    },
    /// Flush what is there, then close the socket. The broker has already forgotten it.
    Close {
        /// Which connection.
        to: ConnectionId,
    },
    /// Tell other loops or nodes, bit by bit of the mask.
    Tell {
        /// One bit for each peer.
        peers: u64,
        /// What.
        message: Box<PeerMessage>,
    },
    /// A client's message was taken whose topic is [observed](crate::Broker::observe).
    Observed(Box<Observed>),
    /// A client has said something to the server itself
    /// ([`Permissions::to_server`](crate::Permissions::to_server)).
    Addressed {
        /// On which connection.
        from: ConnectionId,
        /// Who, and what. Never retained.
        message: Box<Observed>,
    },
    /// For the log.
    Event(Box<Event>),
}

/// A message that the server itself looks at, and who sent it: what the payload says of its sender
/// may be wrong, the login is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Who published it, or whose will it is. `None` for a retained message that was there before.
    pub publisher: Option<Publisher>,
    /// Topic name.
    pub topic: Box<str>,
    /// Application payload.
    pub payload: Box<[u8]>,
    /// Whether it is, or was found, retained.
    pub retain: bool,
}

/// A client as it logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// Client identifier.
    pub client_id: String,
    /// User that it logged in as.
    pub user: Option<String>,
}

/// What brokers say to each other. Loops of one process and nodes of a cluster use the same
/// words; order between two peers is kept.
#[derive(Debug, Clone)]
pub enum PeerMessage {
    /// `members` local subscriptions exist now for this filter (or `$share/…` group); 0 ends
    /// the interest. Answer with `InterestKnown`.
    Interest {
        /// Filter, or `$share/<group>/<filter>`.
        filter: Arc<str>,
        /// How many.
        members: u32,
        /// Number to answer with; 0 = no answer wanted.
        sequence: u64,
    },
    /// The interest with that number is in force here.
    InterestKnown {
        /// As in `Interest`.
        sequence: u64,
    },
    /// A publish that the peer wants.
    Publish {
        /// The message, expiry included.
        message: Arc<Message>,
        /// Deliver to ordinary subscriptions.
        ordinary: bool,
        /// Deliver to one member of each of these `$share/…` groups.
        groups: Vec<Arc<str>>,
        /// Store it as retained (or, with an empty payload, remove what is retained).
        retain: bool,
        /// Number to answer with [`PeerMessage::Taken`] under: its publisher waits for it. 0 =
        /// nobody does.
        ask: u64,
    },
    /// The publish with that number is kept here as the settings want it. Must not be sent
    /// before the records made with it are kept.
    Taken {
        /// As in `Publish`.
        ask: u64,
        /// A session that is away has no room: it went without.
        refused: bool,
    },
}

/// Something the operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client is connected and has its session.
    Connected {
        /// On which connection.
        connection: ConnectionId,
        /// Client identifier.
        client_id: String,
        /// User that it logged in as.
        user: Option<String>,
        /// Protocol version.
        version: Version,
        /// Keep alive in force, in seconds.
        keep_alive: u16,
        /// An earlier session goes on.
        resumed: bool,
    },
    /// A CONNECT was answered with an error.
    Refused {
        /// On which connection.
        connection: ConnectionId,
        /// Client identifier as sent.
        client_id: String,
        /// User name as sent.
        user: Option<String>,
        /// What the client was told.
        reason: ReasonCode,
        /// Why, in words.
        why: Box<str>,
    },
    /// A connection ended.
    Disconnected {
        /// Which one; it is not closed yet.
        connection: ConnectionId,
        /// Client identifier.
        client_id: String,
        /// Why.
        cause: DisconnectCause,
    },
    /// A SUBSCRIBE or PUBLISH was refused for lack of rights.
    NotAllowed {
        /// Client identifier.
        client_id: String,
        /// User that it logged in as.
        user: Option<String>,
        /// `subscribe` or `publish`.
        action: &'static str,
        /// Topic or filter.
        topic: String,
    },
    /// A publisher is not read for a while: a subscriber does not keep up.
    HeldBack {
        /// Client whose messages wait.
        publisher: String,
        /// Client whose queue is full.
        subscriber: String,
    },
    /// Something was refused or dropped because a limit is reached.
    LimitReached {
        /// Client whose session is full, or that asked for more.
        client_id: String,
        /// Name of the limit, as in the settings.
        limit: &'static str,
    },
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectCause {
    /// The client said goodbye.
    Client,
    /// The client said goodbye and wanted its will published.
    ClientWithWill,
    /// The socket closed without DISCONNECT.
    Lost,
    /// Nothing came for one and a half keep alives.
    KeepAlive,
    /// The same client identifier connected again.
    TakenOver,
    /// The client broke the protocol; the code says how.
    Protocol(ReasonCode),
    /// We ended it; the code says why.
    Server(ReasonCode),
}

/// Effects of the last calls, and the bytes they refer to. Swapped out by the driver, so that
/// both sides keep their buffers.
#[derive(Debug, Default)]
pub struct Effects {
    /// What to do, in order.
    pub list: Vec<Effect>,
    /// Encoded packets that [`Frame`]s point into.
    pub wire: Vec<u8>,
}

impl Effects {
    /// Forgets all, keeps moderate buffers.
    pub fn clear(&mut self) {
        self.list.clear();
        self.wire.clear();
        self.list.shrink_to(64 << 10);
        self.wire.shrink_to(1 << 20);
    }

    pub(crate) fn frame_since(&self, start: usize) -> Frame {
        Frame {
            start: start as u32,
            len: (self.wire.len() - start) as u32,
            packet_id_at: 0,
            packet_id: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_stays_small() {
        // A fan-out makes one for each receiver.
        assert!(size_of::<Effect>() <= 32, "{}", size_of::<Effect>());
    }
}
