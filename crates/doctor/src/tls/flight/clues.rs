//! What an answer says by itself, whoever asked.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use safeport_settings::Said;

use super::{Flight, How};
use crate::profile::Stack;
use crate::tls::names;
use crate::tls::{Answer, Number};
use crate::{Cause, Clue, Place, Strength};

impl Flight {
    /// What is wrong with the answer whatever the client can do: another service, silence, an end in
    /// the middle. Refusals by alert depend on the client and are judged with its profile.
    pub fn clues(&self, place: Place) -> Vec<Clue> {
        let mut clues = Vec::new();
        let mut say = |cause, strength, en: String, zh: String| {
            clues.push(Clue::new(cause, strength, place, Said::new(en, zh)));
        };
        match &self.answer {
            Answer::Tls => {}
            Answer::Nothing => match self.how {
                How::Silent | How::Enough => say(
                    Cause::AcceptsThenSilent,
                    Strength::Specific,
                    "the port takes the connection and answers a ClientHello with nothing".into(),
                    "端口接受了连接，但对 ClientHello 没有任何回应".into(),
                ),
                How::Reset => say(
                    Cause::TlsToPlainPort,
                    Strength::Class,
                    "a ClientHello is answered with a reset".into(),
                    "发出 ClientHello 后连接被重置".into(),
                ),
                How::Closed => say(
                    Cause::ClosesInHandshake,
                    Strength::Class,
                    "the server closes the connection on a ClientHello, without an alert".into(),
                    "服务器收到 ClientHello 就关闭了连接，没有给出告警".into(),
                ),
            },
            Answer::Http { line, .. } => say(
                Cause::TlsToPlainHttp,
                Strength::Proof,
                format!("a ClientHello is answered in clear with \"{line}\""),
                format!("对 ClientHello 的回应是明文“{line}”"),
            ),
            Answer::Ssh { banner: line } | Answer::Banner { line } => say(
                Cause::WrongService,
                Strength::Proof,
                format!("a ClientHello is answered with \"{line}\""),
                format!("对 ClientHello 的回应是“{line}”"),
            ),
            Answer::Mqtt => say(
                Cause::TlsToPlainPort,
                Strength::Proof,
                "a ClientHello is answered with a packet of MQTT in clear".into(),
                "对 ClientHello 的回应是明文 MQTT 报文".into(),
            ),
            Answer::Unknown { hex } => say(
                Cause::WrongService,
                Strength::Specific,
                format!("a ClientHello is answered with bytes that are no TLS: {hex}"),
                format!("对 ClientHello 的回应不是 TLS：{hex}"),
            ),
        }
        if self.answer == Answer::Tls && !self.whole && self.refusal().is_none() {
            clues.extend(self.broken_off(place));
        }
        clues
    }

    /// TLS that stops in the middle.
    fn broken_off(&self, place: Place) -> Option<Clue> {
        let bytes = self.bytes;
        let (cause, strength, en, zh) = if self.damaged {
            (
                Cause::TlsBroken,
                Strength::Specific,
                format!(
                    "after {bytes} bytes the answer contradicts itself: it is damaged on the way, or no TLS"
                ),
                format!("收到 {bytes} 字节后内容自相矛盾：途中被破坏，或者不是 TLS"),
            )
        } else if self.encrypted {
            // TLS 1.3 is read no further.
            return None;
        } else {
            match self.how {
                // A large flight of which only the first packets arrive.
                How::Silent => (
                    Cause::MtuBlackHole,
                    Strength::Class,
                    format!("the answer stops after {bytes} bytes, in the middle of the handshake"),
                    format!("收到 {bytes} 字节后握手中断，再也没有数据"),
                ),
                How::Closed | How::Reset => (
                    Cause::ClosesInHandshake,
                    Strength::Specific,
                    format!("the server ends the connection after {bytes} bytes of its handshake"),
                    format!("服务器在握手发出 {bytes} 字节后断开了连接"),
                ),
                How::Enough => return None,
            }
        };
        let clue = Clue::new(cause, strength, place, Said::new(en, zh));
        Some(match cause {
            Cause::MtuBlackHole => clue.or(&[Cause::TlsTimeout]),
            _ => clue,
        })
    }

    /// The number with which a device of this stack reports such an answer; None when it goes on, and
    /// for stacks without numbers.
    pub fn number(&self, stack: Stack) -> Option<Number> {
        let bearssl = |number| Some(Number::BearSsl(number));
        let mbedtls = |code| Some(Number::MbedTls { code, flags: 0 });
        if stack == Stack::Modem {
            return None;
        }
        let small = stack == Stack::BearSsl;
        if let Some(alert) = self.refusal() {
            return match small {
                true => bearssl(256 + i32::from(alert)),
                false => mbedtls(-0x7780),
            };
        }
        let other_than_tls = !matches!(self.answer, Answer::Tls | Answer::Nothing);
        match (other_than_tls, small) {
            // No record of version 3, as it reads it.
            (true, true) => return bearssl(3),
            (true, false) => return mbedtls(-0x7200),
            (false, _) => {}
        }
        if self.whole || self.encrypted || self.how == How::Enough {
            return None;
        }
        match (self.how, small) {
            (How::Silent, true) => bearssl(-1005),
            (How::Silent, false) => mbedtls(-0x6800),
            (_, true) => bearssl(0),
            (How::Reset, false) => mbedtls(-0x0050),
            (_, false) => mbedtls(-0x7280),
        }
    }

    /// What was agreed on, for people: `TLS 1.2, ECDHE-RSA-AES128-GCM-SHA256, P-256`.
    pub fn agreed(&self) -> String {
        let mut said = Vec::new();
        said.extend(self.version.map(names::version));
        said.extend(self.suite.map(names::suite));
        said.extend(self.group.map(names::group));
        said.join(", ")
    }
}
