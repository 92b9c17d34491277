//! Sizes and durations as people write them: `1MiB`, `10s`, `7d`.

use alloc::string::{String, ToString};
use core::fmt;
use core::time::Duration;

use crate::Said;
use crate::said::said;

/// A number of bytes. Written as a plain integer or with one of `B`, `KiB`,
/// `MiB`, `GiB` (1024) or `kB`, `MB`, `GB` (1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Units of size, largest first, binary before decimal.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of time in milliseconds, largest first.
const TIMES: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl ByteSize {
    /// Reads a size; a bare number counts bytes.
    ///
    /// # Errors
    /// The reason and the way out, in words.
    pub fn parse(text: &str) -> Result<ByteSize, Said> {
        let (number, unit) = split(text)?;
        let factor = if unit.is_empty() {
            1
        } else {
            let known = SIZES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit));
            match known {
                Some((_, factor)) => *factor,
                None => return Err(unknown_unit(unit, "B, kB, KiB, MB, MiB, GB, GiB")),
            }
        };
        number.checked_mul(factor).map(ByteSize).ok_or_else(too_big)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, factor) in &SIZES[..3] {
            if self.0 > 0 && self.0.is_multiple_of(*factor) {
                return write!(f, "{}{name}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Reads a duration; a bare number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Said> {
    let (number, unit) = split(text)?;
    let factor = if unit.is_empty() {
        1_000
    } else {
        match TIMES.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None => return Err(unknown_unit(unit, "ms, s, m, h, d, w")),
        }
    };
    number
        .checked_mul(factor)
        .map(Duration::from_millis)
        .ok_or_else(too_big)
}

/// Writes a duration with the largest unit that keeps it whole.
pub fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_string();
    }
    // Not in weeks: a week is written `7d`.
    for (name, factor) in &TIMES[1..] {
        if milliseconds.is_multiple_of(*factor) {
            return alloc::format!("{}{name}", milliseconds / factor);
        }
    }
    alloc::format!("{milliseconds}ms")
}

/// Splits `10s` into its number and unit; `_` may group digits.
fn split(text: &str) -> Result<(u64, &str), Said> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    if digits.is_empty() {
        return Err(said!("it does not begin with a number", "开头不是数字"));
    }
    if unit.starts_with(['.', ',']) {
        return Err(said!(
            "it has a fraction; use a whole number of a smaller unit",
            "含有小数；请改用更小的单位写整数"
        ));
    }
    let number = digits.parse().map_err(|_| too_big())?;
    Ok((number, unit.trim_start()))
}

fn unknown_unit(unit: &str, known: &str) -> Said {
    said!(
        "{unit:?} is no unit that fits here; use {known}",
        "{unit:?} 不是这里可用的单位；可用：{known}"
    )
}

fn too_big() -> Said {
    said!("the number is too big", "数字太大")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::prelude::*;

    #[test]
    fn sizes_know_binary_and_decimal_units_and_plain_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("1200", 1200),
            ("1_200", 1200),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("1MB", 1_000_000),
            (" 2GiB ", 2 << 30),
            ("7B", 7),
        ] {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn durations_know_their_units_and_plain_seconds() {
        for (text, milliseconds) in [
            ("0", 0),
            ("10", 10_000),
            ("10s", 10_000),
            ("500ms", 500),
            ("5 m", 300_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("1w", 604_800_000),
        ] {
            let expected = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_or_duration_is_answered_with_the_units() {
        assert!(ByteSize::parse("10s").unwrap_err().en.contains("MiB"));
        assert!(parse_duration("1MiB").unwrap_err().en.contains("ms"));
        // `M` could mean months or minutes: units of time are lower case.
        assert!(parse_duration("1M").is_err());
        for text in [
            "",
            "s",
            "-1",
            "1.5h",
            "1,5h",
            "99999999999999999999",
            "é",
            "_",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
        assert!(ByteSize::parse("18446744073709551615KiB").is_err());
        assert!(parse_duration("18446744073709551615w").is_err());
    }

    proptest! {
        #[test]
        fn every_size_is_read_back_as_written(bytes: u64) {
            prop_assert_eq!(ByteSize::parse(&format!("{}", ByteSize(bytes))), Ok(ByteSize(bytes)));
        }

        #[test]
        fn every_duration_in_milliseconds_is_read_back_as_written(ms in 0..u64::MAX) {
            let duration = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text: String) {
            let _ = ByteSize::parse(&text);
            let _ = parse_duration(&text);
        }
    }
}
