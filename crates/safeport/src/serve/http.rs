//! The `http` listener: health, metrics, a page that says what this is, and MQTT over WebSocket,
//! whose sockets join the engine's loops after the upgrade.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use safeport_engine::EngineHandle;
use safeport_net::upgrade::{self, Accepted, MQTT_SUBPROTOCOLS};
use safeport_net::{FirstBytes, Layer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::metrics::{self, Metrics};
use crate::limits::{
    ACCEPT_PAUSE, FIRST_BYTES_PAUSE, HTTP_CONNECTION_LIFETIME, HTTP_HEADER_BYTES,
    HTTP_HEADER_TIMEOUT, HTTP_HEADERS,
};
use crate::text::{Language, Texts};
use crate::throttle::Throttle;
use crate::{lan, say};

/// The name that the engine knows WebSocket connections by.
pub const LISTENER: &str = "http";

/// What the pages show and the upgrade needs.
pub struct Site {
    /// `server.name`.
    pub name: String,
    /// Whether clients come in without a login: then pages of strange origin may not open
    /// WebSockets.
    pub anonymous: bool,
    /// Where upgraded connections go.
    pub engine: EngineHandle,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Set when the server stops, so that `/healthz` sends balancers elsewhere.
    pub stopping: Arc<AtomicBool>,
}

/// Serves HTTP on `socket` until the runtime ends; at most `max_connections` at once, those that
/// have become WebSockets included, one more is closed at once.
///
/// # Errors
/// If the socket cannot be driven at all.
pub async fn serve(
    socket: std::net::TcpListener,
    max_connections: usize,
    site: Site,
) -> io::Result<()> {
    let listener = TcpListener::from_std(socket)?;
    let engine = site.engine.clone();
    let router = router(Arc::new(site));
    let room = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    let throttle = Arc::new(Throttle::default());
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn(&throttle, "accept", || {
                    format!(
                        "http: no connection can be accepted: {error}; if descriptors ran out, raise LimitNOFILE or `ulimit -n`"
                    )
                });
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // A permit is given back when the connection ends or becomes the engine's.
        let upgraded = engine.open_connections(LISTENER);
        let permit = room.clone().try_acquire_owned().ok();
        let Some(permit) = permit.filter(|_| room.available_permits() >= upgraded) else {
            warn(&throttle, "room", || {
                format!(
                    "http: {max_connections} connections are open; {peer} was closed (http.max_connections)"
                )
            });
            continue;
        };
        let router = router.clone();
        let throttle = throttle.clone();
        tokio::spawn(async move {
            connection(stream, peer, router, &throttle).await;
            drop(permit);
        });
    }
}

fn warn(throttle: &Throttle, cause: &str, line: impl FnOnce() -> String) {
    if let Some(left_out) = throttle.admit(cause, Instant::now()) {
        tracing::warn!(target: "safeport::http", left_out, "{}", line());
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, throttle: &Throttle) {
    let first = tokio::time::timeout(HTTP_HEADER_TIMEOUT, first_bytes(&stream)).await;
    match first {
        Ok(Ok(FirstBytes::Http | FirstBytes::Unknown)) => {}
        Ok(Ok(FirstBytes::Mqtt)) => {
            return warn(throttle, &format!("mqtt {}", peer.ip()), || {
                format!(
                    "http: {peer} speaks MQTT to the HTTP port; set the client's port to that of mqtt.bind or mqtts.bind"
                )
            });
        }
        Ok(Ok(FirstBytes::Tls)) => {
            return warn(throttle, &format!("tls {}", peer.ip()), || {
                format!(
                    "http: {peer} speaks TLS to the plain HTTP port; use http:// or ws:// in the client's address"
                )
            });
        }
        Ok(Err(_)) | Err(_) => return,
    }
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEADER_TIMEOUT)
        .max_buf_size(HTTP_HEADER_BYTES)
        .max_headers(HTTP_HEADERS);
    let served = http
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    match tokio::time::timeout(HTTP_CONNECTION_LIFETIME, served).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => {
            tracing::debug!(target: "safeport::http", %peer, "connection ended: {error}");
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

fn router(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(front))
        .route("/healthz", get(health))
        .route("/metrics", get(scrape))
        .route("/mqtt", any(websocket))
        .fallback(nothing_here)
        .with_state(site)
}

async fn front(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let texts = Texts::new(language(&headers));
    let title = escaped(&site.name);
    let lead = say!(texts, "page-lead");
    let mqtt = say!(texts, "page-mqtt");
    let health = say!(texts, "page-health");
    let metrics = say!(texts, "page-metrics");
    let lang = texts.language().tag();
    let page = format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <h1>{title}</h1>\n<p>{lead}</p>\n<ul>\n<li><code>/mqtt</code>: {mqtt}</li>\n\
         <li><a href=\"/healthz\">/healthz</a>: {health}</li>\n\
         <li><a href=\"/metrics\">/metrics</a>: {metrics}</li>\n</ul>\n</html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::VARY, "Accept-Language"),
    ];
    (headers, page).into_response()
}

async fn health(State(site): State<Arc<Site>>) -> Response {
    let (status, text) = if site.stopping.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if site.engine.healthy() {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "an event loop has not turned for 5 s\n",
        )
    };
    (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
}

async fn scrape(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
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

async fn nothing_here(headers: HeaderMap) -> Response {
    let texts = Texts::new(language(&headers));
    let text = format!("{}\n", say!(texts, "page-missing"));
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn websocket(State(site): State<Arc<Site>>, mut request: Request) -> Response {
    if site.anonymous
        && let Some(origin) = request.headers().get(header::ORIGIN)
        && !is_home(origin.to_str().unwrap_or_default(), &lan::host_name())
    {
        let text = "this server admits anonymous clients, so pages from the internet may not \
                    connect through your browser; open the page from an address of your own \
                    network, or give clients a login and switch access.anonymous off\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let headers = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    match upgrade::answer(request.method().as_str(), headers, MQTT_SUBPROTOCOLS) {
        Ok(accepted) => {
            let upgraded = hyper::upgrade::on(&mut request);
            let engine = site.engine.clone();
            tokio::spawn(async move {
                match upgraded.await {
                    Ok(upgraded) => hand_over(upgraded, &engine),
                    Err(error) => {
                        tracing::debug!(target: "safeport::http", "upgrade failed: {error}");
                    }
                }
            });
            switching(&accepted)
        }
        Err(refused) => {
            let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
            let mut response = (status, format!("{refused}\n")).into_response();
            add_headers(response.headers_mut(), refused.headers());
            response
        }
    }
}

fn switching(accepted: &Accepted) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    add_headers(response.headers_mut(), accepted.headers());
    response
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

/// Gives the socket behind an upgraded connection to the engine, with the bytes that came right
/// behind the request.
fn hand_over(upgraded: hyper::upgrade::Upgraded, engine: &EngineHandle) {
    // Our own accept loop wrapped it, so its type is known.
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        tracing::error!(target: "safeport::http", "an upgraded connection is no TCP socket");
        return;
    };
    let early = parts.read_buf.to_vec();
    let socket = parts.io.into_inner();
    // Small packets must not wait for the peer's delayed acknowledgement.
    let _ = socket.set_nodelay(true);
    let adopted = socket
        .into_std()
        .and_then(|socket| engine.adopt(socket, Layer::websocket(), early, LISTENER));
    if let Err(error) = adopted {
        tracing::error!(target: "safeport::http", "a WebSocket could not join the engine: {error}");
    }
}

/// Whether a page of this origin is one of the owner's: served by a host of the home network, not
/// by a name that anybody can own. A browser on the owner's own machine would otherwise carry any
/// web site's requests to a server without passwords; comparing with the `Host` header would not
/// help, since a stranger's name may resolve to an address of ours.
fn is_home(origin: &str, host_name: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else {
        return false;
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Err(_) => {
            host == host_name
                || host == "localhost"
                || [".local", ".lan", ".home.arpa", ".internal"]
                    .iter()
                    .any(|suffix| host.ends_with(suffix))
        }
    }
}

fn language(headers: &HeaderMap) -> Language {
    headers
        .get(header::ACCEPT_LANGUAGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split([',', ';']).next())
        .and_then(|first| first.trim().parse().ok())
        .unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_home_network_reach_a_server_without_passwords() {
        for origin in [
            "http://localhost:3000",
            "http://127.0.0.1:8002",
            "https://192.168.1.20",
            "http://[::1]:8002",
            "http://[fd00::7]",
            "http://hub:1880",
            "http://hub.local:8123",
        ] {
            assert!(is_home(origin, "hub"), "{origin}");
        }
        for origin in [
            "https://evil.example",
            "http://localhost.evil.example",
            "http://8.8.8.8",
            "http://[2001:db8::1]",
            "null",
            "",
        ] {
            assert!(!is_home(origin, "hub"), "{origin}");
        }
    }

    #[test]
    fn a_server_name_cannot_write_html() {
        assert_eq!(escaped("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
