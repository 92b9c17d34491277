//! Limits that change while clients are connected: nobody loses what was acknowledged or granted.

mod world;

use safeport_broker::{Limits, Time};
use safeport_mqtt::{Packet, Property};
use world::{World, msg, sub, v5, v311};

const NOTHING: [&str; 0] = [];

/// Changes limits of the first broker.
fn change(w: &mut World, change: impl FnOnce(&mut Limits)) {
    let mut limits = w.brokers[0].limits().clone();
    change(&mut limits);
    w.with_broker(0, |broker, _: Time| broker.set_limits(limits));
}

#[test]
fn a_lowered_queue_limit_drops_nothing_that_waits_and_refuses_what_comes() {
    let mut w = World::new();
    let away = w.enter(v311("away").resume());
    w.join(away, "t", 1);
    w.cut(away);
    let p = w.enter(v5("p"));
    for id in 1..=5 {
        w.publish(p, msg("t", "kept").q1(id));
    }
    assert_eq!(w.read(p).len(), 5);
    change(&mut w, |limits| limits.max_queued_messages = 2);
    w.publish(p, msg("t", "too much").q1(6));
    assert_eq!(w.read(p), ["PUBACK #6 0x97"]);
    let back = w.connect(v311("away").resume());
    let got = w.read(back);
    assert_eq!(got[0], "CONNACK ok, present");
    assert_eq!(got.len(), 6, "{got:?}");
    w.publish(p, msg("t", "goes again").q1(7));
    assert_eq!(w.read(p), ["PUBACK #7"]);
}

#[test]
fn a_raised_queue_limit_lets_a_publisher_go_that_was_held_back() {
    let mut w = World::with(Limits {
        max_inflight: 1,
        max_queued_messages: 2,
        ..Limits::default()
    });
    let slow = w.enter(v311("slow"));
    w.join(slow, "t", 1);
    let p = w.enter(v311("p"));
    for id in 1..=4 {
        w.publish(p, msg("t", "x").q1(id));
    }
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2", "PUBACK #3"]);
    change(&mut w, |limits| limits.max_retained_messages = 7);
    assert_eq!(w.read(p), NOTHING, "that makes no room");
    change(&mut w, |limits| limits.max_queued_messages = 3);
    assert_eq!(w.read(p), ["PUBACK #4"]);
}

#[test]
fn a_client_is_held_to_the_receive_maximum_that_it_was_told() {
    let mut w = World::with(Limits {
        receive_maximum: 3,
        ..Limits::default()
    });
    let p = w.enter(v5("p"));
    change(&mut w, |limits| limits.receive_maximum = 1);
    for id in 1..=3 {
        w.publish(p, msg("t", "x").q2(id));
    }
    assert_eq!(w.read(p).len(), 3, "its CONNACK said 3");
    let q = w.connect(v5("q"));
    let connack = w.read(q).concat();
    assert!(w.brokers[0].limits().receive_maximum == 1, "{connack}");
    w.publish(q, msg("t", "x").q2(1));
    w.read(q);
    w.publish(q, msg("t", "x").q2(2));
    assert_eq!(w.read(q), ["DISCONNECT 0x93", "CLOSED"]);
    w.publish(p, msg("t", "x").q2(4));
    assert_eq!(w.read(p), ["DISCONNECT 0x93", "CLOSED"]);
}

#[test]
fn a_client_may_use_the_topic_aliases_that_it_was_told() {
    let mut w = World::with(Limits {
        topic_alias_maximum: 2,
        ..Limits::default()
    });
    let reader = w.enter(v311("reader"));
    w.join(reader, "a", 0);
    let p = w.enter(v5("p"));
    change(&mut w, |limits| limits.topic_alias_maximum = 0);
    w.publish(p, msg("a", "1").with(Property::TopicAlias(2)));
    w.publish(p, msg("", "2").with(Property::TopicAlias(2)));
    assert_eq!(w.read(reader), ["PUBLISH a q0: 1", "PUBLISH a q0: 2"]);
    let q = w.enter(v5("q"));
    w.publish(q, msg("a", "3").with(Property::TopicAlias(1)));
    assert_eq!(w.read(q), ["DISCONNECT 0x94", "CLOSED"]);
}

#[test]
fn what_is_retained_beyond_a_lowered_limit_stays_and_can_be_replaced() {
    let mut w = World::new();
    let p = w.enter(v5("p"));
    for (id, topic) in [(1, "r/1"), (2, "r/2"), (3, "r/3")] {
        w.publish(p, msg(topic, "old").q1(id).retain());
    }
    w.read(p);
    change(&mut w, |limits| {
        limits.max_retained_messages = 1;
        limits.max_retained_bytes = 8;
    });
    w.publish(p, msg("r/1", "new").q1(4).retain());
    w.publish(p, msg("r/2", "longer than it was").q1(5).retain());
    w.publish(p, msg("r/4", "x").q1(6).retain());
    let answers = w.read(p);
    assert!(answers[0].starts_with("PUBACK #4") && !answers[0].contains("0x97"));
    assert_eq!(answers[1..], ["PUBACK #5 0x97", "PUBACK #6 0x97"]);
    let reader = w.enter(v311("reader"));
    w.subscribe(reader, 1, &[sub("r/#", 0)]);
    let mut got = w.read(reader);
    got.sort_unstable();
    assert_eq!(
        got,
        [
            "PUBLISH r/1 q0 retain: new",
            "PUBLISH r/2 q0 retain: old",
            "PUBLISH r/3 q0 retain: old",
            "SUBACK #1 [0]"
        ]
    );
}

#[test]
fn subscriptions_and_sessions_over_a_lowered_limit_stay_and_further_ones_are_refused() {
    let mut w = World::new();
    let c = w.enter(v311("c").resume());
    w.subscribe(c, 1, &[sub("a", 0), sub("b", 0)]);
    w.read(c);
    let p = w.enter(v311("p"));
    change(&mut w, |limits| {
        limits.max_subscriptions = 1;
        limits.max_sessions = 1;
    });
    w.subscribe(c, 2, &[sub("a", 1), sub("d", 0)]);
    assert_eq!(w.read(c), ["SUBACK #2 [1, 128]"]);
    w.publish(p, msg("b", "x"));
    assert_eq!(w.read(c), ["PUBLISH b q0: x"]);
    w.cut(c);
    let back = w.connect(v311("c").resume());
    assert_eq!(w.read(back), ["CONNACK ok, present"]);
    let newcomer = w.connect(v5("newcomer"));
    assert_eq!(w.read(newcomer), ["CONNACK 0x97", "CLOSED"]);
}

#[test]
fn a_smaller_window_delivers_what_a_larger_one_had_in_flight() {
    let mut w = World::new();
    let c = w.enter(v311("c").resume());
    w.join(c, "t", 1);
    let p = w.enter(v311("p"));
    for id in 1..=4 {
        w.publish(p, msg("t", "x").q1(id));
    }
    assert_eq!(w.read(c).len(), 4);
    w.cut(c);
    change(&mut w, |limits| limits.max_inflight = 1);
    w.publish(p, msg("t", "last").q1(5));
    let c = w.connect(v311("c").resume());
    let mut got = w.read(c);
    for id in 1..=5 {
        w.ack(c, Packet::PubAck, id);
        got.extend(w.read(c));
    }
    assert_eq!(got.len(), 6, "{got:?}");
    assert!(got[5].ends_with("last"), "{got:?}");
    assert_eq!(w.brokers[0].stats().stored, 0);
}
