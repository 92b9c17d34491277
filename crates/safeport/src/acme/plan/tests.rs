//! Years in a moment: a made-up authority, a made-up clock.

use super::*;
use proptest::prelude::*;

const NOW: u64 = 1_795_366_800; // 2026-11-22
const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn wanted(keys: &[Key]) -> Wanted {
    Wanted {
        names: vec!["hub.example.com".to_owned()],
        keys: keys.to_vec(),
        directory: "https://ca/dir".to_owned(),
        mark: 1,
        seed: 0x5afe_9047,
    }
}

fn held(from: u64, lifetime: u64) -> Held {
    Held {
        names: vec!["hub.example.com".to_owned()],
        directory: "https://ca/dir".to_owned(),
        not_before: from,
        not_after: from + lifetime,
        since: Some(from),
        suggested: None,
    }
}

fn standing(key: Key, held: Option<Held>) -> Standing {
    Standing {
        key,
        held,
        failing: None,
        asked: false,
        suggestion: None,
    }
}

/// An authority and a clock; what the plan wants is done.
struct World {
    wanted: Wanted,
    standings: Vec<Standing>,
    now: u64,
    lifetime: u64,
    authority_is_up: bool,
    random: u64,
    /// When certificates came.
    issued: Vec<(Key, u64)>,
    /// When attempts failed.
    failures: Vec<(Key, u64)>,
}

impl World {
    fn new(keys: &[Key], lifetime: u64) -> World {
        World {
            wanted: wanted(keys),
            standings: keys.iter().map(|&key| standing(key, None)).collect(),
            now: NOW,
            lifetime,
            authority_is_up: true,
            random: 1,
            issued: Vec::new(),
            failures: Vec::new(),
        }
    }

    fn step(&mut self) {
        match next(&self.wanted, &self.standings, self.now) {
            Next::Wait(until) => {
                assert!(until > self.now, "it would turn in circles");
                self.now = until;
            }
            Next::Order(key, _) => {
                let index = self
                    .standings
                    .iter()
                    .position(|s| s.key == key)
                    .expect("a key");
                let standing = &mut self.standings[index];
                standing.asked = false;
                self.random = self
                    .random
                    .wrapping_mul(0x5851_f42d_4c95_7f2d)
                    .wrapping_add(1);
                self.now += 5;
                if self.authority_is_up {
                    let mut new = held(self.now, self.lifetime);
                    new.names.clone_from(&self.wanted.names);
                    new.directory.clone_from(&self.wanted.directory);
                    standing.held = Some(new);
                    standing.failing = None;
                    self.issued.push((key, self.now));
                } else {
                    let (mark, now) = (self.wanted.mark, self.now);
                    let known = before(&self.standings, key, mark, now);
                    let failing = failed(known, mark, now, self.random, None);
                    self.standings[index].failing = Some(failing);
                    self.failures.push((key, self.now));
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn live_until(&mut self, end: u64) {
        while self.now < end {
            self.step();
        }
    }

    fn alarm(&self, key: Key) -> Alarm {
        let standing = self.standings.iter().find(|standing| standing.key == key);
        alarm(&self.wanted, key, standing, self.now)
    }
}

#[test]
fn a_certificate_of_ninety_days_is_renewed_about_every_sixty_for_years_and_nobody_is_alarmed() {
    let mut world = World::new(&[Key::Rsa, Key::P256], 90 * DAY);
    while world.now < NOW + 3 * 365 * DAY {
        world.step();
        if world.issued.len() >= 2 {
            assert_eq!(world.alarm(Key::Rsa), Alarm::Fine);
        }
    }
    let rsa: Vec<u64> = world
        .issued
        .iter()
        .filter(|i| i.0 == Key::Rsa)
        .map(|i| i.1)
        .collect();
    for pair in rsa.windows(2) {
        let days = (pair[1] - pair[0]) / DAY;
        assert!((57..=60).contains(&days), "{days} days");
    }
    assert!(world.failures.is_empty());
}

#[test]
fn the_two_keys_of_a_server_are_ordered_one_after_the_other_and_renewed_on_different_days() {
    for lifetime in [6 * DAY, 45 * DAY, 90 * DAY] {
        for seed in 0..200 {
            let certificate = held(NOW, lifetime);
            let seed = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let rsa = due(&certificate, seed, Key::Rsa);
            let p256 = due(&certificate, seed, Key::P256);
            assert!(rsa - p256 >= lifetime / 40, "seed {seed}: {} s", rsa - p256);
        }
    }
    let mut world = World::new(&[Key::Rsa, Key::P256], 90 * DAY);
    world.step();
    world.step();
    let keys: Vec<Key> = world.issued.iter().map(|issued| issued.0).collect();
    assert_eq!(keys, [Key::Rsa, Key::P256]);
}

#[test]
fn servers_that_got_certificates_in_the_same_second_renew_them_spread_over_days() {
    let certificate = held(NOW, 90 * DAY);
    let mut moments: Vec<u64> = (0..1000u64)
        .map(|server| {
            due(
                &certificate,
                server.wrapping_mul(0x2545_f491_4f6c_dd1d),
                Key::Rsa,
            )
        })
        .collect();
    moments.sort_unstable();
    assert!(moments[999] - moments[0] > 2 * DAY, "they crowd");
    let most_in_an_hour = moments.iter().map(|&at| {
        let in_hour = |other: &&u64| **other >= at && **other < at + HOUR;
        moments.iter().filter(in_hour).count()
    });
    assert!(most_in_an_hour.max() < Some(60), "of 54 hours");
}

#[test]
fn an_outage_of_the_authority_is_retried_from_minutes_to_half_days_and_then_renewed() {
    let mut world = World::new(&[Key::Rsa], 90 * DAY);
    world.step();
    world.authority_is_up = false;
    let certificate = world.standings[0].held.clone().expect("one");
    let renewal = due(&certificate, world.wanted.seed, Key::Rsa);
    world.live_until(renewal + HOUR);
    // Five attempts in the first hour: Let's Encrypt allows as many failed proofs.
    assert!(
        (3..=5).contains(&world.failures.len()),
        "{:?}",
        world.failures
    );
    assert_eq!(world.alarm(Key::Rsa), Alarm::Fine, "a third is left");
    world.live_until(certificate.not_after - 29 * DAY);
    assert_eq!(world.alarm(Key::Rsa), Alarm::Warning);
    world.live_until(certificate.not_after - 14 * DAY);
    assert_eq!(world.alarm(Key::Rsa), Alarm::Alarm);
    let attempts: Vec<u64> = world.failures.iter().map(|failure| failure.1).collect();
    for pair in attempts.windows(2) {
        let pause = pair[1] - pair[0];
        assert!((MINUTE..=12 * HOUR + MINUTE).contains(&pause), "{pause} s");
    }
    let late = attempts.windows(2).last().expect("many");
    assert!(late[1] - late[0] >= 9 * HOUR, "the last pauses are long");

    world.authority_is_up = true;
    let back = world.now;
    world.live_until(back + 13 * HOUR);
    assert_eq!(world.issued.len(), 2);
    assert_eq!(world.alarm(Key::Rsa), Alarm::Fine);
}

#[test]
fn names_that_cannot_be_proved_are_tried_no_oftener_for_two_keys_and_each_key_has_its_turn() {
    let mut world = World::new(&[Key::Rsa, Key::P256], 90 * DAY);
    world.authority_is_up = false;
    world.live_until(NOW + HOUR);
    assert!(
        (3..=5).contains(&world.failures.len()),
        "{:?}",
        world.failures
    );
    for key in [Key::Rsa, Key::P256] {
        assert!(world.failures.iter().any(|failure| failure.0 == key));
    }
    // One that fails for its key alone does not keep the other from its certificate.
    let mut standings = vec![standing(Key::Rsa, None), standing(Key::P256, None)];
    let failing = failed(None, world.wanted.mark, NOW, 7, None);
    standings[0].failing = Some(failing);
    assert_eq!(
        next(&world.wanted, &standings, failing.retry_at),
        Next::Order(Key::P256, Why::Missing)
    );
}

#[test]
fn a_server_without_any_certificate_warns_at_once_and_alarms_after_three_days() {
    let mut world = World::new(&[Key::Rsa], 90 * DAY);
    world.authority_is_up = false;
    assert_eq!(world.alarm(Key::Rsa), Alarm::Fine, "nothing has been tried");
    world.step();
    assert_eq!(world.alarm(Key::Rsa), Alarm::Warning);
    world.live_until(NOW + 73 * HOUR);
    assert_eq!(world.alarm(Key::Rsa), Alarm::Alarm);
}

#[test]
fn an_authority_that_bars_us_is_left_alone_for_as_long_as_it_says_even_when_a_person_asks() {
    let wanted = wanted(&[Key::Rsa]);
    let mut standing = standing(Key::Rsa, None);
    standing.failing = Some(failed(None, wanted.mark, NOW, 7, Some(30 * HOUR)));
    for asked in [false, true] {
        standing.asked = asked;
        let standings = [standing.clone()];
        assert_eq!(
            next(&wanted, &standings, NOW + HOUR),
            Next::Wait(NOW + 30 * HOUR)
        );
        assert_eq!(
            next(&wanted, &standings, NOW + 30 * HOUR),
            Next::Order(Key::Rsa, Why::Missing)
        );
    }
}

#[test]
fn a_person_who_asks_need_not_wait_for_the_next_attempt_nor_for_the_renewal() {
    let wanted = wanted(&[Key::Rsa]);
    let mut failing = standing(Key::Rsa, None);
    failing.failing = Some(failed(None, wanted.mark, NOW, 7, None));
    assert!(matches!(
        next(&wanted, &[failing.clone()], NOW),
        Next::Wait(_)
    ));
    failing.asked = true;
    assert_eq!(
        next(&wanted, &[failing], NOW),
        Next::Order(Key::Rsa, Why::Missing)
    );

    let mut fresh = standing(Key::Rsa, Some(held(NOW, 90 * DAY)));
    assert!(matches!(
        next(&wanted, &[fresh.clone()], NOW),
        Next::Wait(_)
    ));
    fresh.asked = true;
    assert_eq!(
        next(&wanted, &[fresh], NOW),
        Next::Order(Key::Rsa, Why::Asked)
    );
}

#[test]
fn other_names_or_another_authority_are_asked_for_at_once_and_wait_for_no_failure_of_before() {
    let mut wanted = wanted(&[Key::Rsa]);
    let mut standing = standing(Key::Rsa, Some(held(NOW, 90 * DAY)));
    standing.failing = Some(failed(None, wanted.mark, NOW, 7, Some(DAY)));
    wanted.names.push("www.example.com".to_owned());
    wanted.mark = 2;
    let standings = [standing.clone()];
    assert_eq!(
        next(&wanted, &standings, NOW),
        Next::Order(Key::Rsa, Why::Names)
    );
    let mut wanted = super::tests::wanted(&[Key::Rsa]);
    wanted.directory = "https://other/dir".to_owned();
    wanted.mark = 3;
    assert_eq!(
        next(&wanted, &standings, NOW),
        Next::Order(Key::Rsa, Why::Authority)
    );
    // The order and the case of names mean nothing.
    let mut wanted = super::tests::wanted(&[Key::Rsa]);
    wanted.names = vec!["HUB.example.com".to_owned()];
    standing.failing = None;
    assert!(matches!(next(&wanted, &[standing], NOW), Next::Wait(_)));
}

#[test]
fn a_clock_that_was_never_set_asks_nobody() {
    let wanted = wanted(&[Key::Rsa]);
    assert_eq!(next(&wanted, &[], 1000), Next::ClockUnset);
    assert_eq!(next(&wanted, &[], NOW), Next::Order(Key::Rsa, Why::Missing));
}

#[test]
fn a_clock_that_is_moved_forward_renews_at_once_and_one_that_is_moved_back_waits_for_nothing_old() {
    let wanted = wanted(&[Key::Rsa]);
    let mut standing = standing(Key::Rsa, Some(held(NOW, 90 * DAY)));
    let later = NOW + 75 * DAY;
    assert_eq!(
        next(&wanted, &[standing.clone()], later),
        Next::Order(Key::Rsa, Why::Due)
    );
    // It failed at that time, which was wrong: the attempt of the true time does not wait for it.
    standing.held = None;
    standing.failing = Some(failed(None, wanted.mark, later, 7, Some(7 * DAY)));
    assert_eq!(
        next(&wanted, &[standing.clone()], NOW),
        Next::Order(Key::Rsa, Why::Missing)
    );
    // A clock that is set back by a second does not shorten the pause.
    let Next::Wait(until) = next(&wanted, &[standing], later - 1) else {
        panic!("it waits");
    };
    assert!(until >= later);
}

#[test]
fn a_certificate_that_is_due_the_moment_it_comes_is_not_ordered_over_and_over() {
    let wanted = wanted(&[Key::Rsa]);
    let mut ended = held(NOW - 100 * DAY, 90 * DAY);
    ended.since = Some(NOW);
    let standings = [standing(Key::Rsa, Some(ended))];
    assert_eq!(next(&wanted, &standings, NOW), Next::Wait(NOW + 3 * DAY));
}

#[test]
fn a_certificate_of_six_days_is_renewed_after_four_and_is_no_alarm_while_it_is_young() {
    let mut world = World::new(&[Key::Rsa], 6 * DAY);
    while world.issued.len() < 20 {
        world.step();
        if !world.issued.is_empty() {
            assert_eq!(world.alarm(Key::Rsa), Alarm::Fine);
        }
    }
    for pair in world.issued.windows(2) {
        let hours = (pair[1].1 - pair[0].1) / HOUR;
        assert!((90..=96).contains(&hours), "{hours} hours");
    }
}

#[test]
fn the_authority_says_when_it_would_like_a_renewal_and_is_asked_again_in_between() {
    let wanted = wanted(&[Key::Rsa]);
    let mut certificate = held(NOW, 90 * DAY);
    let window = Window {
        start: NOW + 10 * DAY,
        end: NOW + 11 * DAY,
    };
    certificate.suggested = Some(window);
    let at = due(&certificate, wanted.seed, Key::Rsa);
    assert!((window.start..window.end).contains(&at));
    // A mass revocation: renew now.
    certificate.suggested = Some(Window {
        start: NOW - DAY,
        end: NOW - HOUR,
    });
    let later = [standing(Key::Rsa, Some(certificate.clone()))];
    assert_eq!(
        next(&wanted, &later, NOW + HOUR),
        Next::Order(Key::Rsa, Why::Due)
    );
    // However late it would like it, the alarm never comes first.
    certificate.suggested = Some(Window {
        start: NOW + 89 * DAY,
        end: NOW + 95 * DAY,
    });
    assert_eq!(due(&certificate, wanted.seed, Key::Rsa), NOW + 75 * DAY);

    let mut asks = standing(Key::Rsa, Some(held(NOW, 90 * DAY)));
    asks.suggestion = Some(Suggestion {
        asked: NOW,
        again: NOW + 6 * HOUR,
    });
    assert_eq!(
        next(&wanted, &[asks.clone()], NOW),
        Next::Wait(NOW + 6 * HOUR)
    );
    assert_eq!(next(&wanted, &[asks], NOW + 6 * HOUR), Next::Ask(Key::Rsa));
}

fn lifetimes() -> impl Strategy<Value = u64> {
    prop_oneof![HOUR..7 * DAY, 7 * DAY..100 * DAY, 100 * DAY..400 * DAY]
}

proptest! {
    #[test]
    fn a_renewal_comes_within_the_lifetime_and_before_its_alarm(
        lifetime in lifetimes(), seed: u64, p256: bool,
        window in proptest::option::of((0u64..400 * DAY, 0u64..30 * DAY)),
    ) {
        let key = if p256 { Key::P256 } else { Key::Rsa };
        let mut certificate = held(NOW, lifetime);
        certificate.suggested = window.map(|(start, length)| Window {
            start: NOW + start,
            end: NOW + start + length,
        });
        let at = due(&certificate, seed, key);
        prop_assert!(at >= certificate.not_before);
        prop_assert!(certificate.not_after - at >= alarm_below(lifetime));
        if window.is_none() {
            let left = certificate.not_after - at;
            prop_assert!(left >= lifetime / 3 && left <= lifetime / 3 + lifetime / 12);
        }
        prop_assert_eq!(at, due(&certificate, seed, key), "it never changes its mind");
    }

    #[test]
    fn pauses_stay_between_a_minute_and_twelve_hours_and_do_not_shrink_by_much(
        failures in 1u32..10_000, random: u64, other: u64,
    ) {
        let pause = backoff(failures, random);
        prop_assert!((MINUTE..=12 * HOUR).contains(&pause));
        prop_assert!(backoff(failures + 1, other) * 2 > pause);
    }

    #[test]
    fn whatever_the_clock_does_the_plan_neither_stands_still_nor_turns_in_circles(
        lifetime in lifetimes(),
        moves in proptest::collection::vec((-400i64..400, any::<bool>(), 1u32..20), 1..40),
        both: bool,
    ) {
        let keys: &[Key] = if both { &[Key::Rsa, Key::P256] } else { &[Key::Rsa] };
        let mut world = World::new(keys, lifetime);
        for (days, up, steps) in moves {
            let moved = world.now.saturating_add_signed(days * DAY as i64);
            world.now = moved.max(CLOCK_SET + DAY);
            world.authority_is_up = up;
            let (before, orders) = (world.now, world.issued.len() + world.failures.len());
            for _ in 0..steps {
                world.step();
            }
            let ordered = world.issued.len() + world.failures.len() - orders;
            // After a move each key may go at once; from then on only pauses allow more: a quarter
            // of the lifetime at least, or a minute after a failure.
            let shortest = (lifetime / 4).min(MINUTE);
            let most = keys.len() as u64 * (2 + (world.now - before) / shortest);
            prop_assert!(ordered as u64 <= most, "{ordered} orders in {} s", world.now - before);
        }
        // Once all is well again, all is well: whatever the clock has been through. The longest pause
        // is 12 h, and a failure of the other key that a clock moved back has left in the future
        // counts again when the clock gets there: two of them.
        world.authority_is_up = true;
        let end = world.now + 25 * HOUR;
        world.live_until(end);
        for &key in keys {
            let standing = world.standings.iter().find(|standing| standing.key == key);
            let certificate = standing.and_then(|s| s.held.as_ref()).expect("a certificate");
            prop_assert!(certificate.not_after > world.now);
            if certificate.not_before <= world.now {
                prop_assert_eq!(world.alarm(key), Alarm::Fine);
            }
        }
    }
}
