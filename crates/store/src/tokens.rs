//! Tokens of the HTTP API: who may look at what, and who may change it.
//!
//! A token is random with 256 bits, made by the caller and shown once. Only a
//! hash of it is kept, which nobody can turn back; a slow hash would gain
//! nothing, since there is nothing to guess.

use std::fmt;

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{By, Kind, Registry, Scopes, StoreError, audit, limits};

/// The hash of a token: 32 bytes. Two are compared in a time that does not tell
/// how far they agree.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// A hash that the caller has made.
    pub fn new(bytes: [u8; 32]) -> TokenHash {
        TokenHash(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &TokenHash) -> bool {
        let differing = self
            .0
            .iter()
            .zip(&other.0)
            .fold(0, |bits, (ours, theirs)| bits | (ours ^ theirs));
        std::hint::black_box(differing) == 0
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name, by which it is listed, removed, and named in the history.
    pub name: String,
    /// The hash of its text.
    pub hash: TokenHash,
    /// What it is good for.
    pub scopes: Scopes,
    /// Seconds since 1970.
    pub created: u64,
    /// When it was used last, to the minute, in seconds since 1970; `None` if
    /// never.
    pub last_used: Option<u64>,
}

impl Token {
    /// Whether that it is used at `at` is worth writing down: it was not within
    /// the last minute.
    pub fn use_is_news(&self, at: u64) -> bool {
        let known = self.last_used.unwrap_or(0);
        at >= known.saturating_add(limits::TOKEN_USE_REFRESH)
    }
}

impl Registry {
    /// Adds a token, not used yet. It must be good for something.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] by another token; [`StoreError::TooMany`]:
    /// there may be 100; the database refuses empty scopes.
    pub fn add_token(
        &mut self,
        name: &str,
        hash: TokenHash,
        scopes: Scopes,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let kept = all(db).map_err(failed)?;
            if kept.iter().any(|token| token.name == name) {
                return Err(StoreError::NameTaken {
                    name: name.to_string(),
                    by: Kind::Token,
                });
            }
            if kept.len() >= limits::MAX_TOKENS {
                return Err(StoreError::TooMany {
                    what: "tokens",
                    found: kept.len() + 1,
                    limit: limits::MAX_TOKENS,
                });
            }
            db.execute(
                "INSERT INTO tokens (name, hash, scopes, created) VALUES (?1, ?2, ?3, ?4)",
                params![name, hash.0, scopes, signed(by.at)],
            )
            .map_err(failed)?;
            audit::write(db, by, &format!("token {name} added ({scopes})")).map_err(failed)
        })
    }

    /// Removes a token.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn remove_token(&mut self, name: &str, by: By<'_>) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let gone = db
                .execute("DELETE FROM tokens WHERE name = ?1", [name])
                .map_err(failed)?;
            if gone == 0 {
                return Err(StoreError::NotFound {
                    kind: Kind::Token,
                    name: name.to_string(),
                });
            }
            audit::write(db, by, &format!("token {name} removed")).map_err(failed)
        })
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        all(&self.connection).map_err(|source| self.failed(source))
    }

    /// Writes down that a token was used, unless that was done within the last
    /// minute. Not audited; nothing happens for a token that is gone.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn note_token_use(&mut self, token: &Token, at: u64) -> Result<(), StoreError> {
        if !token.use_is_news(at) {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            db.execute(
                "UPDATE tokens SET last_used = ?2 WHERE name = ?1",
                params![token.name, signed(at)],
            )
            .map(drop)
            .map_err(|source| StoreError::sqlite(path, source))
        })
    }
}

fn all(db: &Connection) -> rusqlite::Result<Vec<Token>> {
    let mut statement = db.prepare_cached(
        "SELECT name, hash, scopes, created, last_used FROM tokens ORDER BY name",
    )?;
    let rows = statement.query_map([], read)?;
    rows.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        name: row.get(0)?,
        hash: TokenHash(row.get(1)?),
        scopes: row.get(2)?,
        created: unsigned(row, 3)?,
        last_used: maybe_unsigned(row, 4)?,
    })
}
