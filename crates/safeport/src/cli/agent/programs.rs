//! `safeport agent program`: which programs may bring their tools to an agent at the access point.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::super::Place;
use super::super::client::{Remote, encoded};
use super::super::session::need_server;
use crate::console::{Console, Failure};
use crate::say;
use crate::text::Language;
use crate::time::stamp;

#[derive(Debug, Subcommand)]
pub(in super::super) enum ProgramCommand {
    /// Let a program bring its tools to an agent, and print the addresses by which it may come, once
    Add(ProgramArgs),
    /// List the programs of an agent: since when, when they were seen last, how often they are connected
    List(AgentArgs),
    /// Remove a program; its connections end, and its address is worth nothing any more
    Remove(ProgramArgs),
}

#[derive(Debug, Args)]
pub(in super::super) struct AgentArgs {
    /// The agent
    agent: String,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(in super::super) struct ProgramArgs {
    /// The agent
    agent: String,
    /// The program: 1 to 64 of a-z, A-Z, 0-9 and - _ .
    name: String,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

impl ProgramCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            ProgramCommand::Add(args) => add(args, console, lang),
            ProgramCommand::List(args) => list(args, console, lang),
            ProgramCommand::Remove(args) => remove(args, console, lang),
        }
    }
}

fn add(args: &ProgramArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let added = client.post(&path(&args.agent), &json!({"name": args.name}))?;
    if console.json {
        return console.json(&added);
    }
    let texts = &console.texts;
    console.talk(&say!(
        texts,
        "program-added",
        name = args.name,
        agent = args.agent
    ));
    let urls = added["urls"].as_array().into_iter().flatten();
    let urls: Vec<&str> = urls.filter_map(Value::as_str).collect();
    match urls.is_empty() {
        // No address of ours is proved yet; the token is what matters.
        true => console.data(added["token"].as_str().unwrap_or_default()),
        false => console.data(&urls.join("\n")),
    }
}

fn list(args: &AgentArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let answer = client.get(&path(&args.agent))?;
    let programs = answer["programs"].as_array().cloned().unwrap_or_default();
    if console.json {
        return console.json(&programs);
    }
    let texts = &console.texts;
    if programs.is_empty() {
        console.talk(&say!(texts, "program-none", agent = args.agent));
        return Ok(());
    }
    let line = |program: &Value| {
        let seen = match (
            program["connections"].as_u64(),
            program["last_seen"].as_u64(),
        ) {
            (Some(count @ 1..), _) => say!(texts, "program-connected", count = count),
            (_, Some(at)) => say!(texts, "program-last-seen", at = stamp(at)),
            _ => say!(texts, "program-never-seen"),
        };
        let name = program["name"].as_str().unwrap_or_default();
        let created = stamp(program["created"].as_u64().unwrap_or_default());
        let created = say!(texts, "program-created", at = created);
        format!("{name}  {created}  {seen}")
    };
    let lines: Vec<String> = programs.iter().map(line).collect();
    console.data(&lines.join("\n"))
}

fn remove(
    args: &ProgramArgs,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let place = format!("{}/{}", path(&args.agent), encoded(&args.name));
    let removed = client.delete(&place)?;
    if console.json {
        return console.json(&removed);
    }
    console.talk(&say!(console.texts, "program-removed", name = args.name));
    Ok(())
}

fn path(agent: &str) -> String {
    format!("/agents/{}/programs", encoded(agent))
}
