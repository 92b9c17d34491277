//! What a token of the HTTP API is good for: levels of areas.

use std::fmt;
use std::str::FromStr;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::columns::stored_as_words;

stored_as_words! {
    /// A part of the HTTP API.
    pub enum ScopeArea {
        /// Settings with their history, ports and addresses.
        Settings = "settings",
        /// Devices, tags, quarantine, activations, backups.
        Devices = "devices",
        /// Images, releases, offers.
        Firmware = "firmware",
        /// Attempts to connect.
        Attempts = "attempts",
        /// The server's certificates and the keys that devices check.
        Certificates = "certificates",
    }
}

stored_as_words! {
    /// What may be done in an area.
    #[derive(PartialOrd, Ord)]
    pub enum ScopeLevel {
        /// Looking only.
        Read = "read",
        /// Looking and changing.
        Write = "write",
    }
}

impl ScopeArea {
    /// All areas, in the order in which they are shown.
    pub const ALL: [ScopeArea; 5] = [
        ScopeArea::Settings,
        ScopeArea::Devices,
        ScopeArea::Firmware,
        ScopeArea::Attempts,
        ScopeArea::Certificates,
    ];
}

/// The word for all areas, those of later versions too.
const EVERYWHERE: &str = "all";

/// What a token may do: one level for all areas, and levels for single ones. The
/// higher one counts.
///
/// Shown, stored and parsed as `area:level` words with commas between them, for
/// instance `devices:read,firmware:write` or `all:read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes {
    everywhere: Option<ScopeLevel>,
    areas: [Option<ScopeLevel>; ScopeArea::ALL.len()],
}

impl Scopes {
    /// Nothing at all. The registry keeps no token with it.
    pub const fn none() -> Scopes {
        Scopes {
            everywhere: None,
            areas: [None; ScopeArea::ALL.len()],
        }
    }

    /// This level in every area, those of later versions too.
    pub const fn all(level: ScopeLevel) -> Scopes {
        Scopes {
            everywhere: Some(level),
            ..Scopes::none()
        }
    }

    /// The same, and at least this level in this area.
    #[must_use]
    pub fn with(mut self, area: ScopeArea, level: ScopeLevel) -> Scopes {
        let held = &mut self.areas[area as usize];
        *held = (*held).max(Some(level));
        self
    }

    /// The level in an area.
    pub fn level(&self, area: ScopeArea) -> Option<ScopeLevel> {
        self.everywhere.max(self.areas[area as usize])
    }

    /// Whether something that needs `level` in `area` may be done.
    pub fn allows(&self, area: ScopeArea, level: ScopeLevel) -> bool {
        self.level(area) >= Some(level)
    }

    /// Whether nothing may be done.
    pub fn is_none(&self) -> bool {
        *self == Scopes::none()
    }

    /// Its words, `area:level` each, in a fixed order.
    pub fn words(&self) -> impl Iterator<Item = String> + use<> {
        let everywhere = self.everywhere.map(|level| format!("{EVERYWHERE}:{level}"));
        let areas = ScopeArea::ALL.into_iter().zip(self.areas);
        everywhere
            .into_iter()
            .chain(areas.filter_map(|(area, level)| level.map(|level| format!("{area}:{level}"))))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().collect::<Vec<_>>().join(","))
    }
}

/// A text that is no list of scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{word:?} is no scope; write AREA:LEVEL with one of all, settings, devices, firmware, attempts or certificates, then read or write, and commas between several: devices:read,firmware:write"
)]
pub struct BadScope {
    /// The word that is none.
    pub word: String,
}

impl FromStr for Scopes {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Scopes, BadScope> {
        let mut scopes = Scopes::none();
        for word in text.split(',').map(str::trim) {
            let bad = || BadScope {
                word: word.chars().take(80).collect(),
            };
            let (area, level) = word.split_once(':').ok_or_else(bad)?;
            let level = [ScopeLevel::Read, ScopeLevel::Write]
                .into_iter()
                .find(|known| known.word() == level)
                .ok_or_else(bad)?;
            if area == EVERYWHERE {
                scopes.everywhere = scopes.everywhere.max(Some(level));
                continue;
            }
            let area = ScopeArea::ALL
                .into_iter()
                .find(|known| known.word() == area)
                .ok_or_else(bad)?;
            scopes = scopes.with(area, level);
        }
        Ok(scopes)
    }
}

impl ToSql for Scopes {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl FromSql for Scopes {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Scopes> {
        value
            .as_str()?
            .parse()
            .map_err(|bad: BadScope| FromSqlError::Other(bad.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::ScopeLevel::{Read, Write};
    use super::{ScopeArea, Scopes};

    #[test]
    fn a_level_of_all_areas_holds_in_each_and_writing_includes_reading() {
        for area in ScopeArea::ALL {
            assert!(Scopes::all(Write).allows(area, Read));
            assert!(Scopes::all(Write).allows(area, Write));
            assert!(Scopes::all(Read).allows(area, Read));
            assert!(!Scopes::all(Read).allows(area, Write));
            assert!(!Scopes::none().allows(area, Read));
        }
    }

    #[test]
    fn a_level_of_one_area_holds_in_that_one_and_adds_to_what_holds_everywhere() {
        let scopes = Scopes::all(Read).with(ScopeArea::Firmware, Write);
        for area in ScopeArea::ALL {
            assert!(scopes.allows(area, Read));
            assert_eq!(scopes.allows(area, Write), area == ScopeArea::Firmware);
        }
        let alone = Scopes::none().with(ScopeArea::Devices, Read);
        for area in ScopeArea::ALL {
            assert_eq!(alone.allows(area, Read), area == ScopeArea::Devices);
        }
        // A lower level takes nothing away.
        let kept = scopes.with(ScopeArea::Firmware, Read);
        assert!(kept.allows(ScopeArea::Firmware, Write));
    }

    #[test]
    fn scopes_are_read_back_from_what_is_shown() {
        let levels = [None, Some(Read), Some(Write)];
        for number in 0..3_usize.pow(6) {
            let level = |at: u32| levels[number / 3_usize.pow(at) % 3];
            let mut scopes = level(5).map_or(Scopes::none(), Scopes::all);
            for (at, area) in (0..).zip(ScopeArea::ALL) {
                scopes = level(at).map_or(scopes, |level| scopes.with(area, level));
            }
            match scopes.is_none() {
                true => assert_eq!(scopes.to_string(), ""),
                false => assert_eq!(scopes.to_string().parse(), Ok(scopes), "{scopes}"),
            }
        }
        let spaced = "firmware:write, devices:read,devices:read".parse::<Scopes>();
        assert_eq!(spaced.unwrap().to_string(), "devices:read,firmware:write");
    }

    #[test]
    fn what_is_no_scope_is_named() {
        for (text, word) in [
            ("", ""),
            ("devices", "devices"),
            ("devices:read,", ""),
            ("devices:read,gates:read", "gates:read"),
            ("all:admin", "all:admin"),
            ("Devices:read", "Devices:read"),
            ("devices:read:write", "devices:read:write"),
        ] {
            assert_eq!(text.parse::<Scopes>().unwrap_err().word, word, "{text}");
        }
    }
}
