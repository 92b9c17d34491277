//! What devices and servers print when something is wrong, line by line and number by number.
//!
//! The data is compiled in and read once, at first use. A number belongs to the stack that printed
//! it: 62 is one thing from BearSSL and another from MQTT, so numbers are looked up by stack.

mod data;
mod needles;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use aho_corasick::AhoCorasick;
use once_cell::race::OnceBox;
use regex::bytes::{Regex, RegexBuilder};
use safeport_settings::Said;

use crate::{Cause, Layer, Strength};
use needles::Needles;

/// The catalogue, read at first use.
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceBox<Catalogue> = OnceBox::new();
    CATALOGUE.get_or_init(|| Box::new(Catalogue::new(data::entries())))
}

/// Everything we know that devices and servers print.
pub struct Catalogue {
    entries: Vec<Entry>,
    /// Finds the lines worth a closer look: one literal of each pattern.
    finder: AhoCorasick,
    /// Which entries a literal of the finder belongs to.
    owners: Vec<Vec<u16>>,
}

/// One thing that a device or server prints.
pub struct Entry {
    /// What `safeport doctor explain` takes.
    pub id: String,
    /// The file it is in: who prints it.
    pub group: &'static str,
    /// Whose numbers these are: `bearssl`, `esp-tls`, `pubsubclient`…
    pub stack: String,
    /// The firmware that prints it; `any` and `server` stand for themselves.
    pub firmware: Vec<String>,
    /// The number, in the stack's own numbering.
    pub code: Option<i64>,
    /// The name that the stack's source gives to it.
    pub symbol: Option<String>,
    /// The layer at which the stack notices it; the one that is broken is the cause's.
    pub layer: Layer,
    /// What it points to.
    pub cause: Cause,
    /// What else it could be, the likeliest first.
    pub or: Vec<Cause>,
    /// How much it says on its own.
    pub strength: Strength,
    /// Whether anything is wrong at all.
    pub severity: Severity,
    /// A line in which it occurs.
    pub sample: String,
    /// Where this is known from.
    pub source: String,
    /// How it is known: `measured`, `source`, `header`, `thread`…
    pub verified: String,
    /// What it means.
    pub meaning: Said,
    /// Why it happens, the likeliest first.
    pub causes: Vec<Said>,
    /// What to do on the device, the best first.
    pub fix_device: Vec<Said>,
    /// What to do on the server, the best first.
    pub fix_server: Vec<Said>,
    /// Whether the Chinese texts are there; they fall back to English.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "a test wants none to be missing")
    )]
    chinese: bool,
    pattern: String,
    regex: OnceBox<Regex>,
    needles: Needles,
}

/// Whether anything is wrong at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is.
    Info,
    /// It works now, and may not later.
    Warning,
    /// The connection or the update failed.
    Fatal,
}

/// Where an entry's pattern was found in a line, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) entry: &'static Entry,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Catalogue {
    fn new(entries: Vec<Entry>) -> Catalogue {
        let mut literals: Vec<&str> = Vec::new();
        let mut owners: Vec<Vec<u16>> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for literal in entry.needles.anchor() {
                let place = *places.entry(&literal[..]).or_insert_with(|| {
                    literals.push(&literal[..]);
                    owners.push(Vec::new());
                    literals.len() - 1
                });
                owners[place].push(index as u16);
            }
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(&literals)
            .expect("a few hundred short literals make a finder");
        Catalogue {
            finder,
            owners,
            entries,
        }
    }

    /// Every entry, in the order of the data.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this id.
    pub fn entry(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// The entry for a number of this stack.
    pub fn number(&self, stack: &str, number: i64) -> Option<&Entry> {
        self.numbers(number).find(|entry| entry.stack == stack)
    }

    /// The entries for a number, one for each stack that has it.
    pub fn numbers(&self, number: i64) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.code == Some(number))
    }
}

impl core::fmt::Debug for Entry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Entry({})", self.id)
    }
}

impl Entry {
    /// Where the pattern is found in a line.
    fn find(&self, line: &str) -> Option<(usize, usize)> {
        // Of bytes: what devices print is ASCII, and the tables of all other letters take most of the
        // time and memory of a pattern.
        let regex = self.regex.get_or_init(|| {
            let compiled = RegexBuilder::new(&self.pattern).unicode(false).build();
            Box::new(compiled.expect("a test compiles every pattern"))
        });
        let found = regex.find(line.as_bytes())?;
        Some((found.start(), found.end()))
    }
}

/// The entries found in `line` out of those that `admits` lets speak, the leftmost first and of two
/// that begin together the longer one. `lowered` is a buffer to reuse.
pub(crate) fn find_all(
    line: &str,
    lowered: &mut String,
    admits: impl Fn(&Entry) -> bool,
) -> Vec<Hit> {
    let catalogue = catalogue();
    let mut hits: Vec<Hit> = Vec::new();
    let mut candidates: Vec<u16> = Vec::new();
    for found in catalogue.finder.find_overlapping_iter(line) {
        for &index in &catalogue.owners[found.pattern().as_usize()] {
            if !candidates.contains(&index) {
                candidates.push(index);
            }
        }
    }
    if candidates.is_empty() {
        return hits;
    }
    lowered.clear();
    lowered.push_str(line);
    lowered.make_ascii_lowercase();
    for index in candidates {
        let entry = &catalogue.entries[usize::from(index)];
        if admits(entry)
            && entry.needles.all_in(lowered)
            && let Some((start, end)) = entry.find(line)
        {
            hits.push(Hit { entry, start, end });
        }
    }
    hits.sort_by_key(|hit| (hit.start, core::cmp::Reverse(hit.end)));
    hits
}

#[cfg(test)]
mod tests;
