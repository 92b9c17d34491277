//! What revisions add up to: the managed values and the files, now or as of an
//! earlier revision.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Change, FileSnapshot, ManagedRow, RevisionState, Scope};
use crate::columns::{signed, unsigned};
use crate::{Registry, StoreError};

/// Every value that held or holds up to revision `?1`, the folded ones at
/// position 0 of the revision that they come from.
const VALUES: &str = "
    SELECT scope, name, key, value, secret, revision, who, at, 0 AS position
        FROM base_values WHERE revision <= ?1
    UNION ALL
    SELECT c.scope, c.name, c.key, c.new, c.secret, r.id, r.who, r.at, c.position
        FROM revisions r JOIN revision_changes c ON c.revision = r.id
        WHERE r.state IN ('live', 'unconfirmed') AND r.id <= ?1";

/// As [`VALUES`], for files, with revision `?1` as the last one.
const FILES: &str = "
    SELECT path, text, revision, who, at, 0 AS position
        FROM base_files WHERE revision <= ?1
    UNION ALL
    SELECT f.path, f.new, r.id, r.who, r.at, f.position
        FROM revisions r JOIN revision_files f ON f.revision = r.id
        WHERE r.state IN ('live', 'unconfirmed') AND r.id <= ?1";

impl Registry {
    /// The managed values that hold now, by scope and key.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn managed(&self) -> Result<Vec<ManagedRow>, StoreError> {
        managed(&self.connection, u64::MAX).map_err(|source| self.failed(source))
    }

    /// The managed values that held as of revision `id`; 0 for the time before
    /// the first. Revisions that were taken back since are left out.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::RevisionFolded`].
    pub fn managed_at(&self, id: u64) -> Result<Vec<ManagedRow>, StoreError> {
        let failed = |source| self.failed(source);
        reachable(&self.connection, id).map_err(failed)??;
        managed(&self.connection, id).map_err(failed)
    }

    /// The files as of revision `id`; 0 for the time before the first. `None`
    /// for a file that did not exist; one of which nobody knows what was in it
    /// then is left out.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::RevisionFolded`].
    pub fn files_at(&self, id: u64) -> Result<Vec<(String, Option<String>)>, StoreError> {
        let failed = |source| self.failed(source);
        reachable(&self.connection, id).map_err(failed)??;
        files_at(&self.connection, id)
            .map(|files| files.into_iter().collect())
            .map_err(failed)
    }

    /// The files of the newest state that a server has started with or taken,
    /// for good: without what waits for a confirmation. A file that was removed
    /// must have been noted as such (`new: None`), or it appears here.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn last_good_files(&self) -> Result<Vec<(String, String)>, StoreError> {
        last_good_files(&self.connection).map_err(|source| self.failed(source))
    }

    /// What brings values and files back to what they were as of revision `id`:
    /// the body of a rollback. Files of which nobody knows what was in them
    /// then are left as they are.
    ///
    /// # Errors
    /// [`StoreError::NoRevision`], [`StoreError::RevisionFolded`].
    pub fn way_back(&self, id: u64) -> Result<(Vec<Change>, Vec<FileSnapshot>), StoreError> {
        // One transaction: both ends must be of one moment.
        let failed = |source| self.failed(source);
        let look = self.connection.unchecked_transaction().map_err(failed)?;
        reachable(&look, id).map_err(failed)??;
        let now = by_key(managed(&look, u64::MAX).map_err(failed)?);
        let then = by_key(managed(&look, id).map_err(failed)?);
        let files_now = files_at(&look, u64::MAX).map_err(failed)?;
        let files_then = files_at(&look, id).map_err(failed)?;
        look.commit().map_err(failed)?;

        let mut places: Vec<_> = now.keys().chain(then.keys()).collect();
        places.sort_unstable();
        places.dedup();
        let changes = places.into_iter().filter_map(|place| {
            let (now, then) = (now.get(place), then.get(place));
            let old = now.map(|row| row.value.clone());
            let new = then.map(|row| row.value.clone());
            (old != new).then(|| Change {
                scope: place.0.clone(),
                key: place.1.clone(),
                old,
                new,
                secret: now.or(then).is_some_and(|row| row.secret),
            })
        });
        let files = files_then.into_iter().filter_map(|(path, new)| {
            let old = files_now.get(&path).cloned().flatten();
            (old != new).then_some(FileSnapshot { path, old, new })
        });
        Ok((changes.collect(), files.collect()))
    }
}

fn by_key(rows: Vec<ManagedRow>) -> BTreeMap<(Scope, String), ManagedRow> {
    rows.into_iter()
        .map(|row| ((row.scope.clone(), row.key.clone()), row))
        .collect()
}

/// The newest revision, whatever became of it; 0 if there was none yet.
pub(super) fn newest(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT coalesce(max(id), 0) FROM revisions", [], |row| {
        unsigned(row, 0)
    })
}

/// Whether the state as of revision `id` can still be told.
fn reachable(db: &Connection, id: u64) -> rusqlite::Result<Result<(), StoreError>> {
    if id > newest(db)? {
        return Ok(Err(StoreError::NoRevision { id }));
    }
    // Folding leaves no gaps: what is before the oldest revision is in the base.
    let first: Option<i64> = db.query_row("SELECT min(id) FROM revisions", [], |row| row.get(0))?;
    let oldest = first.map_or(0, |first| u64::try_from(first - 1).unwrap_or(0));
    if id < oldest {
        return Ok(Err(StoreError::RevisionFolded { id, oldest }));
    }
    Ok(Ok(()))
}

pub(super) fn managed(db: &Connection, last: u64) -> rusqlite::Result<Vec<ManagedRow>> {
    let query = format!(
        "SELECT scope, name, key, value, secret, revision, who, at FROM (
            SELECT *, row_number() OVER (
                PARTITION BY scope, name, key ORDER BY revision DESC, position DESC
            ) AS rank FROM ({VALUES})
        ) WHERE rank = 1 AND value IS NOT NULL ORDER BY scope, name, key"
    );
    let mut rows: Vec<ManagedRow> = db
        .prepare_cached(&query)?
        .query_map([signed(last)], |row| {
            Ok(ManagedRow {
                scope: Scope::read(row, 0)?,
                key: row.get(2)?,
                value: row.get(3)?,
                secret: row.get(4)?,
                revision: unsigned(row, 5)?,
                who: row.get(6)?,
                at: unsigned(row, 7)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    rows.sort_by(|a, b| (&a.scope, &a.key).cmp(&(&b.scope, &b.key)));
    Ok(rows)
}

/// The managed value of one key, and the row that a change of it since `base`
/// would conflict with.
pub(super) fn last_value(
    db: &Connection,
    scope: &Scope,
    key: &str,
) -> rusqlite::Result<Option<Touched>> {
    let query = format!(
        "SELECT revision, who, at, value FROM ({VALUES})
         WHERE scope = ?2 AND name = ?3 AND key = ?4
         ORDER BY revision DESC, position DESC LIMIT 1"
    );
    db.prepare_cached(&query)?
        .query_row(params![i64::MAX, scope.word(), scope.name(), key], touched)
        .optional()
}

/// As [`last_value`], for a file.
pub(super) fn last_file(db: &Connection, path: &str) -> rusqlite::Result<Option<Touched>> {
    let query = format!(
        "SELECT revision, who, at, text FROM ({FILES}) WHERE path = ?2
         ORDER BY revision DESC, position DESC LIMIT 1"
    );
    db.prepare_cached(&query)?
        .query_row(params![i64::MAX, path], touched)
        .optional()
}

/// Who has touched a key or a file last.
pub(super) struct Touched {
    pub(super) revision: u64,
    pub(super) who: String,
    pub(super) at: u64,
    /// What it has been since.
    pub(super) value: Option<String>,
}

fn touched(row: &rusqlite::Row<'_>) -> rusqlite::Result<Touched> {
    Ok(Touched {
        revision: unsigned(row, 0)?,
        who: row.get(1)?,
        at: unsigned(row, 2)?,
        value: row.get(3)?,
    })
}

fn files_at(db: &Connection, last: u64) -> rusqlite::Result<BTreeMap<String, Option<String>>> {
    let query = format!("SELECT path, text FROM ({FILES}) ORDER BY revision, position");
    let mut files: BTreeMap<String, Option<String>> = db
        .prepare_cached(&query)?
        .query_map([signed(last)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    // A file that was first noted later was, until then, what that revision
    // found. A start knows what it found only if it says so.
    let mut later = db.prepare_cached(
        "SELECT f.path, f.old, r.kind = 'start'
         FROM revisions r JOIN revision_files f ON f.revision = r.id
         WHERE r.state IN ('live', 'unconfirmed') AND r.id > ?1
         ORDER BY r.id, f.position",
    )?;
    let mut rows = later.query([signed(last)])?;
    let mut unknown = Vec::new();
    while let Some(row) = rows.next()? {
        let path: String = row.get(0)?;
        if files.contains_key(&path) || unknown.contains(&path) {
            continue;
        }
        let old: Option<String> = row.get(1)?;
        if old.is_none() && row.get(2)? {
            unknown.push(path);
        } else {
            files.insert(path, old);
        }
    }
    Ok(files)
}

fn last_good_files(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let query = format!(
        "SELECT path, text FROM (
            SELECT *, row_number() OVER (
                PARTITION BY path ORDER BY revision DESC, position DESC
            ) AS rank FROM ({FILES})
            WHERE revision NOT IN (SELECT id FROM revisions WHERE state = '{}')
        ) WHERE rank = 1 AND text IS NOT NULL ORDER BY path",
        RevisionState::Unconfirmed.word()
    );
    db.prepare_cached(&query)?
        .query_map([i64::MAX], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}
