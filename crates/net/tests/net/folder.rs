//! A folder that goes away with the test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use safeport_net::PrivateCa;
use tempfile::TempDir;

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn empty() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    /// With the keys and the root of an authority that all tests share: making RSA keys is slow.
    pub(crate) fn with_authority() -> Folder {
        static MADE: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
        let files = MADE.get_or_init(|| {
            let folder = Folder::empty();
            PrivateCa::open_or_create(folder.path(), june_2026()).unwrap();
            std::fs::read_dir(folder.path())
                .unwrap()
                .map(|file| {
                    let file = file.unwrap();
                    let name = file.file_name().into_string().unwrap();
                    (name, std::fs::read(file.path()).unwrap())
                })
                .collect()
        });
        let folder = Folder::empty();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }
}

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// 2026-06-01, so that tests do not depend on the day they run.
pub(crate) fn june_2026() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_272_000)
}
