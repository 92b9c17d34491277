//! Connections that speak TLS, or should: through the door, with every way to fail at it.

mod client;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime};

use client::{Client, Door, Seen, loops};
use safeport_engine::{
    Carries, Engine, EngineSettings, ListenerLimits, ListenerSpec, SteeringError,
};
use safeport_mqtt::{Packet, Version};
use safeport_net::attempt::{Attempt, Ending, Limit, Stage};
use safeport_net::rustls::client::Resumption;
use safeport_net::rustls::crypto::aws_lc_rs;
use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_net::rustls::pki_types::{CertificateDer, ServerName};
use safeport_net::rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    SupportedProtocolVersion, version,
};
use safeport_net::{
    Certificates, FirstBytes, HandshakeLimits, Handshakes, PrivateCa, TlsProfile, TlsService,
};

const OPEN: Door = Door { delay: None };

/// CONNECT of 3.1.1 as `plug`, clean session; CONNACK; PINGREQ; PINGRESP; DISCONNECT.
const CONNECT: &[u8] = b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04plug";
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PING: [u8; 2] = [0xc0, 0];
const PONG: [u8; 2] = [0xd0, 0];
const DISCONNECT: [u8; 2] = [0xe0, 0];

struct Authority {
    certificates: Certificates,
    root: CertificateDer<'static>,
    roots: Arc<RootCertStore>,
}

/// One for all tests: its keys take a while.
fn authority() -> &'static Authority {
    static AUTHORITY: OnceLock<Authority> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let mut ca = PrivateCa::open_or_create(folder.path(), now).expect("an authority");
        ca.ensure_leaf(&["hub.lan".to_owned()], now)
            .expect("certificates");
        let certificates = Certificates::new();
        certificates.set_private(ca.chains());
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca.ca_pem().as_bytes()).expect("a root");
        roots.add(root.clone()).expect("a root");
        Authority {
            certificates,
            root,
            roots: roots.into(),
        }
    })
}

/// An engine with listeners `mqtts` and `mqtt`, and its witness.
struct Hub {
    engine: Engine,
    tls: SocketAddr,
    plain: SocketAddr,
    seen: Seen,
}

impl Hub {
    fn new() -> Hub {
        Hub::with(loops(2), ListenerLimits::default())
    }

    fn with_handshakes(limits: HandshakeLimits) -> Hub {
        let settings = EngineSettings {
            handshakes: Handshakes::new(limits),
            ..loops(2)
        };
        Hub::with(settings, ListenerLimits::default())
    }

    fn with(settings: EngineSettings, limits: ListenerLimits) -> Hub {
        Hub::presenting(settings, limits, &TlsProfile::default())
    }

    fn presenting(settings: EngineSettings, limits: ListenerLimits, profile: &TlsProfile) -> Hub {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (tls, plain) = (bind(), bind());
        let at = |socket: &TcpListener| socket.local_addr().expect("bound");
        let addresses = (at(&tls), at(&plain));
        let spec = |name: &str, socket, carries| ListenerSpec {
            name: name.into(),
            sockets: vec![socket],
            tls: TlsService::new(&authority().certificates, profile.clone()).expect("a service"),
            carries,
            limits: limits.clone(),
        };
        let specs = vec![
            spec("mqtts", tls, Carries::Tls),
            spec("mqtt", plain, Carries::Plain),
        ];
        let seen = Seen::default();
        let engine = Engine::start(settings, Arc::new(OPEN), Arc::new(seen.clone()), specs)
            .expect("started");
        Hub {
            engine,
            tls: addresses.0,
            plain: addresses.1,
            seen,
        }
    }

    /// The first attempt that fits, and waits for it.
    fn saw(&self, fits: impl Fn(&Attempt) -> bool) -> Attempt {
        let started = Instant::now();
        loop {
            {
                let mut list = self.seen.0.lock().expect("a list");
                if let Some(at) = list.iter().position(&fits) {
                    return list.remove(at);
                }
                assert!(
                    started.elapsed() < Duration::from_secs(20),
                    "not seen; what was: {:?}",
                    list.iter().map(|a| &a.ending).collect::<Vec<_>>()
                );
            }
            sleep(Duration::from_millis(5));
        }
    }

    fn has_nobody_open(&self) {
        let started = Instant::now();
        let handle = self.engine.handle();
        while handle.open_connections("mqtts") + handle.open_connections("mqtt") > 0 {
            assert!(started.elapsed() < Duration::from_secs(10), "still counted");
            sleep(Duration::from_millis(5));
        }
    }
}

fn config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(authority().roots.clone())
        .with_no_client_auth()
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

fn over(config: ClientConfig, at: SocketAddr) -> TlsStream {
    let name = ServerName::try_from("hub.lan").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    StreamOwned::new(connection, open(at))
}

fn tls(at: SocketAddr) -> TlsStream {
    over(config(ALL_VERSIONS), at)
}

fn open(at: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("connects");
    let late = Some(Duration::from_secs(20));
    stream.set_read_timeout(late).expect("a timeout");
    stream.set_nodelay(true).expect("no delay");
    stream
}

fn connect(stream: &mut (impl Read + Write)) {
    stream.write_all(CONNECT).expect("sent");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("CONNACK");
    assert_eq!(answer, CONNACK);
}

fn answers(stream: &mut (impl Read + Write)) {
    stream.write_all(&PING).expect("sent");
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).expect("PINGRESP");
    assert_eq!(answer, PONG);
}

/// All that comes until the server closes.
fn last_words(stream: &mut TcpStream) -> Vec<u8> {
    let mut words = Vec::new();
    // Also after a reset.
    let _ = stream.read_to_end(&mut words);
    words
}

/// What a client with this configuration says first.
fn hello(config: ClientConfig) -> (ClientConnection, Vec<u8>) {
    let name = ServerName::try_from("hub.lan").expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("memory");
    (client, bytes)
}

#[test]
fn a_client_of_either_version_is_served_and_what_its_handshake_showed_is_told() {
    for (version, number) in [(&version::TLS12, 0x0303), (&version::TLS13, 0x0304)] {
        let hub = Hub::new();
        let mut stream = over(config(&[version]), hub.tls);
        connect(&mut stream);
        answers(&mut stream);
        let attempt = hub.saw(|attempt| attempt.ending == Ending::Connected);
        assert_eq!(&*attempt.listener, "mqtts");
        assert_eq!(attempt.first, Some(FirstBytes::Tls));
        assert_eq!(attempt.client_id.as_deref(), Some("plug"));
        assert_eq!(attempt.peer, stream.sock.local_addr().expect("bound"));
        assert!(attempt.took < Duration::from_secs(10));
        let tls = attempt.tls.expect("what TLS showed");
        assert_eq!(tls.version, Some(number));
        assert!(tls.suite.is_some() && !tls.resumed && tls.served.is_some());
        let hello = tls.hello.expect("a hello");
        assert_eq!(hello.server_name.as_deref(), Some("hub.lan"));
        // rustls is known to have room for whole records.
        assert_eq!(tls.record_size, 16384);
        drop(stream);
        hub.has_nobody_open();
    }
}

#[test]
fn a_client_that_resumes_is_told_apart_and_gets_no_certificate() {
    let hub = Hub::new();
    for version in [&version::TLS12, &version::TLS13] {
        let mut config = config(&[version]);
        config.resumption = Resumption::in_memory_sessions(8);
        for resumed in [false, true] {
            let mut stream = over(config.clone(), hub.tls);
            connect(&mut stream);
            answers(&mut stream);
            let attempt = hub.saw(|attempt| attempt.ending == Ending::Connected);
            let tls = attempt.tls.expect("what TLS showed");
            assert_eq!((tls.resumed, tls.served.is_none()), (resumed, resumed));
            assert!(tls.version.is_some() && tls.suite.is_some());
            stream.write_all(&DISCONNECT).expect("sent");
        }
    }
}

#[test]
fn what_comes_with_the_last_bytes_of_a_handshake_is_not_lost_even_with_goodbye_behind_it() {
    let hub = Hub::new();
    for version in [&version::TLS12, &version::TLS13] {
        let mut reader = Client::connect(hub.plain, Version::V311, "reader", true);
        reader.subscribe("from/plug", safeport_mqtt::QoS::AtMostOnce);
        let (mut client, first) = hello(config(&[version]));
        let mut stream = open(hub.tls);
        stream.write_all(&first).expect("sent");
        let mut everything = CONNECT.to_vec();
        everything.extend(b"\x30\x0e\0\x09from/plughey");
        everything.extend(DISCONNECT);
        // TLS 1.3 may speak right behind its Finished, TLS 1.2 waits for the server's.
        client.writer().write_all(&everything).expect("memory");
        while client.is_handshaking() {
            client.read_tls(&mut stream).expect("a flight");
            client.process_new_packets().expect("a handshake");
            if client.is_handshaking() {
                while client.wants_write() {
                    client.write_tls(&mut stream).expect("sent");
                }
            }
        }
        client.send_close_notify();
        let mut rest = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut rest).expect("memory");
        }
        stream.write_all(&rest).expect("sent at once");
        drop(stream);
        assert_eq!(reader.message().payload, b"hey");
        drop(reader);
        hub.has_nobody_open();
    }
}

#[test]
fn plain_mqtt_on_the_tls_port_is_answered_in_its_own_version() {
    let hub = Hub::new();
    let mut old = Client::open(hub.tls, Version::V311);
    old.say_connect("old-plug", true);
    assert_eq!(last_words(&mut old.stream), [0x20, 2, 0, 3]);
    let attempt = hub.saw(|attempt| attempt.ending == Ending::WrongProtocol);
    assert_eq!(attempt.first, Some(FirstBytes::Mqtt));
    assert_eq!(attempt.client_id.as_deref(), Some("old-plug"));

    let mut new = Client::open(hub.tls, Version::V5);
    new.say_connect("new-plug", true);
    new.packet(|packet| {
        let Packet::ConnAck(ack) = packet else {
            panic!("expected CONNACK, got {packet:?}");
        };
        assert_eq!(ack.code as u8, 0x9C);
        let reason = ack.properties.reason_string().expect("words");
        let port = format!("port {}", hub.plain.port());
        assert!(reason.contains("TLS") && reason.contains(&port), "{reason}");
    });
    hub.saw(|attempt| attempt.client_id.as_deref() == Some("new-plug"));
    drop((old, new));
    hub.has_nobody_open();
}

#[test]
fn http_on_a_port_for_mqtt_reads_where_it_belongs() {
    let hub = Hub::new();
    let signpost = "Pages are at http://hub.lan:8002/";
    hub.engine.handle().set_signpost(signpost);
    let request = b"GET / HTTP/1.1\r\nHost: hub.lan\r\n\r\n";
    let upgrade = b"GET /mqtt HTTP/1.1\r\nHost: hub.lan\r\nUpgrade: websocket\r\n\r\n";
    for (at, request, websocket) in [
        (hub.plain, &request[..], false),
        (hub.tls, &request[..], false),
        (hub.plain, &upgrade[..], true),
        (hub.tls, &upgrade[..], true),
    ] {
        let mut stream = open(at);
        stream.write_all(request).expect("sent");
        let answer = String::from_utf8(last_words(&mut stream)).expect("text");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.ends_with(&format!("{signpost}\n")), "{answer}");
        let attempt = hub.saw(|attempt| attempt.ending == Ending::WrongProtocol);
        assert_eq!(attempt.first, Some(FirstBytes::Http));
        assert_eq!(attempt.asked_websocket, websocket);
    }
    // A browser at the TLS port reads it, too.
    let mut browser = tls(hub.tls);
    browser.write_all(request).expect("sent");
    let mut answer = String::new();
    let _ = browser.read_to_string(&mut answer);
    assert!(answer.ends_with(&format!("{signpost}\n")), "{answer}");
    let attempt = hub.saw(|attempt| attempt.ending == Ending::WrongProtocol);
    assert!(attempt.tls.is_some());
    drop(browser);
    hub.has_nobody_open();
}

#[test]
fn tls_on_the_plain_port_is_told_with_the_alert_that_tasmota_prints_as_266() {
    let hub = Hub::new();
    let (_, bytes) = hello(config(ALL_VERSIONS));
    // In one piece, and with its first byte alone.
    for cut in [0, 1] {
        let mut stream = open(hub.plain);
        stream.write_all(&bytes[..cut]).expect("sent");
        sleep(Duration::from_millis(20));
        stream.write_all(&bytes[cut..]).expect("sent");
        assert_eq!(last_words(&mut stream), [21, 3, 3, 0, 2, 2, 10]);
        let attempt = hub.saw(|attempt| attempt.ending == Ending::WrongProtocol);
        assert_eq!(attempt.first, Some(FirstBytes::Tls));
        assert_eq!(&*attempt.listener, "mqtt");
    }
    hub.has_nobody_open();
}

#[test]
fn a_listener_that_takes_both_serves_both_on_each_port() {
    let limits = ListenerLimits {
        accept_both: true,
        ..ListenerLimits::default()
    };
    let hub = Hub::with(loops(2), limits);
    for at in [hub.tls, hub.plain] {
        let mut inside_tls = tls(at);
        connect(&mut inside_tls);
        let attempt = hub.saw(|attempt| attempt.ending == Ending::Connected);
        assert!(attempt.tls.is_some() && attempt.peer == inside_tls.sock.local_addr().unwrap());
        answers(&mut inside_tls);
        let mut in_clear = open(at);
        connect(&mut in_clear);
        let attempt = hub.saw(|attempt| attempt.ending == Ending::Connected);
        assert!(attempt.tls.is_none() && attempt.first == Some(FirstBytes::Mqtt));
        answers(&mut in_clear);
        // The same client identifier: the one inside TLS had to go.
        let attempt = hub.saw(|attempt| attempt.ending == Ending::TakenOver);
        assert_eq!(attempt.client_id.as_deref(), Some("plug"));
    }
    // It can be changed while it serves.
    let handle = hub.engine.handle();
    handle
        .set_limits("mqtt", &ListenerLimits::default())
        .expect("set");
    let mut stream = open(hub.plain);
    stream
        .write_all(&hello(config(ALL_VERSIONS)).1)
        .expect("sent");
    assert_eq!(last_words(&mut stream), [21, 3, 3, 0, 2, 2, 10]);
}

#[test]
fn clear_text_is_no_way_around_client_certificates_even_where_both_are_taken() {
    let limits = ListenerLimits {
        accept_both: true,
        ..ListenerLimits::default()
    };
    let profile = TlsProfile {
        client_roots: Some(vec![authority().root.clone()]),
        ..TlsProfile::default()
    };
    let hub = Hub::presenting(loops(2), limits, &profile);
    let mut stream = open(hub.tls);
    stream.write_all(CONNECT).expect("sent");
    assert_eq!(last_words(&mut stream), [0x20, 2, 0, 3]);
    hub.saw(|attempt| attempt.ending == Ending::WrongProtocol);
}

#[test]
fn garbage_is_closed_and_heartbeats_get_nothing_back() {
    let hub = Hub::new();
    for garbage in [&b"SSH-2.0-x\r\n"[..], &[0; 100], b"\x80\x2e\x01\x03\x01"] {
        let mut stream = open(hub.tls);
        stream.write_all(garbage).expect("sent");
        assert_eq!(last_words(&mut stream), b"");
        let attempt = hub.saw(|attempt| attempt.ending == Ending::WrongProtocol);
        assert_eq!(attempt.first, Some(FirstBytes::Unknown));
    }
    // A record that says handshake and holds none; then a heartbeat that asks for more than it
    // sends, in the middle of a handshake.
    for (start, rest) in [
        (b"\x16\x03\x01\0\x05hello".to_vec(), &b""[..]),
        (
            hello(config(&[&version::TLS12])).1,
            &b"\x18\x03\x03\0\x03\x01\x40\0"[..],
        ),
    ] {
        let mut stream = open(hub.tls);
        stream.write_all(&start).expect("sent");
        sleep(Duration::from_millis(50));
        stream.write_all(rest).expect("sent");
        let words = last_words(&mut stream);
        // Nothing but an alert comes behind our flight.
        assert!(
            words.len() >= 7 && words[words.len() - 7] == 21,
            "{words:02x?}"
        );
        let attempt = hub.saw(|attempt| matches!(attempt.ending, Ending::Failed { .. }));
        let Ending::Failed { alert, .. } = attempt.ending else {
            unreachable!("looked for");
        };
        assert_eq!(alert, words.last().copied());
    }
    hub.has_nobody_open();
}

#[test]
fn old_versions_are_refused_with_the_alert_that_says_so() {
    let hub = Hub::new();
    let (_, bytes) = hello(config(&[&version::TLS12]));
    for minor in [0, 1, 2] {
        let mut bytes = bytes.clone();
        // The version of the hello itself; without the extension that names others.
        bytes[10] = minor;
        let mut stream = open(hub.tls);
        stream.write_all(&without_versions(&bytes)).expect("sent");
        let words = last_words(&mut stream);
        assert_eq!(words, [21, 3, 3, 0, 2, 2, 70], "TLS 1.{minor}");
        let attempt = hub.saw(|attempt| matches!(attempt.ending, Ending::Failed { .. }));
        assert!(matches!(
            attempt.ending,
            Ending::Failed {
                alert: Some(70),
                ..
            }
        ));
        assert!(attempt.tls.expect("facts").hello.is_some());
    }
}

/// Renames supported_versions to an extension that nobody knows.
fn without_versions(hello: &[u8]) -> Vec<u8> {
    let mut bytes = hello.to_vec();
    let at = bytes
        .windows(4)
        .position(|w| w == [0, 43, 0, 3])
        .expect("the extension");
    bytes[at + 1] = 99;
    bytes
}

#[test]
fn a_hello_without_end_is_refused_and_holds_little() {
    let hub = Hub::new();
    let mut stream = open(hub.tls);
    // A message of 64 KiB, in records of 4 KiB.
    let mut message = vec![1, 1, 0, 0];
    message.resize(65536 + 4, 0);
    let mut sent = 0;
    for piece in message.chunks(4096) {
        let mut record = vec![22, 3, 1];
        record.extend((piece.len() as u16).to_be_bytes());
        record.extend(piece);
        if stream.write_all(&record).is_err() {
            break;
        }
        sent += 1;
        sleep(Duration::from_millis(5));
    }
    let words = last_words(&mut stream);
    assert!(words.is_empty() || words[0] == 21, "{words:02x?}");
    hub.saw(|attempt| matches!(attempt.ending, Ending::Failed { .. }));
    assert!(sent > 0);
    hub.has_nobody_open();
}

#[test]
fn whoever_does_not_go_on_in_time_is_closed_and_told_by_how_far_it_came() {
    let hub = Hub::with_handshakes(HandshakeLimits {
        timeout: Duration::from_millis(400),
        ..HandshakeLimits::default()
    });
    let (_, bytes) = hello(config(ALL_VERSIONS));
    for (said, stage) in [
        (&b""[..], Stage::Silent),
        (&bytes[..100], Stage::Hello),
        (&bytes[..], Stage::Certificate),
    ] {
        let started = Instant::now();
        let mut stream = open(hub.tls);
        stream.write_all(said).expect("sent");
        last_words(&mut stream);
        assert!(started.elapsed() >= Duration::from_millis(390));
        let attempt = hub.saw(|attempt| matches!(attempt.ending, Ending::TimedOut { .. }));
        let Ending::TimedOut {
            stage: told,
            unacknowledged,
        } = attempt.ending
        else {
            unreachable!("looked for");
        };
        assert_eq!(told, stage);
        // This machine's kernel has taken it all.
        if cfg!(target_os = "linux") && stage == Stage::Certificate {
            assert_eq!(unacknowledged, Some(0));
        }
    }
    hub.has_nobody_open();
}

#[test]
fn the_time_to_connect_counts_from_accept_and_not_from_the_end_of_the_handshake() {
    let settings = EngineSettings {
        connect_timeout: Duration::from_millis(900),
        ..loops(2)
    };
    let hub = Hub::with(settings, ListenerLimits::default());
    let started = Instant::now();
    let mut stream = tls(hub.tls);
    sleep(Duration::from_millis(600));
    stream.flush().expect("a handshake");
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("a handshake");
    }
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    let took = started.elapsed();
    assert!(took > Duration::from_millis(890), "{took:?}");
    assert!(took < Duration::from_millis(1450), "{took:?}");
    let attempt = hub.saw(|attempt| matches!(attempt.ending, Ending::TimedOut { .. }));
    assert!(matches!(
        attempt.ending,
        Ending::TimedOut {
            stage: Stage::Finished,
            ..
        }
    ));
    assert!(attempt.tls.is_some());
}

#[test]
fn a_client_that_goes_is_told_by_how_far_it_came_and_how_it_went() {
    let hub = Hub::new();
    let (_, bytes) = hello(config(ALL_VERSIONS));
    for (said, stage) in [
        (&b""[..], Stage::Silent),
        (&bytes[..50], Stage::Hello),
        (&bytes[..], Stage::Certificate),
    ] {
        for reset in [false, true] {
            let mut stream = open(hub.tls);
            stream.write_all(said).expect("sent");
            if stage == Stage::Certificate {
                // Our flight is there and read: closing sends FIN and not RST.
                let mut flight = [0; 4096];
                assert!(stream.read(&mut flight).expect("a flight") > 500);
            }
            sleep(Duration::from_millis(30));
            if reset {
                let now = Some(Duration::ZERO);
                socket2::SockRef::from(&stream)
                    .set_linger(now)
                    .expect("set");
            }
            drop(stream);
            let attempt = hub.saw(|attempt| matches!(attempt.ending, Ending::Closed { .. }));
            assert_eq!(attempt.ending, Ending::Closed { stage, reset });
            assert_eq!(attempt.tls.is_some(), stage == Stage::Certificate);
        }
    }
    // And on the loop, once the handshake is over.
    let mut stream = tls(hub.tls);
    while stream.conn.is_handshaking() {
        stream
            .conn
            .complete_io(&mut stream.sock)
            .expect("a handshake");
    }
    sleep(Duration::from_millis(50));
    drop(stream);
    let attempt = hub.saw(|attempt| matches!(attempt.ending, Ending::Closed { .. }));
    let Ending::Closed { stage, .. } = attempt.ending else {
        unreachable!("looked for");
    };
    assert_eq!(stage, Stage::Finished);
    assert!(attempt.tls.is_some());
    hub.has_nobody_open();
}

#[test]
fn a_client_that_distrusts_us_is_told_by_its_alert() {
    let hub = Hub::new();
    for version in [&version::TLS12, &version::TLS13] {
        let distrustful = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[version])
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut stream = over(distrustful, hub.tls);
        assert!(stream.write_all(CONNECT).is_err());
        drop(stream);
        let attempt = hub.saw(|attempt| matches!(attempt.ending, Ending::AlertReceived(_)));
        assert_eq!(attempt.ending, Ending::AlertReceived(48));
        assert!(attempt.tls.expect("facts").served.is_some());
    }
    hub.has_nobody_open();
}

#[test]
fn a_client_with_room_for_any_record_may_go_right_after_a_large_one_and_is_not_told() {
    let hub = Hub::new();
    let mut stream = tls(hub.tls);
    connect(&mut stream);
    // SUBSCRIBE to `big`, QoS 0, and its SUBACK.
    stream
        .write_all(b"\x82\x08\0\x01\0\x03big\0")
        .expect("sent");
    let mut suback = [0; 5];
    stream.read_exact(&mut suback).expect("SUBACK");
    let mut publisher = Client::connect(hub.plain, Version::V311, "publisher", true);
    publisher.publish("big", &[7; 5000], false);
    let mut large = [0; 5008];
    stream.read_exact(&mut large).expect("PUBLISH");
    drop(stream);
    // What becomes of small buffers is tried with BearSSL itself (e2e/test_tls_lab.py).
    sleep(Duration::from_millis(100));
    let list = hub.seen.0.lock().expect("a list");
    assert!(
        list.iter()
            .all(|attempt| attempt.ending == Ending::Connected)
    );
}

#[test]
fn a_flood_of_silent_connections_makes_room_for_whoever_speaks() {
    let hub = Hub::with_handshakes(HandshakeLimits {
        most: 50,
        ..HandshakeLimits::default()
    });
    let mut flood = Vec::new();
    for _ in 0..300 {
        flood.push(open(hub.tls));
        if flood.len() % 60 == 0 {
            let mut stream = tls(hub.tls);
            connect(&mut stream);
            answers(&mut stream);
        }
    }
    for _ in 0..250 {
        let attempt = hub.saw(|attempt| attempt.ending != Ending::Connected);
        if attempt.ending != Ending::TakenOver {
            assert_eq!(attempt.ending, Ending::TurnedAway(Limit::PushedOut));
        }
    }
    let handle = hub.engine.handle();
    assert!(handle.open_connections("mqtts") <= 51);
    // The first ones have gone, the last ones wait.
    assert_eq!(last_words(&mut flood[0]), b"");
    let last = flood.last_mut().expect("a flood");
    last.set_read_timeout(Some(Duration::from_millis(50)))
        .expect("set");
    let waiting = last.read(&mut [0; 1]).expect_err("nothing comes");
    assert!(matches!(
        waiting.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut
    ));
    drop(flood);
    hub.has_nobody_open();
}

#[test]
fn one_address_gets_its_share_of_handshakes_and_connected_clients_do_not_count() {
    let hub = Hub::with_handshakes(HandshakeLimits {
        most_per_address: 3,
        ..HandshakeLimits::default()
    });
    let (_, bytes) = hello(config(ALL_VERSIONS));
    let mut connected: Vec<TlsStream> = (0..5)
        .map(|_| {
            let mut stream = tls(hub.tls);
            connect(&mut stream);
            stream
        })
        .collect();
    let mut half_open: Vec<TcpStream> = (0..3).map(|_| open(hub.tls)).collect();
    for stream in &mut half_open {
        stream.write_all(&bytes).expect("sent");
    }
    sleep(Duration::from_millis(100));
    assert_eq!(last_words(&mut open(hub.tls)), b"");
    hub.saw(|attempt| attempt.ending == Ending::TurnedAway(Limit::TooManyFromAddress));
    // Another one leaves, and there is room again.
    half_open.pop();
    hub.saw(|attempt| matches!(attempt.ending, Ending::Closed { .. }));
    connected.push(tls(hub.tls));
    connect(connected.last_mut().expect("one more"));
    drop((half_open, connected));
    hub.has_nobody_open();
}

#[test]
fn a_full_listener_counts_those_at_the_door_and_forgets_none() {
    let limits = ListenerLimits {
        max_connections: 3,
        ..ListenerLimits::default()
    };
    let hub = Hub::with(loops(2), limits);
    let mut first = tls(hub.tls);
    connect(&mut first);
    let silent = [open(hub.tls), open(hub.tls)];
    sleep(Duration::from_millis(100));
    assert_eq!(hub.engine.handle().open_connections("mqtts"), 3);
    assert_eq!(last_words(&mut open(hub.tls)), b"");
    hub.saw(|attempt| attempt.ending == Ending::TurnedAway(Limit::TooManyConnections));
    drop(silent);
    sleep(Duration::from_millis(100));
    assert_eq!(hub.engine.handle().open_connections("mqtts"), 1);
    answers(&mut first);
    drop(first);
    hub.has_nobody_open();
}

#[test]
fn a_listener_that_is_switched_off_ends_handshakes_too() {
    let hub = Hub::new();
    let handle = hub.engine.handle();
    let (_, bytes) = hello(config(ALL_VERSIONS));
    let mut connected = tls(hub.tls);
    connect(&mut connected);
    let mut silent = open(hub.tls);
    let mut halfway = open(hub.tls);
    halfway.write_all(&bytes).expect("sent");
    let mut flight = [0; 4096];
    assert!(halfway.read(&mut flight).expect("a flight") > 500);
    handle
        .set_sockets("mqtts", Vec::new())
        .expect("switched off");
    assert_eq!(handle.end_listener_connections("mqtts").expect("ended"), 3);
    assert_eq!(last_words(&mut silent), b"");
    last_words(&mut halfway);
    let mut rest = Vec::new();
    let _ = connected.read_to_end(&mut rest);
    drop((connected, silent, halfway));
    hub.has_nobody_open();
}

#[test]
fn a_stop_waits_for_no_handshake() {
    let hub = Hub::new();
    let handle = hub.engine.handle();
    let mut connected = tls(hub.tls);
    connect(&mut connected);
    let mut silent = open(hub.tls);
    sleep(Duration::from_millis(50));
    let started = Instant::now();
    let stopping = std::thread::spawn(move || hub.engine.shutdown(Duration::from_secs(10)));
    assert_eq!(last_words(&mut silent), b"");
    let mut rest = Vec::new();
    connected
        .read_to_end(&mut rest)
        .expect("closed in good order");
    drop((silent, connected));
    assert_eq!(stopping.join().expect("stopped").cut_off, 0);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(matches!(
        handle.end_listener_connections("mqtts"),
        Err(SteeringError::Stopping)
    ));
}

#[test]
fn established_connections_are_served_while_a_thousand_handshakes_run() {
    let hub = Hub::new();
    let mut steady = tls(hub.tls);
    connect(&mut steady);
    let over = AtomicBool::new(false);
    let slowest = scope(|s| {
        let storm: Vec<_> = (0..4)
            .map(|n| {
                let (tls_at, over) = (hub.tls, &over);
                s.spawn(move || {
                    for round in 0..250 {
                        let mut stream = tls(tls_at);
                        let id = format!("n{n}-{round:03}");
                        let mut connect = CONNECT[..12].to_vec();
                        connect[1] = (12 + id.len()) as u8;
                        connect.extend([0, id.len() as u8]);
                        connect.extend(id.as_bytes());
                        stream.write_all(&connect).expect("sent");
                        let mut answer = [0; 4];
                        stream.read_exact(&mut answer).expect("CONNACK");
                        assert_eq!(answer, CONNACK);
                    }
                    over.store(true, Ordering::Relaxed);
                })
            })
            .collect();
        let mut slowest = Duration::ZERO;
        while !over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            answers(&mut steady);
            slowest = slowest.max(asked.elapsed());
            sleep(Duration::from_millis(2));
        }
        for thread in storm {
            thread.join().expect("all were served");
        }
        slowest
    });
    println!("slowest answer to a ping: {slowest:?}");
    // Generous: the clients of the storm share the machine.
    assert!(slowest < Duration::from_millis(1000), "{slowest:?}");
    drop(steady);
    hub.has_nobody_open();
}

#[test]
fn sockets_are_swapped_fifty_times_under_tls_and_nobody_is_reset() {
    let hub = Hub::new();
    let handle = hub.engine.handle();
    let mut steady = tls(hub.tls);
    connect(&mut steady);
    let current = std::sync::Mutex::new(hub.tls);
    let over = AtomicBool::new(false);
    let served = std::sync::atomic::AtomicUsize::new(0);
    scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let at = *current.lock().expect("an address");
                    let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(50))
                    else {
                        continue;
                    };
                    let late = Some(Duration::from_secs(20));
                    stream.set_read_timeout(late).expect("a timeout");
                    let name = ServerName::try_from("hub.lan").expect("a name");
                    let client = ClientConnection::new(Arc::new(config(ALL_VERSIONS)), name);
                    let mut stream = StreamOwned::new(client.expect("a client"), stream);
                    // An empty client identifier: nobody is taken over.
                    stream
                        .write_all(b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0")
                        .expect("taken");
                    let mut answer = [0; 4];
                    stream.read_exact(&mut answer).expect("answered");
                    assert_eq!(answer, CONNACK);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..50 {
            let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
            // The kernel takes connections to it from now on; the engine accepts them soon.
            *current.lock().expect("an address") = socket.local_addr().expect("bound");
            handle.set_sockets("mqtts", vec![socket]).expect("replaced");
            answers(&mut steady);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 50);
    drop(steady);
    hub.has_nobody_open();
}
