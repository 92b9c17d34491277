//! `/xiaozhi/v1/`: the upgrade to the WebSocket of a conversation.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use safeport_net::attempt::Ending;
use tokio::net::TcpStream;

use super::caller::Caller;
use super::tls_socket::TlsSocket;
use super::visit::Untold;
use super::websocket::{answer, upgraded};
use super::{Site, Transport};
use crate::serve::access::shown;
use crate::serve::voice::{Seat, Voice, websocket};
use crate::serve::xiaozhi::{Guest, Introduction};

/// Answers a request for a conversation. Who may not have one is told so before the upgrade: the
/// firmware then says at once that it cannot connect.
pub(super) async fn open(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Response {
    let (Some(xiaozhi), Some(voice)) = (&site.xiaozhi, &site.voice) else {
        let text = "nobody talks with devices here: xiaozhi.enabled is false\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let response = match answer(&site, &request, &[]) {
        Ok(response) => response,
        Err(refusal) => return *refusal,
    };
    let mut introduction = introduction(request.headers(), request.uri());
    introduction.came_to = caller.local.map(|local| local.ip().to_canonical());
    let guest = match xiaozhi.admit(&introduction) {
        Ok(guest) => guest,
        Err(why) => {
            let device_id = introduction.device_id.unwrap_or_default();
            tracing::info!(
                target: "safeport::voice",
                peer = %caller.peer, device_id = shown(&device_id),
                "conversation refused: {why}"
            );
            let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::FORBIDDEN);
            return (status, format!("{why}\n")).into_response();
        }
    };
    let seat = voice.enter(&guest);
    let untold = caller.visit.take();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(talk(upgrade, caller, untold, voice.clone(), guest, seat));
    response
}

/// Headers, or the query where there are none: pages in a browser cannot set them.
pub(super) fn introduction(headers: &HeaderMap, uri: &Uri) -> Introduction {
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let query = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let query = query.map(|Query(pairs)| pairs).unwrap_or_default();
    let asked = |name: &str| {
        let found = query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    let has_headers = headers.contains_key("Device-Id");
    let said = |name: &str| match has_headers {
        true => header(name),
        false => asked(name),
    };
    Introduction {
        device_id: said("Device-Id"),
        client_id: said("Client-Id"),
        authorization: said("Authorization"),
        version: header("Protocol-Version").and_then(|version| version.trim().parse().ok()),
        came_to: None,
        is_gateway: asked("from").as_deref() == Some("mqtt_gateway"),
    }
}

async fn talk(
    upgrade: OnUpgrade,
    caller: Caller,
    untold: Option<Untold>,
    voice: Arc<Voice>,
    guest: Guest,
    seat: Seat,
) {
    let tell = |ending| {
        if let Some(untold) = untold {
            untold.tell(ending);
        }
    };
    let upgraded = match upgraded(upgrade).await {
        Ok(upgraded) => upgraded,
        Err(ending) => return tell(ending),
    };
    tell(Ending::Connected);
    match caller.transport {
        Transport::Plain => {
            let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<TcpStream>>() else {
                return strange();
            };
            let socket = io.into_inner();
            // Sixty milliseconds of sound are one small packet each: none waits for the next.
            let _ = socket.set_nodelay(true);
            websocket::converse(voice, socket, early(read_buf), guest, seat).await;
        }
        Transport::Tls => {
            let downcast = upgraded.downcast::<TokioIo<Box<TlsSocket<TcpStream>>>>();
            let Ok(Parts { io, read_buf, .. }) = downcast else {
                return strange();
            };
            let socket = io.into_inner();
            websocket::converse(voice, socket, early(read_buf), guest, seat).await;
        }
    }
    // Held as long as the conversation was open.
    drop(caller.place);
}

/// What came behind the request, without the 8 KiB around it that HTTP has read into.
fn early(read: Bytes) -> Vec<u8> {
    read.to_vec()
}

fn strange() {
    tracing::error!(target: "safeport::voice", "an upgraded connection is no socket of ours");
}
