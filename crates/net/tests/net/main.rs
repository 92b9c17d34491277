//! Behaviour of the crate as the engine and the binary see it: real handshakes and frames in
//! memory, real files, real ports.

#[cfg(unix)]
mod authority;
mod bind;
mod folder;
mod peer;
mod tls;
mod websocket;
