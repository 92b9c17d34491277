//! Listening sockets, and errors about them that tell a newcomer the way out.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::limits::{FREE_PORT_TRIES, LISTEN_BACKLOG};

mod holder;

/// Why no listener could be bound. `key` is the setting that named the address.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another socket listens there already.
    #[error(
        "port {port} of `{key}` ({address}) is taken by {holder}; stop that program, or set \
         `{key}` to another port{free}",
        port = .address.port(),
        holder = .holder.as_deref()
            .unwrap_or("a program we may not name (run `ss -ltnp` as root to see it)"),
        free = .free.map(|port| format!(", {port} is free")).unwrap_or_default()
    )]
    Taken {
        /// The setting.
        key: String,
        /// Where we wanted to listen.
        address: SocketAddr,
        /// Who holds it, as far as the operating system tells us: "mosquitto, pid 812".
        holder: Option<String>,
        /// A port near it that was free a moment ago.
        free: Option<u16>,
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

/// Binds a TCP listener: non-blocking, backlog of [`LISTEN_BACKLOG`], `[::]` accepts IPv4 too.
/// Port 0 lets the operating system choose.
///
/// On Unix the address may be reused at once after a restart, although connections of the last
/// run still linger; two listeners at the same place are refused all the same.
///
/// # Errors
///
/// [`BindError`], which names the setting `key`, the holder of a taken port as far as this user
/// may know it, and what to do.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(|error| explain(key, address, error))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // On Windows this option would let two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::from([0u16; 8]) {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

fn explain(key: &str, address: SocketAddr, source: io::Error) -> BindError {
    let key = key.to_owned();
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken {
            key,
            address,
            holder: holder::of(address),
            free: free_port_after(address),
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

/// Any free port of the IPv6 loopback address: only a machine without IPv6 refuses it.
const ANY_IPV6: SocketAddr = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 0);

fn every_address(address: &SocketAddr, family_off: &bool) -> &'static str {
    if address.is_ipv4() || *family_off {
        "0.0.0.0"
    } else {
        "[::]"
    }
}

fn free_port_after(address: SocketAddr) -> Option<u16> {
    (1..=FREE_PORT_TRIES)
        .filter_map(|step| address.port().checked_add(step))
        .find(|&port| listen(SocketAddr::new(address.ip(), port)).is_ok())
}
