//! Tasmota on a board with a flash memory: an ESP32 with a safeboot, one with two partitions of
//! equal rank, or an ESP8266. Settings, MQTT and commands are those of [`crate::tasmota::Plug`];
//! this adds what happens around them: booting, upgrades, web pages.

mod fetch;
mod names;
mod pages;

use super::clock::Clock;
use super::events::Events;
use super::fault::{Fault, FaultKind, Faults};
use super::flash::{Flash, FlashError};
use super::tls::Tls;
use super::update::{Death, dark, sha256_hex, tell_fault};
use super::web::Web;
use crate::dial::{DialError, Socket, dial};
use crate::image::{Behaviour, ImageChip, ImageFamily, Marks, Variant, unpack, verify};
use crate::tasmota::{
    Act, BoardFacts, Failure, Fingerprint, MacAddress, Note, Output, Plug, PlugOptions, Trust,
    Updates,
};
use fetch::Failed;
use safeport_mqtt::{Decoded, Version, decode, limits};
use serde_json::json;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;

/// How the flash of a Tasmota board is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// ESP32 since version 12: factory = safeboot, 832 KiB, and one main partition, 2880 KiB.
    Safeboot,
    /// ESP32 before: two partitions of 1856 KiB.
    Dual,
}

/// A pretend board with Tasmota.
#[derive(Debug, Clone)]
pub struct TasmotaBoard {
    /// MQTT and names.
    pub plug: PlugOptions,
    /// SetOption103, and how the server is known. None connects in the clear.
    pub tls: Option<Trust>,
    /// Its chip.
    pub chip: ImageChip,
    /// Of an ESP32.
    pub layout: Layout,
    /// Flash in KiB. Default 4096.
    pub flash_kib: usize,
    /// What a blank flash is filled with.
    pub image: Vec<u8>,
    /// The same for the safeboot partition.
    pub safeboot: Vec<u8>,
    /// Whether a blank board boots its safeboot first, as one that was left there.
    pub stuck: bool,
    /// Web password; none answers everybody.
    pub web_password: Option<String>,
    /// Whether SetOption128 is off, so that requests need a `Referer`.
    pub checks_referer: bool,
    /// Port of the web pages; 0 takes any free one.
    pub web_port: u16,
    /// Folder of the flash; none keeps it in memory.
    pub flash_folder: Option<PathBuf>,
    /// Every wait of the device is multiplied with it. Default 1.
    pub time_scale: f64,
    /// Accidents.
    pub faults: Vec<Fault>,
}

impl TasmotaBoard {
    /// An ESP32-C3 of 4 MB with these images, in the clear.
    pub fn new(plug: PlugOptions, image: Vec<u8>, safeboot: Vec<u8>) -> Self {
        TasmotaBoard {
            plug,
            tls: None,
            chip: ImageChip::ESP32C3,
            layout: Layout::Safeboot,
            flash_kib: 4096,
            image,
            safeboot,
            stuck: false,
            web_password: None,
            checks_referer: false,
            web_port: 0,
            flash_folder: None,
            time_scale: 1.0,
            faults: Vec::new(),
        }
    }
}

/// Why a board could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// The flash folder.
    #[error(transparent)]
    Flash(#[from] FlashError),
    /// The web server.
    #[error("web server of the pretend device on port {port}: {error}; choose another --web-port")]
    Web {
        /// The port.
        port: u16,
        /// Why.
        error: std::io::Error,
    },
    /// The TLS settings.
    #[error("TLS of the pretend device: {0}")]
    Tls(String),
    /// An option that cannot be used.
    #[error("{0}")]
    Option(String),
}

/// Runs the board until `stop` is ready.
pub async fn run(
    options: TasmotaBoard,
    events: Events,
    stop: impl Future<Output = ()>,
) -> Result<(), BoardError> {
    let kind = kind_of(&options);
    let mut flash = Flash::open(options.flash_folder.clone(), kind.regions())?;
    if flash.is_blank() {
        match kind {
            Kind::Safeboot => {
                flash.write("main", options.image.clone());
                flash.write("safeboot", options.safeboot.clone());
                flash.set("boot", if options.stuck { "safeboot" } else { "main" });
            }
            Kind::Dual => {
                flash.write("app0", options.image.clone());
                flash.set("boot", "app0");
            }
            Kind::Esp8266 => flash.write("main", options.image.clone()),
        }
    }
    let trust = options
        .tls
        .clone()
        .unwrap_or(Trust::Fingerprint(Fingerprint([0xff; 20])));
    let tls = Tls::Light(trust).connector().map_err(BoardError::Tls)?;
    let web = Web::open(options.web_port, &events)
        .await
        .map_err(|error| BoardError::Web {
            port: options.web_port,
            error,
        })?;
    let mut board = Board {
        faults: Faults::new(&options.faults),
        clock: Clock::new(options.time_scale),
        options: Options {
            mac: options.plug.mac,
            name: options.plug.name.clone(),
            chip: options.chip,
            flash_kib: options.flash_kib,
            web_password: options.web_password.clone(),
        },
        full: options,
        kind,
        flash,
        events,
        tls,
        web,
        slot: "main",
        restoring: false,
    };
    tokio::select! {
        () = stop => {}
        () = board.live() => {}
    }
    board.events.tell(
        "stopped",
        json!({
            "boots": board.flash.number("boot_count"),
            "boot": board.flash.text("boot"),
        }),
    );
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Safeboot,
    Dual,
    Esp8266,
}

impl Kind {
    const fn regions(self) -> &'static [&'static str] {
        match self {
            Kind::Safeboot => &["main", "safeboot"],
            Kind::Dual => &["app0", "app1"],
            Kind::Esp8266 => &["main"],
        }
    }
}

fn kind_of(options: &TasmotaBoard) -> Kind {
    match (options.chip, options.layout) {
        (ImageChip::ESP8266, _) => Kind::Esp8266,
        (_, Layout::Safeboot) => Kind::Safeboot,
        (_, Layout::Dual) => Kind::Dual,
    }
}

/// What the updater and the pages need to know of the board.
struct Options {
    mac: MacAddress,
    name: String,
    chip: ImageChip,
    flash_kib: usize,
    web_password: Option<String>,
}

struct Board {
    options: Options,
    full: TasmotaBoard,
    kind: Kind,
    flash: Flash,
    events: Events,
    faults: Faults,
    clock: Clock,
    tls: TlsConnector,
    web: Web,
    /// From which region the running image was started.
    slot: &'static str,
    /// The next upload is a settings file: `/rs` was looked at.
    restoring: bool,
}

/// One boot of an image.
struct Running {
    plug: Plug,
    marks: Marks,
    slot: &'static str,
    booted: Duration,
    /// Whether settings are kept: not by a safeboot, and not once they were replaced.
    keeps: bool,
    /// How an upgrade ended, to be told then.
    report: Option<(String, Duration)>,
    /// When to restart, and how.
    act: Option<(Act, Duration)>,
}

impl Running {
    /// Since this boot.
    fn now(&self, clock: &Clock) -> Duration {
        clock.now().saturating_sub(self.booted)
    }
}

/// How a boot ends.
enum End {
    Restart(&'static str),
    Dead(Death),
}

impl Board {
    fn kind(&self) -> Kind {
        self.kind
    }

    async fn live(&mut self) {
        let mut reason = "Vbat power on reset".to_owned();
        loop {
            let Some((slot, marks)) = self.select() else {
                // No image boots: a brick until somebody comes with a cable.
                return std::future::pending().await;
            };
            match self.run_image(slot, marks, &reason).await {
                End::Restart(why) => {
                    self.events.tell("restarting", json!({ "reason": why }));
                    reason = why.to_owned();
                }
                End::Dead(Death::Power) => {
                    dark(&self.clock).await;
                    reason = "Vbat power on reset".to_owned();
                }
                End::Dead(Death::Crash) => {
                    reason = "{\"Exception\":29,\"Reason\":\"StoreProhibited\",\
                              \"EPC\":\"400d2d62\",\"EXCVADDR\":\"00000000\",\
                              \"CallChain\":[\"400d2d5f\",\"400f1a22\"]}"
                        .to_owned();
                }
            }
        }
    }

    /// What the boot loader starts: the chosen region, else the one beside it.
    fn select(&mut self) -> Option<(&'static str, Marks)> {
        if self.kind == Kind::Esp8266 && self.flash.region("main").starts_with(&[0x1f, 0x8b]) {
            // The boot loader unpacks what was downloaded packed.
            match unpack(self.flash.region("main")) {
                Ok(image) => self.flash.write("main", image),
                Err(fault) => {
                    self.boot_failed("main", &fault.to_string());
                    return None;
                }
            }
        }
        let chosen = self.flash.text("boot").unwrap_or("main").to_owned();
        let mut regions = self.kind.regions().to_vec();
        regions.sort_by_key(|region| *region != chosen);
        for region in regions {
            let image = self.flash.region(region);
            if image.is_empty() && region != chosen {
                continue;
            }
            match verify(image, self.options.chip) {
                Ok(()) => {
                    let marks = Marks::of(image).unwrap_or_else(|| {
                        Marks::guess(image, ImageFamily::Tasmota, self.options.chip)
                    });
                    return Some((region, marks));
                }
                Err(fault) => self.boot_failed(region, &fault.to_string()),
            }
        }
        None
    }

    fn boot_failed(&self, slot: &str, why: &str) {
        self.events
            .tell("boot_failed", json!({ "slot": slot, "why": why }));
    }

    async fn run_image(&mut self, slot: &'static str, marks: Marks, reason: &str) -> End {
        self.slot = slot;
        let boot = self.flash.count_boot();
        self.events.tell(
            "booted",
            json!({
                "slot": slot,
                "version": marks.version,
                "tag": marks.tag,
                "chip": self.options.chip.as_str(),
                "boot": boot,
                "reason": reason,
                "sha256": sha256_hex(self.flash.region(slot)),
            }),
        );
        if let Some(kind) = self.faults.at_boot() {
            tell_fault(&self.events, kind, "boot");
            return End::Dead(death(kind));
        }
        self.clock.wait(BOOT_TIME).await;
        if marks.behaviour == Behaviour::Mute {
            self.events.tell(
                "no_mqtt",
                json!({ "why": "this image never finds the network" }),
            );
            return self.until_accident().await;
        }
        let mut running = self.start(slot, marks, boot, reason);
        match self.unfinished(&mut running).await {
            Some(end) => end,
            None => self.operate(running).await,
        }
    }

    /// Without network, only an accident ends it.
    async fn until_accident(&mut self) -> End {
        let Some(at) = self.clock.at(self.faults.next_time()) else {
            return std::future::pending().await;
        };
        sleep_until(at).await;
        self.accident().unwrap_or(End::Dead(Death::Power))
    }

    fn accident(&mut self) -> Option<End> {
        let kind = self.faults.by_time(self.clock.now())?;
        let point = format!("time:{:.1}", self.clock.now().as_secs_f64());
        tell_fault(&self.events, kind, &point);
        Some(End::Dead(death(kind)))
    }

    fn start(&mut self, slot: &'static str, marks: Marks, boot: u32, reason: &str) -> Running {
        let mut options = self.full.plug.clone();
        options.version = marks.version.clone();
        options.image = marks.tag.clone();
        // The other side runs at our speed, whatever the device's clock does.
        options.connack_timeout = options
            .connack_timeout
            .div_f64(self.full.time_scale.min(1.0));
        let minimal = marks.variant != Variant::Main;
        let size = self.flash.region(slot).len();
        options.board = Some(BoardFacts {
            hardware: self.options.chip.hardware(),
            updates: match (self.kind, slot) {
                (Kind::Safeboot, "safeboot") => Updates::Safeboot,
                (Kind::Safeboot, _) => Updates::MainOfTwo,
                _ => Updates::Simple,
            },
            minimal,
            boot_count: boot,
            restart_reason: reason.to_owned(),
            flash_size: self.options.flash_kib,
            program_size: size / 1024,
            free: self.room(self.other_slot(slot)) / 1024,
        });
        let utc = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let kept = self.flash.setting("kept").cloned();
        let mut plug = Plug::boot(options, kept.as_ref(), self.full.tls.is_some(), utc);
        if kept.is_none() && self.full.checks_referer {
            plug.switch_option(128, false);
        }
        let why = if plug.target().0.is_empty() {
            Some("MqttHost is empty")
        } else if plug.is_on_option(103) && !marks.tls {
            // tasmota.md §2.5: such an image returns before it connects.
            Some("SetOption103 asks for TLS, and this image has none for MQTT")
        } else {
            None
        };
        if let Some(why) = why {
            plug.leave_mqtt();
            self.events.tell("no_mqtt", json!({ "why": why }));
        }
        Running {
            plug,
            slot,
            booted: self.clock.now(),
            keeps: !(minimal && self.kind == Kind::Safeboot),
            marks,
            report: None,
            act: None,
        }
    }

    /// An upgrade that the last boot left to this image.
    async fn unfinished(&mut self, running: &mut Running) -> Option<End> {
        let minimal = running.marks.variant == Variant::Minimal;
        let (flag, to) = match self.kind {
            Kind::Safeboot if running.slot == "safeboot" => ("otal", "main"),
            Kind::Esp8266 if minimal => ("minimal_next", "main"),
            _ => return None,
        };
        if !self.flash.flag(flag) {
            return None;
        }
        // Consumed before it is acted on: after a power cut nobody goes on by himself.
        self.flash.remove(flag);
        let url = running.plug.ota_url().to_owned();
        let marks = running.marks.clone();
        match self.upgrade(&url, to, &marks).await {
            Ok(()) => {
                self.result("Successful. Restarting");
                Some(End::Restart("Software reset CPU"))
            }
            Err(Failed::Dead(death)) => Some(End::Dead(death)),
            Err(Failed::Text(why)) => {
                let text = format!("Failed {why}");
                self.result(&text);
                running.report = Some((text, Duration::from_secs(5)));
                None
            }
        }
    }

    fn result(&self, text: &str) {
        self.events.tell("upgrade_result", json!({ "text": text }));
    }

    /// The time between two boots: MQTT, web pages, timers.
    async fn operate(&mut self, mut running: Running) -> End {
        let mut socket: Option<Box<dyn Socket>> = None;
        let mut received = Vec::new();
        let mut chunk = [0; 2048];
        let crash = (running.marks.behaviour == Behaviour::Crash).then_some(CRASH_AFTER);
        loop {
            let now = running.now(&self.clock);
            running.plug.handle_timeout(now);
            if running.plug.is_connected()
                && let Some((text, _)) = running.report.take_if(|(_, at)| *at <= now)
            {
                running.plug.report_upgrade(&text, now);
            }
            self.carry_out(&mut running, &mut socket, &mut received)
                .await;
            self.keep(&running);
            if let Some(act) = running.plug.poll_act() {
                match self.act(act, &mut running).await {
                    Some(end) => return end,
                    None => continue,
                }
            }
            if let Some((act, _)) = running.act.take_if(|(_, at)| *at <= now) {
                match self.act(act, &mut running).await {
                    Some(end) => return end,
                    None => continue,
                }
            }
            if crash.is_some_and(|at| at <= now) {
                self.events
                    .tell("fault", json!({ "kind": "crash", "point": "image" }));
                return End::Dead(Death::Crash);
            }
            if let Some(end) = self.accident() {
                return end;
            }
            let timers = [
                running.plug.poll_timeout(),
                running.report.as_ref().map(|(_, at)| *at),
                running.act.as_ref().map(|(_, at)| *at),
                crash,
            ];
            // What is due already and could not be done waits for something else to happen.
            let timers = timers.into_iter().flatten();
            let next = timers
                .map(|at| at.max(now + Duration::from_millis(5)))
                .min()
                .and_then(|at| at.checked_add(running.booted));
            let next = [self.clock.at(next), self.clock.at(self.faults.next_time())];
            let wake_at = next.into_iter().flatten().min();
            let read = async {
                match &mut socket {
                    Some(socket) => socket.read(&mut chunk).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = at(wake_at) => {}
                read = read => match read {
                    Ok(read @ 1..) => {
                        received.extend_from_slice(&chunk[..read]);
                        self.take_packets(&mut running, &mut received);
                    }
                    _ => {
                        let now = running.now(&self.clock);
                        running.plug.handle_failure(Failure::Lost, now);
                    }
                },
                Some(request) = self.web.requests.recv() => {
                    if let Some(act) = self.page(&mut running, request) {
                        running.act = Some((act, running.now(&self.clock) + pages::RESTART_DELAY));
                    }
                }
            }
        }
    }

    fn keep(&mut self, running: &Running) {
        if running.keeps {
            self.flash.set("kept", running.plug.kept());
        }
    }

    /// What a command wants of the board.
    async fn act(&mut self, act: Act, running: &mut Running) -> Option<End> {
        let url = running.plug.ota_url().to_owned();
        let marks = running.marks.clone();
        let (url, to) = match act {
            Act::Restart => return Some(End::Restart("Software reset CPU")),
            Act::Switch => {
                let to = self.other_slot(running.slot);
                self.flash.set("boot", to);
                self.events.tell("switching", json!({ "to": to }));
                return Some(End::Restart("Software reset CPU"));
            }
            Act::Upgrade if self.kind == Kind::Safeboot && running.slot == "main" => {
                // The main image makes no request of its own (tasmota.md §2.2).
                self.flash.set("otal", true);
                self.flash.set("boot", "safeboot");
                self.events.tell("switching", json!({ "to": "safeboot" }));
                return Some(End::Restart("Software reset CPU"));
            }
            Act::Upgrade => {
                if marks.variant == Variant::Main {
                    self.flash.remove("minimal_next");
                }
                (url, self.other_slot(running.slot))
            }
            Act::UpgradeSafeboot => (names::beside(&url, "safeboot"), "safeboot"),
        };
        let text = match self.upgrade(&url, to, &marks).await {
            Ok(()) => "Successful. Restarting".to_owned(),
            Err(Failed::Dead(death)) => return Some(End::Dead(death)),
            Err(Failed::Text(why)) => format!("Failed {why}"),
        };
        self.result(&text);
        let now = running.now(&self.clock);
        if text.starts_with("Successful") {
            running.act = Some((Act::Restart, now + Duration::from_secs(3)));
        }
        running.report = Some((text, now + Duration::from_secs(1)));
        None
    }

    /// Where a new image goes while the one in `slot` runs.
    fn other_slot(&self, slot: &str) -> &'static str {
        match (self.kind, slot) {
            (Kind::Safeboot, "main") => "safeboot",
            (Kind::Dual, "app0") => "app1",
            (Kind::Dual, _) => "app0",
            _ => "main",
        }
    }

    /// How many bytes an image in that region may have.
    fn room(&self, region: &str) -> usize {
        match (self.kind, region) {
            (Kind::Safeboot, "safeboot") => 832 * 1024,
            (Kind::Safeboot, _) => 2880 * 1024,
            (Kind::Dual, _) => 1856 * 1024,
            (Kind::Esp8266, _) => {
                // A megabyte of the flash is reachable as program; what lies there leaves the rest.
                let area = if self.options.flash_kib > 1024 {
                    2048
                } else {
                    self.options.flash_kib - 20
                };
                let sketch = self.flash.region("main").len().next_multiple_of(4096);
                (area * 1024).saturating_sub(sketch).min(1024 * 1024)
            }
        }
    }

    fn running_image(&self) -> Vec<u8> {
        self.flash.region(self.slot).to_vec()
    }

    /// Makes a written image the one to boot.
    fn activate(&mut self, to: &'static str) {
        if self.kind != Kind::Esp8266 {
            self.flash.set("boot", to);
        }
        self.tell_installed(to);
    }

    fn tell_installed(&self, to: &str) {
        let image = self.flash.region(to);
        let unpacked = unpack(image);
        let marks = Marks::of(unpacked.as_deref().unwrap_or(image));
        self.events.tell(
            "installed",
            json!({
                "slot": to,
                "version": marks.map(|marks| marks.version),
                "sha256": sha256_hex(image),
            }),
        );
    }

    /// Does everything that the plug asks for.
    async fn carry_out(
        &mut self,
        running: &mut Running,
        socket: &mut Option<Box<dyn Socket>>,
        received: &mut Vec<u8>,
    ) {
        let mut out = Vec::new();
        loop {
            let output = running.plug.poll_output();
            let ends = matches!(output, None | Some(Output::Close));
            if ends && let Some(socket) = socket.as_mut() {
                let written = async {
                    socket.write_all(&out).await?;
                    socket.flush().await
                };
                if written.await.is_err() && output.is_none() {
                    let now = running.now(&self.clock);
                    running.plug.handle_failure(Failure::Lost, now);
                    out.clear();
                    continue;
                }
                out.clear();
            }
            match output {
                None => return,
                Some(Output::Close) => *socket = None,
                Some(Output::Send(bytes)) => out.extend_from_slice(&bytes),
                Some(Output::Note(note)) => self.tell(&note),
                Some(Output::Dial {
                    host,
                    port,
                    timeout,
                }) => {
                    let tls = running.plug.is_on_option(103).then_some(&self.tls);
                    self.events.tell(
                        "connecting",
                        json!({ "host": host, "port": port, "tls": tls.is_some() }),
                    );
                    let dialed = dial(&host, port, timeout, tls).await;
                    let now = running.now(&self.clock);
                    match dialed {
                        Ok(opened) => {
                            *socket = Some(opened);
                            received.clear();
                            running.plug.handle_open(now);
                        }
                        Err(error) => {
                            let failure = match &error {
                                DialError::Dns(_) => Failure::Dns,
                                DialError::Connect(_) => Failure::Connect,
                            };
                            let why = error.words();
                            self.events
                                .tell("failed", json!({ "what": "connect", "why": why }));
                            running.plug.handle_failure(failure, now);
                        }
                    }
                }
            }
        }
    }

    fn take_packets(&self, running: &mut Running, received: &mut Vec<u8>) {
        let now = running.now(&self.clock);
        let mut used = 0;
        loop {
            match decode(&received[used..], Version::V311, limits::MAX_PACKET) {
                Ok(Decoded::Packet(packet, length)) => {
                    used += length;
                    running.plug.handle_packet(&packet, now);
                }
                Ok(Decoded::Incomplete(_)) => break,
                Err(_) => {
                    running.plug.handle_failure(Failure::Lost, now);
                    used = received.len();
                    break;
                }
            }
        }
        received.drain(..used);
    }

    fn tell(&self, note: &Note) {
        let (name, fields) = match note {
            Note::Connected { client_id } => ("connected", json!({ "client_id": client_id })),
            Note::Failed {
                failure,
                was_connected,
                ..
            } => {
                let name = if *was_connected {
                    "disconnected"
                } else {
                    "connect_failed"
                };
                (name, json!({ "why": failure.to_string() }))
            }
            Note::Published {
                topic,
                payload,
                retain,
            } => (
                "published",
                json!({ "topic": topic, "payload": payload, "retain": retain }),
            ),
            Note::Command { topic, payload } => (
                "command",
                json!({ "topic": topic, "payload": payload, "by": "mqtt" }),
            ),
            other => (
                "failed",
                json!({ "what": "mqtt", "why": other.to_string() }),
            ),
        };
        self.events.tell(name, fields);
    }
}

fn death(kind: FaultKind) -> Death {
    match kind {
        FaultKind::Crash => Death::Crash,
        _ => Death::Power,
    }
}

/// Ready at `instant`; never without one.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// From power to Wi-Fi.
const BOOT_TIME: Duration = Duration::from_secs(3);
/// When an image that crashes does, from the network on.
const CRASH_AFTER: Duration = Duration::from_secs(6);
