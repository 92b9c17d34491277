//! Images come in as they are sent, are looked into on the way, and are kept once they are whole;
//! releases are images under one name.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use safeport_fleet::image::{Image, ImageError, Inspector, Limits};
use safeport_store::{BlobHash, BlobWriter, By, ImageRow, NewRelease, ReleaseImage, StoreError};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Call;
use super::answer::{Answer, Refusal};
use super::desk::Desk;
use super::endpoint::Given;
use crate::limits::{
    API_DEVICES, API_TURN_PATIENCE, FILE_NAME_BYTES, RELEASE_NAME_BYTES, STREAM_AHEAD,
    UPLOAD_PATIENCE, UPLOAD_SILENCE,
};
use crate::say;
use crate::serve::access::unix_now;
use crate::serve::upgrades::OfferId;
use crate::shown::images;
use crate::shown::wording::Wording;
use crate::text::Texts;

/// `POST /releases`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedRelease {
    name: String,
    #[serde(default)]
    notes: String,
    images: Vec<String>,
}

/// A file that is being taken.
struct Taking {
    inspector: Inspector,
    writer: BlobWriter,
}

impl Call<'_> {
    /// Takes a file: nothing of it is kept before all of it is there and found whole.
    pub(super) async fn upload(
        &self,
        given: Given,
        headers: &HeaderMap,
        body: Body,
        who: String,
    ) -> Result<Answer, Refusal> {
        let language = self.language;
        let texts = || Texts::new(language);
        let name = given.query.get("name").cloned().unwrap_or_default();
        check_file_name(&name, &texts())?;
        let version = given.query.get("version").cloned();
        let places = self.site.api.uploads.clone();
        let place = tokio::time::timeout(API_TURN_PATIENCE, places.acquire_owned()).await;
        let Ok(Ok(place)) = place else {
            return Err(Refusal::busy(&texts()));
        };
        let length: Option<u64> = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let site = self.site.clone();
        let file_name = name.clone();
        let begun = tokio::task::spawn_blocking(move || {
            let texts = Texts::new(language);
            begin(&site.api, &file_name, length, &texts)
        });
        let mut taking = begun.await.map_err(|_| Refusal::broken(language))??;
        let (pieces, mut taken) = mpsc::channel::<Bytes>(STREAM_AHEAD);
        let site = self.site.clone();
        let worked = tokio::task::spawn_blocking(move || {
            let _place = place;
            let texts = Texts::new(language);
            let mut verdict = Ok(());
            let mut ended = false;
            while let Some(piece) = taken.blocking_recv() {
                // An empty one is the sign that all is there; without it the sender went away.
                if piece.is_empty() {
                    ended = true;
                    break;
                }
                verdict = taking.take(&piece, &texts);
                if verdict.is_err() {
                    break;
                }
            }
            verdict?;
            if !ended {
                return Err(Refusal::slow_body(language));
            }
            keep(&site.api, taking, (&name, version), &who, &texts)
        });
        let broken = tokio::time::timeout(UPLOAD_PATIENCE, carry(body, pieces)).await;
        let kept = worked.await.map_err(|_| Refusal::broken(language))?;
        match broken {
            Ok(Err(error)) => {
                let what = say!(texts(), "api-broken-body", error = error);
                Err(Refusal::bad_request(what, &texts()))
            }
            _ => kept,
        }
    }
}

/// Hands the body on piece by piece; stops where nobody takes them.
async fn carry(mut body: Body, pieces: mpsc::Sender<Bytes>) -> Result<(), String> {
    loop {
        let next =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context));
        let frame = match tokio::time::timeout(UPLOAD_SILENCE, next).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(error.to_string()),
            Ok(None) => {
                let _ = pieces.send(Bytes::new()).await;
                return Ok(());
            }
            // Whoever takes them sees that the last one never came.
            Err(_) => return Ok(()),
        };
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if !piece.is_empty() && pieces.send(piece).await.is_err() {
            // Refused: read a little of the rest, so that the sender gets to read why.
            let _ = tokio::time::timeout(Duration::from_secs(2), drain(&mut body)).await;
            return Ok(());
        }
    }
}

/// Reads what still comes, and forgets it.
async fn drain(body: &mut Body) {
    loop {
        let next =
            std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context));
        if !matches!(next.await, Some(Ok(_))) {
            return;
        }
    }
}

fn begin(
    api: &super::Api,
    name: &str,
    length: Option<u64>,
    texts: &Texts,
) -> Result<Taking, Refusal> {
    let read = super::look::read(api, texts)?;
    let max_size = read.settings.firmware.max_image.0;
    match length {
        Some(0) => return Err(of_image(&ImageError::Empty, texts)),
        Some(size) if size > max_size => {
            return Err(of_image(&ImageError::TooLarge { limit: max_size }, texts));
        }
        _ => {}
    }
    let failed = |error: StoreError| Refusal::of_store(&error, texts);
    let limits = Limits {
        max_size,
        ..Limits::default()
    };
    Ok(Taking {
        inspector: Inspector::new(name, limits),
        writer: api.blobs(texts)?.begin(max_size).map_err(failed)?,
    })
}

impl Taking {
    fn take(&mut self, piece: &[u8], texts: &Texts) -> Result<(), Refusal> {
        self.inspector
            .feed(piece)
            .map_err(|error| of_image(&error, texts))?;
        self.writer
            .write(piece)
            .map_err(|error| Refusal::of_store(&error, texts))
    }
}

fn keep(
    api: &super::Api,
    taking: Taking,
    (name, version): (&str, Option<String>),
    who: &str,
    texts: &Texts,
) -> Result<Answer, Refusal> {
    let failed = |error: StoreError| Refusal::of_store(&error, texts);
    let mut image = taking
        .inspector
        .finish()
        .map_err(|error| of_image(&error, texts))?;
    if let Some(version) = version {
        name_version(&mut image, version, texts)?;
    }
    let hash = BlobHash::from(image.sha256);
    let _alone = api.shelving();
    let blob = taking.writer.finish(Some(&hash)).map_err(failed)?;
    let row = ImageRow {
        hash,
        bytes: blob.bytes,
        file_name: name.to_owned(),
        family: image.family.map(|family| family.as_str().to_owned()),
        body: serde_json::to_string(&image).unwrap_or_default(),
        created: unix_now(),
        who: who.to_owned(),
    };
    let by = By {
        who,
        at: row.created,
    };
    api.with_registry(
        |registry| {
            if registry.add_image(&row, by).map_err(failed)? {
                return Ok(Answer::created(images::kept(&row, texts.language())));
            }
            // These bytes are here already, perhaps under another name: that one stays.
            let known = registry.image(&hash).map_err(failed)?;
            Ok(Answer::ok(images::kept(
                known.as_ref().unwrap_or(&row),
                texts.language(),
            )))
        },
        texts,
    )
}

/// A person says the version of an image that does not tell it. One that does is not contradicted.
fn name_version(image: &mut Image, given: String, texts: &Texts) -> Result<(), Refusal> {
    if let Some(own) = image.version.as_ref().filter(|own| **own != given) {
        let what = say!(texts, "image-version-own", own = own, given = given);
        return Err(Refusal::bad_request(what, texts));
    }
    let checked = image
        .family
        .map(|family| safeport_fleet::version::check(family, &given));
    if let Some(Err(error)) = checked {
        let what = say!(texts, "image-version-bad", given = given);
        let detail = error.words(texts.language());
        return Err(Refusal::bad_request(what, texts).with("detail", json!(detail)));
    }
    if given.is_empty() || given.len() > 64 || given.chars().any(char::is_control) {
        let what = say!(texts, "image-version-bad", given = format!("{given:?}"));
        return Err(Refusal::bad_request(what, texts));
    }
    image.version = Some(given);
    image
        .warnings
        .retain(|warning| warning.code() != "no-version");
    Ok(())
}

/// What is wrong with a file, by the inspector's word for it.
fn of_image(error: &ImageError, texts: &Texts) -> Refusal {
    let status = match error {
        ImageError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Refusal::new(
        status,
        "image-refused",
        say!(texts, "image-refused"),
        say!(texts, "image-refused-next"),
    )
    .with("why", json!(error.code()))
    .with("detail", json!(error.words(texts.language())))
}

/// Whether a sign makes what stands behind it look like something else: `nib.exe` for `exe.bin`.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A plain name, which devices find in addresses later.
fn check_file_name(name: &str, texts: &Texts) -> Result<(), Refusal> {
    let is_good = (1..=FILE_NAME_BYTES).contains(&name.len())
        && !name.starts_with('.')
        && name.chars().all(|c| {
            !c.is_control()
                && !turns_text(c)
                && !matches!(
                    c,
                    '/' | '\\' | '"' | '<' | '>' | '|' | '?' | '*' | '#' | '%' | ':'
                )
        });
    if is_good {
        return Ok(());
    }
    let what = say!(
        texts,
        "image-name-bad",
        name = format!("{name:?}"),
        most = FILE_NAME_BYTES
    );
    Err(Refusal::bad_request(what, texts))
}

impl Desk<'_> {
    /// All images, newest first.
    pub(super) fn images(&mut self) -> Result<Answer, Refusal> {
        let limit = self.limit(API_DEVICES, API_DEVICES)? as usize;
        let rows = self.done(self.registry.images())?;
        let language = self.texts.language();
        let rows_shown = rows.iter().take(limit);
        let values: Vec<Value> = rows_shown.map(|row| images::kept(row, language)).collect();
        Ok(Answer::ok(json!({"images": values, "known": rows.len()})))
    }

    pub(super) fn image(&mut self) -> Result<Answer, Refusal> {
        let row = self.named_image(&self.part("image"))?;
        Ok(Answer::ok(images::kept(&row, self.texts.language())))
    }

    pub(super) fn image_bytes(&mut self) -> Result<Answer, Refusal> {
        let row = self.named_image(&self.part("image"))?;
        let blobs = self.api.blobs(self.texts)?;
        let file = self.done(blobs.file(&row.hash))?;
        Ok(Answer::file(file.file, file.bytes, &row.file_name))
    }

    pub(super) fn remove_image(&mut self) -> Result<Answer, Refusal> {
        let row = self.named_image(&self.part("image"))?;
        let who = self.who.clone();
        let by = By {
            who: &who,
            at: unix_now(),
        };
        let _alone = self.api.shelving();
        let removed = self.registry.remove_image(&row.hash, by);
        if let Err(StoreError::InUse { by, .. }) = &removed {
            return Err(self.image_in_use(&row, by));
        }
        self.done(removed)?;
        if !self.done(self.registry.blob_is_used(&row.hash))? {
            let blobs = self.api.blobs(self.texts)?;
            self.done(blobs.remove(&row.hash))?;
        }
        Ok(Answer::ok(
            json!({"name": row.file_name, "id": images::id(&row), "done": "removed"}),
        ))
    }

    /// Something needs the image: said in the names under which people know both.
    fn image_in_use(&self, row: &ImageRow, by: &str) -> Refusal {
        let offer = by.strip_prefix("the open offer ");
        let offer = offer.and_then(|number| Some(OfferId(number.parse().ok()?).to_string()));
        let release = by.strip_prefix("the release ").map(str::to_owned);
        let by = offer.or(release).unwrap_or_else(|| by.to_owned());
        let texts = self.texts;
        Refusal::new(
            StatusCode::CONFLICT,
            "in-use",
            say!(texts, "image-in-use", name = row.file_name, by = by),
            say!(texts, "api-in-use-next"),
        )
        .with("by", json!(by))
    }

    /// The image that a person means: by its number, its SHA-256 or a beginning of it, or its file
    /// name.
    pub(super) fn named_image(&self, called: &str) -> Result<ImageRow, Refusal> {
        let texts = self.texts;
        let hash = called
            .strip_prefix("img_")
            .or(called.strip_prefix("sha256:"));
        let begin = hash.unwrap_or(called).to_ascii_lowercase();
        if let Ok(hash) = begin.parse::<BlobHash>()
            && let Some(row) = self.done(self.registry.image(&hash))?
        {
            return Ok(row);
        }
        let is_hash = begin.len() >= 6 && begin.bytes().all(|b| b.is_ascii_hexdigit());
        let rows = self.done(self.registry.images())?;
        let mut found: Vec<ImageRow> = rows
            .into_iter()
            .filter(|row| {
                row.file_name == called || (is_hash && row.hash.to_string().starts_with(&begin))
            })
            .collect();
        match (found.len(), found.pop()) {
            (1, Some(row)) => Ok(row),
            (0, _) | (_, None) => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "unknown-image",
                say!(texts, "image-unknown-name", name = called),
                say!(texts, "image-unknown-next"),
            )),
            (_, Some(last)) => {
                found.push(last);
                let ids: Vec<String> = found.iter().map(images::id).collect();
                Err(Refusal::new(
                    StatusCode::CONFLICT,
                    "ambiguous",
                    say!(texts, "image-ambiguous", name = called),
                    say!(texts, "image-ambiguous-next", ids = ids.join(", ")),
                ))
            }
        }
    }

    pub(super) fn releases(&mut self) -> Result<Answer, Refusal> {
        let rows = self.done(self.registry.releases())?;
        let values: Vec<Value> = rows.iter().map(images::release).collect();
        Ok(Answer::ok(json!({"releases": values})))
    }

    pub(super) fn release(&mut self) -> Result<Answer, Refusal> {
        let name = self.part("release");
        match self.done(self.registry.release(&name))? {
            Some(row) => Ok(Answer::ok(images::release(&row))),
            None => Err(self.unknown_release(&name)),
        }
    }

    pub(super) fn unknown_release(&self, name: &str) -> Refusal {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "unknown-release",
            say!(self.texts, "release-unknown", name = name),
            say!(self.texts, "release-unknown-next"),
        )
    }

    pub(super) fn add_release(&mut self) -> Result<Answer, Refusal> {
        let texts = self.texts;
        let wanted: WantedRelease = self.body()?;
        let is_good = (1..=RELEASE_NAME_BYTES).contains(&wanted.name.len())
            && !wanted.name.starts_with('.')
            && wanted
                .name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c));
        if !is_good {
            let name = format!("{:?}", wanted.name);
            let what = say!(
                texts,
                "release-name-bad",
                name = name,
                most = RELEASE_NAME_BYTES
            );
            return Err(Refusal::bad_request(what, texts));
        }
        let mut chosen: Vec<ReleaseImage> = Vec::new();
        for called in &wanted.images {
            let row = self.named_image(called)?;
            if chosen.iter().any(|known| known.hash == row.hash) {
                continue;
            }
            let image: Image = serde_json::from_str(&row.body).map_err(|error| {
                Refusal::bad_request(format!("{}: {error}", row.file_name), texts)
            })?;
            if let Err(why) = image.offerable() {
                return Err(Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "image-refused",
                    say!(texts, "image-not-offerable", name = row.file_name),
                    say!(texts, "image-refused-next"),
                )
                .with("why", json!(why.code()))
                .with("detail", json!(why.words(texts.language()))));
            }
            let (class, step) = class(&image);
            if chosen
                .iter()
                .any(|known| known.class == class && known.step == step)
            {
                return Err(Refusal::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "unfit",
                    say!(texts, "release-same", name = row.file_name, class = class),
                    say!(texts, "release-same-next"),
                ));
            }
            chosen.push(ReleaseImage {
                class,
                step,
                hash: row.hash,
            });
        }
        if chosen.is_empty() {
            let what = say!(texts, "release-empty");
            return Err(Refusal::bad_request(what, texts));
        }
        let new = NewRelease {
            name: wanted.name.clone(),
            body: json!({"notes": wanted.notes}).to_string(),
            images: chosen,
        };
        let who = self.who.clone();
        let by = By {
            who: &who,
            at: unix_now(),
        };
        let added = self.registry.add_release(&new, by);
        self.done(added)?;
        match self.done(self.registry.release(&wanted.name))? {
            Some(row) => Ok(Answer::created(images::release(&row))),
            None => Err(self.unknown_release(&wanted.name)),
        }
    }

    pub(super) fn remove_release(&mut self) -> Result<Answer, Refusal> {
        let name = self.part("release");
        if self.done(self.registry.release(&name))?.is_none() {
            return Err(self.unknown_release(&name));
        }
        let who = self.who.clone();
        let by = By {
            who: &who,
            at: unix_now(),
        };
        let removed = self.registry.remove_release(&name, by);
        self.done(removed)?;
        Ok(Answer::ok(json!({"name": name, "done": "removed"})))
    }
}

/// Which devices an image is for, in a word, and which step of theirs it is.
fn class(image: &Image) -> (String, u32) {
    use safeport_fleet::image::Kind;
    let step = match image.kind {
        Kind::Safeboot | Kind::Minimal => 0,
        Kind::Assets => 2,
        _ => 1,
    };
    let core = if image.single_core {
        Some("solo1")
    } else {
        None
    };
    let parts = [
        image.family.map(|family| family.as_str()),
        image.chip.map(|chip| chip.as_str()),
        core,
        image.project.as_deref(),
        image.variant.as_deref(),
        image.gzip.is_some().then_some("gz"),
    ];
    let words: Vec<&str> = parts.into_iter().flatten().collect();
    let mut class = words.join("/");
    class.truncate(class.floor_char_boundary(64));
    (class, step)
}
