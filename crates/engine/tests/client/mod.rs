//! A blocking MQTT client over a real socket, and an engine to point it at.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use safeport_engine::{
    Carries, Engine, EngineSettings, Gatekeeper, ListenerLimits, ListenerSpec, Login, OwnedLogin,
    Permissions, Verdict,
};
use safeport_mqtt::{
    Ack, Connect, Decoded, Packet, Properties, Publish, QoS, ReasonCode, RetainHandling, Subscribe,
    SubscribeBuf, SubscribeOptions, Version, decode,
};
use safeport_net::attempt::{Attempt, Witness};
use safeport_net::{Certificates, TlsProfile, TlsService};

/// Remembers every attempt.
#[derive(Clone, Default)]
pub(crate) struct Seen(pub(crate) Arc<Mutex<Vec<Attempt>>>);

impl Witness for Seen {
    fn saw(&self, attempt: Attempt) {
        self.0.lock().expect("a list").push(attempt);
    }
}

/// TLS without a certificate, for listeners that nobody speaks TLS to.
#[allow(dead_code, reason = "not every test that shares this module needs it")]
pub(crate) fn no_tls() -> TlsService {
    TlsService::new(&Certificates::new(), TlsProfile::default()).expect("a service")
}

/// Lets everybody in; at once, or after a while and from another thread.
#[allow(dead_code, reason = "not every test that shares this module needs it")]
pub(crate) struct Door {
    pub(crate) delay: Option<Duration>,
}

impl Gatekeeper for Door {
    fn decide_now(&self, _: &Login<'_>) -> Option<Verdict> {
        self.delay
            .is_none()
            .then(|| Verdict::Admit(Arc::new(Permissions::open())))
    }

    fn decide(&self, login: OwnedLogin, answer: Box<dyn FnOnce(Verdict) + Send>) {
        let delay = self.delay.unwrap_or_default();
        std::thread::spawn(move || {
            std::thread::sleep(delay);
            answer(if login.client_id == "unwanted" {
                Verdict::Refuse(ReasonCode::BadUserNameOrPassword)
            } else {
                Verdict::Admit(Arc::new(Permissions::open()))
            });
        });
    }
}

/// An engine on a free port of 127.0.0.1.
#[allow(dead_code, reason = "not every test that shares this module needs it")]
pub(crate) fn engine(settings: EngineSettings, door: impl Gatekeeper) -> (Engine, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    let listener = ListenerSpec {
        name: "mqtt".into(),
        sockets: vec![socket],
        tls: no_tls(),
        carries: Carries::Plain,
        limits: ListenerLimits::default(),
    };
    let engine = Engine::start(
        settings,
        Arc::new(door),
        Arc::new(Seen::default()),
        vec![listener],
    )
    .expect("started");
    (engine, address)
}

pub(crate) fn loops(loops: usize) -> EngineSettings {
    EngineSettings {
        loops,
        ..EngineSettings::default()
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    version: Version,
    buffer: Vec<u8>,
}

/// A PUBLISH as it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<u16>,
}

#[allow(
    dead_code,
    reason = "not every test that shares this module needs all of it"
)]
impl Client {
    pub(crate) fn open(address: SocketAddr, version: Version) -> Client {
        let stream = TcpStream::connect(address).expect("connects");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a timeout");
        stream.set_nodelay(true).expect("nodelay");
        Client {
            stream,
            version,
            buffer: Vec::new(),
        }
    }

    /// Connected with this identifier; panics if refused.
    pub(crate) fn connect(address: SocketAddr, version: Version, id: &str, clean: bool) -> Client {
        let mut client = Client::open(address, version);
        client.say_connect(id, clean);
        let (code, _) = client.connack();
        assert_eq!(code, ReasonCode::Success);
        client
    }

    pub(crate) fn say_connect(&mut self, id: &str, clean_start: bool) {
        self.send(&Packet::Connect(Connect {
            version: self.version,
            clean_start,
            keep_alive: 60,
            client_id: id,
            will: None,
            username: None,
            password: None,
            properties: Properties::EMPTY,
            bridge: false,
        }));
    }

    pub(crate) fn connack(&mut self) -> (ReasonCode, bool) {
        self.packet(|packet| match packet {
            Packet::ConnAck(ack) => (ack.code, ack.session_present),
            other => panic!("expected CONNACK, got {other:?}"),
        })
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes).expect("encodes");
        self.stream.write_all(&bytes).expect("sent");
    }

    /// Sends SUBSCRIBE without waiting.
    pub(crate) fn say_subscribe(&mut self, filter: &str, qos: QoS) {
        let mut filters = SubscribeBuf::new();
        let options = SubscribeOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::SendAtSubscribe,
        };
        filters.push(filter, options).expect("a filter");
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: 1.try_into().expect("not zero"),
            properties: Properties::EMPTY,
            filters: filters.as_filters(),
        }));
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.say_subscribe(filter, qos);
        self.packet(|packet| match packet {
            Packet::SubAck(ack) => assert_eq!(ack.codes, [qos as u8]),
            other => panic!("expected SUBACK, got {other:?}"),
        });
    }

    pub(crate) fn say_publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
        id: u16,
    ) {
        self.send(&Packet::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic,
            packet_id: id.try_into().ok().filter(|_| qos != QoS::AtMostOnce),
            properties: Properties::EMPTY,
            payload,
        }));
    }

    /// Publishes with QoS 1 and waits for PUBACK.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) {
        self.say_publish(topic, payload, QoS::AtLeastOnce, retain, 7);
        self.packet(|packet| match packet {
            Packet::PubAck(ack) => assert!(!ack.code.is_error(), "{:?}", ack.code),
            other => panic!("expected PUBACK, got {other:?}"),
        });
    }

    /// The next PUBLISH; acknowledged if it is of QoS 1.
    pub(crate) fn message(&mut self) -> Message {
        let message = self.packet(|packet| match packet {
            Packet::Publish(publish) => Message {
                topic: publish.topic.into(),
                payload: publish.payload.into(),
                qos: publish.qos,
                retain: publish.retain,
                packet_id: publish.packet_id.map(|id| id.get()),
            },
            other => panic!("expected PUBLISH, got {other:?}"),
        });
        if let (QoS::AtLeastOnce, Some(id)) = (message.qos, message.packet_id) {
            self.send(&Packet::PubAck(Ack {
                packet_id: id.try_into().expect("not zero"),
                code: ReasonCode::Success,
                properties: Properties::EMPTY,
            }));
        }
        message
    }

    /// Asserts that nothing but the answer to a PINGREQ comes.
    pub(crate) fn hears_nothing(&mut self) {
        self.send(&Packet::PingReq);
        self.packet(|packet| assert!(matches!(packet, Packet::PingResp), "got {packet:?}"));
    }

    /// The next packet, as `read` sees it.
    pub(crate) fn packet<T>(&mut self, read: impl FnOnce(&Packet<'_>) -> T) -> T {
        loop {
            match decode(&self.buffer, self.version, u32::MAX).expect("well formed") {
                Decoded::Packet(packet, used) => {
                    let value = read(&packet);
                    self.buffer.drain(..used);
                    return value;
                }
                Decoded::Incomplete(_) => {
                    let mut chunk = [0; 65536];
                    let n = self.stream.read(&mut chunk).expect("a packet within 10 s");
                    assert!(n > 0, "the server closed the connection");
                    self.buffer.extend_from_slice(&chunk[..n]);
                }
            }
        }
    }

    /// Reads until the server closes; returns the last packet's reason if it was DISCONNECT.
    pub(crate) fn wait_for_close(&mut self) -> Option<ReasonCode> {
        let mut chunk = [0; 4096];
        while let Ok(n) = self.stream.read(&mut chunk) {
            if n == 0 {
                break;
            }
            self.buffer.extend_from_slice(&chunk[..n]);
        }
        match decode(&self.buffer, self.version, u32::MAX) {
            Ok(Decoded::Packet(Packet::Disconnect(disconnect), _)) => Some(disconnect.code),
            _ => None,
        }
    }
}
