//! Agents: which there are, and how the servers of their tools stand.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::shown::agents::{agent_json, server_json, servers_of, unusable_json};

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
            let mut shown = agent_json(agent);
            shown["servers"] = servers.collect::<Vec<Value>>().into();
            shown["programs"] = room.guests(Some(&agent.name)).len().into();
            shown
        });
        let agents: Vec<Value> = agents.collect();
        Ok(Answer::ok(json!({"agents": agents})))
    }
}
