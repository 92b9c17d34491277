//! Values and where they come from, as data. Secrets are `"(secret)"` in what the settings give
//! out already.

use safeport_settings::{Entry, Explained};

use crate::reading::source_json;
use crate::text::Language;

/// One value. `running` is what the server has, if one runs.
pub fn entry_json(entry: &Entry<'_>, running: Option<&str>) -> serde_json::Value {
    serde_json::json!({
        "key": entry.key,
        "value": entry.value,
        "default": entry.default,
        "source": entry.source.to_string(),
        "policy": entry.policy.word(),
        "running": running,
    })
}

/// Everything about one key. `running` is what the server has, if one runs.
pub fn explained_json(
    explained: &Explained,
    running: Option<&str>,
    language: Language,
) -> serde_json::Value {
    serde_json::json!({
        "key": explained.key,
        "value": explained.value,
        "default": explained.default,
        "limits": explained.limits,
        "meaning": explained.doc.in_language(language.into()),
        "policy": explained.policy.word(),
        "takes_effect": if explained.live { "at once" } else { "after a restart" },
        "per_device": explained.told,
        "running": running,
        "ladder": explained.ladder.iter().map(|rung| serde_json::json!({
            "value": rung.value,
            "source": source_json(&rung.source),
            "fate": rung.fate.word(),
        })).collect::<Vec<_>>(),
    })
}
