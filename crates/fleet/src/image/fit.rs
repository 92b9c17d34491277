//! Whether a device can take an image.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::{Image, Kind, Warning, extract_app};
use crate::version::{self, VersionError};
use crate::{Chip, Family, Layout, Slot};

/// What is known of a device and of the slot that an image is meant for.
/// Everything may be unknown; what must not be is refused by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// The firmware that it runs.
    pub family: Option<Family>,
    /// Its chip.
    pub chip: Option<Chip>,
    /// The chip's revision: major × 100 + minor.
    pub chip_rev: Option<u16>,
    /// Whether its ESP32 has one core only.
    pub single_core: Option<bool>,
    /// Which slot is meant. Default: the main one.
    pub slot: Option<Slot>,
    /// How large that slot is, in bytes.
    pub slot_size: Option<u64>,
    /// How much flash the device really has, in bytes.
    pub flash_size: Option<u64>,
    /// How its flash is divided.
    pub layout: Option<Layout>,
    /// Whether its partition table has room for assets, which xiaozhi devices
    /// have since version 2.
    pub has_assets: Option<bool>,
    /// The version in that slot.
    pub version: Option<String>,
    /// The build in that slot, as [`Image::variant`] has it.
    pub variant: Option<String>,
    /// A hash that the device reports of what it runs: of the file, of the
    /// image's contents, or of the linker's output.
    pub running_sha256: Option<[u8; 32]>,
    /// The same as MD5 of the file.
    pub running_md5: Option<[u8; 16]>,
}

/// Whether `target` can take `image`, and what to know if it can.
///
/// # Errors
///
/// The first reason why not, with the way out.
pub fn fits(image: &Image, target: &Target) -> Result<Vec<Warning>, Misfit> {
    image.offerable()?;
    let mut warnings = Vec::new();
    let slot = target.slot.unwrap_or(Slot::Main);
    family_fits(image, target, &mut warnings)?;
    kind_fits(image, slot, &mut warnings)?;
    if image.kind != Kind::Assets {
        chip_fits(image, target, &mut warnings)?;
        layout_fits(target, slot)?;
        flash_fits(image, target, &mut warnings)?;
    }
    size_fits(image, target, slot, &mut warnings)?;
    if is_installed(image, target) {
        return Err(Misfit::AlreadyInstalled);
    }
    version_fits(image, target, &mut warnings)?;
    variant_fits(image, target, &mut warnings)?;
    Ok(warnings)
}

impl Image {
    /// Whether any device takes such a file over the air.
    ///
    /// # Errors
    ///
    /// Why none does, with what to do instead.
    pub fn offerable(&self) -> Result<(), Misfit> {
        match self.kind {
            Kind::Factory => {
                let part = extract_app(self).map(|part| (part.offset, part.length));
                let (offset, length) = part.unwrap_or_default();
                return Err(Misfit::Factory { offset, length });
            }
            Kind::Bootloader => return Err(Misfit::Bootloader),
            Kind::PartitionTable => return Err(Misfit::PartitionTable),
            Kind::App | Kind::Safeboot | Kind::Minimal | Kind::Assets => {}
        }
        match self.chip {
            Some(chip) if self.gzip.is_some() && chip.is_esp32() => Err(Misfit::Gzip { chip }),
            _ => Ok(()),
        }
    }
}

fn family_fits(image: &Image, target: &Target, warnings: &mut Vec<Warning>) -> Result<(), Misfit> {
    let device = target.family.ok_or(Misfit::FamilyUnknown)?;
    let undescribed = image.warnings.contains(&Warning::NoDescriptor);
    if undescribed && matches!(device, Family::Xiaozhi | Family::Plain) {
        return Err(Misfit::NoDescriptor);
    }
    match image.family {
        Some(family) if family != device => Err(Misfit::Family {
            image: family,
            device,
        }),
        Some(_) => Ok(()),
        None if device == Family::Plain => Ok(()),
        None => {
            warnings.push(Warning::FamilyUnknown);
            Ok(())
        }
    }
}

fn kind_fits(image: &Image, slot: Slot, warnings: &mut Vec<Warning>) -> Result<(), Misfit> {
    match (image.kind, slot) {
        (Kind::App, Slot::Main)
        | (Kind::Safeboot, Slot::Safeboot)
        | (Kind::Minimal, Slot::Minimal)
        | (Kind::Assets, Slot::Assets) => Ok(()),
        (Kind::Minimal, Slot::Main) => {
            warnings.push(Warning::MinimalAsMain);
            Ok(())
        }
        (kind, slot) => Err(Misfit::Slot { kind, slot }),
    }
}

fn chip_fits(image: &Image, target: &Target, warnings: &mut Vec<Warning>) -> Result<(), Misfit> {
    let device = target.chip.ok_or(Misfit::ChipUnknown)?;
    let Some(chip) = image.chip else {
        return Err(Misfit::ChipUnknown);
    };
    if chip != device {
        return Err(Misfit::Chip {
            image: chip,
            device,
        });
    }
    match (image.min_chip_rev, target.chip_rev) {
        (Some(min), Some(device)) if device < min => {
            return Err(Misfit::RevisionTooLow { min, device });
        }
        (Some(min), None) => warnings.push(Warning::RevisionUnknown { min }),
        _ => {}
    }
    match (image.max_chip_rev, target.chip_rev) {
        (Some(max), Some(device)) if device > max => {
            return Err(Misfit::RevisionTooHigh { max, device });
        }
        _ => {}
    }
    // Only Tasmota and ESPEasy build apart for one core; ESP-IDF's images run on both.
    let apart = matches!(image.family, Some(Family::Tasmota | Family::EspEasy));
    if chip == Chip::Esp32 && apart && !image.single_core {
        match target.single_core {
            Some(true) => return Err(Misfit::OneCore),
            Some(false) => {}
            None => warnings.push(Warning::CoresUnknown),
        }
    }
    Ok(())
}

fn layout_fits(target: &Target, slot: Slot) -> Result<(), Misfit> {
    let is_esp32 = target.chip.is_some_and(Chip::is_esp32);
    match (slot, is_esp32, target.layout) {
        (Slot::Safeboot, false, _) => Err(Misfit::NoSafeboot),
        (Slot::Safeboot, true, Some(Layout::Safeboot)) => Ok(()),
        (Slot::Safeboot, true, Some(_)) => Err(Misfit::NoSafeboot),
        (Slot::Safeboot, true, None) => Err(Misfit::LayoutUnknown),
        (_, true, Some(Layout::Single)) => Err(Misfit::NoOta),
        // Whether safeboot has to come first depends on it.
        (_, true, None) if target.family == Some(Family::Tasmota) => Err(Misfit::LayoutUnknown),
        _ => Ok(()),
    }
}

fn flash_fits(image: &Image, target: &Target, warnings: &mut Vec<Warning>) -> Result<(), Misfit> {
    let (Some(image_flash), Some(device)) = (image.flash_size, target.flash_size) else {
        return Ok(());
    };
    if u64::from(image_flash) <= device {
        return Ok(());
    }
    let device = u32::try_from(device).unwrap_or(u32::MAX);
    if image.chip == Some(Chip::Esp8266) {
        return Err(Misfit::FlashSize {
            image: image_flash,
            device,
        });
    }
    warnings.push(Warning::FlashSize {
        image: image_flash,
        device,
    });
    Ok(())
}

fn size_fits(
    image: &Image,
    target: &Target,
    slot: Slot,
    warnings: &mut Vec<Warning>,
) -> Result<(), Misfit> {
    // An ESP8266 keeps gzip packed until it restarts; the slot is for the unpacked.
    let size = image.gzip.as_ref().map_or(image.size, |inner| inner.size);
    let space = match (target.slot_size, target.usual_slot_size(image, slot)) {
        (Some(known), _) => known,
        (None, Some(usual)) => {
            warnings.push(Warning::SlotSizeAssumed { bytes: usual });
            usual
        }
        (None, None) => return Err(Misfit::SlotSizeUnknown),
    };
    if size > space {
        return Err(Misfit::TooLarge { size, space });
    }
    Ok(())
}

impl Target {
    /// The size of a slot, in bytes, in the layouts that the families ship.
    fn usual_slot_size(&self, image: &Image, slot: Slot) -> Option<u64> {
        const KIB: u64 = 1024;
        const FOUR_MIB: u64 = 4096 * KIB;
        let chip = self.chip?;
        if slot == Slot::Assets {
            return None;
        }
        if !chip.is_esp32() {
            // What the chip maps of its flash, less what the core keeps.
            return Some(1_044_464);
        }
        if matches!(self.family, Some(Family::EspHome | Family::Plain)) && slot == Slot::Main {
            // They do not report it, and compare the length with their partition before they
            // erase anything. Two images share the flash, so that more than half of it is never
            // right: of the device's, and of the one that the image was built for.
            let built_for = image.flash_size.map(u64::from);
            let flash = match (self.flash_size, built_for) {
                (Some(known), Some(built_for)) => known.min(built_for),
                (known, built_for) => known.or(built_for)?,
            };
            return Some(flash / 2);
        }
        match (self.family?, self.layout?, slot) {
            (Family::Tasmota | Family::EspEasy, Layout::Safeboot, Slot::Safeboot) => {
                Some(832 * KIB)
            }
            (Family::Tasmota | Family::EspEasy, Layout::Safeboot, Slot::Main)
                if self.flash_size == Some(FOUR_MIB) =>
            {
                Some(2880 * KIB)
            }
            (Family::EspEasy, Layout::Dual, Slot::Main) if self.flash_size == Some(FOUR_MIB) => {
                Some(1856 * KIB)
            }
            _ => None,
        }
    }
}

fn is_installed(image: &Image, target: &Target) -> bool {
    let sha256 = target.running_sha256;
    let same = |other: Option<[u8; 32]>| other.is_some() && other == sha256;
    same(Some(image.sha256))
        || same(image.appended_sha256)
        || same(image.elf_sha256)
        || same(image.gzip.as_ref().map(|inner| inner.sha256))
        || target.running_md5.is_some_and(|md5| {
            md5 == image.md5 || image.gzip.as_ref().is_some_and(|inner| md5 == inner.md5)
        })
}

fn version_fits(image: &Image, target: &Target, warnings: &mut Vec<Warning>) -> Result<(), Misfit> {
    let Some(family) = target.family else {
        return Err(Misfit::FamilyUnknown);
    };
    if family == Family::Tasmota && image.gzip.is_some() {
        let old = target.version.as_deref().filter(|running| {
            version::compare(family, running, FIRST_WITH_GZIP) == Some(Ordering::Less)
        });
        if let Some(version) = old {
            let version = version.into();
            return Err(Misfit::GzipTooOld { version });
        }
    }
    let Some(version) = &image.version else {
        // It compares the version that we name with its own; no other family is told one.
        if family == Family::Xiaozhi && image.kind == Kind::App {
            return Err(Misfit::VersionUnknown);
        }
        return Ok(());
    };
    if image.kind == Kind::App {
        version::check(family, version).map_err(|why| Misfit::Version {
            version: version.clone(),
            why,
        })?;
    }
    if let (Family::Xiaozhi, Some(has_assets)) = (family, target.has_assets) {
        let major = version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok());
        let wants_assets = major.is_some_and(|major| major >= 2);
        if image.kind == Kind::App && wants_assets != has_assets {
            return Err(Misfit::XiaozhiLayout {
                version: version.clone(),
            });
        }
    }
    let Some(running) = &target.version else {
        return Ok(());
    };
    match version::compare(family, version, running) {
        Some(Ordering::Less) => warnings.push(Warning::Older {
            from: running.clone(),
            to: version.clone(),
        }),
        Some(Ordering::Equal) => warnings.push(Warning::SameVersion {
            version: version.clone(),
        }),
        _ => {}
    }
    Ok(())
}

/// ESPEasy's rule: the same environment is safe; another one that agrees in
/// chip, flash layout and file system starts, but may lack parts; any other
/// loses the settings or does not start.
fn variant_fits(image: &Image, target: &Target, warnings: &mut Vec<Warning>) -> Result<(), Misfit> {
    let (Some(Family::EspEasy), Some(ours), Some(theirs)) =
        (target.family, &image.variant, &target.variant)
    else {
        return Ok(());
    };
    // A device reports the whole name of its build.
    let theirs = match theirs.strip_prefix("ESP_Easy_mega_") {
        Some(rest) => rest
            .split_once('_')
            .map_or(rest, |(_, environment)| environment),
        None => theirs,
    };
    let theirs = theirs.trim_end_matches(".bin");
    if ours == theirs {
        return Ok(());
    }
    let (image, device) = (ours.clone(), String::from(theirs));
    if hard_tokens(ours) != hard_tokens(theirs) {
        return Err(Misfit::Variant { image, device });
    }
    warnings.push(Warning::OtherVariant { image, device });
    Ok(())
}

/// Flash layout and file system in an ESPEasy environment's name. The chip is
/// compared by the image itself, one core by its own rule.
fn hard_tokens(environment: &str) -> Vec<&str> {
    let is_flash = |word: &str| {
        let mut rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == word.len() || !rest.starts_with('M') {
            return false;
        }
        rest = rest[1..].trim_start_matches(|c: char| c.is_ascii_digit());
        matches!(rest, "" | "M" | "k")
    };
    let mut tokens: Vec<&str> = environment
        .split('_')
        .filter(|word| is_flash(word) || word.eq_ignore_ascii_case("LittleFS"))
        .collect();
    tokens.sort_unstable();
    tokens
}

/// Why a device cannot take an image, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// Not for the air.
    #[error(
        "a factory file is for a cable: it begins with the boot loader, and a device would store all of it as its application. Take the application out of it: {length} bytes from {offset:#x}"
    )]
    Factory {
        /// Where the application begins, in bytes.
        offset: u64,
        /// How many bytes it has.
        length: u64,
    },
    /// Not for the air.
    #[error(
        "a boot loader is for a cable: no device takes it over the air. Take the application image of the build, often firmware.bin"
    )]
    Bootloader,
    /// Not for the air.
    #[error(
        "a partition table is for a cable: no device takes it over the air. Take the application image of the build, often firmware.bin"
    )]
    PartitionTable,
    /// Only ESP8266 unpacks.
    #[error("only ESP8266 takes gzip, and this image is for {chip}: unpack it, and offer the .bin")]
    Gzip {
        /// The image's chip.
        chip: Chip,
    },
    /// Too old to unpack.
    #[error("Tasmota {version} takes no gzip, which came with 8.2: offer the .bin without .gz")]
    GzipTooOld {
        /// What runs.
        version: String,
    },
    /// The device has not told its chip.
    #[error(
        "the device has not told its chip, and an image for another one stops it: wait until it was asked, or name it with `device set NAME --chip CHIP`"
    )]
    ChipUnknown,
    /// Another chip.
    #[error("the image is for {image}, the device has {device}: take the build for {device}")]
    Chip {
        /// The image's.
        image: Chip,
        /// The device's.
        device: Chip,
    },
    /// The chip is too old.
    #[error(
        "the image needs chip revision v{}.{} or later, the device has v{}.{}: take a build for older chips", min / 100, min % 100, device / 100, device % 100
    )]
    RevisionTooLow {
        /// Lowest revision: major × 100 + minor.
        min: u16,
        /// The device's.
        device: u16,
    },
    /// The chip is too new.
    #[error(
        "the image is for chip revisions up to v{}.{}, the device has v{}.{}: take a newer build", max / 100, max % 100, device / 100, device % 100
    )]
    RevisionTooHigh {
        /// Highest revision: major × 100 + minor.
        max: u16,
        /// The device's.
        device: u16,
    },
    /// Built for two cores.
    #[error(
        "the device's ESP32 has one core, and this build needs two: take the build for one core (tasmota32solo1.bin, ESP32solo1)"
    )]
    OneCore,
    /// The device has not told its firmware.
    #[error(
        "which firmware the device runs is not known: wait until it was seen, or name it with `device set NAME --family FAMILY`"
    )]
    FamilyUnknown,
    /// Another firmware.
    #[error(
        "the image is {image}, the device runs {device}: another firmware loses the device's settings, its login among them. Change it by cable, then enrol the device again"
    )]
    Family {
        /// The image's.
        image: Family,
        /// The device's.
        device: Family,
    },
    /// The device checks for it.
    #[error(
        "the image does not describe itself (no ESP-IDF application descriptor), and this device refuses such an image: take the application image of the build"
    )]
    NoDescriptor,
    /// For another slot.
    #[error("a {kind} image cannot go to the {slot} slot: take the image for that slot")]
    Slot {
        /// What the image is.
        kind: Kind,
        /// What was asked.
        slot: Slot,
    },
    /// The layout has none.
    #[error(
        "the device has no safeboot partition: upgrade its main image alone, or change its partitions by cable first"
    )]
    NoSafeboot,
    /// Nothing to write to.
    #[error(
        "the device has a single application partition and cannot be upgraded over the air: use a cable"
    )]
    NoOta,
    /// The device has not told its layout.
    #[error(
        "how the device's flash is divided is not known: wait until it was asked, or name it with `device set NAME --layout dual|safeboot`"
    )]
    LayoutUnknown,
    /// The device has not told the slot's size.
    #[error(
        "how large the slot is, is not known: wait until the device was asked, or name it with `device set NAME --slot-size BYTES`"
    )]
    SlotSizeUnknown,
    /// Larger than the slot.
    #[error(
        "the image has {size} bytes, the slot {space}: take a smaller build, or change the partitions by cable"
    )]
    TooLarge {
        /// The image's, in bytes.
        size: u64,
        /// The slot's, in bytes.
        space: u64,
    },
    /// The device refuses it.
    #[error(
        "the image was built for {image} bytes of flash, the device has {device} and will refuse it: take the build for the device's flash"
    )]
    FlashSize {
        /// For which it was built, in bytes.
        image: u32,
        /// Which there is, in bytes.
        device: u32,
    },
    /// The device could not compare it.
    #[error("version {version} will not do: {why}")]
    Version {
        /// The image's.
        version: String,
        /// What is wrong with it.
        why: VersionError,
    },
    /// The device must be told a version.
    #[error(
        "the image does not tell its version, which the device compares with its own: name it when you add the image"
    )]
    VersionUnknown,
    /// Versions before 2 and later ones divide the flash differently.
    #[error(
        "version {version} needs the other partition table (xiaozhi 2 added a partition for assets): flash the device once by cable"
    )]
    XiaozhiLayout {
        /// The image's.
        version: String,
    },
    /// A build for another board.
    #[error(
        "the image is the build {image}, the device runs {device}, whose flash layout or file system differs: it would lose its settings. Take the build {device}"
    )]
    Variant {
        /// The image's.
        image: String,
        /// The device's.
        device: String,
    },
    /// Nothing to do.
    #[error("the device runs exactly this image already: there is nothing to do")]
    AlreadyInstalled,
}

impl Misfit {
    /// A short word for programs, the same in every language.
    pub fn code(&self) -> &'static str {
        match self {
            Misfit::Factory { .. } => "factory",
            Misfit::Bootloader => "bootloader",
            Misfit::PartitionTable => "partition-table",
            Misfit::Gzip { .. } => "gzip",
            Misfit::GzipTooOld { .. } => "gzip-too-old",
            Misfit::ChipUnknown => "chip-unknown",
            Misfit::Chip { .. } => "chip",
            Misfit::RevisionTooLow { .. } => "revision-too-low",
            Misfit::RevisionTooHigh { .. } => "revision-too-high",
            Misfit::OneCore => "one-core",
            Misfit::FamilyUnknown => "family-unknown",
            Misfit::Family { .. } => "family",
            Misfit::NoDescriptor => "no-descriptor",
            Misfit::Slot { .. } => "slot",
            Misfit::NoSafeboot => "no-safeboot",
            Misfit::NoOta => "no-ota",
            Misfit::LayoutUnknown => "layout-unknown",
            Misfit::SlotSizeUnknown => "slot-size-unknown",
            Misfit::TooLarge { .. } => "too-large",
            Misfit::FlashSize { .. } => "flash-size",
            Misfit::Version { .. } => "version",
            Misfit::VersionUnknown => "version-unknown",
            Misfit::XiaozhiLayout { .. } => "xiaozhi-layout",
            Misfit::Variant { .. } => "variant",
            Misfit::AlreadyInstalled => "already-installed",
        }
    }
}

/// The first Tasmota that unpacks gzip.
const FIRST_WITH_GZIP: &str = "8.2.0";
