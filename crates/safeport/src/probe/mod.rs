//! Probes of advertised addresses: whether a device that uses one reaches this server.
//!
//! [`probe`] goes the way of a device, by the advertised name, layer by layer: look the name up,
//! connect, TLS, then HTTP, WebSocket or MQTT, and asks for the proof that only this server can
//! give ([`proof`]). The first broken layer ends it. What cannot be told from this machine (a
//! router that does not lead its own network back in, a resolver that is down) is said to be just
//! that, and not called broken. Who starts probes and what follows from them is not decided here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use safeport_settings::gate::Layer;
use safeport_settings::{AdvertisedAddress, HostName, Outcome, Said, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

mod http;
mod mqtt;
mod post;
pub mod proof;
mod reach;
#[cfg(test)]
mod tests;
mod tls;
mod voice;
mod websocket;

pub use post::{PostError, post, post_trusting};
pub use proof::{Arrival, Nonce, Proofs};
pub use tls::{Trust, TrustError, TrustedBy, certificates_in};
pub use voice::{Voice, voice};

/// A sentence in both languages, with the same values in both: `both!("{port} …", "{port} …")`.
macro_rules! both {
    ($en:literal, $zh:literal $(,)?) => {
        ::safeport_settings::Said::new(format!($en), format!($zh))
    };
}
pub(crate) use both;

/// What a probe found, and what it saw on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What came of it, for the gate.
    pub outcome: Outcome,
    /// Every address that the name leads to here, in the resolver's order; of an IP address,
    /// itself. Empty if the name has none.
    pub resolved: Vec<IpAddr>,
    /// The first of them that took the connection.
    pub reached: Option<SocketAddr>,
    /// Those tried before it that did not, with the reason: devices may come upon them too.
    pub missed: Vec<(SocketAddr, Said)>,
    /// Who vouches for the certificate; `None` without TLS, or where TLS failed.
    pub trusted_by: Option<TrustedBy>,
    /// Where an MQTT login came out.
    pub arrival: Option<Arrival>,
    /// How long it took.
    pub took: Duration,
}

/// Whether `address` leads to this server: the outcome of [`examine`] alone.
pub async fn probe(
    address: &AdvertisedAddress,
    proofs: &Proofs,
    trust: &Trust,
    patience: Duration,
) -> Outcome {
    examine(address, proofs, trust, patience).await.outcome
}

/// Looks whether `address` leads to this server, within `patience` (usually
/// [`PROBE_DEADLINE`](crate::limits::PROBE_DEADLINE)), and tells what it saw on the way.
///
/// `proofs` are those that the listeners of this server answer with. For `mqtt` and `mqtts` the
/// login has to arrive in this very process; in another one, even beside the same data folder, it
/// is reported as foreign.
pub async fn examine(
    address: &AdvertisedAddress,
    proofs: &Proofs,
    trust: &Trust,
    patience: Duration,
) -> Report {
    let started = Instant::now();
    let nonce = match proofs.issue() {
        Ok(nonce) => nonce,
        Err(error) => {
            let why = both!(
                "the system gives no random numbers ({error})",
                "系统无法提供随机数（{error}）"
            );
            return Report::new(Outcome::Unverifiable { why });
        }
    };
    let mut visit = Visit {
        address,
        proofs,
        nonce: &nonce,
        trust,
        until: started + patience,
        report: Report::new(Outcome::Proved),
    };
    let result = visit.run().await;
    let mut report = visit.report;
    // Also where the login was answered by somebody else, so that no question stays open.
    report.arrival = proofs.settle(&nonce).or(report.arrival);
    report.outcome = result.err().unwrap_or(Outcome::Proved);
    report.took = started.elapsed();
    report
}

impl Report {
    fn new(outcome: Outcome) -> Report {
        Report {
            outcome,
            resolved: Vec::new(),
            reached: None,
            missed: Vec::new(),
            trusted_by: None,
            arrival: None,
            took: Duration::ZERO,
        }
    }
}

/// One probe on its way.
struct Visit<'a> {
    address: &'a AdvertisedAddress,
    proofs: &'a Proofs,
    nonce: &'a Nonce,
    trust: &'a Trust,
    until: Instant,
    report: Report,
}

/// What a layer gives to the next one, or how the probe ends. `Proved` never stands in `Err`.
type Step<T> = Result<T, Outcome>;

/// A connection, with or without TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Visit<'_> {
    async fn run(&mut self) -> Step<()> {
        match self.address.scheme() {
            Scheme::Http | Scheme::Https => {
                let stream = self.open().await?;
                http::ask(self, stream).await
            }
            Scheme::Ws | Scheme::Wss => {
                let stream = self.open().await?;
                websocket::ask(self, stream).await
            }
            Scheme::Mqtt | Scheme::Mqtts => {
                let stream = self.open().await?;
                mqtt::ask(self, stream).await
            }
        }
    }

    /// The layers below the protocol.
    async fn open(&mut self) -> Step<Box<dyn Stream>> {
        let answers = reach::resolve(self.address, self.until).await?;
        self.report.resolved.clone_from(&answers);
        let reached = reach::connect(self.address, &answers, self.until).await;
        self.report.missed = reached.missed;
        let (stream, peer) = reached.stream?;
        self.report.reached = Some(peer);
        if !self.address.scheme().is_tls() {
            return Ok(Box::new(stream));
        }
        let handshake = tls::connect(stream, self.address, self.trust);
        let (stream, trusted_by) = self.within(Layer::Tls, handshake).await??;
        self.report.trusted_by = Some(trusted_by);
        Ok(Box::new(stream))
    }

    /// Waits for a layer until the probe's time is up.
    async fn within<T>(&self, layer: Layer, work: impl Future<Output = T>) -> Step<T> {
        tokio::time::timeout_at(self.until, work)
            .await
            .map_err(|_| {
                let address = self.address;
                let word = match layer {
                    Layer::Tls => Said::new("the TLS handshake", "TLS 握手"),
                    Layer::Http => Said::new("the HTTP request", "HTTP 请求"),
                    Layer::WebSocket => Said::new("the WebSocket upgrade", "WebSocket 升级请求"),
                    _ => Said::new("the MQTT login", "MQTT 登录"),
                };
                let (en, zh) = (word.en, word.zh);
                failed(
                    layer,
                    Said::new(
                        format!(
                            "{address} takes the connection and does not answer {en}; look at what \
                             stands in between (proxy, router, firewall)"
                        ),
                        format!(
                            "{address} 接受了连接，但没有回应{zh}；请检查中间的代理、路由器或防火墙"
                        ),
                    ),
                )
            })
    }

    /// `host:port` as a client writes it into its request: browsers and devices leave the
    /// scheme's own port away.
    fn host_header(&self) -> String {
        let address = self.address;
        if address.port() == address.scheme().standard_port() {
            address.host().to_string()
        } else {
            format!("{}:{}", address.host(), address.port())
        }
    }
}

fn failed(layer: Layer, saw: Said) -> Outcome {
    Outcome::Failed { layer, saw }
}

/// What a foreign program called itself, fit to be shown: one line, at most 60 characters.
pub(crate) fn shown(text: &str) -> impl fmt::Display {
    const MOST: usize = 60;
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MOST)
        .collect();
    if text.chars().count() > MOST {
        line.push('…');
    }
    line
}

/// Why a connection ended, in both languages.
fn ended(error: &std::io::Error) -> Said {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::UnexpectedEof | Kind::BrokenPipe | Kind::ConnectionAborted => {
            Said::new("closed the connection", "关闭了连接")
        }
        Kind::ConnectionReset => Said::new("reset the connection", "重置了连接"),
        _ => both!("failed ({error})", "出错（{error}）"),
    }
}

/// The host as a resolver and a certificate know it: no brackets.
fn bare_host(host: &HostName) -> String {
    match host.ip() {
        Some(ip) => ip.to_string(),
        None => host.to_string(),
    }
}
