//! `safeport firmware add`, `list`, `release`, `offer` and their kin: images that the server keeps,
//! and what it offers to devices.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use super::Place;
use super::client::{Client, Remote, encoded, open_file};
use super::session::need_server;
use crate::console::{Console, Failure};
use crate::limits::WATCH_PAUSE;
use crate::say;
use crate::shown::{images, offers};
use crate::text::Language;

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// Files, such as tasmota32c3.bin, tasmota32c3-safeboot.bin or firmware.bin
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Their version, where neither the images nor their names tell it
    #[arg(long, value_name = "VERSION")]
    image_version: Option<String>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ImageArgs {
    /// The image: its number such as img_0a1b…, its SHA-256, or its file name
    image: String,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// Its name, such as tasmota-15.1
    name: String,
    /// Its images: numbers, hashes or file names. None to remove the release
    images: Vec<String>,
    /// What is new
    #[arg(long, default_value = "")]
    notes: String,
    /// Remove the release; its images stay
    #[arg(long, conflicts_with = "images")]
    remove: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct OfferArgs {
    /// An image (number, hash, file name) or the name of a release
    what: String,
    /// To this device; may be repeated
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,
    /// To all devices with this tag
    #[arg(long)]
    tag: Option<String>,
    /// To all devices that meet this question, such as 'family==tasmota;version=lt=15.0'
    #[arg(long = "where", value_name = "QUERY")]
    question: Option<String>,
    /// What becomes of a Tasmota's safeboot. Default: firmware.safeboot
    #[arg(long, value_enum)]
    safeboot: Option<SafebootArg>,
    /// Even if the device runs the same already
    #[arg(long)]
    reinstall: bool,
    /// How long the device has to stay healthy before it counts as done
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Only show what would come of it
    #[arg(long, conflicts_with = "watch")]
    preview: bool,
    /// Show where it stands until it is over; exit code 1 unless all succeed
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum SafebootArg {
    /// Bring it up to the same version first
    Ensure,
    /// Leave it alone
    Off,
    /// Ensure it for devices that come over TLS
    Auto,
}

#[derive(Debug, Args)]
pub(super) struct OffersArgs {
    /// Only this offer, with all that happened
    offer: Option<String>,
    /// Only those to this device
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Only those that are not over
    #[arg(long)]
    open: bool,
    /// Show where they stand until they are over
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The offer, such as off_b4
    offer: String,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    place: Place,
}

type Done = Result<(), Failure>;

pub(super) fn add(args: &AddArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let texts = &console.texts;
    let mut added = Vec::new();
    for path in &args.files {
        let (file, length) = open_file(path, texts)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut place = format!("/images?name={}", encoded(&name));
        if let Some(version) = &args.image_version {
            place.push_str(&format!("&version={}", encoded(version)));
        }
        let image = client
            .upload(&place, file, length)
            .map_err(|failure| Failure {
                headline: format!("{}: {}", path.display(), failure.headline),
                ..failure
            })?;
        if !console.json {
            let known = image["file_name"].as_str() != Some(&name);
            console.talk(&match known {
                true => say!(texts, "firmware-known", name = name),
                false => say!(texts, "firmware-added", name = name),
            });
            console.data(&images::line(&image))?;
            for warning in image["warnings"].as_array().into_iter().flatten() {
                console.talk(warning["text"].as_str().unwrap_or_default());
            }
        }
        added.push(image);
    }
    match console.json {
        true => console.json(&added),
        false => Ok(()),
    }
}

pub(super) fn list(args: &ServerArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let found = rows(client.get("/images")?, "images");
    show_rows(console, &found, images::line, |console| {
        say!(console.texts, "firmware-none")
    })
}

pub(super) fn show(args: &ImageArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let image = client.get(&format!("/images/{}", encoded(&args.image)))?;
    if console.json {
        return console.json(&image);
    }
    let mut lines = Vec::new();
    for (name, value) in image.as_object().into_iter().flatten() {
        let value = match value {
            Value::Null => continue,
            Value::Array(list) if list.is_empty() => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        lines.push(format!("{name:16}  {value}"));
    }
    console.data(&lines.join("\n"))
}

pub(super) fn remove(args: &ImageArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let done = client.delete(&format!("/images/{}", encoded(&args.image)))?;
    if console.json {
        return console.json(&done);
    }
    let name = done["name"].as_str().unwrap_or_default();
    console.talk(&say!(console.texts, "firmware-removed", name = name));
    Ok(())
}

pub(super) fn releases(args: &ServerArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let found = rows(client.get("/releases")?, "releases");
    let line = |release: &Value| {
        let classes = release["images"].as_array().into_iter().flatten();
        let classes: Vec<&str> = classes
            .filter_map(|image| image["class"].as_str())
            .collect();
        let text = |name: &str| release[name].as_str().unwrap_or_default();
        format!("{}  {}  {}", text("name"), classes.join(" "), text("notes"))
    };
    show_rows(console, &found, line, |console| {
        say!(console.texts, "releases-none")
    })
}

pub(super) fn release(args: &ReleaseArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let place = format!("/releases/{}", encoded(&args.name));
    let done = if args.remove {
        client.delete(&place)?
    } else if args.images.is_empty() {
        let release = client.get(&place)?;
        return match console.json {
            true => console.json(&release),
            false => {
                let images = release["images"].as_array().into_iter().flatten();
                let lines: Vec<String> = images
                    .map(|image| {
                        let text = |name: &str| image[name].as_str().unwrap_or_default();
                        format!("{}  {}  {}", image["step"], text("class"), text("sha256"))
                    })
                    .collect();
                console.data(&lines.join("\n"))
            }
        };
    } else {
        let body = json!({"name": args.name, "notes": args.notes, "images": args.images});
        client.post("/releases", &body)?
    };
    if console.json {
        return console.json(&done);
    }
    console.talk(&match args.remove {
        true => say!(console.texts, "release-removed", name = args.name),
        false => say!(console.texts, "release-made", name = args.name),
    });
    Ok(())
}

pub(super) fn offer(args: &OfferArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let mut body = json!({
        "devices": args.devices,
        "tag": args.tag,
        "where": args.question,
        "reinstall": args.reinstall,
        "safeboot": args.safeboot,
        "soak": args.soak,
        "preview": args.preview,
    });
    let known = rows(client.get("/releases")?, "releases");
    let is_release = known.iter().any(|release| release["name"] == args.what);
    body[if is_release { "release" } else { "image" }] = json!(args.what);
    let answer = client.post("/offers", &body)?;
    let texts = &console.texts;
    let devices = rows(answer.clone(), "devices");
    if !console.json {
        let (count, refused) = (&answer["fine"], &answer["refused"]);
        console.talk(&match (args.preview, refused.as_u64()) {
            (true, Some(0)) => say!(texts, "offers-would-all", count = count),
            (false, Some(0)) => say!(texts, "offers-made-all", count = count),
            (true, _) => say!(texts, "offers-would", count = count, refused = refused),
            (false, _) => say!(texts, "offers-made", count = count, refused = refused),
        });
        let lines: Vec<String> = devices
            .iter()
            .map(|device| {
                let name = device["name"].as_str().unwrap_or_default();
                if device["offer"].is_object() {
                    return offers::line(&device["offer"], texts);
                }
                if let Some(why) = device["refused"]["why"].as_str() {
                    return format!("{name}  {why}");
                }
                let steps = &device["would"]["steps"];
                let warnings = device["would"]["warnings"].as_array().into_iter().flatten();
                let warnings: Vec<&str> = warnings.filter_map(Value::as_str).collect();
                let would = say!(texts, "would-steps", steps = steps);
                format!("{name}  {would}  {}", warnings.join("; "))
            })
            .collect();
        console.data(lines.join("\n").trim_end())?;
    }
    let made: Vec<String> = devices
        .iter()
        .filter_map(|device| device["offer"]["id"].as_str().map(str::to_owned))
        .collect();
    if !args.watch {
        return match console.json {
            true => console.json(&answer),
            false => Ok(()),
        };
    }
    watch(&client, &made, console)
}

pub(super) fn offers(args: &OffersArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    if let Some(id) = &args.offer {
        if args.watch {
            return watch(&client, std::slice::from_ref(id), console);
        }
        let offer = client.get(&format!("/offers/{}", encoded(id)))?;
        return match console.json {
            true => console.json(&offer),
            false => console.data(&offers::sheet(&offer, &console.texts)),
        };
    }
    let mut place = "/offers?limit=1000".to_owned();
    if args.open || args.watch {
        place.push_str("&open=true");
    }
    if let Some(device) = &args.device {
        place.push_str(&format!("&device={}", encoded(device)));
    }
    let found = rows(client.get(&place)?, "offers");
    if args.watch {
        let ids: Vec<String> = found
            .iter()
            .filter_map(|offer| offer["id"].as_str().map(str::to_owned))
            .collect();
        return watch(&client, &ids, console);
    }
    if console.json {
        return console.json(&found);
    }
    if found.is_empty() {
        console.talk(&say!(console.texts, "offers-none"));
        return Ok(());
    }
    let lines: Vec<String> = found
        .iter()
        .map(|offer| offers::line(offer, &console.texts))
        .collect();
    console.data(&lines.join("\n"))
}

pub(super) fn cancel(args: &CancelArgs, console: &mut Console, lang: Option<Language>) -> Done {
    let client = need_server(&args.place, &args.remote, console, lang)?;
    let place = format!("/offers/{}/cancel", encoded(&args.offer));
    let offer = client.post(&place, &json!({}))?;
    if console.json {
        return console.json(&offer);
    }
    console.talk(&say!(console.texts, "offer-cancel-done", id = args.offer));
    Ok(())
}

/// Tells where offers stand, a line for each change, until all are over. Lines are JSON where that
/// is wanted.
fn watch(client: &Client, ids: &[String], console: &Console) -> Done {
    let texts = &console.texts;
    let mut said = vec![String::new(); ids.len()];
    let mut over: Vec<Option<Value>> = vec![None; ids.len()];
    let mut lost = false;
    while over.iter().any(Option::is_none) {
        for (at, id) in ids.iter().enumerate() {
            if over[at].is_some() {
                continue;
            }
            let offer = match client.get(&format!("/offers/{}", encoded(id))) {
                Ok(offer) => offer,
                // The server may restart meanwhile; the offer outlives that.
                Err(_) => {
                    if !std::mem::replace(&mut lost, true) {
                        console.talk(&say!(texts, "offer-watch-lost"));
                    }
                    continue;
                }
            };
            lost = false;
            let stands = offers::stands(&offer, texts);
            if stands != said[at] {
                match console.json {
                    true => console.data(&offer.to_string())?,
                    false => console.data(&offers::line(&offer, texts))?,
                }
                said[at] = stands;
            }
            if offer["open"] == false {
                over[at] = Some(offer);
            }
        }
        if over.iter().any(Option::is_none) {
            std::thread::sleep(WATCH_PAUSE);
        }
    }
    let failed: Vec<&Value> = over
        .iter()
        .flatten()
        .filter(|offer| !matches!(offer["state"].as_str(), Some("succeeded" | "skipped")))
        .collect();
    let Some(first) = failed.first() else {
        return Ok(());
    };
    let device = first["device"].as_str().unwrap_or_default();
    let mut failure = Failure::new(format!("{device}: {}", offers::stands(first, texts)));
    failure.detail = first["detail"].as_str().map(str::to_owned);
    failure.next = first["advice"].as_str().map(str::to_owned);
    Err(failure)
}

fn rows(mut answer: Value, name: &str) -> Vec<Value> {
    match answer[name].take() {
        Value::Array(rows) => rows,
        _ => Vec::new(),
    }
}

fn show_rows(
    console: &Console,
    rows: &[Value],
    line: impl Fn(&Value) -> String,
    none: impl Fn(&Console) -> String,
) -> Done {
    if console.json {
        return console.json(&rows);
    }
    if rows.is_empty() {
        console.talk(&none(console));
        return Ok(());
    }
    let lines: Vec<String> = rows.iter().map(line).collect();
    console.data(&lines.join("\n"))
}
