//! Agents: which there are, and how the servers of their tools stand.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::shown::agents::{server_json, servers_of, unusable_json};

impl Desk<'_> {
    /// All of the settings, by name.
    pub(super) fn agents(&mut self) -> Result<Answer, Refusal> {
        let settings = self.read()?.settings;
        let room = self.toolroom()?;
        let states: HashMap<_, _> = room.servers().into_iter().collect();
        let unusable: HashMap<_, _> = room.unusable().into_iter().collect();
        let agents = settings.agent.iter().map(|agent| {
            let servers = servers_of(agent, &settings.provider).map(|provider| {
                let state = states.get(&provider.name);
                match (state, unusable.get(&provider.name)) {
                    (None, Some(failure)) => unusable_json(provider, failure, self.texts),
                    (state, _) => server_json(provider, state, self.texts),
                }
            });
            json!({
                "name": agent.name,
                "recognizer": agent.recognizer,
                "model": agent.model,
                "voice": agent.voice,
                "vision": agent.vision,
                "language": agent.language,
                "recordings_s": agent.recordings.as_secs(),
                "servers": servers.collect::<Vec<Value>>(),
                "programs": room.guests(Some(&agent.name)).len(),
            })
        });
        let agents: Vec<Value> = agents.collect();
        Ok(Answer::ok(json!({"agents": agents})))
    }
}
