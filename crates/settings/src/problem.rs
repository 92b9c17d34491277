//! What is wrong with the settings, in a shape that can be pointed at.

use alloc::string::String;
use core::fmt;

use crate::Source;

/// One thing wrong, with the place, what was seen and the way out.
///
/// `Display` gives `place: key: what` and a second line `  help: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the value or the unknown name stands.
    pub source: Source,
    /// The key concerned, or the unknown name as it was written.
    pub key: Option<String>,
    /// What was seen and why it does not fit.
    pub what: String,
    /// What to do about it.
    pub help: String,
    /// A second key that takes part in the problem, and where it was set.
    pub related: Option<(String, Source)>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some((key, source)) = &self.related {
            write!(f, "\n  with: {key} ({source})")?;
        }
        write!(f, "\n  help: {}", self.help)
    }
}

impl core::error::Error for Problem {}
