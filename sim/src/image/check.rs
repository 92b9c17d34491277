//! What a real chip checks before it boots an image (esp-image.md §1 to §3).

use super::chip::ImageChip;
use super::{HEADER_32, checksum};
use sha2::{Digest, Sha256};

/// Why a chip does not boot a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageFault {
    /// The first byte is wrong.
    #[error("the first byte is {0:#04x}, not 0xe9: no image")]
    Magic(u8),
    /// It ends before the segments do.
    #[error("it ends at byte {0}, before its segments do")]
    Truncated(usize),
    /// No segments, or more than the boot loader takes.
    #[error("{0} segments; a boot loader takes 1 to 16")]
    Segments(u8),
    /// For another chip.
    #[error("it is for the chip with number {id}")]
    Chip {
        /// Chip id in the header.
        id: u16,
    },
    /// The XOR of the segments is another one.
    #[error("its checksum is {found:#04x}, not {expected:#04x}")]
    Checksum {
        /// What the file says.
        found: u8,
        /// What its segments come to.
        expected: u8,
    },
    /// The SHA-256 at the end is another one.
    #[error("its SHA-256 is not the one of its content")]
    Hash,
    /// The gzip file cannot be unpacked.
    #[error("the gzip file is damaged: {0}")]
    Gzip(&'static str),
}

/// Whether the boot loader of `chip` starts this image. Bytes behind its end are ignored, as in
/// flash.
pub fn verify(image: &[u8], chip: ImageChip) -> Result<(), ImageFault> {
    if chip == ImageChip::ESP8266 {
        let end = walk(image, 8, false)?;
        // The application stands behind the little boot loader.
        if end <= 0x1000 && image.get(0x1000) == Some(&0xe9) {
            walk(&image[0x1000..], 8, false)?;
        } else if image.len() > 0x1000 && end <= 0x1000 {
            return Err(ImageFault::Magic(image[0x1000]));
        }
        return Ok(());
    }
    let first = image.first().copied().unwrap_or_default();
    if first != 0xe9 {
        return Err(ImageFault::Magic(first));
    }
    let &[low, high] = image
        .get(12..14)
        .and_then(|id| id.first_chunk())
        .ok_or(ImageFault::Truncated(image.len()))?;
    let id = u16::from_le_bytes([low, high]);
    if Some(id) != chip.id() {
        return Err(ImageFault::Chip { id });
    }
    let has_hash = image.get(23) == Some(&1);
    walk(image, HEADER_32, has_hash).map(drop)
}

/// Goes through the segments; returns where the image ends.
fn walk(image: &[u8], header: usize, has_hash: bool) -> Result<usize, ImageFault> {
    let truncated = ImageFault::Truncated(image.len());
    let first = image.first().copied().unwrap_or_default();
    if first != 0xe9 {
        return Err(ImageFault::Magic(first));
    }
    let count = *image.get(1).ok_or(truncated.clone())?;
    if !(1..=16).contains(&count) {
        return Err(ImageFault::Segments(count));
    }
    let mut at = header;
    let mut parts = Vec::new();
    for _ in 0..count {
        let length = image
            .get(at + 4..at + 8)
            .and_then(|bytes| bytes.first_chunk())
            .map(|bytes| u32::from_le_bytes(*bytes) as usize)
            .ok_or(truncated.clone())?;
        let end = (at + 8).checked_add(length).ok_or(truncated.clone())?;
        parts.push(image.get(at + 8..end).ok_or(truncated.clone())?);
        at = end;
    }
    let last = at / 16 * 16 + 15;
    let found = *image.get(last).ok_or(truncated.clone())?;
    let expected = checksum(parts);
    if found != expected {
        return Err(ImageFault::Checksum { found, expected });
    }
    if !has_hash {
        return Ok(last + 1);
    }
    let hash = image.get(last + 1..last + 33).ok_or(truncated)?;
    if hash != Sha256::digest(&image[..=last]).as_slice() {
        return Err(ImageFault::Hash);
    }
    Ok(last + 33)
}

/// The content of a gzip file with one member and no extra fields beside a name, as the ESP8266's
/// boot loader unpacks it. At most 4 MiB.
pub fn unpack(file: &[u8]) -> Result<Vec<u8>, ImageFault> {
    let fault = ImageFault::Gzip;
    let [0x1f, 0x8b, 8, flags, rest @ ..] = file else {
        return Err(fault("it does not begin as one"));
    };
    let mut body = rest.get(6..).ok_or(fault("too short"))?;
    if flags & 8 != 0 {
        let end = body.iter().position(|byte| *byte == 0);
        body = &body[end.ok_or(fault("too short"))? + 1..];
    }
    let (packed, trailer) = body.split_last_chunk::<8>().ok_or(fault("too short"))?;
    let data = miniz_oxide::inflate::decompress_to_vec_with_limit(packed, 4 << 20)
        .map_err(|_| fault("it does not unpack"))?;
    let (crc, length) = trailer.split_at(4);
    if crc != crc32(&data).to_le_bytes() || length != (data.len() as u32).to_le_bytes() {
        return Err(fault("its content has another checksum"));
    }
    Ok(data)
}

/// CRC-32 as gzip has it.
pub(super) fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}
