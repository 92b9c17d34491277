//! xiaozhi devices: what they are answered when they check (`POST /xiaozhi/ota/`), and how they are
//! taken in.
//!
//! A check is answered from memory: who is enrolled (followed from the registry by
//! [`Access`]), which codes are shown (`codes`), which addresses are proved (`ways`), what time
//! it is (`clock`). Only a device that nobody has seen before waits for the disk, since the code
//! it shows must be good for whoever enters it.
//!
//! Who a device is, is told by hardware address *and* Client-Id, as they were when it was taken in:
//! the address alone stands on the box and in every packet. A device that comes with another
//! Client-Id is a stranger, or had its flash erased; both have to be taken in anew.

mod audience;
mod clock;
mod codes;
mod enrol;
mod facts;
mod guest;
mod newcomers;
mod notices;
mod pictures;
mod roll;
mod ways;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use safeport_fleet::{MacAddress, MemberId, Proof, Sighting};
use safeport_net::attempt::{Attempt, Cause, Ending, Witness};
use safeport_settings::{Settings, XiaozhiActivation, XiaozhiTransport};
use safeport_store::{ManagedRow, Registry};
use safeport_xiaozhi::{
    ActivateRequest, CheckReply, CheckRequest, Client, ClientId, Endpoint, Firmware, FirmwareUrl,
    Mqtt, Quirks, ServerTime, Text, Username, Version, Way, WebSocket, mqtt_password,
    websocket_token,
};

use audience::Audience;
use clock::Clock;
use codes::Codes;
pub use enrol::{ActivateError, Activated, activate};
pub use guest::{Guest, Introduction, NoGuest};
pub use notices::{NoNotice, NoticeTaker};
pub use pictures::PICTURE_PATH;
pub use ways::Standing;
use ways::{Chosen, Traveller, Ways};

use super::access::recent::Recent;
use super::access::{Access, XiaozhiDevice, shown, unix_now};
use super::gate::GateDriver;
use crate::doctor::TOLD;
use crate::limits::{XIAOZHI_KEEPALIVE, XIAOZHI_TOLD};
use crate::tasks::Tasks;

/// Says which firmware a device is to run. Asked at each check of an enrolled device, so it answers
/// from memory: no database, no waiting.
pub trait Offers: Send + Sync {
    /// What `member` is offered. Never asked in the first check of a new build, which the
    /// device's bootloader takes for the proof that the build works.
    fn firmware_for(&self, member: Option<MemberId>, check: &CheckRequest) -> FirmwareAnswer;
}

/// What a device is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareAnswer {
    /// Nothing: it runs what it is to run.
    Nothing,
    /// An image.
    Install {
        /// The version inside the image, not another name for it: the device compares it with what
        /// it runs afterwards.
        version: Version,
        /// Where the image is.
        url: FirmwareUrl,
        /// Also where that is older than what the device runs.
        force: bool,
    },
}

/// Learns of every check, and remembers what devices run. It answers from memory.
pub trait Roll: Send + Sync {
    /// Takes up a look at a device. `None`: it was not taken up (too many strangers).
    fn checked(&self, sighting: Sighting) -> Option<MemberId>;

    /// Whether the device with this address was seen with this very build before this check.
    fn knows_build(&self, check: &CheckRequest) -> bool;

    /// The version that the device with this address reported last.
    fn version(&self, mac: MacAddress) -> Option<String>;
}

/// Nobody learns of checks: for tests, and until the fleet is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRoll;

impl Roll for NoRoll {
    fn checked(&self, _: Sighting) -> Option<MemberId> {
        None
    }

    fn knows_build(&self, _: &CheckRequest) -> bool {
        false
    }

    fn version(&self, _: MacAddress) -> Option<String> {
        None
    }
}

/// What the service works with.
pub struct Parts {
    /// A connection of its own to the registry, for codes and devices that are taken in.
    pub registry: Registry,
    /// Who is enrolled, and who judges their logins.
    pub access: Arc<Access>,
    /// Which of our addresses are proved.
    pub gate: Arc<GateDriver>,
    /// The instance key, from which keys are made that the settings do not name.
    pub instance_key: [u8; 32],
    /// Who learns of checks.
    pub roll: Arc<dyn Roll>,
    /// Who offers firmware.
    pub offers: Arc<dyn Offers>,
    /// Who is told what came of checks.
    pub witness: Arc<dyn Witness>,
}

/// What settings say, and what follows from them.
struct Rules {
    enabled: bool,
    name: String,
    open: bool,
    transport: XiaozhiTransport,
    auth_key: Vec<u8>,
    mqtt_key: Vec<u8>,
    audience: Audience,
}

/// Answers xiaozhi devices.
pub struct Xiaozhi {
    rules: RwLock<Arc<Rules>>,
    instance_key: [u8; 32],
    access: Arc<Access>,
    codes: Codes,
    clock: Clock,
    ways: Arc<Ways>,
    registry: Arc<Mutex<Registry>>,
    roll: Arc<dyn Roll>,
    offers: Arc<dyn Offers>,
    witness: Arc<dyn Witness>,
    told: Mutex<Recent<MacAddress, Told>>,
}

/// What a device was told last, as far as a change of it is worth a line.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    /// Of the way and the firmware.
    answer: u64,
    build: u64,
}

/// Who asks, beside what they say.
#[derive(Debug, Clone, Copy)]
pub struct Asker {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Our end: the address by which the device reached us is one that works for it.
    pub local: Option<SocketAddr>,
    /// The listener that it came to, by its name.
    pub listener: &'static str,
}

/// Why a check or an activation call gets no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Somebody asks for too many codes.
    #[error(
        "too many new devices ask from this address; wait a minute, devices ask again by themselves"
    )]
    TooMany,
    /// Two that call themselves the same take turns.
    #[error(
        "another device claimed this MAC address less than a minute ago; the device asks again by \
         itself"
    )]
    Contested,
    /// The registry takes nothing.
    #[error("the server cannot write down the code of a new device; its log says why")]
    Registry,
    /// There is nothing to activate.
    #[error("no activation waits for this device; the device asks for a new code by itself")]
    NothingWaits,
    /// The signed answer is not right.
    #[error("the signature does not fit; restart the device, it gets a new challenge")]
    BadSignature,
    /// The body is none.
    #[error("the body is neither {{}} nor a signed answer; update the firmware")]
    Unreadable,
    /// Switched off.
    #[error("xiaozhi devices are not served here: xiaozhi.enabled is false")]
    Disabled,
}

/// What came of an activation call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// It is taken in: status 200.
    Done,
    /// Nobody has entered the code yet: status 202.
    Waits,
}

impl Xiaozhi {
    /// Starts the service. `settings` are those of this moment; others go to
    /// [`Xiaozhi::set_settings`]. Must be called on the runtime, on which it keeps looking at
    /// addresses.
    ///
    /// # Errors
    /// If the codes of before cannot be read.
    pub fn start(
        parts: Parts,
        settings: &Settings,
        managed: &[ManagedRow],
        tasks: &Tasks,
    ) -> io::Result<Arc<Xiaozhi>> {
        let service = Arc::new(Xiaozhi::new(parts, settings, managed, Instant::now())?);
        tasks.spawn("xiaozhi addresses", service.ways.clone().run());
        Ok(service)
    }

    fn new(
        parts: Parts,
        settings: &Settings,
        managed: &[ManagedRow],
        started: Instant,
    ) -> io::Result<Xiaozhi> {
        let now = unix_now();
        let waiting = parts.registry.activations(now).map_err(io::Error::other)?;
        let service = Xiaozhi {
            rules: RwLock::new(Arc::new(Rules::of(settings, managed, &parts.instance_key))),
            instance_key: parts.instance_key,
            access: parts.access,
            codes: Codes::restored(waiting, now),
            clock: Clock::new(settings),
            ways: Arc::new(Ways::new(parts.gate, started)),
            registry: Arc::new(Mutex::new(parts.registry)),
            roll: parts.roll,
            offers: parts.offers,
            witness: parts.witness,
            told: Mutex::new(Recent::new(XIAOZHI_TOLD)),
        };
        service.set_settings(settings, managed);
        Ok(service)
    }

    /// Other settings from now on; `managed` are the values that some devices are told and others
    /// are not.
    pub fn set_settings(&self, settings: &Settings, managed: &[ManagedRow]) {
        let rules = Rules::of(settings, managed, &self.instance_key);
        self.access.set_xiaozhi_key(&rules.mqtt_key);
        self.clock.set(settings);
        self.ways.set(settings);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Whether devices are answered at all, and taken in without a code.
    pub fn mode(&self) -> Mode {
        let rules = self.rules();
        match (rules.enabled, rules.open) {
            (false, _) => Mode::Off,
            (true, false) => Mode::Code,
            (true, true) => Mode::Open,
        }
    }

    /// What a current device would be told, for people.
    pub fn standing(&self) -> Standing {
        self.ways.standing(self.rules().transport)
    }

    /// Devices that show a code now.
    pub fn waiting(&self) -> usize {
        self.codes.len(unix_now())
    }

    /// Minutes by which devices' clocks are set ahead of UTC.
    pub fn offset_minutes(&self) -> i16 {
        self.clock.offset_minutes()
    }

    /// Answers a check with the body of status 200.
    ///
    /// # Errors
    /// Why there is none. Another status than 200 makes the device ask again, later each time.
    pub async fn check(&self, check: &CheckRequest, asker: Asker) -> Result<String, Refused> {
        let came = SystemTime::now();
        let id = ClientId::new(&check.board, check.mac, &check.client_id);
        let answered = self.answer(check, &id, asker).await;
        let (cause, why) = match &answered {
            Ok((_, noted)) => noted.clone(),
            Err(refused) => (
                Cause::CheckRefused,
                format!("its check was refused: {refused}"),
            ),
        };
        // A page in a browser checks whenever somebody clicks, and all have one Client-Id.
        if check.client != Client::Browser {
            let user = self.admitted(&id).map(|device| device.name.clone());
            self.note(came, asker, Some((id.to_string(), user)), cause, why);
        }
        answered.map(|(reply, _)| reply.to_json())
    }

    /// A check was refused before it was known whose it is.
    pub fn unreadable(&self, asker: Asker, why: &dyn std::fmt::Display) {
        let why = format!("its check was refused: {why}");
        self.note(SystemTime::now(), asker, None, Cause::CheckRefused, why);
    }

    fn note(
        &self,
        came: SystemTime,
        asker: Asker,
        who: Option<(String, Option<String>)>,
        cause: Cause,
        why: String,
    ) {
        let ending = Ending::Noted { cause, why };
        let (client_id, user) = who.unzip();
        self.witness.saw(Attempt {
            client_id,
            user: user.flatten(),
            ..Attempt::new(came, asker.listener.into(), asker.peer, ending)
        });
    }

    /// The answer, and what it means.
    async fn answer(
        &self,
        check: &CheckRequest,
        id: &ClientId,
        asker: Asker,
    ) -> Result<(CheckReply, (Cause, String)), Refused> {
        let rules = self.rules();
        if !rules.enabled {
            return Err(Refused::Disabled);
        }
        let now = unix_now();
        let mut device = self.admitted(id);
        if device.is_none() && rules.open {
            device = self.take_in(check, id, asker, now).await?;
        }
        match device {
            Some(device) => {
                let wish = rules.audience.wish(&device);
                let traveller = Traveller {
                    client: check.client,
                    quirks: Quirks::of(check),
                    transport: wish.transport.unwrap_or(rules.transport),
                    host: wish.host,
                    came_to: asker.local.map(|local| local.ip().to_canonical()),
                };
                let chosen = self.ways.choose(&traveller).await;
                let noted = match &chosen {
                    Chosen::WebSocket(url) => (Cause::Checked, format!("{TOLD}{url}")),
                    Chosen::Mqtt(at) if at.port() == Endpoint::TLS_PORT => {
                        (Cause::Checked, format!("{TOLD}mqtts://{at}:{}", at.port()))
                    }
                    Chosen::Mqtt(at) => (Cause::Checked, format!("{TOLD}mqtt://{at}")),
                    Chosen::None(why) => {
                        let why = format!("it was told no voice server: {why}");
                        (Cause::NoVoiceServer, why)
                    }
                };
                let reply = self.known(check, id, &device, asker, &rules, chosen);
                Ok((reply, noted))
            }
            None => {
                let reply = self.stranger(check, asker, &rules, now).await?;
                let why = "it is not taken in, and was shown a code".to_owned();
                Ok((reply, (Cause::NotActivated, why)))
            }
        }
    }

    /// The host to which a device that is connected over MQTT sends its sound: the one that it is
    /// told for MQTT, too. `came_to` is our address at which it arrived. `None` if there is none
    /// that it could reach.
    pub async fn voice_host(&self, id: &ClientId, came_to: Option<IpAddr>) -> Option<String> {
        let device = self.admitted(id)?;
        let host = self.rules().audience.wish(&device).host;
        self.ways.voice_host(host, came_to).await
    }

    /// Answers `POST <ota>/activate`.
    ///
    /// # Errors
    /// Why the device is not told to wait: it asks again in ten seconds.
    pub fn poll(&self, check: &CheckRequest, body: &[u8]) -> Result<Polled, Refused> {
        if !self.rules().enabled {
            return Err(Refused::Disabled);
        }
        let id = ClientId::new(&check.board, check.mac, &check.client_id);
        if self.admitted(&id).is_some() {
            return Ok(Polled::Done);
        }
        let waits = self
            .codes
            .find(check.mac, &check.client_id, unix_now())
            .ok_or(Refused::NothingWaits)?;
        match ActivateRequest::read(body) {
            ActivateRequest::Plain => Ok(Polled::Waits),
            ActivateRequest::Unreadable => Err(Refused::Unreadable),
            ActivateRequest::Signed(signed) => {
                let key = waits.signing_key.as_deref();
                // The keys of chips are with who made them: what such a device signs cannot be
                // verified here, and the code decides.
                let fits = signed.challenge == waits.challenge
                    && key.is_none_or(|key| signed.is_signed_with(key.as_bytes()));
                fits.then_some(Polled::Waits).ok_or(Refused::BadSignature)
            }
        }
    }

    fn rules(&self) -> Arc<Rules> {
        let rules = self.rules.read();
        rules.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn admitted(&self, id: &ClientId) -> Option<Arc<XiaozhiDevice>> {
        self.access.xiaozhi(id.mac).filter(|device| device.is(id))
    }

    /// An enrolled device: its way, and its firmware.
    fn known(
        &self,
        check: &CheckRequest,
        id: &ClientId,
        device: &XiaozhiDevice,
        asker: Asker,
        rules: &Rules,
        chosen: Chosen,
    ) -> CheckReply {
        let now = unix_now();
        // Whatever it showed has served.
        self.codes.done(check.mac);
        let knew_build = self.roll.knows_build(check);
        let login = device.name.parse().map_or(Proof::Claim, Proof::Login);
        let member = self.sighted(check, id, login, asker, now);
        let way = match &chosen {
            Chosen::WebSocket(url) => Way::WebSocket(WebSocket {
                url: url.clone(),
                token: Text::new(websocket_token(
                    &rules.auth_key,
                    &check.client_id,
                    &check.device_id,
                    now,
                ))
                .unwrap_or_default(),
                version: 1,
            }),
            Chosen::Mqtt(endpoint) => {
                let username = Username::text(Some(asker.peer.ip().to_canonical()), now);
                let password = mqtt_password(&rules.mqtt_key, &id.to_string(), &username);
                Way::Mqtt(Mqtt {
                    endpoint: endpoint.clone(),
                    client_id: id.clone(),
                    username: Text::new(username).unwrap_or_default(),
                    password: Text::new(password).unwrap_or_default(),
                    keepalive: XIAOZHI_KEEPALIVE,
                })
            }
            Chosen::None(_) => Way::None,
        };
        let before = self.last_told(check.mac);
        let build = hash(&check.build());
        // A build is new until it has checked once: the device keeps it from then on, and goes
        // back to the one before if this check brings it another restart.
        let first_of_build = match before {
            Some(before) => before.build != build,
            None => !knew_build,
        };
        let firmware = match first_of_build {
            true => Firmware::nothing(check),
            false => match self.offers.firmware_for(member, check) {
                FirmwareAnswer::Nothing => Firmware::nothing(check),
                FirmwareAnswer::Install {
                    version,
                    url,
                    force,
                } => Firmware::install(check, version, url, force),
            },
        };
        let told = Told {
            answer: hash(&(
                chosen.to_string(),
                firmware.installs().map(|(version, _)| version.to_string()),
            )),
            build,
        };
        if before != Some(told) {
            self.remember(check.mac, told);
            self.log_told(check, device, &chosen, &firmware, asker);
        }
        CheckReply {
            server_time: self.time(),
            firmware,
            way,
            activation: None,
        }
    }

    fn log_told(
        &self,
        check: &CheckRequest,
        device: &XiaozhiDevice,
        chosen: &Chosen,
        firmware: &Firmware,
        asker: Asker,
    ) {
        let version = shown(check.version_text.as_deref().unwrap_or("unknown"));
        let board = shown(&check.board);
        let install = firmware
            .installs()
            .map(|(version, _)| format!(", and to install {version}"))
            .unwrap_or_default();
        let address = asker.peer.ip().to_canonical();
        match chosen {
            Chosen::None(why) => tracing::warn!(
                target: "safeport::xiaozhi",
                device = device.name, board, version, %address,
                "xiaozhi device checked in and is told no voice server{install}: {why}"
            ),
            told => tracing::info!(
                target: "safeport::xiaozhi",
                device = device.name, board, version, %address,
                "xiaozhi device checked in and is told {told}{install}"
            ),
        }
    }

    fn sighted(
        &self,
        check: &CheckRequest,
        id: &ClientId,
        proof: Proof,
        asker: Asker,
        now: u64,
    ) -> Option<MemberId> {
        let sighting = facts::sighting(check, id, proof, asker.peer.ip().to_canonical(), now);
        self.roll.checked(sighting)
    }

    fn time(&self) -> ServerTime {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        ServerTime {
            timestamp_ms: now.map_or(0, |now| now.as_millis() as u64),
            offset_minutes: self.clock.offset_minutes(),
        }
    }

    fn last_told(&self, mac: MacAddress) -> Option<Told> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get(&mac).copied()
    }

    fn remember(&self, mac: MacAddress, now_told: Told) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(mac, now_told);
    }
}

impl std::fmt::Debug for Xiaozhi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xiaozhi").finish_non_exhaustive()
    }
}

/// How devices are taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Not at all: nobody is answered.
    Off,
    /// By the code that they show.
    Code,
    /// All that ask.
    Open,
}

impl Rules {
    fn of(settings: &Settings, managed: &[ManagedRow], instance_key: &[u8; 32]) -> Rules {
        let xiaozhi = &settings.xiaozhi;
        let key = |set: &safeport_settings::Secret, purpose: &str| match set.reveal() {
            "" => enrol::derived_key(instance_key, purpose),
            set => set.as_bytes().to_vec(),
        };
        Rules {
            enabled: xiaozhi.enabled,
            name: settings.server.name.clone(),
            open: xiaozhi.activation == XiaozhiActivation::Open,
            transport: settings.advertise.xiaozhi,
            auth_key: key(&xiaozhi.auth_key, "xiaozhi websocket tokens"),
            mqtt_key: key(&xiaozhi.mqtt_key, "xiaozhi mqtt passwords"),
            audience: Audience::of(settings, managed),
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The address of whoever asks, as it counts for limits: an IPv6 customer has a network of their
/// own.
pub(super) fn asker(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
