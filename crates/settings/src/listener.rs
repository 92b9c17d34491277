//! The listeners there are.

use core::fmt;

use crate::Protocol;

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
    /// The time, over UDP.
    Ntp,
    /// Sound of xiaozhi devices that talk over MQTT, over UDP.
    Voice,
}

impl Listener {
    /// Every listener, in the order of the settings file.
    pub const ALL: [Listener; 6] = [
        Listener::Mqtt,
        Listener::Mqtts,
        Listener::Http,
        Listener::Https,
        Listener::Ntp,
        Listener::Voice,
    ];

    /// Those that take connections (TCP): what devices are told, proved and
    /// counted by is theirs. The others answer packets.
    pub const CONNECTED: [Listener; 4] = [
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
            Listener::Ntp => "ntp",
            Listener::Voice => "voice",
        }
    }

    /// The key that says where it listens.
    pub fn bind_key(self) -> &'static str {
        match self {
            Listener::Mqtt => "mqtt.bind",
            Listener::Mqtts => "mqtts.bind",
            Listener::Http => "http.bind",
            Listener::Https => "https.bind",
            Listener::Ntp => "ntp.bind",
            Listener::Voice => "voice.bind",
        }
    }

    /// The key that switches it on and off.
    pub fn enabled_key(self) -> &'static str {
        match self {
            Listener::Mqtt => "mqtt.enabled",
            Listener::Mqtts => "mqtts.enabled",
            Listener::Http => "http.enabled",
            Listener::Https => "https.enabled",
            Listener::Ntp => "ntp.enabled",
            Listener::Voice => "voice.enabled",
        }
    }

    /// What carries it.
    pub fn protocol(self) -> Protocol {
        match self {
            Listener::Mqtt | Listener::Mqtts | Listener::Http | Listener::Https => Protocol::Tcp,
            Listener::Ntp | Listener::Voice => Protocol::Udp,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_that_take_connections_are_those_of_tcp() {
        let tcp = Listener::ALL
            .into_iter()
            .filter(|listener| listener.protocol() == Protocol::Tcp);
        assert!(tcp.eq(Listener::CONNECTED));
    }
}
