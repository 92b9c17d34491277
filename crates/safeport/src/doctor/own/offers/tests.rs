use safeport_fleet::upgrade::Reason;
use safeport_store::BlobHash;
use serde_json::json;

use super::*;

const NOW: u64 = 1_795_366_800;

fn row(state: &str, ago: u64) -> OfferRow {
    OfferRow {
        id: 1,
        member: 2,
        release: None,
        image: Some(BlobHash::from([1; 32])),
        state: state.to_owned(),
        open: !state.starts_with("failed") && state != "reverted",
        body: String::new(),
        who: "tests".to_owned(),
        created: NOW - ago,
        updated: NOW - ago,
    }
}

fn body(upgrade: Value) -> Value {
    let mut upgrade = upgrade;
    upgrade["step"] = json!(0);
    upgrade["before"] = json!({"version": "1.0.0"});
    upgrade["plan"] = json!({"adapter": "xiaozhi", "steps": [
        {"part": "main", "image": {"size": 4000, "identity": {"version": "2.0.0"}}},
    ]});
    json!({"what": "box.bin", "upgrade": upgrade})
}

fn offered(row: &OfferRow, upgrade: Value) -> Offered<'_> {
    Offered {
        row,
        body: body(upgrade),
        fetched: 0,
        room: Some(8000),
        here: None,
        runs: Some("1.0.0"),
        since: NOW - 600,
        now: NOW,
    }
}

fn cause(offered: &Offered<'_>) -> Option<Cause> {
    offered.clue().map(|(clue, _)| clue.cause)
}

#[test]
fn a_transfer_that_broke_off_says_how_far_it_came_and_how_often() {
    let row = row("waiting(retry)", 20);
    let detail = "the transfer broke off after 1200 of 4000 bytes";
    let offered = offered(
        &row,
        json!({"detail": detail, "bytes": 1200, "interruptions": 3}),
    );
    let (clue, _) = offered.clue().expect("a clue");
    assert_eq!(clue.cause, Cause::ImageInterrupted);
    let quote = &clue.quote.en;
    assert!(
        quote.contains("1200 of 4000 bytes; 3x broken off"),
        "{quote}"
    );
    assert!(clue.quote.zh.contains("3 次"), "{}", clue.quote.zh);
}

#[test]
fn what_was_offered_and_never_fetched_is_told_only_of_a_device_that_was_here_since() {
    let row = row("offered", 400);
    let mut offered = offered(&row, json!({}));
    assert_eq!(cause(&offered), None, "it sleeps");
    offered.here = Some(NOW - 500);
    assert_eq!(cause(&offered), None, "it was here before");
    offered.here = Some(NOW - 100);
    assert_eq!(cause(&offered), Some(Cause::HandedOutUnreachable));
    offered.fetched = 1;
    assert_eq!(cause(&offered), None);
}

#[test]
fn an_image_larger_than_its_place_is_too_large_whatever_the_device_says() {
    let row = row("failed(refused)", 20);
    let mut offered = offered(&row, json!({"detail": "Upload error 4"}));
    assert_eq!(cause(&offered), Some(Cause::OtaFailed));
    offered.room = Some(3000);
    let (clue, facts) = offered.clue().expect("a clue");
    assert_eq!(clue.cause, Cause::ImageTooLarge);
    assert_eq!(
        (facts.get("size"), facts.get("room")),
        (Some("4000"), Some("3000"))
    );
    assert!(clue.quote.en.contains("4000 bytes, its place 3000"));
    // By its own word.
    let offered = super::tests::offered(&row, json!({"detail": "Not enough space"}));
    assert_eq!(cause(&offered), Some(Cause::ImageTooLarge));
}

#[test]
fn who_fetched_everything_and_runs_as_before_has_gone_back() {
    let row = row("verifying", 400);
    let mut offered = offered(&row, json!({"bytes": 4000, "total": 4000, "full_gets": 1}));
    let (clue, facts) = offered.clue().expect("a clue");
    assert_eq!(clue.cause, Cause::RolledBack);
    assert_eq!(facts.get("version"), Some("1.0.0"));
    assert!(clue.quote.en.ends_with("it says that it runs 1.0.0"));
    offered.runs = Some("2.0.0");
    assert_eq!(cause(&offered), None);
    let reverted = super::tests::row("reverted", 20);
    let offered = super::tests::offered(&reverted, json!({}));
    assert_eq!(cause(&offered), Some(Cause::RolledBack));
}

#[test]
fn a_slow_download_is_no_broken_one_and_old_failures_are_over() {
    let downloading = row("downloading", 900);
    let offered = offered(&downloading, json!({"bytes": 100, "total": 4000}));
    assert_eq!(cause(&offered), None);
    let downloading = row("downloading", SLOW + 1);
    let offered = super::tests::offered(&downloading, json!({"bytes": 100, "total": 4000}));
    let (clue, _) = offered.clue().expect("a clue");
    assert_eq!(clue.cause, Cause::ImageInterrupted);
    assert!(
        clue.quote.en.ends_with("100 of 4000 bytes"),
        "{}",
        clue.quote.en
    );
    let failed = row("failed(interrupted)", 601);
    assert_eq!(cause(&super::tests::offered(&failed, json!({}))), None);
}

#[test]
fn every_reason_of_a_failed_offer_has_a_cause() {
    for reason in [Reason::SafebootWithoutTls, Reason::StuckInSafeboot] {
        assert_eq!(cause_of_reason(reason.code()), Cause::SafebootSilent);
    }
    assert_eq!(
        cause_of_reason(Reason::Interrupted.code()),
        Cause::ImageInterrupted
    );
    assert_eq!(
        cause_of_reason(Reason::InstallLoop.code()),
        Cause::ImageNotValid
    );
    assert_eq!(cause_of_reason(Reason::Crashed.code()), Cause::Restarts);
    assert_eq!(cause_of_reason(Reason::Refused.code()), Cause::OtaFailed);
}
