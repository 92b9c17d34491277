//! WebSockets to providers: opened within a time, with small buffers, and closed the moment they are dropped.

mod unverified;

use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::dial::Dial;
use crate::limits::{WEBSOCKET_BUFFER_BYTES, WEBSOCKET_CLOSE_MS, WEBSOCKET_MESSAGE_BYTES};
use crate::provider::{Failure, FailureKind, Stage};

pub(crate) use self::unverified::unverified;

/// An open WebSocket to a provider. Dropping it closes the connection at once.
pub(crate) struct WebSocket {
    stream: WebSocketStream<Box<dyn Wire>>,
}

/// What comes over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// The other side has closed, and said why.
    Closed(String),
}

/// What went wrong, before a provider puts its name to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) kind: FailureKind,
    pub(crate) detail: String,
}

impl Trouble {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Trouble {
        Trouble {
            kind,
            detail: detail.into(),
        }
    }

    /// With the name of the provider. Services repeat keys in what they say of them: this one is taken out.
    pub(crate) fn into_failure(self, stage: Stage, provider: &str, key: Option<&str>) -> Failure {
        let detail = match key.filter(|key| !key.is_empty()) {
            Some(key) => self.detail.replace(key, "(the key)"),
            None => self.detail,
        };
        Failure {
            stage,
            provider: provider.into(),
            kind: self.kind,
            detail: detail.into(),
        }
    }
}

impl WebSocket {
    /// Opens one: name, TCP, TLS where the address is `wss://`, and the upgrade, all within this time.
    ///
    /// # Errors
    /// [`FailureKind::Refused`] for an address that is none, [`FailureKind::Unreachable`] where nobody answers or the
    /// handshakes fail, and what the status says where the upgrade is refused.
    pub(crate) async fn open(
        dial: &Dial,
        url: &str,
        headers: &[(&'static str, String)],
        within: Duration,
    ) -> Result<WebSocket, Trouble> {
        let place = Place::of(url)?;
        let request = request(url, headers)?;
        timeout(within, connect(dial, &place, request))
            .await
            .unwrap_or_else(|_| {
                Err(Trouble::new(
                    FailureKind::TimedOut,
                    format!(
                        "no connection to {place} within {} s; look whether it is up and the way to it is open",
                        within.as_secs_f32()
                    ),
                ))
            })
    }

    /// Sends a text, within this time.
    ///
    /// # Errors
    /// When the connection is gone, or the other side takes nothing.
    pub(crate) async fn send_text(
        &mut self,
        text: String,
        within: Duration,
    ) -> Result<(), Trouble> {
        self.send(Message::text(text), within).await
    }

    /// Sends bytes, within this time.
    ///
    /// # Errors
    /// As [`WebSocket::send_text`].
    pub(crate) async fn send_bytes(
        &mut self,
        bytes: Vec<u8>,
        within: Duration,
    ) -> Result<(), Trouble> {
        self.send(Message::binary(bytes), within).await
    }

    /// What comes next. Can be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no WebSocket or too large.
    pub(crate) async fn next(&mut self) -> Result<Arrival, Trouble> {
        loop {
            return match self.stream.next().await {
                Some(Ok(Message::Text(text))) => Ok(Arrival::Text(text.as_str().to_owned())),
                Some(Ok(Message::Binary(bytes))) => Ok(Arrival::Bytes(bytes.into())),
                Some(Ok(Message::Close(frame))) => Ok(Arrival::Closed(match frame {
                    Some(frame) => format!("{} {}", u16::from(frame.code), frame.reason),
                    None => "without a word".to_owned(),
                })),
                // Answered by the library.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(error)) => Err(trouble(error)),
                None => Err(trouble(Error::ConnectionClosed)),
            };
        }
    }

    /// Whether nothing has come and it has not been closed, looked at without waiting: it can be used once more.
    pub(crate) fn is_quiet(&mut self) -> bool {
        loop {
            match self.stream.next().now_or_never() {
                None => return true,
                Some(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                Some(_) => return false,
            }
        }
    }

    /// Says goodbye, as well as that can be done in a moment.
    pub(crate) async fn close(mut self) {
        let within = Duration::from_millis(WEBSOCKET_CLOSE_MS);
        let _ = timeout(within, self.stream.close(None)).await;
    }

    async fn send(&mut self, message: Message, within: Duration) -> Result<(), Trouble> {
        match timeout(within, self.stream.send(message)).await {
            Ok(sent) => sent.map_err(trouble),
            Err(_) => Err(Trouble::new(
                FailureKind::TimedOut,
                format!("it took nothing for {} s", within.as_secs_f32()),
            )),
        }
    }
}

/// Where a WebSocket address leads.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    host: String,
    port: u16,
    tls: bool,
}

impl Place {
    fn of(url: &str) -> Result<Place, Trouble> {
        let wrong = |why: &str| {
            Trouble::new(
                FailureKind::Refused,
                format!(
                    "its url is no WebSocket address ({why}); it looks like `wss://host:port/path`"
                ),
            )
        };
        let uri: Uri = url.parse().map_err(|_| wrong("it cannot be read"))?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(wrong("it begins neither with ws:// nor with wss://")),
        };
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("it names no host"))?;
        Ok(Place {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            tls,
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn request(url: &str, headers: &[(&'static str, String)]) -> Result<Request, Trouble> {
    let mut request = url.into_client_request().map_err(trouble)?;
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Trouble::new(
                FailureKind::Refused,
                format!("what is set for the header {name} has characters that no header can have"),
            )
        })?;
        value.set_sensitive(true);
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}

async fn connect(dial: &Dial, place: &Place, request: Request) -> Result<WebSocket, Trouble> {
    let unreachable = |what: &str, error: &dyn std::fmt::Display| {
        Trouble::new(
            FailureKind::Unreachable,
            format!("{what} with {place}: {error}"),
        )
    };
    let socket = TcpStream::connect((place.host.as_str(), place.port))
        .await
        .map_err(|error| unreachable("no connection", &error))?;
    // Sound goes out in small pieces that nobody answers.
    let _ = socket.set_nodelay(true);
    let wire: Box<dyn Wire> = if place.tls {
        let name = ServerName::try_from(place.host.clone())
            .map_err(|error| unreachable("no TLS handshake", &error))?;
        let tls = TlsConnector::from(dial.tls.clone())
            .connect(name, socket)
            .await
            .map_err(|error| unreachable("no TLS handshake", &error))?;
        Box::new(tls)
    } else {
        Box::new(socket)
    };
    let (stream, _) =
        tokio_tungstenite::client_async_with_config(request, wire, Some(configuration()))
            .await
            .map_err(upgrade_trouble)?;
    Ok(WebSocket { stream })
}

fn configuration() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_BUFFER_BYTES)
        // Each message leaves when it is sent.
        .write_buffer_size(0)
        .max_write_buffer_size(WEBSOCKET_MESSAGE_BYTES)
        .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES))
        .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES))
}

/// Why a server did not make a WebSocket of the connection.
fn upgrade_trouble(error: Error) -> Trouble {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let said = response.body().as_deref().map(excerpt).unwrap_or_default();
            let (kind, next) = of_status(status);
            Trouble::new(
                kind,
                format!("it answered {status} instead of opening a WebSocket{said}; {next}"),
            )
        }
        Error::Protocol(error) if error != ProtocolError::HandshakeIncomplete => Trouble::new(
            FailureKind::Misunderstood,
            format!("what answers there speaks no WebSocket ({error}); look at its url"),
        ),
        Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Trouble::new(
            FailureKind::Unreachable,
            format!("the TLS handshake failed: {error}"),
        ),
        other => Trouble::new(
            FailureKind::Unreachable,
            format!("the connection ended before the WebSocket was open: {other}"),
        ),
    }
}

fn of_status(status: StatusCode) -> (FailureKind, &'static str) {
    match status.as_u16() {
        401 | 403 => (FailureKind::NotAllowed, "look at its key"),
        402 | 429 => (
            FailureKind::Exhausted,
            "wait, or look at the account's limits",
        ),
        404 => (FailureKind::Refused, "look at the path of its url"),
        400..=499 => (FailureKind::Refused, "look at its settings"),
        500..=599 => (FailureKind::Failed, "it may pass; else look at its log"),
        _ => (FailureKind::Misunderstood, "look at its url"),
    }
}

/// The beginning of what was said, to be shown.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(SHOWN) {
        _ if text.is_empty() => String::new(),
        Some((end, _)) => format!(" ({}…)", &text[..end]),
        None => format!(" ({text})"),
    }
}

/// Characters that are shown of an answer.
const SHOWN: usize = 120;

/// What broke on an open connection.
fn trouble(error: Error) -> Trouble {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => Trouble::new(
            FailureKind::Misunderstood,
            format!("it sent a message of {size} bytes; {max_size} are taken"),
        ),
        Error::Protocol(error) if error != ProtocolError::ResetWithoutClosingHandshake => {
            Trouble::new(
                FailureKind::Misunderstood,
                format!("what it sent is no WebSocket: {error}"),
            )
        }
        Error::Utf8(error) => Trouble::new(
            FailureKind::Misunderstood,
            format!("what it sent as text is none: {error}"),
        ),
        other => Trouble::new(
            FailureKind::Broken,
            format!(
                "the connection broke off ({other}); look at its log, and at what lies in between"
            ),
        ),
    }
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

#[cfg(test)]
pub(crate) mod stub;
#[cfg(test)]
mod tests;
