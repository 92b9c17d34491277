//! Walks through one image: header, segments, checksum, hash.

use sha2::{Digest as _, Sha256};

use super::ImageError;
use super::crc;

/// First byte of an image.
pub(super) const MAGIC: u8 = 0xE9;
/// First byte of an ESP8266 image with its flash code in front ("version 2").
pub(super) const MAGIC_V2: u8 = 0xEA;

/// The layout of an image's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// 8 bytes of header.
    Esp8266,
    /// 0xEA header, a segment of flash code that no checksum covers, then a
    /// header and segments as in the first form, and a CRC-32.
    Esp8266V2,
    /// 24 bytes of header.
    Esp32,
}

/// One image on its way through.
#[derive(Clone)]
pub(super) struct Walk {
    form: Form,
    step: Step,
    /// Bytes seen.
    at: u64,
    /// Bytes of the header at hand.
    part: [u8; 32],
    filled: usize,
    segments: u8,
    index: u8,
    checksum: u8,
    stored_checksum: u8,
    hash_follows: bool,
    /// Over all bytes of the image, also past its hash (a signature covers it).
    sha: Sha256,
    sha_before_hash: [u8; 32],
    crc: u32,
    error: Option<ImageError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Header,
    IromHeader,
    IromData { left: u64 },
    SegmentHeader,
    Data { left: u64 },
    Padding { left: u64 },
    Checksum,
    Hash,
    Crc,
    Done,
    Failed,
}

/// What an image that was walked through to its end holds.
#[derive(Clone)]
pub(super) struct Walked {
    /// Its length in bytes, with checksum, hash or CRC.
    pub(super) length: u64,
    /// The hash at its end, which is right.
    pub(super) hash: Option<[u8; 32]>,
}

impl Walk {
    pub(super) fn new(form: Form) -> Walk {
        Walk {
            form,
            step: Step::Header,
            at: 0,
            part: [0; 32],
            filled: 0,
            segments: 0,
            index: 0,
            checksum: 0xEF,
            stored_checksum: 0,
            hash_follows: false,
            sha: Sha256::new(),
            sha_before_hash: [0; 32],
            crc: crc::START,
            error: None,
        }
    }

    /// Takes what belongs to the image and returns the rest.
    pub(super) fn feed<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while !bytes.is_empty() && !matches!(self.step, Step::Done | Step::Failed) {
            bytes = &bytes[self.take(bytes)..];
        }
        bytes
    }

    pub(super) fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// The hash of everything up to and with the end, to be carried on over
    /// what follows.
    pub(super) fn sha(&self) -> &Sha256 {
        &self.sha
    }

    /// How it went, for a file of `size` bytes. A wrong checksum is passed over
    /// if `checksum_counts` is false.
    pub(super) fn finish(&self, size: u64, checksum_counts: bool) -> Result<Walked, ImageError> {
        if let Some(error) = &self.error {
            let checksum = matches!(error, ImageError::Checksum { .. });
            if !checksum || checksum_counts {
                return Err(error.clone());
            }
        }
        if self.step != Step::Done {
            return Err(ImageError::Truncated {
                size,
                needs: self.needs(),
            });
        }
        Ok(Walked {
            length: self.at,
            hash: self.hash_follows.then_some(self.sha_before_hash),
        })
    }

    /// How many bytes there must be at least.
    fn needs(&self) -> u64 {
        let hash = if self.hash_follows { 32 } else { 0 };
        let after = u64::from(self.segments.saturating_sub(self.index));
        match self.step {
            Step::Header => match self.form {
                Form::Esp32 => 24 + 8 + 1,
                Form::Esp8266 | Form::Esp8266V2 => 8 + 8 + 1,
            },
            Step::IromHeader => 16,
            Step::IromData { left } => self.at + left + 8,
            Step::SegmentHeader => self.at - self.filled as u64 + after * 8 + 1 + hash,
            Step::Data { left } => self.at + left + (after.saturating_sub(1)) * 8 + 1 + hash,
            Step::Padding { left } => self.at + left + 1 + hash,
            Step::Checksum => self.at + 1 + hash,
            Step::Hash => self.at - self.filled as u64 + 32,
            Step::Crc => self.at - self.filled as u64 + 4,
            Step::Done | Step::Failed => self.at,
        }
    }

    /// Takes some of `bytes` and says how many.
    fn take(&mut self, bytes: &[u8]) -> usize {
        match self.step {
            Step::Header => {
                let len = if self.form == Form::Esp32 { 24 } else { 8 };
                self.collect(bytes, len, Walk::header)
            }
            Step::IromHeader => self.collect(bytes, 8, Walk::irom_header),
            Step::SegmentHeader => self.collect(bytes, 8, Walk::segment_header),
            Step::Hash => self.collect(bytes, 32, Walk::hash),
            Step::Crc => self.collect(bytes, 4, Walk::stored_crc),
            Step::IromData { left } => {
                let taken = self.pass(bytes, left);
                self.irom_data(left - taken as u64);
                taken
            }
            Step::Data { left } => {
                let taken = self.pass(bytes, left);
                let data = bytes[..taken].iter();
                self.checksum = data.fold(self.checksum, |sum, byte| sum ^ byte);
                self.data(left - taken as u64);
                taken
            }
            Step::Padding { left } => {
                let taken = self.pass(bytes, left);
                self.padding(left - taken as u64);
                taken
            }
            Step::Checksum => {
                self.stored_checksum = bytes[0];
                self.pass(bytes, 1);
                self.after_checksum();
                1
            }
            Step::Done | Step::Failed => 0,
        }
    }

    /// Gathers `len` bytes of a header before it is read.
    fn collect(&mut self, bytes: &[u8], len: usize, read: fn(&mut Walk)) -> usize {
        let taken = match self.step {
            // A CRC does not cover itself.
            Step::Crc => {
                let taken = bytes.len().min(len - self.filled);
                self.at += taken as u64;
                taken
            }
            Step::Hash => {
                if self.filled == 0 {
                    self.sha_before_hash = self.sha.clone().finalize().into();
                }
                self.pass(bytes, (len - self.filled) as u64)
            }
            _ => self.pass(bytes, (len - self.filled) as u64),
        };
        self.part[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        if self.filled == len {
            self.filled = 0;
            read(self);
        }
        taken
    }

    /// Counts and hashes at most `most` of `bytes`.
    fn pass(&mut self, bytes: &[u8], most: u64) -> usize {
        let taken = usize::try_from(most).map_or(bytes.len(), |most| bytes.len().min(most));
        match self.form {
            Form::Esp32 => self.sha.update(&bytes[..taken]),
            Form::Esp8266V2 => self.crc = crc::reflected(self.crc, &bytes[..taken]),
            Form::Esp8266 => {}
        }
        self.at += taken as u64;
        taken
    }

    fn header(&mut self) {
        let (magic, count) = (self.part[0], self.part[1]);
        if self.form == Form::Esp8266V2 && self.at == 8 {
            self.step = Step::IromHeader;
            return;
        }
        // Only the second header of a version 2 image can come here with another
        // one: the first byte of the file chose the form.
        if magic != MAGIC {
            return self.fail(ImageError::SecondHeader { magic });
        }
        if !(1..=16).contains(&count) {
            return self.fail(ImageError::Segments { count });
        }
        if self.form == Form::Esp32 {
            let value = self.part[23];
            if value > 1 {
                return self.fail(ImageError::Header { value });
            }
            self.hash_follows = value == 1;
        }
        self.segments = count;
        self.step = Step::SegmentHeader;
    }

    fn irom_header(&mut self) {
        if let Some(length) = self.length() {
            self.irom_data(length);
        }
    }

    fn irom_data(&mut self, left: u64) {
        self.step = if left == 0 {
            Step::Header
        } else {
            Step::IromData { left }
        };
    }

    fn segment_header(&mut self) {
        if let Some(length) = self.length() {
            self.data(length);
        }
    }

    /// The length in the segment header at hand.
    fn length(&mut self) -> Option<u64> {
        let index = self.index;
        let length = u32::from_le_bytes([self.part[4], self.part[5], self.part[6], self.part[7]]);
        if length > MAX_SEGMENT {
            self.fail(ImageError::SegmentLength { index, length });
            return None;
        }
        // The boot loader of the ESP32 family refuses it; Arduino's tool for the
        // ESP8266 does not round lengths up.
        if self.form == Form::Esp32 && !length.is_multiple_of(4) {
            self.fail(ImageError::SegmentUnaligned { index, length });
            return None;
        }
        Some(u64::from(length))
    }

    fn data(&mut self, left: u64) {
        if left > 0 {
            self.step = Step::Data { left };
            return;
        }
        self.index += 1;
        if self.index < self.segments {
            self.step = Step::SegmentHeader;
        } else {
            // The checksum is the last byte of a block of 16.
            self.padding(15 - self.at % 16);
        }
    }

    fn padding(&mut self, left: u64) {
        self.step = if left == 0 {
            Step::Checksum
        } else {
            Step::Padding { left }
        };
    }

    fn after_checksum(&mut self) {
        if self.stored_checksum != self.checksum {
            self.error = Some(ImageError::Checksum {
                stored: self.stored_checksum,
                computed: self.checksum,
            });
        }
        self.step = if self.hash_follows {
            Step::Hash
        } else if self.form == Form::Esp8266V2 {
            Step::Crc
        } else {
            Step::Done
        };
    }

    fn hash(&mut self) {
        if self.part != self.sha_before_hash && self.error.is_none() {
            self.error = Some(ImageError::Hash);
        }
        self.step = Step::Done;
    }

    fn stored_crc(&mut self) {
        let stored = u32::from_le_bytes([self.part[0], self.part[1], self.part[2], self.part[3]]);
        // As the maker's boot loader counts it: a CRC with its highest bit set
        // is inverted, another one is increased by 1.
        let crc = !self.crc;
        let computed = if crc & 0x8000_0000 != 0 {
            !crc
        } else {
            crc + 1
        };
        if stored != computed && self.error.is_none() {
            self.error = Some(ImageError::Crc { stored, computed });
        }
        self.step = Step::Done;
    }

    fn fail(&mut self, error: ImageError) {
        self.error = Some(error);
        self.step = Step::Failed;
    }
}

/// Longest segment, in bytes: what the maker's own tools accept.
const MAX_SEGMENT: u32 = 16 * 1024 * 1024;
