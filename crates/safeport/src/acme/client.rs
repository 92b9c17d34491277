//! The HTTP client that speaks to the authority: one connection for each request, since an order is
//! ten of them in two months.
//!
//! It is ours, not the library's, because the library hides `Retry-After` of refusals, does not
//! bound answers, and would bring HTTP/2 along.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Response, Uri, header};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error as ThisError;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::trouble::Trouble;
use crate::limits::{ACME_ANSWER_BYTES, ACME_CONNECT, ACME_REQUEST};
use crate::probe::certificates_in;

/// Clones share what was heard last.
#[derive(Clone)]
pub(super) struct AuthorityClient {
    tls: Arc<ClientConfig>,
    barred: Arc<Mutex<Option<u32>>>,
}

/// Why there is no answer that ACME could be in.
#[derive(Debug, Clone, ThisError)]
pub(super) enum CallError {
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Untrusted(String),
    #[error("HTTP {status}{place}")]
    Strange {
        status: u16,
        place: String,
        retry_after: Option<u32>,
    },
}

impl CallError {
    pub(super) fn retry_after(&self) -> Option<u32> {
        match self {
            CallError::Strange { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl AuthorityClient {
    /// Trusts the system's authorities, and those of `ca_file`.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<AuthorityClient, Trouble> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let text =
                std::fs::read_to_string(path).map_err(|error| Trouble::ca_file(path, &error))?;
            let (added, _) = roots.add_parsable_certificates(certificates_in(&text));
            if added == 0 {
                return Err(Trouble::ca_file(path, &"there is none in it"));
            }
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(AuthorityClient {
            tls: Arc::new(tls),
            barred: Arc::default(),
        })
    }

    /// For how many seconds the latest refusal wants to hear nothing, if it said so.
    pub(super) fn retry_after(&self) -> Option<u32> {
        *self.barred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, request: Request<Bytes>) -> Result<Response<Body>, CallError> {
        let answer = tokio::time::timeout(ACME_REQUEST, self.exchange(request)).await;
        let (parts, body) = answer
            .map_err(|_| CallError::Unreachable(format!("no answer within {ACME_REQUEST:?}")))??
            .into_parts();
        let retry_after = parts.headers.get(header::RETRY_AFTER).and_then(seconds);
        let status = parts.status;
        let refused = status.is_client_error() || status.is_server_error();
        let heard = refused.then_some(retry_after).flatten();
        *self.barred.lock().unwrap_or_else(PoisonError::into_inner) = heard;
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| {
            let kind = kind.as_bytes();
            kind.starts_with(b"application/problem+json") || kind.starts_with(b"application/json")
        });
        // A proxy's page, a captive portal, a web server that knows nothing of ACME.
        if !status.is_success() && !is_json {
            let place = parts.headers.get(header::LOCATION);
            let place = place.and_then(|place| place.to_str().ok());
            return Err(CallError::Strange {
                status: status.as_u16(),
                place: place.map_or_else(String::new, |place| format!(", on to {place}")),
                retry_after,
            });
        }
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let unreachable = |error: &dyn std::fmt::Display| CallError::Unreachable(error.to_string());
        let uri = request.uri().clone();
        let host = uri
            .host()
            .ok_or_else(|| unreachable(&"no host in the address"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_tls = uri.scheme_str() != Some("http");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let stream = connect(bare, port).await?;
        if !is_tls {
            return send(stream, request, &uri).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|error| unreachable(&error))?;
        let connector = TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await.map_err(|error| {
            let refused = error
                .get_ref()
                .and_then(|e| e.downcast_ref::<rustls::Error>());
            match refused {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    CallError::Untrusted(why.to_string())
                }
                _ => CallError::Unreachable(format!("TLS: {error}")),
            }
        })?;
        send(stream, request, &uri).await
    }
}

impl HttpClient for AuthorityClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(Body::new(body), ACME_ANSWER_BYTES)
                .await
                .map_err(|error| Error::Other(Box::new(error)))?;
            let answer = client.call(Request::from_parts(parts, body)).await;
            answer
                .map(BytesResponse::from)
                .map_err(|error| Error::Other(Box::new(error)))
        })
    }
}

/// The first address of the name that takes a connection.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, CallError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses = found
        .map_err(|error| CallError::Unreachable(format!("{host} has no address ({error})")))?;
    let mut last = CallError::Unreachable(format!("{host} has no address"));
    for address in addresses {
        let why = match tokio::time::timeout(ACME_CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => format!("{address}: {error}"),
            Err(_) => format!("{address}: no answer within {ACME_CONNECT:?}"),
        };
        last = CallError::Unreachable(why);
    }
    Err(last)
}

/// One request and its whole answer.
pub(super) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: Request<Bytes>,
    uri: &Uri,
) -> Result<Response<Bytes>, CallError> {
    let broken = |error: &dyn std::fmt::Display| CallError::Unreachable(error.to_string());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|error| broken(&error))?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|error| broken(&error))?;

    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let talk = async {
        let answer = sender.send_request(request.map(Body::from)).await;
        let (parts, body) = answer.map_err(|error| broken(&error))?.into_parts();
        let body = axum::body::to_bytes(Body::new(body), ACME_ANSWER_BYTES).await;
        let body = body.map_err(|error| broken(&error))?;
        Ok(Response::from_parts(parts, body))
    };
    let mut talk = std::pin::pin!(talk);
    // The connection moves the bytes; when it has ended, what it has brought is still there.
    tokio::select! {
        answer = &mut talk => answer,
        _ = connection => talk.await,
    }
}

/// Seconds of `Retry-After`, which may be a date.
fn seconds(value: &HeaderValue) -> Option<u32> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
    let date = PrimitiveDateTime::parse(text, HTTP_DATE).ok()?.assume_utc();
    u32::try_from((date - OffsetDateTime::now_utc()).whole_seconds()).ok()
}

const HTTP_DATE: &[FormatItem<'static>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

const USER_AGENT: &str = concat!("safeport/", env!("CARGO_PKG_VERSION"));

/// How long a request to anybody but the authority may take.
pub(super) const LOOK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        let read = |text: &str| seconds(&HeaderValue::from_str(text).expect("a header"));
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("soon"), None);
        // 2099 is years away from every clock that runs this.
        let years = read("Thu, 01 Jan 2099 00:00:00 GMT").expect("a date");
        assert!(years > 365 * 24 * 3600, "{years}");
        assert_eq!(read("Thu, 01 Jan 2015 00:00:00 GMT"), None);
    }
}
