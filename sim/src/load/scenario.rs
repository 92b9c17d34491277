//! What to do to a broker, as values.

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
        /// Unacknowledged messages of each of the [`RECOVER_PUBLISHERS`](super::RECOVER_PUBLISHERS) publishers.
        window: u32,
        /// Acknowledgements after which the broker is killed, with other messages under way; `None`
        /// waits for the last one.
        kill_after: Option<u32>,
        /// Set the messages retained; whoever subscribes afterwards has to get them.
        retained: bool,
    },
    /// Connections are held open and do nothing.
    Idle {
        /// How many, beside the [`WARM_UP_CONNECTIONS`](super::WARM_UP_CONNECTIONS) that are not counted.
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
        /// Begun per second, on a schedule, at most 1,000,000; `None` begins one whenever another
        /// is over.
        rate: Option<u32>,
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
                retained,
                ..
            } => write!(
                f,
                "kill and recover {messages} {}messages, {payload} B, QoS {}, window {window}",
                if *retained { "retained " } else { "" },
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
            Scenario::Connects {
                count,
                concurrent,
                rate,
            } => match rate {
                None => write!(f, "{count} connects, {concurrent} at a time"),
                Some(rate) => write!(
                    f,
                    "{count} connects, {rate} per second, at most {concurrent} at a time"
                ),
            },
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
