//! The time for devices: the server's half of SNTP (RFC 5905, RFC 4330).
//!
//! Pure: bytes and times in, bytes out. Whoever owns the socket calls [`Request::read`], then
//! [`Request::answer`], or [`Request::slow_down`] when [`Turns`] says that an address asks too
//! often.
//!
//! Only a client's question is answered, and never with more bytes than it had: there is nothing
//! here for those who send questions in other people's names.

mod timestamp;
mod turns;

use std::time::{Duration, SystemTime};

pub use timestamp::Timestamp;
pub use turns::{Turn, Turns};

/// Bytes of a packet without extension fields and without an authenticator.
pub const PACKET: usize = 48;
/// A clock that stands before this was never set: 2026-01-01, when this server did not exist yet.
pub const NEVER_BEFORE: Duration = Duration::from_secs(1_767_225_600);

/// A client's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    version: u8,
    /// Seconds between its questions, as a power of two. Goes back as it came.
    poll: u8,
    /// Its own time when it asked, in whatever form it likes; goes back as the origin.
    asked_at: [u8; 8],
    /// It carries an authenticator, and we share no key with anybody.
    authenticated: bool,
}

/// Why a packet gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// Shorter than [`PACKET`], or what follows is neither extension fields nor an authenticator.
    Malformed,
    /// Neither of version 1 to 4.
    Version(u8),
    /// No client's question: the mode of a peer, of another server's answer, of a broadcast, or
    /// of control messages, whose answers are longer than their questions.
    Mode(u8),
}

/// An answer, never longer than its question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    bytes: [u8; PACKET + CRYPTO_NAK],
    length: usize,
}

impl Answer {
    /// As it goes onto the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Request {
    /// Reads a packet as it came from the network.
    ///
    /// Version 1 had no modes: its 0 is a client's, too. Extension fields (RFC 7822) are stepped
    /// over; we know none.
    ///
    /// # Errors
    /// What is no question that a client asks.
    pub fn read(packet: &[u8]) -> Result<Request, Ignored> {
        let (head, rest) = packet
            .split_first_chunk::<PACKET>()
            .ok_or(Ignored::Malformed)?;
        let (version, mode) = (head[0] >> 3 & 7, head[0] & 7);
        match (version, mode) {
            (0 | 5.., _) => return Err(Ignored::Version(version)),
            (_, MODE_CLIENT) | (1, MODE_OF_VERSION_1) => {}
            _ => return Err(Ignored::Mode(mode)),
        }
        let mut asked_at = [0; 8];
        asked_at.copy_from_slice(&head[40..]);
        Ok(Request {
            version,
            poll: head[2],
            asked_at,
            authenticated: has_authenticator(rest)?,
        })
    }

    /// Its version, 1 to 4.
    pub fn version(&self) -> u8 {
        self.version
    }

    /// The answer of a clock that read `received` when the question came, and `sent` now, both
    /// since 1970.
    ///
    /// A clock that was never set ([`NEVER_BEFORE`]) says so: leap indicator 3, stratum 0 (which
    /// is how 16, "not synchronized", is written on the wire) and the kiss code INIT. Every client
    /// knows at least one of these, lwIP the stratum alone; who heeds none gets what the clock
    /// says.
    ///
    /// A question with an authenticator gets a crypto-NAK (RFC 5905 section 9.2): the time is in
    /// it, unproved, as the client can see.
    pub fn answer(&self, received: Duration, sent: Duration) -> Answer {
        let words = if received < NEVER_BEFORE {
            NOT_SET
        } else {
            Words {
                reference: Timestamp::at(Duration::from_secs(received.as_secs())),
                ..SET
            }
        };
        self.write(&words, Timestamp::at(received), Timestamp::at(sent))
    }

    /// Tells a client to ask less often: the kiss of death RATE (RFC 5905 section 7.4). It carries
    /// no time but the client's own.
    pub fn slow_down(&self) -> Answer {
        let own = Timestamp::from_bytes(self.asked_at);
        self.write(&SLOW_DOWN, own, own)
    }

    fn write(&self, words: &Words, received: Timestamp, sent: Timestamp) -> Answer {
        let mut bytes = [0; PACKET + CRYPTO_NAK];
        bytes[0] = words.leap << 6 | self.version << 3 | MODE_SERVER;
        bytes[1] = words.stratum;
        bytes[2] = self.poll;
        bytes[3] = PRECISION.to_be_bytes()[0];
        // 4..8, root delay: the reference is this machine itself.
        bytes[8..12].copy_from_slice(&words.dispersion.to_be_bytes());
        bytes[12..16].copy_from_slice(&words.reference_id);
        bytes[16..24].copy_from_slice(&words.reference.to_bytes());
        bytes[24..32].copy_from_slice(&self.asked_at);
        bytes[32..40].copy_from_slice(&received.to_bytes());
        bytes[40..48].copy_from_slice(&sent.to_bytes());
        Answer {
            bytes,
            length: PACKET + if self.authenticated { CRYPTO_NAK } else { 0 },
        }
    }
}

/// The time since 1970 that a clock shows; zero before.
pub fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
}

/// Whether an authenticator follows the extension fields (RFC 5905 section 7.5, RFC 7822).
fn has_authenticator(mut rest: &[u8]) -> Result<bool, Ignored> {
    loop {
        match *rest {
            [] => return Ok(false),
            // A key's number, and a digest of 64 bits (version 3), MD5 or SHA-1.
            [_, _, _, _, ..] if matches!(rest.len(), 12 | 20 | 24) => return Ok(true),
            [_, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if length < 16 || !length.is_multiple_of(4) {
                    return Err(Ignored::Malformed);
                }
                rest = rest.get(length..).ok_or(Ignored::Malformed)?;
            }
            _ => return Err(Ignored::Malformed),
        }
    }
}

/// What is said of the clock besides its time.
struct Words {
    leap: u8,
    stratum: u8,
    /// In seconds, 16 bits behind the point.
    dispersion: u32,
    reference_id: [u8; 4],
    reference: Timestamp,
}

/// A machine's clock of which we do not know who sets it: usable, and worse for whoever compares
/// servers than any that has a source of its own. As chrony puts its `local` clock.
const SET: Words = Words {
    leap: 0,
    stratum: 10,
    // A tenth of a second, as a house's clock that is set over the internet may be wrong.
    dispersion: 0x1999,
    reference_id: [127, 127, 1, 1],
    reference: Timestamp::NEVER,
};

const NOT_SET: Words = Words {
    leap: 3,
    stratum: 0,
    dispersion: 0,
    reference_id: *b"INIT",
    reference: Timestamp::NEVER,
};

const SLOW_DOWN: Words = Words {
    reference_id: *b"RATE",
    ..NOT_SET
};

const MODE_OF_VERSION_1: u8 = 0;
const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;
/// Four bytes of zero where an authenticator would be.
const CRYPTO_NAK: usize = 4;
/// How finely the clock is read, as a power of two of seconds: a microsecond.
const PRECISION: i8 = -20;

#[cfg(test)]
mod tests;
