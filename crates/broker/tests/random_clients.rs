//! Properties that hold for any clients, losses and returns: exactly once for QoS 2, at least
//! once for QoS 1, order, no ghost subscription, wills when due, retained messages, and nothing
//! left behind.
//!
//! `SAFEPORT_SEED=<number>` runs one seed of each plan; `SAFEPORT_SEEDS=<count>` runs more of
//! them than usual.

mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::crowd::{Crowd, Plan};

fn run(plan: &Plan) {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("SAFEPORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SAFEPORT_SEEDS").unwrap_or(150),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| Crowd::run(seed, plan))) {
            eprintln!("replay with SAFEPORT_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

#[test]
fn clients_of_one_broker_get_what_they_are_owed() {
    run(&Plan {
        brokers: 1,
        actors: 5,
        steps: 600,
        loyal: true,
        crashes: false,
    });
}

#[test]
fn clients_of_two_brokers_get_what_they_are_owed() {
    run(&Plan {
        brokers: 2,
        actors: 5,
        steps: 600,
        loyal: true,
        crashes: false,
    });
}

#[test]
fn clients_of_three_brokers_get_what_they_are_owed() {
    run(&Plan {
        brokers: 3,
        actors: 7,
        steps: 800,
        loyal: true,
        crashes: false,
    });
}

#[test]
fn members_of_a_shared_subscription_may_come_and_go() {
    run(&Plan {
        brokers: 3,
        actors: 6,
        steps: 600,
        loyal: false,
        crashes: false,
    });
}

#[test]
fn clients_get_what_they_are_owed_from_a_process_that_dies_again_and_again() {
    run(&Plan {
        brokers: 1,
        actors: 5,
        steps: 800,
        loyal: true,
        crashes: true,
    });
}

#[test]
fn clients_of_several_brokers_lose_nothing_when_their_process_dies() {
    run(&Plan {
        brokers: 3,
        actors: 6,
        steps: 800,
        loyal: true,
        crashes: true,
    });
}

#[test]
fn a_crowd_at_one_broker_that_dies_leaves_nothing_behind() {
    run(&Plan {
        brokers: 1,
        actors: 9,
        steps: 1_000,
        loyal: false,
        crashes: true,
    });
}

#[test]
fn a_crowd_at_one_broker_leaves_nothing_behind() {
    run(&Plan {
        brokers: 1,
        actors: 12,
        steps: 1_000,
        loyal: false,
        crashes: false,
    });
}
