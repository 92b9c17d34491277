//! Probes of voice servers that are none of ours: whether a WebSocket opens there as xiaozhi
//! firmware opens it.

use std::time::Duration;

use safeport_settings::gate::Layer;
use safeport_settings::{AdvertisedAddress, HostName, Outcome, Said, Scheme};
use safeport_xiaozhi::WebSocketUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::{Step, Stream, Trust, TrustedBy, both, ended, failed, reach, shown, tls};

/// Bytes of an answer that are looked at: its first line.
const HEAD: usize = 512;

/// What a probe of a voice server found.
#[derive(Debug, Clone, PartialEq)]
pub struct Voice {
    /// `Proved` if a WebSocket opened.
    pub outcome: Outcome,
    /// Whether a public authority vouches for its certificate; false without TLS.
    pub is_public: bool,
}

/// Opens a WebSocket at `url` and leaves. `headers` are lines that end in CRLF, such as
/// `Authorization` and `Device-Id`.
pub async fn voice(url: &WebSocketUrl, headers: &str, trust: &Trust, patience: Duration) -> Voice {
    let mut is_public = false;
    let opened = open(
        url,
        headers,
        trust,
        Instant::now() + patience,
        &mut is_public,
    )
    .await;
    Voice {
        outcome: opened.err().unwrap_or(Outcome::Proved),
        is_public,
    }
}

async fn open(
    url: &WebSocketUrl,
    headers: &str,
    trust: &Trust,
    until: Instant,
    is_public: &mut bool,
) -> Step<()> {
    let scheme = if url.is_tls() {
        Scheme::Wss
    } else {
        Scheme::Ws
    };
    let address = HostName::parse(url.host())
        .and_then(|host| AdvertisedAddress::new(scheme, host, url.port()))
        .map_err(|error| failed(Layer::Dns, error.what()))?;
    let answers = reach::resolve(&address, until).await?;
    let stream = reach::connect(&address, &answers, until).await.stream?.0;
    let late = |layer| {
        failed(
            layer,
            both!(
                "{url} takes the connection and does not answer; look at what stands in between \
                 (proxy, router, firewall)",
                "{url} 接受了连接，但没有回应；请检查中间的代理、路由器或防火墙"
            ),
        )
    };
    let mut stream: Box<dyn Stream> = if url.is_tls() {
        let handshake = timeout_at(until, tls::connect(stream, &address, trust));
        let (stream, trusted_by) = handshake.await.map_err(|_| late(Layer::Tls))??;
        *is_public = trusted_by == TrustedBy::PublicAuthority;
        Box::new(stream)
    } else {
        Box::new(stream)
    };
    // As the firmware writes it: the Host goes without a port.
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n{headers}Connection: Upgrade\r\nProtocol-Version: 1\r\n\
         Sec-WebSocket-Key: c2FmZXBvcnQtcHJvYmUtMQ==\r\nSec-WebSocket-Version: 13\r\n\
         Upgrade: websocket\r\n\r\n",
        url.path(),
        url.host(),
    );
    let exchange = timeout_at(until, first_line(&mut stream, &request));
    let line = exchange
        .await
        .map_err(|_| late(Layer::WebSocket))?
        .map_err(|error| {
            let Said { en, zh } = ended(&error);
            let said = Said::new(
                format!("{url} {en} without an answer"),
                format!("{url} 没有回应就{zh}"),
            );
            failed(Layer::WebSocket, said)
        })?;
    // The firmware looks for these very letters.
    if line.starts_with("HTTP/1.1 101") {
        return Ok(());
    }
    let line = shown(&line);
    Err(failed(
        Layer::WebSocket,
        both!(
            "{url} does not open a WebSocket, it answers `{line}`: xiaozhi firmware wants \
             `HTTP/1.1 101`; look at the path, at the token (xiaozhi.auth_key), and at a proxy that \
             drops Upgrade",
            "{url} 没有打开 WebSocket，而是回应 `{line}`：xiaozhi 固件要求 `HTTP/1.1 101`；\
             请检查路径、令牌（xiaozhi.auth_key），以及是否有代理丢掉了 Upgrade"
        ),
    ))
}

async fn first_line(stream: &mut Box<dyn Stream>, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    let mut bytes = [0; HEAD];
    while head.len() < HEAD && !head.contains(&b'\n') {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            if head.is_empty() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            break;
        }
        head.extend_from_slice(&bytes[..count]);
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).trim_end().to_owned())
}
