//! The body of the fuzz target about logs on stable Rust: the logs we know, cut up, mixed and
//! damaged. The same every time; `FUZZ_ROUNDS=100000` for a long evening.

#[path = "../../../fuzz/src/dice.rs"]
#[allow(dead_code, unreachable_pub)]
mod dice;
#[path = "../../../fuzz/src/doctor_log.rs"]
#[allow(unreachable_pub)]
mod doctor_log;

use std::path::Path;

use dice::{Dice, rounds};
use safeport_doctor::{LogReading, catalogue, read_log, read_log_bytes};

fn known_logs() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/logs");
    let mut files = Vec::new();
    for folder in [folder.clone(), folder.join("more")] {
        for file in std::fs::read_dir(folder).expect("the logs") {
            let path = file.expect("a file").path();
            if path.extension().is_some_and(|end| end == "log") {
                files.push(path);
            }
        }
    }
    files.sort();
    let read = |path| std::fs::read(path).expect("a log");
    files.into_iter().map(read).collect()
}

#[test]
fn logs_cut_up_mixed_and_damaged_are_read_the_same_each_time_without_panic() {
    let logs = known_logs();
    assert!(logs.len() >= 47);
    for log in &logs {
        doctor_log::read(log);
    }
    let samples = catalogue().entries().iter();
    let lines: Vec<&[u8]> = logs
        .iter()
        .flat_map(|log| log.split(|byte| *byte == b'\n'))
        .chain(samples.map(|entry| entry.sample.as_bytes()))
        .collect();
    let mut dice = Dice(0x5AFE_0D0C);
    for _ in 0..rounds(1500) {
        let mut log = Vec::new();
        for _ in 0..dice.below(12) {
            log.extend_from_slice(lines[dice.below(lines.len())]);
            log.extend_from_slice([&b"\n"[..], b"\r\n", b"\r", b""][dice.below(4)]);
        }
        for _ in 0..dice.below(4) {
            let at = dice.below(log.len() + 1);
            match dice.below(4) {
                0 => log.truncate(at),
                1 => log
                    .splice(at..at, (0..dice.below(9)).map(|_| 0xc3))
                    .for_each(drop),
                2 => log.insert(at, dice.next() as u8),
                _ => {
                    if let Some(byte) = log.get_mut(at) {
                        *byte = dice.next() as u8;
                    }
                }
            }
        }
        doctor_log::read(&log);
    }
}

#[test]
fn whoever_puts_a_stamp_in_front_changes_nothing_of_what_a_line_means() {
    let said = |reading: LogReading| -> Vec<(Option<String>, &'static str)> {
        let clues = reading.evidence.clues.into_iter();
        clues.map(|clue| (clue.entry, clue.cause.code())).collect()
    };
    let mut telling = 0;
    for entry in catalogue().entries() {
        let sample = &entry.sample;
        let plain = said(read_log(sample));
        telling += usize::from(!plain.is_empty());
        for stamp in [
            "2025-07-24 10:11:12.123 ",
            "2025-07-24T10:11:12Z ",
            "[2025-07-24 10:11:12] ",
            "14:11:12.123 -> ",
            "\u{1b}[0;31m",
            "[0;33m",
            "\t ",
        ] {
            let stamped = said(read_log(&format!("{stamp}{sample}\u{1b}[0m\r\n")));
            assert_eq!(stamped, plain, "{stamp}{sample}");
        }
        let wide: Vec<u8> = sample.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [&[0xff, 0xfe], &wide[..]].concat();
        assert_eq!(said(read_log_bytes(&marked)), plain, "{sample}");
    }
    assert!(telling > 440, "only {telling} samples point to anything");
}

#[test]
fn reading_ends_at_its_limits_and_says_what_was_left_out() {
    // One line of ten megabytes: its beginning is read.
    let long = format!(
        "E (1) esp-tls: [sock=54] delayed connect error: Host is unreachable {}",
        "x".repeat(10 << 20)
    );
    let reading = read_log(&long);
    assert_eq!(reading.evidence.clues.len(), 1);
    assert_eq!(reading.left_out.len(), 1, "{:?}", reading.left_out);

    // More lines than are read: the last ones are, with their numbers.
    let mut many = "I (1) app: hello\n".repeat(1_000_100);
    many.push_str("E (9000) esp-tls: [sock=54] delayed connect error: Host is unreachable");
    let reading = read_log(&many);
    assert_eq!(reading.lines, 1_000_000);
    assert_eq!(reading.left_out.len(), 1);
    let clue = &reading.evidence.clues[0];
    assert_eq!(
        clue.place,
        safeport_doctor::Place::DeviceLog { line: 1_000_101 }
    );

    // Nothing at all.
    let reading = read_log("");
    assert!(reading.evidence.clues.is_empty() && reading.lines == 0);
    assert!(reading.left_out.is_empty() && reading.stacks.is_empty());
}

#[test]
fn a_device_that_fails_for_days_leaves_no_more_than_the_limits_allow() {
    let mut log = String::new();
    for minute in 0..20_000_u64 {
        let at = minute * 60_000;
        log.push_str(&format!(
            "E ({at}) esp-tls: [sock=54] delayed connect error: Connection refused\nE ({at}) EspTcp: Failed to connect to 10.0.0.{}:{}, code=0x6f\n",
            minute % 250,
            minute % 60_000 + 1
        ));
    }
    let reading = read_log(&log);
    assert_eq!(reading.lines, 40_000);
    assert!(
        reading.evidence.clues.len() <= 4,
        "{:#?}",
        reading.evidence.clues
    );
    assert!(reading.to_probe.len() <= safeport_doctor::limits::TO_PROBE);
    assert_eq!(reading.to_probe[0], "10.0.0.249:20000");
}
