use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::provider::ToolCall;

/// The text and the calls of an answer that comes in these pieces.
fn read<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(String, Vec<ToolCall>), AnswerError> {
    let mut reader = AnswerReader::new(7);
    let mut parts = Vec::new();
    for piece in pieces {
        reader.feed(piece, &mut parts)?;
    }
    reader.finish(&mut parts)?;
    let mut text = String::new();
    let mut calls = Vec::new();
    for part in parts {
        match part {
            Part::Text(piece) => text.push_str(&piece),
            Part::Call(call) => calls.push(call),
        }
    }
    Ok((text, calls))
}

fn whole(text: &str) -> Result<(String, Vec<ToolCall>), AnswerError> {
    read([text.as_bytes()])
}

fn stream(chunks: &[Value]) -> String {
    let data = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    data.collect()
}

fn delta(delta: Value) -> Value {
    json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
}

fn stop(reason: &str) -> Value {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })
}

/// The calls that these pieces make, `id name(arguments)` each.
fn calls(pieces: &[Value]) -> Vec<String> {
    let mut chunks: Vec<Value> = pieces
        .iter()
        .map(|piece| delta(json!({ "tool_calls": [piece] })))
        .collect();
    chunks.push(stop("tool_calls"));
    let (_, calls) = whole(&stream(&chunks)).expect("an answer");
    let shown = calls
        .into_iter()
        .map(|call| format!("{} {}({})", call.id, call.name, call.arguments));
    shown.collect()
}

fn words(text: &str) -> Value {
    delta(json!({ "content": text }))
}

#[test]
fn text_comes_out_as_it_comes_in() {
    let mut reader = AnswerReader::new(0);
    let mut parts = Vec::new();
    let first = stream(&[
        delta(json!({ "role": "assistant" })),
        words("Good "),
        words("day"),
    ]);
    reader.feed(first.as_bytes(), &mut parts).expect("a stream");
    assert_eq!(parts, [Part::Text("Good day".into())]);
    assert!(!reader.could_end());
    let last = stream(&[words("."), stop("stop")]);
    reader.feed(last.as_bytes(), &mut parts).expect("a stream");
    assert_eq!(parts, [Part::Text("Good day.".into())]);
    assert!(reader.could_end() && !reader.has_ended());
    reader
        .feed(b"data: [DONE]\n\n", &mut parts)
        .expect("an end");
    assert!(reader.has_ended());
}

#[test]
fn done_may_be_missing_if_the_model_said_why_it_stopped() {
    let text = stream(&[words("Yes."), stop("stop")]);
    assert_eq!(whole(&text), Ok(("Yes.".into(), vec![])));
    assert_eq!(whole(&(text + "data: [DONE]")), Ok(("Yes.".into(), vec![])));
    let text = stream(&[words("Yes.")]);
    assert_eq!(whole(&text), Err(AnswerError::Cut));
    assert_eq!(
        whole(&(text + "data: [DONE]\n")),
        Ok(("Yes.".into(), vec![])),
        "who says that this is all is believed"
    );
}

#[test]
fn a_stream_that_was_cut_is_told_wherever_it_was() {
    let text = stream(&[words("Yes."), words("No."), words("Well.")]);
    for end in 1..text.len() {
        let read = read([&text.as_bytes()[..end]]);
        assert!(
            matches!(read, Err(AnswerError::Cut)) || end < "data: {".len(),
            "{end}: {read:?}"
        );
    }
    assert!(matches!(whole(""), Err(AnswerError::Cut)));
}

#[test]
fn what_a_model_thinks_is_not_handed_on() {
    let text = stream(&[
        delta(json!({ "reasoning_content": "Let me see", "content": null })),
        delta(json!({ "reasoning": "hm", "content": "" })),
        words("<th"),
        words("ink>let me"),
        words(" see</think"),
        words(">\n\nYes."),
        stop("stop"),
    ]);
    assert_eq!(whole(&text), Ok(("Yes.".into(), vec![])));
    let parts = json!([{ "type": "thinking", "thinking": [] }, { "type": "text", "text": "Yes." }]);
    let text = stream(&[delta(json!({ "content": parts })), stop("stop")]);
    assert_eq!(whole(&text), Ok(("Yes.".into(), vec![])));
}

#[test]
fn the_calls_of_openai_are_put_together_by_their_numbers() {
    let shown = calls(&[
        json!({ "index": 0, "id": "a", "type": "function", "function": { "name": "lamp", "arguments": "" } }),
        json!({ "index": 0, "function": { "arguments": "{\"on\"" } }),
        json!({ "index": 1, "id": "b", "function": { "name": "time", "arguments": "" } }),
        json!({ "index": 0, "function": { "arguments": ":true}" } }),
        json!({ "index": 1, "id": "", "function": { "name": null, "arguments": "{}" } }),
    ]);
    assert_eq!(shown, ["a lamp({\"on\":true})", "b time({})"]);
}

#[test]
fn whole_calls_without_numbers_are_several() {
    let shown = calls(&[
        json!({ "id": "a", "function": { "name": "lamp", "arguments": "{\"on\":1}" } }),
        json!({ "id": "b", "function": { "name": "lamp", "arguments": { "on": 2 } } }),
        json!({ "function": { "name": "time" } }),
        json!({ "function": { "name": "time", "arguments": null } }),
    ]);
    assert_eq!(
        shown,
        [
            "a lamp({\"on\":1})",
            "b lamp({\"on\":2})",
            "c00000702 time({})",
            "c00000703 time({})"
        ]
    );
}

#[test]
fn calls_that_all_have_the_number_0_are_several() {
    let with_ids = calls(&[
        json!({ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "{\"on\"" } }),
        json!({ "index": 0, "function": { "arguments": ":1}" } }),
        json!({ "index": 0, "id": "b", "function": { "name": "time", "arguments": "{" } }),
        json!({ "index": 0, "function": { "arguments": "}" } }),
    ]);
    assert_eq!(with_ids, ["a lamp({\"on\":1})", "b time({})"]);
    let without = calls(&[
        json!({ "index": 0, "id": "", "function": { "name": "lamp", "arguments": "{\"on\":1}" } }),
        json!({ "index": 0, "id": "", "function": { "name": "lamp", "arguments": "{\"on\":2}" } }),
    ]);
    assert_eq!(
        without,
        ["c00000700 lamp({\"on\":1})", "c00000701 lamp({\"on\":2})"]
    );
}

#[test]
fn a_name_or_number_in_every_piece_is_said_once() {
    let shown = calls(&[
        json!({ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "{\"o" } }),
        json!({ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "n\":{}" } }),
        json!({ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "}" } }),
        json!({ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "" } }),
    ]);
    assert_eq!(shown, ["a lamp({\"on\":{}})"]);
}

#[test]
fn two_calls_with_one_id_get_two() {
    let shown = calls(&[
        json!({ "index": 0, "id": "0", "function": { "name": "lamp", "arguments": "{}" } }),
        json!({ "index": 1, "id": "0", "function": { "name": "time", "arguments": "{}" } }),
    ]);
    assert_eq!(shown, ["0 lamp({})", "c00000701 time({})"]);
}

#[test]
fn an_id_of_ours_is_never_one_that_the_model_made_up() {
    let shown = calls(&[
        json!({ "index": 0, "id": "c00000701", "function": { "name": "lamp", "arguments": "{}" } }),
        json!({ "index": 1, "function": { "name": "time", "arguments": "{}" } }),
    ]);
    assert_eq!(shown, ["c00000701 lamp({})", "c00000702 time({})"]);
}

#[test]
fn an_answer_in_one_piece_is_taken_though_a_stream_was_asked_for() {
    let call =
        json!({ "id": "a", "type": "function", "function": { "name": "lamp", "arguments": "{}" } });
    let message =
        json!({ "role": "assistant", "content": "<think>hm</think>Yes.", "tool_calls": [call] });
    let answer =
        json!({ "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] });
    let (text, calls) = whole(&answer.to_string()).expect("an answer");
    assert_eq!((text.as_str(), calls.len()), ("Yes.", 1));
    let cut = &answer.to_string()[..40];
    assert_eq!(whole(cut), Err(AnswerError::Cut));
    assert!(matches!(whole("{}"), Err(AnswerError::Strange(_))));
    assert!(matches!(whole("{]"), Err(AnswerError::Strange(_))));
    assert!(matches!(whole("[1]"), Err(AnswerError::Strange(_))));
}

#[test]
fn a_last_message_that_repeats_the_text_is_not_said_twice() {
    let again =
        json!({ "choices": [{ "message": { "content": "Yes." }, "finish_reason": "stop" }] });
    let text = stream(&[words("Yes."), again]);
    assert_eq!(whole(&text), Ok(("Yes.".into(), vec![])));
}

#[test]
fn other_choices_and_what_it_cost_are_passed_over() {
    let other = json!({ "choices": [{ "index": 1, "delta": { "content": "No." } }] });
    let cost = json!({ "choices": [], "usage": { "total_tokens": 4 } });
    let text = stream(&[other, words("Yes."), stop("stop"), cost]);
    assert_eq!(
        whole(&(text + ": keep-alive\n\ndata: [DONE]\n\ndata: {\"choices\":1}\n\n")),
        Ok(("Yes.".into(), vec![]))
    );
}

#[test]
fn an_error_within_the_stream_is_one() {
    let error = json!({ "error": { "message": "overloaded", "code": 503 } });
    let refused = AnswerError::Refused {
        kind: FailureKind::Failed,
        words: "overloaded".into(),
    };
    assert_eq!(
        whole(&stream(&[words("Yes"), error.clone()])),
        Err(refused.clone())
    );
    assert_eq!(whole(&error.to_string()), Err(refused));
    let named = "event: error\ndata: {\"request\":1}\n\n";
    assert!(matches!(whole(named), Err(AnswerError::Refused { .. })));
}

#[test]
fn something_else_than_an_answer_is_told_from_one() {
    let strange = |text: &str| match whole(text) {
        Err(error) => (error.kind(), error.to_string()),
        Ok(answer) => panic!("{answer:?}"),
    };
    let (kind, words) = strange("no such route");
    assert_eq!(kind, FailureKind::Misunderstood);
    assert!(words.contains("no such route"), "{words}");
    assert_eq!(whole("  <!DOCTYPE html><p>"), Err(AnswerError::Page));
    let (kind, words) = strange("data: hello\n\ndata: [DONE]\n\n");
    assert_eq!(kind, FailureKind::Misunderstood);
    assert!(words.contains("hello"), "{words}");
}

#[test]
fn why_a_model_stopped_may_be_a_failure() {
    let cut = [
        delta(
            json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "{\"on\":" } }] }),
        ),
        stop("length"),
    ];
    assert_eq!(whole(&stream(&cut)), Err(AnswerError::CutCall));
    let long = stream(&[words("Once upon"), stop("length")]);
    assert_eq!(whole(&long), Ok(("Once upon".into(), vec![])));
    let nothing = stream(&[stop("content_filter")]);
    assert_eq!(whole(&nothing), Err(AnswerError::Filtered));
    let failed = whole(&stream(&[words("Well"), stop("error")]));
    assert_eq!(
        failed.map_err(|error| error.kind()),
        Err(FailureKind::Failed)
    );
}

#[test]
fn answers_without_end_are_broken_off() {
    let too_long = |chunk: Value, times: usize| {
        let text = stream(&[chunk]);
        let pieces = std::iter::repeat_n(text.as_bytes(), times);
        assert!(matches!(read(pieces), Err(AnswerError::TooLong(_))));
    };
    too_long(words(&"a".repeat(10_000)), 30);
    too_long(
        delta(json!({ "reasoning_content": "a".repeat(100_000) })),
        200,
    );
    let argument = json!({ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "a".repeat(1000) } });
    too_long(delta(json!({ "tool_calls": [argument] })), 70);
    let call = json!({ "function": { "name": "lamp" } });
    too_long(
        delta(json!({ "tool_calls": [call] })),
        ANSWER_CALLS_TOO_MANY,
    );
    let event = "x".repeat(1 << 16);
    let pieces = std::iter::repeat_n(event.as_bytes(), 20);
    assert!(matches!(read(pieces), Err(AnswerError::TooLong(_))));
    let deep = format!("data: {}\n\n", "[".repeat(100_000));
    assert!(matches!(whole(&deep), Err(AnswerError::Strange(_))));
}

const ANSWER_CALLS_TOO_MANY: usize = crate::limits::ANSWER_CALLS + 1;

/// A stream with everything in it.
fn sample() -> String {
    let chunks = [
        words("<think>let me see</think>\n"),
        words("Good day, "),
        words("世界！"),
        delta(
            json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "lamp", "arguments": "{\"color\":" } }] }),
        ),
        delta(json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "\"赤\"}" } }] })),
        stop("tool_calls"),
    ];
    format!(": hello\r\n\r\n{}data: [DONE]\n\n", stream(&chunks))
}

#[test]
fn a_stream_means_the_same_cut_at_any_byte() {
    let text = sample();
    let expected = whole(&text).expect("an answer");
    assert_eq!(expected.0, "Good day, 世界！");
    assert_eq!(expected.1[0].arguments, "{\"color\":\"赤\"}");
    for at in 0..=text.len() {
        let (one, two) = text.as_bytes().split_at(at);
        assert_eq!(read([one, two]).as_ref(), Ok(&expected), "cut at {at}");
    }
    assert_eq!(read(text.as_bytes().chunks(1)), Ok(expected));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        text in proptest::collection::vec(proptest::sample::select(vec![
            "data: ", "\n", "\r", "{", "}", "[DONE]", "\"choices\":", "[", "]", "{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}",
            "{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"x\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}", "\u{feff}", ":", "字",
        ]), 0..30),
        cut in 1_usize..40,
    ) {
        let text = text.concat();
        let whole = whole(&text);
        let pieces = read(text.as_bytes().chunks(cut));
        prop_assert_eq!(whole.is_ok(), pieces.is_ok(), "{}", text);
        if let (Ok(whole), Ok(pieces)) = (whole, pieces) {
            prop_assert_eq!(whole, pieces);
        }
    }
}
