//! Settings in the words of the engine and of the pages.

use std::path::PathBuf;
use std::time::Duration;

use safeport_engine::{
    Carries, Durability, EngineSettings, ListenerLimits, ListenerSpec, LogSettings,
};
use safeport_net::HandshakeLimits;
use safeport_settings::{Accept, Listener, Settings};

use super::sockets::Bound;
use crate::certificates::Presented;
use crate::console::Failure;
use crate::descriptors::Descriptors;
use crate::reading::Read;
use crate::say;
use crate::serve::http::SiteSettings;
use crate::text::Texts;

/// Connections that the settings allow on all listeners together.
pub(super) fn wanted_connections(settings: &Settings) -> u64 {
    Listener::CONNECTED
        .into_iter()
        .filter(|listener| settings.binds(*listener).0)
        .filter_map(|listener| listener_limits(settings, listener))
        .map(|limits| limits.max_connections as u64)
        .sum()
}

/// The engine's listeners, all that take connections, so that one that is switched off can be switched on while
/// serving. Those of HTTP have none of its sockets: their connections come after their upgrade.
pub(super) fn listener_specs(
    settings: &Settings,
    presented: &Presented,
    bound: &[Bound],
    texts: &Texts,
) -> Result<Vec<ListenerSpec>, Failure> {
    Listener::CONNECTED
        .into_iter()
        .filter_map(|listener| Some((listener, listener_limits(settings, listener)?)))
        .map(|(listener, limits)| {
            let sockets = match listener {
                Listener::Mqtt | Listener::Mqtts => bound
                    .iter()
                    .filter(|bound| bound.listener == listener)
                    .filter_map(Bound::share)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| {
                        let name = listener.name();
                        Failure::new(say!(texts, "sockets-failed", listener = name)).detail(error)
                    })?,
                _ => Vec::new(),
            };
            let carries = match listener {
                Listener::Mqtts => Carries::Tls,
                // What HTTPS hands over brings its TLS along.
                _ => Carries::Plain,
            };
            Ok(ListenerSpec {
                name: listener.name().to_owned(),
                sockets,
                tls: presented.service(listener),
                carries,
                limits,
            })
        })
        .collect()
}

/// The bounds of a listener that takes connections.
pub(super) fn listener_limits(settings: &Settings, listener: Listener) -> Option<ListenerLimits> {
    let (max_connections, max_packet) = match listener {
        Listener::Mqtt => (settings.mqtt.max_connections, settings.mqtt.max_packet),
        Listener::Mqtts => (settings.mqtts.max_connections, settings.mqtts.max_packet),
        Listener::Http => (settings.http.max_connections, settings.http.max_packet),
        Listener::Https => (settings.https.max_connections, settings.https.max_packet),
        Listener::Ntp | Listener::Voice => return None,
    };
    Some(ListenerLimits {
        max_connections: max_connections as usize,
        max_packet: u32::try_from(max_packet.0).unwrap_or(u32::MAX),
        accept_both: accepts_both(settings, listener),
    })
}

/// Whether a listener takes its protocol both in the clear and inside TLS.
pub(super) fn accepts_both(settings: &Settings, listener: Listener) -> bool {
    let accept = match listener {
        Listener::Mqtt => settings.mqtt.accept,
        Listener::Mqtts => settings.mqtts.accept,
        Listener::Http => settings.http.accept,
        Listener::Https => settings.https.accept,
        Listener::Ntp | Listener::Voice => Accept::Own,
    };
    accept == Accept::Both
}

/// The bounds of TLS handshakes.
pub(super) fn handshake_limits(settings: &Settings) -> HandshakeLimits {
    HandshakeLimits {
        timeout: settings.tls.handshake_timeout,
        most: settings.tls.max_handshakes as usize,
        most_per_address: settings.tls.max_handshakes_per_address as usize,
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

/// The bounds of each broker.
pub(super) fn broker_limits(settings: &Settings) -> safeport_broker::Limits {
    let limits = &settings.limits;
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    safeport_broker::Limits {
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
    }
}

/// The engine's settings; it takes no more connections than there are descriptors.
pub(super) fn engine_settings(
    settings: &Settings,
    log: PathBuf,
    descriptors: Descriptors,
) -> EngineSettings {
    let wanted = wanted_connections(settings).min(descriptors.connections());
    EngineSettings {
        loops: usize::from(settings.engine.loops),
        limits: broker_limits(settings),
        log: log_settings(settings, log),
        connect_timeout: settings.limits.connect_timeout,
        max_connections: usize::try_from(wanted).unwrap_or(usize::MAX),
        ..EngineSettings::default()
    }
}

/// What the pages heed.
pub(super) fn site_settings(read: &Read) -> SiteSettings {
    SiteSettings {
        name: read.settings.server.name.clone(),
        anonymous: read.settings.access.anonymous,
        metrics_token: read.settings.http.metrics_token.reveal().to_owned(),
    }
}

/// What `/healthz` says of a server that runs on its last good settings: nothing of what stands in
/// the files, since anybody may ask.
pub(super) fn degraded_word(read: &Read) -> Option<String> {
    let word = "the settings files have mistakes; the last good settings are in force, see the log";
    read.degraded.is_some().then(|| word.to_owned())
}
