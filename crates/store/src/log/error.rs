//! What can go wrong with a log, and what to do about it.

use std::io;

use super::format::FORMAT_VERSION;
use crate::limits;

/// A payload that its owner cannot read although its checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// Bytes from the beginning of the payload.
    pub offset: usize,
    /// What was found there, to follow "is damaged at byte N: ".
    pub what: String,
}

/// Why a log could not be opened. Nothing was changed on disk, so a backup can
/// still be made.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Something that was durable once is not readable now.
    #[error("{file} is damaged at byte {offset} ({what}); {DAMAGE_ADVICE}")]
    Damaged {
        /// The segment.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// A segment is not there, though later ones are; or a log's folder.
    #[error("{file} is missing although the log needs it; {DAMAGE_ADVICE}")]
    Missing {
        /// The segment.
        file: String,
    },
    /// A segment lies under another's name.
    #[error(
        "{file} holds segment {found} of the log, so it was renamed or copied; give the files in this folder their own names back, or restore a backup"
    )]
    WrongNumber {
        /// The segment.
        file: String,
        /// The number inside it.
        found: u64,
    },
    /// Written by a newer Safeport.
    #[error("{file} was written by a newer Safeport (log format {found}, this one knows up to {known}); use that version again, or restore a backup from before the upgrade", known = FORMAT_VERSION)]
    NewerFormat {
        /// The segment.
        file: String,
        /// Its format version.
        found: u32,
    },
    /// The system does not give out the file or folder.
    #[error(
        "cannot read {file}: {source}; give the folder and its files to the user that runs Safeport, and check the disk"
    )]
    Unreadable {
        /// The file or folder.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not let us write.
    #[error(
        "cannot write {file}: {source}; free some space, give the folder and its files to the user that runs Safeport, and check the disk"
    )]
    NotWritable {
        /// The file or folder.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Logs are there, but not the file that says which of them count.
    #[error(
        "{file} is missing although {generation} holds a log; restore a backup of the whole log folder, or move {generation} aside to start without sessions and retained messages"
    )]
    NoCurrent {
        /// `CURRENT`.
        file: String,
        /// The folder of a generation with something in it.
        generation: String,
    },
}

/// Why a group was not written. Nothing has changed and it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk, or the user's share of it, is full.
    #[error("no space is left for {file}; nothing was lost: free some space on that disk")]
    Full {
        /// The segment.
        file: String,
    },
    /// The system refused for another reason.
    #[error("cannot write {file}: {source}; check the disk and the folder's permissions")]
    Write {
        /// The segment.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The group is longer than a log takes.
    #[error("a group of {bytes} bytes is more than the log takes at once ({max}); write it in parts", max = limits::MAX_GROUP_BYTES)]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// A sync failed before; see [`super::SyncTask::run`].
    #[error(
        "{file} could not be made durable before, so nothing more is written; check the disk, then start Safeport again"
    )]
    SyncFailed {
        /// The segment.
        file: String,
    },
}

impl AppendError {
    pub(super) fn from_io(file: String, source: io::Error) -> AppendError {
        if is_full(&source) {
            AppendError::Full { file }
        } else {
            AppendError::Write { file, source }
        }
    }
}

/// Whether more space would help.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

const DAMAGE_ADVICE: &str = "stop the server, keep a copy of the log folder, and restore a backup; without one, start once with `storage.skip_damaged` (SAFEPORT__STORAGE__SKIP_DAMAGED=true) to go on with everything that can still be read";
