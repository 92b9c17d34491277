//! `safeport bench`: load for a broker, ours or another, by `safeport_sim::load`.

mod http;
mod target;
mod voice;

use std::time::Duration;

use clap::{Args, Subcommand};
use safeport_mqtt::QoS;
use safeport_sim::load::{self, Figures, Flow, Scenario, Shape, Target, Timing};
use target::{AddressArgs, TargetArgs};

use crate::console::{Console, Failure};
use crate::say;
use crate::text::Texts;

#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Load for an MQTT broker
    Mqtt {
        #[command(subcommand)]
        load: Load,
    },
    /// Load for a server of OTA checks and files, as devices make it: a connection for each request
    Http(http::HttpArgs),
    /// Load for a voice server: pretend xiaozhi devices that talk
    Voice {
        #[command(subcommand)]
        load: voice::VoiceLoad,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Load {
    /// Many publishers, one subscriber to all of them
    FanIn {
        /// How many publishers
        #[arg(long, default_value_t = 10)]
        publishers: u32,
        /// The subscribers have sessions that outlive their connections (clean session 0)
        #[arg(long)]
        durable: bool,
        #[command(flatten)]
        flow: FlowArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// One publisher, many subscribers
    FanOut {
        /// How many subscribers
        #[arg(long, default_value_t = 100)]
        subscribers: u32,
        /// The subscribers have sessions that outlive their connections (clean session 0)
        #[arg(long)]
        durable: bool,
        #[command(flatten)]
        flow: FlowArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Pairs of one publisher and one subscriber
    Pairs {
        /// How many pairs
        #[arg(long, default_value_t = 10)]
        pairs: u32,
        /// The subscribers have sessions that outlive their connections (clean session 0)
        #[arg(long)]
        durable: bool,
        #[command(flatten)]
        flow: FlowArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Pairs on a schedule: how long messages are under way, from the time they were due
    Latency {
        /// How many pairs
        #[arg(long, default_value_t = 20)]
        pairs: u32,
        /// Messages per second of all pairs together
        #[arg(long, default_value_t = 2000)]
        rate: u32,
        /// Payload in bytes, 16 to 1048576
        #[arg(long, default_value_t = 64)]
        payload: usize,
        /// QoS of publishing and of the subscription
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        qos: u8,
        /// The subscribers have sessions that outlive their connections
        #[arg(long)]
        durable: bool,
        /// Measured time in seconds, after 0.4 s of warm-up
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Very many wildcard filters, of which each message matches two
    Wildcards {
        /// How many filters, a multiple of twice the connections
        #[arg(long, default_value_t = 100_000)]
        filters: u32,
        /// Connections that hold them
        #[arg(long, default_value_t = 100)]
        connections: u32,
        /// How many publishers
        #[arg(long, default_value_t = 10)]
        publishers: u32,
        #[command(flatten)]
        flow: FlowArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Set retained messages, then let one subscriber get them all; they are deleted afterwards
    Retained {
        /// How many
        #[arg(long, default_value_t = 100_000)]
        messages: u32,
        /// Payload in bytes, 8 to 1048576
        #[arg(long, default_value_t = 256)]
        payload: usize,
        /// QoS of setting and of the subscription
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        qos: u8,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Start a broker, publish to a session that is away, kill the broker (SIGKILL), start it again:
    /// does the session get everything that was acknowledged?
    Recover {
        /// Command line that starts the broker in the foreground, with a data folder of its own; the
        /// shell reads it behind `exec`
        #[arg(long, value_name = "COMMAND")]
        broker_command: String,
        /// How many messages
        #[arg(long, default_value_t = 20_000)]
        messages: u32,
        /// Payload in bytes, 8 to 1048576
        #[arg(long, default_value_t = 256)]
        payload: usize,
        /// QoS of publishing and of the subscription
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        qos: u8,
        /// Unacknowledged messages of each of the 10 publishers, 1 to 1000
        #[arg(long, default_value_t = 20)]
        window: u32,
        /// Kill after this many acknowledgements, with other messages under way, instead of behind
        /// the last one
        #[arg(long, value_name = "COUNT")]
        kill_after: Option<u32>,
        /// Set the messages retained; whoever subscribes afterwards has to get them
        #[arg(long)]
        retained: bool,
        #[command(flatten)]
        address: AddressArgs,
    },
    /// Connections that are open and do nothing; with --pid, the memory that each takes
    Idle {
        /// How many connections
        #[arg(long, default_value_t = 1000)]
        connections: u32,
        /// Each subscribes to one topic filter of its own
        #[arg(long)]
        subscribe: bool,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Connect and disconnect, over and over
    Connects {
        /// How many in all, at most 28000
        #[arg(long, default_value_t = 5000)]
        count: u32,
        /// How many at a time
        #[arg(long, default_value_t = 50)]
        concurrent: u32,
        /// Begin this many per second, on a schedule, instead of one whenever another is over
        #[arg(long, value_name = "PER SECOND")]
        rate: Option<u32>,
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct FlowArgs {
    /// Payload in bytes, 16 to 1048576
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// QoS of publishing and of the subscription
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Messages of one publisher that may be under way, 1 to 1000; 1 is what devices do
    #[arg(long, default_value_t = 1)]
    window: u32,
    /// Measured time in seconds, after 0.4 s of warm-up
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

impl BenchCommand {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let load = match self {
            BenchCommand::Mqtt { load } => load,
            BenchCommand::Http(asked) => return asked.run(console),
            BenchCommand::Voice { load } => return load.run(console),
        };
        let texts = &console.texts;
        let scenario = load.scenario(texts)?;
        let target = load.target(texts)?;
        console.talk(&say!(
            texts,
            "bench-running",
            scenario = scenario,
            address = target.address
        ));
        let report = load::run(&target, &scenario).map_err(|error| {
            Failure::new(say!(texts, "bench-failed", address = target.address)).detail(error)
        })?;
        if console.json {
            console.json(&report.to_json())?;
        } else {
            console.data(&report.to_string())?;
        }
        if report.is_exact() {
            return Ok(());
        }
        Err(Failure::new(match &report.figures {
            Figures::Recovery(recovery) if recovery.only_stopped() => {
                say!(texts, "bench-stopped")
            }
            Figures::Recovery(_) => say!(texts, "bench-not-kept"),
            _ => say!(texts, "bench-inexact"),
        }))
    }
}

impl Load {
    fn scenario(&self, texts: &Texts) -> Result<Scenario, Failure> {
        Ok(match self {
            Load::FanIn {
                publishers,
                durable,
                flow,
                ..
            } => {
                let publishers = *publishers;
                flow.traffic(Shape::FanIn { publishers }, *durable, texts)?
            }
            Load::FanOut {
                subscribers,
                durable,
                flow,
                ..
            } => {
                let subscribers = *subscribers;
                flow.traffic(Shape::FanOut { subscribers }, *durable, texts)?
            }
            Load::Pairs {
                pairs,
                durable,
                flow,
                ..
            } => flow.traffic(Shape::Pairs { pairs: *pairs }, *durable, texts)?,
            Load::Latency {
                pairs,
                rate,
                payload,
                qos,
                durable,
                seconds,
                ..
            } => Scenario::Traffic {
                shape: Shape::Pairs { pairs: *pairs },
                flow: Flow {
                    durable: *durable,
                    rate: Some(*rate),
                    ..Flow::new(*payload, quality(*qos), 1)
                },
                timing: timing(*seconds, texts)?,
            },
            Load::Wildcards {
                filters,
                connections,
                publishers,
                flow,
                ..
            } => Scenario::Wildcards {
                filters: *filters,
                connections: *connections,
                publishers: *publishers,
                flow: flow.flow(),
                timing: timing(flow.seconds, texts)?,
            },
            Load::Retained {
                messages,
                payload,
                qos,
                ..
            } => Scenario::Retained {
                messages: *messages,
                payload: *payload,
                qos: quality(*qos),
            },
            Load::Recover {
                broker_command,
                messages,
                payload,
                qos,
                window,
                kill_after,
                retained,
                ..
            } => Scenario::Recover {
                command: broker_command.clone(),
                messages: *messages,
                payload: *payload,
                qos: quality(*qos),
                window: *window,
                kill_after: *kill_after,
                retained: *retained,
            },
            Load::Idle {
                connections,
                subscribe,
                ..
            } => Scenario::Idle {
                connections: *connections,
                subscribe: *subscribe,
            },
            Load::Connects {
                count,
                concurrent,
                rate,
                ..
            } => Scenario::Connects {
                count: *count,
                concurrent: *concurrent,
                rate: *rate,
            },
        })
    }

    fn target(&self, texts: &Texts) -> Result<Target, Failure> {
        match self {
            Load::FanIn { target, .. }
            | Load::FanOut { target, .. }
            | Load::Pairs { target, .. }
            | Load::Latency { target, .. }
            | Load::Wildcards { target, .. }
            | Load::Retained { target, .. }
            | Load::Idle { target, .. }
            | Load::Connects { target, .. } => target.resolve(texts),
            // Its process is not there yet.
            Load::Recover { address, .. } => address.resolve(texts),
        }
    }
}

impl FlowArgs {
    fn traffic(&self, shape: Shape, durable: bool, texts: &Texts) -> Result<Scenario, Failure> {
        Ok(Scenario::Traffic {
            shape,
            flow: Flow {
                durable,
                ..self.flow()
            },
            timing: timing(self.seconds, texts)?,
        })
    }

    fn flow(&self) -> Flow {
        Flow::new(self.payload, quality(self.qos), self.window)
    }
}

fn quality(qos: u8) -> QoS {
    match qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

fn timing(given: f64, texts: &Texts) -> Result<Timing, Failure> {
    Ok(Timing {
        measure: seconds(given, texts)?,
        ..Timing::default()
    })
}

/// A time given in seconds, above zero and at most a day.
pub(super) fn seconds(given: f64, texts: &Texts) -> Result<Duration, Failure> {
    let is_good = given > 0.0 && given <= 86_400.0;
    if is_good {
        Ok(Duration::from_secs_f64(given))
    } else {
        Err(Failure::usage(say!(texts, "seconds-bad", given = given)))
    }
}
