//! What must hold of every log, whatever somebody pastes.

use safeport_doctor::limits::{BOOTS, CLUES, QUOTE_CHARS, TO_PROBE};
use safeport_doctor::{LogReading, Place, catalogue, explain, read_log, read_log_bytes};

/// A log from a stranger. Reading never panics and is the same each time; what is quoted is short,
/// plain and without secrets; clues stand in the order of the log, and every one says where.
pub fn read(data: &[u8]) {
    let reading = read_log_bytes(data);
    hold(&reading);
    assert_eq!(reading, read_log_bytes(data));

    let text = String::from_utf8_lossy(data);
    // An empty line in front moves the others down, and changes nothing else.
    let (first, below) = (read_log(&text), read_log(&format!("\n{text}")));
    assert_eq!(causes(&first, 1), causes(&below, 0));

    let secret = "zq9Secret7qz";
    let hidden = format!("{text}\nE (9) app: login failed, password: {secret}\n");
    let reading = read_log(&hidden);
    hold(&reading);
    assert!(!format!("{reading:?}").contains(secret));

    let short: String = text.chars().take(400).collect();
    for explained in explain(&short) {
        assert!(!explained.code.is_empty());
        assert_eq!(explained.layer, explained.cause.layer());
    }
}

fn hold(reading: &LogReading) {
    assert!(reading.evidence.clues.len() <= 2 * CLUES + 8);
    assert!(reading.to_probe.len() <= TO_PROBE);
    assert!(reading.boots.len() <= BOOTS);
    let mut last = 0;
    for clue in &reading.evidence.clues {
        assert_eq!(clue.layer, clue.cause.layer());
        assert!(clue.quote.en.chars().count() <= QUOTE_CHARS);
        assert!(!clue.quote.en.chars().any(char::is_control));
        let line = match clue.place {
            Place::DeviceLog { line } | Place::ServerLog { line } => line,
            other => panic!("{other:?} is no place of a log"),
        };
        assert!(line >= last.max(1), "line {line} after {last}");
        last = line;
        if let Some(entry) = &clue.entry {
            assert!(catalogue().entry(entry).is_some(), "{entry}");
        }
    }
    for boot in &reading.boots {
        assert!(boot.first_line <= boot.last_line);
    }
    for address in &reading.to_probe {
        assert!(!address.contains("***") && !address.contains(char::is_whitespace));
    }
}

/// Which cause each line points to; `lower` lines further down.
fn causes(reading: &LogReading, lower: u32) -> Vec<(u32, &'static str)> {
    let clues = reading.evidence.clues.iter();
    clues
        .map(|clue| match clue.place {
            Place::DeviceLog { line } | Place::ServerLog { line } => {
                (line + lower, clue.cause.code())
            }
            _ => (0, clue.cause.code()),
        })
        .collect()
}
