//! How what somebody says comes to a recogniser.

use tokio::sync::{mpsc, watch};

use crate::limits::{SPEECH_PIECE, SPEECH_SAMPLES, SPEECH_WAITING};
use crate::provider::Speech;

/// What became of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The recogniser gets it.
    Whole,
    /// The recogniser is too slow ([`SPEECH_WAITING`]), or has finished: some or all of it was left out.
    Late,
    /// Nobody may speak for longer ([`SPEECH_SAMPLES`]): time for [`Turn::finish`](super::Turn::finish).
    TooLong,
    /// The turn does not listen, or no more.
    NotListening,
}

/// Where speech goes in.
#[derive(Debug)]
pub(super) struct Mouth {
    pieces: mpsc::Sender<Vec<i16>>,
    /// What has not filled a piece yet.
    piece: Vec<i16>,
    finished: watch::Sender<bool>,
    /// Samples that were said.
    said: usize,
    /// Samples that were left out.
    lost: usize,
}

/// Where it comes out.
pub(super) struct Ears {
    pub(super) speech: Speech,
    pub(super) finish: Finish,
}

pub(super) fn channel() -> (Mouth, Ears) {
    let (pieces, speech) = mpsc::channel(SPEECH_WAITING);
    let (told, finished) = watch::channel(false);
    let mouth = Mouth {
        pieces,
        piece: Vec::with_capacity(SPEECH_PIECE),
        finished: told,
        said: 0,
        lost: 0,
    };
    let speech = Speech(speech);
    let finish = Finish(finished);
    (mouth, Ears { speech, finish })
}

impl Mouth {
    pub(super) fn say(&mut self, samples: &[i16]) -> Taken {
        let room = SPEECH_SAMPLES - self.said;
        let taken = &samples[..samples.len().min(room)];
        self.said += taken.len();
        let before = self.lost;
        let mut rest = taken;
        while !rest.is_empty() {
            let fits = (SPEECH_PIECE - self.piece.len()).min(rest.len());
            self.piece.extend_from_slice(&rest[..fits]);
            rest = &rest[fits..];
            if self.piece.len() == SPEECH_PIECE {
                self.hand_on();
            }
        }
        match taken.len() == samples.len() {
            false => Taken::TooLong,
            true if self.lost > before => Taken::Late,
            true => Taken::Whole,
        }
    }

    fn hand_on(&mut self) {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(SPEECH_PIECE));
        let length = piece.len();
        if self.pieces.try_send(piece).is_err() {
            self.lost += length;
        }
    }

    pub(super) fn finish(mut self) {
        if !self.piece.is_empty() {
            self.hand_on();
        }
        if self.lost > 0 && !self.pieces.is_closed() {
            tracing::warn!(
                target: "safeport::voice",
                "the recogniser is too slow: it did not get {} of {} ms of speech",
                self.lost / 16,
                self.said / 16,
            );
        }
        self.finished.send_replace(true);
    }
}

/// That they have finished.
pub(super) struct Finish(watch::Receiver<bool>);

impl Finish {
    /// Waits for it.
    pub(super) async fn wait(&mut self) {
        // An error means that the other side is gone, and with it the turn.
        let _ = self.0.wait_for(|finished| *finished).await;
    }
}
