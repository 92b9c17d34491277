//! Keeps the certificates good while the server runs: they end, files are replaced, the machine
//! gets another name, somebody asks for a new key. One thread, woken by what it has to do with and
//! every few seconds, since a clock that is set or a file that is replaced wakes nobody.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use safeport_net::PrivateCa;
use safeport_net::pki::{Chain, Choice, Origin, PkiError, Renewed, ServerKey};
use safeport_settings::Said;
use safeport_store::{
    By, CertificateWish, ChainRow, Pin, Registry, StoreError, WishKind, WishState,
};

use super::pins::pinned;
use super::presented::{Looked, Presented};
use super::rotation::{Rotation, Strand, rotate};
use super::{pki_said, rotation_said, server_keys};
use crate::acme::AcmeHandle;
use crate::lan;
use crate::limits::{CERTIFICATE_INTERVAL, CERTIFICATE_LOOK, EXPIRY_WARNING};
use crate::serve::access::unix_now;
use crate::text::{Language, Texts};
use crate::{say, time};

/// What a [`Keeper`] is made of.
pub struct Keeper {
    /// Our own authority.
    pub ca: PrivateCa,
    /// What listeners present.
    pub presented: Presented,
    /// A connection of its own.
    pub registry: Registry,
    /// Who asks the ACME authority, if one is configured.
    pub acme: AcmeHandle,
    /// Called after certificates were exchanged.
    pub done: Box<dyn Fn() + Send>,
}

/// Reaches a running [`Keeper`].
#[derive(Clone)]
pub struct KeeperHandle {
    names: Arc<RwLock<Vec<String>>>,
    wake: Sender<()>,
}

impl KeeperHandle {
    /// The names and addresses that devices are told by now: the private certificates are issued
    /// again if they lack one. Keys stay.
    pub fn tell_names(&self, told: Vec<String>) {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if *names != told {
            *names = told;
            self.wake();
        }
    }

    /// Looks at everything now.
    pub fn wake(&self) {
        // Gone only with the server.
        let _ = self.wake.send(());
    }
}

/// What a keeper remembers between looks.
struct Running {
    parts: Keeper,
    names: Arc<RwLock<Vec<String>>>,
    texts: [Texts; 2],
    /// When the private certificates were looked at last.
    ensured: Option<SystemTime>,
    /// When it was last said that some certificate is about to end.
    warned: Option<SystemTime>,
    /// Version of the registry's wishes and pins.
    seen: Option<u64>,
    written: Vec<ChainRow>,
}

impl Keeper {
    /// How others reach it, and what runs on a thread of its own until the last handle is gone.
    /// `told` are the names that devices are told at the start.
    pub fn start(self, told: Vec<String>) -> (KeeperHandle, impl FnOnce() + Send) {
        let (wake, woken) = channel();
        let names = Arc::new(RwLock::new(told));
        let running = Running {
            parts: self,
            names: names.clone(),
            texts: [Language::English, Language::Chinese].map(Texts::new),
            ensured: None,
            warned: None,
            seen: None,
            written: Vec::new(),
        };
        let handle = KeeperHandle { names, wake };
        (handle, move || running.run(&woken))
    }
}

impl Running {
    fn run(mut self, woken: &Receiver<()>) {
        // The start has issued what was needed.
        self.ensured = Some(SystemTime::now());
        self.give_up_rotations();
        loop {
            self.look();
            match woken.recv_timeout(CERTIFICATE_LOOK) {
                Ok(()) => {
                    while woken.try_recv().is_ok() {}
                    self.ensured = None;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn look(&mut self) {
        let now = SystemTime::now();
        if is_due(self.ensured, now, CERTIFICATE_INTERVAL) {
            self.ensured = Some(now);
            self.ensure(now);
        }
        match pinned(&self.parts.registry) {
            Ok(pins) => self.look_at_files(now, &pins),
            // Nobody knows whom another key would lose: those of before stay.
            Err(error) => self.registry_failed(&error),
        }
        self.warn_of_ends(now);
        let version = self.parts.registry.certificates_version().ok();
        if version != self.seen {
            self.seen = version;
            self.take_wishes();
        }
        self.write_down();
    }

    fn look_at_files(&mut self, now: SystemTime, pins: &[(Pin, Option<String>)]) {
        let root = self.parts.ca.ca_der().to_vec();
        match self.parts.presented.look(&root, now, pins) {
            None => {}
            Some(Looked::Exchanged) => {
                tracing::info!(
                    target: "safeport::certificates",
                    "tls.chain_files have changed: the new certificates are presented from now on, connections stay"
                );
                (self.parts.done)();
            }
            Some(Looked::Refused(refused)) => {
                for refused in refused {
                    let why = refused.why.en;
                    tracing::error!(
                        target: "safeport::certificates",
                        "tls.chain_files have changed and cannot be presented; those of before stay in use: {why}"
                    );
                }
            }
            Some(Looked::HeldBack(devices)) => tracing::error!(
                target: "safeport::certificates",
                "tls.chain_files have changed and bring another key; devices that check the fingerprint of the old one would be lost: {}. Those of before stay in use. Give these devices the new fingerprint (safeport cert fingerprint), then run `safeport cert accept --strand NAME` for each, or put the old key back",
                devices.join(", ")
            ),
        }
    }

    /// The private certificates, for the names of now.
    fn ensure(&mut self, now: SystemTime) {
        let told = self
            .names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let ensured = self
            .parts
            .ca
            .ensure_leaf(&lan::certificate_names(&told), now);
        match ensured {
            Ok(renewed) => {
                tell(&renewed);
                self.present_private();
            }
            // They are renewed long before their end, so there are months in which to read this.
            Err(error) => tracing::error!(
                target: "safeport::certificates",
                "the certificates could not be renewed, the old ones stay in use: {error}"
            ),
        }
    }

    fn present_private(&self) {
        let chains = self.parts.ca.chains();
        let before = self.parts.presented.certificates();
        let leaf = |chain: &Chain| chain.der().first().cloned();
        let served: Vec<_> = before
            .presented(Choice::Private)
            .iter()
            .map(|chain| leaf(chain))
            .collect();
        if chains.iter().map(leaf).any(|new| !served.contains(&new)) {
            before.set_private(chains);
            (self.parts.done)();
        }
    }

    /// Says once a day which certificates are about to end.
    fn warn_of_ends(&mut self, now: SystemTime) {
        if !is_due(self.warned, now, CERTIFICATE_INTERVAL) {
            return;
        }
        self.warned = Some(now);
        let all = self.parts.presented.certificates().clone();
        for chain in all.presented(Choice::Auto) {
            let left = chain.not_after().duration_since(now).unwrap_or_default();
            // The ACME task tells of its own, in proportion to their length.
            if left > EXPIRY_WARNING || *chain.origin() == Origin::Acme {
                continue;
            }
            let (origin, days) = (origin_word(chain.origin()), chain.days_left(now));
            tracing::warn!(
                target: "safeport::certificates",
                "the {origin} certificate for {} ends in {days} days; renew it, or devices will no longer connect",
                chain.names().join(", ")
            );
        }
    }

    /// A change of keys that an earlier server was asked for may be half done, or done and not said:
    /// once more would bring a key whose fingerprint no device was given.
    fn give_up_rotations(&mut self) {
        let wishes = self.parts.registry.open_wishes().unwrap_or_default();
        for wish in wishes.iter().filter(|wish| wish.kind == WishKind::Rotate) {
            let by = By {
                who: &wish.who,
                at: unix_now(),
            };
            let words = (
                "the server ended before it could say what came of this; look at `safeport cert fingerprint`, and ask again if the old key is still in use",
                "服务器在给出结果之前就结束了；请查看 `safeport cert fingerprint`，如果仍在使用旧密钥，请重新执行",
            );
            tracing::warn!(target: "safeport::certificates", "{}: {}", wish.kind, words.0);
            let settled = self
                .parts
                .registry
                .settle_wish(wish.id, WishState::Refused, words, by);
            if let Err(error) = settled {
                self.registry_failed(&error);
            }
        }
    }

    fn take_wishes(&mut self) {
        let wishes = match self.parts.registry.open_wishes() {
            Ok(wishes) => wishes,
            Err(error) => return self.registry_failed(&error),
        };
        for wish in wishes {
            let by = By {
                who: &wish.who.clone(),
                at: unix_now(),
            };
            let (state, verdict) = self.grant(&wish, by);
            tracing::info!(target: "safeport::certificates", "{}: {}", wish.kind, verdict.en);
            let settled =
                self.parts
                    .registry
                    .settle_wish(wish.id, state, (&verdict.en, &verdict.zh), by);
            if let Err(error) = settled {
                self.registry_failed(&error);
            }
        }
    }

    fn grant(&mut self, wish: &CertificateWish, by: By<'_>) -> (WishState, Said) {
        let strand = Strand {
            devices: &wish.strand,
            all: wish.strand_all,
        };
        match wish.kind {
            WishKind::Renew => {
                let renewed = self.parts.ca.renew(&self.all_names(), SystemTime::now());
                if let Err(error) = renewed {
                    return (WishState::Refused, pki_said(&error));
                }
                self.present_private();
                self.parts.acme.renew_now();
                (WishState::Done, self.both(|t| say!(t, "cert-renewed")))
            }
            WishKind::Prepare => match prepare(&mut self.parts.ca) {
                Err(error) => (WishState::Refused, pki_said(&error)),
                Ok(fingerprint) => {
                    let said = self.both(|t| say!(t, "cert-prepared", fingerprint = &fingerprint));
                    (WishState::Done, said)
                }
            },
            WishKind::Rotate => {
                let parts = &mut self.parts;
                match rotate(&mut parts.ca, &mut parts.registry, &strand, by) {
                    Err(error) => {
                        // One of the keys may be another one by now, on disk too, and what is
                        // missing for it is issued at the next look.
                        self.ensured = None;
                        self.present_private();
                        self.parts.acme.set_keys(server_keys(&self.parts.ca));
                        (WishState::Refused, rotation_said(&error))
                    }
                    Ok(Rotation::Stranded(devices)) => {
                        let devices = devices.join(", ");
                        let said = self.both(|t| say!(t, "cert-stranded", devices = &devices));
                        (WishState::Refused, said)
                    }
                    Ok(Rotation::Done(now)) => {
                        self.present_private();
                        self.parts.acme.set_keys(server_keys(&self.parts.ca));
                        let fingerprint = now.v2.to_string();
                        let said =
                            self.both(|t| say!(t, "cert-rotated", fingerprint = &fingerprint));
                        (WishState::Done, said)
                    }
                }
            }
            WishKind::Accept => self.accept(&strand, by),
        }
    }

    /// Presents the files that were held back, if the devices that are lost by it may be.
    fn accept(&mut self, strand: &Strand<'_>, by: By<'_>) -> (WishState, Said) {
        let Some(held_back) = self.parts.presented.held_back() else {
            let said = self.both(|t| say!(t, "cert-nothing-held-back"));
            return (WishState::Refused, said);
        };
        let unsaid: Vec<String> = held_back
            .devices
            .iter()
            .filter(|device| !strand.covers(device))
            .cloned()
            .collect();
        if !unsaid.is_empty() {
            let devices = unsaid.join(", ");
            let said = self.both(|t| say!(t, "cert-stranded", devices = &devices));
            return (WishState::Refused, said);
        }
        if let Err(error) = self.parts.registry.strand(&held_back.devices, by) {
            return (WishState::Refused, Said::same(error));
        }
        self.parts.presented.release();
        (self.parts.done)();
        (WishState::Done, self.both(|t| say!(t, "cert-accepted")))
    }

    fn all_names(&self) -> Vec<String> {
        let told = self.names.read().unwrap_or_else(PoisonError::into_inner);
        lan::certificate_names(&told)
    }

    /// What is presented and what is not, for the commands beside the server.
    fn write_down(&mut self) {
        let presented = &self.parts.presented;
        let chains = presented.certificates().presented(Choice::Auto);
        let since = |origin: &str, pem: &str| {
            let known = self
                .written
                .iter()
                .find(|row| row.origin == origin && row.pem == pem);
            known.map_or_else(unix_now, |row| row.since)
        };
        let served = chains.iter().map(|chain| {
            let (origin, pem) = (origin_word(chain.origin()), chain.pem());
            let path = match chain.origin() {
                Origin::Files { path } => Some(path.display().to_string()),
                _ => None,
            };
            ChainRow {
                since: since(origin, &pem),
                origin: origin.to_owned(),
                path,
                pem,
                refused: None,
            }
        });
        let refused = presented.refused().into_iter().map(|refused| ChainRow {
            origin: "files".to_owned(),
            path: Some(refused.path.display().to_string()),
            pem: String::new(),
            refused: Some((refused.why.en, refused.why.zh)),
            since: 0,
        });
        let held_back = presented.held_back().map(|held_back| {
            let devices = held_back.devices.join(", ");
            let why = self.both(|t| say!(t, "cert-held-back", devices = &devices));
            ChainRow {
                origin: "files".to_owned(),
                path: None,
                pem: String::new(),
                refused: Some((why.en, why.zh)),
                since: 0,
            }
        });
        let rows: Vec<ChainRow> = served.chain(refused).chain(held_back).collect();
        if rows == self.written {
            return;
        }
        match self.parts.registry.set_chains(&rows) {
            Ok(()) => self.written = rows,
            Err(error) => self.registry_failed(&error),
        }
    }

    fn both(&self, words: impl Fn(&Texts) -> String) -> Said {
        let [en, zh] = self.texts.each_ref().map(words);
        Said::new(en, zh)
    }

    fn registry_failed(&self, error: &StoreError) {
        tracing::warn!(
            target: "safeport::certificates",
            "the registry does not answer: {error}"
        );
    }
}

/// Says what was made.
fn tell(renewed: &Renewed) {
    if renewed.is_empty() {
        return;
    }
    for (key, until) in &renewed.leaves {
        tracing::info!(
            target: "safeport::certificates",
            "the private {key:?} certificate was issued again, for the same key; it ends on {}",
            date(*until)
        );
    }
    if let Some(until) = renewed.root {
        tracing::warn!(
            target: "safeport::certificates",
            "the private authority's root was renewed with the same key; it ends on {}. Give devices that were given ca.pem the new one (safeport cert export) before the old one ends",
            date(until)
        );
    }
    if renewed.outlives_32_bit_clocks() {
        tracing::warn!(
            target: "safeport::certificates",
            "the new root ends after 2038-01-19: devices that count seconds in 32 bits take that for the past and refuse it"
        );
    }
}

fn date(at: SystemTime) -> String {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    time::stamp(since.as_secs())
}

/// Makes the next keys; returns the fingerprint of the one that devices check.
fn prepare(ca: &mut PrivateCa) -> Result<String, PkiError> {
    for key in [ServerKey::Rsa, ServerKey::P256] {
        ca.prepare_next(key)?;
    }
    let next = ca.next_fingerprints();
    Ok(next.map_or_else(String::new, |next| next.v2.to_string()))
}

/// Whether it is time again. By the wall clock, since that is what certificates end by: one that was
/// set makes it time, too.
pub(super) fn is_due(last: Option<SystemTime>, now: SystemTime, interval: Duration) -> bool {
    last.is_none_or(|last| {
        now.duration_since(last)
            .map_or(true, |gone| gone >= interval)
    })
}

/// As in settings.
fn origin_word(origin: &Origin) -> &'static str {
    match origin {
        Origin::Private => "private",
        Origin::Files { .. } => "files",
        Origin::Acme => "acme",
        Origin::Challenge => "challenge",
    }
}
