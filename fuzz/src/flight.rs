//! What must hold of a server's answer to a ClientHello, whatever it is.

use std::time::Duration;

use safeport_doctor::limits::{CHAIN_CERTIFICATES, FLIGHT_BYTES, FLIGHT_RECORDS};
use safeport_doctor::profile::Profile;
use safeport_doctor::target::Host;
use safeport_doctor::tls::{Circumstances, Flight, FlightReader, How, Offer, Seen, table};
use safeport_doctor::{Clue, Place};

/// The answer of a stranger. Reading never panics and keeps little; how the bytes are cut makes no
/// difference; whatever is in them, every device comes to a verdict that can be shown.
pub fn answer(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let how = [How::Closed, How::Reset, How::Silent][usize::from(first % 3)];
    let step = 1 + usize::from(first / 3);
    let whole = read([bytes].into_iter(), how);
    let cut = read(bytes.chunks(step), how);
    assert_eq!(
        Flight {
            bytes: 0,
            ..whole.clone()
        },
        Flight { bytes: 0, ..cut },
        "by {step}"
    );
    assert!(whole.bytes <= FLIGHT_BYTES && whole.records.len() <= FLIGHT_RECORDS);
    assert!(whole.chain.len() <= CHAIN_CERTIFICATES);
    let place = Place::Probe { stage: 6 };
    show(&whole.clues(place));
    let host = Host::Name("hub.example".into());
    let circumstances = Circumstances {
        host: &host,
        anchors: &[],
        own: &[],
        known: &[],
        now: Duration::from_secs(1_788_220_800),
        device_time: first.is_multiple_of(2).then_some(Duration::ZERO),
        pin: None,
        place,
    };
    let mut seen = Seen::default();
    for profile in Profile::ALL.iter().step_by(1 + usize::from(first % 4)) {
        seen.note(Offer::of(profile), whole.clone());
    }
    seen.note(Offer::wide(), whole.clone());
    let profiles: Vec<&'static Profile> = Profile::ALL.iter().collect();
    for outcome in table(&seen, &circumstances, &profiles) {
        show(&outcome.clues);
        if let Some(cause) = outcome.cause() {
            assert_eq!(outcome.clues[0].cause, cause);
        }
    }
    if let Some(clue) = seen.default_certificate(&circumstances) {
        show(&[clue]);
    }
}

fn read<'a>(parts: impl Iterator<Item = &'a [u8]>, how: How) -> Flight {
    let mut reader = FlightReader::new();
    for part in parts {
        if reader.feed(part) {
            return reader.end(How::Enough);
        }
    }
    reader.end(how)
}

/// Quotes are for people: short, in both languages, without anything that moves a terminal.
pub fn show(clues: &[Clue]) {
    for clue in clues {
        for text in [&clue.quote.en, &clue.quote.zh] {
            assert!(!text.is_empty() && text.chars().count() <= 300, "{text}");
            assert!(text.chars().all(|c| !c.is_control()), "{text:?}");
        }
    }
}
