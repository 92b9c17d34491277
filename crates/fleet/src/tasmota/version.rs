//! `15.0.1(release-tasmota32)`: number and image name.

use core::fmt;
use core::str::FromStr;

use crate::Slot;
use crate::sighting::Text;

/// A version as `INFO1`, `STATUS2` and `x-ESP32-version` write it. Discovery
/// and the `Server` header leave out the image name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasmotaVersion {
    /// Three or four numbers with dots.
    pub number: Text,
    /// The image name: `tasmota32`, `safeboot`, `minimal`, `lite`, `DE`. Without
    /// `release-`.
    pub image: Option<Text>,
    /// Whether it is a release build.
    pub release: bool,
    /// Whether it says that it is for chips with one core.
    pub single_core: bool,
}

impl TasmotaVersion {
    /// Which slot such an image runs from.
    pub fn slot(&self) -> Slot {
        match self.image.as_deref() {
            Some("safeboot") => Slot::Safeboot,
            Some("minimal") => Slot::Minimal,
            _ => Slot::Main,
        }
    }
}

impl FromStr for TasmotaVersion {
    type Err = TasmotaVersionError;

    fn from_str(text: &str) -> Result<TasmotaVersion, TasmotaVersionError> {
        let text = text.trim();
        let (number, rest) = match text.find('(') {
            Some(at) => (text[..at].trim_end(), &text[at + 1..]),
            None => (text, ""),
        };
        let parts = number.split('.');
        let plain = parts
            .clone()
            .all(|part| (1..=5).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit()));
        if !plain || !(2..=4).contains(&parts.count()) {
            return Err(TasmotaVersionError);
        }
        let (image, behind) = rest.split_once(')').unwrap_or((rest, ""));
        let bare = image.strip_prefix("release-").unwrap_or(image).trim();
        let known = !bare.is_empty() && bare.len() <= 64 && !bare.contains(char::is_control);
        Ok(TasmotaVersion {
            number: number.into(),
            image: known.then(|| bare.into()),
            release: image.starts_with("release-"),
            single_core: behind.contains("single-core") || bare.contains("solo1"),
        })
    }
}

impl fmt::Display for TasmotaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.image {
            Some(image) => write!(f, "{}({image})", self.number),
            None => f.write_str(&self.number),
        }
    }
}

/// The text is no version of Tasmota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version of Tasmota: it looks like 15.0.1 or 15.0.1(tasmota32)")]
pub struct TasmotaVersionError;
