//! What services say when they do not do as they are asked: what it means, and which of their words may be shown.

use reqwest::StatusCode;
use serde_json::Value;

use super::ApiKey;
use crate::limits::ERROR_CHARACTERS;
use crate::provider::FailureKind;

/// An error in a service's own words. They may repeat our key: [`shown`] goes over them before they go anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) kind: FailureKind,
    pub(super) words: String,
}

impl Refusal {
    /// The error that an answer is, whatever its status was. `None`: it is none.
    pub(super) fn of(answer: &Value) -> Option<Refusal> {
        if let Some(error) = member(answer, &["error", "errors"]) {
            return Some(Refusal::of_error(error, answer));
        }
        // MiniMax: status 200, and in it whether it went well.
        let result = &answer["base_resp"];
        if result["status_code"].as_i64().is_some_and(|code| code != 0) {
            return Some(Refusal::of_error(result, answer));
        }
        // Some say what is wrong in the answer itself, instead of one.
        let is_answer = ["choices", "text"]
            .iter()
            .any(|name| !answer[name].is_null());
        let speaks = member(answer, WORDS).is_some();
        (!is_answer && speaks).then(|| Refusal::of_error(answer, answer))
    }

    fn of_error(error: &Value, answer: &Value) -> Refusal {
        let named = ["code", "type", "status_code", "status"];
        let codes = named.iter().flat_map(|name| [&error[name], &answer[name]]);
        let codes = codes.filter_map(text).collect::<Vec<_>>();
        Refusal {
            kind: kind_of_codes(&codes),
            words: words(error).unwrap_or_else(|| error.to_string()),
        }
    }
}

/// The words of an error message, of whatever kind it is.
pub(super) fn words_of(body: &[u8]) -> String {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        let error = member(&value, &["error", "errors", "base_resp"]).unwrap_or(&value);
        return words(error).unwrap_or_else(|| value.to_string());
    }
    let text = String::from_utf8_lossy(body);
    match is_page(body) {
        true => title(&text).unwrap_or_default(),
        false => text.trim().to_string(),
    }
}

/// Whether this is a web page.
pub(super) fn is_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

fn title(page: &str) -> Option<String> {
    let from = page.find("<title>")? + "<title>".len();
    let title = &page[from..];
    Some(title[..title.find("</title>")?].trim().to_string())
}

/// A message, wherever they put it. FastAPI has a list of them.
fn words(error: &Value) -> Option<String> {
    match member(error, WORDS) {
        Some(Value::Array(list)) => list.iter().find_map(words),
        Some(object @ Value::Object(_)) => words(object),
        Some(value) => text(value),
        None => text(error),
    }
}

const WORDS: &[&str] = &[
    "message",
    "msg",
    "detail",
    "error_msg",
    "error_message",
    "status_msg",
    "error_description",
];

fn member<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    let named = names.iter().map(|name| &value[name]);
    named
        .into_iter()
        .find(|value| !matches!(value, Value::Null | Value::Bool(_)) && **value != "")
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// What a status says.
pub(super) fn kind_of_status(status: StatusCode) -> FailureKind {
    match status.as_u16() {
        401 | 403 => FailureKind::NotAllowed,
        402 | 429 => FailureKind::Exhausted,
        // It gave up waiting for our request, or for itself.
        408 | 500.. => FailureKind::Failed,
        200..300 => FailureKind::Misunderstood,
        _ => FailureKind::Refused,
    }
}

fn kind_of_codes(codes: &[String]) -> FailureKind {
    for code in codes {
        let status = code.parse().ok().filter(|code| (400..600).contains(code));
        if let Some(Ok(status)) = status.map(StatusCode::from_u16) {
            return kind_of_status(status);
        }
    }
    let said = codes.join(" ").to_ascii_lowercase();
    let means = KINDS
        .iter()
        .find(|(words, _)| words.iter().any(|word| said.contains(word)));
    means.map_or(FailureKind::Failed, |(_, kind)| *kind)
}

/// Parts of the names that errors have, the first that fits.
const KINDS: [(&[&str], FailureKind); 3] = [
    (
        &[
            "rate_limit",
            "ratelimit",
            "throttl",
            "quota",
            "insufficient",
            "balance",
            "arrear",
            "billing",
            "exhausted",
        ],
        FailureKind::Exhausted,
    ),
    (
        &[
            "auth",
            "api_key",
            "apikey",
            "permission",
            "forbidden",
            "accessdenied",
        ],
        FailureKind::NotAllowed,
    ),
    (
        &[
            "invalid",
            "not_found",
            "notfound",
            "unsupported",
            "bad_request",
            "context_length",
            "content_filter",
        ],
        FailureKind::Refused,
    ),
];

/// What to do about it.
pub(super) fn next_step(
    kind: FailureKind,
    status: Option<StatusCode>,
    key: bool,
    model: &str,
) -> String {
    let status = status.map_or(0, |status| status.as_u16());
    let step = match kind {
        FailureKind::NotAllowed if key => "check this provider's key",
        FailureKind::NotAllowed => "this provider has no key; give it the one of the service",
        FailureKind::Exhausted if status == 402 => "the account has nothing left to spend",
        FailureKind::Exhausted => {
            "wait a little, or look at the limits of the account with the service"
        }
        FailureKind::Refused if matches!(status, 404 | 405) => {
            return format!(
                "is the base URL right? it usually ends in /v1; and does the service have the model `{model}`?"
            );
        }
        FailureKind::Refused if (300..400).contains(&status) => {
            "write the address that it leads to as this provider's url"
        }
        FailureKind::Refused if status == 413 => "what it was sent is too long for it",
        FailureKind::Refused => {
            return format!("check the model `{model}` and what this provider has as `extra`");
        }
        FailureKind::Misunderstood => "is the base URL right? it usually ends in /v1",
        FailureKind::Unreachable => {
            "check the url, and whether the service runs and this server can reach it"
        }
        FailureKind::TimedOut => "give it more time, or use a faster model or service",
        FailureKind::Failed | FailureKind::Broken | FailureKind::Missing => {
            "the trouble is with the service; try again later, or use another one"
        }
    };
    step.to_string()
}

/// The beginning of words of a service, on one line, without anything of a key.
pub(super) fn shown(words: &str, key: Option<&ApiKey>) -> String {
    let masked = masked(words, key.map_or("", ApiKey::reveal));
    let mut line = String::new();
    let mut count = 0;
    for word in masked.split(|c: char| c.is_whitespace() || c.is_control()) {
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
            count += 1;
        }
        for c in word.chars() {
            if count == ERROR_CHARACTERS {
                line.push('…');
                return line;
            }
            line.push(c);
            count += 1;
        }
    }
    line
}

/// Services repeat keys in their errors, whole or in part, and the keys of services behind them.
fn masked(words: &str, key: &str) -> String {
    let without = match key.is_empty() {
        true => words.to_string(),
        false => words.replace(key, MASK),
    };
    let mut masked = String::with_capacity(without.len());
    for piece in without.split_inclusive(|c: char| !is_of_key(c)) {
        let word = piece.trim_end_matches(|c: char| !is_of_key(c));
        if word.starts_with("sk-") || repeats(word, key) {
            masked.push_str(MASK);
            masked.push_str(&piece[word.len()..]);
        } else {
            masked.push_str(piece);
        }
    }
    masked
}

/// Whether a word has a part of the key in it.
fn repeats(word: &str, key: &str) -> bool {
    let windows = word.as_bytes().windows(TELLING);
    key.len() >= TELLING
        && windows
            .into_iter()
            .any(|part| key.as_bytes().windows(TELLING).any(|of_key| of_key == part))
}

fn is_of_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*')
}

/// Characters of a key in a row that are too many to be shown.
const TELLING: usize = 6;

const MASK: &str = "(key)";

#[cfg(test)]
mod tests;
