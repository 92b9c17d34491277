//! One JSON object of a stranger, field by field, none of which need be what it should.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Heard, Json, MessageError};
use crate::limits::{MAX_FIELDS, MAX_MESSAGE};

/// The fields of an object. Of two with the same name, the first counts, as for the device's own
/// parser.
pub(super) struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// Names of the fields that were not what they should be.
pub(super) type Wrong = Vec<&'static str>;

/// Reads a message: `meaning` is told its type.
pub(super) fn read<'a, M>(
    text: &'a [u8],
    meaning: impl FnOnce(Cow<'a, str>, &Fields<'a>, &mut Wrong) -> M,
) -> Result<Heard<'a, M>, MessageError> {
    if text.len() > MAX_MESSAGE {
        return Err(MessageError::Long { bytes: text.len() });
    }
    let raw: &RawValue = serde_json::from_slice(text).map_err(|_| MessageError::NotAnObject)?;
    let fields = Fields::of(raw).ok_or(MessageError::NotAnObject)?;
    let mut wrong = Wrong::new();
    let kind = fields.text("type", &mut wrong);
    let kind = kind.ok_or(MessageError::NoType)?;
    let session_id = fields.text("session_id", &mut wrong);
    let message = meaning(kind, &fields, &mut wrong);
    Ok(Heard {
        message,
        session_id,
        wrong,
    })
}

impl<'a> Fields<'a> {
    fn of(raw: &'a RawValue) -> Option<Fields<'a>> {
        let mut text = serde_json::Deserializer::from_str(raw.get());
        text.deserialize_map(Pairs).ok().map(Fields)
    }

    /// The value of this name; `null` is none.
    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        (value.get() != "null").then_some(*value)
    }

    /// A value of any type.
    pub(super) fn json(&self, name: &str) -> Option<Json<'a>> {
        self.raw(name).map(Json::raw)
    }

    /// A text.
    pub(super) fn text(&self, name: &'static str, wrong: &mut Wrong) -> Option<Cow<'a, str>> {
        let json = self.raw(name)?.get();
        let inner = json.strip_prefix('"').and_then(|s| s.strip_suffix('"'));
        said(name, wrong, || match inner {
            Some(text) if !text.contains('\\') => Some(Cow::Borrowed(text)),
            _ => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
        })
    }

    /// A whole number.
    pub(super) fn number(&self, name: &'static str, wrong: &mut Wrong) -> Option<u64> {
        let json = self.raw(name)?.get();
        // cJSON keeps every number as a double, so that 3 and 3.0 are the same to a device.
        let whole = |number: f64| {
            let in_range = (0.0..=9_007_199_254_740_992.0).contains(&number);
            (in_range && number as u64 as f64 == number).then_some(number as u64)
        };
        said(name, wrong, || {
            json.parse()
                .ok()
                .or_else(|| json.parse().ok().and_then(whole))
        })
    }

    /// A truth.
    pub(super) fn flag(&self, name: &'static str, wrong: &mut Wrong) -> Option<bool> {
        let json = self.raw(name)?.get();
        said(name, wrong, || json.parse().ok())
    }

    /// An object.
    pub(super) fn object(&self, name: &'static str, wrong: &mut Wrong) -> Option<Fields<'a>> {
        let raw = self.raw(name)?;
        said(name, wrong, || Fields::of(raw))
    }

    /// The objects of a list, `most` of them; what is none is named, and left out.
    pub(super) fn objects(
        &self,
        name: &'static str,
        most: usize,
        wrong: &mut Wrong,
    ) -> Option<Vec<Fields<'a>>> {
        let raw = self.raw(name)?;
        let mut text = serde_json::Deserializer::from_str(raw.get());
        let items = said(name, wrong, || text.deserialize_seq(Items { most }).ok())?;
        let objects: Vec<_> = items.iter().filter_map(|item| Fields::of(item)).collect();
        if objects.len() < items.len() {
            mark(name, wrong);
        }
        Some(objects)
    }
}

/// What `read` makes of a field that is there; names the field if it makes nothing of it.
fn said<T>(name: &'static str, wrong: &mut Wrong, read: impl FnOnce() -> Option<T>) -> Option<T> {
    let value = read();
    if value.is_none() {
        mark(name, wrong);
    }
    value
}

/// Names a field, once.
pub(super) fn mark(name: &'static str, wrong: &mut Wrong) {
    if !wrong.contains(&name) {
        wrong.push(name);
    }
}

/// As much of a text as fits into `most` bytes.
pub(super) fn cut(text: Cow<'_, str>, most: usize) -> Cow<'_, str> {
    match text.len() > most {
        false => text,
        true => Cow::Owned(text[..text.floor_char_boundary(most)].to_string()),
    }
}

struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::with_capacity(8);
        while let Some(key) = map.next_key::<&RawValue>()? {
            if pairs.len() == MAX_FIELDS {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let inner = key.get().trim_matches('"');
            let name = match inner.contains('\\') {
                false => Cow::Borrowed(inner),
                true => Cow::Owned(serde_json::from_str(key.get()).unwrap_or_default()),
            };
            pairs.push((name, map.next_value()?));
        }
        Ok(pairs)
    }
}

struct Items {
    most: usize,
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.most {
            match list.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}
