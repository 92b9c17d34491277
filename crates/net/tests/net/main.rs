//! Behaviour of the crate as the engine and the binary see it: real handshakes and frames in
//! memory, real files, real ports.

#[cfg(unix)]
mod authority;
mod bind;
#[cfg(unix)]
mod chains;
#[cfg(unix)]
mod choice;
#[cfg(unix)]
mod families;
mod folder;
mod lab;
mod peer;
#[cfg(unix)]
mod renewal;
#[cfg(unix)]
mod service;
mod tls;
mod websocket;
