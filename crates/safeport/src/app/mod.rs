//! A server, composed: settings become a locked data folder, bound listeners, an engine with its
//! gatekeeper, and the drivers around it. Every step that can fail says what to do.

mod devices;
mod house;
mod live;
mod plan;
mod sockets;
mod words;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use safeport_engine::{Engine, EngineSettings};
use safeport_net::pki::Certificates;
use safeport_net::{Handshakes, PrivateCa};
use safeport_settings::{BoundSocket, Listener, LogFormat, Said, Settings};
use safeport_store::{By, DataFolder, Draft, FolderLock, Registry, RevisionKind, RevisionState};
use tokio::runtime::Runtime;

pub use house::{certificates, data_folder, registry_failed};
pub use live::Event;
pub(crate) use live::changed_files;
pub(crate) use sockets::port_range;
pub(crate) use words::holding_text;

use devices::{Household, Witnesses};
use house::House;
use live::{Awaited, CONFIRM_REPLY, Live};
use plan::{engine_settings, handshake_limits, listener_specs, wanted_connections};
use sockets::{Binder, Bound};

use crate::acme::{Acme, AcmeConfig, Challenges};
use crate::banner::{Banner, Listening};
use crate::certificates::{
    Keeper, Prepared, Presented, chain_said, pinned, pki_said, server_keys, strangers,
};
use crate::console::{Console, Failure};
use crate::descriptors::Descriptors;
use crate::limits::{ATTEMPTS_GOODBYE, FIRST_PROOFS, SHUTDOWN_GRACE, VOICE_LAST_WORDS};
use crate::log;
use crate::probe::Proofs;
use crate::reading::{Gathered, Read, put_back};
use crate::serve::access::{Access, unix_now};
use crate::serve::attempts::Attempts;
use crate::serve::gate::GateDriver;
use crate::serve::http::{Api, Confirm, Confirmed, HttpListeners, Services, Site, SiteSettings};
use crate::serve::metrics::{Metrics, TlsMetrics};
use crate::serve::ntp::NtpListeners;
use crate::serve::revocation;
use crate::serve::voice::{self, Lines, Lobby, Voice};
use crate::serve::xiaozhi::{self, Xiaozhi};
use crate::service_manager;
use crate::tasks::{self, Ends, Tasks};
use crate::text::Texts;
use crate::{lan, say, trust};

/// Runs a server until a signal ends it. `strand` names devices that may lose the address they
/// hold when a listener has to move.
///
/// # Errors
/// Everything that keeps it from starting, and any part of it that ends by itself.
pub fn serve(read: Read, strand: &[String], console: &Console) -> Result<(), Failure> {
    let texts = &console.texts;
    start_log(&read.settings, texts)?;
    if let Some(why) = &read.degraded {
        console.talk(&format!("{}\n{why}\n", say!(texts, "degraded-headline")));
        tracing::warn!(
            target: "safeport::serve",
            "DEGRADED: the settings files have mistakes, the last good ones are in force; correct \
             them and reload (SIGHUP, or `config reload`)"
        );
    }
    let mut house = House::open(&read, texts)?;
    let bound = bind_all(&read, strand, &mut house, texts)?;
    let descriptors = Descriptors::raise();
    log_descriptors(&read.settings, descriptors);
    let (runtime, tasks, ends) = runtime(texts)?;
    let (server, signals) = {
        let _inside = runtime.enter();
        let signals = Signals::new()
            .map_err(|error| Failure::new(say!(texts, "signals-failed")).detail(error))?;
        let parts = Parts {
            read,
            strand: strand.to_vec(),
            house,
            bound,
            descriptors,
        };
        let server = Server::start(parts, &tasks, texts)?;
        (server, signals)
    };
    server.greet(console)?;
    server.run(&runtime, signals, ends, texts)
}

/// Takes back a change that nobody had confirmed when its server ended. To be called before the
/// settings are read; does nothing beside a running server.
pub fn take_back_unconfirmed(gathered: &Gathered, console: &Console) {
    let Some(Ok(Some(folder))) = gathered.data_folder().map(DataFolder::open_existing) else {
        return;
    };
    // Whatever is wrong here is told when the folder is opened to serve.
    if !matches!(folder.server(), Ok(None)) || !matches!(folder.registry_to_read(), Ok(Some(_))) {
        return;
    }
    let Ok(mut registry) = folder.registry() else {
        return;
    };
    let Ok(Some(revision)) = registry.unconfirmed() else {
        return;
    };
    let texts = &console.texts;
    let mut verdict = say!(texts, "change-cut-off");
    for file in &revision.files {
        if let Err(error) = put_back(file) {
            let path = &file.path;
            verdict.push(' ');
            verdict.push_str(&say!(
                texts,
                "file-not-put-back",
                path = path,
                error = error
            ));
        }
    }
    let by = By {
        who: "server",
        at: unix_now(),
    };
    let id = revision.id;
    match registry.settle(id, RevisionState::Reverted, Some(&verdict), None, by) {
        Ok(()) => console.talk(&say!(
            texts,
            "change-done",
            revision = id,
            verdict = verdict
        )),
        Err(error) => console.talk(&error.to_string()),
    }
}

/// Binds everything that is planned.
fn bind_all(
    read: &Read,
    strand: &[String],
    house: &mut House,
    texts: &Texts,
) -> Result<Vec<Bound>, Failure> {
    let mut binder = Binder::new(&read.settings, &mut house.registry, texts, strand);
    let mut bound = Vec::new();
    for planned in read.settings.plan.binds() {
        bound.extend(binder.bind(planned)?);
    }
    Ok(bound)
}

fn start_log(settings: &Settings, texts: &Texts) -> Result<(), Failure> {
    let format = match settings.log.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    let (key, filter) = log_filter(settings);
    log::start(&filter, format)
        .map_err(|error| Failure::usage(say!(texts, "log-filter-bad", key = key)).detail(error))
}

/// What is to be logged, and which key or variable says so.
fn log_filter(settings: &Settings) -> (&'static str, String) {
    match std::env::var("SAFEPORT_LOG") {
        Ok(filter) if !filter.is_empty() => ("SAFEPORT_LOG", filter),
        _ => ("log.level", settings.log.level.clone()),
    }
}

/// What `/healthz` says of a server that runs on its last good settings: nothing of what stands in
/// the files, since anybody may ask.
fn degraded_word(read: &Read) -> Option<String> {
    let word = "the settings files have mistakes; the last good settings are in force, see the log";
    read.degraded.is_some().then(|| word.to_owned())
}

/// What the pages heed.
fn site_settings(read: &Read) -> SiteSettings {
    SiteSettings {
        name: read.settings.server.name.clone(),
        anonymous: read.settings.access.anonymous,
        metrics_token: read.settings.http.metrics_token.reveal().to_owned(),
    }
}

fn log_descriptors(settings: &Settings, descriptors: Descriptors) {
    let connections = descriptors.connections();
    let wanted = wanted_connections(settings);
    let advice = if connections < wanted {
        "; to use all, raise LimitNOFILE in the systemd unit or the hard limit of `ulimit -n`"
    } else {
        ""
    };
    tracing::info!(
        target: "safeport::serve",
        before = descriptors.before,
        limit = descriptors.now,
        "file descriptors allow {connections} connections, the settings {wanted}{advice}",
    );
}

fn runtime(texts: &Texts) -> Result<(Runtime, Tasks, Ends), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // HTTP, conversations and housekeeping; MQTT runs on the engine's own threads. A conversation
        // decodes and encodes here, half a millisecond for each packet at most.
        .worker_threads(std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)))
        .thread_name("safeport-http")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(say!(texts, "threads-failed")).detail(error))?;
    let (tasks, ends) = tasks::tasks();
    Ok((runtime, tasks, ends))
}

/// What a server is made of.
struct Parts {
    read: Read,
    strand: Vec<String>,
    house: House,
    bound: Vec<Bound>,
    descriptors: Descriptors,
}

/// Everything that runs.
struct Server {
    engine: Engine,
    access: Arc<Access>,
    attempts: Arc<Attempts>,
    stopping: Arc<AtomicBool>,
    listening: Vec<Listening>,
    data: PathBuf,
    data_is_unusual: bool,
    anonymous: bool,
    json_log: bool,
    suggest_standard: bool,
    gate: Arc<GateDriver>,
    household: Household,
    voice: Arc<Voice>,
    events: Sender<Event>,
    /// Held until the last connection is gone.
    _lock: FolderLock,
}

impl Server {
    fn start(parts: Parts, tasks: &Tasks, texts: &Texts) -> Result<Server, Failure> {
        let Parts {
            read,
            strand,
            house,
            bound,
            descriptors,
        } = parts;
        let settings = &read.settings;
        let threads =
            |error: std::io::Error| Failure::new(say!(texts, "threads-failed")).detail(error);
        let registry_failed = |error| registry_failed(texts, &error);
        let House {
            folder,
            lock,
            mut registry,
            snapshot,
        } = house;
        let listening = bound
            .iter()
            .map(|bound| Listening {
                name: bound.listener.name(),
                address: bound.actual,
            })
            .collect();
        let key = registry.instance_key().map_err(registry_failed)?;
        let proofs = Arc::new(Proofs::new(*key.expose()));
        let ca = certificates(&folder, settings, &read.managed, texts)?;
        let ca_pem = ca.ca_pem().to_owned();
        let own = Certificates::new();
        own.set_private(ca.chains());
        let challenges = Challenges::new();
        let (acme, acme_handle) = Acme::new(
            AcmeConfig::of(settings),
            server_keys(&ca),
            &folder.pki().join("acme"),
            Arc::new(own.clone()),
            challenges.clone(),
        );
        let presented = present(own, &read, &ca, &registry, texts)?;
        let handshakes = Handshakes::new(handshake_limits(settings));
        let specs = listener_specs(settings, &presented, &bound, texts)?;
        let version = snapshot.version;
        let access = Access::start(
            snapshot,
            settings.access.anonymous,
            settings.limits.failed_logins_per_minute,
            proofs.clone(),
            tasks,
        )
        .map_err(threads)?;
        let notes = folder.registry().map_err(registry_failed)?;
        let notes = notes.without_waiting().map_err(registry_failed)?;
        let attempts = Attempts::start(notes, tasks).map_err(threads)?;
        let fleet = devices::fleet(&folder, settings, tasks, texts)?;
        fleet.listen(devices::starts(attempts.clone()));
        let lobby = Arc::<Lobby>::default();
        let witness = Arc::new(Witnesses {
            attempts: attempts.clone(),
            fleet: fleet.clone(),
            lobby: lobby.clone(),
        });
        let engine = Engine::start(
            EngineSettings {
                handshakes: handshakes.clone(),
                ..engine_settings(settings, folder.log(), descriptors)
            },
            access.clone(),
            witness.clone(),
            specs,
        )
        .map_err(|error| Failure::new(say!(texts, "engine-failed")).detail(error))?;

        let (events, inbox) = channel();
        let awaited = Awaited::default();
        let gate = Arc::new(GateDriver::new(
            settings,
            proofs.clone(),
            trust::load(settings, ca.ca_pem())
                .map_err(|error| Failure::new(say!(texts, "certificates-failed")).detail(error))?,
            &registry,
            {
                let events = Mutex::new(events.clone());
                move || {
                    // Who would listen is gone only when the server stops.
                    let _ = events
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .send(Event::Addresses);
                }
            },
        ));
        let household = Household::start(
            fleet.clone(),
            &folder,
            &gate,
            engine.handle(),
            settings,
            tasks,
            texts,
        )?;
        let xiaozhi = Xiaozhi::start(
            xiaozhi::Parts {
                registry: folder.registry().map_err(registry_failed)?,
                access: access.clone(),
                gate: gate.clone(),
                instance_key: *key.expose(),
                roll: fleet.clone(),
                offers: household.upgrades.clone(),
                witness: attempts.clone(),
            },
            settings,
            &read.managed,
            tasks,
        )
        .map_err(threads)?;
        let voice = Arc::new(Voice::new(texts.language(), key.expose()));
        voice.set_settings(settings, &read.managed);
        let talks = folder.registry().and_then(Registry::without_waiting);
        let talks = talks.map_err(registry_failed)?;
        voice.history().write_into(talks, tasks).map_err(threads)?;
        let stopping = Arc::new(AtomicBool::new(false));
        let ntp = NtpListeners::new(tasks.clone());
        let lines = Lines::new(tasks.clone());
        voice::mqtt::start(
            voice::mqtt::House {
                voice: voice.clone(),
                xiaozhi: xiaozhi.clone(),
                engine: engine.handle(),
                lines: lines.clone(),
                lobby,
            },
            tasks,
        );
        let site = Arc::new(Site::new(
            site_settings(&read),
            Services {
                engine: engine.handle(),
                metrics: Metrics::new(engine.handle(), access.clone())
                    .with(ntp.metrics())
                    .with(lines.metrics())
                    .with(attempts.metrics())
                    .with(fleet.metrics())
                    .with(voice.history().metrics())
                    .with(TlsMetrics::new(
                        handshakes.clone(),
                        presented.certificates().clone(),
                    )),
                stopping: stopping.clone(),
                proofs,
                seen: gate.clone(),
                confirm: Arc::new(AskLive {
                    awaited: awaited.clone(),
                    events: Mutex::new(events.clone()),
                }),
                challenges,
                xiaozhi: Some(xiaozhi),
                voice: Some(voice.clone()),
                api: Api::new(read.asked.clone(), folder.clone(), attempts.clone())
                    .presenting(presented.certificates().clone())
                    .knowing(fleet.clone())
                    .offering(household.upgrades.clone())
                    .backing_up(household.backups.clone())
                    .with_tools(voice.toolroom().clone(), gate.clone()),
            },
        ));
        site.set_degraded(degraded_word(&read));
        site.set_shelf(household.upgrades.clone());
        household.set_settings(settings, &site);
        let http = HttpListeners::new(site.clone(), tasks.clone());
        http.set_tls(presented.service(Listener::Https));
        http.set_handshakes(handshakes.clone());
        http.set_witness(witness);
        let keeper = Keeper {
            ca,
            presented: presented.clone(),
            registry: folder.registry().map_err(registry_failed)?,
            acme: acme_handle.clone(),
            done: {
                let (gate, attempts) = (gate.clone(), attempts.clone());
                Box::new(move || {
                    attempts.certificates_changed(unix_now());
                    gate.recheck();
                })
            },
        };
        let (keeper, keeping) = keeper.start(lan::told_names(settings, &read.managed));
        let live = Live {
            bound,
            registry: folder.registry().map_err(registry_failed)?,
            engine: engine.handle(),
            http,
            ntp,
            lines,
            site,
            access: access.clone(),
            gate: gate.clone(),
            descriptors,
            texts: Texts::new(texts.language()),
            strand,
            runtime: tokio::runtime::Handle::current(),
            unconfirmed: None,
            awaited,
            met: std::collections::HashSet::new(),
            ca_pem,
            keeper,
            presented,
            acme: acme_handle,
            handshakes,
            household: household.clone(),
            read,
        };
        let server = Server {
            access: access.clone(),
            attempts,
            stopping,
            listening,
            data: folder.path().to_path_buf(),
            data_is_unusual: !live.read.data_is_usual(),
            anonymous: live.read.settings.access.anonymous,
            json_log: live.read.settings.log.format == LogFormat::Json,
            suggest_standard: suggests_standard(&live.read.settings),
            gate: gate.clone(),
            household,
            voice: voice.clone(),
            events,
            _lock: lock,
            engine,
        };
        server.start_live(live, inbox, tasks, texts)?;
        let (follower, handle) = (access, server.engine.handle());
        tasks
            .spawn_thread("registry follower", move || {
                revocation::follow(registry, version, &follower, &handle, &voice);
            })
            .map_err(threads)?;
        tasks.spawn("address gate", gate.run());
        tasks
            .spawn_thread("certificates", keeping)
            .map_err(threads)?;
        tasks.spawn("ACME", acme.run());
        tasks.spawn("watchdog", service_manager::watch(server.engine.handle()));
        Ok(server)
    }

    /// Opens HTTP, writes down what is in force, and starts the thread that changes it.
    fn start_live(
        &self,
        mut live: Live,
        inbox: Receiver<Event>,
        tasks: &Tasks,
        texts: &Texts,
    ) -> Result<(), Failure> {
        live.open_http()?;
        live.hand_over(Listener::Ntp)?;
        live.hand_over(Listener::Voice)?;
        live.show_candidates();
        // Until the first probes are back, those of the last run must not pass for this one's.
        live.write_addresses();
        if live.read.degraded.is_none() {
            note_start(&mut live, texts)?;
        }
        live.write_live();
        tasks
            .spawn_thread("settings", move || live.run(&inbox))
            .map_err(|error| Failure::new(say!(texts, "threads-failed")).detail(error))
    }

    /// Tells the person at the terminal, and the service manager, that everything is up.
    fn greet(&self, console: &Console) -> Result<(), Failure> {
        let banner = Banner {
            listening: self.listening.clone(),
            told: self.gate.first_told(FIRST_PROOFS),
            data: self.data.clone(),
            data_is_unusual: self.data_is_unusual,
            anonymous: self.anonymous,
            logins: self.access.logins(),
            suggest_standard: self.suggest_standard,
        };
        if console.json {
            console.json(&banner.json())?;
        } else if self.json_log {
            tracing::info!(target: "safeport::serve", banner = %banner.json(), "serving");
        } else {
            console.talk(&banner.text(&console.texts));
        }
        if self.anonymous {
            tracing::warn!(
                target: "safeport::serve",
                "anonymous clients are admitted with every right; anyone who reaches a listener \
                 can read and change everything"
            );
        }
        service_manager::ready(&self.listening);
        Ok(())
    }

    /// Waits for a signal or for a part that ends by itself, then drains.
    fn run(
        self,
        runtime: &Runtime,
        mut signals: Signals,
        mut ends: Ends,
        texts: &Texts,
    ) -> Result<(), Failure> {
        let end = runtime.block_on(async {
            let mut stalled = std::pin::pin!(stalled(&self.engine));
            let end = loop {
                tokio::select! {
                    name = signals.next() => {
                        if name != HANGUP {
                            break End::Signal(name);
                        }
                        // The thread that takes it ends only with the server.
                        let _ = self.events.send(Event::Reload);
                    }
                    ended = ends.next() => break End::Task(ended.name),
                    () = &mut stalled => break End::Task("event loop"),
                }
            };
            // A person who asks twice does not want to wait for the grace.
            tokio::spawn(async move {
                let name = loop {
                    let name = signals.next().await;
                    if name != HANGUP {
                        break name;
                    }
                };
                tracing::warn!(target: "safeport::serve", "second {name}: stopping at once");
                std::process::exit(1);
            });
            end
        });
        self.stopping.store(true, Ordering::Relaxed);
        self.gate.stop();
        service_manager::stopping();
        if let End::Signal(name) = &end {
            tracing::info!(
                target: "safeport::serve",
                "{name}: saying goodbye to every client, for at most {} s; once more stops at once",
                SHUTDOWN_GRACE.as_secs(),
            );
        }
        self.end_conversations();
        let drained = self.engine.shutdown(SHUTDOWN_GRACE);
        self.household.finish();
        self.attempts.finish(ATTEMPTS_GOODBYE);
        tracing::info!(
            target: "safeport::serve",
            connections = drained.connections,
            cut_off = drained.cut_off,
            "stopped"
        );
        match end {
            End::Signal(_) => Ok(()),
            End::Task(name) => Err(Failure::new(say!(texts, "part-ended", name = name))
                .next(say!(texts, "part-ended-next"))),
        }
    }
}

impl Server {
    /// Says goodbye to who talks, while there is somebody to carry it.
    fn end_conversations(&self) {
        self.voice.disconnect_all();
        let until = Instant::now() + VOICE_LAST_WORDS;
        while self.voice.open() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether an address typed without its port could be made to work.
fn suggests_standard(settings: &Settings) -> bool {
    let binds = &settings.http.bind;
    settings.http.enabled
        && !settings.http.standard_ports
        && binds
            .iter()
            .filter_map(safeport_settings::Bind::address)
            .any(|bind| {
                !bind.ip().to_canonical().is_loopback()
                    && bind.port() != 80
                    && safeport_net::is_free(
                        safeport_net::holder::Protocol::Tcp,
                        SocketAddr::new(bind.ip(), 80),
                    )
            })
}

/// What listeners present. Chains that cannot be served, and those that would strand devices, keep
/// nobody from starting: the private certificates stand in for them, and it is said loudly.
fn present(
    own: Certificates,
    read: &Read,
    ca: &PrivateCa,
    registry: &Registry,
    texts: &Texts,
) -> Result<Presented, Failure> {
    let failed = |said: Said| {
        let words = said.in_language(texts.language().into());
        Failure::new(say!(texts, "certificates-failed")).detail(words)
    };
    let pinned = pinned(registry).map_err(|error| registry_failed(texts, &error))?;
    let prepared = Prepared::new(&read.settings, ca.ca_der(), SystemTime::now())
        .map_err(|error| failed(chain_said(&error)))?;
    let presented =
        Presented::start(own, prepared, &pinned).map_err(|error| failed(pki_said(&error)))?;
    for refused in presented.refused() {
        tracing::error!(
            target: "safeport::certificates",
            "the private certificates are presented in place of a chain of tls.chain_files: {}",
            refused.why.en
        );
    }
    if let Some(held_back) = presented.held_back() {
        tracing::error!(
            target: "safeport::certificates",
            "tls.chain_files bring another key than the one by which devices know this server, and wait: {}. Give them the new fingerprint, then run `safeport cert accept --strand NAME` for each",
            held_back.devices.join(", ")
        );
    }
    let choice = presented.service(Listener::Mqtts).choice();
    let lost = strangers(&pinned, presented.certificates(), choice);
    if !lost.is_empty() {
        tracing::error!(
            target: "safeport::certificates",
            "these devices know another key than mqtts shows them, and will not connect: {}. Give them the fingerprint that `safeport cert fingerprint` prints, or put the old key back",
            lost.join(", ")
        );
    }
    Ok(presented)
}

/// Writes down the files that this start went well with, if they are others than the last time: a
/// later start falls back to them.
fn note_start(live: &mut Live, texts: &Texts) -> Result<(), Failure> {
    let failed = |error| registry_failed(texts, &error);
    let known = live.registry.last_good_files().map_err(failed)?;
    let before: Vec<crate::reading::TextFile> = known
        .into_iter()
        .map(|(path, text)| crate::reading::TextFile {
            path: PathBuf::from(path),
            text,
            drop_in: false,
        })
        .collect();
    let files = changed_files(&before, &live.read.files);
    if files.is_empty() {
        return Ok(());
    }
    let by = By {
        who: "server",
        at: unix_now(),
    };
    let draft = Draft {
        reason: String::new(),
        kind: RevisionKind::Start,
        base: None,
        changes: Vec::new(),
        files,
    };
    // A change that waits for its confirmation was cut off by the end of the last server: staging
    // settles it when its time is over, and until then nothing is noted.
    if let Ok(id) = live.registry.stage(&draft, by) {
        live.registry
            .settle(id, RevisionState::Live, None, None, by)
            .map_err(failed)?;
    }
    Ok(())
}

/// Hands a confirmation to the thread that owns the settings.
struct AskLive {
    awaited: Awaited,
    events: Mutex<Sender<Event>>,
}

impl Confirm for AskLive {
    fn confirm(&self, token: &str, at: Option<SocketAddr>) -> Confirmed {
        if !self.awaited.is(token) {
            return Confirmed::Unknown;
        }
        let (answer, answered) = channel();
        let asked = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(Event::Confirm(token.to_owned(), at, answer));
        if asked.is_err() {
            return Confirmed::Unknown;
        }
        answered
            .recv_timeout(CONFIRM_REPLY)
            .unwrap_or(Confirmed::Unknown)
    }
}

/// Where everything listens, for the gate.
fn bound_sockets(bound: &[Bound]) -> Vec<BoundSocket> {
    bound
        .iter()
        .map(|bound| BoundSocket {
            listener: bound.listener,
            address: bound.actual,
            standard: bound.standard,
        })
        .collect()
}

enum End {
    Signal(&'static str),
    Task(&'static str),
}

/// Pending for as long as every loop turns. A loop that ended is noticed within a second; one that
/// stands still is given half a minute, since a machine that slept or swapped comes back.
async fn stalled(engine: &Engine) {
    let handle = engine.handle();
    let mut standing_still = 0;
    while standing_still < 30 && !engine.has_failed() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        standing_still = if handle.healthy() {
            0
        } else {
            standing_still + 1
        };
    }
}

/// Asks for the files to be read again.
const HANGUP: &str = "SIGHUP";

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal; SIGHUP is the one that does not end the server.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.reload.recv() => HANGUP,
        }
    }
}
