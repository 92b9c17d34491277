//! Load for an MQTT broker, and what that load costs it. Called by `safeport bench mqtt`.
//!
//! One thread drives every connection through `mio`, so that on a small machine the generator takes
//! far less than the broker does. A publisher is a closed loop: at most `window` of its messages are
//! under way to their subscribers at any time. Every payload carries its stream, sequence and
//! sending time, and every delivery is checked against them: a run in which a single message was
//! lost, doubled, reordered or altered says so, and its figures are not worth quoting.
//!
//! A [`Scenario`] is a value that says what happens; the drivers (`traffic`, `idle`, `connects`)
//! carry it out. A new pattern of publishers and subscribers is one more [`Shape`].

mod connects;
mod histogram;
mod idle;
mod link;
mod process;
mod report;
mod traffic;
mod wire;

pub use report::{Connects, Exactness, Figures, Idle, Latency, Report, Traffic};

use crate::descriptors::{self, TooFewDescriptors};
use safeport_mqtt::QoS;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The broker to load.
#[derive(Debug, Clone)]
pub struct Target {
    /// Where it listens for plain MQTT.
    pub address: SocketAddr,
    /// Its process on this machine, whose CPU time and memory are to be measured. Without it only
    /// rates and exactness are reported.
    pub pid: Option<u32>,
    /// User name of every connection, if the broker wants one.
    pub username: Option<String>,
    /// Password of every connection.
    pub password: Option<String>,
}

/// What to do to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scenario {
    /// Messages flow for a while.
    Traffic {
        /// Who publishes to whom.
        shape: Shape,
        /// Payload, QoS and window.
        flow: Flow,
        /// How long.
        timing: Timing,
    },
    /// Connections are held open and do nothing.
    Idle {
        /// How many, beside the [`WARM_UP_CONNECTIONS`] that are not counted.
        connections: u32,
        /// Each also subscribes to one topic filter of its own.
        subscribe: bool,
    },
    /// Connect, CONNACK, DISCONNECT, over and over.
    Connects {
        /// How many in all.
        count: u32,
        /// How many at a time.
        concurrent: u32,
    },
}

/// Who publishes to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Each publisher has a topic of its own; one subscriber takes all by a wildcard filter.
    FanIn {
        /// Number of publishers.
        publishers: u32,
    },
    /// One publisher, one topic, many subscribers. A message is under way until the last has it.
    FanOut {
        /// Number of subscribers.
        subscribers: u32,
    },
    /// Pairs of one publisher and one subscriber, each on a topic of its own.
    Pairs {
        /// Number of pairs.
        pairs: u32,
    },
}

/// How messages of a traffic scenario look and how many may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Payload length in bytes, 16 (the stamp) to 1 MiB.
    pub payload: usize,
    /// QoS of publishing and of the subscription.
    pub qos: QoS,
    /// Messages of one publisher that may be under way, 1 to 1000. 1 is what devices do (nothing
    /// to batch); 20 to 100 saturates a broker.
    pub window: u32,
}

/// How long a traffic scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Traffic before measuring starts. Default 0.4 s.
    pub warm_up: Duration,
    /// Measured traffic. Default 2 s.
    pub measure: Duration,
    /// How long nothing may arrive before what is still under way counts as lost. Default 2 s.
    pub silence: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            warm_up: Duration::from_millis(400),
            measure: Duration::from_secs(2),
            silence: Duration::from_secs(2),
        }
    }
}

impl Scenario {
    /// `publishers` to one subscriber, with the default [`Timing`].
    pub fn fan_in(publishers: u32, flow: Flow) -> Self {
        Scenario::Traffic {
            shape: Shape::FanIn { publishers },
            flow,
            timing: Timing::default(),
        }
    }

    /// Refuses what cannot run, before anything is opened.
    fn check(&self) -> Result<(), LoadError> {
        let refuse = |what: String| Err(LoadError::Scenario { what });
        let (clients, what) = match *self {
            Scenario::Traffic { shape, flow, .. } => {
                if !(traffic::STAMP..=MAX_PAYLOAD).contains(&flow.payload) {
                    return refuse(format!(
                        "payload is {} bytes; choose {} (the stamp that is checked) to {MAX_PAYLOAD}",
                        flow.payload,
                        traffic::STAMP,
                    ));
                }
                if !(1..=MAX_WINDOW).contains(&flow.window) {
                    return refuse(format!(
                        "window is {}; choose 1 to {MAX_WINDOW}",
                        flow.window
                    ));
                }
                match shape {
                    Shape::FanIn { publishers } => (publishers, "publishers"),
                    Shape::FanOut { subscribers } => (subscribers, "subscribers"),
                    Shape::Pairs { pairs } => (pairs, "pairs"),
                }
            }
            Scenario::Idle { connections, .. } => (connections, "connections"),
            Scenario::Connects { count, concurrent } => {
                if count > MAX_CONNECTS {
                    return refuse(format!(
                        "{count} connects; choose at most {MAX_CONNECTS}, the local ports that \
                         one address has"
                    ));
                }
                (count.min(concurrent), "connects")
            }
        };
        if clients == 0 {
            return refuse(format!("there are no {what}; choose at least 1"));
        }
        Ok(())
    }

    /// Sockets that it holds open at a time.
    fn sockets(&self) -> u64 {
        match *self {
            Scenario::Traffic { shape, .. } => match shape {
                Shape::FanIn { publishers } => u64::from(publishers) + 1,
                Shape::FanOut { subscribers } => u64::from(subscribers) + 1,
                Shape::Pairs { pairs } => u64::from(pairs) * 2,
            },
            Scenario::Idle { connections, .. } => {
                u64::from(connections) + u64::from(WARM_UP_CONNECTIONS)
            }
            Scenario::Connects { concurrent, .. } => u64::from(concurrent),
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scenario::Traffic { shape, flow, .. } => {
                match shape {
                    Shape::FanIn { publishers } => write!(f, "fan-in {publishers} to 1")?,
                    Shape::FanOut { subscribers } => write!(f, "fan-out 1 to {subscribers}")?,
                    Shape::Pairs { pairs } => write!(f, "{pairs} pairs")?,
                }
                write!(
                    f,
                    ", {} B, QoS {}, window {}",
                    flow.payload, flow.qos as u8, flow.window
                )
            }
            Scenario::Idle {
                connections,
                subscribe,
            } => write!(
                f,
                "{connections} idle connections, {}",
                if *subscribe {
                    "one subscription each"
                } else {
                    "no subscription"
                }
            ),
            Scenario::Connects { count, concurrent } => {
                write!(f, "{count} connects, {concurrent} at a time")
            }
        }
    }
}

/// Carries out `scenario` on `target` and returns what was seen. Blocks until it is over.
///
/// # Errors
///
/// When the scenario cannot run (its own limits, descriptors, a broker that refuses), or when the
/// broker closes a connection or sends what is no MQTT. Lost or doubled messages are no error but
/// part of the report: see [`Report::is_exact`].
pub fn run(target: &Target, scenario: &Scenario) -> Result<Report, LoadError> {
    scenario.check()?;
    descriptors::make_room(scenario.sockets())?;
    if let Some(pid) = target.pid {
        process::cpu_of(pid).map_err(|error| LoadError::Process { pid, error })?;
    }
    let figures = match *scenario {
        Scenario::Traffic {
            shape,
            flow,
            timing,
        } => traffic::run(target, shape, flow, timing)?,
        Scenario::Idle {
            connections,
            subscribe,
        } => idle::run(target, connections, subscribe)?,
        Scenario::Connects { count, concurrent } => connects::run(target, count, concurrent)?,
    };
    Ok(Report {
        scenario: scenario.to_string(),
        figures,
    })
}

/// CPU time of the broker, of this process and of the whole machine at one moment.
struct Clocks {
    at: std::time::Instant,
    broker: Option<Duration>,
    generator: Duration,
    machine: Duration,
}

/// What each used between two moments.
struct Used {
    elapsed: Duration,
    broker: Option<Duration>,
    /// CPUs that this process kept busy.
    generator_share: f64,
    /// CPUs that all other processes together kept busy. Unknown without the broker's pid.
    others_share: Option<f64>,
}

impl Clocks {
    fn read(target: &Target) -> Result<Clocks, LoadError> {
        let read = |pid| process::cpu_of(pid).map_err(|error| LoadError::Process { pid, error });
        let own = std::process::id();
        Ok(Clocks {
            broker: target.pid.map(read).transpose()?,
            generator: read(own)?,
            machine: process::cpu_of_machine()
                .map_err(|error| LoadError::Process { pid: own, error })?,
            at: std::time::Instant::now(),
        })
    }

    fn since(&self, earlier: &Clocks) -> Used {
        let elapsed = self.at.duration_since(earlier.at);
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let generator = self.generator.saturating_sub(earlier.generator);
        let machine = self.machine.saturating_sub(earlier.machine);
        let broker = match (self.broker, earlier.broker) {
            (Some(now), Some(then)) => Some(now.saturating_sub(then)),
            _ => None,
        };
        Used {
            elapsed,
            broker,
            generator_share: generator.as_secs_f64() / seconds,
            others_share: broker
                .map(|broker| machine.saturating_sub(broker + generator).as_secs_f64() / seconds),
        }
    }
}

/// Idle connections that are opened before memory is first read, so that what the broker allocates
/// once (buffers, tables, thread arenas) is not counted as a connection's cost.
pub const WARM_UP_CONNECTIONS: u32 = 50;

/// Largest payload that a scenario may use, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Largest window of a publisher.
pub const MAX_WINDOW: u32 = 1000;

/// Most connects of one run: each takes a local port, which the kernel keeps for a minute at worst,
/// and Linux hands out 28,232 of them per address by default.
pub const MAX_CONNECTS: u32 = 28_000;

/// Why a load run could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The scenario asks for what cannot be done.
    #[error("this scenario cannot run: {what}")]
    Scenario {
        /// The value and the range to choose from.
        what: String,
    },
    /// TCP failed.
    #[error("no connection to the broker at {address}: {error}; is it listening there?")]
    Connect {
        /// The broker.
        address: SocketAddr,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// CONNACK with an error.
    #[error(
        "the broker at {address} refused a client with return code {code} ({}); {}",
        connack_words(*code),
        connack_fix(*code)
    )]
    Refused {
        /// The broker.
        address: SocketAddr,
        /// MQTT 3.1.1 return code.
        code: u8,
    },
    /// SUBACK did not grant what was asked for.
    #[error(
        "the broker did not grant QoS {qos} on `{filter}`; give the user the right to subscribe \
         and publish below `load/`"
    )]
    NotGranted {
        /// The topic filter.
        filter: String,
        /// The QoS that was asked for.
        qos: u8,
    },
    /// No answer while setting up.
    #[error("the broker at {address} did not answer within {} s; look at its log", waited.as_secs())]
    Silent {
        /// The broker.
        address: SocketAddr,
        /// How long we waited.
        waited: Duration,
    },
    /// The broker closed a connection.
    #[error("the broker at {address} closed a connection of the load; look at its log")]
    Closed {
        /// The broker.
        address: SocketAddr,
    },
    /// A socket failed in the middle of the run.
    #[error("a connection of the load broke: {0}; look at the broker's log")]
    Socket(#[source] io::Error),
    /// Another packet than the one the protocol demands.
    #[error("the broker sent something else while {waited_for} was due; is it an MQTT broker?")]
    Unexpected {
        /// The packet that was due.
        waited_for: &'static str,
    },
    /// Bytes that are no MQTT.
    #[error("{0}; is it an MQTT broker?")]
    Broken(String),
    /// A delivery that is not ours.
    #[error(
        "a message of {0} bytes arrived that this run did not send; does another client publish \
         below `load/`?"
    )]
    Foreign(usize),
    /// The process could not be read.
    #[error("the figures of process {pid} cannot be read from /proc: {error}; is the pid right?")]
    Process {
        /// The process.
        pid: u32,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Too few descriptors.
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
}

fn connack_words(code: u8) -> &'static str {
    match code {
        1 => "unacceptable protocol version",
        2 => "client identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorized",
        _ => "not a code of MQTT 3.1.1",
    }
}

fn connack_fix(code: u8) -> &'static str {
    match code {
        4 | 5 => "give a user name and password, or let the broker admit anyone",
        3 => "look at its connection limits",
        _ => "look at its log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(payload: usize, window: u32) -> Flow {
        Flow {
            payload,
            qos: QoS::AtMostOnce,
            window,
        }
    }

    #[test]
    fn a_scenario_that_cannot_run_is_refused_before_anything_is_opened() {
        let target = Target {
            address: ([127, 0, 0, 1], 9).into(),
            pid: None,
            username: None,
            password: None,
        };
        for (scenario, says) in [
            (Scenario::fan_in(1, flow(15, 1)), "payload is 15 bytes"),
            (Scenario::fan_in(1, flow(16, 0)), "window is 0"),
            (Scenario::fan_in(1, flow(16, 1001)), "window is 1001"),
            (Scenario::fan_in(0, flow(16, 1)), "no publishers"),
            (
                Scenario::Connects {
                    count: 10,
                    concurrent: 0,
                },
                "no connects",
            ),
            (
                Scenario::Idle {
                    connections: 0,
                    subscribe: false,
                },
                "no connections",
            ),
        ] {
            let error = run(&target, &scenario).expect_err("refused").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
