//! What survives a restart: the data folder and the registry in it.
//!
//! The registry holds rows: users, devices, audit. It knows nothing of what a
//! family or a topic filter means; the binary translates. Times are arguments,
//! in seconds since 1970.
//!
//! Any number of processes may use one folder at once, so that `safeport user
//! add` works while `safeport serve` runs. Only `serve` takes the
//! [`FolderLock`].
//!
//! The [`log`] holds what must be fast: sessions and retained messages, as
//! groups of bytes that only the broker understands.

mod audit;
mod devices;
mod error;
mod folder;
mod lock;
pub mod log;
mod logins;
mod registry;
mod rows;
mod schema;
mod users;

pub use audit::AuditRow;
pub use error::{Kind, StoreError};
pub use folder::DataFolder;
pub use lock::FolderLock;
pub use registry::{Registry, Snapshot, Version};
pub use rows::{Account, By, DeviceRecord, Rights, Secret, User};

/// Limits of this crate.
pub mod limits {
    use std::time::Duration;

    /// How long a statement waits for another process to finish its own.
    pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
    /// Most audit rows kept; the oldest go first.
    pub const MAX_AUDIT_ROWS: u32 = 100_000;
    /// What a segment of the log holds unless the caller says otherwise: 16 MiB.
    pub const SEGMENT_BYTES: u64 = 16 << 20;
    /// Longest group of the log: 1 GiB. Reading a group takes memory for all
    /// of its segment.
    pub const MAX_GROUP_BYTES: usize = 1 << 30;
    /// Places of damage that a recovery remembers; more are only counted.
    pub const MAX_PLACES: usize = 100;
}
