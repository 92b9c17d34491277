//! What this machine is called and where the home network reaches it: for the names in the
//! server's certificate and for the address that devices are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use safeport_net::limits::CERTIFICATE_NAMES;
use safeport_net::surroundings::{InterfaceKind, Surroundings};
use safeport_settings::{AdvertisedHost, HostName, Settings};
use safeport_store::{ManagedRow, Scope};

/// The machine's host name without domain; `localhost` if it has none.
pub fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    match name.split('.').next() {
        Some(first) if !first.is_empty() && first != "(none)" => first.to_ascii_lowercase(),
        _ => "localhost".to_owned(),
    }
}

/// The host that devices are told for a listener bound to `bind`: that address itself, or for a
/// wildcard the best address of this machine, or loopback if there is no network.
pub fn advertised_host(bind: SocketAddr) -> IpAddr {
    if bind.ip().to_canonical().is_unspecified() {
        Surroundings::look()
            .addresses_for_devices()
            .first()
            .copied()
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    } else {
        bind.ip().to_canonical()
    }
}

/// The names and addresses that the server's certificate is for: host name, host name on mDNS,
/// `localhost`, every local address; at most [`CERTIFICATE_NAMES`]. `extra` names come first. What
/// the machine is called must not keep the server from starting, so a host name that cannot stand
/// in a certificate is left out.
pub fn certificate_names(extra: &[String]) -> Vec<String> {
    names_of(
        extra,
        &host_name(),
        &certified_addresses(&Surroundings::look()),
    )
}

/// Those that devices may be told, then the others that are there to stay: containers on this
/// machine come in by the address of their bridge.
fn certified_addresses(here: &Surroundings) -> Vec<IpAddr> {
    let mut addresses = here.addresses_for_devices();
    addresses.extend(
        here.addresses
            .iter()
            .filter(|address| address.kind == InterfaceKind::ContainerBridge)
            .map(|address| address.ip)
            .filter(IpAddr::is_ipv4),
    );
    addresses
}

fn names_of(extra: &[String], host: &str, addresses: &[IpAddr]) -> Vec<String> {
    let mut names = extra.to_vec();
    let own = [host.to_owned(), format!("{host}.local")];
    names.extend(own.into_iter().filter(|name| is_dns_name(name)));
    names.push("localhost".to_owned());
    names.push(Ipv4Addr::LOCALHOST.to_string());
    names.push(Ipv6Addr::LOCALHOST.to_string());
    names.extend(addresses.iter().map(IpAddr::to_string));
    let mut seen = Vec::new();
    names.retain(|name| {
        let is_new = !seen.contains(name);
        seen.push(name.clone());
        is_new
    });
    names.truncate(CERTIFICATE_NAMES);
    names
}

/// Whether `name` can stand in a certificate as the name of a host.
fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// The hosts that devices are told beside those of the machine itself: `advertise.host`, also as
/// set for tags and single devices, and what is in front of a listener that speaks TLS.
pub fn told_names(settings: &Settings, managed: &[ManagedRow]) -> Vec<String> {
    let mut hosts: Vec<HostName> = Vec::new();
    if let AdvertisedHost::Host(host) = &settings.advertise.host {
        hosts.push(host.clone());
    }
    hosts.extend(told_hosts(managed));
    let proxies = settings.proxy.iter().filter(|proxy| proxy.to.is_tls());
    hosts.extend(proxies.map(|proxy| proxy.url.host().clone()));
    hosts
        .iter()
        .map(|host| match host {
            HostName::Ip(ip) => ip.to_string(),
            HostName::Name(name) => name.as_str().to_owned(),
        })
        .collect()
}

/// Hosts that only some devices are told.
pub fn told_hosts(managed: &[ManagedRow]) -> Vec<HostName> {
    managed
        .iter()
        .filter(|row| row.key == "advertise.host" && row.scope != Scope::Everyone)
        // As TOML a text in quotes; what does not hold as a host is told where it is set.
        .filter_map(|row| HostName::parse(row.value.trim_matches('"')).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_told_as_it_is_and_a_wildcard_never() {
        let told = |bind: &str| advertised_host(bind.parse().expect("an address"));
        assert_eq!(told("127.0.0.1:1883").to_string(), "127.0.0.1");
        assert_eq!(told("192.168.1.20:1883").to_string(), "192.168.1.20");
        assert!(!told("0.0.0.0:1883").is_unspecified());
        assert!(!told("[::]:1883").is_unspecified());
    }

    #[test]
    fn certificate_names_hold_localhost_and_no_name_twice() {
        let names = certificate_names(&["localhost".to_owned(), "safeport.home".to_owned()]);
        assert_eq!(names.iter().filter(|name| *name == "localhost").count(), 1);
        assert!(names.contains(&"safeport.home".to_owned()));
        assert!(names.contains(&"127.0.0.1".to_owned()));
    }

    #[test]
    fn an_odd_host_name_or_very_many_addresses_keep_no_certificate_from_being_made() {
        for odd in ["", "my box", "küche", "a..b", &"x".repeat(64), "-/-"] {
            let names = names_of(&[], odd, &[]);
            assert_eq!(names, ["localhost", "127.0.0.1", "::1"], "{odd:?}");
        }
        let addresses: Vec<IpAddr> = (0..1000_u32)
            .map(|number| IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)))
            .collect();
        let names = names_of(&[], "hub", &addresses);
        assert_eq!(names.len(), CERTIFICATE_NAMES);
        assert_eq!(names[..3], ["hub", "hub.local", "localhost"]);
    }
}
