//! Moments as people read them.

use time::OffsetDateTime;
use time::macros::format_description;

/// Seconds since 1970 as `2026-11-22 17:05:09Z`: UTC, which reads the same in every log.
pub fn stamp(seconds: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&format).ok())
        .unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc_and_impossible_ones_as_numbers() {
        assert_eq!(stamp(0), "1970-01-01 00:00:00Z");
        assert_eq!(stamp(1_795_366_800), "2026-11-22 17:00:00Z");
        assert_eq!(stamp(u64::MAX), u64::MAX.to_string());
    }
}
