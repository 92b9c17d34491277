use proptest::prelude::*;

use super::*;

fn online(text: &str, last: bool) -> Answer {
    Answer::read(&format!(
        r#"{{"mode":"2pass-online","text":"{text}","is_final":{last}}}"#
    ))
    .unwrap()
}

fn offline(text: &str, last: bool) -> Answer {
    Answer::read(&format!(
        r#"{{"mode":"2pass-offline","text":"{text}","is_final":{last}}}"#
    ))
    .unwrap()
}

/// What is heard before the end, then what is heard after it.
fn hearing(before: Vec<Answer>, after: Vec<Answer>) -> Hearing {
    let mut hearing = Hearing::new(FunAsrMode::TwoPass);
    before.into_iter().for_each(|answer| hearing.take(answer));
    hearing.end();
    for answer in after {
        assert!(!hearing.is_all(), "something more was to come");
        hearing.take(answer);
    }
    hearing
}

#[test]
fn a_server_that_keeps_the_mark_for_the_end_is_waited_for() {
    let partials = || {
        vec![
            online("a", false),
            offline("one", false),
            online("b", false),
        ]
    };
    let waiting = hearing(partials(), vec![offline("two", false)]);
    assert!(!waiting.is_all());
    assert_eq!(waiting.settles_in(), None, "no quiet is long enough");
    let done = hearing(
        partials(),
        vec![offline("two", false), offline("three", true)],
    );
    assert!(done.is_all());
    assert_eq!(done.into_text(), "one two three");
}

#[test]
fn the_last_answer_may_have_no_words() {
    let mut done = hearing(vec![online("hel", false), offline("hello", false)], vec![]);
    done.take(Answer::read(r#"{"text":"","is_final":true}"#).unwrap());
    assert!(done.is_all());
    assert_eq!(done.into_text(), "hello");
    let mut never_better = hearing(vec![online("hello", false)], vec![]);
    never_better.take(Answer::read(r#"{"text":"","is_final":true}"#).unwrap());
    assert_eq!(never_better.into_text(), "hello");
}

#[test]
fn a_server_whose_mark_means_that_somebody_speaks_is_understood() {
    // Its answer to the end is marked with no.
    let done = hearing(vec![online("hel", true)], vec![offline("hello", false)]);
    assert!(done.is_all());
    // What was on its way when they finished is marked with yes, and is not the last one.
    let waiting = hearing(vec![online("hel", true)], vec![offline("hello", true)]);
    assert!(!waiting.is_all());
    assert!(
        waiting.settles_in().is_some(),
        "older ones say nothing more"
    );
    // It has noticed the end itself, before it was told.
    let noticed = hearing(vec![online("hel", true), offline("hello", true)], vec![]);
    assert!(!noticed.is_all() && noticed.settles_in().is_some());
    // Somebody spoke on after that.
    let on = hearing(vec![offline("hello", true), online("wor", true)], vec![]);
    assert_eq!(on.settles_in(), None);
    assert_eq!(on.into_text(), "hello wor");
}

#[test]
fn before_the_end_nothing_is_all() {
    let mut hearing = Hearing::new(FunAsrMode::TwoPass);
    hearing.take(offline("hello", true));
    assert!(!hearing.is_all());
    assert_eq!(hearing.settles_in(), None);
}

#[test]
fn without_an_answer_no_quiet_is_long_enough() {
    assert_eq!(hearing(vec![], vec![]).settles_in(), None);
}

#[test]
fn online_only_every_piece_stays() {
    let mut hearing = Hearing::new(FunAsrMode::Online);
    for text in ["你", "好"] {
        hearing.take(
            Answer::read(&format!(
                r#"{{"mode":"online","text":"{text}","is_final":true}}"#
            ))
            .unwrap(),
        );
    }
    hearing.end();
    assert!(hearing.settles_in().is_some());
    assert_eq!(hearing.into_text(), "你好");
}

#[test]
fn words_keep_apart_and_characters_do_not() {
    let heard = |parts: &[&str]| {
        hearing(
            parts.iter().map(|part| offline(part, false)).collect(),
            vec![],
        )
        .into_text()
    };
    assert_eq!(
        heard(&["Good morning.", "How are you?"]),
        "Good morning. How are you?"
    );
    assert_eq!(heard(&["good ", " day"]), "good  day");
    assert_eq!(heard(&["早上好。", "今天", "3点"]), "早上好。今天3点");
    assert_eq!(heard(&["打开", "WiFi", "开关"]), "打开WiFi开关");
}

#[test]
fn marks_of_a_model_are_no_words() {
    assert_eq!(without_tags("<|zh|><|HAPPY|>你好<|withitn|>。"), "你好。");
    assert_eq!(without_tags("a <| b"), "a <| b");
    assert_eq!(without_tags("a |> b <|"), "a |> b <|");
    assert_eq!(without_tags("<|<|x|>|>"), "|>");
}

#[test]
fn more_text_than_anybody_says_is_left_out() {
    let mut hearing = Hearing::new(FunAsrMode::TwoPass);
    let part = "x".repeat(1000);
    for _ in 0..1000 {
        hearing.take(offline(&part, false));
    }
    hearing.end();
    assert!(hearing.is_all());
    let length = hearing.into_text().len();
    assert!(
        (10_000..=FUNASR_TEXT_BYTES + 100).contains(&length),
        "{length}"
    );
}

proptest! {
    #[test]
    fn any_message_is_an_answer_or_refused(message in ".{0,200}") {
        let _ = Answer::read(&message);
    }

    #[test]
    fn any_object_is_read(
        mode in ".{0,12}", text in ".{0,60}", last in proptest::option::of(any::<bool>()), extra in any::<f64>(),
    ) {
        let message = serde_json::json!({ "mode": mode, "text": text, "is_final": last, "timestamp": extra });
        let answer = Answer::read(&message.to_string()).unwrap();
        prop_assert_eq!(answer.last, last);
        prop_assert!(answer.text.len() <= text.len());
    }

    #[test]
    fn no_settled_word_is_lost_or_doubled(
        answers in proptest::collection::vec(("[a-z]{1,5}", any::<bool>(), any::<bool>(), any::<bool>()), 0..20),
    ) {
        let mut hearing = Hearing::new(FunAsrMode::TwoPass);
        let mut settled = Vec::new();
        for (text, passing, last, end) in &answers {
            if *end {
                hearing.end();
            }
            hearing.take(if *passing { online(text, *last) } else { offline(text, *last) });
            if !passing {
                settled.push(text.as_str());
            }
        }
        let heard = hearing.into_text();
        prop_assert!(heard.starts_with(&settled.join(" ")), "{heard:?} lost some of {settled:?}");
    }

    #[test]
    fn whatever_a_server_sends_its_words_stay_within_the_limit(
        mode in prop_oneof![Just(FunAsrMode::TwoPass), Just(FunAsrMode::Online), Just(FunAsrMode::Offline)],
        messages in proptest::collection::vec(
            (
                prop_oneof![Just("2pass-online"), Just("2pass-offline"), Just("online"), Just(""), Just("x")],
                "(<\\|[a-z<|>]{0,4}|\\|>|[a-z字 ]{0,6}){0,4}",
                1..4000_usize,
                prop_oneof![Just("true"), Just("false"), Just("null"), Just("1"), Just("[{}]")],
                0..60_usize,
            ),
            0..30,
        ),
    ) {
        let mut hearing = Hearing::new(mode);
        for (mode, text, times, last, cut) in messages {
            let text = serde_json::Value::from(text.repeat(times));
            let message = format!(r#"{{"mode":"{mode}","text":{text},"is_final":{last},"stamp_sents":[]}}"#);
            let kept = message.len() - if cut < 6 { cut } else { 0 };
            if let Ok(answer) = message.get(..kept).map_or_else(|| Answer::read(""), Answer::read) {
                prop_assert_eq!(kept, message.len(), "half a message is none");
                hearing.take(answer);
            }
            if cut > 50 {
                hearing.end();
            }
            prop_assert!(hearing.settled.len() + hearing.passing.len() <= FUNASR_TEXT_BYTES + 60);
        }
        prop_assert!(hearing.into_text().len() <= FUNASR_TEXT_BYTES + 60);
    }
}
