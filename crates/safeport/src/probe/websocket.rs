//! The WebSocket layer of a probe: the upgrade with the proof in its answer, then MQTT in it.

use std::io;

use safeport_settings::gate::Layer;
use safeport_settings::{Outcome, Said};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::{self, Answer};
use super::proof::{NONCE_HEADER, PROOF_HEADER};
use super::{Nonce, Step, Stream, Visit, both, ended, failed, mqtt};

/// Opens `/mqtt` as a WebSocket and logs in.
pub(super) async fn ask(visit: &mut Visit<'_>, mut stream: Box<dyn Stream>) -> Step<()> {
    let headers = format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n{NONCE_HEADER}: {}\r\n",
        key(visit.nonce),
        visit.nonce,
    );
    let request = http::request(visit, "/mqtt", &headers);
    let answer = visit
        .within(Layer::WebSocket, http::begin(&mut stream, &request))
        .await?
        .map_err(|error| error.outcome(visit, Layer::WebSocket))?;
    if answer.status != 101 {
        drop(stream);
        return Err(refused(visit, &answer).await);
    }
    judge_proof(visit, &answer)?;
    let login = visit.within(Layer::Mqtt, log_in(&mut stream, visit.nonce, answer.body));
    // The proof has told whose broker it is, so any answer of it shows that data gets through:
    // also "server unavailable", which is no fault of the address.
    login.await?.map_err(|why| no_login(visit, why))
}

/// Sixteen bytes in base64, as good as random: the digits of the nonce are all digits of base64,
/// and `w` leaves the last four bits clear, as canonical base64 does.
fn key(nonce: &Nonce) -> String {
    format!("{}w==", &nonce.as_str()[..21])
}

fn judge_proof(visit: &Visit<'_>, answer: &Answer) -> Step<()> {
    let address = visit.address;
    let saw = match answer.header(PROOF_HEADER) {
        Some(proof) if visit.proofs.is_answer(visit.nonce, proof) => return Ok(()),
        Some(_) => both!(
            "another Safeport server answers at {address}",
            "{address} 上是另一台 Safeport 服务器"
        ),
        None => {
            let Said { en, zh } = answer.described();
            Said::new(
                format!(
                    "{address} opens a WebSocket ({en}) without this server's proof: another \
                     program listens there, or a proxy drops the header {PROOF_HEADER}"
                ),
                format!(
                    "{address} 打开了 WebSocket（{zh}），但没有本服务器的证明：那里是另一个程序，或代理丢掉了 {PROOF_HEADER} 头"
                ),
            )
        }
    };
    Err(Outcome::Foreign { saw })
}

/// Why there was no upgrade: what plain HTTP says at the same place tells a proxy in front of us
/// from another server.
async fn refused(visit: &mut Visit<'_>, answer: &Answer) -> Outcome {
    if let Some(outcome) = http::broken_proxy(visit, answer, Layer::WebSocket) {
        return outcome;
    }
    let address = visit.address;
    let plain = match visit.open().await {
        Ok(stream) => http::ask(visit, stream).await,
        Err(outcome) => Err(outcome),
    };
    let status = answer.status;
    let Said { en, zh } = answer.described();
    match plain {
        Ok(()) if status == 404 => failed(
            Layer::WebSocket,
            both!(
                "{address} leads here for HTTP, but the path /mqtt is not forwarded (HTTP 404); add \
                 it to the proxy",
                "{address} 的 HTTP 通向本服务器，但路径 /mqtt 没有转发（HTTP 404）；请在代理中加上它"
            ),
        ),
        Ok(()) => failed(
            Layer::WebSocket,
            Said::new(
                format!(
                    "plain HTTP gets through {address}, but not the upgrade to WebSocket ({en}): a \
                     proxy drops the headers Upgrade and Connection. nginx needs \
                     proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                     proxy_set_header Connection \"upgrade\";"
                ),
                format!(
                    "普通 HTTP 可以通过 {address}，但 WebSocket 升级不行（{zh}）：代理丢掉了 Upgrade 和 Connection 头。nginx 需要 \
                     proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                     proxy_set_header Connection \"upgrade\";"
                ),
            ),
        ),
        Err(Outcome::Foreign { saw }) => Outcome::Foreign { saw },
        // A redirect, a login page: both are asked the same.
        Err(Outcome::Failed {
            layer: Layer::Http,
            saw,
        }) => failed(Layer::WebSocket, saw),
        Err(_) => failed(
            Layer::WebSocket,
            Said::new(
                format!("{address} answers the upgrade to WebSocket with {en}"),
                format!("{address} 对 WebSocket 升级的回应是 {zh}"),
            ),
        ),
    }
}

/// Why there is no answer to the login.
enum NoLogin {
    Ended(io::Error),
    /// A close frame with its code.
    Closed(Option<u16>),
    /// What came is no CONNACK.
    Strange,
}

fn no_login(visit: &Visit<'_>, why: NoLogin) -> Outcome {
    let address = visit.address;
    let what = match why {
        NoLogin::Ended(error) => ended(&error),
        NoLogin::Closed(Some(code)) => both!(
            "closed the WebSocket (code {code})",
            "关闭了 WebSocket（代码 {code}）"
        ),
        NoLogin::Closed(None) => Said::new("closed the WebSocket", "关闭了 WebSocket"),
        NoLogin::Strange => Said::new(
            "answered with something that is no MQTT",
            "回应了不是 MQTT 的内容",
        ),
    };
    let Said { en, zh } = what;
    failed(
        Layer::Mqtt,
        Said::new(
            format!(
                "the WebSocket at {address} leads here, but the MQTT login in it fails: it {en}; a \
                 proxy may open WebSockets and not carry their data"
            ),
            format!(
                "{address} 的 WebSocket 通向本服务器，但其中的 MQTT 登录失败：对方{zh}；代理可能打开了 WebSocket 却不传输数据"
            ),
        ),
    )
}

/// CONNECT in one masked binary frame, until CONNACK is there. `early` came behind the head of the
/// answer.
async fn log_in(
    stream: &mut Box<dyn Stream>,
    nonce: &Nonce,
    early: Vec<u8>,
) -> Result<(), NoLogin> {
    let connect = mqtt::connect_packet(nonce);
    let sent = async {
        stream
            .write_all(&masked_frame(BINARY, &connect, nonce))
            .await?;
        stream.flush().await
    };
    sent.await.map_err(NoLogin::Ended)?;
    let mut frames = early;
    let mut packet = Vec::new();
    let mut buffer = [0; 512];
    'answered: loop {
        while let Some(frame) = take_frame(&mut frames).map_err(|()| NoLogin::Strange)? {
            match frame.kind {
                0..=2 => packet.extend(frame.payload),
                CLOSE => {
                    let code = frame.payload.first_chunk().map(|c| u16::from_be_bytes(*c));
                    return Err(NoLogin::Closed(code));
                }
                // A ping within the first second needs no answer.
                _ => {}
            }
            // Before the next frame, since a refusal is followed by the end.
            match mqtt::connack(&packet) {
                Ok(None) => {}
                Ok(Some(_)) => break 'answered,
                Err(()) => return Err(NoLogin::Strange),
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) => return Err(NoLogin::Ended(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => frames.extend_from_slice(&buffer[..count]),
            Err(error) => return Err(NoLogin::Ended(error)),
        }
    }
    // It is answered; how the peer takes the goodbye changes nothing.
    let mut goodbye = masked_frame(BINARY, &mqtt::DISCONNECT, nonce);
    goodbye.extend(masked_frame(CLOSE, &1000_u16.to_be_bytes(), nonce));
    let _ = stream.write_all(&goodbye).await;
    let _ = stream.shutdown().await;
    Ok(())
}

const BINARY: u8 = 2;
const CLOSE: u8 = 8;
/// Longest payload with a length of one byte (RFC 6455 §5.2); CONNECT and CONNACK are shorter.
const SHORT: usize = 125;

/// One whole frame of a client (RFC 6455 §5.2). The mask only has to differ from frame to frame
/// of different connections.
fn masked_frame(kind: u8, payload: &[u8], nonce: &Nonce) -> Vec<u8> {
    debug_assert!(payload.len() <= SHORT);
    let mask: [u8; 4] = std::array::from_fn(|place| nonce.as_str().as_bytes()[place]);
    let mut frame = vec![0x80 | kind, 0x80 | payload.len() as u8];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

/// Takes one frame of a server off the front; an error for what none of ours would send: a mask,
/// or more than [`SHORT`] bytes.
fn take_frame(bytes: &mut Vec<u8>) -> Result<Option<Frame>, ()> {
    let [first, length, ..] = bytes[..] else {
        return Ok(None);
    };
    let length = usize::from(length);
    if length > SHORT {
        return Err(());
    }
    if bytes.len() < 2 + length {
        return Ok(None);
    }
    let rest = bytes.split_off(2 + length);
    let frame = std::mem::replace(bytes, rest);
    Ok(Some(Frame {
        kind: first & 0x0F,
        payload: frame[2..].to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_in_pieces_and_more_than_one_at_a_time() {
        let mut bytes = vec![0x82];
        assert!(matches!(take_frame(&mut bytes), Ok(None)));
        bytes.extend([0x02, 0x20]);
        assert!(matches!(take_frame(&mut bytes), Ok(None)));
        bytes.extend([0x02, 0x88, 0x00]);
        let frame = take_frame(&mut bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.payload), (BINARY, vec![0x20, 0x02]));
        let frame = take_frame(&mut bytes).unwrap().unwrap();
        assert_eq!((frame.kind, frame.payload), (CLOSE, vec![]));
        assert!(bytes.is_empty());
        assert!(take_frame(&mut vec![0x82, 0xFE, 0, 0]).is_err());
    }
}
