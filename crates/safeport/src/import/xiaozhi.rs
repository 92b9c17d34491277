//! The settings of xiaozhi-esp32-server: `config.yaml`, and `data/.config.yaml`, which wins over it
//! value by value.
//!
//! That server has two ports, one for WebSockets (`server.port`) and one for OTA checks and images
//! (`server.http_port`); Safeport serves both kinds on every address of `http.bind`, so the devices'
//! stored addresses go on working.

mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use safeport_settings::Said;

use self::table::{EXAMPLE, FROM_MANAGER, Fate, OPENED, UNKNOWN};
use super::yaml::{Id, Kind, Tree};
use super::{ImportError, Imported, Input, Place, SECRET, is_name, quoted, quoted_list, said};

/// That server's ports where its file names none.
const PORT: u16 = 8000;
const HTTP_PORT: u16 = 8003;

/// Reads a `config.yaml` and the `.config.yaml` that wins over it.
///
/// # Errors
/// If one of them is no YAML, or no mapping of names to values.
pub fn read(main: Input<'_>, wins: Option<Input<'_>>) -> Result<Imported, ImportError> {
    let mut out = Imported::default();
    let mut values = Values::default();
    values.read(main, &mut out)?;
    if let Some(wins) = wins {
        values.read(wins, &mut out)?;
    }
    values.map(&mut out);
    Ok(out.settle())
}

/// One value of a file.
#[derive(Clone, Debug)]
struct Value {
    place: Place,
    path: String,
    /// `None` for lists, maps and nothing.
    text: Option<String>,
    /// Whether it is a list or a map with something in it.
    many: bool,
}

/// The values that hold, each path once.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    /// Adds the values of a file; they win over those that are there.
    fn read(&mut self, input: Input<'_>, out: &mut Imported) -> Result<(), ImportError> {
        let tree = Tree::read(input)?;
        let Some(root) = tree.root() else {
            return Ok(());
        };
        let file = input.file();
        let Kind::Map(entries) = tree.kind(root) else {
            if tree.text(root).is_none() && !matches!(tree.kind(root), Kind::List(_)) {
                return Ok(());
            }
            return Err(ImportError {
                place: Place {
                    file,
                    line: tree.line(root),
                },
                what: said!(
                    "the file is no list of names with values",
                    "该文件不是“名称: 值”的形式"
                ),
                help: said!(
                    "name the settings file of xiaozhi-esp32-server: config.yaml or data/.config.yaml",
                    "请指定 xiaozhi-esp32-server 的配置文件：config.yaml 或 data/.config.yaml"
                ),
            });
        };
        let mut found = Vec::new();
        gather(&tree, entries, "", &file, &mut found, out);
        for value in found {
            self.put(value, out);
        }
        Ok(())
    }

    fn put(&mut self, value: Value, out: &mut Imported) {
        let Some(earlier) = self.0.iter_mut().find(|known| known.path == value.path) else {
            self.0.push(value);
            return;
        };
        let earlier = std::mem::replace(earlier, value.clone());
        if earlier.text == value.text && !earlier.many && !value.many {
            return;
        }
        // Maps merge in that server; only single values lose.
        if earlier.many && value.many && !OPENED.contains(&value.path.as_str()) {
            leave(&earlier, out);
            return;
        }
        let why = said!(
            "{winner} says otherwise and wins",
            "{winner} 的值不同，以它为准",
            winner = value.place
        );
        let shown = shown(&earlier);
        let (place, path) = (&earlier.place, &earlier.path);
        out.leave(place, path, shown.as_deref(), why);
    }

    fn get(&self, path: &str) -> Option<&Value> {
        self.0.iter().find(|value| value.path == path)
    }

    fn text(&self, path: &str) -> Option<(&str, &Place)> {
        let value = self.get(path)?;
        Some((value.text.as_deref()?.trim(), &value.place))
    }

    /// Maps what has a counterpart and lists the rest.
    fn map(&self, out: &mut Imported) {
        let managed = self.managed();
        for value in &self.0 {
            let local = ["server.ip", "server.port", "server.http_port"];
            let fate = table::fate(&value.path);
            if managed
                && fate == Some(Fate::Mapped)
                && !local.contains(&value.path.as_str())
                && !["server.vision_explain", "manager-api.url"].contains(&value.path.as_str())
            {
                let shown = shown(value);
                out.leave(
                    &value.place,
                    &value.path,
                    shown.as_deref(),
                    FROM_MANAGER.said(),
                );
                continue;
            }
            if fate != Some(Fate::Mapped) {
                leave(value, out);
            } else if value.text.is_none() {
                let why = if value.many {
                    said!(
                        "a single value belongs here, not a list or a map",
                        "这里应是单个值，而不是列表或映射"
                    )
                } else {
                    said!("it is empty", "它是空的")
                };
                out.leave(&value.place, &value.path, None, why).already_so = !value.many;
            }
        }
        let binds = self.binds(out);
        self.addresses(&binds, managed, out);
        if let Some((url, place)) = self.text("manager-api.url") {
            let url = without_secrets(url);
            out.leave(place, "manager-api.url", Some(&url), table::MANAGER.said());
        }
        if !managed {
            self.log_level(out);
        }
    }

    /// Whether that server took its settings from its manager.
    fn managed(&self) -> bool {
        self.text("manager-api.url")
            .is_some_and(|(url, _)| !url.is_empty() && !is_example(url))
    }

    /// `http.bind` from address and both ports.
    fn binds(&self, out: &mut Imported) -> Vec<u16> {
        let mut from = Vec::new();
        let mut host = "0.0.0.0".to_owned();
        if let Some((ip, place)) = self.text("server.ip") {
            match ip.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(IpAddr::V6(address)) => host = format!("[{address}]"),
                Ok(IpAddr::V4(address)) => host = address.to_string(),
                Err(_) if !is_name(ip) => {
                    let why = said!(
                        "neither an address nor a name of this machine",
                        "既不是地址，也不是本机名称"
                    );
                    out.leave(place, "server.ip", Some(ip), why);
                }
                Err(_) => host = ip.to_owned(),
            }
            if !out
                .not_mapped
                .iter()
                .any(|l| l.place.as_ref() == Some(place))
            {
                from.push(place.clone());
            }
        }
        let mut ports = Vec::new();
        let mut defaults = Vec::new();
        let mut bad = false;
        for (path, default) in [("server.port", PORT), ("server.http_port", HTTP_PORT)] {
            let port = match self.text(path) {
                None => {
                    defaults.push(default.to_string());
                    default
                }
                Some((text, place)) => match text.parse::<u16>() {
                    Ok(port) if port > 0 => {
                        from.push(place.clone());
                        port
                    }
                    _ => {
                        let why = said!("no port from 1 to 65535", "不是 1 到 65535 的端口");
                        out.leave(place, path, Some(text), why);
                        bad = true;
                        continue;
                    }
                },
            };
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        if from.is_empty() || bad && ports.is_empty() {
            return Vec::new();
        }
        let binds: Vec<String> = ports.iter().map(|port| format!("{host}:{port}")).collect();
        let mapped = out.map("http.bind", quoted_list(&binds), from);
        if !defaults.is_empty() {
            mapped.remark = Some(said!(
                "{ports} by default of xiaozhi-esp32-server",
                "{ports} 是 xiaozhi-esp32-server 的默认端口",
                ports = defaults.join(", ")
            ));
        }
        ports
    }

    /// What devices are told: the addresses that were written for them, as `advertise.host` where
    /// they are ours, and as a proxy where something else answers there.
    fn addresses(&self, ports: &[u16], managed: bool, out: &mut Imported) {
        let mut told: Vec<Told> = Vec::new();
        for (path, name) in [
            ("server.websocket", "xiaozhi"),
            ("server.ota", "xiaozhi-ota"),
            ("server.vision_explain", "xiaozhi-vision"),
        ] {
            if managed && path != "server.vision_explain" {
                continue;
            }
            let Some((text, place)) = self.text(path) else {
                continue;
            };
            let url = without_secrets(text);
            let address = match Told::read(text) {
                Ok(address) => address,
                Err(why) => {
                    out.leave(place, path, Some(&url), why);
                    continue;
                }
            };
            if let Some(twin) = told.iter().find(|known| known.same(&address)) {
                let why = said!(
                    "the same address as above ({host}:{port}); Safeport makes every address from it",
                    "与上面的地址相同（{host}:{port}）；Safeport 由它生成所有地址",
                    host = twin.host,
                    port = twin.port
                );
                out.leave(place, path, Some(&url), why).already_so = true;
                continue;
            }
            let direct = !address.tls && ports.contains(&address.port);
            if direct && let Some(first) = told.iter().find(|known| known.direct) {
                let same = first.host == address.host;
                let why = if same {
                    said!(
                        "Safeport serves it on every address of http.bind",
                        "Safeport 在 http.bind 的每个地址上都提供它"
                    )
                } else {
                    said!(
                        "devices are told one host, and {host} is it already (advertise.host)",
                        "只会告知设备一个主机，已经是 {host}（advertise.host）",
                        host = first.host
                    )
                };
                out.leave(place, path, Some(&url), why).already_so = same;
                continue;
            }
            if direct {
                out.map("advertise.host", quoted(&address.host), vec![place.clone()]);
            } else {
                let url = quoted(&address.proxied());
                let key = format!("proxy.{name}.url");
                out.map(&key, url, vec![place.clone()]).remark = Some(said!(
                    "another address than http.bind: something in front forwards it to Safeport",
                    "与 http.bind 的地址不同：前面有代理或转发把它送到 Safeport"
                ));
                let key = format!("proxy.{name}.to");
                out.map(&key, "\"http\"", Vec::new());
            }
            told.push(Told { direct, ..address });
        }
    }

    fn log_level(&self, out: &mut Imported) {
        let Some((level, place)) = self.text("log.log_level") else {
            return;
        };
        let ours = match level.to_ascii_uppercase().as_str() {
            "TRACE" => "trace",
            "DEBUG" => "debug",
            "INFO" | "SUCCESS" => "info",
            "WARNING" | "WARN" => "warn",
            "ERROR" | "CRITICAL" => "error",
            _ => {
                let why = said!("no level of that server's log", "不是该服务器的日志级别");
                out.leave(place, "log.log_level", Some(level), why);
                return;
            }
        };
        out.map("log.level", quoted(ours), vec![place.clone()]);
    }
}

/// Collects the values of a map, going into [`OPENED`] ones.
fn gather(
    tree: &Tree,
    entries: &[(Id, Id)],
    above: &str,
    file: &Arc<str>,
    found: &mut Vec<Value>,
    out: &mut Imported,
) {
    for (key, value) in entries {
        let place = Place {
            file: Arc::clone(file),
            line: tree.line(*key),
        };
        let Some(name) = tree.text(*key) else {
            let why = said!("its name is no text", "它的名称不是文本");
            out.leave(&place, above, None, why);
            continue;
        };
        let path = if above.is_empty() {
            name.to_owned()
        } else {
            format!("{above}.{name}")
        };
        // Of two maps of one name, YAML as that server reads it drops the first as a whole.
        let below = format!("{path}.");
        found.retain(|earlier: &Value| {
            let twin = earlier.path == path || earlier.path.starts_with(&below);
            if twin {
                let why = said!(
                    "written a second time in {place}, which alone holds",
                    "在 {place} 又写了一次，只有那里的有效"
                );
                let shown = shown(earlier);
                out.leave(&earlier.place, &earlier.path, shown.as_deref(), why);
            }
            !twin
        });
        match tree.kind(*value) {
            Kind::Map(entries) if OPENED.contains(&path.as_str()) => {
                gather(tree, entries, &path, file, found, out);
            }
            kind => found.push(Value {
                place,
                text: tree.text(*value).map(str::to_owned),
                many: match kind {
                    Kind::Map(entries) => !entries.is_empty(),
                    Kind::List(entries) => !entries.is_empty(),
                    Kind::Scalar { .. } => false,
                },
                path,
            }),
        }
    }
}

fn leave(value: &Value, out: &mut Imported) {
    let why = match table::fate(&value.path) {
        Some(Fate::Left(why) | Fate::Secret(why)) => why,
        Some(Fate::Mapped) | None => UNKNOWN,
    };
    let shown = shown(value);
    out.leave(&value.place, &value.path, shown.as_deref(), why.said());
}

/// What may be printed of a value.
fn shown(value: &Value) -> Option<String> {
    let text = value.text.as_deref()?;
    match table::fate(&value.path)? {
        Fate::Mapped | Fate::Left(_) => Some(without_secrets(text)),
        Fate::Secret(_) => Some(SECRET.to_owned()),
    }
}

/// A URL without the password, query and fragment that it may have.
fn without_secrets(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or("");
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}{SECRET}{}", &text[..scheme + 3], &text[at..])
        }
        _ => text.to_owned(),
    }
}

/// Whether a text is one of the placeholders in that server's example files.
fn is_example(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
        || ["your_", "your-", "<", "xxx"]
            .iter()
            .any(|mark| lower.contains(mark))
}

/// An address as that server tells it to devices.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    tls: bool,
    host: String,
    port: u16,
    /// Whether Safeport itself answers there.
    direct: bool,
}

impl Told {
    fn same(&self, other: &Told) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    fn read(text: &str) -> Result<Told, Said> {
        if is_example(text) {
            return Err(EXAMPLE.said());
        }
        let no_url = || said!("no URL with scheme and host", "不是带协议和主机的 URL");
        let (scheme, rest) = text.split_once("://").ok_or_else(no_url)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => {
                return Err(said!(
                    "its scheme is none of ws, wss, http and https",
                    "其协议不是 ws、wss、http 或 https"
                ));
            }
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
        if authority.contains('@') {
            return Err(said!(
                "it names a user, which no device sends",
                "其中包含用户名，设备不会发送它"
            ));
        }
        let (host, port) = match authority.rfind(':') {
            Some(at) if !authority[at..].contains(']') => (&authority[..at], &authority[at + 1..]),
            _ => (authority, if tls { "443" } else { "80" }),
        };
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| {
            said!(
                "its port is none from 1 to 65535",
                "其端口不在 1 到 65535 之间"
            )
        })?;
        let literal = host.trim_matches(['[', ']']);
        if literal.parse::<IpAddr>().is_err() && !is_name(host) {
            return Err(no_url());
        }
        Ok(Told {
            tls,
            host: literal.to_owned(),
            port,
            direct: false,
        })
    }

    /// As the address of a proxy, always with its port.
    fn proxied(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let Told { host, port, .. } = self;
        if host.contains(':') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        }
    }
}
