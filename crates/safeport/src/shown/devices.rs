//! A device as `device list`, `device show` and the API show it.

use safeport_fleet::{Device, Enrolment, Installed, Member, Roster, RosterLimits, Slot, Web};
use safeport_store::{AttemptQuery, DeviceRecord, Registry, StoreError};
use serde_json::{Value, json};

use crate::say;
use crate::serve::access::{device as device_of, unix_now};
use crate::text::{Language, Texts};
use crate::time::stamp;

/// What lists show.
pub fn row(member: &Member) -> Value {
    let image = |slot| {
        member
            .facts
            .image(slot)
            .and_then(|image| image.version.as_deref())
    };
    json!({
        "id": member.id.to_string(),
        "name": member.name(),
        "enrolled": member.enrolment.is_some(),
        "family": member.family().map(|family| family.as_str()),
        "online": member.facts.online,
        "chip": member.chip().map(|chip| chip.as_str()),
        "board": member.board(),
        "version": member.facts.version(),
        "safeboot": image(Slot::Safeboot),
        "mac": member.mac().map(|mac| mac.to_string()),
        "topic": member.topic(),
        "client_id": member.client_id(),
        "address": member.came_from.map(|from| from.ip),
        "tags": member.tags,
        "first_seen": member.first_seen,
        "last_seen": member.last_seen,
        // Only a server that runs has one.
        "finding": null,
    })
}

/// Everything that is known of a device, beside what [`row`] shows.
pub fn whole(member: &Member, record: Option<&DeviceRecord>) -> Value {
    let mut value = row(member);
    let facts = &member.facts;
    let identities: Vec<Value> = member
        .identities
        .iter()
        .map(|known| {
            json!({
                "kind": known.identity.kind().as_str(),
                "value": known.identity.value(),
                "proved": known.proved,
                "first_seen": known.first,
                "last_seen": known.last,
            })
        })
        .collect();
    let images: Vec<Value> = facts
        .images
        .iter()
        .map(|(slot, image)| image_json(*slot, image, member.room(*slot)))
        .collect();
    let told: Vec<Value> = member
        .told
        .iter()
        .map(|told| json!({"address": told.address, "at": told.at}))
        .collect();
    let web = member.web().map(|web| match web {
        Web::Set(address) => json!({"address": address, "set": true, "proved": true}),
        Web::Seen { address, proved } => {
            json!({"address": address.to_string(), "set": false, "proved": proved})
        }
    });
    let more = json!({
        "hostname": facts.hostname,
        "label": facts.label,
        "flash_size": member.flash_size(),
        "layout": member.layout().map(|layout| layout.as_str()),
        "running": facts.running.map(|slot| slot.as_str()),
        "images": images,
        "tls": facts.tls,
        "ota_url": facts.ota_url,
        "boot_count": facts.boot_count,
        "restart_reason": facts.restart_reason,
        "access_point": facts.access_point.map(|mac| mac.to_string()),
        "web": web,
        "set": member.set,
        "told": told,
        "identities": identities,
    });
    merge(&mut value, more);
    if let Some(record) = record {
        merge(&mut value, enrolment(record));
    }
    value
}

/// What its enrolment gives it.
fn enrolment(record: &DeviceRecord) -> Value {
    let grant = device_of(record.clone())
        .ok()
        .map(|device: Device| device.grant());
    json!({
        "name": record.name,
        "family": record.family,
        "topic": record.topic,
        "client_id": record.client_id,
        "username": record.username,
        "mac": record.mac,
        "tags": record.tags,
        "created": record.created,
        "publish": grant.as_ref().map(|grant| &grant.publish),
        "subscribe": grant.as_ref().map(|grant| &grant.subscribe),
    })
}

fn image_json(slot: Slot, image: &Installed, room: Option<u32>) -> Value {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    json!({
        "slot": slot.as_str(),
        "version": image.version,
        "variant": image.variant,
        "built": image.built,
        "sha256": image.sha256.map(|hash| hex(&hash)),
        "md5": image.md5.map(|hash| hex(&hash)),
        "elf_sha256": image.elf_sha256.map(|hash| hex(&hash)),
        "confidence": match image.confidence {
            safeport_fleet::Confidence::Unknown => "unknown",
            safeport_fleet::Confidence::InstalledByUs => "installed_by_us",
            safeport_fleet::Confidence::Reported => "reported",
        },
        "at": image.at,
        "room": room,
    })
}

fn merge(value: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (value, more) {
        into.extend(more);
    }
}

/// Who is known, for a command beside a folder that no server runs on.
///
/// # Errors
/// The registry cannot be read.
pub fn roster(registry: &Registry) -> Result<Roster, StoreError> {
    let mut roster = Roster::new(RosterLimits::default(), 0);
    registry.load_members(|row| {
        if let Ok(member) = serde_json::from_str(&row.body) {
            roster.load(member);
        }
    })?;
    roster.reserve_ids(registry.next_member_id()?);
    for record in registry.devices()? {
        if let Some(enrolment) = enrolment_of(record)
            && roster.by_name(enrolment.name.as_str()).is_none()
        {
            roster.enrol(&enrolment, enrolment.created);
        }
    }
    Ok(roster)
}

/// What the list of devices is told of an enrolment; none of a row that cannot be understood.
pub fn enrolment_of(record: DeviceRecord) -> Option<Enrolment> {
    let tags = record.tags.iter().map(|tag| tag.as_str().into()).collect();
    let device = device_of(record).ok()?;
    Some(Enrolment {
        name: device.name,
        family: device.family,
        mac: device.mac,
        client_id: device.client_id.into(),
        topic: device.topic.into(),
        tags,
        created: device.created,
    })
}

/// A device of a list in one line.
pub fn line(row: &Value, texts: &Texts) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
    let mut line = format!("{}  {}  {}", text("name"), text("family"), text("topic"));
    let state = match row["online"].as_bool() {
        Some(true) => Some(say!(texts, "device-online")),
        Some(false) => Some(say!(texts, "device-offline")),
        None => None,
    };
    let version = row["version"].as_str().map(str::to_owned);
    let seen = (row["enrolled"] == false).then(|| say!(texts, "device-only-seen"));
    let finding = row["finding"]["cause"].as_str();
    let finding = finding.map(|cause| say!(texts, "device-finding", cause = cause));
    for part in [version, state, seen, finding].into_iter().flatten() {
        line.push_str("  ");
        line.push_str(&part);
    }
    line
}

/// A device as a person reads it: label and value in two columns.
pub fn sheet(device: &Value, texts: &Texts) -> String {
    let text = |name: &str| device[name].as_str().unwrap_or("-").to_owned();
    let list = |name: &str| {
        let words: Vec<&str> = device[name]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(" ")
        }
    };
    let mut lines = vec![
        ("name", text("name")),
        ("id", text("id")),
        ("family", text("family")),
        ("topic", text("topic")),
        ("client id", text("client_id")),
        ("user name", text("username")),
        ("mac", text("mac")),
        ("tags", list("tags")),
        ("publish", list("publish")),
        ("subscribe", list("subscribe")),
    ];
    let mut known = |label: &'static str, name: &str| {
        let value = match &device[name] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return,
        };
        lines.push((label, value));
    };
    known("chip", "chip");
    known("board", "board");
    known("layout", "layout");
    known("checks", "fingerprint");
    if let Some(online) = device["online"].as_bool() {
        let at = stamp(device["last_seen"].as_u64().unwrap_or_default());
        lines.push((
            "seen",
            match online {
                true => say!(texts, "device-seen-online", at = at),
                false => say!(texts, "device-seen-last", at = at),
            },
        ));
    }
    if let finding @ Value::Object(_) = &device["finding"] {
        let said = |what: &str| {
            let language = match texts.language() {
                Language::English => "en",
                Language::Chinese => "zh",
            };
            finding[what][language]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        let cause = finding["cause"].as_str().unwrap_or_default();
        let (means, fix) = (said("means"), said("fix"));
        lines.push(("finding", format!("{cause}: {means}")));
        lines.push(("do", fix));
    }
    for image in device["images"].as_array().into_iter().flatten() {
        let word = |name: &str| image[name].as_str().unwrap_or_default().to_owned();
        let version = match word("version") {
            empty if empty.is_empty() => "?".to_owned(),
            version => version,
        };
        let how = match word("confidence").as_str() {
            "reported" => say!(texts, "image-reported"),
            "installed_by_us" => say!(texts, "image-installed"),
            _ => say!(texts, "image-unknown"),
        };
        lines.push(("image", format!("{}  {version}  {how}", word("slot"))));
    }
    for told in device["told"].as_array().into_iter().flatten() {
        let at = stamp(told["at"].as_u64().unwrap_or_default());
        let address = told["address"].as_str().unwrap_or_default();
        lines.push(("told", format!("{address}  {at}")));
    }
    if let Some(stages) = super::talks::stages(&device["talk"], texts) {
        let at = stamp(device["talk"]["at"].as_u64().unwrap_or_default());
        lines.push(("last talk", format!("{at}  {stages}")));
    }
    for identity in device["identities"].as_array().into_iter().flatten() {
        let proof = match identity["proved"].as_bool() {
            Some(true) => say!(texts, "identity-proved"),
            _ => say!(texts, "identity-claimed"),
        };
        let word = |name: &str| identity[name].as_str().unwrap_or_default();
        lines.push((
            "identity",
            format!("{} {}  {proof}", word("kind"), word("value")),
        ));
    }
    let shown: Vec<String> = lines
        .iter()
        .map(|(label, value)| format!("{label:9}  {value}"))
        .collect();
    shown.join("\n")
}

/// The events of a device, newest first, one a line.
pub fn events(events: &[Value]) -> String {
    let lines: Vec<String> = events
        .iter()
        .map(|event| {
            let at = stamp(event["at"].as_u64().unwrap_or_default());
            let mut line = format!("{at}  {}", event["what"].as_str().unwrap_or("?"));
            for (name, value) in event.as_object().into_iter().flatten() {
                if !matches!(name.as_str(), "at" | "what" | "id") && !value.is_null() {
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    line.push_str(&format!("  {name}: {value}"));
                }
            }
            line
        })
        .collect();
    lines.join("\n")
}

/// Everything about a device, with the key that it checks and its newest attempts to connect.
///
/// # Errors
/// The registry cannot be read.
pub fn full(registry: &Registry, member: &Member, texts: &Texts) -> Result<Value, StoreError> {
    let record = match &member.enrolment {
        Some(name) => registry.device(name.as_str())?,
        None => None,
    };
    let mut value = whole(member, record.as_ref());
    let Some(record) = record else {
        return Ok(value);
    };
    let pins = registry.pins()?;
    let pin = pins.into_iter().find(|pin| pin.device == record.name);
    let newest = AttemptQuery {
        limit: SHOWN_ATTEMPTS,
        ..AttemptQuery::default()
    };
    let who = (record.username.as_str(), record.client_id.as_str());
    let attempts: Vec<Value> = super::attempts::of_device(registry, who, &newest)?
        .iter()
        .map(|row| super::attempts::row_json(row, texts))
        .collect();
    let talks = registry.talks(&record.name, None, 1, unix_now())?;
    let more = json!({
        "talk": talks.first().map(super::talks::row_json),
        "fingerprint": pin.as_ref().map(|pin| &pin.fingerprint),
        "fingerprint_stranded": pin.as_ref().and_then(|pin| pin.stranded),
        "attempts": attempts,
    });
    merge(&mut value, more);
    Ok(value)
}

/// So many of them are shown with a device; `attempts --device` has all.
const SHOWN_ATTEMPTS: u32 = 5;
