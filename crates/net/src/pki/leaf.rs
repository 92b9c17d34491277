//! A server certificate with its key, and the choice between two of them per ClientHello.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, NamedGroup, SignatureScheme};
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

    pub(super) fn is_issued(&self) -> bool {
        self.pem.is_some()
    }

    pub(super) fn certificate_path(&self, folder: &Folder) -> PathBuf {
        folder.path(&self.certificate_name())
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

    /// Whether the certificate says what a new one would say and will do so long `enough`.
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
            && dns_names(&leaf) == names
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

    /// The certificate chain and its key, in the form that rustls serves.
    pub(super) fn certified(&self, folder: &Folder) -> Result<Arc<CertifiedKey>, PkiError> {
        let name = self.certificate_name();
        let key = PrivateKeyDer::try_from(self.key.serialized_der().to_vec())
            .map_err(|e| folder.cannot_make(&name, e))?;
        let key =
            aws_lc_rs::sign::any_supported_type(&key).map_err(|e| folder.cannot_make(&name, e))?;
        let chain = self.der().into_iter().collect();
        Ok(Arc::new(CertifiedKey::new(chain, key)))
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

/// Gives each client the cheapest certificate that it can use. Both can be exchanged while
/// listeners serve.
#[derive(Debug, Default)]
pub(super) struct LeafByClientHello {
    leaves: RwLock<Option<Leaves>>,
}

#[derive(Debug)]
struct Leaves {
    rsa: Arc<CertifiedKey>,
    p256: Arc<CertifiedKey>,
}

impl LeafByClientHello {
    pub(super) fn serve(&self, rsa: Arc<CertifiedKey>, p256: Arc<CertifiedKey>) {
        let mut leaves = self.leaves.write().unwrap_or_else(PoisonError::into_inner);
        *leaves = Some(Leaves { rsa, p256 });
    }
}

impl ResolvesServerCert for LeafByClientHello {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let leaves = self.leaves.read().unwrap_or_else(PoisonError::into_inner);
        let leaves = leaves.as_ref()?;
        Some(if takes_p256(&hello) {
            leaves.p256.clone()
        } else {
            leaves.rsa.clone()
        })
    }
}

fn takes_p256(hello: &ClientHello<'_>) -> bool {
    let schemes = hello.signature_schemes();
    if !schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256) {
        return false;
    }
    // Nothing else would do, so this is its only chance.
    if !schemes.iter().any(|scheme| RSA_SCHEMES.contains(scheme)) {
        return true;
    }
    let suites = hello.cipher_suites();
    // Which version will be agreed is not shown here. A client that lists suites of TLS 1.2 may
    // end there, where the suite has to name ECDSA.
    let may_use_tls12 = suites.iter().any(|suite| !is_tls13_or_signal(*suite));
    let suites_allow = !may_use_tls12 || suites.iter().any(|suite| ECDSA_SUITES.contains(suite));
    // For TLS 1.2 the groups limit the curve of the certificate too (RFC 8422 §5.1.1).
    let groups_allow = hello
        .named_groups()
        .is_none_or(|groups| groups.contains(&NamedGroup::secp256r1));
    suites_allow && groups_allow
}

/// Suites of TLS 1.3 (0x13..), GREASE (RFC 8701) and the two signalling values.
fn is_tls13_or_signal(suite: CipherSuite) -> bool {
    let number = u16::from(suite);
    let is_grease = number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff;
    number >> 8 == 0x13 || is_grease || number == 0x00ff || number == 0x5600
}

const RSA_SCHEMES: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];

const ECDSA_SUITES: [CipherSuite; 3] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
];

const LEAF_LOST: &str = "give devices that pin the fingerprint the new one";
const FIX: &str = "remove it: it is issued again with the same key";
