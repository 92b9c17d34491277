//! Tools: what models and people can have devices and other programs do.
//!
//! A [`Toolroom`] holds what outlives conversations: the MCP servers of the settings, those that have come to the access
//! point, and which devices can be reached. [`Tools`] is what one conversation's model is told of it all.

mod device;
mod idle;
mod metrics;
mod notice;
mod reach;
mod toolbox;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use safeport_store::Program;
use safeport_voice::{Dial, Failure, McpServer, McpSettings, McpState, Stage};
use tokio::sync::watch;

pub use self::device::{DeviceBox, DeviceDriver, NoAnswer, NotSaid, Request, Said, Say, WhyShown};
pub use self::metrics::ToolMetrics;
pub use self::notice::Herald;
pub use self::reach::{NotThere, Post, Presence, Reach, Unsent};
pub use self::toolbox::{Tools, Which};
use super::agents::Agents;
use crate::limits::{ACCESS_POINT_SERVERS, ACCESS_POINT_SERVERS_OF_AGENT};
use crate::token;

/// Knows the agents of the settings.
pub trait AgentDesk: Send + Sync {
    /// Whether there is one with this name.
    fn exists(&self, agent: &str) -> bool;

    /// Providers that cannot do anything, by name, and why.
    fn broken(&self) -> Vec<(String, Failure)> {
        Vec::new()
    }
}

impl AgentDesk for Agents {
    fn exists(&self, agent: &str) -> bool {
        self.named(agent).is_some()
    }

    fn broken(&self) -> Vec<(String, Failure)> {
        Agents::broken(self)
    }
}

/// What tools there are, beside those of a conversation's own device.
pub struct Toolroom {
    /// Who may come to the access point.
    programs: watch::Sender<Arc<[Program]>>,
    /// By their names in the settings.
    servers: Mutex<BTreeMap<String, (McpSettings, Arc<McpServer>)>>,
    /// Servers that have come to the access point, each with its program.
    guests: Mutex<Vec<(Program, Arc<McpServer>)>>,
    reach: Arc<Reach>,
    agents: RwLock<Option<Arc<dyn AgentDesk>>>,
}

impl Toolroom {
    /// Without servers, programs, agents and devices.
    pub fn new() -> Arc<Toolroom> {
        Arc::new(Toolroom {
            programs: watch::Sender::new(Arc::new([])),
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

    /// Servers of the settings that cannot even be tried, by name, and why.
    pub fn unusable(&self) -> Vec<(String, Failure)> {
        let broken = self.agents().map(|agents| agents.broken());
        let mut broken = broken.unwrap_or_default();
        broken.retain(|(_, failure)| failure.stage == Stage::Tool);
        broken
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

    /// The programs that may come to the access point from now on. Who is connected and not among them any more, is not
    /// for long.
    pub fn set_programs(&self, programs: Vec<Program>) {
        self.programs.send_replace(programs.into());
    }

    /// Whose token this is.
    pub fn program_of_token(&self, token: &str) -> Option<Program> {
        let hash = token::hash(token);
        let programs = self.programs.borrow().clone();
        // Compares with every token, so that the time tells nothing of where one stands.
        let found = programs
            .iter()
            .fold(None, |found, program| match program.hash == hash {
                true => Some(program),
                false => found,
            })?;
        self.has_agent(&found.agent).then(|| found.clone())
    }

    /// Returns when this program may not come any more.
    pub async fn removed(&self, program: &Program) {
        let mut programs = self.programs.subscribe();
        let is_gone = |all: &Arc<[Program]>| !all.iter().any(|one| one.hash == program.hash);
        // The sender lives as long as this.
        let _ = programs.wait_for(is_gone).await;
    }

    /// Whether one more server may come to the access point for this agent.
    pub fn has_place(&self, agent: &str) -> bool {
        has_place(&lock(&self.guests), agent)
    }

    /// A server has come to the access point. `false`: there are too many for its agent.
    pub fn join(&self, program: &Program, server: &Arc<McpServer>) -> bool {
        let mut guests = lock(&self.guests);
        let room = has_place(&guests, &program.agent);
        if room {
            guests.push((program.clone(), server.clone()));
        }
        room
    }

    /// How often this program is connected.
    pub fn connections(&self, program: &Program) -> usize {
        let guests = lock(&self.guests);
        let of_program = guests.iter();
        of_program
            .filter(|(guest, _)| guest.hash == program.hash)
            .count()
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
            .filter(|(program, _)| agent.is_none_or(|agent| program.agent == agent))
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

fn has_place(guests: &[(Program, Arc<McpServer>)], agent: &str) -> bool {
    let of_agent = guests.iter();
    let of_agent = of_agent
        .filter(|(program, _)| program.agent == agent)
        .count();
    guests.len() < ACCESS_POINT_SERVERS && of_agent < ACCESS_POINT_SERVERS_OF_AGENT
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
