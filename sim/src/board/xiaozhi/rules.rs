//! What the firmware of a xiaozhi does with an answer, by its version (xiaozhi.md §1.3, §1.4, §11).

use serde_json::{Map, Value};

/// The firmware would call `abort`: the device restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Abort(pub(super) String);

/// Major, minor and patch; what is missing or no number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(pub(super) [u32; 3]);

impl Generation {
    pub(super) fn of(version: &str) -> Generation {
        let mut parts = version
            .split('.')
            .map(|part| part.parse().unwrap_or_default());
        Generation(std::array::from_fn(|_| parts.next().unwrap_or_default()))
    }
}

/// What is in an answer that was taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Taken {
    /// Address of an image that is to be installed.
    pub(super) upgrade: Option<(String, String)>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) challenge: Option<String>,
    /// Keys for the flash.
    pub(super) mqtt: Option<Map<String, Value>>,
    pub(super) websocket: Option<Map<String, Value>>,
}

/// `Ok(Err)` is a failed check: the device tries again.
pub(super) fn take(answer: &Value, running: &str) -> Result<Result<Taken, String>, Abort> {
    let age = Generation::of(running);
    let Some(answer) = answer.as_object() else {
        return Ok(Err("the answer is no JSON object".into()));
    };
    let mut taken = Taken::default();
    if let Some(activation) = answer.get("activation").and_then(Value::as_object) {
        let text = |key: &str| activation.get(key)?.as_str().map(str::to_owned);
        taken.code = text("code");
        taken.message = text("message");
        taken.challenge = text("challenge");
    }
    taken.mqtt = section(answer, "mqtt", age)?;
    // Before 1.6.2 the address of the WebSocket is compiled in.
    if age >= Generation([1, 6, 2]) {
        taken.websocket = section(answer, "websocket", age)?;
    }
    let firmware = answer.get("firmware").and_then(Value::as_object);
    let text = |key: &str| firmware?.get(key)?.as_str();
    match (text("version"), text("url")) {
        (Some(version), Some(url)) => {
            let force = firmware
                .and_then(|it| it.get("force"))
                .and_then(Value::as_i64)
                == Some(1);
            if is_newer(version, running)? || force {
                taken.upgrade = Some((version.to_owned(), url.to_owned()));
            }
        }
        _ if age <= Generation([1, 5, 9]) => {
            return Ok(Err("firmware, its version or its url is missing".into()));
        }
        _ => {}
    }
    Ok(Ok(taken))
}

/// The keys of a section that go into the flash, under their own names.
fn section(
    answer: &Map<String, Value>,
    name: &str,
    age: Generation,
) -> Result<Option<Map<String, Value>>, Abort> {
    let keys = match answer.get(name) {
        Some(Value::Object(keys)) => keys,
        // A null counted as a section once.
        Some(Value::Null) if age < Generation([1, 7, 0]) => return Ok(Some(Map::new())),
        _ => return Ok(None),
    };
    let mut kept = Map::new();
    for (key, value) in keys {
        let is_kept = match value {
            Value::String(_) => true,
            Value::Number(_) => age >= Generation([1, 7, 0]),
            _ => false,
        };
        if !is_kept {
            continue;
        }
        if key.len() > MAX_KEY {
            return Err(Abort(format!(
                "key `{key}` of `{name}` has {} characters; the flash takes {MAX_KEY}",
                key.len()
            )));
        }
        kept.insert(key.clone(), value.clone());
    }
    Ok(Some(kept))
}

/// Left to right; if all are equal, the longer one is newer.
pub(super) fn is_newer(offered: &str, running: &str) -> Result<bool, Abort> {
    let running = numbers(running)?;
    let offered = numbers(offered)?;
    for (offered, running) in offered.iter().zip(&running) {
        if offered != running {
            return Ok(offered > running);
        }
    }
    Ok(offered.len() > running.len())
}

fn numbers(version: &str) -> Result<Vec<i32>, Abort> {
    let mut parts: Vec<_> = version.split('.').collect();
    // A stream has no more to give behind its last dot.
    if parts.last() == Some(&"") {
        parts.pop();
    }
    parts.into_iter().map(stoi).collect()
}

/// `std::stoi`: blanks, a sign, digits; anything may follow. It throws where there are none.
fn stoi(text: &str) -> Result<i32, Abort> {
    let rest = text.trim_start();
    let signed = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let digits = signed.len()
        - signed
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    let end = rest.len() - signed.len() + digits;
    if digits == 0 {
        return Err(Abort(format!("`{text}` in a version begins with no digit")));
    }
    rest[..end]
        .parse()
        .map_err(|_| Abort(format!("`{text}` in a version is too large")))
}

/// Characters of a key in the flash.
const MAX_KEY: usize = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_compare_as_the_firmware_does_and_abort_where_it_does() {
        for (offered, running, newer) in [
            ("2.4.1", "2.4.0", true),
            ("2.4", "2.4.0", false),
            ("1.2.0", "1.2", true),
            ("1.0.0-beta", "1.0.0", false),
            ("10.0.0", "9.9.9", true),
            ("", "1.0.0", false),
            ("1.0.", "1.0", false),
        ] {
            assert_eq!(is_newer(offered, running), Ok(newer), "{offered} {running}");
        }
        for broken in ["v2.0", "1..2", ".1", "99999999999.1"] {
            assert!(is_newer(broken, "1.0.0").is_err(), "{broken}");
        }
    }

    #[test]
    fn a_key_of_sixteen_characters_aborts_and_one_of_fifteen_does_not() {
        let with = |key: &str| json!({"mqtt": {key: "x"}});
        let taken = take(&with("subscribe_topic"), "2.4.0").expect("no abort");
        assert_eq!(taken.expect("taken").mqtt.expect("mqtt").len(), 1);
        assert!(take(&with("subscribe_topics"), "2.4.0").is_err());
    }

    #[test]
    fn old_firmware_needs_its_own_version_in_the_answer_and_takes_null_for_a_section() {
        let bare = json!({"server_time": {"timestamp": 1}});
        assert!(take(&bare, "1.5.6").expect("no abort").is_err());
        assert!(take(&bare, "1.6.2").expect("no abort").is_ok());
        let null = json!({"mqtt": null, "firmware": {"version": "1.5.6", "url": ""}});
        let mqtt = |version| take(&null, version).expect("no abort").expect("taken").mqtt;
        assert!(mqtt("1.6.6").is_some());
        assert!(mqtt("2.4.0").is_none());
    }

    #[test]
    fn force_is_the_number_one_and_nothing_else() {
        let with = |force: Value| {
            let answer =
                json!({"firmware": {"version": "1.0", "url": "http://x/", "force": force}});
            let taken = take(&answer, "2.4.0").expect("no abort").expect("taken");
            taken.upgrade.is_some()
        };
        assert!(with(json!(1)));
        assert!(!with(json!(true)) && !with(json!("1")) && !with(json!(0)));
    }
}
