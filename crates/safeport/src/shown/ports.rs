//! Listeners and advertised addresses as data.

use std::net::SocketAddr;

use safeport_net::holder::{Holding, holder_of};
use safeport_settings::{PlannedBind, Protocol, Settings, Via};
use safeport_store::{AddressRow, Registry, RunningServer};

use crate::holding::holding_text;
use crate::reading::source_json;
use crate::say;
use crate::text::{Language, Texts};

/// One listening address and how it stands.
pub struct Row {
    /// What the settings plan.
    pub planned: PlannedBind,
    /// What is there.
    pub state: State,
}

/// What is at an address that is planned.
pub enum State {
    /// Our server listens there.
    Bound(Option<SocketAddr>),
    /// Nobody does.
    Free,
    /// Somebody else does.
    Held(Holding),
}

/// Every listening address that is planned and how it stands. `server` is the one that runs on
/// the data folder.
pub fn listening(
    settings: &Settings,
    server: Option<RunningServer>,
    registry: Option<&Registry>,
) -> Vec<Row> {
    settings
        .plan
        .binds()
        .iter()
        .map(|planned| Row {
            planned: planned.clone(),
            state: state(planned, server, registry),
        })
        .collect()
}

/// Listeners, and the addresses that devices may be told: as the server knows them, or as planned
/// where none runs.
pub fn json(
    settings: &Settings,
    server: Option<RunningServer>,
    rows: &[Row],
    addresses: &[AddressRow],
    texts: &Texts,
) -> serde_json::Value {
    serde_json::json!({
        "server": server.map(|server| server.pid),
        "ports": rows.iter().map(|row| row.json(texts)).collect::<Vec<_>>(),
        "advertised": if server.is_some() {
            addresses.iter().map(|row| address_json(row, texts)).collect::<Vec<_>>()
        } else {
            settings.plan.advertised().iter().map(|planned| serde_json::json!({
                "url": planned.address.to_string(),
                "listener": planned.to.name(),
                "via": via(&planned.via),
                "key": planned.key,
                "source": source_json(&planned.source),
                "state": "unknown",
            })).collect()
        },
    })
}

fn state(
    planned: &PlannedBind,
    server: Option<RunningServer>,
    registry: Option<&Registry>,
) -> State {
    let moved = registry
        .and_then(|registry| {
            registry
                .chosen_port(planned.listener.name(), planned.address)
                .ok()
                .flatten()
        })
        .map(|port| SocketAddr::new(planned.address.ip(), port));
    let at = moved.unwrap_or(planned.address);
    let protocol = match planned.protocol {
        Protocol::Tcp => safeport_net::holder::Protocol::Tcp,
        Protocol::Udp => safeport_net::holder::Protocol::Udp,
    };
    if safeport_net::is_free(protocol, at) {
        return State::Free;
    }
    match (holder_of(protocol, at), server) {
        (Holding::Program(holder), Some(server)) if Some(holder.pid) == server.pid => {
            State::Bound(moved)
        }
        (Holding::ThisProcess, Some(_)) => State::Bound(moved),
        // As another user we cannot see whose socket it is; the lock says that a server runs.
        (Holding::OtherUser { .. }, Some(_)) => State::Bound(moved),
        (holding, _) => State::Held(holding),
    }
}

impl Row {
    /// The state in the reader's language.
    pub fn words(&self, texts: &Texts) -> String {
        match &self.state {
            State::Bound(None) => say!(texts, "port-bound"),
            State::Bound(Some(moved)) => say!(texts, "port-moved", port = moved.port()),
            State::Free => say!(texts, "port-free"),
            State::Held(holding) => {
                say!(texts, "port-held", holder = holding_text(texts, holding))
            }
        }
    }

    fn json(&self, texts: &Texts) -> serde_json::Value {
        let (state, holder, moved) = match &self.state {
            State::Bound(moved) => ("bound", None, moved.map(|moved| moved.to_string())),
            State::Free => ("free", None, None),
            State::Held(holding) => ("held", Some(holder_json(texts, holding)), None),
        };
        serde_json::json!({
            "listener": self.planned.listener.name(),
            "protocol": protocol(self.planned.protocol),
            "address": self.planned.address.to_string(),
            "key": self.planned.key,
            "source": source_json(&self.planned.source),
            "state": state,
            "holder": holder,
            "moved_to": moved,
        })
    }
}

/// Who holds a port: in words, and the facts where it is a program that we may look into.
pub fn holder_json(texts: &Texts, holding: &Holding) -> serde_json::Value {
    let words = holding_text(texts, holding);
    match holding {
        Holding::Program(holder) => serde_json::json!({
            "words": words,
            "pid": holder.pid,
            "program": holder.program,
            "user": holder.user,
            "command_line": holder.command_line,
            "unit": holder.unit,
            "container": holder.container.as_ref().map(|container| &container.id),
        }),
        _ => serde_json::json!({"words": words}),
    }
}

/// The protocol as one word.
pub fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn via(via: &Via) -> String {
    match via {
        Via::Listener(listener) => listener.name().to_owned(),
        Via::Proxy(name) => format!("proxy.{name}"),
    }
}

fn address_json(row: &AddressRow, texts: &Texts) -> serde_json::Value {
    serde_json::json!({
        "url": row.url,
        "listener": row.listener,
        "via": row.via,
        "state": row.state,
        "since": row.since,
        "until": row.until,
        "why": match texts.language() {
            Language::Chinese => &row.detail_zh,
            Language::English => &row.detail_en,
        },
        "seen_from": row.vantage,
    })
}
