//! Who comes in, what the others are told, and what the witness is told of all of them.

use safeport_net::attempt::{Ending, Limit, Stage};
use safeport_net::{FirstBytes, HandshakeLimits, Handshakes, RecordSize};

use super::*;

/// CONNECT of MQTT 5 with the client identifier `plug` and the user `me`.
const CONNECT_5: &[u8] = b"\x10\x15\x00\x04MQTT\x05\x82\x00\x3c\x00\x00\x04plug\x00\x02me";
/// The fatal alert unexpected_message.
const UNEXPECTED: [u8; 7] = [21, 3, 3, 0, 2, 2, 10];

impl Hub {
    /// What was told, once it is so many.
    fn told(&self, count: usize) -> Vec<Attempt> {
        eventually("told", || self.ledger.0.lock().unwrap().len() >= count);
        // One too many would come right behind.
        std::thread::sleep(Duration::from_millis(50));
        let told = std::mem::take(&mut *self.ledger.0.lock().unwrap());
        assert_eq!(told.len(), count, "{told:#?}");
        told
    }

    fn told_one(&self) -> Attempt {
        self.told(1).remove(0)
    }

    fn limit_handshakes(&self, limits: HandshakeLimits) -> Handshakes {
        let handshakes = Handshakes::new(limits);
        self.listeners.set_handshakes(handshakes.clone());
        handshakes
    }
}

/// Everything until the end, which may be a reset.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest
}

/// What `sent` is answered with until the server closes.
fn said_to(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = plain(address);
    stream.write_all(sent).expect("sent");
    rest(&mut stream)
}

/// The first bytes of a TLS client.
fn hello() -> Vec<u8> {
    let name = ServerName::try_from("localhost").expect("a name");
    let config = client_config(ALL_VERSIONS);
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("memory");
    hello
}

#[test]
fn a_connection_is_told_of_once_however_many_requests_it_makes() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    let mut keeping = plain(http);
    for _ in 0..3 {
        assert!(ask(&mut keeping, "GET", "/healthz", "").contains("ok"));
    }
    let here = keeping.local_addr().expect("an address");
    drop(keeping);
    let attempt = hub.told_one();
    assert_eq!(attempt.ending, Ending::Connected);
    assert_eq!((&*attempt.listener, attempt.peer), ("http", here));
    assert_eq!(attempt.first, Some(FirstBytes::Http));
    assert!(attempt.tls.is_none());

    let mut keeping = tls(https);
    for _ in 0..3 {
        assert!(ask(&mut keeping, "GET", "/nothing", "").contains("404"));
    }
    let attempt = hub.told_one();
    drop(keeping);
    assert_eq!(attempt.ending, Ending::Connected);
    assert_eq!(&*attempt.listener, "https");
    assert_eq!(attempt.first, Some(FirstBytes::Tls));
    let facts = attempt.tls.expect("TLS");
    let hello = facts.hello.expect("a hello");
    assert_eq!(hello.server_name.as_deref(), Some("localhost"));
    assert_eq!(facts.version, Some(0x0304));
    assert!(facts.served.is_some() && !facts.resumed);
    hub.told(0);
}

#[test]
fn a_websocket_is_told_of_by_who_answers_its_connect() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    let mut clear = plain(http);
    websocket(&mut clear);
    let attempt = hub.told_one();
    assert_eq!(attempt.ending, Ending::Connected);
    assert_eq!(&*attempt.listener, "http");
    let mut inside = tls(https);
    websocket(&mut inside);
    let attempt = hub.told_one();
    assert_eq!(attempt.ending, Ending::Connected);
    assert_eq!(&*attempt.listener, "https");
    let facts = attempt.tls.expect("the handshake was handed on");
    assert!(facts.hello.is_some() && facts.served.is_some());
    drop((clear, inside));
    hub.told(0);
}

#[test]
fn plain_http_on_the_port_of_https_is_told_so() {
    let hub = Hub::new();
    let https = hub.listen(Transport::Tls);
    let mut stream = plain(https);
    let said = ask(&mut stream, "GET", "/healthz", "");
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    assert!(
        said.contains("https://") && said.contains("wss://"),
        "{said}"
    );
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
    let chinese = ask(&mut plain(https), "GET", "/", "Accept-Language: zh-CN\r\n");
    assert!(chinese.contains("此端口"), "{chinese}");
    let upgrade = format!("{UPGRADE}\r\n");
    let refused = said_to(https, upgrade.as_bytes());
    assert!(refused.starts_with(b"HTTP/1.1 400 "), "{refused:?}");
    let told = hub.told(3);
    for attempt in &told {
        assert_eq!(attempt.ending, Ending::WrongProtocol);
        assert_eq!(attempt.first, Some(FirstBytes::Http));
    }
    assert!(!told[0].asked_websocket && told[2].asked_websocket);
    assert!(ask(&mut tls(https), "GET", "/healthz", "").contains("ok"));
}

#[test]
fn mqtt_is_refused_in_its_own_words_and_told_where_it_belongs() {
    let hub = Hub::advertising(&["mqtt://hub.lan:1884", "mqtts://hub.lan:8884"]);
    for transport in Transport::ALL {
        let address = hub.listen(transport);
        assert_eq!(said_to(address, CONNECT), [0x20, 2, 0, 3]);
        let old = said_to(address, b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00");
        assert_eq!(old, [0x20, 2, 0, 3]);
        let said = said_to(address, CONNECT_5);
        assert_eq!((said[0], said[3]), (0x20, 0x9c));
        let words = String::from_utf8_lossy(&said[8..]).into_owned();
        assert!(words.contains("8884") && words.contains("1884"), "{words}");
        // Cut anywhere, it is the same CONNECT.
        let mut slow = plain(address);
        let (start, end) = CONNECT.split_at(9);
        slow.write_all(start).expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        slow.write_all(end).expect("sent");
        assert_eq!(rest(&mut slow), [0x20, 2, 0, 3]);
        for attempt in hub.told(4) {
            assert_eq!(attempt.ending, Ending::WrongProtocol);
            assert_eq!(attempt.first, Some(FirstBytes::Mqtt));
            let is_named = attempt.client_id.as_deref() == Some("plug");
            assert_eq!(is_named, attempt.user.as_deref() == Some("me"));
        }
    }
}

#[test]
fn mqtt_inside_the_tls_of_https_is_refused_there() {
    let hub = Hub::new();
    let mut client = tls(hub.listen(Transport::Tls));
    client.write_all(CONNECT_5).expect("sent");
    let mut said = Vec::new();
    // With close_notify, or this would be an error.
    client.read_to_end(&mut said).expect("a goodbye");
    assert_eq!((said[0], said[3]), (0x20, 0x9c));
    let attempt = hub.told_one();
    assert_eq!(attempt.ending, Ending::WrongProtocol);
    assert_eq!(attempt.first, Some(FirstBytes::Mqtt));
    assert_eq!(attempt.client_id.as_deref(), Some("plug"));
    assert!(attempt.tls.is_some());
}

#[test]
fn tls_on_the_plain_port_gets_the_alert_that_only_this_gives_and_garbage_gets_nothing() {
    let hub = Hub::new();
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    assert_eq!(said_to(http, &hello()), UNEXPECTED);
    assert_eq!(hub.told_one().first, Some(FirstBytes::Tls));
    for address in [http, https] {
        assert_eq!(said_to(address, b"\x00\x01\x02\x03"), b"");
        let attempt = hub.told_one();
        assert_eq!(attempt.ending, Ending::WrongProtocol);
        assert_eq!(attempt.first, Some(FirstBytes::Unknown));
    }
    // Methods that are seldom are for HTTP to judge; what only looks like one is refused by it.
    let said = said_to(
        http,
        b"PROPFIND / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert!(said.starts_with(b"HTTP/1.1 405 ") || said.starts_with(b"HTTP/1.1 404 "));
    assert_eq!(hub.told_one().ending, Ending::Connected);
    assert!(said_to(http, b"SSH-2.0-OpenSSH_9.2\r\n\r\n").starts_with(b"HTTP/1.1 400 "));
    assert_eq!(hub.told_one().ending, Ending::WrongProtocol);
}

#[test]
fn a_listener_that_takes_both_serves_requests_and_websockets_either_way() {
    let hub = Hub::new();
    for transport in Transport::ALL {
        let address = hub.listen(transport);
        hub.listeners.set_accept_both(transport, true);
        assert!(ask(&mut plain(address), "GET", "/healthz", "").contains("ok"));
        assert!(ask(&mut tls(address), "GET", "/healthz", "").contains("ok"));
        let mut clear = plain(address);
        websocket(&mut clear);
        let mut inside = tls(address);
        websocket(&mut inside);
        assert!(is_alive(&mut clear) && is_alive(&mut inside));
        for attempt in hub.told(4) {
            assert_eq!(attempt.ending, Ending::Connected);
            assert_eq!(&*attempt.listener, transport.listener());
        }
        // MQTT is not what is taken both ways.
        assert_eq!(said_to(address, CONNECT), [0x20, 2, 0, 3]);
        assert_eq!(hub.told_one().first, Some(FirstBytes::Mqtt));
        hub.listeners.set_accept_both(transport, false);
        let refused = match transport {
            Transport::Plain => said_to(address, &hello()),
            Transport::Tls => said_to(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        };
        assert!(refused.starts_with(&UNEXPECTED) || refused.starts_with(b"HTTP/1.1 400 "));
        assert_eq!(hub.told_one().ending, Ending::WrongProtocol);
        assert!(is_alive(&mut clear) && is_alive(&mut inside));
        drop((clear, inside));
    }
}

#[test]
fn clear_text_is_no_way_around_client_certificates_even_where_both_are_taken() {
    let hub = Hub::new();
    let profile = TlsProfile {
        client_roots: Some(vec![authority().root.clone()]),
        ..TlsProfile::default()
    };
    let service = TlsService::new(&authority().certificates, profile).expect("a service");
    hub.listeners.set_tls(service);
    hub.listeners.set_accept_both(Transport::Tls, true);
    let https = hub.listen(Transport::Tls);
    let refused = said_to(https, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(refused.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(hub.told_one().ending, Ending::WrongProtocol);
}

#[test]
fn a_handshake_that_breaks_is_told_with_its_alert() {
    let hub = Hub::new();
    let https = hub.listen(Transport::Tls);
    let alert = said_to(https, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00");
    assert_eq!(alert.first(), Some(&0x15), "a TLS alert: {alert:?}");
    let Ending::Failed { alert: sent, why } = hub.told_one().ending else {
        panic!("we ended it");
    };
    assert_eq!(sent, alert.last().copied(), "{why}");

    // A client that trusts nobody.
    let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(config.into(), name).expect("a client");
    let mut stream = StreamOwned::new(client, plain(https));
    stream.write_all(b"x").expect_err("it trusts nobody");
    let attempt = hub.told_one();
    // unknown_ca
    assert_eq!(attempt.ending, Ending::AlertReceived(48));
    assert!(attempt.tls.expect("TLS").served.is_some());
}

#[test]
fn who_goes_or_falls_silent_is_told_with_how_far_it_came() {
    let hub = Hub::new();
    hub.limit_handshakes(HandshakeLimits {
        timeout: Duration::from_millis(400),
        ..HandshakeLimits::default()
    });
    let (http, https) = (hub.listen(Transport::Plain), hub.listen(Transport::Tls));
    let hello = hello();
    let stages = [
        (&b""[..], Stage::Silent),
        (&hello[..1], Stage::Hello),
        (&hello[..50], Stage::Hello),
        (&hello, Stage::Certificate),
    ];
    for (sent, stage) in stages {
        let mut silent = plain(https);
        silent.write_all(sent).expect("sent");
        rest(&mut silent);
        let attempt = hub.told_one();
        assert!(
            matches!(attempt.ending, Ending::TimedOut { stage: at, .. } if at == stage),
            "{stage:?}: {attempt:?}"
        );
        assert!(attempt.took >= Duration::from_millis(400));
    }
    for (sent, stage) in stages.into_iter().filter(|(sent, _)| sent.len() != 1) {
        let mut going = plain(https);
        going.write_all(sent).expect("sent");
        going
            .shutdown(std::net::Shutdown::Write)
            .expect("half closed");
        rest(&mut going);
        let ending = hub.told_one().ending;
        let reset = false;
        assert_eq!(ending, Ending::Closed { stage, reset });
    }
    let mut finished = tls(https);
    finished.flush().expect("a handshake");
    while finished.conn.is_handshaking() {
        finished.conn.complete_io(&mut finished.sock).expect("done");
    }
    finished.conn.send_close_notify();
    finished.flush().expect("sent");
    let (stage, reset) = (Stage::Finished, false);
    assert_eq!(hub.told_one().ending, Ending::Closed { stage, reset });
    let mut half = plain(http);
    half.write_all(b"GET / HTTP/1.1\r\nHos").expect("sent");
    std::thread::sleep(Duration::from_millis(50));
    drop(half);
    let stage = Stage::Hello;
    assert_eq!(hub.told_one().ending, Ending::Closed { stage, reset });
}

#[test]
fn peers_that_never_finish_their_hello_make_room_and_keep_nobody_waiting() {
    let hub = Hub::new();
    let handshakes = hub.limit_handshakes(HandshakeLimits {
        most: 20,
        ..HandshakeLimits::default()
    });
    let https = hub.listen(Transport::Tls);
    let start = Instant::now();
    let mut silent: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut stream = plain(https);
            stream.write_all(b"\x16\x03\x01\x02\x00").expect("sent");
            stream
        })
        .collect();
    // Their tasks run in any order: who comes before them all may be the one silent longest.
    eventually("all are in", || hub.ledger.0.lock().unwrap().len() >= 10);
    assert!(ask(&mut tls(https), "GET", "/healthz", "").contains("ok"));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let told = hub.told(12);
    let pushed_out = Ending::TurnedAway(Limit::PushedOut);
    let count = told.iter().filter(|told| told.ending == pushed_out);
    assert_eq!(count.count(), 11);
    assert!(handshakes.open() < 20);
    assert_eq!(rest(&mut silent[0]), b"");

    hub.limit_handshakes(HandshakeLimits {
        most_per_address: 1,
        ..HandshakeLimits::default()
    });
    let one = plain(https);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(said_to(https, b""), b"");
    let limit = Limit::TooManyFromAddress;
    assert_eq!(hub.told_one().ending, Ending::TurnedAway(limit));
    drop(one);
    eventually("room", || tls(https).flush().is_ok());
}

#[test]
fn one_connection_too_many_is_told() {
    let hub = Hub::new();
    let http = hub.listen(Transport::Plain);
    hub.listeners.set_room(1, 0);
    let mut one = plain(http);
    assert!(ask(&mut one, "GET", "/healthz", "").contains("ok"));
    assert_eq!(hub.told_one().ending, Ending::Connected);
    assert_eq!(rest(&mut plain(http)), b"");
    let limit = Limit::TooManyConnections;
    assert_eq!(hub.told_one().ending, Ending::TurnedAway(limit));
}

#[test]
fn handshakes_end_with_their_listener_and_nobody_is_blamed() {
    let hub = Hub::new();
    let https = hub.listen(Transport::Tls);
    let mut mute = plain(https);
    let mut half = plain(https);
    half.write_all(&hello()).expect("sent");
    half.read_exact(&mut [0]).expect("an answer");
    hub.listeners
        .set(Transport::Tls, Vec::new())
        .expect("closed");
    hub.listeners.end_connections(Transport::Tls);
    let start = Instant::now();
    rest(&mut mute);
    rest(&mut half);
    assert!(start.elapsed() < Duration::from_secs(2));
    hub.told(0);
}

#[test]
fn requests_behind_each_other_are_answered_in_order_inside_tls() {
    let hub = Hub::new();
    let mut client = tls(hub.listen(Transport::Tls));
    let requests: String = ["/healthz", "/nothing", "/"]
        .into_iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    client.write_all(requests.as_bytes()).expect("sent");
    for status in ["200", "404", "200"] {
        let said = answer(&mut client);
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{said}");
    }
}

#[test]
fn other_records_and_certificates_hold_for_the_next_connection() {
    let hub = Hub::new();
    let https = hub.listen(Transport::Tls);
    let mut before = tls(https);
    assert!(ask(&mut before, "GET", "/healthz", "").contains("ok"));
    let profile = TlsProfile {
        record_size: RecordSize::Fixed(512),
        ..TlsProfile::default()
    };
    let service = TlsService::new(&authority().certificates, profile).expect("a service");
    hub.listeners.set_tls(service);
    let mut after = tls(https);
    assert!(ask(&mut after, "GET", "/metrics", "").starts_with("HTTP/1.1 200 "));
    assert!(ask(&mut before, "GET", "/healthz", "").contains("ok"));
    let sizes: Vec<u16> = hub
        .told(2)
        .into_iter()
        .map(|told| told.tls.expect("TLS").record_size)
        .collect();
    assert_eq!(sizes[1], 512);
    assert!(sizes[0] > 512);
}
