//! `safeport device`: devices, their logins, what is known of them, and the text that connects
//! them.

mod backups;
mod enrolment;
mod keeping;
mod listing;
mod talks;
mod tools;

use clap::{Args, Subcommand};

use super::Place;
use super::client::{Remote, encoded};
use crate::console::{Console, Failure};
use crate::text::Language;

#[derive(Debug, Subcommand)]
pub(super) enum DeviceCommand {
    /// Add a device, or all of a table, and print what to enter; stdout has exactly that
    Add(enrolment::AddArgs),
    /// List devices
    List(listing::ListArgs),
    /// Show one device: what it runs, which addresses it was told, by what it is known, its rights
    Show(NameArgs),
    /// What happened to a device, newest first
    Events(listing::EventsArgs),
    /// Set what a device does not say itself, or says wrongly
    Set(keeping::SetArgs),
    /// Ask a device what it is and runs now
    Refresh(NameArgs),
    /// Enrol the xiaozhi device that says this code
    Activate(enrolment::ActivateArgs),
    /// Give a device a new password and print what to enter into it
    Passwd(enrolment::PasswdArgs),
    /// Give a device tags, for settings and offers that concern several devices; without any it has
    /// none
    Tag(keeping::TagArgs),
    /// Devices that came with what another one is known by; --keep or --pass settles one
    Quarantine(keeping::QuarantineArgs),
    /// Copy the device's own settings from its web pages, and compare them with the last copy
    Backup(NameArgs),
    /// Copies that are kept of a device's own settings
    Backups(NameArgs),
    /// What differs between two copies
    Compare(backups::CompareArgs),
    /// Give a device its settings of a copy back, or write the copy to a file
    Restore(backups::RestoreArgs),
    /// List what a xiaozhi device can be asked to do now: in a conversation, or connected over MQTT
    Tools(NameArgs),
    /// Have a xiaozhi device do something, and print what it answers
    Call(tools::CallArgs),
    /// Have a xiaozhi device say something in its conversation, or show it while it is idle (over MQTT)
    Say(tools::SayArgs),
    /// What a xiaozhi device and its agent said to each other, and how long the answers took
    Talks(talks::TalksArgs),
    /// Remove a device; its connections end within a second, and its address for firmware leads
    /// nowhere any more (a transfer that runs goes to its end, so that no device is left with half)
    Forget(NameArgs),
}

#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The device: its name, its number such as dev_b4, or what else it is known by
    name: String,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

impl DeviceCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            DeviceCommand::Add(args) => enrolment::add(args, console, lang),
            DeviceCommand::List(args) => listing::list(args, console, lang),
            DeviceCommand::Show(args) => listing::show(args, console, lang),
            DeviceCommand::Events(args) => listing::events(args, console, lang),
            DeviceCommand::Set(args) => keeping::set(args, console, lang),
            DeviceCommand::Refresh(args) => keeping::refresh(args, console, lang),
            DeviceCommand::Activate(args) => enrolment::activate(args, console, lang),
            DeviceCommand::Passwd(args) => enrolment::passwd(args, console, lang),
            DeviceCommand::Tag(args) => keeping::tag(args, console, lang),
            DeviceCommand::Quarantine(args) => keeping::quarantine(args, console, lang),
            DeviceCommand::Backup(args) => backups::back_up(args, console, lang),
            DeviceCommand::Backups(args) => backups::backups(args, console, lang),
            DeviceCommand::Compare(args) => backups::compare(args, console, lang),
            DeviceCommand::Restore(args) => backups::restore(args, console, lang),
            DeviceCommand::Tools(args) => tools::list(args, console, lang),
            DeviceCommand::Call(args) => tools::call(args, console, lang),
            DeviceCommand::Say(args) => tools::say(args, console, lang),
            DeviceCommand::Talks(args) => talks::run(args, console, lang),
            DeviceCommand::Forget(args) => keeping::forget(args, console, lang),
        }
    }
}

/// The place of a device in the API.
fn path(name: &str) -> String {
    format!("/devices/{}", encoded(name))
}
