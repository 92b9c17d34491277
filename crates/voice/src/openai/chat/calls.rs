//! Calls of tools, put together from the pieces that they come in.

use serde::de::IgnoredAny;
use serde_json::Value;

use super::answer::AnswerError;
use crate::limits::{ANSWER_CALLS, ARGUMENTS_BYTES};
use crate::provider::{Part, ToolCall};

/// The calls of one answer.
///
/// OpenAI numbers them, gives number and name once, and cuts the arguments anywhere. Others send whole calls, without
/// numbers, all with the number 0, without ids, with arguments as an object, or with the name in every piece.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Forming>);

#[derive(Debug, Default)]
struct Forming {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes one piece.
    pub(super) fn take(&mut self, piece: &Value) -> Result<(), AnswerError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let function = &piece["function"];
        let piece = Forming {
            index: piece["index"].as_u64(),
            id: text(&piece["id"]),
            name: text(&function["name"]),
            arguments: match &function["arguments"] {
                Value::Null => String::new(),
                Value::String(arguments) => arguments.clone(),
                value => value.to_string(),
            },
        };
        match self.0.iter().rposition(|call| call.goes_on_with(&piece)) {
            Some(position) => self.0[position].append(piece),
            None if self.0.len() == ANSWER_CALLS => {
                return Err(AnswerError::TooLong("more than 64 calls of tools"));
            }
            None => self.0.push(piece),
        }
        let too_long = |call: &Forming| {
            call.id.len() + call.name.len() + call.arguments.len() > ARGUMENTS_BYTES
        };
        match self.0.iter().any(too_long) {
            true => Err(AnswerError::TooLong("a call of a tool of more than 64 kB")),
            false => Ok(()),
        }
    }

    /// Whether the last call broke off within its arguments.
    pub(super) fn are_cut(&self) -> bool {
        let last = self.0.last();
        last.is_some_and(|call| !call.arguments.trim().is_empty() && !call.is_whole())
    }

    /// Gives them out, each with an id of its own. `number` is that of the answer.
    pub(super) fn give(&mut self, number: u32, parts: &mut Vec<Part>) -> Result<(), AnswerError> {
        let mut ids: Vec<String> = Vec::new();
        for (position, mut call) in std::mem::take(&mut self.0).into_iter().enumerate() {
            if call.name.is_empty() {
                return Err(AnswerError::Strange(
                    "a call of a tool without a name".into(),
                ));
            }
            if call.id.is_empty() || ids.contains(&call.id) {
                // Mistral takes only nine letters and digits. A model may have made up one of these itself.
                let ours = (position..100).chain(0..position);
                let mut ours =
                    ours.map(|position| format!("c{:06}{position:02}", number % 1_000_000));
                let free = ours.find(|id| !ids.contains(id));
                call.id = free.expect("an answer has fewer calls");
            }
            ids.push(call.id.clone());
            if call.arguments.trim().is_empty() {
                call.arguments = "{}".to_string();
            }
            parts.push(Part::Call(ToolCall {
                id: call.id,
                name: call.name,
                arguments: call.arguments,
            }));
        }
        Ok(())
    }
}

impl Forming {
    /// Whether a piece belongs to this call. The last of those that it may belong to is asked first.
    fn goes_on_with(&self, piece: &Forming) -> bool {
        if !piece.id.is_empty() && !self.id.is_empty() && piece.id != self.id {
            return false;
        }
        let same_id = !piece.id.is_empty() && piece.id == self.id;
        // The name of a call that is whole, with arguments: this is the next one.
        let begins = !piece.name.is_empty() && !piece.arguments.is_empty() && !same_id;
        match (self.index, piece.index) {
            _ if begins && self.is_whole() => false,
            (Some(index), Some(of_piece)) => index == of_piece,
            // Without a number, an id or a name begins a call.
            _ => same_id || (piece.id.is_empty() && piece.name.is_empty()),
        }
    }

    fn append(&mut self, piece: Forming) {
        if self.id.is_empty() {
            self.id = piece.id;
        }
        // Some repeat the name in each piece.
        if self.name.is_empty() {
            self.name = piece.name;
        }
        self.arguments.push_str(&piece.arguments);
    }

    fn is_whole(&self) -> bool {
        self.arguments.trim_end().ends_with('}')
            && serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok()
    }
}
