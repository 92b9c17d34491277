//! A file on its way into the store.

use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::{Blob, BlobStore, disk, not_written};
use crate::{BlobHash, StoreError};

/// A file that is being written. It is nowhere to be found before
/// [`finish`](BlobWriter::finish); dropped without that, it is removed.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    /// Locked, which tells sweepers that somebody writes it.
    file: File,
    path: PathBuf,
    sum: Sha256,
    written: u64,
    limit: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// All of it is written so far.
    Whole,
    /// A part of it could not be written.
    Torn,
    /// It has its name, and is not ours to remove.
    Named,
}

impl BlobWriter {
    pub(super) fn new(store: BlobStore, limit: u64) -> Result<BlobWriter, StoreError> {
        loop {
            let path = store.unfinished().join(random_name()?);
            let failed = |source| not_written(&path, source);
            let file = match disk::create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created.map_err(failed)?,
            };
            match file.try_lock() {
                // A sweeper may have been quicker than the lock.
                Ok(()) if path.exists() => {}
                // Some network file systems know no locks.
                Err(std::fs::TryLockError::Error(_)) => {}
                Ok(()) | Err(std::fs::TryLockError::WouldBlock) => continue,
            }
            return Ok(BlobWriter {
                store,
                file,
                path,
                sum: Sha256::new(),
                written: 0,
                limit,
                stage: Stage::Whole,
            });
        }
    }

    /// Appends bytes. After an error nothing more can be written, and the file
    /// goes when the writer is dropped.
    ///
    /// # Errors
    /// [`StoreError::BlobTooLarge`], [`StoreError::Full`]; nothing can be
    /// written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.must_be_whole()?;
        let written = self.written.saturating_add(bytes.len() as u64);
        if written > self.limit {
            self.stage = Stage::Torn;
            return Err(StoreError::BlobTooLarge { limit: self.limit });
        }
        disk::write(&self.file, &self.path, bytes).map_err(|source| {
            self.stage = Stage::Torn;
            not_written(&self.path, source)
        })?;
        self.sum.update(bytes);
        self.written = written;
        Ok(())
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Puts the file under its hash, which must be `expected` if that is given. On
    /// return it is there, and a power cut does not change that. One that was
    /// there already is replaced by its like, which mends it if it was damaged.
    ///
    /// # Errors
    /// [`StoreError::BlobDiffers`], [`StoreError::Full`]; nothing can be written.
    /// Then nothing is acknowledged; the file may be there nevertheless if only
    /// the last step failed.
    pub fn finish(mut self, expected: Option<&BlobHash>) -> Result<Blob, StoreError> {
        self.must_be_whole()?;
        let hash = BlobHash::new(std::mem::take(&mut self.sum).finalize().into());
        if let Some(expected) = expected
            && *expected != hash
        {
            return Err(StoreError::BlobDiffers {
                expected: *expected,
                found: hash,
            });
        }
        // A slow upload is as young as a quick one; see `remove_unused`.
        self.file
            .set_modified(SystemTime::now())
            .and_then(|()| disk::sync_file(&self.file, &self.path))
            .map_err(|source| not_written(&self.path, source))?;
        let turn = self.store.turn_to_name()?;
        let shelf = self.store.shelf_of(&hash);
        let place = self.store.path_of(&hash);
        disk::make_folder(&shelf)
            .and_then(|()| disk::rename(&self.path, &place))
            .map_err(|source| not_written(&place, source))?;
        self.stage = Stage::Named;
        drop(turn);
        // The shelf may be new, whoever has made it.
        for folder in [&shelf, &*self.store.root] {
            disk::sync_folder(folder).map_err(|source| not_written(folder, source))?;
        }
        Ok(Blob {
            hash,
            bytes: self.written,
        })
    }

    fn must_be_whole(&self) -> Result<(), StoreError> {
        if self.stage == Stage::Whole {
            return Ok(());
        }
        Err(StoreError::NotWritable {
            path: self.path.clone(),
            source: io::Error::other("a part of it could not be written before"),
        })
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.stage != Stage::Named {
            // What cannot be removed now is swept at the next start.
            let _ = disk::remove(&self.path);
        }
    }
}

fn random_name() -> Result<String, StoreError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|source| StoreError::NoRandomness { source })?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}
