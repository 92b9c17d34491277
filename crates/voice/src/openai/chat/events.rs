//! Server-sent events, read from pieces of any length.
//!
//! By hand: eventsource-stream 0.2.3 panics at a byte order mark, and holds an event of any length.

use crate::limits::EVENT_BYTES;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// What kind it is; empty if it was not said.
    pub(super) kind: String,
    /// Its lines of data.
    pub(super) data: String,
}

/// The reader of one stream.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The line that is being read.
    line: Vec<u8>,
    /// The event that is being read.
    event: Event,
    /// The last byte ended a line as CR; a LF belongs to it.
    after_cr: bool,
    begun: bool,
}

/// An event is longer than [`EVENT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Events {
    /// Appends the events that `bytes` complete.
    pub(super) fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLong> {
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&rest[..end]);
            self.check()?;
            let was_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if was_cr {
                self.after_cr = rest.is_empty();
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            self.end_line(events);
        }
        self.line.extend_from_slice(rest);
        self.check()
    }

    /// Gives out an event that the end of the stream leaves without its empty line.
    pub(super) fn finish(&mut self, events: &mut Vec<Event>) {
        self.end_line(events);
        self.end_line(events);
    }

    fn check(&self) -> Result<(), TooLong> {
        match self.line.len() + self.event.data.len() <= EVENT_BYTES {
            true => Ok(()),
            false => Err(TooLong),
        }
    }

    fn end_line(&mut self, events: &mut Vec<Event>) {
        let line = std::mem::take(&mut self.line);
        let mut line = &line[..];
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if !event.data.is_empty() {
                events.push(event);
            }
            return;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match name {
            b"data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(&value);
            }
            b"event" => self.event.kind = value.into_owned(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
