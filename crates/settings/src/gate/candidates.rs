//! Which addresses devices might be told, best first.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::Candidate;
use crate::ports::{Via, schemes_of};
use crate::said::said;
use crate::{AdvertisedAddress, AdvertisedHost, HostName, Listener, Reach, Said, Settings};

/// What the binary has found out about the machine it runs on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Addresses of this machine's interfaces.
    pub addresses: Vec<InterfaceAddress>,
    /// The machine's name, without a domain; empty if it has none.
    pub host_name: String,
    /// What kind of container this is, for instance `docker`; `None` outside of
    /// one.
    pub container: Option<String>,
    /// The sockets that are bound, or, before anything is, those of the plan.
    pub sockets: Vec<BoundSocket>,
}

/// One address of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// The interface's name, for instance `wlan0`.
    pub interface: String,
    /// Whether the interface leads to containers or virtual machines on this
    /// machine (`docker0`, `br-…`, `virbr0`).
    pub is_container_bridge: bool,
    /// Whether the way out of the house begins here.
    pub is_default_route: bool,
}

/// One socket that is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundSocket {
    /// For which listener.
    pub listener: Listener,
    /// Where, with the port that it really has.
    pub address: SocketAddr,
    /// Whether it is there for addresses typed without a port only
    /// (`http.standard_ports`). Such ports are never told.
    pub standard: bool,
}

/// The addresses that devices might be told, preferred ones first, each once.
///
/// `advertise.host` comes first, then what `[proxy]` declares, then for a socket
/// that is bound to all addresses: IPv4 of the home network (the way out of the
/// house first), public IPv4, private then public IPv6, mesh networks and
/// link-local IPv4, and the machine's name with `.local`. A socket that is bound
/// to one address gives that one. Loopback is a candidate only of a listener
/// that is bound to nothing else. Addresses of container bridges, of link-local
/// IPv6 and those in `advertise.avoid` are left out.
///
/// In a container with a network of its own, what its interfaces say is marked
/// as not verifiable from here.
pub fn candidates(settings: &Settings, surroundings: &Surroundings) -> Vec<Candidate> {
    let mut list = List {
        settings,
        candidates: Vec::new(),
    };
    let hosts = Hosts::of(surroundings);
    for listener in Listener::CONNECTED {
        let sockets: Vec<SocketAddr> = surroundings
            .sockets
            .iter()
            .filter(|socket| socket.listener == listener && !socket.standard)
            .map(|socket| socket.address)
            .collect();
        let has_proxy = settings.proxy.iter().any(|proxy| proxy.to == listener);
        let only_here = sockets.iter().all(|socket| is_loopback(socket.ip()));
        if let AdvertisedHost::Host(host) = &settings.advertise.host
            && !only_here
        {
            // To one name one port: that of the first socket.
            if let Some(socket) = sockets.iter().find(|socket| !is_loopback(socket.ip())) {
                list.push_host(listener, host.clone(), socket.port(), None);
            }
        }
        for proxy in settings.proxy.iter().filter(|proxy| proxy.to == listener) {
            list.push_proxy(listener, &proxy.name, &proxy.url);
        }
        for socket in &sockets {
            let ip = socket.ip().to_canonical();
            if !ip.is_unspecified() {
                // Behind a proxy on this machine, loopback is the proxy's way in and nobody else's.
                if !is_loopback(ip) || (only_here && !has_proxy) {
                    list.push_ip(listener, ip, socket.port(), hosts.doubt(ip));
                }
                continue;
            }
            for ip in hosts.covered_by(ip) {
                list.push_ip(listener, ip, socket.port(), hosts.doubt(ip));
            }
        }
        for socket in sockets.iter().filter(|socket| socket.ip().is_unspecified()) {
            if let Some(name) = &hosts.mdns {
                let doubt = hosts.own_network.clone();
                list.push_host(listener, name.clone(), socket.port(), doubt);
            }
        }
    }
    list.candidates
}

struct List<'a> {
    settings: &'a Settings,
    candidates: Vec<Candidate>,
}

impl List<'_> {
    fn push_ip(&mut self, listener: Listener, ip: IpAddr, port: u16, doubt: Option<Said>) {
        let avoid = &self.settings.advertise.avoid;
        if avoid.iter().any(|network| network.contains(ip)) {
            return;
        }
        if let Ok(host) = HostName::try_from(ip) {
            self.push_host(listener, host, port, doubt);
        }
    }

    fn push_host(&mut self, listener: Listener, host: HostName, port: u16, doubt: Option<Said>) {
        for scheme in schemes_of(listener) {
            // Port 0 is a socket that is not bound yet.
            if let Ok(address) = AdvertisedAddress::new(*scheme, host.clone(), port) {
                self.push(listener, address, Via::Listener(listener), doubt.clone());
            }
        }
    }

    fn push_proxy(&mut self, listener: Listener, name: &str, url: &AdvertisedAddress) {
        for scheme in [url.scheme().http(), url.scheme().websocket()] {
            let via = Via::Proxy(name.into());
            self.push(listener, url.with_scheme(scheme), via, None);
        }
    }

    fn push(
        &mut self,
        listener: Listener,
        address: AdvertisedAddress,
        via: Via,
        unverifiable: Option<Said>,
    ) {
        if self.candidates.iter().all(|other| other.address != address) {
            self.candidates.push(Candidate {
                listener,
                address,
                via,
                unverifiable,
            });
        }
    }
}

/// What this machine can be called by, best first.
struct Hosts {
    addresses: Vec<IpAddr>,
    mdns: Option<HostName>,
    /// Set in a container with a network of its own: why its addresses cannot
    /// be proved from inside.
    own_network: Option<Said>,
}

impl Hosts {
    fn of(surroundings: &Surroundings) -> Hosts {
        let mut usable: Vec<&InterfaceAddress> = surroundings
            .addresses
            .iter()
            .filter(|address| !address.is_container_bridge && for_others(address.ip))
            .collect();
        usable.sort_by_key(|address| (preference(address.ip), !address.is_default_route));
        let mdns = HostName::parse(&alloc::format!("{}.local", surroundings.host_name)).ok();
        Hosts {
            addresses: usable
                .into_iter()
                .map(|address| address.ip.to_canonical())
                .collect(),
            mdns,
            own_network: own_network(surroundings),
        }
    }

    /// Addresses that a socket bound to a wildcard is reached at. `[::]` takes
    /// IPv4, too.
    fn covered_by(&self, wildcard: IpAddr) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .copied()
            .filter(move |ip| wildcard.is_ipv6() || ip.is_ipv4())
    }

    fn doubt(&self, ip: IpAddr) -> Option<Said> {
        if is_loopback(ip) {
            return None;
        }
        self.own_network.clone()
    }
}

/// Whether another machine could use the address.
fn for_others(ip: IpAddr) -> bool {
    match Reach::of(ip) {
        Reach::Loopback => false,
        // A reader would have to know the name of its own interface.
        Reach::LinkLocal => ip.to_canonical().is_ipv4(),
        _ => !ip.is_unspecified(),
    }
}

/// What devices get through to most surely: they speak IPv4, and live at home.
fn preference(ip: IpAddr) -> u8 {
    let ip = ip.to_canonical();
    match (Reach::of(ip), ip.is_ipv4()) {
        (Reach::Private, true) => 0,
        (Reach::Public, true) => 1,
        (Reach::Private, false) => 2,
        (Reach::Public, false) => 3,
        (Reach::Cgnat, _) => 4,
        _ => 5,
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    Reach::of(ip) == Reach::Loopback
}

/// Why addresses of this container cannot be proved from inside it; `None`
/// outside of one and where it has the machine's own network.
fn own_network(surroundings: &Surroundings) -> Option<Said> {
    let kind = surroundings.container.as_deref()?;
    // System containers (LXC, nspawn) are usually bridged to the home network
    // and have an address of it. Seen bridges are those of the machine itself.
    let system = ["lxc", "nspawn", "systemd-nspawn"]
        .iter()
        .any(|word| kind.eq_ignore_ascii_case(word));
    let addresses = &surroundings.addresses;
    let bridge = addresses.iter().any(|address| address.is_container_bridge);
    let inner = addresses
        .iter()
        .any(|address| Reach::of(address.ip) == Reach::Container);
    if bridge || (system && !inner) {
        return None;
    }
    Some(said!(
        "this is an address inside a container ({kind}), which devices usually cannot reach: set \
         advertise.host to the address of the machine that runs the container, and publish the \
         port there (-p)",
        "这是容器（{kind}）内部的地址，设备通常无法到达：请把 advertise.host 设为运行容器的那台机器的地址，\
         并在那里发布端口（-p）"
    ))
}

#[cfg(test)]
mod tests;
