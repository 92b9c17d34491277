//! Releases: images that are offered together under one name.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::members::fits;
use crate::{BlobHash, By, Kind, Registry, StoreError, audit, images, limits};

/// A release that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    /// Its name. Unique among releases that are not removed.
    pub name: String,
    /// Everything else, in the form of the caller's. At most 64 KiB.
    pub body: String,
    /// Its images; at most 256.
    pub images: Vec<ReleaseImage>,
}

/// An image of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseImage {
    /// Which devices it is for, in a word of the caller's.
    pub class: String,
    /// Which step of their upgrade it is. One image for each class and step.
    pub step: u32,
    /// The image.
    pub hash: BlobHash,
}

/// A release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRow {
    /// Grows with every release and is never used twice.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Everything else, in the form of the caller's.
    pub body: String,
    /// Its images, by class and step; none once it is removed.
    pub images: Vec<ReleaseImage>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Who made it.
    pub who: String,
    /// When it was removed, in seconds since 1970.
    pub removed: Option<u64>,
}

const COLUMNS: &str = "SELECT id, name, body, created, who, removed FROM releases";

impl Registry {
    /// Makes a release, and returns its number.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`]; [`StoreError::NotFound`] for an image;
    /// [`StoreError::TooMany`], [`StoreError::TooLong`].
    pub fn add_release(&mut self, release: &NewRelease, by: By<'_>) -> Result<u64, StoreError> {
        fits("what is known of a release", &release.body)?;
        if release.images.len() > limits::MAX_RELEASE_IMAGES {
            return Err(StoreError::TooMany {
                what: "images of one release",
                found: release.images.len(),
                limit: limits::MAX_RELEASE_IMAGES,
            });
        }
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            if id_of(db, &release.name).map_err(failed)?.is_some() {
                return Err(StoreError::NameTaken {
                    name: release.name.clone(),
                    by: Kind::Release,
                });
            }
            for image in &release.images {
                if !images::exists(db, &image.hash).map_err(failed)? {
                    return Err(StoreError::NotFound {
                        kind: Kind::Image,
                        name: image.hash.to_string(),
                    });
                }
            }
            let live = "SELECT count(*) FROM releases WHERE removed IS NULL";
            let kept = db
                .query_row(live, [], |row| unsigned(row, 0))
                .map_err(failed)?;
            if kept >= limits::MAX_RELEASES as u64 {
                return Err(StoreError::TooMany {
                    what: "releases",
                    found: limits::MAX_RELEASES + 1,
                    limit: limits::MAX_RELEASES,
                });
            }
            let id = insert(db, release, by).map_err(failed)?;
            let what = format!("release {} made", release.name);
            audit::write(db, by, &what).map_err(failed)?;
            Ok(id)
        })
    }

    /// The release of this name that is not removed.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn release(&self, name: &str) -> Result<Option<ReleaseRow>, StoreError> {
        let query = format!("{COLUMNS} WHERE name = ?1 AND removed IS NULL");
        let found = self.row(&query, [name], read)?;
        found.map(|row| self.with_images(row)).transpose()
    }

    /// The release with this number, removed or not.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn release_by_id(&self, id: u64) -> Result<Option<ReleaseRow>, StoreError> {
        let found = self.row(&format!("{COLUMNS} WHERE id = ?1"), [signed(id)], read)?;
        found.map(|row| self.with_images(row)).transpose()
    }

    /// All releases that are not removed, the newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn releases(&self) -> Result<Vec<ReleaseRow>, StoreError> {
        let query = format!("{COLUMNS} WHERE removed IS NULL ORDER BY id DESC");
        let found = self.rows(&query, [], read)?;
        found.into_iter().map(|row| self.with_images(row)).collect()
    }

    /// Removes a release: what is known of it stays, its name and its images are
    /// free again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::InUse`] by an open offer.
    pub fn remove_release(&mut self, name: &str, by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let Some(id) = id_of(db, name).map_err(failed)? else {
                return Err(StoreError::NotFound {
                    kind: Kind::Release,
                    name: name.to_string(),
                });
            };
            if let Some(offer) = open_offer(db, id).map_err(failed)? {
                return Err(StoreError::InUse {
                    kind: Kind::Release,
                    name: name.to_string(),
                    by: format!("the open offer {offer}"),
                });
            }
            remove(db, id, by).map_err(failed)?;
            audit::write(db, by, &format!("release {name} removed")).map_err(failed)
        })
    }

    fn with_images(&self, mut release: ReleaseRow) -> Result<ReleaseRow, StoreError> {
        release.images = self.rows(
            "SELECT class, step, image FROM release_images WHERE release = ?1
             ORDER BY class, step",
            [signed(release.id)],
            |row| {
                Ok(ReleaseImage {
                    class: row.get(0)?,
                    step: row.get(1)?,
                    hash: row.get(2)?,
                })
            },
        )?;
        Ok(release)
    }
}

fn id_of(db: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM releases WHERE name = ?1 AND removed IS NULL")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn open_offer(db: &Connection, release: i64) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("SELECT id FROM offers WHERE release = ?1 AND open = 1 LIMIT 1")?
        .query_row([release], |row| row.get(0))
        .optional()
}

fn insert(db: &Connection, release: &NewRelease, by: By<'_>) -> rusqlite::Result<u64> {
    db.execute(
        "INSERT INTO releases (name, body, created, who) VALUES (?1, ?2, ?3, ?4)",
        params![release.name, release.body, signed(by.at), by.who],
    )?;
    let id = db.last_insert_rowid();
    // Of two images for one class and step the last one counts.
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO release_images (release, class, step, image)
         VALUES (?1, ?2, ?3, ?4)",
    )?;
    for image in &release.images {
        insert.execute(params![id, image.class, image.step, image.hash])?;
    }
    Ok(u64::try_from(id).unwrap_or_default())
}

fn remove(db: &Connection, id: i64, by: By<'_>) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE releases SET removed = ?2 WHERE id = ?1",
        params![id, signed(by.at)],
    )?;
    db.execute("DELETE FROM release_images WHERE release = ?1", [id])?;
    // An offer says in its body what it was of.
    let beyond = "SELECT id FROM releases WHERE removed IS NOT NULL
         ORDER BY removed DESC, id DESC LIMIT -1 OFFSET ?1";
    let most = limits::MAX_RELEASES as u64;
    db.execute(
        &format!("UPDATE offers SET release = NULL WHERE release IN ({beyond})"),
        [signed(most)],
    )?;
    db.execute(
        &format!("DELETE FROM releases WHERE id IN ({beyond})"),
        [signed(most)],
    )
    .map(drop)
}

fn read(row: &Row<'_>) -> rusqlite::Result<ReleaseRow> {
    Ok(ReleaseRow {
        id: unsigned(row, 0)?,
        name: row.get(1)?,
        body: row.get(2)?,
        images: Vec::new(),
        created: unsigned(row, 3)?,
        who: row.get(4)?,
        removed: maybe_unsigned(row, 5)?,
    })
}
