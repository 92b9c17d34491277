//! One server per data folder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = fs::read_to_string(&path)
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                return Err(StoreError::Locked {
                    folder: folder.to_path_buf(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(not_writable(source)),
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
