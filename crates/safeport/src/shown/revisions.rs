//! Revisions of the settings as data.

use safeport_settings::{FileSource, Settings, Source, Sources};
use safeport_store::{FileSnapshot, Revision, Scope};

/// What stands for a secret.
pub const SECRET: &str = "(secret)";

/// A key that a file sets to something else than before.
pub struct Changed {
    /// The key.
    pub key: String,
    /// Its value before, as it may be shown.
    pub old: Option<String>,
    /// Its value since, as it may be shown.
    pub new: Option<String>,
}

/// What differs between the two texts of a file, as far as they can be understood. Nothing for one
/// whose earlier text nobody knows.
pub fn changed_in(file: &FileSnapshot) -> Vec<Changed> {
    let (Some(old), Some(new)) = (&file.old, &file.new) else {
        return Vec::new();
    };
    let read = |text: &str| {
        let sources = Sources {
            files: vec![FileSource {
                path: &file.path,
                text,
                drop_in: false,
            }],
            ..Sources::default()
        };
        Settings::parse_lenient(&sources).0
    };
    let (old, new) = (read(old), read(new));
    let shown = |settings: &Settings, key: &str| {
        let set = settings
            .source(key)
            .is_some_and(|source| *source != Source::Default);
        settings
            .values()
            .find(|entry| entry.key == key && set)
            .map(|entry| entry.value)
    };
    old.differences(&new)
        .into_iter()
        .map(|key| Changed {
            old: shown(&old, &key),
            new: shown(&new, &key),
            key,
        })
        .collect()
}

/// One revision as data.
pub fn json(revision: &Revision) -> serde_json::Value {
    let shown = |value: &Option<String>, secret: bool| match value {
        Some(_) if secret => Some(SECRET.to_owned()),
        other => other.clone(),
    };
    serde_json::json!({
        "revision": revision.id,
        "at": revision.at,
        "who": revision.who,
        "reason": revision.reason,
        "kind": revision.kind.word(),
        "state": revision.state.word(),
        "verdict": revision.verdict,
        "confirm_by": revision.confirm_by,
        "changes": revision.changes.iter().map(|change| serde_json::json!({
            "key": change.key,
            "tag": match &change.scope { Scope::Tag(name) => Some(name), _ => None },
            "device": match &change.scope { Scope::Device(name) => Some(name), _ => None },
            "old": shown(&change.old, change.secret),
            "new": shown(&change.new, change.secret),
        })).collect::<Vec<_>>(),
        "files": revision.files.iter().map(|file| serde_json::json!({
            "path": file.path,
            "changes": changed_in(file).iter().map(|changed| serde_json::json!({
                "key": changed.key,
                "old": changed.old,
                "new": changed.new,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
