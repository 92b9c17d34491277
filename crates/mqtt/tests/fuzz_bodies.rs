//! The bodies of the fuzz targets on stable Rust: fixed seeds, then thousands of mutations of
//! them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

#[path = "../../../fuzz/src/mqtt.rs"]
#[allow(dead_code, unreachable_pub)]
mod mqtt;
#[path = "../../../fuzz/src/packets.rs"]
#[allow(dead_code, unreachable_pub)]
mod packets;
#[path = "../../../fuzz/src/source.rs"]
#[allow(dead_code, unreachable_pub)]
mod source;

use packets::with_packet;
use source::Source;

/// Mutations of each target. Default 20,000, about a second.
fn rounds() -> usize {
    std::env::var("FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000)
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

    fn bytes(&mut self, max: usize) -> Vec<u8> {
        (0..self.below(max + 1))
            .map(|_| self.next() as u8)
            .collect()
    }

    /// Changes, inserts, removes or repeats a few bytes.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(3) {
            let at = self.below(bytes.len() + 1);
            // Values at which lengths, flags and codes turn.
            let byte = [0, 1, 2, 3, 0x7F, 0x80, 0xFF, self.next() as u8][self.below(8)];
            match (self.below(4), at < bytes.len()) {
                (0 | 3, true) => bytes[at] = byte,
                (1, true) => drop(bytes.remove(at)),
                (2, true) => bytes[at] ^= 1 << self.below(8),
                _ => bytes.insert(at, byte),
            }
        }
    }
}

/// Runs `body` on the seeds and on mutations of them.
fn attack(body: fn(&[u8]), seeds: &[Vec<u8>]) {
    let mut dice = Dice(0x5AFE_0047);
    for seed in seeds {
        body(seed);
    }
    for _ in 0..rounds() {
        let mut bytes = seeds[dice.below(seeds.len())].clone();
        dice.mutate(&mut bytes);
        body(&bytes);
    }
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
