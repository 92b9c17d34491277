//! The bodies of the fuzz targets on stable Rust: recorded answers and typed places, then thousands of
//! mutations of them. The same every time; `FUZZ_ROUNDS=1000000` for a long evening.

use crate::answers::recorded;
use crate::dice::{Dice, rounds};
use crate::{flight, target};

fn mutated(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds[dice.below(seeds.len())].clone();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(data.len());
        match dice.below(5) {
            0 => data.truncate(at),
            1 => {
                let other = &seeds[dice.below(seeds.len())];
                data.extend_from_slice(&other[dice.below(other.len())..]);
            }
            2 if at < data.len() => drop(data.remove(at)),
            3 => data.insert(at, dice.next() as u8),
            _ if at < data.len() => data[at] = dice.next() as u8,
            _ => {}
        }
    }
    data
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
        flight::answer(&mutated(&mut dice, &seeds));
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
        target::typed(&mutated(&mut dice, &seeds));
    }
}
