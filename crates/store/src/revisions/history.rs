//! Revisions read back.

use rusqlite::{Connection, Row, params};

use super::{Change, FileSnapshot, Revision, Scope, sums};
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{Registry, StoreError};

const COLUMNS: &str = "SELECT id, at, who, reason, kind, state, verdict, confirm_by FROM revisions";

impl Registry {
    /// The revision that waits for a server to judge it.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn staged(&self) -> Result<Option<Revision>, StoreError> {
        self.first_revision("WHERE state = 'staged' LIMIT ?1", 1)
    }

    /// The revision that holds but waits to be confirmed.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn unconfirmed(&self) -> Result<Option<Revision>, StoreError> {
        self.first_revision("WHERE state = 'unconfirmed' LIMIT ?1", 1)
    }

    /// One revision; `None` if there was none of this number or it is no longer
    /// kept.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn revision(&self, id: u64) -> Result<Option<Revision>, StoreError> {
        self.first_revision("WHERE id = ?1", signed(id))
    }

    /// The newest revisions, newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn history(&self, limit: u32) -> Result<Vec<Revision>, StoreError> {
        some(
            &self.connection,
            "ORDER BY id DESC LIMIT ?1",
            i64::from(limit),
        )
        .map_err(|source| self.failed(source))
    }

    /// The number of the newest revision, whatever became of it; 0 if there was
    /// none yet. The base of a [`Draft`](super::Draft).
    ///
    /// # Errors
    /// The database could not be read.
    pub fn newest_revision(&self) -> Result<u64, StoreError> {
        sums::newest(&self.connection).map_err(|source| self.failed(source))
    }

    fn first_revision(
        &self,
        which: &'static str,
        argument: i64,
    ) -> Result<Option<Revision>, StoreError> {
        some(&self.connection, which, argument)
            .map(|found| found.into_iter().next())
            .map_err(|source| self.failed(source))
    }
}

/// The revisions that `which` (a text of this module) names.
fn some(db: &Connection, which: &'static str, argument: i64) -> rusqlite::Result<Vec<Revision>> {
    // One transaction: a revision and its rows must be of one moment.
    let look = db.unchecked_transaction()?;
    let mut found: Vec<Revision> = look
        .prepare_cached(&format!("{COLUMNS} {which}"))?
        .query_map([argument], read)?
        .collect::<rusqlite::Result<_>>()?;
    for revision in &mut found {
        revision.changes = changes(&look, revision.id)?;
        revision.files = files(&look, revision.id)?;
    }
    look.commit()?;
    Ok(found)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Revision> {
    Ok(Revision {
        id: unsigned(row, 0)?,
        at: unsigned(row, 1)?,
        who: row.get(2)?,
        reason: row.get(3)?,
        kind: row.get(4)?,
        state: row.get(5)?,
        verdict: row.get(6)?,
        confirm_by: maybe_unsigned(row, 7)?,
        changes: Vec::new(),
        files: Vec::new(),
    })
}

fn changes(db: &Connection, id: u64) -> rusqlite::Result<Vec<Change>> {
    db.prepare_cached(
        "SELECT scope, name, key, old, new, secret FROM revision_changes
         WHERE revision = ?1 ORDER BY position",
    )?
    .query_map(params![signed(id)], |row| {
        Ok(Change {
            scope: Scope::read(row, 0)?,
            key: row.get(2)?,
            old: row.get(3)?,
            new: row.get(4)?,
            secret: row.get(5)?,
        })
    })?
    .collect()
}

fn files(db: &Connection, id: u64) -> rusqlite::Result<Vec<FileSnapshot>> {
    db.prepare_cached(
        "SELECT path, old, new FROM revision_files WHERE revision = ?1 ORDER BY position",
    )?
    .query_map(params![signed(id)], |row| {
        Ok(FileSnapshot {
            path: row.get(0)?,
            old: row.get(1)?,
            new: row.get(2)?,
        })
    })?
    .collect()
}
