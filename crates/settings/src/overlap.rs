//! How the values go together: listeners that want the same port.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::said::said;
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
            settings.mqtt.bind.clone(),
        ),
        (
            "mqtts",
            settings.mqtts.enabled,
            "mqtts.bind",
            settings.mqtts.bind.clone(),
        ),
        (
            "http",
            settings.http.enabled,
            "http.bind",
            settings.http.bind.clone(),
        ),
        (
            "https",
            settings.https.enabled,
            "https.bind",
            settings.https.bind.clone(),
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
            what: said!(
                "no listener is enabled, so nobody could connect",
                "没有启用任何监听器，谁也无法连接"
            ),
            help: said!(
                "set mqtt.enabled, mqtts.enabled, http.enabled or https.enabled to true",
                "请把 mqtt.enabled、mqtts.enabled、http.enabled 或 https.enabled 设为 true"
            ),
            related: None,
        });
    }
    let listeners: Vec<Listener> = all
        .into_iter()
        .filter(|(section, enabled, key, _)| {
            *enabled && usable(key) && usable(&format!("{section}.enabled"))
        })
        .flat_map(|(.., key, binds)| {
            let all: Vec<SocketAddr> = binds.iter().filter_map(|bind| bind.address()).collect();
            all.into_iter().map(move |bind| Listener { key, bind })
        })
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
        said!("the same address and port", "同一个地址和端口")
    } else {
        said!(
            "addresses that overlap on port {}",
            "端口 {} 上重叠的地址",
            at.bind.port()
        )
    };
    Problem {
        source: source(settings, at.key),
        key: Some(at.key.to_string()),
        what: said!(
            "{} and {} ({}) want {}",
            "{} 和 {}（{}）要用{}",
            at.bind,
            other.key,
            other.bind,
            how
        ),
        help: said!(
            "give one of them another port, for example {} = \"{moved}\", or set {}.enabled = false",
            "请给其中一个换端口，例如 {} = \"{moved}\"，或设 {}.enabled = false",
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
