//! Managed settings, kept as revisions: every change is staged, judged by the
//! server, then holds or does not; nothing is forgotten of who wanted what.
//!
//! ```text
//! staged ──> live            what the server took without a condition
//!    │ └───> unconfirmed ──> live       somebody came back over the new settings
//!    └─────> refused   └───> reverted   nobody did
//! ```
//!
//! Only one revision at a time is staged or unconfirmed. What is managed is
//! what the live and unconfirmed ones add up to, in the order of their numbers.
//! Values are TOML texts that only the caller understands.

mod fold;
mod history;
mod sums;
mod write;

pub(crate) use write::unset_all_of_device;

use std::fmt;

use rusqlite::Row;

use crate::columns::stored_as_words;

/// For whom a value is set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The server, and every device.
    Everyone,
    /// The devices that have this tag.
    Tag(String),
    /// One device, by name.
    Device(String),
}

impl Scope {
    fn word(&self) -> &'static str {
        match self {
            Scope::Everyone => "everyone",
            Scope::Tag(_) => "tag",
            Scope::Device(_) => "device",
        }
    }

    fn name(&self) -> &str {
        match self {
            Scope::Everyone => "",
            Scope::Tag(name) | Scope::Device(name) => name,
        }
    }

    /// The scope of a row, whose word and name stand from `column` on.
    fn read(row: &Row<'_>, column: usize) -> rusqlite::Result<Scope> {
        let name = row.get(column + 1)?;
        Ok(match row.get_ref(column)?.as_str()? {
            "tag" => Scope::Tag(name),
            "device" => Scope::Device(name),
            _ => Scope::Everyone,
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Everyone => f.write_str("everyone"),
            Scope::Tag(name) => write!(f, "tag {name}"),
            Scope::Device(name) => write!(f, "device {name}"),
        }
    }
}

stored_as_words! {
    /// What made a revision.
    pub enum RevisionKind {
        /// Somebody set or unset keys.
        Set = "set",
        /// Somebody went back to an earlier revision.
        Rollback = "rollback",
        /// Settings files were changed, by hand or by us.
        Files = "files",
        /// The settings of another program were taken over.
        Import = "import",
        /// A server started, and noted the files that it started with.
        Start = "start",
    }
}

stored_as_words! {
    /// What became of a revision.
    pub enum RevisionState {
        /// Waits for a server to judge it.
        Staged = "staged",
        /// Holds.
        Live = "live",
        /// Never held: the verdict says why.
        Refused = "refused",
        /// Holds until its time, unless somebody confirms it.
        Unconfirmed = "unconfirmed",
        /// Held, and was taken back.
        Reverted = "reverted",
    }
}

impl RevisionState {
    /// Whether a revision may go from this state to `next`.
    pub fn may_become(self, next: RevisionState) -> bool {
        use RevisionState::{Live, Refused, Reverted, Staged, Unconfirmed};
        matches!(
            (self, next),
            (Staged, Live | Refused | Unconfirmed) | (Unconfirmed, Live | Reverted)
        )
    }
}

/// One key of a revision. `Debug` does not show the values of a secret one.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    /// For whom.
    pub scope: Scope,
    /// The key, for instance `limits.max_inflight`.
    pub key: String,
    /// The managed value before, as TOML; `None` if there was none.
    /// [`Registry::stage`](crate::Registry::stage) fills it in.
    pub old: Option<String>,
    /// The value from now on, as TOML; `None` to unset it.
    pub new: Option<String>,
    /// Whether the values must not be shown to anybody. They are stored like
    /// others: the database is its owner's alone.
    pub secret: bool,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change")
            .field("scope", &self.scope)
            .field("key", &self.key)
            .field("old", &shown(self.old.as_deref(), self.secret))
            .field("new", &shown(self.new.as_deref(), self.secret))
            .finish()
    }
}

/// A settings file, before and after a revision. May hold secrets: `Debug` shows
/// lengths only.
#[derive(Clone, PartialEq, Eq)]
pub struct FileSnapshot {
    /// Its path.
    pub path: String,
    /// Its text before; `None` if there was no such file, or if nobody knows
    /// what was in it ([`RevisionKind::Start`]).
    pub old: Option<String>,
    /// Its text from now on; `None` if there is no such file any more.
    pub new: Option<String>,
}

impl fmt::Debug for FileSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSnapshot")
            .field("path", &self.path)
            .field("old_bytes", &self.old.as_ref().map(String::len))
            .field("new_bytes", &self.new.as_ref().map(String::len))
            .finish()
    }
}

/// A revision that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Why, in the author's words; may be empty.
    pub reason: String,
    /// What makes it.
    pub kind: RevisionKind,
    /// The newest revision when the author looked
    /// ([`Registry::newest_revision`](crate::Registry::newest_revision)). `None`
    /// to overwrite whatever is there.
    pub base: Option<u64>,
    /// The keys; the later of two for one key counts. `old` is not read.
    pub changes: Vec<Change>,
    /// The files.
    pub files: Vec<FileSnapshot>,
}

/// A revision of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number, from 1 on; never used twice.
    pub id: u64,
    /// When it was staged, in seconds since 1970.
    pub at: u64,
    /// Who wanted it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// What made it.
    pub kind: RevisionKind,
    /// What became of it.
    pub state: RevisionState,
    /// What the server said to it.
    pub verdict: Option<String>,
    /// Until when it must be confirmed, in seconds since 1970.
    pub confirm_by: Option<u64>,
    /// Its keys.
    pub changes: Vec<Change>,
    /// Its files.
    pub files: Vec<FileSnapshot>,
}

/// One managed value. `Debug` does not show a secret one.
#[derive(Clone, PartialEq, Eq)]
pub struct ManagedRow {
    /// For whom.
    pub scope: Scope,
    /// The key.
    pub key: String,
    /// The value, as TOML.
    pub value: String,
    /// Whether it must not be shown to anybody.
    pub secret: bool,
    /// The revision that set it.
    pub revision: u64,
    /// Who made that revision.
    pub who: String,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl fmt::Debug for ManagedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedRow")
            .field("scope", &self.scope)
            .field("key", &self.key)
            .field("value", &shown(Some(&self.value), self.secret))
            .field("revision", &self.revision)
            .field("who", &self.who)
            .field("at", &self.at)
            .finish()
    }
}

fn shown(value: Option<&str>, secret: bool) -> Option<&str> {
    if secret {
        value.map(|_| "(secret)")
    } else {
        value
    }
}
