//! The end of a step and of the whole: soak, retries, giving `OtaUrl` back, final states.

use super::*;

impl Upgrade {
    /// A step is done: the next one, or the soak.
    pub(super) fn step_done(&mut self, why: &str, now: u64) {
        if self.step + 1 < self.plan.steps.len() {
            if let Some(state) = self.stop {
                return self.end(state, why, now);
            }
            self.next_step_number();
            // Each step has its own tries and its own evidence.
            self.tries = 0;
            self.evidence = Evidence::default();
            self.boots.clear();
            self.note(now, why);
            if self.plan.adapter.is_tasmota() {
                return self.ask_token(now);
            }
            return self.begin_again(now);
        }
        if self.main_step() {
            self.soak(why, now);
        } else {
            // Nothing but a safeboot was offered: its proof is all the evidence there is.
            self.evidence.build.get_or_insert(now);
            self.evidence.boot.get_or_insert(now);
            self.end(State::Succeeded, why, now);
        }
    }

    fn soak(&mut self, why: &str, now: u64) {
        self.effects
            .push_back(Effect::RevokeToken { step: self.step });
        if let Restore::Owed { next_at, .. } = &mut self.restore {
            *next_at = now;
        }
        let until = now + self.plan.soak;
        self.enter(
            Stage::Soaking {
                until,
                away_since: None,
                connections: 0,
                again: 0,
            },
            Some(until),
            why,
            now,
        );
        if matches!(self.restore, Restore::Owed { .. }) {
            self.ask_restore(now);
        }
    }

    pub(super) fn soak_saw(&mut self, saw: &Saw, booted: bool, now: u64) {
        if let Some(crash) = self.known.crashed.clone() {
            return self.end(State::Failed(Reason::Crashed), &crash, now);
        }
        if matches!(saw.running, Some(Running::Safeboot | Running::Minimal)) {
            return self.recover("the device has fallen back into its small firmware", now);
        }
        if self.judge() == Match::No {
            let state = if self.runs_as_before() {
                State::Reverted
            } else {
                State::Failed(Reason::OtherBuild)
            };
            let runs = self.known.main.version.clone().unwrap_or_default();
            return self.end(state, &format!("it runs {runs} again"), now);
        }
        if self.boots.len() >= 3 {
            return self.end(
                State::Failed(Reason::BootLoop),
                "three boots within ten minutes",
                now,
            );
        }
        let soak = self.plan.soak;
        let Stage::Soaking {
            until,
            away_since,
            connections,
            again,
        } = &mut self.stage
        else {
            return;
        };
        if saw.online == Some(false) && !saw.connected {
            away_since.get_or_insert(now);
        } else if self.known.online == Some(true) {
            *away_since = None;
        }
        // A boot brings a connection of its own; only what comes beyond it counts.
        if saw.connected {
            *connections += 1;
        }
        if booted || *connections > 2 {
            *until = now + soak;
            *connections = 0;
            *again += 1;
            if *again > 3 {
                return self.end(
                    State::Failed(Reason::Unstable),
                    "it does not stay connected for the length of a soak",
                    now,
                );
            }
            let what = if booted {
                "it has booted once more: the soak begins anew"
            } else {
                "it keeps reconnecting: the soak begins anew"
            };
            self.note(now, what);
        }
        self.soak_deadline();
    }

    fn soak_deadline(&mut self) {
        if let Stage::Soaking {
            until, away_since, ..
        } = self.stage
        {
            let away = away_since.map(|since| since + self.plan.wait(AWAY_IN_SOAK));
            self.deadline = Some(away.map_or(until, |away| away.min(until)));
        }
    }

    pub(super) fn soak_late(&mut self, now: u64) {
        let Stage::Soaking {
            until, away_since, ..
        } = self.stage
        else {
            return;
        };
        if away_since.is_some() {
            return self.unreachable("it has gone while it was being watched", now);
        }
        if now < until {
            return self.soak_deadline();
        }
        self.evidence.stays.get_or_insert(now);
        self.evidence.sane.get_or_insert(now);
        self.end(
            State::Succeeded,
            "it runs the image and has stayed healthy",
            now,
        );
    }

    fn runs_as_before(&self) -> bool {
        let (seen, before) = (&self.known.main, &self.before);
        seen.version == before.version
            && (seen.build.is_none() || before.build.is_none() || seen.build == before.build)
    }

    /// Another try later, or the end.
    pub(super) fn retry(&mut self, blame: Blame, reason: Option<Reason>, why: &str, now: u64) {
        let wait = match blame {
            Blame::Ours => 2 * self.plan.wait(NUDGE),
            Blame::Environment => {
                self.interruptions += 1;
                if self.interruptions > MAX_INTERRUPTIONS {
                    return self.give_up(Reason::Interrupted, why, now);
                }
                self.plan.wait(WAITS[0])
            }
            Blame::Device | Blame::Image => {
                self.tries += 1;
                if self.tries >= MAX_TRIES {
                    let reason = reason.unwrap_or(Reason::Refused);
                    if reason == Reason::OtherBuild && self.runs_as_before() {
                        return self.end(State::Reverted, why, now);
                    }
                    return self.give_up(reason, why, now);
                }
                let wait = self.plan.wait(WAITS[usize::from(self.tries) - 1]);
                // The next try has a folder of its own, so that a late download of this one
                // cannot be taken for it.
                self.effects
                    .push_back(Effect::RevokeToken { step: self.step });
                self.url = None;
                wait
            }
        };
        if let Some(state) = self.stop
            && !self.in_danger()
        {
            return self.end(state, why, now);
        }
        let wait = wait / 2 + self.draw(wait);
        self.enter(
            Stage::Backoff,
            Some(now + wait),
            &format!("{why}; next try in {wait} s"),
            now,
        );
    }

    fn give_up(&mut self, reason: Reason, why: &str, now: u64) {
        let reason = if self.in_danger() {
            Reason::StuckInSafeboot
        } else {
            reason
        };
        self.end(State::Failed(reason), why, now);
    }

    /// Ends, once the device has its own `OtaUrl` again.
    pub(super) fn end(&mut self, state: State, why: &str, now: u64) {
        for step in 0..self.plan.steps.len() {
            self.effects.push_back(Effect::RevokeToken { step });
        }
        if let Restore::Owed { next_at, asked } = &mut self.restore {
            *next_at = now;
            *asked = 0;
            self.enter(
                Stage::Restoring {
                    then: state,
                    since: now,
                },
                Some(now + self.plan.wait(AWAY_IN_SOAK)),
                why,
                now,
            );
            if matches!(
                self.known.running,
                Some(Running::Safeboot | Running::Minimal)
            ) {
                return self.cannot_restore("its small firmware keeps no settings", now);
            }
            return self.ask_restore(now);
        }
        self.enter(Stage::Ended(state), None, why, now);
    }

    /// Asks the device to take its own `OtaUrl` back, by whatever way there is.
    pub(super) fn ask_restore(&mut self, now: u64) {
        let Restore::Owed { asked, next_at } = &mut self.restore else {
            return;
        };
        if *asked >= RESTORE_TRIES {
            if matches!(self.stage, Stage::Restoring { .. }) {
                return self.cannot_restore("it does not confirm it", now);
            }
            // The soak goes on; the end tries again.
            *next_at = u64::MAX;
            return;
        }
        *next_at = now + self.plan.wait(RESTORE_AGAIN);
        let here = self.known.online != Some(false);
        if !here && !self.plan.web {
            return;
        }
        *asked += 1;
        let by_web = self.plan.web && (!here || asked.is_multiple_of(2));
        // `OtaUrl 1` brings the one that was compiled in.
        let own = self.own_ota_url.clone().unwrap_or_else(|| "1".to_string());
        if by_web {
            self.effects
                .push_back(Effect::Web(WebRequest::Command(format!("OtaUrl {own}"))));
        } else {
            self.command("OtaUrl", &own);
        }
    }

    pub(super) fn restore_saw(&mut self, saw: &Saw, now: u64) {
        if saw.connected
            && let Restore::Owed { asked, .. } = &mut self.restore
        {
            *asked = 0;
            self.ask_restore(now);
        }
    }

    /// The device has said what its `OtaUrl` is.
    pub(super) fn restored(&mut self, url: &str, now: u64) {
        let own = match &self.own_ota_url {
            Some(own) => own == url,
            None => !texts::is_ours(url),
        };
        if !own || !matches!(self.restore, Restore::Owed { .. }) {
            return;
        }
        self.restore = Restore::Done;
        self.note(now, "the device has its own OtaUrl again");
        if let Stage::Restoring { then, .. } = self.stage {
            self.enter(
                Stage::Ended(then),
                None,
                "the device has its own OtaUrl again",
                now,
            );
        }
    }

    pub(super) fn restoring_late(&mut self, now: u64) {
        self.cannot_restore("the device is not here", now);
    }

    fn cannot_restore(&mut self, why: &str, now: u64) {
        let Stage::Restoring { then, .. } = self.stage else {
            return;
        };
        let own = self.own_ota_url.clone().unwrap_or_else(|| "1".to_string());
        let text = format!(
            "its own OtaUrl was not given back, since {why}; enter on the device: OtaUrl {own}"
        );
        self.restore = Restore::Impossible(text.clone());
        let detail = self.detail.clone();
        self.enter(Stage::Ended(then), None, &format!("{detail}; {text}"), now);
    }
}
