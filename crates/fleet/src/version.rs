//! Versions as each family writes and compares them.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::Family;

/// Whether `text` is a version that devices of `family` can compare with their
/// own.
///
/// # Errors
///
/// What is wrong with it. An offer under a version that a device cannot read
/// fails on the device, or installs for ever.
pub fn check(family: Family, text: &str) -> Result<(), VersionError> {
    if text.is_empty() {
        return Err(VersionError::Empty);
    }
    if text.len() > MAX_VERSION {
        return Err(VersionError::Long);
    }
    if text.chars().any(char::is_control) {
        return Err(VersionError::Control);
    }
    match family {
        // The firmware reads each part with `stoi`, which throws on a part that
        // is no number or does not fit an int.
        Family::Xiaozhi => xiaozhi_parts(text).map(|_| ()).ok_or(VersionError::Xiaozhi),
        Family::Tasmota => tasmota_parts(text).map(|_| ()).ok_or(VersionError::Tasmota),
        Family::EspEasy => espeasy_build(text).map(|_| ()).ok_or(VersionError::EspEasy),
        Family::EspHome | Family::Plain => Ok(()),
    }
}

/// How version `a` stands to version `b` on devices of `family`. `None` where
/// the family has no order for the two: ESPHome only asks whether they differ.
pub fn compare(family: Family, a: &str, b: &str) -> Option<Ordering> {
    match family {
        // Segment by segment; if all that both have are equal, the longer one
        // is newer (`1.2.0` is newer than `1.2`).
        Family::Xiaozhi => Some(xiaozhi_parts(a)?.cmp(&xiaozhi_parts(b)?)),
        Family::Tasmota => Some(tasmota_parts(a)?.cmp(&tasmota_parts(b)?)),
        Family::EspEasy => Some(espeasy_build(a)?.cmp(&espeasy_build(b)?)),
        Family::EspHome => (a == b).then_some(Ordering::Equal),
        Family::Plain if a == b => Some(Ordering::Equal),
        Family::Plain => {
            let (a, b) = (plain_parts(a)?, plain_parts(b)?);
            let len = a.len().max(b.len());
            let padded = |parts: &[u64]| -> Vec<u64> {
                let zeros = core::iter::repeat_n(0, len - parts.len());
                parts.iter().copied().chain(zeros).collect()
            };
            Some(padded(&a).cmp(&padded(&b)))
        }
    }
}

/// The version in a file name, where files of the families carry one:
/// `tasmota32c3-15.0.1.bin` 15.0.1, `ESP_Easy_mega_20240822_normal_….bin`
/// 20240822, `bread-compact-wifi_2.4.2.bin` 2.4.2.
pub fn in_file_name(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("ESP_Easy_mega_") {
        let date = rest.split('_').next()?;
        return is_date(date).then(|| date.into());
    }
    let mut stem = name;
    for ending in [".gz", ".bin", ".ota", ".factory"] {
        stem = stem.strip_suffix(ending).unwrap_or(stem);
    }
    stem.split(['-', '_', '@', ' ']).rev().find_map(|word| {
        let word = word.strip_prefix(['v', 'V']).unwrap_or(word);
        let parts = plain_parts(word)?;
        (2..=4).contains(&parts.len()).then(|| word.into())
    })
}

/// A text is no version of its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Nothing there.
    #[error("the version is empty: name one, such as 1.2.0")]
    Empty,
    /// More than [`MAX_VERSION`] bytes.
    #[error("the version is longer than {MAX_VERSION} bytes: shorten it")]
    Long,
    /// A control character.
    #[error("the version holds a control character: use letters, digits, dots and dashes")]
    Control,
    /// xiaozhi devices stop their check at such a text.
    #[error(
        "xiaozhi devices read a version as whole numbers with dots between them, such as 2.4.2; anything else ends their check"
    )]
    Xiaozhi,
    /// Not x.y.z or x.y.z.w with parts up to 255.
    #[error(
        "a Tasmota version is three or four numbers up to 255 with dots between them, such as 15.0.1 or 15.0.1.2"
    )]
    Tasmota,
    /// No build date.
    #[error("an ESPEasy version is the date in the file's name, such as 20240822")]
    EspEasy,
}

/// Longest version, in bytes: the field in an image holds 32 with a closing
/// zero.
pub const MAX_VERSION: usize = 31;

fn xiaozhi_parts(text: &str) -> Option<Vec<i32>> {
    text.split('.').map(number).collect()
}

/// Four parts; the device keeps each in a byte. A tag such as `(tasmota32)` or
/// `(release-tasmota32)` is not part of the version.
fn tasmota_parts(text: &str) -> Option<[u8; 4]> {
    let dotted = text.split('(').next()?.trim_end();
    let dotted = dotted.strip_prefix(['v', 'V']).unwrap_or(dotted);
    let mut parts = [0; 4];
    let mut count = 0;
    for word in dotted.split('.') {
        *parts.get_mut(count)? = number(word)?;
        count += 1;
    }
    (count >= 3).then_some(parts)
}

/// The date in a file's stem, a git tag (`mega-20240822`) or by itself.
fn espeasy_build(text: &str) -> Option<u32> {
    let mut dates = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|word| is_date(word));
    dates.next()?.parse().ok()
}

fn is_date(word: &str) -> bool {
    let (Ok(number), 8) = (word.parse::<u32>(), word.len()) else {
        return false;
    };
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    (2000..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
}

fn plain_parts(text: &str) -> Option<Vec<u64>> {
    let dotted = text.strip_prefix(['v', 'V']).unwrap_or(text);
    dotted.split('.').map(number).collect()
}

/// Digits only: `parse` alone would also take a sign.
fn number<T: core::str::FromStr>(word: &str) -> Option<T> {
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xiaozhi_takes_the_longer_of_two_equal_beginnings_for_newer() {
        let compare = |a, b| compare(Family::Xiaozhi, a, b);
        assert_eq!(compare("1.2.0", "1.2"), Some(Ordering::Greater));
        assert_eq!(compare("2.4.2", "2.10"), Some(Ordering::Less));
        assert_eq!(compare("2.4.2", "2.4.2"), Some(Ordering::Equal));
        assert_eq!(compare("2.4.2", "2.4.2-rc1"), None);
    }

    #[test]
    fn a_version_on_which_a_xiaozhi_device_would_stop_is_refused() {
        for good in ["2", "2.4", "2.4.2.1", "0.0.0", "002.4"] {
            assert_eq!(check(Family::Xiaozhi, good), Ok(()), "{good}");
        }
        for bad in [
            "v2.4",
            "2.4.",
            ".2",
            "2..4",
            "2.4-rc1",
            "2147483648",
            "2.+4",
            " 2",
        ] {
            assert_eq!(
                check(Family::Xiaozhi, bad),
                Err(VersionError::Xiaozhi),
                "{bad}"
            );
        }
    }

    #[test]
    fn tasmota_versions_are_compared_without_the_name_of_the_image() {
        let compare = |a, b| compare(Family::Tasmota, a, b);
        assert_eq!(
            compare("15.0.1(release-tasmota32)", "15.0.1"),
            Some(Ordering::Equal)
        );
        assert_eq!(compare("9.5.0(tasmota)", "13.4.1.2"), Some(Ordering::Less));
        assert_eq!(compare("15.0.1.2", "15.0.1"), Some(Ordering::Greater));
        assert_eq!(compare("15.0.1", "tasmota32"), None);
        for bad in ["15.0", "15.0.1.2.3", "15.0.256", "15.0.x", "(15.0.1)"] {
            assert_eq!(
                check(Family::Tasmota, bad),
                Err(VersionError::Tasmota),
                "{bad}"
            );
        }
    }

    #[test]
    fn espeasy_builds_are_compared_by_the_date_in_any_of_their_names() {
        let compare = |a, b| compare(Family::EspEasy, a, b);
        assert_eq!(
            compare(
                "ESP_Easy_mega_20240822_normal_ESP32_4M316k",
                "mega-20230101"
            ),
            Some(Ordering::Greater)
        );
        assert_eq!(compare("20240822", "20240822"), Some(Ordering::Equal));
        assert_eq!(compare("20116", "20240822"), None);
        assert_eq!(
            check(Family::EspEasy, "20241399"),
            Err(VersionError::EspEasy)
        );
    }

    #[test]
    fn esphome_versions_only_differ_and_plain_ones_are_compared_where_they_are_numbers() {
        assert_eq!(compare(Family::EspHome, "2024.6.1", "2024.7.0"), None);
        assert_eq!(
            compare(Family::EspHome, "2024.6.1", "2024.6.1"),
            Some(Ordering::Equal)
        );
        assert_eq!(
            compare(Family::Plain, "v1.2", "1.2.0"),
            Some(Ordering::Equal)
        );
        assert_eq!(
            compare(Family::Plain, "1.10", "1.9"),
            Some(Ordering::Greater)
        );
        assert_eq!(compare(Family::Plain, "main-abc", "1.9"), None);
    }

    #[test]
    fn a_version_of_any_family_is_short_text() {
        let long = core::str::from_utf8(&[b'1'; MAX_VERSION + 1]).unwrap();
        for family in Family::ALL {
            assert_eq!(check(family, ""), Err(VersionError::Empty));
            assert_eq!(check(family, long), Err(VersionError::Long));
            assert_eq!(check(family, "1.0.0\n"), Err(VersionError::Control));
        }
    }

    #[test]
    fn file_names_tell_the_version_where_they_carry_one() {
        for (name, version) in [
            ("tasmota32c3-15.0.1.bin", Some("15.0.1")),
            ("tasmota-v13.4.0.2.bin.gz", Some("13.4.0.2")),
            ("tasmota32c3.bin", None),
            ("tasmota32-safeboot.bin", None),
            (
                "ESP_Easy_mega_20240822_normal_ESP32_4M316k.bin",
                Some("20240822"),
            ),
            ("bread-compact-wifi_2.4.2.bin", Some("2.4.2")),
            ("v1.7.5_lichuang-dev.bin", Some("1.7.5")),
            ("kitchen.ota.bin", None),
            ("firmware-2.bin", None),
            ("", None),
        ] {
            assert_eq!(in_file_name(name).as_deref(), version, "{name}");
        }
    }
}
