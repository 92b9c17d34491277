//! What a turn does: understands, answers, calls tools, and says so when something fails.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::hearing::Ears;
use super::record::{Mark, Record};
use super::{Agent, Event, Scene, Told};
use crate::limits::{
    ANSWER_BYTES, CALLS, HEARD_BYTES, PARTS_WAITING, SENTENCES_WAITING, TOOL_BYTES,
};
use crate::provider::{
    ChatMessage, Failure, FailureKind, Job, Part, Question, Stage, ToolCall, ToolSpec,
};
use crate::sentence::{Sentence, Sentences};
use crate::speech::{Packet, no_voice};

/// What the task of a turn works with.
pub(super) struct Work {
    pub(super) agent: Arc<Agent>,
    scene: Scene,
    record: Arc<Mutex<Record>>,
    events: mpsc::Sender<Event>,
    /// The filler was said.
    filled: AtomicBool,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Work").field(&self.agent.name).finish()
    }
}

/// What it begins with.
pub(super) enum Task {
    /// Understands somebody, and answers.
    Listen(Ears),
    /// Answers a text.
    Answer(String),
    /// Says a text.
    Announce(String),
}

/// What is to be told, in its order.
pub(super) enum Item {
    Say(Say),
    Failed(Failure),
}

/// What is to be said.
pub(super) struct Say {
    pub(super) sentence: Sentence,
    /// In which of its answers the model said it; `None`: words of ours.
    pub(super) round: Option<usize>,
    /// It will be said again.
    pub(super) is_prompt: bool,
}

impl Work {
    pub(super) fn new(
        agent: Arc<Agent>,
        scene: Scene,
        record: Arc<Mutex<Record>>,
        events: mpsc::Sender<Event>,
    ) -> Work {
        Work {
            agent,
            scene,
            record,
            events,
            filled: AtomicBool::new(false),
        }
    }

    /// Does it all, and ends with [`Event::Done`].
    pub(super) async fn run(self: Box<Work>, task: Task) {
        if !matches!(task, Task::Listen(_)) {
            self.record().begin();
        }
        let (queue, items) = mpsc::channel(SENTENCES_WAITING);
        let spoken = tokio::select! {
            biased;
            spoken = self.speak(items) => spoken,
            never = async {
                self.think(task, queue).await;
                std::future::pending().await
            } => never,
        };
        if let Err(failure) = spoken {
            self.apologise_without_voice(failure).await;
        }
        self.tell(Event::Done).await;
    }

    /// Where the voice itself failed, the sentence is shown, and a built-in voice says that there is none.
    async fn apologise_without_voice(&self, failure: Failure) {
        let shown = self.agent.phrases.of(&failure);
        self.tell_failure(failure).await;
        self.tell(Event::Sentence(shown, None)).await;
        for packet in no_voice(self.agent.language.as_deref()) {
            self.tell_packet(Packet::Ours(packet)).await;
        }
    }

    async fn think(&self, task: Task, queue: mpsc::Sender<Item>) {
        let outcome = match task {
            Task::Announce(text) => {
                self.say_ours(&text, Some(0), &queue).await;
                Ok(())
            }
            Task::Answer(text) => self.converse(text, &queue).await,
            Task::Listen(ears) => match self.understand(ears).await {
                Ok(text) => self.converse(text, &queue).await,
                Err(failure) => Err(failure),
            },
        };
        if let Err(failure) = outcome {
            let words = self.agent.phrases.of(&failure);
            let _ = queue.send(Item::Failed(failure)).await;
            self.say_ours(&words, None, &queue).await;
        }
    }

    /// Makes text of speech; nothing, if nothing was said.
    async fn understand(&self, mut ears: Ears) -> Result<String, Failure> {
        let Some(recognizer) = &self.agent.recognizer else {
            ears.finish.wait().await;
            return Err(Failure {
                stage: Stage::Recognizer,
                provider: self.agent.name.clone(),
                kind: FailureKind::Missing,
                detail: "this agent has no recogniser; set one".into(),
            });
        };
        let Ears { speech, mut finish } = ears;
        let language = self.agent.language.as_deref();
        let mut job = recognizer.provider.recognize(speech, language);
        let wait = self.agent.waits.recognizer;
        let outcome = tokio::select! {
            biased;
            outcome = &mut job => Ok(outcome),
            () = finish.wait() => timeout(wait, &mut job).await,
        };
        drop(job);
        match outcome {
            Ok(Ok(transcript)) => {
                self.record().mark(Mark::Transcript);
                Ok(transcript.text)
            }
            Ok(Err(failure)) => {
                // Who still speaks is not interrupted by an apology.
                finish.wait().await;
                Err(failure)
            }
            Err(_) => Err(Failure {
                stage: Stage::Recognizer,
                provider: recognizer.name.clone(),
                kind: FailureKind::TimedOut,
                detail: format!("no transcript in {} s", wait.as_secs()).into(),
            }),
        }
    }

    /// Lets the model answer, in as many rounds as its tools take.
    async fn converse(&self, text: String, queue: &mpsc::Sender<Item>) -> Result<(), Failure> {
        let text = cut(text.trim(), HEARD_BYTES);
        if !text.chars().any(char::is_alphanumeric) {
            return Ok(());
        }
        self.record().ask(text);
        self.tell(Event::Told(Told::Heard(text.to_owned()))).await;
        let toolbox = self.scene.toolbox.as_deref();
        let tools = toolbox.map(|toolbox| toolbox.tools()).unwrap_or_default();
        let mut messages = self.messages(text);
        let mut left = ANSWER_BYTES;
        let mut is_answered = false;
        for round in 0.. {
            let is_last = round >= self.agent.rounds;
            let tools = if is_last { &[][..] } else { &tools[..] };
            let question = Question {
                messages: &messages,
                tools,
            };
            let answer = self.ask(question, round, &mut left, queue).await?;
            is_answered |= answer.has_words || !answer.calls.is_empty();
            if answer.calls.is_empty() || left == 0 {
                break;
            }
            if is_last {
                let rounds = self.agent.rounds;
                let detail = format!("it still called tools after {rounds} rounds of them");
                return Err(self.model_failure(FailureKind::Misunderstood, &detail));
            }
            let results = self.call_all(&answer.calls, tools, round, queue).await;
            messages.push(ChatMessage::Assistant {
                text: answer.text,
                calls: answer.calls,
            });
            messages.extend(results);
        }
        match is_answered {
            true => Ok(()),
            false => Err(self.model_failure(FailureKind::Misunderstood, "it answered nothing")),
        }
    }

    fn messages(&self, text: &str) -> Vec<ChatMessage> {
        let facts = (self.scene.facts)();
        let prompt = [self.agent.prompt.trim(), facts.trim()];
        let prompt: Vec<&str> = prompt.into_iter().filter(|part| !part.is_empty()).collect();
        let mut messages = Vec::with_capacity(self.scene.history.len() + 2);
        if !prompt.is_empty() {
            messages.push(ChatMessage::System(prompt.join("\n\n")));
        }
        messages.extend_from_slice(&self.scene.history);
        messages.push(ChatMessage::User(text.to_owned()));
        messages
    }

    /// One answer of the model. Its sentences go on as they come.
    async fn ask(
        &self,
        question: Question<'_>,
        round: usize,
        left: &mut usize,
        queue: &mpsc::Sender<Item>,
    ) -> Result<Answer, Failure> {
        let (sink, parts) = mpsc::channel(PARTS_WAITING);
        let mut stream = Stream {
            job: Some(self.agent.model.provider.answer(question, sink)),
            parts,
            outcome: Ok(()),
        };
        let mut answer = Answer::default();
        let mut sentences = Sentences::default();
        let mut wait = self.agent.waits.first_part;
        let outcome = loop {
            let part = match self.patiently(stream.next(), wait, queue).await {
                None => {
                    let detail = format!("nothing came for {} s", wait.as_secs());
                    break Err(self.model_failure(FailureKind::TimedOut, &detail));
                }
                Some(Err(failure)) => break Err(failure),
                Some(Ok(None)) => break Ok(()),
                Some(Ok(Some(part))) => part,
            };
            wait = self.agent.waits.next_part;
            self.record().mark(Mark::FirstPart);
            let size = match &part {
                Part::Text(text) => text.len(),
                Part::Call(call) => call.name.len() + call.arguments.len(),
            };
            if size > *left {
                tracing::warn!(
                    target: "safeport::voice",
                    agent = &*self.agent.name,
                    "the model's answer is longer than {ANSWER_BYTES} bytes; it was broken off",
                );
                *left = 0;
                break Ok(());
            }
            *left -= size;
            match part {
                Part::Call(call) => answer.calls.push(call),
                Part::Text(text) => {
                    answer.text.push_str(&text);
                    sentences.push(&text);
                    answer.has_words |= self.say(&mut sentences, round, queue).await;
                }
            }
        };
        // What came is said, however it ended.
        drop(stream);
        sentences.finish();
        answer.has_words |= self.say(&mut sentences, round, queue).await;
        outcome.map(|()| answer)
    }

    /// Hands on what is ready; whether there was anything.
    async fn say(
        &self,
        sentences: &mut Sentences,
        round: usize,
        queue: &mpsc::Sender<Item>,
    ) -> bool {
        let mut any = false;
        while let Some(sentence) = sentences.next() {
            any = true;
            self.record().mark(Mark::FirstSentence);
            let say = Say {
                sentence,
                round: Some(round),
                is_prompt: false,
            };
            let _ = queue.send(Item::Say(say)).await;
        }
        any
    }

    /// Says what is said again and again.
    async fn say_ours(&self, text: &str, round: Option<usize>, queue: &mpsc::Sender<Item>) {
        let mut sentences = Sentences::default();
        sentences.push(text);
        sentences.finish();
        while let Some(sentence) = sentences.next() {
            let say = Say {
                sentence,
                round,
                is_prompt: true,
            };
            let _ = queue.send(Item::Say(say)).await;
        }
    }

    /// Calls one after the other, as devices do.
    async fn call_all(
        &self,
        calls: &[ToolCall],
        tools: &[ToolSpec],
        round: usize,
        queue: &mpsc::Sender<Item>,
    ) -> Vec<ChatMessage> {
        let mut messages = Vec::with_capacity(calls.len());
        for (number, call) in calls.iter().enumerate() {
            let begun = Instant::now();
            let text = match number < CALLS {
                true => self.call(call, tools, queue).await,
                false => format!("Not called: {CALLS} calls at a time are the most."),
            };
            let took = begun.elapsed();
            self.record().call(round, call.clone(), text.clone(), took);
            messages.push(ChatMessage::Tool {
                call: call.id.clone(),
                text,
            });
        }
        messages
    }

    /// What a tool answers, or why it does not, in words for the model.
    async fn call(
        &self,
        call: &ToolCall,
        tools: &[ToolSpec],
        queue: &mpsc::Sender<Item>,
    ) -> String {
        let known = tools.iter().any(|tool| tool.name == call.name);
        let Some(toolbox) = self.scene.toolbox.as_ref().filter(|_| known) else {
            let names: Vec<&str> = tools.iter().map(|tool| &*tool.name).collect();
            let names = names.join(", ");
            return format!("There is no tool of this name. There are: {names}");
        };
        let wait = self.agent.waits.tool;
        let text = match self.patiently(toolbox.call(call), wait, queue).await {
            Some(Ok(text)) => text,
            Some(Err(failure)) => {
                tracing::warn!(target: "safeport::voice", tool = call.name, "{failure}");
                format!("The tool failed: {}: {}", failure.kind, failure.detail)
            }
            None => {
                let seconds = wait.as_secs();
                tracing::warn!(
                    target: "safeport::voice",
                    tool = call.name,
                    "no answer in {seconds} s",
                );
                format!("The tool did not answer within {seconds} s. It may still be at it.")
            }
        };
        let shown = cut(&text, TOOL_BYTES);
        match shown.len() == text.len() {
            true => text,
            false => format!("{shown}\n(cut off: it is {} bytes long)", text.len()),
        }
    }

    /// Waits for something, and says the filler if it takes long. `None`: it took longer than `wait`.
    async fn patiently<T>(
        &self,
        what: impl Future<Output = T>,
        wait: Duration,
        queue: &mpsc::Sender<Item>,
    ) -> Option<T> {
        let mut what = std::pin::pin!(what);
        let deadline = Instant::now() + wait;
        let filler = self.agent.filler.as_ref();
        let filler = filler.filter(|_| !self.filled.load(Ordering::Relaxed));
        if let Some(filler) = filler.filter(|filler| filler.after < wait) {
            tokio::select! {
                biased;
                done = &mut what => return Some(done),
                () = sleep(filler.after) => {
                    self.filled.store(true, Ordering::Relaxed);
                    self.say_ours(&filler.text, None, queue).await;
                }
            }
        }
        timeout_at(deadline, what).await.ok()
    }

    fn model_failure(&self, kind: FailureKind, detail: &str) -> Failure {
        Failure {
            stage: Stage::Model,
            provider: self.agent.model.name.clone(),
            kind,
            detail: detail.into(),
        }
    }

    /// Waits for who listens. If they are gone, so is this task, at once.
    pub(super) async fn tell(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    pub(super) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One answer of a model.
#[derive(Default)]
struct Answer {
    /// As it was written.
    text: String,
    calls: Vec<ToolCall>,
    /// Something can be shown of it.
    has_words: bool,
}

/// A model that answers.
struct Stream<'a> {
    job: Option<Job<'a, ()>>,
    parts: mpsc::Receiver<Part>,
    outcome: Result<(), Failure>,
}

impl Stream<'_> {
    /// The next part; `None` at the end. What came before a failure comes before it.
    async fn next(&mut self) -> Result<Option<Part>, Failure> {
        loop {
            let Some(job) = &mut self.job else {
                let part = self.parts.recv().await;
                return match part {
                    Some(part) => Ok(Some(part)),
                    None => std::mem::replace(&mut self.outcome, Ok(())).map(|()| None),
                };
            };
            let outcome = tokio::select! {
                biased;
                Some(part) = self.parts.recv() => return Ok(Some(part)),
                outcome = job => outcome,
            };
            self.outcome = outcome;
            self.job = None;
        }
    }
}

/// As much of a text as a limit in bytes allows.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
