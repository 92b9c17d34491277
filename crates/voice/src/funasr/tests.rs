use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::websocket::stub::{Peer, Stub, dial, within};

fn funasr(stub: &Stub) -> FunAsr {
    FunAsr::new(FunAsrSettings::new("asr", &stub.url), dial())
}

fn impatient(stub: &Stub) -> FunAsr {
    let mut settings = FunAsrSettings::new("asr", &stub.url);
    settings.timeout = Duration::from_millis(1500);
    FunAsr::new(settings, dial())
}

/// Somebody who has said these samples.
fn saying(samples: &[i16]) -> Speech {
    let (sender, receiver) = mpsc::channel(samples.len() / 500 + 1);
    for piece in samples.chunks(500) {
        sender.try_send(piece.to_vec()).unwrap();
    }
    Speech(receiver)
}

fn a_second() -> Vec<i16> {
    (0..16_000).map(|sample| (sample % 7_000) as i16).collect()
}

/// What a client said until it had finished: its greeting, and the sound.
async fn listen(peer: &mut Peer) -> (Value, Vec<u8>) {
    let greeting = peer.json().await;
    let mut sound = Vec::new();
    loop {
        match peer.next().await {
            Some(Message::Binary(frame)) => {
                assert_eq!(frame.len(), 1920, "the Python server counts frames");
                sound.extend_from_slice(&frame);
            }
            Some(Message::Text(text)) => {
                let end: Value = serde_json::from_str(&text).unwrap();
                assert_eq!(end, json!({ "is_speaking": false }));
                return (greeting, sound);
            }
            _ => panic!("gone before the end"),
        }
    }
}

/// A server that listens to the end and then says these.
async fn answering(answers: Vec<Value>) -> Stub {
    Stub::talking(move |_, mut peer| {
        let answers = answers.clone();
        async move {
            listen(&mut peer).await;
            for answer in answers {
                peer.say(answer).await;
            }
            peer.until_gone().await;
        }
    })
    .await
}

async fn text_of(funasr: &FunAsr) -> Result<String, FailureKind> {
    let done = within(funasr.recognize(saying(&a_second()), None)).await;
    done.map(|transcript| transcript.text)
        .map_err(|failure| failure.kind)
}

#[tokio::test]
async fn what_is_said_goes_out_while_it_is_said() {
    let (heard, mut first_frames) = mpsc::channel(100);
    let greetings: Arc<Mutex<Vec<Value>>> = Arc::default();
    let seen = greetings.clone();
    let stub = Stub::talking(move |_, mut peer| {
        let (heard, seen) = (heard.clone(), seen.clone());
        async move {
            let greeting = peer.json().await;
            seen.lock().unwrap().push(greeting);
            while let Some(Message::Binary(_)) = peer.next().await {
                heard.send(()).await.unwrap();
            }
            peer.say(json!({ "mode": "2pass-offline", "text": "你好。", "is_final": true }))
                .await;
            peer.until_gone().await;
        }
    })
    .await;
    let mut settings = FunAsrSettings::new("asr", &stub.url);
    settings.hotwords = vec![("安全港".to_owned(), 20)];
    let funasr = FunAsr::new(settings, dial());
    let (speaker, speech) = mpsc::channel(1);
    let listening = tokio::spawn(async move { funasr.recognize(Speech(speech), Some("zh")).await });

    speaker.send(vec![1; 961]).await.unwrap();
    within(first_frames.recv())
        .await
        .expect("a frame before the end");
    speaker.send(vec![2; 959]).await.unwrap();
    within(first_frames.recv()).await.expect("another one");
    drop(speaker);
    assert_eq!(within(listening).await.unwrap().unwrap().text, "你好。");

    let greeting = greetings.lock().unwrap()[0].clone();
    for (key, value) in [
        ("mode", json!("2pass")),
        ("is_speaking", json!(true)),
        ("audio_fs", json!(16000)),
        ("wav_format", json!("pcm")),
        ("chunk_size", json!([5, 10, 5])),
        ("chunk_interval", json!(10)),
        ("itn", json!(true)),
        ("hotwords", json!("{\"安全港\":20}")),
    ] {
        assert_eq!(greeting[key], value, "{key}");
    }
}

#[tokio::test]
async fn the_better_result_replaces_what_was_heard_first() {
    let stub = answering(vec![
        json!({ "mode": "2pass-online", "text": "你", "is_final": false }),
        json!({ "mode": "2pass-online", "text": "号", "is_final": false }),
        json!({ "mode": "2pass-offline", "text": "<|zh|><|NEUTRAL|><|Speech|><|withitn|>你好。", "is_final": false }),
        json!({ "mode": "2pass-online", "text": "再间", "is_final": false }),
        json!({ "mode": "2pass-offline", "text": "再见。", "is_final": true }),
    ])
    .await;
    assert_eq!(text_of(&funasr(&stub)).await, Ok("你好。再见。".to_owned()));
    stub.until_ended(1).await;
}

#[tokio::test]
async fn a_server_that_never_marks_the_last_answer_is_not_waited_for() {
    let python = json!({ "mode": "2pass-offline", "text": "good morning", "is_final": false });
    let stub = answering(vec![python]).await;
    let mut settings = FunAsrSettings::new("asr", &stub.url);
    settings.timeout = Duration::from_secs(3600);
    let funasr = FunAsr::new(settings, dial());
    assert_eq!(text_of(&funasr).await, Ok("good morning".to_owned()));
}

#[tokio::test]
async fn a_server_for_files_answers_once() {
    let stub = answering(vec![
        json!({ "mode": "offline", "text": "good morning", "is_final": false }),
    ])
    .await;
    let mut settings = FunAsrSettings::new("asr", &stub.url);
    settings.mode = FunAsrMode::Offline;
    assert_eq!(
        text_of(&FunAsr::new(settings, dial())).await,
        Ok("good morning".to_owned())
    );
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let stub = answering(vec![]).await;
    assert_eq!(text_of(&impatient(&stub)).await, Err(FailureKind::TimedOut));
    assert_eq!(stub.opened(), 1, "who is slow is not asked twice");
    stub.until_ended(1).await;
}

#[tokio::test]
async fn what_was_heard_first_must_do_when_the_better_result_never_comes() {
    let stub = answering(vec![
        json!({ "mode": "2pass-online", "text": "hello", "is_final": false }),
    ])
    .await;
    assert_eq!(text_of(&impatient(&stub)).await, Ok("hello".to_owned()));
}

#[tokio::test]
async fn a_server_that_closes_after_its_answer_has_finished() {
    let stub = Stub::talking(|_, mut peer| async move {
        listen(&mut peer).await;
        peer.say(json!({ "mode": "2pass-online", "text": "hello" }))
            .await;
        peer.send(Message::Close(None)).await;
    })
    .await;
    assert_eq!(text_of(&funasr(&stub)).await, Ok("hello".to_owned()));
}

#[tokio::test]
async fn what_breaks_off_is_asked_once_more_with_all_that_was_said() {
    let (sounds, mut whole) = mpsc::channel(1);
    let stub = Stub::talking(move |number, mut peer| {
        let sounds = sounds.clone();
        async move {
            if number == 0 {
                peer.json().await;
                peer.next().await;
                return;
            }
            let (_, sound) = listen(&mut peer).await;
            sounds.send(sound).await.unwrap();
            peer.say(json!({ "mode": "2pass-offline", "text": "good", "is_final": true }))
                .await;
            peer.until_gone().await;
        }
    })
    .await;
    assert_eq!(text_of(&funasr(&stub)).await, Ok("good".to_owned()));
    let mut said: Vec<u8> = a_second()
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect();
    said.resize(said.len().next_multiple_of(1920), 0);
    assert_eq!(whole.recv().await.unwrap(), said);
    assert_eq!(stub.opened(), 2);
}

#[tokio::test]
async fn what_breaks_off_twice_has_failed() {
    let stub = Stub::talking(|_, mut peer| async move {
        peer.json().await;
    })
    .await;
    assert_eq!(text_of(&funasr(&stub)).await, Err(FailureKind::Broken));
    assert_eq!(stub.opened(), 2);
}

#[tokio::test]
async fn an_error_of_the_server_is_told() {
    let stub = answering(vec![json!({ "error": "model not loaded" })]).await;
    let failure = within(funasr(&stub).recognize(saying(&a_second()), None))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.stage, failure.kind),
        (Stage::Recognizer, FailureKind::Failed)
    );
    assert!(failure.detail.contains("model not loaded"), "{failure}");
}

#[tokio::test]
async fn what_is_no_json_or_too_large_is_not_asked_twice() {
    for message in [
        Message::text("<html>"),
        Message::text("[1]"),
        Message::binary(vec![1, 2]),
        Message::text("x".repeat(crate::limits::WEBSOCKET_MESSAGE_BYTES + 1)),
    ] {
        let stub = Stub::talking(move |_, mut peer| {
            let message = message.clone();
            async move {
                peer.send(message).await;
                peer.until_gone().await;
            }
        })
        .await;
        assert_eq!(
            text_of(&funasr(&stub)).await,
            Err(FailureKind::Misunderstood)
        );
        assert_eq!(stub.opened(), 1);
    }
}

#[tokio::test]
async fn nobody_there_is_tried_twice() {
    let stub = Stub::nobody().await;
    let failure = within(funasr(&stub).recognize(saying(&a_second()), None))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert_eq!(&*failure.provider, "asr");
}

#[tokio::test]
async fn a_refused_key_is_told_and_never_shown() {
    let stub =
        Stub::answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 6\r\n\r\nsecret").await;
    let mut settings = FunAsrSettings::new("asr", &stub.url);
    settings.key = Some(ApiKey::new("secret"));
    let funasr = FunAsr::new(settings, dial());
    let failure = within(funasr.recognize(saying(&a_second()), None))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotAllowed);
    assert!(!failure.to_string().contains("secret") && !format!("{funasr:?}").contains("secret"));
    assert_eq!(stub.opened(), 1);
}

#[tokio::test]
async fn dropping_it_closes_the_connection_at_once() {
    let (began, begun) = oneshot::channel();
    let began = Mutex::new(Some(began));
    let stub = Stub::talking(move |_, mut peer| {
        let began = began.lock().unwrap().take().unwrap();
        async move {
            peer.json().await;
            began.send(()).unwrap();
            peer.until_gone().await;
        }
    })
    .await;
    let funasr = funasr(&stub);
    let (_speaker, speech) = {
        let (speaker, speech) = mpsc::channel(1);
        speaker.try_send(vec![0; 960]).unwrap();
        (speaker, speech)
    };
    let mut listening = funasr.recognize(Speech(speech), None);
    tokio::select! {
        _ = &mut listening => panic!("nobody has finished"),
        began = within(begun) => began.unwrap(),
    }
    drop(listening);
    stub.until_ended(1).await;
    assert_eq!(stub.opened(), 1);
}

#[tokio::test]
async fn who_says_nothing_connects_to_nobody() {
    let stub = answering(vec![]).await;
    let done = within(funasr(&stub).recognize(saying(&[]), None)).await;
    assert_eq!(done.unwrap().text, "");
    assert_eq!(stub.opened(), 0);
}

#[tokio::test]
async fn speech_is_taken_while_the_server_takes_its_time() {
    let slow = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", slow.local_addr().unwrap());
    let funasr = FunAsr::new(FunAsrSettings::new("asr", url), dial());
    let (speaker, speech) = mpsc::channel(1);
    let said_all = Arc::new(AtomicBool::new(false));
    let said = said_all.clone();
    tokio::spawn(async move {
        for piece in a_second().chunks(500) {
            speaker.send(piece.to_vec()).await.unwrap();
        }
        said.store(true, Ordering::SeqCst);
    });
    let mut listening = funasr.recognize(Speech(speech), None);
    let (socket, _) = tokio::select! {
        _ = &mut listening => panic!("it has no answer yet"),
        accepted = slow.accept() => accepted.unwrap(),
    };
    within(async {
        while !said_all.load(Ordering::SeqCst) {
            tokio::select! {
                _ = &mut listening => panic!("it has no answer yet"),
                () = sleep(Duration::from_millis(5)) => {}
            }
        }
    })
    .await;
    drop(socket);
}

#[tokio::test]
async fn what_is_said_after_a_minute_is_not_recognised() {
    let (lengths, mut length) = mpsc::channel(1);
    let stub = Stub::talking(move |_, mut peer| {
        let lengths = lengths.clone();
        async move {
            lengths.send(listen(&mut peer).await.1.len()).await.unwrap();
            peer.say(json!({ "text": "long", "is_final": true })).await;
            peer.until_gone().await;
        }
    })
    .await;
    let done = funasr(&stub)
        .recognize(saying(&vec![1; 70 * 16_000]), None)
        .await;
    assert_eq!(done.unwrap().text, "long");
    assert_eq!(length.recv().await.unwrap(), FUNASR_SPEECH_SAMPLES * 2);
}

proptest! {
    #[test]
    fn frames_are_what_was_said_and_a_little_silence(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<i16>(), 0..2_000), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (whole, sent) = runtime.block_on(async {
            let (speaker, speech) = mpsc::channel(12);
            for piece in &pieces {
                speaker.try_send(piece.clone()).unwrap();
            }
            drop(speaker);
            let mut said = Said::of(Speech(speech));
            let (mut sent, mut frames) = (0, Vec::new());
            loop {
                while let Some(frame) = said.frame_after(sent) {
                    prop_assert_eq!(frame.len(), FRAME_SAMPLES * 2);
                    sent += FRAME_SAMPLES;
                    frames.extend(frame);
                }
                if said.is_over() {
                    return Ok((pieces.concat(), frames));
                }
                said.more().await;
            }
        })?;
        let mut expected: Vec<u8> = whole.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        expected.resize(expected.len().next_multiple_of(FRAME_SAMPLES * 2), 0);
        prop_assert_eq!(sent, expected);
    }
}
