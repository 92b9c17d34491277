//! The swap itself: new sockets beside the old ones, proved, then in their place; and everything else
//! that a setting reaches.

use std::collections::HashSet;
use std::net::{TcpListener, UdpSocket};
use std::time::SystemTime;

use safeport_net::rustls::pki_types::CertificateDer;
use safeport_net::rustls::pki_types::pem::PemObject;
use safeport_settings::{BoundSocket, Listener, PlannedBind, Settings};

use super::Live;
use crate::acme::AcmeConfig;
use crate::app::logging::log_filter;
use crate::app::plan::{
    accepts_both, broker_limits, degraded_word, handshake_limits, listener_limits, site_settings,
    wanted_connections,
};
use crate::app::sockets::{Binder, Bound};
use crate::certificates::{Prepared, pinned};
use crate::console::Failure;
use crate::reading::Read;
use crate::serve::http::Transport;
use crate::text::Texts;
use crate::{lan, log, say, trust};

/// Whether the addresses of a change must be proved where those of before were.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Proofs {
    Wanted,
    /// The way back is gone however the addresses of before fare.
    Spared,
}

/// New sockets, and what was given up for them: old sockets that were in their way.
struct Fresh {
    sockets: Vec<Bound>,
    given_up: Vec<PlannedBind>,
    listeners: HashSet<Listener>,
}

/// What a change came to.
pub(super) struct Applied {
    /// Keys that differ, in the order of the table.
    pub(super) changed: Vec<String>,
    /// Those of them that hold after a restart only.
    restart: Vec<String>,
    /// Sockets that the change makes superfluous, kept if it is to be confirmed.
    pub(super) old: Vec<Bound>,
    /// Listeners whose bound addresses are others now: `mqtt 0.0.0.0:1884`.
    moved: Vec<String>,
}

impl Live {
    /// Lets everything use `next`. The sockets that are no longer wanted still listen afterwards,
    /// and are returned.
    pub(super) fn swap(&mut self, next: Read, proofs: Proofs) -> Result<Applied, Failure> {
        let changed = self.read.settings.differences(&next.settings);
        let restart = changed
            .iter()
            .filter(|key| safeport_settings::key_info(key).is_some_and(|info| !info.live))
            .cloned()
            .collect();
        let prepared = self.prepare_certificates(&next, proofs)?;
        let fresh = self.bind_new(&next)?;
        let moved: Vec<String> = fresh
            .sockets
            .iter()
            .map(|bound| format!("{} {}", bound.listener.name(), bound.actual))
            .collect();
        if let Err(failure) = self.open(&fresh.sockets, &next, proofs) {
            self.withdraw(fresh.sockets);
            self.rebind(&fresh.given_up, &fresh.listeners);
            return Err(failure);
        }
        let planned = next.settings.plan.binds();
        let (keep, old): (Vec<Bound>, Vec<Bound>) = self
            .bound
            .drain(..)
            .partition(|bound| planned.iter().any(|planned| bound.serves(planned)));
        self.bound = keep;
        self.bound.extend(fresh.sockets);
        self.read = next;
        if let Err(error) = self.presented.apply(prepared) {
            tracing::error!(target: "safeport::certificates", "{error}");
        }
        self.use_values();
        self.show_candidates();
        Ok(Applied {
            changed,
            restart,
            old,
            moved,
        })
    }

    /// Binds what is planned and not bound yet. A new address that overlaps an old one of ours can
    /// only be bound when the old one is gone, so that one goes first and comes back on failure.
    fn bind_new(&mut self, next: &Read) -> Result<Fresh, Failure> {
        let missing: Vec<_> = next
            .settings
            .plan
            .binds()
            .iter()
            .filter(|planned| !self.bound.iter().any(|bound| bound.serves(planned)))
            .cloned()
            .collect();
        let in_the_way: Vec<usize> = self
            .bound
            .iter()
            .enumerate()
            .filter(|(_, bound)| {
                !next
                    .settings
                    .plan
                    .binds()
                    .iter()
                    .any(|planned| bound.serves(planned))
                    && missing
                        .iter()
                        .any(|planned| planned.claim().overlaps(bound.claim()))
            })
            .map(|(index, _)| index)
            .collect();
        let mut gone = Vec::new();
        for index in in_the_way.into_iter().rev() {
            gone.push(self.bound.remove(index));
        }
        let listeners: HashSet<Listener> = gone.iter().map(|bound| bound.listener).collect();
        let given_up: Vec<PlannedBind> = gone
            .into_iter()
            .filter_map(|bound| {
                self.read
                    .settings
                    .plan
                    .binds()
                    .iter()
                    .find(|planned| bound.serves(planned))
                    .cloned()
            })
            .collect();
        match self.bind_missing(next, &missing, &listeners) {
            Ok(sockets) => Ok(Fresh {
                sockets,
                given_up,
                listeners,
            }),
            Err(failure) => {
                self.rebind(&given_up, &listeners);
                Err(failure)
            }
        }
    }

    /// Binds `missing` once the acceptors of `listeners` have let go of what was in the way.
    fn bind_missing(
        &mut self,
        next: &Read,
        missing: &[PlannedBind],
        listeners: &HashSet<Listener>,
    ) -> Result<Vec<Bound>, Failure> {
        for listener in listeners {
            self.hand_over(*listener)?;
        }
        let mut fresh = Vec::new();
        for planned in missing {
            fresh.extend(self.binder(&next.settings).bind(planned)?);
        }
        Ok(fresh)
    }

    /// The way back of [`Self::bind_new`].
    fn rebind(&mut self, places: &[PlannedBind], listeners: &HashSet<Listener>) {
        let settings = self.read.settings.clone();
        for planned in places {
            let done = self.binder(&settings).bind(planned);
            match done {
                Ok(bound) => self.bound.extend(bound),
                Err(failure) => tracing::error!(
                    target: "safeport::serve",
                    "the old address could not be taken back: {}",
                    failure.one_text()
                ),
            }
        }
        for listener in listeners {
            if let Err(failure) = self.hand_over(*listener) {
                tracing::error!(target: "safeport::serve", "{}", failure.one_text());
            }
        }
    }

    /// What the certificates of the new settings are; a change that listeners could not present, or
    /// by which devices would no longer recognise the server, is refused. Not so the way back: what
    /// it leads to served before, and no certificate is worth a server that nobody reaches.
    fn prepare_certificates(&self, next: &Read, proofs: Proofs) -> Result<Prepared, Failure> {
        let texts = &self.texts;
        let failed = || Failure::new(say!(texts, "certificates-failed"));
        let root = CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
            .map_err(|error| failed().detail(error))?;
        let prepared = Prepared::new(&next.settings, &root, SystemTime::now())
            .map_err(|error| failed().detail(error))?;
        if proofs == Proofs::Spared {
            return Ok(prepared);
        }
        let pinned = pinned(&self.registry).map_err(|error| failed().detail(error))?;
        // What was refused before stays refused; only new mistakes stop a change.
        let news = self.presented.news(&prepared);
        let news: Vec<&str> = news
            .iter()
            .map(|refused| refused.why.in_language(texts.language().into()))
            .collect();
        if !news.is_empty() {
            return Err(failed().detail(news.join("\n")));
        }
        let stranded = self.presented.would_strand(&prepared, &pinned);
        if stranded.is_empty() {
            return Ok(prepared);
        }
        let devices = stranded.join(", ");
        Err(Failure::new(say!(
            texts,
            "cert-stranded",
            devices = devices
        )))
    }

    fn binder<'a>(&'a mut self, settings: &'a Settings) -> Binder<'a> {
        Binder::new(settings, &mut self.registry, &self.texts, &self.strand)
    }

    /// Lets the new sockets accept beside the old ones, and proves their addresses where the old
    /// ones were proved.
    fn open(&self, fresh: &[Bound], next: &Read, proofs: Proofs) -> Result<(), Failure> {
        for listener in Listener::CONNECTED {
            let sockets = shares(fresh.iter().filter(|bound| bound.listener == listener))
                .map_err(|error| self.sockets_failed(listener, error))?;
            if !sockets.is_empty() {
                self.add(listener, sockets)?;
            }
        }
        for listener in [Listener::Ntp, Listener::Voice] {
            datagram_shares(fresh, listener)
                .and_then(|sockets| match listener {
                    Listener::Voice => self.lines.add(sockets),
                    _ => self.ntp.add(sockets),
                })
                .map_err(|error| self.sockets_failed(listener, error))?;
        }
        if proofs == Proofs::Spared {
            return Ok(());
        }
        let listening: Vec<BoundSocket> = self
            .bound
            .iter()
            .filter(|bound| {
                next.settings
                    .plan
                    .binds()
                    .iter()
                    .any(|planned| bound.serves(planned))
            })
            .chain(fresh)
            .map(|bound| BoundSocket {
                listener: bound.listener,
                address: bound.actual,
                standard: bound.standard,
            })
            .collect();
        let worse = self
            .runtime
            .block_on(self.gate.would_break(next, &listening));
        match worse {
            None => Ok(()),
            Some((address, why)) => {
                Err(
                    Failure::new(say!(self.texts, "change-unproved", address = address))
                        .detail(why.in_language(self.texts.language().into())),
                )
            }
        }
    }

    pub(super) fn withdraw(&mut self, fresh: Vec<Bound>) {
        let listeners: HashSet<Listener> = fresh.iter().map(|bound| bound.listener).collect();
        self.let_go(fresh);
        for listener in listeners {
            if let Err(failure) = self.hand_over(listener) {
                tracing::error!(target: "safeport::serve", "{}", failure.one_text());
            }
        }
    }

    /// Closes sockets that are no longer wanted. Connections that came by them stay, unless their
    /// whole listener was switched off.
    pub(super) fn retire(&mut self, old: Vec<Bound>) -> Result<(), Failure> {
        let listeners: HashSet<Listener> = old.iter().map(|bound| bound.listener).collect();
        self.let_go(old);
        for listener in listeners {
            self.hand_over(listener)?;
            let has_connections = Listener::CONNECTED.contains(&listener);
            if has_connections && !self.bound.iter().any(|bound| bound.listener == listener) {
                if let Some(transport) = Transport::of(listener) {
                    self.http.end_connections(transport);
                }
                if let Err(error) = self.engine.end_listener_connections(listener.name()) {
                    tracing::warn!(target: "safeport::serve", "{error}");
                }
            }
        }
        Ok(())
    }

    /// Our own copies go first, so that the last one is the acceptor's, which takes out whoever
    /// waits in the queue before it closes.
    pub(super) fn let_go(&mut self, sockets: Vec<Bound>) {
        for bound in sockets {
            let settings = self.read.settings.clone();
            self.binder(&settings).released(&bound);
        }
    }

    /// Gives an acceptor exactly the sockets that are bound for it.
    pub(crate) fn hand_over(&self, listener: Listener) -> Result<(), Failure> {
        if let Listener::Ntp | Listener::Voice = listener {
            return datagram_shares(&self.bound, listener)
                .and_then(|sockets| match listener {
                    Listener::Voice => self.lines.set(sockets),
                    _ => self.ntp.set(sockets),
                })
                .map_err(|error| self.sockets_failed(listener, error));
        }
        let sockets = shares(self.bound.iter().filter(|bound| bound.listener == listener))
            .map_err(|error| self.sockets_failed(listener, error))?;
        let handed = match Transport::of(listener) {
            None => self
                .engine
                .set_sockets(listener.name(), sockets)
                .map_err(std::io::Error::other),
            Some(transport) => self.http.set(transport, sockets),
        };
        handed.map_err(|error| self.sockets_failed(listener, error))
    }

    fn add(&self, listener: Listener, sockets: Vec<TcpListener>) -> Result<(), Failure> {
        let added = match Transport::of(listener) {
            None => self
                .engine
                .add_sockets(listener.name(), sockets)
                .map_err(std::io::Error::other),
            Some(transport) => self.http.add(transport, sockets),
        };
        added.map_err(|error| self.sockets_failed(listener, error))
    }

    fn sockets_failed(&self, listener: Listener, error: std::io::Error) -> Failure {
        Failure::new(say!(
            self.texts,
            "sockets-failed",
            listener = listener.name()
        ))
        .detail(error)
    }

    /// Whether HTTP is taken in the clear and inside TLS on one port.
    pub(crate) fn set_accept(&self) {
        for listener in [Listener::Http, Listener::Https] {
            if let Some(transport) = Transport::of(listener) {
                let both = accepts_both(&self.read.settings, listener);
                self.http.set_accept_both(transport, both);
            }
        }
    }

    /// Everything but sockets that a setting reaches while serving.
    pub(super) fn use_values(&self) {
        let settings = &self.read.settings;
        for listener in Listener::CONNECTED {
            let Some(limits) = listener_limits(settings, listener) else {
                continue;
            };
            if let Err(error) = self.engine.set_limits(listener.name(), &limits) {
                tracing::warn!(target: "safeport::serve", "{error}");
            }
        }
        self.engine.set_broker_limits(&broker_limits(settings));
        self.engine
            .set_connect_timeout(settings.limits.connect_timeout);
        let wanted = wanted_connections(settings).min(self.descriptors.connections());
        self.engine
            .set_max_connections(usize::try_from(wanted).unwrap_or(usize::MAX));
        self.access.set_rules(
            settings.access.anonymous,
            settings.limits.failed_logins_per_minute,
        );
        self.http.set_room(
            settings.http.max_connections as usize,
            settings.https.max_connections as usize,
        );
        self.site.set(site_settings(&self.read));
        self.household.set_settings(settings, &self.site);
        if let Some(xiaozhi) = self.site.xiaozhi() {
            xiaozhi.set_settings(settings, &self.read.managed);
        }
        if let Some(voice) = self.site.voice() {
            let _on_runtime = self.runtime.enter();
            voice.set_settings(settings, &self.read.managed);
        }
        self.site.set_degraded(degraded_word(&self.read));
        let names = lan::told_names(settings, &self.read.managed);
        self.keeper.tell_names(names);
        self.keeper.wake();
        self.acme.apply(AcmeConfig::of(settings));
        self.handshakes.set(handshake_limits(settings));
        self.set_accept();
        match trust::load(settings, &self.ca_pem) {
            Ok(trust) => self.gate.set_trust(trust),
            Err(error) => tracing::warn!(target: "safeport::gate", "{error}"),
        }
        if let Err(error) = log::set_filter(&log_filter(settings).1) {
            tracing::warn!(target: "safeport::serve", "log.level: {error}");
        }
    }
}

impl Applied {
    /// What changed, in one line for the log, the history and the command that asked.
    pub(super) fn verdict(&self, scoped: &[String], texts: &Texts) -> String {
        let keys: Vec<&str> = self
            .changed
            .iter()
            .chain(scoped)
            .map(String::as_str)
            .collect();
        if keys.is_empty() {
            return say!(texts, "change-none");
        }
        let mut verdict = say!(texts, "change-keys", keys = keys.join(", "));
        if !self.moved.is_empty() {
            verdict.push(' ');
            verdict.push_str(&say!(
                texts,
                "change-listening",
                places = self.moved.join(", ")
            ));
        }
        if !self.restart.is_empty() {
            verdict.push(' ');
            verdict.push_str(&say!(
                texts,
                "change-restart",
                keys = self.restart.join(", ")
            ));
        }
        verdict
    }
}

fn shares<'a>(bound: impl Iterator<Item = &'a Bound>) -> std::io::Result<Vec<TcpListener>> {
    bound.filter_map(Bound::share).collect()
}

/// The sockets of a listener of UDP.
fn datagram_shares(bound: &[Bound], listener: Listener) -> std::io::Result<Vec<UdpSocket>> {
    let of_it = bound.iter().filter(|bound| bound.listener == listener);
    of_it.filter_map(Bound::share_datagrams).collect()
}
