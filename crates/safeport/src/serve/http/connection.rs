//! One connection of HTTP, from its first bytes until it ends or becomes the engine's.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use safeport_net::rustls::server::Acceptor;
use safeport_net::rustls::{self, ServerConfig};
use safeport_net::{FirstBytes, LayerError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::Transport;
use super::caller::Caller;
use super::room::Place;
use crate::limits::{
    FIRST_BYTES_PAUSE, HTTP_CONNECTION_LIFETIME, HTTP_HEADER_BYTES, HTTP_HEADER_TIMEOUT,
    HTTP_HEADERS, HTTPS_HANDSHAKE_TIMEOUT, SHUTDOWN_GRACE,
};
use crate::throttle::Throttle;

/// What every connection is served with.
pub(super) struct Answers {
    pub(super) router: Router,
    /// Answers plain HTTP on the port of HTTPS.
    pub(super) wrong_port: Router,
    /// TLS handshakes that may go on at once.
    pub(super) handshakes: Semaphore,
    pub(super) certificates: RwLock<Option<Arc<ServerConfig>>>,
    pub(super) throttle: Throttle,
}

impl Answers {
    fn certificates(&self) -> Option<Arc<ServerConfig>> {
        self.certificates
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Logs `line` unless `cause` was logged a short while ago.
    pub(super) fn warn(&self, cause: &str, line: impl FnOnce() -> String) {
        if let Some(left_out) = self.throttle.admit(cause, Instant::now()) {
            tracing::warn!(target: "safeport::http", left_out, "{}", line());
        }
    }
}

/// Serves an accepted connection until it ends or `end` changes.
pub(super) async fn serve(
    answers: &Answers,
    transport: Transport,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    mut end: watch::Receiver<()>,
) {
    let local = stream.local_addr().ok();
    let caller = Caller {
        local,
        peer,
        transport,
        place: Arc::new(place),
    };
    let begun = tokio::select! {
        begun = begin(answers, &caller, stream) => begun,
        _ = end.changed() => return,
    };
    match begun {
        None => {}
        Some(Begun::Plain(stream)) => drive(stream, caller, answers.router.clone(), end).await,
        Some(Begun::WrongPort(stream)) => {
            drive(stream, caller, answers.wrong_port.clone(), end).await;
        }
        Some(Begun::Tls(stream)) => drive(stream, caller, answers.router.clone(), end).await,
    }
}

enum Begun {
    Plain(TcpStream),
    /// HTTP where TLS is spoken.
    WrongPort(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Finds out what the peer speaks, and shakes hands.
async fn begin(answers: &Answers, caller: &Caller, stream: TcpStream) -> Option<Begun> {
    let first = tokio::time::timeout(HTTP_HEADER_TIMEOUT, first_bytes(&stream)).await;
    let (name, peer) = (caller.transport.listener(), caller.peer);
    let named = name.to_uppercase();
    match (first.ok()?.ok()?, caller.transport) {
        (FirstBytes::Http | FirstBytes::Unknown, Transport::Plain) => Some(Begun::Plain(stream)),
        (FirstBytes::Tls, Transport::Tls) => shake_hands(answers, peer, stream).await,
        (FirstBytes::Http, Transport::Tls) => {
            answers.warn(&format!("plain {}", peer.ip()), || {
                format!(
                    "https: {peer} speaks plain HTTP to the HTTPS port; use https:// or wss:// in the client's address"
                )
            });
            Some(Begun::WrongPort(stream))
        }
        (FirstBytes::Mqtt, _) => {
            answers.warn(&format!("mqtt {name} {}", peer.ip()), || {
                format!(
                    "{name}: {peer} speaks MQTT to the {named} port; set the client's port to that of mqtt.bind or mqtts.bind"
                )
            });
            None
        }
        (FirstBytes::Tls, Transport::Plain) => {
            answers.warn(&format!("tls {}", peer.ip()), || {
                format!(
                    "http: {peer} speaks TLS to the plain HTTP port; use http:// or ws:// in the client's address, or the port of https.bind"
                )
            });
            None
        }
        (FirstBytes::Unknown, Transport::Tls) => {
            tracing::debug!(target: "safeport::http", %peer, "https: neither TLS nor HTTP");
            None
        }
    }
}

/// What the peer speaks. Leaves the bytes in the socket.
async fn first_bytes(stream: &TcpStream) -> io::Result<FirstBytes> {
    let mut bytes = [0; FirstBytes::ENOUGH];
    loop {
        let count = stream.peek(&mut bytes).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(first) = FirstBytes::of(&bytes[..count]) {
            return Ok(first);
        }
        tokio::time::sleep(FIRST_BYTES_PAUSE).await;
    }
}

async fn shake_hands(answers: &Answers, peer: SocketAddr, stream: TcpStream) -> Option<Begun> {
    let Some(config) = answers.certificates() else {
        answers.warn("certificates", || {
            format!("https: there are no certificates yet; {peer} was closed")
        });
        return None;
    };
    let shaken = tokio::time::timeout(HTTPS_HANDSHAKE_TIMEOUT, handshake(answers, config, stream));
    match shaken.await {
        Ok(Ok(stream)) => Some(Begun::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            answers.warn(&format!("handshake {}", peer.ip()), || {
                format!("https: {peer}: {}", in_words(&error))
            });
            None
        }
        Err(_) => {
            tracing::debug!(target: "safeport::http", %peer, "https: the handshake took too long");
            None
        }
    }
}

/// Shakes hands. Only from the whole ClientHello on does it take one of the turns, so that peers
/// who connect and say no more keep nobody waiting.
async fn handshake(
    answers: &Answers,
    config: Arc<ServerConfig>,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let _turn = answers.handshakes.acquire().await;
    hello.into_stream(config).await
}

/// The error with the advice that belongs to it.
fn in_words(error: &io::Error) -> String {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(tls) => LayerError::Tls(tls.clone()).to_string(),
        None => format!("the TLS handshake was broken off: {error}"),
    }
}

/// Answers requests until the connection ends, at the latest after [`HTTP_CONNECTION_LIFETIME`].
async fn drive<S>(stream: S, caller: Caller, router: Router, mut end: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = caller.peer;
    let answers = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        answers.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEADER_TIMEOUT)
        .max_buf_size(HTTP_HEADER_BYTES)
        .max_headers(HTTP_HEADERS);
    let mut served = pin!(
        http.serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    let lifetime = tokio::time::sleep(HTTP_CONNECTION_LIFETIME);
    let served = tokio::select! {
        served = served.as_mut() => served,
        () = lifetime => return,
        _ = end.changed() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(SHUTDOWN_GRACE, served).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(target: "safeport::http", %peer, "connection ended: {error}");
    }
}
