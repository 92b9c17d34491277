//! Names, addresses and versions that a log gives away.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use aho_corasick::AhoCorasick;
use once_cell::race::OnceBox;
use regex::{Captures, Regex};

use super::speaker::Speaker;
use crate::mask::mask;

/// Something that a line gives away.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Given {
    /// An address that is or was connected to.
    Tried(Tried),
    /// A name and its value, as [`Facts`](crate::Facts) names them.
    Fact(&'static str, String),
    /// The version of a Tasmota, and whether it is a safeboot.
    Tasmota { version: String, safeboot: bool },
    /// A modem of this kind.
    Modem(String),
}

/// Where a device connects to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tried {
    /// Empty where the line has only host and port.
    pub(super) scheme: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// What stands in place of the host or the port can be none.
    pub(super) malformed: bool,
    /// As it stands in the line, masked; `host:port` where there is no scheme.
    pub(super) url: String,
}

impl Tried {
    pub(super) fn is_tls(&self) -> bool {
        matches!(&self.scheme[..], "https" | "wss" | "mqtts")
    }

    /// The host as an IPv4 address.
    pub(super) fn ipv4(&self) -> Option<[u8; 4]> {
        let mut parts = self.host.split('.');
        let mut address = [0; 4];
        for byte in &mut address {
            *byte = parts.next()?.parse().ok()?;
        }
        parts.next().is_none().then_some(address)
    }

    /// Whether the address is one that only its own machine or its containers reach.
    pub(super) fn is_inside(&self) -> bool {
        matches!(
            self.ipv4(),
            Some([127, ..] | [0, 0, 0, 0] | [172, 17..=31, ..] | [169, 254, ..])
        ) || matches!(&self.host[..], "localhost" | "host.docker.internal")
    }
}

/// What a line gives away.
pub(super) fn given(line: &str, speaker: Speaker) -> Vec<Given> {
    let rules = rules();
    let mut all = Vec::new();
    for found in rules.finder.find_overlapping_iter(line) {
        let index = rules.owners[found.pattern().as_usize()];
        let (_, wants, pattern, make) = PATTERNS[index];
        let misplaced = match wants {
            Wants::Device => speaker.is_beside(),
            Wants::Server => !speaker.is_beside(),
            Wants::Any => false,
        };
        // The word must begin here; patterns begin with it.
        let before = line[..found.start()].chars().next_back();
        let amid = pattern.starts_with('^') && before.is_some_and(|c| c.is_ascii_alphanumeric());
        if misplaced || amid || all.len() >= MOST {
            continue;
        }
        // A scheme stands in front of what it is found by.
        let from = match pattern.starts_with('^') {
            true => found.start(),
            false => found.start() - letters_before(line, found.start()),
        };
        let regex = rules.patterns[index]
            .get_or_init(|| Box::new(Regex::new(pattern).expect("a test compiles each pattern")));
        if let Some(found) = regex.captures(&line[from..]) {
            all.extend(make(&found));
        }
    }
    all
}

fn letters_before(line: &str, at: usize) -> usize {
    let letters = line.as_bytes()[..at].iter().rev();
    letters
        .take(8)
        .take_while(|byte| byte.is_ascii_alphabetic())
        .count()
}

/// What one line can give away.
const MOST: usize = 12;

#[derive(Clone, Copy, PartialEq)]
enum Wants {
    Device,
    Server,
    Any,
}

type Make = fn(&Captures<'_>) -> Option<Given>;

/// Words to look for, who must have printed the line, the pattern from the word on, and what is made
/// of a match.
const PATTERNS: &[(&[&str], Wants, &str, Make)] = &[
    (
        &["://"],
        Wants::Any,
        r#"\A(?i)(https?|wss?|mqtts?)://((?:\[[0-9A-Fa-f:.]+\])?[^ \t"'<>,;)\]}（），。]*)"#,
        url,
    ),
    (
        &["connect", "endpoint", "broker", "server address"],
        Wants::Device,
        r"^(?i)(?:connect(?:ed|ing|ion)?(?: failed)? to|(?:mqtt )?endpoint:?|(?:mqtt )?broker:?|server address:) (?:mqtt )?(?:broker )?([a-z0-9][a-z0-9.-]*[a-z0-9]):([0-9]{1,5})(?:$|[^0-9A-Za-z])",
        |found| host_port(&found[1], &found[2]),
    ),
    (
        &["resolve"],
        Wants::Device,
        r"^(?i)resolve (?:IP address for |host ?(?:name)? )?'([^']+)'",
        |found| fact("host", &found[1]),
    ),
    (
        &["hostname for"],
        Wants::Device,
        r"^(?i)hostname for :([!-9;-~]+):",
        |found| fact("host", &found[1]),
    ),
    (
        &[
            "got ip",
            "ip address",
            "sta ip",
            "dhcp ip",
            "local ip",
            "ip:",
        ],
        Wants::Device,
        r"^(?i)(?:(?:got|sta|dhcp|local) )?ip(?: address)?(?: is)?[: =]+(?:sta )?([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?:$|[^0-9A-Za-z])",
        |found| fact("device_address", &found[1]),
    ),
    (
        &["tasmota version"],
        Wants::Device,
        r"^(?i)Tasmota Version ([0-9]+\.[0-9]+\.[0-9]+(?:\.[0-9]+)?)\(([^)]*)\)",
        |found| {
            Some(Given::Tasmota {
                version: found[1].to_string(),
                safeboot: found[2].contains("safeboot"),
            })
        },
    ),
    (
        &["web server active on"],
        Wants::Device,
        r"^(?i)Web server active on ([!-~]+)",
        |found| fact("device", &found[1]),
    ),
    (
        &["esphome version"],
        Wants::Device,
        r"^(?i)ESPHome version ([0-9][A-Za-z0-9_.-]{0,30})",
        |found| fact("version", &found[1]),
    ),
    (
        &["booting version"],
        Wants::Device,
        r"^(?i)Booting version: ?([!-+\x2d-~]+)",
        |found| fact("version", &found[1]),
    ),
    (
        &["ota: current version"],
        Wants::Device,
        r"^(?i)Ota: Current version: ([0-9][A-Za-z0-9_.-]{0,30})",
        |found| fact("version", &found[1]),
    ),
    (
        &["ml307", "ec801e", "nt26", "ml302"],
        Wants::Device,
        r"^(?i)(ML307|EC801E|NT26|ML302)",
        |found| Some(Given::Modem(found[1].to_ascii_uppercase())),
    ),
    (
        &["\"utc\":", "\"time\":"],
        Wants::Device,
        r#"^(?i)"(?:utc|time)":"([0-9]{4}-[0-9][0-9]-[0-9][0-9][T ][0-9][0-9]:[0-9][0-9]:[0-9][0-9])"#,
        |found| fact("device_time", &found[1]),
    ),
    (
        &["time", "date", "时间"],
        Wants::Device,
        r"^(?i)(?:time|date|时间)[^0-9]{1,24}([0-9]{4}-[0-9][0-9]-[0-9][0-9][T ][0-9][0-9]:[0-9][0-9]:[0-9][0-9])",
        |found| fact("device_time", &found[1]),
    ),
    // As C writes it: Thu Jan  1 08:00:31 1970.
    (
        &["time", "date", "时间"],
        Wants::Device,
        r"^(?i)(?:time|date|时间)[^0-9A-Za-z]{1,8}(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? )(?:[a-z]{3} +[0-9]{1,2}|[0-9]{1,2} [a-z]{3}) (?:[0-9]{4} )?[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?: [A-Z]{3,4})? ([0-9]{4})(?:$|[^0-9])",
        |found| fact("device_time", &found[1]),
    ),
    (
        &["client "],
        Wants::Server,
        r"^(?i)Client ([!-+\x2d-;=?-~]+) (?:already connected|disconnected|has exceeded|\[)",
        |found| fact("client_id", &found[1]),
    ),
    (
        &["client_id", "client id", "clientid"],
        Wants::Device,
        r#"^(?i)client[_ ]?id["':= ]+([A-Za-z0-9_@.:-]{1,64})"#,
        |found| fact("client_id", &found[1]),
    ),
    (
        &["bind on address"],
        Wants::Server,
        r"^(?i)bind on address \('[^']*', ([0-9]{1,5})\)",
        |found| fact("port", &found[1]),
    ),
    (
        &["bind for", "bind() to"],
        Wants::Server,
        r"^(?i)(?:bind for|bind\(\) to) [!-~]+?:([0-9]{1,5})(?:$|[^0-9A-Za-z])",
        |found| fact("port", &found[1]),
    ),
    (
        &["listen "],
        Wants::Server,
        r"^(?i)listen (?:tcp[46]? |eaddrinuse: address already in use )[!-~]*?:([0-9]{1,5})(?:$|[^0-9A-Za-z])",
        |found| fact("port", &found[1]),
    ),
    (
        &["port "],
        Wants::Server,
        r"^(?i)port ([0-9]{1,5}) was already",
        |found| fact("port", &found[1]),
    ),
    (
        &["status"],
        Wants::Any,
        r"^(?i)status(?: ?code)?[ =:]+([0-9]{3})(?:$|[^0-9A-Za-z])",
        |found| fact("status", &found[1]),
    ),
    (
        &["http/1."],
        Wants::Server,
        r#"^(?i)HTTP/1\.[01]" ([0-9]{3})(?:$|[^0-9A-Za-z])"#,
        |found| fact("status", &found[1]),
    ),
];

fn fact(name: &'static str, value: &str) -> Option<Given> {
    Some(Given::Fact(name, mask(value)))
}

fn url(found: &Captures<'_>) -> Option<Given> {
    let scheme = found[1].to_ascii_lowercase();
    let rest = found[2].trim_end_matches(['.', ':']);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_port = authority.rsplit('@').next()?;
    let (host, port) = match host_port
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match host_port.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host_port, None),
        },
    };
    if host.is_empty() || host.len() > 253 || host.starts_with('[') {
        return None;
    }
    // What stands in place of a port and is none leaves the address without one.
    let digits = port.and_then(|port| port.parse().ok());
    let bracketed = host_port.starts_with('[');
    let malformed = (port.is_some() && matches!(digits, None | Some(0)))
        || (!bracketed && host.contains(':'))
        || is_no_host(host);
    let port = digits;
    let mut url = scheme.clone();
    url.push_str("://");
    url.push_str(rest);
    Some(Given::Tried(Tried {
        scheme,
        host: host.to_string(),
        port,
        malformed,
        url: mask(&url),
    }))
}

/// Digits and points that are no address, or letters that no name has.
fn is_no_host(host: &str) -> bool {
    let digits = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let parts = host.split('.').filter(|part| part.parse::<u8>().is_ok());
    // An address that somebody blotted out is whole.
    (digits && (parts.count() != 4 || host.split('.').count() != 4))
        || host.contains(['：', '。', '，', '／'])
}

fn host_port(host: &str, port: &str) -> Option<Given> {
    let number: u16 = port.parse().ok()?;
    let mut url = String::from(host);
    url.push(':');
    url.push_str(port);
    Some(Given::Tried(Tried {
        scheme: String::new(),
        host: host.to_string(),
        port: Some(number),
        malformed: is_no_host(host),
        url,
    }))
}

struct Rules {
    /// Only lines with one of the words are looked at with a pattern.
    finder: AhoCorasick,
    owners: Vec<usize>,
    /// Compiled when a line has one of their words.
    patterns: Vec<OnceBox<Regex>>,
}

fn rules() -> &'static Rules {
    static RULES: OnceBox<Rules> = OnceBox::new();
    RULES.get_or_init(|| {
        let mut words: Vec<&str> = Vec::new();
        let mut owners = Vec::new();
        let mut patterns = Vec::new();
        for (index, (needles, ..)) in PATTERNS.iter().enumerate() {
            words.extend(*needles);
            owners.extend(needles.iter().map(|_| index));
            patterns.push(OnceBox::new());
        }
        let finder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .expect("a few words make a finder");
        Box::new(Rules {
            finder,
            owners,
            patterns,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pattern_is_one_and_has_words_to_be_found_by() {
        for (words, _, pattern, _) in PATTERNS {
            assert!(Regex::new(pattern).is_ok(), "{pattern}");
            assert!(!words.is_empty(), "{pattern}");
        }
    }

    #[test]
    fn addresses_are_taken_apart_as_they_stand() {
        let tried = |line: &str| match &given(line, Speaker::Idf)[..] {
            [Given::Tried(tried), ..] => Some((
                tried.scheme.clone(),
                tried.host.clone(),
                tried.port,
                tried.url.clone(),
            )),
            _ => None,
        };
        let of = |scheme: &str, host: &str, port, url: &str| {
            Some((scheme.to_string(), host.to_string(), port, url.to_string()))
        };
        for (line, expected) in [
            (
                "open wss://a.example:8902/x/?t=1 now",
                of(
                    "wss",
                    "a.example",
                    Some(8902),
                    "wss://a.example:8902/x/?t=1",
                ),
            ),
            (
                "地址是 http://192.168.1.2:8003/ota/，请",
                of(
                    "http",
                    "192.168.1.2",
                    Some(8003),
                    "http://192.168.1.2:8003/ota/",
                ),
            ),
            (
                "at mqtt://u:secret@b.example",
                of("mqtt", "b.example", None, "mqtt://u:***@b.example"),
            ),
            (
                "http://[fd00::1]:80/",
                of("http", "fd00::1", Some(80), "http://[fd00::1]:80/"),
            ),
            (
                "Connect failed to broker.lan:1883, rc -2",
                of("", "broker.lan", Some(1883), "broker.lan:1883"),
            ),
            (
                "Failed to connect to 10.0.0.1:443, code",
                of("", "10.0.0.1", Some(443), "10.0.0.1:443"),
            ),
            ("connecting to x:99999", None),
            ("see ://nothing", None),
            ("ftp://a.example/", None),
        ] {
            assert_eq!(tried(line), expected, "{line}");
        }
    }

    #[test]
    fn names_and_versions_are_taken_from_the_words_around_them() {
        let fact = |line: &str, speaker| match &given(line, speaker)[..] {
            [Given::Fact(name, value), ..] => Some((*name, value.clone())),
            _ => None,
        };
        for (line, name, value) in [
            ("DNS: Unable to resolve 'broker.lan'", "host", "broker.lan"),
            (
                "esp-tls: couldn't get hostname for :b.example: getaddrinfo()",
                "host",
                "b.example",
            ),
            (
                "I (1) wifi: Got IP: 192.168.88.9",
                "device_address",
                "192.168.88.9",
            ),
            (
                "WIFI : DHCP IP: 192.168.1.81 (x)",
                "device_address",
                "192.168.1.81",
            ),
            (
                "[C][wifi:428]:   IP Address: 192.168.1.7",
                "device_address",
                "192.168.1.7",
            ),
            (
                "INIT : Booting version: ESP_Easy_mega_20241222, (SDK)",
                "version",
                "ESP_Easy_mega_20241222",
            ),
            (
                "ESPHome version 2025.3.1 compiled on",
                "version",
                "2025.3.1",
            ),
            (
                "x = {\"UTC\":\"1970-01-01T00:00:18\"}",
                "device_time",
                "1970-01-01T00:00:18",
            ),
            (
                "Current time is 2031-05-06 07:08:09",
                "device_time",
                "2031-05-06 07:08:09",
            ),
        ] {
            assert_eq!(
                fact(line, Speaker::Tasmota),
                Some((name, value.to_string())),
                "{line}"
            );
        }
        for (line, name, value) in [
            (
                "Client living already connected, closing",
                "client_id",
                "living",
            ),
            ("Bind for 0.0.0.0:8000 failed: port is", "port", "8000"),
            ("listen tcp4 0.0.0.0:1883: bind: address", "port", "1883"),
            (
                "listen EADDRINUSE: address already in use :::8000",
                "port",
                "8000",
            ),
            (
                "Web server failed to start. Port 8002 was already in use.",
                "port",
                "8002",
            ),
        ] {
            assert_eq!(
                fact(line, Speaker::Server),
                Some((name, value.to_string())),
                "{line}"
            );
        }
    }
}
