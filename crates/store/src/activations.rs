//! Activations: codes that devices show until their owner enters one.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::members::fits;
use crate::{By, DeviceRecord, Kind, Registry, StoreError, audit, devices, limits};

/// A device that waits for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationRow {
    /// What it shows. No two devices have the same.
    pub code: String,
    /// Its hardware address, in its one spelling. One code for each.
    pub mac: String,
    /// The identifier that it has made for itself.
    pub uuid: Option<String>,
    /// Everything else, in the form of the caller's. At most 64 KiB.
    pub body: String,
    /// When it asked first, in seconds since 1970.
    pub created: u64,
    /// From when on the code is not valid any more, in seconds since 1970.
    pub expires: u64,
}

const COLUMNS: &str = "SELECT code, mac, uuid, body, created, expires FROM activations";

impl Registry {
    /// Gives a device its code, in place of one that it had. `false` if another
    /// device has this code at `now`, in seconds since 1970: draw another one;
    /// nothing is changed then.
    ///
    /// # Errors
    /// [`StoreError::TooMany`]: 10,000 devices may wait; [`StoreError::TooLong`].
    pub fn add_activation(
        &mut self,
        activation: &ActivationRow,
        now: u64,
    ) -> Result<bool, StoreError> {
        fits("what is known of a device that waits", &activation.body)?;
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            db.execute("DELETE FROM activations WHERE expires <= ?1", [signed(now)])
                .map_err(failed)?;
            let holder: Option<String> = db
                .query_row(
                    "SELECT mac FROM activations WHERE code = ?1",
                    [&activation.code],
                    |row| row.get(0),
                )
                .optional()
                .map_err(failed)?;
            if holder.is_some_and(|mac| mac != activation.mac) {
                return Ok(false);
            }
            db.execute(
                "INSERT OR REPLACE INTO activations (code, mac, uuid, body, created, expires)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    activation.code,
                    activation.mac,
                    activation.uuid,
                    activation.body,
                    signed(activation.created),
                    signed(activation.expires)
                ],
            )
            .map_err(failed)?;
            let waiting = db
                .query_row("SELECT count(*) FROM activations", [], |row| {
                    unsigned(row, 0)
                })
                .map_err(failed)?;
            if waiting > limits::MAX_ACTIVATIONS as u64 {
                return Err(StoreError::TooMany {
                    what: "devices that wait to be activated",
                    found: limits::MAX_ACTIVATIONS + 1,
                    limit: limits::MAX_ACTIVATIONS,
                });
            }
            Ok(true)
        })
    }

    /// The device that shows this code, if that is valid at `now`.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn activation(&self, code: &str, now: u64) -> Result<Option<ActivationRow>, StoreError> {
        let query = format!("{COLUMNS} WHERE code = ?1 AND expires > ?2");
        self.row(&query, params![code, signed(now)], read)
    }

    /// What the device with this hardware address shows, if that is valid at
    /// `now`.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn activation_of(&self, mac: &str, now: u64) -> Result<Option<ActivationRow>, StoreError> {
        let query = format!("{COLUMNS} WHERE mac = ?1 AND expires > ?2");
        self.row(&query, params![mac, signed(now)], read)
    }

    /// All devices that wait at `now`, the latest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn activations(&self, now: u64) -> Result<Vec<ActivationRow>, StoreError> {
        let query = format!("{COLUMNS} WHERE expires > ?1 ORDER BY created DESC, code");
        self.rows(&query, [signed(now)], read)
    }

    /// Removes a code. Says whether it was there.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn remove_activation(&mut self, code: &str) -> Result<bool, StoreError> {
        self.change(Area::Unwatched, |db, path| {
            take(db, code).map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// Adds the device that shows this code, and uses the code up, in one
    /// transaction: never one without the other.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the code is not valid at `by.at`; those of
    /// [`add_device`](Registry::add_device). Then the code stays.
    pub fn enrol_with_code(
        &mut self,
        code: &str,
        device: &DeviceRecord,
        by: By<'_>,
    ) -> Result<ActivationRow, StoreError> {
        self.change(Area::Accounts, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let found = db
                .query_row(
                    &format!("{COLUMNS} WHERE code = ?1 AND expires > ?2"),
                    params![code, signed(by.at)],
                    read,
                )
                .optional()
                .map_err(failed)?;
            let Some(activation) = found else {
                return Err(StoreError::NotFound {
                    kind: Kind::Activation,
                    name: code.to_string(),
                });
            };
            devices::add(db, path, device, by)?;
            take(db, code).map_err(failed)?;
            let what = format!("device {} activated with its code", device.name);
            audit::write(db, by, &what).map_err(failed)?;
            Ok(activation)
        })
    }
}

fn take(db: &Connection, code: &str) -> rusqlite::Result<bool> {
    db.execute("DELETE FROM activations WHERE code = ?1", [code])
        .map(|gone| gone > 0)
}

fn read(row: &Row<'_>) -> rusqlite::Result<ActivationRow> {
    Ok(ActivationRow {
        code: row.get(0)?,
        mac: row.get(1)?,
        uuid: row.get(2)?,
        body: row.get(3)?,
        created: unsigned(row, 4)?,
        expires: unsigned(row, 5)?,
    })
}
