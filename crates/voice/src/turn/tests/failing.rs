//! Stages that fail, at every moment: something is always shown, and heard.

use std::sync::Arc;

use super::fakes::{Step, Studio, drain, kinds, shown};
use crate::provider::{ChatMessage, FailureKind};
use crate::speech::no_voice;
use crate::turn::{Agent, Begin, Scene, Told, Turn};

const SOUND: &str = "audio audio audio";

async fn spoken_to(studio: &Studio) -> Vec<Told> {
    let mut turn = studio.turn(Begin::Listening);
    turn.hear(&[1; 960]);
    tokio::task::yield_now().await;
    turn.finish();
    drain(&mut turn).await
}

#[tokio::test(start_paused = true)]
async fn a_recogniser_that_fails_is_apologised_for_when_they_have_finished() {
    let studio = Studio::new().hearing_fails(FailureKind::Unreachable);
    let mut turn = studio.turn(Begin::Listening);
    turn.hear(&[1; 960]);
    let wait = std::time::Duration::from_secs(5);
    let told = tokio::time::timeout(wait, turn.next()).await;
    assert!(told.is_err(), "who speaks is not interrupted: {told:?}");
    turn.finish();
    let told = kinds(&drain(&mut turn).await);
    assert_eq!(
        told,
        [
            "Recognizer Unreachable",
            "Sorry: Recognizer.",
            SOUND,
            "done"
        ]
    );
    assert_eq!(studio.questions().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_recogniser_that_says_nothing_takes_too_long() {
    let studio = Studio::new().hearing_hangs();
    let told = spoken_to(&studio).await;
    assert_eq!(
        kinds(&told),
        ["Recognizer TimedOut", "Sorry: Recognizer.", SOUND, "done"]
    );
    assert_eq!(studio.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_speaks_to_an_agent_without_a_recogniser_is_told_so() {
    let studio = Studio::new();
    let agent = Arc::new(Agent {
        recognizer: None,
        ..studio.agent()
    });
    let mut turn = Turn::start(agent, Scene::default(), Begin::Listening);
    turn.hear(&[1; 960]);
    turn.finish();
    assert_eq!(
        kinds(&drain(&mut turn).await),
        ["Recognizer Missing", "Sorry: Recognizer.", SOUND, "done"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_before_anything_is_apologised_for() {
    for (steps, kind) in [
        (vec![Step::Fail(FailureKind::Exhausted)], "Model Exhausted"),
        (vec![Step::Wait(100_000)], "Model TimedOut"),
        (vec![], "Model Misunderstood"),
        (
            vec![Step::Text(" **"), Step::Text("** ")],
            "Model Misunderstood",
        ),
    ] {
        let studio = Studio::new().hears("Hello?").answers(steps);
        let mut told = spoken_to(&studio).await;
        assert_eq!(
            kinds(&told),
            ["heard Hello?", kind, "Sorry: Model.", SOUND, "done"]
        );
        let Some(Told::Done(happened)) = told.pop() else {
            panic!("{told:?}");
        };
        assert_eq!(happened.failures.len(), 1);
        assert_eq!(
            happened.messages,
            [
                ChatMessage::User("Hello?".into()),
                ChatMessage::Assistant {
                    text: "Sorry: Model.".into(),
                    calls: vec![]
                }
            ]
        );
        assert_eq!(studio.alive(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_before_a_model_failed_is_spoken_and_then_the_apology() {
    for (last, kind) in [
        (Step::Fail(FailureKind::Broken), "Model Broken"),
        (Step::Wait(100_000), "Model TimedOut"),
    ] {
        let studio = Studio::new().answers([Step::Text("First. Then the sec"), last]);
        let mut told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
        assert_eq!(
            kinds(&told),
            [
                "heard go",
                "First.",
                SOUND,
                "Then the sec",
                SOUND,
                kind,
                "Sorry: Model.",
                SOUND,
                "done"
            ]
        );
        let Some(Told::Done(happened)) = told.pop() else {
            panic!("{told:?}");
        };
        let text = "First. Then the sec".into();
        let said = ChatMessage::Assistant {
            text,
            calls: vec![],
        };
        assert_eq!(happened.messages.last(), Some(&said));
    }
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_fails_shows_the_apology_and_a_built_in_one_speaks() {
    // In the first sentence or the second, before any sound or behind some; or it hangs.
    for (sentence, piece, kind, before) in [
        (0, 0, Some(FailureKind::NotAllowed), &["First."][..]),
        (0, 2, Some(FailureKind::NotAllowed), &["First.", "audio"]),
        (
            1,
            0,
            Some(FailureKind::NotAllowed),
            &["First.", SOUND, "Second."],
        ),
        (1, 4, None, &["First.", SOUND, "Second.", "audio audio"]),
    ] {
        let studio = Studio::new()
            .voice_fails(sentence, piece, kind)
            .answers([Step::Text("First. Second. Third.")]);
        let agent = Agent {
            language: Some("zh".into()),
            ..studio.agent()
        };
        let mut turn = Turn::start(Arc::new(agent), studio.scene(), Begin::Asked("go".into()));
        let told = drain(&mut turn).await;
        let failed = match kind {
            Some(_) => "Synthesizer NotAllowed",
            None => "Synthesizer TimedOut",
        };
        let built_in = vec!["audio"; no_voice(Some("zh")).len()].join(" ");
        let mut expected = vec!["heard go"];
        expected.extend(before);
        expected.extend([failed, "Sorry: Synthesizer.", &built_in, "done"]);
        let mut kinds = kinds(&told);
        // What was said before a failure may have filled one packet more or less.
        let sound = |kind: &String| kind.starts_with("audio");
        if before.last().is_some_and(|last| last.starts_with("audio")) {
            assert!(sound(&kinds[before.len()]), "{kinds:?}");
            kinds[before.len()] = (*before.last().expect("some")).into();
        }
        assert_eq!(kinds, expected);
        assert!(told.contains(&Told::Audio(no_voice(Some("zh"))[0].clone())));
        assert_eq!(studio.alive(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_apology_that_the_voice_fails_at_is_shown_with_a_built_in_one() {
    let studio = Studio::new()
        .voice_fails(0, 0, Some(FailureKind::Unreachable))
        .answers([Step::Fail(FailureKind::Unreachable)]);
    let told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
    assert_eq!(shown(&told), ["Sorry: Model.", "Sorry: Synthesizer."]);
    assert!(told.contains(&Told::Audio(no_voice(None)[0].clone())));
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_makes_no_sound_or_an_impossible_one_has_failed() {
    for rate in [0, 96_000] {
        let studio = Studio::new()
            .speaks_at(rate)
            .answers([Step::Text("First. Second.")]);
        let told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
        let failed = "Synthesizer Misunderstood";
        assert_eq!(
            kinds(&told)[1..4],
            ["First.", failed, "Sorry: Synthesizer."]
        );
        assert!(told.contains(&Told::Audio(no_voice(None)[0].clone())));
        assert_eq!(studio.alive(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn tools_that_fail_or_take_too_long_are_told_to_the_model() {
    let studio = Studio::new()
        .tool("broken", |_| Err(FailureKind::Refused))
        .slow_tool("slow", 100_000, |_| Ok("never".into()))
        .answers([
            Step::Call("a", "broken", "{}"),
            Step::Call("b", "slow", "{}"),
        ])
        .answers([Step::Text("That did not work.")]);
    let told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
    assert_eq!(shown(&told), ["That did not work."]);
    let asked = studio.questions();
    let [
        ..,
        ChatMessage::Tool { text: first, .. },
        ChatMessage::Tool { text: second, .. },
    ] = &asked[1][..]
    else {
        panic!("{asked:?}");
    };
    assert_eq!(first, "The tool failed: refused the request: as told");
    assert_eq!(
        second,
        "The tool did not answer within 35 s. It may still be at it."
    );
    assert_eq!(studio.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_only_calls_tools_is_stopped() {
    let mut studio = Studio::new().tool("again", |_| Ok("again".into()));
    for _ in 0..20 {
        studio = studio.answers([Step::Call("a", "again", "{}")]);
    }
    let told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
    assert_eq!(
        kinds(&told),
        [
            "heard go",
            "Model Misunderstood",
            "Sorry: Model.",
            SOUND,
            "done"
        ]
    );
    assert_eq!(studio.questions().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_a_limit_are_not_made() {
    let calls = vec![Step::Call("a", "count", "{}"); 20];
    let studio = Studio::new()
        .tool("count", |_| Ok("one".into()))
        .answers(calls)
        .answers([Step::Text("Done.")]);
    drain(&mut studio.turn(Begin::Asked("go".into()))).await;
    let asked = studio.questions();
    let results: Vec<_> = asked[1]
        .iter()
        .filter_map(|message| match message {
            ChatMessage::Tool { text, .. } => Some(&**text),
            _ => None,
        })
        .collect();
    assert_eq!(results.len(), 20);
    assert!(results[..16].iter().all(|text| *text == "one"));
    assert!(
        results[16..]
            .iter()
            .all(|text| text.starts_with("Not called"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_ends_in_words_too() {
    let studio = Studio::new().answers([Step::Panic]);
    let told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
    let kinds = kinds(&told);
    assert_eq!(kinds[..3], ["heard go", "Model Broken", "Sorry: Model."]);
    assert!(kinds[3].starts_with("audio"));
    assert_eq!(kinds[4], "done");
    assert_eq!(studio.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_broken_off() {
    let studio = Studio::new().answers(vec![Step::Text("A sentence of some length it is. "); 4000]);
    let told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
    let length: usize = shown(&told).iter().map(|text| text.len() + 1).sum();
    assert!(length <= crate::limits::ANSWER_BYTES);
    assert!(length > crate::limits::ANSWER_BYTES - 100);
}
