//! What a run found, for people and as JSON.

mod connections;
mod stored;
mod traffic;

pub use connections::{Connects, Idle};
pub use stored::{Recovery, Retained, Wildcards};
pub use traffic::{Exactness, Latency, Traffic};

use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// What one [`super::run`] found. `Display` is for people, [`Report::to_json`] for scripts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The scenario in words.
    pub scenario: String,
    /// The figures of its kind.
    pub figures: Figures,
}

/// Figures by kind of scenario.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Figures {
    /// Messages flowed.
    Traffic(Traffic),
    /// Messages flowed through many filters.
    Wildcards(Wildcards),
    /// Retained messages were set and sent.
    Retained(Retained),
    /// The broker was killed and came back.
    Recovery(Recovery),
    /// Connections were held.
    Idle(Idle),
    /// Connections came and went.
    Connects(Connects),
}

impl Report {
    /// False when a message was lost, doubled, reordered, altered or not acknowledged, or an idle
    /// connection dropped: then no figure of the report is worth quoting.
    pub fn is_exact(&self) -> bool {
        match &self.figures {
            Figures::Traffic(traffic) => traffic.exactness.is_exact(),
            Figures::Wildcards(wildcards) => wildcards.traffic.exactness.is_exact(),
            Figures::Retained(retained) => retained.exactness.is_exact(),
            Figures::Recovery(recovery) => recovery.kept_its_promise(),
            Figures::Idle(idle) => idle.dropped == 0,
            Figures::Connects(_) => true,
        }
    }

    /// The report as JSON. Durations are seconds, except where the key says otherwise; figures that
    /// need the broker's pid are null without it.
    pub fn to_json(&self) -> Value {
        let mut value = match &self.figures {
            Figures::Traffic(traffic) => traffic.to_json(),
            Figures::Wildcards(wildcards) => wildcards.to_json(),
            Figures::Retained(retained) => retained.to_json(),
            Figures::Recovery(recovery) => recovery.to_json(),
            Figures::Idle(idle) => idle.to_json(),
            Figures::Connects(connects) => connects.to_json(),
        };
        value["scenario"] = self.scenario.as_str().into();
        value["exact"] = self.is_exact().into();
        value
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        match &self.figures {
            Figures::Traffic(traffic) => traffic.fmt(f),
            Figures::Wildcards(wildcards) => wildcards.fmt(f),
            Figures::Retained(retained) => retained.fmt(f),
            Figures::Recovery(recovery) => recovery.fmt(f),
            Figures::Idle(idle) => idle.fmt(f),
            Figures::Connects(connects) => connects.fmt(f),
        }
    }
}

pub(super) fn shares(
    f: &mut fmt::Formatter<'_>,
    generator: f64,
    others: Option<f64>,
) -> fmt::Result {
    write!(f, "  generator {generator:.2} CPU")?;
    if let Some(others) = others {
        write!(f, ", other processes {others:.2} CPU")?;
        if others > 0.35 {
            write!(f, " (too busy a machine: repeat when it is quiet)")?;
        }
    }
    writeln!(f)
}

/// CPU seconds per million of `count`; `None` without the broker's pid or when nothing happened.
fn per_million(cpu: Option<Duration>, count: u64) -> Option<f64> {
    let cpu = cpu.filter(|_| count > 0)?;
    Some(cpu.as_secs_f64() * 1e6 / count as f64)
}

/// What happens in a second, when `count` took `elapsed`.
fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}

pub(super) struct Microseconds(pub(super) Duration);

impl fmt::Display for Microseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let microseconds = self.0.as_nanos() as f64 / 1e3;
        if microseconds < 10_000.0 {
            write!(f, "{microseconds:.0} µs")
        } else {
            write!(f, "{:.1} ms", microseconds / 1e3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(lost: u64) -> Report {
        Report {
            scenario: "fan-in 1 to 1".into(),
            figures: Figures::Traffic(Traffic {
                deliveries: 500_000,
                elapsed: Duration::from_secs(2),
                broker_cpu: Some(Duration::from_millis(1500)),
                generator_share: 0.25,
                others_share: Some(0.01),
                exactness: Exactness {
                    expected: 600_000,
                    lost,
                    ..Exactness::default()
                },
                latency: None,
            }),
        }
    }

    #[test]
    fn cpu_seconds_are_per_million_deliveries_whatever_the_time() {
        let json = traffic(0).to_json();
        assert_eq!(json["broker_cpu_seconds_per_million"], 3.0);
        assert_eq!(json["per_second"], 250_000.0);
        assert_eq!(json["exact"], true);
        assert!(traffic(0).to_string().contains("exact: all 600000"));
    }

    #[test]
    fn one_lost_message_makes_the_report_say_not_exact() {
        assert!(!traffic(1).is_exact());
        assert_eq!(traffic(1).to_json()["exact"], false);
        assert!(
            traffic(1)
                .to_string()
                .contains("NOT EXACT: of 600000 deliveries 1 lost")
        );
    }
}
