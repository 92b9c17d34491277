//! Whose certificates the probes of advertised addresses believe: ours, the system's, and those of
//! `advertise.ca_file`, `tls.ca_file` and `acme.ca_file`.

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
    // A chain of ours may end at any of them, and then devices that know it get here.
    let files = [
        &settings.advertise.ca_file,
        &settings.tls.ca_file,
        &settings.acme.ca_file,
    ];
    let further: Vec<String> = files
        .into_iter()
        .filter(|file| !file.is_empty())
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    Trust::with(own, &further.join("\n"))
}

/// What is wrong with the file, if one is named.
pub fn problem(settings: &Settings) -> Option<Problem> {
    let file = settings.advertise.ca_file.as_str();
    if file.is_empty() {
        return None;
    }
    let texts = [Language::English, Language::Chinese].map(Texts::new);
    let what = if Path::new(file).is_dir() {
        texts
            .each_ref()
            .map(|texts| say!(texts, "trust-folder", path = file))
    } else {
        match std::fs::read_to_string(file) {
            Err(error) => texts
                .each_ref()
                .map(|texts| say!(texts, "trust-missing", path = file, error = error)),
            Ok(text) if certificates_in(&text).is_empty() => texts
                .each_ref()
                .map(|texts| say!(texts, "trust-empty", path = file)),
            Ok(_) => return None,
        }
    };
    let help = texts.each_ref().map(|texts| say!(texts, "trust-help"));
    let said = |[en, zh]: [String; 2]| Said::new(en, zh);
    Some(Problem {
        source: settings.source(KEY).cloned().unwrap_or(Source::Default),
        key: Some(KEY.to_owned()),
        what: said(what),
        help: said(help),
        related: None,
    })
}
