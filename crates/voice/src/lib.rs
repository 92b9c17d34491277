//! Speech in, speech out.
//!
//! * [`Decoder`] and [`Encoder`] turn Opus packets of devices into samples and back;
//! * [`Vad`] scores how much each 16 ms of sound is like speech;
//! * [`Endpointer`] makes of such scores when somebody began to speak and when they had finished;
//! * [`Ear`] is these three for one microphone.
//!
//! * [`Recognizer`], [`ChatModel`] and [`Synthesizer`] are who make an answer of it.
//!
//! What listens owns no socket and no clock: time is what the audio itself lasts.

mod codec;
mod dial;
mod ear;
mod endpoint;
pub mod limits;
mod provider;
mod vad;

pub use codec::{CodecError, Decoder, Encoder, Rate};
pub use dial::Dial;
pub use ear::Ear;
pub use endpoint::{Change, Endpointer, Patience};
pub use provider::{
    ChatMessage, ChatModel, Eye, Failure, FailureKind, Job, Part, Question, Recognizer, Sound,
    Speech, Stage, Synthesizer, ToolCall, ToolSpec, Toolbox, Transcript,
};
pub use vad::{Vad, WINDOW_MS, WINDOW_SAMPLES};
