//! Figures of messages that flowed.

use super::{Microseconds, per_million, rate, shares};
use crate::load::histogram::Histogram;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Figures of a traffic scenario.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages that arrived in the measured time; one that reaches three subscribers counts thrice.
    pub deliveries: u64,
    /// Measured time.
    pub elapsed: Duration,
    /// CPU time (user and system, all threads) of the broker in it, in steps of 10 ms.
    pub broker_cpu: Option<Duration>,
    /// CPUs that the generator kept busy. Near 1 the generator was the limit, not the broker.
    pub generator_share: f64,
    /// CPUs that all other processes kept busy. Above 0.35 the figures are not worth quoting.
    pub others_share: Option<f64>,
    /// Whether every message of the run, warm-up included, arrived as it should.
    pub exactness: Exactness,
    /// From handing a message to the kernel until it was read back.
    pub latency: Option<Latency>,
}

/// Counts of what should not be, over the whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exactness {
    /// Deliveries that had to be made.
    pub expected: u64,
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries of a message that had arrived before.
    pub duplicated: u64,
    /// Deliveries that came after a later message of the same stream.
    pub reordered: u64,
    /// Deliveries whose payload was not what was sent, or whose QoS was another.
    pub altered: u64,
    /// Messages of QoS 1 and 2 that the broker never acknowledged to their publisher.
    pub unacknowledged: u64,
}

impl Exactness {
    /// Every message arrived once, in order, unaltered and acknowledged.
    pub fn is_exact(&self) -> bool {
        Exactness {
            expected: self.expected,
            ..Exactness::default()
        } == *self
    }

    /// Adds the counts to a report in JSON.
    pub(super) fn add_to(&self, value: &mut Value) {
        value["expected"] = self.expected.into();
        value["lost"] = self.lost.into();
        value["duplicated"] = self.duplicated.into();
        value["reordered"] = self.reordered.into();
        value["altered"] = self.altered.into();
        value["unacknowledged"] = self.unacknowledged.into();
    }
}

/// Quantiles of the time a message was under way; upper edges of buckets 1/16 wide.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Latency {
    /// Half of all messages were faster.
    pub p50: Duration,
    /// 99 of 100 were faster.
    pub p99: Duration,
    /// 999 of 1000 were faster.
    pub p999: Duration,
}

impl Traffic {
    /// Deliveries per second.
    pub fn per_second(&self) -> f64 {
        rate(self.deliveries, self.elapsed)
    }

    /// CPU seconds of the broker per million deliveries: the figure to compare brokers by. `None`
    /// without the broker's pid or without deliveries.
    pub fn cpu_seconds_per_million(&self) -> Option<f64> {
        per_million(self.broker_cpu, self.deliveries)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({
            "deliveries": self.deliveries,
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
            "broker_cpu_seconds_per_million": self.cpu_seconds_per_million(),
            "broker_cpu_seconds": self.broker_cpu.map(|cpu| cpu.as_secs_f64()),
            "generator_cpu_share": self.generator_share,
            "other_cpu_share": self.others_share,
            "latency_microseconds": self.latency.map(Latency::to_json),
        });
        self.exactness.add_to(&mut value);
        value
    }
}

impl Latency {
    /// `None` when nothing arrived.
    pub(in crate::load) fn of(times: &Histogram) -> Option<Latency> {
        Some(Latency {
            p50: times.quantile(0.5)?,
            p99: times.quantile(0.99)?,
            p999: times.quantile(0.999)?,
        })
    }

    pub(super) fn to_json(self) -> Value {
        let microseconds = |time: Duration| time.as_nanos() as f64 / 1e3;
        json!({
            "p50": microseconds(self.p50),
            "p99": microseconds(self.p99),
            "p99.9": microseconds(self.p999),
        })
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:.0} messages/s delivered", self.per_second())?;
        if let Some(cost) = self.cpu_seconds_per_million() {
            writeln!(
                f,
                "  {cost:.2} CPU seconds of the broker per million deliveries"
            )?;
        }
        if let Some(latency) = self.latency {
            writeln!(
                f,
                "  under way: half below {}, 99 % below {}, 99.9 % below {}",
                Microseconds(latency.p50),
                Microseconds(latency.p99),
                Microseconds(latency.p999)
            )?;
        }
        shares(f, self.generator_share, self.others_share)?;
        write!(f, "  {}", self.exactness)
    }
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_exact() {
            return write!(
                f,
                "exact: all {} deliveries as they should be",
                self.expected
            );
        }
        write!(
            f,
            "NOT EXACT: of {} deliveries {} lost, {} doubled, {} reordered, {} altered; {} messages \
             not acknowledged",
            self.expected,
            self.lost,
            self.duplicated,
            self.reordered,
            self.altered,
            self.unacknowledged
        )
    }
}
