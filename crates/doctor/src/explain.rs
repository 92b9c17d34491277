//! What a number, a name or a line means.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use safeport_settings::Said;

use crate::catalogue::{Entry, catalogue};
use crate::structure::{by_number, guess_alone};
use crate::{Cause, Evidence, Facts, Layer, Strength, read_log};

/// One meaning of what was asked for.
pub struct Explained {
    /// The entry's id, else the cause's word.
    pub code: String,
    /// Whose number or line it is, where that is known.
    pub stack: Option<&'static str>,
    /// The layer it lies on.
    pub layer: Layer,
    /// What it points to.
    pub cause: Cause,
    /// How much it says.
    pub strength: Strength,
    /// The entry of the catalogue, if there is one.
    pub entry: Option<&'static Entry>,
    /// What it means, or what its form says; empty for a cause's word, which has texts of its own.
    pub meaning: Said,
    /// What a line gave away.
    pub facts: Facts,
}

/// What `text` means: a number (`-1002`, `0x7280`, `-0x7280`, `62`, `rc 5`), the id of an entry, the
/// word of a cause, a symbol (`ESP_ERR_HTTP_CONNECT`) or a line or more of a log. When several
/// stacks have a number, each of them is told. Empty when it means nothing that we know.
pub fn explain(text: &str) -> Vec<Explained> {
    let text = text.trim();
    if let Some(entry) = catalogue().entry(text) {
        return alloc::vec![of_entry(entry)];
    }
    if let Some(cause) = Cause::of_code(text) {
        return alloc::vec![Explained {
            code: text.to_string(),
            stack: None,
            layer: cause.layer(),
            cause,
            strength: Strength::Specific,
            entry: None,
            meaning: Said::same(""),
            facts: Facts::default(),
        }];
    }
    let numbers = of_number(text);
    if !numbers.is_empty() {
        return numbers;
    }
    let named: Vec<Explained> = catalogue()
        .entries()
        .iter()
        .filter(|entry| {
            let symbol = entry.symbol.as_deref();
            symbol.is_some_and(|symbol| symbol.eq_ignore_ascii_case(text))
        })
        .map(of_entry)
        .collect();
    if !named.is_empty() {
        return named;
    }
    of_lines(text)
}

fn of_entry(entry: &'static Entry) -> Explained {
    Explained {
        code: entry.id.clone(),
        stack: Some(&entry.stack),
        layer: entry.cause.layer(),
        cause: entry.cause,
        strength: entry.strength,
        entry: Some(entry),
        meaning: entry.meaning.clone(),
        facts: Facts::default(),
    }
}

/// A number alone, perhaps with the word that names its stack.
fn of_number(text: &str) -> Vec<Explained> {
    let lowered = text.to_ascii_lowercase();
    let (word, digits) = match lowered.rsplit_once([' ', '=', ':']) {
        Some((word, digits)) => (word.trim_end_matches([' ', '=', ':']), digits),
        None => ("", &lowered[..]),
    };
    let Some(number) = crate::structure::leading_number(digits) else {
        return Vec::new();
    };
    let stacks: &[&str] = match word.trim() {
        "" | "error" | "code" | "number" | "错误" | "错误码" => &[],
        "rc" | "state" | "mqtt state" => &["pubsubclient"],
        "tls" | "tls error" | "tls connection error" | "tls error code" | "bearssl" => &["bearssl"],
        "errno" | "lwip" => &["lwip-errno"],
        "http" | "status" | "http status" | "status code" => &["http"],
        "reason" | "wifi reason" | "wifi" => &["esp-wifi"],
        "reason code" | "mqtt" | "mqtt5" | "mqtt 5" => &["mqtt5"],
        "connack" | "return code" => &["mqtt311", "mqtt5"],
        "close" | "close code" | "websocket" => &["websocket"],
        "mbedtls" => &["mbedtls"],
        "esp-tls" => &["esp-tls"],
        "httpclient" | "http client" => &["arduino-httpclient"],
        _ => return Vec::new(),
    };
    let hex = digits.contains("0x");
    // Programs print the numbers of mbedTLS with and without their sign.
    let also = if hex && number > 0 {
        Some(-number)
    } else {
        None
    };
    let mut all: Vec<Explained> = Vec::new();
    for number in core::iter::once(number).chain(also) {
        let unsigned = number < 0 && also.is_some();
        let known = catalogue().numbers(number);
        let known = known.filter(|entry| !unsigned || entry.stack == "mbedtls");
        let known = known.filter(|entry| stacks.is_empty() || stacks.contains(&&entry.stack[..]));
        all.extend(known.map(of_entry));
    }
    if !all.is_empty() {
        return all;
    }
    by_number(number, hex)
        .into_iter()
        .filter(|(stack, _)| stacks.is_empty() || stacks.contains(stack))
        .map(|(stack, guess)| Explained {
            code: guess.cause.code().to_string(),
            stack: Some(stack),
            layer: guess.cause.layer(),
            cause: guess.cause,
            strength: guess.strength,
            entry: None,
            meaning: guess.meaning,
            facts: Facts::default(),
        })
        .collect()
}

/// A line or more, read as a log.
fn of_lines(text: &str) -> Vec<Explained> {
    let Evidence {
        mut clues, facts, ..
    } = read_log(text).evidence;
    // The most telling first, as a judge would take them.
    clues.sort_by_key(|clue| (core::cmp::Reverse(clue.strength), clue.layer.rank()));
    let mut all: Vec<Explained> = Vec::new();
    for clue in clues {
        let entry = clue.entry.as_deref().and_then(|id| catalogue().entry(id));
        let code = match entry {
            Some(entry) => entry.id.clone(),
            None => clue.cause.code().to_string(),
        };
        if all.iter().any(|other| other.code == code) {
            continue;
        }
        let meaning = match entry {
            Some(entry) => entry.meaning.clone(),
            None => guess_alone(&clue.quote.en).map_or(Said::same(""), |guess| guess.meaning),
        };
        all.push(Explained {
            code,
            stack: entry.map(|entry| &entry.stack[..]),
            layer: clue.layer,
            cause: clue.cause,
            strength: clue.strength,
            entry,
            meaning,
            facts: facts.clone(),
        });
    }
    all
}
