//! `safeport device`: devices, their logins, and the text that connects them.

use clap::{Args, Subcommand};
use safeport_fleet::{Device, DeviceName, Family, Grant, MacAddress, Setup};
use safeport_store::{AttemptQuery, AttemptRow, DeviceRecord, Pin, Rights};

use super::Place;
use super::reach::{Reach, Route};
use super::registry::{NewPassword, Open, failed};
use super::rights::{self, Filters};
use super::user::changed;
use crate::console::{Console, Failure};
use crate::say;
use crate::serve::access::device;
use crate::shown::attempts;
use crate::text::{Language, Texts};

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// Add a device and print what to enter into it; stdout has exactly that
    Add(AddArgs),
    /// List all devices
    List(Place),
    /// Show one device: topic, client id, rights
    Show(NameArgs),
    /// Give a device a new password and print what to enter into it
    Passwd(PasswdArgs),
    /// Give a device tags, for settings that concern several devices; without any it has none
    Tag(TagArgs),
    /// Remove a device; its connections end within a second
    Forget(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// tasmota, espeasy, esphome or plain
    family: Family,
    /// Name: a-z, 0-9, - and _; user name, client id and topic follow from it
    #[arg(long)]
    name: String,
    /// Topic of the device, where it is not the name
    #[arg(long)]
    topic: Option<String>,
    /// A tag, for settings that concern several devices (a-z, 0-9, -); may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Hardware address, such as a0:b1:c2:d3:e4:f5; reserves the client ids made of it
    #[arg(long)]
    mac: Option<MacAddress>,
    #[command(flatten)]
    extra: Filters,
    #[command(flatten)]
    route: Route,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The device's name
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct TagArgs {
    /// The device's name
    name: String,
    /// Its tags from now on: a-z, 0-9, -
    tags: Vec<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct PasswdArgs {
    /// The device's name
    name: String,
    #[command(flatten)]
    route: Route,
    #[command(flatten)]
    place: Place,
}

impl DeviceCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            DeviceCommand::Add(args) => add(args, console, lang),
            DeviceCommand::List(place) => list(place, console, lang),
            DeviceCommand::Show(args) => show(args, console, lang),
            DeviceCommand::Passwd(args) => passwd(args, console, lang),
            DeviceCommand::Tag(args) => {
                let mut open = Open::new(&args.place, console, lang)?;
                open.change(&console.texts, |registry, by| {
                    registry.set_device_tags(&args.name, &args.tags, by)
                })?;
                let tags = args.tags.join(" ");
                changed(console, &args.name, "tagged", None, |texts| {
                    say!(texts, "device-tagged", name = args.name, tags = tags)
                })
            }
            DeviceCommand::Forget(args) => {
                let mut open = Open::new(&args.place, console, lang)?;
                open.change(&console.texts, |registry, by| {
                    registry.forget_device(&args.name, by)
                })?;
                changed(console, &args.name, "forgotten", None, |texts| {
                    say!(texts, "device-forgotten", name = args.name)
                })
            }
        }
    }
}

fn add(args: &AddArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let mut open = Open::new(&args.place, console, lang)?;
    let texts = &console.texts;
    let device = described(args, open.now(), texts)?;
    let password = NewPassword::new(false, texts)?;
    let shown = password.shown.unwrap_or_default();
    // The text first: a device whose setup cannot be written is not added.
    let reach = Reach::find(&args.route, &open, &device, &args.tags, texts)?;
    let setup = reach.setup(&device, &shown, texts)?;
    let record = DeviceRecord {
        name: device.name.as_str().to_owned(),
        family: device.family.to_string(),
        topic: device.topic.clone(),
        client_id: device.client_id.clone(),
        username: device.username.clone(),
        mac: device.mac.map(|mac| mac.to_string()),
        password_hash: password.hash,
        extra: Rights {
            publish: device.extra.publish.clone(),
            subscribe: device.extra.subscribe.clone(),
        },
        tags: args.tags.clone(),
        created: device.created,
    };
    open.change(texts, |registry, by| registry.add_device(&record, by))?;
    reach.note(&mut open, &device, texts)?;
    let headline = say!(texts, "device-added", name = device.name);
    tell_setup(console, &headline, &device, &reach, &setup, &shown)
}

/// The device that was asked for.
fn described(args: &AddArgs, now: u64, texts: &Texts) -> Result<Device, Failure> {
    let bad_name = |error: safeport_fleet::NameError| {
        Failure::usage(say!(texts, "device-name-bad", name = args.name)).detail(error)
    };
    let name = DeviceName::new(&args.name).map_err(bad_name)?;
    let mut device = Device::new(name, args.family, args.mac, now).map_err(bad_name)?;
    if let Some(topic) = &args.topic {
        device = device.with_topic(topic).map_err(|error| {
            Failure::usage(say!(texts, "device-topic-bad", topic = topic)).detail(error)
        })?;
    }
    let extra = args.extra.rights(texts)?;
    device.extra = Grant {
        publish: extra.publish,
        subscribe: extra.subscribe,
    };
    Ok(device)
}

fn passwd(args: &PasswdArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let mut open = Open::new(&args.place, console, lang)?;
    let texts = &console.texts;
    let device = stored(&open, &args.name, texts)?;
    let password = NewPassword::new(false, texts)?;
    let shown = password.shown.unwrap_or_default();
    let tags = open
        .registry
        .device_tags(&args.name)
        .map_err(|error| failed(texts, &error))?;
    let reach = Reach::find(&args.route, &open, &device, &tags, texts)?;
    let setup = reach.setup(&device, &shown, texts)?;
    open.change(texts, |registry, by| {
        registry.set_device_password(&args.name, &password.hash, by)
    })?;
    reach.note(&mut open, &device, texts)?;
    let headline = say!(texts, "device-passwd", name = device.name);
    tell_setup(console, &headline, &device, &reach, &setup, &shown)
}

fn list(place: &Place, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let open = Open::new(place, console, lang)?;
    let records = open
        .registry
        .devices()
        .map_err(|error| failed(&console.texts, &error))?;
    if console.json {
        let values: Vec<_> = records.iter().map(record_json).collect();
        return console.json(&values);
    }
    if records.is_empty() {
        console.talk(&say!(console.texts, "device-none"));
        return Ok(());
    }
    let lines: Vec<String> = records
        .iter()
        .map(|record| format!("{}  {}  {}", record.name, record.family, record.topic))
        .collect();
    console.data(&lines.join("\n"))
}

fn show(args: &NameArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let open = Open::new(&args.place, console, lang)?;
    let texts = &console.texts;
    let device = stored(&open, &args.name, texts)?;
    let grant = device.grant();
    let rights = Rights {
        publish: grant.publish,
        subscribe: grant.subscribe,
    };
    let mac = device.mac.map(|mac| mac.to_string());
    let tags = open
        .registry
        .device_tags(&args.name)
        .map_err(|error| failed(texts, &error))?;
    let seen = last_attempts(&open, &device, texts)?;
    let pin = pin_of(&open, &device, texts)?;
    if console.json {
        let values: Vec<_> = seen
            .iter()
            .map(|row| attempts::row_json(row, texts))
            .collect();
        return console.json(&serde_json::json!({
            "name": device.name.as_str(),
            "family": device.family.to_string(),
            "topic": device.topic,
            "client_id": device.client_id,
            "username": device.username,
            "mac": mac,
            "fingerprint": pin.as_ref().map(|pin| &pin.fingerprint),
            "fingerprint_stranded": pin.as_ref().and_then(|pin| pin.stranded),
            "attempts": values,
            "tags": tags,
            "publish": rights.publish,
            "subscribe": rights.subscribe,
            "created": device.created,
        }));
    }
    console.data(&format!(
        "name       {}\nfamily     {}\ntopic      {}\nclient id  {}\nuser name  {}\nmac        \
         {}\ntags       {}\npublish    {}\nsubscribe  {}",
        device.name,
        device.family,
        device.topic,
        device.client_id,
        device.username,
        mac.as_deref().unwrap_or("-"),
        if tags.is_empty() {
            "-".to_owned()
        } else {
            tags.join(" ")
        },
        rights.publish.join(" "),
        rights.subscribe.join(" "),
    ))?;
    if let Some(pin) = pin {
        console.data(&format!("checks     {}", pin.fingerprint))?;
        if pin.stranded.is_some() {
            console.talk(&say!(texts, "device-stranded", name = device.name));
        }
    }
    if !seen.is_empty() {
        console.data(&format!("\n{}", attempts::table(&seen, texts)))?;
    }
    console.talk(&say!(texts, "device-show-next", name = device.name));
    Ok(())
}

/// The newest attempts of a device to connect.
fn last_attempts(open: &Open, device: &Device, texts: &Texts) -> Result<Vec<AttemptRow>, Failure> {
    let newest = AttemptQuery {
        limit: SHOWN_ATTEMPTS,
        ..AttemptQuery::default()
    };
    let who = (device.username.as_str(), device.client_id.as_str());
    attempts::of_device(&open.registry, who, &newest).map_err(|error| failed(texts, &error))
}

/// So many of them are shown with a device; `attempts --device` has all.
const SHOWN_ATTEMPTS: u32 = 5;

/// The fingerprint that a device was told to check.
fn pin_of(open: &Open, device: &Device, texts: &Texts) -> Result<Option<Pin>, Failure> {
    let pins = open.registry.pins();
    let pins = pins.map_err(|error| failed(texts, &error))?;
    Ok(pins
        .into_iter()
        .find(|pin| pin.device == device.name.as_str()))
}

/// The device of this name.
fn stored(open: &Open, name: &str, texts: &Texts) -> Result<Device, Failure> {
    let record = open
        .registry
        .device(name)
        .map_err(|error| failed(texts, &error))?
        .ok_or_else(|| {
            Failure::new(say!(texts, "name-unknown", name = name))
                .next(say!(texts, "device-unknown-next"))
        })?;
    device(record)
        .map_err(|why| Failure::new(say!(texts, "device-unreadable", name = name)).detail(why))
}

/// The text to enter on stdout, how to enter it on stderr.
fn tell_setup(
    console: &Console,
    headline: &str,
    device: &Device,
    reach: &Reach,
    setup: &Setup,
    password: &str,
) -> Result<(), Failure> {
    if console.json {
        let fields = match setup {
            Setup::Fields(fields) => Some(
                fields
                    .iter()
                    .map(|field| serde_json::json!({"label": field.label, "value": field.value}))
                    .collect::<Vec<_>>(),
            ),
            Setup::Line(_) | Setup::Snippet(_) => None,
        };
        return console.json(&serde_json::json!({
            "name": device.name.as_str(),
            "family": device.family.to_string(),
            "topic": device.topic,
            "client_id": device.client_id,
            "username": device.username,
            "password": password,
            "host": reach.host(),
            "port": reach.address.port(),
            "address": reach.address.to_string(),
            "tls": reach.is_tls(),
            "setup": setup.to_string(),
            "fields": fields,
        }));
    }
    let texts = &console.texts;
    console.talk(headline);
    console.talk(&match device.family {
        Family::Tasmota => say!(texts, "setup-tasmota"),
        Family::EspEasy => say!(texts, "setup-espeasy"),
        Family::EspHome => say!(texts, "setup-esphome"),
        _ => say!(texts, "setup-plain"),
    });
    reach.talk(console);
    console.data(&setup.to_string())
}

fn record_json(record: &DeviceRecord) -> serde_json::Value {
    serde_json::json!({
        "name": record.name,
        "family": record.family,
        "topic": record.topic,
        "client_id": record.client_id,
        "username": record.username,
        "mac": record.mac,
        "extra": rights::shown(&record.extra),
        "tags": record.tags,
        "created": record.created,
    })
}
