//! The roots at which a chain may end, and who signed what.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::certificate::{Certificate, KeyKind, name_of};
use super::chain::{Anchor, AnchorKind};
use super::chain_error::ChainError;
use super::key::{der_element, provider};
use super::read::read_file;

/// Roots, each with the place where it is known from.
#[derive(Clone, Default)]
pub struct Roots(Vec<Root>);

/// A name and the key that goes with it; the same form as in `webpki-roots`, without the DER
/// headers of the two sequences.
#[derive(Clone)]
struct Root {
    kind: AnchorKind,
    subject: Cow<'static, [u8]>,
    key: Cow<'static, [u8]>,
}

impl Roots {
    /// None: a chain is complete only with its root in the file.
    pub fn none() -> Roots {
        Roots::default()
    }

    /// Those that Mozilla trusts, and with it browsers, systems and the bundles of devices.
    pub fn public() -> Roots {
        let public = webpki_roots::TLS_SERVER_ROOTS.iter().map(|anchor| Root {
            kind: AnchorKind::Public,
            subject: Cow::Borrowed(anchor.subject.as_ref()),
            key: Cow::Borrowed(anchor.subject_public_key_info.as_ref()),
        });
        Roots(public.collect())
    }

    /// These, and all in the PEM file `path` (`tls.ca_file`).
    ///
    /// # Errors
    ///
    /// The file cannot be read or holds no certificate.
    pub fn with_file(mut self, path: &Path) -> Result<Roots, ChainError> {
        for der in authorities(path)? {
            self.push(AnchorKind::Given, &der);
        }
        Ok(self)
    }

    /// These, and the certificate `der` of an authority; one that cannot be parsed is left out.
    pub fn with_certificate(mut self, kind: AnchorKind, der: &[u8]) -> Roots {
        self.push(kind, &CertificateDer::from(der.to_vec()));
        self
    }

    fn push(&mut self, kind: AnchorKind, der: &CertificateDer<'static>) {
        let Some(certificate) = Certificate::parse(der) else {
            return;
        };
        let subject = content(certificate.x509.subject().as_raw());
        let key = content(certificate.x509.public_key().raw);
        if let (Some(subject), Some(key)) = (subject, key) {
            self.0.push(Root {
                kind,
                subject: Cow::Owned(subject.to_vec()),
                key: Cow::Owned(key.to_vec()),
            });
        }
    }

    /// Those that signed `certificate`, which is the last of `length` that lead there.
    pub(super) fn that_signed(&self, certificate: &Certificate<'_>, length: usize) -> Vec<Anchor> {
        let Some(issuer) = content(certificate.x509.issuer().as_raw()) else {
            return Vec::new();
        };
        let named = self.0.iter().filter(|root| *root.subject == *issuer);
        let signed = named.filter(|root| is_signed_by(certificate, &root.key));
        signed.filter_map(|root| root.anchor(length)).collect()
    }
}

impl Root {
    fn anchor(&self, length: usize) -> Option<Anchor> {
        let (subject, key) = (sequence(&self.subject), sequence(&self.key));
        let (_, key) = SubjectPublicKeyInfo::from_der(&key).ok()?;
        let (_, subject) = X509Name::from_der(&subject).ok()?;
        Some(Anchor {
            name: name_of(&subject),
            kind: self.kind,
            key: KeyKind::of(&key)?,
            length,
        })
    }
}

/// The certificates in a PEM file of authorities, such as `tls.ca_file` or `client_ca_file`.
///
/// # Errors
///
/// The file cannot be read, is too long, or holds no certificate.
pub fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, ChainError> {
    let pem = read_file(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(ChainError::NoCertificate {
            file: path.display().to_string(),
        }),
    }
}

/// Whether the key in the content of a SubjectPublicKeyInfo signed the certificate.
pub(super) fn is_signed_by(certificate: &Certificate<'_>, key: &[u8]) -> bool {
    let parts = || {
        let (whole, _) = der_element(certificate.der, 0x30)?;
        let (_, after_body) = der_element(whole, 0x30)?;
        let (signature_algorithm, _) = der_element(after_body, 0x30)?;
        let (key_algorithm, bits) = der_element(key, 0x30)?;
        let (bits, _) = der_element(bits, 0x03)?;
        // The first byte counts unused bits, of which keys have none.
        let (_, key) = bits.split_first()?;
        Some((signature_algorithm, key_algorithm, key))
    };
    let Some((signature_algorithm, key_algorithm, key)) = parts() else {
        return false;
    };
    let WebPkiSupportedAlgorithms { all, .. } = provider().signature_verification_algorithms;
    let message = certificate.x509.tbs_certificate.as_ref();
    let signature = &certificate.x509.signature_value.data;
    all.iter().any(|algorithm| {
        algorithm.signature_alg_id().as_ref() == signature_algorithm
            && algorithm.public_key_alg_id().as_ref() == key_algorithm
            && algorithm.verify_signature(key, message, signature).is_ok()
    })
}

/// What is inside a DER sequence.
pub(super) fn content(der: &[u8]) -> Option<&[u8]> {
    der_element(der, 0x30).map(|(content, _)| content)
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = match length {
        0..=0x7f => vec![0x30, length as u8],
        0x80..=0xff => vec![0x30, 0x81, length as u8],
        _ => vec![0x30, 0x82, (length >> 8) as u8, length as u8],
    };
    der.extend_from_slice(content);
    der
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.0.len()).finish()
    }
}
