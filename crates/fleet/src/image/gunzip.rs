//! Unpacks a gzip file as it comes, without ever holding more than its window.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

use super::crc;
use super::error::{GzipError, ImageError};

/// One gzip file on its way through.
pub(super) struct Gunzip {
    step: Step,
    limit: u64,
    inflate: Box<DecompressorOxide>,
    window: Vec<u8>,
    at: usize,
    size: u64,
    crc: u32,
    part: [u8; 10],
    filled: usize,
    flags: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Header,
    ExtraLength,
    Extra { left: usize },
    Name,
    Comment,
    HeaderCrc,
    Data,
    Trailer,
    End,
}

impl Gunzip {
    /// Unpacks at most `limit` bytes.
    pub(super) fn new(limit: u64) -> Gunzip {
        Gunzip {
            step: Step::Header,
            limit,
            inflate: Box::default(),
            window: vec![0; WINDOW],
            at: 0,
            size: 0,
            crc: crc::START,
            part: [0; 10],
            filled: 0,
            flags: 0,
        }
    }

    /// Hands what `bytes` unpack to, piece by piece, to `out`.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut dyn FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        while !bytes.is_empty() {
            let taken = match self.step {
                Step::Data => self.data(bytes, out)?,
                Step::End => return Err(ImageError::Gzip(GzipError::Trailing)),
                _ => self.frame(bytes)?,
            };
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// The end of the file.
    pub(super) fn finish(&self) -> Result<(), ImageError> {
        match self.step {
            Step::End => Ok(()),
            _ => Err(ImageError::Gzip(GzipError::Truncated)),
        }
    }

    fn data(
        &mut self,
        bytes: &[u8],
        out: &mut dyn FnMut(&[u8]) -> Result<(), ImageError>,
    ) -> Result<usize, ImageError> {
        let (status, read, written) = decompress(
            &mut self.inflate,
            bytes,
            &mut self.window,
            self.at,
            inflate_flags::TINFL_FLAG_HAS_MORE_INPUT,
        );
        let piece = &self.window[self.at..self.at + written];
        self.crc = crc::reflected(self.crc, piece);
        self.size += written as u64;
        if self.size > self.limit {
            return Err(ImageError::UnpackedTooLarge { limit: self.limit });
        }
        out(piece)?;
        self.at = (self.at + written) % WINDOW;
        match status {
            TINFLStatus::Done => self.step = Step::Trailer,
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput if read + written > 0 => {}
            _ => return Err(ImageError::Gzip(GzipError::Data)),
        }
        Ok(read)
    }

    /// Header and trailer. Says how many of `bytes`, at least one, were taken.
    fn frame(&mut self, bytes: &[u8]) -> Result<usize, ImageError> {
        match self.step {
            Step::Header => {
                let taken = self.collect(bytes, 10);
                if self.filled == 10 {
                    // Magic, deflate, and no flag that the format does not know.
                    self.flags = self.part[3];
                    if self.part[..3] != [0x1F, 0x8B, 8] || self.flags & 0xE0 != 0 {
                        return Err(ImageError::Gzip(GzipError::Header));
                    }
                    self.next(Step::Header);
                }
                Ok(taken)
            }
            Step::ExtraLength => {
                let taken = self.collect(bytes, 2);
                if self.filled == 2 {
                    let left = usize::from(u16::from_le_bytes([self.part[0], self.part[1]]));
                    self.filled = 0;
                    self.step = Step::Extra { left };
                    if left == 0 {
                        self.next(Step::ExtraLength);
                    }
                }
                Ok(taken)
            }
            Step::Extra { left } => {
                let taken = left.min(bytes.len());
                self.step = Step::Extra { left: left - taken };
                if taken == left {
                    self.next(Step::ExtraLength);
                }
                Ok(taken)
            }
            Step::Name | Step::Comment => {
                let end = bytes.iter().position(|byte| *byte == 0);
                if end.is_some() {
                    self.next(self.step);
                }
                Ok(end.map_or(bytes.len(), |end| end + 1))
            }
            Step::HeaderCrc => {
                let taken = self.collect(bytes, 2);
                if self.filled == 2 {
                    self.next(Step::HeaderCrc);
                }
                Ok(taken)
            }
            Step::Trailer => {
                let taken = self.collect(bytes, 8);
                if self.filled == 8 {
                    self.trailer()?;
                }
                Ok(taken)
            }
            Step::Data | Step::End => unreachable!("`feed` sends these elsewhere"),
        }
    }

    /// The part of the header that follows `done`.
    fn next(&mut self, done: Step) {
        self.filled = 0;
        let order = [
            (Step::ExtraLength, 4),
            (Step::Name, 8),
            (Step::Comment, 16),
            (Step::HeaderCrc, 2),
        ];
        let after = order.iter().position(|(step, _)| *step == done);
        let rest = &order[after.map_or(0, |after| after + 1)..];
        let next = rest.iter().find(|(_, flag)| self.flags & flag != 0);
        self.step = next.map_or(Step::Data, |(step, _)| *step);
    }

    fn trailer(&mut self) -> Result<(), ImageError> {
        let word = |at: usize| {
            let part = self.part;
            u32::from_le_bytes([part[at], part[at + 1], part[at + 2], part[at + 3]])
        };
        if word(0) != !self.crc {
            return Err(ImageError::Gzip(GzipError::Crc));
        }
        // Modulo 2^32, as the format counts it.
        if word(4) != self.size as u32 {
            return Err(ImageError::Gzip(GzipError::Length));
        }
        self.step = Step::End;
        Ok(())
    }

    fn collect(&mut self, bytes: &[u8], len: usize) -> usize {
        let taken = bytes.len().min(len - self.filled);
        self.part[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
        self.filled += taken;
        taken
    }
}

/// How far back deflate looks, and what is written at a time.
const WINDOW: usize = 32 * 1024;
