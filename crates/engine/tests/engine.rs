//! The engine over real sockets: what only shows with threads, buffers and kernels in between.

mod client;

use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use client::{Client, Door, engine, loops};
use safeport_engine::{
    Addressed, Addressee, EngineSettings, Gatekeeper, Login, Observed, Observer, OwnedLogin,
    Permissions, Publication, Verdict,
};
use safeport_mqtt::{Connect, Packet, Properties, QoS, ReasonCode, Version};

const OPEN: Door = Door { delay: None };

#[test]
fn a_message_published_after_suback_reaches_subscribers_on_every_loop() {
    let (engine, address) = engine(loops(3), OPEN);
    // Client identifiers spread over the loops; every subscriber must hear every publisher.
    let mut clients: Vec<Client> = (0..12)
        .map(|n| Client::connect(address, Version::V311, &format!("client-{n}"), true))
        .collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&format!("to/{n}/+"), QoS::AtLeastOnce);
    }
    // Each publisher is another client than the one that listens under its number, so that
    // PUBACK is the only thing it hears.
    let mut publishers: Vec<Client> = (0..12)
        .map(|n| Client::connect(address, Version::V5, &format!("publisher-{n}"), true))
        .collect();
    for (from, publisher) in publishers.iter_mut().enumerate() {
        for to in 0..clients.len() {
            if from != to {
                publisher.publish(&format!("to/{to}/{from}"), b"x", false);
            }
        }
    }
    for to in 0..clients.len() {
        let mut got: Vec<String> = (0..clients.len() - 1)
            .map(|_| clients[to].message().topic)
            .collect();
        got.sort_unstable();
        let mut expected: Vec<String> = (0..clients.len())
            .filter(|from| *from != to)
            .map(|from| format!("to/{to}/{from}"))
            .collect();
        expected.sort_unstable();
        assert_eq!(got, expected);
        clients[to].hears_nothing();
    }
    drop(clients);
    engine.shutdown(Duration::from_secs(1));
}

#[test]
fn retained_messages_are_known_on_every_loop() {
    let (_engine, address) = engine(loops(4), OPEN);
    let mut publisher = Client::connect(address, Version::V5, "publisher", true);
    publisher.publish("state/lamp", b"on", true);
    for n in 0..8 {
        // Retained messages reach the other loops in their own time.
        let started = Instant::now();
        loop {
            let mut reader = Client::connect(address, Version::V5, &format!("reader-{n}"), true);
            reader.say_subscribe("state/#", QoS::AtMostOnce);
            reader.send(&Packet::PingReq);
            let mut seen = false;
            let mut done = false;
            while !done {
                reader.packet(|packet| match packet {
                    Packet::Publish(publish) => {
                        seen = publish.retain && publish.payload == b"on";
                    }
                    Packet::PingResp => done = true,
                    _ => {}
                });
            }
            if seen {
                break;
            }
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "reader {n} never saw it"
            );
        }
    }
}

#[test]
fn a_shared_subscription_over_several_loops_gives_each_message_to_one_member() {
    let (_engine, address) = engine(loops(3), OPEN);
    let mut members: Vec<Client> = (0..6)
        .map(|n| Client::connect(address, Version::V5, &format!("member-{n}"), true))
        .collect();
    for member in &mut members {
        member.subscribe("$share/g/job/#", QoS::AtLeastOnce);
    }
    let mut publisher = Client::connect(address, Version::V5, "boss", true);
    for n in 0..600u32 {
        publisher.publish(&format!("job/{n}"), &n.to_be_bytes(), false);
    }
    std::thread::sleep(Duration::from_millis(200));
    let mut jobs = Vec::new();
    for member in &mut members {
        member.send(&Packet::PingReq);
        let mut mine = Vec::new();
        let mut done = false;
        while !done {
            member.packet(|packet| match packet {
                Packet::Publish(publish) => mine.push(publish.topic.to_owned()),
                Packet::PingResp => done = true,
                other => panic!("unexpected {other:?}"),
            });
        }
        assert!(
            mine.len() >= 50,
            "work is shared out, one member got {}",
            mine.len()
        );
        jobs.append(&mut mine);
    }
    jobs.sort_unstable();
    jobs.dedup();
    assert_eq!(jobs.len(), 600);
}

#[test]
fn the_same_client_identifier_meets_its_session_whichever_loop_accepts_it() {
    let (_engine, address) = engine(loops(4), OPEN);
    for n in 0..10 {
        let id = format!("plug-{n}");
        let mut first = Client::connect(address, Version::V311, &id, false);
        first.subscribe("cmnd/plug", QoS::AtLeastOnce);
        let mut second = Client::open(address, Version::V311);
        second.say_connect(&id, false);
        assert_eq!(second.connack(), (ReasonCode::Success, true));
        assert_eq!(first.wait_for_close(), None);
    }
}

#[test]
fn packets_sent_behind_connect_wait_for_the_gatekeeper() {
    let door = Door {
        delay: Some(Duration::from_millis(150)),
    };
    let (_engine, address) = engine(loops(1), door);
    let mut client = Client::open(address, Version::V311);
    client.say_connect("eager", true);
    client.say_subscribe("echo", QoS::AtMostOnce);
    client.say_publish("echo", b"hello", QoS::AtMostOnce, false, 0);
    assert_eq!(client.connack().0, ReasonCode::Success);
    client.packet(|packet| assert!(matches!(packet, Packet::SubAck(_))));
    assert_eq!(client.message().payload, b"hello");

    let mut unwanted = Client::open(address, Version::V5);
    unwanted.say_connect("unwanted", true);
    assert_eq!(unwanted.connack().0, ReasonCode::BadUserNameOrPassword);
    unwanted.wait_for_close();
}

#[test]
fn a_client_that_waits_for_the_gatekeeper_still_finds_its_home_loop() {
    let door = Door {
        delay: Some(Duration::from_millis(50)),
    };
    let (_engine, address) = engine(loops(4), door);
    // Nothing follows CONNECT, so nothing but the answer can set the connection going again.
    for n in 0..8 {
        Client::connect(address, Version::V311, &format!("patient-{n}"), true).hears_nothing();
    }
}

#[test]
fn a_connection_without_connect_is_closed_in_time() {
    let settings = EngineSettings {
        connect_timeout: Duration::from_millis(300),
        ..EngineSettings::default()
    };
    let (_engine, address) = engine(settings, OPEN);
    let started = Instant::now();
    let mut silent = Client::open(address, Version::V311);
    // A byte now and then does not buy time.
    silent.stream.write_all(&[0x10]).expect("sent");
    silent.wait_for_close();
    assert!(started.elapsed() >= Duration::from_millis(290));
}

#[test]
fn packets_may_come_byte_by_byte_or_many_at_once() {
    let (_engine, address) = engine(loops(1), OPEN);
    let mut bytes = Vec::new();
    let connect = Packet::Connect(Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive: 60,
        client_id: "drip",
        will: None,
        username: None,
        password: None,
        properties: Properties::EMPTY,
        bridge: false,
    });
    connect.encode(Version::V311, &mut bytes).expect("encodes");
    for _ in 0..50 {
        Packet::PingReq
            .encode(Version::V311, &mut bytes)
            .expect("encodes");
    }
    let mut client = Client::open(address, Version::V311);
    for byte in &bytes[..40] {
        client.stream.write_all(&[*byte]).expect("sent");
    }
    client.stream.write_all(&bytes[40..]).expect("sent");
    client.connack();
    for _ in 0..50 {
        client.packet(|packet| assert!(matches!(packet, Packet::PingResp)));
    }
}

#[test]
fn a_subscriber_that_stops_reading_loses_no_qos_1_message_and_harms_nobody() {
    let (engine, address) = engine(loops(1), OPEN);
    let mut slow = Client::connect(address, Version::V311, "slow", true);
    slow.subscribe("big/#", QoS::AtLeastOnce);
    let mut fast = Client::connect(address, Version::V311, "fast", true);
    fast.subscribe("big/#", QoS::AtMostOnce);
    let mut publisher = Client::connect(address, Version::V311, "publisher", true);
    let count = 1000u32;
    for n in 0..count {
        let mut payload = vec![0; 8000];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        publisher.publish("big/1", &payload, false);
        assert_eq!(fast.message().payload[..4], n.to_be_bytes());
    }
    std::thread::sleep(Duration::from_millis(250));
    assert!(
        engine.handle().stats().stored > 0,
        "messages wait for the slow one"
    );
    for n in 0..count {
        assert_eq!(slow.message().payload[..4], n.to_be_bytes());
    }
    slow.hears_nothing();
}

#[test]
fn qos_0_to_a_full_socket_is_dropped_and_counted_within_bounds() {
    let (engine, address) = engine(loops(1), OPEN);
    let mut deaf = Client::connect(address, Version::V311, "deaf", true);
    deaf.subscribe("flood", QoS::AtMostOnce);
    let mut publisher = Client::connect(address, Version::V311, "publisher", true);
    let payload = vec![7; 16_000];
    for _ in 0..4000 {
        publisher.say_publish("flood", &payload, QoS::AtMostOnce, false, 0);
    }
    publisher.hears_nothing();
    std::thread::sleep(Duration::from_millis(250));
    let stats = engine.handle().stats();
    assert!(stats.publish_dropped > 1000, "{stats:?}");
    assert_eq!(stats.publish_received, 4000);
    // The connection itself lives on and still answers once it is read.
    deaf.send(&Packet::PingReq);
    let mut messages = 0;
    let mut answered = false;
    while !answered {
        deaf.packet(|packet| match packet {
            Packet::Publish(_) => messages += 1,
            Packet::PingResp => answered = true,
            other => panic!("unexpected {other:?}"),
        });
    }
    assert!(messages > 0);
}

#[test]
fn a_large_message_reaches_many_receivers_whole() {
    let (_engine, address) = engine(loops(2), OPEN);
    let mut readers: Vec<Client> = (0..10)
        .map(|n| Client::connect(address, Version::V5, &format!("reader-{n}"), true))
        .collect();
    for reader in &mut readers {
        reader.subscribe("image", QoS::AtLeastOnce);
    }
    let payload: Vec<u8> = (0..900_000u32).map(|n| (n * 7) as u8).collect();
    let mut publisher = Client::connect(address, Version::V5, "camera", true);
    publisher.publish("image", &payload, false);
    for reader in &mut readers {
        assert!(reader.message().payload == payload);
    }
}

#[test]
fn the_server_delivers_to_a_client_that_never_subscribed() {
    let (engine, address) = engine(loops(3), OPEN);
    let mut box_ = Client::connect(address, Version::V311, "xiaozhi-1", true);
    let mut publication = Publication::new("devices/p2p/xiaozhi-1", "hello");
    publication.qos = QoS::AtLeastOnce;
    engine.handle().deliver("xiaozhi-1", publication);
    let message = box_.message();
    assert_eq!(message.topic, "devices/p2p/xiaozhi-1");
    assert_eq!(message.payload, b"hello");
}

#[test]
fn a_graceful_stop_tells_version_5_clients_and_delivers_what_waits() {
    let (engine, address) = engine(loops(2), OPEN);
    let mut new = Client::connect(address, Version::V5, "new", true);
    let mut old = Client::connect(address, Version::V311, "old", true);
    let waiting = Client::open(address, Version::V311);
    std::thread::sleep(Duration::from_millis(50));
    let stopper = std::thread::spawn(move || engine.shutdown(Duration::from_secs(5)));
    assert_eq!(new.wait_for_close(), Some(ReasonCode::ServerShuttingDown));
    assert_eq!(old.wait_for_close(), None);
    drop((new, old, waiting));
    let drained = stopper.join().expect("stopped");
    assert_eq!(drained.cut_off, 0);
    assert!(drained.connections >= 2);
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn sys_topics_tell_what_mosquittos_users_expect() {
    let (_engine, address) = engine(loops(1), OPEN);
    let mut client = Client::connect(address, Version::V311, "watcher", true);
    client.subscribe("$SYS/broker/version", QoS::AtMostOnce);
    let message = client.message();
    assert!(message.retain);
    assert!(message.payload.starts_with(b"safeport "));
    // A leading wildcard does not reach them [MQTT-4.7.2-1].
    let mut other = Client::connect(address, Version::V311, "other", true);
    other.subscribe("#", QoS::AtMostOnce);
    other.hears_nothing();
}

#[test]
fn an_observer_is_shown_what_clients_of_every_loop_say_of_themselves() {
    struct Shown(Mutex<Sender<Observed>>);
    impl Observer for Shown {
        fn published(&self, observed: Observed) {
            self.0.lock().unwrap().send(observed).unwrap();
        }
    }
    let (engine, address) = engine(loops(3), OPEN);
    let mut early = Client::connect(address, Version::V5, "early", true);
    early.publish("tele/early/LWT", b"Online", true);
    let (sender, shown) = channel();
    let observer = Arc::new(Shown(Mutex::new(sender)));
    engine.handle().observe(&["tele/+/LWT"], observer);
    let patience = Duration::from_secs(5);
    let first = shown.recv_timeout(patience).unwrap();
    assert_eq!((first.publisher, &*first.topic), (None, "tele/early/LWT"));
    // What is retained comes from each loop that has it.
    while shown.recv_timeout(Duration::from_millis(300)).is_ok() {}
    for n in 0..6 {
        let id = format!("plug-{n}");
        let mut plug = Client::connect(address, Version::V311, &id, true);
        plug.publish(&format!("tele/{id}/STATE"), b"{}", false);
        plug.publish(&format!("tele/{id}/LWT"), b"Online", true);
        let observed = shown.recv_timeout(patience).unwrap();
        assert_eq!(*observed.topic, format!("tele/{id}/LWT"));
        assert_eq!(observed.publisher.unwrap().client_id, id);
    }
    assert!(shown.try_recv().is_err(), "each is shown once");
    engine.shutdown(Duration::from_secs(1));
}

#[test]
fn what_a_client_says_to_the_server_comes_with_its_login_and_then_that_it_has_left() {
    #[derive(Debug, PartialEq)]
    enum Heard {
        Said(Addressed),
        Left(String),
    }
    /// Lets everybody in as a device that speaks to the server.
    struct Talks;
    impl Gatekeeper for Talks {
        fn decide_now(&self, _: &Login<'_>) -> Option<Verdict> {
            Some(Verdict::Admit(Arc::new(Permissions {
                user: Some("kitchen".into()),
                to_server: Some("device-server".into()),
                ..Permissions::open()
            })))
        }
        fn decide(&self, _: OwnedLogin, _: Box<dyn FnOnce(Verdict) + Send>) {
            unreachable!("decided at once");
        }
    }
    struct Desk(Mutex<Sender<Heard>>);
    impl Addressee for Desk {
        fn heard(&self, said: Addressed) {
            self.0.lock().unwrap().send(Heard::Said(said)).unwrap();
        }
        fn left(&self, client_id: &str) {
            let left = Heard::Left(client_id.to_owned());
            self.0.lock().unwrap().send(left).unwrap();
        }
    }
    let (engine, address) = engine(loops(3), Talks);
    let (sender, heard) = channel();
    let desk = Arc::new(Desk(Mutex::new(sender)));
    engine.handle().set_addressee(desk);
    let patience = Duration::from_secs(5);
    for n in 0..6 {
        let id = format!("box-{n}");
        let mut client = Client::connect(address, Version::V311, &id, true);
        client.publish("device-server", b"{}", false);
        let Heard::Said(said) = heard.recv_timeout(patience).unwrap() else {
            panic!("it has not left yet");
        };
        assert_eq!((&*said.client_id, &*said.payload), (&*id, &b"{}"[..]));
        assert_eq!(said.user.as_deref(), Some("kitchen"));
        assert_eq!(said.local, Some(address));
        engine
            .handle()
            .deliver(&id, Publication::new("devices/p2p/box", "hello"));
        assert_eq!(client.message().payload, b"hello");
        drop(client);
        assert_eq!(heard.recv_timeout(patience).unwrap(), Heard::Left(id));
    }
    engine.shutdown(Duration::from_secs(1));
}
