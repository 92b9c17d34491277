//! Listeners, certificates, and the byte layers between a socket and a protocol.
//!
//! Nothing here knows what a device is, and nothing here runs an event loop: the engine and the
//! binary own sockets and time and call
//!
//! * [`bind`] and [`bind_udp`] for a listening socket, with an error that says who holds the port
//!   ([`holder::holder_of`]);
//! * [`surroundings`] for the machine's addresses, its container, and names on the network;
//! * [`FirstBytes`] to recognise MQTT, TLS or HTTP on the wrong port;
//! * [`hello`] to read what a TLS client can do, and tell which stack it looks like;
//! * [`attempt`] to write down what came of a connection, and judge what it means;
//! * [`Layer`] to turn socket bytes into protocol bytes and back (TLS, WebSocket, both), [`Messages`]
//!   where the protocol above counts in messages of a WebSocket;
//! * [`upgrade`] to answer the HTTP request that opens a WebSocket;
//! * [`ntp`] to tell devices the time;
//! * [`PrivateCa`] for certificates that devices on a home network can use.

pub mod attempt;
mod cgroup;
mod first_bytes;
mod handshakes;
pub mod hello;
pub mod holder;
mod layer;
pub mod limits;
mod listener;
pub mod ntp;
pub mod pki;
pub mod surroundings;
pub mod upgrade;

pub use first_bytes::FirstBytes;
pub use handshakes::{HandshakeLimits, Handshakes, Turn};
pub use layer::{Layer, LayerError, Message, Messages, Received, WebSocketError};
pub use listener::{BindError, bind, bind_range, bind_udp, bind_udp_range, is_free};
pub use pki::{
    Certificates, Chain, Choice, Fingerprints, Offer, PkiError, PrivateCa, RecordSize, TlsProfile,
    TlsService,
};
pub use rustls;
