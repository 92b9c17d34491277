//! Does what the plan says: asks the authority, keeps what it gives, and tells how things stand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use safeport_settings::Said;
use tokio::sync::watch;

use super::challenges::Challenges;
use super::config::AcmeConfig;
use super::desk::{Desk, Issued};
use super::leaf::{Leaf, ServerKeys};
use super::order::Errand;
use super::plan::{self, Alarm, Held, Key, Next, Standing, Suggestion, Wanted, Why};
use super::shelf::{self, STATE, Shelf};
use super::state::{AcmeState, HeldState, TroubleState};
use super::trouble::Trouble;
use crate::limits::{
    ACME_ALARM_AGAIN, ACME_CLOCK_LOOK, ACME_SUGGESTION_LATEST, ACME_SUGGESTION_SOONEST,
};

/// The task that gets and renews certificates.
pub struct Acme {
    shelf: Shelf,
    desk: Arc<dyn Desk>,
    challenges: Challenges,
    wishes: watch::Receiver<Wish>,
    renewals: watch::Receiver<u64>,
    shown: Arc<Mutex<AcmeState>>,
    state: AcmeState,
    /// Chains that are served, as PEM.
    chains: BTreeMap<Key, String>,
    /// They were refused, and are tried again.
    unserved: bool,
    /// A person wants these anew.
    asked: BTreeSet<Key>,
    /// What was told last of each, and when.
    told: BTreeMap<Key, (Alarm, u64)>,
}

/// What may change while the server runs.
#[derive(Clone, PartialEq, Eq)]
struct Wish {
    config: Option<AcmeConfig>,
    keys: ServerKeys,
}

/// Reaches a running [`Acme`]. It ends when the last of these is gone.
#[derive(Clone)]
pub struct AcmeHandle {
    wish: Arc<watch::Sender<Wish>>,
    renewals: Arc<watch::Sender<u64>>,
    shown: Arc<Mutex<AcmeState>>,
}

impl AcmeHandle {
    /// Other settings; `None` switches ACME off. An order that is under way for others is left.
    pub fn apply(&self, config: Option<AcmeConfig>) {
        self.change(|wish| wish.config = config);
    }

    /// Other keys of the server: certificates are asked for them at once.
    pub fn set_keys(&self, keys: ServerKeys) {
        self.change(|wish| wish.keys = keys);
    }

    /// Asks for new certificates now, whether they are due or not, once.
    pub fn renew_now(&self) {
        self.renewals.send_modify(|count| *count += 1);
    }

    /// How things stand.
    pub fn state(&self) -> AcmeState {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut Wish)) {
        self.wish.send_if_modified(|wish| {
            let before = wish.clone();
            change(wish);
            *wish != before
        });
    }
}

impl Acme {
    /// Certificates of an earlier run that fit `config` and `keys` are served when this returns.
    /// `folder` is `pki/acme` in the data folder.
    pub fn new(
        config: Option<AcmeConfig>,
        keys: ServerKeys,
        folder: &Path,
        desk: Arc<dyn Desk>,
        challenges: Challenges,
    ) -> (Acme, AcmeHandle) {
        let shelf = Shelf::new(folder);
        let wish = Wish { config, keys };
        let (wish_sender, wishes) = watch::channel(wish.clone());
        let (renewal_sender, renewals) = watch::channel(0);
        let shown = Arc::new(Mutex::default());
        let mut acme = Acme {
            state: remembered(&shelf),
            shelf,
            desk,
            challenges,
            wishes,
            renewals,
            shown: shown.clone(),
            chains: BTreeMap::new(),
            unserved: false,
            asked: BTreeSet::new(),
            told: BTreeMap::new(),
        };
        acme.take_up(&wish);
        let handle = AcmeHandle {
            wish: Arc::new(wish_sender),
            renewals: Arc::new(renewal_sender),
            shown,
        };
        (acme, handle)
    }

    /// Runs for as long as a handle is there.
    pub async fn run(mut self) {
        loop {
            let wish = self.wishes.borrow_and_update().clone();
            self.take_up(&wish);
            let mut wishes = self.wishes.clone();
            let changed = tokio::select! {
                changed = wishes.changed() => changed,
                () = self.pursue(&wish) => unreachable!("it has no end"),
            };
            if changed.is_err() {
                return;
            }
        }
    }

    /// Serves what is there for a wish.
    fn take_up(&mut self, wish: &Wish) {
        self.chains.clear();
        let Some(config) = &wish.config else {
            self.state = AcmeState {
                seed: self.state.seed,
                ..AcmeState::default()
            };
            self.serve(&wish.keys);
            // What was known is kept on disk: settings may come back.
            self.show();
            return;
        };
        self.state = remembered(&self.shelf);
        self.state.directory.clone_from(&config.directory);
        self.state.names.clone_from(&config.names);
        config
            .challenge
            .word()
            .clone_into(&mut self.state.challenge);
        let wanted = |key: &Key| config.keys.contains(key);
        self.state.certificates.retain(|state| wanted(&state.key));
        for &key in &config.keys {
            let found = self.found(key, &wish.keys);
            let state = self.state.certificate_mut(key);
            state.doing.clear();
            match found {
                None => state.held = None,
                Some((chain, leaf)) => {
                    let known = state.held.take();
                    let known = known.filter(|known| known.not_after == leaf.not_after);
                    state.held = Some(known.unwrap_or(HeldState {
                        names: leaf.names,
                        not_before: leaf.not_before,
                        not_after: leaf.not_after,
                        since: None,
                        suggested: None,
                        directory: String::new(),
                    }));
                    self.chains.insert(key, chain);
                }
            }
        }
        self.serve(&wish.keys);
        self.show();
    }

    /// The chain on disk, if it is one for this key.
    fn found(&self, key: Key, keys: &ServerKeys) -> Option<(String, Leaf)> {
        let name = shelf::certificate(key);
        let found = self.shelf.read(&name);
        let chain = match found {
            Ok(chain) => chain?,
            Err(trouble) => {
                tracing::error!(target: "safeport::acme", "{}; {}", trouble.what, trouble.next);
                return None;
            }
        };
        let pair = keys.pair(key).ok()?;
        match Leaf::read(&chain, &pair) {
            Ok(leaf) => Some((chain, leaf)),
            Err(why) => {
                let path = self.shelf.path(&name);
                tracing::warn!(
                    target: "safeport::acme",
                    "{} is not used: {why}; another one is asked for", path.display()
                );
                None
            }
        }
    }

    /// Serves what is there. What cannot be served now (a clock that is behind at a start) is tried
    /// again; it is said once.
    fn serve(&mut self, keys: &ServerKeys) {
        let served = self.present(&self.chains, keys);
        if let Err(why) = &served
            && !self.unserved
        {
            tracing::error!(
                target: "safeport::acme",
                "a certificate in pki/acme cannot be served: {}", why.en
            );
        }
        self.unserved = served.is_err();
    }

    fn present(&self, chains: &BTreeMap<Key, String>, keys: &ServerKeys) -> Result<(), Said> {
        let issued = chains.iter().map(|(&key, chain)| Issued {
            key,
            chain,
            private_key: keys.pem(key),
        });
        self.desk.serve(&issued.collect::<Vec<_>>())
    }

    /// Does what is due, one thing after the other, until it is dropped.
    async fn pursue(&mut self, wish: &Wish) {
        let Some(config) = &wish.config else {
            return std::future::pending().await;
        };
        let wanted = Wanted {
            names: config.names.clone(),
            keys: config.keys.clone(),
            directory: config.directory.clone(),
            mark: config.mark(),
            seed: self.state.seed,
        };
        loop {
            if self.unserved {
                self.serve(&wish.keys);
            }
            let now = clock();
            let next = plan::next(&wanted, &self.standings(), now);
            // Whether it is urgent shows when an attempt has been made.
            if !matches!(next, Next::Order(..)) {
                self.judge(&wanted, now);
            }
            match next {
                Next::Order(key, why) => self.order(wish, config, &wanted, key, why).await,
                Next::Ask(key) => self.ask(wish, config, key).await,
                Next::Wait(until) => self.wait(until.saturating_sub(now), config).await,
                Next::ClockUnset => {
                    self.note_unset_clock(config, now);
                    self.wait(u64::MAX, config).await;
                }
            }
        }
    }

    /// At most a few seconds, since a sleep does not see that the wall clock is moved.
    async fn wait(&mut self, seconds: u64, config: &AcmeConfig) {
        let sleep = Duration::from_secs(seconds.max(1)).min(ACME_CLOCK_LOOK);
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            Ok(()) = self.renewals.changed() => {
                self.asked.extend(config.keys.iter().copied());
            }
        }
    }

    fn standings(&self) -> Vec<Standing> {
        let standings = self.state.certificates.iter().map(|state| Standing {
            key: state.key,
            held: state.held.as_ref().map(|held| Held {
                names: held.names.clone(),
                directory: held.directory.clone(),
                not_before: held.not_before,
                not_after: held.not_after,
                since: held.since,
                suggested: held.suggested,
            }),
            failing: state.failing,
            asked: self.asked.contains(&state.key),
            // Of one that is not known yet whether it has a suggestion, it is asked for.
            suggestion: Some(
                state
                    .suggestion
                    .unwrap_or(Suggestion { asked: 0, again: 0 }),
            ),
        });
        standings.collect()
    }

    async fn order(
        &mut self,
        wish: &Wish,
        config: &AcmeConfig,
        wanted: &Wanted,
        key: Key,
        why: Why,
    ) {
        tracing::info!(
            target: "safeport::acme",
            "asking {} for a certificate for {} ({} key): {}",
            config.directory, config.names.join(", "), key.word(), because(why)
        );
        let replaces = {
            let state = self.state.certificate_mut(key);
            "ordering".clone_into(&mut state.doing);
            state
                .held
                .as_ref()
                .is_some_and(|held| held.suggested.is_some())
        };
        self.show();
        let (shelf, challenges, desk) = (
            self.shelf.clone(),
            self.challenges.clone(),
            self.desk.clone(),
        );
        let errand = Errand {
            config,
            keys: &wish.keys,
            key,
            shelf: &shelf,
            challenges: &challenges,
            desk: &*desk,
            replaces,
            now: clock(),
        };
        let came = errand.run().await;
        // Not before: an attempt that other settings cut off has not been made.
        self.asked.remove(&key);
        let kept = match came {
            Ok(chain) => self.keep(wish, config, &errand, chain),
            Err(trouble) => Err(trouble),
        };
        self.state.certificate_mut(key).doing.clear();
        if let Err(trouble) = kept {
            self.note_failure(wanted, key, &trouble);
        }
        self.judge(wanted, clock());
    }

    /// Serves a chain that has come, and writes it down. If it cannot be served, that of before is.
    fn keep(
        &mut self,
        wish: &Wish,
        config: &AcmeConfig,
        errand: &Errand<'_>,
        chain: String,
    ) -> Result<(), Trouble> {
        let (key, now) = (errand.key, clock());
        let leaf = Leaf::read(&chain, &wish.keys.pair(key)?)
            .and_then(|leaf| leaf.check(&config.names, now).map(|()| leaf));
        let leaf = match leaf {
            Ok(leaf) => leaf,
            Err(why) => {
                errand.done()?;
                return Err(Trouble::unusable(&why));
            }
        };
        let mut chains = self.chains.clone();
        chains.insert(key, chain.clone());
        if let Err(why) = self.present(&chains, &wish.keys) {
            self.serve(&wish.keys);
            errand.done()?;
            return Err(Trouble::unusable(&why));
        }
        self.chains = chains;
        // Should that fail, the next attempt fetches the chain of the same order again.
        self.shelf.write(&shelf::certificate(key), &chain)?;
        errand.done()?;
        let until = crate::time::stamp(leaf.not_after);
        tracing::info!(
            target: "safeport::acme",
            "a new certificate for {} ({} key), good until {until}",
            config.names.join(", "), key.word()
        );
        let state = self.state.certificate_mut(key);
        state.held = Some(HeldState {
            names: config.names.clone(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            since: Some(now),
            suggested: None,
            directory: config.directory.clone(),
        });
        state.trouble = None;
        state.failing = None;
        state.suggestion = Some(Suggestion {
            asked: now,
            again: now,
        });
        Ok(())
    }

    fn note_failure(&mut self, wanted: &Wanted, key: Key, trouble: &Trouble) {
        let now = clock();
        // Without randomness retries are as good, but for meeting those of other servers.
        let random = getrandom::u64().unwrap_or(now);
        let before = plan::before(&self.standings(), key, wanted.mark, now);
        let state = self.state.certificate_mut(key);
        let bar = trouble.retry_after.map(u64::from);
        let failing = plan::failed(before, wanted.mark, now, random, bar);
        state.failing = Some(failing);
        state.trouble = Some(TroubleState {
            code: trouble.code.to_owned(),
            at: now,
            what: trouble.what.clone().into(),
            next: trouble.next.clone().into(),
        });
        tracing::warn!(
            target: "safeport::acme",
            "no certificate for {} ({} key): {}; next step: {}; tried again at {}",
            wanted.names.join(", "), key.word(), trouble.what, trouble.next,
            crate::time::stamp(failing.retry_at.max(failing.barred_until.unwrap_or(0)))
        );
    }

    fn note_unset_clock(&mut self, config: &AcmeConfig, now: u64) {
        let trouble = Trouble::clock_unset(now);
        let mut news = false;
        for &key in &config.keys {
            let state = self.state.certificate_mut(key);
            state.next_attempt = None;
            if state
                .trouble
                .as_ref()
                .is_some_and(|known| known.code == trouble.code)
            {
                continue;
            }
            news = true;
            state.trouble = Some(TroubleState {
                code: trouble.code.to_owned(),
                at: now,
                what: trouble.what.clone().into(),
                next: trouble.next.clone().into(),
            });
        }
        if news {
            tracing::warn!(target: "safeport::acme", "{}; {}", trouble.what, trouble.next);
            self.show();
        }
    }

    /// Asks the authority when it would like a certificate renewed. That it does not answer is no
    /// trouble: then our own reckoning holds.
    async fn ask(&mut self, wish: &Wish, config: &AcmeConfig, key: Key) {
        let Some(chain) = self.chains.get(&key) else {
            return;
        };
        let (shelf, challenges, desk) = (
            self.shelf.clone(),
            self.challenges.clone(),
            self.desk.clone(),
        );
        let errand = Errand {
            config,
            keys: &wish.keys,
            key,
            shelf: &shelf,
            challenges: &challenges,
            desk: &*desk,
            replaces: false,
            now: clock(),
        };
        let told = errand.suggestion(chain).await;
        let now = clock();
        let state = self.state.certificate_mut(key);
        let again = match told {
            Ok(Some((window, again))) => {
                if let Some(held) = &mut state.held {
                    held.suggested = Some(window);
                }
                Duration::from_secs(again).clamp(ACME_SUGGESTION_SOONEST, ACME_SUGGESTION_LATEST)
            }
            Ok(None) => ACME_SUGGESTION_LATEST,
            Err(trouble) => {
                tracing::debug!(target: "safeport::acme", "no suggestion: {}", trouble.what);
                ACME_SUGGESTION_LATEST / 4
            }
        };
        state.suggestion = Some(Suggestion {
            asked: now,
            again: now + again.as_secs(),
        });
    }

    /// Brings up to date what people see, and tells the log what is urgent: when it becomes so, and
    /// once a day.
    fn judge(&mut self, wanted: &Wanted, now: u64) {
        let standings = self.standings();
        for &key in &wanted.keys {
            let standing = standings.iter().find(|standing| standing.key == key);
            let alarm = plan::alarm(wanted, key, standing, now);
            let (at, _) = plan::attempt(wanted, key, standing, now);
            let state = self.state.certificate_mut(key);
            state.alarm = alarm;
            state.next_attempt = Some(at.max(now));
            let (before, when) = self.told.get(&key).copied().unwrap_or_default();
            let again = now.abs_diff(when) >= ACME_ALARM_AGAIN.as_secs();
            if alarm > before || (alarm != Alarm::Fine && again) {
                tell(alarm, state, &wanted.names);
                self.told.insert(key, (alarm, now));
            } else if alarm < before {
                self.told.insert(key, (alarm, now));
            }
        }
        self.show();
    }

    /// Shows the state, and writes it down if it is news.
    fn show(&mut self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let written = shown.written;
        if (AcmeState {
            written,
            ..self.state.clone()
        }) == without_moving(&shown, &self.state)
        {
            return;
        }
        self.state.written = clock();
        *shown = self.state.clone();
        drop(shown);
        if self.state.certificates.is_empty() {
            return;
        }
        if let Err(trouble) = self.shelf.write_json(STATE, &self.state) {
            tracing::error!(target: "safeport::acme", "{}; {}", trouble.what, trouble.next);
        }
    }
}

/// What was shown, but with the next attempt of `state` where that moment only moves along with the
/// clock: it is past, and waits for its turn.
fn without_moving(shown: &AcmeState, state: &AcmeState) -> AcmeState {
    let mut shown = shown.clone();
    for certificate in &mut shown.certificates {
        let new = state.certificate(certificate.key);
        if let Some(new) = new
            && let (Some(before), Some(at)) = (certificate.next_attempt, new.next_attempt)
            && before.abs_diff(at) <= ACME_CLOCK_LOOK.as_secs()
        {
            certificate.next_attempt = Some(at);
        }
    }
    shown
}

fn tell(alarm: Alarm, state: &super::state::CertificateState, names: &[String]) {
    let names = names.join(", ");
    let until = match &state.held {
        Some(held) => format!("ends at {}", crate::time::stamp(held.not_after)),
        None => "is not there yet".to_owned(),
    };
    let trouble = match &state.trouble {
        Some(trouble) => format!(": {}; next step: {}", trouble.what.en, trouble.next.en),
        None => String::new(),
    };
    let key = state.key.word();
    match alarm {
        Alarm::Fine => {}
        Alarm::Warning => tracing::warn!(
            target: "safeport::acme",
            "the certificate for {names} ({key} key) {until} and could not be renewed yet{trouble}"
        ),
        Alarm::Alarm => tracing::error!(
            target: "safeport::acme",
            "ALARM: the certificate for {names} ({key} key) {until} and is not renewed{trouble}"
        ),
    }
}

fn because(why: Why) -> &'static str {
    match why {
        Why::Missing => "there is none",
        Why::Names => "the names have changed",
        Why::Authority => "the one that is there is of another authority",
        Why::Due => "it is time to renew it",
        Why::Asked => "somebody asked for it",
    }
}

/// What the last run knew.
fn remembered(shelf: &Shelf) -> AcmeState {
    let mut state = match shelf.read_json::<AcmeState>(STATE) {
        Ok(state) => state.unwrap_or_default(),
        Err(trouble) => {
            tracing::warn!(
                target: "safeport::acme",
                "{}; certificates are judged by themselves", trouble.what
            );
            AcmeState::default()
        }
    };
    if state.seed == 0 {
        state.seed = getrandom::u64().unwrap_or_default() | 1;
    }
    state
}

/// Seconds since 1970 by the wall clock.
fn clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
