use std::future::Future;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::limits::{DASHSCOPE_RESTING, WEBSOCKET_MESSAGE_BYTES};
use crate::websocket::stub::{Peer, Stub, dial, within};

fn voice(stub: &Stub) -> DashScope {
    voice_with(stub, |_| {})
}

fn voice_with(stub: &Stub, change: impl FnOnce(&mut DashScopeSettings)) -> DashScope {
    let mut settings = DashScopeSettings::new("voice", ApiKey::new("sk-secret"));
    settings.url = stub.url.clone();
    change(&mut settings);
    DashScope::new(settings, dial())
}

/// Speaks it, and listens to all of it.
async fn hear(voice: &DashScope, text: &str) -> (Vec<i16>, Result<(), Failure>) {
    let (sender, mut sound) = mpsc::channel(1);
    let listening = async {
        let mut samples = Vec::new();
        while let Some(piece) = sound.recv().await {
            match piece {
                Sound::Samples {
                    rate: 24_000,
                    samples: piece,
                } => samples.extend(piece),
                other => panic!("not what was asked for: {other:?}"),
            }
        }
        samples
    };
    let (done, samples) =
        within(async { tokio::join!(voice.speak(text, Some("zh"), sender), listening) }).await;
    (samples, done)
}

async fn kind_of(voice: &DashScope) -> FailureKind {
    hear(voice, "hello").await.1.unwrap_err().kind
}

/// One task up to its text: its name, the parameters of its start, and the text.
async fn begin(peer: &mut Peer) -> Option<(Value, Value, String)> {
    let Some(Message::Text(run)) = peer.next().await else {
        return None;
    };
    let run: Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["header"]["action"], "run-task");
    assert_eq!(run["header"]["streaming"], "duplex");
    let id = run["header"]["task_id"].clone();
    peer.say(event(&id, "task-started")).await;
    let more = peer.json().await;
    assert_eq!(
        (&more["header"]["action"], &more["header"]["task_id"]),
        (&json!("continue-task"), &id)
    );
    let end = peer.json().await;
    assert_eq!(
        (&end["header"]["action"], &end["header"]["task_id"]),
        (&json!("finish-task"), &id)
    );
    let text = more["payload"]["input"]["text"]
        .as_str()
        .unwrap()
        .to_owned();
    Some((id, run["payload"].clone(), text))
}

fn event(id: &Value, event: &str) -> Value {
    json!({ "header": { "task_id": id, "event": event, "attributes": {} }, "payload": {} })
}

fn failed(id: &Value, code: &str, message: &str) -> Value {
    json!({ "header": { "task_id": id, "event": "task-failed", "error_code": code, "error_message": message } })
}

fn bytes(samples: &[i16]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|sample| sample.to_le_bytes())
        .collect()
}

/// Speaks each sentence as its length in samples, all over one connection.
async fn speaking(mut peer: Peer) {
    while let Some((id, _, text)) = begin(&mut peer).await {
        peer.say(event(&id, "result-generated")).await;
        peer.send(Message::binary(bytes(&vec![7; text.len()])))
            .await;
        peer.say(event(&id, "task-finished")).await;
    }
}

/// A service that does this once a task has its text.
async fn then<W>(act: impl Fn(usize, Peer, Value) -> W + Send + Sync + Clone + 'static) -> Stub
where
    W: Future<Output = ()> + Send + 'static,
{
    Stub::talking(move |number, mut peer| {
        let act = act.clone();
        async move {
            if let Some((id, _, _)) = begin(&mut peer).await {
                act(number, peer, id).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_sentence_is_spoken_as_it_is_made() {
    let (ran, asked) = oneshot::channel();
    let ran = Mutex::new(Some(ran));
    let stub = Stub::talking(move |_, mut peer| {
        let ran = ran.lock().unwrap().take().unwrap();
        async move {
            let key = peer.authorization.clone();
            let (id, payload, text) = begin(&mut peer).await.unwrap();
            ran.send((key, payload, text)).unwrap();
            peer.say(event(&id, "result-generated")).await;
            // A sample may be cut in two.
            let sound = bytes(&[1, -2, 300, -400]);
            for piece in [
                &sound[..1],
                &sound[1..4],
                &sound[4..4],
                &sound[4..7],
                &sound[7..],
            ] {
                peer.send(Message::binary(piece.to_vec())).await;
            }
            peer.say(event(&id, "task-finished")).await;
            peer.until_gone().await;
        }
    })
    .await;
    let voice = voice_with(&stub, |settings| {
        settings.speed = 0.8;
        settings.voice = "longxiaochun_v2".to_owned();
    });
    let (samples, done) = hear(&voice, "床前明月光。").await;
    assert_eq!((samples, done), (vec![1, -2, 300, -400], Ok(())));
    let (key, payload, text) = asked.await.unwrap();
    assert_eq!(key.as_deref(), Some("Bearer sk-secret"));
    assert_eq!(text, "床前明月光。");
    let parameters = json!({
        "text_type": "PlainText", "voice": "longxiaochun_v2", "format": "pcm", "sample_rate": 24000,
        "volume": 50, "rate": 0.8, "pitch": 1.0,
    });
    assert_eq!(
        payload,
        json!({
            "task_group": "audio", "task": "tts", "function": "SpeechSynthesizer",
            "model": "cosyvoice-v3-flash", "parameters": parameters, "input": {},
        })
    );
}

#[tokio::test]
async fn sentences_share_a_connection() {
    let stub = Stub::talking(|_, peer| speaking(peer)).await;
    let voice = voice(&stub);
    for text in ["one", "three", "seventeen"] {
        assert_eq!(hear(&voice, text).await, (vec![7; text.len()], Ok(())));
    }
    assert_eq!(stub.opened(), 1);
    drop(voice);
    stub.until_ended(1).await;
}

#[tokio::test]
async fn sentences_at_the_same_time_have_connections_of_their_own_and_few_of_them_rest() {
    let stub = Stub::talking(|_, peer| speaking(peer)).await;
    let voice = voice(&stub);
    let all = DASHSCOPE_RESTING + 3;
    let (started, mut begun) = mpsc::channel(all);
    let (sender, mut sound) = mpsc::channel(1);
    // Nobody listens yet, so all of them have to wait.
    let mut speaking = Vec::new();
    for _ in 0..all {
        let (voice, sender, started) = (&voice, sender.clone(), started.clone());
        speaking.push(async move {
            started.send(()).await.unwrap();
            voice.speak("hello", None, sender).await
        });
    }
    drop((sender, started));
    let listening = async {
        for _ in 0..all {
            begun.recv().await.unwrap();
        }
        within(async {
            while stub.opened() < all {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        while sound.recv().await.is_some() {}
    };
    let (done, ()) =
        within(async { tokio::join!(futures_util::future::join_all(speaking), listening) }).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    stub.until_ended(all - DASHSCOPE_RESTING).await;
    for _ in 0..3 {
        assert_eq!(hear(&voice, "hello").await.1, Ok(()));
    }
    assert_eq!(stub.opened(), all, "those that rest are enough");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_is_not_used() {
    let stub = Stub::talking(|_, mut peer| async move {
        let (id, _, _) = begin(&mut peer).await.unwrap();
        peer.send(Message::binary(vec![1, 0, 1, 0])).await;
        peer.say(event(&id, "task-finished")).await;
    })
    .await;
    let voice = voice(&stub);
    assert_eq!(hear(&voice, "one").await, (vec![1, 1], Ok(())));
    stub.until_ended(1).await;
    assert_eq!(hear(&voice, "two").await, (vec![1, 1], Ok(())));
    assert_eq!(stub.opened(), 2);
}

#[tokio::test]
async fn a_connection_that_died_while_it_rested_costs_no_try() {
    let stub = Stub::talking(|number, mut peer| async move {
        let (id, _, _) = begin(&mut peer).await.unwrap();
        // The third one is the retry of the second.
        if number != 1 {
            peer.send(Message::binary(vec![1, 0, 1, 0])).await;
            peer.say(event(&id, "task-finished")).await;
        }
        if number == 0 {
            // It takes the next task and never answers.
            peer.until_gone().await;
        }
    })
    .await;
    let voice = voice_with(&stub, |settings| {
        settings.timeout = Duration::from_millis(1500)
    });
    assert_eq!(hear(&voice, "one").await, (vec![1, 1], Ok(())));
    assert_eq!(hear(&voice, "two").await, (vec![1, 1], Ok(())));
    assert_eq!(stub.opened(), 3);
}

#[tokio::test]
async fn who_begins_over_a_kept_connection_and_stops_is_not_asked_twice() {
    let stub = Stub::talking(|_, mut peer| async move {
        let (id, _, _) = begin(&mut peer).await.unwrap();
        peer.send(Message::binary(vec![1, 0, 1, 0])).await;
        peer.say(event(&id, "task-finished")).await;
        begin(&mut peer).await.unwrap();
        peer.until_gone().await;
    })
    .await;
    let voice = voice_with(&stub, |settings| {
        settings.timeout = Duration::from_millis(1500)
    });
    assert_eq!(hear(&voice, "one").await, (vec![1, 1], Ok(())));
    assert_eq!(kind_of(&voice).await, FailureKind::TimedOut);
    assert_eq!(stub.opened(), 1);
}

#[tokio::test]
async fn what_the_service_says_of_a_failure_is_told() {
    for (code, kind) in [
        ("InvalidApiKey", FailureKind::NotAllowed),
        ("AccessDenied.Unpurchased", FailureKind::NotAllowed),
        ("Arrearage", FailureKind::Exhausted),
        ("Throttling.RateQuota", FailureKind::Exhausted),
        ("Throttling.AllocationQuota", FailureKind::Exhausted),
        ("InvalidParameter", FailureKind::Refused),
        ("ModelNotFound", FailureKind::Refused),
        ("DataInspectionFailed", FailureKind::Refused),
        ("CLIENT_ERROR", FailureKind::Refused),
        ("InternalError.Algo", FailureKind::Failed),
        ("SystemError", FailureKind::Failed),
        ("RequestTimeOut", FailureKind::Failed),
    ] {
        let stub = then(move |_, mut peer, id| async move {
            peer.say(failed(&id, code, "about sk-secret")).await;
            peer.until_gone().await;
        })
        .await;
        let failure = hear(&voice(&stub), "hello").await.1.unwrap_err();
        assert_eq!(
            (failure.kind, failure.stage),
            (kind, Stage::Synthesizer),
            "{code}"
        );
        assert!(
            failure.detail.contains(code) && !failure.detail.contains("sk-secret"),
            "{failure}"
        );
        assert_eq!(stub.opened(), 1 + usize::from(kind.is_passing()), "{code}");
    }
}

#[tokio::test]
async fn a_task_can_fail_before_it_starts() {
    let stub = Stub::talking(|_, mut peer| async move {
        let id = peer.json().await["header"]["task_id"].clone();
        peer.say(failed(&id, "InvalidParameter", "no such voice"))
            .await;
        peer.until_gone().await;
    })
    .await;
    assert_eq!(kind_of(&voice(&stub)).await, FailureKind::Refused);
    stub.until_ended(1).await;
}

#[tokio::test]
async fn a_refused_key_is_told_at_the_upgrade() {
    let stub = Stub::answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(kind_of(&voice(&stub)).await, FailureKind::NotAllowed);
    assert_eq!(stub.opened(), 1);
    let stub = Stub::answering("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(kind_of(&voice(&stub)).await, FailureKind::Failed);
    assert_eq!(stub.opened(), 2);
}

#[tokio::test]
async fn what_breaks_before_a_sound_is_tried_once_more() {
    let stub = Stub::talking(|number, peer| async move {
        if number == 1 {
            speaking(peer).await;
        }
    })
    .await;
    assert_eq!(hear(&voice(&stub), "hello").await, (vec![7; 5], Ok(())));
    assert_eq!(stub.opened(), 2);
    let stub = Stub::talking(|_, _| async {}).await;
    assert_eq!(kind_of(&voice(&stub)).await, FailureKind::Broken);
    assert_eq!(stub.opened(), 2);
}

#[tokio::test]
async fn what_breaks_in_the_middle_is_not_said_twice() {
    let stub = then(|_, mut peer, _| async move {
        peer.send(Message::binary(bytes(&[5; 100]))).await;
        peer.send(Message::Close(None)).await;
    })
    .await;
    let (samples, done) = hear(&voice(&stub), "hello").await;
    assert_eq!(samples, vec![5; 100]);
    assert_eq!(done.unwrap_err().kind, FailureKind::Broken);
    assert_eq!(stub.opened(), 1);
}

#[tokio::test]
async fn who_does_not_begin_or_stops_in_the_middle_is_given_up() {
    let hasty = |settings: &mut DashScopeSettings| settings.timeout = Duration::from_millis(1500);
    let silent = Stub::talking(|_, mut peer| async move { peer.until_gone().await }).await;
    assert_eq!(
        kind_of(&voice_with(&silent, hasty)).await,
        FailureKind::TimedOut
    );
    let stalling = then(|_, mut peer, id| async move {
        peer.send(Message::binary(vec![1, 0, 1, 0])).await;
        // Chatter is no sound.
        for _ in 0..2000 {
            peer.say(event(&id, "result-generated")).await;
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let (samples, done) = hear(&voice_with(&stalling, hasty), "hello").await;
    assert_eq!(samples, vec![1, 1]);
    let failure = done.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(failure.detail.contains("no more sound"), "{failure}");
}

#[tokio::test]
async fn a_slow_listener_does_not_make_it_late() {
    let stub = then(|_, mut peer, id| async move {
        for _ in 0..4 {
            peer.send(Message::binary(vec![1, 0, 1, 0])).await;
        }
        peer.say(event(&id, "task-finished")).await;
        peer.until_gone().await;
    })
    .await;
    let voice = voice_with(&stub, |settings| {
        settings.timeout = Duration::from_millis(1500)
    });
    let (sender, mut sound) = mpsc::channel(1);
    let listening = async {
        let mut pieces = 0;
        while sound.recv().await.is_some() {
            pieces += 1;
            sleep(Duration::from_millis(1600)).await;
        }
        pieces
    };
    let (done, pieces) =
        within(async { tokio::join!(voice.speak("hello", None, sender), listening) }).await;
    assert_eq!((done, pieces), (Ok(()), 4));
}

#[tokio::test]
async fn what_makes_no_sense_is_not_asked_twice() {
    for message in [
        Message::text("<html>"),
        Message::text("{}"),
        Message::binary(vec![0; 4]),
        Message::binary(vec![0; WEBSOCKET_MESSAGE_BYTES + 1]),
    ] {
        let stub = Stub::talking(move |_, mut peer| {
            let message = message.clone();
            async move {
                peer.send(message).await;
                peer.until_gone().await;
            }
        })
        .await;
        assert_eq!(kind_of(&voice(&stub)).await, FailureKind::Misunderstood);
        assert_eq!(stub.opened(), 1);
    }
}

#[tokio::test]
async fn a_voice_without_a_sound_is_a_failure() {
    let stub = then(|_, mut peer, id| async move {
        peer.say(event(&id, "task-finished")).await;
        peer.until_gone().await;
    })
    .await;
    assert_eq!(kind_of(&voice(&stub)).await, FailureKind::Misunderstood);
}

#[tokio::test]
async fn dropping_it_closes_the_connection_at_once() {
    let stub = then(|_, mut peer, _| async move {
        peer.send(Message::binary(vec![1, 0, 1, 0])).await;
        peer.until_gone().await;
    })
    .await;
    let voice = voice(&stub);
    let (sender, mut sound) = mpsc::channel(1);
    let mut speaking = voice.speak("hello", None, sender);
    tokio::select! {
        _ = &mut speaking => panic!("it has not finished"),
        piece = within(sound.recv()) => assert!(piece.is_some()),
    }
    drop(speaking);
    stub.until_ended(1).await;
    assert!(voice.rest.take().is_none());
}

#[tokio::test]
async fn where_nobody_listens_any_more_it_stops() {
    let stub = then(|_, mut peer, _| async move {
        peer.send(Message::binary(vec![1, 0, 1, 0])).await;
        peer.until_gone().await;
    })
    .await;
    let (sender, sound) = mpsc::channel(1);
    drop(sound);
    assert_eq!(
        within(voice(&stub).speak("hello", None, sender)).await,
        Ok(())
    );
    stub.until_ended(1).await;
}

#[tokio::test]
async fn what_cannot_be_spoken_connects_to_nobody() {
    let stub = Stub::talking(|_, peer| speaking(peer)).await;
    let voice = voice(&stub);
    assert_eq!(hear(&voice, "… 😀 —").await, (vec![], Ok(())));
    let endless = "啊".repeat(DASHSCOPE_TEXT_CHARS + 1);
    assert_eq!(
        hear(&voice, &endless).await.1.unwrap_err().kind,
        FailureKind::Refused
    );
    assert_eq!(stub.opened(), 0);
    assert!(!format!("{voice:?}").contains("sk-secret"));
}

#[tokio::test]
async fn opus_is_asked_for_and_read_as_ogg() {
    let (ran, asked) = oneshot::channel();
    let ran = Mutex::new(Some(ran));
    let stub = Stub::talking(move |_, mut peer| {
        let ran = ran.lock().unwrap().take().unwrap();
        async move {
            let (id, payload, _) = begin(&mut peer).await.unwrap();
            ran.send(payload["parameters"].clone()).unwrap();
            peer.send(Message::binary(b"no Ogg at all".to_vec())).await;
            peer.say(event(&id, "task-finished")).await;
            peer.until_gone().await;
        }
    })
    .await;
    let voice = voice_with(&stub, |settings| settings.format = SpeechFormat::Opus);
    let failure = hear(&voice, "hello").await.1.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Misunderstood);
    assert!(failure.detail.contains("Ogg"), "{failure}");
    let asked = asked.await.unwrap();
    assert_eq!(
        (&asked["format"], &asked["sample_rate"]),
        (&json!("opus"), &json!(24000))
    );
}
