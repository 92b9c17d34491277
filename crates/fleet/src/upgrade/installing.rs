//! From the first byte to the evidence: downloads, restarts, the proof of a safeboot, recovery.

use super::*;

/// What an ESP-IDF device that only compares can be sent, in bytes: more than it reads, since the
/// rest lies in the buffers of both ends.
const HEAD: u64 = 320 * 1024;
/// So often it is seen to put the file down before it counts as a device that runs it already: a
/// transfer that broke off early looks the same.
const PUT_DOWN: u8 = 3;

impl Upgrade {
    pub(super) fn fetched(
        &mut self,
        step: usize,
        minimal: bool,
        bytes: u64,
        total: u64,
        ended: bool,
        now: u64,
    ) {
        if step != self.step {
            return;
        }
        match self.stage {
            Stage::Trigger { .. }
            | Stage::Downloading
            | Stage::Installing { .. }
            | Stage::Recovery { .. }
            | Stage::Verifying { .. }
            | Stage::Unreachable
            | Stage::Backoff => {}
            _ => return,
        }
        let whole = ended && total > 0 && bytes >= total;
        if minimal {
            if whole {
                self.minimal_gets += 1;
                self.install(now, "the device has fetched its small image");
                if self.minimal_gets >= 3 {
                    self.end(
                        State::Failed(Reason::InstallLoop),
                        "the small image was fetched three times",
                        now,
                    );
                }
            }
            return;
        }
        if self.plan.adapter == Adapter::Idf && !whole && bytes <= HEAD {
            return if ended {
                self.put_down(now)
            } else {
                self.reads_head(bytes, total, now)
            };
        }
        if self.written && ended && !whole && bytes <= HEAD {
            return;
        }
        if matches!(self.stage, Stage::Verifying { .. }) && !whole {
            return;
        }
        self.bytes = bytes;
        self.total = total;
        if whole {
            self.full_gets += 1;
            if self.full_gets >= 3 {
                return self.end(
                    State::Failed(Reason::InstallLoop),
                    "the whole image was fetched three times",
                    now,
                );
            }
            self.install(now, "the device has everything");
        } else if ended {
            self.broken(now);
        } else {
            self.enter(
                Stage::Downloading,
                Some(now + self.plan.wait(STALLED)),
                "the device fetches",
                now,
            );
        }
    }

    /// All bytes are over there.
    pub(super) fn install(&mut self, now: u64, what: &str) {
        self.written = true;
        self.rebooted = false;
        if self.main_step() {
            // What it said of its main image does not hold any more.
            self.known.main = Identity::default();
        } else {
            self.safeboot_written = true;
        }
        let more = self.plan.wait(MORE_STEPS) * (self.plan.steps.len() - self.step - 1) as u64;
        let wait = match self.plan.adapter {
            // A safeboot that says nothing is looked for as soon as its proof is due.
            Adapter::TasmotaSafeboot if !self.main_step() => self.plan.wait(PROOF),
            Adapter::EspEasy => self.plan.wait(NUDGE) / 2,
            _ => self.plan.wait(INSTALLING) + more,
        };
        self.enter(Stage::Installing { asked: 0 }, Some(now + wait), what, now);
    }

    /// An ESP-IDF device is at the beginning of the file, perhaps in a range of its own: there is no
    /// more of it if nothing follows.
    fn reads_head(&mut self, bytes: u64, total: u64, now: u64) {
        if matches!(self.stage, Stage::Verifying { .. }) {
            return;
        }
        let again = self.stage == Stage::Downloading && bytes <= self.bytes;
        (self.bytes, self.total) = (bytes, total);
        if !again {
            self.enter(
                Stage::Downloading,
                Some(now + self.plan.wait(ANSWER)),
                "the device reads the beginning",
                now,
            );
        }
    }

    /// An ESP-IDF device has read the beginning and has closed: it has compared. After it had
    /// fetched everything this is how it says that it runs this version.
    fn put_down(&mut self, now: u64) {
        if self.written {
            self.evidence.build.get_or_insert(now);
            self.rebooted = true;
            return self.verify(now);
        }
        self.put_down += 1;
        if self.put_down >= PUT_DOWN {
            return self.end(
                State::Skipped,
                "it has read the beginning three times and put it down: it runs this version already",
                now,
            );
        }
        self.enter(
            Stage::Trigger {
                since: now,
                asked: 1,
                accepted: false,
            },
            None,
            "it has read the beginning and put it down, and will come again",
            now,
        );
    }

    fn broken(&mut self, now: u64) {
        let why = format!(
            "the transfer broke off after {} of {} bytes",
            self.bytes, self.total
        );
        if self.plan.adapter == Adapter::TasmotaSafeboot && self.main_step() {
            // Its main image is half written: nothing but the safeboot is left to run.
            self.known.running = Some(Running::Safeboot);
            self.recover(&why, now);
            // It does not come again by itself.
            self.deadline = Some(now + self.plan.wait(NUDGE));
            return;
        }
        self.retry(Blame::Environment, None, &why, now);
    }

    pub(super) fn stalled(&mut self, now: u64) {
        if self.plan.adapter == Adapter::Idf && self.bytes <= HEAD {
            return self.put_down(now);
        }
        self.broken(now);
    }

    pub(super) fn upload(&mut self, answer: WebAnswer, now: u64) {
        let is_push = self.stage == Stage::Downloading && self.plan.adapter == Adapter::EspEasy;
        let is_rung = matches!(self.stage, Stage::Recovery { .. });
        if !is_push && !is_rung {
            return;
        }
        match answer {
            WebAnswer::Progress(bytes) => {
                self.bytes = bytes;
                self.deadline = Some(now + self.plan.wait(STALLED));
            }
            WebAnswer::Done(words) => {
                self.bytes = self.total;
                self.install(now, &words);
            }
            WebAnswer::Refused(words) if is_push => {
                self.retry(Blame::Device, Some(Reason::Refused), &words, now);
            }
            WebAnswer::Unreachable(why) if is_push => {
                self.retry(Blame::Environment, None, &why, now);
            }
            WebAnswer::Refused(why) | WebAnswer::Unreachable(why) => {
                self.note(now, &format!("upload to the safeboot: {why}"));
                self.climb(now);
            }
            WebAnswer::Saw(_) => {}
        }
    }

    /// A look at the device while it downloads, installs or recovers.
    pub(super) fn installing_saw(&mut self, saw: &Saw, booted: bool, now: u64) {
        if !self.main_step() {
            if self.written {
                self.safeboot_saw(saw, booted, now);
            }
            return;
        }
        match saw.running {
            Some(Running::Safeboot | Running::Minimal)
                if matches!(self.stage, Stage::Installing { .. }) && self.written =>
            {
                self.recover("all was fetched, and the small image runs still", now);
            }
            Some(Running::Safeboot | Running::Minimal) => {}
            _ if booted && self.written => {
                self.rebooted = true;
                self.verify(now);
            }
            _ if booted && self.judge() == Match::Yes => {
                // The end of the transfer was lost on us, for example by a restart of ours.
                self.written = true;
                self.rebooted = true;
                self.verify(now);
            }
            _ if booted => self.old_build(now),
            _ if self.written && saw.version.is_some() && !self.plan.adapter.is_tasmota() => {
                self.verify(now);
            }
            _ => {}
        }
    }

    pub(super) fn installing_late(&mut self, now: u64) {
        let Stage::Installing { asked } = &mut self.stage else {
            return;
        };
        *asked += 1;
        let asked = *asked;
        if !self.main_step() {
            if self.known.running == Some(Running::Main) && self.known.online == Some(true) {
                // Still here: it writes, or has restarted so fast that nobody saw it.
                return if self.plan.prove_safeboot {
                    self.prove(now)
                } else {
                    self.safeboot_in_place(now)
                };
            }
            if self.plan.web && asked <= 3 {
                self.effects.push_back(Effect::Web(WebRequest::Look));
                self.deadline = Some(now + self.plan.wait(ANSWER));
                return;
            }
            return self.unreachable("it has its safeboot, and has not been seen since", now);
        }
        if asked <= 2 && self.plan.adapter != Adapter::Xiaozhi {
            self.look();
            self.deadline = Some(
                now + if asked == 1 {
                    self.plan.wait(NUDGE)
                } else {
                    self.plan.wait(INSTALLING) / 2
                },
            );
            return;
        }
        if asked <= 12 && self.plan.adapter == Adapter::EspEasy {
            self.look();
            self.deadline = Some(now + self.plan.wait(NUDGE) / 2);
            return;
        }
        self.unreachable("it has the image, and has not been seen since", now);
    }

    /// The device was away and shows itself again.
    pub(super) fn unreachable_saw(&mut self, saw: &Saw, booted: bool, now: u64) {
        if self.known.online != Some(true) && !booted {
            return;
        }
        if saw.running == Some(Running::Safeboot) {
            if self.main_step() {
                self.recover("it is back, in its safeboot", now);
            } else {
                self.safeboot_saw(saw, booted, now);
            }
        } else if self.written && self.main_step() {
            if booted {
                self.rebooted = true;
            }
            self.verify(now);
        } else if !self.plan.adapter.is_commanded() || self.plan.adapter == Adapter::EspHome {
            self.ask_token(now);
        } else {
            self.preflight(now);
            self.preflight_saw(saw, now);
        }
    }

    // --- the safeboot step -------------------------------------------------------------------

    /// A look at the device after its safeboot was written.
    fn safeboot_saw(&mut self, saw: &Saw, booted: bool, now: u64) {
        match saw.running {
            Some(Running::Safeboot) if self.speaks_as_it_must() => {
                // It restarts into the safeboot by itself: this is the proof.
                self.proved(now);
            }
            Some(Running::Main) if booted || saw.connected => {
                if self.plan.prove_safeboot {
                    self.prove(now);
                } else {
                    self.safeboot_in_place(now);
                }
            }
            _ => {}
        }
    }

    /// The page of a silent device has told which image runs.
    pub(super) fn safeboot_looked(&mut self, running: Option<Running>, now: u64) {
        if running == Some(Running::Safeboot) && !self.speaks_as_it_must() {
            let reason = if self.plan.over_tls {
                Reason::SafebootWithoutTls
            } else {
                Reason::StuckInSafeboot
            };
            self.go_back(
                Some(reason),
                "the new safeboot runs and does not come to our listener",
                now,
            );
        } else if running == Some(Running::Main) {
            self.deadline = Some(now + self.plan.wait(NUDGE));
        }
    }

    /// Whether the connection by which the safeboot speaks is the kind that the device needs.
    fn speaks_as_it_must(&self) -> bool {
        self.known.online == Some(true)
            && (!self.plan.over_tls || self.known.over_tls == Some(true))
    }

    /// The safeboot is written and the main image runs: on, by way of the proof if it is due.
    pub(super) fn safeboot_in_place(&mut self, now: u64) {
        if self.plan.prove_safeboot && !self.safeboot_proved {
            return self.prove(now);
        }
        self.step_done("the safeboot is in place", now);
    }

    pub(super) fn prove(&mut self, now: u64) {
        self.command("Restart", "3");
        self.enter(
            Stage::Prove {
                since: now,
                asked: 1,
                accepted: false,
            },
            Some(now + self.plan.wait(ANSWER)),
            "switched to its safeboot, which has to come to the same listener",
            now,
        );
    }

    pub(super) fn prove_saw(&mut self, saw: &Saw, now: u64) {
        if saw.online == Some(false)
            && let Stage::Prove { accepted, .. } = &mut self.stage
        {
            *accepted = true;
        }
        // Login and INFO1 come in either order.
        if saw.running == Some(Running::Safeboot) && self.speaks_as_it_must() {
            self.proved(now);
        }
    }

    fn proved(&mut self, now: u64) {
        self.safeboot_proved = true;
        let version = self.known.safeboot_version.clone().unwrap_or_default();
        self.go_back(
            None,
            format!("the safeboot {version} reaches us as the device needs it").trim(),
            now,
        );
    }

    pub(super) fn prove_late(&mut self, now: u64) {
        let Stage::Prove {
            since,
            asked,
            accepted,
        } = &mut self.stage
        else {
            return;
        };
        if *accepted || self.known.online == Some(false) {
            if now < *since + self.plan.wait(PROOF) {
                self.deadline = Some(*since + self.plan.wait(PROOF));
                return;
            }
            let reason = if self.plan.over_tls {
                Reason::SafebootWithoutTls
            } else {
                Reason::StuckInSafeboot
            };
            return self.go_back(
                Some(reason),
                "the safeboot has not come to our listener in time",
                now,
            );
        }
        *asked += 1;
        if *asked <= 4 {
            *since = now;
            self.deadline = Some(now + self.plan.wait(ANSWER));
            self.command("Restart", "3");
        } else {
            self.retry(
                Blame::Environment,
                None,
                "the device does not switch to its safeboot",
                now,
            );
        }
    }

    // --- recovery ----------------------------------------------------------------------------

    pub(super) fn recover(&mut self, why: &str, now: u64) {
        if matches!(self.stage, Stage::Recovery { .. }) {
            return;
        }
        // Whoever did not keep what was fetched has to fetch it again.
        self.written = false;
        self.enter(
            Stage::Recovery {
                since: now,
                rung: 0,
            },
            Some(now + self.plan.wait(RUNG)),
            why,
            now,
        );
    }

    /// The next rung of the ladder.
    pub(super) fn climb(&mut self, now: u64) {
        let Stage::Recovery { rung, .. } = &mut self.stage else {
            return;
        };
        *rung += 1;
        let rung = *rung;
        let here = self.known.online == Some(true);
        self.deadline = Some(now + self.plan.wait(RUNG));
        match rung {
            1 | 2 if here => {
                if let Some(url) = self.url.clone() {
                    self.command("OtaUrl", &url);
                }
                self.command("Upgrade", "1");
                self.note(now, "told again to fetch, since nothing came");
            }
            1 | 2 if self.plan.web => {
                self.effects
                    .push_back(Effect::Web(WebRequest::Command("Upgrade 1".to_string())));
                self.note(now, "told again over its own page, since nothing came");
            }
            1 | 2 => self.note(now, "nothing came, and there is no way to tell it again"),
            3 if self.plan.web && self.plan.may_upload => {
                self.effects
                    .push_back(Effect::Web(WebRequest::Upload { step: self.step }));
                self.deadline = Some(now + self.plan.wait(STALLED));
                self.note(now, "sending the image to the page of its small firmware");
            }
            _ if self.bytes == 0 && self.plan.adapter == Adapter::TasmotaSafeboot => {
                // Nothing of the main image was written, so the old one is still whole.
                self.go_back(
                    Some(Reason::StuckInSafeboot),
                    "it fetches nothing: back to its old main image",
                    now,
                );
            }
            _ => self.end(
                State::Failed(Reason::StuckInSafeboot),
                "it runs its small firmware, and nothing brings the main image onto it",
                now,
            ),
        }
    }

    // --- evidence ----------------------------------------------------------------------------

    /// Weighs what is known after an image was written.
    pub(super) fn verify(&mut self, now: u64) {
        if self.rebooted
            && let Some(crash) = self.known.crashed.clone()
        {
            return self.end(State::Failed(Reason::Crashed), &crash, now);
        }
        match self.judge() {
            Match::Yes => {
                self.evidence.build.get_or_insert(now);
            }
            Match::No if self.rebooted => return self.old_build(now),
            Match::No | Match::Unknown => {}
        }
        if self.rebooted {
            self.evidence.boot.get_or_insert(now);
        }
        if self.evidence.build.is_some() && self.evidence.boot.is_some() {
            return self.step_done("it runs what was meant, freshly booted", now);
        }
        if !matches!(self.stage, Stage::Verifying { .. }) {
            self.look();
            self.enter(
                Stage::Verifying { since: now },
                Some(now + self.plan.wait(ANSWER)),
                "it is back; gathering the evidence",
                now,
            );
        }
    }

    pub(super) fn verifying_late(&mut self, now: u64) {
        let Stage::Verifying { since } = self.stage else {
            return;
        };
        if now < since + self.plan.wait(VERIFYING) {
            self.look();
            self.deadline = Some(now + self.plan.wait(NUDGE));
        } else {
            self.end(
                State::Failed(Reason::NotProved),
                "the evidence did not become complete in time",
                now,
            );
        }
    }

    /// Something else runs than what was meant.
    pub(super) fn old_build(&mut self, now: u64) {
        let seen = &self.known.main;
        let runs = seen.version.clone().unwrap_or_default();
        if !self.written {
            return self.retry(
                Blame::Environment,
                None,
                "the device restarted before it had everything",
                now,
            );
        }
        self.retry(
            Blame::Device,
            Some(Reason::OtherBuild),
            &format!("it has fetched everything, restarted, and runs {runs}"),
            now,
        );
    }
}
