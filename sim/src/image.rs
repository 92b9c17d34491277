//! Images for pretend devices: files in the vendor's format that carry, beside the marks of their
//! family, a block of ours that tells a pretend device what it becomes when it boots the file.
//!
//! [`build`] writes them, [`verify`] looks at them as the boot loader of a real chip does, and
//! [`Marks::of`] reads them back. A file of a real project has no block of ours; what it is, is then
//! taken from its descriptor.

mod check;
mod chip;

pub use check::{ImageFault, unpack, verify};
pub use chip::ImageChip;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// What an image is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSpec {
    /// Whose firmware.
    pub family: ImageFamily,
    /// For which chip. Default ESP32-C3.
    pub chip: ImageChip,
    /// Version, as the device will report it.
    pub version: String,
    /// Which of the images of a device with two of them.
    pub variant: Variant,
    /// Image tag: Tasmota's in parentheses, ESPEasy's environment, xiaozhi's board. None takes the
    /// family's usual one.
    pub tag: Option<String>,
    /// Project name in the descriptor. None takes the family's usual one.
    pub project: Option<String>,
    /// Whether the firmware can speak MQTT over TLS. Default true, false for the ESP8266.
    pub tls: bool,
    /// Length of the file in bytes, at least; rounded up to what the format asks for.
    pub size: usize,
    /// Packed by gzip, which only the ESP8266 unpacks.
    pub gzip: bool,
    /// How it behaves once it runs.
    pub behaviour: Behaviour,
    /// What is wrong with the file.
    pub spoilt: Option<Spoilt>,
    /// Anything; two images that differ in nothing else differ in their hashes by it.
    pub salt: u64,
}

impl ImageSpec {
    /// A sound main image of 64 KiB.
    pub fn new(family: ImageFamily, chip: ImageChip, version: impl Into<String>) -> Self {
        ImageSpec {
            family,
            chip,
            version: version.into(),
            variant: Variant::Main,
            tag: None,
            project: None,
            tls: chip != ImageChip::ESP8266,
            size: 64 * 1024,
            gzip: false,
            behaviour: Behaviour::Good,
            spoilt: None,
            salt: 0,
        }
    }

    /// The image tag it will carry.
    pub fn tag(&self) -> String {
        self.tag.clone().unwrap_or_else(|| match self.family {
            ImageFamily::Tasmota => match self.variant {
                Variant::Safeboot => "release-safeboot".into(),
                Variant::Minimal => "release-minimal".into(),
                Variant::Main => format!("release-{}", self.chip.tasmota_name()),
            },
            ImageFamily::EspEasy => format!("normal_{}_4M316k", self.chip.espeasy_name()),
            ImageFamily::EspHome | ImageFamily::Idf => String::new(),
            ImageFamily::Xiaozhi => "bread-compact-wifi".into(),
        })
    }

    fn project(&self) -> String {
        self.project.clone().unwrap_or_else(|| {
            match self.family {
                // What the prebuilt core of Arduino builds leaves there.
                ImageFamily::Tasmota | ImageFamily::EspEasy => "arduino-lib-builder",
                ImageFamily::EspHome => "living-room",
                ImageFamily::Xiaozhi => "xiaozhi",
                ImageFamily::Idf => "app",
            }
            .to_owned()
        })
    }

    /// The name that the family's own build would give the file; a device that derives other names
    /// from it finds them (tasmota.md §2.2).
    pub fn file_name(&self) -> String {
        let packed = if self.gzip { ".gz" } else { "" };
        match self.family {
            ImageFamily::Tasmota => {
                let variant = match self.variant {
                    Variant::Main => "",
                    Variant::Safeboot => "-safeboot",
                    Variant::Minimal => "-minimal",
                };
                format!("{}{variant}.bin{packed}", self.chip.tasmota_name())
            }
            ImageFamily::EspEasy => format!("{}.bin{packed}", self.espeasy_stem()),
            ImageFamily::Xiaozhi => "xiaozhi.bin".into(),
            ImageFamily::EspHome => "firmware.ota.bin".into(),
            ImageFamily::Idf => "app.bin".into(),
        }
    }

    fn espeasy_stem(&self) -> String {
        format!("ESP_Easy_mega_{}_{}", self.version, self.tag())
    }

    fn marks(&self) -> Marks {
        Marks {
            family: self.family,
            chip: self.chip,
            version: self.version.clone(),
            tag: self.tag(),
            variant: self.variant,
            tls: self.tls,
            behaviour: self.behaviour,
        }
    }

    /// What a search in a real image of the family finds, too.
    fn family_marks(&self) -> Vec<String> {
        match self.family {
            ImageFamily::Tasmota => {
                let kind = if self.chip == ImageChip::ESP8266 {
                    "ESP8266"
                } else {
                    "ESP32"
                };
                let mut marks = vec![
                    self.tag(),
                    "Tasmota".into(),
                    "TASMOTA".into(),
                    format!("{kind}-http-Update"),
                    format!("x-{kind}-version"),
                    "cmnd/".into(),
                ];
                if self.tls {
                    marks.push("TLS connection error".into());
                    marks.push("MqttFingerprint".into());
                }
                marks
            }
            ImageFamily::EspEasy => vec![self.espeasy_stem(), "ESP Easy Mega".into()],
            ImageFamily::EspHome => vec!["esphome".into(), "esphome.helpers".into()],
            ImageFamily::Xiaozhi => vec!["xiaozhi".into(), self.tag()],
            ImageFamily::Idf => Vec::new(),
        }
    }
}

/// Whose firmware an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFamily {
    /// Tasmota.
    Tasmota,
    /// ESPEasy.
    EspEasy,
    /// ESPHome.
    EspHome,
    /// xiaozhi-esp32.
    Xiaozhi,
    /// Anything else built with ESP-IDF.
    Idf,
}

/// Which of the images of a device with two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The one that does the work.
    Main,
    /// Tasmota's in the factory partition of an ESP32.
    Safeboot,
    /// Tasmota's stopover on an ESP8266.
    Minimal,
}

/// What an image does once it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Works.
    Good,
    /// Restarts after an exception, a few seconds after every boot.
    Crash,
    /// Runs, and never reaches the network.
    Mute,
    /// Runs, and its own check of itself never succeeds (xiaozhi: every OTA check fails).
    Unconfirmed,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoilt {
    /// The last third is missing.
    Truncated,
    /// A byte of a segment was changed, and the hash made anew.
    Checksum,
    /// A byte was changed where only the hash notices.
    Hash,
    /// A web page that says that nothing was found.
    Html,
    /// The file of a linker.
    Elf,
    /// The image behind a boot loader and a partition table, for writing by cable.
    Factory,
    /// A boot loader.
    Bootloader,
    /// Encrypted: no byte is what it was.
    Encrypted,
}

macro_rules! words {
    ($type:ty, $what:literal, $($variant:path => $word:literal),+ $(,)?) => {
        impl $type {
            /// The word on the command line.
            pub const fn as_str(self) -> &'static str {
                match self { $($variant => $word),+ }
            }
        }
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($variant),)+
                    _ => Err(format!("no {} `{text}`; there are: {}", $what, [$($word),+].join(", "))),
                }
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(ImageFamily, "family",
    ImageFamily::Tasmota => "tasmota", ImageFamily::EspEasy => "espeasy",
    ImageFamily::EspHome => "esphome", ImageFamily::Xiaozhi => "xiaozhi", ImageFamily::Idf => "idf");
words!(Variant, "variant",
    Variant::Main => "main", Variant::Safeboot => "safeboot", Variant::Minimal => "minimal");
words!(Behaviour, "behaviour",
    Behaviour::Good => "good", Behaviour::Crash => "crash", Behaviour::Mute => "mute",
    Behaviour::Unconfirmed => "unconfirmed");
words!(Spoilt, "damage",
    Spoilt::Truncated => "truncated", Spoilt::Checksum => "checksum", Spoilt::Hash => "hash",
    Spoilt::Html => "html", Spoilt::Elf => "elf", Spoilt::Factory => "factory",
    Spoilt::Bootloader => "bootloader", Spoilt::Encrypted => "encrypted");

/// What a pretend device becomes when it boots an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Whose firmware.
    pub family: ImageFamily,
    /// For which chip.
    pub chip: ImageChip,
    /// Version that the device reports.
    pub version: String,
    /// Image tag.
    pub tag: String,
    /// Main, safeboot or minimal.
    pub variant: Variant,
    /// Whether it can speak MQTT over TLS.
    pub tls: bool,
    /// How it behaves.
    pub behaviour: Behaviour,
}

impl Marks {
    /// Reads the block of ours out of an unpacked image; `None` where there is none.
    pub fn of(image: &[u8]) -> Option<Marks> {
        let at = find(image, MARK)? + MARK.len();
        let end = image[at..].iter().position(|byte| *byte == 0)? + at;
        let block: Value = serde_json::from_slice(&image[at..end]).ok()?;
        let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
        Some(Marks {
            family: text("family").parse().ok()?,
            chip: text("chip").parse().ok()?,
            version: text("version"),
            tag: text("tag"),
            variant: text("variant").parse().ok()?,
            tls: block["tls"].as_bool()?,
            behaviour: text("behaves").parse().ok()?,
        })
    }

    /// What can be told of an image that we have not made: version and project by its descriptor,
    /// and that it is a safeboot by the word in it.
    pub fn guess(image: &[u8], family: ImageFamily, chip: ImageChip) -> Marks {
        let word = |at: usize| {
            let field = image.get(at..at + 32).unwrap_or_default();
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(32);
            String::from_utf8_lossy(&field[..end.min(field.len())]).into_owned()
        };
        let described = image.get(32..36) == Some(&DESCRIPTOR_MAGIC);
        let safeboot = family == ImageFamily::Tasmota && find(image, b"safeboot\0").is_some();
        Marks {
            family,
            chip,
            version: if described { word(48) } else { String::new() },
            tag: if described { word(80) } else { String::new() },
            variant: if safeboot {
                Variant::Safeboot
            } else {
                Variant::Main
            },
            tls: find(image, b"MqttFingerprint").is_some(),
            behaviour: Behaviour::Good,
        }
    }

    fn block(&self) -> Vec<u8> {
        let words = json!({
            "family": self.family.as_str(),
            "chip": self.chip.as_str(),
            "version": self.version,
            "tag": self.tag,
            "variant": self.variant.as_str(),
            "tls": self.tls,
            "behaves": self.behaviour.as_str(),
        });
        let mut block = MARK.to_vec();
        block.extend_from_slice(words.to_string().as_bytes());
        block.push(0);
        block
    }
}

/// The bytes of an image.
pub fn build(spec: &ImageSpec) -> Vec<u8> {
    let image = if spec.chip == ImageChip::ESP8266 {
        esp8266(spec)
    } else {
        esp32(spec)
    };
    let image = match spec.spoilt {
        None | Some(Spoilt::Checksum | Spoilt::Hash) => image,
        Some(Spoilt::Truncated) => image[..image.len() * 2 / 3].to_vec(),
        Some(Spoilt::Html) => {
            b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>".repeat(80)
        }
        Some(Spoilt::Elf) => [b"\x7fELF\x01\x01\x01".as_slice(), &image].concat(),
        Some(Spoilt::Factory) => factory(spec, &image),
        Some(Spoilt::Bootloader) => bootloader(spec),
        Some(Spoilt::Encrypted) => encrypted(&image),
    };
    if spec.gzip { pack(&image) } else { image }
}

/// An image of the ESP32 family (esp-image.md §2): descriptor, marks and filling in the first
/// segment, a few instructions in the second, checksum, SHA-256.
fn esp32(spec: &ImageSpec) -> Vec<u8> {
    let mut first = descriptor(spec);
    for mark in spec.family_marks() {
        first.extend_from_slice(mark.as_bytes());
        first.push(0);
    }
    first.extend_from_slice(&spec.marks().block());
    let second: Vec<u8> = (0..16).collect();
    let frame = HEADER_32 + 8 + 8 + second.len() + 32;
    fill(&mut first, spec.size.saturating_sub(frame), spec);

    let mut image = vec![0xe9, 2, 2, 0x20];
    image.extend_from_slice(&0x4038_0000_u32.to_le_bytes());
    image.extend_from_slice(&[0xee, 0, 0, 0]);
    image.extend_from_slice(&spec.chip.id().unwrap_or_default().to_le_bytes());
    // No minimum revision, any maximum, and a hash at the end.
    image.extend_from_slice(&[0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 1]);
    segment(&mut image, 0x3c00_0020, &first);
    segment(&mut image, 0x4038_0000, &second);
    if spec.spoilt == Some(Spoilt::Checksum) {
        finish(&mut image, checksum([&first, &second]) ^ 0x55);
    } else {
        finish(&mut image, checksum([&first, &second]));
    }
    let mut hash: [u8; 32] = Sha256::digest(&image).into();
    if spec.spoilt == Some(Spoilt::Hash) {
        hash[7] ^= 1;
    }
    image.extend_from_slice(&hash);
    image
}

/// The form that Arduino builds for the ESP8266 have: the little boot loader at 0, the application
/// at 0x1000, both with a checksum, neither with a hash (esp-image.md §3).
fn esp8266(spec: &ImageSpec) -> Vec<u8> {
    let flash = spec.chip_flash_nibble();
    let header = |segments: u8, entry: u32| {
        let mut header = vec![0xe9, segments, 3, flash];
        header.extend_from_slice(&entry.to_le_bytes());
        header
    };
    let mut image = header(1, 0x4010_f48c);
    let loader = [0x21_u8; 64];
    segment(&mut image, 0x4010_f000, &loader);
    finish(&mut image, checksum([&loader]));
    image.resize(0x1000, 0);

    let mut body = Vec::new();
    for mark in spec.family_marks() {
        body.extend_from_slice(mark.as_bytes());
        body.push(0);
    }
    body.extend_from_slice(&spec.marks().block());
    let ram = [1_u8, 2, 3, 4];
    fill(
        &mut body,
        spec.size.saturating_sub(0x1000 + 8 + 8 + 8 + 4),
        spec,
    );
    let mut app = header(2, 0x4010_0004);
    segment(&mut app, 0x4020_1010, &body);
    segment(&mut app, 0x4010_0000, &ram);
    let sum = checksum([body.as_slice(), &ram]);
    let wrong = matches!(spec.spoilt, Some(Spoilt::Checksum | Spoilt::Hash));
    finish(&mut app, if wrong { sum ^ 0x55 } else { sum });
    image.extend_from_slice(&app);
    image
}

impl ImageSpec {
    /// The flash size that an ESP8266 image asks for: 1 MB up to what fits there, else 4 MB.
    fn chip_flash_nibble(&self) -> u8 {
        if self.size <= 1_000_000 { 0x20 } else { 0x40 }
    }
}

/// `esp_app_desc_t` (esp-image.md §2).
fn descriptor(spec: &ImageSpec) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    let mut put = |at: usize, field: &[u8], length: usize| {
        let length = field.len().min(length);
        bytes[at..at + length].copy_from_slice(&field[..length]);
    };
    put(0, &DESCRIPTOR_MAGIC, 4);
    // Arduino builds leave the version of the core there, not their own.
    let version = match spec.family {
        ImageFamily::Tasmota | ImageFamily::EspEasy => "esp-idf: v5.3.3",
        _ => spec.version.as_str(),
    };
    put(16, version.as_bytes(), 31);
    put(48, spec.project().as_bytes(), 31);
    put(80, b"12:34:56", 15);
    put(96, b"Nov 20 2026", 15);
    put(112, b"v5.3.3", 31);
    let elf = Sha256::digest(format!("{spec:?}").as_bytes());
    put(144, &elf, 32);
    put(178, &[0xff, 0xff, 16], 3);
    bytes
}

/// What a file for the cable looks like: boot loader, partition table at 0x8000, application at
/// 0x10000.
fn factory(spec: &ImageSpec, app: &[u8]) -> Vec<u8> {
    let mut file = vec![0xff; 0x10000];
    let at = spec.chip.bootloader_offset();
    let loader = bootloader(spec);
    file[at..at + loader.len()].copy_from_slice(&loader);
    let mut table = Vec::new();
    for (kind, subtype, offset, size, label) in [
        (1, 2, 0x9000_u32, 0x5000_u32, "nvs"),
        (1, 0, 0xe000, 0x2000, "otadata"),
        (0, 0, 0x10000, 0xd0000, "safeboot"),
        (0, 0x10, 0xe0000, 0x2d0000, "app0"),
    ] {
        table.extend_from_slice(&[0xaa, 0x50, kind, subtype]);
        table.extend_from_slice(&offset.to_le_bytes());
        table.extend_from_slice(&size.to_le_bytes());
        let mut name = [0_u8; 16];
        name[..label.len()].copy_from_slice(label.as_bytes());
        table.extend_from_slice(&name);
        table.extend_from_slice(&[0; 4]);
    }
    let hash: [u8; 16] = md5::Md5::digest(&table).into();
    table.extend_from_slice(&[0xeb, 0xeb]);
    table.extend_from_slice(&[0xff; 14]);
    table.extend_from_slice(&hash);
    file[0x8000..0x8000 + table.len()].copy_from_slice(&table);
    file.extend_from_slice(app);
    file
}

/// A second-stage boot loader: an image without a descriptor.
fn bootloader(spec: &ImageSpec) -> Vec<u8> {
    let mut image = vec![0xe9, 1, 2, 0x20];
    image.extend_from_slice(&0x403c_0000_u32.to_le_bytes());
    image.extend_from_slice(&[0xee, 0, 0, 0]);
    image.extend_from_slice(&spec.chip.id().unwrap_or_default().to_le_bytes());
    image.extend_from_slice(&[0, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 1]);
    let body: Vec<u8> = (0..0x3000_u32).map(|at| (at * 7 % 251) as u8).collect();
    segment(&mut image, 0x403c_0000, &body);
    finish(&mut image, checksum([&body]));
    let hash = Sha256::digest(&image);
    image.extend_from_slice(&hash);
    image
}

fn encrypted(image: &[u8]) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut bytes: Vec<u8> = image.iter().map(|byte| byte ^ next(&mut state)).collect();
    if matches!(bytes[0], 0xe9 | 0x1f) {
        bytes[0] = 0x33;
    }
    bytes
}

/// Bytes that do not compress, up to `length`, which is rounded up to a multiple of four.
fn fill(body: &mut Vec<u8>, length: usize, spec: &ImageSpec) {
    let seed: [u8; 32] = Sha256::digest(format!("{spec:?}").as_bytes()).into();
    let mut state = u64::from_le_bytes(seed[..8].try_into().unwrap_or([1; 8])) | 1;
    let length = length.max(body.len()).next_multiple_of(4);
    while body.len() < length {
        body.push(next(&mut state));
    }
}

fn next(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 32) as u8
}

fn segment(image: &mut Vec<u8>, address: u32, data: &[u8]) {
    image.extend_from_slice(&address.to_le_bytes());
    image.extend_from_slice(&(data.len() as u32).to_le_bytes());
    image.extend_from_slice(data);
}

fn checksum<'a>(parts: impl IntoIterator<Item = &'a (impl AsRef<[u8]> + ?Sized + 'a)>) -> u8 {
    parts
        .into_iter()
        .flat_map(|part| part.as_ref().iter())
        .fold(0xef, |sum, byte| sum ^ byte)
}

/// Zeros until the checksum is the last byte of a block of 16.
fn finish(image: &mut Vec<u8>, checksum: u8) {
    while image.len() % 16 != 15 {
        image.push(0);
    }
    image.push(checksum);
}

/// A gzip file with one member (RFC 1952).
fn pack(data: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    file.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(data, 6));
    file.extend_from_slice(&check::crc32(data).to_le_bytes());
    file.extend_from_slice(&(data.len() as u32).to_le_bytes());
    file
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (&first, _) = needle.split_first()?;
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first) {
        if haystack[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// What our block begins with.
const MARK: &[u8] = b"safeport-pretend-image-1:";
/// Magic word of the application descriptor.
const DESCRIPTOR_MAGIC: [u8; 4] = [0x32, 0x54, 0xcd, 0xab];
/// Length of the header of the ESP32 family.
const HEADER_32: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_boots_an_image_made_for_it_and_reads_its_marks() {
        for chip in ImageChip::ALL {
            let mut spec = ImageSpec::new(ImageFamily::Tasmota, chip, "15.1.0");
            for size in [4096, 65_536, 300_001] {
                spec.size = size;
                let image = build(&spec);
                assert!(image.len() >= size && image.len() < size + 8192, "{chip}");
                assert_eq!(verify(&image, chip), Ok(()), "{chip}");
                let marks = Marks::of(&image).expect("marks");
                assert_eq!((marks.version.as_str(), marks.chip), ("15.1.0", chip));
            }
        }
    }

    #[test]
    fn the_measured_images_are_sound() {
        // esp-image.md §6, V1 and V2: accepted by the vendor's tool.
        let image = unhex(
            "e902022000003840ee0000000500000300c70000000000012000003c000100003254cdab000000000000000000000000312e322e332d74657374000000000000\
             00000000000000000000000000000000686f6d65706f72745f747600000000000000000000000000000000000000000031323a33343a35360000000000000000\
             4a616e2020322032303235000000000076352e332e310000000000000000000000000000000000000000000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
             aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0000ffff1000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\
             00000000000000000000000000000000000000000000000000000000000000000000384010000000000102030405060708090a0b0c0d0e0f00000000000000ab\
             3e7a7941984b0e6fc5a369ffb75b7da06bd7153406797063f7bb280e5ba68bda",
        );
        assert_eq!(image.len(), 352);
        assert_eq!(verify(&image, ImageChip::ESP32C3), Ok(()));
        assert!(matches!(
            verify(&image, ImageChip::ESP32),
            Err(ImageFault::Chip { id: 5 })
        ));
    }

    #[test]
    fn each_damage_is_noticed_by_the_boot_loader() {
        for chip in [ImageChip::ESP32, ImageChip::ESP8266] {
            for spoilt in [
                Spoilt::Truncated,
                Spoilt::Checksum,
                Spoilt::Hash,
                Spoilt::Html,
                Spoilt::Elf,
                Spoilt::Encrypted,
            ] {
                let mut spec = ImageSpec::new(ImageFamily::Tasmota, chip, "15.1.0");
                spec.spoilt = Some(spoilt);
                assert!(verify(&build(&spec), chip).is_err(), "{chip} {spoilt}");
            }
        }
    }

    #[test]
    fn a_packed_image_unpacks_to_the_same_bytes() {
        let mut spec = ImageSpec::new(ImageFamily::Tasmota, ImageChip::ESP8266, "15.1.0");
        let plain = build(&spec);
        spec.gzip = true;
        // The filling is made from the specification, so the packed one has a body of its own.
        let packed = build(&spec);
        assert_eq!(packed[..3], [0x1f, 0x8b, 8]);
        let unpacked = unpack(&packed).expect("gzip");
        assert_eq!(unpacked.len(), plain.len());
        assert_eq!(verify(&unpacked, ImageChip::ESP8266), Ok(()));
        let mut torn = packed.clone();
        torn.truncate(packed.len() / 2);
        assert!(unpack(&torn).is_err());
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect()
    }
}
