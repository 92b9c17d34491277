//! What the doctor makes of devices, logs, lines and addresses. Answers have the form of
//! `safeport doctor --json`.

use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use axum::http::StatusCode;
use safeport_doctor::profile::Profile;
use safeport_doctor::target::Target;
use safeport_doctor::watch::Subject;
use safeport_doctor::{Cause, Diagnosis, Texts as Causes, explain, judge, read_log_bytes};
use safeport_fleet::{Found, Member, Roster};
use safeport_settings::{AdvertisedAddress, Listener, Settings};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use super::look;
use crate::doctor::{Authorities, Inquiry, LATELY, Order, Remembered, Vantage, examine};
use crate::limits::{API_DEVICES, API_LINE_BYTES};
use crate::say;
use crate::serve::access::unix_now;
use crate::shown::doctor::{diagnosis_json, explained_json};

/// `POST /doctor/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    text: String,
}

/// `POST /doctor/probe`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    target: String,
    #[serde(default, rename = "as")]
    profile: Option<String>,
    #[serde(default)]
    from: Option<String>,
}

impl Desk<'_> {
    /// What is wrong with one device, as of now.
    pub(super) fn doctor_device(&mut self) -> Result<Answer, Refusal> {
        let called = self.part("device");
        if called.len() > API_LINE_BYTES {
            return Err(self.bad_value("device", &called[..0]));
        }
        let within = match self.query("since") {
            None => LATELY,
            Some(text) => match text.parse::<u64>() {
                Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
                _ => return Err(self.bad_value("since", &text)),
            },
        };
        let member = self.with_roster(|roster| match roster.find(&called) {
            Found::One(member) => Ok(Some(member.clone())),
            Found::Several(members) => {
                Err(members.iter().map(|m| m.id.to_string()).collect::<Vec<_>>())
            }
            Found::Nobody => Ok(None),
        })?;
        let member = member.map_err(|ids| {
            Refusal::new(
                StatusCode::CONFLICT,
                "ambiguous",
                say!(self.texts, "device-ambiguous", name = called),
                say!(self.texts, "device-ambiguous-next", ids = ids.join(", ")),
            )
        })?;
        let diagnosis = self.diagnosis_of(&called, member.as_ref(), within)?;
        let is_known = member.is_some() || called.parse::<IpAddr>().is_ok();
        if !is_known && diagnosis.finding.cause == Cause::NothingArrived {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown-device",
                say!(self.texts, "name-unknown", name = called),
                say!(self.texts, "device-unknown-next"),
            ));
        }
        let mut value = diagnosis_json(&diagnosis, &json!([]));
        value["device"] = json!(member.map(|member| member.name()));
        Ok(Answer::ok(value))
    }

    /// Everything that fails right now, the last first: devices, and who is none.
    pub(super) fn doctor_devices(&mut self) -> Result<Answer, Refusal> {
        let limit = self.limit(100, API_DEVICES)? as usize;
        let now = Duration::from_secs(unix_now());
        let attempts = &self.api.attempts;
        let troubled = attempts.watched(|watch| watch.troubled(now));
        let total = troubled.len();
        let mut rows = Vec::new();
        for (subject, last) in troubled.into_iter().take(limit) {
            let (client_id, user, address) = match &subject {
                Subject::Client(id) => (Some(id.clone()), None, None),
                Subject::User(user) => (None, Some(user.clone()), None),
                Subject::Address(address) => (None, None, Some(address.to_string())),
            };
            let known = match client_id.as_ref().or(user.as_ref()) {
                Some(name) => self.with_roster(|roster| match roster.find(name) {
                    Found::One(member) => Some((member.id.to_string(), member.name())),
                    _ => None,
                })?,
                None => None,
            };
            let finding = finding(self.api, &[subject], now);
            let (id, name) = known.unzip();
            rows.push(json!({
                "id": id,
                "device": name,
                "client_id": client_id,
                "user": user,
                "address": address.map(Value::from).unwrap_or_else(|| {
                    finding["device_address"].clone()
                }),
                "last_at": last.as_secs(),
                "finding": finding["finding"],
            }));
        }
        Ok(Answer::ok(json!({"devices": rows, "known": total})))
    }

    /// What a log says.
    pub(super) fn doctor_log(&mut self) -> Result<Answer, Refusal> {
        if self.body.is_empty() {
            return Err(self.bad_value("body", ""));
        }
        let reading = read_log_bytes(&self.body);
        let diagnosis = judge(reading.evidence, causes());
        let mut value = diagnosis_json(&diagnosis, &json!([]));
        value["to_probe"] = json!(reading.to_probe);
        Ok(Answer::ok(value))
    }

    /// What a number, a word or a line means.
    pub(super) fn doctor_explain(&mut self) -> Result<Answer, Refusal> {
        let question: Question = self.body()?;
        if question.text.len() > API_LINE_BYTES {
            return Err(self.bad_value("text", ""));
        }
        let found = explain(&question.text);
        Ok(Answer::ok(
            json!({"meanings": explained_json(&found, causes())}),
        ))
    }

    /// Probes an address from this machine. A token that is not good for everything reaches only what
    /// this server itself listens on or tells devices: else it would be a way into networks that its
    /// holder cannot see.
    pub(super) fn doctor_probe(&mut self) -> Result<Answer, Refusal> {
        let wanted: Probe = self.body()?;
        let texts = self.texts;
        if wanted.target.is_empty() || wanted.target.len() > API_LINE_BYTES {
            return Err(self.bad_value("target", ""));
        }
        let profile = match &wanted.profile {
            None => None,
            Some(name) => match Profile::of(name) {
                Some(profile) => Some(profile),
                None => return Err(self.bad_value("as", name)),
            },
        };
        let vantage = match wanted.from.as_deref() {
            None | Some("lan") => Vantage::Lan,
            Some("public") => Vantage::Public,
            Some(other) => return Err(self.bad_value("from", other)),
        };
        let read = look::read(self.api, texts)?;
        let target = match self.everything {
            true => wanted.target,
            false => self.ours(&wanted.target, &read.settings)?.ok_or_else(|| {
                Refusal::new(
                    StatusCode::FORBIDDEN,
                    "not-ours",
                    say!(texts, "api-probe-not-ours"),
                    say!(texts, "api-probe-not-ours-next"),
                )
            })?,
        };
        let probes = self.api.probes.clone();
        let Ok(_place) = probes.try_acquire_owned() else {
            return Err(Refusal::busy(texts));
        };
        let root = self.api.folder.path().join("pki").join("ca.pem");
        let root = std::fs::read_to_string(root).ok();
        let authorities = Authorities::read(None, root.as_deref())
            .map_err(|said| Refusal::bad_request(said.en, texts))?;
        let order = Order {
            profile,
            vantage,
            ..Order::of(target, authorities)
        };
        // This thread may wait; the sockets are those of the server's runtime.
        let runtime = tokio::runtime::Handle::current();
        let gone = &mut self.gone;
        let examined = runtime.block_on(async {
            tokio::select! {
                examined = examine(order, |_| {}) => Some(examined),
                _ = gone => None,
            }
        });
        let Some(examined) = examined else {
            // Nobody reads this.
            return Err(Refusal::busy(texts));
        };
        let diagnosis = judge(examined.evidence, causes());
        Ok(Answer::ok(diagnosis_json(
            &diagnosis,
            &json!(examined.steps),
        )))
    }

    /// What is wrong with a device that is shown; null where nothing is.
    pub(super) fn finding_of(&mut self, member: &Member) -> Result<Value, Refusal> {
        let diagnosis = self.diagnosis_of(&member.name(), Some(member), LATELY)?;
        let shown = !matches!(
            diagnosis.finding.cause,
            // That nothing came lately is so of every device that sleeps.
            Cause::Healthy | Cause::NothingArrived
        );
        Ok(match shown {
            true => json!(diagnosis.finding),
            false => Value::Null,
        })
    }

    /// Adds to rows of a list what is wrong with each, as the server remembers it.
    pub(super) fn add_findings(&mut self, rows: &mut [Value]) {
        let now = Duration::from_secs(unix_now());
        let mut of_address: std::collections::HashMap<String, usize> =
            std::collections::HashMap::new();
        for row in rows.iter() {
            if let Some(address) = row["address"].as_str() {
                *of_address.entry(address.to_owned()).or_default() += 1;
            }
        }
        for row in rows {
            let mut subjects = Vec::new();
            if let Some(client_id) = row["client_id"].as_str() {
                subjects.push(Subject::Client(client_id.to_owned()));
            }
            if row["enrolled"] == true
                && let Some(name) = row["name"].as_str()
            {
                subjects.push(Subject::User(name.to_owned()));
            }
            // Handshakes that fail tell no name: they are of who alone came from that address.
            if let Some(text) = row["address"].as_str()
                && of_address.get(text) == Some(&1)
                && let Ok(address) = text.parse::<IpAddr>()
            {
                subjects.push(Subject::Address(address));
            }
            let attempts = &self.api.attempts;
            if attempts.watched(|watch| watch.is_troubled(&subjects, now)) {
                let finding = finding(self.api, &subjects, now)["finding"].take();
                // Who sleeps connects each time that it wakes.
                let restless = finding["cause"] == Cause::ConnectionLost.code();
                if !(restless && self.sleeps(&row["id"])) {
                    row["finding"] = finding;
                }
            }
        }
    }

    fn sleeps(&mut self, id: &Value) -> bool {
        let id = id.as_str().and_then(|id| id.parse().ok());
        let sleeps = |roster: &Roster| {
            let member = id.and_then(|id| roster.get(id));
            member.is_some_and(|member| member.facts.sleeps == Some(true))
        };
        self.with_roster(sleeps).unwrap_or(false)
    }

    fn diagnosis_of(
        &mut self,
        called: &str,
        member: Option<&Member>,
        within: Duration,
    ) -> Result<Diagnosis, Refusal> {
        let mut inquiry = Inquiry {
            called,
            member,
            // Only ports are taken of them, and those that this server has written down are the ones
            // that it uses, also after a change. Reading files anew would cost more than all the rest.
            settings: None,
            remembered: None,
            serves: true,
            within,
            now: unix_now(),
        };
        let subjects = self.done(inquiry.subjects(self.registry))?;
        let now = Duration::from_secs(inquiry.now);
        let attempts = &self.api.attempts;
        // Attempts wait while that is looked at, so the disk is not asked meanwhile.
        let remembered = attempts.watched(|watch| Remembered::of(watch, &subjects, now));
        inquiry.remembered = Some(remembered);
        let seen = inquiry.look(self.registry);
        Ok(judge(self.done(seen)?, causes()))
    }

    /// The target, if it is a host and port that this server listens on or tells devices: made anew
    /// of its parts, so that no reader of addresses finds another host in it.
    fn ours(&self, typed: &str, settings: &Settings) -> Result<Option<String>, Refusal> {
        let Ok(target) = Target::read(typed) else {
            return Ok(None);
        };
        let Some(port) = target.port.or_else(|| target.likely_port()) else {
            return Ok(None);
        };
        let host = target.host.in_url().into_owned();
        let is_it = |its: &str, its_port: u16| {
            let same_address = target.host.ip().is_some() && its.parse().ok() == target.host.ip();
            its_port == port && (same_address || its.eq_ignore_ascii_case(&host))
        };
        let rows = self.done(self.registry.addresses())?;
        let told = rows.iter().filter_map(|row| row.url.parse().ok());
        let planned = settings.plan.advertised().iter();
        let advertised = told
            .chain(planned.map(|planned| planned.address.clone()))
            .any(|one: AdvertisedAddress| is_it(&one.host().to_string(), one.port()));
        let bound = Listener::ALL.into_iter().any(|listener| {
            let (enabled, binds) = settings.binds(listener);
            let mut addresses = binds.iter().filter_map(|bind| bind.address());
            enabled && addresses.any(|bind| is_it(&bind.ip().to_string(), bind.port()))
        });
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        let is_plain = target.path.bytes().all(plain);
        if !(advertised || bound) || !is_plain {
            return Ok(None);
        }
        let scheme = match target.scheme {
            Some(scheme) => format!("{}://", scheme.name()),
            None => String::new(),
        };
        Ok(Some(format!("{scheme}{host}:{port}{}", target.path)))
    }

    fn bad_value(&self, name: &str, value: &str) -> Refusal {
        let what = say!(self.texts, "api-value-bad", name = name, value = value);
        Refusal::bad_request(what, self.texts)
    }
}

/// The finding of who is watched as `subjects`, and from where it came.
fn finding(api: &super::desk::Api, subjects: &[Subject], now: Duration) -> Value {
    let evidence = api.attempts.watched(|watch| watch.evidence(subjects, now));
    let address = evidence.facts.get("device_address").map(str::to_owned);
    let finding = judge(evidence, causes()).finding;
    json!({"finding": finding, "device_address": address})
}

/// The doctor's texts: made once, they are kept.
fn causes() -> &'static Causes {
    static CAUSES: OnceLock<Causes> = OnceLock::new();
    CAUSES.get_or_init(Causes::new)
}
