//! Devices come in, get new credentials, and are activated.

use axum::http::StatusCode;
use safeport_store::{By, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::console::{Exit, Failure};
use crate::enrol::{self, EnrolError, Enrolled, Ground, Mistake, Wanted, Way};
use crate::say;
use crate::serve::access::unix_now;
use crate::serve::xiaozhi::{ActivateError, activate};

/// `POST /devices`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    family: String,
    name: String,
    topic: Option<String>,
    mac: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    subscribe: Vec<String>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    tls: bool,
}

/// `POST /enrolments`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDevices {
    devices: Vec<Wanted>,
    host: Option<String>,
    port: Option<u16>,
    #[serde(default)]
    tls: bool,
}

/// `POST /activations`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Activation {
    code: String,
    name: Option<String>,
}

/// `POST /devices/{device}/password`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewPassword {
    host: Option<String>,
    port: Option<u16>,
    tls: bool,
}

impl Desk<'_> {
    /// Adds one.
    pub(super) fn add_device(&mut self) -> Result<Answer, Refusal> {
        let new: NewDevice = self.body()?;
        let wanted = Wanted {
            family: new.family,
            name: new.name,
            topic: new.topic,
            mac: new.mac,
            tags: new.tags,
            publish: new.publish,
            subscribe: new.subscribe,
            line: None,
        };
        let way = Way {
            host: new.host,
            port: new.port,
            tls: new.tls,
        };
        let enrolled = self.enrolling(|ground| enrol::add(ground, &wanted, &way))?;
        self.know(&[&wanted.name])?;
        Ok(Answer::created(enrolled.json()))
    }

    /// Adds many, all or none.
    pub(super) fn add_devices(&mut self) -> Result<Answer, Refusal> {
        let new: NewDevices = self.body()?;
        let way = Way {
            host: new.host,
            port: new.port,
            tls: new.tls,
        };
        let enrolled = self.enrolling(|ground| enrol::add_all(ground, &new.devices, &way))?;
        let names: Vec<&str> = new.devices.iter().map(|one| one.name.as_str()).collect();
        self.know(&names)?;
        let devices: Vec<Value> = enrolled.iter().map(Enrolled::json).collect();
        Ok(Answer::created(json!({"devices": devices})))
    }

    /// New credentials for one.
    pub(super) fn renew_device(&mut self) -> Result<Answer, Refusal> {
        let wanted: NewPassword = match self.body.is_empty() {
            true => NewPassword::default(),
            false => self.body()?,
        };
        let name = self.part("device");
        let way = Way {
            host: wanted.host,
            port: wanted.port,
            tls: wanted.tls,
        };
        let enrolled = self.enrolling(|ground| enrol::renew(ground, &name, &way))?;
        if let Some(upgrades) = &self.api.upgrades {
            upgrades.device_renewed(&name);
        }
        Ok(Answer::ok(enrolled.json()))
    }

    /// Takes in the xiaozhi device that shows a code.
    pub(super) fn activate(&mut self) -> Result<Answer, Refusal> {
        let wanted: Activation = self.body()?;
        let who = self.who.clone();
        let by = By {
            who: &who,
            at: unix_now(),
        };
        let name = wanted.name.as_deref().filter(|name| !name.is_empty());
        let activated = activate(self.registry, &wanted.code, name, by);
        let activated = activated.map_err(|error| {
            let (status, code) = match &error {
                ActivateError::Store(error) => return Refusal::of_store(error, self.texts),
                ActivateError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown-code"),
                ActivateError::Known { .. } => (StatusCode::CONFLICT, "taken"),
                ActivateError::NoCode | ActivateError::Name(_) => {
                    (StatusCode::UNPROCESSABLE_ENTITY, "unfit")
                }
                _ => (StatusCode::INTERNAL_SERVER_ERROR, "not-done"),
            };
            let next = say!(self.texts, "api-activate-next");
            Refusal::new(status, code, error.to_string(), next)
        })?;
        self.know(&[&activated.name])?;
        Ok(Answer::created(json!({
            "name": activated.name,
            "mac": activated.mac.to_string(),
            "board": activated.board,
            "version": activated.version,
        })))
    }

    fn enrolling<T>(
        &mut self,
        work: impl FnOnce(&mut Ground<'_>) -> Result<T, EnrolError>,
    ) -> Result<T, Refusal> {
        let read = self.read()?;
        let texts = self.texts;
        let mut ground = Ground {
            registry: self.registry,
            folder: &self.api.folder,
            settings: &read.settings,
            managed: &read.managed,
            read: Some(&read),
            serves: true,
            who: &self.who,
            now: unix_now(),
            texts,
        };
        work(&mut ground).map_err(|error| match error {
            EnrolError::Store(error) => Refusal::of_store(&error, texts),
            EnrolError::Unfit(failure) => Refusal::of_failure(&failure, texts),
            EnrolError::Mistakes(mistakes) => Refusal::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "problems",
                say!(texts, "enrol-mistakes", count = mistakes.len()),
                say!(texts, "enrol-mistakes-next"),
            )
            .with("problems", mistakes.iter().map(Mistake::json).collect()),
        })
    }
}

impl Refusal {
    /// A failure of what the command line does, too.
    fn of_failure(failure: &Failure, texts: &crate::text::Texts) -> Refusal {
        let (status, code) = match failure.exit {
            Exit::Usage => (StatusCode::UNPROCESSABLE_ENTITY, "unfit"),
            _ => (StatusCode::CONFLICT, "not-done"),
        };
        let next = match &failure.next {
            Some(next) => next.clone(),
            None => say!(texts, "api-problems-next"),
        };
        Refusal::new(status, code, failure.headline.clone(), next)
            .with("detail", json!(failure.detail))
    }

    /// What the registry says about names, told as such.
    pub(super) fn of_names(error: &StoreError, texts: &crate::text::Texts) -> Option<Refusal> {
        let refusal = match error {
            StoreError::NotFound { name, .. } => Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown-name",
                say!(texts, "name-unknown", name = name),
                say!(texts, "device-unknown-next"),
            ),
            StoreError::NameTaken { name, .. } => Refusal::new(
                StatusCode::CONFLICT,
                "taken",
                say!(texts, "name-taken", name = name),
                say!(texts, "api-taken-next"),
            ),
            StoreError::IdentityTaken { .. } => Refusal::new(
                StatusCode::CONFLICT,
                "taken",
                error.to_string(),
                say!(texts, "api-taken-next"),
            ),
            StoreError::BadTag { .. } | StoreError::TooMany { .. } | StoreError::TooLong { .. } => {
                Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "unfit",
                    error.to_string(),
                    say!(texts, "api-problems-next"),
                )
            }
            StoreError::InUse { .. } => Refusal::new(
                StatusCode::CONFLICT,
                "in-use",
                error.to_string(),
                say!(texts, "api-in-use-next"),
            ),
            _ => return None,
        };
        Some(refusal.with("detail", json!(error.to_string())))
    }
}
