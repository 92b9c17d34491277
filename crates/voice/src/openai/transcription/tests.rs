use proptest::prelude::*;
use tokio::sync::mpsc;

use super::*;
use crate::openai::stub::{KEY, Step, Stub, json, response};
use crate::provider::Failure;

fn speech(samples: usize) -> Speech {
    let (pieces, speech) = mpsc::channel(4);
    tokio::spawn(async move {
        for piece in vec![7_i16; samples].chunks(16_000) {
            let _ = pieces.send(piece.to_vec()).await;
        }
    });
    Speech(speech)
}

async fn recognize(stub: &Stub, language: Option<&str>) -> Result<String, Failure> {
    let recognizer = OpenAiTranscription::new(stub.endpoint()).expect("a url");
    let heard = recognizer.recognize(speech(1600), language).await;
    heard.map(|transcript| transcript.text)
}

#[tokio::test]
async fn what_is_said_goes_out_as_a_wav_with_the_model_and_the_language() {
    let stub = Stub::new([vec![json("200 OK", r#"{"text":" Turn on the light. "}"#)]]).await;
    let mut endpoint = stub.endpoint();
    endpoint.extra.insert("prompt".into(), "lamp".into());
    endpoint.extra.insert("temperature".into(), 0.into());
    let recognizer = OpenAiTranscription::new(endpoint).expect("a url");
    let heard = recognizer.recognize(speech(20_000), Some("zh-CN")).await;
    assert_eq!(heard.expect("text").text, "Turn on the light.");
    let asked = &stub.asked()[0];
    assert!(
        asked
            .head
            .starts_with("post /v1/audio/transcriptions http/1.1\r\n")
    );
    assert!(asked.head.contains("multipart/form-data"));
    let body = String::from_utf8_lossy(&asked.body);
    for (name, value) in [
        ("model", "small"),
        ("response_format", "json"),
        ("language", "zh"),
        ("prompt", "lamp"),
        ("temperature", "0"),
    ] {
        let field = format!("name=\"{name}\"\r\n\r\n{value}\r\n");
        assert!(body.contains(&field), "{field}");
    }
    assert!(body.contains("filename=\"speech.wav\""));
    let wav = wav(16_000, &vec![7; 20_000]);
    assert!(asked.body.windows(wav.len()).any(|bytes| bytes == wav));
}

#[tokio::test]
async fn nothing_said_is_nothing_asked() {
    let stub = Stub::new([]).await;
    let recognizer = OpenAiTranscription::new(stub.endpoint()).expect("a url");
    let heard = recognizer.recognize(speech(0), None).await;
    assert_eq!(heard, Ok(Transcript::default()));
    assert!(stub.asked().is_empty());
}

#[tokio::test]
async fn more_than_two_minutes_are_not_sent() {
    let stub = Stub::new([vec![json("200 OK", r#"{"text":""}"#)]]).await;
    let recognizer = OpenAiTranscription::new(stub.endpoint()).expect("a url");
    let heard = recognizer
        .recognize(speech(SPEECH_SAMPLES + 32_000), None)
        .await;
    assert_eq!(heard, Ok(Transcript::default()));
    let sent = stub.asked()[0].body.len();
    assert!(
        (SPEECH_SAMPLES * 2..SPEECH_SAMPLES * 2 + 4000).contains(&sent),
        "{sent}"
    );
}

#[tokio::test]
async fn text_is_taken_out_of_json_and_out_of_nothing() {
    for (answer, text) in [
        (
            r#"{"text":"<|zh|><|NEUTRAL|><|Speech|><|withitn|>你好。"}"#,
            "你好。",
        ),
        (r#"{"text":null}"#, ""),
        (r#""plain json""#, "plain json"),
        ("plain text\n", "plain text"),
        ("<|en|><|EMO_UNKNOWN|>five", "five"),
        ("42", "42"),
        ("", ""),
    ] {
        let stub = Stub::new([vec![response("200 OK", "", answer)]]).await;
        assert_eq!(recognize(&stub, None).await, Ok(text.into()), "{answer}");
    }
}

#[tokio::test]
async fn an_answer_without_text_is_a_failure() {
    for (answer, kind) in [
        (
            r#"{"error":{"message":"no such model","code":"model_not_found"}}"#,
            FailureKind::Refused,
        ),
        (r#"{"words":[]}"#, FailureKind::Misunderstood),
        (r#"{"text":"#, FailureKind::Misunderstood),
        ("<html><title>Hello</title>", FailureKind::Misunderstood),
    ] {
        let stub = Stub::new([vec![response("200 OK", "", answer)]]).await;
        let failure = recognize(&stub, None).await.expect_err("no text");
        assert_eq!(failure.kind, kind, "{failure}");
        assert_eq!(failure.stage, Stage::Recognizer);
    }
    let huge = vec![b'a'; TRANSCRIPT_BYTES + 1];
    let stub = Stub::new([vec![response("200 OK", "", huge)]]).await;
    let failure = recognize(&stub, None).await.expect_err("too long");
    assert_eq!(failure.kind, FailureKind::Misunderstood);
}

#[tokio::test]
async fn a_service_that_failed_is_asked_once_more_with_the_same_sound() {
    let stub = Stub::new([
        vec![json("503 Service Unavailable", "{}"), Step::Close],
        vec![json("200 OK", r#"{"text":"yes"}"#)],
    ])
    .await;
    assert_eq!(recognize(&stub, None).await, Ok("yes".into()));
    let asked = stub.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].body.len(), asked[1].body.len());
}

#[tokio::test]
async fn a_key_that_the_service_repeats_is_not_told() {
    let said = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}."}}}}"#);
    let stub = Stub::new([vec![json("401 Unauthorized", said)]]).await;
    let failure = recognize(&stub, None).await.expect_err("no way in");
    assert_eq!(failure.kind, FailureKind::NotAllowed);
    let shown = format!("{failure} {failure:?}");
    assert!(
        !shown.contains(KEY) && !shown.contains(&KEY[3..9]),
        "{shown}"
    );
    assert!(
        failure
            .detail
            .contains("401 Unauthorized: Incorrect API key provided: (key)"),
        "{failure}"
    );
}

proptest! {
    #[test]
    fn only_marks_are_taken_out(
        parts in proptest::collection::vec("<\\|(zh|en|HAPPY|BGM)\\|>|<|\\||[a-z字 ]{1,4}", 0..12),
    ) {
        let text = parts.concat();
        let without = without_marks(&text);
        let plain: Vec<&String> = parts.iter().filter(|part| part.len() < 4 || !part.starts_with("<|")).collect();
        if !plain.iter().any(|part| part.contains(['<', '|'])) {
            let plain: String = plain.into_iter().map(String::as_str).collect();
            prop_assert_eq!(without, plain.trim());
        }
    }
}
