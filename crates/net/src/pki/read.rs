//! Chains from PEM files: what is in them is judged before it is served, since no device would
//! tell what is wrong.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::GeneralName;
use x509_parser::time::ASN1Time;

use super::certificate::{Certificate, Hash, KeyKind, SignatureKind, name_of};
use super::chain::{Anchor, AnchorKind, Chain, ChainNote, Origin};
use super::chain_error::{ChainError, Place};
use super::roots::{Roots, content, is_signed_by};
use super::validity::{is_set, seconds};
use crate::limits::{CHAIN_CERTIFICATES, PEM_FILE};

impl Chain {
    /// Reads a chain and its key: two PEM files, the server certificate first, then its issuers;
    /// a root at the end says where the chain ends and is not sent. Keys may be PKCS#8, PKCS#1 or
    /// SEC1.
    ///
    /// # Errors
    ///
    /// Whatever would keep every client away, and the ways of being wrong that only small
    /// devices mind: see [`ChainError`].
    pub fn from_files(
        chain: &Path,
        key: &Path,
        roots: &Roots,
        now: SystemTime,
    ) -> Result<Chain, ChainError> {
        let (certificates, private) = (read_file(chain)?, read_file(key)?);
        let files = Files {
            chain: chain.display().to_string(),
            key: key.display().to_string(),
        };
        let path = chain.to_owned();
        files.chain(Origin::Files { path }, &certificates, &private, roots, now)
    }

    /// The same from text that was read elsewhere. A chain of [`Origin::Acme`] may end at a root
    /// that nobody here knows, since its authority was chosen by the owner.
    ///
    /// # Errors
    ///
    /// As for [`Chain::from_files`].
    pub fn from_pem(
        origin: Origin,
        chain_pem: &[u8],
        key_pem: &[u8],
        roots: &Roots,
        now: SystemTime,
    ) -> Result<Chain, ChainError> {
        let chain = match &origin {
            Origin::Files { path } => path.display().to_string(),
            Origin::Acme => "the chain from the ACME authority".to_owned(),
            Origin::Private | Origin::Challenge => "the chain".to_owned(),
        };
        let key = "its key".to_owned();
        Files { chain, key }.chain(origin, chain_pem, key_pem, roots, now)
    }
}

/// How the two files are called in errors.
struct Files {
    chain: String,
    key: String,
}

impl Files {
    fn chain(
        &self,
        origin: Origin,
        chain_pem: &[u8],
        key_pem: &[u8],
        roots: &Roots,
        now: SystemTime,
    ) -> Result<Chain, ChainError> {
        let ders = self.certificates(chain_pem)?;
        let (key, signing) = self.key(key_pem)?;
        let mut all = Vec::with_capacity(ders.len());
        for (at, der) in ders.iter().enumerate() {
            let damaged = || ChainError::Damaged {
                file: self.chain.clone(),
                number: at + 1,
            };
            all.push(Certificate::parse(der).ok_or_else(damaged)?);
        }
        self.check_key(&all, &*signing)?;
        self.check_leaf(&all[0])?;
        for (at, certificate) in all.iter().enumerate() {
            self.check_kinds(certificate, at)?;
        }
        let root_in_file = self.check_order(&all, roots)?;
        let sent = &all[..all.len() - usize::from(root_in_file)];
        let anchors = anchors(sent, &all, roots);
        let last = &sent[sent.len() - 1];
        if anchors.is_empty() && origin != Origin::Acme {
            return Err(self.incomplete(last, sent.len() - 1));
        }
        for (at, certificate) in sent.iter().enumerate() {
            self.check_dates(certificate, at, now)?;
        }
        let signers = signers(sent, &anchors);
        let notes = notes(sent, &all, &anchors);
        let sent = ders[..sent.len()].to_vec();
        // The kinds of keys and signatures have been checked, and the key was read above.
        Chain::new(origin, sent, &signers, &key, anchors, notes).ok_or_else(|| {
            ChainError::UnusableKey {
                file: self.key.clone(),
            }
        })
    }

    fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ChainError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let file = self.chain.clone();
        match found {
            Ok(found) if found.len() > CHAIN_CERTIFICATES => Err(ChainError::TooMany {
                file,
                found: found.len(),
                limit: CHAIN_CERTIFICATES,
            }),
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(ChainError::NoCertificate { file }),
        }
    }

    fn key(&self, pem: &[u8]) -> Result<(PrivateKeyDer<'static>, Arc<dyn SigningKey>), ChainError> {
        let file = self.key.clone();
        let says = |text: &[u8]| pem.windows(text.len()).any(|part| part == text);
        if says(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || says(b"Proc-Type: 4,ENCRYPTED") {
            return Err(ChainError::KeyEncrypted { file });
        }
        let Ok(key) = PrivateKeyDer::from_pem_slice(pem) else {
            return Err(ChainError::NoKey { file });
        };
        match aws_lc_rs::sign::any_supported_type(&key) {
            Ok(signing) => Ok((key, signing)),
            Err(_) => Err(ChainError::UnusableKey { file }),
        }
    }

    /// The key has to be that of the first certificate.
    fn check_key(&self, all: &[Certificate<'_>], key: &dyn SigningKey) -> Result<(), ChainError> {
        let Some(public) = key.public_key() else {
            return Err(ChainError::UnusableKey {
                file: self.key.clone(),
            });
        };
        let of_key = |c: &Certificate<'_>| c.x509.public_key().raw == public.as_ref();
        match all.iter().position(of_key) {
            Some(0) => Ok(()),
            Some(at) => Err(ChainError::LeafNotFirst {
                file: self.chain.clone(),
                first: place(&all[0], 0),
                leaf: place(&all[at], at),
            }),
            None => Err(ChainError::KeyMismatch {
                file: self.chain.clone(),
                key_file: self.key.clone(),
                leaf: place(&all[0], 0),
            }),
        }
    }

    /// What only the server certificate has to be.
    fn check_leaf(&self, leaf: &Certificate<'_>) -> Result<(), ChainError> {
        let (file, certificate) = (self.chain.clone(), place(leaf, 0));
        if is_self_signed(leaf) {
            return Err(ChainError::SelfSigned { file, certificate });
        }
        if leaf.x509.is_ca() {
            return Err(ChainError::AuthorityAsServer { file, certificate });
        }
        let usage = leaf.x509.extended_key_usage();
        if let Ok(Some(usage)) = usage
            && !usage.value.server_auth
            && !usage.value.any
        {
            return Err(ChainError::NotForServers { file, certificate });
        }
        if let Ok(Some(usage)) = leaf.x509.key_usage()
            && !usage.value.digital_signature()
        {
            return Err(ChainError::MayNotSign { file, certificate });
        }
        if leaf.dns_names().is_empty() {
            return Err(ChainError::NoDnsName { file, certificate });
        }
        Ok(())
    }

    /// Each certificate has to be the issuer of the one before it. Whether the last is a root.
    fn check_order(&self, all: &[Certificate<'_>], roots: &Roots) -> Result<bool, ChainError> {
        let file = || self.chain.clone();
        for at in 1..all.len() {
            let (previous, this) = (&all[at - 1], &all[at]);
            if is_issued_by(previous, this) && !is_self_signed(previous) {
                if this.x509.is_ca() {
                    continue;
                }
                return Err(ChainError::NotAnAuthority {
                    file: file(),
                    certificate: place(this, at),
                });
            }
            let is_issuer = |other: &Certificate<'_>| is_issued_by(previous, other);
            if !is_self_signed(previous)
                && let Some(found) = all[at..].iter().position(is_issuer)
            {
                return Err(ChainError::Misordered {
                    file: file(),
                    issuer: place(&all[at + found], at + found),
                    issued: place(previous, at - 1),
                });
            }
            // Nobody in the file issued the one before. If it does not end at a root either, then
            // that is the news, unless this one only seems to be its issuer.
            if this.x509.subject().as_raw() == previous.x509.issuer().as_raw()
                && !is_self_signed(previous)
            {
                return Err(ChainError::WrongIssuer {
                    file: file(),
                    issuer: place(this, at),
                    issued: place(previous, at - 1),
                });
            }
            if !is_self_signed(previous) && roots.that_signed(previous, at).is_empty() {
                return Err(self.incomplete(previous, at - 1));
            }
            return Err(ChainError::Stranger {
                file: file(),
                certificate: place(this, at),
                previous: place(previous, at - 1),
            });
        }
        Ok(is_self_signed(&all[all.len() - 1]))
    }

    /// Keys and signatures that nobody should use any more, or that nobody knows. Asked before
    /// anything else that needs them, since they cannot be verified.
    fn check_kinds(&self, certificate: &Certificate<'_>, at: usize) -> Result<(), ChainError> {
        let (file, place) = (self.chain.clone(), place(certificate, at));
        let x509 = &certificate.x509;
        let Some(key) = KeyKind::of(x509.public_key()) else {
            return Err(ChainError::UnknownKey {
                file,
                certificate: place,
            });
        };
        let Some(signature) = SignatureKind::of(&x509.signature_algorithm) else {
            return Err(ChainError::UnknownSignature {
                file,
                certificate: place,
            });
        };
        if matches!(key, KeyKind::Rsa(..2048)) {
            return Err(ChainError::ShortKey {
                file,
                certificate: place,
                key,
            });
        }
        // Nobody verifies the signature of a root.
        let is_root = x509.subject().as_raw() == x509.issuer().as_raw();
        match signature.hash() {
            Some(hash @ (Hash::Md5 | Hash::Sha1)) if !is_root => Err(ChainError::WeakSignature {
                file,
                certificate: place,
                hash,
            }),
            _ => Ok(()),
        }
    }

    fn check_dates(
        &self,
        certificate: &Certificate<'_>,
        at: usize,
        now: SystemTime,
    ) -> Result<(), ChainError> {
        let (file, place) = (self.chain.clone(), place(certificate, at));
        let dates = certificate.x509.validity();
        if seconds(now) >= dates.not_after.timestamp() {
            return Err(ChainError::Expired {
                file,
                certificate: place,
                ended: stamp(dates.not_after),
            });
        }
        // A clock that was never set says nothing about a beginning.
        if is_set(now) && seconds(now) < dates.not_before.timestamp() {
            return Err(ChainError::NotYetValid {
                file,
                certificate: place,
                begins: stamp(dates.not_before),
            });
        }
        Ok(())
    }

    fn incomplete(&self, last: &Certificate<'_>, at: usize) -> ChainError {
        ChainError::Incomplete {
            file: self.chain.clone(),
            last: place(last, at),
            missing: name_of(last.x509.issuer()),
            address: issuer_address(last),
        }
    }
}

/// All of a file that is not longer than a chain or key can be.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, ChainError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(PEM_FILE + 1).read_to_end(&mut bytes))
        .map_err(|source| ChainError::Read {
            file: path.display().to_string(),
            source,
        })?;
    if bytes.len() as u64 > PEM_FILE {
        return Err(ChainError::TooLong {
            file: path.display().to_string(),
            limit: PEM_FILE,
        });
    }
    Ok(bytes)
}

/// UTC, without names of months, which would be those of one language.
pub(super) fn stamp(moment: ASN1Time) -> String {
    let moment = moment.to_datetime();
    let (date, (hour, minute, second)) = (moment.date(), moment.to_hms());
    format!("{date} {hour:02}:{minute:02}:{second:02}Z")
}

fn place(certificate: &Certificate<'_>, at: usize) -> Place {
    Place {
        number: at + 1,
        name: certificate.name(),
    }
}

fn is_self_signed(certificate: &Certificate<'_>) -> bool {
    certificate.x509.subject().as_raw() == certificate.x509.issuer().as_raw()
        && is_issued_by(certificate, certificate)
}

fn is_issued_by(issued: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
    issued.x509.issuer().as_raw() == issuer.x509.subject().as_raw()
        && content(issuer.x509.public_key().raw).is_some_and(|key| is_signed_by(issued, key))
}

/// Every known root that signed one of the certificates, those of the longest way first; and the
/// root in the file, if nobody else knows it.
fn anchors(sent: &[Certificate<'_>], all: &[Certificate<'_>], roots: &Roots) -> Vec<Anchor> {
    let mut anchors: Vec<Anchor> = Vec::new();
    for (at, certificate) in sent.iter().enumerate().rev() {
        anchors.extend(roots.that_signed(certificate, at + 1));
    }
    if let Some(root) = all.get(sent.len())
        && let Some(key) = KeyKind::of(root.x509.public_key())
        && !anchors.iter().any(|anchor| anchor.length == sent.len())
    {
        anchors.insert(
            0,
            Anchor {
                name: root.name(),
                kind: AnchorKind::InFile,
                key,
                length: sent.len(),
            },
        );
    }
    anchors
}

/// Whose key signed each: that of the next one, or of the root.
fn signers(sent: &[Certificate<'_>], anchors: &[Anchor]) -> Vec<Option<KeyKind>> {
    let of_issuer = |at: usize| match sent.get(at + 1) {
        Some(issuer) => KeyKind::of(issuer.x509.public_key()),
        None => {
            let root = anchors.iter().find(|anchor| anchor.length == at + 1);
            root.map(|root| root.key)
        }
    };
    (0..sent.len()).map(of_issuer).collect()
}

fn notes(sent: &[Certificate<'_>], all: &[Certificate<'_>], anchors: &[Anchor]) -> Vec<ChainNote> {
    let mut notes = Vec::new();
    if let Some(root) = all.get(sent.len()) {
        notes.push(ChainNote::RootNotSent(root.name()));
    }
    if anchors.is_empty() {
        let last = &sent[sent.len() - 1];
        notes.push(ChainNote::UnknownRoot(name_of(last.x509.issuer())));
    }
    for (young, older) in BRIDGED {
        let ends_at = |name: &str| anchors.iter().any(|anchor| anchor.name == name);
        if ends_at(young) && !ends_at(older) {
            notes.push(ChainNote::WithoutCrossSigned {
                root: young.to_owned(),
                older,
            });
        }
    }
    for certificate in sent {
        let (name, x509) = (certificate.name(), &certificate.x509);
        if let Some(signature) = SignatureKind::of(&x509.signature_algorithm)
            && signature.hash().is_none_or(|hash| hash > Hash::Sha256)
        {
            notes.push(ChainNote::LargeHash {
                name: name.clone(),
                signature: signature.to_string(),
            });
        }
        match KeyKind::of(x509.public_key()) {
            // What an issuer's key may be is shown by the signature that a client has to check.
            Some(key @ KeyKind::Rsa(2049..)) if std::ptr::eq(certificate, &sent[0]) => {
                notes.push(ChainNote::LongKey(key));
            }
            Some(key @ (KeyKind::P384 | KeyKind::P521 | KeyKind::Ed25519)) => {
                notes.push(ChainNote::LargeCurve { name, key });
            }
            _ => {}
        }
    }
    notes
}

/// Where the certificate says that its issuer's can be had (authorityInfoAccess, caIssuers).
fn issuer_address(certificate: &Certificate<'_>) -> Option<String> {
    let extensions = certificate.x509.extensions().iter();
    extensions
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => Some(access),
            _ => None,
        })
        .flat_map(|access| access.accessdescs.iter())
        .find_map(|description| match &description.access_location {
            GeneralName::URI(url)
                if description.access_method.to_id_string() == CA_ISSUERS
                    && url.starts_with("http")
                    && url.chars().all(|c| c.is_ascii_graphic()) =>
            {
                Some((*url).to_owned())
            }
            _ => None,
        })
}

const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

/// Roots too young for the stores of devices, with the older root to which a cross-signed
/// certificate of the same name leads on (Let's Encrypt, hierarchy of 2025).
const BRIDGED: [(&str, &str); 5] = [
    ("ISRG Root X2", "ISRG Root X1"),
    ("Root YR", "ISRG Root X1"),
    ("ISRG Root YR", "ISRG Root X1"),
    ("Root YE", "ISRG Root X2"),
    ("ISRG Root YE", "ISRG Root X2"),
];
