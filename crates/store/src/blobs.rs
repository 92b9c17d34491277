//! Files of any size under the SHA-256 of their bytes: images and backups.
//!
//! | name | holds |
//! |---|---|
//! | `new/` | what is being written; left over if its writer is gone |
//! | `ab/abcd…` | a file whose SHA-256 is `abcd…` |
//!
//! A file appears under its hash whole or not at all, and once it was
//! acknowledged it survives a power cut: bytes are synced, then renamed, then the
//! folders are synced. What a file is for, the registry says; a file that nobody
//! needs goes with [`BlobStore::remove_unused`].

mod disk;
mod writer;

use sha2::{Digest, Sha256};
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::folder::create_private;
use crate::{BlobHash, StoreError, limits};
pub use writer::BlobWriter;

/// The folder of stored files. Cheap to clone; any number of processes may use
/// one folder at once. Folders have mode 0700, files 0600.
#[derive(Debug, Clone)]
pub struct BlobStore {
    root: Arc<PathBuf>,
}

/// A stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// The SHA-256 of its bytes.
    pub hash: BlobHash,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// A stored file, open for reading. It can be read to its end even if it is
/// removed meanwhile.
#[derive(Debug)]
pub struct BlobFile {
    /// The file, at its beginning.
    pub file: File,
    /// Its size, in bytes.
    pub bytes: u64,
}

/// What a sweep has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many unfinished files.
    pub files: u32,
    /// Their size together, in bytes.
    pub bytes: u64,
}

impl BlobStore {
    /// Makes the folder if it is missing, and sweeps what others have left.
    ///
    /// # Errors
    /// The folder cannot be made, or nothing can be written there.
    pub(crate) fn open(root: &Path) -> Result<BlobStore, StoreError> {
        let store = BlobStore {
            root: Arc::new(root.to_path_buf()),
        };
        let new = store.unfinished();
        create_private(&new).map_err(|source| not_written(&new, source))?;
        for folder in root.parent().into_iter().chain([root]) {
            disk::sync_folder(folder).map_err(|source| not_written(folder, source))?;
        }
        store.sweep()?;
        Ok(store)
    }

    /// Begins a file of at most `limit` bytes.
    ///
    /// # Errors
    /// Nothing can be written; [`StoreError::NoRandomness`].
    pub fn begin(&self, limit: u64) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(self.clone(), limit)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`]; the file cannot be read.
    pub fn file(&self, hash: &BlobHash) -> Result<BlobFile, StoreError> {
        let path = self.path_of(hash);
        match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((bytes, file)) => Ok(BlobFile { file, bytes }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::NoBlob { hash: *hash, path })
            }
            Err(source) => Err(StoreError::NotReadable { path, source }),
        }
    }

    /// The size of a file in bytes; `None` if there is none. Who wants to keep a
    /// file that no row of the registry names yet writes it once more: it may be
    /// about to be removed.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub fn bytes(&self, hash: &BlobHash) -> Result<Option<u64>, StoreError> {
        let path = self.path_of(hash);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::NotReadable { path, source }),
        }
    }

    /// Reads a whole file and compares its bytes with its hash. Takes about a
    /// second for each gigabyte.
    ///
    /// # Errors
    /// [`StoreError::BlobDamaged`], [`StoreError::NoBlob`]; the file cannot be
    /// read.
    pub fn verify(&self, hash: &BlobHash) -> Result<(), StoreError> {
        let mut file = self.file(hash)?.file;
        let path = self.path_of(hash);
        let mut sum = Sha256::new();
        let mut piece = vec![0; limits::BLOB_PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => sum.update(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(StoreError::NotReadable { path, source }),
            }
        }
        let found = BlobHash::new(sum.finalize().into());
        if found == *hash {
            return Ok(());
        }
        Err(StoreError::BlobDamaged {
            hash: *hash,
            path,
            found,
        })
    }

    /// Removes a file. Says whether there was one. A power cut may bring it back.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn remove(&self, hash: &BlobHash) -> Result<bool, StoreError> {
        let path = self.path_of(hash);
        match disk::remove(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(not_written(&path, source)),
        }
    }

    /// Removes all files that `used` knows nothing of and that were written at
    /// least `min_age` ago; says how many. Whoever writes a file has that long to
    /// say in the registry what it is for.
    ///
    /// # Errors
    /// The folder cannot be read or written; what `used` says. Then some may be
    /// gone.
    pub fn remove_unused(
        &self,
        min_age: Duration,
        mut used: impl FnMut(&BlobHash) -> Result<bool, StoreError>,
    ) -> Result<u32, StoreError> {
        let mut removed = 0;
        for blob in self.list()? {
            if !self.is_older(&blob.hash, min_age) || used(&blob.hash)? {
                continue;
            }
            // The same file may be written once more at this moment.
            let _turn = self.turn_to_remove()?;
            if self.is_older(&blob.hash, min_age)
                && !used(&blob.hash)?
                && self.remove(&blob.hash)?
            {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// All files, by hash. What does not belong here is passed over.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<Blob>, StoreError> {
        let mut blobs = Vec::new();
        for folder in entries(&self.root)? {
            if !folder.file_name().to_str().is_some_and(is_shelf) {
                continue;
            }
            for entry in entries(&folder.path())? {
                let hash = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse().ok());
                // Gone since the folder was read is as good as never there.
                if let (Some(hash), Ok(found)) = (hash, entry.metadata()) {
                    blobs.push(Blob {
                        hash,
                        bytes: found.len(),
                    });
                }
            }
        }
        blobs.sort_unstable_by_key(|blob| blob.hash);
        Ok(blobs)
    }

    /// Removes unfinished files whose writers are gone. Done whenever the store is
    /// opened.
    ///
    /// # Errors
    /// The folder cannot be read or written.
    pub fn sweep(&self) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        for entry in entries(&self.unfinished())? {
            let path = entry.path();
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if !found.is_file() {
                continue;
            }
            // Held until it is gone, so that nobody begins to write it meanwhile.
            let Some(_turn) = left_over(&path, &found) else {
                continue;
            };
            match disk::remove(&path) {
                Ok(()) => {
                    swept.files += 1;
                    swept.bytes += found.len();
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(not_written(&path, source)),
            }
        }
        Ok(swept)
    }

    fn is_older(&self, hash: &BlobHash, age: Duration) -> bool {
        fs::metadata(self.path_of(hash))
            .and_then(|found| found.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|elapsed| elapsed >= age))
    }

    fn unfinished(&self) -> PathBuf {
        self.root.join("new")
    }

    fn shelf_of(&self, hash: &BlobHash) -> PathBuf {
        self.root.join(format!("{:02x}", hash.bytes()[0]))
    }

    fn path_of(&self, hash: &BlobHash) -> PathBuf {
        self.shelf_of(hash).join(hash.to_string())
    }

    /// Held while a file gets its name; ends with the value. Several may have it.
    fn turn_to_name(&self) -> Result<File, StoreError> {
        self.turn(File::lock_shared)
    }

    /// Held while a file is removed that nobody needs: nobody gives it its name
    /// meanwhile.
    fn turn_to_remove(&self) -> Result<File, StoreError> {
        self.turn(File::lock)
    }

    fn turn(&self, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<File, StoreError> {
        let take = || {
            let folder = File::open(&*self.root)?;
            match lock(&folder) {
                // Some network file systems know no locks on folders.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(folder),
                done => done.map(|()| folder),
            }
        };
        take().map_err(|source| StoreError::NotReadable {
            path: self.root.to_path_buf(),
            source,
        })
    }
}

/// An unfinished file that nobody writes any more: its writer holds a lock, which
/// ends with it. Now that lock is ours.
fn left_over(path: &Path, found: &fs::Metadata) -> Option<File> {
    let file = File::open(path).ok()?;
    let is_left_over = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => found
            .modified()
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= limits::LEFTOVER_AGE)),
    };
    is_left_over.then_some(file)
}

fn is_shelf(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What lies in a folder; nothing if that is missing.
pub(crate) fn entries(folder: &Path) -> Result<Vec<fs::DirEntry>, StoreError> {
    let list = || fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>();
    match list() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        done => done.map_err(|source| StoreError::NotReadable {
            path: folder.to_path_buf(),
            source,
        }),
    }
}

/// An error of writing, sorted by what a person can do about it.
pub(crate) fn not_written(path: &Path, source: io::Error) -> StoreError {
    let path = path.to_path_buf();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { path },
        _ => StoreError::NotWritable { path, source },
    }
}

#[cfg(test)]
mod tests;
