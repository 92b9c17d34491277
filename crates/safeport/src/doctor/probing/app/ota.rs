//! The check for updates as xiaozhi makes it, and whether the addresses in the answer are of use.

use std::net::{IpAddr, SocketAddr};

use safeport_doctor::target::{Scheme, Service, Target};
use safeport_doctor::{Cause, Layer, Strength};
use safeport_net::holder::{Holder, Holding, Protocol, holder_of};
use safeport_net::surroundings::{self, Surroundings};
use safeport_settings::Said;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::{captive, http_passed, is_captive, judge_status, no_answer, undialled, websocket};
use crate::doctor::probing::alternates;
use crate::doctor::probing::http::{self, Answer};
use crate::doctor::probing::own::{joined, note_holder};
use crate::doctor::probing::run::{NoConnection, Run, open};
use crate::doctor::probing::spoken::Spoken;
use crate::doctor::probing::{Told, Vantage, dns, secure};
use crate::limits::{DOCTOR_HANDED_OUT, DOCTOR_HTTP, DOCTOR_LOOKUP, DOCTOR_OTHER_PORT};
use crate::probe::{Stream, both};

pub(in crate::doctor::probing) async fn look(run: &mut Run) -> Told {
    let tried = Said::new(
        "the check for updates as xiaozhi makes it (POST)",
        "按 xiaozhi 的方式检查更新（POST）",
    );
    let Some(target) = run.target.clone() else {
        return Told::nothing(tried, Said::default());
    };
    let mut stream = match run.dial().await {
        Ok(stream) => stream,
        Err(said) => return undialled(run, tried, Cause::HttpFailed, said),
    };
    let port = run.peer.map_or(80, |peer| peer.port());
    let request = check(&http::host_header(&target, port), http::path(&target));
    let got = run
        .ask(&mut stream, &request, DOCTOR_HTTP, Answer::is_whole)
        .await;
    drop(stream);
    let Some(answer) = Answer::read(&got.bytes) else {
        let said = no_answer(run, &got, "the check");
        return Told::misplaced(tried, said, true);
    };
    if let Some(date) = answer.date() {
        run.note_date(date);
    }
    if is_captive(run, &answer).await {
        let saw = captive(run, &answer);
        return Told::failed(tried, saw);
    }
    let is_gone = matches!(answer.status, 404 | 405 | 410);
    if let Some(said) = judge_status(run, &answer, "the check") {
        return match is_gone {
            true => Told::misplaced(tried, said, true),
            false => Told::failed(tried, said),
        };
    }
    let Ok(reply) = serde_json::from_str::<Value>(&answer.text()) else {
        return no_json(run, tried, &answer);
    };
    http_passed(run, "the check", &answer);
    let handed_out = addresses(&reply);
    if !handed_out.has_protocol {
        let keys: Vec<&str> = reply
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let keys = keys.join(", ");
        run.clue(
            Cause::ReplyWithoutProtocol,
            Strength::Specific,
            both!(
                "the reply has neither `websocket` nor `mqtt`: {keys}",
                "回复中没有 `websocket` 也没有 `mqtt`：{keys}"
            ),
        );
        return Told::failed(
            tried,
            both!(
                "JSON without `websocket` and `mqtt` ({keys})",
                "JSON 中没有 `websocket` 和 `mqtt`（{keys}）"
            ),
        );
    }
    judge_handed_out(run, tried, &target, &handed_out).await
}

fn no_json(run: &mut Run, tried: Said, answer: &Answer) -> Told {
    let begin = answer.text();
    let begin = crate::probe::shown(begin.trim()).to_string();
    let cause = match answer.is_page() {
        true => Cause::WrongServiceOrPortal,
        false => Cause::ReplyNotJson,
    };
    run.clue(
        cause,
        Strength::Specific,
        both!(
            "the reply to the check is no JSON: {begin}",
            "检查的回复不是 JSON：{begin}"
        ),
    );
    Told::misplaced(tried, both!("no JSON: {begin}", "不是 JSON：{begin}"), true)
}

/// The request of the firmware (78/xiaozhi-esp32, ota.cc), of a board that does not exist: its
/// address is a locally administered one that is the same each time, so that servers which note
/// every board note one.
pub(in crate::doctor::probing) fn check(host: &str, path: &str) -> Vec<u8> {
    const MAC: &str = "02:5a:fe:00:d0:c7";
    const UUID: &str = "00000000-0000-4000-8000-5afe0000d0c7";
    let body = serde_json::json!({
        "version": 2,
        "language": "zh-CN",
        "flash_size": 16_777_216,
        "minimum_free_heap_size": 8_000_000,
        "mac_address": MAC,
        "uuid": UUID,
        "chip_model_name": "esp32s3",
        "application": {
            "name": "xiaozhi",
            "version": "2.0.0",
            "compile_time": "Jan  1 2026T00:00:00Z",
            "idf_version": "v5.5",
        },
        "board": { "type": "safeport-doctor", "name": "safeport-doctor", "mac": MAC },
    })
    .to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: safeport-doctor/2.0.0\r\n\
         Activation-Version: 1\r\nDevice-Id: {MAC}\r\nClient-Id: {UUID}\r\nAccept-Language: zh-CN\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Whether this is a reply to the check that a device can go on with.
pub(in crate::doctor::probing) fn is_reply(answer: &Answer) -> bool {
    answer.status == 200
        && serde_json::from_str::<Value>(&answer.text())
            .is_ok_and(|reply| addresses(&reply).has_protocol)
}

/// What a reply sends a device to.
struct HandedOut {
    has_protocol: bool,
    urls: Vec<Target>,
    /// What stands where an address belongs, and is none.
    unreadable: Vec<String>,
}

fn addresses(reply: &Value) -> HandedOut {
    let text = |section: &str, key: &str| {
        let text = reply.get(section)?.get(key)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    let websocket = text("websocket", "url");
    let mqtt = text("mqtt", "endpoint");
    let has_protocol = websocket.is_some() || mqtt.is_some();
    let mut unreadable = Vec::new();
    let mut read = |url: String| match Target::read(&url) {
        // A host alone, or a port that is none, is no URL.
        Ok(target) if target.invalid_port().is_none() => Some(target),
        _ => {
            unreadable.push(url);
            None
        }
    };
    let mut urls: Vec<Target> = [websocket, text("firmware", "url")]
        .into_iter()
        .flatten()
        .filter_map(&mut read)
        .collect();
    if let Some(target) = mqtt.and_then(read) {
        // TLS on 8883 and nowhere else (78/xiaozhi-esp32, mqtt_protocol.cc).
        let port = target.port.unwrap_or(8883);
        let scheme = if port == 8883 {
            Scheme::Mqtts
        } else {
            Scheme::Mqtt
        };
        urls.push(target.with_port(port).with_scheme(scheme));
    }
    urls.truncate(DOCTOR_HANDED_OUT);
    HandedOut {
        has_protocol,
        urls,
        unreadable,
    }
}

async fn judge_handed_out(run: &mut Run, tried: Said, asked: &Target, reply: &HandedOut) -> Told {
    let mut saw = vec![Said::new("a reply with a protocol", "回复包含协议")];
    let mut is_broken = false;
    for text in &reply.unreadable {
        let text = crate::probe::shown(text).to_string();
        run.evidence.facts.note("told", text.clone());
        let said = both!(
            "\"{text}\", which is handed out, is no address",
            "下发的“{text}”不是地址"
        );
        run.clue(Cause::HandedOutUnreachable, Strength::Proof, said.clone());
        saw.push(said);
        is_broken = true;
    }
    for handed_out in &reply.urls {
        let url = handed_out.url();
        match reach(run, asked, handed_out).await {
            Reached::Fine(said) => {
                let Said { en, zh } = said;
                run.pass(
                    Layer::Tcp,
                    both!("{url}, which is handed out: {en}", "下发的地址 {url}：{zh}"),
                );
                saw.push(Said::new(format!("{url}: {en}"), format!("{url}：{zh}")));
            }
            Reached::Foreign(stranger) => {
                let Said { en, zh } = accuse(run, handed_out, stranger);
                saw.push(Said::new(format!("{url}: {en}"), format!("{url}：{zh}")));
                is_broken = true;
            }
            Reached::Nowhere(said) => {
                let Said { en, zh } = said;
                run.evidence.facts.note("told", url.clone());
                run.clue(
                    Cause::HandedOutUnreachable,
                    Strength::Proof,
                    both!("{url}, which is handed out: {en}", "下发的地址 {url}：{zh}"),
                );
                saw.push(Said::new(format!("{url}: {en}"), format!("{url}：{zh}")));
                is_broken = true;
            }
        }
    }
    let saw = joined(&saw);
    match is_broken {
        true => Told::failed(tried, saw).proving(Said::new(
            "the server answers devices, and sends them to an address where nobody answers as they need it",
            "服务器能回应设备，但把它们引到了没有正确应答的地址",
        )),
        false => Told::passed(tried, saw).excluding(Said::new("the update address", "OTA 地址")),
    }
}

/// What a device finds at an address that it was handed out.
enum Reached {
    /// What it needs, as far as one connection tells.
    Fine(Said),
    /// Nobody.
    Nowhere(Said),
    /// Somebody who does not speak WebSocket.
    Foreign(Stranger),
}

/// Who has the port of a WebSocket server, and is none.
struct Stranger {
    peer: SocketAddr,
    /// The first line of the answer, or how the connection ended.
    answer: String,
}

/// Whether a device comes to an address that it was handed out: one connection.
async fn reach(run: &Run, asked: &Target, handed_out: &Target) -> Reached {
    let Some(port) = handed_out.likely_port() else {
        return Reached::Fine(Said::new("no port", "没有端口"));
    };
    let from_loopback = run.addresses.iter().all(IpAddr::is_loopback);
    if handed_out.host.is_loopback() && !(asked.host.is_loopback() || from_loopback) {
        return Reached::Nowhere(Said::new(
            "every device is that itself",
            "对设备来说，这就是设备自己",
        ));
    }
    let addresses = match handed_out.host.ip() {
        Some(ip) => vec![ip],
        None if handed_out.host == asked.host => run.addresses.clone(),
        None => {
            let name = handed_out.host.to_string();
            let look = move || surroundings::resolve(&name, DOCTOR_LOOKUP);
            tokio::task::spawn_blocking(look)
                .await
                .ok()
                .and_then(Result::ok)
                .unwrap_or_default()
        }
    };
    let Some(ip) = addresses.first().copied() else {
        return Reached::Nowhere(Said::new("the name leads nowhere", "名称无法解析"));
    };
    if let Some(why) = off_limits(&ip, run) {
        return why;
    }
    let public = run.order.vantage == Vantage::Public;
    if let Some((Strength::Specific, why)) = dns::unfit(&ip, public).filter(|_| !ip.is_loopback()) {
        return Reached::Nowhere(why);
    }
    let peer = SocketAddr::new(ip, port);
    let until = run
        .until
        .min(Instant::now() + crate::limits::DOCTOR_CONNECT);
    match open(peer, until).await {
        Ok(stream) if handed_out.service() == Service::Websocket => {
            speaks_websocket(run, stream, handed_out, peer).await
        }
        Ok(_) => Reached::Fine(owner(peer)),
        Err(
            why @ (NoConnection::Refused | NoConnection::Silent | NoConnection::Unreachable(_)),
        ) => Reached::Nowhere(why.said()),
        Err(why) => Reached::Fine(why.said()),
    }
}

/// Where no connection is made, whoever hands it out: an address that exists on one cable only, and hosts
/// on the internet that nobody named to us.
fn off_limits(ip: &IpAddr, run: &Run) -> Option<Reached> {
    let is_link_local = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    if is_link_local {
        return Some(Reached::Nowhere(both!(
            "{ip} is an address for one cable, which no device gets to",
            "{ip} 是链路本地地址，设备无法访问"
        )));
    }
    let is_named = run.addresses.contains(ip) || Surroundings::look().is_own(*ip);
    let is_public = safeport_settings::Reach::of(*ip) == safeport_settings::Reach::Public;
    (is_public && !is_named).then(|| {
        Reached::Fine(Said::new(
            "another host, which was not tried; ask about it by its own address",
            "是另一台主机，未测试；请用它自己的地址检查",
        ))
    })
}

/// Asks for the upgrade on a connection to an address that was handed out. Whether the certificate is
/// one for devices is another question: `safeport doctor` of that address.
async fn speaks_websocket(
    run: &Run,
    stream: TcpStream,
    handed_out: &Target,
    peer: SocketAddr,
) -> Reached {
    let until = run.until.min(Instant::now() + DOCTOR_OTHER_PORT);
    let mut stream: Box<dyn Stream> = match handed_out.wants_tls() {
        Some(true) => {
            let secured = secure::connect(stream, &handed_out.host, run.order.profile);
            match timeout_at(until, secured).await {
                Ok(Ok(secured)) => Box::new(secured.stream),
                _ => {
                    let answer = "no TLS".to_owned();
                    return Reached::Foreign(Stranger { peer, answer });
                }
            }
        }
        _ => Box::new(stream),
    };
    let path = http::path(handed_out);
    let is_mqtt = websocket::carries_mqtt(path);
    let request = websocket::upgrade(&handed_out.host.in_url(), path, is_mqtt);
    let got = alternates::exchange(&mut stream, &request, until).await;
    match Answer::read(&got.bytes) {
        // A token that is not ours to know may be wanted first.
        Some(answer) if matches!(answer.status, 101 | 401 | 403) => Reached::Fine(owner(peer)),
        Some(answer) => Reached::Foreign(Stranger {
            peer,
            answer: answer.line,
        }),
        None => Reached::Foreign(Stranger {
            peer,
            answer: Spoken::of(&got).word(),
        }),
    }
}

/// Somebody else sits where devices are sent: on this machine with name and number.
fn accuse(run: &mut Run, handed_out: &Target, stranger: Stranger) -> Said {
    let Stranger { peer, answer } = stranger;
    let (url, port) = (handed_out.url(), peer.port());
    run.evidence.facts.note("told", url.clone());
    let Some(holder) = holder_here(peer).filter(|holder| is_another(run, holder)) else {
        let saw = both!(
            "the upgrade to WebSocket is answered with {answer}",
            "升级到 WebSocket 得到的回应是 {answer}"
        );
        let Said { en, zh } = saw.clone();
        run.clue(
            Cause::HandedOutMismatch,
            Strength::Specific,
            both!("{url}, which is handed out: {en}", "下发的地址 {url}：{zh}"),
        );
        return saw;
    };
    let saw = both!(
        "port {port} is held by {holder}, which answers the upgrade to WebSocket with {answer}",
        "端口 {port} 由 {holder} 占用，它对 WebSocket 升级的回应是 {answer}"
    );
    // Whoever has the port that was asked is noted already, and is not meant.
    for name in ["pid", "program", "command"] {
        run.evidence.facts.0.remove(name);
    }
    note_holder(run, &holder);
    run.evidence.facts.0.insert("port", port.to_string());
    let Said { en, zh } = saw.clone();
    run.clue(
        Cause::PortInUse,
        Strength::Proof,
        both!("{url}, which is handed out: {en}", "下发的地址 {url}：{zh}"),
    );
    saw
}

/// Whether a program is neither the one that was asked nor one that stands in front of servers: what
/// is wrong behind a proxy, only its own probe tells.
fn is_another(run: &Run, holder: &Holder) -> bool {
    const PROXIES: [&str; 7] = [
        "nginx",
        "caddy",
        "haproxy",
        "traefik",
        "docker-proxy",
        "apache2",
        "frps",
    ];
    let is_proxy = holder
        .program
        .as_deref()
        .is_some_and(|program| PROXIES.contains(&program));
    let asked = run.peer.and_then(holder_here);
    !is_proxy && asked.is_some_and(|asked| asked.pid != holder.pid)
}

/// Which program has a port of this machine.
fn holder_here(peer: SocketAddr) -> Option<Box<Holder>> {
    let is_own = Surroundings::look().is_own(peer.ip());
    match is_own.then(|| holder_of(Protocol::Tcp, peer)) {
        Some(Holding::Program(holder)) => Some(holder),
        _ => None,
    }
}

/// On this machine: which program has the port.
fn owner(peer: SocketAddr) -> Said {
    match holder_here(peer) {
        Some(holder) => both!("it takes connections; {holder}", "接受连接；{holder}"),
        None => Said::new("it takes connections", "接受连接"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_in_a_reply_is_found_and_mqtt_has_tls_on_its_port_alone() {
        let reply = serde_json::json!({
            "websocket": { "url": "ws://192.168.1.20:8000/xiaozhi/v1/", "token": "" },
            "mqtt": { "endpoint": "hub.example:1883" },
            "firmware": { "version": "1", "url": "http://192.168.1.20:8002/x.bin" },
        });
        let handed_out = addresses(&reply);
        assert!(handed_out.has_protocol);
        let urls: Vec<String> = handed_out.urls.iter().map(Target::url).collect();
        assert_eq!(
            urls,
            [
                "ws://192.168.1.20:8000/xiaozhi/v1/",
                "http://192.168.1.20:8002/x.bin",
                "mqtt://hub.example:1883",
            ]
        );
        let tls = addresses(&serde_json::json!({ "mqtt": { "endpoint": "hub.example" } }));
        assert_eq!(tls.urls[0].url(), "mqtts://hub.example:8883");
        let odd = addresses(&serde_json::json!({ "websocket": { "url": "ws://你的ip:端口号/" } }));
        assert!(odd.has_protocol && odd.urls.is_empty() && odd.unreadable.len() == 1);
        let none = addresses(&serde_json::json!({ "firmware": { "url": "" }, "websocket": {} }));
        assert!(!none.has_protocol && none.urls.is_empty());
    }
}
