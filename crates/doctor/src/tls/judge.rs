//! A server's chain of certificates, judged as a device would judge it.
//!
//! BearSSL reads a chain once, from front to back, and stops at the first fault; mbedTLS looks at all of
//! it and collects flags. So the same chain has different numbers, and some faults are faults for one
//! of them only.

mod bearssl;
mod fault;
mod mbedtls;
mod path;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::certificate::{Anchor, Certificate};
use super::number::Number;
use crate::profile::{ClockRule, NameRule, Order, Profile, Stack, Trust};
use crate::target::Host;
use crate::{Clue, Facts, Place};
use fault::Fault;

/// What a chain is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// What stands in the device's settings as the host.
    pub host: &'a Host,
    /// The public roots, of which a device has all or a few by its profile.
    pub anchors: &'a [Anchor],
    /// Roots of the owner's own that this device has, such as `--ca` names them.
    pub own: &'a [Anchor],
    /// Roots that exist and that no device has by itself, such as our private authority: a chain that
    /// ends there is complete and not trusted.
    pub known: &'a [Anchor],
    /// The time, since 1970.
    pub now: Duration,
    /// What the device takes for the time, since 1970, if that is known.
    pub device_time: Option<Duration>,
    /// The fingerprint that the device compares instead of a chain, if that is how it is set.
    pub pin: Option<Pin>,
    /// Who saw the chain.
    pub place: Place,
}

/// A fingerprint as Tasmota keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// Any key will do, or the first one is learnt.
    Any,
    /// This key.
    Key([u8; 20]),
}

/// What a device says to a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct ChainVerdict {
    /// What is wrong; empty when the device goes on.
    pub clues: Vec<Clue>,
    /// The number that the device prints then.
    pub number: Option<Number>,
    /// `number`, and `other` for a second value that contradicts the first.
    pub facts: Facts,
    /// What was served, one line for each certificate, in the order of the wire.
    pub served: Vec<String>,
}

impl ChainVerdict {
    /// Whether the device goes on.
    pub fn passes(&self) -> bool {
        self.clues.is_empty()
    }
}

/// What a device of this profile says to a chain as it was sent, in DER.
pub fn judge_chain(
    profile: &Profile,
    chain: &[Vec<u8>],
    circumstances: &Circumstances<'_>,
) -> ChainVerdict {
    let case = Case::new(profile, chain, circumstances);
    let (faults, number) = match (profile.stack, circumstances.pin) {
        (Stack::Modem, _) => (Vec::new(), None),
        (Stack::BearSsl, Some(pin)) if profile.pins => bearssl::pinned(&case, pin),
        (Stack::BearSsl, _) => bearssl::judged(&case),
        (Stack::MbedTls | Stack::MbedTls13, _) => mbedtls::judged(&case),
    };
    case.verdict(faults, number)
}

/// What is wrong with a chain for a strict client with the public roots: the faults that every device
/// minds, and the order, which few do.
pub fn inspect_chain(chain: &[Vec<u8>], circumstances: &Circumstances<'_>) -> ChainVerdict {
    let case = Case::new(&STRICT, chain, circumstances);
    let (mut faults, _) = mbedtls::judged(&case);
    faults.extend(case.out_of_order());
    case.verdict(faults, None)
}

/// A client that minds everything and can use every key.
const STRICT: Profile = Profile {
    name: "strict",
    aliases: &[],
    family: "",
    says: "",
    says_zh: "",
    stack: Stack::MbedTls,
    versions: &[],
    suites: &[],
    groups: &[],
    signatures: &[],
    sni: crate::profile::Sni::Names,
    alpn: &[],
    max_fragment: None,
    record_in: 16_384,
    joins_handshake: true,
    trust: Trust::Bundle,
    pins: false,
    names: NameRule::DnsAndAddress,
    keys: crate::profile::Keys {
        rsa_least: 2048,
        rsa_server: 8192,
        rsa_authority: 8192,
        curves: &[super::Curve::P256, super::Curve::P384, super::Curve::P521],
    },
    hashes: &[
        super::Hash::Sha256,
        super::Hash::Sha384,
        super::Hash::Sha512,
    ],
    order: Order::Searched,
    usage: true,
    clock: ClockRule::Clock,
    patience: crate::profile::Patience {
        dns: Duration::ZERO,
        connect: Duration::ZERO,
        handshake: Duration::ZERO,
        answer: Duration::ZERO,
        hello: Duration::ZERO,
    },
};

/// A chain and what it is judged against.
struct Case<'a> {
    profile: &'a Profile,
    at: &'a Circumstances<'a>,
    /// The certificates up to the first that cannot be read.
    chain: Vec<Certificate>,
    /// Whether one cannot be read.
    unreadable: bool,
}

impl<'a> Case<'a> {
    fn new(profile: &'a Profile, ders: &[Vec<u8>], at: &'a Circumstances<'a>) -> Case<'a> {
        let ders = &ders[..ders.len().min(crate::limits::CHAIN_CERTIFICATES)];
        let chain: Vec<Certificate> = ders
            .iter()
            .map_while(|der| Certificate::read(der))
            .collect();
        Case {
            unreadable: chain.len() < ders.len(),
            profile,
            at,
            chain,
        }
    }

    fn verdict(&self, faults: Vec<Fault>, number: Option<Number>) -> ChainVerdict {
        let mut facts = Facts::default();
        if let Some(number) = number {
            facts.note("number", alloc::string::ToString::to_string(&number));
        }
        for fault in &faults {
            fault.note(self, &mut facts);
        }
        // The same thing of several certificates is said of the first.
        let mut clues: Vec<Clue> = Vec::new();
        for fault in &faults {
            let clue = fault.clue(self, number);
            if clues.iter().all(|other| other.cause != clue.cause) {
                clues.push(clue);
            }
        }
        ChainVerdict {
            clues,
            number,
            facts,
            served: self.chain.iter().map(Certificate::line).collect(),
        }
    }
}
