//! The certificates that a server presents, and those that it refused, for the
//! commands beside it. Public parts only: no key ever comes here.

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::{Registry, StoreError, limits};

/// A chain that a server presents or has refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainRow {
    /// Where it comes from, in a word of the caller's, for instance `private`.
    pub origin: String,
    /// The file that it was read from, if any.
    pub path: Option<String>,
    /// The certificates as they are sent, in PEM; empty if they could not be
    /// read.
    pub pem: String,
    /// Why it is not presented, in English and Chinese; `None` if it is.
    pub refused: Option<(String, String)>,
    /// Since when it is presented or refused, in seconds since 1970.
    pub since: u64,
}

const COLUMNS: &str =
    "SELECT origin, path, pem, refused_en, refused_zh, since FROM chains ORDER BY position";

impl Registry {
    /// Replaces what is known of the server's chains. Costs nothing if it is the
    /// same.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] beyond 100 chains.
    pub fn set_chains(&mut self, chains: &[ChainRow]) -> Result<(), StoreError> {
        if chains.len() > limits::MAX_CHAINS {
            return Err(StoreError::TooMany {
                what: "certificate chains",
                found: chains.len(),
                limit: limits::MAX_CHAINS,
            });
        }
        if self.chains()? == chains {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            replace(db, chains).map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// The chains of the server that ran last on this folder, in the order in
    /// which they were given.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn chains(&self) -> Result<Vec<ChainRow>, StoreError> {
        let find = || -> rusqlite::Result<Vec<ChainRow>> {
            self.connection
                .prepare_cached(COLUMNS)?
                .query_map([], read)?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }
}

fn replace(db: &Connection, chains: &[ChainRow]) -> rusqlite::Result<()> {
    db.execute("DELETE FROM chains", [])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO chains (position, origin, path, pem, refused_en, refused_zh, since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for (position, row) in (0i64..).zip(chains) {
        let refused = row.refused.as_ref();
        insert.execute(params![
            position,
            row.origin,
            row.path,
            row.pem,
            refused.map(|(english, _)| english),
            refused.map(|(_, chinese)| chinese),
            signed(row.since)
        ])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<ChainRow> {
    let english: Option<String> = row.get(3)?;
    let chinese: Option<String> = row.get(4)?;
    Ok(ChainRow {
        origin: row.get(0)?,
        path: row.get(1)?,
        pem: row.get(2)?,
        refused: english.zip(chinese),
        since: unsigned(row, 5)?,
    })
}
