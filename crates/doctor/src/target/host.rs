//! The host of a target.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A host: a name or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name, in small letters, without a dot at its end.
    Name(String),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address; its zone is left away.
    V6(Ipv6Addr),
}

impl Host {
    /// The host in a text of nothing else; brackets around an IPv6 address are allowed. None when it
    /// is empty or holds characters that no host has.
    pub fn of(text: &str) -> Option<Host> {
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        let unzoned = inner.split_once('%').map_or(inner, |(address, _)| address);
        if let Ok(address) = unzoned.parse::<Ipv6Addr>() {
            return Some(Host::V6(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse::<Ipv4Addr>() {
            return Some(Host::V4(address));
        }
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label
                    .chars()
                    .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        };
        // Four numbers are an address or nothing: 192.168.1.300 is no name.
        let numbers = name
            .split('.')
            .all(|label| label.bytes().all(|b| b.is_ascii_digit()));
        let fits = name.len() <= 253 && !numbers && name.split('.').all(label);
        fits.then(|| Host::Name(name.to_lowercase()))
    }

    /// The name, for SNI and DNS. None for an address.
    pub fn name(&self) -> Option<&str> {
        match self {
            Host::Name(name) => Some(name),
            Host::V4(_) | Host::V6(_) => None,
        }
    }

    /// The address. None for a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(address) => Some(IpAddr::V4(*address)),
            Host::V6(address) => Some(IpAddr::V6(*address)),
        }
    }

    /// As it stands in a URL: IPv6 in brackets.
    pub fn in_url(&self) -> Cow<'_, str> {
        match self {
            Host::Name(name) => Cow::Borrowed(name),
            Host::V4(address) => Cow::Owned(address.to_string()),
            Host::V6(address) => Cow::Owned(alloc::format!("[{address}]")),
        }
    }

    /// Whether it means the machine on which it is looked up: a device that is given it talks to
    /// itself.
    pub fn is_loopback(&self) -> bool {
        match self {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::V4(address) => address.is_loopback() || address.is_unspecified(),
            Host::V6(address) => address.is_loopback() || address.is_unspecified(),
        }
    }

    /// Whether it is looked up by multicast on the LAN and nowhere else.
    pub fn is_mdns(&self) -> bool {
        self.name().is_some_and(|name| name.ends_with(".local"))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::V4(address) => write!(f, "{address}"),
            Host::V6(address) => write!(f, "{address}"),
        }
    }
}
