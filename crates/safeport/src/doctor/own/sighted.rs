//! One attempt, or several alike, as the doctor's evidence: the one place where causes of attempts
//! become causes of the doctor.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use safeport_doctor::watch::Service;
use safeport_doctor::{Cause, Clue, Facts, Layer, Moment, Passed, Place, Strength};
use safeport_net::attempt::{Cause as Seen, Certainty};
use safeport_settings::Said;
use safeport_store::AttemptRow;

use crate::probe::both;
use crate::shown::attempts::version_name;
use crate::shown::causes::{meaning, of_code};
use crate::text::{Language, Texts};
use crate::time::stamp;

/// How the words of a check begin that was answered well; behind it stands the address.
pub const TOLD: &str = "was told ";

/// What was seen of an attempt, wherever it was kept.
#[derive(Debug, Clone)]
pub struct Sighted<'a> {
    /// When it was over, or the last of them, in seconds since 1970.
    pub at: u64,
    /// The listener that it came to.
    pub listener: &'a str,
    /// Who came.
    pub address: IpAddr,
    /// What it means, or means most probably.
    pub cause: Seen,
    /// How sure that is.
    pub certainty: Certainty,
    /// What else it can mean.
    pub others: Vec<Seen>,
    /// What was seen, in English; empty if it went well.
    pub why: &'a str,
    /// The server name that was asked for.
    pub server_name: Option<&'a str>,
    /// The number of the TLS version agreed on.
    pub version: Option<u16>,
    /// Its client identifier; empty without one.
    pub client_id: &'a str,
    /// How many were alike.
    pub count: u64,
}

impl<'a> Sighted<'a> {
    /// Those of a row of the registry; none of a row of another version.
    pub fn of_row(row: &'a AttemptRow) -> Option<Sighted<'a>> {
        let certainties = [Certainty::Possible, Certainty::Likely, Certainty::Certain];
        Some(Sighted {
            at: row.last_at,
            listener: &row.key.listener,
            address: row.key.address.parse().ok()?,
            cause: of_code(&row.key.cause)?,
            certainty: certainties
                .into_iter()
                .find(|certainty| certainty.code() == row.last.certainty)
                .unwrap_or(Certainty::Possible),
            others: row
                .last
                .candidates
                .split_whitespace()
                .filter_map(of_code)
                .collect(),
            why: &row.last.why,
            server_name: row.last.server_name.as_deref(),
            version: row.last.version,
            client_id: &row.key.client_id,
            count: row.count,
        })
    }

    /// That of one attempt.
    pub fn of_seen(seen: &'a crate::serve::attempts::Seen) -> Sighted<'a> {
        Sighted {
            at: seen.at.as_secs(),
            listener: &seen.listener,
            address: seen.address(),
            cause: seen.cause,
            certainty: seen.certainty,
            others: seen.others.clone(),
            why: &seen.why,
            server_name: seen.server_name.as_deref(),
            version: seen.version,
            client_id: seen.client_id.as_deref().unwrap_or_default(),
            count: 1,
        }
    }

    /// To which kind of listener it came.
    pub fn service(&self) -> Service {
        Service::of_listener(self.listener)
    }

    /// What it points to, and what was met on the way; none of one that went well.
    pub fn clue(&self) -> Option<(Clue, Facts)> {
        let cause = cause_of(self.cause, self.service())?;
        let strength = match self.certainty {
            Certainty::Certain => Strength::Proof,
            Certainty::Likely => Strength::Specific,
            Certainty::Possible => Strength::Class,
        };
        let mut clue = Clue::new(cause, strength, Place::Listener, self.in_words());
        clue.at = Some(Moment {
            since: Duration::from_secs(self.at),
            wall: true,
        });
        let others = self.others.iter();
        let others = others.filter_map(|other| cause_of(*other, self.service()));
        for other in others {
            if other != cause && !clue.or.contains(&other) {
                clue.or.push(other);
            }
        }
        Some((clue, self.facts()))
    }

    /// What was seen to work on the way to its end.
    pub fn passed(&self) -> Vec<Passed> {
        let mut passed = Vec::new();
        let mut works = |layer, quote| {
            passed.push(Passed {
                layer,
                place: Place::Listener,
                quote,
            });
        };
        let (listener, address) = (self.listener, self.address);
        works(
            Layer::Wifi,
            both!("it came from {address}", "它从 {address} 连了过来"),
        );
        works(
            Layer::Tcp,
            both!(
                "its connection arrived at {listener}",
                "它的连接到达了 {listener}"
            ),
        );
        if let Some(version) = self.version {
            let version = version_name(version);
            works(
                Layer::Tls,
                both!("{version} was agreed on", "已协商 {version}"),
            );
        }
        if matches!(self.cause, Seen::Healthy | Seen::Checked) {
            let layer = match self.service() {
                Service::Mqtt => Layer::Mqtt,
                Service::Http => Layer::Http,
            };
            works(layer, self.connected());
        }
        passed
    }

    /// The words for a connection.
    pub fn connected(&self) -> Said {
        let (at, address, listener) = (stamp(self.at), self.address, self.listener);
        if let Some(told) = self.told() {
            return both!(
                "{at} {address} checked in on {listener} and was told {told}",
                "{at} {address} 在 {listener} 签到，得到的地址是 {told}"
            );
        }
        match self.service() {
            Service::Mqtt => both!(
                "{at} {address} connected to {listener} (CONNACK 0)",
                "{at} {address} 已连接 {listener}（CONNACK 0）"
            ),
            Service::Http => both!(
                "{at} {address} asked on {listener} and was answered",
                "{at} {address} 在 {listener} 的请求得到了应答"
            ),
        }
    }

    /// Where it was told to go, if it has checked in.
    pub fn told(&self) -> Option<&'a str> {
        let told = self.why.strip_prefix(TOLD)?;
        (self.cause == Seen::Checked).then_some(told)
    }

    fn in_words(&self) -> Said {
        let (at, address, listener) = (stamp(self.at), self.address, self.listener);
        let [english, chinese] = languages();
        let why = match self.why {
            "" => meaning(self.cause, english),
            why => why.to_owned(),
        };
        let means = meaning(self.cause, chinese);
        let means = means.trim_end_matches('。');
        let count = self.count;
        let times = match self.count {
            0 | 1 => Said::default(),
            _ => both!(" ({count} times)", "（共 {count} 次）"),
        };
        let Said { en, zh } = times;
        both!(
            "{at} {address} on {listener}: {why}{en}",
            "{at} {address} 连接 {listener}：{means}{zh}"
        )
    }

    fn facts(&self) -> Facts {
        let mut facts = Facts::default();
        facts.note("device_address", self.address.to_string());
        if !self.client_id.is_empty() {
            facts.note("client_id", self.client_id);
        }
        if let Some(name) = self.server_name.filter(|name| !name.is_empty()) {
            facts.note("host", name);
        }
        facts
    }
}

/// The same cause in the doctor's words; none for what is no failure.
fn cause_of(seen: Seen, service: Service) -> Option<Cause> {
    Some(match seen {
        Seen::Healthy | Seen::TakenOver | Seen::PortCheck | Seen::Checked => return None,
        Seen::TlsToPlainPort => match service {
            Service::Mqtt => Cause::TlsToPlainPort,
            Service::Http => Cause::TlsToPlainHttp,
        },
        Seen::PlainToTlsPort => Cause::PlainToTlsPort,
        Seen::HttpToTls => Cause::HttpToTls,
        Seen::WssInClear => Cause::ModemNoTls,
        Seen::WrongService | Seen::Garbage => Cause::WrongService,
        Seen::TimeoutTooShort => Cause::TimeoutTooShort,
        Seen::Silent | Seen::HelloIncomplete | Seen::SilentAfterHandshake => Cause::DeviceSilent,
        Seen::TlsVersion => Cause::TlsVersion,
        Seen::NoCommonCipher | Seen::NoCommonSignature => Cause::NoCommonCipher,
        Seen::NoCommonGroup => Cause::NoCommonGroup,
        Seen::NoCommonAlpn => Cause::AlpnRefused,
        Seen::TlsBroken => Cause::TlsBroken,
        Seen::ClientCertRequired => Cause::ClientCertRequired,
        Seen::ClientCertRefused => Cause::ClientCertificateRefused,
        Seen::CertificateRefused => Cause::CertificateRefused,
        Seen::FingerprintMismatch => Cause::FingerprintMismatch,
        Seen::NameMismatch => Cause::NameMismatch,
        Seen::Untrusted => Cause::ChainNotTrusted,
        Seen::UntrustedSelfSigned => Cause::UntrustedSelfSigned,
        Seen::ChainIncomplete => Cause::ChainIncomplete,
        Seen::CertificateExpired => Cause::CertificateExpired,
        Seen::NotYetValid => Cause::NotYetValid,
        Seen::CertificateRevoked => Cause::CertificateRevoked,
        Seen::WrongEku => Cause::WrongEku,
        Seen::DeviceClockUnset => Cause::DeviceClockUnset,
        Seen::DeviceClockWrong => Cause::DeviceClockWrong,
        Seen::HashUnsupported => Cause::HashUnsupported,
        Seen::HashWeak => Cause::HashWeak,
        Seen::ChainUnsupportedCurve => Cause::ChainUnsupportedCurve,
        Seen::KeyTooLarge => Cause::KeyTooLarge,
        Seen::LowHeap => Cause::LowHeap,
        Seen::ClosesInHandshake | Seen::ClosesAfterHandshake => Cause::DeviceCloses,
        Seen::HandshakeTimeout => Cause::TlsTimeout,
        Seen::MtuBlackHole => Cause::MtuBlackHole,
        Seen::RecordTooLarge => Cause::RecordTooLarge,
        Seen::ConnectionLost => Cause::ConnectionLost,
        Seen::AuthFailed => Cause::AuthFailed,
        Seen::ClientIdRefused => Cause::ClientIdRefused,
        Seen::ProtocolVersion => Cause::ProtocolVersion,
        Seen::ServerBusy
        | Seen::PushedOut
        | Seen::TooManyHandshakes
        | Seen::TooManyConnections
        | Seen::NoDescriptors => Cause::ServerBusy,
        Seen::Banned => Cause::Banned,
        Seen::RateLimited | Seen::TooManyFromAddress => Cause::RateLimited,
        Seen::PacketTooLarge => Cause::PacketTooLarge,
        Seen::ProtocolError => Cause::ProtocolError,
        Seen::Refused => Cause::MqttRefused,
        Seen::DuplicateClientId => Cause::DuplicateClientId,
        Seen::NotActivated => Cause::NotActivated,
        Seen::CheckRefused => Cause::HttpRefused,
        Seen::NoVoiceServer => Cause::ReplyWithoutProtocol,
        Seen::Flapping => Cause::ConnectionLost,
        Seen::KeepAliveTimeout => Cause::KeepAliveTimeout,
        Seen::Restarts => Cause::Restarts,
    })
}

/// English and Chinese.
fn languages() -> &'static [Texts; 2] {
    static BOTH: OnceLock<[Texts; 2]> = OnceLock::new();
    BOTH.get_or_init(|| [Language::English, Language::Chinese].map(Texts::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighted(cause: Seen, listener: &str) -> Sighted<'_> {
        Sighted {
            at: 1_795_366_800,
            listener,
            address: "192.168.1.40".parse().unwrap(),
            cause,
            certainty: Certainty::Certain,
            others: Vec::new(),
            why: "seen so",
            server_name: None,
            version: None,
            client_id: "",
            count: 1,
        }
    }

    #[test]
    fn every_failure_of_an_attempt_is_a_cause_of_the_doctor_and_nothing_else_is() {
        for cause in Seen::ALL {
            for listener in ["mqtts", "https"] {
                let clue = sighted(cause, listener).clue();
                assert_eq!(clue.is_some(), cause.is_failure(), "{cause:?}");
                let same = Cause::of_code(cause.code());
                if let (Some(same), Some((clue, _))) = (same, clue)
                    && cause != Seen::TlsToPlainPort
                    && cause != Seen::ClosesInHandshake
                {
                    assert_eq!(clue.cause, same, "the same word means the same");
                }
            }
        }
    }

    #[test]
    fn the_quote_says_when_who_where_and_what_in_both_languages() {
        let mut one = sighted(Seen::PlainToTlsPort, "mqtts");
        one.count = 3;
        one.others = vec![Seen::Untrusted];
        let (clue, facts) = one.clue().unwrap();
        assert_eq!(
            clue.quote.en,
            "2026-11-22 17:00:00Z 192.168.1.40 on mqtts: seen so (3 times)"
        );
        assert!(clue.quote.zh.ends_with("（共 3 次）"), "{}", clue.quote.zh);
        assert_eq!(clue.strength, Strength::Proof);
        assert_eq!(clue.or, [Cause::ChainNotTrusted]);
        assert_eq!(facts.get("device_address"), Some("192.168.1.40"));
    }

    #[test]
    fn tls_to_a_page_and_to_a_broker_have_their_own_words() {
        let cause = |listener| {
            sighted(Seen::TlsToPlainPort, listener)
                .clue()
                .unwrap()
                .0
                .cause
        };
        assert_eq!(cause("mqtt"), Cause::TlsToPlainPort);
        assert_eq!(cause("http"), Cause::TlsToPlainHttp);
    }

    #[test]
    fn what_connected_has_passed_every_layer_below() {
        let mut healthy = sighted(Seen::Healthy, "mqtts");
        healthy.version = Some(0x0303);
        let layers: Vec<Layer> = healthy.passed().iter().map(|one| one.layer).collect();
        assert_eq!(layers, [Layer::Wifi, Layer::Tcp, Layer::Tls, Layer::Mqtt]);
    }
}
