//! Programs that may bring their tools to an agent at the access point.

use axum::http::StatusCode;
use safeport_settings::{Listener, Scheme};
use safeport_store::{By, Program};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::{Api, Desk};
use crate::limits::TOKEN_NAME_BYTES;
use crate::serve::access::unix_now;
use crate::text::{Language, Texts};
use crate::{say, token};

/// `POST /agents/{agent}/programs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewProgram {
    name: String,
}

impl Desk<'_> {
    /// Those of an agent, by name.
    pub(super) fn programs(&mut self) -> Result<Answer, Refusal> {
        let agent = self.part("agent");
        let room = self.toolroom()?;
        let programs = self.done(self.registry.programs())?;
        let shown = programs.iter().filter(|program| program.agent == agent);
        let shown = shown.map(|program| {
            json!({
                "name": program.name,
                "created": program.created,
                "last_seen": program.last_seen,
                "connections": room.connections(program),
            })
        });
        let shown: Vec<Value> = shown.collect();
        if shown.is_empty() && !room.has_agent(&agent) {
            return Err(self.unknown_agent(&agent));
        }
        Ok(Answer::ok(json!({"agent": agent, "programs": shown})))
    }

    /// Adds one, and says by which address it may come; its token is shown now and never again.
    pub(super) fn add_program(&mut self) -> Result<Answer, Refusal> {
        let agent = self.part("agent");
        let room = self.toolroom()?;
        if !room.has_agent(&agent) {
            return Err(self.unknown_agent(&agent));
        }
        let NewProgram { name } = self.body()?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=TOKEN_NAME_BYTES).contains(&name.len()) || !name.chars().all(fits) {
            let limit = TOKEN_NAME_BYTES;
            let what = say!(self.texts, "program-name-bad", limit = limit);
            return Err(Refusal::bad_request(what, self.texts));
        }
        let drawn = token::draw().map_err(|error| {
            let what = say!(self.texts, "token-no-randomness");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Refusal::new(status, "no-randomness", what, error.to_string())
        })?;
        let hash = token::hash(&drawn);
        let who = self.who.clone();
        let by = By {
            who: &who,
            at: unix_now(),
        };
        let added = self.registry.add_program(&agent, &name, hash, by);
        self.done(added)?;
        room.set_programs(self.done(self.registry.programs())?);
        let path = format!("{}?token={drawn}", super::super::access_point::TOOL_PATH);
        let told = |listener, scheme| self.api.gate.as_ref()?.usable(listener, scheme).ok();
        let plain = told(Listener::Http, Scheme::Ws).unwrap_or_default();
        let tls = told(Listener::Https, Scheme::Wss).unwrap_or_default();
        let urls = plain.iter().chain(&tls).map(|address| address.url(&path));
        let urls: Vec<String> = urls.collect();
        Ok(Answer::created(json!({
            "agent": agent, "name": name, "token": drawn, "urls": urls,
        })))
    }

    /// Removes one. Its connections end.
    pub(super) fn remove_program(&mut self) -> Result<Answer, Refusal> {
        let (agent, name) = (self.part("agent"), self.part("program"));
        let room = self.toolroom()?;
        let who = self.who.clone();
        let by = By {
            who: &who,
            at: unix_now(),
        };
        let removed = self.registry.remove_program(&agent, &name, by);
        self.done(removed)?;
        room.set_programs(self.done(self.registry.programs())?);
        Ok(Answer::ok(json!({"name": name, "done": "removed"})))
    }

    fn unknown_agent(&self, agent: &str) -> Refusal {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "unknown-agent",
            say!(self.texts, "agent-unknown", name = agent),
            say!(self.texts, "agent-unknown-next"),
        )
    }
}

impl Api {
    /// Writes down that a program came or went. Waits for the disk.
    pub(in super::super) fn note_program(&self, program: &Program) {
        let texts = Texts::new(Language::English);
        let note = |registry: &mut safeport_store::Registry| {
            let noted = registry.note_program(&program.agent, &program.name, unix_now());
            noted.map_err(|error| {
                tracing::warn!(
                    target: "safeport::voice",
                    agent = program.agent, name = program.name,
                    "when the program was seen last cannot be written down: {error}"
                );
                Refusal::of_store(&error, &texts)
            })
        };
        // It was told.
        let _ = self.with_registry(note, &texts);
    }
}
