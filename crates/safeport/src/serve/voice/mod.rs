//! Talks with xiaozhi devices.
//!
//! A `Conversation` is one session without its transport: what the device says goes in, what it is
//! to be sent comes out. The drivers ([`websocket`], [`mqtt`]) carry both, and time.

pub mod agents;
mod answer;
mod conversation;
mod echo;
mod guests;
pub mod history;
mod lobby;
pub mod mqtt;
mod notices;
mod recording;
mod talks;
pub mod tools;
mod udp;
pub mod websocket;

use std::sync::Arc;
use std::time::Instant;

use safeport_settings::Settings;
use safeport_store::ManagedRow;
use safeport_xiaozhi::Time;
use tokio::runtime::Handle;

use self::agents::Agents;
use self::guests::Guests;
pub use self::guests::Seat;
use self::history::History;
pub use self::lobby::Lobby;
pub use self::notices::{NOTICE_PATH, Notices};
use self::talks::Talks;
use self::tools::Toolroom;
pub use self::udp::Lines;
use crate::serve::xiaozhi::Guest;
use crate::text::{Language, Texts};

/// What conversations are made from.
pub struct Voice {
    started: Instant,
    /// Where agents think: a conversation may be carried by another.
    runtime: Handle,
    guests: Arc<Guests>,
    texts: Arc<Texts>,
    agents: Arc<Agents>,
    talks: Talks,
    toolroom: Arc<Toolroom>,
    history: Arc<History>,
    notices: Arc<Notices>,
}

impl Voice {
    /// Nobody talks yet. What agents do for conversations is done
    /// on the current runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(language: Language) -> Voice {
        let agents = Arc::new(Agents::new(language));
        let toolroom = Toolroom::new();
        toolroom.set_agents(agents.clone());
        Voice {
            started: Instant::now(),
            runtime: Handle::current(),
            guests: Arc::default(),
            texts: Arc::new(Texts::new(language)),
            agents,
            talks: Talks::default(),
            toolroom,
            history: Arc::default(),
            notices: Arc::default(),
        }
    }

    /// Takes these settings: conversations that begin from now on have them. To be called on the
    /// runtime.
    pub fn set_settings(&self, settings: &Settings, managed: &[ManagedRow]) {
        let known = self.agents.recording();
        self.agents.set_settings(settings, managed);
        for (agent, keep) in self.agents.recording() {
            if known.get(&agent) != Some(&keep) {
                // Whoever runs the server answers for it.
                tracing::warn!(
                    target: "safeport::voice",
                    agent, seconds = keep.as_secs(),
                    "this agent keeps the sound of what is said to it and of what it says: tell those who talk"
                );
            }
        }
        let servers = self.agents.servers();
        if servers.is_empty() && self.toolroom.servers().is_empty() {
            return;
        }
        match self.agents.dial(settings) {
            Ok(dial) => self.toolroom.set_servers(servers, &dial),
            Err(error) => tracing::error!(
                target: "safeport::voice",
                "servers of tools stay as they are, TLS cannot be set up: {error}"
            ),
        }
    }

    /// Who answers.
    pub fn agents(&self) -> &Arc<Agents> {
        &self.agents
    }

    /// Who notes what was said.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Speech that idle devices fetch.
    pub fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// Which tools there are.
    pub fn toolroom(&self) -> &Arc<Toolroom> {
        &self.toolroom
    }

    /// A seat for this device; the conversation that it may still have elsewhere ends.
    pub fn enter(&self, guest: &Guest) -> Seat {
        self.guests.enter(&guest.name)
    }

    /// Ends the conversation of a device that was forgotten, or whose login was changed, and forgets
    /// what was said.
    pub fn disconnect(&self, name: &str) {
        self.guests.end(name);
        self.talks.forget(name);
    }

    /// Ends every conversation: the server stops.
    pub fn disconnect_all(&self) {
        self.guests.end_all();
    }

    /// Conversations that are open.
    pub fn open(&self) -> usize {
        self.guests.len()
    }

    fn now(&self) -> Time {
        Time(self.started.elapsed().as_millis() as u64)
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice")
            .field("open", &self.guests.len())
            .finish_non_exhaustive()
    }
}
