//! Attempts to connect, one by one as the server remembers them, and counted as they are written
//! down.

use std::net::IpAddr;

use axum::http::StatusCode;
use safeport_store::AttemptQuery;
use serde_json::json;

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::limits::API_ATTEMPTS;
use crate::say;
use crate::serve::attempts::Seen;
use crate::shown::attempts::{of_device, row_json, seen_json};
use crate::shown::causes::of_code;

/// Which attempts are asked for.
struct Asked {
    address: Option<String>,
    /// Login name and client identifier of a device.
    device: Option<(String, String)>,
    cause: Option<String>,
    failed: bool,
    since: u64,
    limit: u32,
}

impl Desk<'_> {
    /// The newest ones, newest first.
    pub(super) fn attempts(&mut self) -> Result<Answer, Refusal> {
        let asked = self.asked_attempts()?;
        let recent = self.api.attempts.recent();
        let values: Vec<_> = recent
            .iter()
            .filter(|seen| asked.means(seen))
            .take(asked.limit as usize)
            .map(|seen| seen_json(seen, self.texts))
            .collect();
        Ok(Answer::ok(json!({
            "attempts": values,
            "dropped": self.api.attempts.dropped(),
        })))
    }

    /// Like ones together, those of earlier runs too.
    pub(super) fn counted_attempts(&mut self) -> Result<Answer, Refusal> {
        let asked = self.asked_attempts()?;
        let all = AttemptQuery {
            address: asked.address.as_deref(),
            who: None,
            failed: asked.failed,
            since: asked.since,
            // Of one cause there may be few among many.
            limit: 0,
        };
        let found = match &asked.device {
            None => self.registry.attempts(&all),
            Some((user, client_id)) => of_device(self.registry, (user, client_id), &all),
        };
        let values: Vec<_> = self
            .done(found)?
            .iter()
            .filter(|row| {
                asked
                    .cause
                    .as_ref()
                    .is_none_or(|cause| *cause == row.key.cause)
            })
            .take(asked.limit as usize)
            .map(|row| row_json(row, self.texts))
            .collect();
        Ok(Answer::ok(json!({"attempts": values})))
    }

    fn asked_attempts(&self) -> Result<Asked, Refusal> {
        let given = |name: &str| self.given.query.get(name).map(String::as_str);
        let bad = |name: &str, value: &str| {
            let what = say!(self.texts, "api-value-bad", name = name, value = value);
            Refusal::bad_request(what, self.texts)
        };
        let address = given("address")
            .map(|text| text.parse::<IpAddr>().map_err(|_| bad("address", text)))
            .transpose()?
            .map(|address| address.to_canonical().to_string());
        let cause = given("cause")
            .map(|code| of_code(code).ok_or_else(|| bad("cause", code)))
            .transpose()?
            .map(|cause| cause.code().to_owned());
        let failed = match given("failed") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(bad("failed", other)),
        };
        let since = given("since")
            .map(|text| text.parse().map_err(|_| bad("since", text)))
            .transpose()?
            .unwrap_or(0);
        let limit = match given("limit").map(str::parse) {
            None => 100,
            Some(Ok(limit)) if (1..=API_ATTEMPTS).contains(&limit) => limit,
            Some(_) => {
                let what = say!(self.texts, "api-limit-bad", most = API_ATTEMPTS);
                return Err(Refusal::bad_request(what, self.texts));
            }
        };
        Ok(Asked {
            address,
            device: given("device")
                .map(|name| self.login_of(name))
                .transpose()?,
            cause,
            failed,
            since,
            limit,
        })
    }

    fn login_of(&self, device: &str) -> Result<(String, String), Refusal> {
        match self.done(self.registry.device(device))? {
            Some(record) => Ok((record.username, record.client_id)),
            None => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown-device",
                say!(self.texts, "name-unknown", name = device),
                say!(self.texts, "device-unknown-next"),
            )),
        }
    }
}

impl Asked {
    fn means(&self, seen: &Seen) -> bool {
        let of_device = |(user, client_id): &(String, String)| {
            seen.user.as_ref() == Some(user) || seen.client_id.as_ref() == Some(client_id)
        };
        self.address
            .as_ref()
            .is_none_or(|address| *address == seen.address().to_string())
            && self.device.as_ref().is_none_or(of_device)
            && self
                .cause
                .as_ref()
                .is_none_or(|cause| cause == seen.cause.code())
            && (!self.failed || seen.cause.is_failure())
            && seen.at.as_secs() >= self.since
    }
}
