//! Figures of what a broker keeps: filters, retained messages, and messages for those who are away.

use super::{Exactness, Traffic, per_million, rate, shares};
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// Figures of a wildcard scenario.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Wildcards {
    /// Filters held.
    pub filters: u32,
    /// Time from the first SUBSCRIBE to the last SUBACK.
    pub subscribing: Duration,
    /// CPU time of the broker in it.
    pub subscribing_cpu: Option<Duration>,
    /// Resident memory of the broker with all filters, in bytes.
    pub rss: Option<u64>,
    /// What of that came with each filter.
    pub rss_per_filter: Option<f64>,
    /// The messages; each is delivered twice.
    pub traffic: Traffic,
}

/// Figures of a retained scenario.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Retained {
    /// Messages set and acknowledged.
    pub messages: u32,
    /// Time for setting them.
    pub setting: Duration,
    /// CPU time of the broker in it.
    pub setting_cpu: Option<Duration>,
    /// Growth of the broker's resident memory per message, in bytes.
    pub rss_per_message: Option<f64>,
    /// Messages that reached the subscriber.
    pub received: u32,
    /// Time from its SUBSCRIBE to the last of them.
    pub receiving: Duration,
    /// CPU time of the broker in it.
    pub receiving_cpu: Option<Duration>,
    /// CPUs that the generator kept busy while setting.
    pub generator_share: f64,
    /// CPUs that all other processes kept busy while setting.
    pub others_share: Option<f64>,
    /// Whether every acknowledged message arrived once, retained and unaltered.
    pub exactness: Exactness,
}

/// What a broker still knew after it was killed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recovery {
    /// QoS of publishing and of the subscription.
    pub qos: u8,
    /// Messages acknowledged before the kill.
    pub acknowledged: u32,
    /// Time for publishing them.
    pub publishing: Duration,
    /// CPU time of the broker in it.
    pub publishing_cpu: Option<Duration>,
    /// Whether the restarted broker knew the session; `None` for retained messages.
    pub session_present: Option<bool>,
    /// From starting the process again to the CONNACK for the session.
    pub ready: Duration,
    /// Different messages that then arrived, unacknowledged ones included.
    pub received: u32,
    /// From that CONNACK to the last of them.
    pub receiving: Duration,
    /// CPU time of the restarted broker until then.
    pub recovering_cpu: Option<Duration>,
    /// Its resident memory then, in bytes.
    pub rss: Option<u64>,
    /// Of the acknowledged messages. `unacknowledged` counts those that the plan waited for in vain.
    pub exactness: Exactness,
}

impl Wildcards {
    pub(super) fn to_json(&self) -> Value {
        let mut value = self.traffic.to_json();
        value["filters"] = self.filters.into();
        value["subscribing_seconds"] = self.subscribing.as_secs_f64().into();
        value["subscribing_cpu_seconds_per_million"] =
            per_million(self.subscribing_cpu, self.filters.into()).into();
        value["rss_bytes"] = self.rss.into();
        value["rss_bytes_per_filter"] = self.rss_per_filter.into();
        value
    }
}

impl Retained {
    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({
            "messages": self.messages,
            "set_seconds": self.setting.as_secs_f64(),
            "set_per_second": rate(self.messages.into(), self.setting),
            "set_cpu_seconds_per_million": per_million(self.setting_cpu, self.messages.into()),
            "rss_bytes_per_message": self.rss_per_message,
            "received": self.received,
            "receive_seconds": self.receiving.as_secs_f64(),
            "receive_cpu_seconds_per_million":
                per_million(self.receiving_cpu, self.received.into()),
            "generator_cpu_share": self.generator_share,
            "other_cpu_share": self.others_share,
        });
        self.exactness.add_to(&mut value);
        value
    }
}

impl Recovery {
    /// Nothing acknowledged is lost or altered, the plan's acknowledgements came, and at QoS 2 nothing
    /// arrived twice. At QoS 1 a message may.
    pub fn kept_its_promise(&self) -> bool {
        let mut judged = self.exactness;
        if self.qos < 2 {
            judged.duplicated = 0;
        }
        self.session_present != Some(false) && judged.is_exact()
    }

    /// It kept all that it acknowledged, but stopped acknowledging before the plan's end, as a broker
    /// whose queue is full should.
    pub fn only_stopped(&self) -> bool {
        let mut judged = self.clone();
        judged.exactness.unacknowledged = 0;
        self.exactness.unacknowledged > 0 && judged.kept_its_promise()
    }

    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({
            "acknowledged": self.acknowledged,
            "publish_seconds": self.publishing.as_secs_f64(),
            "acknowledged_per_second": rate(self.acknowledged.into(), self.publishing),
            "publish_cpu_seconds_per_million":
                per_million(self.publishing_cpu, self.acknowledged.into()),
            "session_present": self.session_present,
            "ready_seconds": self.ready.as_secs_f64(),
            "received": self.received,
            "receive_seconds": (self.received > 0).then_some(self.receiving.as_secs_f64()),
            "recovering_cpu_seconds": self.recovering_cpu.map(|cpu| cpu.as_secs_f64()),
            "rss_bytes": self.rss,
        });
        self.exactness.add_to(&mut value);
        value
    }
}

impl fmt::Display for Wildcards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  subscribed in {:.2} s", self.subscribing.as_secs_f64())?;
        if let (Some(rss), Some(each)) = (self.rss, self.rss_per_filter) {
            write!(
                f,
                "; {:.1} MB resident with them, {each:.0} B per filter",
                rss as f64 / 1e6
            )?;
        }
        writeln!(f)?;
        self.traffic.fmt(f)
    }
}

impl fmt::Display for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  set at {:.0} messages/s",
            rate(self.messages.into(), self.setting)
        )?;
        if let Some(cost) = per_million(self.setting_cpu, self.messages.into()) {
            write!(f, ", {cost:.2} CPU seconds of the broker per million")?;
        }
        if let Some(rss) = self.rss_per_message {
            write!(f, ", {rss:.0} B resident per message")?;
        }
        write!(
            f,
            "\n  one subscriber got {} in {:.2} s",
            self.received,
            self.receiving.as_secs_f64()
        )?;
        if let Some(cost) = per_million(self.receiving_cpu, self.received.into()) {
            write!(f, ", {cost:.2} CPU seconds per million")?;
        }
        writeln!(f)?;
        shares(f, self.generator_share, self.others_share)?;
        write!(f, "  {}", self.exactness)
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  {} acknowledged, {:.0} per second",
            self.acknowledged,
            rate(self.acknowledged.into(), self.publishing)
        )?;
        if let Some(cost) = per_million(self.publishing_cpu, self.acknowledged.into()) {
            write!(f, ", {cost:.2} CPU seconds of the broker per million")?;
        }
        write!(
            f,
            "; then killed\n  ready again after {:.2} s; {}{} received in {:.2} s",
            self.ready.as_secs_f64(),
            match self.session_present {
                Some(true) => "the session was there, ",
                Some(false) => "THE SESSION WAS GONE, ",
                None => "",
            },
            self.received,
            self.receiving.as_secs_f64()
        )?;
        if let (Some(cpu), Some(rss)) = (self.recovering_cpu, self.rss) {
            write!(
                f,
                " ({:.2} CPU seconds, {:.1} MB resident)",
                cpu.as_secs_f64(),
                rss as f64 / 1e6
            )?;
        }
        if self.kept_its_promise() {
            write!(f, "\n  0 lost, {} doubled", self.exactness.duplicated)
        } else if self.only_stopped() {
            write!(
                f,
                "\n  0 lost of what was acknowledged, but the broker left {} messages without an \
                 acknowledgement; raise its limits on queued messages",
                self.exactness.unacknowledged
            )
        } else {
            write!(
                f,
                "\n  NOT KEPT: of {} acknowledged {} lost, {} doubled, {} reordered, {} altered; {} \
                 never acknowledged",
                self.acknowledged,
                self.exactness.lost,
                self.exactness.duplicated,
                self.exactness.reordered,
                self.exactness.altered,
                self.exactness.unacknowledged
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery(qos: u8, duplicated: u64, session_present: bool) -> Recovery {
        Recovery {
            qos,
            acknowledged: 10,
            publishing: Duration::from_secs(1),
            publishing_cpu: None,
            session_present: Some(session_present),
            ready: Duration::from_millis(5),
            received: 10,
            receiving: Duration::from_millis(5),
            recovering_cpu: None,
            rss: None,
            exactness: Exactness {
                expected: 10,
                duplicated,
                ..Exactness::default()
            },
        }
    }

    #[test]
    fn a_doubled_message_breaks_the_promise_of_qos_2_only() {
        assert!(recovery(1, 0, true).kept_its_promise());
        assert!(recovery(1, 1, true).kept_its_promise());
        assert!(recovery(2, 0, true).kept_its_promise());
        assert!(!recovery(2, 1, true).kept_its_promise());
        assert!(recovery(2, 1, true).to_string().contains("NOT KEPT"));
    }

    #[test]
    fn a_broker_that_stops_acknowledging_has_lost_nothing() {
        let mut stopped = recovery(1, 0, true);
        stopped.exactness.unacknowledged = 5;
        assert!(stopped.only_stopped() && !stopped.kept_its_promise());
        assert!(!stopped.to_string().contains("NOT KEPT"));
        stopped.exactness.lost = 1;
        assert!(!stopped.only_stopped());
        assert!(stopped.to_string().contains("NOT KEPT"));
    }

    #[test]
    fn a_session_that_is_gone_or_a_lost_message_breaks_it_always() {
        assert!(!recovery(1, 0, false).kept_its_promise());
        let mut lost = recovery(1, 0, true);
        lost.exactness.lost = 1;
        assert!(!lost.kept_its_promise());
        assert_eq!(lost.to_json()["lost"], 1);
    }
}
