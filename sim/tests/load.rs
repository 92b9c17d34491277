//! The load generator against brokers that lie: each fault must be seen and named.

use safeport_mqtt::{
    Ack, ConnAck, Decoded, Packet, Properties, Publish, QoS, ReasonCode, SubAck, TopicFilter,
    Version, decode, limits,
};
use safeport_sim::load::{
    Exactness, Figures, Flow, LoadError, Report, Scenario, Shape, Target, Timing, run,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the relay does to the tenth message that it passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    Double,
    /// Passed on after the eleventh.
    Swap,
    Alter,
    /// Passed on, but its publisher is not told.
    NoAck,
    /// The relay closes the publisher's connection.
    HangUp,
    /// Every client is refused.
    Refuse,
    /// Every message goes to every subscriber, whatever it asked for.
    IgnoreFilters,
}

/// The least broker that the generator can work with.
struct Relay {
    fault: Fault,
    subscribers: Vec<(String, Arc<Mutex<TcpStream>>)>,
    passed: u32,
    held: Option<Vec<u8>>,
    /// Topics and their messages, in the order of setting.
    retained: Vec<(String, Vec<u8>)>,
}

fn relay(fault: Fault) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let relay = Arc::new(Mutex::new(Relay {
        fault,
        subscribers: Vec::new(),
        passed: 0,
        held: None,
        retained: Vec::new(),
    }));
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let relay = relay.clone();
            // The generator hangs up at the end of a run: that ends the thread, not the test.
            thread::spawn(move || serve(socket, &relay));
        }
    });
    Target {
        pid: Some(std::process::id()),
        ..Target::new(address)
    }
}

fn serve(mut socket: TcpStream, relay: &Mutex<Relay>) -> Option<()> {
    socket.set_nodelay(true).ok()?;
    let out = Arc::new(Mutex::new(socket.try_clone().ok()?));
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = socket.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        while let Decoded::Packet(packet, used) =
            decode(&bytes, Version::V311, limits::MAX_PACKET).expect("the generator speaks MQTT")
        {
            answer(&packet, &out, relay)?;
            bytes.drain(..used);
        }
    }
}

fn answer(packet: &Packet<'_>, out: &Arc<Mutex<TcpStream>>, relay: &Mutex<Relay>) -> Option<()> {
    let ack = |packet_id| Ack {
        packet_id,
        code: ReasonCode::Success,
        properties: Properties::EMPTY,
    };
    match packet {
        Packet::Connect(_) => {
            let code = match relay.lock().ok()?.fault {
                Fault::Refuse => ReasonCode::NotAuthorized,
                _ => ReasonCode::Success,
            };
            write(
                out,
                &bytes_of(&Packet::ConnAck(ConnAck {
                    session_present: false,
                    code,
                    properties: Properties::EMPTY,
                })),
            )
        }
        Packet::Subscribe(subscribe) => {
            let mut relay = relay.lock().ok()?;
            let mut codes = Vec::new();
            for (filter, options) in subscribe.filters.iter() {
                relay.subscribers.push((filter.to_owned(), out.clone()));
                codes.push(options.qos as u8);
            }
            write(
                out,
                &bytes_of(&Packet::SubAck(SubAck {
                    packet_id: subscribe.packet_id,
                    properties: Properties::EMPTY,
                    codes: &codes,
                })),
            )?;
            for (filter, _) in subscribe.filters.iter() {
                let filter = TopicFilter::new(filter).ok()?;
                for (topic, message) in &relay.retained {
                    if filter.matches(topic) {
                        write(out, message)?;
                    }
                }
            }
            Some(())
        }
        Packet::Publish(publish) => {
            let acknowledge = pass_on(publish, &mut *relay.lock().ok()?)?;
            match publish.packet_id.filter(|_| acknowledge) {
                Some(id) if publish.qos == QoS::AtLeastOnce => {
                    write(out, &bytes_of(&Packet::PubAck(ack(id))))
                }
                Some(id) => write(out, &bytes_of(&Packet::PubRec(ack(id)))),
                None => Some(()),
            }
        }
        Packet::PubRec(received) => write(out, &bytes_of(&Packet::PubRel(ack(received.packet_id)))),
        Packet::PubRel(release) => write(out, &bytes_of(&Packet::PubComp(ack(release.packet_id)))),
        Packet::PubAck(_) | Packet::PubComp(_) => Some(()),
        Packet::Disconnect(_) => None,
        other => panic!("the generator never sends {:?}", other.packet_type()),
    }
}

/// True when the publisher is to be told.
fn pass_on(publish: &Publish<'_>, relay: &mut Relay) -> Option<bool> {
    relay.passed += 1;
    let fault = if relay.passed == 10 {
        relay.fault
    } else {
        Fault::None
    };
    let mut payload = publish.payload.to_vec();
    if fault == Fault::Alter {
        *payload.last_mut()? ^= 1;
    }
    let message = |retain| {
        bytes_of(&Packet::Publish(Publish {
            payload: &payload,
            retain,
            ..*publish
        }))
    };
    if publish.retain {
        let mut kept = message(true);
        match fault {
            Fault::Drop => return Some(true),
            Fault::Double => kept.extend_from_within(..),
            _ => {}
        }
        relay.retained.retain(|(topic, _)| topic != publish.topic);
        if !payload.is_empty() {
            relay.retained.push((publish.topic.to_owned(), kept));
        }
    }
    let bytes = message(false);
    match fault {
        Fault::Drop => return Some(true),
        Fault::Swap => {
            relay.held = Some(bytes);
            return Some(true);
        }
        Fault::HangUp => return None,
        _ => {}
    }
    let held = relay.held.take();
    let ignores_filters = relay.fault == Fault::IgnoreFilters;
    // One that is gone needs nothing any more.
    relay.subscribers.retain(|(filter, subscriber)| {
        let wants = TopicFilter::new(filter).is_ok_and(|filter| filter.matches(publish.topic));
        if !wants && !ignores_filters {
            return true;
        }
        let times = if fault == Fault::Double { 2 } else { 1 };
        (0..times).all(|_| write(subscriber, &bytes).is_some())
            && held
                .as_ref()
                .is_none_or(|held| write(subscriber, held).is_some())
    });
    Some(fault != Fault::NoAck)
}

fn bytes_of(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet
        .encode(Version::V311, &mut bytes)
        .expect("a packet of ours");
    bytes
}

fn write(out: &Mutex<TcpStream>, bytes: &[u8]) -> Option<()> {
    out.lock().ok()?.write_all(bytes).ok()
}

fn scenario(shape: Shape, qos: QoS) -> Scenario {
    Scenario::Traffic {
        shape,
        flow: Flow::new(64, qos, 4),
        timing: Timing {
            warm_up: Duration::from_millis(20),
            measure: Duration::from_millis(80),
            silence: Duration::from_millis(150),
        },
    }
}

fn exactness(fault: Fault, qos: QoS) -> Exactness {
    let report = run(
        &relay(fault),
        &scenario(Shape::FanIn { publishers: 1 }, qos),
    )
    .expect("runs");
    exactness_of(&report)
}

fn exactness_of(report: &Report) -> Exactness {
    match &report.figures {
        Figures::Traffic(traffic) => traffic.exactness,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_faithful_broker_is_exact_in_every_shape_and_at_every_qos() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for shape in [
            Shape::FanIn { publishers: 3 },
            Shape::FanOut { subscribers: 3 },
            Shape::Pairs { pairs: 1 },
        ] {
            let report = run(&relay(Fault::None), &scenario(shape, qos)).expect("runs");
            assert!(report.is_exact(), "{report}");
            assert!(exactness_of(&report).expected > 20, "{report}");
            let Figures::Traffic(traffic) = &report.figures else {
                panic!("{report}");
            };
            assert!(traffic.deliveries > 0 && traffic.latency.is_some());
            assert!(traffic.deliveries <= traffic.exactness.expected);
        }
    }
}

#[test]
fn one_dropped_message_is_one_lost_and_the_loop_goes_on() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let seen = exactness(Fault::Drop, qos);
        assert_eq!(
            (seen.lost, seen.duplicated, seen.reordered),
            (1, 0, 0),
            "{seen:?}"
        );
        assert!(seen.expected > 20, "{seen:?}");
    }
}

#[test]
fn a_doubled_message_is_seen() {
    let seen = exactness(Fault::Double, QoS::AtMostOnce);
    assert_eq!(
        (seen.lost, seen.duplicated, seen.reordered),
        (0, 1, 0),
        "{seen:?}"
    );
}

#[test]
fn two_swapped_messages_are_reordered_and_not_lost() {
    let seen = exactness(Fault::Swap, QoS::AtLeastOnce);
    assert_eq!(
        (seen.lost, seen.duplicated, seen.reordered),
        (0, 0, 1),
        "{seen:?}"
    );
}

#[test]
fn one_flipped_bit_in_a_payload_is_seen() {
    let seen = exactness(Fault::Alter, QoS::AtMostOnce);
    assert_eq!((seen.lost, seen.altered), (0, 1), "{seen:?}");
}

#[test]
fn a_message_that_is_never_acknowledged_is_seen_though_it_arrived() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let seen = exactness(Fault::NoAck, qos);
        assert_eq!((seen.lost, seen.unacknowledged), (0, 1), "{seen:?}");
    }
}

#[test]
fn a_broker_that_hangs_up_or_refuses_is_an_error_that_names_it() {
    let shape = Shape::FanIn { publishers: 1 };
    let target = relay(Fault::HangUp);
    let error = run(&target, &scenario(shape, QoS::AtMostOnce)).expect_err("hung up");
    assert!(
        matches!(error, LoadError::Closed { .. } | LoadError::Socket(_)),
        "{error:?}"
    );
    let target = relay(Fault::Refuse);
    let error = run(&target, &scenario(shape, QoS::AtMostOnce)).expect_err("refused");
    assert!(error.to_string().contains("not authorized"), "{error}");
    assert!(
        error.to_string().contains(&target.address.to_string()),
        "{error}"
    );
}

#[test]
fn nobody_listening_and_a_process_that_is_gone_are_told_apart() {
    let free: SocketAddr = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port that is free again");
    let mut target = Target::new(free);
    let fan_in = scenario(Shape::FanIn { publishers: 1 }, QoS::AtMostOnce);
    let error = run(&target, &fan_in).expect_err("nobody listens");
    assert!(
        error.to_string().contains("is it listening there?"),
        "{error}"
    );
    target.pid = Some(u32::MAX);
    let error = run(&target, &fan_in).expect_err("no such process");
    assert!(error.to_string().contains("is the pid right?"), "{error}");
}

#[test]
fn idle_connections_are_held_and_dropped_ones_are_counted() {
    let scenario = Scenario::Idle {
        connections: 20,
        subscribe: true,
    };
    let report = run(&relay(Fault::None), &scenario).expect("runs");
    assert!(report.is_exact(), "{report}");
    let Figures::Idle(idle) = &report.figures else {
        panic!("{report}");
    };
    assert_eq!((idle.connections, idle.dropped), (20, 0));
    assert!(idle.rss_per_connection.is_some());
}

#[test]
fn a_connect_storm_admits_every_client_once() {
    let scenario = Scenario::Connects {
        count: 200,
        concurrent: 8,
        rate: None,
    };
    let report = run(&relay(Fault::None), &scenario).expect("runs");
    let Figures::Connects(connects) = &report.figures else {
        panic!("{report}");
    };
    assert_eq!(connects.connects, 200);
    assert!(connects.per_second() > 0.0 && connects.broker_cpu.is_some());
}

#[test]
fn connects_on_a_schedule_keep_to_it() {
    let scenario = Scenario::Connects {
        count: 100,
        concurrent: 8,
        rate: Some(200),
    };
    let report = run(&relay(Fault::None), &scenario).expect("runs");
    let Figures::Connects(connects) = &report.figures else {
        panic!("{report}");
    };
    // The first is due at once, the last one interval before the end of half a second.
    assert!(connects.elapsed.as_secs_f64() >= 0.495, "{report}");
    assert!(connects.latency.is_some(), "{report}");
}

fn wildcards() -> Scenario {
    Scenario::Wildcards {
        filters: 24,
        connections: 4,
        publishers: 3,
        flow: Flow::new(32, QoS::AtLeastOnce, 2),
        timing: Timing {
            warm_up: Duration::from_millis(20),
            measure: Duration::from_millis(80),
            silence: Duration::from_millis(150),
        },
    }
}

fn wildcard_exactness(fault: Fault) -> Exactness {
    let report = run(&relay(fault), &wildcards()).expect("runs");
    match &report.figures {
        Figures::Wildcards(wildcards) => {
            assert_eq!(wildcards.filters, 24);
            wildcards.traffic.exactness
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn wildcard_filters_get_each_message_twice_and_a_lost_or_doubled_one_is_seen() {
    let seen = wildcard_exactness(Fault::None);
    assert!(seen.is_exact() && seen.expected > 20, "{seen:?}");
    assert_eq!(seen.expected % 2, 0);
    let seen = wildcard_exactness(Fault::Drop);
    assert_eq!((seen.lost, seen.duplicated), (2, 0), "{seen:?}");
    let seen = wildcard_exactness(Fault::Double);
    assert_eq!((seen.lost, seen.duplicated), (0, 2), "{seen:?}");
}

#[test]
fn a_broker_that_delivers_to_clients_that_did_not_ask_is_found_out() {
    let error = run(&relay(Fault::IgnoreFilters), &wildcards()).expect_err("misrouted");
    assert!(
        error.to_string().contains("did not subscribe to it"),
        "{error}"
    );
}

#[test]
fn retained_messages_are_counted_one_by_one_and_deleted_afterwards() {
    // Each waits for the broker's memory to settle, so they wait together.
    thread::scope(|scope| {
        for (fault, lost, duplicated, altered) in [
            (Fault::None, 0, 0, 0),
            (Fault::Drop, 1, 0, 0),
            (Fault::Double, 0, 1, 0),
            (Fault::Alter, 0, 0, 1),
        ] {
            scope.spawn(move || {
                let target = relay(fault);
                let (report, seen) = retain_50(&target);
                assert_eq!(
                    (seen.lost, seen.duplicated, seen.altered),
                    (lost, duplicated, altered),
                    "{report}"
                );
                assert_eq!(report.is_exact(), fault == Fault::None);
                assert_eq!(retained_by(&target), 0, "left behind");
            });
        }
    });
}

fn retain_50(target: &Target) -> (Report, Exactness) {
    let scenario = Scenario::Retained {
        messages: 50,
        payload: 20,
        qos: QoS::AtLeastOnce,
    };
    let report = run(target, &scenario).expect("runs");
    let Figures::Retained(retained) = &report.figures else {
        panic!("{report}");
    };
    let seen = retained.exactness;
    assert_eq!(retained.messages, 50);
    assert_eq!(u64::from(retained.received), 50 - seen.lost);
    (report, seen)
}

/// Bytes that a reader of every topic is sent within a moment, behind CONNACK and SUBACK.
fn retained_by(target: &Target) -> usize {
    let mut reader = TcpStream::connect(target.address).expect("connects");
    reader
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a socket option");
    reader
        .write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01r\x82\x06\x00\x01\x00\x01#\x00")
        .expect("writes");
    let mut heard = Vec::new();
    // Ends with the timeout.
    let _ = reader.read_to_end(&mut heard);
    heard.len() - 4 - 5
}

#[test]
fn on_a_schedule_as_many_messages_flow_as_were_asked_for() {
    let scenario = Scenario::Traffic {
        shape: Shape::Pairs { pairs: 2 },
        flow: Flow {
            rate: Some(1000),
            ..Flow::new(64, QoS::AtMostOnce, 1)
        },
        timing: Timing {
            warm_up: Duration::from_millis(50),
            measure: Duration::from_millis(400),
            silence: Duration::from_millis(300),
        },
    };
    let report = run(&relay(Fault::None), &scenario).expect("runs");
    let Figures::Traffic(traffic) = &report.figures else {
        panic!("{report}");
    };
    assert!(traffic.exactness.is_exact(), "{report}");
    // 450 in 450 ms; a machine that stands still for a moment makes up for it afterwards.
    assert!(
        (440..=460).contains(&traffic.exactness.expected),
        "{report}"
    );
    assert!(traffic.latency.is_some());
}

#[test]
fn a_broker_command_that_cannot_serve_is_named_with_its_last_words() {
    let target = Target::new(([127, 0, 0, 1], 9).into());
    let scenario = Scenario::Recover {
        command: "sh -c 'echo out of cheese >&2; exit 7'".into(),
        messages: 10,
        payload: 16,
        qos: QoS::AtLeastOnce,
        window: 1,
        kill_after: None,
        retained: false,
    };
    let error = run(&target, &scenario).expect_err("ended").to_string();
    assert!(
        error.contains("out of cheese") && error.contains("exit status: 7"),
        "{error}"
    );
}
