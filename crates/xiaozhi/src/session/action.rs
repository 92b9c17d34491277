//! What goes in and out of a voice session.

use alloc::string::String;
use alloc::sync::Arc;

use crate::{Emotion, Mode, ToDevice};

/// Which turn of a voice session. Later turns have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TurnId(pub u32);

/// What the driver does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this message, with the voice session's name in it.
    Send(ToDevice<'static>),
    /// Send this packet, now.
    Audio {
        /// Whose it is.
        turn: TurnId,
        /// One Opus packet.
        packet: Arc<[u8]>,
        /// The millisecond at which it will be played; greater from packet to packet. Devices
        /// whose echo the server cancels send it back.
        timestamp: u32,
    },
    /// Let a pipeline run for this turn.
    TurnStarted {
        /// Its name.
        turn: TurnId,
        /// What it is to do.
        why: Why,
    },
    /// The device says that the user has finished: no more audio of this turn comes.
    SpeechEnded {
        /// Which.
        turn: TurnId,
    },
    /// Stop the pipeline of this turn: nothing more that it says is heard.
    TurnEnded {
        /// Which.
        turn: TurnId,
        /// How it went.
        how: Ending,
    },
    /// Close the connection (over MQTT only the audio); always the last action.
    End(End),
}

/// What a turn begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The user speaks: audio follows.
    Listens(Mode),
    /// A wake word, or what was typed. May be empty.
    Asked(String),
    /// We have something to say, see [`VoiceSession::announce`](super::VoiceSession::announce).
    Announces,
    /// Nobody has said anything for long: say goodbye, or nothing.
    Farewell,
}

/// How a turn went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// All of it was said and played.
    Said,
    /// The pipeline had nothing to say.
    Nothing,
    /// The device interrupted it.
    Aborted,
    /// The user spoke into it.
    Interrupted,
    /// The device began another one, or we did.
    Replaced,
    /// The pipeline gave no sign for long. Nothing was said: the driver shows an alert.
    TimedOut,
    /// The voice session is over.
    Closed,
}

/// Why a voice session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The hello did not come in time.
    NoHello,
    /// The device said goodbye.
    Goodbye,
    /// The device hears no datagrams.
    Unheard,
    /// Nobody said anything for long.
    Idle,
    /// Another hello came over MQTT: it is the first message of a new voice session.
    Renewed,
    /// We closed it.
    Closed,
    /// The connection is gone.
    Gone,
}

/// What a pipeline says in its turn, in this order. Everything after the first that is heard
/// (`Emotion`, `Sentence` or `Audio`) waits for its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// What the user said. Shown at once; from here on the device speaks.
    Heard(String),
    /// Makes a face.
    Emotion(Emotion),
    /// The audio from here on says this; cut off at 2048 bytes.
    Sentence(String),
    /// One Opus packet; those of 60 ms suit all devices.
    Audio(Arc<[u8]>),
    /// Somebody speaks: the voice session is not idle. During an answer in realtime mode, they
    /// interrupt it.
    Voice,
    /// There is nothing more to say.
    Done,
}

/// What became of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Taken {
    /// It was sent or waits for its time.
    Queued,
    /// The turn is over; the pipeline can stop.
    Stale,
    /// Too much waits already. Hand it in again when some of it was played.
    Full,
    /// The user's words came after the answer had begun: not shown.
    Late,
    /// No Opus packet, or one that is too large for the way to the device: dropped.
    NotSendable,
}

/// Whose audio a packet of the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Uplink {
    /// For the pipeline of this turn.
    Hear(TurnId),
    /// For nobody.
    Dropped(NotHeard),
}

/// Why a packet is for nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotHeard {
    /// Empty, or too large to be one.
    NoPacket,
    /// The device did not say that it listens. Before a wake word is reported, that word comes.
    NotListening,
    /// We think or speak.
    Answering,
}
