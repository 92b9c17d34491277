//! One image from its first byte on, whichever chip it is for, with what
//! follows it.

use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use super::crc;
use super::error::ImageError;
use super::marks::{self, Marks};
use super::segments::{Form, MAGIC, MAGIC_V2, Walk};
use crate::Chip;

/// An image on its way through.
pub(super) struct Single {
    head: Head,
    at: u64,
    esp32: Option<(Walk, Tail)>,
    esp8266: Option<(Walk, Arduino)>,
    v2: Option<Walk>,
    marks: Marks,
}

/// What is in an image that is whole.
pub(super) struct Contents {
    pub(super) chip: Chip,
    /// With signature.
    pub(super) length: u64,
    pub(super) hash: Option<[u8; 32]>,
    pub(super) signed: bool,
    pub(super) flash_size: Option<u32>,
    pub(super) min_chip_rev: Option<u16>,
    pub(super) max_chip_rev: Option<u16>,
    pub(super) descriptor: Option<Descriptor>,
    pub(super) marks: marks::Found,
}

/// What ESP-IDF writes into an application about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) secure_version: u32,
    pub(super) version: String,
    pub(super) project: String,
    pub(super) built: String,
    pub(super) idf_version: String,
    pub(super) elf_sha256: Option<[u8; 32]>,
}

impl Single {
    /// `first` are the first bytes: 4096 of them, unless the file has fewer.
    pub(super) fn new(first: &[u8]) -> Single {
        let head = Head::read(first);
        let is = |magic: u8| first.first() == Some(&magic);
        Single {
            at: 0,
            esp32: is(MAGIC).then(|| (Walk::new(Form::Esp32), Tail::default())),
            // Only here can an ESP8266 begin; no chip of the other family does.
            esp8266: (is(MAGIC) && (ENTRY_FIRST..=ENTRY_LAST).contains(&head.entry))
                .then(|| (Walk::new(Form::Esp8266), Arduino::default())),
            v2: is(MAGIC_V2).then(|| Walk::new(Form::Esp8266V2)),
            marks: Marks::default(),
            head,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if let Some((walk, tail)) = &mut self.esp32 {
            let rest = walk.feed(bytes);
            if walk.is_done() {
                let at = self.at + (bytes.len() - rest.len()) as u64;
                tail.feed(walk, rest, at);
            }
        }
        if let Some((walk, arduino)) = &mut self.esp8266 {
            walk.feed(bytes);
            arduino.feed(walk, bytes, self.at);
        }
        if let Some(walk) = &mut self.v2 {
            walk.feed(bytes);
        }
        self.marks.feed(bytes);
        self.at += bytes.len() as u64;
    }

    pub(super) fn finish(mut self) -> Result<Contents, ImageError> {
        let size = self.at;
        let marks = core::mem::take(&mut self.marks).finish();
        if let Some(walk) = &self.v2 {
            return Ok(self.esp8266(walk.finish(size, true)?.length, marks));
        }
        let other = self
            .esp8266
            .as_ref()
            .map(|(walk, arduino)| match &arduino.app {
                Some(_) => arduino.finish(walk, size),
                None => walk.finish(size, true).map(|walked| walked.length),
            });
        match other {
            Some(Ok(length)) => return Ok(self.esp8266(length, marks)),
            Some(Err(error)) => {
                // The entry address spoke for an ESP8266.
                return self.esp32(marks).map_err(|_| error);
            }
            None => {}
        }
        self.esp32(marks)
    }

    fn esp8266(&self, length: u64, marks: marks::Found) -> Contents {
        Contents {
            chip: Chip::Esp8266,
            length,
            hash: None,
            signed: false,
            flash_size: ESP8266_FLASH
                .get(usize::from(self.head.flash))
                .copied()
                .flatten(),
            min_chip_rev: None,
            max_chip_rev: None,
            descriptor: None,
            marks,
        }
    }

    fn esp32(&self, marks: marks::Found) -> Result<Contents, ImageError> {
        let Some((walk, tail)) = &self.esp32 else {
            let byte = self.head.first;
            return Err(ImageError::NotAnImage(super::Looks::Other(byte)));
        };
        let walked = walk.finish(self.at, true)?;
        let id = self.head.chip_id;
        let chip = Chip::from_image_id(id).ok_or(ImageError::UnknownChip { id })?;
        let signature = tail.signature(self.at)?;
        Ok(Contents {
            chip,
            length: signature.unwrap_or(walked.length),
            hash: walked.hash,
            signed: signature.is_some(),
            flash_size: (self.head.flash < 8).then(|| (1 << 20) << self.head.flash),
            min_chip_rev: self.head.min_chip_rev(),
            max_chip_rev: self.head.max_chip_rev(),
            descriptor: self.head.descriptor.clone(),
            marks,
        })
    }
}

/// The fields at the beginning.
#[derive(Default)]
struct Head {
    first: u8,
    flash: u8,
    entry: u32,
    chip_id: u16,
    min_legacy: u8,
    min_full: u16,
    max_full: u16,
    descriptor: Option<Descriptor>,
}

impl Head {
    fn read(bytes: &[u8]) -> Head {
        let mut fields = [0; 24];
        let len = bytes.len().min(24);
        fields[..len].copy_from_slice(&bytes[..len]);
        let half = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
        Head {
            first: fields[0],
            flash: fields[3] >> 4,
            entry: u32::from(half(4)) | u32::from(half(6)) << 16,
            chip_id: half(12),
            min_legacy: fields[14],
            min_full: half(15),
            max_full: half(17),
            descriptor: bytes.get(0x20..0x120).and_then(Descriptor::read),
        }
    }

    fn min_chip_rev(&self) -> Option<u16> {
        // Before ESP-IDF 4.4 there was only the older field, in whole versions.
        let min = match self.min_full {
            0 => u16::from(self.min_legacy) * 100,
            full => full,
        };
        (min > 0).then_some(min)
    }

    fn max_chip_rev(&self) -> Option<u16> {
        (!matches!(self.max_full, 0 | 0xFFFF)).then_some(self.max_full)
    }
}

impl Descriptor {
    fn read(bytes: &[u8]) -> Option<Descriptor> {
        if !bytes.starts_with(&[0x32, 0x54, 0xCD, 0xAB]) {
            return None;
        }
        let text = |from: usize, to: usize| -> String {
            let field = &bytes[from..to];
            let end = field.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&field[..end.unwrap_or(field.len())])
                .chars()
                .filter(|c| !c.is_control())
                .collect()
        };
        let mut elf_sha256 = [0; 32];
        elf_sha256.copy_from_slice(&bytes[144..176]);
        let (time, date) = (text(80, 96), text(96, 112));
        Some(Descriptor {
            secure_version: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            version: text(16, 48),
            project: text(48, 80),
            built: alloc::format!("{date} {time}").trim().into(),
            idf_version: text(112, 144),
            elf_sha256: (elf_sha256 != [0; 32]).then_some(elf_sha256),
        })
    }
}

/// What follows an image of the ESP32 family: padding to the next sector and
/// there the signature of secure boot version 2, or anything.
#[derive(Default)]
struct Tail {
    started: Option<(u64, Sha256)>,
    contents: [u8; 32],
    /// The beginning of the sector.
    block: Vec<u8>,
}

/// How much of a signature block is looked at: its kind and the hash of what it
/// signs.
const BLOCK_HEAD: usize = 36;

impl Tail {
    fn feed(&mut self, walk: &Walk, mut bytes: &[u8], mut at: u64) {
        let (sector, sha) = self
            .started
            .get_or_insert_with(|| (at.next_multiple_of(SECTOR), walk.sha().clone()));
        if at < *sector {
            let padding = bytes.len().min((*sector - at) as usize);
            sha.update(&bytes[..padding]);
            bytes = &bytes[padding..];
            at += padding as u64;
        }
        if bytes.is_empty() || self.block.len() == BLOCK_HEAD {
            return;
        }
        if at == *sector {
            self.contents = sha.clone().finalize().into();
        }
        let taken = bytes.len().min(BLOCK_HEAD - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
    }

    /// The length with a signature, if there is one.
    fn signature(&self, size: u64) -> Result<Option<u64>, ImageError> {
        let Some((sector, _)) = &self.started else {
            return Ok(None);
        };
        // Version 2 is RSA, 3 is ECDSA; both hold the hash at the same place.
        let contents = match self.block.as_slice() {
            [0xE7, 2 | 3, 0, 0, contents @ ..] if size >= sector + SECTOR => contents,
            _ => return Ok(None),
        };
        if contents != self.contents {
            return Err(ImageError::Signature);
        }
        Ok(Some(sector + SECTOR))
    }
}

/// Arduino's form for the ESP8266: its boot loader, filled up to the next
/// sector, then the application, whose flash code begins with length and CRC of
/// the whole file. They were written after the checksum was made.
#[derive(Default)]
struct Arduino {
    app: Option<Walk>,
    crc: Option<u32>,
    words: [u8; 8],
    /// The CRC at the length that the file announces.
    crc_at_length: Option<u32>,
}

impl Arduino {
    fn feed(&mut self, boot: &Walk, mut bytes: &[u8], mut at: u64) {
        while !bytes.is_empty() {
            let border = [SECTOR, WORDS, WORDS + 8, self.length()]
                .into_iter()
                .filter(|border| *border > at)
                .min();
            let len = border.map_or(bytes.len(), |border| {
                usize::try_from(border - at).map_or(bytes.len(), |len| len.min(bytes.len()))
            });
            let (piece, rest) = bytes.split_at(len);
            if at == SECTOR && boot.is_done() && piece[0] == MAGIC {
                self.app = Some(Walk::new(Form::Esp8266));
            }
            if at >= SECTOR && self.app.is_none() {
                return;
            }
            if let Some(app) = &mut self.app {
                app.feed(piece);
            }
            let crc = self.crc.unwrap_or(crc::START);
            self.crc = Some(if (WORDS..WORDS + 8).contains(&at) {
                let from = (at - WORDS) as usize;
                self.words[from..from + len].copy_from_slice(piece);
                crc::forward(crc, &[0; 8][..len])
            } else {
                crc::forward(crc, piece)
            });
            at += len as u64;
            bytes = rest;
            if at == self.length() && at >= WORDS + 8 {
                self.crc_at_length = self.crc;
            }
        }
    }

    fn length(&self) -> u64 {
        u64::from(self.word(0))
    }

    /// The length that is announced, if it is one and the file has fewer bytes.
    fn whole(&self, size: u64) -> Option<u64> {
        (size..MAX_FLASH)
            .contains(&self.length())
            .then(|| self.length())
    }

    fn word(&self, at: usize) -> u32 {
        let words = &self.words[at..at + 4];
        u32::from_le_bytes([words[0], words[1], words[2], words[3]])
    }

    /// The length of boot loader and application.
    fn finish(&self, boot: &Walk, size: u64) -> Result<u64, ImageError> {
        let Some(app) = &self.app else {
            return boot.finish(size, true).map(|walked| walked.length);
        };
        boot.finish(size, true)?;
        let app_size = size - SECTOR;
        let Some(computed) = self.crc_at_length else {
            // Cores before 2.5 wrote no CRC; then the checksum is right.
            let walked = app.finish(app_size, true).map_err(|error| match error {
                ImageError::Truncated { needs, .. } => ImageError::Truncated {
                    size,
                    needs: self.whole(size).unwrap_or(needs + SECTOR),
                },
                other => other,
            })?;
            return Ok(SECTOR + walked.length);
        };
        let stored = self.word(4);
        let walked = app.finish(app_size, false)?;
        // A length of which by chance the file has as many bytes is no CRC.
        if computed != stored && app.finish(app_size, true).is_err() {
            return Err(ImageError::Crc { stored, computed });
        }
        Ok((SECTOR + walked.length).max(self.length()))
    }
}

/// More flash than any ESP8266 has, in bytes.
const MAX_FLASH: u64 = 16 * 1024 * 1024;
/// What is erased at a time.
const SECTOR: u64 = 0x1000;
/// Where Arduino keeps length and CRC.
const WORDS: u64 = SECTOR + 16;
/// Where the ESP8266 begins: its instruction memory.
const ENTRY_FIRST: u32 = 0x4010_0000;
const ENTRY_LAST: u32 = 0x4010_FFFF;

/// Flash sizes of the ESP8266 in bytes, by their number in the header.
const ESP8266_FLASH: [Option<u32>; 10] = {
    const KIB: u32 = 1024;
    const MIB: u32 = 1024 * KIB;
    [
        Some(512 * KIB),
        Some(256 * KIB),
        Some(MIB),
        Some(2 * MIB),
        Some(4 * MIB),
        Some(2 * MIB),
        Some(4 * MIB),
        None,
        Some(8 * MIB),
        Some(16 * MIB),
    ]
};
