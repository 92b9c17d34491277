//! What the commands on users and devices share: the open registry, and who changes it.

use std::io::{self, Read as _};

use safeport_settings::Settings;
use safeport_store::{
    By, DataFolder, Draft, ManagedRow, Registry, RunningServer, Secret, StoreError,
};

use super::{Place, read};
use crate::console::{Console, Failure};
use crate::limits::PASSWORD_BYTES;
use crate::password::{self, Cost, PasswordError};
use crate::reading::{Asked, Gathered, Read};
use crate::serve::access::unix_now;
use crate::text::{Language, Texts};
use crate::{app, say};

/// The registry of a data folder, opened beside whatever server runs on it.
pub(super) struct Open {
    pub(super) registry: Registry,
    pub(super) folder: DataFolder,
    pub(super) settings: Settings,
    /// The managed source.
    pub(super) managed: Vec<ManagedRow>,
    pub(super) read: Option<Read>,
    asked: Asked,
    pub(super) who: String,
    pub(super) now: u64,
}

impl Open {
    pub(super) fn new(
        place: &Place,
        console: &mut Console,
        lang: Option<Language>,
    ) -> Result<Open, Failure> {
        let read = read(&place.asked(), console, lang)?;
        Open::of(read, console)
    }

    /// Opens the data folder that settings name.
    pub(super) fn of(read: Read, console: &Console) -> Result<Open, Failure> {
        let folder = app::data_folder(read.data_folder(), &console.texts)?;
        let (settings, asked) = (read.settings.clone(), read.asked.clone());
        Open::on(folder, settings, Some(read), asked, console)
    }

    /// Opens the data folder although the settings may have mistakes.
    pub(super) fn beside(gathered: &Gathered, console: &Console) -> Result<Open, Failure> {
        let folder = app::data_folder(gathered.data_folder(), &console.texts)?;
        Open::on(
            folder,
            gathered.lenient(),
            None,
            gathered.asked().clone(),
            console,
        )
    }

    fn on(
        folder: DataFolder,
        settings: Settings,
        read: Option<Read>,
        asked: Asked,
        console: &Console,
    ) -> Result<Open, Failure> {
        let failed = |error: StoreError| app::registry_failed(&console.texts, &error);
        let registry = folder.registry().map_err(failed)?;
        let managed = registry.managed().map_err(failed)?;
        Ok(Open {
            registry,
            folder,
            settings,
            managed,
            read,
            asked,
            who: who(),
            now: unix_now(),
        })
    }

    /// Runs a change with who makes it and when.
    pub(super) fn change<T>(
        &mut self,
        texts: &Texts,
        change: impl FnOnce(&mut Registry, By<'_>) -> Result<T, StoreError>,
    ) -> Result<T, Failure> {
        self.change_with(change)
            .map_err(|error| failed(texts, &error))
    }

    /// The same for a change that touches more than the registry.
    pub(super) fn change_with<T, E>(
        &mut self,
        change: impl FnOnce(&mut Registry, By<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let by = By {
            who: &self.who,
            at: self.now,
        };
        change(&mut self.registry, by)
    }

    /// Stages a revision of the settings.
    pub(super) fn stage(&mut self, draft: &Draft) -> Result<u64, StoreError> {
        let by = By {
            who: &self.who,
            at: self.now,
        };
        self.registry.stage(draft, by)
    }

    /// The settings as they are by now, after what this command has changed.
    pub(super) fn settings_now(&self) -> Settings {
        Read::new(&self.asked).map_or_else(|_| self.settings.clone(), |read| read.settings)
    }

    /// The server that runs on this folder.
    pub(super) fn server(&self) -> Option<RunningServer> {
        self.folder.server().ok().flatten()
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
        StoreError::RevisionConflict {
            key,
            base,
            theirs,
            their_author,
            yours,
            ..
        } => Failure::new(say!(
            texts,
            "change-conflict",
            key = key,
            base = base,
            theirs = theirs,
            author = their_author,
            yours = yours
        ))
        .next(say!(
            texts,
            "change-conflict-next",
            base = base,
            theirs = theirs
        )),
        StoreError::ChangePending { id, who, .. } => {
            Failure::new(say!(texts, "change-pending", revision = id, who = who))
                .next(say!(texts, "change-pending-next"))
        }
        StoreError::NoRevision { id } => {
            Failure::usage(say!(texts, "revision-unknown", revision = id))
                .next(say!(texts, "revision-unknown-next"))
        }
        StoreError::RevisionFolded { id, oldest } => Failure::usage(say!(
            texts,
            "revision-folded",
            revision = id,
            oldest = oldest
        )),
        _ => app::registry_failed(texts, error),
    }
}

/// The person behind the command, for the audit.
pub(super) fn who() -> String {
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
pub(super) fn read_password(texts: &Texts) -> Result<String, Failure> {
    let mut given = String::new();
    let limit = PASSWORD_BYTES as u64 + 3;
    io::stdin()
        .lock()
        .take(limit)
        .read_to_string(&mut given)
        .map_err(|error| Failure::usage(say!(texts, "password-unreadable")).detail(error))?;
    Ok(given.lines().next().unwrap_or_default().to_owned())
}
