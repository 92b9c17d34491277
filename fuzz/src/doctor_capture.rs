//! What must hold of every packet capture, whatever somebody hands in.

use safeport_doctor::limits::{CAPTURE_CLUES, QUOTE_CHARS};
use safeport_doctor::{Place, read_capture};

/// A capture from a stranger. Reading never panics and is the same each time; what is quoted is short
/// and plain; clues stand in the order of the packets, and every one says at which.
pub fn read(data: &[u8]) {
    let reading = read_capture(data);
    assert!(reading.conversations <= reading.packets as usize);
    assert!(reading.evidence.clues.len() + reading.evidence.passed.len() <= CAPTURE_CLUES);
    let mut last = 1;
    for clue in &reading.evidence.clues {
        assert!(clue.quote.en.chars().count() <= QUOTE_CHARS);
        assert!(!clue.quote.en.chars().any(char::is_control));
        assert_eq!(clue.layer, clue.cause.layer());
        let Place::Capture { packet } = clue.place else {
            panic!("{:?} is no place of a capture", clue.place);
        };
        assert!((last..=reading.packets).contains(&packet));
        last = packet;
    }
    for value in reading.evidence.facts.0.values() {
        assert!(!value.chars().any(char::is_control));
    }
    assert_eq!(reading, read_capture(data));
}
