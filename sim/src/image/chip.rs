//! Chips, with the numbers and names that images and devices give them (esp-image.md §2).

use std::fmt;
use std::str::FromStr;

/// A chip that images can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageChip {
    name: &'static str,
    id: Option<u16>,
    bootloader: usize,
    hardware: &'static str,
}

macro_rules! chips {
    ($($constant:ident = $name:literal, $id:expr, $bootloader:literal, $hardware:literal;)+) => {
        impl ImageChip {
            $(
                #[doc = $hardware]
                pub const $constant: ImageChip = ImageChip {
                    name: $name, id: $id, bootloader: $bootloader, hardware: $hardware,
                };
            )+
            /// All of them.
            pub const ALL: [ImageChip; 11] = [$(ImageChip::$constant),+];
        }
    };
}

chips! {
    ESP8266 = "esp8266", None, 0, "ESP8266EX";
    ESP32 = "esp32", Some(0), 0x1000, "ESP32-D0WD-V3 v3.0";
    ESP32S2 = "esp32s2", Some(2), 0x1000, "ESP32-S2 v1.0";
    ESP32S3 = "esp32s3", Some(9), 0, "ESP32-S3 v0.2";
    ESP32C2 = "esp32c2", Some(12), 0, "ESP32-C2 v1.0";
    ESP32C3 = "esp32c3", Some(5), 0, "ESP32-C3 v0.4";
    ESP32C5 = "esp32c5", Some(23), 0x2000, "ESP32-C5 v1.0";
    ESP32C6 = "esp32c6", Some(13), 0, "ESP32-C6 v0.1";
    ESP32C61 = "esp32c61", Some(20), 0, "ESP32-C61 v1.0";
    ESP32H2 = "esp32h2", Some(16), 0, "ESP32-H2 v0.1";
    ESP32P4 = "esp32p4", Some(18), 0x2000, "ESP32-P4 v1.0";
}

impl ImageChip {
    /// `esp32c3`, as xiaozhi's `chip_model_name` has it.
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    /// Chip id in the header; the ESP8266 has none.
    pub const fn id(self) -> Option<u16> {
        self.id
    }

    /// What Tasmota calls it in STATUS2: `ESP32-C3 v0.4`.
    pub const fn hardware(self) -> &'static str {
        self.hardware
    }

    /// What stands in Tasmota's `Server` header: the same without the revision.
    pub fn hardware_name(self) -> &'static str {
        self.hardware
            .split_once(' ')
            .map_or(self.hardware, |(name, _)| name)
    }

    /// `chipFamily` of an ESPHome manifest: `ESP32-C3`.
    pub fn family_name(self) -> String {
        match self.name.strip_prefix("esp32") {
            None => "ESP8266".into(),
            Some("") => "ESP32".into(),
            Some(rest) => format!("ESP32-{}", rest.to_uppercase()),
        }
    }

    /// Stem of Tasmota's file names: `tasmota32c3`.
    pub fn tasmota_name(self) -> String {
        match self.name.strip_prefix("esp32") {
            None => "tasmota".into(),
            Some(rest) => format!("tasmota32{rest}"),
        }
    }

    /// As ESPEasy's environments have it: `ESP32c3`.
    pub fn espeasy_name(self) -> String {
        self.name.replace("esp", "ESP")
    }

    /// Offset of the second-stage boot loader in the flash.
    pub(super) const fn bootloader_offset(self) -> usize {
        self.bootloader
    }
}

impl FromStr for ImageChip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.to_lowercase().replace('-', "");
        ImageChip::ALL
            .into_iter()
            .find(|chip| chip.name == plain)
            .ok_or_else(|| {
                let names: Vec<_> = ImageChip::ALL.iter().map(|chip| chip.name).collect();
                format!("no chip `{text}`; there are: {}", names.join(", "))
            })
    }
}

impl fmt::Display for ImageChip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
