//! One server per data folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::StoreError;

/// Proof that this process alone serves from a data folder.
///
/// The lock is the operating system's, on the open file `safeport.lock`: it
/// ends with the process, so a crash leaves nothing to clean up. The pid in the
/// file is for messages only.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    pub(crate) fn take(folder: &Path) -> Result<FolderLock, StoreError> {
        let path = folder.join("safeport.lock");
        let not_writable = |source| StoreError::NotWritable {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(not_writable)?;
        // A command that looks for a server holds the lock for a moment.
        let deadline = Instant::now() + LOOK;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(LOOK / 20);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Locked {
                        folder: folder.to_path_buf(),
                        pid: pid_in(&path),
                    });
                }
                Err(TryLockError::Error(source)) => return Err(not_writable(source)),
            }
        }
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()))
            .map_err(not_writable)?;
        Ok(FolderLock { file })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // The pid of a server that is gone would be a lie. Losing this write
        // is harmless: the lock itself goes with the file handle.
        let _ = self.file.set_len(0);
    }
}

/// The turn to change settings: commands that read, edit and stage take it one
/// after the other, since the way back of one would undo the other.
///
/// The lock is the operating system's, on the folder itself: nothing is made
/// that another user could not open.
#[derive(Debug)]
pub struct ChangeTurn {
    _folder: File,
}

impl ChangeTurn {
    pub(crate) fn take(folder: &Path, patience: Duration) -> Result<ChangeTurn, StoreError> {
        let unreadable = |source| StoreError::NotReadable {
            path: folder.to_path_buf(),
            source,
        };
        let file = File::open(folder).map_err(unreadable)?;
        let deadline = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(ChangeTurn { _folder: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(LOOK / 10);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Changing {
                        folder: folder.to_path_buf(),
                        seconds: patience.as_secs(),
                    });
                }
                // Some network file systems know no locks on folders.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(ChangeTurn { _folder: file });
                }
                Err(TryLockError::Error(source)) => return Err(unreadable(source)),
            }
        }
    }
}

/// A server that uses a data folder now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningServer {
    /// Its process, if it could be read.
    pub pid: Option<u32>,
}

impl RunningServer {
    pub(crate) fn find(folder: &Path) -> Result<Option<RunningServer>, StoreError> {
        let path = folder.join("safeport.lock");
        let unreadable = |source| StoreError::NotReadable {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(unreadable(source)),
        };
        // Shared, so that two that look do not take each other for a server.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(RunningServer { pid: pid_in(&path) })),
            Err(TryLockError::Error(source)) => Err(unreadable(source)),
        }
    }
}

fn pid_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
}

/// How long a server waits for those that only look.
const LOOK: Duration = Duration::from_millis(200);
