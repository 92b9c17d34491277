//! What a server says.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::fields::{Fields, Wrong, cut, mark, read};
use super::json::Writer;
use super::{Heard, Json, MessageError, ServerHello};
use crate::limits::{MAX_FIELD, MAX_SUBTITLES};

/// A message to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToDevice<'a> {
    /// Answers a hello, within 10 s.
    Hello(ServerHello),
    /// Shows the words of the user.
    Stt {
        /// What was understood.
        text: Cow<'a, str>,
    },
    /// Makes a face.
    Llm {
        /// One of [`Emotion`](super::Emotion)'s names; another one shows nothing.
        emotion: Cow<'a, str>,
        /// An emoji, which clients without faces show.
        text: Cow<'a, str>,
    },
    /// Speech begins, goes on or ends.
    Tts(Tts<'a>),
    /// Asks one of its tools (JSON-RPC).
    Mcp {
        /// As it is written.
        payload: Json<'a>,
    },
    /// Restarts the device (`system` with the only command that there is).
    Reboot,
    /// Shows a notice and vibrates.
    Alert {
        /// Title.
        status: Cow<'a, str>,
        /// Text.
        message: Cow<'a, str>,
        /// An emotion, or an icon: `warning`, `cancel`, `link`, `download`, `cloud_download`,
        /// `cloud_off`.
        emotion: Cow<'a, str>,
    },
    /// Shown as text by builds with that option.
    Custom {
        /// An object.
        payload: Json<'a>,
    },
    /// The voice session is over. Firmware from 2.3 on looks for the session's own id in it, so
    /// it is never written without.
    Goodbye,
    /// Answers a `ping`; keeps a silent connection alive, since firmware counts any message.
    Pong {
        /// `YYYY-MM-DD HH:MM:SS`.
        timestamp: Option<Cow<'a, str>>,
    },
    /// Plays a sound while the device is idle, and never listens
    /// ([`Quirks::takes_notices`](crate::Quirks::takes_notices)). It is not answered: a device that
    /// is not idle passes over it, and that the file is fetched is all that tells of it.
    Notify {
        /// Address of an Ogg file with one Opus stream, mono, in packets of 5 to 120 ms; `http://`
        /// or `https://`, without redirection. Never empty.
        audio_url: Cow<'a, str>,
        /// What is shown meanwhile, up to [`MAX_SUBTITLES`].
        subtitles: Vec<Subtitle<'a>>,
    },
    /// Asks the device to open a voice session (not stock firmware; proposed in
    /// 78/xiaozhi-esp32#1939, and answered by
    /// [`SpeakReady`](super::FromDevice::SpeakReady)).
    SpeakRequest {
        /// What will be said. May be empty.
        text: Cow<'a, str>,
        /// Whether it listens afterwards.
        auto_listen: Option<bool>,
    },
    /// A gateway's answer to a call between devices; firmware passes over it.
    CallAccepted,
    /// What went wrong, for people who read along; firmware passes over it.
    Error {
        /// In words.
        message: Cow<'a, str>,
    },
    /// Something else, or one of these without what it needs. Means nothing.
    Unknown {
        /// Its type, cut off at 128 bytes.
        kind: Cow<'a, str>,
    },
}

/// A line of a [`ToDevice::Notify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtitle<'a> {
    /// From when of the sound on, in milliseconds.
    pub start_ms: u32,
    /// Replaces the line before.
    pub text: Cow<'a, str>,
}

/// Speech begins, goes on or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tts<'a> {
    /// Audio follows; the device stops its microphone (not in realtime mode).
    Start,
    /// The audio from here on says this, and the device shows it.
    SentenceStart {
        /// Without emoji.
        text: Cow<'a, str>,
    },
    /// Firmware passes over it.
    SentenceEnd,
    /// All was played; the device listens again, or rests in manual mode.
    Stop,
}

impl<'a> ToDevice<'a> {
    /// Reads a message as leniently as a device does.
    ///
    /// # Errors
    /// It is no message at all. A message of an unknown type is none of the errors.
    pub fn read(text: &'a [u8]) -> Result<Heard<'a, ToDevice<'a>>, MessageError> {
        read(text, ToDevice::of)
    }

    fn of(kind: Cow<'a, str>, fields: &Fields<'a>, wrong: &mut Wrong) -> ToDevice<'a> {
        let known = ToDevice::known(&kind, fields, wrong);
        known.unwrap_or_else(|| ToDevice::Unknown {
            kind: cut(kind, MAX_FIELD),
        })
    }

    fn known(kind: &str, fields: &Fields<'a>, wrong: &mut Wrong) -> Option<ToDevice<'a>> {
        let mut text = |name| {
            let text = fields.text(name, wrong);
            if text.is_none() {
                mark(name, wrong);
            }
            text
        };
        Some(match kind {
            "hello" => ToDevice::Hello(ServerHello::read(fields, wrong)?),
            "stt" => ToDevice::Stt {
                text: text("text")?,
            },
            "llm" => ToDevice::Llm {
                emotion: text("emotion")?,
                text: fields.text("text", wrong).unwrap_or_default(),
            },
            "tts" => ToDevice::Tts(match text("state")?.as_ref() {
                "start" => Tts::Start,
                "sentence_start" => Tts::SentenceStart {
                    text: text("text")?,
                },
                "sentence_end" => Tts::SentenceEnd,
                "stop" => Tts::Stop,
                _ => return None,
            }),
            "mcp" => ToDevice::Mcp {
                payload: fields.json("payload")?,
            },
            "system" => match text("command")?.as_ref() {
                "reboot" => ToDevice::Reboot,
                _ => return None,
            },
            "alert" => ToDevice::Alert {
                status: text("status")?,
                message: text("message")?,
                emotion: text("emotion")?,
            },
            "custom" => ToDevice::Custom {
                payload: fields.json("payload")?,
            },
            "goodbye" => ToDevice::Goodbye,
            "pong" => ToDevice::Pong {
                timestamp: fields.text("timestamp", wrong),
            },
            "notify" => ToDevice::Notify {
                audio_url: text("audio_url").filter(|url| !url.is_empty())?,
                subtitles: Subtitle::read(fields, wrong)?,
            },
            "speak_request" => ToDevice::SpeakRequest {
                text: fields.text("text", wrong).unwrap_or_default(),
                auto_listen: fields.flag("auto_listen", wrong),
            },
            "call_accepted" => ToDevice::CallAccepted,
            "error" => ToDevice::Error {
                message: text("message")?,
            },
            _ => return None,
        })
    }

    /// The message as it is sent, in this voice session.
    pub fn to_json(&self, session_id: Option<&str>) -> String {
        let mut json = Writer::message(self.kind(), session_id);
        match self {
            ToDevice::Hello(hello) => hello.write(&mut json),
            ToDevice::Stt { text } => json.text("text", text),
            ToDevice::Llm { emotion, text } => {
                json.text("emotion", emotion);
                json.text("text", text);
            }
            ToDevice::Tts(tts) => {
                json.text("state", tts.state());
                if let Tts::SentenceStart { text } = tts {
                    json.text("text", text);
                }
            }
            ToDevice::Mcp { payload } | ToDevice::Custom { payload } => {
                json.raw("payload", payload.as_str());
            }
            ToDevice::Reboot => json.text("command", "reboot"),
            ToDevice::Alert {
                status,
                message,
                emotion,
            } => {
                json.text("status", status);
                json.text("message", message);
                json.text("emotion", emotion);
            }
            ToDevice::Pong { timestamp } => {
                if let Some(timestamp) = timestamp {
                    json.text("timestamp", timestamp);
                }
            }
            ToDevice::Notify {
                audio_url,
                subtitles,
            } => {
                json.text("audio_url", audio_url);
                if !subtitles.is_empty() {
                    json.raw("subtitles", &Subtitle::write(subtitles));
                }
            }
            ToDevice::SpeakRequest { text, auto_listen } => {
                json.text("text", text);
                if let Some(listens) = auto_listen {
                    json.plain("auto_listen", listens);
                }
            }
            ToDevice::Error { message } => json.text("message", message),
            ToDevice::Goodbye | ToDevice::CallAccepted | ToDevice::Unknown { .. } => {}
        }
        json.end()
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        match self {
            ToDevice::Hello(_) => "hello",
            ToDevice::Stt { .. } => "stt",
            ToDevice::Llm { .. } => "llm",
            ToDevice::Tts(_) => "tts",
            ToDevice::Mcp { .. } => "mcp",
            ToDevice::Reboot => "system",
            ToDevice::Alert { .. } => "alert",
            ToDevice::Custom { .. } => "custom",
            ToDevice::Goodbye => "goodbye",
            ToDevice::Pong { .. } => "pong",
            ToDevice::Notify { .. } => "notify",
            ToDevice::SpeakRequest { .. } => "speak_request",
            ToDevice::CallAccepted => "call_accepted",
            ToDevice::Error { .. } => "error",
            ToDevice::Unknown { kind } => kind,
        }
    }
}

impl<'a> Subtitle<'a> {
    /// As a device reads them: without those that are wrong, and none at all where there is
    /// something else than a list.
    fn read(fields: &Fields<'a>, wrong: &mut Wrong) -> Option<Vec<Subtitle<'a>>> {
        if fields.json("subtitles").is_none() {
            return Some(Vec::new());
        }
        let lines = fields.objects("subtitles", MAX_SUBTITLES, wrong)?;
        let mut read = Vec::with_capacity(lines.len());
        for line in lines {
            let start = line.number("start_ms", wrong);
            let start = start.and_then(|start| u32::try_from(start).ok());
            match (start, line.text("text", wrong)) {
                (Some(start_ms), Some(text)) => read.push(Subtitle { start_ms, text }),
                _ => mark("subtitles", wrong),
            }
        }
        Some(read)
    }

    fn write(subtitles: &[Subtitle<'_>]) -> String {
        let mut list = String::from("[");
        for (index, subtitle) in subtitles.iter().take(MAX_SUBTITLES).enumerate() {
            if index > 0 {
                list.push(',');
            }
            let mut json = Writer::object();
            json.plain("start_ms", subtitle.start_ms);
            json.text("text", &subtitle.text);
            list.push_str(&json.end());
        }
        list.push(']');
        list
    }
}

impl Tts<'_> {
    fn state(&self) -> &'static str {
        match self {
            Tts::Start => "start",
            Tts::SentenceStart { .. } => "sentence_start",
            Tts::SentenceEnd => "sentence_end",
            Tts::Stop => "stop",
        }
    }
}
