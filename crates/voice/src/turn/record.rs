//! What happened in a turn.

use std::time::Duration;

use tokio::time::Instant;

use crate::provider::{ChatMessage, Failure, ToolCall};
use crate::sentence::append;

/// What happened in a turn, whole or broken off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Happened {
    /// What belongs behind the history: what was asked, what of the answer was handed out to be spoken, and which tools
    /// were called. Empty if nothing was understood.
    pub messages: Vec<ChatMessage>,
    /// When what came.
    pub timing: Timing,
    /// What failed, in order. Tools are not among it: the model was told.
    pub failures: Vec<Failure>,
}

/// When what came, counted from the end of speech or, where a text began the turn, from there. `None`: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// What was understood.
    pub transcript: Option<Duration>,
    /// The first part of the model's answer.
    pub first_part: Option<Duration>,
    /// The first sentence that can be spoken.
    pub first_sentence: Option<Duration>,
    /// The first packet of sound was ready.
    pub first_audio: Option<Duration>,
    /// The last one was.
    pub last_audio: Option<Duration>,
    /// All tools together took so long.
    pub tools: Duration,
}

/// Written by the task and who takes what it tells.
#[derive(Debug, Default)]
pub(super) struct Record {
    began: Option<Instant>,
    asked: Option<String>,
    rounds: Vec<Round>,
    /// Words of ours that the model does not know of.
    apology: String,
    failures: Vec<Failure>,
    timing: Timing,
}

/// One answer of the model.
#[derive(Debug, Default)]
struct Round {
    /// What of it was handed out.
    text: String,
    /// What was called and has answered.
    calls: Vec<(ToolCall, String)>,
}

/// What is timed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    Transcript,
    FirstPart,
    FirstSentence,
    Audio,
}

impl Record {
    /// From here on time counts.
    pub(super) fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        // A recogniser may know that they have finished before anybody else.
        let passed = self.began.get_or_insert_with(Instant::now).elapsed();
        let timing = &mut self.timing;
        match mark {
            Mark::Transcript => timing.transcript.get_or_insert(passed),
            Mark::FirstPart => timing.first_part.get_or_insert(passed),
            Mark::FirstSentence => timing.first_sentence.get_or_insert(passed),
            Mark::Audio => {
                timing.last_audio = Some(passed);
                timing.first_audio.get_or_insert(passed)
            }
        };
    }

    pub(super) fn ask(&mut self, text: &str) {
        self.asked = Some(text.to_owned());
    }

    /// A sentence was handed out.
    pub(super) fn say(&mut self, sentence: &str, round: Option<usize>) {
        match round {
            Some(round) => append(&mut self.round(round).text, sentence),
            None => append(&mut self.apology, sentence),
        }
    }

    /// A tool has answered.
    pub(super) fn call(&mut self, round: usize, call: ToolCall, answer: String, took: Duration) {
        self.timing.tools += took;
        self.round(round).calls.push((call, answer));
    }

    pub(super) fn fail(&mut self, failure: &Failure) {
        self.failures.push(failure.clone());
    }

    fn round(&mut self, round: usize) -> &mut Round {
        if self.rounds.len() <= round {
            self.rounds.resize_with(round + 1, Round::default);
        }
        &mut self.rounds[round]
    }

    pub(super) fn happened(&self) -> Happened {
        Happened {
            messages: self.messages(),
            timing: self.timing,
            failures: self.failures.clone(),
        }
    }

    fn messages(&self) -> Vec<ChatMessage> {
        let mut messages = Vec::new();
        messages.extend(self.asked.clone().map(ChatMessage::User));
        let before = messages.len();
        for round in &self.rounds {
            if round.text.is_empty() && round.calls.is_empty() {
                continue;
            }
            messages.push(ChatMessage::Assistant {
                text: round.text.clone(),
                calls: round.calls.iter().map(|(call, _)| call.clone()).collect(),
            });
            messages.extend(round.calls.iter().map(|(call, text)| ChatMessage::Tool {
                call: call.id.clone(),
                text: text.clone(),
            }));
        }
        // Many models want an answer behind every question.
        if messages.len() == before && before > 0 && !self.apology.is_empty() {
            messages.push(ChatMessage::Assistant {
                text: self.apology.clone(),
                calls: Vec::new(),
            });
        }
        messages
    }
}
