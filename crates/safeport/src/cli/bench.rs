//! `safeport bench`: load for a broker, ours or another, by `safeport_sim::load`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::{Args, Subcommand};
use safeport_mqtt::QoS;
use safeport_sim::load::{self, Flow, Scenario, Shape, Target, Timing};

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
}

#[derive(Debug, Subcommand)]
pub(super) enum Load {
    /// Many publishers, one subscriber to all of them
    FanIn {
        /// How many publishers
        #[arg(long, default_value_t = 10)]
        publishers: u32,
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
        #[command(flatten)]
        flow: FlowArgs,
        #[command(flatten)]
        target: TargetArgs,
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

#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Host of the broker
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of its plain MQTT listener
    #[arg(long, default_value_t = 1883)]
    port: u16,
    /// User name
    #[arg(long)]
    username: Option<String>,
    /// Password
    #[arg(long, env = "SAFEPORT_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Process of the broker on this machine: measures its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
}

impl BenchCommand {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let BenchCommand::Mqtt { load } = self;
        let texts = &console.texts;
        let (scenario, target) = load.scenario(texts)?;
        let target = target.resolve(texts)?;
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
            Ok(())
        } else {
            Err(Failure::new(say!(texts, "bench-inexact")))
        }
    }
}

impl Load {
    fn scenario(&self, texts: &Texts) -> Result<(Scenario, &TargetArgs), Failure> {
        Ok(match self {
            Load::FanIn {
                publishers,
                flow,
                target,
            } => {
                let publishers = *publishers;
                (flow.traffic(Shape::FanIn { publishers }, texts)?, target)
            }
            Load::FanOut {
                subscribers,
                flow,
                target,
            } => {
                let subscribers = *subscribers;
                (flow.traffic(Shape::FanOut { subscribers }, texts)?, target)
            }
            Load::Pairs {
                pairs,
                flow,
                target,
            } => {
                let pairs = *pairs;
                (flow.traffic(Shape::Pairs { pairs }, texts)?, target)
            }
            Load::Idle {
                connections,
                subscribe,
                target,
            } => {
                let scenario = Scenario::Idle {
                    connections: *connections,
                    subscribe: *subscribe,
                };
                (scenario, target)
            }
            Load::Connects {
                count,
                concurrent,
                target,
            } => {
                let scenario = Scenario::Connects {
                    count: *count,
                    concurrent: *concurrent,
                };
                (scenario, target)
            }
        })
    }
}

impl FlowArgs {
    fn traffic(&self, shape: Shape, texts: &Texts) -> Result<Scenario, Failure> {
        let measure = seconds(self.seconds, texts)?;
        let qos = match self.qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        Ok(Scenario::Traffic {
            shape,
            flow: Flow {
                payload: self.payload,
                qos,
                window: self.window,
            },
            timing: Timing {
                measure,
                ..Timing::default()
            },
        })
    }
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

impl TargetArgs {
    fn resolve(&self, texts: &Texts) -> Result<Target, Failure> {
        Ok(Target {
            address: address(&self.host, self.port, texts)?,
            pid: self.pid,
            username: self.username.clone(),
            password: self.password.clone(),
        })
    }
}

/// The first address of a host.
fn address(host: &str, port: u16, texts: &Texts) -> Result<SocketAddr, Failure> {
    let unknown = || Failure::new(say!(texts, "host-unknown", host = host));
    (host, port)
        .to_socket_addrs()
        .map_err(|error| unknown().detail(error))?
        .next()
        .ok_or_else(unknown)
}
