//! Which protocol a port speaks, told from its first bytes.

use super::run::{End, Got};

/// What a port answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spoken {
    /// A record of TLS: handshake or alert.
    Tls,
    /// `HTTP/`.
    Http,
    /// CONNACK.
    Mqtt,
    /// A line of text of another protocol, such as SSH.
    Text(String),
    /// Bytes of no protocol that devices use.
    Strange(String),
    /// No byte.
    Nothing(End),
}

impl Spoken {
    pub(super) fn of(got: &Got) -> Spoken {
        match *got.bytes.as_slice() {
            [] => Spoken::Nothing(got.end),
            [0x15 | 0x16, 0x03, ..] => Spoken::Tls,
            [0x20, 0x02, _, _] => Spoken::Mqtt,
            // MQTT 5: the length of the properties stands behind the reason.
            [0x20, length, flags, _, ..] if length >= 2 && flags <= 1 => Spoken::Mqtt,
            _ if got.bytes.starts_with(b"HTTP/") => Spoken::Http,
            // A server that is slower than anybody waits.
            _ if got.end == End::Silent && b"HTTP/".starts_with(&got.bytes) => Spoken::Http,
            _ => Spoken::of_other(&got.bytes),
        }
    }

    fn of_other(bytes: &[u8]) -> Spoken {
        let line: Vec<u8> = bytes
            .iter()
            .copied()
            .take_while(|byte| !matches!(byte, b'\r' | b'\n'))
            .take(MOST)
            .collect();
        let is_text = line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
        if is_text && !line.trim_ascii().is_empty() {
            return Spoken::Text(String::from_utf8_lossy(&line).into_owned());
        }
        let hex: Vec<String> = bytes.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Spoken::Strange(hex.join(" "))
    }

    /// In a few words, for people.
    pub(super) fn word(&self) -> String {
        match self {
            Spoken::Tls => "TLS".to_owned(),
            Spoken::Http => "HTTP".to_owned(),
            Spoken::Mqtt => "MQTT".to_owned(),
            Spoken::Text(line) => format!("\"{line}\""),
            Spoken::Strange(hex) => hex.clone(),
            Spoken::Nothing(_) => "-".to_owned(),
        }
    }
}

/// Characters of a line that are shown.
const MOST: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_of_http_is_one_and_blanks_are_no_text() {
        let heard = |bytes: &[u8], end| {
            Spoken::of(&Got {
                bytes: bytes.to_vec(),
                end,
            })
        };
        assert_eq!(heard(b"HTT", End::Silent), Spoken::Http);
        assert_eq!(heard(b"HTT", End::Closed), Spoken::Text("HTT".to_owned()));
        assert_eq!(
            heard(b"   ", End::Silent),
            Spoken::Strange("20 20 20".to_owned())
        );
        assert_eq!(heard(b"", End::Silent), Spoken::Nothing(End::Silent));
    }
}
