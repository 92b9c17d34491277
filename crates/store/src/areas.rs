//! Who waits for which change.
//!
//! A server polls several times a second. What it waits for has a counter that
//! moves in the same transaction as the rows; what nobody waits for (audit,
//! ports, told addresses) has none, so that it wakes nobody.

use rusqlite::{Connection, params};

use crate::columns::unsigned;

/// What a change belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    /// Users, devices, their rights and tags.
    Accounts,
    /// Revisions of the settings.
    Settings,
    /// What devices check of the server's keys, and what is wanted of its
    /// certificates.
    Certificates,
    /// What nobody waits for.
    Unwatched,
}

impl Area {
    fn counter(self) -> Option<&'static str> {
        match self {
            Area::Accounts => Some("accounts"),
            Area::Settings => Some("settings"),
            Area::Certificates => Some("certificates"),
            Area::Unwatched => None,
        }
    }
}

/// Moves the counter of an area, within the caller's transaction.
pub(crate) fn bump(db: &Connection, area: Area) -> rusqlite::Result<()> {
    let Some(counter) = area.counter() else {
        return Ok(());
    };
    db.prepare_cached("UPDATE areas SET version = version + 1 WHERE name = ?1")?
        .execute(params![counter])
        .map(drop)
}

/// The counter of an area; 0 for one that has none.
pub(crate) fn version(db: &Connection, area: Area) -> rusqlite::Result<u64> {
    let Some(counter) = area.counter() else {
        return Ok(0);
    };
    db.prepare_cached("SELECT version FROM areas WHERE name = ?1")?
        .query_row([counter], |row| unsigned(row, 0))
}
