//! `config history` and `config diff`.

use std::path::PathBuf;

use safeport_store::{Registry, Revision, RevisionState, Scope};

use super::{DiffArgs, HistoryArgs};
use crate::cli::registry::{Open, failed};
use crate::cli::{Place, gather};
use crate::console::{Console, Failure};
use crate::reading::{Asked, Gathered, Read};
use crate::say;
pub(super) use crate::shown::revisions::{SECRET, changed_in, json};
use crate::text::{Language, Texts};
use crate::time::stamp;

pub(super) fn history(
    args: &HistoryArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let open = beside(&args.place, console, lang)?;
    let revisions = open
        .registry
        .history(args.limit)
        .map_err(|error| failed(&console.texts, &error))?;
    if console.json {
        let values: Vec<_> = revisions.iter().map(json).collect();
        return console.json(&values);
    }
    if revisions.is_empty() {
        console.talk(&say!(console.texts, "history-none"));
        return Ok(());
    }
    let texts = &console.texts;
    let blocks: Vec<String> = revisions
        .iter()
        .map(|revision| block(revision, texts))
        .collect();
    console.data(&blocks.join("\n"))
}

/// The past can be looked at although the files of now have mistakes.
fn beside(place: &Place, console: &mut Console, lang: Option<Language>) -> Result<Open, Failure> {
    let gathered = gather(&place.asked(), console, lang)?;
    Open::beside(&gathered, console)
}

fn block(revision: &Revision, texts: &Texts) -> String {
    let mut text = format!(
        "{:>4}  {}  {}  {}: {}",
        revision.id,
        stamp(revision.at),
        revision.who,
        revision.kind,
        state(texts, revision.state),
    );
    let mut line = |more: &str| {
        text.push_str("\n      ");
        text.push_str(more);
    };
    if !revision.reason.is_empty() {
        line(&format!("“{}”", revision.reason));
    }
    for change in &revision.changes {
        let show = |value: &Option<String>| match value {
            None => "-".to_owned(),
            Some(_) if change.secret => SECRET.to_owned(),
            Some(value) => value.clone(),
        };
        line(&format!(
            "{}{}: {} → {}",
            change.key,
            scope(&change.scope),
            show(&change.old),
            show(&change.new)
        ));
    }
    for file in &revision.files {
        line(&file.path);
        for changed in changed_in(file) {
            line(&format!(
                "  {}: {} → {}",
                changed.key,
                changed.old.as_deref().unwrap_or("-"),
                changed.new.as_deref().unwrap_or("-")
            ));
        }
    }
    if let Some(verdict) = &revision.verdict {
        for part in verdict.lines() {
            line(part);
        }
    }
    text
}

fn scope(scope: &Scope) -> String {
    match scope {
        Scope::Everyone => String::new(),
        Scope::Tag(name) => format!(" (tag {name})"),
        Scope::Device(name) => format!(" (device {name})"),
    }
}

fn state(texts: &Texts, state: RevisionState) -> String {
    match state {
        RevisionState::Staged => say!(texts, "state-staged"),
        RevisionState::Live => say!(texts, "state-live"),
        RevisionState::Refused => say!(texts, "state-refused"),
        RevisionState::Unconfirmed => say!(texts, "state-unconfirmed"),
        RevisionState::Reverted => say!(texts, "state-reverted"),
    }
}

pub(super) fn diff(
    args: &DiffArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let open = beside(&args.place, console, lang)?;
    let texts = &console.texts;
    let (from, to) = range(&args.revisions).ok_or_else(|| {
        Failure::usage(say!(texts, "diff-range-bad", range = args.revisions))
            .next(say!(texts, "diff-range-next"))
    })?;
    let asked = args.place.asked();
    let before = as_of(&open.registry, &asked, from, texts)?;
    let after = match to {
        Some(to) => as_of(&open.registry, &asked, to, texts)?,
        None => Read::new(&asked).map_err(|error| error.failure(texts, false))?,
    };
    let old = shown_values(&before);
    let new = shown_values(&after);
    let rows: Vec<(String, Option<String>, Option<String>, String)> = before
        .settings
        .differences(&after.settings)
        .into_iter()
        .map(|key| {
            let source = after
                .settings
                .source(&key)
                .map(ToString::to_string)
                .unwrap_or_default();
            let (was, is) = (old.get(&key).cloned(), new.get(&key).cloned());
            (key, was, is, source)
        })
        .collect();
    if console.json {
        return console.json(&serde_json::json!({
            "from": from,
            "to": to,
            "differences": rows.iter().map(|(key, old, new, source)| serde_json::json!({
                "key": key, "old": old, "new": new, "source": source,
            })).collect::<Vec<_>>(),
        }));
    }
    if rows.is_empty() {
        console.talk(&say!(texts, "diff-none"));
        return Ok(());
    }
    let dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let lines: Vec<String> = rows
        .into_iter()
        .map(|(key, old, new, source)| format!("{key}: {} → {}  # {source}", dash(old), dash(new)))
        .collect();
    console.data(&lines.join("\n"))
}

fn shown_values(read: &Read) -> std::collections::HashMap<String, String> {
    read.settings
        .values()
        .map(|entry| (entry.key, entry.value))
        .collect()
}

/// `3` or `3..7`.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    match text.split_once("..") {
        None => Some((text.trim().parse().ok()?, None)),
        Some((from, "")) => Some((from.trim().parse().ok()?, None)),
        Some((from, to)) => Some((from.trim().parse().ok()?, Some(to.trim().parse().ok()?))),
    }
}

/// Everything as it was when revision `id` had been made.
pub(super) fn as_of(
    registry: &Registry,
    asked: &Asked,
    id: u64,
    texts: &Texts,
) -> Result<Read, Failure> {
    let known = registry
        .revision(id)
        .map_err(|error| failed(texts, &error))?;
    if known.is_none() {
        return Err(
            Failure::usage(say!(texts, "revision-unknown", revision = id))
                .next(say!(texts, "revision-unknown-next")),
        );
    }
    let managed = registry
        .managed_at(id)
        .map_err(|error| failed(texts, &error))?;
    let files = registry
        .files_at(id)
        .map_err(|error| failed(texts, &error))?;
    let gathered = Gathered::new(asked).map_err(|error| error.failure(texts, false))?;
    // Files that no revision speaks of stay as they are.
    let texts_then: Vec<(PathBuf, Option<String>)> = files
        .into_iter()
        .map(|(path, text)| (PathBuf::from(path), text))
        .collect();
    gathered
        .with_files(&texts_then)
        .judge(managed)
        .map_err(|error| error.failure(texts, false))
}
