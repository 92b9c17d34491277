//! What a server answers to a ClientHello, read as it comes.

mod clues;
mod messages;

use alloc::string::String;
use alloc::vec::Vec;

use super::answer::Answer;
use crate::limits::{FLIGHT_BYTES, FLIGHT_RECORDS};
use messages::Messages;

/// What came back after a ClientHello, up to the point at which the client has to speak again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// What kind of answer it is; the rest is empty unless it is TLS.
    pub answer: Answer,
    /// The lengths of the records, in order, headers left out; at most
    /// [`FLIGHT_RECORDS`].
    pub records: Vec<usize>,
    /// Whether a handshake message came in several records.
    pub split_handshake: bool,
    /// The version that the server chose.
    pub version: Option<u16>,
    /// The suite that it chose.
    pub suite: Option<u16>,
    /// The group that it chose, or that it asks for.
    pub group: Option<u16>,
    /// The algorithm under its signature; TLS 1.2 only.
    pub signature: Option<u16>,
    /// The certificates as they were sent, in DER; empty when they were sent encrypted.
    pub chain: Vec<Vec<u8>>,
    /// Whether it asks for a certificate of the client.
    pub client_certificate: bool,
    /// The first alert.
    pub alert: Option<Alert>,
    /// The protocol that it chose by ALPN.
    pub alpn: Option<String>,
    /// Whether it keeps records as short as was asked for.
    pub max_fragment: bool,
    /// Whether the rest of the handshake is encrypted, as from TLS 1.3 on.
    pub encrypted: bool,
    /// Whether it came to its end: the client is to speak next.
    pub whole: bool,
    /// Whether it contradicts itself: something on the way damages it, or it is no TLS after all.
    pub damaged: bool,
    /// Bytes that were read.
    pub bytes: usize,
    /// How it ended.
    pub how: How,
}

/// An alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alert {
    /// Whether the connection is over with it.
    pub fatal: bool,
    /// Its number.
    pub description: u8,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// We had read enough.
    Enough,
    /// The server closed the connection.
    Closed,
    /// The connection was reset.
    Reset,
    /// Nothing more came in time.
    Silent,
}

impl Flight {
    /// Whether the server agreed to something: there is a ServerHello and no fatal alert.
    pub fn accepted(&self) -> bool {
        self.suite.is_some() && self.refusal().is_none()
    }

    /// The fatal alert.
    pub fn refusal(&self) -> Option<u8> {
        self.alert
            .filter(|alert| alert.fatal)
            .map(|alert| alert.description)
    }

    /// The longest record, in bytes without its header; 0 without any.
    pub fn largest_record(&self) -> usize {
        self.records.iter().copied().max().unwrap_or(0)
    }
}

/// Reads a server's answer. At most [`FLIGHT_BYTES`] are kept.
#[derive(Debug, Default)]
pub struct FlightReader {
    /// What came and is not read yet; all of it, until it is known what it is.
    pending: Vec<u8>,
    answer: Option<Answer>,
    records: Vec<usize>,
    messages: Messages,
    alert: Option<Alert>,
    damaged: bool,
    over: bool,
    bytes: usize,
}

impl FlightReader {
    /// One that has read nothing.
    pub fn new() -> FlightReader {
        FlightReader::default()
    }

    /// Takes bytes as they come from the socket. True: nothing that follows matters, stop reading.
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let room = FLIGHT_BYTES - self.bytes;
        let taken = &bytes[..bytes.len().min(room)];
        if self.over {
            return true;
        }
        self.bytes += taken.len();
        self.pending.extend_from_slice(taken);
        if self.answer.is_none() {
            self.answer = Answer::of(&self.pending);
        }
        match &self.answer {
            None => {}
            Some(Answer::Tls) => self.records(),
            Some(_) => self.over = true,
        }
        self.over |= self.bytes == FLIGHT_BYTES;
        self.over
    }

    /// What was read, and how it ended.
    pub fn end(self, how: How) -> Flight {
        let answer = match self.answer {
            Some(answer) => answer,
            None => Answer::at_end(&self.pending),
        };
        let messages = self.messages;
        Flight {
            split_handshake: messages.split,
            version: messages.version,
            suite: messages.suite,
            group: messages.group,
            signature: messages.signature,
            client_certificate: messages.client_certificate,
            alpn: messages.alpn,
            max_fragment: messages.max_fragment,
            encrypted: messages.encrypted,
            whole: messages.whole,
            chain: messages.chain,
            answer,
            records: self.records,
            alert: self.alert,
            damaged: self.damaged || messages.damaged,
            bytes: self.bytes,
            how,
        }
    }

    /// Reads the whole records of what is pending.
    fn records(&mut self) {
        let mut at = 0;
        let pending = core::mem::take(&mut self.pending);
        while let Some((header, rest)) = pending[at..].split_first_chunk::<5>() {
            let [kind, major, _, high, low] = *header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            // RFC 5246 §6.2.3: 2^14 and 2048 bytes for what encryption adds.
            if major != 3 || !(20..=24).contains(&kind) || length > (1 << 14) + 2048 {
                self.damaged = true;
                self.over = true;
                break;
            }
            let Some(content) = rest.get(..length) else {
                break;
            };
            if self.records.len() == FLIGHT_RECORDS {
                self.over = true;
                break;
            }
            self.records.push(length);
            match kind {
                22 => self.messages.record(content),
                21 => self.alert(content),
                // What the server says behind ChangeCipherSpec and as data is not for us to read.
                _ => self.messages.whole |= self.messages.encrypted,
            }
            at += 5 + length;
            self.over |= self.messages.is_over();
            if self.over {
                break;
            }
        }
        self.pending = pending[at..].to_vec();
    }

    fn alert(&mut self, content: &[u8]) {
        // An encrypted alert is longer; which one it is cannot be seen.
        if let [level, description] = *content {
            let fatal = level == 2 || description == 0;
            self.alert.get_or_insert(Alert { fatal, description });
            self.over |= fatal;
        }
    }
}
