//! An offer as people and programs see it, and as it is stored.

use std::fmt;
use std::str::FromStr;

use safeport_fleet::MemberId;
use safeport_fleet::upgrade::{Entry, Part, Restore, State, Upgrade};
use safeport_store::{BlobHash, OfferRow};
use serde::{Deserialize, Serialize};

/// The number of an offer, shown as `off_b4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OfferId(pub u64);

impl fmt::Display for OfferId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = MemberId(self.0).to_string();
        write!(out, "off_{}", digits.trim_start_matches("dev_"))
    }
}

impl FromStr for OfferId {
    type Err = OfferIdError;

    fn from_str(text: &str) -> Result<OfferId, OfferIdError> {
        let digits = text.strip_prefix("off_").ok_or(OfferIdError)?;
        let MemberId(number) = format!("dev_{digits}").parse().map_err(|_| OfferIdError)?;
        Ok(OfferId(number))
    }
}

/// The text is no number of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the number of an offer: it looks like off_b4 (see `safeport firmware offers`)")]
pub struct OfferIdError;

/// What the registry keeps of an offer, besides its columns.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Body {
    /// How the device was called when it was offered.
    pub device: String,
    pub family: String,
    /// File name or release name.
    pub what: String,
    /// The version of the main image (else of the safeboot).
    pub version: Option<String>,
    /// What to know although it was offered.
    #[serde(default)]
    pub warnings: Vec<String>,
    pub upgrade: Upgrade,
}

/// An offer, as lists and JSON show it. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfferView {
    /// `off_…`
    pub id: String,
    /// `dev_…`
    pub member: String,
    /// The device's name.
    pub device: String,
    /// Its family.
    pub family: String,
    /// The release, or the image's file.
    pub what: String,
    /// The version that is offered.
    pub version: Option<String>,
    /// The image, if it is a single one.
    pub image: Option<String>,
    /// The word of the state: `waiting`, `downloading`, `succeeded` …
    pub state: &'static str,
    /// Cause of waiting or reason of failure, as a word.
    pub reason: Option<&'static str>,
    /// Whether anything can still follow.
    pub open: bool,
    /// The last thing that happened, in words.
    pub detail: String,
    /// What to do now, if a person has to.
    pub advice: Option<&'static str>,
    /// Which step of how many, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// What this step writes: `safeboot` or `main`.
    pub part: &'static str,
    /// Bytes of this step that went out.
    pub bytes: u64,
    /// How many it has.
    pub total: u64,
    /// When what runs was found to be what was meant.
    pub evidence_build: Option<u64>,
    /// When the device had booted freshly.
    pub evidence_boot: Option<u64>,
    /// When it had stayed for the whole soak.
    pub evidence_stays: Option<u64>,
    /// When it had stayed without a crash.
    pub evidence_sane: Option<u64>,
    /// The device's own `OtaUrl`: `untouched`, `owed`, `restored` or `not_restored`.
    pub own_ota_url: &'static str,
    /// Why it was not given back, and what to enter.
    pub own_ota_url_why: Option<String>,
    /// What was to be known when it was offered.
    pub warnings: Vec<String>,
    /// When it was offered.
    pub created: u64,
    /// When it changed last.
    pub updated: u64,
    /// Who offered it.
    pub by: String,
    /// What happened, oldest first.
    pub history: Vec<HistoryLine>,
}

/// A line of an offer's history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HistoryLine {
    /// Seconds since 1970.
    pub at: u64,
    /// The state from then on.
    pub state: &'static str,
    /// Its cause or reason.
    pub reason: Option<&'static str>,
    /// What happened.
    pub what: String,
}

impl OfferView {
    pub(super) fn new(row: &OfferRow, body: &Body) -> OfferView {
        let upgrade = &body.upgrade;
        let state = upgrade.state();
        let (bytes, total) = upgrade.progress();
        let evidence = upgrade.evidence();
        let plan = upgrade.plan();
        let (own, why) = match upgrade.restore() {
            Restore::Untouched => ("untouched", None),
            Restore::Owed { .. } => ("owed", None),
            Restore::Done => ("restored", None),
            Restore::Impossible(why) => ("not_restored", Some(why.clone())),
        };
        OfferView {
            id: OfferId(row.id).to_string(),
            member: MemberId(row.member).to_string(),
            device: body.device.clone(),
            family: body.family.clone(),
            what: body.what.clone(),
            version: body.version.clone(),
            image: row.image.as_ref().map(BlobHash::to_string),
            state: state.as_str(),
            reason: state.detail(),
            open: !state.is_final(),
            detail: upgrade.detail().to_owned(),
            advice: match state {
                State::Failed(reason) => Some(reason.advice()),
                _ => None,
            },
            step: (upgrade.step() + 1).min(plan.steps.len()),
            steps: plan.steps.len(),
            part: match plan.steps.get(upgrade.step()).map(|step| step.part) {
                Some(Part::Safeboot) => "safeboot",
                _ => "main",
            },
            bytes,
            total,
            evidence_build: evidence.build,
            evidence_boot: evidence.boot,
            evidence_stays: evidence.stays,
            evidence_sane: evidence.sane,
            own_ota_url: own,
            own_ota_url_why: why,
            warnings: body.warnings.clone(),
            created: row.created,
            updated: row.updated,
            by: row.who.clone(),
            history: upgrade.history().iter().map(HistoryLine::new).collect(),
        }
    }
}

impl HistoryLine {
    fn new(entry: &Entry) -> HistoryLine {
        HistoryLine {
            at: entry.at,
            state: entry.state.as_str(),
            reason: entry.state.detail(),
            what: entry.what.clone(),
        }
    }
}

/// The state with its detail, as the registry's column has it: `failed(not_proved)`.
pub(super) fn state_word(state: State) -> String {
    state.to_string()
}
