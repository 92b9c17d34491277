//! What the running server uses, for the commands beside it; and the key that
//! proves that it is this one.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::{Registry, StoreError, limits};

/// One setting that a server uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveValue {
    /// The key.
    pub key: String,
    /// The value as it may be shown: the caller has hidden a secret one.
    pub value: String,
    /// Where it comes from, in words.
    pub source: String,
}

/// What a server uses, or has used last if it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Its settings, by key.
    pub values: Vec<LiveValue>,
    /// The settings file that it reads, or would read if there were one.
    pub file: Option<String>,
    /// Why it runs with its last good settings instead of those it was given.
    pub degraded: Option<String>,
    /// Its process.
    pub pid: u32,
    /// Since when it uses them, in seconds since 1970.
    pub at: u64,
}

impl Registry {
    /// Says what this server uses from now on. Replaces what was said before.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] beyond 10,000 values.
    pub fn set_live(&mut self, live: &Live) -> Result<(), StoreError> {
        if live.values.len() > limits::MAX_LIVE_VALUES {
            return Err(StoreError::TooMany {
                what: "settings of one server",
                found: live.values.len(),
                limit: limits::MAX_LIVE_VALUES,
            });
        }
        self.change(Area::Unwatched, |db, path| {
            write(db, live).map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// What the server uses; `None` if none has ever said so. Whether it still
    /// runs is known from [`DataFolder::server`](crate::DataFolder::server).
    ///
    /// # Errors
    /// The database could not be read.
    pub fn live(&self) -> Result<Option<Live>, StoreError> {
        read(&self.connection).map_err(|source| self.failed(source))
    }

    /// The key of this data folder: 32 random bytes, made at the first call and
    /// the same ever after.
    ///
    /// # Errors
    /// [`StoreError::NoRandomness`], or the database could not be written.
    pub fn instance_key(&mut self) -> Result<InstanceKey, StoreError> {
        if let Some(key) = key(&self.connection).map_err(|source| self.failed(source))? {
            return Ok(InstanceKey(key));
        }
        let mut fresh = [0; 32];
        getrandom::fill(&mut fresh).map_err(|source| StoreError::NoRandomness { source })?;
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            // Another process may have been quicker: then its key counts.
            db.execute(
                "INSERT OR IGNORE INTO instance (id, key) VALUES (1, ?1)",
                params![fresh],
            )
            .map_err(failed)?;
            let kept = key(db).map_err(failed)?;
            Ok(InstanceKey(kept.unwrap_or(fresh)))
        })
    }
}

/// The secret key of a data folder. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct InstanceKey([u8; 32]);

impl InstanceKey {
    /// The bytes themselves.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InstanceKey(…)")
    }
}

fn write(db: &Connection, live: &Live) -> rusqlite::Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO live (id, file, degraded, pid, at) VALUES (1, ?1, ?2, ?3, ?4)",
        params![live.file, live.degraded, live.pid, signed(live.at)],
    )?;
    db.execute("DELETE FROM live_values", [])?;
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO live_values (key, value, source) VALUES (?1, ?2, ?3)",
    )?;
    for value in &live.values {
        insert.execute(params![value.key, value.value, value.source])?;
    }
    Ok(())
}

fn read(db: &Connection) -> rusqlite::Result<Option<Live>> {
    // One transaction: the values must be those of this server.
    let look = db.unchecked_transaction()?;
    let found = look
        .query_row(
            "SELECT file, degraded, pid, at FROM live WHERE id = 1",
            [],
            |row| {
                Ok(Live {
                    values: Vec::new(),
                    file: row.get(0)?,
                    degraded: row.get(1)?,
                    pid: row.get(2)?,
                    at: unsigned(row, 3)?,
                })
            },
        )
        .optional()?;
    let Some(mut live) = found else {
        return Ok(None);
    };
    live.values = look
        .prepare_cached("SELECT key, value, source FROM live_values ORDER BY key")?
        .query_map([], |row| {
            Ok(LiveValue {
                key: row.get(0)?,
                value: row.get(1)?,
                source: row.get(2)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    look.commit()?;
    Ok(Some(live))
}

fn key(db: &Connection) -> rusqlite::Result<Option<[u8; 32]>> {
    db.query_row("SELECT key FROM instance WHERE id = 1", [], |row| {
        row.get(0)
    })
    .optional()
}
