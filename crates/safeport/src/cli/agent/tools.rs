//! The tools of an agent that is tried: its servers are connected to for as long as it lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use safeport_settings::{Agent, Settings};
use safeport_voice::{ChatMessage, Failure as ProviderFailure, McpState};
use serde_json::{Value, json};

use crate::console::Console;
use crate::limits::{TRY_CALL_SHOWN, TRY_TOOLS};
use crate::say;
use crate::serve::voice::agents::Agents;
use crate::serve::voice::tools::{Toolroom, Tools, Which};
use crate::shown::agents::servers_of;

/// What the model may call.
pub(super) struct TriedTools {
    /// Keeps the connections.
    room: Arc<Toolroom>,
    pub(super) tools: Arc<Tools>,
    pub(super) failures: Vec<ProviderFailure>,
}

impl TriedTools {
    /// Connects to the servers of this agent, and waits until each has told its tools or failed. To be called on the
    /// runtime.
    pub(super) async fn connect(
        agents: &Agents,
        agent: &Agent,
        settings: &Settings,
        console: &Console,
    ) -> TriedTools {
        let room = Toolroom::new();
        let names: Vec<&str> = servers_of(agent, &settings.provider)
            .map(|provider| &*provider.name)
            .collect();
        let mut wanted = agents.servers();
        wanted.retain(|server| names.contains(&&*server.name));
        let mut failures: Vec<ProviderFailure> =
            agents.broken().into_iter().map(|(_, it)| it).collect();
        failures.retain(|failure| names.contains(&&*failure.provider));
        match agents.dial(settings) {
            Ok(dial) => room.set_servers(wanted, &dial),
            Err(error) => console.talk(&error),
        }
        let until = Instant::now() + TRY_TOOLS;
        let is_coming = |room: &Toolroom| {
            let states = room.servers();
            states
                .iter()
                .any(|(_, state)| *state == McpState::Connecting)
        };
        while is_coming(&room) && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let broken = room
            .servers()
            .into_iter()
            .filter_map(|(_, state)| match state {
                McpState::Broken { failure, .. } => Some(failure),
                _ => None,
            });
        failures.extend(broken);
        let tools = room.tools_for(&agent.name, None, Which::from_settings(&agent.tools));
        TriedTools {
            room,
            tools,
            failures,
        }
    }

    /// Those that were connected to, with how many tools they have.
    pub(super) fn servers(&self) -> Vec<Value> {
        let servers = self.room.servers();
        let shown = servers.into_iter().map(|(name, state)| {
            let tools = match state {
                McpState::Ready { tools, .. } => Some(tools),
                _ => None,
            };
            json!({"name": name, "tools": tools})
        });
        shown.collect()
    }
}

/// The calls of a turn, with what was answered, in their order.
pub(super) fn calls(messages: &[ChatMessage]) -> Vec<Value> {
    let answer_of = |id: &str| {
        messages.iter().find_map(|message| match message {
            ChatMessage::Tool { call, text } if call == id => Some(text.as_str()),
            _ => None,
        })
    };
    let calls = messages.iter().filter_map(|message| match message {
        ChatMessage::Assistant { calls, .. } => Some(calls),
        _ => None,
    });
    let shown = calls.flatten().map(|call| {
        let arguments = serde_json::from_str::<Value>(&call.arguments);
        json!({
            "tool": call.name,
            "arguments": arguments.unwrap_or_else(|_| json!(call.arguments)),
            "answer": answer_of(&call.id),
        })
    });
    shown.collect()
}

/// A call ([`calls`]) in one line.
pub(super) fn call_line(call: &Value, console: &Console) -> String {
    let short = |text: String| match text.chars().count() > TRY_CALL_SHOWN {
        true => text.chars().take(TRY_CALL_SHOWN).collect::<String>() + "…",
        false => text,
    };
    let answer = call["answer"].as_str().unwrap_or_default();
    say!(
        console.texts,
        "agent-called",
        tool = call["tool"].as_str().unwrap_or_default(),
        arguments = short(call["arguments"].to_string()),
        answer = short(answer.replace('\n', " "))
    )
}
