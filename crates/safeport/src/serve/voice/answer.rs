//! An agent's answer in one turn: what is said goes to the agent, what it tells becomes what the session says.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use safeport_voice::{
    Change, CodecError, Decoder, Ear, Happened, Patience, Rate, Taken, Told, Turn,
};
use safeport_xiaozhi::limits::MAX_OPUS_PACKET;
use safeport_xiaozhi::{Emotion, Mode, Output, Repacketizer, TurnId};

use super::echo::Heard;
use super::recording::{Recording, Sound};
use crate::limits::{VOICE_RECORDING, VOICE_RUN_UP};

/// One turn of an agent.
pub(super) struct Answer {
    turn: TurnId,
    work: Turn,
    microphone: Microphone,
    /// What was told, and not handed to the session yet.
    outputs: VecDeque<Output>,
    /// Puts a provider's packets into those of 60 ms; made when one comes.
    packets: Option<Box<Repacketizer>>,
    happened: Option<Happened>,
    /// What it sounds like, if that is kept.
    recording: Option<Box<Recording>>,
}

/// Who notices that somebody speaks.
enum Microphone {
    /// The device does: all that it sends is heard.
    Button {
        decoder: Box<Decoder>,
        samples: Vec<i16>,
    },
    /// The server does.
    Open(Box<OpenMicrophone>),
    /// Nobody is listened to.
    Closed,
}

struct OpenMicrophone {
    ear: Ear,
    /// What was heard before somebody was noticed: the first sound of their first word.
    run_up: VecDeque<i16>,
    began: bool,
    /// Samples since then.
    said: usize,
    mode: Mode,
}

impl Answer {
    /// Listens to who speaks. `mode` says who notices that they have finished.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn listening(turn: TurnId, work: Turn, mode: Mode) -> Result<Answer, CodecError> {
        let microphone = match mode {
            Mode::Manual => Microphone::Button {
                decoder: Box::new(Decoder::new(Rate::Hz16000)?),
                samples: Vec::new(),
            },
            Mode::Auto | Mode::Realtime => Microphone::Open(Box::new(OpenMicrophone {
                ear: Ear::new(Patience::default())?,
                run_up: VecDeque::new(),
                began: false,
                said: 0,
                mode,
            })),
        };
        Ok(Answer {
            microphone,
            ..Answer::speaking(turn, work)
        })
    }

    /// Answers a text, or says one.
    pub(super) fn speaking(turn: TurnId, work: Turn) -> Answer {
        Answer {
            turn,
            work,
            microphone: Microphone::Closed,
            outputs: VecDeque::new(),
            packets: None,
            happened: None,
            recording: None,
        }
    }

    /// Has its sound kept.
    pub(super) fn record(&mut self, recording: Recording) {
        self.recording = Some(Box::new(recording));
    }

    pub(super) fn turn(&self) -> TurnId {
        self.turn
    }

    /// Takes a packet; whether somebody speaks in it, and whether they have finished.
    pub(super) fn hear(&mut self, packet: &[u8]) -> Heard {
        let mut heard = Heard::default();
        match &mut self.microphone {
            Microphone::Closed => {}
            Microphone::Button { decoder, samples } => {
                samples.clear();
                // One that is none is passed over, as if it had been lost on the way.
                if decoder.decode(packet, samples).is_ok() {
                    heard.finished = self.work.hear(samples) == Taken::TooLong;
                    heard.voice = true;
                    if let Some(recording) = &mut self.recording {
                        recording.heard(packet);
                    }
                }
            }
            Microphone::Open(open) => {
                let recording = self.recording.as_deref_mut();
                open.hear(packet, &mut self.work, &mut heard, recording);
            }
        }
        heard
    }

    /// They have finished.
    pub(super) fn finish(&mut self) {
        self.work.finish();
        let goes_on =
            matches!(&self.microphone, Microphone::Open(open) if open.mode == Mode::Realtime);
        if !goes_on {
            self.microphone = Microphone::Closed;
        }
    }

    /// What the agent tells next. Nothing while what it told waits to be said, so that it waits, too.
    pub(super) fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<Told> {
        if !self.outputs.is_empty() || self.happened.is_some() {
            return Poll::Pending;
        }
        match ready!(self.work.poll_next(context)) {
            Some(told) => Poll::Ready(told),
            None => Poll::Pending,
        }
    }

    /// Takes what the agent told.
    pub(super) fn take(&mut self, told: Told) {
        if !matches!(told, Told::Opus(_)) {
            self.flush();
        }
        match told {
            Told::Heard(text) => self.outputs.push_back(Output::Heard(text)),
            Told::Sentence { shown } => self.show(&shown),
            Told::Audio(packet) => self.outputs.push_back(Output::Audio(packet)),
            Told::Opus(packet) => self.repack(&packet),
            Told::Failed(failure) => tracing::warn!(
                target: "safeport::voice",
                stage = ?failure.stage, "a turn goes wrong: {failure}"
            ),
            Told::Done(happened) => {
                self.outputs.push_back(Output::Done);
                self.happened = Some(happened);
            }
        }
    }

    /// A sentence, and the face that goes with it.
    fn show(&mut self, shown: &str) {
        if let Some(emotion) = Emotion::first_in(shown) {
            self.outputs.push_back(Output::Emotion(emotion));
        }
        let text = without_faces(shown);
        if !text.is_empty() {
            self.outputs.push_back(Output::Sentence(text));
        }
    }

    fn repack(&mut self, packet: &[u8]) {
        let fresh = || Box::new(Repacketizer::new(FRAME, MAX_OPUS_PACKET));
        let packets = self.packets.get_or_insert_with(fresh);
        if let Err(error) = packets.push(packet) {
            tracing::debug!(target: "safeport::voice", "a packet of a voice is passed over: {error}");
        }
        let mut out = Vec::new();
        while packets.take(&mut out) {
            self.outputs.push_back(Output::Audio(out.as_slice().into()));
        }
    }

    fn flush(&mut self) {
        let Some(packets) = &mut self.packets else {
            return;
        };
        let mut out = Vec::new();
        while packets.flush(&mut out) {
            self.outputs.push_back(Output::Audio(out.as_slice().into()));
        }
    }

    /// What is to be said next, if there is room for `room` packets; `None`: nothing now.
    pub(super) fn next(&mut self, room: usize) -> Option<Output> {
        if room == 0 && matches!(self.outputs.front(), Some(Output::Audio(_))) {
            return None;
        }
        self.outputs.pop_front()
    }

    /// There was no room for this one after all.
    pub(super) fn give_back(&mut self, output: Output) {
        self.outputs.push_front(output);
    }

    /// This packet of it was sent to the device.
    pub(super) fn sent(&mut self, packet: &[u8]) {
        if let Some(recording) = &mut self.recording {
            recording.said(packet);
        }
    }

    /// It is over, or broken off: what happened, and what it sounded like if that is kept.
    pub(super) fn end(self) -> (Happened, Option<Sound>) {
        let sound = self.recording.and_then(|recording| recording.finish());
        let happened = match self.happened {
            Some(happened) => happened,
            None => self.work.stop(),
        };
        (happened, sound)
    }
}

impl OpenMicrophone {
    fn hear(
        &mut self,
        packet: &[u8],
        work: &mut Turn,
        heard: &mut Heard,
        mut recording: Option<&mut Recording>,
    ) {
        let began = self.began;
        let now_began = &mut self.began;
        let known = self.ear.hear(packet, |change| match change {
            Change::Began { .. } => *now_began = true,
            Change::Finished => heard.finished = true,
        });
        if known.is_err() {
            return;
        }
        heard.voice = self.ear.is_speaking();
        if !work.is_listening() {
            heard.finished = false;
            return;
        }
        let samples = self.ear.samples();
        if !self.began {
            self.run_up.extend(samples);
            let most = Rate::Hz16000.samples(VOICE_RUN_UP as usize);
            self.run_up.drain(..self.run_up.len().saturating_sub(most));
            if let Some(recording) = &mut recording {
                recording.run_up(packet);
            }
            return;
        }
        if let Some(recording) = &mut recording {
            recording.heard(packet);
        }
        if !began {
            let run_up = std::mem::take(&mut self.run_up);
            let (front, back) = run_up.as_slices();
            work.hear(front);
            work.hear(back);
        }
        self.said += samples.len();
        let most = Rate::Hz16000.samples(VOICE_RECORDING as usize);
        heard.finished |= work.hear(samples) == Taken::TooLong || self.said > most;
    }
}

/// What a device shows of a text.
pub(super) fn without_faces(shown: &str) -> String {
    let mut text = String::with_capacity(shown.len());
    for c in shown.chars() {
        match is_face(c) {
            // The space before it goes, too; the one behind it stays.
            true => text.truncate(text.trim_end().len()),
            false => text.push(c),
        }
    }
    text.trim().to_owned()
}

/// Whether a device cannot show it: its face is told apart from the text.
fn is_face(c: char) -> bool {
    matches!(c, '\u{1F300}'..='\u{1FAFF}' | '\u{2600}'..='\u{27BF}' | '\u{FE0F}' | '\u{200D}' | '\u{1F1E6}'..='\u{1F1FF}')
}

/// What all devices take.
const FRAME: Duration = Duration::from_millis(60);
