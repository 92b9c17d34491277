//! Where a listener listens, and what it does when that is taken.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Kind, Misfit, Raw, quote, type_name};
use crate::Said;
use crate::address::{AddressError, HostName};
use crate::limits::{MAX_BINDS, MAX_PORT_RANGE};
use crate::said::said;

/// One place to listen at: `127.0.0.1:1883`, `[::]:1883`, `server.lan:1883`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bind {
    /// The address, or a name that is resolved before anything is bound.
    pub host: HostName,
    /// The port. 0, which only a flag may say, takes a free one.
    pub port: u16,
}

impl Bind {
    /// The place as an address, if it is not written with a name.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.host {
            HostName::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            HostName::Name(_) => None,
        }
    }

    /// Reads `host:port`. What is wrong comes with the line to write instead.
    fn parse(raw: Raw<'_>, text: &str) -> Result<Bind, Misfit> {
        let help = || {
            said!(
                "write an address and a port, for example \"[::]:1883\" for every network, \
                 \"0.0.0.0:1883\" for every IPv4 network, \"127.0.0.1:1883\" for this machine only",
                "请写地址和端口，例如 \"[::]:1883\" 表示所有网络，\"0.0.0.0:1883\" 表示所有 IPv4 网络，\
                 \"127.0.0.1:1883\" 表示仅本机"
            )
        };
        let no_form = || {
            raw.misfit(
                said!("is not an address with a port", "不是带端口的地址"),
                help(),
            )
        };
        if let Some((scheme, rest)) = text.split_once("://") {
            let place = rest.split('/').next().unwrap_or(rest);
            return Err(raw.misfit(
                said!(
                    "begins with {scheme}://, and a place to listen at has no scheme",
                    "以 {scheme}:// 开头，而监听地址不带协议"
                ),
                said!("write \"{place}\"", "请写 \"{place}\""),
            ));
        }
        if let Some((place, path)) = text.split_once('/') {
            return Err(raw.misfit(
                said!(
                    "has a path, /{path}, and a place to listen at has none",
                    "带有路径 /{path}，而监听地址不带路径"
                ),
                said!("write \"{place}\"", "请写 \"{place}\""),
            ));
        }
        if let Err(error @ AddressError::FullWidth { .. }) = HostName::parse(text) {
            return Err(Misfit {
                what: error.what(),
                help: error.help(),
            });
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(no_form());
        }
        let Ok(port) = port.parse::<u16>() else {
            return Err(raw.misfit(
                said!(
                    "has port {port}, which does not exist",
                    "的端口 {port} 不存在"
                ),
                said!(
                    "ports end at 65535: write 1 to 65535",
                    "端口最大为 65535：请写 1 到 65535"
                ),
            ));
        };
        if host.is_empty() || host == "*" {
            return Err(raw.misfit(
                said!("has no address", "没有地址"),
                said!(
                    "write \"[::]:{port}\" for every network, \"0.0.0.0:{port}\" for every IPv4 \
                     network, or \"127.0.0.1:{port}\" for this machine only",
                    "请写 \"[::]:{port}\" 表示所有网络，\"0.0.0.0:{port}\" 表示所有 IPv4 网络，\
                     或 \"127.0.0.1:{port}\" 表示仅本机"
                ),
            ));
        }
        if let Some(inner) = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            let ip = inner.parse::<Ipv6Addr>().map_err(|_| no_form())?;
            return Ok(Bind {
                host: HostName::Ip(IpAddr::V6(ip)),
                port,
            });
        }
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Bind {
                host: HostName::Ip(IpAddr::V4(ip)),
                port,
            });
        }
        if host.parse::<Ipv6Addr>().is_ok() {
            return Err(raw.misfit(
                said!(
                    "is an IPv6 address without brackets",
                    "是没有方括号的 IPv6 地址"
                ),
                said!("write \"[{host}]:{port}\"", "请写 \"[{host}]:{port}\""),
            ));
        }
        match HostName::parse(host) {
            Ok(host) => Ok(Bind { host, port }),
            Err(error) => Err(Misfit {
                what: error.what(),
                help: help(),
            }),
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// All places that one listener listens at: 1 to [`MAX_BINDS`], in the order
/// written. Written as one text, or as a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Binds(Vec<Bind>);

impl Binds {
    /// The first of them.
    pub fn first(&self) -> &Bind {
        &self.0[0]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Bind> {
        self.0.iter()
    }

    /// How many there are, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Binds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, bind) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{bind}")?;
        }
        Ok(())
    }
}

impl Kind for Binds {
    fn read(raw: Raw<'_>) -> Result<Binds, Misfit> {
        let binds = match raw {
            Raw::Text(text) => text
                .split(',')
                .map(|part| Bind::parse(Raw::Text(part.trim()), part.trim()))
                .collect::<Result<Vec<Bind>, Misfit>>()?,
            Raw::Toml(toml_edit::Value::Array(list)) => list
                .iter()
                .map(|item| one(Raw::Toml(item), item))
                .collect::<Result<Vec<Bind>, Misfit>>()?,
            Raw::Toml(value) => vec![one(raw, value)?],
        };
        if binds.is_empty() || binds.len() > MAX_BINDS {
            return Err(raw.misfit(
                said!("has {} addresses", "有 {} 个地址", binds.len()),
                said!(
                    "write 1 to {MAX_BINDS} addresses, or switch the listener off with enabled = false",
                    "请写 1 到 {MAX_BINDS} 个地址，或用 enabled = false 关闭该监听器"
                ),
            ));
        }
        Ok(Binds(binds))
    }

    fn show(&self) -> String {
        match &self.0[..] {
            [only] => quote(&only.to_string()),
            all => {
                let all: Vec<String> = all.iter().map(|bind| quote(&bind.to_string())).collect();
                alloc::format!("[{}]", all.join(", "))
            }
        }
    }

    fn lasting(&self) -> Result<(), Misfit> {
        match self.0.iter().find(|bind| bind.port == 0) {
            Some(bind) => Err(Misfit {
                what: said!(
                    "\"{}\" has port 0, which is another port at every start, and no device would find it",
                    "\"{}\" 的端口是 0：每次启动都会换一个端口，设备将找不到",
                    bind.to_string()
                ),
                help: said!("write 1 to 65535", "请写 1 到 65535"),
            }),
            None => Ok(()),
        }
    }
}

/// One bind of a file. A bare port is the commonest slip; it is answered with
/// the line to write.
fn one(raw: Raw<'_>, value: &toml_edit::Value) -> Result<Bind, Misfit> {
    match value.as_integer() {
        Some(port) => Bind::parse(raw, &port.to_string()),
        None => Bind::parse(raw, raw.text("\"[::]:1883\"")?),
    }
}

/// What a listener does when its port is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnConflict {
    /// Nothing starts, and what holds the port is named. Written `fail`.
    Fail,
    /// The first free port of these. Written `18883-18892`.
    Range(PortRange),
}

/// Ports from first to last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The least; at least 1.
    pub first: u16,
    /// The greatest.
    pub last: u16,
}

impl PortRange {
    /// Every port of the range, upwards.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl fmt::Display for OnConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OnConflict::Fail => f.write_str("fail"),
            OnConflict::Range(PortRange { first, last }) => write!(f, "{first}-{last}"),
        }
    }
}

impl Kind for OnConflict {
    fn read(raw: Raw<'_>) -> Result<OnConflict, Misfit> {
        let help = || {
            said!(
                "write \"fail\", or a range of ports such as \"18883-18892\"",
                "请写 \"fail\"，或端口范围，例如 \"18883-18892\""
            )
        };
        let text = match raw {
            Raw::Toml(value) if !value.is_str() => {
                let (seen, is) = (raw.seen(), type_name(value));
                return Err(Misfit {
                    what: said!("{seen} is {}, not a text", "{seen} 是{}，不是文字", is),
                    help: help(),
                });
            }
            raw => raw.text("\"fail\"")?.trim(),
        };
        if text == "fail" {
            return Ok(OnConflict::Fail);
        }
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let Some((Some(first), Some(last))) = text
            .split_once('-')
            .map(|(first, last)| (number(first), number(last)))
        else {
            return Err(raw.misfit(
                said!(
                    "is neither \"fail\" nor a range of ports",
                    "既不是 \"fail\" 也不是端口范围"
                ),
                help(),
            ));
        };
        let what: Said = match (u16::try_from(first), u16::try_from(last)) {
            (Ok(first), Ok(last)) if first == 0 || last == 0 => {
                said!(
                    "begins at port 0, which is no port of its own",
                    "含有端口 0，它不是真正的端口"
                )
            }
            (Ok(first), Ok(last)) if first > last => {
                said!("ends before it begins", "的结尾小于开头")
            }
            (Ok(first), Ok(last)) if usize::from(last - first) >= MAX_PORT_RANGE => {
                let count = usize::from(last - first) + 1;
                said!(
                    "has {count} ports; at most {MAX_PORT_RANGE} are tried",
                    "有 {count} 个端口；最多尝试 {MAX_PORT_RANGE} 个"
                )
            }
            (Ok(first), Ok(last)) => return Ok(OnConflict::Range(PortRange { first, last })),
            _ => said!("goes beyond the last port, 65535", "超出了最大端口 65535"),
        };
        Err(raw.misfit(what, help()))
    }

    fn show(&self) -> String {
        quote(&self.to_string())
    }
}
