//! One X.509 certificate: the facts that decide which client can verify it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Name};
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::key;

/// What one certificate of a chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its common name, or the whole subject where there is none.
    pub name: String,
    /// The whole subject, such as `CN=YR1, O=Let's Encrypt, C=US`.
    pub subject: String,
    /// The whole issuer.
    pub issuer: String,
    /// The kind of its key.
    pub key: KeyKind,
    /// How it is signed.
    pub signature: SignatureKind,
    /// The key that signed it; `None` when the issuer is a root that nobody here knows.
    pub signed_by: Option<KeyKind>,
    /// When it begins to be good.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
    /// The serial number, as hexadecimal digits.
    pub serial: String,
    /// Its length in bytes.
    pub bytes: usize,
}

/// The kinds of key that rustls can serve with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits.
    Rsa(u16),
    /// ECDSA on NIST P-256.
    P256,
    /// ECDSA on NIST P-384.
    P384,
    /// ECDSA on NIST P-521.
    P521,
    /// Ed25519.
    Ed25519,
}

/// How a certificate is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignatureKind {
    /// RSA with the padding of PKCS#1 1.5, which every device knows.
    RsaPkcs1(Hash),
    /// RSA-PSS, which small devices do not know.
    RsaPss(Hash),
    /// ECDSA on whatever curve the signer's key has.
    Ecdsa(Hash),
    /// Ed25519.
    Ed25519,
}

/// The hash under a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hash {
    /// Broken long ago.
    Md5,
    /// Broken; clients refuse it.
    Sha1,
    /// The one hash that a BearSSL profile for small devices has.
    Sha256,
    /// Not known to Tasmota and ESPEasy.
    Sha384,
    /// Not known to Tasmota and ESPEasy.
    Sha512,
}

impl KeyKind {
    /// What one handshake costs the server, in rising order: the cheapest is offered first.
    pub(super) fn cost(self) -> u16 {
        match self {
            KeyKind::P256 => 0,
            KeyKind::Ed25519 => 1,
            KeyKind::P384 => 2,
            KeyKind::P521 => 3,
            KeyKind::Rsa(bits) => bits,
        }
    }

    /// The named group of TLS that this curve is; `None` for RSA and Ed25519.
    pub(super) fn group(self) -> Option<u16> {
        match self {
            KeyKind::P256 => Some(0x0017),
            KeyKind::P384 => Some(0x0018),
            KeyKind::P521 => Some(0x0019),
            KeyKind::Rsa(_) | KeyKind::Ed25519 => None,
        }
    }

    pub(super) fn of(spki: &SubjectPublicKeyInfo<'_>) -> Option<KeyKind> {
        let oid = spki.algorithm.algorithm.to_id_string();
        match oid.as_str() {
            "1.2.840.113549.1.1.1" => {
                let (_, modulus) = key::rsa_numbers(&spki.subject_public_key.data)?;
                let first = u16::from(*modulus.first()?);
                let bits = u16::try_from(modulus.len()).ok()?.checked_mul(8)?;
                Some(KeyKind::Rsa(
                    bits - (first.leading_zeros() as u16).saturating_sub(8),
                ))
            }
            "1.2.840.10045.2.1" => {
                let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
                match curve.to_id_string().as_str() {
                    "1.2.840.10045.3.1.7" => Some(KeyKind::P256),
                    "1.3.132.0.34" => Some(KeyKind::P384),
                    "1.3.132.0.35" => Some(KeyKind::P521),
                    _ => None,
                }
            }
            "1.3.101.112" => Some(KeyKind::Ed25519),
            _ => None,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::Rsa(bits) => write!(f, "RSA {bits}"),
            KeyKind::P256 => f.write_str("ECDSA P-256"),
            KeyKind::P384 => f.write_str("ECDSA P-384"),
            KeyKind::P521 => f.write_str("ECDSA P-521"),
            KeyKind::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

impl SignatureKind {
    /// The hash; `None` for Ed25519, which has its own.
    pub fn hash(self) -> Option<Hash> {
        match self {
            SignatureKind::RsaPkcs1(hash)
            | SignatureKind::RsaPss(hash)
            | SignatureKind::Ecdsa(hash) => Some(hash),
            SignatureKind::Ed25519 => None,
        }
    }

    /// The numbers under which a client lists it in signature_algorithms (RFC 8446 §4.2.3).
    pub(super) fn schemes(self) -> &'static [u16] {
        match self {
            SignatureKind::RsaPkcs1(Hash::Sha256) => &[0x0401],
            SignatureKind::RsaPkcs1(Hash::Sha384) => &[0x0501],
            SignatureKind::RsaPkcs1(Hash::Sha512) => &[0x0601],
            SignatureKind::RsaPkcs1(Hash::Sha1) => &[0x0201],
            SignatureKind::RsaPss(Hash::Sha256) => &[0x0804, 0x0809],
            SignatureKind::RsaPss(Hash::Sha384) => &[0x0805, 0x080a],
            SignatureKind::RsaPss(Hash::Sha512) => &[0x0806, 0x080b],
            SignatureKind::Ecdsa(Hash::Sha256) => &[0x0403],
            SignatureKind::Ecdsa(Hash::Sha384) => &[0x0503],
            SignatureKind::Ecdsa(Hash::Sha512) => &[0x0603],
            SignatureKind::Ecdsa(Hash::Sha1) => &[0x0203],
            SignatureKind::Ed25519 => &[0x0807],
            SignatureKind::RsaPkcs1(Hash::Md5)
            | SignatureKind::RsaPss(Hash::Md5 | Hash::Sha1)
            | SignatureKind::Ecdsa(Hash::Md5) => &[],
        }
    }

    pub(super) fn of(algorithm: &AlgorithmIdentifier<'_>) -> Option<SignatureKind> {
        let oid = algorithm.algorithm.to_id_string();
        Some(match oid.as_str() {
            "1.2.840.113549.1.1.4" => SignatureKind::RsaPkcs1(Hash::Md5),
            "1.2.840.113549.1.1.5" => SignatureKind::RsaPkcs1(Hash::Sha1),
            "1.2.840.113549.1.1.11" => SignatureKind::RsaPkcs1(Hash::Sha256),
            "1.2.840.113549.1.1.12" => SignatureKind::RsaPkcs1(Hash::Sha384),
            "1.2.840.113549.1.1.13" => SignatureKind::RsaPkcs1(Hash::Sha512),
            "1.2.840.113549.1.1.10" => {
                let Ok(SignatureAlgorithm::RSASSA_PSS(params)) =
                    SignatureAlgorithm::try_from(algorithm)
                else {
                    return None;
                };
                SignatureKind::RsaPss(match params.hash_algorithm_oid().to_id_string().as_str() {
                    "1.3.14.3.2.26" => Hash::Sha1,
                    "2.16.840.1.101.3.4.2.1" => Hash::Sha256,
                    "2.16.840.1.101.3.4.2.2" => Hash::Sha384,
                    "2.16.840.1.101.3.4.2.3" => Hash::Sha512,
                    _ => return None,
                })
            }
            "1.2.840.10045.4.1" => SignatureKind::Ecdsa(Hash::Sha1),
            "1.2.840.10045.4.3.2" => SignatureKind::Ecdsa(Hash::Sha256),
            "1.2.840.10045.4.3.3" => SignatureKind::Ecdsa(Hash::Sha384),
            "1.2.840.10045.4.3.4" => SignatureKind::Ecdsa(Hash::Sha512),
            "1.3.101.112" => SignatureKind::Ed25519,
            _ => return None,
        })
    }
}

impl fmt::Display for SignatureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SignatureKind::RsaPkcs1(hash) => write!(f, "RSA with {hash}"),
            SignatureKind::RsaPss(hash) => write!(f, "RSA-PSS with {hash}"),
            SignatureKind::Ecdsa(hash) => write!(f, "ECDSA with {hash}"),
            SignatureKind::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hash::Md5 => "MD5",
            Hash::Sha1 => "SHA-1",
            Hash::Sha256 => "SHA-256",
            Hash::Sha384 => "SHA-384",
            Hash::Sha512 => "SHA-512",
        })
    }
}

/// A certificate that could be parsed, with the bytes that it came from.
pub(super) struct Certificate<'a> {
    pub(super) der: &'a CertificateDer<'static>,
    pub(super) x509: X509Certificate<'a>,
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a CertificateDer<'static>) -> Option<Certificate<'a>> {
        let (rest, x509) = X509Certificate::from_der(der).ok()?;
        rest.is_empty().then_some(Certificate { der, x509 })
    }

    pub(super) fn name(&self) -> String {
        name_of(self.x509.subject())
    }

    /// `None` if its key or signature is of a kind that nobody here knows.
    pub(super) fn facts(&self, signed_by: Option<KeyKind>) -> Option<CertificateFacts> {
        let x509 = &self.x509;
        Some(CertificateFacts {
            name: self.name(),
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            key: KeyKind::of(x509.public_key())?,
            signature: SignatureKind::of(&x509.signature_algorithm)?,
            signed_by,
            not_before: time(x509.validity().not_before.timestamp()),
            not_after: time(x509.validity().not_after.timestamp()),
            serial: hex(x509.raw_serial()),
            bytes: self.der.len(),
        })
    }

    /// DNS names and addresses that a client may call the server by, each once, in lower case.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        if let Ok(Some(found)) = self.x509.subject_alternative_name() {
            for name in &found.value.general_names {
                let name = match name {
                    GeneralName::DNSName(name) => name.trim_end_matches('.').to_ascii_lowercase(),
                    GeneralName::IPAddress(bytes) => match address(bytes) {
                        Some(address) => address.to_string(),
                        None => continue,
                    },
                    _ => continue,
                };
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// Those of [`Certificate::names`] that stand there as DNS names, which is where the small
    /// stacks look.
    pub(super) fn dns_names(&self) -> Vec<String> {
        dns_names(&self.x509)
    }
}

/// The common name, or the whole name where there is none.
pub(super) fn name_of(name: &X509Name<'_>) -> String {
    name.iter_common_name()
        .find_map(|name| name.as_str().ok())
        .map_or_else(|| name.to_string(), str::to_owned)
}

/// The DNS names of a certificate, as they stand there.
pub(super) fn dns_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Seconds since 1970; before it counts as 1970.
pub(super) fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
