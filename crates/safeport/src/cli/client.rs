//! How commands ask a server: over its API, on this machine by the file that it keeps in the data
//! folder, elsewhere by `--server` and a token.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use clap::Args;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_LANGUAGE, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use safeport_settings::{AdvertisedAddress, HostName};
use safeport_store::DataFolder;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::registry::who;
use crate::console::{Console, Exit, Failure};
use crate::limits::{CLIENT_ANSWER, CLIENT_CONNECT, CLIENT_PATIENCE};
use crate::serve::http::{LocalAccess, WHO};
use crate::text::{Language, Texts};
use crate::{say, streamed};

/// Which server a command asks.
#[derive(Debug, Args)]
pub(super) struct Remote {
    /// Ask this server instead of the one on this machine, such as https://hub.lan:8443
    #[arg(long, value_name = "URL", requires = "token")]
    server: Option<String>,
    /// Its token, as `safeport token add` has printed it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SAFEPORT_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// Certificate of its authority (its pki/ca.pem), where it is no public one
    #[arg(long, value_name = "FILE", requires = "server")]
    ca: Option<PathBuf>,
}

/// A server that can be asked.
pub(super) struct Client {
    runtime: Runtime,
    place: Place,
    token: String,
    language: Language,
}

/// Where it is.
struct Place {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    /// As a person would write it.
    shown: String,
}

type Failed<T> = Result<T, Failure>;

impl Remote {
    /// The server elsewhere, if one is meant.
    pub(super) fn client(&self, console: &Console) -> Failed<Option<Client>> {
        let Some(url) = &self.server else {
            return Ok(None);
        };
        let texts = &console.texts;
        let bad = || Failure::usage(say!(texts, "client-url-bad", url = url));
        let address = AdvertisedAddress::parse(url.trim_end_matches('/'))
            .map_err(|error| bad().detail(error.what().in_language(texts.language().into())))?;
        let is_http = address.scheme() == address.scheme().http();
        if !is_http {
            return Err(bad());
        }
        let roots = match &self.ca {
            Some(file) => std::fs::read(file).map_err(|error| {
                let path = file.display();
                Failure::usage(say!(texts, "client-ca-unreadable", path = path)).detail(error)
            })?,
            None => Vec::new(),
        };
        let tls = match address.scheme().is_tls() {
            true => Some(tls(&roots, true)),
            false => None,
        };
        let host = match address.host() {
            HostName::Ip(ip) => ip.to_string(),
            HostName::Name(name) => name.to_string(),
        };
        let place = Place {
            host,
            port: address.port(),
            tls,
            shown: address.to_string(),
        };
        let token = self.token.clone().unwrap_or_default();
        Client::new(place, token.trim().to_owned(), texts).map(Some)
    }
}

impl Client {
    /// The server that runs on this data folder; none if none does.
    pub(super) fn local(folder: &DataFolder, texts: &Texts) -> Failed<Option<Client>> {
        let runs = folder.server();
        if !matches!(runs, Ok(Some(_))) {
            return Ok(None);
        }
        let path = folder.path().join("local.json");
        let no_way = || {
            Failure::new(say!(texts, "client-no-way", path = path.display()))
                .next(say!(texts, "client-no-way-next"))
        };
        let access = LocalAccess::read(folder).map_err(|error| no_way().detail(error))?;
        let place = match (access.http.first(), access.https.first()) {
            (Some(at), _) => Place::here(*at, None),
            (None, Some(at)) => {
                let roots = std::fs::read(folder.pki().join("ca.pem"));
                Place::here(*at, Some(tls(&roots.unwrap_or_default(), false)))
            }
            (None, None) => return Err(no_way()),
        };
        Client::new(place, access.token, texts).map(Some)
    }

    fn new(place: Place, token: String, texts: &Texts) -> Failed<Client> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(say!(texts, "threads-failed")).detail(error))?;
        Ok(Client {
            runtime,
            place,
            token,
            language: texts.language(),
        })
    }

    pub(super) fn get(&self, path: &str) -> Failed<Value> {
        self.ask(Method::GET, path, None)
    }

    pub(super) fn delete(&self, path: &str) -> Failed<Value> {
        self.ask(Method::DELETE, path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Failed<Value> {
        self.ask(Method::POST, path, Some(body))
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Failed<Value> {
        self.ask(Method::PUT, path, Some(body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Failed<Value> {
        self.ask(Method::PATCH, path, Some(body))
    }

    fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Failed<Value> {
        let kind = "application/json";
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let patience = CLIENT_PATIENCE;
        self.runtime.block_on(async {
            let answered = self.send(method, path, kind, body);
            let answer = self.within(patience, answered).await??;
            self.within(patience, self.json(answer)).await?
        })
    }

    /// Sends a file.
    pub(super) fn upload(&self, path: &str, file: File, length: u64) -> Failed<Value> {
        self.runtime.block_on(async {
            let body = streamed::of_file(file, length);
            let kind = "application/octet-stream";
            let answer = self.send(Method::POST, path, kind, body).await?;
            self.within(CLIENT_PATIENCE, self.json(answer)).await?
        })
    }

    /// Fetches a file into `to`, and says how long it was.
    pub(super) fn download(&self, path: &str, to: &mut impl Write) -> Failed<u64> {
        self.runtime.block_on(async {
            let answered = self.send(Method::GET, path, "application/octet-stream", Body::empty());
            let answer = self.within(CLIENT_PATIENCE, answered).await??;
            if !answer.status().is_success() {
                return Err(match self.json(answer).await {
                    Ok(_) => self.strange(&"a refusal without its reason"),
                    Err(refused) => refused,
                });
            }
            let mut body = Body::new(answer.into_body());
            let mut length = 0;
            loop {
                let next = std::future::poll_fn(|context| {
                    std::pin::Pin::new(&mut body).poll_frame(context)
                });
                let Some(frame) = self.within(CLIENT_PATIENCE, next).await? else {
                    return Ok(length);
                };
                let frame = frame.map_err(|error| self.unreached(&error))?;
                if let Ok(piece) = frame.into_data() {
                    length += piece.len() as u64;
                    to.write_all(&piece).map_err(|error| {
                        let texts = Texts::new(self.language);
                        Failure::new(say!(texts, "client-not-written")).detail(error)
                    })?;
                }
            }
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Body,
    ) -> Failed<Response<Incoming>> {
        let stream = self
            .within(CLIENT_CONNECT, self.place.connect())
            .await?
            .map_err(|error| self.unreached(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreached(&error))?;
        tokio::spawn(connection);
        let uri: Uri = format!("/api/v1{path}")
            .parse()
            .map_err(|error| self.strange(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, self.place.authority())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(ACCEPT_LANGUAGE, self.language.tag())
            .header(CONTENT_TYPE, kind)
            .header(WHO, ascii(&who()))
            .body(body)
            .map_err(|error| self.strange(&error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| self.unreached(&error))
    }

    async fn json(&self, answer: Response<Incoming>) -> Failed<Value> {
        let status = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), CLIENT_ANSWER)
            .await
            .map_err(|error| self.unreached(&error))?;
        let value: Value = serde_json::from_slice(&body)
            .map_err(|error| self.strange(&format_args!("HTTP {}, {error}", status.as_u16())))?;
        match status.is_success() {
            true => Ok(value),
            false => Err(refused(status, &value["error"])),
        }
    }

    async fn within<T>(&self, patience: Duration, work: impl Future<Output = T>) -> Failed<T> {
        tokio::time::timeout(patience, work)
            .await
            .map_err(|_| self.unreached(&format_args!("no answer within {patience:?}")))
    }

    fn unreached(&self, error: &dyn std::fmt::Display) -> Failure {
        let texts = Texts::new(self.language);
        Failure::new(say!(texts, "client-unreached", server = self.place.shown))
            .detail(error)
            .next(say!(texts, "client-unreached-next"))
    }

    /// Something that is no Safeport.
    fn strange(&self, error: &dyn std::fmt::Display) -> Failure {
        let texts = Texts::new(self.language);
        Failure::new(say!(texts, "client-strange", server = self.place.shown)).detail(error)
    }
}

impl Place {
    fn here(at: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Place {
        let scheme = if tls.is_some() { "https" } else { "http" };
        Place {
            host: at.ip().to_string(),
            port: at.port(),
            tls,
            shown: format!("{scheme}://{at}"),
        }
    }

    /// For the header Host.
    fn authority(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(config.clone());
        Ok(Box::new(connector.connect(name, tcp).await?))
    }
}

/// Bytes in both directions, inside TLS or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Believes these authorities, and public ones where asked to.
fn tls(pem: &[u8], public: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let given = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    roots.add_parsable_certificates(given);
    if public {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap_or_else(|_| unreachable!("the provider speaks the versions that it has"))
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// What a server refused, in its words.
fn refused(status: StatusCode, error: &Value) -> Failure {
    let text = |name: &str| error[name].as_str().map(str::to_owned);
    let problems: Vec<String> = error["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|problem| {
            let line = problem["line"].as_u64();
            let what = problem["what"].as_str().unwrap_or_default();
            line.map_or_else(|| what.to_owned(), |line| format!("{line}: {what}"))
        })
        .collect();
    let detail = match problems.is_empty() {
        true => text("detail"),
        false => Some(problems.join("\n")),
    };
    let is_usage = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE
    );
    Failure {
        exit: if is_usage { Exit::Usage } else { Exit::Failed },
        headline: text("what").unwrap_or_else(|| format!("HTTP {}", status.as_u16())),
        detail,
        next: text("next"),
    }
}

/// As a header may carry it.
fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_ascii_graphic() { c } else { '_' })
        .collect()
}

/// A part of a path, whatever stands in it.
pub(super) fn encoded(part: &str) -> String {
    let mut path = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => path.push(byte.into()),
            b'.' => path.push_str("%2E"),
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

/// The size of a file that is to be sent.
pub(super) fn open_file(path: &Path, texts: &Texts) -> Failed<(File, u64)> {
    let unreadable = |error: io::Error| {
        let shown = path.display();
        Failure::usage(say!(texts, "client-file-unreadable", path = shown)).detail(error)
    };
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    Ok((file, found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_leads_out_of_its_place_in_a_path() {
        assert_eq!(encoded("../a b?c#d/é"), "%2E%2E%2Fa%20b%3Fc%23d%2F%C3%A9");
        assert_eq!(encoded("plug-1_x~"), "plug-1_x~");
    }

    #[test]
    fn a_refusal_of_a_request_is_a_mistake_of_usage_and_any_other_is_not() {
        let error = serde_json::json!({"code": "x", "what": "a", "next": "b"});
        let exits = [400, 422, 413, 404, 409, 503].map(|status| {
            let status = StatusCode::from_u16(status).expect("a status");
            refused(status, &error).exit
        });
        use Exit::{Failed, Usage};
        assert_eq!(exits, [Usage, Usage, Usage, Failed, Failed, Failed]);
    }
}
