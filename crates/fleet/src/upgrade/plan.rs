//! What an offer is to do: fixed when the offer is made, kept with it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// How a device is brought to take an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapter {
    /// Tasmota on ESP32 with one application partition and a safeboot in the factory partition:
    /// `Upgrade 2` for the safeboot, `Upgrade 1` for the main image, which the *safeboot* fetches.
    TasmotaSafeboot,
    /// Tasmota on ESP8266, or on ESP32 with two application partitions: the running image fetches,
    /// on a small ESP8266 by way of `-minimal`.
    TasmotaDirect,
    /// ESPEasy: we push to its `/update`, since it cannot fetch.
    EspEasy,
    /// ESPHome: it reads `manifest.json` below its device token, by itself or after `INSTALL`.
    EspHome,
    /// xiaozhi: the reply to its next check names the image.
    Xiaozhi,
    /// Own ESP-IDF firmware with `esp_https_ota`: it fetches below its device token by itself.
    Idf,
}

impl Adapter {
    /// Whether we give the order. Otherwise the device comes by itself and is answered.
    pub fn is_commanded(self) -> bool {
        !matches!(self, Adapter::Xiaozhi | Adapter::Idf)
    }

    /// Whether this is one of Tasmota's ways.
    pub fn is_tasmota(self) -> bool {
        matches!(self, Adapter::TasmotaSafeboot | Adapter::TasmotaDirect)
    }
}

/// Which of a device's images a step writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Tasmota's second, minimal image, in a partition of its own.
    Safeboot,
    /// What the device runs day by day.
    Main,
}

/// An image as a step needs it. All of it comes from the inspection at upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// SHA-256 of the file, 64 lower-case digits.
    pub sha256: String,
    /// MD5 of the file, 32 lower-case digits.
    pub md5: String,
    /// Length of the file in bytes.
    pub size: u64,
    /// How the image is told apart from the one that runs now.
    pub identity: Identity,
}

/// What a device that runs an image says about it. Whatever is `None` cannot be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The version without Tasmota's "(tag)".
    pub version: Option<String>,
    /// When it was built, as the device reports it (Tasmota `BuildDateTime`, xiaozhi
    /// `compile_time`, ESPEasy's build).
    pub build: Option<String>,
    /// Tasmota's image tag (`release-tasmota32`), ESPEasy's "Binary Filename" stem.
    pub variant: Option<String>,
    /// A hash that the device reports: of its ELF file (xiaozhi), of its sketch (Tasmota's
    /// download headers). Lower-case hexadecimal.
    pub hash: Option<String>,
}

/// One file of a step's download folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// The last segment of the URL: plain, since devices derive other names from it.
    pub name: String,
    /// SHA-256 of what lies behind it.
    pub sha256: String,
}

/// One image write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it writes.
    pub part: Part,
    /// The image that the device runs (or can boot) afterwards.
    pub image: Planned,
    /// The name that the device is told; for a safeboot step the *main* name, from which the
    /// device derives `…-safeboot.bin`.
    pub told_name: String,
    /// What lies in the download folder of this step, under which names.
    pub files: Vec<Named>,
}

/// Everything a machine needs to know beforehand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How.
    pub adapter: Adapter,
    /// What, in this order. A safeboot step comes before every main step.
    pub steps: Vec<Step>,
    /// The device comes to us over TLS, so its safeboot has to be able to.
    pub over_tls: bool,
    /// We know an address of the device's own web pages that it has come from.
    pub web: bool,
    /// Whether the new safeboot has to show that it reaches us, before the main image is touched.
    pub prove_safeboot: bool,
    /// Whether to save the device's settings first, if its pages can be reached.
    pub backup: bool,
    /// Whether `/u2` (an upload to the safeboot's own page) may be used as a last resort.
    pub may_upload: bool,
    /// The device is known to be here now.
    pub online: bool,
    /// What it is known to run at the beginning.
    pub running: Identity,
    /// Its own `OtaUrl`, if an earlier offer recorded it and had not given it back.
    pub own_ota_url: Option<String>,
    /// Installed even if the device already reports the same (never for xiaozhi).
    pub reinstall: bool,
    /// The image is older by the device's own rule, so xiaozhi needs `force`.
    pub downgrade: bool,
    /// How long the device has to stay healthy at the end, in seconds. Default 600.
    pub soak: u64,
    /// How long the device is waited for until it is told again, in seconds. Default 60; all other
    /// waits are multiples of it.
    #[serde(default = "usual_patience")]
    pub patience: u64,
    /// When to give up on a device that does not come, in seconds since 1970.
    pub expires_at: u64,
    /// Randomness for the jitter of retries.
    pub seed: u64,
}

/// The patience, in seconds, by which the waits of an offer are written down.
pub(crate) const USUAL_PATIENCE: u64 = 60;

fn usual_patience() -> u64 {
    USUAL_PATIENCE
}

impl Plan {
    /// `seconds` of a wait as it is with the usual patience, with the patience of this offer. Never
    /// less than a second.
    pub(super) fn wait(&self, seconds: u64) -> u64 {
        (seconds.saturating_mul(self.patience) / USUAL_PATIENCE).max(1)
    }
}
