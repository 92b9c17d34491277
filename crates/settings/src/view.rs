//! Looking at settings: every key with its value and where it came from.

use alloc::string::String;
use alloc::vec::Vec;

use crate::ladder::{Resolved, Rung};
use crate::{Policy, Settings, Source};

/// One key, its value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// `section.name`.
    pub key: String,
    /// The value as TOML; `"(secret)"` for a secret.
    pub value: String,
    /// The default as plain text; empty for a key that has to be set.
    pub default: &'static str,
    /// Where the value was set.
    pub source: &'a Source,
    /// What the key means.
    pub doc: String,
    /// Who may set the key, and how sources go together.
    pub policy: Policy,
    /// What every source said, lowest rank first.
    pub ladder: &'a [Rung],
}

impl Settings {
    /// Where the value of a key (`mqtt.bind`) was set; `None` for an unknown
    /// key.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.find(key).map(|resolved| &resolved.source)
    }

    /// Every key with its value and origin, in the order of the example file.
    pub fn values(&self) -> impl Iterator<Item = Entry<'_>> {
        self.resolved.iter().map(|resolved| Entry {
            key: resolved.name(),
            value: resolved.shown(),
            default: resolved.spec.default.unwrap_or(""),
            source: &resolved.source,
            doc: doc(resolved.spec.doc),
            policy: resolved.spec.policy,
            ladder: &resolved.ladder,
        })
    }

    pub(crate) fn find(&self, key: &str) -> Option<&Resolved> {
        self.resolved.iter().find(|resolved| resolved.name() == key)
    }
}

/// The lines of a doc comment as one.
pub(crate) fn doc(lines: &[&str]) -> String {
    lines
        .iter()
        .map(|line| line.trim())
        .collect::<Vec<_>>()
        .join(" ")
}
