//! The private certificate authority of one installation: a folder with one root and two server
//! certificates, made once and renewed without new keys, since devices pin the key.
//!
//! Why two leaves: Tasmota and ESPEasy know RSA only, and everything else is five times cheaper
//! with P-256. The root is RSA too, so that those devices can check its signature. All signatures
//! use SHA-256, the one hash that a BearSSL profile for small devices has.

mod certificate;
mod certificates;
mod chain;
mod chain_error;
mod challenge;
mod error;
mod files;
mod fingerprint;
mod issue;
mod key;
mod leaf;
mod offer;
mod read;
mod roots;
mod service;
mod validity;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::ServerSessionMemoryCache;
use x509_parser::prelude::{FromDer, X509Certificate};

pub use self::certificate::{CertificateFacts, Hash, KeyKind, SignatureKind};
pub use self::certificates::{Certificates, Choice};
pub use self::chain::{Anchor, AnchorKind, Chain, ChainNote, Origin};
pub use self::chain_error::{ChainError, Place};
pub use self::error::PkiError;
use self::files::{CA_FIX, Folder};
pub use self::fingerprint::{Fingerprint, Fingerprints};
pub use self::key::ServerKey;
use self::leaf::{Leaf, LeafByClientHello};
pub use self::offer::{Offer, WhyNot};
pub use self::roots::{Roots, authorities};
pub use self::service::{RecordSize, TlsProfile, TlsService};
use self::validity::Validity;
use crate::limits::TLS_SESSIONS;

/// A private authority and the two server certificates it has issued.
///
/// The folder holds `ca.pem` (to be given to devices), `ca.key`, `server-rsa.pem`,
/// `server-rsa.key`, `server-p256.pem` and `server-p256.key`; key files are readable by their
/// owner only (mode 0600). Files are replaced in one step, so a power cut leaves the old or the
/// new one.
#[derive(Debug)]
pub struct PrivateCa {
    folder: Folder,
    ca_pem: String,
    ca_der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    rsa: Leaf,
    p256: Leaf,
    serving: Arc<LeafByClientHello>,
}

impl PrivateCa {
    /// Reads the authority in `dir`, or makes folder, root and keys where there are none. That
    /// takes up to some seconds once, for three keys.
    ///
    /// `now` is the clock of this machine; a clock before the year 2026 counts as unset.
    ///
    /// # Errors
    ///
    /// Unwritable folder, unreadable or broken files, lost keys, a root past its end. Nothing that
    /// exists is ever overwritten here.
    pub fn open_or_create(dir: &Path, now: SystemTime) -> Result<PrivateCa, PkiError> {
        let folder = Folder::open(dir)?;
        let ca_key = folder.key("ca", ServerKey::Rsa, CA_LOST)?;
        let ca_pem = match folder.read("ca.pem")? {
            Some(pem) => pem,
            None => {
                let pem = issue::root(&ca_key).map_err(|e| folder.cannot_make("ca.pem", e))?;
                folder.write_public("ca.pem", &pem)?;
                pem
            }
        };
        let ca_der = folder.check_root(&ca_pem, &ca_key, now)?;
        let issuer = Issuer::from_ca_cert_der(&ca_der.as_slice().into(), ca_key)
            .map_err(|e| folder.broken("ca.pem", e.to_string(), CA_FIX))?;
        let rsa = Leaf::open(&folder, ServerKey::Rsa)?;
        let p256 = Leaf::open(&folder, ServerKey::P256)?;
        let serving = Arc::new(LeafByClientHello::default());
        let mut ca = PrivateCa {
            folder,
            ca_pem,
            ca_der,
            issuer,
            rsa,
            p256,
            serving,
        };
        ca.serve()?;
        Ok(ca)
    }

    /// The root certificate, for devices that are given an authority to trust (ESPHome
    /// `certificate_authority`, Shelly `user_ca.pem`, `mosquitto_sub --cafile`).
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Sees to it that both server certificates carry exactly `names` and are good for 30 more
    /// days; if not, issues them again *with the same keys*. Call it at start and once a day.
    /// Connections made through an earlier [`PrivateCa::server_config`] get the new certificates
    /// from their next handshake on.
    ///
    /// A name is a host name or an IP address. IP addresses are written as address and also as
    /// DNS name, since BearSSL and mbedTLS 2.28 compare the latter only.
    ///
    /// # Errors
    ///
    /// A name that cannot stand in a certificate, an empty or too long list, an unwritable folder,
    /// a root past its end.
    pub fn ensure_leaf(&mut self, names: &[String], now: SystemTime) -> Result<(), PkiError> {
        let names = issue::check_names(names)?;
        self.folder
            .check_root(&self.ca_pem, self.issuer.key(), now)?;
        for leaf in [&mut self.rsa, &mut self.p256] {
            let validity = Validity::of_leaf(leaf.kind(), now);
            if !leaf.is_good(&names, &self.ca_der, now, &validity) {
                leaf.issue(&self.folder, &self.issuer, &names, &validity)?;
            }
        }
        self.serve()
    }

    /// What to paste into Tasmota's `MqttFingerprint1`: 20 hexadecimal bytes separated by spaces,
    /// of the RSA server key (the version 2 algorithm, current since Tasmota 8.4). It stays the
    /// same across renewals.
    pub fn tasmota_fingerprint(&self) -> String {
        self.fingerprints().v2.to_string()
    }

    /// Both fingerprints of the RSA server key.
    pub fn fingerprints(&self) -> Fingerprints {
        let (exponent, modulus) = self.rsa.rsa_public_key();
        Fingerprints::of(exponent, modulus)
    }

    /// What to present: the P-256 certificate and the RSA one, each once it is issued.
    pub fn chains(&self) -> Vec<Chain> {
        let root = CertificateDer::from(self.ca_der.as_slice());
        let name = X509Certificate::from_der(&root).map_or_else(
            |_| String::new(),
            |(_, root)| certificate::name_of(root.subject()),
        );
        let leaves = [&self.p256, &self.rsa].into_iter();
        leaves.filter_map(|leaf| leaf.chain(&name)).collect()
    }

    /// The TLS profile for device listeners.
    ///
    /// TLS 1.2 and 1.3; the P-256 certificate for clients that can use it, else RSA, with or
    /// without SNI; ALPN `mqtt` and `http/1.1`, or none; tickets for 1.2 and one per 1.3
    /// handshake; handshake records whole; no client certificates.
    ///
    /// # Errors
    ///
    /// [`PkiError::NoLeaf`] before the first [`PrivateCa::ensure_leaf`].
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, PkiError> {
        for leaf in [&self.rsa, &self.p256] {
            if !leaf.is_issued() {
                return Err(PkiError::NoLeaf {
                    path: leaf.certificate_path(&self.folder),
                });
            }
        }
        let failed = |e: rustls::Error| self.folder.cannot_make("a TLS configuration", e);
        let mut config = ServerConfig::builder_with_provider(key::provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(self.serving.clone());
        config.alpn_protocols = vec![b"mqtt".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(failed)?;
        config.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS);
        // Each ticket costs a write and bytes; a device resumes with the newest one only.
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    fn serve(&mut self) -> Result<(), PkiError> {
        if self.rsa.is_issued() && self.p256.is_issued() {
            let rsa = self.rsa.certified(&self.folder)?;
            let p256 = self.p256.certified(&self.folder)?;
            self.serving.serve(rsa, p256);
        }
        Ok(())
    }
}

const CA_LOST: &str = "give every device that trusts the old ca.pem the new one";
