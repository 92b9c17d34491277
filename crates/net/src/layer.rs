//! What lies between the bytes of a socket and the bytes of a protocol: nothing, TLS, WebSocket,
//! or WebSocket inside TLS. The engine owns one [`Layer`] per connection that needs one, feeds it
//! what it read and writes what it is given; there is no socket in here.

mod greeting;
mod messages;
mod tls;
mod websocket;

use std::net::IpAddr;

use thiserror::Error;

use self::greeting::Greeting;
pub use self::messages::{Message, Messages};
use self::tls::Tls;
pub use self::websocket::WebSocketError;
use self::websocket::{Carries, WebSocket};
use crate::TlsService;
use crate::attempt::{Ending, Stage, TlsFacts};

/// Transform between socket bytes and protocol bytes of one accepted connection.
///
/// Idle, it holds no buffers: `examples/idle_tls.rs` tells what one costs.
#[derive(Debug)]
pub struct Layer(Kind);

#[derive(Debug)]
enum Kind {
    /// TLS whose ClientHello has not come yet.
    Greeting(Box<Greeting>),
    Tls(Box<Tls>),
    WebSocket(WebSocket),
    TlsWebSocket(Box<(Tls, WebSocket)>),
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
    /// ClientHello. What `service` presents is asked for once that is complete.
    /// `reached` is the address of ours that the client came to, if it is known: a certificate
    /// for it is looked for when the client names none.
    pub fn tls(service: &TlsService, reached: Option<IpAddr>) -> Layer {
        Layer(Kind::Greeting(Box::new(Greeting::new(service, reached))))
    }

    /// A WebSocket whose HTTP upgrade has been answered with 101.
    pub fn websocket() -> Layer {
        Layer(Kind::WebSocket(WebSocket::new(Carries::Bytes)))
    }

    /// A WebSocket whose HTTP upgrade has been answered with 101 inside `tls`. What was decrypted
    /// behind the request is protocol of the WebSocket already: see [`Layer::receive_early`].
    ///
    /// # Panics
    ///
    /// If `tls` is not a [`Layer::tls`] whose handshake is finished.
    pub fn websocket_over(tls: Layer) -> Layer {
        match tls.0 {
            Kind::Tls(tls) if !tls.is_handshaking() => Layer(Kind::TlsWebSocket(Box::new((
                *tls,
                WebSocket::new(Carries::Bytes),
            )))),
            other => panic!("not TLS after its handshake: {other:?}"),
        }
    }

    /// For a [`Layer::websocket_over`]: takes bytes that were decrypted behind the request for the
    /// upgrade. To be called before [`Layer::receive`]; otherwise as that. Any other layer takes
    /// them as bytes from the socket.
    ///
    /// # Errors
    ///
    /// As for [`Layer::receive`].
    pub fn receive_early(
        &mut self,
        decrypted: &[u8],
        plain: &mut Vec<u8>,
        raw_out: &mut Vec<u8>,
    ) -> Result<Received, LayerError> {
        let Kind::TlsWebSocket(both) = &mut self.0 else {
            return self.receive(decrypted, plain, raw_out);
        };
        let (tls, websocket) = &mut **both;
        inner(tls, websocket, decrypted, plain, raw_out)
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
            Kind::Greeting(greeting) => match greeting.receive(raw) {
                None => Ok(Received::Open),
                Some(begun) => {
                    let (tls, bytes) = begun?;
                    self.0 = Kind::Tls(Box::new(tls));
                    self.receive(&bytes, plain, raw_out)
                }
            },
            Kind::Tls(tls) => tls.receive(raw, plain, raw_out),
            Kind::WebSocket(websocket) => Ok(websocket.receive(raw, plain, raw_out, |_, _| ())?),
            Kind::TlsWebSocket(both) => {
                let (tls, websocket) = &mut **both;
                let mut frames = Vec::new();
                let outer = tls.receive(raw, &mut frames, raw_out);
                let inner = inner(tls, websocket, &frames, plain, raw_out);
                // The WebSocket's fault is the first one; TLS only carried it.
                match (inner?, outer?) {
                    (Received::Open, Received::Open) => Ok(Received::Open),
                    _ => Ok(Received::Closed),
                }
            }
        }
    }

    /// Wraps protocol bytes for the wire and appends them to `raw_out`.
    ///
    /// TLS: application records, each as long as this connection's may be (see
    /// [`TlsFacts::record_size`]).
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
            Kind::Greeting(_) => Err(LayerError::TooEarly),
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
            Kind::Greeting(_) => {}
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
            Kind::Greeting(_) => true,
            Kind::WebSocket(_) => false,
            Kind::Tls(_) | Kind::TlsWebSocket(_) => self.as_tls().is_some_and(Tls::is_handshaking),
        }
    }

    /// Whether TLS protects the connection.
    pub fn is_tls(&self) -> bool {
        !matches!(self.0, Kind::WebSocket(_))
    }

    /// How far the peer has come: [`Stage::Finished`] once there is no handshake any more.
    pub fn stage(&self) -> Stage {
        match &self.0 {
            Kind::Greeting(greeting) if greeting.is_silent() => Stage::Silent,
            Kind::Greeting(_) => Stage::Hello,
            _ => self.as_tls().map_or(Stage::Finished, Tls::stage),
        }
    }

    /// What is known of the TLS handshake, from the whole ClientHello on and until they are taken.
    pub fn facts(&self) -> Option<&TlsFacts> {
        self.as_tls()?.facts()
    }

    /// Takes them, so that an established connection does not keep them.
    pub fn take_facts(&mut self) -> Option<Box<TlsFacts>> {
        self.as_tls_mut()?.take_facts()
    }

    /// Most plaintext of one TLS record that is sent, in bytes; `None` without TLS and before the
    /// ClientHello.
    pub fn record_size(&self) -> Option<u16> {
        self.as_tls().map(Tls::record_size)
    }

    /// The application protocol that TLS agreed on.
    pub fn selected_alpn(&self) -> Option<&[u8]> {
        self.as_tls()?.selected_alpn()
    }

    /// Whether this is an authority that looks for the answer to its challenge (RFC 8737): it
    /// gets nothing but the handshake. Say goodbye with [`Layer::close`].
    pub fn is_challenge(&self) -> bool {
        !self.is_handshaking() && self.as_tls().is_some_and(Tls::is_challenge)
    }

    /// How an attempt ended in which [`Layer::receive`] gave this error.
    pub fn ending(&self, error: &LayerError) -> Ending {
        match self.as_tls() {
            Some(tls) => tls.ending(error),
            None => Ending::Failed {
                alert: None,
                why: error.to_string(),
            },
        }
    }

    fn as_tls(&self) -> Option<&Tls> {
        match &self.0 {
            Kind::Tls(tls) => Some(tls),
            Kind::TlsWebSocket(both) => Some(&both.0),
            Kind::Greeting(_) | Kind::WebSocket(_) => None,
        }
    }

    fn as_tls_mut(&mut self) -> Option<&mut Tls> {
        match &mut self.0 {
            Kind::Tls(tls) => Some(tls),
            Kind::TlsWebSocket(both) => Some(&mut both.0),
            Kind::Greeting(_) | Kind::WebSocket(_) => None,
        }
    }
}

/// Feeds the WebSocket inside TLS with `frames`; its answers go back through TLS.
fn inner(
    tls: &mut Tls,
    websocket: &mut WebSocket,
    frames: &[u8],
    plain: &mut Vec<u8>,
    raw_out: &mut Vec<u8>,
) -> Result<Received, LayerError> {
    let mut answers = Vec::new();
    match websocket.receive(frames, plain, &mut answers, |_, _| ()) {
        Ok(Received::Open) => {
            if !answers.is_empty() {
                // A peer that has closed TLS hears no more.
                let _ = tls.send(&answers, raw_out);
            }
            Ok(Received::Open)
        }
        // The close frame, ours or the answer to theirs, is followed by close_notify.
        Ok(Received::Closed) => {
            tls.say_last(&answers, raw_out);
            Ok(Received::Closed)
        }
        Err(error) => {
            tls.say_last(&answers, raw_out);
            Err(error.into())
        }
    }
}
