//! How a device reaches this server: an address that is proved, never one that is guessed while a
//! better one is known.

use std::time::{Duration, Instant};

use clap::Args;
use safeport_fleet::{Device, Endpoint, Family, Setup, Trust};
use safeport_net::pki::Fingerprint;
use safeport_settings::{
    AddressError, AdvertisedAddress, AdvertisedHost, BoundSocket, HostName, Listener,
    Reach as Kind, Scheme, Settings, candidates,
};
use safeport_store::{AddressRow, Told};

use super::registry::{Open, failed};
use crate::console::{Console, Failure};
use crate::limits::PROOF_PATIENCE;
use crate::serve::access::{is_loopback, unix_now};
use crate::serve::gate::surroundings;
use crate::text::{Language, Texts};
use crate::{app, certificates, say};

/// What a person says about the way.
#[derive(Debug, Args)]
pub(super) struct Route {
    /// Name or address of this server as the device sees it. Default: the address that is proved to
    /// reach this server, see `safeport ports`
    #[arg(long)]
    host: Option<String>,
    /// Port, where a router or container maps it. Default: that of the listener
    #[arg(long)]
    port: Option<u16>,
    /// Connect to mqtts with the server's fingerprint or CA instead of plain mqtt
    #[arg(long)]
    tls: bool,
}

/// Where the device is to connect, and how it recognises the server.
pub(super) struct Reach {
    pub(super) address: AdvertisedAddress,
    listener: Listener,
    /// What a person should know about the address.
    remark: Option<String>,
    tls: Option<Recognition>,
}

/// By what a device recognises this server over TLS.
struct Recognition {
    /// Of the RSA key that a Tasmota with this address is shown.
    fingerprint: Fingerprint,
    ca_pem: String,
}

impl Reach {
    pub(super) fn find(
        route: &Route,
        open: &Open,
        device: &Device,
        tags: &[String],
        texts: &Texts,
    ) -> Result<Reach, Failure> {
        let settings = open.told_to(device.name.as_str(), tags, texts)?;
        let by_tls = route.tls || settings.advertise.tls || !settings.mqtt.enabled;
        if by_tls && !settings.mqtts.enabled {
            let next = say!(texts, "listener-off-next");
            return Err(Failure::usage(say!(texts, "listener-off")).next(next));
        }
        let (listener, scheme) = if by_tls {
            (Listener::Mqtts, Scheme::Mqtts)
        } else {
            (Listener::Mqtt, Scheme::Mqtt)
        };
        let (address, remark) = match &route.host {
            Some(host) => (given(host, route, scheme, listener, open, texts)?, None),
            None => {
                let (address, remark) =
                    proved(open, &settings, device.family, scheme, listener, texts)?;
                (with_port(address, route.port, texts)?, remark)
            }
        };
        let tls = if by_tls {
            Some(recognition(open, &settings, address.host(), texts)?)
        } else {
            None
        };
        Ok(Reach {
            address,
            listener,
            remark,
            tls,
        })
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

    pub(super) fn setup(
        &self,
        device: &Device,
        password: &str,
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
            firmware: None,
        };
        safeport_fleet::setup(&endpoint, device, password).map_err(|error| {
            Failure::usage(say!(texts, "setup-failed", name = device.name)).detail(error)
        })
    }

    /// Writes down that the device holds this address now: its port does not move by itself any
    /// more; nor does the key change, if the device was told its fingerprint.
    pub(super) fn note(
        &self,
        open: &mut Open,
        device: &Device,
        texts: &Texts,
    ) -> Result<(), Failure> {
        open.registry
            .tell(&Told {
                device: device.name.as_str().to_owned(),
                listener: self.listener.name().to_owned(),
                host: self.host(),
                port: self.address.port(),
                url: self.address.to_string(),
                at: unix_now(),
            })
            .map_err(|error| failed(texts, &error))?;
        let name = device.name.as_str();
        let pinned = match &self.tls {
            // Others are told the CA, or nothing.
            Some(tls) if device.family == Family::Tasmota => {
                let fingerprint = tls.fingerprint.hex();
                open.registry.pin(name, &fingerprint, unix_now())
            }
            _ => open.registry.unpin(name).map(drop),
        };
        pinned.map_err(|error| failed(texts, &error))
    }

    /// Says what a person should know about the address.
    pub(super) fn talk(&self, console: &Console) {
        if let Some(remark) = &self.remark {
            console.talk(remark);
        }
        if let HostName::Ip(ip) = self.address.host()
            && is_loopback(*ip)
        {
            console.talk(&say!(console.texts, "setup-loopback", host = ip));
        }
    }
}

/// What a device with this address finds on `mqtts`.
fn recognition(
    open: &Open,
    settings: &Settings,
    host: &HostName,
    texts: &Texts,
) -> Result<Recognition, Failure> {
    let ca = app::certificates(&open.folder, &open.settings, &open.managed, texts)?;
    let (all, _) = certificates::on_disk(&open.folder, settings, &ca);
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
    route: &Route,
    scheme: Scheme,
    listener: Listener,
    open: &Open,
    texts: &Texts,
) -> Result<AdvertisedAddress, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::usage(say!(texts, "host-bad", host = host)).detail(error)
    };
    let name = HostName::parse(host).map_err(|error| bad(&advice(&error, texts)))?;
    let port = route.port.unwrap_or_else(|| listening_port(open, listener));
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
fn listening_port(open: &Open, listener: Listener) -> u16 {
    let planned = open.settings.plan.binds_of(listener).next();
    let Some(planned) = planned else {
        return open.settings.binds(listener).1.first().port;
    };
    open.registry
        .chosen_port(listener.name(), planned.address)
        .ok()
        .flatten()
        .unwrap_or(planned.address.port())
}

/// The best address that is known, and what a person should know about it.
fn proved(
    open: &Open,
    settings: &Settings,
    family: Family,
    scheme: Scheme,
    listener: Listener,
    texts: &Texts,
) -> Result<(AdvertisedAddress, Option<String>), Failure> {
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
    if open.server().is_none() {
        let why = say!(texts, "told-no-server");
        return guessed(open, settings, suits)
            .map(|address| {
                let remark = say!(texts, "told-unproved", address = address, why = why);
                (address, Some(remark))
            })
            .ok_or_else(nothing);
    }
    let rows = judged_rows(open, listener, suits, texts)?;
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
    let last = open
        .registry
        .last_verified(listener.name(), &scheme.to_string())
        .map_err(|error| failed(texts, &error))?
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
    open: &Open,
    listener: Listener,
    suits: impl Fn(&AdvertisedAddress) -> bool,
    texts: &Texts,
) -> Result<Vec<(AdvertisedAddress, AddressRow)>, Failure> {
    let until = Instant::now() + PROOF_PATIENCE;
    loop {
        let rows: Vec<(AdvertisedAddress, AddressRow)> = open
            .registry
            .addresses()
            .map_err(|error| failed(texts, &error))?
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
    open: &Open,
    settings: &Settings,
    suits: impl Fn(&AdvertisedAddress) -> bool,
) -> Option<AdvertisedAddress> {
    let sockets: Vec<BoundSocket> = settings
        .plan
        .binds()
        .iter()
        .map(|planned| {
            let mut address = planned.address;
            let chosen = open
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
