//! Sound of a synthesiser made into what devices play: Opus, 24 kHz, mono, 60 ms a packet.

mod prompts;
mod resample;

use std::sync::Arc;

use thiserror::Error;

use crate::codec::{CodecError, Encoder, Rate};
use crate::limits::SOUND_RATES;
pub use prompts::{Packet, Prompts, no_voice};
use resample::Resampler;

/// Samples in, packets out. It is used again for sentence after sentence of a turn. Holds about 25 kB, and 60 kB more
/// where the rate is another than 24 kHz.
pub struct Packer {
    encoder: Encoder,
    resampler: Option<Resampler>,
    /// What has not filled a packet yet, at 24 kHz.
    frame: Vec<i16>,
    packet: Vec<u8>,
}

impl Packer {
    /// That has heard nothing yet.
    ///
    /// # Errors
    /// [`SoundError::Codec`] when memory is short.
    pub fn new() -> Result<Packer, SoundError> {
        Ok(Packer {
            encoder: Encoder::new(Rate::Hz24000)?,
            resampler: None,
            frame: Vec::new(),
            packet: Vec::new(),
        })
    }

    /// Takes samples and calls `packed` for each packet that they fill.
    ///
    /// # Errors
    /// The rate is none that can be had ([`SOUND_RATES`]), or another than before in the same sentence.
    pub fn push(
        &mut self,
        rate: u32,
        samples: &[i16],
        packed: impl FnMut(Arc<[u8]>),
    ) -> Result<(), SoundError> {
        if !SOUND_RATES.contains(&rate) {
            return Err(SoundError::Rate(rate));
        }
        if rate as usize == Rate::Hz24000.hertz() && !self.is_resampling() {
            self.frame.extend_from_slice(samples);
        } else {
            self.resampler(rate)?.push(samples)?;
            self.take_resampled();
        }
        self.pack(packed)
    }

    /// The sentence is at its end: what is left is filled up with silence.
    ///
    /// # Errors
    /// [`SoundError::Codec`] when memory is short.
    pub fn finish(&mut self, packed: impl FnMut(Arc<[u8]>)) -> Result<(), SoundError> {
        if let Some(resampler) = &mut self.resampler {
            resampler.finish()?;
            self.take_resampled();
        }
        let whole = self.frame.len().next_multiple_of(FRAME);
        self.frame.resize(whole, 0);
        self.pack(packed)
    }

    fn is_resampling(&self) -> bool {
        self.resampler.as_ref().is_some_and(Resampler::has_begun)
    }

    fn resampler(&mut self, rate: u32) -> Result<&mut Resampler, SoundError> {
        match &self.resampler {
            Some(resampler) if resampler.rate() == rate => {}
            Some(resampler) if resampler.has_begun() => {
                return Err(SoundError::Changed(resampler.rate(), rate));
            }
            _ => self.resampler = Some(Resampler::new(rate)?),
        }
        self.resampler.as_mut().ok_or(SoundError::Rate(rate))
    }

    fn take_resampled(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.take(&mut self.frame);
        }
    }

    fn pack(&mut self, mut packed: impl FnMut(Arc<[u8]>)) -> Result<(), SoundError> {
        let mut frames = self.frame.chunks_exact(FRAME);
        for frame in &mut frames {
            self.packet.clear();
            self.encoder.encode(frame, &mut self.packet)?;
            packed(Arc::from(&self.packet[..]));
        }
        let rest = frames.remainder().len();
        self.frame.drain(..self.frame.len() - rest);
        Ok(())
    }
}

/// Why sound cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SoundError {
    /// Too few or too many samples a second.
    #[error("sound of {0} samples a second cannot be played; let the voice give 24000")]
    Rate(u32),
    /// The rate changed in the middle.
    #[error("sound of {0} samples a second went on with {1} in one sentence")]
    Changed(u32, u32),
    /// It could not be brought to 24 kHz.
    #[error("resampling failed ({0}); this is a bug")]
    Resampling(Box<str>),
    /// It could not be encoded.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Samples of a packet.
const FRAME: usize = Rate::Hz24000.samples(60);

#[cfg(test)]
mod tests;
