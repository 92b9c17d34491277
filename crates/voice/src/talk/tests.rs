use std::sync::Mutex;

use super::*;
use crate::provider::{FailureKind, Job, Stage};
use proptest::prelude::*;

/// Summarises in one word, fails, or never answers.
struct Model {
    word: Option<&'static str>,
    hangs: bool,
    asked: Mutex<Vec<String>>,
}

impl Model {
    fn new(word: Option<&'static str>, hangs: bool) -> Arc<Model> {
        let asked = Mutex::default();
        Arc::new(Model { word, hangs, asked })
    }
}

impl ChatModel for Model {
    fn answer<'a>(&'a self, question: Question<'a>, parts: mpsc::Sender<Part>) -> Job<'a, ()> {
        Box::pin(async move {
            let Some(ChatMessage::User(text)) = question.messages.last() else {
                panic!("{question:?}");
            };
            self.asked.lock().unwrap().push(text.clone());
            if self.hangs {
                std::future::pending::<()>().await;
            }
            let Some(word) = self.word else {
                return Err(Failure {
                    stage: Stage::Model,
                    provider: "model".into(),
                    kind: FailureKind::Failed,
                    detail: "as told".into(),
                });
            };
            let _ = parts.send(Part::Text(word.into())).await;
            Ok(())
        })
    }
}

fn said(number: usize, bytes: usize) -> Vec<ChatMessage> {
    vec![
        ChatMessage::User(format!("question {number}")),
        ChatMessage::Assistant {
            text: format!("answer {number} {}", "x".repeat(bytes)),
            calls: vec![],
        },
    ]
}

fn model_of(model: &Arc<Model>) -> Arc<dyn ChatModel> {
    model.clone()
}

#[tokio::test]
async fn without_memory_the_oldest_are_forgotten() {
    let model = Model::new(Some("never"), false);
    let mut talk = Talk::new(Memory::None);
    for number in 0..100 {
        talk.append(said(number, 10), &model_of(&model));
    }
    let history = talk.history();
    assert_eq!(history.len(), TALK_MESSAGES);
    assert_eq!(history[0], ChatMessage::User("question 70".into()));
    assert_eq!(model.asked.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_summary_takes_the_place_of_the_older_half_behind_a_turn() {
    let model = Model::new(Some("Lamps."), false);
    let mut talk = Talk::new(Memory::RollingSummary);
    for number in 0..16 {
        talk.append(said(number, 10), &model_of(&model));
    }
    let before = talk.history();
    assert_eq!(before.len(), 32);
    tokio::task::yield_now().await;
    let after = talk.history();
    assert_eq!(before.len(), 32, "who has it keeps it");
    let summary = ChatMessage::System("Earlier in this conversation:\nLamps.".into());
    assert_eq!(after[0], summary);
    assert_eq!(after[1], ChatMessage::User("question 8".into()));
    assert_eq!(after.len(), 17);
    let asked = model.asked.lock().unwrap().clone();
    assert!(asked[0].starts_with("User: question 0\nAssistant: answer 0"));
    assert!(!asked[0].contains("question 8"));
}

#[tokio::test]
async fn a_summary_is_summarised_with_what_came_after_it() {
    let model = Model::new(Some("Lamps."), false);
    let mut talk = Talk::new(Memory::RollingSummary);
    for number in 0..200 {
        talk.append(said(number, 10), &model_of(&model));
        tokio::task::yield_now().await;
    }
    let history = talk.history();
    assert!(history.len() <= TALK_MESSAGES / 2 + 2, "{}", history.len());
    let systems = history
        .iter()
        .filter(|m| matches!(m, ChatMessage::System(_)));
    assert_eq!(systems.count(), 1);
    let asked = model.asked.lock().unwrap().clone();
    assert!(asked[1].starts_with("Earlier in this conversation:\nLamps.\nUser: question"));
}

#[tokio::test(start_paused = true)]
async fn where_no_summary_can_be_had_the_oldest_are_forgotten() {
    for model in [Model::new(None, false), Model::new(Some("late"), true)] {
        let mut talk = Talk::new(Memory::RollingSummary);
        for number in 0..100 {
            talk.append(said(number, 10), &model_of(&model));
            tokio::task::yield_now().await;
        }
        let history = talk.history();
        assert_eq!(history.len(), TALK_MESSAGES);
        assert_eq!(history[0], ChatMessage::User("question 70".into()));
    }
}

#[tokio::test]
async fn a_summary_that_comes_late_stands_for_what_is_still_there_of_its_half() {
    let model = Model::new(Some("Lamps."), false);
    let mut talk = Talk::new(Memory::RollingSummary);
    // The summary is asked for at once and waits for its turn to run.
    for number in 0..40 {
        talk.append(said(number, 10), &model_of(&model));
    }
    tokio::task::yield_now().await;
    let history = talk.history();
    assert!(matches!(history[0], ChatMessage::System(_)));
    assert_eq!(
        history[1],
        ChatMessage::User("question 10".into()),
        "nothing newer is lost"
    );
    assert_eq!(history.len(), 61);
}

#[tokio::test]
async fn a_talk_that_is_given_up_asks_for_no_summary_any_more() {
    let model = Model::new(Some("never"), true);
    let mut talk = Talk::new(Memory::RollingSummary);
    for number in 0..20 {
        talk.append(said(number, 10), &model_of(&model));
    }
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&model), 2);
    drop(talk);
    tokio::task::yield_now().await;
    assert_eq!(Arc::strong_count(&model), 1);
}

#[tokio::test]
async fn questions_that_nothing_was_answered_to_are_put_together() {
    let model = model_of(&Model::new(None, false));
    let mut talk = Talk::new(Memory::None);
    talk.append(vec![ChatMessage::User("one".into())], &model);
    talk.append(vec![ChatMessage::User("two".into())], &model);
    assert_eq!(*talk.history(), [ChatMessage::User("one\ntwo".into())]);
    talk.clear();
    assert_eq!(*talk.history(), []);
}

proptest! {
    #[test]
    fn a_talk_stays_within_its_limits_and_no_answer_of_a_tool_is_without_its_call(
        turns in proptest::collection::vec((0_usize..20_000, 0_usize..12, 0_usize..9_000), 0..60),
    ) {
        let mut talk = Talk::new(Memory::None);
        let model = model_of(&Model::new(None, false));
        for (number, (bytes, tools, length)) in turns.into_iter().enumerate() {
            let mut messages = said(number, bytes);
            let call = |id: usize| ToolCall {
                id: id.to_string(),
                name: "tool".into(),
                arguments: "{}".into(),
            };
            let calls = (0..tools).map(call).collect();
            messages.push(ChatMessage::Assistant { text: String::new(), calls });
            messages.extend((0..tools).map(|id| ChatMessage::Tool {
                call: id.to_string(),
                text: "长".repeat(length),
            }));
            talk.append(messages, &model);
            let history = talk.history();
            prop_assert!(history.len() <= TALK_MESSAGES);
            prop_assert!(history.iter().map(size).sum::<usize>() <= TALK_BYTES);
            let first = history.first();
            prop_assert!(first.is_none_or(|m| matches!(m, ChatMessage::User(_))), "{:?}", first);
        }
    }
}
