//! The agent that answers before any other is set up: it shows what was heard, tells the time, and
//! says back what was said. If that works, microphone, loudspeaker and everything in between do.

use std::collections::VecDeque;
use std::sync::Arc;

use safeport_voice::{Change, CodecError, Ear, Patience};
use safeport_xiaozhi::{Mode, Output, TurnId, opus_duration};

use crate::limits::{VOICE_RECORDING, VOICE_RECORDING_BYTES, VOICE_RUN_UP};
use crate::say;
use crate::text::Texts;

/// One turn: what was said, and what of it is still to be said back.
pub(super) struct Echo {
    turn: TurnId,
    stage: Stage,
    /// Notices when they have finished; `None` where the device does. In realtime mode it goes on
    /// to listen, for who speaks into the answer.
    ear: Option<Box<Ear>>,
    mode: Mode,
    recording: Recording,
    began: bool,
}

enum Stage {
    Listens,
    /// Says these, and then the recording.
    Answers(VecDeque<Output>),
    HasSaidAll,
}

/// Packets with what they last, in milliseconds.
#[derive(Default)]
struct Recording {
    packets: VecDeque<(Arc<[u8]>, u32)>,
    length: u32,
    bytes: usize,
}

impl Recording {
    fn push(&mut self, packet: &[u8], lasts: u32) {
        self.packets.push_back((packet.into(), lasts));
        self.length += lasts;
        self.bytes += packet.len();
    }

    fn pop(&mut self) -> Option<Arc<[u8]>> {
        let (packet, lasts) = self.packets.pop_front()?;
        self.length -= lasts;
        self.bytes -= packet.len();
        Some(packet)
    }
}

impl Echo {
    /// Listens. `mode` says who notices that they have finished.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn listening(turn: TurnId, mode: Mode) -> Result<Echo, CodecError> {
        let ear = match mode {
            Mode::Manual => None,
            Mode::Auto | Mode::Realtime => Some(Box::new(Ear::new(Patience::default())?)),
        };
        Ok(Echo {
            turn,
            stage: Stage::Listens,
            began: ear.is_none(),
            ear,
            mode,
            recording: Recording::default(),
        })
    }

    /// Answers a text: what somebody typed, or the word that woke the device.
    pub(super) fn asked(turn: TurnId, text: String, time: &str, texts: &Texts) -> Echo {
        let answer = [
            Output::Heard(text),
            Output::Sentence(say!(texts, "voice-clock", time = time)),
        ];
        Echo {
            turn,
            stage: Stage::Answers(answer.into()),
            ear: None,
            mode: Mode::Manual,
            recording: Recording::default(),
            began: false,
        }
    }

    /// Shows a text that somebody wants shown: it has no voice to say it with.
    pub(super) fn shows(turn: TurnId, text: String) -> Echo {
        Echo {
            turn,
            stage: Stage::Answers([Output::Sentence(text)].into()),
            ear: None,
            mode: Mode::Manual,
            recording: Recording::default(),
            began: false,
        }
    }

    pub(super) fn turn(&self) -> TurnId {
        self.turn
    }

    /// Takes a packet; whether somebody speaks in it, and whether they have finished.
    pub(super) fn hear(&mut self, packet: &[u8]) -> Heard {
        let mut heard = Heard::default();
        let Ok(lasts) = opus_duration(packet) else {
            return heard;
        };
        if let Some(ear) = &mut self.ear {
            let began = &mut self.began;
            let known = ear.hear(packet, |change| match change {
                Change::Began { .. } => *began = true,
                Change::Finished => heard.finished = true,
            });
            if known.is_err() {
                return heard;
            }
            heard.voice = ear.is_speaking();
        }
        if !matches!(self.stage, Stage::Listens) {
            heard.finished = false;
            return heard;
        }
        self.recording.push(packet, lasts.as_millis() as u32);
        if self.began {
            heard.finished |= self.recording.length > VOICE_RECORDING
                || self.recording.bytes > VOICE_RECORDING_BYTES;
        } else {
            // Only a moment is kept, so that the first sound of a word is there.
            while self.recording.length > VOICE_RUN_UP
                || self.recording.bytes > VOICE_RECORDING_BYTES
            {
                self.recording.pop();
            }
        }
        heard
    }

    /// They have finished: from now on it answers.
    pub(super) fn finish(&mut self, time: &str, texts: &Texts) {
        if !matches!(self.stage, Stage::Listens) {
            return;
        }
        if self.mode != Mode::Realtime {
            self.ear = None;
        }
        let mut answer = VecDeque::new();
        if self.began && !self.recording.packets.is_empty() {
            let length = self.recording.length;
            let seconds = format!("{}.{}", length / 1000, length % 1000 / 100);
            answer.push_back(Output::Heard(say!(texts, "voice-heard", seconds = seconds)));
            answer.push_back(Output::Sentence(say!(texts, "voice-echo", time = time)));
        }
        self.stage = Stage::Answers(answer);
    }

    /// What is to be said next, if there is room for `room` packets; `None`: nothing now.
    pub(super) fn next(&mut self, room: usize) -> Option<Output> {
        let Stage::Answers(texts) = &mut self.stage else {
            return None;
        };
        if let Some(text) = texts.pop_front() {
            return Some(text);
        }
        if room == 0 && !self.recording.packets.is_empty() {
            return None;
        }
        Some(match self.recording.pop() {
            Some(packet) => Output::Audio(packet),
            None => {
                self.stage = Stage::HasSaidAll;
                Output::Done
            }
        })
    }
}

/// What a packet told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Somebody speaks.
    pub(super) voice: bool,
    /// They have finished.
    pub(super) finished: bool,
}
