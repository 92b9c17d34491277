//! Counters, and the `$SYS` topics made of them.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::AddAssign;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of one broker, or summed over several. Totals count from its start;
        /// gauges are as of now.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Stats {
            /// Joins the figures of several brokers. Retained messages are not added up: each
            /// broker has a copy of all.
            fn add_assign(&mut self, other: Self) {
                let retained = self.retained.max(other.retained);
                let retained_bytes = self.retained_bytes.max(other.retained_bytes);
                $(self.$name += other.$name;)*
                self.retained = retained;
                self.retained_bytes = retained_bytes;
            }
        }

        impl Stats {
            /// How many counters there are.
            pub const LEN: usize = [$(stringify!($name)),*].len();

            /// All counters in a fixed order, for sharing them between threads.
            pub fn to_array(&self) -> [u64; Self::LEN] {
                [$(self.$name),*]
            }

            /// The reverse of [`Self::to_array`].
            pub fn from_array(values: [u64; Self::LEN]) -> Self {
                let [$($name),*] = values;
                Self { $($name),* }
            }
        }
    };
}

stats! {
    /// Connected clients (gauge).
    connected,
    /// Sessions, connected or not (gauge).
    sessions,
    /// Subscriptions (gauge).
    subscriptions,
    /// Retained messages (gauge).
    retained,
    /// Bytes of retained messages (gauge).
    retained_bytes,
    /// QoS 1 and 2 messages queued or in flight (gauge).
    stored,
    /// Bytes of those messages (topic, properties, payload); one that several sessions are owed
    /// counts for each (gauge).
    stored_bytes,
    /// Most clients connected at once.
    connected_maximum,
    /// Sessions ended by expiry.
    expired_sessions,
    /// Packets received.
    packets_received,
    /// Packets sent.
    packets_sent,
    /// PUBLISH packets received.
    publish_received,
    /// PUBLISH packets sent.
    publish_sent,
    /// Messages dropped: QoS 0 to a full socket or queue, too large for the receiver, expired.
    publish_dropped,
    /// Publishes refused for a full queue or store (answered 0x97 or not at all).
    publish_refused,
    /// Times that a publisher was held back because a connected subscriber's queue was full.
    publish_held_back,
    /// Payload bytes of PUBLISH packets received.
    publish_bytes_received,
    /// Payload bytes of PUBLISH packets sent.
    publish_bytes_sent,
    /// Bytes received on sockets (filled in by the driver).
    bytes_received,
    /// Bytes sent on sockets (filled in by the driver).
    bytes_sent,
    /// Open sockets, those before CONNECT too (gauge, filled in by the driver).
    sockets,
    /// Connections accepted (filled in by the driver).
    accepted,
    /// Bytes of the log on disk (gauge, filled in by the driver).
    log_bytes,
    /// Connections closed for a protocol error.
    protocol_errors,
    /// CONNECTs that got a session.
    connects_accepted,
    /// CONNECTs refused.
    connects_refused,
}

/// The `$SYS` topics that Mosquitto's users know, with their values as text. `uptime` is in
/// seconds; averages are [`Load`]'s.
pub fn sys_topics(stats: &Stats, uptime: u64, version: &str) -> Vec<(&'static str, String)> {
    let disconnected = stats.sessions.saturating_sub(stats.connected);
    alloc::vec![
        ("$SYS/broker/version", String::from(version)),
        ("$SYS/broker/uptime", alloc::format!("{uptime} seconds")),
        ("$SYS/broker/clients/total", stats.sessions.to_string()),
        ("$SYS/broker/clients/connected", stats.connected.to_string()),
        ("$SYS/broker/clients/active", stats.connected.to_string()),
        ("$SYS/broker/clients/disconnected", disconnected.to_string()),
        ("$SYS/broker/clients/inactive", disconnected.to_string()),
        (
            "$SYS/broker/clients/maximum",
            stats.connected_maximum.to_string()
        ),
        (
            "$SYS/broker/clients/expired",
            stats.expired_sessions.to_string()
        ),
        (
            "$SYS/broker/messages/received",
            stats.packets_received.to_string()
        ),
        ("$SYS/broker/messages/sent", stats.packets_sent.to_string()),
        (
            "$SYS/broker/messages/stored",
            (stats.stored + stats.retained).to_string()
        ),
        (
            "$SYS/broker/store/messages/count",
            (stats.stored + stats.retained).to_string()
        ),
        (
            "$SYS/broker/store/messages/bytes",
            (stats.stored_bytes + stats.retained_bytes).to_string()
        ),
        (
            "$SYS/broker/publish/messages/received",
            stats.publish_received.to_string()
        ),
        (
            "$SYS/broker/publish/messages/sent",
            stats.publish_sent.to_string()
        ),
        (
            "$SYS/broker/publish/messages/dropped",
            stats.publish_dropped.to_string()
        ),
        (
            "$SYS/broker/publish/bytes/received",
            stats.publish_bytes_received.to_string()
        ),
        (
            "$SYS/broker/publish/bytes/sent",
            stats.publish_bytes_sent.to_string()
        ),
        (
            "$SYS/broker/bytes/received",
            stats.bytes_received.to_string()
        ),
        ("$SYS/broker/bytes/sent", stats.bytes_sent.to_string()),
        (
            "$SYS/broker/retained messages/count",
            stats.retained.to_string()
        ),
        (
            "$SYS/broker/subscriptions/count",
            stats.subscriptions.to_string()
        ),
    ]
}

/// Averages over the last 1, 5 and 15 minutes, as Mosquitto's `$SYS/broker/load/…` shows them:
/// per minute, each new interval weighing in exponentially.
#[derive(Debug, Clone, Default)]
pub struct Load {
    last: Option<Stats>,
    averages: [[f64; 3]; LOADS.len()],
}

/// How often [`Load::update`] has to be called, in seconds: the weights are made for it.
pub const LOAD_INTERVAL: u32 = 10;

/// exp(-10/60), exp(-10/300), exp(-10/900): what is left of an average after one interval.
const KEPT: [f64; 3] = [
    0.846_481_724_890_614,
    0.967_216_100_482_006,
    0.988_950_374_943_213,
];

type Counter = fn(&Stats) -> u64;

/// Topic below `$SYS/broker/load/`, and what it counts.
const LOADS: [(&str, Counter); 9] = [
    ("messages/received", |s| s.packets_received),
    ("messages/sent", |s| s.packets_sent),
    ("publish/received", |s| s.publish_received),
    ("publish/sent", |s| s.publish_sent),
    ("publish/dropped", |s| s.publish_dropped),
    ("bytes/received", |s| s.bytes_received),
    ("bytes/sent", |s| s.bytes_sent),
    ("sockets", |s| s.accepted),
    ("connections", |s| s.connects_accepted),
];

impl Load {
    /// Takes the counters [`LOAD_INTERVAL`] after the last time. The first call only looks.
    pub fn update(&mut self, now: &Stats) {
        if let Some(last) = self.last.replace(*now) {
            let per_minute = 60.0 / f64::from(LOAD_INTERVAL);
            for (averages, (_, counter)) in self.averages.iter_mut().zip(LOADS) {
                let rate = counter(now).saturating_sub(counter(&last)) as f64 * per_minute;
                for (average, kept) in averages.iter_mut().zip(KEPT) {
                    *average = *average * kept + rate * (1.0 - kept);
                }
            }
        }
    }

    /// The topics with their values as text.
    pub fn topics(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.averages
            .iter()
            .zip(LOADS)
            .flat_map(|(averages, (name, _))| {
                let periods = ["1min", "5min", "15min"].into_iter().zip(averages);
                periods.map(move |(period, average)| {
                    (
                        alloc::format!("$SYS/broker/load/{name}/{period}"),
                        alloc::format!("{average:.2}"),
                    )
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_retained_messages_are_counted_once() {
        let one = Stats {
            sessions: 2,
            retained: 5,
            retained_bytes: 50,
            ..Stats::default()
        };
        let mut sum = Stats::default();
        sum += one;
        sum += one;
        assert_eq!((sum.sessions, sum.retained, sum.retained_bytes), (4, 5, 50));
    }

    #[test]
    fn a_steady_rate_is_what_the_load_tends_to() {
        let mut load = Load::default();
        let mut stats = Stats::default();
        // 20 a second for 20 minutes.
        for _ in 0..120 {
            load.update(&stats);
            stats.publish_received += 200;
        }
        let topics: Vec<(String, String)> = load.topics().collect();
        let value = |topic: &str| -> f64 {
            let found = topics.iter().find(|(known, _)| known == topic);
            found.expect(topic).1.parse().expect("a number")
        };
        let one = value("$SYS/broker/load/publish/received/1min");
        let fifteen = value("$SYS/broker/load/publish/received/15min");
        assert!((1199.0..=1200.0).contains(&one), "{one}");
        assert!((800.0..1000.0).contains(&fifteen), "{fifteen}");
        assert_eq!(value("$SYS/broker/load/publish/sent/1min"), 0.0);
        assert_eq!(topics.len(), 27);
    }
}
