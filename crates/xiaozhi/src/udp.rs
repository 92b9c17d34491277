//! Sound in UDP datagrams: what devices that talk over MQTT use for audio.
//!
//! A datagram is a header of 16 bytes and one Opus packet, encrypted with AES-128 in counter mode;
//! the header is the first counter. There is no proof of who sent it, so this is a cover and no
//! lock: whoever sees a datagram can forge others. What a stranger who sees none can do is kept
//! small: sessions are found by a random number, numbers of datagrams only grow, and the way back
//! to a device changes only after several datagrams in a row that decrypt to Opus of the kinds
//! that it sends (`senders.rs`).
//!
//! The low word of the counter is the number of the datagram, so that a block of one datagram and
//! a block of the next share their key stream where all else in the header is equal. Devices send
//! the timestamp 0 always and cannot be helped; what we send never has a timestamp twice, nor the
//! device's 0. A device that cancels echoes with our help sends our timestamps back to us, and
//! there an overlap of both directions remains possible.

mod channels;
mod senders;

pub use channels::{AudioChannels, NotAdded};

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use aes::Aes128Enc;
use ctr::cipher::{KeyIvInit, StreamCipher};

use self::senders::Senders;
use crate::limits::{MAX_MISSED, MAX_OPUS_PACKET, MAX_UDP_PACKET, UDP_KEEP_ALIVE};
use crate::{OpusPacket, Time, Toc};

/// Bytes before the sound.
const HEADER: usize = 16;
/// The only type of datagram.
const AUDIO: u8 = 1;
/// Blocks of the longest packet: the number of a datagram must stay so far below its end that the
/// counter never runs over into the timestamp.
const LAST_SEQUENCE: u32 = u32::MAX - (MAX_OPUS_PACKET / 16) as u32;

/// What a session's audio is encrypted with, and how its datagrams are told from others. A new one
/// for each hello: the same key with the same numbers is the same key stream.
#[derive(Clone, PartialEq, Eq)]
pub struct AudioKey {
    key: [u8; 16],
    ssrc: u32,
}

impl AudioKey {
    /// A key and the number of its session.
    pub fn new(key: [u8; 16], ssrc: u32) -> AudioKey {
        AudioKey { key, ssrc }
    }

    /// Key and number from random bytes. If the number is taken
    /// ([`NotAdded::Taken`](crate::NotAdded::Taken)), draw others.
    pub fn from_random(bytes: [u8; 20]) -> AudioKey {
        let (ssrc, key) = bytes.split_first_chunk().expect("20 bytes are 4 and 16");
        AudioKey {
            key: key.try_into().expect("16 bytes are left"),
            ssrc: u32::from_be_bytes(*ssrc),
        }
    }

    /// The number by which datagrams find their session.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// `udp.key` of the hello.
    pub fn key(&self) -> [u8; 16] {
        self.key
    }

    /// `udp.nonce` of the hello: the header of which a device makes that of each datagram.
    pub fn nonce(&self) -> [u8; 16] {
        let nothing = AudioHeader {
            length: 0,
            ssrc: self.ssrc,
            timestamp: 0,
            sequence: 0,
        };
        nothing.write()
    }

    /// Encrypts the sound behind a header, or decrypts it, which is the same. For pretend devices;
    /// a server has [`AudioChannel`].
    ///
    /// The key is expanded for each datagram, which costs 0.1 µs; the expanded keys would cost
    /// each session half a kilobyte.
    pub fn apply(&self, header: &[u8; 16], sound: &mut [u8]) {
        ctr::Ctr128BE::<Aes128Enc>::new(&self.key.into(), &(*header).into()).apply_keystream(sound);
    }
}

impl fmt::Debug for AudioKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AudioKey({:08x})", self.ssrc)
    }
}

/// The header of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioHeader {
    /// Bytes of sound after it.
    pub length: u16,
    /// Which session.
    pub ssrc: u32,
    /// Milliseconds. Devices send 0, or that of the packet that they play when the server cancels
    /// echoes.
    pub timestamp: u32,
    /// Number of the datagram in its direction, from 1 on.
    pub sequence: u32,
}

impl AudioHeader {
    /// Reads the header of a whole datagram.
    ///
    /// # Errors
    /// It is none of audio, or not as long as it says.
    pub fn read(datagram: &[u8]) -> Result<AudioHeader, AudioError> {
        let Some((header, sound)) = datagram.split_first_chunk::<HEADER>() else {
            return Err(AudioError::NoAudio);
        };
        if header[0] != AUDIO {
            return Err(AudioError::NoAudio);
        }
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        let length = u16::from_be_bytes([header[2], header[3]]);
        if usize::from(length) != sound.len() || sound.len() > MAX_OPUS_PACKET {
            return Err(AudioError::Length);
        }
        Ok(AudioHeader {
            length,
            ssrc: word(4),
            timestamp: word(8),
            sequence: word(12),
        })
    }

    /// The bytes, as both directions write them.
    pub fn write(&self) -> [u8; 16] {
        let mut header = [AUDIO, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&self.length.to_be_bytes());
        header[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
        header[8..12].copy_from_slice(&self.timestamp.to_be_bytes());
        header[12..].copy_from_slice(&self.sequence.to_be_bytes());
        header
    }
}

/// The audio of one voice session, in both directions. Some 150 bytes.
#[derive(Debug)]
pub struct AudioChannel {
    key: AudioKey,
    senders: Senders,
    /// The highest number that was accepted; 0 before the first.
    heard: u32,
    /// Which of the 64 numbers up to `heard` were accepted, the lowest bit is `heard` itself.
    window: u64,
    sent_sequence: u32,
    sent_timestamp: u32,
    /// When something was sent last, or the session began.
    sent: Time,
    counters: AudioCounters,
}

/// What became of the datagrams of a session. Counting ends at the highest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudioCounters {
    /// Accepted.
    pub heard: u32,
    /// Numbers that were passed over: lost on the way, or late.
    pub missed: u32,
    /// Dropped, since one with a higher number came before.
    pub late: u32,
    /// Dropped, since the same number had been accepted.
    pub replayed: u32,
    /// Dropped, since they did not decrypt to what this device sends, their number was out of
    /// reach, or they came from another address and few like them: forged, of a session before, or
    /// the first ones of a device that moves.
    pub implausible: u32,
    /// SentAudio, keep-alives among them.
    pub sent: u32,
    /// How often the way back was learned anew.
    pub moved: u32,
}

/// A packet of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeardAudio<'a> {
    /// An Opus packet, inside the datagram.
    pub packet: &'a [u8],
    /// Its number.
    pub sequence: u32,
    /// How many numbers are missing before it.
    pub missed: u32,
    /// Its timestamp; see [`AudioHeader::timestamp`].
    pub timestamp: u32,
    /// What it says of the way back.
    pub peer: Peer,
}

/// Where a device is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// From where it was heard before.
    Same,
    /// It was heard for the first time; something can be sent from now on. Comes again if what was
    /// found first turned out to be no device.
    Found,
    /// It has moved: a router gave its datagrams another address or port. Its first three, at most
    /// four packets from there were dropped.
    Moved,
}

/// Where to send a datagram, and its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentAudio {
    /// The device, or the router before it.
    pub to: SocketAddr,
    /// Number of the datagram.
    pub sequence: u32,
    /// Its timestamp, at least the wanted one and higher than every one before.
    pub timestamp: u32,
}

impl AudioChannel {
    /// A session that has just said hello. Numbers begin at 1 in both directions.
    pub fn new(key: AudioKey, now: Time) -> AudioChannel {
        let (seed, _) = key.key.split_first_chunk().expect("16 bytes");
        AudioChannel {
            senders: Senders::new(u64::from_ne_bytes(*seed)),
            key,
            heard: 0,
            window: 0,
            sent_sequence: 0,
            sent_timestamp: 0,
            sent: now,
            counters: AudioCounters::default(),
        }
    }

    /// Decrypts a datagram in its place. One that is not accepted changes nothing of what the
    /// device has said and will say.
    ///
    /// A late one is dropped as devices drop it: by then its sound has been passed over.
    ///
    /// # Errors
    /// Why it is dropped.
    pub fn receive<'a>(
        &mut self,
        datagram: &'a mut [u8],
        from: SocketAddr,
    ) -> Result<HeardAudio<'a>, AudioError> {
        let header = AudioHeader::read(datagram)?;
        let missed = self
            .check(&header)
            .inspect_err(|error| self.count(*error))?;
        let (head, sound) = datagram
            .split_first_chunk_mut()
            .expect("a header was read from it");
        self.key.apply(head, sound);
        let toc = self
            .judge(sound, from)
            .inspect_err(|error| self.count(*error))?;
        if !self.senders.admit(from, header.sequence, missed, toc) {
            self.count(AudioError::Unfamiliar);
            return Err(AudioError::Unfamiliar);
        }
        self.accept(header.sequence, missed);
        Ok(HeardAudio {
            packet: sound,
            sequence: header.sequence,
            missed,
            timestamp: header.timestamp,
            peer: self.learn(from, toc),
        })
    }

    /// How many numbers are missing before this one.
    fn check(&self, header: &AudioHeader) -> Result<u32, AudioError> {
        if header.ssrc != self.key.ssrc {
            return Err(AudioError::OtherSession);
        }
        let Some(ahead) = header.sequence.checked_sub(self.heard + 1) else {
            let behind = self.heard - header.sequence;
            let seen = behind < 64 && self.window >> behind & 1 == 1;
            return Err(match seen {
                true => AudioError::Replayed,
                false => AudioError::Late,
            });
        };
        if ahead > MAX_MISSED || header.sequence > LAST_SEQUENCE {
            return Err(AudioError::OutOfReach);
        }
        Ok(ahead)
    }

    /// Whether this could be sound of a device at all.
    fn judge(&mut self, sound: &[u8], from: SocketAddr) -> Result<Toc, AudioError> {
        let packet = OpusPacket::parse(sound).ok();
        if let Some(packet) = packet.filter(OpusPacket::is_plausible) {
            return Ok(packet.toc());
        }
        if self.senders.distrust(from) {
            // The numbers of the device may be lower than those of whom it was taken for.
            self.heard = 0;
            self.window = 0;
        }
        Err(AudioError::NotOpus)
    }

    fn accept(&mut self, sequence: u32, missed: u32) {
        self.window = self.window.checked_shl(missed + 1).unwrap_or(0) | 1;
        self.heard = sequence;
        let counters = &mut self.counters;
        counters.heard = counters.heard.saturating_add(1);
        counters.missed = counters.missed.saturating_add(missed);
    }

    fn learn(&mut self, from: SocketAddr, toc: Toc) -> Peer {
        let peer = self.senders.learn(from, toc);
        if peer == Peer::Moved {
            self.counters.moved = self.counters.moved.saturating_add(1);
        }
        peer
    }

    fn count(&mut self, error: AudioError) {
        let counter = match error {
            AudioError::Late => &mut self.counters.late,
            AudioError::Replayed => &mut self.counters.replayed,
            AudioError::OutOfReach | AudioError::NotOpus | AudioError::Unfamiliar => {
                &mut self.counters.implausible
            }
            _ => return,
        };
        *counter = counter.saturating_add(1);
    }

    /// Appends a datagram with an Opus packet to `out`. `at` is the timestamp that it should have,
    /// in milliseconds since the hello; it becomes later if that one, or a later one, was used.
    ///
    /// # Errors
    /// The packet cannot be sent; nothing was appended.
    pub fn write(
        &mut self,
        packet: &[u8],
        at: u32,
        out: &mut Vec<u8>,
        now: Time,
    ) -> Result<SentAudio, AudioError> {
        if packet.is_empty() {
            return Err(AudioError::NotOpus);
        }
        self.append(packet, at, out, now)
    }

    /// Appends a datagram without sound to `out` if nothing was sent for [`UDP_KEEP_ALIVE`]. It
    /// keeps routers from forgetting the way, and the device from counting the session as dead
    /// (after 120 s without any data). Not while the device speaks: it would hand the empty packet
    /// to its decoder.
    pub fn keep_alive(&mut self, out: &mut Vec<u8>, now: Time) -> Option<SentAudio> {
        if now < self.next_keep_alive()? {
            return None;
        }
        self.append(&[], 0, out, now).ok()
    }

    /// When a keep-alive is due. `None` before the device was heard.
    pub fn next_keep_alive(&self) -> Option<Time> {
        self.senders.peer().map(|_| self.sent + UDP_KEEP_ALIVE)
    }

    fn append(
        &mut self,
        packet: &[u8],
        at: u32,
        out: &mut Vec<u8>,
        now: Time,
    ) -> Result<SentAudio, AudioError> {
        let to = self.senders.peer().ok_or(AudioError::NoPeer)?;
        if packet.len() > MAX_UDP_PACKET {
            return Err(AudioError::TooLong);
        }
        let next = |number: u32| number.checked_add(1).ok_or(AudioError::Spent);
        let sequence = next(self.sent_sequence)?;
        let timestamp = next(self.sent_timestamp)?.max(at);
        if sequence > LAST_SEQUENCE {
            return Err(AudioError::Spent);
        }
        let header = AudioHeader {
            length: packet.len() as u16,
            ssrc: self.key.ssrc,
            timestamp,
            sequence,
        };
        let header = header.write();
        out.extend_from_slice(&header);
        let start = out.len();
        out.extend_from_slice(packet);
        self.key.apply(&header, &mut out[start..]);
        self.sent_sequence = sequence;
        self.sent_timestamp = timestamp;
        self.sent = now;
        self.counters.sent = self.counters.sent.saturating_add(1);
        Ok(SentAudio {
            to,
            sequence,
            timestamp,
        })
    }

    /// Where the device is heard from. Nothing can be sent before.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.senders.peer()
    }

    /// Key and number.
    pub fn key(&self) -> &AudioKey {
        &self.key
    }

    /// What became of its datagrams.
    pub fn counters(&self) -> AudioCounters {
        self.counters
    }
}

/// Why a datagram is dropped, or a packet cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AudioError {
    /// Too short, or of another type.
    #[error("a datagram is no audio of a xiaozhi device; is this port meant for something else?")]
    NoAudio,
    /// It is not as long as it says, or longer than packets are.
    #[error(
        "a datagram is not as long as it says; does the network between cut or join datagrams?"
    )]
    Length,
    /// There is no session with its number, or not any more.
    #[error("a datagram belongs to no session here; the device says hello again when it is woken")]
    OtherSession,
    /// One with a higher number came before.
    #[error("a datagram came after later ones; if this goes on, look at the device's Wi-Fi")]
    Late,
    /// It was accepted before.
    #[error("a datagram came a second time; somebody repeats what was sent")]
    Replayed,
    /// Its number is more than [`MAX_MISSED`] ahead.
    #[error(
        "the number of a datagram is out of reach; the device says hello again when it is woken"
    )]
    OutOfReach,
    /// It does not decrypt to Opus.
    #[error(
        "a datagram does not decrypt to Opus; it was made with another key, or the device was set \
         to another format"
    )]
    NotOpus,
    /// It would move the device, or pass over much of what it says, and too few like it came in a
    /// row.
    #[error(
        "a datagram came from another address than the device's, or far ahead of its last one, and \
         was not believed; a device that moved is heard from the fourth or fifth packet on, and \
         one that is never heard uses another key"
    )]
    Unfamiliar,
    /// The device was not heard yet.
    #[error(
        "the device was not heard over UDP yet, so nothing can be sent to it; if this goes on, \
         open the voice port (UDP) in firewall and router"
    )]
    NoPeer,
    /// Longer than [`MAX_UDP_PACKET`].
    #[error(
        "an Opus packet is longer than {MAX_UDP_PACKET} bytes, which does not fit into a datagram; \
         let the encoder use shorter frames or fewer bits"
    )]
    TooLong,
    /// Numbers or timestamps have run out.
    #[error("the numbers of this session are used up; end it, the device says hello again")]
    Spent,
}

#[cfg(test)]
mod tests;
