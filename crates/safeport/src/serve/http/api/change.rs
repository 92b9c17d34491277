//! What changes settings: judged here first, so that every mistake is told at once, then staged
//! for the thread that owns the settings, and waited for.

use std::path::Path;
use std::time::Instant;

use axum::http::StatusCode;
use safeport_settings::{KeyInfo, Problem, Settings, key_info};
use safeport_store::{
    By, Change, Draft, ManagedRow, Revision, RevisionKind, RevisionState, Scope, StoreError,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::limits::{API_TURN_PATIENCE, CHANGE_PATIENCE, CHANGE_POLL};
use crate::reading::{Gathered, Read, problem_json};
use crate::say;
use crate::serve::access::unix_now;
use crate::shown::revisions;

/// `PATCH /settings`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The revision that the changes build on; without it they overwrite whatever is there.
    base: Option<u64>,
    #[serde(default)]
    reason: String,
    changes: Vec<WantedChange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedChange {
    key: String,
    /// `null` takes the value back.
    value: Value,
    tag: Option<String>,
    device: Option<String>,
}

/// `POST /revisions/ID/rollback`; nothing need be said.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WantedBack {
    reason: String,
}

/// What one change means.
struct Understood {
    scope: Scope,
    info: KeyInfo,
    /// The value as TOML; `None` to take it back.
    new: Option<String>,
}

/// Why a change means nothing.
enum Wrong {
    /// The change itself: told with those of all others.
    Problem(Value),
    /// Something else, which ends the request.
    Refused(Refusal),
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Wrong {
        Wrong::Refused(refusal)
    }
}

impl Desk<'_> {
    /// Changes managed values, all or none.
    pub(super) fn change(&mut self) -> Result<Answer, Refusal> {
        let wanted: Wanted = self.body()?;
        let turn = self.done(self.api.folder.change_turn(API_TURN_PATIENCE))?;
        let before = self.read_now()?;
        let (managed, changes) = self.apply(&before, &wanted.changes)?;
        if changes.is_empty() {
            return Ok(Answer::ok(json!({"revision": null, "state": "unchanged"})));
        }
        self.judge(managed)?;
        let id = self.stage(Draft {
            reason: wanted.reason,
            kind: RevisionKind::Set,
            base: wanted.base,
            changes,
            files: Vec::new(),
        })?;
        drop(turn);
        self.outcome(id)
    }

    /// Goes back to the managed values of an earlier revision.
    pub(super) fn roll_back(&mut self, id: &str) -> Result<Answer, Refusal> {
        let id = self.revision_number(id)?;
        let wanted: WantedBack = match self.body.is_empty() {
            true => WantedBack::default(),
            false => self.body()?,
        };
        let turn = self.done(self.api.folder.change_turn(API_TURN_PATIENCE))?;
        if self.done(self.registry.revision(id))?.is_none() {
            return self.done(Err(StoreError::NoRevision { id }));
        }
        let (changes, _) = self.done(self.registry.way_back(id))?;
        let differing: Vec<String> = self
            .done(self.registry.files_at(id))?
            .into_iter()
            .filter(|(path, text)| std::fs::read_to_string(Path::new(path)).ok() != *text)
            .map(|(path, _)| path)
            .collect();
        if !differing.is_empty() {
            return Err(Refusal::new(
                StatusCode::CONFLICT,
                "files-differ",
                say!(
                    self.texts,
                    "api-files-differ",
                    revision = id,
                    files = differing.join(", ")
                ),
                say!(self.texts, "api-files-differ-next", revision = id),
            )
            .with("files", json!(differing)));
        }
        if changes.is_empty() {
            return Ok(Answer::ok(json!({"revision": null, "state": "unchanged"})));
        }
        let managed = self.done(self.registry.managed_at(id))?;
        self.judge(managed)?;
        let staged = self.stage(Draft {
            reason: wanted.reason,
            kind: RevisionKind::Rollback,
            base: None,
            changes,
            files: Vec::new(),
        })?;
        drop(turn);
        self.outcome(staged)
    }

    /// Lets the server read its files again.
    pub(super) fn reload(&mut self) -> Result<Answer, Refusal> {
        let turn = self.done(self.api.folder.change_turn(API_TURN_PATIENCE))?;
        self.read_now()?;
        let id = self.stage(Draft {
            reason: String::new(),
            kind: RevisionKind::Files,
            base: None,
            changes: Vec::new(),
            files: Vec::new(),
        })?;
        drop(turn);
        self.outcome(id)
    }

    pub(super) fn body<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = say!(self.texts, "api-not-understood", error = error);
            Refusal::bad_request(what, self.texts)
        })
    }

    /// A change builds on files without mistakes, as it does at the command line.
    fn read_now(&self) -> Result<Read, Refusal> {
        Read::new(&self.api.asked).map_err(|error| Refusal::of_read(&error, self.texts))
    }

    fn judge(&self, managed: Vec<ManagedRow>) -> Result<(), Refusal> {
        Gathered::new(&self.api.asked)
            .and_then(|gathered| gathered.judge(managed))
            .map(drop)
            .map_err(|error| Refusal::of_read(&error, self.texts))
    }

    /// The managed source as it is to be, and what that changes.
    fn apply(
        &self,
        before: &Read,
        wanted: &[WantedChange],
    ) -> Result<(Vec<ManagedRow>, Vec<Change>), Refusal> {
        let mut managed = before.managed.clone();
        let mut changes: Vec<Change> = Vec::new();
        let mut problems = Vec::new();
        for change in wanted {
            match self.understand(change, &before.settings) {
                Err(Wrong::Problem(problem)) => problems.push(problem),
                Err(Wrong::Refused(refusal)) => return Err(refusal),
                Ok(Understood { scope, info, new }) => {
                    let is_it = |at: &Scope, key: &str| *at == scope && key == info.key;
                    let old = before
                        .managed
                        .iter()
                        .find(|row| is_it(&row.scope, &row.key))
                        .map(|row| row.value.clone());
                    managed.retain(|row| !is_it(&row.scope, &row.key));
                    changes.retain(|change| !is_it(&change.scope, &change.key));
                    if let Some(value) = &new {
                        managed.push(ManagedRow {
                            scope: scope.clone(),
                            key: info.key.clone(),
                            value: value.clone(),
                            secret: info.secret,
                            revision: 0,
                            who: self.who.clone(),
                            at: unix_now(),
                        });
                    }
                    if old != new {
                        changes.push(Change {
                            scope,
                            key: info.key,
                            old,
                            new,
                            secret: info.secret,
                        });
                    }
                }
            }
        }
        match problems.is_empty() {
            true => Ok((managed, changes)),
            false => Err(Refusal::problems(problems, self.texts)),
        }
    }

    /// For whom, which key and what value one change means.
    fn understand(&self, change: &WantedChange, settings: &Settings) -> Result<Understood, Wrong> {
        let key = change.key.as_str();
        let wrong = |what: String, help: String| {
            Err(Wrong::Problem(json!({
                "key": key, "source": "request", "what": what, "help": help, "related": null,
            })))
        };
        let texts = self.texts;
        let Some(info) = key_info(key) else {
            let help = match safeport_settings::nearest_key(key) {
                Some(near) => say!(texts, "key-nearest", key = near),
                None => say!(texts, "api-keys-next"),
            };
            return wrong(say!(texts, "key-unknown", key = key), help);
        };
        let scope = match (&change.tag, &change.device) {
            (None, None) => Scope::Everyone,
            (Some(tag), None) => Scope::Tag(tag.clone()),
            (None, Some(device)) => Scope::Device(device.clone()),
            (Some(_), Some(_)) => {
                let help = say!(texts, "api-tag-or-device-next");
                return wrong(say!(texts, "api-tag-or-device"), help);
            }
        };
        if scope != Scope::Everyone && !info.told {
            let help = say!(texts, "api-not-told-next");
            return wrong(say!(texts, "set-not-told", key = key), help);
        }
        if let Scope::Device(device) = &scope
            && self.done(self.registry.device(device))?.is_none()
        {
            let help = say!(texts, "device-unknown-next");
            return wrong(say!(texts, "name-unknown", name = device), help);
        }
        let unfit = |problem: &Problem| {
            let mut problem = problem_json(problem, texts);
            // What stands in a request has no other place.
            if problem["source"] == "VALUE" || problem["source"] == "KEY" {
                problem["source"] = json!("request");
            }
            Wrong::Problem(problem)
        };
        settings
            .may_manage(key)
            .map_err(|problem| unfit(&problem))?;
        match toml(key, &change.value) {
            Some(Ok(new)) => Ok(Understood { scope, info, new }),
            Some(Err(problem)) => Err(unfit(&problem)),
            None => {
                let help = say!(texts, "api-value-shape-next");
                wrong(say!(texts, "api-value-shape", key = key), help)
            }
        }
    }

    fn stage(&mut self, draft: Draft) -> Result<u64, Refusal> {
        let by = By {
            who: &self.who,
            at: unix_now(),
        };
        let staged = self.registry.stage(&draft, by);
        self.done(staged)
    }

    /// What the server says to a staged revision.
    fn outcome(&self, id: u64) -> Result<Answer, Refusal> {
        let deadline = Instant::now() + CHANGE_PATIENCE;
        loop {
            let Some(revision) = self.done(self.registry.revision(id))? else {
                return self.done(Err(StoreError::NoRevision { id }));
            };
            match revision.state {
                RevisionState::Staged if Instant::now() < deadline => {
                    std::thread::sleep(CHANGE_POLL);
                }
                RevisionState::Staged => return Ok(Answer::accepted(revisions::json(&revision))),
                RevisionState::Refused => return Err(self.refused(&revision)),
                _ => return Ok(Answer::ok(revisions::json(&revision))),
            }
        }
    }

    fn refused(&self, revision: &Revision) -> Refusal {
        Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "refused",
            say!(self.texts, "change-refused"),
            say!(self.texts, "api-refused-next"),
        )
        .with("revision", revisions::json(revision))
    }
}

/// A value of JSON as TOML; `None` for shapes that no key has, an inner `None` for `null`.
fn toml(key: &str, value: &Value) -> Option<Result<Option<String>, Box<Problem>>> {
    let read = |text: &str| safeport_settings::read_value(key, text).map_err(Box::new);
    let plain = |value: &Value| match value {
        // Strings of JSON are written as those of TOML are.
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.to_string()),
        _ => None,
    };
    let read = match value {
        Value::Null => return Some(Ok(None)),
        Value::Bool(_) | Value::Number(_) => read(&value.to_string()),
        // A number or a list in quotes is taken as a person types it.
        Value::String(text) => read(&value.to_string()).or_else(|_| read(text)),
        Value::Array(values) => {
            let items: Option<Vec<String>> = values.iter().map(plain).collect();
            read(&format!("[{}]", items?.join(", ")))
        }
        Value::Object(_) => return None,
    };
    Some(read.map(Some))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_json_become_the_toml_that_files_would_hold() {
        for (key, value, expected) in [
            ("limits.max_inflight", json!(100), "100"),
            ("limits.max_inflight", json!("100"), "100"),
            ("advertise.tls", json!(true), "true"),
            ("advertise.host", json!("hub.lan"), "\"hub.lan\""),
            ("server.name", json!("a \"b\" [c]"), "'a \"b\" [c]'"),
            ("advertise.avoid", json!(["10.0.0.0/8"]), "[\"10.0.0.0/8\"]"),
            ("advertise.verify_every", json!("5m"), "\"5m\""),
        ] {
            let read = toml(key, &value).expect("a shape").expect("a value");
            assert_eq!(read.as_deref(), Some(expected), "{key} = {value}");
        }
        assert!(matches!(toml("server.name", &Value::Null), Some(Ok(None))));
    }

    #[test]
    fn values_that_do_not_fit_are_problems() {
        for (key, value) in [
            ("limits.max_inflight", json!(0)),
            ("limits.max_inflight", json!(1.5)),
            ("limits.max_inflight", json!("many")),
            ("limits.max_inflight", json!([1])),
            ("advertise.tls", json!("perhaps")),
            ("advertise.host", json!("ws://hub.lan")),
        ] {
            assert!(matches!(toml(key, &value), Some(Err(_))), "{key} = {value}");
        }
        for value in [json!({}), json!([[1]]), json!([{}]), json!([null])] {
            assert!(toml("advertise.avoid", &value).is_none(), "{value}");
        }
    }
}
