//! Takes the part of a file that a device can use.

use alloc::vec::Vec;

use super::error::ImageError;
use super::gunzip::Gunzip;
use super::{Image, Kind, Part};

/// The application to take out of a factory file: bytes
/// `part.offset .. part.offset + part.length` of it are an image of their own.
/// That of `ota_0`, else of the first other slot, else of `factory`: on a device
/// with safeboot the `factory` partition holds the recovery firmware.
pub fn extract_app(image: &Image) -> Option<&Part> {
    if image.kind != Kind::Factory {
        return None;
    }
    let is_slot = |part: &&Part| part.subtype >= 0x10 && part.subtype < 0x20;
    let main = image
        .parts
        .iter()
        .filter(is_slot)
        .min_by_key(|part| part.subtype);
    main.or_else(|| image.parts.first())
}

/// Unpacks a gzip file in pieces, for devices that do not take gzip.
pub struct Unpacker {
    gunzip: Gunzip,
}

impl Unpacker {
    /// Unpacks at most `limit` bytes.
    pub fn new(limit: u64) -> Unpacker {
        Unpacker {
            gunzip: Gunzip::new(limit),
        }
    }

    /// Takes the next packed bytes and adds what they unpack to `out`.
    ///
    /// # Errors
    ///
    /// The file is damaged or unpacks to more than the limit.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ImageError> {
        self.gunzip.feed(bytes, &mut |piece| {
            out.extend_from_slice(piece);
            Ok(())
        })
    }

    /// The end of the packed file.
    ///
    /// # Errors
    ///
    /// It ended early.
    pub fn finish(self) -> Result<(), ImageError> {
        self.gunzip.finish()
    }
}
