//! What a fatal TLS alert means, from the client or from us.

use super::judge::{Circumstances, Judgement};
use super::suspects::Suspects;
use super::{Attempt, Cause, TlsFacts};
use crate::hello::{ClientHello, Stack, TLS12, TLS13};
use crate::pki::{Offer, WhyNot};

/// A fatal alert that the client sent (RFC 8446 §6.2). Stacks use the numbers for certificates
/// differently, so the stack decides what one of them means.
pub(super) fn from_client(alert: u8, attempt: &Attempt, known: &Circumstances) -> Judgement {
    let suspects = Suspects::new(attempt, known);
    match alert {
        RECORD_OVERFLOW => Judgement::certain(Cause::RecordTooLarge),
        REVOKED => Judgement::certain(Cause::CertificateRevoked),
        PROTOCOL_VERSION | INAPPROPRIATE_FALLBACK => Judgement::certain(Cause::TlsVersion),
        NO_ALPN => Judgement::certain(Cause::NoCommonAlpn),
        BAD_CERTIFICATE => bad_certificate(&suspects),
        UNSUPPORTED_CERTIFICATE => one_of(
            &suspects,
            &[
                Cause::KeyTooLarge,
                Cause::ChainUnsupportedCurve,
                Cause::HashUnsupported,
            ],
            Judgement::likely(Cause::WrongEku, &[Cause::KeyTooLarge]),
        ),
        EXPIRED => expired(&suspects),
        CERTIFICATE_UNKNOWN => certificate_unknown(&suspects),
        UNKNOWN_CA => unknown_ca(&suspects),
        // mbedTLS says so when a callback of the application refuses: a pinned key.
        ACCESS_DENIED => Judgement::possible(
            Cause::FingerprintMismatch,
            &[&suspects.evident()[..], &[Cause::CertificateRefused]].concat(),
        ),
        HANDSHAKE_FAILURE | INSUFFICIENT_SECURITY => one_of(
            &suspects,
            &[
                Cause::NoCommonCipher,
                Cause::HashUnsupported,
                Cause::HashWeak,
                Cause::ChainUnsupportedCurve,
                Cause::KeyTooLarge,
                Cause::NameMismatch,
                Cause::Untrusted,
            ],
            Judgement::possible(Cause::NoCommonCipher, &[Cause::CertificateRefused]),
        ),
        // A signature that does not fit; with a hash or curve that it lacks it comes to the same.
        DECRYPT_ERROR => one_of(
            &suspects,
            &[Cause::HashUnsupported, Cause::ChainUnsupportedCurve],
            Judgement::likely(Cause::TlsBroken, &[]),
        ),
        INTERNAL_ERROR => match suspects.stack() {
            Some(stack) if stack.has_large_buffers() => {
                Judgement::possible(Cause::LowHeap, &[Cause::ClosesInHandshake])
            }
            _ => Judgement::likely(Cause::LowHeap, &[Cause::TlsBroken]),
        },
        UNEXPECTED_MESSAGE
        | BAD_RECORD_MAC
        | DECRYPTION_FAILED
        | DECOMPRESSION_FAILURE
        | ILLEGAL_PARAMETER
        | DECODE_ERROR
        | MISSING_EXTENSION
        | UNSUPPORTED_EXTENSION
        | UNRECOGNIZED_NAME => Judgement::likely(Cause::TlsBroken, &[]),
        _ => Judgement::possible(Cause::ClosesInHandshake, &suspects.evident()),
    }
}

/// Alert 42: mbedTLS and rustls mean the name. OpenSSL means the name too, or a date before the
/// beginning, or a weak hash. Go, GnuTLS and others mean anything.
fn bad_certificate(suspects: &Suspects<'_>) -> Judgement {
    let evident = suspects.evident();
    match suspects.stack() {
        Some(Stack::MbedTls | Stack::EspIdf | Stack::Rustls) => {
            match evident.contains(&Cause::NameMismatch) {
                true => Judgement::certain(Cause::NameMismatch),
                false => Judgement::likely(Cause::NameMismatch, &[]),
            }
        }
        Some(Stack::OpenSsl) => one_of(
            suspects,
            &[Cause::NameMismatch, Cause::NotYetValid, Cause::HashWeak],
            Judgement::possible(Cause::NameMismatch, &[Cause::DeviceClockUnset]),
        ),
        _ => anything(suspects),
    }
}

/// Alert 45: only rustls and a few others mean a date before the beginning as well.
fn expired(suspects: &Suspects<'_>) -> Judgement {
    let evident = suspects.evident();
    for cause in [Cause::CertificateExpired, Cause::NotYetValid] {
        if evident.contains(&cause) {
            return Judgement::certain(cause);
        }
    }
    match suspects.stack() {
        Some(Stack::MbedTls | Stack::EspIdf | Stack::OpenSsl) => {
            Judgement::likely(Cause::DeviceClockWrong, &[])
        }
        _ => Judgement::likely(Cause::DeviceClockWrong, &[Cause::DeviceClockUnset]),
    }
}

/// Alert 46: mbedTLS means a beginning in the future or a hash that its profile forbids; browsers and
/// Java mean whatever they show to the person in front of them.
fn certificate_unknown(suspects: &Suspects<'_>) -> Judgement {
    match suspects.stack() {
        Some(Stack::MbedTls | Stack::EspIdf) => one_of(
            suspects,
            &[Cause::NotYetValid, Cause::HashWeak],
            Judgement::likely(Cause::DeviceClockUnset, &[Cause::HashWeak]),
        ),
        _ => anything(suspects),
    }
}

/// Alert 48.
fn unknown_ca(suspects: &Suspects<'_>) -> Judgement {
    let evident = suspects.evident();
    let known = [
        Cause::UntrustedSelfSigned,
        Cause::ChainIncomplete,
        Cause::Untrusted,
    ];
    match known.into_iter().find(|cause| evident.contains(cause)) {
        Some(cause) => Judgement::certain(cause),
        // It should know the root, so it has other roots than we think, or none.
        None if suspects.is_private() => Judgement::certain(Cause::Untrusted),
        None => Judgement::likely(Cause::Untrusted, &[Cause::ChainIncomplete]),
    }
}

/// An alert that the stack uses for every fault of a certificate.
fn anything(suspects: &Suspects<'_>) -> Judgement {
    let evident = suspects.evident();
    match evident.split_first() {
        Some((cause, others)) => Judgement::likely(*cause, others),
        None => Judgement::possible(Cause::CertificateRefused, &suspects.hidden()),
    }
}

/// The first of `fitting` that is known to be wrong is certain: two signs agree. Otherwise
/// `usual`.
fn one_of(suspects: &Suspects<'_>, fitting: &[Cause], usual: Judgement) -> Judgement {
    let evident = suspects.evident();
    match fitting.iter().find(|cause| evident.contains(cause)) {
        Some(cause) => Judgement::certain(*cause),
        None => usual,
    }
}

/// A handshake or connection that we ended, with the alert that we sent.
pub(super) fn from_us(alert: Option<u8>, tls: Option<&TlsFacts>) -> Judgement {
    match alert {
        Some(NO_ALPN) => return Judgement::certain(Cause::NoCommonAlpn),
        Some(CERTIFICATE_REQUIRED) => return Judgement::certain(Cause::ClientCertRequired),
        // The only certificates that we look at are those of clients.
        Some(BAD_CERTIFICATE..=CERTIFICATE_UNKNOWN | UNKNOWN_CA | ACCESS_DENIED) => {
            return Judgement::certain(Cause::ClientCertRefused);
        }
        Some(INTERNAL_ERROR) => return Judgement::likely(Cause::ServerBusy, &[Cause::TlsBroken]),
        _ => {}
    }
    let Some(hello) = tls.and_then(|tls| tls.hello.as_ref()) else {
        // SSL 2.0 and 3.0 have forms that are not even read.
        return match alert {
            Some(PROTOCOL_VERSION) => Judgement::certain(Cause::TlsVersion),
            _ => Judgement::certain(Cause::TlsBroken),
        };
    };
    let agreed = tls.is_some_and(|tls| tls.version.is_some() && tls.suite.is_some());
    let negotiating = matches!(
        alert,
        None | Some(
            HANDSHAKE_FAILURE
                | INSUFFICIENT_SECURITY
                | PROTOCOL_VERSION
                | ILLEGAL_PARAMETER
                | MISSING_EXTENSION
        )
    );
    // Version and suite are agreed on before signatures are looked at.
    if negotiating && agreed && !signs_anything(hello) {
        return Judgement::certain(Cause::NoCommonSignature);
    }
    if negotiating && !agreed {
        if let Some(cause) = nothing_in_common(hello, tls) {
            return Judgement::certain(cause);
        }
        match alert {
            Some(PROTOCOL_VERSION) => return Judgement::likely(Cause::TlsVersion, &[]),
            Some(HANDSHAKE_FAILURE | INSUFFICIENT_SECURITY) => {
                return Judgement::likely(Cause::NoCommonCipher, &[Cause::NoCommonSignature]);
            }
            _ => {}
        }
    }
    Judgement::certain(Cause::TlsBroken)
}

/// Whether one list has something of the other.
fn offers(ours: &[u16], theirs: &[u16]) -> bool {
    ours.iter().any(|it| theirs.contains(it))
}

/// Whether the client can check any signature that we can make.
fn signs_anything(hello: &ClientHello) -> bool {
    offers(&SIGNATURES, &hello.signatures)
}

/// What the client lacks of what we have, looked for in the order in which it is negotiated.
fn nothing_in_common(hello: &ClientHello, tls: Option<&TlsFacts>) -> Option<Cause> {
    let (tls12, tls13) = (hello.speaks(TLS12), hello.speaks(TLS13));
    if !tls12 && !tls13 {
        return Some(Cause::TlsVersion);
    }
    let with_tls13 = tls13 && offers(&SUITES_13, &hello.suites);
    let with_tls12 = tls12 && offers(&SUITES_12, &hello.suites);
    if !with_tls13 && !with_tls12 {
        return Some(Cause::NoCommonCipher);
    }
    // A client of TLS 1.2 without the list stands for every group.
    if !offers(&GROUPS, &hello.groups) && (tls13 || !hello.groups.is_empty()) {
        return Some(Cause::NoCommonGroup);
    }
    if !signs_anything(hello) {
        return Some(Cause::NoCommonSignature);
    }
    let chain = tls.and_then(|tls| tls.served.as_deref())?;
    match chain.can_verify(&Offer::from(hello)).err()? {
        // In TLS 1.2 the suite names the kind of key.
        WhyNot::Key(_) if tls13 => Some(Cause::NoCommonSignature),
        WhyNot::Key(_) | WhyNot::Suites(_) => Some(Cause::NoCommonCipher),
        WhyNot::Curve { .. } => Some(Cause::NoCommonGroup),
        WhyNot::Signature { .. } => None,
    }
}

const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const DECRYPTION_FAILED: u8 = 21;
const RECORD_OVERFLOW: u8 = 22;
const DECOMPRESSION_FAILURE: u8 = 30;
const HANDSHAKE_FAILURE: u8 = 40;
const BAD_CERTIFICATE: u8 = 42;
const UNSUPPORTED_CERTIFICATE: u8 = 43;
const REVOKED: u8 = 44;
const EXPIRED: u8 = 45;
const CERTIFICATE_UNKNOWN: u8 = 46;
const ILLEGAL_PARAMETER: u8 = 47;
const UNKNOWN_CA: u8 = 48;
const ACCESS_DENIED: u8 = 49;
const DECODE_ERROR: u8 = 50;
const DECRYPT_ERROR: u8 = 51;
const PROTOCOL_VERSION: u8 = 70;
const INSUFFICIENT_SECURITY: u8 = 71;
const INTERNAL_ERROR: u8 = 80;
const INAPPROPRIATE_FALLBACK: u8 = 86;
const MISSING_EXTENSION: u8 = 109;
const UNSUPPORTED_EXTENSION: u8 = 110;
const UNRECOGNIZED_NAME: u8 = 112;
const CERTIFICATE_REQUIRED: u8 = 116;
const NO_ALPN: u8 = 120;

/// What the crypto provider of this crate has; a test compares them.
pub(super) const SUITES_13: [u16; 3] = [0x1301, 0x1302, 0x1303];
pub(super) const SUITES_12: [u16; 6] = [0xc02b, 0xc02c, 0xc02f, 0xc030, 0xcca8, 0xcca9];
pub(super) const GROUPS: [u16; 4] = [0x001d, 0x0017, 0x0018, 0x11ec];
/// With which keys of RSA and on P-256, P-384, P-521 and Ed25519 sign.
const SIGNATURES: [u16; 10] = [
    0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601,
];

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::{GROUPS, SUITES_12, SUITES_13};

    #[test]
    fn what_we_have_is_what_the_provider_has() {
        let provider = default_provider();
        let mut suites: Vec<u16> = provider
            .cipher_suites
            .iter()
            .map(|s| s.suite().into())
            .collect();
        let mut groups: Vec<u16> = provider.kx_groups.iter().map(|g| g.name().into()).collect();
        suites.sort_unstable();
        groups.sort_unstable();
        let mut ours = [&SUITES_13[..], &SUITES_12].concat();
        ours.sort_unstable();
        assert_eq!(suites, ours);
        let mut ours = GROUPS;
        ours.sort_unstable();
        assert_eq!(groups, ours);
    }
}
