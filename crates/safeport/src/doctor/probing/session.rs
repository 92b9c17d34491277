//! Stage 10: whether an idle connection lives as long as the device needs it. Only with `--long`.

use std::time::Duration;

use safeport_doctor::target::Service;
use safeport_doctor::{Cause, Layer, Strength};
use safeport_settings::Said;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::app::{mqtt, websocket};
use super::http::Answer;
use super::run::{End, Run};
use super::spoken::Spoken;
use super::{Told, http};
use crate::limits::DOCTOR_FIRST_ANSWER;
use crate::probe::{Stream, both};

/// What the longest pause is divided by, pause after pause: of the usual 240 s, at which xiaozhi keeps
/// MQTT alive by default, 30, 60, 120 and 240 s.
const PARTS: [u32; 4] = [8, 4, 2, 1];

/// What is spoken on the connection, so that a sign of life can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    Mqtt,
    WebSocket,
}

pub(super) async fn look(run: &mut Run) -> Told {
    let longest = run.order.long.unwrap_or_default();
    let pauses = PARTS.map(|part| longest / part);
    let shown: Vec<String> = pauses.iter().copied().map(seconds).collect();
    let shown = shown.join(", ");
    let tried = both!(
        "one connection with pauses of {shown} s",
        "一个连接，停顿 {shown} 秒"
    );
    let (mut stream, talk) = match begin(run).await {
        Ok(begun) => begun,
        Err(said) => return Told::nothing(tried, said),
    };
    for pause in pauses {
        let is_idle = Instant::now();
        let ended = quiet(run, &mut stream, talk, pause).await;
        let after = is_idle.elapsed();
        if let Some(end) = ended {
            return closed(run, tried, after, end);
        }
        if !lives(run, &mut stream, talk).await {
            return forgotten(run, tried, pause);
        }
    }
    let longest = seconds(longest);
    let saw = both!(
        "it lives through {longest} s without a packet",
        "没有数据 {longest} 秒后仍然有效"
    );
    run.pass(Layer::Tcp, saw.clone());
    Told::passed(tried, saw).excluding(Said::new(
        "a limit for idle connections on the way",
        "途中对空闲连接的限制",
    ))
}

/// A connection that would live on by itself, or why there is none.
async fn begin(run: &mut Run) -> Result<(Box<dyn Stream>, Talk), Said> {
    let talk = match (run.service(), &run.spoken) {
        (Service::Mqtt, _) | (Service::Unknown, Some(Spoken::Mqtt | Spoken::Tls)) => Talk::Mqtt,
        (Service::Websocket, _) => Talk::WebSocket,
        _ => {
            return Err(Said::new(
                "devices make a connection for each request there",
                "设备对此每次请求都新建连接",
            ));
        }
    };
    let mut stream = run.dial().await?;
    match talk {
        Talk::Mqtt => log_in(run, &mut stream).await?,
        Talk::WebSocket => upgrade(run, &mut stream).await?,
    }
    Ok((stream, talk))
}

async fn log_in(run: &mut Run, stream: &mut Box<dyn Stream>) -> Result<(), Said> {
    let login = run.login_for_here();
    // Keep alive off: whoever ends the connection is not the broker by its rules.
    let packet = without_keep_alive(mqtt::connect(4, &mqtt::made_up_id(), login.as_ref()));
    let enough = |bytes: &[u8]| mqtt::code_of(bytes).is_some();
    let got = run.ask(stream, &packet, DOCTOR_FIRST_ANSWER, enough).await;
    match mqtt::code_of(&got.bytes) {
        Some(0) => Ok(()),
        _ => Err(Said::new("the login was not taken", "登录未被接受")),
    }
}

async fn upgrade(run: &mut Run, stream: &mut Box<dyn Stream>) -> Result<(), Said> {
    let target = run.target.clone().ok_or_else(Said::default)?;
    let path = http::path(&target);
    let is_mqtt = websocket::carries_mqtt(path);
    let request = websocket::upgrade(&target.host.in_url(), path, is_mqtt);
    let got = run
        .ask(stream, &request, DOCTOR_FIRST_ANSWER, Answer::has_head)
        .await;
    if Answer::read(&got.bytes).is_none_or(|answer| answer.status != 101) {
        return Err(Said::new("the upgrade was not taken", "升级未被接受"));
    }
    // A server that hears nothing soon ends the connection for that.
    let first = match is_mqtt {
        true => websocket::binary_frame(&without_keep_alive(mqtt::connect(
            4,
            &mqtt::made_up_id(),
            None,
        ))),
        false => websocket::hello(),
    };
    let got = run
        .ask(stream, &first, DOCTOR_FIRST_ANSWER, |bytes| {
            !bytes.is_empty()
        })
        .await;
    match got.end {
        End::Closed | End::Reset => Err(Said::new(
            "the server ended the connection at once",
            "服务器随即结束了连接",
        )),
        _ => Ok(()),
    }
}

/// Says nothing for so long, but answers what the other side asks; how the connection ended, if it
/// did.
async fn quiet(
    run: &mut Run,
    stream: &mut Box<dyn Stream>,
    talk: Talk,
    pause: Duration,
) -> Option<End> {
    let begun = Instant::now();
    while let Some(left) = pause.checked_sub(begun.elapsed()) {
        let got = run.ask(stream, &[], left, |bytes| !bytes.is_empty()).await;
        match got.end {
            End::Silent => return None,
            End::Enough if talk == Talk::WebSocket && websocket::is_close(&got.bytes) => {
                return Some(End::Closed);
            }
            End::Enough if talk == Talk::WebSocket && websocket::is_ping(&got.bytes) => {
                // As the libraries of devices do; a broken connection shows in what is read next.
                let _ = stream.write_all(&websocket::pong(&got.bytes)).await;
                let _ = stream.flush().await;
            }
            End::Enough => {}
            end => return Some(end),
        }
    }
    None
}

/// A PINGREQ or a ping, and whether it is answered.
async fn lives(run: &mut Run, stream: &mut Box<dyn Stream>, talk: Talk) -> bool {
    let question = match talk {
        Talk::Mqtt => vec![0xC0, 0],
        Talk::WebSocket => websocket::ping(),
    };
    let wanted = |bytes: &[u8]| match talk {
        Talk::Mqtt => bytes.starts_with(&[0xD0, 0]),
        Talk::WebSocket => !bytes.is_empty(),
    };
    let got = run
        .ask(stream, &question, DOCTOR_FIRST_ANSWER, wanted)
        .await;
    wanted(&got.bytes)
}

/// Somebody ended the connection, and said so.
fn closed(run: &mut Run, tried: Said, after: Duration, end: End) -> Told {
    let shown = seconds(after);
    let peer = run.peer.map_or_else(String::new, |peer| peer.to_string());
    let Said { en, zh } = end.said();
    let saw = both!(
        "after {shown} s without a packet {en}",
        "{shown} 秒没有数据后{zh}"
    );
    run.evidence.facts.note("closed_by", peer);
    dead(run, tried, after, saw).proving(both!(
        "the server, or a proxy in front of it, ends connections that are idle for {shown} s",
        "服务器或其前面的代理会结束空闲 {shown} 秒的连接"
    ))
}

/// Nobody answers, and nobody said why.
fn forgotten(run: &mut Run, tried: Said, pause: Duration) -> Told {
    let shown = seconds(pause);
    let saw = both!(
        "after {shown} s without a packet nobody answers any more",
        "{shown} 秒没有数据后不再有任何回应"
    );
    dead(run, tried, pause, saw).proving(both!(
        "something on the way has forgotten the connection within {shown} s",
        "途中的设备在 {shown} 秒内丢弃了该连接"
    ))
}

fn dead(run: &mut Run, tried: Said, after: Duration, saw: Said) -> Told {
    let facts = &mut run.evidence.facts;
    facts.note("idle_s", seconds(after));
    // Devices ping when their keep alive is over; the answer needs its time, too.
    let keep_alive = (after.as_secs() * 2 / 3).clamp(5, 60);
    facts.note("keep_alive_s", keep_alive.to_string());
    run.clue(Cause::NatIdleTimeout, Strength::Specific, saw.clone());
    Told::failed(tried, saw)
}

/// `30`, or `0.5` where it is short.
fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..10 if time.subsec_millis() >= 100 => format!("{:.1}", time.as_secs_f64()),
        _ => format!("{:.0}", time.as_secs_f64()),
    }
}

/// The keep alive stands behind the flags [MQTT-3.1.2-22].
fn without_keep_alive(mut packet: Vec<u8>) -> Vec<u8> {
    let name = packet.windows(4).position(|window| window == b"MQTT");
    if let Some(at) = name {
        packet[at + 6..at + 8].fill(0);
    }
    packet
}
