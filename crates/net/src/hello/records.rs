//! From TLS records to the body of the first handshake message.

use std::borrow::Cow;

use super::HelloError;
use super::error::Part;
use crate::limits::{HELLO_BYTES, HELLO_RECORDS};

/// The body of the ClientHello at the start of `bytes`, behind its four bytes of type and length.
/// Borrowed when one record holds it all, which is the rule. `None`: more bytes are needed.
pub(super) fn message(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloError> {
    check_start(bytes)?;
    let mut head = [0; 4];
    let mut have = 0;
    // Where the message ends, counted in payload from the start; known with the head.
    let mut end = None;
    for payload in Fragments::new(bytes) {
        let payload = payload?;
        if have < head.len() {
            let part = &payload[..payload.len().min(head.len() - have)];
            head[have..have + part.len()].copy_from_slice(part);
            let known = have + part.len();
            if known > 0 && head[0] != CLIENT_HELLO {
                return Err(HelloError::NotClientHello { message: head[0] });
            }
            if known == head.len() {
                let [_, a, b, c] = head;
                let body = u32::from_be_bytes([0, a, b, c]) as usize;
                if body > HELLO_BYTES {
                    return Err(HelloError::TooLarge);
                }
                end = Some(head.len() + body);
            }
        }
        if let Some(end) = end {
            if have == 0 && payload.len() >= end {
                return Ok(Some(Cow::Borrowed(&payload[head.len()..end])));
            }
            if have + payload.len() >= end {
                return Ok(Some(Cow::Owned(join(bytes, end))));
            }
        }
        have += payload.len();
    }
    Ok(None)
}

fn check_start(bytes: &[u8]) -> Result<(), HelloError> {
    match *bytes {
        // Two bytes of length with the top bit set, then message type 1 and a version.
        [long, _, CLIENT_HELLO, 0 | 3, ..] if long & 0x80 != 0 => Err(HelloError::Ssl2),
        [long, ..] if long & 0x80 != 0 && bytes.len() < 4 => Ok(()),
        [first @ (HANDSHAKE | 20 | 21 | 23 | 24), ..] => match bytes.get(1) {
            Some(&major) if major != 3 => Err(HelloError::NotTls { first }),
            Some(_) if first != HANDSHAKE => Err(HelloError::NotHandshake { content: first }),
            _ => Ok(()),
        },
        [first, ..] => Err(HelloError::NotTls { first }),
        [] => Ok(()),
    }
}

fn join(bytes: &[u8], end: usize) -> Vec<u8> {
    let mut joined = Vec::with_capacity(end);
    for payload in Fragments::new(bytes).map_while(Result::ok) {
        let missing = end - joined.len();
        joined.extend_from_slice(&payload[..payload.len().min(missing)]);
        if joined.len() == end {
            break;
        }
    }
    joined.drain(..4);
    joined
}

/// The payloads of the handshake records of `bytes`. The last one may be cut.
struct Fragments<'a> {
    rest: &'a [u8],
    seen: usize,
}

impl<'a> Fragments<'a> {
    fn new(bytes: &'a [u8]) -> Fragments<'a> {
        Fragments {
            rest: bytes,
            seen: 0,
        }
    }

    fn step(&mut self) -> Result<Option<&'a [u8]>, HelloError> {
        let [content, major, _, high, low, rest @ ..] = self.rest else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        self.seen += 1;
        match (*content, *major, length) {
            (HANDSHAKE, 3, 1..=RECORD_BYTES) if self.seen <= HELLO_RECORDS => {
                let (payload, rest) = rest.split_at(length.min(rest.len()));
                self.rest = rest;
                Ok(Some(payload))
            }
            // An empty handshake record is forbidden (RFC 8446 §5.1).
            (HANDSHAKE, 3, 0) => Err(HelloError::Malformed { at: Part::Record }),
            (HANDSHAKE, 3, _) => Err(HelloError::TooLarge),
            (HANDSHAKE, ..) => Err(HelloError::Malformed { at: Part::Record }),
            _ => Err(HelloError::NotHandshake { content: *content }),
        }
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<&'a [u8], HelloError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

const CLIENT_HELLO: u8 = 1;
const HANDSHAKE: u8 = 22;
/// The longest plaintext of a record (RFC 8446 §5.1).
const RECORD_BYTES: usize = 1 << 14;
