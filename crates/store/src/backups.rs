//! Backups of devices: which there are. Their bytes lie in the
//! [`BlobStore`](crate::BlobStore).

use rusqlite::{Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{BlobHash, By, Kind, Registry, StoreError, audit, limits};

/// A backup whose bytes are stored already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackup {
    /// The number of the device.
    pub member: u64,
    /// What was saved, in a word of the caller's.
    pub kind: String,
    /// The version that the device ran.
    pub version: Option<String>,
    /// The plain name that the device gave it.
    pub file_name: String,
    /// The SHA-256 of its bytes, under which they lie.
    pub hash: BlobHash,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it was taken for, in words.
    pub why: String,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRow {
    /// Grows with every backup and is never used twice.
    pub id: u64,
    /// The number of the device.
    pub member: u64,
    /// When it was taken, in seconds since 1970.
    pub at: u64,
    /// What was saved, in a word of the caller's.
    pub kind: String,
    /// The version that the device ran.
    pub version: Option<String>,
    /// The plain name that the device gave it.
    pub file_name: String,
    /// The SHA-256 of its bytes, under which they lie.
    pub hash: BlobHash,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Who took it.
    pub who: String,
    /// What it was taken for, in words.
    pub why: String,
    /// When the same bytes were found on the device again, in seconds since 1970.
    pub again_at: Option<u64>,
}

const COLUMNS: &str =
    "SELECT id, member, at, kind, version, file_name, hash, bytes, who, why, again_at FROM backups";

impl Registry {
    /// Adds a backup taken at `by.at`, and returns its number. The newest `keep`
    /// of this device and kind stay, at least this one and at most 100; the bytes
    /// of the others go with
    /// [`BlobStore::remove_unused`](crate::BlobStore::remove_unused).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the device.
    pub fn add_backup(
        &mut self,
        backup: &NewBackup,
        keep: u32,
        by: By<'_>,
    ) -> Result<u64, StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let member = signed(backup.member);
            let known = db
                .prepare_cached("SELECT 1 FROM members WHERE id = ?1")
                .and_then(|mut known| known.exists([member]))
                .map_err(failed)?;
            if !known {
                return Err(StoreError::NotFound {
                    kind: Kind::Member,
                    name: member.to_string(),
                });
            }
            db.execute(
                "INSERT INTO backups (member, at, kind, version, file_name, hash, bytes, who, why)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    member,
                    signed(by.at),
                    backup.kind,
                    backup.version,
                    backup.file_name,
                    backup.hash,
                    signed(backup.bytes),
                    by.who,
                    backup.why
                ],
            )
            .map_err(failed)?;
            let id = u64::try_from(db.last_insert_rowid()).unwrap_or_default();
            db.execute(
                "DELETE FROM backups WHERE id IN (
                    SELECT id FROM backups WHERE member = ?1 AND kind = ?2
                    ORDER BY id DESC LIMIT -1 OFFSET ?3)",
                params![member, backup.kind, keep.clamp(1, limits::MAX_BACKUPS)],
            )
            .map_err(failed)?;
            let what = format!("backup {id} ({}) of device {member} taken", backup.kind);
            audit::write(db, by, &what).map_err(failed)?;
            Ok(id)
        })
    }

    /// Notes that a device has the bytes of this backup still, or again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn note_backup(&mut self, id: u64, by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let noted = db
                .execute(
                    "UPDATE backups SET again_at = ?2 WHERE id = ?1",
                    [signed(id), signed(by.at)],
                )
                .map_err(failed)?;
            if noted == 0 {
                return Err(StoreError::NotFound {
                    kind: Kind::Backup,
                    name: id.to_string(),
                });
            }
            audit::write(db, by, &format!("backup {id} found unchanged")).map_err(failed)
        })
    }

    /// The backups of a device, the newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn backups(&self, member: u64) -> Result<Vec<BackupRow>, StoreError> {
        let query = format!("{COLUMNS} WHERE member = ?1 ORDER BY id DESC");
        self.rows(&query, [signed(member)], read)
    }

    /// One backup.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn backup(&self, id: u64) -> Result<Option<BackupRow>, StoreError> {
        self.row(&format!("{COLUMNS} WHERE id = ?1"), [signed(id)], read)
    }

    /// Removes a backup. Its bytes go with
    /// [`BlobStore::remove_unused`](crate::BlobStore::remove_unused).
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn remove_backup(&mut self, id: u64, by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let gone = db
                .execute("DELETE FROM backups WHERE id = ?1", [signed(id)])
                .map_err(failed)?;
            if gone == 0 {
                return Err(StoreError::NotFound {
                    kind: Kind::Backup,
                    name: id.to_string(),
                });
            }
            audit::write(db, by, &format!("backup {id} removed")).map_err(failed)
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<BackupRow> {
    Ok(BackupRow {
        id: unsigned(row, 0)?,
        member: unsigned(row, 1)?,
        at: unsigned(row, 2)?,
        kind: row.get(3)?,
        version: row.get(4)?,
        file_name: row.get(5)?,
        hash: row.get(6)?,
        bytes: unsigned(row, 7)?,
        who: row.get(8)?,
        why: row.get(9)?,
        again_at: maybe_unsigned(row, 10)?,
    })
}
