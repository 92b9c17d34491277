//! Sentences made into sound: one is taken while the next is already being synthesised.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::record::Mark;
use super::work::{Item, Say, Work};
use super::{Event, Told};
use crate::limits::SOUNDS_WAITING;
use crate::provider::{Failure, FailureKind, Sound, Stage};
use crate::speech::{Packer, Packet, SoundError};

/// A sentence that is on its way.
enum Line {
    /// Nothing is to be heard of it.
    Silent(Say),
    /// It was spoken before.
    Ready(Say, Arc<[Packet]>),
    /// It is being spoken.
    Live {
        say: Say,
        sound: mpsc::Receiver<Sound>,
        outcome: oneshot::Receiver<Result<(), Failure>>,
    },
    Failed(Failure),
}

impl Work {
    /// Tells all that comes through the queue, until that ends.
    ///
    /// # Errors
    /// The voice failed. What it had said of the sentence was told.
    pub(super) async fn speak(&self, queue: mpsc::Receiver<Item>) -> Result<(), Failure> {
        // One waits here and is being synthesised, while the one before it is told.
        let (lines, taken) = mpsc::channel(1);
        tokio::select! {
            biased;
            outcome = self.tell_lines(taken) => outcome,
            never = async {
                self.synthesize(queue, lines).await;
                std::future::pending().await
            } => never,
        }
    }

    /// Begins each sentence as soon as there is room for it.
    async fn synthesize(&self, mut queue: mpsc::Receiver<Item>, lines: mpsc::Sender<Line>) {
        let mut jobs = FuturesUnordered::new();
        let mut is_open = true;
        while is_open || !jobs.is_empty() {
            let next = async {
                let place = lines.reserve().await.ok()?;
                Some((place, queue.recv().await?))
            };
            tokio::select! {
                Some(()) = jobs.next() => {}
                next = next, if is_open => match next {
                    None => is_open = false,
                    Some((place, Item::Failed(failure))) => place.send(Line::Failed(failure)),
                    Some((place, Item::Say(say))) => {
                        let (line, job) = self.begin(say);
                        place.send(line);
                        jobs.extend(job);
                    }
                },
            }
        }
    }

    fn begin(&self, say: Say) -> (Line, Option<impl Future<Output = ()> + Send + use<>>) {
        let Some(voice) = self
            .agent
            .synthesizer
            .as_ref()
            .filter(|_| !say.sentence.spoken.is_empty())
        else {
            return (Line::Silent(say), None);
        };
        let kept = say.is_prompt.then(|| {
            let prompts = &self.agent.prompts;
            prompts.get(&self.agent.voice, &say.sentence.spoken)
        });
        if let Some(packets) = kept.flatten() {
            return (Line::Ready(say, packets), None);
        }
        let (sink, sound) = mpsc::channel(SOUNDS_WAITING);
        let (told, outcome) = oneshot::channel();
        let voice = voice.provider.clone();
        let text = say.sentence.spoken.clone();
        let language = self.agent.language.clone();
        let job = async move {
            let _ = told.send(voice.speak(&text, language.as_deref(), sink).await);
        };
        let line = Line::Live {
            say,
            sound,
            outcome,
        };
        (line, Some(job))
    }

    async fn tell_lines(&self, mut lines: mpsc::Receiver<Line>) -> Result<(), Failure> {
        let mut packer = None;
        while let Some(line) = lines.recv().await {
            match line {
                Line::Failed(failure) => self.tell_failure(failure).await,
                Line::Silent(say) => self.tell_sentence(&say).await,
                Line::Ready(say, packets) => {
                    self.tell_sentence(&say).await;
                    for packet in packets.iter() {
                        self.tell_packet(packet.clone()).await;
                    }
                }
                Line::Live {
                    say,
                    sound,
                    outcome,
                } => {
                    self.tell_sentence(&say).await;
                    let packer = match &mut packer {
                        Some(packer) => packer,
                        none => none.insert(Packer::new().map_err(|e| self.unplayable(e))?),
                    };
                    let packets = self.tell_sound(packer, sound, outcome, say.is_prompt);
                    let packets = packets.await?;
                    if say.is_prompt {
                        let prompts = &self.agent.prompts;
                        prompts.insert(&self.agent.voice, &say.sentence.spoken, packets);
                    }
                }
            }
        }
        Ok(())
    }

    async fn tell_sentence(&self, say: &Say) {
        self.tell(Event::Sentence(say.sentence.shown.clone(), say.round))
            .await;
    }

    pub(super) async fn tell_failure(&self, failure: Failure) {
        tracing::warn!(target: "safeport::voice", agent = &*self.agent.name, "{failure}");
        self.record().fail(&failure);
        self.tell(Event::Told(Told::Failed(failure))).await;
    }

    pub(super) async fn tell_packet(&self, packet: Packet) {
        self.record().mark(Mark::Audio);
        self.tell(Event::Told(match packet {
            Packet::Ours(packet) => Told::Audio(packet),
            Packet::Theirs(packet) => Told::Opus(packet),
        }))
        .await;
    }

    /// Tells what a voice makes of a sentence; all of it, if it is to be kept.
    async fn tell_sound(
        &self,
        packer: &mut Packer,
        mut sound: mpsc::Receiver<Sound>,
        outcome: oneshot::Receiver<Result<(), Failure>>,
        keeps: bool,
    ) -> Result<Vec<Packet>, Failure> {
        let wait = self.agent.waits.sound;
        let mut kept = Vec::new();
        let mut ready = Vec::new();
        let mut has_sound = false;
        let ended = loop {
            let piece = match timeout(wait, sound.recv()).await {
                Err(_) => break Err(self.silent_for(wait)),
                Ok(None) => break Ok(()),
                Ok(Some(piece)) => piece,
            };
            has_sound = true;
            match piece {
                Sound::Opus(packet) => ready.push(Packet::Theirs(packet)),
                Sound::Samples { rate, samples } => {
                    let packed = packer.push(rate, &samples, |p| ready.push(Packet::Ours(p)));
                    packed.map_err(|error| self.unplayable(error))?;
                }
            }
            self.hand_out(&mut ready, &mut kept, keeps).await;
        };
        let finished = packer.finish(|packet| ready.push(Packet::Ours(packet)));
        finished.map_err(|error| self.unplayable(error))?;
        self.hand_out(&mut ready, &mut kept, keeps).await;
        ended?;
        match timeout(wait, outcome).await {
            Ok(Ok(outcome)) => outcome?,
            _ => return Err(self.silent_for(wait)),
        }
        match has_sound {
            true => Ok(kept),
            false => Err(self.voice_failure(
                FailureKind::Misunderstood,
                "no sound came for a sentence; check its voice and language",
            )),
        }
    }

    async fn hand_out(&self, ready: &mut Vec<Packet>, kept: &mut Vec<Packet>, keeps: bool) {
        for packet in ready.drain(..) {
            if keeps {
                kept.push(packet.clone());
            }
            self.tell_packet(packet).await;
        }
    }

    fn silent_for(&self, wait: std::time::Duration) -> Failure {
        let detail = format!("no sound for {} s", wait.as_secs());
        self.voice_failure(FailureKind::TimedOut, &detail)
    }

    fn unplayable(&self, error: SoundError) -> Failure {
        self.voice_failure(FailureKind::Misunderstood, &error.to_string())
    }

    fn voice_failure(&self, kind: FailureKind, detail: &str) -> Failure {
        let name = self
            .agent
            .synthesizer
            .as_ref()
            .map(|voice| voice.name.clone());
        Failure {
            stage: Stage::Synthesizer,
            provider: name.unwrap_or_default(),
            kind,
            detail: detail.into(),
        }
    }
}
