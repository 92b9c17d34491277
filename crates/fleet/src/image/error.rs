//! Why a file is no firmware image.

use alloc::boxed::Box;
use core::fmt;

/// A file that is no image, or a damaged one. The text says what was found and
/// what to do; [`ImageError::code`] is the same for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Nothing in it.
    #[error("the file is empty: download it again")]
    Empty,
    /// More bytes than are kept.
    #[error(
        "the file is larger than {limit} bytes: no image for these chips is; if yours is, raise firmware.max_image"
    )]
    TooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// Not the first byte of any image.
    #[error("not an ESP image: {0}")]
    NotAnImage(Looks),
    /// The file ends before what its header announces.
    #[error(
        "the file ends after {size} bytes, but its header announces at least {needs}: the download was cut short; download it again"
    )]
    Truncated {
        /// Bytes there are.
        size: u64,
        /// Bytes there must be at least.
        needs: u64,
    },
    /// No segments or too many.
    #[error(
        "the header announces {count} segments, and an image has 1 to 16: the file is damaged; download it again"
    )]
    Segments {
        /// The number in the header.
        count: u8,
    },
    /// A segment that no flash could hold.
    #[error(
        "segment {index} is {length} bytes long, more than any flash holds: the file is damaged; download it again"
    )]
    SegmentLength {
        /// Which, from 0.
        index: u8,
        /// Its length in bytes.
        length: u32,
    },
    /// A length that the boot loader refuses.
    #[error(
        "segment {index} is {length} bytes long, and lengths are multiples of 4: the file is damaged; download it again"
    )]
    SegmentUnaligned {
        /// Which, from 0.
        index: u8,
        /// Its length in bytes.
        length: u32,
    },
    /// A version 2 image of an ESP8266 whose second header is none.
    #[error(
        "the second header begins with {magic:#04x} instead of 0xe9: the file is damaged; download it again"
    )]
    SecondHeader {
        /// Its first byte.
        magic: u8,
    },
    /// The field that says whether a hash follows says neither.
    #[error(
        "byte 23 of the header is {value}, and only 0 and 1 mean something: the file is damaged or for another kind of chip; download it again"
    )]
    Header {
        /// The byte.
        value: u8,
    },
    /// The last byte of the image does not match its contents.
    #[error(
        "the checksum is {stored:#04x}, but the contents add up to {computed:#04x}: the file is corrupt; download it again"
    )]
    Checksum {
        /// As stored.
        stored: u8,
        /// As computed.
        computed: u8,
    },
    /// The SHA-256 at its end does not match its contents.
    #[error(
        "the SHA-256 at the end of the image does not match its contents: the file is corrupt; download it again"
    )]
    Hash,
    /// An ESP8266 CRC does not match the contents.
    #[error(
        "the CRC in the image is {stored:#010x}, but the contents give {computed:#010x}: the file is corrupt; download it again"
    )]
    Crc {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The signature sector is for other contents.
    #[error(
        "the signature at the end was made for other contents: sign the file again, or take it as it came from the build"
    )]
    Signature,
    /// A chip that we do not know, or one of the betas.
    #[error(
        "the image is for a chip with the number {id}, which is none that Safeport knows: name another file, or a newer Safeport may know it"
    )]
    UnknownChip {
        /// The number in the header.
        id: u16,
    },
    /// The gzip data are damaged.
    #[error("the gzip file is damaged ({0}): download it again, or compress the image again")]
    Gzip(GzipError),
    /// The gzip data unpack to more than any ESP8266 image.
    #[error(
        "the gzip file unpacks to more than {limit} bytes: only ESP8266 takes gzip, and no image for it is that large"
    )]
    UnpackedTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// What is in the gzip file is no image.
    #[error("inside the gzip file: {0}")]
    Inside(Box<ImageError>),
    /// A merged file whose table names no application that it holds.
    #[error(
        "a factory file (boot loader and partition table) without an application inside: take the application image of the build instead, often firmware.bin"
    )]
    NoApp,
    /// The table of partitions is damaged.
    #[error("the partition table is damaged: its checksum does not match; build it again")]
    PartitionTable,
}

impl ImageError {
    /// A short word for programs, the same in every language.
    pub fn code(&self) -> &'static str {
        match self {
            ImageError::Empty => "empty",
            ImageError::TooLarge { .. } => "too-large",
            ImageError::NotAnImage(_) => "not-an-image",
            ImageError::Truncated { .. } => "truncated",
            ImageError::Segments { .. } => "segments",
            ImageError::SegmentLength { .. } => "segment-length",
            ImageError::SegmentUnaligned { .. } => "segment-unaligned",
            ImageError::SecondHeader { .. } => "second-header",
            ImageError::Header { .. } => "header",
            ImageError::Checksum { .. } => "checksum",
            ImageError::Hash => "hash",
            ImageError::Crc { .. } => "crc",
            ImageError::Signature => "signature",
            ImageError::UnknownChip { .. } => "unknown-chip",
            ImageError::Gzip(_) => "gzip",
            ImageError::UnpackedTooLarge { .. } => "unpacked-too-large",
            ImageError::Inside(inner) => inner.code(),
            ImageError::NoApp => "no-app",
            ImageError::PartitionTable => "partition-table",
        }
    }
}

/// What a file is that is no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looks {
    /// A web page, most often an error page saved as a file.
    Html,
    /// JSON or XML.
    Markup,
    /// The output of the linker.
    Elf,
    /// A file for boards that are flashed as a USB drive.
    Uf2,
    /// A ZIP archive.
    Zip,
    /// Another kind of archive or compression.
    Archive,
    /// Intel HEX.
    IntelHex,
    /// Text of another kind.
    Text,
    /// A file system.
    FileSystem,
    /// Erased flash.
    Erased,
    /// Without any pattern: encrypted or compressed.
    Random,
    /// Anything else; its first byte.
    Other(u8),
}

impl Looks {
    /// A short word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Looks::Html => "html",
            Looks::Markup => "markup",
            Looks::Elf => "elf",
            Looks::Uf2 => "uf2",
            Looks::Zip => "zip",
            Looks::Archive => "archive",
            Looks::IntelHex => "intel-hex",
            Looks::Text => "text",
            Looks::FileSystem => "file-system",
            Looks::Erased => "erased",
            Looks::Random => "random",
            Looks::Other(_) => "other",
        }
    }

    /// What the first bytes of a file that is no image look like.
    pub(super) fn of(head: &[u8]) -> Looks {
        let begins = |with: &[u8]| head.starts_with(with);
        if begins(b"\x7FELF") {
            Looks::Elf
        } else if begins(b"UF2\n") {
            Looks::Uf2
        } else if begins(b"PK") {
            Looks::Zip
        } else if begins(b"BZh")
            || begins(b"\xFD7zXZ")
            || begins(b"7z\xBC\xAF")
            || begins(b"Rar!")
            || begins(b"\x28\xB5\x2F\xFD")
            || begins(b"\x1F\x8B")
        {
            Looks::Archive
        } else if head.get(8..16) == Some(b"littlefs") {
            Looks::FileSystem
        } else if !head.is_empty() && head.iter().all(|byte| *byte == 0xFF) {
            Looks::Erased
        } else if is_text(head) {
            Looks::of_text(head)
        } else if is_random(head) {
            Looks::Random
        } else {
            Looks::Other(head.first().copied().unwrap_or_default())
        }
    }

    fn of_text(head: &[u8]) -> Looks {
        let from = head
            .iter()
            .position(|byte| !byte.is_ascii_whitespace() && !b"\xEF\xBB\xBF".contains(byte));
        let text = &head[from.unwrap_or_default()..];
        let begins = |with: &[u8]| {
            text.get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        if begins(b"<!doctype") || begins(b"<html") || begins(b"<head") || begins(b"<body") {
            Looks::Html
        } else if begins(b"<") || begins(b"{") || begins(b"[") {
            Looks::Markup
        } else if begins(b":")
            && text
                .get(1..9)
                .is_some_and(|t| t.iter().all(u8::is_ascii_hexdigit))
        {
            Looks::IntelHex
        } else {
            Looks::Text
        }
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Looks::Html => {
                "it is a web page, most likely an error page or a page around the download; open the address in a browser and take the file itself"
            }
            Looks::Markup => {
                "it is JSON or XML, most likely the answer of a web service; take the file itself"
            }
            Looks::Elf => {
                "it is an ELF file, the linker's output; take the .bin file that lies beside it"
            }
            Looks::Uf2 => {
                "it is a UF2 file for boards that appear as a USB drive; take the .bin file of the same build"
            }
            Looks::Zip => "it is a ZIP archive; unpack it and take the .bin file inside",
            Looks::Archive => "it is an archive; unpack it and take the .bin file inside",
            Looks::IntelHex => "it is an Intel HEX file; take the .bin file of the same build",
            Looks::Text => "it is text; take the .bin file",
            Looks::FileSystem => {
                "it is a file system (LittleFS), not firmware; take the application image of the build, often firmware.bin"
            }
            Looks::Erased => "it holds nothing but 0xFF, as erased flash does; take another copy",
            Looks::Random => {
                "its contents have no pattern, as if encrypted; take the image before it was encrypted"
            }
            Looks::Other(byte) => {
                return write!(
                    f,
                    "it begins with {byte:#04x}, and images begin with 0xe9; take the application image of the build, often firmware.bin"
                );
            }
        })
    }
}

/// What is wrong with gzip data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GzipError {
    /// Not deflate, or reserved flags.
    #[error("its header asks for something that gzip does not have")]
    Header,
    /// The compressed data make no sense.
    #[error("the compressed data make no sense")]
    Data,
    /// The data end early.
    #[error("it ends early")]
    Truncated,
    /// The CRC at the end does not match.
    #[error("its CRC does not match")]
    Crc,
    /// The length at the end does not match.
    #[error("the length at its end does not match")]
    Length,
    /// Bytes after the end. ESP8266 reads the unpacked size from the last four
    /// bytes of the file.
    #[error("bytes follow its end, and an ESP8266 looks for the size there")]
    Trailing,
}

fn is_text(head: &[u8]) -> bool {
    // The head may end inside a character.
    let valid = match core::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid
        && !head.is_empty()
        && head
            .iter()
            .all(|byte| *byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0C | 0x1B))
}

/// Whether the counts of the 256 bytes are as even as chance makes them: the
/// chi-squared statistic has mean 255 and spread 23 for random bytes; code and
/// data score in the thousands.
fn is_random(head: &[u8]) -> bool {
    if head.len() < 4096 {
        return false;
    }
    let mut counts = [0_u64; 256];
    for byte in head {
        counts[usize::from(*byte)] += 1;
    }
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    let len = head.len() as u64;
    squares * 256 / len - len < 400
}
