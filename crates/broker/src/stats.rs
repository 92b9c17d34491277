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
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
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
    /// Connections closed for a protocol error.
    protocol_errors,
    /// CONNECTs refused.
    connects_refused,
}

/// The `$SYS` topics that Mosquitto's users know, with their values as text. `load` holds the
/// message and byte rates; `uptime` is in seconds.
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
            stats.retained_bytes.to_string()
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
