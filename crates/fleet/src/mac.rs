//! Hardware addresses, the only identity that survives a rename and a reflash.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// The 48-bit station address of a device. Shown as `aa:bb:cc:dd:ee:ff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it can name one device: not all zeros, not all ones, not a
    /// group's.
    pub fn is_of_one_device(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }

    /// The address that differs by the bit for locally given ones: ESP chips form
    /// their access point's from their station's by it.
    pub fn twin(self) -> MacAddress {
        let MacAddress([a, rest @ ..]) = self;
        let [b, c, d, e, f] = rest;
        MacAddress([a ^ 2, b, c, d, e, f])
    }

    /// The other three of the four addresses in a row that most ESP32 chips have
    /// from a base that four divides: station, access point, Bluetooth, Ethernet.
    pub fn siblings(self) -> [MacAddress; 3] {
        let MacAddress([a, b, c, d, e, f]) = self;
        [1, 2, 3].map(|other| MacAddress([a, b, c, d, e, f ^ other]))
    }

    /// Twelve upper-case digits without separators, as Tasmota's `%id%` and its
    /// discovery topics write it.
    pub fn to_plain_upper(self) -> String {
        let MacAddress([a, b, c, d, e, f]) = self;
        format!("{a:02X}{b:02X}{c:02X}{d:02X}{e:02X}{f:02X}")
    }

    /// The last six upper-case digits, as in `DVES_3D5E26`.
    pub fn last_six(self) -> String {
        let MacAddress([_, _, _, d, e, f]) = self;
        format!("{d:02X}{e:02X}{f:02X}")
    }

    /// Lower case with underscores, as xiaozhi's topics and client identifiers
    /// write it.
    pub fn with_underscores(self) -> String {
        let MacAddress([a, b, c, d, e, f]) = self;
        format!("{a:02x}_{b:02x}_{c:02x}_{d:02x}_{e:02x}_{f:02x}")
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MacAddress([a, b, c, d, e, f]) = self;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    /// Accepts `aa:bb:cc:dd:ee:ff`, the same with `-` or `_`, and twelve digits
    /// without separators, in either case.
    fn from_str(text: &str) -> Result<MacAddress, MacAddressError> {
        let text = text.as_bytes();
        let step = match text.len() {
            12 => 2,
            17 => {
                let separator = text[2];
                if !matches!(separator, b':' | b'-' | b'_')
                    || [5, 8, 11, 14].iter().any(|&at| text[at] != separator)
                {
                    return Err(MacAddressError);
                }
                3
            }
            _ => return Err(MacAddressError),
        };
        let mut bytes = [0; 6];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let high = hex_digit(text[index * step])?;
            let low = hex_digit(text[index * step + 1])?;
            *byte = high << 4 | low;
        }
        Ok(MacAddress(bytes))
    }
}

crate::as_text::stored_as_text!(MacAddress, "a MAC address");

fn hex_digit(byte: u8) -> Result<u8, MacAddressError> {
    (byte as char)
        .to_digit(16)
        .map(|digit| digit as u8)
        .ok_or(MacAddressError)
}

/// The text is no hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: write six pairs of hex digits, for example a0:b1:c2:d3:e4:f5")]
pub struct MacAddressError;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn all_usual_spellings_mean_the_same_address() {
        let expected = MacAddress([0xa0, 0xb1, 0xc2, 0x3d, 0x5e, 0x26]);
        for text in [
            "a0:b1:c2:3d:5e:26",
            "A0-B1-C2-3D-5E-26",
            "a0_b1_c2_3d_5e_26",
            "A0B1C23D5E26",
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), "a0:b1:c2:3d:5e:26");
        assert_eq!(expected.to_plain_upper(), "A0B1C23D5E26");
        assert_eq!(expected.last_six(), "3D5E26");
        assert_eq!(expected.with_underscores(), "a0_b1_c2_3d_5e_26");
    }

    #[test]
    fn mixed_separators_wrong_lengths_and_other_letters_are_refused() {
        for text in [
            "",
            "a0:b1:c2:3d:5e",
            "a0:b1-c2:3d:5e:26",
            "a0 b1 c2 3d 5e 26",
            "g0:b1:c2:3d:5e:26",
            "a0:b1:c2:3d:5e:2é",
            "+0b1c23d5e26",
        ] {
            assert_eq!(text.parse::<MacAddress>(), Err(MacAddressError), "{text}");
        }
    }
}
