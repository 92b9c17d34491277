//! ESPHome: MQTT with its birth, will and discover topics, and an update entity that polls a
//! manifest and downloads by HTTP (espeasy.md §7).

use super::clock::Clock;
use super::events::Events;
use super::fault::{Fault, FaultKind, Faults};
use super::flash::Flash;
use super::http::{self, Answer, Url, Waits};
use super::link::{Link, LinkOptions, Message};
use super::slots;
use super::tasmota::BoardError;
use super::tls::Tls;
use super::update::{
    Death, Download, dark, download, md5_hex, tell_answer, tell_downloaded, tell_fault,
};
use crate::image::{Behaviour, ImageChip, ImageFamily, Marks};
use crate::tasmota::MacAddress;
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// A pretend board with ESPHome.
#[derive(Debug, Clone)]
pub struct EspHomeBoard {
    /// Node name; topics begin with it.
    pub name: String,
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
    /// Client id. None: name and address.
    pub client_id: Option<String>,
    /// Whether MQTT goes over TLS.
    pub mqtt_tls: bool,
    /// Whom it trusts, over https and MQTT.
    pub tls: Tls,
    /// `source` of the update entity; none has no such entity.
    pub manifest: Option<String>,
    /// Between two looks at it. Default 6 h.
    pub every: Duration,
    /// Installs what it finds by itself; else it waits for `INSTALL`.
    pub installs: bool,
    /// Its chip.
    pub chip: ImageChip,
    /// What a blank flash is filled with.
    pub image: Vec<u8>,
    /// Folder of the flash; none keeps it in memory.
    pub flash_folder: Option<PathBuf>,
    /// Every wait of the device is multiplied with it, but not `every`. Default 1.
    pub time_scale: f64,
    /// Accidents.
    pub faults: Vec<Fault>,
}

impl EspHomeBoard {
    /// An ESP32-C3 without a broker.
    pub fn new(name: impl Into<String>, image: Vec<u8>) -> Self {
        EspHomeBoard {
            name: name.into(),
            mac: MacAddress::pretend(1),
            host: String::new(),
            port: 1883,
            username: None,
            password: None,
            client_id: None,
            mqtt_tls: false,
            tls: Tls::Anyone,
            manifest: None,
            every: Duration::from_secs(6 * 3600),
            installs: true,
            chip: ImageChip::ESP32C3,
            image,
            flash_folder: None,
            time_scale: 1.0,
            faults: Vec::new(),
        }
    }
}

/// Runs the board until `stop` is ready.
pub async fn run(
    options: EspHomeBoard,
    events: Events,
    stop: impl Future<Output = ()>,
) -> Result<(), BoardError> {
    options.tls.connector().map_err(BoardError::Tls)?;
    let mut flash = Flash::open(options.flash_folder.clone(), &slots::SLOTS)?;
    slots::fill(&mut flash, &options.image);
    let mut board = Board {
        faults: Faults::new(&options.faults),
        clock: Clock::new(options.time_scale),
        options,
        flash,
        events,
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
    options: EspHomeBoard,
    flash: Flash,
    events: Events,
    faults: Faults,
    clock: Clock,
}

/// What a manifest offers this board.
struct Offered {
    version: String,
    url: Url,
    md5: String,
}

/// Why there is no new image.
enum Stopped {
    Failed(String),
    Dead(Death),
}

impl Board {
    async fn live(&mut self) {
        let mut reason = "power on";
        loop {
            let (chip, family) = (self.options.chip, ImageFamily::EspHome);
            let booted = slots::boot(&mut self.flash, chip, family, &self.events, reason);
            let Some((_, marks)) = booted else {
                return std::future::pending().await;
            };
            let end = match self.faults.at_boot() {
                Some(kind) => {
                    tell_fault(&self.events, kind, "boot");
                    Some(death(kind))
                }
                None => self.operate(&marks).await,
            };
            reason = match end {
                None => "software reset",
                Some(Death::Crash) => "exception",
                Some(Death::Power) => {
                    dark(&self.clock).await;
                    "power on"
                }
            };
            self.events.tell("restarting", json!({ "reason": reason }));
        }
    }

    /// One boot; `None` for a restart on purpose.
    async fn operate(&mut self, marks: &Marks) -> Option<Death> {
        self.clock.wait(BOOT_TIME).await;
        let mute = marks.behaviour == Behaviour::Mute;
        let crash_at = (marks.behaviour == Behaviour::Crash)
            .then(|| Instant::now() + self.clock.real(CRASH_AFTER));
        let accident_at = self.clock.at(self.faults.next_time());
        let mut link: Option<Link> = None;
        let mut offered: Option<Offered> = None;
        let mut dial_at = (!self.options.host.is_empty() && !mute).then(Instant::now);
        let mut look_at = (self.options.manifest.is_some() && !mute).then(Instant::now);
        loop {
            tokio::select! {
                () = at(crash_at) => return Some(Death::Crash),
                () = at(accident_at) => {
                    let kind = self.faults.by_time(self.clock.now()).unwrap_or(FaultKind::Power);
                    tell_fault(&self.events, kind, "time");
                    return Some(death(kind));
                }
                () = at(dial_at), if link.is_none() => {
                    dial_at = Some(Instant::now() + self.clock.real(RECONNECT));
                    match self.connect(marks).await {
                        Ok(opened) => {
                            // Safe mode counts a boot as good when it has lasted; a connection is
                            // our sign of that.
                            slots::confirm(&mut self.flash, &self.events, &marks.version);
                            link = Some(opened);
                        }
                        Err(why) => self.events.tell("connect_failed", json!({ "why": why })),
                    }
                }
                message = next(&mut link) => match message {
                    Ok(message) => {
                        let installs = self.message(&mut link, marks, message).await;
                        if let Some(offer) = offered.take_if(|_| installs) {
                            match self.install(&offer).await {
                                Ok(()) => return None,
                                Err(Stopped::Dead(death)) => return Some(death),
                                Err(Stopped::Failed(why)) => self.failed("upgrade", &why),
                            }
                        }
                    }
                    Err(error) => {
                        let why = error.to_string();
                        self.events.tell("disconnected", json!({ "why": why }));
                        link = None;
                        dial_at = Some(Instant::now() + self.clock.real(RECONNECT));
                    }
                },
                () = at(look_at) => {
                    look_at = Some(Instant::now() + self.options.every);
                    match self.look(marks).await {
                        Err(why) => self.failed("manifest", &why),
                        Ok(found) => {
                            slots::confirm(&mut self.flash, &self.events, &marks.version);
                            self.report(&mut link, marks, found.as_ref()).await;
                            if let Some(offer) = &found
                                && self.options.installs
                            {
                                match self.install(offer).await {
                                    Ok(()) => return None,
                                    Err(Stopped::Dead(death)) => return Some(death),
                                    Err(Stopped::Failed(why)) => self.failed("upgrade", &why),
                                }
                            }
                            offered = found;
                        }
                    }
                }
            }
        }
    }

    fn failed(&self, what: &str, why: &str) {
        self.events
            .tell("failed", json!({ "what": what, "why": why }));
    }

    async fn connect(&self, marks: &Marks) -> Result<Link, String> {
        let options = &self.options;
        let name = &options.name;
        let mac = options.mac.to_string().to_lowercase();
        self.events.tell(
            "connecting",
            json!({ "host": options.host, "port": options.port, "tls": options.mqtt_tls }),
        );
        let client_id = options.client_id.clone().unwrap_or(format!("{name}-{mac}"));
        let mut link = Link::open(&LinkOptions {
            host: options.host.clone(),
            port: options.port,
            tls: options.mqtt_tls.then(|| options.tls.clone()),
            client_id: client_id.clone(),
            username: options.username.clone(),
            password: options.password.clone(),
            keep_alive: 15,
            clean: true,
            will: Some((format!("{name}/status"), "offline".into(), true)),
            connect_wait: Duration::from_secs(5),
            answer_wait: Duration::from_secs(10),
        })
        .await?;
        self.events
            .tell("connected", json!({ "client_id": client_id }));
        let greeted = async {
            self.publish(&mut link, &format!("{name}/status"), "online")
                .await?;
            self.discover(&mut link, marks).await?;
            for filter in [
                "esphome/discover".to_owned(),
                format!("esphome/ping/{name}"),
                format!("{name}/update/firmware/command"),
            ] {
                link.subscribe(&filter).await?;
            }
            std::io::Result::Ok(())
        };
        greeted.await.map_err(|error| error.to_string())?;
        Ok(link)
    }

    async fn publish(&self, link: &mut Link, topic: &str, payload: &str) -> std::io::Result<()> {
        self.events.tell(
            "published",
            json!({ "topic": topic, "payload": payload, "retain": true }),
        );
        link.publish(topic, payload, true).await
    }

    /// `esphome/discover/<name>`, retained.
    async fn discover(&self, link: &mut Link, marks: &Marks) -> std::io::Result<()> {
        let name = &self.options.name;
        let words = json!({
            "ip": "127.0.0.1",
            "name": name,
            "friendly_name": name,
            "port": 6053,
            "version": "2026.11.0",
            "project_name": "example.node",
            "project_version": marks.version,
            "mac": self.options.mac.to_string().to_lowercase(),
            "platform": "ESP32",
            "board": self.options.chip.as_str(),
            "network": "wifi",
        });
        self.publish(
            link,
            &format!("esphome/discover/{name}"),
            &words.to_string(),
        )
        .await
    }

    /// Whether an installation was asked for.
    async fn message(&self, link: &mut Option<Link>, marks: &Marks, message: Message) -> bool {
        self.events.tell(
            "command",
            json!({ "topic": message.topic, "payload": message.payload, "by": "mqtt" }),
        );
        if message.topic.ends_with("/update/firmware/command") {
            return message.payload == "INSTALL";
        }
        if let Some(link) = link {
            // A connection that has ended shows at its next read.
            let _ = self.discover(link, marks).await;
        }
        false
    }

    /// The state of the update entity.
    async fn report(&self, link: &mut Option<Link>, marks: &Marks, offered: Option<&Offered>) {
        let latest = offered.map_or(&marks.version, |offered| &offered.version);
        let state = json!({
            "installed_version": marks.version,
            "latest_version": latest,
            "in_progress": false,
        });
        if let Some(link) = link {
            let topic = format!("{}/update/firmware/state", self.options.name);
            let _ = self.publish(link, &topic, &state.to_string()).await;
        }
    }

    /// Reads the manifest; `None` where its version is the running one.
    async fn look(&self, marks: &Marks) -> Result<Option<Offered>, String> {
        let address = self.options.manifest.as_deref().unwrap_or_default();
        let url = Url::read(address).ok_or("the address of the manifest is no URL")?;
        let mut answer = self.get(&url).await?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        // It is read into as many bytes as were announced.
        let length = answer.length().ok_or("no content length")?;
        let wait = self.clock.limit(READ_WAIT);
        let body = answer.body(length as usize + 1, wait).await;
        let body = body.map_err(|error| error.to_string())?;
        let manifest: Value =
            serde_json::from_slice(&body).map_err(|error| format!("not JSON: {error}"))?;
        let text = |value: &Value, key: &str| {
            let found = value[key].as_str().map(str::to_owned);
            found.ok_or(format!("`{key}` is missing"))
        };
        text(&manifest, "name")?;
        let version = text(&manifest, "version")?;
        let family = self.options.chip.family_name();
        let builds = manifest["builds"].as_array().ok_or("`builds` is missing")?;
        let build = builds
            .iter()
            .find(|build| build["chipFamily"] == family.as_str())
            .ok_or(format!("no build for {family}"))?;
        let path = text(&build["ota"], "path")?;
        let md5 = text(&build["ota"], "md5")?;
        let target = resolve(&url, &path).ok_or(format!("path `{path}` leads to no URL"))?;
        self.events.tell(
            "manifest",
            json!({ "version": version, "url": target.to_string(), "md5": md5 }),
        );
        // Any other text is an update; there is no older and newer.
        if version == marks.version {
            return Ok(None);
        }
        self.events.tell(
            "update_available",
            json!({ "version": version, "url": target.to_string() }),
        );
        Ok(Some(Offered {
            version,
            url: target,
            md5,
        }))
    }

    async fn get(&self, url: &Url) -> Result<Answer, String> {
        let head = format!(
            "GET {} HTTP/1.1\r\nUser-Agent: ESPHome/2026.11.0 (https://esphome.io)\r\n\
             Host: {}\r\nConnection: close\r\n",
            url.path,
            url.host_header()
        );
        let waits = Waits {
            connect: self.clock.limit(READ_WAIT),
            read: self.clock.limit(READ_WAIT),
        };
        let tls = self.options.tls.connector()?;
        let answer = http::ask(url, &head, &[], waits, Some(&tls)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        tell_answer(&self.events, &answer);
        Ok(answer)
    }

    async fn install(&mut self, offered: &Offered) -> Result<(), Stopped> {
        let to = slots::other(slots::running(&self.flash));
        self.events.tell(
            "ota_request",
            json!({ "url": offered.url.to_string(), "slot": to }),
        );
        let mut answer = self.get(&offered.url).await.map_err(Stopped::Failed)?;
        if answer.status != 200 {
            return Err(Stopped::Failed(format!("status {}", answer.status)));
        }
        let Some(total @ 1..) = answer.length() else {
            return Err(Stopped::Failed("no content length".into()));
        };
        let wait = self.clock.limit(READ_WAIT);
        let faults = &mut self.faults;
        let got = download(
            &mut answer,
            Vec::new(),
            total,
            total,
            wait,
            faults,
            &self.events,
        )
        .await;
        let image = match got {
            Download::Whole(image) => image,
            Download::Broken(part, error) => {
                self.flash.write(to, part);
                return Err(Stopped::Failed(error.to_string()));
            }
            Download::Dead(part, death) => {
                self.flash.write(to, part);
                return Err(Stopped::Dead(death));
            }
        };
        tell_downloaded(&self.events, to, &image);
        let md5 = md5_hex(&image);
        if !offered.md5.eq_ignore_ascii_case(&md5) {
            self.flash.write(to, image);
            return Err(Stopped::Failed(format!(
                "MD5 is {md5}, the manifest says {}",
                offered.md5
            )));
        }
        if let Some(kind) = self.faults.at_installed() {
            self.flash.write(to, image);
            tell_fault(&self.events, kind, "installed");
            return Err(Stopped::Dead(death(kind)));
        }
        slots::finish(
            &mut self.flash,
            self.options.chip,
            image,
            true,
            &self.events,
        )
        .map_err(Stopped::Failed)
    }
}

/// A path with `http` in it is a whole address, one with a slash in front begins at the host, any
/// other stands beside the manifest.
fn resolve(manifest: &Url, path: &str) -> Option<Url> {
    if path.contains("http") {
        return Url::read(path);
    }
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        let folder = manifest
            .path
            .rfind('/')
            .map_or("/", |at| &manifest.path[..=at]);
        format!("{folder}{path}")
    };
    Some(Url {
        path,
        ..manifest.clone()
    })
}

fn death(kind: FaultKind) -> Death {
    match kind {
        FaultKind::Crash => Death::Crash,
        _ => Death::Power,
    }
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

/// From power to Wi-Fi.
const BOOT_TIME: Duration = Duration::from_secs(3);
/// When an image that crashes does.
const CRASH_AFTER: Duration = Duration::from_secs(6);
/// Between two MQTT connections.
const RECONNECT: Duration = Duration::from_secs(5);
/// For a connection, and for the next bytes.
const READ_WAIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_manifest_is_whole_from_the_root_or_beside_it() {
        let manifest = Url::read("http://10.0.0.2:8002/ota/dabc/manifest.json").expect("a URL");
        for (path, expected) in [
            (
                "firmware.ota.bin",
                "http://10.0.0.2:8002/ota/dabc/firmware.ota.bin",
            ),
            ("/x/fw.bin", "http://10.0.0.2:8002/x/fw.bin"),
            ("http://other/fw.bin", "http://other/fw.bin"),
        ] {
            let url = resolve(&manifest, path).expect("a URL");
            assert_eq!(url.to_string(), expected);
        }
    }
}
