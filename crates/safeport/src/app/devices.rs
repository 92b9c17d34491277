//! What knows the devices of the house and brings them firmware, composed.

use std::sync::Arc;

use safeport_doctor::mask;
use safeport_doctor::watch::Subject;
use safeport_engine::EngineHandle;
use safeport_fleet::{Identity, Proof, Roster, Sighting, Source, What, heard};
use safeport_net::attempt::{Attempt, Departure, Witness};
use safeport_settings::Settings;
use safeport_store::{DataFolder, Retention, StoreError};

use super::registry_failed;
use crate::console::Failure;
use crate::limits::{BLOB_AGE, FLEET_GOODBYE, TIDY_PAUSE, TIDY_REST};
use crate::say;
use crate::serve::access::unix_now;
use crate::serve::attempts::Attempts;
use crate::serve::backups::{self, Backups};
use crate::serve::fleet::{Fleet, FleetError, Onlooker};
use crate::serve::gate::GateDriver;
use crate::serve::http::{Devices, Site};
use crate::serve::upgrades::{OfFleet, StartError, UpgradeSettings, Upgrades};
use crate::serve::voice::Lobby;
use crate::tasks::Tasks;
use crate::text::Texts;

/// The fleet, and who works for it.
#[derive(Clone)]
pub(super) struct Household {
    pub(super) fleet: Arc<Fleet>,
    pub(super) upgrades: Arc<Upgrades>,
    pub(super) backups: Arc<Backups>,
}

/// The fleet, before there are listeners: it sees the first connection.
pub(super) fn fleet(
    folder: &DataFolder,
    settings: &Settings,
    tasks: &Tasks,
    texts: &Texts,
) -> Result<Arc<Fleet>, Failure> {
    let registry = folder
        .registry()
        .and_then(|registry| registry.without_waiting())
        .map_err(|error| registry_failed(texts, &error))?;
    Fleet::start(registry, Fleet::limits(settings), tasks).map_err(|error| match error {
        FleetError::Store(error) => registry_failed(texts, &error),
        FleetError::System(error) => Failure::new(say!(texts, "threads-failed")).detail(error),
    })
}

impl Household {
    /// Everything else, beside an engine that serves. The fleet sees what devices publish from now
    /// on.
    pub(super) fn start(
        fleet: Arc<Fleet>,
        folder: &DataFolder,
        gate: &Arc<GateDriver>,
        engine: EngineHandle,
        settings: &Settings,
        tasks: &Tasks,
        texts: &Texts,
    ) -> Result<Household, Failure> {
        let failed = |error| registry_failed(texts, &error);
        let backups = Backups::new(backups::Parts {
            registry: folder.registry().map_err(failed)?,
            blobs: folder.blobs().map_err(failed)?,
            devices: Arc::new(OfFleet::new(fleet.clone())),
            keep: u32::from(settings.firmware.keep_backups),
        });
        let upgrades = Upgrades::in_house(
            folder,
            &fleet,
            gate,
            engine.clone(),
            backups.clone(),
            settings,
            tasks,
        )
        .map_err(|error| match error {
            StartError::Store(error) => failed(error),
            StartError::Thread(error) => Failure::new(say!(texts, "threads-failed")).detail(error),
        })?;
        let mut filters = heard::filters();
        filters.extend(Upgrades::TOPICS.map(str::to_owned));
        filters.sort();
        filters.dedup();
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        engine.observe(&filters, fleet.clone());
        let tidying = folder.clone();
        tasks
            .spawn_thread("tidying", move || tidy(&tidying))
            .map_err(|error| Failure::new(say!(texts, "threads-failed")).detail(error))?;
        Ok(Household {
            fleet,
            upgrades,
            backups,
        })
    }

    /// Other settings from now on.
    pub(super) fn set_settings(&self, settings: &Settings, site: &Site) {
        let firmware = &settings.firmware;
        self.fleet.set_limits(Fleet::limits(settings));
        self.upgrades.set_settings(UpgradeSettings::of(settings));
        self.backups.set_keep(u32::from(firmware.keep_backups));
        site.pace().set(
            firmware.bandwidth.0,
            firmware.device_floor.0,
            firmware.max_downloads as usize,
        );
    }

    /// Writes down what is left.
    pub(super) fn finish(&self) {
        self.upgrades.finish(FLEET_GOODBYE);
        self.fleet.finish(FLEET_GOODBYE);
    }
}

/// Tells both who is told of connections.
pub(super) struct Witnesses {
    pub(super) attempts: Arc<Attempts>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) lobby: Arc<Lobby>,
}

impl Witness for Witnesses {
    fn saw(&self, attempt: Attempt) {
        self.lobby.saw(&attempt);
        self.fleet.tried(&attempt);
        self.attempts.saw(attempt);
    }

    fn left(&self, departure: Departure) {
        self.lobby.left(&departure);
        self.attempts.left(departure);
    }
}

/// Tells of devices that say that they have started.
pub(super) fn starts(attempts: Arc<Attempts>) -> Onlooker {
    Arc::new(move |sighting, sighted| {
        // What the broker had kept is old.
        if sighting.source == Source::Retained {
            return;
        }
        for event in &sighted.events {
            let What::Started { reason, .. } = event else {
                continue;
            };
            let Some(subject) = subject(sighting) else {
                continue;
            };
            attempts.started(
                subject,
                sighting.peer,
                sighting.at,
                reason.as_deref().map(mask),
            );
        }
    })
}

/// As whom the doctor knows who was sighted.
fn subject(sighting: &Sighting) -> Option<Subject> {
    let mut identities = sighting.identities.iter();
    let client_id = identities.find_map(|identity| match identity {
        Identity::ClientId(id) => Some(Subject::Client(id.to_string())),
        _ => None,
    });
    client_id.or_else(|| match &sighting.proof {
        Proof::Login(name) => Some(Subject::User(name.to_string())),
        Proof::Token(_) | Proof::Claim => None,
    })
}

/// Removes what is too old to be kept, for ever: a little at a time, so that nobody waits for it.
fn tidy(folder: &DataFolder) {
    let retention = Retention::default();
    loop {
        let more = match tidy_once(folder, &retention) {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(target: "safeport::fleet", "old rows stay for now: {error}");
                false
            }
        };
        std::thread::sleep(if more { TIDY_REST } else { TIDY_PAUSE });
    }
}

fn tidy_once(
    folder: &DataFolder,
    retention: &Retention,
) -> Result<bool, safeport_store::StoreError> {
    let mut registry = folder.registry()?;
    let tidied = registry.tidy(unix_now(), retention)?;
    if !tidied.more {
        folder
            .blobs()?
            .remove_unused(BLOB_AGE, |hash| registry.blob_is_used(hash))?;
    }
    registry.remove_gone_recordings()?;
    Ok(tidied.more)
}

impl Devices for Fleet {
    fn look(&self, work: &mut dyn FnMut(&Roster)) {
        self.with(|roster| work(roster));
    }

    fn change(&self, work: &mut dyn FnMut(&mut Roster)) {
        self.with_mut(|roster| work(roster));
    }

    fn keep(&self) -> Result<(), StoreError> {
        Fleet::keep(self)
    }
}
