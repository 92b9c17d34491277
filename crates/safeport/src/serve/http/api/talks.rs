//! What devices and their agents said to each other.

use safeport_store::By;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::limits::API_TALKS;
use crate::say;
use crate::serve::access::unix_now;
use crate::shown::talks::row_json;

impl Desk<'_> {
    /// Turns of a device, newest first.
    pub(super) fn device_talks(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let limit = self.limit(50, API_TALKS)?;
        let before = match self.query("before") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let what = say!(self.texts, "api-value-bad", name = "before", value = text);
                Refusal::bad_request(what, self.texts)
            })?),
        };
        let talks: Vec<Value> = match &member.enrolment {
            // Who is not enrolled does not talk here.
            None => Vec::new(),
            Some(name) => {
                let found = self
                    .registry
                    .talks(name.as_str(), before, limit, unix_now());
                self.done(found)?.iter().map(row_json).collect()
            }
        };
        Ok(Answer::ok(json!({"device": member.name(), "talks": talks})))
    }

    /// Forgets them all.
    pub(super) fn forget_talks(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        if let Some(name) = &member.enrolment {
            let who = self.who.clone();
            let by = By {
                who: &who,
                at: unix_now(),
            };
            let gone = self.registry.forget_talks(name.as_str(), by);
            self.done(gone)?;
        }
        Ok(Answer::ok(
            json!({"name": member.name(), "done": "forgotten"}),
        ))
    }
}
