//! Tags: the groups a device belongs to, for settings of several devices.

use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::path::Path;

use crate::{By, Registry, StoreError, limits};

impl Registry {
    /// Replaces the tags of a device. A tag is 1 to 32 characters of `a-z`,
    /// `0-9` and `-`; a device has at most 16. Doubles count once.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::BadTag`],
    /// [`StoreError::TooMany`].
    pub fn set_device_tags<T: AsRef<str>>(
        &mut self,
        device: &str,
        tags: &[T],
        by: By<'_>,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
        let what = if tags.is_empty() {
            "tags removed".to_string()
        } else {
            format!("tags set to {}", tags.join(", "))
        };
        self.update_device(device, by, &what, |db, _| {
            Ok(write(db, &path, device, &tags))
        })
    }

    /// The tags of a device in alphabetical order; none for a device that does
    /// not exist.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn device_tags(&self, device: &str) -> Result<Vec<String>, StoreError> {
        read(&self.connection, device).map_err(|source| self.failed(source))
    }
}

/// Replaces the tags of a device that exists, within the caller's transaction.
pub(crate) fn write<T: AsRef<str>>(
    db: &Connection,
    path: &Path,
    device: &str,
    tags: &[T],
) -> Result<(), StoreError> {
    let mut tags: Vec<&str> = tags.iter().map(AsRef::as_ref).collect();
    tags.sort_unstable();
    tags.dedup();
    if let Some(bad) = tags.iter().find(|tag| !is_tag(tag)) {
        return Err(StoreError::BadTag {
            tag: (*bad).to_string(),
        });
    }
    if tags.len() > limits::MAX_TAGS {
        return Err(StoreError::TooMany {
            what: "tags of one device",
            found: tags.len(),
            limit: limits::MAX_TAGS,
        });
    }
    let replace = || -> rusqlite::Result<()> {
        db.execute("DELETE FROM device_tags WHERE device = ?1", [device])?;
        let mut insert =
            db.prepare_cached("INSERT INTO device_tags (device, tag) VALUES (?1, ?2)")?;
        for tag in &tags {
            insert.execute(params![device, tag])?;
        }
        Ok(())
    };
    replace().map_err(|source| StoreError::sqlite(path, source))
}

pub(crate) fn read(db: &Connection, device: &str) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached("SELECT tag FROM device_tags WHERE device = ?1 ORDER BY tag")?
        .query_map([device], |row| row.get(0))?
        .collect()
}

/// The tags of all devices that have any, in one query.
pub(crate) fn all(db: &Connection) -> rusqlite::Result<HashMap<String, Vec<String>>> {
    let mut all: HashMap<String, Vec<String>> = HashMap::new();
    let mut statement =
        db.prepare_cached("SELECT device, tag FROM device_tags ORDER BY device, tag")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        all.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    Ok(all)
}

fn is_tag(text: &str) -> bool {
    (1..=limits::MAX_TAG_LENGTH).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}
