//! The two listeners of HTTP.

use safeport_settings::Listener;

/// How a connection of HTTP is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// In the clear: `http.bind`.
    Plain,
    /// Inside TLS: `https.bind`.
    Tls,
}

impl Transport {
    /// Both.
    pub const ALL: [Transport; 2] = [Transport::Plain, Transport::Tls];

    /// How connections of `listener` are carried; `None` where they are not HTTP.
    pub fn of(listener: Listener) -> Option<Transport> {
        match listener {
            Listener::Http => Some(Transport::Plain),
            Listener::Https => Some(Transport::Tls),
            Listener::Mqtt | Listener::Mqtts | Listener::Ntp | Listener::Voice => None,
        }
    }

    /// The listener's name, for settings, log and engine.
    pub fn listener(self) -> &'static str {
        match self {
            Transport::Plain => Listener::Http.name(),
            Transport::Tls => Listener::Https.name(),
        }
    }
}
