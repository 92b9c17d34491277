//! Everything that runs: what it tells at its start, and how it ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use safeport_engine::Engine;
use safeport_settings::Settings;
use safeport_store::FolderLock;
use tokio::runtime::Runtime;

use super::devices::Household;
use super::live::Event;
use crate::banner::{Banner, Listening};
use crate::console::{Console, Failure};
use crate::limits::{
    ATTEMPTS_GOODBYE, FIRST_PROOFS, SHUTDOWN_GRACE, VOICE_HISTORY_GOODBYE, VOICE_LAST_WORDS,
};
use crate::say;
use crate::serve::access::Access;
use crate::serve::attempts::Attempts;
use crate::serve::gate::GateDriver;
use crate::serve::voice::Voice;
use crate::service_manager;
use crate::tasks::Ends;
use crate::text::Texts;

/// Everything that runs.
pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) access: Arc<Access>,
    pub(super) attempts: Arc<Attempts>,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) listening: Vec<Listening>,
    pub(super) data: PathBuf,
    pub(super) data_is_unusual: bool,
    pub(super) anonymous: bool,
    pub(super) json_log: bool,
    pub(super) suggest_standard: bool,
    pub(super) gate: Arc<GateDriver>,
    pub(super) household: Household,
    pub(super) voice: Arc<Voice>,
    pub(super) events: Sender<Event>,
    /// Held until the last connection is gone.
    pub(super) _lock: FolderLock,
}

impl Server {
    /// Tells the person at the terminal, and the service manager, that everything is up.
    pub(super) fn greet(&self, console: &Console) -> Result<(), Failure> {
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
    pub(super) fn run(
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
        self.voice.history().finish(VOICE_HISTORY_GOODBYE);
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

    /// Says goodbye to who talks, while there is somebody to carry it.
    fn end_conversations(&self) {
        self.voice.disconnect_all();
        let until = Instant::now() + VOICE_LAST_WORDS;
        while self.voice.open() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
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

/// Whether an address typed without its port could be made to work.
pub(super) fn suggests_standard(settings: &Settings) -> bool {
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

/// Asks for the files to be read again.
const HANGUP: &str = "SIGHUP";

pub(super) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    reload: tokio::signal::unix::Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Signals> {
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
