//! Tools of other programs, by the Model Context Protocol, of which we are the client.
//!
//! A server is connected to as long as it is wanted, not once for each conversation: it takes a moment to start, and a
//! turn waits for nothing that it does not call. One that fails is left out of what models are told and tried again,
//! later each time. The protocol itself is the official SDK's.

mod over;
mod process;
mod session;
mod shared;
mod texts;

use std::sync::Arc;
use std::time::Duration;

use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::over::{Over, Secrets};
use self::process::Process;
use self::session::Session;
pub use self::shared::McpState;
use self::shared::Shared;
use self::texts::Lines;
use crate::dial::Dial;
use crate::limits::{MCP_FIRST_PAUSE, MCP_LONGEST_PAUSE, MCP_MESSAGE_BYTES, MCP_STABLE, MCP_TEXTS};
use crate::provider::{Failure, FailureKind, Job, ToolCall, ToolSpec, Toolbox};

/// One server that is to be connected to.
#[derive(Clone, PartialEq, Eq)]
pub struct McpSettings {
    /// The provider's name in the settings.
    pub name: String,
    /// How it is reached.
    pub way: McpWay,
    /// Longest wait for the answer to one call.
    pub timeout: Duration,
}

/// How a server is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum McpWay {
    /// A program of this machine that speaks by its standard input and output.
    Command {
        /// The program, by path or as found in `PATH`, and its arguments; no shell is between.
        command: Vec<String>,
        /// Variables that it gets beside those that every program needs.
        env: Vec<(String, String)>,
    },
    /// A server by streamable HTTP.
    Http {
        /// Its whole address.
        url: String,
        /// Sent as a bearer token.
        key: Option<String>,
    },
}

impl std::fmt::Debug for McpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and variables stay out of logs.
        let way = match &self.way {
            McpWay::Command { command, .. } => command.first().map_or("", String::as_str),
            McpWay::Http { url, .. } => url,
        };
        f.debug_struct("McpSettings")
            .field("name", &self.name)
            .field("way", &way)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A server and its tools. When it is dropped the connection ends, and the program with it.
#[derive(Debug)]
pub struct McpServer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl McpServer {
    /// Connects, and keeps at it. To be called on the runtime; returns at once.
    pub fn start(settings: McpSettings, dial: &Dial) -> McpServer {
        let secrets = Secrets::of(&settings.way);
        let shared = Arc::new(Shared::new(&settings.name, settings.timeout, secrets));
        let task = tokio::spawn(keep(shared.clone(), settings.way, dial.http.clone()));
        McpServer { shared, task }
    }

    /// Talks with a server that has come to us, by texts of one message each: what it says comes out of `incoming`, what
    /// it is to be sent goes into `outgoing`. When `incoming` ends, or the server breaks the rules, it is over.
    pub fn attach(
        name: &str,
        timeout: Duration,
        incoming: mpsc::Receiver<String>,
        outgoing: mpsc::Sender<String>,
    ) -> McpServer {
        let shared = Arc::new(Shared::new(name, timeout, Secrets::default()));
        let kept = shared.clone();
        let task = tokio::spawn(async move {
            let over = Session::run(&kept, Lines::new(incoming, outgoing)).await;
            kept.broke(over);
        });
        McpServer { shared, task }
    }

    /// How many messages the channels of [`McpServer::attach`] should hold.
    pub const TEXTS: usize = MCP_TEXTS;

    /// As in the settings.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// How it stands.
    pub fn state(&self) -> McpState {
        self.shared.state()
    }

    /// Returns when nothing more is done about this server: one that came to us has gone.
    pub async fn ended(&mut self) {
        let _ = (&mut self.task).await;
    }

    /// Its tools as it describes them, for who speaks the protocol itself.
    pub fn described(&self) -> Vec<Value> {
        self.shared.described()
    }

    /// Calls a tool by the server's own name for it; the answer is the `result` of the protocol.
    ///
    /// # Errors
    /// The server is not there, refuses, or takes too long.
    pub async fn call_by_own_name(
        &self,
        name: &str,
        arguments: Map<String, Value>,
    ) -> Result<Value, Failure> {
        let result = self.shared.call(name.to_owned(), arguments).await?;
        Ok(serde_json::to_value(result).unwrap_or_default())
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.task.abort();
        let why = "it is not wanted any more";
        self.shared.broke(Over::new(FailureKind::Broken, why));
    }
}

impl Toolbox for McpServer {
    fn tools(&self) -> Vec<ToolSpec> {
        self.shared.specs()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> Job<'a, String> {
        Box::pin(self.shared.call_for_model(call))
    }
}

/// Connects again and again, later each time it fails.
async fn keep(shared: Arc<Shared>, way: McpWay, http: reqwest::Client) {
    let mut pause = MCP_FIRST_PAUSE;
    loop {
        let since = Instant::now();
        let over = connect(&shared, &way, &http).await;
        let failure = shared.broke(over);
        tracing::warn!(
            target: "safeport::voice",
            server = shared.name(),
            "the MCP server cannot be used; it is tried again in {} s: {}",
            pause.as_secs(), failure.detail
        );
        if since.elapsed() >= MCP_STABLE {
            pause = MCP_FIRST_PAUSE;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MCP_LONGEST_PAUSE);
    }
}

/// One connection; returns why it is over.
async fn connect(shared: &Arc<Shared>, way: &McpWay, http: &reqwest::Client) -> Over {
    match way {
        McpWay::Command { command, env } => {
            let mut process = match Process::start(command, env) {
                Ok(process) => process,
                Err(why) => return Over::new(FailureKind::Missing, why),
            };
            let Some((output, input)) = process.pipes() else {
                return Over::new(FailureKind::Broken, "the program came without pipes");
            };
            let transport =
                AsyncRwTransport::new(output, input).with_max_line_length(MCP_MESSAGE_BYTES);
            let over = tokio::select! {
                over = Session::run(shared, transport) => over,
                () = process.listen() => Over::new(FailureKind::Broken, "the program ended"),
            };
            process.end(over).await
        }
        McpWay::Http { url, key } => {
            let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str())
                .max_sse_event_size(MCP_MESSAGE_BYTES)
                .max_json_response_size(MCP_MESSAGE_BYTES);
            if let Some(key) = key {
                config = config.auth_header(key.as_str());
            }
            let transport = StreamableHttpClientTransport::with_client(http.clone(), config);
            Session::run(shared, transport).await
        }
    }
}

#[cfg(test)]
mod tests;
