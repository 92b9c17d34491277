//! HTTP in clear: update checks, downloads and WebSocket upgrades, and what answers them.

use alloc::format;
use alloc::string::{String, ToString};

use httparse::{EMPTY_HEADER, Header, Request, Response};

use super::conversation::{Conversation, Ending};
use super::seen::Seen;
use super::stream::Stamp;
use super::tcp::ANSWER;
use crate::{Cause, Layer, Strength};

/// A request, as far as it matters.
struct Asked {
    line: String,
    path: String,
    host: Option<String>,
    /// Whether it wants a WebSocket.
    key: bool,
    /// Whether it says so, as it must.
    upgrade: bool,
}

/// Whether this is the start of a request.
pub(super) fn is_request(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method))
}

/// What became of a request.
pub(super) fn read(it: &Conversation, seen: &mut Seen<'_>, speaks_tls: bool) {
    let Some((asked, stamp)) = request(it.up.stream.bytes()).zip(it.up.stream.first) else {
        return;
    };
    let host = asked
        .host
        .as_deref()
        .map_or_else(|| it.server.to_string(), |host| host.trim().to_string());
    let scheme = if asked.key { "ws" } else { "http" };
    seen.fact("scheme", scheme.to_string());
    seen.fact("url", format!("{scheme}://{host}{}", asked.path));
    if asked.key && !asked.upgrade {
        seen.clue(
            Cause::ProxyDropsUpgrade,
            Strength::Proof,
            stamp,
            format!(
                "{} has Sec-WebSocket-Key and no Upgrade: websocket; a proxy took it away",
                asked.line
            ),
            format!(
                "{} 带有 Sec-WebSocket-Key 却没有 Upgrade: websocket，是代理去掉了",
                asked.line
            ),
        );
        return;
    }
    match (it.down.stream.first, it.down.stream.bytes()) {
        (Some(stamp), [20..=24, 3, ..]) => seen.clue(
            Cause::HttpToTls,
            Strength::Proof,
            stamp,
            format!(
                "{}, answered with a record of TLS: the port wants TLS",
                asked.line
            ),
            format!("{}，对方回应的是 TLS 记录：该端口要求 TLS", asked.line),
        ),
        (Some(stamp), answer) => answered(&asked, answer, stamp, seen),
        (None, _) => unanswered(&asked, it, stamp, seen, speaks_tls),
    }
}

fn request(bytes: &[u8]) -> Option<Asked> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    // A request that is not whole has its first line in most cases.
    let _ = request.parse(bytes);
    let (method, path) = (request.method?, request.path?);
    let has = |name: &str, word: &str| {
        header(request.headers, name).is_some_and(|value| value.to_ascii_lowercase().contains(word))
    };
    Some(Asked {
        line: crate::mask(&format!("{method} {path}")),
        path: path.to_string(),
        host: header(request.headers, "Host"),
        key: header(request.headers, "Sec-WebSocket-Key").is_some() || has("Upgrade", "websocket"),
        upgrade: has("Upgrade", "websocket"),
    })
}

fn header(headers: &[Header<'_>], name: &str) -> Option<String> {
    let found = headers.iter().find(|it| it.name.eq_ignore_ascii_case(name));
    found.map(|it| String::from_utf8_lossy(it.value).to_string())
}

fn answered(asked: &Asked, answer: &[u8], stamp: Stamp, seen: &mut Seen<'_>) {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut response = Response::new(&mut headers);
    let whole = response.parse(answer).ok();
    let Some(status) = response.code else {
        let text = String::from_utf8_lossy(&answer[..answer.len().min(40)]);
        let (line, shown) = (&asked.line, crate::quote(&text));
        seen.clue(
            Cause::WrongService,
            Strength::Specific,
            stamp,
            format!("{line}, answered with no HTTP: {shown}"),
            format!("{line}，回应的不是 HTTP：{shown}"),
        );
        return;
    };
    let body = match whole {
        Some(httparse::Status::Complete(head)) => &answer[head..],
        _ => &[],
    };
    let location = header(response.headers, "Location");
    let kind = header(response.headers, "Content-Type").unwrap_or_default();
    let update = !asked.key && asked.path.contains("/ota");
    let html = kind.contains("html") || starts_like_html(body);
    seen.fact("status", format!("{status}"));
    let portal = location.as_deref().is_some_and(|to| {
        let here = asked
            .host
            .as_deref()
            .and_then(|host| host.split(':').next());
        let there = to.split_once("://").map(|(_, rest)| rest);
        there.is_some_and(|there| here.is_none_or(|here| !there.starts_with(here)))
    });
    if let Some(to) = &location {
        seen.fact("other", to.clone());
    }
    let (cause, or): (Cause, &[Cause]) = match status {
        101 => {
            let layer = Layer::Websocket;
            seen.passed(
                layer,
                stamp,
                format!("{}: 101", asked.line),
                format!("{}：101", asked.line),
            );
            return;
        }
        400 if contains(body, b"plain HTTP request was sent to HTTPS port") => {
            (Cause::HttpToTls, &[])
        }
        304 => return,
        502..=504 => (Cause::BackendDown, &[]),
        404 if is_image(&asked.path) => (Cause::ImageNotFound, &[]),
        404 => (Cause::PathMissing, &[]),
        401 | 403 => (Cause::HttpUnauthorized, &[]),
        301..=308 if portal => (
            Cause::CaptivePortal,
            &[Cause::HttpRedirect][..usize::from(asked.key)],
        ),
        301..=308 => (Cause::HttpRedirect, &[]),
        // Behind a proxy that keeps the wish to itself the server sees an ordinary request.
        400 | 405 | 426 if asked.key => (Cause::ProxyDropsUpgrade, &[Cause::UpgradeRefused]),
        200..=299 if asked.key => (
            Cause::ProxyDropsUpgrade,
            &[Cause::UpgradeRefused, Cause::PathMissing],
        ),
        200..=299 if update && html => (Cause::WrongServiceOrPortal, &[]),
        200..=299 if update && status != 204 => match check_reply(body) {
            Some(cause) => (cause, &[]),
            None => {
                seen.passed(
                    Layer::Http,
                    stamp,
                    format!("{}: {status}", asked.line),
                    format!("{}：{status}", asked.line),
                );
                return;
            }
        },
        200..=299 => {
            seen.passed(
                Layer::Http,
                stamp,
                format!("{}: {status}", asked.line),
                format!("{}：{status}", asked.line),
            );
            return;
        }
        500..=599 => (Cause::HttpServerError, &[]),
        _ if asked.key => (Cause::UpgradeRefused, &[]),
        _ => (Cause::HttpRefused, &[]),
    };
    // Anything on a network asks for pages that are not there; devices ask for these.
    let strength = match asked.key || update || is_image(&asked.path) || cause == Cause::HttpToTls {
        true => Strength::Proof,
        false => Strength::Specific,
    };
    let (line, wants) = (
        &asked.line,
        if asked.key {
            " (Upgrade: websocket)"
        } else {
            ""
        },
    );
    let to = location.map(|to| format!(" → {to}")).unwrap_or_default();
    let html = if html { " HTML" } else { "" };
    seen.clue_or(
        cause,
        or,
        strength,
        stamp,
        format!("{line}{wants}, answered with {status}{html}{to}"),
        format!("{line}{wants}，回应是 {status}{html}{to}"),
    );
}

/// What is wrong with the answer to an update check. Not all of it need be in the capture.
fn check_reply(body: &[u8]) -> Option<Cause> {
    let start = body.iter().position(|byte| *byte == b'{');
    let Some(start) = start.filter(|at| body[..*at].len() <= CHUNK_HEAD) else {
        return (!body.is_empty()).then_some(Cause::ReplyNotJson);
    };
    let names = [&b"\"websocket\""[..], b"\"mqtt\"", b"\"activation\""];
    let told = names.iter().any(|name| contains(&body[start..], name));
    let whole = body.trim_ascii_end().ends_with(b"}");
    (!told && whole).then_some(Cause::ReplyWithoutProtocol)
}

fn unanswered(
    asked: &Asked,
    it: &Conversation,
    stamp: Stamp,
    seen: &mut Seen<'_>,
    speaks_tls: bool,
) {
    let line = &asked.line;
    let usual = matches!(it.server.port(), 443 | 8443 | 8883);
    match it.ending(seen.until) {
        Ending::Closed(end) | Ending::Reset(end) => {
            let certain = usual || speaks_tls;
            let strength = if certain {
                Strength::Specific
            } else {
                Strength::Class
            };
            seen.clue_or(
                Cause::HttpToTls,
                &[Cause::HttpFailed, Cause::WrongService][..if certain { 0 } else { 2 }],
                strength,
                end,
                format!("{line} in clear; the server closes without an answer"),
                format!("明文 {line}；服务器没有应答就关闭了连接"),
            );
        }
        Ending::Client(end, waited) => {
            silent(line, end, waited.as_millis(), seen);
        }
        Ending::Open(waited) if waited >= ANSWER => silent(line, stamp, waited.as_millis(), seen),
        Ending::Open(_) => {}
    }
}

fn silent(line: &str, stamp: Stamp, waited: u128, seen: &mut Seen<'_>) {
    seen.clue(
        Cause::HttpTimeout,
        Strength::Specific,
        stamp,
        format!("{line}, not answered in {waited} ms"),
        format!("{line}，{waited} 毫秒内没有应答"),
    );
}

fn is_image(path: &str) -> bool {
    let file = path.split('?').next().unwrap_or(path);
    file.ends_with(".bin") || file.ends_with(".bin.gz") || file.ends_with(".ota")
}

fn starts_like_html(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let start = &start[..start.len().min(16)];
    let start = start.to_ascii_lowercase();
    start.starts_with(b"<!doctype") || start.starts_with(b"<html")
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|it| it == words)
}

const METHODS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"PATCH ",
    b"DELETE ",
    b"OPTIONS ",
];

/// Headers of a message that are read.
const HEADERS: usize = 64;

/// The length of a chunk may stand before the body.
const CHUNK_HEAD: usize = 16;
