//! Behaviour of the crate as the engine and the binary see it: real handshakes and frames in
//! memory, real files, real ports.

#[cfg(unix)]
mod authority;
mod bind;
#[cfg(unix)]
mod chains;
mod folder;
mod lab;
mod peer;
#[cfg(unix)]
mod renewal;
mod tls;
mod websocket;
