//! JSON that is carried and not looked into.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};

use serde_json::value::RawValue;

/// The text of one JSON value, such as the `payload` of an `mcp` message. That it is one has been
/// checked, so that writing it out cannot break the message around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<'a>(Cow<'a, str>);

impl<'a> Json<'a> {
    /// The text as it is, if it is one JSON value.
    pub fn parse(text: impl Into<Cow<'a, str>>) -> Option<Json<'a>> {
        let text = text.into();
        serde_json::from_str::<&RawValue>(&text).ok()?;
        Some(Json(text))
    }

    /// The text of this value.
    pub fn of(value: &serde_json::Value) -> Json<'static> {
        Json(Cow::Owned(value.to_string()))
    }

    /// What a reader found to be one.
    pub(super) fn raw(value: &'a RawValue) -> Json<'a> {
        Json(Cow::Borrowed(value.get()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, which keeps itself.
    pub fn into_owned(self) -> Json<'static> {
        Json(Cow::Owned(self.0.into_owned()))
    }
}

/// Writes one object, key by key.
pub(super) struct Writer(String);

impl Writer {
    /// Begins a message of this type.
    pub(super) fn message(kind: &str, session_id: Option<&str>) -> Writer {
        let mut writer = Writer::object();
        writer.text("type", kind);
        if let Some(id) = session_id {
            writer.text("session_id", id);
        }
        writer
    }

    /// Begins an object without a type.
    pub(super) fn object() -> Writer {
        Writer(String::from("{"))
    }

    /// Adds a text, without zero bytes: the device's parser ends a text at one.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        let text: Cow<'_, str> = match text.contains('\0') {
            true => Cow::Owned(text.replace('\0', "")),
            false => Cow::Borrowed(text),
        };
        self.raw(
            key,
            &serde_json::to_string(text.as_ref()).unwrap_or_default(),
        );
    }

    /// Adds a number or a truth.
    pub(super) fn plain(&mut self, key: &str, value: impl ToString) {
        self.raw(key, &value.to_string());
    }

    /// Adds what is JSON already.
    pub(super) fn raw(&mut self, key: &str, json: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
        self.0.push_str(json);
    }

    /// The whole object.
    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
