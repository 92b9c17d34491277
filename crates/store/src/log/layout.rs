//! Which logs count: `CURRENT` names a generation, a generation has one log
//! for each event loop.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::LogError;
use super::format::{FORMAT_VERSION, SEGMENT_HEADER};
use super::{Disk, Folder};
use crate::folder::create_private;

/// The `log/` folder:
///
/// | name | holds |
/// |---|---|
/// | `CURRENT` | number and loops of the generation that counts |
/// | `7/0/`, `7/1/` … | the logs of generation 7, one a loop |
///
/// A new number of loops needs a new generation: write all its logs, sync
/// them, then [`LogLayout::switch`]. Until that returns, the old one counts.
#[derive(Debug)]
pub struct LogLayout {
    path: PathBuf,
    current: Option<Generation>,
}

/// The logs of one number of event loops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u64,
    /// How many logs, numbered from 0.
    pub loops: u16,
    /// Its folder.
    pub path: PathBuf,
}

impl Generation {
    /// The folder of one loop's log.
    ///
    /// # Errors
    /// It is missing and cannot be made, or cannot be opened.
    pub fn folder(&self, of_loop: u16) -> Result<Folder, LogError> {
        let path = self.path.join(of_loop.to_string());
        Folder::open(&path).map_err(|source| unreadable(&path, source))
    }
}

impl LogLayout {
    /// Reads which generation counts, and removes what an unfinished change
    /// left behind. Only the server that holds the folder's lock may do this.
    ///
    /// # Errors
    /// See [`LogError`]: `CURRENT` is unreadable, damaged or newer, or names a
    /// folder that is missing; or it is missing itself although a log is
    /// there.
    pub fn open(log_folder: impl AsRef<Path>) -> Result<LogLayout, LogError> {
        let path = log_folder.as_ref().to_path_buf();
        create_private(&path).map_err(|source| not_writable(&path, source))?;
        let mut layout = LogLayout {
            path,
            current: None,
        };
        layout.current = layout.read_current()?;
        if layout.current.is_none() {
            layout.refuse_orphans()?;
        }
        layout.remove_others()?;
        Ok(layout)
    }

    /// The generation that counts; none in a new folder.
    pub fn current(&self) -> Option<&Generation> {
        self.current.as_ref()
    }

    /// Makes the folders of a fresh generation with the next number. It does
    /// not count before [`LogLayout::switch`].
    ///
    /// # Errors
    /// `NotWritable`.
    pub fn begin(&mut self, loops: u16) -> Result<Generation, LogError> {
        let newest = self
            .generations()?
            .into_iter()
            .chain(self.current.as_ref().map(|current| current.number))
            .max();
        let generation = self.generation(newest.unwrap_or(0) + 1, loops);
        for of_loop in 0..loops {
            let path = generation.path.join(of_loop.to_string());
            create_private(&path).map_err(|source| not_writable(&path, source))?;
        }
        for path in [&generation.path, &self.path] {
            sync_folder(path).map_err(|source| not_writable(path, source))?;
        }
        Ok(generation)
    }

    /// Makes a generation count, at once or not at all, and removes all
    /// others. Its logs must be synced.
    ///
    /// # Errors
    /// `NotWritable`. Read [`LogLayout::current`] anew with
    /// [`LogLayout::open`] before going on.
    pub fn switch(&mut self, generation: &Generation) -> Result<(), LogError> {
        let (file, fresh) = (self.file(), self.path.join("CURRENT.new"));
        let text = Current {
            number: generation.number,
            loops: generation.loops,
        }
        .text();
        write_durably(&fresh, text.as_bytes())
            .and_then(|()| fs::rename(&fresh, &file))
            .and_then(|()| sync_folder(&self.path))
            .map_err(|source| not_writable(&file, source))?;
        self.current = Some(generation.clone());
        self.remove_others()
    }

    fn file(&self) -> PathBuf {
        self.path.join("CURRENT")
    }

    fn generation(&self, number: u64, loops: u16) -> Generation {
        Generation {
            number,
            loops,
            path: self.path.join(number.to_string()),
        }
    }

    fn read_current(&self) -> Result<Option<Generation>, LogError> {
        let file = self.file();
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(unreadable(&file, source)),
        };
        let current = Current::parse(&text).map_err(|problem| match problem {
            CurrentProblem::Newer(found) => LogError::NewerFormat {
                file: file.display().to_string(),
                found,
            },
            CurrentProblem::Damaged(offset, what) => LogError::Damaged {
                file: file.display().to_string(),
                offset: offset as u64,
                what: what.to_owned(),
            },
        })?;
        let Current { number, loops } = current;
        let generation = self.generation(number, loops);
        for of_loop in 0..loops {
            let path = generation.path.join(of_loop.to_string());
            if !path.is_dir() {
                return Err(LogError::Missing {
                    file: path.display().to_string(),
                });
            }
        }
        Ok(Some(generation))
    }

    /// Without `CURRENT` nothing counts. That is so in a new folder, and when
    /// the very first change was cut short: then no log holds a group yet.
    fn refuse_orphans(&self) -> Result<(), LogError> {
        for number in self.generations()? {
            let path = self.path.join(number.to_string());
            if holds_groups(&path).map_err(|source| unreadable(&path, source))? {
                return Err(LogError::NoCurrent {
                    file: self.file().display().to_string(),
                    generation: path.display().to_string(),
                });
            }
        }
        Ok(())
    }

    fn remove_others(&self) -> Result<(), LogError> {
        let keep = self.current.as_ref().map(|current| current.number);
        for number in self.generations()? {
            if Some(number) != keep {
                let path = self.path.join(number.to_string());
                fs::remove_dir_all(&path).map_err(|source| not_writable(&path, source))?;
            }
        }
        match fs::remove_file(self.path.join("CURRENT.new")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(not_writable(&self.path, error))
            }
            _ => Ok(()),
        }
    }

    fn generations(&self) -> Result<Vec<u64>, LogError> {
        let list = || {
            let mut numbers = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                let entry = entry?;
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
                if let Some(number) = number
                    && name.to_str() == Some(&number.to_string())
                    && entry.file_type()?.is_dir()
                {
                    numbers.push(number);
                }
            }
            Ok(numbers)
        };
        list().map_err(|source| unreadable(&self.path, source))
    }
}

/// What `CURRENT` says: four lines, the last one a checksum of the others.
struct Current {
    number: u64,
    loops: u16,
}

enum CurrentProblem {
    Newer(u32),
    /// At which byte, and what.
    Damaged(usize, &'static str),
}

impl Current {
    fn text(&self) -> String {
        let Current { number, loops } = self;
        let text = format!("safeport log {FORMAT_VERSION}\ngeneration {number}\nloops {loops}\n");
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}checksum {crc:08x}\n")
    }

    fn parse(bytes: &[u8]) -> Result<Current, CurrentProblem> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| CurrentProblem::Damaged(error.valid_up_to(), "it is no text"))?;
        let mut offset = 0;
        let version = number_after(text, &mut offset, "safeport log ")?;
        if version > u64::from(FORMAT_VERSION) {
            return Err(CurrentProblem::Newer(
                u32::try_from(version).unwrap_or(u32::MAX),
            ));
        }
        let number = number_after(text, &mut offset, "generation ")?;
        let at_loops = offset;
        let loops = number_after(text, &mut offset, "loops ")?;
        let loops = u16::try_from(loops)
            .map_err(|_| CurrentProblem::Damaged(at_loops, "so many loops cannot be"))?;
        let current = Current { number, loops };
        if current.text() != text {
            return Err(CurrentProblem::Damaged(offset, "its checksum is wrong"));
        }
        Ok(current)
    }
}

/// The number in a line that begins with `word`; `offset` goes to the next.
fn number_after(text: &str, offset: &mut usize, word: &str) -> Result<u64, CurrentProblem> {
    let line = text[*offset..].split_inclusive('\n').next().unwrap_or("");
    let number = line
        .strip_suffix('\n')
        .and_then(|line| line.strip_prefix(word))
        .and_then(|number| number.parse().ok())
        .ok_or(CurrentProblem::Damaged(
            *offset,
            "a line is not as it was written",
        ))?;
    *offset += line.len();
    Ok(number)
}

/// Whether any log of a generation has something behind its first header.
fn holds_groups(generation: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(generation)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let folder = Folder::open(entry.path())?;
        for segment in folder.list()? {
            let mut start = Vec::new();
            File::open(folder.name(segment.number))?
                .take(SEGMENT_HEADER as u64 + 1)
                .read_to_end(&mut start)?;
            // A marker never begins with a zero.
            if start.get(SEGMENT_HEADER).is_some_and(|byte| *byte != 0) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn unreadable(path: &Path, source: io::Error) -> LogError {
    LogError::Unreadable {
        file: path.display().to_string(),
        source,
    }
}

fn not_writable(path: &Path, source: io::Error) -> LogError {
    LogError::NotWritable {
        file: path.display().to_string(),
        source,
    }
}
