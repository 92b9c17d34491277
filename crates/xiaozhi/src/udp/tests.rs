use alloc::vec;
use alloc::vec::Vec;
use std::string::ToString;

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_OPUS_PACKET;

pub(super) const NOW: Time = Time(1_000);
/// SILK wideband mono of 60 ms.
pub(super) const SPEECH: u8 = 0x58;

pub(super) fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 40_000))
}

pub(super) fn vector_key() -> AudioKey {
    let key = core::array::from_fn(|index| index as u8);
    AudioKey::new(key, 0x1234_5678)
}

fn hex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("ASCII"), 16))
        .collect::<Result<_, _>>()
        .expect("hex digits")
}

/// What a device sends.
pub(super) fn datagram(key: &AudioKey, sequence: u32, packet: &[u8]) -> Vec<u8> {
    let header = AudioHeader {
        length: packet.len() as u16,
        ssrc: key.ssrc(),
        timestamp: 0,
        sequence,
    };
    let mut bytes = header.write().to_vec();
    bytes.extend_from_slice(packet);
    key.apply(&header.write(), &mut bytes[HEADER..]);
    bytes
}

/// What a device hears.
fn opened(key: &AudioKey, datagram: &[u8]) -> (AudioHeader, Vec<u8>) {
    let header = AudioHeader::read(datagram).expect("a datagram");
    let mut sound = datagram[HEADER..].to_vec();
    key.apply(&header.write(), &mut sound);
    (header, sound)
}

/// A session whose device was heard from [`address`]`(1)`, up to number 1.
pub(super) fn talking() -> (AudioKey, AudioChannel) {
    let key = vector_key();
    let mut channel = AudioChannel::new(key.clone(), NOW);
    let heard = hear(&mut channel, datagram(&key, 1, &[SPEECH, 1]), 1).expect("speech");
    assert_eq!(heard, (1, Peer::Found));
    (key, channel)
}

pub(super) fn hear(
    channel: &mut AudioChannel,
    mut datagram: Vec<u8>,
    from: u8,
) -> Result<(u32, Peer), AudioError> {
    let heard = channel.receive(&mut datagram, address(from))?;
    Ok((heard.sequence, heard.peer))
}

#[test]
fn vector_1_a_device_s_datagram_is_written_and_read_as_by_the_firmware() {
    let key = vector_key();
    let packet = hex("202122232425262728292a2b2c2d2e2f30313233");
    let expected = hex("010000141234567800000000000000015fa32bff5537583043cd7a28eff5e6f41bdabf48");
    let mut bytes = datagram(&key, 1, &packet);
    assert_eq!(bytes, expected);
    let mut channel = AudioChannel::new(key, NOW);
    let heard = channel.receive(&mut bytes, address(1)).expect("Opus");
    assert_eq!((heard.packet, heard.sequence), (&packet[..], 1));
    assert_eq!((heard.missed, heard.timestamp), (0, 0));
}

#[test]
fn vector_2_a_server_s_datagram_is_that_of_gateways_in_the_field() {
    let (_, mut channel) = talking();
    let mut out = Vec::new();
    channel
        .write(&[SPEECH], 7, &mut out, NOW)
        .expect("the first");
    out.clear();
    let sent = channel.write(&[0xf8, 0xff, 0xfe], 3_487_918_203, &mut out, NOW);
    assert_eq!(
        sent,
        Ok(SentAudio {
            to: address(1),
            sequence: 2,
            timestamp: 3_487_918_203
        })
    );
    assert_eq!(out, hex("0100000312345678cfe5687b00000002390266"));
}

#[test]
fn vector_3_equal_timestamps_share_a_key_stream_so_no_two_of_ours_are_equal() {
    let key = vector_key();
    let stream = |sequence: u32| datagram(&key, sequence, &[0; 32])[HEADER..].to_vec();
    let shared = hex("3ee72b25b616296baff478a1c5ede1af");
    assert_eq!(stream(1)[16..], shared);
    assert_eq!(stream(2)[..16], shared);

    let (_, mut channel) = talking();
    let mut seen = Vec::new();
    for at in [0, 0, 60, 60, 5, 120, 0] {
        let mut out = Vec::new();
        let sent = channel.write(&[0; 32], at, &mut out, NOW).expect("sent");
        seen.push((sent.sequence, sent.timestamp));
        assert_eq!(opened(&key, &out).0.timestamp, sent.timestamp);
    }
    assert_eq!(
        seen,
        [
            (1, 1),
            (2, 2),
            (3, 60),
            (4, 61),
            (5, 62),
            (6, 120),
            (7, 121)
        ]
    );
}

#[test]
fn the_hello_tells_key_and_nonce_as_devices_read_them() {
    let key = vector_key();
    assert_eq!(key.key()[..], hex("000102030405060708090a0b0c0d0e0f"));
    assert_eq!(key.nonce()[..], hex("01000000123456780000000000000000"));
    let random = core::array::from_fn(|index| index as u8);
    let drawn = AudioKey::from_random(random);
    assert_eq!(drawn.ssrc(), 0x0001_0203);
    assert_eq!(drawn.key()[..], hex("0405060708090a0b0c0d0e0f10111213"));
    assert_eq!(alloc::format!("{drawn:?}"), "AudioKey(00010203)");
}

#[test]
fn numbers_only_grow_and_repeated_ones_are_told_from_late_ones() {
    let (key, mut channel) = talking();
    let at = |sequence| datagram(&key, sequence, &[SPEECH, 1]);
    let mut receive = |sequence| hear(&mut channel, at(sequence), 1).map(|heard| heard.0);
    assert_eq!(receive(1), Err(AudioError::Replayed));
    assert_eq!(receive(4), Ok(4));
    assert_eq!(receive(3), Err(AudioError::Late));
    assert_eq!(receive(1), Err(AudioError::Replayed));
    assert_eq!(receive(0), Err(AudioError::Late));
    assert_eq!(receive(5 + MAX_MISSED + 1), Err(AudioError::OutOfReach));
    for far in 2 + MAX_MISSED..5 + MAX_MISSED {
        assert_eq!(receive(far), Err(AudioError::Unfamiliar));
    }
    assert_eq!(receive(5 + MAX_MISSED), Ok(5 + MAX_MISSED));
    assert_eq!(receive(4), Err(AudioError::Late));
    assert_eq!(receive(u32::MAX), Err(AudioError::OutOfReach));
    let counters = channel.counters();
    assert_eq!((counters.heard, counters.missed), (3, 2 + MAX_MISSED));
    assert_eq!((counters.late, counters.replayed), (3, 2));
    assert_eq!(counters.implausible, 5);
}

#[test]
fn a_number_that_does_not_decrypt_is_not_used_up() {
    let (key, mut channel) = talking();
    let mut forged = datagram(&key, 2, &[SPEECH, 1]);
    // Code 3 with no frames.
    forged[HEADER] ^= SPEECH ^ 3;
    forged[HEADER + 1] ^= 1;
    assert_eq!(hear(&mut channel, forged, 1), Err(AudioError::NotOpus));
    let honest = datagram(&key, 2, &[SPEECH, 1]);
    assert!(hear(&mut channel, honest, 1).is_ok());
}

#[test]
fn nothing_is_sent_before_the_device_was_heard_and_no_stereo_is_its_first_word() {
    let key = vector_key();
    let mut channel = AudioChannel::new(key.clone(), NOW);
    let mut out = Vec::new();
    assert_eq!(
        channel.write(&[SPEECH], 0, &mut out, NOW),
        Err(AudioError::NoPeer)
    );
    assert_eq!(channel.next_keep_alive(), None);
    assert_eq!(channel.keep_alive(&mut out, NOW + 1_000_000), None);
    assert_eq!(
        hear(&mut channel, datagram(&key, 1, &[SPEECH | 4]), 1),
        Err(AudioError::Unfamiliar)
    );
    assert!(out.is_empty() && channel.peer().is_none());
}

#[test]
fn a_keep_alive_is_an_empty_datagram_and_due_only_after_silence() {
    let (key, mut channel) = talking();
    let mut out = Vec::new();
    let due = NOW + UDP_KEEP_ALIVE;
    assert_eq!(channel.next_keep_alive(), Some(due));
    assert_eq!(channel.keep_alive(&mut out, Time(due.0 - 1)), None);
    let sent = channel.keep_alive(&mut out, due).expect("due");
    assert_eq!((sent.sequence, out.len()), (1, HEADER));
    assert_eq!(opened(&key, &out).0.length, 0);
    assert_eq!(channel.next_keep_alive(), Some(due + UDP_KEEP_ALIVE));
    channel
        .write(&[SPEECH], 0, &mut out, due + 10)
        .expect("sent");
    assert_eq!(channel.next_keep_alive(), Some(due + 10 + UDP_KEEP_ALIVE));
}

#[test]
fn what_is_too_long_or_no_audio_is_refused_and_appends_nothing() {
    let (key, mut channel) = talking();
    let mut out = vec![9];
    for (packet, error) in [
        (vec![SPEECH; MAX_UDP_PACKET + 1], AudioError::TooLong),
        (vec![], AudioError::NotOpus),
    ] {
        assert_eq!(channel.write(&packet, 0, &mut out, NOW), Err(error));
        assert!(!error.to_string().is_empty());
    }
    assert_eq!(out, [9]);
    let longest = vec![SPEECH; MAX_UDP_PACKET];
    assert!(channel.write(&longest, 0, &mut out, NOW).is_ok());
    assert_eq!(out.len(), 1 + HEADER + MAX_UDP_PACKET);

    let good = datagram(&key, 2, &[SPEECH, 1]);
    let mut longer = good.clone();
    longer.push(0);
    let mut other_type = good.clone();
    other_type[0] = 2;
    let huge = datagram(&key, 2, &vec![SPEECH; MAX_OPUS_PACKET + 1]);
    let nothing = datagram(&key, 2, &[]);
    for (bytes, error) in [
        (good[..15].to_vec(), AudioError::NoAudio),
        (vec![], AudioError::NoAudio),
        (other_type, AudioError::NoAudio),
        (good[..17].to_vec(), AudioError::Length),
        (longer, AudioError::Length),
        (huge, AudioError::Length),
        (nothing, AudioError::NotOpus),
    ] {
        assert_eq!(hear(&mut channel, bytes, 1), Err(error));
    }
    assert!(hear(&mut channel, good, 1).is_ok());
}

#[test]
fn a_session_ends_before_its_numbers_begin_again() {
    let (_, mut channel) = talking();
    let mut out = Vec::new();
    channel.sent_sequence = LAST_SEQUENCE - 1;
    assert!(channel.write(&[SPEECH], 0, &mut out, NOW).is_ok());
    assert_eq!(
        channel.write(&[SPEECH], 0, &mut out, NOW),
        Err(AudioError::Spent)
    );
    channel.sent_sequence = 7;
    let last = channel.write(&[SPEECH], u32::MAX, &mut out, NOW);
    assert_eq!(last.map(|sent| sent.timestamp), Ok(u32::MAX));
    let size = out.len();
    assert_eq!(
        channel.write(&[SPEECH], 0, &mut out, NOW),
        Err(AudioError::Spent)
    );
    assert_eq!(out.len(), size);
}

#[test]
fn a_session_takes_little_memory() {
    assert!(size_of::<AudioChannel>() <= 192);
}

#[test]
fn sessions_are_added_up_to_the_limit_and_each_number_once() {
    let mut channels = AudioChannels::new(2);
    let key = |ssrc| AudioKey::new([ssrc as u8; 16], ssrc);
    assert_eq!(channels.insert(key(1), "one", NOW), Ok(()));
    assert_eq!(channels.insert(key(1), "again", NOW), Err(NotAdded::Taken));
    assert_eq!(channels.insert(key(2), "two", NOW), Ok(()));
    assert_eq!(channels.insert(key(3), "three", NOW), Err(NotAdded::Full));
    let mut bytes = datagram(&key(2), 1, &[SPEECH, 5]);
    let (session, heard) = channels.receive(&mut bytes, address(1)).expect("speech");
    assert_eq!((*session, heard.packet), ("two", &[SPEECH, 5][..]));
    let (channel, session) = channels.remove(2).expect("a session");
    assert_eq!((channel.counters().heard, session), (1, "two"));
    let mut bytes = datagram(&key(2), 2, &[SPEECH, 5]);
    let error = channels.receive(&mut bytes, address(1)).map(|_| ());
    assert_eq!(error, Err(AudioError::OtherSession));
    assert_eq!((channels.len(), channels.strays()), (1, 1));
}

/// One thing that happens between three devices and the server.
#[derive(Debug, Clone)]
enum Event {
    /// The device sends its next packet, which arrives.
    Speak { device: usize },
    /// The device gets another address.
    Move { device: usize },
    /// A datagram that was sent at some time arrives, from the address of some device.
    Replay { which: usize, from: usize },
    /// The same with the number of another session written over its own.
    Redirect {
        which: usize,
        to: usize,
        from: usize,
    },
    /// The same with some bytes changed.
    Damage { which: usize, at: usize, with: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    let device = 0usize..3;
    prop_oneof![
        4 => device.clone().prop_map(|device| Event::Speak { device }),
        1 => device.clone().prop_map(|device| Event::Move { device }),
        2 => (any::<usize>(), device.clone())
            .prop_map(|(which, from)| Event::Replay { which, from }),
        2 => (any::<usize>(), device.clone(), device)
            .prop_map(|(which, to, from)| Event::Redirect { which, to, from }),
        1 => (any::<usize>(), any::<usize>(), 1u8..)
            .prop_map(|(which, at, with)| Event::Damage { which, at, with }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever arrives in whatever order: a session hears packets of its own device only, each at
    /// most once and in the order in which they were said.
    #[test]
    fn device_a_never_hears_device_b(
        keys in proptest::array::uniform3(any::<[u8; 16]>()),
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let keys: Vec<AudioKey> = (0u32..).zip(keys)
            .map(|(ssrc, mut key)| {
                key[0] = ssrc as u8;
                AudioKey::new(key, 0xA0 + ssrc)
            })
            .collect();
        let mut channels = AudioChannels::new(3);
        for (index, key) in keys.iter().enumerate() {
            channels.insert(key.clone(), index, NOW).expect("room");
        }
        let mut places = [1u8, 2, 3];
        let mut said: [Vec<Vec<u8>>; 3] = Default::default();
        let mut heard_up_to = [0u32; 3];
        let mut wire: Vec<Vec<u8>> = Vec::new();
        // So many packets that nobody doubts who they are.
        let first = (0..15).map(|number| Event::Speak { device: number % 3 });
        for (step, event) in first.chain(events).enumerate() {
            let count = wire.len().max(1);
            let past = |which: usize| wire.get(which % count).cloned().unwrap_or_default();
            let (mut bytes, from, honest) = match event {
                Event::Speak { device } => {
                    // No two packets are alike.
                    let mut packet = vec![SPEECH, device as u8, step as u8];
                    packet.resize(24, 0x5a);
                    said[device].push(packet.clone());
                    let sequence = said[device].len() as u32;
                    let bytes = datagram(&keys[device], sequence, &packet);
                    wire.push(bytes.clone());
                    (bytes, places[device], true)
                }
                Event::Move { device } => {
                    places[device] += 3;
                    continue;
                }
                Event::Replay { which, from } => (past(which), places[from], true),
                Event::Redirect { which, to, from } => {
                    let mut bytes = past(which);
                    if bytes.is_empty() {
                        continue;
                    }
                    let own = bytes[4..8] == keys[to].ssrc().to_be_bytes();
                    bytes[4..8].copy_from_slice(&keys[to].ssrc().to_be_bytes());
                    (bytes, places[from], own)
                }
                Event::Damage { which, at, with } => {
                    let mut bytes = past(which);
                    if bytes.is_empty() {
                        continue;
                    }
                    let at = at % bytes.len();
                    bytes[at] ^= with;
                    (bytes, 99, false)
                }
            };
            let Ok((session, heard)) = channels.receive(&mut bytes, address(from)) else {
                continue;
            };
            let session = *session;
            prop_assert!(heard.sequence > heard_up_to[session]);
            heard_up_to[session] = heard.sequence;
            for (other, packets) in said.iter().enumerate() {
                if other != session {
                    prop_assert!(packets.iter().all(|packet| packet != heard.packet));
                }
            }
            if honest {
                let original = &said[session][heard.sequence as usize - 1];
                prop_assert_eq!(heard.packet, &original[..]);
                // What the device sent says where it is, even if it came by another way.
                let (channel, _) = channels.get_mut(keys[session].ssrc()).expect("a session");
                prop_assert_eq!(channel.peer(), Some(address(from)));
            }
        }
    }

    /// Noise without the number of a session changes nothing of it.
    #[test]
    fn noise_without_the_number_of_a_session_reaches_nobody(
        mut noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (_, channel) = talking();
        let mut channels = AudioChannels::new(1);
        channels.insert(channel.key().clone(), (), NOW).expect("room");
        if noise.get(4..8) != Some(&0x1234_5678u32.to_be_bytes()) {
            prop_assert!(channels.receive(&mut noise, address(7)).is_err());
        }
        let (channel, ()) = channels.get_mut(0x1234_5678).expect("a session");
        prop_assert_eq!(channel.counters(), AudioCounters::default());
    }

    /// Every datagram to a device opens with the key of its session, and its block counters are
    /// those of no other.
    #[test]
    fn no_two_datagrams_to_a_device_share_a_counter(
        packets in proptest::collection::vec((any::<u32>(), 1usize..300), 1..40),
    ) {
        let (key, mut channel) = talking();
        let mut used = std::collections::HashSet::new();
        for (at, size) in packets {
            let packet: Vec<u8> = (0..size).map(|index| index as u8).collect();
            let mut out = Vec::new();
            // Close to each other, so that they would meet.
            let Ok(sent) = channel.write(&packet, at % 64, &mut out, NOW) else {
                panic!("numbers are far from spent");
            };
            let (header, sound) = opened(&key, &out);
            prop_assert_eq!(&sound, &packet);
            prop_assert_eq!((header.sequence, header.timestamp), (sent.sequence, sent.timestamp));
            prop_assert!(header.timestamp > 0);
            let first = u128::from_be_bytes(header.write());
            for block in 0..size.div_ceil(16) as u128 {
                prop_assert!(used.insert(first + block));
            }
        }
    }
}
