//! Text to speech by Alibaba's DashScope (CosyVoice, Qwen-Audio-TTS), and by what speaks its protocol.
//!
//! The protocol: Model Studio, "CosyVoice WebSocket API", client and server events. A sentence is a task:
//! `run-task`, `continue-task` with the text, `finish-task`; what comes back are events as JSON and the sound as bytes.
//! A connection carries one task after the other, so it is kept between sentences ([`Rest`]). Why this service:
//! `docs/decisions/0016-dashscope-speaks.md`.

mod rest;
mod task;

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use self::rest::Rest;
use self::task::{Step, Task};
use crate::dial::Dial;
use crate::limits::{DASHSCOPE_STALE_MS, DASHSCOPE_TEXT_CHARS, RETRY_PAUSE_MS};
use crate::openai::{ApiKey, SpeechFormat};
use crate::provider::{Failure, FailureKind, Job, Sound, Stage, Synthesizer};
use crate::websocket::{Trouble, WebSocket};

/// A voice of DashScope.
pub struct DashScope {
    settings: DashScopeSettings,
    dial: Dial,
    rest: Rest,
}

/// How to use DashScope.
#[derive(Debug, Clone)]
pub struct DashScopeSettings {
    /// The provider's name in the settings.
    pub name: String,
    /// Default [`DASHSCOPE_URL`]; workspaces and regions have their own, `wss://…/api-ws/v1/inference`.
    pub url: String,
    /// The API key, of the region of `url`.
    pub key: ApiKey,
    /// Default `cosyvoice-v3-flash`.
    pub model: String,
    /// One that the model has. Default `longanyang`.
    pub voice: String,
    /// In what the sound comes. Default bare samples, 24,000 a second, what devices play. Of rates there are 8,000, 16,000,
    /// 22,050, 24,000, 44,100 and 48,000; `cosyvoice-v1` has no Opus.
    pub format: SpeechFormat,
    /// How fast it speaks, 0.5 to 2. Default 1.
    pub speed: f32,
    /// How high it speaks, 0.5 to 2. Default 1.
    pub pitch: f32,
    /// How loud, 0 to 100. Default 50.
    pub volume: u8,
    /// Longest wait for the connection, for the start, and for the next piece of sound. Default 10 s.
    pub timeout: Duration,
}

/// Where DashScope is.
pub const DASHSCOPE_URL: &str = "wss://dashscope.aliyuncs.com/api-ws/v1/inference";

impl DashScopeSettings {
    /// With this key, and all else as it is by default.
    pub fn new(name: impl Into<String>, key: ApiKey) -> DashScopeSettings {
        DashScopeSettings {
            name: name.into(),
            url: DASHSCOPE_URL.to_owned(),
            key,
            model: "cosyvoice-v3-flash".to_owned(),
            voice: "longanyang".to_owned(),
            format: SpeechFormat::default(),
            speed: 1.0,
            pitch: 1.0,
            volume: 50,
            timeout: Duration::from_secs(10),
        }
    }
}

impl DashScope {
    /// Connects to nobody yet.
    pub fn new(settings: DashScopeSettings, dial: Dial) -> DashScope {
        DashScope {
            settings,
            dial,
            rest: Rest::default(),
        }
    }
}

impl fmt::Debug for DashScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Synthesizer for DashScope {
    /// `language` is not sent: the voice speaks the language that the text is in.
    ///
    /// A text without a letter or a digit is spoken by silence.
    fn speak<'a>(
        &'a self,
        text: &'a str,
        _language: Option<&'a str>,
        sound: mpsc::Sender<Sound>,
    ) -> Job<'a, ()> {
        Box::pin(async move {
            if !text.chars().any(char::is_alphanumeric) {
                return Ok(());
            }
            self.sentence(text, &sound)
                .await
                .map_err(|trouble| self.failure(trouble))
        })
    }
}

impl DashScope {
    /// Over a connection that rests if there is one, else over a new one; and once more over a new one where that may
    /// help and nobody has heard anything yet.
    async fn sentence(&self, text: &str, sound: &mpsc::Sender<Sound>) -> Result<(), Trouble> {
        if text.chars().count() > DASHSCOPE_TEXT_CHARS {
            return Err(Trouble::new(
                FailureKind::Refused,
                format!(
                    "a sentence of more than {DASHSCOPE_TEXT_CHARS} characters is not spoken; let the model say less"
                ),
            ));
        }
        let mut heard = false;
        if let Some(socket) = self.rest.take() {
            match self.task(socket, true, text, sound, &mut heard).await {
                Err(trouble) if may_repeat(&trouble, heard) => {
                    tracing::debug!("a kept connection was no use: {}", self.failure(trouble));
                }
                done => return done,
            }
        }
        match self.anew(text, sound, &mut heard).await {
            Err(trouble) if may_repeat(&trouble, heard) => {
                tracing::debug!("asking again: {}", self.failure(trouble));
                sleep(Duration::from_millis(RETRY_PAUSE_MS)).await;
                self.anew(text, sound, &mut heard).await
            }
            done => done,
        }
    }

    async fn anew(
        &self,
        text: &str,
        sound: &mpsc::Sender<Sound>,
        heard: &mut bool,
    ) -> Result<(), Trouble> {
        let headers = [(
            "authorization",
            format!("Bearer {}", self.settings.key.reveal()),
        )];
        let within = self.settings.timeout;
        let socket = WebSocket::open(&self.dial, &self.settings.url, &headers, within).await?;
        self.task(socket, false, text, sound, heard).await
    }

    /// One sentence over one connection, which rests afterwards if all went well.
    async fn task(
        &self,
        mut socket: WebSocket,
        kept: bool,
        text: &str,
        sound: &mpsc::Sender<Sound>,
        heard: &mut bool,
    ) -> Result<(), Trouble> {
        let within = self.settings.timeout;
        let mut task = Task::new(self.settings.format)?;
        socket.send_text(task.run(&self.settings), within).await?;
        let stale = Duration::from_millis(DASHSCOPE_STALE_MS).min(within);
        let mut deadline = Instant::now() + if kept { stale } else { within };
        loop {
            let arrival = timeout_at(deadline, socket.next()).await;
            let arrival = arrival.unwrap_or_else(|_| Err(task.late(within, kept)))?;
            match task.take(arrival)? {
                Step::Started => {
                    socket.send_text(task.say(text), within).await?;
                    socket.send_text(task.finish(), within).await?;
                }
                Step::Sound(pieces) => {
                    *heard = true;
                    for piece in pieces {
                        if sound.send(piece).await.is_err() {
                            // Nobody listens any more. The rest of the sentence is not worth waiting for.
                            return Ok(());
                        }
                    }
                }
                // Not what it was waited for.
                Step::Nothing => continue,
                Step::Finished => {
                    self.rest.keep(socket);
                    return Ok(());
                }
            }
            deadline = Instant::now() + within;
        }
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        trouble.into_failure(
            Stage::Synthesizer,
            &self.settings.name,
            Some(self.settings.key.reveal()),
        )
    }
}

fn may_repeat(trouble: &Trouble, heard: bool) -> bool {
    !heard && trouble.kind.is_passing()
}

#[cfg(test)]
mod tests;
