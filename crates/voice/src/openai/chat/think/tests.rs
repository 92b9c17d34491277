use proptest::prelude::*;

use super::*;

fn said<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut filter = ThinkFilter::new();
    let mut said = String::new();
    for piece in pieces {
        filter.feed(piece, &mut said);
        assert!(filter.held.len() < CLOSE.len());
    }
    filter.finish(&mut said);
    said
}

#[test]
fn what_is_thought_is_not_said() {
    for (text, expected) in [
        ("<think>hm, <think> of it</think>\n\nYes. ", "Yes. "),
        ("Yes.<think>never ends", "Yes."),
        ("\n Yes <thinking of it", "Yes <thinking of it"),
        ("One.<think>hm</think> Two.", "One.Two."),
        ("</think>Yes.", "Yes."),
        ("a < b </thin", "a < b </thin"),
        ("<think>", ""),
    ] {
        assert_eq!(said([text]), expected, "{text}");
    }
}

proptest! {
    #[test]
    fn where_the_text_is_cut_changes_nothing(
        parts in proptest::collection::vec("<think>|</think>|<|</|think|>|[a-z ]{1,3}|字|\n", 0..20),
        seed in proptest::collection::vec(1_usize..9, 1..30),
    ) {
        let text = parts.concat();
        let whole = said([text.as_str()]);
        let characters: Vec<String> = text.chars().map(String::from).collect();
        prop_assert_eq!(&said(characters.iter().map(String::as_str)), &whole);
        let mut pieces = Vec::new();
        let mut rest = characters.as_slice();
        for length in seed.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, more) = rest.split_at((*length).min(rest.len()));
            pieces.push(piece.concat());
            rest = more;
        }
        prop_assert_eq!(&said(pieces.iter().map(String::as_str)), &whole);
    }

    #[test]
    fn all_that_is_said_is_handed_on_and_nothing_that_is_thought(
        parts in proptest::collection::vec(("[a-z]{1,4}", "[a-z<>/ \n]{0,6}"), 0..8),
        cut in 1_usize..12,
    ) {
        let text: String =
            parts.iter().map(|(said, thought)| format!("{said}<think>{thought}</think>\n\n")).collect();
        let expected: String = parts.iter().map(|(said, _)| said.as_str()).collect();
        let pieces = text.as_bytes().chunks(cut).map(|piece| std::str::from_utf8(piece).unwrap_or(""));
        prop_assert_eq!(said(pieces), expected);
    }
}
