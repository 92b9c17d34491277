//! The questions that both kinds of devices ask of a chain.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::Case;
use super::fault::{Fault, Untrusted};
use crate::profile::{ClockRule, NameRule, Sni, Trust};
use crate::target::Host;
use crate::tls::certificate::{Anchor, Certificate, Key};

impl Case<'_> {
    /// The server's certificate.
    pub(super) fn leaf(&self) -> Option<&Certificate> {
        self.chain.first()
    }

    /// What the device takes for the time, in seconds since 1970.
    pub(super) fn time(&self) -> i64 {
        let time = self.at.device_time.unwrap_or(self.at.now);
        i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
    }

    /// The time as we know it, in seconds since 1970.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.at.now.as_secs()).unwrap_or(i64::MAX)
    }

    /// Whether the dates of a certificate keep the device away.
    pub(super) fn dates(&self, at: usize) -> Option<Fault> {
        let certificate = &self.chain[at];
        let good = |time: i64| (certificate.not_before..=certificate.not_after).contains(&time);
        let wrong_clock = self.profile.clock == ClockRule::IfBuilt && good(self.now());
        if self.profile.clock == ClockRule::Ignored || good(self.time()) || wrong_clock {
            return None;
        }
        // With the right time it would pass: the device's clock is what is wrong.
        if good(self.now()) {
            return Some(Fault::DeviceClock { at });
        }
        Some(match self.time() < certificate.not_before {
            true => Fault::NotYetValid { at },
            false => Fault::Expired { at },
        })
    }

    /// Whether the host stands in the server's certificate as the device wants it.
    pub(super) fn name(&self) -> Option<Fault> {
        let leaf = self.leaf()?;
        // A device that names nobody has no name to compare either.
        let unnamed = match self.profile.sni {
            Sni::Always => false,
            Sni::Names => self.at.host.name().is_none() && self.profile.names == NameRule::Dns,
            Sni::Never => true,
        };
        let fits = match self.profile.names {
            NameRule::Nothing => true,
            _ if unnamed => true,
            NameRule::Dns => is_named(leaf, &self.at.host.to_string()),
            NameRule::DnsAndAddress => match self.at.host.ip() {
                Some(ip) => leaf.addresses.contains(&ip) || is_named(leaf, &ip.to_string()),
                None => is_named(leaf, &self.at.host.to_string()),
            },
        };
        (!fits).then_some(Fault::Name)
    }

    /// The roots that the device has.
    pub(super) fn trusted(&self) -> Vec<&Anchor> {
        let public = self.at.anchors.iter().take(crate::limits::ANCHORS);
        let built_in = public.filter(|anchor| match self.profile.trust {
            Trust::Roots(names) => names.contains(&anchor.name.as_str()),
            Trust::Bundle => true,
            Trust::Anyone => false,
        });
        self.at.own.iter().chain(built_in).collect()
    }

    /// Whether a root that the device has verifies this certificate.
    pub(super) fn anchor(&self, certificate: &Certificate) -> Anchored {
        let named: Vec<&Anchor> = self
            .trusted()
            .into_iter()
            .filter(|anchor| {
                certificate
                    .anchors(core::slice::from_ref(*anchor))
                    .next()
                    .is_some()
            })
            .collect();
        let mut best = Anchored::Nowhere;
        for anchor in named {
            // What cannot be verified here is taken for good: other things may still be wrong.
            let signed = certificate.is_anchored_at(anchor) != Some(false);
            match (signed, self.can_use_authority(anchor.key())) {
                (true, true) => return Anchored::Here,
                (true, false) => best = Anchored::TooLarge(anchor.key()),
                (false, _) if best == Anchored::Nowhere => best = Anchored::OtherKey,
                _ => {}
            }
        }
        best
    }

    /// Whether the device can verify signatures of an authority with such a key.
    pub(super) fn can_use_authority(&self, key: Key) -> bool {
        match key {
            Key::Rsa(bits) => bits <= self.profile.keys.rsa_authority,
            Key::Ec(curve) => self.profile.keys.curves.contains(&curve),
            Key::Other => false,
        }
    }

    /// Why a chain whose last followed certificate is this one leads to no root of the device.
    pub(super) fn untrusted(&self, last: usize) -> Untrusted {
        let certificate = &self.chain[last];
        let alone = self.chain.len() == 1 || last == 0;
        if alone && certificate.is_self_signed() {
            return Untrusted::SelfSigned;
        }
        match self.anchor(certificate) {
            Anchored::TooLarge(key) => return Untrusted::RootTooLarge(key),
            Anchored::OtherKey => return Untrusted::OtherRoot,
            Anchored::Here | Anchored::Nowhere => {}
        }
        let mut rest = self.chain.iter().skip(last + 1);
        if rest.any(|other| certificate.names_issuer(other) && !other.authority) {
            return Untrusted::IssuerMayNot;
        }
        // A root was sent, or the issuer is one that exists: nothing is missing.
        let known = certificate.anchors(self.at.anchors).next().is_some()
            || certificate.anchors(self.at.known).next().is_some();
        if known || certificate.is_self_signed() {
            return Untrusted::Root;
        }
        Untrusted::Missing
    }

    /// The first certificate that is not that of the issuer of the one before it.
    pub(super) fn out_of_order(&self) -> Option<Fault> {
        let at =
            (1..self.chain.len()).find(|at| !self.chain[at - 1].names_issuer(&self.chain[*at]))?;
        // A stray root behind a whole chain harms nobody: it is not read any more.
        let whole = matches!(self.anchor(&self.chain[at - 1]), Anchored::Here);
        (!whole).then_some(Fault::Order { at })
    }
}

/// Whether a root of the device verifies a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchored {
    /// It does.
    Here,
    /// It would, but the device cannot use its key.
    TooLarge(Key),
    /// One of that name has another key.
    OtherKey,
    /// None has that name.
    Nowhere,
}

/// Whether a name stands in a certificate: among the names, or as its common name when it has no
/// list of names.
fn is_named(leaf: &Certificate, host: &str) -> bool {
    match &leaf.dns {
        Some(names) => names.iter().any(|name| matches(name, host)),
        None => leaf
            .common_name
            .as_ref()
            .is_some_and(|name| matches(name, host)),
    }
}

/// Whether a name of a certificate, perhaps with `*` as its first label, covers a host.
fn matches(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let (Some(behind), Some((label, rest))) = (name.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    let address = Host::of(host).is_some_and(|host| host.ip().is_some());
    !label.is_empty() && !address && behind.eq_ignore_ascii_case(rest)
}
