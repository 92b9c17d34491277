//! MQTT as a device logs in, with a client identifier that no device has.

use safeport_doctor::{Cause, Layer, Strength};
use safeport_settings::Said;

use super::undialled;
use crate::doctor::probing::run::{End, Got, Run};
use crate::doctor::probing::spoken::Spoken;
use crate::doctor::probing::{Login, Told, dns};
use crate::limits::DOCTOR_CONNACK;
use crate::probe::{Stream, both};

pub(in crate::doctor::probing) async fn look(run: &mut Run) -> Told {
    let opened = run.dial().await;
    let login = run.login_for_here();
    let withheld = run.login.is_some() && login.is_none();
    let tried = match &login {
        Some(Login { user, .. }) => both!(
            "an MQTT login as {user} with a made-up client id",
            "以 {user} 登录 MQTT，使用临时客户端标识"
        ),
        None => Said::new(
            "an MQTT login without a name, with a made-up client id",
            "不带用户名登录 MQTT，使用临时客户端标识",
        ),
    };
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(said) => return undialled(run, tried, Cause::MqttFailed, said),
    };
    let got = log_in(run, &mut stream, 4, login.as_ref()).await;
    drop(stream);
    let Some(code) = code_of(&got.bytes) else {
        return no_connack(run, tried, &got);
    };
    if code == 0 && is_followed_by_garbage(&got.bytes) {
        let saw = both!(
            "CONNACK 0, and what comes behind it is no MQTT",
            "CONNACK 0，但其后的数据不是 MQTT"
        );
        run.clue(Cause::ProtocolError, Strength::Specific, saw.clone());
        return Told::failed(tried, saw);
    }
    let in_v5 = match run.can_connect() {
        true => with_v5(run).await,
        false => None,
    };
    let v5 = match in_v5 {
        Some(code) => both!("; MQTT 5: {code}", "；MQTT 5：{code}"),
        None => Said::default(),
    };
    if code == 1 && in_v5 == Some(0) {
        run.evidence.facts.note("mqtt_only", "5");
    }
    let why = withheld.then(|| run.why_withheld());
    let mut told = judge(run, tried, code, login.is_some(), why.as_ref());
    told.saw.en.push_str(&v5.en);
    told.saw.zh.push_str(&v5.zh);
    if let Some(Said { en, zh }) = why {
        told.saw.en.push_str(&format!("; {en}"));
        told.saw.zh.push_str(&format!("；{zh}"));
        told.proves = Some(Said::new(en, zh));
    }
    told
}

/// Whether behind a CONNACK stands what no server sends then. PUBLISH and SUBACK come only to whom
/// asked; DISCONNECT ends the connection.
fn is_followed_by_garbage(bytes: &[u8]) -> bool {
    let behind = bytes
        .get(1)
        .and_then(|length| bytes.get(2 + usize::from(*length)));
    behind.is_some_and(|first| !matches!(first, 0x30..=0x3D | 0xE0))
}

fn judge(run: &mut Run, tried: Said, code: u8, with_login: bool, withheld: Option<&Said>) -> Told {
    run.evidence.facts.note("reason", code.to_string());
    let word = word(code);
    let said = both!("CONNACK {code} ({word})", "CONNACK {code}（{word}）");
    let cause = match code {
        0 => {
            run.pass(
                Layer::Mqtt,
                both!("CONNACK 0 ({word})", "CONNACK 0（{word}）"),
            );
            return Told::passed(tried, said)
                .excluding(Said::new("the broker itself", "MQTT 服务器本身"));
        }
        // Whoever asks without a name is turned away by every well-kept broker.
        4 | 5 if !with_login => {
            let (en, zh) = match withheld {
                Some(why) => (format!("; {}", why.en), format!("；{}", why.zh)),
                None => Default::default(),
            };
            run.pass(
                Layer::Mqtt,
                both!(
                    "CONNACK {code}: it wants a login{en}",
                    "CONNACK {code}：要求登录{zh}"
                ),
            );
            return Told::passed(tried, said).proving(Said::new(
                "the broker answers and wants a name and a password; to test them, write \
                 mqtt://NAME:PASSWORD@HOST",
                "服务器有回应，要求用户名和密码；要测试它们，请写 mqtt://用户名:密码@主机",
            ));
        }
        1 => Cause::ProtocolVersion,
        2 => Cause::ClientIdRefused,
        3 => Cause::ServerBusy,
        4 => Cause::AuthFailed,
        5 => Cause::AuthFailed,
        _ => Cause::MqttRefused,
    };
    let mut clue = run.made(
        cause,
        Strength::Specific,
        both!("CONNACK {code} ({word})", "CONNACK {code}（{word}）"),
    );
    if code == 5 {
        // mosquitto says 5 to a wrong password, too.
        clue.or = Vec::new();
    }
    run.evidence.clues.push(clue);
    Told::failed(tried, said)
}

fn no_connack(run: &mut Run, tried: Said, got: &Got) -> Told {
    let Said { en, zh } = got.end.said();
    let spoken = Spoken::of(got);
    let cause = match (&spoken, got.end) {
        (Spoken::Nothing(_), End::Silent) => Cause::NoConnack,
        (Spoken::Nothing(End::Reset), _) => Cause::ConnectionReset,
        (Spoken::Nothing(_), _) => Cause::MqttFailed,
        (Spoken::Mqtt, _) => Cause::ProtocolError,
        _ => Cause::WrongService,
    };
    let word = spoken.word();
    let quote = match spoken {
        Spoken::Nothing(_) => both!("no answer to CONNECT: {en}", "CONNECT 没有得到回应：{zh}"),
        _ => both!(
            "the answer to CONNECT is {word}",
            "CONNECT 得到的回应是 {word}"
        ),
    };
    let strength = match cause {
        Cause::MqttFailed => Strength::Class,
        _ => Strength::Specific,
    };
    run.clue(cause, strength, quote);
    Told::misplaced(
        tried,
        both!("no CONNACK ({word}): {en}", "没有 CONNACK（{word}）：{zh}"),
        true,
    )
}

async fn with_v5(run: &mut Run) -> Option<u8> {
    let mut stream = run.dial().await.ok()?;
    let login = run.login_for_here();
    let got = log_in(run, &mut stream, 5, login.as_ref()).await;
    code_of(&got.bytes)
}

/// CONNECT, and what is answered; goodbye if that is a CONNACK.
pub(in crate::doctor::probing) async fn log_in<S: Stream + ?Sized>(
    run: &mut Run,
    stream: &mut S,
    version: u8,
    login: Option<&Login>,
) -> Got {
    use tokio::io::AsyncWriteExt;
    let packet = connect(version, &made_up_id(), login);
    let enough = |bytes: &[u8]| code_of(bytes).is_some() || (bytes.len() >= 4 && bytes[0] != 0x20);
    let got = run.ask(stream, &packet, DOCTOR_CONNACK, enough).await;
    if code_of(&got.bytes) == Some(0) {
        // How the server takes the goodbye changes nothing.
        let goodbye = tokio::time::timeout(crate::limits::DOCTOR_BANNER, async {
            stream.write_all(&[0xE0, 0]).await?;
            stream.shutdown().await
        });
        let _ = goodbye.await;
    }
    got
}

/// CONNECT of MQTT 3.1.1 (4) or 5, with a clean session and a keep alive of 60 s.
pub(in crate::doctor::probing) fn connect(version: u8, id: &str, login: Option<&Login>) -> Vec<u8> {
    let mut body = Vec::from(*b"\x00\x04MQTT");
    // Clean session [MQTT-3.1.2-4]; user name and password together [MQTT-3.1.2-22].
    let flags = if login.is_some() { 0xC2 } else { 0x02 };
    body.extend([version, flags, 0, 60]);
    if version == 5 {
        body.push(0);
    }
    let mut field = |text: &str| {
        let text = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text);
    };
    field(id);
    if let Some(login) = login {
        field(&login.user);
        field(&login.password);
    }
    let mut packet = vec![0x10];
    let mut length = body.len();
    // Seven bits in each byte, the lowest first [MQTT-2.2.3].
    loop {
        let more = length > 127;
        packet.push((length & 127) as u8 | if more { 128 } else { 0 });
        length >>= 7;
        if !more {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// The code of a CONNACK of either version: its fourth byte, for the length of a CONNACK fits into
/// one byte. None while bytes are missing, and for anything else.
pub(in crate::doctor::probing) fn code_of(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [0x20, 2..=127, 0 | 1, code, ..] => Some(*code),
        _ => None,
    }
}

/// A client identifier that is nobody's.
pub(in crate::doctor::probing) fn made_up_id() -> String {
    let random: [u8; 6] = dns::random();
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("safeport-doctor-{hex}")
}

fn word(code: u8) -> &'static str {
    match code {
        0 => "accepted",
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        _ => "refused",
    }
}

impl Run {
    /// The login, if it may go over the connection that was opened last: to who owns the certificate,
    /// and the certificate is in order. `--yes` sends it anywhere.
    pub(in crate::doctor::probing) fn login_for_here(&self) -> Option<Login> {
        let is_safe = self.speaks_tls() && self.tls.is_trusted();
        self.login.clone().filter(|_| is_safe || self.order.yes)
    }

    fn why_withheld(&self) -> Said {
        if self.speaks_tls() {
            Said::new(
                "the password was not sent: nobody vouches for this server (--yes sends it)",
                "未发送密码：该服务器的身份无法确认（使用 --yes 可发送）",
            )
        } else {
            Said::new(
                "the password was not sent over a connection without TLS (--yes sends it)",
                "未通过没有 TLS 的连接发送密码（使用 --yes 可发送）",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_carries_name_and_password_only_when_there_are_some() {
        assert_eq!(
            connect(4, "a", None),
            b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"
        );
        let login = Login {
            user: "u".to_owned(),
            password: "p".to_owned(),
        };
        let packet = connect(4, "a", Some(&login));
        assert_eq!(
            packet,
            b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01a\x00\x01u\x00\x01p"
        );
        let long = connect(5, &"x".repeat(200), None);
        assert_eq!(long[..3], [0x10, 0x80 | 0x55, 0x01]);
    }

    #[test]
    fn a_connack_is_read_in_both_versions_and_nothing_else_is_one() {
        assert_eq!(code_of(&[0x20, 2, 0, 5]), Some(5));
        assert_eq!(code_of(&[0x20, 3, 0, 0x87, 0]), Some(0x87));
        assert_eq!(code_of(&[0x20, 2, 0]), None);
        assert_eq!(code_of(b"HTTP"), None);
    }

    #[test]
    fn no_two_logins_have_the_same_client_id() {
        assert_ne!(made_up_id(), made_up_id());
    }
}
