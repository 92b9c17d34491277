//! One offer on its way: one device, one image or two, until it runs them and has stayed healthy,
//! or until it is clear why not.
//!
//! [`Upgrade`] is a machine without clock or socket: [`Upgrade::handle`] takes what happened,
//! [`Upgrade::poll_effect`] says what to do about it, [`Upgrade::poll_timeout`] when to call
//! [`Upgrade::handle_timeout`]. It is kept as JSON after each change, and [`Upgrade::resume`] takes
//! it up again after a restart of ours.
//!
//! What holds whatever happens: the main image is never offered before the safeboot step of the
//! same plan is done; an `OtaUrl` that was changed is given back, or it is said why not; a final
//! state never changes.

mod event;
mod identity;
mod installing;
mod offering;
mod plan;
mod returning;
mod settling;
mod state;
#[cfg(test)]
mod tests;
mod texts;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use event::{BackupAnswer, Effect, Event, Running, Saw, WebAnswer, WebRequest};
pub use plan::{Adapter, Identity, Named, Part, Plan, Planned, Step};
pub use state::{Cause, Evidence, Reason, State};

use crate::limits::{self, MAX_OTA_URL, MAX_UPGRADE_HISTORY};
use identity::Match;
use texts::Blame;

// The waits are in seconds, as they are with the usual patience: see `Plan::wait`.

/// How long a device may take to answer a question.
const ANSWER: u64 = 30;
/// How long until an order that nobody has answered is given again.
const NUDGE: u64 = 60;
/// How long an ordered device may take until its first byte.
const OFFERED: u64 = 5 * 60;
/// How long a transfer may stand still.
const STALLED: u64 = 5 * 60;
/// How long a device may write and restart; [`MORE_STEPS`] for each further step.
const INSTALLING: u64 = 5 * 60;
const MORE_STEPS: u64 = 2 * 60;
/// How long a new safeboot has to reach us.
const PROOF: u64 = 120;
/// How long a safeboot may idle before the next rung of the ladder.
const RUNG: u64 = 180;
/// How long the evidence may take.
const VERIFYING: u64 = 10 * 60;
/// How long a device may be away while it soaks.
const AWAY_IN_SOAK: u64 = 5 * 60;
/// Three boots within this are a loop.
const LOOP: u64 = 10 * 60;
/// Waits after the first, second … failure of a device, each ± 50 %.
const WAITS: [u64; 3] = [2 * 60, 15 * 60, 2 * 60 * 60];
/// Most failures that count.
const MAX_TRIES: u8 = 3;
/// Most interruptions that are nobody's fault.
const MAX_INTERRUPTIONS: u8 = 10;
/// Pause between two requests for the old `OtaUrl`, and how many there are.
const RESTORE_AGAIN: u64 = 20;
const RESTORE_TRIES: u8 = 6;

/// One offer on its way. See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Upgrade {
    plan: Plan,
    stage: Stage,
    /// Which step of the plan.
    step: usize,
    /// The address of this step's file, once there is one.
    url: Option<String>,
    deadline: Option<u64>,
    known: Known,
    /// What the device ran before this step.
    before: Identity,
    /// The device's own `OtaUrl`, once read.
    own_ota_url: Option<String>,
    restore: Restore,
    tries: u8,
    interruptions: u8,
    /// How often the whole file of this step was fetched.
    full_gets: u8,
    minimal_gets: u8,
    /// How often an ESP-IDF device has read the beginning of the file and left it at that.
    #[serde(default)]
    put_down: u8,
    /// Bytes of this step that went out, ever.
    bytes: u64,
    total: u64,
    /// All of this step has gone out, and the device has had the time to write it.
    written: bool,
    /// The device has booted since.
    rebooted: bool,
    /// The settings are saved, or it is known that they cannot be.
    backed_up: bool,
    safeboot_written: bool,
    safeboot_proved: bool,
    /// Fresh boots since the main image was written.
    boots: Vec<u64>,
    evidence: Evidence,
    /// Ends like this at the next point where that harms nothing.
    stop: Option<State>,
    /// The device's own words, or a fuller reason.
    detail: String,
    history: Vec<Entry>,
    random: u64,
    #[serde(skip)]
    effects: VecDeque<Effect>,
}

/// A line of an offer's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970.
    pub at: u64,
    /// The state since then.
    pub state: State,
    /// The cause, in words.
    pub what: String,
}

/// What became of the device's own `OtaUrl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restore {
    /// It was not touched.
    Untouched,
    /// It has to be given back.
    Owed {
        /// How often the device was asked.
        asked: u8,
        /// When to ask again, once it is time.
        next_at: u64,
    },
    /// The device has confirmed its own again.
    Done,
    /// It could not be given back: why, and what to enter on the device.
    Impossible(String),
}

/// What a check of a xiaozhi device is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Where the image is.
    pub url: String,
    /// The version *inside* the image.
    pub version: String,
    /// Whether to install although it is not newer by the device's rule.
    pub force: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    online: Option<bool>,
    over_tls: Option<bool>,
    running: Option<Running>,
    /// The same, since this connection began: INFO3 does not say which image counts its boots.
    heard: Option<Running>,
    safeboot_seen_at: Option<u64>,
    main: Identity,
    safeboot_version: Option<String>,
    boot_count: Option<u64>,
    uptime: Option<u64>,
    /// A boot was announced whose count has not been told yet.
    announced: bool,
    /// The last check of a xiaozhi device was the first one of another build.
    first_of_build: bool,
    crashed: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The device is not here.
    Away,
    Preflight {
        asked: u8,
        version: bool,
        ota_url: bool,
    },
    Backup,
    /// Until there is an address for this step.
    Token {
        gated: bool,
    },
    SetUrl {
        asked: u8,
    },
    /// Told to fetch, or waiting for the device to ask.
    Trigger {
        since: u64,
        asked: u8,
        accepted: bool,
    },
    Downloading,
    Installing {
        asked: u8,
    },
    Prove {
        since: u64,
        asked: u8,
        accepted: bool,
    },
    /// From safeboot back to the main image.
    Return {
        fail: Option<Reason>,
        asked: u8,
        asked_at: u64,
        looks: u8,
    },
    Recovery {
        since: u64,
        rung: u8,
    },
    Verifying {
        since: u64,
    },
    Soaking {
        until: u64,
        away_since: Option<u64>,
        connections: u8,
        again: u8,
    },
    Backoff,
    Unreachable,
    Restoring {
        then: State,
        since: u64,
    },
    Ended(State),
}

impl Upgrade {
    /// Begins.
    pub fn new(plan: Plan, now: u64) -> Upgrade {
        let mut upgrade = Upgrade {
            known: Known {
                online: Some(plan.online),
                main: plan.running.clone(),
                ..Known::default()
            },
            before: plan.running.clone(),
            own_ota_url: plan.own_ota_url.clone(),
            random: plan.seed | 1,
            backed_up: !plan.backup,
            plan,
            stage: Stage::Away,
            step: 0,
            url: None,
            deadline: None,
            restore: Restore::Untouched,
            tries: 0,
            interruptions: 0,
            full_gets: 0,
            minimal_gets: 0,
            put_down: 0,
            bytes: 0,
            total: 0,
            written: false,
            rebooted: false,
            safeboot_written: false,
            safeboot_proved: false,
            boots: Vec::new(),
            evidence: Evidence::default(),
            stop: None,
            detail: String::new(),
            history: Vec::new(),
            effects: VecDeque::new(),
        };
        upgrade.begin(now);
        upgrade
    }

    /// Something happened. Ignored once the state is final.
    pub fn handle(&mut self, event: Event, now: u64) {
        if self.state().is_final() {
            return;
        }
        match event {
            Event::Saw(saw) => self.saw(&saw, now),
            Event::Result(text) => self.answered(&texts::read(&text), now),
            Event::TokenReady { step, url } => self.token_ready(step, url, now),
            Event::NoAddress { why } => self.no_address(&why, now),
            Event::Fetched {
                step,
                minimal,
                bytes,
                total,
                ended,
            } => self.fetched(step, minimal, bytes, total, ended, now),
            Event::ManifestRead => {
                if matches!(self.stage, Stage::Trigger { .. }) {
                    // It makes up its mind about what it has read.
                    self.deadline = Some(now + 2);
                }
            }
            Event::Web { request, answer } => self.web(&request, answer, now),
            Event::Backup(answer) => self.backup(answer, now),
            Event::CannotCommand { why } => self.note(now, &why),
            Event::Cancel => self.stop(State::Cancelled, now),
            Event::Supersede => self.stop(State::Superseded, now),
        }
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`Upgrade::handle_timeout`], in seconds since 1970.
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.state().is_final() {
            return None;
        }
        let expiry = self.can_expire().then_some(self.plan.expires_at);
        let restore = match &self.restore {
            Restore::Owed { next_at, .. } if self.is_restoring() => Some(*next_at),
            _ => None,
        };
        [self.deadline, expiry, restore].into_iter().flatten().min()
    }

    /// Time has passed. Does nothing before [`Upgrade::poll_timeout`].
    pub fn handle_timeout(&mut self, now: u64) {
        if self.state().is_final() {
            return;
        }
        if self.can_expire() && now >= self.plan.expires_at {
            let (state, why) = if self.stage == Stage::Unreachable {
                (State::Failed(Reason::Unreachable), "it never came back")
            } else {
                (State::Expired, "the time of this offer is over")
            };
            return self.end(state, why, now);
        }
        if let Restore::Owed { next_at, .. } = self.restore
            && self.is_restoring()
            && now >= next_at
        {
            self.ask_restore(now);
        }
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            self.deadline = None;
            self.late(now);
        }
    }

    /// Takes the offer up again after a restart of ours: asks again for whatever may have been
    /// lost, and holds nothing against the device that happened meanwhile.
    pub fn resume(&mut self, now: u64) {
        self.effects.clear();
        if self.state().is_final() {
            return;
        }
        // Devices need a moment to come back to us.
        if let Some(deadline) = &mut self.deadline {
            *deadline = (*deadline).max(now + self.plan.wait(NUDGE));
        }
        match &mut self.stage {
            Stage::Preflight { .. } | Stage::Installing { .. } => self.look(),
            // While we were away it could not come: it has the whole time once more.
            Stage::Verifying { since } | Stage::Prove { since, .. } => {
                *since = now;
                self.look();
            }
            Stage::Trigger { since, .. } => *since = now,
            Stage::Return { .. } => self.look(),
            Stage::Backup => self.effects.push_back(Effect::Backup),
            Stage::Token { .. } => self
                .effects
                .push_back(Effect::IssueToken { step: self.step }),
            Stage::SetUrl { .. } => self.set_url(now),
            Stage::Downloading if self.plan.adapter == Adapter::EspEasy => {
                self.retry(Blame::Ours, None, "we restarted while sending", now);
            }
            // With us its transfer broke off, and nothing tells us so.
            Stage::Downloading | Stage::Recovery { .. } => {
                self.deadline = Some(now + self.plan.wait(NUDGE))
            }
            Stage::Soaking {
                until,
                connections,
                away_since,
                ..
            } => {
                *connections = 0;
                // Nobody has watched it meanwhile, and a Tasmota that does not answer is not here.
                *until = now + self.plan.soak;
                *away_since = self.plan.adapter.is_tasmota().then_some(now);
                self.deadline = Some(match *away_since {
                    Some(since) => (*until).min(since + self.plan.wait(AWAY_IN_SOAK)),
                    None => *until,
                });
                self.look();
            }
            _ => {}
        }
        // The address of this step may have changed while we were away.
        if self.url.is_some() && !matches!(self.stage, Stage::Token { .. }) && !self.is_restoring()
        {
            self.effects
                .push_back(Effect::IssueToken { step: self.step });
        }
    }

    /// What the check that was just handed in (as [`Saw`] with `booted`) is answered. Nothing in
    /// the first check of another build, since that check confirms the build, and nothing when
    /// the device reports the target already.
    pub fn lease(&mut self, now: u64) -> Option<Lease> {
        if self.plan.adapter != Adapter::Xiaozhi || self.known.first_of_build {
            return None;
        }
        let Stage::Trigger { asked, .. } = &mut self.stage else {
            return None;
        };
        let target = &self.plan.steps.get(self.step)?.image.identity;
        if target.is_already(&self.known.main) {
            return None;
        }
        let lease = Lease {
            url: self.url.clone()?,
            version: target.version.clone()?,
            force: self.plan.downgrade,
        };
        *asked = asked.saturating_add(1);
        self.note(now, "its check was answered with the image");
        Some(lease)
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        match &self.stage {
            Stage::Away => State::Waiting(Cause::Offline),
            Stage::Preflight { .. } | Stage::Backup | Stage::SetUrl { .. } => State::Preparing,
            Stage::Token { gated: true } => State::Waiting(Cause::UrlGate),
            Stage::Token { gated: false } => State::Preparing,
            Stage::Trigger { .. } => State::Offered,
            Stage::Downloading => State::Downloading,
            Stage::Installing { .. } => State::Installing,
            Stage::Prove { .. } | Stage::Return { .. } => State::Proving,
            Stage::Recovery { .. } => State::Recovery,
            Stage::Verifying { .. } => State::Verifying,
            Stage::Soaking { .. } => State::Soaking,
            Stage::Backoff => State::Waiting(Cause::Retry),
            Stage::Unreachable => State::Unreachable,
            Stage::Restoring { .. } => State::Restoring,
            Stage::Ended(state) => *state,
        }
    }

    /// What it was made from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which step of the plan it is at, from 0.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Bytes of the present step that went out, and how many there are.
    pub fn progress(&self) -> (u64, u64) {
        (self.bytes, self.total)
    }

    /// The four ticks.
    pub fn evidence(&self) -> Evidence {
        self.evidence
    }

    /// What became of the device's own `OtaUrl`.
    pub fn restore(&self) -> &Restore {
        &self.restore
    }

    /// The device's own `OtaUrl`, once it has been read.
    pub fn own_ota_url(&self) -> Option<&str> {
        self.own_ota_url.as_deref()
    }

    /// The version of the safeboot, if the offer has learnt it.
    pub fn safeboot_version(&self) -> Option<&str> {
        self.known.safeboot_version.as_deref()
    }

    /// The last cause in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What happened when, oldest first; at most [`MAX_UPGRADE_HISTORY`] lines.
    pub fn history(&self) -> &[Entry] {
        &self.history
    }

    /// Whether the device may fetch this file of this step now: the main image only once the
    /// safeboot of the same plan is in place.
    pub fn may_fetch(&self, step: usize) -> bool {
        !self.state().is_final() && step == self.step
    }

    fn begin(&mut self, now: u64) {
        match self.plan.adapter {
            Adapter::EspHome | Adapter::Xiaozhi | Adapter::Idf => self.ask_token(now),
            _ if self.known.online == Some(false) => {
                self.enter(Stage::Away, None, "the device is not connected", now);
            }
            _ => self.preflight(now),
        }
    }

    /// What time alone brings about.
    fn late(&mut self, now: u64) {
        match self.stage {
            Stage::Away | Stage::Backoff => self.begin_again(now),
            Stage::Preflight { .. } => self.preflight_late(now),
            Stage::Backup => self.backup(BackupAnswer::Unreachable("no answer".to_string()), now),
            Stage::SetUrl { .. } => self.set_url_late(now),
            Stage::Trigger { .. } => self.trigger_late(now),
            Stage::Downloading => self.stalled(now),
            Stage::Installing { .. } => self.installing_late(now),
            Stage::Prove { .. } => self.prove_late(now),
            Stage::Return { .. } => self.return_late(now),
            Stage::Recovery { .. } => self.climb(now),
            Stage::Verifying { .. } => self.verifying_late(now),
            Stage::Soaking { .. } => self.soak_late(now),
            Stage::Restoring { .. } => self.restoring_late(now),
            Stage::Token { .. } | Stage::Unreachable | Stage::Ended(_) => {}
        }
    }

    fn saw(&mut self, saw: &Saw, now: u64) {
        let mut saw = saw.clone();
        if !self.plan.adapter.is_tasmota() {
            // Only Tasmota has small images.
            saw.running = None;
        }
        let booted = self.fold(&saw, now);
        saw.running = saw.running.or(self.known.heard);
        let saw = &saw;
        match self.stage {
            Stage::Away => {
                if self.known.online == Some(true) || booted {
                    self.preflight(now);
                    self.preflight_saw(saw, now);
                }
            }
            Stage::Preflight { .. } => self.preflight_saw(saw, now),
            Stage::SetUrl { .. } => {
                if let Some(url) = &saw.ota_url {
                    self.answered(&texts::Answer::OtaUrl(url.clone()), now);
                }
            }
            Stage::Trigger { .. } => self.trigger_saw(saw, booted, now),
            Stage::Downloading | Stage::Installing { .. } | Stage::Recovery { .. } => {
                self.installing_saw(saw, booted, now);
            }
            Stage::Unreachable => self.unreachable_saw(saw, booted, now),
            Stage::Prove { .. } => self.prove_saw(saw, now),
            Stage::Return { .. } => self.return_saw(saw, now),
            Stage::Verifying { .. } if saw.running == Some(Running::Safeboot) => {
                self.recover("the device is in its safeboot", now);
            }
            Stage::Verifying { .. } => self.verify(now),
            Stage::Soaking { .. } => self.soak_saw(saw, booted, now),
            Stage::Restoring { .. } => self.restore_saw(saw, now),
            Stage::Backup | Stage::Token { .. } | Stage::Backoff | Stage::Ended(_) => {}
        }
        if self.is_restoring()
            && let Some(url) = &saw.ota_url
        {
            self.answered(&texts::Answer::OtaUrl(url.clone()), now);
        }
    }

    /// Remembers what a look showed; whether it was a fresh boot of the main image.
    fn fold(&mut self, saw: &Saw, now: u64) -> bool {
        let known = &mut self.known;
        if saw.connected || saw.online == Some(true) {
            known.online = Some(true);
        }
        if saw.connected || saw.over_tls.is_some() {
            known.over_tls = saw.over_tls;
        }
        if saw.online == Some(false) && !saw.connected {
            known.online = Some(false);
            known.over_tls = None;
            // Whatever comes next may be the other one.
            known.heard = None;
        }
        if let Some(running) = saw.running {
            known.running = Some(running);
            if known.online == Some(true) {
                known.heard = Some(running);
            }
            if running == Running::Safeboot {
                known.safeboot_seen_at = Some(now);
            }
        }
        if saw.safeboot_version.is_some() {
            known.safeboot_version.clone_from(&saw.safeboot_version);
        }
        let is_main = !matches!(
            saw.running.or(known.heard),
            Some(Running::Safeboot | Running::Minimal)
        );
        if is_main {
            let earlier = if known.main == Identity::default() {
                self.before.clone()
            } else {
                known.main.clone()
            };
            known.main.fold(saw);
            if saw.booted {
                known.first_of_build = earlier != Identity::default() && earlier != known.main;
            }
        }
        let mut booted = saw.booted;
        if saw.booted {
            known.announced = true;
        }
        if let Some(count) = saw.boot_count {
            if known.boot_count.is_some_and(|before| count > before) && !known.announced {
                booted = true;
            }
            known.announced = false;
            known.boot_count = Some(count);
        }
        if let Some(uptime) = saw.uptime {
            // Tasmota counts its boots, others can only be told by a clock that begins anew.
            if !self.plan.adapter.is_tasmota()
                && known.uptime.is_some_and(|before| uptime + 5 < before)
            {
                booted = true;
            }
            known.uptime = Some(uptime);
        }
        // These say nothing of their boots, but a boot is a new connection.
        if saw.connected
            && self.written
            && !self.rebooted
            && matches!(
                self.plan.adapter,
                Adapter::EspHome | Adapter::Idf | Adapter::EspEasy
            )
        {
            booted = true;
        }
        if booted && is_main {
            known.crashed.clone_from(&saw.crashed);
            if self.written && self.main_step() {
                self.rebooted = true;
                self.boots.retain(|at| now.saturating_sub(*at) < LOOP);
                self.boots.push(now);
            }
        } else if saw.crashed.is_some() && is_main {
            known.crashed.clone_from(&saw.crashed);
        }
        booted && is_main
    }

    fn answered(&mut self, answer: &texts::Answer, now: u64) {
        use texts::Answer;
        match answer {
            Answer::OtaUrl(url) => {
                if matches!(self.stage, Stage::SetUrl { .. }) && Some(url) == self.url.as_ref() {
                    self.trigger(now);
                } else if self.is_restoring() {
                    self.restored(url, now);
                }
            }
            Answer::Accepted => match &mut self.stage {
                Stage::Trigger { accepted, .. } if !*accepted => {
                    *accepted = true;
                    self.note(now, "the device has accepted the order");
                }
                _ => {}
            },
            Answer::NoSafeboot => self.no_safeboot(now),
            Answer::Successful => {
                if matches!(self.stage, Stage::Trigger { .. } | Stage::Downloading)
                    && self.plan.adapter == Adapter::TasmotaDirect
                {
                    self.install(now, "the device has written the image and restarts");
                }
            }
            Answer::Failed(blame, words) => self.device_failed(*blame, words, now),
            Answer::Switching => {
                if let Stage::Prove { accepted, .. } = &mut self.stage {
                    *accepted = true;
                }
            }
            Answer::Other => {}
        }
    }

    fn web(&mut self, request: &WebRequest, answer: WebAnswer, now: u64) {
        match (request, answer) {
            (WebRequest::Look, WebAnswer::Saw(saw)) => {
                let running = saw.running;
                // Seen over HTTP: says nothing of the connection to us.
                let saw = Saw {
                    online: None,
                    connected: false,
                    ..saw
                };
                if matches!(self.stage, Stage::Return { .. }) {
                    self.fold(&saw, now);
                    self.return_looked(running, now);
                } else if matches!(self.stage, Stage::Installing { .. }) && !self.main_step() {
                    self.fold(&saw, now);
                    self.safeboot_looked(running, now);
                } else {
                    self.saw(&saw, now);
                }
            }
            (WebRequest::Look, WebAnswer::Unreachable(why) | WebAnswer::Refused(why))
                if matches!(self.stage, Stage::Installing { .. }) && !self.main_step() =>
            {
                self.unreachable(
                    &format!("the safeboot is silent, and its page too: {why}"),
                    now,
                );
            }
            (WebRequest::Command(_), WebAnswer::Done(text)) => {
                self.answered(&texts::read(&text), now);
            }
            (WebRequest::Upload { step }, answer) if *step == self.step => {
                self.upload(answer, now);
            }
            _ => {}
        }
    }

    fn stop(&mut self, state: State, now: u64) {
        let word = if state == State::Superseded {
            "a newer offer takes its place"
        } else {
            "a person ended it"
        };
        let at_once = match &self.stage {
            Stage::Away | Stage::Preflight { .. } | Stage::Backup | Stage::Token { .. } => true,
            Stage::SetUrl { .. } | Stage::Verifying { .. } | Stage::Soaking { .. } => true,
            Stage::Unreachable => true,
            Stage::Backoff => !self.in_danger(),
            // A device that has been told goes into its safeboot and finds nothing there.
            Stage::Trigger { .. } => self.plan.adapter != Adapter::TasmotaSafeboot,
            _ => false,
        };
        if at_once {
            return self.end(state, word, now);
        }
        if !matches!(self.stage, Stage::Restoring { .. }) && self.stop.is_none() {
            self.stop = Some(state);
            self.note(
                now,
                &format!("{word}; the device is in the middle of it, so it ends after this step"),
            );
        }
    }

    /// Whether the device sits in its safeboot with a main image that may be half written.
    fn in_danger(&self) -> bool {
        self.main_step()
            && matches!(
                self.known.running,
                Some(Running::Safeboot | Running::Minimal)
            )
    }

    fn can_expire(&self) -> bool {
        match self.stage {
            Stage::Away | Stage::Token { .. } | Stage::Unreachable => true,
            Stage::Backoff => !self.in_danger(),
            Stage::Trigger { .. } => {
                !self.plan.adapter.is_commanded() || self.plan.adapter == Adapter::EspHome
            }
            _ => false,
        }
    }

    fn is_restoring(&self) -> bool {
        matches!(self.stage, Stage::Soaking { .. } | Stage::Restoring { .. })
    }

    fn main_step(&self) -> bool {
        self.plan
            .steps
            .get(self.step)
            .is_none_or(|step| step.part == Part::Main)
    }

    fn target(&self) -> Identity {
        self.plan
            .steps
            .get(self.step)
            .map(|step| step.image.identity.clone())
            .unwrap_or_default()
    }

    fn judge(&self) -> Match {
        self.target().judge(&self.known.main, &self.before)
    }

    /// Asks the device about itself.
    fn look(&mut self) {
        self.effects.push_back(if self.plan.adapter.is_tasmota() {
            Effect::Command {
                command: "Status",
                payload: "0".to_string(),
            }
        } else {
            Effect::Look
        });
    }

    fn command(&mut self, command: &'static str, payload: &str) {
        self.effects.push_back(Effect::Command {
            command,
            payload: payload.to_string(),
        });
    }

    fn unreachable(&mut self, why: &str, now: u64) {
        self.enter(Stage::Unreachable, None, why, now);
    }

    fn enter(&mut self, stage: Stage, deadline: Option<u64>, what: &str, now: u64) {
        let before = self.state();
        self.stage = stage;
        self.deadline = deadline;
        if self.state() != before || self.history.is_empty() {
            self.note(now, what);
        }
    }

    fn note(&mut self, now: u64, what: &str) {
        // A device may say 32 KiB, and say it again: what is kept of an offer has a limit, and
        // beyond it nothing of any offer could be written down.
        let what = cut(what, limits::MAX_UPGRADE_WORDS);
        self.detail.clone_from(&what);
        if self.history.len() >= MAX_UPGRADE_HISTORY {
            // The beginning and the end tell more than the middle.
            self.history.remove(MAX_UPGRADE_HISTORY / 2);
        }
        self.history.push(Entry {
            at: now,
            state: self.state(),
            what,
        });
    }

    /// The clock of this machine was set: times that were noted move with it, since what has
    /// passed is what counts. `by` is in seconds, negative if it was set back.
    pub fn clock_was_set(&mut self, by: i64) {
        let moved = |at: &mut u64| *at = at.saturating_add_signed(by);
        self.deadline.iter_mut().for_each(moved);
        self.known.safeboot_seen_at.iter_mut().for_each(moved);
        self.boots.iter_mut().for_each(moved);
        moved(&mut self.plan.expires_at);
        if let Restore::Owed { next_at, .. } = &mut self.restore {
            moved(next_at);
        }
        match &mut self.stage {
            Stage::Trigger { since, .. }
            | Stage::Prove { since, .. }
            | Stage::Recovery { since, .. }
            | Stage::Verifying { since }
            | Stage::Restoring { since, .. } => moved(since),
            Stage::Return { asked_at, .. } if *asked_at > 0 => moved(asked_at),
            Stage::Soaking {
                until, away_since, ..
            } => {
                moved(until);
                away_since.iter_mut().for_each(moved);
            }
            _ => {}
        }
    }

    /// A number below `below`.
    fn draw(&mut self, below: u64) -> u64 {
        // xorshift64: jitter needs no more.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below.max(1)
    }
}

/// As much of a text as is kept, on one line.
fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace(char::is_control, " ")
}
