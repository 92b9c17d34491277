//! What requests are answered from, and one request at a time that may be.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use safeport_net::Certificates;
use safeport_store::{BlobStore, DataFolder, Registry, StoreError};
use tokio::sync::Semaphore;

use super::super::Transport;
use super::admission::Admission;
use super::answer::Refusal;
use super::devices::Devices;
use super::endpoint::Given;
use super::local::Local;
use crate::limits::{API_PROBES, API_REQUESTS, API_UPLOADS};
use crate::reading::Asked;
use crate::serve::attempts::Attempts;
use crate::serve::backups::Backups;
use crate::serve::gate::GateDriver;
use crate::serve::upgrades::Upgrades;
use crate::serve::voice::tools::Toolroom;
use crate::text::Texts;

/// What requests are answered from: a registry of their own beside the server's.
pub struct Api {
    pub(super) asked: Asked,
    pub(super) folder: DataFolder,
    pub(super) attempts: Arc<Attempts>,
    /// What listeners present.
    pub(super) certificates: Certificates,
    /// Who knows the devices; none in tests.
    pub(super) devices: Option<Arc<dyn Devices>>,
    /// What carries offers out; none in tests.
    pub(super) upgrades: Option<Arc<Upgrades>>,
    /// What copies devices' own settings; none in tests.
    pub(super) backups: Option<Arc<Backups>>,
    /// Which tools there are; none in tests.
    pub(super) toolroom: Option<Arc<Toolroom>>,
    /// Which of our addresses are proved; none in tests.
    pub(super) gate: Option<Arc<GateDriver>>,
    /// Where the bytes of images lie, once somebody wanted them.
    blobs: Mutex<Option<BlobStore>>,
    /// Held while an image gets its bytes and its row, or loses them: of two requests about the
    /// same bytes, one would remove what the other relies on.
    shelving: Mutex<()>,
    /// One for each file that is being taken.
    pub(super) uploads: Arc<Semaphore>,
    /// One for each address that is being probed.
    pub(super) probes: Arc<Semaphore>,
    /// Open and unused.
    registries: Mutex<Vec<Registry>>,
    pub(super) admission: Admission,
    /// None where there was no randomness for a token.
    pub(super) local: Option<Local>,
    /// One for each request that is worked on.
    pub(super) places: Arc<Semaphore>,
}

impl Api {
    /// For a server that was started as `asked`, on its data folder, which sees `attempts`.
    pub fn new(asked: Asked, folder: DataFolder, attempts: Arc<Attempts>) -> Api {
        Api {
            local: Local::new(&folder),
            asked,
            folder,
            attempts,
            certificates: Certificates::new(),
            devices: None,
            upgrades: None,
            backups: None,
            toolroom: None,
            gate: None,
            blobs: Mutex::default(),
            shelving: Mutex::default(),
            uploads: Arc::new(Semaphore::new(API_UPLOADS)),
            probes: Arc::new(Semaphore::new(API_PROBES)),
            registries: Mutex::default(),
            admission: Admission::default(),
            places: Arc::new(Semaphore::new(API_REQUESTS)),
        }
    }

    /// Answers what listeners present from these.
    pub fn presenting(self, certificates: Certificates) -> Api {
        Api {
            certificates,
            ..self
        }
    }

    /// Answers about devices from this list.
    pub fn knowing(self, devices: Arc<dyn Devices>) -> Api {
        Api {
            devices: Some(devices),
            ..self
        }
    }

    /// Has these carry out what is offered.
    pub fn offering(self, upgrades: Arc<Upgrades>) -> Api {
        Api {
            upgrades: Some(upgrades),
            ..self
        }
    }

    /// Has these copy devices' own settings.
    pub fn backing_up(self, backups: Arc<Backups>) -> Api {
        Api {
            backups: Some(backups),
            ..self
        }
    }

    /// Has devices do things with these tools, and tells programs where to bring theirs.
    pub fn with_tools(self, toolroom: Arc<Toolroom>, gate: Arc<GateDriver>) -> Api {
        Api {
            toolroom: Some(toolroom),
            gate: Some(gate),
            ..self
        }
    }

    /// Where the bytes of images lie.
    pub(super) fn blobs(&self, texts: &Texts) -> Result<BlobStore, Refusal> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blobs) = &*blobs {
            return Ok(blobs.clone());
        }
        let opened = self.folder.blobs();
        let opened = opened.map_err(|error| Refusal::of_store(&error, texts))?;
        Ok(blobs.insert(opened).clone())
    }

    /// Nobody else adds or removes an image while this is held.
    pub(super) fn shelving(&self) -> MutexGuard<'_, ()> {
        self.shelving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where requests are answered, for programs on this machine.
    pub(in super::super) fn listening(&self, transport: Transport, addresses: &[SocketAddr]) {
        if let Some(local) = &self.local {
            local.listening(transport, addresses);
        }
    }

    /// Lets `work` use a registry that nobody else uses meanwhile.
    pub(super) fn with_registry<T>(
        &self,
        work: impl FnOnce(&mut Registry) -> Result<T, Refusal>,
        texts: &Texts,
    ) -> Result<T, Refusal> {
        let known = self
            .registries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let failed = |error: StoreError| Refusal::of_store(&error, texts);
        let mut registry = match known {
            Some(registry) => registry,
            None => self.folder.registry().map_err(failed)?,
        };
        let done = work(&mut registry);
        self.registries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(registry);
        done
    }
}

/// One request that may be answered.
pub(super) struct Desk<'a> {
    pub(super) api: &'a Api,
    pub(super) registry: &'a mut Registry,
    pub(super) texts: &'a Texts,
    /// `api:` and the token's name, or the person at the command line.
    pub(super) who: String,
    /// Whether nothing is refused to who asks.
    pub(super) everything: bool,
    pub(super) given: Given,
    pub(super) body: Bytes,
    /// Ends when nobody waits for the answer any more.
    pub(super) gone: tokio::sync::oneshot::Receiver<()>,
}

impl Desk<'_> {
    /// What stands in the address in the place of `{name}`.
    pub(super) fn part(&self, name: &str) -> String {
        self.given.path.get(name).cloned().unwrap_or_default()
    }

    /// What the query says of `name`.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        self.given.query.get(name).cloned()
    }
}
