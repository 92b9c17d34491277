//! What each listener presents by the settings, exchanged while it serves.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use safeport_net::PrivateCa;
use safeport_net::pki::{
    AnchorKind, Certificates, Chain, ChainError, Choice, Origin, PkiError, RecordSize, Roots,
    TlsProfile, TlsService, authorities,
};
use safeport_settings::{CertificateChoice, Listener, Settings};
use safeport_store::{DataFolder, Pin};

use super::files::{ChainFiles, Mark, Refused};
use super::keeper::is_due;
use super::pins::stranded;
use crate::acme::Key;

/// The certificates and the TLS side of every listener. Copies share them; an exchange holds from
/// the next handshake on, and no connection is dropped.
#[derive(Clone)]
pub struct Presented(Arc<Shared>);

struct Shared {
    certificates: Certificates,
    services: Vec<(Listener, TlsService)>,
    state: Mutex<State>,
}

/// What the files are by now.
struct State {
    files: ChainFiles,
    mark: Mark,
    /// When they were judged.
    judged: SystemTime,
    refused: Vec<Refused>,
    /// Chains that would strand devices, and whom.
    held_back: Option<HeldBack>,
}

/// New chains that wait for a person's word, since devices would no longer recognise the server.
#[derive(Clone)]
pub struct HeldBack {
    chains: Vec<Arc<Chain>>,
    /// The devices.
    pub devices: Vec<String>,
}

/// What some settings make of the certificates; nothing is exchanged yet.
pub struct Prepared {
    files: ChainFiles,
    mark: Mark,
    judged: SystemTime,
    chains: Vec<Arc<Chain>>,
    /// Chains that cannot be presented.
    pub refused: Vec<Refused>,
    profiles: Vec<(Listener, TlsProfile)>,
}

impl Prepared {
    /// Reads what the settings name. `own_root` is our own authority's certificate (DER).
    ///
    /// # Errors
    /// If `client_ca_file` of a listener cannot be used; without it everybody would get in.
    pub fn new(
        settings: &Settings,
        own_root: &[u8],
        now: SystemTime,
    ) -> Result<Prepared, ChainError> {
        let files = ChainFiles::of(settings);
        let mark = files.mark();
        let (chains, refused) = files.read(own_root, now);
        let profiles = Listener::CONNECTED
            .into_iter()
            .map(|listener| Ok((listener, profile(settings, listener)?)))
            .collect::<Result<_, ChainError>>()?;
        Ok(Prepared {
            files,
            mark,
            judged: now,
            chains: chains.into_iter().map(Arc::new).collect(),
            refused,
            profiles,
        })
    }

    fn profile(&self, listener: Listener) -> TlsProfile {
        let mut profiles = self.profiles.iter();
        let found = profiles.find(|(of, _)| *of == listener);
        found
            .map(|(_, profile)| profile.clone())
            .unwrap_or_default()
    }

    /// Leaves out the chains from files.
    fn without_chains(&mut self) -> Vec<Arc<Chain>> {
        std::mem::take(&mut self.chains)
    }
}

impl Presented {
    /// Presents what was prepared, beside what `certificates` holds already. Where that would show
    /// devices another key than they know, the chains from files are held back.
    ///
    /// # Errors
    /// If a listener's TLS side cannot be made.
    pub fn start(
        certificates: Certificates,
        mut prepared: Prepared,
        pinned: &[(Pin, Option<String>)],
    ) -> Result<Presented, PkiError> {
        let with_files = certificates.copy();
        with_files.set_files(prepared.chains.iter().cloned());
        let choice = prepared.profile(Listener::Mqtts).choice;
        let devices = stranded(
            pinned,
            (&certificates, Choice::Private),
            (&with_files, choice),
        );
        let held_back = (!devices.is_empty() && !prepared.chains.is_empty()).then(|| HeldBack {
            chains: prepared.without_chains(),
            devices,
        });
        certificates.set_files(prepared.chains);
        let services = prepared
            .profiles
            .into_iter()
            .map(|(listener, profile)| Ok((listener, TlsService::new(&certificates, profile)?)))
            .collect::<Result<_, PkiError>>()?;
        Ok(Presented(Arc::new(Shared {
            certificates,
            services,
            state: Mutex::new(State {
                files: prepared.files,
                mark: prepared.mark,
                judged: prepared.judged,
                refused: prepared.refused,
                held_back,
            }),
        })))
    }

    /// The TLS side of a listener that takes connections.
    ///
    /// # Panics
    /// For a listener of datagrams.
    pub fn service(&self, listener: Listener) -> TlsService {
        let mut services = self.0.services.iter();
        let found = services.find(|(of, _)| *of == listener);
        let (_, service) = found.expect("a listener that takes connections");
        service.clone()
    }

    /// All certificates.
    pub fn certificates(&self) -> &Certificates {
        &self.0.certificates
    }

    /// Chains that cannot be presented.
    pub fn refused(&self) -> Vec<Refused> {
        self.state().refused.clone()
    }

    /// Chains that wait for a person's word.
    pub fn held_back(&self) -> Option<HeldBack> {
        self.state().held_back.clone()
    }

    /// Chains that `prepared` cannot present although the settings name them anew. What becomes of
    /// files that were named before, `Presented::look` says.
    pub fn news(&self, prepared: &Prepared) -> Vec<Refused> {
        let state = self.state();
        if prepared.files == state.files {
            return Vec::new();
        }
        let is_new = |refused: &&Refused| !state.refused.contains(refused);
        prepared.refused.iter().filter(is_new).cloned().collect()
    }

    /// The devices that would no longer recognise the server on `mqtts` once `prepared` is applied.
    pub fn would_strand(
        &self,
        prepared: &Prepared,
        pinned: &[(Pin, Option<String>)],
    ) -> Vec<String> {
        let after = self.0.certificates.copy();
        if prepared.files != self.state().files {
            after.set_files(prepared.chains.iter().cloned());
        }
        let now = self.service(Listener::Mqtts).choice();
        let next = prepared.profile(Listener::Mqtts).choice;
        stranded(pinned, (&self.0.certificates, now), (&after, next))
    }

    /// Presents what was prepared. Files that the settings name as before stay as they are: what is
    /// in them by now may be broken or held back, and is the matter of `Presented::look`.
    ///
    /// # Errors
    /// If a listener's rules cannot be used; the others have been exchanged then.
    pub fn apply(&self, prepared: Prepared) -> Result<(), PkiError> {
        let mut state = self.state();
        if state.files != prepared.files {
            state.files = prepared.files;
            state.mark = prepared.mark;
            state.judged = prepared.judged;
            state.refused = prepared.refused;
            state.held_back = None;
            self.0.certificates.set_files(prepared.chains);
        }
        for (listener, profile) in prepared.profiles {
            self.service(listener).set(profile)?;
        }
        Ok(())
    }

    /// Reads the files again if they are others than the last time, and says what came of it;
    /// `None` if there is nothing new. A chain that cannot be presented leaves those of before in
    /// force, and so do chains that would strand devices, as long as they would.
    pub(super) fn look(
        &self,
        own_root: &[u8],
        now: SystemTime,
        pinned: &[(Pin, Option<String>)],
    ) -> Option<Looked> {
        let mut state = self.state();
        let mark = state.files.mark();
        let is_new = mark != state.mark;
        // What was refused for its dates is good once the clock is set.
        let again = !state.refused.is_empty() && is_due(Some(state.judged), now, JUDGED_AGAIN);
        if !is_new && !again {
            return self.reconsider(&mut state, pinned);
        }
        let (chains, refused) = state.files.read(own_root, now);
        // A writer at work: the next look finds the other half.
        if state.files.mark() != mark {
            return None;
        }
        let is_known = !is_new && refused == state.refused;
        state.mark = mark;
        state.judged = now;
        state.refused = refused.clone();
        if !refused.is_empty() {
            state.held_back = None;
            return (!is_known).then_some(Looked::Refused(refused));
        }
        let chains: Vec<Arc<Chain>> = chains.into_iter().map(Arc::new).collect();
        let devices = self.lost_by(&chains, pinned);
        if devices.is_empty() {
            state.held_back = None;
            self.0.certificates.set_files(chains);
            return Some(Looked::Exchanged);
        }
        let held_back = HeldBack {
            chains,
            devices: devices.clone(),
        };
        state.held_back = Some(held_back);
        Some(Looked::HeldBack(devices))
    }

    /// Presents chains that were held back as soon as no device stands in their way: it was
    /// forgotten, was told the new fingerprint, or does not come to what presents them.
    fn reconsider(&self, state: &mut State, pinned: &[(Pin, Option<String>)]) -> Option<Looked> {
        let held_back = state.held_back.as_mut()?;
        held_back.devices = self.lost_by(&held_back.chains, pinned);
        if !held_back.devices.is_empty() {
            return None;
        }
        let held_back = state.held_back.take()?;
        self.0.certificates.set_files(held_back.chains);
        Some(Looked::Exchanged)
    }

    /// The devices that would no longer recognise the server if these were presented from files.
    fn lost_by(&self, chains: &[Arc<Chain>], pinned: &[(Pin, Option<String>)]) -> Vec<String> {
        let after = self.0.certificates.copy();
        after.set_files(chains.iter().cloned());
        let choice = self.service(Listener::Mqtts).choice();
        stranded(pinned, (&self.0.certificates, choice), (&after, choice))
    }

    /// Presents the chains that were held back, if there are any. Says whether there were.
    pub(super) fn release(&self) -> bool {
        let mut state = self.state();
        match state.held_back.take() {
            None => false,
            Some(held_back) => {
                self.0.certificates.set_files(held_back.chains);
                true
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("certificates", &self.0.certificates)
            .finish_non_exhaustive()
    }
}

/// How long after files were refused they are judged once more although they are the same.
const JUDGED_AGAIN: Duration = Duration::from_secs(3600);

/// What a look at changed files came to.
#[derive(Debug)]
pub(super) enum Looked {
    Exchanged,
    Refused(Vec<Refused>),
    HeldBack(Vec<String>),
}

/// What the settings choose for a listener. One without TLS of its own (`accept = "both"`) presents
/// what its sister does.
pub fn choice(settings: &Settings, listener: Listener) -> Choice {
    let choice = match sister(listener) {
        Listener::Https => settings.https.certificate,
        _ => settings.mqtts.certificate,
    };
    match choice {
        CertificateChoice::Auto => Choice::Auto,
        CertificateChoice::Private => Choice::Private,
        CertificateChoice::Files => Choice::Files,
        CertificateChoice::Acme => Choice::Acme,
    }
}

fn profile(settings: &Settings, listener: Listener) -> Result<TlsProfile, ChainError> {
    let (size, file) = match sister(listener) {
        Listener::Https => (settings.https.record_size, &settings.https.client_ca_file),
        _ => (settings.mqtts.record_size, &settings.mqtts.client_ca_file),
    };
    // Where clear text is welcome, a certificate proves nothing.
    let asks = listener.is_tls() && !file.is_empty();
    let client_roots = match asks {
        true => Some(authorities(Path::new(file))?),
        false => None,
    };
    Ok(TlsProfile {
        choice: choice(settings, listener),
        record_size: match size {
            safeport_settings::RecordSize::Auto => RecordSize::Auto,
            safeport_settings::RecordSize::Bytes(bytes) => RecordSize::Fixed(bytes),
        },
        client_roots,
    })
}

/// The listener of the same protocol that has TLS.
fn sister(listener: Listener) -> Listener {
    match listener {
        Listener::Http | Listener::Https => Listener::Https,
        _ => Listener::Mqtts,
    }
}

/// The chains that ACME brought earlier, for commands beside the server.
pub(super) fn acme_on_disk(
    folder: &DataFolder,
    settings: &Settings,
    ca: &PrivateCa,
    now: SystemTime,
) -> Vec<Chain> {
    if settings.acme.names.is_empty() {
        return Vec::new();
    }
    let keys = super::server_keys(ca);
    let roots = Roots::public().with_certificate(AnchorKind::Private, ca.ca_der());
    [(Key::Rsa, &keys.rsa), (Key::P256, &keys.p256)]
        .into_iter()
        .filter_map(|(key, private)| {
            let path = folder
                .pki()
                .join("acme")
                .join(format!("acme-{}.pem", key.word()));
            let chain = std::fs::read(path).ok()?;
            Chain::from_pem(Origin::Acme, &chain, private.as_bytes(), &roots, now).ok()
        })
        .collect()
}
