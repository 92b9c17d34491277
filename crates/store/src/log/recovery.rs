//! Reading a log, and telling the end of a crash from damage.

use std::collections::VecDeque;
use std::fmt;

use super::error::{BadRecord, LogError};
use super::format::{self, Group, GroupFound, HeaderFound, Key, SEGMENT_HEADER, SegmentHeader};
use super::{Disk, LogOptions, Segment, SegmentEntry};
use crate::limits;

/// How far reading a log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes to read.
    pub total_bytes: u64,
}

/// What opening a log found. What was dropped or skipped deserves a warning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Groups that were handed out.
    pub groups: u64,
    /// Segments that they came from.
    pub segments: u64,
    /// Segments that an interrupted [`super::Log::forget_before`] had left, now
    /// removed unread.
    pub forgotten: u64,
    /// The end of the log that a crash left unfinished, now removed: where it
    /// began, and how many bytes over all files it had. Nothing in it was ever
    /// known to survive a power cut.
    pub dropped: Option<Place>,
    /// What `skip_damaged` passed over, at most [`limits::MAX_PLACES`].
    pub skipped: Vec<Place>,
    /// How many places it passed over.
    pub skipped_places: u64,
    /// How many bytes it passed over, as far as they are there at all.
    pub skipped_bytes: u64,
}

/// Bytes that were not used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The segment.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// What was found.
    pub what: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at byte {}: {} bytes ({})",
            self.file, self.offset, self.bytes, self.what
        )
    }
}

pub(super) struct Found {
    pub(super) key: Option<Key>,
    pub(super) segments: VecDeque<Segment>,
    /// Sequence number of the last group.
    pub(super) end: u64,
    /// Its checksum.
    pub(super) checksum: u32,
    pub(super) report: Recovery,
}

/// Reads all segments, removes what a crash left unfinished and makes the rest
/// durable.
pub(super) fn read<D: Disk>(
    disk: &mut D,
    options: &LogOptions,
    each: &mut dyn FnMut(&[u8]) -> Result<(), BadRecord>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Found, LogError> {
    let mut entries = disk.list().map_err(|source| LogError::Unreadable {
        file: disk.name(1),
        source,
    })?;
    entries.sort_unstable();
    let mut reader = Reader {
        disk,
        skip: options.skip_damaged,
        entries: &entries,
        each,
        key: None,
        segments: VecDeque::new(),
        end: 0,
        checksum: None,
        report: Recovery::default(),
        skipped_to_end: false,
        broken: None,
    };
    let start = reader.start()?;
    reader.report.forgotten = start as u64;
    let total_bytes = entries[start..].iter().map(|entry| entry.bytes).sum();
    let mut done_bytes = 0;
    for (index, entry) in entries.iter().enumerate().skip(start) {
        let next = reader.segment(index)?;
        done_bytes = match next {
            Next::Go => done_bytes + entry.bytes,
            Next::Stop => total_bytes,
        };
        progress(Progress {
            done_bytes,
            total_bytes,
        });
        if next == Next::Stop {
            break;
        }
    }
    reader.finish()
}

/// Whether to read on.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

struct Reader<'a, D> {
    disk: &'a mut D,
    skip: bool,
    entries: &'a [SegmentEntry],
    each: &'a mut dyn FnMut(&[u8]) -> Result<(), BadRecord>,
    key: Option<Key>,
    /// Those that count; bytes up to the end of the last sound group.
    segments: VecDeque<Segment>,
    end: u64,
    /// Checksum of the last group, if it was read.
    checksum: Option<u32>,
    report: Recovery,
    /// Whether the last place that was skipped reached up to the end of its
    /// segment: then missing groups are no news.
    skipped_to_end: bool,
    /// Why reading stopped.
    broken: Option<Place>,
}

impl<D: Disk> Reader<'_, D> {
    /// Index of the segment to begin with: the oldest, unless forgetting was
    /// interrupted. Then the first that a cut began, since all before it was
    /// replaced.
    fn start(&self) -> Result<usize, LogError> {
        for (index, entry) in self.entries.iter().enumerate() {
            let data = self.load(entry.number)?;
            let HeaderFound::Sound(header) = format::segment_header(&data) else {
                break;
            };
            // Nothing is forgotten before its successor has a durable group.
            let group = format::group_at(&data, SEGMENT_HEADER, header.key);
            if header.start && (index == 0 || matches!(group, GroupFound::Sound(_))) {
                return Ok(index);
            }
        }
        Ok(0)
    }

    fn segment(&mut self, index: usize) -> Result<Next, LogError> {
        let number = self.entries[index].number;
        let data = self.load(number)?;
        let header = match format::segment_header(&data) {
            HeaderFound::Sound(header) => header,
            HeaderFound::Newer(found) => {
                return Err(LogError::NewerFormat {
                    file: self.disk.name(number),
                    found,
                });
            }
            HeaderFound::Unused => {
                let damage = Damage::new(0, "nothing is written in it");
                return self.without_header(index, data, damage, None);
            }
            HeaderFound::Damaged { offset, copy } => {
                let damage = Damage::new(offset, "the header of the segment is damaged");
                return self.without_header(index, data, damage, copy);
            }
        };
        if header.number != number {
            let error = LogError::WrongNumber {
                file: self.disk.name(number),
                found: header.number,
            };
            if !self.skip {
                return Err(error);
            }
            let used = format::used(&data) as u64;
            self.skipped(number, 0, used, &format!("it is segment {}", header.number));
            self.add(number, 0, false);
            self.skipped_to_end = true;
            return Ok(Next::Go);
        }
        if self.before(index, &header, &data)? == Next::Stop {
            return Ok(Next::Stop);
        }
        self.groups(index, data, &header, SEGMENT_HEADER)
    }

    /// Checks that nothing is missing between the segments read so far and
    /// this one.
    fn before(
        &mut self,
        index: usize,
        header: &SegmentHeader,
        data: &[u8],
    ) -> Result<Next, LogError> {
        let number = header.number;
        let Some(last) = self.segments.back().copied() else {
            // Nothing was read yet, so reading must be allowed to start here.
            if !header.start {
                let file = self.disk.name(number.saturating_sub(1));
                if !self.skip {
                    return Err(LogError::Missing { file });
                }
                self.skipped(number.saturating_sub(1), 0, 0, "the segment is missing");
            }
            self.end = header.first.saturating_sub(1);
            return Ok(Next::Go);
        };
        if header.first == self.end + 1 && self.entries[index - 1].number + 1 == number {
            return Ok(Next::Go);
        }
        if header.first <= self.end {
            let damage = Damage::new(24, "it begins with groups that an earlier segment holds");
            if self.skip {
                self.skipped(number, damage.offset, 0, damage.what);
                return Ok(Next::Go);
            }
            // A failed write may have come back in the earlier one, and this
            // is where it was tried again. Once that was durable, it cannot.
            if proves(data, SEGMENT_HEADER, header.key, header.first)
                || self.proven_after(index, header.first)?
            {
                return Err(self.damaged(number, damage));
            }
            return Ok(self.stop(number, damage));
        }
        // Later groups are gone, or whole segments.
        let missing = self.entries[index - 1].number + 1 != number;
        let proven = proves(data, SEGMENT_HEADER, header.key, self.end + 1)
            || self.proven_after(index, self.end + 1)?;
        let what = if missing {
            "the segment after it is missing"
        } else {
            "groups after this are missing"
        };
        let damage = Damage::new(last.bytes, what);
        if self.skip {
            if !self.skipped_to_end {
                self.skipped(last.number, damage.offset, 0, damage.what);
            }
            self.end = header.first - 1;
            self.checksum = None;
            return Ok(Next::Go);
        }
        if !proven {
            return Ok(self.stop(last.number, damage));
        }
        if missing {
            return Err(LogError::Missing {
                file: self.disk.name(self.entries[index - 1].number + 1),
            });
        }
        Err(self.damaged(last.number, damage))
    }

    /// A segment whose header is not as it was written.
    fn without_header(
        &mut self,
        index: usize,
        data: Vec<u8>,
        damage: Damage,
        copy: Option<SegmentHeader>,
    ) -> Result<Next, LogError> {
        let number = self.entries[index].number;
        let key = match copy.map(|copy| copy.key).or(self.key) {
            Some(key) => Some(key),
            None => self.key_after(index)?,
        };
        let proven = if self.segments.is_empty() {
            // Its header was durable before anything was written behind it.
            data.len() > SEGMENT_HEADER && format::used(&data[SEGMENT_HEADER..]) > 0
                || self.proven_after(index, 0)?
        } else {
            key.is_some_and(|key| proves(&data, 0, key, self.end + 1))
                || self.proven_after(index, self.end + 1)?
        };
        if !(proven || self.skip && format::used(&data) > 0) {
            return Ok(self.stop(number, damage));
        }
        if !self.skip {
            return Err(self.damaged(number, damage));
        }
        let group = key.and_then(|key| Some((key, format::find_group(&data, 0, key)?)));
        let Some((key, (at, group))) = group else {
            let used = format::used(&data) as u64;
            self.skipped(number, damage.offset, used, damage.what);
            self.add(number, 0, false);
            self.skipped_to_end = true;
            return Ok(Next::Go);
        };
        let header = SegmentHeader {
            number,
            first: group.sequence,
            key,
            // A cut may have begun it; only the header knew.
            start: copy.is_some_and(|copy| copy.start),
        };
        self.skipped(number, damage.offset, at as u64, damage.what);
        if self.segments.is_empty() {
            self.end = header.first - 1;
        }
        self.checksum = None;
        self.groups(index, data, &header, at)
    }

    /// Hands out the groups of a segment, the first of which begins at `at`.
    fn groups(
        &mut self,
        index: usize,
        data: Vec<u8>,
        header: &SegmentHeader,
        at: usize,
    ) -> Result<Next, LogError> {
        let (number, key) = (header.number, header.key);
        self.key = Some(key);
        self.add(number, at as u64, header.start);
        let mut at = at;
        loop {
            let what = match format::group_at(&data, at, key) {
                GroupFound::End => break,
                GroupFound::Sound(group)
                    if group.sequence == self.end + 1
                        && self.checksum.is_none_or(|before| before == group.before) =>
                {
                    self.hand_out(number, &group)?;
                    at = group.end;
                    continue;
                }
                GroupFound::Sound(group) if group.sequence <= self.end => {
                    "a group is there a second time"
                }
                GroupFound::Sound(group) if group.sequence == self.end + 1 => {
                    "a group does not follow the one before it"
                }
                GroupFound::Sound(_) => "groups before this are missing",
                GroupFound::Damaged(what) => what,
            };
            let damage = Damage::new(at as u64, what);
            if self.skip {
                match self.find_later(&data, at, key) {
                    Some((later, group)) => {
                        let bytes = (later - at) as u64;
                        self.skipped(number, damage.offset, bytes, what);
                        self.end = group.sequence - 1;
                        self.hand_out(number, &group)?;
                        at = group.end;
                        continue;
                    }
                    // Counted when a later segment continues, dropped if none does.
                    None if self.proven_after(index, 0)? => {
                        let used = format::used(&data) as u64;
                        self.skipped(number, damage.offset, used.saturating_sub(at as u64), what);
                        self.skipped_to_end = true;
                        break;
                    }
                    None => return Ok(self.stop(number, damage)),
                }
            }
            let proven = proves(&data, at, key, self.end + 1);
            // Not two segments in memory at once.
            drop(data);
            if proven || self.proven_after(index, self.end + 1)? {
                return Err(self.damaged(number, damage));
            }
            return Ok(self.stop(number, damage));
        }
        Ok(Next::Go)
    }

    fn hand_out(&mut self, number: u64, group: &Group<'_>) -> Result<(), LogError> {
        let begin = (group.end - group.payload.len()) as u64;
        if let Err(bad) = (self.each)(group.payload) {
            let offset = begin + bad.offset as u64;
            if !self.skip {
                return Err(LogError::Damaged {
                    file: self.disk.name(number),
                    offset,
                    what: bad.what,
                });
            }
            self.skipped(number, offset, group.payload.len() as u64, &bad.what);
        } else {
            self.report.groups += 1;
        }
        self.end = group.sequence;
        self.checksum = Some(group.checksum);
        self.skipped_to_end = false;
        if let Some(segment) = self.segments.back_mut() {
            if segment.last < segment.first {
                segment.first = group.sequence;
                self.report.segments += 1;
            }
            segment.last = group.sequence;
            segment.bytes = group.end as u64;
        }
        Ok(())
    }

    /// A segment, without groups so far.
    fn add(&mut self, number: u64, bytes: u64, start: bool) {
        self.segments.push_back(Segment {
            number,
            first: self.end + 1,
            last: self.end,
            bytes,
            start,
        });
    }

    /// The next group after damage at `at` that is newer than all so far.
    fn find_later<'d>(&self, data: &'d [u8], at: usize, key: Key) -> Option<(usize, Group<'d>)> {
        let mut from = at;
        loop {
            let (later, group) = format::find_group(data, from, key)?;
            if group.sequence > self.end {
                return Some((later, group));
            }
            from = group.end;
        }
    }

    /// Whether a group in a segment after this one says that `sequence` was
    /// durable.
    fn proven_after(&self, index: usize, sequence: u64) -> Result<bool, LogError> {
        for entry in &self.entries[index + 1..] {
            let data = self.load(entry.number)?;
            let key = match format::segment_header(&data) {
                HeaderFound::Sound(header) => Some(header.key),
                HeaderFound::Damaged { copy, .. } => copy.map(|copy| copy.key).or(self.key),
                HeaderFound::Unused | HeaderFound::Newer(_) => None,
            };
            if key.is_some_and(|key| proves(&data, 0, key, sequence)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The key of a log, from a segment after this one.
    fn key_after(&self, index: usize) -> Result<Option<Key>, LogError> {
        for entry in &self.entries[index + 1..] {
            match format::segment_header(&self.load(entry.number)?) {
                HeaderFound::Sound(header) => return Ok(Some(header.key)),
                HeaderFound::Damaged {
                    copy: Some(copy), ..
                } => return Ok(Some(copy.key)),
                _ => {}
            }
        }
        Ok(None)
    }

    fn load(&self, number: u64) -> Result<Vec<u8>, LogError> {
        self.disk
            .read(number)
            .map_err(|source| LogError::Unreadable {
                file: self.disk.name(number),
                source,
            })
    }

    fn damaged(&self, number: u64, damage: Damage) -> LogError {
        LogError::Damaged {
            file: self.disk.name(number),
            offset: damage.offset,
            what: damage.what.to_owned(),
        }
    }

    /// Nothing from here on was ever known to be durable.
    fn stop(&mut self, number: u64, damage: Damage) -> Next {
        self.broken = Some(Place {
            file: self.disk.name(number),
            offset: damage.offset,
            bytes: 0,
            what: damage.what.to_owned(),
        });
        Next::Stop
    }

    fn skipped(&mut self, number: u64, offset: u64, bytes: u64, what: &str) {
        self.report.skipped_places += 1;
        self.report.skipped_bytes += bytes;
        if self.report.skipped.len() < limits::MAX_PLACES {
            self.report.skipped.push(Place {
                file: self.disk.name(number),
                offset,
                bytes,
                what: what.to_owned(),
            });
        }
    }

    /// Removes what follows the last sound group, makes the rest durable.
    fn finish(mut self) -> Result<Found, LogError> {
        while self.segments.back().is_some_and(|it| it.last < it.first) {
            self.segments.pop_back();
        }
        let last = self.segments.back().copied();
        let mut dropped = 0;
        let forgotten = self.report.forgotten as usize;
        for entry in self.entries[forgotten..].iter().rev() {
            if last.is_some_and(|last| entry.number <= last.number) {
                break;
            }
            dropped += format::used(&self.load(entry.number)?) as u64;
            self.write(entry.number, |disk| disk.remove(entry.number))?;
        }
        for index in 0..forgotten {
            let number = self.entries[index].number;
            self.write(number, |disk| disk.remove(number))?;
        }
        if let Some(last) = last {
            let data = self.load(last.number)?;
            dropped += (format::used(&data) as u64).saturating_sub(last.bytes);
            if data.len() as u64 > last.bytes {
                self.write(last.number, |disk| disk.truncate(last.number, last.bytes))?;
            }
        }
        // From now on each group says that all before it is durable. That goes
        // for what was cleaned behind the groups of a segment, too.
        for index in 0..self.segments.len() {
            let number = self.segments[index].number;
            self.write(number, |disk| disk.sync(number))?;
        }
        self.write(1, |disk| disk.sync_folder())?;
        if dropped > 0 {
            self.report.dropped = self.broken.take().map(|place| Place {
                bytes: dropped,
                ..place
            });
        }
        Ok(Found {
            key: self.key,
            segments: self.segments,
            end: self.end,
            checksum: self.checksum.unwrap_or(0),
            report: self.report,
        })
    }

    fn write(
        &mut self,
        number: u64,
        change: impl FnOnce(&mut D) -> std::io::Result<()>,
    ) -> Result<(), LogError> {
        change(self.disk).map_err(|source| LogError::NotWritable {
            file: self.disk.name(number),
            source,
        })
    }
}

/// Where and what, in the segment at hand.
#[derive(Debug, Clone, Copy)]
struct Damage {
    offset: u64,
    what: &'static str,
}

impl Damage {
    fn new(offset: u64, what: &'static str) -> Damage {
        Damage { offset, what }
    }
}

/// Whether a sound group from `from` on says that `sequence` was durable.
fn proves(data: &[u8], from: usize, key: Key, sequence: u64) -> bool {
    let mut at = from;
    while let Some((_, group)) = format::find_group(data, at, key) {
        if group.synced_up_to >= sequence {
            return true;
        }
        at = group.end;
    }
    false
}
