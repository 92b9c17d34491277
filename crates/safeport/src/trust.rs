//! Whose certificates the probes of advertised addresses believe: ours, the system's, and those of
//! `advertise.ca_file`.

use std::path::Path;

use safeport_settings::{Problem, Said, Settings, Source};

use crate::probe::{Trust, TrustError, certificates_in};
use crate::say;
use crate::text::{Language, Texts};

/// The key that names more of them.
const KEY: &str = "advertise.ca_file";

/// What the settings and this system say.
///
/// # Errors
/// If our own authority's certificate cannot be used.
pub fn load(settings: &Settings, own: &str) -> Result<Trust, TrustError> {
    let further = std::fs::read_to_string(&settings.advertise.ca_file).unwrap_or_default();
    Trust::with(own, &further)
}

/// What is wrong with the file, if one is named.
pub fn problem(settings: &Settings) -> Option<Problem> {
    let file = settings.advertise.ca_file.as_str();
    if file.is_empty() {
        return None;
    }
    let what = |id: &str, error: &str| {
        let text = |language| {
            let texts = Texts::new(language);
            texts.get(id, &[("path", &file), ("error", &error)])
        };
        Said::new(text(Language::English), text(Language::Chinese))
    };
    let what = if Path::new(file).is_dir() {
        what("trust-folder", "")
    } else {
        match std::fs::read_to_string(file) {
            Err(error) => what("trust-missing", &error.to_string()),
            Ok(text) if certificates_in(&text).is_empty() => what("trust-empty", ""),
            Ok(_) => return None,
        }
    };
    let help = |language| say!(Texts::new(language), "trust-help");
    Some(Problem {
        source: settings.source(KEY).cloned().unwrap_or(Source::Default),
        key: Some(KEY.to_owned()),
        what,
        help: Said::new(help(Language::English), help(Language::Chinese)),
        related: None,
    })
}
