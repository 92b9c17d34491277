//! Listeners of mosquitto as addresses of ours.

use std::net::IpAddr;

use super::{Imported, Line, Place, later, not_whole, said};
use crate::import::{Left, SECRET, is_name, quoted_list};

/// Most addresses that one of our listeners has.
const MOST_BINDS: usize = 8;

/// Our listeners, each with the port that it has by default.
const KINDS: [(&str, u16); 4] = [
    ("mqtt", 1883),
    ("mqtts", 8883),
    ("http", 8002),
    ("https", 8443),
];

/// One listener of mosquitto, as far as its lines were read.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Its lines that name its address.
    from: Vec<Place>,
    port: Option<u16>,
    host: Option<String>,
    domain: Option<String>,
    /// A network interface, a Unix socket, pre-shared keys: what we cannot bind the same way. It is
    /// in the list already.
    unlike: bool,
    websockets: bool,
    tls: bool,
    max_connections: Option<(Place, u64)>,
}

/// All listeners: the default one and those of `listener` lines.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// What stands before any `listener` line.
    default: Listener,
    named: Vec<Listener>,
}

impl Listeners {
    fn current(&mut self) -> &mut Listener {
        self.named.last_mut().unwrap_or(&mut self.default)
    }

    /// Takes a line about a listener.
    pub(super) fn line(&mut self, line: &Line, out: &mut Imported) {
        let Line { place, name, value } = line;
        match name.as_str() {
            "listener" => {
                let (port, host) = value.split_once([' ', '\t']).unwrap_or((value, ""));
                let host = host.trim();
                let mut listener = Listener {
                    from: vec![place.clone()],
                    host: (!host.is_empty()).then(|| host.to_owned()),
                    ..Listener::default()
                };
                match port.parse::<u16>() {
                    Ok(0) => {
                        listener.unlike = true;
                        let why = said!(
                            "Safeport listens on TCP ports, not on Unix sockets; this listener was left out",
                            "Safeport 监听 TCP 端口，而不是 Unix 套接字；此监听未导入"
                        );
                        out.leave(place, name, Some(value), why);
                    }
                    Ok(port) => listener.port = Some(port),
                    Err(_) => leave_port(line, out),
                }
                self.named.push(listener);
            }
            "port" => match value.parse::<u16>() {
                Ok(port) if port > 0 => {
                    self.default.port = Some(port);
                    self.default.from.push(place.clone());
                }
                _ => leave_port(line, out),
            },
            "bind_address" => {
                self.default.host = Some(value.clone());
                self.default.from.push(place.clone());
            }
            "bind_interface" => {
                self.current().unlike = true;
                let why = said!(
                    "Safeport binds addresses, not interfaces; write the interface's address into the bind of this listener, which was left out",
                    "Safeport 绑定地址而不是网络接口；请把该接口的地址写入 bind，此监听未导入"
                );
                out.leave(place, name, Some(value), why);
            }
            "psk_hint" => {
                self.current().unlike = true;
                let why = said!(
                    "Safeport has no TLS with pre-shared keys; this listener was left out",
                    "Safeport 不支持预共享密钥的 TLS；此监听未导入"
                );
                out.leave(place, name, Some(SECRET), why);
            }
            "protocol" => match value.as_str() {
                "websockets" => {
                    let current = self.current();
                    current.websockets = true;
                    current.from.push(place.clone());
                }
                "mqtt" => self.current().from.push(place.clone()),
                _ => {
                    let why = said!(
                        "mosquitto knows the protocols mqtt and websockets only",
                        "mosquitto 只有 mqtt 和 websockets 两种协议"
                    );
                    out.leave(place, name, Some(value), why);
                }
            },
            "socket_domain" => match value.as_str() {
                "ipv4" | "ipv6" => {
                    let current = self.current();
                    current.domain = Some(value.clone());
                    current.from.push(place.clone());
                }
                _ => {
                    let why = said!("neither ipv4 nor ipv6", "既不是 ipv4 也不是 ipv6");
                    out.leave(place, name, Some(value), why);
                }
            },
            "certfile" => {
                let current = self.current();
                current.tls = true;
                current.from.push(place.clone());
                let why = said!(
                    "its listener becomes one with TLS. Name the file in tls.chain_files and its key in tls.key_files; without that Safeport presents certificates that it makes itself, and devices that know the old CA need the new one (`cert export`)",
                    "该监听会成为 TLS 监听。请在 tls.chain_files 中指定此文件，在 tls.key_files 中指定其密钥；否则 Safeport 使用自己创建的证书，只认识旧 CA 的设备需要新的 CA（`cert export`）"
                );
                out.leave(place, name, Some(value), why);
            }
            "max_connections" => match value.parse::<i64>() {
                Ok(count) => match u64::try_from(count) {
                    Ok(count @ 1..=1_000_000) => {
                        let ours = &mut self.current().max_connections;
                        if let Some((earlier, count)) = ours.replace((place.clone(), count)) {
                            let count = count.to_string();
                            out.leave(&earlier, name, Some(&count), later(place));
                        }
                    }
                    _ => {
                        let why = said!(
                            "Safeport always has a limit, 1 to 1000000 (default 10000)",
                            "Safeport 总有限制：1 到 1000000（默认 10000）"
                        );
                        out.leave(place, name, Some(value), why);
                    }
                },
                Err(_) => {
                    out.leave(place, name, Some(value), not_whole());
                }
            },
            other => unreachable!("{other} is not about a listener"),
        }
    }

    /// Maps them all and returns which of ours they became.
    pub(super) fn finish(self, out: &mut Imported) -> Vec<&'static str> {
        let mut all: Vec<Listener> = self.named;
        let started = self.default.is_named();
        let none = all.is_empty() && !started;
        if started || none {
            let port = self.default.port.or(Some(KINDS[0].1));
            all.insert(
                0,
                Listener {
                    port,
                    ..self.default
                },
            );
        } else {
            self.default.leave_unheard(out);
        }
        let mut kinds: [Kind; 4] = Default::default();
        let mut refused = [false; 4];
        for listener in all {
            let kind = match (listener.websockets, listener.tls) {
                (false, false) => 0,
                (false, true) => 1,
                (true, false) => 2,
                (true, true) => 3,
            };
            match listener.binds(none, out) {
                Some(binds) => kinds[kind].add(binds, listener, out),
                None => refused[kind] = true,
            }
        }
        let taken: Vec<u16> = kinds.iter().flat_map(|kind| kind.ports.clone()).collect();
        let mut mapped = Vec::new();
        for (index, ((name, port), kind)) in KINDS.into_iter().zip(kinds).enumerate() {
            if !kind.binds.is_empty() {
                mapped.push(name);
                kind.map(name, none, out);
                continue;
            }
            // Left to its default, one of ours would be open where mosquitto's was narrower, or
            // was not there.
            let remark = if refused[index] {
                said!(
                    "its listener was left out; see the list",
                    "它的监听未导入，见列表"
                )
            } else if taken.contains(&port) {
                said!(
                    "its default port {port} is taken by a listener of this file",
                    "其默认端口 {port} 已被此文件中的监听占用"
                )
            } else if name == "http" {
                let bind = format!("127.0.0.1:{port}");
                out.map("http.bind", quoted_list(&[bind]), Vec::new())
                    .remark = Some(said!(
                    "mosquitto had none: pages, health and metrics are for this machine only",
                    "mosquitto 没有：页面、健康状态和指标只在本机可用"
                ));
                continue;
            } else {
                said!(
                    "mosquitto had no listener of this kind",
                    "mosquitto 没有这种监听"
                )
            };
            let key = format!("{name}.enabled");
            out.map(&key, "false", Vec::new()).remark = Some(remark);
        }
        out.map("voice.enabled", "false", Vec::new()).remark = Some(said!(
            "mosquitto took no sound of voice assistants",
            "mosquitto 不接收语音助手的声音"
        ));
        mapped
    }
}

/// One of our listeners, as it is put together.
#[derive(Default)]
struct Kind {
    binds: Vec<String>,
    ports: Vec<u16>,
    from: Vec<Place>,
    listeners: usize,
    max_connections: Vec<(Place, u64)>,
}

impl Kind {
    fn add(&mut self, binds: Vec<(String, u16)>, listener: Listener, out: &mut Imported) {
        for (bind, port) in binds {
            if self.binds.contains(&bind) {
                continue;
            }
            if self.binds.len() == MOST_BINDS {
                if let Some(place) = listener.from.first() {
                    let why = said!(
                        "a listener of Safeport has at most {MOST_BINDS} addresses",
                        "Safeport 的一个监听最多有 {MOST_BINDS} 个地址"
                    );
                    out.leave(place, "listener", Some(&bind), why);
                }
                continue;
            }
            self.binds.push(bind);
            self.ports.push(port);
        }
        self.from.extend(listener.from);
        self.listeners += 1;
        self.max_connections.extend(listener.max_connections);
    }

    fn map(self, name: &str, none: bool, out: &mut Imported) {
        let key = format!("{name}.bind");
        let mapped = out.map(&key, quoted_list(&self.binds), self.from);
        if none {
            mapped.remark = Some(said!(
                "mosquitto without a listener line is heard on this machine only",
                "没有 listener 行的 mosquitto 只在本机可用"
            ));
        } else if name.starts_with("http") {
            mapped.remark = Some(said!(
                "MQTT over WebSocket is at the path /mqtt; mosquitto took any path",
                "MQTT over WebSocket 的路径是 /mqtt；mosquitto 接受任何路径"
            ));
        }
        if let [(place, count)] = self.max_connections.as_slice()
            && self.listeners == 1
        {
            let key = format!("{name}.max_connections");
            out.map(&key, count.to_string(), vec![place.clone()]);
            return;
        }
        for (place, count) in &self.max_connections {
            let why = said!(
                "it was for one of {listeners} listeners that are one here; {name}.max_connections is for all of them together",
                "它只针对 {listeners} 个监听之一，而在这里它们合为一个；{name}.max_connections 对它们一起有效",
                listeners = self.listeners
            );
            let count = count.to_string();
            out.leave(place, "max_connections", Some(&count), why);
        }
    }
}

impl Listener {
    /// Its addresses as ours, with their ports; `None`, with an entry in the list, where we cannot
    /// listen in the same place: a wider one would let in who could not come before.
    fn binds(&self, none: bool, out: &mut Imported) -> Option<Vec<(String, u16)>> {
        if none && !self.unlike {
            return Some(vec![
                ("127.0.0.1:1883".to_owned(), 1883),
                ("[::1]:1883".to_owned(), 1883),
            ]);
        }
        if self.unlike {
            self.leave_unheard(out);
            return None;
        }
        let Some(port) = self.port else {
            // Its `listener` line is in the list already.
            self.leave_unheard(out);
            return None;
        };
        let host = match (self.host.as_deref(), self.domain.as_deref()) {
            (None, Some("ipv4")) => "0.0.0.0".to_owned(),
            (None, _) => "[::]".to_owned(),
            (Some(host), _) => match host.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(IpAddr::V6(address)) => format!("[{address}]"),
                Ok(IpAddr::V4(address)) => address.to_string(),
                Err(_) if is_name(host) => host.to_owned(),
                Err(_) => {
                    for place in &self.from {
                        let why = said!(
                            "neither an address nor a name; this listener was left out",
                            "既不是地址也不是名称；此监听未导入"
                        );
                        out.leave(place, "listener", Some(host), why);
                    }
                    self.leave_unheard(out);
                    return None;
                }
            },
        };
        Some(vec![(format!("{host}:{port}"), port)])
    }

    /// Whether a line makes mosquitto open its default listener beside those of `listener` lines.
    /// Tried with mosquitto 2.0.11: `protocol mqtt` alone does not, `max_connections` does.
    fn is_named(&self) -> bool {
        self.port.is_some()
            || self.host.is_some()
            || self.domain.is_some()
            || self.unlike
            || self.max_connections.is_some()
            || self.websockets
            || self.tls
    }

    /// Lists what was said about a listener that is not opened.
    fn leave_unheard(&self, out: &mut Imported) {
        let unheard = || {
            said!(
                "it belongs to a listener that was left out",
                "它属于未导入的监听"
            )
        };
        let of_count = self.max_connections.iter().map(|(place, _)| place);
        for place in self.from.iter().chain(of_count) {
            let named = |left: &Left| left.place.as_ref() == Some(place);
            if !out.not_mapped.iter().any(named) {
                out.leave(place, "listener", None, unheard());
            }
        }
    }
}

fn leave_port(line: &Line, out: &mut Imported) {
    let why = said!(
        "no port from 1 to 65535; this listener was left out",
        "不是 1 到 65535 的端口；此监听未导入"
    );
    out.leave(&line.place, &line.name, Some(&line.value), why);
}
