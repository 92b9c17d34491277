//! Figures of the servers of tools for Prometheus.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use safeport_voice::McpState;

use super::Toolroom;

/// See [`Toolroom::metrics`].
#[derive(Debug)]
pub struct ToolMetrics(Arc<Toolroom>);

impl Toolroom {
    /// Which servers of tools answer, as figures for Prometheus.
    pub fn metrics(self: &Arc<Toolroom>) -> ToolMetrics {
        ToolMetrics(self.clone())
    }
}

impl Collector for ToolMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut servers = encoder.encode_descriptor(
            "safeport_voice_mcp_up",
            "Whether the tools of an MCP server of the settings can be called: 1 or 0",
            None,
            MetricType::Gauge,
        )?;
        for (name, state) in self.0.servers() {
            let up = i64::from(matches!(state, McpState::Ready { .. }));
            let labels = [("server", name.as_str())];
            ConstGauge::new(up).encode(servers.encode_family(&labels)?)?;
        }
        let programs = encoder.encode_descriptor(
            "safeport_voice_access_point_programs",
            "Programs that are connected to the access point",
            None,
            MetricType::Gauge,
        )?;
        let count = i64::try_from(self.0.guests(None).len()).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(programs)
    }
}
