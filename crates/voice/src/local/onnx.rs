//! What an ONNX file says of itself.
//!
//! sherpa-onnx ends the whole process when a model does not say what it must. So it is looked at before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// The `metadata_props` of a model. The model itself is passed over.
///
/// # Errors
/// In words, when it cannot be read, is no ONNX, or ends too early.
pub(super) fn metadata(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let length = file
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?
        .len();
    let mut reader = Reader {
        file: BufReader::new(file),
        at: 0,
        length,
    };
    reader
        .model()
        .ok_or_else(|| "is no ONNX model, or was not downloaded to its end".to_owned())
}

/// Fields of protobuf, as far as ONNX uses them at its top.
struct Reader {
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Reader {
    fn model(&mut self) -> Option<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut has_graph = false;
        while self.at < self.length {
            let tag = self.varint()?;
            match (tag >> 3, tag & 7) {
                (0, _) => return None,
                (METADATA, 2) => {
                    let entry = self.bytes()?;
                    let (key, value) = entry_of(&entry)?;
                    found.insert(key, value);
                }
                (number, 2) => {
                    has_graph |= number == GRAPH;
                    let length = self.varint()?;
                    self.skip(length)?;
                }
                (_, 0) => {
                    self.varint()?;
                }
                (_, 1) => self.skip(8)?,
                (_, 5) => self.skip(4)?,
                _ => return None,
            }
        }
        has_graph.then_some(found)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte).ok()?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = self.varint()?;
        if length > ENTRY_BYTES || length > self.length - self.at {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact(&mut bytes).ok()?;
        self.at += length;
        Some(bytes)
    }

    fn skip(&mut self, length: u64) -> Option<()> {
        if length > self.length - self.at {
            return None;
        }
        self.at += length;
        self.file.seek(SeekFrom::Start(self.at)).ok()?;
        Some(())
    }
}

/// Key and value of one entry: fields 1 and 2, both strings.
fn entry_of(mut bytes: &[u8]) -> Option<(String, String)> {
    let (mut key, mut value) = (String::new(), String::new());
    while let [tag, rest @ ..] = bytes {
        let mut length = 0usize;
        let mut rest = rest;
        for shift in (0..28).step_by(7) {
            let [byte, behind @ ..] = rest else {
                return None;
            };
            rest = behind;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (text, behind) = rest.split_at_checked(length)?;
        let text = String::from_utf8_lossy(text).into_owned();
        match tag {
            0x0a => key = text,
            0x12 => value = text,
            _ => return None,
        }
        bytes = behind;
    }
    Some((key, value))
}

/// Numbers of fields of `ModelProto`.
const GRAPH: u64 = 7;
const METADATA: u64 = 14;

/// Bytes of one entry; lists of words of some models have a few hundred kilobytes.
const ENTRY_BYTES: u64 = 8 << 20;
