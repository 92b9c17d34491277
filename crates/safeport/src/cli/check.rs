//! `safeport check` and `safeport config show`.

use safeport_settings::Source;

use super::{colored, read};
use crate::console::{Console, Exit, Failure};
use crate::reading::{Asked, Read};
use crate::say;
use crate::text::Language;

/// Says whether the settings hold; every problem at once.
pub(super) fn check(
    asked: &Asked,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    if console.json
        && let Err(error) = Read::new(asked)
    {
        console.json(&serde_json::json!({"fine": false, "problems": error.problems()}))?;
        return Err(Failure {
            exit: Exit::Usage,
            ..error.failure(console, colored(console))
        });
    }
    let read = read(asked, console, lang)?;
    let settings = &read.settings;
    let data = read.data_folder();
    let listeners: Vec<(&str, String)> = [
        ("mqtt", settings.mqtt.enabled, &settings.mqtt.bind),
        ("mqtts", settings.mqtts.enabled, &settings.mqtts.bind),
        ("http", settings.http.enabled, &settings.http.bind),
        ("https", settings.https.enabled, &settings.https.bind),
    ]
    .into_iter()
    .filter(|(_, enabled, _)| *enabled)
    .map(|(name, _, bind)| (name, bind.to_string()))
    .collect();
    if console.json {
        return console.json(&serde_json::json!({
            "fine": true,
            "file": read.file,
            "data": data,
            "listeners": listeners.iter().map(|(name, bind)| serde_json::json!({
                "name": name,
                "bind": bind,
            })).collect::<Vec<_>>(),
        }));
    }
    let mut text = match &read.file {
        Some(file) => say!(console.texts, "check-fine-file", path = file.display()),
        None => say!(console.texts, "check-fine"),
    };
    for (name, bind) in listeners {
        text.push_str(&format!("\n  {name:<6} {bind}"));
    }
    if let Some(data) = data {
        text.push_str("\n  ");
        text.push_str(&say!(console.texts, "banner-data", path = data.display()));
    }
    console.data(&text)
}

/// Prints every value and where it comes from.
pub(super) fn show(
    asked: &Asked,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let read = read(asked, console, lang)?;
    let entries = read.settings.values();
    if console.json {
        let values: Vec<_> = entries
            .map(|entry| {
                serde_json::json!({
                    "key": entry.key,
                    "value": entry.value,
                    "default": entry.default,
                    "source": entry.source.to_string(),
                })
            })
            .collect();
        return console.json(&values);
    }
    let lines: Vec<String> = entries
        .map(|entry| match entry.source {
            Source::Default => format!("{} = {}", entry.key, entry.value),
            set_by => format!("{} = {}  # {set_by}", entry.key, entry.value),
        })
        .collect();
    console.data(&lines.join("\n"))
}
