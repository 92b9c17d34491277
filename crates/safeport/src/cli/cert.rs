//! `safeport cert`: what devices need to recognise this server.

use clap::Subcommand;

use super::{Place, read};
use crate::console::{Console, Failure};
use crate::text::Language;
use crate::{app, lan, say};

#[derive(Debug, Subcommand)]
pub(super) enum CertCommand {
    /// Print the certificate of the private CA, in PEM
    Show(Place),
    /// Print the fingerprint that Tasmota checks (MqttFingerprint1)
    Fingerprint(Place),
}

impl CertCommand {
    pub(super) fn run(&self, console: &mut Console, lang: Option<Language>) -> Result<(), Failure> {
        let (CertCommand::Show(place) | CertCommand::Fingerprint(place)) = self;
        let read = read(&place.asked(), console, lang)?;
        let folder = app::data_folder(read.data_folder(), &console.texts)?;
        let ca = app::certificates(&folder, &read.settings, &read.managed, &console.texts)?;
        let fingerprint = ca.tasmota_fingerprint();
        if console.json {
            return console.json(&serde_json::json!({
                "ca_pem": ca.ca_pem(),
                "tasmota_fingerprint": fingerprint,
                "names": lan::certificate_names(&[]),
                "folder": folder.pki(),
            }));
        }
        match self {
            CertCommand::Show(_) => {
                console.talk(&say!(
                    console.texts,
                    "cert-show",
                    path = folder.pki().join("ca.pem").display()
                ));
                console.data(ca.ca_pem())
            }
            CertCommand::Fingerprint(_) => {
                console.talk(&say!(console.texts, "cert-fingerprint"));
                console.data(&fingerprint)
            }
        }
    }
}
