//! The append log: the durable record of sessions and retained messages.
//!
//! Each event loop owns one [`Log`] and appends one group to it per turn; what
//! a group holds is the business of whoever writes it. After [`Log::append`] a
//! group survives the end of the process, however it ends; after a sync that
//! covers it, a power cut too. A group is never half there: [`Log::open`] hands
//! out whole groups in order.
//!
//! What opening finds broken is either the end of what a crash interrupted,
//! which is dropped and reported, or damage to something that was durable
//! once, which is refused by file and offset. Each group says up to where
//! everything was durable when it was written: that tells the two apart.
//!
//! Old segments go by [`Log::cut`], writing anew what is still needed, and
//! [`Log::forget_before`].

mod disk;
mod error;
mod format;
mod layout;
mod recovery;
pub mod simulated;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use disk::{Disk, Folder, FolderFile, SegmentEntry, SegmentFile};
pub use error::{AppendError, BadRecord, LogError};
pub use layout::{Generation, LogLayout};
pub use recovery::{Place, Progress, Recovery};

use crate::limits;
use error::is_full;
use format::{GROUP_HEADER, Key, SEGMENT_HEADER, SegmentHeader};

/// The sequence number of a group: 1 for the first of a log, then one more for
/// each, over all segments and restarts. 0 is "before the first".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(u64);

impl Position {
    /// As a number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// How a log is opened and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes reserved for a segment. Default [`limits::SEGMENT_BYTES`]; a
    /// group that is longer gets a longer segment. Opening and [`Log::cut`]
    /// take shorter ones from a disk that is nearly full, down to a sixteenth.
    pub segment_bytes: u64,
    /// Whether to go on with what can be read when something durable is
    /// damaged. Default no: the operator says so, once. The damage stays in
    /// its file, so it counts again until [`Log::forget_before`] removed it.
    pub skip_damaged: bool,
    /// A number that nobody else can guess, for a log that is new. Default: a
    /// random one.
    pub key: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        // The standard library keeps the entropy of the system behind its maps.
        let random = || {
            let mut hasher = std::hash::RandomState::new().build_hasher();
            hasher.write_u8(0);
            hasher.finish()
        };
        LogOptions {
            segment_bytes: limits::SEGMENT_BYTES,
            skip_damaged: false,
            key: random() ^ random().rotate_left(32),
        }
    }
}

/// An append log, open for writing. Belongs to one thread; only [`SyncTask`]s
/// leave it.
#[derive(Debug)]
pub struct Log<D: Disk = Folder> {
    disk: D,
    options: LogOptions,
    key: Key,
    /// All segments with something in them, oldest first; if `writing`, the
    /// last one is being written.
    segments: VecDeque<Segment>,
    writing: Option<Writing<D::File>>,
    /// The segment after that, if it is reserved already.
    next: Option<Reserved<D::File>>,
    /// Whether reading may start at the next segment.
    next_is_start: bool,
    /// What a failed write may have left behind the last group.
    dirty: Option<Dirty<D::File>>,
    /// Why the next segment could not be reserved.
    no_room: Option<io::Error>,
    end: u64,
    /// Checksum of the last group.
    checksum: u32,
    synced: u64,
    unsynced: Vec<Unsynced<D::File>>,
    sync_failed: Arc<AtomicBool>,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    number: u64,
    /// Sequence number of its first group, and of its last one: less than the
    /// first if there is none.
    first: u64,
    last: u64,
    /// Without reserved ones.
    bytes: u64,
    start: bool,
}

#[derive(Debug)]
struct Writing<F> {
    file: F,
    reserve: u64,
    entry_synced: bool,
}

#[derive(Debug)]
struct Reserved<F> {
    number: u64,
    file: F,
    reserve: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnFull {
    Fail,
    Shorter,
}

#[derive(Debug)]
struct Dirty<F> {
    number: u64,
    file: F,
    offset: u64,
    bytes: u64,
}

#[derive(Debug)]
struct Unsynced<F> {
    number: u64,
    /// Sequence number of its first group.
    first: u64,
    /// Sequence number that a sync must cover.
    last: u64,
    file: F,
    /// Whether its name is not durable either.
    entry: bool,
}

impl<D: Disk> Log<D> {
    /// Opens a log, or begins one, and hands the payload of each group to
    /// `each`, oldest first. `progress` is called after each segment.
    ///
    /// What a crash left unfinished at the end is dropped, and what was read
    /// is made durable. Writing goes on in a new segment. A disk that is full
    /// is no error: see [`Log::has_room`].
    ///
    /// # Errors
    /// See [`LogError`]. Unless it is `NotWritable`, nothing was changed.
    pub fn open(
        disk: D,
        options: LogOptions,
        each: &mut dyn FnMut(&[u8]) -> Result<(), BadRecord>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Log<D>, Recovery), LogError> {
        let mut disk = disk;
        let found = recovery::read(&mut disk, &options, each, progress)?;
        let mut log = Log {
            disk,
            options,
            key: found.key.unwrap_or(Key(options.key)),
            segments: found.segments,
            writing: None,
            next: None,
            next_is_start: false,
            dirty: None,
            no_room: None,
            end: found.end,
            checksum: found.checksum,
            synced: found.end,
            unsynced: Vec::new(),
            sync_failed: Arc::new(AtomicBool::new(false)),
        };
        let ready = match log.reserve_next(0, OnFull::Shorter) {
            // The first segment of all: see `begin_segment`.
            Ok(()) if log.segments.is_empty() => log.begin_segment(0),
            ready => ready,
        };
        match ready {
            Ok(()) | Err(AppendError::Full { .. }) => Ok((log, found.report)),
            Err(AppendError::Write { file, source }) => Err(LogError::NotWritable { file, source }),
            Err(error) => Err(LogError::NotWritable {
                file: log.disk.name(1),
                source: io::Error::other(error),
            }),
        }
    }

    /// Writes a group, in one go. It survives the end of the process from now
    /// on, and a power cut once [`Log::synced`] has reached its position.
    ///
    /// # Errors
    /// See [`AppendError`]. Nothing has changed then.
    pub fn append(&mut self, payload: &[u8]) -> Result<Position, AppendError> {
        if payload.len() > limits::MAX_GROUP_BYTES {
            return Err(AppendError::TooLarge {
                bytes: payload.len(),
            });
        }
        let len = (GROUP_HEADER + payload.len()) as u64;
        self.clean()?;
        if !self.fits(len) {
            self.begin_segment(len)?;
        }
        let sequence = self.end + 1;
        let header = format::group_header(self.key, payload, sequence, self.synced, self.checksum);
        let (Some(writing), Some(segment)) = (&mut self.writing, self.segments.back_mut()) else {
            unreachable!("begin_segment leaves a segment to write in");
        };
        let written = if segment.bytes == 0 {
            // Not before now, so that one write makes the segment.
            let head = SegmentHeader {
                number: segment.number,
                first: sequence,
                key: self.key,
                start: segment.start,
            };
            let head = head.encode();
            let written = writing.file.write_at(0, &[&head, &header, payload]);
            written.map(|()| SEGMENT_HEADER as u64 + len)
        } else {
            let written = writing.file.write_at(segment.bytes, &[&header, payload]);
            written.map(|()| len)
        };
        match written {
            Ok(written) => segment.bytes += written,
            Err(source) => return Err(self.write_failed(len, source)),
        }
        segment.last = sequence;
        self.end = sequence;
        self.checksum = format::checksum(&header);
        let used = segment.bytes;
        let left = writing.reserve.saturating_sub(used);
        let low = left < self.options.segment_bytes / 4;
        self.note_unsynced(sequence);
        if low && self.next.is_none() && self.no_room.is_none() {
            // That it failed is kept for `has_room`; this group is written.
            let _ = self.reserve_next(0, OnFull::Fail);
        }
        Ok(Position(sequence))
    }

    /// Bytes that are set aside for further groups: what [`Log::cut`] finds on a
    /// full disk, but for rounding down to a half.
    pub fn left(&self) -> u64 {
        let used = self.segments.back().map_or(0, |segment| segment.bytes);
        let writing = self.writing.as_ref();
        let here = writing.map_or(0, |writing| writing.reserve.saturating_sub(used));
        here + self.next.as_ref().map_or(0, |next| next.reserve)
    }

    /// Whether there is room for another segment. It is looked for once less
    /// than a quarter of a segment is left. Once there is none, appending goes
    /// on within what is left, which should be kept for what shrinks the
    /// state; then it fails with [`AppendError::Full`].
    pub fn has_room(&self) -> bool {
        self.no_room.is_none()
    }

    /// Tries again to reserve the next segment, and returns
    /// [`Log::has_room`]. A few system calls: about twice a second is enough.
    pub fn try_to_make_room(&mut self) -> bool {
        if self.no_room.is_some() {
            let number = self.next_number() + 1;
            if self.next.is_none() {
                // That it failed is kept for `has_room`.
                let _ = self.reserve_next(0, OnFull::Fail);
            } else if self.disk.create(number, self.usual_reserve()).is_ok()
                && self.disk.remove(number).is_ok()
            {
                // There is room for a usual one after what is reserved.
                self.no_room = None;
            }
        }
        self.has_room()
    }

    /// The last group that was appended.
    pub fn end(&self) -> Position {
        Position(self.end)
    }

    /// The last group that survives a power cut, with all before it.
    pub fn synced(&self) -> Position {
        Position(self.synced)
    }

    /// The work of making everything appended so far durable, for another
    /// thread; none if it is already. Report its result to
    /// [`Log::was_synced`]. Several may be under way at once.
    ///
    /// A file stays open until a sync has covered it: run one at least once
    /// for every few segments, even if nobody waits for it.
    pub fn sync_task(&mut self) -> Option<SyncTask<D::File>> {
        (self.synced < self.end).then(|| SyncTask {
            files: self
                .unsynced
                .iter()
                .map(|each| (each.file.clone(), each.entry))
                .collect(),
            up_to: self.end,
            failed: Arc::clone(&self.sync_failed),
        })
    }

    /// Says that a [`SyncTask`] succeeded and returned this.
    pub fn was_synced(&mut self, position: Position) {
        let up_to = position.0.min(self.end);
        if up_to <= self.synced {
            return;
        }
        self.synced = up_to;
        let current = self.segments.back().map(|segment| segment.number);
        for each in &mut self.unsynced {
            if each.first <= up_to {
                each.entry = false;
                if Some(each.number) == current
                    && let Some(writing) = &mut self.writing
                {
                    writing.entry_synced = true;
                }
            }
        }
        self.unsynced.retain(|each| each.last > up_to);
    }

    /// Makes the next group open a new segment, and returns its number. To
    /// compact: cut, append everything that is still needed, sync, then
    /// [`Log::forget_before`] this number.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was cut then.
    pub fn cut(&mut self) -> Result<u64, AppendError> {
        self.clean()?;
        if self.writing.is_some()
            && let Some(segment) = self.segments.back()
            && segment.last < segment.first
        {
            // The first segment of all, still without groups.
            return Ok(segment.number);
        }
        if self.next.is_none() && self.reserve_next(0, OnFull::Fail).is_err() {
            self.give_back_reserve()?;
            self.reserve_next(0, OnFull::Shorter)?;
        }
        self.writing = None;
        self.next_is_start = true;
        Ok(self.next_number())
    }

    /// Removes all segments before one that [`Log::cut`] announced, oldest
    /// first.
    ///
    /// # Errors
    /// The system refuses; or `segment` is none of those, or nothing in it is
    /// durable yet: then a power cut could leave neither the old nor the new.
    /// Wait until [`Log::synced`] covers all that replaces the old segments.
    pub fn forget_before(&mut self, segment: u64) -> io::Result<()> {
        if self.segments.front().is_none_or(|it| it.number >= segment) {
            return Ok(());
        }
        let keep = self.segments.iter().find(|it| it.number == segment);
        if !keep.is_some_and(|it| it.start && it.first <= self.synced) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{} cannot become the first segment: only one that a cut began, once it is synced",
                    self.disk.name(segment)
                ),
            ));
        }
        while let Some(first) = self.segments.front()
            && first.number < segment
        {
            match self.disk.remove(first.number) {
                // Somebody was faster; it is gone.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Gives back what is set aside, which the next opening would read in
    /// vain. For the end of an orderly process: whatever is appended later
    /// reserves anew.
    ///
    /// # Errors
    /// What the system says. Nothing is lost then, and the next opening does
    /// it.
    pub fn give_back(&mut self) -> io::Result<()> {
        if let Some(next) = self.next.take() {
            self.disk.remove(next.number)?;
        }
        // What a failed write has left is for the next opening to judge.
        if self.dirty.is_none()
            && let (Some(writing), Some(segment)) = (&mut self.writing, self.segments.back())
            && writing.reserve > segment.bytes
        {
            self.disk.truncate(segment.number, segment.bytes)?;
            writing.reserve = segment.bytes;
        }
        Ok(())
    }

    /// Bytes written in all segments, without what is reserved.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether a group of `len` bytes still fits into the segment that is
    /// being written.
    fn fits(&self, len: u64) -> bool {
        let (Some(writing), Some(segment)) = (&self.writing, self.segments.back()) else {
            return false;
        };
        let at = segment.bytes.max(SEGMENT_HEADER as u64);
        at + len <= writing.reserve
    }

    /// Notes what a failed write may have left, and takes the group back.
    fn write_failed(&mut self, len: u64, source: io::Error) -> AppendError {
        // `clean` runs before the next group, so a sync that covers the next
        // group covers the cleaning too.
        self.note_unsynced(self.end + 1);
        let (Some(writing), Some(segment)) = (&self.writing, self.segments.back().copied()) else {
            unreachable!("a write had a segment");
        };
        let file = self.disk.name(segment.number);
        self.dirty = Some(Dirty {
            number: segment.number,
            file: writing.file.clone(),
            offset: segment.bytes,
            bytes: SEGMENT_HEADER as u64 + len,
        });
        if segment.bytes == 0
            && let Some(writing) = self.writing.take()
        {
            // Not begun after all: a segment without a header must not be left
            // behind others.
            self.segments.pop_back();
            self.next_is_start = segment.start;
            self.next = Some(Reserved {
                number: segment.number,
                file: writing.file,
                reserve: writing.reserve,
            });
        }
        if is_full(&source) {
            self.no_room = Some(source);
            return AppendError::Full { file };
        }
        AppendError::Write { file, source }
    }

    /// Removes what a failed write left behind the last group. Were the next
    /// group shorter, the rest would look like damage.
    fn clean(&mut self) -> Result<(), AppendError> {
        if self.sync_failed.load(Ordering::Relaxed) {
            let number = self.segments.back().map_or(1, |segment| segment.number);
            return Err(AppendError::SyncFailed {
                file: self.disk.name(number),
            });
        }
        if let Some(dirty) = &self.dirty {
            let zeros = vec![0; dirty.bytes as usize];
            dirty
                .file
                .write_at(dirty.offset, &[&zeros])
                .map_err(|source| AppendError::from_io(self.disk.name(dirty.number), source))?;
            self.dirty = None;
        }
        Ok(())
    }

    /// Goes on to the next segment, where a group of `len` bytes fits.
    fn begin_segment(&mut self, len: u64) -> Result<(), AppendError> {
        let needed = SEGMENT_HEADER as u64 + len;
        if self.next.as_ref().is_some_and(|next| next.reserve < needed) {
            self.replace_next(needed)?;
        }
        if self.next.is_none() {
            if let Some(why) = &self.no_room {
                // `try_to_make_room` asks the disk again, not each group.
                let again = io::Error::new(why.kind(), why.to_string());
                return Err(AppendError::from_io(
                    self.disk.name(self.next_number()),
                    again,
                ));
            }
            self.reserve_next(needed, OnFull::Fail)?;
        }
        let first_of_all = self.segments.is_empty();
        let mut segment = Segment {
            number: self.next_number(),
            first: self.end + 1,
            last: self.end,
            bytes: 0,
            start: self.next_is_start || first_of_all,
        };
        if first_of_all && let Some(next) = &self.next {
            // Later segments are vouched for by earlier ones. Nobody vouches
            // for this one, so its header is durable before anything follows.
            let head = SegmentHeader {
                number: segment.number,
                first: segment.first,
                key: self.key,
                start: true,
            };
            let file = self.disk.name(segment.number);
            if let Err(source) = next.file.write_at(0, &[&head.encode()]) {
                return Err(AppendError::from_io(file, source));
            }
            if let Err(source) = next.file.sync().and_then(|()| next.file.sync_entry()) {
                self.sync_failed.store(true, Ordering::Relaxed);
                return Err(AppendError::Write { file, source });
            }
            segment.bytes = SEGMENT_HEADER as u64;
        }
        if let Some(next) = self.next.take() {
            self.writing = Some(Writing {
                file: next.file,
                reserve: next.reserve,
                entry_synced: first_of_all,
            });
            self.segments.push_back(segment);
            self.next_is_start = false;
        }
        Ok(())
    }

    fn next_number(&self) -> u64 {
        self.next.as_ref().map_or_else(
            || self.segments.back().map_or(1, |last| last.number + 1),
            |next| next.number,
        )
    }

    /// Reserves the segment after the current one, with at least `at_least`
    /// bytes. With `Shorter`, a disk without room for a usual one gives a
    /// shorter one, which is no room for growth.
    fn reserve_next(&mut self, at_least: u64, or: OnFull) -> Result<(), AppendError> {
        let number = self.next_number();
        let usual = self.usual_reserve();
        let least = match or {
            OnFull::Fail => usual,
            OnFull::Shorter => (usual / 16).max(SMALLEST_SEGMENT),
        };
        let least = least.max(at_least);
        let mut reserve = usual.max(least);
        loop {
            match self.disk.create(number, reserve) {
                Ok(file) => {
                    let full = || io::ErrorKind::StorageFull.into();
                    self.no_room = (reserve < usual).then(full);
                    self.next = Some(Reserved {
                        number,
                        file,
                        reserve,
                    });
                    return Ok(());
                }
                Err(error) if is_full(&error) && reserve / 2 >= least => reserve /= 2,
                Err(error) => {
                    let again = io::Error::new(error.kind(), error.to_string());
                    self.no_room = Some(again);
                    return Err(AppendError::from_io(self.disk.name(number), error));
                }
            }
        }
    }

    fn usual_reserve(&self) -> u64 {
        self.options.segment_bytes.max(SMALLEST_SEGMENT)
    }

    /// Replaces the reserved segment by a larger one of the same number.
    fn replace_next(&mut self, needed: u64) -> Result<(), AppendError> {
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        let number = next.number;
        if let Err(error) = self.disk.remove(number) {
            self.next = Some(next);
            return Err(AppendError::from_io(self.disk.name(number), error));
        }
        drop(next);
        self.unsynced.retain(|each| each.number != number);
        let larger = self.reserve_next(needed, OnFull::Fail);
        if larger.is_err() && self.reserve_next(0, OnFull::Shorter).is_ok() {
            // There is room, but not for this group.
            self.no_room = Some(io::ErrorKind::StorageFull.into());
        }
        larger
    }

    /// Gives the unused end of the current segment back to a full disk, for
    /// the segment that compaction needs.
    fn give_back_reserve(&mut self) -> Result<(), AppendError> {
        if let (Some(writing), Some(segment)) = (&mut self.writing, self.segments.back()) {
            self.disk
                .truncate(segment.number, segment.bytes)
                .map_err(|source| AppendError::from_io(self.disk.name(segment.number), source))?;
            writing.reserve = segment.bytes;
        }
        Ok(())
    }

    /// Remembers that the last segment has something unsynced, until a sync
    /// covers this sequence number.
    fn note_unsynced(&mut self, until: u64) {
        let (Some(writing), Some(segment)) = (&self.writing, self.segments.back()) else {
            return;
        };
        match self.unsynced.last_mut() {
            Some(last) if last.number == segment.number => last.last = until,
            _ => self.unsynced.push(Unsynced {
                number: segment.number,
                first: segment.first,
                last: until,
                file: writing.file.clone(),
                entry: !writing.entry_synced,
            }),
        }
    }
}

/// Makes a part of a log durable, on a thread that may wait for the disk.
#[derive(Debug)]
#[must_use = "nothing is durable until it ran"]
pub struct SyncTask<F> {
    files: Vec<(F, bool)>,
    up_to: u64,
    failed: Arc<AtomicBool>,
}

impl<F: SegmentFile> SyncTask<F> {
    /// Does it, and returns what to tell [`Log::was_synced`].
    ///
    /// # Errors
    /// What the system says. Then some of what was written may be gone for
    /// good, and trying again would only hide it: the server must stop, and
    /// read what there is at its next start. The log takes no more groups, and
    /// each later task fails too.
    pub fn run(self) -> io::Result<Position> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier sync of this log failed"));
        }
        for (file, entry) in &self.files {
            let synced = file.sync().and_then(|()| match entry {
                true => file.sync_entry(),
                false => Ok(()),
            });
            if let Err(error) = synced {
                self.failed.store(true, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(Position(self.up_to))
    }
}

/// Less than this is no segment: its header and an empty group.
const SMALLEST_SEGMENT: u64 = (SEGMENT_HEADER + GROUP_HEADER) as u64;
