//! Devices in the registry.

use rusqlite::{Connection, OptionalExtension, Row, params};
use std::path::Path;

use crate::areas::Area;
use crate::audit;
use crate::columns::{signed, unsigned};
use crate::logins::{all_rights, claim_login, read_rights, write_rights};
use crate::{By, DeviceRecord, Kind, Registry, Rights, Secret, StoreError, revisions, tags};

const COLUMNS: &str =
    "SELECT name, family, topic, client_id, username, mac, password_hash, created FROM devices";

impl Registry {
    /// Adds a device.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] by a user or a device;
    /// [`StoreError::IdentityTaken`] if another device has its client
    /// identifier or hardware address; [`StoreError::BadTag`] and
    /// [`StoreError::TooMany`] for its tags.
    pub fn add_device(&mut self, device: &DeviceRecord, by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Accounts, |db, path| add(db, path, device, by))
    }

    /// Adds several devices, all or none, each with its download token where it
    /// is to have one.
    ///
    /// # Errors
    /// Those of [`add_device`](Registry::add_device) and
    /// [`set_device_token`](Registry::set_device_token), for the first device
    /// that cannot be added; then none is.
    pub fn add_devices(
        &mut self,
        devices: &[(DeviceRecord, Option<String>)],
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Accounts, |db, path| {
            for (device, token) in devices {
                add(db, path, device, by)?;
                if let Some(token) = token {
                    crate::device_tokens::set(db, path, &device.name, token, by)?;
                }
            }
            Ok(())
        })
    }

    /// Replaces the password hash of a device.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn set_device_password(
        &mut self,
        name: &str,
        hash: &Secret,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.update_device(name, by, "password changed", |db, _| {
            db.execute(
                "UPDATE devices SET password_hash = ?2 WHERE name = ?1",
                params![name, hash.expose()],
            )
            .map(|_| Ok(()))
        })
    }

    /// Notes the hardware address of a device, or removes it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::IdentityTaken`] if another
    /// device has this address.
    pub fn set_device_mac(
        &mut self,
        name: &str,
        mac: Option<&str>,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        let what = match mac {
            Some(mac) => format!("MAC address set to {mac}"),
            None => "MAC address removed".to_string(),
        };
        self.update_device(name, by, &what, |db, _| {
            if let Err(taken) = free(db, "mac", "the MAC address", mac, name)? {
                return Ok(Err(taken));
            }
            db.execute(
                "UPDATE devices SET mac = ?2 WHERE name = ?1",
                params![name, mac],
            )
            .map(|_| Ok(()))
        })
    }

    /// Replaces the rights of a device beyond its family's pattern.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn set_device_extra(
        &mut self,
        name: &str,
        extra: &Rights,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.update_device(name, by, "rights changed", |db, username| {
            write_rights(db, username, extra).map(Ok)
        })
    }

    /// Removes a device with its credentials, rights and tags, what it was told,
    /// and the settings that were made for it alone: those are unset by a
    /// revision of their own, so that a new device of this name starts afresh. What
    /// was said with it goes with its sound.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]. A file with sound could not be removed; then the
    /// device is forgotten, and the file tried again.
    pub fn forget_device(&mut self, name: &str, by: By<'_>) -> Result<(), StoreError> {
        self.update_device(name, by, "forgotten", |db, username| {
            revisions::unset_all_of_device(db, name, by)?;
            db.execute("DELETE FROM logins WHERE name = ?1", [username])
                .map(|_| Ok(()))
        })?;
        self.remove_gone_recordings().map(drop)
    }

    /// All devices, by name.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn devices(&self) -> Result<Vec<DeviceRecord>, StoreError> {
        all(&self.connection).map_err(|source| self.failed(source))
    }

    /// Name and family of the devices that have this topic.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn devices_with_topic(&self, topic: &str) -> Result<Vec<(String, String)>, StoreError> {
        let found = || -> rusqlite::Result<Vec<(String, String)>> {
            self.connection
                .prepare_cached("SELECT name, family FROM devices WHERE topic = ?1")?
                .query_map([topic], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        found().map_err(|source| self.failed(source))
    }

    /// One device.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn device(&self, name: &str) -> Result<Option<DeviceRecord>, StoreError> {
        one(&self.connection, "name", name).map_err(|source| self.failed(source))
    }

    /// The device that has this hardware address, as it is written down.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn device_with_mac(&self, mac: &str) -> Result<Option<DeviceRecord>, StoreError> {
        one(&self.connection, "mac", mac).map_err(|source| self.failed(source))
    }

    /// Runs `update` with the login name of the device, then audits it.
    pub(crate) fn update_device(
        &mut self,
        name: &str,
        by: By<'_>,
        what: &str,
        update: impl FnOnce(&Connection, &str) -> rusqlite::Result<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        self.change(Area::Accounts, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let Some(device) = one(db, "name", name).map_err(failed)? else {
                return Err(StoreError::NotFound {
                    kind: Kind::Device,
                    name: name.to_string(),
                });
            };
            update(db, &device.username).map_err(failed)??;
            audit::write(db, by, &format!("device {name} {what}")).map_err(failed)
        })
    }
}

/// Adds a device, within the caller's transaction.
pub(crate) fn add(
    db: &Connection,
    path: &Path,
    device: &DeviceRecord,
    by: By<'_>,
) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    claim_login(db, path, &device.username, Kind::Device)?;
    if holder(db, "name", &device.name).map_err(failed)?.is_some() {
        return Err(StoreError::NameTaken {
            name: device.name.clone(),
            by: Kind::Device,
        });
    }
    let client_id = Some(device.client_id.as_str());
    free(db, "client_id", "the client id", client_id, &device.name).map_err(failed)??;
    free(
        db,
        "mac",
        "the MAC address",
        device.mac.as_deref(),
        &device.name,
    )
    .map_err(failed)??;
    db.execute(
        "INSERT INTO devices
            (name, family, topic, client_id, username, mac, password_hash, created)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            device.name,
            device.family,
            device.topic,
            device.client_id,
            device.username,
            device.mac,
            device.password_hash.expose(),
            signed(device.created)
        ],
    )
    .map_err(failed)?;
    write_rights(db, &device.username, &device.extra).map_err(failed)?;
    tags::write(db, path, &device.name, &device.tags)?;
    let what = format!("{} device {} added", device.family, device.name);
    audit::write(db, by, &what).map_err(failed)
}

pub(crate) fn all(db: &Connection) -> rusqlite::Result<Vec<DeviceRecord>> {
    let mut statement = db.prepare_cached(&format!("{COLUMNS} ORDER BY name"))?;
    let mut rights = all_rights(db)?;
    let mut tags = tags::all(db)?;
    let rows = statement.query_map([], read)?;
    rows.map(|device| {
        let mut device = device?;
        device.extra = rights.remove(&device.username).unwrap_or_default();
        device.tags = tags.remove(&device.name).unwrap_or_default();
        Ok(device)
    })
    .collect()
}

pub(crate) fn by_username(
    db: &Connection,
    username: &str,
) -> rusqlite::Result<Option<DeviceRecord>> {
    one(db, "username", username)
}

/// The device whose `column` (a name of this module, never input) is `value`.
fn one(
    db: &Connection,
    column: &'static str,
    value: &str,
) -> rusqlite::Result<Option<DeviceRecord>> {
    db.prepare_cached(&format!("{COLUMNS} WHERE {column} = ?1"))?
        .query_row([value], read)
        .optional()?
        .map(|device| complete(db, device))
        .transpose()
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    Ok(DeviceRecord {
        name: row.get(0)?,
        family: row.get(1)?,
        topic: row.get(2)?,
        client_id: row.get(3)?,
        username: row.get(4)?,
        mac: row.get(5)?,
        password_hash: Secret::new(row.get::<_, String>(6)?),
        extra: Rights::default(),
        tags: Vec::new(),
        created: unsigned(row, 7)?,
    })
}

fn complete(db: &Connection, mut device: DeviceRecord) -> rusqlite::Result<DeviceRecord> {
    device.extra = read_rights(db, &device.username)?;
    device.tags = tags::read(db, &device.name)?;
    Ok(device)
}

fn holder(db: &Connection, column: &'static str, value: &str) -> rusqlite::Result<Option<String>> {
    db.query_row(
        &format!("SELECT name FROM devices WHERE {column} = ?1"),
        [value],
        |row| row.get(0),
    )
    .optional()
}

/// Whether no device but `own` has this identity.
fn free(
    db: &Connection,
    column: &'static str,
    what: &'static str,
    value: Option<&str>,
    own: &str,
) -> rusqlite::Result<Result<(), StoreError>> {
    let Some(value) = value else {
        return Ok(Ok(()));
    };
    Ok(match holder(db, column, value)? {
        Some(device) if device != own => Err(StoreError::IdentityTaken {
            what,
            value: value.to_string(),
            device,
        }),
        _ => Ok(()),
    })
}
