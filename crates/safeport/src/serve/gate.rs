//! Drives the gate: looks at the machine, probes what the gate wants probed, and answers which
//! address may be told. The decisions are [`safeport_settings::Gate`]'s.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use safeport_net::surroundings::{InterfaceKind, Surroundings as Machine};
use safeport_settings::gate::{Standing, State};
use safeport_settings::{
    AdvertisedAddress, AdvertisedHost, BoundSocket, Candidate, Gate, GateSettings, HostName,
    InterfaceAddress, Listener, Outcome, Said, Scheme, Settings, Surroundings, Told, Vantage, Via,
    candidates,
};
use safeport_store::{AddressRow, Registry, StoreError, VerifiedAddress};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::lan::{self, told_hosts};
use crate::limits::{PROBE_DEADLINE, PROVE_BEFORE_SWAP, REMEMBERED_FOR};
use crate::probe::{self, Proofs, Trust, TrustedBy};
use crate::reading::Read;
use crate::serve::access::unix_now;
use crate::serve::http::Seen;

/// The gate of a running server.
pub struct GateDriver {
    gate: Mutex<Gate>,
    /// The gate's clock begins here.
    start: Instant,
    wake: Notify,
    proofs: Arc<Proofs>,
    trust: RwLock<Arc<Trust>>,
    /// Told that what the gate knows has changed.
    changed: Box<dyn Fn() + Send + Sync>,
    /// The server is going down: that nothing answers any more is no news.
    stopping: AtomicBool,
}

impl GateDriver {
    /// A gate that knows what was proved before the last stop.
    pub fn new(
        settings: &Settings,
        proofs: Arc<Proofs>,
        trust: Trust,
        registry: &Registry,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> GateDriver {
        let mut gate = Gate::new(gate_settings(settings));
        // Without the registry's memory nothing is told before its first probe, a moment later.
        for row in registry.all_last_verified().unwrap_or_default() {
            let listener = Listener::CONNECTED
                .into_iter()
                .find(|listener| listener.name() == row.listener);
            if let (Some(listener), Ok(address)) = (listener, AdvertisedAddress::parse(&row.url)) {
                gate.restore(listener, address);
            }
        }
        GateDriver {
            gate: Mutex::new(gate),
            start: Instant::now(),
            wake: Notify::new(),
            proofs,
            trust: RwLock::new(Arc::new(trust)),
            changed: Box::new(changed),
            stopping: AtomicBool::new(false),
        }
    }

    /// Believes no probe from now on, since listeners are about to close.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What proves that a probe came out here.
    pub fn proofs(&self) -> &Arc<Proofs> {
        &self.proofs
    }

    /// Probes until the runtime ends.
    pub async fn run(self: Arc<Self>) {
        loop {
            let now = self.now();
            let (due, wait) = {
                let mut gate = self.gate();
                gate.handle_timeout(now);
                (gate.poll_probe(now), gate.poll_timeout())
            };
            if let Some(address) = due {
                let driver = self.clone();
                tokio::spawn(async move {
                    let outcome = driver.probe(&address, PROBE_DEADLINE).await;
                    if driver.stopping.load(Ordering::Relaxed) {
                        return;
                    }
                    driver
                        .gate()
                        .handle_outcome(&address, outcome, driver.now());
                    driver.news();
                    driver.wake.notify_one();
                });
                continue;
            }
            self.news();
            let pause = wait.map_or(Duration::from_secs(60), |at| {
                Duration::from_millis(at.saturating_sub(now).max(1))
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Which addresses there are: what settings and machine say about these sockets.
    pub fn set_candidates(&self, read: &Read, listening: &[BoundSocket]) {
        let list = all_candidates(read, listening);
        let now = self.now();
        let mut gate = self.gate();
        gate.set_settings(gate_settings(&read.settings), now);
        gate.set_candidates(list, now);
        let avoid = &read.settings.advertise.avoid;
        gate.forget_former(|address| {
            let ip = address.host().ip();
            ip.is_some_and(|ip| avoid.iter().any(|network| network.contains(ip)))
        });
        drop(gate);
        self.news();
        self.wake.notify_one();
    }

    /// Other roots of trust for the probes from now on.
    pub fn set_trust(&self, trust: Trust) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust);
    }

    /// Probes everything again soon.
    pub fn recheck(&self) {
        let now = self.now();
        self.gate().recheck(now);
        self.wake.notify_one();
    }

    /// What may be told of a listener.
    pub fn told(&self, listener: Listener, scheme: Scheme) -> Told {
        let now = self.now();
        self.gate().told(listener, scheme, now)
    }

    /// Every address of a listener that may be told, the best first.
    ///
    /// # Errors
    /// Why there is none.
    pub fn usable(
        &self,
        listener: Listener,
        scheme: Scheme,
    ) -> Result<Vec<AdvertisedAddress>, Said> {
        let best = match self.told(listener, scheme) {
            Told::Verified(address)
            | Told::LastVerified(address, _)
            | Told::Unverified(address, _) => address,
            Told::Nothing(why) => return Err(why),
        };
        let now = self.now();
        let mut usable = vec![best];
        for standing in self.gate().states(now) {
            let Candidate {
                listener: of,
                address,
                ..
            } = standing.candidate;
            let is_told = matches!(
                standing.state,
                State::Verified { .. } | State::Degraded { .. }
            );
            if of == listener && address.scheme() == scheme && is_told && !usable.contains(&address)
            {
                usable.push(address);
            }
        }
        Ok(usable)
    }

    /// Whether every address of these listeners was tried, and there are any.
    pub fn is_settled(&self, listeners: &[Listener]) -> bool {
        let now = self.now();
        let states = self.gate().states(now);
        let mut of_them = states
            .iter()
            .filter(|standing| listeners.contains(&standing.candidate.listener))
            .peekable();
        of_them.peek().is_some()
            && of_them.all(|standing| !matches!(standing.state, State::Unknown | State::Probing))
    }

    /// Whether a public authority vouches for what is served at `address`, as stock firmware
    /// wants it.
    pub async fn has_public_certificate(
        &self,
        address: &AdvertisedAddress,
        patience: Duration,
    ) -> bool {
        let trust = self.trust();
        let report = probe::examine(address, &self.proofs, &trust, patience).await;
        report.trusted_by == Some(TrustedBy::PublicAuthority)
    }

    /// Whether a voice server that is none of ours opens a WebSocket.
    pub async fn probe_voice(
        &self,
        url: &safeport_xiaozhi::WebSocketUrl,
        headers: &str,
        patience: Duration,
    ) -> probe::Voice {
        let trust = self.trust();
        probe::voice(url, headers, &trust, patience).await
    }

    fn trust(&self) -> Arc<Trust> {
        let trust = self.trust.read();
        trust.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What devices are told of `mqtt`, `mqtts`, `http` and `https`, and why, where it is not proved.
    /// Waits until each of them has a proved address or none that could be, for `patience` at most.
    pub fn first_told(&self, patience: Duration) -> Vec<(AdvertisedAddress, Option<Said>)> {
        const SHOWN: [(Listener, Scheme); 4] = [
            (Listener::Mqtt, Scheme::Mqtt),
            (Listener::Mqtts, Scheme::Mqtts),
            (Listener::Http, Scheme::Http),
            (Listener::Https, Scheme::Https),
        ];
        let until = Instant::now() + patience;
        loop {
            let now = self.now();
            let states = self.gate().states(now);
            let waits = |(listener, scheme): &(Listener, Scheme)| {
                let mut of_it = states.iter().filter(|standing| {
                    let candidate = &standing.candidate;
                    candidate.listener == *listener && candidate.address.scheme() == *scheme
                });
                !of_it
                    .clone()
                    .any(|standing| matches!(standing.state, State::Verified { .. }))
                    && of_it
                        .any(|standing| matches!(standing.state, State::Unknown | State::Probing))
            };
            if !SHOWN.iter().any(waits) || Instant::now() >= until {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        SHOWN
            .into_iter()
            .filter_map(|(listener, scheme)| match self.told(listener, scheme) {
                Told::Verified(address) | Told::LastVerified(address, _) => Some((address, None)),
                Told::Unverified(address, why) => Some((address, Some(why))),
                Told::Nothing(_) => None,
            })
            .collect()
    }

    /// Whether a change would leave a listener without a proved address that has one now: then
    /// the first such address, and why it is not proved.
    ///
    /// Probes the addresses that are new, each once, for at most [`PROVE_BEFORE_SWAP`].
    pub async fn would_break(
        self: &Arc<Self>,
        next: &Read,
        listening: &[BoundSocket],
    ) -> Option<(AdvertisedAddress, Said)> {
        let now = self.now();
        let states = self.gate().states(now);
        let known: Vec<&AdvertisedAddress> = states
            .iter()
            .map(|standing| &standing.candidate.address)
            .collect();
        // That an address was broken before is no comfort to devices that had another one.
        let usable_now: Vec<&AdvertisedAddress> = states
            .iter()
            .filter(|standing| !matches!(standing.state, State::Broken { .. }))
            .map(|standing| &standing.candidate.address)
            .collect();
        let proved: Vec<(Listener, Scheme)> = states
            .iter()
            .filter(|standing| matches!(standing.state, State::Verified { .. }))
            .map(|standing| {
                (
                    standing.candidate.listener,
                    standing.candidate.address.scheme(),
                )
            })
            .collect();
        let wanted = all_candidates(next, listening);
        for (listener, scheme) in proved {
            let of_listener: Vec<&Candidate> = wanted
                .iter()
                .filter(|candidate| {
                    candidate.listener == listener && candidate.address.scheme() == scheme
                })
                .collect();
            // Switched off on purpose, or nothing about it changes.
            if of_listener.is_empty() {
                continue;
            }
            let kept = of_listener
                .iter()
                .any(|candidate| usable_now.contains(&&candidate.address));
            let of_listener: Vec<&Candidate> = if kept {
                // What others are told stays; a host that was named on purpose must hold, too.
                let named = named_hosts(next);
                of_listener
                    .into_iter()
                    .filter(|candidate| {
                        !known.contains(&&candidate.address)
                            && matches!(candidate.via, Via::Listener(_))
                            // Our certificate gets the new name only once it holds.
                            && !scheme.is_tls()
                            && named.contains(candidate.address.host())
                    })
                    .collect()
            } else {
                of_listener
            };
            if of_listener.is_empty() {
                continue;
            }
            let mut probes = JoinSet::new();
            for candidate in of_listener {
                if candidate.unverifiable.is_none() {
                    let (driver, address) = (self.clone(), candidate.address.clone());
                    probes.spawn(async move {
                        let outcome = driver.probe(&address, PROVE_BEFORE_SWAP).await;
                        (address, outcome)
                    });
                }
            }
            let mut worst = None;
            let (mut usable, mut unsure) = (false, false);
            // The first that is proved is enough; the others end with the set.
            while let (false, Some(probed)) = (usable, probes.join_next().await) {
                let Ok((address, outcome)) = probed else {
                    continue;
                };
                match outcome {
                    Outcome::Proved => usable = true,
                    Outcome::Unverifiable { .. } => unsure = true,
                    Outcome::Foreign { saw } | Outcome::Failed { saw, .. } => {
                        worst.get_or_insert((address, saw));
                    }
                }
            }
            let usable = usable || unsure;
            if !usable && worst.is_some() {
                return worst;
            }
        }
        None
    }

    async fn probe(&self, address: &AdvertisedAddress, deadline: Duration) -> Outcome {
        let trust = self.trust();
        probe::probe(address, &self.proofs, &trust, deadline).await
    }

    /// Writes down every state, and the addresses that were proved last.
    ///
    /// # Errors
    /// If the registry does not take it.
    pub fn write(&self, registry: &mut Registry) -> Result<(), StoreError> {
        let now = self.now();
        let (states, verified) = {
            let gate = self.gate();
            (gate.states(now), gate.last_verified())
        };
        let rows: Vec<AddressRow> = states
            .iter()
            .map(|standing| self.row(standing, now))
            .collect();
        registry.set_addresses(&rows)?;
        // What was proved once and is broken by now, or has nothing of ours behind it any more, is
        // not told at the next start either.
        let remembered = registry.all_last_verified()?;
        for row in &remembered {
            let still = verified.iter().any(|(listener, address)| {
                listener.name() == row.listener && address.to_string() == row.url
            });
            if !still {
                registry.forget_verified(&row.url)?;
            }
        }
        for (listener, address) in verified {
            let url = address.to_string();
            let is_fresh = remembered.iter().any(|row| {
                row.listener == listener.name()
                    && row.url == url
                    && unix_now().saturating_sub(row.at) < REMEMBERED_FOR.as_secs()
            });
            if is_fresh {
                continue;
            }
            registry.remember_verified(&VerifiedAddress {
                listener: listener.name().to_owned(),
                scheme: address.scheme().to_string(),
                url,
                at: unix_now(),
            })?;
        }
        Ok(())
    }

    fn row(&self, standing: &Standing, now: u64) -> AddressRow {
        let wall = |at: u64| {
            let ago = now.saturating_sub(at) / 1000;
            let ahead = at.saturating_sub(now) / 1000;
            unix_now().saturating_sub(ago) + ahead
        };
        let why = standing.state.why().cloned().unwrap_or_default();
        let (until, vantage) = match &standing.state {
            State::Verified { until, by } => (
                Some(wall(*until)),
                match by {
                    Vantage::Here => None,
                    Vantage::Phone => Some("phone".to_owned()),
                    Vantage::Device => Some("device".to_owned()),
                },
            ),
            _ => (None, None),
        };
        AddressRow {
            listener: standing.candidate.listener.name().to_owned(),
            url: standing.candidate.address.to_string(),
            via: match &standing.candidate.via {
                Via::Listener(listener) => listener.name().to_owned(),
                Via::Proxy(name) => format!("proxy.{name}"),
            },
            state: standing.state.name().to_owned(),
            since: standing.verified_at.map_or(0, wall),
            until,
            detail_en: why.en,
            detail_zh: why.zh,
            vantage,
        }
    }

    /// Logs what has changed and has it written down.
    fn news(&self) {
        let mut changed = false;
        loop {
            let Some(change) = self.gate().poll_change() else {
                break;
            };
            changed = true;
            let why = change
                .to
                .why()
                .map(|why| format!(": {why}"))
                .unwrap_or_default();
            match &change.to {
                State::Broken { .. } | State::Degraded { .. } => tracing::warn!(
                    target: "safeport::gate",
                    listener = change.listener.name(),
                    "{} is {} now{why}. `ports` shows what devices are told instead",
                    change.address,
                    change.to.name(),
                ),
                State::UnverifiableFromHere { .. } => tracing::debug!(
                    target: "safeport::gate",
                    listener = change.listener.name(),
                    "{} cannot be verified from here{why}",
                    change.address,
                ),
                _ => tracing::debug!(
                    target: "safeport::gate",
                    listener = change.listener.name(),
                    "{} is {}",
                    change.address,
                    change.to.name(),
                ),
            }
        }
        if changed {
            (self.changed)();
        }
    }

    fn is_proxied(&self, address: &AdvertisedAddress) -> bool {
        let now = self.now();
        self.gate().states(now).iter().any(|standing| {
            standing.candidate.address == *address
                && matches!(standing.candidate.via, Via::Proxy(_))
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // The gate is whole between any two calls.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen for GateDriver {
    fn addresses(&self) -> Vec<AdvertisedAddress> {
        let now = self.now();
        self.gate()
            .states(now)
            .into_iter()
            .filter(|standing| !standing.former)
            .map(|standing| standing.candidate.address)
            .collect()
    }

    fn seen(&self, address: &AdvertisedAddress, peer: IpAddr) -> bool {
        // This machine's own browser is no second vantage point; a proxy in front on this machine
        // looks the same, and what it passed on has come through it.
        if Machine::look().is_own(peer) && !self.is_proxied(address) {
            return false;
        }
        let now = self.now();
        self.gate().handle_seen(address, Vantage::Phone, now);
        (self.changed)();
        self.wake.notify_one();
        true
    }
}

fn gate_settings(settings: &Settings) -> GateSettings {
    GateSettings {
        verify_every_ms: u64::try_from(settings.advertise.verify_every.as_millis())
            .unwrap_or(u64::MAX),
    }
}

/// The candidates of the settings, and of what tags and single devices are told instead.
fn all_candidates(read: &Read, listening: &[BoundSocket]) -> Vec<Candidate> {
    let surroundings = surroundings(listening);
    let mut list = candidates(&read.settings, &surroundings);
    for host in told_hosts(&read.managed) {
        let mut settings = read.settings.clone();
        settings.advertise.host = AdvertisedHost::Host(host);
        for candidate in candidates(&settings, &surroundings) {
            if !list.iter().any(|known| known.address == candidate.address) {
                list.push(candidate);
            }
        }
    }
    list
}

/// The hosts that somebody wants devices to be told.
fn named_hosts(read: &Read) -> Vec<HostName> {
    let mut hosts = told_hosts(&read.managed);
    if let AdvertisedHost::Host(host) = &read.settings.advertise.host {
        hosts.push(host.clone());
    }
    hosts
}

/// This machine, in the words of the settings.
pub(crate) fn surroundings(listening: &[BoundSocket]) -> Surroundings {
    let machine = Machine::look();
    Surroundings {
        addresses: machine
            .addresses
            .iter()
            .filter(|address| !address.is_passing)
            .map(|address| InterfaceAddress {
                ip: address.ip,
                interface: address.interface.clone(),
                is_container_bridge: address.kind == InterfaceKind::ContainerBridge,
                is_default_route: Some(address.ip) == machine.outgoing,
            })
            .collect(),
        host_name: lan::host_name(),
        container: machine
            .is_behind_container_network()
            .then(|| machine.container.as_ref().map(|c| c.kind.to_string()))
            .flatten(),
        sockets: listening.to_vec(),
    }
}
