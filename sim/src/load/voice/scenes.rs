//! Plays the scenes.

use super::super::{Clocks, LoadError, Target, process};
use super::check::Pass;
use super::device::{Device, Turn};
use super::report::{Conversing, Idling, Opening, VoiceFigures, Wait};
use super::sound::{FRAME, Sound};
use super::{Listening, VoiceError, VoiceScene, VoiceTarget, WARM_UP};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How long the server gets to tidy up before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// How long idle sessions are watched.
const WATCH: Duration = Duration::from_secs(3);
/// How long the ends of sessions may take the server, behind the last of them.
const ENDS: Duration = Duration::from_millis(300);
/// Sessions that are opened at the same time where opening is not measured.
const OPENERS: usize = 16;
/// Talking sessions begin within this time, so that some listen while others speak.
const RAMP: Duration = Duration::from_millis(3500);

pub(super) async fn play(
    target: &VoiceTarget,
    passes: Vec<Pass>,
    scene: &VoiceScene,
) -> Result<VoiceFigures, VoiceError> {
    let gauge = Gauge::of(target, &passes);
    // A server may tell a device where to talk a moment before it knows it.
    sleep(SETTLE).await;
    match *scene {
        VoiceScene::Idle { sessions } => idle(&gauge, passes, sessions).await,
        VoiceScene::Opens { count, .. } => opens(&gauge, passes, count).await,
        VoiceScene::Storm { sessions } => opens(&gauge, passes, sessions).await,
        VoiceScene::Uplink {
            listening, time, ..
        } => converse(&gauge, passes, Part::Quiet, listening, time).await,
        VoiceScene::Talk {
            listening, time, ..
        } => converse(&gauge, passes, Part::Talk, listening, time).await,
    }
}

/// Reads the process of the server.
struct Gauge {
    target: Target,
}

impl Gauge {
    fn of(target: &VoiceTarget, passes: &[Pass]) -> Gauge {
        let anywhere = ([127, 0, 0, 1], 0).into();
        let address = passes.first().map_or(anywhere, |pass| pass.address);
        Gauge {
            target: Target {
                pid: target.pid,
                ..Target::new(address)
            },
        }
    }

    fn clocks(&self) -> Result<Clocks, VoiceError> {
        Clocks::read(&self.target).map_err(unreadable)
    }

    fn rss(&self) -> Result<Option<u64>, VoiceError> {
        let memory = process::memory(&self.target).map_err(unreadable)?;
        Ok(memory.map(|memory| memory.rss))
    }

    fn threads(&self) -> Result<Option<i64>, VoiceError> {
        let count =
            |pid| process::threads_of(pid).map_err(|error| VoiceError::Process { pid, error });
        self.target.pid.map(count).transpose()
    }
}

fn unreadable(error: LoadError) -> VoiceError {
    match error {
        LoadError::Process { pid, error } => VoiceError::Process { pid, error },
        other => VoiceError::Scene(other.to_string()),
    }
}

async fn idle(
    gauge: &Gauge,
    mut passes: Vec<Pass>,
    sessions: u32,
) -> Result<VoiceFigures, VoiceError> {
    let counted = passes.split_off(WARM_UP as usize);
    let mut held = hold(passes).await?;
    sleep(SETTLE).await;
    let (before, threads_before) = (gauge.rss()?, gauge.threads()?);
    let mut counted = hold(counted).await?;
    sleep(SETTLE).await;
    let start = gauge.clocks()?;
    sleep(WATCH).await;
    let used = gauge.clocks()?.since(&start);
    let (with, threads_with) = (gauge.rss()?, gauge.threads()?);
    let mut failed = 0;
    while counted.try_join_next().is_some() {
        failed += 1;
    }
    counted.shutdown().await;
    held.shutdown().await;
    sleep(SETTLE).await;
    let after = gauge.rss()?;
    let growth = before
        .zip(with)
        .map(|(before, with)| with as f64 - before as f64);
    Ok(VoiceFigures::Idling(Idling {
        sessions,
        failed,
        rss_per_session: growth.map(|bytes| bytes / f64::from(sessions)),
        threads: threads_before
            .zip(threads_with)
            .map(|(before, with)| with - before),
        cpu_per_session_second: used
            .broker
            .map(|cpu| cpu.div_f64(used.elapsed.as_secs_f64() * f64::from(sessions + WARM_UP))),
        rss: match (before, with, after) {
            (Some(before), Some(with), Some(after)) => Some([before, with, after]),
            _ => None,
        },
    }))
}

/// Opens a session for each pass; each ends by itself only when the server ends it.
async fn hold(passes: Vec<Pass>) -> Result<JoinSet<io::Result<()>>, VoiceError> {
    let mut held = JoinSet::new();
    let mut opening = JoinSet::new();
    let mut left = passes.into_iter();
    loop {
        while opening.len() < OPENERS
            && let Some(pass) = left.next()
        {
            opening.spawn(async move { Device::open(&pass).await });
        }
        let Some(opened) = opening.join_next().await else {
            return Ok(held);
        };
        let opened = opened.map_err(io::Error::other).and_then(|opened| opened);
        let mut device = opened.map_err(VoiceError::Opening)?;
        held.spawn(async move { device.idle().await });
    }
}

async fn opens(gauge: &Gauge, passes: Vec<Pass>, count: u32) -> Result<VoiceFigures, VoiceError> {
    let tally = Arc::new(Tally::default());
    let begun = Arc::new(AtomicU32::new(0));
    let is_storm = passes.len() == count as usize;
    let start = gauge.clocks()?;
    let began = Instant::now();
    let mut workers = JoinSet::new();
    for pass in passes {
        let (tally, begun) = (tally.clone(), begun.clone());
        workers.spawn(async move {
            let mut last = None;
            while begun.fetch_add(1, Ordering::Relaxed) < count {
                let due = match is_storm {
                    true => began,
                    false => Instant::now(),
                };
                match Device::open(&pass).await {
                    Ok(device) => {
                        tally.opened(due);
                        last = is_storm.then_some(device);
                    }
                    Err(error) => tally.failed(&error),
                }
                if is_storm {
                    break;
                }
            }
            last
        });
    }
    // In a storm they stay until the last of them is in.
    let opened = workers.join_all().await;
    let elapsed = began.elapsed();
    drop(opened);
    sleep(ENDS).await;
    let used = gauge.clocks()?.since(&start);
    let opened = tally.opened.load(Ordering::Relaxed);
    Ok(VoiceFigures::Opening(Opening {
        opened,
        failed: tally.failures.load(Ordering::Relaxed),
        first_failure: tally.first_failure(),
        wait: Wait::of(tally.waits()),
        elapsed,
        cpu: used.broker,
        generator_share: used.generator_share,
        others_share: used.others_share,
    }))
}

/// What a device with sound does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Quiet,
    Talk,
}

async fn converse(
    gauge: &Gauge,
    passes: Vec<Pass>,
    part: Part,
    listening: Listening,
    time: Duration,
) -> Result<VoiceFigures, VoiceError> {
    let sessions = passes.len() as u32;
    let sound = Arc::new(Sound::lamp());
    let tally = Arc::new(Tally::default());
    let began = Instant::now();
    let ramp = match part {
        Part::Quiet => FRAME,
        Part::Talk => RAMP,
    };
    // Opening all of them is over by then.
    let first = began + SETTLE + Duration::from_millis(2).saturating_mul(sessions);
    let measured = first + ramp + SETTLE;
    let until = measured + time;
    let mut devices = JoinSet::new();
    for (number, pass) in passes.into_iter().enumerate() {
        let (sound, tally) = (sound.clone(), tally.clone());
        let start = first + ramp.mul_f64(number as f64 / f64::from(sessions));
        devices.spawn(async move {
            sleep_until(began + Duration::from_millis(1) * number as u32).await;
            let mut device = match Device::open(&pass).await {
                Ok(device) => device,
                Err(error) => return tally.failed(&error),
            };
            sleep_until(start).await;
            let played = match part {
                Part::Quiet => quiet(&mut device, &sound, listening, start, until, &tally).await,
                Part::Talk => talk(&mut device, &sound, listening, until, &tally).await,
            };
            if let Err(error) = played {
                tally.failed(&error);
            }
        });
    }
    sleep_until(measured).await;
    let start = gauge.clocks()?;
    tally.measures.store(true, Ordering::Relaxed);
    sleep_until(until).await;
    tally.measures.store(false, Ordering::Relaxed);
    let used = gauge.clocks()?.since(&start);
    let (threads, rss) = (gauge.threads()?, gauge.rss()?);
    devices.shutdown().await;
    let (understood, answered, late) = tally.judge();
    let turns = tally
        .turns
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .len() as u64;
    Ok(VoiceFigures::Conversing(Conversing {
        sessions,
        failed: tally.failures.load(Ordering::Relaxed),
        first_failure: tally.first_failure(),
        elapsed: used.elapsed,
        up: tally.up.load(Ordering::Relaxed),
        down: tally.down.load(Ordering::Relaxed),
        turns,
        cpu: used.broker,
        understood: Wait::of(understood),
        answered: Wait::of(answered),
        late,
        threads,
        rss,
        generator_share: used.generator_share,
        others_share: used.others_share,
    }))
}

async fn quiet(
    device: &mut Device,
    sound: &Sound,
    listening: Listening,
    start: Instant,
    until: Instant,
    tally: &Tally,
) -> io::Result<()> {
    device.listen(listening).await?;
    device
        .send_quiet(sound, start, until, || tally.packet(false))
        .await
}

async fn talk(
    device: &mut Device,
    sound: &Sound,
    listening: Listening,
    until: Instant,
    tally: &Tally,
) -> io::Result<()> {
    let mut is_first = true;
    while Instant::now() < until {
        let each = |is_theirs| tally.packet(is_theirs);
        let turn = device.turn(sound, listening, is_first, each).await?;
        is_first = false;
        if tally.measures.load(Ordering::Relaxed) {
            tally
                .turns
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(turn);
        }
    }
    Ok(())
}

/// What all devices together have seen.
#[derive(Default)]
struct Tally {
    opened: AtomicU32,
    failures: AtomicU32,
    first: Mutex<Option<String>>,
    waits: Mutex<Vec<Duration>>,
    measures: AtomicBool,
    up: AtomicU64,
    down: AtomicU64,
    turns: Mutex<Vec<Turn>>,
}

impl Tally {
    fn opened(&self, due: Instant) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        waits.push(due.elapsed());
    }

    fn failed(&self, error: &io::Error) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.to_string());
    }

    fn first_failure(&self) -> Option<String> {
        self.first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn waits(&self) -> Vec<Duration> {
        std::mem::take(&mut self.waits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn packet(&self, is_theirs: bool) {
        if self.measures.load(Ordering::Relaxed) {
            let count = if is_theirs { &self.down } else { &self.up };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From the end of a sentence until it was understood, and until the answer was heard; and how
    /// many packets came too late to be played.
    fn judge(&self) -> (Vec<Duration>, Vec<Duration>, u64) {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut understood, mut answered, mut late) = (Vec::new(), Vec::new(), 0);
        // Every sentence is the same and every ear begins afresh, so the server notices its end at
        // the same packet of each; the fastest of all answers shows at which. In realtime mode an ear
        // goes on from one sentence to the next, and what it notices when is not known.
        let ends = turns
            .iter()
            .map(|turn| turn.before_understood())
            .min()
            .unwrap_or(0);
        for turn in turns.iter() {
            let end = turn
                .let_go
                .or_else(|| turn.sent.get(ends.checked_sub(1)?).copied());
            if let Some(end) = end {
                understood.push(turn.understood - end);
                if let Some(first) = turn.heard.first() {
                    answered.push(*first - end);
                }
            }
            late += turn.late();
        }
        (understood, answered, late)
    }
}

impl Turn {
    /// Packets that had been sent when it was understood.
    fn before_understood(&self) -> usize {
        self.sent
            .iter()
            .filter(|sent| **sent <= self.understood)
            .count()
    }

    /// Packets of the answer that came after they should have been played, by a device that plays the
    /// first as soon as it has it.
    fn late(&self) -> u64 {
        let Some(first) = self.heard.first() else {
            return 0;
        };
        let is_late = |(number, came): (u32, &Instant)| *came > *first + FRAME * number;
        (0..).zip(&self.heard).filter(|each| is_late(*each)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(start: Instant, sent: u32, understood: u64, heard: &[u64]) -> Turn {
        let at = |ms| start + Duration::from_millis(ms);
        Turn {
            sent: (0..sent).map(|number| start + FRAME * number).collect(),
            let_go: None,
            understood: at(understood),
            heard: heard.iter().map(|ms| at(*ms)).collect(),
        }
    }

    #[test]
    fn the_wait_counts_from_the_packet_after_which_the_fastest_answer_came() {
        let (tally, start) = (Tally::default(), Instant::now());
        // Noticed at the fourth packet, sent at 180 ms: after 5 ms, and after 90 ms.
        let turns = vec![
            turn(start, 4, 185, &[186, 187, 250]),
            turn(start, 5, 270, &[275, 340]),
        ];
        *tally.turns.lock().expect("ours") = turns;
        let (understood, answered, late) = tally.judge();
        let ms = |times: Vec<Duration>| times.iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!(ms(understood), [5, 90]);
        assert_eq!(ms(answered), [6, 95]);
        // Of the first answer nothing; the second packet of the other should have come at 335.
        assert_eq!(late, 1);
        let wait = Wait::of((1..=200).map(Duration::from_millis).collect()).expect("some");
        assert_eq!(
            [wait.p50, wait.p99, wait.most].map(|time| time.as_millis()),
            [100, 198, 200]
        );
    }
}
