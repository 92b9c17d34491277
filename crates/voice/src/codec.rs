//! Opus, as libopus does it.

use opusic_c::{Application, Channels, SampleRate};
use thiserror::Error;

use crate::limits::{ENCODED_BYTES, PACKET_BYTES, PACKET_MS};

/// Samples a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rate {
    /// 16,000: microphones of devices, and what recognisers want.
    Hz16000,
    /// 24,000: loudspeakers of devices.
    Hz24000,
}

impl Rate {
    /// In samples a second.
    pub const fn hertz(self) -> usize {
        match self {
            Rate::Hz16000 => 16_000,
            Rate::Hz24000 => 24_000,
        }
    }

    /// Samples of so many milliseconds.
    pub const fn samples(self, ms: usize) -> usize {
        self.hertz() / 1000 * ms
    }

    fn of_opus(self) -> SampleRate {
        match self {
            Rate::Hz16000 => SampleRate::Hz16000,
            Rate::Hz24000 => SampleRate::Hz24000,
        }
    }
}

/// Why sound could not be coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CodecError {
    /// Longer than any Opus packet of a device.
    #[error(
        "an audio packet of {0} bytes is longer than {PACKET_BYTES}; the device sends something else than Opus"
    )]
    TooLong(usize),
    /// No Opus.
    #[error(
        "an audio packet of {0} bytes is no Opus; the device must send Opus, mono, as its hello says"
    )]
    NotOpus(usize),
    /// Not 10, 20, 40 or 60 ms of samples.
    #[error("{0} samples are no frame of Opus; give 10, 20, 40 or 60 ms at a time")]
    NoFrame(usize),
    /// Out of memory, or libopus and this crate disagree.
    #[error("libopus failed ({0}); if memory is not short, this is a bug")]
    Inside(i32),
}

/// Opus packets to samples. Holds about 18 kB.
pub struct Decoder {
    inner: opusic_c::Decoder,
    rate: Rate,
    /// libopus writes into unsigned words.
    words: Vec<u16>,
}

impl Decoder {
    /// For mono sound that is wanted at `rate`, whatever rate it was encoded at.
    ///
    /// # Errors
    /// [`CodecError::Inside`] when memory is short.
    pub fn new(rate: Rate) -> Result<Decoder, CodecError> {
        let inner = opusic_c::Decoder::new(Channels::Mono, rate.of_opus());
        Ok(Decoder {
            inner: inner.map_err(|error| CodecError::Inside(error as i32))?,
            rate,
            words: Vec::new(),
        })
    }

    /// Appends the samples of one packet. Frames of silence (DTX) are a byte or two and become
    /// as many samples as any other.
    ///
    /// # Errors
    /// [`CodecError::TooLong`], [`CodecError::NotOpus`]; nothing is appended then, and the next
    /// packet decodes as if this one had been lost.
    pub fn decode(&mut self, packet: &[u8], samples: &mut Vec<i16>) -> Result<(), CodecError> {
        if packet.len() > PACKET_BYTES {
            return Err(CodecError::TooLong(packet.len()));
        }
        // libopus takes no bytes for a lost packet, and would make up sound.
        if packet.is_empty() {
            return Err(CodecError::NotOpus(0));
        }
        self.words.resize(self.rate.samples(PACKET_MS), 0);
        let decoded = self.inner.decode_to_slice(packet, &mut self.words, false);
        let count = decoded.map_err(|_| CodecError::NotOpus(packet.len()))?;
        samples.extend(self.words[..count].iter().map(|&word| word.cast_signed()));
        Ok(())
    }
}

/// Samples to Opus packets. Holds about 25 kB.
pub struct Encoder {
    inner: opusic_c::Encoder,
    rate: Rate,
    words: Vec<u16>,
}

impl Encoder {
    /// For mono speech at `rate`, at complexity 5: that of 9 sounds no better through a small
    /// loudspeaker and costs half as much again.
    ///
    /// # Errors
    /// [`CodecError::Inside`] when memory is short.
    pub fn new(rate: Rate) -> Result<Encoder, CodecError> {
        let inside = |error: opusic_c::ErrorCode| CodecError::Inside(error as i32);
        let inner = opusic_c::Encoder::new(Channels::Mono, rate.of_opus(), Application::Voip);
        let mut inner = inner.map_err(inside)?;
        inner.set_complexity(COMPLEXITY).map_err(inside)?;
        Ok(Encoder {
            inner,
            rate,
            words: Vec::new(),
        })
    }

    /// Appends the packet of one frame of 10, 20, 40 or 60 ms.
    ///
    /// # Errors
    /// [`CodecError::NoFrame`] if it is another number of samples.
    pub fn encode(&mut self, frame: &[i16], packet: &mut Vec<u8>) -> Result<(), CodecError> {
        let allowed = [10, 20, 40, 60].map(|ms| self.rate.samples(ms));
        if !allowed.contains(&frame.len()) {
            return Err(CodecError::NoFrame(frame.len()));
        }
        self.words.clear();
        self.words
            .extend(frame.iter().map(|sample| sample.cast_unsigned()));
        let start = packet.len();
        packet.resize(start + ENCODED_BYTES, 0);
        let encoded = self
            .inner
            .encode_to_slice(&self.words, &mut packet[start..]);
        packet.truncate(start + encoded.unwrap_or(0));
        encoded.map_err(|error| CodecError::Inside(error as i32))?;
        Ok(())
    }
}

/// Of 0 to 10.
const COMPLEXITY: u8 = 5;

#[cfg(test)]
mod tests;
