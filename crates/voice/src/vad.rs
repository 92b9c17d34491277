//! How much sound is like speech.

use earshot::Detector;

/// Samples that are scored together, at 16 kHz.
pub const WINDOW_SAMPLES: usize = 256;

/// What they last.
pub const WINDOW_MS: u32 = 16;

/// Scores speech in a stream of samples. Holds about 9 kB.
pub struct Vad {
    detector: Box<Detector>,
    /// Samples that wait until a window is full.
    rest: Vec<i16>,
}

impl Default for Vad {
    fn default() -> Vad {
        Vad {
            detector: Detector::default_boxed(),
            rest: Vec::with_capacity(WINDOW_SAMPLES),
        }
    }
}

impl Vad {
    /// Takes samples of 16 kHz and calls `scored` for each [`WINDOW_MS`] with a score from 0
    /// (none) to 1 (speech).
    pub fn hear(&mut self, mut samples: &[i16], mut scored: impl FnMut(f32)) {
        while self.rest.len() + samples.len() >= WINDOW_SAMPLES {
            if self.rest.is_empty() {
                let (window, behind) = samples.split_at(WINDOW_SAMPLES);
                scored(self.detector.predict_i16(window));
                samples = behind;
            } else {
                let (first, behind) = samples.split_at(WINDOW_SAMPLES - self.rest.len());
                self.rest.extend_from_slice(first);
                scored(self.detector.predict_i16(&self.rest));
                self.rest.clear();
                samples = behind;
            }
        }
        self.rest.extend_from_slice(samples);
    }
}
