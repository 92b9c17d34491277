//! NTP's form of a time.

use std::time::Duration;

/// Seconds and their 2^32nd parts since 1900, of which only the last 2^32 seconds count: an era of
/// 136 years. The second one begins on 2036-02-07 at 06:28:16 UTC (RFC 5905 section 6), and
/// clients put what they read into the era in which they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(u64);

impl Timestamp {
    /// What stands for "not known".
    pub const NEVER: Timestamp = Timestamp(0);

    /// The time that is so long after the beginning of 1970.
    pub fn at(since_1970: Duration) -> Timestamp {
        let seconds = since_1970.as_secs().wrapping_add(FROM_1900_TO_1970) << 32;
        let fraction = (u64::from(since_1970.subsec_nanos()) << 32) / 1_000_000_000;
        // The first moment of an era would read as "not known": 233 picoseconds later it does not.
        Timestamp((seconds | fraction).max(1))
    }

    /// As on the wire.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// From the wire.
    pub fn from_bytes(bytes: [u8; 8]) -> Timestamp {
        Timestamp(u64::from_be_bytes(bytes))
    }

    /// Seconds since the beginning of its era.
    pub fn seconds(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// 2^32nd parts of a second.
    pub fn fraction(self) -> u32 {
        self.0 as u32
    }
}

/// 70 years of seconds, 17 leap days among them.
const FROM_1900_TO_1970: u64 = 2_208_988_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1900_in_eras_of_136_years() {
        for (since_1970, seconds) in [
            // RFC 5905, figure 4.
            (0, 2_208_988_800_u32),
            // 1999-12-31, from the same figure.
            (946_598_400, 3_155_587_200),
            // 2026-01-01.
            (1_767_225_600, 3_976_214_400),
            // 2036-02-07 06:28:15 and the second after.
            (2_085_978_495, u32::MAX),
            (2_085_978_496, 0),
            // 2037-12-31 23:59:59 and 2106-02-07 06:28:16, where 32 bits since 1970 end.
            (2_145_916_799, 59_938_303),
            (4_294_967_296, 2_208_988_800),
        ] {
            let stamp = Timestamp::at(Duration::from_secs(since_1970));
            assert_eq!(stamp.seconds(), seconds, "{since_1970}");
        }
    }

    #[test]
    fn parts_of_a_second_are_binary() {
        let at = |nanos| Timestamp::at(Duration::new(1_767_225_600, nanos)).fraction();
        assert_eq!(at(0), 0);
        assert_eq!(at(250_000_000), 0x4000_0000);
        assert_eq!(at(500_000_000), 0x8000_0000);
        assert_eq!(at(999_999_999), 0xFFFF_FFFB);
        assert_eq!(at(1), 4);
    }

    #[test]
    fn no_real_time_reads_as_not_known() {
        let turn = Timestamp::at(Duration::from_secs(2_085_978_496));
        assert_ne!(turn, Timestamp::NEVER);
        assert_eq!((turn.seconds(), turn.fraction()), (0, 1));
    }
}
