//! What happened to each device, the newest of it.

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{signed, unsigned};
use crate::members::fits;
use crate::{Registry, StoreError, limits};

/// Something that happened to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEventRow {
    /// Grows with every event and is never used twice; 0 for one that is not
    /// written yet.
    pub id: u64,
    /// The device's number.
    pub member: u64,
    /// Seconds since 1970.
    pub at: u64,
    /// The word for what happened.
    pub kind: String,
    /// Everything else, in the form of the caller's. At most 64 KiB.
    pub body: String,
}

impl Registry {
    /// Adds events, in one transaction; the newest 200 of each device are kept.
    /// Those of devices that are not known (any more) are passed over.
    ///
    /// # Errors
    /// [`StoreError::TooLong`]; the database could not be written. Then nothing
    /// is changed.
    pub fn add_member_events(&mut self, events: &[MemberEventRow]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        for event in events {
            fits("an event of a device", &event.body)?;
        }
        self.change(Area::Unwatched, |db, path| {
            add(db, events).map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// Events of a device, the newest first: those before the event `before`, at
    /// most `limit`.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn member_events(
        &self,
        member: u64,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<MemberEventRow>, StoreError> {
        self.rows(
            "SELECT id, member, at, kind, body FROM member_events
             WHERE member = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
            params![signed(member), signed(before.unwrap_or(u64::MAX)), limit],
            read,
        )
    }
}

fn add(db: &Connection, events: &[MemberEventRow]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO member_events (member, at, kind, body)
         SELECT id, ?2, ?3, ?4 FROM members WHERE id = ?1",
    )?;
    let mut members = Vec::with_capacity(events.len());
    for event in events {
        let member = signed(event.member);
        insert.execute(params![member, signed(event.at), event.kind, event.body])?;
        members.push(member);
    }
    members.sort_unstable();
    members.dedup();
    let mut crowd = db.prepare_cached(
        "DELETE FROM member_events WHERE member = ?1 AND id <= (
            SELECT id FROM member_events WHERE member = ?1
            ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?;
    for member in members {
        crowd.execute(params![member, limits::MAX_EVENTS_PER_MEMBER])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<MemberEventRow> {
    Ok(MemberEventRow {
        id: unsigned(row, 0)?,
        member: unsigned(row, 1)?,
        at: unsigned(row, 2)?,
        kind: row.get(3)?,
        body: row.get(4)?,
    })
}
