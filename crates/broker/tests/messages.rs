//! Messages between clients: QoS both ways, retained messages, properties, aliases, limits.

mod world;

use safeport_broker::{Event, Limits, Permissions, Publication, TopicRights};
use safeport_mqtt::{Packet, Property, QoS, ReasonCode};
use world::{World, msg, sub, v5, v31, v311};

const NOTHING: [&str; 0] = [];

#[test]
fn the_lower_qos_of_publish_and_subscription_wins() {
    for who in [v5("c"), v311("c"), v31("c")] {
        let mut w = World::new();
        let c = w.enter(who.clone());
        let p = w.enter(v5("p"));
        for (granted, expected) in [
            (0, ["PUBLISH t q0: 0", "PUBLISH t q0: 1", "PUBLISH t q0: 2"]),
            (
                1,
                [
                    "PUBLISH t q0: 0",
                    "PUBLISH t q1 #1: 1",
                    "PUBLISH t q1 #2: 2",
                ],
            ),
            (
                2,
                [
                    "PUBLISH t q0: 0",
                    "PUBLISH t q1 #3: 1",
                    "PUBLISH t q2 #4: 2",
                ],
            ),
        ] {
            w.join(c, "t", granted);
            w.publish(p, msg("t", "0"));
            w.publish(p, msg("t", "1").q1(1));
            w.publish(p, msg("t", "2").q2(2));
            assert_eq!(w.read(c), expected);
            assert_eq!(w.read(p), ["PUBACK #1", "PUBREC #2"]);
            w.ack(p, Packet::PubRel, 2);
            assert_eq!(w.read(p), ["PUBCOMP #2"]);
        }
    }
}

#[test]
fn a_repeated_qos_2_publish_is_answered_again_and_delivered_once() {
    for who in [v5("p").lasting(), v311("p").lasting(), v31("p").lasting()] {
        let mut w = World::new();
        let c = w.enter(v5("c"));
        w.join(c, "t", 2);
        let p = w.enter(who.clone());
        w.publish(p, msg("t", "x").q2(9));
        w.cut(p);
        let p = w.connect(who);
        w.read(p);
        w.publish(p, msg("t", "x").q2(9).dup());
        assert_eq!(w.read(p), ["PUBREC #9"]);
        w.ack(p, Packet::PubRel, 9);
        w.ack(p, Packet::PubRel, 9);
        let again = w.read(p);
        assert_eq!(again[0], "PUBCOMP #9");
        assert!(again[1].starts_with("PUBCOMP #9"));
        assert_eq!(w.read(c), ["PUBLISH t q2 #1: x"]);
        // Released, the id stands for a new message.
        w.publish(p, msg("t", "y").q2(9));
        assert_eq!(w.read(c), ["PUBLISH t q2 #2: y"]);
    }
}

#[test]
fn releasing_an_unknown_id_is_answered_with_packet_identifier_not_found() {
    let mut w = World::new();
    let p = w.enter(v5("p"));
    w.ack(p, Packet::PubRel, 7);
    assert_eq!(w.read(p), ["PUBCOMP #7 0x92"]);
    w.ack(p, Packet::PubRec, 7);
    assert_eq!(w.read(p), ["PUBREL #7 0x92"]);
    let p = w.enter(v311("p"));
    w.ack(p, Packet::PubRel, 7);
    w.ack(p, Packet::PubRec, 7);
    assert_eq!(w.read(p), ["PUBCOMP #7", "PUBREL #7"]);
}

#[test]
fn qos_2_goes_through_all_four_packets_and_survives_a_cut_at_each() {
    for who in [v5("c").lasting(), v311("c").lasting()] {
        let mut w = World::new();
        let c = w.enter(who.clone());
        w.join(c, "t", 2);
        let p = w.enter(v5("p"));
        w.publish(p, msg("t", "x").q2(1));
        w.cut(c);
        let c = w.connect(who.clone());
        assert_eq!(w.read(c)[1..], ["PUBLISH t q2 #1 dup: x"]);
        w.ack(c, Packet::PubRec, 1);
        assert_eq!(w.read(c), ["PUBREL #1"]);
        // Said twice: answered twice.
        w.ack(c, Packet::PubRec, 1);
        assert_eq!(w.read(c), ["PUBREL #1"]);
        w.cut(c);
        let c = w.connect(who.clone());
        assert_eq!(w.read(c)[1..], ["PUBREL #1"]);
        w.ack(c, Packet::PubComp, 1);
        w.cut(c);
        let c = w.connect(who);
        assert_eq!(w.read(c).len(), 1);
        assert_eq!(w.brokers[0].stats().stored, 0);
    }
}

#[test]
fn a_refusing_pubrec_ends_the_exchange() {
    let mut w = World::new();
    let c = w.enter(v5("c").lasting().with(Property::ReceiveMaximum(1)));
    w.join(c, "t", 2);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").q2(1));
    w.publish(p, msg("t", "y").q2(2));
    assert_eq!(w.read(c), ["PUBLISH t q2 #1: x"]);
    w.ack_with(c, Packet::PubRec, 1, ReasonCode::QuotaExceeded);
    assert_eq!(w.read(c), ["PUBLISH t q2 #2: y"]);
    assert_eq!(w.brokers[0].stats().stored, 1);
}

#[test]
fn acknowledgements_of_the_wrong_kind_change_nothing() {
    let mut w = World::new();
    let c = w.enter(v5("c").lasting().with(Property::ReceiveMaximum(2)));
    w.join(c, "t", 2);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "one").q1(1));
    w.publish(p, msg("t", "two").q2(2));
    w.read(c);
    w.ack(c, Packet::PubAck, 2);
    w.ack(c, Packet::PubRec, 1);
    w.ack(c, Packet::PubComp, 2);
    w.ack(c, Packet::PubAck, 3);
    assert_eq!(w.read(c), NOTHING);
    assert_eq!(w.brokers[0].stats().stored, 2);
}

#[test]
fn packet_ids_go_round_and_skip_what_is_open() {
    let mut w = World::new();
    let c = w.enter(v311("c").lasting());
    w.join(c, "t", 1);
    let p = w.enter(v311("p"));
    let mut last = 0;
    for round in 0..65_530u32 {
        w.publish(p, msg("t", "x").q1(1));
        w.read(p);
        let got = w.read(c);
        last = got[0][14..].split(':').next().unwrap().parse().unwrap();
        assert_eq!(u32::from(last), round + 1);
        w.ack(c, Packet::PubAck, last);
    }
    // Ten open ones around the end of the numbers, acknowledged out of order.
    for _ in 0..10 {
        w.publish(p, msg("t", "x").q1(1));
    }
    let ids: Vec<u16> = w
        .read(c)
        .iter()
        .map(|line| line[14..].split(':').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ids, [65531, 65532, 65533, 65534, 65535, 1, 2, 3, 4, 5]);
    for id in [1, 65535, 5, 65531, 2, 65533, 3, 65534, 4] {
        w.ack(c, Packet::PubAck, id);
    }
    assert_eq!(w.brokers[0].stats().stored, 1);
    w.cut(c);
    let c = w.connect(v311("c").lasting());
    assert_eq!(w.read(c)[1..], ["PUBLISH t q1 #65532 dup: x"]);
    w.ack(c, Packet::PubAck, 65532);
    assert_eq!(w.brokers[0].stats().stored, 0);
    assert!(last > 65_000);
}

#[test]
fn an_id_that_is_still_open_is_not_given_to_another_message() {
    let mut w = World::new();
    let c = w.enter(v311("c").lasting());
    w.join(c, "t", 1);
    let p = w.enter(v311("p"));
    // The first message is never acknowledged, 65,534 others are.
    w.publish(p, msg("t", "first").q1(1));
    for id in 2..=65535u16 {
        w.publish(p, msg("t", "x").q1(1));
        w.ack(c, Packet::PubAck, id);
    }
    w.read(p);
    w.read(c);
    // Id 1 is passed over, and the client goes on hearing.
    for id in [2, 3, 4] {
        w.publish(p, msg("t", "later").q1(1));
        assert_eq!(w.read(c), [format!("PUBLISH t q1 #{id}: later")]);
    }
    for id in [3, 1, 4, 2] {
        w.ack(c, Packet::PubAck, id);
    }
    assert_eq!(w.brokers[0].stats().stored, 0);
}

#[test]
fn no_more_than_the_receive_maximum_is_in_flight_to_the_client() {
    let mut w = World::new();
    let c = w.enter(v5("c").lasting().with(Property::ReceiveMaximum(2)));
    w.join(c, "t", 2);
    let p = w.enter(v5("p"));
    for id in 1..=4 {
        w.publish(p, msg("t", "x").q2(id));
    }
    w.publish(p, msg("t", "not held back for long"));
    assert_eq!(w.read(c).len(), 3, "QoS 0 does not count");
    w.ack(c, Packet::PubRec, 1);
    assert_eq!(w.read(c), ["PUBREL #1"], "PUBREC does not free the place");
    w.ack(c, Packet::PubComp, 1);
    assert_eq!(w.read(c), ["PUBLISH t q2 #3: x"]);
    // A smaller window after the return.
    w.cut(c);
    let c = w.connect(v5("c").lasting().with(Property::ReceiveMaximum(1)));
    assert_eq!(w.read(c)[1..], ["PUBLISH t q2 #2 dup: x"]);
    w.ack(c, Packet::PubRec, 2);
    w.ack(c, Packet::PubComp, 2);
    assert_eq!(w.read(c), ["PUBREL #2", "PUBLISH t q2 #3 dup: x"]);
}

#[test]
fn an_acknowledgement_that_comes_before_the_repetition_counts() {
    let who = |window| v5("c").lasting().with(Property::ReceiveMaximum(window));
    let mut w = World::new();
    let c = w.enter(who(3));
    w.join(c, "t", 1);
    let p = w.enter(v5("p"));
    for id in 1..=4 {
        w.publish(p, msg("t", "x").q1(id));
    }
    w.cut(c);
    let c = w.connect(who(1));
    assert_eq!(w.read(c)[1..], ["PUBLISH t q1 #1 dup: x"]);
    w.ack(c, Packet::PubAck, 3);
    assert_eq!(w.read(c), NOTHING);
    w.ack(c, Packet::PubAck, 1);
    assert_eq!(w.read(c), ["PUBLISH t q1 #2 dup: x"]);
    w.ack(c, Packet::PubAck, 2);
    assert_eq!(w.read(c), ["PUBLISH t q1 #4: x"]);
    w.ack(c, Packet::PubAck, 4);
    assert_eq!(w.brokers[0].stats().stored, 0);
}

#[test]
fn more_than_our_receive_maximum_closes_with_0x93() {
    let limits = Limits {
        receive_maximum: 3,
        ..Limits::default()
    };
    let mut w = World::with(limits.clone());
    let p = w.enter(v5("p"));
    for id in 1..=3 {
        w.publish(p, msg("t", "x").q2(id));
    }
    // QoS 1 is acknowledged at once and never open.
    w.publish(p, msg("t", "x").q1(9));
    w.read(p);
    w.publish(p, msg("t", "x").q2(4));
    assert_eq!(w.read(p), ["DISCONNECT 0x93", "CLOSED"]);

    let mut w = World::with(limits);
    let p = w.enter(v311("p"));
    for id in 1..=10 {
        w.publish(p, msg("t", "x").q2(id));
    }
    assert_eq!(w.read(p).len(), 10, "3.1.1 was told no limit");
}

#[test]
fn what_an_earlier_connection_left_open_does_not_count_against_receive_maximum() {
    let mut w = World::with(Limits {
        receive_maximum: 2,
        ..Limits::default()
    });
    let p = w.enter(v5("p").lasting());
    w.publish(p, msg("t", "x").q2(1));
    w.publish(p, msg("t", "x").q2(2));
    w.cut(p);
    let p = w.connect(v5("p").lasting());
    w.read(p);
    w.publish(p, msg("t", "x").q2(3));
    w.publish(p, msg("t", "x").q2(4));
    assert_eq!(w.read(p), ["PUBREC #3 0x10", "PUBREC #4 0x10"]);
    w.ack(p, Packet::PubRel, 1);
    w.ack(p, Packet::PubRel, 3);
    w.publish(p, msg("t", "x").q2(5));
    assert_eq!(w.read(p), ["PUBCOMP #1", "PUBCOMP #3", "PUBREC #5 0x10"]);
    w.publish(p, msg("t", "x").q2(6));
    assert_eq!(w.read(p), ["DISCONNECT 0x93", "CLOSED"]);
}

#[test]
fn a_publish_that_nobody_wants_is_acknowledged_with_0x10() {
    let mut w = World::new();
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").q1(1));
    w.publish(p, msg("t", "x").q2(2));
    assert_eq!(w.read(p), ["PUBACK #1 0x10", "PUBREC #2 0x10"]);
    w.ack(p, Packet::PubRel, 2);
    assert_eq!(w.read(p), ["PUBCOMP #2"]);
    let p = w.enter(v311("p"));
    w.publish(p, msg("t", "x").q1(1));
    assert_eq!(w.read(p), ["PUBACK #1"]);
}

// Properties.

#[test]
fn what_concerns_the_receiver_is_forwarded_in_order() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    let old = w.enter(v311("old"));
    w.join(c, "t", 0);
    w.join(old, "t", 0);
    let p = w.enter(v5("p"));
    w.publish(
        p,
        msg("t", "x")
            .with(Property::PayloadFormatIndicator(true))
            .with(Property::UserProperty("b", "1"))
            .with(Property::ContentType("text/plain"))
            .with(Property::UserProperty("a", "2"))
            .with(Property::ResponseTopic("answer/here"))
            .with(Property::CorrelationData(b"42"))
            .with(Property::UserProperty("b", "1")),
    );
    assert_eq!(
        w.read(c),
        [
            "PUBLISH t q0 utf8=true b=1 type=text/plain a=2 response=answer/here correlation=42 b=1: x"
        ]
    );
    assert_eq!(w.read(old), ["PUBLISH t q0: x"]);
}

#[test]
fn message_expiry_counts_down_in_the_queue_and_drops_what_is_too_old() {
    let mut w = World::new();
    let c = w.enter(v5("c").lasting());
    w.join(c, "t", 1);
    w.cut(c);
    let p = w.enter(v5("p"));
    w.publish(
        p,
        msg("t", "short")
            .q1(1)
            .with(Property::MessageExpiryInterval(10)),
    );
    w.publish(
        p,
        msg("t", "long")
            .q1(2)
            .with(Property::MessageExpiryInterval(100)),
    );
    w.publish(p, msg("t", "for ever").q1(3));
    w.wait(10_000);
    let c = w.connect(v5("c").lasting());
    assert_eq!(
        w.read(c)[1..],
        [
            "PUBLISH t q1 #1 expiry=90: long",
            "PUBLISH t q1 #2: for ever"
        ]
    );
    let stats = w.brokers[0].stats();
    assert_eq!((stats.stored, stats.publish_dropped), (2, 1));
}

#[test]
fn topic_aliases_from_the_client_stand_for_their_topic_on_that_connection() {
    let mut w = World::with(Limits {
        topic_alias_maximum: 2,
        ..Limits::default()
    });
    let c = w.enter(v5("c"));
    w.join(c, "#", 0);
    let p = w.enter(v5("p").lasting());
    w.publish(p, msg("a/b", "1").with(Property::TopicAlias(2)));
    w.publish(p, msg("", "2").with(Property::TopicAlias(2)));
    w.publish(p, msg("c", "3").with(Property::TopicAlias(2)));
    w.publish(p, msg("", "4").with(Property::TopicAlias(2)));
    assert_eq!(
        w.read(c),
        [
            "PUBLISH a/b q0: 1",
            "PUBLISH a/b q0: 2",
            "PUBLISH c q0: 3",
            "PUBLISH c q0: 4"
        ]
    );
    w.publish(p, msg("", "5").with(Property::TopicAlias(1)));
    assert_eq!(w.read(p), ["DISCONNECT 0x82", "CLOSED"]);
    // Aliases end with the connection.
    let p = w.enter(v5("p").lasting());
    w.publish(p, msg("", "6").with(Property::TopicAlias(2)));
    assert_eq!(w.read(p), ["DISCONNECT 0x82", "CLOSED"]);
    let p = w.enter(v5("p").lasting());
    w.publish(p, msg("a", "7").with(Property::TopicAlias(3)));
    assert_eq!(w.read(p), ["DISCONNECT 0x94", "CLOSED"]);
    assert_eq!(w.read(c), NOTHING);
}

#[test]
fn topic_aliases_to_the_client_are_set_once_and_then_used() {
    let mut w = World::new();
    let who = || v5("c").lasting().with(Property::TopicAliasMaximum(2));
    let c = w.enter(who());
    w.join(c, "#", 1);
    let p = w.enter(v5("p"));
    for topic in ["topic/a", "topic/a", "topic/b", "topic/c", "topic/b"] {
        w.publish(p, msg(topic, "x"));
    }
    assert_eq!(
        w.read(c),
        [
            "PUBLISH topic/a q0 alias=1: x",
            "PUBLISH  q0 alias=1: x",
            "PUBLISH topic/b q0 alias=2: x",
            "PUBLISH topic/c q0: x",
            "PUBLISH  q0 alias=2: x"
        ]
    );
    w.publish(p, msg("topic/a", "y").q1(1));
    assert_eq!(w.read(c), ["PUBLISH  q1 #1 alias=1: y"]);
    w.cut(c);
    let c = w.connect(who());
    assert_eq!(w.read(c)[1..], ["PUBLISH topic/a q1 #1 dup alias=1: y"]);
}

#[test]
fn an_alias_is_not_set_by_a_packet_that_is_too_large_to_be_sent() {
    // Around the sizes where the length of the properties, or of all, takes a second byte.
    for (len, limit) in (90..120).flat_map(|len| (len + 15..len + 40).map(move |l| (len, l))) {
        let value = "v".repeat(len);
        let mut w = World::new();
        let c = w.enter(
            v5("c")
                .with(Property::TopicAliasMaximum(5))
                .with(Property::MaximumPacketSize(limit as u32)),
        );
        w.join(c, "#", 0);
        let p = w.enter(v5("p"));
        let property = Property::UserProperty("12345", &value);
        w.publish(p, msg("topic", "12").with(property));
        w.publish(p, msg("topic", "x"));
        let got = w.read(c);
        let (last, before) = got.split_last().unwrap();
        let known = before.iter().any(|line| line.contains("alias=1"));
        let used = last.starts_with("PUBLISH  q0");
        assert_eq!(known, used, "{len} {limit}: {got:?}");
    }
}

#[test]
fn packets_larger_than_the_client_takes_are_dropped_and_count_as_sent() {
    let mut w = World::new();
    let c = w.enter(v5("c").lasting().with(Property::MaximumPacketSize(40)));
    w.join(c, "t", 2);
    let p = w.enter(v5("p"));
    let long = "x".repeat(60);
    for (id, payload) in [(1, "a"), (2, &*long), (3, "b")] {
        w.publish(p, msg("t", payload).q1(id));
        w.publish(p, msg("t", payload).q2(id + 10));
        w.publish(p, msg("t", payload));
    }
    assert_eq!(
        w.read(c),
        [
            "PUBLISH t q1 #1: a",
            "PUBLISH t q2 #2: a",
            "PUBLISH t q0: a",
            "PUBLISH t q1 #5: b",
            "PUBLISH t q2 #6: b",
            "PUBLISH t q0: b"
        ]
    );
    let stats = w.brokers[0].stats();
    assert_eq!((stats.publish_dropped, stats.stored), (3, 4));
    // A SUBACK of forty codes does not fit either.
    w.subscribe(c, 1, &[sub("s", 0); 40]);
    assert_eq!(w.read(c), NOTHING);
    // A smaller limit after the return applies to what is sent again.
    w.cut(c);
    let c = w.connect(v5("c").lasting().with(Property::MaximumPacketSize(7)));
    assert_eq!(w.read(c).len(), 1);
    assert_eq!(w.brokers[0].stats().stored, 0);
}

#[test]
fn large_payloads_reach_every_version_unharmed() {
    let mut w = World::new();
    let clients = [
        w.enter(v5("a")),
        w.enter(v311("b")),
        w.enter(v5("c").with(Property::TopicAliasMaximum(1))),
    ];
    for c in clients {
        w.subscribe(c, 1, &[sub("t", 1)]);
        w.read(c);
    }
    let p = w.enter(v5("p"));
    let large = "0123456789".repeat(10_000);
    w.publish(p, msg("t", &large).q1(1));
    for c in clients {
        let got = w.read(c);
        assert!(got[0].starts_with("PUBLISH t q1 #1") && got[0].ends_with(": 100000 bytes"));
    }
}

// Retained messages.

#[test]
fn the_last_retained_message_comes_with_a_subscription_and_an_empty_one_removes_it() {
    for who in [v5("c"), v311("c"), v31("c")] {
        let mut w = World::new();
        let p = w.enter(v5("p"));
        w.publish(p, msg("a/1", "old").retain());
        w.publish(p, msg("a/1", "new").q1(1).retain());
        w.publish(p, msg("a", "parent").retain());
        w.publish(p, msg("a/2", "gone").retain());
        w.publish(p, msg("a/2", "").retain());
        let c = w.enter(who);
        w.subscribe(c, 1, &[sub("a/#", 2)]);
        let mut got = w.read(c);
        got[1..].sort();
        assert_eq!(
            got,
            [
                "SUBACK #1 [2]",
                "PUBLISH a q0 retain: parent",
                "PUBLISH a/1 q1 #1 retain: new"
            ]
        );
        // To those who are there already, it is a message like others.
        w.publish(p, msg("a/1", "live").retain());
        w.publish(p, msg("a/1", "").retain());
        assert_eq!(w.read(c), ["PUBLISH a/1 q0: live", "PUBLISH a/1 q0: "]);
        w.publish(p, msg("a", "").retain());
        assert_eq!(w.brokers[0].stats().retained, 0);
        assert_eq!(w.brokers[0].stats().retained_bytes, 0);
    }
}

#[test]
fn retained_messages_match_every_kind_of_filter() {
    let mut w = World::new();
    let p = w.enter(v5("p"));
    let topics = ["a", "a/b", "a/b/c", "/a", "a/", "b", "$x/a"];
    for topic in topics {
        w.publish(p, msg(topic, "x").retain());
    }
    for filter in [
        "#", "+", "a/#", "a/+", "+/b/#", "/+", "+/+", "$x/#", "$x/+", "+/#", "a", "a/b/c/#",
    ] {
        let c = w.enter(v5("c"));
        w.subscribe(c, 1, &[sub(filter, 0)]);
        let mut got: Vec<String> = w.read(c)[1..].to_vec();
        got.sort();
        let parsed = safeport_mqtt::TopicFilter::new(filter).unwrap();
        let mut expected: Vec<String> = topics
            .iter()
            .filter(|topic| parsed.matches(topic))
            .map(|topic| format!("PUBLISH {topic} q0 retain: x"))
            .collect();
        expected.sort();
        assert_eq!(got, expected, "{filter}");
    }
}

#[test]
fn retain_handling_decides_when_retained_messages_come() {
    use safeport_mqtt::RetainHandling::{DoNotSend, SendAtSubscribe, SendIfNew};
    let mut w = World::new();
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").retain());
    for (handling, first, second) in [
        (SendAtSubscribe, 2, 2),
        (SendIfNew, 2, 1),
        (DoNotSend, 1, 1),
    ] {
        let c = w.enter(v5("c"));
        w.subscribe(c, 1, &[sub("t", 0).handling(handling)]);
        assert_eq!(w.read(c).len(), first);
        w.subscribe(c, 2, &[sub("t", 0).handling(handling)]);
        assert_eq!(w.read(c).len(), second);
        w.unsubscribe(c, 3, &["t"]);
        w.read(c);
        w.subscribe(c, 4, &[sub("t", 0).handling(handling)]);
        assert_eq!(w.read(c).len(), first);
    }
}

#[test]
fn retain_as_published_keeps_the_flag_of_live_messages() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.subscribe(c, 1, &[sub("t", 1).as_published()]);
    let b = w.enter(v311("b").bridge());
    w.subscribe(b, 1, &[sub("t", 1)]);
    w.read(c);
    w.read(b);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").q1(1).retain());
    w.publish(p, msg("t", "y").q1(2));
    let expected = ["PUBLISH t q1 #1 retain: x", "PUBLISH t q1 #2: y"];
    assert_eq!(w.read(c), expected);
    assert_eq!(w.read(b), expected);
}

#[test]
fn a_bridge_of_3_1_1_does_not_hear_itself() {
    let mut w = World::new();
    let b = w.enter(v311("b").bridge());
    w.join(b, "t", 0);
    w.join(b, "$share/g/s", 0);
    w.publish(b, msg("t", "loop"));
    w.publish(b, msg("s", "shared"));
    assert_eq!(w.read(b), ["PUBLISH s q0: shared"]);
}

#[test]
fn retained_messages_expire() {
    let mut w = World::new();
    let p = w.enter(v5("p"));
    w.publish(
        p,
        msg("t", "x")
            .retain()
            .with(Property::MessageExpiryInterval(10)),
    );
    w.publish(
        p,
        msg("u", "at once")
            .retain()
            .with(Property::MessageExpiryInterval(0)),
    );
    w.wait(6_500);
    let c = w.enter(v5("c"));
    w.subscribe(c, 1, &[sub("#", 0)]);
    assert_eq!(w.read(c)[1..], ["PUBLISH t q0 retain expiry=4: x"]);
    // Set anew, it lives anew.
    w.publish(
        p,
        msg("t", "y")
            .retain()
            .with(Property::MessageExpiryInterval(10)),
    );
    w.wait(9_999);
    assert_eq!(w.brokers[0].stats().retained, 1);
    w.wait(1);
    assert_eq!(w.brokers[0].stats().retained, 0);
    w.disconnect(c);
    w.disconnect(p);
    assert!(w.brokers[0].is_empty());
}

#[test]
fn a_full_retained_store_refuses_new_topics_and_still_replaces() {
    let mut w = World::with(Limits {
        max_retained_messages: 1,
        max_retained_bytes: 20,
        ..Limits::default()
    });
    let c = w.enter(v5("c"));
    w.join(c, "#", 0);
    let p = w.enter(v5("p"));
    w.publish(p, msg("a", "1").q1(1).retain());
    w.publish(p, msg("b", "1").q1(2).retain());
    w.publish(p, msg("b", "1").q2(3).retain());
    w.publish(p, msg("a", "0123456789012345678901234").q1(4).retain());
    w.publish(p, msg("a", "2").q1(5).retain());
    assert_eq!(
        w.read(p),
        [
            "PUBACK #1",
            "PUBACK #2 0x97",
            "PUBREC #3 0x97",
            "PUBACK #4 0x97",
            "PUBACK #5"
        ]
    );
    assert_eq!(w.read(c), ["PUBLISH a q0: 1", "PUBLISH a q0: 2"]);
    w.publish(p, msg("b", "delivered, not kept").retain());
    assert_eq!(w.read(c).len(), 1);
    assert_eq!(w.brokers[0].stats().retained, 1);
}

// Rights.

#[test]
fn publishing_without_the_right_is_answered_as_the_version_allows() {
    let rights = || Permissions {
        user: Some("plug".into()),
        publish: TopicRights::Filters(vec!["mine/#".into()]),
        subscribe: TopicRights::All,
        to_server: None,
    };
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.join(c, "#", 2);
    let p = w.enter(v5("p").rights(rights()));
    for topic in ["other", "$SYS/broker/uptime"] {
        w.publish(p, msg(topic, "x"));
        w.publish(p, msg(topic, "x").q1(1));
        w.publish(p, msg(topic, "x").q2(2));
        assert_eq!(w.read(p), ["PUBACK #1 0x87", "PUBREC #2 0x87"]);
        // After an error the id is free: no PUBREL follows [MQTT-4.3.3-4].
        w.publish(p, msg("mine/1", "y").q2(2));
        assert_eq!(w.read(p), ["PUBREC #2"]);
        w.ack(p, Packet::PubRel, 2);
        w.read(p);
    }
    let old = w.enter(v311("old").rights(rights()));
    w.publish(old, msg("other", "x"));
    w.publish(old, msg("other", "x").q1(1));
    w.publish(old, msg("other", "x").q2(2));
    w.ack(old, Packet::PubRel, 2);
    assert_eq!(w.read(old), ["PUBACK #1", "PUBREC #2", "PUBCOMP #2"]);
    assert_eq!(w.read(c).len(), 2, "only what was allowed");
    assert!(w.events.contains(&Event::NotAllowed {
        client_id: "old".into(),
        user: Some("plug".into()),
        action: "publish",
        topic: "other".into()
    }));
}

#[test]
fn topics_that_are_too_deep_are_refused() {
    let mut w = World::with(Limits {
        max_topic_levels: 3,
        ..Limits::default()
    });
    let c = w.enter(v5("c"));
    w.publish(c, msg("a/b/c", "x").q1(1));
    w.publish(c, msg("a/b/c/d", "x").q1(2));
    w.subscribe(
        c,
        3,
        &[sub("a/b/c", 0), sub("a/b/c/#", 0), sub("$share/g/a/b/c", 0)],
    );
    assert_eq!(
        w.read(c),
        ["PUBACK #1 0x10", "PUBACK #2 0x90", "SUBACK #3 [0, 143, 0]"]
    );
}

// Queues and sockets.

#[test]
fn a_full_queue_refuses_the_publish_and_nobody_gets_it() {
    let mut w = World::with(Limits {
        max_queued_messages: 2,
        ..Limits::default()
    });
    let away = w.enter(v5("away").lasting());
    w.join(away, "t", 1);
    w.cut(away);
    let here = w.enter(v5("here"));
    w.join(here, "t", 0);
    let p = w.enter(v5("p"));
    let old = w.enter(v311("old").lasting());
    w.publish(p, msg("t", "1").q1(1));
    w.publish(p, msg("t", "2").q1(2));
    w.publish(p, msg("t", "3").q1(3));
    w.publish(p, msg("t", "4").q2(4));
    assert_eq!(
        w.read(p),
        ["PUBACK #1", "PUBACK #2", "PUBACK #3 0x97", "PUBREC #4 0x97"]
    );
    w.publish(old, msg("t", "5").q1(5));
    w.publish(old, msg("t", "6").q2(6));
    assert_eq!(w.read(old), NOTHING, "no acknowledgement before version 5");
    assert_eq!(w.read(here), ["PUBLISH t q0: 1", "PUBLISH t q0: 2"]);
    // QoS 0 asks nobody.
    w.publish(p, msg("t", "7"));
    assert_eq!(w.read(here), ["PUBLISH t q0: 7"]);
    assert_eq!(w.brokers[0].stats().publish_refused, 4);
    assert!(w.events.contains(&Event::LimitReached {
        client_id: "away".into(),
        limit: "limits.max_queued_messages"
    }));
    // With room again, what is sent again is taken.
    let away = w.connect(v5("away").lasting());
    assert_eq!(w.read(away).len(), 3);
    w.cut(old);
    let old = w.enter(v311("old").lasting());
    w.publish(old, msg("t", "5").q1(5).dup());
    w.publish(old, msg("t", "6").q2(6).dup());
    assert_eq!(w.read(old), ["PUBACK #5", "PUBREC #6"]);
    assert_eq!(w.read(here), ["PUBLISH t q0: 5", "PUBLISH t q0: 6"]);
}

#[test]
fn the_queue_counts_bytes_too_and_takes_one_message_of_any_size() {
    let mut w = World::with(Limits {
        max_queued_bytes: 100,
        ..Limits::default()
    });
    let away = w.enter(v5("away").lasting());
    w.join(away, "t", 1);
    w.cut(away);
    let p = w.enter(v5("p"));
    let long = "x".repeat(500);
    w.publish(p, msg("t", &long).q1(1));
    w.publish(p, msg("t", "x").q1(2));
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2 0x97"]);
}

#[test]
fn expired_messages_make_room_in_a_full_queue() {
    let mut w = World::with(Limits {
        max_queued_messages: 2,
        ..Limits::default()
    });
    let away = w.enter(v5("away").lasting());
    w.join(away, "t", 1);
    w.cut(away);
    let p = w.enter(v5("p"));
    for id in [1, 2] {
        w.publish(
            p,
            msg("t", "x")
                .q1(id)
                .with(Property::MessageExpiryInterval(5)),
        );
    }
    w.wait_seconds(5);
    w.publish(p, msg("t", "y").q1(3));
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2", "PUBACK #3"]);
}

#[test]
fn a_will_reaches_those_who_have_room() {
    let mut w = World::with(Limits {
        max_queued_messages: 1,
        ..Limits::default()
    });
    let away = w.enter(v5("away").lasting());
    w.join(away, "t", 1);
    w.cut(away);
    let here = w.enter(v5("here"));
    w.join(here, "t", 1);
    let p = w.enter(v5("p").will(msg("t", "gone").q1(0)));
    w.publish(p, msg("t", "x").q1(1));
    w.read(here);
    w.cut(p);
    assert_eq!(w.read(here), ["PUBLISH t q1 #2: gone"]);
    assert_eq!(w.brokers[0].stats().publish_dropped, 1);
    // The server itself has nobody to refuse either.
    w.with_broker(0, |broker, now| {
        let mut publication = Publication::new("t", "news");
        publication.qos = QoS::AtLeastOnce;
        broker.publish(&publication, now);
    });
    assert_eq!(w.read(here), ["PUBLISH t q1 #3: news"]);
}

#[test]
fn qos_0_waits_for_a_full_socket_up_to_its_limit() {
    let mut w = World::with(Limits {
        max_queued_qos0: 2,
        ..Limits::default()
    });
    w.slow_sockets = true;
    let c = w.enter(v5("c").lasting());
    w.join(c, "t", 1);
    let p = w.enter(v5("p"));
    w.fill(c);
    w.publish(p, msg("t", "1"));
    w.publish(p, msg("t", "2").q1(1));
    w.publish(p, msg("t", "3"));
    w.publish(p, msg("t", "dropped"));
    assert_eq!(w.read(c), NOTHING);
    assert_eq!(w.brokers[0].stats().publish_dropped, 1);
    w.drain(c);
    assert_eq!(
        w.read(c),
        ["PUBLISH t q0: 1", "PUBLISH t q1 #1: 2", "PUBLISH t q0: 3"]
    );
    // What waited at QoS 0 is gone with the connection.
    w.fill(c);
    w.publish(p, msg("t", "4"));
    w.publish(p, msg("t", "5").q1(2));
    w.cut(c);
    let c = w.connect(v5("c").lasting());
    assert_eq!(
        w.read(c)[1..],
        ["PUBLISH t q1 #1 dup: 2", "PUBLISH t q1 #2: 5"]
    );
}

#[test]
fn a_burst_stops_after_a_while_and_goes_on_when_the_socket_has_drained() {
    let mut w = World::new();
    w.slow_sockets = true;
    let p = w.enter(v5("p"));
    let kilobyte = "x".repeat(1000);
    for number in 0..200 {
        w.publish(p, msg(&format!("r/{number}"), &kilobyte).retain());
    }
    let c = w.enter(v311("c"));
    w.subscribe(c, 1, &[sub("r/#", 0)]);
    let mut total = w.read(c).len() - 1;
    assert!((60..80).contains(&total), "{total}");
    w.publish(p, msg("r/live", "x"));
    while w.wires[&c].full {
        w.drain(c);
        total += w.read(c).len();
    }
    assert_eq!(total, 201);
}

#[test]
fn asking_for_retained_messages_again_and_again_does_not_fill_the_queue() {
    let mut w = World::with(Limits {
        max_queued_messages: 100,
        ..Limits::default()
    });
    w.slow_sockets = true;
    let p = w.enter(v5("p"));
    for number in 0..150 {
        w.publish(p, msg(&format!("r/{number}"), "x").retain());
    }
    for (who, refused) in [(v5("c"), 151), (v311("c"), 128)] {
        let c = w.enter(who);
        w.fill(c);
        w.subscribe(c, 1, &[sub("#", 1), sub("+/#", 1), sub("other", 1)]);
        assert_eq!(w.read(c), [format!("SUBACK #1 [1, {refused}, 1]")]);
        w.subscribe(c, 2, &[sub("r/+", 1)]);
        assert_eq!(w.read(c), [format!("SUBACK #2 [{refused}]")]);
        w.drain(c);
        assert_eq!(w.read(c).len(), 150);
        w.cut(c);
    }
}

// Delivery without a subscription.

#[test]
fn deliver_reaches_a_client_without_a_subscription() {
    let mut w = World::new();
    let c = w.enter(v311("box").lasting());
    let deliver = |w: &mut World, client: &str, qos, payload: &str| {
        let mut publication = Publication::new("devices/box", payload);
        publication.qos = qos;
        w.with_broker(0, |broker, now| broker.deliver(client, &publication, now))
    };
    assert!(deliver(&mut w, "box", QoS::AtMostOnce, "hello"));
    assert!(deliver(&mut w, "box", QoS::AtLeastOnce, "kept"));
    assert_eq!(
        w.read(c),
        [
            "PUBLISH devices/box q0: hello",
            "PUBLISH devices/box q1 #1: kept"
        ]
    );
    assert!(!deliver(&mut w, "nobody", QoS::AtLeastOnce, "x"));
    w.ack(c, Packet::PubAck, 1);
    w.cut(c);
    assert!(!deliver(&mut w, "box", QoS::AtMostOnce, "away"));
    assert!(deliver(&mut w, "box", QoS::ExactlyOnce, "waits"));
    let c = w.connect(v311("box").lasting());
    assert_eq!(w.read(c)[1..], ["PUBLISH devices/box q2 #1: waits"]);
}

#[test]
fn delivery_to_a_full_queue_is_refused() {
    let mut w = World::with(Limits {
        max_queued_messages: 1,
        max_queued_qos0: 1,
        ..Limits::default()
    });
    w.slow_sockets = true;
    let c = w.enter(v5("c"));
    w.fill(c);
    let mut results = Vec::new();
    for qos in [
        QoS::AtMostOnce,
        QoS::AtMostOnce,
        QoS::AtLeastOnce,
        QoS::AtLeastOnce,
    ] {
        let mut publication = Publication::new("t", "x");
        publication.qos = qos;
        results.push(w.with_broker(0, |broker, now| broker.deliver("c", &publication, now)));
    }
    assert_eq!(results, [true, false, true, false]);
}

#[test]
fn a_refused_qos_1_publish_does_not_end_a_qos_2_exchange_with_the_same_identifier() {
    let mut w = World::with(Limits {
        max_queued_messages: 1,
        ..Limits::default()
    });
    let away = w.enter(v311("away").lasting());
    w.join(away, "t", 2);
    w.cut(away);
    let p = w.enter(v311("p"));
    w.publish(p, msg("t", "once").q2(5));
    assert_eq!(w.read(p), ["PUBREC #5"]);
    w.publish(p, msg("t", "refused").q1(5));
    assert_eq!(w.read(p), NOTHING);
    let away = w.connect(v311("away").lasting());
    assert_eq!(w.read(away).len(), 2);
    w.publish(p, msg("t", "once").q2(5).dup());
    assert_eq!(w.read(p), ["PUBREC #5"]);
    assert_eq!(w.read(away), NOTHING, "it was taken already");
}
