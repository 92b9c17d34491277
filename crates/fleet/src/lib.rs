//! Which devices exist and what each of them may do.
//!
//! Everything here is a value or a decision: no socket, file or clock. Time is
//! an argument (seconds since 1970), randomness too. The binary stores
//! [`Device`]s, turns a [`Grant`] into the rights a client is admitted with,
//! and prints a [`Setup`] for the person who holds the device.
#![no_std]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod device;
mod family;
mod grant;
mod mac;
mod name;
mod password;
mod setup;

pub use device::Device;
pub use family::{Family, FamilyError};
pub use grant::{Grant, GrantError};
pub use mac::{MacAddress, MacAddressError};
pub use name::{DeviceName, NameError, TopicPathError};
pub use password::Password;
pub use setup::{Endpoint, Field, Setup, SetupError, Trust, setup, tasmota_backlog};

/// Limits of this crate. Reaching one is an error that names it.
pub mod limits {
    /// Longest device name, in bytes.
    pub const MAX_NAME: usize = 32;
    /// Longest ESPEasy unit name, in bytes: its field holds 25 with the closing
    /// zero.
    pub const MAX_ESPEASY_NAME: usize = 24;
    /// Longest ESPHome node name, in bytes.
    pub const MAX_ESPHOME_NAME: usize = 31;
    /// Longest topic path of a device, in bytes.
    pub const MAX_TOPIC_PATH: usize = 100;
    /// Longest single topic filter in a grant, in bytes.
    pub const MAX_FILTER: usize = 512;
    /// Most filters per direction in one grant.
    pub const MAX_FILTERS: usize = 64;
    /// Longest password that all families can store, in bytes.
    pub const MAX_PASSWORD: usize = 63;
    /// Longest host name that setup text accepts, in bytes.
    pub const MAX_HOST: usize = 253;
}
