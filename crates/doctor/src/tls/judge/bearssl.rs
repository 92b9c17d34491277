//! The judgement of BearSSL, as `x509_minimal` comes to it: from the first certificate to the last,
//! the first fault ends it. Numbers are those of `bearssl_x509.h`; which fault has which was measured
//! (doctor.md §7).

use alloc::vec;
use alloc::vec::Vec;

use super::fault::Fault;
use super::path::Anchored;
use super::{Case, Pin};
use crate::tls::certificate::{Certificate, Key, tasmota_fingerprint};
use crate::tls::number::Number;

type Judged = (Vec<Fault>, Option<Number>);

fn stops(fault: Fault, number: i32) -> Judged {
    (vec![fault], Some(Number::BearSsl(number)))
}

/// With a fingerprint nothing but the server's own key is looked at.
pub(super) fn pinned(case: &Case<'_>, pin: Pin) -> Judged {
    let Some(leaf) = case.leaf() else {
        return empty(case);
    };
    if let Some(judged) = key_of_server(case, leaf) {
        return judged;
    }
    let served = tasmota_fingerprint(&leaf.der);
    match (pin, served) {
        (Pin::Any, _) => (Vec::new(), None),
        (Pin::Key(wanted), Some(served)) if wanted == served => (Vec::new(), None),
        (Pin::Key(_), _) => stops(Fault::Pin, 1),
    }
}

/// With a list of roots.
pub(super) fn judged(case: &Case<'_>) -> Judged {
    let Some(leaf) = case.leaf() else {
        return empty(case);
    };
    // No suite for such a key was offered: the server ends the handshake before its chain counts.
    if let Some(judged) = wrong_kind(case, leaf) {
        return judged;
    }
    for at in 0..case.chain.len() {
        if let Err((fault, number)) = certificate(case, at) {
            return stops(fault, number);
        }
        if case.anchor(&case.chain[at]) == Anchored::Here {
            return key_of_server(case, leaf).unwrap_or_default();
        }
    }
    if case.unreadable {
        return stops(Fault::Unreadable, UNREADABLE);
    }
    let last = case.chain.len() - 1;
    stops(
        Fault::Untrusted {
            last,
            why: case.untrusted(last),
        },
        62,
    )
}

fn empty(case: &Case<'_>) -> Judged {
    match case.unreadable {
        true => stops(Fault::Unreadable, UNREADABLE),
        false => stops(Fault::Empty, 35),
    }
}

/// One certificate, in the order in which the decoder meets its parts.
fn certificate(case: &Case<'_>, at: usize) -> Result<(), (Fault, i32)> {
    let certificate = &case.chain[at];
    if let Some(fault) = case.dates(at) {
        return Err((fault, 54));
    }
    if at > 0 && !case.chain[at - 1].names_issuer(certificate) {
        return Err((Fault::Order { at }, 55));
    }
    match certificate.key {
        Key::Rsa(bits) if bits > 4096 => return Err((Fault::KeyTooLarge { at }, 50)),
        Key::Rsa(bits) if bits < case.profile.keys.rsa_least => {
            return Err((Fault::KeyTooSmall { at }, 60));
        }
        Key::Ec(crate::tls::Curve::Other) => return Err((Fault::Curve { at }, 49)),
        Key::Other => return Err((Fault::KeyUnknown { at }, 49)),
        Key::Rsa(_) | Key::Ec(_) => {}
    }
    if at > 0 {
        signature_below(case, at)?;
    }
    if certificate.critical.is_some() {
        return Err((Fault::Critical { at }, 57));
    }
    if at > 0 && !certificate.authority {
        return Err((Fault::NotAuthority { at }, 58));
    }
    if at > 0 && !certificate.may_sign_certificates {
        return Err((Fault::NotAuthority { at }, 59));
    }
    if let (0, Some(fault)) = (at, case.name()) {
        return Err((fault, 56));
    }
    match certificate.hash {
        Some(hash) if case.profile.hashes.contains(&hash) => Ok(()),
        _ => Err((Fault::Hash { at }, 49)),
    }
}

/// The signature under the certificate before this one, with the key of this one.
fn signature_below(case: &Case<'_>, at: usize) -> Result<(), (Fault, i32)> {
    let (below, issuer) = (&case.chain[at - 1], &case.chain[at]);
    match issuer.key {
        Key::Rsa(_) if !below.signed_by_rsa => return Err((Fault::Signature { at: at - 1 }, 51)),
        Key::Ec(_) if below.signed_by_rsa => return Err((Fault::Signature { at: at - 1 }, 51)),
        // ECDSA is not built in.
        Key::Ec(_) if case.profile.keys.curves.is_empty() => return Err((Fault::Curve { at }, 49)),
        Key::Ec(_) if !case.can_use_authority(issuer.key) => return Err((Fault::Curve { at }, 52)),
        Key::Rsa(_) if !case.can_use_authority(issuer.key) => {
            return Err((Fault::KeyTooLarge { at }, 52));
        }
        _ => {}
    }
    match below.is_signed_by(issuer) {
        Some(false) => Err((Fault::Signature { at: at - 1 }, 52)),
        _ => Ok(()),
    }
}

/// A key for which the device offers no suite.
fn wrong_kind(case: &Case<'_>, leaf: &Certificate) -> Option<Judged> {
    if leaf.key == Key::Other {
        return Some(stops(Fault::KeyUnknown { at: 0 }, 296));
    }
    let ecdsa = matches!(leaf.key, Key::Ec(_));
    (ecdsa && case.profile.keys.curves.is_empty()).then(|| stops(Fault::EcdsaOnly, 296))
}

/// The server's own key, which the device needs once the chain is good.
fn key_of_server(case: &Case<'_>, leaf: &Certificate) -> Option<Judged> {
    match leaf.key {
        Key::Rsa(bits) if bits > case.profile.keys.rsa_server => {
            Some(stops(Fault::KeyTooLarge { at: 0 }, 27))
        }
        Key::Ec(_) if case.profile.keys.curves.is_empty() => Some(stops(Fault::EcdsaOnly, 296)),
        Key::Ec(curve) if !case.profile.keys.curves.contains(&curve) => {
            Some(stops(Fault::Curve { at: 0 }, 26))
        }
        _ => None,
    }
}

/// BR_ERR_X509_INVALID_VALUE; the decoder has fourteen more for what it cannot read.
const UNREADABLE: i32 = 33;
