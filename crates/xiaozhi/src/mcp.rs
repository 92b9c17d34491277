//! The tools of a device, by the Model Context Protocol: JSON-RPC inside `mcp` messages, in which
//! the device is the server. See 78/xiaozhi-esp32 `main/mcp_server.cc`.
//!
//! [`DeviceTools`] asks who the device is, tells it where its camera sends pictures, lists its
//! tools page by page and calls them. It is a machine like the others here: payloads and time go
//! in, effects come out, and nothing that a device answers grows without a limit.

mod names;
mod result;
mod tool;

pub use names::ModelNames;
pub use result::{Content, ToolResult};
pub use tool::Tool;

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::limits::{
    MAX_ARGUMENTS, MAX_CALLS, MAX_ERROR_TEXT, MAX_LIST_BYTES, MAX_MCP_EFFECTS, MAX_MESSAGE,
    MAX_TOOL_NAME, MAX_TOOL_PAGES, MAX_TOOLS, TOOL_CALL_DEADLINE, TOOL_LIST_DEADLINE,
    TOOL_LIST_PAUSE,
};
use crate::{Json, Time};
use tool::Page;

/// The protocol's version that devices speak.
const PROTOCOL: &str = "2024-11-05";
/// Longest identifier of a request of a device that is answered, in bytes.
const MAX_ID: usize = 64;

/// What the device is told of us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpHello {
    /// Our name.
    pub name: String,
    /// Our version.
    pub version: String,
    /// Where the device's camera sends its pictures.
    pub vision: Option<Vision>,
}

/// Where a camera sends its pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vision {
    /// An address with its port. Devices follow no redirect.
    pub url: String,
    /// Sent back as a bearer token.
    pub token: String,
}

/// The tools of one device, for as long as its connection lasts.
///
/// The driver wraps what is to be sent into `mcp` messages, and hands in the payload of each that
/// comes. Devices take these messages from their hello on, and over MQTT at any time.
#[derive(Debug)]
pub struct DeviceTools {
    hello: McpHello,
    next_id: u32,
    state: State,
    step: Option<Step>,
    listing: Listing,
    relist_at: Option<Time>,
    listed_at: Option<Time>,
    tools: Vec<Tool>,
    names: ModelNames,
    complete: bool,
    calls: Vec<(CallId, Time)>,
    effects: VecDeque<McpEffect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Starting,
    Ready,
    Unavailable,
    Closed,
}

/// What was asked, and not answered yet.
#[derive(Debug)]
struct Step {
    id: u32,
    ask: Ask,
    deadline: Time,
    /// It was asked a second time.
    again: bool,
}

#[derive(Debug, Clone)]
enum Ask {
    Initialize,
    Page { cursor: String },
}

/// The list as far as it has come.
#[derive(Debug, Default)]
struct Listing {
    tools: Vec<Tool>,
    bytes: usize,
    pages: usize,
    left_out: bool,
}

/// One call of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u32);

/// Who calls a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A language model. It uses its own names ([`ModelNames`]) and has no tools that are for
    /// people.
    Model,
    /// A person. Uses the device's names, and has every tool.
    User,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpEffect {
    /// Send this payload in an `mcp` message.
    Send(Json<'static>),
    /// The tools are known, or known anew: see [`DeviceTools::tools`].
    Listed,
    /// The device has no tools that can be called.
    Unavailable(McpError),
    /// A call has come to its end.
    Done {
        /// Which.
        call: CallId,
        /// What the tool answered, or why it did not.
        outcome: Result<ToolResult, ToolError>,
    },
}

#[derive(Deserialize)]
struct Incoming<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

impl DeviceTools {
    /// The tools of a device that was not asked yet. Requests are numbered from `first_id` on, so
    /// that what a device answers to a connection before is not taken for an answer of this one:
    /// draw it.
    pub fn new(hello: McpHello, first_id: u32) -> DeviceTools {
        DeviceTools {
            hello,
            next_id: first_id,
            state: State::New,
            step: None,
            listing: Listing::default(),
            relist_at: None,
            listed_at: None,
            tools: Vec::new(),
            names: ModelNames::default(),
            complete: false,
            calls: Vec::new(),
            effects: VecDeque::new(),
        }
    }

    /// Asks the device who it is, and then for its tools. After our hello: one that comes before
    /// it confuses older firmware.
    pub fn start(&mut self, now: Time) {
        if self.state != State::Closed {
            self.state = State::Starting;
            self.ask(Ask::Initialize, false, now);
        }
    }

    /// Asks for the tools again. Until they have come, the old ones stand.
    pub fn refresh(&mut self, now: Time) {
        if self.state == State::Ready && self.step.is_none() {
            self.list(now);
        }
    }

    /// Takes the payload of an `mcp` message. What is no answer to a question of ours changes
    /// nothing.
    pub fn handle(&mut self, payload: &str, now: Time) {
        if self.state == State::Closed {
            return;
        }
        if payload.len() > MAX_MESSAGE {
            return self.refuse(payload, now);
        }
        let Ok(incoming) = serde_json::from_str::<Incoming<'_>>(payload) else {
            return;
        };
        if let Some(method) = incoming.method {
            return match incoming.id {
                Some(id) => self.answer(id, method),
                None => self.notice(method, now),
            };
        }
        let Some(id) = incoming.id.and_then(number) else {
            return;
        };
        let answer = match (incoming.result, incoming.error) {
            (_, Some(error)) => Err(ToolError::of_device(error.get())),
            (Some(result), None) => Ok(result.get()),
            (None, None) => Err(ToolError::Unreadable),
        };
        self.take_answer(id, answer, now);
    }

    /// A payload that is longer than any may be: nothing of it is kept, and its call fails.
    fn refuse(&mut self, payload: &str, now: Time) {
        #[derive(Deserialize)]
        struct Skimmed<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
        }
        let skimmed = serde_json::from_str::<Skimmed<'_>>(payload).ok();
        if let Some(id) = skimmed.and_then(|skimmed| skimmed.id).and_then(number) {
            let bytes = payload.len();
            self.take_answer(id, Err(ToolError::TooLong { bytes }), now);
        }
    }

    fn take_answer(&mut self, id: u32, answer: Result<&str, ToolError>, now: Time) {
        match self.step.take_if(|step| step.id == id) {
            Some(step) => self.advance(step.ask, answer, now),
            None => self.end_call(CallId(id), answer.map(ToolResult::read)),
        }
    }

    /// A question of the device. None is known that asks one, and the protocol wants an answer.
    fn answer(&mut self, id: &RawValue, method: &RawValue) {
        let usable = id.get().len() <= MAX_ID && !id.get().starts_with(['{', '[', 't', 'f']);
        // More than one for each thing that happens: the device floods.
        if !usable || self.effects.len() >= MAX_MCP_EFFECTS {
            return;
        }
        let id: Value = serde_json::from_str(id.get()).unwrap_or_default();
        self.send(&if method.get() == "\"ping\"" {
            json!({"jsonrpc": "2.0", "id": id, "result": {}})
        } else {
            let error = json!({"code": -32601, "message": "this server has no such method"});
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        });
    }

    fn notice(&mut self, method: &RawValue, now: Time) {
        if method.get() != "\"notifications/tools/list_changed\"" || self.state != State::Ready {
            return;
        }
        // Not more often than that: a device may say it with every change of its state.
        let earliest = self.listed_at.map_or(now, |at| at + TOOL_LIST_PAUSE);
        self.relist_at.get_or_insert(earliest.max(now));
        self.relist_if_due(now);
    }

    fn relist_if_due(&mut self, now: Time) {
        if self.step.is_none() && self.relist_at.is_some_and(|at| at <= now) {
            self.list(now);
        }
    }

    fn list(&mut self, now: Time) {
        self.relist_at = None;
        self.listing = Listing::default();
        let cursor = String::new();
        self.ask(Ask::Page { cursor }, false, now);
    }

    fn ask(&mut self, ask: Ask, again: bool, now: Time) {
        let id = self.take_id();
        let (method, params) = match &ask {
            Ask::Initialize => ("initialize", self.introduction()),
            // Firmware before 1.9.0 does not know the second one, and passes over it.
            Ask::Page { cursor } => {
                let params = json!({"cursor": cursor, "withUserTools": true});
                ("tools/list", params)
            }
        };
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        self.step = Some(Step {
            id,
            ask,
            deadline: now + TOOL_LIST_DEADLINE,
            again,
        });
    }

    fn introduction(&self) -> Value {
        let mut capabilities = json!({});
        if let Some(vision) = &self.hello.vision {
            capabilities["vision"] = json!({"url": vision.url, "token": vision.token});
        }
        json!({
            "protocolVersion": PROTOCOL,
            "capabilities": capabilities,
            "clientInfo": {"name": self.hello.name, "version": self.hello.version},
        })
    }

    /// Positive and below 2^31: firmware reads it as an `int`.
    fn take_id(&mut self) -> u32 {
        loop {
            let id = (self.next_id & 0x7fff_ffff).max(1);
            self.next_id = id + 1;
            if self.calls.iter().all(|(call, _)| call.0 != id) {
                return id;
            }
        }
    }

    fn send(&mut self, payload: &Value) {
        self.effects.push_back(McpEffect::Send(Json::of(payload)));
    }

    fn advance(&mut self, ask: Ask, answer: Result<&str, ToolError>, now: Time) {
        match (ask, answer) {
            (Ask::Initialize, Ok(_)) => {
                self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
                self.list(now);
            }
            (Ask::Page { cursor }, Ok(result)) => match Page::read(result) {
                Some(page) => self.take_page(page, &cursor, now),
                None => self.end_list(Some(McpError::Unreadable)),
            },
            (Ask::Initialize, Err(error)) => self.give_up(error.into()),
            (Ask::Page { .. }, Err(error)) => self.end_list(Some(error.into())),
        }
    }

    fn take_page(&mut self, page: Page, cursor: &str, now: Time) {
        let listing = &mut self.listing;
        listing.pages += 1;
        listing.left_out |= page.left_out;
        let before = listing.tools.len();
        for tool in page.tools {
            let room = listing.tools.len() < MAX_TOOLS
                && listing.bytes + tool.size() <= MAX_LIST_BYTES
                && listing.tools.iter().all(|known| known.name != tool.name);
            if room {
                listing.bytes += tool.size();
                listing.tools.push(tool);
            } else {
                listing.left_out = true;
            }
        }
        let grew = listing.tools.len() > before;
        match page.next {
            None => self.end_list(None),
            // A page that brings nothing, or points to itself, would go on for ever.
            Some(next) if grew && next != cursor && listing.pages < MAX_TOOL_PAGES => {
                let cursor = cut(&next, MAX_TOOL_NAME);
                self.ask(Ask::Page { cursor }, false, now);
            }
            Some(_) => {
                listing.left_out = true;
                self.end_list(None);
            }
        }
        self.listed_at = Some(now);
    }

    /// What has come is the list, be it whole or not. If nothing has come, the list before stands.
    fn end_list(&mut self, error: Option<McpError>) {
        let listing = core::mem::take(&mut self.listing);
        match error {
            Some(error) if listing.tools.is_empty() => {
                if self.state == State::Starting {
                    self.give_up(error);
                }
            }
            error => {
                self.complete = error.is_none() && !listing.left_out;
                self.tools = listing.tools;
                self.names = ModelNames::new(self.tools.iter().map(|tool| &*tool.name));
                self.state = State::Ready;
                self.effects.push_back(McpEffect::Listed);
            }
        }
    }

    fn give_up(&mut self, error: McpError) {
        self.state = State::Unavailable;
        self.effects.push_back(McpEffect::Unavailable(error));
    }

    /// Calls a tool. `arguments` is the text of a JSON object; nothing stands for an empty one.
    /// The call ends with [`McpEffect::Done`], after [`TOOL_CALL_DEADLINE`] at the latest.
    ///
    /// # Errors
    /// It cannot be called. A model is told so in the words of the error.
    pub fn call(
        &mut self,
        caller: Caller,
        name: &str,
        arguments: &str,
        now: Time,
    ) -> Result<CallId, CallError> {
        if self.state != State::Ready {
            return Err(match self.state {
                State::New | State::Starting => CallError::NotListed,
                _ => CallError::NoTools,
            });
        }
        let own = match caller {
            Caller::Model => self.names.to_own(name),
            Caller::User => Some(name),
        };
        let tool = self.tools.iter().find(|tool| own == Some(&*tool.name));
        let tool = tool.ok_or_else(|| CallError::NoSuchTool {
            tool: cut(name, MAX_TOOL_NAME),
        })?;
        if tool.user_only && caller == Caller::Model {
            return Err(CallError::ForPeople {
                tool: tool.name.to_string(),
            });
        }
        let arguments = tool.arguments(arguments)?;
        if self.calls.len() >= MAX_CALLS {
            return Err(CallError::TooMany);
        }
        let params = json!({"name": tool.name, "arguments": arguments});
        let id = self.take_id();
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
        self.calls.push((CallId(id), now + TOOL_CALL_DEADLINE));
        Ok(CallId(id))
    }

    /// Forgets a call, whose answer nobody waits for any more. The device finishes it all the
    /// same: its firmware knows no way to stop one.
    pub fn cancel(&mut self, call: CallId) {
        self.calls.retain(|(waiting, _)| *waiting != call);
    }

    fn end_call(&mut self, call: CallId, outcome: Result<ToolResult, ToolError>) {
        let waiting = self.calls.iter().position(|(waiting, _)| *waiting == call);
        if let Some(at) = waiting {
            self.calls.remove(at);
            self.effects.push_back(McpEffect::Done { call, outcome });
        }
    }

    /// What is to be done next; call until there is nothing.
    pub fn poll_effect(&mut self) -> Option<McpEffect> {
        self.effects.pop_front()
    }

    /// When [`handle_timeout`](DeviceTools::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Time> {
        let step = self.step.as_ref().map(|step| step.deadline);
        let relist = self.relist_at.filter(|_| self.step.is_none());
        let calls = self.calls.iter().map(|(_, deadline)| *deadline);
        calls.chain(step).chain(relist).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        let due = |(_, deadline): &(CallId, Time)| *deadline <= now;
        while let Some(at) = self.calls.iter().position(due) {
            let (call, _) = self.calls.remove(at);
            let outcome = Err(ToolError::Silent);
            self.effects.push_back(McpEffect::Done { call, outcome });
        }
        if let Some(step) = self.step.take_if(|step| step.deadline <= now) {
            match step.ask {
                // Once more: a device that has just connected is busy with other things.
                ask if !step.again => self.ask(ask, true, now),
                Ask::Initialize => self.give_up(McpError::Silent),
                Ask::Page { .. } => self.end_list(Some(McpError::Silent)),
            }
        }
        self.relist_if_due(now);
    }

    /// The connection is gone: every call that waits fails, and nothing is sent any more.
    pub fn close(&mut self) {
        self.state = State::Closed;
        self.step = None;
        self.relist_at = None;
        for (call, _) in core::mem::take(&mut self.calls) {
            let outcome = Err(ToolError::Closed);
            self.effects.push_back(McpEffect::Done { call, outcome });
        }
    }

    /// Every tool, in the order of the device, for people.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The tools that a language model may have, with the names by which it calls them.
    pub fn model_tools(&self) -> impl Iterator<Item = (&str, &Tool)> {
        let tools = self.tools.iter().filter(|tool| !tool.user_only);
        tools.filter_map(|tool| Some((self.names.to_model(&tool.name)?, tool)))
    }

    /// Whether the list is whole: no tool was larger than tools may be, none was more than there
    /// may be, and the device told it to its end.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many calls wait for their answer.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }
}

/// A number of ours. Some clients send it back as a text.
fn number(id: &RawValue) -> Option<u32> {
    id.get().trim_matches('"').parse().ok()
}

/// The beginning of a text, at most so many bytes.
fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}

/// Why a device has no tools.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    /// It was asked twice and said nothing.
    #[error(
        "the device answers no question about its tools; firmware before 1.8.0 has none, update it"
    )]
    Silent,
    /// It said no.
    #[error("the device tells no tools, it says: {message}; update its firmware")]
    Refused {
        /// In its words.
        message: String,
    },
    /// It said something else.
    #[error("the device's list of tools cannot be read; update its firmware")]
    Unreadable,
}

impl From<ToolError> for McpError {
    fn from(error: ToolError) -> McpError {
        match error {
            ToolError::Refused { message } => McpError::Refused { message },
            ToolError::Silent => McpError::Silent,
            _ => McpError::Unreadable,
        }
    }
}

/// Why a tool cannot be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The list has not come yet.
    #[error("the tools of the device are not known yet; try again in some seconds")]
    NotListed,
    /// The device has none, or is gone.
    #[error("the device has no tools that can be called, or is not connected any more")]
    NoTools,
    /// The list has no such name.
    #[error("the device has no tool {tool}; use a name of its list of tools")]
    NoSuchTool {
        /// The name.
        tool: String,
    },
    /// A model asks for a tool that is for people.
    #[error("{tool} is for people only; ask the owner to do it in Safeport")]
    ForPeople {
        /// The name on the device.
        tool: String,
    },
    /// The arguments are no JSON object.
    #[error(
        "the arguments of {tool} are no JSON object; give an object, such as {{\"volume\":50}}"
    )]
    NoArguments {
        /// The name on the device.
        tool: String,
    },
    /// Longer than [`MAX_ARGUMENTS`].
    #[error("the arguments are longer than {MAX_ARGUMENTS} bytes; give shorter ones")]
    ArgumentsTooLong,
    /// [`MAX_CALLS`] wait already.
    #[error("{MAX_CALLS} calls of this device's tools are not answered yet; wait for one of them")]
    TooMany,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// Nothing came for 30 s.
    #[error("the device did not answer within 30 s; it may have done it all the same, look first")]
    Silent,
    /// The device says why not.
    #[error("the device says: {message}")]
    Refused {
        /// In its words, at most [`MAX_ERROR_TEXT`] bytes.
        message: String,
    },
    /// The answer is longer than [`MAX_MESSAGE`].
    #[error(
        "the device's answer has {bytes} bytes, and more than {MAX_MESSAGE} are not taken; ask for \
         less"
    )]
    TooLong {
        /// How long it was.
        bytes: usize,
    },
    /// The answer is none.
    #[error("the device's answer has neither a result nor an error; update its firmware")]
    Unreadable,
    /// The connection went before the answer came.
    #[error("the device disconnected before it answered; try again when it is back")]
    Closed,
}

impl ToolError {
    /// Reads `{"message":"..."}`, which has no code in firmware.
    fn of_device(error: &str) -> ToolError {
        let value: Value = serde_json::from_str(error).unwrap_or_default();
        let message = value["message"].as_str().or(value.as_str());
        ToolError::Refused {
            message: cut(message.unwrap_or(error), MAX_ERROR_TEXT),
        }
    }
}

#[cfg(test)]
mod tests;
