//! The body of the broker's fuzz target on stable Rust, over fixed random operations.
//! `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/broker.rs"]
#[allow(dead_code, unreachable_pub)]
mod broker;
#[path = "../../../fuzz/src/packets.rs"]
#[allow(dead_code, unreachable_pub)]
mod packets;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use std::panic::{catch_unwind, resume_unwind};

#[test]
fn random_operations_never_panic_and_leave_nothing_behind() {
    rounds(broker::operations);
}

#[test]
fn no_bytes_make_a_broker_panic_that_reads_them_back() {
    rounds(broker::records);
}

fn rounds(body: fn(&[u8])) {
    let rounds = std::env::var("FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(3_000);
    let only = std::env::var("SAFEPORT_SEED")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let seeds = only.map_or(0..rounds, |seed| seed..seed + 1);
    for seed in seeds {
        let mut state = seed;
        let bytes: Vec<u8> = (0..200 + seed % 1_000)
            .map(|_| {
                // SplitMix64
                state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let mut z = state;
                z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                (z ^ (z >> 31)) as u8
            })
            .collect();
        if let Err(panic) = catch_unwind(|| body(&bytes)) {
            eprintln!("replay with SAFEPORT_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
