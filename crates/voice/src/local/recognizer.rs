//! Speech to text, by a model on this machine.

use std::sync::Arc;

use sherpa_onnx::{
    OfflineModelConfig, OfflineMoonshineModelConfig, OfflineParaformerModelConfig,
    OfflineRecognizer, OfflineRecognizerConfig, OfflineSenseVoiceModelConfig,
    OfflineWhisperModelConfig,
};

use super::folder::{self, Ears};
use super::{LocalPlaces, LocalSettings};
use crate::command::beginning;
use crate::provider::{Failure, FailureKind, Job, Recognizer, Speech, Stage, Transcript};

/// A recogniser that runs on this machine. It hears a whole utterance at once, of up to two minutes; Whisper hears its
/// first 30 s.
pub struct LocalRecognizer {
    settings: LocalSettings,
    places: LocalPlaces,
    engine: Arc<OfflineRecognizer>,
}

impl LocalRecognizer {
    /// Finds out which model lies in the folder and loads it: Moonshine, SenseVoice, Paraformer or Whisper, as sherpa-onnx
    /// publishes them. Takes from a tenth of a second to some seconds; not for threads that others wait for.
    ///
    /// # Errors
    /// [`FailureKind::Missing`], with what was looked for and what to do.
    pub fn load(settings: LocalSettings, places: LocalPlaces) -> Result<LocalRecognizer, Failure> {
        let (ears, tokens) =
            folder::ears(&settings.folder).map_err(|problem| missing(&settings, problem))?;
        let config = OfflineRecognizerConfig {
            model_config: model(ears, tokens, settings.language.as_deref()),
            ..OfflineRecognizerConfig::default()
        };
        let Some(engine) = OfflineRecognizer::create(&config) else {
            let problem = format!(
                "sherpa-onnx could not load the model in {}; take it as sherpa-onnx 2.0 publishes it",
                settings.folder.display()
            );
            return Err(missing(&settings, problem));
        };
        Ok(LocalRecognizer {
            settings,
            places,
            engine: Arc::new(engine),
        })
    }

    async fn understand(&self, speech: Speech) -> Result<Transcript, Failure> {
        let samples = beginning(speech).await;
        if samples.len() < SHORTEST {
            return Ok(Transcript::default());
        }
        let failure = |kind, detail: &str| failure(&self.settings, Stage::Recognizer, kind, detail);
        let place = self.places.take(self.settings.timeout).await;
        let place = place.map_err(|detail| failure(FailureKind::TimedOut, detail))?;
        let engine = Arc::clone(&self.engine);
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            let stream = engine.create_stream();
            stream.accept_waveform(16_000, &floats(&samples));
            engine.decode(&stream);
            stream.get_result().map(|result| result.text)
        });
        match work.await {
            Ok(Some(text)) => Ok(Transcript {
                text: without_marks(&text),
            }),
            _ => Err(failure(FailureKind::Failed, "the model gave no result")),
        }
    }
}

impl Recognizer for LocalRecognizer {
    fn recognize<'a>(&'a self, speech: Speech, _language: Option<&'a str>) -> Job<'a, Transcript> {
        // Models are told their language when they are loaded.
        Box::pin(self.understand(speech))
    }
}

/// What sherpa-onnx is told. A language that it does not know would end the process.
fn model(ears: Ears, tokens: String, language: Option<&str>) -> OfflineModelConfig {
    let mut config = OfflineModelConfig {
        tokens: Some(tokens),
        num_threads: 1,
        ..OfflineModelConfig::default()
    };
    match ears {
        Ears::Moonshine { encoder, decoder } => {
            config.moonshine = OfflineMoonshineModelConfig {
                encoder: Some(encoder),
                merged_decoder: Some(decoder),
                ..OfflineMoonshineModelConfig::default()
            };
        }
        Ears::OldMoonshine {
            preprocessor,
            encoder,
            uncached,
            cached,
        } => {
            config.moonshine = OfflineMoonshineModelConfig {
                preprocessor: Some(preprocessor),
                encoder: Some(encoder),
                uncached_decoder: Some(uncached),
                cached_decoder: Some(cached),
                merged_decoder: None,
            };
        }
        Ears::SenseVoice { model } => {
            let known = ["zh", "en", "ja", "ko", "yue"];
            let language = language.filter(|language| known.contains(language));
            config.sense_voice = OfflineSenseVoiceModelConfig {
                model: Some(model),
                language: Some(language.unwrap_or("auto").to_owned()),
                use_itn: true,
            };
        }
        Ears::Paraformer { model } => {
            config.paraformer = OfflineParaformerModelConfig { model: Some(model) };
        }
        Ears::Whisper {
            encoder,
            decoder,
            languages,
        } => {
            let language =
                language.filter(|language| languages.iter().any(|code| code == language));
            config.whisper = OfflineWhisperModelConfig {
                encoder: Some(encoder),
                decoder: Some(decoder),
                language: language.map(str::to_owned),
                task: Some("transcribe".to_owned()),
                tail_paddings: -1,
                ..OfflineWhisperModelConfig::default()
            };
        }
    }
    config
}

/// Samples as models want them.
fn floats(samples: &[i16]) -> Vec<f32> {
    let mut floats: Vec<f32> = samples
        .iter()
        .map(|&sample| f32::from(sample) / 32_768.0)
        .collect();
    // Some models fail with less than what they look at at once.
    floats.resize(floats.len().max(PADDED), 0.0);
    floats
}

/// Words without `<|en|>` and the like.
fn without_marks(text: &str) -> String {
    let mut words = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("<|") {
        words.push_str(before);
        rest = behind.split_once("|>").map_or("", |(_, behind)| behind);
    }
    words.push_str(rest);
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn missing(settings: &LocalSettings, problem: String) -> Failure {
    failure(settings, Stage::Recognizer, FailureKind::Missing, &problem)
}

pub(super) fn failure(
    settings: &LocalSettings,
    stage: Stage,
    kind: FailureKind,
    detail: &str,
) -> Failure {
    Failure {
        stage,
        provider: settings.name.clone(),
        kind,
        detail: detail.into(),
    }
}

/// Shorter than any word: 100 ms.
const SHORTEST: usize = 1_600;

/// Shorter speech gets silence behind it: 1 s.
const PADDED: usize = 16_000;
