//! `/xiaozhi/v1/`: the upgrade to the WebSocket of a conversation.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::Site;
use super::caller::Caller;
use super::websocket::{answer, carry};
use crate::serve::access::shown;
use crate::serve::voice::websocket::converse;
use crate::serve::xiaozhi::Introduction;

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
    let voice = voice.clone();
    carry(&mut request, caller, |socket, early| {
        converse(voice, socket, early, guest, seat)
    });
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
