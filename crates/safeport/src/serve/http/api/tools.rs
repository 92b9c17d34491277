//! Tools of devices for people: listed, called, and words that a device is to say.

use std::future::Future;

use axum::http::StatusCode;
use safeport_xiaozhi::{Caller, Content};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::limits::{NOTICE_FETCH, NOTICE_LENGTH, SAID_BYTES};
use crate::say;
use crate::serve::voice::tools::{DeviceBox, NoAnswer, Said, Toolroom, WhyShown};

/// `POST /devices/{device}/say`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    text: String,
}

/// Tools that put other firmware or files onto the device, for which there are offers with their own rights.
const INSTALLING: [&str; 2] = ["self.upgrade_firmware", "self.assets.set_download_url"];

impl Desk<'_> {
    /// What a device can be asked to do.
    pub(super) fn device_tools(&mut self) -> Result<Answer, Refusal> {
        let device = self.reached()?;
        let tools = self.wait(async move { device.tools_for_people().await })?;
        let tools = tools.map_err(|error| self.no_answer(&error))?;
        let rows: Vec<Value> = tools
            .iter()
            .map(|tool| {
                let schema: Value = serde_json::from_str(&tool.schema).unwrap_or_default();
                json!({
                    "name": tool.name, "description": tool.description, "schema": schema,
                    "for_people_only": tool.user_only,
                })
            })
            .collect();
        Ok(Answer::ok(json!({"tools": rows})))
    }

    /// Has it do something.
    pub(super) fn call_device_tool(&mut self) -> Result<Answer, Refusal> {
        let tool = self.part("tool");
        if INSTALLING.contains(&&*tool) && !self.everything {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "installs",
                say!(self.texts, "tool-installs", tool = tool),
                say!(self.texts, "tool-installs-next"),
            ));
        }
        let arguments = match self.body.is_empty() {
            true => Value::Object(serde_json::Map::new()),
            false => self.body()?,
        };
        let device = self.reached()?;
        let called = tool.clone();
        let answer = self.wait(async move {
            // They are not asked for before somebody wants them, and a name is looked up in them.
            device.tools_for_people().await?;
            let arguments = arguments.to_string();
            device.call_tool(Caller::User, &called, &arguments).await
        })?;
        let result = answer.map_err(|error| self.no_answer(&error))?;
        let content: Vec<Value> = result
            .content
            .iter()
            .map(|part| match part {
                Content::Text(text) => json!({"type": "text", "text": text}),
                Content::Image { mime, base64 } => {
                    json!({"type": "image", "mimeType": mime, "data": base64})
                }
                Content::Other { kind } => json!({"type": kind}),
            })
            .collect();
        Ok(Answer::ok(json!({
            "tool": tool, "content": content, "is_error": result.is_error, "cut": result.cut,
        })))
    }

    /// Has it say something.
    pub(super) fn device_says(&mut self) -> Result<Answer, Refusal> {
        let words: Words = self.body()?;
        let text = words.text.trim().to_owned();
        if text.is_empty() || text.len() > SAID_BYTES {
            let what = say!(self.texts, "say-length", most = SAID_BYTES);
            return Err(Refusal::bad_request(what, self.texts));
        }
        let device = self.reached()?;
        let name = device.device().to_owned();
        let said = self.wait(async move { device.say(&text).await })?;
        let said = said.map_err(|error| {
            Refusal::new(
                StatusCode::BAD_GATEWAY,
                "not-said",
                say!(self.texts, "say-failed", name = name),
                error.to_string(),
            )
        })?;
        Ok(Answer::ok(match said {
            Said::Spoken => json!({"name": name, "done": "spoken"}),
            Said::Shown(why) => {
                json!({"name": name, "done": "shown", "why": self.why_shown(&why)})
            }
        }))
    }

    fn why_shown(&self, why: &WhyShown) -> String {
        let texts = self.texts;
        match why {
            WhyShown::NoVoice => say!(texts, "shown-no-voice"),
            WhyShown::Firmware(Some(version)) => {
                say!(texts, "shown-firmware", version = version)
            }
            WhyShown::Firmware(None) => say!(texts, "shown-firmware-unknown"),
            WhyShown::NoAddress => say!(texts, "shown-no-address"),
            WhyShown::TooMany => say!(texts, "shown-too-many"),
            WhyShown::TooLong => {
                say!(texts, "shown-too-long", seconds = NOTICE_LENGTH.as_secs())
            }
            WhyShown::NoSound(why) => say!(texts, "shown-no-sound", why = why),
            WhyShown::NotFetched => {
                say!(texts, "shown-not-fetched", seconds = NOTICE_FETCH.as_secs())
            }
        }
    }

    pub(super) fn toolroom(&self) -> Result<std::sync::Arc<Toolroom>, Refusal> {
        let room = self.api.toolroom.clone();
        room.ok_or_else(|| Refusal::not_served(self.texts))
    }

    /// The way to the device of the address.
    fn reached(&mut self) -> Result<DeviceBox, Refusal> {
        let name = self.named_device()?.name().to_string();
        let room = self.toolroom()?;
        // A task is begun for a device that does not talk.
        let _runtime = Handle::current().enter();
        room.reach().find(&name).map_err(|_| {
            Refusal::new(
                StatusCode::CONFLICT,
                "not-there",
                say!(self.texts, "device-not-there", name = name),
                say!(self.texts, "device-not-there-next", name = name),
            )
        })
    }

    /// Waits for an answer, unless nobody waits for it any more.
    fn wait<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Refusal> {
        let texts = self.texts;
        let gone = &mut self.gone;
        Handle::current().block_on(async move {
            tokio::select! {
                done = work => Ok(done),
                // The sender is dropped with the request, and never sends.
                _ = gone => Err(Refusal::busy(texts)),
            }
        })
    }

    fn no_answer(&self, error: &NoAnswer) -> Refusal {
        let status = match error {
            NoAnswer::Late => StatusCode::GATEWAY_TIMEOUT,
            NoAnswer::Busy => StatusCode::SERVICE_UNAVAILABLE,
            NoAnswer::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_GATEWAY,
        };
        let what = say!(self.texts, "tool-failed");
        Refusal::new(status, "tool-failed", what, error.to_string())
    }
}
