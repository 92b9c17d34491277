//! Why a scene could not be played.

use crate::descriptors::TooFewDescriptors;
use std::io;
use std::net::SocketAddr;

/// Why a scene could not be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VoiceError {
    /// It asks for what cannot be done.
    #[error("this scene cannot be played: {0}")]
    Scene(String),
    /// The address is none that can be loaded.
    #[error(
        "{url} is no address for this load: write http://HOST:PORT/xiaozhi/ota/ or ws://HOST:PORT/PATH"
    )]
    Address {
        /// What was given, or what the server told.
        url: String,
    },
    /// There is nobody.
    #[error("no connection to {address}: {error}; is the server listening there?")]
    Connect {
        /// The server.
        address: SocketAddr,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A device was told no WebSocket.
    #[error(
        "a device was not told where to talk within {seconds} s; its check was answered with: {answer}. \
         The server must take devices in without a code (xiaozhi.activation = \"open\")"
    )]
    NotTold {
        /// How long it asked.
        seconds: u64,
        /// The last answer.
        answer: String,
    },
    /// A device could not open its conversation where nothing was measured yet.
    #[error("a device could not open its conversation: {0}")]
    Opening(#[source] io::Error),
    /// The process could not be read.
    #[error("the figures of process {pid} cannot be read from /proc: {error}; is the pid right?")]
    Process {
        /// The process.
        pid: u32,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The machine gives no event loop.
    #[error("this load cannot run here: {0}")]
    Runtime(#[source] io::Error),
    /// Too few descriptors.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
}
