//! `/xiaozhi/ota/`: where xiaozhi devices check at every start, where they ask whether they have
//! been taken in, and a page for the person who wants to know whether it works.
//!
//! With and without the slash at the end, never a redirect: firmware follows none. Whatever is not
//! a good answer has another status than 200 and words that are no JSON, since firmware up to 1.6
//! looks at nothing but whether it can read the body.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use safeport_settings::Said;
use safeport_xiaozhi::{CheckRequest, Headers};

use super::Site;
use super::caller::Caller;
use super::page::{Page, escaped, texts, wants_html};
use super::{notice, origin, vision, voice};
use crate::lan;
use crate::limits::{XIAOZHI_BODY_BYTES, XIAOZHI_BODY_PATIENCE};
use crate::serve::voice::NOTICE_PATH;
use crate::serve::xiaozhi::{Asker, Mode, PICTURE_PATH, Polled, Refused, Standing, Xiaozhi};
use crate::text::Texts;
use crate::{program, say};

/// Where devices check. The address that people enter ends in `/`.
pub(super) const PATH: &str = "/xiaozhi/ota/";

/// The paths of xiaozhi devices.
pub(super) fn routes() -> Router<Arc<Site>> {
    let ota = get(page).post(check).options(preflight);
    let ota = ota.fallback(async || wrong_method("checks are made with POST; GET shows a page"));
    let activate = post(activate).options(preflight);
    let activate = activate.fallback(async || {
        wrong_method("a device asks here with POST whether somebody has entered its code")
    });
    let picture = post(picture).options(preflight);
    let picture = picture.fallback(vision::wrong_method);
    Router::new()
        .route("/xiaozhi/ota", ota.clone())
        .route("/xiaozhi/ota/", ota)
        .route("/xiaozhi/ota/activate", activate.clone())
        .route("/xiaozhi/ota/activate/", activate)
        .route(PICTURE_PATH, picture)
        .route(&format!("{NOTICE_PATH}{{name}}"), get(notice::fetch))
        .route("/xiaozhi/v1", any(voice::open))
        .route("/xiaozhi/v1/", any(voice::open))
}

async fn check(
    State(site): State<Arc<Site>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(xiaozhi) = &site.xiaozhi else {
        return words(StatusCode::NOT_FOUND, &Refused::Disabled);
    };
    let asker = Asker {
        peer: caller.peer,
        local: caller.local,
        listener: caller.listener.listener(),
    };
    let mut response = match read(&parts.headers, body).await {
        Ok(check) => match xiaozhi.check(&check, asker).await {
            Ok(json) => {
                let headers = [
                    (header::CONTENT_TYPE, JSON),
                    (header::CACHE_CONTROL, NO_STORE),
                ];
                (headers, json).into_response()
            }
            Err(refused) => words(status(&refused), &refused),
        },
        Err((refusal, why)) => {
            xiaozhi.unreadable(asker, &why);
            refusal
        }
    };
    allow_pages(&parts.headers, xiaozhi, &mut response);
    response
}

/// A picture of a device's camera, or of a page that is one.
async fn picture(State(site): State<Arc<Site>>, request: Request) -> Response {
    let headers = request.headers().clone();
    let mut response = vision::explain(State(site.clone()), request).await;
    if let Some(xiaozhi) = &site.xiaozhi {
        allow_pages(&headers, xiaozhi, &mut response);
    }
    response
}

async fn activate(State(site): State<Arc<Site>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(xiaozhi) = &site.xiaozhi else {
        return words(StatusCode::NOT_FOUND, &Refused::Disabled);
    };
    let mut response = match bytes(&parts.headers, body).await {
        // Its body says nothing of who calls.
        Ok(body) => match CheckRequest::read(&checks(&parts.headers), b"") {
            Ok(check) => match xiaozhi.poll(&check, &body) {
                Ok(Polled::Done) => (StatusCode::OK, "success\n").into_response(),
                Ok(Polled::Waits) => (
                    StatusCode::ACCEPTED,
                    "nobody has entered the code yet; the device asks again\n",
                )
                    .into_response(),
                Err(refused) => words(status(&refused), &refused),
            },
            Err(error) => words(StatusCode::BAD_REQUEST, &error),
        },
        Err(refusal) => refusal,
    };
    allow_pages(&parts.headers, xiaozhi, &mut response);
    response
}

/// A browser asks whether a page may check.
async fn preflight(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(xiaozhi) = &site.xiaozhi {
        allow_pages(&headers, xiaozhi, &mut response);
    }
    response
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Lets a page of another server read the answer. While devices are taken in by their codes, a
/// stranger's page learns nothing that it did not bring; where everybody is taken in, only pages of
/// the home network get logins for their visitors.
fn allow_pages(request: &HeaderMap, xiaozhi: &Xiaozhi, response: &mut Response) {
    let Some(origin) = request.get(header::ORIGIN) else {
        return;
    };
    let from = origin.to_str().unwrap_or_default();
    if xiaozhi.mode() == Mode::Open && !origin::is_home(from, &lan::host_name()) {
        return;
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "client-id, content-type, device-id, authorization, activation-version, serial-number",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// A check, or the answer to what is none, and why it is none.
async fn read(headers: &HeaderMap, body: Body) -> Result<CheckRequest, (Response, String)> {
    let body = bytes(headers, body).await.map_err(|refusal| {
        let why = format!("its body did not come as it should ({})", refusal.status());
        (refusal, why)
    })?;
    CheckRequest::read(&checks(headers), &body)
        .map_err(|error| (words(StatusCode::BAD_REQUEST, &error), error.to_string()))
}

/// The body, if it is not too long: then it is not read at all.
async fn bytes(headers: &HeaderMap, body: Body) -> Result<Bytes, Response> {
    let says = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u64>().ok());
    if says.is_some_and(|says| says > XIAOZHI_BODY_BYTES as u64) {
        return Err(too_long());
    }
    match tokio::time::timeout(XIAOZHI_BODY_PATIENCE, to_bytes(body, XIAOZHI_BODY_BYTES)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) if says.is_none() => Err(too_long()),
        Ok(Err(error)) => Err(words(
            StatusCode::BAD_REQUEST,
            &format!("the body did not come whole: {error}"),
        )),
        Err(_) => Err(words(
            StatusCode::REQUEST_TIMEOUT,
            &"the body did not come within ten seconds; look at the network in between",
        )),
    }
}

fn wrong_method(why: &str) -> Response {
    words(StatusCode::METHOD_NOT_ALLOWED, &why)
}

fn too_long() -> Response {
    let text = format!(
        "the body is longer than {XIAOZHI_BODY_BYTES} bytes; xiaozhi firmware sends about 2000"
    );
    let mut response = words(StatusCode::PAYLOAD_TOO_LARGE, &text);
    // What is on its way is nobody's to read.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

fn checks(headers: &HeaderMap) -> Headers<'_> {
    const DEVICE_ID: HeaderName = HeaderName::from_static("device-id");
    const CLIENT_ID: HeaderName = HeaderName::from_static("client-id");
    const ACTIVATION: HeaderName = HeaderName::from_static("activation-version");
    const OTA: HeaderName = HeaderName::from_static("ota-version");
    const SERIAL: HeaderName = HeaderName::from_static("serial-number");
    const DEVICE_MODEL: HeaderName = HeaderName::from_static("device-model");
    const MODEL: HeaderName = HeaderName::from_static("model");
    let of = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Headers {
        device_id: of(DEVICE_ID),
        client_id: of(CLIENT_ID),
        user_agent: of(header::USER_AGENT),
        language: of(header::ACCEPT_LANGUAGE),
        activation_version: of(ACTIVATION).or_else(|| of(OTA)),
        serial_number: of(SERIAL),
        model: of(DEVICE_MODEL).or_else(|| of(MODEL)),
    }
}

fn status(refused: &Refused) -> StatusCode {
    match refused {
        Refused::TooMany | Refused::Contested => StatusCode::TOO_MANY_REQUESTS,
        Refused::Registry => StatusCode::SERVICE_UNAVAILABLE,
        Refused::NothingWaits => StatusCode::GONE,
        Refused::BadSignature => StatusCode::FORBIDDEN,
        Refused::Unreadable => StatusCode::BAD_REQUEST,
        Refused::Disabled => StatusCode::NOT_FOUND,
    }
}

/// Words that are no JSON.
fn words(status: StatusCode, why: &dyn std::fmt::Display) -> Response {
    (status, format!("{why}\n")).into_response()
}

/// Whether it works, for people.
async fn page(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let texts = texts(&headers);
    let (mode, lines) = match &site.xiaozhi {
        Some(xiaozhi) => (xiaozhi.mode(), described(xiaozhi, &texts)),
        None => (Mode::Off, vec![say!(texts, "xiaozhi-off")]),
    };
    let status = match mode {
        Mode::Off => StatusCode::NOT_FOUND,
        Mode::Code | Mode::Open => StatusCode::OK,
    };
    if !wants_html(&headers) {
        let vary = [(header::VARY, "Accept, Accept-Language")];
        return (status, vary, lines.join("\n") + "\n").into_response();
    }
    let body: String = lines
        .iter()
        .map(|line| format!("<p>{}</p>\n", escaped(line)))
        .collect();
    let page = Page {
        status,
        title: &say!(texts, "xiaozhi-title"),
        body: &body,
        may: "",
    };
    page.response(texts.language())
}

fn described(xiaozhi: &Xiaozhi, texts: &Texts) -> Vec<String> {
    let mode = xiaozhi.mode();
    if mode == Mode::Off {
        return vec![say!(texts, "xiaozhi-off")];
    }
    let said = |said: &Said| said.in_language(texts.language().into()).to_owned();
    let Standing {
        ota,
        told,
        websocket,
        mqtt,
        no_mqtt,
    } = xiaozhi.standing();
    let mut lines = vec![match ota {
        Some(address) => say!(texts, "xiaozhi-works", url = address.url(PATH)),
        None => say!(texts, "xiaozhi-works-here"),
    }];
    lines.push(match told {
        Some(way) => say!(texts, "xiaozhi-told", way = said(&way)),
        None => say!(texts, "xiaozhi-told-nothing"),
    });
    match websocket {
        Some((url, None)) => lines.push(say!(texts, "xiaozhi-voice", url = url)),
        Some((url, Some(why))) => {
            lines.push(say!(
                texts,
                "xiaozhi-voice-broken",
                url = url,
                why = said(&why)
            ));
        }
        None => lines.push(say!(texts, "xiaozhi-voice-unset")),
    }
    match no_mqtt {
        Some(why) => lines.push(say!(texts, "xiaozhi-mqtt-none", why = said(&why))),
        None => lines.push(say!(texts, "xiaozhi-mqtt", addresses = mqtt.join(", "))),
    }
    lines.push(match mode {
        Mode::Open => say!(texts, "xiaozhi-open"),
        Mode::Code | Mode::Off => say!(
            texts,
            "xiaozhi-code",
            program = program::name(),
            count = xiaozhi.waiting()
        ),
    });
    let offset = xiaozhi.offset_minutes();
    let sign = if offset < 0 { '-' } else { '+' };
    let far = offset.unsigned_abs();
    let offset = format!("{sign}{:02}:{:02}", far / 60, far % 60);
    lines.push(say!(texts, "xiaozhi-clock", offset = offset));
    lines
}
