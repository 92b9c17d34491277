//! Turns that are given up.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::timeout;

use super::fakes::{Step, Studio, drain, shown};
use crate::provider::{ChatMessage, FailureKind};
use crate::turn::{Begin, Told};

#[tokio::test(start_paused = true)]
async fn of_a_turn_that_is_broken_off_only_what_was_handed_out_happened() {
    let studio = Studio::new()
        .tool("light", |_| Ok("on".into()))
        .answers([Step::Text("One moment."), Step::Call("a", "light", "{}")])
        .answers([Step::Text("First. Second. Third.")]);
    let mut turn = studio.turn(Begin::Asked("go".into()));
    while let Some(told) = turn.next().await {
        if told
            == (Told::Sentence {
                shown: "First.".into(),
            })
        {
            break;
        }
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let happened = turn.stop();
    assert_eq!(happened.messages.len(), 4);
    let said = ChatMessage::Assistant {
        text: "First.".into(),
        calls: vec![],
    };
    assert_eq!(happened.messages[3], said);
    tokio::task::yield_now().await;
    assert_eq!(studio.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_broken_off_did_not_happen() {
    let studio = Studio::new()
        .tool("fast", |_| Ok("yes".into()))
        .slow_tool("slow", 20_000, |_| Ok("never".into()))
        .answers([Step::Call("a", "fast", "{}"), Step::Call("b", "slow", "{}")]);
    let mut turn = studio.turn(Begin::Asked("go".into()));
    let _ = timeout(Duration::from_secs(5), drain(&mut turn)).await;
    assert_eq!(studio.alive(), 1);
    let happened = turn.stop();
    let [
        _,
        ChatMessage::Assistant { calls, .. },
        ChatMessage::Tool { call, .. },
    ] = &happened.messages[..]
    else {
        panic!("{happened:?}");
    };
    assert_eq!((calls.len(), &**call), (1, "a"));
    tokio::task::yield_now().await;
    assert_eq!(studio.alive(), 0);
}

/// A studio in which much happens.
fn studio(fails: usize) -> Studio {
    let studio = Studio::new()
        .hears("Hello.")
        .tool("light", |_| Ok("on".into()))
        .answers([Step::Text("One moment. "), Step::Call("a", "light", "{}")]);
    match fails {
        0 => studio.answers([
            Step::Text("First. "),
            Step::Wait(500),
            Step::Text("Second. Third."),
        ]),
        1 => studio.answers([Step::Text("First. "), Step::Fail(FailureKind::Broken)]),
        2 => studio
            .answers([Step::Text("First.")])
            .voice_fails(1, 2, Some(FailureKind::Broken)),
        _ => studio
            .answers([Step::Text("First.")])
            .hearing_fails(FailureKind::Broken),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whenever_a_turn_is_dropped_nothing_of_it_goes_on(
        fails in 0_usize..4,
        listens in any::<bool>(),
        speaks in 0_usize..30,
        waits in proptest::collection::vec(0_u64..400, 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let studio = studio(fails);
            let begin = match listens {
                true => Begin::Listening,
                false => Begin::Asked("go".into()),
            };
            let mut turn = studio.turn(begin);
            let mut waits = waits.into_iter();
            for _ in 0..speaks {
                turn.hear(&[3; 320]);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Half of the turns that listen are given up before they have finished.
            if speaks % 2 == 0 {
                turn.finish();
            }
            for wait in waits.by_ref() {
                let _ = timeout(Duration::from_millis(wait), turn.next()).await;
            }
            drop(turn);
            tokio::task::yield_now().await;
            assert_eq!(studio.alive(), 0);
            assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
        });
    }

    #[test]
    fn dropping_the_wait_for_what_is_told_loses_nothing(
        waits in proptest::collection::vec(0_u64..50, 0..100),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let whole = drain(&mut studio(0).turn(Begin::Asked("go".into()))).await;
            let mut turn = studio(0).turn(Begin::Asked("go".into()));
            let mut told = Vec::new();
            for wait in waits {
                let next = timeout(Duration::from_millis(wait), turn.next()).await;
                told.extend(next.ok().flatten());
            }
            told.extend(drain(&mut turn).await);
            assert_eq!(shown(&told), shown(&whole));
            assert_eq!(told.len(), whole.len());
        });
    }
}
