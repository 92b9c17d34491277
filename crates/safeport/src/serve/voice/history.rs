//! What was said, written down behind the conversation's back, and how long its stages took.
//!
//! A turn that has ended is noted without waiting: a thread writes what came, several turns at once. What it cannot keep
//! up with is dropped and counted; nobody who talks waits for a disk.

mod scribe;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use safeport_store::{Recordings, Registry, TalkRow};
use safeport_voice::{ChatMessage, Happened};

use self::scribe::{Scribe, Written};
use super::agents::{kind_word, stage_word};
use super::recording::{Sound, SoundMemory};
use crate::limits::{
    VOICE_HISTORY_BATCH, VOICE_HISTORY_FULL_PAUSE, VOICE_HISTORY_REST, VOICE_HISTORY_TEXT,
    VOICE_HISTORY_WAITING,
};
use crate::serve::access::unix_now;
use crate::tasks::Tasks;

/// Notes turns that have ended. One for all conversations.
#[derive(Default)]
pub struct History {
    /// None yet: nothing is written down, only counted.
    rows: OnceLock<SyncSender<Noted>>,
    figures: Arc<Figures>,
}

/// What the thread is told.
enum Noted {
    Turn(Box<Written>),
    /// Everything before it is to be written now; then this is told.
    Finish(SyncSender<()>),
}

/// A turn that has ended, whole or broken off.
#[derive(Debug)]
pub struct TalkNote {
    /// The device's name in the registry.
    pub device: String,
    /// Who answered.
    pub agent: Box<str>,
    /// How long it is kept; zero: only counted.
    pub keep: Duration,
    /// The same for all turns of one conversation.
    pub session: String,
    /// Whether somebody broke the answer off.
    pub interrupted: bool,
    /// What happened in it.
    pub happened: Happened,
    /// What it sounded like, if that is kept.
    pub sound: Option<Sound>,
}

impl History {
    /// Writes into this registry and this folder from here on, from a thread of its own. For once; until then turns are
    /// counted only.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn write_into(
        &self,
        registry: Registry,
        recordings: Recordings,
        tasks: &Tasks,
    ) -> std::io::Result<()> {
        let (rows, come) = sync_channel(VOICE_HISTORY_WAITING);
        let figures = self.figures.clone();
        match self.rows.set(rows) {
            Ok(()) => tasks.spawn_thread("history", move || {
                write(Scribe::new(registry, recordings, figures), &come);
            }),
            Err(_) => Ok(()),
        }
    }

    /// Notes a turn. Never waits.
    pub fn note(&self, mut note: TalkNote) {
        self.figures.count(&note.happened);
        let Some(rows) = self.rows.get() else { return };
        let sound = note.sound.take();
        let Some(row) = row(note, unix_now()) else {
            return;
        };
        if rows
            .try_send(Noted::Turn(Box::new(Written { row, sound })))
            .is_err()
        {
            self.figures.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns when everything that was noted is written down, at the latest after `patience`. For the end of the server,
    /// when nobody talks any more.
    pub fn finish(&self, patience: Duration) {
        let Some(rows) = self.rows.get() else { return };
        let until = Instant::now() + patience;
        let left = || until.saturating_duration_since(Instant::now());
        let (done, written) = sync_channel(1);
        let mut finish = Noted::Finish(done);
        while let Err(TrySendError::Full(back)) = rows.try_send(finish) {
            if left().is_zero() {
                break;
            }
            finish = back;
            std::thread::sleep(VOICE_HISTORY_FULL_PAUSE);
        }
        if written.recv_timeout(left()).is_err() {
            tracing::warn!(
                target: "safeport::voice",
                "what was said last may not be written down: that took longer than {} s", patience.as_secs()
            );
        }
    }

    /// The memory that sound may take before it is written down.
    pub(super) fn sound_memory(&self) -> &Arc<SoundMemory> {
        &self.figures.sound
    }

    /// How long the stages of turns took and which failed, as figures for Prometheus.
    pub fn metrics(&self) -> HistoryMetrics {
        HistoryMetrics(self.figures.clone())
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History")
            .field("dropped", &self.figures.dropped)
            .finish_non_exhaustive()
    }
}

/// What is written of a turn; `None` where nothing is to be, or nothing happened.
fn row(note: TalkNote, now: u64) -> Option<TalkRow> {
    let happened = &note.happened;
    let (mut heard, mut said) = (String::new(), String::new());
    for message in &happened.messages {
        match message {
            ChatMessage::User(text) => join(&mut heard, text),
            ChatMessage::Assistant { text, .. } => join(&mut said, text),
            ChatMessage::System(_) | ChatMessage::Tool { .. } => {}
        }
    }
    let mut failure = String::new();
    if let Some(first) = happened.failures.first() {
        join(&mut failure, &first.to_string());
    }
    if note.keep.is_zero() || (heard.is_empty() && said.is_empty() && failure.is_empty()) {
        return None;
    }
    let ms = |passed: Option<Duration>| passed.map(|passed| passed.as_millis() as u64);
    let timing = happened.timing;
    Some(TalkRow {
        id: 0,
        device: note.device,
        at: now,
        until: now.saturating_add(note.keep.as_secs()),
        conversation: note.session,
        agent: note.agent.into_string(),
        interrupted: note.interrupted,
        heard,
        said,
        failure,
        transcript_ms: ms(timing.transcript),
        token_ms: ms(timing.first_part),
        audio_ms: ms(timing.first_audio),
        sound: None,
    })
}

/// Puts a text behind another one, as far as there is room.
fn join(into: &mut String, text: &str) {
    if !into.is_empty() {
        into.push('\n');
    }
    let room = VOICE_HISTORY_TEXT.saturating_sub(into.len());
    into.push_str(&text[..text.floor_char_boundary(room)]);
}

/// The thread: until nobody notes any more.
fn write(mut scribe: Scribe, come: &Receiver<Noted>) {
    while let Ok(first) = come.recv() {
        let (mut turns, mut finished) = (Vec::new(), None);
        let until = Instant::now() + VOICE_HISTORY_REST;
        let mut next = Some(first);
        while let Some(noted) = next {
            match noted {
                Noted::Turn(turn) => turns.push(*turn),
                Noted::Finish(done) => {
                    finished = Some(done);
                    break;
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            let has_room = turns.len() < VOICE_HISTORY_BATCH;
            next = has_room.then(|| come.recv_timeout(left).ok()).flatten();
        }
        scribe.write(turns);
        if let Some(done) = finished {
            // Who waited may have given up.
            let _ = done.try_send(());
        }
    }
}

type Label = [(&'static str, &'static str); 1];
type Labels = [(&'static str, &'static str); 2];

struct Figures {
    stages: Family<Label, Histogram, fn() -> Histogram>,
    failures: Family<Labels, Counter>,
    turns: AtomicU64,
    dropped: AtomicU64,
    /// Turns whose sound could not be written down.
    unwritten: AtomicU64,
    sound: Arc<SoundMemory>,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            stages: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            failures: Family::default(),
            turns: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            sound: Arc::default(),
        }
    }
}

impl Figures {
    fn count(&self, happened: &Happened) {
        // A turn in which nobody said anything is none.
        if happened.messages.is_empty() && happened.failures.is_empty() {
            return;
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        let timing = happened.timing;
        for (stage, passed) in [
            ("transcript", timing.transcript),
            ("first_token", timing.first_part),
            ("first_sentence", timing.first_sentence),
            ("first_audio", timing.first_audio),
        ] {
            if let Some(passed) = passed {
                let stage = self.stages.get_or_create(&[("stage", stage)]);
                stage.observe(passed.as_secs_f64());
            }
        }
        for failure in &happened.failures {
            let labels = [
                ("stage", stage_word(failure.stage)),
                ("kind", kind_word(failure.kind)),
            ];
            self.failures.get_or_create(&labels).inc();
        }
    }
}

/// See [`History::metrics`].
pub struct HistoryMetrics(Arc<Figures>);

impl std::fmt::Debug for HistoryMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HistoryMetrics")
    }
}

impl Collector for HistoryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = &self.0;
        let stages = encoder.encode_descriptor(
            "safeport_voice_stage",
            "From the end of speech to what each stage of a turn gave first",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        figures.stages.encode(stages)?;
        let failures = encoder.encode_descriptor(
            "safeport_voice_failures",
            "Providers that failed in turns",
            None,
            MetricType::Counter,
        )?;
        figures.failures.encode(failures)?;
        let mut counter = |name, help, value: u64| {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode(metric)
        };
        counter(
            "safeport_voice_turns",
            "Turns in which an agent was asked something",
            figures.turns.load(Ordering::Relaxed),
        )?;
        counter(
            "safeport_voice_history_dropped",
            "Turns that came faster than they could be written down",
            figures.dropped.load(Ordering::Relaxed),
        )?;
        counter(
            "safeport_voice_recordings_cut",
            "Recordings that end before what was said did: it was long, or memory was short",
            figures.sound.cut(),
        )?;
        counter(
            "safeport_voice_recordings_failed",
            "Turns whose sound was to be kept and could not be written",
            figures.unwritten.load(Ordering::Relaxed),
        )
    }
}

/// Upper ends of what the histograms tell apart. What people feel lies between 0.3 and 3 s.
const SECONDS: [f64; 12] = [
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0,
];

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry as Figured;
    use safeport_voice::{Failure, FailureKind, Stage, Timing};

    fn happened() -> Happened {
        Happened {
            messages: vec![
                ChatMessage::User("What is it?".to_owned()),
                ChatMessage::Assistant {
                    text: "A lamp.".to_owned(),
                    calls: Vec::new(),
                },
                ChatMessage::Tool {
                    call: "1".to_owned(),
                    text: "{}".to_owned(),
                },
                ChatMessage::Assistant {
                    text: "It is on.".to_owned(),
                    calls: Vec::new(),
                },
            ],
            timing: Timing {
                transcript: Some(Duration::from_millis(120)),
                first_audio: Some(Duration::from_millis(900)),
                ..Timing::default()
            },
            failures: vec![Failure {
                stage: Stage::Synthesizer,
                provider: "mouth".into(),
                kind: FailureKind::TimedOut,
                detail: "no sound within 20 s".into(),
            }],
        }
    }

    fn note(keep: Duration, happened: Happened) -> TalkNote {
        TalkNote {
            device: "box".to_owned(),
            agent: "kitchen".into(),
            keep,
            session: "c1".to_owned(),
            interrupted: true,
            happened,
            sound: None,
        }
    }

    #[test]
    fn a_turn_is_written_with_what_was_said_and_when_it_is_forgotten() {
        let note = note(Duration::from_secs(60), happened());
        let row = row(note, 1_000).expect("a row");
        assert!(row.interrupted);
        assert_eq!((row.at, row.until), (1_000, 1_060));
        assert_eq!(row.heard, "What is it?");
        assert_eq!(row.said, "A lamp.\nIt is on.");
        assert!(row.failure.contains("no sound"), "{}", row.failure);
        assert_eq!((row.transcript_ms, row.token_ms), (Some(120), None));
    }

    #[test]
    fn nothing_is_written_for_an_agent_that_keeps_nothing_or_where_nothing_happened() {
        assert_eq!(row(note(Duration::ZERO, happened()), 1_000), None);
        let nothing = note(Duration::from_secs(60), Happened::default());
        assert_eq!(row(nothing, 1_000), None);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut text = String::new();
        join(&mut text, &"灯".repeat(VOICE_HISTORY_TEXT));
        assert!(text.len() <= VOICE_HISTORY_TEXT && text.len() > VOICE_HISTORY_TEXT - 3);
        join(&mut text, "more");
        assert!(text.len() <= VOICE_HISTORY_TEXT + 1);
    }

    #[test]
    fn what_is_noted_is_in_the_registry_a_moment_later_and_in_the_metrics_at_once() {
        let scratch = tempfile::tempdir().expect("a folder");
        let folder = safeport_store::DataFolder::open(scratch.path()).expect("a data folder");
        let (tasks, _ends) = crate::tasks::tasks();
        let mut registry = folder.registry().expect("a registry");
        let by = safeport_store::By { who: "test", at: 1 };
        let device = safeport_store::DeviceRecord {
            name: "box".to_owned(),
            family: "xiaozhi".to_owned(),
            topic: "box".to_owned(),
            client_id: "box".to_owned(),
            username: "box".to_owned(),
            mac: None,
            password_hash: safeport_store::Secret::new("hash"),
            extra: Default::default(),
            tags: Vec::new(),
            created: 1,
        };
        registry.add_device(&device, by).expect("a device");
        let history = History::default();
        let own = folder.registry().expect("another");
        history
            .write_into(own, folder.recordings(), &tasks)
            .expect("a thread");
        history.note(note(Duration::from_secs(600), happened()));
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = registry.talks("box", None, 10, 0).expect("talks");
            if !found.is_empty() {
                assert_eq!(found[0].agent, "kitchen");
                break;
            }
            assert!(Instant::now() < deadline, "nothing was written");
            std::thread::sleep(Duration::from_millis(20));
        }
        // At the end nothing waits for more of a batch.
        history.note(note(Duration::from_secs(600), happened()));
        history.finish(Duration::from_secs(20));
        assert_eq!(registry.talks("box", None, 10, 0).expect("talks").len(), 2);
        let mut figured = Figured::default();
        figured.register_collector(Box::new(history.metrics()));
        let mut text = String::new();
        encode(&mut text, &figured).expect("a scrape");
        for line in [
            "safeport_voice_stage_seconds_bucket{le=\"0.2\",stage=\"transcript\"} 2",
            "safeport_voice_stage_seconds_count{stage=\"first_audio\"} 2",
            "safeport_voice_failures_total{stage=\"voice\",kind=\"timed-out\"} 2",
            "safeport_voice_turns_total 2",
        ] {
            assert!(text.contains(line), "{line} in:\n{text}");
        }
    }
}
