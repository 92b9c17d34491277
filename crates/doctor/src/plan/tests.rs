use alloc::vec::Vec;
use core::time::Duration;
use std::vec;

use proptest::prelude::*;

use super::*;

const REFUSED: Came = Came::Failed {
    takes_connections: false,
    elsewhere: true,
};
const BROKEN: Came = Came::Failed {
    takes_connections: true,
    elsewhere: false,
};
const WRONG_SERVICE: Came = Came::Failed {
    takes_connections: true,
    elsewhere: true,
};

const FOUR_MINUTES: Duration = Duration::from_secs(240);
const LONG: Wishes = Wishes {
    long: Some(FOUR_MINUTES),
};

fn plan() -> Plan {
    Plan::new(Wishes::default(), Duration::ZERO)
}

/// All stages that run when `came` says what comes of each.
fn run(mut plan: Plan, mut came: impl FnMut(Stage) -> Came) -> Vec<Stage> {
    let mut ran = Vec::new();
    while let Some((stage, _)) = plan.poll_stage(Duration::ZERO) {
        ran.push(stage);
        plan.handle(came(stage), 0);
    }
    ran
}

fn failing(at: Stage, how: Came) -> impl FnMut(Stage) -> Came {
    move |stage| if stage == at { how } else { Came::Passed }
}

#[test]
fn a_healthy_target_goes_through_all_stages_and_no_other_port_is_tried() {
    let ran = run(plan(), |_| Came::Passed);
    assert_eq!(
        ran,
        [
            Stage::Parse,
            Stage::Dns,
            Stage::Own,
            Stage::Tcp,
            Stage::Sniff,
            Stage::Tls,
            Stage::AsDevice,
            Stage::Clock,
            Stage::App,
            Stage::Path,
        ]
    );
}

#[test]
fn an_unknown_name_leaves_only_this_machine_and_the_clocks() {
    let ran = run(plan(), failing(Stage::Dns, REFUSED));
    assert_eq!(ran, [Stage::Parse, Stage::Dns, Stage::Own, Stage::Clock]);
}

#[test]
fn a_refused_port_leads_to_the_other_ports_at_once_and_is_not_asked_what_it_speaks() {
    let ran = run(plan(), failing(Stage::Tcp, REFUSED));
    assert_eq!(
        ran[3..],
        [Stage::Tcp, Stage::Alternates, Stage::Clock],
        "{ran:?}"
    );
}

#[test]
fn a_port_that_resets_is_still_asked_what_it_speaks() {
    let ran = run(plan(), failing(Stage::Tcp, WRONG_SERVICE));
    assert_eq!(
        ran[3..],
        [Stage::Tcp, Stage::Alternates, Stage::Sniff, Stage::Clock]
    );
}

#[test]
fn a_bad_certificate_stops_the_device_and_the_protocol_but_tries_no_other_port() {
    let ran = run(plan(), failing(Stage::Tls, BROKEN));
    assert_eq!(ran[5..], [Stage::Tls, Stage::Clock]);
}

#[test]
fn a_path_that_is_missing_leads_to_the_other_ports_and_not_to_large_packets() {
    let ran = run(plan(), failing(Stage::App, WRONG_SERVICE));
    assert_eq!(ran[8..], [Stage::App, Stage::Alternates]);
}

#[test]
fn what_is_broken_is_the_first_that_failed() {
    let mut plan = plan();
    while let Some((stage, _)) = plan.poll_stage(Duration::ZERO) {
        plan.handle(
            match stage {
                Stage::Tls | Stage::Clock => BROKEN,
                _ => Came::Passed,
            },
            0,
        );
    }
    assert_eq!(plan.broken(), Some(Stage::Tls));
}

#[test]
fn plain_targets_without_a_name_skip_name_and_tls() {
    let mut plan = plan();
    plan.learn(Wanted {
        name: false,
        tls: false,
    });
    let ran = run(plan, |_| Came::Passed);
    for left_out in [Stage::Dns, Stage::Tls, Stage::AsDevice] {
        assert!(!ran.contains(&left_out), "{ran:?}");
    }
    assert!(ran.contains(&Stage::App));
}

#[test]
fn tls_runs_when_the_port_turns_out_to_speak_it() {
    let mut plan = plan();
    plan.learn(Wanted {
        name: false,
        tls: false,
    });
    let mut ran = vec![];
    while let Some((stage, _)) = plan.poll_stage(Duration::ZERO) {
        ran.push(stage);
        if stage == Stage::Sniff {
            plan.learn(Wanted {
                name: false,
                tls: true,
            });
        }
        plan.handle(Came::Passed, 0);
    }
    assert!(ran.contains(&Stage::Tls), "{ran:?}");
}

#[test]
fn a_long_run_ends_with_the_idle_connection() {
    let plan = Plan::new(LONG, Duration::ZERO);
    assert_eq!(run(plan, |_| Came::Passed).last(), Some(&Stage::Session));
}

#[test]
fn a_stage_that_hangs_is_ended_at_its_time_and_the_run_goes_on() {
    let mut plan = plan();
    let mut now = Duration::ZERO;
    let mut late = Vec::new();
    loop {
        if plan.poll_stage(now).is_none() {
            break;
        }
        let until = plan.poll_timeout().unwrap();
        assert_eq!(plan.handle_timeout(until - Duration::from_millis(1)), None);
        now = until;
        late.push(plan.handle_timeout(now).unwrap());
    }
    assert_eq!(late, [Stage::Parse, Stage::Own, Stage::Clock]);
}

#[test]
fn the_whole_run_has_an_end_even_if_every_stage_takes_its_time() {
    let mut plan = plan();
    let mut now = Duration::ZERO;
    while let Some((_, allowance)) = plan.poll_stage(now) {
        now += allowance.time;
        plan.handle(Came::Passed, 0);
    }
    assert!(now <= PROBE_RUN, "{now:?}");
}

#[test]
fn the_other_ports_get_what_the_refused_one_left_of_the_connects() {
    let mut plan = plan();
    let mut for_others = None;
    while let Some((stage, allowance)) = plan.poll_stage(Duration::ZERO) {
        match stage {
            Stage::Tcp => plan.handle(REFUSED, 1),
            Stage::Alternates => {
                for_others = Some(allowance.connects);
                plan.handle(Came::Passed, allowance.connects);
            }
            _ => plan.handle(Came::Passed, 0),
        }
    }
    assert_eq!(for_others, Some(11));
    assert_eq!(plan.connects_left(), 0);
}

proptest! {
    #[test]
    fn no_run_opens_more_connects_than_its_limit_or_a_stage_twice(
        comes in prop::collection::vec((0..4u8, 0..14u8), 12),
        long: bool,
    ) {
        let long = long.then_some(FOUR_MINUTES);
        let mut plan = Plan::new(Wishes { long }, Duration::ZERO);
        let mut opened = 0;
        let mut ran = Vec::new();
        let mut comes = comes.into_iter();
        while let Some((stage, allowance)) = plan.poll_stage(Duration::ZERO) {
            prop_assert!(!ran.contains(&stage), "{stage} twice");
            ran.push(stage);
            let (came, wants) = comes.next().unwrap();
            let connects = wants.min(allowance.connects);
            opened += connects;
            plan.handle([Came::Passed, REFUSED, BROKEN, Came::Nothing][usize::from(came)], connects);
        }
        prop_assert!(opened <= CONNECTS);
    }

    #[test]
    fn nothing_deeper_runs_behind_a_failure_but_the_four_that_may(at in 0..11usize, deaf: bool) {
        let broken = Stage::RUN[at];
        let how = if deaf { REFUSED } else { WRONG_SERVICE };
        let ran = run(Plan::new(LONG, Duration::ZERO), failing(broken, how));
        let behind = ran.iter().position(|stage| *stage == broken).unwrap() + 1;
        for stage in &ran[behind..] {
            prop_assert!(
                matches!(stage, Stage::Own | Stage::Alternates | Stage::Sniff | Stage::Clock),
                "{stage} behind {broken}"
            );
        }
    }
}
