//! What a person enters into a device so that it finds this server.
//!
//! Values go into forms, command lines and YAML of the device's own firmware.
//! Each of these has characters that it swallows or splits on; a value that
//! would not arrive unharmed is refused here, because the device would not say.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::{Device, Family, limits};

/// Where a device is to connect.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint<'a> {
    /// Name or address of this server as the device sees it, without port.
    pub host: &'a str,
    /// TCP port of the listener.
    pub port: u16,
    /// The same as one address, with scheme and port: `mqtt://192.168.1.10:1883`. Made by whoever
    /// knows that it is proved; nothing here puts one together.
    pub url: &'a str,
    /// How the device recognises this server; `None` for a plain listener.
    pub tls: Option<Trust<'a>>,
    /// Where the device looks for firmware by itself, proved too: for xiaozhi the
    /// address of the OTA check, for ESPHome its manifest, for plain firmware its
    /// image. `None` where there is none, and for families that are told when
    /// there is something to fetch.
    pub firmware: Option<&'a str>,
}

/// What lets a device recognise this server over TLS. Which of the two is used
/// depends on the family.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// Tasmota's fingerprint of the server's RSA key: 20 hex bytes, separated
    /// by spaces, colons or nothing.
    pub fingerprint: &'a str,
    /// The certificate of the private CA, in PEM.
    pub ca_pem: &'a str,
}

/// Setup text for one device. `Display` gives it ready to print, ending in a
/// line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// One line for the device's console.
    Line(String),
    /// A piece of a configuration file.
    Snippet(String),
    /// Fields of the device's own form.
    Fields(Vec<Field>),
}

/// One field of a form and what goes into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The field as the device's form names it.
    pub label: &'static str,
    /// What to enter.
    pub value: String,
}

/// The setup text that suits the device's family.
///
/// # Errors
/// A host, password or fingerprint that the device would not store as given.
pub fn setup(
    endpoint: &Endpoint<'_>,
    device: &Device,
    password: &str,
) -> Result<Setup, SetupError> {
    if device.family == Family::Xiaozhi {
        // It is given everything else by the answer to its check.
        return xiaozhi_fields(endpoint, device).map(Setup::Fields);
    }
    check_host(endpoint.host)?;
    check_password(password)?;
    Ok(match device.family {
        Family::Tasmota => Setup::Line(tasmota_backlog(endpoint, device, password)?),
        Family::EspEasy => Setup::Fields(espeasy_fields(endpoint, device, password)),
        Family::EspHome => Setup::Snippet(esphome_yaml(endpoint, device, password)),
        Family::Xiaozhi | Family::Plain => Setup::Fields(plain_fields(endpoint, device, password)),
    })
}

/// The one line to paste into Tasmota's console. The device stores it, restarts
/// and connects.
///
/// `MqttClient` is set to the device's name instead of the factory's
/// `DVES_%06X`, so that the fallback topic `cmnd/<MqttClient>_fb/` is known
/// before the device has ever spoken. `FullTopic` is set to the factory's value,
/// on which the device's rights are built. `SetOption103` is written in both
/// cases: the port alone does not decide about TLS.
///
/// # Errors
/// `;` ends a command in a `Backlog` and nothing escapes it; `0`, `1` and `"`
/// alone mean "clear" or "default"; official images resolve no `.local` name.
pub fn tasmota_backlog(
    endpoint: &Endpoint<'_>,
    device: &Device,
    password: &str,
) -> Result<String, SetupError> {
    check_host(endpoint.host)?;
    check_password(password)?;
    let host = endpoint.host;
    if host
        .trim_end_matches('.')
        .rsplit('.')
        .next()
        .is_some_and(|last| last.eq_ignore_ascii_case("local"))
    {
        return Err(SetupError::LocalName {
            host: host.to_string(),
        });
    }
    if password.contains(';') {
        return Err(SetupError::Password {
            why: "a Tasmota Backlog ends the command at ';' and has no way to escape it",
        });
    }
    if matches!(password, "0" | "1" | "\"") {
        return Err(SetupError::Password {
            why: "Tasmota reads 0, 1 and \" alone as \"clear\" or \"default\"",
        });
    }
    let tls = match endpoint.tls {
        Some(trust) => format!(
            "SetOption103 1; SetOption132 1; MqttFingerprint1 {}",
            spaced_fingerprint(trust.fingerprint)?
        ),
        None => "SetOption103 0".to_string(),
    };
    Ok(format!(
        "Backlog MqttHost {host}; MqttPort {port}; {tls}; MqttUser {user}; MqttPassword {password}; \
         MqttClient {client}; Topic {topic}; FullTopic %prefix%/%topic%/",
        port = endpoint.port,
        user = device.username,
        client = device.client_id,
        topic = device.topic,
    ))
}

/// ESPEasy: Config > Unit Name, then Controllers > Edit.
fn espeasy_fields(endpoint: &Endpoint<'_>, device: &Device, password: &str) -> Vec<Field> {
    let by_name = endpoint.host.parse::<core::net::IpAddr>().is_err();
    let topic = if device.topic == device.name.as_str() {
        "%sysname%".to_string()
    } else {
        device.topic.clone()
    };
    vec![
        field("Unit Name", device.name.as_str()),
        field("Append Unit Number to hostname", "off"),
        field("Protocol", "Home Assistant (openHAB) MQTT"),
        field(
            "Locate Controller",
            if by_name {
                "Use Hostname"
            } else {
                "Use IP address"
            },
        ),
        field(
            if by_name {
                "Controller Hostname"
            } else {
                "Controller IP"
            },
            endpoint.host,
        ),
        // The form begins at 8080, and choosing TLS does not move the port.
        field("Controller Port", &endpoint.port.to_string()),
        // The default of 100 ms does not survive a busy Wi-Fi.
        field("Client Timeout", "1000"),
        // CA mode knows public roots only, and fingerprint mode compares nothing
        // on the builds we have read: this encrypts, and does not pretend more.
        field(
            "TLS option",
            if endpoint.tls.is_some() {
                "TLS No Checks (insecure)"
            } else {
                "No TLS"
            },
        ),
        field("Controller User", &device.username),
        field("Controller Password", password),
        field("Controller Client ID", &device.client_id),
        field("Controller Subscribe", &format!("{topic}/#")),
        field(
            "Controller Publish",
            &format!("{topic}/%tskname%/%valname%"),
        ),
        field("Controller LWT Topic", &format!("{topic}/status/LWT")),
        field("Enabled", "on"),
    ]
}

/// ESPHome: the `mqtt:` block, to put beside the `esphome:` block.
fn esphome_yaml(endpoint: &Endpoint<'_>, device: &Device, password: &str) -> String {
    let mut yaml = format!(
        "esphome:\n  name: {name}\n\nmqtt:\n  broker: {host}\n  port: {port}\n  username: {user}\n  \
         password: {password}\n  client_id: {client}\n  topic_prefix: {topic}\n",
        name = quoted(device.name.as_str()),
        host = quoted(endpoint.host),
        port = endpoint.port,
        user = quoted(&device.username),
        password = quoted(password),
        client = quoted(&device.client_id),
        topic = quoted(&device.topic),
    );
    if let Some(trust) = endpoint.tls {
        // mbedTLS 2.28 does not match an address against an iPAddress entry.
        let skip = endpoint.host.parse::<core::net::IpAddr>().is_ok();
        yaml.push_str(&format!(
            "  skip_cert_cn_check: {skip}\n  certificate_authority: |\n"
        ));
        for line in trust.ca_pem.lines().filter(|line| !line.trim().is_empty()) {
            yaml.push_str("    ");
            yaml.push_str(line.trim_end());
            yaml.push('\n');
        }
    }
    if let Some(url) = endpoint.firmware {
        // On a device http_request believes public authorities only, and the ESP8266 none: what
        // it fetches is held against the MD5 in the manifest.
        yaml.push_str(&format!(
            "\nhttp_request:\n  verify_ssl: false\n\nota:\n  - platform: http_request\n\nupdate:\n  - \
             platform: http_request\n    name: Firmware\n    source: {}\n",
            quoted(url)
        ));
    }
    yaml
}

/// xiaozhi: the field of the "advanced" page of its captive portal.
fn xiaozhi_fields(endpoint: &Endpoint<'_>, device: &Device) -> Result<Vec<Field>, SetupError> {
    match endpoint.firmware {
        Some(url) => Ok(vec![field("OTA URL", url)]),
        None => Err(SetupError::NoCheckAddress {
            name: device.name.to_string(),
        }),
    }
}

fn plain_fields(endpoint: &Endpoint<'_>, device: &Device, password: &str) -> Vec<Field> {
    let mut fields = vec![
        field("uri", endpoint.url),
        field("host", endpoint.host),
        field("port", &endpoint.port.to_string()),
        field("username", &device.username),
        field("password", password),
        field("client_id", &device.client_id),
        field("topics", &format!("{}/#", device.topic)),
    ];
    if let Some(url) = endpoint.firmware {
        fields.push(field("firmware_url", url));
    }
    if let Some(trust) = endpoint.tls {
        fields.push(field("ca_certificate", trust.ca_pem.trim_end()));
    }
    fields
}

fn field(label: &'static str, value: &str) -> Field {
    Field {
        label,
        value: value.to_string(),
    }
}

/// A YAML scalar in double quotes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn check_host(host: &str) -> Result<(), SetupError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    // A colon is right only inside an IPv6 address; `host:port` and URLs are the
    // usual slips.
    let address = host.parse::<core::net::IpAddr>().is_ok();
    if host.is_empty()
        || host.len() > limits::MAX_HOST
        || !host.chars().all(fine)
        || (host.contains(':') && !address)
    {
        return Err(SetupError::Host {
            host: host.to_string(),
        });
    }
    Ok(())
}

fn check_password(password: &str) -> Result<(), SetupError> {
    let why = if password.is_empty() {
        "it is empty"
    } else if password.len() > limits::MAX_PASSWORD {
        "firmware stores at most 63 bytes of it"
    } else if !password.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        "firmware forms are safe with printable ASCII only"
    } else if password.trim() != password {
        "firmware cuts blanks at its ends"
    } else {
        return Ok(());
    };
    Err(SetupError::Password { why })
}

/// Twenty upper-case hex bytes separated by spaces, as `MqttFingerprint1` wants
/// them.
fn spaced_fingerprint(text: &str) -> Result<String, SetupError> {
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, ' ' | ':'))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(SetupError::Fingerprint);
    }
    // All zeroes would make Tasmota learn whatever answers first, and all FF
    // accept anybody.
    if digits.bytes().all(|b| b == b'0') || digits.bytes().all(|b| b == b'F') {
        return Err(SetupError::Fingerprint);
    }
    let mut spaced = String::with_capacity(59);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 2 == 0 {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    Ok(spaced)
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setup::Line(line) => writeln!(f, "{line}"),
            Setup::Snippet(text) => f.write_str(text),
            Setup::Fields(fields) => {
                let width = fields
                    .iter()
                    .map(|field| field.label.len())
                    .max()
                    .unwrap_or(0);
                for field in fields {
                    let mut lines = field.value.lines();
                    let first = lines.next().unwrap_or("");
                    writeln!(f, "{:width$}  {first}", field.label)?;
                    for line in lines {
                        writeln!(f, "{:width$}  {line}", "")?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// A value that the device would not store as given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Not a bare host name or address.
    #[error(
        "{host:?} is no host that a device could be told: give a name or an address without scheme, port or path, for example 192.168.1.10"
    )]
    Host {
        /// What was given.
        host: String,
    },
    /// Tasmota's official images have mDNS switched off.
    #[error(
        "Tasmota's official images cannot resolve {host:?}, they have no mDNS: give this server's IP address or a name that your router's DNS knows"
    )]
    LocalName {
        /// What was given.
        host: String,
    },
    /// A password that would arrive changed.
    #[error("this password cannot be used for the device: {why}; let Safeport generate one")]
    Password {
        /// The reason.
        why: &'static str,
    },
    /// Not twenty hex bytes, or one of the two values that switch checking off.
    #[error(
        "this is no Tasmota fingerprint (20 hex bytes, not all 00 or FF): take the one that the server prints for its RSA key"
    )]
    Fingerprint,
    /// There is no proved address for the OTA check of a xiaozhi device.
    #[error(
        "there is no address of HTTP by which {name} could reach this server: switch the http listener on, or see `safeport ports` for what keeps its addresses from being proved"
    )]
    NoCheckAddress {
        /// The device.
        name: String,
    },
}

#[cfg(test)]
mod tests;
