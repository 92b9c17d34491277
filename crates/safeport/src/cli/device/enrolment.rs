//! `safeport device add`, `activate` and `passwd`: devices get a login, and the text that connects
//! them.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use safeport_fleet::{Family, MacAddress};
use serde_json::{Value, json};

use super::super::Place;
use super::super::client::Remote;
use super::super::registry::{Open, failed};
use super::super::rights::Filters;
use super::super::session::{Session, need_server};
use super::path;
use crate::console::{Console, Failure};
use crate::enrol::{self, BadTable, EnrolError, Enrolled, Wanted, Way, read_table};
use crate::limits::{API_BULK_BODY_BYTES, QR_BYTES};
use crate::say;
use crate::text::{Language, Texts};

#[derive(Debug, Args)]
pub(in super::super) struct AddArgs {
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
pub(in super::super) struct ActivateArgs {
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
pub(in super::super) struct PasswdArgs {
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

pub(super) fn add(
    args: &AddArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn activate(
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

pub(super) fn passwd(
    args: &PasswdArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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
