//! What is known of every device, enrolled or only seen.
//!
//! The truth while a server runs is in its memory. It writes what has changed
//! once in a while, many rows at a time, and reads all of it at a start. What a
//! row says in its body, the caller alone understands.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::{Registry, StoreError, limits};

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Its number, from 1; see [`Registry::next_member_id`].
    pub id: u64,
    /// The enrolled device that it is, by name.
    pub device: Option<String>,
    /// The word for its family; empty while that is unknown.
    pub family: String,
    /// When it was seen first, in seconds since 1970.
    pub first_at: u64,
    /// When it was seen last, in seconds since 1970.
    pub last_at: u64,
    /// Everything else, in the form of the caller's. At most 64 KiB.
    pub body: String,
    /// What it is known by; at most 64.
    pub identities: Vec<IdentityRow>,
}

/// Something that a device is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityRow {
    /// What it is, for instance `mac`.
    pub kind: String,
    /// The value, in its one spelling.
    pub value: String,
    /// Whether it came with a login or a token. A proved identity belongs to one
    /// device alone.
    pub proved: bool,
}

const COLUMNS: &str = "SELECT id, device, family, first_at, last_at, body FROM members";

impl Registry {
    /// Adds devices or replaces what was known of them, in one transaction.
    ///
    /// No row is refused for contradicting another: an enrolment or a proved
    /// identity belongs to the row that was written last, and an enrolment that
    /// somebody has removed meanwhile is written as none.
    ///
    /// # Errors
    /// [`StoreError::TooLong`], [`StoreError::TooMany`]; the database could not
    /// be written. Then nothing is changed.
    pub fn write_members(&mut self, rows: &[MemberRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        for row in rows {
            fits("what is known of a device", &row.body)?;
            if row.identities.len() > limits::MAX_IDENTITIES {
                return Err(StoreError::TooMany {
                    what: "identities of one device",
                    found: row.identities.len(),
                    limit: limits::MAX_IDENTITIES,
                });
            }
        }
        self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let added = write(db, rows).map_err(failed)?;
            if added == 0 {
                return Ok(());
            }
            let kept: u64 = db
                .query_row("SELECT count(*) FROM members", [], |row| unsigned(row, 0))
                .map_err(failed)?;
            if kept > limits::MAX_MEMBERS {
                return Err(StoreError::TooMany {
                    what: "devices",
                    found: usize::try_from(kept).unwrap_or(usize::MAX),
                    limit: limits::MAX_MEMBERS as usize,
                });
            }
            Ok(())
        })
    }

    /// Forgets devices with their identities, events, offers, download tokens
    /// and backups, in one transaction. Enrolments stay. Numbers that nobody has
    /// are passed over.
    ///
    /// # Errors
    /// The database could not be written; then nothing is changed.
    pub fn remove_members(&mut self, ids: &[u64]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            let remove = || -> rusqlite::Result<()> {
                let mut statement = db.prepare_cached("DELETE FROM members WHERE id = ?1")?;
                for id in ids {
                    statement.execute([signed(*id)])?;
                }
                Ok(())
            };
            remove().map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// Hands over every device, by number, as of one moment; never more than one
    /// is in memory.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn load_members(&self, each: impl FnMut(MemberRow)) -> Result<(), StoreError> {
        load(&self.connection, each).map_err(|source| self.failed(source))
    }

    /// One device.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn member(&self, id: u64) -> Result<Option<MemberRow>, StoreError> {
        let find = || -> rusqlite::Result<Option<MemberRow>> {
            let found = self
                .connection
                .prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?
                .query_row([signed(id)], read)
                .optional()?;
            let Some(mut member) = found else {
                return Ok(None);
            };
            let mut held = self.connection.prepare_cached(HELD)?;
            member.identities = held_by(&mut held, id)?;
            Ok(Some(member))
        };
        find().map_err(|source| self.failed(source))
    }

    /// A number above all that were ever used, those of forgotten devices
    /// included.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn next_member_id(&self) -> Result<u64, StoreError> {
        let highest = self.row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'members'",
            [],
            |row| unsigned(row, 0),
        )?;
        Ok(highest.unwrap_or(0) + 1)
    }
}

const HELD: &str =
    "SELECT kind, value, proved FROM identities WHERE member = ?1 ORDER BY kind, value";

/// Writes all rows; says how many were new.
fn write(db: &Connection, rows: &[MemberRow]) -> rusqlite::Result<usize> {
    let mut take_over =
        db.prepare_cached("UPDATE members SET device = NULL WHERE device = ?1 AND id <> ?2")?;
    let mut update = db.prepare_cached(
        "UPDATE members SET family = ?2, first_at = ?3, last_at = ?4, body = ?5 WHERE id = ?1",
    )?;
    let mut insert = db.prepare_cached(
        "INSERT INTO members (id, family, first_at, last_at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    // Alone, since it changes seldom and moves an index.
    let mut enrol = db.prepare_cached(
        "UPDATE members SET device = (SELECT name FROM devices WHERE name = ?2)
         WHERE id = ?1 AND device IS NOT (SELECT name FROM devices WHERE name = ?2)",
    )?;
    let mut held = db.prepare_cached(HELD)?;
    let mut drop_all = db.prepare_cached("DELETE FROM identities WHERE member = ?1")?;
    // OR REPLACE takes a proved identity from the device that had it.
    let mut hold = db.prepare_cached(
        "INSERT OR REPLACE INTO identities (member, kind, value, proved) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut added = 0;
    for row in rows {
        let id = signed(row.id);
        if let Some(device) = &row.device {
            take_over.execute(params![device, id])?;
        }
        let values = params![
            id,
            row.family,
            signed(row.first_at),
            signed(row.last_at),
            row.body
        ];
        // Most rows exist, and an insert that counts numbers costs more.
        if update.execute(values)? == 0 {
            insert.execute(values)?;
            added += 1;
        }
        enrol.execute(params![id, row.device])?;
        let mut wanted: Vec<&IdentityRow> = row.identities.iter().collect();
        // Of two alike the proved one counts.
        wanted.sort_unstable_by(|a, b| {
            (&a.kind, &a.value, b.proved).cmp(&(&b.kind, &b.value, a.proved))
        });
        wanted.dedup_by(|b, a| (&a.kind, &a.value) == (&b.kind, &b.value));
        if held_by(&mut held, row.id)?
            .iter()
            .eq(wanted.iter().copied())
        {
            continue;
        }
        drop_all.execute([id])?;
        for identity in wanted {
            hold.execute(params![id, identity.kind, identity.value, identity.proved])?;
        }
    }
    Ok(added)
}

fn held_by(held: &mut CachedStatement<'_>, id: u64) -> rusqlite::Result<Vec<IdentityRow>> {
    let rows = held.query_map([signed(id)], |row| read_identity(row, 0))?;
    rows.collect()
}

fn load(db: &Connection, mut each: impl FnMut(MemberRow)) -> rusqlite::Result<()> {
    // Both queries see the same moment.
    let moment = db.unchecked_transaction()?;
    let mut members = moment.prepare(&format!("{COLUMNS} ORDER BY id"))?;
    let mut identities = moment.prepare(
        "SELECT member, kind, value, proved FROM identities ORDER BY member, kind, value",
    )?;
    let mut members = members.query([])?;
    let mut identities = identities.query([])?;
    let mut identity = identities.next()?;
    while let Some(row) = members.next()? {
        let mut member = read(row)?;
        while let Some(row) = identity {
            let of = unsigned(row, 0)?;
            if of > member.id {
                break;
            }
            if of == member.id {
                member.identities.push(read_identity(row, 1)?);
            }
            identity = identities.next()?;
        }
        each(member);
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<MemberRow> {
    Ok(MemberRow {
        id: unsigned(row, 0)?,
        device: row.get(1)?,
        family: row.get(2)?,
        first_at: unsigned(row, 3)?,
        last_at: unsigned(row, 4)?,
        body: row.get(5)?,
        identities: Vec::new(),
    })
}

fn read_identity(row: &Row<'_>, first: usize) -> rusqlite::Result<IdentityRow> {
    Ok(IdentityRow {
        kind: row.get(first)?,
        value: row.get(first + 1)?,
        proved: row.get(first + 2)?,
    })
}

/// Refuses a body that is too long.
pub(crate) fn fits(what: &'static str, body: &str) -> Result<(), StoreError> {
    if body.len() <= limits::MAX_BODY_BYTES {
        return Ok(());
    }
    Err(StoreError::TooLong {
        what,
        found: body.len(),
        limit: limits::MAX_BODY_BYTES,
    })
}
