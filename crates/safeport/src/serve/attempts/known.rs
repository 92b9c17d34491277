//! What is known beside an attempt itself: who lives at its address, which key that device
//! expects, whether it trusted our certificates before, and quarrels about a client identifier.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use safeport_net::attempt::{Attempt, Circumstances, Ending, Service};
use safeport_store::{AttemptQuery, Registry};

use super::seen::{Hello, Seen};
use crate::limits::{ATTEMPT_LOOKS, ATTEMPT_NEIGHBOURS, TAKE_OVER_WINDOW, TAKE_OVERS};
use crate::serve::access::recent::Recent;
use crate::serve::access::shown;

/// What was learned of those who came before.
pub(super) struct Known {
    neighbours: Recent<Place, Neighbour>,
    take_overs: Recent<String, VecDeque<Instant>>,
    pins: Pins,
    looks: Looks,
}

/// How often the registry may still be asked about an address in the second that began last: a
/// storm of ever new ones must not become a storm of questions.
struct Looks {
    since: Instant,
    left: u32,
}

impl Looks {
    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Looks {
                since: now,
                left: ATTEMPT_LOOKS,
            };
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// An address and the shape of the ClientHello that comes from it (its mark): behind one address
/// there may be many devices.
type Place = (IpAddr, u64);

#[derive(Debug, Default, Clone)]
struct Neighbour {
    user: User,
    /// When it connected last with our certificate, in seconds since 1970; 0 for never.
    trusted: u64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum User {
    #[default]
    Unknown,
    One(String),
    /// Several devices look the same from here.
    Several,
}

/// Which login expects which key.
#[derive(Default)]
struct Pins {
    /// The state of the registry that `of_login` is from.
    version: Option<u64>,
    of_login: HashMap<String, String>,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            neighbours: Recent::new(ATTEMPT_NEIGHBOURS),
            take_overs: Recent::new(TAKE_OVERS),
            pins: Pins::default(),
            looks: Looks {
                since: Instant::now(),
                left: ATTEMPT_LOOKS,
            },
        }
    }
}

impl Known {
    /// What is known beside `attempt`. `trusted_since`: when the certificates changed last.
    pub(super) fn circumstances(
        &mut self,
        attempt: &Attempt,
        hello: Option<&Arc<Hello>>,
        trusted_since: u64,
        registry: &Registry,
        now: Instant,
    ) -> Circumstances {
        let mut circumstances = Circumstances {
            service: match attempt.listener.starts_with("http") {
                true => Service::Http,
                false => Service::Mqtt,
            },
            tls: matches!(&*attempt.listener, "mqtts" | "https"),
            pinned: None,
            trusted_before: false,
            take_overs: self.take_overs(attempt, now),
        };
        // Where all went well, nothing needs to be known.
        if attempt.ending == Ending::Connected {
            return circumstances;
        }
        if let Some(hello) = hello {
            let address = attempt.peer.ip().to_canonical();
            let neighbour = self.neighbour(address, hello, registry, now);
            circumstances.trusted_before =
                neighbour.trusted > 0 && neighbour.trusted >= trusted_since;
            circumstances.pinned = self.pinned(attempt, &neighbour.user, registry);
        }
        circumstances
    }

    /// Remembers who came from where.
    pub(super) fn learn(&mut self, seen: &Seen) {
        let Some(hello) = &seen.hello else { return };
        if seen.cause.is_failure() {
            return;
        }
        let at = match seen.resumed {
            // No certificate was looked at.
            true => 0,
            false => seen.at.as_secs(),
        };
        let place = (seen.address(), hello.mark);
        match self.neighbours.get(&place) {
            Some(known) => known.add(seen.user.as_deref(), at),
            None => {
                let mut fresh = Neighbour::default();
                fresh.add(seen.user.as_deref(), at);
                self.neighbours.insert(place, fresh);
            }
        }
    }

    /// From memory, or from what the registry has of an earlier run.
    fn neighbour(
        &mut self,
        address: IpAddr,
        hello: &Hello,
        registry: &Registry,
        now: Instant,
    ) -> Neighbour {
        let place = (address, hello.mark);
        if let Some(known) = self.neighbours.get(&place) {
            return known.clone();
        }
        if !self.looks.take(now) {
            return Neighbour::default();
        }
        let mut found = Neighbour::default();
        let address = address.to_string();
        let query = AttemptQuery {
            address: Some(&address),
            ..AttemptQuery::default()
        };
        // Without it the judgement is only less sure.
        for row in registry.attempts(&query).unwrap_or_default() {
            if !row.last.failure && row.key.hello == hello.fingerprint {
                let user = (!row.key.user.is_empty()).then_some(row.key.user.as_str());
                found.add(user, row.last_at);
            }
        }
        self.neighbours.insert(place, found.clone());
        found
    }

    /// Whether the key that was served is the one that the device was told to expect.
    fn pinned(&mut self, attempt: &Attempt, user: &User, registry: &Registry) -> Option<bool> {
        let served = attempt.tls.as_ref()?.served.as_ref()?;
        let login = match (attempt.user.as_deref(), user) {
            (Some(given), _) => shown(given),
            (None, User::One(known)) => known.clone(),
            (None, _) => return None,
        };
        let pin = self.pins.of(&login, registry)?;
        let served = served.tasmota_fingerprints().map(|both| both.v2.hex());
        Some(served.as_deref() == Some(pin))
    }

    /// How often the client identifier was taken over in the last minute, this time included.
    fn take_overs(&mut self, attempt: &Attempt, now: Instant) -> u32 {
        if attempt.ending != Ending::TakenOver {
            return 0;
        }
        let id = shown(attempt.client_id.as_deref().unwrap_or_default());
        if self.take_overs.get(&id).is_none() {
            self.take_overs.insert(id.clone(), VecDeque::new());
        }
        let Some(times) = self.take_overs.get(&id) else {
            return 1;
        };
        times.retain(|at| now.saturating_duration_since(*at) < TAKE_OVER_WINDOW);
        if times.len() >= MOST_TIMES {
            times.pop_front();
        }
        times.push_back(now);
        u32::try_from(times.len()).unwrap_or(u32::MAX)
    }
}

/// More take-overs of one client identifier within a minute need not be counted.
const MOST_TIMES: usize = 16;

impl Neighbour {
    fn add(&mut self, user: Option<&str>, trusted: u64) {
        self.trusted = self.trusted.max(trusted);
        self.user = match (std::mem::take(&mut self.user), user) {
            (known, None) => known,
            (User::Unknown, Some(user)) => User::One(user.to_owned()),
            (User::One(known), Some(user)) if known == user => User::One(known),
            (User::One(_) | User::Several, Some(_)) => User::Several,
        };
    }
}

impl Pins {
    /// The fingerprint that a login expects.
    fn of(&mut self, login: &str, registry: &Registry) -> Option<&str> {
        let version = registry.certificates_version().ok()?;
        if self.version != Some(version) {
            let pinned = registry.pinned_logins().ok()?;
            self.of_login = pinned.into_iter().collect();
            self.version = Some(version);
        }
        self.of_login.get(login).map(String::as_str)
    }
}
