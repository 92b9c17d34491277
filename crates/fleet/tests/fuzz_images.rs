//! The body of the fuzz target on stable Rust: files of every kind, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../fuzz/src/images.rs"]
#[allow(dead_code, unreachable_pub)]
mod images;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use std::panic::{catch_unwind, resume_unwind};

use dice::{Dice, rounds};

#[test]
fn no_mutation_of_an_image_panics_or_is_judged_by_the_pieces_in_which_it_came() {
    let only = std::env::var("SAFEPORT_SEED")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let seeds = images::seeds();
    for seed in only.map_or(0..rounds(1_500) as u64, |seed| seed..seed + 1) {
        let mut dice = Dice(seed);
        let mut bytes = seeds[seed as usize % seeds.len()].clone();
        if seed as usize >= seeds.len() {
            mutate(&mut dice, &mut bytes);
        }
        if let Err(panic) = catch_unwind(|| images::inspection(&bytes)) {
            eprintln!("replay with SAFEPORT_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// Changes a few bytes, mostly in headers, cuts, repeats or appends.
fn mutate(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..1 + dice.below(3) {
        let near = [64, 512, 0x1020, bytes.len() + 1][dice.below(4)];
        let at = dice.below(near.min(bytes.len() + 1));
        let byte = [0, 1, 0x10, 0x7F, 0x80, 0xE9, 0xFF, dice.next() as u8][dice.below(8)];
        match (dice.below(6), at < bytes.len()) {
            (0 | 1, true) => bytes[at] = byte,
            (2, true) => bytes[at] ^= 1 << dice.below(8),
            (3, true) => drop(bytes.remove(at)),
            (4, true) => bytes.truncate(at),
            _ => bytes.insert(at, byte),
        }
    }
}
