//! Providers that do as they are told, and count what of them is alive.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::super::{Agent, Begin, Named, Phrases, Scene, Told, Turn};
use crate::provider::{
    ChatMessage, ChatModel, Failure, FailureKind, Job, Part, Question, Recognizer, Sound, Speech,
    Stage, Synthesizer, ToolCall, ToolSpec, Toolbox, Transcript,
};

/// What a model does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Text(&'static str),
    /// Identifier, name, arguments.
    Call(&'static str, &'static str, &'static str),
    /// Milliseconds.
    Wait(u64),
    Fail(FailureKind),
    Panic,
}

pub(super) type Tool = fn(&str) -> Result<String, FailureKind>;

/// All providers at once.
#[derive(Clone, Default)]
pub(super) struct Studio(Arc<Inside>);

#[derive(Default)]
struct Inside {
    alive: AtomicUsize,
    heard: Mutex<Transcript>,
    connects_in: AtomicUsize,
    samples: AtomicUsize,
    hearing_fails: Mutex<Option<FailureKind>>,
    hearing_hangs: Mutex<bool>,
    answers: Mutex<VecDeque<Vec<Step>>>,
    steps: AtomicUsize,
    questions: Mutex<Vec<Vec<ChatMessage>>>,
    tools: Mutex<Vec<(&'static str, Tool, u64)>>,
    opus: Mutex<Vec<Arc<[u8]>>>,
    /// Another than 24,000; 0: no sound.
    rate: Mutex<Option<u32>>,
    spoken: Mutex<Vec<String>>,
    speaking: AtomicUsize,
    most: AtomicUsize,
    /// Which sentence fails after how many pieces of sound; `None`: it hangs there.
    voice_fails: Mutex<Option<(usize, usize, Option<FailureKind>)>>,
}

/// Counts while it lives.
struct Alive<'a>(&'a AtomicUsize);

impl<'a> Alive<'a> {
    fn new(count: &'a AtomicUsize) -> Alive<'a> {
        count.fetch_add(1, SeqCst);
        Alive(count)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn failure(stage: Stage, kind: FailureKind) -> Failure {
    Failure {
        stage,
        provider: "fake".into(),
        kind,
        detail: "as told".into(),
    }
}

impl Studio {
    pub(super) fn new() -> Studio {
        Studio::default()
    }

    pub(super) fn hears(self, text: &str) -> Studio {
        self.0.heard.lock().unwrap().text = text.into();
        self
    }

    pub(super) fn recogniser_connects_in(self, ms: usize) -> Studio {
        self.0.connects_in.store(ms, SeqCst);
        self
    }

    pub(super) fn hearing_fails(self, kind: FailureKind) -> Studio {
        *self.0.hearing_fails.lock().unwrap() = Some(kind);
        self
    }

    pub(super) fn hearing_hangs(self) -> Studio {
        *self.0.hearing_hangs.lock().unwrap() = true;
        self
    }

    pub(super) fn answers(self, steps: impl IntoIterator<Item = Step>) -> Studio {
        let steps = steps.into_iter().collect();
        self.0.answers.lock().unwrap().push_back(steps);
        self
    }

    pub(super) fn tool(self, name: &'static str, tool: Tool) -> Studio {
        self.slow_tool(name, 5, tool)
    }

    pub(super) fn slow_tool(self, name: &'static str, ms: u64, tool: Tool) -> Studio {
        self.0.tools.lock().unwrap().push((name, tool, ms));
        self
    }

    pub(super) fn speaks_opus(self, packets: Vec<Arc<[u8]>>) -> Studio {
        *self.0.opus.lock().unwrap() = packets;
        self
    }

    pub(super) fn speaks_at(self, rate: u32) -> Studio {
        *self.0.rate.lock().unwrap() = Some(rate);
        self
    }

    pub(super) fn voice_fails(
        self,
        sentence: usize,
        piece: usize,
        kind: Option<FailureKind>,
    ) -> Studio {
        *self.0.voice_fails.lock().unwrap() = Some((sentence, piece, kind));
        self
    }

    pub(super) fn agent(&self) -> Agent {
        let mut agent = Agent::new("agent", Named::new("model", Arc::new(self.clone())));
        agent.recognizer = Some(Named::new("ear", Arc::new(self.clone())));
        agent.synthesizer = Some(Named::new("voice", Arc::new(self.clone())));
        agent.phrases = Phrases::new(|failure| format!("Sorry: {:?}.", failure.stage));
        agent
    }

    pub(super) fn scene(&self) -> Scene {
        Scene {
            toolbox: Some(Arc::new(self.clone())),
            ..Scene::default()
        }
    }

    pub(super) fn turn(&self, begin: Begin) -> Turn {
        Turn::start(Arc::new(self.agent()), self.scene(), begin)
    }

    /// Futures of providers that exist.
    pub(super) fn alive(&self) -> usize {
        self.0.alive.load(SeqCst)
    }

    pub(super) fn samples_heard(&self) -> usize {
        self.0.samples.load(SeqCst)
    }

    pub(super) fn questions(&self) -> Vec<Vec<ChatMessage>> {
        self.0.questions.lock().unwrap().clone()
    }

    pub(super) fn spoken(&self) -> Vec<String> {
        self.0.spoken.lock().unwrap().clone()
    }

    pub(super) fn steps_done(&self) -> usize {
        self.0.steps.load(SeqCst)
    }

    /// Sentences that were synthesised at the same time.
    pub(super) fn most_at_once(&self) -> usize {
        self.0.most.load(SeqCst)
    }
}

impl Recognizer for Studio {
    fn recognize<'a>(&'a self, mut speech: Speech, _: Option<&'a str>) -> Job<'a, Transcript> {
        let inside = &*self.0;
        let alive = Alive::new(&inside.alive);
        Box::pin(async move {
            let _alive = alive;
            sleep(Duration::from_millis(inside.connects_in.load(SeqCst) as u64)).await;
            if let Some(kind) = *inside.hearing_fails.lock().unwrap() {
                return Err(failure(Stage::Recognizer, kind));
            }
            while let Some(piece) = speech.next().await {
                inside.samples.fetch_add(piece.len(), SeqCst);
            }
            if *inside.hearing_hangs.lock().unwrap() {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_millis(100)).await;
            Ok(inside.heard.lock().unwrap().clone())
        })
    }
}

impl ChatModel for Studio {
    fn answer<'a>(&'a self, question: Question<'a>, parts: mpsc::Sender<Part>) -> Job<'a, ()> {
        let inside = &*self.0;
        let alive = Alive::new(&inside.alive);
        Box::pin(async move {
            let _alive = alive;
            inside
                .questions
                .lock()
                .unwrap()
                .push(question.messages.to_vec());
            let steps = inside.answers.lock().unwrap().pop_front();
            for step in steps.unwrap_or_default() {
                sleep(Duration::from_millis(20)).await;
                let part = match step {
                    Step::Text(text) => Part::Text(text.into()),
                    Step::Call(id, name, arguments) => Part::Call(ToolCall {
                        id: id.into(),
                        name: name.into(),
                        arguments: arguments.into(),
                    }),
                    Step::Wait(ms) => {
                        sleep(Duration::from_millis(ms)).await;
                        continue;
                    }
                    Step::Fail(kind) => return Err(failure(Stage::Model, kind)),
                    Step::Panic => panic!("as told"),
                };
                let _ = parts.send(part).await;
                inside.steps.fetch_add(1, SeqCst);
            }
            Ok(())
        })
    }
}

impl Toolbox for Studio {
    fn tools(&self) -> Vec<ToolSpec> {
        let tools = self.0.tools.lock().unwrap();
        let spec = |name: &str| ToolSpec {
            name: name.into(),
            description: String::new(),
            parameters: serde_json::json!({"type": "object"}),
        };
        tools.iter().map(|(name, ..)| spec(name)).collect()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> Job<'a, String> {
        let inside = &*self.0;
        let alive = Alive::new(&inside.alive);
        Box::pin(async move {
            let _alive = alive;
            let known = inside.tools.lock().unwrap().clone();
            let known = known.into_iter().find(|(name, ..)| *name == call.name);
            let (_, tool, ms) = known.expect("only tools that there are are called");
            sleep(Duration::from_millis(ms)).await;
            tool(&call.arguments).map_err(|kind| failure(Stage::Tool, kind))
        })
    }
}

impl Synthesizer for Studio {
    fn speak<'a>(
        &'a self,
        text: &'a str,
        _: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        let inside = &*self.0;
        let alive = Alive::new(&inside.alive);
        Box::pin(async move {
            let _alive = alive;
            let _speaking = Alive::new(&inside.speaking);
            inside.most.fetch_max(inside.speaking.load(SeqCst), SeqCst);
            let sentence = {
                let mut spoken = inside.spoken.lock().unwrap();
                spoken.push(text.into());
                spoken.len() - 1
            };
            let fails = *inside.voice_fails.lock().unwrap();
            let fails = fails.filter(|(which, ..)| *which <= sentence);
            let opus = inside.opus.lock().unwrap().clone();
            let rate = inside.rate.lock().unwrap().unwrap_or(24_000);
            if rate == 0 {
                return Ok(());
            }
            for packet in &opus {
                let _ = sound.send(Sound::Opus(packet.clone())).await;
            }
            // 150 ms: two packets and a half.
            for piece in 0..5 {
                match fails {
                    Some((_, at, kind)) if at == piece => match kind {
                        Some(kind) => return Err(failure(Stage::Synthesizer, kind)),
                        None => std::future::pending::<()>().await,
                    },
                    _ if !opus.is_empty() => break,
                    _ => {}
                }
                sleep(Duration::from_millis(30)).await;
                let samples = vec![500; 720];
                let _ = sound.send(Sound::Samples { rate, samples }).await;
            }
            Ok(())
        })
    }
}

/// All that a turn tells.
pub(super) async fn drain(turn: &mut Turn) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some(next) = turn.next().await {
        told.push(next);
    }
    told
}

/// What was told, in short; sound that follows on sound together.
pub(super) fn kinds(told: &[Told]) -> Vec<String> {
    let mut kinds: Vec<String> = Vec::new();
    for told in told {
        let kind = match told {
            Told::Heard(text) => format!("heard {text}"),
            Told::Sentence { shown } => shown.clone(),
            Told::Audio(_) => "audio".into(),
            Told::Opus(_) => "opus".into(),
            Told::Failed(failure) => format!("{:?} {:?}", failure.stage, failure.kind),
            Told::Done(_) => "done".into(),
        };
        match kinds.last_mut() {
            Some(last) if kind == "audio" && last.starts_with("audio") => last.push_str(" audio"),
            _ => kinds.push(kind),
        }
    }
    kinds
}

/// The sentences among it.
pub(super) fn shown(told: &[Told]) -> Vec<String> {
    let sentences = told.iter().filter_map(|told| match told {
        Told::Sentence { shown } => Some(shown.clone()),
        _ => None,
    });
    sentences.collect()
}
