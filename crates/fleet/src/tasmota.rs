//! What Tasmota says of itself: discovery, birth and will, `INFO1` to `INFO3`,
//! `STATUS` to `STATUS11`, and the answers to `Upgrade` and `Restart`.

mod messages;
mod reply;
mod topics;
mod version;

pub use self::messages::{read, status, status_object};
pub use self::reply::{RestartReply, UpgradeReply};
pub use self::topics::{TasmotaTopic, expand};
pub use self::version::TasmotaVersion;

/// The last levels of topics that are worth a look. `STATE` and `SENSOR` are
/// not among them: they come all the time and tell nothing of the firmware.
pub const OBSERVED: &[&str] = &[
    "LWT", "INFO1", "INFO2", "INFO3", "STATUS", "STATUS0", "STATUS1", "STATUS2", "STATUS3",
    "STATUS4", "STATUS5", "STATUS6", "STATUS11", "UPGRADE", "RESULT",
];

/// The topics of discovery.
pub const DISCOVERY: &[&str] = &["tasmota/discovery/+/config"];

/// Chip and version from the `Server` header of its web pages, as in
/// `Tasmota/14.3.0 (ESP32-C3)`. Which image answers, it does not tell.
pub fn server_header(value: &str) -> Option<(TasmotaVersion, Option<crate::Chip>)> {
    let (version, hardware) = value.strip_prefix("Tasmota/")?.split_once(' ')?;
    let chip = crate::Chip::from_hardware(hardware.trim_matches(['(', ')']));
    Some((version.parse().ok()?, chip))
}
