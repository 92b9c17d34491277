//! Lists, and what stands in them: networks, tags, pins.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

use super::{Kind, Misfit, Raw, quote, type_name};
use crate::limits::MAX_LIST;
use crate::said::said;

/// The word that, as the first of a list, drops what lower ranks have said.
pub(crate) const RESET: &str = "!reset";

impl Raw<'_> {
    /// Whether a list begins with the word that drops what lower ranks said.
    pub(crate) fn resets(self) -> bool {
        match self {
            Raw::Text(text) => text.split(',').next().map(str::trim) == Some(RESET),
            Raw::Toml(value) => {
                let first = match value {
                    toml_edit::Value::Array(list) => list.get(0).and_then(|item| item.as_str()),
                    value => value.as_str(),
                };
                first == Some(RESET)
            }
        }
    }
}

/// Something that may stand in a list, as text.
pub(crate) trait Element: Sized + fmt::Display {
    /// One, for messages.
    const EXAMPLE: &'static str;
    /// Reads one.
    fn parse(text: &str) -> Result<Self, Misfit>;
}

/// A list of texts. In the environment and on the command line commas part
/// them, and an empty text is an empty list.
impl<T: Element> Kind for Vec<T> {
    fn read(raw: Raw<'_>) -> Result<Vec<T>, Misfit> {
        let texts: Vec<&str> = match raw {
            Raw::Text(text) if text.trim().is_empty() => Vec::new(),
            Raw::Text(text) => text.split(',').map(str::trim).collect(),
            Raw::Toml(toml_edit::Value::Array(list)) => list
                .iter()
                .map(|item| Raw::Toml(item).text(T::EXAMPLE))
                .collect::<Result<Vec<&str>, Misfit>>()?,
            Raw::Toml(value) => {
                let (seen, is, example) = (raw.seen(), type_name(value), T::EXAMPLE);
                return Err(Misfit {
                    what: said!("{seen} is {}, not a list", "{seen} 是{}，不是列表", is),
                    help: said!(
                        "write a list, for example [{}]",
                        "请写列表，例如 [{}]",
                        example
                    ),
                });
            }
        };
        let skip = usize::from(raw.resets());
        if texts.len() > MAX_LIST + skip {
            return Err(Misfit {
                what: said!("the list has {} entries", "列表有 {} 项", texts.len()),
                help: said!("write at most {MAX_LIST}", "最多写 {MAX_LIST} 项"),
            });
        }
        texts.into_iter().skip(skip).map(T::parse).collect()
    }

    fn show(&self) -> String {
        let all: Vec<String> = self.iter().map(|item| quote(&item.to_string())).collect();
        alloc::format!("[{}]", all.join(", "))
    }
}

/// Addresses that begin with the same bits: `192.168.0.0/16`, `fd00::/8`. One
/// address alone is a network, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether the address belongs to it. An IPv4 address written as IPv6
    /// counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        masked(ip.to_canonical(), self.prefix) == Some(self.address)
    }
}

/// The address with all bits after the first `prefix` cleared; `None` where it
/// has not that many.
fn masked(ip: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX
                .checked_shl(32_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            Some(IpAddr::V4((ip.to_bits() & mask).into()))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX
                .checked_shl(128_u32.checked_sub(prefix)?)
                .unwrap_or(0);
            Some(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask)))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Element for Network {
    const EXAMPLE: &'static str = "\"10.8.0.0/16\"";

    fn parse(text: &str) -> Result<Network, Misfit> {
        let help = || {
            said!(
                "write an address and how many of its first bits count, for example \
                 \"10.8.0.0/16\" or \"fd00::/8\"",
                "请写地址以及前多少位有效，例如 \"10.8.0.0/16\" 或 \"fd00::/8\""
            )
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(Misfit {
                what: said!("{text:?} is no network", "{text:?} 不是网段"),
                help: help(),
            });
        };
        let address = address.to_canonical();
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse::<u8>().ok().filter(|prefix| *prefix <= bits),
            None => Some(bits),
        };
        let Some(prefix) = prefix else {
            return Err(Misfit {
                what: said!(
                    "{text:?} has no length from 0 to {bits} behind the /",
                    "{text:?} 的 / 后面不是 0 到 {bits} 的长度"
                ),
                help: help(),
            });
        };
        match masked(address, prefix) {
            Some(network) if network == address => Ok(Network { address, prefix }),
            network => {
                let network = network.unwrap_or(address);
                Err(Misfit {
                    what: said!(
                        "{text:?} says more bits than its length of {prefix} covers",
                        "{text:?} 写出的位数超过了长度 {prefix}"
                    ),
                    help: said!(
                        "write \"{network}/{prefix}\"",
                        "请写 \"{network}/{prefix}\""
                    ),
                })
            }
        }
    }
}

/// The name of a tag that devices may carry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Element for Tag {
    const EXAMPLE: &'static str = "\"kitchen\"";

    fn parse(text: &str) -> Result<Tag, Misfit> {
        let fits = !text.is_empty()
            && text.chars().count() <= 64
            && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ',')
            && !text.starts_with('!');
        if fits {
            return Ok(Tag(text.to_string()));
        }
        Err(Misfit {
            what: said!("{text:?} cannot be a tag", "{text:?} 不能用作标签"),
            help: said!(
                "write 1 to 64 characters without spaces and commas",
                "请写 1 到 64 个字符，不含空格和逗号"
            ),
        })
    }
}

/// Keys that only files, the environment and flags may set: one, or all of a
/// section. Written `limits.max_inflight` or `advertise.*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pin(String);

impl Pin {
    /// Whether the key is pinned by this.
    pub fn covers(&self, key: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(section) => key.starts_with(section),
            None => key == self.0,
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Element for Pin {
    const EXAMPLE: &'static str = "\"limits.max_inflight\"";

    fn parse(text: &str) -> Result<Pin, Misfit> {
        let whole = text.strip_suffix(".*").unwrap_or(text);
        let fits = whole
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.'))
            && whole.starts_with(|c: char| c.is_ascii_lowercase())
            && (text.contains('.'));
        if fits {
            return Ok(Pin(text.to_string()));
        }
        Err(Misfit {
            what: said!("{text:?} names no keys", "{text:?} 没有指明任何键"),
            help: said!(
                "write a key such as \"limits.max_inflight\", or a section such as \"advertise.*\"",
                "请写键名，例如 \"limits.max_inflight\"，或整节，例如 \"advertise.*\""
            ),
        })
    }
}
