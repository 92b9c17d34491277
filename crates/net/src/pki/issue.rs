//! What stands in the certificates of a [`super::PrivateCa`], and why.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
    SerialNumber,
};
use sha1::{Digest, Sha1};

use super::PkiError;
use super::leaf;
use crate::limits::CERTIFICATE_NAMES;

/// The two kinds of key that devices between them understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// 2048 bits: Tasmota on ESP8266 refuses more.
    Rsa,
    P256,
}

impl KeyKind {
    pub(super) fn fits(self, key: &KeyPair) -> bool {
        match self {
            KeyKind::Rsa => {
                key.algorithm() == &PKCS_RSA_SHA256
                    && leaf::rsa_numbers(key.public_key_raw())
                        .is_some_and(|(_, modulus)| modulus.len() == 2048 / 8)
            }
            KeyKind::P256 => key.algorithm() == &PKCS_ECDSA_P256_SHA256,
        }
    }

    pub(super) fn described(self) -> &'static str {
        match self {
            KeyKind::Rsa => "an RSA key of 2048 bits",
            KeyKind::P256 => "a P-256 key",
        }
    }

    pub(super) fn stem(self) -> &'static str {
        match self {
            KeyKind::Rsa => "server-rsa",
            KeyKind::P256 => "server-p256",
        }
    }
}

pub(super) fn generate(kind: KeyKind) -> Result<KeyPair, rcgen::Error> {
    match kind {
        KeyKind::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyKind::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
    }
}

/// First and last moment of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub(super) from: SystemTime,
    pub(super) until: SystemTime,
}

impl Validity {
    /// Every clock that a device starts with is later than its epoch. The end lies before the
    /// second at which 32-bit signed clocks overflow (2038-01-19).
    fn of_root() -> Validity {
        Validity {
            from: UNIX_EPOCH,
            until: UNIX_EPOCH + Duration::from_secs(ROOT_END),
        }
    }

    /// A leaf made at `now`.
    ///
    /// RSA goes to the small devices, whose clock may stand at 1970: valid from the epoch on.
    /// P-256 goes to telephones and browsers too, and Apple refuses more than 825 days between
    /// the two dates, so its past is a year and the rest is future.
    pub(super) fn of_leaf(kind: KeyKind, now: SystemTime) -> Validity {
        let now = trusted(now);
        let (from, ahead) = match kind {
            KeyKind::Rsa => (UNIX_EPOCH, 825 * DAY),
            KeyKind::P256 => (now - 365 * DAY, 459 * DAY),
        };
        Validity {
            from,
            until: (now + ahead).min(Validity::of_root().until),
        }
    }
}

/// Leaves with less than this left are issued again.
pub(super) const RENEW_BEFORE: Duration = Duration::from_secs(30 * 86_400);

const DAY: Duration = Duration::from_secs(86_400);
/// 2037-12-31 23:59:59 UTC.
const ROOT_END: u64 = 2_145_916_799;
/// 2026-01-01 00:00 UTC: this code did not exist before, so an earlier clock is unset.
const CLOCK_FLOOR: u64 = 1_767_225_600;

fn trusted(now: SystemTime) -> SystemTime {
    now.max(UNIX_EPOCH + Duration::from_secs(CLOCK_FLOOR))
}

/// Seconds since 1970 of a clock that is set.
pub(super) fn seconds(now: SystemTime) -> i64 {
    let since = trusted(now).duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The root certificate of `key`, as PEM.
pub(super) fn root(key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = blank(Validity::of_root())?;
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
    leaf::provider()
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
