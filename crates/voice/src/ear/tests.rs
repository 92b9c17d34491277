use super::*;

/// Packets behind their lengths, as `examples/encode.rs` writes them.
fn packets(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = bytes;
    let mut packets = Vec::new();
    while let [high, low, behind @ ..] = rest {
        let (packet, next) = behind.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        packets.push(packet);
        rest = next;
    }
    packets
}

/// What changes when, in milliseconds.
fn heard(packets: &[&[u8]]) -> Vec<(usize, Change)> {
    let mut ear = Ear::new(Patience::default()).expect("an ear");
    let mut changes = Vec::new();
    for (number, packet) in packets.iter().enumerate() {
        ear.hear(packet, |change| changes.push((number * 60, change)))
            .expect("Opus");
    }
    changes
}

#[test]
fn a_spoken_sentence_begins_and_ends_once_whatever_the_language() {
    for bytes in [
        &include_bytes!("../../tests/speech/lamp.en.packets")[..],
        include_bytes!("../../tests/speech/lamp.zh.packets"),
    ] {
        let packets = packets(bytes);
        let all = packets.len() * 60;
        let changes = heard(&packets);
        let [(began, Change::Began { ago }), (finished, Change::Finished)] = changes[..] else {
            panic!("{changes:?} in {all} ms");
        };
        // Half a second of silence stands before the sentence, a second behind it.
        assert!((360..1000).contains(&began), "{began}");
        assert!((64..=200).contains(&ago), "{ago}");
        assert!(
            (all - 700..all - 60).contains(&finished),
            "{finished} of {all}"
        );
    }
}

#[test]
fn hiss_and_silence_are_no_speech() {
    let mut encoder = crate::Encoder::new(Rate::Hz16000).expect("an encoder");
    let mut seed = 7u32;
    let mut made = Vec::new();
    for number in 0..200 {
        let loudness = [0, 30, 400][number / 67];
        let frame: Vec<i16> = (0..960)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((seed >> 16) as i32 % 1000 * loudness / 1000) as i16
            })
            .collect();
        let mut packet = Vec::new();
        encoder.encode(&frame, &mut packet).expect("a frame");
        made.push(packet);
    }
    let packets: Vec<&[u8]> = made.iter().map(Vec::as_slice).collect();
    assert_eq!(heard(&packets), []);
}

#[test]
fn packets_that_are_no_opus_are_passed_over_and_the_next_one_is_heard() {
    let bytes = include_bytes!("../../tests/speech/lamp.en.packets");
    let mut ear = Ear::new(Patience::default()).expect("an ear");
    let mut changes = Vec::new();
    for packet in packets(bytes) {
        assert_eq!(ear.hear(&[], |_| ()), Err(CodecError::NotOpus(0)));
        assert_eq!(
            ear.hear(&[0xff; 5000], |_| ()),
            Err(CodecError::TooLong(5000))
        );
        // Code 3 that announces more frames than it has bytes (RFC 6716, 3.2.5, R6 and R7).
        assert_eq!(ear.hear(&[0x03, 0x3f], |_| ()), Err(CodecError::NotOpus(2)));
        ear.hear(packet, |change| changes.push(change))
            .expect("Opus");
    }
    assert!(matches!(
        changes[..],
        [Change::Began { .. }, Change::Finished]
    ));
}
