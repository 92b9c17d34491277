//! What is logged, and what a start says first.

use safeport_settings::{LogFormat, Settings};

use super::plan::wanted_connections;
use crate::console::Failure;
use crate::descriptors::Descriptors;
use crate::text::Texts;
use crate::{log, say};

pub(super) fn start_log(settings: &Settings, texts: &Texts) -> Result<(), Failure> {
    let format = match settings.log.format {
        LogFormat::Text => log::Format::Text,
        LogFormat::Json => log::Format::Json,
    };
    let (key, filter) = log_filter(settings);
    log::start(&filter, format)
        .map_err(|error| Failure::usage(say!(texts, "log-filter-bad", key = key)).detail(error))
}

/// What is to be logged, and which key or variable says so.
pub(super) fn log_filter(settings: &Settings) -> (&'static str, String) {
    match std::env::var("SAFEPORT_LOG") {
        Ok(filter) if !filter.is_empty() => ("SAFEPORT_LOG", filter),
        _ => ("log.level", settings.log.level.clone()),
    }
}

pub(super) fn log_descriptors(settings: &Settings, descriptors: Descriptors) {
    let connections = descriptors.connections();
    let wanted = wanted_connections(settings);
    let advice = if connections < wanted {
        "; to use all, raise LimitNOFILE in the systemd unit or the hard limit of `ulimit -n`"
    } else {
        ""
    };
    tracing::info!(
        target: "safeport::serve",
        before = descriptors.before,
        limit = descriptors.now,
        "file descriptors allow {connections} connections, the settings {wanted}{advice}",
    );
}
