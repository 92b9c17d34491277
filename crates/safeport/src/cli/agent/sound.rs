//! Recordings that an agent is to hear, and what it says, as files.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use safeport_voice::{Decoder, Rate};

use crate::console::Failure;
use crate::limits::TRY_RECORDING;
use crate::say;
use crate::text::Texts;

/// The samples of a WAV file: 16 bit, mono, 16,000 a second.
pub(super) fn read(file: &Path, texts: &Texts) -> Result<Vec<i16>, Failure> {
    let failed = |why: String| {
        Failure::usage(say!(texts, "recording-unusable", file = file.display()))
            .detail(why)
            .next(say!(texts, "recording-next"))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|open| open.take(TRY_RECORDING + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > TRY_RECORDING {
        return Err(failed(format!("it has more than {TRY_RECORDING} bytes")));
    }
    samples(&bytes).map_err(|why| failed(why.to_owned()))
}

fn samples(bytes: &[u8]) -> Result<Vec<i16>, &'static str> {
    let (riff, mut rest) = bytes.split_at_checked(12).ok_or("it is no WAV file")?;
    if !riff.starts_with(b"RIFF") || !riff.ends_with(b"WAVE") {
        return Err("it is no WAV file");
    }
    let mut fits = false;
    while let Some((head, after)) = rest.split_at_checked(8) {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        // A recorder that was stopped did not write how long the data is.
        let (body, next) = after.split_at(length.min(after.len()));
        match &head[..4] {
            b"fmt " => {
                let word = |at: usize| {
                    body.get(at..at + 2)
                        .map(|two| u16::from_le_bytes([two[0], two[1]]))
                };
                let rate = body
                    .get(4..8)
                    .map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
                fits = (word(0), word(2), rate, word(14))
                    == (Some(1), Some(1), Some(16_000), Some(16));
            }
            b"data" if fits => {
                let (pairs, _) = body.as_chunks::<2>();
                return Ok(pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect());
            }
            b"data" => return Err("it is not 16 bit, mono, 16,000 samples a second"),
            _ => {}
        }
        // Chunks begin at even places.
        rest = next.get(length % 2..).unwrap_or_default();
    }
    Err("there is no sound in it")
}

/// Writes packets of Opus as WAV, 24,000 samples a second.
pub(super) fn write(file: &Path, packets: &[Arc<[u8]>], texts: &Texts) -> Result<(), Failure> {
    let failed = |why: String| {
        Failure::new(say!(texts, "answer-unwritten", file = file.display())).detail(why)
    };
    let mut samples = Vec::new();
    let mut decoder = Decoder::new(Rate::Hz24000).map_err(|error| failed(error.to_string()))?;
    for packet in packets {
        decoder
            .decode(packet, &mut samples)
            .map_err(|error| failed(error.to_string()))?;
    }
    std::fs::write(file, wav(&samples)).map_err(|error| failed(error.to_string()))
}

/// The samples behind the head of a WAV file.
fn wav(samples: &[i16]) -> Vec<u8> {
    let rate = Rate::Hz24000.hertz() as u32;
    let length = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(44 + samples.len() * 2);
    bytes.extend(b"RIFF");
    bytes.extend(length.saturating_add(36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 2).to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(length.to_le_bytes());
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_read_and_one_of_another_form_is_told_from_it() {
        let mut file = wav(&[1, -2, 3]);
        assert!(samples(&file).is_err(), "24,000 samples a second");
        file[24..28].copy_from_slice(&16_000_u32.to_le_bytes());
        assert_eq!(samples(&file), Ok(vec![1, -2, 3]));
        // Stopped while it was written, and with a chunk before the sound.
        let mut cut = file[..36].to_vec();
        cut.extend(b"LIST\x03\0\0\0abc\0");
        cut.extend(b"data\xff\xff\xff\xff\x01\0\x02\0\x03");
        assert_eq!(samples(&cut), Ok(vec![1, 2]));
        for bad in [&b"RIFF"[..], b"OggS00000000", &file[..36]] {
            assert!(samples(bad).is_err());
        }
    }
}
