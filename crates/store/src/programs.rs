//! Programs that may bring their tools to an agent at the access point, each by a
//! token of its own, so that one can be shut out without the others.
//!
//! As with [tokens of the API](crate::Token), only a hash of it is kept.

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{By, Kind, Registry, StoreError, TokenHash, audit, limits};

/// A program that may bring its tools.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The agent, by its name in the settings.
    pub agent: String,
    /// Its own name. Unique for the agent.
    pub name: String,
    /// The hash of its token.
    pub hash: TokenHash,
    /// Seconds since 1970.
    pub created: u64,
    /// When it came or went last, in seconds since 1970; `None` if it never came.
    pub last_seen: Option<u64>,
}

impl Registry {
    /// Lets a program bring its tools to an agent.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`] by another one of this agent;
    /// [`StoreError::TooMany`]: there may be [`limits::MAX_PROGRAMS`].
    pub fn add_program(
        &mut self,
        agent: &str,
        name: &str,
        hash: TokenHash,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let kept = all(db).map_err(failed)?;
            let is_it = |program: &Program| program.agent == agent && program.name == name;
            if kept.iter().any(is_it) {
                return Err(StoreError::NameTaken {
                    name: name.to_string(),
                    by: Kind::Program,
                });
            }
            if kept.len() >= limits::MAX_PROGRAMS {
                return Err(StoreError::TooMany {
                    what: "programs of agents",
                    found: kept.len() + 1,
                    limit: limits::MAX_PROGRAMS,
                });
            }
            db.execute(
                "INSERT INTO programs (agent, name, hash, created) VALUES (?1, ?2, ?3, ?4)",
                params![agent, name, hash.bytes(), signed(by.at)],
            )
            .map_err(failed)?;
            audit::write(db, by, &format!("program {name} of agent {agent} added")).map_err(failed)
        })
    }

    /// Shuts a program out.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub fn remove_program(
        &mut self,
        agent: &str,
        name: &str,
        by: By<'_>,
    ) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let gone = db
                .execute(
                    "DELETE FROM programs WHERE agent = ?1 AND name = ?2",
                    [agent, name],
                )
                .map_err(failed)?;
            if gone == 0 {
                return Err(StoreError::NotFound {
                    kind: Kind::Program,
                    name: name.to_string(),
                });
            }
            let what = format!("program {name} of agent {agent} removed");
            audit::write(db, by, &what).map_err(failed)
        })
    }

    /// All programs, by agent and name.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn programs(&self) -> Result<Vec<Program>, StoreError> {
        all(&self.connection).map_err(|source| self.failed(source))
    }

    /// Writes down that a program came or went. Not audited; nothing happens for one
    /// that was removed.
    ///
    /// # Errors
    /// The database could not be written.
    pub fn note_program(&mut self, agent: &str, name: &str, at: u64) -> Result<(), StoreError> {
        self.change(Area::Unwatched, |db, path| {
            db.execute(
                "UPDATE programs SET last_seen = ?3 WHERE agent = ?1 AND name = ?2",
                params![agent, name, signed(at)],
            )
            .map(drop)
            .map_err(|source| StoreError::sqlite(path, source))
        })
    }
}

fn all(db: &Connection) -> rusqlite::Result<Vec<Program>> {
    let mut statement = db.prepare_cached(
        "SELECT agent, name, hash, created, last_seen FROM programs ORDER BY agent, name",
    )?;
    let rows = statement.query_map([], read)?;
    rows.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Program> {
    Ok(Program {
        agent: row.get(0)?,
        name: row.get(1)?,
        hash: TokenHash::new(row.get(2)?),
        created: unsigned(row, 3)?,
        last_seen: maybe_unsigned(row, 4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataFolder;

    #[test]
    fn a_program_is_known_by_the_hash_of_its_token_until_it_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let mut registry = DataFolder::open(scratch.path())
            .unwrap()
            .registry()
            .unwrap();
        let by = By { who: "test", at: 7 };
        let hash = |byte| TokenHash::new([byte; 32]);
        registry
            .add_program("kitchen", "shed", hash(1), by)
            .unwrap();
        registry.add_program("bath", "shed", hash(2), by).unwrap();
        let twice = registry.add_program("kitchen", "shed", hash(3), by);
        assert!(
            matches!(twice, Err(StoreError::NameTaken { .. })),
            "{twice:?}"
        );
        registry.note_program("kitchen", "shed", 9).unwrap();
        registry.note_program("kitchen", "gone", 9).unwrap();
        let all = registry.programs().unwrap();
        let shown: Vec<_> = all
            .iter()
            .map(|one| {
                (
                    &*one.agent,
                    &*one.name,
                    one.hash == hash(1),
                    one.created,
                    one.last_seen,
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("bath", "shed", false, 7, None),
                ("kitchen", "shed", true, 7, Some(9))
            ]
        );
        registry.remove_program("kitchen", "shed", by).unwrap();
        let again = registry.remove_program("kitchen", "shed", by);
        assert!(
            matches!(again, Err(StoreError::NotFound { .. })),
            "{again:?}"
        );
        assert_eq!(registry.programs().unwrap().len(), 1);
        let audit = registry.audit(1).unwrap();
        assert_eq!(audit[0].what, "program shed of agent kitchen removed");
    }

    #[test]
    fn there_are_no_more_programs_than_there_is_room_for() {
        let scratch = tempfile::tempdir().unwrap();
        let mut registry = DataFolder::open(scratch.path())
            .unwrap()
            .registry()
            .unwrap();
        let by = By { who: "test", at: 7 };
        for number in 0..limits::MAX_PROGRAMS {
            let name = format!("p{number}");
            registry
                .add_program("kitchen", &name, TokenHash::new([0; 32]), by)
                .unwrap();
        }
        let more = registry.add_program("kitchen", "more", TokenHash::new([0; 32]), by);
        assert!(matches!(more, Err(StoreError::TooMany { .. })), "{more:?}");
    }
}
