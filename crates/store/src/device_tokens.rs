//! Device tokens: the one address under which an enrolled device always finds
//! what is offered to it.

use std::path::Path;

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{By, Kind, Registry, StoreError, audit};

/// The token of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceToken {
    /// The device, by name.
    pub device: String,
    /// Its text. Unique.
    pub token: String,
    /// When it was issued, in seconds since 1970.
    pub created: u64,
    /// How often something was fetched with it.
    pub gets: u64,
    /// When that was last, in seconds since 1970.
    pub last_at: Option<u64>,
}

const COLUMNS: &str = "SELECT device, token, created, gets, last_at FROM device_tokens";

impl Registry {
    /// Gives a device its token. One that it had is valid no longer; it goes with
    /// the device when that is forgotten.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such device;
    /// [`StoreError::NameTaken`] if another device has this token.
    pub fn set_device_token(
        &mut self,
        device: &str,
        token: &str,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| set(db, path, device, token, by))
    }

    /// The token of a device.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn device_token(&self, device: &str) -> Result<Option<DeviceToken>, StoreError> {
        self.row(&format!("{COLUMNS} WHERE device = ?1"), [device], read)
    }

    /// The name of the device that has this token.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn device_token_holder(&self, token: &str) -> Result<Option<String>, StoreError> {
        let query = "SELECT device FROM device_tokens WHERE token = ?1";
        self.row(query, [token], |row| row.get(0))
    }

    /// All device tokens, by device.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn device_tokens(&self) -> Result<Vec<DeviceToken>, StoreError> {
        self.rows(&format!("{COLUMNS} ORDER BY device"), [], read)
    }

    /// Takes the token of a device back. Says whether it had one.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn revoke_device_token(&mut self, device: &str, by: By<'_>) -> Result<bool, StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let gone = db
                .execute("DELETE FROM device_tokens WHERE device = ?1", [device])
                .map_err(failed)?;
            if gone > 0 {
                let what = format!("download token of device {device} revoked");
                audit::write(db, by, &what).map_err(failed)?;
            }
            Ok(gone > 0)
        })
    }

    /// Counts fetches, in one transaction: token, how many, and when the last one
    /// was in seconds since 1970. Those of tokens that are gone are passed over.
    ///
    /// # Errors
    /// The database could not be written; then nothing is counted.
    pub fn note_device_tokens(&mut self, uses: &[(&str, u64, u64)]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            let count = || -> rusqlite::Result<()> {
                let mut update = db.prepare_cached(
                    "UPDATE device_tokens SET gets = gets + ?2, last_at = max(?3, ifnull(last_at, 0))
                     WHERE token = ?1",
                )?;
                for (token, gets, at) in uses {
                    update.execute(params![token, signed(*gets), signed(*at)])?;
                }
                Ok(())
            };
            count().map_err(|source| StoreError::sqlite(path, source))
        })
    }
}

/// Gives a device its token, within the caller's transaction.
pub(crate) fn set(
    db: &Connection,
    path: &Path,
    device: &str,
    token: &str,
    by: By<'_>,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    let query = "SELECT 1 FROM devices WHERE name = ?1";
    if !crate::logins::exists(db, query, device).map_err(failed)? {
        return Err(StoreError::NotFound {
            kind: Kind::Device,
            name: device.to_string(),
        });
    }
    let query = "SELECT 1 FROM device_tokens WHERE token = ?1 AND device <> ?2";
    let taken = db
        .prepare_cached(query)
        .and_then(|mut taken| taken.exists(params![token, device]))
        .map_err(failed)?;
    if taken {
        return Err(StoreError::NameTaken {
            name: token.to_string(),
            by: Kind::Download,
        });
    }
    db.execute(
        "INSERT OR REPLACE INTO device_tokens (device, token, created)
         VALUES (?1, ?2, ?3)",
        params![device, token, signed(by.at)],
    )
    .map_err(failed)?;
    let what = format!("device {device} given a download token");
    audit::write(db, by, &what).map_err(failed)
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeviceToken> {
    Ok(DeviceToken {
        device: row.get(0)?,
        token: row.get(1)?,
        created: unsigned(row, 2)?,
        gets: unsigned(row, 3)?,
        last_at: maybe_unsigned(row, 4)?,
    })
}
