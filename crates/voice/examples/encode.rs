//! Raw samples (16 bit, little end first, 16 kHz, mono) on standard input become Opus packets of 60 ms
//! on standard output, each behind its length in two bytes, big end first. The recordings in
//! `tests/speech` were made with it.

use std::io::{Read, Write};

use safeport_voice::{Encoder, Rate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let mut samples: Vec<i16> = bytes
        .chunks_exact(2)
        .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let frame = Rate::Hz16000.samples(60);
    samples.resize(samples.len().next_multiple_of(frame), 0);
    let mut encoder = Encoder::new(Rate::Hz16000)?;
    let mut out = std::io::stdout().lock();
    for frame in samples.chunks(frame) {
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet)?;
        out.write_all(&u16::try_from(packet.len())?.to_be_bytes())?;
        out.write_all(&packet)?;
    }
    Ok(())
}
