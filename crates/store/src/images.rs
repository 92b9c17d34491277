//! Images: what is known of files whose bytes lie in the [`BlobStore`](crate::BlobStore).

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::members::fits;
use crate::{BlobHash, By, Kind, Registry, StoreError, audit, limits};

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// The SHA-256 of its bytes, under which they lie.
    pub hash: BlobHash,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The plain name of the file that came.
    pub file_name: String,
    /// The word for the family it is for, if that is known.
    pub family: Option<String>,
    /// What was found in it, in the form of the caller's. At most 64 KiB.
    pub body: String,
    /// When it was added, in seconds since 1970.
    pub created: u64,
    /// Who added it.
    pub who: String,
}

const COLUMNS: &str = "SELECT hash, bytes, file_name, family, body, created, who FROM images";

impl Registry {
    /// Adds an image whose bytes are stored already. `false` if there is one with
    /// these bytes: that one stays as it is.
    ///
    /// # Errors
    /// [`StoreError::TooMany`]: there may be 10,000; [`StoreError::TooLong`].
    pub fn add_image(&mut self, image: &ImageRow, by: By<'_>) -> Result<bool, StoreError> {
        fits("what was found in an image", &image.body)?;
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            if exists(db, &image.hash).map_err(failed)? {
                return Ok(false);
            }
            let kept = db
                .query_row("SELECT count(*) FROM images", [], |row| unsigned(row, 0))
                .map_err(failed)?;
            if kept >= limits::MAX_IMAGES as u64 {
                return Err(StoreError::TooMany {
                    what: "images",
                    found: limits::MAX_IMAGES + 1,
                    limit: limits::MAX_IMAGES,
                });
            }
            db.execute(
                "INSERT INTO images (hash, bytes, file_name, family, body, created, who)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    image.hash,
                    signed(image.bytes),
                    image.file_name,
                    image.family,
                    image.body,
                    signed(image.created),
                    image.who
                ],
            )
            .map_err(failed)?;
            let what = format!("image {} ({}) added", image.file_name, image.hash);
            audit::write(db, by, &what).map_err(failed)?;
            Ok(true)
        })
    }

    /// One image.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn image(&self, hash: &BlobHash) -> Result<Option<ImageRow>, StoreError> {
        self.row(&format!("{COLUMNS} WHERE hash = ?1"), [hash], read)
    }

    /// All images, the newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn images(&self) -> Result<Vec<ImageRow>, StoreError> {
        self.rows(&format!("{COLUMNS} ORDER BY created DESC, hash"), [], read)
    }

    /// Removes an image and the download tokens for it. Its bytes stay until
    /// [`BlobStore::remove_unused`](crate::BlobStore::remove_unused).
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::InUse`] by a release or an open
    /// offer.
    pub fn remove_image(&mut self, hash: &BlobHash, by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            if !exists(db, hash).map_err(failed)? {
                return Err(StoreError::NotFound {
                    kind: Kind::Image,
                    name: hash.to_string(),
                });
            }
            if let Some(by) = user(db, hash).map_err(failed)? {
                return Err(StoreError::InUse {
                    kind: Kind::Image,
                    name: hash.to_string(),
                    by,
                });
            }
            db.execute("DELETE FROM images WHERE hash = ?1", [hash])
                .map_err(failed)?;
            audit::write(db, by, &format!("image {hash} removed")).map_err(failed)
        })
    }

    /// Whether an image or a backup has these bytes.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn blob_is_used(&self, hash: &BlobHash) -> Result<bool, StoreError> {
        let query = "SELECT 1 FROM images WHERE hash = ?1
             UNION ALL SELECT 1 FROM backups WHERE hash = ?1 LIMIT 1";
        let used = self.row(query, [hash], |_| Ok(()))?;
        Ok(used.is_some())
    }
}

pub(crate) fn exists(db: &Connection, hash: &BlobHash) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM images WHERE hash = ?1")?
        .exists([hash])
}

/// What still needs the image, in words.
fn user(db: &Connection, hash: &BlobHash) -> rusqlite::Result<Option<String>> {
    let mut users = db.prepare_cached(
        "SELECT 'the release ' || name FROM release_images JOIN releases ON id = release
            WHERE image = ?1
         UNION ALL SELECT 'the open offer ' || id FROM offers WHERE image = ?1 AND open = 1
         LIMIT 1",
    )?;
    let mut found = users.query_map([hash], |row| row.get(0))?;
    found.next().transpose()
}

fn read(row: &Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        hash: row.get(0)?,
        bytes: unsigned(row, 1)?,
        file_name: row.get(2)?,
        family: row.get(3)?,
        body: row.get(4)?,
        created: unsigned(row, 5)?,
        who: row.get(6)?,
    })
}
