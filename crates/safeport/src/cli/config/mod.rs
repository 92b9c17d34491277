//! `safeport config`: what is set, by whom, who lost, and how it became so.

mod change;
mod look;
mod past;

use clap::{Args, Subcommand};

use super::Place;
use crate::console::{Console, Failure};
use crate::text::Language;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print a settings file with every key, its meaning, default and limits
    Example,
    /// Print every value and where it comes from
    Show(Place),
    /// One key: every source that says something about it, who wins and why the others lose
    Explain(KeyArgs),
    /// Only what is not default
    Delta(Place),
    /// Change a value: in the settings file for keys that are this machine's own (listeners, data
    /// folder), else in the managed source. A running server takes it over at once or refuses it
    Set(SetArgs),
    /// Take a value back that `set` has set
    Unset(UnsetArgs),
    /// What changed, when, by whom, why, and what came of it
    History(HistoryArgs),
    /// What differs between two revisions, or between a revision and now
    Diff(DiffArgs),
    /// Go back to how everything was as of a revision; itself a new revision
    Rollback(RollbackArgs),
    /// Let the running server read its files again (as SIGHUP does) and say what came of it
    Reload(ReloadArgs),
    /// Keep a change that is undone unless it is confirmed over the new address
    Confirm(Place),
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// The key, such as mqtt.bind
    key: String,
    /// As this device is told it: values for its tags and for itself count, too
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Why {
    /// Why, for the history
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Confirm at once, over the new address as this machine reaches it, a change that could lock
    /// you out
    #[arg(long)]
    confirm: bool,
}

#[derive(Debug, Args)]
struct For {
    /// Only for devices with this tag (keys that devices are told)
    #[arg(long, value_name = "TAG", conflicts_with = "device")]
    tag: Option<String>,
    /// Only for this device (keys that devices are told)
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// The revision that your change builds on; refused if somebody has changed the same key since
    #[arg(long, value_name = "REVISION")]
    base: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The key, such as limits.max_inflight
    key: String,
    /// The value, as in the settings file without quotes; lists separated by commas
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    whom: For,
    /// Write into the settings file although the key could be managed
    #[arg(long)]
    file: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct UnsetArgs {
    /// The key
    key: String,
    #[command(flatten)]
    whom: For,
    /// Take it out of the settings file although the key could be managed
    #[arg(long)]
    file: bool,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// At most so many, newest first
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// One revision (compared with now) or two, such as 3 or 3..7
    revisions: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The revision to go back to; `safeport config history` lists them
    revision: u64,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    place: Place,
}

impl ConfigCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            ConfigCommand::Example => console.data(&safeport_settings::Settings::example_in(
                console.texts.language().into(),
            )),
            ConfigCommand::Show(place) => look::show(place, console, lang, false),
            ConfigCommand::Delta(place) => look::show(place, console, lang, true),
            ConfigCommand::Explain(args) => look::explain(args, console, lang),
            ConfigCommand::Set(args) => change::set(args, console, lang),
            ConfigCommand::Unset(args) => change::unset(args, console, lang),
            ConfigCommand::History(args) => past::history(args, console, lang),
            ConfigCommand::Diff(args) => past::diff(args, console, lang),
            ConfigCommand::Rollback(args) => change::rollback(args, console, lang),
            ConfigCommand::Reload(args) => change::reload(args, console, lang),
            ConfigCommand::Confirm(place) => change::confirm(place, console, lang),
        }
    }
}
