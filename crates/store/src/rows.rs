//! The rows of the registry.

use std::fmt;

/// Topic filters for both directions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Filters of the topics that may be published to.
    pub publish: Vec<String>,
    /// Filters that subscriptions must stay within.
    pub subscribe: Vec<String>,
}

/// A person or a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name. Unique among users and devices.
    pub name: String,
    /// Hash of the password, in the form that the hash function prints.
    pub password_hash: Secret,
    /// What the user may do.
    pub rights: Rights,
    /// Whether the user may log in.
    pub enabled: bool,
    /// When the user was added, in seconds since 1970.
    pub created: u64,
}

/// A device, spelled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Its one name.
    pub name: String,
    /// The word for its family.
    pub family: String,
    /// Where its own topics grow.
    pub topic: String,
    /// The client identifier that it was told to use. Unique.
    pub client_id: String,
    /// Login name. Unique among users and devices.
    pub username: String,
    /// Hardware address, once known. Unique.
    pub mac: Option<String>,
    /// Hash of the password, in the form that the hash function prints.
    pub password_hash: Secret,
    /// Rights beyond the family's pattern.
    pub extra: Rights,
    /// The groups it belongs to, in alphabetical order. See
    /// [`Registry::set_device_tags`](crate::Registry::set_device_tags).
    pub tags: Vec<String>,
    /// When the device was added, in seconds since 1970.
    pub created: u64,
}

/// Whoever logs in with one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// A person or a program.
    User(User),
    /// A device.
    Device(DeviceRecord),
}

/// Text that stays out of logs: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Who changes something, and when: every change is audited.
#[derive(Debug, Clone, Copy)]
pub struct By<'a> {
    /// The person or program, for instance `cli:root`.
    pub who: &'a str,
    /// Seconds since 1970.
    pub at: u64,
}
