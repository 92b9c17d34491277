//! Several brokers side by side: interest, forwarding, shared subscriptions across them, one
//! truth about retained messages.

mod world;

use safeport_broker::{DiskRoom, Limits, home_of};
use safeport_mqtt::{Packet, Property};
use world::{Client, World, msg, sub, v5, v311};

const NOTHING: [&str; 0] = [];

fn retained_at(w: &mut World, broker: usize, filter: &str) -> Vec<String> {
    let c = w.enter_at(broker, v5(&format!("look{broker}")));
    w.subscribe(c, 1, &[sub(filter, 0)]);
    w.carry_all();
    let mut got = w.read(c);
    got.retain(|line| line.starts_with("PUBLISH"));
    got.sort();
    w.disconnect(c);
    w.carry_all();
    got
}

#[test]
fn a_message_crosses_once_to_each_broker_that_wants_it() {
    let mut w = World::of(3, Limits::default());
    let p = w.enter_at(0, v5("p"));
    let subscribers: Vec<Client> = (0..6)
        .map(|n| {
            let c = w.enter_at(n % 3, v5(&format!("c{n}")));
            w.join(c, if n < 3 { "t" } else { "+" }, 2);
            c
        })
        .collect();
    w.publish(p, msg("t", "x").q2(1));
    w.publish(p, msg("t", "x").q2(1).dup());
    for c in subscribers {
        assert_eq!(w.read(c).len(), 1);
    }
    // Nobody wants it: nothing crosses.
    w.slow_peers = true;
    w.publish(p, msg("a/b", "x").q1(2));
    assert_eq!(w.waiting_lines(), []);
}

#[test]
fn suback_waits_until_every_peer_knows() {
    let mut w = World::of(3, Limits::default());
    w.slow_peers = true;
    let c = w.enter_at(0, v5("c"));
    let d = w.enter_at(0, v311("d"));
    w.subscribe(c, 1, &[sub("t", 0)]);
    w.carry((0, 1));
    w.carry((1, 0));
    // The peers hear of this filter only once, and one of them not yet.
    w.subscribe(d, 2, &[sub("t", 0)]);
    assert_eq!(w.read(c), NOTHING);
    assert_eq!(w.read(d), NOTHING);
    w.carry((0, 2));
    w.carry((2, 0));
    assert_eq!(w.read(c), ["SUBACK #1 [0]"]);
    assert_eq!(w.read(d), ["SUBACK #2 [0]"]);
    // Known already: nobody has to be asked.
    let e = w.enter_at(0, v5("e"));
    w.subscribe(e, 3, &[sub("t", 0)]);
    assert_eq!(w.read(e), ["SUBACK #3 [0]"]);
}

#[test]
fn a_suback_that_was_held_does_not_reach_a_later_connection() {
    let mut w = World::of(2, Limits::default());
    w.slow_peers = true;
    let c = w.enter_at(0, v5("c").lasting());
    w.subscribe(c, 1, &[sub("t", 0)]);
    w.cut(c);
    let c = w.connect(v5("c").lasting());
    w.read(c);
    w.carry_all();
    assert_eq!(w.read(c), NOTHING);
}

#[test]
fn interest_ends_with_the_last_subscription() {
    let mut w = World::of(2, Limits::default());
    let c = w.enter_at(1, v5("c"));
    let d = w.enter_at(1, v5("d"));
    w.join(c, "t/#", 0);
    w.join(d, "t/#", 0);
    w.unsubscribe(c, 1, &["t/#"]);
    let p = w.enter_at(0, v5("p"));
    w.publish(p, msg("t/1", "x"));
    assert_eq!(w.read(d).len(), 1);
    w.disconnect(d);
    w.slow_peers = true;
    w.publish(p, msg("t/1", "x").q1(1));
    assert_eq!(w.read(p), ["PUBACK #1 0x10"]);
    assert_eq!(w.waiting_lines(), []);
    w.disconnect(c);
    w.disconnect(p);
    assert!(w.brokers.iter().all(|broker| broker.is_empty()));
}

#[test]
fn a_shared_subscription_across_brokers_gives_each_message_to_one_member() {
    let mut w = World::of(3, Limits::default());
    let members: Vec<Client> = (0..5)
        .map(|n| {
            let c = w.enter_at(n % 3, v5(&format!("m{n}")));
            w.join(c, "$share/g/t", 1);
            c
        })
        .collect();
    let publishers: Vec<Client> = (0..3)
        .map(|n| w.enter_at(n, v5(&format!("p{n}"))))
        .collect();
    for id in 1..=50 {
        for p in &publishers {
            w.publish(*p, msg("t", "x").q1(id));
        }
    }
    let counts: Vec<usize> = members.iter().map(|c| w.read(*c).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 150);
    assert!(
        counts.iter().all(|count| (20..=40).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn a_message_on_its_way_to_a_member_that_leaves_goes_to_another() {
    let mut w = World::of(3, Limits::default());
    let a = w.enter_at(1, v5("a"));
    let b = w.enter_at(2, v5("b"));
    w.join(a, "$share/g/t", 1);
    let p = w.enter_at(0, v5("p"));
    w.slow_peers = true;
    w.publish(p, msg("t", "x").q1(1));
    w.subscribe(b, 1, &[sub("$share/g/t", 1)]);
    w.carry((2, 1));
    w.disconnect(a);
    w.carry_all();
    assert!(w.read(b).contains(&"PUBLISH t q1 #1: x".to_owned()));
}

#[test]
fn no_local_holds_while_messages_cross() {
    let mut w = World::of(2, Limits::default());
    let c = w.enter_at(0, v5("c"));
    w.subscribe(c, 1, &[sub("t", 0).no_local()]);
    let d = w.enter_at(1, v5("d"));
    w.subscribe(d, 1, &[sub("t", 0).no_local()]);
    w.read(c);
    w.read(d);
    w.publish(c, msg("t", "from c"));
    w.publish(d, msg("t", "from d"));
    assert_eq!(w.read(c), ["PUBLISH t q0: from d"]);
    assert_eq!(w.read(d), ["PUBLISH t q0: from c"]);
}

#[test]
fn retained_messages_are_known_everywhere_with_expiry_and_removal() {
    let mut w = World::of(3, Limits::default());
    let p = w.enter_at(1, v5("p"));
    w.publish(p, msg("a", "1").retain());
    w.publish(
        p,
        msg("b", "2")
            .retain()
            .with(Property::MessageExpiryInterval(10)),
    );
    w.wait_seconds(4);
    for broker in 0..3 {
        assert_eq!(
            retained_at(&mut w, broker, "#"),
            ["PUBLISH a q0 retain: 1", "PUBLISH b q0 retain expiry=6: 2"]
        );
    }
    w.wait_seconds(6);
    let q = w.enter_at(2, v5("q"));
    w.publish(q, msg("a", "").retain());
    for broker in 0..3 {
        assert_eq!(retained_at(&mut w, broker, "#"), NOTHING);
        assert_eq!(w.brokers[broker].stats().retained, 0);
    }
    // Removals are remembered for a while only.
    w.disconnect(p);
    w.disconnect(q);
    w.wait_seconds(61);
    assert!(w.brokers.iter().all(|broker| broker.is_empty()));
}

#[test]
fn brokers_agree_on_a_topic_that_is_retained_at_two_of_them_at_once() {
    // Set against set, and set against removal, whichever arrives first.
    for (first, second) in [("one", "two"), ("one", ""), ("", "two")] {
        for order in [[(0, 1), (1, 0)], [(1, 0), (0, 1)]] {
            let mut w = World::of(3, Limits::default());
            let p = w.enter_at(0, v5("p"));
            let q = w.enter_at(1, v5("q"));
            w.publish(p, msg("t", "before").retain());
            w.slow_peers = true;
            w.publish(p, msg("t", first).retain());
            w.publish(q, msg("t", second).retain());
            for ends in order {
                w.carry(ends);
            }
            w.carry_all();
            let seen: Vec<_> = (0..3)
                .map(|broker| retained_at(&mut w, broker, "t"))
                .collect();
            assert!(
                seen.iter().all(|s| *s == seen[0]),
                "{first} {second}: {seen:?}"
            );
        }
    }
}

#[test]
fn a_peer_that_comes_late_is_told_everything() {
    let mut w = World::of(2, Limits::default());
    w.slow_peers = true;
    let c = w.enter_at(0, v5("c"));
    w.subscribe(c, 1, &[sub("t", 0), sub("$share/g/s", 0)]);
    let p = w.enter_at(0, v5("p"));
    w.publish(p, msg("r", "kept").retain());
    w.publish(p, msg("gone", "x").retain());
    w.publish(p, msg("gone", "").retain());
    // All of that was lost on the way.
    w.lose_lines();
    w.with_broker(0, |broker, _| broker.introduce(1));
    w.carry_all();
    let q = w.enter_at(1, v5("q"));
    w.publish(q, msg("t", "1"));
    w.publish(q, msg("s", "2"));
    w.carry_all();
    assert_eq!(w.read(c), ["PUBLISH t q0: 1", "PUBLISH s q0: 2"]);
    assert_eq!(retained_at(&mut w, 1, "#"), ["PUBLISH r q0 retain: kept"]);
}

#[test]
fn forwarded_messages_do_not_grow_a_full_queue() {
    let mut w = World::of(
        2,
        Limits {
            max_queued_messages: 3,
            ..Limits::default()
        },
    );
    let c = w.enter_at(1, v5("c").lasting());
    w.join(c, "t", 1);
    w.cut(c);
    let p = w.enter_at(0, v5("p"));
    for id in 1..=5 {
        w.publish(p, msg("t", "x").q1(id));
    }
    let stats = w.brokers[1].stats();
    assert_eq!((stats.stored, stats.publish_dropped), (3, 2));
}

#[test]
fn an_assigned_identifier_is_at_home_where_it_was_assigned() {
    let mut w = World::of(3, Limits::default());
    for broker in 0..3 {
        let c = w.connect_to(broker, v5(""));
        let got = w.read(c);
        let id = got[0].rsplit('=').next().unwrap();
        assert_eq!(usize::from(home_of(id, 3)), broker);
    }
}

#[test]
fn homes_are_spread_evenly_and_never_change() {
    let mut counts = [0; 4];
    for n in 0..4_000 {
        counts[usize::from(home_of(&format!("tasmota_{n:06X}"), 4))] += 1;
    }
    assert!(
        counts.iter().all(|count| (800..1200).contains(count)),
        "{counts:?}"
    );
    assert_eq!(home_of("DVES_123456", 4), home_of("DVES_123456", 4));
    assert_eq!(home_of("anybody", 1), 0);
}

#[test]
fn qos_2_crosses_exactly_once_whatever_is_repeated() {
    let mut w = World::of(2, Limits::default());
    let c = w.enter_at(1, v5("c").lasting());
    w.join(c, "t", 2);
    let p = w.enter_at(0, v311("p").lasting());
    w.publish(p, msg("t", "x").q2(1));
    w.cut(p);
    w.cut(c);
    let p = w.connect_to(0, v311("p").lasting());
    w.publish(p, msg("t", "x").q2(1).dup());
    w.ack(p, Packet::PubRel, 1);
    let c = w.connect_to(1, v5("c").lasting());
    assert_eq!(w.read(c)[1..], ["PUBLISH t q2 #1 dup: x"]);
}

/// A publisher at broker 0 and a subscriber at broker 1 whose queue takes two messages.
fn apart(away: bool) -> (World, Client, Client) {
    let mut w = World::of(
        2,
        Limits {
            max_inflight: 1,
            max_queued_messages: 2,
            ..Limits::default()
        },
    );
    let reader = w.enter_at(1, v311("reader").lasting());
    w.join(reader, "t", 2);
    if away {
        w.cut(reader);
    }
    let p = w.enter_at(0, v5("p").lasting());
    (w, p, reader)
}

#[test]
fn an_acknowledgement_waits_until_every_broker_that_is_concerned_has_kept_the_message() {
    let (mut w, p, _) = apart(true);
    w.slow_peers = true;
    w.publish(p, msg("t", "one").q1(1));
    w.publish(p, msg("t", "two").q2(2));
    w.publish(p, msg("elsewhere", "three").q1(3));
    assert_eq!(w.read(p), [""; 0], "nor does a later one overtake");
    // Sent again, it is still one message.
    w.publish(p, msg("t", "two").q2(2).dup());
    w.carry((0, 1));
    w.carry((1, 0));
    assert_eq!(w.read(p), ["PUBACK #1"]);
    w.carry_all();
    assert_eq!(w.read(p), ["PUBREC #2", "PUBACK #3 0x10"]);
    assert_eq!(w.brokers[1].stats().stored, 2);
    let reader = w.connect_to(1, v311("reader").lasting());
    assert_eq!(w.read(reader).len(), 2, "CONNACK and the first");
}

#[test]
fn a_full_session_at_another_broker_refuses_if_it_is_away_and_holds_back_if_it_is_there() {
    let (mut w, p, _) = apart(true);
    for id in 1..=3 {
        w.publish(p, msg("t", "x").q1(id));
    }
    w.publish(p, msg("t", "x").q2(4));
    assert_eq!(
        w.read(p),
        ["PUBACK #1", "PUBACK #2", "PUBACK #3 0x97", "PUBREC #4 0x97"]
    );

    let (mut w, p, reader) = apart(false);
    for id in 1..=5 {
        w.publish(p, msg("t", "x").q1(id));
    }
    assert_eq!(w.read(p), ["PUBACK #1", "PUBACK #2", "PUBACK #3"]);
    for id in 1..=4 {
        w.ack(reader, Packet::PubAck, id);
    }
    assert_eq!(w.read(p), ["PUBACK #4", "PUBACK #5"]);
    assert_eq!(w.read(reader).len(), 5, "none is lost");
}

#[test]
fn a_full_disk_at_another_broker_refuses_what_its_sessions_would_have_to_keep() {
    let (mut w, p, reader) = apart(false);
    w.with_broker(1, |broker, _| broker.set_disk_room(DiskRoom::Scarce));
    w.publish(p, msg("t", "x").q1(1));
    w.publish(p, msg("t", "x").q2(2));
    assert_eq!(w.read(p), ["PUBACK #1 0x97", "PUBREC #2 0x97"]);
    assert_eq!(w.read(reader), NOTHING);
    w.with_broker(1, |broker, _| broker.set_disk_room(DiskRoom::Enough));
    w.publish(p, msg("t", "y").q2(2));
    assert_eq!(w.read(p), ["PUBREC #2"]);
    assert_eq!(w.read(reader), ["PUBLISH t q2 #1: y"]);
}
