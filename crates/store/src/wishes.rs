//! What somebody at the command line wants of a running server's certificates:
//! asked here, noticed by [`Registry::certificates_version`], and settled by the
//! server with what came of it.

use rusqlite::{OptionalExtension, Row, params};

use crate::areas::Area;
use crate::columns::{signed, stored_as_words, unsigned};
use crate::{By, Registry, StoreError, audit, limits};

stored_as_words! {
    /// What is wanted.
    pub enum WishKind {
        /// New certificates for the same keys, now.
        Renew = "renew",
        /// A next key, made and shown but not used yet.
        Prepare = "prepare",
        /// The next key in use.
        Rotate = "rotate",
        /// Files with another key than devices check.
        Accept = "accept",
    }
}

stored_as_words! {
    /// What has become of it.
    pub enum WishState {
        /// Nobody has taken it up.
        Asked = "asked",
        /// It was done.
        Done = "done",
        /// It was not done.
        Refused = "refused",
    }
}

/// Something that is wanted of the certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateWish {
    /// Grows with every wish and is never used twice.
    pub id: u64,
    /// When it was asked, in seconds since 1970.
    pub at: u64,
    /// Who asked.
    pub who: String,
    /// What is wanted.
    pub kind: WishKind,
    /// Devices that may no longer recognise the server afterwards.
    pub strand: Vec<String>,
    /// All devices may.
    pub strand_all: bool,
    /// What has become of it.
    pub state: WishState,
    /// What was done, or why it was not, in English and Chinese.
    pub verdict: Option<(String, String)>,
}

const COLUMNS: &str = "SELECT id, at, who, kind, strand, strand_all, state, verdict_en, verdict_zh
     FROM certificate_wishes";

impl Registry {
    /// Moves whenever a wish is asked or settled or a pin changes, by any
    /// process. Takes microseconds: poll it.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn certificates_version(&self) -> Result<u64, StoreError> {
        crate::areas::version(&self.connection, Area::Certificates)
            .map_err(|source| self.failed(source))
    }

    /// Asks for something, and returns the wish's number. The newest 1000 are
    /// kept.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn wish(
        &mut self,
        kind: WishKind,
        strand: &[String],
        strand_all: bool,
        by: By<'_>,
    ) -> Result<u64, StoreError> {
        self.change(Area::Certificates, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            db.execute(
                "INSERT INTO certificate_wishes (at, who, kind, strand, strand_all, state)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    signed(by.at),
                    by.who,
                    kind,
                    strand.join("\n"),
                    strand_all,
                    WishState::Asked
                ],
            )
            .map_err(failed)?;
            let id = db.last_insert_rowid();
            db.execute(
                "DELETE FROM certificate_wishes WHERE id <= ?1",
                [id - i64::from(limits::MAX_WISHES)],
            )
            .map_err(failed)?;
            audit::write(db, by, &format!("certificates: {kind} asked")).map_err(failed)?;
            Ok(u64::try_from(id).unwrap_or_default())
        })
    }

    /// Wishes that nobody has settled yet, in the order in which they were asked.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn open_wishes(&self) -> Result<Vec<CertificateWish>, StoreError> {
        let find = || -> rusqlite::Result<Vec<CertificateWish>> {
            self.connection
                .prepare_cached(&format!("{COLUMNS} WHERE state = 'asked' ORDER BY id"))?
                .query_map([], read)?
                .collect()
        };
        find().map_err(|source| self.failed(source))
    }

    /// One wish.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn certificate_wish(&self, id: u64) -> Result<Option<CertificateWish>, StoreError> {
        self.connection
            .query_row(&format!("{COLUMNS} WHERE id = ?1"), [signed(id)], read)
            .optional()
            .map_err(|source| self.failed(source))
    }

    /// Says what has become of a wish. One that is settled stays as it is.
    /// `verdict` is in English and Chinese.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn settle_wish(
        &mut self,
        id: u64,
        state: WishState,
        verdict: (&str, &str),
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Certificates, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let changed = db
                .execute(
                    "UPDATE certificate_wishes SET state = ?2, verdict_en = ?3, verdict_zh = ?4
                     WHERE id = ?1 AND state = 'asked'",
                    params![signed(id), state, verdict.0, verdict.1],
                )
                .map_err(failed)?;
            if changed > 0 {
                let what = format!("certificates: wish {id} {state}: {}", verdict.0);
                audit::write(db, by, &what).map_err(failed)?;
            }
            Ok(())
        })
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<CertificateWish> {
    let strand: String = row.get(4)?;
    let verdict: Option<String> = row.get(7)?;
    let translated: Option<String> = row.get(8)?;
    Ok(CertificateWish {
        id: unsigned(row, 0)?,
        at: unsigned(row, 1)?,
        who: row.get(2)?,
        kind: row.get(3)?,
        strand: strand
            .lines()
            .filter(|name| !name.is_empty())
            .map(str::to_string)
            .collect(),
        strand_all: row.get(5)?,
        state: row.get(6)?,
        verdict: verdict.zip(translated),
    })
}
