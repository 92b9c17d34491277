//! Which device checks which key of the server: as long as one does, that key
//! stays.

use rusqlite::{Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{By, Kind, Registry, StoreError, audit};

/// A fingerprint of the server's key that a device was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The device, by name.
    pub device: String,
    /// The fingerprint, in the form of the caller's. One for each device.
    pub fingerprint: String,
    /// When the device was told, in seconds since 1970.
    pub at: u64,
    /// Since when somebody has accepted that the device no longer recognises
    /// the server, in seconds since 1970; `None` while the pin counts.
    pub stranded: Option<u64>,
}

impl Registry {
    /// Remembers the fingerprint that a device was told; the newest counts, and
    /// goes with the device when that is forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such device.
    pub fn pin(&mut self, device: &str, fingerprint: &str, at: u64) -> Result<(), StoreError> {
        self.change(Area::Certificates, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let query = "SELECT 1 FROM devices WHERE name = ?1";
            if !crate::logins::exists(db, query, device).map_err(failed)? {
                return Err(StoreError::NotFound {
                    kind: Kind::Device,
                    name: device.to_string(),
                });
            }
            db.execute(
                "INSERT OR REPLACE INTO pins (device, fingerprint, at) VALUES (?1, ?2, ?3)",
                params![device, fingerprint, signed(at)],
            )
            .map(drop)
            .map_err(failed)
        })
    }

    /// Forgets the fingerprint of a device, which was told another way to
    /// recognise the server. Says whether there was one.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn unpin(&mut self, device: &str) -> Result<bool, StoreError> {
        self.change(Area::Certificates, |db, path| {
            db.execute("DELETE FROM pins WHERE device = ?1", [device])
                .map(|gone| gone > 0)
                .map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// From now on the pins of these devices hold no key any more. Those that
    /// have none are passed over.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn strand(&mut self, devices: &[String], by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Certificates, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let mut update = db
                .prepare_cached(
                    "UPDATE pins SET stranded = ?2 WHERE device = ?1 AND stranded IS NULL",
                )
                .map_err(failed)?;
            for device in devices {
                let changed = update
                    .execute(params![device, signed(by.at)])
                    .map_err(failed)?;
                if changed > 0 {
                    let what = format!("device {device} may lose the server's key that it checks");
                    audit::write(db, by, &what).map_err(failed)?;
                }
            }
            Ok(())
        })
    }

    /// The fingerprint of every pin with the login name of its device.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn pinned_logins(&self) -> Result<Vec<(String, String)>, StoreError> {
        let find = || -> rusqlite::Result<Vec<(String, String)>> {
            self.connection
                .prepare_cached(
                    "SELECT username, fingerprint FROM pins JOIN devices ON name = device",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }

    /// All pins, by device.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let find = || -> rusqlite::Result<Vec<Pin>> {
            self.connection
                .prepare_cached(
                    "SELECT device, fingerprint, at, stranded FROM pins ORDER BY device",
                )?
                .query_map([], read)?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Pin> {
    Ok(Pin {
        device: row.get(0)?,
        fingerprint: row.get(1)?,
        at: unsigned(row, 2)?,
        stranded: maybe_unsigned(row, 3)?,
    })
}
