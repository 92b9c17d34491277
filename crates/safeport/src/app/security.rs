//! What secures the listeners, composed: certificates of all sources, ACME, the bounds of handshakes.

use std::sync::Arc;
use std::time::SystemTime;

use safeport_net::pki::Certificates;
use safeport_net::{Handshakes, PrivateCa};
use safeport_settings::{Listener, Said};
use safeport_store::{DataFolder, Registry};

use super::house::{certificates, registry_failed};
use super::plan::handshake_limits;
use crate::acme::{Acme, AcmeConfig, AcmeHandle, Challenges};
use crate::certificates::{
    Prepared, Presented, chain_said, pinned, pki_said, server_keys, strangers,
};
use crate::console::Failure;
use crate::reading::Read;
use crate::say;
use crate::text::Texts;

/// Before there are listeners.
pub(super) struct Security {
    pub(super) ca: PrivateCa,
    pub(super) presented: Presented,
    pub(super) challenges: Challenges,
    /// To be run.
    pub(super) acme: Acme,
    pub(super) acme_handle: AcmeHandle,
    pub(super) handshakes: Handshakes,
}

impl Security {
    pub(super) fn open(
        read: &Read,
        folder: &DataFolder,
        registry: &Registry,
        texts: &Texts,
    ) -> Result<Security, Failure> {
        let settings = &read.settings;
        let ca = certificates(folder, settings, &read.managed, texts)?;
        let own = Certificates::new();
        own.set_private(ca.chains());
        let challenges = Challenges::new();
        let (acme, acme_handle) = Acme::new(
            AcmeConfig::of(settings),
            server_keys(&ca),
            &folder.pki().join("acme"),
            Arc::new(own.clone()),
            challenges.clone(),
        );
        let presented = present(own, read, &ca, registry, texts)?;
        Ok(Security {
            ca,
            presented,
            challenges,
            acme,
            acme_handle,
            handshakes: Handshakes::new(handshake_limits(settings)),
        })
    }
}

/// What listeners present. Chains that cannot be served, and those that would strand devices, keep
/// nobody from starting: the private certificates stand in for them, and it is said loudly.
fn present(
    own: Certificates,
    read: &Read,
    ca: &PrivateCa,
    registry: &Registry,
    texts: &Texts,
) -> Result<Presented, Failure> {
    let failed = |said: Said| {
        let words = said.in_language(texts.language().into());
        Failure::new(say!(texts, "certificates-failed")).detail(words)
    };
    let pinned = pinned(registry).map_err(|error| registry_failed(texts, &error))?;
    let prepared = Prepared::new(&read.settings, ca.ca_der(), SystemTime::now())
        .map_err(|error| failed(chain_said(&error)))?;
    let presented =
        Presented::start(own, prepared, &pinned).map_err(|error| failed(pki_said(&error)))?;
    for refused in presented.refused() {
        tracing::error!(
            target: "safeport::certificates",
            "the private certificates are presented in place of a chain of tls.chain_files: {}",
            refused.why.en
        );
    }
    if let Some(held_back) = presented.held_back() {
        tracing::error!(
            target: "safeport::certificates",
            "tls.chain_files bring another key than the one by which devices know this server, and wait: {}. Give them the new fingerprint, then run `safeport cert accept --strand NAME` for each",
            held_back.devices.join(", ")
        );
    }
    let choice = presented.service(Listener::Mqtts).choice();
    let lost = strangers(&pinned, presented.certificates(), choice);
    if !lost.is_empty() {
        tracing::error!(
            target: "safeport::certificates",
            "these devices know another key than mqtts shows them, and will not connect: {}. Give them the fingerprint that `safeport cert fingerprint` prints, or put the old key back",
            lost.join(", ")
        );
    }
    Ok(presented)
}
