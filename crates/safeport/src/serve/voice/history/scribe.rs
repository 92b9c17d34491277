//! Writes turns down, and their sound: where no conversation waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use safeport_store::{Recordings, Registry, StoreError, TalkRow, TrackBytes};

use super::super::recording::{Sound, SoundFile};
use super::Figures;
use crate::throttle::Throttle;

/// The registry, and the folder with sound beside it.
pub(super) struct Scribe {
    registry: Registry,
    recordings: Recordings,
    figures: Arc<Figures>,
    trouble: Throttle,
    /// Sound is not written at present, and it was told why.
    mute: bool,
}

/// A turn that is to be written down.
pub(super) struct Written {
    pub(super) row: TalkRow,
    pub(super) sound: Option<Sound>,
}

impl Scribe {
    /// Nothing is written yet. Sound that a crash has left without its turn is removed.
    pub(super) fn new(registry: Registry, recordings: Recordings, figures: Arc<Figures>) -> Scribe {
        let mut scribe = Scribe {
            registry,
            recordings,
            figures,
            trouble: Throttle::default(),
            mute: false,
        };
        match scribe.recordings.sweep(&mut scribe.registry) {
            Ok(0) => {}
            Ok(swept) => tracing::info!(
                target: "safeport::voice",
                "the server had ended while sound was written down; {swept} files without their turn, or turns \
                 without theirs, were tidied away"
            ),
            Err(error) => scribe.cannot_remove(&error),
        }
        scribe
    }

    /// All of them at once. What cannot be written is told and dropped: sound by itself, and turns with their sound.
    pub(super) fn write(&mut self, turns: Vec<Written>) {
        let rows: Vec<TalkRow> = turns
            .into_iter()
            .map(|turn| match turn.sound {
                Some(sound) => self.with_sound(turn.row, sound),
                None => turn.row,
            })
            .collect();
        let sounds = || rows.iter().filter_map(|row| row.sound.as_ref());
        let written = self.registry.add_talks(&rows);
        if let Err(error) = &written {
            for sound in sounds() {
                // What stays is swept at the next start.
                let _ = self.recordings.remove(sound);
            }
            if self.trouble.admit("talks", Instant::now()).is_some() {
                tracing::warn!(
                    target: "safeport::voice",
                    "what was said in {} turns cannot be written down: {error}", rows.len()
                );
            }
        }
        // The oldest sound may have had to go, or its device is no longer there.
        if written.is_ok()
            && sounds().next().is_some()
            && let Err(error) = self.registry.remove_gone_recordings()
        {
            self.cannot_remove(&error);
        }
    }

    fn with_sound(&mut self, mut row: TalkRow, sound: Sound) -> TalkRow {
        let until = row.at.saturating_add(sound.keep.as_secs()).min(row.until);
        let (heard, said) = (track(&sound.heard), track(&sound.said));
        match self.recordings.write(heard, said, until) {
            Ok(recording) => {
                row.sound = Some(recording);
                if std::mem::take(&mut self.mute) {
                    tracing::info!(target: "safeport::voice", "the sound of conversations is kept again");
                }
            }
            Err(error) => {
                self.figures.unwritten.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut self.mute, true) {
                    tracing::warn!(
                        target: "safeport::voice",
                        "the sound of conversations is not kept until this is mended, what was said is: {error}"
                    );
                }
            }
        }
        row
    }

    fn cannot_remove(&self, error: &StoreError) {
        if self.trouble.admit("sound", Instant::now()).is_some() {
            tracing::warn!(
                target: "safeport::voice",
                "sound that is not to be kept any more is still there, and is tried again: {error}"
            );
        }
    }
}

fn track(file: &Option<SoundFile>) -> Option<TrackBytes<'_>> {
    let file = file.as_ref()?;
    Some(TrackBytes {
        bytes: &file.bytes,
        lasts: file.lasts,
    })
}
