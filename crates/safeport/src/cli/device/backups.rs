//! `safeport device backup`, `backups`, `compare` and `restore`: copies of a device's own settings.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::Place;
use super::super::client::{Remote, encoded};
use super::super::session::need_server;
use super::{NameArgs, path};
use crate::console::{Console, Failure};
use crate::say;
use crate::text::Language;

#[derive(Debug, Args)]
pub(in super::super) struct CompareArgs {
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
pub(in super::super) struct RestoreArgs {
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

pub(super) fn back_up(
    args: &NameArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn backups(
    args: &NameArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
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

pub(super) fn compare(
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

pub(super) fn restore(
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
