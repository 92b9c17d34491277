//! From what a server answered to some ClientHellos to what becomes of each device there.

mod refusal;

use alloc::format;
use alloc::vec::Vec;

use safeport_settings::Said;

use super::flight::Flight;
use super::judge::{Circumstances, judge_chain};
use super::number::Number;
use super::offer::Offer;
use super::{Answer, names};
use crate::profile::{Profile, Sni, Stack};
use crate::{Cause, Clue, Facts, Strength};

/// Everything that one host and port answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The ClientHellos that were sent, and what came back. For TLS 1.3 put the chain into
    /// [`Flight::chain`] that a whole handshake brought.
    pub answers: Vec<(Offer, Flight)>,
    /// Whether a whole handshake without a certificate of our own went through, after one was asked
    /// for. None: not tried.
    pub without_certificate: Option<bool>,
}

/// What becomes of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The device.
    pub profile: &'static Profile,
    /// How far it gets.
    pub verdict: Verdict,
    /// What shows it, the weightiest first.
    pub clues: Vec<Clue>,
    /// `number` and what else texts want.
    pub facts: Facts,
}

/// How far a device gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Through the handshake.
    Connects {
        /// With what: version, suite, group.
        with: Said,
    },
    /// To a fault.
    Stops {
        /// The number that it prints, if it prints one.
        number: Option<Number>,
        /// The fault.
        cause: Cause,
        /// Why, in one sentence.
        because: Said,
    },
    /// Nothing that was seen tells.
    Unknown {
        /// What would tell.
        because: Said,
    },
}

impl Seen {
    /// Notes an answer.
    pub fn note(&mut self, offer: Offer, flight: Flight) {
        self.answers.push((offer, flight));
    }

    /// The answer to a ClientHello like this one.
    fn answer(&self, offer: &Offer) -> Option<&Flight> {
        let found = self.answers.iter().find(|(sent, _)| sent.is_like(offer));
        found.map(|(_, flight)| flight)
    }

    /// The first answer in TLS to a ClientHello of our own, accepted ones first.
    fn wide(&self) -> Option<&Flight> {
        let own = || {
            let wide = self.answers.iter();
            wide.filter(|(offer, _)| offer.shape == super::offer::Shape::Own)
        };
        let accepted = own().find(|(_, flight)| flight.accepted());
        accepted
            .or_else(|| own().find(|(_, flight)| flight.answer == Answer::Tls))
            .map(|(_, flight)| flight)
    }

    /// Whether the server was seen to speak this version; None when nobody asked for it alone.
    fn speaks(&self, version: u16) -> Option<bool> {
        let chosen =
            |(_, flight): &&(Offer, Flight)| flight.accepted() && flight.version == Some(version);
        if self.answers.iter().any(|each| chosen(&each)) {
            return Some(true);
        }
        let refused = self.answers.iter().any(|(offer, flight)| {
            offer.shape == super::offer::Shape::Own
                && offer.highest() == version
                && flight.answer == Answer::Tls
                && (flight.refusal().is_some()
                    || flight.version.is_some_and(|other| other != version))
        });
        refused.then_some(false)
    }
}

/// What becomes of each of these devices.
pub fn table(
    seen: &Seen,
    circumstances: &Circumstances<'_>,
    profiles: &[&'static Profile],
) -> Vec<Outcome> {
    profiles
        .iter()
        .map(|profile| as_device(profile, seen, circumstances))
        .collect()
}

/// What becomes of a device of this profile.
pub fn as_device(
    profile: &'static Profile,
    seen: &Seen,
    circumstances: &Circumstances<'_>,
) -> Outcome {
    let offer = Offer::of(profile);
    let mut outcome = match seen.answer(&offer) {
        Some(flight) if flight.accepted() => agreed(profile, seen, flight, circumstances),
        Some(flight) => refusal::of(profile, seen, flight, circumstances),
        None => guessed(profile, seen, circumstances),
    };
    if let Some(number) = outcome.number() {
        outcome
            .facts
            .note("number", alloc::string::ToString::to_string(&number));
    }
    outcome
}

impl Outcome {
    /// The number that the device prints.
    pub fn number(&self) -> Option<Number> {
        match &self.verdict {
            Verdict::Stops { number, .. } => *number,
            Verdict::Connects { .. } | Verdict::Unknown { .. } => None,
        }
    }

    /// The fault that it stops at.
    pub fn cause(&self) -> Option<Cause> {
        match &self.verdict {
            Verdict::Stops { cause, .. } => Some(*cause),
            Verdict::Connects { .. } | Verdict::Unknown { .. } => None,
        }
    }

    /// It stops at the first of these clues.
    fn stops(
        profile: &'static Profile,
        number: Option<Number>,
        clues: Vec<Clue>,
        facts: Facts,
    ) -> Outcome {
        let verdict = match clues.first() {
            Some(clue) => Verdict::Stops {
                number,
                cause: clue.cause,
                because: clue.quote.clone(),
            },
            None => Verdict::Unknown {
                because: Said::new("nothing was seen that says why", "没有看到能说明原因的信息"),
            },
        };
        Outcome {
            profile,
            verdict,
            clues,
            facts,
        }
    }
}

/// The server agreed to the device's own ClientHello: now its records, its chain and its wishes.
fn agreed(
    profile: &'static Profile,
    seen: &Seen,
    flight: &Flight,
    circumstances: &Circumstances<'_>,
) -> Outcome {
    let place = circumstances.place;
    if let Some(version) = flight
        .version
        .filter(|version| !profile.versions.contains(version))
    {
        let number = match profile.stack {
            Stack::BearSsl => Some(Number::BearSsl(4)),
            Stack::MbedTls | Stack::MbedTls13 => Some(Number::MbedTls {
                code: -0x6E80,
                flags: 0,
            }),
            Stack::Modem => None,
        };
        let version = names::version(version);
        let quote = Said::new(
            format!("the server answers with {version}, which this device does not speak"),
            format!("服务器用 {version} 应答，设备不支持"),
        );
        let clue = Clue::new(Cause::TlsVersion, Strength::Proof, place, quote);
        return Outcome::stops(profile, number, alloc::vec![clue], Facts::default());
    }
    if flight.split_handshake && !profile.joins_handshake {
        let records = flight.records.len();
        let quote = Said::new(
            format!(
                "the server cuts handshake messages over {records} records, which this TLS library does not put together"
            ),
            format!("服务器把握手消息拆成 {records} 个记录，设备的 TLS 库不会拼接"),
        );
        let clue = Clue::new(Cause::HandshakeFragmented, Strength::Proof, place, quote);
        let number = match profile.stack {
            // Of a module's library it is not known.
            Stack::Modem => return connects(profile, flight),
            _ => Some(Number::MbedTls {
                code: -0x7080,
                flags: 0,
            }),
        };
        return Outcome::stops(profile, number, alloc::vec![clue], Facts::default());
    }
    if !flight.chain.is_empty() {
        let judged = judge_chain(profile, &flight.chain, circumstances);
        if !judged.passes() {
            return Outcome::stops(profile, judged.number, judged.clues, judged.facts);
        }
    } else if profile.verifies() {
        let broken = flight.clues(place);
        if !broken.is_empty() {
            return Outcome::stops(
                profile,
                flight.number(profile.stack),
                broken,
                Facts::default(),
            );
        }
        if flight.encrypted {
            return unknown(
                profile,
                "the chain is sent encrypted; only a whole handshake shows it",
                "证书链是加密发送的，要完成握手才能看到",
            );
        }
    }
    if !flight.whole && !flight.encrypted {
        let broken = flight.clues(place);
        return Outcome::stops(
            profile,
            flight.number(profile.stack),
            broken,
            Facts::default(),
        );
    }
    let asked = flight.client_certificate || seen.without_certificate == Some(false);
    let refused = || refusal::client_certificate(profile, seen, circumstances);
    if let Some(outcome) = asked.then(refused).flatten() {
        return outcome;
    }
    if let Some(outcome) = refusal::sni(profile, seen, circumstances) {
        return outcome;
    }
    connects(profile, flight)
}

fn connects(profile: &'static Profile, flight: &Flight) -> Outcome {
    Outcome {
        profile,
        verdict: Verdict::Connects {
            with: Said::same(flight.agreed()),
        },
        clues: Vec::new(),
        facts: Facts::default(),
    }
}

fn unknown(profile: &'static Profile, en: &str, zh: &str) -> Outcome {
    Outcome {
        profile,
        verdict: Verdict::Unknown {
            because: Said::new(en, zh),
        },
        clues: Vec::new(),
        facts: Facts::default(),
    }
}

/// The device's own ClientHello was not sent: what others got tells some of it.
fn guessed(profile: &'static Profile, seen: &Seen, circumstances: &Circumstances<'_>) -> Outcome {
    let Some((offer, flight)) = seen.answers.iter().find(|(_, flight)| flight.accepted()) else {
        // Whoever asks, it is no TLS.
        let first = seen.answers.first().map(|(_, flight)| flight);
        return match first {
            Some(flight) => refusal::of(profile, seen, flight, circumstances),
            None => unknown(profile, "nothing was asked", "还没有探测"),
        };
    };
    let shared = |list: &[u16], chosen: Option<u16>| chosen.is_none_or(|it| list.contains(&it));
    let same = shared(profile.versions, flight.version)
        && shared(profile.suites, flight.suite)
        && shared(profile.groups, flight.group);
    let named = (offer.sni == Sni::Never) == (profile.sni == Sni::Never);
    match same && named {
        true => agreed(profile, seen, flight, circumstances),
        false => unknown(
            profile,
            "its ClientHello was not sent, and others were answered with what it does not offer",
            "没有发送它的 ClientHello，而其他应答用的是它不支持的参数",
        ),
    }
}
