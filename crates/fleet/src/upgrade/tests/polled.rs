//! Devices that come by themselves: xiaozhi, ESPHome, ESP-IDF.

use super::*;

fn xiaozhi() -> Rig {
    let mut rig = Rig::new(Plan {
        backup: false,
        prove_safeboot: false,
        running: identity("1.0", "mon"),
        ..plan(Adapter::Xiaozhi, vec![step(Part::Main, "1.1")])
    });
    assert_eq!(rig.effects(), [Effect::IssueToken { step: 0 }]);
    rig.url(0);
    assert_eq!(rig.state(), State::Offered);
    rig
}

fn check(version: &str, build: &str) -> Saw {
    Saw {
        booted: true,
        version: Some(version.into()),
        build: Some(build.into()),
        ..Saw::default()
    }
}

#[test]
fn a_check_is_answered_with_the_image_and_the_check_of_the_new_build_confirms_it() {
    let mut rig = xiaozhi();
    rig.saw(check("1.0", "mon"));
    let lease = rig.upgrade.lease(rig.now).expect("a lease");
    assert_eq!((lease.version.as_str(), lease.force), ("1.1", false));
    assert_eq!(lease.url, url(0));
    rig.fetched(1_000_000);
    assert_eq!(rig.state(), State::Installing);
    rig.saw(check("1.1", "tue"));
    assert_eq!(rig.state(), State::Soaking);
    assert_eq!(rig.upgrade.lease(rig.now), None, "never in the first check");
    rig.pass(601);
    assert_eq!(rig.state(), State::Succeeded);
}

#[test]
fn the_first_check_of_another_build_is_answered_with_nothing_even_if_that_build_is_not_ours() {
    let mut rig = xiaozhi();
    rig.saw(check("1.0", "somebody else's"));
    assert_eq!(rig.upgrade.lease(rig.now), None);
    rig.saw(check("1.0", "somebody else's"));
    assert!(rig.upgrade.lease(rig.now).is_some());
}

#[test]
fn a_device_that_runs_the_image_already_is_never_told_to_install_it() {
    let mut rig = xiaozhi();
    rig.saw(check("1.1", "tue"));
    assert_eq!(rig.state(), State::Skipped);
    assert_eq!(rig.upgrade.lease(rig.now), None);
}

#[test]
fn a_downgrade_is_forced_only_while_the_newer_build_still_runs() {
    let mut rig = Rig::new(Plan {
        backup: false,
        downgrade: true,
        running: identity("2.0", "mon"),
        ..plan(Adapter::Xiaozhi, vec![step(Part::Main, "1.1")])
    });
    rig.url(0);
    rig.saw(check("2.0", "mon"));
    assert!(rig.upgrade.lease(rig.now).expect("a lease").force);
    rig.fetched(1_000_000);
    rig.saw(check("1.1", "fri"));
    assert_eq!(rig.state(), State::Soaking);
    assert_eq!(rig.upgrade.lease(rig.now), None);
}

#[test]
fn a_download_that_breaks_off_is_offered_again_at_the_next_check() {
    let mut rig = xiaozhi();
    rig.saw(check("1.0", "mon"));
    rig.fetched(400_000);
    rig.handle(Event::Fetched {
        step: 0,
        minimal: false,
        bytes: 400_000,
        total: 1_000_000,
        ended: true,
    });
    assert_eq!(rig.state(), State::Waiting(Cause::Retry));
    rig.until_it_changes();
    rig.url(0);
    rig.saw(check("1.0", "mon"));
    assert!(rig.upgrade.lease(rig.now).is_some());
}

#[test]
fn a_bootloader_that_goes_back_to_the_old_build_counts_as_a_failed_try() {
    let mut rig = xiaozhi();
    for round in 0..3 {
        rig.saw(check("1.0", "mon"));
        assert!(rig.upgrade.lease(rig.now).is_some(), "round {round}");
        rig.fetched(1_000_000);
        rig.saw(check("1.0", "mon"));
        assert_eq!(rig.upgrade.lease(rig.now), None);
        if round < 2 {
            assert_eq!(rig.state(), State::Waiting(Cause::Retry));
            rig.until_it_changes();
            rig.url(0);
        }
    }
    assert_eq!(rig.state(), State::Reverted);
}

#[test]
fn checks_within_the_soak_are_boots_and_three_of_them_are_a_loop() {
    let mut rig = xiaozhi();
    rig.saw(check("1.0", "mon"));
    rig.fetched(1_000_000);
    rig.saw(check("1.1", "tue"));
    rig.pass(60);
    rig.saw(check("1.1", "tue"));
    assert_eq!(rig.state(), State::Soaking);
    rig.pass(60);
    rig.saw(check("1.1", "tue"));
    assert_eq!(rig.state(), State::Failed(Reason::BootLoop));
}

#[test]
fn a_xiaozhi_device_that_is_not_heard_of_after_its_download_is_judged_by_its_next_check() {
    let mut rig = xiaozhi();
    rig.saw(check("1.0", "mon"));
    rig.fetched(1_000_000);
    rig.pass(3_600);
    assert_eq!(rig.state(), State::Unreachable);
    rig.saw(check("1.1", "tue"));
    assert_eq!(rig.state(), State::Soaking);
}

#[test]
fn esphome_is_told_to_install_and_judged_by_the_version_it_reports_after_reconnecting() {
    let mut rig = Rig::new(Plan {
        backup: false,
        ..plan(Adapter::EspHome, vec![step(Part::Main, "15.0.0")])
    });
    assert_eq!(rig.effects(), [Effect::IssueToken { step: 0 }]);
    assert_eq!(rig.url(0), [Effect::Install]);
    rig.handle(Event::CannotCommand {
        why: "no update topic is known".into(),
    });
    assert_eq!(
        rig.state(),
        State::Offered,
        "it reads its manifest by itself"
    );
    rig.fetched(1_000_000);
    rig.saw(gone());
    rig.saw(Saw {
        online: Some(true),
        connected: true,
        ..Saw::default()
    });
    assert_eq!(rig.state(), State::Verifying);
    rig.saw(Saw {
        version: Some("15.0.0".into()),
        ..Saw::default()
    });
    assert_eq!(rig.state(), State::Soaking);
    rig.pass(601);
    assert_eq!(rig.state(), State::Succeeded);
}

fn idf() -> Rig {
    let mut rig = Rig::new(Plan {
        backup: false,
        ..plan(Adapter::Idf, vec![step(Part::Main, "2.0.0")])
    });
    rig.effects();
    rig.url(0);
    rig
}

#[test]
fn an_idf_device_that_reads_the_head_again_and_puts_it_down_has_the_image() {
    let mut rig = idf();
    rig.fetched(1_000_000);
    rig.fetched_in_part(1_024);
    assert_eq!(rig.state(), State::Soaking);
    rig.pass(601);
    assert_eq!(rig.state(), State::Succeeded);
}

/// A range of a device that fetches in parts: no end of anything.
fn range_to(rig: &mut Rig, bytes: u64) {
    rig.handle(Event::Fetched {
        step: 0,
        minimal: false,
        bytes,
        total: 1_000_000,
        ended: false,
    });
}

#[test]
fn an_idf_device_that_fetches_in_ranges_has_the_image_when_it_leaves_it_at_the_first_one() {
    let mut rig = idf();
    for bytes in [16_384, 32_768, 600_000] {
        range_to(&mut rig, bytes);
        assert_eq!(rig.state(), State::Downloading);
    }
    rig.fetched(1_000_000);
    assert_eq!(rig.state(), State::Installing);
    // It looks more often than we wait.
    for _ in 0..6 {
        range_to(&mut rig, 16_384);
        rig.pass(9);
    }
    assert_eq!(rig.state(), State::Soaking);
}

#[test]
fn an_idf_device_that_runs_the_version_already_puts_the_file_down_three_times_and_is_left_alone() {
    for in_ranges in [false, true] {
        let mut rig = idf();
        for looks in 1..=3 {
            if in_ranges {
                range_to(&mut rig, 16_384);
                rig.pass(60);
            } else {
                rig.fetched_in_part(200_000);
            }
            let state = if looks < 3 {
                State::Offered
            } else {
                State::Skipped
            };
            assert_eq!(rig.state(), state, "{looks}");
        }
    }
}

#[test]
fn an_idf_device_whose_transfers_break_off_late_is_offered_it_again() {
    let mut rig = idf();
    for _ in 0..4 {
        rig.fetched_in_part(800_000);
        assert_eq!(rig.state(), State::Waiting(Cause::Retry));
    }
    rig.fetched(1_000_000);
    assert_eq!(rig.state(), State::Installing);
}

#[test]
fn an_idf_device_that_compares_no_version_is_stopped_at_the_third_whole_download() {
    let mut rig = idf();
    rig.fetched(1_000_000);
    rig.fetched(1_000_000);
    rig.fetched(1_000_000);
    assert_eq!(rig.state(), State::Failed(Reason::InstallLoop));
    assert!(!rig.upgrade.may_fetch(0));
}

#[test]
fn a_device_that_comes_by_itself_may_take_days_until_the_offer_is_over() {
    let mut rig = idf();
    rig.pass(6 * 86_400);
    assert_eq!(rig.state(), State::Offered);
    rig.pass(2 * 86_400);
    assert_eq!(rig.state(), State::Expired);
}
