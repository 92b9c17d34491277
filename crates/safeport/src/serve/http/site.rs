//! What the pages show and ask, and who is told of what comes in.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use safeport_engine::EngineHandle;
use safeport_settings::AdvertisedAddress;

use super::api::Api;
use super::download::{EmptyShelf, Pace, Shelf};
use super::vantage::Questions;
use crate::acme::Challenges;
use crate::probe::Proofs;
use crate::serve::metrics::Metrics;
use crate::serve::voice::Voice;
use crate::serve::xiaozhi::Xiaozhi;

/// The settings that pages and upgrades heed; each request takes those of its moment.
#[derive(Clone, PartialEq, Eq)]
pub struct SiteSettings {
    /// `server.name`.
    pub name: String,
    /// `access.anonymous`: whether clients come in without a login. Then pages of strange origin
    /// may not open WebSockets.
    pub anonymous: bool,
    /// `http.metrics_token`: what `/metrics` wants as `Authorization: Bearer`; empty: nothing.
    pub metrics_token: String,
}

/// What serves behind the pages.
pub struct Services {
    /// Where upgraded connections go. It knows listeners named `http` and `https`.
    pub engine: EngineHandle,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// Set when the server stops, so that `/healthz` sends balancers elsewhere.
    pub stopping: Arc<AtomicBool>,
    /// The instance key that answers probes.
    pub proofs: Arc<Proofs>,
    /// Who wants to know by which address we were reached.
    pub seen: Arc<dyn Seen>,
    /// Who holds the change that waits for a confirmation.
    pub confirm: Arc<dyn Confirm>,
    /// Tokens that an ACME authority may fetch.
    pub challenges: Challenges,
    /// What `/api/v1` is answered from.
    pub api: Api,
    /// Who answers xiaozhi devices; `None`: nobody.
    pub xiaozhi: Option<Arc<Xiaozhi>>,
    /// Who talks with them; `None`: nobody.
    pub voice: Option<Arc<Voice>>,
}

/// Knows which addresses there are and learns which of them reached us.
pub trait Seen: Send + Sync {
    /// The addresses that a second vantage point should try, proved or not.
    fn addresses(&self) -> Vec<AdvertisedAddress>;

    /// A person's browser at `peer` reached us by `address`; `peer` is the proxy where one stands
    /// in front.
    ///
    /// False if that proves nothing: it is this very machine.
    fn seen(&self, address: &AdvertisedAddress, peer: IpAddr) -> bool;
}

/// Holds the change that is undone unless somebody confirms it over the new address.
pub trait Confirm: Send + Sync {
    /// Keeps the change that `token` was made for; `at` is our end of the connection by which
    /// somebody says so.
    fn confirm(&self, token: &str, at: Option<SocketAddr>) -> Confirmed;
}

/// What came of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// The change stays.
    Kept,
    /// No change waits for this token.
    Unknown,
    /// The change was undone before.
    Late,
    /// It came by an address of before the change, which proves nothing.
    OldAddress,
}

/// Everything that requests are answered from.
pub struct Site {
    settings: RwLock<Arc<SiteSettings>>,
    degraded: RwLock<Option<String>>,
    pub(super) engine: EngineHandle,
    pub(super) metrics: Metrics,
    pub(super) stopping: Arc<AtomicBool>,
    pub(super) proofs: Arc<Proofs>,
    pub(super) seen: Arc<dyn Seen>,
    pub(super) confirm: Arc<dyn Confirm>,
    pub(super) questions: Questions,
    pub(super) challenges: Challenges,
    pub(super) api: Api,
    shelf: RwLock<Arc<dyn Shelf>>,
    pub(super) pace: Pace,
    pub(super) xiaozhi: Option<Arc<Xiaozhi>>,
    pub(super) voice: Option<Arc<Voice>>,
}

impl Site {
    /// A site that shows `settings` and is well.
    pub fn new(settings: SiteSettings, services: Services) -> Site {
        Site {
            settings: RwLock::new(Arc::new(settings)),
            degraded: RwLock::new(None),
            engine: services.engine,
            metrics: services.metrics,
            stopping: services.stopping,
            proofs: services.proofs,
            seen: services.seen,
            confirm: services.confirm,
            questions: Questions::default(),
            challenges: services.challenges,
            api: services.api,
            xiaozhi: services.xiaozhi,
            voice: services.voice,
            shelf: RwLock::new(Arc::new(EmptyShelf)),
            pace: Pace::new(0, 0, usize::MAX),
        }
    }

    /// Where files for devices come from; before the first call there are none.
    pub fn set_shelf(&self, shelf: Arc<dyn Shelf>) {
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = shelf;
    }

    /// How fast files leave; unlimited at first.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(super) fn shelf(&self) -> Arc<dyn Shelf> {
        let shelf = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        shelf.clone()
    }

    /// Other settings for requests from now on.
    pub fn set(&self, settings: SiteSettings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Why the server runs on settings that are not those of its files, for `/healthz`; `None`
    /// when all is well.
    pub fn set_degraded(&self, why: Option<String>) {
        *self
            .degraded
            .write()
            .unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Who answers xiaozhi devices.
    pub fn xiaozhi(&self) -> Option<&Arc<Xiaozhi>> {
        self.xiaozhi.as_ref()
    }

    /// Who talks with them.
    pub fn voice(&self) -> Option<&Arc<Voice>> {
        self.voice.as_ref()
    }

    pub(super) fn settings(&self) -> Arc<SiteSettings> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn degraded(&self) -> Option<String> {
        self.degraded
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("settings", &self.settings())
            .field("degraded", &self.degraded())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SiteSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token stays out of logs.
        f.debug_struct("SiteSettings")
            .field("name", &self.name)
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}
