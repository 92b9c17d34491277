//! Tools: what models and people can have devices and other programs do.
//!
//! A [`Toolroom`] holds what outlives conversations: the MCP servers of the settings, those that have come to the access
//! point, and which devices can be reached. [`Tools`] is what one conversation's model is told of it all.

mod device;
mod idle;
mod reach;
mod toolbox;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use blake2::Blake2sMac256;
use blake2::digest::{KeyInit, Mac};
use safeport_voice::{Dial, McpServer, McpSettings, McpState};

pub use self::device::{DeviceBox, DeviceDriver, NoAnswer, NotSaid, Request, Say};
pub use self::reach::{NotThere, Post, Presence, Reach, Unsent};
pub use self::toolbox::{Tools, Which};
use super::agents::Agents;
use crate::limits::{ACCESS_POINT_SERVERS, ACCESS_POINT_SERVERS_OF_AGENT};

/// Knows the agents of the settings.
pub trait AgentDesk: Send + Sync {
    /// Whether there is one with this name.
    fn exists(&self, agent: &str) -> bool;
}

impl AgentDesk for Agents {
    fn exists(&self, agent: &str) -> bool {
        self.named(agent).is_some()
    }
}

/// What tools there are, beside those of a conversation's own device.
pub struct Toolroom {
    key: [u8; 32],
    /// By their names in the settings.
    servers: Mutex<BTreeMap<String, (McpSettings, Arc<McpServer>)>>,
    /// Servers that have come to the access point, with their agents.
    guests: Mutex<Vec<(Box<str>, Arc<McpServer>)>>,
    reach: Arc<Reach>,
    agents: RwLock<Option<Arc<dyn AgentDesk>>>,
}

impl Toolroom {
    /// Without servers, agents and devices. Tokens of the access point are made of `instance_key`.
    pub fn new(instance_key: &[u8; 32]) -> Arc<Toolroom> {
        let mut mac = Blake2sMac256::new(instance_key.into());
        mac.update(b"derived:access point");
        Arc::new(Toolroom {
            key: mac.finalize().into_bytes().into(),
            servers: Mutex::default(),
            guests: Mutex::default(),
            reach: Arc::default(),
            agents: RwLock::default(),
        })
    }

    /// The servers of the settings from now on. Those that are as before stay connected. To be called on the runtime.
    pub fn set_servers(&self, wanted: Vec<McpSettings>, dial: &Dial) {
        let mut servers = lock(&self.servers);
        let mut before = std::mem::take(&mut *servers);
        for settings in wanted {
            let name = settings.name.clone();
            let kept = before.remove(&name).filter(|(old, _)| *old == settings);
            let entry = kept.unwrap_or_else(|| {
                let server = McpServer::start(settings.clone(), dial);
                (settings, Arc::new(server))
            });
            servers.insert(name, entry);
        }
    }

    /// How the servers of the settings stand, by name.
    pub fn servers(&self) -> Vec<(String, McpState)> {
        let servers = lock(&self.servers);
        let states = servers.iter();
        states
            .map(|(name, (_, server))| (name.clone(), server.state()))
            .collect()
    }

    /// What the model of one conversation is told. `device`: the handle of its driver.
    pub fn tools_for(
        self: &Arc<Toolroom>,
        agent: &str,
        device: Option<DeviceBox>,
        which: Which,
    ) -> Arc<Tools> {
        Arc::new(Tools::new(self.clone(), agent, which, device))
    }

    /// Which devices can be asked for something.
    pub fn reach(&self) -> &Arc<Reach> {
        &self.reach
    }

    /// Who knows the agents; before the first call there are none.
    pub fn set_agents(&self, agents: Arc<dyn AgentDesk>) {
        *self.agents.write().unwrap_or_else(PoisonError::into_inner) = Some(agents);
    }

    /// Whether an agent has this name.
    pub fn has_agent(&self, agent: &str) -> bool {
        self.agents().is_some_and(|agents| agents.exists(agent))
    }

    /// What a server shows at the access point to give its tools to this agent. It is the same as long as the instance
    /// key is.
    pub fn access_token(&self, agent: &str) -> String {
        let mac = self.access_mac(agent).finalize().into_bytes();
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{agent}.{hex}")
    }

    /// Whose token this is.
    pub fn agent_of_token(&self, token: &str) -> Option<String> {
        let (agent, hex) = token.rsplit_once('.')?;
        if hex.len() != 64 {
            return None;
        }
        let bytes: Option<Vec<u8>> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
            .collect();
        let is_ours = self.access_mac(agent).verify_slice(&bytes?).is_ok();
        (is_ours && self.has_agent(agent)).then(|| agent.to_owned())
    }

    /// Whether one more server may come to the access point for this agent.
    pub fn has_place(&self, agent: &str) -> bool {
        has_place(&lock(&self.guests), agent)
    }

    /// A server has come to the access point for this agent. `false`: there are too many.
    pub fn join(&self, agent: &str, server: &Arc<McpServer>) -> bool {
        let mut guests = lock(&self.guests);
        let room = has_place(&guests, agent);
        if room {
            guests.push((agent.into(), server.clone()));
        }
        room
    }

    /// It has gone.
    pub fn leave(&self, server: &Arc<McpServer>) {
        lock(&self.guests).retain(|(_, guest)| !Arc::ptr_eq(guest, server));
    }

    /// Those that have come to the access point: for this agent, or all.
    pub fn guests(&self, agent: Option<&str>) -> Vec<Arc<McpServer>> {
        let guests = lock(&self.guests);
        let of_agent = guests.iter();
        of_agent
            .filter(|(of, _)| agent.is_none_or(|agent| **of == *agent))
            .map(|(_, server)| server.clone())
            .collect()
    }

    /// The servers whose tools an agent has.
    fn servers_of(&self, agent: &str, which: &Which) -> Vec<Arc<McpServer>> {
        let servers = lock(&self.servers);
        let mut of_agent: Vec<_> = which
            .of(servers.values().map(|(_, server)| server))
            .collect();
        drop(servers);
        if *which == Which::All {
            of_agent.extend(self.guests(Some(agent)));
        }
        of_agent
    }

    fn access_mac(&self, agent: &str) -> Blake2sMac256 {
        let mut mac = Blake2sMac256::new((&self.key).into());
        mac.update(agent.as_bytes());
        mac
    }

    fn agents(&self) -> Option<Arc<dyn AgentDesk>> {
        let agents = self.agents.read();
        agents.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl std::fmt::Debug for Toolroom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Toolroom")
            .field("servers", &self.servers())
            .finish_non_exhaustive()
    }
}

fn has_place(guests: &[(Box<str>, Arc<McpServer>)], agent: &str) -> bool {
    let of_agent = guests.iter().filter(|(of, _)| **of == *agent).count();
    guests.len() < ACCESS_POINT_SERVERS && of_agent < ACCESS_POINT_SERVERS_OF_AGENT
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
