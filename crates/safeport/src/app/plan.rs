//! Settings in the engine's words.

use std::path::PathBuf;
use std::time::Duration;

use safeport_engine::{Durability, EngineSettings, ListenerLimits, ListenerSpec, LogSettings};
use safeport_net::PrivateCa;
use safeport_settings::Settings;

use crate::console::Failure;
use crate::descriptors::Descriptors;
use crate::say;
use crate::serve::http;
use crate::text::Texts;

/// Connections that the settings allow on all listeners together.
pub(super) fn wanted_connections(settings: &Settings) -> u64 {
    [
        (settings.mqtt.enabled, settings.mqtt.max_connections),
        (settings.mqtts.enabled, settings.mqtts.max_connections),
        (settings.http.enabled, settings.http.max_connections),
    ]
    .into_iter()
    .filter(|(enabled, _)| *enabled)
    .map(|(_, connections)| u64::from(connections))
    .sum()
}

/// The engine's listeners, those that are switched off without sockets; `mqtts` serves the
/// `certificates`. `http` has none of its sockets: its connections come after their upgrade.
pub(super) fn listener_specs(
    settings: &Settings,
    certificates: Option<&PrivateCa>,
    mqtt: Option<std::net::TcpListener>,
    mqtts: Option<std::net::TcpListener>,
    texts: &Texts,
) -> Result<Vec<ListenerSpec>, Failure> {
    let mut specs = vec![
        ListenerSpec {
            name: "mqtt".to_owned(),
            sockets: mqtt.into_iter().collect(),
            tls: None,
            limits: listener_limits(settings.mqtt.max_connections, settings.mqtt.max_packet.0),
        },
        // Its socket is HTTP's; connections come here after their WebSocket upgrade.
        ListenerSpec {
            name: http::LISTENER.to_owned(),
            sockets: Vec::new(),
            tls: None,
            limits: listener_limits(settings.http.max_connections, settings.http.max_packet.0),
        },
    ];
    if let Some(ca) = certificates {
        let tls = ca
            .server_config()
            .map_err(|error| Failure::new(say!(texts, "certificates-failed")).detail(error))?;
        specs.push(ListenerSpec {
            name: "mqtts".to_owned(),
            sockets: mqtts.into_iter().collect(),
            tls: Some(tls),
            limits: listener_limits(settings.mqtts.max_connections, settings.mqtts.max_packet.0),
        });
    }
    Ok(specs)
}

fn listener_limits(max_connections: u32, max_packet: u64) -> ListenerLimits {
    ListenerLimits {
        max_connections: max_connections as usize,
        max_packet: u32::try_from(max_packet).unwrap_or(u32::MAX),
    }
}

fn log_settings(settings: &Settings, folder: PathBuf) -> Option<LogSettings> {
    let durability = match settings.storage.durability {
        safeport_settings::Durability::Os => Durability::Os,
        safeport_settings::Durability::Disk => Durability::Disk,
        safeport_settings::Durability::None => return None,
    };
    Some(LogSettings {
        folder,
        durability,
        skip_damaged: settings.storage.skip_damaged,
    })
}

/// The engine's settings; it takes no more connections than there are descriptors.
pub(super) fn engine_settings(
    settings: &Settings,
    log: PathBuf,
    descriptors: Descriptors,
) -> EngineSettings {
    let limits = &settings.limits;
    let wanted = wanted_connections(settings).min(descriptors.connections());
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    EngineSettings {
        loops: usize::from(settings.engine.loops),
        limits: safeport_broker::Limits {
            session_expiry: seconds(limits.session_expiry_max),
            max_inflight: limits.max_inflight,
            max_queued_messages: limits.max_queued_messages,
            max_queued_bytes: u32::try_from(limits.max_queued_bytes.0).unwrap_or(u32::MAX),
            max_stored_bytes: limits.max_stored_bytes.0,
            patience: u64::try_from(limits.patience.as_millis()).unwrap_or(u64::MAX),
            max_retained_messages: limits.max_retained_messages,
            max_retained_bytes: limits.max_retained_bytes.0,
            max_subscriptions: limits.max_subscriptions_per_client,
            max_topic_levels: limits.max_topic_levels,
            receive_maximum: limits.receive_maximum,
            topic_alias_maximum: limits.topic_alias_maximum,
            max_keep_alive: u16::try_from(limits.max_keep_alive.as_secs()).unwrap_or(u16::MAX),
            ..safeport_broker::Limits::default()
        },
        log: log_settings(settings, log),
        connect_timeout: limits.connect_timeout,
        max_connections: usize::try_from(wanted).unwrap_or(usize::MAX),
        ..EngineSettings::default()
    }
}
