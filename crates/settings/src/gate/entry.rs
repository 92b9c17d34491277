//! What the gate knows of one address, and how that changes.

use super::limits::{FAILURES, FIRST_RETRY_MS, LOST_AFTER_MS, SEEN_FOR_MS};
use super::{Candidate, GateSettings, Outcome, Standing, State, Vantage};
use crate::said::said;
use crate::{AdvertisedAddress, Listener, Said};

#[derive(Debug)]
pub(super) struct Entry {
    candidate: Candidate,
    state: State,
    /// When it was last verified; `Some(0)` for one restored from before.
    pub(super) verified_at: Option<u64>,
    /// Failures of probes in a row.
    failures: u8,
    /// Whether the last probe found something else there.
    foreign: bool,
    /// When the probe on its way was begun.
    begun: Option<u64>,
    next_probe: u64,
    /// A probe was asked for while one was on its way.
    again: bool,
    /// Someone elsewhere got through although probes from here did not: until
    /// then, failures seen from here do not count.
    elsewhere_until: Option<u64>,
    former: bool,
}

impl Entry {
    pub(super) fn new(candidate: Candidate, verified_before: bool, now: u64) -> Entry {
        Entry {
            candidate,
            state: State::Unknown,
            verified_at: verified_before.then_some(0),
            failures: 0,
            foreign: false,
            begun: None,
            next_probe: now,
            again: false,
            elsewhere_until: None,
            former: false,
        }
    }

    /// The same address as a candidate of a new list.
    pub(super) fn renewed(mut self, candidate: Candidate, now: u64) -> Entry {
        if self.former || self.candidate != candidate {
            self.probe_soon(now);
        }
        let other_place =
            self.candidate.listener != candidate.listener || self.candidate.via != candidate.via;
        let marked = self.candidate.unverifiable.is_none() && candidate.unverifiable.is_some();
        if other_place || marked {
            // What was seen was another way; nothing of it holds.
            return Entry::new(candidate, false, now).with_probe_of(&self);
        }
        self.candidate = candidate;
        self.former = false;
        self
    }

    /// A probe on its way stays on its way.
    fn with_probe_of(mut self, old: &Entry) -> Entry {
        self.begun = old.begun;
        self.again = old.begun.is_some();
        self
    }

    /// Kept though it is no candidate any more.
    pub(super) fn former(mut self, now: u64) -> Entry {
        self.former = true;
        self.probe_soon(now);
        self
    }

    pub(super) fn listener(&self) -> Listener {
        self.candidate.listener
    }

    pub(super) fn address(&self) -> &AdvertisedAddress {
        &self.candidate.address
    }

    pub(super) fn is(&self, listener: Listener, address: &AdvertisedAddress) -> bool {
        self.listener() == listener && self.address() == address
    }

    /// Whether a device could be told the one for the other.
    pub(super) fn serves_like(&self, other: &Entry) -> bool {
        self.listener() == other.listener() && self.address().scheme() == other.address().scheme()
    }

    pub(super) fn is_former(&self) -> bool {
        self.former
    }

    /// Whether it was verified once and is not broken since.
    pub(super) fn was_verified(&self) -> bool {
        self.verified_at.is_some()
    }

    pub(super) fn in_flight(&self) -> bool {
        self.begun.is_some()
    }

    pub(super) fn next_probe(&self) -> u64 {
        self.next_probe
    }

    /// Probes at `at` at the latest.
    pub(super) fn probe_by(&mut self, at: u64) {
        self.next_probe = self.next_probe.min(at);
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.begun.is_none() && self.next_probe <= now
    }

    /// The state as it was after the last event.
    pub(super) fn known_state(&self) -> &State {
        &self.state
    }

    /// The state at a time: a verified one may have run out.
    pub(super) fn state(&self, now: u64) -> State {
        match self.state {
            State::Verified { until, .. } if until <= now => State::Unknown,
            _ => self.state.clone(),
        }
    }

    pub(super) fn standing(&self, now: u64) -> Standing {
        Standing {
            candidate: self.candidate.clone(),
            state: self.state(now),
            verified_at: self.verified_at,
            former: self.former,
        }
    }

    pub(super) fn begin_probe(&mut self, now: u64) {
        self.begun = Some(now);
        self.again = false;
        if self.state == State::Unknown {
            self.state = State::Probing;
        }
    }

    pub(super) fn probe_soon(&mut self, now: u64) {
        self.again = self.begun.is_some();
        self.next_probe = self.next_probe.min(now);
    }

    pub(super) fn handle_outcome(&mut self, outcome: Outcome, settings: GateSettings, now: u64) {
        self.begun = None;
        self.foreign = match outcome {
            Outcome::Foreign { .. } => true,
            // Silence does not take back that something else was there.
            Outcome::Unverifiable { .. } => self.foreign,
            _ => false,
        };
        match outcome {
            Outcome::Proved => self.proved(settings, now),
            Outcome::Foreign { saw } => self.failed(
                said!(
                    "something else answers there: {}",
                    "那里应答的不是本服务器：{}",
                    saw
                ),
                Failure::Final,
                now,
            ),
            Outcome::Failed { layer, saw } => {
                let once = self.former || self.verified_at.is_none();
                let failure = if once {
                    Failure::Final
                } else {
                    Failure::Passing
                };
                self.failed(said!("{}: {}", "{}：{}", layer.name(), saw), failure, now);
            }
            Outcome::Unverifiable { why } if self.foreign => {
                self.failed(why, Failure::Final, now);
            }
            Outcome::Unverifiable { why } => self.failed(why, Failure::Unclear, now),
        }
        let pause = match self.failures {
            0 => settings.verify_every_ms,
            failures => {
                (FIRST_RETRY_MS << u32::from(failures - 1).min(16)).min(settings.verify_every_ms)
            }
        };
        self.next_probe = if self.again {
            now
        } else {
            now.saturating_add(pause)
        };
    }

    pub(super) fn handle_seen(&mut self, vantage: Vantage, settings: GateSettings, now: u64) {
        // What works from there though not from here is believed from there.
        let hidden_from_here = self.failures > 0
            || self.candidate.unverifiable.is_some()
            || matches!(self.state, State::UnverifiableFromHere { .. });
        let mut until = now.saturating_add(hold(settings));
        if let State::Verified { until: before, .. } = self.state {
            until = until.max(before);
        }
        if hidden_from_here || self.elsewhere_until.is_some() {
            until = now.saturating_add(SEEN_FOR_MS);
            self.elsewhere_until = Some(until);
        }
        self.verified(until, vantage, now);
    }

    pub(super) fn handle_timeout(&mut self, settings: GateSettings, now: u64) {
        if self.begun.is_some_and(|begun| lost_at(begun) <= now) {
            self.begun = None;
            self.next_probe = now.saturating_add(FIRST_RETRY_MS.min(settings.verify_every_ms));
            if self.state == State::Probing {
                self.state = State::Unknown;
            }
        }
        if self.elsewhere_until.is_some_and(|until| until <= now) {
            self.elsewhere_until = None;
            // From now on what is seen from here counts again.
            self.probe_soon(now);
        }
        if let State::Verified { until, .. } = self.state
            && until <= now
        {
            self.state = State::Unknown;
        }
    }

    /// When something runs out or is due; `full` if no probe may begin.
    pub(super) fn timeout(&self, full: bool) -> Option<u64> {
        let probe = match self.begun {
            Some(begun) => Some(lost_at(begun)),
            None if full => None,
            None => Some(self.next_probe),
        };
        let verified = match self.state {
            State::Verified { until, .. } => Some(until),
            _ => None,
        };
        [probe, verified, self.elsewhere_until]
            .into_iter()
            .flatten()
            .min()
    }

    fn proved(&mut self, settings: GateSettings, now: u64) {
        self.failures = 0;
        if let Some(why) = &self.candidate.unverifiable {
            // Our own answer to ourselves proves nothing here.
            if self.elsewhere_until.is_none() {
                self.state = State::UnverifiableFromHere { why: why.clone() };
            }
            return;
        }
        self.elsewhere_until = None;
        self.verified(now.saturating_add(hold(settings)), Vantage::Here, now);
    }

    fn verified(&mut self, until: u64, by: Vantage, now: u64) {
        self.verified_at = Some(now);
        self.state = State::Verified { until, by };
    }

    fn failed(&mut self, why: Said, failure: Failure, now: u64) {
        self.failures = self.failures.saturating_add(1);
        if self.elsewhere_until.is_some_and(|until| now < until) {
            return;
        }
        let patient = self.verified_at.is_some() && self.failures < FAILURES && !self.former;
        self.state = match failure {
            Failure::Final => State::Broken { why },
            Failure::Passing | Failure::Unclear
                if patient && !matches!(self.state, State::Broken { .. }) =>
            {
                State::Degraded {
                    why,
                    failures: self.failures,
                }
            }
            Failure::Passing => State::Broken { why },
            Failure::Unclear => State::UnverifiableFromHere { why },
        };
        if matches!(self.state, State::Broken { .. }) {
            self.verified_at = None;
        }
    }
}

/// How much a failed probe says.
enum Failure {
    /// Enough to stop at once.
    Final,
    /// Enough when it lasts.
    Passing,
    /// Nothing about the way that devices take.
    Unclear,
}

/// How long a proof holds: two probes may be missed.
fn hold(settings: GateSettings) -> u64 {
    settings
        .verify_every_ms
        .saturating_mul(2)
        .saturating_add(LOST_AFTER_MS)
}

fn lost_at(begun: u64) -> u64 {
    begun.saturating_add(LOST_AFTER_MS)
}
