//! Where this process runs: the machine's interfaces and addresses, the container around it, and
//! names on the network. Nothing here sends a packet but [`resolve`], which asks the system's
//! resolver.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

mod container;
mod names;

pub use container::{Container, ContainerKind, container};
pub use names::{ResolveError, resolve};

/// What an interface is for, by its name and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InterfaceKind {
    /// A network card, Wi-Fi, or a bridge of the machine itself.
    Ordinary,
    /// A tunnel to another network: WireGuard, Tailscale, OpenVPN, PPP.
    Tunnel,
    /// A bridge or wire to containers or virtual machines on this machine. Devices on the home
    /// network cannot reach its addresses.
    ContainerBridge,
    /// Only this machine itself.
    Loopback,
}

impl InterfaceKind {
    /// By name, as Linux programs give them: `docker0`, `br-` and twelve hex digits of Docker's
    /// own networks, `podman`, `cni`, `veth`, `virbr` of libvirt, `lxc`, `lxd`, `incus`; `wg`,
    /// `tailscale`, `tun`, `tap`, `zt` of ZeroTier, `ppp`. A bridge made by hand (`br0`) is
    /// ordinary.
    fn of(name: &str, is_point_to_point: bool) -> InterfaceKind {
        let numbered = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let of_docker = name.strip_prefix("br-").is_some_and(|rest| {
            rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if of_docker
            || numbered("docker")
            || name == "docker_gwbridge"
            || begins(&[
                "podman", "cni", "veth", "virbr", "vnet", "lxcbr", "lxdbr", "incusbr", "flannel",
                "cali", "cilium", "lxc", "kube", "vmnet", "vboxnet",
            ])
        {
            InterfaceKind::ContainerBridge
        } else if is_point_to_point
            || begins(&[
                "wg",
                "tailscale",
                "tun",
                "tap",
                "zt",
                "ppp",
                "utun",
                "nordlynx",
            ])
        {
            InterfaceKind::Tunnel
        } else {
            InterfaceKind::Ordinary
        }
    }
}

/// One address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InterfaceAddress {
    /// The interface: `eth0`.
    pub interface: String,
    /// What the interface is for.
    pub kind: InterfaceKind,
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix in bits: 24 for a usual home network.
    pub prefix: u8,
    /// IPv6: made up for privacy and replaced within a day (RFC 8981), or past its preferred
    /// life. Nothing to tell a device.
    pub is_passing: bool,
}

impl InterfaceAddress {
    /// Whether `ip` lies in the same network.
    pub fn has_neighbour(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(self.prefix.min(32)))
                    .unwrap_or(0);
                (ours.to_bits() ^ theirs.to_bits()) & mask == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.prefix.min(128)))
                    .unwrap_or(0);
                (ours.to_bits() ^ theirs.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    fn is_link_local(&self) -> bool {
        match self.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
    }
}

/// The machine as it is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// All addresses of interfaces that are up, loopback included, in the system's order.
    pub addresses: Vec<InterfaceAddress>,
    /// The address that packets to other networks leave with; on a home network the one that
    /// devices reach. `None` without a route.
    pub outgoing: Option<IpAddr>,
    /// The container that we run in.
    pub container: Option<Container>,
}

impl Surroundings {
    /// Looks. Takes well under a millisecond. What cannot be read is left out.
    pub fn look() -> Surroundings {
        Surroundings {
            addresses: interface_addresses(),
            outgoing: outgoing_address(),
            container: container(),
        }
    }

    /// Whether `ip` is an address of this machine; all of 127.0.0.0/8 is.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback() || self.of(ip).is_some()
    }

    /// What is known about an address of this machine.
    pub fn of(&self, ip: IpAddr) -> Option<&InterfaceAddress> {
        self.addresses
            .iter()
            .find(|address| address.ip == ip.to_canonical())
    }

    /// The addresses that devices may be told, best first: the outgoing one, other ordinary ones
    /// (IPv4 before IPv6, which most ESP32 firmware is built without), tunnels. Left out: loopback,
    /// link-local, bridges to containers, passing IPv6 addresses.
    pub fn addresses_for_devices(&self) -> Vec<IpAddr> {
        let mut fit: Vec<&InterfaceAddress> = self
            .addresses
            .iter()
            .filter(|address| {
                matches!(
                    address.kind,
                    InterfaceKind::Ordinary | InterfaceKind::Tunnel
                ) && !address.is_link_local()
                    && !address.is_passing
            })
            .collect();
        fit.sort_by_key(|address| {
            (
                Some(address.ip) != self.outgoing,
                address.kind,
                address.ip.is_ipv6(),
            )
        });
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in fit {
            if !addresses.contains(&address.ip) {
                addresses.push(address.ip);
            }
        }
        addresses
    }

    /// Whether we run in a container whose addresses only this machine reaches: then devices come
    /// in by published ports of the machine, whose address we do not know. A guess by the address
    /// ranges that Docker and Podman use; false on the machine's own network
    /// (`--network host`).
    pub fn is_behind_container_network(&self) -> bool {
        let sees_machine = self
            .addresses
            .iter()
            .any(|address| address.kind == InterfaceKind::ContainerBridge);
        self.container.is_some()
            && !sees_machine
            && matches!(self.outgoing, Some(IpAddr::V4(ip)) if is_container_range(ip))
    }

    /// A number that changes when an address comes or goes or another becomes the outgoing one.
    /// Comparable within one process only.
    pub fn fingerprint(&self) -> u64 {
        let mut addresses: Vec<(&str, IpAddr)> = self
            .addresses
            .iter()
            .map(|address| (address.interface.as_str(), address.ip))
            .collect();
        addresses.sort_unstable();
        let mut hasher = DefaultHasher::new();
        (addresses, self.outgoing).hash(&mut hasher);
        hasher.finish()
    }
}

/// Docker's networks lie in 172.17.0.0 to 172.31.255.255 before they spill over into
/// 192.168.0.0/16, Podman's in 10.88.0.0/16, and rootless Podman shows 10.0.2.100.
fn is_container_range(ip: Ipv4Addr) -> bool {
    match ip.octets() {
        [172, second, ..] => (17..32).contains(&second),
        [10, 88, ..] | [10, 0, 2, _] => true,
        _ => false,
    }
}

fn interface_addresses() -> Vec<InterfaceAddress> {
    let passing = std::fs::read_to_string("/proc/net/if_inet6")
        .map(|table| passing_addresses(&table))
        .unwrap_or_default();
    if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| {
            // Wires to containers often are of unknown state and work.
            !matches!(
                interface.oper_status,
                if_addrs::IfOperStatus::Down
                    | if_addrs::IfOperStatus::NotPresent
                    | if_addrs::IfOperStatus::LowerLayerDown
            )
        })
        .map(|interface| {
            let (ip, prefix): (IpAddr, u8) = match &interface.addr {
                if_addrs::IfAddr::V4(address) => (address.ip.into(), address.prefixlen),
                if_addrs::IfAddr::V6(address) => (address.ip.into(), address.prefixlen),
            };
            InterfaceAddress {
                kind: if ip.is_loopback() {
                    InterfaceKind::Loopback
                } else {
                    InterfaceKind::of(&interface.name, interface.is_p2p)
                },
                is_passing: passing.contains(&ip),
                interface: interface.name,
                ip,
                prefix,
            }
        })
        .collect()
}

/// The temporary and deprecated addresses in `/proc/net/if_inet6`: address, interface number,
/// prefix length, scope, flags, name. Flags are IFA_F_TEMPORARY (1) and IFA_F_DEPRECATED (0x20)
/// of the kernel's `if_addr.h`.
fn passing_addresses(if_inet6: &str) -> Vec<IpAddr> {
    if_inet6
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let address = u128::from_str_radix(columns.next()?, 16).ok()?;
            let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
            (flags & 0x21 != 0).then(|| IpAddr::V6(address.into()))
        })
        .collect()
}

fn outgoing_address() -> Option<IpAddr> {
    // Connecting a UDP socket only asks the routing table. The targets are documentation
    // networks (RFC 5737, RFC 3849), which no packet would ever reach.
    [
        ("0.0.0.0:0", "192.0.2.1:9"),
        ("0.0.0.0:0", "203.0.113.1:9"),
        ("[::]:0", "[2001:db8::1]:9"),
    ]
    .into_iter()
    .find_map(|(from, to)| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        let address = socket.local_addr().ok()?.ip();
        (!address.is_unspecified() && !address.is_loopback()).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(interface: &str, ip: &str, prefix: u8) -> InterfaceAddress {
        let ip: IpAddr = ip.parse().unwrap();
        InterfaceAddress {
            interface: interface.to_owned(),
            kind: if ip.is_loopback() {
                InterfaceKind::Loopback
            } else {
                InterfaceKind::of(interface, false)
            },
            ip,
            prefix,
            is_passing: false,
        }
    }

    fn home() -> Surroundings {
        let mut passing = address("eth0", "2001:db8:1::77", 64);
        passing.is_passing = true;
        Surroundings {
            addresses: vec![
                address("lo", "127.0.0.1", 8),
                address("docker0", "172.17.0.1", 16),
                address("wg0", "10.9.0.2", 24),
                passing,
                address("eth0", "2001:db8:1::20", 64),
                address("wlan0", "192.168.2.20", 24),
                address("eth0", "192.168.1.20", 24),
                address("eth0", "fe80::1", 64),
                address("eth0", "169.254.9.9", 16),
            ],
            outgoing: Some("192.168.1.20".parse().unwrap()),
            container: None,
        }
    }

    #[test]
    fn bridges_to_containers_tunnels_and_the_machines_own_bridges_are_told_apart() {
        use InterfaceKind::{ContainerBridge, Ordinary, Tunnel};
        for (name, kind) in [
            ("docker0", ContainerBridge),
            ("br-0123456789ab", ContainerBridge),
            ("veth12ab34", ContainerBridge),
            ("podman1", ContainerBridge),
            ("virbr0", ContainerBridge),
            ("lxcbr0", ContainerBridge),
            ("wg0", Tunnel),
            ("tailscale0", Tunnel),
            ("br0", Ordinary),
            ("br-lan", Ordinary),
            ("dockerish", Ordinary),
            ("eth0", Ordinary),
            ("wlp3s0", Ordinary),
        ] {
            assert_eq!(InterfaceKind::of(name, false), kind, "{name}");
        }
        assert_eq!(InterfaceKind::of("sit1", true), Tunnel);
    }

    #[test]
    fn devices_are_told_the_outgoing_address_first_and_none_they_cannot_use() {
        let told: Vec<String> = home()
            .addresses_for_devices()
            .iter()
            .map(IpAddr::to_string)
            .collect();
        assert_eq!(
            told,
            ["192.168.1.20", "192.168.2.20", "2001:db8:1::20", "10.9.0.2"]
        );
    }

    #[test]
    fn own_addresses_are_known_in_every_form() {
        let home = home();
        for own in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "192.168.1.20",
            "::ffff:192.168.1.20",
        ] {
            assert!(home.is_own(own.parse().unwrap()), "{own}");
        }
        assert!(!home.is_own("192.168.1.21".parse().unwrap()));
        let eth0 = home.of("192.168.1.20".parse().unwrap()).unwrap();
        assert!(eth0.has_neighbour("192.168.1.255".parse().unwrap()));
        assert!(!eth0.has_neighbour("192.168.2.1".parse().unwrap()));
        assert!(!eth0.has_neighbour("fe80::1".parse().unwrap()));
        let everything = address("x", "10.0.0.1", 0);
        assert!(everything.has_neighbour("192.168.1.1".parse().unwrap()));
    }

    #[test]
    fn the_fingerprint_changes_with_the_addresses_and_not_with_their_order() {
        let before = home();
        let mut turned = home();
        turned.addresses.reverse();
        assert_eq!(before.fingerprint(), turned.fingerprint());
        let mut moved = home();
        moved.addresses[6] = address("eth0", "192.168.1.21", 24);
        assert_ne!(before.fingerprint(), moved.fingerprint());
        let mut rerouted = home();
        rerouted.outgoing = None;
        assert_ne!(before.fingerprint(), rerouted.fingerprint());
    }

    #[test]
    fn a_container_with_a_network_of_its_own_is_told_from_one_on_the_machines_network() {
        let container = Some(Container {
            kind: ContainerKind::Docker,
            id: None,
        });
        let own_network = Surroundings {
            addresses: vec![address("eth0", "172.18.0.2", 16)],
            outgoing: Some("172.18.0.2".parse().unwrap()),
            container: container.clone(),
        };
        assert!(own_network.is_behind_container_network());
        let machines_network = Surroundings {
            container: container.clone(),
            ..home()
        };
        assert!(!machines_network.is_behind_container_network());
        let no_container = Surroundings {
            container: None,
            ..own_network
        };
        assert!(!no_container.is_behind_container_network());
    }

    #[test]
    fn temporary_and_deprecated_addresses_of_ipv6_are_passing() {
        let table = "20010db8000100000000000000000077 02 40 00 01     eth0\n\
                     20010db8000100000000000000000078 02 40 00 20     eth0\n\
                     20010db8000100000000000000000020 02 40 00 80     eth0\nbroken\n";
        let passing: Vec<String> = passing_addresses(table)
            .iter()
            .map(IpAddr::to_string)
            .collect();
        assert_eq!(passing, ["2001:db8:1::77", "2001:db8:1::78"]);
    }

    #[test]
    fn this_machine_has_its_loopback_and_looks_the_same_twice() {
        let here = Surroundings::look();
        assert!(
            here.addresses
                .iter()
                .any(|address| address.kind == InterfaceKind::Loopback),
            "{here:?}"
        );
        assert!(
            here.addresses_for_devices()
                .iter()
                .all(|ip| here.is_own(*ip))
        );
        assert_eq!(here.fingerprint(), Surroundings::look().fingerprint());
    }
}
