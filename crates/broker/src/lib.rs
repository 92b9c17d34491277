//! The MQTT broker as a value: packets in, effects out.
//!
//! A driver (the engine's event loop, a test's virtual world) owns sockets, clock and
//! randomness. It feeds a [`Broker`] with decoded packets and the time, then carries out the
//! [`Effects`]:
//!
//! ```text
//! broker.handle_connect(connection, &connect, admission, now)   a client was admitted
//! broker.handle_packet(session, connection, &packet, now)       what it says
//! broker.handle_closed(session, connection, now)                its socket is gone
//! broker.handle_timeout(now)                                    poll_timeout() has come
//! broker.take_records(&mut records)                             what to keep first, if anything
//! broker.take_effects(&mut effects)                             what to do about it
//! ```
//!
//! Nothing here opens a file or socket, asks a clock or spawns a task: the crate is `no_std`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod broker;
mod connect;
mod delivery;
mod durable;
mod effect;
mod frame;
mod held;
mod ids;
mod limits;
mod message;
mod observing;
mod peering;
mod peers;
mod permissions;
mod publish;
mod pushback;
mod records;
mod replay;
mod retained;
mod session;
mod stats;
mod subscribe;
mod subscriptions;
mod time;
mod timers;
mod trie;

pub use broker::{Admission, Broker, BrokerSetup};
pub use durable::{RESTART_GRACE, Restored};
pub use effect::{
    DisconnectCause, Effect, Effects, Event, Frame, Observed, PeerMessage, Publisher,
};
pub use ids::{ConnectionId, SessionId};
pub use limits::{Limits, MAX_PEERS};
pub use message::{Message, Publication};
pub use peers::home_of;
pub use permissions::{Permissions, TopicRights};
pub use pushback::Handled;
pub use records::{BadRecord, DiskRoom};
pub use stats::{LOAD_INTERVAL, Load, Stats, sys_topics};
pub use time::Time;
