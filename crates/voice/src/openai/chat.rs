//! Chat: a conversation in, text and calls of tools out, as the model makes them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::exchange::{Exchange, Miss, Service};
use super::{Endpoint, EndpointError};
use crate::provider::{ChatMessage, ChatModel, Job, Part, Question, Stage, ToolSpec};

mod answer;
mod calls;
mod events;
mod think;

pub use answer::{AnswerError, AnswerReader};

/// A chat model behind `POST {url}/chat/completions`.
///
/// What a model thinks before it answers is not handed on: `reasoning_content`, and what stands between `<think>` and
/// `</think>`. An answer that was cut off at the model's own limit counts as an answer, unless it was cut within a call.
#[derive(Debug)]
pub struct OpenAiChat {
    service: Service,
    answers: AtomicU32,
}

impl OpenAiChat {
    /// Without asking anything yet.
    ///
    /// # Errors
    /// When its URL is none.
    pub fn new(endpoint: Endpoint) -> Result<OpenAiChat, EndpointError> {
        Ok(OpenAiChat {
            service: Service::new(endpoint, Stage::Model, FUNCTION)?,
            answers: AtomicU32::new(0),
        })
    }
}

impl ChatModel for OpenAiChat {
    fn answer<'a>(&'a self, question: Question<'a>, parts: mpsc::Sender<Part>) -> Job<'a, ()> {
        Box::pin(async move {
            let body = body(&self.service.endpoint, question);
            let number = self.answers.fetch_add(1, Ordering::Relaxed);
            let mut exchange = Exchange::new(&self.service);
            loop {
                let mut listener = Listener::Parts(&parts, false);
                let asked = ask(&self.service, &mut exchange, &body, number, &mut listener);
                match asked.await {
                    Ok(()) => return Ok(()),
                    Err(miss) => exchange.ask_again(miss, listener.has_some()).await?,
                }
            }
        })
    }
}

/// Who takes an answer.
pub(super) enum Listener<'a> {
    /// As it comes; and whether something came.
    Parts(&'a mpsc::Sender<Part>, bool),
    /// Only the text, as a whole.
    Text(&'a mut String),
}

impl Listener<'_> {
    /// Whether something of the answer has been used.
    fn has_some(&self) -> bool {
        matches!(self, Listener::Parts(_, true))
    }

    /// Hands a part over; `false` if nobody wants it any more.
    async fn hand(&mut self, part: Part) -> bool {
        match (self, part) {
            (Listener::Parts(parts, some), part) => {
                *some = true;
                parts.send(part).await.is_ok()
            }
            (Listener::Text(whole), Part::Text(text)) => {
                whole.push_str(&text);
                true
            }
            (Listener::Text(_), Part::Call(_)) => true,
        }
    }
}

/// Asks once.
pub(super) async fn ask(
    service: &Service,
    exchange: &mut Exchange<'_>,
    body: &Value,
    number: u32,
    listener: &mut Listener<'_>,
) -> Result<(), Miss> {
    let mut reply = exchange.post(|request| request.json(body)).await?;
    let mut reader = AnswerReader::new(number);
    let mut parts = Vec::new();
    loop {
        let piece = match reader.could_end() {
            // It has said everything but that this is the end, and some never say that.
            true => exchange.rest(&mut reply, LAST_WORD).await,
            false => exchange.piece(&mut reply).await?,
        };
        let read = match &piece {
            Some(bytes) => reader.feed(bytes, &mut parts),
            None => reader.finish(&mut parts),
        };
        for part in parts.drain(..) {
            if !listener.hand(part).await {
                return Ok(());
            }
        }
        read.map_err(|error| service.misread(error.kind(), &error.to_string()))?;
        if piece.is_none() {
            return Ok(());
        }
        if reader.has_ended() {
            exchange.rest(&mut reply, LAST_BYTES).await;
            return Ok(());
        }
    }
}

fn body(endpoint: &Endpoint, question: Question<'_>) -> Value {
    let messages: Vec<Value> = question.messages.iter().map(message).collect();
    let mut body = Map::new();
    body.insert("model".into(), endpoint.model.as_str().into());
    body.insert("messages".into(), messages.into());
    body.insert("stream".into(), true.into());
    if !question.tools.is_empty() {
        let tools: Vec<Value> = question.tools.iter().map(tool).collect();
        body.insert("tools".into(), tools.into());
    }
    body.extend(endpoint.extra.clone());
    body.into()
}

fn message(message: &ChatMessage) -> Value {
    match message {
        ChatMessage::System(text) => json!({ "role": "system", "content": text }),
        ChatMessage::User(text) => json!({ "role": "user", "content": text }),
        ChatMessage::Assistant { text, calls } if calls.is_empty() => {
            json!({ "role": "assistant", "content": text })
        }
        ChatMessage::Assistant { text, calls } => {
            let calls = calls.iter().map(|call| {
                let function = json!({ "name": call.name, "arguments": call.arguments });
                json!({ "id": call.id, "type": "function", "function": function })
            });
            // An empty text and not null: templates of models that run at home print `None` for that.
            json!({ "role": "assistant", "content": text, "tool_calls": calls.collect::<Vec<_>>() })
        }
        ChatMessage::Tool { call, text } => {
            json!({ "role": "tool", "tool_call_id": call, "content": text })
        }
    }
}

fn tool(tool: &ToolSpec) -> Value {
    json!({
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    })
}

pub(super) const FUNCTION: &str = "chat/completions";

/// For `[DONE]`, once the model has said why it stopped.
const LAST_WORD: Duration = Duration::from_secs(1);

/// For the end of the connection's answer behind `[DONE]`.
const LAST_BYTES: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
