//! The answer of a chat model, read from the bytes that a service sends.

use serde_json::Value;
use thiserror::Error;

use super::calls::Calls;
use super::events::{Event, Events};
use super::think::ThinkFilter;
use crate::limits::{ANSWER_TEXT_BYTES, STREAM_BYTES};
use crate::openai::refusal::Refusal;
use crate::provider::{FailureKind, Part};

/// Reads one answer, in pieces of any length: a stream of server-sent events, or one JSON object.
#[derive(Debug)]
pub struct AnswerReader {
    form: Form,
    bytes: usize,
    think: ThinkFilter,
    calls: Calls,
    /// Bytes of text that were given out.
    said: usize,
    /// For the ids of calls that have none.
    number: u32,
    /// Something of an answer came.
    begun: bool,
    /// Why the model stopped, once it has.
    stopped: Option<String>,
    ended: bool,
}

#[derive(Debug)]
enum Form {
    /// Nothing that tells has come yet.
    Unknown(Vec<u8>),
    Stream {
        events: Events,
        /// What it began with, in case it is no stream at all.
        head: Vec<u8>,
    },
    Whole(Vec<u8>),
}

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// The service says so itself.
    #[error("{words}")]
    Refused {
        /// As its code or type says; [`FailureKind::Failed`] if they say nothing.
        kind: FailureKind,
        /// Its own words. They may repeat a key.
        words: String,
    },
    /// A web page.
    #[error("it answered with a web page")]
    Page,
    /// Neither a stream of events nor JSON, or without what belongs in it.
    #[error("the answer is not that of a chat model: {0}")]
    Strange(String),
    /// More of this than the limits allow.
    #[error("the answer is too long: {0}")]
    TooLong(&'static str),
    /// It ended before the model had stopped.
    #[error("the answer ended in the middle")]
    Cut,
    /// The model stopped within the arguments of a call.
    #[error(
        "the model came to its limit of tokens within the call of a tool; allow it more with `max_tokens` in `extra`"
    )]
    CutCall,
    /// Nothing is left of it.
    #[error("the service's filter for content took the whole answer away")]
    Filtered,
}

impl AnswerError {
    /// As a turn is told.
    pub fn kind(&self) -> FailureKind {
        match self {
            AnswerError::Refused { kind, .. } => *kind,
            AnswerError::Page | AnswerError::Strange(_) | AnswerError::TooLong(_) => {
                FailureKind::Misunderstood
            }
            AnswerError::Cut => FailureKind::Broken,
            AnswerError::CutCall | AnswerError::Filtered => FailureKind::Refused,
        }
    }
}

impl AnswerReader {
    /// Before the first byte. `number` makes the ids of calls differ from those of other answers.
    pub fn new(number: u32) -> AnswerReader {
        AnswerReader {
            form: Form::Unknown(Vec::new()),
            bytes: 0,
            think: ThinkFilter::new(),
            calls: Calls::default(),
            said: 0,
            number,
            begun: false,
            stopped: None,
            ended: false,
        }
    }

    /// Takes the next bytes, and appends the parts that they complete.
    ///
    /// # Errors
    /// [`AnswerError`]; the parts before it are appended, and there are no others.
    pub fn feed(&mut self, bytes: &[u8], parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        self.bytes += bytes.len();
        if self.bytes > STREAM_BYTES {
            return Err(AnswerError::TooLong("more than 16 MB"));
        }
        match &mut self.form {
            Form::Unknown(held) => {
                held.extend_from_slice(bytes);
                let Some(form) = Form::told_by(held) else {
                    return Ok(());
                };
                let held = std::mem::take(held);
                self.form = form?;
                self.feed_known(&held, parts)
            }
            _ => self.feed_known(bytes, parts),
        }
    }

    /// Nothing more comes. Appends what was held back.
    ///
    /// # Errors
    /// When this is not a whole answer.
    pub fn finish(&mut self, parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        let mut head = Vec::new();
        match &mut self.form {
            Form::Unknown(_) => {}
            Form::Stream { events, head: h } => {
                head = std::mem::take(h);
                let mut last = Vec::new();
                events.finish(&mut last);
                for event in last {
                    // A half event is one that was cut off.
                    match self.event(&event, parts) {
                        Err(AnswerError::Strange(_)) => return Err(AnswerError::Cut),
                        read => read?,
                    }
                }
            }
            Form::Whole(body) => {
                let body = std::mem::take(body);
                let value: Value =
                    serde_json::from_slice(&body).map_err(|error| match error.is_eof() {
                        true => AnswerError::Cut,
                        false => strange(&body),
                    })?;
                self.value(&value, false, parts)?;
                if !self.begun {
                    return Err(strange(&body));
                }
                return self.end(parts);
            }
        }
        match self.could_end() || self.ended {
            true => self.end(parts),
            false if self.begun || head.is_empty() || is_stream(&head) => Err(AnswerError::Cut),
            false => Err(strange(&head)),
        }
    }

    /// Whether the model has said why it stopped: nothing is missing then.
    pub fn could_end(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whether the service has said that this is all.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn feed_known(&mut self, bytes: &[u8], parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        match &mut self.form {
            Form::Stream { events, head } => {
                let room = HEAD.saturating_sub(head.len());
                head.extend_from_slice(&bytes[..room.min(bytes.len())]);
                let mut came = Vec::new();
                let read = events.feed(bytes, &mut came);
                for event in came {
                    self.event(&event, parts)?;
                }
                read.map_err(|_| AnswerError::TooLong("an event of more than 1 MB"))
            }
            Form::Unknown(body) | Form::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    fn event(&mut self, event: &Event, parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        let data = event.data.trim();
        if self.ended || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            self.begun = true;
            return self.end(parts);
        }
        let value = serde_json::from_str(data).map_err(|_| strange(data.as_bytes()))?;
        self.value(&value, event.kind == "error", parts)
    }

    /// A piece of a streamed answer, or a whole one.
    fn value(
        &mut self,
        value: &Value,
        is_error: bool,
        parts: &mut Vec<Part>,
    ) -> Result<(), AnswerError> {
        let refusal = Refusal::of(value).or_else(|| {
            let words = value.to_string();
            let kind = FailureKind::Failed;
            is_error.then_some(Refusal { kind, words })
        });
        if let Some(Refusal { kind, words }) = refusal {
            return Err(AnswerError::Refused { kind, words });
        }
        let choices = value["choices"].as_array().into_iter().flatten();
        let mut first = choices.filter(|choice| choice["index"].as_u64().unwrap_or(0) == 0);
        let Some(choice) = first.next() else {
            // How much it cost, and the like.
            return Ok(());
        };
        self.begun = true;
        let delta = match &choice["delta"] {
            // At the end of a stream some repeat the whole answer.
            Value::Null if self.said > 0 => &Value::Null,
            Value::Null => &choice["message"],
            delta => delta,
        };
        self.text(&delta["content"], parts)?;
        self.text(&delta["refusal"], parts)?;
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            self.calls.take(piece)?;
        }
        if let Some(reason) = choice["finish_reason"].as_str().filter(|r| !r.is_empty()) {
            self.stopped = Some(reason.to_string());
        }
        Ok(())
    }

    fn text(&mut self, content: &Value, parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        let mut said = String::new();
        match content {
            Value::String(text) => self.think.feed(text, &mut said),
            // Mistral: pieces of several kinds, of which only one is text.
            Value::Array(pieces) => {
                let texts = pieces.iter().filter(|piece| piece["type"] == "text");
                for text in texts.filter_map(|piece| piece["text"].as_str()) {
                    self.think.feed(text, &mut said);
                }
            }
            _ => {}
        }
        self.say(&said, parts)
    }

    fn say(&mut self, text: &str, parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        if text.is_empty() {
            return Ok(());
        }
        self.said += text.len();
        if self.said > ANSWER_TEXT_BYTES {
            return Err(AnswerError::TooLong("a text of more than 256 kB"));
        }
        match parts.last_mut() {
            Some(Part::Text(before)) => before.push_str(text),
            _ => parts.push(Part::Text(text.to_string())),
        }
        Ok(())
    }

    /// Gives out what is held, once.
    fn end(&mut self, parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let mut held = String::new();
        self.think.finish(&mut held);
        self.say(&held, parts)?;
        let nothing = self.said == 0 && self.calls.is_empty();
        match self.stopped.as_deref() {
            Some("length") if self.calls.are_cut() => return Err(AnswerError::CutCall),
            Some("content_filter" | "sensitive") if nothing => return Err(AnswerError::Filtered),
            Some("error" | "network_error") => {
                return Err(AnswerError::Refused {
                    kind: FailureKind::Failed,
                    words: "the model stopped with an error".into(),
                });
            }
            _ => {}
        }
        self.calls.give(self.number, parts)
    }
}

impl Form {
    /// What the first byte that is no white space tells.
    fn told_by(held: &[u8]) -> Option<Result<Form, AnswerError>> {
        let mark = "\u{feff}".as_bytes();
        if held.len() < mark.len() && mark.starts_with(held) {
            return None;
        }
        let text = held.strip_prefix(mark).unwrap_or(held);
        match text.trim_ascii_start().first()? {
            b'{' | b'[' | b'"' => Some(Ok(Form::Whole(Vec::new()))),
            b'<' => Some(Err(AnswerError::Page)),
            _ => Some(Ok(Form::Stream {
                events: Events::default(),
                head: Vec::new(),
            })),
        }
    }
}

/// Whether this is how server-sent events begin.
fn is_stream(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let fields: [&[u8]; 5] = [b":", b"data", b"event", b"id", b"retry"];
    fields.iter().any(|field| head.starts_with(field))
}

fn strange(body: &[u8]) -> AnswerError {
    let shown = &body[..body.len().min(4 * HEAD)];
    AnswerError::Strange(String::from_utf8_lossy(shown).into_owned())
}

/// Bytes that are kept of what may turn out to be no stream.
const HEAD: usize = 512;

#[cfg(test)]
mod tests;
