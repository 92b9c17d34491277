//! What devices say of themselves in MQTT messages, whatever firmware they run.
//! Nothing here fails: a message that says nothing is none.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use crate::sighting::{Facts, Identity, Text};
use crate::{espeasy, esphome, limits, tasmota};

/// What one message told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Of which device.
    pub identities: Vec<Identity>,
    /// What.
    pub facts: Facts,
    /// Any program might send such a message: it tells something only of a
    /// device that is known.
    pub vague: bool,
}

/// Filters of all messages that [`read`] understands, for a broker's observer.
/// A FullTopic of Tasmota may put up to three levels of its own before or
/// behind.
pub fn filters() -> Vec<String> {
    let mut filters: Vec<String> = Vec::new();
    for kind in tasmota::OBSERVED {
        for before in ["+/+/", "+/+/+/", "+/+/+/+/"] {
            filters.push([before, kind].concat());
        }
    }
    let others = espeasy::OBSERVED.iter().chain(esphome::OBSERVED);
    let fixed = tasmota::DISCOVERY.iter().chain(others);
    filters.extend(fixed.map(|filter| String::from(*filter)));
    filters.sort();
    filters.dedup();
    filters
}

/// What a message tells that was received at `at`, in seconds since 1970.
pub fn read(topic: &str, payload: &[u8], at: u64) -> Option<Heard> {
    if topic.len() > limits::MAX_FILTER || payload.is_empty() {
        return None;
    }
    tasmota::read(topic, payload, at)
        .or_else(|| espeasy::read(topic, payload))
        .or_else(|| esphome::read(topic, payload, at))
}

impl Heard {
    /// Nothing yet, of a device with this firmware.
    pub(crate) fn of(family: crate::Family) -> Heard {
        let mut heard = Heard::default();
        heard.facts.family = Some(family);
        heard
    }

    pub(crate) fn identify(&mut self, identity: Option<Identity>) {
        if let Some(identity) = identity
            && !self.identities.contains(&identity)
        {
            self.identities.push(identity);
        }
    }
}

/// The payload as a JSON object. Firmware writes names without minding their
/// characters, so bytes that are no UTF-8 are passed over.
pub(crate) fn object(payload: &[u8]) -> Option<Map<String, Value>> {
    if payload.first() != Some(&b'{') || payload.len() > limits::MAX_HEARD {
        return None;
    }
    let text: Cow<'_, str> = String::from_utf8_lossy(payload);
    serde_json::from_str(&text).ok()
}

/// A text of an object that says something, cut to what is kept.
pub(crate) fn text(object: &Map<String, Value>, key: &str) -> Option<Text> {
    short(object.get(key)?.as_str()?)
}

/// The same of a text alone.
pub(crate) fn short(text: &str) -> Option<Text> {
    let text = text.trim();
    let mut end = text.len().min(limits::MAX_IDENTITY);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.into())
}

/// A number that fits, given as one or as digits.
pub(crate) fn number<N: TryFrom<i64>>(object: &Map<String, Value>, key: &str) -> Option<N> {
    let value = object.get(key)?;
    let number = match value {
        Value::String(digits) => digits.trim().parse().ok()?,
        // Some values come as 4096.0.
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|number| number as i64))?,
        _ => return None,
    };
    number.try_into().ok()
}

/// An object in an object.
pub(crate) fn inner<'v>(
    object: &'v Map<String, Value>,
    key: &str,
) -> Option<&'v Map<String, Value>> {
    object.get(key)?.as_object()
}

#[cfg(test)]
mod tests;
