//! One turn: what somebody says, and the answer to it.
//!
//! A [`Turn`] is a task of its own that recognises while they speak, lets the model answer, calls tools, and has each
//! sentence spoken while the next one is being written. Who drives it takes what it has to tell with [`Turn::next`];
//! whatever they do not take makes everything behind it wait. Dropping it ends all of that.

mod agent;
mod hearing;
mod record;
mod voice;
mod work;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio::task::AbortHandle;

use crate::limits::TOLD_WAITING;
use crate::provider::{ChatMessage, Failure, FailureKind, Stage, Toolbox};
use crate::speech::no_voice;
pub use agent::{Agent, Filler, Named, Phrases, TurnWaits};
use hearing::Mouth;
pub use hearing::Taken;
use record::Record;
pub use record::{Happened, Timing};
pub(crate) use work::cut;
use work::{Task, Work};

/// What a turn begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// Somebody speaks: [`Turn::hear`], then [`Turn::finish`].
    Listening,
    /// A text is to be answered. An empty one is not.
    Asked(String),
    /// A text is to be said as it is.
    Announce(String),
}

/// What surrounds a turn.
pub struct Scene {
    /// What the model may call.
    pub toolbox: Option<Arc<dyn Toolbox>>,
    /// What was said before, without a prompt.
    pub history: Arc<Vec<ChatMessage>>,
    /// What the model is to know at the moment it is asked, such as the local time: stands behind the prompt.
    pub facts: Box<dyn Fn() -> String + Send + Sync>,
}

impl Default for Scene {
    fn default() -> Scene {
        Scene {
            toolbox: None,
            history: Arc::default(),
            facts: Box::new(String::new),
        }
    }
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene")
            .field("toolbox", &self.toolbox.is_some())
            .field("history", &self.history)
            .finish_non_exhaustive()
    }
}

/// What a turn has to tell, in this order: `Heard`, then sentences with their sound behind them, then `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// What was understood, or asked.
    Heard(String),
    /// The sound from here on says this; without sound if it is only emoji, or there is no voice.
    Sentence {
        /// What is shown, with its emoji.
        shown: String,
    },
    /// One packet of Opus: 60 ms, 24 kHz, mono.
    Audio(Arc<[u8]>),
    /// One packet of Opus as a provider made it, of whatever length: to be put into others of 60 ms before it is sent.
    /// What waits there belongs before whatever else is told next.
    Opus(Arc<[u8]>),
    /// Something failed. What is said and shown about it comes right behind, by a built-in voice if there is no other.
    Failed(Failure),
    /// The turn is over; always the last.
    Done(Happened),
}

/// What the task tells.
enum Event {
    /// A sentence of the model, in which of its answers; `None`: words of ours.
    Sentence(String, Option<usize>),
    Told(Told),
    Done,
}

/// One utterance and its answer, while it lasts.
#[derive(Debug)]
pub struct Turn {
    /// What begins with the first sound.
    parked: Option<Box<Work>>,
    mouth: Option<Mouth>,
    events: mpsc::Receiver<Event>,
    /// What is told though no task tells it.
    ours: VecDeque<Told>,
    is_over: bool,
    /// Where the work is done.
    runtime: Handle,
    task: Option<AbortHandle>,
    record: Arc<Mutex<Record>>,
    agent: Arc<Agent>,
}

impl Turn {
    /// Begins. One that listens costs nothing but itself until somebody is heard. The work is done on
    /// the current runtime, wherever the turn is polled.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(agent: Arc<Agent>, scene: Scene, begin: Begin) -> Turn {
        let (told, events) = mpsc::channel(TOLD_WAITING);
        let record = Arc::new(Mutex::new(Record::default()));
        let work = Box::new(Work::new(agent.clone(), scene, record.clone(), told));
        let mut turn = Turn {
            parked: None,
            mouth: None,
            events,
            ours: VecDeque::new(),
            is_over: false,
            runtime: Handle::current(),
            task: None,
            record,
            agent,
        };
        match begin {
            Begin::Listening => turn.parked = Some(work),
            Begin::Asked(text) => turn.spawn(work, Task::Answer(text)),
            Begin::Announce(text) => turn.spawn(work, Task::Announce(text)),
        }
        turn
    }

    fn spawn(&mut self, work: Box<Work>, task: Task) {
        self.task = Some(self.runtime.spawn(work.run(task)).abort_handle());
    }

    /// Takes what somebody says: 16 kHz, mono. The first of it wakes the recogniser. Never waits.
    pub fn hear(&mut self, samples: &[i16]) -> Taken {
        if let Some(work) = self.parked.take() {
            let (mouth, ears) = hearing::channel();
            self.mouth = Some(mouth);
            self.spawn(work, Task::Listen(ears));
        }
        match &mut self.mouth {
            Some(mouth) => mouth.say(samples),
            None => Taken::NotListening,
        }
    }

    /// They have finished. Where nothing was heard the turn is over.
    pub fn finish(&mut self) {
        if self.parked.take().is_some() {
            self.end();
        } else if let Some(mouth) = self.mouth.take() {
            self.record().begin();
            mouth.finish();
        }
    }

    /// Whether [`Turn::hear`] is listened to: neither finished nor begun with a text.
    pub fn is_listening(&self) -> bool {
        self.parked.is_some() || self.mouth.is_some()
    }

    /// What it has to tell next; `None` after [`Told::Done`]. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Told> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// [`Turn::next`], for who polls.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Told>> {
        if self.is_over || !self.ours.is_empty() {
            return Poll::Ready(self.ours.pop_front());
        }
        match std::task::ready!(self.events.poll_recv(context)) {
            Some(event) => Poll::Ready(Some(self.note(event))),
            None => Poll::Ready(self.break_off()),
        }
    }

    /// What it has to tell at this moment, if anything.
    pub fn try_next(&mut self) -> Option<Told> {
        if self.is_over || !self.ours.is_empty() {
            return self.ours.pop_front();
        }
        match self.events.try_recv() {
            Ok(event) => Some(self.note(event)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.break_off(),
        }
    }

    /// Breaks it off. What is told is what had been taken: a sentence that nobody was handed was not said.
    pub fn stop(mut self) -> Happened {
        self.abort();
        self.record().happened()
    }

    fn note(&mut self, event: Event) -> Told {
        match event {
            Event::Sentence(shown, round) => {
                self.record().say(&shown, round);
                Told::Sentence { shown }
            }
            Event::Told(told) => told,
            Event::Done => {
                self.is_over = true;
                Told::Done(self.record().happened())
            }
        }
    }

    /// The task is gone without a word: it panicked, or the runtime shuts down.
    fn break_off(&mut self) -> Option<Told> {
        let failure = Failure {
            stage: Stage::Model,
            provider: self.agent.name.clone(),
            kind: FailureKind::Broken,
            detail: "the turn ended in its middle; this is a bug, and the log has more".into(),
        };
        let shown = self.agent.phrases.of(&failure);
        self.record().fail(&failure);
        self.record().say(&shown, None);
        self.ours.push_back(Told::Failed(failure));
        self.ours.push_back(Told::Sentence { shown });
        let prompt = no_voice(self.agent.language.as_deref());
        self.ours.extend(prompt.into_iter().map(Told::Audio));
        self.end();
        self.ours.pop_front()
    }

    fn end(&mut self) {
        self.is_over = true;
        let happened = self.record().happened();
        self.ours.push_back(Told::Done(happened));
    }

    fn abort(&mut self) {
        self.mouth = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests;
