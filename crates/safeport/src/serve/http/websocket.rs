//! The upgrade to a WebSocket, after which the socket leaves HTTP for good: behind `/mqtt` it joins the
//! engine, behind the other paths ([`carry`]) it stays on tokio.

use std::io;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use safeport_engine::EngineHandle;
use safeport_net::Layer;
use safeport_net::attempt::{Ending, Stage};
use safeport_net::upgrade::{self, MQTT_SUBPROTOCOLS};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::caller::Caller;
use super::origin::is_home;
use super::tls_socket::TlsSocket;
use super::visit::Untold;
use super::{Site, Transport};
use crate::lan;
use crate::limits::{HTTP_GOODBYE, VANTAGE_GOODBYE};
use crate::probe::proof;

/// What may stand behind `/mqtt?`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// A browser cannot set headers of a WebSocket, so it names its nonce here.
    nonce: Option<String>,
}

/// Answers a request for `/mqtt`.
pub(super) async fn open(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<Asked>, QueryRejection>,
    mut request: Request,
) -> Response {
    // Whatever else stands behind `?` was never looked at, and some clients write things there.
    let nonce = asked.ok().and_then(|Query(asked)| asked.nonce);
    let question = nonce
        .as_deref()
        .and_then(|nonce| site.questions.asked(nonce));
    // Who has a question of ours may come from any page, since such a WebSocket never reaches MQTT.
    if question.is_none() && is_strange(&site, request.headers()) {
        let text = "this server admits anonymous clients, so pages from the internet may not \
                    connect through your browser; open the page from an address of your own \
                    network, or give clients a login and switch access.anonymous off\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let response = match answer(&site, &request, MQTT_SUBPROTOCOLS) {
        Ok(response) => response,
        Err(refusal) => return *refusal,
    };
    let after = match (question, nonce) {
        (Some(address), Some(nonce)) => {
            site.seen.seen(&address, caller.peer.ip());
            After::Prove(site.proofs.answer(&nonce).unwrap_or_default())
        }
        (_, nonce) => {
            if let Some(nonce) = nonce {
                let listener = caller.listener.listener();
                // A nonce of another process is no reason to refuse a client.
                let _ = site.proofs.arrived(&nonce, listener, caller.peer);
            }
            After::HandOver(site.engine.clone())
        }
    };
    let untold = caller.visit.take();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(proceed(upgrade, caller, untold, after));
    response
}

/// Answers with 101 to a request that opens a WebSocket, and proves to one of our own probes that it
/// has arrived.
///
/// # Errors
/// The answer to one that does not.
pub(super) fn answer(
    site: &Site,
    request: &Request,
    subprotocols: &'static [&'static str],
) -> Result<Response, Box<Response>> {
    let headers = request.headers();
    let named = headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let accepted = upgrade::answer(request.method().as_str(), named, subprotocols);
    let accepted = accepted.map_err(|refused| {
        let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = (status, format!("{refused}\n")).into_response();
        add_headers(response.headers_mut(), refused.headers());
        Box::new(response)
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    add_headers(response.headers_mut(), accepted.headers());
    let nonce = headers.get(proof::NONCE_HEADER);
    if let Some(proof) = nonce.and_then(|nonce| site.proofs.answer(nonce.to_str().ok()?)) {
        let header = [(proof::PROOF_HEADER, proof.as_str())];
        add_headers(response.headers_mut(), header);
    }
    Ok(response)
}

/// Has `serve` carry the socket once the 101 has been sent, on a task of its own, with what came right
/// behind the request. The connection counts as open until that is done.
pub(super) fn carry<F: Future<Output = ()> + Send>(
    request: &mut Request,
    caller: Caller,
    serve: impl FnOnce(Box<dyn Socket>, Vec<u8>) -> F + Send + 'static,
) {
    let untold = caller.visit.take();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let upgraded = upgraded(upgrade).await;
        let ending = match &upgraded {
            Ok(_) => Ending::Connected,
            Err(ending) => ending.clone(),
        };
        if let Some(untold) = untold {
            untold.tell(ending);
        }
        let Ok(upgraded) = upgraded else { return };
        match behind(upgraded, caller.transport) {
            Ok((Behind::Plain(socket), early)) => {
                // Messages are small, and none waits for the next.
                let _ = socket.set_nodelay(true);
                serve(Box::new(socket), early).await;
            }
            Ok((Behind::Tls(socket), early)) => serve(socket, early).await,
            Err(error) => tracing::error!(target: "safeport::http", "{error}"),
        }
        drop(caller.place);
    });
}

/// What a WebSocket lies on.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// The connection once the 101 has been sent.
///
/// # Errors
/// How it ended before that.
async fn upgraded(upgrade: OnUpgrade) -> Result<Upgraded, Ending> {
    upgrade.await.map_err(|error| {
        tracing::debug!(target: "safeport::http", "upgrade failed: {error}");
        Ending::Closed {
            stage: Stage::Established,
            reset: false,
        }
    })
}

/// Whether a page of strange origin asks, at a server that would let it in without a login.
fn is_strange(site: &Site, headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN);
    site.settings().anonymous
        && origin
            .is_some_and(|origin| !is_home(origin.to_str().unwrap_or_default(), &lan::host_name()))
}

fn add_headers<'a>(
    headers: &mut HeaderMap,
    added: impl IntoIterator<Item = (&'static str, &'a str)>,
) {
    for (name, value) in added {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            headers.append(name, value);
        }
    }
}

/// What happens on a WebSocket once it is open.
enum After {
    /// It speaks MQTT.
    HandOver(EngineHandle),
    /// It is told this, and closed.
    Prove(String),
}

/// What comes of the connection is told by the engine, to which it brings what is known of its
/// TLS; `untold` is for those that never get there.
async fn proceed(upgrade: OnUpgrade, caller: Caller, untold: Option<Untold>, after: After) {
    let tell = |ending| {
        if let Some(untold) = untold {
            untold.tell(ending);
        }
    };
    let upgraded = match upgraded(upgrade).await {
        Ok(upgraded) => upgraded,
        Err(ending) => return tell(ending),
    };
    match after {
        After::HandOver(engine) => {
            if let Err(error) = hand_over(upgraded, &caller, &engine).await {
                tracing::debug!(
                    target: "safeport::http",
                    "a WebSocket could not join the engine: {error}"
                );
                tell(Ending::Closed {
                    stage: Stage::Established,
                    reset: error.kind() == io::ErrorKind::ConnectionReset,
                });
            }
        }
        After::Prove(proof) => {
            tell(Ending::Connected);
            let said = tokio::time::timeout(VANTAGE_GOODBYE, say_proof(upgraded, &proof));
            if let Ok(Err(error)) = said.await {
                tracing::debug!(target: "safeport::http", "a proof was not said: {error}");
            }
        }
    }
    // From here on the engine counts it, or it is gone.
    drop(caller.place);
}

/// Gives the socket behind an upgraded connection to the engine, with what came right behind the
/// request: bytes of the socket, or what TLS had made of them.
async fn hand_over(upgraded: Upgraded, caller: &Caller, engine: &EngineHandle) -> io::Result<()> {
    let (socket, layer, early) = match behind(upgraded, caller.transport)? {
        (Behind::Plain(socket), early) => (socket, Layer::websocket(), early),
        (Behind::Tls(mut socket), mut early) => {
            // Who never reads its own upgrade must not keep its place for ever.
            tokio::time::timeout(HTTP_GOODBYE, socket.flush())
                .await
                .map_err(io::Error::from)??;
            let (socket, tls, unread) = socket.into_parts();
            early.extend(unread);
            (socket, Layer::websocket_over(tls), early)
        }
    };
    let socket = socket.into_std()?;
    engine.adopt(socket, layer, early, caller.listener.listener())
}

/// The socket behind an upgraded connection.
enum Behind {
    Plain(TcpStream),
    Tls(Box<TlsSocket<TcpStream>>),
}

/// With what came right behind the request, without the 8 KiB around it that HTTP has read into.
fn behind(upgraded: Upgraded, transport: Transport) -> io::Result<(Behind, Vec<u8>)> {
    // Our own accept loop wrapped it, so its type is known.
    let strange = |_| io::Error::other("an upgraded connection is no socket of ours");
    match transport {
        Transport::Plain => {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>().map_err(strange)?;
            Ok((
                Behind::Plain(parts.io.into_inner()),
                parts.read_buf.to_vec(),
            ))
        }
        Transport::Tls => {
            let parts = upgraded.downcast::<TokioIo<Box<TlsSocket<TcpStream>>>>();
            let parts = parts.map_err(strange)?;
            Ok((Behind::Tls(parts.io.into_inner()), parts.read_buf.to_vec()))
        }
    }
}

/// One binary message, `safeport` and the proof, then the end of the WebSocket.
async fn say_proof(upgraded: Upgraded, proof: &str) -> io::Result<()> {
    let mut socket = TokioIo::new(upgraded);
    let mut layer = Layer::websocket();
    let mut out = Vec::new();
    let message = format!("{} {proof}", proof::ANSWER_WORD);
    layer
        .send(message.as_bytes(), &mut out)
        .map_err(io::Error::other)?;
    layer.close(&mut out);
    socket.write_all(&out).await?;
    socket.flush().await?;
    // The client answers with a close frame of its own and leaves closing the socket to us.
    let mut answer = [0; 256];
    let _ = socket.read(&mut answer).await?;
    socket.shutdown().await
}
