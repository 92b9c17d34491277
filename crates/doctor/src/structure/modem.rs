//! What modems answer to AT commands.
//!
//! `+CME ERROR` has numbers of 3GPP TS 27.007 below 200; makers count their own TCP/IP from 550
//! (Quectel, and those who follow it). Results of commands are a number behind the connection's, and 0
//! is success.

use alloc::format;

use super::Guess;
use super::numbers::{contains, leading_number};
use crate::Cause;

/// What an answer of a modem says, if it tells of a failure.
pub(super) fn answer(line: &str) -> Option<Guess> {
    let at = line.find('+')?;
    let (name, rest) = line[at + 1..].split_once(':')?;
    let rest = rest.trim();
    let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ';
    if name.is_empty() || name.len() > 16 || !name.bytes().all(plain) {
        return None;
    }
    let (cause, zh) = match name {
        "CME ERROR" | "CMS ERROR" => (error(rest)?, "错误"),
        "CPIN" if !rest.starts_with("READY") => (Cause::MobileNoNetwork, "SIM 卡未就绪"),
        "CREG" | "CGREG" | "CEREG" => {
            // What is printed unasked has the state alone.
            let state = field(rest, 1).or_else(|| field(rest, 0))?;
            let guess = |guess: Guess| Some(guess);
            return match state {
                3 => guess(named(line, Cause::MobileNoNetwork, "网络拒绝注册")),
                // Looking for one is how every start begins.
                0 | 2 | 4 => guess(named(line, Cause::MobileNoNetwork, "未注册网络").vague()),
                _ => None,
            };
        }
        "CMQTTCONNECT" | "CMQTTSTART" | "CMQTTCONNLOST" => (
            simcom_mqtt(last(rest)?, name == "CMQTTCONNLOST")?,
            "MQTT 结果",
        ),
        "CIPOPEN" | "NETOPEN" | "CAOPEN" | "CCHOPEN" => (simcom_open(last(rest)?)?, "连接结果"),
        "QMTOPEN" => (quectel_mqtt_open(field(rest, 1)?)?, "MQTT 连接结果"),
        "QMTCONN" => (quectel_connack(rest)?, "MQTT 登录结果"),
        "QMTSTAT" => (Cause::ConnectionLost, "MQTT 连接状态"),
        "QIOPEN" | "QSSLOPEN" | "MIPOPEN" | "MHTTPURC" => (opened(line, rest)?, "连接结果"),
        _ => return None,
    };
    Some(named(line, cause, zh))
}

fn named(line: &str, cause: Cause, zh: &str) -> Guess {
    let shown = line.trim();
    Guess::new(
        cause,
        format!("a modem's answer to a command: {shown}"),
        format!("模组对 AT 命令的应答（{zh}）：{shown}"),
    )
}

fn field(rest: &str, index: usize) -> Option<i64> {
    leading_number(rest.split(',').nth(index)?.trim())
}

fn last(rest: &str) -> Option<i64> {
    leading_number(rest.rsplit(',').next()?.trim())
}

fn error(rest: &str) -> Option<Cause> {
    if let Some(number) = leading_number(rest) {
        return tcp_ip(number).or(match number {
            10..=18 | 30..=33 | 100..=150 => Some(Cause::MobileNoNetwork),
            _ => None,
        });
    }
    let has = |words: &[&str]| words.iter().any(|word| contains(rest, word));
    // The number of the text may stand behind it in brackets.
    let network = [
        "sim",
        "puk",
        "network",
        "service",
        "subscribed",
        "roaming",
        "plmn",
        "pdp",
        "gprs",
        "ms",
        "apn",
        "emergency",
    ];
    has(&network).then_some(Cause::MobileNoNetwork)
}

/// From 550 on: sockets, names and the mobile network below them.
fn tcp_ip(number: i64) -> Option<Cause> {
    Some(match number {
        553 => Cause::OutOfMemory,
        561 | 562 | 570 | 573 => Cause::MobileNoNetwork,
        564 | 565 => Cause::NameNotResolved,
        566 => Cause::TcpConnectFailed,
        567 => Cause::ConnectionLost,
        569 => Cause::TcpTimeout,
        550..=579 => Cause::TcpFailed,
        _ => return None,
    })
}

fn opened(line: &str, rest: &str) -> Option<Cause> {
    let number = if contains(line, "\"err\"") {
        last(rest)?
    } else {
        field(rest, 1)?
    };
    match number {
        i64::MIN..=0 => None,
        number => tcp_ip(number).or(Some(Cause::TcpConnectFailed)),
    }
}

/// SIMCom's MQTT: 3 is the socket, 27 to 31 are what CONNACK says.
fn simcom_mqtt(number: i64, lost: bool) -> Option<Cause> {
    Some(match number {
        _ if lost => Cause::ConnectionLost,
        0 | 23 => return None,
        3 => Cause::TcpConnectFailed,
        4 => Cause::SocketsExhausted,
        5 | 26 => Cause::ConnectionLost,
        7..=9 => Cause::MobileNoNetwork,
        17 => Cause::TcpTimeout,
        25 => Cause::NameNotResolved,
        27 => Cause::ProtocolVersion,
        28 => Cause::ClientIdRefused,
        29 => Cause::ServerBusy,
        30 => Cause::AuthFailed,
        31 => Cause::NotAuthorized,
        32 => Cause::TlsFailed,
        33 => Cause::DeviceTrustMissing,
        _ => Cause::MqttFailed,
    })
}

fn simcom_open(number: i64) -> Option<Cause> {
    Some(match number {
        0 => return None,
        1 | 2 => Cause::MobileNoNetwork,
        5 => Cause::SocketsExhausted,
        10 => Cause::TcpTimeout,
        11 => Cause::NameNotResolved,
        _ => Cause::TcpConnectFailed,
    })
}

fn quectel_mqtt_open(number: i64) -> Option<Cause> {
    Some(match number {
        0 => return None,
        3 => Cause::MobileNoNetwork,
        4 => Cause::NameNotResolved,
        5 => Cause::ConnectionLost,
        _ => Cause::TcpConnectFailed,
    })
}

/// Whether CONNECT was answered, and with what.
fn quectel_connack(rest: &str) -> Option<Cause> {
    Some(match (field(rest, 1)?, field(rest, 2)) {
        (0, None | Some(0)) => return None,
        (0, Some(1)) => Cause::ProtocolVersion,
        (0, Some(2)) => Cause::ClientIdRefused,
        (0, Some(3)) => Cause::ServerBusy,
        (0, Some(4)) => Cause::AuthFailed,
        (0, Some(5)) => Cause::NotAuthorized,
        _ => Cause::NoConnack,
    })
}
