//! Offers of firmware, and what carries them out.
//!
//! The decisions are [`safeport_fleet::upgrade::Upgrade`]'s and [`safeport_fleet::release`]'s. Here
//! their events come in (sightings, answers, downloads) from any thread, and one thread of its own
//! writes down each change and *then* does what the machines ask for: publishes commands, issues
//! tokens, asks the pages of devices. A restart finds every open offer where it was.

mod house;
mod shelf;
mod sight;
#[cfg(test)]
mod tests;
mod view;
mod web;
mod work;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use safeport_broker::Publication;
use safeport_fleet::image::Image;
use safeport_fleet::release::{self, Options, Refusal, Safeboot};
use safeport_fleet::upgrade::{Effect, Event, Lease, Restore, State, Upgrade};
use safeport_fleet::{Family, Installed, Member, MemberId, Sighted, Sighting, Slot, Source};
use safeport_store::{
    BlobHash, BlobStore, By, Kind, NewOffer, OfferQuery, OfferRow, Registry, StoreError,
};

pub use self::house::OfFleet;
use self::shelf::Folders;
use self::view::Body;
pub use self::view::{HistoryLine, OfferId, OfferIdError, OfferView};
use self::web::{Answers, Errands};
pub use self::web::{DeviceWeb, NoWeb, WebError};
use crate::serve::access::unix_now;
use crate::serve::http::download::{Asked, NotServed, Sent, Served, Shelf, Ticket};
use crate::tasks::Tasks;

/// What offers need of the fleet.
pub trait Devices: Send + Sync + 'static {
    /// What is known of a device.
    fn member(&self, id: MemberId) -> Option<Member>;
    /// A look at a device.
    fn sight(&self, sighting: Sighting);
    /// We know what lies in a slot, since we brought it there.
    fn installed(&self, id: MemberId, slot: Slot, image: Installed);
    /// Something to remember of a device.
    fn note(&self, id: MemberId, text: &str);
    /// Whether another board has shown up under its login, and nobody has said yet which one it is.
    fn is_contested(&self, id: MemberId) -> bool;
    /// We count on it: it must not be forgotten.
    fn pin(&self, id: MemberId);
    /// We do so no more; once for each [`Devices::pin`].
    fn unpin(&self, id: MemberId);
}

/// Where commands go.
pub trait Publish: Send + Sync + 'static {
    /// Publishes to the devices.
    fn publish(&self, publication: Publication);
}

impl Publish for safeport_engine::EngineHandle {
    fn publish(&self, publication: Publication) {
        safeport_engine::EngineHandle::publish(self, publication);
    }
}

/// The address at which devices fetch over plain HTTP, `http://host:port`; or why none may be told.
pub type Base = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// What offers work with.
pub struct Parts {
    /// A connection to the registry of their own.
    pub registry: Registry,
    /// The bytes of images.
    pub blobs: BlobStore,
    /// The fleet.
    pub devices: Arc<dyn Devices>,
    /// The engine.
    pub publish: Arc<dyn Publish>,
    /// The pages of devices.
    pub web: Arc<dyn DeviceWeb>,
    /// The proved address.
    pub base: Base,
    /// What the settings say.
    pub settings: UpgradeSettings,
}

/// `firmware.*`, as far as offers heed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpgradeSettings {
    /// `firmware.safeboot`.
    pub safeboot: Safeboot,
    /// `firmware.backup_before`.
    pub backup_before: bool,
    /// `firmware.token_lifetime`: how long an offer stands, and what it lets devices fetch.
    pub token_lifetime: Duration,
    /// How long a device has to stay healthy: `firmware.soak`.
    pub soak: Duration,
    /// How long a device is waited for until it is told again: `firmware.patience`.
    pub patience: Duration,
}

impl Default for UpgradeSettings {
    fn default() -> UpgradeSettings {
        UpgradeSettings {
            safeboot: Safeboot::Auto,
            backup_before: true,
            token_lifetime: Duration::from_secs(7 * 86_400),
            soak: Duration::from_secs(600),
            patience: Duration::from_secs(60),
        }
    }
}

/// What is to be offered, and to whom.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The devices.
    pub members: Vec<MemberId>,
    /// The firmware.
    pub what: What,
    /// Even if the device reports the same already.
    pub reinstall: bool,
    /// Instead of `firmware.safeboot`.
    pub safeboot: Option<Safeboot>,
    /// Instead of `firmware.soak`.
    pub soak: Option<Duration>,
    /// Only look whether it could be offered.
    pub dry_run: bool,
}

/// An image or a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// One image.
    Image(BlobHash),
    /// A release, by its name: each device gets what is for it.
    Release(String),
}

/// What came of an offer to one device.
#[derive(Debug, Clone)]
pub enum Offered {
    /// It is under way.
    Made(Box<OfferView>),
    /// It could be made; nothing was done.
    Would {
        /// How many images would be written.
        steps: usize,
        /// What is to be known beforehand.
        warnings: Vec<String>,
    },
}

/// Why one device was not offered anything.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// There is no such device.
    #[error("there is no device {0}; see `safeport device list`")]
    NoMember(MemberId),
    /// It does not fit, or is not wise.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An earlier offer is open.
    #[error("the device has an open offer, {0}: cancel it first, or wait until it is over")]
    Open(OfferId),
    /// Two boards use one login: what is known is of one, and orders reach the other.
    #[error(
        "another board uses the login of this device, so it is not known which one would be written \
         to: see `safeport device quarantine`, and settle it with --keep or --pass"
    )]
    Contested,
    /// No such firmware.
    #[error("{0}")]
    NoFirmware(String),
    /// The registry failed.
    #[error("the offer could not be written down: {0}")]
    Store(#[from] StoreError),
}

impl OfferError {
    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            OfferError::NoMember(_) => "no-device",
            OfferError::Refused(refusal) => refusal.code(),
            OfferError::Open(_) => "offer-open",
            OfferError::Contested => "contested",
            OfferError::NoFirmware(_) => "no-firmware",
            OfferError::Store(_) => "store",
        }
    }
}

/// Why an offer was not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// There is none of that number.
    #[error("there is no offer {0}; see `safeport firmware offers`")]
    Unknown(OfferId),
    /// It is over.
    #[error("{0} is over: {1}")]
    Ended(OfferId, String),
    /// The registry failed.
    #[error("the offer could not be read: {0}")]
    Store(#[from] StoreError),
}

/// Which offers a list shows, newest first.
#[derive(Debug, Clone, Default)]
pub struct OffersOf {
    /// Of this device.
    pub member: Option<MemberId>,
    /// Only those that are not over.
    pub open: Option<bool>,
    /// Older than this one.
    pub before: Option<OfferId>,
    /// At most so many; 0 is 100.
    pub limit: u32,
}

/// All offers of this server.
pub struct Upgrades {
    machines: Mutex<Machines>,
    /// Held from looking at what is to be written until it is written, so that nothing older
    /// comes after it. Taken before `machines`.
    pen: Mutex<()>,
    changed: Condvar,
    /// So that most sightings cost one load.
    open: AtomicUsize,
    registry: Mutex<Registry>,
    blobs: BlobStore,
    devices: Arc<dyn Devices>,
    publish: Arc<dyn Publish>,
    base: Base,
    settings: Mutex<UpgradeSettings>,
    folders: Folders,
    /// A device asked with a token that is not known: perhaps another process made it.
    tokens_unknown: AtomicBool,
    errands: Mutex<Option<Errands>>,
}

#[derive(Default)]
struct Machines {
    open: HashMap<OfferId, Open>,
    of_member: HashMap<MemberId, OfferId>,
    timeouts: BTreeSet<(u64, OfferId)>,
    /// To be written and carried out, in this order.
    dirty: Vec<OfferId>,
    is_dirty: HashSet<OfferId>,
    /// Only their progress is new.
    lazily: HashSet<OfferId>,
    /// What was asked for and is still to be done.
    undone: HashMap<OfferId, Vec<Effect>>,
    stopping: bool,
    stopped: bool,
}

struct Open {
    row: OfferRow,
    body: Body,
    timeout: Option<u64>,
    /// What the registry knows.
    written: (State, usize),
    /// The step whose image was reported as installed last.
    steps_told: usize,
}

impl fmt::Debug for Upgrades {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgrades(…)")
    }
}

impl Upgrades {
    /// Takes up every open offer, and starts the thread that carries them out.
    ///
    /// # Errors
    /// If the registry cannot be read, or the system gives no thread.
    pub fn start(parts: Parts, tasks: &Tasks) -> Result<Arc<Upgrades>, StartError> {
        let web = parts.web.clone();
        let upgrades = Arc::new(Upgrades::new(parts)?);
        let errands = Errands::start(web, &upgrades, tasks)?;
        *lock(&upgrades.errands) = Some(errands);
        let working = upgrades.clone();
        tasks.spawn_thread("upgrades", move || working.work())?;
        Ok(upgrades)
    }

    fn new(parts: Parts) -> Result<Upgrades, StoreError> {
        let upgrades = Upgrades {
            machines: Mutex::default(),
            pen: Mutex::default(),
            changed: Condvar::new(),
            open: AtomicUsize::new(0),
            registry: Mutex::new(parts.registry),
            blobs: parts.blobs,
            devices: parts.devices,
            publish: parts.publish,
            base: parts.base,
            settings: Mutex::new(parts.settings),
            folders: Folders::default(),
            tokens_unknown: AtomicBool::new(false),
            errands: Mutex::new(None),
        };
        upgrades.load()?;
        Ok(upgrades)
    }

    /// Other settings for offers that are made from now on.
    pub fn set_settings(&self, settings: UpgradeSettings) {
        *lock(&self.settings) = settings;
    }

    /// Writes down what is left and waits until it is written, for at most `patience`. Offers go on
    /// after the next start.
    pub fn finish(&self, patience: Duration) {
        let mut machines = lock(&self.machines);
        machines.stopping = true;
        self.changed.notify_all();
        let _ = self
            .changed
            .wait_timeout_while(machines, patience, |machines| !machines.stopped)
            .unwrap_or_else(PoisonError::into_inner);
    }

    /// Offers firmware, each device by itself. What is not known of a Tasmota that is connected is
    /// asked first, for up to 4 s. Blocks; not for the threads of HTTP.
    pub fn offer(
        &self,
        wanted: &Wanted,
        who: &str,
    ) -> Vec<(MemberId, Result<Offered, OfferError>)> {
        let found = self.images_of(&wanted.what);
        let (images, release) = match found {
            Ok(found) => found,
            Err(error) => {
                // One answer is enough, but each device is to have one.
                let text = error.to_string();
                let refuse = |member: &MemberId| {
                    let error = OfferError::NoFirmware(text.clone());
                    (*member, Err(error))
                };
                return wanted.members.iter().map(refuse).collect();
            }
        };
        self.ask_first(&wanted.members);
        wanted
            .members
            .iter()
            .map(|&member| {
                (
                    member,
                    self.offer_one(member, wanted, &images, release, who),
                )
            })
            .collect()
    }

    fn offer_one(
        &self,
        id: MemberId,
        wanted: &Wanted,
        images: &[Image],
        release: Option<u64>,
        who: &str,
    ) -> Result<Offered, OfferError> {
        let member = self.devices.member(id).ok_or(OfferError::NoMember(id))?;
        if let Some(open) = self.open_offer(id) {
            return Err(OfferError::Open(open));
        }
        if self.devices.is_contested(id) {
            return Err(OfferError::Contested);
        }
        let settings = lock(&self.settings).clone();
        let now = unix_now();
        let mut seed = [0; 8];
        // Jitter is all that this is for: without randomness every device waits alike.
        let _ = getrandom::fill(&mut seed);
        let options = Options {
            reinstall: wanted.reinstall,
            safeboot: wanted.safeboot.unwrap_or(settings.safeboot),
            backup: settings.backup_before,
            soak: wanted.soak.unwrap_or(settings.soak).as_secs(),
            patience: settings.patience.as_secs(),
            lifetime: settings.token_lifetime.as_secs(),
            base_length: (self.base)().ok().map(|base| base.len()),
            own_ota_url: self.own_ota_url(id)?,
            seed: u64::from_le_bytes(seed),
        };
        let (plan, warnings) = release::plan(&member, images, &options, now)?;
        let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        if wanted.dry_run {
            return Ok(Offered::Would {
                steps: plan.steps.len(),
                warnings,
            });
        }
        let version = plan
            .steps
            .last()
            .and_then(|step| step.image.identity.version.clone());
        let body = Body {
            device: member.name().to_string(),
            family: member.family().map_or("", Family::as_str).to_owned(),
            what: match &wanted.what {
                What::Release(name) => name.clone(),
                What::Image(hash) => images
                    .first()
                    .map_or_else(|| hash.to_string(), |image| image.file_name.clone()),
            },
            version,
            warnings,
            upgrade: Upgrade::new(plan, now),
        };
        let offer = NewOffer {
            member: id.0,
            release,
            image: match &wanted.what {
                What::Image(hash) => Some(*hash),
                What::Release(_) => None,
            },
            state: view::state_word(body.upgrade.state()),
            body: stored(&body),
        };
        // The offer goes with the device, so that must not go while we are at it.
        self.devices.pin(id);
        let written = self.write_offer(&offer, By { who, at: now });
        let number = written.inspect_err(|_| self.devices.unpin(id))?;
        let row = OfferRow {
            id: number,
            member: offer.member,
            release: offer.release,
            image: offer.image,
            state: offer.state,
            open: true,
            body: String::new(),
            who: who.to_owned(),
            created: now,
            updated: now,
        };
        let view = OfferView::new(&row, &body);
        tracing::info!(
            target: "safeport::firmware",
            device = body.device,
            offer = view.id,
            "{} is offered {}",
            body.device,
            body.what
        );
        self.devices
            .note(id, &format!("offered {} ({})", body.what, view.id));
        self.insert(row, body, true);
        Ok(Offered::Made(Box::new(view)))
    }

    /// The open offer of a device. One that is over and not written down yet is waited for, so that
    /// whoever has seen its end can make the next one.
    fn open_offer(&self, member: MemberId) -> Option<OfferId> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            {
                let machines = lock(&self.machines);
                let id = *machines.of_member.get(&member)?;
                let ending = machines
                    .open
                    .get(&id)
                    .is_some_and(|open| open.body.upgrade.state().is_final());
                if !ending || Instant::now() >= until {
                    return Some(id);
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A device that was first seen a moment ago is not written down yet: the fleet does that once
    /// a second.
    fn write_offer(&self, offer: &NewOffer, by: By<'_>) -> Result<u64, OfferError> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let written = lock(&self.registry).add_offer(offer, by);
            return match written {
                Ok(number) => Ok(number),
                Err(StoreError::OfferOpen { offer, .. }) => Err(OfferError::Open(OfferId(offer))),
                Err(StoreError::NotFound {
                    kind: Kind::Member, ..
                }) if Instant::now() < until => {
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
                Err(error) => Err(OfferError::Store(error)),
            };
        }
    }

    /// Ends an offer, at once where that harms nothing, else after the step that the device is in.
    /// On return that is written down.
    ///
    /// # Errors
    /// If there is none, or it is over; if it could not be written down, in which case it ends
    /// nevertheless unless the server does so first.
    pub fn cancel(&self, id: OfferId, who: &str) -> Result<OfferView, CancelError> {
        let pen = lock(&self.pen);
        if self.handle(id, Event::Cancel) {
            let change = {
                let mut machines = lock(&self.machines);
                let open = machines.open.get_mut(&id);
                open.map(|open| open.change(id, unix_now()))
            };
            lock(&self.registry).write_offers(change.as_slice())?;
        } else {
            let row = lock(&self.registry)
                .offer(id.0)?
                .ok_or(CancelError::Unknown(id))?;
            return Err(CancelError::Ended(id, row.state));
        }
        drop(pen);
        tracing::info!(target: "safeport::firmware", offer = %id, who, "offer cancelled");
        self.get(id)?.ok_or(CancelError::Unknown(id))
    }

    /// One offer.
    ///
    /// # Errors
    /// If the registry cannot be read.
    pub fn get(&self, id: OfferId) -> Result<Option<OfferView>, StoreError> {
        if let Some(open) = lock(&self.machines).open.get(&id) {
            return Ok(Some(OfferView::new(&open.row, &open.body)));
        }
        let row = lock(&self.registry).offer(id.0)?;
        Ok(row.as_ref().and_then(viewed))
    }

    /// Offers, newest first.
    ///
    /// # Errors
    /// If the registry cannot be read.
    pub fn list(&self, of: &OffersOf) -> Result<Vec<OfferView>, StoreError> {
        let rows = lock(&self.registry).offers(&OfferQuery {
            member: of.member.map(|member| member.0),
            open: of.open,
            before: of.before.map(|offer| offer.0),
            limit: if of.limit == 0 { 100 } else { of.limit },
            ..OfferQuery::default()
        })?;
        let machines = lock(&self.machines);
        Ok(rows
            .iter()
            .filter_map(|row| match machines.open.get(&OfferId(row.id)) {
                Some(open) => Some(OfferView::new(&open.row, &open.body)),
                None => viewed(row),
            })
            .collect())
    }

    /// The open offer of a device.
    pub fn of_member(&self, member: MemberId) -> Option<OfferView> {
        let machines = lock(&self.machines);
        let open = machines.open.get(machines.of_member.get(&member)?)?;
        Some(OfferView::new(&open.row, &open.body))
    }

    /// The fleet has seen something. Costs one load for a fleet without open offers.
    pub fn sighted(&self, sighting: &Sighting, sighted: &Sighted) {
        // What a stranger says of a device is no evidence, and moves no offer.
        if self.open.load(Ordering::Relaxed) == 0 || !house::is_live(sighting) || !sighted.is_itself
        {
            return;
        }
        let Some(member) = sighted.member else {
            return;
        };
        let machines = lock(&self.machines);
        let offer = machines.of_member.get(&member).copied();
        // A Tasmota's page is asked by its offer alone, and answers to that.
        let is_answer = sighting.source == Source::Web
            && offer
                .and_then(|offer| machines.open.get(&offer))
                .is_some_and(|open| open.body.upgrade.plan().adapter.is_tasmota());
        drop(machines);
        if let Some(offer) = offer
            && !is_answer
        {
            self.handle(offer, Event::Saw(sight::saw(sighting, &sighted.events)));
        }
    }

    /// A message that a device has published and that may answer an order: the topics are those
    /// of [`Upgrades::TOPICS`].
    pub fn heard(&self, member: MemberId, topic: &str, payload: &[u8]) {
        if self.open.load(Ordering::Relaxed) == 0 {
            return;
        }
        let last = topic.rsplit('/').next().unwrap_or(topic);
        if !["RESULT", "UPGRADE", "OTAURL", "RESTART"].contains(&last) {
            return;
        }
        let Ok(text) = std::str::from_utf8(payload) else {
            return;
        };
        let offer = lock(&self.machines).of_member.get(&member).copied();
        if let Some(offer) = offer {
            self.handle(offer, Event::Result(text.to_owned()));
        }
    }

    /// What [`Upgrades::heard`] wants to see: Tasmota's answers, with topics of up to four
    /// levels.
    pub const TOPICS: [&str; 12] = [
        "+/+/RESULT",
        "+/+/UPGRADE",
        "+/+/OTAURL",
        "+/+/RESTART",
        "+/+/+/RESULT",
        "+/+/+/UPGRADE",
        "+/+/+/OTAURL",
        "+/+/+/RESTART",
        "+/+/+/+/RESULT",
        "+/+/+/+/UPGRADE",
        "+/+/+/+/OTAURL",
        "+/+/+/+/RESTART",
    ];

    /// What the check of a xiaozhi device is answered: called after the fleet has seen that check.
    pub fn lease(&self, member: MemberId) -> Option<Lease> {
        if self.open.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut machines = lock(&self.machines);
        let offer = *machines.of_member.get(&member)?;
        let lease = machines
            .open
            .get_mut(&offer)?
            .body
            .upgrade
            .lease(unix_now());
        machines.touched(offer);
        drop(machines);
        self.changed.notify_all();
        lease
    }

    /// The permanent token of an enrolled device; made if there is none yet.
    ///
    /// # Errors
    /// If the registry fails.
    pub fn device_token(&self, device: &str, who: &str) -> Result<String, StoreError> {
        if let Some(token) = self.folders.device_token(device) {
            return Ok(token);
        }
        let token = work::draw('d');
        let mut registry = lock(&self.registry);
        let by = By {
            who,
            at: unix_now(),
        };
        let token = match registry.device_token(device)? {
            Some(known) => known.token,
            None => {
                registry.set_device_token(device, &token, by)?;
                token
            }
        };
        self.folders.add_device(token.clone(), device.to_owned());
        Ok(token)
    }

    /// The address of a file below a device's token, as it is told to that device.
    ///
    /// # Errors
    /// If no address of ours is proved: why.
    pub fn device_url(&self, token: &str, file: &str) -> Result<String, String> {
        (self.base)().map(|base| format!("{base}/ota/{token}/{file}"))
    }

    /// The images that are meant.
    fn images_of(&self, what: &What) -> Result<(Vec<Image>, Option<u64>), OfferError> {
        let registry = lock(&self.registry);
        let (hashes, release) = match what {
            What::Image(hash) => (vec![*hash], None),
            What::Release(name) => {
                let release = registry.release(name)?.ok_or_else(|| {
                    OfferError::NoFirmware(format!(
                        "there is no release {name}; see `safeport firmware releases`"
                    ))
                })?;
                let hashes = release.images.iter().map(|image| image.hash).collect();
                (hashes, Some(release.id))
            }
        };
        let mut images = Vec::new();
        for hash in hashes {
            let row = registry.image(&hash)?.ok_or_else(|| {
                OfferError::NoFirmware(format!(
                    "there is no image {hash}; see `safeport firmware list`"
                ))
            })?;
            let image = serde_json::from_str(&row.body).map_err(|error| {
                OfferError::NoFirmware(format!(
                    "what is known of image {hash} cannot be read ({error}); add it again"
                ))
            })?;
            images.push(image);
        }
        Ok((images, release))
    }

    /// An `OtaUrl` that an earlier offer owes this device.
    fn own_ota_url(&self, member: MemberId) -> Result<Option<String>, StoreError> {
        let rows = lock(&self.registry).offers(&OfferQuery {
            member: Some(member.0),
            limit: 1,
            ..OfferQuery::default()
        })?;
        let body: Option<Body> = rows
            .first()
            .and_then(|row| serde_json::from_str(&row.body).ok());
        Ok(body.and_then(|body| {
            let owed = matches!(
                body.upgrade.restore(),
                Restore::Impossible(_) | Restore::Owed { .. }
            );
            owed.then(|| body.upgrade.own_ota_url().map(str::to_owned))
                .flatten()
        }))
    }

    /// Something happened to an offer; false if it is not open.
    fn handle(&self, id: OfferId, event: Event) -> bool {
        let mut machines = lock(&self.machines);
        let Some(open) = machines.open.get_mut(&id) else {
            return false;
        };
        open.body.upgrade.handle(event, unix_now());
        machines.touched(id);
        drop(machines);
        self.changed.notify_all();
        true
    }

    /// Of a device that is pinned.
    fn insert(&self, row: OfferRow, body: Body, dirty: bool) {
        let id = OfferId(row.id);
        let mut machines = lock(&self.machines);
        machines.of_member.insert(MemberId(row.member), id);
        let written = (body.upgrade.state(), body.upgrade.history().len());
        machines.open.insert(
            id,
            Open {
                row,
                timeout: None,
                written,
                steps_told: body.upgrade.step(),
                body,
            },
        );
        self.open.store(machines.open.len(), Ordering::Relaxed);
        if dirty {
            machines.touched(id);
        }
        drop(machines);
        self.changed.notify_all();
    }
}

impl Machines {
    /// The machine of this offer was asked something: its deadline may be another one, and there
    /// may be something to do.
    fn touched(&mut self, id: OfferId) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        let timeout = open.body.upgrade.poll_timeout();
        if timeout != open.timeout {
            if let Some(old) = open.timeout {
                self.timeouts.remove(&(old, id));
            }
            if let Some(new) = timeout {
                self.timeouts.insert((new, id));
            }
            open.timeout = timeout;
        }
        if self.is_dirty.insert(id) {
            self.dirty.push(id);
        }
    }
}

impl Answers for Upgrades {
    fn event(&self, offer: OfferId, event: Event) {
        self.handle(offer, event);
    }

    fn seen(&self, sighting: Sighting) {
        self.devices.sight(sighting);
    }
}

impl Shelf for Upgrades {
    fn find(&self, asked: &Asked<'_>) -> Result<Served, NotServed> {
        let found = self.folders.find(asked, |offer, step| {
            lock(&self.machines)
                .open
                .get(&offer)
                .is_some_and(|open| open.body.upgrade.may_fetch(step))
        });
        match found {
            Ok((served, seen)) => {
                if let Some(seen) = seen {
                    self.devices.sight(seen);
                }
                if let Some(offer) = self.folders.manifest_of(asked) {
                    self.handle(offer, Event::ManifestRead);
                }
                Ok(served)
            }
            Err(refused) => {
                if asked.token.starts_with('d') {
                    self.tokens_unknown.store(true, Ordering::Relaxed);
                    self.changed.notify_all();
                }
                Err(refused)
            }
        }
    }

    fn progress(&self, ticket: Ticket, sent: Sent) {
        if let Some(news) = self.folders.progress(ticket, sent) {
            self.handle(
                news.offer,
                Event::Fetched {
                    step: news.step,
                    minimal: news.minimal,
                    bytes: news.bytes,
                    total: news.total,
                    ended: news.ended,
                },
            );
        }
    }
}

/// Why offers could not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The registry cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No thread.
    #[error("the system gave no thread for offers of firmware: {0}")]
    Thread(#[from] std::io::Error),
}

fn viewed(row: &OfferRow) -> Option<OfferView> {
    let body = serde_json::from_str(&row.body).ok()?;
    Some(OfferView::new(row, &body))
}

fn stored(body: &Body) -> String {
    // Strings, numbers and maps with text keys: nothing in it can fail.
    serde_json::to_string(body).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a machine wants done, with whom.
struct Due {
    offer: OfferId,
    member: MemberId,
    effects: Vec<Effect>,
}
