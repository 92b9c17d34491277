//! What who speaks the wrong protocol is told, in its own protocol: the device's log, or the
//! browser, then says where to go.

use std::sync::{Arc, PoisonError, RwLock};

use safeport_mqtt::{
    ConnAck, Decoded, Packet, Properties, PropertiesBuf, Property, ReasonCode, Version, decode,
};

use crate::limits::FIRST_MESSAGE;
use crate::mailbox::{Carries, ListenerInfo};

/// The fatal alert unexpected_message in clear: the answer to TLS on a plain port. Tasmota prints
/// it as error 266, which it prints for nothing else.
pub(crate) const ALERT_UNEXPECTED: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

/// An answer, and what the first message told.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) bytes: Vec<u8>,
    pub(super) client_id: Option<String>,
    pub(super) user: Option<String>,
    pub(super) asked_websocket: bool,
}

/// To MQTT on a port that wants TLS: a CONNACK that says so, in the client's version. `None`:
/// more of the CONNECT has to come.
pub(super) fn to_connect(bytes: &[u8], listeners: &[ListenerInfo]) -> Option<Answer> {
    let mut answer = Answer::default();
    let version = match decode(bytes, Version::V311, u32::MAX) {
        Ok(Decoded::Packet(Packet::Connect(connect), _)) => {
            answer.client_id = Some(connect.client_id.to_owned());
            answer.user = connect.username.map(str::to_owned);
            Some(connect.version)
        }
        Ok(Decoded::Incomplete(_)) if bytes.len() < FIRST_MESSAGE => return None,
        // A broken CONNECT deserves no answer, unless it has told its version.
        Err(error) if error.level() > 0 => Some(match error.level() {
            5.. => Version::V5,
            _ => Version::V311,
        }),
        _ => None,
    };
    if let Some(version) = version {
        answer.bytes = refusal(version, &speak_tls(listeners));
    }
    Some(answer)
}

fn refusal(version: Version, why: &str) -> Vec<u8> {
    let mut reason = PropertiesBuf::new();
    let (code, properties) = match version {
        Version::V5 => {
            // Without it the code says enough.
            let _ = reason.push(Property::ReasonString(why));
            (ReasonCode::UseAnotherServer, reason.as_properties())
        }
        Version::V31 | Version::V311 => (ReasonCode::ServerUnavailable, Properties::EMPTY),
    };
    let connack = Packet::ConnAck(ConnAck {
        session_present: false,
        code,
        properties,
    });
    let mut bytes = Vec::new();
    // It is short: nothing in it can be too long.
    let _ = connack.encode(version, &mut bytes);
    bytes
}

fn speak_tls(listeners: &[ListenerInfo]) -> String {
    let plain = listeners
        .iter()
        .filter(|listener| listener.carries == Carries::Plain);
    let mut ports = plain.flat_map(|listener| {
        let bound = listener
            .bound
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bound.iter().map(|at| at.port()).collect::<Vec<_>>()
    });
    match ports.next() {
        Some(port) => format!(
            "this port speaks TLS: switch TLS on in the device, or use port {port} without TLS"
        ),
        None => "this port speaks TLS: switch TLS on in the device".to_owned(),
    }
}

/// To HTTP on a port for MQTT. `None`: the head of the request is not all there.
pub(super) fn to_http(bytes: &[u8], signpost: &str) -> Option<Answer> {
    let whole = bytes.windows(4).any(|end| end == b"\r\n\r\n");
    if !whole && bytes.len() < FIRST_MESSAGE {
        return None;
    }
    Some(Answer {
        bytes: http_answer(signpost),
        asked_websocket: asks_for_websocket(bytes),
        ..Answer::default()
    })
}

/// A response that says where HTTP is served.
pub(crate) fn http_answer(signpost: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{signpost}\n",
        signpost.len() + 1
    )
    .into_bytes()
}

/// Whether a request wants to become a WebSocket.
pub(crate) fn asks_for_websocket(request: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&request[..request.len().min(FIRST_MESSAGE)]);
    head.lines().any(|line| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("upgrade") && value.trim().eq_ignore_ascii_case("websocket")
        })
    })
}

/// Where HTTP is served, in words that an HTTP client on a port for MQTT gets to read.
#[derive(Debug, Clone)]
pub(crate) struct Signpost(Arc<RwLock<Arc<str>>>);

impl Signpost {
    pub(crate) fn new() -> Signpost {
        let text = "This port speaks MQTT. Pages, updates and WebSockets are on the HTTP port of \
                    this server; `safeport ports` shows which.";
        Signpost(Arc::new(RwLock::new(text.into())))
    }

    pub(crate) fn text(&self) -> Arc<str> {
        let text = self.0.read().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    pub(crate) fn set(&self, text: &str) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = text.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_for_a_websocket_is_told_from_others_however_it_is_spelt() {
        let request = b"GET /mqtt HTTP/1.1\r\nHost: hub\r\nupGrade:  WebSocket \r\n\r\n";
        assert!(asks_for_websocket(request));
        assert!(!asks_for_websocket(
            b"GET /websocket HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"
        ));
    }

    #[test]
    fn the_answer_to_http_is_as_long_as_it_says() {
        let answer = String::from_utf8(http_answer("über 8002")).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
}
