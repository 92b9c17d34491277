//! Tasmota, with and without safeboot.

use super::*;

fn two_images() -> Plan {
    plan(
        Adapter::TasmotaSafeboot,
        vec![step(Part::Safeboot, "15.0.0"), step(Part::Main, "15.0.0")],
    )
}

/// Up to the order for the step.
fn ordered(rig: &mut Rig, step: usize) {
    rig.url(step);
    let effects = rig.result(&format!(r#"{{"OtaUrl":"{}"}}"#, url(step)));
    let number = if rig.upgrade.plan().steps[step].part == Part::Main {
        "1"
    } else {
        "2"
    };
    assert!(has(&effects, &command("Upgrade", number)), "{effects:?}");
    assert_eq!(rig.state(), State::Offered);
}

fn prepared(plan: Plan) -> Rig {
    let mut rig = Rig::new(plan);
    assert_eq!(rig.effects(), [command("Status", "0")]);
    let effects = rig.saw(status("14.0.0", OWN, 7));
    assert_eq!(effects, [Effect::Backup]);
    let effects = rig.handle(Event::Backup(BackupAnswer::Done));
    assert_eq!(effects, [Effect::IssueToken { step: 0 }]);
    rig
}

/// The safeboot is written, proved, and the device is in its main image again.
fn with_new_safeboot() -> Rig {
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    rig.result(r#"{"Upgrade":"Safeboot"}"#);
    rig.fetched(1_000_000);
    rig.saw(gone());
    let effects = rig.saw(safeboot_boot(true));
    assert!(has(&effects, &command("Restart", "3")), "{effects:?}");
    assert_eq!(rig.state(), State::Proving);
    let effects = rig.saw(main_boot("14.0.0", 9));
    assert!(
        has(&effects, &Effect::IssueToken { step: 1 }),
        "{effects:?}"
    );
    rig
}

fn to_the_soak(rig: &mut Rig) -> Vec<Effect> {
    rig.result(r#"{"Upgrade":"Version 14.0.0 from http://10.0.0.2/x"}"#);
    rig.saw(gone());
    rig.saw(safeboot_boot(true));
    assert_eq!(rig.state(), State::Recovery);
    rig.fetched(500_000);
    assert_eq!(rig.state(), State::Downloading);
    rig.fetched(1_000_000);
    assert_eq!(rig.state(), State::Installing);
    rig.saw(main_boot("15.0.0", 11))
}

#[test]
fn a_device_with_two_images_gets_its_safeboot_first_then_its_main_image_and_its_own_url_back() {
    let mut rig = with_new_safeboot();
    ordered(&mut rig, 1);
    let effects = to_the_soak(&mut rig);
    assert_eq!(rig.state(), State::Soaking);
    assert!(has(&effects, &command("OtaUrl", OWN)), "{effects:?}");
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(*rig.upgrade.restore(), Restore::Done);
    rig.pass(590);
    assert_eq!(rig.state(), State::Soaking);
    rig.pass(20);
    assert_eq!(rig.state(), State::Succeeded);
    let evidence = rig.upgrade.evidence();
    assert!(evidence.build.is_some() && evidence.boot.is_some());
    assert!(evidence.stays.is_some() && evidence.sane.is_some());
}

#[test]
fn a_device_that_returns_to_its_main_image_by_itself_is_sent_into_its_safeboot_to_prove_it() {
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    let effects = rig.saw(main_boot("14.0.0", 8));
    assert_eq!(effects, [command("Restart", "3")]);
    rig.result(r#"{"Restart":"Switching"}"#);
    rig.saw(gone());
    let effects = rig.saw(safeboot_boot(true));
    assert_eq!(effects, [command("Restart", "3")]);
    rig.saw(main_boot("14.0.0", 9));
    ordered(&mut rig, 1);
}

#[test]
fn a_safeboot_without_tls_is_found_before_the_main_image_is_touched_and_the_device_comes_back() {
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    rig.saw(main_boot("14.0.0", 8));
    rig.result(r#"{"Restart":"Switching"}"#);
    rig.saw(gone());
    let effects = rig.pass(130);
    assert!(has(&effects, &Effect::Web(WebRequest::Look)), "{effects:?}");
    let effects = rig.handle(Event::Web {
        request: WebRequest::Look,
        answer: WebAnswer::Saw(Saw {
            running: Some(Running::Safeboot),
            version: Some("13.0.0".into()),
            ..Saw::default()
        }),
    });
    let back = Effect::Web(WebRequest::Command("Restart 3".into()));
    assert_eq!(effects, [back]);
    let effects = rig.saw(main_boot("14.0.0", 10));
    assert!(has(&effects, &command("OtaUrl", OWN)), "{effects:?}");
    assert_eq!(rig.state(), State::Restoring);
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Failed(Reason::SafebootWithoutTls));
    assert!(rig.upgrade.state().detail() == Some("safeboot_without_tls"));
    assert_eq!(rig.upgrade.step(), 0, "the main image was never its turn");
}

#[test]
fn a_safeboot_that_starts_right_after_its_download_and_stays_silent_is_found_over_its_page() {
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    rig.result(r#"{"Upgrade":"Safeboot"}"#);
    rig.fetched(1_000_000);
    rig.saw(gone());
    let effects = rig.pass(125);
    assert!(has(&effects, &Effect::Web(WebRequest::Look)), "{effects:?}");
    let silent = WebAnswer::Saw(Saw {
        running: Some(Running::Safeboot),
        ..Saw::default()
    });
    let effects = rig.handle(Event::Web {
        request: WebRequest::Look,
        answer: silent.clone(),
    });
    assert!(has(&effects, &Effect::Web(WebRequest::Look)), "{effects:?}");
    let effects = rig.handle(Event::Web {
        request: WebRequest::Look,
        answer: silent,
    });
    assert!(
        has(
            &effects,
            &Effect::Web(WebRequest::Command("Restart 3".into()))
        ),
        "{effects:?}"
    );
    rig.saw(main_boot("14.0.0", 9));
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Failed(Reason::SafebootWithoutTls));
}

#[test]
fn a_safeboot_that_comes_over_plain_mqtt_proves_nothing_for_a_tls_device() {
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    rig.saw(main_boot("14.0.0", 8));
    rig.result(r#"{"Restart":"Switching"}"#);
    rig.saw(gone());
    assert_eq!(rig.saw(safeboot_boot(false)), []);
    assert_eq!(rig.state(), State::Proving);
    rig.pass(200);
    rig.saw(main_boot("14.0.0", 10));
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Failed(Reason::SafebootWithoutTls));
}

#[test]
fn a_device_without_a_safeboot_partition_gets_the_main_image_alone() {
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    let effects = rig.result(r#"{"Upgrade":"1 or >14.0.0 to upgrade"}"#);
    assert!(
        has(&effects, &Effect::IssueToken { step: 0 }),
        "{effects:?}"
    );
    assert_eq!(rig.upgrade.plan().steps.len(), 1);
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    rig.saw(main_boot("15.0.0", 8));
    assert_eq!(rig.state(), State::Soaking);
}

#[test]
fn a_device_that_sits_in_its_safeboot_gets_its_main_image_without_touching_the_safeboot() {
    let mut rig = Rig::new(two_images());
    rig.effects();
    let effects = rig.saw(Saw {
        ota_url: Some(OWN.into()),
        ..safeboot_boot(true)
    });
    assert!(!has(&effects, &Effect::IssueToken { step: 1 }));
    rig.handle(Event::Backup(BackupAnswer::Unreachable("no /dl".into())));
    assert_eq!(rig.upgrade.plan().steps[0].part, Part::Main);
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    rig.saw(main_boot("15.0.0", 8));
    assert_eq!(rig.state(), State::Soaking);
}

#[test]
fn the_ladder_of_a_stuck_safeboot_tells_again_uploads_and_then_asks_for_a_person() {
    let mut rig = with_new_safeboot();
    ordered(&mut rig, 1);
    rig.result(r#"{"Upgrade":"Version 14.0.0 from http://10.0.0.2/x"}"#);
    rig.saw(gone());
    rig.saw(safeboot_boot(true));
    rig.fetched(10_000);
    rig.handle(Event::Fetched {
        step: 1,
        minimal: false,
        bytes: 20_000,
        total: 1_000_000,
        ended: true,
    });
    assert_eq!(rig.state(), State::Recovery);
    assert!(has(&rig.late(), &command("Upgrade", "1")));
    rig.saw(gone());
    let again = Effect::Web(WebRequest::Command("Upgrade 1".into()));
    assert!(has(&rig.late(), &again));
    let upload = WebRequest::Upload { step: 1 };
    assert!(has(&rig.late(), &Effect::Web(upload.clone())));
    rig.handle(Event::Web {
        request: upload,
        answer: WebAnswer::Refused("Not enough space".into()),
    });
    assert_eq!(rig.state(), State::Failed(Reason::StuckInSafeboot));
    let Restore::Impossible(why) = rig.upgrade.restore() else {
        panic!("{:?}", rig.upgrade.restore());
    };
    assert!(why.contains(OWN), "{why}");
}

#[test]
fn a_safeboot_that_fetches_nothing_goes_back_to_the_old_main_image() {
    let mut rig = with_new_safeboot();
    ordered(&mut rig, 1);
    rig.result(r#"{"Upgrade":"Version 14.0.0 from http://10.0.0.2/x"}"#);
    rig.saw(gone());
    rig.saw(safeboot_boot(true));
    rig.late();
    rig.late();
    let upload = WebRequest::Upload { step: 1 };
    assert!(has(&rig.late(), &Effect::Web(upload.clone())));
    let effects = rig.handle(Event::Web {
        request: upload,
        answer: WebAnswer::Unreachable("no route".into()),
    });
    assert!(has(&effects, &command("Restart", "3")), "{effects:?}");
    rig.saw(main_boot("14.0.0", 12));
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Failed(Reason::StuckInSafeboot));
    assert_eq!(*rig.upgrade.restore(), Restore::Done);
}

#[test]
fn lost_messages_are_sent_again_and_lost_answers_do_no_harm() {
    let mut rig = Rig::new(two_images());
    rig.effects();
    assert_eq!(rig.late(), [command("Status", "0")]);
    assert_eq!(rig.late(), [command("Status", "0")]);
    rig.saw(status("14.0.0", OWN, 7));
    rig.handle(Event::Backup(BackupAnswer::Done));
    assert_eq!(rig.url(0), [command("OtaUrl", &url(0))]);
    assert_eq!(rig.late(), [command("OtaUrl", &url(0))]);
    rig.result(&format!(r#"{{"OtaUrl":"{}"}}"#, url(0)));
    assert_eq!(rig.late(), [command("Upgrade", "2")]);
    // The reply was lost, the download tells.
    rig.fetched(1_000_000);
    assert_eq!(rig.state(), State::Installing);
}

#[test]
fn with_less_patience_a_device_is_told_again_sooner() {
    for (patience, seconds) in [(60, 30), (5, 2), (600, 300)] {
        let mut rig = Rig::new(Plan {
            patience,
            ..two_images()
        });
        rig.effects();
        assert_eq!(rig.upgrade.poll_timeout(), Some(START + seconds));
    }
}

#[test]
fn an_order_that_is_never_followed_is_given_again_later_and_in_the_end_given_up() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    let mut tries = 0;
    while !matches!(rig.state(), State::Failed(_)) && tries < 100 {
        match rig.state() {
            State::Preparing => {
                rig.saw(status("14.0.0", OWN, 7));
                rig.url(0);
                rig.result(&format!(r#"{{"OtaUrl":"{}"}}"#, url(0)));
                tries += 1;
            }
            State::Restoring => {
                rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
            }
            _ => {
                rig.until_it_changes();
            }
        }
    }
    assert_eq!(rig.state(), State::Failed(Reason::Interrupted));
    assert_eq!(tries, 11);
}

#[test]
fn a_file_that_is_not_for_this_device_ends_the_offer_at_once_with_the_devices_words() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    ordered(&mut rig, 0);
    rig.fetched(1_000);
    rig.result(r#"{"Upgrade":"Failed Verify Bin Header Failed"}"#);
    assert_eq!(rig.upgrade.detail(), "Verify Bin Header Failed");
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Failed(Reason::WrongFile));
}

#[test]
fn our_own_mistakes_never_count_against_the_device() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    for _ in 0..30 {
        ordered(&mut rig, 0);
        rig.result(r#"{"Upgrade":"Failed File Not Found (404)"}"#);
        assert_eq!(rig.state(), State::Waiting(Cause::Retry));
        rig.until_it_changes();
        rig.saw(status("14.0.0", &url(0), 7));
    }
    assert_eq!(rig.upgrade.own_ota_url(), Some(OWN), "never our own");
}

#[test]
fn a_device_that_fetches_thrice_and_keeps_its_old_image_is_an_install_loop() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    rig.fetched(1_000_000);
    rig.fetched(1_000_000);
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Failed(Reason::InstallLoop));
}

#[test]
fn an_old_build_after_all_was_fetched_counts_and_three_of_them_are_a_reversal() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    for round in 0..3 {
        ordered(&mut rig, 0);
        rig.fetched(1_000_000);
        rig.saw(main_boot("14.0.0", 8 + round));
        if round < 2 {
            assert_eq!(rig.state(), State::Waiting(Cause::Retry));
            rig.until_it_changes();
            rig.saw(status("14.0.0", &url(0), 8 + round));
        }
    }
    assert_eq!(rig.state(), State::Restoring);
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Reverted);
}

#[test]
fn waits_between_counted_tries_grow_and_are_spread() {
    for seed in 0..50 {
        let mut rig = prepared(Plan {
            seed,
            ..plan(Adapter::TasmotaDirect, vec![step(Part::Main, "15.0.0")])
        });
        for wait in [120, 900] {
            ordered(&mut rig, 0);
            rig.result(r#"{"Upgrade":"Failed Wrong MD5"}"#);
            let pause = rig.upgrade.poll_timeout().expect("a retry") - rig.now;
            assert!((wait / 2..wait * 3 / 2).contains(&pause), "{pause}");
            rig.until_it_changes();
            rig.saw(status("14.0.0", &url(0), 7));
        }
    }
}

#[test]
fn a_crash_or_three_boots_after_the_new_image_end_it_badly() {
    let soaking = || {
        let mut rig = prepared(plan(
            Adapter::TasmotaDirect,
            vec![step(Part::Main, "15.0.0")],
        ));
        ordered(&mut rig, 0);
        rig.fetched(1_000_000);
        rig.saw(main_boot("15.0.0", 8));
        rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
        assert_eq!(rig.state(), State::Soaking);
        rig
    };
    let mut rig = soaking();
    rig.saw(Saw {
        crashed: Some("Exception".into()),
        ..main_boot("15.0.0", 9)
    });
    assert_eq!(rig.state(), State::Failed(Reason::Crashed));

    let mut rig = soaking();
    rig.saw(main_boot("15.0.0", 9));
    assert_eq!(rig.state(), State::Soaking);
    rig.saw(main_boot("15.0.0", 10));
    assert_eq!(rig.state(), State::Failed(Reason::BootLoop));

    let mut rig = soaking();
    rig.saw(main_boot("14.0.0", 9));
    assert_eq!(rig.state(), State::Reverted);
}

#[test]
fn a_device_that_vanishes_while_it_soaks_is_judged_when_it_is_back() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    rig.saw(main_boot("15.0.0", 8));
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    rig.saw(gone());
    rig.pass(400);
    assert_eq!(rig.state(), State::Unreachable);
    rig.pass(86_400);
    assert_eq!(rig.state(), State::Unreachable);
    rig.saw(main_boot("15.0.0", 9));
    assert_eq!(rig.state(), State::Soaking);
    rig.pass(601);
    assert_eq!(rig.state(), State::Succeeded);
}

#[test]
fn a_device_that_never_comes_back_fails_when_the_offer_is_over() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    rig.saw(gone());
    rig.pass(3_600);
    assert_eq!(rig.state(), State::Unreachable);
    rig.pass(8 * 86_400);
    assert_eq!(rig.state(), State::Failed(Reason::Unreachable));
    assert!(matches!(rig.upgrade.restore(), Restore::Impossible(why) if why.contains(OWN)));
}

#[test]
fn an_offer_to_a_device_that_is_away_waits_for_it_and_expires_in_the_end() {
    let away = Plan {
        online: false,
        ..two_images()
    };
    let mut rig = Rig::new(away.clone());
    assert_eq!(rig.effects(), []);
    assert_eq!(rig.state(), State::Waiting(Cause::Offline));
    rig.pass(86_400);
    let effects = rig.saw(main_boot("14.0.0", 8));
    assert_eq!(effects, [command("Status", "0")]);

    let mut rig = Rig::new(away);
    rig.pass(8 * 86_400);
    assert_eq!(rig.state(), State::Expired);
    assert_eq!(*rig.upgrade.restore(), Restore::Untouched);
}

#[test]
fn nothing_is_told_while_no_address_is_proved() {
    let mut rig = prepared(two_images());
    rig.handle(Event::NoAddress {
        why: "no HTTP address is proved".into(),
    });
    assert_eq!(rig.state(), State::Waiting(Cause::UrlGate));
    assert_eq!(rig.url(0), [command("OtaUrl", &url(0))]);
}

#[test]
fn an_address_longer_than_tasmota_stores_is_never_told() {
    let mut rig = prepared(two_images());
    let long = format!("http://{}.example/ota/x/tasmota32.bin", "a".repeat(80));
    let effects = rig.handle(Event::TokenReady { step: 0, url: long });
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Command { .. }))
    );
    assert_eq!(rig.state(), State::Failed(Reason::UrlTooLong));
}

#[test]
fn a_refused_backup_ends_the_offer_and_an_unreachable_page_does_not() {
    let mut rig = Rig::new(two_images());
    rig.saw(status("14.0.0", OWN, 7));
    rig.handle(Event::Backup(BackupAnswer::Refused("401".into())));
    assert_eq!(rig.state(), State::Failed(Reason::BackupRefused));
}

#[test]
fn what_the_device_runs_already_is_not_installed_again_unless_asked_for() {
    let mut rig = Rig::new(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    rig.saw(status("15.0.0", OWN, 7));
    assert_eq!(rig.state(), State::Skipped);
    let mut rig = Rig::new(Plan {
        reinstall: true,
        ..plan(Adapter::TasmotaDirect, vec![step(Part::Main, "15.0.0")])
    });
    rig.saw(status("15.0.0", OWN, 7));
    assert_eq!(rig.state(), State::Preparing);
}

#[test]
fn an_own_url_that_an_earlier_offer_left_behind_is_not_taken_for_the_devices_own() {
    let mut rig = Rig::new(Plan {
        own_ota_url: Some(OWN.into()),
        ..two_images()
    });
    rig.saw(status("14.0.0", &url(2), 7));
    assert_eq!(rig.upgrade.own_ota_url(), Some(OWN));
    // Not known at all: the built-in one.
    let mut rig = Rig::new(Plan {
        backup: false,
        ..two_images()
    });
    rig.saw(status("14.0.0", &url(2), 7));
    rig.url(0);
    let effects = rig.handle(Event::Cancel);
    assert!(has(&effects, &command("OtaUrl", "1")), "{effects:?}");
    rig.result(&format!(r#"{{"OtaUrl":"{}"}}"#, url(0)));
    assert_eq!(rig.state(), State::Restoring);
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Cancelled);
}

#[test]
fn a_cancelled_offer_never_leaves_a_device_half_way() {
    // Before anything was told: at once.
    let mut rig = prepared(two_images());
    rig.handle(Event::Cancel);
    assert_eq!(rig.state(), State::Cancelled);
    // In the middle of the safeboot step: after its proof, and without the main image.
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    rig.handle(Event::Cancel);
    assert_eq!(rig.state(), State::Offered);
    rig.fetched(1_000_000);
    rig.saw(safeboot_boot(true));
    let effects = rig.saw(main_boot("14.0.0", 9));
    assert!(
        !has(&effects, &Effect::IssueToken { step: 1 }),
        "{effects:?}"
    );
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    assert_eq!(rig.state(), State::Cancelled);
    // In the middle of the main step: that step is brought to its end.
    let mut rig = with_new_safeboot();
    ordered(&mut rig, 1);
    rig.handle(Event::Cancel);
    to_the_soak(&mut rig);
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    rig.pass(700);
    assert_eq!(rig.state(), State::Succeeded);
}

#[test]
fn a_small_esp8266_goes_by_way_of_its_minimal_image() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    ordered(&mut rig, 0);
    rig.handle(Event::Fetched {
        step: 0,
        minimal: true,
        bytes: 300,
        total: 300,
        ended: true,
    });
    assert_eq!(rig.state(), State::Installing);
    rig.saw(Saw {
        running: Some(Running::Minimal),
        ..main_boot("15.0.0", 8)
    });
    assert_eq!(rig.state(), State::Recovery);
    rig.fetched(1_000_000);
    rig.saw(main_boot("15.0.0", 9));
    assert_eq!(rig.state(), State::Soaking);
}

#[test]
fn hops_are_taken_one_after_the_other_and_only_the_last_one_soaks() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "14.5.0"), step(Part::Main, "15.0.0")],
    ));
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    let effects = rig.saw(main_boot("14.5.0", 8));
    assert!(
        has(&effects, &Effect::IssueToken { step: 1 }),
        "{effects:?}"
    );
    ordered(&mut rig, 1);
    rig.fetched(1_000_000);
    rig.saw(main_boot("15.0.0", 9));
    assert_eq!(rig.state(), State::Soaking);
}

#[test]
fn evidence_that_does_not_come_by_itself_is_asked_for_and_its_absence_is_no_success() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    ordered(&mut rig, 0);
    rig.fetched(1_000_000);
    // INFO1 was lost: only the connection is seen.
    rig.saw(Saw {
        online: Some(true),
        connected: true,
        ..Saw::default()
    });
    let effects = rig.pass(310);
    assert!(has(&effects, &command("Status", "0")), "{effects:?}");
    rig.saw(status("15.0.0", &url(0), 8));
    assert_eq!(rig.state(), State::Soaking);
}

#[test]
fn a_restart_of_ours_does_not_stand_for_time_in_which_the_device_was_watched() {
    let mut rig = with_new_safeboot();
    ordered(&mut rig, 1);
    to_the_soak(&mut rig);
    assert_eq!(rig.state(), State::Soaking);
    // We are away until long after the soak would have been over.
    rig.now += 3_600;
    let effects = rig.restart();
    assert!(has(&effects, &command("Status", "0")), "{effects:?}");
    // It is not here: then it has not stayed healthy either.
    rig.pass(400);
    assert_eq!(rig.state(), State::Unreachable);
    // Another one is here, and is watched for the whole time.
    let mut rig = with_new_safeboot();
    ordered(&mut rig, 1);
    to_the_soak(&mut rig);
    rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
    rig.now += 3_600;
    rig.restart();
    rig.saw(status("15.0.0", OWN, 10));
    rig.pass(590);
    assert_eq!(rig.state(), State::Soaking);
    rig.pass(20);
    assert_eq!(rig.state(), State::Succeeded);
}

#[test]
fn a_safeboot_is_not_blamed_for_the_time_that_we_were_away() {
    let mut rig = prepared(two_images());
    ordered(&mut rig, 0);
    rig.result(r#"{"Upgrade":"Safeboot"}"#);
    rig.fetched(1_000_000);
    rig.saw(main_boot("14.0.0", 8));
    assert_eq!(rig.state(), State::Proving);
    rig.saw(gone());
    rig.now += 3_600;
    rig.restart();
    rig.pass(100);
    assert_eq!(rig.state(), State::Proving, "{}", rig.upgrade.detail());
    rig.saw(safeboot_boot(true));
    rig.saw(main_boot("14.0.0", 10));
    assert_eq!(rig.upgrade.step(), 1);
}

#[test]
fn a_clock_that_is_set_ends_nothing_and_lengthens_nothing() {
    for by in [8 * 3_600_i64, -8 * 3_600] {
        let mut rig = with_new_safeboot();
        ordered(&mut rig, 1);
        to_the_soak(&mut rig);
        rig.result(&format!(r#"{{"OtaUrl":"{OWN}"}}"#));
        rig.pass(300);
        rig.now = rig.now.saturating_add_signed(by);
        rig.upgrade.clock_was_set(by);
        rig.pass(290);
        assert_eq!(rig.state(), State::Soaking);
        rig.pass(20);
        assert_eq!(rig.state(), State::Succeeded);
    }
    // Nor the offer, where the clock was years behind when it was made.
    let mut rig = Rig::new(plan(
        Adapter::TasmotaSafeboot,
        vec![step(Part::Main, "15.0.0")],
    ));
    rig.saw(gone());
    rig.pass(1_000);
    let years = 20 * 365 * 86_400;
    rig.now += years;
    rig.upgrade.clock_was_set(years as i64);
    rig.pass(86_400);
    assert!(!rig.state().is_final(), "{:?}", rig.state());
}

#[test]
fn what_is_kept_of_an_offer_stays_small_whatever_a_device_says() {
    let mut rig = prepared(plan(
        Adapter::TasmotaDirect,
        vec![step(Part::Main, "15.0.0")],
    ));
    let long = r#"\u0007\""#.repeat(3_000);
    for _ in 0..200 {
        if rig.state().is_final() {
            break;
        }
        rig.url(0);
        rig.result(&format!(r#"{{"OtaUrl":"{}"}}"#, url(0)));
        rig.result(&format!(r#"{{"Upgrade":"Failed connection lost {long}"}}"#));
        rig.pass(300);
        rig.saw(status("14.0.0", OWN, 7));
    }
    let kept = serde_json::to_string(&rig.upgrade).expect("JSON");
    assert!(kept.len() < 60_000, "{} bytes", kept.len());
    assert!(rig.upgrade.detail().contains("connection lost"));
}
