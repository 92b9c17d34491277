//! Pictures that a device's camera sends to be looked at, with a question about them.
//!
//! Firmware takes the whole body of the answer for what its tool has found out, whatever stands in it, and any other
//! status than 200 for a failure.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::Semaphore;

use super::form::{self, BadForm};
use super::{Site, voice};
use crate::limits::{
    PICTURE_BYTES, PICTURE_EXTRA_BYTES, PICTURE_PATIENCE, PICTURE_QUESTION_BYTES, PICTURES_AT_ONCE,
};
use crate::serve::xiaozhi::NoGuest;

/// Places for those that are on their way or are looked at.
static PLACES: Semaphore = Semaphore::const_new(PICTURES_AT_ONCE);

/// Answers a picture.
pub(super) async fn explain(State(site): State<Arc<Site>>, request: Request) -> Response {
    match look(&site, request).await {
        Ok(answer) => {
            let body = json!({"success": true, "action": "RESPONSE", "response": answer});
            (StatusCode::OK, [JSON], body.to_string()).into_response()
        }
        Err(NotSeen { status, why }) => {
            let body = json!({"success": false, "message": why}).to_string();
            let mut response = (status, [JSON], body).into_response();
            // What is still on its way is nobody's to read.
            let close = header::HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            response
        }
    }
}

/// What somebody with a browser is told.
pub(super) async fn wrong_method() -> Response {
    let text = "devices send the pictures of their camera here, with POST; it works\n";
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

const JSON: (header::HeaderName, &str) = (header::CONTENT_TYPE, "application/json");

struct NotSeen {
    status: StatusCode,
    why: String,
}

impl NotSeen {
    fn new(status: StatusCode, why: impl Into<String>) -> NotSeen {
        let why = why.into();
        NotSeen { status, why }
    }
}

impl From<NoGuest> for NotSeen {
    fn from(why: NoGuest) -> NotSeen {
        let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::FORBIDDEN);
        NotSeen::new(status, why.to_string())
    }
}

async fn look(site: &Site, request: Request) -> Result<String, NotSeen> {
    let (head, body) = request.into_parts();
    let (Some(xiaozhi), Some(voice)) = (&site.xiaozhi, &site.voice) else {
        return Err(NoGuest::Disabled.into());
    };
    // Nothing is read from who may not send anything.
    let introduction = voice::introduction(&head.headers, &head.uri);
    let device = xiaozhi.admit_picture(&introduction)?;
    let Ok(_place) = PLACES.try_acquire() else {
        let why = "too many pictures are being looked at; try again in some seconds";
        return Err(NotSeen::new(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let form = read(&head.headers, body).await?;
    let question = form.iter().find(|part| part.name == "question");
    let question = question.map(|part| String::from_utf8_lossy(&part.bytes).trim().to_owned());
    let question = question.unwrap_or_default();
    if question.len() > PICTURE_QUESTION_BYTES {
        let why = format!("the question is longer than {PICTURE_QUESTION_BYTES} bytes");
        return Err(NotSeen::new(StatusCode::PAYLOAD_TOO_LARGE, why));
    }
    let picture = form.into_iter().find(|part| part.name == "file");
    let picture = picture.ok_or_else(|| {
        NotSeen::new(StatusCode::BAD_REQUEST, "the form has no part named `file`")
    })?;
    if picture.bytes.len() > PICTURE_BYTES {
        return Err(too_large());
    }
    let kind = kind_of(&picture.bytes).ok_or_else(|| {
        let why = "the picture is neither JPEG, PNG, GIF, BMP nor WebP";
        NotSeen::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)
    })?;
    let chosen = voice.agents().for_device(&device.name, &device.tags);
    let eye = chosen.eye.ok_or_else(|| {
        let why = "the agent of this device cannot look at pictures; set `vision` of the agent to a \
                   provider of kind openai-vision";
        NotSeen::new(StatusCode::NOT_IMPLEMENTED, why)
    })?;
    let asked = match question.is_empty() {
        true => DESCRIBE,
        false => &question,
    };
    eye.look(asked, kind, picture.bytes).await.map_err(|failure| {
        tracing::warn!(
            target: "safeport::voice",
            device = device.name, provider = &*failure.provider, "a picture was not looked at: {failure}"
        );
        NotSeen::new(StatusCode::BAD_GATEWAY, failure.to_string())
    })
}

/// What is asked of a picture that comes without a question.
const DESCRIBE: &str = "Describe this picture.";

async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<form::Part>, NotSeen> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = form::boundary(kind).ok_or_else(|| {
        let why = "the body has to be multipart/form-data with the parts `question` and `file`";
        NotSeen::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why)
    })?;
    let most = PICTURE_BYTES + PICTURE_EXTRA_BYTES;
    let says = headers.get(header::CONTENT_LENGTH);
    let says = says.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if says.is_some_and(|says| says > most) {
        return Err(too_large());
    }
    let body = tokio::time::timeout(PICTURE_PATIENCE, to_bytes(body, most)).await;
    let body = body.map_err(|_| {
        let why = format!(
            "the picture did not come within {} s",
            PICTURE_PATIENCE.as_secs()
        );
        NotSeen::new(StatusCode::REQUEST_TIMEOUT, why)
    })?;
    let body = body.map_err(|error| {
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(one) = cause {
            // It came whole until there was too much of it.
            if one.to_string().contains("length limit exceeded") {
                return too_large();
            }
            cause = one.source();
        }
        let why = format!("the picture did not come whole: {error}");
        NotSeen::new(StatusCode::BAD_REQUEST, why)
    })?;
    form::parts(&body, &boundary)
        .map_err(|error: BadForm| NotSeen::new(StatusCode::BAD_REQUEST, error.to_string()))
}

fn too_large() -> NotSeen {
    let why = format!(
        "the picture is larger than {} MB; take a smaller one",
        PICTURE_BYTES >> 20
    );
    NotSeen::new(StatusCode::PAYLOAD_TOO_LARGE, why)
}

/// What a picture is, by its first bytes: what its sender calls it need not be so.
fn kind_of(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some("image/bmp"),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_known_by_their_first_bytes_and_other_files_are_none() {
        assert_eq!(kind_of(b"\xff\xd8\xff\xe0rest"), Some("image/jpeg"));
        assert_eq!(kind_of(b"\x89PNG\r\n\x1a\nrest"), Some("image/png"));
        assert_eq!(kind_of(b"GIF89a"), Some("image/gif"));
        assert_eq!(kind_of(b"RIFF\x10\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(kind_of(b"BM\x10\0\0\0\0\0\0\0"), Some("image/bmp"));
        for other in [
            &b"RIFF\x10\0\0\0WAVE"[..],
            b"\xff\xd8",
            b"BMW is a car",
            b"",
            b"<svg>",
        ] {
            assert_eq!(kind_of(other), None, "{other:?}");
        }
    }
}
