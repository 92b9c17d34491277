//! The way to a token: every device checks first, and is told where to talk.

use super::{VoiceError, VoiceTarget, VoiceWay};
use serde_json::Value;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// How long a device asks until it is told where to talk.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);
/// Devices that ask at the same time.
const ASKERS: u32 = 4;
/// Devices behind one address of this machine. Safeport takes in 64 of one address in a minute.
const BEHIND_ONE: u32 = 32;

/// What a device needs for a conversation.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    pub(super) address: SocketAddr,
    pub(super) host: String,
    pub(super) mac: String,
    pub(super) client_id: String,
    pub(super) login: Login,
    number: u32,
}

/// What it was told.
#[derive(Debug, Clone)]
pub(super) enum Login {
    WebSocket { path: String, token: String },
    Mqtt(MqttLogin),
}

/// A login at the broker, and where messages for the server go.
#[derive(Debug, Clone)]
pub(super) struct MqttLogin {
    pub(super) client_id: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) topic: String,
}

/// Passes of `count` devices, always the same ones: a server that knows them need not take them in
/// again.
pub(super) async fn passes(target: &VoiceTarget, count: u32) -> Result<Vec<Pass>, VoiceError> {
    let asked: Arc<Place> = Arc::new(Place::read(&target.url)?);
    let way = target.way;
    let mut askers: JoinSet<Result<_, VoiceError>> = JoinSet::new();
    for first in 0..ASKERS.min(count) {
        let asked = asked.clone();
        askers.spawn(async move {
            let mut passes = Vec::new();
            for number in (first..count).step_by(ASKERS as usize) {
                let pass = Pass::of(number, &asked);
                passes.push(match asked.scheme {
                    Scheme::Http => pass.check(&asked.path, way).await?,
                    Scheme::WebSocket => pass,
                });
            }
            Ok(passes)
        });
    }
    let mut passes = Vec::with_capacity(count as usize);
    for found in askers.join_all().await {
        passes.append(&mut found?);
    }
    passes.sort_by_key(|pass: &Pass| pass.number);
    Ok(passes)
}

impl Pass {
    fn of(number: u32, place: &Place) -> Pass {
        let [_, a, b, c] = number.to_be_bytes();
        Pass {
            address: place.address,
            host: place.host.clone(),
            mac: format!("02:5a:0f:{a:02x}:{b:02x}:{c:02x}"),
            client_id: format!("5afe9047-0000-4000-8000-{number:012x}"),
            login: Login::WebSocket {
                path: place.path.clone(),
                token: "none.0".to_owned(),
            },
            number,
        }
    }

    /// Opens a connection; within this machine from an address that the device shares with few others.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let stream = match self.address {
            SocketAddr::V4(to) if is_here(*to.ip()) => {
                let [_, _, a, b] = (self.number / BEHIND_ONE + 1).to_be_bytes();
                let socket = TcpSocket::new_v4()?;
                socket.bind((IpAddr::from(Ipv4Addr::new(127, 1, a, b)), 0).into())?;
                socket.connect(self.address).await?
            }
            _ => TcpStream::connect(self.address).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Asks until it is told where to talk.
    async fn check(mut self, path: &str, way: Option<VoiceWay>) -> Result<Pass, VoiceError> {
        let began = Instant::now();
        loop {
            let answer = self.ask(path).await.map_err(|error| VoiceError::Connect {
                address: self.address,
                error,
            })?;
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let told: Value = serde_json::from_str(body).unwrap_or_default();
            let said = |way: &str, key: &str| Some(told[way][key].as_str()?.to_owned());
            let wanted = |one| way.is_none_or(|way| way == one);
            if let (Some(url), Some(token)) = (said("websocket", "url"), said("websocket", "token"))
                && wanted(VoiceWay::WebSocket)
            {
                let place = Place::read(&url)?;
                (self.address, self.host) = (place.address, place.host);
                let path = place.path;
                self.login = Login::WebSocket { path, token };
                return Ok(self);
            }
            if let (Some(endpoint), Some(client_id)) =
                (said("mqtt", "endpoint"), said("mqtt", "client_id"))
                && wanted(VoiceWay::Mqtt)
            {
                self.address =
                    address(&endpoint, 1883).ok_or(VoiceError::Address { url: endpoint })?;
                let told = |key| said("mqtt", key).unwrap_or_default();
                self.login = Login::Mqtt(MqttLogin {
                    client_id,
                    username: told("username"),
                    password: told("password"),
                    topic: told("publish_topic"),
                });
                return Ok(self);
            }
            if began.elapsed() > PATIENCE {
                return Err(VoiceError::NotTold {
                    seconds: PATIENCE.as_secs(),
                    answer: answer.chars().take(400).collect(),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn ask(&self, path: &str) -> io::Result<String> {
        let Pass {
            host,
            mac,
            client_id,
            ..
        } = self;
        let body = format!(
            r#"{{"version":2,"mac_address":"{mac}","uuid":"{client_id}","chip_model_name":"esp32s3","application":{{"name":"xiaozhi","version":"2.4.2"}},"board":{{"type":"bread-compact-wifi","name":"bread-compact-wifi","mac":"{mac}"}}}}"#
        );
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nActivation-Version: 1\r\nClient-Id: {client_id}\r\n\
             Connection: close\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n\
             Device-Id: {mac}\r\nUser-Agent: bread-compact-wifi/2.4.2\r\n\r\n{body}"
        );
        let mut stream = self.connect().await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Whether an address is one of this machine's: then 127.0.0.0/8 reaches it.
fn is_here(address: Ipv4Addr) -> bool {
    address.is_loopback() || UdpSocket::bind((address, 0)).is_ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    WebSocket,
}

/// An address, taken apart.
#[derive(Debug)]
struct Place {
    scheme: Scheme,
    host: String,
    path: String,
    address: SocketAddr,
}

impl Place {
    fn read(url: &str) -> Result<Place, VoiceError> {
        let bad = || VoiceError::Address {
            url: url.to_owned(),
        };
        let (scheme, rest) = match url.split_once("://").ok_or_else(bad)? {
            ("http", rest) => (Scheme::Http, rest),
            ("ws", rest) => (Scheme::WebSocket, rest),
            _ => return Err(bad()),
        };
        let (host, path) = match rest.split_once('/') {
            Some((host, path)) => (host.to_owned(), format!("/{path}")),
            None => (rest.to_owned(), "/".to_owned()),
        };
        Ok(Place {
            scheme,
            address: address(&host, 80).ok_or_else(bad)?,
            host,
            path,
        })
    }
}

/// The first address of `HOST` or `HOST:PORT`.
fn address(host: &str, port: u16) -> Option<SocketAddr> {
    let with_port = match host.rsplit_once(':') {
        Some(_) => host.to_owned(),
        None => format!("{host}:{port}"),
    };
    with_port.to_socket_addrs().ok()?.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_without_tls_are_taken_apart_and_others_refused() {
        let place = Place::read("http://127.0.0.1:8002/xiaozhi/ota/").expect("an address");
        assert_eq!(place.scheme, Scheme::Http);
        assert_eq!(
            (place.host.as_str(), place.path.as_str()),
            ("127.0.0.1:8002", "/xiaozhi/ota/")
        );
        assert_eq!(
            Place::read("ws://127.0.0.1")
                .expect("an address")
                .address
                .port(),
            80
        );
        for bad in ["wss://127.0.0.1/", "127.0.0.1", "http://nobody.invalid:x/"] {
            assert!(
                matches!(Place::read(bad), Err(VoiceError::Address { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_device_is_the_same_in_every_run_and_another_for_every_number() {
        let place = Place::read("ws://127.0.0.1:1/").expect("an address");
        assert_eq!(Pass::of(70_000, &place).mac, "02:5a:0f:01:11:70");
        assert_ne!(Pass::of(1, &place).client_id, Pass::of(2, &place).client_id);
    }
}
