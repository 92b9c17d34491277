//! WAV, read as it streams: from programs and services that speak. And written, for those that listen.

use thiserror::Error;

use crate::limits::WAV_HEADER_BYTES;

/// Reads 16-bit WAV, mono or stereo, in pieces of any length.
///
/// Who writes a WAV while still speaking does not know its length yet: a length of nothing, or one that never comes,
/// is read to the end.
#[derive(Debug, Default)]
pub(crate) struct WavReader {
    state: State,
    /// Bytes that are not a whole header, or not a whole frame yet.
    held: Vec<u8>,
    /// Bytes that stood before the sound.
    before: usize,
    format: Option<Format>,
}

/// Why bytes are no WAV that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum WavError {
    /// It begins with something else.
    #[error("this is no WAV; it begins with {0:?}")]
    NotWav(String),
    /// Not 16-bit PCM, mono or stereo.
    #[error(
        "this WAV is of format {format} with {bits} bits and {channels} channels; 16-bit PCM in mono or stereo is needed"
    )]
    Format {
        /// 1 is PCM.
        format: u16,
        /// Of one sample.
        bits: u16,
        /// Side by side.
        channels: u16,
    },
    /// Not 8,000 to 48,000.
    #[error("this WAV has {0} samples a second; 8,000 to 48,000 are needed")]
    Rate(u32),
    /// The sound does not come.
    #[error("this WAV has no sound in its first {WAV_HEADER_BYTES} bytes")]
    NoSound,
    /// It ended inside the header.
    #[error("this WAV ends before its sound begins")]
    Short,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `RIFF`, a length, `WAVE`.
    #[default]
    Start,
    /// The head of a chunk comes.
    Chunk,
    /// `fmt ` of so many bytes comes.
    Format(usize),
    /// So many bytes of a chunk are passed over.
    Skip(usize),
    /// Samples come; so many bytes, if that was known.
    Sound(Option<usize>),
    /// What stands behind the sound is of no interest.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Format {
    rate: u32,
    channels: usize,
}

impl WavReader {
    /// Before the first byte.
    pub(crate) fn new() -> WavReader {
        WavReader::default()
    }

    /// Samples a second; `None` as long as the header is not read.
    pub(crate) fn rate(&self) -> Option<u32> {
        self.format.map(|format| format.rate)
    }

    /// Takes the next bytes and appends their samples, mono: those of two channels are mixed.
    ///
    /// # Errors
    /// [`WavError`]; nothing more can be read then.
    pub(crate) fn feed(&mut self, bytes: &[u8], samples: &mut Vec<i16>) -> Result<(), WavError> {
        match self.state {
            State::Sound(left) => {
                self.sound(bytes, left, samples);
                return Ok(());
            }
            State::Done => return Ok(()),
            _ => {}
        }
        self.held.extend_from_slice(bytes);
        loop {
            let used = match self.state {
                State::Start => self.start()?,
                State::Chunk => self.chunk()?,
                State::Format(length) => self.format(length)?,
                State::Skip(length) => self.skip(length),
                State::Sound(left) => {
                    let bytes = std::mem::take(&mut self.held);
                    self.sound(&bytes, left, samples);
                    return Ok(());
                }
                State::Done => return Ok(()),
            };
            let Some(used) = used else { break };
            self.held.drain(..used);
            self.before += used;
        }
        if self.before + self.held.len() > WAV_HEADER_BYTES {
            return Err(WavError::NoSound);
        }
        Ok(())
    }

    /// Says whether what ended here was a WAV.
    ///
    /// # Errors
    /// [`WavError::Short`] when it ended before its sound.
    pub(crate) fn finish(&self) -> Result<(), WavError> {
        match self.state {
            State::Sound(_) | State::Done => Ok(()),
            State::Start if !self.held.is_empty() => Err(not_wav(&self.held)),
            _ => Err(WavError::Short),
        }
    }

    /// Each step says how many bytes it used; `None`: it needs more.
    fn start(&mut self) -> Result<Option<usize>, WavError> {
        // Something else is told at its first bytes: an error message may be all that comes.
        let known = self.held.len().min(4);
        if self.held[..known] != b"RIFF"[..known] {
            return Err(not_wav(&self.held));
        }
        if self.held.len() < 12 {
            return Ok(None);
        }
        if &self.held[8..12] != b"WAVE" {
            return Err(not_wav(&self.held));
        }
        self.state = State::Chunk;
        Ok(Some(12))
    }

    fn chunk(&mut self) -> Result<Option<usize>, WavError> {
        let [a, b, c, d, length @ ..] = &self.held[..] else {
            return Ok(None);
        };
        let Some(length) = length.first_chunk() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*length) as usize;
        self.state = match &[*a, *b, *c, *d] {
            b"fmt " if length > WAV_HEADER_BYTES => return Err(WavError::NoSound),
            b"fmt " => State::Format(length + length % 2),
            b"data" if self.format.is_none() => return Err(WavError::Short),
            b"data" => State::Sound((length > 0 && length < UNKNOWN).then_some(length)),
            _ => State::Skip(length + length % 2),
        };
        Ok(Some(8))
    }

    fn format(&mut self, length: usize) -> Result<Option<usize>, WavError> {
        if self.held.len() < length {
            return Ok(None);
        }
        let word = |at: usize| match self.held[..length].get(at..at + 2) {
            Some(word) => u16::from_le_bytes([word[0], word[1]]),
            None => 0,
        };
        let (mut format, channels, bits) = (word(0), word(2), word(14));
        let rate = u32::from(word(4)) | u32::from(word(6)) << 16;
        // An extensible header has the real format in the first bytes of its GUID.
        if format == 0xfffe {
            format = word(24);
        }
        if format != 1 || bits != 16 || !(1..=2).contains(&channels) {
            return Err(WavError::Format {
                format,
                bits,
                channels,
            });
        }
        if !(8_000..=48_000).contains(&rate) {
            return Err(WavError::Rate(rate));
        }
        self.format = Some(Format {
            rate,
            channels: usize::from(channels),
        });
        self.state = State::Chunk;
        Ok(Some(length))
    }

    fn skip(&mut self, length: usize) -> Option<usize> {
        let used = length.min(self.held.len());
        self.state = match length - used {
            0 => State::Chunk,
            left => State::Skip(left),
        };
        (used > 0 || length == 0).then_some(used)
    }

    fn sound(&mut self, bytes: &[u8], left: Option<usize>, samples: &mut Vec<i16>) {
        let bytes = &bytes[..left.map_or(bytes.len(), |left| left.min(bytes.len()))];
        let left = left.map(|left| left - bytes.len());
        self.state = match left {
            Some(0) => State::Done,
            left => State::Sound(left),
        };
        let channels = self.format.map_or(1, |format| format.channels);
        self.held.extend_from_slice(bytes);
        let frames = self.held.chunks_exact(2 * channels);
        let rest = frames.remainder().len();
        samples.extend(frames.map(|frame| {
            let sum: i32 = frame
                .chunks_exact(2)
                .map(|word| i32::from(i16::from_le_bytes([word[0], word[1]])))
                .sum();
            (sum / channels as i32) as i16
        }));
        self.held.drain(..self.held.len() - rest);
    }
}

/// A whole WAV of mono samples.
pub(crate) fn wav(rate: u32, samples: &[i16]) -> Vec<u8> {
    let length = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX - 36);
    let mut bytes = Vec::with_capacity(44 + samples.len() * 2);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + length).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt ");
    bytes.extend_from_slice(&16u32.to_le_bytes());
    bytes.extend_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(&1u16.to_le_bytes());
    bytes.extend_from_slice(&rate.to_le_bytes());
    bytes.extend_from_slice(&(rate * 2).to_le_bytes());
    bytes.extend_from_slice(&2u16.to_le_bytes());
    bytes.extend_from_slice(&16u16.to_le_bytes());
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

fn not_wav(bytes: &[u8]) -> WavError {
    let shown = &bytes[..bytes.len().min(SHOWN)];
    WavError::NotWav(String::from_utf8_lossy(shown).into_owned())
}

/// A length of sound from here on is no length: who streams writes one of these.
const UNKNOWN: usize = 0x7fff_0000;

/// Bytes of something else that are shown: an error message begins with them.
const SHOWN: usize = 60;

#[cfg(test)]
mod tests;
