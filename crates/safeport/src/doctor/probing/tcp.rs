//! Stage 3: from an address to an open connection, how long that takes, and whether the other side
//! speaks first.

use std::net::SocketAddr;
use std::time::Duration;

use safeport_doctor::{Cause, Layer, Strength};
use safeport_settings::Said;
use tokio::net::TcpStream;

use super::Told;
use super::run::{End, NoConnection, Run};
use super::spoken::Spoken;
use crate::limits::{DOCTOR_ADDRESSES, DOCTOR_BANNER};
use crate::probe::both;

pub(super) async fn look(run: &mut Run) -> Told {
    let Some(port) = run.port() else {
        let tried = Said::new("a port", "端口");
        let saw = Said::new("none is given", "没有给出端口");
        return Told::misplaced(tried, saw, false);
    };
    let mut first = None;
    let mut missed = Vec::new();
    for ip in run.addresses.clone().into_iter().take(DOCTOR_ADDRESSES) {
        let peer = SocketAddr::new(ip, port);
        run.peer = Some(peer);
        match run.open().await {
            Ok(opened) => {
                first = Some(opened);
                break;
            }
            Err(why) => missed.push((peer, why)),
        }
    }
    let peer = run.peer.map_or_else(String::new, |peer| peer.to_string());
    let tried = both!("a connection to {peer}, three times", "连接 {peer}，共三次");
    let Some((stream, took)) = first else {
        return broken(run, tried, &missed);
    };
    let (banner, round_trips) = tokio::join!(listen(stream), more(run, took));
    let fastest = round_trips.iter().min().copied().unwrap_or(took);
    run.round_trip = Some(fastest);
    let shown = milliseconds(&round_trips);
    run.evidence
        .facts
        .note("rtt_ms", fastest.as_millis().to_string());
    for (missed, _) in &missed {
        run.evidence.facts.note("other", missed.to_string());
    }
    if banner.1 == End::Reset {
        run.clue(
            Cause::ResetOnAccept,
            Strength::Proof,
            both!(
                "{peer} takes the connection and resets it at once",
                "{peer} 接受连接后立即重置"
            ),
        );
        return Told::misplaced(
            tried,
            both!(
                "taken in {shown} ms and reset at once",
                "{shown} 毫秒内接受，随即被重置"
            ),
            true,
        )
        .proving(Said::new(
            "something in front of the server turns this machine away, or the server does",
            "服务器前面的设备或服务器本身拒绝了本机",
        ));
    }
    run.banner = banner.0;
    run.pass(
        Layer::Tcp,
        both!(
            "{peer} takes connections in {shown} ms",
            "{peer} 在 {shown} 毫秒内接受连接"
        ),
    );
    if let Some(told) = too_slow(run, &tried, &peer, fastest, &shown) {
        return told;
    }
    let mut told = Told::passed(
        tried,
        both!("taken in {shown} ms", "{shown} 毫秒内接受连接"),
    );
    told.excludes.push(Said::new(
        "a closed port, a firewall in between",
        "端口关闭、中间的防火墙",
    ));
    if !run.banner.is_empty() {
        let line = Spoken::of(&super::run::Got {
            bytes: run.banner.clone(),
            end: End::Enough,
        });
        let line = line.word();
        told.saw = both!(
            "taken in {shown} ms; it speaks first: {line}",
            "{shown} 毫秒内接受连接；对方先发言：{line}"
        );
    }
    told
}

/// The device would have given up by now: even the fastest connection took longer than it waits. Its
/// own way, over Wi-Fi, is no shorter than ours.
fn too_slow(
    run: &mut Run,
    tried: &Said,
    peer: &str,
    fastest: Duration,
    shown: &str,
) -> Option<Told> {
    let profile = run.order.profile?;
    let waits = profile.patience.connect;
    if fastest <= waits {
        return None;
    }
    let facts = &mut run.evidence.facts;
    let (took, limit) = (fastest.as_millis(), waits.as_millis());
    facts.note("timeout_ms", limit.to_string());
    facts.note("wait_ms", long_enough(fastest).to_string());
    let (name, name_zh) = (profile.says, profile.says_zh);
    run.clue(
        Cause::TimeoutTooShort,
        Strength::Specific,
        both!(
            "{peer} takes connections after {took} ms; {name} gives up after {limit} ms",
            "{peer} 在 {took} 毫秒后才接受连接；{name_zh}只等 {limit} 毫秒"
        ),
    );
    let saw = both!(
        "taken in {shown} ms; the device gives up after {limit} ms",
        "{shown} 毫秒内接受连接；设备只等 {limit} 毫秒"
    );
    let proves = Said::new(
        "the port is open and the way to it too long for the device's timeout",
        "端口是开放的，但往返时间超过设备的超时",
    );
    let excludes = Said::new(
        "a closed port, a firewall in between",
        "端口关闭、中间的防火墙",
    );
    Some(
        Told::failed(tried.clone(), saw)
            .proving(proves)
            .excluding(excludes),
    )
}

/// A timeout for a way that takes so long, in milliseconds: twice that, in halves of a second.
/// ESPEasy takes 4000 at most.
fn long_enough(round_trip: Duration) -> u128 {
    (round_trip.as_millis() * 2)
        .next_multiple_of(500)
        .clamp(1000, 4000)
}

/// Two more, of which later stages make use.
async fn more(run: &mut Run, first: Duration) -> Vec<Duration> {
    let mut round_trips = vec![first];
    for _ in 0..2 {
        // A server for one client alone takes no second one.
        let Ok((stream, took)) = run.open().await else {
            break;
        };
        round_trips.push(took);
        run.keep(stream);
    }
    round_trips
}

/// What the other side says unasked.
async fn listen(mut stream: TcpStream) -> (Vec<u8>, End) {
    use tokio::io::AsyncReadExt;
    let mut banner = vec![0; 512];
    match tokio::time::timeout(DOCTOR_BANNER, stream.read(&mut banner)).await {
        Ok(Ok(0)) => (Vec::new(), End::Closed),
        Ok(Ok(count)) => {
            banner.truncate(count);
            (banner, End::Enough)
        }
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
            (Vec::new(), End::Reset)
        }
        Ok(Err(_)) => (Vec::new(), End::Closed),
        Err(_) => (Vec::new(), End::Silent),
    }
}

/// No address took a connection.
fn broken(run: &mut Run, tried: Said, missed: &[(SocketAddr, NoConnection)]) -> Told {
    let Some((peer, why)) = missed.first() else {
        let saw = Said::new("there is no address to connect to", "没有可以连接的地址");
        return Told::failed(tried, saw);
    };
    let (cause, strength, proves) = match why {
        NoConnection::Refused if run.is_own && is_bound_to_loopback(*peer) => (
            Cause::NotReachableFromLan,
            Strength::Proof,
            Said::new(
                "a program listens on this port for this machine alone (127.0.0.1)",
                "有程序监听该端口，但只接受本机连接（127.0.0.1）",
            ),
        ),
        NoConnection::Refused => (
            Cause::NothingListens,
            Strength::Specific,
            Said::new(
                "the machine is up and nothing listens on that port",
                "机器在线，但没有程序监听该端口",
            ),
        ),
        NoConnection::Silent => (
            Cause::TcpTimeout,
            Strength::Specific,
            Said::new(
                "a firewall drops the packets, or no machine has this address",
                "防火墙丢弃了数据包，或没有机器使用该地址",
            ),
        ),
        NoConnection::Unreachable(_) if run.is_without_ipv4(peer) => (
            Cause::Nat64Literal,
            Strength::Class,
            Said::new(
                "this network carries IPv6 only, and the target is an IPv4 address",
                "当前网络只有 IPv6，而目标是 IPv4 地址",
            ),
        ),
        NoConnection::Unreachable(_) => (
            Cause::HostUnreachable,
            Strength::Specific,
            Said::new(
                "no way leads to this address, or its machine is off",
                "没有通往该地址的路由，或该机器已关机",
            ),
        ),
        // Taken and reset before anybody could look at it.
        NoConnection::Other(error) if error.kind() == std::io::ErrorKind::ConnectionReset => (
            Cause::ResetOnAccept,
            Strength::Proof,
            Said::new(
                "something in front of the server turns this machine away, or the server does",
                "服务器前面的设备或服务器本身拒绝了本机",
            ),
        ),
        NoConnection::Other(_) | NoConnection::Spent => (
            Cause::TcpFailed,
            Strength::Class,
            Said::new("there is no connection", "没有连接"),
        ),
    };
    let Said { en, zh } = why.said();
    run.clue(
        cause,
        strength,
        Said::new(format!("{peer}: {en}"), format!("{peer}：{zh}")),
    );
    Told::misplaced(
        tried,
        Said::new(format!("{peer}: {en}"), format!("{peer}：{zh}")),
        false,
    )
    .proving(proves)
}

/// Whether a program listens on this port of 127.0.0.1 and not on this address.
fn is_bound_to_loopback(peer: SocketAddr) -> bool {
    use safeport_net::holder::{Holding, Protocol, holder_of};
    let is_held = |at: SocketAddr| {
        matches!(
            holder_of(Protocol::Tcp, at),
            Holding::ThisProcess
                | Holding::Program(_)
                | Holding::OtherUser { .. }
                | Holding::OutsideOurProcesses { .. }
        )
    };
    let loopback = SocketAddr::from(([127, 0, 0, 1], peer.port()));
    !peer.ip().is_loopback() && is_held(loopback) && !is_held(peer)
}

impl Run {
    fn is_without_ipv4(&self, peer: &SocketAddr) -> bool {
        let here = safeport_net::surroundings::Surroundings::look();
        let is_literal = self.target.as_ref().is_some_and(|t| t.host.ip().is_some());
        is_literal && peer.is_ipv4() && here.outgoing.is_some_and(|ip| ip.is_ipv6())
    }
}

/// `0.4, 0.2, 0.2`.
fn milliseconds(times: &[Duration]) -> String {
    let shown: Vec<String> = times
        .iter()
        .map(|time| format!("{:.1}", time.as_secs_f64() * 1000.0))
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_named_that_is_twice_the_way_and_that_the_device_takes() {
        let wait = |ms| long_enough(Duration::from_millis(ms));
        assert_eq!([180, 600, 1800, 9000].map(wait), [1000, 1500, 4000, 4000]);
    }
}
