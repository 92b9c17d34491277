//! When two binds want the same socket.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// A transport with a space of ports of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

/// What a bind takes: a port of one protocol, on one address or on many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortClaim {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address and port.
    pub address: SocketAddr,
}

impl PortClaim {
    /// Whether the two cannot be bound at the same time.
    ///
    /// A wildcard takes its port on every address, and `[::]` takes IPv4 with
    /// it: our sockets are opened so. IPv4 in IPv6 clothes (`::ffff:…`) is IPv4.
    /// Port 0 asks for any free port and clashes with nothing.
    pub fn overlaps(self, other: PortClaim) -> bool {
        if self.protocol != other.protocol
            || self.address.port() != other.address.port()
            || self.address.port() == 0
        {
            return false;
        }
        let one = self.address.ip().to_canonical();
        let other = other.address.ip().to_canonical();
        one == other || covers(one, other) || covers(other, one)
    }
}

fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(wide) => wide.is_unspecified(),
    }
}
