//! The bodies of the fuzz targets about NTP on stable Rust: fixed seeds, then thousands of
//! mutations of them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../fuzz/src/ntp.rs"]
#[allow(unreachable_pub)]
mod ntp;

use dice::{Dice, rounds};

#[test]
fn mutated_questions_never_panic_and_no_answer_is_longer_than_its_question() {
    let mut dice = Dice(0x5AFE_0123);
    let plain = {
        let mut packet = vec![0; 48];
        packet[0] = 0x23;
        packet
    };
    let with_field = [plain.as_slice(), &[1, 4, 0, 36], &[7; 32]].concat();
    let with_key = [plain.as_slice(), &[0, 0, 0, 9], &[8; 16]].concat();
    let seeds = [plain, with_field, with_key];
    for seed in &seeds {
        ntp::packet(seed);
    }
    for _ in 0..rounds(50_000) {
        let mut packet = seeds[dice.below(seeds.len())].clone();
        for _ in 0..1 + dice.below(4) {
            match dice.below(4) {
                0 => packet.truncate(dice.below(packet.len() + 1)),
                1 => packet.extend((0..dice.below(64)).map(|_| 0)),
                _ => {
                    if !packet.is_empty() {
                        let at = dice.below(packet.len());
                        packet[at] = dice.next() as u8;
                    }
                }
            }
        }
        ntp::packet(&packet);
    }
}

#[test]
fn no_rhythm_of_questions_gets_more_answers_than_its_share() {
    let mut dice = Dice(7);
    for _ in 0..500 {
        let askers = 1 + dice.below(20) as u64;
        let events: Vec<u8> = (0..300)
            .flat_map(|_| {
                let who = (dice.next() % askers) as u8;
                [who, 0, dice.next() as u8 % 32]
            })
            .collect();
        ntp::rhythm(&events);
    }
}
