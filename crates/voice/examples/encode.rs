//! Raw samples (16 bit, little end first, mono) on standard input become Opus packets of 60 ms on standard output, each
//! behind its length in two bytes, big end first.
//!
//! Without an argument the samples are taken for 16 kHz, as microphones of devices send them: so were the recordings in
//! `tests/speech` made. With their rate as the argument they become packets for loudspeakers, at 24 kHz: so was what lies
//! in `prompts` made.

use std::io::{Read, Write};
use std::sync::Arc;

use safeport_voice::{Encoder, Packer, Rate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let samples: Vec<i16> = bytes
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let packets = match std::env::args().nth(1) {
        Some(rate) => for_loudspeakers(rate.parse()?, &samples)?,
        None => as_from_microphones(samples)?,
    };
    let mut out = std::io::stdout().lock();
    for packet in packets {
        out.write_all(&u16::try_from(packet.len())?.to_be_bytes())?;
        out.write_all(&packet)?;
    }
    Ok(())
}

fn as_from_microphones(
    mut samples: Vec<i16>,
) -> Result<Vec<Arc<[u8]>>, Box<dyn std::error::Error>> {
    let frame = Rate::Hz16000.samples(60);
    samples.resize(samples.len().next_multiple_of(frame), 0);
    let mut encoder = Encoder::new(Rate::Hz16000)?;
    let mut packets = Vec::new();
    for frame in samples.chunks(frame) {
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet)?;
        packets.push(packet.into());
    }
    Ok(packets)
}

fn for_loudspeakers(
    rate: u32,
    samples: &[i16],
) -> Result<Vec<Arc<[u8]>>, Box<dyn std::error::Error>> {
    let mut packer = Packer::new()?;
    let mut packets = Vec::new();
    packer.push(rate, samples, |packet| packets.push(packet))?;
    packer.finish(|packet| packets.push(packet))?;
    Ok(packets)
}
