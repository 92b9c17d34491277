//! How a segment looks on disk, version 1. Numbers are little endian.
//!
//! | part | bytes | holds |
//! |---|---|---|
//! | segment header, twice | 8 | `sportlog` |
//! | | 4 | format version |
//! | | 4 | flags: 1 = reading may start at this segment |
//! | | 8 | segment number |
//! | | 8 | sequence number of its first group |
//! | | 8 | key of the log |
//! | | 4 | CRC-32C of the above |
//! | group | 4 | marker, made from the key, never zero |
//! | | 4 | bytes of payload |
//! | | 8 | sequence number: 1, 2, 3 … over all segments |
//! | | 8 | last sequence number known to be durable when this was written |
//! | | 4 | checksum of the group before, 0 in the first of all |
//! | | 4 | CRC-32C of the above and the payload, seeded by the key |
//! | | | payload |
//! | … | | zeros: reserved, not written yet |
//!
//! The header is there twice, since without the key of a segment nobody could
//! tell its groups from noise. All versions keep magic, version and checksum
//! in these places.
//!
//! A write that failed may be on disk all the same, and a power cut may bring
//! it back in the place of the group that was written there next. What followed
//! that one does not follow this: hence the checksum of the group before.
//!
//! The key is random. Payloads hold what strangers publish; without a key they
//! could carry a well-made group, which would count as evidence after a crash.

use crate::limits;

/// The newest format that this program knows.
pub(super) const FORMAT_VERSION: u32 = 1;
/// Bytes before the first group: the header, twice.
pub(super) const SEGMENT_HEADER: usize = 2 * COPY;
/// Bytes before the payload of a group.
pub(super) const GROUP_HEADER: usize = 32;

const COPY: usize = 44;
const COPY_CRC: usize = 40;
const GROUP_CRC: usize = 28;
const MAGIC: [u8; 8] = *b"sportlog";
const FLAG_START: u32 = 1;

/// What makes the groups of one log recognizable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// First bytes of each group; never zero, which means "nothing here".
    fn marker(self) -> [u8; 4] {
        (self.0 as u32 | 1).to_le_bytes()
    }

    fn seed(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    /// Sequence number of the first group.
    pub(super) first: u64,
    pub(super) key: Key,
    /// Whether all before this segment may be forgotten.
    pub(super) start: bool,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        let flags = if self.start { FLAG_START } else { 0 };
        bytes[12..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.key.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..COPY_CRC]);
        bytes[COPY_CRC..COPY].copy_from_slice(&crc.to_le_bytes());
        bytes.copy_within(..COPY, COPY);
        bytes
    }
}

/// What stands where a segment header belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFound {
    Sound(SegmentHeader),
    /// All zeros up to the end of the segment: reserved and never used.
    Unused,
    /// Written by a newer program.
    Newer(u32),
    /// Not as it was written. One of the copies may be left.
    Damaged {
        offset: u64,
        copy: Option<SegmentHeader>,
    },
}

pub(super) fn segment_header(data: &[u8]) -> HeaderFound {
    let (first, second) = (header_copy(data, 0), header_copy(data, COPY));
    match (first, second) {
        (Ok(first), Ok(second)) if first == second => HeaderFound::Sound(first),
        (Err(CopyError::Newer(version)), _) | (_, Err(CopyError::Newer(version))) => {
            HeaderFound::Newer(version)
        }
        (Ok(copy), _) => HeaderFound::Damaged {
            offset: COPY as u64,
            copy: Some(copy),
        },
        (_, Ok(copy)) => HeaderFound::Damaged {
            offset: 0,
            copy: Some(copy),
        },
        _ if used(data) == 0 => HeaderFound::Unused,
        _ => HeaderFound::Damaged {
            offset: 0,
            copy: None,
        },
    }
}

enum CopyError {
    Damaged,
    Newer(u32),
}

fn header_copy(data: &[u8], at: usize) -> Result<SegmentHeader, CopyError> {
    let copy = data.get(at..at + COPY).ok_or(CopyError::Damaged)?;
    if copy[..8] != MAGIC || u32_at(copy, COPY_CRC) != crc32c::crc32c(&copy[..COPY_CRC]) {
        return Err(CopyError::Damaged);
    }
    let version = u32_at(copy, 8);
    if version > FORMAT_VERSION {
        return Err(CopyError::Newer(version));
    }
    Ok(SegmentHeader {
        number: u64_at(copy, 16),
        first: u64_at(copy, 24),
        key: Key(u64_at(copy, 32)),
        start: u32_at(copy, 12) & FLAG_START != 0,
    })
}

/// The header of a group, to be written right before `payload`.
pub(super) fn group_header(
    key: Key,
    payload: &[u8],
    sequence: u64,
    synced_up_to: u64,
    before: u32,
) -> [u8; GROUP_HEADER] {
    let mut bytes = [0; GROUP_HEADER];
    bytes[..4].copy_from_slice(&key.marker());
    // Callers keep to `limits::MAX_GROUP_BYTES`.
    bytes[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    bytes[16..24].copy_from_slice(&synced_up_to.to_le_bytes());
    bytes[24..28].copy_from_slice(&before.to_le_bytes());
    let crc = group_crc(key, &bytes[..GROUP_CRC], payload);
    bytes[GROUP_CRC..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The checksum in a group's header, for the group after it.
pub(super) fn checksum(header: &[u8; GROUP_HEADER]) -> u32 {
    u32_at(header, GROUP_CRC)
}

fn group_crc(key: Key, header: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(key.seed(), header), payload)
}

/// A group as it was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group<'a> {
    pub(super) sequence: u64,
    pub(super) synced_up_to: u64,
    /// Checksum of the group before.
    pub(super) before: u32,
    pub(super) checksum: u32,
    pub(super) payload: &'a [u8],
    /// Offset in the segment right behind it.
    pub(super) end: usize,
}

/// What stands where a group may begin.
#[derive(Debug)]
pub(super) enum GroupFound<'a> {
    Sound(Group<'a>),
    /// Nothing but zeros from here on.
    End,
    Damaged(&'static str),
}

pub(super) fn group_at(data: &[u8], at: usize, key: Key) -> GroupFound<'_> {
    let rest = data.get(at..).unwrap_or_default();
    if rest.first().is_none_or(|byte| *byte == 0) && used(rest) == 0 {
        return GroupFound::End;
    }
    if rest.len() < GROUP_HEADER {
        return GroupFound::Damaged("it ends within the header of a group");
    }
    if rest[..4] != key.marker() {
        return GroupFound::Damaged("no group begins here");
    }
    let len = u32_at(rest, 4) as usize;
    if len > limits::MAX_GROUP_BYTES || len > rest.len() - GROUP_HEADER {
        return GroupFound::Damaged("a group reaches beyond the end of the file");
    }
    let payload = &rest[GROUP_HEADER..GROUP_HEADER + len];
    if u32_at(rest, GROUP_CRC) != group_crc(key, &rest[..GROUP_CRC], payload) {
        return GroupFound::Damaged("the checksum of a group is wrong");
    }
    GroupFound::Sound(Group {
        sequence: u64_at(rest, 8),
        synced_up_to: u64_at(rest, 16),
        before: u32_at(rest, 24),
        checksum: u32_at(rest, GROUP_CRC),
        payload,
        end: at + GROUP_HEADER + len,
    })
}

/// The first sound group that begins at `from` or later, and where.
pub(super) fn find_group(data: &[u8], from: usize, key: Key) -> Option<(usize, Group<'_>)> {
    let marker = key.marker();
    let mut at = from;
    loop {
        at += data.get(at..)?.iter().position(|byte| *byte == marker[0])?;
        if data[at..].starts_with(&marker)
            && let GroupFound::Sound(group) = group_at(data, at, key)
        {
            return Some((at, group));
        }
        at += 1;
    }
}

/// Bytes up to the last one that is not zero.
pub(super) fn used(data: &[u8]) -> usize {
    // Reserved tails are long: skip them by whole blocks.
    let mut end = data.len();
    while end >= 4096 && data[end - 4096..end] == [0; 4096] {
        end -= 4096;
    }
    data[..end]
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key(0x1234_5678_9ABC_DEF0);

    #[test]
    fn a_group_reads_as_it_was_written_and_not_with_another_key() {
        let mut data = group_header(KEY, b"payload", 7, 5, 3).to_vec();
        data.extend_from_slice(b"payload\0\0\0");
        let GroupFound::Sound(group) = group_at(&data, 0, KEY) else {
            panic!("a sound group");
        };
        assert_eq!((group.sequence, group.synced_up_to), (7, 5));
        assert_eq!(group.before, 3);
        assert_eq!((group.payload, group.end), (&b"payload"[..], 39));
        assert!(matches!(group_at(&data, 39, KEY), GroupFound::End));
        // The marker alone does not decide, nor does the seed.
        for other in [Key(KEY.0 ^ 1 << 40), Key(KEY.0 ^ 1 << 4)] {
            assert!(matches!(group_at(&data, 0, other), GroupFound::Damaged(_)));
            assert!(find_group(&data, 0, other).is_none());
        }
    }

    #[test]
    fn zeros_end_a_segment_only_if_nothing_follows_them() {
        let mut data = vec![0; 10_000];
        assert!(matches!(group_at(&data, 100, KEY), GroupFound::End));
        data[9_000] = 1;
        assert!(matches!(group_at(&data, 100, KEY), GroupFound::Damaged(_)));
        assert_eq!(used(&data), 9_001);
    }

    #[test]
    fn a_newer_format_is_told_from_a_damaged_version_field() {
        let header = SegmentHeader {
            number: 3,
            first: 9,
            key: KEY,
            start: true,
        };
        let mut data = header.encode();
        assert_eq!(segment_header(&data), HeaderFound::Sound(header));
        data[8] = 2;
        assert_eq!(
            segment_header(&data),
            HeaderFound::Damaged {
                offset: 0,
                copy: Some(header)
            }
        );
        let crc = crc32c::crc32c(&data[..COPY_CRC]);
        data[COPY_CRC..COPY].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(segment_header(&data), HeaderFound::Newer(2));
    }
}
