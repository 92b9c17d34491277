//! Speech in, speech out.
//!
//! * [`Decoder`] and [`Encoder`] turn Opus packets of devices into samples and back;
//! * [`Vad`] scores how much each 16 ms of sound is like speech;
//! * [`Endpointer`] makes of such scores when somebody began to speak and when they had finished;
//! * [`Ear`] is these three for one microphone.
//!
//! * [`Recognizer`], [`ChatModel`] and [`Synthesizer`] are who make an answer of it;
//! * [`Turn`] is one utterance and its answer, by an [`Agent`] that has all three;
//! * [`Talk`] is what was said before, and [`OggOpus`] a recording of it.
//!
//! What listens owns no socket and no clock: time is what the audio itself lasts.

mod codec;
mod command;
mod dashscope;
mod dial;
mod ear;
mod endpoint;
mod funasr;
pub mod limits;
mod local;
mod mcp;
mod ogg;
mod openai;
mod parrot;
mod provider;
mod sentence;
mod speech;
mod talk;
mod turn;
mod vad;
mod wav;
mod websocket;

pub use codec::{CodecError, Decoder, Encoder, Rate};
pub use command::{Command, CommandRecognizer, CommandSettings};
pub use dashscope::{DASHSCOPE_URL, DashScope, DashScopeSettings};
pub use dial::Dial;
pub use ear::Ear;
pub use endpoint::{Change, Endpointer, Patience};
pub use funasr::{FunAsr, FunAsrMode, FunAsrSettings};
pub use local::{LocalPlaces, LocalRecognizer, LocalSettings, LocalSynthesizer};
pub use mcp::{McpServer, McpSettings, McpState, McpWay};
pub use ogg::OggOpus;
pub use openai::{
    AnswerError, AnswerReader, ApiKey, Endpoint, EndpointError, NoFormat, OpenAiChat, OpenAiEye,
    OpenAiSpeech, OpenAiTranscription, SoundReader, SpeechFormat, SpeechStyle, Timeouts,
    UnreadableSound,
};
pub use parrot::Parrot;
pub use provider::{
    ChatMessage, ChatModel, Eye, Failure, FailureKind, Job, Part, Question, Recognizer, Sound,
    Speech, Stage, Synthesizer, ToolCall, ToolSpec, Toolbox, Transcript,
};
pub use sentence::{Sentence, Sentences};
pub use speech::{Packer, Packet, Prompts, SoundError, no_voice};
pub use talk::{Memory, Talk};
pub use turn::{
    Agent, Begin, Filler, Happened, Named, Phrases, Scene, Taken, Timing, Told, Turn, TurnWaits,
};
pub use vad::{Vad, WINDOW_MS, WINDOW_SAMPLES};
