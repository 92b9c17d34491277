//! [`Certificates::choose`], beside a plain account of the same rules.

use std::net::IpAddr;
use std::sync::LazyLock;

use proptest::prelude::*;
use safeport_net::pki::{AnchorKind, Origin, Roots};
use safeport_net::{Certificates, Chain, Choice, Offer};

use crate::authority::{issued, names};
use crate::folder::{Folder, june_2026};
use crate::lab::{Authority, Kind, Made};

/// A chain with what a client has to know for it, written down by hand.
struct Known {
    source: Source,
    is_p256: bool,
    names: &'static [&'static str],
    /// Any of these signs the handshake, in TLS 1.2 and 1.3.
    handshake: [&'static [u16]; 2],
    /// All of these sign certificates.
    certificates: &'static [u16],
    suites: &'static [u16],
    /// Curves in the chain.
    groups: &'static [u16],
    pem: String,
    key: String,
    root: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Files,
    Acme,
    Private,
}

const RSA: [&[u16]; 2] = [&[0x0401, 0x0804, 0x0501], &[0x0804]];
const P256: [&[u16]; 2] = [&[0x0403], &[0x0403]];
const RSA_SUITES: &[u16] = &[0xc02f, 0xc030];
const ECDSA_SUITES: &[u16] = &[0xc02b, 0xc02c];

/// In the order of preference: by source, and P-256 before RSA.
static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let known = |source, made: Made, upper: &[&Authority], root: &Authority| Known {
        source,
        is_p256: false,
        names: &[],
        handshake: RSA,
        certificates: &[],
        suites: RSA_SUITES,
        groups: &[],
        pem: upper.iter().fold(made.pem, |all, one| all + &one.pem),
        key: made.key,
        root: root.der.to_vec(),
    };
    let large = Authority::root("Large Root", Kind::P384);
    let large_issuing = large.authority("Large Issuing", Kind::P384);
    let middle = Authority::root("Middle Root", Kind::RsaSha384);
    let plain = Authority::root("Plain Root", Kind::Rsa);
    let small = Authority::root("Small Root", Kind::P256);
    vec![
        Known {
            is_p256: true,
            names: &["home.example.com"],
            handshake: P256,
            certificates: &[0x0503],
            suites: ECDSA_SUITES,
            groups: &[0x17, 0x18],
            ..known(
                Source::Files,
                large_issuing.leaf("home.example.com", Kind::P256),
                &[&large_issuing],
                &large,
            )
        },
        Known {
            names: &["home.example.com"],
            certificates: &[0x0501],
            ..known(
                Source::Files,
                middle.leaf("home.example.com", Kind::Rsa),
                &[],
                &middle,
            )
        },
        Known {
            names: &["*.home.example.com"],
            certificates: &[0x0401],
            ..known(
                Source::Files,
                plain.leaf("*.home.example.com", Kind::Rsa),
                &[],
                &plain,
            )
        },
        Known {
            is_p256: true,
            names: &["*.home.example.com"],
            handshake: P256,
            certificates: &[0x0403],
            suites: ECDSA_SUITES,
            groups: &[0x17],
            ..known(
                Source::Acme,
                small.leaf("*.home.example.com", Kind::P256),
                &[],
                &small,
            )
        },
        Known {
            is_p256: true,
            names: &["safeport.lan", "192.168.1.5"],
            handshake: P256,
            certificates: &[0x0401],
            suites: ECDSA_SUITES,
            groups: &[0x17],
            ..private(0)
        },
        Known {
            names: &["safeport.lan", "192.168.1.5"],
            certificates: &[0x0401],
            ..private(1)
        },
    ]
});

/// The certificates of a real private authority: 0 is P-256, 1 is RSA.
fn private(which: usize) -> Known {
    static MADE: LazyLock<(Vec<String>, Vec<String>, Vec<u8>)> = LazyLock::new(|| {
        let folder = Folder::with_authority();
        let mut ca = issued(&folder, june_2026());
        let names = names(&["safeport.lan", "192.168.1.5"]);
        ca.ensure_leaf(&names, june_2026()).unwrap();
        let stems = ["server-p256", "server-rsa"];
        let all = |end: &str| {
            stems
                .iter()
                .map(|stem| folder.text(&format!("{stem}{end}")))
                .collect()
        };
        (all(".pem"), all(".key"), ca.ca_der().to_vec())
    });
    let (pems, keys, root) = &*MADE;
    Known {
        source: Source::Private,
        is_p256: false,
        names: &[],
        handshake: RSA,
        certificates: &[],
        suites: RSA_SUITES,
        groups: &[],
        pem: pems[which].clone(),
        key: keys[which].clone(),
        root: root.clone(),
    }
}

impl Known {
    fn chain(&self) -> Chain {
        let origin = match self.source {
            Source::Files => Origin::Files {
                path: "here".into(),
            },
            Source::Acme => Origin::Acme,
            Source::Private => Origin::Private,
        };
        let roots = Roots::none().with_certificate(AnchorKind::Given, &self.root);
        let (pem, key) = (self.pem.as_bytes(), self.key.as_bytes());
        Chain::from_pem(origin, pem, key, &roots, june_2026()).unwrap()
    }

    fn has_name(&self, wanted: &str) -> bool {
        let wanted = wanted.to_lowercase();
        let wanted = wanted.trim_end_matches('.');
        self.names.iter().any(|name| {
            let parent = match wanted.split_once('.') {
                Some((label, parent)) if !label.is_empty() => Some(format!("*.{parent}")),
                _ => None,
            };
            *name == wanted || Some(*name) == parent.as_deref()
        })
    }

    fn has_usable_key(&self, client: &Client) -> bool {
        let any = |mine: &[u16], theirs: &[u16]| mine.iter().any(|one| theirs.contains(one));
        if client.tls13 {
            return any(self.handshake[1], &client.signatures);
        }
        let curve = client
            .groups
            .as_ref()
            .is_none_or(|g| !self.is_p256 || g.contains(&0x17));
        any(self.handshake[0], &client.signatures) && any(self.suites, &client.suites) && curve
    }

    fn can_be_verified(&self, client: &Client) -> bool {
        let all = |mine: &[u16], theirs: &[u16]| mine.iter().all(|one| theirs.contains(one));
        let known = client
            .certificate_signatures
            .as_ref()
            .unwrap_or(&client.signatures);
        let curves = client.tls13 || client.groups.as_ref().is_none_or(|g| all(self.groups, g));
        self.has_usable_key(client) && all(self.certificates, known) && curves
    }
}

#[derive(Debug, Clone)]
struct Client {
    name: Option<String>,
    reached: Option<IpAddr>,
    tls13: bool,
    suites: Vec<u16>,
    groups: Option<Vec<u16>>,
    signatures: Vec<u16>,
    certificate_signatures: Option<Vec<u16>>,
}

impl Client {
    fn offer(&self) -> Offer<'_> {
        Offer {
            server_name: self.name.as_deref(),
            reached: self.reached,
            tls13: self.tls13,
            suites: &self.suites,
            groups: self.groups.as_deref(),
            signatures: &self.signatures,
            certificate_signatures: self.certificate_signatures.as_deref(),
            alpn: &[],
        }
    }
}

/// The rules one after the other.
fn account(there: &[&Known], choice: Choice, client: &Client) -> Option<usize> {
    let address = client.reached.map(|address| address.to_string());
    let wanted = client.name.clone().or(address);
    let named = |known: &Known| wanted.as_ref().is_some_and(|name| known.has_name(name));
    let first = |rule: &dyn Fn(&Known) -> bool| there.iter().position(|known| rule(known));
    // Where others are wanted, the private ones come after all of them.
    let chosen = |known: &Known| {
        !matches!(choice, Choice::Files | Choice::Acme) || known.source != Source::Private
    };
    first(&|known| chosen(known) && named(known) && known.can_be_verified(client))
        .or_else(|| first(&|known| chosen(known) && known.can_be_verified(client)))
        .or_else(|| first(&|known| named(known) && known.can_be_verified(client)))
        .or_else(|| first(&|known| known.can_be_verified(client)))
        .or_else(|| first(&|known| chosen(known) && named(known) && known.has_usable_key(client)))
        .or_else(|| first(&|known| chosen(known) && known.has_usable_key(client)))
        .or_else(|| first(&|known| named(known) && known.has_usable_key(client)))
        .or_else(|| first(&|known| known.has_usable_key(client)))
        .or_else(|| first(&|known| known.source == Source::Private && !known.is_p256))
        .or(if there.is_empty() { None } else { Some(0) })
}

fn some_of(all: &'static [u16]) -> impl Strategy<Value = Vec<u16>> {
    proptest::sample::subsequence(all, 0..=all.len())
}

fn clients() -> impl Strategy<Value = Client> {
    let name = proptest::sample::select(vec![
        None,
        Some("home.example.com"),
        Some("HOME.Example.com."),
        Some("a.home.example.com"),
        Some("b.a.home.example.com"),
        Some(".home.example.com"),
        Some("safeport.lan"),
        Some("192.168.1.5"),
        Some("stranger.example"),
    ]);
    let reached = proptest::sample::select(vec![None, Some("192.168.1.5"), Some("10.9.9.9")]);
    (
        name,
        reached,
        any::<bool>(),
        some_of(&[0xc02b, 0xc02f, 0xc030, 0xc02c, 0x009c]),
        proptest::option::of(some_of(&[0x17, 0x18, 0x1d])),
        some_of(&[0x0401, 0x0403, 0x0501, 0x0503, 0x0804]),
        proptest::option::of(some_of(&[0x0401, 0x0403, 0x0501, 0x0503])),
    )
        .prop_map(
            |(name, reached, tls13, suites, groups, signatures, certificate_signatures)| Client {
                name: name.map(str::to_owned),
                reached: reached.map(|address| address.parse().unwrap()),
                tls13,
                suites,
                groups,
                signatures,
                certificate_signatures,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_client_gets_what_the_plain_account_of_the_rules_says(
        there in proptest::sample::subsequence((0..6).collect::<Vec<usize>>(), 0..=6),
        choice in proptest::sample::select(vec![
            Choice::Auto, Choice::Files, Choice::Acme, Choice::Private,
        ]),
        client in clients(),
    ) {
        static CHAINS: LazyLock<Vec<std::sync::Arc<Chain>>> =
            LazyLock::new(|| KNOWN.iter().map(|known| known.chain().into()).collect());
        let certificates = Certificates::new();
        let of = |source| {
            let there = there.iter().rev().filter(|at| KNOWN[**at].source == source);
            there.map(|at| CHAINS[*at].clone()).collect::<Vec<_>>()
        };
        // Given in the wrong order: the cheaper key goes first all the same.
        certificates.set_files(of(Source::Files));
        certificates.set_acme(of(Source::Acme));
        certificates.set_private(of(Source::Private));
        let wanted = |known: &Known| match choice {
            Choice::Auto => true,
            Choice::Files => known.source != Source::Acme,
            Choice::Acme => known.source != Source::Files,
            Choice::Private => known.source == Source::Private,
        };
        let at: Vec<usize> = there.iter().copied().filter(|at| wanted(&KNOWN[*at])).collect();
        // Two RSA keys of one source keep the order in which they were given.
        prop_assume!(!(at.contains(&1) && at.contains(&2)));
        let presented: Vec<&Known> = at.iter().map(|at| &KNOWN[*at]).collect();
        let expected = account(&presented, choice, &client).map(|found| at[found]);
        let chosen = certificates.choose(&client.offer(), choice);
        let chosen = chosen.map(|chosen| {
            CHAINS.iter().position(|chain| std::sync::Arc::ptr_eq(chain, &chosen)).unwrap()
        });
        prop_assert_eq!(chosen, expected);
        if let Some(at) = chosen {
            let verifiable = CHAINS[at].can_verify(&client.offer()).is_ok();
            prop_assert_eq!(verifiable, KNOWN[at].can_be_verified(&client));
        }
    }
}

#[test]
fn a_client_that_was_told_an_address_gets_the_certificate_with_that_address() {
    let certificates = Certificates::new();
    certificates.set_files(vec![KNOWN[0].chain()]);
    certificates.set_private(vec![KNOWN[4].chain(), KNOWN[5].chain()]);
    let mosquitto = Client {
        name: None,
        reached: Some("192.168.1.5".parse().unwrap()),
        tls13: true,
        suites: Vec::new(),
        groups: None,
        signatures: vec![0x0403, 0x0503, 0x0804, 0x0401],
        certificate_signatures: None,
    };
    let chosen = certificates
        .choose(&mosquitto.offer(), Choice::Auto)
        .unwrap();
    assert_eq!(*chosen.origin(), Origin::Private);
    // Not where its owner wants the files to be used.
    let chosen = certificates
        .choose(&mosquitto.offer(), Choice::Files)
        .unwrap();
    assert!(matches!(chosen.origin(), Origin::Files { .. }));
    // Behind a router that forwards the port, the address says nothing.
    let forwarded = Client {
        reached: Some("10.0.0.1".parse().unwrap()),
        ..mosquitto
    };
    let chosen = certificates
        .choose(&forwarded.offer(), Choice::Auto)
        .unwrap();
    assert!(matches!(chosen.origin(), Origin::Files { .. }));
}

#[test]
fn a_tasmota_is_told_the_fingerprint_of_the_chain_that_it_gets() {
    let certificates = Certificates::new();
    certificates.set_private(vec![KNOWN[4].chain(), KNOWN[5].chain()]);
    let own = KNOWN[5].chain().tasmota_fingerprints();
    let told = |host| {
        let chain = certificates.for_tasmota(Choice::Auto, host).unwrap();
        chain.tasmota_fingerprints()
    };
    assert!(own.is_some());
    assert_eq!(told(Some("safeport.lan")), own);
    // Chains that it cannot use change nothing for it.
    certificates.set_files(vec![KNOWN[0].chain(), KNOWN[1].chain()]);
    assert_eq!(told(Some("home.example.com")), own);
    // One that it can use brings its own key, for its own name and for no name.
    certificates.set_files(vec![KNOWN[2].chain()]);
    assert_eq!(
        told(Some("a.home.example.com")),
        KNOWN[2].chain().tasmota_fingerprints()
    );
    assert_eq!(told(Some("safeport.lan")), own);
}
