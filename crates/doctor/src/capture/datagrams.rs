//! Questions over UDP and their answers: names (DNS, mDNS) and the time (NTP).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::seen::{Found, Seen};
use super::stream::Stamp;
use super::tcp::ANSWER;
use crate::dns::{Code, Reply};
use crate::limits::QUESTIONS;
use crate::{Cause, Facts, Layer, Strength};

/// What was asked over UDP.
#[derive(Debug, Default)]
pub(super) struct Datagrams {
    names: BTreeMap<(IpAddr, SocketAddr, String), Question>,
    times: BTreeMap<(IpAddr, SocketAddr), Question>,
    /// Names that someone answered for by multicast.
    announced: Vec<String>,
    /// The last name that was found for an address.
    found: BTreeMap<IpAddr, String>,
}

#[derive(Debug)]
struct Question {
    first: Stamp,
    asked: u32,
    answer: Option<(Stamp, Code)>,
    addresses: Vec<IpAddr>,
    /// NTP: the server's time, in seconds since 1970.
    time: Option<u64>,
}

impl Datagrams {
    /// Takes a datagram.
    pub(super) fn take(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8], stamp: Stamp) {
        match (from.port(), to.port()) {
            (_, 53) => self.asks(from.ip(), to, data, stamp),
            (53, _) => self.answers(to.ip(), from, data, stamp),
            (_, 5353) => self.multicast(from.ip(), to, data, stamp),
            (_, 123) if mode(data) == Some(3) => self.asks_time(from.ip(), to, stamp),
            (123, _) if mode(data) == Some(4) => {
                if let Some(question) = self.times.get_mut(&(to.ip(), from)) {
                    // A stratum of 0 is a refusal (RFC 5905 §7.4), 3 in front an unset clock.
                    if data[0] >> 6 != 3 && data[1] != 0 {
                        question.answer = Some((stamp, Code::Known));
                        question.time = transmitted(data);
                    }
                }
            }
            _ => {}
        }
    }

    fn asks_time(&mut self, client: IpAddr, server: SocketAddr, stamp: Stamp) {
        if self.times.len() < QUESTIONS || self.times.contains_key(&(client, server)) {
            let question = self.times.entry((client, server));
            question.or_insert_with(|| Question::new(stamp)).asked += 1;
        }
    }

    fn asks(&mut self, client: IpAddr, server: SocketAddr, data: &[u8], stamp: Stamp) {
        let Some((name, _)) = question(data) else {
            return;
        };
        let key = (client, server, name);
        if self.names.len() < QUESTIONS || self.names.contains_key(&key) {
            let question = self.names.entry(key);
            question.or_insert_with(|| Question::new(stamp)).asked += 1;
        }
    }

    fn answers(&mut self, client: IpAddr, server: SocketAddr, data: &[u8], stamp: Stamp) {
        let (Some((name, kind)), Some(reply)) = (question(data), Reply::read(data)) else {
            return;
        };
        for address in &reply.addresses {
            if self.found.len() < QUESTIONS {
                self.found.insert(*address, name.clone());
            }
        }
        let Some(question) = self.names.get_mut(&(client, server, name)) else {
            return;
        };
        // Many names have no address of IPv6, and some servers say so with an error.
        if kind == AAAA && reply.addresses.is_empty() && question.asked > 1 {
            return;
        }
        for address in reply.addresses {
            if !question.addresses.contains(&address) && question.addresses.len() < 32 {
                question.addresses.push(address);
            }
        }
        question.answer = Some((stamp, reply.code));
    }

    fn multicast(&mut self, client: IpAddr, to: SocketAddr, data: &[u8], stamp: Stamp) {
        if let Some(reply) = Reply::read(data) {
            // The name stands in front of the first answer, as a question's would.
            let wanted = !reply.addresses.is_empty() && self.announced.len() < QUESTIONS;
            self.announced
                .extend(label_text(data, 12).filter(|_| wanted));
        } else if let Some((name, kind)) = question(data) {
            let of_host = matches!(kind, A | AAAA) && name.ends_with(".local");
            if of_host {
                self.asks(client, to, data, stamp);
            }
        }
    }

    /// The name under which an address was found.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.found.get(&address).map(String::as_str)
    }

    /// What all that shows.
    pub(super) fn read(&self, until: Duration, found: &mut Vec<Found>) {
        for ((client, server, name), question) in &self.names {
            let mut seen = Seen {
                client: SocketAddr::new(*client, 0),
                server: *server,
                until,
                cut: false,
                name: None,
                found: &mut *found,
                facts: Facts::default(),
            };
            seen.fact("host", name.clone());
            seen.fact("resolver", server.ip().to_string());
            self.name(name, question, *client, &mut seen);
        }
        for ((client, server), question) in &self.times {
            let mut seen = Seen {
                client: SocketAddr::new(*client, 0),
                server: *server,
                until,
                cut: false,
                name: None,
                found: &mut *found,
                facts: Facts::default(),
            };
            question.time(&mut seen);
        }
    }

    fn name(&self, name: &str, question: &Question, client: IpAddr, seen: &mut Seen<'_>) {
        let asked = question.asked;
        let by_multicast = seen.server.port() == 5353;
        let elsewhere = self.names.iter().any(|((other, _, same), it)| {
            *other == client && same == name && !it.addresses.is_empty()
        });
        let announced = by_multicast
            && self
                .announced
                .iter()
                .any(|it| it.eq_ignore_ascii_case(name));
        if announced || (question.addresses.is_empty() && elsewhere) {
            return;
        }
        let Some((stamp, code)) = question.answer else {
            let waited = seen.until.saturating_sub(question.first.at);
            let waited_ms = waited.as_millis();
            if waited < ANSWER {
                return;
            }
            let cause = match by_multicast {
                true => Cause::NameNotResolved,
                false => Cause::DnsSilent,
            };
            seen.clue(
                cause,
                Strength::Proof,
                question.first,
                format!("asks for {name} {asked} ×, never answered in {waited_ms} ms"),
                format!("查询 {name} {asked} 次，{waited_ms} 毫秒内没有应答"),
            );
            return;
        };
        let word = code.word();
        let addresses: Vec<String> = question.addresses.iter().map(ToString::to_string).collect();
        let addresses = addresses.join(", ");
        let useless =
            |it: &IpAddr| it.is_unspecified() || (it.is_loopback() && !client.is_loopback());
        match code {
            Code::Known if question.addresses.iter().any(useless) => seen.clue(
                Cause::WrongAddress,
                Strength::Proof,
                stamp,
                format!(
                    "asks for {name}, answered with {addresses}: that is nobody on the network"
                ),
                format!("查询 {name}，得到 {addresses}：网络上没有这样的地址"),
            ),
            Code::Known if question.addresses.is_empty() => seen.clue(
                Cause::NameNotResolved,
                Strength::Class,
                stamp,
                format!("asks for {name}, answered without an address"),
                format!("查询 {name}，应答中没有地址"),
            ),
            Code::Known => {
                let private = question.addresses.iter().any(is_private);
                let more = if private { " (private)" } else { "" };
                seen.passed(
                    Layer::Dns,
                    stamp,
                    format!("asks for {name}, answered with {addresses}{more}"),
                    format!("查询 {name}，得到 {addresses}"),
                );
                self.split(name, question, client, stamp, seen);
            }
            Code::NoSuchName => seen.clue(
                Cause::NameNotResolved,
                Strength::Proof,
                stamp,
                format!("asks for {name}, answered with {word}: there is no such name"),
                format!("查询 {name}，应答 {word}：没有这个域名"),
            ),
            _ => seen.clue(
                Cause::DnsFailed,
                Strength::Specific,
                stamp,
                format!("asks for {name}, answered with {word}"),
                format!("查询 {name}，应答 {word}"),
            ),
        }
    }

    /// Two servers know different addresses of a name, one of them a private one.
    fn split(
        &self,
        name: &str,
        question: &Question,
        client: IpAddr,
        stamp: Stamp,
        seen: &mut Seen<'_>,
    ) {
        let own = question.addresses.iter().any(is_private);
        let other = self.names.iter().find(|((asker, server, same), it)| {
            let told = !it.addresses.is_empty() && it.addresses.iter().any(is_private) != own;
            *asker == client && *server != seen.server && same == name && told
        });
        if let Some(((_, server, _), it)) = other {
            let (here, there) = (question.addresses[0], it.addresses[0]);
            let server = server.ip();
            seen.fact("other", there.to_string());
            seen.clue(
                Cause::SplitHorizon,
                Strength::Specific,
                stamp,
                format!("{name} is {here} here, and {there} for {server}"),
                format!("{name} 在这里是 {here}，而 {server} 给出 {there}"),
            );
        }
    }
}

impl Question {
    fn new(first: Stamp) -> Question {
        Question {
            first,
            asked: 0,
            answer: None,
            addresses: Vec::new(),
            time: None,
        }
    }

    fn time(&self, seen: &mut Seen<'_>) {
        let asked = self.asked;
        let Some((stamp, _)) = self.answer else {
            let waited = seen.until.saturating_sub(self.first.at);
            if waited >= ANSWER {
                let waited = waited.as_millis();
                seen.clue(
                    Cause::DeviceClockUnset,
                    Strength::Class,
                    self.first,
                    format!("asks for the time (NTP) {asked} ×, never answered in {waited} ms"),
                    format!("查询时间（NTP）{asked} 次，{waited} 毫秒内没有应答"),
                );
            }
            return;
        };
        let captured = stamp.at.as_secs();
        match self.time.filter(|time| time.abs_diff(captured) > DAY) {
            Some(time) => seen.clue(
                Cause::ServerClockWrong,
                Strength::Specific,
                stamp,
                format!("the time server says {time} s since 1970, and the capture was made at {captured}"),
                format!("时间服务器给出 {time}（1970 年以来的秒数），而抓包时间是 {captured}"),
            ),
            None => seen.passed(
                Layer::Clock,
                stamp,
                "asks for the time (NTP) and gets it".into(),
                "查询时间（NTP）并得到应答".into(),
            ),
        }
    }
}

/// The first question of a DNS packet: name and type. None for reverse lookups and services, which no
/// connection depends on.
fn question(packet: &[u8]) -> Option<(String, u16)> {
    let count = u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]);
    if count == 0 {
        return None;
    }
    let name = label_text(packet, 12)?;
    let at = 12 + name.len() + 2;
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    let of_host = !name.ends_with(".arpa") && !name.starts_with('_');
    of_host.then_some((name, kind))
}

/// A name without pointers, in small letters.
fn label_text(packet: &[u8], mut at: usize) -> Option<String> {
    let mut name = String::new();
    loop {
        let length = usize::from(*packet.get(at)?);
        match length {
            0 => return (!name.is_empty()).then_some(name),
            1..=63 => {
                let label = packet.get(at + 1..at + 1 + length)?;
                if !name.is_empty() {
                    name.push('.');
                }
                for byte in label {
                    let plain = byte.is_ascii_graphic() && *byte != b'.';
                    name.push(if plain {
                        byte.to_ascii_lowercase() as char
                    } else {
                        '?'
                    });
                }
                at += 1 + length;
            }
            _ => return None,
        }
        if name.len() > 253 {
            return None;
        }
    }
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_private() || it.is_link_local() || it.is_loopback(),
        IpAddr::V6(it) => it.is_unique_local() || it.is_unicast_link_local() || it.is_loopback(),
    }
}

/// The mode of an NTP packet (RFC 5905 §7.3): 3 asks, 4 answers.
fn mode(data: &[u8]) -> Option<u8> {
    (data.len() >= 48).then(|| data[0] & 7)
}

/// The server's time, in seconds since 1970.
fn transmitted(data: &[u8]) -> Option<u64> {
    let bytes = data.get(40..44)?;
    let since_1900 = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    // The era that began in 2036 starts again at zero.
    let era = if since_1900 < 1 << 31 { 1_u64 << 32 } else { 0 };
    (u64::from(since_1900) + era).checked_sub(2_208_988_800)
}

const A: u16 = 1;
const AAAA: u16 = 28;
const DAY: u64 = 86_400;
