//! What Tasmota's answers to orders mean.

use alloc::string::{String, ToString};

use serde_json::Value;

/// The answer to an order, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// `OtaUrl` holds this now.
    OtaUrl(String),
    /// `Upgrade 1` or `Upgrade 2` is under way.
    Accepted,
    /// `Upgrade 2` was not understood: there is no safeboot partition.
    NoSafeboot,
    /// The download is written.
    Successful,
    /// The upgrade failed, in the device's words.
    Failed(Blame, String),
    /// `Restart 3` is under way.
    Switching,
    /// Nothing of ours.
    Other,
}

/// Whose fault a failed upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The file is not for this device: another try cannot help.
    Image,
    /// The device: counts.
    Device,
    /// The way between us.
    Environment,
    /// Us.
    Ours,
}

/// Reads the JSON of `stat/<topic>/RESULT` or `stat/<topic>/UPGRADE`.
pub(super) fn read(text: &str) -> Answer {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else {
        return Answer::Other;
    };
    if let Some(Value::String(url)) = object.get("OtaUrl") {
        return Answer::OtaUrl(url.clone());
    }
    if let Some(Value::String(said)) = object.get("Restart") {
        return if said.eq_ignore_ascii_case("switching") {
            Answer::Switching
        } else {
            Answer::Other
        };
    }
    match object.get("Upgrade") {
        Some(Value::String(said)) => upgrade(said),
        _ => Answer::Other,
    }
}

fn upgrade(said: &str) -> Answer {
    if said == "Safeboot" || said.starts_with("Version ") {
        return Answer::Accepted;
    }
    if said.starts_with("Successful") {
        return Answer::Successful;
    }
    if said.starts_with("1 or ") {
        return Answer::NoSafeboot;
    }
    match said.strip_prefix("Failed") {
        Some(why) => Answer::Failed(blame(why), why.trim().to_string()),
        None => Answer::Other,
    }
}

/// Texts of `HTTPUpdateLight` and of the core's `Update`, ESP8266's wording included.
fn blame(why: &str) -> Blame {
    const IMAGE: [&str; 9] = [
        "Not Enough space",
        "To less space",
        "Verify Bin Header Failed",
        "New Binary Does Not Fit Flash Size",
        "bin for wrong flash size",
        "Partition Could Not be Found",
        "Wrong Magic Byte",
        "Could Not Activate",
        "Bad Size Given",
    ];
    const OURS: [&str; 5] = [
        "File Not Found",
        "Forbidden",
        "Wrong HTTP Code",
        "Server Did Not Report Size",
        "Server not Report Size",
    ];
    const WAY: [&str; 9] = [
        "connection refused",
        "connection lost",
        "not connected",
        "send header failed",
        "send payload failed",
        "no HTTP server",
        "read Timeout",
        "Stream Read Timeout",
        "Aborted",
    ];
    let says = |texts: &[&str]| {
        texts.iter().any(|text| {
            why.to_ascii_lowercase()
                .contains(&text.to_ascii_lowercase())
        })
    };
    if says(&IMAGE) {
        Blame::Image
    } else if says(&OURS) {
        Blame::Ours
    } else if says(&WAY) {
        Blame::Environment
    } else {
        // An empty text too: ESP32 builds report the text of an updater that did nothing.
        Blame::Device
    }
}

/// Whether this `OtaUrl` is one that an offer of ours has set: a download folder of an attempt.
pub(super) fn is_ours(url: &str) -> bool {
    url.split_once("/ota/a").is_some_and(|(_, rest)| {
        rest.split_once('/').is_some_and(|(token, _)| {
            token.len() == 19
                && token
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasmotas_answers_to_orders_are_understood() {
        for (text, meaning) in [
            (r#"{"Upgrade":"Safeboot"}"#, Answer::Accepted),
            (
                r#"{"Upgrade":"Version 14.3.0 from http://x/y"}"#,
                Answer::Accepted,
            ),
            (
                r#"{"Upgrade":"1 or >14.3.0 to upgrade"}"#,
                Answer::NoSafeboot,
            ),
            (
                r#"{"Upgrade":"Successful. Restarting"}"#,
                Answer::Successful,
            ),
            (r#"{"Restart":"Switching"}"#, Answer::Switching),
            (r#"{"Restart":"1 to restart"}"#, Answer::Other),
            (
                r#"{"OtaUrl":"http://x"}"#,
                Answer::OtaUrl("http://x".into()),
            ),
            (
                r#"{"Upgrade":"Failed Wrong MD5"}"#,
                Answer::Failed(Blame::Device, "Wrong MD5".into()),
            ),
            (
                r#"{"Upgrade":"Failed File Not Found (404)"}"#,
                Answer::Failed(Blame::Ours, "File Not Found (404)".into()),
            ),
            (
                r#"{"Upgrade":"Failed Verify Bin Header Failed"}"#,
                Answer::Failed(Blame::Image, "Verify Bin Header Failed".into()),
            ),
            (
                r#"{"Upgrade":"Failed HTTP error: connection lost"}"#,
                Answer::Failed(Blame::Environment, "HTTP error: connection lost".into()),
            ),
            (r#"{"POWER":"ON"}"#, Answer::Other),
            ("no json", Answer::Other),
        ] {
            assert_eq!(read(text), meaning, "{text}");
        }
    }

    #[test]
    fn only_folders_of_attempts_count_as_ours() {
        assert!(is_ours(
            "http://10.0.0.2:8002/ota/aabcdefghij234567abc/tasmota32.bin"
        ));
        assert!(!is_ours(
            "http://ota.tasmota.com/tasmota32/release/tasmota32.bin"
        ));
        assert!(!is_ours("http://nas/ota/archive/tasmota32.bin"));
        assert!(!is_ours("http://nas/ota/a"));
    }
}
