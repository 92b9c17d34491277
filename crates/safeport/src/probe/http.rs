//! The HTTP layer of a probe, and reading answers for the WebSocket one.

use std::io;

use safeport_net::FirstBytes;
use safeport_settings::gate::Layer;
use safeport_settings::{Outcome, Said};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::proof::{ANSWER_WORD, PATH};
use super::{Step, Stream, Visit, both, ended, failed, shown};
use crate::limits::{PROBE_ANSWER, PROBE_HEAD};

/// Asks for the proof at its well-known path.
pub(super) async fn ask(visit: &Visit<'_>, stream: Box<dyn Stream>) -> Step<()> {
    let path = format!("{PATH}{}", visit.nonce);
    let expected = visit.proofs.answer(visit.nonce.as_str());
    let request = request(visit, &path, "Accept: text/plain\r\nConnection: close\r\n");
    let answer = visit
        .within(Layer::Http, exchange(stream, &request, expected.as_deref()))
        .await?
        .map_err(|error| error.outcome(visit, Layer::Http))?;
    judge(visit, &answer, expected.as_deref())
}

/// A GET request with these further header lines.
pub(super) fn request(visit: &Visit<'_>, path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: safeport-probe/{}\r\n{headers}\r\n",
        visit.host_header(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// An answer: of its body, as much as was read.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// The first header of that name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// `HTTP 404 of nginx/1.24`.
    pub(super) fn described(&self) -> Said {
        let status = self.status;
        match self.header("server") {
            Some(server) => {
                let server = shown(server);
                both!("HTTP {status} of {server}", "{server} 的 HTTP {status}")
            }
            None => both!("HTTP {status}", "HTTP {status}"),
        }
    }
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// The connection ended first.
    Ended(io::Error),
    /// What came is no HTTP.
    Strange(Vec<u8>),
}

impl NoAnswer {
    pub(super) fn outcome(&self, visit: &Visit<'_>, layer: Layer) -> Outcome {
        let address = visit.address;
        match self {
            NoAnswer::Ended(error) => {
                let Said { en, zh } = ended(error);
                failed(
                    layer,
                    Said::new(
                        format!("{address} {en} without an answer to HTTP"),
                        format!("{address} 没有回应 HTTP 请求就{zh}"),
                    ),
                )
            }
            // An alert record: it waits for a handshake.
            NoAnswer::Strange(bytes) if bytes.starts_with(&[0x15, 0x03]) => failed(
                layer,
                both!(
                    "{address} speaks TLS; the address needs https:// or wss://, or another port",
                    "{address} 使用 TLS；地址应以 https:// 或 wss:// 开头，或改用其他端口"
                ),
            ),
            NoAnswer::Strange(bytes) => {
                let mqtt = matches!(FirstBytes::of(bytes), Some(FirstBytes::Mqtt))
                    || bytes.first() == Some(&0x20);
                Outcome::Foreign {
                    saw: if mqtt {
                        both!(
                            "{address} speaks MQTT, not HTTP; the port is another listener's",
                            "{address} 使用 MQTT 而非 HTTP；该端口属于另一个监听"
                        )
                    } else {
                        both!(
                            "what answers at {address} is no HTTP server",
                            "{address} 上的程序不是 HTTP 服务器"
                        )
                    },
                }
            }
        }
    }
}

/// Sends a request and reads the answer until `enough` stands in the body, the body is complete,
/// or [`PROBE_ANSWER`] bytes of it are there.
async fn exchange(
    mut stream: Box<dyn Stream>,
    request: &str,
    enough: Option<&str>,
) -> Result<Answer, NoAnswer> {
    let mut answer = begin(&mut stream, request).await?;
    let length: Option<usize> = answer
        .header("content-length")
        .and_then(|length| length.trim().parse().ok());
    let is_chunked = answer.header("transfer-encoding").is_some();
    let mut buffer = [0; 2048];
    while answer.body.len() < PROBE_ANSWER {
        // The proof cannot stand there by chance, so it may stand in a chunk as well.
        let is_complete = match length {
            Some(length) => answer.body.len() >= length,
            None => is_chunked && answer.body.ends_with(b"0\r\n\r\n"),
        };
        if is_complete || enough.is_some_and(|proof| contains(&answer.body, proof)) {
            break;
        }
        // What has come counts, however the connection ends.
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.body.extend_from_slice(&buffer[..count]),
        }
    }
    Ok(answer)
}

/// Sends a request and reads the head of the answer. What came behind the head is in the body.
pub(super) async fn begin(stream: &mut Box<dyn Stream>, request: &str) -> Result<Answer, NoAnswer> {
    let written = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    // A server that refuses early may have answered already.
    let written = written.await;
    let mut bytes = Vec::new();
    let mut buffer = [0; 2048];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) if !bytes.is_empty() => return Err(NoAnswer::Strange(bytes)),
            Ok(0) => {
                let closed = || io::ErrorKind::UnexpectedEof.into();
                return Err(NoAnswer::Ended(written.err().unwrap_or_else(closed)));
            }
            Err(error) => return Err(NoAnswer::Ended(error)),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        let begins_like_http = bytes
            .iter()
            .zip(b"HTTP/1.")
            .all(|(came, wanted)| came == wanted);
        if !begins_like_http || bytes.len() > PROBE_HEAD {
            return Err(NoAnswer::Strange(bytes));
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let body = bytes.split_off(end + 4);
            return parse_head(&bytes, body).ok_or(NoAnswer::Strange(bytes));
        }
    }
}

fn parse_head(head: &[u8], body: Vec<u8>) -> Option<Answer> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Some(Answer {
        status,
        headers,
        body,
    })
}

/// What an answer to the question for the proof means.
fn judge(visit: &Visit<'_>, answer: &Answer, expected: Option<&str>) -> Step<()> {
    let address = visit.address;
    let status = answer.status;
    if expected.is_some_and(|proof| contains(&answer.body, proof)) {
        return Ok(());
    }
    if let Some(outcome) = broken_proxy(visit, answer, Layer::Http) {
        return Err(outcome);
    }
    let Said { en, zh } = answer.described();
    Err(match status {
        200 if answer.body.starts_with(ANSWER_WORD.as_bytes()) => Outcome::Foreign {
            saw: both!(
                "another Safeport server answers at {address}",
                "{address} 上是另一台 Safeport 服务器"
            ),
        },
        300..=399 => {
            let to = answer.header("location").unwrap_or("?");
            let to = shown(to);
            failed(
                Layer::Http,
                both!(
                    "{address} sends clients on to {to} (HTTP {status}), which devices do not \
                     follow; advertise that address, or let the proxy forward the request",
                    "{address} 把客户端重定向到 {to}（HTTP {status}），设备不会跟随；请通告该地址，或让代理直接转发"
                ),
            )
        }
        401 | 403 | 407 => failed(
            Layer::Http,
            both!(
                "{address} wants a login (HTTP {status}), which devices do not have; let the proxy \
                 forward requests for Safeport without one",
                "{address} 要求登录（HTTP {status}），设备没有该登录信息；请让代理无需登录即可转发到 Safeport"
            ),
        ),
        400 if names_tls(&answer.body) => failed(
            Layer::Http,
            both!(
                "{address} speaks TLS; the address needs https:// or wss://, or another port",
                "{address} 使用 TLS；地址应以 https:// 或 wss:// 开头，或改用其他端口"
            ),
        ),
        _ => Outcome::Foreign {
            saw: Said::new(
                format!(
                    "{address} answers with {en} and without this server's proof: another program \
                     listens there, or a proxy does not forward {PATH}"
                ),
                format!(
                    "{address} 的回应是 {zh}，没有本服务器的证明：那里是另一个程序，或代理没有转发 {PATH}"
                ),
            ),
        },
    })
}

/// The answers of a proxy that does not reach the server behind it.
pub(super) fn broken_proxy(visit: &Visit<'_>, answer: &Answer, layer: Layer) -> Option<Outcome> {
    let address = visit.address;
    let Said { en, zh } = answer.described();
    match answer.status {
        502..=504 | 521..=523 => Some(failed(
            layer,
            Said::new(
                format!(
                    "the proxy at {address} cannot reach this server ({en}); compare the address \
                     that it forwards to with `safeport ports`"
                ),
                format!(
                    "{address} 的代理无法到达本服务器（{zh}）；请把它转发的目的地与 `safeport ports` 对照"
                ),
            ),
        )),
        500..=599 => Some(failed(
            layer,
            Said::new(
                format!("{address} answers with {en}; look into the log of the proxy there"),
                format!("{address} 的回应是 {zh}；请查看那里代理的日志"),
            ),
        )),
        _ => None,
    }
}

/// nginx and this server's own page say so to plain HTTP on the port of HTTPS.
fn names_tls(body: &[u8]) -> bool {
    let body = body.to_ascii_lowercase();
    contains(&body, "https") || contains(&body, "tls")
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len())
        .any(|window| window == text.as_bytes())
}
