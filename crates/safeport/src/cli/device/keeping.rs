//! `safeport device set`, `refresh`, `tag`, `quarantine` and `forget`: keeping true what is known of
//! devices.

use clap::Args;
use serde_json::{Value, json};

use super::super::Place;
use super::super::client::{Remote, encoded};
use super::super::registry::read_password;
use super::super::session::{Session, need_server};
use super::super::user::changed;
use super::{NameArgs, path};
use crate::console::{Console, Failure};
use crate::say;
use crate::text::Language;

#[derive(Debug, Args)]
pub(in super::super) struct SetArgs {
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
pub(in super::super) struct TagArgs {
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
pub(in super::super) struct QuarantineArgs {
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

pub(super) fn set(
    args: &SetArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn refresh(
    args: &NameArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn tag(
    args: &TagArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn quarantine(
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

pub(super) fn forget(
    args: &NameArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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
