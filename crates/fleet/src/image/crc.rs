//! The two CRC-32 that images are protected with, byte by byte.

/// What both begin with.
pub(super) const START: u32 = 0xFFFF_FFFF;

/// The CRC of gzip and of ESP8266 version 2 images, before its final inversion.
pub(super) fn reflected(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        crc >> 8 ^ REFLECTED[usize::from(crc as u8 ^ byte)]
    })
}

/// The CRC that Arduino's boot loader for the ESP8266 checks: the same
/// polynomial, highest bit first, never inverted.
pub(super) fn forward(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        crc << 8 ^ FORWARD[usize::from((crc >> 24) as u8 ^ byte)]
    })
}

const REFLECTED: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

const FORWARD: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 {
                crc << 1 ^ 0x04C1_1DB7
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_crcs_give_the_published_check_values() {
        // The check value of CRC-32/ISO-HDLC and of CRC-32/MPEG-2.
        assert_eq!(!reflected(START, b"123456789"), 0xCBF4_3926);
        assert_eq!(forward(START, b"123456789"), 0x0376_E6E7);
    }
}
