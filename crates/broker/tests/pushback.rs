//! Publishers feel a subscriber that does not keep up, and are not left waiting for ever.

mod world;

use safeport_broker::{DiskRoom, Event, Limits};
use safeport_mqtt::Packet;
use world::{Client, World, msg, v5, v311};

const NOTHING: [&str; 0] = [];

/// A connected subscriber with a window of 1 and a queue of 2 that has them full, and a
/// publisher that has two messages more to say.
fn full() -> (World, Client, Client) {
    let mut w = World::with(Limits {
        max_inflight: 1,
        max_queued_messages: 2,
        patience: 5_000,
        ..Limits::default()
    });
    let slow = w.enter(v311("slow"));
    w.join(slow, "t", 1);
    let p = w.enter(v311("p").keep_alive(3));
    for id in 1..=3 {
        w.publish(p, msg("t", "x").q1(id));
    }
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2", "PUBACK #3"]);
    w.publish(p, msg("t", "four").q1(4));
    w.publish(p, msg("t", "five").q2(5));
    assert_eq!(w.read(p), NOTHING, "held back");
    (w, slow, p)
}

#[test]
fn a_publisher_waits_for_a_slow_subscriber_and_goes_on_when_half_its_queue_is_free() {
    let (mut w, slow, p) = full();
    assert!(w.events.contains(&Event::HeldBack {
        publisher: "p".into(),
        subscriber: "slow".into()
    }));
    assert_eq!(w.brokers[0].stats().publish_held_back, 1);
    w.wait_seconds(4);
    assert_eq!(w.read(p), NOTHING);
    assert_eq!(w.read(slow), ["PUBLISH t q1 #1: x"]);
    w.ack(slow, Packet::PubAck, 1);
    assert_eq!(w.read(p), ["PUBACK #4"], "and the next one waits again");
    w.ack(slow, Packet::PubAck, 2);
    assert_eq!(w.read(p), ["PUBREC #5"]);
    for id in 3..=5 {
        w.ack(slow, Packet::PubAck, id);
    }
    let got = w.read(slow).concat();
    assert!(got.ends_with("#4: fourPUBLISH t q1 #5: five"), "{got}");
    assert_eq!(w.brokers[0].stats().publish_refused, 0);
    assert_eq!(w.brokers[0].stats().publish_received, 5);
}

#[test]
fn patience_ends_and_the_publish_is_refused_as_if_nobody_was_there() {
    let (mut w, slow, p) = full();
    w.wait(4_999);
    let q = w.enter(v5("q"));
    w.publish(q, msg("t", "late").q1(1));
    assert_eq!(w.read(q), NOTHING);
    w.wait(1);
    // 3.1.1 has no words for it; its next message waits anew.
    assert_eq!(w.read(p), NOTHING);
    assert_eq!(w.brokers[0].stats().publish_refused, 1);
    w.wait(4_999);
    assert_eq!(w.read(q), ["PUBACK #1 0x97"]);
    assert_eq!(w.brokers[0].stats().publish_refused, 2);
    w.wait(1);
    assert_eq!(w.brokers[0].stats().publish_refused, 3);
    w.publish(p, msg("u", "another topic").q1(6));
    assert_eq!(w.read(p), ["PUBACK #6"]);
    assert_eq!(w.read(slow), ["PUBLISH t q1 #1: x"]);
}

#[test]
fn a_publisher_that_is_held_back_is_not_told_dead() {
    let (mut w, _slow, p) = full();
    // Its keep alive is 3 s, and we do not read what it sends.
    w.wait(4_900);
    assert!(w.wires[&p].open);
    w.wait(20_000);
    assert!(!w.wires[&p].open, "but later it is, if it says nothing");
}

#[test]
fn a_subscriber_that_leaves_lets_its_publishers_go() {
    let (mut w, slow, p) = full();
    w.cut(slow);
    assert_eq!(
        w.read(p),
        ["PUBACK #4", "PUBREC #5"],
        "a clean session took its queue along"
    );

    let (mut w, _, p) = full();
    let again = w.connect(v311("slow"));
    assert_eq!(w.read(p), ["PUBACK #4", "PUBREC #5"], "taken over");
    assert_eq!(w.read(again), ["CONNACK ok"]);
}

#[test]
fn a_publisher_that_leaves_is_forgotten() {
    let (mut w, slow, p) = full();
    w.cut(p);
    w.ack(slow, Packet::PubAck, 1);
    w.wait_seconds(20);
    w.disconnect(slow);
    assert!(w.brokers[0].is_empty());
}

#[test]
fn a_client_that_floods_itself_is_refused_at_once() {
    let mut w = World::with(Limits {
        max_inflight: 1,
        max_queued_messages: 1,
        ..Limits::default()
    });
    let c = w.enter(v5("c"));
    w.join(c, "t", 1);
    for id in 1..=3 {
        w.publish(c, msg("t", "x").q1(id));
    }
    // It would never read the acknowledgements that it waits for.
    assert_eq!(
        w.read(c),
        [
            "PUBLISH t q1 #1: x",
            "PUBACK #1",
            "PUBACK #2",
            "PUBACK #3 0x97"
        ]
    );
}

#[test]
fn without_patience_a_full_queue_refuses_at_once() {
    let mut w = World::with(Limits {
        max_inflight: 1,
        max_queued_messages: 1,
        patience: 0,
        ..Limits::default()
    });
    let slow = w.enter(v311("slow"));
    w.join(slow, "t", 1);
    let p = w.enter(v5("p"));
    for id in 1..=3 {
        w.publish(p, msg("t", "x").q1(id));
    }
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2", "PUBACK #3 0x97"]);
}

#[test]
fn what_all_sessions_are_owed_together_has_a_limit_too() {
    let mut w = World::with(Limits {
        max_stored_bytes: 600,
        ..Limits::default()
    });
    for name in ["a", "b"] {
        let c = w.enter(v311(name).lasting());
        w.join(c, "t", 1);
        w.cut(c);
    }
    let p = w.enter(v5("p"));
    let payload = "x".repeat(39);
    w.publish(p, msg("t", &payload).q1(1));
    assert_eq!(w.brokers[0].stats().stored_bytes, 80, "40 bytes for each");
    w.publish(p, msg("t", &payload).q1(2));
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2 0x97"]);
    let a = w.connect(v311("a").lasting());
    w.ack(a, Packet::PubAck, 1);
    assert_eq!(w.brokers[0].stats().stored_bytes, 40);
    w.publish(p, msg("t", "small").q1(3));
    assert_eq!(w.read(p), ["PUBACK #3"]);
}

#[test]
fn a_full_disk_refuses_what_would_have_to_be_kept_and_nothing_else() {
    let mut w = World::new();
    let away = w.enter(v311("away").lasting());
    w.join(away, "t", 1);
    let here = w.enter(v311("here"));
    w.join(here, "#", 1);
    w.with_broker(0, |broker, _| broker.set_disk_room(DiskRoom::Scarce));
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "kept").q1(1));
    w.publish(p, msg("r", "kept").q1(2).retain());
    w.publish(p, msg("u", "passes").q1(3));
    w.publish(p, msg("t", "passes").retain());
    assert_eq!(w.read(p), ["PUBACK #1 0x97", "PUBACK #2 0x97", "PUBACK #3"]);
    assert_eq!(
        w.read(here),
        ["PUBLISH u q1 #1: passes", "PUBLISH t q0: passes"]
    );
    assert_eq!(w.brokers[0].stats().retained, 0);
    let new = w.connect(v311("new").lasting());
    assert_eq!(
        w.read(new),
        ["CONNACK 0x88", "CLOSED"],
        "3.1.1: unavailable"
    );
    w.subscribe(away, 5, &[world::sub("v", 1)]);
    w.read(away);
    w.with_broker(0, |broker, _| broker.set_disk_room(DiskRoom::Nothing));
    let back = w.connect(v311("away").lasting());
    assert_eq!(w.read(back), ["CONNACK 0x88", "CLOSED"]);
    let plug = w.enter(v311("plug").will(msg("lwt", "gone")));
    w.cut(plug);
    assert_eq!(w.read(here), ["PUBLISH lwt q0: gone"], "as ever");
    w.with_broker(0, |broker, _| broker.set_disk_room(DiskRoom::Enough));
    w.publish(p, msg("t", "kept").q1(4));
    assert_eq!(w.read(p), ["PUBACK #4"]);
}

#[test]
fn a_client_that_subscribes_anew_is_let_go_on_a_full_disk_if_nothing_is_to_be_written() {
    let mut w = World::new();
    let c = w.enter(v311("c").lasting());
    w.join(c, "t", 1);
    let p = w.enter(v5("p"));
    w.publish(p, msg("r", "kept").q1(1).retain());
    w.subscribe(c, 9, &[world::sub("r", 0)]);
    w.read(c);
    w.settle(0);
    let before = w.groups[0].len();
    w.with_broker(0, |broker, _| broker.set_disk_room(DiskRoom::Scarce));
    w.join(c, "t", 1);
    w.subscribe(c, 1, &[world::sub("r", 0)]);
    assert_eq!(w.read(c), ["SUBACK #1 [0]", "PUBLISH r q0 retain: kept"]);
    assert_eq!(w.groups[0].len(), before, "nothing new was written");
    for (filter, qos) in [("t", 2), ("r", 1), ("new", 0)] {
        w.subscribe(c, 2, &[world::sub(filter, qos)]);
        assert_eq!(w.read(c), ["SUBACK #2 [128]"], "{filter} {qos}");
    }
}

#[test]
fn qos_0_takes_nobodys_place_in_the_queue_and_has_a_limit_in_bytes() {
    let mut w = World::with(Limits {
        max_queued_messages: 2,
        max_queued_qos0: 10,
        max_queued_qos0_bytes: 100,
        ..Limits::default()
    });
    w.slow_sockets = true;
    let slow = w.enter(v311("slow"));
    w.join(slow, "#", 1);
    w.fill(slow);
    let p = w.enter(v5("p"));
    let payload = "x".repeat(40);
    for _ in 0..5 {
        w.publish(p, msg("t", &payload));
    }
    assert_eq!(
        w.brokers[0].stats().publish_dropped,
        3,
        "two of 41 bytes fit"
    );
    w.publish(p, msg("t", "1").q1(1));
    w.publish(p, msg("t", "2").q1(2));
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2"]);
}
