//! What a restart brings back, and what it does not; time goes on meanwhile.

mod world;

use safeport_broker::{Broker, BrokerSetup, RESTART_GRACE};
use safeport_mqtt::{Packet, Property};
use world::{World, msg, sub, v5, v311};

const NOTHING: [&str; 0] = [];

#[test]
fn a_session_that_is_away_over_a_restart_gets_everything_in_order() {
    let mut w = World::new();
    let c = w.enter(v311("c").lasting());
    w.join(c, "t/#", 2);
    w.cut(c);
    let p = w.enter(v5("p"));
    for id in 1..=3 {
        w.publish(p, msg("t/1", "x").q1(id));
        w.crash(0);
        let again = w.enter(v5("p"));
        w.publish(again, msg("t/2", "y").q1(id));
    }
    let c = w.connect(v311("c").lasting());
    assert_eq!(w.read(c)[0], "CONNACK ok, present");
    w.crash(0);
    let c = w.connect(v311("c").lasting());
    assert_eq!(
        w.read(c),
        [
            "CONNACK ok, present",
            "PUBLISH t/1 q1 #1 dup: x",
            "PUBLISH t/2 q1 #2 dup: y",
            "PUBLISH t/2 q1 #3 dup: y",
            "PUBLISH t/2 q1 #4 dup: y"
        ],
        "what was sent before keeps its packet identifier"
    );
}

#[test]
fn an_exactly_once_exchange_goes_on_where_it_was() {
    let mut w = World::new();
    let c = w.enter(v311("c").lasting());
    w.join(c, "t", 2);
    let p = w.enter(v311("p").lasting());
    w.publish(p, msg("t", "once").q2(9));
    assert_eq!(w.read(p), ["PUBREC #9"]);
    assert_eq!(w.read(c), ["PUBLISH t q2 #1: once"]);
    w.ack(c, Packet::PubRec, 1);
    assert_eq!(w.read(c), ["PUBREL #1"]);
    w.crash(0);
    let p = w.connect(v311("p").lasting());
    w.publish(p, msg("t", "once").q2(9).dup());
    assert_eq!(w.read(p), ["CONNACK ok, present", "PUBREC #9"]);
    let c = w.connect(v311("c").lasting());
    assert_eq!(w.read(c), ["CONNACK ok, present", "PUBREL #1"]);
    w.ack(c, Packet::PubComp, 1);
    w.ack(p, Packet::PubRel, 9);
    assert_eq!(w.read(p), ["PUBCOMP #9"]);
    w.crash(0);
    let p = w.connect(v311("p").lasting());
    // The identifier is free again: this is a new message.
    w.publish(p, msg("t", "twice").q2(9));
    w.read(p);
    let c = w.connect(v311("c").lasting());
    assert_eq!(w.read(c), ["CONNACK ok, present", "PUBLISH t q2 #2: twice"]);
}

#[test]
fn expiry_goes_on_counting_over_a_restart() {
    let mut w = World::new();
    let c = w.enter(v5("c").expiry(10));
    w.cut(c);
    w.wait_seconds(6);
    w.crash(0);
    w.wait(3_999);
    assert_eq!(w.brokers[0].stats().sessions, 1);
    w.crash(0);
    w.wait(1);
    assert_eq!(w.brokers[0].stats().sessions, 0, "10 s since it left");
    // Who was connected has its whole time from the restart on.
    w.enter(v5("d").expiry(10));
    w.wait_seconds(100);
    w.crash(0);
    w.wait(9_999);
    assert_eq!(w.brokers[0].stats().sessions, 1);
    w.wait(1);
    assert_eq!(w.brokers[0].stats().sessions, 0);
}

#[test]
fn messages_expire_while_nobody_runs() {
    let mut w = World::new();
    let c = w.enter(v5("c").lasting());
    w.join(c, "t", 1);
    w.cut(c);
    let p = w.enter(v5("p"));
    let short = Property::MessageExpiryInterval(5);
    w.publish(p, msg("t", "short").q1(1).with(short));
    w.publish(p, msg("t", "long").q1(2));
    w.publish(p, msg("r", "short").retain().with(short));
    w.crash(0);
    w.wait_seconds(5);
    assert_eq!(w.brokers[0].stats().retained, 0);
    let c = w.connect(v5("c").lasting());
    assert_eq!(
        w.read(c),
        [
            "CONNACK ok, present expiry=2592000",
            "PUBLISH t q1 #1: long"
        ]
    );
    w.crash(0);
    let c = w.connect(v5("c").lasting());
    assert_eq!(w.read(c)[1..], ["PUBLISH t q1 #1 dup: long"]);
}

#[test]
fn a_delayed_will_is_published_when_it_is_due_and_once() {
    let mut w = World::new();
    let will = msg("will", "gone");
    let delay = Property::WillDelayInterval(60);
    let c = w.enter(v5("c").expiry(600).will(will).will_with(delay));
    w.cut(c);
    w.wait_seconds(50);
    w.crash(0);
    let watch = w.enter(v5("watch"));
    w.join(watch, "will", 0);
    w.wait(9_999);
    assert_eq!(w.read(watch), NOTHING);
    w.wait(1);
    assert_eq!(w.read(watch), ["PUBLISH will q0: gone"]);
    w.crash(0);
    let watch = w.enter(v5("watch"));
    w.join(watch, "will", 0);
    w.wait_seconds(100);
    assert_eq!(w.read(watch), NOTHING);
}

#[test]
fn a_client_that_comes_back_after_a_restart_is_not_told_dead() {
    for clean in [true, false] {
        let mut w = World::new();
        let who = match clean {
            true => v311("plug").will(msg("lwt", "Offline").retain()),
            false => v311("plug").will(msg("lwt", "Offline").retain()).lasting(),
        };
        w.enter(who.clone());
        w.crash(0);
        let watch = w.enter(v5("watch"));
        w.join(watch, "lwt", 0);
        w.wait_seconds(u64::from(RESTART_GRACE) - 1);
        let plug = w.connect(who.clone());
        let greeting = if clean {
            "CONNACK ok"
        } else {
            "CONNACK ok, present"
        };
        assert_eq!(w.read(plug), [greeting]);
        w.wait_seconds(100);
        assert_eq!(w.read(watch), NOTHING);
        // Its next connection is an ordinary one.
        w.cut(plug);
        assert_eq!(w.read(watch), ["PUBLISH lwt q0: Offline"]);
    }
}

#[test]
fn a_client_that_does_not_come_back_after_a_restart_leaves_its_will() {
    let mut w = World::new();
    w.enter(v311("plug").will(msg("lwt", "Offline").retain()));
    w.crash(0);
    w.wait_seconds(10);
    w.crash(0);
    let watch = w.enter(v5("watch"));
    w.join(watch, "lwt", 0);
    // A second crash does not start the grace anew.
    w.wait_seconds(u64::from(RESTART_GRACE) - 11);
    assert_eq!(w.read(watch), NOTHING);
    w.wait_seconds(1);
    assert_eq!(w.read(watch), ["PUBLISH lwt q0: Offline"]);
    w.disconnect(watch);
    assert_eq!(
        w.brokers[0].stats().sessions,
        0,
        "it was there for its will"
    );
}

#[test]
fn subscriptions_come_back_with_their_options_and_identifiers() {
    let mut w = World::new();
    let c = w.enter(v5("c").lasting());
    w.subscribe_as(c, 1, 7, &[sub("t", 1).as_published().no_local()]);
    w.subscribe(c, 2, &[sub("$share/g/s", 2), sub("u", 1)]);
    w.unsubscribe(c, 3, &["u"]);
    w.crash(0);
    let c = w.connect(v5("c").lasting());
    assert_eq!(w.read(c), ["CONNACK ok, present expiry=2592000"]);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "a").q1(1).retain());
    w.publish(p, msg("s", "b").q2(2));
    w.publish(p, msg("u", "c").q1(3));
    w.publish(c, msg("t", "my own").q1(4));
    assert_eq!(
        w.read(c),
        [
            "PUBLISH t q1 #1 retain sub=7: a",
            "PUBLISH s q2 #2: b",
            "PUBACK #4 0x10"
        ]
    );
}

#[test]
fn a_message_for_many_sessions_is_written_once() {
    let mut w = World::new();
    for n in 0..20 {
        let c = w.enter(v311(&format!("c{n}")).lasting());
        w.join(c, "t", 1);
        w.cut(c);
    }
    let p = w.enter(v5("p"));
    let before: usize = w.groups[0].iter().map(Vec::len).sum();
    let payload = "x".repeat(1_000);
    w.publish(p, msg("t", &payload).q1(1));
    let after: usize = w.groups[0].iter().map(Vec::len).sum();
    assert!(after - before < 1_000 + 20 * 20, "{}", after - before);
    // Also in a new account of everything.
    w.checkpoint(0, usize::MAX);
    let whole: usize = w.groups[0].iter().map(Vec::len).sum();
    assert!(whole < 1_000 + 20 * 60, "{whole}");
    w.crash(0);
    assert_eq!(w.brokers[0].stats().stored, 20);
}

#[test]
fn a_server_message_that_is_retained_is_not_written_again_and_again() {
    let mut w = World::new();
    let mut publication = safeport_broker::Publication::new("$SYS/broker/uptime", "1");
    publication.retain = true;
    w.settle(0);
    let before = w.groups[0].len();
    w.with_broker(0, |broker, now| broker.publish(&publication, now));
    assert_eq!(w.groups[0].len(), before);
    // But a persistent session that is owed it gets it.
    let c = w.enter(v311("c").lasting());
    w.subscribe(c, 1, &[sub("$SYS/#", 1)]);
    w.crash(0);
    let c = w.connect(v311("c").lasting());
    assert_eq!(w.read(c)[0], "CONNACK ok, present");
}

#[test]
fn records_that_make_no_sense_are_refused_where_they_stop_making_sense() {
    let mut w = World::new();
    let c = w.enter(v311("c").lasting());
    w.join(c, "t", 1);
    w.cut(c);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "x").q1(1));
    let groups = w.groups[0].clone();
    let fresh = || {
        Broker::new(BrokerSetup {
            durable: true,
            ..BrokerSetup::default()
        })
    };
    let whole: Vec<u8> = groups.concat();
    fresh().replay(&whole).expect("all of it");
    let mut refused = 0;
    for at in 0..whole.len() {
        let result = fresh().replay(&whole[..at]);
        if let Err(bad) = result {
            assert!(bad.offset <= at, "{bad}");
            refused += 1;
        }
        // Whatever stands there, it is no reason to panic.
        for wrong in [0, 0x7F, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] = wrong;
            let _ = fresh().replay(&bytes);
        }
    }
    assert!(refused > whole.len() / 2, "{refused} of {}", whole.len());
}

#[test]
fn brokers_that_share_out_clients_anew_lose_nothing() {
    let mut w = World::new();
    for n in 0..10 {
        let c = w.enter(v311(&format!("c{n}")).lasting());
        w.join(c, "t/#", 1);
        w.cut(c);
    }
    let p = w.enter(v5("p"));
    w.publish(p, msg("t/1", "one").q1(1));
    w.publish(p, msg("t/2", "two").q1(2).retain());
    let words = w.brokers[0].kept_in_words();
    let mut old = Broker::new(BrokerSetup {
        durable: true,
        ..BrokerSetup::default()
    });
    for group in &w.groups[0] {
        old.replay(group).unwrap();
    }
    let _ = old.finish_replay(w.now);
    let mut new: Vec<Broker> = (0..3)
        .map(|me| {
            Broker::new(BrokerSetup {
                seed: [old.seed(), 1],
                me,
                brokers: 3,
                durable: true,
                ..BrokerSetup::default()
            })
        })
        .collect();
    old.export(|client_id, records| match client_id {
        Some(name) => {
            let home = safeport_broker::home_of(name, 3);
            new[usize::from(home)].adopt(records).unwrap();
        }
        None => new.iter_mut().for_each(|each| each.adopt(records).unwrap()),
    });
    let mut together = Vec::new();
    for broker in &mut new {
        let restored = broker.finish_replay(w.now);
        assert_eq!(restored.retained, 1);
        together.extend(broker.kept_in_words());
    }
    together.sort();
    together.dedup();
    assert_eq!(together, words);
}
