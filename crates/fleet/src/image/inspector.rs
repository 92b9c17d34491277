//! Takes a file in pieces and says what it is.

use alloc::boxed::Box;
use alloc::string::String;

use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::describe::describe;
use super::error::ImageError;
use super::file::{Blocks, File, Found};
use super::gunzip::Gunzip;
use super::{Image, Unpacked};

/// How large files may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A file. Default 32 MiB.
    pub max_size: u64,
    /// What a gzip file unpacks to. Default 4 MiB, which is the flash of the
    /// largest common ESP8266.
    pub max_unpacked: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_size: 32 * 1024 * 1024,
            max_unpacked: 4 * 1024 * 1024,
        }
    }
}

/// Inspects a file as it comes, in pieces of any size; the answer is the same
/// for all. It holds at most three blocks of 16 KiB and what a partition table
/// names.
pub struct Inspector {
    file_name: String,
    limits: Limits,
    size: u64,
    sha256: Sha256,
    md5: Md5,
    blocks: Blocks,
    body: Option<Body>,
    error: Option<ImageError>,
}

/// What the first two bytes announce.
enum Body {
    Plain(Box<File>),
    Gzip(Box<Gzip>),
}

struct Gzip {
    gunzip: Gunzip,
    blocks: Blocks,
    file: File,
    size: u64,
    sha256: Sha256,
    md5: Md5,
}

/// Inspects a file that is in memory.
///
/// # Errors
///
/// Why it is no image.
pub fn inspect(file_name: &str, bytes: &[u8], limits: Limits) -> Result<Image, ImageError> {
    let mut inspector = Inspector::new(file_name, limits);
    inspector.feed(bytes)?;
    inspector.finish()
}

impl Inspector {
    /// Begins a file. Of `file_name` only what follows the last slash or
    /// backslash counts, at most 255 bytes.
    pub fn new(file_name: &str, limits: Limits) -> Inspector {
        let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.chars().filter(|c| !c.is_control());
        let mut file_name = String::new();
        for c in name {
            if file_name.len() + c.len_utf8() > MAX_FILE_NAME {
                break;
            }
            file_name.push(c);
        }
        Inspector {
            file_name,
            limits,
            size: 0,
            sha256: Sha256::new(),
            md5: Md5::new(),
            blocks: Blocks::default(),
            body: None,
            error: None,
        }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// What no further byte can mend: too large, or damaged gzip. The same
    /// comes again with every call.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        self.take(bytes)
            .inspect_err(|error| self.error = Some(error.clone()))
    }

    /// The end of the file: what it is.
    ///
    /// # Errors
    ///
    /// Why it is no image.
    pub fn finish(mut self) -> Result<Image, ImageError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let blocks = core::mem::take(&mut self.blocks);
        if !blocks.rest().is_empty() {
            let body = Body::of(blocks.rest(), self.limits);
            self.body.get_or_insert(body).feed(blocks.rest())?;
        }
        let (found, gzip) = match self.body {
            None => return Err(ImageError::Empty),
            Some(Body::Plain(file)) => (file.finish()?, None),
            Some(Body::Gzip(gzip)) => gzip.finish()?,
        };
        Ok(describe(
            Image {
                sha256: self.sha256.finalize().into(),
                md5: self.md5.finalize().into(),
                size: self.size,
                file_name: self.file_name,
                gzip,
                ..Image::empty()
            },
            found,
        ))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        self.size += bytes.len() as u64;
        if self.size > self.limits.max_size {
            let limit = self.limits.max_size;
            return Err(ImageError::TooLarge { limit });
        }
        self.sha256.update(bytes);
        self.md5.update(bytes);
        let (body, limits) = (&mut self.body, self.limits);
        self.blocks.feed(bytes, |block| {
            body.get_or_insert_with(|| Body::of(block, limits))
                .feed(block)
        })
    }
}

impl Body {
    fn of(block: &[u8], limits: Limits) -> Body {
        if !block.starts_with(&[0x1F, 0x8B]) {
            return Body::Plain(Box::default());
        }
        Body::Gzip(Box::new(Gzip {
            gunzip: Gunzip::new(limits.max_unpacked),
            blocks: Blocks::default(),
            file: File::default(),
            size: 0,
            sha256: Sha256::new(),
            md5: Md5::new(),
        }))
    }

    fn feed(&mut self, block: &[u8]) -> Result<(), ImageError> {
        match self {
            Body::Plain(file) => {
                file.feed(block);
                Ok(())
            }
            Body::Gzip(gzip) => gzip.feed(block),
        }
    }
}

impl Gzip {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let Gzip {
            gunzip,
            blocks,
            file,
            size,
            sha256,
            md5,
        } = self;
        gunzip.feed(bytes, &mut |piece| {
            *size += piece.len() as u64;
            sha256.update(piece);
            md5.update(piece);
            blocks.feed(piece, |block| {
                file.feed(block);
                Ok(())
            })
        })
    }

    fn finish(mut self) -> Result<(Found, Option<Unpacked>), ImageError> {
        self.gunzip.finish()?;
        if !self.blocks.rest().is_empty() {
            self.file.feed(self.blocks.rest());
        }
        let inside = |error| ImageError::Inside(Box::new(error));
        let found = self.file.finish().map_err(inside)?;
        let unpacked = Unpacked {
            size: self.size,
            sha256: self.sha256.finalize().into(),
            md5: self.md5.finalize().into(),
        };
        Ok((found, Some(unpacked)))
    }
}

/// Longest file name, in bytes: what file systems take.
const MAX_FILE_NAME: usize = 255;
