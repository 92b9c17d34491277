//! ESPEasy: MQTT as its controller C005 speaks it, web pages, and firmware that has to be pushed
//! to it (espeasy.md §1, §5, §6).

use super::clock::Clock;
use super::events::Events;
use super::fault::{Fault, FaultKind, Faults};
use super::flash::Flash;
use super::link::{Link, LinkOptions, Message};
use super::tasmota::BoardError;
use super::tls::Tls;
use super::update::{dark, hex, md5_hex, sha256_hex, tell_downloaded, tell_fault};
use super::web::{Web, WebReply, WebRequest};
use crate::image::{Behaviour, ImageChip, ImageFamily, Marks, unpack, verify};
use crate::tasmota::{MacAddress, Trust};
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A pretend board with ESPEasy.
#[derive(Debug, Clone)]
pub struct EspEasyBoard {
    /// `sysname`.
    pub name: String,
    /// Unit number.
    pub unit: u8,
    /// Hardware address.
    pub mac: MacAddress,
    /// Host of the broker; empty for none.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Client id. None: `<sysname>_<unit>`.
    pub client_id: Option<String>,
    /// TLS of the controller.
    pub tls: Option<Trust>,
    /// Its chip.
    pub chip: ImageChip,
    /// What a blank flash is filled with.
    pub image: Vec<u8>,
    /// Password of the web pages; the user is `admin`.
    pub web_password: Option<String>,
    /// Port of the web pages; 0 takes any free one.
    pub web_port: u16,
    /// Folder of the flash; none keeps it in memory.
    pub flash_folder: Option<PathBuf>,
    /// Every wait of the device is multiplied with it. Default 1.
    pub time_scale: f64,
    /// Accidents.
    pub faults: Vec<Fault>,
}

impl EspEasyBoard {
    /// An ESP32 with this image, in the clear.
    pub fn new(name: impl Into<String>, host: impl Into<String>, image: Vec<u8>) -> Self {
        EspEasyBoard {
            name: name.into(),
            unit: 1,
            mac: MacAddress::pretend(1),
            host: host.into(),
            port: 1883,
            username: None,
            password: None,
            client_id: None,
            tls: None,
            chip: ImageChip::ESP32,
            image,
            web_password: None,
            web_port: 0,
            flash_folder: None,
            time_scale: 1.0,
            faults: Vec::new(),
        }
    }
}

/// Runs the board until `stop` is ready.
pub async fn run(
    options: EspEasyBoard,
    events: Events,
    stop: impl Future<Output = ()>,
) -> Result<(), BoardError> {
    let mut flash = Flash::open(options.flash_folder.clone(), &SLOTS)?;
    if flash.is_blank() {
        flash.write("app0", options.image.clone());
        flash.set("boot", "app0");
    }
    let web = Web::open(options.web_port, &events)
        .await
        .map_err(|error| BoardError::Web {
            port: options.web_port,
            error,
        })?;
    let mut board = Board {
        faults: Faults::new(&options.faults),
        clock: Clock::new(options.time_scale),
        options,
        flash,
        events,
        web,
        marks: None,
        booted: Instant::now(),
        reason: "Cold Boot",
    };
    tokio::select! {
        () = stop => {}
        () = board.live() => {}
    }
    board.events.tell(
        "stopped",
        json!({ "boots": board.flash.number("boot_count") }),
    );
    Ok(())
}

struct Board {
    options: EspEasyBoard,
    flash: Flash,
    events: Events,
    web: Web,
    faults: Faults,
    clock: Clock,
    marks: Option<Marks>,
    booted: Instant,
    reason: &'static str,
}

impl Board {
    async fn live(&mut self) {
        loop {
            let Some(slot) = self.select() else {
                return std::future::pending().await;
            };
            let marks = self.read_marks(slot);
            let boot = self.flash.count_boot();
            self.events.tell(
                "booted",
                json!({
                    "slot": slot,
                    "version": marks.version,
                    "tag": marks.tag,
                    "chip": self.options.chip.as_str(),
                    "boot": boot,
                    "reason": self.reason,
                    "sha256": sha256_hex(self.flash.region(slot)),
                }),
            );
            self.booted = Instant::now();
            self.marks = Some(marks);
            if let Some(kind) = self.faults.at_boot() {
                self.die(kind, "boot").await;
                continue;
            }
            self.clock.wait(BOOT_TIME).await;
            self.operate().await;
        }
    }

    /// The boot loader: the chosen slot, else the other one.
    fn select(&mut self) -> Option<&'static str> {
        let boot = self.flash.text("boot").unwrap_or("app0").to_owned();
        let mut slots = SLOTS;
        slots.sort_by_key(|slot| *slot != boot);
        for slot in slots {
            let image = self.flash.region(slot);
            if image.is_empty() {
                continue;
            }
            match verify(image, self.options.chip) {
                Ok(()) => return Some(slot),
                Err(fault) => {
                    let why = fault.to_string();
                    self.events
                        .tell("boot_failed", json!({ "slot": slot, "why": why }));
                }
            }
        }
        None
    }

    fn read_marks(&self, slot: &str) -> Marks {
        let image = self.flash.region(slot);
        Marks::of(image)
            .unwrap_or_else(|| Marks::guess(image, ImageFamily::EspEasy, self.options.chip))
    }

    async fn die(&mut self, kind: FaultKind, point: &str) {
        tell_fault(&self.events, kind, point);
        self.reason = if kind == FaultKind::Crash {
            "Exception"
        } else {
            dark(&self.clock).await;
            "Cold Boot"
        };
    }

    /// From network to restart.
    async fn operate(&mut self) {
        let behaviour = self.marks.as_ref().map(|marks| marks.behaviour);
        let mut link: Option<Link> = None;
        let has_mqtt = !self.options.host.is_empty() && behaviour != Some(Behaviour::Mute);
        let mut wait = Duration::from_millis(100);
        let mut dial_at = has_mqtt.then(Instant::now);
        let mut restart_at = (behaviour == Some(Behaviour::Crash))
            .then(|| Instant::now() + self.clock.real(CRASH_AFTER));
        self.reason = if restart_at.is_some() {
            "Exception"
        } else {
            "Soft Reboot"
        };
        let trouble_at = self.clock.at(self.faults.next_time());
        loop {
            let answered = behaviour != Some(Behaviour::Mute);
            tokio::select! {
                () = at(restart_at) => {
                    self.events.tell("restarting", json!({ "reason": self.reason }));
                    return;
                }
                () = at(trouble_at) => {
                    if let Some(kind) = self.faults.by_time(self.clock.now()) {
                        self.die(kind, "time").await;
                        return;
                    }
                }
                () = at(dial_at), if link.is_none() => {
                    dial_at = None;
                    match self.connect().await {
                        Ok(opened) => {
                            wait = Duration::from_millis(100);
                            link = Some(opened);
                        }
                        Err(why) => {
                            self.events.tell("connect_failed", json!({ "why": why }));
                            // 100 ms, then half a second more each time, up to 30 s.
                            wait = (wait + Duration::from_millis(500)).min(Duration::from_secs(30));
                            dial_at = Some(Instant::now() + self.clock.real(wait));
                        }
                    }
                }
                message = next(&mut link) => match message {
                    Ok(message) => self.message(&mut link, message).await,
                    Err(error) => {
                        self.events.tell("disconnected", json!({ "why": error.to_string() }));
                        link = None;
                        dial_at = Some(Instant::now() + self.clock.real(wait));
                    }
                },
                Some(request) = self.web.requests.recv(), if answered => {
                    match self.page(request) {
                        Then::Stay => {}
                        Then::Restart => {
                            restart_at = Some(Instant::now() + self.clock.real(RESTART_DELAY));
                        }
                        Then::Die(kind) => {
                            self.die(kind, "download").await;
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<Link, String> {
        let options = &self.options;
        let tls = options.tls.clone().map(Tls::Light);
        self.events.tell(
            "connecting",
            json!({ "host": options.host, "port": options.port, "tls": tls.is_some() }),
        );
        let client_id = options
            .client_id
            .clone()
            .unwrap_or_else(|| format!("{}_{}", options.name.replace(' ', "_"), options.unit));
        let lwt = self.status_topic("LWT");
        let mut link = Link::open(&LinkOptions {
            host: options.host.clone(),
            port: options.port,
            tls,
            client_id: client_id.clone(),
            username: options.username.clone(),
            password: options.password.clone(),
            keep_alive: 10,
            clean: false,
            will: Some((lwt.clone(), "Connection Lost".into(), true)),
            // `Client Timeout` is 100 ms as it comes; everybody sets a second.
            connect_wait: Duration::from_secs(1),
            answer_wait: Duration::from_secs(4),
        })
        .await?;
        self.events
            .tell("connected", json!({ "client_id": client_id }));
        let subscribed = async {
            link.publish(&lwt, "Connected", true).await?;
            link.subscribe(&format!("{}/#", self.options.name)).await
        };
        subscribed.await.map_err(|error| error.to_string())?;
        self.tell_published(&lwt, "Connected", true);
        let value = format!("{}/bme/Temperature", self.options.name);
        let _ = link.publish(&value, "21.50", false).await;
        self.tell_published(&value, "21.50", false);
        Ok(link)
    }

    fn tell_published(&self, topic: &str, payload: &str, retain: bool) {
        self.events.tell(
            "published",
            json!({ "topic": topic, "payload": payload, "retain": retain }),
        );
    }

    /// `<sysname>/status/<name>`.
    fn status_topic(&self, name: &str) -> String {
        format!("{}/status/{name}", self.options.name)
    }

    /// `<any>/cmd` and its relatives; the node's own messages come back, too.
    async fn message(&mut self, link: &mut Option<Link>, message: Message) {
        let Message { topic, payload } = message;
        let mut parts = topic.rsplit('/');
        let last = parts.next().unwrap_or_default();
        let before = parts.next().unwrap_or_default();
        let command = if last == "cmd" {
            Some(payload.clone())
        } else if last.parse::<u32>().is_ok() && payload.parse::<f64>().is_ok() {
            Some(format!("{before},{last},{payload}"))
        } else {
            None
        };
        let Some(command) = command else {
            return;
        };
        self.events
            .tell("command", json!({ "command": command, "by": "mqtt" }));
        if let Some(link) = link {
            let topic = self.status_topic("");
            let topic = topic.trim_end_matches('/');
            let answer = json!({ "log": command, "state": "ok" }).to_string();
            let _ = link.publish(topic, &answer, false).await;
            self.tell_published(topic, &answer, false);
        }
    }

    fn page(&mut self, request: WebRequest) -> Then {
        let password = self.options.web_password.clone();
        let may = password.is_none_or(|password| request.is_login("admin", &password));
        let (reply, then) = if may {
            self.reply(&request)
        } else {
            let reply = WebReply::new(401, "text/plain", "Login required");
            (
                reply.with("WWW-Authenticate", "Basic realm=\"ESPEasy\""),
                Then::Stay,
            )
        };
        request.answer(&self.events, Some(reply));
        then
    }

    fn reply(&mut self, asked: &WebRequest) -> (WebReply, Then) {
        let stay = |reply| (reply, Then::Stay);
        match (asked.method.as_str(), asked.path.as_str()) {
            (_, "/json") => stay(WebReply::json(self.json().to_string())),
            (_, "/sysinfo_json") => stay(WebReply::json(self.sysinfo().to_string())),
            ("GET", "/") => stay(WebReply::html(format!(
                "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>ESP Easy Mega: {0}\
                 </h1></body></html>",
                self.options.name
            ))),
            ("GET", "/update") => stay(WebReply::html(
                "<html><form enctype='multipart/form-data' method='post'><input type='file' \
                 name='firmware'></form></html>",
            )),
            ("POST", "/update") => self.update(asked),
            ("GET", "/download") => {
                let name = &self.options.name;
                let file = format!("config_{name}_U{}_Build20116.dat", self.options.unit);
                let mut bytes = SETTINGS_MAGIC.to_vec();
                bytes.extend_from_slice(self.settings().to_string().as_bytes());
                bytes.resize(bytes.len().max(2048), 0);
                stay(WebReply::new(200, "application/octet-stream", bytes).with(
                    "Content-Disposition",
                    format!("attachment; filename={file}"),
                ))
            }
            ("POST", "/upload") => self.restore(asked),
            (_, "/control") => {
                let command = asked.query("cmd").unwrap_or_default();
                self.events
                    .tell("command", json!({ "command": command, "by": "web" }));
                let restarts = command.eq_ignore_ascii_case("reboot");
                let then = if restarts { Then::Restart } else { Then::Stay };
                (WebReply::html("OK"), then)
            }
            _ => stay(WebReply::new(404, "text/plain", "Not Found")),
        }
    }

    /// `/update`: it answers 200 whatever happens, and tells by its text.
    fn update(&mut self, asked: &WebRequest) -> (WebReply, Then) {
        let failed = |why: &str| (WebReply::html(format!("Update error: {why}")), Then::Stay);
        let upload = asked.upload().filter(|upload| upload.field == "firmware");
        let Some(upload) = upload.filter(|upload| !upload.bytes.is_empty()) else {
            return failed("No file");
        };
        let total = upload.bytes.len();
        let from = self.flash.text("boot").unwrap_or("app0").to_owned();
        let to = if from == "app0" { "app1" } else { "app0" };
        for part in (0..=total).step_by(4096) {
            if let Some(kind) = self.faults.in_download(part as u64, total as u64) {
                self.flash.write(to, upload.bytes[..part].to_vec());
                let dies = matches!(kind, FaultKind::Power | FaultKind::Crash);
                return if dies {
                    (WebReply::html(""), Then::Die(kind))
                } else {
                    failed("Stream Read Timeout")
                };
            }
        }
        let esp8266 = self.options.chip == ImageChip::ESP8266;
        let packed = esp8266 && upload.bytes.starts_with(&[0x1f, 0x8b]);
        if upload.bytes[0] != 0xe9 && !packed {
            self.events.tell(
                "failed",
                json!({ "what": "image", "why": "Wrong Magic Byte" }),
            );
            return failed("Wrong Magic Byte");
        }
        if total > ROOM {
            self.events.tell(
                "failed",
                json!({ "what": "image", "why": "Not Enough Space" }),
            );
            return failed("Not Enough Space");
        }
        let image = if packed {
            unpack(&upload.bytes).unwrap_or_default()
        } else {
            upload.bytes
        };
        let checked = verify(&image, self.options.chip);
        tell_downloaded(&self.events, to, &image);
        self.flash.write(to, image);
        if let Some(kind) = self.faults.at_installed() {
            return (WebReply::html(""), Then::Die(kind));
        }
        if let Err(fault) = checked {
            let why = fault.to_string();
            self.events
                .tell("failed", json!({ "what": "image", "why": why }));
            return failed("Could Not Activate The Firmware");
        }
        self.flash.set("boot", to);
        let marks = self.read_marks(to);
        self.events.tell(
            "installed",
            json!({
                "slot": to,
                "version": marks.version,
                "sha256": sha256_hex(self.flash.region(to)),
            }),
        );
        (
            WebReply::html("Update Success! Rebooting..."),
            Then::Restart,
        )
    }

    /// `/upload`: a settings file replaces the settings, and a restart takes them.
    fn restore(&mut self, asked: &WebRequest) -> (WebReply, Then) {
        let Some(upload) = asked.upload() else {
            return (WebReply::html("Error: No filename!"), Then::Stay);
        };
        let kept = upload.bytes.strip_prefix(SETTINGS_MAGIC).and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == 0);
            serde_json::from_slice::<Value>(&rest[..end.unwrap_or(rest.len())]).ok()
        });
        let Some(kept) = kept else {
            return (WebReply::html("Upload file invalid!"), Then::Stay);
        };
        self.events.tell("restored", json!({ "settings": kept }));
        if let Some(name) = kept["name"].as_str() {
            self.options.name = name.to_owned();
        }
        self.flash.set("kept", kept);
        (
            WebReply::html("Upload OK! You may need to reboot to apply all settings..."),
            Then::Stay,
        )
    }

    fn settings(&self) -> Value {
        json!({
            "name": self.options.name,
            "unit": self.options.unit,
            "host": self.options.host,
            "port": self.options.port,
        })
    }

    fn stem(&self) -> (String, String) {
        let marks = self.marks.as_ref();
        let version = marks.map_or("", |marks| marks.version.as_str()).to_owned();
        let tag = marks.map_or("", |marks| marks.tag.as_str());
        (format!("ESP_Easy_mega_{version}_{tag}"), version)
    }

    fn mac(&self) -> String {
        self.options
            .mac
            .0
            .map(|byte| format!("{byte:02X}"))
            .join(":")
    }

    fn minutes(&self) -> u64 {
        self.booted.elapsed().as_secs() / 60
    }

    /// `/json` (espeasy.md §5).
    fn json(&self) -> Value {
        let (stem, version) = self.stem();
        json!({
            "System": {
                "Load": 8.1,
                "Load LC": 4040,
                "Build": 20116,
                "Git Build": version,
                "System Libraries": "ESP32 SDK v5.3.3",
                "Plugin Count": 60,
                "Plugin Description": "[Normal]",
                "Build Time": "Nov 20 2026 12:34:56",
                "Binary Filename": format!("{stem}.bin"),
                "Local Time": "2026-11-22 12:00:00",
                "Unit Number": self.options.unit,
                "Unit Name": self.options.name,
                "Uptime": self.minutes(),
                "Last Boot Cause": self.reason,
                "Reset Reason": self.reason,
                "ESP Chip Model": self.options.chip.hardware_name(),
                "ESP Chip Revision": "0.4",
                "Flash Chip Real Size": 4 * 1024 * 1024,
                "Free RAM": 180_000,
            },
            "WiFi": {
                "Hostname": self.options.name,
                "IP Address": "127.0.0.1",
                "STA MAC": self.mac(),
                "RSSI": -62,
            },
            "nodes": [],
            "Sensors": [],
            "TTL": 60_000,
        })
    }

    /// `/sysinfo_json`.
    fn sysinfo(&self) -> Value {
        let (stem, version) = self.stem();
        let slot = self.flash.text("boot").unwrap_or("app0");
        let image = self.flash.region(slot);
        json!({
            "general": {
                "unit": self.options.unit,
                "time": "2026-11-22 12:00:00",
                "uptime": format!("0 days 0 hours {} minutes", self.minutes()),
            },
            "mem": { "free": 180_000 },
            "boot": {
                "last_cause": self.reason,
                "counter": self.flash.number("boot_count"),
                "reset_reason": self.reason,
            },
            "wifi": { "ip": "127.0.0.1", "sta_mac": self.mac(), "ssid": "home", "rssi": -62 },
            "firmware": {
                "build": "20116",
                "notes": "- Mega",
                "git_version": version,
                "md5": md5_hex(image),
                "md5_check": "passed",
                "build_time": "Nov 20 2026 12:34:56",
                "filename": format!("{stem}.bin"),
                "build_platform": "Linux",
            },
            "esp": {
                "chip_id": hex(&self.options.mac.0[3..]),
                "board": self.options.chip.hardware_name(),
                "chip_revision": "0.4",
                "cores": 1,
            },
            "storage": {
                "chip_id": "16405E",
                "flash_size_real": 4096,
                "sketch_size": image.len() / 1024,
                "sketch_max_size": ROOM / 1024,
            },
        })
    }
}

/// What follows a page.
enum Then {
    Stay,
    Restart,
    Die(FaultKind),
}

async fn next(link: &mut Option<Link>) -> std::io::Result<Message> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

const SLOTS: [&str; 2] = ["app0", "app1"];
/// Of an application slot of the 4M316k table.
const ROOM: usize = 1856 * 1024;
/// From power to Wi-Fi.
const BOOT_TIME: Duration = Duration::from_secs(3);
/// From a page that restarts to the restart.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// When an image that crashes does.
const CRASH_AFTER: Duration = Duration::from_secs(6);
/// What a settings file begins with.
const SETTINGS_MAGIC: &[u8] = b"SPESPEASY1\n";
