//! An MQTT connection for boards whose firmware is simple there: connect, publish at QoS 0, take
//! what comes, ping.

use super::tls::Tls;
use crate::dial::{DialError, Socket, dial};
use safeport_mqtt::{
    Connect, Decoded, Packet, PacketId, Properties, Publish, QoS, ReasonCode, Subscribe,
    SubscribeBuf, SubscribeOptions, Version, Will, decode, limits,
};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

/// How to connect.
#[derive(Debug, Clone)]
pub(super) struct LinkOptions {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<Tls>,
    pub(super) client_id: String,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// Seconds.
    pub(super) keep_alive: u16,
    pub(super) clean: bool,
    /// Topic name, payload, retained.
    pub(super) will: Option<(String, String, bool)>,
    /// For TCP.
    pub(super) connect_wait: Duration,
    /// For CONNACK.
    pub(super) answer_wait: Duration,
}

/// A connection that was accepted.
pub(super) struct Link {
    socket: Box<dyn Socket>,
    received: Vec<u8>,
    keep_alive: Duration,
    last_out: Instant,
    ping_since: Option<Instant>,
    next_id: PacketId,
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: String,
}

impl Link {
    pub(super) async fn open(options: &LinkOptions) -> Result<Link, String> {
        let connector = options.tls.as_ref().map(Tls::connector).transpose()?;
        let socket = dial(
            &options.host,
            options.port,
            options.connect_wait,
            connector.as_ref(),
        )
        .await
        .map_err(DialError::words)?;
        let mut link = Link {
            socket,
            received: Vec::new(),
            keep_alive: Duration::from_secs(options.keep_alive.max(1).into()),
            last_out: Instant::now(),
            ping_since: None,
            next_id: PacketId::MIN,
        };
        let will = options.will.as_ref().map(|(topic, payload, retain)| Will {
            topic,
            payload: payload.as_bytes(),
            qos: QoS::AtMostOnce,
            retain: *retain,
            properties: Properties::EMPTY,
        });
        let connect = Packet::Connect(Connect {
            version: Version::V311,
            clean_start: options.clean,
            keep_alive: options.keep_alive,
            client_id: &options.client_id,
            will,
            username: options.username.as_deref(),
            password: options.password.as_deref().map(str::as_bytes),
            properties: Properties::EMPTY,
            bridge: false,
        });
        let opening = async {
            link.send(&connect)
                .await
                .map_err(|error| error.to_string())?;
            link.accepted().await
        };
        match timeout(options.answer_wait, opening).await {
            Ok(result) => result.map(|()| link),
            Err(_) => Err(format!("no CONNACK within {:?}", options.answer_wait)),
        }
    }

    async fn accepted(&mut self) -> Result<(), String> {
        loop {
            match decode(&self.received, Version::V311, limits::MAX_PACKET) {
                Ok(Decoded::Packet(Packet::ConnAck(connack), length)) => {
                    let code = connack.code;
                    self.received.drain(..length);
                    return if code == ReasonCode::Success {
                        Ok(())
                    } else {
                        Err(format!("CONNACK refused: {code}"))
                    };
                }
                Ok(Decoded::Packet(..)) => return Err("another packet than CONNACK".into()),
                Ok(Decoded::Incomplete(_)) => {}
                Err(error) => return Err(format!("not MQTT: {error}")),
            }
            self.fill().await.map_err(|error| error.to_string())?;
        }
    }

    pub(super) async fn publish(
        &mut self,
        topic: &str,
        payload: &str,
        retain: bool,
    ) -> io::Result<()> {
        self.send(&Packet::Publish(Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain,
            topic,
            packet_id: None,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        }))
        .await
    }

    pub(super) async fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        let mut filters = SubscribeBuf::new();
        filters
            .push(filter, SubscribeOptions::default())
            .map_err(io::Error::other)?;
        let packet_id = self.next_id;
        self.next_id = packet_id.checked_add(1).unwrap_or(PacketId::MIN);
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        }))
        .await
    }

    /// The next message; pings meanwhile. An error is the end of the connection. Nothing is lost
    /// when it is not waited for to the end.
    pub(super) async fn next(&mut self) -> io::Result<Message> {
        loop {
            let decoded = decode(&self.received, Version::V311, limits::MAX_PACKET);
            match decoded.map_err(|error| io::Error::other(error.to_string()))? {
                Decoded::Packet(packet, length) => {
                    let message = match packet {
                        Packet::Publish(publish) => Some(Message {
                            topic: publish.topic.to_owned(),
                            payload: String::from_utf8_lossy(publish.payload).into_owned(),
                        }),
                        Packet::PingResp => {
                            self.ping_since = None;
                            None
                        }
                        _ => None,
                    };
                    self.received.drain(..length);
                    if let Some(message) = message {
                        return Ok(message);
                    }
                }
                Decoded::Incomplete(_) => {
                    let due = match self.ping_since {
                        Some(since) => since + self.keep_alive,
                        None => self.last_out + self.keep_alive * 3 / 4,
                    };
                    tokio::select! {
                        filled = self.fill() => filled?,
                        () = sleep_until(due) => {
                            if self.ping_since.is_some() {
                                return Err(io::Error::other("no PINGRESP in time"));
                            }
                            self.send(&Packet::PingReq).await?;
                            self.ping_since = Some(Instant::now());
                        }
                    }
                }
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 2048];
        let read = self.socket.read(&mut chunk).await?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
        self.received.extend_from_slice(&chunk[..read]);
        Ok(())
    }

    async fn send(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        packet
            .encode(Version::V311, &mut bytes)
            .map_err(|error| io::Error::other(error.to_string()))?;
        self.last_out = Instant::now();
        self.socket.write_all(&bytes).await?;
        self.socket.flush().await
    }
}
