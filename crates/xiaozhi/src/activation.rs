//! Activation: the code that a person reads from the device, and the call by which the device
//! asks whether that has been done.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use hmac::Mac;
use serde::Deserialize;

use crate::limits::MAX_ACTIVATE_BODY;
use crate::token::hmac;

/// Six digits: the device shows them and speaks each one, so nothing else is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(u32);

impl Code {
    /// How many codes there are.
    pub const COUNT: u32 = 1_000_000;

    /// The code of this number, counted round at a million.
    pub fn of(number: u32) -> Code {
        Code(number % Code::COUNT)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// The text is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code has six digits; the device shows it on its screen and says it")]
pub struct CodeError;

impl FromStr for Code {
    type Err = CodeError;

    /// Spaces and dashes between the digits are passed over, and full-width digits are digits:
    /// people type what they heard.
    fn from_str(text: &str) -> Result<Code, CodeError> {
        let (mut number, mut count) = (0u32, 0);
        for c in text.chars() {
            let digit = match c {
                ' ' | '-' | '\u{3000}' => continue,
                '0'..='9' => c as u32 - '0' as u32,
                '０'..='９' => c as u32 - '０' as u32,
                _ => return Err(CodeError),
            };
            count += 1;
            if count > 6 {
                return Err(CodeError);
            }
            number = number * 10 + digit;
        }
        if count == 6 {
            Ok(Code(number))
        } else {
            Err(CodeError)
        }
    }
}

/// The body of `POST <ota>/activate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivateRequest {
    /// `{}`, or nothing: a chip without a serial number, which is the usual case.
    Plain,
    /// A chip with a serial number and a key signs our challenge.
    Signed(SignedRequest),
    /// Neither. The device is asked to check again.
    Unreadable,
}

/// What a chip with a key says (activation version 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// 32 characters of eFuse; py-xiaozhi makes its own.
    pub serial_number: String,
    /// Our challenge, sent back.
    pub challenge: String,
    /// 64 hex digits.
    pub hmac: String,
    /// py-xiaozhi wraps the object into another one (`Payload`), and signs with the text of its
    /// key instead of the key.
    pub wrapped: bool,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "Payload", alias = "payload")]
    payload: Option<Inner>,
    #[serde(flatten)]
    inner: Inner,
}

#[derive(Deserialize)]
struct Inner {
    algorithm: Option<String>,
    serial_number: Option<String>,
    challenge: Option<String>,
    hmac: Option<String>,
}

impl ActivateRequest {
    /// Reads either shape.
    pub fn read(body: &[u8]) -> ActivateRequest {
        if body.len() > MAX_ACTIVATE_BODY {
            return ActivateRequest::Unreadable;
        }
        if body.trim_ascii().is_empty() {
            return ActivateRequest::Plain;
        }
        let Ok(wire) = serde_json::from_slice::<Wire>(body) else {
            return ActivateRequest::Unreadable;
        };
        let (inner, wrapped) = match wire.payload {
            Some(inner) => (inner, true),
            None => (wire.inner, false),
        };
        match inner {
            Inner {
                serial_number: None,
                challenge: None,
                hmac: None,
                ..
            } => ActivateRequest::Plain,
            Inner {
                algorithm,
                serial_number: Some(serial_number),
                challenge: Some(challenge),
                hmac: Some(hmac),
            } if algorithm
                .as_deref()
                .is_none_or(|word| word == "hmac-sha256") =>
            {
                ActivateRequest::Signed(SignedRequest {
                    serial_number,
                    challenge,
                    hmac,
                    wrapped,
                })
            }
            _ => ActivateRequest::Unreadable,
        }
    }
}

impl SignedRequest {
    /// Whether the challenge was signed with `key`: the 32 bytes of the chip's key, or the 64
    /// letters in which py-xiaozhi writes its own.
    pub fn is_signed_with(&self, key: &[u8]) -> bool {
        let Some(given) = bytes_of_hex(&self.hmac) else {
            return false;
        };
        hmac(key, &[self.challenge.as_bytes()])
            .verify_slice(&given)
            .is_ok()
    }
}

/// The signature of `challenge` with a chip's key, as 64 hex digits.
pub fn challenge_signature(key: &[u8], challenge: &str) -> String {
    let mac = hmac(key, &[challenge.as_bytes()]).finalize().into_bytes();
    let mut text = String::with_capacity(64);
    for byte in mac {
        text.push_str(&format!("{byte:02x}"));
    }
    text.to_string()
}

fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = (digit(0)? << 4 | digit(1)?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vector_6_signatures_of_chips_and_of_py_xiaozhi_are_both_understood() {
        let chip: [u8; 32] = core::array::from_fn(|index| index as u8);
        let by_chip = "2c896e466aa1f3e78967d0e608a1eb3e23afbe255c3b3e8fa7041d4afd31af20";
        assert_eq!(challenge_signature(&chip, "challenge-0001"), by_chip);
        let python = "ab".repeat(32);
        let by_python = "1e9c457f7b8c07c010d0030dd81c58fec001003ad28d3b16bb48abb8ca4a9a59";
        assert_eq!(
            challenge_signature(python.as_bytes(), "challenge-0001"),
            by_python
        );
        for (hmac, key, wrapped) in [
            (by_chip, &chip[..], false),
            (by_python, python.as_bytes(), true),
        ] {
            let object = format!(
                "{{\"algorithm\":\"hmac-sha256\",\"serial_number\":\"SN-{}\",\
                 \"challenge\":\"challenge-0001\",\"hmac\":\"{hmac}\"}}",
                "0".repeat(29)
            );
            let body = if wrapped {
                format!("{{\"Payload\":{object}}}")
            } else {
                object
            };
            let ActivateRequest::Signed(signed) = ActivateRequest::read(body.as_bytes()) else {
                panic!("{body}");
            };
            assert_eq!(signed.wrapped, wrapped);
            assert!(signed.is_signed_with(key));
            assert!(!signed.is_signed_with(b"another key"));
        }
    }

    #[test]
    fn a_chip_without_a_serial_number_says_nothing_and_nonsense_is_told_apart_from_that() {
        for body in [
            "",
            " \r\n",
            "{}",
            "{\"x\":1}",
            "{\"algorithm\":\"hmac-sha256\"}",
        ] {
            assert_eq!(
                ActivateRequest::read(body.as_bytes()),
                ActivateRequest::Plain,
                "{body}"
            );
        }
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(MAX_ACTIVATE_BODY));
        for body in [
            "null",
            "[]",
            "{",
            "{\"hmac\":\"00\"}",
            "{\"hmac\":7,\"challenge\":\"c\",\"serial_number\":\"s\"}",
            "{\"algorithm\":\"md5\",\"hmac\":\"00\",\"challenge\":\"c\",\"serial_number\":\"s\"}",
            &long,
        ] {
            assert_eq!(
                ActivateRequest::read(body.as_bytes()),
                ActivateRequest::Unreadable,
                "{body}"
            );
        }
    }

    #[test]
    fn a_code_is_six_digits_however_people_write_them() {
        for text in ["048291", " 048 291", "04-82-91", "０４８２９１"] {
            let code: Code = text.parse().expect(text);
            assert_eq!(code.to_string(), "048291");
        }
        for text in ["", "48291", "0482911", "04829a", "-"] {
            assert_eq!(text.parse::<Code>(), Err(CodeError), "{text}");
        }
        assert_eq!(Code::of(7).to_string(), "000007");
        assert_eq!(Code::of(1_000_007), Code::of(7));
    }
}
