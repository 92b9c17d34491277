use super::*;
use proptest::prelude::*;

/// A tone, so that something is there.
fn tone(rate: Rate, ms: usize) -> Vec<i16> {
    let count = rate.samples(ms);
    let turn = std::f64::consts::TAU * 440.0 / rate.hertz() as f64;
    (0..count)
        .map(|n| ((n as f64 * turn).sin() * 8000.0) as i16)
        .collect()
}

#[test]
fn what_is_encoded_at_one_rate_decodes_at_another_and_lasts_as_long() {
    for from in [Rate::Hz16000, Rate::Hz24000] {
        for ms in [10, 20, 40, 60] {
            for to in [Rate::Hz16000, Rate::Hz24000] {
                let mut packet = Vec::new();
                let mut encoder = Encoder::new(from).expect("an encoder");
                encoder
                    .encode(&tone(from, ms), &mut packet)
                    .expect("a frame");
                let mut samples = Vec::new();
                let mut decoder = Decoder::new(to).expect("a decoder");
                decoder.decode(&packet, &mut samples).expect("Opus");
                assert_eq!(samples.len(), to.samples(ms));
            }
        }
    }
}

#[test]
fn a_tone_comes_out_as_loud_as_it_went_in() {
    let mut encoder = Encoder::new(Rate::Hz24000).expect("an encoder");
    let mut decoder = Decoder::new(Rate::Hz16000).expect("a decoder");
    let mut samples = Vec::new();
    for frame in tone(Rate::Hz24000, 600).chunks(Rate::Hz24000.samples(60)) {
        let mut packet = Vec::new();
        encoder.encode(frame, &mut packet).expect("a frame");
        decoder.decode(&packet, &mut samples).expect("Opus");
    }
    let power = |samples: &[i16]| {
        let sum: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
        (sum / samples.len() as f64).sqrt()
    };
    let loudness = power(&samples[samples.len() / 2..]);
    assert!((4500.0..7000.0).contains(&loudness), "{loudness}");
}

#[test]
fn samples_that_are_no_frame_are_refused() {
    let mut encoder = Encoder::new(Rate::Hz16000).expect("an encoder");
    let mut packet = vec![7];
    for count in [0, 1, 161, 961, 1920] {
        let refused = encoder.encode(&vec![0; count], &mut packet);
        assert_eq!(refused, Err(CodecError::NoFrame(count)));
    }
    assert_eq!(packet, [7], "nothing was appended");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_fail_in_another_way_than_saying_so(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
    ) {
        let mut decoder = Decoder::new(Rate::Hz16000).expect("a decoder");
        for packet in packets {
            let mut samples = Vec::new();
            match decoder.decode(&packet, &mut samples) {
                Ok(()) => prop_assert!(samples.len() <= Rate::Hz16000.samples(PACKET_MS)),
                Err(error) => {
                    prop_assert_eq!(error, CodecError::NotOpus(packet.len()));
                    prop_assert!(samples.is_empty());
                }
            }
        }
    }
}
