//! What is kept for how long.

use rusqlite::{Connection, params};

use crate::areas::Area;
use crate::columns::signed;
use crate::{Registry, StoreError, limits};

/// How long things are kept, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Events of devices. Default 30 days.
    pub events: u64,
    /// Offers, after they have ended. Default 400 days.
    pub offers: u64,
    /// Contradictions, after they were seen last. Default 30 days.
    pub quarantine: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        const DAY: u64 = 24 * 3_600;
        Retention {
            events: 30 * DAY,
            offers: 400 * DAY,
            quarantine: 30 * DAY,
        }
    }
}

/// What has gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Events of devices.
    pub events: u64,
    /// Download tokens whose time was over.
    pub downloads: u64,
    /// Activation codes whose time was over.
    pub activations: u64,
    /// Offers that had ended.
    pub offers: u64,
    /// Contradictions.
    pub quarantine: u64,
    /// Turns of conversations whose time was over.
    pub talks: u64,
    /// Sound of turns that stay.
    pub recordings: u64,
    /// There is more to go: tidy again soon.
    pub more: bool,
}

impl Registry {
    /// Removes what is too old at `now`, in seconds since 1970, or too much: at
    /// most 5000 rows of each kind, each kind in a transaction of its own, so that
    /// nobody who writes has to wait for long.
    ///
    /// The bytes of what has gone stay until
    /// [`BlobStore::remove_unused`](crate::BlobStore::remove_unused), and those of
    /// sound until [`remove_gone_recordings`](Registry::remove_gone_recordings).
    ///
    /// # Errors
    /// The database could not be written; some kinds may be done.
    pub fn tidy(&mut self, now: u64, retention: &Retention) -> Result<Tidied, StoreError> {
        let most = limits::TIDY_ROWS;
        let before = |age: u64| signed(now.saturating_sub(age));
        let mut more = false;
        let mut step = |remove: &dyn Fn(&Connection) -> rusqlite::Result<usize>| {
            let gone = self.change(Area::Unwatched, |db, path| {
                remove(db).map_err(|source| StoreError::sqlite(path, source))
            })?;
            more |= gone >= most as usize;
            Ok::<u64, StoreError>(gone as u64)
        };
        let events = step(&|db| {
            let old = db.execute(
                "DELETE FROM member_events WHERE id IN (
                    SELECT id FROM member_events WHERE at <= ?1 ORDER BY at LIMIT ?2)",
                params![before(retention.events), most],
            )?;
            Ok(old + crowd(db, "member_events", "1", limits::MAX_EVENTS)?)
        })?;
        let downloads = step(&|db| {
            db.execute(
                "DELETE FROM downloads WHERE token IN (
                    SELECT token FROM downloads WHERE expires <= ?1 LIMIT ?2)",
                params![signed(now), most],
            )
        })?;
        let activations = step(&|db| {
            db.execute(
                "DELETE FROM activations WHERE code IN (
                    SELECT code FROM activations WHERE expires <= ?1 LIMIT ?2)",
                params![signed(now), most],
            )
        })?;
        let offers = step(&|db| {
            let old = db.execute(
                "DELETE FROM offers WHERE id IN (
                    SELECT id FROM offers WHERE open = 0 AND updated <= ?1
                    ORDER BY updated LIMIT ?2)",
                params![before(retention.offers), most],
            )?;
            Ok(old + crowd(db, "offers", "open = 0", limits::MAX_ENDED_OFFERS)?)
        })?;
        let quarantine = step(&|db| {
            db.execute(
                "DELETE FROM quarantine WHERE last_at <= ?1",
                [before(retention.quarantine)],
            )
        })?;
        let recordings = step(&|db| {
            db.execute(
                "DELETE FROM recordings WHERE talk IN (
                    SELECT talk FROM recordings WHERE until <= ?1 ORDER BY until LIMIT ?2)",
                params![signed(now), most],
            )
        })?;
        let talks = step(&|db| {
            let old = db.execute(
                "DELETE FROM talks WHERE id IN (
                    SELECT id FROM talks WHERE until <= ?1 ORDER BY until LIMIT ?2)",
                params![signed(now), most],
            )?;
            Ok(old + crowd(db, "talks", "1", limits::MAX_TALKS)?)
        })?;
        Ok(Tidied {
            events,
            downloads,
            activations,
            offers,
            quarantine,
            talks,
            recordings,
            more,
        })
    }
}

/// Removes the oldest of the rows that are beyond a limit. Table and condition
/// are words of this module.
fn crowd(
    db: &Connection,
    table: &'static str,
    which: &'static str,
    limit: u64,
) -> rusqlite::Result<usize> {
    let kept: i64 = db.query_row(
        &format!("SELECT count(*) FROM {table} WHERE {which}"),
        [],
        |row| row.get(0),
    )?;
    let beyond = (kept - signed(limit)).clamp(0, i64::from(limits::TIDY_ROWS));
    if beyond == 0 {
        return Ok(0);
    }
    db.execute(
        &format!(
            "DELETE FROM {table} WHERE id IN (
                SELECT id FROM {table} WHERE {which} ORDER BY id LIMIT ?1)"
        ),
        [beyond],
    )
}
