//! One device in its conversation.

use super::Listening;
use super::check::Pass;
use super::line::{Heard, Line};
use super::sound::{FRAME, Sound};
use serde_json::{Value, json};
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long the server's hello may take: a device waits as long.
const HELLO: Duration = Duration::from_secs(10);
/// How long an answer may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// A device whose hello was answered.
pub(super) struct Device {
    line: Line,
}

/// What a message of the server means for the device.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// It understood what was said.
    Understood,
    Packet,
    /// The answer is over.
    Silence,
    Other,
}

/// One sentence and its answer.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    /// When each packet of the sentence was sent, and when the button was let go.
    pub(super) sent: Vec<Instant>,
    pub(super) let_go: Option<Instant>,
    /// When the server said what it had understood.
    pub(super) understood: Instant,
    /// When each packet of the answer came.
    pub(super) heard: Vec<Instant>,
}

impl Device {
    /// Opens a conversation and waits for the server's hello.
    pub(super) async fn open(pass: &Pass) -> io::Result<Device> {
        timeout(HELLO, async {
            let mut line = Line::open(pass).await?;
            let version = match line {
                Line::WebSocket(_) => 1,
                Line::Datagrams(_) => 3,
            };
            let hello = json!({
                "type": "hello", "version": version, "features": {"mcp": true}, "transport": line.name(),
                "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
            });
            line.send_text(&hello.to_string()).await?;
            while let Some(heard) = line.hear().await? {
                let Heard::Text(text) = heard else {
                    continue;
                };
                let message = message(&text);
                if message["type"] == "hello" {
                    line.agree(&message).await?;
                    return Ok(Device { line });
                }
            }
            Err(closed())
        })
        .await?
    }

    /// Waits; fails when the conversation ends.
    pub(super) async fn idle(&mut self) -> io::Result<()> {
        loop {
            self.next().await?;
        }
    }

    /// Begins to listen.
    pub(super) async fn listen(&mut self, listening: Listening) -> io::Result<()> {
        let mode = listening.word();
        let start =
            format!(r#"{{"session_id":"","type":"listen","state":"start","mode":"{mode}"}}"#);
        self.line.send_text(&start).await
    }

    /// Sends a quiet room until `until`, each packet when it is due; `sent` is called for each. An
    /// answer to it is an error.
    pub(super) async fn send_quiet(
        &mut self,
        sound: &Sound,
        first: Instant,
        until: Instant,
        mut sent: impl FnMut(),
    ) -> io::Result<()> {
        let mut due = first;
        for number in 0.. {
            if due >= until {
                break;
            }
            while let Some(event) = self.next_until(due).await? {
                if event != Event::Other {
                    return Err(io::Error::other("a quiet room was answered"));
                }
            }
            self.line.send_sound(sound.quiet(number)).await?;
            sent();
            due += FRAME;
        }
        Ok(())
    }

    /// Says the sentence and hears the answer to its end. `each` is called for every packet, with
    /// whether it was one of the server's.
    pub(super) async fn turn(
        &mut self,
        sound: &Sound,
        listening: Listening,
        is_first: bool,
        mut each: impl FnMut(bool),
    ) -> io::Result<Turn> {
        // In realtime mode a device has never ceased to listen.
        if is_first || listening != Listening::Realtime {
            self.listen(listening).await?;
        }
        let began = Instant::now();
        let mut turn = Turn {
            sent: Vec::with_capacity(sound.length() + 16),
            let_go: None,
            understood: began,
            heard: Vec::with_capacity(sound.length()),
        };
        let mut is_understood = false;
        let mut due = Some(began);
        loop {
            let last_word = turn.heard.last().or(turn.sent.last()).copied();
            let end = last_word.unwrap_or(began) + PATIENCE;
            let event = self.next_until(due.unwrap_or(end)).await?;
            match event {
                Some(Event::Understood) => {
                    turn.understood = Instant::now();
                    is_understood = true;
                    if listening != Listening::Realtime {
                        due = None;
                    }
                }
                Some(Event::Packet) => {
                    turn.heard.push(Instant::now());
                    each(true);
                }
                Some(Event::Silence) => break,
                Some(Event::Other) => {}
                None => {
                    let Some(moment) = due else {
                        return Err(io::ErrorKind::TimedOut.into());
                    };
                    if began.elapsed() > PATIENCE {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    let number = turn.sent.len();
                    turn.sent.push(Instant::now());
                    self.line.send_sound(sound.spoken(number)).await?;
                    each(false);
                    due = Some(moment + FRAME);
                    if listening == Listening::Manual && number + 1 == sound.length() {
                        turn.let_go = Some(Instant::now());
                        let stop = r#"{"session_id":"","type":"listen","state":"stop"}"#;
                        self.line.send_text(stop).await?;
                        due = None;
                    }
                }
            }
        }
        match is_understood {
            true => Ok(turn),
            false => Err(io::Error::other(
                "the server answered without having understood anything",
            )),
        }
    }

    /// What comes until `moment`; `None` then.
    async fn next_until(&mut self, moment: Instant) -> io::Result<Option<Event>> {
        tokio::select! {
            biased;
            () = sleep_until(moment) => Ok(None),
            event = self.next() => event.map(Some),
        }
    }

    /// What comes next. Tools of the device are answered for in between.
    async fn next(&mut self) -> io::Result<Event> {
        let text = match self.line.hear().await? {
            None => return Err(closed()),
            Some(Heard::Sound) => return Ok(Event::Packet),
            Some(Heard::Text(text)) => text,
        };
        let message = message(&text);
        match (message["type"].as_str(), message["state"].as_str()) {
            (Some("stt"), _) => Ok(Event::Understood),
            (Some("tts"), Some("stop")) => Ok(Event::Silence),
            (Some("mcp"), _) => {
                if let Some(answer) = tools(&message["payload"]) {
                    self.line.send_text(&answer).await?;
                }
                Ok(Event::Other)
            }
            _ => Ok(Event::Other),
        }
    }
}

fn message(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap_or_default()
}

/// Answers a request of MCP: a device has a volume and nothing else.
fn tools(request: &Value) -> Option<String> {
    let id = request.get("id")?;
    let result = match request["method"].as_str()? {
        "initialize" => json!({
            "protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
            "serverInfo": {"name": "bread-compact-wifi", "version": "2.4.2"},
        }),
        "tools/list" => json!({"tools": [{
            "name": "self.audio_speaker.set_volume", "description": "Set the volume of the speaker.",
            "inputSchema": {"type": "object", "properties": {"volume": {"type": "integer", "minimum": 0, "maximum": 100}},
                            "required": ["volume"]},
        }]}),
        _ => json!({"content": [{"type": "text", "text": "true"}], "isError": false}),
    };
    let payload = json!({"jsonrpc": "2.0", "id": id, "result": result});
    Some(json!({"session_id": "", "type": "mcp", "payload": payload}).to_string())
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the conversation",
    )
}
