//! Microseconds of each part that a packet of sound goes through, without a server around it.
//!
//! `cargo bench -p safeport-voice --bench ear`; `-- --json` for programs, and `--samples=FILE` writes down what
//! is encoded (16 bit, 24 kHz), for a voice that a server is measured with. One packet is 60 ms of recorded
//! speech. `alone` is one microphone whose state stays in the processor's cache; `among 100` takes 100
//! of them in turn, as a server that listens to 100 devices does: each has 30 kB of state, and finds
//! little of it in the cache. Time is CPU time, as the figures of a server are. A round is the whole
//! sentence for everybody; each figure is the median of 5 rounds, with the least beside it.

use std::fs;
use std::hint::black_box;

use safeport_voice::{Decoder, Ear, Encoder, Patience, Rate, Vad};

const ROUNDS: usize = 5;
const CROWD: usize = 100;
/// Packets of the sentence.
const SENTENCE: usize = 45;
/// How often one that is alone hears it in a round.
const AGAIN: usize = 40;

fn main() {
    let packets = recording();
    let parts = [
        ("decode", "libopus decodes to 16 kHz", decode as Part),
        ("vad", "earshot scores it", vad),
        ("ear", "both, and the end of speech", ear),
        ("encode", "libopus encodes 24 kHz at complexity 5", encode),
    ];
    let json = std::env::args().any(|argument| argument == "--json");
    for argument in std::env::args() {
        if let Some(file) = argument.strip_prefix("--samples=") {
            let samples = samples(&packets, Rate::Hz24000).concat();
            let bytes: Vec<u8> = samples.into_iter().flat_map(i16::to_le_bytes).collect();
            fs::write(file, bytes).expect("a place to write to");
        }
    }
    let mut found = serde_json::Map::new();
    if !json {
        println!(
            "{:<42} {:>16} {:>16}",
            "µs for 60 ms, median (least)", "alone", "among 100"
        );
    }
    for (key, words, part) in parts {
        let [alone, among] = [1, CROWD].map(|crowd| part(&packets, crowd));
        if json {
            found.insert(
                key.to_owned(),
                serde_json::json!({"alone": alone.median, "among_100": among.median, "least": alone.least}),
            );
        } else {
            println!("{words:<42} {:>16} {:>16}", alone.words(), among.words());
        }
    }
    if json {
        println!("{}", serde_json::Value::from(found));
    }
}

type Part = fn(&[Vec<u8>], usize) -> Figure;

struct Figure {
    median: f64,
    least: f64,
}

impl Figure {
    fn words(&self) -> String {
        format!("{:.1} ({:.1})", self.median, self.least)
    }
}

/// The packets of a spoken sentence, without the quiet behind it.
fn recording() -> Vec<Vec<u8>> {
    let mut rest: &[u8] = include_bytes!("../tests/speech/lamp.en.packets");
    let mut packets = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (packet, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
        packets.push(packet.to_vec());
        rest = behind;
    }
    packets.truncate(SENTENCE);
    packets
}

/// The same as samples, 60 ms each.
fn samples(packets: &[Vec<u8>], rate: Rate) -> Vec<Vec<i16>> {
    let mut decoder = Decoder::new(rate).expect("memory");
    packets
        .iter()
        .map(|packet| {
            let mut samples = Vec::new();
            decoder.decode(packet, &mut samples).expect("Opus");
            samples
        })
        .collect()
}

fn decode(packets: &[Vec<u8>], crowd: usize) -> Figure {
    let mut samples = Vec::new();
    measure(
        crowd,
        || Decoder::new(Rate::Hz16000).expect("memory"),
        |decoder, number| {
            samples.clear();
            let packet = &packets[number % packets.len()];
            decoder
                .decode(black_box(packet), &mut samples)
                .expect("Opus");
        },
    )
}

fn vad(packets: &[Vec<u8>], crowd: usize) -> Figure {
    let frames = samples(packets, Rate::Hz16000);
    measure(crowd, Vad::default, |vad, number| {
        vad.hear(black_box(&frames[number % frames.len()]), |score| {
            black_box(score);
        });
    })
}

fn ear(packets: &[Vec<u8>], crowd: usize) -> Figure {
    measure(
        crowd,
        || Ear::new(Patience::default()).expect("memory"),
        |ear, number| {
            let packet = &packets[number % packets.len()];
            ear.hear(black_box(packet), |change| {
                black_box(change);
            })
            .expect("Opus");
        },
    )
}

fn encode(packets: &[Vec<u8>], crowd: usize) -> Figure {
    let frames = samples(packets, Rate::Hz24000);
    let mut packet = Vec::new();
    measure(
        crowd,
        || Encoder::new(Rate::Hz24000).expect("memory"),
        |encoder, number| {
            packet.clear();
            let frame = &frames[number % frames.len()];
            encoder
                .encode(black_box(frame), &mut packet)
                .expect("sound");
        },
    )
}

/// Gives packet after packet of the sentence to each of a crowd in turn.
fn measure<T>(crowd: usize, each: impl Fn() -> T, mut work: impl FnMut(&mut T, usize)) -> Figure {
    let mut crowd: Vec<T> = (0..crowd).map(|_| each()).collect();
    let packets = match crowd.len() {
        1 => SENTENCE * AGAIN,
        _ => SENTENCE,
    };
    let mut round = || {
        let start = cpu_time();
        for number in 0..packets {
            // Nobody says what the one before has just said.
            for (ahead, one) in crowd.iter_mut().enumerate() {
                work(one, number + ahead);
            }
        }
        (cpu_time() - start) / (packets * crowd.len()) as f64
    };
    // The first warms up.
    round();
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    Figure {
        median: rounds[ROUNDS / 2],
        least: rounds[0],
    }
}

/// Microseconds that this thread has been on a processor, to the last tick: a round is many of them.
fn cpu_time() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstat");
    let nanoseconds = text
        .split(' ')
        .next()
        .and_then(|first| first.parse::<u64>().ok());
    nanoseconds.expect("time on a processor") as f64 / 1e3
}
