//! When somebody began to speak, and when they had finished.

use crate::vad::WINDOW_MS;

/// How long is waited for what, in milliseconds of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Speech that is needed to believe that somebody speaks: less is a click or a cough.
    pub onset: u32,
    /// Silence after which they have finished. People pause up to half a second in a sentence.
    pub pause: u32,
    /// After so much speech without a pause the turn ends all the same.
    pub longest: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            onset: 64,
            pause: 720,
            longest: 30_000,
        }
    }
}

/// What a window of sound changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Somebody speaks; they began this many milliseconds ago, this window included.
    Began {
        /// How long ago.
        ago: u32,
    },
    /// They have finished.
    Finished,
}

/// Follows one microphone. A value: what it says depends on the scores alone.
#[derive(Debug, Clone)]
pub struct Endpointer {
    patience: Patience,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nobody speaks; of the last windows, so many milliseconds were speech, since so many.
    Quiet { speech: u32, since: u32 },
    /// Somebody speaks, since `spoken`; the last `silence` were none.
    Speaking { spoken: u32, silence: u32 },
}

const QUIET: State = State::Quiet {
    speech: 0,
    since: 0,
};

/// A score from which on a window counts as speech where nobody spoke.
const BEGINS: f32 = 0.5;
/// One below which it counts as silence where somebody spoke: lower, so that a soft end of a word
/// is no pause.
const ENDS: f32 = 0.35;

impl Endpointer {
    /// In silence.
    pub fn new(patience: Patience) -> Endpointer {
        Endpointer {
            patience,
            state: QUIET,
        }
    }

    /// Whether somebody speaks.
    pub fn is_speaking(&self) -> bool {
        matches!(self.state, State::Speaking { .. })
    }

    /// Takes the score of the next window.
    pub fn hear(&mut self, score: f32) -> Option<Change> {
        match &mut self.state {
            State::Quiet { speech, since } => {
                if score >= BEGINS {
                    *speech += WINDOW_MS;
                    *since += WINDOW_MS;
                    if *speech < self.patience.onset {
                        return None;
                    }
                    let ago = *since;
                    self.state = State::Speaking {
                        spoken: ago,
                        silence: 0,
                    };
                    return Some(Change::Began { ago });
                }
                // A consonant may fall out of the score; as much silence as speech forgets it.
                *speech = speech.saturating_sub(WINDOW_MS);
                *since = if *speech == 0 { 0 } else { *since + WINDOW_MS };
                None
            }
            State::Speaking { spoken, silence } => {
                *spoken += WINDOW_MS;
                *silence = if score < ENDS {
                    *silence + WINDOW_MS
                } else {
                    0
                };
                if *silence < self.patience.pause && *spoken < self.patience.longest {
                    return None;
                }
                self.state = QUIET;
                Some(Change::Finished)
            }
        }
    }
}

#[cfg(test)]
mod tests;
