//! The sound of turns: files of their own, since they are large, and rows that say
//! whose they are.
//!
//! | name | holds |
//! |---|---|
//! | `ab/abcd….heard.ogg` | what somebody said in a turn |
//! | `ab/abcd….said.ogg` | what was answered |
//!
//! Names are drawn at random and say nothing. Files come before their row, and go
//! after it: whatever removes a turn, be it its time, a limit, or that its device is
//! forgotten, notes its files in the same transaction, and they are removed behind
//! it. What a crash leaves between the two goes with [`Recordings::sweep`].

mod rows;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blobs::{entries, not_written};
use crate::folder::create_private;
use crate::{BlobFile, Registry, StoreError, limits};

pub(crate) use rows::{add, crowd, read};

/// The folder with the sound of turns. Made with its first file; folders have mode
/// 0700, files 0600. Any number of processes may read and remove; one writes.
#[derive(Debug, Clone)]
pub struct Recordings {
    root: PathBuf,
}

/// The sound of one turn: one file at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    name: String,
    /// When it is to be forgotten, in seconds since 1970; with its turn at the
    /// latest.
    pub until: u64,
    /// What somebody said; `None` in a turn in which nobody was listened to.
    pub heard: Option<Track>,
    /// What was answered; `None` where nothing was.
    pub said: Option<Track>,
}

/// A file with sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track {
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it plays, in milliseconds.
    pub ms: u64,
}

/// Who speaks in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who talked to the device.
    Heard,
    /// The device, for its agent.
    Said,
}

/// What a file is to hold.
#[derive(Debug, Clone, Copy)]
pub struct TrackBytes<'a> {
    /// The whole file.
    pub bytes: &'a [u8],
    /// What it plays.
    pub lasts: Duration,
}

impl Recordings {
    pub(crate) fn new(root: PathBuf) -> Recordings {
        Recordings { root }
    }

    /// Beside this registry.
    fn of(registry: &Registry) -> Recordings {
        Recordings::new(registry.path.with_file_name(FOLDER))
    }

    /// Writes the sound of a turn, which nobody knows of before it is added with
    /// [`Registry::add_talks`]. It does not wait for the disk: a power cut may lose
    /// it.
    ///
    /// # Errors
    /// [`StoreError::Full`], also where no more than
    /// [`RECORDINGS_LEAVE_FREE`](limits::RECORDINGS_LEAVE_FREE) is free; nothing can
    /// be written; [`StoreError::NoRandomness`]. Then no file is left.
    pub fn write(
        &self,
        heard: Option<TrackBytes<'_>>,
        said: Option<TrackBytes<'_>>,
        until: u64,
    ) -> Result<Recording, StoreError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|source| StoreError::NoRandomness { source })?;
        let track = |track: TrackBytes<'_>| Track {
            bytes: track.bytes.len() as u64,
            ms: track.lasts.as_millis() as u64,
        };
        let recording = Recording {
            name: format!("{:016x}", u64::from_be_bytes(random)),
            until,
            heard: heard.map(track),
            said: said.map(track),
        };
        let shelf = self.shelf(&recording.name);
        create_private(&shelf).map_err(|source| not_written(&shelf, source))?;
        self.leaves_room()?;
        for (side, track) in [(Side::Heard, heard), (Side::Said, said)] {
            let Some(track) = track else { continue };
            let path = self.path(&recording.name, side);
            if let Err(source) = put(&path, track.bytes) {
                // What cannot be removed now is swept at the next start.
                let _ = self.remove(&recording);
                return Err(not_written(&path, source));
            }
        }
        Ok(recording)
    }

    /// Opens one of its files; `None` where it has none of this side, or it is gone
    /// or not whole.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(&self, recording: &Recording, side: Side) -> Result<Option<BlobFile>, StoreError> {
        let Some(track) = recording.track(side) else {
            return Ok(None);
        };
        let path = self.path(&recording.name, side);
        match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((bytes, file)) if bytes == track.bytes => Ok(Some(BlobFile { file, bytes })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::NotReadable { path, source }),
        }
    }

    /// Removes the files of a recording that no turn was added with.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove(&self, recording: &Recording) -> Result<(), StoreError> {
        self.remove_named(&recording.name)
    }

    /// Removes files that no turn has, and forgets sound whose files are missing or
    /// not whole: what a crash or a power cut has left. To be done by the one who
    /// writes, before he does. Says how many files and recordings went.
    ///
    /// # Errors
    /// The folder or the database cannot be read or written; some may be gone.
    pub fn sweep(&self, registry: &mut Registry) -> Result<u64, StoreError> {
        let mut swept = registry.remove_gone_recordings()?;
        for shelf in 0..=u8::MAX {
            // One at a time: all names at once may be many.
            let shelf = format!("{shelf:02x}");
            let known = registry.recordings_of_shelf(&shelf)?;
            let names: HashSet<&str> = known.iter().map(|(_, found)| &*found.name).collect();
            let folder = self.root.join(&shelf);
            for entry in entries(&folder)? {
                let file = entry.file_name();
                let Some(name) = file.to_str().and_then(name_of) else {
                    continue;
                };
                if !names.contains(name) {
                    remove_file(&entry.path())?;
                    swept += 1;
                }
            }
            let whole = |recording: &Recording, side| {
                let path = self.path(&recording.name, side);
                recording.track(side).is_none_or(|track| {
                    fs::metadata(path).is_ok_and(|found| found.len() == track.bytes)
                })
            };
            let torn: Vec<u64> = known
                .iter()
                .filter(|(_, found)| !whole(found, Side::Heard) || !whole(found, Side::Said))
                .map(|(talk, _)| *talk)
                .collect();
            swept += torn.len() as u64;
            registry.forget_recordings(&torn)?;
        }
        registry.remove_gone_recordings()?;
        Ok(swept)
    }

    fn remove_named(&self, name: &str) -> Result<(), StoreError> {
        for side in [Side::Heard, Side::Said] {
            remove_file(&self.path(name, side))?;
        }
        Ok(())
    }

    /// Sound is the least that a disk is needed for.
    fn leaves_room(&self) -> Result<(), StoreError> {
        #[cfg(target_os = "linux")]
        if let Ok(disk) = rustix::fs::statvfs(&self.root) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let all = disk.f_blocks.saturating_mul(disk.f_frsize);
            if free < limits::RECORDINGS_LEAVE_FREE.min(all / 10) {
                return Err(StoreError::Full {
                    path: self.root.clone(),
                });
            }
        }
        Ok(())
    }

    fn shelf(&self, name: &str) -> PathBuf {
        self.root.join(name.get(..2).unwrap_or_default())
    }

    fn path(&self, name: &str, side: Side) -> PathBuf {
        self.shelf(name).join(format!("{name}.{}", side.ending()))
    }
}

impl Recording {
    /// The file of one side.
    pub fn track(&self, side: Side) -> Option<Track> {
        match side {
            Side::Heard => self.heard,
            Side::Said => self.said,
        }
    }

    /// What it takes on a disk, which gives no less than a block to a file.
    fn weight(&self) -> u64 {
        let tracks = [self.heard, self.said].into_iter().flatten();
        tracks
            .map(|track| track.bytes.next_multiple_of(BLOCK))
            .sum()
    }
}

impl Side {
    fn ending(self) -> &'static str {
        match self {
            Side::Heard => "heard.ogg",
            Side::Said => "said.ogg",
        }
    }
}

/// The name in that of a file of ours.
fn name_of(file: &str) -> Option<&str> {
    let (name, ending) = file.split_once('.')?;
    let is_ours = [Side::Heard, Side::Said]
        .iter()
        .any(|side| side.ending() == ending);
    let is_name = name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_ours && is_name).then_some(name)
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(bytes)
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(not_written(path, error)),
        _ => Ok(()),
    }
}

/// In the data folder.
pub(crate) const FOLDER: &str = "recordings";
/// Of most file systems.
const BLOCK: u64 = 4 << 10;
