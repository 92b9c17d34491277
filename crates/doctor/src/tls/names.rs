//! Names of the numbers in a handshake, for what is shown to people.

use alloc::borrow::Cow;
use alloc::format;

type Name = Cow<'static, str>;

/// `TLS 1.2` of 0x0303.
pub fn version(number: u16) -> Name {
    Cow::Borrowed(match number {
        0x0300 => "SSL 3.0",
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        0x0303 => "TLS 1.2",
        0x0304 => "TLS 1.3",
        other => return Cow::Owned(format!("version 0x{other:04x}")),
    })
}

/// The name of a suite as OpenSSL writes it; its number when it has none here.
pub fn suite(number: u16) -> Name {
    match SUITES.iter().find(|(suite, ..)| *suite == number) {
        Some((_, name, _)) => Cow::Borrowed(name),
        None => Cow::Owned(format!("0x{number:04x}")),
    }
}

/// The name of a group for the key exchange.
pub fn group(number: u16) -> Name {
    Cow::Borrowed(match number {
        0x0017 => "P-256",
        0x0018 => "P-384",
        0x0019 => "P-521",
        0x001a => "brainpoolP256r1",
        0x001b => "brainpoolP384r1",
        0x001c => "brainpoolP512r1",
        0x001d => "X25519",
        0x001e => "X448",
        0x0100 => "ffdhe2048",
        0x11ec => "X25519MLKEM768",
        other => return Cow::Owned(format!("group 0x{other:04x}")),
    })
}

/// The name of a signature algorithm.
pub fn signature(number: u16) -> Name {
    Cow::Borrowed(match number {
        0x0201 => "RSA with SHA-1",
        0x0203 => "ECDSA with SHA-1",
        0x0401 => "RSA with SHA-256",
        0x0501 => "RSA with SHA-384",
        0x0601 => "RSA with SHA-512",
        0x0403 => "ECDSA with SHA-256",
        0x0503 => "ECDSA with SHA-384",
        0x0603 => "ECDSA with SHA-512",
        0x0804 => "RSA-PSS with SHA-256",
        0x0805 => "RSA-PSS with SHA-384",
        0x0806 => "RSA-PSS with SHA-512",
        0x0807 => "Ed25519",
        other => return Cow::Owned(format!("0x{other:04x}")),
    })
}

/// The name of an alert; its number when it has none here.
pub fn alert(number: u8) -> Name {
    match known_alert(number) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(format!("alert {number}")),
    }
}

/// The name of an alert that has one (RFC 8446 §6, RFC 5246 §7.2).
pub fn known_alert(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => return None,
    })
}

/// How a suite agrees on keys, as far as it decides what the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Exchange {
    /// ECDHE, signed with RSA.
    EcdheRsa,
    /// ECDHE, signed with ECDSA.
    EcdheEcdsa,
    /// DHE over a prime.
    Dhe,
    /// The client encrypts with the server's RSA key.
    Rsa,
    /// TLS 1.3: the suite does not say.
    Tls13,
}

/// The key exchange of a suite. None for one that is not known here.
pub(super) fn exchange(number: u16) -> Option<Exchange> {
    let found = SUITES.iter().find(|(suite, ..)| *suite == number);
    found.map(|(_, _, exchange)| *exchange)
}

use Exchange::{Dhe, EcdheEcdsa, EcdheRsa, Rsa, Tls13};

/// What servers of today and yesterday choose.
const SUITES: &[(u16, &str, Exchange)] = &[
    (0x1301, "TLS_AES_128_GCM_SHA256", Tls13),
    (0x1302, "TLS_AES_256_GCM_SHA384", Tls13),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256", Tls13),
    (0x1304, "TLS_AES_128_CCM_SHA256", Tls13),
    (0x1305, "TLS_AES_128_CCM_8_SHA256", Tls13),
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256", EcdheEcdsa),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384", EcdheEcdsa),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256", EcdheRsa),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384", EcdheRsa),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305", EcdheRsa),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305", EcdheEcdsa),
    (0xc023, "ECDHE-ECDSA-AES128-SHA256", EcdheEcdsa),
    (0xc024, "ECDHE-ECDSA-AES256-SHA384", EcdheEcdsa),
    (0xc027, "ECDHE-RSA-AES128-SHA256", EcdheRsa),
    (0xc028, "ECDHE-RSA-AES256-SHA384", EcdheRsa),
    (0xc009, "ECDHE-ECDSA-AES128-SHA", EcdheEcdsa),
    (0xc00a, "ECDHE-ECDSA-AES256-SHA", EcdheEcdsa),
    (0xc013, "ECDHE-RSA-AES128-SHA", EcdheRsa),
    (0xc014, "ECDHE-RSA-AES256-SHA", EcdheRsa),
    (0xc012, "ECDHE-RSA-DES-CBC3-SHA", EcdheRsa),
    (0xc0ac, "ECDHE-ECDSA-AES128-CCM", EcdheEcdsa),
    (0xc0ad, "ECDHE-ECDSA-AES256-CCM", EcdheEcdsa),
    (0xc0ae, "ECDHE-ECDSA-AES128-CCM8", EcdheEcdsa),
    (0xc0af, "ECDHE-ECDSA-AES256-CCM8", EcdheEcdsa),
    (0x009e, "DHE-RSA-AES128-GCM-SHA256", Dhe),
    (0x009f, "DHE-RSA-AES256-GCM-SHA384", Dhe),
    (0xccaa, "DHE-RSA-CHACHA20-POLY1305", Dhe),
    (0x0067, "DHE-RSA-AES128-SHA256", Dhe),
    (0x006b, "DHE-RSA-AES256-SHA256", Dhe),
    (0x0033, "DHE-RSA-AES128-SHA", Dhe),
    (0x0039, "DHE-RSA-AES256-SHA", Dhe),
    (0x009c, "AES128-GCM-SHA256", Rsa),
    (0x009d, "AES256-GCM-SHA384", Rsa),
    (0xc09c, "AES128-CCM", Rsa),
    (0xc09d, "AES256-CCM", Rsa),
    (0x003c, "AES128-SHA256", Rsa),
    (0x003d, "AES256-SHA256", Rsa),
    (0x002f, "AES128-SHA", Rsa),
    (0x0035, "AES256-SHA", Rsa),
    (0x000a, "DES-CBC3-SHA", Rsa),
];
