//! What a FunASR server says it has heard, and whether that is all. Pure.

use std::time::Duration;

use serde_json::Value;

use super::FunAsrMode;
use crate::limits::{FUNASR_SETTLE_MS, FUNASR_TEXT_BYTES};
use crate::provider::FailureKind;
use crate::websocket::Trouble;

/// One answer of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    text: String,
    /// Whether it is a piece that a better result replaces when its sentence is over.
    passing: bool,
    last: Option<bool>,
}

impl Answer {
    /// Reads one message. A message that is neither a text nor an error is taken for an answer without words.
    ///
    /// # Errors
    /// [`FailureKind::Misunderstood`] when it is no JSON object, [`FailureKind::Failed`] when it says that something
    /// went wrong.
    pub(super) fn read(message: &str) -> Result<Answer, Trouble> {
        let Ok(Value::Object(said)) = serde_json::from_str(message) else {
            return Err(Trouble::new(
                FailureKind::Misunderstood,
                "it sent something else than a JSON object; look at its url",
            ));
        };
        let text = said.get("text").and_then(Value::as_str);
        if let (None, Some(error)) = (text, said.get("error")) {
            let error = error
                .as_str()
                .map_or_else(|| error.to_string(), str::to_owned);
            let error: String = error.chars().take(SHOWN).collect();
            return Err(Trouble::new(
                FailureKind::Failed,
                format!("it says: {error}"),
            ));
        }
        let mode = said.get("mode").and_then(Value::as_str).unwrap_or_default();
        Ok(Answer {
            text: without_tags(text.unwrap_or_default()),
            passing: mode.ends_with("online"),
            last: said.get("is_final").and_then(Value::as_bool),
        })
    }
}

/// What a server has heard of one utterance.
///
/// When it is complete is the riddle of this protocol. By its document `is_final` marks the last answer. The C++ server
/// for real time does that; the one for files answers once and says false (FunASR issues 1979, 2054). The Python server
/// sends whether somebody is *still speaking*: true with all that comes before the end, false with what comes after, and
/// its older versions say nothing more when they have noticed the end themselves. So the answers before the end teach
/// what the mark means, and where that is not enough a short quiet decides.
#[derive(Debug)]
pub(super) struct Hearing {
    mode: FunAsrMode,
    /// What no better result will replace.
    settled: String,
    /// What was heard since.
    passing: String,
    marks: Marks,
    ended: bool,
    answered: bool,
    all: bool,
    full: bool,
}

/// What came as `is_final` while somebody was speaking.
#[derive(Debug, Default, Clone, Copy)]
struct Marks {
    yes: bool,
    no: bool,
}

impl Hearing {
    pub(super) fn new(mode: FunAsrMode) -> Hearing {
        Hearing {
            mode,
            settled: String::new(),
            passing: String::new(),
            marks: Marks::default(),
            ended: false,
            answered: false,
            all: false,
            full: false,
        }
    }

    /// Takes what it says.
    pub(super) fn take(&mut self, answer: Answer) {
        self.answered = true;
        let settles = !answer.passing || self.mode == FunAsrMode::Online;
        // A last answer without words must not take away what was heard.
        if settles && !answer.text.trim().is_empty() {
            self.passing.clear();
        }
        self.full |=
            self.settled.len() + self.passing.len() + answer.text.len() > FUNASR_TEXT_BYTES;
        if !self.full {
            join(
                if settles {
                    &mut self.settled
                } else {
                    &mut self.passing
                },
                &answer.text,
            );
        }
        if !self.ended {
            match answer.last {
                Some(true) => self.marks.yes = true,
                Some(false) => self.marks.no = true,
                None => {}
            }
            return;
        }
        self.all |= match (self.marks, answer.last) {
            // It has marked nothing before, so the mark is what the document says.
            (Marks { yes: false, .. }, Some(true)) => true,
            // It says that nobody speaks any more.
            (
                Marks {
                    yes: true,
                    no: false,
                },
                Some(false),
            ) => settles,
            // One answer is all there is, marked or not.
            (
                Marks {
                    yes: false,
                    no: false,
                },
                _,
            ) => self.mode == FunAsrMode::Offline,
            _ => false,
        };
    }

    /// They have finished, and the server knows.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether nothing more will come that matters.
    pub(super) fn is_all(&self) -> bool {
        self.all || self.full
    }

    /// How long a quiet from now on means that this is all; `None`: any quiet may end.
    pub(super) fn settles_in(&self) -> Option<Duration> {
        // A server that keeps the mark for the end will set it.
        let will_say = self.marks.no && !self.marks.yes;
        let whole = self.passing.is_empty() && self.answered;
        (self.ended && whole && !will_say).then_some(Duration::from_millis(FUNASR_SETTLE_MS))
    }

    /// Whether it has answered at all.
    pub(super) fn has_heard(&self) -> bool {
        self.answered
    }

    /// The words: those that are settled, and behind them those that never were.
    pub(super) fn into_text(mut self) -> String {
        join(&mut self.settled, &self.passing);
        self.settled.trim().to_owned()
    }
}

/// Without the marks of a model (`<|zh|><|NEUTRAL|>`): they are no words.
fn without_tags(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("<|") {
        let Some(length) = rest[start..].find("|>") else {
            break;
        };
        words.push_str(&rest[..start]);
        rest = &rest[start + length + 2..];
    }
    words.push_str(rest);
    words
}

/// Puts a part behind what is there; Latin words keep apart, Chinese ones stand together.
fn join(text: &mut String, part: &str) {
    let apart = |end: Option<char>| end.is_some_and(|end| end.is_ascii() && !end.is_whitespace());
    if apart(text.chars().next_back())
        && part.starts_with(|first: char| first.is_ascii_alphanumeric())
    {
        text.push(' ');
    }
    text.push_str(part);
}

/// Characters that are shown of what a server says of itself.
const SHOWN: usize = 200;

#[cfg(test)]
mod tests;
