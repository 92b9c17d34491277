use super::*;
use crate::limits::{LINK_TARGET, LINK_TEXT};
use proptest::prelude::*;

/// The sentences of a text in these pieces.
fn split<'a>(pieces: impl IntoIterator<Item = &'a str>) -> Vec<Sentence> {
    let mut sentences = Sentences::default();
    let mut all = Vec::new();
    for piece in pieces {
        sentences.push(piece);
        all.extend(std::iter::from_fn(|| sentences.next()));
    }
    sentences.finish();
    all.extend(std::iter::from_fn(|| sentences.next()));
    all
}

fn shown(text: &str) -> Vec<String> {
    split([text]).into_iter().map(|s| s.shown).collect()
}

fn spoken(text: &str) -> Vec<String> {
    split([text]).into_iter().map(|s| s.spoken).collect()
}

#[test]
fn sentences_end_at_the_stops_of_both_scripts() {
    assert_eq!(
        shown("你好。今天怎么样？很好！那么；再见……\nHello there. How are you? Fine!"),
        [
            "你好。",
            "今天怎么样？",
            "很好！",
            "那么；",
            "再见……",
            "Hello there.",
            "How are you?",
            "Fine!"
        ]
    );
    assert_eq!(
        shown("今天25.5度。Turn on the LED灯!好的"),
        ["今天25.5度。", "Turn on the LED灯!", "好的"]
    );
}

#[test]
fn numbers_abbreviations_addresses_and_trailing_dots_end_no_sentence() {
    for text in [
        "Pi is 3.14 and the version is 1.2.3 now.",
        "Dr. Smith and Mrs. Jones met e.g. at noon.",
        "Das ist z.B. Milch, d.h. sie ist weiß.",
        "See https://example.com/a.b?c=d!e for more.",
        "Well... maybe that is so.",
        "Well… maybe that is so.",
        "It costs approx. five euros at J. Miller's.",
        "The U.S. team won.",
        "在 example.com 可以看到 3.5 折。",
    ] {
        assert_eq!(shown(text), [text]);
    }
    assert_eq!(
        shown("1. Apples\n2. Pears\n10. Plums"),
        ["1. Apples", "2. Pears", "10. Plums"]
    );
    assert_eq!(
        shown("It was in 1999. Then it ended... They left."),
        ["It was in 1999.", "Then it ended...", "They left."]
    );
}

#[test]
fn what_closes_a_quote_goes_with_its_sentence() {
    assert_eq!(
        shown("他说：“好。”然后走了。（真的！）嗯。"),
        ["他说：“好。”", "然后走了。", "（真的！）", "嗯。"]
    );
    assert_eq!(
        shown("He said \"Go!\" Then he went (fast.) \"Stop.\" \"No.\" She ran."),
        [
            "He said \"Go!\"",
            "Then he went (fast.)",
            "\"Stop.\"",
            "\"No.\"",
            "She ran."
        ]
    );
    assert_eq!(
        shown("真的吗？！\"你好。\"她说。"),
        ["真的吗？！", "\"你好。\"", "她说。"]
    );
}

#[test]
fn only_the_first_sentence_ends_early() {
    assert_eq!(
        shown(
            "好的，主人。北京今天天气非常晴朗，最高气温二十五度，适合出门。明天也是非常晴朗的一天，最高气温二十度。"
        ),
        [
            "好的，主人。",
            "北京今天天气非常晴朗，最高气温二十五度，适合出门。",
            "明天也是非常晴朗的一天，最高气温二十度。"
        ]
    );
    assert_eq!(
        shown("北京今天天气非常晴朗，最高气温二十五度，适合出门。"),
        ["北京今天天气非常晴朗，", "最高气温二十五度，适合出门。"]
    );
    assert_eq!(
        shown(
            "The weather in Beijing today is sunny, with 1,000 clouds, and so on. It is also warm today in Paris, I hear."
        ),
        [
            "The weather in Beijing today is sunny,",
            "with 1,000 clouds, and so on.",
            "It is also warm today in Paris, I hear."
        ]
    );
}

#[test]
fn emoji_are_shown_and_not_spoken() {
    let sentences = split(["Hello! 😀 How are you? 👨‍👩‍👧❤️\n🎉"]);
    let pairs: Vec<_> = sentences.iter().map(|s| (&*s.shown, &*s.spoken)).collect();
    assert_eq!(
        pairs,
        [
            ("Hello!", "Hello!"),
            ("😀 How are you?", "How are you?"),
            ("👨‍👩‍👧❤️", ""),
            ("🎉", ""),
        ]
    );
    assert_eq!(spoken("太好了😄！按1️⃣。"), ["太好了！", "按1。"]);
}

#[test]
fn marks_of_markdown_are_neither_shown_nor_spoken() {
    for (text, plain) in [
        (
            "**Bold** and *slanted* and `code`.",
            &["Bold and slanted and code."][..],
        ),
        (
            "# Title\n\n- one\n* two\n+ three\n> said",
            &["Title", "one", "two", "three", "said"],
        ),
        (
            "See [the page](https://example.com/a_(b)) now.",
            &["See the page now."],
        ),
        ("![A cat](cat.png) sits.", &["A cat sits."]),
        ("What![A cat](cat.png)", &["WhatA cat"]),
        ("Not [a link] (really).", &["Not [a link] (really)."]),
        (
            "```python\nprint(2 * 3)\n```\nDone.",
            &["print(2 * 3)", "Done."],
        ),
        ("<think>Hm. Ha!</think>Yes.", &["Yes."]),
        ("</think>\n\nYes.", &["Yes."]),
        (
            "2 * 3 is 2*3, 1 < 2 and some_name.",
            &["2 * 3 is 2*3, 1 < 2 and some_name."],
        ),
        ("a<br>b <b>c</b>", &["a", "b c"]),
        ("Above\n---\n***\nBelow", &["Above", "Below"]),
        ("~~old~~ C# \\*new\\*", &["old C# *new*"]),
        ("***", &[]),
        ("。！ ...", &[]),
    ] {
        assert_eq!(shown(text), plain, "{text}");
    }
}

#[test]
fn a_thought_that_never_ends_is_not_said() {
    assert_eq!(shown("<think>I wonder. Or not?\n\nWell."), [""; 0]);
}

#[test]
fn a_sentence_that_does_not_end_is_cut_at_a_sensible_place() {
    let long = "eins zwei, ".repeat(100);
    for sentence in shown(&long) {
        assert!(sentence.ends_with(','), "{sentence}");
        assert!(sentence.len() <= SENTENCE_WEIGHT, "{sentence}");
    }
    for sentence in shown(&"word ".repeat(200)) {
        assert!(sentence.split(' ').all(|word| word == "word"), "{sentence}");
    }
    let chars: usize = shown(&"好".repeat(1000))
        .iter()
        .map(|s| s.chars().count())
        .sum();
    assert_eq!(chars, 1000);
}

#[test]
fn a_sentence_comes_as_soon_as_the_next_one_begins() {
    let mut sentences = Sentences::default();
    sentences.push("你好。今");
    assert_eq!(sentences.next().map(|s| s.shown).as_deref(), Some("你好。"));
    sentences.push("天 is fine. N");
    assert_eq!(
        sentences.next().map(|s| s.shown).as_deref(),
        Some("今天 is fine.")
    );
    assert_eq!(sentences.next(), None);
}

#[test]
fn sentences_are_joined_as_their_script_is_written() {
    let mut text = String::new();
    for sentence in ["One.", "Two.", "三。", "四。"] {
        append(&mut text, sentence);
    }
    assert_eq!(text, "One. Two.三。四。");
}

/// Words and marks as models write them.
fn fragments() -> impl Strategy<Value = String> {
    let fragment = prop_oneof![
        Just("word ".to_owned()),
        Just("你好".to_owned()),
        Just("。".to_owned()),
        Just(". ".to_owned()),
        Just("**".to_owned()),
        Just("[".to_owned()),
        Just("](".to_owned()),
        Just(")".to_owned()),
        Just("<think>".to_owned()),
        Just("</think>".to_owned()),
        Just("```".to_owned()),
        Just("\n".to_owned()),
        Just("😀".to_owned()),
        Just("👨‍👩‍👧".to_owned()),
        Just("1.".to_owned()),
        Just("……".to_owned()),
        Just("...".to_owned()),
        Just("\"".to_owned()),
        Just("”".to_owned()),
        Just("，".to_owned()),
        Just("e.g. ".to_owned()),
        "[a-zA-Z,.!?;: *_#`~<>|=+-]{1,6}",
        "\\PC{1,3}",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(fragment, 0..60).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn however_a_text_is_cut_into_pieces_the_sentences_are_the_same(
        text in fragments(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let mut places: Vec<usize> = cuts
            .iter()
            .map(|cut| text.floor_char_boundary(cut.index(text.len() + 1)))
            .chain([0, text.len()])
            .collect();
        places.sort_unstable();
        let pieces = places.windows(2).map(|ends| &text[ends[0]..ends[1]]);
        let whole = split([&*text]);
        prop_assert_eq!(split(pieces), whole.clone());
        let mut single = [0; 4];
        let mut sentences = Sentences::default();
        for c in text.chars() {
            sentences.push(c.encode_utf8(&mut single));
        }
        sentences.finish();
        prop_assert_eq!(Vec::from_iter(std::iter::from_fn(|| sentences.next())), whole);
    }

    #[test]
    fn no_letter_is_lost_and_no_sentence_is_too_long(
        parts in proptest::collection::vec(
            prop_oneof![
                "[a-z]{1,9}", "[0-9]{1,3}(\\.[0-9]{1,2})?", "[一-龥]{1,9}",
                Just(" ".to_owned()), Just("。".to_owned()), Just(". ".to_owned()),
                Just("**".to_owned()), Just("，".to_owned()), Just("\n# ".to_owned()),
                Just("\n- ".to_owned()), Just("😀".to_owned()), Just("?! ".to_owned()),
            ],
            0..200,
        ),
    ) {
        let text = parts.concat();
        let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        let sentences = split([&*text]);
        let all: String = sentences.iter().map(|s| letters(&s.spoken)).collect();
        prop_assert_eq!(all, letters(&text));
        for sentence in sentences {
            let long: usize = sentence.shown.chars().map(weight).sum();
            prop_assert!(long <= SENTENCE_WEIGHT + 3 * SENTENCE_STOPS, "{}", sentence.shown);
            prop_assert!(!sentence.shown.is_empty());
        }
    }

    #[test]
    fn what_waits_is_bounded_whatever_comes(c in any::<char>(), open in "(\\[|<|`|\\(|!|\\]\\()?") {
        let mut sentences = Sentences::default();
        sentences.push(&open);
        for _ in 0..8_000 {
            sentences.push(c.encode_utf8(&mut [0; 4]));
            while sentences.next().is_some() {}
        }
        prop_assert!(sentences.text.len() <= SENTENCE_WEIGHT + SENTENCE_STOPS + 1);
        prop_assert!(sentences.marks.waiting() <= LINK_TARGET + LINK_TEXT + 2);
    }
}
