//! Devices: who is known, what is known of them, and who is who.

use axum::http::StatusCode;
use safeport_fleet::query::Where;
use safeport_fleet::{
    Conflict, ConflictId, Found, Member, MemberId, Query, Roster, Set, Settle, SettleError,
};
use safeport_store::{By, StoreError};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::limits::{API_DEVICES, DEVICES_LOOKED_AT};
use crate::say;
use crate::serve::access::unix_now;
use crate::shown::devices::{enrolment_of, full, roster, row};

/// Whoever holds the one list of all devices in memory.
pub trait Devices: Send + Sync {
    /// Lets `work` look at it.
    fn look(&self, work: &mut dyn FnMut(&Roster));
    /// Lets `work` change it; what changed is written down within a second.
    fn change(&self, work: &mut dyn FnMut(&mut Roster));
    /// Waits until what was changed is on the disk.
    ///
    /// # Errors
    /// It cannot be written; that is tried again.
    fn keep(&self) -> Result<(), StoreError>;
}

/// `POST /quarantine/{conflict}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    decision: String,
}

impl Desk<'_> {
    /// A page of devices.
    pub(super) fn devices(&mut self) -> Result<Answer, Refusal> {
        let texts = self.texts;
        let question = self.question(self.query("where").as_deref())?;
        let after = match self.query("after") {
            None => None,
            Some(text) => Some(self.member_id("after", &text)?),
        };
        let limit = self.limit(100, API_DEVICES)? as usize;
        let enrolled = match self.query("enrolled").as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                let what = say!(texts, "api-value-bad", name = "enrolled", value = other);
                return Err(Refusal::bad_request(what, texts));
            }
        };
        let mut query = question.as_ref().map(Query::narrowed).unwrap_or_default();
        query.text = self.query("text").map(Into::into);
        query.enrolled = enrolled.or(query.enrolled);
        let (mut rows, next) = self.devices_that(&query, question.as_ref(), after, limit, row)?;
        self.add_findings(&mut rows);
        let known = self.with_roster(Roster::len)?;
        let next = next.map(|id| id.to_string());
        Ok(Answer::ok(
            json!({"devices": rows, "next": next, "known": known}),
        ))
    }

    /// At most `limit` devices behind `after`, in many short looks: sightings are folded in between.
    fn devices_that<T>(
        &mut self,
        query: &Query,
        question: Option<&Where>,
        mut after: Option<MemberId>,
        limit: usize,
        show: impl Fn(&Member) -> T,
    ) -> Result<(Vec<T>, Option<MemberId>), Refusal> {
        let now = unix_now();
        let mut rows = Vec::new();
        loop {
            let left = limit - rows.len();
            let (more, next) = self.with_roster(|roster| {
                let look = (after, left, DEVICES_LOOKED_AT);
                let page = roster.select_where(query, question, now, look);
                let more: Vec<T> = page.members.iter().map(|member| show(member)).collect();
                (more, page.next)
            })?;
            rows.extend(more);
            if next.is_none() || rows.len() >= limit {
                return Ok((rows, next));
            }
            after = next;
        }
    }

    /// Everything about one.
    pub(super) fn device(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let mut value = self.done(full(self.registry, &member, self.texts))?;
        value["finding"] = self.finding_of(&member)?;
        Ok(Answer::ok(value))
    }

    /// What happened to it, newest first.
    pub(super) fn device_events(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let limit = self.limit(50, API_DEVICES)?;
        let before = match self.query("before") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let what = say!(self.texts, "api-value-bad", name = "before", value = text);
                Refusal::bad_request(what, self.texts)
            })?),
        };
        let rows = self.done(self.registry.member_events(member.id.0, before, limit))?;
        let mut events: Vec<Value> = rows
            .iter()
            .map(|row| {
                let mut event: Value = serde_json::from_str(&row.body).unwrap_or_default();
                if !event.is_object() {
                    event = json!({"what": row.kind});
                }
                event["id"] = json!(row.id);
                event["at"] = json!(row.at);
                event
            })
            .collect();
        if events.is_empty() && before.is_none() {
            // Written down within a second.
            let newest = member.events.iter().rev().take(limit as usize);
            events.extend(newest.filter_map(|event| serde_json::to_value(event).ok()));
        }
        Ok(Answer::ok(
            json!({"device": member.id.to_string(), "events": events}),
        ))
    }

    /// Tags and what an operator knows better than the device.
    pub(super) fn change_device(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let mut wanted: Map<String, Value> = self.body()?;
        let tags = wanted.remove("tags");
        let set = self.set_of(&member, wanted)?;
        if let Some(tags) = tags {
            let tags: Vec<String> = serde_json::from_value(tags).map_err(|error| {
                let what = say!(self.texts, "api-not-understood", error = error);
                Refusal::bad_request(what, self.texts)
            })?;
            let Some(name) = &member.enrolment else {
                return Err(self.not_enrolled(&member));
            };
            let who = self.who.clone();
            let by = By {
                who: &who,
                at: unix_now(),
            };
            let tagged = self.registry.set_device_tags(name.as_str(), &tags, by);
            self.done(tagged)?;
            self.know(&[name.as_str()])?;
        }
        if let Some(set) = set {
            let mut set = Some(set);
            self.change_roster(|roster| {
                if let Some(set) = set.take() {
                    roster.set(member.id, set);
                }
            })?;
            self.keep_roster()?;
        }
        self.device()
    }

    /// Forgets an enrolment, or a device that was only seen.
    pub(super) fn forget_device(&mut self) -> Result<Answer, Refusal> {
        let member = self.named_device()?;
        let name = member.name();
        match &member.enrolment {
            Some(enrolled) => {
                let who = self.who.clone();
                let by = By {
                    who: &who,
                    at: unix_now(),
                };
                let forgotten = self.registry.forget_device(enrolled.as_str(), by);
                self.done(forgotten)?;
                if let Some(upgrades) = &self.api.upgrades {
                    upgrades.device_forgotten(enrolled.as_str());
                }
                if self.api.devices.is_some() {
                    self.change_roster(|roster| {
                        roster.release(enrolled.as_str(), unix_now());
                    })?;
                }
            }
            None => {
                let mut is_pinned = false;
                self.change_roster(|roster| {
                    is_pinned = roster.is_pinned(member.id);
                    roster.forget(member.id);
                })?;
                if is_pinned {
                    return Err(Refusal::new(
                        StatusCode::CONFLICT,
                        "offer-open",
                        say!(self.texts, "device-offer-open", name = name),
                        say!(self.texts, "device-offer-open-next"),
                    ));
                }
                self.keep_roster()?;
            }
        }
        Ok(Answer::ok(json!({"name": name, "done": "forgotten"})))
    }

    /// Who contradicts whom.
    pub(super) fn quarantine(&mut self) -> Result<Answer, Refusal> {
        self.with_roster(|roster| {
            let conflicts: Vec<Value> = roster
                .quarantine()
                .into_iter()
                .map(|conflict| conflict_json(conflict, roster))
                .collect();
            Answer::ok(json!({"conflicts": conflicts}))
        })
    }

    /// A person decides.
    pub(super) fn settle(&mut self) -> Result<Answer, Refusal> {
        let texts = self.texts;
        let given = self.part("conflict");
        let id: ConflictId = given
            .parse()
            .map_err(|error| Refusal::bad_request(format!("{given:?}: {error}"), texts))?;
        let wanted: Decision = self.body()?;
        let how = match wanted.decision.as_str() {
            "keep" => Settle::Keep,
            "pass" => Settle::Pass,
            other => {
                let what = say!(texts, "api-value-bad", name = "decision", value = other);
                return Err(Refusal::bad_request(what, texts));
            }
        };
        let now = unix_now();
        let mut settled = Err(SettleError::NoConflict);
        self.change_roster(|roster| settled = roster.settle(id, how, now))?;
        self.keep_roster()?;
        match settled {
            Ok(()) => Ok(Answer::ok(json!({"id": given, "done": wanted.decision}))),
            Err(error) => Err(Refusal::new(
                match error {
                    SettleError::NoConflict => StatusCode::NOT_FOUND,
                    _ => StatusCode::CONFLICT,
                },
                "not-settled",
                error.to_string(),
                say!(texts, "api-quarantine-next"),
            )),
        }
    }

    /// The device that the address names: by name, number, or what else it is known by.
    pub(super) fn named_device(&mut self) -> Result<Member, Refusal> {
        let called = self.part("device");
        self.device_called(&called)
    }

    pub(super) fn device_called(&mut self, called: &str) -> Result<Member, Refusal> {
        let texts = self.texts;
        let called = called.to_owned();
        self.with_roster(|roster| match roster.find(&called) {
            Found::One(member) => Ok(member.clone()),
            Found::Several(members) => {
                let ids: Vec<String> = members.iter().map(|m| m.id.to_string()).collect();
                Err(Refusal::new(
                    StatusCode::CONFLICT,
                    "ambiguous",
                    say!(texts, "device-ambiguous", name = called),
                    say!(texts, "device-ambiguous-next", ids = ids.join(", ")),
                ))
            }
            Found::Nobody => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown-device",
                say!(texts, "name-unknown", name = called),
                say!(texts, "device-unknown-next"),
            )),
        })?
    }

    /// All devices that meet a question.
    pub(super) fn devices_where(&mut self, question: &str) -> Result<Vec<MemberId>, Refusal> {
        let question = self.question(Some(question))?;
        let query = question.as_ref().map(Query::narrowed).unwrap_or_default();
        let found = self.devices_that(&query, question.as_ref(), None, usize::MAX, |m| m.id)?;
        Ok(found.0)
    }

    fn question(&self, text: Option<&str>) -> Result<Option<Where>, Refusal> {
        text.map(|text| {
            Where::parse(text).map_err(|error| {
                let what = say!(self.texts, "query-bad", query = text);
                Refusal::bad_request(what, self.texts)
                    .with("code", json!("bad-query"))
                    .with("at", json!(error.at))
                    .with("detail", json!(error.to_string()))
            })
        })
        .transpose()
    }

    pub(super) fn limit(&self, usual: u32, most: u32) -> Result<u32, Refusal> {
        match self.query("limit").as_deref().map(str::parse) {
            None => Ok(usual),
            Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => {
                let what = say!(self.texts, "api-limit-bad", most = most);
                Err(Refusal::bad_request(what, self.texts))
            }
        }
    }

    fn member_id(&self, name: &str, text: &str) -> Result<MemberId, Refusal> {
        text.parse().map_err(|_| {
            let what = say!(self.texts, "api-value-bad", name = name, value = text);
            Refusal::bad_request(what, self.texts)
        })
    }

    fn not_enrolled(&self, member: &Member) -> Refusal {
        Refusal::new(
            StatusCode::CONFLICT,
            "not-enrolled",
            say!(self.texts, "device-not-enrolled", name = member.name()),
            say!(self.texts, "device-not-enrolled-next"),
        )
    }

    /// What is set of a device after `wanted`; none if nothing of it changes.
    fn set_of(&self, member: &Member, wanted: Map<String, Value>) -> Result<Option<Set>, Refusal> {
        const KNOWN: [&str; 8] = [
            "web",
            "family",
            "chip",
            "flash_size",
            "layout",
            "room",
            "board",
            "note",
        ];
        let texts = self.texts;
        let bad = |error: &dyn std::fmt::Display| {
            let what = say!(texts, "api-not-understood", error = error);
            Refusal::bad_request(what, texts)
        };
        if let Some(unknown) = wanted.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            let known = KNOWN.join(", ");
            return Err(bad(&format_args!(
                "{unknown:?} cannot be set; there are tags, {known}"
            )));
        }
        if wanted.is_empty() {
            return Ok(None);
        }
        let before = member.set.as_deref().cloned().unwrap_or_default();
        let mut set = serde_json::to_value(before).map_err(|error| bad(&error))?;
        for (name, mut value) in wanted {
            // Words as people write them become those of the registry.
            if let Some(text) = value.as_str() {
                value = match name.as_str() {
                    "family" => text
                        .parse::<safeport_fleet::Family>()
                        .map(|family| json!(family))
                        .map_err(|error| bad(&error))?,
                    "chip" => text
                        .parse::<safeport_fleet::Chip>()
                        .map(|chip| json!(chip))
                        .map_err(|error| bad(&error))?,
                    "web" if !is_web(text) => {
                        return Err(bad(&format_args!("web: {text:?} is not HOST or HOST:PORT")));
                    }
                    _ => json!(text),
                };
            }
            match value {
                Value::Null => drop(set.as_object_mut().and_then(|set| set.remove(&name))),
                value => set[name] = value,
            }
        }
        serde_json::from_value(set)
            .map(Some)
            .map_err(|error| bad(&error))
    }

    /// Looks at the list of devices: the server's, or where there is none, one made of the
    /// registry.
    pub(super) fn with_roster<T>(&mut self, work: impl FnOnce(&Roster) -> T) -> Result<T, Refusal> {
        let Some(devices) = &self.api.devices else {
            let roster = self.done(roster(self.registry))?;
            return Ok(work(&roster));
        };
        let mut work = Some(work);
        let mut done = None;
        devices.look(&mut |roster| done = work.take().map(|work| work(roster)));
        done.ok_or_else(|| Refusal::broken(self.texts.language()))
    }

    /// Tells the list of devices of enrolments that were made or changed just now, so that the next
    /// request finds them; by itself it looks four times a second.
    pub(super) fn know(&mut self, names: &[&str]) -> Result<(), Refusal> {
        if self.api.devices.is_none() {
            return Ok(());
        }
        let mut enrolments = Vec::new();
        for name in names {
            let record = self.done(self.registry.device(name))?;
            enrolments.extend(record.and_then(enrolment_of));
        }
        self.change_roster(|roster| {
            for enrolment in &enrolments {
                roster.enrol(enrolment, unix_now());
            }
        })
    }

    fn change_roster(&mut self, work: impl FnOnce(&mut Roster)) -> Result<(), Refusal> {
        let Some(devices) = &self.api.devices else {
            return Err(Refusal::not_served(self.texts));
        };
        let mut work = Some(work);
        devices.change(&mut |roster| {
            if let Some(work) = work.take() {
                work(roster);
            }
        });
        Ok(())
    }
}

impl Desk<'_> {
    /// What is answered as done is on the disk.
    fn keep_roster(&self) -> Result<(), Refusal> {
        let kept = self.api.devices.as_ref().map(|devices| devices.keep());
        self.done(kept.unwrap_or(Ok(())))
    }
}

/// `HOST` or `HOST:PORT`, of which nothing can be mistaken for a path or a login.
fn is_web(text: &str) -> bool {
    let authority = match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => text.to_owned(),
    };
    let parsed = authority.parse::<axum::http::uri::Authority>();
    parsed.is_ok_and(|authority| !authority.as_str().contains('@'))
}

fn conflict_json(conflict: &Conflict, roster: &Roster) -> Value {
    let shown = |id: MemberId| {
        let member = roster.get(id);
        json!({"id": id.to_string(), "name": member.map(|member| member.name())})
    };
    json!({
        "id": conflict.id.to_string(),
        "identity": {
            "kind": conflict.identity.kind().as_str(),
            "value": conflict.identity.value(),
        },
        "why": conflict.why.as_str(),
        "holder": shown(conflict.holder),
        "claimant": conflict.claimant.map(shown),
        "peer": conflict.peer,
        "first_seen": conflict.first,
        "last_seen": conflict.last,
        "count": conflict.count,
        "sighting": conflict.sighting,
    })
}
