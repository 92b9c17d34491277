//! Searches an image for the literals by which a family of firmware is known.

use alloc::string::String;
use alloc::vec::Vec;

/// What was found so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    /// The end of what came before, in which a literal may have begun.
    window: Vec<u8>,
    /// Where in `window` unread bytes begin.
    read: usize,
    pub(super) found: Found,
}

/// The literals that an image holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The name of an ESPEasy build, `ESP_Easy_mega_<date>_<environment>`.
    pub(super) espeasy: Option<String>,
    /// `ESPHome version <version>`.
    pub(super) esphome_version: Option<String>,
    /// Any other sign of ESPHome.
    pub(super) esphome: bool,
    /// Tasmota's commands or topic prefixes, as only it lists them.
    pub(super) tasmota: bool,
    /// The word alone.
    pub(super) tasmota_word: bool,
    /// Tasmota's list of MQTT commands with the other names of options, which
    /// names that of TLS wherever there is TLS.
    pub(super) tasmota_options: bool,
    /// One of those commands is for TLS.
    pub(super) tasmota_tls: bool,
    /// The word `safeboot` by itself, as the name of an image is kept.
    pub(super) safeboot: bool,
    /// The pattern by which a main image finds its safeboot image.
    pub(super) asks_safeboot: bool,
    /// The word `minimal` by itself.
    pub(super) minimal: bool,
    /// The pattern by which a main image finds its minimal image.
    pub(super) asks_minimal: bool,
    /// The word `xiaozhi`.
    pub(super) xiaozhi: bool,
    /// A header that xiaozhi's check sends.
    pub(super) activation: bool,
}

impl Marks {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.window.extend_from_slice(bytes);
        // A literal that may still go on is looked at with the next bytes.
        let end = self.window.len().saturating_sub(AHEAD);
        self.search(end);
        let kept = self.read.saturating_sub(BEHIND);
        self.window.drain(..kept);
        self.read -= kept;
    }

    pub(super) fn finish(mut self) -> Found {
        self.search(self.window.len());
        self.found
    }

    fn search(&mut self, end: usize) {
        for at in self.read..end {
            let first = self.window[at];
            if FIRST[usize::from(first)] {
                self.found.look(&self.window, at);
            }
        }
        self.read = self.read.max(end);
    }
}

impl Found {
    fn look(&mut self, window: &[u8], at: usize) {
        let here = &window[at..];
        match here[0] {
            b'E' if here.starts_with(b"ESP_Easy_mega_") => {
                let name = word(here, |byte| {
                    byte.is_ascii_alphanumeric() || b"_-".contains(&byte)
                });
                // The literal that builds the name at run time has no date.
                if self.espeasy.is_none() && name.as_bytes().get(14).is_some_and(u8::is_ascii_digit)
                {
                    self.espeasy = Some(name);
                }
            }
            b'E' if here.starts_with(b"ESPHome version ") => {
                let version = word(&here[16..], |byte| {
                    byte.is_ascii_alphanumeric() || b".-".contains(&byte)
                });
                if self.esphome_version.is_none() && version.contains('.') {
                    self.esphome_version = Some(version);
                }
                self.esphome = true;
            }
            b'M' if here.starts_with(b"MqttHost|MqttPort") => self.tasmota = true,
            b'M' if here.starts_with(b"MqttNoRetain|") => self.tasmota_options = true,
            // Builds of some years name the option only, others the command too.
            b'M' if here.starts_with(b"MqttFingerprint") || here.starts_with(b"MqttTLS|") => {
                self.tasmota_tls = true;
            }
            b'c' if here.starts_with(b"cmnd|stat|tele") => self.tasmota = true,
            b't' | b'T' if begins(here, b"tasmota") => self.tasmota_word = true,
            b'%' if here.starts_with(b"%s-safeboot%s") => self.asks_safeboot = true,
            b'%' if here.starts_with(b"%s-minimal%s") => self.asks_minimal = true,
            b's' if alone(window, at, b"safeboot") => self.safeboot = true,
            b'm' if alone(window, at, b"minimal") => self.minimal = true,
            b'e' if here.starts_with(b"esphome") => self.esphome = true,
            b'x' if here.starts_with(b"xiaozhi") => self.xiaozhi = true,
            b'A' if here.starts_with(b"Activation-Version") => self.activation = true,
            _ => {}
        }
    }
}

/// Bytes after the start of a literal that decide about it.
const AHEAD: usize = 128;
/// Bytes before it, which say whether a word stands alone.
const BEHIND: usize = RELEASE.len() + 1;
/// What official builds may put before the name of an image.
const RELEASE: &[u8] = b"release-";

/// The bytes with which the literals begin.
const FIRST: [bool; 256] = {
    let mut first = [false; 256];
    let bytes = b"EMctT%smexA";
    let mut index = 0;
    while index < bytes.len() {
        first[bytes[index] as usize] = true;
        index += 1;
    }
    first
};

fn begins(here: &[u8], word: &[u8]) -> bool {
    here.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Whether `word` stands at `at` with a zero on both sides, as a literal of its
/// own does, or with [`RELEASE`] before it. Both ends of a file count as a zero.
fn alone(window: &[u8], at: usize, word: &[u8]) -> bool {
    let before = &window[..at];
    let before = before.strip_suffix(RELEASE).unwrap_or(before);
    window[at..].starts_with(word)
        && before.last().is_none_or(|byte| *byte == 0)
        && window.get(at + word.len()).is_none_or(|byte| *byte == 0)
}

fn word(here: &[u8], belongs: impl Fn(u8) -> bool) -> String {
    here.iter()
        .take(AHEAD - 16)
        .take_while(|byte| belongs(**byte))
        .map(|byte| char::from(*byte))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn found(parts: &[&[u8]]) -> Found {
        let mut marks = Marks::default();
        for part in parts {
            marks.feed(part);
        }
        marks.finish()
    }

    #[test]
    fn a_literal_is_found_across_any_border_between_two_parts() {
        let mut file = vec![b'E'; 300];
        file.extend_from_slice(b"\0ESP_Easy_mega_20240822_normal_ESP32_4M316k\0MqttFingerprint|");
        file.extend_from_slice(
            b"cmnd|stat|tele\0release-safeboot\0MqttNoRetain|MqttHost|MqttPort|\0",
        );
        file.extend_from_slice(b"ESPHome version 2024.6.1 compiled on\0Tasmota");
        let whole = found(&[&file]);
        assert_eq!(
            whole.espeasy.as_deref(),
            Some("ESP_Easy_mega_20240822_normal_ESP32_4M316k")
        );
        assert_eq!(whole.esphome_version.as_deref(), Some("2024.6.1"));
        assert!(whole.tasmota && whole.tasmota_tls && whole.tasmota_options && whole.safeboot);
        for at in 0..file.len() {
            let (left, right) = file.split_at(at);
            assert_eq!(found(&[left, right]), whole, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = file.chunks(1).collect();
        assert_eq!(found(&bytes), whole);
    }

    #[test]
    fn the_word_safeboot_counts_only_as_a_literal_of_its_own() {
        assert!(found(&[b"x\0safeboot\0"]).safeboot);
        assert!(found(&[b"x\0release-safeboot\0"]).safeboot);
        assert!(found(&[b"release-safeboot"]).safeboot);
        assert!(!found(&[b"xrelease-safeboot\0"]).safeboot);
        assert!(!found(&[b"x\0%s-safeboot%s\0"]).safeboot);
        assert!(found(&[b"x\0%s-safeboot%s\0"]).asks_safeboot);
        assert!(!found(&[b"x\0safeboots\0"]).safeboot);
        assert!(!found(&[b"unsafeboot\0"]).safeboot);
    }

    #[test]
    fn memory_does_not_grow_with_the_file() {
        let mut marks = Marks::default();
        for _ in 0..1000 {
            marks.feed(&[b'M'; 1024]);
            assert!(marks.window.len() <= 1024 + AHEAD + BEHIND);
        }
    }
}
