//! `safeport device tools`, `call` and `say`: what a xiaozhi device can do, now.

use clap::Args;
use serde_json::{Value, json};

use super::super::Place;
use super::super::client::{Remote, encoded};
use super::super::session::need_server;
use super::{NameArgs, path};
use crate::console::{Console, Failure};
use crate::say;
use crate::text::Language;

#[derive(Debug, Args)]
pub(in super::super) struct CallArgs {
    /// The device
    name: String,
    /// The tool, such as self.audio_speaker.set_volume; `device tools` lists them
    tool: String,
    /// Its arguments as a JSON object, such as '{"volume": 50}'
    arguments: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in super::super) struct SayArgs {
    /// The device
    name: String,
    /// The words
    text: String,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

pub(super) fn list(
    args: &NameArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let answer = client.get(&format!("{}/tools", path(&args.name)))?;
    let tools = answer["tools"].as_array().cloned().unwrap_or_default();
    if console.json {
        return console.json(&tools);
    }
    let mut lines = Vec::new();
    for tool in &tools {
        let text = |key: &str| tool[key].as_str().unwrap_or_default();
        let parameters = match &tool["schema"]["properties"] {
            Value::Object(properties) => properties.keys().cloned().collect::<Vec<_>>().join(", "),
            _ => String::new(),
        };
        lines.push(format!("{} {{{parameters}}}", text("name")));
        let first = text("description").lines().next().unwrap_or_default();
        lines.push(format!("    {first}"));
    }
    console.data(&lines.join("\n"))
}

pub(super) fn call(
    args: &CallArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let arguments: Value = match &args.arguments {
        None => json!({}),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::usage(say!(console.texts, "arguments-bad")).detail(error))?,
    };
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let place = format!("{}/tools/{}", path(&args.name), encoded(&args.tool));
    let answer = client.post(&place, &arguments)?;
    if console.json {
        return console.json(&answer);
    }
    let parts = answer["content"].as_array().cloned().unwrap_or_default();
    let lines: Vec<String> = parts
        .iter()
        .map(|part| match (&part["text"], &part["mimeType"]) {
            (Value::String(text), _) => text.clone(),
            (_, Value::String(kind)) => format!("[{kind}]"),
            _ => part.to_string(),
        })
        .collect();
    if answer["is_error"] == true {
        let what = say!(console.texts, "tool-says-failed", tool = args.tool);
        return Err(Failure::new(what).detail(lines.join("\n")));
    }
    console.data(&lines.join("\n"))
}

pub(super) fn say(
    args: &SayArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let place = format!("{}/say", path(&args.name));
    let done = client.post(&place, &json!({"text": args.text}))?;
    if console.json {
        return console.json(&done);
    }
    let said = match done["why"].as_str() {
        Some(why) => say!(console.texts, "device-shows", name = args.name, why = why),
        None => say!(console.texts, "device-said", name = args.name),
    };
    console.talk(&said);
    Ok(())
}
