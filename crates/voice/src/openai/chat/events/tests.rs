use proptest::prelude::*;

use super::*;

fn read(pieces: &[&[u8]]) -> Vec<Event> {
    let mut reader = Events::default();
    let mut events = Vec::new();
    for piece in pieces {
        reader.feed(piece, &mut events).expect("short events");
    }
    reader.finish(&mut events);
    events
}

fn event(kind: &str, data: &str) -> Event {
    Event {
        kind: kind.into(),
        data: data.into(),
    }
}

#[test]
fn fields_are_read_as_the_specification_says() {
    let stream = "\u{feff}data: one\n\nevent: error\r\ndata:two\rdata:  three\r\n\r\n: a comment\nid: 7\nretry\n\ndata\n\ndata: last";
    assert_eq!(
        read(&[stream.as_bytes()]),
        [
            event("", "one"),
            event("error", "two\n three"),
            event("", "last")
        ]
    );
}

#[test]
fn an_event_without_end_is_given_up() {
    let mut reader = Events::default();
    let piece = vec![b'x'; 64 << 10];
    let mut fed = 0;
    while reader.feed(&piece, &mut Vec::new()).is_ok() {
        fed += piece.len();
        assert!(fed <= EVENT_BYTES);
    }
    let mut reader = Events::default();
    let lines = b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(1000);
    let mut fed = 0;
    while reader.feed(&lines, &mut Vec::new()).is_ok() {
        fed += lines.len();
        assert!(fed <= 2 * EVENT_BYTES);
    }
}

proptest! {
    #[test]
    fn where_a_stream_is_cut_changes_nothing(
        lines in proptest::collection::vec(("(data: ?|event: ?|:|id: |)[a-z字 :]{0,6}", "\n|\r|\r\n|\n\n"), 0..20),
        cuts in proptest::collection::vec(0_usize..200, 0..8),
    ) {
        let text: String = lines.into_iter().map(|(line, end)| line + &end).collect();
        let whole = read(&[text.as_bytes()]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
        prop_assert_eq!(&read(&pieces), &whole);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(&read(&bytes), &whole);
    }
}
