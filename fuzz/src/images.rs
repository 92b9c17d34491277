//! Builds firmware images, and what must hold of inspecting any bytes at all.

use safeport_fleet::image::{Inspector, Limits, Unpacker, extract_app, inspect};

use sha2::{Digest as _, Sha256};

use crate::source::Source;

/// An image of the ESP32 family that is to be built.
#[derive(Debug, Clone)]
pub struct Esp32 {
    /// The number of the chip.
    pub chip_id: u16,
    /// High four bits flash size, low four bits speed.
    pub flash: u8,
    /// The application descriptor, if there is to be one.
    pub descriptor: Option<Descriptor>,
    /// Further segments.
    pub segments: Vec<(u32, Vec<u8>)>,
    /// Whether a SHA-256 follows.
    pub hash: bool,
    /// Lowest and highest chip revision.
    pub revisions: (u16, u16),
    /// Bytes of zeros at the end of the first segment.
    pub bulk: usize,
}

/// What an application says of itself.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// Its version.
    pub version: String,
    /// Its project.
    pub project: String,
    /// SHA-256 of the linker's output.
    pub elf_sha256: [u8; 32],
}

impl Default for Esp32 {
    fn default() -> Esp32 {
        Esp32 {
            chip_id: 5,
            flash: 0x20,
            descriptor: Some(Descriptor {
                version: "1.2.3".into(),
                project: "test".into(),
                elf_sha256: [0xAA; 32],
            }),
            segments: vec![(0x4038_0000, (0..16).collect())],
            hash: true,
            revisions: (3, 199),
            bulk: 0,
        }
    }
}

impl Esp32 {
    /// The image.
    pub fn build(&self) -> Vec<u8> {
        let mut segments = Vec::new();
        if let Some(descriptor) = &self.descriptor {
            let mut data = descriptor.bytes();
            data.resize(data.len() + self.bulk, 0);
            segments.push((0x3C00_0020, data));
        } else if self.bulk > 0 {
            segments.push((0x4037_0000, vec![0x11; self.bulk]));
        }
        segments.extend(self.segments.iter().cloned());
        let mut bytes = vec![0xE9, segments.len() as u8, 2, self.flash];
        bytes.extend_from_slice(&0x4038_0000_u32.to_le_bytes());
        bytes.extend_from_slice(&[0xEE, 0, 0, 0]);
        bytes.extend_from_slice(&self.chip_id.to_le_bytes());
        bytes.push(0);
        bytes.extend_from_slice(&self.revisions.0.to_le_bytes());
        bytes.extend_from_slice(&self.revisions.1.to_le_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 0, u8::from(self.hash)]);
        finish(&mut bytes, &segments);
        if self.hash {
            let hash = sha256(&bytes);
            bytes.extend_from_slice(&hash);
        }
        bytes
    }
}

impl Descriptor {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[..4].copy_from_slice(&[0x32, 0x54, 0xCD, 0xAB]);
        let mut text = |at: usize, text: &str| {
            bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
        };
        text(16, &self.version);
        text(48, &self.project);
        text(80, "12:34:56");
        text(96, "Jan  2 2025");
        text(112, "v5.3.1");
        bytes[144..176].copy_from_slice(&self.elf_sha256);
        bytes
    }
}

/// An ESP8266 image of the first form.
pub fn esp8266(flash: u8, segments: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0xE9, segments.len() as u8, 3, flash];
    bytes.extend_from_slice(&0x4010_0000_u32.to_le_bytes());
    finish(&mut bytes, segments);
    bytes
}

/// An ESP8266 image in Arduino's form: boot loader, application at 0x1000, and
/// in its first bytes length and CRC, written after the checksum was made.
pub fn arduino(flash: u8, irom: &[u8]) -> Vec<u8> {
    let mut bytes = esp8266(flash, &[(0x4010_F000, vec![7; 64])]);
    bytes.resize(0x1000, 0xAA);
    let mut code = vec![0xDE, 0xAD, 0xBE, 0xEF, 0xDE, 0xAD, 0xBE, 0xEE];
    code.extend_from_slice(irom);
    let app = [(0x4020_1010, code), (0x4010_0000, vec![9; 32])];
    bytes.extend_from_slice(&esp8266(flash, &app));
    bytes[0x1010..0x1018].fill(0);
    let crc = bytes.iter().fold(0xFFFF_FFFF_u32, |crc, byte| {
        (0..8).rev().fold(crc, |crc, bit| {
            let high = crc >> 31 ^ u32::from(byte >> bit & 1);
            crc << 1 ^ if high == 1 { 0x04C1_1DB7 } else { 0 }
        })
    });
    let length = bytes.len() as u32;
    bytes[0x1010..0x1014].copy_from_slice(&length.to_le_bytes());
    bytes[0x1014..0x1018].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// An ESP8266 image of the second form, with a CRC-32 at its end.
pub fn esp8266_v2(irom: &[u8], segments: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0xEA, 4, 2, 0x40];
    bytes.extend_from_slice(&0x4010_0000_u32.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&(irom.len() as u32).to_le_bytes());
    bytes.extend_from_slice(irom);
    bytes.extend_from_slice(&[0xE9, segments.len() as u8, 2, 0x40]);
    bytes.extend_from_slice(&0x4010_0000_u32.to_le_bytes());
    finish(&mut bytes, segments);
    let crc = crc32(&bytes);
    let stored = if crc & 0x8000_0000 != 0 {
        !crc
    } else {
        crc + 1
    };
    bytes.extend_from_slice(&stored.to_le_bytes());
    bytes
}

/// A merged file: boot loader, table, applications, by their offsets.
pub fn factory(boot: (usize, &[u8]), table: &[u8], apps: &[(usize, &[u8])]) -> Vec<u8> {
    let parts = [boot, (0x8000, table)];
    let mut bytes = Vec::new();
    for (offset, part) in parts.iter().chain(apps) {
        bytes.resize(bytes.len().max(*offset), 0xFF);
        bytes.truncate(*offset);
        bytes.extend_from_slice(part);
    }
    bytes
}

/// A partition table: label, type, subtype, offset, size of each.
pub fn table(partitions: &[(&str, u8, u8, u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (label, kind, subtype, offset, size) in partitions {
        bytes.extend_from_slice(&[0xAA, 0x50, *kind, *subtype]);
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
        let mut name = label.as_bytes().to_vec();
        name.resize(20, 0);
        bytes.extend_from_slice(&name);
    }
    bytes.resize(0xC00, 0xFF);
    bytes
}

/// gzip without compression: stored blocks.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3];
    let mut blocks = bytes.chunks(0xFFFF).peekable();
    if bytes.is_empty() {
        packed.extend_from_slice(&[1, 0, 0, 0xFF, 0xFF]);
    }
    while let Some(block) = blocks.next() {
        let len = block.len() as u16;
        packed.push(u8::from(blocks.peek().is_none()));
        packed.extend_from_slice(&len.to_le_bytes());
        packed.extend_from_slice(&(!len).to_le_bytes());
        packed.extend_from_slice(block);
    }
    packed.extend_from_slice(&crc32(bytes).to_le_bytes());
    packed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    packed
}

/// Inspecting never panics; the answer does not depend on how the bytes come;
/// what is taken out of a file is a file that is taken by itself.
pub fn inspection(data: &[u8]) {
    let mut source = Source::new(data.get(..8).unwrap_or_default());
    let (first, second) = (source.below(64) + 1, source.below(256) * 97 + 1);
    let file = data.get(8..).unwrap_or_default();
    let whole = inspect("file.bin", file, LIMITS);
    let mut inspector = Inspector::new("file.bin", LIMITS);
    let mut rest = file;
    let mut fed = Ok(());
    let mut len = first;
    while !rest.is_empty() && fed.is_ok() {
        let (piece, after) = rest.split_at(len.min(rest.len()));
        fed = inspector.feed(piece);
        rest = after;
        len = second;
    }
    let pieces = fed.and_then(|()| inspector.finish());
    assert_eq!(whole, pieces, "depends on the pieces");
    let image = match whole {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.code().is_empty() && !error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(image.size, file.len() as u64);
    let inner = image.gzip.as_ref().map_or(image.size, |inner| inner.size);
    assert!(image.length <= inner, "longer than its file");
    assert!(inner <= LIMITS.max_size.max(LIMITS.max_unpacked));
    if let Some(part) = extract_app(&image) {
        let app = &file[part.offset as usize..][..part.length as usize];
        let app = inspect("file.bin", app, LIMITS).expect("an application that was found");
        assert_eq!((app.kind, &app.version), (part.kind, &part.version));
        assert_eq!(app.chip, image.chip);
    }
    if let Some(gzip) = &image.gzip {
        let mut unpacker = Unpacker::new(LIMITS.max_unpacked);
        let mut unpacked = Vec::new();
        let fed = unpacker.feed(file, &mut unpacked);
        assert_eq!(fed.and_then(|()| unpacker.finish()), Ok(()));
        let inside = inspect("file.bin", &unpacked, LIMITS).expect("what was found inside");
        assert_eq!((inside.sha256, inside.size), (gzip.sha256, gzip.size));
        assert_eq!((inside.chip, inside.kind), (image.chip, image.kind));
    }
}

/// Files made to be inspected, for mutations to begin with. Eight bytes in
/// front choose the pieces.
pub fn seeds() -> Vec<Vec<u8>> {
    let app = Esp32::default().build();
    let large = Esp32 {
        bulk: 40_000,
        ..Esp32::default()
    }
    .build();
    let partitions = table(&[
        ("nvs", 1, 2, 0x9000, 0x5000),
        ("factory", 0, 0, 0x10000, 0x10000),
        ("ota_0", 0, 0x10, 0x20000, 0x10000),
    ]);
    let apps: [(usize, &[u8]); 2] = [(0x10000, &app), (0x20000, &large)];
    let boot = Esp32 {
        descriptor: None,
        ..Esp32::default()
    }
    .build();
    let v1 = esp8266(0x20, &[(0x4010_0000, vec![1, 2, 3, 4])]);
    let mut signed = app.clone();
    signed.resize(0x1000, 0xFF);
    let hash = sha256(&signed);
    signed.extend_from_slice(&[0xE7, 2, 0, 0]);
    signed.extend_from_slice(&hash);
    signed.resize(0x2000, 0xFF);
    let mut seeds = vec![
        app.clone(),
        large.clone(),
        boot.clone(),
        gzip(&v1),
        v1,
        arduino(0x40, &[5; 200]),
        esp8266_v2(&[6; 64], &[(0x3FFE_8000, vec![1, 2, 3, 4])]),
        signed,
        partitions.clone(),
        factory((0, &boot), &partitions, &apps),
        gzip(&app),
        b"<!DOCTYPE html><title>404</title>".to_vec(),
    ];
    for (number, seed) in seeds.iter_mut().enumerate() {
        let mut front = vec![number as u8 * 19, number as u8 * 7, 0, 0, 0, 0, 0, 0];
        front.append(seed);
        *seed = front;
    }
    seeds
}

/// Small, so that limits are reached.
const LIMITS: Limits = Limits {
    max_size: 512 * 1024,
    max_unpacked: 128 * 1024,
};

/// Appends segments and the checksum in the last byte of a block of 16.
fn finish(bytes: &mut Vec<u8>, segments: &[(u32, Vec<u8>)]) {
    let mut checksum = 0xEF;
    for (address, data) in segments {
        bytes.extend_from_slice(&address.to_le_bytes());
        bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
        bytes.extend_from_slice(data);
        checksum = data.iter().fold(checksum, |sum, byte| sum ^ byte);
    }
    bytes.resize(bytes.len() + 15 - bytes.len() % 16, 0);
    bytes.push(checksum);
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(0xFFFF_FFFF_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 }
        })
    })
}
