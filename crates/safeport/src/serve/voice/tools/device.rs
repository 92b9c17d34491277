//! The tools of one device, for as long as it is there: between its messages and those who call.
//!
//! [`DeviceDriver`] lives where the messages are carried; a [`DeviceBox`] can be anywhere. What one asks of the other
//! goes through a short queue.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use safeport_voice::{Failure, FailureKind, Job, Stage, ToolCall, ToolSpec, Toolbox};
use safeport_xiaozhi::{
    CallError, CallId, Caller, DeviceTools, McpEffect, McpHello, Time, ToDevice, Tool, ToolError,
    ToolResult, Vision,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::limits::{SAID_PATIENCE, TOOL_ANSWER, TOOL_REQUESTS};

/// Carries what is asked of a device's tools to it, and the answers back. It has no clock and no socket.
#[derive(Debug)]
pub struct DeviceDriver {
    tools: DeviceTools,
    session_id: Option<Box<str>>,
    requests: mpsc::Receiver<Request>,
    listed: watch::Sender<Listed>,
    waiting: Vec<(CallId, oneshot::Sender<Result<ToolResult, NoAnswer>>)>,
    /// What is told to those who ask while the device was not asked.
    started: bool,
    handle: DeviceBox,
}

/// Something that is asked of a device; [`DeviceDriver::take`] takes it.
#[derive(Debug)]
pub struct Request(Box<Wish>);

#[derive(Debug)]
enum Wish {
    Call {
        caller: Caller,
        tool: String,
        arguments: String,
        answer: oneshot::Sender<Result<ToolResult, NoAnswer>>,
    },
    Say(Say),
}

/// Something that a person wants the device to say. Dropped, it was not said.
#[derive(Debug)]
pub struct Say {
    /// The words.
    pub text: String,
    answer: oneshot::Sender<Result<Said, NotSaid>>,
}

impl Say {
    /// Words, and who is told what becomes of them.
    pub fn new(text: &str, answer: oneshot::Sender<Result<Said, NotSaid>>) -> Say {
        Say {
            text: text.to_owned(),
            answer,
        }
    }

    /// Whether and how it is said.
    pub fn done(self, said: Result<Said, NotSaid>) {
        // Whoever asked may have gone.
        let _ = self.answer.send(said);
    }

    /// Whether nobody waits for it any more.
    pub fn is_given_up(&self) -> bool {
        self.answer.is_closed()
    }
}

/// How a device said something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// With a voice; of an idle device it is only known that it fetched the sound.
    Spoken,
    /// On its screen, with a sound.
    Shown(WhyShown),
}

/// Why words were shown and not spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyShown {
    /// The device's agent has no voice.
    NoVoice,
    /// Its firmware, of this version where it said one, plays nothing while it is idle.
    Firmware(Option<String>),
    /// No address of ours is proved by which it could fetch sound.
    NoAddress,
    /// Too much is said to others already.
    TooMany,
    /// It would last too long.
    TooLong,
    /// The voice failed, and how.
    NoSound(String),
    /// The device did not fetch it: it was busy, or did not want it.
    NotFetched,
}

/// What is known of the tools of a device.
#[derive(Debug, Clone, Default)]
enum Listed {
    /// It was not asked, or has not answered yet.
    #[default]
    Not,
    /// These, each with its name for models if they may have it.
    These(Arc<[(Tool, Option<Box<str>>)]>),
    /// None, and why.
    None(Arc<str>),
}

impl DeviceDriver {
    /// For a device with this name in the registry. `session_id` stands in each message; `vision` is where it is told to
    /// send pictures.
    pub fn new(device: &str, session_id: Option<&str>, vision: Option<Vision>) -> DeviceDriver {
        let hello = McpHello {
            name: "Safeport".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vision,
        };
        // What is not random only risks an answer to a connection before.
        let mut first_id = [0; 4];
        let _ = getrandom::fill(&mut first_id);
        let (sender, requests) = mpsc::channel(TOOL_REQUESTS);
        let (listed, known) = watch::channel(Listed::Not);
        DeviceDriver {
            tools: DeviceTools::new(hello, u32::from_be_bytes(first_id)),
            session_id: session_id.map(Into::into),
            requests,
            listed,
            waiting: Vec::new(),
            started: false,
            handle: DeviceBox {
                device: device.into(),
                requests: sender,
                listed: known,
            },
        }
    }

    /// For those who call.
    pub fn handle(&self) -> DeviceBox {
        self.handle.clone()
    }

    /// Asks the device for its tools: once, behind our hello, if the device says that it has any.
    pub fn start(&mut self, now: Time) {
        self.started = true;
        self.tools.start(now);
    }

    /// Takes the payload of an `mcp` message of the device.
    pub fn hear(&mut self, payload: &str, now: Time) {
        self.tools.handle(payload, now);
    }

    /// The next message to the device; to be asked until there is none, after everything that was handed in and at
    /// [`DeviceDriver::next_wake`].
    pub fn poll(&mut self, now: Time) -> Option<String> {
        if self.next_wake().is_some_and(|at| at <= now) {
            self.tools.handle_timeout(now);
        }
        while let Some(effect) = self.tools.poll_effect() {
            match effect {
                McpEffect::Send(payload) => {
                    let message = ToDevice::Mcp { payload };
                    return Some(message.to_json(self.session_id.as_deref()));
                }
                McpEffect::Listed => self.tell_tools(),
                McpEffect::Unavailable(error) => {
                    let why = Listed::None(error.to_string().into());
                    self.listed.send_replace(why);
                }
                McpEffect::Done { call, outcome } => self.answer(call, outcome),
            }
        }
        None
    }

    /// When [`DeviceDriver::poll`] has something to do though nothing is heard.
    pub fn next_wake(&self) -> Option<Time> {
        self.tools.poll_timeout()
    }

    /// What somebody asks; for ever if nobody does. Nothing is lost when it is dropped.
    pub async fn next_request(&mut self) -> Request {
        poll_fn(|context| self.poll_request(context)).await
    }

    /// [`DeviceDriver::next_request`], for who polls.
    pub fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Request> {
        match ready!(self.requests.poll_recv(context)) {
            Some(request) => Poll::Ready(request),
            // Closed by `close`.
            None => Poll::Pending,
        }
    }

    /// Takes up what is asked. What is to be said is given back: saying it is the conversation's.
    pub fn take(&mut self, request: Request, now: Time) -> Option<Say> {
        let (caller, tool, arguments, answer) = match *request.0 {
            Wish::Say(say) => return Some(say),
            Wish::Call {
                caller,
                tool,
                arguments,
                answer,
            } => (caller, tool, arguments, answer),
        };
        // The device does what was asked all the same, but its answer is nobody's.
        self.waiting.retain(|(call, answer)| {
            let waits = !answer.is_closed();
            if !waits {
                self.tools.cancel(*call);
            }
            waits
        });
        let called = match self.started {
            true => self.tools.call(caller, &tool, &arguments, now),
            false => Err(CallError::NoTools),
        };
        match called {
            Ok(call) => self.waiting.push((call, answer)),
            Err(error) => drop(answer.send(Err(error.into()))),
        }
        None
    }

    /// The device is gone: open calls fail, and so do later ones.
    pub fn close(&mut self) {
        self.requests.close();
        self.tools.close();
        while let Some(effect) = self.tools.poll_effect() {
            if let McpEffect::Done { call, outcome } = effect {
                self.answer(call, outcome);
            }
        }
        // Those that nobody has taken up fail when they are dropped.
        while self.requests.try_recv().is_ok() {}
    }

    fn tell_tools(&mut self) {
        let names: Vec<(&str, &Tool)> = self.tools.model_tools().collect();
        let tools = self.tools.tools().iter().map(|tool| {
            let known = names.iter().find(|(_, other)| other.name == tool.name);
            (tool.clone(), known.map(|(name, _)| (*name).into()))
        });
        self.listed.send_replace(Listed::These(tools.collect()));
    }

    fn answer(&mut self, call: CallId, outcome: Result<ToolResult, ToolError>) {
        if let Some(at) = self.waiting.iter().position(|(id, _)| *id == call) {
            let (_, answer) = self.waiting.swap_remove(at);
            let _ = answer.send(outcome.map_err(NoAnswer::from));
        }
    }
}

impl Drop for DeviceDriver {
    fn drop(&mut self) {
        self.close();
    }
}

/// Asks a device from wherever; cheap to clone.
#[derive(Debug, Clone)]
pub struct DeviceBox {
    device: Arc<str>,
    requests: mpsc::Sender<Request>,
    listed: watch::Receiver<Listed>,
}

impl DeviceBox {
    /// Its name in the registry.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Every tool, for people; waits until the device has told them.
    ///
    /// # Errors
    /// Why it has none.
    pub async fn tools_for_people(&self) -> Result<Vec<Tool>, NoAnswer> {
        let mut listed = self.listed.clone();
        let known = listed.wait_for(|listed| !matches!(listed, Listed::Not));
        let known = tokio::time::timeout(TOOL_ANSWER, known).await;
        match &*known
            .map_err(|_| NoAnswer::Late)?
            .map_err(|_| NoAnswer::Gone)?
        {
            Listed::These(tools) => Ok(tools.iter().map(|(tool, _)| tool.clone()).collect()),
            Listed::None(why) => Err(NoAnswer::NoTools(why.clone())),
            Listed::Not => Err(NoAnswer::Late),
        }
    }

    /// Calls a tool; `arguments` is the text of a JSON object.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn call_tool(
        &self,
        caller: Caller,
        tool: &str,
        arguments: &str,
    ) -> Result<ToolResult, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        self.ask(Wish::Call {
            caller,
            tool: tool.to_owned(),
            arguments: arguments.to_owned(),
            answer,
        })?;
        let answered = tokio::time::timeout(TOOL_ANSWER, answered).await;
        answered
            .map_err(|_| NoAnswer::Late)?
            .unwrap_or(Err(NoAnswer::Gone))
    }

    /// Has the device say something, or show it.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn say(&self, text: &str) -> Result<Said, NotSaid> {
        let (answer, answered) = oneshot::channel();
        let say = Say::new(text, answer);
        self.ask(Wish::Say(say)).map_err(|_| NotSaid::Gone)?;
        let answered = tokio::time::timeout(SAID_PATIENCE, answered).await;
        answered
            .map_err(|_| NotSaid::Busy)?
            .unwrap_or(Err(NotSaid::Gone))
    }

    fn ask(&self, wish: Wish) -> Result<(), NoAnswer> {
        let asked = self.requests.try_send(Request(Box::new(wish)));
        asked.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
            mpsc::error::TrySendError::Closed(_) => NoAnswer::Gone,
        })
    }

    async fn call_for_model(&self, call: &ToolCall) -> Result<String, Failure> {
        let answer = self.call_tool(Caller::Model, &call.name, &call.arguments);
        let failure = |kind, detail: String| Failure {
            stage: Stage::Tool,
            provider: (*self.device).into(),
            kind,
            detail: detail.into(),
        };
        match answer.await {
            Ok(result) if result.is_error => Err(failure(FailureKind::Failed, result.text())),
            Ok(result) => Ok(result.text()),
            Err(error) => Err(failure(error.kind(), error.to_string())),
        }
    }
}

impl Toolbox for DeviceBox {
    fn tools(&self) -> Vec<ToolSpec> {
        let Listed::These(tools) = &*self.listed.borrow() else {
            return Vec::new();
        };
        let for_models = tools.iter().filter_map(|(tool, name)| {
            Some(ToolSpec {
                name: name.as_deref()?.to_owned(),
                description: tool.description.clone().into_string(),
                parameters: serde_json::from_str(&tool.schema).ok()?,
            })
        });
        for_models.collect()
    }

    fn call<'a>(&'a self, call: &'a ToolCall) -> Job<'a, String> {
        Box::pin(self.call_for_model(call))
    }
}

/// Why a device's tool has not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It cannot be called.
    #[error("{0}")]
    Refused(#[from] CallError),
    /// It was called, and failed.
    #[error("{0}")]
    Failed(#[from] ToolError),
    /// The device has none.
    #[error("{0}")]
    NoTools(Arc<str>),
    /// Too much is asked of it already.
    #[error("{TOOL_REQUESTS} requests to this device wait already; try again in some seconds")]
    Busy,
    /// Nothing came.
    #[error("the device did not answer within {} s", TOOL_ANSWER.as_secs())]
    Late,
    /// Its conversation or connection is over.
    #[error("the device is not connected any more; try again when it is back")]
    Gone,
}

impl NoAnswer {
    fn kind(&self) -> FailureKind {
        match self {
            NoAnswer::Refused(_) | NoAnswer::Failed(ToolError::Refused { .. }) => {
                FailureKind::Refused
            }
            NoAnswer::NoTools(_) => FailureKind::Missing,
            NoAnswer::Busy => FailureKind::Exhausted,
            NoAnswer::Late | NoAnswer::Failed(ToolError::Silent) => FailureKind::TimedOut,
            NoAnswer::Gone | NoAnswer::Failed(ToolError::Closed) => FailureKind::Unreachable,
            NoAnswer::Failed(_) => FailureKind::Misunderstood,
        }
    }
}

/// Why something was not said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSaid {
    /// It speaks.
    #[error("the device is speaking; try again when it has finished")]
    Busy,
    /// There is no voice, or it failed.
    #[error("the words could not be made into speech: {0}")]
    NoVoice(String),
    /// Its conversation or connection is over.
    #[error("the device is not connected any more; try again when it is back")]
    Gone,
}

/// Longer than the machine waits itself.
const _: () = assert!(
    TOOL_ANSWER.as_millis()
        > Duration::from_millis(safeport_xiaozhi::limits::TOOL_CALL_DEADLINE).as_millis()
);
