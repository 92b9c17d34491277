//! Offers in this house: with the fleet, the gate, the engine and the settings of a running server.

use std::sync::Arc;

use safeport_engine::EngineHandle;
use safeport_fleet::release::Safeboot;
use safeport_fleet::{Installed, Member, MemberId, Sighting, Slot, Source};
use safeport_settings::{Listener, SafebootPolicy, Scheme, Settings, Told};
use safeport_store::DataFolder;
use safeport_xiaozhi::{CheckRequest, FirmwareUrl};

use super::{DeviceWeb, Devices, Parts, StartError, UpgradeSettings, Upgrades};
use crate::serve::access::unix_now;
use crate::serve::fleet::Fleet;
use crate::serve::gate::GateDriver;
use crate::serve::xiaozhi::{FirmwareAnswer, Offers};
use crate::tasks::Tasks;

impl Upgrades {
    /// Starts with what a running server has, and has the fleet tell it what it sees. To be told
    /// of answers to its orders, the topics of [`Upgrades::TOPICS`] have to be observed too.
    ///
    /// # Errors
    /// As [`Upgrades::start`].
    pub fn in_house(
        folder: &DataFolder,
        fleet: &Arc<Fleet>,
        gate: &Arc<GateDriver>,
        engine: EngineHandle,
        web: Arc<dyn DeviceWeb>,
        settings: &Settings,
        tasks: &Tasks,
    ) -> Result<Arc<Upgrades>, StartError> {
        let base = gate.clone();
        let upgrades = Upgrades::start(
            Parts {
                registry: folder.registry()?,
                blobs: folder.blobs()?,
                devices: Arc::new(OfFleet(fleet.clone())),
                publish: Arc::new(engine),
                web,
                base: Arc::new(move || address(&base)),
                settings: UpgradeSettings::of(settings),
            },
            tasks,
        )?;
        // The fleet outlives us, and must not keep us alive.
        let told = Arc::downgrade(&upgrades);
        fleet.listen(Arc::new(move |sighting, sighted| {
            if let Some(upgrades) = told.upgrade() {
                upgrades.sighted(sighting, sighted);
            }
        }));
        let told = Arc::downgrade(&upgrades);
        fleet.read(Arc::new(move |member, topic, payload| {
            if let Some(upgrades) = told.upgrade() {
                upgrades.heard(member, topic, payload);
            }
        }));
        Ok(upgrades)
    }
}

impl UpgradeSettings {
    /// What the settings say.
    pub fn of(settings: &Settings) -> UpgradeSettings {
        let firmware = &settings.firmware;
        UpgradeSettings {
            safeboot: match firmware.safeboot {
                SafebootPolicy::Auto => Safeboot::Auto,
                SafebootPolicy::Ensure => Safeboot::Ensure,
                SafebootPolicy::Off => Safeboot::Off,
            },
            backup_before: firmware.backup_before,
            token_lifetime: firmware.token_lifetime,
            soak: firmware.soak,
            patience: firmware.patience,
        }
    }
}

/// The proved address for plain HTTP. Never https: a Tasmota's safeboot may not be able to.
fn address(gate: &GateDriver) -> Result<String, String> {
    match gate.told(Listener::Http, Scheme::Http) {
        Told::Verified(address) | Told::LastVerified(address, _) => {
            Ok(address.url("/").trim_end_matches('/').to_owned())
        }
        Told::Unverified(_, why) | Told::Nothing(why) => Err(format!(
            "no HTTP address of this server is proved: {}; see `safeport ports`",
            why.en
        )),
    }
}

/// The fleet, as those who work for devices see it.
pub struct OfFleet(Arc<Fleet>);

impl OfFleet {
    /// Of this fleet.
    pub fn new(fleet: Arc<Fleet>) -> OfFleet {
        OfFleet(fleet)
    }
}

impl Devices for OfFleet {
    fn member(&self, id: MemberId) -> Option<Member> {
        self.0.with(|roster| roster.get(id).cloned())
    }

    fn sight(&self, sighting: Sighting) {
        self.0.sight(&sighting);
    }

    fn installed(&self, id: MemberId, slot: Slot, image: Installed) {
        self.0
            .with_mut(|roster| roster.installed(id, slot, image, unix_now()));
    }

    fn is_contested(&self, id: MemberId) -> bool {
        self.0.with(|roster| roster.is_contested(id))
    }

    fn note(&self, id: MemberId, text: &str) {
        self.0.with_mut(|roster| roster.note(id, text, unix_now()));
    }

    fn pin(&self, id: MemberId) {
        self.0.with_mut(|roster| roster.pin(id));
    }

    fn unpin(&self, id: MemberId) {
        self.0.with_mut(|roster| roster.unpin(id));
    }
}

impl Offers for Upgrades {
    fn firmware_for(&self, member: Option<MemberId>, _: &CheckRequest) -> FirmwareAnswer {
        let Some(lease) = member.and_then(|member| self.lease(member)) else {
            return FirmwareAnswer::Nothing;
        };
        match (lease.version.parse(), FirmwareUrl::parse(&lease.url)) {
            (Ok(version), Ok(url)) => FirmwareAnswer::Install {
                version,
                url,
                force: lease.force,
            },
            // Looked at when it was offered: then nothing is better than a crash of the device.
            _ => FirmwareAnswer::Nothing,
        }
    }
}

/// Whether a sighting says something about now: what was retained may be years old.
pub(super) fn is_live(sighting: &Sighting) -> bool {
    sighting.source != Source::Retained
}
