//! What ESPEasy says of itself: birth and will over MQTT, and `/json` and
//! `/sysinfo_json` of its web pages.

use alloc::string::String;
use core::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

use crate::heard::{Heard, inner, number, object, short, text};
use crate::sighting::{Identity, Installed, Text};
use crate::{Chip, Family, MacAddress, Slot, single_core};

/// Where its messages are: with the controller "Home Assistant (openHAB)" and
/// its default topics, alone or below one or two levels.
pub const OBSERVED: &[&str] = &["+/status/LWT", "+/+/status/LWT", "+/+/+/status/LWT"];

/// What a message of ESPEasy tells; none for all others.
pub fn read(topic: &str, payload: &[u8]) -> Option<Heard> {
    let own = topic.strip_suffix("/status/LWT")?;
    let online = match payload {
        b"Connected" => true,
        b"Connection Lost" => false,
        _ => return None,
    };
    let mut heard = Heard::of(Family::EspEasy);
    heard.facts.online = Some(online);
    heard.identify(Identity::topic(own));
    heard.facts.command_topic = short(&[own, "/"].concat());
    Some(heard)
}

/// What its `/json` page tells.
pub fn json(payload: &[u8], at: u64) -> Option<Heard> {
    let said = object(payload)?;
    let system = inner(&said, "System")?;
    let mut heard = Heard::of(Family::EspEasy);
    let facts = &mut heard.facts;
    facts.label = text(system, "Unit Name");
    // In minutes.
    let uptime: Option<u64> = number(system, "Uptime");
    facts.started_at = uptime.and_then(|minutes| at.checked_sub(minutes.checked_mul(60)?));
    facts.restart_reason = text(system, "Reset Reason");
    facts.crashed = facts.restart_reason.as_deref().map(is_crash);
    let chip = text(system, "ESP Chip Model");
    set_chip(&mut heard, chip.as_deref());
    heard.facts.chip_rev = number(system, "ESP Chip Revision");
    heard.facts.flash_size = bytes(system, "Flash Chip Real Size");
    let file = text(system, "Binary Filename");
    set_image(&mut heard, text_or_number(system, "Build"), file, at);
    if let Some(wifi) = inner(&said, "WiFi") {
        network(&mut heard, wifi, ["Hostname", "IP Address", "STA MAC"]);
        let bssid = text(wifi, "BSSID").and_then(|bssid| bssid.parse().ok());
        heard.facts.access_point = bssid;
        heard.facts.rssi = number(wifi, "RSSI");
    }
    Some(heard)
}

/// What its `/sysinfo_json` page tells.
pub fn sysinfo(payload: &[u8], at: u64) -> Option<Heard> {
    let said = object(payload)?;
    let mut heard = Heard::of(Family::EspEasy);
    let firmware = inner(&said, "firmware")?;
    let file = text(firmware, "filename");
    set_image(&mut heard, text_or_number(firmware, "build"), file, at);
    if let Some(image) = heard.facts.images.first_mut() {
        image.1.built = text(firmware, "build_time");
    }
    if let Some(boot) = inner(&said, "boot") {
        heard.facts.boot_count = number(boot, "counter");
        heard.facts.restart_reason = text(boot, "reset_reason");
        heard.facts.crashed = heard.facts.restart_reason.as_deref().map(is_crash);
    }
    if let Some(wifi) = inner(&said, "wifi") {
        network(&mut heard, wifi, ["hostname", "ip", "sta_mac"]);
        heard.facts.access_point = text(wifi, "bssid").and_then(|bssid| bssid.parse().ok());
    }
    if let Some(esp) = inner(&said, "esp") {
        set_chip(&mut heard, text(esp, "chip_model").as_deref());
        heard.facts.board = text(esp, "board");
    }
    Some(heard)
}

fn set_chip(heard: &mut Heard, model: Option<&str>) {
    let Some(model) = model else { return };
    heard.facts.chip = Chip::from_hardware(model);
    heard.facts.single_core = single_core(model);
}

fn set_image(heard: &mut Heard, build: Option<Text>, file: Option<Text>, at: u64) {
    let Some(build) = build else { return };
    let mut image = Installed::reported(&build, at);
    image.variant = file;
    heard.facts.images.push((Slot::Main, image));
    heard.facts.running = Some(Slot::Main);
}

fn network(heard: &mut Heard, part: &Map<String, Value>, keys: [&str; 3]) {
    let [hostname, ip, mac] = keys;
    heard.facts.hostname = text(part, hostname);
    let ip = text(part, ip).and_then(|ip| ip.parse::<IpAddr>().ok());
    heard.facts.web = ip.map(|ip| SocketAddr::new(ip, 80));
    let mac = text(part, mac).and_then(|mac| mac.parse::<MacAddress>().ok());
    heard.identify(mac.and_then(Identity::mac));
}

/// `Build` was a number and is a text in newer builds.
fn text_or_number(part: &Map<String, Value>, key: &str) -> Option<Text> {
    match part.get(key)? {
        Value::Number(number) => short(&alloc::string::ToString::to_string(number)),
        Value::String(text) => short(text),
        _ => None,
    }
}

/// `4194304`, or `4096 kB`.
fn bytes(part: &Map<String, Value>, key: &str) -> Option<u32> {
    if let Some(size) = number::<u32>(part, key) {
        // Some builds count in KiB: no flash is below 64 KiB.
        return if size < 65_536 {
            size.checked_mul(1024)
        } else {
            Some(size)
        };
    }
    let text = text(part, key)?;
    let digits = text.split_whitespace().next()?;
    digits.parse::<u32>().ok()?.checked_mul(1024)
}

fn is_crash(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["exception", "watchdog", "panic", "brownout", "wdt"]
        .into_iter()
        .any(|word| reason.contains(word))
}
