//! Which turn has which files, in the registry.

use rusqlite::{Connection, Row, params};

use super::{Recording, Recordings, Track};
use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{Registry, StoreError, limits};

impl Registry {
    /// Removes the files whose turns are gone; says of how many turns. What forgets a
    /// device or its turns does so by itself. To be called behind
    /// [`add_talks`](Registry::add_talks) and [`tidy`](Registry::tidy).
    ///
    /// # Errors
    /// A file cannot be removed, the database cannot be written. It is tried again
    /// the next time.
    pub fn remove_gone_recordings(&mut self) -> Result<u64, StoreError> {
        let recordings = Recordings::of(self);
        let mut removed = 0;
        loop {
            let query = "SELECT name FROM recordings_gone LIMIT ?1";
            let names: Vec<String> = self.rows(query, [limits::TIDY_ROWS], |row| row.get(0))?;
            if names.is_empty() {
                return Ok(removed);
            }
            for name in &names {
                recordings.remove_named(name)?;
            }
            self.change(Area::Unwatched, |db, path| {
                let forget = || -> rusqlite::Result<()> {
                    let mut gone =
                        db.prepare_cached("DELETE FROM recordings_gone WHERE name = ?1")?;
                    for name in &names {
                        gone.execute([name])?;
                    }
                    Ok(())
                };
                forget().map_err(|source| StoreError::sqlite(path, source))
            })?;
            removed += names.len() as u64;
        }
    }

    /// Those whose files lie on one shelf, with the numbers of their turns.
    pub(super) fn recordings_of_shelf(
        &self,
        shelf: &str,
    ) -> Result<Vec<(u64, Recording)>, StoreError> {
        self.rows(
            "SELECT talk, name, until, heard_bytes, heard_ms, said_bytes, said_ms
             FROM recordings WHERE name >= ?1 AND name < ?1 || 'g'",
            [shelf],
            |row| Ok((unsigned(row, 0)?, whole(row, 1)?)),
        )
    }

    /// Forgets the sound of turns, which stay.
    pub(super) fn forget_recordings(&mut self, talks: &[u64]) -> Result<(), StoreError> {
        if talks.is_empty() {
            return Ok(());
        }
        self.change(Area::Unwatched, |db, path| {
            let forget = || -> rusqlite::Result<()> {
                let mut gone = db.prepare_cached("DELETE FROM recordings WHERE talk = ?1")?;
                for talk in talks {
                    gone.execute([signed(*talk)])?;
                }
                Ok(())
            };
            forget().map_err(|source| StoreError::sqlite(path, source))
        })
    }
}

/// Notes the files of a turn that was added; without one, that they have to go.
pub(crate) fn add(
    db: &Connection,
    talk: Option<i64>,
    device: &str,
    recording: &Recording,
) -> rusqlite::Result<()> {
    let Some(talk) = talk else {
        db.prepare_cached("INSERT OR IGNORE INTO recordings_gone (name) VALUES (?1)")?
            .execute([&recording.name])?;
        return Ok(());
    };
    let bytes = |track: Option<Track>| track.map(|track| signed(track.bytes));
    let ms = |track: Option<Track>| track.map(|track| signed(track.ms));
    db.prepare_cached(
        "INSERT INTO recordings (talk, device, name, until, heard_bytes, heard_ms, said_bytes,
            said_ms, weight) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        talk,
        device,
        recording.name,
        signed(recording.until),
        bytes(recording.heard),
        ms(recording.heard),
        bytes(recording.said),
        ms(recording.said),
        signed(recording.weight()),
    ])?;
    Ok(())
}

/// Drops the oldest sound of these devices, and of all, beyond what they may have.
pub(crate) fn crowd(
    db: &Connection,
    devices: &[&str],
    per_device: u64,
    most: u64,
) -> rusqlite::Result<()> {
    let mut drop_oldest = db.prepare_cached(
        "DELETE FROM recordings WHERE talk IN (
            SELECT talk FROM (
                SELECT talk, sum(weight) OVER (ORDER BY talk DESC) AS upto
                FROM recordings WHERE device = ?1)
            WHERE upto > ?2)",
    )?;
    // Nearly always this is all, and it reads one index.
    let mut sum =
        db.prepare_cached("SELECT coalesce(sum(weight), 0) FROM recordings WHERE device = ?1")?;
    for device in devices {
        let own: i64 = sum.query_row([device], |row| row.get(0))?;
        if own > signed(per_device) {
            drop_oldest.execute(params![device, signed(per_device)])?;
        }
    }
    loop {
        let total: i64 = db
            .prepare_cached("SELECT weight FROM recordings_total")?
            .query_row([], |row| row.get(0))?;
        let beyond = total - signed(most);
        if beyond <= 0 {
            return Ok(());
        }
        let gone = db
            .prepare_cached(
                "DELETE FROM recordings WHERE talk IN (
                    SELECT talk FROM (
                        SELECT talk, sum(weight) OVER (ORDER BY talk) - weight AS before
                        FROM (SELECT talk, weight FROM recordings ORDER BY talk LIMIT ?2))
                    WHERE before < ?1)",
            )?
            .execute(params![beyond, limits::TIDY_ROWS])?;
        if gone == 0 {
            return Ok(());
        }
    }
}

/// What a row of a turn says of its sound from column `first` on: none where all of
/// it is NULL.
pub(crate) fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Recording>> {
    match row.get::<_, Option<String>>(first)? {
        Some(_) => whole(row, first).map(Some),
        None => Ok(None),
    }
}

fn whole(row: &Row<'_>, first: usize) -> rusqlite::Result<Recording> {
    let track = |at| -> rusqlite::Result<Option<Track>> {
        let bytes = maybe_unsigned(row, at)?;
        let ms = maybe_unsigned(row, at + 1)?;
        Ok(bytes.zip(ms).map(|(bytes, ms)| Track { bytes, ms }))
    };
    Ok(Recording {
        name: row.get(first)?,
        until: unsigned(row, first + 1)?,
        heard: track(first + 2)?,
        said: track(first + 4)?,
    })
}
