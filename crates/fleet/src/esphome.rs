//! What ESPHome says of itself over MQTT: its discovery message, birth and will,
//! and what it tells Home Assistant.

use alloc::string::String;
use core::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

use crate::heard::{Heard, inner, object, short, text};
use crate::sighting::{Identity, Installed, Text};
use crate::{Chip, Family, MacAddress, Slot};

/// Where its messages are. `topic_prefix` may be changed; of more than two
/// levels only discovery tells.
pub const OBSERVED: &[&str] = &[
    "esphome/discover/+",
    "+/status",
    "+/+/status",
    "+/update/+/state",
    "+/+/update/+/state",
    "homeassistant/update/+/+/config",
    "homeassistant/binary_sensor/+/+/config",
    "homeassistant/sensor/+/+/config",
];

/// What a message of ESPHome tells; none for all others.
pub fn read(topic: &str, payload: &[u8], at: u64) -> Option<Heard> {
    if let Some(name) = topic.strip_prefix("esphome/discover/") {
        return discovery(name, payload, at);
    }
    if let Some(rest) = topic.strip_prefix("homeassistant/") {
        return entity(rest, payload, at);
    }
    if let Some(own) = topic.strip_suffix("/status") {
        return birth_or_will(own, payload);
    }
    update_state(topic, payload, at)
}

fn discovery(name: &str, payload: &[u8], at: u64) -> Option<Heard> {
    let said = object(payload)?;
    let mac = text(&said, "mac")?.parse::<MacAddress>().ok()?;
    let mut heard = Heard::of(Family::EspHome);
    heard.identify(Identity::mac(mac));
    let facts = &mut heard.facts;
    facts.hostname = short(name);
    facts.label = text(&said, "friendly_name").or_else(|| text(&said, "name"));
    facts.board = text(&said, "board");
    facts.chip = text(&said, "platform").and_then(|chip| Chip::from_hardware(&chip));
    let ip = text(&said, "ip").and_then(|ip| ip.parse::<IpAddr>().ok());
    facts.web = ip
        .filter(|ip| !ip.is_unspecified())
        .map(|ip| SocketAddr::new(ip, 80));
    // Updates compare the project's version, if it names one.
    let project = text(&said, "project_version");
    let own = text(&said, "version");
    if let Some(version) = project.clone().or_else(|| own.clone()) {
        let mut image = Installed::reported(&version, at);
        image.variant = text(&said, "project_name");
        image.sdk = own;
        facts.images.push((Slot::Main, image));
        facts.running = Some(Slot::Main);
    }
    Some(heard)
}

fn birth_or_will(own: &str, payload: &[u8]) -> Option<Heard> {
    let mut heard = Heard {
        vague: true,
        ..Heard::default()
    };
    heard.facts.online = Some(match payload {
        b"online" => true,
        b"offline" => false,
        _ => return None,
    });
    heard.identify(Identity::topic(own));
    Some(heard)
}

/// `homeassistant/<component>/<node>/<object>/config`. Other programs announce
/// their devices there, too.
fn entity(rest: &str, payload: &[u8], at: u64) -> Option<Heard> {
    let mut levels = rest.split('/');
    let component = levels.next()?;
    let said = object(payload)?;
    let device = inner(&said, "dev").or_else(|| inner(&said, "device"))?;
    let software = either(device, "sw", "sw_version")?;
    let version = esphome_version(&software)?;
    let mac = identifiers(device)?;
    let mut heard = Heard::of(Family::EspHome);
    heard.identify(Identity::mac(mac));
    heard.facts.label = text(device, "name");
    heard.facts.board = either(device, "mdl", "model");
    let mut image = Installed::reported(version, at);
    // What a project calls its version, this does not tell.
    image.version = None;
    image.sdk = short(version);
    heard.facts.images.push((Slot::Main, image));
    if component == "update" {
        let topic = either(&said, "cmd_t", "command_topic")?;
        let base = text(&said, "~").unwrap_or_default();
        heard.facts.update_topic = short(&topic.replace('~', &base));
    }
    Some(heard)
}

/// `<prefix>/update/<object>/state`.
fn update_state(topic: &str, payload: &[u8], at: u64) -> Option<Heard> {
    let path = topic.strip_suffix("/state")?;
    let (own, _) = path.split_once("/update/")?;
    let said = object(payload)?;
    let version = text(&said, "installed_version")?;
    let mut heard = Heard {
        vague: true,
        ..Heard::default()
    };
    heard.identify(Identity::topic(own));
    let image = Installed::reported(&version, at);
    heard.facts.images.push((Slot::Main, image));
    let command = [path, "/command"].concat();
    heard.facts.update_topic = short(&command);
    Some(heard)
}

fn either(object: &Map<String, Value>, short: &str, long: &str) -> Option<Text> {
    text(object, short).or_else(|| text(object, long))
}

/// `esphome v2024.6.1 Jun 20 2024, 10:00:00`, or `2024.6.1 (ESPHome 2024.6.1)`.
fn esphome_version(software: &str) -> Option<&str> {
    let lower = software.to_ascii_lowercase();
    let at = lower.find("esphome")?;
    let behind = software.get(at + "esphome".len()..)?.trim_start();
    let behind = behind.strip_prefix(['v', 'V']).unwrap_or(behind);
    let end = behind
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-')))
        .unwrap_or(behind.len());
    let version = &behind[..end];
    (version.contains('.') && version.starts_with(|c: char| c.is_ascii_digit())).then_some(version)
}

/// The hardware address among what identifies it.
fn identifiers(device: &Map<String, Value>) -> Option<MacAddress> {
    let ids = device.get("ids").or_else(|| device.get("identifiers"))?;
    match ids {
        Value::String(id) => id.parse().ok(),
        Value::Array(ids) => ids
            .iter()
            .take(8)
            .filter_map(Value::as_str)
            .find_map(|id| id.parse().ok()),
        _ => None,
    }
}
