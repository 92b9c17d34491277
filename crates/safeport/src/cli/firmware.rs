//! `safeport firmware`: what a firmware file is, before a device meets it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use safeport_fleet::image::{Image, ImageError, Inspector, Kind, Limits, Misfit, extract_app};
use serde_json::json;

use super::images;
use crate::console::{Console, Failure};
use crate::say;
use crate::shown::wording::Wording;
use crate::text::{Language, Texts};

#[derive(Debug, Subcommand)]
pub(super) enum FirmwareCommand {
    /// What a file is, for which chip and slot, and whether it is whole. Exit code 1 if no device
    /// takes such a file over the air
    Inspect {
        /// The file, such as firmware.bin, tasmota32c3-safeboot.bin or tasmota.bin.gz
        file: PathBuf,
    },
    /// Give the server images to keep; each is looked into, and the wrong ones are refused
    Add(images::AddArgs),
    /// Images that the server keeps
    List(images::ServerArgs),
    /// Everything about one image
    Show(images::ImageArgs),
    /// Remove an image that nothing needs any more
    Remove(images::ImageArgs),
    /// Make a release of images, show one, or remove one
    Release(images::ReleaseArgs),
    /// Releases that the server has
    Releases(images::ServerArgs),
    /// Offer an image or a release to devices
    Offer(images::OfferArgs),
    /// What is offered, and where it stands
    Offers(images::OffersArgs),
    /// Take an offer back
    Cancel(images::CancelArgs),
}

impl FirmwareCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            FirmwareCommand::Inspect { file } => inspect(file, console),
            FirmwareCommand::Add(args) => images::add(args, console, lang),
            FirmwareCommand::List(args) => images::list(args, console, lang),
            FirmwareCommand::Show(args) => images::show(args, console, lang),
            FirmwareCommand::Remove(args) => images::remove(args, console, lang),
            FirmwareCommand::Release(args) => images::release(args, console, lang),
            FirmwareCommand::Releases(args) => images::releases(args, console, lang),
            FirmwareCommand::Offer(args) => images::offer(args, console, lang),
            FirmwareCommand::Offers(args) => images::offers(args, console, lang),
            FirmwareCommand::Cancel(args) => images::cancel(args, console, lang),
        }
    }
}

fn inspect(path: &Path, console: &Console) -> Result<(), Failure> {
    let texts = &console.texts;
    let file = path.display();
    let inspected = read(path).map_err(|error| {
        Failure::new(say!(texts, "firmware-unreadable", file = file)).detail(error)
    })?;
    let image = match inspected {
        Ok(image) => image,
        Err(error) => {
            if console.json {
                console.json(&json!({
                    "refused": {"code": error.code(), "text": error.words(texts.language())},
                }))?;
            }
            let headline = say!(texts, "firmware-refused", file = file);
            return Err(Failure::new(headline).detail(error.words(texts.language())));
        }
    };
    let language = texts.language();
    let offerable = image.offerable();
    if console.json {
        let refused = offerable.as_ref().err();
        let refused = refused.map(|why| json!({"code": why.code(), "text": why.words(language)}));
        let warnings = image.warnings.iter();
        let texts: Vec<String> = warnings.map(|warning| warning.words(language)).collect();
        console.json(&json!({"image": image, "warnings": texts, "refused": refused}))?;
    } else {
        console.data(&shown(&image, texts))?;
    }
    offerable.map_err(|why| refused(&why, &image, path, texts))
}

/// Reads the file in pieces, so that its size does not matter.
fn read(path: &Path) -> io::Result<Result<Image, ImageError>> {
    let mut file = File::open(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut inspector = Inspector::new(&name, Limits::default());
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(inspector.finish()),
            Ok(len) => {
                if let Err(error) = inspector.feed(&piece[..len]) {
                    return Ok(Err(error));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn refused(why: &Misfit, image: &Image, path: &Path, texts: &Texts) -> Failure {
    let headline = say!(texts, "firmware-not-for-air", file = path.display());
    let failure = Failure::new(headline).detail(why.words(texts.language()));
    let file = path.display();
    match (why, extract_app(image)) {
        (Misfit::Factory { .. }, Some(part)) => failure.next(say!(
            texts,
            "firmware-extract",
            file = file,
            offset = part.offset + 1,
            length = part.length,
        )),
        (Misfit::Gzip { .. }, _) => failure.next(say!(texts, "firmware-unpack", file = file)),
        _ => failure,
    }
}

/// Everything that was found, a line each, and what to know.
fn shown(image: &Image, texts: &Texts) -> String {
    let mut text = format!("{}\n", image.file_name);
    for (label, value) in rows(image, texts) {
        text.push_str(&format!("  {label}: {value}\n"));
    }
    for part in &image.parts {
        let part = say!(
            texts,
            "firmware-part",
            label = part.label,
            kind = kind(part.kind, texts),
            version = part.version.as_deref().unwrap_or("?"),
            length = part.length,
            offset = format!("{:#x}", part.offset),
        );
        text.push_str(&format!("  {part}\n"));
    }
    for warning in &image.warnings {
        let warning = say!(
            texts,
            "firmware-warning",
            what = warning.words(texts.language())
        );
        text.push_str(&format!("  {warning}\n"));
    }
    text
}

fn rows(image: &Image, texts: &Texts) -> Vec<(String, String)> {
    let mut rows = vec![(say!(texts, "firmware-what"), kind(image.kind, texts))];
    let mut row = |label: String, value: Option<String>| {
        rows.extend(value.map(|value| (label, value)));
    };
    let chip = image.chip.map(|chip| chip.to_string());
    row(say!(texts, "firmware-chip"), chip);
    row(say!(texts, "firmware-revisions"), revisions(image, texts));
    let cores = image.single_core.then(|| "1".into());
    row(say!(texts, "firmware-cores"), cores);
    let family = image.family.map(|family| family.to_string());
    row(say!(texts, "firmware-family"), family);
    row(say!(texts, "firmware-version"), image.version.clone());
    row(say!(texts, "firmware-variant"), image.variant.clone());
    row(say!(texts, "firmware-project"), image.project.clone());
    row(say!(texts, "firmware-built"), image.built.clone());
    row(say!(texts, "firmware-idf"), image.idf_version.clone());
    let flash = image.flash_size.map(|size| size.to_string());
    row(say!(texts, "firmware-flash"), flash);
    let tls = image.tls.map(|tls| yes(tls, texts));
    row(say!(texts, "firmware-tls"), tls);
    let signed = image.signed.then(|| yes(true, texts));
    row(say!(texts, "firmware-signed"), signed);
    row(say!(texts, "firmware-size"), Some(image.size.to_string()));
    let unpacked = image.gzip.as_ref().map(|inner| inner.size.to_string());
    row(say!(texts, "firmware-unpacked"), unpacked);
    row("SHA-256".into(), Some(hex(&image.sha256)));
    row("MD5".into(), Some(hex(&image.md5)));
    rows
}

fn revisions(image: &Image, texts: &Texts) -> Option<String> {
    let version = |revision: u16| format!("v{}.{}", revision / 100, revision % 100);
    match (image.min_chip_rev, image.max_chip_rev) {
        (None, None) => None,
        (Some(min), None) => Some(say!(texts, "firmware-from", min = version(min))),
        (None, Some(max)) => Some(say!(texts, "firmware-up-to", max = version(max))),
        (Some(min), Some(max)) => Some(format!("{} – {}", version(min), version(max))),
    }
}

fn kind(kind: Kind, texts: &Texts) -> String {
    match kind {
        Kind::App => say!(texts, "firmware-app"),
        Kind::Safeboot => say!(texts, "firmware-safeboot"),
        Kind::Minimal => say!(texts, "firmware-minimal"),
        Kind::Factory => say!(texts, "firmware-factory"),
        Kind::Bootloader => say!(texts, "firmware-bootloader"),
        Kind::PartitionTable => say!(texts, "firmware-partition-table"),
        Kind::Assets => say!(texts, "firmware-assets"),
    }
}

fn yes(yes: bool, texts: &Texts) -> String {
    if yes {
        say!(texts, "firmware-yes")
    } else {
        say!(texts, "firmware-no")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
