//! Addresses that devices and people are given.
//!
//! [`AdvertisedAddress`] is the one type that makes URLs: it cannot be without
//! a scheme, a host or a port, and it always shows its port. A URL without one
//! is how devices end up on port 80, where nothing of ours listens.

mod error;
mod host;

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::num::NonZeroU16;
use core::str::FromStr;

pub use error::AddressError;
pub use host::{HostName, Name, Reach};

/// The protocol that an address is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// MQTT.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Scheme; 6] = [
        Scheme::Http,
        Scheme::Https,
        Scheme::Ws,
        Scheme::Wss,
        Scheme::Mqtt,
        Scheme::Mqtts,
    ];

    /// As it stands in front of `://`.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Ws => "ws",
            Scheme::Wss => "wss",
            Scheme::Mqtt => "mqtt",
            Scheme::Mqtts => "mqtts",
        }
    }

    /// The port that a client takes when none is written: 80, 443, 1883 or 8883.
    pub fn standard_port(self) -> u16 {
        match self {
            Scheme::Http | Scheme::Ws => 80,
            Scheme::Https | Scheme::Wss => 443,
            Scheme::Mqtt => 1883,
            Scheme::Mqtts => 8883,
        }
    }

    /// Whether it begins with a TLS handshake.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Https | Scheme::Wss | Scheme::Mqtts)
    }

    /// The WebSocket scheme of an HTTP one, which shares its port; every other
    /// scheme itself.
    pub fn websocket(self) -> Scheme {
        match self {
            Scheme::Http => Scheme::Ws,
            Scheme::Https => Scheme::Wss,
            other => other,
        }
    }

    /// The HTTP scheme of a WebSocket one, which shares its port; every other
    /// scheme itself.
    pub fn http(self) -> Scheme {
        match self {
            Scheme::Ws => Scheme::Http,
            Scheme::Wss => Scheme::Https,
            other => other,
        }
    }

    fn of(name: &str) -> Option<Scheme> {
        Scheme::ALL
            .into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a device or a person is told to go: scheme, host and port.
///
/// ```
/// use safeport_settings::AdvertisedAddress;
/// let address = AdvertisedAddress::parse("WS://hub.Example.com").unwrap();
/// assert_eq!(address.to_string(), "ws://hub.example.com:80");
/// assert_eq!(address.url("/mqtt"), "ws://hub.example.com:80/mqtt");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdvertisedAddress {
    scheme: Scheme,
    host: HostName,
    port: NonZeroU16,
}

impl AdvertisedAddress {
    /// An address of its parts.
    ///
    /// # Errors
    /// Port 0, and IP addresses that are not one machine's (`0.0.0.0`, `::`,
    /// multicast, broadcast).
    pub fn new(
        scheme: Scheme,
        host: HostName,
        port: u16,
    ) -> Result<AdvertisedAddress, AddressError> {
        let port = NonZeroU16::new(port).ok_or(AddressError::PortZero)?;
        let host = match host {
            HostName::Ip(ip) => HostName::try_from(ip)?,
            name => name,
        };
        Ok(AdvertisedAddress { scheme, host, port })
    }

    /// Reads `scheme://host:port`.
    ///
    /// The port may be left away behind a name, which gives the scheme's own
    /// (80, 443, 1883, 8883); behind an IP address it must be written, since
    /// there the missing port is nearly always a slip. One `/` at the end is
    /// taken off. Scheme and name become small letters.
    ///
    /// # Errors
    /// What is wrong first, from left to right, each with its own words.
    pub fn parse(text: &str) -> Result<AdvertisedAddress, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        error::refuse_full_width(text)?;
        let (scheme, rest) = text.split_once("://").ok_or_else(|| {
            let text = text.to_string();
            AddressError::NoScheme { text }
        })?;
        let scheme = Scheme::of(scheme).ok_or_else(|| AddressError::UnknownScheme {
            scheme: scheme.to_string(),
        })?;
        if rest.contains("://") {
            return Err(AddressError::TwoSchemes {
                rest: rest.to_string(),
            });
        }
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        if authority.contains('@') {
            return Err(AddressError::UserInfo);
        }
        let (host, port) = split_port(scheme, authority)?;
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let host = HostName::parse(host).map_err(|error| error.with_port(scheme, port))?;
        let port = match port {
            Some(port) => read_port(port)?,
            None => missing_port(scheme, &host)?,
        };
        if !matches!(tail, "" | "/") {
            return Err(AddressError::Tail {
                tail: tail.to_string(),
                without: format!("{scheme}://{host}:{port}"),
            });
        }
        Ok(AdvertisedAddress { scheme, host, port })
    }

    /// Its scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Its host.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Its port, 1 to 65535.
    pub fn port(&self) -> u16 {
        self.port.get()
    }

    /// The same host and port in another scheme.
    pub fn with_scheme(&self, scheme: Scheme) -> AdvertisedAddress {
        AdvertisedAddress {
            scheme,
            ..self.clone()
        }
    }

    /// `scheme://host:port/path`, always with its port.
    ///
    /// The path may carry a query (`?`). Whatever may not stand in one is
    /// percent-encoded, a missing `/` at its front is set. A `%` is taken as
    /// the begin of something already encoded.
    pub fn url(&self, path: &str) -> String {
        let mut url = self.to_string();
        if !path.starts_with('/') {
            url.push('/');
        }
        for byte in path.bytes() {
            match byte {
                b'"' | b'#' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                    url.push_str(&format!("%{byte:02X}"));
                }
                0x21..=0x7E => url.push(char::from(byte)),
                _ => url.push_str(&format!("%{byte:02X}")),
            }
        }
        url
    }

    /// Who can get there, as far as the host tells.
    pub fn reach(&self) -> Reach {
        self.host.reach()
    }
}

impl fmt::Display for AdvertisedAddress {
    /// `scheme://host:port`, always with its port, IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl FromStr for AdvertisedAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<AdvertisedAddress, AddressError> {
        AdvertisedAddress::parse(text)
    }
}

/// Takes `host` and `host:port` apart; an IPv6 host keeps its brackets.
fn split_port(scheme: Scheme, authority: &str) -> Result<(&str, Option<&str>), AddressError> {
    if authority.starts_with('[') {
        let Some(end) = authority.find(']') else {
            return Err(AddressError::OpenBracket {
                host: authority.to_string(),
            });
        };
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(AddressError::PortNotANumber {
                port: rest.to_string(),
            }),
        };
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((host, port)) if !port.contains(':') => Ok((host, Some(port))),
        Some(_) => Err(unbracketed(scheme, authority)),
    }
}

/// Several colons and no brackets: an IPv6 address with or without a port, or
/// a slip of another kind.
fn unbracketed(scheme: Scheme, authority: &str) -> AddressError {
    use core::net::Ipv6Addr;
    let (front, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let suggestion = if authority.parse::<Ipv6Addr>().is_ok() {
        format!("{scheme}://[{authority}]:{}", scheme.standard_port())
    } else if front.parse::<Ipv6Addr>().is_ok() {
        format!("{scheme}://[{front}]:{port}")
    } else {
        return AddressError::PortNotANumber {
            port: authority
                .split_once(':')
                .map_or(authority, |(_, port)| port)
                .to_string(),
        };
    };
    AddressError::NoBrackets {
        host: authority.to_string(),
        suggestion,
    }
}

fn read_port(text: &str) -> Result<NonZeroU16, AddressError> {
    if text.is_empty() {
        return Err(AddressError::PortEmpty);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::PortNotANumber {
            port: text.to_string(),
        });
    }
    // Digits only, so what does not fit is too big.
    let port = text.parse::<u16>().map_err(|_| AddressError::PortTooBig {
        port: text.to_string(),
    })?;
    NonZeroU16::new(port).ok_or(AddressError::PortZero)
}

fn missing_port(scheme: Scheme, host: &HostName) -> Result<NonZeroU16, AddressError> {
    let standard = scheme.standard_port();
    match (host, NonZeroU16::new(standard)) {
        (HostName::Name(_), Some(port)) => Ok(port),
        _ => Err(AddressError::PortMissing {
            address: format!("{scheme}://{host}"),
            standard,
        }),
    }
}

#[cfg(test)]
mod tests;
