//! What a settings file is, and how two of them are compared.
//!
//! Tasmota (`tasmota_types.h`, `settings.ino`): one block of 4096 bytes, scrambled from byte 2 on
//! with 0x5A plus the place; boards with a file system put a header of 16 bytes before it and the
//! files of drivers behind, and scramble from byte 18 on. ESPEasy: `config.dat`, or a tar of it.

use std::fmt;

use safeport_fleet::{Chip, Family};
use serde::Serialize;

/// What a file turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// Settings of Tasmota, whose checksum is right.
    Tasmota {
        /// Of the firmware that wrote them; four numbers.
        version: String,
        /// Which chips take them; none in files older than that field.
        layout: u8,
        /// Whether files of drivers are behind them.
        has_drivers: bool,
    },
    /// `config.dat` of ESPEasy, or a tar that holds it.
    EspEasy {
        /// It is a tar.
        is_tar: bool,
    },
    /// It is none of the forms that are known, and nothing that is known to be something else.
    Unknown,
}

/// It is no settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotSettings(pub String);

/// Bytes of the settings of Tasmota.
const BLOCK: usize = 4096;
/// Bytes of the header before them, where files of drivers are behind.
const HEADER: usize = 16;
/// `ESP_PROJECT_PID`, with which `config.dat` begins.
const ESPEASY_PROJECT: u32 = 2_016_110_801;

/// Tells what a file is.
pub(super) fn recognise(family: Family, bytes: &[u8]) -> Result<Form, NotSettings> {
    let no = |what: &str| Err(NotSettings(what.to_owned()));
    let start = bytes.trim_ascii_start();
    let begins = |mark: &[u8]| {
        let front = &start[..start.len().min(mark.len())];
        front.eq_ignore_ascii_case(mark)
    };
    if start.is_empty() {
        return no("it is empty");
    }
    if begins(b"<!doctype") || begins(b"<html") || begins(b"<head") || begins(b"<script") {
        return no("it is a web page, perhaps one that asks for a password");
    }
    if start[0] == b'{' || start[0] == b'[' {
        return no("it is JSON");
    }
    match family {
        Family::EspEasy => Ok(espeasy(bytes)),
        _ => tasmota(bytes),
    }
}

fn tasmota(bytes: &[u8]) -> Result<Form, NotSettings> {
    if bytes.len() < BLOCK {
        return Err(NotSettings(format!(
            "it has {} bytes, and settings of Tasmota at least {BLOCK}",
            bytes.len()
        )));
    }
    let Some(plain) = Plain::of(bytes) else {
        return Ok(Form::Unknown);
    };
    let block = plain.block();
    let version = number(block, 8);
    Ok(Form::Tasmota {
        version: version.to_be_bytes().map(|part| part.to_string()).join("."),
        layout: block[0xF36],
        has_drivers: plain.block_at > 0,
    })
}

fn espeasy(bytes: &[u8]) -> Form {
    let is_config = |at: usize| {
        let front = bytes.get(at..at + 4);
        front.is_some_and(|pid| number(pid, 0) == ESPEASY_PROJECT)
    };
    if bytes.get(257..262) == Some(b"ustar") {
        return Form::EspEasy { is_tar: true };
    }
    if is_config(0) {
        Form::EspEasy { is_tar: false }
    } else {
        Form::Unknown
    }
}

/// The settings of Tasmota, unscrambled.
struct Plain {
    bytes: Vec<u8>,
    /// Where the block begins.
    block_at: usize,
}

impl Plain {
    /// None if the checksum is wrong both ways: it is not of a form that is known.
    fn of(bytes: &[u8]) -> Option<Plain> {
        [0, HEADER].into_iter().find_map(|block_at| {
            let mut plain = bytes.to_vec();
            for (place, byte) in plain.iter_mut().enumerate().skip(block_at + 2) {
                *byte ^= (0x5A + place) as u8;
            }
            let plain = Plain {
                bytes: plain,
                block_at,
            };
            let right_size = if block_at == 0 {
                plain.bytes.len() == BLOCK
            } else {
                plain.bytes.len() >= HEADER + BLOCK && plain.bytes.starts_with(b"/.settings")
            };
            (right_size && plain.is_right()).then_some(plain)
        })
    }

    fn block(&self) -> &[u8] {
        &self.bytes[self.block_at..self.block_at + BLOCK]
    }

    /// Whether the block's own size and checksum say that it was read right.
    fn is_right(&self) -> bool {
        let block = self.block();
        let size = usize::from(u16::from_le_bytes([block[2], block[3]]));
        let version = number(block, 8);
        if version > 0x0606_000A {
            return size == BLOCK && crc32(&block[..BLOCK - 4]) == number(block, BLOCK - 4);
        }
        // Before 6.6.0.11 a sum of 16 bits over what there is, without itself.
        version > 0x0600_0000 && (16..=BLOCK).contains(&size) && {
            let sum = block[..size]
                .iter()
                .enumerate()
                .fold(0_u16, |sum, (place, byte)| {
                    if matches!(place, 14 | 15) {
                        return sum;
                    }
                    sum.wrapping_add(u16::from(*byte).wrapping_mul(place as u16 + 1))
                });
            sum == u16::from_le_bytes([block[14], block[15]])
        }
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// CRC-32 of IEEE 802.3.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0_u32.wrapping_sub(crc & 1) & 0xEDB8_8320);
        }
    }
    !crc
}

impl Form {
    /// Whether a device with this chip takes them; unknown where the file or the chip is.
    pub(super) fn is_for(&self, chip: Chip) -> Option<bool> {
        let Form::Tasmota {
            layout, version, ..
        } = self
        else {
            return None;
        };
        // `config_version` came with 8.0; before, all files had 0 there.
        let wanted = match chip {
            Chip::Esp8266 => 0,
            Chip::Esp32 => 1,
            Chip::Esp32S3 => 2,
            Chip::Esp32S2 => 3,
            Chip::Esp32C3 => 4,
            Chip::Esp32C2 => 5,
            Chip::Esp32C6 => 6,
            Chip::Esp32P4 => 7,
            Chip::Esp32C5 => 8,
            _ => return None,
        };
        // The newer chips used the layout of the ESP32 before they had their own.
        if *layout == 1 && chip.is_esp32() && version.starts_with("12.") {
            return None;
        }
        Some(*layout == wanted)
    }

    /// The version of the firmware that wrote the file, if it says so.
    pub(super) fn version(&self) -> Option<&str> {
        match self {
            Form::Tasmota { version, .. } => Some(version),
            _ => None,
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Tasmota {
                has_drivers: true, ..
            } => f.write_str("settings of Tasmota with files of drivers, checksum right"),
            Form::Tasmota { .. } => f.write_str("settings of Tasmota, checksum right"),
            Form::EspEasy { is_tar: true } => {
                f.write_str("settings of ESPEasy with the files beside them (tar)")
            }
            Form::EspEasy { is_tar: false } => f.write_str("settings of ESPEasy (config.dat)"),
            Form::Unknown => f.write_str("a file of a form that is not known"),
        }
    }
}

/// How two settings files differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Nothing that is compared differs.
    pub identical: bool,
    /// Bytes that differ; those that only one of the two has count.
    pub differing_bytes: u64,
    /// Where, at most [`MOST_RANGES`].
    pub ranges: Vec<Range>,
    /// What was compared, in words.
    pub compared: String,
}

/// Bytes beside each other that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first, counted from the begin of what was compared.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
    /// What lies there in Tasmota's settings, as far as the layout of 9.1 and later tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<&'static str>,
}

/// Of more, the places are not listed; the count is whole.
pub const MOST_RANGES: usize = 64;

/// What changes by itself in Tasmota's settings (layout of 9.1 and later): counters of saves and
/// starts, time stamps, checksums, states, meters.
const RESTLESS: [(usize, usize); 15] = [
    (0x004, 0x008), // save_flag
    (0x00C, 0x010), // bootcount, cfg_crc
    (0x2E8, 0x2EC), // power
    (0x314, 0x338), // energy of today, yesterday, in all
    (0x3A4, 0x3A6), // energy_kWhdoy
    (0x5C0, 0x5D0), // pulse_counter
    (0x77C, 0x794), // energy_usage
    (0x7B4, 0x7B8), // energy_kWhtotal_time
    (0xE80, 0xE84), // shutter_position
    (0xEC8, 0xEC9), // sta_active
    (0xF02, 0xF03), // sps30_inuse_hours
    (0xF09, 0xF10), // wifi_channel, wifi_bssid: the last access point
    (0xF7C, 0xF88), // energy_kWhexport_ph
    (0xFD4, 0xFD8), // bootcount_reset_time
    (0xFF8, BLOCK), // cfg_timestamp, cfg_crc32
];
/// The same of older layouts: only what has always been there.
const RESTLESS_BEFORE: [(usize, usize); 3] = [(0x004, 0x008), (0x00C, 0x010), (0xFF8, BLOCK)];

/// What lies where (layout of 9.1 and later).
const PLACES: [(usize, usize, &str); 9] = [
    (0x008, 0x00C, "version of the firmware"),
    (0x010, 0x017, "options"),
    (0x017, 0x2D2, "texts: names, networks, MQTT, passwords"),
    (0x2F8, 0x2FA, "TelePeriod"),
    (0x3AC, 0x451, "pins and template"),
    (0x670, 0x6B0, "timers"),
    (0x800, 0xE00, "rules"),
    (0xECF, 0xEF7, "MQTT fingerprints"),
    (0xEFC, 0xEFE, "MQTT port"),
];

/// Compares two files of one family.
pub(super) fn compare(family: Family, one: &[u8], other: &[u8]) -> Difference {
    if family != Family::EspEasy
        && let (Some(one), Some(other)) = (Plain::of(one), Plain::of(other))
    {
        return compare_tasmota(&one, &other);
    }
    let (differing_bytes, ranges) = differences(one, other, |_| None);
    Difference {
        identical: one == other,
        differing_bytes,
        ranges,
        compared: "all bytes, as the device gave them".to_owned(),
    }
}

fn compare_tasmota(one: &Plain, other: &Plain) -> Difference {
    const NEW: u32 = 0x0901_0000;
    let is_new = number(one.block(), 8) >= NEW && number(other.block(), 8) >= NEW;
    let restless: &[(usize, usize)] = if is_new { &RESTLESS } else { &RESTLESS_BEFORE };
    let still = |plain: &Plain| {
        let mut bytes = plain.bytes[plain.block_at..].to_vec();
        for (from, to) in restless {
            bytes[*from..*to].fill(0);
        }
        bytes
    };
    let means = |from: usize| {
        if from >= BLOCK {
            return Some("files of drivers");
        }
        let place = PLACES.iter().find(|(at, to, _)| (*at..*to).contains(&from));
        place.filter(|_| is_new).map(|(_, _, means)| *means)
    };
    let (differing_bytes, ranges) = differences(&still(one), &still(other), means);
    let left_out = if is_new {
        "counters of saves and starts, time stamps, checksums, the state of outputs, meters and \
         the last access point"
    } else {
        "the counters of saves and starts, the time stamp and the checksums"
    };
    Difference {
        identical: differing_bytes == 0,
        differing_bytes,
        ranges,
        compared: format!(
            "the unscrambled settings and the files of drivers behind them, without {left_out}; \
             what else the device counts by itself shows as a difference"
        ),
    }
}

fn differences(
    one: &[u8],
    other: &[u8],
    means: impl Fn(usize) -> Option<&'static str>,
) -> (u64, Vec<Range>) {
    let longest = one.len().max(other.len());
    let (mut count, mut ranges) = (0, Vec::<Range>::new());
    let mut last = None;
    for at in 0..longest {
        if one.get(at) == other.get(at) {
            continue;
        }
        count += 1;
        let goes_on = last.is_some_and(|last| last + 1 == at);
        last = Some(at);
        if goes_on {
            if let Some(range) = ranges.last_mut()
                && range.to == at as u64
            {
                range.to += 1;
            }
        } else if ranges.len() < MOST_RANGES {
            ranges.push(Range {
                from: at as u64,
                to: at as u64 + 1,
                means: means(at),
            });
        }
    }
    (count, ranges)
}
