//! Load for a voice server: pretend xiaozhi devices that open conversations and talk. Called by
//! `safeport bench voice`.
//!
//! One thread plays every device. Each asks where to talk first (`check`), as real ones do, opens that
//! `line`, a WebSocket or MQTT with datagrams, says hello and then what its [`VoiceScene`] wants. Sound is recorded speech in
//! packets of 60 ms, sent when a microphone would; every device has a phase of its own within those
//! 60 ms.

mod check;
mod datagrams;
mod device;
mod error;
mod line;
mod report;
mod scenes;
mod sound;
mod websocket;

pub use error::VoiceError;
pub use report::{Conversing, Idling, Opening, VoiceFigures, VoiceReport, Wait};

use crate::descriptors;
use std::fmt;
use std::time::Duration;

/// The voice server to load.
#[derive(Debug, Clone)]
pub struct VoiceTarget {
    /// `http://HOST:PORT/xiaozhi/ota/`: devices ask there where to talk, and how they log in.
    /// `ws://HOST:PORT/PATH`: they talk there, with a token that says nothing. No TLS.
    pub url: String,
    /// Its process on this machine, whose CPU time, memory and threads are to be measured.
    pub pid: Option<u32>,
    /// The way that devices ask for until they are told it; `None`: whichever they are told.
    pub way: Option<VoiceWay>,
}

/// How conversations are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoiceWay {
    /// Messages and sound in a WebSocket.
    WebSocket,
    /// Messages over MQTT, sound in datagrams.
    Mqtt,
}

/// Who says when somebody has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listening {
    /// The device does, by its button: the server need not decode what it hears.
    Manual,
    /// The server does. The device is deaf while it speaks.
    Auto,
    /// The server does, and the device listens while it speaks.
    Realtime,
}

/// What the devices do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VoiceScene {
    /// They say hello and nothing else.
    Idle {
        /// How many.
        sessions: u32,
    },
    /// They open, say hello, and close, over and over.
    Opens {
        /// How many times in all.
        count: u32,
        /// How many at a time.
        concurrent: u32,
    },
    /// They all open in the same instant.
    Storm {
        /// How many.
        sessions: u32,
    },
    /// They send the sound of a quiet room and are not answered.
    Uplink {
        /// How many.
        sessions: u32,
        /// Who says when somebody has finished.
        listening: Listening,
        /// How long it is measured.
        time: Duration,
    },
    /// They say a sentence, hear the answer, and say the next.
    Talk {
        /// How many.
        sessions: u32,
        /// Who says when somebody has finished.
        listening: Listening,
        /// How long it is measured.
        time: Duration,
    },
}

/// Most devices of one scene.
pub const MAX_VOICE_SESSIONS: u32 = 20_000;

/// Longest measured time of [`VoiceScene::Uplink`]: a server may answer a button that is held for
/// half a minute.
pub const MAX_UPLINK: Duration = Duration::from_secs(25);

/// Plays `scene` on `target`. Blocks until it is over.
///
/// # Errors
/// When it cannot be played: the address, descriptors, a server that takes no device in. Devices
/// that fail in the scene itself are counted: see [`VoiceReport::failed`].
pub fn voice(target: &VoiceTarget, scene: &VoiceScene) -> Result<VoiceReport, VoiceError> {
    scene.judge()?;
    descriptors::make_room(u64::from(scene.devices()) + 64)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(VoiceError::Runtime)?;
    let figures = runtime.block_on(async {
        let passes = check::passes(target, scene.devices()).await?;
        scenes::play(target, passes, scene).await
    })?;
    Ok(VoiceReport {
        scene: scene.to_string(),
        figures,
    })
}

impl VoiceScene {
    /// How many devices it takes, those included that only warm the server up.
    fn devices(&self) -> u32 {
        match *self {
            VoiceScene::Idle { sessions } => sessions + WARM_UP,
            VoiceScene::Opens { concurrent, .. } => concurrent,
            VoiceScene::Storm { sessions }
            | VoiceScene::Uplink { sessions, .. }
            | VoiceScene::Talk { sessions, .. } => sessions,
        }
    }

    fn judge(&self) -> Result<(), VoiceError> {
        let devices = self.devices();
        if !(1..=MAX_VOICE_SESSIONS + WARM_UP).contains(&devices) {
            return Err(VoiceError::Scene(format!(
                "{devices} devices; choose 1 to {MAX_VOICE_SESSIONS}"
            )));
        }
        if let VoiceScene::Uplink { time, .. } = self
            && *time > MAX_UPLINK
        {
            return Err(VoiceError::Scene(format!(
                "{} s of sound without an answer; choose at most {}",
                time.as_secs_f64(),
                MAX_UPLINK.as_secs()
            )));
        }
        Ok(())
    }
}

/// Sessions that are open before memory is read for the first time.
const WARM_UP: u32 = 32;

impl Listening {
    fn word(self) -> &'static str {
        match self {
            Listening::Manual => "manual",
            Listening::Auto => "auto",
            Listening::Realtime => "realtime",
        }
    }
}

impl fmt::Display for VoiceScene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VoiceScene::Idle { sessions } => write!(f, "{sessions} sessions that say nothing"),
            VoiceScene::Opens { count, concurrent } => {
                write!(f, "{count} sessions come and go, {concurrent} at a time")
            }
            VoiceScene::Storm { sessions } => {
                write!(f, "{sessions} sessions open in the same instant")
            }
            VoiceScene::Uplink {
                sessions,
                listening,
                ..
            } => write!(f, "{sessions} sessions send sound, {}", listening.word()),
            VoiceScene::Talk {
                sessions,
                listening,
                ..
            } => write!(f, "{sessions} sessions talk, {}", listening.word()),
        }
    }
}
