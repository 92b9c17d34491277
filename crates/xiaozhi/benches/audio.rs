//! Nanoseconds for what happens to each packet of sound, without sockets.
//!
//! `cargo bench -p safeport-xiaozhi`. Each figure is the fastest of 100 rounds of half a
//! millisecond: there are no queues here, so the fastest round is the one that the machine
//! disturbed least. Beside a goal of 20 µs for a UDP packet with its system calls.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use safeport_xiaozhi::{
    AudioChannel, AudioHeader, AudioKey, OpusPacket, Repacketizer, Time, is_plausible_opus,
};

const ROUNDS: usize = 100;
const ROUND: Duration = Duration::from_micros(500);
/// SILK wideband mono, one frame of 60 ms.
const SPEECH: u8 = 0x58;

fn main() {
    println!("{:<44} {:>8} {:>8} {:>8}", "ns", "40 B", "120 B", "1300 B");
    row("receive: find, decrypt, judge, accept", receive);
    row("send: encrypt and number", send);
    row("find the frames of a packet", |size| {
        let packet = vec![SPEECH; size.min(1275)];
        fastest(|| OpusPacket::parse(black_box(&packet)).map(|packet| packet.duration_micros()))
    });
    row("the same of three frames, and its padding", |size| {
        let mut packet = vec![0x4b, 3];
        packet.resize(2 + size / 3 * 3, 1);
        fastest(|| is_plausible_opus(black_box(&packet)))
    });
    row("three packets of 20 ms into one of 60", |size| {
        let packet = vec![0x48; size.min(1275) / 3];
        let mut machine = Repacketizer::new(Duration::from_millis(60), 4096);
        let mut out = Vec::new();
        fastest(|| {
            for _ in 0..3 {
                machine.push(black_box(&packet)).expect("room");
            }
            machine.take(&mut out)
        })
    });
}

fn row(name: &str, measure: impl Fn(usize) -> f64) {
    let [small, usual, large] = [40, 120, 1300].map(measure);
    println!("{name:<44} {small:>8.0} {usual:>8.0} {large:>8.0}");
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 9))
}

fn receive(size: usize) -> f64 {
    let key = AudioKey::new([7; 16], 1);
    let mut channel = AudioChannel::new(key.clone(), Time(0));
    let mut sequence = 0;
    let mut datagram = vec![0; 16 + size];
    // Frames of 60 ms have at most 1275 bytes; a larger packet has three of 20 ms.
    let mut sound = vec![if size < 1275 { SPEECH } else { 0x4b }; size];
    sound[1] = 3;
    sound.truncate(2 + (size - 2) / 3 * 3);
    datagram.truncate(16 + sound.len());
    let writing = |sequence: u32, datagram: &mut [u8]| {
        let header = AudioHeader {
            length: sound.len() as u16,
            ssrc: 1,
            timestamp: 0,
            sequence,
        };
        let (head, body) = datagram.split_first_chunk_mut().expect("a header");
        *head = header.write();
        body.copy_from_slice(&sound);
        key.apply(head, body);
    };
    // What it takes to make a datagram is measured and taken off.
    let both = fastest(|| {
        sequence += 1;
        writing(sequence, &mut datagram);
        channel
            .receive(black_box(&mut datagram), address())
            .expect("speech")
            .sequence
    });
    let made = fastest(|| {
        sequence += 1;
        writing(sequence, black_box(&mut datagram));
    });
    both - made
}

fn send(size: usize) -> f64 {
    let key = AudioKey::new([7; 16], 1);
    let mut channel = AudioChannel::new(key.clone(), Time(0));
    let header = AudioHeader {
        length: 1,
        ssrc: 1,
        timestamp: 0,
        sequence: 1,
    };
    let mut first = header.write().to_vec();
    let mut sound = [SPEECH];
    key.apply(&header.write(), &mut sound);
    first.extend(sound);
    channel.receive(&mut first, address()).expect("speech");
    let packet = vec![SPEECH; size];
    let mut out = Vec::new();
    fastest(|| {
        out.clear();
        channel
            .write(black_box(&packet), 0, &mut out, Time(0))
            .expect("room")
    })
}

/// Nanoseconds of the fastest round.
fn fastest<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (start, mut count) = (Instant::now(), 0u32);
        let elapsed = loop {
            for _ in 0..16 {
                black_box(work());
            }
            count += 16;
            let elapsed = start.elapsed();
            if elapsed >= ROUND {
                break elapsed;
            }
        };
        best = best.min(elapsed.as_nanos() as f64 / f64::from(count));
    }
    best
}
