//! What is wrong with an address, in words: each slip has its own.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;

use super::Scheme;
use crate::Said;
use crate::nearest::nearest;
use crate::said::said;

/// Why a text is no address, or none for devices.
///
/// `Display` gives [`AddressError::what`] and [`AddressError::help`] in English.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are the parts of the text concerned"
)]
pub enum AddressError {
    /// Nothing at all.
    Empty,
    /// Characters of a Chinese keyboard where ASCII ones belong.
    FullWidth { plain: String },
    /// No `scheme://`.
    NoScheme { text: String },
    /// A scheme that we do not serve.
    UnknownScheme { scheme: String },
    /// `ws://ws://…`.
    TwoSchemes { rest: String },
    /// `user:password@`. The text is not repeated: it may hold a password.
    UserInfo,
    /// No host between `://` and the port.
    NoHost,
    /// A path, query or fragment.
    Tail { tail: String, without: String },
    /// `[` without `]`.
    OpenBracket { host: String },
    /// IPv6 without brackets.
    NoBrackets { host: String, suggestion: String },
    /// Not an IPv6 address.
    BadV6 { host: String },
    /// IPv6 that needs the name of an interface.
    Zone { host: String },
    /// An IPv4 address of more or fewer than four numbers.
    V4Parts {
        host: String,
        parts: usize,
        scheme: Option<Scheme>,
        port: Option<String>,
    },
    /// A number above 255 in an IPv4 address.
    V4TooBig { host: String, part: String },
    /// A number with a zero in front, which some programs read as octal.
    V4LeadingZero { host: String, part: String },
    /// A name with letters beyond ASCII.
    NotAscii { host: String },
    /// A name longer than DNS allows.
    NameTooLong { bytes: usize },
    /// A name that ends with a dot.
    TrailingDot { host: String },
    /// A name with characters or parts that no name has.
    BadName { host: String },
    /// `host:` and nothing.
    PortEmpty,
    /// A port that is not made of digits.
    PortNotANumber { port: String },
    /// Port 0.
    PortZero,
    /// A port above 65535.
    PortTooBig { port: String },
    /// An IP address without a port.
    PortMissing { address: String, standard: u16 },
    /// `0.0.0.0` or `::`.
    Unspecified { ip: IpAddr },
    /// Multicast or broadcast.
    ManyHosts { ip: IpAddr },
    /// A scheme where only a host belongs.
    HostWithScheme { scheme: String, host: String },
    /// A port where only a host belongs.
    HostWithPort { host: String, port: String },
    /// A path where only a host belongs.
    HostWithPath { path: String, host: String },
    /// This machine itself, for devices.
    Loopback { host: String },
    /// Docker's own network, for devices.
    ContainerRange { host: String },
}

impl AddressError {
    /// What was seen and why it does not fit.
    pub fn what(&self) -> Said {
        use AddressError as E;
        match self {
            E::Empty => said!("there is no address", "没有写地址"),
            E::FullWidth { .. } => said!(
                "it has full-width characters, which no device understands",
                "含有全角字符，设备无法识别"
            ),
            E::NoScheme { text } => {
                said!("{} has no scheme", "{} 没有协议", short(text))
            }
            E::UnknownScheme { scheme } => said!(
                "{} is no scheme that Safeport serves",
                "Safeport 不提供 {} 协议",
                short(scheme)
            ),
            E::TwoSchemes { rest } => said!(
                "there is a second scheme in {}",
                "{} 中又写了一个协议",
                short(rest)
            ),
            E::UserInfo => said!(
                "it carries a user name or password (the part before @)",
                "含有用户名或密码（@ 之前的部分）"
            ),
            E::NoHost => said!("it names no host", "没有写主机"),
            E::Tail { tail, .. } => said!(
                "it ends with {}, and an address has no path",
                "末尾多了 {}，地址里不写路径",
                short(tail)
            ),
            E::OpenBracket { host } => said!(
                "{} has an opening bracket without a closing one",
                "{} 缺少右方括号",
                short(host)
            ),
            E::NoBrackets { host, .. } => said!(
                "{} is an IPv6 address without brackets, so nobody can tell where its port begins",
                "{} 是没有方括号的 IPv6 地址，分不清端口从哪里开始",
                short(host)
            ),
            E::BadV6 { host } => said!(
                "{} is not an IPv6 address",
                "{} 不是 IPv6 地址",
                short(host)
            ),
            E::Zone { host } => said!(
                "{} is an IPv6 address that holds on one interface only; to another machine its interface name means nothing",
                "{} 是只在某个网卡上有效的 IPv6 地址，网卡名对别的机器没有意义",
                short(host)
            ),
            E::V4Parts { host, parts, .. } => said!(
                "{} has {parts} of the four numbers of an IPv4 address",
                "{} 有 {parts} 段数字，而 IPv4 地址应有四段",
                short(host)
            ),
            E::V4TooBig { host, part } => said!(
                "{0} in {1} is more than 255",
                "{1} 中的 {0} 大于 255",
                plain_short(part),
                short(host)
            ),
            E::V4LeadingZero { host, part } => said!(
                "{0} in {1} begins with a zero, which some devices read as an octal number",
                "{1} 中的 {0} 以零开头，有些设备会按八进制读取",
                plain_short(part),
                short(host)
            ),
            E::NotAscii { host } => said!(
                "{} has letters that a device cannot look up",
                "{} 含有设备无法解析的字符",
                short(host)
            ),
            E::NameTooLong { bytes } => said!(
                "the name has {bytes} characters, and names end at 253",
                "名称有 {bytes} 个字符，最多 253 个"
            ),
            E::TrailingDot { host } => said!(
                "{} ends with a dot, and certificates and devices know the name without it",
                "{} 以点号结尾，证书和设备使用的名称不带这个点",
                short(host)
            ),
            E::BadName { host } => said!(
                "{} is neither an IP address nor a name",
                "{} 既不是 IP 地址也不是名称",
                short(host)
            ),
            E::PortEmpty => said!("there is a colon and no port behind it", "冒号后面没有端口"),
            E::PortNotANumber { port } => {
                said!("{} is not a port", "{} 不是端口", short(port))
            }
            E::PortZero => said!("nobody can connect to port 0", "无法连接端口 0"),
            E::PortTooBig { port } => said!(
                "port {} does not exist: ports end at 65535",
                "端口 {} 不存在：最大为 65535",
                plain_short(port)
            ),
            E::PortMissing { address, standard } => said!(
                "{address} has no port, so devices would connect to port {standard}",
                "{address} 没有写端口，设备会连接端口 {standard}"
            ),
            E::Unspecified { ip } => said!(
                "{ip} means every address of a machine and leads nowhere",
                "{ip} 表示本机的所有地址，不能作为目的地"
            ),
            E::ManyHosts { ip } => said!(
                "{ip} means many machines at once",
                "{ip} 表示许多台机器，而不是一台"
            ),
            E::HostWithScheme { scheme, .. } => said!(
                "it begins with {}, and only the host belongs here",
                "开头多了 {}，这里只写主机",
                short(&format!("{scheme}://"))
            ),
            E::HostWithPort { port, .. } => said!(
                "it ends with the port {}, and only the host belongs here",
                "末尾多了端口 {}，这里只写主机",
                short(port)
            ),
            E::HostWithPath { path, .. } => said!(
                "it ends with the path {}, and only the host belongs here",
                "末尾多了路径 {}，这里只写主机",
                short(path)
            ),
            E::Loopback { host } => said!(
                "{} is, to every device, the device itself",
                "对每台设备来说，{} 都是设备自己",
                short(host)
            ),
            E::ContainerRange { host } => said!(
                "{} lies in the network inside Docker, which no device reaches",
                "{} 属于 Docker 内部网络，设备无法到达",
                short(host)
            ),
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Said {
        use AddressError as E;
        match self {
            E::Empty | E::NoHost => said!(
                "write scheme, host and port, for example ws://192.168.1.20:8002",
                "请写明协议、主机和端口，例如 ws://192.168.1.20:8002"
            ),
            E::FullWidth { plain } => said!("write {}", "请写 {}", short(plain)),
            E::NoScheme { text } => said!(
                "write one of http://, https://, ws://, wss://, mqtt://, mqtts:// in front, for example {}",
                "请在前面加上 http://、https://、ws://、wss://、mqtt:// 或 mqtts://，例如 {}",
                short(&format!("http://{text}"))
            ),
            E::UnknownScheme { scheme } => match meant(scheme) {
                Some(meant) => said!("did you mean {meant}://?", "是不是想写 {meant}://？"),
                None => said!(
                    "use http, https, ws, wss, mqtt or mqtts",
                    "请用 http、https、ws、wss、mqtt 或 mqtts"
                ),
            },
            E::TwoSchemes { .. } => said!("keep one of the two", "只保留其中一个"),
            E::UserInfo => said!(
                "leave it away: devices get their login apart from the address",
                "请删去：登录信息与地址是分开发给设备的"
            ),
            E::Tail { without, .. } => said!(
                "write {without}; Safeport adds the paths itself",
                "请写 {without}；路径由 Safeport 自己添加"
            ),
            E::OpenBracket { .. } => said!(
                "put ] behind the address, for example [fd00::20]:8002",
                "请在地址后加上 ]，例如 [fd00::20]:8002"
            ),
            E::NoBrackets { suggestion, .. } => {
                said!("write {suggestion}", "请写 {suggestion}")
            }
            E::BadV6 { .. } => said!(
                "write eight groups of up to four hexadecimal digits, :: for a row of zeros, for example [fd00::20]",
                "请写八组十六进制数（每组最多四位），连续的零可写作 ::，例如 [fd00::20]"
            ),
            E::Zone { .. } => said!(
                "use an IPv6 address that does not begin with fe80, an IPv4 address, or a name",
                "请改用不以 fe80 开头的 IPv6 地址、IPv4 地址或名称"
            ),
            // `ws://192.168.1:4`: a colon typed for the last dot.
            E::V4Parts {
                host,
                parts: 3,
                scheme,
                port: Some(port),
            } if port.parse::<u8>().is_ok() => {
                let scheme = scheme.map_or(String::new(), |scheme| format!("{scheme}://"));
                said!(
                    "if the colon before {port} was meant as a dot, write {scheme}{host}.{port} and then : and the port",
                    "如果 {port} 前的冒号本应是点号，请写 {scheme}{host}.{port}，再加冒号和端口"
                )
            }
            E::V4Parts { .. } | E::V4TooBig { .. } => said!(
                "write four numbers from 0 to 255, for example 192.168.1.20",
                "请写四个 0 到 255 的数字，例如 192.168.1.20"
            ),
            E::V4LeadingZero { .. } => {
                said!("leave the leading zeros away", "请去掉前面的零")
            }
            E::NotAscii { .. } => said!(
                "write the name in its ASCII form, which begins with xn--, or use the IP address",
                "请写该名称的 ASCII 形式（以 xn-- 开头），或使用 IP 地址"
            ),
            E::NameTooLong { .. } => said!("use a shorter name", "请使用较短的名称"),
            E::TrailingDot { host } => {
                said!("write {}", "请写 {}", short(host.trim_end_matches('.')))
            }
            E::BadName { .. } => said!(
                "use an IP address such as 192.168.1.20, or a name of letters, digits, hyphens and dots such as hub.example.com",
                "请用 IP 地址（如 192.168.1.20），或由字母、数字、连字符和点组成的名称（如 hub.example.com）"
            ),
            E::PortEmpty | E::PortNotANumber { .. } | E::PortZero | E::PortTooBig { .. } => said!(
                "write a port from 1 to 65535, for example :8002",
                "请写 1 到 65535 的端口，例如 :8002"
            ),
            E::PortMissing { address, standard } => said!(
                "write the port of the listener behind the address, for example {address}:8002, or {address}:{standard} if {standard} is meant",
                "请在地址后写明监听端口，例如 {address}:8002；如果就是 {standard}，请写 {address}:{standard}"
            ),
            E::Unspecified { .. } => said!(
                "use an address that devices can reach, for example 192.168.1.20",
                "请用设备能到达的地址，例如 192.168.1.20"
            ),
            E::ManyHosts { .. } => said!(
                "use the address of one machine, for example 192.168.1.20",
                "请用一台机器的地址，例如 192.168.1.20"
            ),
            E::HostWithScheme { host, .. }
            | E::HostWithPort { host, .. }
            | E::HostWithPath { host, .. } => said!("write {}", "请写 {}", short(host)),
            E::Loopback { .. } => said!(
                "use this machine's address on the network of the devices, or auto",
                "请用本机在设备所在网络中的地址，或写 auto"
            ),
            E::ContainerRange { .. } => said!(
                "use the address of the machine that runs the container, and publish the port there (-p)",
                "请用运行容器的那台机器的地址，并在那里发布端口（-p）"
            ),
        }
    }

    /// Adds what stood around a host, for a better hint.
    pub(super) fn with_port(self, around: Scheme, behind: Option<&str>) -> AddressError {
        match self {
            AddressError::V4Parts { host, parts, .. } => AddressError::V4Parts {
                host,
                parts,
                scheme: Some(around),
                port: behind.map(ToString::to_string),
            },
            other => other,
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what(), self.help())
    }
}

impl core::error::Error for AddressError {}

/// Full-width colons, dots, slashes and digits come from Chinese and Japanese
/// input methods and look nearly right.
pub(super) fn refuse_full_width(text: &str) -> Result<(), AddressError> {
    let plain = |c: char| match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        '\u{3002}' | '\u{FF61}' => '.',
        '\u{3000}' => ' ',
        other => other,
    };
    if text.chars().all(|c| plain(c) == c) {
        return Ok(());
    }
    let plain: String = text.chars().map(plain).collect();
    if plain.contains('@') {
        return Err(AddressError::UserInfo);
    }
    Err(AddressError::FullWidth { plain })
}

/// The scheme that was meant, of other programs' names and of slips.
fn meant(scheme: &str) -> Option<&'static str> {
    match scheme.to_ascii_lowercase().as_str() {
        "tcp" | "mqtt+tcp" => Some("mqtt"),
        "ssl" | "tls" | "mqtt+ssl" | "mqtt+tls" | "tcps" => Some("mqtts"),
        "websocket" => Some("ws"),
        other => nearest(other, Scheme::ALL.into_iter().map(Scheme::name)),
    }
}

/// A text in quotes, cut where nobody reads on.
fn short(text: &str) -> String {
    format!("{:?}", plain_short(text))
}

fn plain_short(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => text.to_string(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
