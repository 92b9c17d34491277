//! Which device was told which address: as long as one holds it, its port stays.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::{Kind, Registry, StoreError, limits};

/// An address that a device was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The device, by name.
    pub device: String,
    /// The listener that the address leads to.
    pub listener: String,
    /// Its host.
    pub host: String,
    /// Its port, 1 to 65535.
    pub port: u16,
    /// All of it.
    pub url: String,
    /// When the device was told, in seconds since 1970. Up to an hour old if it
    /// is told the same address again and again.
    pub at: u64,
}

const COLUMNS: &str = "SELECT device, listener, host, port, url, at FROM told";

impl Registry {
    /// Remembers what a device was told. One address for each device and
    /// listener; the newest counts, and goes with the device when that is
    /// forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such device.
    pub fn tell(&mut self, told: &Told) -> Result<(), StoreError> {
        let last = one(&self.connection, &told.device, &told.listener)
            .map_err(|source| self.failed(source))?;
        if last.is_some_and(|last| is_fresh(&last, told)) {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let query = "SELECT 1 FROM devices WHERE name = ?1";
            if !crate::logins::exists(db, query, &told.device).map_err(failed)? {
                return Err(StoreError::NotFound {
                    kind: Kind::Device,
                    name: told.device.clone(),
                });
            }
            db.execute(
                "INSERT OR REPLACE INTO told (device, listener, host, port, url, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    told.device,
                    told.listener,
                    told.host,
                    told.port,
                    told.url,
                    signed(told.at)
                ],
            )
            .map(drop)
            .map_err(failed)
        })
    }

    /// The devices that hold an address of this listener with this port, by
    /// name.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn holders(&self, listener: &str, port: u16) -> Result<Vec<Told>, StoreError> {
        let query = format!("{COLUMNS} WHERE listener = ?1 AND port = ?2 ORDER BY device");
        let find = || -> rusqlite::Result<Vec<Told>> {
            self.connection
                .prepare_cached(&query)?
                .query_map(params![listener, port], read)?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }

    /// What devices were told, by device and listener.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn told(&self) -> Result<Vec<Told>, StoreError> {
        let find = || -> rusqlite::Result<Vec<Told>> {
            self.connection
                .prepare_cached(&format!("{COLUMNS} ORDER BY device, listener"))?
                .query_map([], read)?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }
}

fn is_fresh(last: &Told, now: &Told) -> bool {
    let same = (&last.host, last.port, &last.url) == (&now.host, now.port, &now.url);
    same && now.at.abs_diff(last.at) < limits::TOLD_REFRESH
}

fn one(db: &Connection, device: &str, listener: &str) -> rusqlite::Result<Option<Told>> {
    db.prepare_cached(&format!("{COLUMNS} WHERE device = ?1 AND listener = ?2"))?
        .query_row(params![device, listener], read)
        .optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Told> {
    Ok(Told {
        device: row.get(0)?,
        listener: row.get(1)?,
        host: row.get(2)?,
        port: row.get(3)?,
        url: row.get(4)?,
        at: unsigned(row, 5)?,
    })
}
