//! Who answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::provider::{ChatModel, Failure, Recognizer, Synthesizer};
use crate::speech::Prompts;

/// Who answers, and how. Shared by all turns of all devices that have it.
#[derive(Debug)]
pub struct Agent {
    /// In the settings.
    pub name: Box<str>,
    /// What the model is told first.
    pub prompt: String,
    /// What is spoken (`zh`, `en`, …); `None`: anything, and English where we have to say something.
    pub language: Option<Box<str>>,
    /// Without one nobody is understood: who speaks is told so.
    pub recognizer: Option<Named<dyn Recognizer>>,
    /// Answers.
    pub model: Named<dyn ChatModel>,
    /// Without one answers are shown only.
    pub synthesizer: Option<Named<dyn Synthesizer>>,
    /// All that makes the voice sound different from others, such as provider, voice and speed; by this and their text
    /// prompts are kept.
    pub voice: Box<str>,
    /// What is said when something fails.
    pub phrases: Phrases,
    /// Speech that is there already; one for all agents.
    pub prompts: Arc<Prompts>,
    /// How long it waits for what.
    pub waits: TurnWaits,
    /// How often in one turn the model may call tools and be asked again with what they answered. Default 5. Then it
    /// must answer without.
    pub rounds: usize,
    /// What is said when an answer takes long. Default nothing.
    pub filler: Option<Filler>,
}

impl Agent {
    /// One that only has a model; the rest is set in its fields.
    pub fn new(name: impl Into<Box<str>>, model: Named<dyn ChatModel>) -> Agent {
        Agent {
            name: name.into(),
            prompt: String::new(),
            language: None,
            recognizer: None,
            model,
            synthesizer: None,
            voice: Box::default(),
            phrases: Phrases::default(),
            prompts: Arc::default(),
            waits: TurnWaits::default(),
            rounds: 5,
            filler: None,
        }
    }
}

/// A provider and its name in the settings.
pub struct Named<T: ?Sized> {
    /// In the settings.
    pub name: Box<str>,
    /// Itself.
    pub provider: Arc<T>,
}

impl<T: ?Sized> Named<T> {
    /// This provider under this name.
    pub fn new(name: impl Into<Box<str>>, provider: Arc<T>) -> Named<T> {
        Named {
            name: name.into(),
            provider,
        }
    }
}

impl<T: ?Sized> Clone for Named<T> {
    fn clone(&self) -> Named<T> {
        Named {
            name: self.name.clone(),
            provider: self.provider.clone(),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Named").field(&self.name).finish()
    }
}

/// What is shown and spoken when something fails, in the language of the agent: one or two short sentences for a
/// failure, by its stage and kind.
#[derive(Clone)]
pub struct Phrases(Arc<dyn Fn(&Failure) -> String + Send + Sync>);

impl Phrases {
    /// With these texts. An empty one becomes that of `Phrases::default()`.
    pub fn new(texts: impl Fn(&Failure) -> String + Send + Sync + 'static) -> Phrases {
        Phrases(Arc::new(texts))
    }

    /// What is said about this failure.
    pub fn of(&self, failure: &Failure) -> String {
        let text = (self.0)(failure);
        match text.trim() {
            "" => PLAIN.to_owned(),
            text => text.to_owned(),
        }
    }
}

impl Default for Phrases {
    /// One sentence in English for everything.
    fn default() -> Phrases {
        Phrases::new(|_| PLAIN.to_owned())
    }
}

impl fmt::Debug for Phrases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Phrases")
    }
}

/// How long a turn waits for what, before it says that this failed. Time in which nobody takes what the turn has to
/// tell does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnWaits {
    /// From the end of speech to what was understood. Default 15 s.
    pub recognizer: Duration,
    /// From a question to the first part of the answer. Default 20 s.
    pub first_part: Duration,
    /// From one part of an answer to the next. Default 15 s.
    pub next_part: Duration,
    /// For the answer of a tool; the model is told that it took too long. Default 35 s: tools of devices may take 30.
    pub tool: Duration,
    /// From one piece of sound of a sentence to the next, and to the first. Default 15 s.
    pub sound: Duration,
}

impl Default for TurnWaits {
    fn default() -> TurnWaits {
        TurnWaits {
            recognizer: Duration::from_secs(15),
            first_part: Duration::from_secs(20),
            next_part: Duration::from_secs(15),
            tool: Duration::from_secs(35),
            sound: Duration::from_secs(15),
        }
    }
}

/// Something to say while nothing is there to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filler {
    /// When a model or tool has taken so long.
    pub after: Duration,
    /// Said once a turn, such as “One moment.”
    pub text: String,
}

const PLAIN: &str = "Sorry, that did not work.";
