use super::limits::{FAILURES, LOST_AFTER_MS, MAX_IN_FLIGHT, SEEN_FOR_MS};
use super::*;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use proptest::prelude::*;

const EVERY: u64 = 300_000;

fn address(text: &str) -> AdvertisedAddress {
    AdvertisedAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn candidate(text: &str) -> Candidate {
    Candidate {
        listener: Listener::Http,
        address: address(text),
        via: Via::Listener(Listener::Http),
        unverifiable: None,
    }
}

fn inside_container(text: &str) -> Candidate {
    Candidate {
        unverifiable: Some(Said::same("inside a container")),
        ..candidate(text)
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        layer: Layer::Tcp,
        saw: Said::same("refused"),
    }
}

fn foreign() -> Outcome {
    Outcome::Foreign {
        saw: Said::same("nginx"),
    }
}

fn hairpin() -> Outcome {
    Outcome::Unverifiable {
        why: Said::same("no answer through the router"),
    }
}

/// A gate with a clock of its own.
struct World {
    gate: Gate,
    now: u64,
}

impl World {
    fn new(candidates: Vec<Candidate>) -> World {
        let mut gate = Gate::new(GateSettings {
            verify_every_ms: EVERY,
        });
        gate.set_candidates(candidates, 0);
        World { gate, now: 0 }
    }

    /// Waits until the gate wants something.
    fn wait(&mut self) {
        self.now = self.now.max(self.gate.poll_timeout().expect("a timeout"));
        self.gate.handle_timeout(self.now);
    }

    /// Lets time pass without a probe.
    fn sleep(&mut self, ms: u64) {
        self.now += ms;
        self.gate.handle_timeout(self.now);
    }

    /// Waits for the next probe of an address and answers it.
    fn answer(&mut self, text: &str, outcome: Outcome) {
        for _ in 0..100 {
            while let Some(probed) = self.gate.poll_probe(self.now) {
                if probed == address(text) {
                    self.gate.handle_outcome(&probed, outcome, self.now);
                    return;
                }
                // Others stay on their way until they are lost.
            }
            self.wait();
        }
        panic!("{text} was not probed");
    }

    fn told(&self) -> Told {
        self.gate.told(Listener::Http, Scheme::Ws, self.now)
    }

    fn state(&self, text: &str) -> State {
        self.gate
            .states(self.now)
            .into_iter()
            .find(|standing| standing.candidate.address == address(text))
            .unwrap_or_else(|| panic!("{text} is unknown"))
            .state
    }
}

const HOME: &str = "ws://192.168.1.20:8002";
const NAME: &str = "ws://hub.example.com:8002";

#[test]
fn nothing_is_told_before_an_address_is_proved() {
    let mut world = World::new(vec![candidate(HOME)]);
    let Told::Nothing(why) = world.told() else {
        panic!("{:?}", world.told());
    };
    assert_eq!(why.en, "ws://192.168.1.20:8002 has not been proved yet");
    assert!(why.zh.contains("尚未验证"));
    assert_eq!(world.gate.poll_probe(0), Some(address(HOME)));
    assert_eq!(world.state(HOME), State::Probing);
    assert!(matches!(world.told(), Told::Nothing(_)));
    world
        .gate
        .handle_outcome(&address(HOME), Outcome::Proved, 5);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
    // Another scheme and another listener are another matter.
    let gate = &world.gate;
    for (listener, scheme) in [
        (Listener::Http, Scheme::Http),
        (Listener::Https, Scheme::Ws),
    ] {
        let Told::Nothing(why) = gate.told(listener, scheme, 5) else {
            panic!("{listener} {scheme}");
        };
        assert!(why.en.contains("safeport ports"), "{why}");
    }
}

#[test]
fn the_preferred_one_of_the_verified_addresses_is_told() {
    let mut world = World::new(vec![candidate(NAME), candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
    world.answer(NAME, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(NAME)));
    let without_name = world
        .gate
        .told_if(Listener::Http, Scheme::Ws, world.now, |address| {
            address.host().ip().is_some()
        });
    assert_eq!(without_name, Told::Verified(address(HOME)));
}

#[test]
fn an_address_that_fails_before_it_was_ever_verified_is_broken_at_once_and_says_why() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, failed());
    assert_eq!(world.state(HOME).name(), "broken");
    let Told::Nothing(why) = world.told() else {
        panic!("{:?}", world.told());
    };
    assert_eq!(
        why.en,
        "ws://192.168.1.20:8002 does not lead here: TCP: refused"
    );
    assert_eq!(
        why.zh,
        "ws://192.168.1.20:8002 不通向本服务器：TCP：refused"
    );
}

#[test]
fn a_verified_address_outlasts_two_failures_and_not_the_third() {
    let mut world = World::new(vec![candidate(HOME), candidate(NAME)]);
    world.answer(NAME, Outcome::Proved);
    world.answer(HOME, Outcome::Proved);
    for failures in 1..FAILURES {
        world.answer(HOME, failed());
        let why = Said::new("TCP: refused", "TCP：refused");
        assert_eq!(
            world.state(HOME),
            State::Degraded {
                why: why.clone(),
                failures
            }
        );
        assert_eq!(world.told(), Told::LastVerified(address(HOME), why));
    }
    world.answer(HOME, failed());
    assert_eq!(world.state(HOME).name(), "broken");
    assert_eq!(world.told(), Told::Verified(address(NAME)));
    // And back: one proof is enough.
    world.answer(HOME, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
    // The failures of before do not count any more.
    world.answer(HOME, failed());
    assert_eq!(world.state(HOME).name(), "degraded");
}

#[test]
fn a_failed_address_is_probed_again_soon_and_then_less_often() {
    let mut world = World::new(vec![candidate(HOME)]);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let before = world.now;
        world.answer(HOME, failed());
        pauses.push((world.now - before) / 1000);
    }
    assert_eq!(pauses, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
}

#[test]
fn something_else_at_a_verified_address_breaks_it_at_once() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    world.answer(HOME, foreign());
    assert_eq!(
        world.state(HOME),
        State::Broken {
            why: Said::new(
                "something else answers there: nginx",
                "那里应答的不是本服务器：nginx"
            )
        }
    );
    assert!(matches!(world.told(), Told::Nothing(_)));
    // Silence does not take that back; proof does.
    world.answer(HOME, hairpin());
    assert_eq!(world.state(HOME).name(), "broken");
    world.answer(HOME, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
}

#[test]
fn a_proof_holds_while_two_probes_are_missed_and_then_is_the_last_one() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    world.sleep(2 * EVERY + LOST_AFTER_MS - 1);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
    // Even if nobody has called the gate since.
    world.now += 1;
    assert_eq!(world.state(HOME), State::Unknown);
    let Told::LastVerified(told, why) = world.told() else {
        panic!("{:?}", world.told());
    };
    assert_eq!(told, address(HOME));
    assert_eq!(why.en, "it was proved before and is being probed again");
    world.answer(HOME, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
}

#[test]
fn what_cannot_be_proved_from_here_is_told_when_there_is_nothing_better() {
    let mut world = World::new(vec![candidate(NAME), candidate(HOME)]);
    world.answer(NAME, hairpin());
    world.answer(HOME, failed());
    let why = Said::same("no answer through the router");
    assert_eq!(world.told(), Told::Unverified(address(NAME), why));
    world.answer(HOME, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
}

#[test]
fn the_address_of_a_container_proves_nothing_until_a_phone_has_come_through_it() {
    let inside = "ws://172.18.0.2:8002";
    let mut world = World::new(vec![inside_container(inside)]);
    world.answer(inside, Outcome::Proved);
    assert_eq!(
        world.told(),
        Told::Unverified(address(inside), Said::same("inside a container"))
    );
    world
        .gate
        .handle_seen(&address(inside), Vantage::Phone, world.now);
    assert_eq!(world.told(), Told::Verified(address(inside)));
    // Its own proofs do not shorten that.
    world.answer(inside, Outcome::Proved);
    world.sleep(SEEN_FOR_MS - EVERY - 1);
    assert_eq!(world.told(), Told::Verified(address(inside)));
    world.sleep(EVERY + 1);
    assert!(matches!(world.told(), Told::LastVerified(..)));
}

#[test]
fn a_device_that_comes_through_is_believed_for_a_day_though_probes_from_here_fail() {
    let mut world = World::new(vec![candidate(NAME)]);
    world.answer(NAME, foreign());
    assert!(matches!(world.told(), Told::Nothing(_)));
    world
        .gate
        .handle_seen(&address(NAME), Vantage::Device, world.now);
    let seen = world.now;
    world.answer(NAME, foreign());
    world.answer(NAME, failed());
    assert_eq!(world.told(), Told::Verified(address(NAME)));
    assert!(matches!(
        world.state(NAME),
        State::Verified {
            by: Vantage::Device,
            ..
        }
    ));
    world.sleep(seen + SEEN_FOR_MS - world.now);
    world.answer(NAME, foreign());
    assert!(matches!(world.told(), Told::Nothing(_)));
}

#[test]
fn a_device_that_came_while_probes_succeeded_does_not_hide_that_something_else_took_the_place() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    world
        .gate
        .handle_seen(&address(HOME), Vantage::Device, world.now);
    world.answer(HOME, foreign());
    assert!(matches!(world.told(), Told::Nothing(_)));
}

#[test]
fn the_last_verified_address_is_told_after_the_machine_has_moved_until_the_new_one_is_proved() {
    let moved = "ws://192.168.1.33:8002";
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    world.gate.set_candidates(vec![candidate(moved)], world.now);
    assert_eq!(world.told().address(), Some(&address(HOME)));
    assert!(world.gate.states(world.now).iter().any(|s| s.former));
    world.answer(moved, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(moved)));
    assert_eq!(world.gate.states(world.now).len(), 1);
}

#[test]
fn an_address_that_is_no_candidate_any_more_is_forgotten_at_its_first_failure() {
    let moved = "ws://192.168.1.33:8002";
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    world.gate.set_candidates(vec![candidate(moved)], world.now);
    world.answer(HOME, failed());
    assert!(matches!(world.told(), Told::Nothing(_)));
    assert_eq!(world.gate.states(world.now).len(), 1);
}

#[test]
fn after_the_listener_has_moved_to_another_port_the_old_address_is_never_told() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    let moved = "ws://192.168.1.20:18002";
    world.gate.set_candidates(vec![candidate(moved)], world.now);
    assert!(matches!(world.told(), Told::Nothing(_)));
    world.answer(moved, Outcome::Proved);
    assert_eq!(world.told(), Told::Verified(address(moved)));
}

#[test]
fn an_address_that_now_leads_to_us_by_another_way_is_proved_anew() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    let forwarded = Candidate {
        via: Via::Proxy("front".to_string()),
        ..candidate(HOME)
    };
    world.gate.set_candidates(vec![forwarded], world.now);
    assert!(matches!(world.told(), Told::Nothing(_)));
}

#[test]
fn candidates_that_stay_keep_their_state() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    world
        .gate
        .set_candidates(vec![candidate(NAME), candidate(HOME)], world.now);
    assert_eq!(world.told(), Told::Verified(address(HOME)));
}

#[test]
fn what_was_verified_before_a_restart_is_told_until_a_probe_knows_better() {
    let mut world = World::new(vec![candidate(HOME), candidate(NAME)]);
    world.answer(NAME, Outcome::Proved);
    let kept = world.gate.last_verified();
    assert_eq!(kept, [(Listener::Http, address(NAME))]);

    let mut gate = Gate::new(GateSettings {
        verify_every_ms: EVERY,
    });
    for (listener, address) in kept {
        gate.restore(listener, address);
    }
    gate.set_candidates(vec![candidate(HOME), candidate(NAME)], 0);
    assert_eq!(
        gate.told(Listener::Http, Scheme::Ws, 0).address(),
        Some(&address(NAME))
    );
    gate.handle_outcome(&address(NAME), foreign(), 1);
    assert!(matches!(
        gate.told(Listener::Http, Scheme::Ws, 1),
        Told::Nothing(_)
    ));
}

#[test]
fn only_a_few_probes_are_on_their_way_and_a_lost_one_frees_its_place() {
    let all: Vec<Candidate> = (1..=6)
        .map(|n| candidate(&format!("ws://192.168.1.{n}:8002")))
        .collect();
    let mut world = World::new(all);
    let mut begun = Vec::new();
    while let Some(address) = world.gate.poll_probe(world.now) {
        begun.push(address.to_string());
    }
    assert_eq!(begun.len(), MAX_IN_FLIGHT);
    assert_eq!(begun[0], "ws://192.168.1.1:8002", "the preferred first");
    assert_eq!(world.gate.poll_timeout(), Some(LOST_AFTER_MS));
    world.wait();
    assert_eq!(
        world.gate.poll_probe(world.now),
        Some(address("ws://192.168.1.5:8002"))
    );
    // A lost probe says nothing about its address.
    assert_eq!(world.state("ws://192.168.1.1:8002"), State::Unknown);
}

#[test]
fn a_recheck_probes_everything_at_once_even_what_is_being_probed() {
    let mut world = World::new(vec![candidate(HOME), candidate(NAME)]);
    assert_eq!(world.gate.poll_probe(0), Some(address(HOME)));
    world.answer(NAME, Outcome::Proved);
    assert_eq!(world.gate.poll_probe(world.now), None);
    world.gate.recheck(world.now);
    assert_eq!(world.gate.poll_probe(world.now), Some(address(NAME)));
    assert_eq!(world.gate.poll_probe(world.now), None);
    world
        .gate
        .handle_outcome(&address(HOME), Outcome::Proved, world.now);
    assert_eq!(world.gate.poll_probe(world.now), Some(address(HOME)));
}

#[test]
fn every_change_of_a_state_is_reported_once() {
    let mut world = World::new(vec![candidate(HOME)]);
    world.answer(HOME, Outcome::Proved);
    world.answer(HOME, Outcome::Proved);
    for _ in 0..FAILURES {
        world.answer(HOME, failed());
    }
    let mut seen = Vec::new();
    while let Some(change) = world.gate.poll_change() {
        assert_eq!(change.address, address(HOME));
        seen.push((change.from.name(), change.to.name()));
    }
    assert_eq!(
        seen,
        [
            ("probing", "verified"),
            ("verified", "degraded"),
            ("degraded", "broken")
        ]
    );
}

#[test]
fn outcomes_for_strangers_are_passed_over() {
    let mut world = World::new(vec![candidate(HOME)]);
    world
        .gate
        .handle_outcome(&address(NAME), Outcome::Proved, 0);
    world.gate.handle_seen(&address(NAME), Vantage::Phone, 0);
    assert!(matches!(world.told(), Told::Nothing(_)));
    assert_eq!(world.gate.states(0).len(), 1);
}

/// What may happen to a gate.
#[derive(Debug, Clone)]
enum Event {
    Sleep(u64),
    Wake,
    Outcome(usize, u8),
    Seen(usize, bool),
    Candidates(u8),
    Recheck,
}

const ALL: [&str; 6] = [
    "ws://192.168.1.20:8002",
    "ws://192.168.1.33:8002",
    "ws://hub.example.com:443",
    "ws://172.18.0.2:8002",
    "http://192.168.1.20:8002",
    "http://hub.example.com:443",
];
/// The one that is marked.
const MARKED: usize = 3;

fn all_candidates(mask: u8) -> Vec<Candidate> {
    (0..ALL.len())
        .filter(|index| mask & (1 << index) != 0)
        .map(|index| match index {
            MARKED => inside_container(ALL[index]),
            _ => candidate(ALL[index]),
        })
        .collect()
}

fn event(sightings: bool) -> impl Strategy<Value = Event> {
    let seen = u32::from(sightings) * 2;
    prop_oneof![
        3 => prop_oneof![Just(1u64), 1_000..20_000u64, 200_000..700_000u64, Just(SEEN_FOR_MS)]
            .prop_map(Event::Sleep),
        4 => Just(Event::Wake),
        8 => (0..ALL.len(), 0..6u8).prop_map(|(which, how)| Event::Outcome(which, how)),
        seen => (0..ALL.len(), any::<bool>()).prop_map(|(which, by)| Event::Seen(which, by)),
        1 => any::<u8>().prop_map(Event::Candidates),
        1 => Just(Event::Recheck),
    ]
}

/// Plays events and holds what is told against an account of its own.
fn play(events: &[Event]) {
    let mut world = World::new(all_candidates(0xFF));
    // Ever verified, by proof or sighting; and of whom the last news from here
    // was that something else answers.
    let mut verified: BTreeSet<usize> = BTreeSet::new();
    let mut foreign_last: BTreeSet<usize> = BTreeSet::new();
    let mut in_flight: BTreeSet<AdvertisedAddress> = BTreeSet::new();
    for event in events {
        match event {
            Event::Sleep(ms) => world.sleep(*ms),
            Event::Wake => {
                if let Some(at) = world.gate.poll_timeout() {
                    world.now = world.now.max(at);
                }
                world.gate.handle_timeout(world.now);
                while let Some(address) = world.gate.poll_probe(world.now) {
                    in_flight.insert(address);
                }
                let next = world.gate.poll_timeout();
                assert!(
                    next.is_none_or(|next| next > world.now),
                    "{next:?} at {}",
                    world.now
                );
            }
            Event::Outcome(which, how) => {
                let address = address(ALL[*which]);
                if !in_flight.remove(&address) {
                    continue;
                }
                let known = world
                    .gate
                    .states(world.now)
                    .iter()
                    .any(|standing| standing.candidate.address == address);
                let outcome = match how {
                    0 | 1 => Outcome::Proved,
                    2 => foreign(),
                    3 | 4 => failed(),
                    _ => hairpin(),
                };
                match &outcome {
                    Outcome::Proved if known => {
                        foreign_last.remove(which);
                        if *which != MARKED {
                            verified.insert(*which);
                        }
                    }
                    Outcome::Foreign { .. } if known => {
                        foreign_last.insert(*which);
                    }
                    Outcome::Failed { .. } if known => {
                        foreign_last.remove(which);
                    }
                    _ => {}
                }
                world.gate.handle_outcome(&address, outcome, world.now);
            }
            Event::Seen(which, by_phone) => {
                let vantage = if *by_phone {
                    Vantage::Phone
                } else {
                    Vantage::Device
                };
                world
                    .gate
                    .handle_seen(&address(ALL[*which]), vantage, world.now);
                verified.insert(*which);
                foreign_last.remove(which);
            }
            Event::Candidates(mask) => {
                world.gate.set_candidates(all_candidates(*mask), world.now);
            }
            Event::Recheck => world.gate.recheck(world.now),
        }
        // What the gate has let go of begins anew when it comes back.
        let states = world.gate.states(world.now);
        foreign_last.retain(|which| {
            let known = |standing: &Standing| standing.candidate.address == address(ALL[*which]);
            states.iter().any(known)
        });
        let seen_ever = events.iter().any(|event| matches!(event, Event::Seen(..)));
        for scheme in [Scheme::Ws, Scheme::Http] {
            hold(
                &world,
                scheme,
                &verified,
                if seen_ever { None } else { Some(&foreign_last) },
            );
        }
    }
}

fn hold(
    world: &World,
    scheme: Scheme,
    verified: &BTreeSet<usize>,
    foreign_last: Option<&BTreeSet<usize>>,
) {
    let standings: Vec<Standing> = world
        .gate
        .states(world.now)
        .into_iter()
        .filter(|standing| standing.candidate.address.scheme() == scheme)
        .collect();
    for standing in &standings {
        if let State::Verified { until, .. } = standing.state {
            assert!(until > world.now, "a proof that has run out");
        }
    }
    let told = world.gate.told(Listener::Http, scheme, world.now);
    let Some(address) = told.address() else {
        let told_of = |s: &Standing| {
            matches!(
                s.state,
                State::Verified { .. }
                    | State::Degraded { .. }
                    | State::UnverifiableFromHere { .. }
            )
        };
        assert!(!standings.iter().any(told_of), "something could be told");
        return;
    };
    let which = ALL
        .iter()
        .position(|text| *text == address.to_string())
        .unwrap();
    let standing = standings
        .iter()
        .find(|standing| standing.candidate.address == *address)
        .expect("only known addresses are told");
    assert!(!matches!(standing.state, State::Broken { .. }), "{told:?}");
    let any_verified = standings
        .iter()
        .any(|standing| matches!(standing.state, State::Verified { .. }));
    if any_verified || !matches!(told, Told::Unverified(..)) {
        assert!(verified.contains(&which), "never verified: {told:?}");
    }
    if let Some(foreign_last) = foreign_last {
        assert!(
            !foreign_last.contains(&which),
            "something else is there: {told:?}"
        );
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_broken_address_is_never_told_and_proved_ones_go_first(
        events in proptest::collection::vec(event(false), 1..120)
    ) {
        play(&events);
    }

    #[test]
    fn the_same_holds_when_devices_and_phones_come_in_between(
        events in proptest::collection::vec(event(true), 1..120)
    ) {
        play(&events);
    }
}

#[test]
fn loopback_and_avoided_addresses_are_not_told_as_the_last_verified_ones() {
    // Listening here only at first, then for everybody.
    let mut world = World::new(vec![candidate("http://127.0.0.1:8002")]);
    let at = world.gate.poll_probe(0).expect("a probe");
    world.gate.handle_outcome(&at, Outcome::Proved, 0);
    world
        .gate
        .set_candidates(vec![candidate("http://192.168.1.20:8002")], 1);
    assert!(matches!(
        world.gate.told(Listener::Http, Scheme::Http, 1),
        Told::Nothing(_)
    ));
    // An address that moved may be told until the new one is looked at, but not one to be avoided.
    let mut world = World::new(vec![candidate("http://10.8.0.2:8002")]);
    let at = world.gate.poll_probe(0).expect("a probe");
    world.gate.handle_outcome(&at, Outcome::Proved, 0);
    world
        .gate
        .set_candidates(vec![candidate("http://192.168.1.20:8002")], 1);
    let told = |world: &World| world.gate.told(Listener::Http, Scheme::Http, 1);
    assert!(matches!(told(&world), Told::LastVerified(_, _)));
    world.gate.forget_former(|address| *address == at);
    assert!(matches!(told(&world), Told::Nothing(_)));
    // What is a candidate stays, whatever is unwanted.
    world.gate.forget_former(|_| true);
    assert_eq!(world.gate.states(1).len(), 1);
}
