//! The body of the fuzz target on stable Rust: files of every kind, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/images.rs"]
#[allow(dead_code, unreachable_pub)]
mod images;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use std::panic::{catch_unwind, resume_unwind};

#[test]
fn no_mutation_of_an_image_panics_or_is_judged_by_the_pieces_in_which_it_came() {
    let rounds = std::env::var("FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_500);
    let only = std::env::var("SAFEPORT_SEED")
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    let seeds = images::seeds();
    for seed in only.map_or(0..rounds, |seed| seed..seed + 1) {
        let mut dice = Dice(seed);
        let mut bytes = seeds[seed as usize % seeds.len()].clone();
        if seed as usize >= seeds.len() {
            dice.mutate(&mut bytes);
        }
        if let Err(panic) = catch_unwind(|| images::inspection(&bytes)) {
            eprintln!("replay with SAFEPORT_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

/// A generator of numbers that is the same on every machine (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Changes a few bytes, mostly in headers, cuts, repeats or appends.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            let near = [64, 512, 0x1020, bytes.len() + 1][self.below(4)];
            let at = self.below(near.min(bytes.len() + 1));
            let byte = [0, 1, 0x10, 0x7F, 0x80, 0xE9, 0xFF, self.next() as u8][self.below(8)];
            match (self.below(6), at < bytes.len()) {
                (0 | 1, true) => bytes[at] = byte,
                (2, true) => bytes[at] ^= 1 << self.below(8),
                (3, true) => drop(bytes.remove(at)),
                (4, true) => bytes.truncate(at),
                _ => bytes.insert(at, byte),
            }
        }
    }
}
