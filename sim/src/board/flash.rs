//! The flash memory of a pretend board: named regions that hold an image each, and a small store
//! of settings. In memory, or in a folder, where it survives the process.

use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

/// A flash memory.
#[derive(Debug, Default)]
pub(super) struct Flash {
    folder: Option<PathBuf>,
    regions: BTreeMap<&'static str, Vec<u8>>,
    settings: Map<String, Value>,
}

/// The flash folder could not be used.
#[derive(Debug, thiserror::Error)]
#[error("flash folder {folder}: {error}; give one that can be written to")]
pub struct FlashError {
    folder: String,
    error: io::Error,
}

impl Flash {
    /// Opens the folder, or an empty flash in memory.
    pub(super) fn open(
        folder: Option<PathBuf>,
        regions: &[&'static str],
    ) -> Result<Flash, FlashError> {
        let mut flash = Flash {
            folder,
            ..Flash::default()
        };
        let Some(folder) = flash.folder.clone() else {
            return Ok(flash);
        };
        let failed = |error| FlashError {
            folder: folder.display().to_string(),
            error,
        };
        fs::create_dir_all(&folder).map_err(failed)?;
        for &region in regions {
            if let Some(bytes) = read(folder.join(format!("{region}.bin"))).map_err(failed)? {
                flash.regions.insert(region, bytes);
            }
        }
        if let Some(bytes) = read(folder.join("settings.json")).map_err(failed)?
            && let Ok(Value::Object(settings)) = serde_json::from_slice(&bytes)
        {
            flash.settings = settings;
        }
        Ok(flash)
    }

    /// Whether nothing was ever written.
    pub(super) fn is_blank(&self) -> bool {
        self.regions.is_empty() && self.settings.is_empty()
    }

    /// What a region holds; empty after an erase.
    pub(super) fn region(&self, name: &str) -> &[u8] {
        self.regions.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn write(&mut self, name: &'static str, bytes: Vec<u8>) {
        if let Some(folder) = &self.folder {
            keep(&folder.join(format!("{name}.bin")), &bytes);
        }
        self.regions.insert(name, bytes);
    }

    pub(super) fn setting(&self, key: &str) -> Option<&Value> {
        self.settings.get(key)
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.setting(key)?.as_str()
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.setting(key)?.as_u64()
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.setting(key).and_then(Value::as_bool).unwrap_or(false)
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        if self.settings.get(key) == Some(&value) {
            return;
        }
        self.settings.insert(key.to_owned(), value);
        self.keep_settings();
    }

    pub(super) fn remove(&mut self, key: &str) {
        if self.settings.remove(key).is_some() {
            self.keep_settings();
        }
    }

    /// Counts one boot; returns which one it is.
    pub(super) fn count_boot(&mut self) -> u32 {
        let boot = self.number("boot_count").unwrap_or(0) as u32 + 1;
        self.set("boot_count", boot);
        boot
    }

    fn keep_settings(&self) {
        if let Some(folder) = &self.folder {
            let text = Value::Object(self.settings.clone()).to_string();
            keep(&folder.join("settings.json"), text.as_bytes());
        }
    }
}

fn read(path: PathBuf) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A process that is killed in between leaves the old file whole.
fn keep(path: &std::path::Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    let kept = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = kept {
        eprintln!(
            "{}: {error}; the pretend device will forget it",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flash_folder_holds_images_and_settings_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let path = Some(folder.path().to_owned());
            Flash::open(path, &["main", "safeboot"]).expect("a folder")
        };
        let mut flash = open();
        assert!(flash.is_blank());
        assert_eq!(flash.count_boot(), 1);
        flash.write("main", vec![1, 2, 3]);
        flash.set("otal", true);
        drop(flash);
        let mut flash = open();
        assert_eq!(flash.region("main"), [1, 2, 3]);
        assert!(flash.region("safeboot").is_empty());
        assert!(flash.flag("otal"));
        flash.remove("otal");
        assert_eq!(flash.count_boot(), 2);
        drop(flash);
        assert!(!open().flag("otal"));
    }

    #[test]
    fn a_flash_folder_that_cannot_be_made_is_named() {
        let error = Flash::open(Some("/dev/null/flash".into()), &["main"]).expect_err("no folder");
        assert!(error.to_string().contains("/dev/null/flash"), "{error}");
    }
}
