//! What stands in the certificates of a `PrivateCa`, and why.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use sha1::{Digest, Sha1};

use super::error::PkiError;
use super::key;
use super::validity::Validity;
use crate::limits::CERTIFICATE_NAMES;

/// The root certificate of `key`, as PEM. One key always gets the same subject.
pub(super) fn root(key: &KeyPair, validity: &Validity) -> Result<String, rcgen::Error> {
    let mut params = blank(*validity)?;
    // Two installations must not share a subject: a device that trusts both would try the wrong
    // key and stop.
    let digest = Sha1::digest(key.public_key_raw());
    let mark: String = digest[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Safeport");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Safeport private CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(key)?.pem())
}

/// A server certificate for `names`, as PEM. There are no intermediates, and the root is not sent
/// along, so this is the whole chain.
pub(super) fn leaf(
    key: &KeyPair,
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    validity: &Validity,
) -> Result<String, rcgen::Error> {
    let mut params = blank(*validity)?;
    // Only clients that find no SAN look at the CN; X.520 allows it 64 characters.
    if let Some(name) = names.iter().find(|name| name.len() <= 64) {
        params
            .distinguished_name
            .push(DnType::CommonName, name.as_str());
    }
    for name in names {
        params
            .subject_alt_names
            .push(SanType::DnsName(name.as_str().try_into()?));
        if let Ok(ip) = name.parse::<IpAddr>() {
            params.subject_alt_names.push(SanType::IpAddress(ip));
        }
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // mbedTLS refuses a leaf without serverAuth.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params.signed_by(key, issuer)?.pem())
}

fn blank(validity: Validity) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    // The library would derive it from the key, and the key stays: browsers refuse two
    // certificates of one issuer with the same number.
    let mut serial = [0; 16];
    key::provider()
        .secure_random
        .fill(&mut serial)
        .map_err(|_| rcgen::Error::RingUnspecified)?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// The names in lower case, each once, in the order given.
pub(super) fn check_names(names: &[String]) -> Result<Vec<String>, PkiError> {
    let mut checked: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(why) = name_fault(&name) {
            return Err(PkiError::Name { name, why });
        }
        if !checked.contains(&name) {
            checked.push(name);
        }
    }
    let count = |why| {
        Err(PkiError::Name {
            name: names.join(", "),
            why,
        })
    };
    match checked.len() {
        0 => count("there is none"),
        n if n > CERTIFICATE_NAMES => count("there are too many for the memory of small devices"),
        _ => Ok(checked),
    }
}

fn name_fault(name: &str) -> Option<&'static str> {
    if name.parse::<IpAddr>().is_ok() {
        return None;
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let host = name.strip_prefix("*.").unwrap_or(name);
    if !name.is_ascii() {
        Some("write it in its ASCII form, which begins with xn--")
    } else if name.contains("://") || name.contains('/') {
        Some("it is a URL, only the host belongs here")
    } else if name.len() > 253 {
        Some("it is longer than 253 characters")
    } else if host
        .split('.')
        .any(|label| label.is_empty() || label.len() > 63)
    {
        Some("between its dots are fewer than 1 or more than 63 characters")
    } else if !host.chars().all(|c| fits(c) || c == '.') {
        Some("it has characters other than letters, digits, hyphen and dot")
    } else {
        None
    }
}
