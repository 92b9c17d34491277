use proptest::prelude::*;
use serde_json::json;

use super::*;

fn refusal(answer: Value) -> Option<(FailureKind, String)> {
    Refusal::of(&answer).map(|refusal| (refusal.kind, refusal.words))
}

#[test]
fn an_error_is_found_wherever_services_put_it() {
    use FailureKind::*;
    for (answer, kind, words) in [
        (
            json!({ "error": { "message": "wrong", "type": "invalid_request_error", "code": null } }),
            Refused,
            "wrong",
        ),
        (
            json!({ "error": { "message": "bad key", "code": "invalid_api_key", "type": "x" } }),
            NotAllowed,
            "bad key",
        ),
        (
            json!({ "error": { "message": "slow down", "code": 429 } }),
            Exhausted,
            "slow down",
        ),
        (
            json!({ "error": { "message": "no credit", "code": "insufficient_quota" } }),
            Exhausted,
            "no credit",
        ),
        (json!({ "error": "overloaded" }), Failed, "overloaded"),
        (
            json!({ "code": 503, "message": "busy", "data": null }),
            Failed,
            "busy",
        ),
        (
            json!({ "base_resp": { "status_code": 1004, "status_msg": "login fail" } }),
            Failed,
            "login fail",
        ),
        (
            json!({ "detail": [{ "loc": ["body"], "msg": "field required" }] }),
            Failed,
            "field required",
        ),
        (json!({ "detail": "Not Found" }), Failed, "Not Found"),
        (
            json!({ "error": { "nothing": "known" } }),
            Failed,
            "{\"nothing\":\"known\"}",
        ),
    ] {
        assert_eq!(
            refusal(answer.clone()),
            Some((kind, words.into())),
            "{answer}"
        );
    }
}

#[test]
fn an_answer_is_no_error() {
    for answer in [
        json!({ "choices": [], "error": null }),
        json!({ "text": "a message", "message": "ok" }),
        json!({ "usage": { "total_tokens": 3 } }),
        json!({ "choices": [{}], "base_resp": { "status_code": 0, "status_msg": "" } }),
        json!({}),
        json!([]),
        json!("error"),
    ] {
        assert_eq!(refusal(answer.clone()), None, "{answer}");
    }
}

#[test]
fn what_is_shown_is_one_line_of_200_characters() {
    assert_eq!(shown(" a\r\n\tb\0c  ", None), "a b c");
    let long = shown(&"字 ".repeat(300), None);
    assert_eq!(long.chars().count(), 201);
    assert!(long.ends_with('…'));
}

#[test]
fn no_key_of_anybody_is_shown() {
    let key = ApiKey::new("9f8e7d6c5b4a-secret/part");
    for (words, expected) in [
        (
            "key 9f8e7d6c5b4a-secret/part is wrong",
            "key (key) is wrong",
        ),
        ("key 9f8e7d6c****part is wrong", "key (key) is wrong"),
        ("\"9f8e7d6c5b\" expired", "\"(key)\" expired"),
        ("upstream: sk-abc***yz.", "upstream: (key)"),
        ("model 9f8e is unknown", "model 9f8e is unknown"),
    ] {
        assert_eq!(shown(words, Some(&key)), expected);
    }
    assert_eq!(shown("key x", Some(&ApiKey::new(""))), "key x");
}

#[test]
fn the_title_is_all_that_is_shown_of_a_page() {
    let page =
        b"\n<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>long</body>";
    assert!(is_page(page));
    assert_eq!(words_of(page), "502 Bad Gateway");
    assert_eq!(words_of(b"<html></html>"), "");
    assert_eq!(words_of(b" no such route \n"), "no such route");
    assert_eq!(words_of(br#"{"error":{"message":"m"}}"#), "m");
}

proptest! {
    #[test]
    fn no_six_characters_of_a_key_are_shown(
        key in "[A-Za-z0-9_.-]{6,40}",
        before in "[ a-z\"]{0,20}",
        from in 0_usize..34,
        length in 6_usize..41,
        after in "[ a-z*\"]{0,20}",
    ) {
        let from = from.min(key.len() - 6);
        let part = &key[from..(from + length).min(key.len())];
        let shown = shown(&format!("{before}{part}{after}"), Some(&ApiKey::new(key.clone())));
        let leaks = key.as_bytes().windows(6).any(|window| {
            shown.as_bytes().windows(6).any(|of_shown| of_shown == window)
        });
        prop_assert!(!leaks, "{shown}");
    }
}
