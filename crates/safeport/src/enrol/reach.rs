//! How a device reaches this server: an address that is proved, never one that is guessed while a
//! better one is known.

use std::time::{Duration, Instant};

use safeport_fleet::{Device, Endpoint, Family, Setup, Trust};
use safeport_net::pki::Fingerprint;
use safeport_settings::{
    AddressError, AdvertisedAddress, AdvertisedHost, BoundSocket, HostName, Listener,
    Reach as Kind, Scheme, Settings, candidates,
};
use safeport_store::{AddressRow, Registry, StoreError, Told};

use super::{Ground, Way};
use crate::console::Failure;
use crate::limits::PROOF_PATIENCE;
use crate::serve::access::{is_loopback, unix_now};
use crate::serve::gate::surroundings;
use crate::text::{Language, Texts};
use crate::{app, certificates, say};

/// Where the device is to connect, and how it recognises the server.
#[derive(Clone)]
pub(super) struct Reach {
    pub(super) address: AdvertisedAddress,
    listener: Listener,
    /// What a person should know about the address.
    pub(super) remarks: Vec<String>,
    tls: Option<Recognition>,
    /// Where the device fetches firmware from by itself, if its family does.
    pub(super) downloads: Option<AdvertisedAddress>,
}

/// By what a device recognises this server over TLS.
#[derive(Clone)]
struct Recognition {
    /// Of the RSA key that a Tasmota with this address is shown.
    fingerprint: Fingerprint,
    ca_pem: String,
}

impl Reach {
    /// For a device of this family with these tags; `name` is empty where it is not known yet.
    pub(super) fn find(
        way: &Way,
        ground: &Ground<'_>,
        family: Family,
        name: &str,
        tags: &[String],
    ) -> Result<Reach, Failure> {
        let texts = ground.texts;
        let settings = ground.told_to(name, tags)?;
        if family == Family::Xiaozhi {
            return Reach::of_check(way, ground, &settings);
        }
        let by_tls = way.tls || settings.advertise.tls || !settings.mqtt.enabled;
        if by_tls && !settings.mqtts.enabled {
            let next = say!(texts, "listener-off-next");
            return Err(Failure::usage(say!(texts, "listener-off")).next(next));
        }
        let (listener, scheme) = if by_tls {
            (Listener::Mqtts, Scheme::Mqtts)
        } else {
            (Listener::Mqtt, Scheme::Mqtt)
        };
        let (address, remark) = match &way.host {
            Some(host) => {
                let port = way.port.unwrap_or_else(|| listening_port(ground, listener));
                (given(host, port, scheme, texts)?, None)
            }
            None => {
                let (address, remark) = proved(ground, &settings, family, scheme, listener)?;
                (with_port(address, way.port, texts)?, remark)
            }
        };
        let tls = match by_tls {
            true => Some(recognition(ground, &settings, address.host())?),
            false => None,
        };
        let mut reach = Reach {
            address,
            listener,
            remarks: remark.into_iter().collect(),
            tls,
            downloads: None,
        };
        if matches!(family, Family::EspHome | Family::Plain) {
            match downloads(way.host.as_deref(), ground, &settings) {
                Ok((address, remark)) => {
                    reach.remarks.extend(remark);
                    reach.downloads = Some(address);
                }
                // It works without; updates come another way.
                Err(why) => {
                    reach
                        .remarks
                        .push(say!(texts, "setup-no-downloads", why = why.one_text()))
                }
            }
        }
        reach.warn_of_loopback(texts);
        Ok(reach)
    }

    /// A xiaozhi device is told where its check is, and learns the rest there.
    fn of_check(way: &Way, ground: &Ground<'_>, settings: &Settings) -> Result<Reach, Failure> {
        let (address, remark) = match (&way.host, way.port) {
            (Some(host), Some(port)) => {
                let listener = web_listener(settings).unwrap_or(Listener::Http);
                let scheme = web_scheme(listener);
                (given(host, port, scheme, ground.texts)?, None)
            }
            (host, _) => downloads(host.as_deref(), ground, settings)?,
        };
        let mut reach = Reach {
            listener: web_listener(settings).unwrap_or(Listener::Http),
            downloads: Some(address.clone()),
            address,
            remarks: remark.into_iter().collect(),
            tls: None,
        };
        reach.warn_of_loopback(ground.texts);
        Ok(reach)
    }

    fn warn_of_loopback(&mut self, texts: &Texts) {
        if let HostName::Ip(ip) = self.address.host()
            && is_loopback(*ip)
        {
            self.remarks.push(say!(texts, "setup-loopback", host = ip));
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn host(&self) -> String {
        match self.address.host() {
            HostName::Ip(ip) => ip.to_string(),
            HostName::Name(name) => name.to_string(),
        }
    }

    /// What to enter into the device. `firmware` is what it fetches by itself.
    pub(super) fn setup(
        &self,
        device: &Device,
        password: &str,
        firmware: Option<&str>,
        texts: &Texts,
    ) -> Result<Setup, Failure> {
        let (host, url) = (self.host(), self.address.to_string());
        let tls = self.tls.as_ref();
        let fingerprint = tls.map(|tls| tls.fingerprint.to_string());
        let endpoint = Endpoint {
            host: &host,
            port: self.address.port(),
            url: &url,
            tls: tls
                .zip(fingerprint.as_deref())
                .map(|(tls, fingerprint)| Trust {
                    fingerprint,
                    ca_pem: &tls.ca_pem,
                }),
            firmware,
        };
        safeport_fleet::setup(&endpoint, device, password).map_err(|error| {
            Failure::usage(say!(texts, "setup-failed", name = device.name)).detail(error)
        })
    }

    /// Writes down that the device holds this address now: its port does not move by itself any
    /// more; nor does the key change, if the device was told its fingerprint.
    pub(super) fn note(&self, registry: &mut Registry, device: &Device) -> Result<(), StoreError> {
        let name = device.name.as_str();
        registry.tell(&Told {
            device: name.to_owned(),
            listener: self.listener.name().to_owned(),
            host: self.host(),
            port: self.address.port(),
            url: self.address.to_string(),
            at: unix_now(),
        })?;
        match &self.tls {
            // Others are told the CA, or nothing.
            Some(tls) if device.family == Family::Tasmota => {
                registry.pin(name, &tls.fingerprint.hex(), unix_now())
            }
            _ => registry.unpin(name).map(drop),
        }
    }
}

/// The listener that downloads come from: without TLS where there is a choice, since what devices
/// fetch carries its own proof and few of them know our authority.
fn web_listener(settings: &Settings) -> Option<Listener> {
    let on = [
        (Listener::Http, settings.http.enabled),
        (Listener::Https, settings.https.enabled),
    ];
    on.into_iter()
        .find(|(_, on)| *on)
        .map(|(listener, _)| listener)
}

fn web_scheme(listener: Listener) -> Scheme {
    match listener {
        Listener::Https => Scheme::Https,
        _ => Scheme::Http,
    }
}

/// The address that a device fetches files from.
fn downloads(
    host: Option<&str>,
    ground: &Ground<'_>,
    settings: &Settings,
) -> Result<(AdvertisedAddress, Option<String>), Failure> {
    let texts = ground.texts;
    let Some(listener) = web_listener(settings) else {
        return Err(Failure::new(say!(texts, "told-nothing", listener = "http"))
            .next(say!(texts, "told-nothing-next")));
    };
    let scheme = web_scheme(listener);
    match host {
        Some(host) => {
            let port = listening_port(ground, listener);
            Ok((given(host, port, scheme, texts)?, None))
        }
        None => proved(ground, settings, Family::Plain, scheme, listener),
    }
}

/// What a device with this address finds on `mqtts`.
fn recognition(
    ground: &Ground<'_>,
    settings: &Settings,
    host: &HostName,
) -> Result<Recognition, Failure> {
    let ca = app::certificates(ground.folder, ground.settings, ground.managed, ground.texts)?;
    let (all, _) = certificates::on_disk(ground.folder, settings, &ca);
    let choice = certificates::choice(settings, Listener::Mqtts);
    let host = match host {
        HostName::Ip(ip) => ip.to_string(),
        HostName::Name(name) => name.to_string(),
    };
    let shown = all
        .for_tasmota(choice, Some(&host))
        .and_then(|chain| chain.tasmota_fingerprints())
        .unwrap_or(ca.fingerprints());
    Ok(Recognition {
        fingerprint: shown.v2,
        ca_pem: ca.ca_pem().to_owned(),
    })
}

/// The address that a person named.
fn given(
    host: &str,
    port: u16,
    scheme: Scheme,
    texts: &Texts,
) -> Result<AdvertisedAddress, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::usage(say!(texts, "host-bad", host = host)).detail(error)
    };
    let name = HostName::parse(host).map_err(|error| bad(&advice(&error, texts)))?;
    AdvertisedAddress::new(scheme, name, port).map_err(|error| bad(&advice(&error, texts)))
}

fn advice(error: &AddressError, texts: &Texts) -> String {
    let language = texts.language().into();
    let (what, help) = (error.what(), error.help());
    format!(
        "{}; {}",
        what.in_language(language),
        help.in_language(language)
    )
}

fn with_port(
    address: AdvertisedAddress,
    port: Option<u16>,
    texts: &Texts,
) -> Result<AdvertisedAddress, Failure> {
    match port {
        None => Ok(address),
        Some(port) => AdvertisedAddress::new(address.scheme(), address.host().clone(), port)
            .map_err(|error| {
                Failure::usage(say!(texts, "host-bad", host = address))
                    .detail(advice(&error, texts))
            }),
    }
}

/// The port that a listener has, moved ones as moved.
fn listening_port(ground: &Ground<'_>, listener: Listener) -> u16 {
    let planned = ground.settings.plan.binds_of(listener).next();
    let Some(planned) = planned else {
        return ground.settings.binds(listener).1.first().port;
    };
    ground
        .registry
        .chosen_port(listener.name(), planned.address)
        .ok()
        .flatten()
        .unwrap_or(planned.address.port())
}

/// The best address that is known, and what a person should know about it.
fn proved(
    ground: &Ground<'_>,
    settings: &Settings,
    family: Family,
    scheme: Scheme,
    listener: Listener,
) -> Result<(AdvertisedAddress, Option<String>), Failure> {
    let texts = ground.texts;
    let suits = |address: &AdvertisedAddress| {
        address.scheme() == scheme
            && match &settings.advertise.host {
                // What this device is told may differ from what the others are.
                AdvertisedHost::Host(host) => address.host() == host,
                AdvertisedHost::Auto => true,
            }
            // Tasmota's official images look no such names up.
            && !(family == Family::Tasmota && address.reach() == Kind::Mdns)
    };
    let nothing = || {
        Failure::new(say!(texts, "told-nothing", listener = listener.name()))
            .next(say!(texts, "told-nothing-next"))
    };
    if !ground.serves {
        let why = say!(texts, "told-no-server");
        return guessed(ground, settings, suits)
            .map(|address| {
                let remark = say!(texts, "told-unproved", address = address, why = why);
                (address, Some(remark))
            })
            .ok_or_else(nothing);
    }
    let rows = judged_rows(ground, listener, suits, texts)?;
    let in_state = |state: &str| rows.iter().find(|(_, row)| row.state == state);
    if let Some((address, _)) = in_state("verified") {
        return Ok((address.clone(), None));
    }
    let unproved = |(address, row): &(AdvertisedAddress, AddressRow)| {
        let why = match texts.language() {
            Language::English => &row.detail_en,
            Language::Chinese => &row.detail_zh,
        };
        let remark = say!(texts, "told-unproved", address = address, why = why);
        (address.clone(), Some(remark))
    };
    if let Some(degraded) = in_state("degraded") {
        return Ok(unproved(degraded));
    }
    let last = ground
        .registry
        .last_verified(listener.name(), &scheme.to_string())
        .map_err(|error| app::registry_failed(texts, &error))?
        .and_then(|last| AdvertisedAddress::parse(&last.url).ok())
        .filter(|address| {
            // One that the server no longer speaks of was no candidate any more and then failed.
            rows.iter()
                .any(|(known, row)| known == address && row.state != "broken")
        });
    if let Some(address) = last {
        return Ok((address, None));
    }
    in_state("unverifiable_from_here")
        .map(unproved)
        .ok_or_else(nothing)
}

/// The addresses of a listener. A server that has just started is given a moment to look at them.
fn judged_rows(
    ground: &Ground<'_>,
    listener: Listener,
    suits: impl Fn(&AdvertisedAddress) -> bool,
    texts: &Texts,
) -> Result<Vec<(AdvertisedAddress, AddressRow)>, Failure> {
    let until = Instant::now() + PROOF_PATIENCE;
    loop {
        let rows: Vec<(AdvertisedAddress, AddressRow)> = ground
            .registry
            .addresses()
            .map_err(|error| app::registry_failed(texts, &error))?
            .into_iter()
            .filter(|row| row.listener == listener.name())
            .filter_map(|row| Some((AdvertisedAddress::parse(&row.url).ok()?, row)))
            .filter(|(address, _)| suits(address))
            .collect();
        let any = |states: &[&str]| {
            rows.iter()
                .any(|(_, row)| states.contains(&row.state.as_str()))
        };
        let undecided = rows.is_empty() || any(&["unknown", "probing"]);
        if any(&["verified"]) || !undecided || Instant::now() >= until {
            return Ok(rows);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Without a server nothing can be proved; what it would try first is the best guess.
fn guessed(
    ground: &Ground<'_>,
    settings: &Settings,
    suits: impl Fn(&AdvertisedAddress) -> bool,
) -> Option<AdvertisedAddress> {
    let sockets: Vec<BoundSocket> = settings
        .plan
        .binds()
        .iter()
        .map(|planned| {
            let mut address = planned.address;
            let chosen = ground
                .registry
                .chosen_port(planned.listener.name(), planned.address);
            if let Ok(Some(port)) = chosen {
                address.set_port(port);
            }
            BoundSocket {
                listener: planned.listener,
                address,
                standard: planned.standard,
            }
        })
        .collect();
    candidates(settings, &surroundings(&sockets))
        .into_iter()
        .map(|candidate| candidate.address)
        .find(suits)
}
