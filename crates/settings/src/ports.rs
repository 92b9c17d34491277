//! The port plan: every place where this server listens and every address that
//! it tells, held against each other before anything is bound.
//!
//! A [`PortPlan`] cannot hold two binds that take the same socket: whoever makes
//! one gets [`Problem`]s instead.

mod overlap;
mod rules;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

pub use overlap::{PortClaim, Protocol};

use crate::{
    AdvertisedAddress, AdvertisedHost, Bind, HostName, Listener, Names, Problem, Reach, Scheme,
    Settings, Source, XiaozhiTransport,
};

/// One socket that will be bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBind {
    /// For which listener.
    pub listener: Listener,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where, names resolved. Port 0 takes a free one.
    pub address: SocketAddr,
    /// As it was written.
    pub written: Bind,
    /// The key that says so: `http.bind`, or `http.standard_ports`.
    pub key: String,
    /// Where that key was set.
    pub source: Source,
    /// Whether it is there for addresses typed without a port only
    /// (`standard_ports`): taken where it is free, never told.
    pub standard: bool,
}

impl PlannedBind {
    /// What it takes.
    pub fn claim(&self) -> PortClaim {
        PortClaim {
            protocol: self.protocol,
            address: self.address,
        }
    }
}

/// How an advertised address leads to a listener.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// It is the listener's own.
    Listener(Listener),
    /// A proxy, router or container mapping forwards it: `[proxy.NAME]`.
    Proxy(String),
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Listener(listener) => write!(f, "{listener}"),
            Via::Proxy(name) => write!(f, "proxy.{name}"),
        }
    }
}

/// One address that the settings name for devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedAddress {
    /// The address.
    pub address: AdvertisedAddress,
    /// How it leads here.
    pub via: Via,
    /// The listener behind it.
    pub to: Listener,
    /// The key that says so.
    pub key: String,
    /// Where that key was set.
    pub source: Source,
}

/// Every bind and every advertised address of some settings, without clashes.
///
/// Binds by a name that has not been resolved are not in it yet, nor are the
/// addresses that are found on the machine itself: see [`crate::candidates`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPlan {
    binds: Vec<PlannedBind>,
    advertised: Vec<PlannedAddress>,
    xiaozhi: XiaozhiTransport,
    /// Where `advertise.xiaozhi` was set.
    xiaozhi_source: Source,
    /// Listeners of which something is unusable or not resolved yet: nothing is
    /// said about what they lack.
    unsure: Vec<Listener>,
    /// Whether `advertise.host` names a host.
    host_is_set: bool,
    /// Listeners that are to serve a standard port, too, and where that was set.
    standard: Vec<(Listener, Source)>,
}

impl Default for PortPlan {
    /// A plan of nothing.
    fn default() -> PortPlan {
        PortPlan {
            binds: Vec::new(),
            advertised: Vec::new(),
            xiaozhi: XiaozhiTransport::Auto,
            xiaozhi_source: Source::Default,
            unsure: Listener::ALL.to_vec(),
            host_is_set: false,
            standard: Vec::new(),
        }
    }
}

impl PortPlan {
    /// Every bind. No two of them take the same socket.
    pub fn binds(&self) -> &[PlannedBind] {
        &self.binds
    }

    /// Every address that the settings name for devices.
    pub fn advertised(&self) -> &[PlannedAddress] {
        &self.advertised
    }

    /// The binds of one listener, standard ports last.
    pub fn binds_of(&self, listener: Listener) -> impl Iterator<Item = &PlannedBind> {
        self.binds
            .iter()
            .filter(move |bind| bind.listener == listener)
    }

    /// Adds a bind.
    ///
    /// # Errors
    /// The bind that takes a socket of it already.
    pub fn add(&mut self, bind: PlannedBind) -> Result<(), &PlannedBind> {
        let claim = bind.claim();
        let taken = self
            .binds
            .iter()
            .position(|other| other.claim().overlaps(claim));
        match taken {
            Some(index) => Err(&self.binds[index]),
            None => {
                self.binds.push(bind);
                Ok(())
            }
        }
    }

    /// The plan with the binds of a listener on one port moved to another, and
    /// the addresses told for them with it: what holds after a fallback
    /// (`on_conflict`), or once port 0 has become a real one.
    ///
    /// # Errors
    /// What is wrong with the plan then, if it is not what was wrong before.
    pub fn moved(&self, listener: Listener, from: u16, to: u16) -> Result<PortPlan, Vec<Problem>> {
        let mut plan = PortPlan {
            binds: Vec::new(),
            ..self.clone()
        };
        let wanted = self.binds.iter().cloned().map(|mut bind| {
            if bind.listener == listener && bind.address.port() == from && !bind.standard {
                bind.address.set_port(to);
            }
            bind
        });
        let mut problems = plan.fill(wanted.collect());
        for told in &mut plan.advertised {
            if told.via == Via::Listener(listener)
                && told.address.port() == from
                && let Ok(address) =
                    AdvertisedAddress::new(told.address.scheme(), told.address.host().clone(), to)
            {
                told.address = address;
            }
        }
        problems.extend(rules::broken(&plan));
        let before = rules::broken(self);
        problems.retain(|problem| !before.contains(problem));
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(problems)
        }
    }

    /// What to know about the plan that is no mistake.
    pub fn notes(&self) -> Vec<Problem> {
        rules::notes(self)
    }

    /// Adds binds as long as they go together, and says of every pair that does
    /// not. Standard ports give way in silence.
    fn fill(&mut self, wanted: Vec<PlannedBind>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (index, bind) in wanted.iter().enumerate() {
            let clashes = wanted[..index]
                .iter()
                .filter(|other| !bind.standard && other.claim().overlaps(bind.claim()))
                .map(|other| rules::clash(bind, other));
            problems.extend(clashes);
        }
        for bind in wanted {
            let (listener, standard) = (bind.listener, bind.standard);
            // Whoever is refused here has been spoken of above; what follows from it is not.
            if self.add(bind).is_err() && !standard && !self.unsure.contains(&listener) {
                self.unsure.push(listener);
            }
        }
        problems
    }

    /// Where MQTT or HTTP in this scheme is told: the ports of the listener
    /// itself and of what forwards to it.
    fn ports_told(&self, scheme: Scheme) -> Vec<u16> {
        let own = self
            .binds
            .iter()
            .filter(|bind| {
                schemes_of(bind.listener).contains(&scheme)
                    && !bind.standard
                    && bind.address.port() != 0
                    && !is_loopback(bind.address.ip())
            })
            .map(|bind| bind.address.port());
        let named = self
            .advertised
            .iter()
            .filter(|told| told.address.scheme() == scheme)
            .map(|told| told.address.port());
        let mut ports: Vec<u16> = named.chain(own).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// The schemes that a listener speaks.
pub(crate) fn schemes_of(listener: Listener) -> &'static [Scheme] {
    match listener {
        Listener::Mqtt => &[Scheme::Mqtt],
        Listener::Mqtts => &[Scheme::Mqtts],
        Listener::Http => &[Scheme::Http, Scheme::Ws],
        Listener::Https => &[Scheme::Https, Scheme::Wss],
        // Devices are told its host by hand; there is no URL of it.
        Listener::Ntp => &[],
        // Each hello names host and port of its own.
        Listener::Voice => &[],
    }
}

impl Settings {
    /// The standard port that a listener serves, too, and the key that says so.
    fn standard_port(&self, listener: Listener) -> Option<(u16, &'static str)> {
        match listener {
            Listener::Http if self.http.standard_ports => Some((80, "http.standard_ports")),
            Listener::Https if self.https.standard_ports => Some((443, "https.standard_ports")),
            _ => None,
        }
    }
}

/// Makes the plan of settings, sets it in them, and adds what is wrong and what
/// is to know. Keys in `failed` have a problem already: nothing is concluded
/// from their values.
pub(crate) fn plan(
    settings: &mut Settings,
    names: &Names<'_>,
    failed: &[String],
    problems: &mut Vec<Problem>,
) {
    let mut planner = Planner {
        settings,
        names,
        failed,
        plan: PortPlan {
            xiaozhi: settings.advertise.xiaozhi,
            xiaozhi_source: source(settings, "advertise.xiaozhi"),
            unsure: Vec::new(),
            host_is_set: settings.advertise.host != AdvertisedHost::Auto,
            ..PortPlan::default()
        },
        problems: Vec::new(),
    };
    // A voice server elsewhere takes no address of ours.
    let elsewhere = settings.advertise.xiaozhi == XiaozhiTransport::WebSocket
        && !settings.xiaozhi.websocket_url.is_empty();
    if elsewhere || planner.has_failed("advertise.xiaozhi") {
        planner.plan.xiaozhi = XiaozhiTransport::Auto;
    }
    planner.plan_binds();
    planner.plan_standard_ports();
    planner.plan_host();
    planner.plan_proxies();
    let plan = planner.plan;
    problems.append(&mut planner.problems);
    problems.extend(rules::broken(&plan).into_iter().map(|mut problem| {
        // The plan does not know who switched a listener off.
        if let (Source::Default, Some(key)) = (&problem.source, &problem.key)
            && let Some(source) = settings.source(key)
        {
            problem.source = source.clone();
        }
        problem
    }));
    settings.notes.extend(plan.notes());
    settings.plan = plan;
}

struct Planner<'a> {
    settings: &'a Settings,
    names: &'a Names<'a>,
    failed: &'a [String],
    plan: PortPlan,
    problems: Vec<Problem>,
}

impl Planner<'_> {
    fn has_failed(&self, key: &str) -> bool {
        self.failed.iter().any(|failed| failed == key)
    }

    fn plan_binds(&mut self) {
        let settings = self.settings;
        let mut wanted = Vec::new();
        for listener in Listener::ALL {
            let key = listener.bind_key();
            if self.has_failed(key) || self.has_failed(listener.enabled_key()) {
                self.plan.unsure.push(listener);
                continue;
            }
            let (enabled, binds) = settings.binds(listener);
            for written in binds.iter().filter(|_| enabled) {
                for address in self.addresses(listener, written) {
                    wanted.push(PlannedBind {
                        listener,
                        protocol: listener.protocol(),
                        address,
                        written: written.clone(),
                        key: key.to_string(),
                        source: source(settings, key),
                        standard: false,
                    });
                }
            }
        }
        let clashes = self.plan.fill(wanted);
        self.problems.extend(clashes);
    }

    /// The addresses of a bind; those of a name each once.
    fn addresses(&mut self, listener: Listener, written: &Bind) -> Vec<SocketAddr> {
        let name = match &written.host {
            HostName::Ip(ip) => return [SocketAddr::new(*ip, written.port)].into(),
            HostName::Name(name) => name.as_str(),
        };
        let known = self.names.iter().find(|(known, _)| *known == name);
        let Some((_, ips)) = known else {
            self.plan.unsure.push(listener);
            return Vec::new();
        };
        if ips.is_empty() {
            self.plan.unsure.push(listener);
            self.problems
                .push(rules::unresolved(self.settings, listener, written));
        }
        let mut ips: Vec<IpAddr> = ips.iter().map(IpAddr::to_canonical).collect();
        ips.sort_unstable();
        ips.dedup();
        ips.into_iter()
            .map(|ip| SocketAddr::new(ip, written.port))
            .collect()
    }

    /// After all others, so that they give way.
    fn plan_standard_ports(&mut self) {
        for listener in Listener::CONNECTED {
            let Some((port, key)) = self.settings.standard_port(listener) else {
                continue;
            };
            if !self.settings.binds(listener).0 || self.has_failed(key) {
                continue;
            }
            let wanted_by = source(self.settings, key);
            self.plan.standard.push((listener, wanted_by));
            let beside: Vec<PlannedBind> = self.plan.binds_of(listener).cloned().collect();
            for mut bind in beside {
                bind.address.set_port(port);
                bind.key = key.to_string();
                bind.source = source(self.settings, key);
                bind.standard = true;
                // What is served only where it is free gives way in silence.
                let _ = self.plan.add(bind);
            }
        }
    }

    /// What `advertise.host` makes of the listeners.
    fn plan_host(&mut self) {
        let AdvertisedHost::Host(host) = &self.settings.advertise.host else {
            return;
        };
        if self.has_failed("advertise.host") {
            return;
        }
        let key = "advertise.host";
        for listener in Listener::CONNECTED {
            // To one name one port: that of the first bind that others reach.
            let port = self
                .plan
                .binds_of(listener)
                .find(|bind| !bind.standard && !is_loopback(bind.address.ip()))
                .map(|bind| bind.address.port());
            for scheme in schemes_of(listener) {
                // Port 0 is told once it is a real one.
                if let Some(Ok(address)) =
                    port.map(|port| AdvertisedAddress::new(*scheme, host.clone(), port))
                {
                    self.plan.advertised.push(PlannedAddress {
                        address,
                        via: Via::Listener(listener),
                        to: listener,
                        key: key.to_string(),
                        source: source(self.settings, key),
                    });
                }
            }
        }
    }

    fn plan_proxies(&mut self) {
        for proxy in &self.settings.proxy {
            let key = alloc::format!("proxy.{}.url", proxy.name);
            let to = alloc::format!("proxy.{}.to", proxy.name);
            if self.has_failed(&key) || self.has_failed(&to) {
                continue;
            }
            if !rules::speaks_alike(proxy.url.scheme(), proxy.to) {
                let (told, to) = (source(self.settings, &key), source(self.settings, &to));
                self.problems.push(rules::other_protocol(proxy, told, to));
                continue;
            }
            self.plan.advertised.push(PlannedAddress {
                address: proxy.url.clone(),
                via: Via::Proxy(proxy.name.clone()),
                to: proxy.to,
                source: source(self.settings, &key),
                key,
            });
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    Reach::of(ip) == Reach::Loopback
}

fn source(settings: &Settings, key: &str) -> Source {
    settings.source(key).cloned().unwrap_or(Source::Default)
}

#[cfg(test)]
mod tests;
