//! What the parsers of firmware make of a text, each as its source has it.

use alloc::format;
use alloc::string::{String, ToString};

use safeport_settings::Said;

use super::clues::{covered, number_or_stars};
use super::{Scheme, Service, Target};
use crate::profile::Profile;

/// How a firmware takes an address apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// xiaozhi on Wi-Fi and EC801E, the address for updates (78/esp-ml307 `src/http_client.cc`): the
    /// first colon behind `://` that stands before the path parts host and port; a text shorter than
    /// 10 characters is refused (78/xiaozhi-esp32 `main/ota.cc`).
    XiaozhiOta,
    /// xiaozhi, the WebSocket (78/esp-ml307 `src/web_socket.cc`): the first colon behind `://`,
    /// wherever it stands, parts host and port. What is no number there restarts the device.
    XiaozhiWebsocket,
    /// xiaozhi, MQTT (78/xiaozhi-esp32 `main/protocols/mqtt_protocol.cc`): `host` or `host:port`,
    /// 8883 without one, no scheme; TLS exactly on port 8883.
    XiaozhiMqtt,
    /// xiaozhi on ML307, the address for updates (78/esp-ml307 `src/ml307/ml307_http.cc`): everything
    /// up to the path goes to the modem, which takes it apart.
    Ml307Ota,
    /// `esp_http_client`, `esp_https_ota` and `esp-mqtt` of ESP-IDF: a strict URL with a scheme, IPv6
    /// in brackets.
    EspIdf,
    /// Tasmota, MQTT: the fields Host and Port, and SetOption103 for TLS.
    TasmotaMqtt,
    /// Tasmota, `OtaUrl` (`lib/libesp32/HttpClientLight`): `http://` or, on ESP32, `https://`; at most
    /// 100 characters.
    TasmotaOta,
    /// ESPEasy: the fields Controller Hostname or IP and Port.
    EspEasy,
    /// ESPHome: `broker` and `port` in YAML for MQTT, whole URLs elsewhere; both are checked when the
    /// image is built.
    EspHome,
    /// Shelly Gen2 and later: the field Server as `host:port`, without a scheme.
    Shelly,
}

/// What a device would connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    /// The host as its resolver gets it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether it begins with a TLS handshake.
    pub tls: bool,
    /// The path; empty where there is none.
    pub path: String,
}

impl Dialect {
    /// The parser that a device of this profile takes to such a service.
    pub fn of(profile: &Profile, service: Service) -> Dialect {
        match (profile.family, service) {
            ("tasmota", Service::Ota | Service::Http) => Dialect::TasmotaOta,
            ("tasmota", _) => Dialect::TasmotaMqtt,
            ("espeasy", _) => Dialect::EspEasy,
            ("esphome", _) => Dialect::EspHome,
            ("shelly", _) => Dialect::Shelly,
            ("xiaozhi", Service::Mqtt) => Dialect::XiaozhiMqtt,
            ("xiaozhi", Service::Websocket) => Dialect::XiaozhiWebsocket,
            ("xiaozhi", _) if profile.name == "ml307" => Dialect::Ml307Ota,
            ("xiaozhi", _) => Dialect::XiaozhiOta,
            _ => Dialect::EspIdf,
        }
    }

    /// Whether the first colon of the place is taken for the one before the port, even inside an IPv6
    /// address.
    pub(super) fn splits_at_first_colon(self) -> bool {
        matches!(
            self,
            Dialect::XiaozhiOta
                | Dialect::XiaozhiWebsocket
                | Dialect::XiaozhiMqtt
                | Dialect::Ml307Ota
                | Dialect::TasmotaOta
        )
    }

    /// Whether a person types host and port apart.
    pub fn has_fields(self) -> bool {
        matches!(self, Dialect::TasmotaMqtt | Dialect::EspEasy)
    }

    pub(super) fn dialled(self, target: &Target) -> Result<Dialled, Said> {
        let raw = target.raw.as_str();
        match self {
            Dialect::XiaozhiOta => xiaozhi_ota(raw),
            Dialect::Ml307Ota => ml307_ota(raw),
            Dialect::XiaozhiWebsocket => xiaozhi_websocket(raw),
            Dialect::XiaozhiMqtt => xiaozhi_mqtt(raw),
            Dialect::EspIdf => esp_idf(raw),
            Dialect::TasmotaOta => tasmota_ota(raw),
            Dialect::Shelly => host_colon_port(raw, 1883),
            // Fields hold what was meant: nobody types a URL there to be parsed.
            Dialect::TasmotaMqtt | Dialect::EspEasy | Dialect::EspHome => {
                let tls = target.wants_tls().unwrap_or(target.port == Some(8883));
                let port = target.likely_port().unwrap_or(match self {
                    Dialect::EspHome if target.path.is_empty() => 1883,
                    _ if tls => 8883,
                    _ => 1883,
                });
                let path = target.path.clone();
                Ok(Dialled {
                    host: target.host.to_string(),
                    port,
                    tls,
                    path,
                })
            }
        }
    }

    /// How it has to be written.
    pub(super) fn written(self, target: &Target) -> String {
        let host = target.host.in_url();
        let port = target.likely_port();
        match self {
            Dialect::TasmotaMqtt => {
                let tls = target.wants_tls().unwrap_or(port == Some(8883));
                let port = port.unwrap_or(if tls { 8883 } else { 1883 });
                let option = u8::from(tls);
                format!(
                    "Backlog MqttHost {}; MqttPort {port}; SetOption103 {option}",
                    target.host
                )
            }
            Dialect::EspEasy => {
                let port = port.unwrap_or(1883);
                format!(
                    "Controller Hostname: {}, Controller Port: {port}",
                    target.host
                )
            }
            Dialect::XiaozhiMqtt | Dialect::Shelly => match port {
                Some(port) => format!("{host}:{port}"),
                None => host.to_string(),
            },
            _ => {
                let scheme = target.scheme.unwrap_or_else(|| self.scheme(target));
                target.with_scheme(scheme).url()
            }
        }
    }

    /// The scheme that is most likely missing.
    fn scheme(self, target: &Target) -> Scheme {
        let secure = matches!(target.port, Some(443 | 8443 | 8883 | 8884));
        let scheme = match (self, target.service()) {
            (Dialect::XiaozhiWebsocket, _) | (_, Service::Websocket) => Scheme::Ws,
            (_, Service::Mqtt) => Scheme::Mqtt,
            _ => Scheme::Http,
        };
        match (scheme, secure) {
            (Scheme::Ws, true) => Scheme::Wss,
            (Scheme::Mqtt, true) => Scheme::Mqtts,
            (Scheme::Http, true) => Scheme::Https,
            (scheme, _) => scheme,
        }
    }
}

fn no_scheme() -> Said {
    Said::new(
        "there is no \"://\" in it, so the device refuses it",
        "里面没有“://”，设备不接受",
    )
}

fn no_port(text: &str) -> Said {
    let text = number_or_stars(text);
    Said::new(
        format!("\"{text}\" is no port for the device"),
        format!("对设备来说“{text}”不是端口"),
    )
}

fn no_host(text: &str) -> Said {
    let text = covered(text);
    Said::new(
        format!("\"{text}\" is no host for the device"),
        format!("对设备来说“{text}”不是主机"),
    )
}

fn no_such_scheme(scheme: &str) -> Said {
    let scheme = covered(scheme);
    Said::new(
        format!("the device knows no scheme \"{scheme}\""),
        format!("设备不认识协议名“{scheme}”"),
    )
}

fn xiaozhi_ota(raw: &str) -> Result<Dialled, Said> {
    if raw.len() < 10 {
        return Err(Said::new(
            "it is shorter than 10 characters, so the device refuses it (258)",
            "不足 10 个字符，设备不接受（258）",
        ));
    }
    let (scheme, rest) = raw.split_once("://").ok_or_else(no_scheme)?;
    let tls = scheme.eq_ignore_ascii_case("https");
    let at = rest.find('/').unwrap_or(rest.len());
    let (place, path) = rest.split_at(at);
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(number) if number > 0 => (host, number),
            _ => return Err(no_port(port)),
        },
        None => (place, if tls { 443 } else { 80 }),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(Dialled {
        host: host.into(),
        port,
        tls,
        path: path.into(),
    })
}

fn ml307_ota(raw: &str) -> Result<Dialled, Said> {
    let (scheme, rest) = raw.split_once("://").ok_or_else(no_scheme)?;
    // The driver compares in small letters; the modem gets scheme and place as they are.
    let tls = scheme == "https";
    let at = rest.find('/').unwrap_or(rest.len());
    let (place, path) = rest.split_at(at);
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(number) if number > 0 => (host, number),
            _ => return Err(no_port(port)),
        },
        None => (place, if tls { 443 } else { 80 }),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(Dialled {
        host: host.into(),
        port,
        tls,
        path: path.into(),
    })
}

fn xiaozhi_websocket(raw: &str) -> Result<Dialled, Said> {
    let (scheme, rest) = raw.split_once("://").ok_or_else(no_scheme)?;
    let tls = matches!(scheme, "wss" | "https");
    let (host, port, path) = match rest.split_once(':') {
        Some((host, rest)) => {
            let at = rest.find('/').unwrap_or(rest.len());
            let (port, path) = rest.split_at(at);
            (host, leading_number(port)?, path)
        }
        None => {
            let at = rest.find('/').unwrap_or(rest.len());
            let (host, path) = rest.split_at(at);
            (host, if scheme == "wss" { 443 } else { 80 }, path)
        }
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(Dialled {
        host: host.into(),
        port,
        tls,
        path: path.into(),
    })
}

fn xiaozhi_mqtt(raw: &str) -> Result<Dialled, Said> {
    let (host, port) = match raw.split_once(':') {
        Some((host, port)) => (host, leading_number(port)?),
        None => (raw, 8883),
    };
    let tls = port == 8883;
    Ok(Dialled {
        host: host.into(),
        port,
        tls,
        path: String::new(),
    })
}

/// `std::stoi`: blanks, a sign and digits; what follows them is not looked at.
fn leading_number(text: &str) -> Result<u16, Said> {
    let digits = text.trim_start().trim_start_matches('+');
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    match digits[..end].parse::<u16>() {
        Ok(number) => Ok(number),
        Err(_) => {
            let text = number_or_stars(text);
            Err(Said::new(
                format!(
                    "behind the first colon stands \"{text}\" and no number, at which the device restarts"
                ),
                format!("第一个冒号后面是“{text}”，不是数字，设备会因此重启"),
            ))
        }
    }
}

/// The parser of nginx and node, as ESP-IDF has it: nothing is guessed.
fn esp_idf(raw: &str) -> Result<Dialled, Said> {
    if let Some(odd) = raw.chars().find(|c| c.is_whitespace() || c.is_control()) {
        let odd = u32::from(odd);
        return Err(Said::new(
            format!("it holds the character U+{odd:04X}, so the device refuses it"),
            format!("含有字符 U+{odd:04X}，设备不接受"),
        ));
    }
    let (scheme, rest) = raw.split_once("://").ok_or_else(no_scheme)?;
    let small = scheme.to_ascii_lowercase();
    let (tls, standard) = match small.as_str() {
        "http" | "ws" => (false, 80),
        "https" | "wss" => (true, 443),
        "mqtt" => (false, 1883),
        "mqtts" => (true, 8883),
        _ => return Err(no_such_scheme(&small)),
    };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(inside) => {
            let (address, behind) = inside.split_once(']').ok_or_else(|| no_host(place))?;
            (address, behind.strip_prefix(':'))
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let strange = |c: char| !(c.is_ascii_alphanumeric() || "-._:%".contains(c));
    if host.is_empty() || host.contains(strange) {
        return Err(no_host(host));
    }
    let port = match port {
        None | Some("") => standard,
        Some(text) => match text.parse::<u16>() {
            Ok(port) => port,
            Err(_) => return Err(no_port(text)),
        },
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(Dialled {
        host: host.into(),
        port,
        tls,
        path: path.into(),
    })
}

fn tasmota_ota(raw: &str) -> Result<Dialled, Said> {
    if raw.len() > 100 {
        return Err(Said::new(
            "it is longer than the 100 characters that OtaUrl keeps",
            "超过了 OtaUrl 能存的 100 个字符",
        ));
    }
    let (scheme, rest) = raw.split_once(':').ok_or_else(no_scheme)?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        other => return Err(no_such_scheme(other)),
    };
    // Two characters are skipped, whatever they are.
    let rest = rest.get(2..).unwrap_or_default();
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let place = authority
        .split_once('@')
        .map_or(authority, |(_, place)| place);
    let (host, port) = match place.split_once(':') {
        // `toInt` of Arduino: what is no number is 0.
        Some((host, port)) => (host, leading_number(port).unwrap_or(0)),
        None => (place, if tls { 443 } else { 80 }),
    };
    let path = if path.is_empty() { "/" } else { path };
    Ok(Dialled {
        host: host.into(),
        port,
        tls,
        path: path.into(),
    })
}

fn host_colon_port(raw: &str, standard: u16) -> Result<Dialled, Said> {
    if raw.contains("://") {
        return Err(Said::new(
            "the field takes host:port without a scheme",
            "这一栏要填“主机:端口”，不带协议名",
        ));
    }
    let place = raw.split('/').next().unwrap_or(raw);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) => (host, port),
            Err(_) => return Err(no_port(port)),
        },
        None => (place, standard),
    };
    Ok(Dialled {
        host: host.into(),
        port,
        tls: port == 8883,
        path: String::new(),
    })
}
