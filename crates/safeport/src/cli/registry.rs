//! What the commands on users and devices share: the open registry, and who changes it.

use std::io::{self, Read as _};

use safeport_settings::Settings;
use safeport_store::{By, DataFolder, Registry, Secret, StoreError};

use super::{Place, read};
use crate::console::{Console, Failure};
use crate::limits::PASSWORD_BYTES;
use crate::password::{self, Cost, PasswordError};
use crate::serve::access::unix_now;
use crate::text::{Language, Texts};
use crate::{app, say};

/// The registry of a data folder, opened beside whatever server runs on it.
pub(super) struct Open {
    pub(super) registry: Registry,
    pub(super) folder: DataFolder,
    pub(super) settings: Settings,
    who: String,
    now: u64,
}

impl Open {
    pub(super) fn new(
        place: &Place,
        console: &mut Console,
        lang: Option<Language>,
    ) -> Result<Open, Failure> {
        let read = read(&place.asked(), console, lang)?;
        let folder = app::data_folder(&read, &console.texts)?;
        let registry = folder
            .registry()
            .map_err(|error| app::registry_failed(&console.texts, &error))?;
        Ok(Open {
            registry,
            folder,
            settings: read.settings,
            who: who(),
            now: unix_now(),
        })
    }

    /// Runs a change with who makes it and when.
    pub(super) fn change(
        &mut self,
        texts: &Texts,
        change: impl FnOnce(&mut Registry, By<'_>) -> Result<(), StoreError>,
    ) -> Result<(), Failure> {
        let by = By {
            who: &self.who,
            at: self.now,
        };
        change(&mut self.registry, by).map_err(|error| failed(texts, &error))
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }
}

/// The failure for an error about one user or device.
pub(super) fn failed(texts: &Texts, error: &StoreError) -> Failure {
    match error {
        StoreError::NotFound { name, .. } => {
            Failure::new(say!(texts, "name-unknown", name = name)).detail(error)
        }
        StoreError::NameTaken { name, .. } => {
            Failure::new(say!(texts, "name-taken", name = name)).detail(error)
        }
        _ => app::registry_failed(texts, error),
    }
}

/// The person behind the command, for the audit.
fn who() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .map_or_else(|| "cli".to_owned(), |user| format!("cli:{user}"))
}

/// A new password and its hash. `shown` is the password if we drew it.
pub(super) struct NewPassword {
    pub(super) hash: Secret,
    pub(super) shown: Option<String>,
}

impl NewPassword {
    /// Reads the password from stdin, or draws one.
    pub(super) fn new(from_stdin: bool, texts: &Texts) -> Result<NewPassword, Failure> {
        let failed =
            |error: PasswordError| Failure::new(say!(texts, "password-failed")).detail(error);
        if from_stdin {
            let given = read_password(texts)?;
            let hash = password::hash(given.as_bytes(), Cost::Chosen).map_err(|error| Failure {
                exit: crate::console::Exit::Usage,
                ..failed(error)
            })?;
            return Ok(NewPassword { hash, shown: None });
        }
        let drawn = password::generate().map_err(failed)?;
        let hash = password::hash(drawn.as_str().as_bytes(), Cost::Generated).map_err(failed)?;
        Ok(NewPassword {
            hash,
            shown: Some(drawn.as_str().to_owned()),
        })
    }
}

/// The first line of stdin.
fn read_password(texts: &Texts) -> Result<String, Failure> {
    let mut given = String::new();
    let limit = PASSWORD_BYTES as u64 + 3;
    io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut given)
        .map_err(|error| Failure::usage(say!(texts, "password-unreadable")).detail(error))?;
    Ok(given.lines().next().unwrap_or_default().to_owned())
}
