//! The places in a device's flash that firmware is written to.

use core::fmt;

/// Which of a device's images is meant.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The firmware that does the work.
    Main,
    /// Tasmota's recovery firmware on ESP32, in a partition and with a version
    /// of its own.
    Safeboot,
    /// Tasmota's stepping stone on ESP8266, which takes the place of the main
    /// image for one restart.
    Minimal,
    /// Sounds, fonts and pictures of a xiaozhi device.
    Assets,
}

impl Slot {
    /// The word used on the command line and in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Slot::Main => "main",
            Slot::Safeboot => "safeboot",
            Slot::Minimal => "minimal",
            Slot::Assets => "assets",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a device's flash is divided for firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Two equal application partitions that take turns.
    Dual,
    /// A small recovery partition and one large application partition
    /// (Tasmota since 12, ESPEasy on ESP32-C2).
    Safeboot,
    /// One application partition. ESP8266 copies a new image into place after a
    /// restart; an ESP32 with this layout cannot be upgraded over the air.
    Single,
}

impl Layout {
    /// The word used on the command line and in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::Dual => "dual",
            Layout::Safeboot => "safeboot",
            Layout::Single => "single",
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
