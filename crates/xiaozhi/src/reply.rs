//! The answer to a check: a type in which what breaks devices cannot be said.
//!
//! - One way or none: [`Way`] is not a struct of two options. With both sections in an answer the
//!   device takes `mqtt` and never looks at `websocket`.
//! - No `null`: firmware up to 1.6.x takes a section that is null for one that is there.
//! - Keys are ours, and a test holds them against the 15 characters that flash takes.
//! - A version shows itself as numbers and dots ([`Version`]).
//! - Addresses carry their port ([`WebSocketUrl`], [`FirmwareUrl`]); that of MQTT fits the TLS that
//!   the device will speak there ([`Endpoint`]).

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;

use crate::limits::MAX_TEXT;
use crate::{CheckRequest, Client, ClientId, Code, Quirks, Version};

/// An answer to a check, to be sent with status 200 and its exact length.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckReply {
    /// What time it is; the device sets its clock by it.
    pub server_time: ServerTime,
    /// What it should run.
    pub firmware: Firmware,
    /// How it comes to its voice server.
    pub way: Way,
    /// Present while nobody has confirmed the device.
    pub activation: Option<Activation>,
}

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTime {
    /// Milliseconds since 1970, UTC.
    pub timestamp_ms: u64,
    /// Minutes by which the device's wall clock is ahead of UTC: +480 for China. The device adds
    /// it to its clock, which then shows local time and calls it UTC.
    pub offset_minutes: i16,
}

/// What a device is told of firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firmware(Told);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Omitted,
    Same(Version),
    Install {
        version: Version,
        url: FirmwareUrl,
        force: bool,
    },
}

impl Firmware {
    /// Nothing is to be installed: the device is told its own version, and no address. Firmware up
    /// to 1.5.9 needs the section for the check to succeed.
    ///
    /// A device whose own version its parser does not survive gets no section, since it reads both
    /// versions before it compares them; nor does a program, which has nothing to install.
    pub fn nothing(check: &CheckRequest) -> Firmware {
        Firmware(match (&check.version, &check.version_text) {
            (Some(version), _) => Told::Same(version.clone()),
            (None, Some(_)) => Told::Omitted,
            // An empty version has no segments and is never newer.
            (None, None) if check.client == Client::Device => Told::Same(Version::default()),
            (None, None) => Told::Omitted,
        })
    }

    /// `version`, which must be that inside the image at `url`, is to be installed.
    ///
    /// Nothing is told where that would do harm: the device runs this version already (with
    /// `force` it would install it at every boot), or cannot compare versions. `force` has an
    /// older version installed; without it the device would not look at one.
    pub fn install(
        check: &CheckRequest,
        version: Version,
        url: FirmwareUrl,
        force: bool,
    ) -> Firmware {
        let Some(running) = &check.version else {
            return Firmware::nothing(check);
        };
        let is_newer = version > *running;
        if version == *running || !(is_newer || force) || version.is_empty() {
            return Firmware::nothing(check);
        }
        Firmware(Told::Install {
            version,
            url,
            // What is newer is installed anyway.
            force: force && !is_newer,
        })
    }

    /// The version and address that the device will install.
    pub fn installs(&self) -> Option<(&Version, &FirmwareUrl)> {
        match &self.0 {
            Told::Install { version, url, .. } => Some((version, url)),
            Told::Omitted | Told::Same(_) => None,
        }
    }
}

/// How a device comes to its voice server: one way, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is told nothing. It will try MQTT with what it was told before.
    None,
    /// By WebSocket.
    WebSocket(WebSocket),
    /// By MQTT.
    Mqtt(Mqtt),
}

/// The `websocket` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket {
    /// Where.
    pub url: WebSocketUrl,
    /// What the device shows as `Authorization: Bearer`; may be empty.
    pub token: Text,
    /// How audio is framed: 1, 2 or 3. 1 unless the server does echo cancellation.
    pub version: u8,
}

/// The `mqtt` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Where.
    pub endpoint: Endpoint,
    /// As whom.
    pub client_id: ClientId,
    /// What [`crate::Username::text`] made.
    pub username: Text,
    /// What [`crate::mqtt_password`] made.
    pub password: Text,
    /// Seconds between two signs of life. Firmware takes 240 without it, after which many
    /// carriers' and home routers have forgotten the connection.
    pub keepalive: u16,
}

/// The `activation` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// The six digits that the device shows and says.
    pub code: Code,
    /// What it shows beside them; `\n` begins a new line.
    pub message: String,
    /// With it the device calls `<ota>/activate` and sends it back; without it, it only checks
    /// again after a while.
    pub challenge: Text,
    /// Milliseconds; current firmware reads and ignores it.
    pub timeout_ms: u32,
}

/// A text that the device's flash takes: no control characters, at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text(String);

impl Text {
    /// `None` if it is longer, or has control characters.
    pub fn new(text: impl Into<String>) -> Option<Text> {
        let text = text.into();
        (text.len() <= MAX_TEXT && !text.contains(char::is_control)).then_some(Text(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why an address cannot be told to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme, or none, or not in small letters.
    #[error("the address must begin with ws:// or wss:// (for downloads http:// or https://)")]
    Scheme,
    /// No host, or characters that are none of a name.
    #[error("the address has no host name or IPv4 address behind ://")]
    Host,
    /// IPv6, or more colons than one.
    #[error(
        "xiaozhi firmware takes the first colon behind :// for that of the port, so an IPv6 \
         address, a user name, or another colon cannot stand in an address; use a name or an IPv4 \
         address"
    )]
    Colon,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// What stands behind the host does not begin with `/`, or is no printable ASCII.
    #[error("the path must begin with / and be of printable ASCII, without quotes and backslashes")]
    Path,
    /// Longer than flash takes.
    #[error("the address is longer than 1024 bytes")]
    TooLong,
}

/// An address for a device to fetch from or to connect to, always with its port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DeviceUrl {
    text: String,
    tls: bool,
    host: String,
    port: u16,
    path_at: usize,
}

impl DeviceUrl {
    fn parse(text: &str, schemes: [&str; 2]) -> Result<DeviceUrl, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match schemes.iter().position(|known| *known == scheme) {
            Some(index) => index == 1,
            None => return Err(UrlError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = if path.is_empty() { "/" } else { path };
        if authority.contains(['[', ']', '@']) || path.contains(':') {
            return Err(UrlError::Colon);
        }
        let (host, port) = match authority.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err(UrlError::Colon),
            Some((host, port)) => (host, port_of(port).ok_or(UrlError::Port)?),
            None => (authority, if tls { 443 } else { 80 }),
        };
        if !is_host(host) {
            return Err(UrlError::Host);
        }
        let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'#');
        if !path.starts_with('/') || !path.bytes().all(fits) {
            return Err(UrlError::Path);
        }
        // Without its port, the first colon of a query would be taken for that of one.
        let front = format!("{scheme}://{host}:{port}");
        let text = format!("{front}{path}");
        if text.len() > MAX_TEXT {
            return Err(UrlError::TooLong);
        }
        Ok(DeviceUrl {
            text,
            tls,
            host: host.to_string(),
            port,
            path_at: front.len(),
        })
    }
}

fn port_of(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(fits)
}

macro_rules! device_url {
    ($(#[$doc:meta])* $name:ident, $schemes:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(DeviceUrl);

        impl $name {
            /// Reads an address; without a port it gets that of its scheme, written out.
            ///
            /// # Errors
            /// What the device would stumble over.
            pub fn parse(text: &str) -> Result<$name, UrlError> {
                DeviceUrl::parse(text, $schemes).map($name)
            }

            /// As it is told.
            pub fn as_str(&self) -> &str {
                &self.0.text
            }

            /// Whether it is spoken to inside TLS.
            pub fn is_tls(&self) -> bool {
                self.0.tls
            }

            /// The host.
            pub fn host(&self) -> &str {
                &self.0.host
            }

            /// The port, 1 to 65535.
            pub fn port(&self) -> u16 {
                self.0.port
            }

            /// What stands behind the port, beginning with `/`.
            pub fn path(&self) -> &str {
                &self.0.text[self.0.path_at..]
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

device_url! {
    /// The address of a voice server, as a device can read it.
    ///
    /// ```
    /// use safeport_xiaozhi::WebSocketUrl;
    /// let url = WebSocketUrl::parse("ws://192.168.1.10/xiaozhi/v1/").unwrap();
    /// assert_eq!(url.as_str(), "ws://192.168.1.10:80/xiaozhi/v1/");
    /// assert!(WebSocketUrl::parse("ws://[fd00::1]:8000/").is_err());
    /// ```
    WebSocketUrl, ["ws", "wss"]
}

device_url! {
    /// The address of an image, as a device can read it.
    FirmwareUrl, ["http", "https"]
}

/// Where a device speaks MQTT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
}

/// Why an address cannot be told as that of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// TLS at another port than 8883, or none at 8883.
    #[error(
        "xiaozhi firmware speaks TLS exactly when the port of MQTT is 8883; serve MQTT over TLS \
         there, and MQTT without TLS at another port"
    )]
    TlsPort,
    /// It is no name and no IPv4 address.
    #[error("xiaozhi firmware takes a name or an IPv4 address for MQTT, and no other")]
    Host,
}

impl Endpoint {
    /// The port at which devices speak TLS, and the only one.
    pub const TLS_PORT: u16 = 8883;

    /// The endpoint at this host and port, where `tls` is spoken or not.
    ///
    /// # Errors
    /// The device would speak TLS where there is none, or the other way round; or it cannot read
    /// the host.
    pub fn new(host: &str, port: u16, tls: bool) -> Result<Endpoint, EndpointError> {
        if tls != (port == Endpoint::TLS_PORT) || port == 0 {
            return Err(EndpointError::TlsPort);
        }
        if !is_host(host) {
            return Err(EndpointError::Host);
        }
        Ok(Endpoint {
            host: host.to_string(),
            port,
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl core::fmt::Display for Endpoint {
    /// Without a scheme, which the firmware would take for the host. Port 8883 is left away: it is
    /// the device's own, and firmware before 1.6.2 and Espressif's reading of the protocol know no
    /// other form.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.port {
            Endpoint::TLS_PORT => f.write_str(&self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

impl CheckReply {
    /// The body, with `Content-Type: application/json`.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(768);
        let ServerTime {
            timestamp_ms,
            offset_minutes,
        } = self.server_time;
        let _ = write!(
            out,
            "{{\"server_time\":{{\"timestamp\":{timestamp_ms},\"timezone_offset\":{offset_minutes}}}"
        );
        match &self.firmware.0 {
            Told::Omitted => {}
            Told::Same(version) => {
                let _ = write!(
                    out,
                    ",\"firmware\":{{\"version\":\"{version}\",\"url\":\"\"}}"
                );
            }
            Told::Install {
                version,
                url,
                force,
            } => {
                let _ = write!(out, ",\"firmware\":{{\"version\":\"{version}\",\"url\":");
                quote(url.as_str(), &mut out);
                // A number: booleans are passed over.
                out.push_str(if *force { ",\"force\":1}" } else { "}" });
            }
        }
        match &self.way {
            Way::None => {}
            Way::WebSocket(websocket) => {
                out.push_str(",\"websocket\":{");
                pair("url", websocket.url.as_str(), &mut out);
                out.push(',');
                pair("token", websocket.token.as_str(), &mut out);
                let _ = write!(out, ",\"version\":{}}}", websocket.version);
            }
            Way::Mqtt(mqtt) => {
                out.push_str(",\"mqtt\":{");
                let client_id = mqtt.client_id.to_string();
                let own = mqtt.client_id.mac.with_underscores();
                for (key, value) in [
                    ("endpoint", mqtt.endpoint.to_string().as_str()),
                    ("client_id", &client_id),
                    ("username", mqtt.username.as_str()),
                    ("password", mqtt.password.as_str()),
                    ("publish_topic", "device-server"),
                    ("subscribe_topic", &format!("devices/p2p/{own}")),
                ] {
                    pair(key, value, &mut out);
                    out.push(',');
                }
                let _ = write!(out, "\"keepalive\":{}}}", mqtt.keepalive);
            }
        }
        if let Some(activation) = &self.activation {
            let _ = write!(out, ",\"activation\":{{\"code\":\"{}\",", activation.code);
            pair("message", &activation.message, &mut out);
            out.push(',');
            pair("challenge", activation.challenge.as_str(), &mut out);
            let _ = write!(out, ",\"timeout_ms\":{}}}", activation.timeout_ms);
        }
        out.push('}');
        out
    }

    /// Why a device of these habits could not use this answer; `None` if it can. For tests and for
    /// whoever builds answers in another way.
    pub fn breaks(&self, quirks: &Quirks) -> Option<&'static str> {
        if quirks.wants_firmware && self.firmware.0 == Told::Omitted {
            return Some("firmware up to 1.5.9 fails without a firmware section");
        }
        match &self.way {
            Way::WebSocket(_) if !quirks.takes_websocket => {
                Some("firmware before 1.6.2 takes no WebSocket address")
            }
            Way::Mqtt(mqtt)
                if quirks.mqtt_port_is_fixed && mqtt.endpoint.port() != Endpoint::TLS_PORT =>
            {
                Some("firmware before 1.6.2 connects to port 8883")
            }
            _ => None,
        }
    }
}

fn pair(key: &str, value: &str, out: &mut String) {
    out.push('"');
    out.push_str(key);
    out.push_str("\":");
    quote(value, out);
}

/// Writes a text as JSON does (RFC 8259 section 7).
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
