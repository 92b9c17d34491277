//! The certificates in `chains/`, and what they are judged against.

use std::time::Duration;

use safeport_doctor::profile::Profile;
use safeport_doctor::target::Host;
use safeport_doctor::tls::{Anchor, ChainVerdict, Circumstances, judge_chain};
use safeport_doctor::{Cause, Place};

/// 2026-09-01 00:00 UTC, the day on which the lab is looked at.
pub(crate) const TODAY: u64 = 1_788_220_800;

pub(crate) const HUB: &str = "hub.example";

/// A certificate of the lab, in DER.
pub(crate) fn certificate(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/tls/chains/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (_, pem) = x509_parser::pem::parse_x509_pem(&text).unwrap();
    pem.contents
}

/// Certificates of the lab in this order, as a server sends them.
pub(crate) fn chain(names: &[&str]) -> Vec<Vec<u8>> {
    names.iter().map(|name| certificate(name)).collect()
}

/// What a chain is judged against, to be changed from the usual.
pub(crate) struct Lab {
    pub(crate) host: Host,
    pub(crate) anchors: Vec<Anchor>,
    pub(crate) own: Vec<Anchor>,
    pub(crate) known: Vec<Anchor>,
    pub(crate) device_time: Option<Duration>,
    pub(crate) pin: Option<safeport_doctor::tls::Pin>,
}

impl Lab {
    /// The device has the lab's root built in.
    pub(crate) fn new() -> Lab {
        Lab {
            host: Host::of(HUB).unwrap(),
            anchors: Vec::new(),
            own: vec![Anchor::of_certificate(&certificate("root")).unwrap()],
            known: Vec::new(),
            device_time: None,
            pin: None,
        }
    }

    pub(crate) fn to(host: &str) -> Lab {
        Lab {
            host: Host::of(host).unwrap(),
            ..Lab::new()
        }
    }

    /// The device has no root of ours.
    pub(crate) fn stock() -> Lab {
        Lab {
            own: Vec::new(),
            ..Lab::new()
        }
    }

    pub(crate) fn circumstances(&self) -> Circumstances<'_> {
        Circumstances {
            host: &self.host,
            anchors: &self.anchors,
            own: &self.own,
            known: &self.known,
            now: Duration::from_secs(TODAY),
            device_time: self.device_time,
            pin: self.pin,
            place: Place::Probe { stage: 6 },
        }
    }

    pub(crate) fn judge(&self, profile: &Profile, names: &[&str]) -> ChainVerdict {
        judge_chain(profile, &chain(names), &self.circumstances())
    }

    /// The number and the causes, as one line: `62 chain_incomplete`.
    pub(crate) fn says(&self, profile: &Profile, names: &[&str]) -> String {
        let verdict = self.judge(profile, names);
        for clue in &verdict.clues {
            assert!(clue.quote.en.chars().count() <= 300, "{}", clue.quote.en);
            assert!(!clue.quote.zh.is_empty());
        }
        said(&verdict)
    }
}

pub(crate) fn said(verdict: &ChainVerdict) -> String {
    if verdict.passes() {
        assert_eq!(verdict.number, None);
        return "ok".into();
    }
    let number = verdict.number.map(|number| number.to_string());
    let causes = verdict.clues.iter().map(|clue| clue.cause.code());
    number
        .as_deref()
        .into_iter()
        .chain(causes)
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn causes(verdict: &ChainVerdict) -> Vec<Cause> {
    verdict.clues.iter().map(|clue| clue.cause).collect()
}

/// The device of column B: BearSSL as Tasmota has it.
pub(crate) fn b() -> &'static Profile {
    Profile::of("tasmota-esp8266").unwrap()
}

/// The same with ECDSA.
pub(crate) fn b_ecdsa() -> &'static Profile {
    Profile::of("tasmota-ecdsa").unwrap()
}

/// The device of column X: mbedTLS with its defaults, which look at dates.
pub(crate) fn x() -> Profile {
    Profile {
        clock: safeport_doctor::profile::ClockRule::Clock,
        names: safeport_doctor::profile::NameRule::Dns,
        ..Profile::of("idf-5-bundle").unwrap().clone()
    }
}
