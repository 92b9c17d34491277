//! A WebSocket whose messages are handed on whole, text and binary apart.

use super::websocket::{Carries, WebSocket};
use super::{LayerError, Received, WebSocketError};

/// The server side of a WebSocket after its upgrade has been answered with 101, without its socket.
///
/// Between messages it holds some 60 bytes; of an unfinished message, what has come of it, up to
/// [`crate::limits::WEBSOCKET_GATHERED`], or what it was made for.
#[derive(Debug)]
pub struct Messages {
    websocket: WebSocket,
    gathered: Vec<u8>,
}

/// One message of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text. Whether it is UTF-8 was not looked at: whoever reads it as JSON does.
    Text(&'a [u8]),
    /// Bytes.
    Binary(&'a [u8]),
}

impl Default for Messages {
    fn default() -> Messages {
        Messages::of_up_to(crate::limits::WEBSOCKET_GATHERED)
    }
}

impl Messages {
    /// Takes messages of so many bytes at most, instead of [`crate::limits::WEBSOCKET_GATHERED`].
    pub fn of_up_to(bytes: u32) -> Messages {
        Messages {
            websocket: WebSocket::new(Carries::Messages(bytes)),
            gathered: Vec::new(),
        }
    }

    /// Takes bytes read from the socket, all of them. Calls `each` for every message that is whole
    /// now, and appends to `raw_out` what has to be written back at once: pong, close.
    ///
    /// # Errors
    /// The peer broke the rules: write what is in `raw_out` (a close frame), then close the socket.
    /// Later calls return [`Received::Closed`] and do nothing.
    pub fn receive(
        &mut self,
        raw: &[u8],
        raw_out: &mut Vec<u8>,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<Received, WebSocketError> {
        self.websocket
            .receive(raw, &mut self.gathered, raw_out, |is_text, gathered| {
                each(match is_text {
                    true => Message::Text(gathered),
                    false => Message::Binary(gathered),
                });
                gathered.clear();
                // One long message must not make the rest of a session dear.
                gathered.shrink_to(KEPT);
            })
    }

    /// Appends a text message.
    ///
    /// # Errors
    /// [`LayerError::Closed`] after either side has closed.
    pub fn send_text(&self, text: &str, raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        self.websocket.send_text(text, raw_out)
    }

    /// Appends a binary message.
    ///
    /// # Errors
    /// [`LayerError::Closed`] after either side has closed.
    pub fn send_binary(&self, bytes: &[u8], raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        self.websocket.send(bytes, raw_out)
    }

    /// Appends a close frame (1000), unless one was sent. Nothing can be sent afterwards.
    pub fn close(&mut self, raw_out: &mut Vec<u8>) {
        self.websocket.close(raw_out);
    }
}

/// Bytes of memory that are kept for the next message; those of devices have some hundred.
const KEPT: usize = 512;
