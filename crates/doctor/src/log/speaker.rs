//! Who printed a line, told from its shape: which decides whose numbers are in it.

use core::time::Duration;

use super::stamp::{Clock, Stamp};

/// Who printed a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Speaker {
    /// `MQT: …`, `Project tasmota …`.
    Tasmota,
    /// `MQTT : …`.
    Espeasy,
    /// `[W][mqtt:369]: …`.
    Esphome,
    /// `E (1234) esp-tls: …`, which xiaozhi prints too.
    Idf,
    /// `[E][ssl_client.cpp:380] …`.
    Arduino,
    /// `shos_mqtt_conn.cpp:233  MQTT0 …`, `mgos_mqtt_conn.c:468 …`.
    Shelly,
    /// A server, a proxy or a container engine.
    Server,
    /// The person who reports: `# …`.
    Remark,
    /// Nobody that we know.
    Unknown,
}

/// How loud a line is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Debugging, or a step that went well.
    Info,
    /// Not said.
    Unsaid,
    /// A warning.
    Warning,
    /// An error.
    Error,
}

/// A line taken apart.
pub(crate) struct Spoken<'a> {
    pub(crate) speaker: Speaker,
    pub(crate) level: Level,
    /// The part of the firmware that printed it; empty where none is named.
    pub(crate) tag: &'a str,
    /// The stamp in the middle, where IDF writes it.
    pub(super) stamp: Option<Stamp>,
}

impl Spoken<'_> {
    /// A line of nobody that we know, meant this loud.
    pub(crate) fn of_nobody(level: Level) -> Spoken<'static> {
        Spoken {
            speaker: Speaker::Unknown,
            level,
            tag: "",
            stamp: None,
        }
    }
}

impl Speaker {
    /// Whether numbers and words of this stack can come from it.
    pub(crate) fn speaks(self, stack: &str) -> bool {
        let espressif = matches!(
            stack,
            "esp-tls"
                | "esp_http_client"
                | "esp_ota"
                | "esp_err"
                | "tcp_transport"
                | "esp-mqtt"
                | "mbedtls"
                | "mbedtls-flags"
                | "esp-crt-bundle"
                | "lwip-errno"
                | "lwip-dns"
                | "esp-wifi"
        );
        let arduino = matches!(
            stack,
            "pubsubclient" | "arduino-httpclient" | "arduino-httpupdate" | "http"
        );
        let messages = matches!(stack, "http" | "websocket" | "mqtt311" | "mqtt5");
        let server = matches!(
            stack,
            "python" | "python-websockets" | "server-log" | "xiaozhi-server"
        );
        match self {
            Speaker::Tasmota => arduino || matches!(stack, "tasmota-log" | "bearssl"),
            Speaker::Espeasy => arduino || matches!(stack, "espeasy-log" | "bearssl" | "esp-wifi"),
            Speaker::Esphome => {
                espressif || messages || matches!(stack, "esphome-log" | "esphome-ota")
            }
            Speaker::Idf => {
                espressif
                    || messages
                    || matches!(
                        stack,
                        "xiaozhi-log" | "ml307-http" | "ml307-mqtt" | "ec801e-at" | "esphome-ota"
                    )
            }
            Speaker::Arduino => {
                arduino
                    || matches!(
                        stack,
                        "arduino-ssl"
                            | "mbedtls"
                            | "mbedtls-flags"
                            | "lwip-errno"
                            | "lwip-dns"
                            | "esp-wifi"
                            | "esp-tls"
                            | "esp_err"
                            | "esp-crt-bundle"
                    )
            }
            Speaker::Shelly => {
                messages
                    || matches!(
                        stack,
                        "mbedtls" | "mbedtls-flags" | "lwip-errno" | "esp-wifi"
                    )
            }
            Speaker::Server | Speaker::Remark => server || messages,
            Speaker::Unknown => true,
        }
    }

    /// Whether it stands beside the device: a server, or the person who reports.
    pub(crate) fn is_beside(self) -> bool {
        matches!(self, Speaker::Server | Speaker::Remark)
    }

    /// The stack's numbers for sockets: those of newlib on devices, of Linux on servers.
    pub(crate) fn is_newlib(self) -> bool {
        !self.is_beside()
    }
}

/// Takes a line apart whose stamps are off.
pub(crate) fn listen(line: &str) -> Spoken<'_> {
    idf(line)
        .or_else(|| bracketed(line))
        .or_else(|| remark(line))
        .or_else(|| espeasy(line))
        .or_else(|| tasmota(line))
        .or_else(|| shelly(line))
        .or_else(|| server(line))
        .unwrap_or(Spoken::of_nobody(named_level(line)))
}

fn level(letter: &str) -> Option<Level> {
    match letter {
        "E" => Some(Level::Error),
        "W" => Some(Level::Warning),
        "I" | "C" | "D" | "V" | "VV" | "N" => Some(Level::Info),
        _ => None,
    }
}

/// `ERROR text`, `[INFO]: text`, `WARNING:root:text`: as programs on a computer say how loud they are.
fn named_level(line: &str) -> Level {
    let word = line.trim_start_matches(['[', '*', ' ']);
    let end = word.find(|c: char| !c.is_ascii_uppercase());
    let (word, rest) = word.split_at(end.unwrap_or(word.len()));
    if !rest.starts_with([' ', ':', ']']) {
        return Level::Unsaid;
    }
    match word {
        "ERROR" | "ERR" | "FATAL" | "CRITICAL" => Level::Error,
        "WARNING" | "WARN" | "WRN" => Level::Warning,
        "INFO" | "INF" | "DEBUG" | "DBG" => Level::Info,
        _ => Level::Unsaid,
    }
}

/// The device writes its own stamp behind those of all other programs.
const DEVICE: u8 = 9;

/// `E (1234) tag: text`; newer ones may print a time of day in the brackets.
fn idf(line: &str) -> Option<Spoken<'_>> {
    let (letter, rest) = line.split_once(" (")?;
    let level = level(letter).filter(|_| letter.len() == 1)?;
    let (stamp, rest) = rest.split_once(") ")?;
    let (tag, _) = rest.split_once(':')?;
    if tag.len() > 40 || tag.is_empty() {
        return None;
    }
    let stamp = match stamp.parse::<u64>() {
        Ok(millis) => Some(Stamp {
            since: Duration::from_millis(millis),
            clock: Clock::Boot,
            writer: DEVICE,
        }),
        Err(_) => super::stamp::peel(stamp).0,
    };
    Some(Spoken {
        speaker: Speaker::Idf,
        level,
        tag,
        stamp,
    })
}

/// `[W][mqtt:369]: text` from ESPHome, `[E][ssl_client.cpp:380] text` from the Arduino core.
fn bracketed(line: &str) -> Option<Spoken<'_>> {
    let (letter, rest) = line.strip_prefix('[')?.split_once("][")?;
    let level = level(letter)?;
    let (place, rest) = rest.split_once(']')?;
    let file = place.contains(".cpp") || place.contains(".c:") || place.contains(".h:");
    let speaker = if file {
        Speaker::Arduino
    } else if rest.starts_with(':') {
        Speaker::Esphome
    } else {
        return None;
    };
    Some(Spoken {
        speaker,
        level,
        tag: place.split(':').next().unwrap_or(place),
        stamp: None,
    })
}

fn remark(line: &str) -> Option<Spoken<'_>> {
    let remark = line.starts_with('#') || line.starts_with("//") || line.starts_with("--- ");
    remark.then_some(Spoken {
        speaker: Speaker::Remark,
        level: Level::Unsaid,
        tag: "",
        stamp: None,
    })
}

/// `MQTT : text`: capitals, and a space in front of the colon.
fn espeasy(line: &str) -> Option<Spoken<'_>> {
    let (tag, _) = line.split_once(':')?;
    let word = tag.trim_end();
    let known = matches!(
        word,
        "MQTT"
            | "WIFI"
            | "INIT"
            | "EVENT"
            | "SYS"
            | "HTTP"
            | "NTP"
            | "OTA"
            | "Info"
            | "Error"
            | "Debug"
            | "SW"
            | "WD"
            | "C"
            | "TLS"
            | "DNS"
            | "UDP"
            | "TIME"
            | "CMD"
            | "RULES"
            | "Webserver"
            | "Controller"
            | "Cmd"
            | "ETH"
            | "ESPEASYNOW"
    );
    (word.len() < tag.len() && known).then_some(Spoken {
        speaker: Speaker::Espeasy,
        level: if word == "Error" {
            Level::Error
        } else {
            Level::Unsaid
        },
        tag: word,
        stamp: None,
    })
}

/// `MQT: text`, or `ESP-MQT: text` as it writes to syslog.
fn tasmota(line: &str) -> Option<Spoken<'_>> {
    let line = line.strip_prefix("ESP-").unwrap_or(line);
    let banner = line.starts_with("Project ") && line.contains("Tasmota Version");
    let tag = line.split_once(": ").map(|(tag, _)| tag).unwrap_or("");
    let known = matches!(
        tag,
        "MQT"
            | "WIF"
            | "HTP"
            | "OTA"
            | "RSL"
            | "DNS"
            | "CMD"
            | "CFG"
            | "NTP"
            | "APP"
            | "HDW"
            | "SRC"
            | "UPP"
            | "QPC"
            | "TLS"
            | "BRY"
            | "I2C"
            | "RUL"
            | "TEL"
            | "UPL"
            | "WEB"
            | "HAS"
            | "ADR"
            | "FFS"
            | "UFS"
            | "BOT"
            | "RTC"
            | "ETH"
            | "DIS"
            | "SER"
            | "LGT"
            | "CRY"
            | "ENY"
            | "WGW"
            | "TIM"
            | "SNS"
            | "ZIG"
            | "TCP"
            | "DHT"
            | "EMU"
            | "MDN"
    );
    (known || banner).then_some(Spoken {
        speaker: Speaker::Tasmota,
        level: Level::Unsaid,
        tag: if banner { "" } else { tag },
        stamp: None,
    })
}

/// The file and line of its source, or the name of its operating system, in front.
fn shelly(line: &str) -> Option<Spoken<'_>> {
    let word = line.split([' ', '\t']).next()?;
    let (name, place) = word.split_once(':').unwrap_or((word, ""));
    let file = (name.ends_with(".cpp") || name.ends_with(".c"))
        && place.bytes().all(|byte| byte.is_ascii_digit())
        && !place.is_empty();
    let known = file
        || ["shos_", "mgos_", "shelly_"]
            .iter()
            .any(|name| line.starts_with(name) || line.contains(&[" ", name].concat()));
    known.then_some(Spoken {
        speaker: Speaker::Shelly,
        level: Level::Unsaid,
        tag: if line.contains("mqtt") { "mqtt" } else { "" },
        stamp: None,
    })
}

/// Lines of brokers, proxies, Python and containers, as people paste them.
fn server(line: &str) -> Option<Spoken<'_>> {
    let begins = [
        "Traceback (most recent",
        "  File \"",
        "File \"",
        "OSError:",
        "PermissionError:",
        "ConnectionResetError",
        "ssl.",
        "requests.exceptions",
        "aiohttp",
        "websockets.",
        "asyncio",
        "Client ",
        "New connection from",
        "New client connected",
        "OpenSSL Error",
        "error:0",
        "mosquitto",
        "nginx:",
        "upstream ",
        "Error: Address already in use",
        "Error response from daemon",
        "Web server failed",
        "haproxy",
        "traefik",
        "Sending CONNACK",
        "Received CONNECT",
        "Socket error on client",
        "time=\"",
        "level=",
        "bind() ",
        "connect() failed",
        "peer is incompatible",
        "received corrupt message",
        "docker:",
        "kernel:",
        "systemd",
    ];
    let within = [
        "SSL routines",
        "while connecting to upstream",
        "while SSL handshaking",
        "while reading client request",
        "[error] ",
        "[crit] ",
        "[warn] ",
        "[emerg] ",
        "HTTP/1.1\" ",
        "HTTP/1.0\" ",
        "HTTP/2.0\" ",
        "[__main__]",
        "-INFO-",
        "-ERROR-",
        "-WARNING-",
        "[core.",
        "address already in use",
        "Address already in use",
        "port is already allocated",
        "clientid: ",
        "Tomcat",
        "org.spring",
        " --- [",
        "rustls",
        "level=error",
        " ERR ",
        "tls: ",
        "http: TLS handshake error",
    ];
    let found = begins.iter().any(|begin| line.starts_with(begin))
        || within.iter().any(|part| line.contains(part));
    // nginx calls a failed handshake of a device a mere [info].
    let quiet = [
        "-INFO-",
        " INFO ",
        "[INFO]",
        "level=info",
        "-DEBUG-",
        " DEBUG ",
    ]
    .iter()
    .any(|part| line.contains(part));
    found.then_some(Spoken {
        speaker: Speaker::Server,
        level: if quiet { Level::Info } else { Level::Unsaid },
        tag: "",
        stamp: None,
    })
}
