//! The host in an address: a number or a name, and who can reach it.

use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::AddressError;
use super::error::refuse_full_width;

/// A host: an IP address or a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostName {
    /// An IP address.
    Ip(IpAddr),
    /// A name.
    Name(Name),
}

/// A name that DNS can carry: at most 253 bytes, labels of 1 to 63 letters,
/// digits, `-` and `_`, in small letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who can get to a host, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Programs of the same machine: `127.0.0.0/8`, `::1`, `localhost`.
    Loopback,
    /// Machines on the same wire: `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Containers on the same machine: Docker's default network
    /// `172.17.0.0/16`, `host.docker.internal` and its kin.
    Container,
    /// Customers of the same provider, or a mesh network: `100.64.0.0/10`.
    Cgnat,
    /// The home or company network: RFC 1918, `fc00::/7`.
    Private,
    /// Everybody.
    Public,
    /// Who speaks mDNS on the same network: `*.local`. Tasmota and ESPEasy do
    /// not look such names up for MQTT in their usual builds.
    Mdns,
    /// Whoever can look the name up; where it leads is known after that only.
    Name,
}

impl HostName {
    /// Reads a host without scheme, port or path. IPv6 with or without
    /// brackets; names become small letters.
    ///
    /// # Errors
    /// What is wrong, each with its own words.
    pub fn parse(text: &str) -> Result<HostName, AddressError> {
        if text.is_empty() {
            return Err(AddressError::NoHost);
        }
        refuse_full_width(text)?;
        if let Some((scheme, rest)) = text.split_once("://") {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let rest = rest[..end].rsplit('@').next().unwrap_or("");
            return Err(AddressError::HostWithScheme {
                scheme: scheme.to_string(),
                host: without_port(rest).to_string(),
            });
        }
        if text.contains('@') {
            return Err(AddressError::UserInfo);
        }
        if let Some(at) = text.find(['/', '?', '#', '\\']) {
            return Err(AddressError::HostWithPath {
                path: text[at..].to_string(),
                host: without_port(&text[..at]).to_string(),
            });
        }
        if let Some(ip) = read_v6(text)? {
            return HostName::try_from(ip);
        }
        if without_port(text) != text {
            return Err(AddressError::HostWithPort {
                host: without_port(text).to_string(),
                port: text[without_port(text).len()..]
                    .trim_start_matches(':')
                    .to_string(),
            });
        }
        if is_numeric(text) {
            return HostName::try_from(IpAddr::V4(read_v4(text)?));
        }
        read_name(text).map(HostName::Name)
    }

    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            HostName::Ip(ip) => Some(*ip),
            HostName::Name(_) => None,
        }
    }

    /// The name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            HostName::Ip(_) => None,
            HostName::Name(name) => Some(name.as_str()),
        }
    }

    /// Who can get there.
    pub fn reach(&self) -> Reach {
        match self {
            HostName::Ip(ip) => Reach::of(*ip),
            HostName::Name(Name(name)) => {
                let last = name.rsplit('.').next().unwrap_or("");
                if last == "localhost" {
                    Reach::Loopback
                } else if CONTAINER_NAMES.contains(&name.as_str()) {
                    Reach::Container
                } else if last == "local" {
                    Reach::Mdns
                } else {
                    Reach::Name
                }
            }
        }
    }

    /// Whether a device on the network could use it at all.
    ///
    /// # Errors
    /// Hosts that mean another machine to every device that reads them:
    /// loopback, Docker's default network, link-local IPv6 (which needs the
    /// name of the reader's own interface).
    pub fn check_for_devices(&self) -> Result<(), AddressError> {
        let host = self.to_string();
        match self.reach() {
            Reach::Loopback => Err(AddressError::Loopback { host }),
            Reach::Container => Err(AddressError::ContainerRange { host }),
            Reach::LinkLocal if self.ip().is_some_and(|ip| ip.is_ipv6()) => {
                Err(AddressError::Zone { host })
            }
            _ => Ok(()),
        }
    }
}

impl Reach {
    /// Who can get to an IP address.
    pub fn of(ip: IpAddr) -> Reach {
        match ip.to_canonical() {
            IpAddr::V4(ip) => match ip.octets() {
                [127, ..] => Reach::Loopback,
                [169, 254, ..] => Reach::LinkLocal,
                [172, 17, ..] => Reach::Container,
                [100, second, ..] if second & 0xC0 == 64 => Reach::Cgnat,
                _ if ip.is_private() => Reach::Private,
                _ => Reach::Public,
            },
            IpAddr::V6(ip) if ip.is_loopback() => Reach::Loopback,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Reach::LinkLocal,
            IpAddr::V6(ip) if ip.is_unique_local() => Reach::Private,
            IpAddr::V6(_) => Reach::Public,
        }
    }
}

impl TryFrom<IpAddr> for HostName {
    type Error = AddressError;

    /// An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) becomes IPv4.
    fn try_from(ip: IpAddr) -> Result<HostName, AddressError> {
        let ip = ip.to_canonical();
        if ip.is_unspecified() {
            return Err(AddressError::Unspecified { ip });
        }
        if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err(AddressError::ManyHosts { ip });
        }
        Ok(HostName::Ip(ip))
    }
}

impl fmt::Display for HostName {
    /// As in a URL: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostName::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            HostName::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            HostName::Name(name) => name.fmt(f),
        }
    }
}

/// Names by which a container calls the machine that runs it.
const CONTAINER_NAMES: [&str; 3] = [
    "host.docker.internal",
    "gateway.docker.internal",
    "host.containers.internal",
];

/// `host` of `host:port` and of `[v6]:port`; other texts as they are.
fn without_port(text: &str) -> &str {
    if let Some(end) = text.find(']') {
        return &text[..=end];
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => text,
    }
}

/// Reads `[v6]` and `v6`; `None` if the text is meant to be something else.
fn read_v6(text: &str) -> Result<Option<IpAddr>, AddressError> {
    let host = || text.to_string();
    let inner = match text.strip_prefix('[') {
        None if text.matches(':').count() < 2 => return Ok(None),
        None => text,
        Some(rest) => match rest.split_once(']') {
            None => return Err(AddressError::OpenBracket { host: host() }),
            Some((inner, "")) => inner,
            Some((inner, rest)) => {
                return Err(AddressError::HostWithPort {
                    host: alloc::format!("[{inner}]"),
                    port: rest.trim_start_matches(':').to_string(),
                });
            }
        },
    };
    if inner.contains('%') {
        return Err(AddressError::Zone { host: host() });
    }
    match inner.parse::<Ipv6Addr>() {
        Ok(ip) => Ok(Some(IpAddr::V6(ip))),
        Err(_) => Err(AddressError::BadV6 { host: host() }),
    }
}

/// Whether a text is read as an IPv4 address: its last part is a number. No
/// public name ends so, and programs differ in what they make of it.
fn is_numeric(text: &str) -> bool {
    text.rsplit('.')
        .next()
        .is_some_and(|last| !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn read_v4(text: &str) -> Result<Ipv4Addr, AddressError> {
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(ip);
    }
    let host = text.to_string();
    let parts: alloc::vec::Vec<&str> = text.split('.').collect();
    if parts.len() != 4 {
        return Err(AddressError::V4Parts {
            host,
            parts: parts.len(),
            scheme: None,
            port: None,
        });
    }
    let digits = |part: &&&str| part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| part.to_string();
    if let Some(part) = parts.iter().filter(digits).find(|part| {
        part.trim_start_matches('0').len() > 3 || part.parse::<u16>().is_ok_and(|n| n > 255)
    }) {
        let part = number(part);
        return Err(AddressError::V4TooBig { host, part });
    }
    match parts
        .iter()
        .find(|part| part.len() > 1 && part.starts_with('0'))
    {
        Some(part) => Err(AddressError::V4LeadingZero {
            part: number(part),
            host,
        }),
        None => Err(AddressError::BadName { host }),
    }
}

fn read_name(text: &str) -> Result<Name, AddressError> {
    let host = || text.to_string();
    if !text.is_ascii() {
        return Err(AddressError::NotAscii { host: host() });
    }
    if text.len() > 253 {
        return Err(AddressError::NameTooLong { bytes: text.len() });
    }
    if text.ends_with('.') && text.len() > 1 {
        return Err(AddressError::TrailingDot { host: host() });
    }
    let fits = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if !text.split('.').all(fits) {
        return Err(AddressError::BadName { host: host() });
    }
    Ok(Name(text.to_ascii_lowercase()))
}
