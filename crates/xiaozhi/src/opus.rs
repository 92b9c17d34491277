//! What an Opus packet says of itself, without a codec (RFC 6716 section 3).
//!
//! The first byte names mode and length of its frames; what follows says where each frame lies.
//! That is enough to know how long a packet plays (devices and clients do not keep to the length
//! that they announce), to tell sound from noise that was decrypted with a wrong key, and to put
//! frames into other packets ([`Repacketizer`]).

mod repacketize;

pub use repacketize::Repacketizer;

use core::time::Duration;

use crate::limits::MAX_OPUS_PACKET;

/// The first byte of a packet: mode and length of its frames, channels, and how they are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Toc(u8);

/// Which of its codecs Opus uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpusMode {
    /// Speech.
    Silk,
    /// Speech, with the high tones of music.
    Hybrid,
    /// Music, and frames below 10 ms.
    Celt,
}

/// The highest tone that is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bandwidth {
    /// 4 kHz, sampled at 8 kHz.
    Narrow,
    /// 6 kHz, sampled at 12 kHz.
    Medium,
    /// 8 kHz, sampled at 16 kHz: the most that a device sends.
    Wide,
    /// 12 kHz, sampled at 24 kHz.
    SuperWide,
    /// 20 kHz, sampled at 48 kHz.
    Full,
}

impl Toc {
    /// Reads the byte; every one is a TOC.
    pub fn new(byte: u8) -> Toc {
        Toc(byte)
    }

    /// The byte.
    pub fn byte(self) -> u8 {
        self.0
    }

    /// Number of the configuration (RFC 6716 table 2), 0 to 31.
    pub fn config(self) -> u8 {
        self.0 >> 3
    }

    /// Which codec.
    pub fn mode(self) -> OpusMode {
        match self.config() {
            0..12 => OpusMode::Silk,
            12..16 => OpusMode::Hybrid,
            _ => OpusMode::Celt,
        }
    }

    /// Which bandwidth.
    pub fn bandwidth(self) -> Bandwidth {
        match self.config() {
            0..4 | 16..20 => Bandwidth::Narrow,
            4..8 => Bandwidth::Medium,
            8..12 | 20..24 => Bandwidth::Wide,
            12..14 | 24..28 => Bandwidth::SuperWide,
            _ => Bandwidth::Full,
        }
    }

    /// How long each frame plays, in microseconds: 2500 to 60,000.
    pub fn frame_micros(self) -> u32 {
        let step = usize::from(self.config() & 3);
        match self.mode() {
            OpusMode::Silk => [10_000, 20_000, 40_000, 60_000][step],
            OpusMode::Hybrid => [10_000, 20_000, 10_000, 20_000][step],
            OpusMode::Celt => [2_500, 5_000, 10_000, 20_000][step],
        }
    }

    /// Whether there are two channels. Devices send one.
    pub fn stereo(self) -> bool {
        self.0 & 4 != 0
    }

    /// How frames are laid out: 0 for one, 1 for two of equal size, 2 for two, 3 for a number of
    /// them that is told.
    pub fn code(self) -> u8 {
        self.0 & 3
    }

    /// Whether frames of both can lie in one packet.
    pub fn agrees_with(self, other: Toc) -> bool {
        self.0 & !3 == other.0 & !3
    }

    fn with_code(self, code: u8) -> u8 {
        self.0 & !3 | code
    }
}

/// A packet whose frames were found. Borrows from the bytes, and touches no heap.
#[derive(Debug, Clone)]
pub struct OpusPacket<'a> {
    toc: Toc,
    /// The frames, one after the other.
    bytes: &'a [u8],
    sizes: [u16; MAX_FRAMES],
    count: u8,
    padding: &'a [u8],
}

/// 120 ms of 2.5 ms each [RFC 6716 section 3.2.5, R5].
const MAX_FRAMES: usize = 48;
/// The longest packet plays 120 ms (R5).
const MAX_MICROS: u32 = 120_000;
/// The longest frame (R2).
const MAX_FRAME: usize = 1275;

impl<'a> OpusPacket<'a> {
    /// Finds the frames of a packet.
    ///
    /// # Errors
    /// The bytes are no packet; which rule of RFC 6716 section 3.4 they break.
    pub fn parse(packet: &'a [u8]) -> Result<OpusPacket<'a>, OpusError> {
        if packet.len() > MAX_OPUS_PACKET {
            return Err(OpusError::TooLong);
        }
        let (&toc, rest) = packet.split_first().ok_or(OpusError::Empty)?;
        let mut found = OpusPacket {
            toc: Toc(toc),
            bytes: rest,
            sizes: [0; MAX_FRAMES],
            count: 1,
            padding: &[],
        };
        match found.toc.code() {
            0 => found.set(0, rest.len())?,
            1 => found.divide(2)?,
            2 => {
                let (first, used) = frame_length(rest)?;
                found.bytes = &rest[used..];
                found.count = 2;
                let second = found.bytes.len().checked_sub(first);
                found.set(0, first)?;
                found.set(1, second.ok_or(OpusError::FrameBeyondEnd)?)?;
            }
            _ => found.read_counted(rest)?,
        }
        Ok(found)
    }

    /// Code 3: a byte that tells the number of frames, whether they differ in size, and whether
    /// there is padding.
    fn read_counted(&mut self, rest: &'a [u8]) -> Result<(), OpusError> {
        let (&head, mut rest) = rest.split_first().ok_or(OpusError::NoFrameCount)?;
        self.count = head & 0x3f;
        if self.count == 0 {
            return Err(OpusError::NoFrames);
        }
        if self.duration_micros() > MAX_MICROS {
            return Err(OpusError::TooLongToPlay);
        }
        if head & 0x40 != 0 {
            let mut padding = 0;
            loop {
                let (&byte, after) = rest.split_first().ok_or(OpusError::PaddingBeyondEnd)?;
                rest = after;
                // 255 stands for 254 bytes, and another such byte follows.
                padding += usize::from(byte.min(254));
                if byte != 255 {
                    break;
                }
            }
            let end = rest.len().checked_sub(padding);
            (rest, self.padding) = rest.split_at(end.ok_or(OpusError::PaddingBeyondEnd)?);
        }
        self.bytes = rest;
        if head & 0x80 == 0 {
            return self.divide(usize::from(self.count));
        }
        let last = usize::from(self.count) - 1;
        let mut told = 0;
        for index in 0..last {
            let (length, used) = frame_length(self.bytes)?;
            self.bytes = &self.bytes[used..];
            self.set(index, length)?;
            told += length;
        }
        let remaining = self.bytes.len().checked_sub(told);
        self.set(last, remaining.ok_or(OpusError::FrameBeyondEnd)?)
    }

    /// `count` frames of equal size.
    fn divide(&mut self, count: usize) -> Result<(), OpusError> {
        if !self.bytes.len().is_multiple_of(count) {
            return Err(OpusError::UnequalFrames);
        }
        self.count = count as u8;
        (0..count).try_for_each(|index| self.set(index, self.bytes.len() / count))
    }

    fn set(&mut self, index: usize, length: usize) -> Result<(), OpusError> {
        if length > MAX_FRAME {
            return Err(OpusError::FrameTooLong);
        }
        self.sizes[index] = length as u16;
        Ok(())
    }

    /// The first byte.
    pub fn toc(&self) -> Toc {
        self.toc
    }

    /// How many frames, 1 to 48.
    pub fn frame_count(&self) -> usize {
        usize::from(self.count)
    }

    /// The frames in their order, without the first byte. An empty one is silence that was not
    /// sent (DTX).
    pub fn frames(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        let mut rest = self.bytes;
        self.sizes[..self.frame_count()].iter().map(move |size| {
            let (frame, after) = rest.split_at(usize::from(*size));
            rest = after;
            frame
        })
    }

    /// How long it plays, in microseconds, at most 120,000.
    pub fn duration_micros(&self) -> u32 {
        self.toc.frame_micros() * u32::from(self.count)
    }

    /// How long it plays, at most 120 ms.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(u64::from(self.duration_micros()))
    }

    /// How many bytes at its end are none of sound.
    pub fn padding(&self) -> usize {
        self.padding.len()
    }

    /// Whether an encoder would have made it: the standard wants padding to be zeros, which a
    /// decoder does not look at.
    ///
    /// Bytes that were decrypted with a wrong key are a packet in almost half of all cases, since
    /// a single frame can be anything. Whoever has heard a device before asks for the first byte
    /// that it uses, too.
    pub fn is_plausible(&self) -> bool {
        self.padding.iter().all(|byte| *byte == 0)
    }
}

/// Whether the bytes are a packet that an encoder could have made. See
/// [`OpusPacket::is_plausible`] for what that is worth.
pub fn is_plausible_opus(packet: &[u8]) -> bool {
    OpusPacket::parse(packet).is_ok_and(|packet| packet.is_plausible())
}

/// How long a packet plays: 2.5 to 120 ms.
///
/// # Errors
/// The bytes are no packet.
pub fn opus_duration(packet: &[u8]) -> Result<Duration, OpusError> {
    OpusPacket::parse(packet).map(|packet| packet.duration())
}

/// The length of a frame as it is written: one byte, or two from 252 on; and how many bytes that
/// took [RFC 6716 section 3.2.1].
fn frame_length(bytes: &[u8]) -> Result<(usize, usize), OpusError> {
    match *bytes {
        [first @ 0..252, ..] => Ok((usize::from(first), 1)),
        [first, second, ..] => Ok((usize::from(second) * 4 + usize::from(first), 2)),
        _ => Err(OpusError::FrameBeyondEnd),
    }
}

/// Why bytes are no Opus packet, or cannot be put into others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpusError {
    /// Nothing (R1).
    #[error("an Opus packet has at least one byte; send nothing instead of an empty packet")]
    Empty,
    /// Longer than [`MAX_OPUS_PACKET`].
    #[error(
        "an Opus packet is longer than {MAX_OPUS_PACKET} bytes; let the encoder use shorter \
         frames or fewer bits"
    )]
    TooLong,
    /// A frame is longer than the codec allows (R2).
    #[error("a frame is longer than 1275 bytes, which Opus has no room for; is this Opus at all?")]
    FrameTooLong,
    /// Frames that are said to be of equal size cannot be [R3, R6].
    #[error("the frames of a packet are not of equal size as it says; was it cut off?")]
    UnequalFrames,
    /// A frame would end behind the packet [R4, R7].
    #[error("a frame is longer than what is left of its packet; was it cut off?")]
    FrameBeyondEnd,
    /// Code 3 without the byte that it needs.
    #[error("a packet ends before it says how many frames it has; was it cut off?")]
    NoFrameCount,
    /// Code 3 with no frame (R5).
    #[error("a packet says that it has no frames; is this Opus at all?")]
    NoFrames,
    /// More than 120 ms (R5).
    #[error("a packet says that it plays for more than 120 ms; is this Opus at all?")]
    TooLongToPlay,
    /// Padding would end behind the packet [R6, R7].
    #[error("a packet says that more of it is padding than it has; was it cut off?")]
    PaddingBeyondEnd,
    /// A frame does not fit into the packets that are asked for.
    #[error(
        "a frame of {bytes} bytes does not fit into packets of {limit}; let the encoder use \
         shorter frames or fewer bits"
    )]
    FrameDoesNotFit {
        /// Its length.
        bytes: usize,
        /// The most that one may have.
        limit: usize,
    },
    /// Packets were pushed and none was taken.
    #[error("too many frames wait to be put into packets; take the packets after each push")]
    Full,
}

#[cfg(test)]
mod tests;
