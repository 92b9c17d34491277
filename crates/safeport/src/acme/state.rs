//! What is known of the certificates of ACME, for people and for the next start: `state.json`.

use safeport_settings::Said;
use serde::{Deserialize, Serialize};

use super::plan::{Alarm, Failing, Key, Suggestion, Window};

/// All of it. Moments are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AcmeState {
    /// A number of this installation that spreads renewals over time.
    pub seed: u64,
    /// The authority's directory.
    pub directory: String,
    /// How names are proved: `http-01`, `tls-alpn-01`, `dns-01`.
    pub challenge: String,
    /// The names in the settings.
    pub names: Vec<String>,
    /// When this was written.
    pub written: u64,
    /// One for each key.
    pub certificates: Vec<CertificateState>,
}

/// What is known of the certificate for one key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CertificateState {
    /// Which key.
    pub key: Key,
    /// How urgent it is that a person looks.
    #[serde(default)]
    pub alarm: Alarm,
    /// What is being done now: `ordering`; empty if nothing.
    #[serde(default)]
    pub doing: String,
    /// The certificate that is served.
    pub held: Option<HeldState>,
    /// When the next attempt is due, if nothing changes.
    pub next_attempt: Option<u64>,
    /// What went wrong at the latest attempt; `None` after one that went well.
    pub trouble: Option<TroubleState>,
    /// How often, and until when to wait.
    pub failing: Option<Failing>,
    /// When the authority is asked for its suggestion.
    pub suggestion: Option<Suggestion>,
}

/// A certificate that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldState {
    /// The names it was asked for.
    pub names: Vec<String>,
    /// Its first second.
    pub not_before: u64,
    /// Its last second.
    pub not_after: u64,
    /// When it came.
    pub since: Option<u64>,
    /// When the authority would like it renewed.
    pub suggested: Option<Window>,
    /// The directory of the authority that gave it.
    #[serde(default)]
    pub directory: String,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleState {
    /// A stable word for programs; the list is in `docs/certificates.md`.
    pub code: String,
    /// When.
    pub at: u64,
    /// What happened.
    pub what: Words,
    /// What to do about it.
    pub next: Words,
}

/// One meaning in both languages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl From<Said> for Words {
    fn from(said: Said) -> Words {
        let Said { en, zh } = said;
        Words { en, zh }
    }
}

impl From<Words> for Said {
    fn from(words: Words) -> Said {
        Said::new(words.en, words.zh)
    }
}

impl AcmeState {
    /// That of one key.
    pub fn certificate(&self, key: Key) -> Option<&CertificateState> {
        self.certificates.iter().find(|state| state.key == key)
    }

    /// That of one key, made if there is none.
    pub(super) fn certificate_mut(&mut self, key: Key) -> &mut CertificateState {
        if let Some(index) = self.certificates.iter().position(|state| state.key == key) {
            return &mut self.certificates[index];
        }
        self.certificates.push(CertificateState {
            key,
            alarm: Alarm::Fine,
            doing: String::new(),
            held: None,
            next_attempt: None,
            trouble: None,
            failing: None,
            suggestion: None,
        });
        let last = self.certificates.len() - 1;
        &mut self.certificates[last]
    }

    /// The most urgent of all.
    pub fn alarm(&self) -> Alarm {
        let alarms = self.certificates.iter().map(|state| state.alarm);
        alarms.max().unwrap_or_default()
    }
}
