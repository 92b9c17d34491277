//! Who changed what, and when.

use rusqlite::{Connection, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::{By, Registry, StoreError, limits};

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Grows with every row and is never used twice.
    pub id: i64,
    /// Seconds since 1970.
    pub at: u64,
    /// Who did it.
    pub who: String,
    /// What was done. Never holds a secret.
    pub what: String,
}

impl Registry {
    /// Audits something that is not itself a change of the registry.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn note(&mut self, by: By<'_>, what: &str) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            write(db, by, what).map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// The newest rows, newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn audit(&self, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        newest(&self.connection, limit).map_err(|source| self.failed(source))
    }
}

fn newest(db: &Connection, limit: u32) -> rusqlite::Result<Vec<AuditRow>> {
    let mut statement =
        db.prepare_cached("SELECT id, at, who, what FROM audit ORDER BY id DESC LIMIT ?1")?;
    let rows = statement.query_map([limit], |row| {
        Ok(AuditRow {
            id: row.get(0)?,
            at: unsigned(row, 1)?,
            who: row.get(2)?,
            what: row.get(3)?,
        })
    })?;
    rows.collect()
}

/// Adds a row, within the caller's transaction, and lets the oldest go.
pub(crate) fn write(db: &Connection, by: By<'_>, what: &str) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO audit (at, who, what) VALUES (?1, ?2, ?3)",
        params![signed(by.at), by.who, what],
    )?;
    let newest = db.last_insert_rowid();
    db.execute(
        "DELETE FROM audit WHERE id <= ?1",
        [newest - i64::from(limits::MAX_AUDIT_ROWS)],
    )
    .map(drop)
}
