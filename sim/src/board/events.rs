//! What a pretend board tells of itself: one value for each thing that happened.

use serde_json::{Map, Value};
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Something that happened to a board.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Since the board was switched on, in real time.
    pub at: Duration,
    /// Its name.
    pub device: String,
    /// What happened: `booted`, `ota_request`, … (docs/simulate.md lists them).
    pub name: &'static str,
    /// The rest.
    pub fields: Map<String, Value>,
}

impl Event {
    /// As one JSON object: `at` in seconds, `device`, `event`, then the fields.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        let seconds = (self.at.as_secs_f64() * 1000.0).round() / 1000.0;
        object.insert("at".into(), seconds.into());
        object.insert("device".into(), self.device.clone().into());
        object.insert("event".into(), self.name.into());
        object.extend(self.fields.clone());
        Value::Object(object)
    }

    /// A text field; empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.fields
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:8.3} {} {}",
            self.at.as_secs_f64(),
            self.device,
            self.name
        )?;
        for (key, value) in &self.fields {
            match value {
                Value::String(text) => write!(f, " {key}={text}")?,
                other => write!(f, " {key}={other}")?,
            }
        }
        Ok(())
    }
}

/// Where a board tells it. Nobody has to listen.
#[derive(Debug, Clone)]
pub struct Events {
    device: String,
    began: Instant,
    to: mpsc::UnboundedSender<Event>,
}

impl Events {
    /// For the board of that name; the other end gets what it tells.
    pub fn new(device: impl Into<String>) -> (Events, mpsc::UnboundedReceiver<Event>) {
        let (to, from) = mpsc::unbounded_channel();
        let events = Events {
            device: device.into(),
            began: Instant::now(),
            to,
        };
        (events, from)
    }

    pub(super) fn tell(&self, name: &'static str, fields: Value) {
        let fields = match fields {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        let event = Event {
            at: self.began.elapsed(),
            device: self.device.clone(),
            name,
            fields,
        };
        // A test that has seen enough has gone.
        let _ = self.to.send(event);
    }
}
