//! Why a server refuses a device, told from what it grants others.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use safeport_settings::Said;

use super::{Outcome, Seen};
use crate::profile::{Profile, Sni, Stack};
use crate::tls::certificate::{Certificate, Key};
use crate::tls::flight::Flight;
use crate::tls::judge::{Circumstances, inspect_chain, judge_chain};
use crate::tls::names::{self, Exchange, exchange};
use crate::tls::number::Number;
use crate::tls::offer::Shape;
use crate::{Cause, Clue, Facts, Strength};

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;
const UNRECOGNIZED_NAME: u8 = 112;

/// The device's ClientHello was answered with an alert, with something else than TLS, or not at all.
pub(super) fn of(
    profile: &'static Profile,
    seen: &Seen,
    flight: &Flight,
    circumstances: &Circumstances<'_>,
) -> Outcome {
    let place = circumstances.place;
    let number = flight.number(profile.stack);
    let by_itself = flight.clues(place);
    let ended = by_itself.iter().all(|clue| clue.strength < Strength::Proof);
    let granted = seen.answers.iter().any(|(_, other)| other.accepted());
    // A server that closes on this hello and talks to others refuses it without saying so.
    let silent = ended && granted && flight.suite.is_none();
    if flight.refusal().is_none() && !silent {
        return Outcome::stops(profile, number, by_itself, Facts::default());
    }
    let said = match flight.refusal() {
        Some(alert) => {
            let name = names::alert(alert);
            Said::new(
                format!(
                    "the server answers this device's ClientHello with the alert {alert} ({name})"
                ),
                format!("服务器对这种设备的 ClientHello 回以告警 {alert}（{name}）"),
            )
        }
        None => Said::new(
            "the server closes the connection on this device's ClientHello",
            "服务器收到这种设备的 ClientHello 就关闭连接",
        ),
    };
    let (cause, strength, why) = reason(profile, seen, flight);
    let quote = Said::new(
        format!("{}: {}", said.en, why.en),
        format!("{}：{}", said.zh, why.zh),
    );
    let mut clues = vec![Clue::new(cause, strength, place, quote)];
    clues.extend(by_itself);
    Outcome::stops(profile, number, clues, Facts::default())
}

/// What the server would have to have for this device.
fn reason(profile: &Profile, seen: &Seen, flight: &Flight) -> (Cause, Strength, Said) {
    let alert = flight.refusal();
    if alert == Some(UNRECOGNIZED_NAME) {
        let said = Said::new("it knows no such name", "它不认识这个域名");
        return (Cause::SniNeeded, Strength::Specific, said);
    }
    if profile.sni == Sni::Never && seen.named_only() {
        let said = Said::new(
            "it answers others that name the host, and this device names none",
            "带域名（SNI）的握手它会应答，而设备不带域名",
        );
        return (Cause::SniNeeded, Strength::Specific, said);
    }
    if let Some(said) = version(profile, seen, alert) {
        return (Cause::TlsVersion, Strength::Proof, said);
    }
    // Only what was agreed on with someone in TLS 1.2 or below compares.
    let wide = seen
        .wide()
        .filter(|wide| wide.accepted() && !wide.encrypted);
    let Some(wide) = wide else {
        let said = Said::new("it says no more than that", "没有更多信息");
        let or = match alert {
            Some(HANDSHAKE_FAILURE) => Cause::NoCommonCipher,
            Some(PROTOCOL_VERSION) => Cause::TlsVersion,
            _ => Cause::TlsFailed,
        };
        return (or, Strength::Class, said);
    };
    let suite = wide.suite.map(names::suite).unwrap_or_default();
    let leaf = wide.chain.first().and_then(|der| Certificate::read(der));
    if leaf.as_ref().is_some_and(|leaf| leaf.key == Key::Other) {
        let said = Said::new(
            "its key is of a kind that no device knows",
            "它的密钥类型设备都不认识",
        );
        return (Cause::NoCommonCipher, Strength::Proof, said);
    }
    let ecdsa = wide.suite.and_then(exchange) == Some(Exchange::EcdheEcdsa)
        || leaf.is_some_and(|leaf| matches!(leaf.key, Key::Ec(_)));
    if ecdsa && profile.keys.curves.is_empty() {
        let said = Said::new(
            format!("its key is ECDSA ({suite}), and the device has suites with RSA only"),
            format!("它的密钥是 ECDSA（{suite}），而设备只支持 RSA 套件"),
        );
        return (Cause::NoCommonCipherEcdsaOnly, Strength::Proof, said);
    }
    let has_suite = wide
        .suite
        .is_some_and(|suite| profile.suites.contains(&suite));
    let has_group = wide
        .group
        .is_none_or(|group| profile.groups.contains(&group));
    if has_suite && !has_group {
        let group = wide.group.map(names::group).unwrap_or_default();
        let said = Said::new(
            format!("it agrees on keys by {group}, which the device does not know"),
            format!("它用 {group} 协商密钥，设备不支持"),
        );
        return (Cause::NoCommonGroup, Strength::Proof, said);
    }
    if has_suite {
        let said = Said::new(
            format!("others get {suite}, which the device offers too"),
            format!("其他客户端能用 {suite}，设备也提供了这个套件"),
        );
        return (Cause::TlsFailed, Strength::Class, said);
    }
    let said = Said::new(
        format!("others get {suite}, which the device does not offer"),
        format!("其他客户端用的是 {suite}，设备不支持"),
    );
    (Cause::NoCommonCipher, Strength::Proof, said)
}

/// Whether it is the version: said by the alert, or seen from the versions that others get.
fn version(profile: &Profile, seen: &Seen, alert: Option<u8>) -> Option<Said> {
    let speaks = |version| seen.speaks(version) == Some(true);
    let none = !profile.versions.iter().any(|version| speaks(*version));
    if speaks(TLS13) && !speaks(TLS12) && none {
        return Some(Said::new(
            "it speaks TLS 1.3 only, which the device does not",
            "它只支持 TLS 1.3，而设备不支持",
        ));
    }
    let old = [0x0302, 0x0301]
        .into_iter()
        .find(|version| speaks(*version));
    if let Some(old) = old.filter(|_| none && !speaks(TLS12)) {
        let old = names::version(old);
        return Some(Said::new(
            format!("it speaks {old} at most"),
            format!("它最高只支持 {old}"),
        ));
    }
    (alert == Some(PROTOCOL_VERSION) && none).then(|| {
        Said::new(
            "it does not speak a version that the device does",
            "它不支持设备所用的 TLS 版本",
        )
    })
}

/// The server wants a certificate of the device, which has none.
pub(super) fn client_certificate(
    profile: &'static Profile,
    seen: &Seen,
    circumstances: &Circumstances<'_>,
) -> Option<Outcome> {
    let (strength, quote) = match seen.without_certificate {
        Some(true) => return None,
        Some(false) => (
            Strength::Proof,
            Said::new(
                "the server asks for a client certificate and ends the handshake without one",
                "服务器要求客户端证书，没有就中断握手",
            ),
        ),
        None => (
            Strength::Class,
            Said::new(
                "the server asks for a client certificate, which devices do not have",
                "服务器要求客户端证书，而设备没有",
            ),
        ),
    };
    let number = match profile.stack {
        Stack::BearSsl => Some(Number::BearSsl(256 + i32::from(HANDSHAKE_FAILURE))),
        Stack::MbedTls | Stack::MbedTls13 => Some(Number::MbedTls {
            code: -0x7780,
            flags: 0,
        }),
        Stack::Modem => None,
    };
    let clue = Clue::new(
        Cause::ClientCertRequired,
        strength,
        circumstances.place,
        quote,
    );
    Some(Outcome::stops(
        profile,
        number,
        vec![clue],
        Facts::default(),
    ))
}

/// A device that names no host gets another certificate than one that does: it cannot use that, or
/// it looks at none and ends up at whatever the server has for strangers.
pub(super) fn sni(
    profile: &'static Profile,
    seen: &Seen,
    circumstances: &Circumstances<'_>,
) -> Option<Outcome> {
    let unnamed = profile.sni == Sni::Never
        || (profile.sni == Sni::Names && circumstances.host.name().is_none());
    let mut clue = seen
        .default_certificate(circumstances)
        .filter(|_| unnamed)?;
    let mut clues = Vec::new();
    let (mut number, mut facts) = (None, Facts::default());
    if profile.verifies() {
        let (_, plain) = seen.by_name()?;
        let judged = judge_chain(profile, plain, circumstances);
        if judged.passes() {
            return None;
        }
        clue.strength = Strength::Proof;
        (number, facts) = (judged.number, judged.facts);
        clues.extend(judged.clues);
    }
    clues.insert(0, clue);
    Some(Outcome::stops(profile, number, clues, facts))
}

/// Certificates as they were sent.
type Chain<'a> = &'a [Vec<u8>];

impl Seen {
    /// The server has another certificate for those who name no host, and it is a faulty one: some
    /// devices get that. The clue of a look at the server itself.
    pub fn default_certificate(&self, circumstances: &Circumstances<'_>) -> Option<Clue> {
        let (named, plain) = self.by_name()?;
        if named.first() == plain.first() {
            return None;
        }
        let named = inspect_chain(named, circumstances).clues;
        let judged = inspect_chain(plain, circumstances);
        let worse = |clue: &&Clue| named.iter().all(|other| other.cause != clue.cause);
        let first = judged.clues.iter().find(worse)?;
        let quote = Said::new(
            format!(
                "who names no host gets another certificate: {}",
                first.quote.en
            ),
            format!(
                "不带域名（SNI）的客户端拿到的是另一张证书：{}",
                first.quote.zh
            ),
        );
        let place = circumstances.place;
        Some(Clue::new(Cause::SniNeeded, Strength::Class, place, quote))
    }

    /// The chains that were sent to someone who named the host and to someone who did not.
    fn by_name(&self) -> Option<(Chain<'_>, Chain<'_>)> {
        let chain = |named: bool| {
            let mut answers = self.answers.iter();
            let found = answers.find(|(offer, flight)| {
                (offer.sni != Sni::Never) == named && !flight.chain.is_empty()
            });
            found.map(|(_, flight)| flight.chain.as_slice())
        };
        Some((chain(true)?, chain(false)?))
    }

    /// Whether a server that answers a ClientHello refuses the same one without the host's name.
    fn named_only(&self) -> bool {
        let mut own = self.answers.iter().filter(|(offer, flight)| {
            offer.shape == Shape::Own && offer.sni != Sni::Never && flight.accepted()
        });
        own.any(|(offer, _)| {
            let plain = offer.without_sni();
            let mut twins = self.answers.iter().filter(|(other, _)| *other == plain);
            twins.any(|(_, flight)| !flight.accepted())
        })
    }
}
