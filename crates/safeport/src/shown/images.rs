//! Images and releases as lists, the API and `firmware inspect` show them.

use safeport_fleet::image::Image;
use safeport_store::{ImageRow, ReleaseRow};
use serde_json::{Value, json};

use crate::shown::wording::Wording;
use crate::text::Language;

/// What was found in a file.
pub fn found(image: &Image, language: Language) -> Value {
    let mut value = serde_json::to_value(image).unwrap_or_default();
    let warnings: Vec<Value> = image
        .warnings
        .iter()
        .map(|warning| json!({"code": warning.code(), "text": warning.words(language)}))
        .collect();
    value["warnings"] = json!(warnings);
    let refused = image.offerable().err();
    value["offerable"] = json!(refused.is_none());
    value["why_not"] = json!(refused.map(|why| why.words(language)));
    value
}

/// An image that is kept.
pub fn kept(row: &ImageRow, language: Language) -> Value {
    let image: Option<Image> = serde_json::from_str(&row.body).ok();
    let mut value = match &image {
        Some(image) => found(image, language),
        None => json!({
            "sha256": row.hash.to_string(),
            "size": row.bytes,
            "family": row.family,
        }),
    };
    value["id"] = json!(id(row));
    value["file_name"] = json!(row.file_name);
    value["created"] = json!(row.created);
    value["by"] = json!(row.who);
    value
}

/// The short name of an image: enough of its hash to be told from others.
pub fn id(row: &ImageRow) -> String {
    let mut id = row.hash.to_string();
    id.truncate(16);
    format!("img_{id}")
}

/// An image in one line.
pub fn line(image: &Value) -> String {
    let text = |name: &str| image[name].as_str().unwrap_or("-").to_owned();
    format!(
        "{}  {}  {}  {}  {}  {}  {}",
        text("id"),
        text("family"),
        text("chip"),
        text("kind"),
        text("version"),
        image["size"],
        text("file_name"),
    )
}

/// A release.
pub fn release(row: &ReleaseRow) -> Value {
    let body: Value = serde_json::from_str(&row.body).unwrap_or_default();
    let images: Vec<Value> = row
        .images
        .iter()
        .map(|image| {
            json!({"class": image.class, "step": image.step, "sha256": image.hash.to_string()})
        })
        .collect();
    json!({
        "name": row.name,
        "notes": body["notes"].as_str().unwrap_or_default(),
        "images": images,
        "created": row.created,
        "by": row.who,
    })
}
