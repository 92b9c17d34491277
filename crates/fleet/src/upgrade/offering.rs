//! From the first question to the order: preflight, backup, address, `OtaUrl`, `Upgrade`.

use super::*;

impl Upgrade {
    /// Begins again where the last try ended: what is done stays done.
    pub(super) fn begin_again(&mut self, now: u64) {
        if let Some(state) = self.stop
            && !self.in_danger()
        {
            let why = self.detail.clone();
            return self.end(state, &why, now);
        }
        match self.plan.adapter {
            Adapter::EspHome | Adapter::Xiaozhi | Adapter::Idf => self.ask_token(now),
            _ => self.preflight(now),
        }
    }

    pub(super) fn preflight(&mut self, now: u64) {
        self.look();
        self.enter(
            Stage::Preflight {
                asked: 1,
                version: false,
                ota_url: !self.plan.adapter.is_tasmota(),
            },
            Some(now + self.plan.wait(ANSWER)),
            "asking the device about itself",
            now,
        );
    }

    pub(super) fn preflight_late(&mut self, now: u64) {
        let Stage::Preflight { asked, .. } = &mut self.stage else {
            return;
        };
        *asked += 1;
        if *asked <= 3 {
            self.deadline = Some(now + self.plan.wait(ANSWER));
            self.look();
        } else {
            // Asked again as soon as it connects, and at times in case only the answers are lost.
            self.enter(
                Stage::Away,
                Some(now + self.plan.wait(VERIFYING)),
                "the device does not answer questions about itself",
                now,
            );
        }
    }

    pub(super) fn preflight_saw(&mut self, saw: &Saw, now: u64) {
        let Stage::Preflight {
            version, ota_url, ..
        } = &mut self.stage
        else {
            return;
        };
        // A safeboot says its version too: whoever speaks has been heard.
        *version |= saw.version.is_some();
        if let Some(url) = &saw.ota_url {
            *ota_url = true;
            if !texts::is_ours(url) {
                self.own_ota_url = Some(url.clone());
            }
        }
        if *version && *ota_url {
            self.preflight_done(now);
        }
    }

    fn preflight_done(&mut self, now: u64) {
        if self.known.running == Some(Running::Safeboot) && !self.main_step() {
            // `Upgrade 2` works from the main image only. But this safeboot speaks to us, so it
            // does what the step is for, and the main image is what is missing.
            self.note(
                now,
                "the device is in its safeboot, and this reaches us: it gets the main image first",
            );
            self.safeboot_proved = true;
            self.drop_safeboot_step();
        }
        if !self.plan.reinstall
            && !self.written
            && !matches!(
                self.known.running,
                Some(Running::Safeboot | Running::Minimal)
            )
        {
            while self.main_step()
                && self.step < self.plan.steps.len()
                && self.target().is_already(&self.known.main)
            {
                if self.step + 1 == self.plan.steps.len() {
                    let state = if self.step == 0 || !self.safeboot_written {
                        State::Skipped
                    } else {
                        State::Succeeded
                    };
                    return self.end(state, "the device runs this image already", now);
                }
                self.next_step_number();
            }
        }
        if !self.backed_up {
            if self.plan.web {
                self.effects.push_back(Effect::Backup);
                return self.enter(
                    Stage::Backup,
                    Some(now + 2 * self.plan.wait(NUDGE)),
                    "saving the device's settings",
                    now,
                );
            }
            self.note(
                now,
                "settings not saved: no address of the device's pages is known",
            );
            self.backed_up = true;
        }
        self.after_backup(now);
    }

    pub(super) fn backup(&mut self, answer: BackupAnswer, now: u64) {
        if self.stage != Stage::Backup {
            return;
        }
        self.backed_up = true;
        match answer {
            BackupAnswer::Done => self.note(now, "the device's settings are saved"),
            BackupAnswer::Unreachable(why) => {
                self.note(now, &format!("settings not saved: {why}"));
            }
            BackupAnswer::Refused(why) => {
                return self.end(State::Failed(Reason::BackupRefused), &why, now);
            }
        }
        self.after_backup(now);
    }

    fn after_backup(&mut self, now: u64) {
        if !self.main_step() && self.safeboot_written {
            // Written by an earlier try; what is missing is the proof.
            return self.safeboot_in_place(now);
        }
        self.before = self.known.main.clone();
        if self.plan.adapter == Adapter::EspEasy {
            return self.push(now);
        }
        self.ask_token(now);
    }

    /// ESPEasy cannot fetch: we bring it.
    fn push(&mut self, now: u64) {
        self.bytes = 0;
        self.total = self.plan.steps[self.step].image.size;
        self.effects
            .push_back(Effect::Web(WebRequest::Upload { step: self.step }));
        self.enter(
            Stage::Downloading,
            Some(now + self.plan.wait(STALLED)),
            "sending the image to the device",
            now,
        );
    }

    pub(super) fn ask_token(&mut self, now: u64) {
        self.effects
            .push_back(Effect::IssueToken { step: self.step });
        self.enter(
            Stage::Token { gated: false },
            None,
            "making the image available",
            now,
        );
    }

    pub(super) fn no_address(&mut self, why: &str, now: u64) {
        if matches!(self.stage, Stage::Token { .. }) {
            self.enter(Stage::Token { gated: true }, None, why, now);
        }
    }

    pub(super) fn token_ready(&mut self, step: usize, url: String, now: u64) {
        if step != self.step {
            return;
        }
        let changed = self.url.as_ref() != Some(&url);
        self.url = Some(url);
        if matches!(self.stage, Stage::Token { .. }) {
            if self.plan.adapter.is_tasmota() {
                let length = self.url.as_ref().map_or(0, String::len);
                if length > MAX_OTA_URL {
                    return self.end(
                        State::Failed(Reason::UrlTooLong),
                        &format!("the address has {length} characters"),
                        now,
                    );
                }
                return self.set_url(now);
            }
            self.trigger(now);
        } else if changed
            && let Stage::Trigger {
                accepted: false, ..
            } = self.stage
        {
            // Told the old address, and has not come yet.
            if self.plan.adapter.is_tasmota() {
                self.set_url(now);
            }
        }
    }

    pub(super) fn set_url(&mut self, now: u64) {
        let asked = match self.stage {
            Stage::SetUrl { asked } => asked,
            _ => 0,
        };
        let Some(url) = self.url.clone() else {
            return self.ask_token(now);
        };
        if matches!(self.restore, Restore::Untouched | Restore::Done) {
            self.restore = Restore::Owed {
                asked: 0,
                next_at: now,
            };
        }
        self.command("OtaUrl", &url);
        self.enter(
            Stage::SetUrl { asked: asked + 1 },
            Some(now + self.plan.wait(ANSWER) / 2),
            "telling the device the address",
            now,
        );
    }

    pub(super) fn set_url_late(&mut self, now: u64) {
        let Stage::SetUrl { asked } = self.stage else {
            return;
        };
        if asked < 4 {
            self.set_url(now);
        } else {
            self.retry(
                Blame::Environment,
                None,
                "the device does not confirm its OtaUrl",
                now,
            );
        }
    }

    /// Gives the order; or, for a device that comes by itself, begins to wait.
    pub(super) fn trigger(&mut self, now: u64) {
        self.bytes = 0;
        self.full_gets = 0;
        self.minimal_gets = 0;
        self.put_down = 0;
        self.written = false;
        self.rebooted = false;
        self.total = self.plan.steps[self.step].image.size;
        let what = match self.plan.adapter {
            Adapter::EspHome => "offered in its manifest, and told to install",
            Adapter::Xiaozhi => "offered at its next check",
            Adapter::Idf => "offered at the address of the device",
            _ => "told to fetch it",
        };
        let deadline = self
            .plan
            .adapter
            .is_commanded()
            .then_some(now + self.plan.wait(NUDGE));
        self.enter(
            Stage::Trigger {
                since: now,
                asked: 1,
                accepted: false,
            },
            deadline,
            what,
            now,
        );
        self.order();
    }

    fn order(&mut self) {
        match self.plan.adapter {
            Adapter::TasmotaSafeboot | Adapter::TasmotaDirect => {
                let number = if self.main_step() { "1" } else { "2" };
                self.command("Upgrade", number);
            }
            Adapter::EspHome => self.effects.push_back(Effect::Install),
            Adapter::EspEasy | Adapter::Xiaozhi | Adapter::Idf => {}
        }
    }

    pub(super) fn trigger_late(&mut self, now: u64) {
        let Stage::Trigger {
            since,
            asked,
            accepted,
        } = &mut self.stage
        else {
            return;
        };
        let (since, accepted) = (*since, *accepted);
        if self.plan.adapter == Adapter::EspHome {
            // It reads its manifest by itself every few hours; told once an hour.
            self.deadline = Some(now + 60 * self.plan.wait(NUDGE));
            if self.known.online != Some(false) {
                self.order();
            }
            return;
        }
        if now < since + self.plan.wait(OFFERED) {
            self.deadline = Some(now + self.plan.wait(NUDGE));
            // Lost on the way, since nothing was answered and the device is still there.
            if !accepted && *asked < 4 && self.known.online != Some(false) {
                *asked += 1;
                self.order();
            }
            return;
        }
        if self.plan.adapter == Adapter::TasmotaSafeboot
            && self.main_step()
            && (self.known.online == Some(false) || self.known.running == Some(Running::Safeboot))
        {
            return self.recover(
                "it has left its main image and has not fetched another",
                now,
            );
        }
        if self.known.online == Some(false) {
            return self.unreachable("told to fetch, and not seen since", now);
        }
        self.retry(
            Blame::Environment,
            None,
            "told to fetch, and has not come for it",
            now,
        );
    }

    pub(super) fn trigger_saw(&mut self, saw: &Saw, booted: bool, now: u64) {
        if !self.main_step() {
            if saw.running == Some(Running::Safeboot) && self.known.online == Some(true) {
                self.go_back(
                    None,
                    "the device is in its safeboot, which has not been renewed yet",
                    now,
                );
            }
            return;
        }
        match saw.running {
            Some(Running::Safeboot | Running::Minimal) => {
                self.recover("the device is in its small image, and fetches next", now);
                return;
            }
            _ if !booted => return,
            _ => {}
        }
        match self.judge() {
            Match::Yes if self.plan.adapter.is_commanded() || self.bytes > 0 => {
                self.written = true;
                self.rebooted = true;
                self.verify(now);
            }
            Match::Yes => self.end(State::Skipped, "the device runs this image already", now),
            Match::No | Match::Unknown => {
                if let Stage::Trigger {
                    asked,
                    accepted: true,
                    ..
                } = &mut self.stage
                    && *asked < 4
                {
                    // Through safeboot and back without a download.
                    *asked += 1;
                    self.note(now, "the device came back without it, and is told again");
                    self.order();
                }
            }
        }
    }

    /// `Upgrade 2` is not understood: this layout has no safeboot partition.
    pub(super) fn no_safeboot(&mut self, now: u64) {
        if !matches!(self.stage, Stage::Trigger { .. }) || self.main_step() {
            return;
        }
        self.note(
            now,
            "the device has no safeboot partition: that step is dropped",
        );
        self.drop_safeboot_step();
        self.plan.adapter = Adapter::TasmotaDirect;
        if self.plan.steps.is_empty() {
            return self.end(State::Skipped, "there is nothing else in this offer", now);
        }
        self.ask_token(now);
    }

    fn drop_safeboot_step(&mut self) {
        self.effects
            .push_back(Effect::RevokeToken { step: self.step });
        self.plan.steps.retain(|step| step.part == Part::Main);
        self.step = 0;
        self.url = None;
    }

    pub(super) fn device_failed(&mut self, blame: Blame, words: &str, now: u64) {
        if !matches!(
            self.stage,
            Stage::Trigger { .. }
                | Stage::Downloading
                | Stage::Installing { .. }
                | Stage::Recovery { .. }
        ) {
            return;
        }
        let words = if words.is_empty() {
            "the device says that it failed, without a reason"
        } else {
            words
        };
        match blame {
            Blame::Image => self.end(State::Failed(Reason::WrongFile), words, now),
            blame => self.retry(blame, Some(Reason::Refused), words, now),
        }
    }

    /// On to the next step, without asking for its address yet.
    pub(super) fn next_step_number(&mut self) {
        self.effects
            .push_back(Effect::RevokeToken { step: self.step });
        self.step += 1;
        self.url = None;
        self.bytes = 0;
        self.written = false;
        self.rebooted = false;
        self.before = self.known.main.clone();
        self.total = self
            .plan
            .steps
            .get(self.step)
            .map_or(0, |step| step.image.size);
    }
}
