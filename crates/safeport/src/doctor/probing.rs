//! Probes of one target, stage by stage: what [`safeport_doctor::plan`] decides, with sockets and
//! clocks.
//!
//! They never need the device and run from this machine, so what works here need not work from the
//! device's place. Only hosts that the owner named are connected to, at most
//! [`CONNECTS`](safeport_doctor::limits::CONNECTS) times each run; what a server hands out is looked at
//! with one connection each. MQTT logs in with a client identifier made up for the occasion, so that
//! no session is taken over.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use safeport_doctor::plan::{Came, Plan, Stage, Wishes};
use safeport_doctor::profile::Profile;
use safeport_doctor::tls::Anchor;
use safeport_doctor::{CaptureReading, Evidence, Trusted, read_capture_trusting};
use safeport_settings::Said;
use serde::{Serialize, Serializer};
use tokio::time::{Instant, timeout_at};

use crate::probe::{both, certificates_in};

mod alternates;
mod app;
mod clock;
mod dns;
mod http;
mod meter;
mod own;
mod parse;
mod path;
mod run;
mod secure;
mod session;
mod sniff;
mod spoken;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use run::Run;

/// What to look at, and how.
#[derive(Debug, Clone)]
pub struct Order {
    /// As the owner typed it: a URL, `host:port` or a host. Empty: only this machine and its clock.
    pub target: String,
    /// The address to go to, whatever the name leads to; the name stays in TLS and in requests.
    pub address: Option<IpAddr>,
    /// The device to look as (`--as`). None: those that come to such a service.
    pub profile: Option<&'static Profile>,
    /// What the device takes for the time, since 1970, if that is known.
    pub device_time: Option<Duration>,
    /// From where devices come (`--from`).
    pub vantage: Vantage,
    /// The longest pause through which an idle connection is watched (`--long`), if any; three
    /// shorter ones come before it.
    pub long: Option<Duration>,
    /// Whether a password may go over a connection without TLS (`--yes`).
    pub yes: bool,
    /// Who vouches for certificates.
    pub authorities: Authorities,
    /// A name and password to log in with. One in the target's URL comes first.
    pub login: Option<Login>,
    /// The ports that the settings of this machine's server name. Empty: not known.
    pub own_ports: Vec<OwnPort>,
    /// The certificates that the settings name; looked at when the target is this machine.
    pub certificate_files: Vec<PathBuf>,
    /// Name servers to ask instead of the system's resolver and those of `/etc/resolv.conf`.
    pub name_servers: Vec<SocketAddr>,
}

impl Order {
    /// To look at this target, the rest as usual.
    pub fn of(target: impl Into<String>, authorities: Authorities) -> Order {
        Order {
            target: target.into(),
            address: None,
            profile: None,
            device_time: None,
            vantage: Vantage::Lan,
            long: None,
            yes: false,
            authorities,
            login: None,
            own_ports: Vec::new(),
            certificate_files: Vec::new(),
            name_servers: Vec::new(),
        }
    }
}

/// From where devices come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vantage {
    /// The home network.
    Lan,
    /// Anywhere: mobile networks, other homes.
    Public,
}

/// Who vouches for certificates, by where we know them from.
#[derive(Debug, Clone, Default)]
pub struct Authorities {
    /// Of `--ca`: the devices have them, too.
    given: Vec<CertificateDer<'static>>,
    /// This server's own, which a device has only if it was given it.
    own: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// Those in the file of `--ca`, and this server's own root as PEM. Those of the system
    /// (`SSL_CERT_FILE` first) are added when they are needed.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn read(ca: Option<&Path>, own_root: Option<&str>) -> Result<Authorities, Said> {
        let mut given = Vec::new();
        if let Some(path) = ca {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|error| {
                both!(
                    "the file of --ca, {shown}, cannot be read ({error})",
                    "无法读取 --ca 指定的文件 {shown}（{error}）"
                )
            })?;
            given = certificates_in(&String::from_utf8_lossy(&pem));
            if given.is_empty() {
                return Err(both!(
                    "the file of --ca, {shown}, holds no certificate; it has to be PEM",
                    "--ca 指定的文件 {shown} 中没有证书；必须是 PEM 格式"
                ));
            }
        }
        let own = own_root.into_iter().flat_map(certificates_in).collect();
        Ok(Authorities { given, own })
    }

    /// Reads a packet capture, and judges the chains in it against these.
    pub fn read_capture(&self, bytes: &[u8]) -> CaptureReading {
        let anchors = |roots: &[CertificateDer<'static>]| -> Vec<Anchor> {
            let read = roots.iter().filter_map(|der| Anchor::of_certificate(der));
            read.collect()
        };
        let trusted = Trusted {
            anchors: &anchors(&self.system()),
            own: &anchors(&self.given),
            known: &anchors(&self.own),
        };
        read_capture_trusting(bytes, &trusted)
    }

    /// The public ones, as this system knows them.
    fn system(&self) -> Vec<CertificateDer<'static>> {
        rustls_native_certs::load_native_certs().certs
    }
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A port that a setting names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPort {
    /// The port.
    pub port: u16,
    /// The setting's key.
    pub key: String,
    /// The address that it is bound to.
    pub bind: IpAddr,
}

/// How a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has begun.
    Running,
    /// All is well so far.
    Passed,
    /// Something is broken.
    Failed,
    /// It had nothing to look at.
    Nothing,
}

/// What one stage tried, and what came back.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Which.
    pub stage: Stage,
    /// How it stands.
    pub state: State,
    /// What was tried.
    #[serde(serialize_with = "in_both")]
    pub tried: Said,
    /// What came back; empty while it runs.
    #[serde(serialize_with = "in_both")]
    pub came: Said,
    /// How long it took.
    #[serde(serialize_with = "in_milliseconds", rename = "took_ms")]
    pub took: Duration,
    /// What that proves.
    #[serde(serialize_with = "maybe_in_both")]
    pub proves: Option<Said>,
    /// What it cannot be then.
    #[serde(serialize_with = "all_in_both")]
    pub excludes: Vec<Said>,
}

/// Everything that the probes of one target brought back.
#[derive(Debug, Clone, PartialEq)]
pub struct Examination {
    /// For the judge.
    pub evidence: Evidence,
    /// The stages that ran, in their order.
    pub steps: Vec<Step>,
}

/// Looks at the target. `progress` is told of each stage twice: when it begins and when it has
/// ended; the first time at once.
pub async fn examine(order: Order, mut progress: impl FnMut(&Step)) -> Examination {
    let started = Instant::now();
    let mut plan = Plan::new(Wishes { long: order.long }, Duration::ZERO);
    let mut run = Run::new(order);
    let mut steps = Vec::new();
    let has_target = !run.order.target.is_empty();
    while let Some((stage, allowance)) = plan.poll_stage(started.elapsed()) {
        let begun = Instant::now();
        progress(&Step {
            stage,
            state: State::Running,
            tried: shown(run.named(stage)),
            came: Said::default(),
            took: Duration::ZERO,
            proves: None,
            excludes: Vec::new(),
        });
        run.begin(stage, allowance);
        let until = run.until;
        let told = match timeout_at(until, look(stage, &mut run)).await {
            Ok(told) => {
                plan.handle(told.came, run.opened);
                told
            }
            Err(_) => {
                let late = plan.poll_timeout().unwrap_or_default();
                plan.handle_timeout(late);
                run.late(stage, allowance.time)
            }
        };
        run.end(told.came);
        plan.learn(run.wanted());
        let step = Step {
            stage,
            state: match told.came {
                Came::Passed => State::Passed,
                // Where there is no target, its text is no trouble, and ends what needs one.
                Came::Failed { .. } if has_target || stage != Stage::Parse => State::Failed,
                Came::Failed { .. } | Came::Nothing => State::Nothing,
            },
            tried: shown(told.tried),
            came: shown(told.saw),
            took: begun.elapsed(),
            proves: told.proves.map(shown),
            excludes: told.excludes,
        };
        progress(&step);
        steps.push(step);
    }
    run.note_probed();
    Examination {
        evidence: fit_to_be_shown(run.evidence),
        steps,
    }
}

/// Whatever a server sent, people see it on a terminal and in pages: without secrets, and without what
/// a terminal would obey.
fn fit_to_be_shown(mut evidence: Evidence) -> Evidence {
    for value in evidence.facts.0.values_mut() {
        *value = safeport_doctor::line(value, SHOWN_CHARS);
    }
    let clues = evidence.clues.iter_mut().map(|clue| &mut clue.quote);
    let passed = evidence.passed.iter_mut().map(|passed| &mut passed.quote);
    for quote in clues.chain(passed) {
        let (en, zh) = (
            safeport_doctor::quote(&quote.en),
            safeport_doctor::quote(&quote.zh),
        );
        *quote = Said::new(en, zh);
    }
    evidence
}

/// Characters of what a stage tells, and of a fact, that are shown.
const SHOWN_CHARS: usize = 2000;

async fn look(stage: Stage, run: &mut Run) -> Told {
    match stage {
        Stage::Own => own::look(run).await,
        Stage::Parse => parse::look(run),
        Stage::Dns => dns::look(run).await,
        Stage::Tcp => tcp::look(run).await,
        Stage::Alternates => alternates::look(run).await,
        Stage::Sniff => sniff::look(run).await,
        Stage::Tls => tls::look(run).await,
        Stage::AsDevice => tls::as_device(run).await,
        Stage::Clock => clock::look(run).await,
        Stage::App => app::look(run).await,
        Stage::Path => path::look(run).await,
        Stage::Session => session::look(run).await,
    }
}

/// What a stage has to tell.
struct Told {
    came: Came,
    tried: Said,
    saw: Said,
    proves: Option<Said>,
    excludes: Vec<Said>,
}

impl Told {
    fn passed(tried: Said, saw: Said) -> Told {
        Told::new(Came::Passed, tried, saw)
    }

    fn nothing(tried: Said, saw: Said) -> Told {
        Told::new(Came::Nothing, tried, saw)
    }

    /// Broken, and another port would not be better.
    fn failed(tried: Said, saw: Said) -> Told {
        let came = Came::Failed {
            takes_connections: true,
            elsewhere: false,
        };
        Told::new(came, tried, saw)
    }

    /// Broken, and another port may be the right one.
    fn misplaced(tried: Said, saw: Said, takes_connections: bool) -> Told {
        let came = Came::Failed {
            takes_connections,
            elsewhere: true,
        };
        Told::new(came, tried, saw)
    }

    fn new(came: Came, tried: Said, saw: Said) -> Told {
        Told {
            came,
            tried,
            saw,
            proves: None,
            excludes: Vec::new(),
        }
    }

    fn proving(mut self, proves: Said) -> Told {
        self.proves = Some(proves);
        self
    }

    fn excluding(mut self, excludes: Said) -> Told {
        self.excludes.push(excludes);
        self
    }
}

fn shown(said: Said) -> Said {
    let Said { en, zh } = said;
    Said::new(
        safeport_doctor::line(&en, SHOWN_CHARS),
        safeport_doctor::line(&zh, SHOWN_CHARS),
    )
}

#[derive(Serialize)]
struct Both<'a> {
    en: &'a str,
    zh: &'a str,
}

impl<'a> From<&'a Said> for Both<'a> {
    fn from(said: &'a Said) -> Both<'a> {
        Both {
            en: &said.en,
            zh: &said.zh,
        }
    }
}

fn in_both<S: Serializer>(said: &Said, serializer: S) -> Result<S::Ok, S::Error> {
    Both::from(said).serialize(serializer)
}

fn maybe_in_both<S: Serializer>(said: &Option<Said>, serializer: S) -> Result<S::Ok, S::Error> {
    said.as_ref().map(Both::from).serialize(serializer)
}

fn all_in_both<S: Serializer>(said: &[Said], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(said.iter().map(Both::from))
}

fn in_milliseconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
