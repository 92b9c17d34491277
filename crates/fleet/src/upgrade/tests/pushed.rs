//! ESPEasy, to which we bring the image.

use super::*;

fn rig() -> Rig {
    let mut rig = Rig::new(plan(Adapter::EspEasy, vec![step(Part::Main, "20241222")]));
    assert_eq!(rig.effects(), [Effect::Look]);
    assert_eq!(rig.saw(json("20240101", 5_000)), [Effect::Backup]);
    let effects = rig.handle(Event::Backup(BackupAnswer::Done));
    assert_eq!(effects, [Effect::Web(upload())]);
    assert_eq!(rig.state(), State::Downloading);
    rig
}

fn upload() -> WebRequest {
    WebRequest::Upload { step: 0 }
}

fn json(version: &str, uptime: u64) -> Saw {
    Saw {
        version: Some(version.into()),
        uptime: Some(uptime),
        ..Saw::default()
    }
}

fn answer(rig: &mut Rig, answer: WebAnswer) -> Vec<Effect> {
    rig.handle(Event::Web {
        request: upload(),
        answer,
    })
}

#[test]
fn a_pushed_image_is_judged_by_the_page_after_the_restart() {
    let mut rig = rig();
    answer(&mut rig, WebAnswer::Progress(500_000));
    assert_eq!(rig.upgrade.progress(), (500_000, 1_000_000));
    answer(
        &mut rig,
        WebAnswer::Done("Update Success! Rebooting...".into()),
    );
    assert_eq!(rig.state(), State::Installing);
    assert_eq!(rig.late(), [Effect::Look]);
    rig.saw(json("20241222", 12));
    assert_eq!(rig.state(), State::Soaking);
    rig.pass(601);
    assert_eq!(rig.state(), State::Succeeded);
    assert_eq!(*rig.upgrade.restore(), Restore::Untouched);
}

#[test]
fn a_refusal_in_the_reply_counts_and_is_told_in_the_devices_words() {
    let mut rig = rig();
    for round in 0..3 {
        answer(
            &mut rig,
            WebAnswer::Refused("Update error: Not Enough Space".into()),
        );
        if round < 2 {
            assert_eq!(rig.state(), State::Waiting(Cause::Retry));
            rig.until_it_changes();
            assert_eq!(rig.saw(json("20240101", 6_000)), [Effect::Web(upload())]);
        }
    }
    assert_eq!(rig.state(), State::Failed(Reason::Refused));
    assert!(rig.upgrade.detail().contains("Not Enough Space"));
}

#[test]
fn a_push_that_our_restart_broke_is_done_again_and_counts_for_nothing() {
    let mut rig = rig();
    for _ in 0..5 {
        answer(&mut rig, WebAnswer::Progress(500_000));
        rig.restart();
        assert_eq!(rig.state(), State::Waiting(Cause::Retry));
        rig.until_it_changes();
        assert_eq!(rig.saw(json("20240101", 6_000)), [Effect::Web(upload())]);
    }
    answer(&mut rig, WebAnswer::Done("Update Success!".into()));
    assert_eq!(rig.state(), State::Installing);
}

#[test]
fn a_device_that_restarts_with_its_old_build_has_not_taken_it() {
    let mut rig = rig();
    answer(&mut rig, WebAnswer::Done("Update Success!".into()));
    rig.saw(json("20240101", 12));
    assert_eq!(rig.state(), State::Waiting(Cause::Retry));
}
