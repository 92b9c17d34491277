//! Figures of the fleet for Prometheus.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Fleet;

/// See [`Fleet::metrics`].
#[derive(Debug)]
pub struct FleetMetrics(Arc<Fleet>);

impl Fleet {
    /// How many devices there are and what could not be taken, as figures for Prometheus.
    pub fn metrics(self: &Arc<Fleet>) -> FleetMetrics {
        FleetMetrics(self.clone())
    }
}

impl Collector for FleetMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let fleet = &self.0;
        let (all, enrolled, counts) =
            fleet.with(|roster| (roster.len(), roster.enrolled(), roster.counts()));
        let mut gauge = |name, help, value: u64| {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let gauge = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge.encode(metric)
        };
        gauge(
            "safeport_devices_known",
            "Devices that are known",
            all as u64,
        )?;
        gauge(
            "safeport_devices_enrolled",
            "Devices that have a login here",
            enrolled as u64,
        )?;
        gauge(
            "safeport_devices_unwritten",
            "Devices whose changes wait to be written down",
            fleet.unwritten(),
        )?;
        let mut counter = |name, help, value: u64| {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter.encode(metric)
        };
        counter(
            "safeport_sightings_dropped",
            "Messages and attempts that came faster than they could be read",
            fleet.dropped(),
        )?;
        counter(
            "safeport_sightings_flooded",
            "New devices that were not taken, too many from one address",
            counts.flooded,
        )?;
        counter(
            "safeport_devices_crowded_out",
            "Devices only seen that were forgotten, too many of them",
            counts.crowded_out,
        )?;
        counter(
            "safeport_sightings_contradicted",
            "Sightings that contradict what is known",
            counts.contradicted,
        )
    }
}
