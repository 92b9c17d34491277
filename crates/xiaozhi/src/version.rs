//! Versions as the firmware reads and compares them.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use crate::limits::MAX_SEGMENTS;

/// A version in the reading of the device: numbers between dots. It shows itself as those numbers,
/// so that one which would crash a device (`v2.0`, `1..2`: `std::stoi` throws and nothing catches
/// it) cannot be sent.
///
/// ```
/// use safeport_xiaozhi::Version;
/// let read = |text: &str| text.parse::<Version>().unwrap();
/// assert!(read("1.2.0") > read("1.2"));
/// assert_eq!(read("1.0.0-beta"), read("1.0.0"));
/// assert!("v2.0".parse::<Version>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Version(Vec<u32>);

/// A version that the device's own parser would not survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// A segment does not begin with a digit.
    #[error(
        "each part of a version must begin with a digit, as in 2.4.2: at the others xiaozhi \
         firmware restarts; build the image with such a version (CMakeLists.txt, PROJECT_VER)"
    )]
    NotANumber,
    /// A segment is larger than the device can hold (2,147,483,647).
    #[error(
        "a part of the version is larger than 2147483647, at which xiaozhi firmware restarts; \
         build the image with a smaller one"
    )]
    TooLarge,
    /// More segments than are compared.
    #[error("a version has at most 16 parts; build the image with a shorter one")]
    TooLong,
}

impl Version {
    /// A version of these numbers; each at most 2,147,483,647.
    ///
    /// # Errors
    /// A number is larger, or there are more than 16.
    pub fn of(segments: &[u32]) -> Result<Version, VersionError> {
        if segments.len() > MAX_SEGMENTS {
            return Err(VersionError::TooLong);
        }
        if segments.iter().any(|segment| *segment > i32::MAX as u32) {
            return Err(VersionError::TooLarge);
        }
        Ok(Version(segments.to_vec()))
    }

    /// The numbers.
    pub fn segments(&self) -> &[u32] {
        &self.0
    }

    /// No segments at all: what an empty text reads as. Newer than nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Reads as `ParseVersion` does (main/ota.cc): cut at dots, each piece through `stoi`, which
    /// skips white space, takes digits and leaves whatever follows. Nothing after a last dot is no
    /// piece. A sign is refused here, since what is sent must not carry one.
    fn from_str(text: &str) -> Result<Version, VersionError> {
        let mut segments = Vec::with_capacity(4);
        let mut pieces = text.split('.').peekable();
        while let Some(piece) = pieces.next() {
            if piece.is_empty() && pieces.peek().is_none() {
                break;
            }
            if segments.len() == MAX_SEGMENTS {
                return Err(VersionError::TooLong);
            }
            segments.push(stoi(piece)?);
        }
        Ok(Version(segments))
    }
}

/// `std::stoi` for numbers that are not negative.
fn stoi(piece: &str) -> Result<u32, VersionError> {
    let digits = piece.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    if end == 0 {
        return Err(VersionError::NotANumber);
    }
    let number: i32 = digits[..end].parse().map_err(|_| VersionError::TooLarge)?;
    u32::try_from(number).map_err(|_| VersionError::NotANumber)
}

impl Ord for Version {
    /// From left to right over the shorter one; then the longer one is newer: `1.2.0` is newer
    /// than `1.2` (`IsNewVersionAvailable`, main/ota.cc). That is how slices compare.
    fn cmp(&self, other: &Version) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            write!(f, "{segment}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn read(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn versions_compare_as_the_device_does_and_not_as_other_servers_do() {
        for (older, newer) in [
            ("", "0"),
            ("1.2", "1.2.0"),
            ("1.9.9", "1.10"),
            ("2.4.2", "2.5"),
            ("1.0.0", "1.0.0.1"),
            ("2", "2.0"),
        ] {
            assert!(read(older) < read(newer), "{older} {newer}");
        }
        for (one, same) in [
            ("1.0.0-beta", "1.0.0"),
            ("2.4.2 (dirty)", "2.4.2"),
            (" 2. 4", "2.4"),
            ("02.4", "2.4"),
            ("2.4.", "2.4"),
        ] {
            assert_eq!(read(one), read(same), "{one}");
        }
    }

    #[test]
    fn rule_5_a_version_that_would_restart_the_device_is_not_a_version() {
        for text in ["v2.0", "1..2", ".1", "a", "1.x", "-1", "+1", "1. .2", "."] {
            assert_eq!(
                text.parse::<Version>(),
                Err(VersionError::NotANumber),
                "{text}"
            );
        }
        assert_eq!(
            "1.2147483648".parse::<Version>(),
            Err(VersionError::TooLarge)
        );
        assert_eq!(
            "1.".repeat(17).parse::<Version>(),
            Err(VersionError::TooLong)
        );
        assert_eq!(read("2147483647").segments(), [2_147_483_647]);
        assert_eq!(Version::of(&[u32::MAX]), Err(VersionError::TooLarge));
    }

    #[test]
    fn what_is_shown_is_numbers_and_dots_whatever_was_read() {
        for text in ["2.4.2", "1.0.0-beta", " 7", "", "1.2.3+dirty", "0009.1"] {
            let shown = read(text).to_string();
            assert!(
                shown.bytes().all(|b| b.is_ascii_digit() || b == b'.'),
                "{shown}"
            );
            assert_eq!(read(&shown), read(text));
        }
    }
}
