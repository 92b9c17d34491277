//! The bodies of the fuzz targets on stable Rust: fixed seeds, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../fuzz/src/mqtt.rs"]
#[allow(dead_code, unreachable_pub)]
mod mqtt;
#[path = "../../../fuzz/src/packets.rs"]
#[allow(dead_code, unreachable_pub)]
mod packets;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use dice::{Dice, each, rounds};
use packets::with_packet;
use source::Source;

/// Runs `body` on the seeds and on mutations of them: about a second.
fn attack(body: fn(&[u8]), seeds: &[Vec<u8>]) {
    // Values at which lengths, flags and codes turn.
    let meaningful = [0, 1, 2, 3, 0x7F, 0x80, 0xFF];
    dice::attack(body, seeds, &each(&meaningful), rounds(20_000));
}

/// Encoded packets of all versions, with the two bytes in front that choose version and limit.
fn packet_seeds() -> Vec<Vec<u8>> {
    let mut dice = Dice(7);
    let mut seeds = Vec::new();
    while seeds.len() < 600 {
        let choices = dice.bytes(400);
        with_packet(&mut Source::new(&choices), |version, packet| {
            let mut seed = vec![5 - version as u8, 0];
            packet.encode(version, &mut seed).expect("a valid packet");
            // Now and then a second packet behind the first.
            if seeds.len() % 5 == 0 {
                packet.encode(version, &mut seed).expect("a valid packet");
            }
            if seed.len() < 2000 {
                seeds.push(seed);
            }
        });
    }
    seeds
}

fn choice_seeds() -> Vec<Vec<u8>> {
    let mut dice = Dice(11);
    (0..400).map(|_| dice.bytes(300)).collect()
}

#[test]
fn mutated_packets_never_panic_and_what_is_accepted_survives_a_round_trip() {
    attack(mqtt::decode_stream, &packet_seeds());
}

#[test]
fn random_bytes_never_panic() {
    attack(mqtt::decode_stream, &choice_seeds());
}

#[test]
fn every_packet_survives_encoding_and_decoding_and_its_prefixes_are_incomplete() {
    attack(mqtt::round_trip, &choice_seeds());
}

#[test]
fn matching_and_covering_agree_with_a_slow_reading_of_the_specification() {
    attack(mqtt::topic_filter, &choice_seeds());
}
