//! The upgrade to WebSocket exactly as xiaozhi firmware asks for it, and the first message.

use safeport_doctor::{Cause, Layer, Strength};
use safeport_settings::Said;

use super::{captive, is_captive, judge_status, no_answer, undialled};
use crate::doctor::probing::http::{self, Answer};
use crate::doctor::probing::run::{End, Run};
use crate::doctor::probing::{Told, dns};
use crate::limits::{DOCTOR_HELLO, DOCTOR_HTTP};
use crate::probe::both;

pub(in crate::doctor::probing) async fn look(run: &mut Run) -> Told {
    let tried = Said::new(
        "the upgrade to WebSocket as xiaozhi asks for it, then its hello",
        "按 xiaozhi 的方式升级到 WebSocket，然后发送 hello",
    );
    let Some(target) = run.target.clone() else {
        return Told::nothing(tried, Said::default());
    };
    let mut stream = match run.dial().await {
        Ok(stream) => stream,
        Err(said) => return undialled(run, tried, Cause::WebsocketFailed, said),
    };
    let path = http::path(&target);
    let is_mqtt = carries_mqtt(path);
    let request = upgrade(&target.host.in_url(), path, is_mqtt);
    let got = run
        .ask(&mut stream, &request, DOCTOR_HTTP, Answer::has_head)
        .await;
    let Some(answer) = Answer::read(&got.bytes) else {
        let said = no_answer(run, &got, "the upgrade");
        return Told::misplaced(tried, said, true);
    };
    if let Some(date) = answer.date() {
        run.note_date(date);
    }
    if answer.status != 101 {
        drop(stream);
        return refused(run, tried, &answer).await;
    }
    let line = answer.described();
    // The firmware looks for these very letters (78/esp-ml307, web_socket.cc).
    if !answer.line.starts_with("HTTP/1.1 101") {
        run.clue(
            Cause::UpgradeRefused,
            Strength::Specific,
            both!(
                "the firmware wants HTTP/1.1 101, and gets {line}",
                "固件要求 HTTP/1.1 101，得到的是 {line}"
            ),
        );
        return Told::failed(tried, Said::same(line));
    }
    run.pass(Layer::Websocket, line.as_str());
    if is_mqtt {
        return Told::passed(tried, Said::same(line));
    }
    let hello = hello();
    let mut frames = answer.body.clone();
    let got = run
        .ask(&mut stream, &hello, DOCTOR_HELLO, |bytes| {
            let mut all = frames.clone();
            all.extend_from_slice(bytes);
            first_message(&all).is_some()
        })
        .await;
    frames.extend(got.bytes);
    judge_hello(run, tried, &line, first_message(&frames), got.end)
}

fn judge_hello(run: &mut Run, tried: Said, line: &str, message: Option<Message>, end: End) -> Told {
    let Said { en, zh } = end.said();
    let (cause, saw) = match message {
        Some(Message::Text(text)) if text.contains("\"hello\"") => {
            run.pass(Layer::Websocket, "the server says hello");
            return Told::passed(
                tried,
                both!("{line}; the server says hello", "{line}；服务器发来 hello"),
            );
        }
        Some(Message::Text(text)) => {
            let text = crate::probe::shown(&text).to_string();
            (
                Cause::ServerNoHello,
                both!(
                    "{line}; then {text}, no hello",
                    "{line}；随后是 {text}，不是 hello"
                ),
            )
        }
        // Policy, and what servers say in their own numbers where HTTP says 401 and 403.
        Some(Message::Close(code @ (1008 | 3000 | 3003 | 4001 | 4003 | 4401 | 4403))) => (
            Cause::HttpUnauthorized,
            both!(
                "{line}; the server closes after the hello with code {code}: it refuses the token or the device",
                "{line}；收到 hello 后服务器以代码 {code} 关闭连接：拒绝令牌或设备"
            ),
        ),
        Some(Message::Close(code)) => (
            Cause::WebsocketClosed,
            both!(
                "{line}; the server closes after the hello (code {code})",
                "{line}；收到 hello 后服务器关闭连接（代码 {code}）"
            ),
        ),
        None if end == End::Silent => (
            Cause::ServerNoHello,
            both!("{line}; no hello within 10 s", "{line}；10 秒内没有 hello"),
        ),
        None => (
            Cause::WebsocketClosed,
            both!("{line}; after the hello {en}", "{line}；发送 hello 后{zh}"),
        ),
    };
    run.clue(cause, Strength::Specific, saw.clone());
    Told::failed(tried, saw)
}

/// No 101. What plain HTTP says of the same path tells a proxy that drops the upgrade from a server
/// that does not want it.
async fn refused(run: &mut Run, tried: Said, answer: &Answer) -> Told {
    if is_captive(run, answer).await {
        let saw = captive(run, answer);
        return Told::failed(tried, saw);
    }
    let line = answer.described();
    let server = answer.header("server").unwrap_or_default().to_owned();
    let text = answer.text().to_ascii_lowercase();
    let speaks_of_upgrade = text.contains("upgrade") || text.contains("websocket");
    let drops_upgrade = match answer.status {
        426 => true,
        400 | 405 | 501 => is_proxy(&server) || speaks_of_upgrade,
        // The request got through and was taken for one of a page.
        200..=299 => true,
        _ => false,
    };
    if drops_upgrade {
        run.evidence.facts.note("status", answer.status.to_string());
        let by = if server.is_empty() {
            String::new()
        } else {
            format!(" of {server}")
        };
        run.clue(
            Cause::ProxyDropsUpgrade,
            Strength::Specific,
            format!(
                "the upgrade is answered with {}{by}, as a plain request",
                answer.line
            ),
        );
        return Told::misplaced(tried, Said::same(line), true).proving(Said::new(
            "the request comes to its end without the headers Upgrade and Connection: a proxy in \
             between drops them, or no WebSocket is served at this path",
            "请求到达时没有 Upgrade 和 Connection 头：中间的代理丢掉了它们，或该路径不提供 WebSocket",
        ));
    }
    if matches!(answer.status, 401 | 403) {
        // Whose token would be right is known to the server and to devices that it gave one.
        run.pass(Layer::Websocket, line.as_str());
        return Told::passed(tried, Said::same(line)).proving(Said::new(
            "the upgrade comes through to a server that wants a token; devices get theirs with the \
             reply to the check for updates",
            "升级请求能到达服务器，但服务器要求令牌；设备在检查更新的回复中得到令牌",
        ));
    }
    let saw = judge_status(run, answer, "the upgrade").unwrap_or_else(|| {
        run.clue(
            Cause::UpgradeRefused,
            Strength::Specific,
            both!(
                "the upgrade is answered with {line}",
                "升级请求得到的回应是 {line}"
            ),
        );
        Said::same(line)
    });
    if is_proxy(&server) && !is_page_of(&server, &text) {
        // The proxy did not make this answer: the server behind it may say so to whoever does not
        // ask for an upgrade.
        let clues = run.evidence.clues.iter_mut();
        for clue in clues.filter(|clue| clue.cause == Cause::PathMissing) {
            clue.or = vec![Cause::ProxyDropsUpgrade];
        }
    }
    match answer.status {
        404 | 410 => Told::misplaced(tried, saw, true),
        _ => Told::failed(tried, saw),
    }
}

/// Whether a proxy made this page itself: theirs bear their names.
fn is_page_of(server: &str, text: &str) -> bool {
    let name = server.split(['/', ' ']).next().unwrap_or_default();
    text.is_empty() || text.contains(&name.to_ascii_lowercase())
}

pub(super) fn is_proxy(server: &str) -> bool {
    let server = server.to_ascii_lowercase();
    [
        "nginx",
        "openresty",
        "caddy",
        "apache",
        "cloudflare",
        "traefik",
        "haproxy",
        "lucky",
        "tengine",
    ]
    .iter()
    .any(|known| server.contains(known))
}

/// Whether MQTT is spoken at this path and not xiaozhi's protocol.
pub(in crate::doctor::probing) fn carries_mqtt(path: &str) -> bool {
    path.trim_end_matches('/').ends_with("/mqtt")
}

/// The request as xiaozhi writes it: the Host goes without a port.
pub(in crate::doctor::probing) fn upgrade(host: &str, path: &str, is_mqtt: bool) -> Vec<u8> {
    let protocol = if is_mqtt {
        "Sec-WebSocket-Protocol: mqtt\r\n"
    } else {
        "Authorization: Bearer test-token\r\nProtocol-Version: 1\r\nDevice-Id: 02:5a:fe:00:d0:c7\r\n\
         Client-Id: 00000000-0000-4000-8000-5afe0000d0c7\r\n"
    };
    let key = safeport_xiaozhi::encode_base64(&dns::random::<16>());
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         {protocol}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    .into_bytes()
}

/// The first message of the firmware (78/xiaozhi-esp32, websocket_protocol.cc).
const HELLO: &str = r#"{"type":"hello","version":1,"features":{"mcp":true},"transport":"websocket","audio_params":{"format":"opus","sample_rate":16000,"channels":1,"frame_duration":60}}"#;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The first message of the firmware as a frame.
pub(in crate::doctor::probing) fn hello() -> Vec<u8> {
    frame(TEXT, HELLO.as_bytes())
}

/// A binary message.
pub(in crate::doctor::probing) fn binary_frame(payload: &[u8]) -> Vec<u8> {
    frame(BINARY, payload)
}

/// A ping of ours.
pub(in crate::doctor::probing) fn ping() -> Vec<u8> {
    frame(PING, b"")
}

/// Whether the other side pings.
pub(in crate::doctor::probing) fn is_ping(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0x0F == PING)
}

/// Whether the other side says goodbye.
pub(in crate::doctor::probing) fn is_close(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0x0F == CLOSE)
}

/// The answer to a ping, with what it carries (RFC 6455 §5.5.3): at most 125 bytes.
pub(in crate::doctor::probing) fn pong(ping: &[u8]) -> Vec<u8> {
    let length = ping.get(1).map_or(0, |length| usize::from(length & 0x7F));
    frame(PONG, ping.get(2..2 + length.min(125)).unwrap_or_default())
}

/// One whole frame of a client (RFC 6455 §5.2).
fn frame(kind: u8, text: &[u8]) -> Vec<u8> {
    let mask: [u8; 4] = dns::random();
    let mut frame = vec![0x80 | kind];
    match text.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend((length.min(usize::from(u16::MAX)) as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        text.iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Text(String),
    Close(u16),
}

/// The first text or close frame of a server; pings and binary messages before it are stepped over.
fn first_message(mut bytes: &[u8]) -> Option<Message> {
    loop {
        let [first, second, rest @ ..] = bytes else {
            return None;
        };
        let (length, rest) = match second & 0x7F {
            126 => {
                let (length, rest) = rest.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            // Longer ones than 64 KiB are no hello.
            127 => return None,
            length => (usize::from(length), rest),
        };
        let payload = rest.get(..length)?;
        match first & 0x0F {
            TEXT => return Some(Message::Text(String::from_utf8_lossy(payload).into_owned())),
            CLOSE => {
                let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                return Some(Message::Close(code.unwrap_or(1005)));
            }
            _ => bytes = &rest[length..],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_found_behind_a_ping_and_only_when_it_is_whole() {
        let mut bytes = vec![0x89, 0];
        assert_eq!(first_message(&bytes), None);
        bytes.extend([0x81, 2, b'h']);
        assert_eq!(first_message(&bytes), None);
        bytes.push(b'i');
        assert_eq!(first_message(&bytes), Some(Message::Text("hi".to_owned())));
        assert_eq!(
            first_message(&[0x88, 2, 3, 0xE8]),
            Some(Message::Close(1000))
        );
    }

    #[test]
    fn the_hello_goes_out_masked_and_whole() {
        let sent = hello();
        assert_eq!(sent[..2], [0x81, 0xFE]);
        let length = usize::from(u16::from_be_bytes([sent[2], sent[3]]));
        assert_eq!((length, sent.len()), (HELLO.len(), HELLO.len() + 8));
        let plain: Vec<u8> = sent[8..]
            .iter()
            .zip(sent[4..8].iter().cycle())
            .map(|(b, m)| b ^ m)
            .collect();
        assert_eq!(plain, HELLO.as_bytes());
    }

    #[test]
    fn a_ping_is_answered_with_what_it_carries() {
        let ping = [0x89, 2, b'o', b'k'];
        assert!(is_ping(&ping) && !is_close(&ping) && is_close(&[0x88, 0]));
        let sent = pong(&ping);
        assert_eq!(sent[..2], [0x8A, 0x82]);
        let plain = [sent[6] ^ sent[2], sent[7] ^ sent[3]];
        assert_eq!(plain, *b"ok");
        assert_eq!(pong(&[0x89])[..2], [0x8A, 0x80]);
    }

    #[test]
    fn the_host_goes_without_a_port_as_the_firmware_writes_it() {
        let request = String::from_utf8(upgrade("hub.example", "/xiaozhi/v1/", false)).unwrap();
        assert!(
            request.starts_with("GET /xiaozhi/v1/ HTTP/1.1\r\nHost: hub.example\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\n\r\n"));
    }
}
