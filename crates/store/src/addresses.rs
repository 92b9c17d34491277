//! How advertised addresses fare, for the commands beside the server; and the
//! last ones that were proved, for its next start.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{Registry, StoreError, limits};

/// An advertised address and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRow {
    /// The listener that it leads to.
    pub listener: String,
    /// The address.
    pub url: String,
    /// What stands before the listener, in words.
    pub via: String,
    /// The state, in a word of the caller's.
    pub state: String,
    /// Since when, in seconds since 1970.
    pub since: u64,
    /// Until when it counts as proved, in seconds since 1970.
    pub until: Option<u64>,
    /// What was seen, in English.
    pub detail_en: String,
    /// What was seen, in Chinese.
    pub detail_zh: String,
    /// From where it was seen last, if not from this machine.
    pub vantage: Option<String>,
}

/// The last address of a listener that was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedAddress {
    /// The listener.
    pub listener: String,
    /// The scheme, for instance `wss`.
    pub scheme: String,
    /// The address.
    pub url: String,
    /// When it was proved last, in seconds since 1970.
    pub at: u64,
}

impl Registry {
    /// Replaces the states of all addresses. Costs nothing if they are the same.
    ///
    /// # Errors
    /// [`StoreError::TooMany`] beyond 1000 addresses.
    pub fn set_addresses(&mut self, addresses: &[AddressRow]) -> Result<(), StoreError> {
        if addresses.len() > limits::MAX_ADDRESSES {
            return Err(StoreError::TooMany {
                what: "advertised addresses",
                found: addresses.len(),
                limit: limits::MAX_ADDRESSES,
            });
        }
        if self.addresses()? == addresses {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            replace(db, addresses).map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// The states of all addresses, in the order in which they were given.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn addresses(&self) -> Result<Vec<AddressRow>, StoreError> {
        states(&self.connection).map_err(|source| self.failed(source))
    }

    /// Remembers the address of a listener and scheme that was proved last.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn remember_verified(&mut self, address: &VerifiedAddress) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            db.execute(
                "INSERT OR REPLACE INTO verified_addresses (listener, scheme, url, at)
                 VALUES (?1, ?2, ?3, ?4)",
                params![
                    address.listener,
                    address.scheme,
                    address.url,
                    signed(address.at)
                ],
            )
            .map(drop)
            .map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// Forgets an address that was proved once and is somebody else's now, so
    /// that the next start does not tell it. Says whether it was remembered.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn forget_verified(&mut self, url: &str) -> Result<bool, StoreError> {
        self.change(Area::Unwatched, |db, path| {
            db.execute("DELETE FROM verified_addresses WHERE url = ?1", [url])
                .map(|gone| gone > 0)
                .map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// The address of a listener and scheme that was proved last.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn last_verified(
        &self,
        listener: &str,
        scheme: &str,
    ) -> Result<Option<VerifiedAddress>, StoreError> {
        self.connection
            .query_row(
                "SELECT listener, scheme, url, at FROM verified_addresses
                 WHERE listener = ?1 AND scheme = ?2",
                params![listener, scheme],
                proved,
            )
            .optional()
            .map_err(|source| self.failed(source))
    }

    /// All that were proved last, by listener and scheme.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn all_last_verified(&self) -> Result<Vec<VerifiedAddress>, StoreError> {
        let find = || -> rusqlite::Result<Vec<VerifiedAddress>> {
            self.connection
                .prepare_cached(
                    "SELECT listener, scheme, url, at FROM verified_addresses
                     ORDER BY listener, scheme",
                )?
                .query_map([], proved)?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }
}

fn replace(db: &Connection, addresses: &[AddressRow]) -> rusqlite::Result<()> {
    db.execute("DELETE FROM addresses", [])?;
    let mut insert = db.prepare_cached(
        "INSERT INTO addresses
            (position, listener, url, via, state, since, until, detail_en, detail_zh, vantage)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (position, row) in (0i64..).zip(addresses) {
        insert.execute(params![
            position,
            row.listener,
            row.url,
            row.via,
            row.state,
            signed(row.since),
            row.until.map(signed),
            row.detail_en,
            row.detail_zh,
            row.vantage
        ])?;
    }
    Ok(())
}

fn states(db: &Connection) -> rusqlite::Result<Vec<AddressRow>> {
    db.prepare_cached(
        "SELECT listener, url, via, state, since, until, detail_en, detail_zh, vantage
         FROM addresses ORDER BY position",
    )?
    .query_map([], |row| {
        Ok(AddressRow {
            listener: row.get(0)?,
            url: row.get(1)?,
            via: row.get(2)?,
            state: row.get(3)?,
            since: unsigned(row, 4)?,
            until: maybe_unsigned(row, 5)?,
            detail_en: row.get(6)?,
            detail_zh: row.get(7)?,
            vantage: row.get(8)?,
        })
    })?
    .collect()
}

fn proved(row: &Row<'_>) -> rusqlite::Result<VerifiedAddress> {
    Ok(VerifiedAddress {
        listener: row.get(0)?,
        scheme: row.get(1)?,
        url: row.get(2)?,
        at: unsigned(row, 3)?,
    })
}
