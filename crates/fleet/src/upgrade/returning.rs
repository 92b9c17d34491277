//! From safeboot back to the main image. `Restart 3` toggles, so it is never repeated before it
//! is known which image runs.

use super::*;

/// How often anything is tried before a person is asked.
const MAX_ASKED: u8 = 8;
/// Safeboot may show itself for so long after it was told to switch.
const SWITCHING: u64 = 20;

impl Upgrade {
    /// Brings the device back to its main image, then goes on, or fails with `fail`.
    pub(super) fn go_back(&mut self, fail: Option<Reason>, why: &str, now: u64) {
        self.note(now, why);
        self.enter(
            Stage::Return {
                fail,
                asked: 0,
                asked_at: 0,
                looks: 0,
            },
            Some(now + self.plan.wait(ANSWER)),
            why,
            now,
        );
        self.send_back(now);
    }

    fn send_back(&mut self, now: u64) {
        let here = self.known.online == Some(true) && self.known.running == Some(Running::Safeboot);
        let web = self.plan.web;
        let Stage::Return {
            asked, asked_at, ..
        } = &mut self.stage
        else {
            return;
        };
        *asked += 1;
        if here {
            *asked_at = now;
            self.deadline = Some(now + self.plan.wait(NUDGE));
            self.command("Restart", "3");
        } else if web {
            self.deadline = Some(now + self.plan.wait(ANSWER));
            self.effects.push_back(Effect::Web(WebRequest::Look));
        } else {
            self.deadline = Some(now + self.plan.wait(PROOF));
        }
    }

    pub(super) fn return_late(&mut self, now: u64) {
        let Stage::Return {
            fail,
            asked,
            asked_at,
            ..
        } = self.stage
        else {
            return;
        };
        if asked >= MAX_ASKED {
            let why = match fail {
                Some(reason) => format!(
                    "{}, and nothing brings the device back to its main image",
                    reason.code()
                ),
                None => "nothing brings the device back to its main image".to_string(),
            };
            return self.end(State::Failed(Reason::StuckInSafeboot), &why, now);
        }
        let still_there = self
            .known
            .safeboot_seen_at
            .is_some_and(|seen| seen > asked_at + self.plan.wait(SWITCHING) || asked_at == 0);
        if self.known.online == Some(true) && !still_there {
            // It is not known which image runs: ask before anything toggles.
            if let Stage::Return { asked, .. } = &mut self.stage {
                *asked += 1;
            }
            self.look();
            self.deadline = Some(now + self.plan.wait(ANSWER));
            return;
        }
        self.send_back(now);
    }

    pub(super) fn return_saw(&mut self, saw: &Saw, now: u64) {
        let Stage::Return { asked_at, .. } = self.stage else {
            return;
        };
        match saw.running {
            Some(Running::Main) => self.is_back(now),
            Some(Running::Safeboot)
                if asked_at == 0 || now > asked_at + self.plan.wait(SWITCHING) =>
            {
                self.send_back(now);
            }
            _ => {}
        }
    }

    /// Its page has told which image runs.
    pub(super) fn return_looked(&mut self, running: Option<Running>, now: u64) {
        let Stage::Return {
            asked_at, looks, ..
        } = &mut self.stage
        else {
            return;
        };
        match running {
            Some(Running::Safeboot)
                if *asked_at == 0 || now > *asked_at + self.plan.wait(SWITCHING) =>
            {
                *asked_at = now;
                self.deadline = Some(now + self.plan.wait(NUDGE));
                self.effects
                    .push_back(Effect::Web(WebRequest::Command("Restart 3".to_string())));
            }
            Some(Running::Main) => {
                *looks += 1;
                // It is back even if MQTT takes its time.
                if *looks >= 2 {
                    self.is_back(now);
                } else {
                    self.deadline = Some(now + self.plan.wait(ANSWER));
                }
            }
            _ => {}
        }
    }

    fn is_back(&mut self, now: u64) {
        let Stage::Return { fail, .. } = self.stage else {
            return;
        };
        match fail {
            Some(reason) => {
                let why = format!("{}; the device is back in its main image", self.detail);
                self.end(State::Failed(reason), &why, now);
            }
            None if self.safeboot_written => {
                self.step_done("the safeboot is in place and proved", now);
            }
            None => self.retry(
                Blame::Environment,
                None,
                "the device had gone into its safeboot by itself",
                now,
            ),
        }
    }
}
