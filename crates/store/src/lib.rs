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

mod activations;
mod addresses;
mod areas;
mod attempts;
mod audit;
mod backups;
mod blobs;
mod chains;
mod columns;
mod device_tokens;
mod devices;
mod downloads;
mod error;
mod folder;
mod hash;
mod images;
pub mod limits;
mod live;
mod lock;
pub mod log;
mod logins;
mod member_events;
mod members;
mod offers;
mod pins;
mod ports;
mod programs;
mod quarantine;
mod recordings;
mod registry;
mod releases;
mod revisions;
mod rows;
mod schema;
mod scopes;
mod tags;
mod talks;
mod tidy;
mod tokens;
mod told;
mod users;
mod web_passwords;
mod wishes;

pub use activations::ActivationRow;
pub use addresses::{AddressRow, VerifiedAddress};
pub use attempts::{AttemptDetails, AttemptKey, AttemptQuery, AttemptRow};
pub use audit::AuditRow;
pub use backups::{BackupRow, NewBackup};
pub use blobs::{Blob, BlobFile, BlobStore, BlobWriter, Swept};
pub use chains::ChainRow;
pub use device_tokens::DeviceToken;
pub use downloads::{DownloadFile, DownloadToken, DownloadUse};
pub use error::{Kind, StoreError};
pub use folder::DataFolder;
pub use hash::{BadHash, BlobHash};
pub use images::ImageRow;
pub use live::{InstanceKey, Live, LiveValue};
pub use lock::{ChangeTurn, FolderLock, RunningServer};
pub use member_events::MemberEventRow;
pub use members::{IdentityRow, MemberRow};
pub use offers::{NewOffer, OfferChange, OfferQuery, OfferRow};
pub use pins::Pin;
pub use ports::{ChosenPort, PortEvent, PortEventKind, PortEventRow};
pub use programs::Program;
pub use quarantine::QuarantineRow;
pub use recordings::{Recording, Recordings, Side, Track, TrackBytes};
pub use registry::{Registry, Snapshot, Version};
pub use releases::{NewRelease, ReleaseImage, ReleaseRow};
pub use revisions::{
    Change, Draft, FileSnapshot, ManagedRow, Revision, RevisionKind, RevisionState, Scope,
};
pub use rows::{Account, By, DeviceRecord, Rights, Secret, User};
pub use scopes::{BadScope, ScopeArea, ScopeLevel, Scopes};
pub use talks::TalkRow;
pub use tidy::{Retention, Tidied};
pub use tokens::{Token, TokenHash};
pub use told::Told;
pub use wishes::{CertificateWish, WishKind, WishState};
