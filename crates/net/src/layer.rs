//! What lies between the bytes of a socket and the bytes of a protocol: nothing, TLS, WebSocket,
//! or WebSocket inside TLS. The engine owns one [`Layer`] per connection that needs one, feeds it
//! what it read and writes what it is given; there is no socket in here.

mod handed_over;
mod tls;
mod websocket;

use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection};
use thiserror::Error;

use self::handed_over::HandedOverTls;
use self::tls::Tls;
use self::websocket::WebSocket;
pub use self::websocket::WebSocketError;

/// Transform between socket bytes and protocol bytes of one accepted connection.
///
/// Idle, it holds no buffers: `examples/idle_tls.rs` tells what one costs. Only a WebSocket that was
/// upgraded inside TLS keeps the 4 KiB buffer of the rustls connection that it was handed.
#[derive(Debug)]
pub struct Layer(Kind);

#[derive(Debug)]
enum Kind {
    Tls(Box<Tls>),
    WebSocket(WebSocket),
    TlsWebSocket(Box<(HandedOverTls, WebSocket)>),
}

/// Whether more protocol bytes may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The peer may send more.
    Open,
    /// The peer closed in good order (TLS close_notify or a WebSocket close frame) and the answer
    /// is in `raw_out`. Write it, then close the socket. What came before was appended to `plain`;
    /// what comes after is ignored.
    Closed,
}

/// Why a connection cannot go on. The last words to the peer (TLS alert, close frame) are already
/// in `raw_out`: write them, then close the socket.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The TLS peer did something that rustls refuses, or sent a fatal alert itself.
    #[error("TLS failed: {0}; {advice}", advice = tls::advice(.0))]
    Tls(#[from] rustls::Error),
    /// The peer broke the WebSocket rules.
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
    /// The caller sent before the TLS handshake was finished, although it can have read nothing
    /// yet that would deserve an answer.
    #[error(
        "the TLS handshake is not finished; send after `Layer::is_handshaking` has become false"
    )]
    TooEarly,
    /// The caller sent after the peer or we had closed.
    #[error("the connection was closed in good order, nothing more can be sent on it; drop it")]
    Closed,
}

impl Layer {
    /// A TLS server whose handshake has not begun: the first bytes to [`Layer::receive`] are the
    /// ClientHello.
    ///
    /// # Panics
    ///
    /// If `config` cannot start a connection, which rustls only says of a record size out of its
    /// range; [`crate::PrivateCa::server_config`] sets none.
    pub fn tls(config: Arc<ServerConfig>) -> Layer {
        let tls = Tls::new(config).expect("a server configuration without record size");
        Layer(Kind::Tls(Box::new(tls)))
    }

    /// A WebSocket whose HTTP upgrade has been answered with 101.
    pub fn websocket() -> Layer {
        Layer(Kind::WebSocket(WebSocket::new()))
    }

    /// A WebSocket whose HTTP upgrade has been answered with 101 inside `connection`.
    ///
    /// `early_plain` is what the HTTP server had read, and so decrypted, behind the request. It and
    /// what `connection` has decrypted but nobody read are delivered, in this order, by the next
    /// [`Layer::receive`], which may be called with no bytes for that purpose.
    pub fn websocket_over_tls(connection: ServerConnection, early_plain: Vec<u8>) -> Layer {
        let both = (
            HandedOverTls::new(connection, early_plain),
            WebSocket::new(),
        );
        Layer(Kind::TlsWebSocket(Box::new(both)))
    }

    /// Takes bytes read from the socket, all of them. Appends protocol bytes to `plain`, and to
    /// `raw_out` what has to be written back at once: handshake, alert, pong, close.
    ///
    /// # Errors
    ///
    /// The peer broke the rules of TLS or WebSocket. `plain` then holds what was good before the
    /// fault, `raw_out` the alert or close frame that tells the peer. Later calls return
    /// [`Received::Closed`] and do nothing.
    pub fn receive(
        &mut self,
        raw: &[u8],
        plain: &mut Vec<u8>,
        raw_out: &mut Vec<u8>,
    ) -> Result<Received, LayerError> {
        match &mut self.0 {
            Kind::Tls(tls) => tls.receive(raw, plain, raw_out),
            Kind::WebSocket(websocket) => Ok(websocket.receive(raw, plain, raw_out)?),
            Kind::TlsWebSocket(both) => {
                let (tls, websocket) = &mut **both;
                receive_both(tls, websocket, raw, plain, raw_out)
            }
        }
    }

    /// Wraps protocol bytes for the wire and appends them to `raw_out`.
    ///
    /// TLS: application records of at most [`crate::limits::TLS_RECORD_PLAINTEXT`] bytes each.
    /// WebSocket: one binary frame per call [MQTT-6.0.0-1]; an empty call sends nothing.
    ///
    /// # Errors
    ///
    /// [`LayerError::Closed`] after either side has closed, [`LayerError::TooEarly`] before a
    /// TLS handshake is finished, [`LayerError::Tls`] if encryption fails.
    pub fn send(&mut self, plain: &[u8], raw_out: &mut Vec<u8>) -> Result<(), LayerError> {
        if plain.is_empty() {
            return Ok(());
        }
        match &mut self.0 {
            Kind::Tls(tls) => tls.send(plain, raw_out),
            Kind::WebSocket(websocket) => websocket.send(plain, raw_out),
            Kind::TlsWebSocket(both) => {
                let (tls, websocket) = &mut **both;
                let mut frame = Vec::new();
                websocket.send(plain, &mut frame)?;
                tls.send(&frame, raw_out)
            }
        }
    }

    /// Says goodbye: appends a WebSocket close frame (1000) and a TLS close_notify, as applicable.
    /// Nothing can be sent afterwards. Calling it twice, after an error, or during a TLS handshake
    /// adds nothing.
    pub fn close(&mut self, raw_out: &mut Vec<u8>) {
        match &mut self.0 {
            Kind::Tls(tls) => tls.close(raw_out),
            Kind::WebSocket(websocket) => websocket.close(raw_out),
            Kind::TlsWebSocket(both) => {
                let (tls, websocket) = &mut **both;
                let mut frame = Vec::new();
                websocket.close(&mut frame);
                tls.say_last(&frame, raw_out);
            }
        }
    }

    /// Whether a TLS handshake is still going on. Always false for a bare WebSocket.
    pub fn is_handshaking(&self) -> bool {
        match &self.0 {
            Kind::Tls(tls) => tls.is_handshaking(),
            Kind::WebSocket(_) => false,
            Kind::TlsWebSocket(both) => both.0.is_handshaking(),
        }
    }
}

fn receive_both(
    tls: &mut HandedOverTls,
    websocket: &mut WebSocket,
    raw: &[u8],
    plain: &mut Vec<u8>,
    raw_out: &mut Vec<u8>,
) -> Result<Received, LayerError> {
    let mut frames = Vec::new();
    let mut inner = Received::Open;
    let outer = tls.receive(raw, raw_out, |chunk| {
        inner = websocket.receive(chunk, plain, &mut frames)?;
        Ok(())
    });
    match outer {
        Ok(Received::Open) if inner == Received::Open => {
            if !frames.is_empty() {
                tls.send(&frames, raw_out)?;
            }
            Ok(Received::Open)
        }
        // The close frame, ours or the answer to theirs, is followed by close_notify.
        Ok(_) => {
            tls.say_last(&frames, raw_out);
            Ok(Received::Closed)
        }
        Err(error) => {
            tls.say_last(&frames, raw_out);
            Err(error)
        }
    }
}
