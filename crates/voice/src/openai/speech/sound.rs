//! Sound as a service sends it, in whatever it comes.

use std::ops::RangeInclusive;
use std::sync::Arc;

use thiserror::Error;

use super::SpeechFormat;
use super::ogg::{OggError, OggReader};
use crate::limits::SOUND_BYTES;
use crate::provider::{FailureKind, Sound};
use crate::wav::{WavError, WavReader};

/// Reads the sound of one sentence, in pieces of any length.
///
/// What was asked for is not always what comes: a WAV and an Ogg are known by how they begin.
#[derive(Debug)]
pub struct SoundReader {
    asked: SpeechFormat,
    bytes: usize,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Too few bytes to tell.
    Unknown(Vec<u8>),
    /// A half sample may be left.
    Bare {
        rate: u32,
        half: Option<u8>,
    },
    Wav(WavReader),
    Ogg(OggReader),
}

/// Why bytes are no sound that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnreadableSound {
    /// Nothing came.
    #[error("it sent no sound")]
    Nothing,
    /// MP3.
    #[error(
        "it sent MP3; set this provider's `format` to one that the service has: pcm, wav or opus"
    )]
    Mp3,
    /// More than [`SOUND_BYTES`].
    #[error("it sent more than {SOUND_BYTES} bytes of sound for one sentence")]
    TooLong,
    /// No WAV, or one that cannot be used.
    #[error("{0}")]
    Wav(String),
    /// No Ogg with Opus, or one that cannot be used.
    #[error("{0}")]
    Ogg(String),
    /// It ended in the middle.
    #[error("the sound ended in the middle")]
    Cut,
}

impl UnreadableSound {
    /// As a turn is told.
    pub fn kind(&self) -> FailureKind {
        match self {
            UnreadableSound::Cut => FailureKind::Broken,
            _ => FailureKind::Misunderstood,
        }
    }
}

impl From<WavError> for UnreadableSound {
    fn from(error: WavError) -> UnreadableSound {
        match error {
            WavError::Short => UnreadableSound::Cut,
            error => UnreadableSound::Wav(error.to_string()),
        }
    }
}

impl From<OggError> for UnreadableSound {
    fn from(error: OggError) -> UnreadableSound {
        match error {
            OggError::Cut => UnreadableSound::Cut,
            error => UnreadableSound::Ogg(error.to_string()),
        }
    }
}

impl SoundReader {
    /// Before the first byte.
    pub fn new(asked: SpeechFormat) -> SoundReader {
        SoundReader {
            asked,
            bytes: 0,
            form: Form::Unknown(Vec::new()),
        }
    }

    /// Takes the next bytes, and appends the sound that is in them.
    ///
    /// # Errors
    /// [`UnreadableSound`]; the sound before it is appended, and there is no more.
    pub fn feed(&mut self, bytes: &[u8], sound: &mut Vec<Sound>) -> Result<(), UnreadableSound> {
        self.bytes += bytes.len();
        if self.bytes > SOUND_BYTES {
            return Err(UnreadableSound::TooLong);
        }
        let Form::Unknown(held) = &mut self.form else {
            return self.form.feed(bytes, sound);
        };
        held.extend_from_slice(bytes);
        if held.len() < MAGIC {
            return Ok(());
        }
        self.tell(sound)
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// When this is not a whole sound.
    pub fn finish(&mut self) -> Result<(), UnreadableSound> {
        if self.bytes == 0 {
            return Err(UnreadableSound::Nothing);
        }
        match &self.form {
            // One sample, at most.
            Form::Unknown(_) if matches!(self.asked, SpeechFormat::Pcm { .. }) => Ok(()),
            Form::Unknown(_) => Err(UnreadableSound::Cut),
            Form::Bare { .. } => Ok(()),
            Form::Wav(reader) => Ok(reader.finish()?),
            Form::Ogg(reader) => Ok(reader.finish()?),
        }
    }

    fn tell(&mut self, sound: &mut Vec<Sound>) -> Result<(), UnreadableSound> {
        let Form::Unknown(held) = &mut self.form else {
            return Ok(());
        };
        let held = std::mem::take(held);
        self.form = match (&held[..MAGIC], self.asked) {
            (b"RIFF", _) => Form::Wav(WavReader::new()),
            (b"OggS", _) => Form::Ogg(OggReader::new()),
            // Samples may begin with any two bytes, but not a WAV or an Ogg.
            ([b'I', b'D', b'3', _], _) => return Err(UnreadableSound::Mp3),
            ([0xff, 0xe2..=0xfb, ..], SpeechFormat::Wav | SpeechFormat::Opus) => {
                return Err(UnreadableSound::Mp3);
            }
            (_, SpeechFormat::Pcm { rate }) => Form::Bare { rate, half: None },
            (_, SpeechFormat::Wav) => Form::Wav(WavReader::new()),
            (_, SpeechFormat::Opus) => Form::Ogg(OggReader::new()),
        };
        self.form.feed(&held, sound)
    }
}

impl Form {
    fn feed(&mut self, bytes: &[u8], sound: &mut Vec<Sound>) -> Result<(), UnreadableSound> {
        let mut samples = Vec::new();
        let rate = match self {
            Form::Unknown(_) => return Ok(()),
            Form::Bare { rate, half } => {
                bare(half, bytes, &mut samples);
                *rate
            }
            Form::Wav(reader) => {
                reader.feed(bytes, &mut samples)?;
                reader.rate().unwrap_or(0)
            }
            Form::Ogg(reader) => {
                let hand = |packet: &[u8]| sound.push(Sound::Opus(Arc::from(packet)));
                return Ok(reader.feed(bytes, hand)?);
            }
        };
        if !samples.is_empty() {
            sound.push(Sound::Samples { rate, samples });
        }
        Ok(())
    }
}

fn bare(half: &mut Option<u8>, bytes: &[u8], samples: &mut Vec<i16>) {
    let mut bytes = bytes;
    if let (Some(low), Some((high, rest))) = (*half, bytes.split_first()) {
        samples.push(i16::from_le_bytes([low, *high]));
        *half = None;
        bytes = rest;
    }
    let (pairs, rest) = bytes.as_chunks::<2>();
    samples.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
    *half = rest.first().copied().or(*half);
}

/// Samples a second that are taken.
pub(super) const RATES: RangeInclusive<u32> = 8_000..=48_000;

/// Bytes that tell what it is.
const MAGIC: usize = 4;

#[cfg(test)]
mod tests;
