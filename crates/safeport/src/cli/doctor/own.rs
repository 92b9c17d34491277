//! What this server itself knows of a device, read beside it.

use std::time::Duration;

use safeport_doctor::Evidence;
use safeport_fleet::{Found, Member};

use crate::cli::registry::{Open, failed};
use crate::console::{Console, Failure};
use crate::doctor::Inquiry;
use crate::reading::Gathered;
use crate::say;
use crate::shown::devices::roster;

/// What was seen of a device, and how it is called.
pub(super) struct Known {
    pub(super) name: String,
    pub(super) evidence: Evidence,
}

/// Looks for a device by whatever it may be called.
pub(super) fn look(
    called: &str,
    within: Duration,
    gathered: &Gathered,
    console: &Console,
) -> Result<Known, Failure> {
    let texts = &console.texts;
    let broken = |error| failed(texts, &error);
    let open = Open::beside(gathered, console)?;
    let roster = roster(&open.registry).map_err(broken)?;
    let member: Option<&Member> = match roster.find(called) {
        Found::One(member) => Some(member),
        Found::Nobody => None,
        Found::Several(members) => {
            let ids: Vec<String> = members.iter().map(|one| one.id.to_string()).collect();
            return Err(
                Failure::usage(say!(texts, "device-ambiguous", name = called)).next(say!(
                    texts,
                    "device-ambiguous-next",
                    ids = ids.join(", ")
                )),
            );
        }
    };
    let inquiry = Inquiry {
        called,
        member,
        settings: Some(&open.settings),
        remembered: None,
        serves: open.server().is_some(),
        within,
        now: open.now(),
    };
    Ok(Known {
        name: member.map_or_else(|| called.to_owned(), |one| one.name().to_string()),
        evidence: inquiry.look(&open.registry).map_err(broken)?,
    })
}

/// Whether somebody who names a target means a device: one is known by exactly this name. Without a
/// data folder there is none, and none is made.
pub(super) fn is_device(target: &str, gathered: Option<&Gathered>, console: &Console) -> bool {
    let Some(gathered) = gathered else {
        return false;
    };
    let is_there = gathered.data_folder().is_some_and(|folder| folder.is_dir());
    let is_name = !target.contains([':', '/', '.']);
    if !is_there || !is_name {
        return false;
    }
    let Ok(open) = Open::beside(gathered, console) else {
        return false;
    };
    roster(&open.registry).is_ok_and(
        |roster| matches!(roster.find(target), Found::One(member) if *member.name() == *target),
    )
}
