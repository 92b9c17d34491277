//! This server was built without the feature `voice-local`.

use std::convert::Infallible;

use tokio::sync::mpsc;

use super::{LocalPlaces, LocalSettings};
use crate::provider::{
    Failure, FailureKind, Job, Recognizer, Sound, Speech, Stage, Synthesizer, Transcript,
};

/// A recogniser that runs on this machine: there is none in this build.
#[derive(Debug)]
pub struct LocalRecognizer(Infallible);

/// A voice that is made on this machine: there is none in this build.
#[derive(Debug)]
pub struct LocalSynthesizer(Infallible);

impl LocalRecognizer {
    /// Loads nothing.
    ///
    /// # Errors
    /// Always [`FailureKind::Missing`].
    pub fn load(settings: LocalSettings, _places: LocalPlaces) -> Result<LocalRecognizer, Failure> {
        Err(absent(settings, Stage::Recognizer))
    }
}

impl LocalSynthesizer {
    /// Loads nothing.
    ///
    /// # Errors
    /// Always [`FailureKind::Missing`].
    pub fn load(
        settings: LocalSettings,
        _places: LocalPlaces,
    ) -> Result<LocalSynthesizer, Failure> {
        Err(absent(settings, Stage::Synthesizer))
    }
}

impl Recognizer for LocalRecognizer {
    fn recognize<'a>(&'a self, _speech: Speech, _language: Option<&'a str>) -> Job<'a, Transcript> {
        match self.0 {}
    }
}

impl Synthesizer for LocalSynthesizer {
    fn speak<'a>(
        &'a self,
        _text: &'a str,
        _language: Option<&'a str>,
        _sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        match self.0 {}
    }
}

fn absent(settings: LocalSettings, stage: Stage) -> Failure {
    Failure {
        stage,
        provider: settings.name,
        kind: FailureKind::Missing,
        detail: "this server was built without speech on this machine; build it with `--features voice-local` \
                 (docs/voice-local.md), or set another kind of provider"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_local_speech_says_how_to_get_it() {
        let settings = LocalSettings::new("ears", "/");
        let failure = LocalRecognizer::load(settings.clone(), LocalPlaces::default());
        let failure = failure.expect_err("no feature");
        assert_eq!(
            (failure.kind, failure.stage),
            (FailureKind::Missing, Stage::Recognizer)
        );
        assert!(failure.to_string().contains("voice-local"), "{failure}");
        let failure = LocalSynthesizer::load(settings, LocalPlaces::default());
        assert_eq!(failure.expect_err("no feature").stage, Stage::Synthesizer);
    }
}
