//! A server, composed: settings become a locked data folder, bound listeners, an engine with its
//! gatekeeper, and the drivers around it. Every step that can fail says what to do.

mod house;
mod plan;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use safeport_engine::Engine;
use safeport_settings::{LogFormat, Settings};
use safeport_store::FolderLock;
use tokio::runtime::Runtime;

pub use house::{certificates, data_folder, registry_failed};

use house::House;
use plan::{engine_settings, listener_specs, wanted_connections};

use crate::banner::{Banner, Listening};
use crate::console::{Console, Failure};
use crate::descriptors::Descriptors;
use crate::limits::{CERTIFICATE_INTERVAL, SHUTDOWN_GRACE};
use crate::log;
use crate::probe::Proofs;
use crate::reading::Read;
use crate::serve::access::Access;
use crate::serve::http::{
    Confirm, Confirmed, HttpListeners, Seen, Services, Site, SiteSettings, Transport,
};
use crate::serve::metrics::Metrics;
use crate::serve::revocation;
use crate::service_manager;
use crate::tasks::{self, Ends, Tasks};
use crate::text::Texts;
use crate::{lan, say, serve};

/// Runs a server until a signal ends it.
///
/// # Errors
/// Everything that keeps it from starting, and any part of it that ends by itself.
pub fn serve(read: &Read, console: &Console) -> Result<(), Failure> {
    let texts = &console.texts;
    start_log(&read.settings, texts)?;
    let house = House::open(read, texts)?;
    let sockets = Sockets::bind(&read.settings, texts)?;
    let descriptors = Descriptors::raise();
    log_descriptors(&read.settings, descriptors);
    let (runtime, tasks, ends) = runtime(texts)?;
    let (server, signals) = {
        let _inside = runtime.enter();
        let signals = Signals::new()
            .map_err(|error| Failure::new(say!(texts, "signals-failed")).detail(error))?;
        let server = Server::start(&read.settings, house, sockets, descriptors, &tasks, texts)?;
        (server, signals)
    };
    server.greet(read, console)?;
    server.run(&runtime, signals, ends, texts)
}

fn start_log(settings: &Settings, texts: &Texts) -> Result<(), Failure> {
    let format = match settings.log.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    let (key, filter) = match std::env::var("SAFEPORT_LOG") {
        Ok(filter) if !filter.is_empty() => ("SAFEPORT_LOG", filter),
        _ => ("log.level", settings.log.level.clone()),
    };
    log::start(&filter, format)
        .map_err(|error| Failure::usage(say!(texts, "log-filter-bad", key = key)).detail(error))
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
        // HTTP and housekeeping only: MQTT runs on the engine's own threads.
        .worker_threads(2)
        .thread_name("safeport-http")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(say!(texts, "threads-failed")).detail(error))?;
    let (tasks, ends) = tasks::tasks();
    Ok((runtime, tasks, ends))
}

/// The listening sockets; `None` where the settings switch one off.
struct Sockets {
    mqtt: Option<std::net::TcpListener>,
    mqtts: Option<std::net::TcpListener>,
    http: Option<std::net::TcpListener>,
}

impl Sockets {
    fn bind(settings: &Settings, texts: &Texts) -> Result<Sockets, Failure> {
        let bind = |enabled: bool, key: &str, binds: &safeport_settings::Binds| {
            let Some(address) = binds.first().address().filter(|_| enabled) else {
                return Ok(None);
            };
            safeport_net::bind(key, address).map(Some).map_err(|error| {
                Failure::new(say!(texts, "bind-failed", key = key, address = address)).detail(error)
            })
        };
        Ok(Sockets {
            mqtt: bind(settings.mqtt.enabled, "mqtt.bind", &settings.mqtt.bind)?,
            mqtts: bind(settings.mqtts.enabled, "mqtts.bind", &settings.mqtts.bind)?,
            http: bind(settings.http.enabled, "http.bind", &settings.http.bind)?,
        })
    }

    fn listening(&self) -> Vec<Listening> {
        [
            ("mqtt", &self.mqtt),
            ("mqtts", &self.mqtts),
            ("http", &self.http),
        ]
        .into_iter()
        .filter_map(|(name, socket)| {
            let address = socket.as_ref()?.local_addr().ok()?;
            Some(Listening { name, address })
        })
        .collect()
    }
}

/// Everything that runs.
struct Server {
    engine: Engine,
    access: Arc<Access>,
    stopping: Arc<AtomicBool>,
    listening: Vec<Listening>,
    data: PathBuf,
    anonymous: bool,
    /// Held until the last connection is gone.
    _lock: FolderLock,
}

impl Server {
    fn start(
        settings: &Settings,
        house: House,
        sockets: Sockets,
        descriptors: Descriptors,
        tasks: &Tasks,
        texts: &Texts,
    ) -> Result<Server, Failure> {
        let threads =
            |error: std::io::Error| Failure::new(say!(texts, "threads-failed")).detail(error);
        let listening = sockets.listening();
        let ca = match sockets.mqtts {
            Some(_) => Some(certificates(&house.folder, texts)?),
            None => None,
        };
        let specs = listener_specs(settings, ca.as_ref(), sockets.mqtt, sockets.mqtts, texts)?;
        let version = house.snapshot.version;
        let access = Access::start(
            house.snapshot,
            settings.access.anonymous,
            settings.limits.failed_logins_per_minute,
            tasks,
        )
        .map_err(threads)?;
        let engine = Engine::start(
            engine_settings(settings, house.folder.log(), descriptors),
            access.clone(),
            specs,
        )
        .map_err(|error| Failure::new(say!(texts, "engine-failed")).detail(error))?;

        let (follower, handle) = (access.clone(), engine.handle());
        tasks
            .spawn_thread("registry follower", move || {
                revocation::follow(house.registry, version, &follower, &handle);
            })
            .map_err(threads)?;
        let stopping = Arc::new(AtomicBool::new(false));
        if let Some(socket) = sockets.http {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|error| threads(std::io::Error::other(error)))?;
            let site = Site::new(
                SiteSettings {
                    name: settings.server.name.clone(),
                    anonymous: settings.access.anonymous,
                    metrics_token: String::new(),
                },
                Services {
                    engine: engine.handle(),
                    metrics: Metrics::new(engine.handle(), access.clone()),
                    stopping: stopping.clone(),
                    proofs: Arc::new(Proofs::new(key)),
                    seen: Arc::new(Nobody),
                    confirm: Arc::new(Nobody),
                },
            );
            let http = HttpListeners::new(Arc::new(site), tasks.clone());
            http.set_max_connections(Transport::Plain, settings.http.max_connections as usize);
            http.set(Transport::Plain, vec![socket]).map_err(threads)?;
        }
        if let Some(ca) = ca {
            let names = || lan::certificate_names(&[]);
            let renewal = serve::certificates::renew(ca, CERTIFICATE_INTERVAL, names);
            tasks.spawn("certificate renewal", renewal);
        }
        tasks.spawn("watchdog", service_manager::watch(engine.handle()));
        Ok(Server {
            engine,
            access,
            stopping,
            listening,
            data: house.folder.path().to_path_buf(),
            anonymous: settings.access.anonymous,
            _lock: house.lock,
        })
    }

    /// Tells the person at the terminal, and the service manager, that everything is up.
    fn greet(&self, read: &Read, console: &Console) -> Result<(), Failure> {
        let banner = Banner {
            listening: self.listening.clone(),
            data: self.data.clone(),
            data_is_unusual: !read.data_is_usual(),
            anonymous: self.anonymous,
            logins: self.access.logins(),
        };
        if console.json {
            console.json(&banner.json())?;
        } else if read.settings.log.format == LogFormat::Json {
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
            let end = tokio::select! {
                name = signals.next() => End::Signal(name),
                ended = ends.next() => End::Task(ended.name),
                () = stalled(&self.engine) => End::Task("event loop"),
            };
            // A person who asks twice does not want to wait for the grace.
            tokio::spawn(async move {
                let name = signals.next().await;
                tracing::warn!(target: "safeport::serve", "second {name}: stopping at once");
                std::process::exit(1);
            });
            end
        });
        self.stopping.store(true, Ordering::Relaxed);
        service_manager::stopping();
        if let End::Signal(name) = &end {
            tracing::info!(
                target: "safeport::serve",
                "{name}: saying goodbye to every client, for at most {} s; once more stops at once",
                SHUTDOWN_GRACE.as_secs(),
            );
        }
        let drained = self.engine.shutdown(SHUTDOWN_GRACE);
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

/// Stands where nothing is advertised and no change waits.
struct Nobody;

impl Seen for Nobody {
    fn addresses(&self) -> Vec<safeport_settings::AdvertisedAddress> {
        Vec::new()
    }

    fn seen(&self, _: &safeport_settings::AdvertisedAddress, _: std::net::IpAddr) {}
}

impl Confirm for Nobody {
    fn confirm(&self, _: &str) -> Confirmed {
        Confirmed::Unknown
    }
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

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
