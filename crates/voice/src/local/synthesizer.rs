//! Text to speech, by a model on this machine.

use std::sync::Arc;

use sherpa_onnx::{
    GenerationConfig, OfflineTts, OfflineTtsConfig, OfflineTtsModelConfig,
    OfflineTtsVitsModelConfig,
};
use tokio::sync::mpsc;

use super::folder::{self, Speaks, Voice};
use super::phonemes;
use super::recognizer::failure;
use super::{LocalPlaces, LocalSettings};
use crate::command::program::Program;
use crate::command::{CommandSettings, one_line};
use crate::limits::LOCAL_TEXT_CHARACTERS;
use crate::provider::{Failure, FailureKind, Job, Sound, Stage, Synthesizer};

/// A voice that is made on this machine: Piper's, or another VITS voice with a list of words.
pub struct LocalSynthesizer {
    settings: LocalSettings,
    places: LocalPlaces,
    engine: Arc<OfflineTts>,
    /// Makes phonemes of text, where the voice wants them.
    phonemizer: Option<(Program, String)>,
}

impl LocalSynthesizer {
    /// Finds the voice in the folder and loads it, as sherpa-onnx publishes it. Takes about a second; not for threads that
    /// others wait for.
    ///
    /// # Errors
    /// [`FailureKind::Missing`], with what was looked for and what to do; also when a Piper voice is there, but not the
    /// program that makes its phonemes.
    pub fn load(settings: LocalSettings, places: LocalPlaces) -> Result<LocalSynthesizer, Failure> {
        let missing = |problem: String| {
            failure(
                &settings,
                Stage::Synthesizer,
                FailureKind::Missing,
                &problem,
            )
        };
        let Voice {
            model,
            tokens,
            speaks,
        } = folder::voice(&settings.folder).map_err(missing)?;
        let (lexicon, phonemizer) = match speaks {
            Speaks::Lexicon(lexicon) => (Some(lexicon), None),
            Speaks::Phonemes(language) => {
                let program = CommandSettings {
                    timeout: settings.timeout,
                    ..CommandSettings::new(settings.name.clone(), settings.phonemizer.clone())
                };
                let program = Program::new(program, Stage::Synthesizer)?;
                (None, Some((program, language)))
            }
        };
        let config = OfflineTtsConfig {
            model: OfflineTtsModelConfig {
                vits: OfflineTtsVitsModelConfig {
                    model: Some(model),
                    tokens: Some(tokens),
                    lexicon,
                    ..OfflineTtsVitsModelConfig::default()
                },
                num_threads: 1,
                ..OfflineTtsModelConfig::default()
            },
            max_num_sentences: 1,
            silence_scale: 1.0,
            ..OfflineTtsConfig::default()
        };
        let Some(engine) = OfflineTts::create(&config) else {
            return Err(missing(format!(
                "sherpa-onnx could not load the voice in {}; take it as sherpa-onnx 2.0 publishes it",
                settings.folder.display()
            )));
        };
        Ok(LocalSynthesizer {
            engine: Arc::new(engine),
            settings,
            places,
            phonemizer,
        })
    }

    async fn say(&self, text: &str, sound: mpsc::Sender<Sound>) -> Result<(), Failure> {
        let text = text.replace('\0', " ");
        if text.chars().count() > LOCAL_TEXT_CHARACTERS {
            let detail = format!(
                "a sentence of more than {LOCAL_TEXT_CHARACTERS} characters is not spoken on this machine"
            );
            return Err(self.failure(FailureKind::Refused, &detail));
        }
        if !text.chars().any(char::is_alphanumeric) {
            return Ok(());
        }
        let mut config = GenerationConfig {
            sid: i32::try_from(self.settings.speaker).unwrap_or(0),
            speed: self.settings.speed.clamp(0.5, 2.0),
            silence_scale: 1.0,
            ..GenerationConfig::default()
        };
        if let Some((program, language)) = &self.phonemizer {
            let codepoints = self.phonemes(program, language, &text).await?;
            if codepoints.is_empty() {
                return Ok(());
            }
            config.phoneme_codepoints = Some(vec![codepoints]);
        }
        let place = self.places.take(self.settings.timeout).await;
        let place = place.map_err(|detail| self.failure(FailureKind::TimedOut, detail))?;
        let engine = Arc::clone(&self.engine);
        let work = tokio::task::spawn_blocking(move || {
            let _place = place;
            let made =
                engine.generate_with_config(&text, &config, None::<fn(&[f32], f32) -> bool>)?;
            let samples: Vec<i16> = made
                .samples()
                .iter()
                .map(|sample| (sample * 32_767.0) as i16)
                .collect();
            Some((made.sample_rate(), samples))
        });
        let (rate, samples) = match work.await {
            Ok(Some((rate, samples))) if !samples.is_empty() => (rate, samples),
            _ => {
                return Err(
                    self.failure(FailureKind::Failed, "the voice made no sound of this text")
                );
            }
        };
        let rate = u32::try_from(rate).unwrap_or(0);
        for piece in samples.chunks(PIECE) {
            let samples = piece.to_vec();
            if sound.send(Sound::Samples { rate, samples }).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn phonemes(
        &self,
        program: &Program,
        language: &str,
        text: &str,
    ) -> Result<Vec<i32>, Failure> {
        let clauses = phonemes::clauses(&one_line(text));
        let lines: String = clauses
            .iter()
            .map(|(clause, _)| format!("{clause}\n"))
            .collect();
        let running = program.start(Some(language)).await?;
        let ipa = running
            .talk(lines.as_bytes(), |output| program.text(output))
            .await?;
        Ok(phonemes::codepoints(&clauses, &ipa))
    }

    fn failure(&self, kind: FailureKind, detail: &str) -> Failure {
        failure(&self.settings, Stage::Synthesizer, kind, detail)
    }
}

impl Synthesizer for LocalSynthesizer {
    fn speak<'a>(
        &'a self,
        text: &'a str,
        _language: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        // A voice speaks the language that it was made for.
        Box::pin(self.say(text, sound))
    }
}

/// Samples that are handed over at once: a tenth of a second, about.
const PIECE: usize = 2_205;
