//! `safeport cert`: what listeners present, what devices need to recognise this server, and
//! changes of its certificates and keys.

mod show;
mod wish;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use safeport_settings::Listener;

use self::wish::{AcceptArgs, RenewArgs, RotateArgs};
use super::registry::Open;
use super::{Place, read};
use crate::certificates;
use crate::console::{Console, Failure};
use crate::text::Language;
use crate::{app, say};

#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// What each listener presents, how long it lasts, and which kinds of device can connect with
    /// it and which cannot, and why
    Show(Place),
    /// The fingerprint that Tasmota checks, ready to paste; stdout has that line and nothing else
    /// but, below it, the one for images before 8.4
    Fingerprint(Place),
    /// The certificate of the private CA, for devices and programs that are to trust it
    Export(ExportArgs),
    /// New certificates now, for the same keys
    Renew(RenewArgs),
    /// A new key. Refused while a device checks the fingerprint of the old one, until it is named
    Rotate(RotateArgs),
    /// Take certificates from files although they bring another key than devices check
    Accept(AcceptArgs),
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// In DER instead of PEM
    #[arg(long)]
    der: bool,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

impl CertCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        match self {
            CertCommand::Show(place) => show::run(place, console, lang),
            CertCommand::Fingerprint(place) => fingerprint(place, console, lang),
            CertCommand::Export(args) => args.run(console, lang),
            CertCommand::Renew(args) => args.run(console, lang),
            CertCommand::Rotate(args) => args.run(console, lang),
            CertCommand::Accept(args) => args.run(console, lang),
        }
    }
}

fn fingerprint(
    place: &Place,
    console: &mut Console,
    lang: Option<Language>,
) -> Result<(), Failure> {
    let open = Open::of(read(&place.asked(), console, lang)?, console)?;
    let texts = &console.texts;
    let ca = app::certificates(&open.folder, &open.settings, &open.managed, texts)?;
    let (all, _) = certificates::on_disk(&open.folder, &open.settings, &ca);
    let choice = certificates::choice(&open.settings, Listener::Mqtts);
    let served = all
        .for_tasmota(choice, None)
        .and_then(|chain| chain.tasmota_fingerprints())
        .unwrap_or(ca.fingerprints());
    let next = ca.next_fingerprints();
    if console.json {
        let both = |prints: safeport_net::Fingerprints| serde_json::json!({"v1": prints.v1.to_string(), "v2": prints.v2.to_string()});
        let (now, next) = (both(served), next.map(both));
        return console.json(&serde_json::json!({
            "tasmota_fingerprint": served.v2.to_string(),
            "served": now,
            "next": next,
        }));
    }
    console.talk(&say!(texts, "cert-fingerprint"));
    console.data(&format!("MqttFingerprint1 {}", served.v2))?;
    console.talk(&say!(texts, "cert-fingerprint-old"));
    console.data(&format!("MqttFingerprint1 {}", served.v1))?;
    if let Some(next) = next {
        console.talk(&say!(texts, "cert-fingerprint-next"));
        console.data(&format!("MqttFingerprint2 {}", next.v2))?;
    }
    Ok(())
}

impl ExportArgs {
    fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        let open = Open::of(read(&self.place.asked(), console, lang)?, console)?;
        let texts = &console.texts;
        let ca = app::certificates(&open.folder, &open.settings, &open.managed, texts)?;
        let bytes: &[u8] = match self.der {
            true => ca.ca_der(),
            false => ca.ca_pem().as_bytes(),
        };
        if let Some(path) = &self.output {
            std::fs::write(path, bytes).map_err(|error| {
                Failure::new(say!(texts, "import-unwritten", path = path.display())).detail(error)
            })?;
            if console.json {
                return console.json(&serde_json::json!({"written": path}));
            }
            console.talk(&say!(texts, "cert-exported", path = path.display()));
            return Ok(());
        }
        if console.json {
            return console.json(&serde_json::json!({"ca_pem": ca.ca_pem()}));
        }
        let mut stdout = std::io::stdout();
        if self.der && stdout.is_terminal() {
            return Err(Failure::usage(say!(texts, "cert-der-terminal"))
                .next(say!(texts, "cert-der-terminal-next")));
        }
        if !self.der {
            console.talk(&say!(
                texts,
                "cert-export",
                path = open.folder.pki().join("ca.pem").display()
            ));
            return console.data(ca.ca_pem());
        }
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| Failure::new(say!(texts, "stdout-failed")).detail(error))
    }
}
