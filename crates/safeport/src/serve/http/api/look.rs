//! What is asked for and changes nothing.

use std::collections::HashMap;

use axum::http::StatusCode;
use safeport_store::{Live, RunningServer, StoreError};
use serde_json::json;

use super::answer::{Answer, Refusal};
use super::desk::{Api, Desk};
use crate::limits::API_REVISIONS;
use crate::reading::Read;
use crate::say;
use crate::shown::ports;
use crate::shown::revisions;
use crate::shown::settings::{entry_json, explained_json};
use crate::text::Texts;

impl Desk<'_> {
    /// Every value. `revision` is what a change may name as its base.
    pub(super) fn settings(&mut self) -> Result<Answer, Refusal> {
        let read = self.read()?;
        let live = self.live()?;
        let revision = self.done(self.registry.newest_revision())?;
        let values: Vec<_> = read
            .settings
            .values()
            .map(|entry| entry_json(&entry, running(live.as_ref(), &entry.key)))
            .collect();
        Ok(Answer::ok(json!({
            "revision": revision,
            "degraded": read.degraded,
            "settings": values,
        })))
    }

    /// Everything about one key, as one device is told it if one is named.
    pub(super) fn explain(&mut self, key: &str, device: Option<&str>) -> Result<Answer, Refusal> {
        let read = self.read()?;
        let told;
        let settings = match device {
            None => &read.settings,
            Some(device) => {
                let known = self.done(self.registry.device(device))?;
                let Some(record) = known else {
                    return Err(Refusal::new(
                        StatusCode::NOT_FOUND,
                        "unknown-device",
                        say!(self.texts, "name-unknown", name = device),
                        say!(self.texts, "device-unknown-next"),
                    ));
                };
                told = read
                    .told_to(device, &record.tags)
                    .map_err(|error| Refusal::of_read(&error, self.texts))?;
                &told
            }
        };
        let Some(explained) = settings.explain(key) else {
            return Err(self.unknown_key(key));
        };
        let live = self.live()?;
        let running = running(live.as_ref(), key);
        Ok(Answer::ok(explained_json(
            &explained,
            running,
            self.texts.language(),
        )))
    }

    fn unknown_key(&self, key: &str) -> Refusal {
        let next = match safeport_settings::nearest_key(key) {
            Some(near) => say!(self.texts, "key-nearest", key = near),
            None => say!(self.texts, "api-keys-next"),
        };
        Refusal::new(
            StatusCode::NOT_FOUND,
            "unknown-key",
            say!(self.texts, "key-unknown", key = key),
            next,
        )
    }

    /// The newest revisions, newest first.
    pub(super) fn revisions(&mut self, limit: Option<&str>) -> Result<Answer, Refusal> {
        let limit = match limit.map(str::parse) {
            None => 20,
            Some(Ok(limit)) if (1..=API_REVISIONS).contains(&limit) => limit,
            Some(_) => {
                let what = say!(self.texts, "api-limit-bad", most = API_REVISIONS);
                return Err(Refusal::bad_request(what, self.texts));
            }
        };
        let history = self.done(self.registry.history(limit))?;
        let values: Vec<_> = history.iter().map(revisions::json).collect();
        Ok(Answer::ok(json!({"revisions": values})))
    }

    /// One revision.
    pub(super) fn revision(&mut self, id: &str) -> Result<Answer, Refusal> {
        let id = self.revision_number(id)?;
        match self.done(self.registry.revision(id))? {
            Some(revision) => Ok(Answer::ok(revisions::json(&revision))),
            None => self.done(Err(StoreError::NoRevision { id })),
        }
    }

    /// The number of a revision out of a path.
    pub(super) fn revision_number(&self, id: &str) -> Result<u64, Refusal> {
        id.parse()
            .map_err(|_| Refusal::bad_request(say!(self.texts, "api-id-bad"), self.texts))
    }

    /// Every listener and every advertised address.
    pub(super) fn ports(&mut self) -> Result<Answer, Refusal> {
        let read = self.read()?;
        let server = Some(RunningServer {
            pid: Some(std::process::id()),
        });
        let rows = ports::listening(&read.settings, server, Some(self.registry));
        let addresses = self.done(self.registry.addresses())?;
        Ok(Answer::ok(ports::json(
            &read.settings,
            server,
            &rows,
            &addresses,
            self.texts,
        )))
    }

    /// The settings as they are now; those of the last good files where the files have mistakes.
    pub(super) fn read(&self) -> Result<Read, Refusal> {
        read(self.api, self.texts)
    }

    /// What the server uses.
    fn live(&self) -> Result<Option<Live>, Refusal> {
        self.done(self.registry.live())
    }

    pub(super) fn done<T>(&self, done: Result<T, StoreError>) -> Result<T, Refusal> {
        done.map_err(|error| Refusal::of_store(&error, self.texts))
    }
}

/// The settings as they are now; those of the last good files where the files have mistakes.
pub(super) fn read(api: &Api, texts: &Texts) -> Result<Read, Refusal> {
    let asked = &api.asked;
    Read::new(asked).or_else(|error| {
        let why = error.failure(texts, false).one_text();
        Read::last_good(asked, why).ok_or_else(|| Refusal::of_read(&error, texts))
    })
}

fn running<'a>(live: Option<&'a Live>, key: &str) -> Option<&'a str> {
    live?
        .values
        .iter()
        .find(|value| value.key == key)
        .map(|value| value.value.as_str())
}

/// What stands behind the question mark of an address, of which only `known` names mean anything.
pub(super) fn query(
    text: Option<&str>,
    known: &[&str],
    texts: &Texts,
) -> Result<HashMap<String, String>, Refusal> {
    let uri = format!("/?{}", text.unwrap_or_default());
    let read = uri
        .parse()
        .ok()
        .and_then(|uri| axum::extract::Query::<HashMap<String, String>>::try_from_uri(&uri).ok());
    match read {
        Some(axum::extract::Query(found))
            if found.keys().all(|name| known.contains(&name.as_str())) =>
        {
            Ok(found)
        }
        _ => {
            let what = say!(texts, "api-query-bad", known = known.join(", "));
            Err(Refusal::bad_request(what, texts))
        }
    }
}
