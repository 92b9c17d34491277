//! `safeport device list`, `show` and `events`: what is known of devices.

use clap::Args;
use safeport_fleet::query::Where;
use safeport_fleet::{Found, Query};
use serde_json::Value;

use super::super::Place;
use super::super::client::{Remote, encoded};
use super::super::registry::failed;
use super::super::session::{Session, need_server};
use super::{NameArgs, path};
use crate::console::{Console, Failure};
use crate::limits::API_DEVICES;
use crate::say;
use crate::shown::{attempts, devices};
use crate::text::Language;

#[derive(Debug, Args)]
pub(in super::super) struct ListArgs {
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
pub(in super::super) struct EventsArgs {
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

pub(super) fn list(
    args: &ListArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn show(
    args: &NameArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn events(
    args: &EventsArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let place = format!("{}/events?limit={}", path(&args.name), args.limit);
    let answer = client.get(&place)?;
    let events = answer["events"].as_array().cloned().unwrap_or_default();
    match console.json {
        true => console.json(&events),
        false => console.data(&devices::events(&events)),
    }
}
