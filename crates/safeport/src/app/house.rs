//! The data folder and what is in it: registry, certificates, the lock of a running server.

use std::path::PathBuf;

use safeport_net::PrivateCa;
use safeport_settings::Settings;
use safeport_store::{DataFolder, FolderLock, ManagedRow, Registry, Snapshot, StoreError};

use crate::console::Failure;
use crate::reading::Read;
use crate::say;
use crate::text::Texts;

/// Opens the data folder at `path`; shared with the commands that work beside a running server.
///
/// # Errors
/// If no folder is named or known, or it cannot be used.
pub fn data_folder(path: Option<PathBuf>, texts: &Texts) -> Result<DataFolder, Failure> {
    let path = path.ok_or_else(|| {
        Failure::usage(say!(texts, "data-unnamed")).next(say!(texts, "data-unnamed-next"))
    })?;
    DataFolder::open(&path).map_err(|error| {
        Failure::new(say!(texts, "data-unusable", path = path.display()))
            .detail(error)
            .next(say!(texts, "data-unusable-next"))
    })
}

/// The certificates of a data folder, made if there are none, for the names this machine has now
/// and those that devices are told.
///
/// # Errors
/// If they cannot be read, made or written.
pub fn certificates(
    folder: &DataFolder,
    settings: &Settings,
    managed: &[ManagedRow],
    texts: &Texts,
) -> Result<PrivateCa, Failure> {
    crate::certificates::private(folder, settings, managed).map_err(|error| {
        let said = crate::certificates::pki_said(&error);
        let words = said.in_language(texts.language().into());
        Failure::new(say!(texts, "certificates-failed")).detail(words)
    })
}

/// The failure for an error of the registry.
pub fn registry_failed(texts: &Texts, error: &StoreError) -> Failure {
    Failure::new(say!(texts, "registry-failed")).detail(error)
}

/// The data folder of a running server, which no other server may use at the same time.
pub(super) struct House {
    pub(super) folder: DataFolder,
    pub(super) lock: FolderLock,
    pub(super) registry: Registry,
    pub(super) snapshot: Snapshot,
}

impl House {
    pub(super) fn open(read: &Read, texts: &Texts) -> Result<House, Failure> {
        let folder = data_folder(read.data_folder(), texts)?;
        let lock = folder.lock().map_err(|error| {
            let path = folder.path().display().to_string();
            match &error {
                StoreError::Locked { .. } => Failure::new(say!(texts, "data-locked", path = path))
                    .detail(&error)
                    .next(say!(texts, "data-locked-next")),
                _ => Failure::new(say!(texts, "data-unusable", path = path))
                    .detail(&error)
                    .next(say!(texts, "data-unusable-next")),
            }
        })?;
        let mut registry = folder
            .registry()
            .map_err(|error| registry_failed(texts, &error))?;
        let snapshot = registry
            .load()
            .map_err(|error| registry_failed(texts, &error))?;
        Ok(House {
            folder,
            lock,
            registry,
            snapshot,
        })
    }
}
