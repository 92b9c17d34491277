//! `config show`, `delta` and `explain`.

use std::path::PathBuf;

use safeport_settings::{Fate, Source};
use safeport_store::{DataFolder, Live, Registry};

use super::KeyArgs;
use crate::cli::{Place, gather, read, speak};
use crate::console::{Console, Failure};
use crate::reading::Read;
use crate::say;
use crate::shown::settings::{entry_json, explained_json};
use crate::text::{Language, Texts};

/// Prints every value, or those that are not default, and where it comes from.
pub(super) fn show(
    place: &Place,
    console: &mut Console,
    lang: Option<Language>,
    delta: bool,
) -> Result<(), Failure> {
    let asked = place.asked();
    let read = match Read::new(&asked) {
        Ok(read) => read,
        Err(error) => {
            // What is in force can be shown although the files of now have mistakes.
            let gathered = gather(&asked, console, lang)?;
            let running = Running::at(gathered.data_folder());
            let failed = error.failure(&console.texts, false);
            running.show_live(console, delta)?;
            return Err(failed);
        }
    };
    speak(read.settings.server.language, console, lang);
    let running = Running::of(&read);
    let entries: Vec<_> = read
        .settings
        .values()
        .filter(|entry| !delta || *entry.source != Source::Default)
        .collect();
    if console.json {
        let values: Vec<_> = entries
            .iter()
            .map(|entry| entry_json(entry, running.value(&entry.key)))
            .collect();
        return console.json(&values);
    }
    if entries.is_empty() {
        console.talk(&say!(console.texts, "config-all-default"));
    }
    let lines: Vec<String> = entries
        .iter()
        .map(|entry| {
            let mut line = format!("{} = {}", entry.key, entry.value);
            let mut remarks = Vec::new();
            if *entry.source != Source::Default {
                remarks.push(entry.source.to_string());
            }
            if let Some(value) = running.other(&entry.key, &entry.value) {
                remarks.push(say!(console.texts, "config-running-has", value = value));
            }
            if !remarks.is_empty() {
                line.push_str("  # ");
                line.push_str(&remarks.join("; "));
            }
            line
        })
        .collect();
    console.data(&lines.join("\n"))?;
    running.talk(console);
    Ok(())
}

/// Prints everything that is known of one key.
pub(super) fn explain(
    args: &KeyArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let read = read(&args.place.asked(), console, lang)?;
    let texts = &console.texts;
    let running = Running::of(&read);
    let told;
    let settings = match &args.device {
        None => &read.settings,
        Some(device) => {
            let tags = running.tags(device, texts)?;
            told = read
                .told_to(device, &tags)
                .map_err(|error| error.failure(texts, false))?;
            &told
        }
    };
    let Some(explained) = settings.explain(&args.key) else {
        return Err(unknown_key(texts, &args.key));
    };
    if console.json {
        let running = running.value(&explained.key);
        return console.json(&explained_json(&explained, running, texts.language()));
    }
    let mut text = format!("{} = {}\n", explained.key, explained.value);
    let width = explained
        .ladder
        .iter()
        .map(|rung| rung.value.chars().count())
        .max()
        .unwrap_or(0);
    for rung in explained.ladder.iter().rev() {
        let mark = if rung.fate == Fate::Won { "*" } else { " " };
        let pad = width - rung.value.chars().count();
        text.push_str(&format!(
            "{mark} {}{:pad$}  {}  {}\n",
            rung.value,
            "",
            rung.source,
            fate(texts, rung.fate),
        ));
    }
    if let Some(value) = running.other(&explained.key, &explained.value) {
        text.push_str(&say!(texts, "config-running-has", value = value));
        text.push('\n');
    }
    text.push_str(explained.doc.in_language(texts.language().into()));
    if let Some((least, most)) = explained.limits {
        text.push('\n');
        text.push_str(&say!(texts, "explain-limits", least = least, most = most));
    }
    for remark in explained.policy.remarks() {
        text.push('\n');
        text.push_str(remark.in_language(texts.language().into()));
    }
    console.data(&text)
}

fn fate(texts: &Texts, fate: Fate) -> String {
    match fate {
        Fate::Won => say!(texts, "fate-won"),
        Fate::Outranked => say!(texts, "fate-outranked"),
        Fate::Pinned => say!(texts, "fate-pinned"),
        Fate::Joined => say!(texts, "fate-joined"),
        Fate::SameAsWinner => say!(texts, "fate-same"),
        Fate::Refused => say!(texts, "fate-refused"),
        Fate::Unusable => say!(texts, "fate-unusable"),
    }
}

/// The failure for a key that does not exist.
pub(super) fn unknown_key(texts: &Texts, key: &str) -> Failure {
    let failure = Failure::usage(say!(texts, "key-unknown", key = key));
    match safeport_settings::nearest_key(key) {
        Some(near) => failure.next(say!(texts, "key-nearest", key = near)),
        None => failure.next(say!(texts, "key-unknown-next")),
    }
}

/// What a server that runs on the same data folder uses.
pub(super) struct Running {
    registry: Option<Registry>,
    live: Option<Live>,
}

impl Running {
    pub(super) fn of(read: &Read) -> Running {
        Running::at(read.data_folder())
    }

    fn at(folder: Option<PathBuf>) -> Running {
        let folder = folder.and_then(|folder| DataFolder::open_existing(&folder).ok().flatten());
        let registry = folder
            .as_ref()
            .and_then(|folder| folder.registry_to_read().ok().flatten());
        let live = folder
            .filter(|folder| matches!(folder.server(), Ok(Some(_))))
            .and_then(|_| registry.as_ref()?.live().ok().flatten());
        Running { registry, live }
    }

    /// Everything that the server uses, if one runs.
    fn show_live(&self, console: &Console, delta: bool) -> Result<(), Failure> {
        let Some(live) = &self.live else {
            return Ok(());
        };
        let values = live
            .values
            .iter()
            .filter(|value| !delta || value.source != Source::Default.to_string());
        if console.json {
            let values: Vec<_> = values
                .map(|value| {
                    serde_json::json!({
                        "key": value.key,
                        "running": value.value,
                        "source": value.source,
                    })
                })
                .collect();
            return console.json(&values);
        }
        let lines: Vec<String> = values
            .map(|value| format!("{} = {}  # {}", value.key, value.value, value.source))
            .collect();
        console.data(&lines.join("\n"))?;
        console.talk(&say!(console.texts, "config-live-only"));
        self.talk(console);
        Ok(())
    }

    fn value(&self, key: &str) -> Option<&str> {
        let live = self.live.as_ref()?;
        live.values
            .iter()
            .find(|value| value.key == key)
            .map(|value| value.value.as_str())
    }

    /// What the server has, if it is something else.
    fn other(&self, key: &str, value: &str) -> Option<&str> {
        self.value(key).filter(|running| *running != value)
    }

    fn tags(&self, device: &str, texts: &Texts) -> Result<Vec<String>, Failure> {
        let known = self
            .registry
            .as_ref()
            .and_then(|registry| registry.device(device).ok().flatten());
        match known {
            Some(record) => Ok(record.tags),
            None => Err(Failure::usage(say!(texts, "name-unknown", name = device))
                .next(say!(texts, "device-unknown-next"))),
        }
    }

    /// Says what a reader of these values should know about the server.
    fn talk(&self, console: &Console) {
        let Some(live) = &self.live else { return };
        if let Some(why) = &live.degraded {
            console.talk(&say!(console.texts, "config-degraded", why = why));
        }
    }
}
