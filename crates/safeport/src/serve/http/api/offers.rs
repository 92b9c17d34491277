//! Offers: one image or release for one device, or for all that meet a question.

use std::time::Duration;

use axum::http::StatusCode;
use safeport_fleet::MemberId;
use safeport_fleet::release::Safeboot;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::limits::{API_DEVICES, OFFERED_AT_ONCE};
use crate::say;
use crate::serve::upgrades::{
    CancelError, OfferId, OfferView, Offered, OffersOf, Upgrades, Wanted, What,
};
use crate::shown::offers;
use crate::shown::wording::Wording;

/// `POST /offers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedOffer {
    image: Option<String>,
    release: Option<String>,
    device: Option<String>,
    #[serde(default)]
    devices: Vec<String>,
    tag: Option<String>,
    #[serde(rename = "where")]
    question: Option<String>,
    #[serde(default)]
    reinstall: bool,
    safeboot: Option<Safeboot>,
    /// Seconds.
    soak: Option<u64>,
    /// Only look what would come of it.
    #[serde(default)]
    preview: bool,
}

impl Desk<'_> {
    /// Offers, or looks what would come of it.
    pub(super) fn offer(&mut self) -> Result<Answer, Refusal> {
        let texts = self.texts;
        let language = texts.language();
        let wanted: WantedOffer = self.body()?;
        let upgrades = self.upgrades()?;
        let what = match (&wanted.image, &wanted.release) {
            (Some(image), None) => What::Image(self.named_image(image)?.hash),
            (None, Some(release)) => {
                if self.done(self.registry.release(release))?.is_none() {
                    return Err(self.unknown_release(release));
                }
                What::Release(release.clone())
            }
            _ => {
                let what = say!(texts, "offer-image-or-release");
                return Err(Refusal::bad_request(what, texts));
            }
        };
        let members = self.whom(&wanted)?;
        if members.len() > OFFERED_AT_ONCE && !wanted.preview {
            let count = members.len();
            let what = say!(
                texts,
                "offer-too-many",
                count = count,
                most = OFFERED_AT_ONCE
            );
            return Err(Refusal::bad_request(what, texts));
        }
        let preview = wanted.preview;
        let asked = Wanted {
            members,
            what,
            reinstall: wanted.reinstall,
            safeboot: wanted.safeboot,
            soak: wanted.soak.map(Duration::from_secs),
            dry_run: preview,
        };
        let came = upgrades.offer(&asked, &self.who);
        let mut fine = 0;
        let names = self.names_of(came.iter().map(|(member, _)| *member))?;
        let rows: Vec<Value> = came
            .into_iter()
            .zip(names)
            .map(|((member, came), name)| {
                let mut row = json!({
                    "device": member.to_string(), "name": name,
                    "offer": null, "would": null, "refused": null,
                });
                match came {
                    Ok(Offered::Made(view)) => {
                        fine += 1;
                        row["offer"] = offers::json(&view, language);
                    }
                    Ok(Offered::Would { steps, warnings }) => {
                        fine += 1;
                        row["would"] = json!({"steps": steps, "warnings": warnings});
                    }
                    Err(error) => {
                        row["refused"] =
                            json!({"code": error.code(), "why": error.words(language)});
                    }
                }
                row
            })
            .collect();
        let refused = rows.len() - fine;
        let answer = json!({"preview": preview, "fine": fine, "refused": refused, "devices": rows});
        if fine == 0 {
            // Nobody was offered anything: that is no success, and each says why.
            let (what, next) = match rows.is_empty() {
                true => (
                    say!(texts, "offer-nobody"),
                    say!(texts, "device-unknown-next"),
                ),
                false => (
                    say!(texts, "offer-refused"),
                    say!(texts, "offer-refused-next"),
                ),
            };
            let detail: Vec<String> = answer["devices"]
                .as_array()
                .into_iter()
                .flatten()
                .take(20)
                .map(|row| {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    format!("{}: {}", text(&row["name"]), text(&row["refused"]["why"]))
                })
                .collect();
            return Err(
                Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "not-offered", what, next)
                    .with("detail", json!(detail.join("\n")))
                    .with("devices", answer["devices"].clone()),
            );
        }
        Ok(match preview {
            true => Answer::ok(answer),
            false => Answer::created(answer),
        })
    }

    pub(super) fn offers(&mut self) -> Result<Answer, Refusal> {
        let member = match self.query("device") {
            None => None,
            Some(called) => Some(self.device_called(&called)?.id),
        };
        let open = match self.query("open").as_deref() {
            None => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(other) => {
                let what = say!(self.texts, "api-value-bad", name = "open", value = other);
                return Err(Refusal::bad_request(what, self.texts));
            }
        };
        let before = match self.query("before") {
            None => None,
            Some(text) => Some(self.offer_id(&text)?),
        };
        let of = OffersOf {
            member,
            open,
            before,
            limit: self.limit(100, API_DEVICES)?,
        };
        let language = self.texts.language();
        let found = self.upgrades()?.list(&of);
        let values: Vec<Value> = self
            .done(found)?
            .iter()
            .map(|view| offers::json(view, language))
            .collect();
        Ok(Answer::ok(json!({"offers": values})))
    }

    pub(super) fn one_offer(&mut self) -> Result<Answer, Refusal> {
        let id = self.offer_id(&self.part("offer"))?;
        let language = self.texts.language();
        let found = self.upgrades()?.get(id);
        match self.done(found)? {
            Some(view) => Ok(Answer::ok(offers::json(&view, language))),
            None => Err(self.no_offer(CancelError::Unknown(id))),
        }
    }

    pub(super) fn cancel_offer(&mut self) -> Result<Answer, Refusal> {
        let id = self.offer_id(&self.part("offer"))?;
        let language = self.texts.language();
        let cancelled: Result<OfferView, CancelError> = self.upgrades()?.cancel(id, &self.who);
        match cancelled {
            Ok(view) => Ok(Answer::ok(offers::json(&view, language))),
            Err(error) => Err(self.no_offer(error)),
        }
    }

    fn no_offer(&self, error: CancelError) -> Refusal {
        let (status, code) = match &error {
            CancelError::Unknown(_) => (StatusCode::NOT_FOUND, "unknown-offer"),
            CancelError::Ended(..) => (StatusCode::CONFLICT, "offer-over"),
            CancelError::Store(error) => return Refusal::of_store(error, self.texts),
        };
        let next = say!(self.texts, "offer-unknown-next");
        Refusal::new(status, code, error.to_string(), next)
    }

    fn offer_id(&self, text: &str) -> Result<OfferId, Refusal> {
        text.parse()
            .map_err(|error| Refusal::bad_request(format!("{text:?}: {error}"), self.texts))
    }

    fn upgrades(&self) -> Result<std::sync::Arc<Upgrades>, Refusal> {
        let upgrades = self.api.upgrades.clone();
        upgrades.ok_or_else(|| Refusal::not_served(self.texts))
    }

    /// Whom an offer is for, each once.
    fn whom(&mut self, wanted: &WantedOffer) -> Result<Vec<MemberId>, Refusal> {
        let mut members = Vec::new();
        for called in wanted.device.iter().chain(&wanted.devices) {
            members.push(self.device_called(called)?.id);
        }
        if let Some(tag) = wanted.tag.as_ref().filter(|tag| tag.contains(['"', '\\'])) {
            // In the question that is made of it, it would end its quotes.
            let what = say!(self.texts, "api-value-bad", name = "tag", value = tag);
            return Err(Refusal::bad_request(what, self.texts));
        }
        let tagged = wanted.tag.as_ref().map(|tag| format!("tag==\"{tag}\""));
        for question in tagged.iter().chain(&wanted.question) {
            members.extend(self.devices_where(question)?);
        }
        let named = wanted.device.is_some() || !wanted.devices.is_empty();
        if !named && tagged.is_none() && wanted.question.is_none() {
            let what = say!(self.texts, "offer-for-whom");
            return Err(Refusal::bad_request(what, self.texts));
        }
        members.sort_unstable();
        members.dedup();
        Ok(members)
    }

    fn names_of(
        &mut self,
        members: impl Iterator<Item = MemberId>,
    ) -> Result<Vec<String>, Refusal> {
        let members: Vec<MemberId> = members.collect();
        self.with_roster(|roster| {
            let name = |id: &MemberId| {
                let member = roster.get(*id);
                member.map_or_else(|| id.to_string(), |member| member.name().into())
            };
            members.iter().map(name).collect()
        })
    }
}
