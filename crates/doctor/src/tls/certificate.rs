//! What stands in a certificate, as far as devices look at it. Read loosely: a chain is judged, not
//! refused for its form.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use sha1::{Digest, Sha1};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use crate::limits::{CERTIFICATE_BYTES, NAMES_SHOWN};

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As it was sent.
    pub der: Vec<u8>,
    /// Its subject for people: the common name, else the whole name.
    pub subject: String,
    /// Its issuer for people.
    pub issuer: String,
    /// The names of its subject alternative name; None without that extension.
    pub dns: Option<Vec<String>>,
    /// The addresses there.
    pub addresses: Vec<IpAddr>,
    /// The common name of its subject.
    pub common_name: Option<String>,
    /// Good from, in seconds since 1970.
    pub not_before: i64,
    /// Good until, in seconds since 1970.
    pub not_after: i64,
    /// Its key.
    pub key: Key,
    /// The hash under its signature; None for one that stands by itself, such as that of Ed25519.
    pub hash: Option<Hash>,
    /// Whether it was signed with RSA.
    pub signed_by_rsa: bool,
    /// Whether it may issue others.
    pub authority: bool,
    /// Whether its key usage allows to sign certificates; true without that extension.
    pub may_sign_certificates: bool,
    /// Whether it is meant for servers: no extended key usage, or one that says so.
    pub for_servers: bool,
    /// Where its issuer's certificate can be fetched (AIA), which no device does.
    pub issuer_url: Option<String>,
    /// A critical extension that devices do not know, by its number.
    pub critical: Option<String>,
    subject_raw: Vec<u8>,
    issuer_raw: Vec<u8>,
}

/// The key of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// RSA of so many bits.
    Rsa(usize),
    /// An elliptic curve.
    Ec(Curve),
    /// Ed25519, DSA and others that no device knows.
    Other,
}

/// An elliptic curve of certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// P-256.
    P256,
    /// P-384.
    P384,
    /// P-521.
    P521,
    /// Another one.
    Other,
}

/// A hash under a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// MD5 or older.
    Md5,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Certificate {
    /// Reads a certificate. None when it is none, or longer than [`CERTIFICATE_BYTES`].
    pub fn read(der: &[u8]) -> Option<Certificate> {
        if der.len() > CERTIFICATE_BYTES {
            return None;
        }
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let (hash, signed_by_rsa) = signature(&parsed);
        let mut certificate = Certificate {
            der: der.to_vec(),
            subject: shown(parsed.subject()),
            issuer: shown(parsed.issuer()),
            dns: None,
            addresses: Vec::new(),
            common_name: common_name(parsed.subject()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            key: key(parsed.public_key()),
            hash,
            signed_by_rsa,
            authority: false,
            may_sign_certificates: true,
            for_servers: true,
            issuer_url: None,
            critical: None,
            subject_raw: parsed.subject().as_raw().to_vec(),
            issuer_raw: parsed.issuer().as_raw().to_vec(),
        };
        for extension in parsed.extensions() {
            certificate.extension(
                extension.parsed_extension(),
                extension.critical,
                &extension.oid,
            );
        }
        Some(certificate)
    }

    fn extension(&mut self, extension: &ParsedExtension<'_>, critical: bool, oid: &impl ToString) {
        match extension {
            ParsedExtension::BasicConstraints(constraints) => self.authority = constraints.ca,
            ParsedExtension::KeyUsage(usage) => self.may_sign_certificates = usage.key_cert_sign(),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.for_servers = usage.server_auth || usage.any;
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                let mut dns = Vec::new();
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(name) => dns.push(clean(name)),
                        GeneralName::IPAddress(bytes) => self.addresses.extend(address(bytes)),
                        _ => {}
                    }
                }
                self.dns = Some(dns);
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                let issuers = access
                    .iter()
                    .filter(|each| each.access_method.to_id_string() == "1.3.6.1.5.5.7.48.2");
                for each in issuers {
                    if let GeneralName::URI(url) = each.access_location {
                        self.issuer_url.get_or_insert_with(|| clean(url));
                    }
                }
            }
            ParsedExtension::UnsupportedExtension { .. }
            | ParsedExtension::NameConstraints(_)
            | ParsedExtension::PolicyConstraints(_)
            | ParsedExtension::ParseError { .. }
                if critical =>
            {
                self.critical.get_or_insert_with(|| oid.to_string());
            }
            _ => {}
        }
    }

    /// Whether it names itself as its issuer and its own key verifies it.
    pub fn is_self_signed(&self) -> bool {
        self.subject_raw == self.issuer_raw && self.is_signed_with(&self.spki()) != Some(false)
    }

    /// Whether `issuer` has the name that this one gives as its issuer.
    pub fn names_issuer(&self, issuer: &Certificate) -> bool {
        self.issuer_raw == issuer.subject_raw
    }

    /// Whether the same name and key are in both, such as in a root and its cross-signed twin.
    pub fn is_same_authority(&self, other: &Certificate) -> bool {
        self.subject_raw == other.subject_raw && self.spki() == other.spki()
    }

    /// Whether the key of `issuer` verifies its signature. None when that cannot be told here.
    pub fn is_signed_by(&self, issuer: &Certificate) -> Option<bool> {
        self.is_signed_with(&issuer.spki())
    }

    /// The anchors that it names as its issuer.
    pub fn anchors<'a>(&self, anchors: &'a [Anchor]) -> impl Iterator<Item = &'a Anchor> {
        anchors
            .iter()
            .filter(|anchor| anchor.subject == self.issuer_raw)
    }

    /// Whether the key of `anchor` verifies its signature. None when that cannot be told here.
    pub fn is_anchored_at(&self, anchor: &Anchor) -> Option<bool> {
        self.is_signed_with(&anchor.spki)
    }

    fn is_signed_with(&self, spki: &[u8]) -> Option<bool> {
        let (_, parsed) = X509Certificate::from_der(&self.der).ok()?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(spki).ok()?;
        match parsed.verify_signature(Some(&spki)) {
            Ok(()) => Some(true),
            Err(x509_parser::error::X509Error::SignatureUnsupportedAlgorithm) => None,
            Err(_) => Some(false),
        }
    }

    fn spki(&self) -> Vec<u8> {
        let parsed = X509Certificate::from_der(&self.der);
        parsed.map_or(Vec::new(), |(_, parsed)| parsed.public_key().raw.to_vec())
    }

    /// In one line for people: what was served.
    pub fn line(&self) -> String {
        let mut names: Vec<String> = self.dns.clone().unwrap_or_default();
        names.extend(self.addresses.iter().map(ToString::to_string));
        let more = names.len().saturating_sub(NAMES_SHOWN);
        names.truncate(NAMES_SHOWN);
        let mut line = format!("{}, {}", self.subject, self.key);
        if let Some(hash) = self.hash {
            line += &format!(", {hash}");
        }
        if !names.is_empty() {
            line += &format!(", {}", names.join(" "));
        }
        if more > 0 {
            line += &format!(" +{more}");
        }
        line + &format!(
            ", {} … {}, ← {}",
            day(self.not_before),
            day(self.not_after),
            self.issuer
        )
    }
}

/// A root that a device trusts: a name and a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Anchor {
    subject: Vec<u8>,
    spki: Vec<u8>,
    key: Key,
    /// Its common name; empty without one.
    pub name: String,
}

impl Anchor {
    /// The root in a certificate. None when it is no certificate.
    pub fn of_certificate(der: &[u8]) -> Option<Anchor> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        Anchor::of_parts(parsed.subject().as_raw(), parsed.public_key().raw)
    }

    /// A root of its name and key, as lists of roots for rustls have them: in DER, with or without the
    /// outermost SEQUENCE. None when they cannot be read.
    pub fn of_parts(subject: &[u8], spki: &[u8]) -> Option<Anchor> {
        let (subject, spki) = (sequence(subject), sequence(spki));
        let (_, name) = X509Name::from_der(&subject).ok()?;
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).ok()?;
        let (name, key) = (shown(&name), key(&parsed));
        Some(Anchor {
            name,
            key,
            subject,
            spki,
        })
    }

    /// Its key.
    pub fn key(&self) -> Key {
        self.key
    }
}

/// The fingerprint that Tasmota (since 8.4) makes of the key of a certificate: SHA-1 of the key in
/// the form of SSH. None for keys that are not RSA, which it does not pin.
pub fn tasmota_fingerprint(der: &[u8]) -> Option<[u8; 20]> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    let PublicKey::RSA(rsa) = parsed.public_key().parsed().ok()? else {
        return None;
    };
    let mut digest = Sha1::new();
    for part in [
        &b"ssh-rsa"[..],
        unpadded(rsa.exponent),
        unpadded(rsa.modulus),
    ] {
        digest.update((part.len() as u32).to_be_bytes());
        digest.update(part);
    }
    Some(digest.finalize().into())
}

fn unpadded(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The bytes with their SEQUENCE around them, if that is missing.
fn sequence(bytes: &[u8]) -> Vec<u8> {
    let whole = match bytes {
        [0x30, length @ ..=0x7f, rest @ ..] => rest.len() == usize::from(*length),
        [0x30, 0x81, length, rest @ ..] => rest.len() == usize::from(*length),
        [0x30, 0x82, high, low, rest @ ..] => {
            rest.len() == usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => false,
    };
    if whole {
        return bytes.to_vec();
    }
    let length = bytes.len().min(0xffff);
    let mut out = match length {
        ..=0x7f => alloc::vec![0x30, length as u8],
        0x80..=0xff => alloc::vec![0x30, 0x81, length as u8],
        _ => alloc::vec![0x30, 0x82, (length >> 8) as u8, length as u8],
    };
    out.extend_from_slice(&bytes[..length]);
    out
}

fn key(spki: &SubjectPublicKeyInfo<'_>) -> Key {
    match spki.parsed() {
        Ok(PublicKey::RSA(rsa)) => {
            let number = unpadded(rsa.modulus);
            let unused = number
                .first()
                .map_or(0, |byte| byte.leading_zeros() as usize);
            Key::Rsa(number.len() * 8 - unused)
        }
        Ok(PublicKey::EC(_)) => {
            let parameters = spki.algorithm.parameters.as_ref();
            let oid = parameters.and_then(|any| any.as_oid().ok());
            let oid = oid.map(|oid| oid.to_id_string()).unwrap_or_default();
            Key::Ec(match oid.as_str() {
                "1.2.840.10045.3.1.7" => Curve::P256,
                "1.3.132.0.34" => Curve::P384,
                "1.3.132.0.35" => Curve::P521,
                _ => Curve::Other,
            })
        }
        _ => Key::Other,
    }
}

fn signature(parsed: &X509Certificate<'_>) -> (Option<Hash>, bool) {
    let oid = parsed.signature_algorithm.algorithm.to_id_string();
    match oid.as_str() {
        "1.2.840.113549.1.1.4" => (Some(Hash::Md5), true),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => (Some(Hash::Sha1), true),
        "1.2.840.113549.1.1.11" => (Some(Hash::Sha256), true),
        "1.2.840.113549.1.1.12" => (Some(Hash::Sha384), true),
        "1.2.840.113549.1.1.13" => (Some(Hash::Sha512), true),
        "1.2.840.10045.4.1" => (Some(Hash::Sha1), false),
        "1.2.840.10045.4.3.2" => (Some(Hash::Sha256), false),
        "1.2.840.10045.4.3.3" => (Some(Hash::Sha384), false),
        "1.2.840.10045.4.3.4" => (Some(Hash::Sha512), false),
        _ => (None, false),
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let value = name.iter_common_name().last()?.as_str().ok()?;
    Some(clean(value))
}

fn shown(name: &X509Name<'_>) -> String {
    common_name(name).unwrap_or_else(|| clean(&name.to_string()))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// Text of a stranger that can be shown, at most 253 characters of it.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(253).collect()
}

/// The date of a moment, as `2026-11-23`.
pub(super) fn day(seconds: i64) -> String {
    // Days to a date by the calendar's rules: years begin in March, so a leap day ends one.
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

impl core::fmt::Display for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Key::Rsa(bits) => write!(f, "RSA-{bits}"),
            Key::Ec(curve) => write!(f, "{curve}"),
            Key::Other => f.write_str("another kind of key"),
        }
    }
}

impl core::fmt::Display for Curve {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
            Curve::Other => "an unusual curve",
        })
    }
}

impl core::fmt::Display for Hash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Hash::Md5 => "MD5",
            Hash::Sha1 => "SHA-1",
            Hash::Sha256 => "SHA-256",
            Hash::Sha384 => "SHA-384",
            Hash::Sha512 => "SHA-512",
        })
    }
}
