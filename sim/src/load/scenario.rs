//! What to do to a broker, as values.

use super::{LoadError, traffic};
use safeport_mqtt::QoS;
use std::fmt;
use std::time::Duration;

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
    /// Messages flow through very many wildcard filters, of which each message matches two.
    Wildcards {
        /// Number of filters, a multiple of twice `connections`.
        filters: u32,
        /// Connections that hold them, at least 2.
        connections: u32,
        /// Number of publishers.
        publishers: u32,
        /// Payload, QoS and window.
        flow: Flow,
        /// How long.
        timing: Timing,
    },
    /// Retained messages are set; then one subscriber to all of them gets them.
    Retained {
        /// How many, each on a topic of its own. They are deleted at the end.
        messages: u32,
        /// Payload length in bytes, 8 (what is checked) to 1 MiB.
        payload: usize,
        /// 1 or 2, of setting and of the subscription.
        qos: QoS,
    },
    /// The broker is killed behind its last acknowledgement and started again: does the session
    /// that was away get everything?
    Recover {
        /// Starts the broker, by `sh -c "exec …"`. It is the same before and after the kill, and it
        /// must not go to the background.
        command: String,
        /// Messages to the session that is away.
        messages: u32,
        /// Payload length in bytes, 8 (what is checked) to 1 MiB.
        payload: usize,
        /// 1 or 2, of publishing and of the subscription.
        qos: QoS,
        /// Unacknowledged messages of each of the [`RECOVER_PUBLISHERS`] publishers.
        window: u32,
        /// Acknowledgements after which the broker is killed, with other messages under way; `None`
        /// waits for the last one.
        kill_after: Option<u32>,
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

/// How messages look and how many may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Payload length in bytes, 16 (the stamp) to 1 MiB.
    pub payload: usize,
    /// QoS of publishing and of the subscription.
    pub qos: QoS,
    /// Messages of one publisher that may be under way, 1 to 1000. 1 is what devices do (nothing
    /// to batch); 20 to 100 saturates a broker.
    pub window: u32,
    /// Subscribers have sessions that outlive their connections, so that a broker that promises
    /// durability has to keep what it takes for them. They are ended after the run.
    pub durable: bool,
    /// Messages per second of all publishers together, sent on a schedule, at most 1,000,000;
    /// latency then counts from the scheduled time. `None` sends as fast as the window allows.
    pub rate: Option<u32>,
}

impl Flow {
    /// As fast as the window allows, to clean sessions.
    pub fn new(payload: usize, qos: QoS, window: u32) -> Self {
        Flow {
            payload,
            qos,
            window,
            durable: false,
            rate: None,
        }
    }
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
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let (clients, what) = match *self {
            Scenario::Traffic { shape, flow, .. } => {
                flow.check()?;
                match shape {
                    Shape::FanIn { publishers } => (publishers, "publishers"),
                    Shape::FanOut { subscribers } => (subscribers, "subscribers"),
                    Shape::Pairs { pairs } => (pairs, "pairs"),
                }
            }
            Scenario::Wildcards {
                filters,
                connections,
                publishers,
                flow,
                ..
            } => {
                flow.check()?;
                if connections < 2 {
                    return refuse(format!("{connections} connections; choose at least 2"));
                }
                if filters == 0 || !filters.is_multiple_of(connections * 2) {
                    return refuse(format!(
                        "{filters} filters on {connections} connections; choose a multiple of {}",
                        connections * 2
                    ));
                }
                if filters > MAX_MESSAGES {
                    return refuse(format!("{filters} filters; choose at most {MAX_MESSAGES}"));
                }
                (publishers, "publishers")
            }
            Scenario::Retained {
                messages,
                payload,
                qos,
            } => {
                check_numbered(messages, payload, qos)?;
                (messages, "messages")
            }
            Scenario::Recover {
                messages,
                payload,
                qos,
                window,
                kill_after,
                ..
            } => {
                check_numbered(messages, payload, qos)?;
                check_window(window)?;
                if let Some(after) = kill_after
                    && !(1..=messages).contains(&after)
                {
                    return refuse(format!(
                        "a kill after {after} of {messages} acknowledgements; choose 1 to {messages}"
                    ));
                }
                (messages, "messages")
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
    pub(super) fn sockets(&self) -> u64 {
        match *self {
            Scenario::Traffic { shape, .. } => match shape {
                Shape::FanIn { publishers } => u64::from(publishers) + 1,
                Shape::FanOut { subscribers } => u64::from(subscribers) + 1,
                Shape::Pairs { pairs } => u64::from(pairs) * 2,
            },
            Scenario::Wildcards {
                connections,
                publishers,
                ..
            } => u64::from(connections) + u64::from(publishers),
            Scenario::Retained { .. } => u64::from(RETAINED_PUBLISHERS) + 1,
            Scenario::Recover { .. } => u64::from(RECOVER_PUBLISHERS) + 1,
            Scenario::Idle { connections, .. } => {
                u64::from(connections) + u64::from(WARM_UP_CONNECTIONS)
            }
            Scenario::Connects { concurrent, .. } => u64::from(concurrent),
        }
    }
}

impl Flow {
    fn check(&self) -> Result<(), LoadError> {
        check_payload(self.payload, traffic::STAMP)?;
        check_window(self.window)?;
        match self.rate {
            Some(rate) if !(1..=MAX_RATE).contains(&rate) => refuse(format!(
                "rate is {rate} messages per second; choose 1 to {MAX_RATE}"
            )),
            _ => Ok(()),
        }
    }
}

/// Messages that carry a number and that must be acknowledged to be counted.
fn check_numbered(messages: u32, payload: usize, qos: QoS) -> Result<(), LoadError> {
    check_payload(payload, super::numbered::STAMP)?;
    if messages > MAX_MESSAGES {
        return refuse(format!(
            "{messages} messages; choose at most {MAX_MESSAGES}"
        ));
    }
    if qos == QoS::AtMostOnce {
        return refuse("QoS 0 promises nothing; choose 1 or 2".into());
    }
    Ok(())
}

fn check_payload(payload: usize, least: usize) -> Result<(), LoadError> {
    if (least..=MAX_PAYLOAD).contains(&payload) {
        return Ok(());
    }
    refuse(format!(
        "payload is {payload} bytes; choose {least} (the stamp that is checked) to {MAX_PAYLOAD}"
    ))
}

fn check_window(window: u32) -> Result<(), LoadError> {
    if (1..=MAX_WINDOW).contains(&window) {
        return Ok(());
    }
    refuse(format!("window is {window}; choose 1 to {MAX_WINDOW}"))
}

fn refuse(what: String) -> Result<(), LoadError> {
    Err(LoadError::Scenario { what })
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
                write!(f, ", {flow}")
            }
            Scenario::Wildcards {
                filters,
                connections,
                publishers,
                flow,
                ..
            } => write!(
                f,
                "{filters} wildcard filters on {connections} connections, {publishers} publishers, \
                 {flow}"
            ),
            Scenario::Retained {
                messages,
                payload,
                qos,
            } => write!(
                f,
                "{messages} retained messages, {payload} B, QoS {}",
                *qos as u8
            ),
            Scenario::Recover {
                messages,
                payload,
                qos,
                window,
                ..
            } => write!(
                f,
                "kill and recover {messages} messages, {payload} B, QoS {}, window {window}",
                *qos as u8
            ),
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

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} B, QoS {}", self.payload, self.qos as u8)?;
        match self.rate {
            None => write!(f, ", window {}", self.window)?,
            Some(rate) => write!(f, ", {rate} messages/s")?,
        }
        f.write_str(if self.durable {
            ", durable sessions"
        } else {
            ""
        })
    }
}

/// Idle connections that are opened before memory is first read, so that what the broker allocates
/// once (buffers, tables, thread arenas) is not counted as a connection's cost.
pub const WARM_UP_CONNECTIONS: u32 = 50;

/// Connections that set retained messages, 100 unacknowledged each.
pub const RETAINED_PUBLISHERS: u32 = 10;

/// Connections that publish to the session that is away.
pub const RECOVER_PUBLISHERS: u32 = 10;

/// Largest payload that a scenario may use, in bytes.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// Largest window of a publisher.
pub const MAX_WINDOW: u32 = 1000;

/// Most messages per second of a schedule.
pub const MAX_RATE: u32 = 1_000_000;

/// Most retained or recovered messages, and most wildcard filters: their numbers have seven digits.
pub const MAX_MESSAGES: u32 = 9_999_999;

/// Most connects of one run: each takes a local port, which the kernel keeps for a minute at worst,
/// and Linux hands out 28,232 of them per address by default.
pub const MAX_CONNECTS: u32 = 28_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Target, run};

    fn flow(payload: usize, window: u32) -> Flow {
        Flow::new(payload, QoS::AtMostOnce, window)
    }

    fn wildcards(filters: u32, connections: u32) -> Scenario {
        Scenario::Wildcards {
            filters,
            connections,
            publishers: 1,
            flow: flow(16, 1),
            timing: Timing::default(),
        }
    }

    #[test]
    fn a_scenario_that_cannot_run_is_refused_before_anything_is_opened() {
        let target = Target::new(([127, 0, 0, 1], 9).into());
        let slow = Flow {
            rate: Some(0),
            ..flow(16, 1)
        };
        for (scenario, says) in [
            (Scenario::fan_in(1, flow(15, 1)), "payload is 15 bytes"),
            (Scenario::fan_in(1, flow(16, 0)), "window is 0"),
            (Scenario::fan_in(1, flow(16, 1001)), "window is 1001"),
            (Scenario::fan_in(1, slow), "rate is 0"),
            (Scenario::fan_in(0, flow(16, 1)), "no publishers"),
            (wildcards(100, 1), "choose at least 2"),
            (wildcards(102, 4), "choose a multiple of 8"),
            (
                Scenario::Retained {
                    messages: 1,
                    payload: 7,
                    qos: QoS::AtLeastOnce,
                },
                "payload is 7 bytes; choose 8",
            ),
            (
                Scenario::Recover {
                    command: "true".into(),
                    messages: 1,
                    payload: 8,
                    qos: QoS::AtMostOnce,
                    window: 1,
                    kill_after: None,
                },
                "QoS 0 promises nothing",
            ),
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
