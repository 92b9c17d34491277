//! WebSockets that the HTTP server hands over, and what their clients may try.

mod client;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use client::{Client, Seen, loops, no_tls};
use safeport_broker::home_of;
use safeport_engine::{
    Carries, Engine, Gatekeeper, ListenerLimits, ListenerSpec, Login, OwnedLogin, Permissions,
    Verdict,
};
use safeport_mqtt::Version;
use safeport_net::Layer;
use safeport_net::attempt::Ending;

/// Lets everybody in; a client called `slow` holds up its loop meanwhile.
struct Porter;

const SLOW: Duration = Duration::from_millis(600);

impl Gatekeeper for Porter {
    fn decide_now(&self, login: &Login<'_>) -> Option<Verdict> {
        if login.client_id == "slow" {
            sleep(SLOW);
        }
        Some(Verdict::Admit(Arc::new(Permissions::open())))
    }

    fn decide(&self, _: OwnedLogin, _: Box<dyn FnOnce(Verdict) + Send>) {
        unreachable!("everybody is let in at once");
    }
}

/// An engine of two loops; the first one accepts and gets the first WebSocket.
fn hub() -> (Engine, SocketAddr, Seen) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    let listener = ListenerSpec {
        name: "http".into(),
        sockets: vec![socket],
        tls: no_tls(),
        carries: Carries::Plain,
        limits: ListenerLimits::default(),
    };
    let seen = Seen::default();
    let engine = Engine::start(
        loops(2),
        Arc::new(Porter),
        Arc::new(seen.clone()),
        vec![listener],
    )
    .expect("started");
    (engine, address, seen)
}

/// Both ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    let (server, _) = listener.accept().expect("accepted");
    (client, server)
}

/// A frame whose mask is zero.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    assert!(length < 126);
    let mut frame = vec![first, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(payload);
    frame
}

const BINARY: u8 = 0x82;
const TEXT: u8 = 0x81;
const PING: u8 = 0x89;

fn connect(client_id: &str) -> Vec<u8> {
    let length = u8::try_from(client_id.len()).expect("a short name");
    let mut packet = vec![0x10, 12 + length];
    packet.extend_from_slice(b"\0\x04MQTT\x04\x02\0\x3c\0");
    packet.push(length);
    packet.extend_from_slice(client_id.as_bytes());
    frame(BINARY, &packet)
}

#[test]
fn a_client_that_resets_while_its_connect_is_on_the_way_to_another_loop_ends_nobody_else() {
    let (engine, address, _) = hub();
    let away = (0..)
        .map(|n| format!("plug-{n}"))
        .find(|id| home_of(id, 2) == 1)
        .expect("one of many");
    let (mut client, mut server) = pair();
    client.write_all(&connect(&away)).expect("sent");
    // What it has not read makes closing its socket a reset.
    server.write_all(b"unread").expect("sent");
    client.peek(&mut [0]).expect("there");
    let slow = thread::spawn(move || Client::connect(address, Version::V311, "slow", true));
    sleep(SLOW / 4);
    // The answer to the ping is the write that fails, with CONNECT still to be read.
    engine
        .handle()
        .adopt(server, Layer::websocket(), frame(PING, b"?"), "http")
        .expect("taken");
    drop(client);
    drop(slow.join().expect("connected"));
    sleep(SLOW / 4);
    assert!(!engine.has_failed());
    drop(Client::connect(address, Version::V311, "next", true));
}

#[test]
fn a_client_that_pings_and_never_reads_is_held_back_before_and_after_its_connect() {
    let (engine, ..) = hub();
    for early in [Vec::new(), connect("deaf")] {
        let (mut client, server) = pair();
        let answered = match early.is_empty() {
            true => 0,
            false => 6,
        };
        engine
            .handle()
            .adopt(server, Layer::websocket(), early, "http")
            .expect("taken");
        let ping = frame(PING, &[7; 125]);
        let many = ping.repeat(1000);
        client
            .set_write_timeout(Some(Duration::from_millis(700)))
            .expect("a time-out");
        let mut written = 0;
        loop {
            match client.write(&many[written % ping.len()..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
            // The buffers of both kernels and what the loop may hold are far less.
            assert!(written < 128 << 20, "everything is taken and kept");
        }
        // Once it reads, all of them are answered.
        let mut reader = client.try_clone().expect("a copy");
        let rest = &ping[written % ping.len()..];
        let answers = (written + rest.len()) / ping.len() * 127 + answered;
        let read = thread::spawn(move || reader.read_exact(&mut vec![0; answers]));
        client.write_all(rest).expect("sent");
        read.join().expect("read").expect("every answer");
    }
}

#[test]
fn a_client_that_breaks_the_rules_before_its_connect_is_told_of_once() {
    let (engine, _, seen) = hub();
    let (mut client, server) = pair();
    engine
        .handle()
        .adopt(server, Layer::websocket(), Vec::new(), "http")
        .expect("taken");
    client.write_all(&frame(TEXT, b"hello")).expect("sent");
    let mut words = Vec::new();
    client.read_to_end(&mut words).expect("a goodbye");
    assert_eq!(words[..2], [0x88, 2]);
    drop(client);
    let started = Instant::now();
    while seen.0.lock().expect("a list").is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(200));
    let list = seen.0.lock().expect("a list");
    let endings: Vec<&Ending> = list.iter().map(|attempt| &attempt.ending).collect();
    assert!(
        matches!(endings[..], [Ending::Failed { .. }]),
        "{endings:?}"
    );
}
