//! The thread that writes down what changed and then does what the machines ask for.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use safeport_broker::Publication;
use safeport_fleet::upgrade::{Adapter, Effect, Event, Part, State, Step, WebRequest};
use safeport_fleet::{Chip, Confidence, Family, Installed, Member, MemberId, Slot};
use safeport_store::{BlobHash, DownloadFile, DownloadToken, OfferChange, OfferQuery, StoreError};

use super::shelf::{DeviceFolder, Folder, Shelved};
use super::sight::hex;
use super::view::{Body, OfferId, state_word};
use super::web::{Errand, What};
use super::{Due, Machines, Open, Upgrades, lock, stored};
use crate::serve::access::unix_now;
use crate::throttle::Throttle;

/// How long changes are gathered, so that a hundred downloads cost a few transactions a second.
const GATHER: Duration = Duration::from_millis(100);
/// How often an offer that waits for an address is looked at.
const GATE_AGAIN: Duration = Duration::from_secs(3);
/// How often mere progress is written down.
const PROGRESS: Duration = Duration::from_secs(10);
/// More than a clock that is kept right is ever moved by at once: then it was wrong before.
const CLOCK_SET: i64 = 30;
/// How long a device may take to answer what has to be known before it is offered anything.
const ASK: Duration = Duration::from_secs(4);

impl Upgrades {
    /// Everything as it was at the last stop.
    pub(super) fn load(&self) -> Result<(), StoreError> {
        let now = unix_now();
        let mut registry = lock(&self.registry);
        let rows = registry.open_offers()?;
        let tokens = registry.device_tokens()?;
        let names = tokens.into_iter().map(|token| (token.token, token.device));
        self.folders.set_devices(names.collect());
        let mut unreadable = Vec::new();
        for mut row in rows {
            let id = OfferId(row.id);
            let body: Body = match serde_json::from_str(&row.body) {
                Ok(body) => body,
                Err(error) => {
                    tracing::error!(
                        target: "safeport::firmware",
                        offer = %id,
                        "what is known of this offer cannot be read, it ends: {error}"
                    );
                    unreadable.push(OfferChange {
                        id: row.id,
                        state: "failed(unreadable)".to_owned(),
                        open: false,
                        body: std::mem::take(&mut row.body),
                        updated: now,
                    });
                    continue;
                }
            };
            for token in registry.downloads_of_offer(row.id)? {
                if token.expires > now
                    && let Some(folder) = self.folder(&body, id, MemberId(row.member), &token)
                {
                    self.folders.put(token.token.clone(), folder);
                }
            }
            row.body.clear();
            self.devices.pin(MemberId(row.member));
            self.insert(row, body, false);
        }
        registry.write_offers(&unreadable)?;
        self.keep_for_devices(&registry)?;
        drop(registry);
        let mut machines = lock(&self.machines);
        let ids: Vec<OfferId> = machines.open.keys().copied().collect();
        for id in ids {
            if let Some(open) = machines.open.get_mut(&id) {
                // It asks for its address again, which brings the folders of devices back too.
                open.body.upgrade.resume(now);
            }
            machines.touched(id);
        }
        Ok(())
    }

    /// What the last successful offers brought to devices that compare: ESPHome reads its manifest
    /// for ever.
    fn keep_for_devices(&self, registry: &safeport_store::Registry) -> Result<(), StoreError> {
        let done = registry.offers(&OfferQuery {
            state: Some("succeeded"),
            open: Some(false),
            ..OfferQuery::default()
        })?;
        for row in done.iter().rev() {
            let Ok(body) = serde_json::from_str::<Body>(&row.body) else {
                continue;
            };
            let plan = body.upgrade.plan();
            if plan.adapter == Adapter::EspHome
                && let Some(wanted) = plan.steps.last()
            {
                let id = OfferId(row.id);
                let (step, member) = (plan.steps.len() - 1, MemberId(row.member));
                if let Err(why) = self.device_folder(id, member, plan.adapter, step, wanted) {
                    tracing::debug!(target: "safeport::firmware", offer = %id, "{why}");
                }
                self.folders.end_for_device(id, true);
            }
        }
        Ok(())
    }

    pub(super) fn work(self: Arc<Self>) {
        let throttle = Throttle::default();
        let mut gate_at = Instant::now();
        let mut progress_at = Instant::now();
        let mut clock = Clock::new();
        loop {
            let mut machines = lock(&self.machines);
            loop {
                if machines.stopping {
                    // What is not written is written: the next start goes on from it.
                    drop(machines);
                    let pen = lock(&self.pen);
                    let (changes, _) = lock(&self.machines).take(true);
                    if let Err(error) = lock(&self.registry).write_offers(&changes) {
                        tracing::error!(
                            target: "safeport::firmware",
                            "the last changes to offers could not be written down: {error}"
                        );
                    }
                    drop(pen);
                    lock(&self.machines).stopped = true;
                    self.changed.notify_all();
                    // The end of a thread stops the server, and this one has nothing left to do.
                    loop {
                        thread::park();
                    }
                }
                let now = unix_now();
                let due = machines.timeouts.first().is_some_and(|(at, _)| *at <= now);
                if due
                    || !machines.dirty.is_empty()
                    || self.tokens_unknown.load(Ordering::Relaxed)
                    || gate_at.elapsed() >= GATE_AGAIN
                {
                    break;
                }
                let wait = machines.timeouts.first().map_or(GATE_AGAIN, |(at, _)| {
                    Duration::from_secs(at.saturating_sub(now)).min(GATE_AGAIN)
                });
                machines = self
                    .changed
                    .wait_timeout(machines, wait)
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .0;
            }
            drop(machines);
            let pen = lock(&self.pen);
            let mut machines = lock(&self.machines);
            if let Some(by) = clock.was_set() {
                machines.clock_was_set(by);
            }
            machines.time_passes(unix_now());
            if gate_at.elapsed() >= GATE_AGAIN {
                gate_at = Instant::now();
                machines.knock();
            }
            let eagerly = progress_at.elapsed() >= PROGRESS;
            if eagerly {
                progress_at = Instant::now();
            }
            let (changes, dues) = machines.take(eagerly);
            drop(machines);
            if let Err(error) = lock(&self.registry).write_offers(&changes) {
                // Nothing is done that is not written down: it is tried again with the next turn.
                if let Some(left_out) = throttle.admit("offers", Instant::now()) {
                    tracing::error!(
                        target: "safeport::firmware",
                        left_out,
                        "what happened to offers cannot be written down, they wait: {error}"
                    );
                }
                self.put_back(dues, &changes);
                drop(pen);
                thread::sleep(Duration::from_secs(1));
                continue;
            }
            drop(pen);
            for due in dues {
                self.carry_out(due);
            }
            self.tell();
            self.note_uses();
            thread::sleep(GATHER);
        }
    }

    /// The registry did not take it: the same once more.
    fn put_back(&self, dues: Vec<Due>, changes: &[OfferChange]) {
        let mut machines = lock(&self.machines);
        for due in dues {
            machines
                .undone
                .entry(due.offer)
                .or_default()
                .extend(due.effects);
        }
        for change in changes {
            let id = OfferId(change.id);
            if let Some(open) = machines.open.get_mut(&id) {
                open.written.1 = 0;
            }
            machines.touched(id);
        }
    }

    fn carry_out(&self, due: Due) {
        let Due {
            offer,
            member,
            effects,
        } = due;
        for effect in effects {
            match effect {
                Effect::Command { command, payload } => {
                    self.command(offer, member, command, &payload);
                }
                Effect::Install => self.install(offer, member),
                Effect::Look => self.look(offer, member),
                Effect::Backup => self.errand(offer, member, What::Backup),
                Effect::Web(WebRequest::Upload { step }) => self.upload(offer, member, step),
                Effect::Web(request) => self.errand(offer, member, What::Ask(request)),
                Effect::IssueToken { step } => {
                    let event = match self.issue(offer, member, step) {
                        Ok(url) => Event::TokenReady { step, url },
                        Err(why) => Event::NoAddress { why },
                    };
                    self.handle(offer, event);
                }
                Effect::RevokeToken { step } => self.revoke(offer, Some(step)),
            }
        }
    }

    fn command(&self, offer: OfferId, member: MemberId, command: &str, payload: &str) {
        let Some(topic) = self
            .devices
            .member(member)
            .and_then(|member| member.command_topic())
        else {
            let why = "no command topic of the device is known: it has to be seen on MQTT first";
            self.handle(offer, Event::CannotCommand { why: why.into() });
            return;
        };
        tracing::debug!(
            target: "safeport::firmware",
            %offer,
            topic = format!("{topic}{command}"),
            payload,
            "command"
        );
        self.publish
            .publish(Publication::new(format!("{topic}{command}"), payload));
    }

    fn install(&self, offer: OfferId, member: MemberId) {
        let topic = self.devices.member(member).and_then(|member| {
            match member.update_topic() {
                Some(topic) => Some(topic.to_owned()),
                // The entity as `device add esphome` writes it, for a device whose announcements
                // to Home Assistant are off.
                None => Some(format!("{}/update/firmware/command", member.topic()?)),
            }
        });
        match topic {
            Some(topic) => self.publish.publish(Publication::new(topic, "INSTALL")),
            None => {
                let why = "no update entity of the device is known: it installs when it reads its \
                           manifest by itself";
                self.handle(offer, Event::CannotCommand { why: why.into() });
            }
        }
    }

    fn look(&self, offer: OfferId, member: MemberId) {
        match self.devices.member(member) {
            // Every ESPHome with MQTT answers this with what it is.
            Some(known) if known.family() == Some(Family::EspHome) => {
                self.publish
                    .publish(Publication::new("esphome/discover", ""));
            }
            Some(known) if known.family() == Some(Family::EspEasy) => {
                self.errand(offer, member, What::Look);
            }
            _ => {}
        }
    }

    fn errand(&self, offer: OfferId, member: MemberId, what: What) {
        if let Some(errands) = &*lock(&self.errands) {
            errands.send(Errand {
                offer,
                member,
                what,
            });
        }
    }

    fn upload(&self, offer: OfferId, member: MemberId, step: usize) {
        let wanted = lock(&self.machines).step(offer, step);
        let Some(wanted) = wanted else {
            return;
        };
        match self.shelved(&wanted.image.sha256, Some(&wanted.image.md5), false) {
            Ok(shelved) => self.errand(
                offer,
                member,
                What::Upload {
                    step,
                    file: shelved.file.clone(),
                    length: shelved.length,
                    name: wanted.told_name,
                },
            ),
            Err(why) => {
                let request = WebRequest::Upload { step };
                let answer = safeport_fleet::upgrade::WebAnswer::Unreachable(why);
                self.handle(offer, Event::Web { request, answer });
            }
        }
    }

    /// The address of a step's file; its folder is there from then on.
    fn issue(&self, offer: OfferId, member: MemberId, step: usize) -> Result<String, String> {
        let base = (self.base)()?;
        let (adapter, wanted, expires) = {
            let machines = lock(&self.machines);
            let open = machines.open.get(&offer).ok_or("the offer is over")?;
            let plan = open.body.upgrade.plan();
            let wanted = plan.steps.get(step).cloned();
            let wanted = wanted.ok_or("the offer has no such step")?;
            (plan.adapter, wanted, plan.expires_at)
        };
        if matches!(adapter, Adapter::EspHome | Adapter::Idf) {
            let name = self.device_name(member)?;
            let token = self
                .device_token(&name, "offers")
                .map_err(|error| error.to_string())?;
            self.device_folder(offer, member, adapter, step, &wanted)?;
            return Ok(format!("{base}/ota/{token}/{}", wanted.told_name));
        }
        let token = match self.folders.token_of(offer, step) {
            Some(token) => token,
            None => self.new_folder(offer, member, step, &wanted, expires)?,
        };
        Ok(format!("{base}/ota/{token}/{}", wanted.told_name))
    }

    fn device_name(&self, member: MemberId) -> Result<String, String> {
        let known = self.devices.member(member);
        known
            .and_then(|member| Some(member.enrolment.as_ref()?.as_str().to_owned()))
            .ok_or_else(|| {
                "the device has no enrolment, and so no address of its own: enrol it with \
                 `safeport device add` first"
                    .to_owned()
            })
    }

    fn new_folder(
        &self,
        offer: OfferId,
        member: MemberId,
        step: usize,
        wanted: &Step,
        expires: u64,
    ) -> Result<String, String> {
        let mut files = HashMap::new();
        let mut rows = Vec::new();
        for named in &wanted.files {
            let minimal = named.sha256 != wanted.image.sha256;
            let md5 = (!minimal).then_some(wanted.image.md5.as_str());
            let shelved = self.shelved(&named.sha256, md5, minimal)?;
            rows.push(DownloadFile {
                file: named.name.clone(),
                step: u32::try_from(step).unwrap_or(u32::MAX),
                hash: shelved.hash,
                gets: 0,
                bytes: 0,
                last_at: None,
            });
            files.insert(named.name.clone(), Arc::new(shelved));
        }
        let token = draw('a');
        let row = DownloadToken {
            token: token.clone(),
            offer: Some(offer.0),
            member: Some(member.0),
            created: unix_now(),
            // A device that was told late may still come for it.
            expires: expires + 86_400,
            files: rows,
        };
        lock(&self.registry)
            .issue_download(&row)
            .map_err(|error| error.to_string())?;
        self.folders.put(
            token.clone(),
            Folder {
                offer,
                member,
                step,
                files,
            },
        );
        Ok(token)
    }

    /// A folder as the registry remembers it.
    fn folder(
        &self,
        body: &Body,
        offer: OfferId,
        member: MemberId,
        token: &DownloadToken,
    ) -> Option<Folder> {
        let step = token.files.first()?.step as usize;
        let image = &body.upgrade.plan().steps.get(step)?.image;
        let mut files = HashMap::new();
        for file in &token.files {
            let sha256 = file.hash.to_string();
            let minimal = sha256 != image.sha256;
            let md5 = (!minimal).then_some(image.md5.as_str());
            match self.shelved(&sha256, md5, minimal) {
                Ok(shelved) => {
                    files.insert(file.file.clone(), Arc::new(shelved));
                }
                Err(why) => {
                    tracing::error!(target: "safeport::firmware", %offer, "{why}");
                    return None;
                }
            }
        }
        Some(Folder {
            offer,
            member,
            step,
            files,
        })
    }

    fn shelved(&self, sha256: &str, md5: Option<&str>, minimal: bool) -> Result<Shelved, String> {
        let hash: BlobHash = sha256
            .parse()
            .map_err(|_| format!("{sha256} is no hash of an image"))?;
        let blob = self
            .blobs
            .file(&hash)
            .map_err(|error| format!("the image cannot be read: {error}"))?;
        Ok(Shelved {
            file: Arc::new(blob.file),
            length: blob.bytes,
            hash,
            md5: md5.and_then(unhex),
            minimal,
        })
    }

    /// What a device that fetches by itself finds below its token.
    fn device_folder(
        &self,
        offer: OfferId,
        member: MemberId,
        adapter: Adapter,
        step: usize,
        wanted: &Step,
    ) -> Result<(), String> {
        // No lock is held here: the fleet may be calling us at this moment.
        let image = self.shelved(&wanted.image.sha256, Some(&wanted.image.md5), false)?;
        let known = self.devices.member(member);
        let device = self.device_name(member)?;
        let is_esphome = adapter == Adapter::EspHome;
        let chip = known.as_ref().and_then(Member::chip);
        let manifest = is_esphome.then(|| manifest(&device, chip, wanted));
        self.folders.put_for_device(
            device,
            DeviceFolder {
                offer: Some(offer),
                member,
                family: if is_esphome {
                    Family::EspHome
                } else {
                    Family::Plain
                },
                step,
                image: Arc::new(image),
                manifest: manifest.map(Into::into),
            },
        );
        Ok(())
    }

    fn revoke(&self, offer: OfferId, step: Option<usize>) {
        let tokens = self.folders.take(offer, step);
        if !tokens.is_empty()
            && let Err(error) = lock(&self.registry).revoke_downloads(&tokens)
        {
            // It is gone from memory, and the end of the offer takes it out of the registry.
            tracing::warn!(target: "safeport::firmware", %offer, "token not revoked: {error}");
        }
    }

    /// Says in the log what became of offers, and tells the fleet what lies in the slots now.
    fn tell(&self) {
        let mut installed = Vec::new();
        let mut ended = Vec::new();
        let mut machines = lock(&self.machines);
        for (id, open) in &mut machines.open {
            let upgrade = &open.body.upgrade;
            let state = upgrade.state();
            let steps = &upgrade.plan().steps;
            let done = match state {
                State::Succeeded => steps.len(),
                _ => upgrade.step().min(steps.len()),
            };
            let first = open.steps_told.min(done);
            for step in &steps[first..done] {
                let slot = match step.part {
                    Part::Safeboot => Slot::Safeboot,
                    Part::Main => Slot::Main,
                };
                let image = Installed {
                    version: step.image.identity.version.as_deref().map(Into::into),
                    confidence: Confidence::InstalledByUs,
                    at: unix_now(),
                    ..Installed::default()
                };
                installed.push((MemberId(open.row.member), slot, image));
            }
            open.steps_told = done;
            // Only what is written down is over.
            if state.is_final() && open.written == (state, upgrade.history().len()) {
                ended.push(*id);
            }
        }
        let ended: Vec<(OfferId, Open)> = ended
            .into_iter()
            .filter_map(|id| Some((id, machines.remove(id)?)))
            .collect();
        self.open.store(machines.open.len(), Ordering::Relaxed);
        // The fleet calls us while it holds its own lock: never the other way round.
        drop(machines);
        for (member, slot, image) in installed {
            self.devices.installed(member, slot, image);
        }
        for (id, open) in ended {
            self.tell_end(id, &open);
            self.devices.unpin(MemberId(open.row.member));
        }
    }

    fn tell_end(&self, id: OfferId, open: &Open) {
        let state = open.body.upgrade.state();
        self.folders.take(id, None);
        self.folders.end_for_device(id, state == State::Succeeded);
        let detail = open.body.upgrade.detail();
        let (device, what) = (&open.body.device, &open.body.what);
        self.devices.note(
            MemberId(open.row.member),
            &format!("{what} ({id}): {state}: {detail}"),
        );
        if let State::Failed(reason) = state {
            tracing::warn!(
                target: "safeport::firmware",
                device,
                offer = %id,
                reason = reason.code(),
                "{device}: {what} {state}: {detail}. {}",
                reason.advice()
            );
        } else {
            tracing::info!(
                target: "safeport::firmware",
                device,
                offer = %id,
                "{device}: {what} {state}: {detail}"
            );
        }
    }

    fn note_uses(&self) {
        let uses = self.folders.take_uses();
        let mut registry = lock(&self.registry);
        if let Err(error) = registry.note_downloads(&uses) {
            // Counts for people; the offers do not need them.
            tracing::debug!(target: "safeport::firmware", "downloads not counted: {error}");
        }
        if self.tokens_unknown.swap(false, Ordering::Relaxed)
            && let Ok(tokens) = registry.device_tokens()
        {
            let names = tokens.into_iter().map(|token| (token.token, token.device));
            self.folders.set_devices(names.collect());
        }
    }

    /// Asks the Tasmotas among these what must be known before anything is offered to them.
    pub(super) fn ask_first(&self, members: &[MemberId]) {
        let mut open: Vec<MemberId> = members
            .iter()
            .copied()
            .filter(|id| {
                let member = self.devices.member(*id);
                let Some(member) = member.filter(|member| is_unknown(member) && member.is_online())
                else {
                    return false;
                };
                let Some(topic) = member.command_topic() else {
                    return false;
                };
                self.publish
                    .publish(Publication::new(format!("{topic}Status"), "0"));
                true
            })
            .collect();
        let until = Instant::now() + ASK;
        while !open.is_empty() && Instant::now() < until {
            thread::sleep(Duration::from_millis(50));
            open.retain(|id| {
                self.devices
                    .member(*id)
                    .is_some_and(|member| is_unknown(&member))
            });
        }
    }
}

/// Whether a Tasmota has not told yet what decides on its images.
fn is_unknown(member: &Member) -> bool {
    member.family() == Some(Family::Tasmota)
        && (member.chip().is_none() || member.facts.tls.is_none() || member.flash_size().is_none())
}

/// The clock that offers are judged by, beside one that nobody sets.
struct Clock {
    steady: Instant,
    wall: u64,
}

impl Clock {
    fn new() -> Clock {
        Clock {
            steady: Instant::now(),
            wall: unix_now(),
        }
    }

    /// By how many seconds it was set since the last look: a machine without a clock of its own
    /// starts years behind, until it is told the time.
    fn was_set(&mut self) -> Option<i64> {
        let now = Clock::new();
        let passed = now.steady.duration_since(self.steady).as_secs();
        let expected = self.wall.saturating_add(passed);
        let by = now.wall.checked_signed_diff(expected).unwrap_or(i64::MAX);
        *self = now;
        (by.abs() >= CLOCK_SET).then_some(by)
    }
}

impl Machines {
    /// Nothing is over, and nothing lasts longer, because a clock was set.
    fn clock_was_set(&mut self, by: i64) {
        if !self.open.is_empty() {
            tracing::info!(
                target: "safeport::firmware",
                "the clock was set by {by} s: the times of open offers move with it"
            );
        }
        let ids: Vec<OfferId> = self.open.keys().copied().collect();
        for id in ids {
            if let Some(open) = self.open.get_mut(&id) {
                open.body.upgrade.clock_was_set(by);
            }
            self.touched(id);
        }
    }

    fn time_passes(&mut self, now: u64) {
        while let Some((at, id)) = self.timeouts.first().copied() {
            if at > now {
                break;
            }
            self.timeouts.remove(&(at, id));
            if let Some(open) = self.open.get_mut(&id) {
                open.timeout = None;
                open.body.upgrade.handle_timeout(now);
            }
            self.touched(id);
            // A machine whose deadline has not moved would keep us here for ever.
            if self.timeouts.first() == Some(&(at, id)) {
                self.timeouts.remove(&(at, id));
                if let Some(open) = self.open.get_mut(&id) {
                    open.timeout = Some(now + 1);
                    self.timeouts.insert((now + 1, id));
                }
            }
        }
    }

    /// Offers that wait for an address ask again.
    fn knock(&mut self) {
        let waiting: Vec<(OfferId, usize)> = self
            .open
            .iter()
            .filter(|(_, open)| {
                open.body.upgrade.state() == State::Waiting(safeport_fleet::upgrade::Cause::UrlGate)
            })
            .map(|(id, open)| (*id, open.body.upgrade.step()))
            .collect();
        for (id, step) in waiting {
            self.undone
                .entry(id)
                .or_default()
                .push(Effect::IssueToken { step });
            self.touched(id);
        }
    }

    /// What is to be written, and what is to be done afterwards.
    fn take(&mut self, eagerly: bool) -> (Vec<OfferChange>, Vec<Due>) {
        let now = unix_now();
        let mut ids = std::mem::take(&mut self.dirty);
        self.is_dirty.clear();
        if eagerly {
            ids.extend(self.lazily.drain());
        }
        let mut changes = Vec::new();
        let mut dues = Vec::new();
        for id in ids {
            let Some(open) = self.open.get_mut(&id) else {
                continue;
            };
            let mut effects = self.undone.remove(&id).unwrap_or_default();
            while let Some(effect) = open.body.upgrade.poll_effect() {
                effects.push(effect);
            }
            let state = open.body.upgrade.state();
            let history = open.body.upgrade.history().len();
            let is_news = (state, history) != open.written || !effects.is_empty();
            if is_news || eagerly {
                log_progress(open, state);
                open.written = (state, history);
                changes.push(open.change(id, now));
            } else {
                self.lazily.insert(id);
            }
            if !effects.is_empty() {
                dues.push(Due {
                    offer: id,
                    member: MemberId(open.row.member),
                    effects,
                });
            }
        }
        (changes, dues)
    }

    fn remove(&mut self, id: OfferId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.of_member.remove(&MemberId(open.row.member));
        if let Some(timeout) = open.timeout {
            self.timeouts.remove(&(timeout, id));
        }
        self.lazily.remove(&id);
        Some(open)
    }

    fn step(&self, offer: OfferId, step: usize) -> Option<Step> {
        let open = self.open.get(&offer)?;
        open.body.upgrade.plan().steps.get(step).cloned()
    }
}

impl Open {
    /// All of it, as it is written down.
    pub(super) fn change(&mut self, id: OfferId, now: u64) -> OfferChange {
        let state = self.body.upgrade.state();
        self.row.updated = now;
        self.row.state = state_word(state);
        OfferChange {
            id: id.0,
            state: self.row.state.clone(),
            open: !state.is_final(),
            body: stored(&self.body),
            updated: now,
        }
    }
}

fn log_progress(open: &Open, state: State) {
    if open.written.0 == state || state.is_final() {
        return;
    }
    let upgrade = &open.body.upgrade;
    let plan = upgrade.plan();
    let part = match plan.steps.get(upgrade.step()).map(|step| step.part) {
        Some(Part::Safeboot) => "safeboot",
        _ => "main image",
    };
    tracing::info!(
        target: "safeport::firmware",
        device = open.body.device,
        offer = %OfferId(open.row.id),
        "{}: {part} {state}: {}",
        open.body.device,
        upgrade.detail()
    );
}

/// ESPHome's manifest, with a name relative to it.
fn manifest(device: &str, chip: Option<Chip>, step: &Step) -> Vec<u8> {
    let version = step.image.identity.version.as_deref().unwrap_or("unknown");
    let manifest = serde_json::json!({
        "name": device,
        "version": version,
        "builds": [{
            "chipFamily": chip.map_or("ESP32", Chip::name),
            "ota": {
                "md5": step.image.md5,
                "path": step.told_name,
                "summary": format!("{version}, offered by Safeport"),
            },
        }],
    });
    manifest.to_string().into_bytes()
}

/// A new token: 95 random bits behind a letter that says what kind it is.
pub(super) fn draw(kind: char) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut random = [0u8; 19];
    getrandom::fill(&mut random).expect("the system gives randomness, as it did for the keys");
    let letters = random
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    std::iter::once(kind).chain(letters).collect()
}

fn unhex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    debug_assert_eq!(hex(&bytes), text.to_ascii_lowercase());
    Some(bytes)
}
