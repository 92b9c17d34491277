//! Sightings that contradict what is known, until somebody settles them.

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::members::fits;
use crate::{Registry, StoreError, limits};

/// A contradiction, with all sightings that are alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineRow {
    /// What those that are alike have in common, in the form of the caller's.
    pub key: String,
    /// The number of the device that holds the identity; `None` once that is
    /// forgotten.
    pub member: Option<u64>,
    /// When it was seen first, in seconds since 1970.
    pub first_at: u64,
    /// When it was seen last, in seconds since 1970.
    pub last_at: u64,
    /// How often it was seen.
    pub count: u64,
    /// Everything else, in the form of the caller's. At most 64 KiB.
    pub body: String,
}

impl Registry {
    /// Adds contradictions or replaces those with the same key, in one
    /// transaction. 1000 are kept, those not seen for longest go first.
    ///
    /// # Errors
    /// [`StoreError::TooLong`]; the database could not be written. Then nothing
    /// is changed.
    pub fn write_quarantine(&mut self, rows: &[QuarantineRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            fits("a contradiction", &row.body)?;
        }
        self.change(Area::Unwatched, |db, path| {
            write(db, rows).map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// All contradictions, the most recent first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn quarantine(&self) -> Result<Vec<QuarantineRow>, StoreError> {
        self.rows(
            "SELECT key, member, first_at, last_at, count, body FROM quarantine
             ORDER BY last_at DESC, key",
            [],
            read,
        )
    }

    /// Removes contradictions that are settled.
    ///
    /// # Errors
    /// The database could not be written; then nothing is changed.
    pub fn remove_quarantine<K: AsRef<str>>(&mut self, keys: &[K]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            let remove = || -> rusqlite::Result<()> {
                let mut statement = db.prepare_cached("DELETE FROM quarantine WHERE key = ?1")?;
                for key in keys {
                    statement.execute([key.as_ref()])?;
                }
                Ok(())
            };
            remove().map_err(|source| StoreError::sqlite(path, source))
        })
    }
}

fn write(db: &Connection, rows: &[QuarantineRow]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO quarantine (key, member, first_at, last_at, count, body)
         VALUES (?1, (SELECT id FROM members WHERE id = ?2), ?3, ?4, ?5, ?6)",
    )?;
    for row in rows {
        insert.execute(params![
            row.key,
            row.member.map(signed),
            signed(row.first_at),
            signed(row.last_at),
            signed(row.count),
            row.body
        ])?;
    }
    db.prepare_cached(
        "DELETE FROM quarantine WHERE key IN (
            SELECT key FROM quarantine ORDER BY last_at DESC, key LIMIT -1 OFFSET ?1)",
    )?
    .execute([limits::MAX_QUARANTINE])
    .map(drop)
}

fn read(row: &Row<'_>) -> rusqlite::Result<QuarantineRow> {
    Ok(QuarantineRow {
        key: row.get(0)?,
        member: maybe_unsigned(row, 1)?,
        first_at: unsigned(row, 2)?,
        last_at: unsigned(row, 3)?,
        count: unsigned(row, 4)?,
        body: row.get(5)?,
    })
}
