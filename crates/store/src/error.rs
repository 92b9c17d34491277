//! What can go wrong with what is stored, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::{BlobHash, RevisionState, Scope, limits};

/// What a name belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person or a program.
    User,
    /// A device.
    Device,
    /// A token of the HTTP API.
    Token,
    /// What is known of one device, enrolled or only seen.
    Member,
    /// An image.
    Image,
    /// A release.
    Release,
    /// An offer of an image or a release to a device.
    Offer,
    /// A backup of a device.
    Backup,
    /// A code that a device shows, to be enrolled with.
    Activation,
    /// A token in the address of a download.
    Download,
    /// A program that may bring its tools to an agent.
    Program,
}

impl Kind {
    /// The command that lists all of them.
    fn list(self) -> &'static str {
        match self {
            Kind::User => "safeport user list",
            Kind::Device | Kind::Member => "safeport device list",
            Kind::Token => "safeport token list",
            Kind::Image => "safeport firmware list",
            Kind::Release => "safeport firmware releases",
            Kind::Offer | Kind::Download => "safeport firmware offers",
            Kind::Backup => "safeport device backups",
            Kind::Activation => "safeport device list --waiting",
            Kind::Program => "safeport agent program list",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::User => "user",
            Kind::Device => "device",
            Kind::Token => "token",
            Kind::Member => "device with the number",
            Kind::Image => "image",
            Kind::Release => "release",
            Kind::Offer => "offer",
            Kind::Backup => "backup",
            Kind::Activation => "activation code",
            Kind::Download => "download token",
            Kind::Program => "program",
        })
    }
}

/// Why the data folder or the registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder could not be made.
    #[error("cannot create the data folder {}: {source}; choose another folder with --data or `data` in [server], or create it and give it to this user", path.display())]
    Create {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path leads to a file.
    #[error("the data folder {} is a file; choose another folder with --data or `data` in [server]", path.display())]
    NotAFolder {
        /// The path.
        path: PathBuf,
    },
    /// Nothing can be written there.
    #[error("cannot write in the data folder {}: {source}; {}", path.display(), write_advice(source))]
    NotWritable {
        /// The file or folder that could not be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the folder cannot be looked at.
    #[error("cannot read {}: {source}; give it to the user that runs Safeport, or run this as that user", path.display())]
    NotReadable {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another server uses the folder.
    #[error("another Safeport{} already serves from {}; stop it first, or give this one its own folder with --data", pid_text(*pid), folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The other process, if it could be read.
        pid: Option<u32>,
    },
    /// The registry was written by a newer Safeport.
    #[error("{} was written by a newer Safeport (schema {found}, this one knows up to {known}); use that version again, or restore a backup from before the upgrade", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// The file is no sound database of ours.
    #[error("{} is damaged or is no Safeport database ({detail}); stop the server, move {} aside together with the files ending in -wal and -shm beside it, and restore a backup; without one, Safeport starts with an empty registry", path.display(), path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// Another process held the database all the time.
    #[error("{} was locked by another process for more than {} seconds; try again, and look for a backup or a database browser that keeps it open", path.display(), limits::BUSY_TIMEOUT.as_secs())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// Another command was changing settings all the time.
    #[error("another command has been changing settings in {} for more than {seconds} seconds; nothing was changed: wait until it ends, or end it", folder.display())]
    Changing {
        /// The data folder.
        folder: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The disk is full.
    #[error("no space is left for {}; nothing was changed: free some space and try again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// Nobody has this name.
    #[error("there is no {kind} {name:?}; `{}` shows all", kind.list())]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// The name.
        name: String,
    },
    /// The name is used already.
    #[error("the name {name:?} belongs to a {by} already: choose another{}", shared_names(*by))]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        by: Kind,
    },
    /// A client identifier or hardware address is used already.
    #[error(
        "{what} {value:?} belongs to the device {device:?} already; forget that device first if it is the same board"
    )]
    IdentityTaken {
        /// `the client id` or `the MAC address`.
        what: &'static str,
        /// The value.
        value: String,
        /// The device that has it.
        device: String,
    },
    /// Somebody else has changed the same setting or file since.
    #[error(
        "{key} {}was changed meanwhile by {their_author} (revision {theirs}), after revision {base} from which {yours} started; nothing was changed: look at `safeport config diff {base}..{theirs}`, then make the change again",
        scope_text(scope)
    )]
    RevisionConflict {
        /// The key, or the path of the file.
        key: String,
        /// For whom the key is set. Everyone for a file. Boxed, since every
        /// error is as large as the largest.
        scope: Box<Scope>,
        /// The revision that the refused change started from.
        base: u64,
        /// The revision that changed it since.
        theirs: u64,
        /// Who made that one.
        their_author: String,
        /// When, in seconds since 1970.
        their_at: u64,
        /// Who wanted the refused change.
        yours: String,
    },
    /// An earlier change is not settled yet.
    #[error("{}; nothing was changed: try again once it is settled, `safeport config history` shows it", pending_text(*id, who, *state))]
    ChangePending {
        /// The revision that is waited for.
        id: u64,
        /// Who made it.
        who: String,
        /// When, in seconds since 1970.
        at: u64,
        /// Staged, or unconfirmed.
        state: RevisionState,
        /// Until when it waits for a confirmation, in seconds since 1970.
        confirm_by: Option<u64>,
    },
    /// A revision cannot go from its state to the one that was asked for.
    #[error(
        "revision {id} is {state} already and cannot become {wanted}; `safeport config history` shows what happened to it"
    )]
    RevisionSettled {
        /// The revision.
        id: u64,
        /// Its state.
        state: RevisionState,
        /// The state that it was to have.
        wanted: RevisionState,
    },
    /// There is no such revision.
    #[error("there is no revision {id}; `safeport config history` lists all")]
    NoRevision {
        /// What was looked for.
        id: u64,
    },
    /// The revision is older than the history that is kept.
    #[error(
        "revision {id} is no longer kept, the history begins at {oldest}; choose that one or a later one"
    )]
    RevisionFolded {
        /// What was looked for.
        id: u64,
        /// The oldest state that can still be told.
        oldest: u64,
    },
    /// A text that is no tag.
    #[error(
        "{tag:?} is no tag; use 1 to {} characters of a-z, 0-9 and -",
        limits::MAX_TAG_LENGTH
    )]
    BadTag {
        /// The text.
        tag: String,
    },
    /// More than there may be at once.
    #[error(
        "{found} are too many {what}; at most {limit} are kept: leave some out, or spread them over several changes"
    )]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many were given.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A text that is longer than it may be.
    #[error("{what} has {found} bytes; at most {limit} are kept: shorten it")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its length, in bytes.
        found: usize,
        /// The most bytes it may have.
        limit: usize,
    },
    /// Something else still refers to it.
    #[error("the {kind} {name} is in use by {by}; remove or end that first")]
    InUse {
        /// What it is.
        kind: Kind,
        /// Its name or hash.
        name: String,
        /// Who uses it.
        by: String,
    },
    /// A device has one open offer at a time.
    #[error(
        "the device has the open offer {offer} already; wait until it ends, or cancel it first"
    )]
    OfferOpen {
        /// The device's number.
        member: u64,
        /// The offer that is open.
        offer: u64,
    },
    /// No file lies under this hash.
    #[error("{} is missing; add the file once more", path.display())]
    NoBlob {
        /// The hash.
        hash: BlobHash,
        /// Where it would be.
        path: PathBuf,
    },
    /// A file is not what was put there.
    #[error("{} is damaged: its bytes have the SHA-256 {found}; add the file once more, and check the disk", path.display())]
    BlobDamaged {
        /// What it was to be.
        hash: BlobHash,
        /// Where it is.
        path: PathBuf,
        /// What it is.
        found: BlobHash,
    },
    /// What came is not what was announced.
    #[error(
        "the file that came has the SHA-256 {found}, not {expected}; nothing was kept: send it once more"
    )]
    BlobDiffers {
        /// What was announced.
        expected: BlobHash,
        /// What came.
        found: BlobHash,
    },
    /// A file that is larger than it may be.
    #[error("the file is larger than the {limit} bytes that are allowed; nothing was kept")]
    BlobTooLarge {
        /// The most bytes it may have.
        limit: u64,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {source}; look whether /dev/urandom can be read")]
    NoRandomness {
        /// What the system said.
        source: getrandom::Error,
    },
    /// Anything else from the database.
    #[error("{} failed: {source}; if it happens again, check the disk and the folder's permissions", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Sorts an error of SQLite by what a person can do about it.
    pub(crate) fn sqlite(path: &Path, source: rusqlite::Error) -> StoreError {
        use rusqlite::ErrorCode;
        let path = path.to_path_buf();
        let code = source.sqlite_error_code();
        match code {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
                path,
                detail: source.to_string(),
            },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            Some(ErrorCode::DiskFull) => StoreError::Full { path },
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                StoreError::NotWritable {
                    path,
                    source: io::Error::new(io::ErrorKind::PermissionDenied, source),
                }
            }
            _ => StoreError::Database { path, source },
        }
    }
}

fn scope_text(scope: &Scope) -> String {
    match scope {
        Scope::Everyone => String::new(),
        other => format!("of {other} "),
    }
}

fn shared_names(kind: Kind) -> &'static str {
    match kind {
        Kind::User | Kind::Device => ", since users and devices share one space of login names",
        Kind::Token | Kind::Image | Kind::Release => ", or remove that one first",
        _ => "",
    }
}

fn pending_text(id: u64, who: &str, state: RevisionState) -> String {
    if state == RevisionState::Unconfirmed {
        format!("revision {id} by {who} waits to be confirmed")
    } else {
        format!("revision {id} by {who} is being applied")
    }
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

fn write_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another folder with --data"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the disk is mounted read-only: choose another folder with --data"
        }
        _ => {
            "give the folder and its files to the user that runs Safeport, or choose another folder with --data"
        }
    }
}
