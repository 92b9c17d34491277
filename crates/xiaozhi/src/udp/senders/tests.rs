use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::super::tests::{NOW, SPEECH, address, datagram, hear, talking, vector_key};
use super::super::{AudioChannel, AudioError, AudioHeader, AudioKey};
use super::*;
use crate::limits::MAX_MISSED;

/// CELT fullband mono of 20 ms.
const MUSIC: u8 = 0xf8;
const NOT_YET: Result<(u32, Peer), AudioError> = Err(AudioError::Unfamiliar);

/// A session whose device is beyond doubt at [`address`]`(1)`, heard up to number 5.
fn proven() -> (AudioKey, AudioChannel) {
    let (key, mut channel) = talking();
    for sequence in 2..=5 {
        let heard = hear(&mut channel, datagram(&key, sequence, &[SPEECH, 1]), 1);
        assert_eq!(heard, Ok((sequence, Peer::Same)));
    }
    (key, channel)
}

/// Numbers that are the same on every machine (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// What a forger sends who has seen a datagram: all but what is in it.
    fn forged(&mut self, key: &AudioKey, sequence: u32) -> Vec<u8> {
        let length = 40 + self.next() % 100;
        let header = AudioHeader {
            length: length as u16,
            ssrc: key.ssrc(),
            timestamp: 0,
            sequence,
        };
        let mut bytes = header.write().to_vec();
        bytes.extend((0..length).map(|_| self.next() as u8));
        bytes
    }
}

#[test]
fn a_device_that_moves_is_followed_from_its_fourth_packet_on() {
    let (key, mut channel) = proven();
    let speech = |sequence| datagram(&key, sequence, &[SPEECH, 9]);
    for sequence in 6..9 {
        assert_eq!(hear(&mut channel, speech(sequence), 2), NOT_YET);
        assert_eq!(channel.peer(), Some(address(1)));
    }
    assert_eq!(hear(&mut channel, speech(9), 2), Ok((9, Peer::Moved)));
    assert_eq!(hear(&mut channel, speech(10), 2), Ok((10, Peer::Same)));
    assert_eq!(
        hear(&mut channel, speech(8), 1),
        Err(AudioError::Late),
        "what was overtaken on the old way"
    );
    for sequence in 11..14 {
        assert_eq!(hear(&mut channel, speech(sequence), 1), NOT_YET);
    }
    assert_eq!(hear(&mut channel, speech(14), 1), Ok((14, Peer::Moved)));
    let counters = channel.counters();
    assert_eq!((counters.moved, counters.implausible), (2, 6));
    assert_eq!(counters.missed, 6, "those that were not believed");
}

#[test]
fn a_device_that_moves_and_sends_a_new_kind_loses_one_packet_more() {
    let (key, mut channel) = proven();
    let music = |sequence| datagram(&key, sequence, &[MUSIC, 1]);
    for sequence in 6..10 {
        assert_eq!(hear(&mut channel, music(sequence), 2), NOT_YET);
    }
    assert_eq!(hear(&mut channel, music(10), 2), Ok((10, Peer::Moved)));
}

#[test]
fn what_is_lost_doubled_or_overtaken_at_a_new_address_neither_proves_nor_disproves() {
    let (key, mut channel) = proven();
    let speech = |sequence| datagram(&key, sequence, &[SPEECH, 9]);
    for sequence in [7, 7, 6, 7, 10, 40, 10, 40] {
        assert_eq!(hear(&mut channel, speech(sequence), 2), NOT_YET);
    }
    assert_eq!(hear(&mut channel, speech(41), 2), Ok((41, Peer::Moved)));
}

#[test]
fn an_implausible_packet_disproves_its_sender_and_no_other() {
    let (key, mut channel) = proven();
    let speech = |sequence| datagram(&key, sequence, &[SPEECH, 9]);
    // Code 3 with no frames.
    let nothing = |sequence| datagram(&key, sequence, &[SPEECH | 3, 0]);
    for sequence in 6..9 {
        assert_eq!(hear(&mut channel, speech(sequence), 2), NOT_YET);
        assert_eq!(hear(&mut channel, speech(sequence), 3), NOT_YET);
    }
    let no = Err(AudioError::NotOpus);
    assert_eq!(hear(&mut channel, nothing(9), 2), no);
    assert_eq!(hear(&mut channel, nothing(9), 1), no, "and not the device");
    assert_eq!(hear(&mut channel, speech(9), 2), NOT_YET);
    assert_eq!(hear(&mut channel, speech(9), 1), Ok((9, Peer::Same)));
    assert_eq!(hear(&mut channel, speech(10), 3), Ok((10, Peer::Moved)));
}

#[test]
fn a_far_jump_of_the_numbers_needs_four_packets_from_the_device_itself_too() {
    let (key, mut channel) = proven();
    let speech = |sequence| datagram(&key, sequence, &[SPEECH, 9]);
    let near = 5 + USUAL_GAP + 1;
    assert_eq!(hear(&mut channel, speech(near), 1), Ok((near, Peer::Same)));
    let far = near + MAX_MISSED - 5;
    for sequence in far..far + 3 {
        assert_eq!(hear(&mut channel, speech(sequence), 1), NOT_YET);
    }
    // What it says in between is heard.
    let between = hear(&mut channel, speech(near + 1), 1);
    assert_eq!(between, Ok((near + 1, Peer::Same)));
    let last = hear(&mut channel, speech(far + 3), 1);
    assert_eq!(last, Ok((far + 3, Peer::Same)));
}

#[test]
fn one_packet_finds_a_device_and_a_stranger_who_came_first_gives_way() {
    let key = vector_key();
    let mut channel = AudioChannel::new(key.clone(), NOW);
    let speech = |sequence| datagram(&key, sequence, &[SPEECH, 9]);
    let forged = |sequence| datagram(&key, sequence, &[MUSIC, 9]);
    let far = FIRST_GAP + 2;
    assert_eq!(hear(&mut channel, forged(far), 9), NOT_YET);
    let first = FIRST_GAP + 1;
    let found = Ok((first, Peer::Found));
    assert_eq!(hear(&mut channel, forged(first), 9), found);
    assert_eq!(channel.peer(), Some(address(9)));
    for sequence in 1..first {
        assert_eq!(
            hear(&mut channel, speech(sequence), 1),
            Err(AudioError::Late)
        );
    }
    for sequence in first + 1..first + 5 {
        assert_eq!(hear(&mut channel, speech(sequence), 1), NOT_YET);
    }
    let moved = Ok((first + 5, Peer::Moved));
    assert_eq!(hear(&mut channel, speech(first + 5), 1), moved);
}

#[test]
fn an_implausible_packet_of_who_was_found_first_forgets_them() {
    let key = vector_key();
    let mut channel = AudioChannel::new(key.clone(), NOW);
    let speech = |sequence| datagram(&key, sequence, &[SPEECH, 9]);
    assert!(hear(&mut channel, datagram(&key, 5, &[MUSIC, 9]), 9).is_ok());
    let nothing = datagram(&key, 6, &[SPEECH | 3, 0]);
    assert_eq!(hear(&mut channel, nothing, 9), Err(AudioError::NotOpus));
    assert_eq!(channel.peer(), None);
    assert_eq!(hear(&mut channel, speech(1), 1), Ok((1, Peer::Found)));
}

#[test]
fn a_device_whose_first_packets_are_lost_is_found_by_those_that_follow() {
    let key = vector_key();
    let mut channel = AudioChannel::new(key.clone(), NOW);
    let speech = |sequence| datagram(&key, sequence, &[SPEECH, 9]);
    for sequence in 100..104 {
        assert_eq!(hear(&mut channel, speech(sequence), 1), NOT_YET);
    }
    assert_eq!(hear(&mut channel, speech(104), 1), Ok((104, Peer::Found)));
}

/// A million from one other address, from many, and with numbers near and far: with one kind, one
/// of 5 * 10^8 would move the session (see the module).
#[test]
fn of_a_million_forged_datagrams_none_moves_a_session_or_uses_up_a_number() {
    let (key, mut channel) = proven();
    let mut dice = Dice(7);
    let mut next = 6;
    for round in 0..1_000_000u32 {
        let ahead = match round % 3 {
            0 => round % 50,
            1 => 0,
            _ => (dice.next() % u64::from(MAX_MISSED)) as u32,
        };
        let mut bytes = dice.forged(&key, next + ahead);
        let last = if round < 500_000 { 2 } else { 2 + round % 200 };
        assert!(channel.receive(&mut bytes, address(last as u8)).is_err());
        if round % 50_000 == 0 {
            let heard = hear(&mut channel, datagram(&key, next, &[SPEECH, 1]), 1);
            assert_eq!(heard, Ok((next, Peer::Same)));
            next += 1;
        }
    }
    assert_eq!(channel.counters().moved, 0);
    assert_eq!(channel.counters().missed, 0);
}

/// With as many kinds as are known, one forged packet in 64 is of a known one. The same holds.
#[test]
fn noise_does_not_move_a_device_that_sends_many_kinds() {
    let (key, mut channel) = proven();
    let kinds = [SPEECH, SPEECH - 8, SPEECH - 16, MUSIC];
    for (sequence, kind) in (6..).zip(kinds) {
        assert!(hear(&mut channel, datagram(&key, sequence, &[kind, 1]), 1).is_ok());
    }
    let mut dice = Dice(8);
    for round in 0..300_000u32 {
        let mut bytes = dice.forged(&key, 10 + round % 40);
        assert!(channel.receive(&mut bytes, address(2)).is_err());
    }
    let heard = hear(&mut channel, datagram(&key, 10, &[MUSIC, 1]), 1);
    assert_eq!(heard, Ok((10, Peer::Same)));
}

#[test]
fn a_flood_of_noise_neither_hinders_a_new_device_nor_one_that_moves_for_long() {
    let mut dice = Dice(9);
    for many in [false, true] {
        for round in 0..50u32 {
            let key = AudioKey::new([round as u8; 16], 7);
            let mut channel = AudioChannel::new(key.clone(), NOW);
            let mut heard = Vec::new();
            // A device that moves after 40 of its packets; 20 of noise come between two of them.
            for sequence in 1..=80u32 {
                for _ in 0..20 {
                    let ahead = (dice.next() % 5) as u32;
                    let mut bytes = dice.forged(&key, sequence + ahead);
                    let from = 100 + (dice.next() % if many { 150 } else { 1 }) as u8;
                    let _ = channel.receive(&mut bytes, address(from));
                }
                let from = if sequence <= 40 { 1 } else { 2 };
                let bytes = datagram(&key, sequence, &[SPEECH, 1, 2]);
                if hear(&mut channel, bytes, from).is_ok() {
                    heard.push(sequence);
                }
            }
            let of = |range: core::ops::Range<u32>| {
                heard.iter().filter(|number| range.contains(number)).count()
            };
            assert!(of(1..41) >= 10, "{many} {round} {heard:?}");
            assert!(of(41..81) >= 20, "{many} {round} {heard:?}");
            assert_eq!(of(75..81), 6, "{many} {round} {heard:?}");
        }
    }
}

#[test]
fn who_is_on_trial_takes_bounded_memory() {
    let (key, mut channel) = proven();
    for from in 10..200 {
        let bytes = datagram(&key, 6, &[SPEECH, 1]);
        assert_eq!(hear(&mut channel, bytes, from), NOT_YET);
        assert!(channel.senders.trials.len() <= MAX_TRIALS);
    }
    // Those with more to show stay.
    for (sequence, stranger) in (7..10).zip([20, 40, 60]) {
        let bytes = datagram(&key, sequence, &[SPEECH, 1]);
        let heard = hear(&mut channel, bytes, 199);
        assert_eq!(heard.is_ok(), sequence == 9);
        for from in stranger..stranger + 20 {
            let _ = hear(&mut channel, datagram(&key, 8, &[SPEECH, 1]), from);
        }
    }
    assert_eq!(channel.peer(), Some(address(199)));
}

/// What the network does with the next packet of a device.
#[derive(Debug, Clone)]
enum Way {
    Arrives,
    Lost,
    Doubled,
    /// Arrives after as many others.
    Late(usize),
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        8 => Just(Way::Arrives),
        3 => Just(Way::Lost),
        1 => Just(Way::Doubled),
        1 => (1usize..6).prop_map(Way::Late),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What arrives from the device is heard, each number once and in order: nothing of what keeps
    /// strangers out costs a packet on a bad network.
    #[test]
    fn a_device_on_a_bad_network_is_heard_as_if_there_were_no_strangers(
        ways in proptest::collection::vec(way(), 1..200),
        kinds in proptest::collection::vec(0u8..3, 200),
    ) {
        let (key, mut channel) = proven();
        let mut arriving: Vec<(usize, u32, u8)> = Vec::new();
        for (at, way) in ways.iter().enumerate() {
            let number = 6 + at as u32;
            let kind = [SPEECH, SPEECH - 8, MUSIC][usize::from(kinds[at])];
            match way {
                Way::Arrives => arriving.push((at, number, kind)),
                Way::Lost => {}
                Way::Doubled => arriving.extend(vec![(at, number, kind); 2]),
                Way::Late(by) => arriving.push((at + by, number, kind)),
            }
        }
        arriving.sort_by_key(|(at, ..)| *at);
        let mut last = 5;
        for (_, number, kind) in arriving {
            let heard = hear(&mut channel, datagram(&key, number, &[kind, 1, 2]), 1);
            // 200 packets that are all lost make no gap that is unusual.
            let is_new = number > last && number - last <= USUAL_GAP;
            prop_assert_eq!(heard.is_ok(), is_new, "{} after {}", number, last);
            if is_new {
                last = number;
            }
        }
    }
}
