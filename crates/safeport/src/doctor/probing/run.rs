//! One run of probes: what is known of the target so far, and its connections.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use safeport_doctor::plan::{Allowance, Came, Stage, Wanted};
use safeport_doctor::target::{Scheme, Service, Target};
use safeport_doctor::{Cause, Clue, Evidence, Layer, Passed, Place, Strength};
use safeport_settings::Said;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::spoken::Spoken;
use super::{Login, Order, Told, secure};
use crate::limits::{DOCTOR_CONNECT, DOCTOR_POOLED};
use crate::probe::{Stream, both};

/// What is known so far.
pub(super) struct Run {
    pub(super) order: Order,
    pub(super) target: Option<Target>,
    pub(super) login: Option<Login>,
    pub(super) addresses: Vec<IpAddr>,
    /// The address that took a connection, or the one to try.
    pub(super) peer: Option<SocketAddr>,
    /// The target is this machine.
    pub(super) is_own: bool,
    /// What the port said before it was asked.
    pub(super) banner: Vec<u8>,
    pub(super) round_trip: Option<Duration>,
    pub(super) spoken: Option<Spoken>,
    /// What the server's clock showed, and when ours was read.
    pub(super) server_time: Option<(Duration, Duration)>,
    pub(super) tls: super::tls::Known,
    pub(super) evidence: Evidence,
    /// Clues that count only if something is broken.
    pub(super) held: Vec<Clue>,
    /// A stage has failed.
    pub(super) is_broken: bool,
    stage: Stage,
    pub(super) until: Instant,
    bytes: usize,
    may_open: u8,
    pub(super) opened: u8,
    /// Connections that are open and have said nothing, the oldest first: servers that serve one
    /// after the other come to them in this order.
    pool: VecDeque<(TcpStream, Instant)>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum NoConnection {
    Refused,
    Silent,
    Unreachable(io::Error),
    Other(io::Error),
    /// The run has opened as many as it may.
    Spent,
}

/// What came back.
pub(super) struct Got {
    pub(super) bytes: Vec<u8>,
    pub(super) end: End,
}

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All that was wanted is there.
    Enough,
    Closed,
    Reset,
    /// Nothing more came in time.
    Silent,
    /// The stage has read as much as it may.
    Full,
}

impl Run {
    pub(super) fn new(order: Order) -> Run {
        let mut evidence = Evidence::default();
        if let Some(profile) = order.profile {
            evidence.facts.note("family", profile.family);
        }
        Run {
            login: login_in(&order.target).or_else(|| order.login.clone()),
            order,
            target: None,
            addresses: Vec::new(),
            peer: None,
            is_own: false,
            banner: Vec::new(),
            round_trip: None,
            spoken: None,
            server_time: None,
            tls: super::tls::Known::default(),
            evidence,
            held: Vec::new(),
            is_broken: false,
            stage: Stage::Parse,
            until: Instant::now(),
            bytes: 0,
            may_open: 0,
            opened: 0,
            pool: VecDeque::new(),
        }
    }

    /// A stage begins.
    pub(super) fn begin(&mut self, stage: Stage, allowance: Allowance) {
        self.stage = stage;
        self.until = Instant::now() + allowance.time;
        self.bytes = allowance.bytes;
        self.may_open = allowance.connects;
        self.opened = 0;
    }

    /// A stage has ended.
    pub(super) fn end(&mut self, came: Came) {
        if matches!(came, Came::Failed { .. }) {
            self.is_broken = true;
            self.evidence.clues.append(&mut self.held);
        }
    }

    /// A stage did not end in time.
    pub(super) fn late(&mut self, stage: Stage, time: Duration) -> Told {
        let cause = match stage {
            Stage::Tcp => Cause::TcpTimeout,
            Stage::Dns => Cause::DnsSilent,
            Stage::Sniff | Stage::Tls | Stage::AsDevice => Cause::TlsTimeout,
            Stage::App if self.service() == Service::Mqtt => Cause::NoConnack,
            _ => Cause::HttpTimeout,
        };
        let seconds = time.as_secs();
        if matches!(
            stage,
            Stage::Tcp | Stage::Dns | Stage::Sniff | Stage::Tls | Stage::App
        ) {
            let quote = format!("no end within {seconds} s");
            self.clue(cause, Strength::Class, quote);
        }
        Told::failed(
            self.named(stage),
            both!("no end within {seconds} s", "{seconds} 秒内没有结束"),
        )
    }

    /// What a stage looks at, with the target's name.
    pub(super) fn named(&self, stage: Stage) -> Said {
        let Said { en, zh } = stage.word();
        let shown = match (&self.target, self.port()) {
            (None, _) => return Said::new(en, zh),
            (Some(target), _) if stage == Stage::Dns => target.host.to_string(),
            (Some(target), Some(port)) => format!("{}:{port}", target.host.in_url()),
            (Some(target), None) => target.host.to_string(),
        };
        Said::new(format!("{en}: {shown}"), format!("{zh}：{shown}"))
    }

    pub(super) fn wanted(&self) -> Wanted {
        let is_name = |target: &Target| target.host.ip().is_none();
        Wanted {
            name: self.order.address.is_none() && self.target.as_ref().is_none_or(is_name),
            tls: self.speaks_tls(),
        }
    }

    /// Whether TLS is spoken: as wanted, or as found where nothing is said.
    pub(super) fn speaks_tls(&self) -> bool {
        let wants = self.target.as_ref().and_then(Target::wants_tls);
        wants.unwrap_or(self.spoken == Some(Spoken::Tls))
    }

    pub(super) fn service(&self) -> Service {
        self.target
            .as_ref()
            .map_or(Service::Unknown, Target::service)
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.target.as_ref().and_then(Target::likely_port)
    }

    pub(super) fn place(&self) -> Place {
        Place::Probe {
            stage: self.stage.number(),
        }
    }

    pub(super) fn clue(&mut self, cause: Cause, strength: Strength, quote: impl Quoted) {
        let clue = self.made(cause, strength, quote);
        self.evidence.clues.push(clue);
    }

    pub(super) fn made(&self, cause: Cause, strength: Strength, quote: impl Quoted) -> Clue {
        Clue::new(cause, strength, self.place(), quote.quoted())
    }

    pub(super) fn pass(&mut self, layer: Layer, quote: impl Quoted) {
        let passed = Passed {
            layer,
            place: self.place(),
            quote: quote.quoted(),
        };
        self.evidence.passed.push(passed);
    }

    /// A new connection to the target, or one that waits in the pool.
    pub(super) async fn connect(&mut self) -> Result<TcpStream, NoConnection> {
        while let Some((stream, since)) = self.pool.pop_front() {
            if since.elapsed() < DOCTOR_POOLED {
                return Ok(stream);
            }
        }
        self.open().await.map(|(stream, _)| stream)
    }

    /// A new connection, and how long it took.
    pub(super) async fn open(&mut self) -> Result<(TcpStream, Duration), NoConnection> {
        let peer = self.peer.ok_or(NoConnection::Spent)?;
        if self.opened >= self.may_open {
            return Err(NoConnection::Spent);
        }
        self.opened += 1;
        let begun = Instant::now();
        let until = self.until.min(begun + DOCTOR_CONNECT);
        match open(peer, until).await {
            Ok(stream) => Ok((stream, begun.elapsed())),
            Err(why) => Err(why),
        }
    }

    /// Whether another connection may be opened, or one waits.
    pub(super) fn can_connect(&self) -> bool {
        !self.pool.is_empty() || self.opened < self.may_open
    }

    pub(super) fn connects_left(&self) -> u8 {
        self.may_open - self.opened
    }

    pub(super) fn count_opened(&mut self, count: u8) {
        self.opened = self.opened.saturating_add(count);
    }

    pub(super) fn keep(&mut self, stream: TcpStream) {
        self.pool.push_back((stream, Instant::now()));
    }

    /// Closes the connections that wait for too long to be of use.
    pub(super) fn close_stale(&mut self) {
        self.pool
            .retain(|(_, since)| since.elapsed() < DOCTOR_POOLED);
    }

    pub(super) fn close_all(&mut self) {
        self.pool.clear();
    }

    /// Where a fault was found, for the words about it.
    pub(super) fn note_probed(&mut self) {
        if let Some(target) = self.target.as_ref().filter(|_| self.is_broken) {
            let shown = match (&target.scheme, self.port()) {
                (None, Some(port)) => target.with_port(port).url(),
                _ => target.url(),
            };
            self.evidence.facts.note("probed", shown);
        }
    }

    /// A connection to the target at the layer of its protocol: with TLS where that is spoken,
    /// whoever vouches for the certificate.
    pub(super) async fn dial(&mut self) -> Result<Box<dyn Stream>, Said> {
        let stream = self.connect().await.map_err(|why| why.said())?;
        let Some(target) = self.target.as_ref().filter(|_| self.speaks_tls()) else {
            return Ok(Box::new(stream));
        };
        let until = self.until.min(Instant::now() + DOCTOR_CONNECT * 2);
        match timeout_at(
            until,
            secure::connect(stream, &target.host, self.order.profile),
        )
        .await
        {
            Ok(Ok(secured)) => {
                self.tls.note(&secured);
                Ok(Box::new(secured.stream))
            }
            Ok(Err(error)) => Err(both!(
                "the TLS handshake failed ({error})",
                "TLS 握手失败（{error}）"
            )),
            Err(_) => Err(Said::new(
                "no answer in the TLS handshake",
                "TLS 握手没有回应",
            )),
        }
    }

    /// Says something and reads until `enough`, for so long at most, within what the stage may
    /// read.
    pub(super) async fn ask<S: Stream + ?Sized>(
        &mut self,
        stream: &mut S,
        question: &[u8],
        patience: Duration,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Got {
        let until = self.until.min(Instant::now() + patience);
        let written = timeout_at(until, async {
            stream.write_all(question).await?;
            stream.flush().await
        });
        // Who refuses early may have said why before it closed.
        let written = written.await;
        let mut got = Vec::new();
        let mut buffer = [0; 4096];
        let end = loop {
            if enough(&got) {
                break End::Enough;
            }
            if self.bytes == 0 {
                break End::Full;
            }
            let most = buffer.len().min(self.bytes);
            match timeout_at(until, stream.read(&mut buffer[..most])).await {
                Ok(Ok(0)) => {
                    break match &written {
                        Ok(Err(error)) => End::of(error),
                        _ => End::Closed,
                    };
                }
                Ok(Ok(count)) => {
                    self.bytes -= count;
                    got.extend_from_slice(&buffer[..count]);
                }
                Ok(Err(error)) => break End::of(&error),
                Err(_) => break End::Silent,
            }
        };
        Got { bytes: got, end }
    }

    /// The URL of the target with this scheme and port.
    pub(super) fn url_with(&self, scheme: Scheme, port: u16) -> Option<String> {
        let target = self.target.as_ref()?;
        Some(target.with_scheme(scheme).with_port(port).url())
    }
}

impl End {
    fn of(error: &io::Error) -> End {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => End::Reset,
            _ => End::Closed,
        }
    }

    /// What the other side did, in English and Chinese.
    pub(super) fn said(self) -> Said {
        let (en, zh) = match self {
            End::Enough => ("it answered", "对方已回应"),
            End::Closed => ("it closed the connection", "对方关闭了连接"),
            End::Reset => ("it reset the connection", "对方重置了连接"),
            End::Silent => ("it said nothing more", "对方没有再发送任何内容"),
            End::Full => ("it sent without end", "对方不停地发送数据"),
        };
        Said::new(en, zh)
    }
}

impl NoConnection {
    fn of(error: io::Error) -> NoConnection {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => NoConnection::Refused,
            io::ErrorKind::TimedOut => NoConnection::Silent,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                NoConnection::Unreachable(error)
            }
            _ => NoConnection::Other(error),
        }
    }

    pub(super) fn said(&self) -> Said {
        match self {
            NoConnection::Refused => Said::new("connection refused", "连接被拒绝"),
            NoConnection::Silent => Said::new("no answer to the connection", "连接没有得到回应"),
            NoConnection::Unreachable(error) | NoConnection::Other(error) => {
                both!("no connection ({error})", "无法连接（{error}）")
            }
            NoConnection::Spent => Said::new(
                "as many connections were opened as one run may",
                "本次检查允许的连接次数已用完",
            ),
        }
    }
}

/// A connection to this address.
pub(super) async fn open(peer: SocketAddr, until: Instant) -> Result<TcpStream, NoConnection> {
    match timeout_at(until, TcpStream::connect(peer)).await {
        Ok(Ok(stream)) => {
            // Each question is one small write.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(NoConnection::of(error)),
        Err(_) => Err(NoConnection::Silent),
    }
}

/// The name and password before `@` in a URL.
fn login_in(typed: &str) -> Option<Login> {
    let (scheme, rest) = typed.split_once("://").unwrap_or(("", typed));
    let authority = match scheme.to_ascii_lowercase().starts_with("mqtt") {
        // There is no path, and a password may hold anything.
        true => rest,
        false => rest.split(['/', '?', '#']).next()?,
    };
    let (login, _) = authority.rsplit_once('@')?;
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Some(Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// What can be quoted as evidence: words of a server read the same in both languages.
pub(super) trait Quoted {
    fn quoted(self) -> Said;
}

impl Quoted for Said {
    fn quoted(self) -> Said {
        Said::new(one_line(&self.en), one_line(&self.zh))
    }
}

impl Quoted for String {
    fn quoted(self) -> Said {
        Said::same(one_line(&self))
    }
}

impl Quoted for &str {
    fn quoted(self) -> Said {
        Said::same(one_line(self))
    }
}

/// Fit to be shown: what strangers sent may hold tokens.
fn one_line(text: &str) -> String {
    safeport_doctor::quote(text)
}
