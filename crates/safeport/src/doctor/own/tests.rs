use safeport_doctor::{Confidence, Texts, judge};
use safeport_store::{AttemptDetails, AttemptKey, DataFolder};
use tempfile::TempDir;

use super::*;

const NOW: u64 = 1_795_366_800;

fn registry() -> (TempDir, Registry) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataFolder::open(folder.path()).expect("a data folder");
    let registry = data.registry().expect("a registry");
    (folder, registry)
}

fn row(client_id: &str, listener: &str, cause: Seen, ago: u64) -> AttemptRow {
    AttemptRow {
        key: AttemptKey {
            address: "192.168.1.40".to_owned(),
            listener: listener.to_owned(),
            cause: cause.code().to_owned(),
            hello: String::new(),
            client_id: client_id.to_owned(),
            user: String::new(),
        },
        count: 1,
        first_at: NOW - ago,
        last_at: NOW - ago,
        last: AttemptDetails {
            failure: cause.is_failure(),
            why: "seen so".to_owned(),
            certainty: "certain".to_owned(),
            ..AttemptDetails::default()
        },
    }
}

fn verdict(registry: &Registry, called: &str, serves: bool) -> safeport_doctor::Finding {
    let inquiry = Inquiry {
        called,
        member: None,
        settings: None,
        remembered: None,
        serves,
        within: LATELY,
        now: NOW,
    };
    let evidence = inquiry.look(registry).expect("evidence");
    judge(evidence, &Texts::new()).finding
}

#[test]
fn a_failure_counts_until_the_device_connects_to_that_kind_of_listener() {
    let (_folder, mut registry) = registry();
    let rows = [
        row("plug", "mqtt", Seen::AuthFailed, 60),
        row("plug", "http", Seen::Healthy, 30),
    ];
    registry.add_attempts(&rows).expect("written");
    let found = verdict(&registry, "plug", true);
    assert_eq!(found.cause, Cause::AuthFailed);
    assert!(found.means.en.contains("plug"), "{}", found.means.en);
    registry
        .add_attempts(&[row("plug", "mqtts", Seen::Healthy, 10)])
        .expect("written");
    let found = verdict(&registry, "plug", true);
    assert_eq!(found.cause, Cause::Healthy);
    assert_eq!(found.confidence, Confidence::Certain);
    assert!(found.saw[0].quote.en.contains("CONNACK 0"));
}

#[test]
fn behind_one_address_a_neighbour_that_connects_clears_nobody_else() {
    let (_folder, mut registry) = registry();
    let rows = [
        row("plug", "mqtt", Seen::ProtocolVersion, 60),
        row("lamp", "mqtt", Seen::Healthy, 10),
    ];
    registry.add_attempts(&rows).expect("written");
    let found = verdict(&registry, "192.168.1.40", true);
    assert_eq!(found.cause, Cause::ProtocolVersion);
    assert_eq!(verdict(&registry, "lamp", true).cause, Cause::Healthy);
}

#[test]
fn of_what_never_came_it_is_said_so_and_where_no_server_runs_that() {
    let (_folder, mut registry) = registry();
    let old = row("plug", "mqtt", Seen::AuthFailed, 601);
    registry.add_attempts(&[old]).expect("written");
    let found = verdict(&registry, "plug", true);
    assert_eq!(found.cause, Cause::NothingArrived);
    assert_eq!(found.confidence, Confidence::Low);
    assert!(found.means.en.contains("10 minutes"), "{}", found.means.en);
    let found = verdict(&registry, "plug", false);
    assert_eq!(found.cause, Cause::NothingListens);
}

#[test]
fn a_quarrel_names_both_addresses() {
    let (_folder, mut registry) = registry();
    let mut other = row("plug", "mqtt", Seen::Healthy, 5);
    other.key.address = "192.168.1.41".to_owned();
    let rows = [row("plug", "mqtt", Seen::DuplicateClientId, 5), other];
    registry.add_attempts(&rows).expect("written");
    let found = verdict(&registry, "plug", true);
    assert_eq!(found.cause, Cause::DuplicateClientId);
    let quote = &found.saw[0].quote.en;
    assert!(
        quote.contains("192.168.1.40") && quote.contains("192.168.1.41"),
        "{quote}"
    );
}

fn told(mut row: AttemptRow, count: u64, told: &str) -> AttemptRow {
    row.count = count;
    row.last.why = format!("{TOLD}{told}");
    row
}

#[test]
fn who_checked_in_and_never_came_is_told_with_the_address_that_it_was_handed() {
    let (_folder, mut registry) = registry();
    let fresh = row("box", "http", Seen::Checked, 30);
    let fresh = told(fresh, 1, "mqtt://172.17.0.2:1883");
    registry.add_attempts(&[fresh]).expect("written");
    assert_eq!(verdict(&registry, "box", true).cause, Cause::Healthy);
    let (_folder, mut registry) = super::tests::registry();
    let old = row("box", "http", Seen::Checked, 300);
    let old = told(old, 3, "mqtt://172.17.0.2:1883");
    registry.add_attempts(&[old]).expect("written");
    let found = verdict(&registry, "box", true);
    assert_eq!(found.cause, Cause::HandedOutUnreachable);
    assert_eq!(found.layer, Layer::Tcp);
    assert!(found.means.en.contains("mqtt://172.17.0.2:1883"));
    // It came: with whatever result.
    registry
        .add_attempts(&[row("box", "mqtt", Seen::AuthFailed, 200)])
        .expect("written");
    assert_eq!(verdict(&registry, "box", true).cause, Cause::AuthFailed);
}

#[test]
fn a_refused_check_counts_until_a_good_one_and_not_until_any_request() {
    let (_folder, mut registry) = registry();
    let refused = row("box", "http", Seen::NotActivated, 60);
    let answered = row("box", "http", Seen::Healthy, 50);
    registry
        .add_attempts(&[refused, answered])
        .expect("written");
    assert_eq!(verdict(&registry, "box", true).cause, Cause::NotActivated);
    let good = row("box", "http", Seen::Checked, 10);
    let good = told(good, 1, "ws://hub.lan:8000/xiaozhi/v1/");
    registry.add_attempts(&[good]).expect("written");
    let found = verdict(&registry, "box", true);
    assert_eq!(found.cause, Cause::Healthy);
    assert!(found.saw[0].quote.en.contains("was told ws://hub.lan:8000"));
}

#[test]
fn what_the_server_noted_of_many_connections_is_read_beside_it() {
    for (noted, cause) in [
        (Seen::Flapping, Cause::ConnectionLost),
        (Seen::KeepAliveTimeout, Cause::KeepAliveTimeout),
        (Seen::Restarts, Cause::Restarts),
    ] {
        let (_folder, mut registry) = registry();
        let rows = [
            row("plug", "mqtt", noted, 20),
            row("plug", "mqtt", Seen::Healthy, 5),
        ];
        registry.add_attempts(&rows).expect("written");
        assert_eq!(verdict(&registry, "plug", true).cause, cause);
    }
}

#[test]
fn a_request_in_clear_is_the_modem_and_nothing_beside_it() {
    let (_folder, mut registry) = registry();
    registry
        .add_attempts(&[row("", "https", Seen::WssInClear, 20)])
        .expect("written");
    let inquiry = Inquiry {
        called: "192.168.1.40",
        member: None,
        settings: None,
        remembered: None,
        serves: true,
        within: LATELY,
        now: NOW,
    };
    let evidence = inquiry.look(&registry).expect("evidence");
    let diagnosis = judge(evidence, &Texts::new());
    assert_eq!(diagnosis.finding.cause, Cause::ModemNoTls);
    assert_eq!(diagnosis.finding.confidence, Confidence::High);
    assert!(diagnosis.alternatives.is_empty());
}
