//! What is shown: one finding on top, the rest below the fold.

use alloc::string::String;
use alloc::vec::Vec;

use safeport_settings::Said;
use serde::{Serialize, Serializer};

use crate::{Cause, Confidence, Evidence, Layer, Place};

/// One named cause, how sure it is, the evidence and one next action. The command line, the API and
/// the console print this value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What `safeport doctor explain` takes: the id of the catalogue's entry that decided, else the
    /// cause's word.
    pub code: String,
    /// The broken layer.
    pub layer: Layer,
    /// The cause's word.
    pub cause: Cause,
    /// How sure.
    pub confidence: Confidence,
    /// The evidence, the weightiest first; at least one of a finding that is not healthy.
    pub saw: Vec<Sight>,
    /// What that means, in one sentence.
    #[serde(serialize_with = "both")]
    pub means: Said,
    /// The one next action, with the exact setting, command or URL.
    #[serde(serialize_with = "both")]
    pub fix: Said,
    /// What it is not.
    pub excluded: Vec<Excluded>,
}

/// A piece of evidence as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sight {
    /// Who saw it.
    pub place: Place,
    /// The words.
    #[serde(serialize_with = "both")]
    pub quote: Said,
}

/// Something that is not the cause, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excluded {
    /// The layer that works.
    pub layer: Layer,
    /// What shows it.
    #[serde(serialize_with = "both")]
    pub because: Said,
}

/// The whole answer: the finding, what else it could be, and everything that was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The one on top; its cause is [`Cause::Healthy`] when nothing is wrong.
    pub finding: Finding,
    /// Below the fold: what else it could be, the likeliest first.
    pub alternatives: Vec<Finding>,
    /// What the answer does not cover.
    #[serde(serialize_with = "perhaps_both")]
    pub note: Option<Said>,
    /// Everything that was seen.
    pub evidence: Evidence,
}

impl Diagnosis {
    /// What the command exits with: 0 when nothing is wrong, else 10 to 19 by layer.
    pub fn exit_code(&self) -> u8 {
        if self.finding.cause == Cause::Healthy {
            0
        } else {
            self.finding.layer.exit_code()
        }
    }
}

/// Both languages side by side, as JSON has them.
#[derive(Serialize)]
struct Both<'a> {
    en: &'a str,
    zh: &'a str,
}

impl<'a> From<&'a Said> for Both<'a> {
    fn from(said: &'a Said) -> Both<'a> {
        Both {
            en: &said.en,
            zh: &said.zh,
        }
    }
}

pub(crate) fn both<S: Serializer>(said: &Said, serializer: S) -> Result<S::Ok, S::Error> {
    Both::from(said).serialize(serializer)
}

fn perhaps_both<S: Serializer>(said: &Option<Said>, serializer: S) -> Result<S::Ok, S::Error> {
    said.as_ref().map(Both::from).serialize(serializer)
}
