//! What a run found, for people and as JSON.

use serde_json::{Value, json};
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
    /// Connections were held.
    Idle(Idle),
    /// Connections came and went.
    Connects(Connects),
}

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

/// Figures of an idle scenario.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Idle {
    /// Connections that were counted.
    pub connections: u32,
    /// Growth of the broker's resident set per connection, in bytes. Kernel socket memory is not in
    /// it.
    pub rss_per_connection: Option<f64>,
    /// The same by proportional set size.
    pub pss_per_connection: Option<f64>,
    /// CPUs that the broker kept busy while all connections were held and silent.
    pub broker_share: Option<f64>,
    /// Connections that the broker had closed before the end.
    pub dropped: u32,
}

/// Figures of a connect scenario.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Connects {
    /// Connections that were admitted.
    pub connects: u32,
    /// Time for all of them.
    pub elapsed: Duration,
    /// CPU time of the broker.
    pub broker_cpu: Option<Duration>,
    /// CPUs that the generator kept busy.
    pub generator_share: f64,
    /// CPUs that all other processes kept busy.
    pub others_share: Option<f64>,
}

impl Report {
    /// False when a message was lost, doubled, reordered, altered or not acknowledged, or an idle
    /// connection dropped: then no figure of the report is worth quoting.
    pub fn is_exact(&self) -> bool {
        match &self.figures {
            Figures::Traffic(traffic) => traffic.exactness.is_exact(),
            Figures::Idle(idle) => idle.dropped == 0,
            Figures::Connects(_) => true,
        }
    }

    /// The report as JSON. Durations are seconds, except where the key says otherwise; figures that
    /// need the broker's pid are null without it.
    pub fn to_json(&self) -> Value {
        let mut value = match &self.figures {
            Figures::Traffic(traffic) => traffic.to_json(),
            Figures::Idle(idle) => json!({
                "connections": idle.connections,
                "rss_bytes_per_connection": idle.rss_per_connection,
                "pss_bytes_per_connection": idle.pss_per_connection,
                "broker_cpu_share": idle.broker_share,
                "dropped": idle.dropped,
            }),
            Figures::Connects(connects) => json!({
                "connects": connects.connects,
                "seconds": connects.elapsed.as_secs_f64(),
                "per_second": connects.per_second(),
                "broker_cpu_microseconds_per_connect": connects.cpu_per_connect(),
                "generator_cpu_share": connects.generator_share,
                "other_cpu_share": connects.others_share,
            }),
        };
        value["scenario"] = self.scenario.as_str().into();
        value["exact"] = self.is_exact().into();
        value
    }
}

impl Traffic {
    /// Deliveries per second.
    pub fn per_second(&self) -> f64 {
        self.deliveries as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU seconds of the broker per million deliveries: the figure to compare brokers by. `None`
    /// without the broker's pid or without deliveries.
    pub fn cpu_seconds_per_million(&self) -> Option<f64> {
        let cpu = self.broker_cpu.filter(|_| self.deliveries > 0)?;
        Some(cpu.as_secs_f64() * 1e6 / self.deliveries as f64)
    }

    fn to_json(&self) -> Value {
        let microseconds = |time: Duration| time.as_nanos() as f64 / 1e3;
        json!({
            "deliveries": self.deliveries,
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
            "broker_cpu_seconds_per_million": self.cpu_seconds_per_million(),
            "broker_cpu_seconds": self.broker_cpu.map(|cpu| cpu.as_secs_f64()),
            "generator_cpu_share": self.generator_share,
            "other_cpu_share": self.others_share,
            "expected": self.exactness.expected,
            "lost": self.exactness.lost,
            "duplicated": self.exactness.duplicated,
            "reordered": self.exactness.reordered,
            "altered": self.exactness.altered,
            "unacknowledged": self.exactness.unacknowledged,
            "latency_microseconds": self.latency.map(|latency| json!({
                "p50": microseconds(latency.p50),
                "p99": microseconds(latency.p99),
                "p99.9": microseconds(latency.p999),
            })),
        })
    }
}

impl Connects {
    /// Connects per second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.connects) / self.elapsed.as_secs_f64()
    }

    /// CPU time of the broker per connect, CONNACK and disconnect, in microseconds.
    pub fn cpu_per_connect(&self) -> Option<f64> {
        let cpu = self.broker_cpu.filter(|_| self.connects > 0)?;
        Some(cpu.as_secs_f64() * 1e6 / f64::from(self.connects))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.scenario)?;
        match &self.figures {
            Figures::Traffic(traffic) => traffic.fmt(f),
            Figures::Idle(idle) => idle.fmt(f),
            Figures::Connects(connects) => connects.fmt(f),
        }
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
        let exactness = &self.exactness;
        if exactness.is_exact() {
            write!(
                f,
                "  exact: all {} deliveries as they should be",
                exactness.expected
            )
        } else {
            write!(
                f,
                "  NOT EXACT: of {} deliveries {} lost, {} doubled, {} reordered, {} altered; {} \
                 messages not acknowledged",
                exactness.expected,
                exactness.lost,
                exactness.duplicated,
                exactness.reordered,
                exactness.altered,
                exactness.unacknowledged
            )
        }
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rss_per_connection {
            Some(rss) => write!(f, "  {rss:.0} B resident per connection")?,
            None => write!(f, "  held {} connections", self.connections)?,
        }
        if let Some(pss) = self.pss_per_connection {
            write!(f, " ({pss:.0} B proportional)")?;
        }
        if self.rss_per_connection.is_some_and(|rss| rss < LEAST_RSS) {
            write!(
                f,
                "\n  (too little to be true: the broker had memory to spare from earlier clients; \
                 start it afresh)"
            )?;
        }
        if let Some(share) = self.broker_share {
            write!(f, "\n  {share:.2} CPU of the broker while they are silent")?;
        }
        if self.dropped > 0 {
            write!(
                f,
                "\n  NOT EXACT: the broker dropped {} of them",
                self.dropped
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Connects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:.0} connects/s", self.per_second())?;
        if let Some(cost) = self.cpu_per_connect() {
            writeln!(
                f,
                "  {cost:.0} µs CPU of the broker per connect and disconnect"
            )?;
        }
        shares(f, self.generator_share, self.others_share)?;
        write!(f, "  all {} admitted", self.connects)
    }
}

fn shares(f: &mut fmt::Formatter<'_>, generator: f64, others: Option<f64>) -> fmt::Result {
    write!(f, "  generator {generator:.2} CPU")?;
    if let Some(others) = others {
        write!(f, ", other processes {others:.2} CPU")?;
        if others > 0.35 {
            write!(f, " (too busy a machine: repeat when it is quiet)")?;
        }
    }
    writeln!(f)
}

/// No broker can keep a socket, an identifier and its state in fewer bytes than this.
const LEAST_RSS: f64 = 64.0;

struct Microseconds(Duration);

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
