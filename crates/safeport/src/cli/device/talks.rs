//! `safeport device talks`: what a device and its agent said to each other.

mod saving;

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::super::Place;
use super::super::client::Remote;
use super::super::registry::failed;
use super::super::session::Session;
use super::super::user::changed;
use super::path;
use crate::console::{Console, Failure};
use crate::limits::API_TALKS;
use crate::say;
use crate::shown::talks;
use crate::text::Language;

#[derive(Debug, Args)]
pub(in super::super) struct TalksArgs {
    /// The device's name
    name: String,
    /// At most so many turns, the newest
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(API_TALKS)))]
    limit: u32,
    /// Forget all of them, with their sound
    #[arg(long)]
    forget: bool,
    /// Write their sound into this folder, where it is kept: Ogg Opus, which players open
    #[arg(long, value_name = "FOLDER", conflicts_with = "forget")]
    save: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(
    args: &TalksArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let session = Session::open(&args.place, &args.remote, console, lang)?;
    if args.forget {
        return forget(args, session, console);
    }
    let texts = &console.texts;
    let place = format!("{}/talks", path(&args.name));
    let found: Vec<Value> = match &session {
        Session::Server(client) => {
            let answer = client.get(&format!("{place}?limit={}", args.limit))?;
            answer["talks"].as_array().cloned().unwrap_or_default()
        }
        Session::Folder(open) => {
            let broken = |error| failed(texts, &error);
            if open.registry.device(&args.name).map_err(broken)?.is_none() {
                return Err(Failure::new(say!(texts, "name-unknown", name = args.name))
                    .next(say!(texts, "device-unknown-next")));
            }
            let rows = open
                .registry
                .talks(&args.name, None, args.limit, open.now());
            rows.map_err(broken)?.iter().map(talks::row_json).collect()
        }
    };
    if let Some(folder) = &args.save {
        let files = saving::save(&args.name, &found, folder, &session, texts)?;
        let shown = folder.display();
        let has_sound = found.iter().any(|talk| !talk["sound"].is_null());
        console.talk(&match has_sound {
            true => say!(texts, "talks-saved", files = files, folder = shown),
            false => say!(texts, "talks-soundless"),
        });
    }
    if console.json {
        return console.json(&found);
    }
    if found.is_empty() {
        console.talk(&say!(texts, "talks-none", name = args.name));
        return Ok(());
    }
    console.data(&talks::text(&found, texts))
}

fn forget(args: &TalksArgs, session: Session, console: &Console) -> Result<(), Failure> {
    match session {
        Session::Server(client) => {
            drop(client.delete(&format!("{}/talks", path(&args.name)))?);
        }
        Session::Folder(mut open) => open.change(&console.texts, |registry, by| {
            registry.forget_talks(&args.name, by).map(drop)
        })?,
    }
    changed(console, &args.name, "forgotten", None, |texts| {
        say!(texts, "talks-forgotten", name = args.name)
    })
}
