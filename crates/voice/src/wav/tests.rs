use proptest::prelude::*;

use super::*;

/// Everything of a WAV that comes in pieces of so many bytes.
fn read(bytes: &[u8], piece: usize) -> Result<(Option<u32>, Vec<i16>), WavError> {
    let mut reader = WavReader::new();
    let mut samples = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.feed(piece, &mut samples)?;
    }
    reader.finish()?;
    Ok((reader.rate(), samples))
}

/// A header as some writer makes it, without the length of the sound.
fn header(format: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let mut bytes = wav(rate, &[]);
    bytes[20..22].copy_from_slice(&format.to_le_bytes());
    bytes[22..24].copy_from_slice(&channels.to_le_bytes());
    bytes[34..36].copy_from_slice(&bits.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn what_was_written_is_read_in_whatever_pieces_it_comes(
        samples in prop::collection::vec(any::<i16>(), 0..200),
        rate in 8_000u32..=48_000,
        piece in 1usize..80,
    ) {
        prop_assert_eq!(read(&wav(rate, &samples), piece), Ok((Some(rate), samples)));
    }

    #[test]
    fn no_bytes_make_it_panic_or_hang(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1usize..80) {
        let _ = read(&bytes, piece);
        let mut behind = wav(8_000, &[])[..36].to_vec();
        behind.extend_from_slice(&bytes);
        let _ = read(&behind, piece);
    }
}

#[test]
fn a_length_that_the_writer_did_not_know_means_until_the_end() {
    for length in [0u32, 0x7fff_f000, u32::MAX] {
        let mut bytes = wav(22_050, &[1, -2, 3]);
        bytes[40..44].copy_from_slice(&length.to_le_bytes());
        assert_eq!(read(&bytes, 7), Ok((Some(22_050), vec![1, -2, 3])));
    }
}

#[test]
fn other_chunks_are_passed_over_before_and_behind_the_sound() {
    let plain = wav(16_000, &[5, 6]);
    let mut bytes = plain[..12].to_vec();
    // An odd chunk is filled up by a byte that its length does not count.
    bytes.extend_from_slice(b"LIST\x03\0\0\0abc\0JUNK\0\0\0\0");
    bytes.extend_from_slice(&plain[12..]);
    bytes.extend_from_slice(b"LIST\x02\0\0\0\xff\xff");
    for piece in 1..60 {
        assert_eq!(read(&bytes, piece), Ok((Some(16_000), vec![5, 6])));
    }
}

#[test]
fn two_channels_are_mixed_even_at_their_loudest() {
    let mut bytes = header(1, 2, 8_000, 16);
    for sample in [i16::MAX, i16::MAX, i16::MIN, i16::MIN, 100, -50] {
        bytes.extend_from_slice(&sample.to_le_bytes());
    }
    assert_eq!(
        read(&bytes, 5),
        Ok((Some(8_000), vec![i16::MAX, i16::MIN, 25]))
    );
}

#[test]
fn what_is_not_sixteen_bit_pcm_is_refused_with_what_it_is() {
    let error = read(&header(3, 1, 24_000, 32), 50).expect_err("floats");
    assert_eq!(
        error.to_string(),
        "this WAV is of format 3 with 32 bits and 1 channels; 16-bit PCM in mono or stereo is needed"
    );
    assert_eq!(
        read(&header(1, 1, 96_000, 16), 50),
        Err(WavError::Rate(96_000))
    );
}

#[test]
fn an_error_message_instead_of_sound_is_shown() {
    let said = b"{\"error\": \"no such voice\"}";
    assert_eq!(
        read(said, 100),
        Err(WavError::NotWav("{\"error\": \"no such voice\"}".into()))
    );
    assert_eq!(read(b"RI", 1), Err(WavError::NotWav("RI".into())));
    assert_eq!(read(b"", 1), Err(WavError::Short));
    assert_eq!(read(&wav(8_000, &[1])[..30], 9), Err(WavError::Short));
}

#[test]
fn a_header_without_end_is_given_up() {
    let mut bytes = wav(8_000, &[])[..12].to_vec();
    bytes.extend_from_slice(b"JUNK");
    bytes.extend_from_slice(&u32::MAX.to_le_bytes());
    bytes.resize(WAV_HEADER_BYTES * 2, 0);
    assert_eq!(read(&bytes, 1000), Err(WavError::NoSound));
}
