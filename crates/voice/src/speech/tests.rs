use super::*;
use crate::codec::Decoder;
use crate::limits::PROMPT_BYTES;
use proptest::prelude::*;

/// A tone of 440 Hz.
fn tone(rate: u32, ms: usize) -> Vec<i16> {
    let turn = std::f64::consts::TAU * 440.0 / f64::from(rate);
    let count = rate as usize * ms / 1000;
    (0..count)
        .map(|n| ((n as f64 * turn).sin() * 8000.0) as i16)
        .collect()
}

/// The packets of sound that comes in such pieces.
fn packets(packer: &mut Packer, rate: u32, samples: &[i16], piece: usize) -> Vec<Arc<[u8]>> {
    let mut packets = Vec::new();
    for piece in samples.chunks(piece) {
        packer
            .push(rate, piece, |p| packets.push(p))
            .expect("sound");
    }
    packer.finish(|p| packets.push(p)).expect("sound");
    packets
}

fn decoded(packets: &[Arc<[u8]>]) -> Vec<i16> {
    let mut decoder = Decoder::new(Rate::Hz24000).expect("a decoder");
    let mut samples = Vec::new();
    for packet in packets {
        decoder.decode(packet, &mut samples).expect("Opus");
    }
    samples
}

/// Where the sign changes, as a measure of pitch.
fn crossings(samples: &[i16]) -> usize {
    let ends = samples.windows(2);
    ends.filter(|pair| (pair[0] < 0) != (pair[1] < 0)).count()
}

#[test]
fn sound_of_any_rate_keeps_its_length_its_pitch_and_its_loudness() {
    for rate in [
        8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000,
    ] {
        let mut packer = Packer::new().expect("a packer");
        let packets = packets(&mut packer, rate, &tone(rate, 1000), 777);
        assert_eq!(packets.len(), 17, "{rate}: 1 s and 20 ms of silence");
        let samples = decoded(&packets);
        let middle = &samples[4800..19200];
        let pitch = crossings(middle);
        assert!((520..=536).contains(&pitch), "{rate}: {pitch}");
        let power: f64 = middle.iter().map(|s| f64::from(*s).powi(2)).sum();
        let loud = (power / middle.len() as f64).sqrt();
        assert!((4500.0..7000.0).contains(&loud), "{rate}: {loud}");
    }
}

#[test]
fn sentences_follow_each_other_whatever_their_rate() {
    let mut packer = Packer::new().expect("a packer");
    for rate in [22_050, 24_000, 22_050, 16_000] {
        assert_eq!(packets(&mut packer, rate, &tone(rate, 600), 500).len(), 10);
    }
    assert_eq!(packets(&mut packer, 24_000, &[], 1).len(), 0);
}

#[test]
fn what_cannot_be_played_is_refused() {
    let mut packer = Packer::new().expect("a packer");
    for rate in [0, 7_999, 48_001, u32::MAX] {
        let refused = packer.push(rate, &[0; 100], |_| {});
        assert_eq!(refused, Err(SoundError::Rate(rate)));
    }
    packer.push(16_000, &[0; 100], |_| {}).expect("sound");
    let refused = packer.push(22_050, &[0; 100], |_| {});
    assert_eq!(refused, Err(SoundError::Changed(16_000, 22_050)));
}

#[test]
fn the_built_in_voice_says_something_in_both_languages() {
    for (language, least) in [
        (None, 60),
        (Some("en"), 60),
        (Some("zh-CN"), 60),
        (Some("fr"), 60),
    ] {
        let packets = no_voice(language);
        assert!(packets.len() > least, "{language:?}: {}", packets.len());
        let samples = decoded(&packets);
        assert_eq!(samples.len(), packets.len() * FRAME);
        assert!(samples.iter().any(|sample| sample.abs() > 3000));
    }
    assert_ne!(no_voice(Some("zh")), no_voice(Some("en")));
}

#[test]
fn prompts_that_were_not_used_for_longest_go_first() {
    let prompts = Prompts::default();
    let packets = |bytes: usize| vec![Packet::Ours(vec![7; 1000].into()); bytes / 1040];
    let most = PROMPT_BYTES / 8 - 2000;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        prompts.insert("voice", name, packets(most));
    }
    assert!(prompts.get("voice", "a").is_some());
    assert!(prompts.get("another", "a").is_none());
    prompts.insert("voice", "i", packets(most));
    assert!(prompts.get("voice", "a").is_some(), "it was used");
    assert!(prompts.get("voice", "b").is_none());
    prompts.insert("voice", "too long", packets(PROMPT_BYTES / 4));
    assert!(prompts.get("voice", "too long").is_none());
    assert!(prompts.bytes() <= PROMPT_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn however_sound_is_cut_into_pieces_the_packets_are_the_same(
        rate in prop_oneof![Just(16_000_u32), Just(22_050), Just(24_000), 8_000_u32..=48_000],
        ms in 0_usize..400,
        piece in 1_usize..5_000,
    ) {
        let sound = tone(rate, ms);
        let mut packer = Packer::new().expect("a packer");
        let cut = packets(&mut packer, rate, &sound, piece);
        let mut packer = Packer::new().expect("a packer");
        let whole = packets(&mut packer, rate, &sound, usize::MAX);
        prop_assert_eq!(cut.len(), (sound.len() * 24_000).div_ceil(rate as usize).div_ceil(FRAME));
        prop_assert_eq!(cut, whole);
    }
}
