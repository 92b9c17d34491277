//! Download tokens: folders in the address space of downloads, for a while.

use rusqlite::{Connection, Row, params};
use std::path::Path;

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{BlobHash, Kind, Registry, StoreError, limits};

/// A token and the files under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadToken {
    /// Its text. Unique.
    pub token: String,
    /// The offer that it belongs to, and ends with.
    pub offer: Option<u64>,
    /// The number of the device that it is for.
    pub member: Option<u64>,
    /// When it was issued, in seconds since 1970.
    pub created: u64,
    /// From when on it is not valid any more, in seconds since 1970.
    pub expires: u64,
    /// Its files, by name; at most 16.
    pub files: Vec<DownloadFile>,
}

/// A file under a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadFile {
    /// Its plain name, as it stands in the address.
    pub file: String,
    /// Which step of an upgrade it is for.
    pub step: u32,
    /// The image.
    pub hash: BlobHash,
    /// How often it was fetched.
    pub gets: u64,
    /// How many bytes were served, of all fetches together.
    pub bytes: u64,
    /// When it was fetched last, in seconds since 1970.
    pub last_at: Option<u64>,
}

/// Fetches that were not counted yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadUse {
    /// The token.
    pub token: String,
    /// The file.
    pub file: String,
    /// How many fetches.
    pub gets: u64,
    /// How many bytes.
    pub bytes: u64,
    /// When the last one was, in seconds since 1970.
    pub at: u64,
}

const COLUMNS: &str = "SELECT token, offer, member, created, expires FROM downloads";

impl Registry {
    /// Issues a token. The newest 16 of an offer, of a device without an
    /// offer, or of neither, are kept.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] if there is such a token;
    /// [`StoreError::NotFound`] for the offer (it must be open), the device or an
    /// image; [`StoreError::TooMany`] files.
    pub fn issue_download(&mut self, token: &DownloadToken) -> Result<(), StoreError> {
        self.issue_downloads(std::slice::from_ref(token))
    }

    /// Issues many tokens in one transaction: all, or none.
    ///
    /// # Errors
    /// As [`issue_download`](Registry::issue_download).
    pub fn issue_downloads(&mut self, tokens: &[DownloadToken]) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            tokens.iter().try_for_each(|token| issue(db, path, token))
        })
    }

    /// A token and its files; also one whose time is over.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn download(&self, token: &str) -> Result<Option<DownloadToken>, StoreError> {
        let found = self.row(&format!("{COLUMNS} WHERE token = ?1"), [token], read)?;
        found.map(|token| self.with_files(token)).transpose()
    }

    /// All tokens that are valid at `now`, in seconds since 1970, by their text.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn live_downloads(&self, now: u64) -> Result<Vec<DownloadToken>, StoreError> {
        let query = format!("{COLUMNS} WHERE expires > ?1 ORDER BY token");
        let found = self.rows(&query, [signed(now)], read)?;
        found
            .into_iter()
            .map(|token| self.with_files(token))
            .collect()
    }

    /// The tokens of an offer, the newest first.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn downloads_of_offer(&self, offer: u64) -> Result<Vec<DownloadToken>, StoreError> {
        let query = format!("{COLUMNS} WHERE offer = ?1 ORDER BY created DESC, token");
        let found = self.rows(&query, [signed(offer)], read)?;
        found
            .into_iter()
            .map(|token| self.with_files(token))
            .collect()
    }

    /// Counts fetches, in one transaction. Those of tokens that are gone are
    /// passed over.
    ///
    /// # Errors
    /// The database could not be written; then nothing is counted.
    pub fn note_downloads(&mut self, uses: &[DownloadUse]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            let count = || -> rusqlite::Result<()> {
                let mut update = db.prepare_cached(
                    "UPDATE download_files SET gets = gets + ?3, bytes = bytes + ?4,
                        last_at = max(?5, ifnull(last_at, 0))
                     WHERE token = ?1 AND file = ?2",
                )?;
                for used in uses {
                    update.execute(params![
                        used.token,
                        used.file,
                        signed(used.gets),
                        signed(used.bytes),
                        signed(used.at)
                    ])?;
                }
                Ok(())
            };
            count().map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// Takes tokens back, in one transaction. Those that are gone are passed
    /// over.
    ///
    /// # Errors
    /// The database could not be written; then nothing is changed.
    pub fn revoke_downloads<T: AsRef<str>>(&mut self, tokens: &[T]) -> Result<(), StoreError> {
        if tokens.is_empty() {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            let revoke = || -> rusqlite::Result<()> {
                let mut delete = db.prepare_cached("DELETE FROM downloads WHERE token = ?1")?;
                for token in tokens {
                    delete.execute([token.as_ref()])?;
                }
                Ok(())
            };
            revoke().map_err(|source| StoreError::sqlite(path, source))
        })
    }

    fn with_files(&self, mut token: DownloadToken) -> Result<DownloadToken, StoreError> {
        token.files = self.rows(
            "SELECT file, step, image, gets, bytes, last_at FROM download_files
             WHERE token = ?1 ORDER BY file",
            [&token.token],
            |row| {
                Ok(DownloadFile {
                    file: row.get(0)?,
                    step: row.get(1)?,
                    hash: row.get(2)?,
                    gets: unsigned(row, 3)?,
                    bytes: unsigned(row, 4)?,
                    last_at: maybe_unsigned(row, 5)?,
                })
            },
        )?;
        Ok(token)
    }
}

fn issue(db: &Connection, path: &Path, token: &DownloadToken) -> Result<(), StoreError> {
    let failed = |source| StoreError::sqlite(path, source);
    if token.files.len() > limits::MAX_DOWNLOAD_FILES {
        return Err(StoreError::TooMany {
            what: "files under one token",
            found: token.files.len(),
            limit: limits::MAX_DOWNLOAD_FILES,
        });
    }
    let known = "SELECT 1 FROM downloads WHERE token = ?1";
    if crate::logins::exists(db, known, &token.token).map_err(failed)? {
        return Err(StoreError::NameTaken {
            name: token.token.clone(),
            by: Kind::Download,
        });
    }
    if let Some((kind, name)) = missing(db, token).map_err(failed)? {
        return Err(StoreError::NotFound { kind, name });
    }
    insert(db, token).map_err(failed)
}

/// What a token refers to and is not there.
fn missing(db: &Connection, token: &DownloadToken) -> rusqlite::Result<Option<(Kind, String)>> {
    let known = |query: &str, id: u64| db.prepare_cached(query)?.exists([signed(id)]);
    if let Some(offer) = token.offer
        && !known("SELECT 1 FROM offers WHERE id = ?1 AND open = 1", offer)?
    {
        return Ok(Some((Kind::Offer, offer.to_string())));
    }
    if let Some(member) = token.member
        && !known("SELECT 1 FROM members WHERE id = ?1", member)?
    {
        return Ok(Some((Kind::Member, member.to_string())));
    }
    for file in &token.files {
        if !crate::images::exists(db, &file.hash)? {
            return Ok(Some((Kind::Image, file.hash.to_string())));
        }
    }
    Ok(None)
}

fn insert(db: &Connection, token: &DownloadToken) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO downloads (token, offer, member, created, expires)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        token.token,
        token.offer.map(signed),
        token.member.map(signed),
        signed(token.created),
        signed(token.expires)
    ])?;
    let mut insert = db.prepare_cached(
        "INSERT OR REPLACE INTO download_files (token, file, step, image, gets, bytes, last_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for file in &token.files {
        insert.execute(params![
            token.token,
            file.file,
            file.step,
            file.hash,
            signed(file.gets),
            signed(file.bytes),
            file.last_at.map(signed)
        ])?;
    }
    // The one just issued stays, whatever the clock said before.
    let crowd = |of: &str, id: u64| {
        db.prepare_cached(&format!(
            "DELETE FROM downloads WHERE token IN (
                SELECT token FROM downloads WHERE {of} AND token <> ?2
                ORDER BY created DESC, token LIMIT -1 OFFSET ?3)"
        ))?
        .execute(params![signed(id), token.token, limits::MAX_DOWNLOADS - 1])
    };
    match (token.offer, token.member) {
        (Some(offer), _) => crowd("offer = ?1", offer).map(drop),
        (None, Some(member)) => crowd("member = ?1 AND offer IS NULL", member).map(drop),
        (None, None) => crowd("?1 = 0 AND offer IS NULL AND member IS NULL", 0).map(drop),
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<DownloadToken> {
    Ok(DownloadToken {
        token: row.get(0)?,
        offer: maybe_unsigned(row, 1)?,
        member: maybe_unsigned(row, 2)?,
        created: unsigned(row, 3)?,
        expires: unsigned(row, 4)?,
        files: Vec::new(),
    })
}
