//! Attempts to connect as figures for Prometheus.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::Attempts;

/// The figures of `attempts`: how many, by listener and cause, and how many were dropped.
#[derive(Debug)]
pub struct AttemptMetrics(pub(super) Arc<Attempts>);

impl Collector for AttemptMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut attempts = encoder.encode_descriptor(
            "safeport_attempts",
            "Attempts to connect, by listener and by what came of them; see docs/attempts.md",
            None,
            MetricType::Counter,
        )?;
        for (listener, cause, count) in self.0.counts() {
            let labels = [("listener", &*listener), ("cause", cause.code())];
            let family = attempts.encode_family(&labels)?;
            ConstCounter::new(count).encode(family)?;
        }
        let dropped = encoder.encode_descriptor(
            "safeport_attempts_dropped",
            "Attempts to connect that came faster than they could be judged or written down",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.0.dropped()).encode(dropped)
    }
}
