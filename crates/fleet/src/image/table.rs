//! The partition table of the ESP32 family.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use md5::{Digest as _, Md5};

/// Where the table lies in flash, and so in a merged file.
pub(super) const OFFSET: u64 = 0x8000;
/// Its size in bytes.
pub(super) const SIZE: usize = 0xC00;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Partition {
    /// Its name.
    pub label: String,
    /// 0 for applications, 1 for data.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Of applications 0 is `factory`, 0x10 is `ota_0`.
    pub subtype: u8,
    /// Where it begins in flash, in bytes.
    pub offset: u32,
    /// How many bytes it has.
    pub size: u32,
}

impl Partition {
    /// Whether it holds an application that can be started.
    pub fn is_app(&self) -> bool {
        self.kind == 0
    }
}

/// The table at the beginning of `bytes`. `None` if it is none: an application
/// may hold the bytes of its first word by chance.
pub(super) fn read(bytes: &[u8]) -> Option<Result<Vec<Partition>, Damaged>> {
    let bytes = &bytes[..bytes.len().min(SIZE)];
    let mut partitions = Vec::new();
    let mut hash = Md5::new();
    for entry in bytes.chunks_exact(32) {
        match entry {
            [0xAA, 0x50, ..] => {
                partitions.push(partition(entry)?);
                hash.update(entry);
            }
            [0xEB, 0xEB, rest @ ..] => {
                // Two bytes and fourteen of 0xFF, then the hash of all entries.
                let right = rest[..14].iter().all(|byte| *byte == 0xFF)
                    && rest[14..] == hash.clone().finalize()[..];
                return match (partitions.is_empty(), right) {
                    (true, _) => None,
                    (false, true) => Some(Ok(partitions)),
                    (false, false) => Some(Err(Damaged)),
                };
            }
            // Before ESP-IDF 3.1 and in Arduino's oldest cores tables ended without a hash.
            _ if entry.iter().all(|byte| *byte == 0xFF) => break,
            _ => return None,
        }
    }
    (!partitions.is_empty()).then_some(Ok(partitions))
}

/// The hash at the end of a table is not that of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

fn partition(entry: &[u8]) -> Option<Partition> {
    let word =
        |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
    let label = &entry[12..28];
    let label = &label[..label.iter().position(|byte| *byte == 0).unwrap_or(16)];
    let label = core::str::from_utf8(label).ok()?;
    let partition = Partition {
        label: label.to_string(),
        kind: entry[2],
        subtype: entry[3],
        offset: word(4),
        size: word(8),
    };
    let plausible = partition.offset.checked_add(partition.size).is_some()
        && partition.size > 0
        && !label.chars().any(char::is_control);
    plausible.then_some(partition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// `nvs` at 0x9000, 0x5000 bytes.
    const NVS: [u8; 16] = [
        0xAA, 0x50, 0x01, 0x02, 0x00, 0x90, 0x00, 0x00, 0x00, 0x50, 0x00, 0x00, 0x6E, 0x76, 0x73,
        0x00,
    ];

    fn table(end: &[u8]) -> Vec<u8> {
        let mut bytes = NVS.to_vec();
        bytes.resize(32, 0);
        bytes.extend_from_slice(end);
        bytes.resize(SIZE, 0xFF);
        bytes
    }

    #[test]
    fn an_entry_is_read_as_the_maker_writes_it() {
        let partitions = read(&table(&[])).unwrap().unwrap();
        assert_eq!(
            partitions,
            [Partition {
                label: "nvs".into(),
                kind: 1,
                subtype: 2,
                offset: 0x9000,
                size: 0x5000,
            }]
        );
        assert!(!partitions[0].is_app());
    }

    #[test]
    fn the_hash_at_the_end_is_checked_where_there_is_one() {
        let mut end = vec![0xEB, 0xEB];
        end.resize(16, 0xFF);
        end.extend_from_slice(&Md5::digest(&table(&[])[..32]));
        assert!(read(&table(&end)).unwrap().is_ok());
        end[20] ^= 1;
        assert_eq!(read(&table(&end)), Some(Err(Damaged)));
    }

    #[test]
    fn bytes_that_only_begin_like_a_table_are_none() {
        let mut code = vec![0x12; SIZE];
        code[..2].copy_from_slice(&[0xAA, 0x50]);
        assert_eq!(read(&code), None);
        assert_eq!(read(&[0xFF; SIZE]), None);
        assert_eq!(read(&[]), None);
    }
}
