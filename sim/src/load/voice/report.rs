//! What a scene of voices found, for people and as JSON.

use super::super::histogram::rank;
use super::super::report::Microseconds;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// What one [`super::voice`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct VoiceReport {
    /// The scene in words.
    pub scene: String,
    /// The figures of its kind.
    pub figures: VoiceFigures,
}

/// Figures by kind of scene.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum VoiceFigures {
    /// Sessions were held.
    Idling(Idling),
    /// Sessions came, and went.
    Opening(Opening),
    /// Sound went.
    Conversing(Conversing),
}

/// Figures of sessions that say nothing. What needs the server's pid is `None` without it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Idling {
    /// How many were measured.
    pub sessions: u32,
    /// How many of them the server had closed at the end.
    pub failed: u32,
    /// Growth of the server's resident set for each, in bytes. Kernel socket memory is not in it.
    pub rss_per_session: Option<f64>,
    /// Growth of its number of threads, by all of them.
    pub threads: Option<i64>,
    /// Its CPU time for each session-second.
    pub cpu_per_session_second: Option<Duration>,
    /// Its resident set before, with them, and some seconds after they had gone, in bytes.
    pub rss: Option<[u64; 3]>,
}

/// Figures of sessions that open.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Opening {
    /// Sessions whose hello was answered.
    pub opened: u32,
    /// Those whose was not.
    pub failed: u32,
    /// What the first failure was.
    pub first_failure: Option<String>,
    /// From the connection to the server's hello.
    pub wait: Option<Wait>,
    /// From the first connection to the last hello.
    pub elapsed: Duration,
    /// The server's CPU time, their ends included.
    pub cpu: Option<Duration>,
    /// CPUs that this process kept busy.
    pub generator_share: f64,
    /// CPUs that all other processes kept busy.
    pub others_share: Option<f64>,
}

/// Figures of sessions with sound.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Conversing {
    /// How many sessions.
    pub sessions: u32,
    /// How many failed.
    pub failed: u32,
    /// What the first failure was.
    pub first_failure: Option<String>,
    /// What was measured.
    pub elapsed: Duration,
    /// Packets that went to the server meanwhile.
    pub up: u64,
    /// Packets that came from it.
    pub down: u64,
    /// Sentences that were answered.
    pub turns: u64,
    /// The server's CPU time meanwhile.
    pub cpu: Option<Duration>,
    /// From what ended a sentence (the button, or the packet after which the server must have
    /// noticed) until it said what it had understood.
    pub understood: Option<Wait>,
    /// The same until the first packet of the answer. A server gives devices time to get ready first.
    pub answered: Option<Wait>,
    /// Packets of answers that came when they should have been played already.
    pub late: u64,
    /// The server's threads.
    pub threads: Option<i64>,
    /// Its resident set at the end, in bytes.
    pub rss: Option<u64>,
    /// CPUs that this process kept busy.
    pub generator_share: f64,
    /// CPUs that all other processes kept busy.
    pub others_share: Option<f64>,
}

/// How long something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Half of them at most.
    pub p50: Duration,
    /// 99 % of them at most.
    pub p99: Duration,
    /// All of them at most.
    pub most: Duration,
}

impl Wait {
    /// Of times in whatever order; `None` when there are none.
    pub(super) fn of(mut times: Vec<Duration>) -> Option<Wait> {
        times.sort_unstable();
        let at = |share: f64| Some(times[rank(times.len() as u64, share)? as usize - 1]);
        Some(Wait {
            p50: at(0.5)?,
            p99: at(0.99)?,
            most: at(1.0)?,
        })
    }

    fn to_json(self) -> Value {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        json!({"p50": ms(self.p50), "p99": ms(self.p99), "most": ms(self.most)})
    }
}

impl Opening {
    /// The server's CPU time for each session that opened.
    pub fn cpu_per_session(&self) -> Option<Duration> {
        self.cpu?.checked_div(self.opened)
    }
}

impl Conversing {
    /// The server's CPU time for each packet that came to it, whatever it sent.
    pub fn cpu_per_packet(&self) -> Option<Duration> {
        let cpu = self.cpu.filter(|_| self.up > 0)?;
        Some(cpu.div_f64(self.up as f64))
    }
}

impl VoiceReport {
    /// Sessions that failed.
    pub fn failed(&self) -> u32 {
        match &self.figures {
            VoiceFigures::Idling(found) => found.failed,
            VoiceFigures::Opening(found) => found.failed,
            VoiceFigures::Conversing(found) => found.failed,
        }
    }

    /// The report as JSON: times in milliseconds, CPU time in microseconds, memory in bytes. Null is
    /// what needs the server's pid.
    pub fn to_json(&self) -> Value {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let ms = Wait::to_json;
        let mut value = match &self.figures {
            VoiceFigures::Idling(found) => json!({
                "sessions": found.sessions,
                "rss_bytes_per_session": found.rss_per_session,
                "threads": found.threads,
                "cpu_microseconds_per_session_second": found.cpu_per_session_second.map(us),
                "rss_bytes": found.rss,
            }),
            VoiceFigures::Opening(found) => json!({
                "opened": found.opened,
                "first_failure": found.first_failure,
                "wait_ms": found.wait.map(ms),
                "seconds": found.elapsed.as_secs_f64(),
                "cpu_microseconds_per_session": found.cpu_per_session().map(us),
                "generator_cpu_share": found.generator_share,
                "other_cpu_share": found.others_share,
            }),
            VoiceFigures::Conversing(found) => json!({
                "sessions": found.sessions,
                "first_failure": found.first_failure,
                "seconds": found.elapsed.as_secs_f64(),
                "up": found.up,
                "down": found.down,
                "turns": found.turns,
                "cpu_seconds": found.cpu.map(|cpu| cpu.as_secs_f64()),
                "cpu_microseconds_per_packet": found.cpu_per_packet().map(us),
                "understood_ms": found.understood.map(ms),
                "answered_ms": found.answered.map(ms),
                "late": found.late,
                "threads": found.threads,
                "rss_bytes": found.rss,
                "generator_cpu_share": found.generator_share,
                "other_cpu_share": found.others_share,
            }),
        };
        value["scene"] = self.scene.as_str().into();
        value["failed"] = self.failed().into();
        value
    }
}

impl fmt::Display for VoiceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scene)?;
        match &self.figures {
            VoiceFigures::Idling(found) => found.fmt(f),
            VoiceFigures::Opening(found) => found.fmt(f),
            VoiceFigures::Conversing(found) => found.fmt(f),
        }
    }
}

impl fmt::Display for Idling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rss) = self.rss_per_session {
            writeln!(f, "  {rss:.0} B resident per session")?;
        }
        if let Some([before, with, after]) = self.rss.map(|rss| rss.map(|rss| rss as f64 / 1e6)) {
            writeln!(
                f,
                "  {before:.1} MB before, {with:.1} MB with them, {after:.1} MB after"
            )?;
        }
        if let (Some(threads), Some(cpu)) = (self.threads, self.cpu_per_session_second) {
            let cpu = cpu.as_secs_f64() * 1e6;
            writeln!(
                f,
                "  {threads} more threads, {cpu:.1} µs CPU per session-second"
            )?;
        }
        write!(f, "  held {}, {} failed", self.sessions, self.failed)
    }
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cpu) = self.cpu_per_session() {
            let cpu = cpu.as_secs_f64() * 1e6;
            writeln!(f, "  {cpu:.0} µs CPU of the server per session")?;
        }
        if let Some(wait) = self.wait {
            writeln!(f, "  until its hello: {wait}")?;
        }
        busy(f, self.generator_share, self.others_share)?;
        let took = self.elapsed.as_secs_f64();
        write!(f, "  {} opened in {took:.2} s", self.opened)?;
        failures(f, self.failed, self.first_failure.as_deref())
    }
}

impl fmt::Display for Conversing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cpu) = self.cpu_per_packet() {
            let cpu = cpu.as_secs_f64() * 1e6;
            writeln!(
                f,
                "  {cpu:.1} µs CPU of the server per packet that it heard"
            )?;
        }
        if let Some(wait) = self.understood {
            writeln!(f, "  end of a sentence until understood: {wait}")?;
        }
        if let Some(wait) = self.answered {
            writeln!(f, "  end of a sentence until the first packet: {wait}")?;
        }
        if let (Some(threads), Some(rss)) = (self.threads, self.rss) {
            writeln!(
                f,
                "  {threads} threads, {:.1} MB resident",
                rss as f64 / 1e6
            )?;
        }
        busy(f, self.generator_share, self.others_share)?;
        write!(
            f,
            "  {} packets up, {} down ({} late), {} answers in {:.1} s",
            self.up,
            self.down,
            self.late,
            self.turns,
            self.elapsed.as_secs_f64()
        )?;
        failures(f, self.failed, self.first_failure.as_deref())
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, most] = [self.p50, self.p99, self.most].map(Microseconds);
        write!(f, "half below {p50}, 99 % below {p99}, all below {most}")
    }
}

fn busy(f: &mut fmt::Formatter<'_>, generator: f64, others: Option<f64>) -> fmt::Result {
    super::super::report::shares(f, generator, others)
}

fn failures(f: &mut fmt::Formatter<'_>, failed: u32, first: Option<&str>) -> fmt::Result {
    match failed {
        0 => Ok(()),
        failed => write!(
            f,
            "\n  {failed} FAILED, the first: {}",
            first.unwrap_or_default()
        ),
    }
}
