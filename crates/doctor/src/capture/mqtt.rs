//! MQTT in clear: who logs in, what the server says to it, and who takes over from whom.

use alloc::format;
use alloc::string::{String, ToString};

use safeport_mqtt::{Decoded, Packet, ReasonCode, Version, decode};

use super::conversation::{Conversation, Ending};
use super::seen::Seen;
use super::stream::Stamp;
use super::tcp::ANSWER;
use crate::{Cause, Layer, Strength};

/// A login, for the comparison with others.
pub(super) struct Login {
    pub(super) client_id: String,
    pub(super) at: Stamp,
    pub(super) accepted: bool,
    /// When the server ended the connection.
    pub(super) ended: Option<Stamp>,
}

/// Whether this is the start of a CONNECT.
pub(super) fn is_connect(bytes: &[u8]) -> bool {
    matches!(bytes, [0x10, rest @ ..] if rest.windows(6).take(6).any(|it| it == b"\0\x04MQTT" || it == b"\0\x06MQIs"))
}

/// What became of a CONNECT.
pub(super) fn read(it: &Conversation, seen: &mut Seen<'_>, speaks_tls: bool) -> Option<Login> {
    let up = it.up.stream.bytes();
    let asked = it.up.stream.first?;
    let (version, client_id, keep_alive) = match decode(up, Version::V311, MOST) {
        Ok(Decoded::Packet(Packet::Connect(connect), _)) => (
            connect.version,
            connect.client_id.to_string(),
            connect.keep_alive,
        ),
        // A level that does not exist, or a CONNECT with a mistake.
        _ => (Version::V311, String::new(), 0),
    };
    seen.fact("scheme", "mqtt".to_string());
    if !client_id.is_empty() {
        seen.fact("client_id", client_id.clone());
    }
    let answer = it.down.stream.bytes();
    let mut login = Login {
        client_id,
        at: asked,
        accepted: false,
        ended: it.down.ended(),
    };
    let (Some(stamp), Some(first)) = (it.down.stream.first, answer.first().copied()) else {
        unanswered(it, seen, asked, speaks_tls);
        return Some(login);
    };
    match (first, answer) {
        (20..=24, [_, 3, ..]) => seen.clue(
            Cause::PlainToTlsPort,
            Strength::Proof,
            stamp,
            "CONNECT in clear, answered with a record of TLS: the port wants TLS".into(),
            "明文 CONNECT，对方回应的是 TLS 记录：该端口要求 TLS".into(),
        ),
        (0x20, [_, _, _, code, ..]) => {
            login.accepted = *code == 0;
            connack(*code, stamp, seen);
            if login.accepted {
                later(it, version, keep_alive, seen);
            }
        }
        (b'H', _) if answer.starts_with(b"HTTP/") => seen.clue(
            Cause::WrongService,
            Strength::Proof,
            stamp,
            "CONNECT of MQTT, answered with HTTP".into(),
            "MQTT CONNECT，对方回应的是 HTTP".into(),
        ),
        (b'S', _) if answer.starts_with(b"SSH-") => seen.clue(
            Cause::WrongService,
            Strength::Proof,
            stamp,
            "CONNECT of MQTT, answered by SSH".into(),
            "MQTT CONNECT，对方是 SSH".into(),
        ),
        (0x20 | 0xe0, _) => {}
        _ => seen.clue(
            Cause::WrongService,
            Strength::Specific,
            stamp,
            "CONNECT of MQTT, answered with something else".into(),
            "MQTT CONNECT，对方回应的不是 MQTT".into(),
        ),
    }
    Some(login)
}

fn unanswered(it: &Conversation, seen: &mut Seen<'_>, asked: Stamp, speaks_tls: bool) {
    let usual = matches!(it.server.port(), 443 | 8443 | 8883 | 8884 | 8886 | 8887);
    let strength = match speaks_tls || usual {
        true => Strength::Specific,
        false => Strength::Class,
    };
    let closed = |seen: &mut Seen<'_>, stamp: Stamp| {
        let waited = stamp.after(asked).as_millis();
        seen.clue_or(
            Cause::PlainToTlsPort,
            &[Cause::NoConnack][..usize::from(strength == Strength::Class)],
            strength,
            stamp,
            format!("CONNECT in clear; the server closes after {waited} ms without a CONNACK"),
            format!("明文 CONNECT；{waited} 毫秒后服务器关闭连接，没有 CONNACK"),
        );
    };
    match it.ending(seen.until) {
        Ending::Closed(stamp) | Ending::Reset(stamp) => closed(seen, stamp),
        Ending::Client(stamp, waited) => silent(seen, stamp, waited.as_millis()),
        Ending::Open(waited) if waited >= ANSWER => silent(seen, asked, waited.as_millis()),
        Ending::Open(_) => {}
    }
}

fn silent(seen: &mut Seen<'_>, stamp: Stamp, waited: u128) {
    seen.clue_or(
        Cause::NoConnack,
        &[Cause::PlainToTlsPort, Cause::AcceptsThenSilent],
        Strength::Specific,
        stamp,
        format!("CONNECT, not answered in {waited} ms"),
        format!("CONNECT，{waited} 毫秒内没有应答"),
    );
}

fn connack(code: u8, stamp: Stamp, seen: &mut Seen<'_>) {
    if code == 0 {
        seen.passed(
            Layer::Mqtt,
            stamp,
            "CONNACK 0: logged in".into(),
            "CONNACK 0：登录成功".into(),
        );
        return;
    }
    let reason = match code < 0x80 {
        // A server of MQTT 3 answers MQTT 5 in its own codes.
        true => ReasonCode::from_connect_return_code(code),
        false => ReasonCode::from_u8(code),
    };
    let (cause, or): (Cause, &[Cause]) = match code {
        1 | 0x84 => (Cause::ProtocolVersion, &[]),
        2 | 0x85 => (Cause::ClientIdRefused, &[]),
        3 | 0x88 | 0x89 => (Cause::ServerBusy, &[]),
        4 | 0x86 | 0x8c => (Cause::AuthFailed, &[]),
        // Most servers say so of a wrong password, too.
        5 | 0x87 => (Cause::AuthFailed, &[Cause::NotAuthorized]),
        0x8a => (Cause::Banned, &[]),
        0x81 | 0x82 => (Cause::ProtocolError, &[]),
        _ => refusal(code),
    };
    let words = reason.map_or("no code that exists", ReasonCode::words);
    seen.fact("reason", format!("{code}"));
    seen.clue_or(
        cause,
        or,
        Strength::Proof,
        stamp,
        format!("CONNECT, answered with CONNACK {code} ({words})"),
        format!("CONNECT，服务器回应 CONNACK {code}（{words}）"),
    );
}

/// What the codes of CONNACK and DISCONNECT have in common.
fn refusal(code: u8) -> (Cause, &'static [Cause]) {
    match code {
        0x81 | 0x82 => (Cause::ProtocolError, &[]),
        0x87 => (Cause::NotAuthorized, &[]),
        0x89 => (Cause::ServerBusy, &[]),
        0x8d => (Cause::KeepAliveTimeout, &[]),
        0x8e => (Cause::DuplicateClientId, &[]),
        0x95 => (Cause::PacketTooLarge, &[]),
        0x96 | 0x97 | 0x9f => (Cause::RateLimited, &[]),
        0x9a | 0x9b | 0x9e | 0xa1 | 0xa2 => (Cause::MqttFeatureRefused, &[]),
        _ => (Cause::MqttRefused, &[]),
    }
}

/// What the server says after the login: the reason with which it ends the connection (MQTT 5), or
/// its silence about that.
fn later(it: &Conversation, version: Version, keep_alive: u16, seen: &mut Seen<'_>) {
    let mut left = it.down.stream.bytes();
    while let Ok(Decoded::Packet(packet, taken)) = decode(left, version, MOST) {
        if let Packet::Disconnect(goodbye) = packet {
            let at = it.down.stream.bytes().len() - left.len();
            let stamp = it.down.stream.stamp_at(at).unwrap_or(it.last);
            let code = goodbye.code as u8;
            let words = goodbye.code.words();
            if goodbye.code.is_error() && code != 0x8b {
                let (cause, or) = refusal(code);
                seen.fact("reason", format!("{code}"));
                seen.clue_or(
                    cause,
                    or,
                    Strength::Proof,
                    stamp,
                    format!("the server disconnects it with {code} ({words})"),
                    format!("服务器以 {code}（{words}）断开了连接"),
                );
            }
            return;
        }
        left = &left[taken..];
    }
    let Some(heard) = it.up.stream.last.filter(|_| keep_alive > 0) else {
        return;
    };
    let (Ending::Closed(end) | Ending::Reset(end)) = it.ending(seen.until) else {
        return;
    };
    // A client is gone after one and a half keep alives [MQTT-3.1.2-22].
    let quiet = end.after(heard);
    if quiet.as_millis() >= u128::from(keep_alive) * 1400 {
        let quiet = quiet.as_secs();
        seen.clue(
            Cause::KeepAliveTimeout,
            Strength::Specific,
            end,
            format!(
                "nothing from the device for {quiet} s with a keep alive of {keep_alive} s; the server closes"
            ),
            format!("keep alive 为 {keep_alive} 秒，设备 {quiet} 秒没有发送任何数据，服务器关闭了连接"),
        );
    }
}

/// The longest packet that is read here, in bytes.
const MOST: u32 = crate::limits::CONVERSATION_BYTES as u32;
