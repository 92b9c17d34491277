//! A whole file: an image, or several put together with a partition table.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::error::{ImageError, Looks};
use super::segments::{MAGIC, MAGIC_V2};
use super::single::{Contents, Single};
use super::table::{self, Damaged, Partition};

/// A file on its way through, in blocks of [`BLOCK`] bytes.
#[derive(Default)]
pub(super) struct File {
    at: u64,
    head: Vec<u8>,
    single: Option<Single>,
    /// A partition table where merged files have theirs.
    table: Option<Result<Vec<Partition>, Damaged>>,
    /// Application partitions that are still to come, the next one last.
    ahead: Vec<Partition>,
    current: Option<(Partition, Single)>,
    apps: Vec<(Partition, Result<Contents, ImageError>)>,
    /// Of all bytes from the 13th on, as xiaozhi's assets count it.
    sum: u32,
}

/// What a file turned out to be.
pub(super) enum Found {
    Image(Box<Contents>),
    Factory {
        partitions: Vec<Partition>,
        apps: Vec<(Partition, Contents)>,
    },
    PartitionTable(Vec<Partition>),
    Assets,
}

impl File {
    /// Takes the next block: [`BLOCK`] bytes, fewer only at the end.
    pub(super) fn feed(&mut self, block: &[u8]) {
        if self.at == 0 {
            self.head = block.to_vec();
            if matches!(block.first(), Some(&(MAGIC | MAGIC_V2))) {
                self.single = Some(Single::new(block));
            }
        }
        if self.at == table::OFFSET {
            self.table = table::read(block);
            self.plan();
        }
        if let Some(single) = &mut self.single {
            single.feed(block);
        }
        self.feed_apps(block);
        let skipped = 12_u64.saturating_sub(self.at) as usize;
        let summed = block.get(skipped..).unwrap_or_default();
        let sum = summed
            .iter()
            .fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        self.sum = self.sum.wrapping_add(sum);
        self.at += block.len() as u64;
    }

    pub(super) fn finish(mut self) -> Result<Found, ImageError> {
        if self.at == 0 {
            return Err(ImageError::Empty);
        }
        if let Some((partition, single)) = self.current.take() {
            self.apps.push((partition, single.finish()));
        }
        let single = self.single.take().map(Single::finish);
        // An application that goes on beyond the table holds it as data.
        let holds_table =
            |contents: &Contents| contents.length > table::OFFSET + table::SIZE as u64;
        match single {
            Some(Ok(contents)) if self.table.is_none() || holds_table(&contents) => {
                return Ok(Found::Image(Box::new(contents)));
            }
            Some(Err(error)) if self.table.is_none() => return Err(error),
            _ => {}
        }
        if let Some(table) = self.table.take() {
            return self.factory(table);
        }
        match table::read(&self.head) {
            Some(Ok(partitions)) => return Ok(Found::PartitionTable(partitions)),
            Some(Err(Damaged)) => return Err(ImageError::PartitionTable),
            None => {}
        }
        if self.is_assets() {
            return Ok(Found::Assets);
        }
        Err(ImageError::NotAnImage(Looks::of(&self.head)))
    }

    fn factory(self, table: Result<Vec<Partition>, Damaged>) -> Result<Found, ImageError> {
        let partitions = table.map_err(|Damaged| ImageError::PartitionTable)?;
        let mut apps = Vec::new();
        for (partition, contents) in self.apps {
            apps.push((partition, contents?));
        }
        if apps.is_empty() {
            return Err(ImageError::NoApp);
        }
        Ok(Found::Factory { partitions, apps })
    }

    /// Lists the applications that a table announces, in the order in which
    /// they come. What overlaps or lies askew is left out.
    fn plan(&mut self) {
        let Some(Ok(partitions)) = &self.table else {
            return;
        };
        let after = table::OFFSET as u32 + table::SIZE as u32;
        let mut ahead: Vec<Partition> = partitions
            .iter()
            .filter(|p| p.is_app() && p.offset >= after && p.offset.is_multiple_of(SECTOR))
            .cloned()
            .collect();
        ahead.sort_by_key(|partition| partition.offset);
        ahead.dedup_by(|next, kept| next.offset < kept.offset + kept.size);
        ahead.reverse();
        self.ahead = ahead;
    }

    fn feed_apps(&mut self, block: &[u8]) {
        // What of the block a partition that begins and ends there has.
        let at = self.at;
        let within = |position: u64| position.saturating_sub(at).min(block.len() as u64) as usize;
        if let Some((partition, mut single)) = self.current.take() {
            let end = within(u64::from(partition.offset) + u64::from(partition.size));
            single.feed(&block[..end]);
            if end == block.len() {
                self.current = Some((partition, single));
                return;
            }
            self.apps.push((partition, single.finish()));
        }
        while let Some(next) = self
            .ahead
            .pop_if(|next| within(next.offset.into()) < block.len())
        {
            let from = within(next.offset.into());
            let end = within(u64::from(next.offset) + u64::from(next.size));
            // Erased or absent ones are not part of the file's offer.
            if block[from] != MAGIC {
                continue;
            }
            let mut single = Single::new(&block[from..end]);
            single.feed(&block[from..end]);
            if end == block.len() {
                self.current = Some((next, single));
                return;
            }
            self.apps.push((next, single.finish()));
        }
    }

    /// xiaozhi's sounds and pictures: how many files, a sum over the rest, its
    /// length.
    fn is_assets(&self) -> bool {
        let word = |at: usize| {
            let bytes = self.head.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let (Some(files), Some(sum), Some(length)) = (word(0), word(4), word(8)) else {
            return false;
        };
        (1..=4096).contains(&files) && u64::from(length) + 12 == self.at && sum == self.sum & 0xFFFF
    }
}

/// How many bytes are looked at at a time. The partition table of a merged file
/// begins with a block, and so does every sector.
pub(super) const BLOCK: usize = 16 * 1024;

const SECTOR: u32 = 0x1000;

const _: () = assert!(table::OFFSET.is_multiple_of(BLOCK as u64) && table::SIZE <= BLOCK);

/// Cuts what comes in any pieces into blocks of [`BLOCK`] bytes.
#[derive(Default)]
pub(super) struct Blocks {
    buffer: Vec<u8>,
}

impl Blocks {
    pub(super) fn feed<E>(
        &mut self,
        mut bytes: &[u8],
        mut block: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.buffer.is_empty() {
            let taken = bytes.len().min(BLOCK - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.buffer.len() == BLOCK {
                block(&self.buffer)?;
                self.buffer.clear();
            }
        }
        while let Some((whole, rest)) = bytes.split_at_checked(BLOCK) {
            block(whole)?;
            bytes = rest;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// What is left at the end.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer
    }
}
