//! Programs of this machine that speak or recognise: espeak-ng, Piper, whatever reads and writes.
//!
//! A program is started for each sentence, without a shell. It gets no more of the server's environment than it needs to
//! run: keys may be in there.

pub(crate) mod program;

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::sync::mpsc;

use self::program::{Heard, Program};
use crate::limits::{PROGRAM_SOUND_BYTES, SPEECH_SAMPLES};
use crate::provider::{
    Failure, FailureKind, Job, Recognizer, Sound, Speech, Stage, Synthesizer, Transcript,
};
use crate::wav::{WavReader, wav};

/// How a program is run.
#[derive(Debug, Clone)]
pub struct CommandSettings {
    /// The provider's name in the settings, for failures.
    pub name: Box<str>,
    /// The program, by path or as found in `PATH`, and its arguments. `{language}` in an argument becomes the language
    /// of the agent.
    pub program: Vec<String>,
    /// What `{language}` becomes where the agent has none.
    pub language: Box<str>,
    /// Samples a second of what it writes, if that is not WAV but bare 16-bit samples, mono, low byte first (`piper
    /// --output-raw`). Only for those that speak.
    pub raw: Option<u32>,
    /// Longest wait for its next bytes, or for a place among those that run.
    pub timeout: Duration,
    /// How many may run at the same time, at least 1. Further ones wait.
    pub at_once: usize,
}

impl CommandSettings {
    /// A program and its arguments, with everything else as usual: English where no language is known, WAV, 20 s, four at
    /// the same time.
    pub fn new(
        name: impl Into<Box<str>>,
        program: impl IntoIterator<Item = String>,
    ) -> CommandSettings {
        CommandSettings {
            name: name.into(),
            program: program.into_iter().collect(),
            language: "en".into(),
            raw: None,
            timeout: Duration::from_secs(20),
            at_once: 4,
        }
    }
}

/// A program that speaks: text comes in as one line at its standard input, sound goes out at its standard
/// output.
#[derive(Debug)]
pub struct Command {
    program: Program,
    raw: Option<u32>,
}

impl Command {
    /// Starts nothing yet, but looks whether the program is there.
    ///
    /// # Errors
    /// [`FailureKind::Missing`] if it is not, or if none is named; [`FailureKind::Refused`] if [`CommandSettings::raw`] is
    /// not 8,000 to 48,000.
    pub fn new(settings: CommandSettings) -> Result<Command, Failure> {
        let raw = settings.raw;
        let program = Program::new(settings, Stage::Synthesizer)?;
        match raw {
            Some(rate) if !(8_000..=48_000).contains(&rate) => Err(program.failure(
                FailureKind::Refused,
                format!("{rate} samples a second are not possible; set 8000 to 48000"),
            )),
            raw => Ok(Command { program, raw }),
        }
    }

    async fn say(
        &self,
        text: &str,
        language: Option<&str>,
        sound: mpsc::Sender<Sound>,
    ) -> Result<(), Failure> {
        let running = self.program.start(language).await?;
        running
            .talk(one_line(text).as_bytes(), |output| {
                self.pass_on(output, sound)
            })
            .await
    }

    /// Hands over what the program says until it has finished.
    async fn pass_on(
        &self,
        mut output: ChildStdout,
        sound: mpsc::Sender<Sound>,
    ) -> Result<Heard<()>, Failure> {
        let misunderstood =
            |problem: String| self.program.failure(FailureKind::Misunderstood, problem);
        let mut reader = Reader::new(self.raw);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut bytes = 0;
        loop {
            let read = self.program.in_time(output.read(&mut buffer)).await?;
            let Ok(read @ 1..) = read else { break };
            bytes += read;
            if bytes > PROGRAM_SOUND_BYTES {
                return Err(misunderstood(format!(
                    "it wrote more than {} MiB for one sentence; does it end when its input does?",
                    PROGRAM_SOUND_BYTES >> 20
                )));
            }
            let samples = reader.feed(&buffer[..read]).map_err(misunderstood)?;
            if let Some(rate) = reader.rate()
                && !samples.is_empty()
                && sound.send(Sound::Samples { rate, samples }).await.is_err()
            {
                return Ok(Heard::Enough(()));
            }
        }
        Ok(Heard::All(reader.finish(bytes).map_err(misunderstood)))
    }
}

impl Synthesizer for Command {
    fn speak<'a>(
        &'a self,
        text: &'a str,
        language: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        Box::pin(self.say(text, language, sound))
    }
}

/// A program that recognises: a WAV of 16 kHz comes in at its standard input when somebody has finished, text goes out
/// at its standard output.
#[derive(Debug)]
pub struct CommandRecognizer {
    program: Program,
}

impl CommandRecognizer {
    /// Starts nothing yet, but looks whether the program is there.
    ///
    /// # Errors
    /// [`FailureKind::Missing`] if it is not, or if none is named.
    pub fn new(settings: CommandSettings) -> Result<CommandRecognizer, Failure> {
        let program = Program::new(settings, Stage::Recognizer)?;
        Ok(CommandRecognizer { program })
    }

    async fn understand(
        &self,
        speech: Speech,
        language: Option<&str>,
    ) -> Result<Transcript, Failure> {
        let samples = beginning(speech).await;
        if samples.is_empty() {
            return Ok(Transcript::default());
        }
        let running = self.program.start(language).await?;
        let text = running
            .talk(&wav(16_000, &samples), |output| self.program.text(output))
            .await?;
        Ok(Transcript {
            text: text.split_whitespace().collect::<Vec<_>>().join(" "),
        })
    }
}

impl Recognizer for CommandRecognizer {
    fn recognize<'a>(&'a self, speech: Speech, language: Option<&'a str>) -> Job<'a, Transcript> {
        Box::pin(self.understand(speech, language))
    }
}

/// What was said, as far as one recognition goes. The rest is taken, too, so that nobody waits.
pub(crate) async fn beginning(mut speech: Speech) -> Vec<i16> {
    let mut samples = Vec::new();
    while let Some(piece) = speech.next().await {
        let room = SPEECH_SAMPLES - samples.len();
        samples.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    samples
}

/// Programs take each line for a text of its own, and some write a WAV for each.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.retain(|character| !character.is_control());
    line.push('\n');
    line
}

/// Bytes to samples.
enum Reader {
    Wav(WavReader),
    Raw { rate: u32, odd: Option<u8> },
}

impl Reader {
    fn new(raw: Option<u32>) -> Reader {
        match raw {
            Some(rate) => Reader::Raw { rate, odd: None },
            None => Reader::Wav(WavReader::new()),
        }
    }

    fn rate(&self) -> Option<u32> {
        match self {
            Reader::Wav(reader) => reader.rate(),
            Reader::Raw { rate, .. } => Some(*rate),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<i16>, String> {
        let mut samples = Vec::with_capacity(bytes.len() / 2);
        match self {
            Reader::Wav(reader) => reader
                .feed(bytes, &mut samples)
                .map_err(|error| error.to_string())?,
            Reader::Raw { odd, .. } => {
                for &byte in bytes {
                    match odd.take() {
                        Some(low) => samples.push(i16::from_le_bytes([low, byte])),
                        None => *odd = Some(byte),
                    }
                }
            }
        }
        Ok(samples)
    }

    fn finish(&self, bytes: usize) -> Result<(), String> {
        if bytes == 0 {
            return Err("it wrote no sound to its standard output".to_owned());
        }
        match self {
            Reader::Wav(reader) => reader.finish().map_err(|error| error.to_string()),
            Reader::Raw { .. } => Ok(()),
        }
    }
}

/// Bytes that are read at once: a tenth of a second to half a second of sound.
const PIECE_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;
