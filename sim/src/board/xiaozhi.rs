//! xiaozhi: the OTA check at every boot and all that hangs on it (xiaozhi.md §1 to §3, §6, §11).
//! Which firmware it is stands in the image: its quirks go by its version.

mod rules;

use super::clock::Clock;
use super::events::Events;
use super::fault::{Fault, FaultKind, Faults};
use super::flash::Flash;
use super::http::{self, HttpError, Url, Waits};
use super::link::{Link, LinkOptions};
use super::slots;
use super::tasmota::BoardError;
use super::tls::Tls;
use super::update::{
    Death, Download, dark, download, hex, tell_answer, tell_downloaded, tell_fault,
};
use crate::image::{Behaviour, ImageChip, ImageFamily, Marks};
use crate::tasmota::MacAddress;
use rules::{Abort, Generation, Taken};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep_until;

/// A pretend xiaozhi.
#[derive(Debug, Clone)]
pub struct XiaozhiBoard {
    /// OTA address, as the captive portal has stored it.
    pub ota_url: String,
    /// Hardware address.
    pub mac: MacAddress,
    /// Client id. None: made from the hardware address.
    pub uuid: Option<String>,
    /// Board type and name.
    pub board: String,
    /// Its chip.
    pub chip: ImageChip,
    /// Flash in MiB: 16 or 8.
    pub flash_mib: u32,
    /// Serial number and key of a chip that carries them.
    pub serial: Option<(String, Vec<u8>)>,
    /// Whom it trusts over https and MQTT on 8883.
    pub tls: Tls,
    /// What a blank flash is filled with.
    pub image: Vec<u8>,
    /// Folder of the flash; none keeps it in memory.
    pub flash_folder: Option<PathBuf>,
    /// Every wait of the device is multiplied with it. Default 1.
    pub time_scale: f64,
    /// Accidents.
    pub faults: Vec<Fault>,
}

impl XiaozhiBoard {
    /// An ESP32-S3 of 16 MB without serial number.
    pub fn new(ota_url: impl Into<String>, image: Vec<u8>) -> Self {
        XiaozhiBoard {
            ota_url: ota_url.into(),
            mac: MacAddress::pretend(1),
            uuid: None,
            board: "bread-compact-wifi".into(),
            chip: ImageChip::ESP32S3,
            flash_mib: 16,
            serial: None,
            tls: Tls::Anyone,
            image,
            flash_folder: None,
            time_scale: 1.0,
            faults: Vec::new(),
        }
    }
}

/// Runs the board until `stop` is ready.
pub async fn run(
    options: XiaozhiBoard,
    events: Events,
    stop: impl Future<Output = ()>,
) -> Result<(), BoardError> {
    options.tls.connector().map_err(BoardError::Tls)?;
    let mut flash = Flash::open(options.flash_folder.clone(), &slots::SLOTS)?;
    slots::fill(&mut flash, &options.image);
    let mac = options.mac.0.map(|byte| format!("{byte:02x}")).join(":");
    let uuid = options.uuid.clone().unwrap_or_else(|| uuid_of(&mac));
    let mut board = Board {
        faults: Faults::new(&options.faults),
        clock: Clock::new(options.time_scale),
        options,
        flash,
        events,
        mac,
        uuid,
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

/// Version 4 by its form; the same for the same device.
fn uuid_of(mac: &str) -> String {
    let mut bytes: [u8; 32] = Sha256::digest(mac.as_bytes()).into();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes[..16]);
    let (a, b, c, d, e) = (
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    );
    format!("{a}-{b}-{c}-{d}-{e}")
}

struct Board {
    options: XiaozhiBoard,
    flash: Flash,
    events: Events,
    faults: Faults,
    clock: Clock,
    mac: String,
    uuid: String,
}

/// How a boot ends.
enum End {
    Restart(&'static str),
    Abort(Abort),
    Dead(Death),
}

/// A check that failed: the number on the screen, and why.
struct CheckFailed {
    code: i64,
    why: String,
}

impl Board {
    async fn live(&mut self) {
        let mut reason = "power on".to_owned();
        loop {
            let (chip, family) = (self.options.chip, ImageFamily::Xiaozhi);
            let booted = slots::boot(&mut self.flash, chip, family, &self.events, &reason);
            let Some((_, marks)) = booted else {
                return std::future::pending().await;
            };
            let end = match self.faults.at_boot() {
                Some(kind) => {
                    tell_fault(&self.events, kind, "boot");
                    End::Dead(death(kind))
                }
                None => self.until_accident(marks).await,
            };
            reason = match end {
                End::Restart(why) => why.to_owned(),
                End::Abort(Abort(why)) => {
                    self.events.tell("aborted", json!({ "why": why }));
                    self.clock.wait(Duration::from_secs(1)).await;
                    "abort".to_owned()
                }
                End::Dead(Death::Crash) => "panic".to_owned(),
                End::Dead(Death::Power) => {
                    dark(&self.clock).await;
                    "power on".to_owned()
                }
            };
            self.events.tell("restarting", json!({ "reason": reason }));
        }
    }

    /// The boot, unless something comes in between.
    async fn until_accident(&mut self, marks: Marks) -> End {
        let clock = self.clock;
        let crashes = marks.behaviour == Behaviour::Crash;
        let accident_at = clock.at(self.faults.next_time());
        let ended = tokio::select! {
            end = self.operate(&marks) => Some(end),
            () = clock.wait(CRASH_AFTER), if crashes => None,
            () = async {
                match accident_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => None,
        };
        ended.unwrap_or_else(|| {
            let kind = self.faults.by_time(clock.now()).unwrap_or(FaultKind::Crash);
            tell_fault(&self.events, kind, "time");
            End::Dead(death(kind))
        })
    }

    async fn operate(&mut self, marks: &Marks) -> End {
        self.clock.wait(BOOT_TIME).await;
        if marks.behaviour == Behaviour::Mute {
            return std::future::pending().await;
        }
        match self.check_until_good(marks).await {
            Err(end) => end,
            Ok(taken) => self.protocol(marks, taken).await,
        }
    }

    /// The loop of the boot: check, upgrade, activation. `None` after the last failure.
    async fn check_until_good(&mut self, marks: &Marks) -> Result<Option<Taken>, End> {
        let mut failures = 0;
        let mut wait = FIRST_RETRY;
        loop {
            let checked = if marks.behaviour == Behaviour::Unconfirmed {
                Ok(Err(CheckFailed {
                    code: 0x801a,
                    why: "this image trusts no server".into(),
                }))
            } else {
                self.check(marks, failures + 1).await
            };
            let taken = match checked.map_err(End::Abort)? {
                Ok(taken) => taken,
                Err(CheckFailed { code, why }) => {
                    failures += 1;
                    let last = failures >= MAX_FAILURES;
                    let retry_in = (!last).then_some(wait.as_secs());
                    self.events.tell(
                        "check_failed",
                        json!({ "code": code, "why": why, "retry_in": retry_in }),
                    );
                    if last {
                        return Ok(None);
                    }
                    self.clock.wait(wait).await;
                    wait *= 2;
                    continue;
                }
            };
            failures = 0;
            wait = FIRST_RETRY;
            if let Some((version, url)) = &taken.upgrade {
                self.events.tell(
                    "update_available",
                    json!({ "version": version, "url": url }),
                );
                self.clock.wait(BEFORE_UPGRADE).await;
                match self.upgrade(url).await {
                    Ok(()) => return Err(End::Restart("upgrade")),
                    Err(Stopped::Dead(death)) => return Err(End::Dead(death)),
                    // Abandoned until the next boot.
                    Err(Stopped::Failed(why)) => self
                        .events
                        .tell("failed", json!({ "what": "upgrade", "why": why })),
                }
            }
            slots::confirm(&mut self.flash, &self.events, &marks.version);
            if taken.code.is_none() && taken.challenge.is_none() {
                return Ok(Some(taken));
            }
            self.activation(marks, &taken).await;
        }
    }

    async fn check(
        &mut self,
        marks: &Marks,
        attempt: u32,
    ) -> Result<Result<Taken, CheckFailed>, Abort> {
        let failed = |code, why: String| Ok(Err(CheckFailed { code, why }));
        let address = self.options.ota_url.clone();
        if address.len() < 10 {
            return failed(258, "the OTA address is too short".into());
        }
        let body = self.system_info(marks);
        let (status, answer) = match self.post(marks, &address, &body).await {
            Ok(answer) => answer,
            Err(error) => {
                let code = screen_code(&error);
                return failed(code, error.to_string());
            }
        };
        let parsed: Option<Value> = serde_json::from_slice(&answer).ok();
        let sections: Vec<String> = parsed
            .as_ref()
            .and_then(Value::as_object)
            .map(|object| object.keys().cloned().collect())
            .unwrap_or_default();
        self.events.tell(
            "ota_check",
            json!({
                "status": status,
                "attempt": attempt,
                "sections": sections,
                "server_time": parsed.as_ref().map(|answer| answer["server_time"].clone()),
                "firmware": parsed.as_ref().map(|answer| answer["firmware"].clone()),
            }),
        );
        // Before 1.7 nobody looked at the status.
        if status != 200 && Generation::of(&marks.version) >= Generation([1, 7, 0]) {
            return failed(status.into(), format!("status {status}"));
        }
        let Some(parsed) = parsed else {
            return failed(264, "the answer is not JSON".into());
        };
        let taken = match rules::take(&parsed, &marks.version)? {
            Ok(taken) => taken,
            Err(why) => return failed(264, why),
        };
        for (section, keys) in [("mqtt", &taken.mqtt), ("websocket", &taken.websocket)] {
            for (key, value) in keys.iter().flatten() {
                self.events.tell(
                    "told",
                    json!({ "section": section, "key": key, "value": value }),
                );
            }
            if let Some(keys) = keys {
                // What a later answer leaves out stays.
                let mut kept = self.kept(section);
                kept.extend(keys.clone());
                self.flash.set(section, kept);
            }
        }
        Ok(Ok(taken))
    }

    fn kept(&self, section: &str) -> Map<String, Value> {
        match self.flash.setting(section) {
            Some(Value::Object(kept)) => kept.clone(),
            _ => Map::new(),
        }
    }

    /// Status and body.
    async fn post(
        &self,
        marks: &Marks,
        address: &str,
        body: &str,
    ) -> Result<(u16, Vec<u8>), HttpError> {
        let no_url = || HttpError::Connect("the OTA address is no URL".into());
        let url = Url::read(address).ok_or_else(no_url)?;
        let head = self.head(marks, &url, body.len());
        let tls = self.options.tls.connector().map_err(HttpError::Connect)?;
        let waits = self.waits();
        let mut answer = http::ask(&url, &head, body.as_bytes(), waits, Some(&tls)).await?;
        let content = answer.body(64 * 1024, waits.read).await?;
        Ok((answer.status, content))
    }

    fn waits(&self) -> Waits {
        Waits {
            connect: self.clock.limit(Duration::from_secs(18)),
            read: self.clock.limit(Duration::from_secs(30)),
        }
    }

    /// Request line and headers, in the order of the firmware's sorted map.
    fn head(&self, marks: &Marks, url: &Url, length: usize) -> String {
        let old = Generation::of(&marks.version) < Generation([1, 6, 0]);
        let serial = self.options.serial.as_ref();
        let activation = if serial.is_some() { 2 } else { 1 };
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nAccept-Language: zh-CN\r\n",
            url.path,
            url.host_header()
        );
        if !old {
            head += &format!("Activation-Version: {activation}\r\n");
        }
        head += &format!(
            "Client-Id: {}\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Content-Type: application/json\r\nDevice-Id: {}\r\n",
            self.uuid, self.mac
        );
        if old {
            head += "Ota-Version: 2\r\n";
        }
        if let Some((serial, _)) = serial
            && Generation::of(&marks.version) >= Generation([1, 7, 0])
        {
            head += &format!("Serial-Number: {serial}\r\n");
        }
        head + &format!("User-Agent: {}/{}\r\n", self.options.board, marks.version)
    }

    /// The body of a check (xiaozhi.md §1.2).
    fn system_info(&self, marks: &Marks) -> String {
        let slot = slots::running(&self.flash);
        let image = self.flash.region(slot);
        let word = |at: usize, length: usize| {
            let field = image.get(at..at + length).unwrap_or_default();
            let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let size = self.slot_size();
        json!({
            "version": 2,
            "language": "zh-CN",
            "flash_size": u64::from(self.options.flash_mib) << 20,
            "minimum_free_heap_size": "8318916",
            "mac_address": self.mac,
            "uuid": self.uuid,
            "chip_model_name": self.options.chip.as_str(),
            "chip_info": { "model": 9, "cores": 2, "revision": 2, "features": 18 },
            "application": {
                "name": word(32 + 48, 32),
                "version": marks.version,
                "compile_time": format!("{}T{}Z", word(32 + 96, 16), word(32 + 80, 16)),
                "idf_version": word(32 + 112, 32),
                "elf_sha256": hex(image.get(32 + 144..32 + 176).unwrap_or_default()),
            },
            "partition_table": [
                { "label": "nvs", "type": 1, "subtype": 2, "address": 0x9000, "size": 0x4000 },
                { "label": "otadata", "type": 1, "subtype": 0, "address": 0xd000, "size": 0x2000 },
                { "label": "ota_0", "type": 0, "subtype": 16, "address": 0x20000, "size": size },
                { "label": "ota_1", "type": 0, "subtype": 17, "address": 0x20000 + size,
                  "size": size },
                { "label": "assets", "type": 1, "subtype": 130, "address": 0x80_0000,
                  "size": 0x80_0000 },
            ],
            "ota": { "label": slot },
            "board": {
                "type": self.options.board,
                "name": self.options.board,
                "ssid": "home",
                "rssi": -55,
                "channel": 6,
                "ip": "127.0.0.1",
                "mac": self.mac,
            },
        })
        .to_string()
    }

    /// Of an application slot of the v2 tables.
    fn slot_size(&self) -> u64 {
        if self.options.flash_mib >= 16 {
            0x3f_0000
        } else {
            0x2f_0000
        }
    }

    /// One round: at most ten calls, then the check comes again.
    async fn activation(&self, marks: &Marks, taken: &Taken) {
        self.events.tell(
            "activation",
            json!({
                "code": taken.code,
                "message": taken.message,
                "challenge": taken.challenge,
            }),
        );
        let address = &self.options.ota_url;
        let slash = if address.ends_with('/') { "" } else { "/" };
        let address = format!("{address}{slash}activate");
        for _ in 0..ACTIVATIONS_PER_ROUND {
            let wait = match &taken.challenge {
                None => ACTIVATION_ERROR,
                Some(challenge) => {
                    let body = self.activation_body(challenge);
                    let status = match self.post(marks, &address, &body).await {
                        Ok((status, _)) => status,
                        Err(_) => 0,
                    };
                    self.events.tell("activating", json!({ "status": status }));
                    match status {
                        200 => {
                            self.events.tell("activated", json!({}));
                            return;
                        }
                        202 => ACTIVATION_PENDING,
                        _ => ACTIVATION_ERROR,
                    }
                }
            };
            self.clock.wait(wait).await;
        }
    }

    fn activation_body(&self, challenge: &str) -> String {
        let Some((serial, key)) = &self.options.serial else {
            return "{}".into();
        };
        json!({
            "algorithm": "hmac-sha256",
            "serial_number": serial,
            "challenge": challenge,
            "hmac": hex(&hmac_sha256(key, challenge.as_bytes())),
        })
        .to_string()
    }

    /// Downloads and installs (xiaozhi.md §2.1).
    async fn upgrade(&mut self, address: &str) -> Result<(), Stopped> {
        let failed = |why: &str| Stopped::Failed(why.to_owned());
        if self.flash.flag("pending") {
            return Err(failed(
                "esp_ota_begin: the running image is not confirmed yet",
            ));
        }
        let url = Url::read(address).ok_or_else(|| failed("the address is no URL"))?;
        self.events.tell(
            "ota_request",
            json!({ "url": address, "slot": slots::other(slots::running(&self.flash)) }),
        );
        let head = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            url.path,
            url.host_header()
        );
        let tls = self.options.tls.connector().map_err(Stopped::Failed)?;
        let waits = self.waits();
        let mut answer = http::ask(&url, &head, &[], waits, Some(&tls))
            .await
            .map_err(|error| Stopped::Failed(error.to_string()))?;
        tell_answer(&self.events, &answer);
        if answer.status != 200 {
            return Err(Stopped::Failed(format!("status {}", answer.status)));
        }
        let Some(total @ 1..) = answer.length().filter(|_| !answer.is_chunked()) else {
            return Err(failed("no content length"));
        };
        let to = slots::other(slots::running(&self.flash));
        let faults = &mut self.faults;
        let read = waits.read;
        let got = download(
            &mut answer,
            Vec::new(),
            total,
            total,
            read,
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
        if image.len() as u64 > self.slot_size() {
            return Err(failed("esp_ota_write: larger than the slot"));
        }
        tell_downloaded(&self.events, to, &image);
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
        .map_err(|why| Stopped::Failed(format!("esp_ota_end: {why}")))
    }

    /// MQTT if the answer had a section for it, else WebSocket, else MQTT as the flash knows it.
    async fn protocol(&mut self, marks: &Marks, taken: Option<Taken>) -> End {
        let taken = taken.unwrap_or_default();
        if taken.mqtt.is_none() && taken.websocket.is_some() {
            let kept = self.kept("websocket");
            self.events.tell(
                "protocol",
                json!({ "transport": "websocket", "endpoint": kept.get("url") }),
            );
            // It connects when somebody talks to it, and keeps nothing open until then.
            self.events.tell("ready", json!({}));
            return std::future::pending().await;
        }
        let kept = self.kept("mqtt");
        let text = |key: &str| {
            let value = kept.get(key).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let endpoint = text("endpoint");
        self.events.tell(
            "protocol",
            json!({ "transport": "mqtt", "endpoint": endpoint }),
        );
        if endpoint.is_empty() {
            self.events.tell(
                "failed",
                json!({ "what": "protocol", "why": "server not found: no MQTT endpoint" }),
            );
            return std::future::pending().await;
        }
        let (host, port) = match endpoint.split_once(':') {
            None => (endpoint.clone(), 8883),
            // Before 1.6.2 the port is always 8883.
            Some((host, _)) if Generation::of(&marks.version) < Generation([1, 6, 2]) => {
                (host.to_owned(), 8883)
            }
            Some((host, port)) => match port.parse() {
                Ok(port) => (host.to_owned(), port),
                Err(_) => {
                    let why = format!("the port of endpoint `{endpoint}` is no number");
                    return End::Abort(Abort(why));
                }
            },
        };
        let keep_alive = kept.get("keepalive").and_then(Value::as_u64).unwrap_or(240);
        let options = LinkOptions {
            host,
            port,
            tls: (port == 8883).then(|| self.options.tls.clone()),
            client_id: text("client_id"),
            username: Some(text("username")).filter(|name| !name.is_empty()),
            password: Some(text("password")).filter(|word| !word.is_empty()),
            keep_alive: keep_alive.min(u16::MAX.into()) as u16,
            clean: true,
            will: None,
            connect_wait: Duration::from_secs(10),
            answer_wait: Duration::from_secs(10),
        };
        loop {
            self.events.tell(
                "connecting",
                json!({ "host": options.host, "port": options.port, "tls": options.tls.is_some() }),
            );
            match Link::open(&options).await {
                Err(why) => self.events.tell("connect_failed", json!({ "why": why })),
                Ok(mut link) => {
                    self.events
                        .tell("connected", json!({ "client_id": options.client_id }));
                    self.events.tell("ready", json!({}));
                    // Stock firmware never subscribes; what is pushed is taken all the same.
                    loop {
                        match link.next().await {
                            Ok(message) => {
                                if let Some(end) = self.message(&message.payload).await {
                                    return end;
                                }
                            }
                            Err(error) => {
                                let why = error.to_string();
                                self.events.tell("disconnected", json!({ "why": why }));
                                break;
                            }
                        }
                    }
                }
            }
            self.clock.wait(RECONNECT).await;
        }
    }

    /// What a server says over MQTT.
    async fn message(&mut self, payload: &str) -> Option<End> {
        let message: Value = serde_json::from_str(payload).ok()?;
        self.events
            .tell("command", json!({ "command": message, "by": "mqtt" }));
        match message["type"].as_str()? {
            "system" if message["command"] == "reboot" => Some(End::Restart("system reboot")),
            "mcp" => {
                let call = &message["payload"]["params"];
                match call["name"].as_str()? {
                    "self.reboot" => Some(End::Restart("self.reboot")),
                    "self.upgrade_firmware" => {
                        let url = call["arguments"]["url"].as_str()?.to_owned();
                        match self.upgrade(&url).await {
                            Ok(()) => Some(End::Restart("upgrade")),
                            Err(Stopped::Dead(death)) => Some(End::Dead(death)),
                            Err(Stopped::Failed(why)) => {
                                self.events
                                    .tell("failed", json!({ "what": "upgrade", "why": why }));
                                None
                            }
                        }
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Why there is no new image.
enum Stopped {
    Failed(String),
    Dead(Death),
}

fn death(kind: FaultKind) -> Death {
    match kind {
        FaultKind::Crash => Death::Crash,
        _ => Death::Power,
    }
}

/// What stands on the screen (xiaozhi.md §12).
fn screen_code(error: &HttpError) -> i64 {
    match error {
        HttpError::Connect(why) if why.contains("TLS") => 0x801a,
        HttpError::Connect(why) if why.contains("refused") => 111,
        HttpError::Connect(why) if why.contains("no TCP connection") => 116,
        HttpError::Connect(_) => 202,
        HttpError::Send => 104,
        HttpError::Lost | HttpError::Silent | HttpError::NotHttp => -1,
    }
}

/// RFC 2104.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

/// From power to Wi-Fi.
const BOOT_TIME: Duration = Duration::from_secs(3);
/// When an image that crashes does.
const CRASH_AFTER: Duration = Duration::from_secs(6);
/// After the first failed check; doubled after each.
const FIRST_RETRY: Duration = Duration::from_secs(10);
/// The last of which gives up.
const MAX_FAILURES: u32 = 10;
/// Alert and silence before a download.
const BEFORE_UPGRADE: Duration = Duration::from_secs(4);
const ACTIVATIONS_PER_ROUND: u32 = 10;
const ACTIVATION_PENDING: Duration = Duration::from_secs(3);
const ACTIVATION_ERROR: Duration = Duration::from_secs(10);
/// Between two MQTT connections.
const RECONNECT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_activation_hmac_is_the_measured_one() {
        // xiaozhi.md §13, vector 6a.
        let key: Vec<u8> = (0..32).collect();
        assert_eq!(
            hex(&hmac_sha256(&key, b"challenge-0001")),
            "2c896e466aa1f3e78967d0e608a1eb3e23afbe255c3b3e8fa7041d4afd31af20"
        );
    }

    #[test]
    fn a_client_id_is_a_uuid_and_stays_the_same() {
        let uuid = uuid_of("aa:bb:cc:dd:ee:ff");
        assert_eq!(uuid, uuid_of("aa:bb:cc:dd:ee:ff"));
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert_ne!(uuid, uuid_of("aa:bb:cc:dd:ee:fe"));
    }
}
