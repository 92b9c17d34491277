//! `safeport user`: logins of people and programs.

use clap::{Args, Subcommand};
use safeport_store::User;

use super::Place;
use super::registry::{NewPassword, Open, failed};
use super::rights::{self, Filters};
use crate::console::{Console, Failure};
use crate::limits::USERNAME_BYTES;
use crate::say;
use crate::text::{Language, Texts};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Add a login; its password is drawn and printed once, unless --password-stdin
    Add(AddArgs),
    /// List all logins of people and programs
    List(Place),
    /// Remove a login; its connections end within a second
    Remove(NameArgs),
    /// Set a new password; connections with the old one end within a second
    Passwd(PasswdArgs),
    /// Set the topic rights of a login anew
    Rights(RightsArgs),
    /// Let a disabled login in again
    Enable(NameArgs),
    /// Keep a login but let nobody in with it; its connections end within a second
    Disable(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The user name
    name: String,
    /// Read the password from the first line of stdin
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    filters: Filters,
    /// Every right, $SYS too. Without this and without filters: every topic but $SYS
    #[arg(long)]
    admin: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The user name
    name: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct PasswdArgs {
    /// The user name
    name: String,
    /// Read the password from the first line of stdin
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct RightsArgs {
    /// The user name
    name: String,
    #[command(flatten)]
    filters: Filters,
    /// Every right, $SYS too. Without this and without filters: every topic but $SYS
    #[arg(long)]
    admin: bool,
    #[command(flatten)]
    place: Place,
}

impl UserCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            UserCommand::Add(args) => add(args, console, lang),
            UserCommand::List(place) => list(place, console, lang),
            UserCommand::Remove(args) => {
                let mut open = Open::new(&args.place, console, lang)?;
                open.change(&console.texts, |registry, by| {
                    registry.remove_user(&args.name, by)
                })?;
                changed(console, &args.name, "removed", None, |texts| {
                    say!(texts, "user-removed", name = args.name)
                })
            }
            UserCommand::Passwd(args) => passwd(args, console, lang),
            UserCommand::Rights(args) => {
                let mut open = Open::new(&args.place, console, lang)?;
                let rights = rights::of_user(&args.filters, args.admin, &console.texts)?;
                open.change(&console.texts, |registry, by| {
                    registry.set_user_rights(&args.name, &rights, by)
                })?;
                let shown = rights::shown(&rights);
                changed(console, &args.name, "rights set", None, |texts| {
                    say!(texts, "user-rights", name = args.name, rights = shown)
                })
            }
            UserCommand::Enable(args) => enable(args, true, console, lang),
            UserCommand::Disable(args) => enable(args, false, console, lang),
        }
    }
}

fn add(args: &AddArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let mut open = Open::new(&args.place, console, lang)?;
    check_name(&args.name, &console.texts)?;
    let rights = rights::of_user(&args.filters, args.admin, &console.texts)?;
    let password = NewPassword::new(args.password_stdin, &console.texts)?;
    let user = User {
        name: args.name.clone(),
        password_hash: password.hash,
        rights,
        enabled: true,
        created: open.now(),
    };
    open.change(&console.texts, |registry, by| registry.add_user(&user, by))?;
    if console.json {
        let mut json = as_json(&user);
        json["password"] = serde_json::json!(password.shown);
        return console.json(&json);
    }
    let shown = rights::shown(&user.rights);
    console.talk(&say!(
        console.texts,
        "user-added",
        name = args.name,
        rights = shown
    ));
    show_password(console, password.shown)
}

fn passwd(args: &PasswdArgs, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let mut open = Open::new(&args.place, console, lang)?;
    let password = NewPassword::new(args.password_stdin, &console.texts)?;
    open.change(&console.texts, |registry, by| {
        registry.set_user_password(&args.name, &password.hash, by)
    })?;
    changed(
        console,
        &args.name,
        "password set",
        password.shown,
        |texts| say!(texts, "user-passwd", name = args.name),
    )
}

fn enable(
    args: &NameArgs,
    enabled: bool,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let mut open = Open::new(&args.place, console, lang)?;
    open.change(&console.texts, |registry, by| {
        registry.set_user_enabled(&args.name, enabled, by)
    })?;
    let done = if enabled { "enabled" } else { "disabled" };
    changed(console, &args.name, done, None, |texts| {
        if enabled {
            say!(texts, "user-enabled", name = args.name)
        } else {
            say!(texts, "user-disabled", name = args.name)
        }
    })
}

fn list(place: &Place, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
    let open = Open::new(place, console, lang)?;
    let users = open
        .registry
        .users()
        .map_err(|error| failed(&console.texts, &error))?;
    if console.json {
        return console.json(&users.iter().map(as_json).collect::<Vec<_>>());
    }
    if users.is_empty() {
        console.talk(&say!(console.texts, "user-none"));
        return Ok(());
    }
    let lines: Vec<String> = users
        .iter()
        .map(|user| {
            let state = if user.enabled { "" } else { "  (disabled)" };
            format!("{}  {}{state}", user.name, rights::shown(&user.rights))
        })
        .collect();
    console.data(&lines.join("\n"))
}

/// A name that MQTT can carry and a log line can show. What begins with `$` is the server's own:
/// its probes log in like that, and are not logged like others.
fn check_name(name: &str, texts: &Texts) -> Result<(), Failure> {
    let is_good = !name.is_empty()
        && name.len() <= USERNAME_BYTES
        && name.trim() == name
        && !name.starts_with('$')
        && !name.chars().any(char::is_control);
    if is_good {
        return Ok(());
    }
    Err(Failure::usage(say!(
        texts,
        "user-name-bad",
        name = format!("{name:?}"),
        limit = USERNAME_BYTES
    )))
}

/// Says what was done to `name`, and prints the password if there is one to show.
pub(super) fn changed(
    console: &Console,
    name: &str,
    done: &str,
    password: Option<String>,
    talk: impl FnOnce(&Texts) -> String,
) -> Result<(), Failure> {
    if console.json {
        let mut json = serde_json::json!({"name": name, "done": done});
        if let Some(password) = password {
            json["password"] = serde_json::json!(password);
        }
        return console.json(&json);
    }
    console.talk(&talk(&console.texts));
    show_password(console, password)
}

fn show_password(console: &Console, password: Option<String>) -> Result<(), Failure> {
    match password {
        Some(password) => {
            console.talk(&say!(console.texts, "password-once"));
            console.data(&password)
        }
        None => Ok(()),
    }
}

fn as_json(user: &User) -> serde_json::Value {
    serde_json::json!({
        "name": user.name,
        "publish": user.rights.publish,
        "subscribe": user.rights.subscribe,
        "enabled": user.enabled,
        "created": user.created,
    })
}
