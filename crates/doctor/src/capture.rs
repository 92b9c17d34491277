//! Packet captures read into [`Evidence`]: what a device and its servers said to each other, and what
//! nobody answered.
//!
//! pcap and pcapng, Ethernet, Linux "any", loopback and raw IP. Each TCP conversation is followed for
//! its first 64 KiB each way; names and time are followed over UDP. TLS 1.3 encrypts the certificates,
//! and of alerts only the size is seen then: the device's log says more. Captures of encrypted Wi-Fi
//! (802.11) are not read.

mod conversation;
mod datagrams;
mod file;
mod http;
mod mqtt;
mod packet;
mod seen;
mod stream;
mod tcp;
mod tls;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use safeport_settings::Said;

use crate::limits::{CAPTURE_BYTES, CAPTURE_CLUES, CAPTURE_KEPT, CAPTURE_PACKETS};
use crate::tls::Anchor;
use crate::{Cause, Clue, Evidence, Facts, Layer, Strength};
use conversation::{Conversation, Conversations};
use datagrams::Datagrams;
use file::{End, Frame, frames};
use mqtt::Login;
use packet::{Carried, carried, link_name};
use seen::{Found, Seen, What, place};
use stream::Stamp;

/// What a capture tells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaptureReading {
    /// What points to causes, and what was seen to work, of the device with the trouble.
    pub evidence: Evidence,
    /// Packets that were read.
    pub packets: u32,
    /// TCP conversations that were followed.
    pub conversations: usize,
    /// What was not read, and why; for people.
    pub left_out: Vec<Said>,
}

/// The roots against which chains of certificates are judged; see
/// [`Circumstances`](crate::tls::Circumstances). Without any, a chain whose root is not sent cannot be
/// told from an incomplete one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trusted<'a> {
    /// The public roots.
    pub anchors: &'a [Anchor],
    /// Roots of the owner's own that the device has.
    pub own: &'a [Anchor],
    /// Roots that exist and that no device has by itself.
    pub known: &'a [Anchor],
}

/// Reads a capture without knowing any roots.
pub fn read_capture(bytes: &[u8]) -> CaptureReading {
    read_capture_trusting(bytes, &Trusted::default())
}

/// Reads a capture. Time is that of the capture: certificates are judged as of then.
pub fn read_capture_trusting(bytes: &[u8], trusted: &Trusted<'_>) -> CaptureReading {
    let mut reader = Reader {
        budget: CAPTURE_KEPT,
        ..Reader::default()
    };
    let read = &bytes[..bytes.len().min(CAPTURE_BYTES)];
    let end = frames(read, |frame| reader.frame(&frame));
    reader.say(end, bytes.len() > read.len());
    reader.reading(trusted)
}

#[derive(Debug, Default)]
struct Reader {
    packets: u32,
    until: Duration,
    budget: usize,
    conversations: Conversations,
    datagrams: Datagrams,
    /// By whom, from, to, port.
    unreachable: Vec<(IpAddr, IpAddr, SocketAddr, Stamp)>,
    fragments: u32,
    cut: u32,
    unknown_links: BTreeMap<i32, u32>,
    left_out: Vec<Said>,
}

impl Reader {
    fn frame(&mut self, frame: &Frame<'_>) {
        self.packets = frame.number;
        self.until = self.until.max(frame.at);
        self.cut += u32::from(frame.cut);
        let stamp = Stamp {
            packet: frame.number,
            at: frame.at,
        };
        match carried(frame) {
            Carried::Tcp(segment) => self.conversations.take(&segment, stamp, &mut self.budget),
            Carried::Udp { from, to, data } => self.datagrams.take(from, to, data, stamp),
            Carried::Unreachable { by, from, to, port } => {
                if self.unreachable.len() < CAPTURE_CLUES {
                    self.unreachable
                        .push((by, from, SocketAddr::new(to, port), stamp));
                }
            }
            Carried::Fragment => self.fragments += 1,
            Carried::Other => {}
            Carried::UnknownLink => *self.unknown_links.entry(frame.link).or_default() += 1,
        }
    }

    /// What was not read.
    fn say(&mut self, end: End, too_long: bool) {
        let packets = self.packets;
        let mut say = |en: alloc::string::String, zh: alloc::string::String| {
            self.left_out.push(Said::new(en, zh));
        };
        match end {
            End::Whole => {}
            End::NoCapture => say(
                "this is no capture: it is neither pcap nor pcapng".into(),
                "这不是抓包文件：既不是 pcap 也不是 pcapng".into(),
            ),
            End::Damaged if !too_long => say(
                format!("the capture breaks off behind packet {packets}"),
                format!("抓包文件在第 {packets} 个包之后中断"),
            ),
            End::Damaged => {}
            End::TooMany => say(
                format!("read are the first {CAPTURE_PACKETS} packets"),
                format!("只读取了前 {CAPTURE_PACKETS} 个包"),
            ),
        }
        if too_long {
            let mebibytes = CAPTURE_BYTES >> 20;
            say(
                format!("read are the first {mebibytes} MiB"),
                format!("只读取了前 {mebibytes} MiB"),
            );
        }
        for (link, count) in &self.unknown_links {
            let name = link_name(*link);
            say(
                format!(
                    "{count} packets of the link type {link} ({name}) are not read; capture on the server or the router instead: tcpdump -i any -w FILE"
                ),
                format!(
                    "{count} 个包的链路类型 {link}（{name}）无法读取；请在服务器或路由器上抓包：tcpdump -i any -w 文件"
                ),
            );
        }
        if self.cut > 0 {
            let cut = self.cut;
            say(
                format!("{cut} packets are cut off; capture with -s 0 for all of them"),
                format!("{cut} 个包不完整；抓包时加上 -s 0"),
            );
        }
        if self.fragments > 0 {
            let fragments = self.fragments;
            say(
                format!("{fragments} pieces of fragmented packets are not put together"),
                format!("{fragments} 个 IP 分片没有重组"),
            );
        }
        if self.conversations.left_out > 0 {
            let more = self.conversations.left_out;
            say(
                format!("{more} packets of further conversations are passed over"),
                format!("略过了其他会话的 {more} 个包"),
            );
        }
        if self.budget == 0 {
            say(
                "of later conversations only the course is read, not the contents".into(),
                "较晚的会话只读取了过程，没有读取内容".into(),
            );
        }
    }

    fn reading(mut self, trusted: &Trusted<'_>) -> CaptureReading {
        let mut found = Vec::new();
        let mut logins = Vec::new();
        self.datagrams.read(self.until, &mut found);
        let answers = tls::answers(&self.conversations.all);
        for it in &self.conversations.all {
            self.conversation(it, &answers, trusted, &mut found, &mut logins);
        }
        self.unreachable(&mut found);
        take_overs(&logins, &mut found);
        let found = without_healed(found);
        let evidence = self.of_device(found);
        CaptureReading {
            evidence,
            packets: self.packets,
            conversations: self.conversations.all.len(),
            left_out: self.left_out,
        }
    }

    fn conversation(
        &self,
        it: &Conversation,
        answers: &BTreeMap<SocketAddr, tls::Answers>,
        trusted: &Trusted<'_>,
        found: &mut Vec<Found>,
        logins: &mut Vec<(IpAddr, SocketAddr, Login)>,
    ) {
        let mut seen = Seen {
            client: it.client,
            server: it.server,
            until: self.until,
            cut: self.cut > 0,
            name: self
                .datagrams
                .name_of(it.server.ip())
                .map(ToString::to_string),
            found,
            facts: Facts::default(),
        };
        if !tcp::opening(it, &mut seen) || tcp::before_a_word(it, &mut seen) {
            return;
        }
        tcp::lost_on_the_way(it, &mut seen);
        let up = it.up.stream.bytes();
        let speaks_tls = || {
            let others = self.conversations.all.iter();
            let mut same = others.filter(|other| other.server == it.server);
            same.any(|other| {
                tls::is_hello(other.down.stream.bytes()) || {
                    let down = other.down.stream.bytes();
                    tls::is_hello(other.up.stream.bytes()) && down.starts_with(&[22, 3])
                }
            })
        };
        if tls::is_hello(up) {
            let none = tls::Answers::default();
            let answers = answers.get(&it.server).unwrap_or(&none);
            tls::read(it, &mut seen, answers, trusted);
        } else if mqtt::is_connect(up) {
            if let Some(login) = mqtt::read(it, &mut seen, speaks_tls()) {
                logins.push((it.client.ip(), it.server, login));
            }
        } else if http::is_request(up) {
            http::read(it, &mut seen, speaks_tls());
        }
    }

    /// Routers that know no way.
    fn unreachable(&self, found: &mut Vec<Found>) {
        for (by, from, to, stamp) in &self.unreachable {
            let mut seen = Seen {
                client: SocketAddr::new(*from, 0),
                server: *to,
                until: self.until,
                cut: false,
                name: None,
                found: &mut *found,
                facts: Facts::default(),
            };
            if to.port() == 53 || to.port() == 123 || to.port() == 5353 {
                continue;
            }
            seen.clue(
                Cause::HostUnreachable,
                Strength::Proof,
                *stamp,
                format!("{by} answers that it cannot be reached"),
                format!("{by} 回应目的不可达"),
            );
        }
    }

    /// The evidence of the device with the trouble; the others are named.
    fn of_device(&mut self, found: Vec<Found>) -> Evidence {
        let mut evidence = Evidence::default();
        let mut devices: BTreeMap<IpAddr, (usize, usize)> = BTreeMap::new();
        for it in &self.conversations.all {
            devices.entry(it.client.ip()).or_default().1 += 1;
        }
        for it in &found {
            let trouble = it
                .clue()
                .is_some_and(|clue| clue.strength >= Strength::Class);
            // What devices do: their services have these ports, and names and time are asked for first.
            let weight = if is_of_devices(it.server.port()) {
                3
            } else {
                1
            };
            devices.entry(it.device).or_default().0 += weight * usize::from(trouble);
        }
        let most = devices.iter().max_by_key(|(_, weight)| **weight);
        let Some(device) = most.map(|(device, _)| *device) else {
            return evidence;
        };
        for (other, (trouble, _)) in &devices {
            if *other != device && *trouble > 0 && self.left_out.len() < OTHERS {
                self.left_out.push(Said::new(
                    format!("{other} has trouble, too; this answer is about {device}"),
                    format!("{other} 也有问题；这里的结论是关于 {device} 的"),
                ));
            }
        }
        let mut own: Vec<Found> = found.into_iter().filter(|it| it.device == device).collect();
        own.sort_by_key(|it| it.stamp);
        own = counted(own);
        // The facts of what is worst and last go first.
        let worst = own.iter().filter_map(|it| it.clue().map(|clue| (it, clue)));
        let worst = worst.max_by_key(|(it, clue)| {
            let strength = clue.strength.min(Strength::Specific);
            (strength, core::cmp::Reverse(clue.layer.rank()), it.stamp)
        });
        let first = worst.map(|(it, _)| it).or(own.last());
        for it in first.into_iter().chain(own.iter().rev()) {
            for (name, value) in &it.facts.0 {
                evidence.facts.note(name, value.clone());
            }
            if it.clue().is_some() {
                break;
            }
        }
        evidence.facts.note("device_address", device.to_string());
        let skip = own.len().saturating_sub(CAPTURE_CLUES);
        for it in own.into_iter().skip(skip) {
            match it.what {
                What::Clue(clue) => evidence.clues.push(clue),
                What::Passed(passed) => evidence.passed.push(passed),
            }
        }
        evidence
    }
}

/// One client identifier that two use: each login ends the other's connection.
fn take_overs(logins: &[(IpAddr, SocketAddr, Login)], found: &mut Vec<Found>) {
    let mut by_id: BTreeMap<(SocketAddr, &str), Vec<(IpAddr, &Login)>> = BTreeMap::new();
    for (device, server, login) in logins.iter().filter(|(_, _, it)| it.accepted) {
        let id = login.client_id.as_str();
        if !id.is_empty() {
            by_id
                .entry((*server, id))
                .or_default()
                .push((*device, login));
        }
    }
    for ((server, id), mut logins) in by_id {
        logins.sort_by_key(|(_, login)| login.at);
        let overs: Vec<_> = logins
            .windows(2)
            .filter(|pair| {
                let (before, next) = (pair[0].1, pair[1].1);
                before
                    .ended
                    .is_some_and(|end| end >= next.at && end.after(next.at) < TAKE_OVER)
            })
            .collect();
        let Some(pair) = overs.last().filter(|_| overs.len() >= 2) else {
            continue;
        };
        let (device, other, stamp) = (pair[1].0, pair[0].0, pair[1].1.at);
        let mut facts = Facts::default();
        facts.note("client_id", crate::quote(id));
        facts.note("other", other.to_string());
        let mut seen = Seen {
            client: SocketAddr::new(device, 0),
            server,
            until: stamp.at,
            cut: false,
            name: None,
            found: &mut *found,
            facts,
        };
        let (times, shown) = (overs.len(), crate::quote(id));
        seen.clue(
            Cause::DuplicateClientId,
            Strength::Proof,
            stamp,
            format!(
                "the client \"{shown}\" takes the connection of {other} over; so it went {times} ×"
            ),
            format!("客户端“{shown}”接管了 {other} 的连接；这样发生了 {times} 次"),
        );
    }
}

/// What went wrong once and went well later is no trouble any more.
fn without_healed(found: Vec<Found>) -> Vec<Found> {
    let passed: Vec<(IpAddr, SocketAddr, Stamp, Layer)> = found
        .iter()
        .filter_map(|it| {
            it.passed()
                .map(|passed| (it.device, it.server, it.stamp, passed.layer))
        })
        .collect();
    let healed = |it: &Found, clue: &Clue| {
        clue.cause != Cause::DuplicateClientId
            && passed.iter().any(|(device, server, stamp, layer)| {
                *device == it.device
                    && *server == it.server
                    && *stamp > it.stamp
                    && layer.rank() >= clue.layer.rank()
            })
    };
    found
        .iter()
        .filter(|it| it.clue().is_none_or(|clue| !healed(it, clue)))
        .cloned()
        .collect()
}

/// The same cause at the same server once, the last, with how often.
fn counted(found: Vec<Found>) -> Vec<Found> {
    let mut times: BTreeMap<(SocketAddr, Cause), u32> = BTreeMap::new();
    let mut kept: Vec<Found> = Vec::new();
    for mut it in found.into_iter().rev() {
        let Some(cause) = it.clue().map(|clue| clue.cause) else {
            let layer = it.passed().map(|passed| passed.layer);
            let known = kept.iter().rev().take(PASSED_COMPARED).any(|other| {
                other.server == it.server && other.passed().map(|passed| passed.layer) == layer
            });
            if !known {
                kept.push(it);
            }
            continue;
        };
        let count = times.entry((it.server, cause)).or_default();
        *count += 1;
        if *count == 1 {
            it.times = 1;
            kept.push(it);
        }
    }
    for it in &mut kept {
        let server = it.server;
        if let What::Clue(clue) = &mut it.what {
            let count = times.get(&(server, clue.cause)).copied().unwrap_or(1);
            it.times = count;
            if count > 1 {
                let en = format!("{} ({count} × in this capture)", clue.quote.en);
                let zh = format!("{}（此抓包中共 {count} 次）", clue.quote.zh);
                let whole = Clue::new(
                    clue.cause,
                    clue.strength,
                    place(it.stamp),
                    Said::new(en, zh),
                );
                clue.quote = whole.quote;
            }
        }
    }
    kept.reverse();
    kept
}

/// Ports of the services that devices use.
fn is_of_devices(port: u16) -> bool {
    matches!(
        port,
        53 | 123 | 5353 | 1883 | 8883 | 8884 | 8886 | 8080 | 8443 | 8000..=8003
    )
}

/// A connection that is taken over ends so soon after the new login.
const TAKE_OVER: Duration = Duration::from_secs(2);

/// Lines about what was left out, up to which further devices are named.
const OTHERS: usize = 8;

/// So many of the last kept pieces are compared with one that says that a layer worked.
const PASSED_COMPARED: usize = 64;
