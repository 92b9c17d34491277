//! What the server looks at itself.

mod world;

use safeport_broker::{Limits, Observed, Permissions, TopicRights};
use world::{World, msg, v5, v311};

/// `client/user topic payload`, `!` behind a retained one.
fn seen(w: &mut World) -> Vec<String> {
    let words = |observed: Observed| {
        let by = observed.publisher.map_or("-".to_owned(), |publisher| {
            let user = publisher.user.unwrap_or_default();
            format!("{}/{user}", publisher.client_id)
        });
        let payload = String::from_utf8_lossy(&observed.payload).into_owned();
        let retain = if observed.retain { "!" } else { "" };
        format!("{by} {} {payload}{retain}", observed.topic)
    };
    std::mem::take(&mut w.observed)
        .into_iter()
        .map(words)
        .collect()
}

fn watch(w: &mut World, at: usize, filters: &[&str]) {
    w.with_broker(at, |broker, now| broker.observe(filters, now));
}

#[test]
fn what_clients_publish_to_observed_topics_is_shown_with_who_sent_it() {
    let mut w = World::new();
    watch(&mut w, 0, &["tele/+/LWT", "tasmota/discovery/#"]);
    let plug = w.enter(v311("plug"));
    w.publish(plug, msg("tele/plug/LWT", "Online").retain());
    w.publish(plug, msg("tele/plug/STATE", "{}"));
    w.publish(plug, msg("tasmota/discovery/A0/config", "{}").q1(1));
    assert_eq!(
        seen(&mut w),
        [
            "plug/ tele/plug/LWT Online!",
            "plug/ tasmota/discovery/A0/config {}"
        ]
    );
}

#[test]
fn an_observer_is_no_subscriber() {
    let mut answers = Vec::new();
    for observed in [false, true] {
        let mut w = World::new();
        if observed {
            watch(&mut w, 0, &["tele/#"]);
        }
        let plug = w.enter(v5("plug"));
        w.publish(plug, msg("tele/plug/STATE", "{}").q1(1));
        answers.push(w.read(plug));
        assert_eq!(seen(&mut w).len(), usize::from(observed));
    }
    // PUBACK with "no matching subscribers" both times.
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_will_is_shown_as_its_client_s() {
    let mut w = World::new();
    watch(&mut w, 0, &["tele/+/LWT"]);
    let plug = w.enter(v311("plug").will(msg("tele/plug/LWT", "Offline").retain()));
    w.cut(plug);
    assert_eq!(seen(&mut w), ["plug/ tele/plug/LWT Offline!"]);
}

#[test]
fn what_a_client_may_not_publish_is_not_shown() {
    let mut w = World::new();
    watch(&mut w, 0, &["tele/#"]);
    let rights = Permissions {
        user: Some("plug".into()),
        publish: TopicRights::Filters(vec!["stat/#".into()]),
        subscribe: TopicRights::All,
        to_server: None,
    };
    let plug = w.enter(v311("plug").rights(rights));
    w.publish(plug, msg("tele/other/LWT", "Offline").q1(1));
    assert_eq!(seen(&mut w), [""; 0]);
    watch(&mut w, 0, &["stat/#"]);
    w.publish(plug, msg("stat/plug/RESULT", "{}").q1(2));
    assert_eq!(seen(&mut w), ["plug/plug stat/plug/RESULT {}"]);
}

#[test]
fn what_was_retained_before_is_shown_once_and_without_a_sender() {
    let mut w = World::new();
    let plug = w.enter(v311("plug"));
    w.publish(plug, msg("tele/plug/LWT", "Online").retain());
    w.publish(plug, msg("tele/plug/STATE", "{}"));
    watch(&mut w, 0, &["tele/#"]);
    w.settle(0);
    assert_eq!(seen(&mut w), ["- tele/plug/LWT Online!"]);
}

#[test]
fn of_several_brokers_only_the_one_of_the_client_shows_its_message() {
    let mut w = World::of(3, Limits::default());
    for at in 0..3 {
        watch(&mut w, at, &["tele/#"]);
    }
    for at in 0..3 {
        let c = w.enter_at(at, v311(&format!("plug-{at}")));
        w.publish(c, msg("tele/plug/LWT", "Online").retain());
        w.carry_all();
        assert_eq!(seen(&mut w), [format!("plug-{at}/ tele/plug/LWT Online!")]);
    }
}

#[test]
fn a_payload_that_no_device_sends_of_itself_is_not_shown() {
    let mut w = World::new();
    watch(&mut w, 0, &["tele/#"]);
    let plug = w.enter(v311("plug"));
    let long = "x".repeat(32 * 1024 + 1);
    w.publish(plug, msg("tele/plug/STATE", &long));
    w.publish(plug, msg("tele/plug/STATE", &long[1..]));
    assert_eq!(seen(&mut w).len(), 1);
}

#[test]
fn what_is_said_to_the_server_itself_goes_to_nobody_else() {
    let mut w = World::new();
    let nosy = w.enter(v311("nosy"));
    w.join(nosy, "#", 0);
    let rights = Permissions {
        user: Some("kitchen".into()),
        publish: TopicRights::Filters(vec!["device-server".into(), "other".into()]),
        subscribe: TopicRights::All,
        to_server: Some("device-server".into()),
    };
    let box_ = w.enter(
        v311("box")
            .rights(rights)
            .will(msg("device-server", "gone").retain()),
    );
    w.publish(box_, msg("device-server", "{}").retain());
    w.publish(box_, msg("other", "1"));
    // Of anybody else it is a message like any other.
    w.publish(nosy, msg("device-server", "forged"));
    w.cut(box_);
    let (from, said) = w.addressed.pop().expect("it was said");
    assert!(w.addressed.is_empty());
    let publisher = said.publisher.expect("somebody said it");
    assert_eq!(
        (from, &*said.payload, said.retain),
        (box_, &b"{}"[..], false)
    );
    assert_eq!(
        (&*publisher.client_id, publisher.user.as_deref()),
        ("box", Some("kitchen"))
    );
    assert_eq!(
        w.read(nosy),
        ["PUBLISH other q0: 1", "PUBLISH device-server q0: forged"]
    );
}

#[test]
fn what_is_said_to_the_server_is_acknowledged_and_never_longer_than_64_kib() {
    let mut w = World::new();
    let rights = Permissions {
        to_server: Some("device-server".into()),
        ..Permissions::open()
    };
    let box_ = w.enter(v5("box").rights(rights));
    w.publish(box_, msg("device-server", "{}").q1(1));
    w.publish(box_, msg("device-server", &"x".repeat(64 * 1024 + 1)).q1(2));
    w.publish(box_, msg("device-server", &"x".repeat(64 * 1024 + 1)));
    assert_eq!(w.addressed.len(), 1);
    assert_eq!(w.read(box_), ["PUBACK #1", "PUBACK #2 0x97"]);
}
