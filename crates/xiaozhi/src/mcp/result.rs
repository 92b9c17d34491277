//! What a tool of a device answers.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::cut;
use crate::limits::{MAX_RESULT_PARTS, MAX_RESULT_TEXT};

/// The answer of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// Its parts.
    pub content: Vec<Content>,
    /// The tool ran, and says that it failed.
    pub is_error: bool,
    /// Not all of it is here: it was longer than [`MAX_RESULT_TEXT`], or had more parts than
    /// [`MAX_RESULT_PARTS`].
    pub cut: bool,
}

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Words, often JSON.
    Text(String),
    /// A picture.
    Image {
        /// Its type, such as `image/jpeg`.
        mime: String,
        /// Its bytes in base64.
        base64: String,
    },
    /// Something that is not known here.
    Other {
        /// What it calls itself.
        kind: String,
    },
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    content: Vec<&'a RawValue>,
    #[serde(rename = "isError", default)]
    is_error: Value,
}

impl ToolResult {
    /// Reads the `result` of a call. One that is not made as it should be is taken for a text:
    /// a model can make something of it.
    pub(super) fn read(result: &str) -> ToolResult {
        let Ok(wire) = serde_json::from_str::<Wire<'_>>(result) else {
            let mut room = MAX_RESULT_TEXT;
            let text = match serde_json::from_str(result) {
                Ok(Value::String(text)) => text,
                _ => result.to_string(),
            };
            let content = Vec::from([Content::Text(taken(&text, &mut room))]);
            return ToolResult {
                cut: text.len() > MAX_RESULT_TEXT,
                content,
                is_error: false,
            };
        };
        let mut room = MAX_RESULT_TEXT;
        let mut cut = wire.content.len() > MAX_RESULT_PARTS;
        let parts = wire.content.into_iter().take(MAX_RESULT_PARTS);
        let content = parts
            .map(|part| Content::read(part.get(), &mut room, &mut cut))
            .collect();
        ToolResult {
            content,
            is_error: wire.is_error == true,
            cut,
        }
    }

    /// All of it as a text for a language model; pictures are named, not shown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.content {
            if !text.is_empty() {
                text.push('\n');
            }
            match part {
                Content::Text(words) => text.push_str(words),
                Content::Image { mime, .. } => {
                    text.push('[');
                    text.push_str(mime);
                    text.push(']');
                }
                Content::Other { kind } => {
                    text.push('[');
                    text.push_str(kind);
                    text.push(']');
                }
            }
        }
        if self.cut {
            text.push_str("\n[the rest was cut off]");
        }
        text
    }
}

impl Content {
    fn read(part: &str, room: &mut usize, was_cut: &mut bool) -> Content {
        let part: Value = serde_json::from_str(part).unwrap_or_default();
        let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_string();
        match part["type"].as_str() {
            Some("text") => {
                let words = text(&part, "text");
                *was_cut |= words.len() > *room;
                Content::Text(taken(&words, room))
            }
            Some("image") => {
                // Firmware packs the object of the standard into a text.
                let packed = part["image"].as_str();
                let packed = packed.and_then(|packed| serde_json::from_str(packed).ok());
                let image: Value = packed.unwrap_or(part);
                Content::Image {
                    mime: cut(&text(&image, "mimeType"), 64),
                    base64: text(&image, "data"),
                }
            }
            kind => Content::Other {
                kind: cut(kind.unwrap_or("no type"), 64),
            },
        }
    }
}

/// As much of `text` as there is room for.
fn taken(text: &str, room: &mut usize) -> String {
    let text = cut(text, *room);
    *room -= text.len();
    text
}
