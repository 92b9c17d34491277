//! Messages in which Tasmota tells what it is.

use alloc::string::String;
use core::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

use super::{TasmotaTopic, TasmotaVersion, expand};
use crate::heard::{Heard, inner, number, object, short, text};
use crate::sighting::{Identity, Installed, Text};
use crate::{Chip, Family, Layout, MacAddress, Slot, revision, single_core};

/// What a message of Tasmota tells; none for all others.
pub fn read(topic: &str, payload: &[u8], at: u64) -> Option<Heard> {
    if let Some(rest) = topic.strip_prefix("tasmota/discovery/") {
        let (id, kind) = rest.split_once('/')?;
        return (kind == "config")
            .then(|| discovery(id, payload, at))
            .flatten();
    }
    let topic = TasmotaTopic::split(topic)?;
    let mut heard = match (topic.prefix, topic.last) {
        ("tele", "LWT") => birth_or_will(payload)?,
        ("tele", "INFO1") => info1(inner(&object(payload)?, "Info1")?, at),
        ("tele", "INFO2") => info2(inner(&object(payload)?, "Info2")?),
        ("tele", "INFO3") => info3(inner(&object(payload)?, "Info3")?),
        ("stat", last) if last.starts_with("STATUS") => status(payload, at)?,
        _ => return None,
    };
    heard.identify(Identity::topic(&topic.path()));
    let command = topic.with_prefix("cmnd");
    heard.facts.command_topic = short(&command);
    Some(heard)
}

fn birth_or_will(payload: &[u8]) -> Option<Heard> {
    let mut heard = Heard::of(Family::Tasmota);
    heard.facts.online = Some(match payload {
        b"Online" => true,
        b"Offline" => false,
        _ => return None,
    });
    Some(heard)
}

fn discovery(id: &str, payload: &[u8], at: u64) -> Option<Heard> {
    let said = object(payload)?;
    let mac: MacAddress = id.parse().ok()?;
    // One device may not speak for another one.
    let inside = text(&said, "mac").and_then(|mac| mac.parse().ok());
    if inside.is_some_and(|inside| mac != inside) {
        return None;
    }
    let mut heard = Heard::of(Family::Tasmota);
    heard.identify(Identity::mac(mac));
    let facts = &mut heard.facts;
    facts.label = text(&said, "dn");
    facts.hostname = text(&said, "hn");
    facts.board = text(&said, "md");
    facts.web = text(&said, "ip").and_then(|ip| web_pages(&ip));
    facts.sleeps = number::<u8>(&said, "dslp").map(|sleeps| sleeps != 0);
    if let Some(version) = text(&said, "sw").and_then(|sw| sw.parse().ok()) {
        // Safeboot and minimal have no discovery.
        facts.images.push((Slot::Main, installed(&version, at)));
    }
    let own = text(&said, "t");
    if let (Some(own), Some(template)) = (own, text(&said, "ft")) {
        let hostname = facts.hostname.clone().unwrap_or_default();
        let command = said
            .get("tp")
            .and_then(|prefixes| prefixes.get(0)?.as_str())
            .unwrap_or("cmnd");
        let full = |prefix| expand(&template, prefix, &own, &hostname, Some(mac));
        facts.command_topic = if template.contains("%prefix%") {
            full(command)
        } else {
            // Then the prefix is appended for commands only.
            full("").and_then(|full| short(&[&full, command, "/"].concat()))
        };
        let path = full("").as_deref().and_then(Identity::topic);
        heard.identify(path);
    }
    Some(heard)
}

fn info1(info: &Map<String, Value>, at: u64) -> Heard {
    let mut heard = Heard::of(Family::Tasmota);
    heard.facts.online = Some(true);
    heard.facts.board = text(info, "Module");
    let version = text(info, "Version").and_then(|version| version.parse().ok());
    if let Some(version) = version {
        runs(&mut heard, &version, installed(&version, at));
    }
    if let Some(fallback) = text(info, "FallbackTopic") {
        // `cmnd/<client id>_fb/`.
        let level = fallback.trim_end_matches('/').rsplit('/').next();
        let client_id = level.and_then(|level| level.strip_suffix("_fb"));
        heard.identify(client_id.and_then(Identity::client_id));
        heard.facts.fallback_topic = Some(fallback);
    }
    heard
}

fn info2(info: &Map<String, Value>) -> Heard {
    let mut heard = Heard::of(Family::Tasmota);
    heard.facts.hostname = text(info, "Hostname");
    heard.facts.web = own_address(info);
    heard
}

fn info3(info: &Map<String, Value>) -> Heard {
    let mut heard = Heard::of(Family::Tasmota);
    heard.facts.boot_count = number(info, "BootCount");
    restart_reason(info, &mut heard);
    heard
}

/// What `Status 0`, or any part of it, tells: the payload of a `STATUS` message
/// or the answer of `/cm?cmnd=Status%200`.
pub fn status(payload: &[u8], at: u64) -> Option<Heard> {
    status_object(&object(payload)?, at)
}

/// The same from an object that is read already.
pub fn status_object(said: &Map<String, Value>, at: u64) -> Option<Heard> {
    let mut heard = Heard::of(Family::Tasmota);
    let mut any = false;
    for (key, part) in said {
        let Some(part) = part.as_object() else {
            continue;
        };
        any = true;
        match key.as_str() {
            "Status" => heard.facts.label = text(part, "DeviceName"),
            "StatusPRM" => parameters(part, &mut heard),
            "StatusFWR" => firmware(part, at, &mut heard),
            "StatusLOG" => options(part, &mut heard),
            "StatusMEM" => memory(part, &mut heard),
            "StatusNET" => network(part, &mut heard),
            "StatusMQT" => mqtt(part, &mut heard),
            "StatusSTS" => state(part, at, &mut heard),
            // Only there after a crash.
            "StatusSTK" => heard.facts.crashed = Some(true),
            _ if key.starts_with("Status") => {}
            _ => any = false,
        }
    }
    // The parts come in any order.
    heard.identities.sort_by_key(Identity::kind);
    any.then_some(heard)
}

fn parameters(part: &Map<String, Value>, heard: &mut Heard) {
    heard.facts.ota_url = text(part, "OtaUrl");
    heard.facts.boot_count = number(part, "BootCount");
    restart_reason(part, heard);
}

fn firmware(part: &Map<String, Value>, at: u64, heard: &mut Heard) {
    let version = text(part, "Version").and_then(|version| version.parse().ok());
    if let Some(version) = version {
        let mut image = installed(&version, at);
        image.built = text(part, "BuildDateTime");
        image.sdk = text(part, "SDK");
        runs(heard, &version, image);
    }
    let Some(hardware) = text(part, "Hardware") else {
        return;
    };
    heard.facts.chip = Chip::from_hardware(&hardware);
    heard.facts.chip_rev = revision(&hardware);
    heard.facts.single_core = single_core(&hardware).or(heard.facts.single_core);
    if heard.facts.chip == Some(Chip::Esp8266) {
        heard.facts.layout = Some(Layout::Single);
    }
}

fn options(part: &Map<String, Value>, heard: &mut Heard) {
    // The fourth word holds SetOption82 to 113, the lowest first.
    let word = part
        .get("SetOption")
        .and_then(|words| words.get(3)?.as_str())
        .and_then(|word| u32::from_str_radix(word, 16).ok());
    heard.facts.tls = word.map(|word| word >> (103 - 82) & 1 == 1);
}

fn memory(part: &Map<String, Value>, heard: &mut Heard) {
    // In KiB.
    let size = number::<u32>(part, "FlashSize").and_then(|size| size.checked_mul(1024));
    heard.facts.flash_size = size.filter(|size| *size > 0);
}

fn network(part: &Map<String, Value>, heard: &mut Heard) {
    heard.facts.hostname = text(part, "Hostname");
    heard.facts.web = own_address(part);
    for of in [Some(part), inner(part, "Ethernet")].into_iter().flatten() {
        let mac = text(of, "Mac").and_then(|mac| mac.parse().ok());
        heard.identify(mac.and_then(Identity::mac));
    }
}

fn mqtt(part: &Map<String, Value>, heard: &mut Heard) {
    heard.facts.mqtt_host = text(part, "MqttHost");
    heard.facts.mqtt_port = number(part, "MqttPort");
    heard.facts.mqtt_count = number(part, "MqttCount");
    let client_id = text(part, "MqttClient");
    heard.identify(client_id.as_deref().and_then(Identity::client_id));
}

fn state(part: &Map<String, Value>, at: u64, heard: &mut Heard) {
    // In KiB.
    heard.facts.free_heap = number(part, "Heap").map(|kib: u16| u32::from(kib) * 1024);
    let uptime: Option<u64> = number(part, "UptimeSec");
    heard.facts.started_at = uptime.and_then(|uptime| at.checked_sub(uptime));
    heard.facts.mqtt_count = number(part, "MqttCount").or(heard.facts.mqtt_count);
    let Some(wifi) = inner(part, "Wifi") else {
        return;
    };
    heard.facts.access_point = text(wifi, "BSSId").and_then(|bssid| bssid.parse().ok());
    // `RSSI` is in percent.
    heard.facts.rssi = number(wifi, "Signal");
}

fn runs(heard: &mut Heard, version: &TasmotaVersion, image: Installed) {
    heard.facts.running = Some(version.slot());
    if version.single_core {
        heard.facts.single_core = Some(true);
    }
    heard.facts.images.push((version.slot(), image));
}

fn installed(version: &TasmotaVersion, at: u64) -> Installed {
    Installed {
        variant: version.image.clone(),
        ..Installed::reported(&version.number, at)
    }
}

/// After a crash it is an object that holds the trace.
fn restart_reason(part: &Map<String, Value>, heard: &mut Heard) {
    let (reason, crashed): (Option<Text>, bool) = match part.get("RestartReason") {
        Some(Value::String(reason)) => (short(reason), is_crash(reason)),
        Some(Value::Object(trace)) => {
            let reason = text(trace, "Reason").or_else(|| short("Exception"));
            (reason, true)
        }
        _ => return,
    };
    heard.facts.restart_reason = reason;
    heard.facts.crashed = Some(crashed);
}

/// In the words of ESP8266 and ESP32 cores.
fn is_crash(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["exception", "watchdog", "panic", "fatal", "wdt", "brownout"]
        .into_iter()
        .any(|word| reason.contains(word))
}

/// Ethernet, if it is connected, else Wi-Fi.
fn own_address(part: &Map<String, Value>) -> Option<SocketAddr> {
    let ethernet = inner(part, "Ethernet");
    [ethernet, Some(part)]
        .into_iter()
        .flatten()
        .filter_map(|of| text(of, "IPAddress"))
        .find_map(|ip| web_pages(&ip))
}

fn web_pages(ip: &str) -> Option<SocketAddr> {
    let ip: IpAddr = ip.parse().ok()?;
    (!ip.is_unspecified()).then(|| SocketAddr::new(ip, 80))
}
