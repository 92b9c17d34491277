//! Speech to text by a FunASR server, over its WebSocket protocol: what is said goes to it while it is being said.
//!
//! The protocol: FunASR, `runtime/docs/websocket_protocol.md`. Two servers speak it, one in C++ and one in Python, and
//! they differ in how they tell that they have finished ([`Hearing`]).
//!
//! FunASR's own images serve `wss://` with a certificate that nobody has signed. Start the server with `--certfile 0`
//! (Python: `--certfile ""`) and use `ws://`, or give it a certificate whose authority is among the roots of trust, or set
//! [`FunAsrSettings::insecure`].

mod hearing;

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::hearing::{Answer, Hearing};
use crate::dial::Dial;
use crate::limits::{FUNASR_SPEECH_SAMPLES, RETRY_PAUSE_MS};
use crate::openai::ApiKey;
use crate::provider::{Failure, FailureKind, Job, Recognizer, Speech, Stage, Transcript};
use crate::websocket::{Arrival, Trouble, WebSocket, unverified};

/// A FunASR server. One connection for each utterance: a session of FunASR's is one.
pub struct FunAsr {
    settings: FunAsrSettings,
    dial: Dial,
}

/// How to use a FunASR server.
#[derive(Debug, Clone)]
pub struct FunAsrSettings {
    /// The provider's name in the settings.
    pub name: String,
    /// `ws://` or `wss://`, a host and a port; FunASR's own is 10095, or 10096 for the images of its real-time service.
    pub url: String,
    /// Sent as `Authorization: Bearer …`, for a proxy in front; FunASR itself asks for none.
    pub key: Option<ApiKey>,
    /// How it listens. Default [`FunAsrMode::TwoPass`].
    pub mode: FunAsrMode,
    /// Words that it should expect, with how much (1 to 100; 20 is usual). Default none.
    pub hotwords: Vec<(String, u32)>,
    /// Whether numbers and dates become digits. Default yes.
    pub itn: bool,
    /// Whether any certificate will do for `wss://`: whoever stands in between can listen and answer. Default no.
    pub insecure: bool,
    /// Longest wait for the connection, and for the text once somebody has finished. Default 10 s.
    pub timeout: Duration,
}

/// How a FunASR server listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FunAsrMode {
    /// It recognises while it hears, and once more with a better model when a sentence is over.
    #[default]
    TwoPass,
    /// While it hears only: the quickest, and the least exact.
    Online,
    /// When all is said. The only one that servers for files know.
    Offline,
}

impl FunAsrMode {
    /// As FunASR calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            FunAsrMode::TwoPass => "2pass",
            FunAsrMode::Online => "online",
            FunAsrMode::Offline => "offline",
        }
    }
}

impl FunAsrSettings {
    /// A server at this address, and all else as it is by default.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> FunAsrSettings {
        FunAsrSettings {
            name: name.into(),
            url: url.into(),
            key: None,
            mode: FunAsrMode::default(),
            hotwords: Vec::new(),
            itn: true,
            insecure: false,
            timeout: Duration::from_secs(10),
        }
    }
}

impl FunAsr {
    /// Connects to nobody yet.
    pub fn new(settings: FunAsrSettings, dial: Dial) -> FunAsr {
        let dial = match settings.insecure {
            true => Dial {
                tls: Arc::new(unverified(&dial.tls)),
                ..dial
            },
            false => dial,
        };
        FunAsr { settings, dial }
    }
}

impl fmt::Debug for FunAsr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Recognizer for FunAsr {
    /// `language` is not sent: the protocol has no place for it, the server's model decides.
    fn recognize<'a>(&'a self, speech: Speech, _language: Option<&'a str>) -> Job<'a, Transcript> {
        Box::pin(async move {
            let mut said = Said::of(speech);
            let first = self.listen(&mut said).await;
            let heard = match first {
                Err(trouble) if trouble.kind.is_passing() => {
                    tracing::debug!("asking again: {}", self.failure(trouble));
                    said.wait_and_keep(Duration::from_millis(RETRY_PAUSE_MS))
                        .await;
                    self.listen(&mut said).await
                }
                other => other,
            };
            heard
                .map(|text| Transcript { text })
                .map_err(|trouble| self.failure(trouble))
        })
    }
}

impl FunAsr {
    /// One connection: all that was said so far, what is said from now on, and what it makes of that.
    async fn listen(&self, said: &mut Said) -> Result<String, Trouble> {
        if said.is_nothing().await {
            return Ok(String::new());
        }
        let mut socket = self.open(said).await?;
        let mut hearing = Hearing::new(self.settings.mode);
        let mut sent = 0;
        socket
            .send_text(self.greeting(), self.settings.timeout)
            .await?;
        while let Some(frame) = said.frame_after(sent) {
            sent += FRAME_SAMPLES;
            socket.send_bytes(frame, self.settings.timeout).await?;
        }
        while !said.is_over() {
            tokio::select! {
                () = said.more() => {
                    while let Some(frame) = said.frame_after(sent) {
                        sent += FRAME_SAMPLES;
                        socket.send_bytes(frame, self.settings.timeout).await?;
                    }
                }
                arrival = socket.next() => match arrival? {
                    Arrival::Closed(why) => return Err(closed(&why)),
                    arrival => {
                        hearing.take(answer(arrival)?);
                    }
                }
            }
        }
        let end = json!({ "is_speaking": false }).to_string();
        socket.send_text(end, self.settings.timeout).await?;
        hearing.end();
        self.last_words(&mut socket, &mut hearing).await?;
        socket.close().await;
        Ok(hearing.into_text())
    }

    /// Opens the connection; what is said meanwhile is kept.
    async fn open(&self, said: &mut Said) -> Result<WebSocket, Trouble> {
        let headers: Vec<_> = self
            .settings
            .key
            .iter()
            .map(|key| ("authorization", format!("Bearer {}", key.reveal())))
            .collect();
        let opening = WebSocket::open(
            &self.dial,
            &self.settings.url,
            &headers,
            self.settings.timeout,
        );
        let mut opening = std::pin::pin!(opening);
        loop {
            tokio::select! {
                opened = &mut opening => return opened,
                () = said.more() => {}
            }
        }
    }

    fn greeting(&self) -> String {
        let mut greeting = json!({
            "mode": self.settings.mode.as_str(),
            // 600 ms at a time, 300 ms looked back and ahead.
            "chunk_size": [5, 10, 5],
            // Such a piece comes in ten frames. The Python server counts frames, so they must be of that length.
            "chunk_interval": 10,
            "wav_name": "safeport",
            "wav_format": "pcm",
            "audio_fs": 16000,
            "is_speaking": true,
            "itn": self.settings.itn,
        });
        if !self.settings.hotwords.is_empty() {
            let words: serde_json::Map<_, _> = self
                .settings
                .hotwords
                .iter()
                .map(|(word, weight)| (word.clone(), json!(weight)))
                .collect();
            // A JSON object as text: that is how the servers want it.
            greeting["hotwords"] = json!(serde_json::Value::Object(words).to_string());
        }
        greeting.to_string()
    }

    /// Waits until all is recognised, or what has come must do.
    async fn last_words(
        &self,
        socket: &mut WebSocket,
        hearing: &mut Hearing,
    ) -> Result<(), Trouble> {
        let deadline = Instant::now() + self.settings.timeout;
        while !hearing.is_all() {
            let settled = async {
                match hearing.settles_in() {
                    Some(wait) => sleep(wait).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                arrival = socket.next() => match arrival {
                    Ok(Arrival::Closed(why)) if !hearing.has_heard() => return Err(closed(&why)),
                    Ok(Arrival::Closed(_)) => return Ok(()),
                    Ok(arrival) => hearing.take(answer(arrival)?),
                    Err(trouble) if trouble.kind == FailureKind::Broken && hearing.has_heard() => return Ok(()),
                    Err(trouble) => return Err(trouble),
                },
                () = settled => return Ok(()),
                () = sleep_until(deadline) => {
                    if hearing.has_heard() {
                        tracing::debug!(provider = %self.settings.name, "never said that it had finished");
                        return Ok(());
                    }
                    return Err(Trouble::new(
                        FailureKind::TimedOut,
                        format!(
                            "no text within {} s of the end of the speech; look at the server's log and load",
                            self.settings.timeout.as_secs_f32()
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    fn failure(&self, trouble: Trouble) -> Failure {
        trouble.into_failure(
            Stage::Recognizer,
            &self.settings.name,
            self.settings.key.as_ref().map(ApiKey::reveal),
        )
    }
}

fn answer(arrival: Arrival) -> Result<Answer, Trouble> {
    match arrival {
        Arrival::Text(text) => Answer::read(&text),
        Arrival::Bytes(bytes) => Err(Trouble::new(
            FailureKind::Misunderstood,
            format!(
                "it sent {} bytes where FunASR sends JSON; look at its url",
                bytes.len()
            ),
        )),
        Arrival::Closed(why) => Err(closed(&why)),
    }
}

fn closed(why: &str) -> Trouble {
    Trouble::new(
        FailureKind::Broken,
        format!("it closed the connection: {why}"),
    )
}

/// What was said so far, kept for a second try.
struct Said {
    speech: Option<Speech>,
    samples: Vec<i16>,
}

impl Said {
    fn of(speech: Speech) -> Said {
        Said {
            speech: Some(speech),
            samples: Vec::new(),
        }
    }

    /// Whether they have finished without a sound. Waits for the first one.
    async fn is_nothing(&mut self) -> bool {
        while self.samples.is_empty() && !self.is_over() {
            self.more().await;
        }
        self.samples.is_empty()
    }

    fn is_over(&self) -> bool {
        self.speech.is_none()
    }

    /// Waits for more; for ever if they have finished. Can be dropped: nothing is lost.
    async fn more(&mut self) {
        let Some(speech) = &mut self.speech else {
            return pending().await;
        };
        match speech.next().await {
            Some(piece) => self.samples.extend_from_slice(&piece),
            None => self.speech = None,
        }
        if self.samples.len() >= FUNASR_SPEECH_SAMPLES {
            self.samples.truncate(FUNASR_SPEECH_SAMPLES);
            self.speech = None;
        }
    }

    async fn wait_and_keep(&mut self, pause: Duration) {
        let _ = timeout(pause, async {
            loop {
                self.more().await;
            }
        })
        .await;
    }

    /// The next frame behind this many samples, little-endian; the last one is filled up with silence.
    fn frame_after(&self, sent: usize) -> Option<Vec<u8>> {
        let rest = self.samples.get(sent..).filter(|rest| !rest.is_empty())?;
        if rest.len() < FRAME_SAMPLES && !self.is_over() {
            return None;
        }
        let frame = &rest[..rest.len().min(FRAME_SAMPLES)];
        let mut bytes: Vec<u8> = frame
            .iter()
            .flat_map(|sample| sample.to_le_bytes())
            .collect();
        bytes.resize(FRAME_SAMPLES * 2, 0);
        Some(bytes)
    }
}

/// 60 ms: a tenth of what is recognised at a time.
const FRAME_SAMPLES: usize = 960;

#[cfg(test)]
mod tests;
