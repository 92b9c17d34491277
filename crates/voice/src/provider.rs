//! Who recognises, who answers and who speaks: what a turn asks of them, and what it hears when they fail.
//!
//! A provider is one engine or one service, set up once and used by many turns at the same time. Each does one
//! thing, as a future that can be dropped at any moment: that is how a turn is interrupted, and nothing of it may go
//! on afterwards. What it has to say it hands over as it comes, through a channel that holds little, so a slow
//! listener slows it down.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;
use tokio::sync::mpsc;

/// What a provider does, until it is done, fails, or is dropped.
pub type Job<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Speech to text.
pub trait Recognizer: Send + Sync {
    /// Makes text of what somebody says. `speech` brings 16 kHz mono samples as they are spoken, and ends when they have
    /// finished. `language` is what they are expected to speak (`zh`, `en`, …); `None`: anything.
    ///
    /// An empty text means that nothing was said.
    fn recognize<'a>(&'a self, speech: Speech, language: Option<&'a str>) -> Job<'a, Transcript>;
}

/// Samples of somebody who speaks: 16 kHz, mono, in pieces of some tens of milliseconds.
#[derive(Debug)]
pub struct Speech(pub mpsc::Receiver<Vec<i16>>);

impl Speech {
    /// The next piece; `None` when they have finished.
    pub async fn next(&mut self) -> Option<Vec<i16>> {
        self.0.recv().await
    }

    /// All that comes until they have finished.
    pub async fn whole(mut self) -> Vec<i16> {
        let mut samples = Vec::new();
        while let Some(piece) = self.next().await {
            samples.extend_from_slice(&piece);
        }
        samples
    }
}

/// What was understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The words, without marks of the recogniser's own (`<|zh|>`); empty if nothing was said.
    pub text: String,
}

/// Text to an answer, with tools.
pub trait ChatModel: Send + Sync {
    /// Answers the last message. The parts come as the model makes them; the call of a tool comes whole.
    fn answer<'a>(&'a self, question: Question<'a>, parts: mpsc::Sender<Part>) -> Job<'a, ()>;
}

/// What a model is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The conversation so far, the oldest first; the prompt is the first.
    pub messages: &'a [ChatMessage],
    /// What it may call.
    pub tools: &'a [ToolSpec],
}

/// One message of a conversation with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatMessage {
    /// The prompt, and what it is to know.
    System(String),
    /// What somebody said.
    User(String),
    /// What the model said, and which tools it called.
    Assistant {
        /// May be empty.
        text: String,
        /// In the order of the model.
        calls: Vec<ToolCall>,
    },
    /// What a tool answered.
    Tool {
        /// Which call ([`ToolCall::id`]).
        call: String,
        /// As text.
        text: String,
    },
}

/// A part of a model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Some of the text; parts of a word, too.
    Text(String),
    /// It wants this called.
    Call(ToolCall),
}

/// A call of a tool by a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The model's name of this call.
    pub id: String,
    /// Which tool, by [`ToolSpec::name`].
    pub name: String,
    /// A JSON object as text, as the model wrote it; `{}` where it wrote none.
    pub arguments: String,
}

/// What a model is told of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSpec {
    /// Letters, digits, `_` and `-`, at most 64: what the models' interfaces take.
    pub name: String,
    /// When to call it, in words.
    pub description: String,
    /// A JSON schema of its arguments.
    pub parameters: Value,
}

/// Tools that a turn can call.
pub trait Toolbox: Send + Sync {
    /// What there is at this moment.
    fn tools(&self) -> Vec<ToolSpec>;

    /// Calls one; its answer as text for the model. What goes wrong is told to the model, too, as the text of the
    /// failure.
    fn call<'a>(&'a self, call: &'a ToolCall) -> Job<'a, String>;
}

/// Text to speech.
pub trait Synthesizer: Send + Sync {
    /// Speaks one sentence. The sound comes as it is made. `language` is that of the agent.
    fn speak<'a>(
        &'a self,
        text: &'a str,
        language: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()>;
}

/// A piece of sound, mono.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sound {
    /// Samples; all pieces of one sentence have the same rate.
    Samples {
        /// Samples a second: 8,000 to 48,000.
        rate: u32,
        /// Some tens of milliseconds, or more.
        samples: Vec<i16>,
    },
    /// One packet of Opus, at whatever rate and of whatever length: it is not decoded here.
    Opus(Arc<[u8]>),
}

/// Pictures to text.
pub trait Eye: Send + Sync {
    /// Answers a question about a picture, whose kind is given (`image/jpeg`).
    fn look<'a>(&'a self, question: &'a str, kind: &'a str, picture: Vec<u8>) -> Job<'a, String>;
}

/// What a provider does in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Speech to text.
    Recognizer,
    /// The answer.
    Model,
    /// A tool that the model called.
    Tool,
    /// Text to speech.
    Synthesizer,
    /// Pictures to text.
    Eye,
}

/// Why a provider did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{provider}: {kind}: {detail}")]
pub struct Failure {
    /// At which stage.
    pub stage: Stage,
    /// The provider's name in the settings.
    pub provider: Box<str>,
    /// What happened.
    pub kind: FailureKind,
    /// What was seen and what to do, in English, for the log and the console; never a key.
    pub detail: Box<str>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// Nobody there: the name is unknown, the connection refused, the handshake failed.
    Unreachable,
    /// It took longer than its settings allow.
    TimedOut,
    /// It does not let us in: 401, 403, or no key.
    NotAllowed,
    /// Too many requests, or the account is empty: 402, 429.
    Exhausted,
    /// It refused the request: another 4xx, or an error message.
    Refused,
    /// It failed inside: 5xx, or an error message.
    Failed,
    /// It broke off in the middle.
    Broken,
    /// What it answered makes no sense.
    Misunderstood,
    /// An engine, model or program that it needs is not here.
    Missing,
}

impl FailureKind {
    /// Whether the same question may be answered a moment later. Nothing of the first answer may have been used.
    pub const fn is_passing(self) -> bool {
        matches!(
            self,
            FailureKind::Unreachable | FailureKind::Failed | FailureKind::Broken
        )
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FailureKind::Unreachable => "not reachable",
            FailureKind::TimedOut => "took too long",
            FailureKind::NotAllowed => "does not let this server in",
            FailureKind::Exhausted => "too many requests, or nothing left to spend",
            FailureKind::Refused => "refused the request",
            FailureKind::Failed => "failed",
            FailureKind::Broken => "broke off",
            FailureKind::Misunderstood => "answered something else",
            FailureKind::Missing => "is not here",
        })
    }
}
