//! `safeport bench voice`: devices that talk.

use clap::{Args, Subcommand, ValueEnum};
use safeport_sim::load::{Listening, VoiceScene, VoiceTarget, VoiceWay, voice};

use crate::console::{Console, Failure};
use crate::say;
use crate::text::Texts;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum VoiceLoad {
    /// Sessions that are open and say nothing; with --pid, what each takes
    Idle {
        /// How many
        #[arg(long, default_value_t = 1000)]
        sessions: u32,
        #[command(flatten)]
        target: VoiceTargetArgs,
    },
    /// Open a session, say hello, close, over and over
    Opens {
        /// How many in all
        #[arg(long, default_value_t = 2000)]
        count: u32,
        /// How many at a time
        #[arg(long, default_value_t = 8)]
        concurrent: u32,
        #[command(flatten)]
        target: VoiceTargetArgs,
    },
    /// Sessions that all open in the same instant
    Storm {
        /// How many
        #[arg(long, default_value_t = 1000)]
        sessions: u32,
        #[command(flatten)]
        target: VoiceTargetArgs,
    },
    /// Sessions that send the sound of a quiet room, which nobody answers
    Uplink {
        #[command(flatten)]
        sound: SoundArgs,
        #[command(flatten)]
        target: VoiceTargetArgs,
    },
    /// Sessions that say a sentence, hear the answer to its end, and say the next
    Talk {
        #[command(flatten)]
        sound: SoundArgs,
        #[command(flatten)]
        target: VoiceTargetArgs,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SoundArgs {
    /// How many sessions
    #[arg(long, default_value_t = 100)]
    sessions: u32,
    /// Who says when somebody has finished: the device (manual), the server (auto), or the server while
    /// the device goes on to listen (realtime)
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    mode: Mode,
    /// Measured time in seconds, after all have begun
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct VoiceTargetArgs {
    /// Where devices check, such as http://127.0.0.1:8002/xiaozhi/ota/ (with xiaozhi.activation = "open"), or
    /// where they talk without a check (ws://HOST:PORT/PATH); no TLS
    url: String,
    /// Process of the server on this machine: measures its CPU time, memory and threads
    #[arg(long)]
    pid: Option<u32>,
    /// The way by which devices talk: they check until they are told it. Without, they take what they are told
    #[arg(long, value_enum)]
    way: Option<Way>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Way {
    Websocket,
    Mqtt,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Manual,
    Auto,
    Realtime,
}

impl VoiceLoad {
    pub(super) fn run(&self, console: &Console) -> Result<(), Failure> {
        let texts = &console.texts;
        let (scene, target) = self.asked(texts)?;
        console.talk(&say!(
            texts,
            "bench-running",
            scenario = scene,
            address = target.url
        ));
        let target = VoiceTarget {
            url: target.url.clone(),
            pid: target.pid,
            way: target.way.map(|way| match way {
                Way::Websocket => VoiceWay::WebSocket,
                Way::Mqtt => VoiceWay::Mqtt,
            }),
        };
        let report = voice(&target, &scene).map_err(|error| {
            Failure::new(say!(texts, "bench-failed", address = target.url)).detail(error)
        })?;
        if console.json {
            console.json(&report.to_json())?;
        } else {
            console.data(&report.to_string())?;
        }
        match report.failed() {
            0 => Ok(()),
            failed => Err(Failure::new(say!(
                texts,
                "bench-voice-failed",
                failed = failed
            ))),
        }
    }

    fn asked(&self, texts: &Texts) -> Result<(VoiceScene, &VoiceTargetArgs), Failure> {
        Ok(match self {
            VoiceLoad::Idle { sessions, target } => {
                let sessions = *sessions;
                (VoiceScene::Idle { sessions }, target)
            }
            VoiceLoad::Opens {
                count,
                concurrent,
                target,
            } => {
                let (count, concurrent) = (*count, *concurrent);
                (VoiceScene::Opens { count, concurrent }, target)
            }
            VoiceLoad::Storm { sessions, target } => {
                let sessions = *sessions;
                (VoiceScene::Storm { sessions }, target)
            }
            VoiceLoad::Uplink { sound, target } => {
                let scene = VoiceScene::Uplink {
                    sessions: sound.sessions,
                    listening: sound.mode.listening(),
                    time: super::seconds(sound.seconds, texts)?,
                };
                (scene, target)
            }
            VoiceLoad::Talk { sound, target } => {
                let scene = VoiceScene::Talk {
                    sessions: sound.sessions,
                    listening: sound.mode.listening(),
                    time: super::seconds(sound.seconds, texts)?,
                };
                (scene, target)
            }
        })
    }
}

impl Mode {
    fn listening(self) -> Listening {
        match self {
            Mode::Manual => Listening::Manual,
            Mode::Auto => Listening::Auto,
            Mode::Realtime => Listening::Realtime,
        }
    }
}
