//! What a scenario may ask for, and what it takes: checked before anything is opened.

use super::{Flow, LoadError, Scenario, Shape, numbered, traffic};
use safeport_mqtt::QoS;

impl Scenario {
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
            Scenario::Connects {
                count,
                concurrent,
                rate,
            } => {
                check_rate(rate, "connects")?;
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
        check_rate(self.rate, "messages")
    }
}

/// Messages that carry a number and that must be acknowledged to be counted.
fn check_numbered(messages: u32, payload: usize, qos: QoS) -> Result<(), LoadError> {
    check_payload(payload, numbered::STAMP)?;
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

fn check_rate(rate: Option<u32>, of_what: &str) -> Result<(), LoadError> {
    match rate {
        Some(rate) if !(1..=MAX_RATE).contains(&rate) => refuse(format!(
            "rate is {rate} {of_what} per second; choose 1 to {MAX_RATE}"
        )),
        _ => Ok(()),
    }
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

/// Most messages, or connects, per second of a schedule.
pub const MAX_RATE: u32 = 1_000_000;

/// Most retained or recovered messages, and most wildcard filters: their numbers have seven digits.
pub const MAX_MESSAGES: u32 = 9_999_999;

/// Most connects of one run: each takes a local port, which the kernel keeps for a minute at worst,
/// and Linux hands out 28,232 of them per address by default.
pub const MAX_CONNECTS: u32 = 28_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Target, Timing, run};

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
                    retained: false,
                },
                "QoS 0 promises nothing",
            ),
            (
                Scenario::Connects {
                    count: 10,
                    concurrent: 0,
                    rate: None,
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
