//! What may be shown of a line: its words without its secrets.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use aho_corasick::AhoCorasick;
use once_cell::race::OnceBox;
use regex::{Captures, Regex};

use crate::limits::QUOTE_CHARS;

/// The text with passwords, tokens and keys masked as `***`.
///
/// Masked are: the value behind a word such as `password`, `token`, `psk`, `secret`, `key` or
/// `密码` and a separator; the word behind Tasmota's commands that set one; `user:password@` in an
/// address; what follows `Bearer` or `Basic`; and JSON web tokens wherever they stand.
pub fn mask(text: &str) -> String {
    let rules = rules();
    // Most lines have nothing that could be one.
    let mut wanted = [false; RULES.len()];
    for found in rules.finder.find_overlapping_iter(text) {
        wanted[rules.owners[found.pattern().as_usize()]] = true;
    }
    let mut masked = String::from(text);
    for ((rule, (_, pattern)), wanted) in rules.all.iter().zip(RULES).zip(wanted) {
        if !wanted {
            continue;
        }
        let rule =
            rule.get_or_init(|| Box::new(Regex::new(pattern).expect("a test compiles each rule")));
        let replaced = rule.replace_all(&masked, |found: &Captures<'_>| {
            let whole = found.get(0).expect("the match");
            let secret = found.get(1).expect("each rule has one group");
            let (from, to) = (secret.start() - whole.start(), secret.end() - whole.start());
            let mut line = String::from(&whole.as_str()[..from]);
            line.push_str("***");
            line.push_str(&whole.as_str()[to..]);
            line
        });
        if let Cow::Owned(replaced) = replaced {
            masked = replaced;
        }
    }
    masked
}

/// A line as people are shown it: masked, without characters that move the cursor or turn the
/// direction of what follows, at most [`QUOTE_CHARS`] characters long.
pub fn quote(text: &str) -> String {
    line(text, QUOTE_CHARS)
}

/// The same with another limit.
pub fn line(text: &str, most: usize) -> String {
    let masked = mask(text.trim());
    let mut shown = String::with_capacity(masked.len().min(4 * most));
    for (count, c) in masked.chars().enumerate() {
        if count + 1 == most && masked.chars().nth(most).is_some() {
            shown.push('…');
            break;
        }
        shown.push(if is_seen(c) { c } else { ' ' });
    }
    shown
}

/// Not a control character, and none of those that hide, or turn what stands behind them.
fn is_seen(c: char) -> bool {
    let hides = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !(c.is_control() || hides)
}

/// Words of which a line must have one, and the pattern whose first group is secret.
const RULES: &[(&[&str], &str)] = &[
    // The rest of a header's value, also when it has words.
    (
        &["authorization"],
        r#"(?i)(?:proxy-)?authorization[ :=]{1,4}(?:(?:bearer|basic|digest)[ \t]+)?([^ \t"',;]+)"#,
    ),
    (
        &["bearer", "basic"],
        r"(?i)(?:bearer|basic)[ \t]+([A-Za-z0-9+/=._~-]{8,})",
    ),
    (
        &["password"],
        r#"(?i)(?:mqttpassword|webpassword|wifipassword|password[12]?)[ \t]+([^ \t:=,.;"'(){}]+)$"#,
    ),
    (
        &[
            "pass",
            "pwd",
            "psk",
            "token",
            "secret",
            "key",
            "credential",
            "cookie",
            "nonce",
            "密码",
            "口令",
            "令牌",
            "密钥",
        ],
        r#"(?i)(?:pass(?:word|wd|phrase|code)?[0-9]?|pwd|psk|token|secret|api[_-]?key|[_"' ]key|credentials?|cookie|nonce|密码|口令|令牌|密钥)["']?[ \t]{0,2}[=:：][ \t]{0,2}["']?([^ \t"',;&}]+)"#,
    ),
    (&["://"], r"://[^/ \t:@]*:([^/ \t@]+)@"),
    (
        &["eyj"],
        r"(eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.?[A-Za-z0-9_-]*)",
    ),
];

struct Rules {
    finder: AhoCorasick,
    /// Whose word each pattern of the finder is.
    owners: Vec<usize>,
    /// Compiled when a line has one of their words.
    all: Vec<OnceBox<Regex>>,
}

fn rules() -> &'static Rules {
    static COMPILED: OnceBox<Rules> = OnceBox::new();
    COMPILED.get_or_init(|| {
        let mut words: Vec<&str> = Vec::new();
        let mut owners = Vec::new();
        for (index, (needles, _)) in RULES.iter().enumerate() {
            words.extend(*needles);
            owners.extend(needles.iter().map(|_| index));
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .expect("a few words make a finder");
        Box::new(Rules {
            finder,
            owners,
            all: RULES.iter().map(|_| OnceBox::new()).collect(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_words_around_them_stay() {
        for (line, shown) in [
            ("password: hunter2, next", "password: ***, next"),
            ("CMD: MqttPassword hunter2", "CMD: MqttPassword ***"),
            (
                r#"{"username":"u","password":"p,q"}"#,
                r#"{"username":"u","password":"***,q"}"#,
            ),
            ("GET /x?token=abc123&y=1", "GET /x?token=***&y=1"),
            (
                "mqtt://plug:s3cret@broker:1883",
                "mqtt://plug:***@broker:1883",
            ),
            (
                "Authorization: Bearer abcdefghij",
                "Authorization: Bearer ***",
            ),
            (
                "sent eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc on",
                "sent *** on",
            ),
            ("密码：秘密123", "密码：***"),
            ("udp key=00112233445566778899aabbccddeeff", "udp key=***"),
            // Nothing of these is one.
            (
                "disconnected: bad username or password.",
                "disconnected: bad username or password.",
            ),
            (
                "WIF: Connect failed with AP incorrect password",
                "WIF: Connect failed with AP incorrect password",
            ),
            ("Failed to parse JSON", "Failed to parse JSON"),
        ] {
            assert_eq!(mask(line), shown);
        }
    }

    #[test]
    fn a_quote_is_one_short_line() {
        let long = "ä".repeat(1000);
        let quoted = quote(&long);
        assert_eq!(quoted.chars().count(), QUOTE_CHARS);
        assert!(quoted.ends_with('…'));
        assert_eq!(quote(" a\tb\u{7}c "), "a b c");
        assert_eq!(quote("a\u{1b}[2J\u{9b}b\u{202e}c\u{2066}d"), "a [2J b c d");
        assert_eq!(line("abcdef", 4), "abc…");
        assert_eq!(quote(&"x".repeat(QUOTE_CHARS)).len(), QUOTE_CHARS);
    }
}
