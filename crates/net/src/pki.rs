//! Certificates: where they come from, which of them a client is given, and who can connect with
//! them.
//!
//! * [`PrivateCa`] is the authority of this installation; [`Chain::from_files`] reads what an
//!   owner provides, and [`Chain::from_pem`] what an ACME authority sent;
//! * [`Certificates`] holds all of them and chooses by what a client says it can verify;
//! * [`TlsService`] is what one listener presents.

mod authority;
mod certificate;
mod certificates;
mod chain;
mod chain_error;
mod challenge;
mod error;
mod families;
mod files;
mod fingerprint;
mod issue;
mod key;
mod leaf;
mod offer;
mod read;
mod roots;
mod secret;
mod service;
mod validity;

pub use self::authority::{PrivateCa, Renewed};
pub use self::certificate::{CertificateFacts, Hash, KeyKind, SignatureKind};
pub use self::certificates::{Certificates, Choice};
pub use self::chain::{Anchor, AnchorKind, Chain, ChainNote, Origin};
pub use self::chain_error::{ChainError, Place};
pub use self::error::PkiError;
pub use self::families::{Condition, FamilyVerdict, Reason, Route, families};
pub use self::fingerprint::{Fingerprint, Fingerprints};
pub use self::key::ServerKey;
pub use self::offer::{Offer, WhyNot};
pub use self::roots::{Roots, authorities};
pub use self::secret::SecretKey;
pub use self::service::{RecordSize, TlsProfile, TlsService};
