//! Which devices can connect with what a listener presents, which cannot, and why. Judged from the
//! certificates as they are sent, never from where they come from.

mod profiles;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::certificate::KeyKind;
use super::certificates::{Choice, best};
use super::chain::{Anchor, AnchorKind, Chain};
use super::fingerprint::Fingerprint;
use super::offer::{Offer, WhyNot};
pub use profiles::Route;
use profiles::{Dates, Names, Profile, ServerName, Trust};

/// Whether one kind of device, set up in one way, can connect.
#[derive(Debug, Clone)]
pub struct FamilyVerdict {
    /// The device and its setup.
    pub route: Route,
    /// Whether it can connect.
    pub can: bool,
    /// Why it can, or the first thing because of which it cannot.
    pub why: Reason,
    /// What else has to be so, or is worth knowing.
    pub conditions: Vec<Condition>,
    /// The chain that it gets; `None` if there is none at all.
    pub served: Option<Arc<Chain>>,
}

/// Why a device can or cannot connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It can: it pins the key with this fingerprint (version 2).
    PinsKey(Fingerprint),
    /// It can: it knows the root of this name.
    KnowsRoot(String),
    /// It can, once it is given the root of this name.
    IsGivenRoot(String),
    /// It can, since it checks nothing. Neither would it notice somebody in between.
    ChecksNothing,
    /// There is no certificate.
    NoCertificate,
    /// It pins RSA keys only, and the key is of this kind.
    PinsRsaOnly(KeyKind),
    /// It cannot make the handshake or check a signature.
    CannotVerify(WhyNot),
    /// The key is too long for it.
    KeyTooLong {
        /// The key.
        key: KeyKind,
        /// Bits it takes at most.
        most: u16,
    },
    /// It knows public roots only, and the chain ends at the private one of this name.
    PrivateRoot(String),
    /// It does not know the root; these are the ones at which the chain ends, if any is known.
    UnknownRoot {
        /// Where it ends.
        ends_at: Vec<String>,
        /// The roots that the device has; empty for the usual public ones.
        knows: &'static [&'static str],
    },
    /// Nobody here knows the root, so nobody can give it to the device.
    RootNotAtHand,
    /// It is told this name, which is not in the certificate.
    NameMissing(String),
    /// It is told this address, and finds it in no DNS name of the certificate.
    AddressMissing(IpAddr),
    /// It is told an address, where it needs a name.
    NeedsName(IpAddr),
    /// The chain is over.
    Ended(SystemTime),
    /// The chain has not begun.
    NotBegun(SystemTime),
    /// Good for so many days, where no more than 825 are believed.
    TooLongLived(u64),
}

/// What else has to be so, or is worth knowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The clock of the device has to be set before it connects: a clock at 1970 finds the
    /// certificate not yet valid.
    ClockSet,
    /// Some builds check dates; those need their clock set.
    ClockSetIfChecked,
    /// No name is told to devices, so none was compared.
    NameUnknown,
}

impl Reason {
    /// A word for it, as a name of messages and in JSON.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::PinsKey(_) => "pins-key",
            Reason::KnowsRoot(_) => "knows-root",
            Reason::IsGivenRoot(_) => "is-given-root",
            Reason::ChecksNothing => "checks-nothing",
            Reason::NoCertificate => "no-certificate",
            Reason::PinsRsaOnly(_) => "pins-rsa-only",
            Reason::CannotVerify(WhyNot::Key(_)) => "cannot-use-key",
            Reason::CannotVerify(WhyNot::Suites(_)) => "no-common-suite",
            Reason::CannotVerify(WhyNot::Curve { .. }) => "unknown-curve",
            Reason::CannotVerify(WhyNot::Signature { .. }) => "unknown-signature",
            Reason::KeyTooLong { .. } => "key-too-long",
            Reason::PrivateRoot(_) => "private-root",
            Reason::UnknownRoot { .. } => "unknown-root",
            Reason::RootNotAtHand => "root-not-at-hand",
            Reason::NameMissing(_) => "name-missing",
            Reason::AddressMissing(_) => "address-missing",
            Reason::NeedsName(_) => "needs-name",
            Reason::Ended(_) => "ended",
            Reason::NotBegun(_) => "not-begun",
            Reason::TooLongLived(_) => "too-long-lived",
        }
    }
}

impl Condition {
    /// A word for it, as a name of messages and in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Condition::ClockSet => "clock-set",
            Condition::ClockSetIfChecked => "clock-set-if-checked",
            Condition::NameUnknown => "name-unknown",
        }
    }
}

/// The verdict for every kind of device that this project knows. `chains` are those that a listener
/// presents by its `choice`, in its order ([`super::Certificates::presented`]); `host` is the name or address that
/// devices are told; `now` is the clock of the server.
pub fn families(
    chains: &[Arc<Chain>],
    choice: Choice,
    host: Option<&str>,
    now: SystemTime,
) -> Vec<FamilyVerdict> {
    let case = Case {
        chains,
        choice,
        host,
        now,
    };
    let profiles = profiles::ALL.iter();
    profiles.map(|profile| case.judge(profile)).collect()
}

struct Case<'a> {
    chains: &'a [Arc<Chain>],
    choice: Choice,
    host: Option<&'a str>,
    now: SystemTime,
}

impl Case<'_> {
    fn judge(&self, profile: &Profile) -> FamilyVerdict {
        let address = self.host.and_then(|host| host.parse::<IpAddr>().ok());
        let offer = Offer {
            server_name: match profile.server_name {
                ServerName::Always => self.host,
                ServerName::NamesOnly if address.is_none() => self.host,
                ServerName::NamesOnly | ServerName::Never => None,
            },
            // A small stack that sends no name has none to compare either.
            reached: address.filter(|_| !matches!(profile.names, Names::NeedsDns)),
            ..profile.offer
        };
        let mut verdict = FamilyVerdict {
            route: profile.route,
            can: false,
            why: Reason::NoCertificate,
            conditions: Vec::new(),
            served: best(self.chains.iter(), self.choice, &offer).cloned(),
        };
        if let Some(chain) = verdict.served.clone() {
            match self.reason_for(profile, &offer, &chain) {
                Ok(why) => {
                    verdict.can = true;
                    verdict.why = why;
                    verdict.conditions = self.conditions(profile, &chain);
                }
                Err(why) => verdict.why = why,
            }
        }
        verdict
    }

    /// Why it can, or as an error why it cannot.
    fn reason_for(
        &self,
        profile: &Profile,
        offer: &Offer<'_>,
        chain: &Chain,
    ) -> Result<Reason, Reason> {
        let key = chain.key();
        if let (KeyKind::Rsa(bits), Some(most)) = (key, profile.longest_rsa)
            && bits > most
        {
            return Err(Reason::KeyTooLong { key, most });
        }
        offer.takes_key(key).map_err(Reason::CannotVerify)?;
        let why = match profile.trust {
            Trust::Nothing => return Ok(Reason::ChecksNothing),
            Trust::Fingerprint => {
                let fingerprints = chain.tasmota_fingerprints();
                let pinned = fingerprints.map(|both| Reason::PinsKey(both.v2));
                return pinned.ok_or(Reason::PinsRsaOnly(key));
            }
            Trust::Roots(known) => self.known_root(chain, offer, known)?,
            Trust::Public => self.public_root(chain, offer)?,
            Trust::Given => self.any_root(chain, offer)?,
        };
        self.check_name(profile.names, chain)?;
        self.check_dates(profile, chain)?;
        Ok(why)
    }

    /// One of the few roots that are compiled into a firmware.
    fn known_root(
        &self,
        chain: &Chain,
        offer: &Offer<'_>,
        known: &'static [&'static str],
    ) -> Result<Reason, Reason> {
        let is_known = |anchor: &&Anchor| {
            anchor.kind == AnchorKind::Public && known.contains(&anchor.name.as_str())
        };
        match chain
            .anchors()
            .iter()
            .filter(is_known)
            .min_by_key(|a| a.length)
        {
            // These stacks stop at the first certificate that a root of theirs has signed.
            Some(anchor) => {
                verify(chain, offer, anchor.length).map(|()| Reason::KnowsRoot(anchor.name.clone()))
            }
            None => Err(unknown_root(chain, known)),
        }
    }

    fn public_root(&self, chain: &Chain, offer: &Offer<'_>) -> Result<Reason, Reason> {
        let mut anchors = chain.anchors().iter();
        match anchors.find(|anchor| anchor.kind == AnchorKind::Public) {
            Some(anchor) => verify(chain, offer, chain.certificates().len())
                .map(|()| Reason::KnowsRoot(anchor.name.clone())),
            None => Err(unknown_root(chain, &[])),
        }
    }

    /// Public roots are there already, and any other can be given to it.
    fn any_root(&self, chain: &Chain, offer: &Offer<'_>) -> Result<Reason, Reason> {
        let Some(anchor) = chain.anchors().first() else {
            return Err(Reason::RootNotAtHand);
        };
        verify(chain, offer, chain.certificates().len())?;
        Ok(match anchor.kind {
            AnchorKind::Public => Reason::KnowsRoot(anchor.name.clone()),
            _ => Reason::IsGivenRoot(anchor.name.clone()),
        })
    }

    fn check_name(&self, names: Names, chain: &Chain) -> Result<(), Reason> {
        let Some(host) = self.host else {
            return Ok(());
        };
        let Ok(address) = host.parse::<IpAddr>() else {
            return match chain.matches(host) {
                true => Ok(()),
                false => Err(Reason::NameMissing(host.to_owned())),
            };
        };
        let text = address.to_string();
        let found = match names {
            Names::NeedsDns => return Err(Reason::NeedsName(address)),
            Names::Dns => chain.dns_names().contains(&text),
            Names::DnsOrAddress => chain.names().contains(&text),
        };
        match found {
            true => Ok(()),
            false => Err(Reason::AddressMissing(address)),
        }
    }

    fn check_dates(&self, profile: &Profile, chain: &Chain) -> Result<(), Reason> {
        let leaf = chain.leaf();
        let is_public = |anchor: &Anchor| anchor.kind == AnchorKind::Public;
        if profile.dates == Dates::Apple && !chain.anchors().iter().any(is_public) {
            let life = leaf.not_after.duration_since(leaf.not_before);
            let days = life.unwrap_or_default().as_secs().div_ceil(86_400);
            if days > 825 {
                return Err(Reason::TooLongLived(days));
            }
        }
        if profile.dates == Dates::Unchecked {
            return Ok(());
        }
        if self.now >= chain.not_after() {
            return Err(Reason::Ended(chain.not_after()));
        }
        if self.now < chain.not_before() {
            return Err(Reason::NotBegun(chain.not_before()));
        }
        Ok(())
    }

    fn conditions(&self, profile: &Profile, chain: &Chain) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let verifies = !matches!(profile.trust, Trust::Nothing | Trust::Fingerprint);
        // What has always been good is good at 1970 as well.
        if verifies && chain.not_before() > SystemTime::UNIX_EPOCH {
            match profile.dates {
                Dates::ByClock => conditions.push(Condition::ClockSet),
                Dates::InSomeBuilds => conditions.push(Condition::ClockSetIfChecked),
                // Computers and phones keep time.
                Dates::Unchecked | Dates::OwnClock | Dates::Apple => {}
            }
        }
        if verifies && self.host.is_none() {
            conditions.push(Condition::NameUnknown);
        }
        conditions
    }
}

/// Whether the first so many certificates can be checked.
fn verify(chain: &Chain, offer: &Offer<'_>, length: usize) -> Result<(), Reason> {
    offer
        .takes_signatures(chain, length)
        .map_err(Reason::CannotVerify)
}

fn unknown_root(chain: &Chain, knows: &'static [&'static str]) -> Reason {
    let anchors = chain.anchors();
    match anchors
        .iter()
        .find(|anchor| anchor.kind == AnchorKind::Private)
    {
        Some(private) => Reason::PrivateRoot(private.name.clone()),
        None => {
            let names: BTreeSet<String> = anchors.iter().map(|a| a.name.clone()).collect();
            Reason::UnknownRoot {
                ends_at: names.into_iter().collect(),
                knows,
            }
        }
    }
}
