use proptest::prelude::*;

use super::*;

/// Writes pages: what is read here.
struct Writer {
    serial: u32,
    bytes: Vec<u8>,
    number: u32,
}

impl Writer {
    fn new(serial: u32) -> Writer {
        Writer {
            serial,
            bytes: Vec::new(),
            number: 0,
        }
    }

    /// With the two packets that every stream of Opus begins with.
    fn opus(serial: u32) -> Writer {
        let mut writer = Writer::new(serial);
        writer.page(2, &[19], &head(1));
        writer.packets(&[b"OpusTags\x04\0\0\0mine\0\0\0\0".to_vec()], 255);
        writer
    }

    fn page(&mut self, flags: u8, table: &[u8], body: &[u8]) {
        self.bytes.extend_from_slice(b"OggS\0");
        self.bytes.push(flags);
        self.bytes.extend_from_slice(&0_u64.to_le_bytes());
        self.bytes.extend_from_slice(&self.serial.to_le_bytes());
        self.bytes.extend_from_slice(&self.number.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.push(table.len() as u8);
        self.bytes.extend_from_slice(table);
        self.bytes.extend_from_slice(body);
        self.number += 1;
    }

    /// Packets on pages of at most so many segments.
    fn packets(&mut self, packets: &[Vec<u8>], segments: usize) {
        let mut table = Vec::new();
        let mut body = Vec::new();
        let mut goes_on = false;
        for packet in packets {
            let mut rest = packet.as_slice();
            loop {
                if table.len() == segments {
                    self.page(u8::from(goes_on), &table, &body);
                    goes_on = rest.len() < packet.len();
                    (table, body) = (Vec::new(), Vec::new());
                }
                let length = rest.len().min(255);
                table.push(length as u8);
                body.extend_from_slice(&rest[..length]);
                rest = &rest[length..];
                if length < 255 {
                    break;
                }
            }
        }
        self.page(u8::from(goes_on), &table, &body);
    }
}

fn head(channels: u8) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(channels);
    head.extend_from_slice(&[0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0]);
    head
}

fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, OggError> {
    let mut reader = OggReader::new();
    let mut packets = Vec::new();
    for piece in pieces {
        reader.feed(piece, |packet| packets.push(packet.to_vec()))?;
    }
    reader.finish()?;
    Ok(packets)
}

#[test]
fn packets_come_out_without_the_two_that_tell_of_them() {
    let packets = vec![vec![1; 3], vec![2; 255], vec![3; 510], vec![4; 1000]];
    let mut writer = Writer::opus(9);
    writer.packets(&packets, 255);
    assert_eq!(read([&writer.bytes[..]]), Ok(packets));
}

#[test]
fn a_packet_is_given_out_as_soon_as_it_is_here() {
    let mut writer = Writer::opus(9);
    writer.page(0, &[2, 2], &[1, 1, 2, 2]);
    let mut reader = OggReader::new();
    let mut packets = Vec::new();
    let early = &writer.bytes[..writer.bytes.len() - 2];
    let hand = |packet: &[u8]| packets.push(packet.to_vec());
    reader.feed(early, hand).expect("an Ogg");
    assert_eq!(packets, [[1, 1]]);
    assert_eq!(reader.finish(), Err(OggError::Cut));
}

#[test]
fn tags_of_any_length_are_passed_over() {
    let mut writer = Writer::new(1);
    writer.page(2, &[19], &head(2));
    writer.packets(&[vec![7; 100_000]], 255);
    writer.packets(&[vec![1; 9]], 255);
    assert_eq!(read([&writer.bytes[..]]), Ok(vec![vec![1; 9]]));
}

#[test]
fn another_stream_in_between_is_passed_over() {
    let mut writer = Writer::opus(1);
    writer.page(0, &[255], &[5; 255]);
    writer.serial = 2;
    writer.page(0, &[4], &[9; 4]);
    writer.page(0, &[255], &[9; 255]);
    writer.serial = 1;
    writer.page(1, &[1], &[5]);
    assert_eq!(read([&writer.bytes[..]]), Ok(vec![vec![5; 256]]));
}

#[test]
fn a_second_stream_behind_the_first_goes_on_with_it() {
    let mut writer = Writer::opus(1);
    writer.page(4, &[1], &[1]);
    let mut second = Writer::opus(2);
    second.page(4, &[1], &[2]);
    writer.bytes.extend(second.bytes);
    assert_eq!(read([&writer.bytes[..]]), Ok(vec![vec![1], vec![2]]));
}

#[test]
fn half_packets_whose_other_half_is_missing_are_left_out() {
    let mut writer = Writer::opus(1);
    writer.page(1, &[3, 2], &[8, 8, 8, 1, 1]);
    writer.page(0, &[255], &[8; 255]);
    writer.page(0, &[0, 2], &[2, 2]);
    assert_eq!(read([&writer.bytes[..]]), Ok(vec![vec![1, 1], vec![2, 2]]));
}

#[test]
fn what_is_no_opus_in_ogg_is_refused() {
    let not_ogg = read([&b"RIFF...."[..]]);
    assert_eq!(not_ogg, Err(OggError::NotOgg("RIFF....".into())));
    assert_eq!(read([]), Err(OggError::Cut));
    let mut vorbis = Writer::new(1);
    vorbis.page(2, &[7], b"\x01vorbis");
    vorbis.page(0, &[3], b"abc");
    assert_eq!(read([&vorbis.bytes[..]]), Err(OggError::NotOpus));
    let mut surround = Writer::new(1);
    surround.page(2, &[19], &head(6));
    assert_eq!(read([&surround.bytes[..]]), Err(OggError::Channels(6)));
    let mut long = Writer::opus(1);
    long.packets(&[vec![1; PACKET_BYTES]], 255);
    assert!(read([&long.bytes[..]]).is_ok());
    long.packets(&[vec![1; PACKET_BYTES + 1]], 255);
    assert_eq!(read([&long.bytes[..]]), Err(OggError::TooLong));
}

proptest! {
    #[test]
    fn packets_survive_any_pages_and_pieces(
        packets in proptest::collection::vec(
            (any::<u8>(), prop_oneof![1_usize..5, 250..260_usize, 508..514_usize, 1..2000_usize]),
            1..20,
        ),
        segments in 1_usize..20,
        pieces in 1_usize..400,
    ) {
        let packets: Vec<Vec<u8>> =
            packets.into_iter().map(|(byte, length)| vec![byte; length]).collect();
        let mut writer = Writer::opus(77);
        writer.packets(&packets, segments);
        prop_assert_eq!(read(writer.bytes.chunks(pieces)), Ok(packets));
    }

    #[test]
    fn damage_is_no_panic(
        at in proptest::collection::vec((0_usize..600, any::<u8>()), 1..10),
        pieces in 1_usize..50,
    ) {
        let mut writer = Writer::opus(77);
        writer.packets(&[vec![1; 100], vec![2; 300]], 2);
        for (at, byte) in at {
            let at = at % writer.bytes.len();
            writer.bytes[at] = byte;
        }
        let whole = read([&writer.bytes[..]]);
        prop_assert_eq!(read(writer.bytes.chunks(pieces)).is_ok(), whole.is_ok());
    }
}
