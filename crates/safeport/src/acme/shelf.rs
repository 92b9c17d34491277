//! The folder `pki/acme` of the data folder: every file is replaced in one step, so that a power cut
//! leaves the old or the new one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::plan::Key;
use super::trouble::Trouble;
use crate::limits::ACME_FILE_BYTES;

/// What is known, for people and for the next start.
pub(super) const STATE: &str = "state.json";
/// The order that is under way.
pub(super) const ORDER: &str = "order.json";
/// Accounts by directory; with their keys.
pub(super) const ACCOUNT: &str = "account.json";

/// The name of the file with the certificate for `key`, and those that vouch for it.
pub(super) fn certificate(key: Key) -> String {
    format!("acme-{}.pem", key.word())
}

/// The folder. Made when something is written first.
#[derive(Debug, Clone)]
pub(super) struct Shelf(Arc<Path>);

impl Shelf {
    pub(super) fn new(folder: &Path) -> Shelf {
        Shelf(folder.into())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<String>, Trouble> {
        let path = self.path(name);
        let mut text = String::new();
        let read = File::open(&path)
            .and_then(|file| file.take(ACME_FILE_BYTES + 1).read_to_string(&mut text));
        match read {
            Ok(_) if text.len() as u64 > ACME_FILE_BYTES => {
                Err(Trouble::broken_file(&path, &"it is too long"))
            }
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Trouble::broken_file(&path, &error)),
        }
    }

    /// The same for a file of JSON.
    pub(super) fn read_json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Trouble> {
        let Some(text) = self.read(name)? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| Trouble::broken_file(&self.path(name), &error))
    }

    /// Readable by everybody who may look into the folder.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), Trouble> {
        self.replace(name, text, 0o644)
    }

    /// Readable by nobody else (mode 0600).
    pub(super) fn write_secret(&self, name: &str, text: &str) -> Result<(), Trouble> {
        self.replace(name, text, 0o600)
    }

    /// A public file of JSON.
    pub(super) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<(), Trouble> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Trouble::cannot_write(&self.path(name), &error))?;
        self.write(name, &(text + "\n"))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), Trouble> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Trouble::cannot_write(&path, &error))
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, name: &str, text: &str, mode: u32) -> Result<(), Trouble> {
        let path = self.path(name);
        let replaced = (|| -> io::Result<()> {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.0)?;
            let new = self.path(&format!(".{name}.new"));
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = OpenOptions::new();
            let mut file = options.write(true).create_new(true).mode(mode).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.0)?.sync_all()
        })();
        replaced.map_err(|error| Trouble::cannot_write(&path, &error))
    }
}
