//! The `http` and `https` listeners: health, metrics, pages for people, proofs that an address
//! reaches this server, the API for programs, and MQTT over WebSocket, whose sockets join the engine's loops after the
//! upgrade.
//!
//! [`HttpListeners`] holds the sockets, [`Site`] what is shown; both change while serving.

mod access_point;
mod api;
mod caller;
mod confirm;
mod connection;
pub mod download;
mod form;
mod listeners;
mod notice;
mod origin;
mod page;
mod pages;
mod room;
mod site;
mod stranger;
mod tls_socket;
mod transport;
mod vantage;
mod vision;
mod visit;
mod voice;
mod websocket;
mod xiaozhi;

#[cfg(test)]
mod tests;

pub use api::{Api, Devices, LocalAccess, WHO};
pub use confirm::PATH as CONFIRM_PATH;
pub use listeners::HttpListeners;
pub use site::{Confirm, Confirmed, Seen, Services, Site, SiteSettings};
pub use transport::Transport;
