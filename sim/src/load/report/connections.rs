//! Figures of connections: held, or coming and going.

use super::{Latency, Microseconds, shares};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

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
    /// How many of them took up an earlier session of TLS.
    pub resumed: u32,
    /// From when a connection was due to its CONNACK.
    pub latency: Option<Latency>,
    /// Time for all of them.
    pub elapsed: Duration,
    /// CPU time of the broker.
    pub broker_cpu: Option<Duration>,
    /// CPUs that the generator kept busy.
    pub generator_share: f64,
    /// CPUs that all other processes kept busy.
    pub others_share: Option<f64>,
}

impl Idle {
    pub(super) fn to_json(&self) -> Value {
        json!({
            "connections": self.connections,
            "rss_bytes_per_connection": self.rss_per_connection,
            "pss_bytes_per_connection": self.pss_per_connection,
            "broker_cpu_share": self.broker_share,
            "dropped": self.dropped,
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

    pub(super) fn to_json(&self) -> Value {
        json!({
            "connects": self.connects,
            "resumed": self.resumed,
            "latency_microseconds": self.latency.map(Latency::to_json),
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
            "broker_cpu_microseconds_per_connect": self.cpu_per_connect(),
            "generator_cpu_share": self.generator_share,
            "other_cpu_share": self.others_share,
        })
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
        if let Some(latency) = &self.latency {
            writeln!(
                f,
                "  until CONNACK: half below {}, 99 % below {}",
                Microseconds(latency.p50),
                Microseconds(latency.p99)
            )?;
        }
        shares(f, self.generator_share, self.others_share)?;
        write!(f, "  all {} admitted", self.connects)?;
        match self.resumed {
            0 => Ok(()),
            resumed => write!(f, ", {resumed} of them by a resumed session"),
        }
    }
}

/// No broker can keep a socket, an identifier and its state in fewer bytes than this.
const LEAST_RSS: f64 = 64.0;
