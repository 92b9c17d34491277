//! Sessions, keep alive, wills: who is there, for how long, and what happens when not.

mod world;

use safeport_broker::{DisconnectCause, Event, Limits, Permissions, TopicRights};
use safeport_mqtt::{Auth, Packet, PropertiesBuf, Property, ReasonCode, Version};
use world::{Who, World, msg, sub, v5, v31, v311};

const NOTHING: [&str; 0] = [];

#[test]
fn a_clean_start_forgets_the_session_and_says_so() {
    for who in [v5("c"), v311("c"), v31("c")] {
        let mut w = World::new();
        let first = w.enter(who.clone().lasting());
        w.join(first, "t", 1);
        w.cut(first);
        let second = w.connect(who);
        assert!(!w.read(second)[0].contains("present"));
        let p = w.enter(v5("p"));
        w.publish(p, msg("t", "x").q1(1));
        assert_eq!(w.read(second), NOTHING);
        assert_eq!(w.brokers[0].stats().subscriptions, 0);
    }
}

#[test]
fn a_resumed_session_gets_what_came_while_it_was_away_in_order() {
    for (who, present) in [
        (v5("c"), "CONNACK ok, present"),
        (v311("c"), "CONNACK ok, present"),
        // The byte that says so is reserved in 3.1.
        (v31("c"), "CONNACK ok"),
    ] {
        let mut w = World::new();
        let c = w.enter(who.clone().lasting());
        w.join(c, "t/#", 2);
        w.cut(c);
        let p = w.enter(v5("p"));
        w.publish(p, msg("t/0", "lost: QoS 0 is for connections"));
        w.publish(p, msg("t/1", "one").q1(1));
        w.publish(p, msg("t/2", "two").q2(2));
        w.publish(p, msg("t/1", "three").q1(3));
        let c = w.connect(who.lasting());
        let got = w.read(c);
        assert!(got[0].starts_with(present), "{got:?}");
        assert_eq!(
            got[1..],
            [
                "PUBLISH t/1 q1 #1: one",
                "PUBLISH t/2 q2 #2: two",
                "PUBLISH t/1 q1 #3: three"
            ]
        );
    }
}

#[test]
fn a_version_5_session_without_expiry_ends_with_its_connection() {
    let mut w = World::new();
    let c = w.enter(v5("c").resume());
    w.join(c, "t", 1);
    w.cut(c);
    assert!(w.brokers[0].is_empty());
    let c = w.connect(v5("c").resume());
    assert_eq!(w.read(c), ["CONNACK ok"]);
}

#[test]
fn a_session_ends_when_its_expiry_has_passed_and_not_before() {
    let mut w = World::new();
    let c = w.enter(v5("c").resume().expiry(10));
    w.cut(c);
    w.wait(9_999);
    let c = w.connect(v5("c").resume().expiry(10));
    assert_eq!(w.read(c), ["CONNACK ok, present"]);
    w.cut(c);
    w.wait(10_000);
    assert!(w.brokers[0].is_empty());
    assert_eq!(w.brokers[0].stats().expired_sessions, 1);
    let c = w.connect(v5("c").resume().expiry(10));
    assert_eq!(w.read(c), ["CONNACK ok"]);
}

#[test]
fn a_new_session_does_not_inherit_the_expiry_timer_of_the_one_before_it() {
    let mut w = World::new();
    let old = w.enter(v5("old").expiry(10));
    w.cut(old);
    // The old session ends early; the new one takes its place in the table, and comes and
    // goes as often.
    let old = w.enter(v5("old"));
    w.disconnect(old);
    let new = w.enter(v5("new").expiry(100));
    w.cut(new);
    w.wait_seconds(50);
    let new = w.connect(v5("new").resume().expiry(100));
    assert_eq!(w.read(new), ["CONNACK ok, present"]);
}

#[test]
fn disconnect_can_change_the_expiry_but_not_raise_it_from_zero() {
    let mut w = World::new();
    let c = w.enter(v5("c").expiry(1000));
    w.disconnect_with(c, ReasonCode::Success, Some(5));
    assert_eq!(w.read(c), ["CLOSED"]);
    w.wait(4_999);
    assert_eq!(w.brokers[0].stats().sessions, 1);
    w.wait(1);
    assert_eq!(w.brokers[0].stats().sessions, 0);

    let c = w.enter(v5("c").expiry(1000));
    w.disconnect_with(c, ReasonCode::Success, Some(0));
    assert_eq!(w.brokers[0].stats().sessions, 0);

    let c = w.enter(v5("c").will(msg("will", "not a goodbye")));
    let watch = w.enter(v5("watch"));
    w.join(watch, "will", 0);
    w.disconnect_with(c, ReasonCode::Success, Some(5));
    assert_eq!(w.read(c), ["DISCONNECT 0x82", "CLOSED"]);
    assert_eq!(w.read(watch), ["PUBLISH will q0: not a goodbye"]);
}

#[test]
fn a_longer_expiry_than_allowed_is_cut_and_told() {
    let mut w = World::with(Limits {
        session_expiry: 60,
        ..Limits::default()
    });
    let c = w.connect(v5("c").expiry(u32::MAX));
    assert_eq!(w.read(c), ["CONNACK ok expiry=60"]);
    let d = w.enter(v311("d").resume());
    w.cut(c);
    w.cut(d);
    w.wait_seconds(59);
    assert_eq!(w.brokers[0].stats().sessions, 2);
    w.wait_seconds(1);
    assert!(w.brokers[0].is_empty());
}

#[test]
fn the_same_client_identifier_takes_the_connection_over() {
    for (who, goodbye) in [
        (v5("c").expiry(9), vec!["DISCONNECT 0x8e", "CLOSED"]),
        (v311("c"), vec!["CLOSED"]),
        (v31("c"), vec!["CLOSED"]),
    ] {
        let mut w = World::new();
        let first = w.enter(who.clone().resume());
        w.join(first, "t", 0);
        let second = w.connect(who.resume());
        assert_eq!(w.read(first), goodbye);
        assert!(w.read(second)[0].starts_with("CONNACK ok"));
        // What the old socket still says is not heard.
        w.publish(first, msg("t", "ghost"));
        w.publish(second, msg("t", "me"));
        assert_eq!(w.read(second), ["PUBLISH t q0: me"]);
        assert_eq!(w.brokers[0].stats().connected, 1);
        assert!(w.events.iter().any(|event| matches!(
            event,
            Event::Disconnected { client_id, cause: DisconnectCause::TakenOver, .. }
                if client_id == "c"
        )));
    }
}

#[test]
fn a_clean_3_1_1_session_is_not_resumed_even_by_takeover() {
    let mut w = World::new();
    let first = w.enter(v311("c"));
    w.join(first, "t", 1);
    let second = w.connect(v311("c").resume());
    assert_eq!(w.read(second), ["CONNACK ok"]);
    assert_eq!(w.brokers[0].stats().subscriptions, 0);
}

#[test]
fn another_user_does_not_inherit_a_session() {
    let user = |name: &str| Permissions {
        user: Some(name.into()),
        ..Permissions::open()
    };
    let mut w = World::new();
    let c = w.enter(v5("c").lasting().rights(user("ada")));
    w.join(c, "t", 1);
    w.cut(c);
    let p = w.enter(v5("p"));
    w.publish(p, msg("t", "for ada").q1(1));
    let c = w.connect(v5("c").lasting().rights(user("eve")));
    assert_eq!(w.read(c), ["CONNACK ok expiry=2592000"]);
}

#[test]
fn an_assigned_identifier_is_told_and_can_be_used_to_return() {
    let mut w = World::new();
    let c = w.connect(v5("").expiry(100));
    let got = w.read(c);
    let id = got[0].strip_prefix("CONNACK ok id=").expect("an id");
    assert!(id.len() >= 32);
    let other = w.connect(v5(""));
    assert_ne!(w.read(other), got);
    w.cut(c);
    let c = w.connect(v5(id).resume().expiry(100));
    assert_eq!(w.read(c), ["CONNACK ok, present"]);
}

#[test]
fn an_empty_identifier_needs_a_clean_session_before_version_5() {
    let mut w = World::new();
    let c = w.connect(v311("").resume());
    assert_eq!(w.read(c), ["CONNACK 0x85", "CLOSED"]);
    let c = w.connect(v311(""));
    assert_eq!(w.read(c), ["CONNACK ok"]);
    let c = w.connect(v31(""));
    assert_eq!(w.read(c), ["CONNACK 0x85", "CLOSED"]);
}

#[test]
fn long_identifiers_are_refused_and_3_1_ones_above_23_characters_are_not() {
    let mut w = World::with(Limits {
        max_client_id: 30,
        ..Limits::default()
    });
    let c = w.connect(v31("a-tasmota-plug-0123456789"));
    assert_eq!(w.read(c), ["CONNACK ok"]);
    let c = w.connect(v5("a-tasmota-plug-0123456789-0123456789"));
    assert_eq!(w.read(c), ["CONNACK 0x85", "CLOSED"]);
}

#[test]
fn enhanced_authentication_is_refused_with_bad_authentication_method() {
    let mut w = World::new();
    let c = w.connect(v5("c").with(Property::AuthenticationMethod("SCRAM-SHA-1")));
    assert_eq!(w.read(c), ["CONNACK 0x8c", "CLOSED"]);
    assert!(w.brokers[0].is_empty());
}

#[test]
fn auth_without_an_agreed_method_is_a_protocol_error() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    let mut properties = PropertiesBuf::new();
    properties
        .push(Property::AuthenticationMethod("x"))
        .unwrap();
    w.send(
        c,
        &Packet::Auth(Auth {
            code: ReasonCode::ReAuthenticate,
            properties: properties.as_properties(),
        }),
    );
    assert_eq!(w.read(c), ["DISCONNECT 0x82", "CLOSED"]);
}

#[test]
fn a_second_connect_is_a_protocol_error_whatever_it_says() {
    for (who, goodbye) in [
        (v5("c"), vec!["DISCONNECT 0x82", "CLOSED"]),
        (v311("c"), vec!["CLOSED"]),
        (v31("c"), vec!["CLOSED"]),
    ] {
        let mut w = World::new();
        let c = w.enter(who.clone());
        w.feed(c, &who.bytes());
        assert_eq!(w.read(c), goodbye);
        assert!(w.brokers[0].is_empty());
    }
    // A level that nobody knows: the decoder's own code is for CONNACK only.
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.feed(c, b"\x10\x0d\x00\x04MQTT\x09\x02\x00\x00\x00\x00\x01x");
    assert_eq!(w.read(c), ["DISCONNECT 0x82", "CLOSED"]);
}

#[test]
fn malformed_packets_close_with_the_decoders_reason() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.feed(c, &[0x36, 2, 0, 0]);
    assert_eq!(w.read(c), ["DISCONNECT 0x81", "CLOSED"]);
    let c = w.enter(v311("c"));
    w.feed(c, &[0x36, 2, 0, 0]);
    assert_eq!(w.read(c), ["CLOSED"]);
    assert_eq!(w.brokers[0].stats().protocol_errors, 2);
}

#[test]
fn packets_that_only_servers_send_are_protocol_errors() {
    for packet in [
        Packet::PingResp,
        Packet::ConnAck(safeport_mqtt::ConnAck {
            session_present: false,
            code: ReasonCode::Success,
            properties: safeport_mqtt::Properties::EMPTY,
        }),
    ] {
        let mut w = World::new();
        let c = w.enter(v5("c"));
        w.send(c, &packet);
        assert_eq!(w.read(c), ["DISCONNECT 0x82", "CLOSED"]);
    }
}

#[test]
fn a_silent_client_is_gone_after_one_and_a_half_keep_alives() {
    for (who, goodbye) in [
        (v5("c"), vec!["DISCONNECT 0x8d", "CLOSED"]),
        (v311("c"), vec!["CLOSED"]),
    ] {
        let mut w = World::new();
        let watch = w.enter(v5("watch"));
        w.join(watch, "w", 0);
        let c = w.enter(who.keep_alive(10).will(msg("w", "gone")));
        w.wait(14_000);
        w.send(c, &Packet::PingReq);
        assert_eq!(w.read(c), ["PINGRESP"]);
        w.wait(14_999);
        assert_eq!(w.read(c), NOTHING);
        w.wait(1);
        assert_eq!(w.read(c), goodbye);
        assert_eq!(w.read(watch), ["PUBLISH w q0: gone"]);
    }
}

#[test]
fn keep_alive_zero_never_ends_a_connection() {
    let mut w = World::new();
    let c = w.enter(v5("c"));
    w.wait_seconds(1_000_000);
    assert_eq!(w.read(c), NOTHING);
    assert_eq!(w.brokers[0].poll_timeout(), None);
}

#[test]
fn a_server_keep_alive_is_told_to_version_5_and_counts() {
    let mut w = World::with(Limits {
        max_keep_alive: 20,
        ..Limits::default()
    });
    for asked in [0, 21, 60_000] {
        let c = w.connect(v5("c").keep_alive(asked));
        assert_eq!(w.read(c), ["CONNACK ok keep_alive=20"]);
        w.wait_seconds(30);
        assert_eq!(w.read(c), ["DISCONNECT 0x8d", "CLOSED"]);
    }
    let c = w.connect(v5("c").keep_alive(20));
    assert_eq!(w.read(c), ["CONNACK ok"]);
    let old = w.enter(v311("old").keep_alive(60));
    w.wait_seconds(89);
    assert_eq!(w.read(old), NOTHING);
    w.wait_seconds(1);
    assert_eq!(w.read(old), ["CLOSED"]);
}

#[test]
fn the_session_limit_refuses_newcomers_and_lets_the_known_in() {
    let mut w = World::with(Limits {
        max_sessions: 2,
        ..Limits::default()
    });
    let a = w.enter(v5("a"));
    let _b = w.enter(v311("b"));
    let c = w.connect(v5("c"));
    assert_eq!(w.read(c), ["CONNACK 0x97", "CLOSED"]);
    let d = w.connect(v311("d"));
    // 3.1.1 knows only "server unavailable".
    assert_eq!(w.read(d), ["CONNACK 0x88", "CLOSED"]);
    let a2 = w.connect(v5("a"));
    assert_eq!(w.read(a2), ["CONNACK ok"]);
    assert_eq!(w.read(a), ["DISCONNECT 0x8e", "CLOSED"]);
    assert_eq!(w.brokers[0].stats().connects_refused, 2);
}

#[test]
fn refusals_are_said_in_the_words_of_the_version() {
    let mut w = World::new();
    let refused = |w: &mut World, who: Who, version: Version, reason| {
        let c = w.open(0, version);
        let bytes = who.bytes();
        let Ok(safeport_mqtt::Decoded::Packet(Packet::Connect(connect), _)) =
            safeport_mqtt::decode(&bytes, version, 1000)
        else {
            panic!("a CONNECT")
        };
        w.with_broker(0, |broker, _| {
            broker.refuse_connect(
                safeport_broker::ConnectionId(c.0),
                &connect,
                reason,
                "a reason that is longer than the client can take",
            )
        });
        w.read(c)
    };
    let bad = ReasonCode::BadUserNameOrPassword;
    assert_eq!(
        refused(&mut w, v5("c"), Version::V5, bad),
        ["CONNACK 0x86", "CLOSED"]
    );
    assert_eq!(
        refused(&mut w, v311("c"), Version::V311, bad),
        ["CONNACK 0x86", "CLOSED"]
    );
    assert_eq!(
        refused(&mut w, v31("c"), Version::V31, ReasonCode::NotAuthorized),
        ["CONNACK 0x87", "CLOSED"]
    );
    // No return code fits: closed without an answer [MQTT-3.2.2-6 of 3.1.1].
    assert_eq!(
        refused(
            &mut w,
            v311("c"),
            Version::V311,
            ReasonCode::MalformedPacket
        ),
        ["CLOSED"]
    );
    // Without the reason string it fits [MQTT-3.2.2-19].
    let small = v5("c").with(Property::MaximumPacketSize(12));
    assert_eq!(
        refused(&mut w, small, Version::V5, bad),
        ["CONNACK 0x86", "CLOSED"]
    );
    // A code that CONNACK cannot carry.
    let code = ReasonCode::KeepAliveTimeout;
    assert_eq!(
        refused(&mut w, v5("c"), Version::V5, code),
        ["CONNACK 0x80", "CLOSED"]
    );
}

#[test]
fn a_client_that_takes_only_tiny_packets_still_gets_a_connack() {
    let mut w = World::new();
    let c = w.connect(v5("").with(Property::MaximumPacketSize(10)));
    assert_eq!(w.read(c), ["CONNACK ok"]);
}

// Wills.

#[test]
fn a_will_is_published_on_every_end_but_a_goodbye() {
    type End = fn(&mut World, world::Client);
    let ends: [(&str, End, bool); 6] = [
        ("lost", |w, c| w.cut(c), true),
        ("goodbye", |w, c| w.disconnect(c), false),
        (
            "goodbye with will",
            |w, c| w.disconnect_with(c, ReasonCode::DisconnectWithWill, None),
            true,
        ),
        ("protocol error", |w, c| w.feed(c, &[0, 0]), true),
        (
            "closed by the operator",
            |w, _| {
                w.with_broker(0, |b, now| {
                    b.close_client("c", ReasonCode::AdministrativeAction, now)
                })
            },
            true,
        ),
        (
            "an error code",
            |w, c| w.disconnect_with(c, ReasonCode::UnspecifiedError, None),
            true,
        ),
    ];
    for (name, end, published) in ends {
        let mut w = World::new();
        let watch = w.enter(v5("watch"));
        w.join(watch, "will/#", 2);
        let c = w.enter(v5("c").will(msg("will/c", "gone").q1(0)));
        end(&mut w, c);
        let expected: &[&str] = match published {
            true => &["PUBLISH will/c q1 #1: gone"],
            false => &[],
        };
        assert_eq!(w.read(watch), expected, "{name}");
    }
}

#[test]
fn a_delayed_will_waits_and_is_cancelled_by_a_return() {
    let mut w = World::new();
    let watch = w.enter(v5("watch"));
    w.join(watch, "w", 0);
    let who = || {
        v5("c")
            .resume()
            .expiry(100)
            .will(msg("w", "late"))
            .will_with(Property::WillDelayInterval(10))
    };
    let c = w.enter(who());
    w.cut(c);
    w.wait(9_999);
    assert_eq!(w.read(watch), NOTHING);
    let c = w.connect(v5("c").resume().expiry(100));
    assert_eq!(w.read(c), ["CONNACK ok, present"]);
    w.wait_seconds(50);
    assert_eq!(w.read(watch), NOTHING);
    w.cut(c);
    w.wait_seconds(50);
    assert_eq!(w.read(watch), NOTHING, "the new connection has no will");

    let c = w.connect(who());
    w.cut(c);
    w.wait(10_000);
    assert_eq!(w.read(watch), ["PUBLISH w q0: late"]);
    w.wait_seconds(200);
    assert_eq!(w.read(watch), NOTHING, "once");
}

#[test]
fn a_delayed_will_does_not_outlive_its_session() {
    let mut w = World::new();
    let watch = w.enter(v5("watch"));
    w.join(watch, "w", 0);
    let who = |expiry| {
        v5("c")
            .expiry(expiry)
            .will(msg("w", "late"))
            .will_with(Property::WillDelayInterval(1000))
    };
    // It ends by expiry,
    let c = w.enter(who(5));
    w.cut(c);
    w.wait(4_999);
    assert_eq!(w.read(watch), NOTHING);
    w.wait(1);
    assert_eq!(w.read(watch), ["PUBLISH w q0: late"]);
    // with its connection,
    let c = w.enter(who(0));
    w.cut(c);
    assert_eq!(w.read(watch), ["PUBLISH w q0: late"]);
    // or by a clean start.
    let c = w.enter(who(5));
    w.cut(c);
    assert_eq!(w.read(watch), NOTHING);
    let _c = w.enter(v5("c"));
    assert_eq!(w.read(watch), ["PUBLISH w q0: late"]);
}

#[test]
fn takeover_publishes_the_will_unless_it_was_to_wait_and_the_session_goes_on() {
    for (delay, clean, published) in [
        (0, false, true),
        (0, true, true),
        (10, false, false),
        (10, true, true),
    ] {
        let mut w = World::new();
        let watch = w.enter(v5("watch"));
        w.join(watch, "w", 0);
        let who = v5("c").resume().expiry(100);
        w.enter(
            who.clone()
                .will(msg("w", "x"))
                .will_with(Property::WillDelayInterval(delay)),
        );
        w.connect(if clean { v5("c") } else { who });
        w.wait_seconds(50);
        let got = w.read(watch).len();
        assert_eq!(got, usize::from(published), "{delay} {clean}");
    }
}

#[test]
fn a_will_carries_its_retain_flag_and_properties() {
    let mut w = World::new();
    let watch = w.enter(v5("watch"));
    w.subscribe(watch, 1, &[sub("w", 2).as_published()]);
    w.read(watch);
    let c = w.enter(
        v5("c")
            .will(msg("w", "gone").q2(0).retain())
            .will_with(Property::ContentType("text"))
            .will_with(Property::UserProperty("a", "1"))
            .will_with(Property::UserProperty("a", "0"))
            .will_with(Property::MessageExpiryInterval(7)),
    );
    w.wait_seconds(100);
    w.cut(c);
    assert_eq!(
        w.read(watch),
        ["PUBLISH w q2 #1 retain type=text a=1 a=0 expiry=7: gone"]
    );
    assert_eq!(w.brokers[0].stats().retained, 1);
    w.wait_seconds(7);
    assert_eq!(w.brokers[0].stats().retained, 0);
}

#[test]
fn a_will_that_its_user_may_not_publish_refuses_the_connect() {
    let mut w = World::new();
    let rights = Permissions {
        user: Some("plug".into()),
        publish: TopicRights::Filters(vec!["tele/plug/#".into()]),
        subscribe: TopicRights::All,
        to_server: None,
    };
    for (topic, answer) in [
        ("tele/plug/LWT", "CONNACK ok"),
        ("tele/other/LWT", "CONNACK 0x87"),
        ("$SYS/broker/version", "CONNACK 0x87"),
    ] {
        let c = w.connect(v5("c").will(msg(topic, "x")).rights(rights.clone()));
        assert_eq!(w.read(c)[0], answer, "{topic}");
    }
}

// The operator.

#[test]
fn close_user_ends_all_its_connections_and_nobody_elses() {
    let user = |name: &str| Permissions {
        user: Some(name.into()),
        ..Permissions::open()
    };
    let mut w = World::new();
    let a1 = w.enter(v5("a1").rights(user("ada")));
    let a2 = w.enter(v311("a2").resume().rights(user("ada")));
    let b = w.enter(v5("b").rights(user("bob")));
    w.with_broker(0, |broker, now| broker.close_user("ada", now));
    assert_eq!(w.read(a1), ["DISCONNECT 0x98", "CLOSED"]);
    assert_eq!(w.read(a2), ["CLOSED"]);
    assert_eq!(w.read(b), NOTHING);
    assert_eq!(w.brokers[0].stats().sessions, 2, "a2's session waits");
}

#[test]
fn a_returning_session_loses_subscriptions_that_its_user_may_no_longer_have() {
    let rights = |filters: &[&str]| Permissions {
        user: Some("ada".into()),
        publish: TopicRights::All,
        subscribe: TopicRights::Filters(filters.iter().map(|f| f.to_string()).collect()),
        to_server: None,
    };
    let mut w = World::new();
    let c = w.enter(v5("c").lasting().rights(rights(&["a/#", "b/#", "c/#"])));
    for filter in ["a/1", "b/1", "$share/g/b/2", "c/1", "b/3"] {
        w.join(c, filter, 0);
    }
    w.with_broker(0, |broker, now| broker.close_user("ada", now));
    let c = w.connect(v5("c").lasting().rights(rights(&["a/#", "c/#"])));
    assert_eq!(w.read(c).len(), 1);
    assert_eq!(w.brokers[0].stats().subscriptions, 2);
    let p = w.enter(v5("p"));
    for topic in ["a/1", "b/1", "b/2", "b/3", "c/1"] {
        w.publish(p, msg(topic, "x"));
    }
    assert_eq!(w.read(c), ["PUBLISH a/1 q0: x", "PUBLISH c/1 q0: x"]);
}

#[test]
fn close_all_says_why_and_keeps_lasting_sessions() {
    let mut w = World::new();
    let a = w.enter(v5("a").lasting());
    let b = w.enter(v311("b"));
    w.with_broker(0, |broker, now| {
        broker.close_all(ReasonCode::ServerShuttingDown, now)
    });
    assert_eq!(w.read(a), ["DISCONNECT 0x8b", "CLOSED"]);
    assert_eq!(w.read(b), ["CLOSED"]);
    let stats = w.brokers[0].stats();
    assert_eq!((stats.connected, stats.sessions), (0, 1));
}
