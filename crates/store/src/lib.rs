//! What survives a restart: the data folder and the registry in it.
//!
//! The registry holds rows: users, devices, audit; managed settings with their
//! history, the ports that were chosen, the addresses that devices were told, the
//! tokens of the HTTP API, attempts to connect, and which keys devices check. It knows nothing of what a family, a topic filter or a
//! setting means; the binary translates. Times are arguments, in seconds since 1970.
//!
//! Any number of processes may use one folder at once, so that `safeport user
//! add` works while `safeport serve` runs. Only `serve` takes the
//! [`FolderLock`].
//!
//! The [`log`] holds what must be fast: sessions and retained messages, as
//! groups of bytes that only the broker understands.

mod addresses;
mod areas;
mod attempts;
mod audit;
mod chains;
mod columns;
mod devices;
mod error;
mod folder;
pub mod limits;
mod live;
mod lock;
pub mod log;
mod logins;
mod pins;
mod ports;
mod registry;
mod revisions;
mod rows;
mod schema;
mod tags;
mod tokens;
mod told;
mod users;
mod wishes;

pub use addresses::{AddressRow, VerifiedAddress};
pub use attempts::{AttemptDetails, AttemptKey, AttemptQuery, AttemptRow};
pub use audit::AuditRow;
pub use chains::ChainRow;
pub use error::{Kind, StoreError};
pub use folder::DataFolder;
pub use live::{InstanceKey, Live, LiveValue};
pub use lock::{ChangeTurn, FolderLock, RunningServer};
pub use pins::Pin;
pub use ports::{ChosenPort, PortEvent, PortEventKind, PortEventRow};
pub use registry::{Registry, Snapshot, Version};
pub use revisions::{
    Change, Draft, FileSnapshot, ManagedRow, Revision, RevisionKind, RevisionState, Scope,
};
pub use rows::{Account, By, DeviceRecord, Rights, Secret, User};
pub use tokens::{Token, TokenHash, TokenScope};
pub use told::Told;
pub use wishes::{CertificateWish, WishKind, WishState};
