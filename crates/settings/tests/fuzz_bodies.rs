//! The bodies of the fuzz targets on stable Rust: fixed seeds, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/address.rs"]
#[allow(dead_code, unreachable_pub)]
mod address;
#[path = "../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use dice::{Dice, each, rounds};

/// Runs `body` on the seeds and on mutations of them: about a second.
fn attack(body: fn(&[u8]), seeds: &[Vec<u8>], meaningful: &[u8]) {
    dice::attack(body, seeds, &each(meaningful), rounds(20_000));
}

#[test]
fn mutated_addresses_never_panic_and_what_is_accepted_reads_back_as_itself() {
    let seeds = [
        "ws://192.168.1.20:8002",
        "HTTPS://Hub.example.com/",
        "mqtts://[fd00::20]:8883",
        "http://[::ffff:192.0.2.1]:80",
        "ws://192.168.1:4",
        "fd00::20",
        "hub.local",
        "ws：//192。168。1。20：8002",
    ]
    .map(|text| text.as_bytes().to_vec());
    attack(address::parse, &seeds, b":/[].@%?#0123456789afx- \\");
}

#[test]
fn the_gate_tells_nothing_broken_whatever_happens_in_whatever_order() {
    let mut dice = Dice(11);
    let seeds: Vec<Vec<u8>> = (0..200)
        .map(|_| {
            let events = 1 + dice.below(120);
            (0..events).map(|_| dice.next() as u8).collect()
        })
        .collect();
    attack(address::gate, &seeds, &[0, 1, 2, 3, 4, 5, 6, 7]);
}
