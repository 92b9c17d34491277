//! Which path is answered by what, and the short answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use blake2::{Blake2s256, Digest};

use super::page::{Page, texts};
use super::{Site, access_point, api, confirm, download, vantage, websocket, xiaozhi};
use crate::acme::CHALLENGE_PATH;
use crate::probe::proof;
use crate::say;
use crate::serve::metrics;

/// Everything that a listener answers.
pub(super) fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/healthz", get(health))
        .route("/metrics", get(scrape))
        .route("/mqtt", any(websocket::open))
        .route(
            &format!("{}{{nonce}}", proof::PATH),
            get(vantage::prove).options(vantage::preflight),
        )
        .route(
            &format!("{}{{token}}", proof::VANTAGE_PATH),
            get(vantage::show),
        )
        .route(
            &format!("{}{{token}}", confirm::PATH),
            get(confirm::ask).post(confirm::keep),
        )
        .route(&format!("{CHALLENGE_PATH}{{token}}"), get(challenge))
        .route(
            &format!("{}{{*file}}", download::PATH),
            get(download::answer).fallback(download::wrong_method),
        )
        .merge(xiaozhi::routes())
        .merge(access_point::routes())
        .nest("/api/v1", api::router())
        .fallback(nothing_here)
        .with_state(site)
}

/// What plain HTTP gets on the port of HTTPS.
pub(super) fn wrong_port() -> Router {
    Router::new().fallback(speaks_tls)
}

async fn speaks_tls(headers: HeaderMap) -> Response {
    let text = format!("{}\n", say!(texts(&headers), "page-speaks-tls"));
    // The next request comes by another port.
    let close = [(header::CONNECTION, "close")];
    (StatusCode::BAD_REQUEST, close, text).into_response()
}

/// What an ACME authority fetches to see that a name leads here.
async fn challenge(State(site): State<Arc<Site>>, Path(token): Path<String>) -> Response {
    site.challenges.response(&token)
}

async fn front(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let texts = texts(&headers);
    let lead = say!(texts, "page-lead");
    let mqtt = say!(texts, "page-mqtt");
    let health = say!(texts, "page-health");
    let metrics = say!(texts, "page-metrics");
    let page = Page {
        status: StatusCode::OK,
        title: &site.settings().name,
        body: &format!(
            "<p>{lead}</p>\n<ul>\n<li><code>/mqtt</code>: {mqtt}</li>\n\
             <li><a href=\"/healthz\">/healthz</a>: {health}</li>\n\
             <li><a href=\"/metrics\">/metrics</a>: {metrics}</li>\n</ul>\n"
        ),
        may: "",
    };
    page.response(texts.language())
}

async fn health(State(site): State<Arc<Site>>) -> Response {
    let (status, text) = if site.stopping.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
    } else if !site.engine.healthy() {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "an event loop has not turned for 5 s\n".to_owned(),
        )
    } else if let Some(why) = site.degraded() {
        // It serves, so balancers and supervisors leave it alone; people are to look at it.
        (StatusCode::OK, format!("degraded: {why}\n"))
    } else {
        (StatusCode::OK, "ok\n".to_owned())
    };
    (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
}

async fn scrape(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    if !may_scrape(&site.settings().metrics_token, &headers) {
        let ask = [(header::WWW_AUTHENTICATE, "Bearer realm=\"metrics\"")];
        let text = "the metrics of this server want a token: send the header \
                    `Authorization: Bearer TOKEN` with the value of http.metrics_token\n";
        return (StatusCode::UNAUTHORIZED, ask, text).into_response();
    }
    let asks_openmetrics = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let content_type = if asks_openmetrics {
        metrics::OPENMETRICS
    } else {
        metrics::PLAIN
    };
    match site.metrics.scrape() {
        Ok(text) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written as text\n",
        )
            .into_response(),
    }
}

fn may_scrape(token: &str, headers: &HeaderMap) -> bool {
    if token.is_empty() {
        return true;
    }
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, given)| given.trim());
    // How far two hashes agree tells nothing of the token, so the time of comparing them does not
    // either.
    given.is_some_and(|given| Blake2s256::digest(given) == Blake2s256::digest(token))
}

async fn nothing_here(headers: HeaderMap) -> Response {
    let text = format!("{}\n", say!(texts(&headers), "page-missing"));
    (StatusCode::NOT_FOUND, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn metrics_are_shown_to_everybody_or_only_to_who_has_the_token() {
        let headers = |value: &'static str| {
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
        };
        assert!(may_scrape("", &HeaderMap::new()));
        assert!(!may_scrape("0123456789abcdef", &HeaderMap::new()));
        for right in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert!(may_scrape("0123456789abcdef", &headers(right)), "{right}");
        }
        for wrong in [
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!may_scrape("0123456789abcdef", &headers(wrong)), "{wrong}");
        }
    }
}
