//! How the servers of tools stand: the server that runs knows, and is asked.

use std::collections::HashMap;

use safeport_settings::{Agent, Settings};
use safeport_store::DataFolder;
use safeport_voice::Failure as ProviderFailure;
use serde_json::{Value, json};

use super::super::client::Client;
use crate::console::Failure;
use crate::reading::Read;
use crate::shown::agents::{server_json, server_trouble, servers_of, unusable_json};
use crate::text::Texts;

/// The servers of tools as the server that runs on the data folder sees them.
pub(super) struct Servers {
    /// By name; empty where no server runs.
    known: HashMap<String, Value>,
    /// Those that cannot even be tried.
    unusable: Vec<(String, ProviderFailure)>,
    /// Why the server that runs did not tell.
    silent: Option<String>,
}

impl Servers {
    /// Asks the server, if one runs and the settings name servers of tools.
    pub(super) fn ask(read: &Read, broken: &[(String, ProviderFailure)], texts: &Texts) -> Servers {
        let settings = &read.settings;
        let mut of_agents = settings.agent.iter();
        let are_there = of_agents.any(|agent| servers_of(agent, &settings.provider).count() > 0);
        let folder = read.data_folder().filter(|_| are_there);
        let told = match folder.map(DataFolder::open_existing) {
            Some(Ok(Some(folder))) => ask(&folder, texts),
            _ => Ok(json!({})),
        };
        let (told, silent) = match told {
            Ok(told) => (told, None),
            Err(failure) => (json!({}), Some(failure.headline)),
        };
        let known = told["agents"].as_array().into_iter().flatten();
        let known = known.filter_map(|agent| agent["servers"].as_array());
        let known = known.flatten().filter_map(|server| {
            let name = server["name"].as_str()?;
            Some((name.to_owned(), server.clone()))
        });
        Servers {
            known: known.collect(),
            unusable: broken.to_vec(),
            silent,
        }
    }

    /// Those of one agent ([`server_json`]).
    pub(super) fn of(&self, agent: &Agent, settings: &Settings, texts: &Texts) -> Vec<Value> {
        let servers = servers_of(agent, &settings.provider);
        let stands = servers.map(|provider| {
            let known = self.known.get(&provider.name).cloned();
            known.unwrap_or_else(|| {
                let unusable = self.unusable.iter();
                let mut unusable = unusable.filter(|(name, _)| *name == provider.name);
                match unusable.next() {
                    Some((_, failure)) => unusable_json(provider, failure, texts),
                    None => server_json(provider, None, texts),
                }
            })
        });
        stands.collect()
    }

    /// What is wrong with those that do not work, each once, in lines of its own.
    pub(super) fn trouble(&self, settings: &Settings, texts: &Texts) -> Vec<String> {
        let mut told: Vec<String> = self.silent.iter().cloned().collect();
        for agent in &settings.agent {
            for server in self.of(agent, settings, texts) {
                if let Some(trouble) = server_trouble(&server)
                    && !told.contains(&trouble)
                {
                    told.push(trouble);
                }
            }
        }
        told
    }
}

/// What the server of this folder says; nothing if none runs.
fn ask(folder: &DataFolder, texts: &Texts) -> Result<Value, Failure> {
    match Client::local(folder, texts)? {
        Some(client) => client.get("/agents"),
        None => Ok(json!({})),
    }
}
