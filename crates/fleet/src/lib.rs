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

mod as_text;
mod chip;
mod device;
pub mod espeasy;
pub mod esphome;
mod family;
mod grant;
pub mod heard;
pub mod image;
mod mac;
mod member;
mod name;
mod password;
pub mod query;
pub mod release;
mod roster;
mod setup;
mod sighting;
mod slot;
pub mod tasmota;
pub mod upgrade;
pub mod version;

pub use chip::{Chip, ChipError, revision, single_core};
pub use device::Device;
pub use family::{Family, FamilyError};
pub use grant::{Grant, GrantError};
pub use mac::{MacAddress, MacAddressError};
pub use member::{CameFrom, Event, Known, Member, MemberId, MemberIdError, Set, Told, Web, What};
pub use name::{DeviceName, NameError, TopicPathError};
pub use password::Password;
pub use roster::{
    Asked, Conflict, ConflictId, ConflictIdError, Counts, Dirty, Enrolment, Found, Page, Query,
    Roster, RosterLimits, Settle, SettleError, Sighted, Why,
};
pub use setup::{Endpoint, Field, Setup, SetupError, Trust, setup, tasmota_backlog};
pub use sighting::{
    Confidence, Facts, Identity, IdentityKind, Installed, Proof, Sighting, Source, Text,
};
pub use slot::{Layout, Slot};

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
    /// Longest `OtaUrl` that Tasmota stores, in characters.
    pub const MAX_OTA_URL: usize = 100;
    /// Most lines in the history of one offer; beyond it the middle is thinned out.
    pub const MAX_UPGRADE_HISTORY: usize = 80;
    /// Bytes of a line there that are kept; a device's own words may be longer.
    pub const MAX_UPGRADE_WORDS: usize = 300;
    /// Longest host name that setup text accepts, in bytes.
    pub const MAX_HOST: usize = 253;
    /// Longest question for devices, in characters.
    pub const MAX_QUERY: usize = 2000;
    /// Most comparisons in such a question, and most values in one of its lists.
    pub const MAX_QUERY_TERMS: usize = 100;
    /// Most parentheses inside one another in such a question.
    pub const MAX_QUERY_DEPTH: usize = 20;
    /// Longest message that is looked into, in bytes; a longer one says nothing.
    pub const MAX_HEARD: usize = 32 * 1024;
    /// Longest identity and longest text of a fact that is kept, in bytes; a
    /// longer one is left out.
    pub const MAX_IDENTITY: usize = 256;
    /// Identities of one sighting that count; more are left out.
    pub const MAX_SIGHTED: usize = 8;
    /// Identities of one member; the one that is longest unused makes room.
    pub const MAX_IDENTITIES: usize = 16;
    /// Addresses of ours that are remembered as told to one member; the oldest
    /// makes room.
    pub const MAX_TOLD: usize = 8;
    /// Tags of one member; more are refused.
    pub const MAX_TAGS: usize = 16;
    /// Events of one member that are kept in memory; the oldest makes room.
    pub const MAX_EVENTS: usize = 8;
    /// Bytes of a note among them.
    pub const MAX_NOTE: usize = 4096;
    /// Events that wait to be written down; more are counted and lost.
    pub const MAX_WAITING_EVENTS: usize = 65_536;
    /// Contradictions that are kept; the one longest not repeated makes room.
    pub const MAX_CONFLICTS: usize = 1_000;
    /// Addresses whose new devices are counted one by one within a minute; the
    /// others share one count.
    pub const MAX_COUNTED_ADDRESSES: usize = 16_384;
    /// A member of which nothing is new but that it was seen is written down
    /// once in so many seconds.
    pub const SEEN_GRAIN: u64 = 60;
}
