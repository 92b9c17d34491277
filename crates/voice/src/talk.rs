//! What a device and an agent have said to each other, as far as the model is told of it again.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::limits::{ANSWER_BYTES, SUMMARY_BYTES, TALK_BYTES, TALK_MESSAGES, TOOL_KEPT_BYTES};
use crate::provider::{ChatMessage, ChatModel, Failure, Part, Question, ToolCall};
use crate::turn::cut;

/// What becomes of what is too long ago.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Memory {
    /// It is forgotten.
    #[default]
    None,
    /// The model summarises the older half in the background, and is told the summary. If it fails, that half is
    /// forgotten when its time has come.
    RollingSummary,
}

/// The conversation of one device with an agent: at most [`TALK_MESSAGES`] messages and [`TALK_BYTES`] bytes.
#[derive(Debug, Default)]
pub struct Talk {
    messages: Arc<Vec<ChatMessage>>,
    memory: Memory,
    summarizing: Option<Summarizing>,
}

/// A summary that is being made of the first messages.
#[derive(Debug)]
struct Summarizing {
    count: usize,
    outcome: oneshot::Receiver<Option<String>>,
    task: AbortHandle,
}

impl Drop for Summarizing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Talk {
    /// In which nothing was said yet.
    pub fn new(memory: Memory) -> Talk {
        Talk {
            memory,
            ..Talk::default()
        }
    }

    /// That goes on where another one ended.
    pub fn resume(memory: Memory, messages: Vec<ChatMessage>) -> Talk {
        let mut talk = Talk::new(memory);
        talk.add(messages);
        talk.forget();
        talk
    }

    /// What was said, the oldest first, a summary before it. A turn that has it keeps it as it is.
    pub fn history(&mut self) -> Arc<Vec<ChatMessage>> {
        self.take_summary();
        self.messages.clone()
    }

    /// Puts what happened in a turn behind it ([`Happened::messages`](crate::Happened::messages)). What becomes too
    /// long is forgotten, or `model` summarises it.
    ///
    /// # Panics
    /// Outside of a tokio runtime, with [`Memory::RollingSummary`].
    pub fn append(&mut self, messages: Vec<ChatMessage>, model: &Arc<dyn ChatModel>) {
        self.take_summary();
        self.add(messages);
        if self.memory == Memory::RollingSummary && self.summarizing.is_none() {
            self.summarize(model);
        }
        self.forget();
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.summarizing = None;
        self.messages = Arc::default();
    }

    fn add(&mut self, messages: Vec<ChatMessage>) {
        let all = Arc::make_mut(&mut self.messages);
        for mut message in messages {
            if let ChatMessage::Tool { text, .. } = &mut message {
                text.truncate(cut(text, TOOL_KEPT_BYTES).len());
            }
            match (all.last_mut(), message) {
                // Nothing was answered to the first: many models take no two questions in a row.
                (Some(ChatMessage::User(before)), ChatMessage::User(text)) => {
                    before.push('\n');
                    before.push_str(&text);
                    before.truncate(cut(before, TALK_BYTES / 2).len());
                }
                (_, message) => all.push(message),
            }
        }
    }

    /// Lets go of the oldest until it is within its limits; a tool's answer goes with its call.
    fn forget(&mut self) {
        let mut bytes: usize = self.messages.iter().map(size).sum();
        let mut count = self.messages.len();
        if count <= TALK_MESSAGES && bytes <= TALK_BYTES {
            return;
        }
        let all = Arc::make_mut(&mut self.messages);
        // The summary stays.
        let first = usize::from(matches!(all.first(), Some(ChatMessage::System(_))));
        let mut end = first;
        while end < all.len() {
            let is_within = count <= TALK_MESSAGES && bytes <= TALK_BYTES;
            if is_within && matches!(all[end], ChatMessage::User(_)) {
                break;
            }
            bytes -= size(&all[end]);
            count -= 1;
            end += 1;
        }
        all.drain(first..end);
        if let Some(summarizing) = &mut self.summarizing {
            // What is summarised has just gone; its summary still stands for it.
            let gone = end.min(summarizing.count) - first.min(summarizing.count);
            summarizing.count -= gone;
        }
    }

    /// Begins a summary of the older half, when half of what may be kept is there.
    fn summarize(&mut self, model: &Arc<dyn ChatModel>) {
        let bytes: usize = self.messages.iter().map(size).sum();
        if self.messages.len() <= TALK_MESSAGES / 2 && bytes <= TALK_BYTES / 2 {
            return;
        }
        let half = self.messages.len() / 2;
        let is_question = |at: &usize| matches!(self.messages[*at], ChatMessage::User(_));
        let Some(count) = (1..self.messages.len())
            .filter(is_question)
            .find(|at| *at >= half)
        else {
            return;
        };
        let text = transcript(&self.messages[..count]);
        let model = model.clone();
        let (told, outcome) = oneshot::channel();
        let task = tokio::spawn(async move {
            let summary = timeout(PATIENCE, summary(&*model, text)).await;
            let _ = told.send(match summary {
                Ok(Ok(summary)) if !summary.trim().is_empty() => Some(summary),
                Ok(Err(failure)) => {
                    tracing::warn!(target: "safeport::voice", "no summary was made: {failure}");
                    None
                }
                _ => None,
            });
        });
        self.summarizing = Some(Summarizing {
            count,
            outcome,
            task: task.abort_handle(),
        });
    }

    /// Puts a summary that is ready in the place of what it summarises.
    fn take_summary(&mut self) {
        let Some(summarizing) = &mut self.summarizing else {
            return;
        };
        let outcome = match summarizing.outcome.try_recv() {
            Ok(outcome) => outcome,
            Err(oneshot::error::TryRecvError::Empty) => return,
            Err(oneshot::error::TryRecvError::Closed) => None,
        };
        let count = summarizing.count;
        self.summarizing = None;
        if let Some(summary) = outcome {
            let summary = format!("{HEADING}\n{}", cut(summary.trim(), SUMMARY_BYTES));
            let all = Arc::make_mut(&mut self.messages);
            all.splice(..count, [ChatMessage::System(summary)]);
        }
    }
}

/// Asks for a summary.
async fn summary(model: &dyn ChatModel, text: String) -> Result<String, Failure> {
    let messages = [ChatMessage::System(TASK.into()), ChatMessage::User(text)];
    let question = Question {
        messages: &messages,
        tools: &[],
    };
    let (sink, mut parts) = mpsc::channel(16);
    let read = async {
        let mut text = String::new();
        while let Some(part) = parts.recv().await {
            if let Part::Text(piece) = part
                && text.len() + piece.len() <= ANSWER_BYTES
            {
                text.push_str(&piece);
            }
        }
        text
    };
    let (outcome, text) = tokio::join!(model.answer(question, sink), read);
    outcome.map(|()| text)
}

/// Messages as a text.
fn transcript(messages: &[ChatMessage]) -> String {
    let mut lines = Vec::with_capacity(messages.len());
    for message in messages {
        match message {
            ChatMessage::System(text) => lines.push(text.clone()),
            ChatMessage::User(text) => lines.push(format!("User: {text}")),
            ChatMessage::Assistant { text, calls } => {
                if !text.is_empty() {
                    lines.push(format!("Assistant: {text}"));
                }
                let called =
                    |call: &ToolCall| format!("Assistant called {} {}", call.name, call.arguments);
                lines.extend(calls.iter().map(called));
            }
            ChatMessage::Tool { text, .. } => lines.push(format!("Tool: {text}")),
        }
    }
    lines.join("\n")
}

/// Bytes of a message.
fn size(message: &ChatMessage) -> usize {
    match message {
        ChatMessage::System(text) | ChatMessage::User(text) => text.len(),
        ChatMessage::Tool { call, text } => call.len() + text.len(),
        ChatMessage::Assistant { text, calls } => {
            let calls = calls
                .iter()
                .map(|c| c.id.len() + c.name.len() + c.arguments.len());
            text.len() + calls.sum::<usize>()
        }
    }
}

/// How long a summary may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const HEADING: &str = "Earlier in this conversation:";
const TASK: &str = "Summarise this conversation between a user and a voice assistant in at most 150 words, in the \
    language it was held in. Keep names, wishes, facts about the user, and what was agreed or is still open. Write the \
    summary and nothing else.";

#[cfg(test)]
mod tests;
