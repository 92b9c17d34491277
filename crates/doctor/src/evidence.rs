//! What was seen of one incident, whoever saw it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use safeport_settings::Said;
use serde::Serialize;

use crate::finding::both;
use crate::limits::QUOTE_CHARS;
use crate::{Cause, Layer};

/// What all sources saw of one incident. Log reader, capture reader, our own listeners and probes
/// each make one; they are joined with [`Evidence::join`] before they are judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// What points to a cause, in the order seen.
    pub clues: Vec<Clue>,
    /// What was seen to work.
    pub passed: Vec<Passed>,
    /// Names, numbers and states that were met on the way.
    pub facts: Facts,
}

impl Evidence {
    /// Takes what another source saw. Its facts fill only what is not known yet: ask the more
    /// trustworthy source first (listeners, then logs and captures, then probes).
    pub fn join(&mut self, other: Evidence) {
        self.clues.extend(other.clues);
        self.passed.extend(other.passed);
        for (name, value) in other.facts.0 {
            self.facts.0.entry(name).or_insert(value);
        }
    }
}

/// Something that points to a cause.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Clue {
    /// What it points to.
    pub cause: Cause,
    /// The layer that it shows broken; usually `cause.layer()`.
    pub layer: Layer,
    /// How much it says.
    pub strength: Strength,
    /// Who saw it.
    pub place: Place,
    /// When, on the clock of who saw it.
    pub at: Option<Moment>,
    /// The words or bytes themselves, as quoted to people; secrets masked, at most 300 characters. A
    /// line of a log reads the same in both languages ([`Said::same`]); what a probe saw is told in
    /// both.
    #[serde(serialize_with = "both")]
    pub quote: Said,
    /// The entry of the catalogue that matched, by its id.
    pub entry: Option<String>,
    /// What else it could be, the likeliest first.
    pub or: Vec<Cause>,
}

impl Clue {
    /// A clue that stands for itself: on the layer of its cause, without a time, an entry or other
    /// causes. A quote beyond 300 characters is cut off.
    pub fn new(cause: Cause, strength: Strength, place: Place, quote: Said) -> Clue {
        let cut = |text: String| match text.char_indices().nth(QUOTE_CHARS) {
            Some(_) => text.chars().take(QUOTE_CHARS - 1).chain(['…']).collect(),
            None => text,
        };
        Clue {
            cause,
            layer: cause.layer(),
            strength,
            place,
            at: None,
            quote: Said::new(cut(quote.en), cut(quote.zh)),
            entry: None,
            or: Vec::new(),
        }
    }

    /// The same, and what else it could be, the likeliest first.
    pub fn or(mut self, others: &[Cause]) -> Clue {
        self.or.extend_from_slice(others);
        self
    }
}

/// How much a clue says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// It says only that something failed below: `Error transport connect`. Never the cause while
    /// anything else is there.
    Carrier,
    /// The class is known and not the cause: an error number without an entry, a refused connection.
    Class,
    /// One cause, and the others can be told from it.
    Specific,
    /// It was seen on the wire, or measured, and cannot be anything else.
    Proof,
}

/// Who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// One of our own listeners.
    Listener,
    /// A line of the device's log.
    DeviceLog {
        /// Counted from 1.
        line: u32,
    },
    /// A line of a server's or proxy's log, or a remark of the person who reports.
    ServerLog {
        /// Counted from 1.
        line: u32,
    },
    /// A packet of a capture.
    Capture {
        /// Counted from 1, as other programs count.
        packet: u32,
    },
    /// A probe of ours.
    Probe {
        /// Its stage, 0 to 11.
        stage: u8,
    },
}

/// A point in time on some clock: since 1970 where `wall`, since boot or the first packet otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moment {
    /// From the clock's zero.
    pub since: Duration,
    /// Whether zero is 1970-01-01 UTC.
    pub wall: bool,
}

/// A layer that was seen to work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Passed {
    /// The layer.
    pub layer: Layer,
    /// Who saw it.
    pub place: Place,
    /// The words, or what was measured; as quoted to people.
    #[serde(serialize_with = "both")]
    pub quote: Said,
}

/// Names, numbers and states met on the way, each under its name. Texts of causes and fixes name
/// them in braces.
///
/// Names: `url`, `host`, `port`, `scheme`, `address` (of the server), `device_address`, `device`,
/// `client_id`, `family`, `firmware`, `version`, `safeboot_version`, `stack`, `modem` (component
/// version), `device_time`, `server_time`, `rtt_ms`, `timeout_ms`, `wait_ms` (a timeout that
/// is long enough), `idle_s` (a pause that ended a connection), `closed_by` (who ended it),
/// `keep_alive_s` (a keep alive below it), `pid`, `program`, `command`,
/// `status` (HTTP), `reason` (CONNACK), `number` (the device's error number), `proposal` (a whole URL
/// that was proved), `probed` (where a probe found a fault), `mqtt_only` (the one version that a broker takes),
/// `ends_in_days` (a certificate that is used up soon), `told` (an address that devices are told), `start_with` (the command that starts what is missing), `minutes` (that were looked back), `resolver`, `other` (a second value that contradicts the first),
/// `restart_reason` (why a device starts, by its own words), `power_reason` and `crash_reason` (the same, where that is its
/// power or a crash), `size` (of an image, in bytes), `room` (for it).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts(pub BTreeMap<&'static str, String>);

impl Facts {
    /// Notes a fact, unless one of this name is known.
    pub fn note(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.entry(name).or_insert_with(|| value.into());
    }

    /// The fact of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}
