//! What devices and their agents said to each other.

use axum::http::StatusCode;
use safeport_store::{By, Side};
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

    /// What one turn sounded like.
    pub(super) fn talk_sound(&mut self, side: Side) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let number = self.part("talk");
        let refused = || {
            Refusal::new(
                StatusCode::NOT_FOUND,
                "no-sound",
                say!(
                    self.texts,
                    "api-sound-none",
                    name = member.name(),
                    number = &number
                ),
                say!(self.texts, "api-sound-none-next"),
            )
        };
        let id: u64 = number.parse().map_err(|_| refused())?;
        let device = member.enrolment.as_ref().ok_or_else(refused)?;
        let talk = self.registry.talk(device.as_str(), id, unix_now());
        let sound = self.done(talk)?.and_then(|talk| talk.sound);
        let sound = sound.ok_or_else(refused)?;
        let file = self.api.folder.recordings().open(&sound, side);
        let file = self.done(file)?.ok_or_else(refused)?;
        let word = match side {
            Side::Heard => "heard",
            Side::Said => "said",
        };
        let name = format!("{}-{id}-{word}.ogg", device.as_str());
        Ok(Answer::sound(file.file, file.bytes, name))
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
