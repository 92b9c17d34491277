//! Pretend Tasmota plugs with power monitoring. Called by `safeport simulate tasmota`.
//!
//! [`Plug`] is one device as a value: packets and time in, packets out. It follows the firmware of
//! an ESP32 (Tasmota 15) in what a server can see: the order of what is sent on connect, topics,
//! reply forms, retry waits, the size above which messages are dropped unseen. [`run_fleet`] gives
//! any number of them sockets, by TCP or by TLS as the firmware speaks it.
//!
//! What it does not do: download firmware (`Upgrade` is accepted in the firmware's form, then
//! reported as failed), speak HTTP, and remember anything after the process ends.

mod clock;
mod commands;
mod energy;
mod firmware;
mod fleet;
mod messages;
mod plug;
mod set_options;
mod tls;

pub use fleet::{FleetError, FleetOptions, FleetSummary, run_fleet};
pub use plug::{Failure, MAX_PACKET_SIZE, Note, Output, Plug};
pub(crate) use tls::connector;
pub use tls::{Fingerprint, FingerprintError, Trust};

use std::fmt;
use std::time::Duration;

/// Settings of one pretend plug, with the firmware's defaults.
#[derive(Debug, Clone)]
pub struct PlugOptions {
    /// Hardware address; discovery and the default names derive from it.
    pub mac: MacAddress,
    /// `Topic`, the part of every topic name that is the device's own. Default `tasmota_` and the
    /// last six digits of the hardware address.
    pub topic: Option<String>,
    /// `DeviceName` and first `FriendlyName`. Default `Tasmota`.
    pub name: String,
    /// `MqttClient`. Default `DVES_` and the last six digits of the hardware address.
    pub client_id: Option<String>,
    /// `GroupTopic`. Default `tasmotas`.
    pub group_topic: String,
    /// `FullTopic`, the template of topic names. Default `%prefix%/%topic%/`.
    pub full_topic: String,
    /// `MqttHost`, a name or an address.
    pub host: String,
    /// `MqttPort`. Default 1883.
    pub port: u16,
    /// `MqttUser`; none sends no user name.
    pub username: Option<String>,
    /// `MqttPassword`.
    pub password: Option<String>,
    /// `MqttKeepAlive` in seconds, 1 to 100. Default 30.
    pub keep_alive: u16,
    /// `MqttTimeout`, how long to wait for CONNACK, 1 to 100 s. Default 4 s.
    pub connack_timeout: Duration,
    /// `MqttWifiTimeout`, how long to wait for the TCP connection. Default 200 ms.
    pub connect_timeout: Duration,
    /// `MqttRetry`, the first wait after a failure, in seconds, 10 to 32000. Default 10.
    pub retry: u16,
    /// What every wait before a new attempt is multiplied with: 1 as on the device, 0.01 in tests
    /// that cannot wait.
    pub retry_factor: f64,
    /// `TelePeriod` in seconds: 0 for none, else 10 to 3600. Default 300.
    pub tele_period: u16,
    /// Version of the firmware, without the image tag. Default `15.0.1`.
    pub version: String,
    /// Tag of the image. Default `release-tasmota32`.
    pub image: String,
    /// `OtaUrl`.
    pub ota_url: String,
    /// Where the energy values begin. Equal seeds give equal values.
    pub seed: u64,
    /// The board it runs on. None is a plug without a flash memory: it accepts `Upgrade` in the
    /// firmware's form, then reports that it failed.
    pub(crate) board: Option<BoardFacts>,
}

/// What the firmware knows of the board and of this boot; [`crate::board`] fills it in.
#[derive(Debug, Clone)]
pub(crate) struct BoardFacts {
    /// As STATUS2 has it.
    pub(crate) hardware: &'static str,
    /// Which commands change images.
    pub(crate) updates: Updates,
    /// A safeboot or minimal image: no discovery, no sensors.
    pub(crate) minimal: bool,
    /// Boots so far, this one included.
    pub(crate) boot_count: u32,
    /// Why it booted; JSON after a crash.
    pub(crate) restart_reason: String,
    /// Kilobytes.
    pub(crate) flash_size: usize,
    /// Kilobytes.
    pub(crate) program_size: usize,
    /// Kilobytes.
    pub(crate) free: usize,
}

/// What `Upgrade` and `Restart 3` can do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Updates {
    /// The main image of a board with a safeboot: `Upgrade 2` too.
    MainOfTwo,
    /// Its safeboot.
    Safeboot,
    /// Two partitions of equal rank, or an ESP8266.
    Simple,
}

/// What the board is to do for the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// `Upgrade 1`.
    Upgrade,
    /// `Upgrade 2`.
    UpgradeSafeboot,
    /// `Restart 3`.
    Switch,
    /// Restart.
    Restart,
}

impl PlugOptions {
    /// A plug with this address, everything else as the firmware has it by default.
    pub fn new(mac: MacAddress, host: impl Into<String>, port: u16) -> Self {
        PlugOptions {
            mac,
            topic: None,
            name: "Tasmota".into(),
            client_id: None,
            group_topic: "tasmotas".into(),
            full_topic: "%prefix%/%topic%/".into(),
            host: host.into(),
            port,
            username: None,
            password: None,
            keep_alive: 30,
            connack_timeout: Duration::from_secs(4),
            connect_timeout: Duration::from_millis(200),
            retry: 10,
            retry_factor: 1.0,
            tele_period: 300,
            version: "15.0.1".into(),
            image: "release-tasmota32".into(),
            ota_url: "http://ota.tasmota.com/tasmota32/release/tasmota32.bin".into(),
            seed: mac.tail().into(),
            board: None,
        }
    }
}

/// A hardware address. Displays as the firmware writes it in topics: `A0B1C2D3E4F5`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// The address of pretend plug `number`: an Espressif prefix with the bit for locally given
    /// addresses set, so that no real device has it.
    pub fn pretend(number: u32) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        MacAddress([0xa2, 0x76, 0x4e, a, b, c])
    }

    /// The last three bytes as a number; client id and topic end in it.
    pub(crate) fn tail(self) -> u32 {
        let [_, _, _, a, b, c] = self.0;
        u32::from_be_bytes([0, a, b, c])
    }
}

impl std::str::FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| !matches!(c, ':' | '-'))
            .map(|c| c.to_digit(16).map(|digit| digit as u8))
            .collect();
        match digits {
            Some(digits) if digits.len() == 12 => {
                let mut bytes = [0; 6];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = pair[0] << 4 | pair[1];
                }
                Ok(MacAddress(bytes))
            }
            _ => Err(format!(
                "`{text}` is no hardware address: give six bytes, such as A2:76:4E:00:00:01"
            )),
        }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}
