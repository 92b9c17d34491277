//! What talks with xiaozhi devices, composed: who they are, their conversations over WebSocket and
//! MQTT, and what is written down of them.

use std::sync::Arc;

use safeport_engine::EngineHandle;
use safeport_store::{DataFolder, Registry};

use super::house::registry_failed;
use crate::console::Failure;
use crate::reading::Read;
use crate::say;
use crate::serve::voice::{self, Lines, Lobby, Voice};
use crate::serve::xiaozhi::{self, Xiaozhi};
use crate::tasks::Tasks;
use crate::text::Texts;

/// Beside an engine that serves.
pub(super) struct Talking {
    pub(super) xiaozhi: Arc<Xiaozhi>,
    pub(super) voice: Arc<Voice>,
    pub(super) lines: Lines,
}

impl Talking {
    pub(super) fn start(
        parts: xiaozhi::Parts,
        (engine, lobby): (EngineHandle, Arc<Lobby>),
        read: &Read,
        folder: &DataFolder,
        tasks: &Tasks,
        texts: &Texts,
    ) -> Result<Talking, Failure> {
        let threads =
            |error: std::io::Error| Failure::new(say!(texts, "threads-failed")).detail(error);
        let voice = Arc::new(Voice::new(texts.language()));
        let xiaozhi =
            Xiaozhi::start(parts, &read.settings, &read.managed, tasks).map_err(threads)?;
        voice.set_settings(&read.settings, &read.managed);
        let programs = folder.registry().and_then(|registry| registry.programs());
        let programs = programs.map_err(|error| registry_failed(texts, &error))?;
        voice.toolroom().set_programs(programs);
        let talks = folder.registry().and_then(Registry::without_waiting);
        let talks = talks.map_err(|error| registry_failed(texts, &error))?;
        voice
            .history()
            .write_into(talks, folder.recordings(), tasks)
            .map_err(threads)?;
        let runtime = voice::mqtt::runtime(tasks).map_err(threads)?;
        let _inside = runtime.enter();
        let lines = Lines::new(tasks.clone());
        voice::mqtt::start(
            voice::mqtt::House {
                voice: voice.clone(),
                xiaozhi: xiaozhi.clone(),
                engine,
                lines: lines.clone(),
                lobby,
            },
            tasks,
        );
        Ok(Talking {
            xiaozhi,
            voice,
            lines,
        })
    }
}
