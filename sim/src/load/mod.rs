//! Load for an MQTT broker, and what that load costs it. Called by `safeport bench mqtt`.
//!
//! One thread drives every connection through `mio`, so that on a small machine the generator takes
//! far less than the broker does. A publisher is a closed loop: at most `window` of its messages are
//! under way to their subscribers at any time. Every payload carries its stream, sequence and
//! sending time, and every delivery is checked against them: a run in which a single message was
//! lost, doubled, reordered or altered says so, and its figures are not worth quoting.
//!
//! A [`Scenario`] is a value that says what happens; the drivers (`streams`, `wildcards`, `retained`,
//! `recover`, `idle`, `connects`) carry it out. A new pattern of publishers and subscribers is one
//! more [`Shape`].

mod child;
mod clocks;
mod connects;
mod crew;
mod error;
mod histogram;
mod http;
mod idle;
mod layer;
mod link;
mod numbered;
mod process;
mod recover;
mod report;
mod retained;
mod rules;
mod scenario;
mod streams;
mod target;
mod traffic;
mod voice;
mod wildcards;
mod wire;

pub use error::LoadError;
pub use http::{HttpLoad, HttpReport, http};
pub use report::{
    Connects, Exactness, Figures, Idle, Latency, Recovery, Report, Retained, Traffic, Wildcards,
};
pub use rules::{
    MAX_CONNECTS, MAX_MESSAGES, MAX_PAYLOAD, MAX_RATE, MAX_WINDOW, RECOVER_PUBLISHERS,
    RETAINED_PUBLISHERS, WARM_UP_CONNECTIONS,
};
pub use scenario::{Flow, Scenario, Shape, Timing};
pub use target::{Handshake, Key, Target, Tls, TlsVersion};
pub use voice::{
    Conversing, Idling, Listening, MAX_UPLINK, MAX_VOICE_SESSIONS, Opening, VoiceError,
    VoiceFigures, VoiceReport, VoiceScene, VoiceTarget, VoiceWay, Wait, voice,
};

use crate::descriptors;
use clocks::Clocks;
use safeport_mqtt::Version;
use std::time::{SystemTime, UNIX_EPOCH};

/// Carries out `scenario` on `target` and returns what was seen. Blocks until it is over.
///
/// # Errors
///
/// When the scenario cannot run (its own limits, descriptors, a broker that refuses), or when the
/// broker closes a connection or sends what is no MQTT. Lost or doubled messages are no error but
/// part of the report: see [`Report::is_exact`].
pub fn run(target: &Target, scenario: &Scenario) -> Result<Report, LoadError> {
    scenario.check()?;
    if !matches!(target.version, Version::V311 | Version::V5) {
        return Err(LoadError::Scenario {
            what: format!("{} is not spoken; choose 3.1.1 or 5", target.version),
        });
    }
    descriptors::make_room(scenario.sockets())?;
    if let Some(pid) = target.pid {
        process::cpu_of(pid).map_err(|error| LoadError::Process { pid, error })?;
    }
    let figures = match scenario {
        Scenario::Traffic {
            shape,
            flow,
            timing,
        } => streams::run(target, *shape, *flow, *timing)?,
        Scenario::Wildcards {
            filters,
            connections,
            publishers,
            flow,
            timing,
        } => {
            let pattern = wildcards::Pattern {
                filters: *filters,
                connections: *connections,
                publishers: *publishers,
            };
            wildcards::run(target, pattern, *flow, *timing)?
        }
        Scenario::Retained {
            messages,
            payload,
            qos,
        } => retained::run(target, *messages, *payload, *qos)?,
        Scenario::Recover {
            command,
            messages,
            payload,
            qos,
            window,
            kill_after,
            retained,
        } => {
            let plan = recover::Plan {
                messages: *messages,
                kill_after: kill_after.unwrap_or(*messages),
                payload: *payload,
                qos: *qos,
                window: *window,
                retained: *retained,
            };
            recover::run(target, command, plan)?
        }
        Scenario::Idle {
            connections,
            subscribe,
        } => idle::run(target, *connections, *subscribe)?,
        Scenario::Connects {
            count,
            concurrent,
            rate,
        } => connects::run(target, *count, *concurrent, *rate)?,
    };
    Ok(Report {
        scenario: format!("{scenario}{}", on_what(target)),
        figures,
    })
}

/// What is not the default about the connections, for the report.
fn on_what(target: &Target) -> String {
    let mut words = String::new();
    if target.version == Version::V5 {
        words.push_str(", MQTT 5");
    }
    if let Some(tls) = &target.tls {
        let handshake = tls.handshake();
        words.push_str(match handshake.version {
            TlsVersion::V12 => ", TLS 1.2",
            TlsVersion::V13 => ", TLS 1.3",
        });
        if handshake.key == Key::Rsa {
            words.push_str(", RSA");
        }
        if handshake.resume {
            words.push_str(", resumed");
        }
    }
    words
}

/// A client identifier of the run `name`. rumqttd takes none with a slash in it.
fn client_id(name: &str, role: &str, number: u32) -> String {
    format!("{}-{role}-{number}", name.replace('/', "-"))
}

/// A prefix of topics that no other run uses.
fn run_name() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!(
        "load/{:08x}{:x}",
        since.as_millis() as u32,
        std::process::id()
    )
}
