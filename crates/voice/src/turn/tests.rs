mod failing;
mod fakes;
mod interrupted;

use std::time::Duration;

use super::*;
use crate::provider::ToolCall;
use fakes::{Step, Studio, drain, kinds, shown};
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn a_turn_tells_what_was_heard_then_sentences_with_their_sound_then_what_happened() {
    let studio = Studio::new().hears("今天天气怎么样？").answers([
        Step::Text("今天"),
        Step::Text("晴。气"),
        Step::Text("温25.5度！😀"),
    ]);
    let mut turn = studio.turn(Begin::Listening);
    assert!(turn.is_listening());
    for _ in 0..20 {
        assert_eq!(turn.hear(&[7; 960]), Taken::Whole);
    }
    turn.finish();
    assert!(!turn.is_listening());
    assert_eq!(turn.hear(&[7; 960]), Taken::NotListening);
    let told = drain(&mut turn).await;
    assert_eq!(
        kinds(&told),
        [
            "heard 今天天气怎么样？",
            "今天晴。",
            "audio audio audio",
            "气温25.5度！",
            "audio audio audio",
            "😀",
            "done"
        ]
    );
    let Some(Told::Done(happened)) = told.last() else {
        panic!("{told:?}");
    };
    assert_eq!(
        happened.messages,
        [
            ChatMessage::User("今天天气怎么样？".into()),
            ChatMessage::Assistant {
                text: "今天晴。气温25.5度！😀".into(),
                calls: vec![],
            }
        ]
    );
    assert!(happened.failures.is_empty());
    let timing = happened.timing;
    assert!(timing.transcript <= timing.first_part && timing.first_part <= timing.first_sentence);
    assert!(timing.first_sentence <= timing.first_audio && timing.first_audio < timing.last_audio);
    assert!(timing.transcript.is_some());
    assert_eq!(studio.samples_heard(), 20 * 960);
    assert_eq!(studio.alive(), 0);
    assert_eq!(turn.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_model_is_told_prompt_facts_history_and_question_in_this_order() {
    let studio = Studio::new().answers([Step::Text("Hm.")]);
    let mut agent = studio.agent();
    agent.prompt = "You are a lamp.".into();
    let scene = Scene {
        history: Arc::new(vec![ChatMessage::User("before".into())]),
        facts: Box::new(|| "It is 12:34.".into()),
        ..Scene::default()
    };
    let mut turn = Turn::start(Arc::new(agent), scene, Begin::Asked(" hello ".into()));
    let told = drain(&mut turn).await;
    assert_eq!(told[0], Told::Heard("hello".into()));
    assert_eq!(
        studio.questions(),
        [vec![
            ChatMessage::System("You are a lamp.\n\nIt is 12:34.".into()),
            ChatMessage::User("before".into()),
            ChatMessage::User("hello".into()),
        ]]
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_sentence_is_heard_while_the_model_still_writes_the_second() {
    let studio = Studio::new().answers([
        Step::Text("First one. S"),
        Step::Wait(10_000),
        Step::Text("econd one."),
    ]);
    let begun = Instant::now();
    let mut turn = studio.turn(Begin::Asked("go".into()));
    while let Some(told) = turn.next().await {
        if let Told::Audio(_) = told {
            break;
        }
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    drain(&mut turn).await;
    assert!(begun.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn the_next_sentence_is_synthesised_while_the_former_is_taken_and_no_more() {
    let mut steps = Vec::new();
    for _ in 0..50 {
        steps.push(Step::Text("One more sentence. "));
    }
    let studio = Studio::new().answers(steps);
    let mut turn = studio.turn(Begin::Asked("go".into()));
    // Nobody takes anything for long.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(studio.spoken().len() <= 7, "{:?}", studio.spoken());
    assert!(studio.steps_done() < 40, "{}", studio.steps_done());
    // Nothing has failed meanwhile.
    let told = drain(&mut turn).await;
    assert_eq!(shown(&told).len(), 50);
    assert_eq!(studio.most_at_once(), 2);
    let Some(Told::Done(happened)) = told.last() else {
        panic!("{told:?}");
    };
    assert_eq!(happened.failures, []);
}

#[tokio::test(start_paused = true)]
async fn tools_are_called_one_after_the_other_and_the_model_sees_what_they_answered() {
    let studio = Studio::new()
        .tool("light", |arguments| Ok(format!("on {arguments}")))
        .answers([
            Step::Text("One moment."),
            Step::Call("a", "light", r#"{"n":1}"#),
            Step::Call("b", "nothing", "{}"),
        ])
        .answers([Step::Text("It is on.")]);
    let mut turn = studio.turn(Begin::Asked("light".into()));
    let told = drain(&mut turn).await;
    assert_eq!(shown(&told), ["One moment.", "It is on."]);
    let asked = studio.questions();
    let [.., assistant, first, second] = &asked[1][..] else {
        panic!("{asked:?}");
    };
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    let calls = vec![call("a", "light", r#"{"n":1}"#), call("b", "nothing", "{}")];
    let text = "One moment.".to_owned();
    assert_eq!(assistant, &ChatMessage::Assistant { text, calls });
    let text = r#"on {"n":1}"#.into();
    assert_eq!(
        first,
        &ChatMessage::Tool {
            call: "a".into(),
            text
        }
    );
    let text = "There is no tool of this name. There are: light".into();
    assert_eq!(
        second,
        &ChatMessage::Tool {
            call: "b".into(),
            text
        }
    );
    let Some(Told::Done(happened)) = told.last() else {
        panic!("{told:?}");
    };
    assert_eq!(happened.messages.len(), 5);
    assert_eq!(&happened.messages[1..4], &asked[1][asked[1].len() - 3..]);
}

#[tokio::test(start_paused = true)]
async fn what_a_tool_answers_is_cut_off_and_the_model_is_told_so() {
    let studio = Studio::new()
        .tool("page", |_| Ok("长".repeat(4 << 20)))
        .answers([Step::Call("a", "page", "{}")])
        .answers([Step::Text("Long.")]);
    drain(&mut studio.turn(Begin::Asked("page".into()))).await;
    let asked = studio.questions();
    let Some(ChatMessage::Tool { text, .. }) = asked[1].last() else {
        panic!("{asked:?}");
    };
    assert!(text.len() < crate::limits::TOOL_BYTES + 100);
    assert!(text.ends_with("(cut off: it is 12582912 bytes long)"));
}

#[tokio::test(start_paused = true)]
async fn nothing_understood_is_not_answered() {
    for text in ["", " ", "。", "..."] {
        let studio = Studio::new().hears(text);
        let mut turn = studio.turn(Begin::Listening);
        turn.hear(&[0; 960]);
        turn.finish();
        let told = drain(&mut turn).await;
        assert_eq!(kinds(&told), ["done"], "{text}");
        assert_eq!(studio.questions().len(), 0);
        assert_eq!(turn.stop().messages, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_in_which_nobody_speaks_asks_nobody() {
    let studio = Studio::new();
    let mut turn = studio.turn(Begin::Listening);
    let silent = timeout(Duration::from_secs(1000), turn.next()).await;
    assert!(silent.is_err());
    turn.finish();
    assert_eq!(kinds(&drain(&mut turn).await), ["done"]);
    assert_eq!(studio.samples_heard(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_recogniser_that_takes_nothing_loses_the_newest_and_who_speaks_too_long_is_told() {
    let studio = Studio::new().hears("late").recogniser_connects_in(60_000);
    let mut turn = studio.turn(Begin::Listening);
    let mut taken = Vec::new();
    for _ in 0..=2000 {
        taken.push(turn.hear(&[1; 960]));
    }
    assert!(taken[..500].iter().all(|taken| *taken == Taken::Whole));
    assert!(taken[500..2000].iter().all(|taken| *taken == Taken::Late));
    assert_eq!(taken[2000], Taken::TooLong);
    tokio::time::sleep(Duration::from_secs(61)).await;
    turn.finish();
    drain(&mut turn).await;
    assert_eq!(studio.samples_heard(), 500 * 960);
}

#[tokio::test(start_paused = true)]
async fn an_announcement_is_said_as_it_is_and_kept_for_the_next_time() {
    let studio = Studio::new();
    let agent = Arc::new(studio.agent());
    let mut sounds = Vec::new();
    for _ in 0..3 {
        let begin = Begin::Announce("The door is open. Close it.".into());
        let mut turn = Turn::start(agent.clone(), Scene::default(), begin);
        let mut told = drain(&mut turn).await;
        assert_eq!(shown(&told), ["The door is open.", "Close it."]);
        let Some(Told::Done(happened)) = told.pop() else {
            panic!("{told:?}");
        };
        assert_eq!(
            happened.messages,
            [ChatMessage::Assistant {
                text: "The door is open. Close it.".into(),
                calls: vec![]
            }]
        );
        sounds.push(told);
    }
    assert_eq!(sounds[0], sounds[1]);
    assert_eq!(sounds[0], sounds[2]);
    assert_eq!(studio.spoken().len(), 2);
    assert_eq!(studio.questions().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_filler_is_said_once_while_an_answer_takes_long() {
    let studio = Studio::new()
        .tool("slow", |_| Ok("done".into()))
        .answers([Step::Wait(4_000), Step::Call("a", "slow", "{}")])
        .answers([Step::Wait(9_000), Step::Text("There.")]);
    let mut agent = studio.agent();
    agent.filler = Some(Filler {
        after: Duration::from_secs(3),
        text: "One moment.".into(),
    });
    let mut turn = Turn::start(Arc::new(agent), studio.scene(), Begin::Asked("go".into()));
    let told = drain(&mut turn).await;
    assert_eq!(shown(&told), ["One moment.", "There."]);
    let Some(Told::Done(happened)) = told.last() else {
        panic!("{told:?}");
    };
    let Some(ChatMessage::Assistant { text, .. }) = happened.messages.last() else {
        panic!("{happened:?}");
    };
    assert_eq!(
        text, "There.",
        "what the model did not say is not in its history"
    );
}

#[tokio::test(start_paused = true)]
async fn packets_of_a_provider_are_passed_on_as_they_are() {
    let packets = [&[1_u8, 2, 3][..], &[4, 5]].map(Arc::from);
    let studio = Studio::new()
        .speaks_opus(packets.clone().into())
        .answers([Step::Text("Hello.")]);
    let told = drain(&mut studio.turn(Begin::Asked("go".into()))).await;
    assert_eq!(told[2..4], packets.map(Told::Opus));
}

#[tokio::test(start_paused = true)]
async fn without_a_voice_the_answer_is_shown_only() {
    let studio = Studio::new().answers([Step::Text("Hello. You.")]);
    let mut agent = studio.agent();
    agent.synthesizer = None;
    let mut turn = Turn::start(Arc::new(agent), Scene::default(), Begin::Asked("go".into()));
    assert_eq!(
        kinds(&drain(&mut turn).await),
        ["heard go", "Hello.", "You.", "done"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_there_can_be_taken_without_waiting() {
    let studio = Studio::new().answers([Step::Text("Hello.")]);
    let mut turn = studio.turn(Begin::Asked("go".into()));
    let mut told = Vec::new();
    for _ in 0..10_000 {
        match turn.try_next() {
            Some(next) => told.push(next),
            None => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    assert_eq!(
        kinds(&told),
        ["heard go", "Hello.", "audio audio audio", "done"]
    );
}
