//! The loop of speech without a network: a text is spoken and understood again.
//!
//! Models are too large for the repository. `e2e/speech_models.py` fetches them and says where they lie, in variables of
//! the environment; without these the tests say that they are left out.

use std::env;
use std::time::Duration;

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction,
};
use tokio::sync::mpsc;

use super::*;
use crate::command::{Command, CommandSettings};
use crate::provider::{FailureKind, Recognizer, Sound, Speech, Synthesizer};

fn settings(variable: &str) -> Option<LocalSettings> {
    let Some(folder) = env::var_os(variable) else {
        eprintln!("LEFT OUT: {variable} is not set; e2e/speech_models.py says what to set");
        return None;
    };
    Some(LocalSettings {
        language: Some("en".into()),
        timeout: Duration::from_secs(60),
        ..LocalSettings::new("local", folder)
    })
}

/// What a voice makes of a text, at 16 kHz as a microphone would bring it.
async fn spoken(voice: &dyn Synthesizer, text: &str) -> Vec<i16> {
    let (sender, mut receiver) = mpsc::channel(4);
    let (mut made, mut rates) = (Vec::new(), Vec::new());
    let collect = async {
        while let Some(Sound::Samples { rate, samples }) = receiver.recv().await {
            rates.push(rate);
            made.extend(samples);
        }
    };
    let (outcome, ()) = tokio::join!(voice.speak(text, Some("en"), sender), collect);
    outcome.expect("a voice");
    rates.dedup();
    let [rate] = rates[..] else {
        panic!("rates {rates:?}");
    };
    at_16_khz(&made, rate)
}

fn at_16_khz(samples: &[i16], rate: u32) -> Vec<i16> {
    let parameters = SincInterpolationParameters::new(64, WindowFunction::BlackmanHarris2)
        .oversampling_factor(128)
        .interpolation(SincInterpolationType::Linear);
    let ratio = 16_000.0 / f64::from(rate);
    let mut resampler = Async::<f32>::new_sinc(ratio, 1.0, &parameters, 480, 1, FixedAsync::Input)
        .expect("a resampler");
    let floats: Vec<f32> = samples.iter().map(|&sample| f32::from(sample)).collect();
    let input = SequentialSlice::new(&floats[..], 1, floats.len()).expect("one channel");
    let length = resampler.process_all_needed_output_len(floats.len());
    let mut made = vec![0.0; length];
    let mut output = SequentialSlice::new_mut(&mut made[..], 1, length).expect("one channel");
    let (_, written) = resampler
        .process_all_into_buffer(&input, &mut output, floats.len(), None)
        .expect("resampled");
    made[..written]
        .iter()
        .map(|sample| *sample as i16)
        .collect()
}

async fn understood(ears: &dyn Recognizer, samples: &[i16]) -> String {
    let (sender, receiver) = mpsc::channel(4);
    let speak = async {
        for piece in samples.chunks(960) {
            sender.send(piece.to_vec()).await.expect("a listener");
        }
        drop(sender);
    };
    let (transcript, ()) = tokio::join!(ears.recognize(Speech(receiver), Some("en")), speak);
    transcript.expect("a transcript").text
}

/// Letters alone.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    let words: Vec<String> = words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.join(" ")
}

#[tokio::test]
async fn what_a_local_voice_says_a_local_recogniser_understands() {
    let (Some(ears), Some(voice)) = (
        settings("SAFEPORT_TEST_RECOGNIZER"),
        settings("SAFEPORT_TEST_VOICE"),
    ) else {
        return;
    };
    let places = LocalPlaces::default();
    let ears = LocalRecognizer::load(ears, places.clone()).expect("a recogniser");
    let voice = LocalSynthesizer::load(voice, places).expect("a voice");
    for text in [
        "Turn on the light in the kitchen.",
        "What time is it now?",
        "Tell me a story about a little dog.",
    ] {
        let samples = spoken(&voice, text).await;
        assert_eq!(plain(&understood(&ears, &samples).await), plain(text));
    }
}

#[tokio::test]
async fn what_a_program_says_a_local_recogniser_understands() {
    let Some(ears) = settings("SAFEPORT_TEST_RECOGNIZER") else {
        return;
    };
    let ears = LocalRecognizer::load(ears, LocalPlaces::default()).expect("a recogniser");
    let program = ["espeak-ng", "--stdout", "-v", "{language}"].map(str::to_owned);
    let voice = Command::new(CommandSettings::new("espeak", program));
    let voice = voice.expect("espeak-ng");
    for text in [
        "Turn on the light.",
        "What time is it?",
        "Set a timer for ten minutes.",
    ] {
        let samples = spoken(&voice, text).await;
        assert_eq!(plain(&understood(&ears, &samples).await), plain(text));
    }
}

#[tokio::test]
async fn nothing_that_is_heard_ends_the_process() {
    let Some(ears) = settings("SAFEPORT_TEST_RECOGNIZER") else {
        return;
    };
    let ears = LocalRecognizer::load(ears, LocalPlaces::new(1)).expect("a recogniser");
    assert_eq!(understood(&ears, &[]).await, "");
    assert_eq!(understood(&ears, &[1; 400]).await, "");
    let mut seed = 7u32;
    let hiss: Vec<i16> = (0..16_000 * 30)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as i16
        })
        .collect();
    for samples in [&[0; 2_000][..], &[i16::MIN; 16_000], &hiss] {
        understood(&ears, samples).await;
    }
}

#[tokio::test]
async fn no_words_are_no_sound_and_no_failure() {
    let Some(voice) = settings("SAFEPORT_TEST_VOICE") else {
        return;
    };
    let voice = LocalSynthesizer::load(voice, LocalPlaces::new(1)).expect("a voice");
    for text in ["", " … ", "?!"] {
        let (sender, mut receiver) = mpsc::channel(1);
        assert_eq!(voice.speak(text, None, sender).await, Ok(()));
        assert_eq!(receiver.recv().await, None);
    }
    let (sender, _receiver) = mpsc::channel(1);
    let failure = voice.speak(&"word ".repeat(1000), None, sender).await;
    assert_eq!(failure.expect_err("too long").kind, FailureKind::Refused);
}

#[tokio::test]
async fn who_finds_no_place_is_told_after_a_while() {
    let Some(mut ears) = settings("SAFEPORT_TEST_RECOGNIZER") else {
        return;
    };
    ears.timeout = Duration::from_millis(100);
    let places = LocalPlaces::new(1);
    let _taken = places.take(Duration::from_secs(1)).await.expect("a place");
    let ears = LocalRecognizer::load(ears, places.clone()).expect("a recogniser");
    let (sender, receiver) = mpsc::channel(1);
    sender.send(vec![0; 16_000]).await.expect("room");
    drop(sender);
    let failure = ears.recognize(Speech(receiver), None).await;
    assert_eq!(failure.expect_err("busy").kind, FailureKind::TimedOut);
}

#[tokio::test]
async fn several_speak_and_are_understood_at_the_same_time() {
    let (Some(ears), Some(voice)) = (
        settings("SAFEPORT_TEST_RECOGNIZER"),
        settings("SAFEPORT_TEST_VOICE"),
    ) else {
        return;
    };
    let places = LocalPlaces::new(2);
    let ears = LocalRecognizer::load(ears, places.clone()).expect("a recogniser");
    let voice = LocalSynthesizer::load(voice, places).expect("a voice");
    let turn = |text: &'static str| {
        let (ears, voice) = (&ears, &voice);
        async move {
            for _ in 0..3 {
                let samples = spoken(voice, text).await;
                assert_eq!(plain(&understood(ears, &samples).await), plain(text));
            }
        }
    };
    tokio::join!(
        turn("Turn on the light in the kitchen."),
        turn("What time is it now?"),
        turn("Tell me a story about a little dog."),
        turn("Turn on the light in the kitchen.")
    );
}

#[tokio::test]
async fn a_turn_that_ends_does_not_wait_and_its_place_comes_free_again() {
    let Some(ears) = settings("SAFEPORT_TEST_RECOGNIZER") else {
        return;
    };
    let places = LocalPlaces::new(1);
    let ears = LocalRecognizer::load(ears, places.clone()).expect("a recogniser");
    let (sender, receiver) = mpsc::channel(1);
    let mut recognizing = ears.recognize(Speech(receiver), None);
    let begun = async {
        sender.send(vec![100; 16_000 * 20]).await.expect("room");
        drop(sender);
        while places.0.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        outcome = &mut recognizing => panic!("{outcome:?}"),
        () = begun => {}
    }
    drop(recognizing);
    assert_eq!(places.0.available_permits(), 0, "it still works");
    let place = places.take(Duration::from_secs(60)).await;
    assert!(place.is_ok());
}
