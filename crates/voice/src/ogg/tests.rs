use proptest::prelude::*;

use super::*;
use crate::{Sound, SoundReader, SpeechFormat};

const FRAME: Duration = Duration::from_millis(60);

/// A page as RFC 3533 describes it, taken apart by a reading of its own.
#[derive(Debug)]
struct Page {
    flags: u8,
    granule: u64,
    serial: u32,
    number: u32,
    packets: Vec<Vec<u8>>,
}

/// All pages of a file; panics where it is not to the letter.
fn pages(mut file: &[u8]) -> Vec<Page> {
    let mut pages = Vec::new();
    while !file.is_empty() {
        assert_eq!(&file[..5], b"OggS\0");
        let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four"));
        let segments = usize::from(file[26]);
        let table = &file[27..27 + segments];
        let mut at = 27 + segments;
        let mut packets = vec![Vec::new()];
        for length in table {
            let end = at + usize::from(*length);
            let packet = packets.last_mut().expect("one at least");
            packet.extend_from_slice(&file[at..end]);
            at = end;
            if *length < 255 {
                packets.push(Vec::new());
            }
        }
        assert_eq!(
            packets.pop(),
            Some(Vec::new()),
            "no packet goes on in the next page"
        );
        let mut unsigned = file[..at].to_vec();
        unsigned[22..26].fill(0);
        assert_eq!(number(22), slow_sum(&unsigned));
        pages.push(Page {
            flags: file[5],
            granule: u64::from_le_bytes(file[6..14].try_into().expect("eight")),
            serial: number(14),
            number: number(18),
            packets,
        });
        file = &file[at..];
    }
    pages
}

/// The polynomial bit by bit.
fn slow_sum(bytes: &[u8]) -> u32 {
    let mut sum = 0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            let carry = sum & 0x8000_0000 != 0;
            sum <<= 1;
            if carry {
                sum ^= 0x04c1_1db7;
            }
        }
    }
    sum
}

/// What our own reader, which takes what voices of the net send, gives back.
fn read_back(file: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = SoundReader::new(SpeechFormat::Opus);
    let mut sounds = Vec::new();
    reader.feed(file, &mut sounds).expect("an Ogg");
    reader.finish().expect("a whole one");
    let packet = |sound: Sound| match sound {
        Sound::Opus(packet) => packet.to_vec(),
        other => panic!("{other:?} is no Opus"),
    };
    sounds.into_iter().map(packet).collect()
}

#[test]
fn a_file_says_of_itself_what_it_is_and_nothing_of_who_spoke() {
    let mut made = OggOpus::new(7, 16_000);
    assert!(made.push(&[0x58; 40], FRAME));
    let pages = pages(&made.finish());
    let [head, tags, sound] = pages.as_slice() else {
        panic!("{pages:?}");
    };
    assert_eq!((head.flags, head.granule, head.number), (2, 0, 0));
    assert_eq!(
        head.packets,
        [b"OpusHead\x01\x01\x38\x01\x80\x3e\0\0\0\0\0".to_vec()]
    );
    assert_eq!((tags.flags, tags.granule, tags.number), (0, 0, 1));
    assert_eq!(
        tags.packets,
        [b"OpusTags\x08\0\0\0safeport\0\0\0\0".to_vec()]
    );
    // 60 ms at 48 kHz.
    assert_eq!((sound.flags, sound.granule, sound.number), (4, 2_880, 2));
    assert!(pages.iter().all(|page| page.serial == 7));
}

#[test]
fn a_page_has_a_second_of_sound_and_its_position_counts_all_before_it() {
    let mut made = OggOpus::new(1, 24_000);
    for _ in 0..40 {
        assert!(made.push(&[0x58; 100], FRAME));
    }
    assert_eq!(made.lasts(), FRAME * 40);
    let positions: Vec<u64> = pages(&made.finish())
        .iter()
        .map(|page| page.granule)
        .collect();
    assert_eq!(positions, [0, 0, 17 * 2_880, 34 * 2_880, 40 * 2_880]);
}

#[test]
fn what_is_no_packet_is_left_out_and_leaves_the_file_as_it_is() {
    let mut made = OggOpus::new(1, 16_000);
    assert!(made.is_empty());
    assert!(!made.push(&[], FRAME));
    assert!(!made.push(&[0; PACKET_BYTES + 1], FRAME));
    assert!(!made.push(&[0; 10], Duration::from_millis(121)));
    assert!(made.is_empty());
    assert!(made.push(&[1; PACKET_BYTES], FRAME) && !made.is_empty());
    assert_eq!(read_back(&made.finish()), [vec![1; PACKET_BYTES]]);
}

#[test]
fn memory_grows_in_small_steps() {
    let mut made = OggOpus::new(1, 16_000);
    for _ in 0..3_000 {
        made.push(&[0x58; 180], FRAME);
        assert!(made.pages.capacity() <= made.bytes() + 2 * OGG_STEP);
    }
}

proptest! {
    #[test]
    fn packets_of_any_size_and_length_come_back_as_they_were(
        packets in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..=PACKET_BYTES), 1..=48_u64), 1..60),
    ) {
        let mut made = OggOpus::new(3, 16_000);
        let mut samples = 0;
        for (packet, steps) in &packets {
            prop_assert!(made.push(packet, Duration::from_micros(steps * 2_500)));
            samples += steps * 120;
        }
        let bytes = made.bytes();
        let file = made.finish();
        prop_assert_eq!(bytes, file.len());
        let pages = pages(&file);
        for (number, page) in pages.iter().enumerate() {
            prop_assert_eq!(page.number as usize, number);
            prop_assert_eq!(page.flags & LAST != 0, number + 1 == pages.len());
        }
        prop_assert!(pages.windows(2).all(|two| two[0].granule <= two[1].granule));
        prop_assert_eq!(pages.last().map(|page| page.granule), Some(samples));
        let expected: Vec<Vec<u8>> = packets.into_iter().map(|(packet, _)| packet).collect();
        let found: Vec<Vec<u8>> = pages.into_iter().skip(2).flat_map(|page| page.packets).collect();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(read_back(&file), expected);
    }
}
