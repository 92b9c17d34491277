//! Who gets what: filters, overlaps, shared subscriptions, SUBACK and UNSUBACK codes.

mod world;

use safeport_broker::{Limits, Permissions, TopicRights};
use safeport_mqtt::{Packet, RetainHandling};
use world::{World, msg, sub, v5, v31, v311};

const NOTHING: [&str; 0] = [];

#[test]
fn overlapping_subscriptions_deliver_once_at_the_highest_qos_with_all_identifiers() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.subscribe_as(c, 1, 11, &[sub("a/+", 0)]);
    w.subscribe_as(c, 2, 22, &[sub("a/b", 2)]);
    w.subscribe_as(c, 3, 33, &[sub("#", 1).as_published()]);
    w.subscribe(c, 4, &[sub("+/b", 1)]);
    let d = w.enter(v311("d"));
    w.subscribe(d, 1, &[sub("a/#", 0), sub("+/+", 1)]);
    w.read(c);
    w.read(d);
    let p = w.enter(v5("p"));
    w.publish(p, msg("a/b", "x").q2(1).retain());
    let got = w.read(c);
    assert_eq!(got.len(), 1);
    assert!(got[0].starts_with("PUBLISH a/b q2 #1 retain"), "{got:?}");
    for id in [11, 22, 33] {
        assert_eq!(got[0].matches(&format!("sub={id}")).count(), 1, "{got:?}");
    }
    assert_eq!(w.read(d), ["PUBLISH a/b q1 #1: x"]);
    w.publish(p, msg("a/c", "y"));
    let got = w.read(c);
    assert_eq!(got.len(), 1);
    assert!(got[0].contains("sub=11") && got[0].contains("sub=33") && !got[0].contains("sub=22"));
}

#[test]
fn a_retained_message_carries_the_identifier_of_the_subscription_that_asked() {
    let mut w = World::new();
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").retain());
    let c = w.enter(v5("c"));
    w.subscribe_as(c, 1, 268_435_455, &[sub("t", 0)]);
    assert_eq!(
        w.read(c),
        ["SUBACK #1 [0]", "PUBLISH t q0 retain sub=268435455: x"]
    );
    // Subscribing again replaces the identifier.
    w.subscribe_as(c, 2, 7, &[sub("t", 1).handling(RetainHandling::DoNotSend)]);
    w.publish(p, msg("t", "y").q1(1));
    assert_eq!(w.read(c)[1..], ["PUBLISH t q1 #1 sub=7: y"]);
    assert_eq!(w.brokers[0].stats().subscriptions, 1);
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it_retained_ones_too() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.subscribe(c, 1, &[sub("t", 0).no_local()]);
    w.publish(c, msg("t", "mine").retain());
    let p = w.enter(v5("p"));
    w.publish(p, msg("u", "yours").retain());
    w.publish(p, msg("t", "yours"));
    assert_eq!(w.read(c), ["SUBACK #1 [0]", "PUBLISH t q0: yours"]);
    w.subscribe(c, 2, &[sub("#", 0).no_local()]);
    assert_eq!(w.read(c), ["SUBACK #2 [0]", "PUBLISH u q0 retain: yours"]);
    // An overlapping subscription without No Local lets them through.
    w.subscribe(c, 3, &[sub("+", 0).handling(RetainHandling::DoNotSend)]);
    w.publish(c, msg("t", "mine"));
    assert_eq!(w.read(c), ["SUBACK #3 [0]", "PUBLISH t q0: mine"]);
}

#[test]
fn leading_wildcards_do_not_match_dollar_topics() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.subscribe(c, 1, &[sub("#", 0), sub("+/broker", 0)]);
    let d = w.enter(v5("d"));
    w.subscribe(d, 1, &[sub("$SYS/#", 0), sub("$SYS/+", 0)]);
    w.read(c);
    w.read(d);
    w.with_broker(0, |broker, now| {
        let mut publication = safeport_broker::Publication::new("$SYS/broker", "x");
        publication.retain = true;
        broker.publish(&publication, now);
    });
    assert_eq!(w.read(c), NOTHING);
    assert_eq!(w.read(d), ["PUBLISH $SYS/broker q0: x"]);
    w.subscribe(c, 2, &[sub("#", 0)]);
    assert_eq!(w.read(c), ["SUBACK #2 [0]"]);
    // Nobody publishes there.
    w.publish(c, msg("$SYS/broker", "fake").q1(1));
    assert_eq!(w.read(c), ["PUBACK #1 0x87"]);
    assert_eq!(w.read(d), NOTHING);
}

#[test]
fn suback_tells_each_filters_fate_as_the_version_can() {
    let rights = || Permissions {
        user: None,
        publish: TopicRights::All,
        subscribe: TopicRights::Filters(vec!["a/#".into()]),
        to_server: None,
    };
    let filters = [
        sub("a/1", 1),
        sub("b", 2),
        sub("#", 0),
        sub("$share/g/a/2", 2),
    ];
    for (who, codes) in [
        (v5("c"), "[1, 135, 135, 2]"),
        (v311("c"), "[1, 128, 128, 2]"),
        // 3.1 has no code for failure.
        (v31("c"), "[1, 2, 0, 2]"),
    ] {
        let mut w = World::new();
        let c = w.enter(who.rights(rights()));
        w.subscribe(c, 1, &filters);
        assert_eq!(w.read(c), [format!("SUBACK #1 {codes}")]);
        let p = w.enter(v5("p"));
        w.publish(p, msg("b", "secret"));
        assert_eq!(w.read(c), NOTHING);
    }
}

#[test]
fn too_many_subscriptions_are_refused_and_known_ones_may_be_renewed() {
    let mut w = World::with(Limits {
        max_subscriptions: 2,
        ..Limits::default()
    });
    for (who, refused) in [(v5("c"), 151), (v311("c"), 128)] {
        let c = w.enter(who);
        w.subscribe(c, 1, &[sub("a", 0), sub("b", 0), sub("c", 0), sub("a", 1)]);
        assert_eq!(w.read(c), [format!("SUBACK #1 [0, 0, {refused}, 1]")]);
        w.cut(c);
    }
}

#[test]
fn unsuback_says_what_was_there() {
    let mut w = World::new();
    for (who, codes) in [
        (v5("c"), "[0, 17, 0, 17]"),
        (v311("c"), "[]"),
        (v31("c"), "[]"),
    ] {
        let c = w.enter(who);
        w.subscribe(c, 1, &[sub("a", 0), sub("$share/g/b", 0)]);
        w.read(c);
        w.unsubscribe(c, 2, &["a", "a", "$share/g/b", "b"]);
        assert_eq!(w.read(c), [format!("UNSUBACK #2 {codes}")]);
        let p = w.enter(v5("p"));
        w.publish(p, msg("a", "x"));
        w.publish(p, msg("b", "x"));
        assert_eq!(w.read(c), NOTHING);
        w.disconnect(c);
        w.disconnect(p);
        assert!(w.brokers[0].is_empty());
    }
}

#[test]
fn the_book_keeping_of_subscriptions_survives_any_order_of_removal() {
    // Many sessions at the same filters, removed from the front, the back and the middle.
    let mut w = World::new();
    let clients: Vec<_> = (0..12).map(|n| w.enter(v5(&format!("c{n}")))).collect();
    let filters = ["a", "a/+", "#", "$share/g/a", "$share/h/a", "$share/g/a/b"];
    let mut has = [[false; 6]; 12];
    let mut random = 1u64;
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    let p = w.enter(v5("p"));
    for round in 0..2_000 {
        let (who, which) = (next(12), next(6));
        let c = clients[who];
        if has[who][which] {
            w.unsubscribe(c, 1, &[filters[which]]);
            assert_eq!(w.read(c), ["UNSUBACK #1 [0]"]);
        } else {
            w.subscribe(c, 1, &[sub(filters[which], 0)]);
            assert_eq!(w.read(c), ["SUBACK #1 [0]"]);
        }
        has[who][which] ^= true;
        if round % 10 != 0 {
            continue;
        }
        for (topic, groups) in [("a", &[3, 4][..]), ("a/b", &[5])] {
            w.publish(p, msg(topic, "x"));
            let mut from_groups = 0;
            for (n, c) in clients.iter().enumerate() {
                // `a/+` matches a/b only, `a` matches a only, `#` both.
                let own = match topic {
                    "a" => has[n][0] || has[n][2],
                    _ => has[n][1] || has[n][2],
                };
                let got = w.read(*c).len();
                assert!(got >= usize::from(own), "{round} {topic} {n}");
                from_groups += got - usize::from(own);
            }
            let living = groups.iter().filter(|g| has.iter().any(|h| h[**g])).count();
            assert_eq!(from_groups, living, "{round} {topic}");
        }
    }
    for c in clients {
        w.disconnect(c);
    }
    w.disconnect(p);
    assert!(w.brokers[0].is_empty());
    assert_eq!(w.brokers[0].stats().subscriptions, 0);
}

// Shared subscriptions.

#[test]
fn a_shared_subscription_gives_each_message_to_one_member_in_turn() {
    let mut w = World::new();
    let a = w.enter(v5("a"));
    let b = w.enter(v311("b"));
    for c in [a, b] {
        w.join(c, "$share/g/t", 1);
    }
    let other = w.enter(v5("other"));
    w.join(other, "$share/h/t", 1);
    let p = w.enter(v5("p"));
    for id in 1..=10 {
        w.publish(p, msg("t", "x").q1(id));
    }
    assert_eq!(w.read(a).len(), 5);
    assert_eq!(w.read(b).len(), 5);
    assert_eq!(w.read(other).len(), 10, "each group gets its own");
}

#[test]
fn shared_and_ordinary_subscriptions_of_one_client_both_deliver() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.subscribe_as(c, 1, 5, &[sub("$share/g/t", 0)]);
    w.subscribe_as(c, 2, 6, &[sub("t", 0)]);
    w.read(c);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x"));
    let mut got = w.read(c);
    got.sort();
    assert_eq!(got, ["PUBLISH t q0 sub=5: x", "PUBLISH t q0 sub=6: x"]);
}

#[test]
fn members_that_cannot_take_a_message_are_passed_over_while_others_can() {
    let mut w = World::with(Limits {
        max_queued_messages: 1,
        ..Limits::default()
    });
    w.slow_sockets = true;
    let away = w.enter(v5("away").lasting());
    let full = w.enter(v5("full"));
    let here = w.enter(v5("here"));
    for c in [away, full, here] {
        w.join(c, "$share/g/t", 1);
    }
    w.cut(away);
    w.fill(full);
    let p = w.enter(v5("p"));
    for id in 1..=6 {
        w.publish(p, msg("t", "x").q1(id));
    }
    assert_eq!(w.read(here).len(), 6);
    w.cut(here);
    // Nobody can take it now: it waits with one of those who are left.
    w.publish(p, msg("t", "waits").q1(7));
    assert_eq!(w.brokers[0].stats().stored, 1);
    assert!(w.read(p).iter().all(|line| line.starts_with("PUBACK")));
}

#[test]
fn shared_subscriptions_bring_no_retained_messages() {
    let mut w = World::new();
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").retain());
    let c = w.enter(v5("c"));
    w.join(c, "$share/g/t", 0);
    assert_eq!(w.read(c), NOTHING);
}

#[test]
fn a_message_for_a_group_whose_member_leaves_stays_with_its_session() {
    let mut w = World::new();
    let a = w.enter(v5("a").lasting());
    w.join(a, "$share/g/t", 2);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").q2(1));
    w.cut(a);
    let b = w.enter(v5("b"));
    w.join(b, "$share/g/t", 2);
    assert_eq!(w.read(b), NOTHING);
    let a = w.connect(v5("a").lasting());
    assert_eq!(w.read(a)[1..], ["PUBLISH t q2 #1 dup: x"]);
    w.ack(a, Packet::PubRec, 1);
    w.ack(a, Packet::PubComp, 1);
    assert_eq!(w.brokers[0].stats().stored, 0);
}

#[test]
fn groups_that_come_and_go_leave_their_places_to_others() {
    let mut w = World::new();
    let keep = w.enter(v5("keep"));
    w.join(keep, "$share/first/t", 0);
    let c = w.enter(v5("c"));
    let p = w.enter(v5("p"));
    for n in 0..100 {
        w.join(c, &format!("$share/g{n}/t"), 0);
        if n > 0 {
            w.unsubscribe(c, 1, &[&format!("$share/g{}/t", n - 1)]);
            assert_eq!(w.read(c), ["UNSUBACK #1 [0]"]);
        }
        w.publish(p, msg("t", "x"));
        assert_eq!(w.read(c).len(), 1);
        assert_eq!(w.read(keep).len(), 1);
    }
    w.disconnect(keep);
    w.publish(p, msg("t", "x").q1(1));
    assert_eq!(w.read(p), ["PUBACK #1"]);
    w.disconnect(c);
    w.publish(p, msg("t", "x").q1(1));
    assert_eq!(w.read(p), ["PUBACK #1 0x10"]);
    w.disconnect(p);
    assert!(w.brokers[0].is_empty());
}
