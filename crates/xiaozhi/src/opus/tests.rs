use alloc::vec;
use alloc::vec::Vec;
use std::string::ToString;

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_WAITING_FRAMES;

/// SILK wideband mono of 20 ms, the usual one of py-xiaozhi; 60 ms is `0x58`.
const SILK_20: u8 = 9 << 3;
const SILK_60: u8 = 11 << 3;

fn frames(packet: &[u8]) -> Result<Vec<Vec<u8>>, OpusError> {
    OpusPacket::parse(packet).map(|packet| packet.frames().map(<[u8]>::to_vec).collect())
}

#[test]
fn every_configuration_plays_as_long_as_table_2_of_the_standard_says() {
    let silk = [10_000, 20_000, 40_000, 60_000];
    let celt = [2_500, 5_000, 10_000, 20_000];
    let mut table: Vec<(OpusMode, Bandwidth, u32)> = Vec::new();
    for band in [Bandwidth::Narrow, Bandwidth::Medium, Bandwidth::Wide] {
        table.extend(silk.map(|micros| (OpusMode::Silk, band, micros)));
    }
    for band in [Bandwidth::SuperWide, Bandwidth::Full] {
        table.extend([10_000, 20_000].map(|micros| (OpusMode::Hybrid, band, micros)));
    }
    for band in [
        Bandwidth::Narrow,
        Bandwidth::Wide,
        Bandwidth::SuperWide,
        Bandwidth::Full,
    ] {
        table.extend(celt.map(|micros| (OpusMode::Celt, band, micros)));
    }
    assert_eq!(table.len(), 32);
    for (config, expected) in table.into_iter().enumerate() {
        for low in 0..8 {
            let toc = Toc::new((config as u8) << 3 | low);
            let said = (toc.mode(), toc.bandwidth(), toc.frame_micros());
            assert_eq!(said, expected, "config {config}");
            assert_eq!((toc.stereo(), toc.code()), (low & 4 != 0, low & 3));
        }
    }
}

#[test]
fn a_packet_of_each_layout_gives_its_frames() {
    assert_eq!(frames(&[SILK_60, 1, 2, 3]), Ok(vec![vec![1, 2, 3]]));
    assert_eq!(frames(&[SILK_60]), Ok(vec![vec![]]));
    assert_eq!(
        frames(&[SILK_20 | 1, 1, 2, 3, 4]),
        Ok(vec![vec![1, 2], vec![3, 4]])
    );
    assert_eq!(
        frames(&[SILK_20 | 2, 1, 9, 7, 7]),
        Ok(vec![vec![9], vec![7, 7]])
    );
    assert_eq!(
        frames(&[SILK_20 | 3, 3, 1, 2, 3]),
        Ok(vec![vec![1], vec![2], vec![3]])
    );
    assert_eq!(
        frames(&[SILK_20 | 3, 0x83, 0, 2, 5, 6, 7]),
        Ok(vec![vec![], vec![5, 6], vec![7]])
    );
    // Two bytes of padding behind two frames, and the byte that says so.
    assert_eq!(
        frames(&[SILK_20 | 3, 0x42, 2, 8, 9, 0, 0]),
        Ok(vec![vec![8], vec![9]])
    );
    // 255 stands for 254 and another byte.
    let mut padded = vec![SILK_20 | 3, 0x41, 255, 1, 77];
    padded.resize(5 + 255, 0);
    let packet = OpusPacket::parse(&padded).expect("a packet");
    assert_eq!((packet.padding(), packet.frame_count()), (255, 1));
    assert!(packet.is_plausible());
    // A length of two bytes: 252 + 4 * 1.
    let mut long = vec![SILK_20 | 2, 252, 1];
    long.resize(3 + 256 + 2, 5);
    let sizes: Vec<usize> = frames(&long)
        .expect("a packet")
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(sizes, [256, 2]);
}

#[test]
fn bytes_that_break_a_rule_of_the_standard_are_refused_by_its_name() {
    let silence_of_240_ms = [SILK_60 | 3, 4, 0];
    let beyond = vec![SILK_20; 1277];
    let too_long = vec![SILK_20 | 3; MAX_OPUS_PACKET + 1];
    for (packet, error) in [
        (&[][..], OpusError::Empty),
        (&too_long, OpusError::TooLong),
        (&beyond, OpusError::FrameTooLong),
        (&[SILK_20 | 1, 1], OpusError::UnequalFrames),
        (&[SILK_20 | 3, 2, 1, 2, 3], OpusError::UnequalFrames),
        (&[SILK_20 | 2], OpusError::FrameBeyondEnd),
        (&[SILK_20 | 2, 252], OpusError::FrameBeyondEnd),
        (&[SILK_20 | 2, 3, 1, 2], OpusError::FrameBeyondEnd),
        (&[SILK_20 | 3, 0x82, 3, 1, 2], OpusError::FrameBeyondEnd),
        (&[SILK_20 | 3], OpusError::NoFrameCount),
        (&[SILK_20 | 3, 0], OpusError::NoFrames),
        (&silence_of_240_ms, OpusError::TooLongToPlay),
        (&[SILK_20 | 3, 0x41], OpusError::PaddingBeyondEnd),
        (&[SILK_20 | 3, 0x41, 255], OpusError::PaddingBeyondEnd),
        (&[SILK_20 | 3, 0x41, 3, 0, 0], OpusError::PaddingBeyondEnd),
    ] {
        assert_eq!(frames(packet), Err(error), "{packet:x?}");
        assert!(!is_plausible_opus(packet));
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn padding_that_no_encoder_writes_is_read_but_not_believed() {
    let packet = [SILK_20 | 3, 0x41, 1, 8, 1];
    assert!(frames(&packet).is_ok());
    assert!(!is_plausible_opus(&packet));
}

#[test]
fn a_browser_s_packet_of_three_frames_plays_for_60_ms() {
    let mut packet = vec![0xfb, 3];
    packet.resize(2 + 3 * 700, 1);
    assert_eq!(opus_duration(&packet), Ok(Duration::from_millis(60)));
    assert_eq!(
        opus_duration(&[0xf8, 0xff, 0xfe]),
        Ok(Duration::from_millis(20))
    );
}

fn repacketize(wanted: u64, limit: usize, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut machine = Repacketizer::new(Duration::from_millis(wanted), limit);
    let (mut out, mut made) = (vec![1, 2, 3], Vec::new());
    for packet in packets {
        machine.push(packet).expect("room");
        while machine.take(&mut out) {
            made.push(out.clone());
        }
    }
    while machine.flush(&mut out) {
        made.push(out.clone());
    }
    assert_eq!(machine.waiting(), Duration::ZERO);
    made
}

#[test]
fn three_packets_of_20_ms_become_one_of_60() {
    let equal = [[SILK_20, 1], [SILK_20, 2], [SILK_20, 3]].map(Vec::from);
    assert_eq!(
        repacketize(60, 4096, &equal),
        [vec![SILK_20 | 3, 3, 1, 2, 3]]
    );
    let others = [vec![SILK_20, 1], vec![SILK_20], vec![SILK_20, 3, 3]];
    assert_eq!(
        repacketize(60, 4096, &others),
        [vec![SILK_20 | 3, 0x83, 1, 0, 1, 3, 3]]
    );
}

#[test]
fn a_packet_of_120_ms_becomes_two_of_60_and_one_of_60_stays_as_it_is() {
    let long = vec![SILK_20 | 3, 6, 1, 2, 3, 4, 5, 6];
    assert_eq!(
        repacketize(60, 4096, &[long]),
        [vec![SILK_20 | 3, 3, 1, 2, 3], vec![SILK_20 | 3, 3, 4, 5, 6]]
    );
    let whole = vec![SILK_60, 4, 4, 4];
    assert_eq!(
        repacketize(60, 4096, &[whole.clone(), whole.clone()]),
        [whole.clone(), whole]
    );
}

#[test]
fn the_end_of_a_sentence_and_another_mode_end_a_packet_early() {
    let packets = [vec![SILK_20, 1], vec![SILK_20, 2], vec![0xf8, 3]];
    assert_eq!(
        repacketize(60, 4096, &packets),
        [vec![SILK_20 | 1, 1, 2], vec![0xf8, 3]]
    );
}

#[test]
fn frames_that_do_not_fit_are_refused_and_a_packet_never_grows_beyond_its_limit() {
    let mut machine = Repacketizer::new(Duration::from_millis(60), 100);
    let mut long = vec![SILK_20; 101];
    let error = machine.push(&long).expect_err("too long");
    assert_eq!(
        error,
        OpusError::FrameDoesNotFit {
            bytes: 100,
            limit: 99
        }
    );
    long.pop();
    machine.push(&long).expect("it just fits");
    let mut out = Vec::new();
    assert!(machine.flush(&mut out) && out == long);
    let forty = vec![vec![SILK_20; 41]; 3];
    let sizes: Vec<usize> = repacketize(60, 100, &forty).iter().map(Vec::len).collect();
    assert_eq!(sizes, [81, 41]);
}

#[test]
fn whoever_takes_no_packets_is_refused_and_nothing_of_the_refused_one_stays() {
    let mut machine = Repacketizer::new(Duration::from_millis(60), 4096);
    let packet = [SILK_20 | 3, 6, 1, 2, 3, 4, 5, 6];
    let taken = core::iter::repeat_with(|| machine.push(&packet))
        .take_while(Result::is_ok)
        .count();
    assert_eq!(taken, MAX_WAITING_FRAMES / 6);
    let waiting = Duration::from_millis(120) * taken as u32;
    assert_eq!(machine.waiting(), waiting);
    machine.clear();
    assert!(!machine.flush(&mut Vec::new()));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_cut_into_frames_that_lie_inside(
        packet in proptest::collection::vec(any::<u8>(), 0..1600)
    ) {
        if let Ok(found) = OpusPacket::parse(&packet) {
            let total: usize = found.frames().map(<[u8]>::len).sum();
            prop_assert!(total + found.padding() < packet.len());
            prop_assert_eq!(found.frames().count(), found.frame_count());
            prop_assert!((2_500..=120_000).contains(&found.duration_micros()));
        }
    }

    #[test]
    fn repacketising_keeps_every_frame_and_its_place(
        wanted in 3u64..=120,
        limit in 1276usize..4096,
        stream in proptest::collection::vec(
            (any::<u8>(), proptest::collection::vec(0usize..400, 1..7)),
            1..12,
        ),
    ) {
        // Packets of code 3 with frames of any size: what plays too long is left out.
        let mut packets = Vec::new();
        for (index, (toc, sizes)) in stream.iter().enumerate() {
            let mut packet = vec![toc | 3, 0x80 | sizes.len() as u8];
            for size in &sizes[..sizes.len() - 1] {
                if *size < 252 {
                    packet.push(*size as u8);
                } else {
                    packet.extend([252 + (*size % 4) as u8, ((size - 252) / 4) as u8]);
                }
            }
            for (at, size) in sizes.iter().enumerate() {
                packet.resize(packet.len() + size, (index * 7 + at) as u8);
            }
            if OpusPacket::parse(&packet).is_ok() {
                packets.push(packet);
            }
        }
        let of = |packets: &[Vec<u8>]| -> Vec<(u8, Vec<u8>)> {
            let mut all = Vec::new();
            for packet in packets {
                let packet = OpusPacket::parse(packet).expect("a packet");
                let toc = packet.toc().byte() & !3;
                all.extend(packet.frames().map(|frame| (toc, frame.to_vec())));
            }
            all
        };
        let made = repacketize(wanted, limit, &packets);
        prop_assert_eq!(of(&packets), of(&made));
        for packet in &made {
            prop_assert!(packet.len() <= limit);
            let packet = OpusPacket::parse(packet).expect("a packet");
            let most = (wanted as u32 * 1000).max(packet.toc().frame_micros());
            prop_assert!(packet.duration_micros() <= most);
        }
    }
}
