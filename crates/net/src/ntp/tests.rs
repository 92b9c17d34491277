use super::*;

/// 2026-11-22 20:45:00.25 UTC: 1795380300 s after 1970, 4004369100 after 1900.
const RECEIVED: Duration = Duration::new(1_795_380_300, 250_000_000);
/// 250 ms later.
const SENT: Duration = Duration::new(1_795_380_300, 500_000_000);

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("a byte")
        })
        .collect()
}

/// A question of lwIP (ESP-IDF, Arduino's configTime, ESPHome): version 4, all else zero.
fn lwip() -> Vec<u8> {
    let mut packet = vec![0; PACKET];
    packet[0] = 0x23;
    packet
}

/// A question of Tasmota and ESPEasy: leap indicator 3, version 4, poll 6, precision -20, "1N14"
/// as reference.
fn arduino() -> Vec<u8> {
    bytes(
        "E30006EC 00000000 00000000 314E3134
         00000000 00000000 00000000 00000000
         00000000 00000000 00000000 00000000",
    )
}

fn answer(packet: &[u8]) -> Vec<u8> {
    let request = Request::read(packet).expect("a question");
    request.answer(RECEIVED, SENT).as_bytes().to_vec()
}

#[test]
fn a_question_is_answered_byte_by_byte_as_rfc_5905_says() {
    let mut question = lwip();
    question[2] = 4;
    question[40..].copy_from_slice(&bytes("EEADBEEF 01020304"));
    let expected = bytes(
        // Leap 0, version 4, mode 4; stratum 10; poll as asked; precision 2^-20.
        "24 0A 04 EC
         00000000 00001999 7F7F0101
         EEADD2CC 00000000
         EEADBEEF 01020304
         EEADD2CC 40000000
         EEADD2CC 80000000",
    );
    assert_eq!(answer(&question), expected);
}

#[test]
fn what_devices_send_is_answered_in_their_version() {
    assert_eq!(answer(&lwip())[0], 0x24);
    assert_eq!(answer(&arduino())[0], 0x24);
    for version in 1..=4_u8 {
        let mut packet = lwip();
        packet[0] = version << 3 | 3;
        assert_eq!(answer(&packet)[0], version << 3 | 4);
    }
    // Version 1 had no modes.
    let mut packet = lwip();
    packet[0] = 1 << 3;
    assert_eq!(answer(&packet)[0], 1 << 3 | 4);
}

#[test]
fn only_questions_of_clients_are_answered() {
    for version in 0..=7_u8 {
        for mode in 0..=7_u8 {
            let mut packet = lwip();
            packet[0] = version << 3 | mode;
            let expected = match (version, mode) {
                (1..=4, 3) | (1, 0) => None,
                (1..=4, _) => Some(Ignored::Mode(mode)),
                _ => Some(Ignored::Version(version)),
            };
            assert_eq!(Request::read(&packet).err(), expected, "{version} {mode}");
        }
    }
    // ntpd's `monlist` (mode 7) and `readvar` (mode 6), whose answers were used for floods.
    let monlist = bytes("17 00 03 2A 00000000");
    assert_eq!(Request::read(&monlist), Err(Ignored::Malformed));
    let mut long = monlist;
    long.resize(PACKET, 0);
    assert_eq!(Request::read(&long), Err(Ignored::Mode(7)));
    assert_eq!(
        Request::read(&lwip()[..PACKET - 1]),
        Err(Ignored::Malformed)
    );
    assert_eq!(Request::read(&[]), Err(Ignored::Malformed));
}

#[test]
fn extension_fields_are_stepped_over_and_what_is_no_field_is_not() {
    let with = |rest: &str| {
        let mut packet = lwip();
        packet.extend(bytes(rest));
        packet
    };
    // A unique identifier (RFC 8915) of 36 bytes, and padding of 16 before it.
    let identifier = "0104 0024".to_owned() + &"AA".repeat(32);
    let padding = "0002 0010".to_owned() + &"00".repeat(12);
    for fields in [identifier.clone(), padding + &identifier] {
        let packet = with(&fields);
        assert_eq!(answer(&packet).len(), PACKET);
    }
    for broken in [
        "00",
        "00000000",
        "0104 0000 00000000 00000000 00000000",
        "0104 0011 00000000 00000000 00000000",
        "0104 0024 AAAAAAAA AAAAAAAA AAAAAAAA AAAAAAAA AAAAAAAA AAAAAAAA AAAAAAAA",
    ] {
        assert_eq!(
            Request::read(&with(broken)),
            Err(Ignored::Malformed),
            "{broken}"
        );
    }
}

#[test]
fn a_question_with_an_authenticator_learns_that_we_share_no_key() {
    for digest in [8, 16, 20] {
        let mut packet = lwip();
        packet.extend([0, 0, 0, 7]);
        packet.extend(vec![0x5A; digest]);
        let answer = answer(&packet);
        assert_eq!(answer.len(), PACKET + 4);
        assert_eq!(answer[PACKET..], [0; 4]);
        assert!(answer.len() <= packet.len());
    }
}

#[test]
fn a_clock_that_was_never_set_says_so_in_every_way_there_is() {
    let request = Request::read(&arduino()).expect("a question");
    for never_set in [
        Duration::ZERO,
        Duration::from_secs(300),
        NEVER_BEFORE - Duration::from_secs(1),
    ] {
        let answer = request.answer(never_set, never_set);
        let bytes = answer.as_bytes();
        assert_eq!(bytes[0] >> 6, 3, "leap indicator: not synchronized");
        assert_eq!(bytes[1], 0, "stratum: a kiss code follows");
        assert_eq!(&bytes[12..16], b"INIT");
    }
    let set = request.answer(NEVER_BEFORE, NEVER_BEFORE);
    assert_eq!((set.as_bytes()[0] >> 6, set.as_bytes()[1]), (0, 10));
}

#[test]
fn who_asks_too_often_is_told_so_without_the_time() {
    let mut question = lwip();
    question[40..].copy_from_slice(&bytes("EEADBEEF 01020304"));
    let request = Request::read(&question).expect("a question");
    let answer = request.slow_down();
    assert_eq!(
        answer.as_bytes(),
        bytes(
            "E4 00 00 EC 00000000 00000000 52415445
             00000000 00000000 EEADBEEF 01020304 EEADBEEF 01020304 EEADBEEF 01020304"
        )
    );
}

#[test]
fn the_time_goes_on_after_2036() {
    let request = Request::read(&lwip()).expect("a question");
    // 2036-02-07 06:28:16 and half a second: half a second into era 1.
    let turn = Duration::new(2_085_978_496, 500_000_000);
    let answer = request.answer(turn, turn);
    assert_eq!(answer.as_bytes()[40..], bytes("00000000 80000000"));
    // What lwIP makes of it: seconds of era 1 lie 2085978496 after 1970.
    let seconds = u32::from_be_bytes([0, 0, 0, 0]);
    assert_eq!(u64::from(seconds) + 2_085_978_496, turn.as_secs());
    let exactly = Duration::from_secs(2_085_978_496);
    let answer = request.answer(exactly, exactly);
    assert_ne!(answer.as_bytes()[40..], [0; 8], "zero means: not known");
}

#[test]
fn a_clock_before_1970_counts_as_1970() {
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    assert_eq!(since_1970(before), Duration::ZERO);
    let after = SystemTime::UNIX_EPOCH + RECEIVED;
    assert_eq!(since_1970(after), RECEIVED);
}
