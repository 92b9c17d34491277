//! What devices and their agents said to each other, turn by turn, until its time
//! is over.

use rusqlite::{Connection, Row, params};

use crate::areas::Area;
use crate::columns::{maybe_unsigned, signed, unsigned};
use crate::{Kind, Recording, Registry, StoreError, limits, recordings};

/// One turn: what somebody said, and what was answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TalkRow {
    /// Grows with every turn and is never used twice; 0 for one that is not
    /// written yet.
    pub id: u64,
    /// The device's name.
    pub device: String,
    /// When it began, in seconds since 1970.
    pub at: u64,
    /// When it is to be forgotten, in seconds since 1970.
    pub until: u64,
    /// The same for all turns of one conversation.
    pub conversation: String,
    /// The agent's name.
    pub agent: String,
    /// What was understood; empty for a greeting or a notice.
    pub heard: String,
    /// What was answered.
    pub said: String,
    /// What went wrong, in words; empty for nothing.
    pub failure: String,
    /// Whether somebody broke the answer off.
    pub interrupted: bool,
    /// From the end of speech to the transcript, in milliseconds.
    pub transcript_ms: Option<u64>,
    /// From the end of speech to the first word of the model, in milliseconds.
    pub token_ms: Option<u64>,
    /// From the end of speech to the first sound, in milliseconds.
    pub audio_ms: Option<u64>,
    /// What it sounded like, where that is kept.
    pub sound: Option<Recording>,
}

/// ?1 is the moment at which sound has to be kept still.
const COLUMNS: &str = "SELECT id, talks.device, at, talks.until, conversation, agent, heard, said,
    failure, transcript_ms, token_ms, audio_ms, interrupted,
    name, recordings.until, heard_bytes, heard_ms, said_bytes, said_ms
    FROM talks LEFT JOIN recordings ON talk = id AND recordings.until > ?1";

impl Registry {
    /// Adds turns, in one transaction; the newest
    /// [`MAX_TALKS_PER_DEVICE`](limits::MAX_TALKS_PER_DEVICE) of each device are
    /// kept. Those of devices that are not enrolled (any more) are passed over.
    ///
    /// Of their sound, the newest is kept up to
    /// [`MAX_RECORDINGS_PER_DEVICE`](limits::MAX_RECORDINGS_PER_DEVICE) and
    /// [`MAX_RECORDINGS`](limits::MAX_RECORDINGS). Files of what goes by that wait
    /// for [`remove_gone_recordings`](Registry::remove_gone_recordings).
    ///
    /// # Errors
    /// [`StoreError::TooLong`]; the database could not be written. Then nothing
    /// is changed.
    pub fn add_talks(&mut self, talks: &[TalkRow]) -> Result<(), StoreError> {
        if talks.is_empty() {
            return Ok(());
        }
        for talk in talks {
            crate::members::fits("what was heard", &talk.heard)?;
            crate::members::fits("what was said", &talk.said)?;
            crate::members::fits("what went wrong", &talk.failure)?;
        }
        self.change(Area::Unwatched, |db, path| {
            add(db, talks, limits::MAX_TALKS_PER_DEVICE)
                .map_err(|source| StoreError::sqlite(path, source))
        })
    }

    /// Turns of a device, the newest first: those before the turn `before`, at
    /// most `limit`, and none whose time is over at `now`.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn talks(
        &self,
        device: &str,
        before: Option<u64>,
        limit: u32,
        now: u64,
    ) -> Result<Vec<TalkRow>, StoreError> {
        self.rows(
            &format!(
                "{COLUMNS} WHERE talks.device = ?2 AND id < ?3 AND talks.until > ?1
                 ORDER BY id DESC LIMIT ?4"
            ),
            params![
                signed(now),
                device,
                signed(before.unwrap_or(u64::MAX)),
                limit
            ],
            read,
        )
    }

    /// One turn of a device; `None` if it has no such one, or its time is over at
    /// `now`.
    ///
    /// # Errors
    /// The database could not be read.
    pub fn talk(&self, device: &str, id: u64, now: u64) -> Result<Option<TalkRow>, StoreError> {
        self.row(
            &format!("{COLUMNS} WHERE talks.device = ?2 AND id = ?3 AND talks.until > ?1"),
            params![signed(now), device, signed(id)],
            read,
        )
    }

    /// Forgets every turn of a device with its sound; how many there were.
    ///
    /// # Errors
    /// The database could not be written; then nothing is forgotten. A file with
    /// sound could not be removed: it is tried again, and nothing names it any more.
    pub fn forget_talks(&mut self, device: &str, by: crate::By<'_>) -> Result<u64, StoreError> {
        let gone = self.change(Area::Unwatched, |db, path| {
            let failed = |source| StoreError::sqlite(path, source);
            let known: bool = db
                .query_row(
                    "SELECT EXISTS (SELECT 1 FROM devices WHERE name = ?1)",
                    [device],
                    |row| row.get(0),
                )
                .map_err(failed)?;
            if !known {
                return Err(StoreError::NotFound {
                    kind: Kind::Device,
                    name: device.to_string(),
                });
            }
            let gone = db
                .execute("DELETE FROM talks WHERE device = ?1", [device])
                .map_err(failed)?;
            crate::audit::write(
                db,
                by,
                &format!("{gone} talks of device {device} forgotten"),
            )
            .map_err(failed)?;
            Ok(gone as u64)
        })?;
        self.remove_gone_recordings()?;
        Ok(gone)
    }
}

fn add(db: &Connection, talks: &[TalkRow], per_device: u32) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO talks (device, at, until, conversation, agent, heard, said, failure,
            transcript_ms, token_ms, audio_ms, interrupted)
         SELECT name, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM devices WHERE name = ?1",
    )?;
    let mut devices: Vec<&str> = Vec::with_capacity(talks.len());
    let mut with_sound: Vec<&str> = Vec::new();
    for talk in talks {
        let added = insert.execute(params![
            talk.device,
            signed(talk.at),
            signed(talk.until),
            talk.conversation,
            talk.agent,
            talk.heard,
            talk.said,
            talk.failure,
            talk.transcript_ms.map(signed),
            talk.token_ms.map(signed),
            talk.audio_ms.map(signed),
            talk.interrupted,
        ])?;
        devices.push(&talk.device);
        if let Some(sound) = &talk.sound {
            let id = (added > 0).then(|| db.last_insert_rowid());
            recordings::add(db, id, &talk.device, sound)?;
            with_sound.push(&talk.device);
        }
    }
    devices.sort_unstable();
    devices.dedup();
    let mut crowd = db.prepare_cached(
        "DELETE FROM talks WHERE device = ?1 AND id <= (
            SELECT id FROM talks WHERE device = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?;
    for device in devices {
        crowd.execute(params![device, per_device])?;
    }
    if with_sound.is_empty() {
        return Ok(());
    }
    with_sound.sort_unstable();
    with_sound.dedup();
    let (per_device, most) = (limits::MAX_RECORDINGS_PER_DEVICE, limits::MAX_RECORDINGS);
    recordings::crowd(db, &with_sound, per_device, most)
}

fn read(row: &Row<'_>) -> rusqlite::Result<TalkRow> {
    Ok(TalkRow {
        id: unsigned(row, 0)?,
        device: row.get(1)?,
        at: unsigned(row, 2)?,
        until: unsigned(row, 3)?,
        conversation: row.get(4)?,
        agent: row.get(5)?,
        heard: row.get(6)?,
        said: row.get(7)?,
        failure: row.get(8)?,
        transcript_ms: maybe_unsigned(row, 9)?,
        token_ms: maybe_unsigned(row, 10)?,
        audio_ms: maybe_unsigned(row, 11)?,
        interrupted: row.get(12)?,
        sound: recordings::read(row, 13)?,
    })
}
