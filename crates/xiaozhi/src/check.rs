//! What a device says of itself when it asks: `POST <ota>/`, at every boot.

mod body;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use safeport_fleet::MacAddress;

use crate::Version;
use crate::limits::MAX_FIELD;

/// The headers that matter, as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Headers<'a> {
    /// `Device-Id`: the station's hardware address (the Ethernet one on Ethernet builds).
    pub device_id: Option<&'a str>,
    /// `Client-Id`: a UUID that is drawn once and gone when the flash is erased.
    pub client_id: Option<&'a str>,
    /// `User-Agent`: `board/version`.
    pub user_agent: Option<&'a str>,
    /// `Accept-Language`: the language of the firmware.
    pub language: Option<&'a str>,
    /// `Activation-Version`, or `Ota-Version` of 1.5.x.
    pub activation_version: Option<&'a str>,
    /// `Serial-Number`, since 1.7.0, where the chip has one.
    pub serial_number: Option<&'a str>,
    /// `device-model` or `model`, which some clients send instead of a board.
    pub model: Option<&'a str>,
}

/// One check.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckRequest {
    /// Which device asks, as it claims.
    pub mac: MacAddress,
    /// The same as it was written: tokens are made over these letters.
    pub device_id: String,
    /// The other half of its identity, as it was written.
    pub client_id: String,
    /// The chip's serial number, where it has one.
    pub serial_number: Option<String>,
    /// The type of the board, by which images are chosen; empty if nothing tells.
    pub board: String,
    /// The running version as it was written, from the body or else from `User-Agent`.
    pub version_text: Option<String>,
    /// The running version as the device itself reads it. `None` with a `version_text` means that
    /// the device cannot compare versions: it must be sent no `firmware` section at all.
    pub version: Option<Version>,
    /// Whether it can sign a challenge (activation version 2).
    pub signs: bool,
    /// The language of its firmware, such as `zh-CN`.
    pub language: Option<String>,
    /// What kind of program asks.
    pub client: Client,
    /// How it is connected.
    pub network: Network,
    /// What became of the body.
    pub body: Body,
    /// What the body tells of the device.
    pub info: Info,
}

/// What kind of program asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// A board, or something that speaks like one.
    Device,
    /// The test page in a browser. Every one has the same Client-Id, and only WebSocket.
    Browser,
    /// py-xiaozhi.
    Python,
}

/// How a device is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// Wi-Fi or Ethernet: TLS on the ESP32, which trusts the public roots only.
    Lan,
    /// A cellular modem with TLS of its own, which verifies nothing.
    Cellular(Modem),
    /// Nothing tells.
    Unknown,
}

/// The kinds of modem that differ to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modem {
    /// ML307, whose choice of TLS changed with the firmware.
    Ml307,
    /// EC801E.
    Ec801,
    /// Another one, or not told.
    Other,
}

/// What became of the body of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Body {
    /// There was none.
    Empty,
    /// It was read to its end.
    Whole,
    /// It is no JSON from some place on: firmware writes names of networks into it as they are, so
    /// that a quote in one breaks it. What stood before that place is kept.
    Broken,
}

/// What the body tells of the device. All of it is claimed, none proved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Info {
    /// Size of the flash, in bytes.
    pub flash_size: Option<u64>,
    /// The least heap that was ever free, in bytes.
    pub minimum_free_heap: Option<u64>,
    /// Hardware address, as in the header.
    pub mac: Option<String>,
    /// Client-Id, as in the header.
    pub uuid: Option<String>,
    /// `esp32`, `esp32s3`, `esp32c3` …
    pub chip: Option<String>,
    /// Revision of the chip, as the SDK counts (major times 100 and minor, or the major alone).
    pub chip_revision: Option<u32>,
    /// The project's name: `xiaozhi`.
    pub application: Option<String>,
    /// The running version.
    pub version: Option<String>,
    /// When it was built, as in `Aug  8 2026T10:00:00Z`.
    pub compile_time: Option<String>,
    /// The SDK's version, as in `v5.4.1`.
    pub idf_version: Option<String>,
    /// Hash of the program, 64 hex digits. py-xiaozhi puts its signing key here, so it is not to be
    /// shown where the client is one.
    pub elf_sha256: Option<String>,
    /// Table of partitions, from which follows what fits.
    pub partitions: Vec<Partition>,
    /// The slot that is running: `ota_0`, `ota_1`, `factory`.
    pub running_slot: Option<String>,
    /// Type of the board.
    pub board_type: Option<String>,
    /// Name of the board.
    pub board_name: Option<String>,
    /// Who makes it, in newer firmware.
    pub manufacturer: Option<String>,
    /// Its address in its own network.
    pub ip: Option<String>,
    /// Strength of its Wi-Fi, in dBm.
    pub rssi: Option<i32>,
    /// Firmware of its modem.
    pub modem: Option<String>,
    /// Whether it has what only a modem has (IMEI, ICCID, carrier).
    pub has_sim: bool,
    /// Language of the firmware.
    pub language: Option<String>,
    /// Width and height of its screen, in pixels.
    pub screen: Option<(u32, u32)>,
}

/// A row of a partition table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partition {
    /// Its name. `assets` is of layout v2, `model` of v1, and images of one do not run on the
    /// other.
    pub label: String,
    /// 0 for programs, 1 for data.
    pub kind: u8,
    /// Of a program: 0 for the factory's, 16 for `ota_0` and so on.
    pub subtype: u8,
    /// Where it begins, in bytes.
    pub address: u64,
    /// How long it is, in bytes.
    pub size: u64,
}

/// Why a request is no check. The words go to the client; they are no JSON, which firmware up to
/// 1.6 would take for a good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// No hardware address, neither in the header nor in the body.
    #[error(
        "there is no Device-Id header: xiaozhi devices send their MAC address in it. If a proxy \
         stands in front, let it pass the headers Device-Id and Client-Id"
    )]
    NoDevice,
    /// The Device-Id is none.
    #[error(
        "the Device-Id is not a MAC address: send six pairs of hex digits, for example \
         a0:b1:c2:d3:e4:f5"
    )]
    NotAMac,
    /// No Client-Id, neither in the header nor in the body.
    #[error(
        "there is no Client-Id header: xiaozhi devices send a UUID in it. If a proxy stands in \
         front, let it pass the headers Device-Id and Client-Id"
    )]
    NoClient,
    /// The Client-Id is too long, or has characters that are none of an identifier.
    #[error(
        "the Client-Id is not an identifier: send a UUID, 1 to 64 printable characters of ASCII"
    )]
    BadClient,
}

/// Longest Client-Id, in bytes. A UUID has 36.
const MAX_CLIENT: usize = 64;

impl CheckRequest {
    /// Reads a check. A body that is no JSON, or has values of other types than expected, is no
    /// error: the headers tell enough.
    ///
    /// # Errors
    /// It does not say which device asks.
    pub fn read(headers: &Headers<'_>, body: &[u8]) -> Result<CheckRequest, CheckError> {
        let (body, info) = body::read(body);
        let device_id =
            first(headers.device_id, info.mac.as_deref()).ok_or(CheckError::NoDevice)?;
        let mac: MacAddress = device_id.parse().map_err(|_| CheckError::NotAMac)?;
        if mac.0 == [0; 6] || mac.0 == [0xff; 6] {
            return Err(CheckError::NotAMac);
        }
        let client_id =
            first(headers.client_id, info.uuid.as_deref()).ok_or(CheckError::NoClient)?;
        if client_id.len() > MAX_CLIENT || !client_id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CheckError::BadClient);
        }
        let (agent_board, agent_version) = split_agent(headers.user_agent.unwrap_or_default());
        let version_text = first(info.version.as_deref(), agent_version);
        let board = first(info.board_type.as_deref(), headers.model).or(agent_board);
        Ok(CheckRequest {
            mac,
            device_id: device_id.to_string(),
            client_id: client_id.to_string(),
            serial_number: first(headers.serial_number, None).map(kept),
            board: kept(board.unwrap_or_default()),
            version: version_text.and_then(|text| text.parse().ok()),
            version_text: version_text.map(kept),
            // py-xiaozhi sends the version of its program here, which begins with 2, too.
            signs: headers
                .activation_version
                .is_some_and(|version| version.trim().starts_with('2'))
                && first(headers.serial_number, None).is_some(),
            language: first(headers.language, info.language.as_deref()).map(kept),
            client: client(client_id, &info, headers.user_agent.unwrap_or_default()),
            network: network(&info, board.unwrap_or_default()),
            body,
            info,
        })
    }

    /// Whether this is the same build as that of a check before, as far as it can be told: the
    /// hash of the program, else version and time of building.
    pub fn runs_the_same_build(&self, before: &CheckRequest) -> bool {
        self.build() == before.build()
    }

    /// What tells one build from another.
    pub fn build(&self) -> (Option<&str>, Option<&str>, Option<&str>) {
        let hash = self.info.elf_sha256.as_deref();
        match (self.client, hash) {
            (Client::Device, Some(hash)) => (Some(hash), None, None),
            _ => (
                None,
                self.version_text.as_deref(),
                self.info.compile_time.as_deref(),
            ),
        }
    }

    /// The size of the smallest program slot that an update could go into, in bytes.
    pub fn update_slot_size(&self) -> Option<u64> {
        let slots = self.info.partitions.iter();
        slots
            .filter(|row| row.kind == 0 && (0x10..0x20).contains(&row.subtype))
            .map(|row| row.size)
            .min()
    }

    /// Whether its flash is cut up as v2 is, whose images do not run on v1 and the other way round;
    /// `None` if its table does not tell.
    pub fn has_assets_partition(&self) -> Option<bool> {
        let has = |label: &str| self.info.partitions.iter().any(|row| row.label == label);
        match (has("assets"), has("model")) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        }
    }
}

/// The first that says something.
fn first<'a>(one: Option<&'a str>, other: Option<&'a str>) -> Option<&'a str> {
    let says = |text: &&str| !text.is_empty();
    one.map(str::trim)
        .filter(says)
        .or(other.map(str::trim).filter(says))
}

/// As much of a text as is kept. Whoever asks may have written it, and people read it in lists and
/// in their terminals: what moves a cursor, ends a line or turns the direction of writing is a
/// blank.
fn kept(text: &str) -> String {
    let mut end = text.len().min(MAX_FIELD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text[..end].replace(unseen, " ")
}

/// `board/version`; names of boards may have slashes in them, versions none.
fn split_agent(agent: &str) -> (Option<&str>, Option<&str>) {
    match agent.trim().rsplit_once('/') {
        Some((board, version)) if !board.contains(' ') => (
            first(Some(board), None),
            first(version.split(' ').next(), None),
        ),
        _ => (None, None),
    }
}

fn client(client_id: &str, info: &Info, agent: &str) -> Client {
    let application = info.application.as_deref().unwrap_or_default();
    if client_id == "web_test_client" || application == "xiaozhi-web-test" {
        Client::Browser
    } else if application.contains("py-xiaozhi") || agent.contains("py-xiaozhi") {
        Client::Python
    } else {
        Client::Device
    }
}

fn network(info: &Info, board: &str) -> Network {
    let modem = info.modem.as_deref().unwrap_or_default();
    let says = |text: &str, word: &str| {
        text.as_bytes()
            .windows(word.len())
            .any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
    };
    let is = |word: &str| says(modem, word) || says(board, word);
    if is("ml307") {
        Network::Cellular(Modem::Ml307)
    } else if is("ec801") {
        Network::Cellular(Modem::Ec801)
    } else if is("nt26") {
        // Ethernet over UART: TLS runs on the ESP32, as with Wi-Fi.
        Network::Lan
    } else if info.has_sim || !modem.is_empty() {
        Network::Cellular(Modem::Other)
    } else if info.rssi.is_some() || info.ip.is_some() {
        Network::Lan
    } else {
        Network::Unknown
    }
}

#[cfg(test)]
mod tests;
