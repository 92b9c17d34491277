//! `safeport cert show`: what each listener presents, and to whom it is any good.

use std::time::SystemTime;

use super::super::registry::{Open, failed};
use super::super::{Place, read};
use crate::app;
use crate::certificates;
use crate::console::{Console, Failure};
use crate::shown::certificates::{View, told_hosts};
use crate::text::Language;

pub(super) fn run(
    place: &Place,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let open = Open::of(read(&place.asked(), console, lang)?, console)?;
    let texts = &console.texts;
    let ca = app::certificates(&open.folder, &open.settings, &open.managed, texts)?;
    let (all, refused) = certificates::on_disk(&open.folder, &open.settings, &ca);
    let written = open.registry.chains();
    let server = open.server();
    let addresses = match server {
        Some(_) => open.registry.addresses().unwrap_or_default(),
        None => Vec::new(),
    };
    let view = View {
        settings: &open.settings,
        certificates: &all,
        refused: &refused,
        written: &written.map_err(|error| failed(texts, &error))?,
        server,
        ca: &ca,
        folder: &open.folder,
        hosts: &told_hosts(&open.settings, &addresses),
        now: SystemTime::now(),
    };
    match console.json {
        true => console.json(&view.json(texts)),
        false => console.data(&view.text(texts)),
    }
}
