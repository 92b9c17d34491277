//! What may be wrong with a certificate in the eyes of the client that it was served to.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::judge::{Circumstances, Judgement};
use super::{Attempt, Cause};
use crate::hello::{ClientHello, Stack};
use crate::pki::{AnchorKind, Chain, ChainNote, Hash, KeyKind, Offer, Origin, WhyNot};

/// The chain, the client and the moment.
pub(super) struct Suspects<'a> {
    hello: Option<&'a ClientHello>,
    chain: Option<&'a Chain>,
    at: SystemTime,
    known: &'a Circumstances,
}

impl<'a> Suspects<'a> {
    pub(super) fn new(attempt: &'a Attempt, known: &'a Circumstances) -> Suspects<'a> {
        let tls = attempt.tls.as_deref();
        Suspects {
            hello: tls.and_then(|tls| tls.hello.as_ref()),
            chain: tls.and_then(|tls| tls.served.as_deref()),
            at: attempt.at,
            known,
        }
    }

    pub(super) fn stack(&self) -> Option<Stack> {
        self.hello.map(ClientHello::stack)
    }

    /// Whether a certificate was sent at all.
    pub(super) fn served(&self) -> bool {
        self.chain.is_some()
    }

    /// What is known to be wrong, in the order in which one would mend it. A client that
    /// compares a pinned key looks at nothing else.
    pub(super) fn evident(&self) -> Vec<Cause> {
        let Some(chain) = self.chain else {
            return Vec::new();
        };
        match self.known.pinned {
            Some(true) => return self.unusable(chain).into_iter().collect(),
            Some(false) => {
                let found = [self.unusable(chain), Some(Cause::FingerprintMismatch)];
                return found.into_iter().flatten().collect();
            }
            None => {}
        }
        let found = [
            self.out_of_date(chain),
            self.unusable(chain),
            self.named_otherwise(chain).then_some(Cause::NameMismatch),
            self.unrooted(chain),
        ];
        found.into_iter().flatten().collect()
    }

    /// Every cause for which a client closes without a word after our certificate, those first
    /// that fit what is known.
    pub(super) fn all_of_silent_client(&self) -> Vec<Cause> {
        if !self.served() {
            return match self.hello {
                // A resumed session, or nothing known.
                Some(_) => vec![Cause::ClosesInHandshake],
                None => vec![Cause::CertificateRefused],
            };
        }
        let mut causes = self.evident();
        let mut add = |cause| {
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        };
        if self.known.pinned != Some(true) {
            for cause in self.hidden() {
                add(cause);
            }
        }
        add(Cause::LowHeap);
        causes
    }

    /// What only the device can know.
    pub(super) fn hidden(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        if self
            .chain
            .is_some_and(|chain| chain.not_before() > UNIX_EPOCH + BEGINNING)
        {
            causes.push(Cause::DeviceClockUnset);
        }
        if self.known.pinned.is_none() {
            causes.push(Cause::FingerprintMismatch);
        }
        causes.push(Cause::DeviceClockWrong);
        // Without a name in the hello nobody knows what it was told to connect to.
        let unnamed = self.hello.is_some_and(|hello| hello.server_name.is_none());
        if unnamed {
            causes.push(Cause::NameMismatch);
        }
        causes
    }

    /// The first of `causes`, the rest beside it. It is likely when something known speaks for
    /// it, or when it is the only one.
    pub(super) fn judge(&self, causes: Vec<Cause>) -> Judgement {
        let Some((first, others)) = causes.split_first() else {
            return Judgement::possible(Cause::CertificateRefused, &[]);
        };
        let evident = self.evident().contains(first);
        match evident || others.is_empty() {
            true => Judgement::likely(*first, others),
            false => Judgement::possible(*first, others),
        }
    }

    fn out_of_date(&self, chain: &Chain) -> Option<Cause> {
        if chain.not_after() < self.at {
            Some(Cause::CertificateExpired)
        } else if chain.not_before() > self.at {
            Some(Cause::NotYetValid)
        } else {
            None
        }
    }

    fn unusable(&self, chain: &Chain) -> Option<Cause> {
        let hello = self.hello?;
        if hello.stack() == Stack::BearSsl && matches!(chain.key(), KeyKind::Rsa(2049..)) {
            return Some(Cause::KeyTooLarge);
        }
        match chain.can_verify(&Offer::from(hello)).err()? {
            WhyNot::Key(_) | WhyNot::Suites(_) => Some(Cause::NoCommonCipher),
            WhyNot::Curve { .. } => Some(Cause::ChainUnsupportedCurve),
            // Another hash would not help a client that lacks the signer's curve.
            WhyNot::Signature { position, .. } if lacks_curve(hello, chain, position) => {
                Some(Cause::ChainUnsupportedCurve)
            }
            WhyNot::Signature { signature, .. } => Some(match signature.hash() {
                Some(Hash::Md5 | Hash::Sha1) => Cause::HashWeak,
                _ => Cause::HashUnsupported,
            }),
        }
    }

    pub(super) fn named_otherwise(&self, chain: &Chain) -> bool {
        let name = self.hello.and_then(|hello| hello.server_name.as_deref());
        let Some(name) = name else {
            return false;
        };
        let by_name_only = matches!(
            self.stack(),
            Some(Stack::BearSsl | Stack::BearSslOther | Stack::MbedTls)
        );
        if by_name_only && name.parse::<IpAddr>().is_ok() {
            return !chain.dns_names().iter().any(|own| own == name);
        }
        !chain.matches(name)
    }

    fn unrooted(&self, chain: &Chain) -> Option<Cause> {
        if self.known.trusted_before {
            return None;
        }
        let leaf = chain.leaf();
        if leaf.subject == leaf.issuer {
            return Some(Cause::UntrustedSelfSigned);
        }
        let bridge = |note: &ChainNote| matches!(note, ChainNote::WithoutCrossSigned { .. });
        if chain.notes().iter().any(bridge) && !self.has_every_root() {
            return Some(Cause::ChainIncomplete);
        }
        (!self.trusts(chain)).then_some(Cause::Untrusted)
    }

    /// Whether the client trusts the chain as it comes from the factory.
    fn trusts(&self, chain: &Chain) -> bool {
        let mut anchors = chain.anchors().iter();
        match self.stack() {
            Some(Stack::BearSsl) => {
                anchors.any(|anchor| SMALL_ROOTS.contains(&anchor.name.as_str()))
            }
            _ => anchors.any(|anchor| anchor.kind == AnchorKind::Public),
        }
    }

    /// Programs and browsers have the young roots too.
    fn has_every_root(&self) -> bool {
        self.stack().is_some_and(Stack::has_large_buffers)
    }

    /// Whether the chain comes from an authority that nobody trusts from the factory.
    pub(super) fn is_private(&self) -> bool {
        let private = |chain: &Chain| {
            *chain.origin() == Origin::Private
                || !chain
                    .anchors()
                    .iter()
                    .any(|anchor| anchor.kind == AnchorKind::Public)
        };
        self.chain.is_some_and(private)
    }
}

fn lacks_curve(hello: &ClientHello, chain: &Chain, position: usize) -> bool {
    let group = match chain.certificates()[position].signed_by {
        Some(KeyKind::P256) => 0x0017,
        Some(KeyKind::P384) => 0x0018,
        Some(KeyKind::P521) => 0x0019,
        Some(KeyKind::Rsa(_) | KeyKind::Ed25519) | None => return false,
    };
    !hello.groups.is_empty() && !hello.groups.contains(&group)
}

/// The roots in the images of Tasmota and ESPEasy.
const SMALL_ROOTS: [&str; 6] = [
    "ISRG Root X1",
    "Amazon Root CA 1",
    "Amazon Root CA 3",
    "GTS Root R1",
    "GTS Root R4",
    "GlobalSign Root CA",
];

/// A certificate that begins in the first days of 1970 is good on any clock that was never set.
const BEGINNING: Duration = Duration::from_secs(10 * 86_400);
