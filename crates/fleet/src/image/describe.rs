//! From what a file holds to what it is: family, kind, version.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::file::Found;
use super::single::Contents;
use super::table::Partition;
use super::{Image, Kind, Part, Warning, marks};
use crate::{Chip, Family, version};

impl Image {
    /// Nothing known yet.
    pub(super) fn empty() -> Image {
        Image {
            sha256: [0; 32],
            md5: [0; 16],
            size: 0,
            file_name: String::new(),
            family: None,
            chip: None,
            kind: Kind::App,
            project: None,
            version: None,
            variant: None,
            idf_version: None,
            built: None,
            secure_version: None,
            elf_sha256: None,
            appended_sha256: None,
            flash_size: None,
            min_chip_rev: None,
            max_chip_rev: None,
            single_core: false,
            gzip: None,
            signed: false,
            tls: None,
            length: 0,
            parts: Vec::new(),
            partitions: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Fills in what was found in the file that `image` begins to describe.
pub(super) fn describe(image: Image, found: Found) -> Image {
    match found {
        Found::Image(contents) => describe_app(image, *contents),
        Found::Factory { partitions, apps } => describe_factory(image, partitions, apps),
        Found::PartitionTable(partitions) => Image {
            kind: Kind::PartitionTable,
            length: image.size,
            partitions,
            ..image
        },
        Found::Assets => Image {
            kind: Kind::Assets,
            family: Some(Family::Xiaozhi),
            length: image.size,
            version: version::in_file_name(&image.file_name),
            ..image
        },
    }
}

/// A factory file is described by the application that it is made for.
fn describe_factory(
    image: Image,
    partitions: Vec<Partition>,
    apps: Vec<(Partition, Contents)>,
) -> Image {
    let mut described = Vec::new();
    for (partition, contents) in apps {
        let length = contents.length;
        let app = describe_app(
            Image {
                size: length,
                file_name: image.file_name.clone(),
                ..Image::empty()
            },
            contents,
        );
        let part = Part {
            label: partition.label,
            offset: u64::from(partition.offset),
            length,
            subtype: partition.subtype,
            kind: app.kind,
            version: app.version.clone(),
        };
        described.push((part, app));
    }
    let mut factory = Image {
        kind: Kind::Factory,
        length: image.size,
        partitions,
        parts: described.iter().map(|(part, _)| part.clone()).collect(),
        ..image
    };
    let main = super::extract_app(&factory).cloned();
    let app = described
        .into_iter()
        .find(|(part, _)| Some(part) == main.as_ref());
    if let Some((_, app)) = app {
        factory = Image {
            family: app.family,
            chip: app.chip,
            project: app.project,
            version: app.version,
            variant: app.variant,
            idf_version: app.idf_version,
            built: app.built,
            secure_version: app.secure_version,
            elf_sha256: app.elf_sha256,
            appended_sha256: app.appended_sha256,
            flash_size: app.flash_size,
            min_chip_rev: app.min_chip_rev,
            max_chip_rev: app.max_chip_rev,
            single_core: app.single_core,
            signed: app.signed,
            tls: app.tls,
            warnings: app.warnings,
            ..factory
        };
    }
    factory
}

fn describe_app(mut image: Image, contents: Contents) -> Image {
    let size = image.gzip.as_ref().map_or(image.size, |inner| inner.size);
    image.chip = Some(contents.chip);
    image.length = contents.length;
    image.appended_sha256 = contents.hash;
    image.signed = contents.signed;
    image.flash_size = contents.flash_size;
    image.min_chip_rev = contents.min_chip_rev;
    image.max_chip_rev = contents.max_chip_rev;
    if size > contents.length {
        let bytes = size - contents.length;
        image.warnings.push(Warning::Trailing { bytes });
    }
    if contents.chip.is_esp32() {
        if contents.hash.is_none() {
            image.warnings.push(Warning::NoHash);
        }
        if contents.descriptor.is_none() {
            if contents.length < LARGEST_BOOTLOADER {
                image.kind = Kind::Bootloader;
                return image;
            }
            image.warnings.push(Warning::NoDescriptor);
        }
    }
    // Arduino's prebuilt core describes itself, not what is built on it.
    let is_core = |project: &str| project == "arduino-lib-builder";
    if let Some(descriptor) = contents.descriptor {
        let secure_version = descriptor.secure_version;
        image.secure_version = (secure_version > 0).then_some(secure_version);
        image.elf_sha256 = descriptor.elf_sha256;
        image.idf_version = filled(descriptor.idf_version);
        if !is_core(&descriptor.project) {
            image.project = filled(descriptor.project);
            image.version = filled(descriptor.version);
            image.built = filled(descriptor.built);
        }
    }
    image.family = family(&image, &contents.marks);
    describe_kind(&mut image, &contents.marks);
    describe_version(&mut image, &contents.marks);
    if image.family.is_none() {
        image.warnings.push(Warning::FamilyUnknown);
    }
    image
}

fn family(image: &Image, marks: &marks::Found) -> Option<Family> {
    let project = image.project.as_deref().unwrap_or_default();
    if marks.espeasy.is_some() {
        Some(Family::EspEasy)
    } else if project == "xiaozhi" || (marks.xiaozhi && marks.activation) {
        Some(Family::Xiaozhi)
    } else if marks.tasmota || project.starts_with("tasmota") {
        Some(Family::Tasmota)
    } else if marks.esphome {
        Some(Family::EspHome)
    } else if marks.tasmota_word {
        Some(Family::Tasmota)
    } else {
        None
    }
}

/// Which image of a family that has several.
fn describe_kind(image: &mut Image, marks: &marks::Found) {
    let name = image.file_name.to_ascii_lowercase();
    image.single_core = image.chip == Some(Chip::Esp32) && name.contains("solo1");
    match image.family {
        Some(Family::Tasmota) => {}
        Some(Family::EspEasy) => {
            let build = marks.espeasy.as_deref().unwrap_or_default();
            image.variant = build.splitn(5, '_').nth(4).map(ToString::to_string);
            let variant = image.variant.as_deref().unwrap_or_default();
            if variant.starts_with("safeboot") {
                image.kind = Kind::Safeboot;
            }
            image.single_core |= variant.contains("ESP32solo1");
            return;
        }
        _ => return,
    }
    // A main image holds the pattern that it makes the other's name from; the
    // other does not, and holds its own name as a word.
    let (kind, word, asks, named) = if image.chip == Some(Chip::Esp8266) {
        let named = name.contains("minimal");
        (Kind::Minimal, marks.minimal, marks.asks_minimal, named)
    } else {
        let named = name.contains("safeboot");
        (Kind::Safeboot, marks.safeboot, marks.asks_safeboot, named)
    };
    let is_it = !asks && (word || named);
    if is_it {
        image.kind = kind;
        image.variant = Some(kind.as_str().into());
    } else {
        image.variant = tasmota_variant(&image.file_name);
    }
    if named && asks {
        image.warnings.push(Warning::NameKind {
            name: kind,
            inside: Kind::App,
        });
    } else if is_it && !word {
        image.warnings.push(Warning::KindByName { kind });
    } else if is_it && !named {
        image.warnings.push(Warning::NameKind {
            name: Kind::App,
            inside: kind,
        });
    }
    image.tls = match (marks.tasmota_tls, marks.tasmota_options) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    if image.kind == Kind::Safeboot {
        match image.tls {
            Some(true) => {}
            Some(false) => image.warnings.push(Warning::NoMqttTls),
            None => image.warnings.push(Warning::MqttTlsUnknown),
        }
    }
}

fn describe_version(image: &mut Image, marks: &marks::Found) {
    let named = version::in_file_name(&image.file_name);
    let inside = match image.family {
        Some(Family::EspEasy) => marks
            .espeasy
            .as_deref()
            .and_then(|build| build.split('_').nth(3))
            .map(ToString::to_string),
        // Its version is a number that becomes text only when it runs. What the
        // descriptor holds may be that of anything underneath.
        Some(Family::Tasmota) => image
            .version
            .take()
            .filter(|text| version::check(Family::Tasmota, text).is_ok()),
        Some(Family::EspHome) => image
            .version
            .take()
            .or_else(|| marks.esphome_version.clone()),
        _ => image.version.take(),
    };
    if let (Some(name), Some(inside)) = (&named, &inside)
        && inside.strip_prefix('v').unwrap_or(inside) != name
    {
        image.warnings.push(Warning::NameVersion {
            name: name.clone(),
            inside: inside.clone(),
        });
    }
    image.version = inside.or(named);
    if image.version.is_none() {
        let example = match image.family {
            Some(Family::Tasmota) => "tasmota32c3-15.0.1.bin",
            Some(Family::Xiaozhi) => "bread-compact-wifi_2.4.2.bin",
            _ => "firmware-1.2.0.bin",
        };
        let example = example.into();
        image.warnings.push(Warning::NoVersion { example });
    }
}

/// `bluetooth` of `tasmota32c3-bluetooth.bin`.
fn tasmota_variant(file_name: &str) -> Option<String> {
    let stem = file_name.split('.').next()?;
    let (_, variant) = stem.split_once('-')?;
    let is_word = |word: &str| word.len() > 2 && word.bytes().all(|b| b.is_ascii_lowercase());
    let word = variant.split('-').find(|word| is_word(word))?;
    Some(word.into())
}

fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Boot loaders end before the partition table; the smallest application that
/// does anything is larger.
const LARGEST_BOOTLOADER: u64 = 64 * 1024;
