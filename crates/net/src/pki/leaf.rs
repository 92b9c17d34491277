//! A server key of the authority, its certificate, and the key that will follow it.

use std::time::SystemTime;

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::{KeyKind, dns_names, time};
use super::chain::{Anchor, AnchorKind, Chain, Origin};
use super::error::PkiError;
use super::files::Folder;
use super::fingerprint::Fingerprints;
use super::issue;
use super::key::{ServerKey, rsa_numbers};
use super::secret::SecretKey;
use super::validity::{Validity, is_set, seconds};

/// The key of one kind, and its certificate once there is one.
#[derive(Debug)]
pub(super) struct Leaf {
    kind: ServerKey,
    key: KeyPair,
    pem: Option<String>,
    /// The key that takes the place of `key` when the owner says so.
    next: Option<KeyPair>,
}

impl Leaf {
    pub(super) fn open(folder: &Folder, kind: ServerKey) -> Result<Leaf, PkiError> {
        let key = folder.key(kind.stem(), kind, LEAF_LOST)?;
        let mut leaf = Leaf {
            kind,
            key,
            pem: None,
            next: folder.key_if_any(&next_name(kind), kind)?,
        };
        let name = leaf.certificate_name();
        if let Some(pem) = folder.read(&name)? {
            let der = CertificateDer::from_pem_slice(pem.as_bytes())
                .map_err(|_| folder.broken(&name, "it holds no certificate in PEM form", FIX))?;
            X509Certificate::from_der(&der)
                .map_err(|_| folder.broken(&name, "its certificate cannot be parsed", FIX))?;
            leaf.pem = Some(pem);
        }
        if !leaf.has_certificate_of_its_key() {
            leaf.pem = None;
        }
        Ok(leaf)
    }

    pub(super) fn kind(&self) -> ServerKey {
        self.kind
    }

    fn certificate_name(&self) -> String {
        format!("{}.pem", self.kind.stem())
    }

    fn der(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.pem.as_ref()?.as_bytes()).ok()
    }

    /// A key restored from a backup may be older than the certificate; it is then issued again.
    fn has_certificate_of_its_key(&self) -> bool {
        self.der().is_some_and(|der| {
            X509Certificate::from_der(&der)
                .is_ok_and(|(_, c)| c.public_key().raw == self.key.subject_public_key_info())
        })
    }

    /// Whether the certificate says what a new one would say and will do so long `enough`. Names
    /// beyond `names` are no fault: an interface that comes and goes, or is not there yet when the
    /// machine starts, must not have certificates issued each time.
    pub(super) fn is_good(
        &self,
        names: &[String],
        root: &CertificateDer<'_>,
        now: SystemTime,
        enough: impl Fn(SystemTime) -> bool,
    ) -> bool {
        let Some(der) = self.der() else { return false };
        let (Ok((_, leaf)), Ok((_, root))) = (
            X509Certificate::from_der(&der),
            X509Certificate::from_der(root),
        ) else {
            return false;
        };
        // A clock that ran ahead when the leaf was made.
        let has_begun = !is_set(now) || leaf.validity().not_before.timestamp() <= seconds(now);
        enough(time(leaf.validity().not_after.timestamp()))
            && has_begun
            && covers(&dns_names(&leaf), names)
            && leaf.verify_signature(Some(root.public_key())).is_ok()
    }

    /// The names that the certificate carries; none before there is one.
    fn names(&self) -> Vec<String> {
        let der = self.der();
        let parsed = der
            .as_ref()
            .and_then(|der| X509Certificate::from_der(der).ok());
        parsed.map_or_else(Vec::new, |(_, leaf)| dns_names(&leaf))
    }

    pub(super) fn secret(&self) -> SecretKey {
        SecretKey::of(&self.key)
    }

    pub(super) fn fingerprints(&self) -> Fingerprints {
        fingerprints(&self.key)
    }

    pub(super) fn has_next(&self) -> bool {
        self.next.is_some()
    }

    pub(super) fn next_fingerprints(&self) -> Option<Fingerprints> {
        self.next.as_ref().map(fingerprints)
    }

    pub(super) fn prepare_next(&mut self, folder: &Folder) -> Result<(), PkiError> {
        if self.next.is_none() {
            let name = next_name(self.kind);
            let key = self
                .kind
                .generate()
                .map_err(|e| folder.cannot_make(&name, e))?;
            folder.write_secret(&name, &key.serialize_pem())?;
            self.next = Some(key);
        }
        Ok(())
    }

    /// Changes to the next key and forgets the certificate; returns the names it had.
    pub(super) fn rotate(&mut self, folder: &Folder) -> Result<Vec<String>, PkiError> {
        let (stem, next) = (self.kind.stem(), next_name(self.kind));
        if self.next.is_none() {
            return Err(PkiError::NoNextKey {
                path: folder.path(&next),
            });
        }
        // Copied, not renamed: at no moment is there a certificate without any key.
        folder.write_secret(&format!("{stem}.previous.key"), &self.key.serialize_pem())?;
        folder.rename(&next, &format!("{stem}.key"))?;
        let names = self.names();
        if let Some(key) = self.next.take() {
            self.key = key;
            self.pem = None;
        }
        Ok(names)
    }

    pub(super) fn issue(
        &mut self,
        folder: &Folder,
        issuer: &Issuer<'_, KeyPair>,
        names: &[String],
        validity: &Validity,
    ) -> Result<(), PkiError> {
        let name = self.certificate_name();
        let pem = issue::leaf(&self.key, issuer, names, validity)
            .map_err(|e| folder.cannot_make(&name, e))?;
        folder.write_public(&name, &pem)?;
        self.pem = Some(pem);
        Ok(())
    }

    /// The certificate and its key as a chain that ends at `root`; `None` before there is one.
    pub(super) fn chain(&self, root: &str) -> Option<Chain> {
        let key = PrivateKeyDer::try_from(self.key.serialized_der()).ok()?;
        let anchor = Anchor {
            name: root.to_owned(),
            kind: AnchorKind::Private,
            key: KeyKind::Rsa(2048),
            length: 1,
        };
        Chain::new(
            Origin::Private,
            vec![self.der()?],
            &[Some(anchor.key)],
            &key,
            vec![anchor],
            Vec::new(),
        )
    }
}

fn covers(carried: &[String], names: &[String]) -> bool {
    names.iter().all(|name| carried.contains(name))
}

fn next_name(kind: ServerKey) -> String {
    format!("{}.next.key", kind.stem())
}

/// # Panics
///
/// For a P-256 key.
fn fingerprints(key: &KeyPair) -> Fingerprints {
    let numbers = rsa_numbers(key.public_key_raw());
    let (exponent, modulus) = numbers.expect("checked when the key was read or made");
    Fingerprints::of(exponent, modulus)
}

const LEAF_LOST: &str = "give devices that pin the fingerprint the new one";
const FIX: &str = "remove it: it is issued again with the same key";
