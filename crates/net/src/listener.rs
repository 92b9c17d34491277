//! Listening sockets, and errors about them that tell a newcomer the way out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use socket2::{Domain, Protocol as Transport, Socket, Type};
use thiserror::Error;

use crate::holder::{Holding, Protocol, holder_of};
use crate::limits::{FREE_PORT_TRIES, LISTEN_BACKLOG, RANGE_HOLDERS};

/// Why no listener could be bound. `key` is the setting that named the address. `Display` is
/// English; the fields are all there is to say, for other languages.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another socket listens there already.
    #[error(
        "port {port} of `{key}` ({address}) is taken by {holding}; {way_out}set `{key}` to \
         another port{free}",
        port = .address.port(),
        way_out = way_out(.holding, .address.port()),
        free = .free.map(|port| format!(", {port} is free")).unwrap_or_default()
    )]
    Taken {
        /// The setting.
        key: String,
        /// Where we wanted to listen.
        address: SocketAddr,
        /// Who holds it, as far as the operating system tells us.
        holding: Holding,
        /// A port near it that was free a moment ago.
        free: Option<u16>,
    },
    /// No port of a range could be had.
    #[error(
        "none of the ports {first} to {last} on {ip} that `{key}` may use can be had: {tried}; \
         free one of them, or give another range",
        tried = in_one_sentence(.tried)
    )]
    RangeTaken {
        /// The setting that names the range.
        key: String,
        /// The address that all of them were tried on.
        ip: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
        /// Who holds each port that is taken, at most the first
        /// [`RANGE_HOLDERS`]; `None` for one below 1024 that this
        /// user may not open.
        tried: Vec<(u16, Option<Holding>)>,
    },
    /// Ports below 1024 are closed to this user.
    #[error(
        "port {port} of `{key}` needs a right that this user does not have; give it to the \
         program (`sudo setcap cap_net_bind_service=+ep <path of safeport>`, or \
         AmbientCapabilities=CAP_NET_BIND_SERVICE in its systemd unit), or set `{key}` to a port \
         above 1023",
        port = .address.port()
    )]
    Privileged {
        /// The setting.
        key: String,
        /// Where we wanted to listen.
        address: SocketAddr,
    },
    /// The address belongs to no interface of this machine, or its family is switched off.
    #[error(
        "this machine does not have the address {ip} of `{key}`; set `{key}` to one that \
         `ip address` lists, or to {any}:{port} for all of them",
        ip = .address.ip(),
        port = .address.port(),
        any = every_address(.address, .family_off)
    )]
    NotAvailable {
        /// The setting.
        key: String,
        /// Where we wanted to listen.
        address: SocketAddr,
        /// IPv6 is switched off on this machine.
        family_off: bool,
    },
    /// Anything else the operating system says.
    #[error(
        "cannot listen on {address} of `{key}`: {source}; set `{key}` to another address or port"
    )]
    Other {
        /// The setting.
        key: String,
        /// Where we wanted to listen.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Binds a TCP listener: non-blocking, backlog of [`LISTEN_BACKLOG`]. Port 0 lets the operating
/// system choose.
///
/// `[::]` accepts IPv4 too, whatever the system's `bindv6only` says; on a machine whose IPv6 is
/// switched off it becomes 0.0.0.0, which the listener's `local_addr` shows. Any other IPv6
/// address takes IPv6 alone.
///
/// On Unix the address may be reused at once after a restart, although connections of the last
/// run still linger; two listeners at the same place are refused all the same.
///
/// # Errors
///
/// [`BindError`], which names the setting `key`, the holder of a taken port as far as this user
/// may know it, and what to do.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, BindError> {
    in_some_family(address, listen).map_err(|error| explain(key, Protocol::Tcp, address, error))
}

/// Binds a UDP socket: non-blocking. Port 0 lets the operating system choose. `[::]` takes IPv4
/// too, as with [`bind`]. No other socket may have the same port, not even one that would share.
///
/// # Errors
///
/// As [`bind`].
pub fn bind_udp(key: &str, address: SocketAddr) -> Result<UdpSocket, BindError> {
    in_some_family(address, open_udp).map_err(|error| explain(key, Protocol::Udp, address, error))
}

/// As [`bind`], on the first port of `range` (named by the setting `key`) that can be had on
/// `ip`, lowest first. Also tells that port.
///
/// # Errors
///
/// [`BindError::RangeTaken`] with the holder of each port; another [`BindError`] at once where no
/// other port would help.
pub fn bind_range(
    key: &str,
    ip: IpAddr,
    range: RangeInclusive<u16>,
) -> Result<(TcpListener, u16), BindError> {
    first_of(key, Protocol::Tcp, ip, range, listen)
}

/// As [`bind_range`], for a UDP socket as of [`bind_udp`].
///
/// # Errors
///
/// As [`bind_range`].
pub fn bind_udp_range(
    key: &str,
    ip: IpAddr,
    range: RangeInclusive<u16>,
) -> Result<(UdpSocket, u16), BindError> {
    first_of(key, Protocol::Udp, ip, range, open_udp)
}

fn first_of<T>(
    key: &str,
    protocol: Protocol,
    ip: IpAddr,
    range: RangeInclusive<u16>,
    open: impl Fn(SocketAddr) -> io::Result<T>,
) -> Result<(T, u16), BindError> {
    let mut tried = Vec::new();
    for port in range.clone() {
        let address = SocketAddr::new(ip, port);
        let error = match in_some_family(address, &open) {
            Ok(socket) => return Ok((socket, port)),
            Err(error) => error,
        };
        let holding = match error.kind() {
            io::ErrorKind::AddrInUse => Some(address),
            io::ErrorKind::PermissionDenied if port < 1024 => None,
            _ => return Err(explain(key, protocol, address, error)),
        };
        if tried.len() < RANGE_HOLDERS {
            tried.push((port, holding.map(|address| holder_of(protocol, address))));
        }
    }
    Err(BindError::RangeTaken {
        key: key.to_owned(),
        ip,
        first: *range.start(),
        last: *range.end(),
        tried,
    })
}

/// Whether a listener could be bound there now. False also where this user may not open the port
/// and where the machine does not have the address.
pub fn is_free(protocol: Protocol, address: SocketAddr) -> bool {
    match protocol {
        Protocol::Tcp => in_some_family(address, listen).is_ok(),
        Protocol::Udp => in_some_family(address, open_udp).is_ok(),
    }
}

fn in_some_family<T>(
    address: SocketAddr,
    open: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    open(address).or_else(|error| {
        let is_final = matches!(
            error.kind(),
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
        );
        if address.ip() != ANY_IPV6_ADDRESS || is_final || open(ANY_IPV6).is_ok() {
            return Err(error);
        }
        open(SocketAddr::new(
            Ipv4Addr::UNSPECIFIED.into(),
            address.port(),
        ))
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    // `::ffff:192.168.1.20` is an IPv4 address in other clothes, which an IPv6-only socket
    // could not have.
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Transport::TCP),
    )?;
    // On Windows this option would let two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != ANY_IPV6_ADDRESS)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn open_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Transport::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != ANY_IPV6_ADDRESS)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn explain(key: &str, protocol: Protocol, address: SocketAddr, source: io::Error) -> BindError {
    let key = key.to_owned();
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken {
            key,
            address,
            holding: holder_of(protocol, address),
            free: free_port_after(protocol, address),
        },
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            BindError::Privileged { key, address }
        }
        io::ErrorKind::AddrNotAvailable => BindError::NotAvailable {
            key,
            address,
            family_off: false,
        },
        _ if address.is_ipv6() && listen(ANY_IPV6).is_err() => BindError::NotAvailable {
            key,
            address,
            family_off: true,
        },
        _ => BindError::Other {
            key,
            address,
            source,
        },
    }
}

const ANY_IPV6_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Any free port of the IPv6 loopback address: only a machine without IPv6 refuses it.
const ANY_IPV6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

fn every_address(address: &SocketAddr, family_off: &bool) -> &'static str {
    if address.is_ipv4() || *family_off {
        "0.0.0.0"
    } else {
        "[::]"
    }
}

fn free_port_after(protocol: Protocol, address: SocketAddr) -> Option<u16> {
    (1..=FREE_PORT_TRIES)
        .filter_map(|step| address.port().checked_add(step))
        .find(|&port| is_free(protocol, SocketAddr::new(address.ip(), port)))
}

/// What helps beside another port; ends in ", or " where there is something.
fn way_out(holding: &Holding, port: u16) -> String {
    match holding {
        Holding::Program(holder) => match holder.command_to_stop(port) {
            Some(command) if holder.forwards_to.is_some() => {
                format!("find and stop its container with `{command}`, or ")
            }
            Some(command) => format!("stop it with `{command}`, or "),
            None => "stop it, or ".to_owned(),
        },
        Holding::Connection {
            ephemeral: true, ..
        } => format!(
            "try again in a minute and keep the port free with `sudo sysctl \
             net.ipv4.ip_local_reserved_ports={port}`, or "
        ),
        Holding::Connection { .. } => "try again in a minute, or ".to_owned(),
        Holding::OtherUser { .. } | Holding::OutsideOurProcesses { .. } => {
            "stop that program, or ".to_owned()
        }
        Holding::ThisProcess | Holding::OutOfSight { .. } => String::new(),
    }
}

fn in_one_sentence(tried: &[(u16, Option<Holding>)]) -> String {
    let parts: Vec<String> = tried
        .iter()
        .map(|(port, holding)| match holding {
            Some(holding) => format!("{port} is taken by {holding}"),
            None => format!("{port} needs a right that this user does not have"),
        })
        .collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port(ip: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(ip.into(), 0)
    }

    #[test]
    fn every_address_becomes_every_ipv4_address_where_ipv6_is_off() {
        let without_ipv6 = |address: SocketAddr| {
            if address.is_ipv6() {
                return Err(io::ErrorKind::Unsupported.into());
            }
            listen(address)
        };
        let listener = in_some_family(any_port(Ipv6Addr::UNSPECIFIED), without_ipv6).unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::UNSPECIFIED);
        let one_address = any_port(Ipv6Addr::LOCALHOST);
        assert!(in_some_family(one_address, without_ipv6).is_err());
    }

    #[test]
    fn a_taken_port_does_not_move_the_wildcard_to_ipv4() {
        let with_taken_port = |address: SocketAddr| {
            if address.ip() == ANY_IPV6_ADDRESS {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            listen(address)
        };
        let error = in_some_family(any_port(Ipv6Addr::UNSPECIFIED), with_taken_port).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn one_address_of_ipv6_takes_ipv6_alone_and_all_take_both() {
        let Ok(one) = listen(ANY_IPV6) else {
            return eprintln!("not tested: this machine has no IPv6");
        };
        assert!(Socket::from(one).only_v6().unwrap());
        let all = listen(any_port(Ipv6Addr::UNSPECIFIED)).unwrap();
        assert!(!Socket::from(all).only_v6().unwrap());
    }

    #[test]
    fn an_ipv4_address_in_the_clothes_of_ipv6_is_bound_as_what_it_is() {
        let mapped = any_port(Ipv4Addr::LOCALHOST.to_ipv6_mapped());
        let listener = listen(mapped).unwrap();
        assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    }

    #[test]
    fn a_udp_socket_on_all_addresses_answers_ipv4_too_and_shares_its_port_with_none() {
        let socket = bind_udp("ntp.bind", any_port(Ipv6Addr::UNSPECIFIED)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let asker = UdpSocket::bind("127.0.0.1:0").unwrap();
        asker.send_to(b"?", ("127.0.0.1", port)).unwrap();
        socket.set_nonblocking(false).unwrap();
        let (length, from) = socket.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(
            (length, from.port()),
            (1, asker.local_addr().unwrap().port())
        );
        for ip in [
            Ipv6Addr::UNSPECIFIED.into(),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Ipv4Addr::LOCALHOST.into(),
        ] {
            let address = SocketAddr::new(ip, port);
            assert!(!is_free(Protocol::Udp, address), "{address}");
            match bind_udp("ntp.bind", address) {
                Err(BindError::Taken { holding, key, .. }) => {
                    assert_eq!(key, "ntp.bind");
                    #[cfg(target_os = "linux")]
                    assert_eq!(holding, Holding::ThisProcess, "{address}");
                }
                other => panic!("{address}: {other:?}"),
            }
        }
        // The other space of ports.
        assert!(is_free(Protocol::Tcp, any_port(Ipv4Addr::LOCALHOST)));
    }
}
