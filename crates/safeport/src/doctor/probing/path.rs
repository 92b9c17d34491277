//! Stage 9: whether large packets come through, and whether both families of addresses lead to the
//! server.

use std::net::{IpAddr, SocketAddr};

use safeport_doctor::target::Service;
use safeport_doctor::{Cause, Layer, Strength};
use safeport_net::surroundings::Surroundings;
use safeport_settings::Said;
use tokio::time::Instant;

use super::Told;
use super::http::{self, Answer};
use super::own::joined;
use super::run::{End, NoConnection, Run, open};
use crate::limits::{DOCTOR_CONNECT, DOCTOR_NEXT_ANSWER};
use crate::probe::both;

/// Bytes of a request that fill one packet of most paths, of those through a tunnel, and of the
/// narrowest ones that are common.
const SIZES: [usize; 3] = [1400, 1360, 1200];

pub(super) async fn look(run: &mut Run) -> Told {
    let tried = Said::new(
        "requests of 1400, 1360 and 1200 bytes; IPv4 and IPv6",
        "1400、1360 和 1200 字节的请求；IPv4 与 IPv6",
    );
    let mut saw = Vec::new();
    let mut is_broken = false;
    if run.service() != Service::Mqtt {
        match large(run).await {
            Some((said, true)) => {
                run.clue(Cause::MtuBlackHole, Strength::Specific, said.clone());
                saw.push(said);
                is_broken = true;
            }
            Some((said, false)) => saw.push(said),
            None => {}
        }
    }
    if let Some((said, cause)) = other_family(run).await {
        if let Some(cause) = cause {
            run.clue(cause, Strength::Class, said.clone());
            is_broken = true;
        }
        saw.push(said);
    }
    let said = joined(&saw);
    match (saw.is_empty(), is_broken) {
        (_, true) => Told::failed(tried, said),
        (true, _) => Told::nothing(
            tried,
            Said::new("nothing that could be padded", "没有可以填充的请求"),
        ),
        (false, _) => {
            run.pass(Layer::Tcp, said.clone());
            Told::passed(tried, said).excluding(Said::new(
                "a path that drops large packets",
                "丢弃大数据包的路径",
            ))
        }
    }
}

/// What came of large requests, and whether that is a fault. None: they could not be sent.
async fn large(run: &mut Run) -> Option<(Said, bool)> {
    let mut lost = None;
    for size in SIZES {
        if !run.can_connect() {
            break;
        }
        let Ok(mut stream) = run.dial().await else {
            break;
        };
        let request = padded(run, size)?;
        let got = run
            .ask(&mut stream, &request, DOCTOR_NEXT_ANSWER, Answer::has_head)
            .await;
        match (got.end, lost) {
            (End::Silent, _) if got.bytes.is_empty() => lost = Some(size),
            (_, None) => {
                let said = both!(
                    "a request of {size} bytes comes through",
                    "{size} 字节的请求可以通过"
                );
                return Some((said, false));
            }
            (_, Some(lost)) => {
                let said = both!(
                    "a request of {size} bytes is answered, one of {lost} is not",
                    "{size} 字节的请求有回应，{lost} 字节的没有"
                );
                return Some((said, true));
            }
        }
    }
    // Silence for all sizes is not a matter of size.
    None
}

fn padded(run: &Run, size: usize) -> Option<Vec<u8>> {
    let target = run.target.as_ref()?;
    let host = http::host_header(target, run.peer?.port());
    let bare = http::get("GET", &host, "/", "X-Padding: \r\n").len();
    let padding = "x".repeat(size.saturating_sub(bare));
    Some(http::get(
        "GET",
        &host,
        "/",
        &format!("X-Padding: {padding}\r\n"),
    ))
}

/// A name with addresses of both families: whether the other one leads there, too.
async fn other_family(run: &mut Run) -> Option<(Said, Option<Cause>)> {
    let peer = run.peer?;
    let other = run
        .addresses
        .iter()
        .copied()
        .find(|ip| ip.is_ipv4() != peer.ip().is_ipv4())?;
    if let IpAddr::V6(v6) = other
        && v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
    {
        let said = both!(
            "{other}: this network translates IPv4 (NAT64)",
            "{other}：当前网络转换 IPv4（NAT64）"
        );
        return Some((said, None));
    }
    let here = Surroundings::look();
    let has_v6 = here
        .addresses
        .iter()
        .any(|address| matches!(address.ip, IpAddr::V6(ip) if !ip.is_loopback() && !ip.is_unicast_link_local()));
    if other.is_ipv6() && !has_v6 && !other.is_loopback() {
        let said = both!(
            "{other} cannot be tried: this machine has no IPv6",
            "无法测试 {other}：本机没有 IPv6"
        );
        return Some((said, None));
    }
    if run.connects_left() == 0 {
        return None;
    }
    run.count_opened(1);
    let until = run.until.min(Instant::now() + DOCTOR_CONNECT);
    match open(SocketAddr::new(other, peer.port()), until).await {
        Ok(_) => Some((
            both!("{other} takes connections, too", "{other} 也接受连接"),
            None,
        )),
        // localhost is ::1 everywhere, and servers of one family are no fault there.
        Err(_) if other.is_loopback() => None,
        Err(why @ (NoConnection::Refused | NoConnection::Silent)) => {
            let Said { en, zh } = why.said();
            let cause = other.is_ipv6().then_some(Cause::Ipv6Broken);
            Some((
                Said::new(format!("{other}: {en}"), format!("{other}：{zh}")),
                cause,
            ))
        }
        Err(why) => {
            let Said { en, zh } = why.said();
            Some((
                Said::new(format!("{other}: {en}"), format!("{other}：{zh}")),
                None,
            ))
        }
    }
}
