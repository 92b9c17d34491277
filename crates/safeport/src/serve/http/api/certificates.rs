//! What listeners present, and which kinds of device can connect with it.

use std::time::SystemTime;

use axum::http::StatusCode;
use safeport_net::PrivateCa;
use safeport_store::RunningServer;

use super::answer::{Answer, Refusal};
use super::desk::Desk;
use crate::certificates::pki_said;
use crate::say;
use crate::shown::certificates::{View, told_hosts};

impl Desk<'_> {
    /// What `cert show` says, from the server's own view.
    pub(super) fn certificates(&mut self) -> Result<Answer, Refusal> {
        let read = self.read()?;
        let now = SystemTime::now();
        // What exists is only read here.
        let ca = PrivateCa::open_or_create(&self.api.folder.pki(), now).map_err(|error| {
            let said = pki_said(&error);
            let words = said.in_language(self.texts.language().into());
            Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "unreadable",
                format!("{}: {words}", say!(self.texts, "certificates-failed")),
                say!(self.texts, "api-failed-next"),
            )
        })?;
        let addresses = self.done(self.registry.addresses())?;
        let written = self.done(self.registry.chains())?;
        let view = View {
            settings: &read.settings,
            certificates: &self.api.certificates,
            refused: &[],
            written: &written,
            server: Some(RunningServer {
                pid: Some(std::process::id()),
            }),
            ca: &ca,
            folder: &self.api.folder,
            hosts: &told_hosts(&read.settings, &addresses),
            now,
        };
        Ok(Answer::ok(view.json(self.texts)))
    }
}
