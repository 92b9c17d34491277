//! A certificate chain as it is sent, with its key and what it takes to verify it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, CertificateFacts, KeyKind};
use super::fingerprint::Fingerprints;
use super::key;
use super::offer::{Offer, WhyNot};

/// A server certificate and its issuers up to, but without, a root; and the key, which nothing
/// here ever prints.
pub struct Chain {
    origin: Origin,
    names: Vec<String>,
    dns_names: Vec<String>,
    certificates: Vec<CertificateFacts>,
    anchors: Vec<Anchor>,
    notes: Vec<ChainNote>,
    fingerprints: Option<Fingerprints>,
    certified: Arc<CertifiedKey>,
}

/// Where a chain comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The private authority of this installation.
    Private,
    /// A file that its owner looks after.
    Files {
        /// The file with the chain.
        path: PathBuf,
    },
    /// An authority that speaks ACME.
    Acme,
    /// Made to answer the challenge TLS-ALPN-01 of such an authority, and good for nothing else.
    Challenge,
}

/// A root at which a chain ends for those who have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Its common name, or the whole subject where there is none.
    pub name: String,
    /// Where it is known from.
    pub kind: AnchorKind,
    /// Its key.
    pub key: KeyKind,
    /// How many certificates of the chain lead to it: the first so many, as sent.
    pub length: usize,
}

/// Where a root is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnchorKind {
    /// Mozilla's list, from which browsers, systems and device bundles are made.
    Public,
    /// The file that `tls.ca_file` names.
    Given,
    /// The root of the private authority of this installation.
    Private,
    /// It stood at the end of the file with the chain.
    InFile,
}

/// Worth telling whoever provides a chain, although it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainNote {
    /// It ends at a young root, and the certificate that carries it on to one that devices have
    /// had for years is not in the file.
    WithoutCrossSigned {
        /// The root at which it ends.
        root: String,
        /// The older root that its bridge would lead to.
        older: &'static str,
    },
    /// A root stood in the file; it is not sent.
    RootNotSent(String),
    /// An authority issued it that neither Mozilla's list nor `tls.ca_file` knows.
    UnknownRoot(String),
    /// An RSA key with more bits than the small stacks take.
    LongKey(KeyKind),
    /// A signature that the small stacks cannot check; the name is that of the certificate.
    LargeHash {
        /// Its name.
        name: String,
        /// Its signature, in words.
        signature: String,
    },
    /// A curve that the small stacks do not know; the name is that of the certificate.
    LargeCurve {
        /// Its name.
        name: String,
        /// Its key.
        key: KeyKind,
    },
}

impl Chain {
    /// The chain as sent, which is not empty, with its key. `None` for a key or signature that is
    /// of no known kind.
    pub(super) fn new(
        origin: Origin,
        sent: Vec<CertificateDer<'static>>,
        signers: &[Option<KeyKind>],
        key: &PrivateKeyDer<'_>,
        anchors: Vec<Anchor>,
        notes: Vec<ChainNote>,
    ) -> Option<Chain> {
        let mut certificates = Vec::with_capacity(sent.len());
        for (der, signed_by) in sent.iter().zip(signers) {
            certificates.push(Certificate::parse(der)?.facts(*signed_by)?);
        }
        let leaf = Certificate::parse(sent.first()?)?;
        let (names, dns_names) = (leaf.names(), leaf.dns_names());
        let public = &leaf.x509.public_key().subject_public_key.data;
        let fingerprints = match certificates.first()?.key {
            KeyKind::Rsa(_) => key::rsa_numbers(public)
                .map(|(exponent, modulus)| Fingerprints::of(exponent, modulus)),
            _ => None,
        };
        let signing = aws_lc_rs::sign::any_supported_type(key).ok()?;
        Some(Chain {
            origin,
            names,
            dns_names,
            certificates,
            anchors,
            notes,
            fingerprints,
            certified: Arc::new(CertifiedKey::new(sent, signing)),
        })
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// DNS names and addresses of the server certificate, in lower case; wildcards as `*.home`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Those of its names that stand there as DNS names, which is where the small stacks look;
    /// an address may be among them.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// The kind of the server's key.
    pub fn key(&self) -> KeyKind {
        self.leaf().key
    }

    /// The server certificate; the others follow it in [`Chain::certificates`].
    pub fn leaf(&self) -> &CertificateFacts {
        &self.certificates[0]
    }

    /// When the last of its certificates begins to be good.
    pub fn not_before(&self) -> SystemTime {
        let all = self.certificates.iter().map(|c| c.not_before);
        all.max().unwrap_or(UNIX_EPOCH)
    }

    /// When the first of its certificates ends.
    pub fn not_after(&self) -> SystemTime {
        let all = self.certificates.iter().map(|c| c.not_after);
        all.min().unwrap_or(UNIX_EPOCH)
    }

    /// Whole days until [`Chain::not_after`]; 0 when it is over.
    pub fn days_left(&self, now: SystemTime) -> u64 {
        let left = self.not_after().duration_since(now).unwrap_or_default();
        left.as_secs() / 86_400
    }

    /// The certificates as they are sent, the server's first.
    pub fn certificates(&self) -> &[CertificateFacts] {
        &self.certificates
    }

    /// The same in DER form.
    pub fn der(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The same in PEM form.
    pub fn pem(&self) -> String {
        let certificates = self.der().iter();
        let blocks = certificates.map(|der| pem::Pem::new("CERTIFICATE", der.to_vec()));
        let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_many_config(&blocks.collect::<Vec<_>>(), lines)
    }

    /// The roots at which it ends; empty when nobody here knows one.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// What is worth telling about it.
    pub fn notes(&self) -> &[ChainNote] {
        &self.notes
    }

    /// What Tasmota shows and pins; `None` unless the key is RSA.
    pub fn tasmota_fingerprints(&self) -> Option<Fingerprints> {
        self.fingerprints
    }

    /// Whether a client that was told to connect to `name` finds it in the certificate. A
    /// wildcard stands for one label.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        self.names.iter().any(|own| fits(own, name))
    }

    /// Whether a client that offers this can check the handshake and every signature of the chain
    /// as sent. Whether it trusts the root is another matter.
    ///
    /// # Errors
    ///
    /// The first thing that it cannot check.
    pub fn can_verify(&self, offer: &Offer<'_>) -> Result<(), WhyNot> {
        offer.takes_key(self.key())?;
        offer.takes_signatures(self, self.certificates.len())
    }

    pub(super) fn is_rsa(&self) -> bool {
        matches!(self.key(), KeyKind::Rsa(_))
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

/// Whether the certificate name `own` covers `name`, in any case.
pub(super) fn fits(own: &str, name: &str) -> bool {
    match own.strip_prefix("*.") {
        Some(parent) => name
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent)),
        None => own.eq_ignore_ascii_case(name),
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain")
            .field("origin", &self.origin)
            .field("names", &self.names)
            .field("key", &self.key())
            .field("certificates", &self.certificates.len())
            .finish_non_exhaustive()
    }
}
