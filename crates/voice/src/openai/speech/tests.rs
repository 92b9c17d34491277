use std::sync::Arc;

use super::*;
use crate::openai::stub::{KEY, Step, Stub, chunk, end, head, json, response};
use crate::provider::Failure;
use crate::wav::wav;

async fn speak(stub: &Stub, format: SpeechFormat) -> (Vec<Sound>, Result<(), Failure>) {
    let style = SpeechStyle {
        voice: "anna".into(),
        format,
    };
    let voice = OpenAiSpeech::new(stub.endpoint(), style).expect("a url");
    let (sound, mut heard) = mpsc::channel(2);
    let hear = async {
        let mut all = Vec::new();
        while let Some(piece) = heard.recv().await {
            all.push(piece);
        }
        all
    };
    let speak = voice.speak("Good day.", Some("en"), sound);
    let (spoken, all) = futures_util::future::join(speak, hear).await;
    (all, spoken)
}

fn samples(sound: Vec<Sound>) -> (u32, Vec<i16>) {
    let mut all = (0, Vec::new());
    for piece in sound {
        match piece {
            Sound::Samples { rate, samples } => {
                all.0 = rate;
                all.1.extend(samples);
            }
            Sound::Opus(_) => panic!("no samples"),
        }
    }
    all
}

const PCM: SpeechFormat = SpeechFormat::Pcm { rate: 24_000 };

#[tokio::test]
async fn bare_samples_come_as_they_are_whatever_they_are_cut_into() {
    let plan = vec![
        head("audio/pcm"),
        chunk([1, 0, 2]),
        chunk([0]),
        chunk([3, 0, 0xff, 0xff]),
        end(),
    ];
    let stub = Stub::new([plan]).await;
    let (sound, spoken) = speak(&stub, PCM).await;
    assert_eq!(spoken, Ok(()));
    assert_eq!(samples(sound), (24_000, vec![1, 2, 3, -1]));
    let asked = &stub.asked()[0];
    assert!(asked.head.starts_with("post /v1/audio/speech http/1.1\r\n"));
    assert_eq!(
        asked.json(),
        serde_json::json!({
            "model": "small", "input": "Good day.", "voice": "anna", "response_format": "pcm",
        })
    );
}

#[tokio::test]
async fn the_rate_that_the_answer_says_is_believed() {
    for (kind, rate) in [
        ("audio/pcm; rate=16000", 16_000),
        ("audio/L16;channels=1;rate=8000", 8_000),
        ("audio/pcm;rate=1", 24_000),
        ("application/octet-stream", 24_000),
    ] {
        let stub = Stub::new([vec![head(kind), chunk([1, 0, 2, 0]), end()]]).await;
        let (sound, spoken) = speak(&stub, PCM).await;
        assert_eq!(spoken, Ok(()));
        assert_eq!(samples(sound), (rate, vec![1, 2]), "{kind}");
    }
}

#[tokio::test]
async fn a_wav_is_read_while_it_comes() {
    let wav = wav(22_050, &[5, 6, 7]);
    let mut plan = vec![head("audio/wav")];
    plan.extend(wav.chunks(5).map(chunk));
    plan.push(end());
    let stub = Stub::new([plan]).await;
    let (sound, spoken) = speak(&stub, SpeechFormat::Wav).await;
    assert_eq!(spoken, Ok(()));
    assert_eq!(samples(sound), (22_050, vec![5, 6, 7]));
}

#[tokio::test]
async fn opus_is_handed_on_packet_by_packet_before_the_rest_is_here() {
    let mut ogg = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13".to_vec();
    ogg.extend_from_slice(b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0");
    ogg.extend_from_slice(b"OggS\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x01\x08OpusTags");
    ogg.extend_from_slice(b"OggS\0\x04\0\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0\x02\x03\x02");
    let plan = vec![
        head("audio/ogg"),
        chunk(&ogg),
        chunk([0x58, 1, 2]),
        Step::UntilGone,
    ];
    let mut stub = Stub::new([plan]).await;
    let style = SpeechStyle {
        voice: String::new(),
        format: SpeechFormat::Opus,
    };
    let voice = OpenAiSpeech::new(stub.endpoint(), style).expect("a url");
    let (sound, mut heard) = mpsc::channel(2);
    let speaking = tokio::spawn(async move { voice.speak("Good day.", None, sound).await });
    let first = heard.recv().await;
    assert_eq!(first, Some(Sound::Opus(Arc::from([0x58, 1, 2]))));
    // Nobody wants to hear the rest: the service notices.
    speaking.abort();
    stub.gone().await;
    assert_eq!(stub.asked()[0].json()["response_format"], "opus");
    assert!(stub.asked()[0].json().get("voice").is_none());
}

#[tokio::test]
async fn words_instead_of_sound_are_told() {
    let refusal = format!(r#"{{"error":{{"message":"no voice anna for {KEY}","code":400}}}}"#);
    for (answer, kind, words) in [
        (
            json("200 OK", refusal),
            FailureKind::Refused,
            "no voice anna for (key)",
        ),
        (
            response(
                "200 OK",
                "content-type: text/html\r\n",
                "<html><title>Welcome</title>",
            ),
            FailureKind::Misunderstood,
            "web page instead of sound: Welcome",
        ),
        (
            response("200 OK", "", r#"{"audio":""}"#),
            FailureKind::Misunderstood,
            "words instead of sound",
        ),
        (
            response("200 OK", "content-type: audio/mpeg\r\n", "ID3\x04\0\0"),
            FailureKind::Misunderstood,
            "MP3",
        ),
        (
            response("200 OK", "content-type: audio/pcm\r\n", ""),
            FailureKind::Misunderstood,
            "no sound",
        ),
    ] {
        let stub = Stub::new([vec![answer]]).await;
        let (sound, spoken) = speak(&stub, PCM).await;
        let failure = spoken.expect_err("no sound");
        assert_eq!(sound, []);
        assert_eq!(failure.kind, kind, "{failure}");
        assert_eq!(failure.stage, Stage::Synthesizer);
        assert!(failure.detail.contains(words), "{failure}");
    }
}

#[tokio::test]
async fn sound_that_breaks_off_is_not_asked_for_again_once_some_was_heard() {
    let stub = Stub::new([
        vec![head("audio/pcm"), chunk([1, 0, 2, 0]), Step::Close],
        vec![head("audio/pcm"), chunk([9, 0, 9, 0]), end()],
    ])
    .await;
    let (sound, spoken) = speak(&stub, PCM).await;
    assert_eq!(samples(sound).1, [1, 2]);
    assert_eq!(spoken.expect_err("broken").kind, FailureKind::Broken);
    assert_eq!(stub.asked().len(), 1);
}

#[tokio::test]
async fn sound_that_breaks_off_before_anything_was_heard_is_asked_for_again() {
    let stub = Stub::new([
        vec![head("audio/pcm"), Step::Close],
        vec![head("audio/pcm"), chunk([9, 0, 9, 0]), end()],
    ])
    .await;
    let (sound, spoken) = speak(&stub, PCM).await;
    assert_eq!(spoken, Ok(()));
    assert_eq!(samples(sound).1, [9, 9]);
}

#[test]
fn a_format_is_one_of_four_words() {
    assert_eq!("".parse(), Ok(PCM));
    assert_eq!("pcm".parse(), Ok(PCM));
    assert_eq!("pcm@16000".parse(), Ok(SpeechFormat::Pcm { rate: 16_000 }));
    assert_eq!(" wav".parse(), Ok(SpeechFormat::Wav));
    assert_eq!("opus".parse(), Ok(SpeechFormat::Opus));
    for word in ["mp3", "pcm@1", "pcm@", "PCM@x"] {
        assert_eq!(word.parse::<SpeechFormat>(), Err(NoFormat), "{word}");
    }
}
