//! The listeners there are.

use core::fmt;

/// A bound address with its transport and protocol, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listener {
    /// MQTT without TLS.
    Mqtt,
    /// MQTT over TLS.
    Mqtts,
    /// HTTP, and MQTT over WebSocket.
    Http,
    /// The same over TLS.
    Https,
}

impl Listener {
    /// Every listener, in the order of the settings file.
    pub const ALL: [Listener; 4] = [
        Listener::Mqtt,
        Listener::Mqtts,
        Listener::Http,
        Listener::Https,
    ];

    /// Its name, which is that of its section, too.
    pub fn name(self) -> &'static str {
        match self {
            Listener::Mqtt => "mqtt",
            Listener::Mqtts => "mqtts",
            Listener::Http => "http",
            Listener::Https => "https",
        }
    }

    /// The key that says where it listens.
    pub fn bind_key(self) -> &'static str {
        match self {
            Listener::Mqtt => "mqtt.bind",
            Listener::Mqtts => "mqtts.bind",
            Listener::Http => "http.bind",
            Listener::Https => "https.bind",
        }
    }

    /// The key that switches it on and off.
    pub fn enabled_key(self) -> &'static str {
        match self {
            Listener::Mqtt => "mqtt.enabled",
            Listener::Mqtts => "mqtts.enabled",
            Listener::Http => "http.enabled",
            Listener::Https => "https.enabled",
        }
    }

    /// Whether it begins with a TLS handshake.
    pub fn is_tls(self) -> bool {
        matches!(self, Listener::Mqtts | Listener::Https)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
