//! What systemd is told: ready, alive, stopping. Without systemd nobody listens and nothing
//! happens.

use std::time::Duration;

use safeport_engine::EngineHandle;
use sd_notify::NotifyState;

use crate::banner::Listening;

/// Everything is up.
pub fn ready(listening: &[Listening]) {
    let status = listening
        .iter()
        .map(|listening| format!("{} {}", listening.name, listening.address))
        .collect::<Vec<_>>()
        .join(", ");
    tell(&[
        NotifyState::Ready,
        NotifyState::Status(&format!("serving {status}")),
    ]);
}

/// The server is going down.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("saying goodbye to clients"),
    ]);
}

/// Pats systemd's watchdog at half its interval for as long as every event loop turns, so that a
/// server that stands still is restarted. Pending for ever where no watchdog is asked for.
pub async fn watch(engine: EngineHandle) {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut beat = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    loop {
        beat.tick().await;
        if engine.healthy() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(target: "safeport::serve", "systemd was not told: {error}");
    }
}
