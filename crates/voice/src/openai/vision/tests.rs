use super::*;
use crate::openai::stub::{Stub, chunk, end, head, json};

#[test]
fn base64_is_that_of_the_rfc() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
    assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
}

const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"<think>hm</think>A cat. "},"finish_reason":"stop"}]}"#;

#[tokio::test]
async fn a_picture_goes_out_with_its_question_and_text_comes_back() {
    let stub = Stub::new([vec![json("200 OK", ANSWER)]]).await;
    let eye = OpenAiEye::new(stub.endpoint()).expect("a url");
    let seen = eye.look("What is it?", "image/jpeg", vec![0xff, 0xd8, 0xff]);
    assert_eq!(seen.await, Ok("A cat.".into()));
    let asked = stub.asked()[0].json();
    assert_eq!(asked["stream"], false);
    let content = &asked["messages"][0]["content"];
    assert_eq!(content[0]["text"], "What is it?");
    assert_eq!(
        content[1]["image_url"]["url"],
        "data:image/jpeg;base64,/9j/"
    );
}

#[tokio::test]
async fn a_stream_is_taken_though_none_was_asked_for() {
    let text = r#"data: {"choices":[{"delta":{"content":"A dog."},"finish_reason":"stop"}]}"#;
    let plan = vec![head("text/event-stream"), chunk(text), end()];
    let stub = Stub::new([plan]).await;
    let eye = OpenAiEye::new(stub.endpoint()).expect("a url");
    let seen = eye.look("?", "image/png", vec![1]).await;
    assert_eq!(seen, Ok("A dog.".into()));
}

#[tokio::test]
async fn a_half_answer_is_not_mixed_with_the_second_one() {
    let half = r#"data: {"choices":[{"delta":{"content":"A do"}}]}"#.to_string() + "\n\n";
    let stub = Stub::new([
        vec![head("text/event-stream"), chunk(half), end()],
        vec![json("200 OK", ANSWER)],
    ])
    .await;
    let eye = OpenAiEye::new(stub.endpoint()).expect("a url");
    let seen = eye.look("?", "image/png", vec![1]).await;
    assert_eq!(seen, Ok("A cat.".into()));
}

#[tokio::test]
async fn a_picture_that_is_too_large_is_not_sent() {
    let stub = Stub::new([]).await;
    let eye = OpenAiEye::new(stub.endpoint()).expect("a url");
    for size in [0, PICTURE_BYTES + 1] {
        let failure = eye.look("?", "image/png", vec![0; size]).await;
        let failure = failure.expect_err("not sent");
        assert_eq!(failure.kind, FailureKind::Refused);
        assert_eq!(failure.stage, Stage::Eye);
    }
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn an_answer_without_text_is_a_failure() {
    let answer = r#"{"choices":[{"message":{"content":" "},"finish_reason":"stop"}]}"#;
    let stub = Stub::new([vec![json("200 OK", answer)]]).await;
    let eye = OpenAiEye::new(stub.endpoint()).expect("a url");
    let failure = eye.look("?", "image/png", vec![1]).await;
    assert_eq!(
        failure.expect_err("no text").kind,
        FailureKind::Misunderstood
    );
}
