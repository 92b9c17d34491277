//! Recognisers and voices on this machine: models that sherpa-onnx runs, from folders that somebody downloaded.
//!
//! Only with the feature `voice-local`; without it, loading fails and says so. docs/voice-local.md says how to build,
//! which models fit and where the libraries must lie.
//!
//! Running a model is hard work for a processor and cannot be stopped in the middle. So it is done on threads of its
//! own, no more at once than [`LocalPlaces`] has; a turn that ends does not wait for them.

#[cfg(not(feature = "voice-local"))]
mod absent;
#[cfg(feature = "voice-local")]
mod folder;
#[cfg(feature = "voice-local")]
mod onnx;
#[cfg(feature = "voice-local")]
mod phonemes;
#[cfg(feature = "voice-local")]
mod recognizer;
#[cfg(feature = "voice-local")]
mod synthesizer;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

#[cfg(feature = "voice-local")]
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

#[cfg(not(feature = "voice-local"))]
pub use self::absent::{LocalRecognizer, LocalSynthesizer};
#[cfg(feature = "voice-local")]
pub use self::recognizer::LocalRecognizer;
#[cfg(feature = "voice-local")]
pub use self::synthesizer::LocalSynthesizer;

/// Where a model lies, and how it is run.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// The provider's name in the settings, for failures.
    pub name: Box<str>,
    /// The folder of the model, as it was unpacked.
    pub folder: PathBuf,
    /// What recognisers that must be told expect to hear (Whisper, SenseVoice); `None`: they find out.
    pub language: Option<Box<str>>,
    /// Longest wait for a place, and for the program that makes phonemes.
    pub timeout: Duration,
    /// Which speaker of a voice that has several, from 0.
    pub speaker: u32,
    /// How fast a voice speaks: 1 is its own pace, 0.5 to 2 are possible.
    pub speed: f32,
    /// The program that makes phonemes for Piper's voices, with its arguments: text comes in at its standard input, one
    /// line of IPA for each clause goes out. `{language}` becomes what the voice asks for. Usually
    /// `espeak-ng -q --ipa -v {language}`.
    pub phonemizer: Vec<String>,
}

impl LocalSettings {
    /// A model in a folder, with everything else as usual: it finds the language out, waits up to 20 s, speaks as the first
    /// speaker at its own pace, and espeak-ng makes the phonemes.
    pub fn new(name: impl Into<Box<str>>, folder: impl Into<PathBuf>) -> LocalSettings {
        LocalSettings {
            name: name.into(),
            folder: folder.into(),
            language: None,
            timeout: Duration::from_secs(20),
            speaker: 0,
            speed: 1.0,
            phonemizer: ["espeak-ng", "-q", "--ipa", "-v", "{language}"]
                .map(str::to_owned)
                .into(),
        }
    }
}

/// How many models may run at once, for all recognisers and voices that share it.
#[derive(Debug, Clone)]
pub struct LocalPlaces(
    #[cfg_attr(
        not(feature = "voice-local"),
        expect(dead_code, reason = "nothing runs in this build")
    )]
    Arc<Semaphore>,
);

impl LocalPlaces {
    /// At least one.
    pub fn new(places: usize) -> LocalPlaces {
        LocalPlaces(Arc::new(Semaphore::new(
            places.clamp(1, Semaphore::MAX_PERMITS),
        )))
    }

    /// One of them, until it is dropped; in words if none became free in time.
    #[cfg(feature = "voice-local")]
    async fn take(&self, timeout: Duration) -> Result<OwnedSemaphorePermit, &'static str> {
        let place = tokio::time::timeout(timeout, Arc::clone(&self.0).acquire_owned()).await;
        match place {
            Ok(Ok(place)) => Ok(place),
            _ => Err(
                "this machine is busy with other speech; let fewer speak at once, or more models run",
            ),
        }
    }
}

impl Default for LocalPlaces {
    /// Half as many as this machine has cores: the rest is for everything else.
    fn default() -> LocalPlaces {
        LocalPlaces::new(thread::available_parallelism().map_or(1, |cores| cores.get() / 2))
    }
}

#[cfg(all(test, feature = "voice-local"))]
mod tests;
