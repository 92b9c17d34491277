//! ClientHellos, byte for byte: those of devices, and those that find out what a server can do at all.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::wire::{long, numbers, short};
use crate::profile::{Profile, Sni, Stack};
use crate::target::Host;

/// What a ClientHello offers, and in which form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Offer {
    /// TLS versions as on the wire, the highest first.
    pub versions: Vec<u16>,
    /// Cipher suites in order, signals included.
    pub suites: Vec<u16>,
    /// Groups in order.
    pub groups: Vec<u16>,
    /// Signature algorithms in order; none leaves the extension away.
    pub signatures: Vec<u16>,
    /// Whether the host is named: always, names only, or never.
    pub sni: Sni,
    /// Protocols for ALPN; none leaves the extension away.
    pub alpn: Vec<String>,
    /// The longest plaintext of a record that is asked for: 512, 1024, 2048 or 4096.
    pub max_fragment: Option<u16>,
    /// Whose form it has.
    pub shape: Shape,
}

/// Which extensions stand in a ClientHello, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// BearSSL: renegotiation_info first, nothing newer than ALPN.
    BearSsl,
    /// mbedTLS 3 without TLS 1.3.
    MbedTls,
    /// mbedTLS 3.6 and 4 with TLS 1.3.
    MbedTls13,
    /// Of no device: everything that makes servers talk.
    Own,
}

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

const WIDE_GROUPS: &[u16] = &[0x001d, 0x0017, 0x0018, 0x0019, 0x001e];
const WIDE_SIGNATURES: &[u16] = &[
    0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0603, 0x0806, 0x0601, 0x0807, 0x0203, 0x0201,
];
const WIDE_SUITES: &[u16] = &[
    // Those that devices know stand first: servers that take the client's order say what they can do
    // for a device, and only those that insist on their own order say that.
    0xc02f, 0xc02b, 0xc030, 0xc02c, 0xcca8, 0xcca9, 0xc027, 0xc023, 0xc028, 0xc024, 0xc013, 0xc009,
    0xc014, 0xc00a, 0xc0ac, 0xc0ad, 0x009e, 0x009f, 0xccaa, 0x0067, 0x006b, 0x0033, 0x0039, 0x009c,
    0x009d, 0x003c, 0x003d, 0x002f, 0x0035, 0x000a, 0x00ff,
];
const OLD_SUITES: &[u16] = &[
    0xc013, 0xc009, 0xc014, 0xc00a, 0xc012, 0x0033, 0x0039, 0x002f, 0x0035, 0x000a, 0x00ff,
];

impl Offer {
    /// The ClientHello of a device of this profile.
    pub fn of(profile: &Profile) -> Offer {
        Offer {
            versions: profile.versions.to_vec(),
            suites: profile.suites.to_vec(),
            groups: profile.groups.to_vec(),
            signatures: profile.signatures.to_vec(),
            sni: profile.sni,
            alpn: profile.alpn.iter().map(ToString::to_string).collect(),
            max_fragment: profile.max_fragment,
            shape: match profile.stack {
                Stack::BearSsl => Shape::BearSsl,
                Stack::MbedTls | Stack::Modem => Shape::MbedTls,
                Stack::MbedTls13 => Shape::MbedTls13,
            },
        }
    }

    /// All of TLS 1.2 and below: answered in clear, so it shows the chain. Every key exchange and all
    /// of the AES suites, static RSA and CBC included.
    pub fn wide() -> Offer {
        Offer {
            versions: vec![TLS12, 0x0302, 0x0301],
            suites: WIDE_SUITES.to_vec(),
            groups: WIDE_GROUPS.to_vec(),
            signatures: WIDE_SIGNATURES.to_vec(),
            sni: Sni::Names,
            alpn: Vec::new(),
            max_fragment: None,
            shape: Shape::Own,
        }
    }

    /// TLS 1.3 and nothing below it.
    pub fn only_tls13() -> Offer {
        Offer {
            versions: vec![TLS13],
            suites: vec![0x1301, 0x1302, 0x1303],
            ..Offer::wide()
        }
    }

    /// TLS 1.1 and 1.0: whether a server still speaks those.
    pub fn legacy() -> Offer {
        Offer {
            versions: vec![0x0302, 0x0301],
            suites: OLD_SUITES.to_vec(),
            ..Offer::wide()
        }
    }

    /// The same without the server's name.
    pub fn without_sni(&self) -> Offer {
        Offer {
            sni: Sni::Never,
            ..self.clone()
        }
    }

    /// Whether the server's name stands in it for this host.
    pub fn names(&self, host: &Host) -> bool {
        match self.sni {
            Sni::Always => true,
            Sni::Names => host.name().is_some(),
            Sni::Never => false,
        }
    }

    /// The highest version.
    pub fn highest(&self) -> u16 {
        self.versions.iter().copied().max().unwrap_or(TLS12)
    }

    /// The groups for which [`Offer::bytes`] wants a key share: the first one with TLS 1.3, none
    /// below it. A server that wants another group asks for it, which is an answer too.
    pub fn shares(&self) -> &[u16] {
        match self.highest() >= TLS13 {
            true => &self.groups[..self.groups.len().min(1)],
            false => &[],
        }
    }

    /// The record to send. `random` is used up: take new ones for each. `shares` are the public keys
    /// for [`Offer::shares`].
    pub fn bytes(&self, host: &Host, mut random: [u8; 32], shares: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let tls13 = self.highest() >= TLS13;
        // Middle boxes want to see a session of TLS 1.2 (RFC 8446 appendix D.4); the value is free.
        let session: Vec<u8> = match tls13 {
            true => random.iter().map(|byte| byte ^ 0xa5).collect(),
            false => Vec::new(),
        };
        if self.shape == Shape::BearSsl {
            // Where a time once stood, BearSSL writes zeros.
            random[..4].fill(0);
        }
        let mut body = self.highest().min(TLS12).to_be_bytes().to_vec();
        body.extend(random);
        body.extend(short(&session));
        body.extend(long(&numbers(&self.suites)));
        body.extend([1, 0]);
        body.extend(long(&self.extensions(host, shares)));
        let mut message = vec![1, 0];
        message.extend(long(&body));
        // Records announce the oldest version that has to understand them.
        let version: u16 = match self.shape {
            Shape::BearSsl | Shape::MbedTls | Shape::MbedTls13 => TLS12,
            Shape::Own => 0x0301,
        };
        let mut record = vec![22];
        record.extend(version.to_be_bytes());
        record.extend(long(&message));
        record
    }

    fn extensions(&self, host: &Host, shares: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut all = Vec::new();
        let order: &[u16] = match self.shape {
            Shape::BearSsl => &[0xff01, 0, 1, 13, 10, 11, 16],
            Shape::MbedTls => &[0, 10, 13, 11, 1, 22, 23, 16, 35],
            Shape::MbedTls13 => &[0, 43, 51, 45, 10, 13, 11, 1, 22, 23, 16, 35],
            Shape::Own => &[0, 43, 51, 45, 10, 11, 13, 16, 23, 35],
        };
        for kind in order {
            if let Some(content) = self.extension(*kind, host, shares) {
                all.extend(kind.to_be_bytes());
                all.extend(long(&content));
            }
        }
        all
    }

    /// What stands in an extension; None leaves it away.
    fn extension(&self, kind: u16, host: &Host, shares: &[(u16, Vec<u8>)]) -> Option<Vec<u8>> {
        let tls13 = self.highest() >= TLS13;
        match kind {
            0 => self.names(host).then(|| {
                let mut name = vec![0];
                name.extend(long(host.to_string().as_bytes()));
                long(&name)
            }),
            1 => self
                .max_fragment
                .map(|bytes| vec![(bytes / 256).checked_ilog2().unwrap_or(1) as u8]),
            10 => (!self.groups.is_empty()).then(|| long(&numbers(&self.groups))),
            11 => Some(vec![1, 0]),
            13 => (!self.signatures.is_empty()).then(|| long(&numbers(&self.signatures))),
            16 => (!self.alpn.is_empty()).then(|| {
                let names: Vec<u8> = self
                    .alpn
                    .iter()
                    .flat_map(|name| short(name.as_bytes()))
                    .collect();
                long(&names)
            }),
            22 | 23 | 35 => Some(Vec::new()),
            43 => tls13.then(|| short(&numbers(&self.versions))),
            45 => tls13.then(|| match self.shape {
                // With a key exchange, and without one.
                Shape::MbedTls13 => vec![2, 1, 0],
                _ => vec![1, 1],
            }),
            51 => tls13.then(|| {
                let mut list = Vec::new();
                for (group, key) in shares {
                    list.extend(group.to_be_bytes());
                    list.extend(long(key));
                }
                long(&list)
            }),
            0xff01 => Some(vec![0]),
            _ => None,
        }
    }
}

/// The different ClientHellos among these profiles, each with the profiles that send it: one
/// connection for each is enough. Record sizes that are asked for do not make a difference here; the
/// first profile's is taken.
pub fn distinct_offers(profiles: &[&'static Profile]) -> Vec<(Offer, Vec<&'static Profile>)> {
    let mut offers: Vec<(Offer, Vec<&'static Profile>)> = Vec::new();
    for profile in profiles {
        let offer = Offer::of(profile);
        match offers.iter_mut().find(|(other, _)| other.is_like(&offer)) {
            Some((_, senders)) => senders.push(profile),
            None => offers.push((offer, vec![profile])),
        }
    }
    offers
}

impl Offer {
    /// Whether a server answers both in the same way. A name that is always sent and one that is sent
    /// when it is one differ only for addresses.
    pub(super) fn is_like(&self, other: &Offer) -> bool {
        let named = |offer: &Offer| offer.sni != Sni::Never;
        // Below TLS 1.3 only the highest version stands in the message.
        let versions = match self.highest() {
            TLS13.. => self.versions == other.versions,
            highest => highest == other.highest(),
        };
        versions
            && self.suites == other.suites
            && self.groups == other.groups
            && self.signatures == other.signatures
            && self.alpn == other.alpn
            && named(self) == named(other)
    }
}
