//! Where segments live: what the log needs of a disk, and the real one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder::create_private;

/// Where the segments of one log live. [`Folder`] is the real one;
/// [`super::simulated::SimDisk`] can tear, lose and run full.
pub trait Disk {
    /// A segment that is being written.
    type File: SegmentFile;

    /// All segments, in any order.
    ///
    /// # Errors
    /// What the system says; so for all the others.
    fn list(&self) -> io::Result<Vec<SegmentEntry>>;

    /// All bytes of a segment.
    fn read(&self, segment: u64) -> io::Result<Vec<u8>>;

    /// Makes a segment that reads as zeros, with `reserve` bytes set aside for
    /// it: a full disk is an error here and leaves nothing behind. A disk that
    /// cannot set bytes aside makes an empty one.
    fn create(&mut self, segment: u64, reserve: u64) -> io::Result<Self::File>;

    /// Makes what is written in a segment durable.
    fn sync(&mut self, segment: u64) -> io::Result<()>;

    /// Cuts a segment to its first `len` bytes. Durable on return.
    fn truncate(&mut self, segment: u64, len: u64) -> io::Result<()>;

    /// Removes a segment. Durable after [`Disk::sync_folder`]; until then a
    /// power cut may bring back the segments removed last, never one removed
    /// earlier alone (journals keep that order).
    fn remove(&mut self, segment: u64) -> io::Result<()>;

    /// Makes creations and removals durable.
    fn sync_folder(&mut self) -> io::Result<()>;

    /// What a person would look for: the path of a segment.
    fn name(&self, segment: u64) -> String;
}

/// A segment that is being written, by one thread; synced by any.
pub trait SegmentFile: Clone + Send + 'static {
    /// Writes `parts` one after the other from `offset` on: all of them, or it
    /// is an error and any part of them may have been written.
    ///
    /// # Errors
    /// What the system says; so for all the others.
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()>;

    /// Makes all that was written before durable (fdatasync).
    fn sync(&self) -> io::Result<()>;

    /// Makes the name of the segment durable: a new file is not found after a
    /// power cut unless its folder was synced too.
    fn sync_entry(&self) -> io::Result<()>;
}

/// A segment on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentEntry {
    /// Its number, from 1.
    pub number: u64,
    /// Its length, reserved bytes included.
    pub bytes: u64,
}

/// A folder of files `0000000001.log`, `0000000002.log` …; the folder has mode
/// 0700, the files 0600.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Shared with the files, whose names it holds.
    handle: Arc<File>,
}

impl Folder {
    /// Uses a folder, which is made when it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or opened.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Folder> {
        let path = path.as_ref().to_path_buf();
        create_private(&path)?;
        let handle = Arc::new(File::open(&path)?);
        Ok(Folder { path, handle })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:010}.log"))
    }

    fn writable(&self, segment: u64) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.file(segment))
    }
}

impl Disk for Folder {
    type File = FolderFile;

    fn list(&self) -> io::Result<Vec<SegmentEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_suffix(".log"))
                .and_then(|digits| digits.parse().ok());
            // A copy that somebody made under another name is none of ours.
            if let Some(number) = number
                && self.file(number).file_name() == Some(&name)
            {
                let bytes = entry.metadata()?.len();
                entries.push(SegmentEntry { number, bytes });
            }
        }
        Ok(entries)
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        fs::read(self.file(segment))
    }

    fn create(&mut self, segment: u64, reserve: u64) -> io::Result<FolderFile> {
        let path = self.file(segment);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        if let Err(error) = set_aside(&file, reserve) {
            drop(file);
            // If this fails too, the next opening removes the unused file.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(FolderFile {
            file: Arc::new(file),
            folder: Arc::clone(&self.handle),
        })
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        self.writable(segment)?.sync_data()
    }

    fn truncate(&mut self, segment: u64, len: u64) -> io::Result<()> {
        let file = self.writable(segment)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        fs::remove_file(self.file(segment))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn name(&self, segment: u64) -> String {
        self.file(segment).display().to_string()
    }
}

/// An open file of a [`Folder`].
#[derive(Debug, Clone)]
pub struct FolderFile {
    file: Arc<File>,
    folder: Arc<File>,
}

impl SegmentFile for FolderFile {
    #[cfg(target_os = "linux")]
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut slices = [io::IoSlice::new(&[]); 4];
        if parts.len() > slices.len() {
            let (first, rest) = parts.split_at(slices.len());
            self.write_at(offset, first)?;
            let written: usize = first.iter().map(|part| part.len()).sum();
            return self.write_at(offset + written as u64, rest);
        }
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = io::IoSlice::new(part);
        }
        let mut left = &mut slices[..parts.len()];
        let mut offset = offset;
        io::IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match rustix::io::pwritev(&*self.file, left, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    io::IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(offset))?;
        parts.iter().try_for_each(|part| file.write_all(part))
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_entry(&self) -> io::Result<()> {
        self.folder.sync_all()
    }
}

/// Takes the blocks that a segment will need, so that the disk runs full here
/// and not in the middle of a group. It also spares each sync the new length.
#[cfg(target_os = "linux")]
fn set_aside(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    if bytes == 0 {
        return Ok(());
    }
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            // Some network and old file systems cannot; then a full disk
            // shows when a group is written, which is handled as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn set_aside(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}
