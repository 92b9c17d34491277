//! The gate: no device hears an address that has not been proved.
//!
//! A machine without a clock and without sockets. The binary gives it
//! [`Candidate`]s, asks [`Gate::poll_probe`] which address to look at, looks,
//! and says what came of it ([`Gate::handle_outcome`]). Whoever makes a reply
//! for a device asks [`Gate::told`]. `now` is in milliseconds of any clock that
//! never goes back.
//!
//! ```text
//! Unknown ── Proved ──► Verified ── fails ──► Degraded ── fails 3 times ──► Broken
//!    │                     │  ▲                                               │
//!    ├─ Failed, Foreign ─► Broken                       Proved, or a device came
//!    └─ Unverifiable ────► UnverifiableFromHere
//! ```

mod candidates;
mod entry;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

pub use candidates::{BoundSocket, InterfaceAddress, Surroundings, candidates};

use crate::ports::Via;
use crate::said::said;
use crate::{AdvertisedAddress, Listener, Reach, Said, Scheme};
use entry::Entry;

/// Limits of the gate.
pub mod limits {
    /// Most candidates; what comes after them in the list is left out.
    pub const MAX_CANDIDATES: usize = 64;
    /// Most probes on their way at one time.
    pub const MAX_IN_FLIGHT: usize = 4;
    /// How long a probe may be on its way before it counts as lost, in
    /// milliseconds. A lost probe says nothing about its address.
    pub const LOST_AFTER_MS: u64 = 60_000;
    /// Failures in a row after which an address that was verified is broken.
    pub const FAILURES: u8 = 3;
    /// First pause before a failed address is probed again, in milliseconds; it
    /// doubles up to the usual one.
    pub const FIRST_RETRY_MS: u64 = 5_000;
    /// How long it counts that a device or a phone came through an address that
    /// cannot be proved from here, in milliseconds: a day.
    pub const SEEN_FOR_MS: u64 = 86_400_000;
    /// Most changes kept for [`super::Gate::poll_change`]; then the oldest goes.
    pub const MAX_CHANGES: usize = 256;
}

/// How the gate works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateSettings {
    /// Time between two probes of an address that is well, in milliseconds.
    /// `advertise.verify_every`, 5 minutes by default; less than a second counts
    /// as a second.
    pub verify_every_ms: u64,
}

/// An address that devices might be told. The order of a list of them is the
/// order of preference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The listener behind it.
    pub listener: Listener,
    /// The address.
    pub address: AdvertisedAddress,
    /// How it leads to the listener.
    pub via: Via,
    /// Why a probe from here proves nothing (a container's own address answers
    /// to the container). Only a device or a phone that came through such an
    /// address makes it [`State::Verified`].
    pub unverifiable: Option<Said>,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// This very server answered, with the proof.
    Proved,
    /// Something else answers there.
    Foreign {
        /// What was seen.
        saw: Said,
    },
    /// Nothing usable answered.
    Failed {
        /// The lowest layer that broke.
        layer: Layer,
        /// What was seen.
        saw: Said,
    },
    /// It cannot be told from here whether devices get through.
    Unverifiable {
        /// Why.
        why: Said,
    },
}

/// The layer at which a probe broke, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// The name leads nowhere.
    Dns,
    /// No connection.
    Tcp,
    /// No TLS, or a certificate that does not fit.
    Tls,
    /// No usable HTTP answer.
    Http,
    /// The upgrade to WebSocket fails.
    WebSocket,
    /// No usable MQTT answer.
    Mqtt,
}

impl Layer {
    /// Its name, the same in both languages.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Dns => "DNS",
            Layer::Tcp => "TCP",
            Layer::Tls => "TLS",
            Layer::Http => "HTTP",
            Layer::WebSocket => "WebSocket",
            Layer::Mqtt => "MQTT",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// From where an address was seen to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vantage {
    /// A probe of this server.
    Here,
    /// A phone that opened the page for it.
    Phone,
    /// A device that connected through it.
    Device,
}

/// What is known of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing yet, or nothing any more.
    Unknown,
    /// The first probe is on its way.
    Probing,
    /// It leads here.
    Verified {
        /// Holds until then unless seen again.
        until: u64,
        /// Who saw it last.
        by: Vantage,
    },
    /// It was verified and the last probes fail; still told.
    Degraded {
        /// What the last probe saw.
        why: Said,
        /// Failures in a row.
        failures: u8,
    },
    /// It does not lead here; never told.
    Broken {
        /// What the last probe saw.
        why: Said,
    },
    /// A probe from here proves nothing.
    UnverifiableFromHere {
        /// Why, and what would.
        why: Said,
    },
}

impl State {
    /// Its name, for programs: `verified`, `unverifiable_from_here` …
    pub fn name(&self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Probing => "probing",
            State::Verified { .. } => "verified",
            State::Degraded { .. } => "degraded",
            State::Broken { .. } => "broken",
            State::UnverifiableFromHere { .. } => "unverifiable_from_here",
        }
    }

    /// What is wrong, where something is.
    pub fn why(&self) -> Option<&Said> {
        match self {
            State::Degraded { why, .. }
            | State::Broken { why }
            | State::UnverifiableFromHere { why } => Some(why),
            _ => None,
        }
    }
}

/// One address with its state, for `ports`, pages and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The candidate.
    pub candidate: Candidate,
    /// What is known of it.
    pub state: State,
    /// When it was last seen to work.
    pub verified_at: Option<u64>,
    /// Whether it is no candidate any more, and kept because it was the last one
    /// verified.
    pub former: bool,
}

/// What may be told to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// An address that leads here.
    Verified(AdvertisedAddress),
    /// The last one that did; what has been seen since.
    LastVerified(AdvertisedAddress, Said),
    /// One that cannot be proved from here, and there is nothing better.
    Unverified(AdvertisedAddress, Said),
    /// None. The device keeps what it has.
    Nothing(Said),
}

impl Told {
    /// The address, if there is one.
    pub fn address(&self) -> Option<&AdvertisedAddress> {
        match self {
            Told::Verified(address)
            | Told::LastVerified(address, _)
            | Told::Unverified(address, _) => Some(address),
            Told::Nothing(_) => None,
        }
    }
}

/// An address whose state has become another, for the log and the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The listener behind the address.
    pub listener: Listener,
    /// The address.
    pub address: AdvertisedAddress,
    /// Its state before.
    pub from: State,
    /// Its state now.
    pub to: State,
}

/// Which advertised addresses may be told to devices.
#[derive(Debug)]
pub struct Gate {
    settings: GateSettings,
    /// In the order of preference; former ones last.
    entries: Vec<Entry>,
    /// What was verified before the server was started, until candidates come.
    restored: Vec<(Listener, AdvertisedAddress)>,
    changes: VecDeque<Change>,
}

impl Gate {
    /// A gate without candidates, which tells nothing.
    pub fn new(settings: GateSettings) -> Gate {
        Gate {
            settings: settings.held_to_limits(),
            entries: Vec::new(),
            restored: Vec::new(),
            changes: VecDeque::new(),
        }
    }

    /// Changes the settings while it works. A probe that is further away than a
    /// new, shorter time between two comes sooner.
    pub fn set_settings(&mut self, settings: GateSettings, now: u64) {
        self.settings = settings.held_to_limits();
        for entry in &mut self.entries {
            entry.probe_by(now + self.settings.verify_every_ms);
        }
    }

    /// Takes up an address that was verified before the server was started: it
    /// may be told (as [`Told::LastVerified`]) until a probe knows better. To be
    /// called before [`Gate::set_candidates`].
    pub fn restore(&mut self, listener: Listener, address: AdvertisedAddress) {
        self.restored.push((listener, address));
    }

    /// The last verified address of each listener and scheme that is not broken
    /// since, to be kept for [`Gate::restore`].
    pub fn last_verified(&self) -> Vec<(Listener, AdvertisedAddress)> {
        let mut last: Vec<&Entry> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.was_verified()) {
            match last.iter_mut().find(|other| other.serves_like(entry)) {
                Some(other) if other.verified_at < entry.verified_at => *other = entry,
                Some(_) => {}
                None => last.push(entry),
            }
        }
        last.into_iter()
            .map(|entry| (entry.listener(), entry.address().clone()))
            .collect()
    }

    /// Replaces the candidates. Those that stay keep their state, new ones are
    /// probed at once.
    ///
    /// The last verified address of a listener stays for a while though it is no
    /// candidate any more (the machine's address has changed), until another is
    /// verified or it fails once; not if no candidate of the listener has its
    /// port, since then nothing of ours listens there.
    pub fn set_candidates(&mut self, candidates: Vec<Candidate>, now: u64) {
        let last = self.last_verified();
        let mut old = core::mem::take(&mut self.entries);
        for candidate in candidates {
            let same = |entry: &Entry| *entry.address() == candidate.address;
            if self.entries.len() == limits::MAX_CANDIDATES || self.entries.iter().any(same) {
                continue;
            }
            let entry = match old.iter().position(same) {
                Some(index) => old.swap_remove(index).renewed(candidate, now),
                None => {
                    let known = self
                        .restored
                        .iter()
                        .any(|(_, address)| *address == candidate.address);
                    Entry::new(candidate, known, now)
                }
            };
            self.entries.push(entry);
        }
        let restored =
            core::mem::take(&mut self.restored)
                .into_iter()
                .map(|(listener, address)| {
                    let candidate = Candidate {
                        listener,
                        address,
                        via: Via::Listener(listener),
                        unverifiable: None,
                    };
                    Entry::new(candidate, true, now)
                });
        let former: Vec<Entry> = old
            .into_iter()
            .filter(|entry| {
                last.iter()
                    .any(|(listener, address)| entry.is(*listener, address))
            })
            .chain(restored)
            .filter(|former| {
                self.entries.iter().any(|entry| {
                    entry.serves_like(former) && entry.address().port() == former.address().port()
                }) && !self
                    .entries
                    .iter()
                    .any(|entry| entry.address() == former.address())
                    // It leads every device to itself once others are meant to come.
                    && former.address().reach() != Reach::Loopback
            })
            .map(|entry| entry.former(now))
            .collect();
        self.entries.extend(former);
        self.drop_former(now);
    }

    /// Drops addresses that are no candidates any more at once, where they are
    /// not to be told even as the last ones that were verified.
    pub fn forget_former(&mut self, unwanted: impl Fn(&AdvertisedAddress) -> bool) {
        self.entries
            .retain(|entry| !entry.is_former() || !unwanted(entry.address()));
    }

    /// The next address to probe, or `None` if none is due. Each call that gives
    /// one starts a probe, which must end in [`Gate::handle_outcome`].
    pub fn poll_probe(&mut self, now: u64) -> Option<AdvertisedAddress> {
        self.handle_timeout(now);
        if self.in_flight() >= limits::MAX_IN_FLIGHT {
            return None;
        }
        // The one that waits longest; among equals the preferred one.
        let index = (0..self.entries.len())
            .filter(|index| self.entries[*index].is_due(now))
            .min_by_key(|index| self.entries[*index].next_probe())?;
        self.change(index, |entry, _| entry.begin_probe(now));
        Some(self.entries[index].address().clone())
    }

    /// What came of a probe. An address that is no candidate any more is passed
    /// over.
    pub fn handle_outcome(&mut self, address: &AdvertisedAddress, outcome: Outcome, now: u64) {
        self.handle_timeout(now);
        let Some(index) = self.position(address) else {
            return;
        };
        self.change(index, |entry, settings| {
            entry.handle_outcome(outcome, settings, now);
        });
        self.drop_former(now);
    }

    /// A device or a phone has reached us through an address. Only a new
    /// connection that names the address itself may count as such.
    pub fn handle_seen(&mut self, address: &AdvertisedAddress, vantage: Vantage, now: u64) {
        self.handle_timeout(now);
        let Some(index) = self.position(address) else {
            return;
        };
        self.change(index, |entry, settings| {
            entry.handle_seen(vantage, settings, now);
        });
        self.drop_former(now);
    }

    /// Probes every address soon: the network, a name or a certificate has
    /// changed.
    pub fn recheck(&mut self, now: u64) {
        for entry in &mut self.entries {
            entry.probe_soon(now);
        }
    }

    /// When to call [`Gate::handle_timeout`] and [`Gate::poll_probe`] next.
    /// After both, it lies later than `now`.
    pub fn poll_timeout(&self) -> Option<u64> {
        let full = self.in_flight() >= limits::MAX_IN_FLIGHT;
        self.entries
            .iter()
            .filter_map(|entry| entry.timeout(full))
            .min()
    }

    /// Lets what has run out run out: verified states, sightings, lost probes.
    pub fn handle_timeout(&mut self, now: u64) {
        for index in 0..self.entries.len() {
            self.change(index, |entry, settings| {
                entry.handle_timeout(settings, now);
            });
        }
    }

    /// The next change of a state, oldest first. That a probe has begun is none.
    pub fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// Every address with its state, in the order of preference.
    pub fn states(&self, now: u64) -> Vec<Standing> {
        self.entries
            .iter()
            .map(|entry| entry.standing(now))
            .collect()
    }

    /// What a device may be told for a listener in a scheme.
    pub fn told(&self, listener: Listener, scheme: Scheme, now: u64) -> Told {
        self.told_if(listener, scheme, now, |_| true)
    }

    /// The same among the addresses that `usable` takes: a Tasmota does not look
    /// up names that end in `.local` ([`crate::Reach::Mdns`]).
    ///
    /// In this order: the preferred one among those that are verified or, though
    /// degraded, have not failed for good; the last verified one of which nothing
    /// is known now; one that cannot be proved from here. Never a broken one.
    pub fn told_if(
        &self,
        listener: Listener,
        scheme: Scheme,
        now: u64,
        usable: impl Fn(&AdvertisedAddress) -> bool,
    ) -> Told {
        let entries: Vec<(&Entry, State)> = self
            .entries
            .iter()
            .filter(|entry| {
                let address = entry.address();
                entry.listener() == listener && address.scheme() == scheme && usable(address)
            })
            .map(|entry| (entry, entry.state(now)))
            .collect();
        for (entry, state) in entries.iter().filter(|(entry, _)| !entry.is_former()) {
            let address = || entry.address().clone();
            match state {
                State::Verified { .. } => return Told::Verified(address()),
                State::Degraded { why, .. } => return Told::LastVerified(address(), why.clone()),
                _ => {}
            }
        }
        let last = entries
            .iter()
            .filter(|(entry, state)| entry.was_verified() && !matches!(state, State::Broken { .. }))
            // Of equals the first, which is the preferred one.
            .rev()
            .max_by_key(|(entry, _)| entry.verified_at);
        if let Some((entry, state)) = last {
            let why = state.why().cloned().unwrap_or_else(|| {
                said!(
                    "it was proved before and is being probed again",
                    "此前验证通过，正在重新探测"
                )
            });
            return Told::LastVerified(entry.address().clone(), why);
        }
        for (entry, state) in &entries {
            if let State::UnverifiableFromHere { why } = state {
                return Told::Unverified(entry.address().clone(), why.clone());
            }
        }
        Told::Nothing(nothing(listener, scheme, &entries))
    }

    fn position(&self, address: &AdvertisedAddress) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.address() == address)
    }

    fn in_flight(&self) -> usize {
        self.entries
            .iter()
            .filter(|entry| entry.in_flight())
            .count()
    }

    /// Does something to an entry and notes whether its state became another.
    fn change(&mut self, index: usize, act: impl FnOnce(&mut Entry, GateSettings)) {
        let entry = &mut self.entries[index];
        let from = entry.known_state().clone();
        act(entry, self.settings);
        let to = entry.known_state();
        if to.name() == from.name() || *to == State::Probing {
            return;
        }
        if self.changes.len() == limits::MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(Change {
            listener: entry.listener(),
            address: entry.address().clone(),
            from,
            to: entry.known_state().clone(),
        });
    }

    /// Drops what is no candidate any more once it is broken or not needed.
    fn drop_former(&mut self, now: u64) {
        let better: Vec<(Listener, Scheme)> = self
            .entries
            .iter()
            .filter(|entry| {
                !entry.is_former() && matches!(entry.state(now), State::Verified { .. })
            })
            .map(|entry| (entry.listener(), entry.address().scheme()))
            .collect();
        self.entries.retain(|entry| {
            !entry.is_former()
                || (!matches!(entry.state(now), State::Broken { .. })
                    && !better.contains(&(entry.listener(), entry.address().scheme())))
        });
    }
}

impl GateSettings {
    fn held_to_limits(self) -> GateSettings {
        GateSettings {
            verify_every_ms: self.verify_every_ms.max(1_000),
        }
    }
}

/// Why there is nothing to tell: the words of the preferred address.
fn nothing(listener: Listener, scheme: Scheme, entries: &[(&Entry, State)]) -> Said {
    let Some((entry, state)) = entries.first() else {
        return said!(
            "no address of {listener} is known for {scheme}://; look at `safeport ports`",
            "没有 {listener} 的 {scheme}:// 地址；请查看 `safeport ports`"
        );
    };
    let address = entry.address();
    match state {
        State::Broken { why } => said!(
            "{address} does not lead here: {}",
            "{address} 不通向本服务器：{}",
            why.clone()
        ),
        _ => said!("{address} has not been proved yet", "{address} 尚未验证"),
    }
}

#[cfg(test)]
mod tests;
