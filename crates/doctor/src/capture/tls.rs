//! TLS handshakes: what the device offered, what the server answered, and which side ended it why.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Trusted;
use super::conversation::{Conversation, Ending};
use super::seen::{Seen, place};
use super::stream::Stamp;
use super::tcp::ANSWER;
use crate::profile::Profile;
use crate::target::Host;
use crate::tls::{
    Answer, Circumstances, ClientHello, Flight, FlightReader, How, Verdict, as_device,
    inspect_chain, judge_chain, names, records,
};
use crate::{Cause, Clue, Layer, Strength};

pub(super) use crate::tls::Seen as Answers;

/// Whether this is the start of a ClientHello.
pub(super) fn is_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, _, _, _, 1, ..])
}

/// What every server answered to whom: a refusal is told from what it grants others.
pub(super) fn answers(conversations: &[Conversation]) -> BTreeMap<SocketAddr, Answers> {
    let mut servers: BTreeMap<SocketAddr, Answers> = BTreeMap::new();
    for it in conversations {
        let Some(hello) = ClientHello::read(it.up.stream.bytes()) else {
            continue;
        };
        let answers = servers.entry(it.server).or_default();
        if answers.answers.len() < ANSWERS {
            let flight = flight(it, How::Enough);
            if answers.answers.iter().all(|(_, other)| *other != flight) {
                answers.note(hello.offer(), flight);
            }
        }
    }
    servers
}

/// Different answers of one server that are compared.
const ANSWERS: usize = 16;

fn flight(it: &Conversation, how: How) -> Flight {
    let mut reader = FlightReader::new();
    reader.feed(it.down.stream.bytes());
    reader.end(how)
}

/// What one side said in records of its own.
#[derive(Default)]
struct Said {
    /// The first fatal alert in clear, and the byte at which it stands.
    alert: Option<(u8, usize)>,
    /// ChangeCipherSpec was sent: up to there it agreed.
    changed: bool,
    /// The lengths of encrypted records.
    encrypted: Vec<usize>,
}

fn said(bytes: &[u8]) -> Said {
    let mut said = Said::default();
    let mut at = 0;
    for (kind, content) in records(bytes) {
        match (kind, content) {
            (20, _) => said.changed = true,
            (21, [2, description]) if said.encrypted.is_empty() => {
                said.alert.get_or_insert((*description, at));
            }
            (23, _) => said.encrypted.push(content.len()),
            _ => {}
        }
        at += 5 + content.len();
    }
    said
}

/// What became of a handshake.
pub(super) fn read(
    it: &Conversation,
    seen: &mut Seen<'_>,
    answers: &Answers,
    trusted: &Trusted<'_>,
) {
    let up = it.up.stream.bytes();
    let (Some(hello), Some(asked)) = (ClientHello::read(up), it.up.stream.first) else {
        return;
    };
    let ending = it.ending(seen.until);
    let how = match ending {
        Ending::Reset(_) => How::Reset,
        Ending::Closed(_) => How::Closed,
        Ending::Open(waited) if waited >= ANSWER => How::Silent,
        Ending::Client(..) if it.down.stream.is_empty() => How::Silent,
        Ending::Client(_, waited) if waited >= ANSWER => How::Silent,
        Ending::Open(_) | Ending::Client(..) => How::Enough,
    };
    let flight = flight(it, how);
    let (client, server) = (said(up), said(it.down.stream.bytes()));
    let named = hello.name.clone().or_else(|| seen.name.clone());
    if let Some(name) = &named {
        seen.fact("host", name.clone());
    }
    let profile = hello.profile();
    if let Some(profile) = profile {
        seen.fact("family", profile.family.to_string());
    }
    let host = named.and_then(|name| Host::of(&name));
    let host = host.or_else(|| Host::of(&it.server.ip().to_string()));
    let Some(host) = host else {
        return;
    };
    let stamp = it.down.stream.last.unwrap_or(asked);
    let circumstances = Circumstances {
        host: &host,
        anchors: trusted.anchors,
        own: trusted.own,
        known: trusted.known,
        now: asked.at,
        device_time: None,
        pin: None,
        place: place(stamp),
    };
    let case = Case {
        it,
        hello: &hello,
        profile,
        flight: &flight,
        answers,
        circumstances: &circumstances,
        ending,
    };
    if flight.answer != Answer::Tls {
        case.no_tls(seen, asked);
    } else if let Some((alert, at)) = server.alert {
        let stamp = it.down.stream.stamp_at(at).unwrap_or(stamp);
        case.server_refuses(alert, stamp, client.changed, seen);
    } else if let Some((alert, at)) = client.alert {
        let stamp = it.up.stream.stamp_at(at).unwrap_or(stamp);
        case.device_refuses(Some(alert), stamp, seen);
    } else if flight.encrypted {
        case.encrypted(&client, stamp, seen);
    } else if client.changed && server.changed {
        case.agreed(stamp, seen);
    } else if client.changed {
        case.stopped_after_keys(seen);
    } else {
        case.stopped(stamp, seen);
    }
}

struct Case<'a> {
    it: &'a Conversation,
    hello: &'a ClientHello,
    profile: Option<&'static Profile>,
    flight: &'a Flight,
    answers: &'a Answers,
    circumstances: &'a Circumstances<'a>,
    ending: Ending,
}

impl Case<'_> {
    /// Another protocol, silence, or the end.
    fn no_tls(&self, seen: &mut Seen<'_>, asked: Stamp) {
        if self.flight.answer == Answer::Nothing && self.flight.how == How::Enough {
            return;
        }
        let stamp = match (self.it.down.stream.first, self.ending) {
            (Some(stamp), _) => stamp,
            (None, Ending::Closed(stamp) | Ending::Reset(stamp)) => stamp,
            (None, _) => asked,
        };
        for mut clue in self.flight.clues(self.circumstances.place) {
            if let (Answer::Nothing, Ending::Client(_, waited) | Ending::Open(waited)) =
                (&self.flight.answer, self.ending)
            {
                let waited = waited.as_millis();
                clue.quote.en += &format!(" in {waited} ms");
                clue.quote.zh += &format!("（{waited} 毫秒）");
                clue.strength = Strength::Proof;
            }
            if let (Answer::Nothing, Ending::Closed(_) | Ending::Reset(_)) =
                (&self.flight.answer, self.ending)
            {
                // A server in clear has bytes left that it did not understand, and so its end is a reset;
                // one of TLS closes in order.
                let plain = matches!(self.ending, Ending::Reset(_))
                    || matches!(self.it.server.port(), 1883 | 80 | 8000..=8003 | 8080);
                let (first, other) = match plain {
                    true => (Cause::TlsToPlainPort, Cause::ClosesInHandshake),
                    false => (Cause::ClosesInHandshake, Cause::TlsToPlainPort),
                };
                clue.cause = first;
                clue.layer = first.layer();
                clue.or = [other].into();
            }
            seen.worded(stamp, clue);
        }
    }

    /// The server's alert in clear.
    fn server_refuses(&self, alert: u8, stamp: Stamp, after_keys: bool, seen: &mut Seen<'_>) {
        let words = names::alert(alert);
        seen.fact("number", format!("{alert}"));
        if after_keys || self.flight.client_certificate || alert == 116 {
            let cause = match (self.flight.client_certificate || alert == 116, alert) {
                (true, 40 | 41 | 42 | 116) => Cause::ClientCertRequired,
                (true, _) => Cause::ClientCertificateRefused,
                (false, _) => Cause::TlsFailed,
            };
            let strength = match cause {
                Cause::TlsFailed => Strength::Class,
                _ => Strength::Proof,
            };
            seen.clue(
                cause,
                strength,
                stamp,
                format!("the server answers the device's keys with the alert {alert} ({words})"),
                format!("服务器对设备的密钥交换回以告警 {alert}（{words}）"),
            );
            return;
        }
        if let Some(profile) = self.profile {
            let outcome = as_device(profile, self.answers, self.circumstances);
            let told = outcome.clues.into_iter().next();
            if let Some(clue) = told.filter(|clue| clue.strength >= Strength::Specific) {
                seen.worded(stamp, clue);
                return;
            }
        }
        let version = names::version(self.hello.highest());
        let rsa_only = self
            .profile
            .is_some_and(|profile| profile.keys.curves.is_empty());
        let (cause, or): (Cause, &[Cause]) = match alert {
            70 => (Cause::TlsVersion, &[]),
            71 => (Cause::NoCommonCipher, &[]),
            112 => (Cause::SniNeeded, &[]),
            120 => (Cause::AlpnRefused, &[]),
            // A server refuses the only suite that such a device has if its key is ECDSA, as
            // certificates of today mostly are.
            40 if rsa_only => (
                Cause::NoCommonCipherEcdsaOnly,
                &[Cause::NoCommonCipher, Cause::NoCommonGroup],
            ),
            40 => (
                Cause::NoCommonCipher,
                &[Cause::NoCommonGroup, Cause::TlsVersion, Cause::SniNeeded],
            ),
            42..=49 => (Cause::ClientCertificateRefused, &[]),
            _ => (Cause::TlsFailed, &[]),
        };
        let strength = match cause {
            Cause::TlsFailed => Strength::Class,
            Cause::TlsVersion | Cause::SniNeeded | Cause::AlpnRefused => Strength::Proof,
            _ => Strength::Specific,
        };
        let offered: Vec<String> = self
            .hello
            .suites
            .iter()
            .take(3)
            .map(|it| names::suite(*it).to_string())
            .collect();
        let offered = offered.join(", ");
        seen.clue_or(
            cause,
            or,
            strength,
            stamp,
            format!(
                "ClientHello ({version}, {offered} …), answered with the alert {alert} ({words})"
            ),
            format!("ClientHello（{version}，{offered} …），服务器回以告警 {alert}（{words}）"),
        );
    }

    /// The device ends it, with an alert or without.
    fn device_refuses(&self, alert: Option<u8>, stamp: Stamp, seen: &mut Seen<'_>) {
        if let Some(alert) = alert {
            seen.fact("number", format!("{alert}"));
        }
        let mut faults = self.faults();
        // mbedTLS collects faults, and its alert says which it told.
        let told = faults.iter().position(|clue| fits(alert, clue.cause));
        if let Some(told) = told {
            faults.rotate_left(told);
            faults.truncate(1);
        } else if alert.is_some_and(|alert| matches!(alert, 42..=45 | 48)) {
            faults.clear();
        }
        if let Some(mut clue) = faults.into_iter().next() {
            if let Some(alert) = alert {
                let words = names::alert(alert);
                clue.quote.en += &format!("; the device refuses with the alert {alert} ({words})");
                clue.quote.zh += &format!("；设备以告警 {alert}（{words}）拒绝");
            } else {
                clue.quote.en += "; the device ends the connection";
                clue.quote.zh += "；设备断开了连接";
            }
            seen.worded(stamp, clue);
            return;
        }
        let (cause, or): (Cause, &[Cause]) = match alert {
            Some(48) => (Cause::ChainNotTrusted, &[Cause::ChainIncomplete]),
            Some(45) => (Cause::DeviceClockUnset, &[Cause::DeviceClockWrong]),
            Some(44) => (Cause::CertificateRevoked, &[]),
            Some(42 | 43 | 46) => (
                Cause::CertificateRefused,
                &[Cause::ChainNotTrusted, Cause::NameMismatch],
            ),
            Some(70) => (Cause::TlsVersion, &[]),
            Some(40) => (Cause::NoCommonCipher, &[]),
            Some(80) => (Cause::OutOfMemoryTls, &[Cause::TlsFailed]),
            Some(22) => (Cause::RecordTooLarge, &[]),
            Some(_) => (Cause::TlsFailed, &[]),
            None => (
                Cause::CertificateRefused,
                &[Cause::DeviceClockUnset, Cause::ChainNotTrusted],
            ),
        };
        let strength = match (cause, alert) {
            (Cause::TlsFailed, _) | (_, None) => Strength::Class,
            _ => Strength::Specific,
        };
        let (en, zh) = match alert {
            Some(alert) => {
                let words = names::alert(alert);
                (
                    format!("the device ends the handshake with the alert {alert} ({words})"),
                    format!("设备以告警 {alert}（{words}）中止握手"),
                )
            }
            None => (
                "the device ends the connection after the server's certificate, which has no fault by itself".to_string(),
                "设备收到服务器证书后断开连接，而证书本身没有问题".to_string(),
            ),
        };
        seen.clue_or(cause, or, strength, stamp, en, zh);
    }

    /// What is wrong with the chain for this device, or for all if it is none that is known.
    fn faults(&self) -> Vec<Clue> {
        if self.flight.chain.is_empty() {
            return Vec::new();
        }
        let verdict = match self.profile {
            Some(profile) => {
                let mut faults = judge_chain(profile, &self.flight.chain, self.circumstances);
                // The dates are wrong for everyone, whatever such a device looks at.
                if faults.passes() {
                    faults = inspect_chain(&self.flight.chain, self.circumstances);
                }
                faults
            }
            None => inspect_chain(&self.flight.chain, self.circumstances),
        };
        verdict.clues
    }

    /// TLS 1.3: of the rest only lengths are seen.
    fn encrypted(&self, client: &Said, stamp: Stamp, seen: &mut Seen<'_>) {
        // Finished has 4 + 32 or 48 bytes, and 17 more by encryption; an alert has 2.
        let finished = client.encrypted.iter().any(|length| *length >= 53);
        let alert = client.encrypted.iter().position(|length| *length == 19);
        let agreed = self.flight.agreed();
        match (finished, alert, self.ending) {
            (true, ..) => seen.passed(
                Layer::Tls,
                stamp,
                format!("TLS is agreed on: {agreed}"),
                format!("TLS 协商成功：{agreed}"),
            ),
            (false, Some(_), _) => seen.clue_or(
                Cause::CertificateRefused,
                &[Cause::ChainNotTrusted, Cause::NameMismatch, Cause::CertificateExpired],
                Strength::Class,
                stamp,
                format!("{agreed}: the device answers the encrypted certificate with an alert (19 bytes, encrypted)"),
                format!("{agreed}：设备对加密的证书回以告警（加密的 19 字节）"),
            ),
            (false, None, Ending::Client(stamp, _)) => seen.clue_or(
                Cause::TlsFailed,
                &[Cause::CertificateRefused],
                Strength::Class,
                stamp,
                format!("{agreed}: the device ends the connection in the handshake"),
                format!("{agreed}：设备在握手中断开了连接"),
            ),
            (false, None, Ending::Closed(stamp) | Ending::Reset(stamp)) => seen.clue(
                Cause::ClosesInHandshake,
                Strength::Specific,
                stamp,
                format!("{agreed}: the server ends the connection in the handshake"),
                format!("{agreed}：服务器在握手中断开了连接"),
            ),
            (false, None, Ending::Open(_)) => {}
        }
    }

    fn agreed(&self, stamp: Stamp, seen: &mut Seen<'_>) {
        let agreed = self.flight.agreed();
        seen.passed(
            Layer::Tls,
            stamp,
            format!("TLS is agreed on: {agreed}"),
            format!("TLS 协商成功：{agreed}"),
        );
        if !self.flight.chain.is_empty() {
            seen.passed(
                Layer::Certificate,
                stamp,
                "the device goes on after the server's certificate".into(),
                "设备接受了服务器的证书".into(),
            );
        }
    }

    /// The device has sent its keys, and the server has not.
    fn stopped_after_keys(&self, seen: &mut Seen<'_>) {
        let (Ending::Closed(stamp) | Ending::Reset(stamp)) = self.ending else {
            return;
        };
        let (cause, strength) = match self.flight.client_certificate {
            true => (Cause::ClientCertRequired, Strength::Specific),
            false => (Cause::ClosesInHandshake, Strength::Specific),
        };
        seen.clue(
            cause,
            strength,
            stamp,
            "the server ends the connection after the device's keys".into(),
            "服务器收到设备的密钥后断开了连接".into(),
        );
    }

    /// Nobody says why it ends.
    fn stopped(&self, stamp: Stamp, seen: &mut Seen<'_>) {
        let records = self.it.up.stream.stamp_at(0).unwrap_or(stamp);
        match self.ending {
            Ending::Client(end, _) if self.flight.whole => {
                if let Some(profile) = self.profile {
                    // The server may have chosen what the device does not speak.
                    let outcome =
                        as_device(profile, &only(self.hello, self.flight), self.circumstances);
                    let stops = matches!(outcome.verdict, Verdict::Stops { .. });
                    if let Some(clue) = outcome.clues.into_iter().next().filter(|_| stops) {
                        seen.worded(end, clue);
                        return;
                    }
                }
                self.device_refuses(None, end, seen);
            }
            Ending::Client(end, _)
                if self
                    .flight
                    .version
                    .is_some_and(|it| it < self.hello.highest()) =>
            {
                seen.clue(
                    Cause::TlsVersion,
                    Strength::Specific,
                    end,
                    format!(
                        "the server answers with {}, and the device ends the connection",
                        self.flight.agreed()
                    ),
                    format!("服务器用 {} 应答，设备随即断开", self.flight.agreed()),
                )
            }
            _ => {
                for clue in self.flight.clues(self.circumstances.place) {
                    let at = match self.ending {
                        Ending::Closed(end) | Ending::Reset(end) => end,
                        _ => stamp.max(records),
                    };
                    seen.worded(at, clue);
                }
            }
        }
    }
}

fn only(hello: &ClientHello, flight: &Flight) -> Answers {
    let mut answers = Answers::default();
    answers.note(hello.offer(), flight.clone());
    answers
}

/// Whether the alert that a device sends is the one for this fault (RFC 5246 §7.2.2, and what mbedTLS
/// makes of its flags).
fn fits(alert: Option<u8>, cause: Cause) -> bool {
    let Some(alert) = alert else {
        return true;
    };
    match cause {
        Cause::NameMismatch => matches!(alert, 42 | 46),
        Cause::CertificateExpired | Cause::NotYetValid => alert == 45,
        Cause::ChainIncomplete | Cause::ChainNotTrusted | Cause::UntrustedSelfSigned => {
            matches!(alert, 48 | 42 | 46)
        }
        Cause::WrongEku => matches!(alert, 43 | 42),
        Cause::CertificateRevoked => alert == 44,
        cause if cause.layer() == Layer::Certificate => matches!(alert, 42 | 43 | 46 | 48),
        _ => false,
    }
}
