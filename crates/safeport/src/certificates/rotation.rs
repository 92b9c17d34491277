//! New certificates on request, and a new key: refused as long as a device knows the server by the
//! old one, until a person says which devices may be lost.

use std::time::SystemTime;

use safeport_net::PrivateCa;
use safeport_net::pki::{Fingerprints, PkiError, ServerKey};
use safeport_store::{By, Registry, StoreError};
use thiserror::Error;

use super::pins::pinned;

/// What a wish for the next key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotation {
    /// The new key is in use; these are its fingerprints.
    Done(Fingerprints),
    /// Nothing was changed: these devices know the server by the old key, and nobody said that they
    /// may be lost.
    Stranded(Vec<String>),
}

/// Why nothing was rotated.
#[derive(Debug, Error)]
pub enum RotationError {
    /// The keys or certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The registry.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts the next keys in use, RSA and P-256, made now if none were prepared. `strand` are the devices that may be
/// lost by it.
///
/// # Errors
/// Files or registry cannot be read or written. Pins are given up before the key is: at worst a
/// device counts as lost that is not.
pub fn rotate(
    ca: &mut PrivateCa,
    registry: &mut Registry,
    strand: &Strand<'_>,
    by: By<'_>,
) -> Result<Rotation, RotationError> {
    let old = ca.fingerprints().v2.hex();
    let lost: Vec<String> = pinned(registry)?
        .into_iter()
        .filter(|(pin, _)| pin.fingerprint == old)
        .map(|(pin, _)| pin.device)
        .collect();
    let unsaid: Vec<String> = lost
        .iter()
        .filter(|device| !strand.covers(device))
        .cloned()
        .collect();
    if !unsaid.is_empty() {
        return Ok(Rotation::Stranded(unsaid));
    }
    if !lost.is_empty() {
        registry.strand(&lost, by)?;
    }
    for key in [ServerKey::Rsa, ServerKey::P256] {
        ca.prepare_next(key)?;
        ca.rotate(key, SystemTime::now())?;
    }
    Ok(Rotation::Done(ca.fingerprints()))
}

/// Devices that may be lost.
#[derive(Debug, Clone, Copy)]
pub struct Strand<'a> {
    /// These.
    pub devices: &'a [String],
    /// All.
    pub all: bool,
}

impl Strand<'_> {
    /// Whether this one may.
    pub fn covers(&self, device: &str) -> bool {
        self.all || self.devices.iter().any(|named| named == device)
    }
}
