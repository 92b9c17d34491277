//! An answer without a model: for a server that hears and speaks, and has nobody to ask yet.

use tokio::sync::mpsc;

use crate::provider::{ChatMessage, ChatModel, Failure, Job, Part, Question};

/// Says what it understood and what time it is, in Chinese where Chinese was spoken and in English otherwise. With that,
/// ears and voice can be tried before a model is set up.
pub struct Parrot {
    time: Box<dyn Fn() -> (u8, u8) + Send + Sync>,
}

impl Parrot {
    /// `time` gives the hour (0 to 23) and the minute on the clock of the house.
    pub fn new(time: impl Fn() -> (u8, u8) + Send + Sync + 'static) -> Parrot {
        Parrot {
            time: Box::new(time),
        }
    }

    /// Its whole answer to what was said.
    fn words(&self, said: &str) -> String {
        let (hour, minute) = (self.time)();
        let said = beginning(said.trim());
        if said.chars().any(is_chinese) {
            let said = said.trim_end_matches(is_end);
            format!(
                "你说：{said}。现在是{hour}点{}。",
                minutes_in_chinese(minute)
            )
        } else if said.is_empty() {
            format!("I understood nothing. It is {hour}:{minute:02}.")
        } else {
            let said = said.trim_end_matches(is_end);
            format!("You said: {said}. It is {hour}:{minute:02}.")
        }
    }
}

impl ChatModel for Parrot {
    fn answer<'a>(&'a self, question: Question<'a>, parts: mpsc::Sender<Part>) -> Job<'a, ()> {
        let said = question
            .messages
            .iter()
            .rev()
            .find_map(|message| match message {
                ChatMessage::User(said) => Some(said.as_str()),
                _ => None,
            });
        let words = self.words(said.unwrap_or_default());
        Box::pin(async move {
            // Whoever does not listen any more needs no answer.
            let _ = parts.send(Part::Text(words)).await;
            Ok::<(), Failure>(())
        })
    }
}

/// Not more than can be listened to.
fn beginning(said: &str) -> &str {
    match said.char_indices().nth(REPEATED) {
        Some((end, _)) => &said[..end],
        None => said,
    }
}

fn is_chinese(character: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&character)
}

fn is_end(character: char) -> bool {
    ".!?,;:。！？，；：… ".contains(character)
}

fn minutes_in_chinese(minute: u8) -> String {
    match minute {
        0 => "整".to_owned(),
        1..10 => format!("零{minute}分"),
        _ => format!("{minute}分"),
    }
}

/// Characters that are said back; what was said behind them is left out.
const REPEATED: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(said: &str, at: (u8, u8)) -> String {
        let parrot = Parrot::new(move || at);
        let messages = [
            ChatMessage::System("Be kind.".into()),
            ChatMessage::User("What was said before".into()),
            ChatMessage::Assistant {
                text: "This".into(),
                calls: Vec::new(),
            },
            ChatMessage::User(said.into()),
        ];
        let question = Question {
            messages: &messages,
            tools: &[],
        };
        let (sender, mut receiver) = mpsc::channel(1);
        parrot.answer(question, sender).await.expect("an answer");
        let Some(Part::Text(text)) = receiver.recv().await else {
            panic!("no text");
        };
        text
    }

    #[tokio::test]
    async fn it_says_back_the_last_words_and_the_time_in_their_language() {
        assert_eq!(
            answer("Turn on the light.", (9, 5)).await,
            "You said: Turn on the light. It is 9:05."
        );
        assert_eq!(
            answer("打开客厅的灯。", (15, 8)).await,
            "你说：打开客厅的灯。现在是15点零8分。"
        );
        assert_eq!(
            answer("现在几点？", (8, 0)).await,
            "你说：现在几点。现在是8点整。"
        );
        assert_eq!(
            answer(" ", (0, 30)).await,
            "I understood nothing. It is 0:30."
        );
    }

    #[tokio::test]
    async fn a_long_speech_is_not_said_back_to_its_end() {
        let text = answer(&"啊".repeat(5000), (12, 0)).await;
        assert_eq!(text.matches('啊').count(), REPEATED);
    }

    #[tokio::test]
    async fn nobody_listening_is_no_failure() {
        let parrot = Parrot::new(|| (1, 1));
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let question = Question {
            messages: &[],
            tools: &[],
        };
        assert_eq!(parrot.answer(question, sender).await, Ok(()));
    }
}
