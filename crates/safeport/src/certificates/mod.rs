//! The server's certificates from all their sources, and what each listener presents of them: the
//! private authority (always), files (`tls.chain_files`), ACME. The running server keeps them good
//! ([`Keeper`]); commands beside it look at the same ones ([`on_disk`]).

mod files;
mod keeper;
mod pins;
mod presented;
mod rotation;
#[cfg(test)]
mod tests;
mod words;

use std::time::SystemTime;

use safeport_net::PrivateCa;
use safeport_net::pki::{Certificates, PkiError, ServerKey};
use safeport_settings::Settings;
use safeport_store::{DataFolder, ManagedRow};

pub use files::{ChainFiles, Refused, chain_problems, client_ca_problems};
pub use keeper::{Keeper, KeeperHandle};
pub use pins::{pinned, stranded, strangers};
pub use presented::{HeldBack, Prepared, Presented, choice};
pub use rotation::{Rotation, RotationError, Strand, rotate};
pub use words::{chain_said, pki_said, rotation_said};

use crate::acme::ServerKeys;
use crate::lan;

/// Our own authority, made if there is none, with certificates for the names that this machine has
/// now and those that devices are told.
///
/// # Errors
/// If something of it cannot be read, made or written.
pub fn private(
    folder: &DataFolder,
    settings: &Settings,
    managed: &[ManagedRow],
) -> Result<PrivateCa, PkiError> {
    let now = SystemTime::now();
    let mut ca = PrivateCa::open_or_create(&folder.pki(), now)?;
    let told = lan::told_names(settings, managed);
    ca.ensure_leaf(&lan::certificate_names(&told), now)?;
    Ok(ca)
}

/// The keys that an ACME authority certifies: those of the private certificates, so that a
/// fingerprint stays true whichever of them is presented.
pub fn server_keys(ca: &PrivateCa) -> ServerKeys {
    let pem = |key| ca.key(key).pem().to_owned();
    ServerKeys {
        rsa: pem(ServerKey::Rsa),
        p256: pem(ServerKey::P256),
    }
}

/// What a server with these settings would present if it started now, and what it would refuse.
pub fn on_disk(
    folder: &DataFolder,
    settings: &Settings,
    ca: &PrivateCa,
) -> (Certificates, Vec<Refused>) {
    let now = SystemTime::now();
    let certificates = Certificates::new();
    certificates.set_private(ca.chains());
    let (chains, refused) = ChainFiles::of(settings).read(ca.ca_der(), now);
    certificates.set_files(chains);
    certificates.set_acme(presented::acme_on_disk(folder, settings, ca, now));
    (certificates, refused)
}
