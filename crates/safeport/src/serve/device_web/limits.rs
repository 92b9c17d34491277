//! Bounds of what a device's own pages may cost. Reaching one ends the request with words.

use std::time::Duration;

/// For the connection to be there.
pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// For a name that an operator has set to become an address.
pub(super) const RESOLVE: Duration = Duration::from_secs(5);
/// From the request to the last byte of a short answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// From the request to the last byte of a settings file.
pub(super) const SETTINGS_ANSWER: Duration = Duration::from_secs(30);
/// From the last byte of an upload to the last byte of its answer: the device checks what it wrote.
pub(super) const UPLOAD_ANSWER: Duration = Duration::from_secs(60);
/// For the device to take the next bytes of an upload; erasing flash takes seconds.
pub(super) const UPLOAD_STALL: Duration = Duration::from_secs(30);
/// An upload has to be faster than this on the whole, in bytes per second.
pub(super) const UPLOAD_RATE: u64 = 2048;
/// On top of what [`UPLOAD_RATE`] allows.
pub(super) const UPLOAD_PATIENCE: Duration = Duration::from_secs(60);
/// How long a device may take from one of its images into the other.
pub(super) const SWITCH: Duration = Duration::from_secs(90);
/// Pause between two questions whether it is there.
pub(super) const SWITCH_PAUSE: Duration = Duration::from_secs(1);

/// Bytes of the head of an answer.
pub(super) const HEAD_BYTES: usize = 16 * 1024;
/// Header lines of an answer.
pub(super) const HEADERS: usize = 64;
/// Bytes of a page or of an answer to a command.
pub(super) const PAGE_BYTES: usize = 64 * 1024;
/// Bytes of a settings file. Tasmota's has 4 KiB and at most 64 KiB with those of its drivers,
/// ESPEasy's about 64 KiB and more with rules.
pub(super) const SETTINGS_BYTES: usize = 1024 * 1024;
/// Bytes of a command: Tasmota takes less than an MQTT packet of its own.
pub(super) const COMMAND_BYTES: usize = 1100;
/// Bytes of a device's own words that are passed on.
pub(super) const WORDS: usize = 200;
/// For so long it is believed that the device at an address is the one that said so.
pub(super) const IDENTITY: Duration = Duration::from_secs(60);
/// Devices of which that is remembered; when full, all are asked again.
pub(super) const IDENTITIES: usize = 4096;
