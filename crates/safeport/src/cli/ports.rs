//! `safeport ports`: every listener and every advertised address, who holds a port that we cannot
//! have, and what became of ports before.

use std::time::{Duration, Instant};

use clap::Args;
use safeport_settings::AdvertisedAddress;
use safeport_store::{AddressRow, PortEvent, PortEventKind};

use super::registry::{Open, failed};
use super::{Place, gather, read};
use crate::console::{Console, Failure};
use crate::limits::{FIRST_PROOFS, VANTAGE_LIFE};
use crate::probe::Proofs;
use crate::probe::proof::VANTAGE_PATH;
use crate::reading::Read;
use crate::say;
use crate::serve::access::{is_loopback, unix_now};
use crate::shown::ports::{self, listening, protocol};
use crate::text::{Language, Texts};
use crate::time::stamp;

#[derive(Debug, Args)]
pub(super) struct PortsArgs {
    /// What became of ports: bound, released, refused, moved; newest first
    #[arg(long)]
    history: bool,
    /// Print an address (and its QR code) to open on a phone: the page tests every advertised
    /// address from there, on Wi-Fi or on mobile data
    #[arg(long, conflicts_with = "history")]
    from_phone: bool,
    /// Forget the port that a listener moved to; it takes the one in its settings at the next start
    #[arg(long, value_name = "LISTENER", conflicts_with_all = ["history", "from_phone"])]
    release: Option<String>,
    /// At most so many lines of history
    #[arg(long, default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    place: Place,
}

impl PortsArgs {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        let gathered = gather(&self.place.asked(), console, lang)?;
        if self.history {
            return history(&Open::beside(&gathered, console)?, self.limit, console);
        }
        if self.from_phone {
            return from_phone(&mut Open::beside(&gathered, console)?, console);
        }
        if let Some(listener) = &self.release {
            let mut open = Open::beside(&gathered, console)?;
            let texts = &console.texts;
            open.change(texts, |registry, by| registry.release_port(listener, by))?;
            return console.data(&say!(console.texts, "port-released", listener = listener));
        }
        now(&read(&self.place.asked(), console, lang)?, console)
    }
}

fn now(read: &Read, console: &Console) -> Result<(), Failure> {
    let folder = read.data_folder().and_then(|path| {
        safeport_store::DataFolder::open_existing(&path)
            .ok()
            .flatten()
    });
    let server = folder
        .as_ref()
        .and_then(|folder| folder.server().ok().flatten());
    let registry = folder
        .as_ref()
        .and_then(|folder| folder.registry_to_read().ok().flatten());
    let rows = listening(&read.settings, server, registry.as_ref());
    let addresses = match (&registry, server) {
        (Some(registry), Some(_)) => registry.addresses().unwrap_or_default(),
        _ => Vec::new(),
    };
    if console.json {
        return console.json(&ports::json(
            &read.settings,
            server,
            &rows,
            &addresses,
            &console.texts,
        ));
    }
    let texts = &console.texts;
    let mut text = say!(texts, "ports-listening");
    for row in &rows {
        text.push_str(&format!(
            "\n  {:<6} {:<4} {:<24} {}  {} ({})",
            row.planned.listener.name(),
            protocol(row.planned.protocol),
            row.planned.address.to_string(),
            row.words(texts),
            row.planned.key,
            row.planned.source,
        ));
    }
    text.push_str("\n\n");
    if server.is_none() {
        text.push_str(&say!(texts, "ports-no-server"));
        for planned in read.settings.plan.advertised() {
            text.push_str(&format!(
                "\n  {:<40} {} ({})",
                planned.address.to_string(),
                planned.key,
                planned.source
            ));
        }
        return console.data(&text);
    }
    text.push_str(&say!(texts, "ports-advertised"));
    for row in &addresses {
        text.push_str(&format!(
            "\n  {:<40} {}",
            row.url,
            address_words(row, texts)
        ));
    }
    console.data(&text)?;
    if addresses.iter().any(|row| row.state != "verified") {
        console.talk(&say!(texts, "ports-advertised-next"));
    }
    Ok(())
}

fn address_words(row: &AddressRow, texts: &Texts) -> String {
    let state = match row.state.as_str() {
        "verified" => say!(texts, "address-verified"),
        "degraded" => say!(texts, "address-degraded"),
        "broken" => say!(texts, "address-broken"),
        "unverifiable_from_here" => say!(texts, "address-unverifiable"),
        _ => say!(texts, "address-unknown"),
    };
    let detail = match texts.language() {
        Language::Chinese => &row.detail_zh,
        Language::English => &row.detail_en,
    };
    let mut words = format!("{state}  {}", row.via);
    if let Some(vantage) = &row.vantage {
        words.push_str("  ");
        words.push_str(&say!(texts, "address-seen-from", peer = vantage));
    }
    if !detail.is_empty() {
        words.push_str("\n      ");
        words.push_str(detail);
    }
    words
}

fn history(open: &Open, limit: u32, console: &Console) -> Result<(), Failure> {
    let events = open
        .registry
        .port_events(limit)
        .map_err(|error| failed(&console.texts, &error))?;
    if console.json {
        let values: Vec<_> = events
            .iter()
            .map(|row| {
                serde_json::json!({
                    "at": row.at,
                    "who": row.who,
                    "event": event_word(row.event.kind),
                    "listener": row.event.listener,
                    "address": row.event.address,
                    "holder": row.event.holder,
                    "detail": row.event.detail,
                })
            })
            .collect();
        return console.json(&values);
    }
    if events.is_empty() {
        console.talk(&say!(console.texts, "ports-history-none"));
        return Ok(());
    }
    let lines: Vec<String> = events
        .iter()
        .map(|row| {
            let PortEvent {
                kind,
                listener,
                address,
                detail,
                ..
            } = &row.event;
            let mut line = format!(
                "{}  {listener:<6} {address:<24} {}",
                stamp(row.at),
                event_word(*kind)
            );
            if let Some(detail) = detail {
                line.push_str("  ");
                line.push_str(detail);
            }
            line
        })
        .collect();
    console.data(&lines.join("\n"))
}

fn event_word(kind: PortEventKind) -> &'static str {
    match kind {
        PortEventKind::Bound => "bound",
        PortEventKind::Released => "released",
        PortEventKind::Refused => "refused",
        PortEventKind::Moved => "moved",
        PortEventKind::Returned => "returned",
    }
}

/// A second vantage point: prints the page's address for each way in, the first one as QR code,
/// and waits for what comes of it.
fn from_phone(open: &mut Open, console: &Console) -> Result<(), Failure> {
    let texts = &console.texts;
    if open.server().is_none() {
        return Err(Failure::new(say!(texts, "phone-no-server")));
    }
    let key = open
        .registry
        .instance_key()
        .map_err(|error| failed(texts, &error))?;
    let token = Proofs::new(*key.expose()).vantage_token(unix_now() + VANTAGE_LIFE.as_secs());
    let addresses = first_addresses(open, texts)?;
    let urls: Vec<String> = addresses
        .iter()
        .filter(|row| row.url.starts_with("http") && !is_loopback_url(&row.url))
        .filter(|row| row.state != "broken")
        .map(|row| format!("{}{VANTAGE_PATH}{token}", row.url))
        .collect();
    let Some(first) = urls.first() else {
        return Err(Failure::new(say!(texts, "phone-no-address")));
    };
    if console.json {
        return console.json(&serde_json::json!({
            "urls": urls,
            "valid_seconds": VANTAGE_LIFE.as_secs(),
        }));
    }
    console.talk(&say!(
        texts,
        "phone-open",
        minutes = VANTAGE_LIFE.as_secs() / 60
    ));
    if let Ok(code) = qrcode::QrCode::new(first) {
        let picture = code
            .render::<qrcode::render::unicode::Dense1x2>()
            .quiet_zone(true)
            .build();
        console.talk(&picture);
    }
    console.data(&urls.join("\n"))?;
    console.talk(&say!(texts, "phone-waiting"));
    watch(open, &addresses, console)
}

/// The addresses of the server; one that has just started is given a moment to probe them.
fn first_addresses(open: &Open, texts: &Texts) -> Result<Vec<AddressRow>, Failure> {
    let until = Instant::now() + FIRST_PROOFS;
    loop {
        let addresses = open
            .registry
            .addresses()
            .map_err(|error| failed(texts, &error))?;
        if !addresses.is_empty() || Instant::now() >= until {
            return Ok(addresses);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether no phone can open an address.
fn is_loopback_url(url: &str) -> bool {
    AdvertisedAddress::parse(url)
        .ok()
        .and_then(|address| address.host().ip())
        .is_some_and(is_loopback)
}

/// Tells each address that is newly seen from elsewhere, until the page's time is over.
fn watch(open: &Open, before: &[AddressRow], console: &Console) -> Result<(), Failure> {
    let texts = &console.texts;
    let end = Instant::now() + VANTAGE_LIFE;
    let mut told: Vec<(String, Option<String>)> = before
        .iter()
        .map(|row| (row.url.clone(), row.vantage.clone()))
        .collect();
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(500));
        let rows = open
            .registry
            .addresses()
            .map_err(|error| failed(texts, &error))?;
        for row in rows {
            let seen = (row.url.clone(), row.vantage.clone());
            if row.vantage.is_some() && !told.contains(&seen) {
                console.talk(&format!("{}  {}", row.url, address_words(&row, texts)));
                told.push(seen);
            }
        }
    }
    Ok(())
}
