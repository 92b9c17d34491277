//! `/metrics`: the engine's counters, the logins and the process itself, in the text format of
//! OpenMetrics, with names by Prometheus's conventions. Read afresh at every scrape.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use safeport_broker::Stats;
use safeport_engine::EngineHandle;
use safeport_net::pki::Choice;
use safeport_net::{Certificates, Handshakes};

use super::access::Access;
use crate::shown::certificates::origin;

/// `Content-Type` for scrapers that ask for OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// `Content-Type` for all others. The text is the same: what OpenMetrics adds is a comment to the
/// older format.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of this process.
pub struct Metrics {
    registry: Registry,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics(…)")
    }
}

impl Metrics {
    /// Metrics of `engine` and `access`.
    pub fn new(engine: EngineHandle, access: Arc<Access>) -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Broker(engine)));
        registry.register_collector(Box::new(Logins(access)));
        registry.register_collector(Box::new(Process));
        Metrics { registry }
    }

    /// These, too.
    pub fn with(mut self, others: impl Collector) -> Metrics {
        self.registry.register_collector(Box::new(others));
        self
    }

    /// The answer to a scrape.
    ///
    /// # Errors
    /// If a value cannot be written as text.
    pub fn scrape(&self) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Name, help, kind and value of one number.
struct Number {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    in_bytes: bool,
    of: fn(&Stats) -> u64,
}

const fn counter(name: &'static str, help: &'static str, of: fn(&Stats) -> u64) -> Number {
    Number {
        name,
        help,
        kind: MetricType::Counter,
        in_bytes: false,
        of,
    }
}

const fn gauge(name: &'static str, help: &'static str, of: fn(&Stats) -> u64) -> Number {
    Number {
        name,
        help,
        kind: MetricType::Gauge,
        in_bytes: false,
        of,
    }
}

impl Number {
    const fn in_bytes(self) -> Number {
        Number {
            in_bytes: true,
            ..self
        }
    }
}

/// One row per number. The encoder appends the unit and, for counters, `_total`.
const NUMBERS: &[Number] = &[
    gauge(
        "safeport_mqtt_connections",
        "Connected MQTT clients",
        |stats| stats.connected,
    ),
    gauge(
        "safeport_mqtt_connections_max",
        "Most MQTT clients connected at once",
        |stats| stats.connected_maximum,
    ),
    gauge(
        "safeport_mqtt_sockets",
        "Open sockets of MQTT, those before CONNECT too",
        |stats| stats.sockets,
    ),
    counter(
        "safeport_mqtt_sockets_accepted",
        "Sockets accepted for MQTT",
        |stats| stats.accepted,
    ),
    gauge(
        "safeport_mqtt_sessions",
        "Sessions, connected or not",
        |stats| stats.sessions,
    ),
    counter(
        "safeport_mqtt_sessions_expired",
        "Sessions ended by expiry",
        |stats| stats.expired_sessions,
    ),
    gauge("safeport_mqtt_subscriptions", "Subscriptions", |stats| {
        stats.subscriptions
    }),
    gauge(
        "safeport_mqtt_retained_messages",
        "Retained messages",
        |stats| stats.retained,
    ),
    gauge(
        "safeport_mqtt_retained",
        "Size of all retained messages",
        |stats| stats.retained_bytes,
    )
    .in_bytes(),
    gauge(
        "safeport_mqtt_stored_messages",
        "Messages of QoS 1 and 2 queued or in flight",
        |stats| stats.stored,
    ),
    gauge(
        "safeport_mqtt_stored",
        "Size of these messages; one that several sessions are owed counts for each",
        |stats| stats.stored_bytes,
    )
    .in_bytes(),
    gauge(
        "safeport_mqtt_log",
        "Size of the log of sessions and retained messages, without what is reserved ahead",
        |stats| stats.log_bytes,
    )
    .in_bytes(),
    counter(
        "safeport_mqtt_packets_received",
        "MQTT packets received",
        |stats| stats.packets_received,
    ),
    counter("safeport_mqtt_packets_sent", "MQTT packets sent", |stats| {
        stats.packets_sent
    }),
    counter(
        "safeport_mqtt_messages_received",
        "PUBLISH packets received",
        |stats| stats.publish_received,
    ),
    counter(
        "safeport_mqtt_messages_sent",
        "PUBLISH packets sent",
        |stats| stats.publish_sent,
    ),
    counter(
        "safeport_mqtt_messages_dropped",
        "Messages not delivered: queue full, too large for the receiver, expired",
        |stats| stats.publish_dropped,
    ),
    counter(
        "safeport_mqtt_messages_refused",
        "Messages refused for a full queue, store or disk",
        |stats| stats.publish_refused,
    ),
    counter(
        "safeport_mqtt_publishers_held_back",
        "Times a publisher was not read for a while because a subscriber did not keep up",
        |stats| stats.publish_held_back,
    ),
    counter(
        "safeport_mqtt_payload_received",
        "Payload of PUBLISH packets received",
        |stats| stats.publish_bytes_received,
    )
    .in_bytes(),
    counter(
        "safeport_mqtt_payload_sent",
        "Payload of PUBLISH packets sent",
        |stats| stats.publish_bytes_sent,
    )
    .in_bytes(),
    counter(
        "safeport_mqtt_received",
        "Data received on MQTT sockets",
        |stats| stats.bytes_received,
    )
    .in_bytes(),
    counter("safeport_mqtt_sent", "Data sent on MQTT sockets", |stats| {
        stats.bytes_sent
    })
    .in_bytes(),
    counter(
        "safeport_mqtt_protocol_errors",
        "Connections closed for a protocol error",
        |stats| stats.protocol_errors,
    ),
    counter(
        "safeport_mqtt_connects_accepted",
        "CONNECT packets that got a session",
        |stats| stats.connects_accepted,
    ),
    counter(
        "safeport_mqtt_connects_refused",
        "CONNECT packets refused",
        |stats| stats.connects_refused,
    ),
];

struct Broker(EngineHandle);

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broker")
    }
}

impl Collector for Broker {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        for number in NUMBERS {
            let value = (number.of)(&stats);
            let unit = number.in_bytes.then_some(&Unit::Bytes);
            let metric = encoder.encode_descriptor(number.name, number.help, unit, number.kind)?;
            match number.kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(metric)?,
            }
        }
        let healthy = encoder.encode_descriptor(
            "safeport_healthy",
            "1 while every event loop turns",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::from(self.0.healthy())).encode(healthy)
    }
}

#[derive(Debug)]
struct Logins(Arc<Access>);

impl Collector for Logins {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut logins = encoder.encode_descriptor(
            "safeport_logins",
            "Logins by outcome",
            None,
            MetricType::Counter,
        )?;
        let counts = self.0.counts();
        let admitted = std::iter::once(("admitted", counts.admitted()));
        for (outcome, count) in admitted.chain(counts.refused()) {
            let labels = [("outcome", outcome)];
            let family = logins.encode_family(&labels)?;
            ConstCounter::new(count).encode(family)?;
        }
        let accounts = encoder.encode_descriptor(
            "safeport_accounts",
            "Users and devices that may log in",
            None,
            MetricType::Gauge,
        )?;
        let count = i64::try_from(self.0.logins()).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(accounts)?;
        let remembered = encoder.encode_descriptor(
            "safeport_login_verdicts_remembered",
            "Logins whose verdict is known without computing argon2",
            None,
            MetricType::Gauge,
        )?;
        let count = i64::try_from(self.0.remembered()).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(remembered)
    }
}

/// The figures of TLS: handshakes that are open, and until when certificates are good.
#[derive(Debug)]
pub struct TlsMetrics {
    handshakes: Handshakes,
    certificates: Certificates,
}

impl TlsMetrics {
    /// Of these.
    pub fn new(handshakes: Handshakes, certificates: Certificates) -> TlsMetrics {
        TlsMetrics {
            handshakes,
            certificates,
        }
    }
}

impl Collector for TlsMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let open = encoder.encode_descriptor(
            "safeport_tls_handshakes_open",
            "TLS handshakes that go on, over all listeners",
            None,
            MetricType::Gauge,
        )?;
        let count = i64::try_from(self.handshakes.open()).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(open)?;
        let mut ends = encoder.encode_descriptor(
            "safeport_certificate_not_after_timestamp",
            "When the first certificate of a chain ends, since 1970",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        // Of several with the same name and key, the one that ends first.
        let mut all: BTreeMap<[String; 3], u64> = BTreeMap::new();
        for chain in self.certificates.presented(Choice::Auto) {
            let until = chain.not_after().duration_since(UNIX_EPOCH);
            let seconds = until.unwrap_or_default().as_secs();
            let which = [
                origin(chain.origin()).to_owned(),
                chain.key().to_string(),
                chain.names().first().cloned().unwrap_or_default(),
            ];
            let known = all.entry(which).or_insert(seconds);
            *known = seconds.min(*known);
        }
        for ([origin, key, name], seconds) in &all {
            let labels = [("origin", origin), ("key", key), ("name", name)];
            let family = ends.encode_family(&labels)?;
            ConstGauge::new(i64::try_from(*seconds).unwrap_or(i64::MAX)).encode(family)?;
        }
        Ok(())
    }
}

/// The numbers that every Prometheus client shows of its process, from `/proc/self`. On systems
/// without it they are left out.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let metric = encoder.encode_descriptor(
                "process_cpu",
                "User and system CPU time spent",
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        if let Some((resident, virtual_size)) = memory() {
            let metric = encoder.encode_descriptor(
                "process_resident_memory",
                "Resident memory",
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?;
            ConstGauge::new(resident).encode(metric)?;
            let metric = encoder.encode_descriptor(
                "process_virtual_memory",
                "Virtual memory",
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?;
            ConstGauge::new(virtual_size).encode(metric)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let open = i64::try_from(entries.count()).unwrap_or(i64::MAX);
            let metric = encoder.encode_descriptor(
                "process_open_fds",
                "Open file descriptors",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(open).encode(metric)?;
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit {
            let metric = encoder.encode_descriptor(
                "process_max_fds",
                "Most open file descriptors",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(i64::try_from(limit).unwrap_or(i64::MAX)).encode(metric)?;
        }
        Ok(())
    }
}

/// Resident and virtual size in bytes.
fn memory() -> Option<(i64, i64)> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = statm.split(' ').map(str::parse::<i64>);
    let virtual_size = pages.next()?.ok()?;
    let resident = pages.next()?.ok()?;
    let page = i64::try_from(rustix::param::page_size()).ok()?;
    Some((resident * page, virtual_size * page))
}

fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    cpu_ticks(&stat).map(|ticks| ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// User and system time in clock ticks: the 14th and 15th field of `/proc/PID/stat`, counted
/// after the program's name, which may hold spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_program_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 120 30 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(150));
    }

    #[test]
    fn this_process_has_memory_and_has_used_time() {
        let (resident, virtual_size) = memory().expect("/proc/self/statm");
        assert!(0 < resident && resident <= virtual_size);
        assert!(cpu_seconds().expect("/proc/self/stat") >= 0.0);
    }

    #[test]
    fn no_metric_is_named_twice() {
        let mut names: Vec<&str> = NUMBERS.iter().map(|number| number.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), NUMBERS.len());
    }
}
