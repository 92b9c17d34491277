//! One tool of a device, and the pages in which they are listed.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{CallError, cut};
use crate::limits::{MAX_ARGUMENTS, MAX_TOOL, MAX_TOOL_NAME};

/// A tool of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name on the device, as in `self.audio_speaker.set_volume`.
    pub name: Box<str>,
    /// What it does, in the words of the firmware.
    pub description: Box<str>,
    /// The JSON Schema of its arguments: the text of an object.
    pub schema: Box<str>,
    /// It is for people, not for a language model: it restarts the device, or installs firmware.
    pub user_only: bool,
}

/// Tools of stock firmware that are for people. It marks them so since 1.9.0; a build that lists
/// them without the mark is not to be restarted by a model either.
const USER_ONLY: [&str; 7] = [
    "self.get_system_info",
    "self.reboot",
    "self.upgrade_firmware",
    "self.screen.get_info",
    "self.screen.snapshot",
    "self.screen.preview_image",
    "self.assets.set_download_url",
];

/// A page of the list.
pub(super) struct Page {
    pub(super) tools: Vec<Tool>,
    pub(super) next: Option<String>,
    /// Some of it was no tool, or larger than tools may be.
    pub(super) left_out: bool,
}

#[derive(Deserialize)]
struct WirePage<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(rename = "nextCursor")]
    next_cursor: Option<Value>,
}

#[derive(Deserialize)]
struct WireTool {
    name: String,
    #[serde(default)]
    description: Value,
    #[serde(rename = "inputSchema", default)]
    schema: Value,
    #[serde(default)]
    annotations: Value,
}

impl Page {
    pub(super) fn read(result: &str) -> Option<Page> {
        let wire: WirePage<'_> = serde_json::from_str(result).ok()?;
        let count = wire.tools.len();
        let tools: Vec<Tool> = wire
            .tools
            .into_iter()
            .filter(|tool| tool.get().len() <= MAX_TOOL)
            .filter_map(|tool| serde_json::from_str(tool.get()).ok())
            .filter_map(Tool::new)
            .collect();
        let next = match wire.next_cursor {
            Some(Value::String(next)) if !next.is_empty() => Some(next),
            _ => None,
        };
        Some(Page {
            left_out: tools.len() < count,
            tools,
            next,
        })
    }
}

impl Tool {
    fn new(wire: WireTool) -> Option<Tool> {
        if wire.name.is_empty() || wire.name.len() > MAX_TOOL_NAME {
            return None;
        }
        let audience = &wire.annotations["audience"];
        let has = |who: &str| match audience {
            Value::Array(all) => all.iter().any(|one| one == who),
            one => one == who,
        };
        let schema = match wire.schema {
            Value::Object(mut schema) => {
                // Interfaces of models refuse a schema without these.
                schema.insert("type".into(), "object".into());
                let properties = schema.entry("properties");
                properties.or_insert_with(|| Value::Object(Map::new()));
                Value::Object(schema).to_string()
            }
            _ => r#"{"properties":{},"type":"object"}"#.to_string(),
        };
        Some(Tool {
            user_only: has("user") && !has("assistant") || USER_ONLY.contains(&wire.name.as_str()),
            name: wire.name.into(),
            description: wire.description.as_str().unwrap_or_default().into(),
            schema: schema.into(),
        })
    }

    /// Bytes that it takes.
    pub(super) fn size(&self) -> usize {
        self.name.len() + self.description.len() + self.schema.len()
    }

    /// The arguments of a call as the device takes them. `text` is a JSON object; nothing stands
    /// for an empty one.
    ///
    /// Firmware takes an argument of another type than its own for a missing one, and models write
    /// numbers in quotes: what can be read as the type that the schema wants becomes that type.
    pub(super) fn arguments(&self, text: &str) -> Result<Value, CallError> {
        if text.len() > MAX_ARGUMENTS {
            return Err(CallError::ArgumentsTooLong);
        }
        if text.trim().is_empty() {
            return Ok(Value::Object(Map::new()));
        }
        let Ok(Value::Object(mut arguments)) = serde_json::from_str(text) else {
            return Err(CallError::NoArguments {
                tool: cut(&self.name, MAX_TOOL_NAME),
            });
        };
        let schema: Value = serde_json::from_str(&self.schema).unwrap_or_default();
        for (name, value) in &mut arguments {
            let wanted = schema["properties"][name]["type"].as_str();
            if let Some(better) = wanted.and_then(|wanted| retyped(value, wanted)) {
                *value = better;
            }
        }
        Ok(Value::Object(arguments))
    }
}

fn retyped(value: &Value, wanted: &str) -> Option<Value> {
    match (wanted, value) {
        ("integer", Value::String(text)) => text.trim().parse().ok().map(|n: i64| n.into()),
        ("number", Value::String(text)) => text.trim().parse().ok().map(|n: f64| n.into()),
        ("boolean", Value::String(text)) => text.trim().parse().ok().map(|b: bool| b.into()),
        ("string", Value::Number(number)) => Some(number.to_string().into()),
        ("string", Value::Bool(word)) => Some(word.to_string().into()),
        _ => None,
    }
}
