//! How the values go together: listeners that want the same port.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::{Problem, Settings, Source};

struct Listener {
    key: &'static str,
    bind: SocketAddr,
}

/// Adds a problem for every pair of listeners that cannot both be bound, and
/// one if there is no listener at all. Keys in `failed` have a problem already
/// and are left out.
pub(crate) fn check(settings: &Settings, failed: &[String], problems: &mut Vec<Problem>) {
    let all = [
        (
            "mqtt",
            settings.mqtt.enabled,
            "mqtt.bind",
            settings.mqtt.bind,
        ),
        (
            "mqtts",
            settings.mqtts.enabled,
            "mqtts.bind",
            settings.mqtts.bind,
        ),
        (
            "http",
            settings.http.enabled,
            "http.bind",
            settings.http.bind,
        ),
    ];
    let usable = |key: &str| !failed.iter().any(|failed| failed == key);
    if all
        .iter()
        .all(|(section, enabled, ..)| !enabled && usable(&format!("{section}.enabled")))
    {
        problems.push(Problem {
            source: source(settings, "mqtt.enabled"),
            key: Some("mqtt.enabled".to_string()),
            what: "no listener is enabled, so nobody could connect".to_string(),
            help: "set mqtt.enabled, mqtts.enabled or http.enabled to true".to_string(),
            related: None,
        });
    }
    let listeners: Vec<Listener> = all
        .into_iter()
        .filter(|(section, enabled, key, _)| {
            *enabled && usable(key) && usable(&format!("{section}.enabled"))
        })
        .map(|(.., key, bind)| Listener { key, bind })
        .collect();
    for (index, first) in listeners.iter().enumerate() {
        for second in &listeners[index + 1..] {
            if overlaps(first.bind, second.bind) {
                problems.push(clash(settings, first, second));
            }
        }
    }
}

/// Whether two listeners cannot be bound at the same time.
///
/// A wildcard takes its port on every address. `[::]` also takes IPv4, unless
/// the system is told otherwise. Port 0 asks for any free port.
fn overlaps(one: SocketAddr, other: SocketAddr) -> bool {
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    let (one, other) = (one.ip().to_canonical(), other.ip().to_canonical());
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(wide) => wide.is_unspecified(),
    };
    one == other || covers(one, other) || covers(other, one)
}

/// Points at the listener that was set by hand: the other is a default that
/// nobody has written down.
fn clash(settings: &Settings, first: &Listener, second: &Listener) -> Problem {
    let rank = |listener: &Listener| source(settings, listener.key).rank();
    let (at, other) = if rank(first) > rank(second) {
        (first, second)
    } else {
        (second, first)
    };
    let free = at.bind.port().checked_add(1).unwrap_or(1024);
    let mut moved = at.bind;
    moved.set_port(free);
    let how = if at.bind == other.bind {
        "the same address and port".to_string()
    } else {
        format!("addresses that overlap on port {}", at.bind.port())
    };
    Problem {
        source: source(settings, at.key),
        key: Some(at.key.to_string()),
        what: format!("{} and {} ({}) want {how}", at.bind, other.key, other.bind),
        help: format!(
            "give one of them another port, for example {} = \"{moved}\", or set {}.enabled = false",
            at.key,
            other.key.trim_end_matches(".bind")
        ),
        related: Some((other.key.to_string(), source(settings, other.key))),
    }
}

fn source(settings: &Settings, key: &str) -> Source {
    settings.source(key).cloned().unwrap_or(Source::Default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_takes_its_port_on_every_address() {
        for (one, other, expected) in [
            ("0.0.0.0:1883", "127.0.0.1:1883", true),
            ("127.0.0.1:1883", "127.0.0.1:1883", true),
            ("127.0.0.1:1883", "127.0.0.2:1883", false),
            ("0.0.0.0:1883", "0.0.0.0:1884", false),
            ("[::]:1883", "0.0.0.0:1883", true),
            ("[::]:1883", "192.168.1.2:1883", true),
            ("[::]:1883", "[::1]:1883", true),
            ("0.0.0.0:1883", "[::1]:1883", false),
            ("[::ffff:127.0.0.1]:1883", "127.0.0.1:1883", true),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            let (a, b) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(overlaps(a, b), expected, "{one} {other}");
            assert_eq!(overlaps(b, a), expected, "{other} {one}");
        }
    }
}
