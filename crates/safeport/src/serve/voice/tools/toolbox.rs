//! The tools of one conversation as a model sees them: the device's, those of servers, and our own.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use safeport_settings::ToolSource;
use safeport_voice::{Failure, FailureKind, Job, McpServer, Stage, ToolCall, ToolSpec, Toolbox};
use serde_json::json;

use super::Toolroom;
use super::device::DeviceBox;
use crate::limits::{TOOLS, TOOLS_BYTES};

/// Which tools an agent has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// All that there are.
    All,
    /// Only these; none at all if this names none.
    These {
        /// Those of the device.
        device: bool,
        /// Those of servers with these names in the settings.
        servers: Vec<String>,
    },
}

impl Which {
    /// As an agent's settings say.
    pub fn from_settings(sources: &[ToolSource]) -> Which {
        if sources.contains(&ToolSource::All) {
            return Which::All;
        }
        let servers = sources.iter().filter_map(|source| match source {
            ToolSource::Provider(name) => Some(name.clone()),
            ToolSource::All | ToolSource::Device => None,
        });
        Which::These {
            device: sources.contains(&ToolSource::Device),
            servers: servers.collect(),
        }
    }

    fn device(&self) -> bool {
        matches!(self, Which::All | Which::These { device: true, .. })
    }

    fn server(&self, name: &str) -> bool {
        match self {
            Which::All => true,
            Which::These { servers, .. } => servers.iter().any(|server| server == name),
        }
    }

    fn is_none(&self) -> bool {
        matches!(self, Which::These { device: false, servers } if servers.is_empty())
    }
}

/// The tools of one conversation. What a server has is looked up each time, so one that comes or goes does so for the next
/// turn.
pub struct Tools {
    room: Arc<Toolroom>,
    agent: Box<str>,
    which: Which,
    device: Option<DeviceBox>,
    wants_to_end: AtomicBool,
    /// Who was meant by which name when the model was told.
    told: Mutex<Arc<[Told]>>,
}

struct Told {
    name: String,
    /// The name at whoever has it.
    own: String,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    Us,
    Device(DeviceBox),
    Server(Arc<McpServer>),
}

impl Tools {
    pub(super) fn new(
        room: Arc<Toolroom>,
        agent: &str,
        which: Which,
        device: Option<DeviceBox>,
    ) -> Tools {
        Tools {
            room,
            agent: agent.into(),
            device: device.filter(|_| which.device()),
            which,
            wants_to_end: AtomicBool::new(false),
            told: Mutex::new(Arc::new([])),
        }
    }

    /// Whether the model has said that the conversation is over: it ends behind the answer that is being given.
    pub fn wants_to_end(&self) -> bool {
        self.wants_to_end.load(Ordering::Relaxed)
    }

    /// Where tools come from, first those that lose their place last.
    fn sources(&self) -> Vec<(String, Owner, Vec<ToolSpec>)> {
        if self.which.is_none() {
            return Vec::new();
        }
        let mut sources = vec![("safeport".to_owned(), Owner::Us, vec![end_conversation()])];
        if let Some(device) = &self.device {
            let tools = device.tools();
            sources.push(("device".to_owned(), Owner::Device(device.clone()), tools));
        }
        for server in self.room.servers_of(&self.agent, &self.which) {
            let tools = server.tools();
            sources.push((server.name().to_owned(), Owner::Server(server), tools));
        }
        sources
    }

    async fn call_one(&self, call: &ToolCall) -> Result<String, Failure> {
        let told = {
            let told = self.told.lock();
            told.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let Some(Told { own, owner, .. }) = told.iter().find(|told| told.name == call.name) else {
            return Err(Failure {
                stage: Stage::Tool,
                provider: "safeport".into(),
                kind: FailureKind::Missing,
                detail: format!("there is no tool {}", call.name).into(),
            });
        };
        let call = ToolCall {
            name: own.clone(),
            ..call.clone()
        };
        match owner {
            Owner::Us => {
                self.wants_to_end.store(true, Ordering::Relaxed);
                Ok(
                    "The conversation ends when you have spoken. Say goodbye in a few words."
                        .into(),
                )
            }
            Owner::Device(device) => device.call(&call).await,
            Owner::Server(server) => server.call(&call).await,
        }
    }
}

impl Toolbox for Tools {
    fn tools(&self) -> Vec<ToolSpec> {
        let mut specs = Vec::new();
        let mut told = Vec::new();
        let mut taken = HashSet::new();
        let mut bytes = 0;
        for (source, owner, tools) in self.sources() {
            for mut tool in tools {
                let size =
                    tool.name.len() + tool.description.len() + tool.parameters.to_string().len();
                if specs.len() >= TOOLS || bytes + size > TOOLS_BYTES {
                    continue;
                }
                bytes += size;
                let own = tool.name;
                tool.name = free_name(&source, &own, &mut taken);
                told.push(Told {
                    name: tool.name.clone(),
                    own,
                    owner: owner.clone(),
                });
                specs.push(tool);
            }
        }
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told.into();
        specs
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> Job<'a, String> {
        Box::pin(self.call_one(call))
    }
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools")
            .field("agent", &self.agent)
            .field("which", &self.which)
            .finish_non_exhaustive()
    }
}

impl Which {
    /// Those of `servers` that belong to it.
    pub(super) fn of<'a>(
        &'a self,
        servers: impl Iterator<Item = &'a Arc<McpServer>> + 'a,
    ) -> impl Iterator<Item = Arc<McpServer>> + 'a {
        servers.filter(|server| self.server(server.name())).cloned()
    }
}

/// The tool by which a model ends the conversation.
fn end_conversation() -> ToolSpec {
    ToolSpec {
        name: "end_conversation".to_owned(),
        description: "Ends this conversation. Call it when the user says goodbye or wants you to \
                      stop listening."
            .to_owned(),
        parameters: json!({"type": "object", "properties": {}}),
    }
}

/// `own`, or with the name of its source before it where that is taken, or with a number behind it.
fn free_name(source: &str, own: &str, taken: &mut HashSet<String>) -> String {
    let fitting = |name: &str, room: usize| name.chars().take(room).collect::<String>();
    let qualified = fitting(&format!("{source}_{own}"), MODEL_NAME);
    let numbered = (2..).map(|number: u32| {
        let tail = format!("_{number}");
        fitting(&qualified, MODEL_NAME - tail.len()) + &tail
    });
    let mut names = [own.to_owned(), qualified.clone()]
        .into_iter()
        .chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// Longest name that a model is told ([`ToolSpec::name`]).
const MODEL_NAME: usize = 64;
