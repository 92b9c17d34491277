//! The MQTT layer of a probe: a login that carries the nonce, and whether it came in here.
//!
//! CONNECT and CONNACK are written out here instead of taken from `safeport-mqtt`: it has no
//! client's encoder, and a probe should not share a mistake with the server it looks at.

use std::io;

use safeport_settings::gate::Layer;
use safeport_settings::{Outcome, Said};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::proof::USER;
use super::{Nonce, Step, Stream, Visit, both, ended, failed};

/// Logs in, and looks whether this process has seen the login.
pub(super) async fn ask(visit: &mut Visit<'_>, mut stream: Box<dyn Stream>) -> Step<()> {
    let answer = visit
        .within(Layer::Mqtt, log_in(&mut stream, visit.nonce))
        .await?;
    // The gatekeeper has noted the login before it was answered.
    visit.report.arrival = visit.proofs.settle(visit.nonce);
    let has_arrived = visit.report.arrival.is_some();
    let address = visit.address;
    match answer {
        // It came in here and the answer got back: whatever it says, the address is right.
        Ok(_) if has_arrived => Ok(()),
        Ok(code) => Err(Outcome::Foreign {
            saw: if code == 0 {
                both!(
                    "another broker answers at {address}: it took a login that never came in here",
                    "{address} 上是另一个消息服务器：它接受了一个从未到达本服务器的登录"
                )
            } else {
                both!(
                    "another broker answers at {address}: it refused a login (code {code}) that \
                     never came in here",
                    "{address} 上是另一个消息服务器：它拒绝了（代码 {code}）一个从未到达本服务器的登录"
                )
            },
        }),
        Err(NoConnack::Strange(bytes)) => Err(strange(visit, &bytes)),
        Err(NoConnack::Ended(error)) => {
            let Said { en, zh } = ended(&error);
            Err(failed(
                Layer::Mqtt,
                if has_arrived {
                    Said::new(
                        format!(
                            "the login came in here by {address}, but the answer did not get back: it {en}"
                        ),
                        format!("登录经 {address} 到达了本服务器，但回应没有返回：对方{zh}"),
                    )
                } else {
                    Said::new(
                        format!(
                            "{address} {en} without an answer to the MQTT login, which never came \
                             in here; another program listens there, or a proxy does not reach \
                             this server"
                        ),
                        format!(
                            "{address} 没有回应 MQTT 登录就{zh}，登录也从未到达本服务器；那里是另一个程序，或代理无法到达本服务器"
                        ),
                    )
                },
            ))
        }
    }
}

fn strange(visit: &Visit<'_>, bytes: &[u8]) -> Outcome {
    let address = visit.address;
    if bytes.starts_with(&[0x15, 0x03]) {
        return failed(
            Layer::Mqtt,
            both!(
                "{address} speaks TLS; the address needs mqtts://, or another port",
                "{address} 使用 TLS；地址应以 mqtts:// 开头，或改用其他端口"
            ),
        );
    }
    Outcome::Foreign {
        saw: if bytes.starts_with(b"HTTP/") || bytes.starts_with(b"<") {
            both!(
                "an HTTP server answers at {address}, no MQTT broker; a proxy for MQTT has to \
                 forward TCP (nginx: `stream`)",
                "{address} 上是 HTTP 服务器，不是 MQTT；MQTT 的代理必须转发 TCP（nginx：`stream`）"
            )
        } else {
            both!(
                "what answers at {address} is no MQTT broker",
                "{address} 上的程序不是 MQTT 服务器"
            )
        },
    }
}

enum NoConnack {
    Ended(io::Error),
    Strange(Vec<u8>),
}

async fn log_in(stream: &mut Box<dyn Stream>, nonce: &Nonce) -> Result<u8, NoConnack> {
    let sent = async {
        stream.write_all(&connect_packet(nonce)).await?;
        stream.flush().await
    };
    let sent = sent.await;
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) if !bytes.is_empty() => return Err(NoConnack::Strange(bytes)),
            Ok(0) => {
                let closed = || io::ErrorKind::UnexpectedEof.into();
                return Err(NoConnack::Ended(sent.err().unwrap_or_else(closed)));
            }
            Err(error) => return Err(NoConnack::Ended(error)),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
        match connack(&bytes) {
            Ok(None) => {}
            Ok(Some(code)) => {
                // It is answered; how the peer takes the goodbye changes nothing.
                let _ = stream.write_all(&DISCONNECT).await;
                let _ = stream.shutdown().await;
                return Ok(code);
            }
            Err(()) => return Err(NoConnack::Strange(bytes)),
        }
    }
}

/// DISCONNECT of MQTT 3.1.1.
pub(super) const DISCONNECT: [u8; 2] = [0xE0, 0x00];

/// CONNECT of MQTT 3.1.1 with a clean session, user name and password, keep alive 10 s; 86 bytes.
pub(super) fn connect_packet(nonce: &Nonce) -> Vec<u8> {
    let mut body = Vec::from(*b"\x00\x04MQTT\x04\xC2\x00\x0A");
    for field in [nonce.client_id().as_str(), USER, nonce.as_str()] {
        body.extend((field.len() as u16).to_be_bytes());
        body.extend(field.as_bytes());
    }
    // Below 128, so one byte says the length [MQTT-2.2.3].
    let mut packet = vec![0x10, body.len() as u8];
    packet.extend(body);
    packet
}

/// The return code in `20 02 flags code`; `None` while bytes are missing, an error if it is
/// something else.
pub(super) fn connack(bytes: &[u8]) -> Result<Option<u8>, ()> {
    match bytes {
        [] | [0x20] | [0x20, 0x02] | [0x20, 0x02, _] => Ok(None),
        [0x20, 0x02, _, code, ..] => Ok(Some(*code)),
        _ => Err(()),
    }
}
