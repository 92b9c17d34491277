//! The bodies of the fuzz targets on stable Rust: recorded answers and typed places, then thousands of
//! mutations of them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

use crate::answers::recorded;
use crate::{flight, target};

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
        (self.next() % end.max(1) as u64) as usize
    }

    fn mutated(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut data = seeds[self.below(seeds.len())].clone();
        for _ in 0..1 + self.below(4) {
            let at = self.below(data.len());
            match self.below(5) {
                0 => data.truncate(at),
                1 => {
                    let other = &seeds[self.below(seeds.len())];
                    data.extend_from_slice(&other[self.below(other.len())..]);
                }
                2 if at < data.len() => drop(data.remove(at)),
                3 => data.insert(at, self.next() as u8),
                _ if at < data.len() => data[at] = self.next() as u8,
                _ => {}
            }
        }
        data
    }
}

fn rounds(usual: usize) -> usize {
    let wished = std::env::var("FUZZ_ROUNDS").ok();
    wished.and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn whatever_a_server_answers_every_device_comes_to_a_verdict() {
    let servers = ["good", "ecdsa", "split", "tls13-only", "client-certificate"];
    let mut seeds: Vec<Vec<u8>> = servers
        .iter()
        .flat_map(|server| recorded(server))
        .map(|(_, _, bytes)| [&[2], &bytes[..]].concat())
        .collect();
    seeds.push(b"\x00HTTP/1.1 400 Bad Request\r\n".to_vec());
    seeds.push(b"\x01SSH-2.0-OpenSSH_9.2p1\r\n".to_vec());
    for seed in &seeds {
        flight::answer(seed);
    }
    let mut dice = Dice(0x5AFE_0070);
    for _ in 0..rounds(3_000) {
        flight::answer(&dice.mutated(&seeds));
    }
}

#[test]
fn whatever_is_typed_is_read_or_refused_and_shown_without_secrets() {
    let seeds: Vec<Vec<u8>> = [
        "http://192.168.1.5:8002/xiaozhi/ota/",
        "http：//192.168.1.5：8002/xiaozhi/ota/?token=abc",
        "wss://voice.example/xiaozhi/v1/:8000",
        "mqtt://user:secret@hub.example:1883",
        "[fd00::5%eth0]:8443/a.bin#top",
        "htpp//hub.local 8002",
        "192.168.1.5.8002",
        "https:\\\\hub.example;8002\\ota",
    ]
    .iter()
    .map(|seed| seed.as_bytes().to_vec())
    .collect();
    let mut dice = Dice(0x5AFE_0071);
    for seed in &seeds {
        target::typed(seed);
    }
    for _ in 0..rounds(30_000) {
        target::typed(&dice.mutated(&seeds));
    }
}
