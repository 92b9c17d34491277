//! Settings that change while the server serves: each change is checked, bound, probed, swapped in
//! and drained; any failure leaves what was there before and says why.
//!
//! One thread owns everything that a change touches, so two changes never meet. It is woken by
//! SIGHUP, by the registry (commands stage revisions there, see [`safeport_store::Revision`]), by a
//! confirmation that came in over HTTP, and by the gate.

mod confirming;
mod swap;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use safeport_engine::EngineHandle;
use safeport_net::Handshakes;
use safeport_net::surroundings::Surroundings;
use safeport_settings::{Listener, Scheme};
use safeport_store::{
    By, Draft, FileSnapshot, LiveValue, Registry, Revision, RevisionKind, RevisionState, Scope,
    Told,
};

use super::devices::Household;
use super::sockets::Bound;
use crate::acme::AcmeHandle;
use crate::certificates::{KeeperHandle, Presented};
use crate::console::Failure;
use crate::descriptors::Descriptors;
use crate::limits::{MET_INTERVAL, SETTINGS_INTERVAL, SURROUNDINGS_INTERVAL};
use crate::reading::{Gathered, Read, ReadError, TextFile, put_back, settled};
use crate::say;
use crate::serve::access::{Access, unix_now};
use crate::serve::gate::GateDriver;
use crate::serve::http::{Confirmed, HttpListeners, Site, Transport};
use crate::serve::ntp::NtpListeners;
use crate::serve::voice::Lines;
use crate::text::Texts;

use confirming::Unconfirmed;
pub(super) use confirming::{AskLive, Awaited};
use swap::Proofs;

/// What wakes the thread.
pub enum Event {
    /// SIGHUP: read the files again.
    Reload,
    /// Somebody came over the new address to say that it works.
    Confirm(String, Option<SocketAddr>, Sender<Confirmed>),
    /// What the gate knows has changed.
    Addresses,
}

/// Everything that a change of settings touches.
pub(crate) struct Live {
    pub(crate) read: Read,
    pub(crate) bound: Vec<Bound>,
    pub(crate) registry: Registry,
    pub(crate) engine: EngineHandle,
    pub(crate) http: HttpListeners,
    pub(crate) ntp: NtpListeners,
    pub(crate) lines: Lines,
    pub(crate) site: Arc<Site>,
    pub(crate) access: Arc<Access>,
    pub(crate) gate: Arc<GateDriver>,
    pub(crate) descriptors: Descriptors,
    pub(crate) texts: Texts,
    /// `--strand`.
    pub(crate) strand: Vec<String>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) unconfirmed: Option<Unconfirmed>,
    pub(super) awaited: Awaited,
    /// Our own CA's certificate.
    pub(crate) ca_pem: String,
    /// Keeps our certificates good.
    pub(crate) keeper: KeeperHandle,
    /// What listeners present.
    pub(crate) presented: Presented,
    /// What knows the devices.
    pub(super) household: Household,
    /// Asks the ACME authority.
    pub(crate) acme: AcmeHandle,
    /// Bounds of TLS handshakes.
    pub(crate) handshakes: Handshakes,
    /// Who logged in by which listener, as written down already.
    pub(crate) met: HashSet<(String, String, u16)>,
}

impl Live {
    /// Serves events until the server ends.
    pub(crate) fn run(mut self, events: &Receiver<Event>) {
        // What was staged before this start is looked at first.
        let mut seen = None;
        self.remember_undone();
        let mut surroundings = (Instant::now(), Surroundings::look().fingerprint());
        let mut met_at = Instant::now();
        loop {
            match events.recv_timeout(SETTINGS_INTERVAL) {
                Ok(Event::Reload) => self.reload("SIGHUP"),
                Ok(Event::Confirm(token, at, answer)) => {
                    let _ = answer.send(self.confirm(&token, at));
                }
                Ok(Event::Addresses) => self.write_addresses(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let version = self.registry.settings_version().ok();
            if version != seen {
                seen = version;
                // Settling it moves the version once more, and so does who stages meanwhile: both
                // are seen the next time.
                self.take_staged();
            }
            if let Some(unconfirmed) = &self.unconfirmed
                && Instant::now() >= unconfirmed.until
            {
                self.revert();
            }
            if surroundings.0.elapsed() >= SURROUNDINGS_INTERVAL {
                let mark = Surroundings::look().fingerprint();
                if mark != surroundings.1 {
                    tracing::info!(
                        target: "safeport::serve",
                        "this machine's addresses have changed; advertised addresses are proved anew"
                    );
                    self.show_candidates();
                    self.gate.recheck();
                    // The private certificates carry the addresses of now: a server that was there
                    // before its network must not wait for the daily look.
                    self.keeper.wake();
                }
                surroundings = (Instant::now(), mark);
            }
            if met_at.elapsed() >= MET_INTERVAL {
                met_at = Instant::now();
                self.note_met();
            }
        }
    }

    /// Lets HTTP accept on what is bound for it.
    pub(crate) fn open_http(&self) -> Result<(), Failure> {
        let settings = &self.read.settings;
        self.http.set_room(
            settings.http.max_connections as usize,
            settings.https.max_connections as usize,
        );
        self.set_accept();
        self.hand_over(Listener::Http)?;
        self.hand_over(Listener::Https)
    }

    /// Writes down what the running server uses, for the commands that look from outside.
    pub(crate) fn write_live(&mut self) {
        let settings = &self.read.settings;
        let values = settings
            .values()
            .map(|entry| LiveValue {
                key: entry.key,
                value: entry.value,
                source: entry.source.to_string(),
            })
            .collect();
        let live = safeport_store::Live {
            values,
            file: Some(settled(&self.read.main).to_string_lossy().into_owned()),
            degraded: self.read.degraded.clone(),
            pid: std::process::id(),
            at: unix_now(),
        };
        if let Err(error) = self.registry.set_live(&live) {
            tracing::warn!(
                target: "safeport::serve",
                "what is in force cannot be written down for other commands: {error}"
            );
        }
    }

    /// Tells the gate which addresses there are to tell.
    pub(crate) fn show_candidates(&self) {
        let bound: Vec<_> = self.bound.iter().map(Bound::place).collect();
        self.gate.set_candidates(&self.read, &bound);
    }

    pub(crate) fn write_addresses(&mut self) {
        if let Err(error) = self.gate.write(&mut self.registry) {
            tracing::warn!(
                target: "safeport::serve",
                "the states of advertised addresses cannot be written down: {error}"
            );
        }
        self.put_up_signpost();
    }

    /// Tells who asks for pages at a port of MQTT where they are.
    fn put_up_signpost(&self) {
        let places = [
            (Listener::Http, Scheme::Http),
            (Listener::Https, Scheme::Https),
        ];
        let urls: Vec<String> = places
            .into_iter()
            .filter_map(|(listener, scheme)| {
                let told = self.gate.told(listener, scheme);
                told.address().map(ToString::to_string)
            })
            .collect();
        if !urls.is_empty() {
            self.engine.set_signpost(&format!(
                "This port speaks MQTT. Pages, updates and WebSockets are at {}\n",
                urls.join(" and ")
            ));
        }
    }

    fn note_met(&mut self) {
        for met in self.access.take_met() {
            let Some(bound) = self
                .bound
                .iter()
                .find(|bound| bound.listener.name() == met.listener)
            else {
                continue;
            };
            let port = bound.actual.port();
            if !self
                .met
                .insert((met.device.clone(), met.listener.clone(), port))
            {
                continue;
            }
            // What it was told is known better than by its coming; and it may be gone by now.
            let known = self
                .registry
                .holders(&met.listener, port)
                .unwrap_or_default();
            if known.iter().any(|told| told.device == met.device) {
                continue;
            }
            let _ = self.registry.tell(&Told {
                device: met.device,
                listener: met.listener,
                host: String::new(),
                port,
                url: String::new(),
                at: unix_now(),
            });
        }
    }

    // What changes come to.

    fn reload(&mut self, why: &str) {
        let read = match self.read_again() {
            Ok(read) => read,
            Err(error) => {
                let failure = error.failure(&self.texts, false);
                tracing::error!(
                    target: "safeport::serve",
                    "{why}: the settings are as before: {}",
                    failure.one_text()
                );
                return;
            }
        };
        let files = changed_files(&self.read.files, &read.files);
        if self.read.degraded.is_none()
            && files.is_empty()
            && self.read.settings.differences(&read.settings).is_empty()
        {
            tracing::info!(target: "safeport::serve", "{why}: the settings files say what is in force");
            self.gate.recheck();
            return;
        }
        let draft = Draft {
            reason: String::new(),
            kind: RevisionKind::Files,
            base: None,
            changes: Vec::new(),
            files,
        };
        let by = By {
            who: why,
            at: unix_now(),
        };
        let staged = self.registry.stage(&draft, by);
        match staged.and_then(|id| self.registry.revision(id)) {
            Ok(Some(revision)) => self.take(revision, Some(read)),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(target: "safeport::serve", "{why}: nothing was changed: {error}");
            }
        }
    }

    /// The files as they are now, with what is managed in the data folder that is in use: another
    /// one that the files name counts from the next start on.
    fn read_again(&self) -> Result<Read, ReadError> {
        let managed = self.registry.managed().map_err(ReadError::Managed)?;
        Gathered::new(&self.read.asked)?.judge(managed)
    }

    fn take_staged(&mut self) {
        match self.registry.staged() {
            Ok(Some(revision)) => self.take(revision, None),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(target: "safeport::serve", "staged settings cannot be read: {error}");
            }
        }
    }

    /// Tries a staged revision and writes down what came of it.
    fn take(&mut self, revision: Revision, read: Option<Read>) {
        if revision.state != RevisionState::Staged {
            return;
        }
        let done = match read {
            Some(read) => Ok(read),
            None => Read::staged(&self.read.asked, &mut self.registry, &revision)
                .map_err(|error| error.failure(&self.texts, false)),
        }
        .and_then(|read| self.apply(read, &revision));
        let (state, verdict, confirm_by) = match done {
            Ok(done) => done,
            Err(failure) => (RevisionState::Refused, failure.one_text(), None),
        };
        if state == RevisionState::Refused && revision.kind != RevisionKind::Files {
            // Whoever has written them may be gone by now.
            for file in &revision.files {
                if let Err(error) = put_back(file) {
                    let path = &file.path;
                    tracing::warn!(target: "safeport::serve", "{path} was not put back: {error}");
                }
            }
        }
        match state {
            RevisionState::Refused => tracing::error!(
                target: "safeport::serve",
                revision = revision.id,
                who = revision.who,
                "settings refused, the old ones serve on: {verdict}"
            ),
            _ => tracing::info!(
                target: "safeport::serve",
                revision = revision.id,
                who = revision.who,
                "settings changed: {verdict}"
            ),
        }
        self.settle(revision.id, state, &verdict, confirm_by);
        self.write_live();
        // Whoever changes or reloads something wants to know whether the addresses hold now: a
        // proxy that was mended shows in no setting.
        self.gate.recheck();
    }

    fn settle(&mut self, id: u64, state: RevisionState, verdict: &str, confirm_by: Option<u64>) {
        if let Err(error) = self.registry.settle(
            id,
            state,
            Some(verdict),
            confirm_by,
            By {
                who: "server",
                at: unix_now(),
            },
        ) {
            tracing::error!(
                target: "safeport::serve",
                revision = id,
                "what came of the change cannot be written down: {error}"
            );
        }
    }

    fn apply(
        &mut self,
        next: Read,
        revision: &Revision,
    ) -> Result<(RevisionState, String, Option<u64>), Failure> {
        // What is unconfirmed is decided first: two ways back at once would cross.
        if let Some(unconfirmed) = &self.unconfirmed {
            return Err(Failure::new(say!(
                self.texts,
                "change-unconfirmed",
                revision = unconfirmed.revision
            )));
        }
        let before = self.read.clone();
        let asks = matches!(revision.kind, RevisionKind::Set | RevisionKind::Rollback);
        let applied = self.swap(next, Proofs::Wanted)?;
        let scoped: Vec<String> = revision
            .changes
            .iter()
            .filter(|change| change.scope != Scope::Everyone)
            .map(|change| format!("{} ({})", change.key, change.scope))
            .collect();
        let verdict = applied.verdict(&scoped, &self.texts);
        let lockout = applied
            .changed
            .iter()
            .any(|key| safeport_settings::key_info(key).is_some_and(|info| info.lockout));
        // Who has switched off every page has none to confirm by, and wanted it so.
        let has_pages = self
            .bound
            .iter()
            .any(|bound| Transport::of(bound.listener).is_some());
        if asks && lockout && has_pages {
            let window = self.read.settings.config.confirm;
            let token = self.gate.proofs().confirm_token(revision.id);
            self.awaited.set(token.clone());
            self.unconfirmed = Some(Unconfirmed {
                revision: revision.id,
                token,
                until: Instant::now() + window,
                before,
                files: revision.files.clone(),
                old: applied.old,
            });
            return Ok((
                RevisionState::Unconfirmed,
                verdict,
                Some(unix_now() + window.as_secs()),
            ));
        }
        // The change holds; that something of before lingers is no reason to call it refused.
        if let Err(failure) = self.retire(applied.old) {
            tracing::error!(target: "safeport::serve", "{}", failure.one_text());
        }
        Ok((RevisionState::Live, verdict, None))
    }
}

/// What became of the files between two readings.
pub(crate) fn changed_files(before: &[TextFile], after: &[TextFile]) -> Vec<FileSnapshot> {
    let text = |files: &[TextFile], path: &PathBuf| {
        files
            .iter()
            .find(|file| &settled(&file.path) == path)
            .map(|file| file.text.clone())
    };
    let mut paths: Vec<PathBuf> = before
        .iter()
        .chain(after)
        .map(|file| settled(&file.path))
        .collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| FileSnapshot {
            path: path.to_string_lossy().into_owned(),
            old: text(before, &path),
            new: text(after, &path),
        })
        .filter(|file| file.old != file.new)
        .collect()
}
