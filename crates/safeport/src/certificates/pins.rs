//! Devices that know the server by its key: who would no longer recognise it.

use std::collections::HashMap;

use safeport_net::pki::{Certificates, Choice};
use safeport_settings::Listener;
use safeport_store::{Pin, Registry, StoreError};

/// The pins that count, each with the host that its device connects to over TLS, if it was told one.
///
/// # Errors
/// The registry cannot be read.
pub fn pinned(registry: &Registry) -> Result<Vec<(Pin, Option<String>)>, StoreError> {
    let mut hosts: HashMap<String, String> = registry
        .told()?
        .into_iter()
        .filter(|told| told.listener == Listener::Mqtts.name())
        .map(|told| (told.device, told.host))
        .collect();
    let pins = registry.pins()?.into_iter();
    Ok(pins
        .filter(|pin| pin.stranded.is_none())
        .map(|pin| {
            let host = hosts.remove(&pin.device);
            (pin, host)
        })
        .collect())
}

/// The devices among `pinned` that `before` shows the key they know, and `after` another one.
pub fn stranded(
    pinned: &[(Pin, Option<String>)],
    before: (&Certificates, Choice),
    after: (&Certificates, Choice),
) -> Vec<String> {
    let shows = |(certificates, choice): (&Certificates, Choice), host: Option<&str>| {
        let chain = certificates.for_tasmota(choice, host)?;
        Some(chain.tasmota_fingerprints()?.v2.hex())
    };
    pinned
        .iter()
        .filter(|(pin, host)| {
            let known = Some(&pin.fingerprint);
            let host = host.as_deref();
            shows(before, host).as_ref() == known && shows(after, host).as_ref() != known
        })
        .map(|(pin, _)| pin.device.clone())
        .collect()
}

/// The devices among `pinned` that are shown another key than they know.
pub fn strangers(
    pinned: &[(Pin, Option<String>)],
    certificates: &Certificates,
    choice: Choice,
) -> Vec<String> {
    let stranger = |(pin, host): &&(Pin, Option<String>)| {
        let chain = certificates.for_tasmota(choice, host.as_deref());
        let shown = chain.and_then(|chain| chain.tasmota_fingerprints());
        shown.is_none_or(|shown| shown.v2.hex() != pin.fingerprint)
    };
    pinned
        .iter()
        .filter(stranger)
        .map(|(pin, _)| pin.device.clone())
        .collect()
}
