//! One sentence as DashScope's protocol has it. Pure, but for the random name of the task.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::DashScopeSettings;
use crate::openai::{SoundReader, SpeechFormat, UnreadableSound};
use crate::provider::{FailureKind, Sound};
use crate::websocket::{Arrival, Trouble};

/// A sentence that is being spoken.
#[derive(Debug)]
pub(super) struct Task {
    id: String,
    reader: SoundReader,
    started: bool,
    sounded: bool,
}

/// What follows from something that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The text may be sent.
    Started,
    /// A piece of the sentence.
    Sound(Vec<Sound>),
    /// All is spoken.
    Finished,
    /// Nothing that matters.
    Nothing,
}

impl Task {
    /// With a name that no other task has.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn new(format: SpeechFormat) -> Result<Task, Trouble> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| {
            Trouble::new(
                FailureKind::Missing,
                format!("no random numbers from the system: {error}"),
            )
        })?;
        Ok(Task::named(
            format,
            format!("{:032x}", u128::from_be_bytes(random)),
        ))
    }

    pub(super) fn named(format: SpeechFormat, id: String) -> Task {
        Task {
            id,
            reader: SoundReader::new(format),
            started: false,
            sounded: false,
        }
    }

    /// The message that begins it.
    pub(super) fn run(&self, settings: &DashScopeSettings) -> String {
        let (format, rate) = match settings.format {
            SpeechFormat::Pcm { rate } => ("pcm", rate),
            SpeechFormat::Wav => ("wav", RATE),
            SpeechFormat::Opus => ("opus", RATE),
        };
        let payload = json!({
            "task_group": "audio",
            "task": "tts",
            "function": "SpeechSynthesizer",
            "model": settings.model,
            "parameters": {
                "text_type": "PlainText",
                "voice": settings.voice,
                "format": format,
                "sample_rate": rate,
                "volume": settings.volume,
                "rate": two_digits(settings.speed),
                "pitch": two_digits(settings.pitch),
            },
            "input": {},
        });
        self.message("run-task", &payload)
    }

    /// The message with the text.
    pub(super) fn say(&self, text: &str) -> String {
        self.message("continue-task", &json!({ "input": { "text": text } }))
    }

    /// The message that there is no more text.
    pub(super) fn finish(&self) -> String {
        self.message("finish-task", &json!({ "input": {} }))
    }

    fn message(&self, action: &str, payload: &Value) -> String {
        let header = json!({ "action": action, "task_id": self.id, "streaming": "duplex" });
        json!({ "header": header, "payload": payload }).to_string()
    }

    /// Takes what came.
    ///
    /// # Errors
    /// What a failed task says, [`FailureKind::Broken`] when the connection is closed, and
    /// [`FailureKind::Misunderstood`] for what the protocol does not have.
    pub(super) fn take(&mut self, arrival: Arrival) -> Result<Step, Trouble> {
        match arrival {
            Arrival::Bytes(bytes) => self.sound(&bytes),
            Arrival::Text(text) => self.event(&text),
            Arrival::Closed(why) => Err(Trouble::new(
                FailureKind::Broken,
                format!("it closed the connection in the middle of a sentence: {why}"),
            )),
        }
    }

    fn sound(&mut self, bytes: &[u8]) -> Result<Step, Trouble> {
        if !self.started {
            return Err(misunderstood("it sent sound before it had begun"));
        }
        let mut sound = Vec::new();
        self.reader.feed(bytes, &mut sound).map_err(unreadable)?;
        if sound.is_empty() {
            return Ok(Step::Nothing);
        }
        self.sounded = true;
        Ok(Step::Sound(sound))
    }

    fn event(&mut self, text: &str) -> Result<Step, Trouble> {
        let Ok(Event { header }) = serde_json::from_str(text) else {
            return Err(misunderstood(
                "it sent a message without a header; look at its url",
            ));
        };
        if header.task_id.is_some_and(|id| id != self.id) {
            return Ok(Step::Nothing);
        }
        match header.event.as_str() {
            "task-started" if !self.started => {
                self.started = true;
                Ok(Step::Started)
            }
            "task-finished" if !self.sounded => Err(misunderstood(
                "it spoke without a sound; look whether its voice belongs to its model and speaks this language",
            )),
            "task-finished" => {
                self.reader.finish().map_err(unreadable)?;
                Ok(Step::Finished)
            }
            "task-failed" => Err(failed(&header.error_code, &header.error_message)),
            _ => Ok(Step::Nothing),
        }
    }

    /// That what should have come has not. A connection that was kept may have died without a word.
    pub(super) fn late(&self, within: Duration, kept: bool) -> Trouble {
        if kept && !self.started {
            return Trouble::new(FailureKind::Broken, "nothing came over it any more");
        }
        let what = match (self.started, self.sounded) {
            (false, _) => "it did not begin",
            (true, false) => "no sound came",
            (true, true) => "no more sound came",
        };
        Trouble::new(
            FailureKind::TimedOut,
            format!("{what} within {} s", within.as_secs_f32()),
        )
    }
}

/// A message of the server, as far as it matters.
#[derive(Debug, Deserialize)]
struct Event {
    header: Header,
}

#[derive(Debug, Deserialize)]
struct Header {
    task_id: Option<String>,
    event: String,
    #[serde(default)]
    error_code: String,
    #[serde(default)]
    error_message: String,
}

/// Why a task failed, by Model Studio's list of error codes.
fn failed(code: &str, message: &str) -> Trouble {
    let lower = code.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let (kind, next) = if is(&[
        "throttling",
        "quota",
        "arrear",
        "overdue",
        "limit",
        "429",
        "402",
    ]) {
        (
            FailureKind::Exhausted,
            "wait, or look at the account and its limits",
        )
    } else if is(&[
        "apikey",
        "api_key",
        "denied",
        "unauthorized",
        "forbidden",
        "401",
        "403",
    ]) {
        (
            FailureKind::NotAllowed,
            "look at its key, and that its region is that of the url",
        )
    } else if is(&[
        "internal",
        "system",
        "server",
        "unavailable",
        "servicefailed",
        "timeout",
    ]) {
        (FailureKind::Failed, "it may pass")
    } else {
        (FailureKind::Refused, "look at its model, voice and rate")
    };
    let message: String = message.chars().take(SHOWN).collect();
    Trouble::new(kind, format!("it says {code}: {message}; {next}"))
}

/// `0.8` as a decimal number has no exact `f32`; nobody wants to read 0.800000011920929.
fn two_digits(number: f32) -> f64 {
    (f64::from(number) * 100.0).round() / 100.0
}

fn unreadable(error: UnreadableSound) -> Trouble {
    Trouble::new(error.kind(), error.to_string())
}

fn misunderstood(what: &str) -> Trouble {
    Trouble::new(FailureKind::Misunderstood, what)
}

/// Samples a second of what says its rate itself: what devices play.
const RATE: u32 = 24_000;

/// Characters that are shown of what it says of an error.
const SHOWN: usize = 200;

#[cfg(test)]
mod tests;
