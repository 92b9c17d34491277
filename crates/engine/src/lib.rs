//! Event loops that carry bytes between sockets and brokers.
//!
//! Each loop is one thread. It owns its connections for life and one
//! [`Broker`](safeport_broker::Broker), so nothing on the way of a message takes a lock. Several
//! loops talk to each other in batches, in the words ([`safeport_broker::PeerMessage`]) that nodes
//! of a cluster use. A client identifier has one home among the loops: its connection moves
//! there once its CONNECT has said the identifier.
//!
//! TLS handshakes are made on threads of their own (`door.rs`); a loop gets a connection when its
//! handshake is over.
//!
//! One turn of a loop:
//!
//! ```text
//! wait → commands of other threads → read, decode, feed the broker, carry out its effects
//!      → timeouts → what has to survive a restart into the log, as one group
//!      → flush what was written to → batches to peers → free what was closed
//! ```

mod connection;
mod door;
mod engine;
mod event_loop;
mod gatekeeper;
mod journal;
mod ledger;
mod limits;
mod mailbox;
mod observer;
mod out_buffer;
mod pool;
mod recovery;
mod shared;
mod steering;

pub use engine::{Engine, EngineHandle, EngineSettings, ListenerSpec};
pub use gatekeeper::{Gatekeeper, Login, OwnedLogin, Verdict};
pub use mailbox::{Carries, Drained, ListenerLimits};
pub use observer::{Addressed, Addressee, Observer};
pub use recovery::{Durability, LogSettings, StartError};
pub use safeport_broker::{
    Limits, Observed, Permissions, Publication, Publisher, Stats, TopicRights,
};
pub use steering::SteeringError;
