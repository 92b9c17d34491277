//! `safeport token`: who may use the HTTP API.

use clap::{Args, Subcommand};
use safeport_store::{ScopeLevel, Scopes, Token};

use super::registry::{Open, failed};
use super::{Place, gather};
use crate::console::{Console, Failure};
use crate::limits::TOKEN_NAME_BYTES;
use crate::text::{Language, Texts};
use crate::time::stamp;
use crate::{say, token};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Add a token and print it, once; only a hash of it is kept
    Add(AddArgs),
    /// List all tokens, by name
    List(Place),
    /// Remove a token; it stops working within a second
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// What it is for: 1 to 64 of a-z, A-Z, 0-9 and - _ . ; changes made with it are listed as
    /// those of api:NAME
    name: String,
    /// It may look at everything and change nothing; the same as --scope all:read
    #[arg(long, conflicts_with = "scope")]
    read_only: bool,
    /// What it is good for, as AREA:LEVEL with commas between several. Areas: all, settings,
    /// devices, firmware, attempts, certificates. Levels: read, write. Default: all:write
    #[arg(long, value_name = "SCOPES")]
    scope: Option<Scopes>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The token's name
    name: String,
    #[command(flatten)]
    place: Place,
}

impl TokenCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            TokenCommand::Add(args) => add(args, console, lang),
            TokenCommand::List(place) => list(place, console, lang),
            TokenCommand::Remove(args) => remove(args, console, lang),
        }
    }
}

/// Tokens can be seen to although the settings have mistakes.
fn open(place: &Place, console: &mut Console, lang: Option<Language>) -> Result<Open, Failure> {
    let gathered = gather(&place.asked(), console, lang)?;
    Open::beside(&gathered, console)
}

fn add(args: &AddArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let mut open = open(&args.place, console, lang)?;
    let texts = &console.texts;
    check_name(&args.name, texts)?;
    let scopes = match (args.scope, args.read_only) {
        (Some(scopes), _) => scopes,
        (None, true) => Scopes::all(ScopeLevel::Read),
        (None, false) => Scopes::all(ScopeLevel::Write),
    };
    let drawn = token::draw()
        .map_err(|error| Failure::new(say!(texts, "token-no-randomness")).detail(error))?;
    open.change(texts, |registry, by| {
        registry.add_token(&args.name, token::hash(&drawn), scopes, by)
    })?;
    if console.json {
        return console.json(&serde_json::json!({
            "name": args.name,
            "scopes": scopes.words().collect::<Vec<_>>(),
            "created": open.now(),
            "token": drawn,
        }));
    }
    let name = &args.name;
    console.talk(&if scopes == Scopes::all(ScopeLevel::Read) {
        say!(texts, "token-added-read", name = name)
    } else if scopes == Scopes::all(ScopeLevel::Write) {
        say!(texts, "token-added-write", name = name)
    } else {
        say!(texts, "token-added-scopes", name = name, scopes = scopes)
    });
    console.data(&drawn)
}

fn list(place: &Place, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let open = open(place, console, lang)?;
    let tokens = open
        .registry
        .tokens()
        .map_err(|error| failed(&console.texts, &error))?;
    if console.json {
        return console.json(&tokens.iter().map(as_json).collect::<Vec<_>>());
    }
    if tokens.is_empty() {
        console.talk(&say!(console.texts, "token-none"));
        return Ok(());
    }
    let lines: Vec<String> = tokens
        .iter()
        .map(|token| {
            let used = token.last_used.map_or_else(
                || say!(console.texts, "token-never-used"),
                |at| say!(console.texts, "token-last-used", at = stamp(at)),
            );
            format!("{}  {}  {used}", token.name, token.scopes)
        })
        .collect();
    console.data(&lines.join("\n"))
}

fn as_json(token: &Token) -> serde_json::Value {
    serde_json::json!({
        "name": token.name,
        "scopes": token.scopes.words().collect::<Vec<_>>(),
        "created": token.created,
        "last_used": token.last_used,
    })
}

fn remove(args: &RemoveArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let mut open = open(&args.place, console, lang)?;
    open.change(&console.texts, |registry, by| {
        registry.remove_token(&args.name, by)
    })?;
    if console.json {
        return console.json(&serde_json::json!({"name": args.name, "done": "removed"}));
    }
    console.talk(&say!(console.texts, "token-removed", name = args.name));
    Ok(())
}

/// A name that a header, a log line and the history can show.
fn check_name(name: &str, texts: &Texts) -> Result<(), Failure> {
    let is_good = (1..=TOKEN_NAME_BYTES).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if is_good {
        return Ok(());
    }
    Err(Failure::usage(say!(
        texts,
        "token-name-bad",
        name = format!("{name:?}"),
        limit = TOKEN_NAME_BYTES
    )))
}
