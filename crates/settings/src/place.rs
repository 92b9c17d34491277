//! Keys by name: `mqtt.bind`, `proxy.front.url`, `SAFEPORT__MQTT__BIND`.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::spec::{KeySpec, SectionSpec};
use crate::table::SECTIONS;

/// Which key; in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    section: usize,
    /// Of a section of named entries, which one.
    pub(crate) entry: Option<String>,
    key: usize,
}

impl Place {
    /// Every key of the table that needs no entry's name.
    pub(crate) fn all() -> impl Iterator<Item = Place> {
        SECTIONS
            .iter()
            .enumerate()
            .filter(|(_, section)| !section.named)
            .flat_map(|(section, spec)| {
                (0..spec.keys.len()).map(move |key| Place {
                    section,
                    entry: None,
                    key,
                })
            })
    }

    /// Every key of one named entry.
    pub(crate) fn of_entry(section: &str, entry: &str) -> Vec<Place> {
        let Some(section) = SECTIONS.iter().position(|spec| spec.name == section) else {
            return Vec::new();
        };
        (0..SECTIONS[section].keys.len())
            .map(|key| Place {
                section,
                entry: Some(entry.to_string()),
                key,
            })
            .collect()
    }

    /// The key of a section, by their names.
    pub(crate) fn of(section: &str, entry: Option<&str>, key: &str) -> Option<Place> {
        let section = SECTIONS
            .iter()
            .position(|spec| spec.name == section && spec.named == entry.is_some())?;
        let key = SECTIONS[section]
            .keys
            .iter()
            .position(|spec| spec.name == key)?;
        Some(Place {
            section,
            entry: entry.map(ToString::to_string),
            key,
        })
    }

    /// The key with this full name.
    pub(crate) fn named(name: &str) -> Option<Place> {
        let (section, rest) = name.split_once('.')?;
        match rest.split_once('.') {
            None => Place::of(section, None, rest),
            Some((entry, key)) if fits_entry(entry) => Place::of(section, Some(entry), key),
            Some(_) => None,
        }
    }

    /// The key that an environment variable sets. In the name of an entry `_`
    /// stands for `-`, which no shell takes in a variable.
    pub(crate) fn of_variable(variable: &str) -> Option<Place> {
        let plain = Place::all().find(|place| place.spec().variable(None) == variable);
        if plain.is_some() {
            return plain;
        }
        let rest = variable.strip_prefix("SAFEPORT__")?;
        let mut parts = rest.split("__");
        let (section, entry, key) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || variable.bytes().any(|byte| byte.is_ascii_lowercase()) {
            return None;
        }
        let entry = entry.replace('_', "-").to_ascii_lowercase();
        if !fits_entry(&entry) {
            return None;
        }
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        Place::of(&section, Some(&entry), &key)
    }

    pub(crate) fn section(&self) -> &'static SectionSpec {
        &SECTIONS[self.section]
    }

    pub(crate) fn spec(&self) -> &'static KeySpec {
        &SECTIONS[self.section].keys[self.key]
    }

    /// Its full name.
    pub(crate) fn name(&self) -> String {
        self.spec().full_name(self.entry.as_deref())
    }
}

/// Whether this can be the name of an entry: 1 to 32 of `a`-`z`, `0`-`9`, `-`.
pub(crate) fn fits_entry(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
