//! Firmware images: what a file is, for which chip and slot, and whether it is
//! whole.
//!
//! Layouts are the maker's public formats. Everything is read as it streams by:
//! [`Inspector`] holds a few blocks of 16 KiB, however long the file is.

mod crc;
mod describe;
mod error;
mod extract;
mod file;
mod fit;
mod gunzip;
mod hex;
mod inspector;
mod marks;
mod segments;
mod single;
mod table;
mod warning;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use error::{GzipError, ImageError, Looks};
pub use extract::{Unpacker, extract_app};
pub use fit::{Misfit, Target, fits};
pub use inspector::{Inspector, Limits, inspect};
pub use table::Partition;
pub use warning::Warning;

use crate::{Chip, Family};

/// A file that was inspected and found whole. It may still be of a kind that no
/// device takes over the air: [`Image::offerable`] tells.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// Of the whole file.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// Of the whole file, as Tasmota and ESPHome check it.
    #[serde(with = "hex")]
    pub md5: [u8; 16],
    /// Of the whole file, in bytes.
    pub size: u64,
    /// As it was given, without folders.
    pub file_name: String,
    /// The firmware, where it can be told.
    pub family: Option<Family>,
    /// The chip it is for. `None` for partition tables and assets.
    pub chip: Option<Chip>,
    /// What it is.
    pub kind: Kind,
    /// The project, as ESP-IDF wrote it into the image.
    pub project: Option<String>,
    /// The version, from the image or, for families that do not write it there,
    /// from the file's name.
    pub version: Option<String>,
    /// The build of the family: ESPEasy's environment
    /// (`normal_ESP32_4M316k`), Tasmota's variant (`safeboot`, `bluetooth`).
    pub variant: Option<String>,
    /// ESP-IDF's version.
    pub idf_version: Option<String>,
    /// Day and time of the build, as the compiler wrote them.
    pub built: Option<String>,
    /// The number that guards against going back, if it is above 0.
    pub secure_version: Option<u32>,
    /// SHA-256 of the linker's output, which xiaozhi devices report.
    #[serde(with = "hex::option")]
    pub elf_sha256: Option<[u8; 32]>,
    /// The SHA-256 at the image's end, which Tasmota on ESP32 reports as that
    /// of its sketch.
    #[serde(with = "hex::option")]
    pub appended_sha256: Option<[u8; 32]>,
    /// Flash that the image was built for, in bytes.
    pub flash_size: Option<u32>,
    /// Lowest chip revision that starts it: major × 100 + minor.
    pub min_chip_rev: Option<u16>,
    /// Highest chip revision that starts it.
    pub max_chip_rev: Option<u16>,
    /// Built for an ESP32 with one core.
    pub single_core: bool,
    /// For a gzip file, what it unpacks to.
    pub gzip: Option<Unpacked>,
    /// Carries a signature of secure boot version 2 that is for its contents.
    /// Whose signature it is, only the device can tell.
    pub signed: bool,
    /// Of Tasmota: whether it can do MQTT over TLS. `None` where it cannot be
    /// told.
    pub tls: Option<bool>,
    /// Bytes that belong to the image; more may follow in the file.
    pub length: u64,
    /// The applications in a factory file.
    pub parts: Vec<Part>,
    /// The partition table, where there is one.
    pub partitions: Vec<Partition>,
    /// What a person should know before offering it.
    pub warnings: Vec<Warning>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Firmware for the main slot.
    App,
    /// Tasmota's or ESPEasy's recovery firmware on ESP32.
    Safeboot,
    /// Tasmota's stepping stone on ESP8266.
    Minimal,
    /// Boot loader, partition table and applications in one, for a cable.
    Factory,
    /// A second stage boot loader.
    Bootloader,
    /// A partition table by itself.
    PartitionTable,
    /// Sounds, fonts and pictures of a xiaozhi device.
    Assets,
}

impl Kind {
    /// The word used on the command line and in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::App => "app",
            Kind::Safeboot => "safeboot",
            Kind::Minimal => "minimal",
            Kind::Factory => "factory",
            Kind::Bootloader => "bootloader",
            Kind::PartitionTable => "partition-table",
            Kind::Assets => "assets",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a gzip file unpacks to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unpacked {
    /// In bytes.
    pub size: u64,
    /// Of the unpacked bytes.
    #[serde(with = "hex")]
    pub sha256: [u8; 32],
    /// Of the unpacked bytes.
    #[serde(with = "hex")]
    pub md5: [u8; 16],
}

/// An application inside a factory file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// The name of its partition.
    pub label: String,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// The number of its partition: 0 is `factory`, 0x10 is `ota_0`.
    pub subtype: u8,
    /// What it is.
    pub kind: Kind,
    /// Its version, where it can be told.
    pub version: Option<String>,
}
