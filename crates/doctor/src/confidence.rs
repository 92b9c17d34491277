//! How sure a finding is.

use serde::Serialize;

/// How sure a finding is, the surest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Nothing of the device reaches us, and its own words name no cause.
    Low,
    /// The class is known, and the cause is one of a few; the finding says what tells them apart.
    Medium,
    /// One specific line, or a probe with a single cause.
    High,
    /// What our own listeners saw agrees with a probe or with the device's log.
    Certain,
}

impl Confidence {
    /// The word for it.
    pub const fn code(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
            Confidence::Certain => "certain",
        }
    }
}
