//! The promise, at every point where the process or the power can go: a broker whose records go
//! to a log on a disk that tears, loses, reorders and runs full is stopped at each operation of
//! that disk, and read back.
//!
//! `SAFEPORT_SEED=<number>` runs one seed of each plan; `SAFEPORT_SEEDS=<count>` runs more of
//! them than usual.

mod rig;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use rig::{Ending, Plan, Rig};

/// Runs a plan to its end once, then once more for each operation of the disk, which ends there.
fn stop_everywhere(plan: Plan) {
    let number = |name| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("SAFEPORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SAFEPORT_SEEDS").unwrap_or(6),
    };
    let mut points = 0;
    for seed in seeds {
        let whole = Rig::live(seed, plan, None);
        for operation in 0..whole {
            let run = || Rig::live(seed, plan, Some(operation));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                eprintln!("seed {seed}, stopped in operation {operation} of {whole}: {plan:?}");
                resume_unwind(panic);
            }
        }
        points += whole;
    }
    assert!(points > 100, "{points} places are no test");
}

const PLAN: Plan = Plan {
    turns: 50,
    ending: Ending::Kill,
    faults: false,
    checkpoints: true,
};

#[test]
fn what_was_appended_is_there_wherever_the_process_is_killed() {
    stop_everywhere(PLAN);
}

#[test]
fn what_was_synced_is_there_wherever_the_power_goes() {
    stop_everywhere(Plan {
        ending: Ending::PowerCut,
        ..PLAN
    });
}

#[test]
fn a_disk_that_runs_full_or_fails_takes_nothing_back_when_the_process_is_killed() {
    stop_everywhere(Plan {
        faults: true,
        ..PLAN
    });
}

#[test]
fn a_disk_that_runs_full_or_fails_takes_nothing_back_when_the_power_goes() {
    stop_everywhere(Plan {
        ending: Ending::PowerCut,
        faults: true,
        ..PLAN
    });
}

#[test]
fn without_writing_anew_the_same_holds() {
    stop_everywhere(Plan {
        ending: Ending::PowerCut,
        checkpoints: false,
        ..PLAN
    });
}
