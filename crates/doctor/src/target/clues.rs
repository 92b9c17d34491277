//! What is wrong with a text, as clues.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use safeport_settings::Said;

use super::{Dialect, Dialled, Host, Service, Slip, Target};
use crate::{Cause, Clue, Place, Strength};

/// The stage in which texts are read.
const PARSE: Place = Place::Probe { stage: 1 };

/// What follows from the difference between what was meant and what the firmware dials.
pub(super) fn of(target: &Target, dialect: Dialect) -> Vec<Clue> {
    let mut clues = Vec::new();
    if is_pasted(target, dialect) {
        match dialect.dialled(target) {
            Err(why) => clues.push(refused(target, dialect, &why)),
            Ok(dialled) => clues.extend(dialled_elsewhere(target, dialect, &dialled)),
        }
    }
    if clues.is_empty() {
        clues.extend(slipped(target, dialect));
    }
    clues.extend(without_port(target, dialect));
    clues.extend(contradiction(target, dialect));
    clues.extend(host(target, dialect));
    clues
}

/// The parser gets nothing out of it.
fn refused(target: &Target, dialect: Dialect, why: &Said) -> Clue {
    let Target { typed, .. } = target;
    let Said { en, zh } = proposed(target, dialect);
    let quote = Said::new(
        format!("\"{typed}\": {}; {en}", why.en),
        format!("“{typed}”：{}；{zh}", why.zh),
    );
    at_parse(Cause::UrlMalformed, quote)
}

/// The parser gets something else out of it.
fn dialled_elsewhere(target: &Target, dialect: Dialect, dialled: &Dialled) -> Option<Clue> {
    let there = dialled.host.trim_matches(['[', ']']);
    let same = there.is_ascii() && there.eq_ignore_ascii_case(&target.host.to_string());
    if same && target.likely_port().is_none_or(|port| port == dialled.port) {
        return None;
    }
    let Target { typed, .. } = target;
    let (host, port) = (covered(&dialled.host), dialled.port);
    let Said { en, zh } = proposed(target, dialect);
    let quote = Said::new(
        format!("\"{typed}\": the device gets host \"{host}\" and port {port} out of it; {en}"),
        format!("“{typed}”：设备从中得到主机“{host}”和端口 {port}；{zh}"),
    );
    Some(at_parse(Cause::UrlMalformed, quote))
}

/// What was mended, where the firmware reads it right all the same or holds it in a field. One clue
/// for all of it.
fn slipped(target: &Target, dialect: Dialect) -> Option<Clue> {
    // In a field of its own most slips cannot be; what was typed here is not what stands there.
    let counts = |slip: &&Slip| {
        !dialect.has_fields() || matches!(slip, Slip::FullWidth | Slip::Blank | Slip::Colon(_))
    };
    let said: Vec<Said> = target.slips.iter().filter(counts).map(words).collect();
    if said.is_empty() {
        return None;
    }
    let en: Vec<&str> = said.iter().map(|said| said.en.as_str()).collect();
    let zh: Vec<&str> = said.iter().map(|said| said.zh.as_str()).collect();
    let Target { typed, .. } = target;
    let proper = proposed(target, dialect);
    let quote = Said::new(
        format!("\"{typed}\": {}; {}", en.join(", "), proper.en),
        format!("“{typed}”：{}；{}", zh.join("，"), proper.zh),
    );
    Some(Clue::new(
        Cause::UrlMalformed,
        Strength::Class,
        PARSE,
        quote,
    ))
}

/// Whether the text stands in the device as it was typed for us. A host without a scheme is enough for
/// us, and a scheme before an MQTT server is how people write it: only what has the device's own form,
/// or a slip in it, was pasted.
fn is_pasted(target: &Target, dialect: Dialect) -> bool {
    let without_scheme = matches!(dialect, Dialect::XiaozhiMqtt | Dialect::Shelly);
    target.scheme.is_some() != without_scheme || !target.slips.is_empty()
}

fn words(slip: &Slip) -> Said {
    match slip {
        Slip::FullWidth => Said::new(
            "it holds characters of Chinese width, such as \"：\" for \":\"",
            "含有全角字符（例如把“:”写成“：”）",
        ),
        Slip::Blank => Said::new(
            "it holds a blank or an invisible character",
            "含有空格或不可见字符",
        ),
        Slip::Backslash => Said::new("it has \"\\\" for \"/\"", "把“/”写成了“\\”"),
        Slip::SchemeMark => Said::new("behind the scheme stands no \"://\"", "协议名后面不是“://”"),
        Slip::SchemeSpelling(typed) => Said::new(
            format!("\"{typed}\" is misspelt"),
            format!("协议名“{typed}”拼写有误"),
        ),
        Slip::SchemeForeign(typed) => Said::new(
            format!("\"{typed}://\" is no scheme of a device"),
            format!("设备不认识“{typed}://”"),
        ),
        Slip::SchemeCapitals => Said::new("the scheme is in capitals", "协议名用了大写字母"),
        Slip::Credentials => Said::new(
            "a user name stands in it, which belongs into a field of its own",
            "里面写了用户名，应填到单独的输入框里",
        ),
        Slip::BareIpv6 => Said::new("the IPv6 address has no brackets", "IPv6 地址没有加方括号"),
        Slip::Colon(' ') => Said::new(
            "a blank stands between host and port instead of a colon",
            "主机和端口之间是空格，不是冒号",
        ),
        Slip::Colon(mark) => Said::new(
            format!("\"{mark}\" stands between host and port instead of a colon"),
            format!("主机和端口之间是“{mark}”，不是冒号"),
        ),
        Slip::PortEmpty => Said::new("no port stands behind the colon", "冒号后面没有端口"),
        Slip::PortInvalid(typed) => {
            let typed = number_or_stars(typed);
            Said::new(
                format!("\"{typed}\" is no port"),
                format!("“{typed}”不是端口"),
            )
        }
        Slip::PortBehindPath => Said::new("the port stands behind the path", "端口写到了路径后面"),
    }
}

/// Devices go to 80 or 443 then, where a hub hardly listens. Only a look at the port proves it.
fn without_port(target: &Target, dialect: Dialect) -> Option<Clue> {
    if target.port.is_some() || dialect.has_fields() {
        return None;
    }
    let scheme = target.scheme?;
    let usual = match target.service() {
        // Hubs for voice boxes listen on 8002 and 8000; a public name with TLS is on 443.
        Service::Ota | Service::Websocket => scheme.is_tls() && target.host.ip().is_none(),
        Service::Http => target.host.ip().is_none(),
        Service::Mqtt | Service::Unknown => true,
    };
    if usual {
        return None;
    }
    let (typed, port) = (&target.typed, scheme.standard_port());
    let quote = Said::new(
        format!("\"{typed}\" names no port, so the device goes to port {port}"),
        format!("“{typed}”没有写端口，设备会去连 {port} 端口"),
    );
    Some(Clue::new(
        Cause::UrlWithoutPort,
        Strength::Class,
        PARSE,
        quote,
    ))
}

/// Scheme and port that do not go together.
fn contradiction(target: &Target, dialect: Dialect) -> Option<Clue> {
    let (port, tls, typed) = (target.port?, target.wants_tls()?, &target.typed);
    let wrong = |strength, en: String, zh: String| {
        Some(Clue::new(
            Cause::WrongScheme,
            strength,
            PARSE,
            Said::new(format!("\"{typed}\": {en}"), format!("“{typed}”：{zh}")),
        ))
    };
    if dialect == Dialect::XiaozhiMqtt {
        // The device looks at the port alone: TLS on 8883, none elsewhere.
        return match (tls, port) {
            (true, port) if port != 8883 => wrong(
                Strength::Specific,
                format!(
                    "the device uses TLS for MQTT on port 8883 only; to port {port} it speaks in clear"
                ),
                format!("设备的 MQTT 只在 8883 端口用 TLS，对 {port} 端口是明文"),
            ),
            (false, 8883) => wrong(
                Strength::Specific,
                "to port 8883 the device speaks TLS, whatever the scheme".into(),
                "无论协议名怎么写，设备对 8883 端口都用 TLS".into(),
            ),
            _ => None,
        };
    }
    let (en, zh) = match (tls, port) {
        (false, 443 | 8443) => (
            "a port of HTTPS with a scheme without TLS",
            "端口是 HTTPS 的，协议名却不带 TLS",
        ),
        (false, 8883 | 8884) => (
            "a port of MQTT over TLS with a scheme without TLS",
            "端口是 MQTT over TLS 的，协议名却不带 TLS",
        ),
        (true, 80 | 8080) => (
            "a port of plain HTTP with a scheme with TLS",
            "端口是明文 HTTP 的，协议名却带 TLS",
        ),
        (true, 1883) => (
            "the port of plain MQTT with a scheme with TLS",
            "端口是明文 MQTT 的，协议名却带 TLS",
        ),
        _ => return None,
    };
    wrong(Strength::Class, en.into(), zh.into())
}

/// Hosts that a device cannot use.
fn host(target: &Target, dialect: Dialect) -> Vec<Clue> {
    let mut clues = Vec::new();
    let Target { typed, host, .. } = target;
    let mut clue = |cause, strength, en: String, zh: String| {
        let quote = Said::new(format!("\"{typed}\": {en}"), format!("“{typed}”：{zh}"));
        clues.push(Clue::new(cause, strength, PARSE, quote));
    };
    if host.is_loopback() {
        clue(
            Cause::HandedOutUnreachable,
            Strength::Class,
            format!("on a device {host} is the device itself"),
            format!("在设备上 {host} 指的是设备自己"),
        );
    }
    if matches!(host, Host::V6(_)) && dialect.splits_at_first_colon() {
        clue(
            Cause::UrlMalformed,
            Strength::Specific,
            "the device takes the first colon for the one before the port, so it needs a name or an IPv4 address".into(),
            "设备把第一个冒号当成端口前的冒号，所以要写域名或 IPv4 地址".into(),
        );
    }
    if host.is_mdns() && dialect == Dialect::Ml307Ota {
        clue(
            Cause::NameNotResolved,
            Strength::Specific,
            format!("a device on the mobile network cannot ask the LAN for {host}"),
            format!("走移动网络的设备没法在局域网里查询 {host}"),
        );
    } else if host.is_mdns() {
        clue(
            Cause::NameNotResolved,
            Strength::Class,
            format!(
                "{host} is looked up by multicast on the LAN; most firmware asks its DNS server, which does not know it"
            ),
            format!("{host} 要靠局域网多播查询，而多数固件只问 DNS 服务器，DNS 服务器不认识它"),
        );
    }
    clues
}

fn proposed(target: &Target, dialect: Dialect) -> Said {
    match target.proposal(dialect) {
        Some(proper) => {
            let proper = masked(&proper);
            Said::new(format!("write {proper}"), format!("应写成 {proper}"))
        }
        None => Said::new("it is written as it should be", "写法本身没有问题"),
    }
}

/// The text holds nothing that can be reached.
pub(super) fn no_host(raw: &str, host: &str) -> Clue {
    let (typed, host) = (masked(raw), covered(host));
    let quote = match host.is_empty() {
        true => Said::new(
            format!("\"{typed}\" names no host"),
            format!("“{typed}”里没有主机"),
        ),
        false => Said::new(
            format!("\"{host}\" in \"{typed}\" is neither a name nor an address"),
            format!("“{typed}”里的“{host}”既不是域名也不是地址"),
        ),
    };
    at_parse(Cause::UrlMalformed, quote)
}

/// A clue of this stage that names its cause.
pub(super) fn at_parse(cause: Cause, quote: Said) -> Clue {
    Clue::new(cause, Strength::Specific, PARSE, quote)
}

/// A text to be shown: the user name and password before `@`, and the values of a query, are covered.
pub(super) fn masked(raw: &str) -> String {
    let shown: String = raw
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    let start = shown.find("://").map_or(0, |at| at + 3);
    let is_mqtt = shown
        .get(..4)
        .is_some_and(|begin| begin.eq_ignore_ascii_case("mqtt"));
    let end = start + super::read::authority_end(&shown[start..], is_mqtt);
    let authority = &shown[start..end];
    let place = authority.rsplit(['@', '＠']).next().unwrap_or(authority);
    let user = if place.len() < authority.len() {
        "***@"
    } else {
        ""
    };
    // A password that lost its `@` stands where the port belongs.
    let place = match place.rsplit_once([':', '：']) {
        Some((host, port)) if !place.starts_with('[') && port.chars().any(char::is_alphabetic) => {
            format!("{host}:{}", number_or_stars(port))
        }
        _ => place.to_string(),
    };
    let mut masked = format!("{}{user}{place}{}", &shown[..start], &shown[end..]);
    if let Some(query) = masked.find(['?', '？']) {
        let (before, after) = masked.split_at(query);
        let values: Vec<String> = after
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) => format!("{name}=***"),
                None => pair.to_string(),
            })
            .collect();
        masked = format!("{before}{}", values.join("&"));
    }
    masked.chars().take(TYPED_CHARS).collect()
}

/// A part of the text that may hold a password, since the parser of a device cut it out wrongly: what
/// stands before `@` and in a query is covered, and what stands behind a colon and is no number.
pub(super) fn covered(part: &str) -> String {
    let (before, place) = match part.rsplit_once(['@', '＠']) {
        Some((_, place)) => ("***@", place),
        None => ("", part),
    };
    let open = place.split(['?', '？']).next().unwrap_or(place);
    let (host, port) = match open.split_once([':', '：']) {
        Some((host, port)) => (host, format!(":{}", number_or_stars(port))),
        None => (open, String::new()),
    };
    let shown: String = host.chars().filter(|c| !c.is_control()).take(60).collect();
    format!("{before}{shown}{port}")
}

/// What stands where a port is due: a number with a slip in it, else nobody's business.
pub(super) fn number_or_stars(text: &str) -> String {
    let place = text.rsplit(['@', '＠']).next().unwrap_or(text);
    let plain = place.starts_with(|c: char| c.is_numeric() || c == '/');
    match plain && place.len() == text.len() {
        true => place.chars().filter(|c| !c.is_control()).take(12).collect(),
        false => "***".into(),
    }
}

/// How much of the text is quoted: it leaves room for what is said about it.
const TYPED_CHARS: usize = 120;
