//! Whole upgrades of a device that behaves, and machines under events that make no sense.

use super::model::World;
use super::*;
use proptest::prelude::*;

fn two_images() -> Plan {
    plan(
        Adapter::TasmotaSafeboot,
        vec![step(Part::Safeboot, "15.0.0"), step(Part::Main, "15.0.0")],
    )
}

/// What holds at the end of every offer, however it went.
fn judge(world: &World, seed: u64) {
    let state = world.upgrade.state();
    let story = || {
        let lines: Vec<String> = world
            .upgrade
            .history()
            .iter()
            .map(|entry| format!("{} {} {}", entry.at - START, entry.state, entry.what))
            .collect();
        format!(
            "seed {seed}: {}\n{}",
            lines.join("\n"),
            world.log.join("\n")
        )
    };
    assert!(state.is_final(), "{state} {}", story());
    assert!(!world.main_before_safeboot, "{}", story());
    match world.upgrade.restore() {
        Restore::Untouched => assert_eq!(world.ota_url, OWN, "{}", story()),
        Restore::Done => assert_eq!(world.ota_url, OWN, "{}", story()),
        Restore::Impossible(why) => assert!(why.contains(OWN), "{why}"),
        Restore::Owed { .. } => panic!("still owed: {}", story()),
    }
    if state == State::Succeeded {
        assert_eq!(world.main, "15.0.0", "{}", story());
        assert!(world.safeboot_is_new, "{}", story());
    }
}

#[test]
fn a_whole_upgrade_of_two_images_succeeds_within_half_an_hour() {
    let mut world = World::new(two_images(), 1);
    world.run(1);
    judge(&world, 1);
    assert_eq!(world.upgrade.state(), State::Succeeded);
    assert!(world.now - START < 1_800, "{} s", world.now - START);
}

#[test]
fn a_new_safeboot_without_tls_never_costs_the_main_image() {
    for seed in 0..200 {
        let mut world = World::new(two_images(), seed);
        world.new_safeboot_has_tls = false;
        world.loss = seed % 30;
        world.run(9);
        judge(&world, seed);
        assert_eq!(world.main, "14.0.0", "seed {seed}");
        assert_ne!(world.upgrade.state(), State::Succeeded, "seed {seed}");
    }
}

#[test]
fn lost_messages_power_cuts_and_restarts_of_ours_never_break_the_order_nor_lose_the_own_url() {
    let mut ends = alloc::collections::BTreeMap::<String, u32>::new();
    for seed in 0..2_000 {
        let mut world = World::new(two_images(), seed);
        world.loss = seed % 40;
        world.power = seed % 7 * 4;
        world.ours = seed % 5 * 5;
        world.web = seed % 3 != 0;
        world.run(9);
        judge(&world, seed);
        *ends
            .entry(format!("{}", world.upgrade.state()))
            .or_default() += 1;
    }
    let good = ends.get("succeeded").copied().unwrap_or_default();
    assert!(good > 1_500, "{ends:?}");
}

fn event() -> impl Strategy<Value = Event> {
    let running = prop_oneof![
        Just(None),
        Just(Some(Running::Main)),
        Just(Some(Running::Safeboot)),
        Just(Some(Running::Minimal)),
    ];
    let version = prop_oneof![
        Just(None),
        Just(Some(String::from("14.0.0"))),
        Just(Some(String::from("15.0.0"))),
    ];
    let url = prop_oneof![
        Just(None),
        Just(Some(String::from(OWN))),
        Just(Some(super::url(0))),
        Just(Some(super::url(1))),
    ];
    let saw = (
        (
            any::<Option<bool>>(),
            any::<bool>(),
            any::<Option<bool>>(),
            any::<bool>(),
        ),
        running,
        version,
        url,
        proptest::option::of(0..20u64),
        proptest::bool::weighted(0.05),
    )
        .prop_map(
            |((online, connected, over_tls, booted), running, version, ota_url, count, crash)| {
                Event::Saw(Saw {
                    online,
                    connected,
                    over_tls,
                    booted,
                    running,
                    version,
                    ota_url,
                    boot_count: count,
                    crashed: crash.then(|| "Exception".into()),
                    ..Saw::default()
                })
            },
        );
    let text = prop_oneof![
        Just(format!(r#"{{"OtaUrl":"{OWN}"}}"#)),
        Just(format!(r#"{{"OtaUrl":"{}"}}"#, super::url(0))),
        Just(format!(r#"{{"OtaUrl":"{}"}}"#, super::url(1))),
        Just(r#"{"Upgrade":"Safeboot"}"#.into()),
        Just(r#"{"Upgrade":"Successful. Restarting"}"#.into()),
        Just(r#"{"Upgrade":"1 or >14.0.0 to upgrade"}"#.into()),
        Just(r#"{"Upgrade":"Failed read Timeout"}"#.into()),
        Just(r#"{"Restart":"Switching"}"#.into()),
    ]
    .prop_map(Event::Result);
    let web = (
        prop_oneof![
            Just(WebRequest::Look),
            Just(WebRequest::Upload { step: 0 }),
            Just(WebRequest::Command("Restart 3".into())),
        ],
        prop_oneof![
            Just(WebAnswer::Done(String::new())),
            Just(WebAnswer::Refused("no".into())),
            Just(WebAnswer::Unreachable("no".into())),
            Just(WebAnswer::Saw(Saw {
                running: Some(Running::Safeboot),
                ..Saw::default()
            })),
            Just(WebAnswer::Saw(Saw {
                running: Some(Running::Main),
                ..Saw::default()
            })),
        ],
    )
        .prop_map(|(request, answer)| Event::Web { request, answer });
    prop_oneof![
        6 => saw,
        4 => text,
        3 => (0..2usize).prop_map(|step| Event::TokenReady { step, url: super::url(step) }),
        4 => (0..2usize, any::<bool>(), 0..=4u64).prop_map(|(step, minimal, quarters)| Event::Fetched {
            step,
            minimal: minimal && quarters == 0,
            bytes: quarters * 250_000,
            total: 1_000_000,
            ended: quarters == 4,
        }),
        2 => web,
        1 => Just(Event::Backup(BackupAnswer::Done)),
        1 => Just(Event::NoAddress { why: "none".into() }),
        1 => Just(Event::Cancel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_order_holds_final_is_final_and_the_own_url_is_given_back_or_told(
        adapter in prop_oneof![
            Just(Adapter::TasmotaSafeboot), Just(Adapter::TasmotaDirect), Just(Adapter::EspEasy),
            Just(Adapter::EspHome), Just(Adapter::Xiaozhi), Just(Adapter::Idf),
        ],
        events in proptest::collection::vec((event(), 0..400u64, 0..20u8), 0..120),
    ) {
        let steps = if adapter == Adapter::TasmotaSafeboot {
            vec![step(Part::Safeboot, "15.0.0"), step(Part::Main, "15.0.0")]
        } else {
            vec![step(Part::Main, "15.0.0")]
        };
        let mut upgrade = Upgrade::new(plan(adapter, steps), START);
        let mut now = START;
        let mut told_ours = false;
        let mut ended: Option<State> = None;
        let mut safeboot_fetched = false;
        for (event, wait, restart) in events {
            let safeboot_first = upgrade.plan().steps.len() == 2;
            if let Event::Fetched { step: 0, bytes: 1_000_000, .. } = event {
                safeboot_fetched |= upgrade.step() == 0 && safeboot_first;
            }
            upgrade.handle(event, now);
            if restart == 0 {
                let text = serde_json::to_string(&upgrade).expect("JSON");
                let mut again: Upgrade = serde_json::from_str(&text).expect("the same");
                again.resume(now);
                upgrade = again;
            }
            now += wait;
            if upgrade.poll_timeout().is_some_and(|at| at <= now) {
                upgrade.handle_timeout(now);
            }
            while let Some(effect) = upgrade.poll_effect() {
                if let Effect::Command { command: "OtaUrl", payload } = &effect {
                    told_ours |= texts::is_ours(payload);
                }
                if effect == (Effect::IssueToken { step: 1 }) {
                    prop_assert!(safeboot_fetched, "the main image before the safeboot");
                }
            }
            if let Some(ended) = ended {
                prop_assert_eq!(upgrade.state(), ended);
                prop_assert_eq!(upgrade.poll_timeout(), None);
            }
            if upgrade.state().is_final() {
                ended = Some(upgrade.state());
            }
        }
        // Whatever is open ends by itself once nothing more happens.
        let mut turns = 0;
        while let Some(at) = upgrade.poll_timeout() {
            turns += 1;
            prop_assert!(turns < 5_000, "no end: {}", upgrade.state());
            now = now.max(at);
            upgrade.handle_timeout(now);
            while let Some(effect) = upgrade.poll_effect() {
                if let Effect::Command { command: "OtaUrl", payload } = &effect {
                    told_ours |= texts::is_ours(payload);
                }
            }
            if upgrade.state().is_final() {
                break;
            }
            // A token that never comes and a device that is gone do not end by time alone.
            if now > START + 30 * 86_400 {
                break;
            }
        }
        prop_assert!(upgrade.state().is_final(), "{}", upgrade.state());
        if told_ours {
            prop_assert!(
                matches!(upgrade.restore(), Restore::Done | Restore::Impossible(_)),
                "{:?}", upgrade.restore()
            );
        }
    }
}
