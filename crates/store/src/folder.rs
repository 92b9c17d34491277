//! The data folder: its layout, permissions and lock.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lock::{ChangeTurn, FolderLock, RunningServer};
use crate::{BlobStore, Recordings, Registry, StoreError, recordings};

/// The folder that holds everything that survives a restart:
///
/// | name | holds |
/// |---|---|
/// | `safeport.db` | the [`Registry`] |
/// | `pki/` | keys and certificates |
/// | `log/` | messages and sessions |
/// | `blobs/` | images and backups, the [`BlobStore`] |
/// | `recordings/` | the sound of conversations, where it is kept: [`Recordings`] |
/// | `safeport.lock` | the pid of the server that uses the folder |
///
/// Made with mode 0700: it holds private keys and password hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFolder {
    path: PathBuf,
}

impl DataFolder {
    /// Makes the folder and its layout where they are missing, and tries a
    /// write. The permissions of a folder that exists are left as they are.
    ///
    /// # Errors
    /// The path cannot be made, is a file, or cannot be written in.
    pub fn open(path: impl AsRef<Path>) -> Result<DataFolder, StoreError> {
        let given = path.as_ref();
        if fs::metadata(given).is_ok_and(|found| !found.is_dir()) {
            return Err(StoreError::NotAFolder {
                path: given.to_path_buf(),
            });
        }
        create_private(given).map_err(|source| StoreError::Create {
            path: given.to_path_buf(),
            source,
        })?;
        // Absolute, so that messages name the same folder from everywhere.
        let path = fs::canonicalize(given).map_err(|source| StoreError::Create {
            path: given.to_path_buf(),
            source,
        })?;
        let folder = DataFolder { path };
        folder.try_write()?;
        for part in [folder.pki(), folder.log()] {
            create_private(&part).map_err(|source| StoreError::NotWritable {
                path: part.clone(),
                source,
            })?;
        }
        Ok(folder)
    }

    /// The folder if it exists; makes and changes nothing.
    ///
    /// # Errors
    /// The path is a file, or cannot be looked at.
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Option<DataFolder>, StoreError> {
        let given = path.as_ref();
        let unreadable = |source| StoreError::NotReadable {
            path: given.to_path_buf(),
            source,
        };
        match fs::metadata(given) {
            Ok(found) if !found.is_dir() => Err(StoreError::NotAFolder {
                path: given.to_path_buf(),
            }),
            Ok(_) => {
                let path = fs::canonicalize(given).map_err(unreadable)?;
                Ok(Some(DataFolder { path }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(unreadable(source)),
        }
    }

    /// The folder itself, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `safeport.db`.
    pub fn database(&self) -> PathBuf {
        self.path.join("safeport.db")
    }

    /// `pki/`.
    pub fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    /// `log/`.
    pub fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Opens the stored files, and sweeps what writers that are gone have left.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn blobs(&self) -> Result<BlobStore, StoreError> {
        BlobStore::open(&self.path.join("blobs"))
    }

    /// The sound of conversations. Its folder is made when there is some.
    pub fn recordings(&self) -> Recordings {
        Recordings::new(self.path.join(recordings::FOLDER))
    }

    /// Takes the folder for one server. Held until the value is dropped or the
    /// process ends, however it ends.
    ///
    /// # Errors
    /// [`StoreError::Locked`] names the server that has it.
    pub fn lock(&self) -> Result<FolderLock, StoreError> {
        FolderLock::take(&self.path)
    }

    /// Opens the registry, bringing its schema up to date.
    ///
    /// # Errors
    /// See [`StoreError`]; notably `NewerSchema` and `Corrupt`.
    pub fn registry(&self) -> Result<Registry, StoreError> {
        Registry::open(&self.database())
    }

    /// Opens the registry for reading only, and only if there is one of this
    /// version: nothing is made, nothing is brought up to date. `None` if there
    /// is no database, or if it is of an older Safeport, which has none of the
    /// settings, ports and addresses of this one.
    ///
    /// # Errors
    /// See [`StoreError`]; notably `NewerSchema` and `Corrupt`.
    pub fn registry_to_read(&self) -> Result<Option<Registry>, StoreError> {
        Registry::open_to_read(&self.database())
    }

    /// The server that uses the folder now; `None` if none does.
    ///
    /// # Errors
    /// The lock cannot be read.
    pub fn server(&self) -> Result<Option<RunningServer>, StoreError> {
        RunningServer::find(&self.path)
    }

    /// Waits until nobody else is changing settings, and keeps others from it
    /// until the value is dropped or the process ends.
    ///
    /// # Errors
    /// [`StoreError::Changing`] if somebody else takes longer than `patience`;
    /// the folder cannot be opened.
    pub fn change_turn(&self, patience: Duration) -> Result<ChangeTurn, StoreError> {
        ChangeTurn::take(&self.path, patience)
    }

    fn try_write(&self) -> Result<(), StoreError> {
        let probe = self
            .path
            .join(format!(".write-test-{}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&probe)
            .and_then(|mut file| file.write_all(b"safeport"));
        let _ = fs::remove_file(&probe);
        written.map_err(|source| StoreError::NotWritable {
            path: self.path.clone(),
            source,
        })
    }
}

/// Makes a folder, and those above it, with mode 0700.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}
