use proptest::prelude::*;

use super::*;
use crate::wav::wav;

const PCM: SpeechFormat = SpeechFormat::Pcm { rate: 24_000 };

/// The rate and the samples of a sound in these pieces.
fn read<'a>(
    asked: SpeechFormat,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(u32, Vec<i16>), UnreadableSound> {
    let mut reader = SoundReader::new(asked);
    let mut sound = Vec::new();
    for piece in pieces {
        reader.feed(piece, &mut sound)?;
    }
    reader.finish()?;
    let mut all = (0, Vec::new());
    for piece in sound {
        let Sound::Samples { rate, samples } = piece else {
            panic!("no samples");
        };
        assert!(all.0 == 0 || all.0 == rate);
        assert!(!samples.is_empty());
        all.0 = rate;
        all.1.extend(samples);
    }
    Ok(all)
}

#[test]
fn a_wav_is_read_even_where_bare_samples_were_asked_for() {
    let samples = [1, -2, 300, i16::MIN];
    let bytes = wav(16_000, &samples);
    for asked in [PCM, SpeechFormat::Wav, SpeechFormat::Opus] {
        assert_eq!(read(asked, [&bytes[..]]), Ok((16_000, samples.to_vec())));
    }
}

#[test]
fn what_is_no_sound_says_what_it_is() {
    let error = |asked, bytes: &[u8]| read(asked, [bytes]).expect_err("no sound");
    assert_eq!(error(PCM, b""), UnreadableSound::Nothing);
    assert_eq!(error(PCM, b"ID3\x04...."), UnreadableSound::Mp3);
    assert_eq!(
        error(SpeechFormat::Wav, b"\xff\xf3\x84\xc4"),
        UnreadableSound::Mp3
    );
    assert_eq!(error(SpeechFormat::Wav, b"RIF"), UnreadableSound::Cut);
    assert_eq!(
        error(SpeechFormat::Wav, b"RIFF1234WAVE"),
        UnreadableSound::Cut
    );
    assert_eq!(error(SpeechFormat::Opus, b"OggS\0"), UnreadableSound::Cut);
    let strange = error(SpeechFormat::Opus, b"{\"error\":1}");
    assert_eq!(strange.kind(), FailureKind::Misunderstood);
    assert_eq!(UnreadableSound::Cut.kind(), FailureKind::Broken);
    // Samples may begin with anything.
    assert_eq!(
        read(PCM, [&b"\xff\xf3\x84"[..], b"\xc4"]).map(|read| read.1.len()),
        Ok(2)
    );
}

#[test]
fn sound_without_end_is_broken_off() {
    let mut reader = SoundReader::new(PCM);
    let piece = vec![0; 1 << 20];
    let mut sound = Vec::new();
    for _ in 0..SOUND_BYTES >> 20 {
        reader.feed(&piece, &mut sound).expect("allowed");
        sound.clear();
    }
    assert_eq!(
        reader.feed(&piece, &mut sound),
        Err(UnreadableSound::TooLong)
    );
}

proptest! {
    #[test]
    fn samples_survive_any_pieces(
        samples in proptest::collection::vec(any::<i16>(), 1..200),
        pieces in proptest::collection::vec(1_usize..7, 1..20),
        as_wav: bool,
    ) {
        // As bare samples these would be a WAV, or words of a picture.
        prop_assume!(samples[0] != i16::from_le_bytes(*b"RI") && samples[0] != i16::from_le_bytes(*b"ID") && samples[0] != i16::from_le_bytes(*b"Og"));
        let (asked, bytes, rate) = match as_wav {
            true => (SpeechFormat::Wav, wav(48_000, &samples), 48_000),
            false => (PCM, samples.iter().flat_map(|s| s.to_le_bytes()).collect(), 24_000),
        };
        let mut cut = Vec::new();
        let mut rest = bytes.as_slice();
        for length in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*length).min(rest.len()));
            cut.push(piece);
            rest = more;
        }
        let expected = match samples.len() {
            // Too little to tell what it is.
            1 if !as_wav => (0, vec![]),
            _ => (rate, samples),
        };
        prop_assert_eq!(read(asked, cut), Ok(expected));
    }
}
