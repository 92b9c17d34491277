use super::*;
use crate::{FileSource, Sources};
use alloc::format;
use alloc::vec;

fn settings(text: &str) -> Settings {
    let sources = Sources {
        files: vec![FileSource {
            path: "safeport.toml",
            text,
            drop_in: false,
        }],
        ..Sources::default()
    };
    Settings::parse(&sources).unwrap_or_else(|problems| panic!("{text}: {}", problems[0]))
}

fn interface(interface: &str, ip: &str) -> InterfaceAddress {
    InterfaceAddress {
        ip: ip.parse().unwrap(),
        interface: interface.into(),
        is_container_bridge: interface.starts_with("docker"),
        is_default_route: interface == "wlan0",
    }
}

/// A machine at home, with every kind of address.
fn home() -> Surroundings {
    Surroundings {
        addresses: vec![
            interface("lo", "127.0.0.1"),
            interface("lo", "::1"),
            interface("docker0", "172.17.0.1"),
            interface("tailscale0", "100.100.1.2"),
            interface("wlan0", "2001:db8::20"),
            interface("wlan0", "fd00::20"),
            interface("wlan0", "fe80::20"),
            interface("eth0", "10.0.0.20"),
            interface("eth1", "203.0.113.7"),
            interface("eth2", "169.254.3.4"),
            interface("wlan0", "192.168.1.20"),
        ],
        host_name: "hub".into(),
        container: None,
        sockets: vec![socket(Listener::Http, "[::]:8002")],
    }
}

fn socket(listener: Listener, address: &str) -> BoundSocket {
    BoundSocket {
        listener,
        address: address.parse().unwrap(),
        standard: false,
    }
}

fn shown(settings: &Settings, surroundings: &Surroundings) -> Vec<String> {
    candidates(settings, surroundings)
        .iter()
        .map(|candidate| {
            let doubt = match candidate.unverifiable {
                Some(_) => " ?",
                None => "",
            };
            format!("{}{doubt}", candidate.address)
        })
        .collect()
}

/// The same, of one scheme.
fn of(scheme: &str, settings: &Settings, surroundings: &Surroundings) -> Vec<String> {
    shown(settings, surroundings)
        .into_iter()
        .filter(|text| text.starts_with(scheme))
        .collect()
}

#[test]
fn a_socket_on_all_networks_is_told_by_the_address_that_devices_reach_best() {
    assert_eq!(
        of("ws:", &settings(""), &home()),
        [
            "ws://192.168.1.20:8002",
            "ws://10.0.0.20:8002",
            "ws://203.0.113.7:8002",
            "ws://[fd00::20]:8002",
            "ws://[2001:db8::20]:8002",
            "ws://100.100.1.2:8002",
            "ws://169.254.3.4:8002",
            "ws://hub.local:8002",
        ]
    );
}

#[test]
fn an_ipv4_socket_is_not_told_by_ipv6() {
    let surroundings = Surroundings {
        sockets: vec![socket(Listener::Http, "0.0.0.0:8002")],
        ..home()
    };
    assert!(of("ws://[", &settings(""), &surroundings).is_empty());
}

#[test]
fn what_the_operator_said_comes_first_then_the_proxies_each_with_its_port() {
    let settings =
        settings("advertise.host = 'hub.lan'\nproxy.front.url = 'https://hub.example.com'\n");
    let all = candidates(&settings, &home());
    let first: Vec<String> = all[..5]
        .iter()
        .map(|candidate| format!("{} by {}", candidate.address, candidate.via))
        .collect();
    assert_eq!(
        first,
        [
            "http://hub.lan:8002 by http",
            "ws://hub.lan:8002 by http",
            "https://hub.example.com:443 by proxy.front",
            "wss://hub.example.com:443 by proxy.front",
            "http://192.168.1.20:8002 by http",
        ]
    );
}

#[test]
fn every_listener_gives_the_schemes_that_it_speaks() {
    let surroundings = Surroundings {
        sockets: vec![
            socket(Listener::Https, "192.168.1.20:8443"),
            socket(Listener::Mqtts, "192.168.1.20:8883"),
            socket(Listener::Mqtt, "192.168.1.20:11883"),
        ],
        ..home()
    };
    assert_eq!(
        shown(&settings(""), &surroundings),
        [
            "mqtt://192.168.1.20:11883",
            "mqtts://192.168.1.20:8883",
            "https://192.168.1.20:8443",
            "wss://192.168.1.20:8443",
        ]
    );
}

#[test]
fn a_standard_port_and_one_that_is_not_bound_yet_are_never_told() {
    let standard = BoundSocket {
        standard: true,
        ..socket(Listener::Http, "[::]:80")
    };
    let surroundings = Surroundings {
        sockets: vec![standard, socket(Listener::Mqtt, "[::]:0")],
        ..home()
    };
    assert!(shown(&settings("advertise.host = 'hub.lan'"), &surroundings).is_empty());
}

#[test]
fn loopback_is_told_only_by_a_listener_that_is_nowhere_else() {
    let both = ["127.0.0.1:8002", "192.168.1.20:8002"].map(|at| socket(Listener::Http, at));
    let surroundings = Surroundings {
        sockets: both.to_vec(),
        ..home()
    };
    assert_eq!(
        of("ws:", &settings(""), &surroundings),
        ["ws://192.168.1.20:8002"]
    );
    let only = Surroundings {
        sockets: both[..1].to_vec(),
        ..home()
    };
    // The name that the operator gave leads elsewhere, not to this socket.
    let named = settings("advertise.host = 'hub.lan'");
    assert_eq!(of("ws:", &named, &only), ["ws://127.0.0.1:8002"]);
}

#[test]
fn networks_to_avoid_are_left_out() {
    let settings = settings("advertise.avoid = ['10.0.0.0/8', 'fd00::/8', '100.64.0.0/10']");
    let told = of("ws:", &settings, &home());
    assert_eq!(
        told[..2],
        ["ws://192.168.1.20:8002", "ws://203.0.113.7:8002"]
    );
    assert!(
        !told
            .iter()
            .any(|text| text.contains("fd00") || text.contains("100.100"))
    );
}

#[test]
fn inside_a_container_its_own_addresses_are_in_doubt_and_the_advice_says_what_to_do() {
    let inside = Surroundings {
        addresses: vec![
            interface("lo", "127.0.0.1"),
            interface("eth0", "172.17.0.2"),
        ],
        host_name: "3f2a".into(),
        container: Some("docker".into()),
        ..home()
    };
    assert_eq!(
        of("ws:", &settings(""), &inside),
        ["ws://172.17.0.2:8002 ?", "ws://3f2a.local:8002 ?"]
    );
    let doubt = candidates(&settings(""), &inside)[0]
        .unverifiable
        .clone()
        .unwrap();
    assert!(
        doubt.en.contains("advertise.host") && doubt.en.contains("-p"),
        "{doubt}"
    );
    assert!(doubt.zh.contains("advertise.host") && doubt.zh.contains("docker"));
    // What the operator says is probed like anything else.
    let named = settings("advertise.host = '192.168.1.20'");
    assert_eq!(of("ws:", &named, &inside)[0], "ws://192.168.1.20:8002");
}

#[test]
fn a_container_with_the_networks_of_its_machine_is_like_the_machine() {
    let host_network = Surroundings {
        container: Some("docker".into()),
        ..home()
    };
    assert_eq!(
        shown(&settings(""), &host_network),
        shown(&settings(""), &home())
    );
    // A system container has an address of the home network.
    let system = Surroundings {
        addresses: vec![interface("eth0", "192.168.1.30")],
        container: Some("lxc".into()),
        ..home()
    };
    assert_eq!(
        of("ws:", &settings(""), &system)[0],
        "ws://192.168.1.30:8002"
    );
}

#[test]
fn a_machine_without_addresses_or_a_usable_name_has_no_candidates() {
    let alone = Surroundings {
        addresses: vec![interface("lo", "127.0.0.1")],
        host_name: "my machine".into(),
        ..home()
    };
    assert!(shown(&settings(""), &alone).is_empty());
}
