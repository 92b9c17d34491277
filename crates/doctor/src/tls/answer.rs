//! What else than TLS answers a ClientHello.

use alloc::string::String;

use crate::limits::BANNER_CHARS;

/// What the first bytes of an answer are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    /// No byte came.
    Nothing,
    /// TLS records.
    Tls,
    /// HTTP, or a page of HTML without it.
    Http {
        /// The status, 100 to 599.
        status: Option<u16>,
        /// The first line.
        line: String,
    },
    /// SSH.
    Ssh {
        /// The line by which it names itself.
        banner: String,
    },
    /// Another protocol in which the server speaks first: SMTP, FTP, POP3, IMAP, VNC, MySQL.
    Banner {
        /// Its first line.
        line: String,
    },
    /// MQTT: a CONNACK or a DISCONNECT.
    Mqtt,
    /// Something else.
    Unknown {
        /// Its first bytes in hexadecimal digits.
        hex: String,
    },
}

impl Answer {
    /// What an answer begins with tells what it is. None: too few bytes to tell.
    pub(super) fn of(bytes: &[u8]) -> Option<Answer> {
        match bytes {
            [] => None,
            [20..=24, 3, ..] => Some(Answer::Tls),
            [20..=24] => None,
            // CONNACK has two bytes more, four and up with MQTT 5; DISCONNECT of MQTT 5 has one.
            [0x20, 2..=64, 0 | 1, ..] | [0xe0, 0..=64, ..] => Some(Answer::Mqtt),
            [0x20] | [0x20, _] | [0xe0] => None,
            _ => Answer::text(bytes),
        }
    }

    /// The same for an answer that has ended.
    pub(super) fn at_end(bytes: &[u8]) -> Answer {
        if bytes.is_empty() {
            return Answer::Nothing;
        }
        let mut whole = bytes.to_vec();
        whole.push(b'\n');
        match Answer::of(bytes).or_else(|| Answer::of(&whole)) {
            Some(Answer::Unknown { .. }) | None => unknown(bytes),
            Some(answer) => answer,
        }
    }

    fn text(bytes: &[u8]) -> Option<Answer> {
        let bytes = &bytes[..bytes.len().min(LINE_BYTES)];
        let printable =
            |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n') || *byte >= 0x80;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let first = &bytes[..end.unwrap_or(bytes.len())];
        // MySQL puts a length before its greeting, and a zero behind its version.
        if let [_, _, 0, 0, 10, rest @ ..] = bytes {
            let end = rest.iter().position(|byte| !byte.is_ascii_graphic());
            let version = line(&rest[..end?]);
            return Some(Answer::Banner {
                line: alloc::format!("MySQL {version}"),
            });
        }
        if !first.iter().all(printable) {
            return (bytes.len() >= HEX_BYTES).then(|| unknown(bytes));
        }
        if end.is_none() && bytes.len() < LINE_BYTES {
            return None;
        }
        let line = line(first);
        let starts = |word: &str| {
            line.get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        Some(if starts("SSH-") {
            Answer::Ssh { banner: line }
        } else if starts("HTTP/") {
            let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
            let status = status.filter(|status| (100..600).contains(status));
            Answer::Http { status, line }
        } else if starts("<!doctype") || starts("<html") || starts("<?xml") {
            Answer::Http { status: None, line }
        } else if line.chars().filter(char::is_ascii_alphanumeric).count() >= 3 {
            Answer::Banner { line }
        } else {
            return (bytes.len() >= HEX_BYTES).then(|| unknown(bytes));
        })
    }
}

/// So many bytes of an answer that nobody knows are shown.
const HEX_BYTES: usize = 16;

/// A first line of this length is taken as it is.
const LINE_BYTES: usize = 256;

/// A line that can be shown: it comes from a stranger.
fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = text.trim().chars().map(|c| match c.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    });
    shown.take(BANNER_CHARS).collect()
}

fn unknown(bytes: &[u8]) -> Answer {
    use core::fmt::Write;
    let mut hex = String::new();
    for byte in bytes.iter().take(HEX_BYTES) {
        let _ = write!(hex, "{byte:02x}");
    }
    Answer::Unknown { hex }
}
