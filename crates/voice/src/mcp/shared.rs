//! What is known of one server, by whoever calls its tools and by the task that talks with it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Tool as Described,
};
use rmcp::service::{Peer, RoleClient, ServiceError};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::over::{Over, Secrets};
use crate::limits::{
    ARGUMENTS_BYTES, MCP_CALLS, MCP_RESULT_BYTES, MCP_TOOL_BYTES, MCP_TOOLS, MCP_TOOLS_BYTES,
};
use crate::provider::{Failure, FailureKind, Stage, ToolCall, ToolSpec};

/// How a server stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpState {
    /// It was not reached yet.
    Connecting,
    /// Its tools can be called.
    Ready {
        /// How many it has.
        tools: usize,
        /// Whether these are all: some may be too large, or too many.
        complete: bool,
        /// When it was connected.
        since: SystemTime,
    },
    /// It has no tools now, and is tried again.
    Broken {
        /// What happened when it was tried last, never with a key.
        failure: Failure,
        /// When it began not to work.
        since: SystemTime,
    },
}

#[derive(Debug)]
pub(super) struct Shared {
    name: Box<str>,
    timeout: Duration,
    secrets: Secrets,
    now: Mutex<Now>,
    calls: tokio::sync::Semaphore,
}

/// An open connection.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) peer: Peer<RoleClient>,
    /// Told by a call that has found this connection gone; the next one is another.
    pub(super) lost: Arc<Notify>,
}

#[derive(Debug)]
struct Now {
    state: McpState,
    line: Option<Line>,
    tools: Arc<[Known]>,
}

/// A tool, with the name that models call it by.
#[derive(Debug)]
struct Known {
    described: Described,
    spec: ToolSpec,
}

impl Shared {
    pub(super) fn new(name: &str, timeout: Duration, secrets: Secrets) -> Shared {
        Shared {
            name: name.into(),
            timeout,
            secrets,
            now: Mutex::new(Now {
                state: McpState::Connecting,
                line: None,
                tools: Arc::new([]),
            }),
            calls: tokio::sync::Semaphore::new(MCP_CALLS),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn state(&self) -> McpState {
        self.now().state.clone()
    }

    /// These are its tools from now on; `complete`: it has no others.
    pub(super) fn ready(&self, line: Line, listed: Vec<Described>, complete: bool) {
        let (tools, all_fit) = known(listed);
        let mut now = self.now();
        let since = match now.state {
            // A new list over the same connection.
            McpState::Ready { since, .. } => since,
            _ => SystemTime::now(),
        };
        now.state = McpState::Ready {
            tools: tools.len(),
            complete: complete && all_fit,
            since,
        };
        now.line = Some(line);
        now.tools = tools.into();
    }

    /// It has no tools until it is [`Shared::ready`] again. Returns why, as it may be shown.
    pub(super) fn broke(&self, over: Over) -> Failure {
        let mut now = self.now();
        let since = match now.state {
            // It was tried once more.
            McpState::Broken { since, .. } => since,
            _ => SystemTime::now(),
        };
        let failure = self.failure(over.kind, over.why);
        now.state = McpState::Broken {
            failure: failure.clone(),
            since,
        };
        now.line = None;
        now.tools = Arc::new([]);
        failure
    }

    /// Whether a call waits for its answer.
    pub(super) fn is_called(&self) -> bool {
        self.calls.available_permits() < MCP_CALLS
    }

    pub(super) fn specs(&self) -> Vec<ToolSpec> {
        let tools = self.now().tools.clone();
        tools.iter().map(|tool| tool.spec.clone()).collect()
    }

    pub(super) fn described(&self) -> Vec<Value> {
        let tools = self.now().tools.clone();
        let described = tools.iter().map(|tool| &tool.described);
        described
            .filter_map(|tool| serde_json::to_value(tool).ok())
            .collect()
    }

    pub(super) async fn call_for_model(&self, call: &ToolCall) -> Result<String, Failure> {
        let tools = self.now().tools.clone();
        let tool = tools.iter().find(|tool| tool.spec.name == call.name);
        let tool = tool.ok_or_else(|| {
            self.failure(
                FailureKind::Missing,
                format!("it has no tool {} now", call.name),
            )
        })?;
        let arguments = self.arguments(&call.arguments)?;
        let own = tool.described.name.clone().into_owned();
        let result = self.call(own, arguments).await?;
        let text = text_of(&result);
        match result.is_error {
            Some(true) => Err(self.failure(FailureKind::Failed, text)),
            _ => Ok(text),
        }
    }

    fn arguments(&self, text: &str) -> Result<Map<String, Value>, Failure> {
        if text.trim().is_empty() {
            return Ok(Map::new());
        }
        if text.len() > ARGUMENTS_BYTES {
            let why = format!("the arguments are longer than {ARGUMENTS_BYTES} bytes");
            return Err(self.failure(FailureKind::Refused, why));
        }
        serde_json::from_str(text).map_err(|_| {
            let why = "the arguments are no JSON object; give one, such as {}".to_owned();
            self.failure(FailureKind::Refused, why)
        })
    }

    /// Calls a tool by the server's own name for it. A call that is dropped is cancelled there, too.
    pub(super) async fn call(
        &self,
        own: String,
        arguments: Map<String, Value>,
    ) -> Result<CallToolResult, Failure> {
        let Some(line) = self.now().line.clone() else {
            let why = "the server is not connected".to_owned();
            return Err(self.failure(FailureKind::Unreachable, why));
        };
        let Ok(_place) = self.calls.try_acquire() else {
            let why = format!("{MCP_CALLS} calls of it wait already; wait for one of them");
            return Err(self.failure(FailureKind::Exhausted, why));
        };
        let params = CallToolRequestParams::new(own).with_arguments(arguments);
        let answered = tokio::time::timeout(self.timeout, line.peer.call_tool_once(params)).await;
        let answer = answered.map_err(|_| {
            let why = format!("no answer came for {} s", self.timeout.as_secs());
            self.failure(FailureKind::TimedOut, why)
        })?;
        match answer {
            Ok(CallToolResponse::Complete(result)) => Ok(result),
            Ok(_) => {
                let why = "it asks for things that nobody can give it here".to_owned();
                Err(self.failure(FailureKind::Misunderstood, why))
            }
            Err(error) => Err(self.of_service(&error, &line)),
        }
    }

    fn of_service(&self, error: &ServiceError, line: &Line) -> Failure {
        let (kind, why) = match error {
            ServiceError::McpError(error) => {
                (FailureKind::Refused, cut(&error.message, MCP_RESULT_BYTES))
            }
            ServiceError::TransportSend(error) => {
                line.lost.notify_one();
                let over = Over::of_way(error);
                (over.kind, over.why)
            }
            ServiceError::TransportClosed => {
                line.lost.notify_one();
                (FailureKind::Broken, "the connection has ended".to_owned())
            }
            _ => (FailureKind::Misunderstood, error.to_string()),
        };
        self.failure(kind, why)
    }

    fn failure(&self, kind: FailureKind, detail: String) -> Failure {
        Failure {
            stage: Stage::Tool,
            provider: self.name.clone(),
            kind,
            detail: self.secrets.taken_out(detail).into(),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tools of a list that fit, and whether all do.
fn known(listed: Vec<Described>) -> (Vec<Known>, bool) {
    let mut taken = HashSet::new();
    let mut tools: Vec<Known> = Vec::new();
    let mut bytes = 0;
    let mut all = true;
    for tool in listed {
        let mut parameters = Value::Object((*tool.input_schema).clone());
        // Interfaces of models refuse a schema without these.
        parameters["type"] = json!("object");
        if !parameters["properties"].is_object() {
            parameters["properties"] = json!({});
        }
        let description = tool.description.as_deref().or(tool.title.as_deref());
        let description = description.unwrap_or_default().to_owned();
        let size = tool.name.len() + description.len() + parameters.to_string().len();
        let twice = tools.iter().any(|other| other.described.name == tool.name);
        if twice
            || size > MCP_TOOL_BYTES
            || tools.len() >= MCP_TOOLS
            || bytes + size > MCP_TOOLS_BYTES
        {
            all = false;
            continue;
        }
        bytes += size;
        let name = free_name(&tool.name, &mut taken);
        tools.push(Known {
            described: tool,
            spec: ToolSpec {
                name,
                description,
                parameters,
            },
        });
    }
    (tools, all)
}

/// The name as models take it ([`ToolSpec::name`]), unlike those that are taken.
fn free_name(own: &str, taken: &mut HashSet<String>) -> String {
    let letter = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => c,
        _ => '_',
    };
    let plain: String = own.chars().map(letter).take(MODEL_NAME).collect();
    let numbered = (2..).map(|number| {
        let tail = format!("_{number}");
        let head: String = plain.chars().take(MODEL_NAME - tail.len()).collect();
        head + &tail
    });
    let mut names = std::iter::once(plain.clone()).chain(numbered);
    let free = names.find(|name| !taken.contains(name));
    let free = free.unwrap_or_default();
    taken.insert(free.clone());
    free
}

/// Longest name that a model is told.
const MODEL_NAME: usize = 64;

/// An answer as a text for a model; what is no text is named, not shown.
fn text_of(result: &CallToolResult) -> String {
    let mut texts = Vec::new();
    for part in &result.content {
        texts.push(match part {
            ContentBlock::Text(text) => text.text.clone(),
            ContentBlock::Image(image) => format!("[{}]", image.mime_type),
            ContentBlock::Audio(audio) => format!("[{}]", audio.mime_type),
            ContentBlock::Resource(_) | ContentBlock::ResourceLink(_) => "[a file]".to_owned(),
            _ => "[something else]".to_owned(),
        });
    }
    if let (true, Some(structured)) = (texts.is_empty(), &result.structured_content) {
        texts.push(structured.to_string());
    }
    let text = texts.join("\n");
    match text.len() > MCP_RESULT_BYTES {
        true => cut(&text, MCP_RESULT_BYTES) + "\n[the rest was cut off]",
        false => text,
    }
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}
