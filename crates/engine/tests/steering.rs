//! Listening sockets and limits that change while clients are connected.

mod client;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{scope, sleep, spawn};
use std::time::{Duration, Instant};

use client::{Client, Door, Message, Seen, loops, no_tls};
use rustix::process::{Resource, getrlimit, setrlimit};
use safeport_engine::{
    Carries, Engine, EngineSettings, Gatekeeper, Limits, ListenerLimits, ListenerSpec, Login,
    OwnedLogin, Permissions, SteeringError, Verdict,
};
use safeport_mqtt::{Packet, QoS, ReasonCode, Version};

const OPEN: Door = Door { delay: None };

fn free() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// The same of IPv6, if this machine has it.
fn free_6() -> (TcpListener, SocketAddr) {
    match TcpListener::bind("[::1]:0") {
        Ok(socket) => {
            let address = socket.local_addr().expect("bound");
            (socket, address)
        }
        Err(_) => free(),
    }
}

/// Listeners `a`, on a free port, and `b`, switched off.
fn start(settings: EngineSettings, door: impl Gatekeeper) -> (Engine, SocketAddr) {
    let (socket, address) = free();
    let spec = |name: &str, sockets| ListenerSpec {
        name: name.into(),
        sockets,
        tls: no_tls(),
        carries: Carries::Plain,
        limits: ListenerLimits::default(),
    };
    let specs = vec![spec("a", vec![socket]), spec("b", Vec::new())];
    let engine =
        Engine::start(settings, Arc::new(door), Arc::new(Seen::default()), specs).expect("started");
    (engine, address)
}

fn answers(client: &mut Client) {
    client.send(&Packet::PingReq);
    client.packet(|packet| assert!(matches!(packet, Packet::PingResp), "got {packet:?}"));
}

#[test]
fn a_thousand_clients_notice_nothing_while_another_listeners_sockets_are_replaced_fifty_times() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).expect("files for a thousand clients");
    let (engine, a) = start(loops(2), OPEN);
    let handle = engine.handle();
    let mut crowd: Vec<Client> = (0..1000)
        .map(|n| Client::connect(a, Version::V5, &format!("plug-{n}"), true))
        .collect();
    let mut reader = Client::connect(a, Version::V311, "reader", false);
    reader.subscribe("count", QoS::AtLeastOnce);
    let mut publisher = Client::connect(a, Version::V311, "publisher", true);
    let over = AtomicBool::new(false);
    scope(|s| {
        let counting = s.spawn(|| {
            let mut count = 0u32;
            while !over.load(Ordering::Relaxed) {
                publisher.publish("count", &count.to_be_bytes(), false);
                count += 1;
                // Slowly: nobody reads until the end, and a full queue would hold it back.
                sleep(Duration::from_millis(4));
            }
            count
        });
        let (socket, mut old) = free();
        handle.set_sockets("b", vec![socket]).expect("switched on");
        for n in 0..50 {
            let guest = format!("guest-{n}");
            let mut guest = Client::connect(old, Version::V311, &guest, true);
            let (socket, new) = free();
            handle.set_sockets("b", vec![socket]).expect("replaced");
            assert_eq!(handle.listening("b"), [new]);
            let refused = TcpStream::connect(old).expect_err("closed");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            answers(&mut guest);
            answers(&mut Client::connect(new, Version::V311, "next", true));
            old = new;
        }
        over.store(true, Ordering::Relaxed);
        let count = counting.join().expect("every publish was acknowledged");
        assert!(count > 1000);
        for n in 0..count {
            assert_eq!(reader.message().payload, n.to_be_bytes(), "in order");
        }
    });
    reader.hears_nothing();
    for client in &mut crowd {
        answers(client);
    }
    assert_eq!(handle.open_connections("a"), 1002);
    assert_eq!(handle.listening("a"), [a]);
}

/// Lets everybody in, but thinks about `slow` on the loop's own time.
struct Stall(Duration);

impl Gatekeeper for Stall {
    fn decide_now(&self, login: &Login<'_>) -> Option<Verdict> {
        if login.client_id == "slow" {
            sleep(self.0);
        }
        Some(Verdict::Admit(Arc::new(Permissions::open())))
    }

    fn decide(&self, _: OwnedLogin, _: Box<dyn FnOnce(Verdict) + Send>) {
        unreachable!("decided at once");
    }
}

#[test]
fn connections_that_the_kernel_had_queued_when_the_sockets_were_replaced_are_served() {
    let (engine, a) = start(loops(1), Stall(Duration::from_millis(700)));
    let handle = engine.handle();
    let (socket, old) = free();
    handle.set_sockets("b", vec![socket]).expect("switched on");
    // The loop stands still; the kernel goes on saying yes.
    let mut slow = Client::open(a, Version::V311);
    slow.say_connect("slow", true);
    sleep(Duration::from_millis(100));
    let mut queued: Vec<Client> = (0..100).map(|_| Client::open(old, Version::V311)).collect();
    let (socket, new) = free();
    handle.set_sockets("b", vec![socket]).expect("replaced");
    for (n, client) in queued.iter_mut().enumerate() {
        client.say_connect(&format!("queued-{n}"), true);
        assert_eq!(client.connack().0, ReasonCode::Success);
        answers(client);
    }
    assert!(TcpStream::connect(old).is_err());
    assert_eq!(handle.listening("b"), [new]);
    assert_eq!(slow.connack().0, ReasonCode::Success);
}

#[test]
fn whoever_connects_while_sockets_are_replaced_is_served_or_refused_but_never_reset() {
    let (engine, _) = start(loops(1), OPEN);
    let handle = engine.handle();
    let (socket, first) = free();
    handle.set_sockets("b", vec![socket]).expect("switched on");
    let current = Mutex::new(first);
    let over = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let address = *current.lock().expect("an address");
                    // Long enough to be there when its socket goes.
                    for _ in 0..20 {
                        let tried = TcpStream::connect_timeout(&address, Duration::from_millis(50));
                        let Ok(mut stream) = tried else {
                            break;
                        };
                        let late = Some(Duration::from_secs(10));
                        stream.set_read_timeout(late).expect("a timeout");
                        // CONNECT of 3.1.1, clean session, empty client identifier.
                        let connect = b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0";
                        let mut connack = [0; 4];
                        stream.write_all(connect).expect("taken");
                        stream.read_exact(&mut connack).expect("answered");
                        assert_eq!(connack, [0x20, 2, 0, 0]);
                        served.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for n in 0..10 {
            sleep(Duration::from_millis(50));
            let (socket, new) = if n % 2 == 0 { free_6() } else { free() };
            handle.set_sockets("b", vec![socket]).expect("replaced");
            *current.lock().expect("an address") = new;
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 100);
}

#[test]
fn a_listener_that_is_switched_off_refuses_and_ends_its_clients_but_not_their_sessions() {
    let (engine, a) = start(loops(3), OPEN);
    let handle = engine.handle();
    assert!(handle.listening("b").is_empty());
    let (socket, b) = free();
    drop(socket);
    TcpStream::connect(b).expect_err("nobody listens");

    handle
        .set_sockets("b", vec![TcpListener::bind(b).expect("free again")])
        .expect("switched on");
    let mut new = Client::connect(b, Version::V5, "new", true);
    let mut old: Vec<Client> = (0..9)
        .map(|n| Client::connect(b, Version::V311, &format!("old-{n}"), false))
        .collect();
    for client in &mut old {
        client.subscribe("kept", QoS::AtLeastOnce);
    }
    let silent = Client::open(b, Version::V311);
    let mut other = Client::connect(a, Version::V5, "other", true);
    answers(&mut new);

    handle.set_sockets("b", Vec::new()).expect("switched off");
    TcpStream::connect(b).expect_err("nobody listens");
    answers(&mut new);
    let ended = handle.end_listener_connections("b").expect("ended");
    assert_eq!(ended, 11);
    assert_eq!(new.wait_for_close(), Some(ReasonCode::AdministrativeAction));
    for client in &mut old {
        assert_eq!(client.wait_for_close(), None);
    }
    drop((silent, old));
    other.publish("kept", b"for later", false);
    for n in 0..9 {
        let mut back = Client::open(a, Version::V311);
        back.say_connect(&format!("old-{n}"), false);
        assert_eq!(back.connack(), (ReasonCode::Success, true));
        assert_eq!(back.message().payload, b"for later");
    }
}

#[test]
fn a_new_address_can_be_tried_before_the_old_one_goes() {
    let (engine, a) = start(loops(1), OPEN);
    let handle = engine.handle();
    let (socket, second) = free();
    let copy = socket.try_clone().expect("a copy");
    handle.add_sockets("a", vec![socket]).expect("added");
    assert_eq!(handle.listening("a"), [a, second]);
    answers(&mut Client::connect(a, Version::V311, "one", true));
    answers(&mut Client::connect(second, Version::V311, "two", true));
    // The same address again, as who keeps copies of sockets would say it.
    handle.set_sockets("a", vec![copy]).expect("kept");
    assert_eq!(handle.listening("a"), [second]);
    TcpStream::connect(a).expect_err("closed");
    answers(&mut Client::connect(second, Version::V311, "three", true));
    handle.remove_sockets("a", &[a, second]).expect("removed");
    assert!(handle.listening("a").is_empty());
    TcpListener::bind(second).expect("the port is free at once");
}

#[test]
fn a_change_that_is_refused_leaves_everything_as_it_was() {
    let (engine, a) = start(loops(1), OPEN);
    let handle = engine.handle();
    let many = (0..17).map(|_| free().0).collect();
    let refused = handle.set_sockets("a", many).expect_err("too many");
    assert!(matches!(refused, SteeringError::Sockets { .. }));
    assert_eq!(handle.listening("a"), [a]);
    answers(&mut Client::connect(a, Version::V311, "still-here", true));
    // Nothing that was planned for the old socket happens later.
    sleep(Duration::from_millis(400));
    answers(&mut Client::connect(a, Version::V311, "still-here", true));

    let unknown = handle.set_sockets("mqtts", Vec::new()).expect_err("none");
    assert_eq!(
        unknown.to_string(),
        "the engine has no listener named `mqtts`; it knows `a`, `b`"
    );
    engine.shutdown(Duration::from_secs(1));
    let late = handle.add_sockets("b", vec![free().0]);
    assert!(matches!(late, Err(SteeringError::Stopping)));
    let late = handle.end_listener_connections("a");
    assert!(matches!(late, Err(SteeringError::Stopping)));
}

#[test]
fn a_lowered_limit_of_connections_keeps_who_is_there_and_closes_who_comes() {
    let (engine, a) = start(loops(1), OPEN);
    let handle = engine.handle();
    let mut first = Client::connect(a, Version::V311, "first", true);
    let mut second = Client::connect(a, Version::V311, "second", true);
    let limits = ListenerLimits {
        max_connections: 1,
        ..handle.limits("a").expect("there")
    };
    handle.set_limits("a", &limits).expect("set");
    assert_eq!(handle.limits("a"), Some(limits));
    Client::open(a, Version::V311).wait_for_close();
    answers(&mut first);
    answers(&mut second);
    handle
        .set_limits("a", &ListenerLimits::default())
        .expect("set");
    answers(&mut Client::connect(a, Version::V311, "third", true));
    handle.set_max_connections(3);
    Client::open(a, Version::V311).wait_for_close();
    handle.set_max_connections(4);
    answers(&mut Client::connect(a, Version::V311, "fourth", true));
}

#[test]
fn a_connection_keeps_the_largest_packet_that_it_was_told() {
    let (engine, a) = start(loops(2), OPEN);
    let handle = engine.handle();
    let mut before = Client::connect(a, Version::V5, "before", true);
    let limits = ListenerLimits {
        max_packet: 1000,
        ..ListenerLimits::default()
    };
    handle.set_limits("a", &limits).expect("set");
    before.publish("large", &[0; 5000], false);
    let mut after = Client::connect(a, Version::V5, "after", true);
    after.publish("small", &[0; 900], false);
    after.say_publish("large", &[0; 5000], QoS::AtLeastOnce, false, 2);
    assert_eq!(after.wait_for_close(), Some(ReasonCode::PacketTooLarge));
}

#[test]
fn lowered_limits_of_the_brokers_hold_on_every_loop_and_drop_nothing_that_was_acknowledged() {
    let (engine, a) = start(loops(3), OPEN);
    let handle = engine.handle();
    let mut away: Vec<Client> = (0..6)
        .map(|n| Client::connect(a, Version::V311, &format!("away-{n}"), false))
        .collect();
    for (n, client) in away.iter_mut().enumerate() {
        client.subscribe(&format!("to/{n}"), QoS::AtLeastOnce);
    }
    drop(away);
    let mut publisher = Client::connect(a, Version::V5, "publisher", true);
    sleep(Duration::from_millis(50));
    for n in 0..6 {
        for count in 0..5u8 {
            publisher.publish(&format!("to/{n}"), &[count], false);
        }
    }
    handle.set_broker_limits(&Limits {
        max_queued_messages: 2,
        ..Limits::default()
    });
    for n in 0..6 {
        publisher.say_publish(&format!("to/{n}"), b"more", QoS::AtLeastOnce, false, 9);
        publisher.packet(|packet| match packet {
            Packet::PubAck(ack) => assert_eq!(ack.code, ReasonCode::QuotaExceeded),
            other => panic!("expected PUBACK, got {other:?}"),
        });
    }
    for n in 0..6 {
        let mut back = Client::connect(a, Version::V311, &format!("away-{n}"), false);
        let got: Vec<Message> = (0..5).map(|_| back.message()).collect();
        let got: Vec<u8> = got.iter().map(|message| message.payload[0]).collect();
        assert_eq!(got, [0, 1, 2, 3, 4]);
        back.hears_nothing();
    }
}

#[test]
fn a_shorter_time_to_connect_holds_for_those_who_are_silent_already() {
    let (engine, a) = start(loops(1), OPEN);
    let mut silent = Client::open(a, Version::V311);
    sleep(Duration::from_millis(50));
    let started = Instant::now();
    let handle = engine.handle();
    handle.set_connect_timeout(Duration::from_millis(300));
    let waiting = spawn(move || {
        silent.wait_for_close();
        started.elapsed()
    });
    let mut later = Client::open(a, Version::V311);
    later.wait_for_close();
    let took = waiting.join().expect("closed");
    for took in [took, started.elapsed()] {
        assert!(took >= Duration::from_millis(290), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
