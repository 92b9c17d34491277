//! The judgement of mbedTLS, as `mbedtls_x509_crt_verify` comes to it: it looks for issuers in all
//! that was sent and collects flags. Flags and numbers are those of `x509.h` and `ssl.h`; which fault
//! has which was measured (doctor.md §7).

use alloc::vec;
use alloc::vec::Vec;

use super::Case;
use super::fault::Fault;
use super::path::Anchored;
use crate::profile::Order;
use crate::tls::certificate::{Curve, Hash, Key};
use crate::tls::number::Number;

const EXPIRED: u32 = 0x01;
const OTHER_NAME: u32 = 0x04;
const NOT_TRUSTED: u32 = 0x08;
const FUTURE: u32 = 0x0200;
const BAD_USAGE: u32 = 0x1000;
const BAD_HASH: u32 = 0x4000;
const BAD_KEY: u32 = 0x01_0000;

const VERIFY_FAILED: i32 = -0x2700;
const BAD_CERTIFICATE: i32 = -0x7A00;
const ALERT: i32 = -0x7780;
const INVALID_EXTENSION: i32 = -0x2562;
const INVALID_FORMAT: i32 = -0x2180;

pub(super) fn judged(case: &Case<'_>) -> (Vec<Fault>, Option<Number>) {
    if case.unreadable || case.chain.is_empty() {
        let fault = match case.unreadable {
            true => Fault::Unreadable,
            false => Fault::Empty,
        };
        let (code, flags) = (INVALID_FORMAT, 0);
        return (vec![fault], Some(Number::MbedTls { code, flags }));
    }
    if case.chain[0].key == Key::Other {
        let (code, flags) = (ALERT, 0);
        let fault = Fault::KeyUnknown { at: 0 };
        return (vec![fault], Some(Number::MbedTls { code, flags }));
    }
    // All that was sent is taken apart before any of it is looked at.
    let odd = |at: &usize| case.chain[*at].critical.is_some();
    if let Some(at) = (0..case.chain.len()).find(odd) {
        let (code, flags) = (INVALID_EXTENSION, 0);
        let fault = Fault::Critical { at };
        return (vec![fault], Some(Number::MbedTls { code, flags }));
    }
    let mut found = Found::default();
    let path = follow(case, &mut found);
    for at in path {
        certificate(case, at, &mut found);
    }
    if let Some(fault) = case.name() {
        found.add(fault, OTHER_NAME);
    }
    let verified = found.flags == 0;
    let leaf = &case.chain[0];
    if case.profile.usage && !leaf.for_servers {
        found.add(Fault::Usage, BAD_USAGE);
    }
    let Found { mut faults, flags } = found;
    faults.sort_by_key(Fault::rank);
    let code = match verified {
        true => BAD_CERTIFICATE,
        false => VERIFY_FAILED,
    };
    let number = (flags != 0).then_some(Number::MbedTls { code, flags });
    (faults, number)
}

#[derive(Default)]
struct Found {
    faults: Vec<Fault>,
    flags: u32,
}

impl Found {
    fn add(&mut self, fault: Fault, flag: u32) {
        self.flags |= flag;
        self.faults.push(fault);
    }
}

/// The certificates from the server's own to the last one below a root.
fn follow(case: &Case<'_>, found: &mut Found) -> Vec<usize> {
    let mut path = vec![0];
    loop {
        let at = path[path.len() - 1];
        let current = &case.chain[at];
        if case.anchor(current) == Anchored::Here {
            return path;
        }
        let issuer = (at + 1..case.chain.len()).find(|next| {
            let candidate = &case.chain[*next];
            let here = case.profile.order == Order::Searched || *next == at + 1;
            here && current.names_issuer(candidate)
                && candidate.authority
                && candidate.may_sign_certificates
                && current.is_signed_by(candidate) != Some(false)
        });
        let Some(issuer) = issuer.filter(|_| !current.is_self_signed()) else {
            let why = case.untrusted(at);
            found.add(Fault::Untrusted { last: at, why }, NOT_TRUSTED);
            return path;
        };
        path.push(issuer);
    }
}

fn certificate(case: &Case<'_>, at: usize, found: &mut Found) {
    let certificate = &case.chain[at];
    match case.dates(at) {
        Some(fault) if case.time() < certificate.not_before => found.add(fault, FUTURE),
        Some(fault) => found.add(fault, EXPIRED),
        None => {}
    }
    let keys = &case.profile.keys;
    let most = match at {
        0 => keys.rsa_server,
        _ => keys.rsa_authority,
    };
    match certificate.key {
        Key::Rsa(bits) if bits < keys.rsa_least => found.add(Fault::KeyTooSmall { at }, BAD_KEY),
        Key::Rsa(bits) if bits > most => found.add(Fault::KeyTooLarge { at }, BAD_KEY),
        Key::Ec(curve) if curve == Curve::Other || !keys.curves.contains(&curve) => {
            found.add(Fault::Curve { at }, BAD_KEY);
        }
        Key::Other => found.add(Fault::KeyUnknown { at }, BAD_KEY),
        Key::Rsa(_) | Key::Ec(_) => {}
    }
    // A root that was sent is trusted by its key, not by its own signature.
    let root = at > 0 && certificate.is_self_signed();
    match certificate.hash {
        Some(Hash::Md5 | Hash::Sha1) if !root => found.add(Fault::Hash { at }, BAD_HASH),
        Some(hash) if !root && !case.profile.hashes.contains(&hash) => {
            found.add(Fault::Hash { at }, BAD_HASH);
        }
        _ => {}
    }
}
