use core::time::Duration;
use std::format;
use std::vec::Vec;

use super::stamp::{Clock, peel};
use super::*;

fn at(line: &str) -> Option<(u128, Clock)> {
    let (stamp, _, rest) = peel(line);
    assert!(rest.starts_with("MQT"), "{line}: {rest}");
    stamp.map(|stamp| (stamp.since.as_millis(), stamp.clock))
}

#[test]
fn stamps_of_devices_servers_and_terminals_are_taken_off() {
    let wall = Some((1_753_351_872_000, Clock::Wall));
    for (line, expected) in [
        ("10:11:12.345 MQT", Some((36_672_345, Clock::Day))),
        ("10:11:12 MQT", Some((36_672_000, Clock::Day))),
        ("[10:11:12] MQT", Some((36_672_000, Clock::Day))),
        ("10:11:12.345 -> MQT", Some((36_672_345, Clock::Day))),
        (
            "10:11:12.345 -> 00:00:07.100 MQT",
            Some((7_100, Clock::Day)),
        ),
        ("2025-07-24 10:11:12 MQT", wall),
        ("2025-07-24T10:11:12Z MQT", wall),
        ("2025-07-24T18:11:12+08:00 MQT", wall),
        ("2025/07/24 10:11:12 MQT", wall),
        ("[2025-07-24 10:11:12,000] MQT", wall),
        ("250724 10:11:12 MQT", wall),
        ("1753351872: MQT", wall),
        ("1506427: MQTT : x", Some((1_506_427, Clock::Boot))),
        ("4000000000: MQTT : x", Some((4_000_000_000, Clock::Boot))),
        (
            "<134>Jul 24 10:11:12 plug-1 MQT",
            Some((36_672_000, Clock::Day)),
        ),
        ("plug-1  | 10:11:12 MQT", Some((36_672_000, Clock::Day))),
        ("MQT 10:11:12", None),
    ] {
        assert_eq!(at(line), expected, "{line}");
    }
    assert_eq!(peel("[10:11:12.5][W][mqtt:1]: x").2, "[W][mqtt:1]: x");
    // What only looks like one stays.
    for line in ["25:11:12 x", "2025-13-40 10:11:12 x", "10:61:12 x", "12: x"] {
        let (_, _, rest) = peel(line);
        assert!(rest.ends_with('x'), "{line}");
    }
    assert_eq!(peel("Jul 24 10:11:12 plug-1 ESP-MQT: x").1, Some("plug-1"));
    assert_eq!(peel("plug-1  | MQT").1, Some("plug-1"));
}

#[test]
fn a_time_of_day_goes_on_after_midnight_and_other_clocks_do_not() {
    let stamp = |line: &str| peel(line).0.expect("a stamp");
    let late = stamp("23:59:59.500 MQT");
    let early = stamp("00:00:00.250 MQT");
    assert_eq!(early.after(late), Some(Duration::from_millis(750)));
    let later = stamp("2000: MQTT : x");
    assert_eq!(stamp("1000: MQTT : x").after(later), None);
    assert_eq!(later.after(late), None);
}

#[test]
fn two_boards_on_one_terminal_are_told_apart_by_their_lines() {
    let log = "00:10:00.000 MQT: Attempting connection...\n\
        E (900) esp-tls: [sock=54] delayed connect error: Host is unreachable\n\
        00:10:00.900 MQT: Connected\n\
        I (910) app: waiting\n";
    let reading = read_log(log);
    assert_eq!(reading.stacks, ["idf", "tasmota"]);
    let clues: Vec<Cause> = reading
        .evidence
        .clues
        .iter()
        .map(|clue| clue.cause)
        .collect();
    assert_eq!(clues, [Cause::HostUnreachable]);
}

#[test]
fn of_many_tries_only_the_last_burst_is_told() {
    let mut log = alloc::string::String::new();
    for (second, number) in [(0, 56), (10, 62), (20, 23)] {
        log.push_str(&format!(
            "10:00:{second:02}.100 MQT: TLS connection error: {number}\n\
             10:00:{second:02}.101 MQT: Connect failed to b.example:8883, rc -2. Retry in 10 sec\n"
        ));
    }
    // The next try is cut off before it says why.
    log.push_str("10:00:30.101 MQT: Connect failed to b.example:8883, rc -2. Retry in 10 sec\n");
    let clues = read_log(&log).evidence.clues;
    let named = clues
        .iter()
        .filter(|clue| clue.strength > Strength::Carrier);
    let causes: Vec<Cause> = named.map(|clue| clue.cause).collect();
    assert_eq!(causes, [Cause::KeyTooLarge]);
}

#[test]
fn what_failed_once_and_works_now_is_no_clue_and_what_fails_again_and_again_is() {
    let fails = "10:00:00.100 MQT: Connect failed to b.example:1883, rc -4. Retry in 10 sec\n";
    let works = "10:00:10.100 MQT: Connected\n";
    assert_eq!(read_log(&[fails, works].concat()).evidence.clues, []);
    assert_eq!(read_log(&[works, fails].concat()).evidence.clues.len(), 1);
    let again: alloc::string::String = (0..4)
        .map(|minute| format!("{fails}{works}").replace("10:00", &format!("10:{minute:02}")))
        .collect();
    assert_eq!(read_log(&again).evidence.clues.len(), 1);
    // Wi-Fi that came up says nothing of the broker.
    let wifi = "10:00:12.000 WIF: Connected\n";
    assert_eq!(read_log(&[fails, wifi].concat()).evidence.clues.len(), 1);
}

#[test]
fn remarks_say_whose_lines_follow_and_which_are_older() {
    // Without the remark nobody would know whose line that is.
    let reading = read_log("# broker\ntlsv1 alert unknown ca\n");
    assert_eq!(
        reading.evidence.clues[0].place,
        Place::ServerLog { line: 2 }
    );
    let log = "00:00:05.000 MQT: TLS connection error: 62\n\
        # the evening before that:\n\
        20:00:00.000 MQT: TLS connection error: 23\n";
    let reading = read_log(log);
    assert_eq!(reading.evidence.clues.len(), 1);
    assert_eq!(reading.evidence.clues[0].cause, Cause::ChainNotTrusted);
}
