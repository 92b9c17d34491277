//! What may not be in a plan, and what is worth a word.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::{PlannedAddress, PlannedBind, PortPlan, Via, is_loopback, source};
use crate::said::said;
use crate::table::Proxy;
use crate::{Bind, Listener, Problem, Said, Scheme, Settings, Source, XiaozhiTransport};

/// The port at which xiaozhi firmware speaks TLS to an MQTT server, and the only
/// one: at every other port it speaks without (design.md 4.3).
const XIAOZHI_TLS_PORT: u16 = 8883;

/// Two binds that want the same socket. Points at the one that was set by hand:
/// the other may be a default that nobody has written down.
pub(super) fn clash(one: &PlannedBind, two: &PlannedBind) -> Problem {
    let (at, other) = if one.source.rank() >= two.source.rank() {
        (one, two)
    } else {
        (two, one)
    };
    let how = if at.address == other.address {
        said!("the same address and port", "同一个地址和端口")
    } else {
        said!(
            "addresses that overlap on port {}",
            "端口 {} 上重叠的地址",
            at.address.port()
        )
    };
    let help = if at.key == other.key {
        said!(
            "take one of them away: {} covers what both are for",
            "请去掉其中一个：{} 已经包含两者",
            wider(at, other)
        )
    } else {
        let mut moved = at.written.clone();
        moved.port = at.address.port().checked_add(1).unwrap_or(1024);
        said!(
            "give one of them another port, for example {} = \"{}\", or set {} = false",
            "请给其中一个换端口，例如 {} = \"{}\"，或设 {} = false",
            at.listener.bind_key(),
            moved.to_string(),
            other.listener.enabled_key()
        )
    };
    Problem {
        source: at.source.clone(),
        key: Some(at.key.clone()),
        what: said!(
            "{} and {} ({}) want {}",
            "{} 和 {}（{}）要用{}",
            shown(&at.written, at.address),
            other.key.as_str(),
            shown(&other.written, other.address),
            how
        ),
        help,
        related: Some((other.key.clone(), other.source.clone())),
    }
}

/// A bind as written, and what its name leads to.
fn shown(written: &Bind, address: SocketAddr) -> String {
    match written.host.name() {
        Some(_) if written.port == address.port() => alloc::format!("{written} = {address}"),
        _ => address.to_string(),
    }
}

fn wider(one: &PlannedBind, two: &PlannedBind) -> String {
    let rank = |bind: &PlannedBind| match bind.address.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => 2,
        IpAddr::V4(ip) if ip.is_unspecified() => 1,
        _ => 0,
    };
    let bind = if rank(two) > rank(one) { two } else { one };
    bind.written.to_string()
}

/// A name of a bind that leads nowhere.
pub(super) fn unresolved(settings: &Settings, listener: Listener, written: &Bind) -> Problem {
    let (name, port) = (written.host.to_string(), written.port);
    Problem {
        source: source(settings, listener.bind_key()),
        key: Some(listener.bind_key().to_string()),
        what: said!(
            "the name {name} leads to no address",
            "名称 {name} 解析不到任何地址"
        ),
        help: said!(
            "correct the name, or write an address, for example \"[::]:{port}\" for every network",
            "请改正名称，或写地址，例如 \"[::]:{port}\" 表示所有网络"
        ),
        related: None,
    }
}

/// Whether something that speaks the scheme outside can lead to the listener.
/// TLS may begin and end on the way; HTTP does not become MQTT.
pub(super) fn speaks_alike(scheme: Scheme, listener: Listener) -> bool {
    let mqtt = matches!(scheme, Scheme::Mqtt | Scheme::Mqtts);
    match listener {
        Listener::Mqtt | Listener::Mqtts => mqtt,
        Listener::Http | Listener::Https => !mqtt,
        Listener::Ntp | Listener::Voice => false,
    }
}

/// A proxy that would lead HTTP to MQTT or the other way round.
pub(super) fn other_protocol(proxy: &Proxy, url: Source, to: Source) -> Problem {
    let (name, scheme, listener) = (
        proxy.name.as_str(),
        proxy.url.scheme().name(),
        proxy.to.name(),
    );
    let meant = match (proxy.url.scheme().is_tls(), proxy.to) {
        (false, Listener::Http | Listener::Https) => "mqtt",
        (true, Listener::Http | Listener::Https) => "mqtts",
        (false, _) => "http",
        (true, _) => "https",
    };
    // mqtt and mqtts name the listeners, too.
    let listener_meant = if meant.starts_with("mqtt") {
        "mqtt"
    } else {
        "http"
    };
    Problem {
        source: url,
        key: Some(alloc::format!("proxy.{name}.url")),
        what: said!(
            "{scheme}:// cannot lead to the listener {listener}, which speaks another protocol",
            "{scheme}:// 不能通向监听器 {listener}，协议不同"
        ),
        help: said!(
            "set proxy.{name}.to = \"{listener_meant}\", or write the address of what forwards to {listener}",
            "请设 proxy.{name}.to = \"{listener_meant}\"，或写转发到 {listener} 的地址"
        ),
        related: Some((alloc::format!("proxy.{name}.to"), to)),
    }
}

/// Everything that is wrong with a plan besides overlapping binds.
pub(super) fn broken(plan: &PortPlan) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(no_listener(plan));
    problems.extend(
        plan.advertised
            .iter()
            .filter_map(|told| nothing_behind(plan, told)),
    );
    for (index, told) in plan.advertised.iter().enumerate() {
        let clash = plan.advertised[..index]
            .iter()
            .find_map(|earlier| same_place(earlier, told));
        problems.extend(clash);
    }
    problems.extend(xiaozhi(plan));
    problems
}

fn no_listener(plan: &PortPlan) -> Option<Problem> {
    let unsure = Listener::CONNECTED
        .iter()
        .any(|listener| plan.unsure.contains(listener));
    let open = plan
        .binds
        .iter()
        .any(|bind| Listener::CONNECTED.contains(&bind.listener));
    if open || unsure {
        return None;
    }
    Some(Problem {
        source: Source::Default,
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
    })
}

/// An address that is told though its listener is not open.
fn nothing_behind(plan: &PortPlan, told: &PlannedAddress) -> Option<Problem> {
    if plan.unsure.contains(&told.to) || plan.binds_of(told.to).next().is_some() {
        return None;
    }
    let (address, listener) = (told.address.to_string(), told.to.name());
    let other = plan
        .binds
        .iter()
        .map(|bind| bind.listener)
        .find(|other| speaks_alike(told.address.scheme(), *other));
    let enable = told.to.enabled_key();
    let help = match (&told.via, other) {
        (Via::Proxy(name), Some(other)) => said!(
            "set {enable} = true, or proxy.{name}.to = \"{}\"",
            "请设 {enable} = true，或 proxy.{name}.to = \"{}\"",
            other.name()
        ),
        (Via::Proxy(name), None) => said!(
            "set {enable} = true, or take [proxy.{name}] away",
            "请设 {enable} = true，或去掉 [proxy.{name}]"
        ),
        (Via::Listener(_), _) => said!("set {enable} = true", "请设 {enable} = true"),
    };
    Some(Problem {
        source: told.source.clone(),
        key: Some(told.key.clone()),
        what: said!(
            "devices would be told {address}, and the listener {listener} behind it is switched off",
            "设备会得到 {address}，而它后面的监听器 {listener} 已关闭"
        ),
        help,
        related: None,
    })
}

/// Two addresses at one host and port that lead to different listeners. HTTP
/// and WebSocket of one listener share theirs.
fn same_place(earlier: &PlannedAddress, told: &PlannedAddress) -> Option<Problem> {
    let place = |told: &PlannedAddress| (told.address.host().clone(), told.address.port());
    if place(earlier) != place(told) {
        return None;
    }
    // TLS or not is decided by the first byte: one port has one answer.
    let same_tls = earlier.address.scheme().is_tls() == told.address.scheme().is_tls();
    if earlier.to == told.to && same_tls {
        return None;
    }
    // Once for each pair, not again for the WebSocket beside the HTTP.
    if matches!(told.address.scheme(), Scheme::Ws | Scheme::Wss)
        && matches!(told.via, Via::Listener(_))
    {
        return None;
    }
    let host = told.address.host().to_string();
    let port = told.address.port();
    Some(Problem {
        source: told.source.clone(),
        key: Some(told.key.clone()),
        what: said!(
            "{} and {} ({}) would be told at the same host and port",
            "{} 和 {}（{}）会占用同一个主机和端口",
            told.address.to_string(),
            earlier.key.as_str(),
            earlier.address.to_string()
        ),
        help: said!(
            "only one of them can answer at {host}:{port}: give the other another port",
            "{host}:{port} 只能由其中一个应答：请给另一个换端口"
        ),
        related: Some((earlier.key.clone(), earlier.source.clone())),
    })
}

/// `advertise.xiaozhi` names a way that is not there, or one at which the
/// firmware would take TLS for none or the other way round.
fn xiaozhi(plan: &PortPlan) -> Option<Problem> {
    let (what, help, listener) = match plan.xiaozhi {
        XiaozhiTransport::Auto => return None,
        XiaozhiTransport::WebSocket => {
            let told = [Scheme::Ws, Scheme::Wss, Scheme::Http, Scheme::Https]
                .into_iter()
                .any(|scheme| !plan.ports_told(scheme).is_empty());
            if told {
                return None;
            }
            let (what, help) = not_told("WebSocket", Listener::Http);
            (what, help, Listener::Http)
        }
        XiaozhiTransport::Mqtts => {
            let ports = plan.ports_told(Scheme::Mqtts);
            let Some(port) = ports.first() else {
                let (what, help) = not_told("mqtts", Listener::Mqtts);
                return about_xiaozhi(plan, what, help, Listener::Mqtts);
            };
            if ports.contains(&XIAOZHI_TLS_PORT) {
                return None;
            }
            let what = said!(
                "MQTT over TLS is told at port {port}, and xiaozhi firmware speaks TLS at port 8883 only",
                "MQTT over TLS 使用端口 {port}，而 xiaozhi 固件只在端口 8883 上使用 TLS"
            );
            let help = said!(
                "set mqtts.bind = \"[::]:8883\", declare a [proxy.NAME] with url = \"mqtts://HOST:8883\" \
                 and to = \"mqtts\", or set advertise.xiaozhi = \"websocket\"",
                "请设 mqtts.bind = \"[::]:8883\"，或声明 [proxy.NAME]：url = \"mqtts://HOST:8883\"、\
                 to = \"mqtts\"，或设 advertise.xiaozhi = \"websocket\""
            );
            (what, help, Listener::Mqtts)
        }
        XiaozhiTransport::Mqtt => {
            let ports = plan.ports_told(Scheme::Mqtt);
            if ports.is_empty() {
                let (what, help) = not_told("mqtt", Listener::Mqtt);
                return about_xiaozhi(plan, what, help, Listener::Mqtt);
            }
            if ports != [XIAOZHI_TLS_PORT] {
                return None;
            }
            let what = said!(
                "MQTT without TLS is told at port 8883, where xiaozhi firmware always speaks TLS",
                "不带 TLS 的 MQTT 使用端口 8883，而 xiaozhi 固件在该端口总是使用 TLS"
            );
            let help = said!(
                "give MQTT without TLS another port, for example mqtt.bind = \"[::]:1883\"",
                "请给不带 TLS 的 MQTT 换端口，例如 mqtt.bind = \"[::]:1883\""
            );
            (what, help, Listener::Mqtt)
        }
    };
    about_xiaozhi(plan, what, help, listener)
}

fn not_told(way: &'static str, listener: Listener) -> (Said, Said) {
    let (enable, bind) = (listener.enabled_key(), listener.bind_key());
    (
        said!(
            "xiaozhi devices are to connect by {way}, and no address for that can be told",
            "xiaozhi 设备要用 {way} 连接，但没有可告知的地址"
        ),
        said!(
            "set {enable} = true and {bind} to an address that devices reach, or set \
             advertise.xiaozhi = \"auto\"",
            "请设 {enable} = true，并把 {bind} 设为设备能到达的地址，或设 advertise.xiaozhi = \"auto\""
        ),
    )
}

/// A problem with `advertise.xiaozhi`; none where the listener is not known.
fn about_xiaozhi(plan: &PortPlan, what: Said, help: Said, listener: Listener) -> Option<Problem> {
    if plan.unsure.contains(&listener) {
        return None;
    }
    let bind = plan.binds_of(listener).next();
    Some(Problem {
        source: plan.xiaozhi_source.clone(),
        key: Some("advertise.xiaozhi".to_string()),
        what,
        help,
        related: bind.map(|bind| (bind.key.clone(), bind.source.clone())),
    })
}

/// What to know about a plan that is no mistake.
pub(super) fn notes(plan: &PortPlan) -> Vec<Problem> {
    let mut notes = Vec::new();
    notes.extend(mqtts_elsewhere(plan));
    notes.extend(standard_port_taken(plan));
    if plan.host_is_set {
        for listener in Listener::CONNECTED {
            notes.extend(only_here(plan, listener));
        }
    }
    notes
}

fn mqtts_elsewhere(plan: &PortPlan) -> Option<Problem> {
    let ports = plan.ports_told(Scheme::Mqtts);
    let bind = plan.binds_of(Listener::Mqtts).next()?;
    if plan.xiaozhi != XiaozhiTransport::Auto
        || ports.is_empty()
        || ports.contains(&XIAOZHI_TLS_PORT)
    {
        return None;
    }
    let port = bind.address.port();
    Some(Problem {
        source: bind.source.clone(),
        key: Some(bind.key.clone()),
        what: said!(
            "MQTT over TLS is at port {port}: xiaozhi firmware speaks TLS at port 8883 only, so it \
             will not be told of it",
            "MQTT over TLS 使用端口 {port}：xiaozhi 固件只在端口 8883 上使用 TLS，因此不会告知这类设备"
        ),
        help: said!(
            "nothing, if there is no such device; otherwise use port 8883, or WebSocket",
            "没有这类设备则无需处理；否则请用端口 8883，或 WebSocket"
        ),
        related: None,
    })
}

/// `standard_ports` is set, and another listener has been given that port.
fn standard_port_taken(plan: &PortPlan) -> Vec<Problem> {
    let mut notes = Vec::new();
    for (listener, port, key) in [
        (Listener::Http, 80, "http.standard_ports"),
        (Listener::Https, 443, "https.standard_ports"),
    ] {
        let Some((_, source)) = plan.standard.iter().find(|(by, _)| *by == listener) else {
            continue;
        };
        let holder = plan.binds.iter().find(|bind| {
            bind.address.port() == port
                && bind.listener != listener
                && bind.protocol == listener.protocol()
        });
        if let Some(holder) = holder {
            notes.push(Problem {
                source: source.clone(),
                key: Some(key.to_string()),
                what: said!(
                    "port {port} is {}'s, so {} is not served there",
                    "端口 {port} 属于 {}，因此不会在那里提供 {}",
                    holder.key.as_str(),
                    listener.name()
                ),
                help: said!(
                    "set {key} = false, or give {} another port",
                    "请设 {key} = false，或给 {} 换端口",
                    holder.key.as_str()
                ),
                related: Some((holder.key.clone(), holder.source.clone())),
            });
        }
    }
    notes
}

/// A listener that only programs of this machine reach, while devices are told
/// a host.
fn only_here(plan: &PortPlan, listener: Listener) -> Option<Problem> {
    let binds: Vec<&PlannedBind> = plan.binds_of(listener).collect();
    let bind = *binds.first()?;
    let hidden = binds.iter().all(|bind| is_loopback(bind.address.ip()));
    let forwarded = plan
        .advertised
        .iter()
        .any(|told| told.to == listener && matches!(told.via, Via::Proxy(_)));
    if !hidden || forwarded {
        return None;
    }
    let (name, written) = (listener.name(), bind.written.to_string());
    Some(Problem {
        source: bind.source.clone(),
        key: Some(bind.key.clone()),
        what: said!(
            "{name} listens at {written}, which only programs on this machine reach: no address of it is told",
            "{name} 监听 {written}，只有本机程序能连接：不会把它的地址告知设备"
        ),
        help: said!(
            "nothing, if that is meant; if a proxy forwards to it, declare it: [proxy.NAME] with url and to = \"{name}\"",
            "如果本意如此则无需处理；如果有代理转发到它，请声明 [proxy.NAME]：url 和 to = \"{name}\""
        ),
        related: None,
    })
}
