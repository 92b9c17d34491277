//! The chips that firmware images are built for and that devices report.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// A chip of the ESP8266 and ESP32 line. An image runs on exactly one of them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each is the name of a chip")]
pub enum Chip {
    Esp8266,
    Esp32,
    Esp32S2,
    Esp32S3,
    Esp32S31,
    Esp32C2,
    Esp32C3,
    Esp32C5,
    Esp32C6,
    Esp32C61,
    Esp32E22,
    Esp32H2,
    Esp32H21,
    Esp32H4,
    Esp32P4,
}

impl Chip {
    /// Every chip, in the order in which help texts list them.
    pub const ALL: [Chip; 15] = [
        Chip::Esp8266,
        Chip::Esp32,
        Chip::Esp32S2,
        Chip::Esp32S3,
        Chip::Esp32S31,
        Chip::Esp32C2,
        Chip::Esp32C3,
        Chip::Esp32C5,
        Chip::Esp32C6,
        Chip::Esp32C61,
        Chip::Esp32E22,
        Chip::Esp32H2,
        Chip::Esp32H21,
        Chip::Esp32H4,
        Chip::Esp32P4,
    ];

    /// The word used on the command line and in the registry, as PlatformIO and
    /// ESP-IDF write it: `esp32c3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Chip::Esp8266 => "esp8266",
            Chip::Esp32 => "esp32",
            Chip::Esp32S2 => "esp32s2",
            Chip::Esp32S3 => "esp32s3",
            Chip::Esp32S31 => "esp32s31",
            Chip::Esp32C2 => "esp32c2",
            Chip::Esp32C3 => "esp32c3",
            Chip::Esp32C5 => "esp32c5",
            Chip::Esp32C6 => "esp32c6",
            Chip::Esp32C61 => "esp32c61",
            Chip::Esp32E22 => "esp32e22",
            Chip::Esp32H2 => "esp32h2",
            Chip::Esp32H21 => "esp32h21",
            Chip::Esp32H4 => "esp32h4",
            Chip::Esp32P4 => "esp32p4",
        }
    }

    /// The name as the maker prints it, which is also ESPHome's `chipFamily`:
    /// `ESP32-C3`.
    pub fn name(self) -> &'static str {
        match self {
            Chip::Esp8266 => "ESP8266",
            Chip::Esp32 => "ESP32",
            Chip::Esp32S2 => "ESP32-S2",
            Chip::Esp32S3 => "ESP32-S3",
            Chip::Esp32S31 => "ESP32-S31",
            Chip::Esp32C2 => "ESP32-C2",
            Chip::Esp32C3 => "ESP32-C3",
            Chip::Esp32C5 => "ESP32-C5",
            Chip::Esp32C6 => "ESP32-C6",
            Chip::Esp32C61 => "ESP32-C61",
            Chip::Esp32E22 => "ESP32-E22",
            Chip::Esp32H2 => "ESP32-H2",
            Chip::Esp32H21 => "ESP32-H21",
            Chip::Esp32H4 => "ESP32-H4",
            Chip::Esp32P4 => "ESP32-P4",
        }
    }

    /// The chip with this number in the header of an image. ESP8266 images carry
    /// no number; numbers of beta chips are none of ours.
    pub fn from_image_id(id: u16) -> Option<Chip> {
        Chip::ALL
            .into_iter()
            .find(|chip| chip.image_id() == Some(id))
    }

    /// The number in the header of an image, bytes 12 and 13.
    pub fn image_id(self) -> Option<u16> {
        Some(match self {
            Chip::Esp8266 => return None,
            Chip::Esp32 => 0,
            Chip::Esp32S2 => 2,
            Chip::Esp32C3 => 5,
            Chip::Esp32S3 => 9,
            Chip::Esp32C2 => 12,
            Chip::Esp32C6 => 13,
            Chip::Esp32H2 => 16,
            Chip::Esp32P4 => 18,
            Chip::Esp32C61 => 20,
            Chip::Esp32C5 => 23,
            Chip::Esp32H21 => 25,
            Chip::Esp32H4 => 28,
            Chip::Esp32E22 => 31,
            Chip::Esp32S31 => 32,
        })
    }

    /// Where the boot loader lies in flash, in bytes from its start.
    pub fn bootloader_offset(self) -> u32 {
        match self {
            Chip::Esp32 | Chip::Esp32S2 => 0x1000,
            Chip::Esp32P4 | Chip::Esp32C5 | Chip::Esp32H4 | Chip::Esp32S31 => 0x2000,
            _ => 0,
        }
    }

    /// Whether the chip belongs to the ESP32 family.
    pub fn is_esp32(self) -> bool {
        self != Chip::Esp8266
    }

    /// The chip in a text in which a device or a build system names it:
    /// `esp32c3`, `ESP32-C3 v0.4`, `ESP32-D0WD-V3 v3.0`, `ESP32-PICO-D4`,
    /// `ESP8685`, `ESP8266EX`, `ESP32solo1`, `WROOM02`.
    pub fn from_hardware(text: &str) -> Option<Chip> {
        let mut words = text.split_whitespace();
        let first = plain(words.next()?);
        let Some(rest) = first.strip_prefix("esp32") else {
            return PACKAGES
                .into_iter()
                .find(|(package, _)| first.starts_with(package))
                .map(|(_, chip)| chip);
        };
        if rest.is_empty() {
            // "ESP32 C3" as well as "ESP32 v3.0".
            let word = words.next().map(plain).unwrap_or_default();
            let variant = VARIANTS.into_iter().find(|(variant, _)| *variant == word);
            return Some(variant.map_or(Chip::Esp32, |(_, chip)| chip));
        }
        if let Some((_, chip)) = VARIANTS
            .into_iter()
            .find(|(variant, _)| rest.starts_with(variant))
        {
            return Some(chip);
        }
        ORIGINAL
            .into_iter()
            .any(|package| rest.starts_with(package))
            .then_some(Chip::Esp32)
    }
}

/// The revision in a text such as `ESP32-C3 v0.4`, as images count it: major ×
/// 100 + minor, here 4.
pub fn revision(text: &str) -> Option<u16> {
    text.split_whitespace().rev().find_map(|word| {
        let (major, minor) = word.strip_prefix(['v', 'V'])?.split_once('.')?;
        let (major, minor): (u16, u16) = (major.parse().ok()?, minor.parse().ok()?);
        (minor < 100)
            .then_some(())
            .and_then(|()| major.checked_mul(100)?.checked_add(minor))
    })
}

/// Whether a text such as `ESP32-U4WDH-S v3.0` or `ESP32-S0WD` names an ESP32
/// with a single core, on which Tasmota's and ESPEasy's ordinary ESP32 images
/// do not start. `None` where the text does not say.
pub fn single_core(text: &str) -> Option<bool> {
    if Chip::from_hardware(text)? != Chip::Esp32 {
        return None;
    }
    let word = text.split_whitespace().next()?.to_ascii_lowercase();
    let rest = word.strip_prefix("esp32")?;
    if rest.contains("solo") || rest.starts_with("-s0wd") || rest.ends_with("-s") {
        return Some(true);
    }
    rest.starts_with("-d").then_some(false)
}

/// `Chip` by the word that [`Chip::as_str`] writes, the maker's name, or any
/// text that [`Chip::from_hardware`] understands.
impl FromStr for Chip {
    type Err = ChipError;

    fn from_str(text: &str) -> Result<Chip, ChipError> {
        Chip::from_hardware(text).ok_or(ChipError)
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The word is no chip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a chip that Safeport knows: use esp8266, esp32, esp32s2, esp32s3, esp32c2, esp32c3, esp32c5, esp32c6, esp32c61, esp32h2 or esp32p4"
)]
pub struct ChipError;

/// The longer before the shorter that it begins with.
const VARIANTS: [(&str, Chip); 13] = [
    ("s31", Chip::Esp32S31),
    ("s2", Chip::Esp32S2),
    ("s3", Chip::Esp32S3),
    ("c2", Chip::Esp32C2),
    ("c3", Chip::Esp32C3),
    ("c5", Chip::Esp32C5),
    ("c61", Chip::Esp32C61),
    ("c6", Chip::Esp32C6),
    ("e22", Chip::Esp32E22),
    ("h21", Chip::Esp32H21),
    ("h2", Chip::Esp32H2),
    ("h4", Chip::Esp32H4),
    ("p4", Chip::Esp32P4),
];

/// Packages and boards of the first ESP32, after `esp32` and without dashes.
const ORIGINAL: [&str; 9] = [
    "d0wd", "d2wd", "u4wdh", "s0wd", "pico", "solo", "wroom", "wrover", "dev",
];

/// Packages that do not carry the name of their chip.
const PACKAGES: [(&str, Chip); 6] = [
    ("esp8684", Chip::Esp32C2),
    ("esp8685", Chip::Esp32C3),
    ("esp8686", Chip::Esp32C3),
    ("esp8266", Chip::Esp8266),
    ("esp8285", Chip::Esp8266),
    ("wroom02", Chip::Esp8266),
];

fn plain(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_chip_is_read_back_from_its_word_its_name_and_its_number() {
        for chip in Chip::ALL {
            assert_eq!(chip.as_str().parse(), Ok(chip));
            assert_eq!(chip.name().parse(), Ok(chip));
            assert_eq!(chip.to_string().to_lowercase().parse(), Ok(chip));
            if let Some(id) = chip.image_id() {
                assert_eq!(Chip::from_image_id(id), Some(chip));
            }
            let json = serde_json::to_string(&chip).unwrap();
            assert_eq!(json.trim_matches('"'), chip.as_str());
            assert_eq!(serde_json::from_str::<Chip>(&json).unwrap(), chip);
        }
    }

    #[test]
    fn what_devices_report_as_their_hardware_names_the_chip() {
        for (text, chip) in [
            ("ESP8266EX", Chip::Esp8266),
            ("ESP8285N08", Chip::Esp8266),
            ("ESP32-D0WD-V3 v3.0", Chip::Esp32),
            ("ESP32-D0WDQ6", Chip::Esp32),
            ("ESP32-U4WDH-S v3.0", Chip::Esp32),
            ("ESP32-S0WD", Chip::Esp32),
            ("ESP32-PICO-V3-02", Chip::Esp32),
            ("ESP32 v3.1", Chip::Esp32),
            ("ESP32solo1", Chip::Esp32),
            ("ESP32-S2FNR2", Chip::Esp32S2),
            ("ESP32-S3 v0.2", Chip::Esp32S3),
            ("esp32s3", Chip::Esp32S3),
            ("ESP32 S3", Chip::Esp32S3),
            ("ESP32-C3 v0.4", Chip::Esp32C3),
            ("ESP8685 v0.4", Chip::Esp32C3),
            ("ESP8686", Chip::Esp32C3),
            ("ESP32-C61", Chip::Esp32C61),
            ("ESP32-C6", Chip::Esp32C6),
            ("ESP32-H21", Chip::Esp32H21),
            ("ESP32-H2FH4", Chip::Esp32H2),
            ("esp32-p4", Chip::Esp32P4),
        ] {
            assert_eq!(Chip::from_hardware(text), Some(chip), "{text}");
        }
    }

    #[test]
    fn a_chip_that_is_not_known_is_not_taken_for_the_first_esp32() {
        for text in ["ESP32-Z9", "ESP32-X1 v0.1", "RTL8710", "", "esp", "BK7231"] {
            assert_eq!(Chip::from_hardware(text), None, "{text}");
        }
    }

    #[test]
    fn revisions_are_counted_as_images_count_them() {
        assert_eq!(revision("ESP32-C3 v0.4"), Some(4));
        assert_eq!(revision("ESP32-D0WD-V3 v3.1"), Some(301));
        assert_eq!(revision("ESP32-D0WD-V3"), None);
        assert_eq!(revision("ESP32-C3 v9999.1"), None);
        assert_eq!(revision("ESP32-C3 v1.100"), None);
    }

    #[test]
    fn an_esp32_with_one_core_is_told_from_one_with_two_where_its_name_says_so() {
        assert_eq!(single_core("ESP32-U4WDH-S v3.0"), Some(true));
        assert_eq!(single_core("ESP32-S0WD"), Some(true));
        assert_eq!(single_core("ESP32-D0WD-V3 v3.0"), Some(false));
        assert_eq!(single_core("ESP32-U4WDH v3.0"), None);
        assert_eq!(single_core("ESP32-S2"), None);
    }
}
