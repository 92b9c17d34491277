//! What every source said about one key, and what became of it.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::spec::KeySpec;
use crate::{Secret, Source};

/// What one source said about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// The value as TOML; as it was written, where it was unusable.
    pub value: String,
    /// Who said it.
    pub source: Source,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It holds.
    Won,
    /// A higher source says something else.
    Outranked,
    /// The key is pinned (`config.pin`), and this was set while the server ran.
    Pinned,
    /// It holds together with the lists of other sources.
    Joined,
    /// A higher source says the same.
    SameAsWinner,
    /// This source may not set this key; there is a problem that says so.
    Refused,
    /// It does not fit the key; there is a problem that says why.
    Unusable,
}

impl Fate {
    /// One word for programs: `won`, `outranked`, `pinned`, `joined`, `same`,
    /// `refused`, `unusable`.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Won => "won",
            Fate::Outranked => "outranked",
            Fate::Pinned => "pinned",
            Fate::Joined => "joined",
            Fate::SameAsWinner => "same",
            Fate::Refused => "refused",
            Fate::Unusable => "unusable",
        }
    }
}

/// One key with its value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) spec: &'static KeySpec,
    /// Of a section of named entries, which one.
    pub(crate) entry: Option<String>,
    /// The value as TOML, secrets in clear; empty for a key without default
    /// that nothing sets.
    pub(crate) value: String,
    /// Who set it; of a joined list, the highest.
    pub(crate) source: Source,
    /// Lowest rank first.
    pub(crate) ladder: Vec<Rung>,
}

impl Resolved {
    /// The key.
    pub(crate) fn name(&self) -> String {
        self.spec.full_name(self.entry.as_deref())
    }

    /// The value as TOML, as it may be shown.
    pub(crate) fn shown(&self) -> String {
        self.spec.shown(&self.value)
    }
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.name(), self.shown(), self.source)
    }
}

impl KeySpec {
    /// A value of this key, as TOML, as it may be shown.
    pub(crate) fn shown(&self, toml: &str) -> String {
        if self.policy.secret && toml != "\"\"" && !toml.is_empty() {
            return crate::kind::quote(Secret::SHOWN);
        }
        toml.to_string()
    }
}
