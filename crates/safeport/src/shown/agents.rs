//! Agents and what stands behind them, as `agent list`, `agent try` and the API show it.

use std::time::{SystemTime, UNIX_EPOCH};

use safeport_settings::{Agent, Provider, ProviderKind, ToolSource};
use safeport_voice::{Failure, FailureKind, McpState, Stage};
use serde_json::{Value, json};

use crate::say;
use crate::serve::voice::agents::{kind_word, stage_word};
use crate::text::Texts;
use crate::time::stamp;

/// What the settings say of an agent.
pub fn agent_json(agent: &Agent) -> Value {
    json!({
        "name": agent.name,
        "recognizer": agent.recognizer,
        "model": agent.model,
        "voice": agent.voice,
        "vision": agent.vision,
        "language": agent.language,
        "recordings_s": agent.recordings.as_secs(),
    })
}

/// The servers of tools that an agent has, in the order of the settings.
pub fn servers_of<'a>(
    agent: &'a Agent,
    providers: &'a [Provider],
) -> impl Iterator<Item = &'a Provider> {
    let all = agent.tools.contains(&ToolSource::All);
    let names = |provider: &Provider| {
        let is_it = |source: &ToolSource| matches!(source, ToolSource::Provider(name) if *name == provider.name);
        agent.tools.iter().any(is_it)
    };
    providers
        .iter()
        .filter(move |provider| provider.kind == ProviderKind::Mcp && (all || names(provider)))
}

/// A server of tools and how it stands; `None`: nobody knows, no server of ours runs.
pub fn server_json(provider: &Provider, state: Option<&McpState>, texts: &Texts) -> Value {
    let (word, since) = match state {
        None => ("unknown", None),
        Some(McpState::Connecting) => ("connecting", None),
        Some(McpState::Ready { since, .. }) => ("ready", Some(*since)),
        Some(McpState::Broken { since, .. }) => ("broken", Some(*since)),
    };
    let (tools, complete) = match state {
        Some(McpState::Ready {
            tools, complete, ..
        }) => (Some(*tools), Some(*complete)),
        _ => (None, None),
    };
    let failure = match state {
        Some(McpState::Broken { failure, .. }) => Some(broken_json(provider, failure, texts)),
        _ => None,
    };
    json!({
        "name": provider.name,
        "state": word,
        "since": since.map(seconds),
        "tools": tools,
        "complete": complete,
        "failure": failure,
    })
}

/// The same for one that cannot be tried at all.
pub fn unusable_json(provider: &Provider, failure: &Failure, texts: &Texts) -> Value {
    let mut server = server_json(provider, None, texts);
    server["state"] = json!("broken");
    server["failure"] = broken_json(provider, failure, texts);
    server
}

fn broken_json(provider: &Provider, failure: &Failure, texts: &Texts) -> Value {
    let mut shown = failure_json(failure);
    let is_program = !provider.command.is_empty();
    shown["what"] = json!(headline(failure, texts));
    shown["next"] = json!(match is_program {
        true => say!(texts, "provider-next-program", name = provider.name),
        false => next(failure, texts),
    });
    shown
}

/// A server of tools ([`server_json`]) in one line.
pub fn server_line(server: &Value, texts: &Texts) -> String {
    let name = server["name"].as_str().unwrap_or_default();
    let since = server["since"].as_u64().map(stamp);
    let state = match (server["state"].as_str(), since) {
        (Some("ready"), Some(since)) => {
            let tools = server["tools"].as_u64().unwrap_or_default();
            let mut line = say!(texts, "tool-server-ready", tools = tools, since = since);
            if server["complete"] == false {
                line.push_str(&say!(texts, "tool-server-incomplete"));
            }
            line
        }
        (Some("broken"), Some(since)) => say!(texts, "tool-server-broken", since = since),
        (Some("broken"), None) => say!(texts, "tool-server-unusable"),
        (Some("connecting"), _) => say!(texts, "tool-server-connecting"),
        _ => say!(texts, "tool-server-unknown"),
    };
    format!("{name} (mcp)  {state}")
}

/// Why a server of tools ([`server_json`]) is broken, in lines of its own; `None`: it is not.
pub fn server_trouble(server: &Value) -> Option<String> {
    let failure = server["failure"].as_object()?;
    let text = |key: &str| failure[key].as_str().unwrap_or_default();
    Some(format!(
        "{}\n  {}\n  {}",
        text("what"),
        text("detail"),
        text("next")
    ))
}

/// What failed, for programs.
pub fn failure_json(failure: &Failure) -> Value {
    json!({
        "provider": &*failure.provider,
        "stage": stage_word(failure.stage),
        "kind": kind_word(failure.kind),
        "detail": &*failure.detail,
    })
}

/// A failure in lines of its own.
pub fn told(failure: &Failure, texts: &Texts) -> String {
    format!(
        "{}\n  {}\n  {}",
        headline(failure, texts),
        failure.detail,
        next(failure, texts)
    )
}

/// On which layer, who, and what.
pub fn headline(failure: &Failure, texts: &Texts) -> String {
    let who = match failure.stage {
        Stage::Recognizer => say!(texts, "provider-recognizer"),
        Stage::Model => say!(texts, "provider-model"),
        Stage::Tool => say!(texts, "provider-tools"),
        Stage::Synthesizer => say!(texts, "provider-voice"),
        Stage::Eye => say!(texts, "provider-vision"),
    };
    let what = match failure.kind {
        FailureKind::Unreachable => say!(texts, "provider-unreachable"),
        FailureKind::TimedOut => say!(texts, "provider-timed-out"),
        FailureKind::NotAllowed => say!(texts, "provider-not-allowed"),
        FailureKind::Exhausted => say!(texts, "provider-exhausted"),
        FailureKind::Refused => say!(texts, "provider-refused"),
        FailureKind::Failed => say!(texts, "provider-failed-inside"),
        FailureKind::Broken => say!(texts, "provider-broken"),
        FailureKind::Misunderstood => say!(texts, "provider-misunderstood"),
        FailureKind::Missing => say!(texts, "provider-missing"),
    };
    let provider = &failure.provider;
    say!(
        texts,
        "provider-failed",
        who = who,
        provider = provider,
        what = what
    )
}

/// What to do next.
pub fn next(failure: &Failure, texts: &Texts) -> String {
    let name = &failure.provider;
    match failure.kind {
        FailureKind::Unreachable => say!(texts, "provider-next-unreachable", name = name),
        FailureKind::TimedOut if failure.stage == Stage::Tool => {
            say!(texts, "provider-next-timed-out-tools", name = name)
        }
        FailureKind::TimedOut => say!(texts, "provider-next-timed-out", name = name),
        FailureKind::NotAllowed => say!(texts, "provider-next-not-allowed", name = name),
        FailureKind::Exhausted => say!(texts, "provider-next-exhausted"),
        FailureKind::Refused if failure.stage == Stage::Tool => {
            say!(texts, "provider-next-refused-tools", name = name)
        }
        FailureKind::Refused if failure.stage == Stage::Synthesizer => {
            say!(texts, "provider-next-refused-voice", name = name)
        }
        FailureKind::Refused => say!(texts, "provider-next-refused", name = name),
        FailureKind::Failed | FailureKind::Broken => say!(texts, "provider-next-failed"),
        FailureKind::Misunderstood => say!(texts, "provider-next-misunderstood", name = name),
        FailureKind::Missing => say!(texts, "provider-next-missing", name = name),
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
