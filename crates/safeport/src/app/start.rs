//! The start of a server: each part in the order in which the next one needs it.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use safeport_engine::{Engine, EngineSettings};
use safeport_settings::{Listener, LogFormat};

use super::changes::note_start;
use super::devices::{self, Household, Witnesses};
use super::house::{House, registry_failed};
use super::live::{AskLive, Awaited, Event, Live};
use super::plan::{degraded_word, engine_settings, listener_specs, site_settings};
use super::security::Security;
use super::server::{Server, suggests_standard};
use super::sockets::Bound;
use super::talking::Talking;
use crate::banner::Listening;
use crate::certificates::Keeper;
use crate::console::Failure;
use crate::descriptors::Descriptors;
use crate::probe::Proofs;
use crate::reading::Read;
use crate::serve::access::{Access, unix_now};
use crate::serve::attempts::Attempts;
use crate::serve::gate::GateDriver;
use crate::serve::http::{Api, HttpListeners, Services, Site};
use crate::serve::metrics::{Metrics, TlsMetrics};
use crate::serve::ntp::NtpListeners;
use crate::serve::revocation;
use crate::serve::voice::Lobby;
use crate::serve::xiaozhi;
use crate::service_manager;
use crate::tasks::Tasks;
use crate::text::Texts;
use crate::{lan, say, trust};

/// What a server is made of.
pub(super) struct Parts {
    pub(super) read: Read,
    pub(super) strand: Vec<String>,
    pub(super) house: House,
    pub(super) bound: Vec<Bound>,
    pub(super) descriptors: Descriptors,
}

impl Server {
    pub(super) fn start(parts: Parts, tasks: &Tasks, texts: &Texts) -> Result<Server, Failure> {
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
        let Security {
            ca,
            presented,
            challenges,
            acme,
            acme_handle,
            handshakes,
        } = Security::open(&read, &folder, &registry, texts)?;
        let ca_pem = ca.ca_pem().to_owned();
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
            tell_of_addresses(events.clone()),
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
        let Talking {
            xiaozhi,
            voice,
            lines,
        } = Talking::start(
            xiaozhi::Parts {
                registry: folder.registry().map_err(registry_failed)?,
                access: access.clone(),
                gate: gate.clone(),
                instance_key: *key.expose(),
                roll: fleet.clone(),
                offers: household.upgrades.clone(),
                witness: attempts.clone(),
            },
            (engine.handle(), lobby),
            &read,
            &folder,
            tasks,
            texts,
        )?;
        let stopping = Arc::new(AtomicBool::new(false));
        let ntp = NtpListeners::new(tasks.clone());
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
                    .with(voice.toolroom().metrics())
                    .with(TlsMetrics::new(
                        handshakes.clone(),
                        presented.certificates().clone(),
                    )),
                stopping: stopping.clone(),
                proofs,
                seen: gate.clone(),
                confirm: Arc::new(AskLive::new(awaited.clone(), events.clone())),
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

    /// Writes down what is in force, opens HTTP, and starts the thread that changes it.
    fn start_live(
        &self,
        mut live: Live,
        inbox: Receiver<Event>,
        tasks: &Tasks,
        texts: &Texts,
    ) -> Result<(), Failure> {
        // Whoever hears from /healthz that it serves may ask at once what it uses.
        live.write_live();
        live.open_http()?;
        live.hand_over(Listener::Ntp)?;
        live.hand_over(Listener::Voice)?;
        live.show_candidates();
        // Until the first probes are back, those of the last run must not pass for this one's.
        live.write_addresses();
        if live.read.degraded.is_none() {
            note_start(&mut live, texts)?;
        }
        tasks
            .spawn_thread("settings", move || live.run(&inbox))
            .map_err(|error| Failure::new(say!(texts, "threads-failed")).detail(error))
    }
}

/// Wakes the thread of the settings when the gate knows something new.
fn tell_of_addresses(events: Sender<Event>) -> impl Fn() + Send + Sync + 'static {
    let events = Mutex::new(events);
    move || {
        // Who would listen is gone only when the server stops.
        let _ = events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(Event::Addresses);
    }
}
