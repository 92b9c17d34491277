//! Names of devices and the topics that grow from them.

use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use crate::limits;

/// First topic levels that belong to several devices. A device that owned
/// `<name>/#` under one of them would own its neighbours too.
const SHARED_LEVELS: [&str; 14] = [
    "cmnd",
    "device-server",
    "devices",
    "discovery",
    "esphome",
    "homeassistant",
    "safeport",
    "sonoff",
    "sonoffs",
    "stat",
    "tasmota",
    "tasmotas",
    "tele",
    "xiaozhi",
];

/// The one name of a device: key in the registry, login name, client
/// identifier and, for most families, first level of its topics.
///
/// 1 to 32 of `a`-`z`, `0`-`9`, `-` and `_`; a letter or digit at both ends; at
/// least one letter. Lower case because MQTT compares bytes, and a `Plug` that
/// is not a `plug` costs an evening.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceName(String);

impl DeviceName {
    /// Checks a name.
    ///
    /// # Errors
    /// The first broken rule, with a name that would pass where one can be
    /// derived.
    pub fn new(name: &str) -> Result<DeviceName, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some(found) = name.chars().find(|&c| !is_name_character(c)) {
            return Err(NameError::Character {
                name: name.to_string(),
                found,
                advice: Advice(suggestion(name)),
            });
        }
        if name.len() > limits::MAX_NAME {
            return Err(NameError::TooLong {
                name: name.to_string(),
                length: name.len(),
                limit: limits::MAX_NAME,
                who: "a device name",
            });
        }
        let ends = [name.as_bytes()[0], name.as_bytes()[name.len() - 1]];
        if !ends.iter().all(u8::is_ascii_alphanumeric) {
            return Err(NameError::Ends {
                name: name.to_string(),
                advice: Advice(suggestion(name)),
            });
        }
        // Tasmota reads the values 0 and 1 of Topic and MqttUser as "clear" and
        // "default", and ESPEasy reads `<name>/<number>` as a command.
        if !name.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(NameError::OnlyDigits {
                name: name.to_string(),
            });
        }
        // `cmnd/plug_fb/` is the fallback topic of the Tasmota device `plug`.
        if name.ends_with("_fb") {
            return Err(NameError::Fallback {
                name: name.to_string(),
            });
        }
        if SHARED_LEVELS.contains(&name) {
            return Err(NameError::Reserved {
                name: name.to_string(),
            });
        }
        Ok(DeviceName(name.to_string()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DeviceName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<DeviceName, NameError> {
        DeviceName::new(name)
    }
}

crate::as_text::stored_as_text!(DeviceName, "a device name");

/// Why a text cannot name a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("a device needs a name, for example plug-1")]
    Empty,
    /// A character outside `a`-`z`, `0`-`9`, `-`, `_`.
    #[error(
        "a device name has only a-z, 0-9, '-' and '_': {found:?} in {name:?} is none of them{advice}"
    )]
    Character {
        /// What was given.
        name: String,
        /// The first character that cannot stay.
        found: char,
        /// A name that would pass, if one can be derived.
        advice: Advice,
    },
    /// Longer than the registry or the firmware can hold.
    #[error("{who} has at most {limit} characters, {name:?} has {length}: shorten it")]
    TooLong {
        /// What was given.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
        /// Whose limit it is.
        who: &'static str,
    },
    /// Begins or ends with `-` or `_`.
    #[error("a device name begins and ends with a letter or digit, {name:?} does not{advice}")]
    Ends {
        /// What was given.
        name: String,
        /// A name that would pass, if one can be derived.
        advice: Advice,
    },
    /// Has no letter.
    #[error(
        "a device name needs a letter, firmware reads a bare number like {name:?} as a command: try device-{name}"
    )]
    OnlyDigits {
        /// What was given.
        name: String,
    },
    /// Would take the fallback topic of another device.
    #[error(
        "{name:?} ends in _fb, which is how Tasmota names the fallback topic of another device: choose another ending"
    )]
    Fallback {
        /// What was given.
        name: String,
    },
    /// Would own topics that several devices share.
    #[error(
        "{name:?} is a topic that many devices share, no single device can own it: try {name}-1"
    )]
    Reserved {
        /// What was given.
        name: String,
    },
}

/// The end of a [`NameError`]: a name that would pass, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice(Option<String>);

impl Advice {
    /// The name that would pass.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "; try {name}"),
            None => f.write_str("; try a name like plug-1"),
        }
    }
}

/// Why a text cannot be the topic of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{topic:?} cannot be the topic of a device: {why}")]
pub struct TopicPathError {
    /// What was given.
    pub topic: String,
    /// The rule it breaks and the way out.
    pub why: &'static str,
}

/// Checks a topic under which one device lives, for instance `kitchen/plug`.
///
/// Levels of letters, digits, `-`, `_` and `.`, joined by `/`; at most 100
/// bytes. `below_prefix` says that the family puts its own level in front
/// (Tasmota's `cmnd/`), so that only Tasmota's group is out of reach.
pub(crate) fn check_topic_path(topic: &str, below_prefix: bool) -> Result<(), TopicPathError> {
    let refuse = |why| {
        Err(TopicPathError {
            topic: topic.to_string(),
            why,
        })
    };
    if topic.is_empty() {
        return refuse("it is empty; give at least one level, for example plug-1");
    }
    if topic.len() > limits::MAX_TOPIC_PATH {
        return refuse("it is longer than 100 bytes; shorten it");
    }
    if topic.split('/').any(str::is_empty) {
        return refuse("it has an empty level; remove the leading, trailing or double slash");
    }
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if !topic.chars().all(fine) {
        return refuse("use only letters, digits, '-', '_', '.' and '/'");
    }
    if !topic.bytes().any(|b| b.is_ascii_alphabetic()) {
        return refuse("firmware reads a bare number as a command; add a letter");
    }
    if topic.ends_with("_fb") {
        return refuse(
            "_fb marks the fallback topic of another Tasmota device; choose another ending",
        );
    }
    let first = topic.split('/').next().unwrap_or(topic);
    let shared = if below_prefix {
        topic == "tasmotas" || topic == "sonoffs"
    } else {
        // One shared level in front is fine when a level of its own follows,
        // but not under the prefixes by which other devices take commands.
        SHARED_LEVELS.contains(&first)
    };
    if shared {
        return refuse("many devices share its first level; begin with another word");
    }
    Ok(())
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')
}

/// The nearest name that passes: lower case, anything else becomes a dash.
fn suggestion(name: &str) -> Option<String> {
    let mut nearest = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if is_name_character(c) {
            nearest.push(c);
        } else if !nearest.ends_with('-') {
            nearest.push('-');
        }
    }
    nearest.truncate(limits::MAX_NAME);
    let nearest = nearest.trim_matches(['-', '_']);
    DeviceName::new(nearest)
        .is_ok()
        .then(|| nearest.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn names_that_people_choose_are_accepted() {
        for name in [
            "plug-1",
            "a",
            "1st-floor",
            "wz_lampe",
            "a0b1c2d3e4f5",
            "esp-32",
        ] {
            assert_eq!(
                DeviceName::new(name).map(|n| n.to_string()),
                Ok(name.to_string())
            );
        }
        assert!(DeviceName::new(&"a".repeat(32)).is_ok());
    }

    #[test]
    fn a_refused_name_comes_with_one_that_passes() {
        for (given, better) in [
            ("Plug 1", "plug-1"),
            ("kitchen/plug", "kitchen-plug"),
            ("Büro", "b-ro"),
            ("plug+", "plug"),
            ("-plug_", "plug"),
            ("#1 a", "1-a"),
        ] {
            let error = DeviceName::new(given).unwrap_err();
            assert!(
                error.to_string().ends_with(&format!("try {better}")),
                "{error}"
            );
            assert!(DeviceName::new(better).is_ok());
        }
    }

    #[test]
    fn a_name_without_any_usable_letter_gets_an_example() {
        let error = DeviceName::new("插座").unwrap_err();
        assert!(error.to_string().contains("plug-1"), "{error}");
    }

    #[test]
    fn bare_numbers_shared_levels_and_fallback_endings_are_refused() {
        assert!(matches!(
            DeviceName::new("1"),
            Err(NameError::OnlyDigits { .. })
        ));
        assert!(matches!(
            DeviceName::new("10-2"),
            Err(NameError::OnlyDigits { .. })
        ));
        assert!(matches!(
            DeviceName::new("plug_fb"),
            Err(NameError::Fallback { .. })
        ));
        for name in SHARED_LEVELS {
            assert!(
                matches!(DeviceName::new(name), Err(NameError::Reserved { .. })),
                "{name}"
            );
        }
        assert!(matches!(
            DeviceName::new(&"a".repeat(33)),
            Err(NameError::TooLong { .. })
        ));
        assert!(matches!(DeviceName::new(""), Err(NameError::Empty)));
    }

    #[test]
    fn topic_paths_allow_levels_but_no_wildcards_and_no_shared_root() {
        for topic in ["plug-1", "kitchen/plug", "sensors/espeasy/WC.1"] {
            assert_eq!(check_topic_path(topic, false), Ok(()), "{topic}");
        }
        for topic in [
            "",
            "/a",
            "a/",
            "a//b",
            "a/+",
            "a/#",
            "$SYS",
            "a b",
            "cmnd/x",
            "homeassistant",
            "7",
            "a_fb",
            "é",
        ] {
            assert!(check_topic_path(topic, false).is_err(), "{topic}");
        }
        assert!(check_topic_path("tasmotas", true).is_err());
        assert!(check_topic_path("tele", true).is_ok());
        assert!(check_topic_path(&"a".repeat(101), false).is_err());
    }
}
