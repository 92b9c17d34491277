//! A disk that can tear, lose and run full: for tests of this crate and of
//! those that use the log.
//!
//! What is written stays in memory. Each [`SimDisk`] handle sees the same disk;
//! open it again to play the next start of the server.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, SegmentEntry, SegmentFile};

/// A simulated disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Name to content.
    entries: BTreeMap<u64, Entry>,
    /// Removed since the folder was synced, in order.
    removed: Vec<(u64, u64)>,
    /// Contents never go: an open file outlives its name.
    contents: Vec<Content>,
    /// Most bytes in all files; none means no limit.
    capacity: Option<u64>,
    no_reserve: bool,
    operations: u64,
    crash_at: Option<u64>,
    fail_writes: bool,
    fail_syncs: bool,
    /// The process is gone: nothing works until the next start.
    gone: bool,
    dice: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    content: u64,
    durable: bool,
}

#[derive(Debug, Default, Clone)]
struct Content {
    durable: Vec<u8>,
    /// As the running system sees it.
    now: Vec<u8>,
    unsynced: Vec<(u64, Vec<u8>)>,
}

impl SimDisk {
    /// An empty disk without limits or faults.
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    /// Lets the disk hold this many bytes, reserved ones included. None: no
    /// limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Makes the disk one that cannot reserve: it runs full within writes.
    pub fn cannot_reserve(&self) {
        self.state().no_reserve = true;
    }

    /// How many operations changed something so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Ends the process in the operation of this number, counted like
    /// [`SimDisk::operations`]: it happens in part, each one after it fails.
    pub fn crash_at(&self, operation: u64) {
        self.state().crash_at = Some(operation);
    }

    /// Whether [`SimDisk::crash_at`] came to pass.
    pub fn crashed(&self) -> bool {
        self.state().gone
    }

    /// Lets all writes fail, having written a part, now and then all of it.
    /// For good, until told else.
    pub fn fail_writes(&self, fail: bool) {
        self.state().fail_writes = fail;
    }

    /// Lets all syncs fail.
    pub fn fail_syncs(&self, fail: bool) {
        self.state().fail_syncs = fail;
    }

    /// Decides what happens by chance from now on.
    pub fn seed(&self, seed: u64) {
        self.state().dice = seed;
    }

    /// `kill -9`: the system lives on and keeps what was written.
    pub fn kill(&self) {
        let mut state = self.state();
        state.restart();
    }

    /// The power goes: of each write that no sync covered, any part may be
    /// there or not; so may names of new files. Removals go in order.
    pub fn lose_power(&self) {
        let mut state = self.state();
        state.lose_power();
        state.restart();
    }

    /// Changes a segment behind the log's back, durably.
    pub fn damage(&self, segment: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if let Ok(content) = state.content(segment) {
            change(&mut content.now);
            content.settle();
        }
    }

    /// Lays a segment there as it is given, durably, or takes it away.
    pub fn put(&self, segment: u64, bytes: Option<Vec<u8>>) {
        let mut state = self.state();
        state.entries.remove(&segment);
        if let Some(bytes) = bytes {
            state.insert(segment, bytes, true);
        }
    }

    /// A disk of its own with the same durable and visible content.
    pub fn copy(&self) -> SimDisk {
        let state = self.state();
        let copy = SimDisk::new();
        let mut other = copy.state();
        other.entries = state.entries.clone();
        other.contents = state.contents.clone();
        other.removed = state.removed.clone();
        drop(other);
        copy
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of one test must not hide what it was about.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a change. Returns whether the process ends within it.
    fn begin(&mut self) -> io::Result<bool> {
        self.alive()?;
        let operation = self.operations;
        self.operations += 1;
        if self.crash_at == Some(operation) {
            self.gone = true;
            return Ok(true);
        }
        Ok(false)
    }

    fn alive(&self) -> io::Result<()> {
        match self.gone {
            true => Err(crash()),
            false => Ok(()),
        }
    }

    fn restart(&mut self) {
        self.gone = false;
        self.crash_at = None;
        self.fail_writes = false;
        self.fail_syncs = false;
    }

    fn content(&mut self, segment: u64) -> io::Result<&mut Content> {
        let entry = self.entries.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        Ok(&mut self.contents[entry.content as usize])
    }

    fn insert(&mut self, segment: u64, bytes: Vec<u8>, durable: bool) -> u64 {
        let content = self.contents.len() as u64;
        self.contents.push(Content {
            durable: bytes.clone(),
            now: bytes,
            unsynced: Vec::new(),
        });
        self.entries.insert(segment, Entry { content, durable });
        content
    }

    fn used(&self) -> u64 {
        let used = self.entries.values();
        used.map(|entry| self.contents[entry.content as usize].now.len() as u64)
            .sum()
    }

    fn room(&self) -> u64 {
        self.capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn write(&mut self, content: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let crash = self.begin()?;
        let end = offset + bytes.len() as u64;
        let len = self.contents[content as usize].now.len() as u64;
        let more = end.saturating_sub(len);
        let mut error = None;
        let mut count = bytes.len();
        if more > self.room() {
            let fits = (len + self.room()).saturating_sub(offset) as usize;
            count = fits.min(bytes.len());
            error = Some(io::ErrorKind::StorageFull.into());
        }
        if crash || self.fail_writes {
            if self.below(4) > 0 {
                count = self.below(count as u64 + 1) as usize;
            }
            error = Some(if crash {
                self::crash()
            } else {
                io::Error::other("simulated write error")
            });
        }
        let content = &mut self.contents[content as usize];
        apply(&mut content.now, offset, &bytes[..count]);
        content.unsynced.push((offset, bytes[..count].to_vec()));
        error.map_or(Ok(()), Err)
    }

    fn lose_power(&mut self) {
        // Names first: removals hold up to some point of their order.
        let kept = self.below(self.removed.len() as u64 + 1) as usize;
        for (segment, content) in std::mem::take(&mut self.removed).split_off(kept) {
            let durable = true;
            self.entries
                .entry(segment)
                .or_insert(Entry { content, durable });
        }
        let names: Vec<u64> = self.entries.keys().copied().collect();
        for segment in names {
            if !self.entries[&segment].durable && self.below(3) == 0 {
                self.entries.remove(&segment);
            }
        }
        for index in 0..self.contents.len() {
            let mut content = std::mem::take(&mut self.contents[index]);
            let mut bytes = std::mem::take(&mut content.durable);
            // A disk that keeps all, loses all, or picks.
            let mood = self.below(4);
            for (offset, part) in content.unsynced.drain(..) {
                match (mood, self.below(4)) {
                    (0, _) | (2 | 3, 0) => {}
                    (1, _) | (2 | 3, 1) => apply(&mut bytes, offset, &part),
                    (_, choice) => {
                        // Torn: a piece of it, its beginning half of the time.
                        let end = self.below(part.len() as u64 + 1) as usize;
                        let begin = match choice {
                            2 => 0,
                            _ => self.below(end as u64 + 1) as usize,
                        };
                        apply(&mut bytes, offset + begin as u64, &part[begin..end]);
                    }
                }
            }
            content.now = bytes;
            content.settle();
            self.contents[index] = content;
        }
        for entry in self.entries.values_mut() {
            entry.durable = true;
        }
    }

    /// A number below `end`, the same on every machine (splitmix64).
    fn below(&mut self, end: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.dice;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % end.max(1)
    }
}

impl Content {
    fn settle(&mut self) {
        self.durable.clone_from(&self.now);
        self.unsynced.clear();
    }
}

/// Writes into a file; a gap reads as zeros.
fn apply(bytes: &mut Vec<u8>, offset: u64, part: &[u8]) {
    let (begin, end) = (offset as usize, offset as usize + part.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[begin..end].copy_from_slice(part);
}

fn crash() -> io::Error {
    io::Error::other("simulated crash")
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> io::Result<Vec<SegmentEntry>> {
        let state = self.state();
        state.alive()?;
        let entries = state.entries.iter().map(|(number, entry)| SegmentEntry {
            number: *number,
            bytes: state.contents[entry.content as usize].now.len() as u64,
        });
        // The order of a folder means nothing.
        Ok(entries.rev().collect())
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.alive()?;
        Ok(state.content(segment)?.now.clone())
    }

    fn create(&mut self, segment: u64, reserve: u64) -> io::Result<SimFile> {
        let mut state = self.state();
        let crash = state.begin()?;
        if state.entries.contains_key(&segment) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let reserve = if state.no_reserve { 0 } else { reserve };
        if reserve > state.room() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let content = state.insert(segment, vec![0; reserve as usize], false);
        // The length may come to the disk with the name, or later.
        if state.below(2) == 0 {
            state.contents[content as usize].durable.clear();
        }
        if crash {
            return Err(self::crash());
        }
        Ok(SimFile {
            disk: self.clone(),
            content,
        })
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.begin()? {
            return Err(crash());
        }
        state.content(segment)?.settle();
        Ok(())
    }

    fn truncate(&mut self, segment: u64, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let crash = state.begin()?;
        if crash && state.below(2) == 0 {
            return Err(self::crash());
        }
        let content = state.content(segment)?;
        content.now.truncate(len as usize);
        content.settle();
        if crash {
            return Err(self::crash());
        }
        Ok(())
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        let mut state = self.state();
        let crash = state.begin()?;
        if crash && state.below(2) == 0 {
            return Err(self::crash());
        }
        let entry = state.entries.remove(&segment);
        let entry = entry.ok_or(io::ErrorKind::NotFound)?;
        // A name that was never durable cannot come back.
        if entry.durable {
            state.removed.push((segment, entry.content));
        }
        if crash {
            return Err(self::crash());
        }
        Ok(())
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        self.state().sync_folder()
    }

    fn name(&self, segment: u64) -> String {
        format!("{segment:010}.log")
    }
}

impl State {
    fn sync_folder(&mut self) -> io::Result<()> {
        if self.begin()? {
            return Err(crash());
        }
        self.removed.clear();
        for entry in self.entries.values_mut() {
            entry.durable = true;
        }
        Ok(())
    }
}

/// An open file of a [`SimDisk`].
#[derive(Debug, Clone)]
pub struct SimFile {
    disk: SimDisk,
    content: u64,
}

impl SegmentFile for SimFile {
    fn write_at(&self, offset: u64, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        self.disk.state().write(self.content, offset, &bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.begin()? {
            return Err(crash());
        }
        if state.fail_syncs {
            // As on a real disk: what could not be written is forgotten.
            let content = &mut state.contents[self.content as usize];
            content.now.clone_from(&content.durable);
            content.unsynced.clear();
            return Err(io::Error::other("simulated sync error"));
        }
        state.contents[self.content as usize].settle();
        Ok(())
    }

    fn sync_entry(&self) -> io::Result<()> {
        self.disk.state().sync_folder()
    }
}
