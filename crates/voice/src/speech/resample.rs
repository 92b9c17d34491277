//! From the rate of a voice to that of loudspeakers, piece by piece.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters,
    SincInterpolationType, WindowFunction,
};

use super::SoundError;
use crate::codec::Rate;

/// One sentence after the other; the sound does not become longer or shorter.
pub(super) struct Resampler {
    inner: Async<f32>,
    rate: u32,
    /// What has not been resampled yet.
    input: Vec<f32>,
    output: Vec<f32>,
    /// What is to be taken.
    ready: Vec<i16>,
    /// Samples of this sentence that came.
    heard: u64,
    /// Of those that go out, so many were ready already.
    made: u64,
    /// The filter's delay: so many at the beginning are not sound yet.
    skip: usize,
}

impl Resampler {
    pub(super) fn new(rate: u32) -> Result<Resampler, SoundError> {
        let parameters = SincInterpolationParameters::new(TAPS, WindowFunction::BlackmanHarris2)
            .oversampling_factor(128)
            .interpolation(SincInterpolationType::Linear);
        let inner = Async::new_sinc(
            Rate::Hz24000.hertz() as f64 / f64::from(rate),
            1.0,
            &parameters,
            rate as usize / 100,
            1,
            FixedAsync::Input,
        );
        let inner = inner.map_err(|error| SoundError::Resampling(error.to_string().into()))?;
        Ok(Resampler {
            output: vec![0.0; inner.output_frames_max()],
            skip: inner.output_delay(),
            inner,
            rate,
            input: Vec::new(),
            ready: Vec::new(),
            heard: 0,
            made: 0,
        })
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// Whether it is within a sentence.
    pub(super) fn has_begun(&self) -> bool {
        self.heard > 0
    }

    pub(super) fn push(&mut self, samples: &[i16]) -> Result<(), SoundError> {
        self.heard += samples.len() as u64;
        self.input
            .extend(samples.iter().map(|sample| f32::from(*sample)));
        let mut used = 0;
        while self.input.len() - used >= self.inner.input_frames_next() {
            used += self.work(used, None)?;
        }
        self.input.drain(..used);
        Ok(())
    }

    /// Brings out what the filter still holds, and begins anew.
    pub(super) fn finish(&mut self) -> Result<(), SoundError> {
        let hertz = Rate::Hz24000.hertz() as u64;
        let whole = (self.heard * hertz).div_ceil(u64::from(self.rate));
        let mut left = self.input.len();
        self.input.resize(self.inner.input_frames_next(), 0.0);
        while self.made < whole {
            let made = self.made;
            self.work(0, Some(left))?;
            left = 0;
            if self.made == made && self.skip == 0 {
                break;
            }
        }
        let surplus = self.made.saturating_sub(whole) as usize;
        self.ready.truncate(self.ready.len() - surplus);
        self.inner.reset();
        self.input.clear();
        self.heard = 0;
        self.made = 0;
        self.skip = self.inner.output_delay();
        Ok(())
    }

    /// Hands over what is ready.
    pub(super) fn take(&mut self, samples: &mut Vec<i16>) {
        samples.append(&mut self.ready);
    }

    /// One step from `start` on, of which `partial` samples are sound; how many it used.
    fn work(&mut self, start: usize, partial: Option<usize>) -> Result<usize, SoundError> {
        let fails =
            |error: &dyn std::fmt::Display| SoundError::Resampling(error.to_string().into());
        let input = &self.input[start..];
        let input = SequentialSlice::new(input, 1, input.len()).map_err(|error| fails(&error))?;
        let room = self.output.len();
        let mut output =
            SequentialSlice::new_mut(&mut self.output, 1, room).map_err(|error| fails(&error))?;
        let indexing = Indexing {
            partial_len: partial,
            ..Indexing::default()
        };
        let (used, made) = self
            .inner
            .process_into_buffer(&input, &mut output, Some(&indexing))
            .map_err(|error| fails(&error))?;
        let silent = self.skip.min(made);
        self.skip -= silent;
        self.made += (made - silent) as u64;
        let sound = self.output[silent..made].iter();
        // What is beyond the range saturates.
        self.ready.extend(sound.map(|sample| sample.round() as i16));
        Ok(used)
    }
}

/// Length of the filter: steep enough for speech at a fraction of what music would need.
const TAPS: usize = 64;
