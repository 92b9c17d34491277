//! What a device says.

use alloc::borrow::Cow;
use alloc::string::String;

use super::fields::{Fields, Wrong, cut, mark, read};
use super::json::Writer;
use super::{DeviceHello, Heard, Json, MessageError};
use crate::limits::{MAX_FIELD, MAX_SAID};

/// A message of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromDevice<'a> {
    /// Opens a voice session.
    Hello(DeviceHello),
    /// The microphone, or a text in its place.
    Listen(Listen<'a>),
    /// Stop to speak, now.
    Abort {
        /// `wake_word_detected`, or nothing.
        reason: Option<Cow<'a, str>>,
    },
    /// An answer of one of its tools (JSON-RPC).
    Mcp {
        /// As it was written.
        payload: Json<'a>,
    },
    /// The voice session is over (MQTT; over WebSocket, devices just close).
    Goodbye,
    /// What firmware before 1.8 has instead of tools.
    Iot {
        /// Which things it has.
        descriptors: Option<Json<'a>>,
        /// How they are.
        states: Option<Json<'a>>,
    },
    /// Asks whether the server is there (not stock firmware).
    Ping,
    /// Hears no datagrams any more (not stock firmware).
    UdpTimeout,
    /// Opened its microphone because it was asked to (not stock firmware 2.4).
    SpeakReady {
        /// Whether `state` is `ready`.
        ready: bool,
    },
    /// A console's command to another server, which must do nothing here.
    Server {
        /// `update_config` or `restart`.
        action: Cow<'a, str>,
    },
    /// Something else, or one of these without what it needs. Means nothing.
    Unknown {
        /// Its type, cut off at 128 bytes.
        kind: Cow<'a, str>,
    },
}

/// What a `listen` message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen<'a> {
    /// Audio follows.
    Start {
        /// Who says when the speech ends. `auto` where it is absent.
        mode: Mode,
    },
    /// No more audio follows.
    Stop,
    /// A wake word was heard; browsers and programs put what was typed here.
    Detect {
        /// The word or the text, cut off at 4096 bytes; may be empty.
        text: Cow<'a, str>,
    },
}

/// Who says when speech ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// The server, by listening.
    #[default]
    Auto,
    /// The device, by `listen stop`: a button is held.
    Manual,
    /// The server, and the microphone stays open while it answers: the device cancels echoes.
    Realtime,
}

impl Mode {
    /// As it is written in a message.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Auto => "auto",
            Mode::Manual => "manual",
            Mode::Realtime => "realtime",
        }
    }
}

impl<'a> FromDevice<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// It is no message at all. A message of an unknown type is none of the errors.
    pub fn read(text: &'a [u8]) -> Result<Heard<'a, FromDevice<'a>>, MessageError> {
        read(text, FromDevice::of)
    }

    fn of(kind: Cow<'a, str>, fields: &Fields<'a>, wrong: &mut Wrong) -> FromDevice<'a> {
        let known = match kind.as_ref() {
            "hello" => Some(FromDevice::Hello(DeviceHello::read(fields, wrong))),
            "listen" => Listen::read(fields, wrong).map(FromDevice::Listen),
            "abort" => Some(FromDevice::Abort {
                reason: fields
                    .text("reason", wrong)
                    .map(|text| cut(text, MAX_FIELD)),
            }),
            "mcp" => match fields.json("payload") {
                Some(payload) => Some(FromDevice::Mcp { payload }),
                None => {
                    mark("payload", wrong);
                    None
                }
            },
            "goodbye" => Some(FromDevice::Goodbye),
            "iot" => Some(FromDevice::Iot {
                descriptors: fields.json("descriptors"),
                states: fields.json("states"),
            }),
            "ping" => Some(FromDevice::Ping),
            "udp_timeout" => Some(FromDevice::UdpTimeout),
            "speak_ready" => Some(FromDevice::SpeakReady {
                ready: fields.text("state", wrong).as_deref() == Some("ready"),
            }),
            "server" => {
                let action = fields.text("action", wrong);
                action.map(|text| FromDevice::Server {
                    action: cut(text, MAX_FIELD),
                })
            }
            _ => None,
        };
        known.unwrap_or_else(|| FromDevice::Unknown {
            kind: cut(kind, MAX_FIELD),
        })
    }

    /// The message as a device sends it.
    pub fn to_json(&self, session_id: Option<&str>) -> String {
        let mut json = Writer::message(self.kind(), session_id);
        match self {
            FromDevice::Hello(hello) => hello.write(&mut json),
            FromDevice::Listen(listen) => listen.write(&mut json),
            FromDevice::Abort { reason } => {
                if let Some(reason) = reason {
                    json.text("reason", reason);
                }
            }
            FromDevice::Mcp { payload } => json.raw("payload", payload.as_str()),
            FromDevice::Iot {
                descriptors,
                states,
            } => {
                if let Some(descriptors) = descriptors {
                    json.raw("descriptors", descriptors.as_str());
                }
                if let Some(states) = states {
                    json.raw("states", states.as_str());
                }
            }
            FromDevice::SpeakReady { ready } => {
                json.text("state", if *ready { "ready" } else { "busy" });
            }
            FromDevice::Server { action } => json.text("action", action),
            FromDevice::Goodbye
            | FromDevice::Ping
            | FromDevice::UdpTimeout
            | FromDevice::Unknown { .. } => {}
        }
        json.end()
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        match self {
            FromDevice::Hello(_) => "hello",
            FromDevice::Listen(_) => "listen",
            FromDevice::Abort { .. } => "abort",
            FromDevice::Mcp { .. } => "mcp",
            FromDevice::Goodbye => "goodbye",
            FromDevice::Iot { .. } => "iot",
            FromDevice::Ping => "ping",
            FromDevice::UdpTimeout => "udp_timeout",
            FromDevice::SpeakReady { .. } => "speak_ready",
            FromDevice::Server { .. } => "server",
            FromDevice::Unknown { kind } => kind,
        }
    }
}

impl<'a> Listen<'a> {
    fn read(fields: &Fields<'a>, wrong: &mut Wrong) -> Option<Listen<'a>> {
        let state = fields.text("state", wrong);
        match state.as_deref() {
            Some("start") => {
                let said = fields.text("mode", wrong);
                let mode = match said.as_deref() {
                    None | Some("auto") => Mode::Auto,
                    Some("manual") => Mode::Manual,
                    Some("realtime") => Mode::Realtime,
                    Some(_) => {
                        mark("mode", wrong);
                        Mode::Auto
                    }
                };
                Some(Listen::Start { mode })
            }
            Some("stop") => Some(Listen::Stop),
            Some("detect") => {
                let text = fields.text("text", wrong).unwrap_or_default();
                let text = cut(text, MAX_SAID);
                Some(Listen::Detect { text })
            }
            _ => {
                mark("state", wrong);
                None
            }
        }
    }

    fn write(&self, json: &mut Writer) {
        match self {
            Listen::Start { mode } => {
                json.text("state", "start");
                json.text("mode", mode.name());
            }
            Listen::Stop => json.text("state", "stop"),
            Listen::Detect { text } => {
                json.text("state", "detect");
                json.text("text", text);
            }
        }
    }
}
