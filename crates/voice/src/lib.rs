//! Speech in, speech out.
//!
//! * [`Decoder`] and [`Encoder`] turn Opus packets of devices into samples and back;
//! * [`Vad`] scores how much each 16 ms of sound is like speech;
//! * [`Endpointer`] makes of such scores when somebody began to speak and when they had finished;
//! * [`Ear`] is these three for one microphone.
//!
//! Nothing here owns a socket or a clock: time is what the audio itself lasts.

mod codec;
mod ear;
mod endpoint;
pub mod limits;
mod vad;

pub use codec::{CodecError, Decoder, Encoder, Rate};
pub use ear::Ear;
pub use endpoint::{Change, Endpointer, Patience};
pub use vad::{Vad, WINDOW_MS, WINDOW_SAMPLES};
