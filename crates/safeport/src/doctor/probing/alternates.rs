//! Stage 3b: which other port of the host answers as the device needs it. Each is asked once, the
//! question that suits it.

use std::net::SocketAddr;

use safeport_doctor::plan::OTHER_PORTS;
use safeport_doctor::target::{Scheme, Service, Target};
use safeport_doctor::{Cause, Layer, Strength};
use safeport_settings::Said;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::app::{mqtt, ota, websocket};
use super::http::{self, Answer};
use super::run::{End, Got, NoConnection, Run, open};
use super::spoken::Spoken;
use super::{Told, secure};
use crate::limits::{DOCTOR_OTHER_BYTES, DOCTOR_OTHER_CONNECT, DOCTOR_OTHER_PORT};
use crate::probe::{Stream, both};

pub(super) async fn look(run: &mut Run) -> Told {
    let tried = Said::new(
        "other ports of the same host, one question each",
        "同一主机的其他端口，每个端口只问一次",
    );
    let Some((target, ip)) = run.target.clone().zip(run.addresses.first().copied()) else {
        return Told::nothing(tried, Said::default());
    };
    let given = run.port();
    let ports = order(run.service());
    let mut tasks = JoinSet::new();
    for port in ports.iter().copied().filter(|port| Some(*port) != given) {
        if run.connects_left() == 0 {
            break;
        }
        run.count_opened(1);
        let peer = SocketAddr::new(ip, port);
        let target = target.clone();
        let until = run.until.min(Instant::now() + DOCTOR_OTHER_PORT);
        tasks.spawn(async move { ask(target, peer, until).await });
    }
    let mut found = Vec::new();
    let mut is_up = false;
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(answered)) => found.push(answered),
            Ok(Err(why)) => is_up |= matches!(why, NoConnection::Refused),
            Err(_) => {}
        }
    }
    found.sort_by_key(|found: &Found| ports.iter().position(|port| *port == found.port));
    // Who named a host and no port asked what is there.
    match run.port() {
        None if target.service() == Service::Unknown => judge_host(run, tried, &found, is_up),
        _ => judge(run, tried, &target, &found),
    }
}

/// The likeliest ports for this service first.
fn order(service: Service) -> Vec<u16> {
    let first: &[u16] = match service {
        Service::Mqtt => &[1883, 8883, 8884],
        Service::Ota => &[8002, 8003, 8000, 8080, 80, 443],
        Service::Websocket => &[8000, 8002, 8080, 80, 443],
        Service::Http | Service::Unknown => &[],
    };
    let rest = OTHER_PORTS.iter().filter(|port| !first.contains(port));
    first.iter().chain(rest).copied().collect()
}

/// A port that answered.
struct Found {
    port: u16,
    scheme: Option<Scheme>,
    /// It answers the device's own question as the device needs it.
    serves: bool,
    what: String,
}

/// Asks one port.
async fn ask(target: Target, peer: SocketAddr, until: Instant) -> Result<Found, NoConnection> {
    let port = peer.port();
    let soon = until.min(Instant::now() + DOCTOR_OTHER_CONNECT);
    let stream = open(peer, soon).await?;
    let is_tls = matches!(port, 443 | 8443 | 8883 | 8884);
    let mut stream: Box<dyn Stream> = if is_tls {
        match timeout_at(until, secure::connect(stream, &target.host, None)).await {
            Ok(Ok(secured)) => Box::new(secured.stream),
            _ => {
                return Ok(Found {
                    port,
                    scheme: None,
                    serves: false,
                    what: "no TLS".to_owned(),
                });
            }
        }
    } else {
        Box::new(stream)
    };
    let service = match (port, target.service()) {
        (1883 | 8883 | 8884, _) => Service::Mqtt,
        (_, Service::Mqtt) => Service::Http,
        (_, service) => service,
    };
    let at = target.with_port(port);
    let scheme = scheme(service, is_tls);
    let at = at.with_scheme(scheme);
    let question = match service {
        Service::Mqtt => mqtt::connect(4, &mqtt::made_up_id(), None),
        Service::Ota => ota::check(&http::host_header(&at, port), http::path(&at)),
        Service::Websocket => websocket::upgrade(&at.host.in_url(), http::path(&at), false),
        Service::Http | Service::Unknown => {
            let path = http::path(&target);
            http::get("GET", &http::host_header(&at, port), path, "")
        }
    };
    let got = exchange(&mut stream, &question, until).await;
    let answer = Answer::read(&got.bytes);
    let serves = match (service, &answer) {
        (Service::Mqtt, _) => {
            target.service() == Service::Mqtt && mqtt::code_of(&got.bytes).is_some()
        }
        (Service::Ota, Some(answer)) => ota::is_reply(answer),
        (Service::Websocket, Some(answer)) => answer.line.starts_with("HTTP/1.1 101"),
        (Service::Http, Some(answer)) => {
            target.service() == Service::Http && (200..300).contains(&answer.status)
        }
        (Service::Unknown, Some(_)) => true,
        (_, None) => false,
    };
    let what = match answer {
        Some(answer) => answer.line,
        None => Spoken::of(&got).word(),
    };
    Ok(Found {
        port,
        scheme: Some(scheme),
        serves,
        what,
    })
}

fn scheme(service: Service, is_tls: bool) -> Scheme {
    match (service, is_tls) {
        (Service::Mqtt, false) => Scheme::Mqtt,
        (Service::Mqtt, true) => Scheme::Mqtts,
        (Service::Websocket, false) => Scheme::Ws,
        (Service::Websocket, true) => Scheme::Wss,
        (_, false) => Scheme::Http,
        (_, true) => Scheme::Https,
    }
}

/// A question and its answer, the head of one of HTTP at least.
pub(super) async fn exchange(stream: &mut Box<dyn Stream>, question: &[u8], until: Instant) -> Got {
    let mut bytes = Vec::new();
    let talk = async {
        stream.write_all(question).await.ok()?;
        stream.flush().await.ok()?;
        let mut buffer = [0; 2048];
        while bytes.len() < DOCTOR_OTHER_BYTES {
            let is_answered = match bytes.first() {
                None => false,
                Some(b'H') => Answer::is_whole(&bytes),
                Some(_) => bytes.len() >= 4,
            };
            if is_answered {
                break;
            }
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            }
        }
        Some(())
    };
    let _ = timeout_at(until, talk).await;
    Got {
        bytes,
        end: End::Closed,
    }
}

/// `1883: MQTT; 8080: HTTP/1.1 200 OK`.
fn lines(found: &[Found]) -> String {
    let lines: Vec<String> = found
        .iter()
        .map(|found| format!("{}: {}", found.port, found.what))
        .collect();
    lines.join("; ")
}

/// What there is on a host of which no port was named.
fn judge_host(run: &mut Run, tried: Said, found: &[Found], is_up: bool) -> Told {
    let lines = lines(found);
    let host = run.target.as_ref().map(|target| target.host.to_string());
    let host = host.unwrap_or_default();
    if lines.is_empty() {
        let ports = OTHER_PORTS.map(|port| port.to_string()).join(", ");
        let saw = both!(
            "{host}: none of the usual ports takes connections ({ports})",
            "{host}：常用端口都不接受连接（{ports}）"
        );
        let cause = match is_up {
            true => Cause::NothingListens,
            false => Cause::TcpTimeout,
        };
        run.clue(cause, Strength::Specific, saw.clone());
        return Told::misplaced(tried, saw, false);
    }
    run.pass(Layer::Tcp, format!("{host}: {lines}"));
    Told::passed(tried, Said::same(&lines)).proving(both!(
        "name one of these ports to look deeper, such as {host}:1883",
        "要进一步检查，请写明其中一个端口，例如 {host}:1883"
    ))
}

fn judge(run: &mut Run, tried: Said, target: &Target, found: &[Found]) -> Told {
    let lines = lines(found);
    let right = found
        .iter()
        .find_map(|found| Some((found.port, found.scheme.filter(|_| found.serves)?)));
    let Some((port, scheme)) = right else {
        let saw = match found.is_empty() {
            true => Said::new("none takes connections", "没有端口接受连接"),
            false => both!(
                "{lines}; none of them is the one",
                "{lines}；都不是要找的服务"
            ),
        };
        return Told::nothing(tried, saw);
    };
    let url = target.with_scheme(scheme).with_port(port).url();
    run.evidence.facts.0.insert("proposal", url.clone());
    if target.port.is_none() {
        let typed = target.url();
        let scheme_port = run.port();
        let quote = match scheme_port {
            Some(standard) => both!(
                "{typed} means port {standard}; {url} answers as it should",
                "{typed} 表示端口 {standard}；{url} 的回应正确"
            ),
            None => both!(
                "{typed} names no port; {url} answers as it should",
                "{typed} 没有给出端口；{url} 的回应正确"
            ),
        };
        run.clue(Cause::UrlWithoutPort, Strength::Proof, quote);
    }
    Told::passed(
        tried,
        both!("{lines}; right is {url}", "{lines}；正确的是 {url}"),
    )
    .proving(both!("the address is {url}", "正确的地址是 {url}"))
}
