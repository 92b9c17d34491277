//! `safeport device`: devices, their logins, what is known of them, and the text that connects
//! them.

mod talks;
mod tools;

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use safeport_fleet::query::Where;
use safeport_fleet::{Family, Found, MacAddress, Query};
use serde_json::{Value, json};

use super::Place;
use super::client::{Remote, encoded};
use super::registry::{Open, failed, read_password};
use super::rights::Filters;
use super::session::{Session, need_server};
use super::user::changed;
use crate::console::{Console, Failure};
use crate::enrol::{self, BadTable, EnrolError, Enrolled, Wanted, Way, read_table};
use crate::limits::{API_BULK_BODY_BYTES, API_DEVICES, QR_BYTES};
use crate::say;
use crate::shown::{attempts, devices};
use crate::text::{Language, Texts};

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// Add a device, or all of a table, and print what to enter; stdout has exactly that
    Add(AddArgs),
    /// List devices
    List(ListArgs),
    /// Show one device: what it runs, which addresses it was told, by what it is known, its rights
    Show(NameArgs),
    /// What happened to a device, newest first
    Events(EventsArgs),
    /// Set what a device does not say itself, or says wrongly
    Set(SetArgs),
    /// Ask a device what it is and runs now
    Refresh(NameArgs),
    /// Enrol the xiaozhi device that says this code
    Activate(ActivateArgs),
    /// Give a device a new password and print what to enter into it
    Passwd(PasswdArgs),
    /// Give a device tags, for settings and offers that concern several devices; without any it has
    /// none
    Tag(TagArgs),
    /// Devices that came with what another one is known by; --keep or --pass settles one
    Quarantine(QuarantineArgs),
    /// Copy the device's own settings from its web pages, and compare them with the last copy
    Backup(NameArgs),
    /// Copies that are kept of a device's own settings
    Backups(NameArgs),
    /// What differs between two copies
    Compare(CompareArgs),
    /// Give a device its settings of a copy back, or write the copy to a file
    Restore(RestoreArgs),
    /// List what a xiaozhi device can be asked to do now: in a conversation, or connected over MQTT
    Tools(NameArgs),
    /// Have a xiaozhi device do something, and print what it answers
    Call(tools::CallArgs),
    /// Have a xiaozhi device say something in its conversation, or show it while it is idle (over MQTT)
    Say(tools::SayArgs),
    /// What a xiaozhi device and its agent said to each other, and how long the answers took
    Talks(talks::TalksArgs),
    /// Remove a device; its connections end within a second, and its address for firmware leads
    /// nowhere any more (a transfer that runs goes to its end, so that no device is left with half)
    Forget(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// tasmota, espeasy, xiaozhi, esphome, idf, or plain for any other firmware
    #[arg(required_unless_present = "csv")]
    family: Option<Family>,
    /// Name: a-z, 0-9, - and _; user name, client id and topic follow from it
    #[arg(long, required_unless_present = "csv")]
    name: Option<String>,
    /// Add all devices of this table instead (- for stdin): a line of titles with family, name and,
    /// as wanted, mac, topic and tags; all are added, or none
    #[arg(long, value_name = "FILE", conflicts_with_all = ["family", "name", "topic", "mac", "tags", "publish", "subscribe", "qr"])]
    csv: Option<PathBuf>,
    /// Topic of the device, where it is not the name
    #[arg(long)]
    topic: Option<String>,
    /// A tag, for settings that concern several devices (a-z, 0-9, -); may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Hardware address, such as a0:b1:c2:d3:e4:f5; reserves the client ids made of it
    #[arg(long)]
    mac: Option<MacAddress>,
    /// Show the text as a QR code too, for a phone
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    extra: Filters,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only those that meet this question, such as 'family==tasmota;version=lt=15.0;tag==kitchen';
    /// also those that are not enrolled
    #[arg(long = "where", value_name = "QUERY")]
    question: Option<String>,
    /// Also those that were only seen and have no login here
    #[arg(long)]
    seen: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The device: its name, its number such as dev_b4, or what else it is known by
    name: String,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// The device
    name: String,
    /// At most so many, newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(API_DEVICES)))]
    limit: u32,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The device
    name: String,
    /// Where its own web pages are, as HOST or HOST:PORT; empty to take it back, as with the others
    #[arg(long, value_name = "HOST:PORT")]
    web: Option<String>,
    /// Which firmware it runs
    #[arg(long)]
    family: Option<String>,
    /// Its chip, such as esp32c3
    #[arg(long)]
    chip: Option<String>,
    /// Size of its flash in bytes
    #[arg(long, value_name = "BYTES")]
    flash_size: Option<String>,
    /// What fits into its main slot, in bytes
    #[arg(long, value_name = "BYTES")]
    slot_size: Option<String>,
    /// How its flash is divided: dual, safeboot or single
    #[arg(long)]
    layout: Option<String>,
    /// Its board
    #[arg(long)]
    board: Option<String>,
    /// A note of yours
    #[arg(long)]
    note: Option<String>,
    /// Read the password of its own pages from stdin; an empty line forgets it
    #[arg(long)]
    web_password_stdin: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ActivateArgs {
    /// The six digits that it says and shows
    code: String,
    /// The name that it gets. Default: made of its board and address
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    remote: Remote,
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
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct QuarantineArgs {
    /// Who has the identity keeps it
    #[arg(long, value_name = "ID", conflicts_with = "pass")]
    keep: Option<String>,
    /// It passes to who came with it
    #[arg(long, value_name = "ID")]
    pass: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The copy, such as bak_b4
    backup: String,
    /// The other one. Default: the one before it
    with: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The copy, such as bak_b4
    backup: String,
    /// Give it to this device instead of the one that it is of; both must be alike
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Only show whether it could be done
    #[arg(long)]
    preview: bool,
    /// Write the copy to this file and change nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "preview"])]
    into: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct PasswdArgs {
    /// The device's name
    name: String,
    /// Show the text as a QR code too, for a phone
    #[arg(long)]
    qr: bool,
    #[command(flatten)]
    way: Way,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

impl DeviceCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            DeviceCommand::Add(args) => add(args, console, lang),
            DeviceCommand::List(args) => list(args, console, lang),
            DeviceCommand::Show(args) => show(args, console, lang),
            DeviceCommand::Events(args) => events(args, console, lang),
            DeviceCommand::Set(args) => set(args, console, lang),
            DeviceCommand::Refresh(args) => refresh(args, console, lang),
            DeviceCommand::Activate(args) => activate(args, console, lang),
            DeviceCommand::Passwd(args) => passwd(args, console, lang),
            DeviceCommand::Tag(args) => tag(args, console, lang),
            DeviceCommand::Quarantine(args) => quarantine(args, console, lang),
            DeviceCommand::Backup(args) => back_up(args, console, lang),
            DeviceCommand::Backups(args) => backups(args, console, lang),
            DeviceCommand::Compare(args) => compare(args, console, lang),
            DeviceCommand::Restore(args) => restore(args, console, lang),
            DeviceCommand::Tools(args) => tools::list(args, console, lang),
            DeviceCommand::Call(args) => tools::call(args, console, lang),
            DeviceCommand::Say(args) => tools::say(args, console, lang),
            DeviceCommand::Talks(args) => talks::run(args, console, lang),
            DeviceCommand::Forget(args) => forget(args, console, lang),
        }
    }
}

/// The place of a device in the API.
fn path(name: &str) -> String {
    format!("/devices/{}", encoded(name))
}

fn add(args: &AddArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    if let Some(file) = &args.csv {
        return add_table(args, file, console, lang);
    }
    let wanted = Wanted {
        family: args.family.unwrap_or(Family::Plain).to_string(),
        name: args.name.clone().unwrap_or_default(),
        topic: args.topic.clone(),
        mac: args.mac.map(|mac| mac.to_string()),
        tags: args.tags.clone(),
        publish: args.extra.publish.clone(),
        subscribe: args.extra.subscribe.clone(),
        line: None,
    };
    let session = Session::open(&args.place, &args.remote, console, lang)?;
    let enrolled = match session {
        Session::Server(client) => client.post("/devices", &with_way(json!(wanted), &args.way))?,
        Session::Folder(mut open) => enrolling(&mut open, console, |ground| {
            enrol::add(ground, &wanted, &args.way)
        })?
        .json(),
    };
    let name = enrolled["name"].as_str().unwrap_or_default();
    let headline = say!(console.texts, "device-added", name = name);
    tell_setup(console, &headline, &enrolled, args.qr)
}

/// Adds all of a table.
fn add_table(
    args: &AddArgs,
    file: &PathBuf,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let texts = &console.texts;
    let wanted = read_table(&text_of(file, texts)?).map_err(|bad| {
        let lines: Vec<String> = bad.iter().map(|bad| bad_table(bad, texts)).collect();
        Failure::usage(say!(texts, "enrol-table-bad", path = file.display()))
            .detail(lines.join("\n"))
            .next(say!(texts, "enrol-mistakes-next"))
    })?;
    let session = Session::open(&args.place, &args.remote, console, lang)?;
    let answer = match session {
        Session::Server(client) => {
            let body = with_way(json!({"devices": wanted}), &args.way);
            client.post("/enrolments", &body)?
        }
        Session::Folder(mut open) => {
            let added = enrolling(&mut open, console, |ground| {
                enrol::add_all(ground, &wanted, &args.way)
            })?;
            json!({"devices": added.iter().map(Enrolled::json).collect::<Vec<_>>()})
        }
    };
    let added = answer["devices"].as_array().cloned().unwrap_or_default();
    if console.json {
        return console.json(&added);
    }
    console.talk(&say!(console.texts, "devices-added", count = added.len()));
    let mut remarks: Vec<&str> = Vec::new();
    let mut lines = vec!["name,family,username,password,address,setup".to_owned()];
    for one in &added {
        let found = one["remarks"].as_array().into_iter().flatten();
        for remark in found.filter_map(Value::as_str) {
            if !remarks.contains(&remark) {
                remarks.push(remark);
            }
        }
        let fields = ["name", "family", "username", "password", "address", "setup"];
        let fields: Vec<String> = fields
            .into_iter()
            .map(|name| field(one[name].as_str().unwrap_or_default().trim_end()))
            .collect();
        lines.push(fields.join(","));
    }
    for remark in remarks {
        console.talk(remark);
    }
    console.data(&lines.join("\n"))
}

/// A field of CSV.
fn field(text: &str) -> String {
    // A spreadsheet takes what begins with these for a formula.
    let guard = if text.starts_with(['=', '+', '-', '@']) {
        "'"
    } else {
        ""
    };
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{guard}{}\"", text.replace('"', "\"\"")),
        false => format!("{guard}{text}"),
    }
}

fn text_of(file: &PathBuf, texts: &Texts) -> Result<String, Failure> {
    let unreadable = |error: std::io::Error| {
        let path = file.display();
        Failure::usage(say!(texts, "client-file-unreadable", path = path)).detail(error)
    };
    let limit = API_BULK_BODY_BYTES as u64;
    let mut text = String::new();
    let more = limit + 1;
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(more).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(more).read_to_string(&mut text))
    }
    .map_err(unreadable)?;
    if text.len() as u64 > limit {
        // Half of a table would be added as if it were all.
        let (path, mib) = (file.display(), limit >> 20);
        let headline = say!(texts, "table-too-long", path = path, mib = mib);
        return Err(Failure::usage(headline));
    }
    Ok(text)
}

fn bad_table(bad: &BadTable, texts: &Texts) -> String {
    match bad {
        BadTable::Empty => say!(texts, "table-empty"),
        BadTable::Title(title) => say!(texts, "table-title", title = format!("{title:?}")),
        BadTable::Missing(title) => say!(texts, "table-missing", title = title),
        BadTable::TooWide { line } => say!(texts, "table-wide", line = line),
        BadTable::Open { line } => say!(texts, "table-open", line = line),
    }
}

fn with_way(mut body: Value, way: &Way) -> Value {
    if let (Value::Object(body), Value::Object(way)) = (&mut body, json!(way)) {
        body.extend(way);
    }
    body
}

/// Enrols beside no server.
fn enrolling<T>(
    open: &mut Open,
    console: &Console,
    work: impl FnOnce(&mut enrol::Ground<'_>) -> Result<T, EnrolError>,
) -> Result<T, Failure> {
    let texts = &console.texts;
    work(&mut open.ground(texts))
        .map_err(|error| enrol::failure(error, texts, |error| failed(texts, error)))
}

fn passwd(args: &PasswdArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let session = Session::open(&args.place, &args.remote, console, lang)?;
    let renewed = match session {
        Session::Server(client) => {
            client.post(&format!("{}/password", path(&args.name)), &json!(args.way))?
        }
        Session::Folder(mut open) => enrolling(&mut open, console, |ground| {
            enrol::renew(ground, &args.name, &args.way)
        })?
        .json(),
    };
    let headline = say!(console.texts, "device-passwd", name = args.name);
    tell_setup(console, &headline, &renewed, args.qr)
}

fn list(args: &ListArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let enrolled_only = !args.seen && args.question.is_none();
    let session = Session::open(&args.place, &args.remote, console, lang)?;
    let serves = matches!(session, Session::Server(_));
    let rows = match session {
        Session::Server(client) => {
            let mut query = format!("?limit={API_DEVICES}");
            if enrolled_only {
                query.push_str("&enrolled=true");
            }
            if let Some(question) = &args.question {
                query.push_str(&format!("&where={}", encoded(question)));
            }
            let mut rows = Vec::new();
            let mut after = String::new();
            loop {
                let mut page = client.get(&format!("/devices{query}{after}"))?;
                if let Value::Array(found) = page["devices"].take() {
                    rows.extend(found);
                }
                match page["next"].as_str() {
                    Some(next) => after = format!("&after={}", encoded(next)),
                    None => break rows,
                }
            }
        }
        Session::Folder(open) => {
            let texts = &console.texts;
            let question = args.question.as_deref().map(Where::parse).transpose();
            let question = question.map_err(|error| {
                let query = args.question.as_deref().unwrap_or_default();
                Failure::usage(say!(texts, "query-bad", query = query)).detail(error)
            })?;
            let roster = devices::roster(&open.registry).map_err(|error| failed(texts, &error))?;
            let mut query = question.as_ref().map(Query::narrowed).unwrap_or_default();
            query.enrolled = enrolled_only.then_some(true).or(query.enrolled);
            let now = open.now();
            let all = (None, usize::MAX, usize::MAX);
            let page = roster.select_where(&query, question.as_ref(), now, all);
            page.members
                .iter()
                .map(|member| devices::row(member))
                .collect()
        }
    };
    if console.json {
        return console.json(&rows);
    }
    if rows.is_empty() {
        console.talk(&match enrolled_only {
            true => say!(console.texts, "device-none"),
            false => say!(console.texts, "device-none-such"),
        });
        return Ok(());
    }
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| devices::line(row, &console.texts))
        .collect();
    lines.sort();
    console.data(&lines.join("\n"))?;
    if !serves {
        console.talk(&say!(console.texts, "device-findings-none"));
    }
    Ok(())
}

fn show(args: &NameArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let session = Session::open(&args.place, &args.remote, console, lang)?;
    let texts = &console.texts;
    let device = match session {
        Session::Server(client) => client.get(&path(&args.name))?,
        Session::Folder(open) => {
            let broken = |error| failed(texts, &error);
            let roster = devices::roster(&open.registry).map_err(broken)?;
            let Found::One(member) = roster.find(&args.name) else {
                return Err(Failure::new(say!(texts, "name-unknown", name = args.name))
                    .next(say!(texts, "device-unknown-next")));
            };
            devices::full(&open.registry, member, texts).map_err(broken)?
        }
    };
    if console.json {
        return console.json(&device);
    }
    console.data(&devices::sheet(&device, texts))?;
    let name = device["name"].as_str().unwrap_or_default();
    if device["fingerprint_stranded"].is_u64() {
        console.talk(&say!(texts, "device-stranded", name = name));
    }
    let seen = device["attempts"].as_array().cloned().unwrap_or_default();
    if !seen.is_empty() {
        console.data(&format!("\n{}", attempts::table_of_json(&seen)))?;
    }
    console.talk(&say!(texts, "device-show-next", name = name));
    Ok(())
}

fn events(args: &EventsArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let place = format!("{}/events?limit={}", path(&args.name), args.limit);
    let answer = client.get(&place)?;
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    match console.json {
        true => console.json(&events),
        false => console.data(&devices::events(&events)),
    }
}

fn set(args: &SetArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let mut body = serde_json::Map::new();
    let mut number = |name: &str, text: &Option<String>, is_number: bool| {
        let Some(text) = text else { return };
        let value = match text.parse::<u64>() {
            _ if text.is_empty() => Value::Null,
            Ok(number) if is_number => json!(number),
            _ => json!(text),
        };
        body.insert(name.to_owned(), value);
    };
    number("web", &args.web, false);
    number("family", &args.family, false);
    number("chip", &args.chip, false);
    number("flash_size", &args.flash_size, true);
    number("layout", &args.layout, false);
    number("board", &args.board, false);
    number("note", &args.note, false);
    if let Some(text) = &args.slot_size {
        let size = text.parse::<u32>().ok();
        if size.is_none() && !text.is_empty() {
            return Err(Failure::usage(say!(
                console.texts,
                "device-slot-size",
                given = text
            )));
        }
        let room = size.map(|size| json!([["main", size]]));
        body.insert("room".to_owned(), room.unwrap_or_default());
    }
    if body.is_empty() && !args.web_password_stdin {
        return Err(Failure::usage(say!(console.texts, "device-set-nothing")));
    }
    let client = need_server(&args.place, &args.remote, console, lang)?;
    if args.web_password_stdin {
        let password = read_password(&console.texts)?;
        let place = format!("{}/web-password", path(&args.name));
        client.put(&place, &json!({"password": password}))?;
        if !console.json {
            console.talk(&match password.is_empty() {
                true => say!(console.texts, "device-web-password-gone", name = args.name),
                false => say!(console.texts, "device-web-password", name = args.name),
            });
        }
        if body.is_empty() {
            return match console.json {
                true => console.json(&client.get(&path(&args.name))?),
                false => Ok(()),
            };
        }
    }
    let device = client.patch(&path(&args.name), &Value::Object(body))?;
    if console.json {
        return console.json(&device);
    }
    console.talk(&say!(console.texts, "device-set", name = args.name));
    Ok(())
}

fn refresh(args: &NameArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let done = client.post(&format!("{}/refresh", path(&args.name)), &json!({}))?;
    if console.json {
        return console.json(&done);
    }
    let name = done["name"].as_str().unwrap_or(&args.name);
    console.talk(&match done["done"].as_str() {
        Some("asked") => say!(console.texts, "device-asked", name = name),
        _ => say!(console.texts, "device-refreshed", name = name),
    });
    Ok(())
}

fn activate(
    args: &ActivateArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let body = json!({"code": args.code, "name": args.name});
    let done = client.post("/activations", &body)?;
    if console.json {
        return console.json(&done);
    }
    let word = |name: &str| done[name].as_str().unwrap_or_default().to_owned();
    console.talk(&say!(
        console.texts,
        "device-activated",
        name = word("name"),
        mac = word("mac"),
        board = word("board")
    ));
    Ok(())
}

fn tag(args: &TagArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    match Session::open(&args.place, &args.remote, console, lang)? {
        Session::Server(client) => {
            drop(client.patch(&path(&args.name), &json!({"tags": args.tags}))?);
        }
        Session::Folder(mut open) => open.change(&console.texts, |registry, by| {
            registry.set_device_tags(&args.name, &args.tags, by)
        })?,
    }
    let tags = args.tags.join(" ");
    changed(console, &args.name, "tagged", None, |texts| {
        say!(texts, "device-tagged", name = args.name, tags = tags)
    })
}

fn forget(args: &NameArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    match Session::open(&args.place, &args.remote, console, lang)? {
        Session::Server(client) => drop(client.delete(&path(&args.name))?),
        Session::Folder(mut open) => open.change(&console.texts, |registry, by| {
            registry.forget_device(&args.name, by)
        })?,
    }
    changed(console, &args.name, "forgotten", None, |texts| {
        say!(texts, "device-forgotten", name = args.name)
    })
}

fn quarantine(
    args: &QuarantineArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let decided = [("keep", &args.keep), ("pass", &args.pass)];
    for (decision, id) in decided {
        let Some(id) = id else { continue };
        let place = format!("/quarantine/{}", encoded(id));
        let done = client.post(&place, &json!({"decision": decision}))?;
        if console.json {
            return console.json(&done);
        }
        console.talk(&match decision {
            "keep" => say!(console.texts, "quarantine-kept", id = id),
            _ => say!(console.texts, "quarantine-passed", id = id),
        });
        return Ok(());
    }
    let answer = client.get("/quarantine")?;
    let conflicts = answer["conflicts"].as_array().cloned().unwrap_or_default();
    if console.json {
        return console.json(&conflicts);
    }
    if conflicts.is_empty() {
        console.talk(&say!(console.texts, "quarantine-none"));
        return Ok(());
    }
    let lines: Vec<String> = conflicts
        .iter()
        .map(|conflict| {
            let who = |value: &Value| {
                let name = value["name"].as_str().or(value["id"].as_str());
                name.map(str::to_owned)
            };
            let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            format!(
                "{}  {} {}  {}  {} <- {}  {}x",
                text(&conflict["id"]),
                text(&conflict["identity"]["kind"]),
                text(&conflict["identity"]["value"]),
                text(&conflict["why"]),
                who(&conflict["holder"]).unwrap_or_default(),
                who(&conflict["claimant"]).unwrap_or_else(|| text(&conflict["peer"])),
                conflict["count"],
            )
        })
        .collect();
    console.data(&lines.join("\n"))?;
    console.talk(&say!(console.texts, "quarantine-next"));
    Ok(())
}

fn back_up(args: &NameArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let made = client.post(&format!("{}/backups", path(&args.name)), &json!({}))?;
    if console.json {
        return console.json(&made);
    }
    let texts = &console.texts;
    let id = made["backup"]["id"].as_str().unwrap_or_default();
    console.talk(&match made["unchanged"] == true {
        true => say!(texts, "backup-same", name = args.name, id = id),
        false => say!(texts, "backup-made", name = args.name, id = id),
    });
    if let Some(bytes) = made["compared"]["differing_bytes"]
        .as_u64()
        .filter(|n| *n > 0)
    {
        console.talk(&say!(texts, "backup-differs", bytes = bytes));
    }
    console.data(id)
}

fn backups(args: &NameArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let answer = client.get(&format!("{}/backups", path(&args.name)))?;
    let found = answer["backups"].as_array().cloned().unwrap_or_default();
    if console.json {
        return console.json(&found);
    }
    if found.is_empty() {
        console.talk(&say!(console.texts, "backups-none", name = args.name));
        return Ok(());
    }
    let lines: Vec<String> = found
        .iter()
        .map(|backup| {
            let text = |name: &str| backup[name].as_str().unwrap_or("-");
            let at = crate::time::stamp(backup["at"].as_u64().unwrap_or_default());
            let (id, version) = (text("id"), text("version"));
            format!("{id}  {at}  {version}  {}  {}", backup["size"], text("why"))
        })
        .collect();
    console.data(&lines.join("\n"))
}

fn compare(
    args: &CompareArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let mut place = format!("/backups/{}/compare", encoded(&args.backup));
    if let Some(with) = &args.with {
        place.push_str(&format!("?with={}", encoded(with)));
    }
    let compared = client.get(&place)?;
    console.json(&compared)
}

fn restore(
    args: &RestoreArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let texts = &console.texts;
    let place = format!("/backups/{}", encoded(&args.backup));
    if let Some(into) = &args.into {
        let shown = into.display();
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(into).map_err(|error| {
            Failure::usage(say!(texts, "backup-unwritable", path = shown)).detail(error)
        })?;
        let written = client.download(&format!("{place}/bytes"), &mut file);
        if written.is_err() {
            // Half a copy is none, and its name is wanted for the next try.
            let _ = std::fs::remove_file(into);
        }
        let bytes = written?;
        let id = &args.backup;
        console.talk(&say!(
            texts,
            "backup-written",
            id = id,
            path = shown,
            bytes = bytes
        ));
        return Ok(());
    }
    let body = json!({
        "to": args.to, "other_device": args.to.is_some(), "preview": args.preview,
    });
    let done = client.post(&format!("{place}/restore"), &body)?;
    if console.json {
        return console.json(&done);
    }
    for warning in done["warnings"].as_array().into_iter().flatten() {
        console.talk(warning.as_str().unwrap_or_default());
    }
    if !args.preview {
        let backup = client.get(&place)?;
        let name = args.to.as_deref().or(backup["device"].as_str());
        let name = name.unwrap_or_default();
        console.talk(&say!(
            texts,
            "backup-restored",
            name = name,
            id = args.backup
        ));
    }
    Ok(())
}

/// The text to enter on stdout, how to enter it on stderr.
fn tell_setup(
    console: &Console,
    headline: &str,
    enrolled: &Value,
    qr: bool,
) -> Result<(), Failure> {
    if console.json {
        return console.json(enrolled);
    }
    let texts = &console.texts;
    let setup = enrolled["setup"].as_str().unwrap_or_default();
    console.talk(headline);
    console.talk(&match enrolled["family"].as_str() {
        Some("tasmota") => say!(texts, "setup-tasmota"),
        Some("espeasy") => say!(texts, "setup-espeasy"),
        Some("esphome") => say!(texts, "setup-esphome"),
        Some("xiaozhi") => say!(texts, "setup-xiaozhi"),
        _ => say!(texts, "setup-plain"),
    });
    let remarks = enrolled["remarks"].as_array().into_iter().flatten();
    for remark in remarks.filter_map(Value::as_str) {
        console.talk(remark);
    }
    if qr {
        // Of one field only its value: that is what goes into the device.
        let fields = enrolled["fields"].as_array().map(Vec::as_slice);
        let text = match fields {
            Some([one]) => one["value"].as_str().unwrap_or_default(),
            _ => setup.trim_end(),
        };
        match qrcode::QrCode::new(text)
            .ok()
            .filter(|_| text.len() <= QR_BYTES)
        {
            Some(code) => console.talk(
                &code
                    .render::<qrcode::render::unicode::Dense1x2>()
                    .quiet_zone(true)
                    .build(),
            ),
            None => console.talk(&say!(texts, "qr-too-long")),
        }
    }
    console.data(setup)
}
